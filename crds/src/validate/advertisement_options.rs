//! What the annotations of a BGPAdvertisement say of its routes.

use super::options::{Options, number};
use crate::api;
use crate::model::AdvertisementOptions;

impl Options for AdvertisementOptions {
    const KNOWN: &'static [(&'static str, &'static str)] = &[
        (api::BGP_AS_PATH_PREPEND, "a number from 1 to 10"),
        (
            api::BGP_LINK_BANDWIDTH,
            "endpoints, or endpoints:N with the octets per second of each endpoint, from 1 to \
             1000000000000",
        ),
        (api::BGP_MED, "a number from 0 to 4294967295"),
    ];

    fn set(&mut self, key: &str, text: &str) -> Option<()> {
        match key {
            api::BGP_AS_PATH_PREPEND => {
                let times = number(text).filter(|times| (1..=MOST_PREPENDED).contains(times));
                self.as_path_prepend = Some(times?);
            }
            api::BGP_LINK_BANDWIDTH => self.link_bandwidth = Some(link_bandwidth(text)?),
            api::BGP_MED => self.med = Some(number(text)?),
            _ => return None,
        }
        Some(())
    }
}

fn link_bandwidth(text: &str) -> Option<u64> {
    match text.split_once(':') {
        None => (text == "endpoints").then_some(ONE_GIGABIT),
        Some(("endpoints", octets)) => {
            number(octets).filter(|octets| (1..=MOST_BANDWIDTH).contains(octets))
        }
        Some(_) => None,
    }
}

/// Longer paths than this are filtered by many.
const MOST_PREPENDED: u8 = 10;

/// In octets per second. Routers look at ratios, so that any value would do; with this one a router
/// that shows the sum shows so many Gbit/s as there are endpoints.
const ONE_GIGABIT: u64 = 125_000_000;

/// In octets per second: more than a link has, and so little that sums stay exact.
const MOST_BANDWIDTH: u64 = 1_000_000_000_000;

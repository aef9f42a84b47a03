//! The metrics, under the names and labels that MetalLB's dashboards and alerts know.
//!
//! Nothing is registered for good: the page is made anew from what is known whenever somebody asks, so
//! that a series is there exactly as long as its pool.

use std::collections::BTreeMap;

use prometheus::{IntCounter, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

use crate::reconcile::Usage;

/// What the page is made of.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// How full every pool is, as the controller that decides knows it.
    pub pools: BTreeMap<String, Usage>,
    /// Changes of objects.
    pub updates: u64,
    /// Times that something was found wrong with them.
    pub errors: u64,
    /// Everything present has been read.
    pub is_loaded: bool,
    /// Something is wrong, so that part of what is in force is older than the objects.
    pub is_stale: bool,
}

/// The page, in Prometheus' text format.
pub fn render(snapshot: &Snapshot) -> String {
    let page = Page(Registry::new());
    for (name, help, value) in GAUGES {
        let rows = snapshot.pools.iter();
        page.gauges(name, help, rows.map(|(pool, usage)| (pool, value(usage))));
    }
    let updates = "metallb_k8s_client_updates_total";
    page.counter(updates, "Changes of objects.", snapshot.updates);
    let errors = "metallb_k8s_client_update_errors_total";
    page.counter(errors, "Changes that were found wrong.", snapshot.errors);
    let loaded = "metallb_k8s_client_config_loaded_bool";
    let help = "Whether a configuration has been read.";
    page.gauge(loaded, help, snapshot.is_loaded);
    let stale = "metallb_k8s_client_config_stale_bool";
    let help = "Whether a part of the configuration in force is older than the objects.";
    page.gauge(stale, help, snapshot.is_stale);
    let text = TextEncoder::new().encode_to_string(&page.0.gather());
    text.expect("every metric has a name and a value")
}

type Gauge = (&'static str, &'static str, fn(&Usage) -> u128);

const GAUGES: [Gauge; 6] = [
    (
        "metallb_allocator_addresses_total",
        "Addresses of the pool.",
        |usage| total(usage.v4).saturating_add(total(usage.v6)),
    ),
    (
        "metallb_allocator_addresses_in_use_total",
        "Addresses of the pool that are in use.",
        |usage| usage.v4.assigned.saturating_add(usage.v6.assigned),
    ),
    (
        "metallb_allocator_ipv4_addresses_total",
        "IPv4 addresses of the pool.",
        |usage| total(usage.v4),
    ),
    (
        "metallb_allocator_ipv6_addresses_total",
        "IPv6 addresses of the pool.",
        |usage| total(usage.v6),
    ),
    (
        "metallb_allocator_ipv4_addresses_in_use_total",
        "IPv4 addresses of the pool that are in use.",
        |usage| usage.v4.assigned,
    ),
    (
        "metallb_allocator_ipv6_addresses_in_use_total",
        "IPv6 addresses of the pool that are in use.",
        |usage| usage.v6.assigned,
    ),
];

fn total(counters: crate::allocator::Counters) -> u128 {
    counters.assigned.saturating_add(counters.available)
}

struct Page(Registry);

impl Page {
    fn gauges<'a>(&self, name: &str, help: &str, rows: impl Iterator<Item = (&'a String, u128)>) {
        let gauge = IntGaugeVec::new(Opts::new(name, help), &["pool"]);
        let gauge = gauge.expect("the name is a name");
        for (pool, value) in rows {
            // A large IPv6 pool has more than can be said.
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            gauge.with_label_values(&[pool]).set(value);
        }
        self.add(Box::new(gauge));
    }

    fn gauge(&self, name: &str, help: &str, is_true: bool) {
        let gauge = IntGauge::new(name, help).expect("the name is a name");
        gauge.set(i64::from(is_true));
        self.add(Box::new(gauge));
    }

    fn counter(&self, name: &str, help: &str, value: u64) {
        let counter = IntCounter::new(name, help).expect("the name is a name");
        counter.inc_by(value);
        self.add(Box::new(counter));
    }

    fn add(&self, metric: Box<dyn prometheus::core::Collector>) {
        let added = self.0.register(metric);
        added.expect("every name is there once");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocator::Counters;

    #[test]
    fn the_page_has_metallbs_names() {
        let counters = |assigned, available| Counters {
            assigned,
            available,
        };
        let usage = Usage {
            v4: counters(3, 253),
            v6: counters(1, u128::MAX),
        };
        let page = render(&Snapshot {
            pools: [("first".to_owned(), usage)].into(),
            updates: 7,
            errors: 0,
            is_loaded: true,
            is_stale: false,
        });
        for line in [
            "# TYPE metallb_allocator_addresses_total gauge",
            "metallb_allocator_addresses_in_use_total{pool=\"first\"} 4",
            "metallb_allocator_ipv4_addresses_total{pool=\"first\"} 256",
            "metallb_allocator_ipv4_addresses_in_use_total{pool=\"first\"} 3",
            "metallb_allocator_ipv6_addresses_in_use_total{pool=\"first\"} 1",
            "metallb_k8s_client_updates_total 7",
            "metallb_k8s_client_update_errors_total 0",
            "metallb_k8s_client_config_loaded_bool 1",
            "metallb_k8s_client_config_stale_bool 0",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
    }
}

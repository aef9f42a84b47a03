//! Where the bars of a real cluster are measured: three nodes and a router, a control plane that was
//! just started, and on it FerroLB or the reference MetalLB.
#![expect(clippy::print_stdout, reason = "tells what it is doing")]

use std::time::Duration;

use anyhow::{Context, Result};
use ferrolb_tests::kubernetes::cluster::{Cluster, ProxyMode};
use ferrolb_tests::kubernetes::{Settings, metallb, product};
use ferrolb_tests::lab::Lab;
use ferrolb_tests::netns;
use ferrolb_tests::objects::{bgp, layer2, pool};
use ferrolb_tests::peer::bird::Bird;
use ferrolb_tests::process::{Process, tail};

pub(crate) const NODES: u8 = 3;
const SOON: Duration = Duration::from_secs(60);

/// Without a connect time, which MetalLB refuses in native mode.
const PEER: &str = "
---
apiVersion: metallb.io/v1beta2
kind: BGPPeer
metadata: {name: r, namespace: metallb-system}
spec: {myASN: 64500, peerASN: 64501, peerAddress: 192.168.1.1, holdTime: 9s}
";

/// Who gives the addresses and announces them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Ferrolb,
    Metallb,
}

/// The cluster, and what runs on it.
pub(crate) struct Site {
    // Before the cluster, so that they end first.
    pub(crate) controller: Option<Process>,
    pub(crate) speakers: Vec<Process>,
    router: Bird,
    pub(crate) cluster: Cluster,
    who: Who,
}

impl Site {
    /// Without kube-proxy and without the controllers that make EndpointSlices: only what is measured
    /// costs time.
    pub(crate) fn bare(who: Who) -> Result<Self> {
        Self::new(who, None, Settings::default())
    }

    /// Where traffic arrives.
    pub(crate) fn whole(who: Who) -> Result<Self> {
        let settings = Settings {
            controllers: true,
            ..Settings::default()
        };
        Self::new(who, Some(ProxyMode::Nftables), settings)
    }

    fn new(who: Who, mode: Option<ProxyMode>, settings: Settings) -> Result<Self> {
        println!("  … {who:?}");
        let lab = Lab::bare(&netns::unique_prefix(), NODES)?;
        let cluster = Cluster::on(lab, mode, settings)?;
        product::install(&cluster.plane)?;
        let configuration = [
            pool("pool", &["10.64.0.0/16"]),
            bgp("routes", ""),
            PEER.to_owned(),
        ];
        cluster.plane.apply(&configuration.concat())?;
        let router = cluster.lab.router(&cluster.lab.neighbours(64501, 64500))?;
        Ok(Self {
            controller: None,
            speakers: Vec::new(),
            router,
            cluster,
            who,
        })
    }

    /// Announces everything on the segment, too.
    pub(crate) fn announce_on_segment(&self) -> Result<()> {
        self.cluster.plane.apply(&layer2("segment", "")).map(drop)
    }

    pub(crate) fn start_controller(&mut self) -> Result<()> {
        let plane = &self.cluster.plane;
        self.controller = Some(match self.who {
            Who::Ferrolb => product::active_controller(plane, "controller", &[])?,
            Who::Metallb => metallb::controller(plane)?,
        });
        Ok(())
    }

    /// Starts all of them; returns when the router has a session with each.
    pub(crate) fn start_speakers(&mut self) -> Result<()> {
        for number in 1..=usize::from(NODES) {
            let speaker = self.speaker(number)?;
            self.speakers.push(speaker);
        }
        for node in &self.cluster.lab.segment.nodes {
            let outcome = self.router.await_established(&node.name, SOON);
            outcome.with_context(|| {
                let logs = self.speakers.iter().map(|speaker| tail(&speaker.log(), 10));
                logs.collect::<Vec<_>>().join("\n")
            })?;
        }
        Ok(())
    }

    fn speaker(&self, number: usize) -> Result<Process> {
        match self.who {
            Who::Ferrolb => product::speaker(&self.cluster, number, &[]),
            Who::Metallb => metallb::speaker(&self.cluster, number),
        }
    }

    /// Kills a speaker and starts it anew.
    pub(crate) fn restart_speaker(&mut self, number: usize) -> Result<()> {
        self.speakers[number - 1].kill();
        self.speakers[number - 1] = self.speaker(number)?;
        Ok(())
    }

    pub(crate) fn stop_controller(&mut self) -> Result<()> {
        let mut controller = self.controller.take().context("a controller runs")?;
        controller.terminate(SOON).map(drop)
    }

    /// How many routes the router has from a node.
    pub(crate) fn routes_from(&self, number: usize) -> Result<usize> {
        self.router.imported(&self.cluster.node(number).name)
    }

    /// How many it has from all.
    pub(crate) fn routes(&self) -> Result<usize> {
        let numbers = 1..=usize::from(NODES);
        numbers.map(|number| self.routes_from(number)).sum()
    }
}

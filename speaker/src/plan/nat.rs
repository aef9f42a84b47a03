//! Which ports of an address are handed to which NodePort, and which are not and why.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ferrolb_crds::model::{Family, Port, Protocol, Service, ServiceKey, ServicePort};
use ipnet::IpNet;

/// What a client connects to, the address aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Frontend {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The Service's port.
    pub port: Port,
}

/// Where it is handed to, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Port on this node.
    pub node_port: Port,
    /// Who may connect; empty: everybody.
    pub source_ranges: BTreeSet<IpNet>,
    /// Whose port it is.
    pub service: ServiceKey,
}

/// A port that is announced but not handed off.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RefusedPort {
    /// Whose port it is.
    pub service: ServiceKey,
    /// The port.
    pub frontend: Frontend,
    /// Why, a phrase.
    pub reason: String,
}

/// What becomes of the ports of one address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HandOff {
    /// Those handed off.
    pub frontends: BTreeMap<Frontend, Target>,
    /// Those not.
    pub refused: BTreeSet<RefusedPort>,
}

/// Plans the ports of the Services that this node announces at the address.
pub(super) fn plan<'a>(address: IpAddr, services: impl Iterator<Item = &'a Service>) -> HandOff {
    let mut plan = HandOff::default();
    for service in services {
        for port in &service.ports {
            plan.add(address, service, port);
        }
    }
    plan
}

impl HandOff {
    fn add(&mut self, address: IpAddr, service: &Service, port: &ServicePort) {
        let frontend = Frontend {
            protocol: port.protocol,
            port: port.port,
        };
        match self.target(address, service, port, frontend) {
            Ok(target) => {
                self.frontends.insert(frontend, target);
            }
            Err(reason) => {
                self.refused.insert(RefusedPort {
                    service: service.key.clone(),
                    frontend,
                    reason,
                });
            }
        }
    }

    fn target(
        &self,
        address: IpAddr,
        service: &Service,
        port: &ServicePort,
        frontend: Frontend,
    ) -> Result<Target, String> {
        if port.protocol == Protocol::Sctp {
            return Err("SCTP is not handed off".to_owned());
        }
        let Some(node_port) = port.node_port else {
            return Err("it has no nodePort: give it one".to_owned());
        };
        // Sharing forbids this, but a status can be edited by hand: the first Service keeps it.
        if let Some(taken) = self.frontends.get(&frontend)
            && taken.service != service.key
        {
            return Err(format!("{} has the same port at {address}", taken.service));
        }
        Ok(Target {
            node_port,
            source_ranges: source_ranges(address, service)?,
            service: service.key.clone(),
        })
    }
}

/// Who may connect to the address. A restriction that leaves nobody must not read as none at all.
fn source_ranges(address: IpAddr, service: &Service) -> Result<BTreeSet<IpNet>, String> {
    let family = Family::of(address);
    let ranges: BTreeSet<IpNet> = service
        .source_ranges
        .iter()
        .filter(|range| Family::of(range.addr()) == family)
        .map(IpNet::trunc)
        .collect();
    let is_restricted = !service.source_ranges.is_empty() || !service.bad_source_ranges.is_empty();
    if is_restricted && ranges.is_empty() {
        return Err(format!(
            "no entry of loadBalancerSourceRanges is a valid {family} range"
        ));
    }
    Ok(ranges)
}

//! What should be handed off, kept as the plan changes.

use std::net::IpAddr;

use crate::nft;
use crate::plan::AddressPlan;

/// Has what should be handed off follow what is planned of an address.
pub(in crate::run) fn hand_off_changed(
    desired: &mut nft::Desired,
    address: IpAddr,
    old: Option<&AddressPlan>,
    new: Option<&AddressPlan>,
) {
    let is_handed_off = |plan: &&AddressPlan| plan.is_handed_off();
    let (old, new) = (old.filter(is_handed_off), new.filter(is_handed_off));
    let before = old.into_iter().flat_map(|plan| frontends(address, plan));
    for (frontend, _) in before {
        desired.frontends.remove(&frontend);
    }
    let after = new.into_iter().flat_map(|plan| frontends(address, plan));
    desired.frontends.extend(after);
    match new {
        Some(_) => desired.addresses.insert(address),
        None => desired.addresses.remove(&address),
    };
}

fn frontends(
    address: IpAddr,
    plan: &AddressPlan,
) -> impl Iterator<Item = (nft::Frontend, nft::Target)> {
    let frontends = plan.hand_off.frontends.iter();
    frontends.map(move |(frontend, target)| {
        let frontend = nft::Frontend {
            address,
            protocol: frontend.protocol,
            port: frontend.port,
        };
        let target = nft::Target {
            node_port: target.node_port,
            source_ranges: target.source_ranges.clone(),
        };
        (frontend, target)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use ferrolb_crds::model::{Port, Protocol, ServiceKey};
    use proptest::prelude::*;

    use super::*;
    use crate::plan::{self, Layer2, Reason};

    /// Whether it is handed off, and which ports.
    type Planned = Option<(bool, BTreeMap<u16, u16>)>;

    fn plan((is_handed_off, ports): &(bool, BTreeMap<u16, u16>)) -> AddressPlan {
        let port = |number: &u16| Port::new(*number).unwrap();
        let frontends = ports.iter().map(|(number, node_port)| {
            let frontend = plan::Frontend {
                protocol: Protocol::Tcp,
                port: port(number),
            };
            let target = plan::Target {
                node_port: port(node_port),
                source_ranges: BTreeSet::new(),
                service: ServiceKey::new("default", "web"),
            };
            (frontend, target)
        });
        AddressPlan {
            layer2: Layer2::NotHeld {
                reason: match is_handed_off {
                    true => Reason::Listening,
                    false => Reason::NoMatchingAdvertisement,
                },
                detail: None,
                holder: None,
                is_at_fault: false,
            },
            advertised: Box::default(),
            hand_off: plan::HandOff {
                frontends: frontends.collect(),
                refused: BTreeSet::new(),
            },
            services: Box::default(),
        }
    }

    fn planned() -> impl Strategy<Value = Planned> {
        let ports = prop::collection::btree_map(1..4_u16, 30_000..30_003_u16, 0..3);
        prop::option::of((any::<bool>(), ports))
    }

    proptest! {
        #[test]
        fn i11_what_should_be_handed_off_follows_the_plan(
            changes in prop::collection::vec((0..3_u8, planned()), 0..30)
        ) {
            let (mut kept, mut plans) = (nft::Desired::default(), BTreeMap::new());
            for (number, planned) in changes {
                let address = IpAddr::from([192, 0, 2, number]);
                let new = planned.as_ref().map(plan);
                let old = match new.clone() {
                    Some(new) => plans.insert(address, new),
                    None => plans.remove(&address),
                };
                hand_off_changed(&mut kept, address, old.as_ref(), new.as_ref());
                let mut anew = nft::Desired::default();
                for (address, plan) in plans.iter().filter(|(_, plan)| plan.is_handed_off()) {
                    anew.addresses.insert(*address);
                    anew.frontends.extend(frontends(*address, plan));
                }
                prop_assert_eq!(&kept, &anew);
            }
        }
    }
}

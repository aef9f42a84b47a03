//! What another configuration means for a session that runs (design invariant I8): nothing, a change
//! that it survives, or its end and a new one.
//!
//! The table in docs/operating.md says the same by the fields of a BGPPeer.

use std::time::Duration;

use ferrolb_crds::model::{Secret, TtlSecurityHops};

use super::{Authentication, Settings, Transport};

/// From one configuration of a session to another.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// They are the same.
    None,
    /// The session can go on with these.
    Live(Live),
    /// The protocol demands a new session.
    Reset,
}

/// What can be changed while a session runs. What is added here is added to [`Settings::live`] and to
/// [`Settings::with`], and nowhere else.
#[derive(Debug, Clone, PartialEq)]
pub struct Live {
    /// The key of TCP MD5; `None`: segments are not signed. Without meaning under TCP-AO, whose
    /// connections keep the keys they were made with.
    pub md5_key: Option<Secret>,
    /// Keepalive interval, as configured.
    pub keepalive_time: Option<Duration>,
    /// ConnectRetryTime, for the connection after this one.
    pub connect_retry_time: Option<Duration>,
    /// Who makes that.
    pub passive: bool,
    /// How far away an eBGP peer may be.
    pub multi_hop: bool,
    /// From how far away segments are taken.
    pub ttl_security_hops: Option<TtlSecurityHops>,
}

impl Settings {
    /// What it takes to get from these settings to others.
    pub fn change_to(&self, other: &Self) -> Change {
        let live = other.live();
        if self == other {
            Change::None
        } else if self.with(live.clone()) == *other {
            Change::Live(live)
        } else {
            Change::Reset
        }
    }

    /// The part that can be changed while the session runs.
    pub fn live(&self) -> Live {
        Live {
            md5_key: match &self.transport.authentication {
                Authentication::Md5(key) => Some(key.clone()),
                Authentication::None | Authentication::Ao(..) => None,
            },
            keepalive_time: self.keepalive_time,
            connect_retry_time: self.connect_retry_time,
            passive: self.passive,
            multi_hop: self.multi_hop,
            ttl_security_hops: self.transport.ttl_security_hops,
        }
    }

    /// The same for whoever has no key.
    #[must_use]
    pub(super) fn without_authentication(&self) -> Self {
        let mut settings = self.clone();
        settings.transport.authentication = Authentication::None;
        settings
    }

    /// The same with another such part.
    #[must_use]
    pub fn with(&self, live: Live) -> Self {
        let Live {
            md5_key,
            keepalive_time,
            connect_retry_time,
            passive,
            multi_hop,
            ttl_security_hops,
        } = live;
        let authentication = match &self.transport.authentication {
            Authentication::None | Authentication::Md5(_) => Authentication::new(md5_key, None),
            ao @ Authentication::Ao(..) => ao.clone(),
        };
        Self {
            keepalive_time,
            connect_retry_time,
            passive,
            multi_hop,
            transport: Transport {
                ttl_security_hops,
                authentication,
                ..self.transport.clone()
            },
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use ferrolb_crds::model::{
        AoAlgorithm, Family, HoldTime, PeerAsn, Port, RouterId, TcpAo, TtlSecurityHops,
    };

    use super::super::tests::{asn, settings};
    use super::*;

    type Edit = fn(&mut Settings);

    fn md5(key: &str) -> Authentication {
        Authentication::Md5(Secret::new(key.to_owned()))
    }

    fn ao(key: &str) -> Authentication {
        let ids = TcpAo {
            send_id: 1,
            receive_id: 2,
            algorithm: AoAlgorithm::HmacSha1,
        };
        Authentication::Ao(ids, Secret::new(key.to_owned()))
    }

    fn edited(settings: &Settings, edit: Edit) -> Settings {
        let mut edited = settings.clone();
        edit(&mut edited);
        edited
    }

    /// The table of docs/operating.md.
    #[test]
    fn i8_only_what_the_protocol_demands_resets_a_session() {
        let resets: [Edit; 12] = [
            |s| s.name = "other".to_owned(),
            |s| s.neighbor = "10.0.0.2".parse().unwrap(),
            |s| s.port = Port::new(1179).unwrap(),
            |s| s.source_address = "10.0.0.11".parse().ok(),
            |s| s.local_asn = asn(64999),
            |s| s.peer_asn = PeerAsn::External,
            |s| s.router_id = Some(RouterId([1, 1, 1, 1].into())),
            |s| s.hold_time = HoldTime::new(3).unwrap(),
            |s| s.families = BTreeSet::from([Family::V4]),
            |s| s.transport.source_port = Port::new(1790),
            |s| s.transport.device = Some("red".to_owned()),
            |s| s.transport.authentication = ao("key"),
        ];
        for (index, edit) in resets.into_iter().enumerate() {
            let change = settings().change_to(&edited(&settings(), edit));
            assert_eq!(change, Change::Reset, "edit {index}");
        }
        assert_eq!(settings().change_to(&settings()), Change::None);
    }

    #[test]
    fn i8_what_only_this_end_does_is_changed_while_the_session_runs() {
        let changes: [Edit; 5] = [
            |s| s.keepalive_time = Some(Duration::from_secs(1)),
            |s| s.connect_retry_time = Some(Duration::from_secs(1)),
            |s| s.passive = true,
            |s| s.multi_hop = true,
            |s| s.transport.ttl_security_hops = TtlSecurityHops::new(1),
        ];
        for (index, edit) in changes.into_iter().enumerate() {
            let to = edited(&settings(), edit);
            let expected = Change::Live(to.live());
            assert_eq!(settings().change_to(&to), expected, "edit {index}");
            assert_eq!(settings().with(to.live()), to, "edit {index}");
        }
    }

    #[test]
    fn i8_a_password_is_given_changed_and_taken_away_without_a_reset() {
        let passwords = [Authentication::None, md5("old"), md5("new")];
        let with = |authentication: &Authentication| {
            let mut settings = settings();
            settings.transport.authentication = authentication.clone();
            settings
        };
        for from in &passwords {
            for to in &passwords {
                let expected = match from == to {
                    true => Change::None,
                    false => Change::Live(with(to).live()),
                };
                assert_eq!(with(from).change_to(&with(to)), expected);
                assert_eq!(with(from).with(with(to).live()), with(to));
            }
        }
        // Along with anything else it is a reset like any other.
        let both = edited(&with(&md5("new")), |s| s.local_asn = asn(64999));
        assert_eq!(with(&md5("old")).change_to(&both), Change::Reset);
    }

    #[test]
    fn keys_of_tcp_ao_are_those_that_the_connection_was_made_with() {
        let with = |authentication| {
            let mut settings = settings();
            settings.transport.authentication = authentication;
            settings
        };
        for to in [ao("new"), md5("old"), Authentication::None] {
            let change = with(ao("old")).change_to(&with(to));
            assert_eq!(change, Change::Reset);
        }
    }

    #[test]
    fn i10_no_key_is_in_the_debug_output_of_settings_and_changes() {
        for authentication in [md5("hunter2"), ao("hunter2")] {
            let mut settings = settings();
            settings.transport.authentication = authentication;
            let change = super::super::tests::settings().change_to(&settings);
            let shown = format!(
                "{settings:?} {settings:#?} {change:?} {:?}",
                settings.live()
            );
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}

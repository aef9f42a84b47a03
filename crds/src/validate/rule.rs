//! Rules that are told in two wordings: ours, which names the place and what to do, and MetalLB's,
//! with which its users' tools compare the summary of a ConfigurationState to the letter.

use std::fmt;

use crate::api::{BASIC_AUTH_SECRET, PASSWORD_KEY};
use crate::model::{Neighbor, SecretRef};

/// A rule that is broken, and by what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    /// A peer refers to a BFD profile that is not there.
    MissingProfile { peer: String, profile: String },
    /// A peer refers to a Secret that is not there.
    MissingSecret { peer: String, secret: SecretRef },
    /// A peer refers to a Secret that is not one for passwords.
    WrongSecretType { peer: String, secret: SecretRef },
    /// A peer refers to a Secret without a password.
    MissingPassword { peer: String, secret: SecretRef },
    /// An advertisement has a community that is no value and no name.
    UnknownCommunity { text: String },
    /// Two peers would be one session.
    SameSession {
        neighbor: Neighbor,
        rival: String,
        place: String,
    },
}

impl fmt::Display for Rule {
    /// Our wording.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingProfile { peer, profile } => write!(
                f,
                "peer {peer} referencing non existing bfd profile {profile}: create it, or correct the name"
            ),
            Self::MissingSecret { secret, .. } => {
                let SecretRef { namespace, name } = secret;
                write!(f, "secret ref not found: create Secret {namespace}/{name}")
            }
            Self::WrongSecretType { secret, .. } => {
                let SecretRef { namespace, name } = secret;
                write!(
                    f,
                    "secret type mismatch on {namespace}/{name}, type {BASIC_AUTH_SECRET:?} is expected: \
                     create it anew with that type"
                )
            }
            Self::MissingPassword { secret, .. } => {
                let SecretRef { namespace, name } = secret;
                write!(
                    f,
                    "password not specified in the secret {namespace}/{name}: add the key {PASSWORD_KEY}"
                )
            }
            Self::UnknownCommunity { text } => write!(
                f,
                "invalid community format: {text:?} is no value, and no Community defines that name: \
                 define it, or write 65000:100 or large:65000:1:2"
            ),
            Self::SameSession {
                neighbor,
                rival,
                place,
            } => write!(
                f,
                "peer {neighbor} already exists: BGPPeer {rival:?} is the same session on {place}: select \
                 other nodes, or remove one"
            ),
        }
    }
}

impl Rule {
    /// MetalLB's wording, blanks and line breaks included.
    pub(super) fn in_metallbs_words(&self) -> String {
        match self {
            Self::MissingProfile { peer, profile } => {
                format!("peer {peer} referencing non existing bfd profile {profile}")
            }
            Self::MissingSecret { peer, secret } => {
                let place = format!("{:?}/{peer:?}", secret.namespace);
                of_password(
                    peer,
                    &format!("secret ref not found for peer config {place}"),
                )
            }
            Self::WrongSecretType { peer, secret } => {
                let SecretRef { namespace, name } = secret;
                let why = format!(
                    "secret type mismatch on {namespace:?}/{name:?}, type {BASIC_AUTH_SECRET:?} is expected "
                );
                of_password(peer, &why)
            }
            Self::MissingPassword { peer, secret } => {
                let SecretRef { namespace, name } = secret;
                let place = format!("{namespace:?}/{name:?}");
                of_password(
                    peer,
                    &format!("password not specified in the secret {place}"),
                )
            }
            Self::UnknownCommunity { text } => format!(
                "invalid community format: {text}\ninvalid community {text:?} in BGP advertisement"
            ),
            Self::SameSession { neighbor, .. } => format!(
                "peer {neighbor} already exists, FRR mode doesn't support duplicate BGPPeers selecting \
                 the same node"
            ),
        }
    }
}

/// What is wrong with a peer's password is said from the inside out.
fn of_password(peer: &str, why: &str) -> String {
    format!("parsing peer {peer} {why}\nfailed to parse peer {peer} password secret")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> SecretRef {
        SecretRef {
            namespace: "metallb-system".to_owned(),
            name: "bgp-password".to_owned(),
        }
    }

    /// As MetalLB's own suite compares them, but for the missing password, which it does not try.
    #[test]
    fn every_rule_is_told_to_the_letter_as_metallb_tells_it() {
        let peer = "peer1".to_owned();
        for (rule, words) in [
            (
                Rule::MissingProfile {
                    peer: peer.clone(),
                    profile: "my-bfd-profile".to_owned(),
                },
                "peer peer1 referencing non existing bfd profile my-bfd-profile",
            ),
            (
                Rule::MissingSecret {
                    peer: peer.clone(),
                    secret: secret(),
                },
                "parsing peer peer1 secret ref not found for peer config \"metallb-system\"/\"peer1\"\n\
                 failed to parse peer peer1 password secret",
            ),
            (
                Rule::WrongSecretType {
                    peer: peer.clone(),
                    secret: secret(),
                },
                "parsing peer peer1 secret type mismatch on \"metallb-system\"/\"bgp-password\", \
                 type \"kubernetes.io/basic-auth\" is expected \n\
                 failed to parse peer peer1 password secret",
            ),
            (
                Rule::MissingPassword {
                    peer,
                    secret: secret(),
                },
                "parsing peer peer1 password not specified in the secret \
                 \"metallb-system\"/\"bgp-password\"\nfailed to parse peer peer1 password secret",
            ),
            (
                Rule::UnknownCommunity {
                    text: "my-valid-alias".to_owned(),
                },
                "invalid community format: my-valid-alias\n\
                 invalid community \"my-valid-alias\" in BGP advertisement",
            ),
            (
                Rule::SameSession {
                    neighbor: Neighbor::Address("10.200.200.2".parse().unwrap()),
                    rival: "peer-conflict-1".to_owned(),
                    place: "node n1".to_owned(),
                },
                "peer 10.200.200.2 already exists, FRR mode doesn't support duplicate BGPPeers \
                 selecting the same node",
            ),
        ] {
            assert_eq!(rule.in_metallbs_words(), words);
        }
    }

    #[test]
    fn our_wording_says_what_to_do() {
        let rule = Rule::WrongSecretType {
            peer: "peer1".to_owned(),
            secret: secret(),
        };
        let words = rule.to_string();
        assert!(words.contains("metallb-system/bgp-password"), "{words}");
        assert!(words.ends_with("create it anew with that type"), "{words}");
    }
}

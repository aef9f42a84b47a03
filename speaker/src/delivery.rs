//! Whether what arrives at this node is delivered to the Services: kube-proxy, or what stands in for it,
//! says so where it is asked.
//!
//! ```text
//!              5 good answers in a row
//!            ┌─────────────────────────┐
//!            ▼                         │
//!        Delivers ──3 bad in a row──▶ Fails ◀──3 bad in a row── Unknown ──1 good──▶ Delivers
//! ```
//!
//! What follows from it is for the plan to say. A node that does not know yet takes nothing while
//! another delivers, and gives nothing up that nobody else could have.

pub mod driver;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use thiserror::Error;

/// Whether it does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Verdict {
    /// It has not been asked for long enough.
    #[default]
    Unknown,
    /// It does.
    Delivers,
    /// It does not.
    Fails,
}

/// Where to ask: `http://HOST[:PORT][/PATH]`, where the host is an address or `localhost`, because
/// nothing is to depend on looking up names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The server.
    pub at: SocketAddr,
    /// The path, with its slash.
    pub path: String,
}

/// Why a URL cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CheckError {
    /// Another scheme, or none.
    #[error("it must begin with http:// (TLS is not spoken)")]
    Scheme,
    /// A name, or nothing.
    #[error("its host must be an IP address or localhost: names are not looked up")]
    Host,
    /// No number between 1 and 65535.
    #[error("its port must be a number between 1 and 65535")]
    Port,
    /// White space, a control character, or letters that a request cannot carry.
    #[error("its path must be printable ASCII without spaces")]
    Path,
}

impl Check {
    /// Reads a URL.
    pub fn parse(text: &str) -> Result<Self, CheckError> {
        let rest = text.strip_prefix("http://").ok_or(CheckError::Scheme)?;
        let end = rest.find('/').unwrap_or(rest.len());
        let (host, path) = rest.split_at(end);
        if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(CheckError::Path);
        }
        let (host, port) = match host.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse()),
            _ => (host, Ok(80)),
        };
        let port: u16 = port.map_err(|_| CheckError::Port)?;
        let six = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let address = match (host, six) {
            ("localhost", _) => Some(Ipv4Addr::LOCALHOST.into()),
            (_, Some(six)) => six.parse().ok().map(IpAddr::V6),
            (four, None) => four.parse().ok().map(IpAddr::V4),
        };
        let address = address.ok_or(CheckError::Host)?;
        if port == 0 {
            return Err(CheckError::Port);
        }
        Ok(Self {
            at: SocketAddr::new(address, port),
            path: if path.is_empty() { "/" } else { path }.to_owned(),
        })
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.at, self.path)
    }
}

/// The answers so far, as far as they count.
#[derive(Debug, Default)]
pub struct Delivery {
    verdict: Verdict,
    /// How many answers in a row said otherwise.
    against: u8,
}

impl Delivery {
    /// Takes in whether an answer was good, and says what follows.
    pub fn note(&mut self, is_good: bool) -> Verdict {
        let (next, enough) = match (self.verdict, is_good) {
            (Verdict::Unknown, true) => (Verdict::Delivers, 1),
            (Verdict::Unknown | Verdict::Delivers, false) => (Verdict::Fails, FAILURES),
            (Verdict::Fails, true) => (Verdict::Delivers, SUCCESSES),
            (Verdict::Delivers, true) | (Verdict::Fails, false) => {
                self.against = 0;
                return self.verdict;
            }
        };
        self.against += 1;
        if self.against >= enough {
            self.verdict = next;
            self.against = 0;
        }
        self.verdict
    }
}

/// So many bad answers in a row, or none at all, are a node that does not deliver: rules that are written
/// anew, or a restart, are shorter.
pub const FAILURES: u8 = 3;

/// So many good answers in a row are a node that delivers again.
pub const SUCCESSES: u8 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict after each answer: `+` good, `-` bad; `?` unknown, `D` delivers, `F` fails.
    fn verdicts(answers: &str) -> String {
        let mut delivery = Delivery::default();
        let verdicts = answers
            .chars()
            .map(|answer| match delivery.note(answer == '+') {
                Verdict::Unknown => '?',
                Verdict::Delivers => 'D',
                Verdict::Fails => 'F',
            });
        verdicts.collect()
    }

    #[test]
    fn it_takes_three_bad_answers_in_a_row_to_fail_and_five_good_ones_to_deliver_again() {
        for (answers, expected) in [
            ("+", "D"),
            ("---", "??F"),
            ("--+", "??D"),
            ("+--+--+", "DDDDDDD"),
            ("+---", "DDDF"),
            ("+---++++-+++++", "DDDFFFFFFFFFFD"),
            ("---+++++---", "??FFFFFDDDF"),
        ] {
            assert_eq!(verdicts(answers), expected, "{answers}");
        }
    }

    #[test]
    fn a_url_is_http_to_an_address_and_every_other_is_refused_with_the_reason() {
        for (text, at, path) in [
            (
                "http://127.0.0.1:10256/healthz",
                "127.0.0.1:10256",
                "/healthz",
            ),
            ("http://localhost:10256", "127.0.0.1:10256", "/"),
            ("http://[::1]:80/a?b", "[::1]:80", "/a?b"),
            ("http://[::1]/", "[::1]:80", "/"),
            ("http://10.0.0.1", "10.0.0.1:80", "/"),
        ] {
            let check = Check {
                at: at.parse().unwrap(),
                path: path.to_owned(),
            };
            assert_eq!(Check::parse(text), Ok(check), "{text}");
        }
        for (text, error) in [
            ("https://127.0.0.1/", CheckError::Scheme),
            ("127.0.0.1:10256", CheckError::Scheme),
            ("http://kube-proxy:10256/", CheckError::Host),
            ("http://", CheckError::Host),
            ("http://::1:80/", CheckError::Host),
            ("http://127.0.0.1:0/", CheckError::Port),
            ("http://127.0.0.1:65536/", CheckError::Port),
            ("http://127.0.0.1:/", CheckError::Port),
            ("http://127.0.0.1/a b", CheckError::Path),
            ("http://127.0.0.1/\r\nX: y", CheckError::Path),
        ] {
            assert_eq!(Check::parse(text), Err(error), "{text}");
        }
    }
}

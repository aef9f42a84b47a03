//! How a NOTIFICATION reads: IANA's names, and what the peer's operator has to say.

use std::fmt;

use super::{CEASE, CONNECTION_COLLISION, CONNECTION_REJECTED, HARD_RESET, Notification};

impl Notification {
    /// RFC 9003: the sentence an operator sent along with a shutdown or reset.
    pub fn shutdown_communication(&self) -> Option<String> {
        let is_shutdown = self.code == CEASE && matches!(self.subcode, 2 | 4);
        let (length, text) = self.data.split_first().filter(|_| is_shutdown)?;
        let text = text.get(..usize::from(*length))?;
        // A peer's text goes to a terminal: nothing in it may move the cursor or turn letters round.
        let text: String = String::from_utf8_lossy(text)
            .chars()
            .map(|c| if is_printable(c) { c } else { ' ' })
            .collect();
        (!text.is_empty()).then_some(text)
    }

    /// RFC 4271 §6.8: another connection was kept.
    pub fn is_collision(&self) -> bool {
        (self.code, self.subcode) == (CEASE, CONNECTION_COLLISION)
    }

    /// RFC 4486: the connection was not even looked at.
    pub fn is_rejection(&self) -> bool {
        (self.code, self.subcode) == (CEASE, CONNECTION_REJECTED)
    }

    /// RFC 8538 §3: what a Hard Reset is about.
    fn encapsulated(&self) -> Option<Self> {
        let is_hard_reset = (self.code, self.subcode) == (CEASE, HARD_RESET);
        match self.data.as_slice() {
            [code, subcode, data @ ..] if is_hard_reset => Some(Self {
                code: *code,
                subcode: *subcode,
                data: data.to_vec(),
            }),
            _ => None,
        }
    }

    fn name(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match code_name(self.code) {
            Some(name) => f.write_str(name)?,
            None => write!(f, "code {}", self.code)?,
        }
        match subcode_name(self.code, self.subcode) {
            Some(name) => write!(f, "/{name}")?,
            None if self.subcode == 0 => {}
            None => write!(f, "/subcode {}", self.subcode)?,
        }
        match self.shutdown_communication() {
            Some(text) => write!(f, " ({text})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name(f)?;
        // One within another is enough: a third would be the peer's joke.
        match self.encapsulated() {
            Some(cause) => {
                f.write_str(": ")?;
                cause.name(f)
            }
            None => Ok(()),
        }
    }
}

/// Neither a control character nor one that changes the direction of those around it or is not seen.
fn is_printable(c: char) -> bool {
    let is_invisible = matches!(
        c,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    );
    !c.is_control() && !is_invisible
}

/// IANA's "BGP Error (Notification) Codes".
fn code_name(code: u8) -> Option<&'static str> {
    let names = [
        "Message Header Error",
        "OPEN Message Error",
        "UPDATE Message Error",
        "Hold Timer Expired",
        "Finite State Machine Error",
        "Cease",
        "ROUTE-REFRESH Message Error",
        "Send Hold Timer Expired",
    ];
    names.get(usize::from(code).checked_sub(1)?).copied()
}

/// IANA's "BGP Error Subcodes".
fn subcode_name(code: u8, subcode: u8) -> Option<&'static str> {
    let names: &[&str] = match code {
        1 => &[
            "Connection Not Synchronized",
            "Bad Message Length",
            "Bad Message Type",
        ],
        2 => &[
            "Unsupported Version Number",
            "Bad Peer AS",
            "Bad BGP Identifier",
            "Unsupported Optional Parameter",
            "Authentication Failure",
            "Unacceptable Hold Time",
            "Unsupported Capability",
            "Deprecated",
            "Deprecated",
            "Deprecated",
            "Role Mismatch",
        ],
        3 => &[
            "Malformed Attribute List",
            "Unrecognized Well-known Attribute",
            "Missing Well-known Attribute",
            "Attribute Flags Error",
            "Attribute Length Error",
            "Invalid ORIGIN Attribute",
            "AS Routing Loop",
            "Invalid NEXT_HOP Attribute",
            "Optional Attribute Error",
            "Invalid Network Field",
            "Malformed AS_PATH",
        ],
        5 => &[
            "Unexpected Message in OpenSent State",
            "Unexpected Message in OpenConfirm State",
            "Unexpected Message in Established State",
        ],
        6 => &[
            "Maximum Number of Prefixes Reached",
            "Administrative Shutdown",
            "Peer De-configured",
            "Administrative Reset",
            "Connection Rejected",
            "Other Configuration Change",
            "Connection Collision Resolution",
            "Out of Resources",
            "Hard Reset",
            "BFD Down",
        ],
        7 => &["Invalid Message Length"],
        _ => &[],
    };
    names.get(usize::from(subcode).checked_sub(1)?).copied()
}

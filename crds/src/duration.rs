//! Durations as Kubernetes writes them: `90s`, `1m30s`, `500ms`, `0`.

use std::time::Duration;

use thiserror::Error;

/// Why a text is no length of time.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("write numbers and their units (ms, s, m or h), such as 500ms, 60s or 1m30s; or 0")]
pub struct NotADuration;

/// A length of time from a command line: a duration that is not negative.
pub fn from_argument(text: &str) -> Result<Duration, NotADuration> {
    let nanoseconds = parse(text).and_then(|n| u64::try_from(n).ok());
    nanoseconds.map(Duration::from_nanos).ok_or(NotADuration)
}

/// Nanoseconds of a duration string; `None` when it is none, or beyond 64 bits.
pub fn parse(text: &str) -> Option<i64> {
    let (sign, magnitude) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if magnitude == "0" {
        return Some(0);
    }
    if magnitude.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    let mut rest = magnitude;
    while !rest.is_empty() {
        let (nanoseconds, tail) = term(rest)?;
        total = total.checked_add(nanoseconds)?;
        rest = tail;
    }
    i64::try_from(sign * total).ok()
}

/// One number with its unit, in nanoseconds, and what follows it.
fn term(text: &str) -> Option<(i128, &str)> {
    let (whole, rest) = digits(text);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => digits(rest),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let (unit, rest) = unit(rest)?;
    let whole = if whole.is_empty() { "0" } else { whole };
    let whole: i128 = i128::from(whole.parse::<u64>().ok()?) * unit;
    Some((whole + part_of(unit, fraction)?, rest))
}

fn digits(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

/// Digits beyond the eighteenth are below a nanosecond in every unit.
fn part_of(unit: i128, fraction: &str) -> Option<i128> {
    let fraction = &fraction[..fraction.len().min(18)];
    if fraction.is_empty() {
        return Some(0);
    }
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    Some(fraction.parse::<i128>().ok()? * unit / scale)
}

fn unit(text: &str) -> Option<(i128, &str)> {
    // Longer names first: `ms` is not `m`. The micro sign exists twice in Unicode.
    const UNITS: [(&str, i128); 8] = [
        ("ns", 1),
        ("us", 1_000),
        ("\u{b5}s", 1_000),
        ("\u{3bc}s", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    UNITS
        .iter()
        .find_map(|(name, value)| Some((*value, text.strip_prefix(name)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_kubernetes_does() {
        for (text, expected) in [
            ("90s", Some(90_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("500ms", Some(500_000_000)),
            ("1.5h", Some(5_400_000_000_000)),
            (".5s", Some(500_000_000)),
            ("0", Some(0)),
            ("0s", Some(0)),
            ("-5s", Some(-5_000_000_000)),
            ("+5s", Some(5_000_000_000)),
            ("1us", Some(1_000)),
            ("1\u{b5}s", Some(1_000)),
            ("1.0000000000000000009s", Some(1_000_000_000)),
            ("", None),
            ("-", None),
            ("90", None),
            ("s", None),
            (".s", None),
            ("9 s", None),
            ("1d", None),
            ("9223372037s", None),
            ("99999999999999999999s", None),
        ] {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn arguments_are_not_negative() {
        assert_eq!(from_argument("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(from_argument("0"), Ok(Duration::ZERO));
        for text in ["-1s", "", "60", "1 s", "9999999999h"] {
            assert_eq!(from_argument(text), Err(NotADuration), "{text}");
        }
    }
}

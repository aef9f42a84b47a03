//! Durations as Go writes them: `100ms`, `1s`, `1m30s`.

use std::time::Duration;

/// Reads a sequence of number and unit.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration: write it like 100ms, 1s or 1m30s");
    let mut rest = text;
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let (number, after) = split(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, after) = split(after, |c| c.is_alphabetic());
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let seconds = number * unit_seconds(unit).ok_or_else(wrong)?;
        let part = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = after;
    }
    Ok(total)
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !belongs(c)).unwrap_or(text.len());
    text.split_at(end)
}

fn unit_seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, expected) in [
            ("100ms", Some(100)),
            ("1s", Some(1000)),
            ("1m30s", Some(90_000)),
            ("1.5s", Some(1500)),
            ("0s", Some(0)),
            ("", None),
            ("5", None),
            ("ms", None),
            ("1d", None),
            ("-1s", None),
            ("1..5s", None),
            ("99999999999999999999h", None),
        ] {
            let expected = expected.map(Duration::from_millis);
            assert_eq!(parse(text).ok(), expected, "{text}");
        }
    }
}

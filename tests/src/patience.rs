//! Waiting for something to become true, with an end to it and a way out on Ctrl-C.
#![expect(clippy::disallowed_methods, reason = "a proof waits for the world")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Turns SIGINT, SIGTERM and SIGHUP into an error of the next wait, so that everything built is
/// dropped in order.
#[expect(
    unsafe_code,
    reason = "a signal handler can only be installed through libc"
)]
pub fn interruptible() {
    extern "C" fn note(_: libc::c_int) {
        INTERRUPTED.store(true, Ordering::SeqCst);
    }
    let handler: extern "C" fn(libc::c_int) = note;
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler stores to an atomic and nothing else, which is async-signal-safe.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}

/// Whether a signal asked for the end.
pub fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Sleeps in short steps, and fails when interrupted.
pub fn pause(duration: Duration) -> Result<()> {
    let end = Instant::now() + duration;
    loop {
        if is_interrupted() {
            bail!("interrupted");
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(Duration::from_millis(20)));
    }
}

/// Asks until there is an answer; returns it and how long that took.
pub fn eventually<T>(
    what: &str,
    limit: Duration,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<(T, Duration)> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok((answer, start.elapsed()));
        }
        if start.elapsed() > limit {
            bail!("waited {limit:?} for {what} in vain");
        }
        pause(Duration::from_millis(10))?;
    }
}

/// Waits until a condition holds; returns how long that took.
pub fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) -> Result<Duration> {
    let ((), elapsed) = eventually(what, limit, || Ok(holds().then_some(())))?;
    Ok(elapsed)
}

/// Fails if the condition stops holding within the time given.
pub fn throughout(what: &str, span: Duration, mut holds: impl FnMut() -> bool) -> Result<()> {
    let end = Instant::now() + span;
    while Instant::now() < end {
        if !holds() {
            bail!("{what} did not last {span:?}");
        }
        pause(Duration::from_millis(20))?;
    }
    Ok(())
}

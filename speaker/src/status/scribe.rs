//! The thread that makes large documents and writes them: behind all others, because whatever else the
//! speaker does matters more than what it says of itself.

#![expect(unsafe_code, reason = "one call of setpriority")]

use std::io;
use std::sync::mpsc;
use std::thread;

use anyhow::Context;
use tokio::sync::oneshot;
use tracing::debug;

/// The thread; it ends with what it was last told to do.
#[derive(Debug)]
pub(super) struct Scribe {
    jobs: mpsc::Sender<Job>,
}

type Job = Box<dyn FnOnce() + Send>;

impl Scribe {
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, todo) = mpsc::channel::<Job>();
        let work = move || {
            if let Err(error) = run_behind() {
                debug!(%error, "status is written with no less priority than the rest");
            }
            for job in todo {
                job();
            }
        };
        thread::Builder::new()
            .name("status".to_owned())
            .spawn(work)?;
        Ok(Self { jobs })
    }

    /// Does that there, and waits for it.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        let (done, outcome) = oneshot::channel();
        let job = move || {
            // Who does not wait any more does not want to know.
            let _ = done.send(work());
        };
        // An error means that the thread has ended: then there is no outcome, either.
        let _ = self.jobs.send(Box::new(job));
        outcome.await.context("the status thread has ended")
    }
}

/// Lets this thread run behind the others.
fn run_behind() -> io::Result<()> {
    // SAFETY: takes no memory; 0 is the calling thread, to Linux.
    match unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The niceness of what can wait, and is to be done all the same on a busy node.
const NICENESS: libc::c_int = 10;

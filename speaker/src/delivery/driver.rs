//! Asks once a second, in a task of its own: whoever is asked may hang.

#![expect(
    clippy::disallowed_methods,
    reason = "driver: owns a task, its connections and its deadlines"
)]

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::debug;

use super::{Check, Delivery, Verdict};

/// Asks until dropped.
#[derive(Debug)]
pub struct Asking {
    verdict: watch::Receiver<Verdict>,
    task: JoinHandle<()>,
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Asking {
    /// Begins to ask.
    pub fn start(check: Check) -> Self {
        let (teller, verdict) = watch::channel(Verdict::Unknown);
        let task = tokio::spawn(run(check, teller));
        Self { verdict, task }
    }

    /// The verdict, and what becomes of it.
    pub fn verdict(&self) -> watch::Receiver<Verdict> {
        self.verdict.clone()
    }
}

async fn run(check: Check, teller: watch::Sender<Verdict>) {
    let mut delivery = Delivery::default();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let is_good = match timeout(PATIENCE, ask(&check)).await {
            Ok(Ok(is_good)) => is_good,
            Ok(Err(error)) => {
                debug!(%check, error = &error as &dyn std::error::Error, "delivery check not answered");
                false
            }
            Err(_) => false,
        };
        let verdict = delivery.note(is_good);
        teller.send_if_modified(|current| {
            let differs = *current != verdict;
            *current = verdict;
            differs
        });
    }
}

/// Whether the answer is a success. No more of it is read than its first line's beginning.
async fn ask(check: &Check) -> io::Result<bool> {
    let mut stream = TcpStream::connect(check.at).await?;
    let Check { at, path } = check;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut line = [0; STATUS.len() + 3];
    stream.read_exact(&mut line).await?;
    // Whatever 1.x it is: `HTTP/1.1 200 OK`.
    let is_http = line.starts_with(b"HTTP/1.") && line[8] == b' ';
    Ok(is_http && line[STATUS.len()] == b'2')
}

/// How a status line begins.
const STATUS: &[u8] = b"HTTP/1.1 ";

/// Time between two questions.
const EVERY: Duration = Duration::from_secs(1);

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_millis(900);

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    fn asked(answer: &'static [u8]) -> io::Result<bool> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let at = listener.local_addr()?;
            let serve = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await?;
                let mut request = vec![0; 1024];
                let length = stream.read(&mut request).await?;
                stream.write_all(answer).await?;
                request.truncate(length);
                io::Result::Ok(request)
            });
            let check = Check {
                at,
                path: "/healthz".to_owned(),
            };
            let answer = ask(&check).await;
            let request = serve.await.expect("it does not panic")?;
            assert!(request.starts_with(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:"));
            answer
        })
    }

    #[test]
    fn i7_a_success_is_good_and_everything_else_is_not() {
        assert!(asked(b"HTTP/1.1 200 OK\r\n\r\n").unwrap());
        assert!(asked(b"HTTP/1.0 204 \r\n\r\n").unwrap());
        for bad in [
            &b"HTTP/1.1 503 Service Unavailable\r\n\r\n"[..],
            b"HTTP/1.1 302 Found\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.2\r\n",
            &[b'2'; 4096],
        ] {
            assert!(!asked(bad).unwrap(), "{bad:?}");
        }
        assert!(asked(b"HTTP/1.1 ").is_err() && asked(b"").is_err());
    }
}

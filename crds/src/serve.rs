//! What a program tells over HTTP: `/metrics`, `/healthz` and `/readyz`.
//!
//! A program that cannot be asked still does its work: an address that is taken is tried again, and
//! the number of those who ask, what they may say and how long they may take are bounded.

#![expect(
    clippy::disallowed_methods,
    reason = "driver: owns a listener, its clients and their deadlines"
)]

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

/// What can be asked for at one address.
#[derive(Clone, Default)]
pub struct Pages {
    /// `/metrics`: makes the text anew each time.
    pub metrics: Option<Arc<dyn Fn() -> String + Send + Sync>>,
    /// `/healthz` and `/readyz`.
    pub pulse: Option<Pulse>,
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages")
            .field("metrics", &self.metrics.is_some())
            .field("pulse", &self.pulse)
            .finish()
    }
}

/// How the main loop is doing, as it says itself.
#[derive(Debug, Clone)]
pub struct Pulse(Arc<Signs>);

#[derive(Debug)]
struct Signs {
    began: Instant,
    /// Milliseconds from the beginning to the last turn of the loop.
    turned: AtomicU64,
    is_ready: AtomicBool,
}

impl Pulse {
    /// The loop has to say at least this often that it turns.
    pub const INTERVAL: Duration = Duration::from_secs(10);

    /// It begins to turn, and is not ready yet.
    pub fn begin() -> Self {
        Self(Arc::new(Signs {
            began: Instant::now(),
            turned: AtomicU64::new(0),
            is_ready: AtomicBool::new(false),
        }))
    }

    /// It turns.
    pub fn beat(&self) {
        self.0.turned.store(self.elapsed(), Ordering::Relaxed);
    }

    /// It is ready, or not any more.
    pub fn set_ready(&self, is_ready: bool) {
        self.0.is_ready.store(is_ready, Ordering::Relaxed);
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn is_alive(&self) -> bool {
        let turned = self.0.turned.load(Ordering::Relaxed);
        Duration::from_millis(self.elapsed().saturating_sub(turned)) < 3 * Self::INTERVAL
    }

    fn is_ready(&self) -> bool {
        self.0.is_ready.load(Ordering::Relaxed)
    }
}

/// Answers until dropped.
#[derive(Debug)]
pub struct Server(JoinHandle<()>);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Server {
    /// Begins to answer as soon as the address is free.
    pub fn start(address: SocketAddr, pages: Pages) -> Self {
        Self(tokio::spawn(async move {
            let listener = bind(address).await;
            serve(listener, pages).await;
        }))
    }
}

async fn bind(address: SocketAddr) -> TcpListener {
    let mut has_failed = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                if has_failed {
                    info!(%address, "address is free: listening");
                }
                return listener;
            }
            Err(error) if !has_failed => {
                let error = &error as &dyn std::error::Error;
                warn!(%address, error, "cannot listen, trying again");
                has_failed = true;
            }
            Err(_) => {}
        }
        sleep(RETRY).await;
    }
}

async fn serve(listener: TcpListener, pages: Pages) {
    let slots = Arc::new(Semaphore::new(CLIENTS));
    let pages = Arc::new(pages);
    loop {
        // Never closed, so that there always comes a slot.
        let slot = Arc::clone(&slots).acquire_owned().await;
        match listener.accept().await {
            Ok((client, _)) => {
                let pages = Arc::clone(&pages);
                tokio::spawn(async move {
                    answer(client, pages).await;
                    drop(slot);
                });
            }
            Err(error) => {
                note(&error);
                sleep(PAUSE).await;
            }
        }
    }
}

fn note(error: &io::Error) {
    let error = error as &dyn std::error::Error;
    debug!(error, "client not accepted");
}

/// One request; whoever has another comes again.
async fn answer(client: TcpStream, pages: Arc<Pages>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = respond(&pages, request.method(), request.uri().path());
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(LONGEST_REQUEST)
        .keep_alive(false)
        .serve_connection(TokioIo::new(client), service);
    match timeout(PATIENCE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            let error = &error as &dyn std::error::Error;
            debug!(error, "client not answered");
        }
        Err(_) => debug!("client too slow"),
    }
}

type Answer = Response<Full<Bytes>>;

fn respond(pages: &Pages, method: &Method, path: &str) -> Answer {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered\n");
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    match (path, &pages.metrics, &pages.pulse) {
        ("/metrics", Some(metrics), _) => text(StatusCode::OK, metrics()),
        ("/healthz", _, Some(pulse)) => verdict(pulse.is_alive(), "the main loop is stuck\n"),
        ("/readyz", _, Some(pulse)) => verdict(pulse.is_ready(), "not ready\n"),
        _ => text(StatusCode::NOT_FOUND, "there is nothing here\n"),
    }
}

fn verdict(is_well: bool, otherwise: &'static str) -> Answer {
    match is_well {
        true => text(StatusCode::OK, "ok\n"),
        false => text(StatusCode::SERVICE_UNAVAILABLE, otherwise),
    }
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(TEXT);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// Prometheus' text format, which is plain text.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How many are answered at a time; the others wait.
const CLIENTS: usize = 32;

/// How long one of them may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a request may be.
const LONGEST_REQUEST: usize = 16 * 1024;

/// How long to wait before an address that is taken is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// How long to wait when nobody can be accepted: there may be no file descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;

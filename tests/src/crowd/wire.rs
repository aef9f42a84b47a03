//! A crowd on a real segment: its socket, its clock, and the thread that waits for its deadlines.
#![expect(clippy::disallowed_methods, reason = "opens sockets, reads the clock")]
#![expect(
    unsafe_code,
    reason = "binding an AF_PACKET socket and waiting for it have no safe wrapper"
)]

use std::io::{ErrorKind, Read};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ferrolb_crds::model::Secret;
use ferrolb_speaker::wire::ethernet::{ARP, IPV4};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::sync::oneshot;

use super::{Crowd, Member};
use crate::segment::Host;

/// A crowd that is there; ends when dropped.
#[derive(Debug)]
pub struct Playing {
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    outcome: std::sync::mpsc::Receiver<Result<()>>,
}

impl Playing {
    /// Has these nodes appear on a host's interface.
    pub fn start(
        host: &Host,
        members: Vec<Member>,
        key: Secret,
        reannounce: Option<Duration>,
    ) -> Result<Self> {
        let index = host.namespace.run("cat /sys/class/net/eth0/ifindex")?;
        let index: i32 = index.trim().parse().context("the number of an interface")?;
        let (end, ended) = oneshot::channel();
        let (sender, outcome) = std::sync::mpsc::channel();
        let thread = host.namespace.spawn_inside(move || {
            let crowd = Crowd::new(Instant::now(), members, &key, reannounce);
            // Whoever does not wait for it has dropped it.
            let _ = sender.send(play(index, crowd, ended));
        })?;
        Ok(Self {
            end: Some(end),
            thread: Some(thread),
            outcome,
        })
    }

    /// Fails if it is there no more.
    pub fn check(&self) -> Result<()> {
        match self.outcome.try_recv() {
            Ok(outcome) => outcome.context("a crowd has ended"),
            Err(std::sync::mpsc::TryRecvError::Empty) => Ok(()),
            Err(std::sync::mpsc::TryRecvError::Disconnected) => bail!("a crowd has ended"),
        }
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // What it had to say is in the outcome.
            let _ = thread.join();
        }
    }
}

fn play(index: i32, crowd: Crowd, ended: oneshot::Receiver<()>) -> Result<()> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime
        .enable_all()
        .build()?
        .block_on(act(index, crowd, ended))
}

async fn act(index: i32, mut crowd: Crowd, mut ended: oneshot::Receiver<()>) -> Result<()> {
    let sockets = [packet_socket(index, ARP)?, packet_socket(index, IPV4)?];
    let [arp, heartbeats] = &sockets;
    loop {
        for frame in crowd.speak(Instant::now()) {
            send(arp, &frame)?;
        }
        let deadline = crowd.poll_timeout().unwrap_or_else(Instant::now);
        let ready = tokio::select! {
            _ = &mut ended => return Ok(()),
            ready = arp.readable() => Some(ready?),
            ready = heartbeats.readable() => Some(ready?),
            () = tokio::time::sleep_until(deadline.into()) => None,
        };
        if let Some(ready) = ready {
            hear(ready, &mut crowd)?;
        }
    }
}

/// Hands over the frames that have come, a bounded number at once.
fn hear(mut ready: AsyncFdReadyGuard<'_, Socket>, crowd: &mut Crowd) -> Result<()> {
    let mut buffer = [0; 2048];
    for _ in 0..BATCH {
        match ready.try_io(|socket| socket.get_ref().read(&mut buffer)) {
            Ok(Ok(length)) => crowd.hear(Instant::now(), &buffer[..length]),
            Ok(Err(error)) => return Err(error).context("reading a crowd's socket"),
            Err(_would_block) => break,
        }
    }
    Ok(())
}

/// What finds no room is lost, as on any wire.
fn send(socket: &AsyncFd<Socket>, frame: &[u8]) -> Result<()> {
    match socket.get_ref().send(frame) {
        Err(error)
            if error.kind() != ErrorKind::WouldBlock
                && error.raw_os_error() != Some(libc::ENOBUFS) =>
        {
            Err(error).context("sending a frame of a crowd")
        }
        _ => Ok(()),
    }
}

/// Bound to a protocol it does not see what is sent here.
fn packet_socket(index: i32, ether_type: u16) -> Result<AsyncFd<Socket>> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    socket.set_nonblocking(true)?;
    // SAFETY: the storage is zeroed, and larger and no less aligned than any socket address; what
    // is written to it is a sockaddr_ll, whose size is put into the length.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            storage
                .cast::<libc::sockaddr_ll>()
                .write(libc::sockaddr_ll {
                    sll_family: libc::AF_PACKET as u16,
                    sll_protocol: ether_type.to_be(),
                    sll_ifindex: index,
                    sll_hatype: 0,
                    sll_pkttype: 0,
                    sll_halen: 0,
                    sll_addr: [0; 8],
                });
            *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })
    }?;
    socket.bind(&address).context("binding a crowd's socket")?;
    // SAFETY: a Socket owns its descriptor, which stays open and the same until it is dropped, and the
    // AsyncFd owns the Socket.
    unsafe { AsyncFd::register(socket) }.context("waiting for a crowd's socket")
}

/// Frames taken from a socket before what is due is done.
const BATCH: usize = 256;

//! Sockets, clock and thread of layer 2; every decision is the [`Station`]'s.
//!
//! Layer 2 runs on a thread of its own, so that however long the rest of the speaker thinks, an
//! ARP request and a heartbeat do not wait for it. Each interface has three AF_PACKET sockets, one
//! for each protocol, because a socket that is bound to a protocol never sees our own frames, and
//! each with a filter in the kernel, because the other frames of a segment must cost nothing.

#![expect(
    clippy::disallowed_methods,
    reason = "driver: reads the clock, opens sockets, starts its thread's work"
)]
#![expect(
    unsafe_code,
    reason = "binding an AF_PACKET socket and joining its groups have no safe wrapper"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::net::Ipv6Addr;
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};
use thiserror::Error;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot, watch};

use crate::layer2::filter::{self, Instruction};
use crate::layer2::heartbeat::{self, GROUP};
use crate::layer2::interfaces::{InterfacesError, Watch};
use crate::layer2::station::{Input, Link, Output, Station};
use crate::layer2::{Desired, LinkIndex, Report, Settings};
use crate::wire::ethernet::{self, Mac};

/// Why layer 2 does not run.
#[derive(Debug, Error)]
pub enum StartError {
    /// A node name that the others would not accept.
    #[error("node name {0:?} is no lower-case DNS name")]
    NodeName(String),
    /// An interval that the others would not accept.
    #[error("heartbeat interval {0:?} is not between 10 ms and 60 s")]
    Interval(Duration),
    /// The thread or its reactor could not be made.
    #[error("failed to start the layer-2 thread")]
    Thread(#[source] io::Error),
    /// The interfaces are not known.
    #[error(transparent)]
    Interfaces(#[from] InterfacesError),
}

/// Layer 2 at work, on a thread of its own; dropping it ends it without a farewell.
#[derive(Debug)]
pub struct Layer2 {
    desired: watch::Sender<Desired>,
    report: watch::Receiver<Report>,
    leave: mpsc::Sender<oneshot::Sender<()>>,
}

impl Layer2 {
    /// Starts listening and, once wanted, answering in the network namespace of the caller, which
    /// waits until the kernel has listed its interfaces.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        if !heartbeat::is_node_name(&settings.node) {
            return Err(StartError::NodeName(settings.node));
        }
        if !heartbeat::INTERVALS.contains(&settings.interval) {
            return Err(StartError::Interval(settings.interval));
        }
        let (desired, wanted) = watch::channel(Desired::default());
        let (reporter, report) = watch::channel(Report {
            listening: true,
            ..Report::default()
        });
        let (leave, leaving) = mpsc::channel(1);
        let (started, outcome) = std::sync::mpsc::channel();
        let work = move || serve(&settings, wanted, reporter, leaving, &started);
        let thread = thread::Builder::new().name("layer2".to_owned());
        thread.spawn(work).map_err(StartError::Thread)?;
        let gone = |_| StartError::Thread(io::ErrorKind::BrokenPipe.into());
        outcome.recv().map_err(gone)??;
        Ok(Self {
            desired,
            report,
            leave,
        })
    }

    /// Says what should be true from now on.
    pub fn want(&self, desired: Desired) {
        self.desired.send_if_modified(|current| {
            let differs = *current != desired;
            *current = desired;
            differs
        });
    }

    /// What layer 2 knows; an error of `changed` means that it has ended.
    pub fn report(&self) -> watch::Receiver<Report> {
        self.report.clone()
    }

    /// Stops answering, tells the others and ends; takes less than half a second.
    pub async fn leave(self) {
        let (done, is_done) = oneshot::channel();
        let leave = async {
            if self.leave.send(done).await.is_ok() {
                // An error means that the thread has ended, which is what we wait for.
                is_done.await.unwrap_or_default();
            }
        };
        let bound = tokio::time::timeout(LEAVE_BOUND, leave).await;
        if bound.is_err() {
            tracing::warn!("layer 2 did not take its leave in time");
        }
    }
}

type Started = std::sync::mpsc::Sender<Result<(), StartError>>;

/// The thread: its own reactor, and one task.
fn serve(
    settings: &Settings,
    wanted: watch::Receiver<Desired>,
    reporter: watch::Sender<Report>,
    leaving: mpsc::Receiver<oneshot::Sender<()>>,
    started: &Started,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return report_start(started, Err(StartError::Thread(error))),
    };
    runtime.block_on(async {
        match Driver::open(settings, reporter).await {
            Ok(driver) => {
                report_start(started, Ok(()));
                driver.run(wanted, leaving).await;
            }
            Err(error) => report_start(started, Err(error.into())),
        }
    });
}

fn report_start(started: &Started, outcome: Result<(), StartError>) {
    if started.send(outcome).is_err() {
        tracing::debug!("nobody waits for layer 2 to start");
    }
}

/// The one task.
struct Driver {
    station: Station,
    watch: Option<Watch>,
    ports: BTreeMap<LinkIndex, Port>,
    /// When to open again what could not be opened.
    retry: Option<Instant>,
    reporter: watch::Sender<Report>,
    has_left: bool,
}

/// What woke the task.
enum Event {
    Wanted(Result<(), watch::error::RecvError>),
    Leave(Option<oneshot::Sender<()>>),
    Links(Result<(), InterfacesError>),
    Frames,
    Deadline,
}

impl Driver {
    async fn open(
        settings: &Settings,
        reporter: watch::Sender<Report>,
    ) -> Result<Self, InterfacesError> {
        let mut watch = Watch::open()?;
        watch.changed().await?;
        let wall = SystemTime::now();
        let since_epoch = wall
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let incarnation = u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX);
        let mut driver = Self {
            station: Station::new(settings, incarnation, Instant::now(), wall),
            watch: Some(watch),
            ports: BTreeMap::new(),
            retry: None,
            reporter,
            has_left: false,
        };
        driver.follow_links();
        driver.turn();
        Ok(driver)
    }

    async fn run(
        mut self,
        mut wanted: watch::Receiver<Desired>,
        mut leaving: mpsc::Receiver<oneshot::Sender<()>>,
    ) {
        let mut farewell = None;
        while !self.has_left {
            match self.next_event(&mut wanted, &mut leaving).await {
                Event::Wanted(Ok(())) => self.want(&mut wanted),
                // The handle is gone, and with it everybody who could want something.
                Event::Wanted(Err(_)) | Event::Leave(None) => return,
                Event::Leave(Some(done)) => {
                    farewell = Some(done);
                    self.station.handle(Instant::now(), Input::Leave);
                }
                Event::Links(outcome) => self.note_links(outcome),
                Event::Frames => self.want_if_changed(&mut wanted),
                Event::Deadline => self.retry_if_due(),
            }
            self.turn();
        }
        if let Some(done) = farewell {
            done.send(()).unwrap_or_default();
        }
    }

    async fn next_event(
        &mut self,
        wanted: &mut watch::Receiver<Desired>,
        leaving: &mut mpsc::Receiver<oneshot::Sender<()>>,
    ) -> Event {
        let deadline = self.deadline();
        let (watch, ports, station) = (&mut self.watch, &mut self.ports, &mut self.station);
        let links = async {
            match watch {
                Some(watch) => watch.changed().await,
                None => std::future::pending().await,
            }
        };
        let frames = std::future::poll_fn(|cx| poll_frames(cx, ports, station));
        let (links, frames) = (pin!(links), pin!(frames));
        tokio::select! {
            biased;
            changed = wanted.changed() => Event::Wanted(changed),
            done = leaving.recv() => Event::Leave(done),
            outcome = links => Event::Links(outcome),
            () = frames => Event::Frames,
            () = tokio::time::sleep_until(deadline.into()) => Event::Deadline,
        }
    }

    fn deadline(&self) -> Instant {
        let station = self.station.poll_timeout().map(|(at, timer)| {
            tracing::trace!(?timer, "next deadline");
            at
        });
        let idle = Instant::now() + IDLE;
        station
            .into_iter()
            .chain(self.retry)
            .fold(idle, Instant::min)
    }

    fn want(&mut self, wanted: &mut watch::Receiver<Desired>) {
        let desired = wanted.borrow_and_update().clone();
        self.station.handle(Instant::now(), Input::Want(desired));
        self.sync_groups();
    }

    /// What is owned no more is not answered for, whatever else is waiting.
    fn want_if_changed(&mut self, wanted: &mut watch::Receiver<Desired>) {
        if wanted.has_changed().unwrap_or(false) {
            self.want(wanted);
        }
    }

    /// Does what is due and carries out what the station says.
    fn turn(&mut self) {
        self.close_failed();
        self.station.handle_timeout(Instant::now());
        let mut has_changed = false;
        while let Some(output) = self.station.poll() {
            match output {
                Output::Send { link, frame } => self.send(link, &frame),
                Output::Changed => has_changed = true,
                Output::Left => self.has_left = true,
                said @ (Output::Node { .. }
                | Output::Rejected { .. }
                | Output::Namesake { .. }
                | Output::Silent { .. }) => log(said),
            }
        }
        if has_changed {
            self.sync_groups();
            let report = self.station.report();
            self.reporter.send_if_modified(|current| {
                let differs = *current != report;
                *current = report;
                differs
            });
        }
    }

    fn send(&self, link: LinkIndex, frame: &[u8]) {
        if let Some(port) = self.ports.get(&link)
            && let Err(error) = port.send(frame)
        {
            tracing::debug!(interface = %port.name, error = &error as &dyn std::error::Error, "frame not sent");
        }
    }

    fn note_links(&mut self, outcome: Result<(), InterfacesError>) {
        match outcome {
            Ok(()) => self.follow_links(),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "interfaces not followed"
                );
                self.watch = None;
                self.retry = Some(Instant::now() + RETRY);
            }
        }
    }

    /// Sockets that cannot be read are closed, and opened again later.
    fn close_failed(&mut self) {
        let failed = self.ports.iter().filter(|(_, port)| port.failure.is_some());
        let failed: Vec<LinkIndex> = failed.map(|(link, _)| *link).collect();
        for link in failed {
            let Some(port) = self.ports.remove(&link) else {
                continue;
            };
            let why = port
                .failure
                .map(|error| error.to_string())
                .unwrap_or_default();
            let problem = Some(format!(
                "failed to read a packet socket on {}: {why}",
                port.name
            ));
            self.retry = Some(Instant::now() + RETRY);
            let now = Instant::now();
            self.station.handle(now, Input::Problem { link, problem });
        }
    }

    fn retry_if_due(&mut self) {
        if self.retry.is_none_or(|at| at > Instant::now()) {
            return;
        }
        self.retry = None;
        if self.watch.is_none() {
            match Watch::open() {
                Ok(watch) => self.watch = Some(watch),
                Err(error) => return self.note_links(Err(error)),
            }
        }
        self.follow_links();
    }

    /// Opens and closes sockets so that every interface has its own.
    fn follow_links(&mut self) {
        let Some(links) = self.watch.as_ref().and_then(Watch::links) else {
            return;
        };
        self.forget_deleted(&links);
        self.ports
            .retain(|index, port| links.get(index).is_some_and(|link| link.name == port.name));
        let mut problems = Vec::new();
        for (index, link) in &links {
            if self.ports.contains_key(index) {
                continue;
            }
            match Port::open(*index, &link.name) {
                Ok(port) => {
                    self.ports.insert(*index, port);
                    problems.push((*index, None));
                }
                Err(error) => {
                    tracing::debug!(interface = %link.name, error = &error as &dyn std::error::Error, "sockets not opened");
                    self.retry = Some(Instant::now() + RETRY);
                    let source = std::error::Error::source(&error);
                    let why = source.map(ToString::to_string).unwrap_or_default();
                    problems.push((*index, Some(format!("{error}: {why}"))));
                }
            }
        }
        let now = Instant::now();
        self.station.handle(now, Input::Links(links));
        for (link, problem) in problems {
            self.station.handle(now, Input::Problem { link, problem });
        }
        self.sync_groups();
    }

    /// An interface that was deleted is another one, whatever number and name it has come back with:
    /// its sockets are deaf, and who is there is not known.
    fn forget_deleted(&mut self, links: &BTreeMap<LinkIndex, Link>) {
        let all = self.ports.len();
        self.ports.retain(|index, port| port.is_bound_to(*index));
        if self.ports.len() < all {
            let left = links
                .iter()
                .filter(|(index, _)| self.ports.contains_key(index));
            let left = left.map(|(index, link)| (*index, link.clone())).collect();
            self.station.handle(Instant::now(), Input::Links(left));
        }
    }

    /// Joins and leaves solicited-node groups as addresses come and go.
    fn sync_groups(&mut self) {
        for (index, port) in &mut self.ports {
            let outcome = port.sync_groups(*index, &self.station.groups(*index));
            let had_failed = std::mem::replace(&mut port.groups.has_failed, outcome.is_err());
            if let Err(error) = outcome {
                self.retry = Some(Instant::now() + RETRY);
                if !had_failed {
                    tracing::warn!(interface = %port.name, error = &error as &dyn std::error::Error, "solicited-node group not joined");
                }
            }
        }
    }
}

fn log(output: Output) {
    match output {
        Output::Node {
            node,
            interface,
            from,
            down: None,
        } => tracing::info!(%node, %interface, %from, "node is up"),
        Output::Node {
            node,
            interface,
            from,
            down: Some(reason),
        } => tracing::info!(%node, %interface, %from, ?reason, "node is down"),
        Output::Rejected {
            interface,
            sender,
            error,
        } => {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(%interface, %sender, error, "heartbeat not believed");
        }
        Output::Namesake { interface, sender } => {
            tracing::warn!(%interface, %sender, "another speaker uses this node's name");
        }
        Output::Silent { link, reason } => {
            tracing::trace!(link = link.0, ?reason, "frame not answered");
        }
        Output::Send { .. } | Output::Changed | Output::Left => {}
    }
}

/// Hands waiting frames to the station: a bounded number from each socket in turn.
fn poll_frames(
    cx: &mut Context<'_>,
    ports: &mut BTreeMap<LinkIndex, Port>,
    station: &mut Station,
) -> Poll<()> {
    let mut has_read = false;
    for (link, port) in ports {
        for socket in &port.sockets {
            if port.failure.is_some() {
                break;
            }
            let read = read_batch(cx, socket, |frame| {
                let input = Input::Frame { link: *link, frame };
                station.handle(Instant::now(), input);
            });
            has_read |= !matches!(read, Ok(0));
            port.failure = read.err();
        }
    }
    match has_read {
        true => Poll::Ready(()),
        false => Poll::Pending,
    }
}

/// How many frames were read; if none, the socket wakes the task.
fn read_batch(
    cx: &mut Context<'_>,
    socket: &AsyncFd<Socket>,
    mut take: impl FnMut(&[u8]),
) -> io::Result<usize> {
    let mut buffer = [0; MAX_FRAME];
    let mut count = 0;
    while count < MAX_BATCH {
        let Poll::Ready(ready) = socket.poll_read_ready(cx) else {
            break;
        };
        match ready?.try_io(|socket| socket.get_ref().read(&mut buffer)) {
            Ok(Ok(length)) => take(buffer.get(..length).unwrap_or_default()),
            // The interface went down, which is said once; netlink says so too.
            Ok(Err(error)) if error.raw_os_error() == Some(libc::ENETDOWN) => {}
            Ok(Err(error)) => return Err(error),
            Err(_would_block) => continue,
        }
        count += 1;
    }
    Ok(count)
}

/// The sockets of one interface.
struct Port {
    name: String,
    /// ARP, neighbour solicitations, heartbeats; frames leave through the first.
    sockets: [AsyncFd<Socket>; 3],
    groups: Groups,
    /// Why a socket cannot be read any more.
    failure: Option<io::Error>,
}

/// Why an interface cannot be used.
#[derive(Debug, Error)]
#[error("failed to open a packet socket on {interface}")]
struct PortError {
    interface: String,
    #[source]
    source: io::Error,
}

impl Port {
    fn open(link: LinkIndex, name: &str) -> Result<Self, PortError> {
        let open = |ether_type, filter: &[Instruction]| {
            packet_socket(link, ether_type, filter).map_err(|source| PortError {
                interface: name.to_owned(),
                source,
            })
        };
        let arp = open(ethernet::ARP, &filter::arp_requests())?;
        let solicitations = open(ethernet::IPV6, &filter::solicitations())?;
        let heartbeats = open(ethernet::IPV4, &filter::heartbeats())?;
        let group = Mac::of_ipv4_group(GROUP);
        let join = packet_membership(&heartbeats, link, group, libc::PACKET_ADD_MEMBERSHIP);
        join.map_err(|source| PortError {
            interface: name.to_owned(),
            source,
        })?;
        Ok(Self {
            name: name.to_owned(),
            sockets: [arp, solicitations, heartbeats],
            groups: Groups::default(),
            failure: None,
        })
    }

    /// False once the interface was deleted: the kernel unbinds its sockets, and for good.
    fn is_bound_to(&self, link: LinkIndex) -> bool {
        let [socket, ..] = &self.sockets;
        bound_to(socket.get_ref()).is_ok_and(|bound| bound == Some(link))
    }

    fn send(&self, frame: &[u8]) -> io::Result<()> {
        let [socket, ..] = &self.sockets;
        socket.get_ref().send(frame).map(|_sent| ())
    }
}

/// Solicited-node groups joined on one interface, in two ways, each as far as it can be.
///
/// The membership of the packet socket opens the interface's own filter, whatever becomes of IPv6
/// there; that of a UDP socket makes the kernel report to MLD-snooping bridges. A socket has room
/// for some hundreds; then another one is opened.
#[derive(Default)]
struct Groups {
    heard: BTreeMap<Ipv6Addr, ()>,
    /// By which of the sockets.
    reported: BTreeMap<Ipv6Addr, usize>,
    sockets: Vec<Socket>,
    has_failed: bool,
}

impl Port {
    /// The first error is returned; what could not be joined is tried again by the next call.
    fn sync_groups(&mut self, link: LinkIndex, wanted: &BTreeSet<Ipv6Addr>) -> io::Result<()> {
        let [_, solicitations, _] = &self.sockets;
        let Groups {
            heard,
            reported,
            sockets,
            ..
        } = &mut self.groups;
        let membership = |group, option| {
            let mac = Mac::of_ipv6_group(group);
            packet_membership(solicitations, link, mac, option)
        };
        for (group, ()) in take_unwanted(heard, wanted) {
            log_leaving(group, membership(group, libc::PACKET_DROP_MEMBERSHIP));
        }
        for (group, at) in take_unwanted(reported, wanted) {
            if let Some(socket) = sockets.get(at) {
                log_leaving(group, socket.leave_multicast_v6(&group, link.0));
            }
        }
        let add = libc::PACKET_ADD_MEMBERSHIP;
        let is_heard = join_each(heard, wanted, |group| membership(group, add));
        let is_reported = join_each(reported, wanted, |group| report(sockets, link, group));
        is_heard.and(is_reported)
    }
}

fn take_unwanted<T>(
    joined: &mut BTreeMap<Ipv6Addr, T>,
    wanted: &BTreeSet<Ipv6Addr>,
) -> Vec<(Ipv6Addr, T)> {
    let groups = joined.keys().copied();
    let gone: Vec<Ipv6Addr> = groups.filter(|group| !wanted.contains(group)).collect();
    let gone = gone.into_iter();
    gone.filter_map(|group| Some((group, joined.remove(&group)?)))
        .collect()
}

/// One group that cannot be joined keeps no other out.
fn join_each<T>(
    joined: &mut BTreeMap<Ipv6Addr, T>,
    wanted: &BTreeSet<Ipv6Addr>,
    mut join: impl FnMut(Ipv6Addr) -> io::Result<T>,
) -> io::Result<()> {
    let mut outcome = Ok(());
    for group in wanted {
        if joined.contains_key(group) {
            continue;
        }
        match join(*group) {
            Ok(membership) => {
                joined.insert(*group, membership);
            }
            Err(error) => outcome = outcome.and(Err(error)),
        }
    }
    outcome
}

fn log_leaving(group: Ipv6Addr, outcome: io::Result<()>) {
    if let Err(error) = outcome {
        tracing::debug!(%group, error = &error as &dyn std::error::Error, "group not left");
    }
}

/// Joins by the first socket that has room, and says by which.
fn report(sockets: &mut Vec<Socket>, link: LinkIndex, group: Ipv6Addr) -> io::Result<usize> {
    for (at, socket) in sockets.iter().enumerate().rev() {
        if socket.join_multicast_v6(&group, link.0).is_ok() {
            return Ok(at);
        }
    }
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
    socket.join_multicast_v6(&group, link.0)?;
    sockets.push(socket);
    Ok(sockets.len() - 1)
}

/// An AF_PACKET socket that sees one protocol on one interface, through a filter.
fn packet_socket(
    link: LinkIndex,
    ether_type: u16,
    filter: &[Instruction],
) -> io::Result<AsyncFd<Socket>> {
    // Protocol 0 until it is bound: nothing comes in before the filter is there.
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    let filter = filter
        .iter()
        .map(|i| SockFilter::new(i.code, i.on_true, i.on_false, i.value));
    socket.attach_filter(&filter.collect::<Vec<_>>())?;
    socket.set_nonblocking(true)?;
    socket.bind(&packet_address(link, ether_type)?)?;
    // SAFETY: a Socket owns its descriptor, which stays open and the same until it is dropped, and
    // the AsyncFd owns the Socket.
    let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
    Ok(socket)
}

fn packet_address(link: LinkIndex, ether_type: u16) -> io::Result<SockAddr> {
    let size = size_of::<libc::sockaddr_ll>();
    let index = i32::try_from(link.0).map_err(|_| io::ErrorKind::InvalidInput)?;
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
            *length = size as libc::socklen_t;
            Ok(())
        })
    }?;
    Ok(address)
}

/// The interface that an AF_PACKET socket is bound to.
fn bound_to(socket: &Socket) -> io::Result<Option<LinkIndex>> {
    let address = socket.local_addr()?;
    // SAFETY: the address has room for any socket address and began as zeroes, and that of an
    // AF_PACKET socket is a sockaddr_ll.
    let index = unsafe { (*address.as_ptr().cast::<libc::sockaddr_ll>()).sll_ifindex };
    Ok(u32::try_from(index).ok().map(LinkIndex))
}

/// Lets frames to a group through the interface's own filter, or no more.
fn packet_membership(
    socket: &AsyncFd<Socket>,
    link: LinkIndex,
    group: Mac,
    option: libc::c_int,
) -> io::Result<()> {
    let Mac(octets) = group;
    let mut address = [0; 8];
    for (to, from) in address.iter_mut().zip(octets) {
        *to = from;
    }
    let request = libc::packet_mreq {
        mr_ifindex: i32::try_from(link.0).map_err(|_| io::ErrorKind::InvalidInput)?,
        mr_type: libc::PACKET_MR_MULTICAST as u16,
        mr_alen: 6,
        mr_address: address,
    };
    // SAFETY: the descriptor is open, and pointer and length are those of a packet_mreq that
    // outlives the call.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            option,
            (&raw const request).cast(),
            size_of::<libc::packet_mreq>() as libc::socklen_t,
        )
    };
    match outcome {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Longer than any frame that is answered or believed.
const MAX_FRAME: usize = 2048;

/// Frames read from one socket before the others get their turn.
const MAX_BATCH: usize = 64;

/// Time until what could not be opened is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// The task looks up at least so often.
const IDLE: Duration = Duration::from_secs(3600);

/// Leaving takes no longer.
const LEAVE_BOUND: Duration = Duration::from_millis(400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_group_that_cannot_be_joined_keeps_no_other_out_and_is_tried_again() {
        let group = |n| Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, n);
        let wanted = BTreeSet::from([1, 2, 3].map(group));
        let mut joined = BTreeMap::from([(group(3), 0), (group(4), 7)]);
        assert_eq!(take_unwanted(&mut joined, &wanted), [(group(4), 7)]);

        let mut tried = Vec::new();
        let outcome = join_each(&mut joined, &wanted, |group| {
            tried.push(group);
            match tried.len() {
                1 => Err(io::ErrorKind::OutOfMemory.into()),
                n => Ok(n),
            }
        });
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::OutOfMemory);
        assert_eq!(tried, [1, 2].map(group));
        assert_eq!(joined, BTreeMap::from([(group(2), 2), (group(3), 0)]));

        join_each(&mut joined, &wanted, |_| Ok(9)).unwrap();
        assert_eq!(joined[&group(1)], 9);
        assert!(joined.keys().eq(&wanted));
    }
}

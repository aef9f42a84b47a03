//! Several controllers and one API server on a virtual clock. Requests, answers and watches take their
//! time; requests come to pass long after anybody waits for them, or never; answers are lost;
//! controllers stop for a while, die, and come back at the same place or at another.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use ferrolb_crds::model::{Pool, ServiceKey, Timestamp};
use ferrolb_crds::source::kubernetes::Observed;

use super::follower::Follower;
use super::judge::Judge;
use super::server::{News, Object, Server};
use crate::fixture::now;
use crate::lease::{self, Draft, Intent};
use crate::office::{Input, Office, Output, Term};
use crate::publication::{Patch, Refusal, Remnant};
use crate::reconcile::Settings;

/// What goes wrong, and how often; of a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weather {
    /// Requests that take long, before or after the server has them.
    pub(super) slow: u32,
    /// Requests that never arrive.
    pub(super) dropped: u32,
    /// Answers that never do.
    pub(super) lost: u32,
    /// Requests that are given up early.
    pub(super) cut: u32,
    /// Requests that the server does not take, and those it is too busy for.
    pub(super) refused: u32,
    /// Changes that a watch tells late.
    pub(super) late: u32,
    /// Requests that take long and whose controller stops or dies meanwhile.
    pub(super) ambushes: u32,
}

#[derive(Debug, Clone)]
enum Request {
    Read,
    Write(Draft),
    Patch(Term, Box<Patch>, Timestamp),
    Clean(Remnant),
}

#[derive(Debug)]
enum Event {
    Request(usize, u64, Request),
    /// The Services are listed for this controller.
    List(usize, u64),
    To(usize, Letter),
    Wake(usize),
    /// It dies, and perhaps begins anew at the same place.
    Death(usize, bool),
}

/// What arrives at a controller.
#[derive(Debug)]
enum Letter {
    Tick,
    Answer(u64, Box<Input>),
    /// There is nothing more to do.
    Done(u64),
    Pools(Vec<Pool>),
    /// With the number of the watch.
    Listed(u64, Vec<Object>, u64),
    Changed(u64, Box<News>),
}

/// One controller, as a process.
#[derive(Debug)]
pub(super) struct Process {
    place: String,
    pub(super) office: Office,
    /// Absent until it knows its place.
    follower: Option<Follower>,
    /// The number of its watch, which is that of the list it began with; and whether it is open.
    watch: u64,
    is_watching: bool,
    pending: BTreeSet<u64>,
    tick: Option<Instant>,
    /// When the last thing arrives that a watch told.
    told_by: Instant,
    is_paused: bool,
    letters: VecDeque<Letter>,
    pub(super) has_resigned: bool,
}

pub(super) struct Simulation {
    pub(super) rng: fastrand::Rng,
    pub(super) now: Instant,
    start: Instant,
    pub(super) server: Server,
    pub(super) judge: Judge,
    pub(super) weather: Weather,
    pub(super) quarantine: Duration,
    pub(super) processes: BTreeMap<usize, Process>,
    queue: BTreeMap<(Instant, u64), Event>,
    /// For processes, requests and the order of events.
    counter: u64,
    is_traced: bool,
}

impl Simulation {
    pub(super) fn new(seed: u64, is_traced: bool) -> Self {
        let start = now();
        Self {
            rng: fastrand::Rng::with_seed(seed),
            now: start,
            start,
            server: Server::default(),
            judge: Judge::new(),
            weather: Weather::default(),
            quarantine: Duration::ZERO,
            processes: BTreeMap::new(),
            queue: BTreeMap::new(),
            counter: 0,
            is_traced,
        }
    }

    pub(super) fn trace(&self, text: impl FnOnce() -> String) {
        if self.is_traced {
            let at = self.now.duration_since(self.start).as_secs_f64();
            eprintln!("{at:9.3} {}", text());
        }
    }

    fn clock(&self) -> Timestamp {
        let seconds = self.now.duration_since(self.start).as_secs();
        Timestamp(i64::try_from(seconds).unwrap())
    }

    fn count(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        let number = self.count();
        self.queue.insert((at, number), event);
    }

    pub(super) fn chance(&mut self, of_a_thousand: u32) -> bool {
        self.rng.u32(..1000) < of_a_thousand
    }

    pub(super) fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.rng.u64(range))
    }

    fn latency(&mut self) -> Duration {
        let slow = self.weather.slow;
        if self.chance(slow) {
            return self.long();
        }
        self.millis(1..30)
    }

    /// From no time at all to half a minute, each order of magnitude as likely as another.
    fn long(&mut self) -> Duration {
        let most = 30 << self.rng.u32(..=10);
        self.millis(0..most)
    }

    /// Where a request goes on its way.
    fn way(&mut self, id: usize) -> Duration {
        let ambushes = self.weather.ambushes;
        if !self.chance(ambushes) {
            return self.latency();
        }
        let time = self.long().min(Duration::from_millis(200));
        let at = self.now + time;
        match self.rng.u32(..4) {
            0 => self.pause(id, Duration::from_secs(8)),
            1 => self.schedule(at, Event::Death(id, false)),
            _ => self.schedule(at, Event::Death(id, true)),
        }
        time + self.long()
    }

    /// A controller starts, at some place.
    pub(super) fn launch(&mut self, place: &str) {
        let id = usize::try_from(self.count()).unwrap();
        let identity = format!("{place}_{id}");
        self.trace(|| format!("{id} starts as {identity}"));
        let settings = Settings {
            class: None,
            quarantine: self.quarantine,
        };
        let process = Process {
            place: place.to_owned(),
            office: Office::new(settings, identity, self.now),
            follower: None,
            watch: 0,
            is_watching: false,
            pending: BTreeSet::new(),
            tick: None,
            told_by: self.now,
            is_paused: false,
            letters: VecDeque::new(),
            has_resigned: false,
        };
        self.processes.insert(id, process);
        self.go_on(id);
    }

    pub(super) fn die(&mut self, id: usize, begins_anew: bool) {
        let Some(process) = self.processes.remove(&id) else {
            return;
        };
        self.trace(|| format!("{id} dies"));
        if begins_anew {
            self.launch(&process.place);
        }
    }

    pub(super) fn pause(&mut self, id: usize, time: Duration) {
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        if !std::mem::replace(&mut process.is_paused, true) {
            self.trace(|| format!("{id} pauses for {time:?}"));
            self.schedule(self.now + time, Event::Wake(id));
        }
    }

    pub(super) fn resign(&mut self, id: usize) {
        self.trace(|| format!("{id} resigns"));
        if let Some(process) = self.processes.get_mut(&id) {
            process.office.handle(self.now, Input::Resign);
        }
        self.go_on(id);
    }

    /// Lets everything happen until then.
    pub(super) fn run(&mut self, until: Instant) -> Result<(), String> {
        while let Some(entry) = self.queue.first_entry()
            && entry.key().0 <= until
        {
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            match event {
                Event::Request(id, number, request) => self.serve(id, number, request)?,
                Event::List(id, watch) => self.list(id, watch),
                Event::To(id, letter) => self.deliver(id, letter),
                Event::Wake(id) => self.wake(id),
                Event::Death(id, begins_anew) => self.die(id, begins_anew),
            }
        }
        self.now = until;
        Ok(())
    }

    fn serve(&mut self, id: usize, number: u64, request: Request) -> Result<(), String> {
        let refused = self.weather.refused;
        let answer = |input| Letter::Answer(number, Box::new(input));
        let letter = if self.chance(refused) {
            answer(self.refuse(request))
        } else {
            match request {
                Request::Clean(remnant) => {
                    self.clean(id, &remnant);
                    Letter::Done(number)
                }
                Request::Read => {
                    let read = lease::Input::Read(Ok(self.server.lease.clone()));
                    answer(Input::Lease(read))
                }
                Request::Write(draft) => {
                    let written = self.server.write_lease(&draft, self.clock());
                    self.trace(|| {
                        let intents = draft.log.intents.iter();
                        let text = |(key, intent): (&ServiceKey, &Intent)| {
                            format!("{key} at {} {:?}", intent.version, intent.addresses)
                        };
                        let intents: Vec<String> = intents.map(text).collect();
                        let (holder, through) = (&draft.holder, draft.log.through);
                        let version = written.as_ref().map(|lease| &lease.version);
                        format!("Lease of {holder} through {through} {intents:?}: {version:?}")
                    });
                    self.judge.judge_lease(&draft, written.is_ok())?;
                    answer(Input::Lease(lease::Input::Written(written)))
                }
                Request::Patch(term, patch, clock) => {
                    let (patch, patched) = self.patch(id, patch, clock)?;
                    answer(Input::Patched(term, patch, patched))
                }
            }
        };
        let lost = self.weather.lost;
        if !self.chance(lost) {
            let at = self.now + self.latency();
            self.schedule(at, Event::To(id, letter));
        }
        Ok(())
    }

    fn clean(&mut self, id: usize, remnant: &Remnant) {
        let news = self.server.clean(remnant);
        let version = news.as_ref().map(|news| news.version);
        self.trace(|| format!("{} is cleaned by {id}: {version:?}", remnant.key));
        self.judge.count_patch();
        if let Some(news) = news {
            self.tell(&news);
        }
    }

    fn refuse(&mut self, request: Request) -> Input {
        let why = "not now".to_owned();
        match request {
            Request::Patch(term, patch, _) if self.rng.bool() => {
                Input::Patched(term, patch, Err(Refusal::Refused(why)))
            }
            request @ (Request::Read
            | Request::Write(_)
            | Request::Patch(..)
            | Request::Clean(_)) => failed(request, "the server is busy"),
        }
    }

    fn patch(&mut self, id: usize, patch: Box<Patch>, clock: Timestamp) -> Result<Patched, String> {
        let patched = self.server.patch(&patch, clock);
        self.trace(|| {
            let (key, version) = (&patch.key, &patch.version);
            let (before, after) = (&patched.before, &patch.status.ingress);
            let is_new = patched.news.is_some();
            let answer = patched.answer.as_ref().map(|observed| &observed.version);
            format!("{key} at {version} of {id}: {before:?} to {after:?}, {answer:?}, {is_new}")
        });
        self.judge.count_patch();
        if let Some(news) = patched.news {
            self.tell(&news);
            self.judge
                .judge_patch(self.now, &self.server, &patch.key, &patched.before)?;
        }
        Ok((patch, patched.answer))
    }

    /// Somebody changes something; the watches tell of it.
    pub(super) fn publish(&mut self, news: Option<News>) {
        if let Some(news) = news {
            self.trace(|| {
                let spec = news.object.as_ref().map(|object| object.spec());
                let asks = spec.map(|spec| &spec.requests);
                format!("{} is edited at {}: {asks:?}", news.key, news.version)
            });
            if let Some(object) = &news.object {
                self.judge.note_edit(self.now, &self.server, object);
            }
            self.tell(&news);
        }
    }

    pub(super) fn set_pools(&mut self, pools: Vec<Pool>) {
        self.trace(|| format!("pools are {pools:?}"));
        let before = std::mem::replace(&mut self.server.pools, pools.clone());
        self.judge.note_pools(self.now, before);
        for object in self.server.services.values() {
            self.judge.note_edit(self.now, &self.server, object);
        }
        let followers: Vec<usize> = self.processes.keys().copied().collect();
        for id in followers {
            if self.processes[&id].follower.is_some() {
                self.send(id, Letter::Pools(pools.clone()));
            }
        }
    }

    fn tell(&mut self, news: &News) {
        let is_watching = |(id, process): (&usize, &Process)| process.is_watching.then_some(*id);
        let watching: Vec<usize> = self.processes.iter().filter_map(is_watching).collect();
        for id in watching {
            let watch = self.processes[&id].watch;
            self.send(id, Letter::Changed(watch, Box::new(news.clone())));
        }
    }

    /// What a watch tells arrives in order.
    fn send(&mut self, id: usize, letter: Letter) {
        let late = self.weather.late;
        let time = if self.chance(late) {
            self.long()
        } else {
            self.millis(1..30)
        };
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        process.told_by = process.told_by.max(self.now + time);
        let at = process.told_by;
        self.schedule(at, Event::To(id, letter));
    }

    fn list(&mut self, id: usize, watch: u64) {
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        if process.watch == watch {
            process.is_watching = true;
            let all = self.server.services.values().cloned().collect();
            let revision = self.server.revision();
            self.send(id, Letter::Listed(watch, all, revision));
        }
    }

    fn deliver(&mut self, id: usize, letter: Letter) {
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        if process.is_paused {
            return process.letters.push_back(letter);
        }
        self.open(id, letter);
        self.tell_office(id);
        self.go_on(id);
    }

    /// What has piled up is taken in, the watches' part of it at once or one by one.
    fn wake(&mut self, id: usize) {
        self.trace(|| format!("{id} goes on"));
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        process.is_paused = false;
        let letters = std::mem::take(&mut process.letters);
        if self.rng.bool() {
            self.open(id, Letter::Tick);
            self.go_on(id);
        }
        for letter in letters {
            self.open(id, letter);
            if self.rng.u32(..3) == 0 {
                self.tell_office(id);
                self.go_on(id);
            }
        }
        self.tell_office(id);
        self.go_on(id);
    }

    fn open(&mut self, id: usize, letter: Letter) {
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        match (letter, &mut process.follower) {
            (Letter::Tick, _) => {
                process.tick = None;
                process.office.handle_timeout(self.now);
            }
            (Letter::Answer(number, input), _) => {
                if process.pending.remove(&number) {
                    process.office.handle(self.now, *input);
                }
            }
            (Letter::Done(number), _) => drop(process.pending.remove(&number)),
            (Letter::Pools(pools), Some(follower)) => follower.hear_pools(pools),
            (Letter::Listed(watch, all, version), Some(follower)) if watch == process.watch => {
                follower.hear_list(all, version, watch);
            }
            (Letter::Changed(watch, news), Some(follower)) if watch == process.watch => {
                follower.hear_change(*news);
            }
            (Letter::Pools(_) | Letter::Listed(..) | Letter::Changed(..), _) => {}
        }
    }

    fn tell_office(&mut self, id: usize) {
        let process = self.processes.get_mut(&id);
        if let Some(process) = process
            && let Some(follower) = &mut process.follower
            && let Some(batch) = follower.batch()
        {
            process.office.take(self.now, batch);
        }
    }

    /// As the composition root: prepares, sends what is to be sent, and sets the alarm.
    fn go_on(&mut self, id: usize) {
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        match &process.follower {
            Some(follower) => process.office.prepare(self.now, follower),
            None if process.office.knows_its_place() => {
                process.follower = Some(Follower::default());
                let pools = self.server.pools.clone();
                self.send(id, Letter::Pools(pools));
                self.begin_list(id, 0);
            }
            None => {}
        }
        self.relist(id);
        self.carry_out(id);
        self.clean_up(id);
        let process = self.processes.get_mut(&id).expect("it is there");
        if let Some(at) = process.office.poll_timeout()
            && process.tick.is_none_or(|tick| at < tick)
        {
            process.tick = Some(at);
            self.schedule(at.max(self.now), Event::To(id, Letter::Tick));
        }
    }

    fn relist(&mut self, id: usize) {
        let process = self.processes.get(&id);
        let follower = process.and_then(|process| process.follower.as_ref());
        if let Some(round) = follower.map(Follower::round)
            && self.processes[&id].watch != round
        {
            self.begin_list(id, round);
        }
    }

    fn begin_list(&mut self, id: usize, round: u64) {
        if let Some(process) = self.processes.get_mut(&id) {
            process.watch = round;
            process.is_watching = false;
        }
        let at = self.now + self.millis(1..200);
        self.schedule(at, Event::List(id, round));
    }

    fn carry_out(&mut self, id: usize) {
        while let Some(process) = self.processes.get_mut(&id)
            && let Some(output) = process.office.poll()
        {
            match output {
                Output::Read => self.request(id, Request::Read),
                Output::Write(draft) => self.request(id, Request::Write(draft)),
                Output::Patch(term, patch) => {
                    let request = Request::Patch(term, Box::new(patch), self.clock());
                    self.request(id, request);
                }
                Output::Resigned => process.has_resigned = true,
                Output::Decided(key, status, lost) => {
                    let (ingress, why) = (&status.ingress, &status.message);
                    self.trace(|| format!("{id}: {key} is to have {ingress:?}: {why}, {lost:?}"));
                }
                Output::Ready
                | Output::Deposed
                | Output::StandingBy(_)
                | Output::Failing(_)
                | Output::Report(_) => self.trace(|| format!("{id}: {output:?}")),
            }
        }
    }

    /// Reports come after addresses.
    fn clean_up(&mut self, id: usize) {
        while let Some(process) = self.processes.get_mut(&id)
            && process.office.is_quiet()
            && let Some(remnant) = process.office.poll_remnant()
        {
            self.request(id, Request::Clean(remnant));
        }
    }

    fn request(&mut self, id: usize, request: Request) {
        let number = self.count();
        if let Some(process) = self.processes.get_mut(&id) {
            process.pending.insert(number);
        }
        let (cut, dropped) = (self.weather.cut, self.weather.dropped);
        let patience = match self.chance(cut) {
            true => self.millis(0..1000),
            false => PATIENCE,
        };
        let given_up = Letter::Answer(number, Box::new(failed(request.clone(), "no answer")));
        self.schedule(self.now + patience, Event::To(id, given_up));
        if !self.chance(dropped) {
            let at = self.now + self.way(id);
            self.schedule(at, Event::Request(id, number, request));
        }
    }

    /// Whether the controllers have come to rest, with one of them active: which.
    pub(super) fn active(&self) -> Option<usize> {
        let is_active = |process: &Process| process.office.reconciler().is_some();
        let mut active = self.processes.iter().filter(|(_, p)| is_active(p));
        let (id, process) = active.next()?;
        (active.next().is_none() && process.office.is_quiet()).then_some(*id)
    }
}

fn failed(request: Request, cause: &str) -> Input {
    let cause = cause.to_owned();
    match request {
        Request::Read => Input::Lease(lease::Input::Read(Err(cause))),
        Request::Write(_) => {
            Input::Lease(lease::Input::Written(Err(lease::Refusal::Failed(cause))))
        }
        Request::Patch(term, patch, _) => Input::Patched(term, patch, Err(Refusal::Unknown(cause))),
        Request::Clean(remnant) => Input::Remains(remnant),
    }
}

/// How long somebody waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A patch, and what became of it.
type Patched = (Box<Patch>, Result<Box<Observed>, Refusal>);

//! What happens in a simulation: a storm, and then the calm in which everything has to be right.

use std::time::Duration;

use ferrolb_crds::model::{Pool, Service, ServiceKey};

use super::simulation::{Process, Simulation, Weather};
use crate::fixture::{With as _, key, pool, service};
use crate::publication::Seen;
use crate::reconcile::{Output, Reconciler, Settings};

/// Plays one out, different for every seed.
pub(super) fn play(seed: u64, is_traced: bool) -> Result<(), String> {
    let mut play = Play::new(seed, is_traced);
    play.begin();
    play.storm()?;
    play.clear_up()?;
    let rest = play.rest()?;
    for _ in 0..2 {
        play.replace_the_active_one();
        play.wait(60)?;
        let after = play.rest()?;
        if after != rest {
            return Err(format!("I2: at rest {rest:?} became {after:?}"));
        }
    }
    play.be_silent()
}

/// What every Service has.
type Holdings = Vec<(ServiceKey, Vec<std::net::IpAddr>)>;

struct Play {
    simulation: Simulation,
    plot: Plot,
    places: u32,
}

/// What people do, and what goes wrong with the controllers; of a thousand, at each moment.
#[derive(Debug, Clone, Copy)]
struct Plot {
    moments: u32,
    edits: u32,
    requests: u32,
    pools: u32,
    wipes: u32,
    pauses: u32,
    deaths: u32,
    resignations: u32,
    /// Milliseconds between two moments, at most.
    haste: u64,
    /// How many Services there may be, and whether there are few addresses.
    names: usize,
    is_narrow: bool,
}

impl Play {
    fn new(seed: u64, is_traced: bool) -> Self {
        let mut simulation = Simulation::new(seed, is_traced);
        let rng = &mut simulation.rng;
        let mut sometimes = |most: u32| match rng.u32(..4) {
            0 => 0,
            _ => rng.u32(..=most),
        };
        simulation.weather = Weather {
            slow: sometimes(300),
            dropped: sometimes(100),
            lost: sometimes(200),
            cut: sometimes(300),
            refused: sometimes(100),
            late: sometimes(500),
            ambushes: sometimes(300),
        };
        let plot = Plot {
            moments: 20 + sometimes(300),
            edits: 100 + sometimes(500),
            requests: sometimes(1000),
            pools: sometimes(300),
            wipes: sometimes(30),
            pauses: sometimes(50),
            deaths: sometimes(50),
            resignations: sometimes(50),
            haste: 20 << rng.u32(..6),
            names: rng.usize(2..=NAMES.len()),
            is_narrow: rng.bool(),
        };
        let rests = [0, 5, 60];
        simulation.quarantine = Duration::from_secs(rests[simulation.rng.usize(..3)]);
        simulation.trace(|| format!("{:?} {plot:?}", simulation.weather));
        Self {
            simulation,
            plot,
            places: 0,
        }
    }

    fn begin(&mut self) {
        let pools = self.some_pools();
        self.simulation.set_pools(pools);
        for _ in 0..self.simulation.rng.u32(1..=3) {
            self.launch();
        }
    }

    fn launch(&mut self) {
        if self.places == 0 || self.simulation.rng.bool() {
            self.places += 1;
        }
        let place = self.simulation.rng.u32(1..=self.places);
        self.simulation.launch(&format!("place{place}"));
    }

    fn wait(&mut self, seconds: u64) -> Result<(), String> {
        let until = self.simulation.now + Duration::from_secs(seconds);
        self.simulation.run(until)
    }

    fn storm(&mut self) -> Result<(), String> {
        for _ in 0..self.plot.moments {
            let most = match self.simulation.rng.u32(..20) {
                0 => 8000,
                _ => self.plot.haste,
            };
            let pause = self.simulation.millis(0..most);
            let until = self.simulation.now + pause;
            self.simulation.run(until)?;
            self.happen();
        }
        Ok(())
    }

    fn happen(&mut self) {
        let plot = self.plot;
        if self.simulation.chance(plot.edits) {
            self.edit();
        }
        if self.simulation.chance(plot.pools) {
            let pools = self.some_pools();
            self.simulation.set_pools(pools);
        }
        if self.simulation.chance(plot.wipes) {
            let key = self.some_key();
            let news = self.simulation.server.wipe(&key);
            self.simulation.publish(news);
        }
        if self.simulation.chance(plot.pauses) {
            let time = self.simulation.millis(10..20_000);
            if let Some(id) = self.some_process() {
                self.simulation.pause(id, time);
            }
        }
        if self.simulation.chance(plot.deaths)
            && let Some(id) = self.some_process()
        {
            let begins_anew = self.simulation.rng.bool();
            self.simulation.die(id, begins_anew);
        }
        if self.simulation.chance(plot.resignations)
            && let Some(id) = self.some_process()
        {
            self.simulation.resign(id);
        }
        self.bury();
        let is_due = self.simulation.processes.len() < 3 && self.simulation.rng.u32(..10) == 0;
        if is_due {
            self.launch();
        }
    }

    /// Who has resigned, ends.
    fn bury(&mut self) {
        let processes = &mut self.simulation.processes;
        processes.retain(|_, process| !process.has_resigned);
    }

    /// The active one more often than another.
    fn some_process(&mut self) -> Option<usize> {
        let is_active = |process: &Process| process.office.reconciler().is_some();
        let mut active = self.simulation.processes.iter();
        let active = active.find(|(_, process)| is_active(process));
        if let Some(id) = active.map(|(id, _)| *id)
            && self.simulation.rng.bool()
        {
            return Some(id);
        }
        let ids: Vec<usize> = self.simulation.processes.keys().copied().collect();
        self.simulation.rng.choice(ids)
    }

    fn some_key(&mut self) -> ServiceKey {
        key(NAMES[self.simulation.rng.usize(..self.plot.names)])
    }

    /// A Service comes, goes, or asks for something else.
    fn edit(&mut self) {
        let key = self.some_key();
        let requests = self.plot.requests;
        let is_there = self.simulation.server.services.contains_key(&key);
        let news = if is_there && !self.simulation.chance(requests) {
            let gone = match self.simulation.rng.bool() {
                true => self.simulation.server.delete(&key),
                false => self.simulation.server.retype(&key),
            };
            if self.simulation.rng.u32(..4) == 0 {
                self.simulation.publish(gone);
                let spec = self.some_service(&key.name);
                Some(self.simulation.server.apply(spec))
            } else {
                gone
            }
        } else {
            let spec = self.some_service(&key.name);
            Some(self.simulation.server.apply(spec))
        };
        self.simulation.publish(news);
    }

    /// Who shares with whom is a matter of the name.
    fn some_service(&mut self, name: &str) -> Service {
        let service = match name {
            "b" | "c" => service(name).sharing("k"),
            "d" => service(name).sharing("k").port(81),
            _ => service(name),
        };
        let requests = self.plot.requests;
        if !self.simulation.chance(requests) {
            return service;
        }
        let rng = &mut self.simulation.rng;
        match rng.u32(..3) {
            0 => service.from_pool(["one", "two"][rng.usize(..2)]),
            1 => service.wanting(ADDRESSES[rng.usize(..ADDRESSES.len())]),
            _ => service,
        }
    }

    fn some_pools(&mut self) -> Vec<Pool> {
        let one = |range| pool("one", &[range]);
        let two = |range| pool("two", &[range]);
        if self.plot.is_narrow {
            return match self.simulation.rng.u32(..5) {
                0 => vec![one("10.0.0.1-10.0.0.1")],
                1 => vec![one("10.0.0.0-10.0.0.1")],
                2 => Vec::new(),
                _ => vec![one("10.0.0.0-10.0.0.0")],
            };
        }
        match self.simulation.rng.u32(..6) {
            0 => vec![one("10.0.0.0-10.0.0.1")],
            1 => vec![one("10.0.0.1-10.0.0.2")],
            2 => vec![two("10.0.0.0-10.0.0.1")],
            3 => vec![one("10.0.0.2-10.0.0.3"), two("10.0.0.1-10.0.0.1")],
            _ => vec![one("10.0.0.0-10.0.0.2"), two("10.0.0.3-10.0.0.4")],
        }
    }

    /// Nothing goes wrong any more. What is still under way comes to pass or does not.
    fn clear_up(&mut self) -> Result<(), String> {
        self.simulation.weather = Weather::default();
        if self.simulation.processes.is_empty() {
            self.launch();
        }
        self.wait(40)?;
        self.bury();
        if self.simulation.processes.is_empty() {
            self.launch();
        }
        self.wait(140)
    }

    /// Everything is as it should be.
    fn rest(&self) -> Result<Holdings, String> {
        let simulation = &self.simulation;
        simulation.trace(|| "at rest".to_owned());
        let Some(active) = simulation.active() else {
            return Err("nobody has come to rest".to_owned());
        };
        let office = &simulation.processes[&active].office;
        let reconciler = office.reconciler().expect("it is active");
        let statuses = simulation.server.services.iter();
        let statuses = statuses.map(|(key, object)| {
            let seen = Seen::new(object.observed.clone(), None);
            (key.clone(), seen.status)
        });
        let mut fresh = Reconciler::new(Settings::default(), statuses.collect());
        let (server, now) = (&simulation.server, simulation.now);
        let services = server.services.values();
        let all = services.map(|object| object.service().change());
        let pools = [crate::fixture::config(&server.pools)];
        let synced = [ferrolb_crds::source::Change::Synced];
        fresh.apply(now, pools.into_iter().chain(all).chain(synced));
        if let Some(Output::Write(key, status)) = fresh.poll() {
            return Err(format!("{key} should be {status:?}"));
        }
        let mut holdings = Vec::new();
        for (key, object) in &server.services {
            let status = Seen::new(object.observed.clone(), None).status;
            let wanted = reconciler.status_of(key);
            if wanted.map(|wanted| &**wanted) != Some(&status) {
                return Err(format!("{key} is {status:?} and not {wanted:?}"));
            }
            holdings.push((key.clone(), status.ingress.clone()));
        }
        Ok(holdings)
    }

    fn replace_the_active_one(&mut self) {
        if let Some(id) = self.simulation.active() {
            match self.simulation.rng.u32(..3) {
                0 => self.simulation.resign(id),
                1 => self.simulation.pause(id, Duration::from_secs(20)),
                _ => self.simulation.die(id, false),
            }
        }
        self.bury();
        self.launch();
    }

    /// I4: nothing is written at rest but that somebody is there.
    fn be_silent(&mut self) -> Result<(), String> {
        let before = (self.simulation.judge.patches, self.simulation.judge.logs);
        self.wait(60)?;
        let after = (self.simulation.judge.patches, self.simulation.judge.logs);
        if before != after {
            return Err(format!("I4: at rest {before:?} became {after:?}"));
        }
        Ok(())
    }
}

const NAMES: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];
const ADDRESSES: [&str; 5] = ["10.0.0.0", "10.0.0.0", "10.0.0.1", "10.0.0.3", "10.0.9.9"];

//! The promised figures at full size, written to `docs/figures.md`.
//!
//! `make bars` builds the programs as they are released and says where they are.
//!
//! `bars` measures everything; `bars NAME…` only those named, and leaves the rows of the others: allocator, plan, bgp, layer2, leaving,
//! recorder, announced, rest, memory, ecmp, strangers, updates, fuzz, bfd, flaps, hostile, simulation, demo, sizes, routes, assignments, stages, crashes, kills. `BARS_RUNS=N`
//! takes N in place of what a measure repeats for its promise, and the row says so.
#![expect(clippy::print_stdout, reason = "tells what it is doing")]
#![expect(clippy::disallowed_methods, reason = "measures time and writes a file")]

mod bfd;
mod crashes;
mod ecmp;
mod four;
mod fuzz;
mod hostile;
mod rest;
mod scale;
mod segment;
mod site;
mod stages;
mod strangers;
mod tables;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ferrolb_tests::objects::{pool, service};
use ferrolb_tests::process::{output, words};
use ferrolb_tests::{patience, programs};

const SERVICES: usize = 10_000;

/// One line of the table.
struct Figure {
    what: String,
    measured: String,
    bar: &'static str,
    is_held: bool,
}

/// How one bar is measured.
type Measure = fn() -> Result<Vec<Figure>>;

fn main() -> ExitCode {
    patience::interruptible();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|word| word == name);
    let mut missed = 0;
    let mut rows_of: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let measures: [(&str, Measure); 24] = [
        ("allocator", allocator),
        ("plan", plan),
        ("bgp", tables::tables),
        ("memory", four::memory),
        ("ecmp", ecmp::ecmp),
        ("strangers", strangers::strangers),
        ("updates", four::updates),
        ("fuzz", fuzz::fuzz),
        ("layer2", segment::crashes),
        ("leaving", segment::leaving),
        ("recorder", segment::recorded),
        ("announced", segment::announced),
        ("rest", rest::at_rest),
        ("bfd", bfd::failover),
        ("flaps", bfd::flaps),
        ("hostile", hostile::heartbeats),
        ("simulation", simulation),
        ("demo", fresh_clone),
        ("sizes", scale::sizes),
        ("routes", scale::routes),
        ("assignments", scale::assignments),
        ("stages", stages::stages),
        ("crashes", crashes::crashes),
        ("kills", scale::kills),
    ];
    let unknown = |word: &&String| measures.iter().all(|(name, _)| name != word);
    if let Some(word) = wanted.iter().find(unknown) {
        bail!("there is no measure {word}");
    }
    for (name, measure) in measures {
        if is_wanted(name) {
            println!("measuring {name} …");
            let measured = measure().with_context(|| format!("measuring {name}"))?;
            for figure in &measured {
                println!(
                    "  {}: {} (bar: {})",
                    figure.what, figure.measured, figure.bar
                );
            }
            let stamp = stamp()?;
            let rows = measured.iter().map(|figure| row(name, figure, &stamp));
            rows_of.insert(name, rows.collect());
            missed += measured.iter().filter(|figure| !figure.is_held).count();
        }
    }
    let path = programs::workspace().join("docs/figures.md");
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    for (name, _) in measures {
        rows_of.entry(name).or_insert_with(|| kept(&before, name));
    }
    let rows = measures.iter().flat_map(|(name, _)| &rows_of[name]);
    let table: String = rows.map(|row| format!("{row}\n")).collect();
    std::fs::write(&path, format!("{}{table}", head()?))?;
    println!("written to {}", path.display());
    ensure!(missed == 0, "{missed} bars were missed");
    Ok(())
}

/// What the controller's own bench prints is taken over line by line, and judged.
fn allocator() -> Result<Vec<Figure>> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args([
        "bench",
        "--quiet",
        "--locked",
        "--package",
        "ferrolb-controller",
        "--bench",
        "allocator",
    ]);
    let text = output(command.current_dir(programs::workspace()))?;
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    let figures: Vec<Figure> = lines
        .map(|(what, measured)| Figure {
            what: what.trim().to_owned(),
            measured: measured.trim().to_owned(),
            bar: "1,000,000 under 1 s; cost flat within 2x",
            is_held: is_quick(measured),
        })
        .collect();
    ensure!(!figures.is_empty(), "the bench printed nothing: {text}");
    Ok(figures)
}

/// Random events on virtual segments: nodes, addresses and seeds of each.
fn simulation() -> Result<Vec<Figure>> {
    let sizes = [(20, 200, repeated(1_000)), (200, 10_000, repeated(1_000))];
    let figures = sizes.map(|(nodes, addresses, seeds)| {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(["test", "--quiet", "--locked", "--profile", "simulation"]);
        command.args(["--package", "ferrolb-speaker", "--lib", "--"]);
        command.args(["--nocapture", "i6_events_at_random"]);
        command.env("FERROLB_SIMULATION", format!("{nodes} {addresses} {seeds}"));
        let text = words(command.current_dir(programs::workspace()))?;
        let told = text
            .lines()
            .find_map(|line| line.strip_prefix("simulated "));
        let told = told.with_context(|| format!("the simulation failed: {text}"))?;
        let (what, measured) = told.split_once(": ").context("a figure")?;
        let mut numbers = measured
            .split(' ')
            .filter_map(|word| word.parse::<u64>().ok());
        let (took, allowed) = (numbers.next(), numbers.next());
        Ok(Figure {
            what: format!("simulation, {what}, loss of 1 to 5 %"),
            measured: measured.to_owned(),
            bar: "one holder each within master-down + 300 ms, none moves without a cause, spread within the bound of operating.md",
            is_held: took
                .zip(allowed)
                .is_some_and(|(took, allowed)| took <= allowed),
        })
    });
    figures.into_iter().collect()
}

/// How often something is repeated: as often as promised, unless it is to be quick.
fn repeated(promised: usize) -> usize {
    let asked = std::env::var("BARS_RUNS");
    asked
        .ok()
        .and_then(|runs| runs.parse().ok())
        .unwrap_or(promised)
}

/// Judges `1000000 in 0.310 s` by its time and `…: factor 1.10` by its factor.
fn is_quick(measured: &str) -> bool {
    let number = |text: &str| text.trim().parse::<f64>().ok();
    match measured.rsplit_once("factor") {
        Some((_, factor)) => number(factor).is_some_and(|factor| factor <= 2.0),
        None => measured
            .strip_suffix(" s")
            .and_then(|text| text.rsplit(' ').next())
            .and_then(number)
            .is_some_and(|seconds| seconds < 1.0),
    }
}

fn plan() -> Result<Vec<Figure>> {
    let dir = tempfile::tempdir()?;
    let pools: String = (0..100)
        .map(|number| {
            pool(
                &format!("pool-{number:03}"),
                &[&format!("10.{number}.0.0/24")],
            )
        })
        .collect();
    let services: String = (0..SERVICES)
        .map(|number| service(&format!("web-{number:05}"), PORT))
        .collect();
    std::fs::write(dir.path().join("pools.yaml"), pools)?;
    std::fs::write(dir.path().join("services.yaml"), services)?;
    let controller = programs::controller()?;
    let mut times = Vec::new();
    for _ in 0..9 {
        let mut command = Command::new(&controller);
        command.arg("plan").arg("--manifests").arg(dir.path());
        let start = Instant::now();
        let text = output(command.args(["-o", "json"]))?;
        times.push(start.elapsed());
        let assigned = text.matches("\"Assign\"").count();
        ensure!(
            assigned == SERVICES,
            "{assigned} of {SERVICES} were assigned"
        );
    }
    times.sort();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    Ok(vec![Figure {
        what: "plan over 10,000 Services and 100 pools, process start included".to_owned(),
        measured: format!(
            "median {} ms, worst {} ms of 9",
            median.as_millis(),
            worst.as_millis()
        ),
        bar: "under 300 ms",
        is_held: median < Duration::from_millis(300),
    }])
}

const PORT: &str = "ports:\n  - port: 80\n    nodePort: 30080\n";

/// The address that the number-th Service gets, or has.
fn address(number: usize) -> IpAddr {
    let first = u32::from(Ipv4Addr::new(10, 64, 0, 0));
    let offset = u32::try_from(number).unwrap_or(u32::MAX);
    Ipv4Addr::from(first.saturating_add(offset)).into()
}

/// Least, median and most, as `1 / 2 / 3`.
fn spread(sorted: &[Duration]) -> String {
    let ends = [
        sorted.first().copied().unwrap_or_default(),
        middle(sorted),
        sorted.last().copied().unwrap_or_default(),
    ];
    ends.map(|time| time.as_millis().to_string()).join(" / ")
}

fn middle(sorted: &[Duration]) -> Duration {
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn fresh_clone() -> Result<Vec<Figure>> {
    let dir = tempfile::tempdir()?;
    let clone = dir.path().join("ferrolb");
    let mut command = Command::new("git");
    command
        .args(["clone", "--quiet", "--no-local"])
        .arg(programs::workspace())
        .arg(&clone);
    output(&mut command)?;
    let mut times = Vec::new();
    for _ in 0..2 {
        let start = Instant::now();
        let mut command = Command::new("make");
        command.arg("demo").current_dir(&clone);
        // This run's own settings must not decide where the clone builds and what it runs.
        for name in [
            programs::DIRECTORY,
            "CARGO_TARGET_DIR",
            "CARGO",
            "MAKEFLAGS",
            "MAKELEVEL",
            "KEEP",
        ] {
            command.env_remove(name);
        }
        output(&mut command)?;
        times.push(start.elapsed().as_secs());
    }
    Ok(vec![Figure {
        what: "a fresh clone to the end of make demo, crates already downloaded".to_owned(),
        measured: format!("{} s; the second time {} s", times[0], times[1]),
        bar: "the second time under a minute",
        is_held: times[1] < 60,
    }])
}

fn head() -> Result<String> {
    Ok(format!(
        "# Figures\n\nWritten by `make bars`, each row with the day and the commit it was measured at.\n\
         Machine of the latest rows: {}. Older ones can be another machine's: compare factors, not seconds.\n\n\
         | measure | what | measured | bar | held | when |\n|---|---|---|---|---|---|\n",
        machine()?
    ))
}

fn row(name: &str, figure: &Figure, stamp: &str) -> String {
    let held = if figure.is_held { "yes" } else { "**no**" };
    let (what, measured, bar) = (&figure.what, &figure.measured, figure.bar);
    format!("| {name} | {what} | {measured} | {bar} | {held} | {stamp} |")
}

/// The rows of a measure as they stand in the page.
fn kept(page: &str, name: &str) -> Vec<String> {
    let start = format!("| {name} |");
    let rows = page.lines().filter(|line| line.starts_with(&start));
    rows.map(str::to_owned).collect()
}

/// Day and commit.
fn stamp() -> Result<String> {
    let git = |words: &str| {
        let mut command = Command::new("git");
        output(
            command
                .args(words.split(' '))
                .current_dir(programs::workspace()),
        )
    };
    let commit = git("rev-parse --short=12 HEAD")?;
    // The page itself is what is being written.
    let dirty = match git("status --porcelain -- . :!docs/figures.md")?.is_empty() {
        true => "",
        false => " with uncommitted changes",
    };
    let date = output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
    Ok(format!("{}, {}{dirty}", date.trim(), commit.trim()))
}

fn machine() -> Result<String> {
    let line = |path: &str, key: &str| -> Result<String> {
        let text = std::fs::read_to_string(Path::new(path))?;
        let found = text
            .lines()
            .find(|line| line.starts_with(key))
            .unwrap_or_default();
        let value = found.split([':', '=']).nth(1).unwrap_or_default();
        Ok(value.trim().trim_matches('"').to_owned())
    };
    let cores = std::thread::available_parallelism()?;
    let kernel = output(Command::new("uname").arg("-r"))?;
    let memory: u64 = line("/proc/meminfo", "MemTotal")?
        .trim_end_matches(" kB")
        .parse()?;
    Ok(format!(
        "{}, {cores} cores, {} GiB, Linux {}, {}",
        line("/proc/cpuinfo", "model name")?,
        memory.div_ceil(1024 * 1024),
        kernel.trim(),
        line("/etc/os-release", "PRETTY_NAME")?
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allocator_is_judged_by_time_and_by_factor() {
        assert!(is_quick("1000000 in 0.310 s"));
        assert!(!is_quick("1000000 in 1.310 s"));
        assert!(is_quick("210 ns of 1000, 230 ns of 1000000: factor 1.10"));
        assert!(!is_quick("210 ns of 1000, 530 ns of 1000000: factor 2.52"));
        assert!(!is_quick("something else"));
    }

    #[test]
    fn the_rows_of_what_was_not_measured_stay() {
        let figure = Figure {
            what: "one".to_owned(),
            measured: "90 ms".to_owned(),
            bar: "under 100 ms",
            is_held: true,
        };
        let rows = [
            row("layer2", &figure, "one day"),
            row("plan", &figure, "one day"),
        ];
        let page = format!("# Figures\n{}\n{}\n", rows[0], rows[1]);
        assert_eq!(kept(&page, "plan"), rows[1..]);
        assert!(kept(&page, "bgp").is_empty());
    }
}

//! What is measured of one server, over all rounds.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::child::Cores;
use crate::load::{Round, Timing};

/// How a scenario is run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Where the release binaries are.
    pub(crate) binaries: PathBuf,
    /// Where the Express app is, its modules installed.
    pub(crate) express: PathBuf,
    pub(crate) cores: Cores,
    pub(crate) rounds: usize,
    pub(crate) timing: Timing,
    /// How often the server is started to measure how long that takes.
    pub(crate) starts: usize,
    /// Whether it is only to show that it works.
    pub(crate) smoke: bool,
}

/// One server, which may be two processes.
#[derive(Debug, Serialize)]
pub(crate) struct Server {
    pub(crate) rounds: Vec<Round>,
    /// The least CPU time a request of any round, all processes together, microseconds.
    pub(crate) best_cpu_us: f64,
    /// The most requests a second of any round.
    pub(crate) best_rate: f64,
    /// RSS before the first request, bytes, in the order of the processes.
    pub(crate) rss_at_rest: Vec<u64>,
    /// The highest RSS under load, bytes, in the order of the processes.
    pub(crate) rss_under_load: Vec<u64>,
    /// From exec to ready, milliseconds, each start.
    pub(crate) ready_ms: Vec<f64>,
}

/// Ours beside something else.
#[derive(Debug, Serialize)]
pub(crate) struct Compared {
    pub(crate) ours: Server,
    pub(crate) other: Server,
    /// Ours / other, by the best round of each.
    pub(crate) cpu_ratio: f64,
    /// The same for requests a second.
    pub(crate) rate_ratio: f64,
}

impl Compared {
    pub(crate) fn new(ours: Server, other: Server) -> Self {
        Self {
            cpu_ratio: ours.best_cpu_us / other.best_cpu_us,
            rate_ratio: ours.best_rate / other.best_rate,
            ours,
            other,
        }
    }
}

impl Server {
    pub(crate) fn new(rounds: Vec<Round>, rss_at_rest: Vec<u64>, starts: Vec<Duration>) -> Self {
        let cpu = rounds.iter().map(|round| round.cpu_us.iter().sum::<f64>());
        let rate = rounds.iter().map(|round| round.requests_per_second);
        Self {
            best_cpu_us: cpu.fold(f64::INFINITY, f64::min),
            best_rate: rate.fold(0.0, f64::max),
            rss_under_load: rounds
                .last()
                .map(|round| round.peak_rss.clone())
                .unwrap_or_default(),
            ready_ms: starts.iter().map(|time| time.as_secs_f64() * 1e3).collect(),
            rss_at_rest,
            rounds,
        }
    }

    /// The round with the most requests a second.
    pub(crate) fn best_round(&self) -> Option<&Round> {
        self.rounds
            .iter()
            .max_by(|a, b| a.requests_per_second.total_cmp(&b.requests_per_second))
    }

    /// The median time from exec to ready.
    pub(crate) fn median_ready_ms(&self) -> Option<f64> {
        let mut times = self.ready_ms.clone();
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied()
    }
}

/// Says how far it is, and what the last round brought.
#[expect(clippy::print_stderr, reason = "progress of a command line")]
pub(crate) fn progress(scenario: &str, number: usize, of: usize, ours: &[Round], other: &[Round]) {
    let show = |rounds: &[Round]| {
        rounds.last().map_or_else(String::new, |round| {
            let cpu: f64 = round.cpu_us.iter().sum();
            format!("{:.0}/s, {cpu:.1} us", round.requests_per_second)
        })
    };
    eprintln!(
        "{scenario} {number}/{of}: ours {}; other {}",
        show(ours),
        show(other)
    );
}

//! The load driver: slots that each have one request in flight at all times.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use crate::Result;
use crate::child::{Process, Usage};

/// How long it drives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// Before anything is measured.
    pub(crate) warm_up: Duration,
    /// What is measured.
    pub(crate) measured: Duration,
}

/// The longest that one request may take: whatever is measured here ends.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// What came of one round.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Round {
    pub(crate) requests_per_second: f64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) p999_us: u64,
    /// CPU time a request, microseconds, in the order of the processes.
    pub(crate) cpu_us: Vec<f64>,
    /// Share of its core that was used, all processes together.
    pub(crate) core_used: f64,
    /// The highest RSS so far, bytes, in the order of the processes.
    pub(crate) peak_rss: Vec<u64>,
}

/// One request after the other, each over the same connection.
pub(crate) trait Slot: Send + 'static {
    /// Sends one, and checks its answer.
    fn exchange(&mut self) -> impl Future<Output = Result<()>> + Send;
}

/// Drives `processes` through all slots. A request that fails ends it.
pub(crate) async fn round(
    slots: Vec<impl Slot>,
    processes: &[&Process],
    timing: Timing,
) -> Result<Round> {
    let begin = Instant::now() + timing.warm_up;
    let end = begin + timing.measured;
    let mut driving = JoinSet::new();
    for slot in slots {
        driving.spawn(drive(slot, begin, end));
    }
    sleep_until(begin.into()).await;
    let before = usages(processes)?;
    let began = Instant::now();
    sleep_until(end.into()).await;
    let after = usages(processes)?;
    let took = began.elapsed();

    let mut latencies = histogram()?;
    while let Some(ended) = driving.join_next().await {
        latencies.add(ended??)?;
    }
    let requests = f64_of(latencies.len());
    let cpu: Vec<Duration> = std::iter::zip(&before, &after)
        .map(|(before, after)| after.cpu.saturating_sub(before.cpu))
        .collect();
    Ok(Round {
        requests_per_second: requests / took.as_secs_f64(),
        p50_us: latencies.value_at_quantile(0.5),
        p99_us: latencies.value_at_quantile(0.99),
        p999_us: latencies.value_at_quantile(0.999),
        cpu_us: cpu
            .iter()
            .map(|cpu| cpu.as_secs_f64() * 1e6 / requests.max(1.0))
            .collect(),
        core_used: cpu.iter().sum::<Duration>().as_secs_f64() / took.as_secs_f64(),
        peak_rss: after.iter().map(|usage| usage.peak_rss).collect(),
    })
}

async fn drive(mut slot: impl Slot, begin: Instant, end: Instant) -> Result<Histogram<u64>> {
    let mut latencies = histogram()?;
    loop {
        let sent = Instant::now();
        if sent >= end {
            return Ok(latencies);
        }
        tokio::time::timeout(REQUEST_LIMIT, slot.exchange()).await??;
        let now = Instant::now();
        if (begin..=end).contains(&now) {
            let micros = now.duration_since(sent).as_micros();
            latencies.saturating_record(u64::try_from(micros).unwrap_or(u64::MAX));
        }
    }
}

fn usages(processes: &[&Process]) -> Result<Vec<Usage>> {
    processes.iter().map(|process| process.usage()).collect()
}

fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_max(20_000_000, 3)?)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of requests are far below 2^52"
)]
fn f64_of(count: u64) -> f64 {
    count as f64
}

//! How a process ends: readiness off, a moment to be taken out of rotation, the drain, and a hard
//! limit after which nothing is waited for.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::readiness::Readiness;

mod signals;

pub use signals::Signals;

/// Tells the parts of a process to finish, and later to stop. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    drain: CancellationToken,
    now: CancellationToken,
}

impl Stop {
    /// Nobody was asked to stop yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks every part to take nothing new and finish what it has.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Asks every part to drop what it has.
    pub fn now(&self) {
        self.drain.cancel();
        self.now.cancel();
    }

    /// Whether [`Self::drain`] was called.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Completes when the drain begins.
    pub async fn draining(&self) {
        self.drain.cancelled().await;
    }

    /// Completes when nothing may be waited for any more.
    pub async fn cut_off(&self) {
        self.now.cancelled().await;
    }
}

/// How long the steps of an ending take; `[shutdown]` of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Not ready, but still accepting: the time a load balancer takes to notice.
    pub settle: Duration,
    /// From the end of `settle` to the end of the process, at most. The last part of it, a tenth and
    /// at most [`FINISH_LIMIT`], is kept for `finish`.
    pub drain: Duration,
}

/// The most of [`Timing::drain`] that is kept for flushing.
pub const FINISH_LIMIT: Duration = Duration::from_secs(2);

/// How a process ended. All of them are an exit code of 0: the process did what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything in flight was finished.
    Drained,
    /// The hard limit was reached with something still in flight, which was dropped.
    CutOff,
    /// A second signal came, and everything was dropped at once.
    Interrupted,
    /// The service ended by itself, without a signal.
    Unasked,
}

/// Serves until a signal, then ends in order: readiness off; `settle`, still accepting; drain, by
/// `stop`; what is left is cut off in time for `finish` (flushing), which gets the time it has.
/// A second signal ends at any of these points. The admin port is none of `serve`'s: run it in a
/// task of its own, so that it answers to the end.
pub async fn run(
    signals: &mut Signals,
    timing: Timing,
    readiness: &Readiness,
    stop: &Stop,
    serve: impl Future<Output = ()>,
    finish: impl AsyncFnOnce(Duration),
) -> Ending {
    let mut serve = std::pin::pin!(serve);
    tokio::select! {
        () = &mut serve => {
            stop.now();
            finish(FINISH_LIMIT).await;
            return Ending::Unasked;
        }
        name = signals.next() => tracing::info!(signal = name, "shutting down"),
    }
    readiness.off();
    tokio::select! {
        ending = end(timing, stop, serve, finish) => ending,
        name = signals.next() => {
            tracing::warn!(signal = name, "second signal: ending at once");
            stop.now();
            Ending::Interrupted
        }
    }
}

async fn end(
    timing: Timing,
    stop: &Stop,
    mut serve: std::pin::Pin<&mut impl Future<Output = ()>>,
    finish: impl AsyncFnOnce(Duration),
) -> Ending {
    let mut ended = false;
    tokio::select! {
        () = &mut serve => ended = true,
        () = tokio::time::sleep(timing.settle) => {}
    }
    let deadline = Instant::now() + timing.drain;
    stop.drain();
    let kept = (timing.drain / 10).min(FINISH_LIMIT);
    let in_time = ended
        || tokio::time::timeout_at(deadline - kept, &mut serve)
            .await
            .is_ok();
    stop.now();
    if !in_time {
        tracing::warn!(limit = ?timing.drain, "drain limit reached: dropping what is in flight");
    }
    finish(deadline.saturating_duration_since(Instant::now())).await;
    if in_time {
        Ending::Drained
    } else {
        Ending::CutOff
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tokio::sync::mpsc::Sender;
    use tokio::task::JoinHandle;

    const TIMING: Timing = Timing {
        settle: Duration::from_secs(5),
        drain: Duration::from_secs(20),
    };

    /// A process whose service takes `work` to drain, and the log of what happened when.
    struct Process {
        signals: Sender<&'static str>,
        readiness: Readiness,
        began: Instant,
        log: Arc<Mutex<Vec<(u64, &'static str)>>>,
        running: JoinHandle<Ending>,
    }

    impl Process {
        fn start(timing: Timing, work: Duration, flush: Duration) -> Self {
            let (sender, mut signals) = Signals::channel();
            let (readiness, stop) = (Readiness::new(), Stop::new());
            let began = Instant::now();
            let log = Arc::new(Mutex::new(Vec::new()));
            let noted = Arc::clone(&log);
            let note = move |what| {
                let at = began.elapsed().as_secs();
                noted.lock().unwrap().push((at, what));
            };
            let off = readiness.clone();
            let running = tokio::spawn(async move {
                let serve = async {
                    stop.draining().await;
                    assert!(!off.is_ready(), "readiness goes first");
                    note("drain");
                    tokio::select! {
                        () = tokio::time::sleep(work) => note("drained"),
                        () = stop.cut_off() => note("cut off"),
                    }
                };
                let finish = async |limit: Duration| {
                    note("flush");
                    assert!(
                        tokio::time::timeout(limit, tokio::time::sleep(flush))
                            .await
                            .is_ok()
                    );
                };
                run(&mut signals, timing, &off, &stop, serve, finish).await
            });
            Self {
                signals: sender,
                readiness,
                began,
                log,
                running,
            }
        }

        /// How it ended, at which second, and what happened before.
        async fn end(self) -> (Ending, u64, Vec<(u64, &'static str)>) {
            let ending = self.running.await.unwrap();
            let log = self.log.lock().unwrap().clone();
            (ending, self.began.elapsed().as_secs(), log)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_signal_turns_readiness_off_then_settles_then_drains_then_flushes() {
        let process = Process::start(TIMING, Duration::from_secs(3), Duration::from_secs(1));
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(process.readiness.is_ready());
        process.signals.send("SIGTERM").await.unwrap();
        let steps = vec![(15, "drain"), (18, "drained"), (18, "flush")];
        assert_eq!(process.end().await, (Ending::Drained, 19, steps));
    }

    #[tokio::test(start_paused = true)]
    async fn the_hard_limit_leaves_time_to_flush() {
        let process = Process::start(TIMING, Duration::from_secs(100), Duration::from_secs(2));
        process.signals.send("SIGTERM").await.unwrap();
        let ended = process.end().await;
        // The log says nothing about a service that is dropped as soon as it is cut off.
        assert_eq!((ended.0, ended.1), (Ending::CutOff, 25));
        assert_eq!(ended.2.last(), Some(&(23, "flush")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_ends_at_once() {
        for after in [1, 7] {
            let process = Process::start(TIMING, Duration::from_secs(100), Duration::ZERO);
            process.signals.send("SIGTERM").await.unwrap();
            tokio::time::sleep(Duration::from_secs(after)).await;
            process.signals.send("SIGINT").await.unwrap();
            let ended = process.end().await;
            assert_eq!((ended.0, ended.1), (Ending::Interrupted, after));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_settle_and_with_nothing_in_flight_it_ends_at_once() {
        let at_once = Timing {
            settle: Duration::ZERO,
            ..TIMING
        };
        let process = Process::start(at_once, Duration::ZERO, Duration::ZERO);
        process.signals.send("SIGINT").await.unwrap();
        assert_eq!(process.end().await.1, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_ends_by_itself_is_told_apart() {
        let (_sender, mut signals) = Signals::channel();
        let (readiness, stop) = (Readiness::new(), Stop::new());
        let finish = async |_limit| {};
        let ending = run(&mut signals, TIMING, &readiness, &stop, async {}, finish).await;
        assert_eq!(ending, Ending::Unasked);
        assert!(stop.is_draining());
    }
}

//! Readiness: a process is ready once every part it waits for has said so, and until it drains.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// The name under which [`Readiness::missing`] reports that the process is shutting down.
pub const DRAINING: &str = "draining";

/// What `/readyz` and `grpc.health.v1` answer from. Clones share one state.
#[derive(Clone, Debug)]
pub struct Readiness {
    state: Arc<Mutex<State>>,
    ready: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    waiting: BTreeMap<&'static str, usize>,
    off: bool,
}

impl Readiness {
    /// Ready at once, as long as nobody takes a [`Latch`].
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: Arc::default(),
            ready: watch::Sender::new(true),
        }
    }

    /// Makes readiness wait for `name`, a word that an operator understands in `/readyz`'s answer.
    pub fn latch(&self, name: &'static str) -> Latch {
        self.change(|state| *state.waiting.entry(name).or_default() += 1);
        Latch {
            name,
            readiness: self.clone(),
        }
    }

    /// Not ready any more, for good: the first step of a drain.
    pub fn off(&self) {
        self.change(|state| state.off = true);
    }

    /// Whether traffic may be sent here.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// What readiness still waits for, in alphabetical order, or [`DRAINING`]; empty when ready.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let state = self.lock();
        let draining = state.off.then_some(DRAINING);
        state.waiting.keys().copied().chain(draining).collect()
    }

    /// Follows [`Self::is_ready`], for `grpc.health.v1`.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        // Sent under the lock, so that two changes cannot arrive in the wrong order.
        self.ready
            .send_replace(state.waiting.is_empty() && !state.off);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole after each change, so a poisoned lock says nothing about it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

/// One part that readiness waits for. Dropped without [`Self::release`] it keeps the process
/// unready: a part that failed on its way up has not become ready.
#[derive(Debug)]
#[must_use = "readiness waits until the latch is released"]
pub struct Latch {
    name: &'static str,
    readiness: Readiness,
}

impl Latch {
    /// The part is ready.
    pub fn release(self) {
        self.readiness.change(|state| {
            if let Some(count) = state.waiting.get_mut(self.name) {
                *count -= 1;
                if *count == 0 {
                    state.waiting.remove(self.name);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ready_only_when_every_latch_was_released() {
        let readiness = Readiness::new();
        let listening = readiness.latch("listening");
        let key = readiness.latch("tenant key");
        assert_eq!(readiness.missing(), ["listening", "tenant key"]);
        listening.release();
        assert!(!readiness.is_ready());
        key.release();
        assert!(readiness.is_ready());
        assert!(readiness.missing().is_empty());
    }

    #[test]
    fn a_latch_that_is_dropped_keeps_it_unready() {
        let readiness = Readiness::new();
        drop(readiness.latch("listening"));
        assert!(!readiness.is_ready());
    }

    #[test]
    fn two_latches_of_one_name_must_both_be_released() {
        let readiness = Readiness::new();
        let (one, two) = (readiness.latch("listening"), readiness.latch("listening"));
        one.release();
        assert!(!readiness.is_ready());
        two.release();
        assert!(readiness.is_ready());
    }

    #[test]
    fn a_drain_turns_it_off_for_good_and_followers_see_it() {
        let readiness = Readiness::new();
        let follower = readiness.subscribe();
        let late = readiness.latch("late");
        readiness.off();
        late.release();
        assert!(!*follower.borrow());
        assert_eq!(readiness.missing(), [DRAINING]);
    }
}

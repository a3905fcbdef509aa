//! Keeps one kind of record from filling the log: what a stranger sends can be the cause of an error, a warning, or
//! a note at `INFO`. Nothing is kept back of what somebody asked for by a finer level.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Level, Metadata};

/// Of one callsite's records this many are written...
const BURST: u32 = 20;
/// ...in each of these; how many were not is written with the first one of a later span of time.
const PERIOD: Duration = Duration::from_secs(10);

/// What every callsite wrote lately. There are as many entries as there are callsites in the program.
#[derive(Debug, Default)]
pub(super) struct Floods {
    callsites: Mutex<HashMap<Identifier, Period>>,
}

#[derive(Debug)]
struct Period {
    began: Instant,
    written: u32,
    suppressed: u64,
}

impl Floods {
    /// `None`: not to be written. Otherwise how many of the same callsite were not written since the last that was.
    pub(super) fn admit(&self, event: &Metadata<'_>, now: Instant) -> Option<u64> {
        // Level::ERROR is the least.
        if *event.level() > Level::INFO {
            return Some(0);
        }
        let mut callsites = self
            .callsites
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let period = callsites.entry(event.callsite()).or_insert(Period {
            began: now,
            written: 0,
            suppressed: 0,
        });
        let mut suppressed = 0;
        if now.duration_since(period.began) >= PERIOD {
            suppressed = period.suppressed;
            *period = Period {
                began: now,
                written: 0,
                suppressed: 0,
            };
        }
        if period.written < BURST {
            period.written += 1;
            Some(suppressed)
        } else {
            period.suppressed += 1;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(level: Level) -> &'static Metadata<'static> {
        macro_rules! event {
            ($level:expr) => {
                tracing::callsite!(name: "test", kind: tracing::metadata::Kind::EVENT, level: $level, fields: message)
                    as &dyn tracing::Callsite
            };
        }
        let callsite = match level {
            Level::ERROR => event!(Level::ERROR),
            Level::INFO => event!(Level::INFO),
            _ => event!(Level::DEBUG),
        };
        callsite.metadata()
    }

    #[test]
    fn a_flood_is_cut_and_the_next_period_says_by_how_much() {
        for level in [Level::ERROR, Level::INFO] {
            let floods = Floods::default();
            let (event, now) = (metadata(level), Instant::now());
            let written = (0..100)
                .filter(|_| floods.admit(event, now).is_some())
                .count();
            assert_eq!(written, 20);
            assert_eq!(floods.admit(event, now + PERIOD), Some(80));
            assert_eq!(floods.admit(event, now + PERIOD), Some(0));
        }
    }

    #[test]
    fn one_flood_keeps_nothing_else_back() {
        let floods = Floods::default();
        let now = Instant::now();
        for _ in 0..100 {
            floods.admit(metadata(Level::INFO), now);
        }
        assert_eq!(floods.admit(metadata(Level::ERROR), now), Some(0));
    }

    #[test]
    fn what_was_asked_for_by_a_finer_level_is_never_cut() {
        let floods = Floods::default();
        let (debug, now) = (metadata(Level::DEBUG), Instant::now());
        assert!((0..100).all(|_| floods.admit(debug, now) == Some(0)));
    }
}

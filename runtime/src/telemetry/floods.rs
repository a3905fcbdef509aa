//! Keeps one kind of warning or error from filling the log.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Level, Metadata};

/// Of one callsite's warnings and errors this many are written...
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
        if *event.level() > Level::WARN {
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
        let callsite = if level == Level::ERROR {
            tracing::callsite!(name: "test", kind: tracing::metadata::Kind::EVENT, level: Level::ERROR, fields: message)
                as &dyn tracing::Callsite
        } else {
            tracing::callsite!(name: "test", kind: tracing::metadata::Kind::EVENT, level: Level::INFO, fields: message)
        };
        callsite.metadata()
    }

    #[test]
    fn a_flood_is_cut_and_the_next_period_says_by_how_much() {
        let floods = Floods::default();
        let (error, now) = (metadata(Level::ERROR), Instant::now());
        let written = (0..100)
            .filter(|_| floods.admit(error, now).is_some())
            .count();
        assert_eq!(written, 20);
        assert_eq!(floods.admit(error, now + PERIOD), Some(80));
        assert_eq!(floods.admit(error, now + PERIOD), Some(0));
    }

    #[test]
    fn what_is_no_warning_is_never_cut() {
        let floods = Floods::default();
        let (info, now) = (metadata(Level::INFO), Instant::now());
        assert!((0..100).all(|_| floods.admit(info, now) == Some(0)));
    }
}

//! How often one key may come: a caller, or one of its panel users.

use std::convert::Infallible;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use quick_cache::UnitWeighter;
use quick_cache::sync::Cache;

/// The most keys that are remembered. Beyond it the least used are forgotten, and begin anew: memory
/// stays bounded whatever ids a caller sends.
const KEYS: u64 = 65_536;
/// For how many keys there is room from the start.
const KEYS_AT_FIRST: usize = 256;

/// So many a second, and twice that in a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(NonZeroU32);

impl Rate {
    /// None for 0: no limit.
    #[must_use]
    pub fn per_second(count: u32) -> Option<Self> {
        NonZeroU32::new(count).map(Self)
    }

    fn quota(self) -> Quota {
        let burst = self.0.saturating_mul(NonZeroU32::MIN.saturating_add(1));
        Quota::per_second(self.0).allow_burst(burst)
    }
}

type Limiter<C> = RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// A rate for each key. Keys are remembered by a hash of 64 bits, keyed at random.
pub(super) struct Rates<C: Clock = DefaultClock> {
    quota: Quota,
    clock: C,
    hasher: RandomState,
    limiters: Cache<u64, Arc<Limiter<C>>>,
}

impl Rates {
    pub(super) fn new(rate: Rate) -> Self {
        Self::with_clock(rate, DefaultClock::default())
    }
}

impl<C: Clock + Clone> Rates<C> {
    fn with_clock(rate: Rate, clock: C) -> Self {
        Self {
            quota: rate.quota(),
            clock,
            hasher: RandomState::new(),
            limiters: Cache::with_weighter(KEYS_AT_FIRST, KEYS, UnitWeighter),
        }
    }

    /// Counts one for `key`, or says how long until the next is allowed.
    pub(super) fn check<K: Hash + ?Sized>(&self, key: &K) -> Result<(), Duration> {
        let key = self.hasher.hash_one(key);
        let make = || {
            let limiter = RateLimiter::direct_with_clock(self.quota, self.clock.clone());
            Ok::<_, Infallible>(Arc::new(limiter))
        };
        let Ok(limiter) = self.limiters.get_or_insert_with(&key, make);
        limiter
            .check()
            .map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }
}

impl<C: Clock> fmt::Debug for Rates<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rates")
            .field("quota", &self.quota)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn rates(a_second: u32) -> (Rates<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let rate = Rate::per_second(a_second).unwrap();
        (Rates::with_clock(rate, clock.clone()), clock)
    }

    #[test]
    fn zero_is_no_limit() {
        assert_eq!(Rate::per_second(0), None);
    }

    #[test]
    fn twice_the_rate_may_come_at_once_then_the_wait_is_exact() {
        let (rates, clock) = rates(4);
        for _ in 0..8 {
            assert_eq!(rates.check("key"), Ok(()));
        }
        let wait = Duration::from_millis(250);
        assert_eq!(rates.check("key"), Err(wait));
        clock.advance(wait - Duration::from_millis(1));
        assert_eq!(rates.check("key"), Err(Duration::from_millis(1)));
        clock.advance(Duration::from_millis(1));
        assert_eq!(rates.check("key"), Ok(()));
    }

    #[test]
    fn each_key_has_its_own() {
        let (rates, _) = rates(1);
        assert_eq!(rates.check(&("panel", "1")), Ok(()));
        assert_eq!(rates.check(&("panel", "1")), Ok(()));
        assert!(rates.check(&("panel", "1")).is_err());
        assert_eq!(rates.check(&("panel", "2")), Ok(()));
        // The parts of a key are told apart.
        assert_eq!(rates.check(&("panel1", "")), Ok(()));
    }

    #[test]
    fn a_flood_of_keys_does_not_grow_it() {
        let (rates, _) = rates(1);
        for key in 0..KEYS * 2 {
            assert_eq!(rates.check(&key), Ok(()));
        }
        assert!(rates.limiters.weight() <= KEYS);
    }

    #[test]
    fn the_highest_rate_does_not_overflow() {
        assert_eq!(rates(u32::MAX).0.check("key"), Ok(()));
    }
}

//! Who may mint, for which roles, how often, and how many at a time.
//!
//! [`Admission::identify`] and [`Admission::admit`] hold the order in which a call is refused, the
//! first that fails winning: caller known; (user well-formed: [`PanelUser::parse`]); role served by
//! Ask2Do; role among this caller's; rate; in flight.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::mint::{MintError, PanelUser};

mod callers;
mod presented;
mod rates;
mod roles;
mod san;

pub use callers::{ANY_CALLER, Caller, Callers, CallersError, Stranger};
pub use presented::Presented;
pub use rates::Rate;
pub use roles::Roles;
pub use san::{InvalidSan, San};

use rates::Rates;

/// When a caller had better come back that found too much in flight: mints end within seconds.
const OVERLOADED_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Lets calls in, or says why not.
#[derive(Debug)]
pub struct Admission {
    callers: ArcSwap<Callers>,
    cloud_roles: Roles,
    caller_rates: Option<Rates>,
    user_rates: Option<Rates>,
    in_flight: Semaphore,
}

/// What [`Admission`] holds callers to; the callers themselves can change while it runs.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The roles that Ask2Do serves.
    pub cloud_roles: Roles,
    /// For each caller; none: no limit.
    pub caller_rate: Option<Rate>,
    /// For each panel user of each caller; none: no limit.
    pub user_rate: Option<Rate>,
    /// The most mints at a time.
    pub in_flight: usize,
}

/// A mint that was let in: it counts as in flight until this is dropped.
#[derive(Debug)]
#[must_use = "the mint is in flight as long as this lives"]
pub struct Permit<'a> {
    _held: SemaphorePermit<'a>,
}

impl Admission {
    /// Nobody is in flight, and nobody has used any of their rate.
    #[must_use]
    pub fn new(callers: Arc<Callers>, limits: Limits) -> Self {
        Self {
            callers: ArcSwap::new(callers),
            cloud_roles: limits.cloud_roles,
            caller_rates: limits.caller_rate.map(Rates::new),
            user_rates: limits.user_rate.map(Rates::new),
            in_flight: Semaphore::new(limits.in_flight.min(Semaphore::MAX_PERMITS)),
        }
    }

    /// From now on these are the callers. What the others have used of their rates is kept.
    pub fn replace_callers(&self, callers: Arc<Callers>) {
        self.callers.store(callers);
    }

    /// The caller that a certificate names.
    ///
    /// # Errors
    ///
    /// It names none, or more than one.
    pub fn identify(&self, presented: &Presented) -> Result<Arc<Caller>, Stranger> {
        self.callers.load().identify(presented).cloned()
    }

    /// Lets `caller` mint for `user`, now.
    ///
    /// # Errors
    ///
    /// [`MintError::RoleNotAllowed`], [`MintError::CallerNotAllowed`] for the role,
    /// [`MintError::RateLimited`], [`MintError::Overloaded`], in this order.
    pub fn admit(&self, caller: &Caller, user: &PanelUser) -> Result<Permit<'_>, MintError> {
        if !self.cloud_roles.contains(user.role()) {
            return Err(MintError::RoleNotAllowed);
        }
        if !caller.roles().contains(user.role()) {
            return Err(MintError::CallerNotAllowed);
        }
        self.check_rates(caller, user)
            .map_err(|retry_after| MintError::RateLimited { retry_after })?;
        match self.in_flight.try_acquire() {
            Ok(held) => Ok(Permit { _held: held }),
            Err(_) => Err(MintError::Overloaded {
                retry_after: OVERLOADED_RETRY_AFTER,
            }),
        }
    }

    /// The user first: one who hammers the panel uses up their own rate, not the caller's, which
    /// all other users share.
    fn check_rates(&self, caller: &Caller, user: &PanelUser) -> Result<(), Duration> {
        if let Some(rates) = &self.user_rates {
            rates.check(&(caller.name(), user.id()))?;
        }
        if let Some(rates) = &self.caller_rates {
            rates.check(caller.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(names: &[&str]) -> Roles {
        names.iter().copied().collect()
    }

    fn user(id: &str, role: &str) -> PanelUser {
        PanelUser::parse(id.to_owned(), role.to_owned()).unwrap()
    }

    fn callers(entries: &[(&str, &str, &[&str])]) -> Arc<Callers> {
        let entries = entries.iter().map(|(name, san, allowed)| {
            Caller::new(*name, San::parse(san).unwrap(), roles(allowed))
        });
        Arc::new(Callers::listed(entries).unwrap())
    }

    fn limits() -> Limits {
        Limits {
            cloud_roles: roles(&["admin", "owner"]),
            caller_rate: None,
            user_rate: None,
            in_flight: 1,
        }
    }

    fn presented(dns: &str) -> Presented {
        Presented::new(&[], &[dns.to_owned()])
    }

    fn rate(a_second: u32) -> Option<Rate> {
        Rate::per_second(a_second)
    }

    #[test]
    fn a_role_that_ask2do_does_not_serve_comes_before_one_that_is_not_the_callers() {
        let admission = Admission::new(callers(&[("panel", "panel", &["admin"])]), limits());
        let panel = admission.identify(&presented("panel")).unwrap();
        let refused = |role| admission.admit(&panel, &user("1", role)).err();
        assert_eq!(refused("junior"), Some(MintError::RoleNotAllowed));
        assert_eq!(refused("owner"), Some(MintError::CallerNotAllowed));
        assert_eq!(refused("Admin"), Some(MintError::RoleNotAllowed));
        assert_eq!(refused("admin"), None);
    }

    #[test]
    fn a_role_that_is_refused_uses_up_no_rate() {
        let limits = Limits {
            caller_rate: rate(1),
            ..limits()
        };
        let admission = Admission::new(callers(&[("panel", "panel", &["admin"])]), limits);
        let panel = admission.identify(&presented("panel")).unwrap();
        for _ in 0..10 {
            assert!(admission.admit(&panel, &user("1", "owner")).is_err());
        }
        assert!(admission.admit(&panel, &user("1", "admin")).is_ok());
    }

    #[test]
    fn rate_comes_before_in_flight() {
        let limits = Limits {
            caller_rate: rate(1),
            ..limits()
        };
        let admission = Admission::new(callers(&[("panel", "panel", &["admin"])]), limits);
        let panel = admission.identify(&presented("panel")).unwrap();
        let admit = || admission.admit(&panel, &user("1", "admin"));
        let held = admit().unwrap();
        assert!(matches!(admit(), Err(MintError::Overloaded { .. })));
        assert!(matches!(admit(), Err(MintError::RateLimited { .. })));
        drop(held);
    }

    #[test]
    fn a_mint_is_in_flight_until_its_permit_is_dropped() {
        let admission = Admission::new(callers(&[("panel", "panel", &["admin"])]), limits());
        let panel = admission.identify(&presented("panel")).unwrap();
        let admit = || admission.admit(&panel, &user("1", "admin"));
        let held = admit().unwrap();
        let refused = admit().err();
        let retry_after = OVERLOADED_RETRY_AFTER;
        assert_eq!(refused, Some(MintError::Overloaded { retry_after }));
        drop(held);
        assert!(admit().is_ok());
    }

    #[test]
    fn a_user_over_their_rate_uses_up_nothing_of_the_callers_nor_of_another_callers_user() {
        let limits = Limits {
            caller_rate: rate(2),
            user_rate: rate(1),
            ..limits()
        };
        let entries: &[(_, _, &[_])] = &[("one", "one", &["admin"]), ("two", "two", &["admin"])];
        let admission = Admission::new(callers(entries), limits);
        let one = admission.identify(&presented("one")).unwrap();
        let two = admission.identify(&presented("two")).unwrap();
        let admit = |caller: &Caller, id| admission.admit(caller, &user(id, "admin")).map(drop);
        assert!(admit(&one, "hammering").is_ok());
        assert!(admit(&one, "hammering").is_ok());
        for _ in 0..100 {
            assert!(admit(&one, "hammering").is_err());
        }
        // The caller may burst to four.
        assert!(admit(&one, "quiet").is_ok());
        assert!(admit(&one, "quiet").is_ok());
        assert!(admit(&one, "another").is_err());
        assert!(admit(&two, "hammering").is_ok());
    }

    #[test]
    fn new_callers_take_effect_at_once_and_what_was_used_of_a_rate_stays_used() {
        let limits = Limits {
            caller_rate: rate(1),
            ..limits()
        };
        let admission = Admission::new(callers(&[("panel", "old", &["admin"])]), limits);
        let panel = admission.identify(&presented("old")).unwrap();
        let admit = |caller: &Caller| admission.admit(caller, &user("1", "admin")).map(drop);
        assert!(admit(&panel).is_ok());
        assert!(admit(&panel).is_ok());

        admission.replace_callers(callers(&[("panel", "new", &["admin"])]));
        assert_eq!(
            admission.identify(&presented("old")).err(),
            Some(Stranger::Unlisted)
        );
        let panel = admission.identify(&presented("new")).unwrap();
        assert!(matches!(admit(&panel), Err(MintError::RateLimited { .. })));
    }

    #[test]
    fn an_empty_list_of_callers_lets_nobody_in() {
        let admission = Admission::new(callers(&[("panel", "panel", &["admin"])]), limits());
        admission.replace_callers(callers(&[]));
        assert_eq!(
            admission.identify(&presented("panel")).err(),
            Some(Stranger::Unlisted)
        );
    }
}

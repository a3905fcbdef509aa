//! Who is logged in: cookie sessions, in memory.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::User;

/// A working day.
const LIFETIME: Duration = Duration::from_secs(8 * 60 * 60);

/// More than a demo has; beyond it the oldest goes.
const AT_MOST: usize = 1_000;

const COOKIE: &str = "panel_session";

/// The name of a session, which only its browser knows.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct SessionId(String);

/// A logged-in user.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) user: User,
    /// The id at which the simulated cloud fails, instead of the user's own.
    pub(super) scenario: Option<&'static str>,
    opened: Instant,
}

#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<SessionId, Session>>);

impl SessionId {
    fn random() -> Self {
        Self(format!("{:032x}", rand::random::<u128>()))
    }

    /// The session among a request's cookies.
    pub(super) fn among<'a>(mut cookies: impl Iterator<Item = &'a str>) -> Option<Self> {
        cookies.find_map(|line| {
            line.split(';')
                .filter_map(|cookie| cookie.trim().split_once('='))
                .find(|(name, _)| *name == COOKIE)
                .map(|(_, id)| Self(id.to_owned()))
        })
    }

    /// No `Secure`: the demo is plain HTTP on the loopback. A panel on the network sets it.
    pub(super) fn cookie(&self) -> String {
        let lifetime = LIFETIME.as_secs();
        format!(
            "{COOKIE}={}; Path=/; Max-Age={lifetime}; HttpOnly; SameSite=Lax",
            self.0
        )
    }

    /// Has the browser forget its session.
    pub(super) fn no_cookie() -> String {
        format!("{COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax")
    }
}

impl Session {
    /// What the panel calls its user towards Ask2Do.
    pub(super) fn panel_id(&self) -> &str {
        self.scenario.unwrap_or(self.user.id)
    }
}

impl Sessions {
    pub(super) fn open(&self, user: User) -> SessionId {
        let id = SessionId::random();
        let mut sessions = self.sessions();
        sessions.retain(|_, session| session.opened.elapsed() < LIFETIME);
        if sessions.len() >= AT_MOST {
            let oldest = sessions
                .iter()
                .min_by_key(|(_, session)| session.opened)
                .map(|(id, _)| id.clone());
            oldest.map(|id| sessions.remove(&id));
        }
        sessions.insert(
            id.clone(),
            Session {
                user,
                scenario: None,
                opened: Instant::now(),
            },
        );
        id
    }

    pub(super) fn find(&self, id: &SessionId) -> Option<Session> {
        let sessions = self.sessions();
        sessions
            .get(id)
            .filter(|session| session.opened.elapsed() < LIFETIME)
            .cloned()
    }

    pub(super) fn play(&self, id: &SessionId, scenario: Option<&'static str>) {
        if let Some(session) = self.sessions().get_mut(id) {
            session.scenario = scenario;
        }
    }

    pub(super) fn close(&self, id: &SessionId) {
        self.sessions().remove(id);
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<SessionId, Session>> {
        // Every step leaves the map whole, so a panic elsewhere does not matter.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::USERS;
    use super::*;

    #[test]
    fn the_session_is_found_among_other_cookies() {
        let id = |lines: &[&str]| SessionId::among(lines.iter().copied()).map(|id| id.0);
        assert_eq!(id(&["a=b; panel_session=x; c=d"]), Some("x".to_owned()));
        assert_eq!(id(&["a=b", "panel_session=x"]), Some("x".to_owned()));
        assert_eq!(id(&["xpanel_session=x", "panel_sessions=y"]), None);
    }

    #[test]
    fn a_closed_session_is_gone_and_the_oldest_makes_room() {
        let sessions = Sessions::default();
        let first = sessions.open(USERS[0].clone());
        let second = sessions.open(USERS[1].clone());
        assert_eq!(
            sessions.find(&second).map(|session| session.user),
            Some(USERS[1].clone())
        );
        sessions.close(&second);
        assert!(sessions.find(&second).is_none());
        for _ in 0..AT_MOST {
            sessions.open(USERS[2].clone());
        }
        assert!(sessions.find(&first).is_none());
        assert_eq!(sessions.sessions().len(), AT_MOST);
    }
}

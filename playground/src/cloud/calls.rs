//! What the simulated cloud remembers of the calls it got, for tests to ask.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::HeaderMap;
use serde::Serialize;

/// How the connection that brought a call was encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TlsFacts {
    /// The protocol version, such as `TLSv1_3`.
    pub version: String,
    /// The key exchange group, such as `X25519MLKEM768`.
    pub group: String,
}

/// One call of `POST /auth/token`. The tenant key is no part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    /// The panel id it named; `None` where the request was malformed.
    pub panel_id: Option<String>,
    /// Its headers, by lower-case name; of a repeated one, the last value.
    pub headers: BTreeMap<String, String>,
    /// How it was encrypted; `None` over plain HTTP.
    pub tls: Option<TlsFacts>,
}

impl Call {
    pub(super) fn new(headers: &HeaderMap, tls: Option<TlsFacts>) -> Self {
        let headers = headers
            .iter()
            .map(|(name, value)| {
                (
                    name.as_str().to_owned(),
                    String::from_utf8_lossy(value.as_bytes()).into_owned(),
                )
            })
            .collect();
        Self {
            panel_id: None,
            headers,
            tls,
        }
    }
}

/// The counts so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Calls {
    /// Calls of `POST /auth/token`, malformed and refused ones too.
    pub total: u64,
    /// The same by panel id, where the request was well-formed.
    pub by_panel_id: BTreeMap<String, u64>,
    /// Connections accepted, those that never got through TLS too.
    pub connections: u64,
    /// Requests that followed one of the simulated redirects. The real one would carry the key.
    pub redirects_followed: u64,
    /// `/chat` sessions that were authenticated.
    pub chats: u64,
}

#[derive(Default)]
pub(super) struct Ledger(Mutex<Pages>);

#[derive(Default)]
struct Pages {
    calls: Calls,
    last: Option<Call>,
}

impl Ledger {
    /// Counts a call. Returns how many there were for its panel id before this one.
    pub(super) fn record(&self, call: Call) -> u64 {
        let mut pages = self.pages();
        pages.calls.total += 1;
        let before = call.panel_id.as_ref().map_or(0, |id| {
            let count = pages.calls.by_panel_id.entry(id.clone()).or_default();
            *count += 1;
            *count - 1
        });
        pages.last = Some(call);
        before
    }

    pub(super) fn connected(&self) {
        self.pages().calls.connections += 1;
    }

    pub(super) fn redirect_followed(&self) {
        self.pages().calls.redirects_followed += 1;
    }

    pub(super) fn chatted(&self) {
        self.pages().calls.chats += 1;
    }

    pub(super) fn calls(&self) -> Calls {
        self.pages().calls.clone()
    }

    pub(super) fn calls_for(&self, panel_id: &str) -> u64 {
        let pages = self.pages();
        pages.calls.by_panel_id.get(panel_id).copied().unwrap_or(0)
    }

    pub(super) fn last(&self) -> Option<Call> {
        self.pages().last.clone()
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        // The counts hold at every step, so a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

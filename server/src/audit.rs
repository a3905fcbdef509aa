//! The audit log: one line of JSON for each decision, written before a token is handed out.
//!
//! Each line names the one before it in its instance's chain and is sealed by an HMAC (with
//! `audit.key_file`) or a plain hash; [`command`] checks chains and finds who minted a token. A line
//! that cannot be written is never lost in silence: it is counted, the next line that can be written says
//! how many there were, and under `audit.on_failure = "refuse"` nothing is minted meanwhile.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use ask2do_token_runtime::metrics::Metrics;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

mod chain;
pub mod command;
mod find;
mod line;
mod metrics;
mod sink;
mod verify;
mod writer;

pub(crate) use chain::Hex;
pub use chain::{InvalidKey, Key};
pub(crate) use line::{Decision, Outcome};
pub use sink::Output;

use chain::{Chain, Seal};
use metrics::State;
use sink::{Sink, Tail};
pub use writer::Idle;
use writer::{Command, Waiting, Writer, Written};

/// The most lines that wait to be written: a tenth of a second of what a core can mint, and some 3 MiB.
const WAITING: usize = 4096;
/// What a line gets at least for being written, where a call's time is over: of the 100 ms that the
/// server keeps of a caller's deadline.
const LEAST_WAIT: Duration = Duration::from_millis(50);

/// How a log is kept.
#[derive(Debug)]
pub struct Settings {
    /// Where its lines go.
    pub output: Output,
    /// Seals them. Without one they are hashed.
    pub key: Option<Key>,
    /// Whether a panel user's id is written as a hash with that key.
    pub hash_ids: bool,
    /// Whether nothing is minted while the log cannot be written.
    pub refuse: bool,
}

/// The log cannot be begun.
#[derive(Debug, thiserror::Error)]
#[error("the audit log: {0}")]
pub struct OpenError(#[from] io::Error);

/// A decision's line could not be written, and `on_failure` is `refuse`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotWritten;

/// An audit log, or none. Clones write the same one.
#[derive(Clone, Debug, Default)]
pub struct Audit(Option<Arc<Open>>);

#[derive(Debug)]
struct Open {
    commands: SyncSender<Command>,
    state: Arc<State>,
    idle: Idle,
    ids: Option<Key>,
    refuse: bool,
}

impl Audit {
    /// Begins a chain, and writes its first line. Without settings nothing is written. `/metrics` shows the
    /// log in either case. Call it inside the Tokio runtime whose threads `idle` hears of.
    ///
    /// # Errors
    ///
    /// The output cannot be opened or written.
    pub fn begin(
        settings: Option<Settings>,
        idle: Idle,
        metrics: &mut Metrics,
    ) -> Result<Self, OpenError> {
        let state = Arc::new(State::default());
        state.register(metrics);
        let Some(settings) = settings else {
            return Ok(Self(None));
        };
        let (sink, tail) = Sink::open(settings.output.clone())?;
        Self::write_to(sink, tail, settings, idle, state)
    }

    fn write_to(
        sink: Sink,
        tail: Tail,
        settings: Settings,
        idle: Idle,
        state: Arc<State>,
    ) -> Result<Self, OpenError> {
        let seal = settings.key.as_ref().map_or(Seal::Plain, Key::seal);
        let chain = Chain::begin(seal);
        let (written, told) = unbounded_channel();
        let writer = Writer::begin(sink, tail, chain, state.clone(), written)?;
        tokio::spawn(tell(told));
        let (commands, received) = sync_channel(WAITING);
        let thread = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(&received))?;
        idle.wakes(thread.thread());
        Ok(Self(Some(Arc::new(Open {
            commands,
            state,
            idle,
            ids: settings.key.filter(|_| settings.hash_ids),
            refuse: settings.refuse,
        }))))
    }

    /// Whether there is a log, so that a decision is worth describing.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Whether a token that is minted now can be written down, or need not be.
    pub(crate) fn allows_mints(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|open| !(open.refuse && open.state.is_failing()))
    }

    /// Writes the line of a decision. Under `refuse` this waits until it is written, at most until
    /// `until`, and a bit longer where that is already over.
    pub(crate) async fn record(
        &self,
        decision: &Decision<'_>,
        until: Instant,
    ) -> Result<(), NotWritten> {
        let Some(open) = &self.0 else {
            return Ok(());
        };
        if !open.refuse {
            open.send(decision, None);
            return Ok(());
        }
        let (sender, written) = oneshot::channel();
        open.send(decision, Some(sender));
        let until = until.max(Instant::now() + LEAST_WAIT);
        match timeout_at(until, written).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(NotWritten),
        }
    }

    /// Writes the line of a call that nobody waits for any more.
    pub(crate) fn note(&self, decision: &Decision<'_>) {
        if let Some(open) = &self.0 {
            open.send(decision, None);
        }
    }

    /// Opens the file again, after somebody has moved it away.
    pub fn reopen(&self) {
        // Full, the next SIGHUP comes to the same.
        let sent = self
            .0
            .as_ref()
            .map(|open| open.commands.try_send(Command::Reopen));
        if let Some(Err(_)) = sent {
            tracing::warn!("the audit log is too busy to be reopened: send SIGHUP again");
        }
    }

    /// Writes what waits, and the chain's last line, for `limit` at most.
    pub async fn end(&self, limit: Duration) {
        let Some(open) = &self.0 else { return };
        let (sender, ended) = oneshot::channel();
        let sent = open.commands.try_send(Command::End(sender));
        if sent.is_err() || !matches!(timeout(limit, ended).await, Ok(Ok(()))) {
            tracing::error!("the audit log could not be ended: lines may be missing at its end");
        }
    }
}

/// What the log calls a token.
#[cfg(test)]
pub(crate) fn hash_of(token: &str) -> String {
    line::token_hash(token).to_string()
}

/// Tells those who wait, from inside the runtime: the writer wakes it once for all lines of a write, and calls whose
/// turn comes together are answered together.
async fn tell(mut told: UnboundedReceiver<Written>) {
    while let Some(written) = told.recv().await {
        for waiting in written {
            // Nobody may be waiting any more.
            let _ = waiting.send(());
        }
    }
}

impl Open {
    fn send(&self, decision: &Decision<'_>, waiting: Option<Waiting>) {
        let object = decision.object(self.ids.as_ref());
        match self.commands.try_send(Command::Write((object, waiting))) {
            Ok(()) => self.idle.line_waits(),
            Err(_) => self.state.lost(1),
        }
    }
}

#[cfg(test)]
mod tests;

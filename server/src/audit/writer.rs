//! The thread that writes: a disk that hangs holds up no runtime.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::chain::{Chain, Head};
use super::line;
use super::metrics::State;
use super::sink::Sink;

/// After this long an output that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// This often the head of the chain is logged, where it has moved.
const HEAD_EVERY: Duration = Duration::from_mins(5);
/// Between two writes, where there is that much to write: lines that come meanwhile go together. Each write by
/// itself would switch to this thread and back for each mint, which costs more than its line.
const PACE: Duration = Duration::from_millis(1);
/// The most lines in one write.
const BATCH: usize = 256;
/// Makes the piece of a line that a full disk has left no line of the log, and ends it.
const AFTER_A_PIECE: &str = "#cut\n";

/// What the writer is told.
#[derive(Debug)]
pub(super) enum Command {
    /// Write these members of a line; tell whether that went well.
    Write(Members),
    /// Open the file of that name again.
    Reopen,
    /// Write the last line, tell, and end.
    End(oneshot::Sender<()>),
}

/// The members of a line, and who waits to be told whether it was written.
pub(super) type Members = (String, Option<oneshot::Sender<bool>>);

pub(super) struct Writer {
    sink: Sink,
    chain: Chain,
    state: Arc<State>,
    /// The output ends amid a line.
    is_cut: bool,
    retry_at: Option<Instant>,
    wrote_at: Option<Instant>,
    logged: (Instant, Option<Head>),
}

/// A line on its way.
struct Pending {
    end: usize,
    chain: Chain,
    waiting: Option<oneshot::Sender<bool>>,
    /// How many lost lines it tells of.
    says_lost: u64,
}

impl Writer {
    /// Writes the first line.
    pub(super) fn begin(
        sink: Sink,
        chain: Chain,
        state: Arc<State>,
        found: Option<Head>,
        is_cut: bool,
    ) -> io::Result<Self> {
        let first = line::begin(chain.algorithm(), found);
        let mut writer = Self {
            sink,
            chain,
            state,
            is_cut,
            retry_at: None,
            wrote_at: None,
            logged: (Instant::now(), None),
        };
        writer.write(vec![(first, None)])?;
        writer.log_head();
        Ok(writer)
    }

    /// Until it is told to end, or nobody can tell it anything any more.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        loop {
            let wake = self.logged.0 + HEAD_EVERY;
            let wake = self.retry_at.map_or(wake, |retry| retry.min(wake));
            match commands.recv_timeout(wake.saturating_duration_since(Instant::now())) {
                Ok(command) => {
                    self.gather();
                    if self.obey(command, commands).is_break() {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.retry_at.is_some_and(|at| at <= Instant::now()) {
                self.recover();
            }
            if self.logged.0.elapsed() >= HEAD_EVERY {
                self.log_head();
            }
        }
    }

    /// Lets lines come that will be written together with the one that has.
    fn gather(&self) {
        let until = self.wrote_at.map(|at| at + PACE);
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if let Some(left) = left.filter(|left| !left.is_zero()) {
            std::thread::sleep(left);
        }
    }

    fn obey(&mut self, command: Command, commands: &Receiver<Command>) -> ControlFlow<()> {
        let mut next = Some(command);
        while let Some(command) = next.take() {
            match command {
                Command::Write(line) => {
                    next = self.write_batch(line, commands);
                }
                Command::Reopen => {
                    self.recover();
                    self.log_head();
                }
                Command::End(done) => {
                    self.try_write(vec![(line::end(), None)]);
                    self.log_head();
                    let _ = done.send(());
                    return ControlFlow::Break(());
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Writes this line with those that wait behind it; what is no line is given back.
    fn write_batch(&mut self, first: Members, commands: &Receiver<Command>) -> Option<Command> {
        let mut lines = vec![first];
        let mut other = None;
        while lines.len() < BATCH && other.is_none() {
            match commands.try_recv() {
                Ok(Command::Write(line)) => lines.push(line),
                Ok(command) => other = Some(command),
                Err(_) => break,
            }
        }
        self.try_write(lines);
        other
    }

    fn try_write(&mut self, lines: Vec<Members>) {
        if self.retry_at.is_some() {
            // Known to fail; senders that are dropped say so.
            self.state.lost(lines.len() as u64);
            return;
        }
        if let Err(error) = self.write(lines) {
            self.fail("cannot write the audit log", &error);
        }
    }

    /// Writes lines, all in one go. What was not written is counted, and left out of the chain.
    fn write(&mut self, lines: Vec<Members>) -> io::Result<()> {
        if self.sink.is_gone() {
            tracing::error!("the audit log's file was deleted: beginning another of its name");
            self.is_cut = self.sink.reopen()?.is_cut;
        }
        let mut text = String::new();
        if self.is_cut {
            text.push_str(AFTER_A_PIECE);
        }
        let mut chain = self.chain.clone();
        let mut pending = Vec::with_capacity(lines.len() + 1);
        let unsaid = self.state.unsaid();
        let about_lost = (unsaid > 0).then(|| (line::lost(unsaid), None, unsaid));
        let lines = lines
            .into_iter()
            .map(|(members, waiting)| (members, waiting, 0));
        for (members, waiting, says_lost) in about_lost.into_iter().chain(lines) {
            text.push_str(&chain.line(&members));
            pending.push(Pending {
                end: text.len(),
                chain: chain.clone(),
                waiting,
                says_lost,
            });
        }
        let (written, error) = match self.sink.write(text.as_bytes()) {
            Ok(()) => (text.len(), None),
            Err((written, error)) => (written, Some(error)),
        };
        self.wrote_at = Some(Instant::now());
        self.settle(pending, written, text.as_bytes());
        error.map_or(Ok(()), Err)
    }

    fn settle(&mut self, pending: Vec<Pending>, written: usize, text: &[u8]) {
        if let Some(last) = written.checked_sub(1).and_then(|last| text.get(last)) {
            self.is_cut = *last != b'\n';
        }
        let (mut count, mut lost) = (0, 0);
        let mut told = Vec::with_capacity(pending.len());
        for line in pending {
            if line.end <= written {
                count += 1;
                self.state.said(line.says_lost);
                self.chain = line.chain;
                told.extend(line.waiting);
            } else if line.says_lost == 0 {
                lost += 1;
            }
        }
        self.state.lost(lost);
        self.state.written(count, self.chain.head());
        for waiting in told {
            // Nobody may be waiting any more.
            let _ = waiting.send(true);
        }
    }

    fn fail(&mut self, what: &str, error: &io::Error) {
        if !self.state.is_failing() {
            tracing::error!(%error, "{what}");
        }
        self.state.set_failing(true);
        self.retry_at = Some(Instant::now() + RETRY);
    }

    /// Opens the output again, and says what was lost, which also shows that it can be written.
    fn recover(&mut self) {
        match self.sink.reopen() {
            Ok(tail) => self.is_cut = tail.is_cut || (self.is_cut && !self.sink.is_file()),
            Err(error) => return self.fail("cannot open the audit log", &error),
        }
        if let Err(error) = self.write(Vec::new()) {
            return self.fail("cannot write the audit log", &error);
        }
        self.retry_at = None;
        if self.state.is_failing() {
            self.state.set_failing(false);
            tracing::warn!("the audit log can be written again");
        }
    }

    fn log_head(&mut self) {
        let head = self.chain.head();
        if let Some(head) = head
            .as_ref()
            .filter(|head| self.logged.1.as_ref() != Some(*head))
        {
            tracing::info!(%head, "audit log");
        }
        self.logged = (Instant::now(), head);
    }
}

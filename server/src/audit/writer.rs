//! The thread that writes: a disk that hangs holds up no runtime.

use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::chain::{Chain, Head, Place};
use super::line;
use super::metrics::State;
use super::sink::{Sink, Tail};

/// After this long an output that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// This often the head of the chain is logged, where it has moved.
const HEAD_EVERY: Duration = Duration::from_mins(5);
/// Between two writes at most, where there is that much to write, unless [`Idle`] says that no more will come: lines
/// that come meanwhile go together. Each write by itself would switch to this thread and back for each mint, which
/// costs more than its line.
const PACE: Duration = Duration::from_millis(1);
/// The most lines in one write.
const BATCH: usize = 256;
/// Makes the piece of a line that a full disk has left no line of the log, and ends it.
const AFTER_A_PIECE: &[u8] = b"#cut\n";

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

/// An object with the members of a line, and who waits to be told that it was written.
pub(super) type Members = (Vec<u8>, Option<Waiting>);

/// Dropped, it says that the line was not written.
pub(super) type Waiting = oneshot::Sender<()>;

/// Who waited for the lines of one write.
pub(super) type Written = Vec<Waiting>;

/// Tells the writer when all threads of the runtime sleep, so that no more lines will come before it has written.
#[derive(Clone, Debug, Default)]
pub struct Idle(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    threads: OnceLock<usize>,
    asleep: AtomicUsize,
    lines_wait: AtomicBool,
    writer: OnceLock<Thread>,
}

impl Idle {
    /// The runtime has so many threads.
    pub fn of_threads(&self, threads: usize) {
        // There is one runtime in a process.
        let _ = self.0.threads.set(threads);
    }

    /// One of them is about to sleep: see [`tokio::runtime::Builder::on_thread_park`].
    pub fn thread_parks(&self) {
        let Shared {
            threads,
            asleep,
            lines_wait,
            writer,
        } = &*self.0;
        let asleep = asleep.fetch_add(1, Ordering::AcqRel) + 1;
        if threads.get() == Some(&asleep)
            && lines_wait.swap(false, Ordering::AcqRel)
            && let Some(writer) = writer.get()
        {
            writer.unpark();
        }
    }

    /// One of them goes on: see [`tokio::runtime::Builder::on_thread_unpark`].
    pub fn thread_unparks(&self) {
        self.0.asleep.fetch_sub(1, Ordering::AcqRel);
    }

    /// A line was handed to the writer.
    pub(super) fn line_waits(&self) {
        self.0.lines_wait.store(true, Ordering::Release);
    }

    pub(super) fn wakes(&self, writer: &Thread) {
        // There is one writer in a process.
        let _ = self.0.writer.set(writer.clone());
    }
}

pub(super) struct Writer {
    sink: Sink,
    chain: Chain,
    /// The lines of one write; kept for its memory.
    text: Vec<u8>,
    written: UnboundedSender<Written>,
    state: Arc<State>,
    /// The output ends amid a line.
    is_cut: bool,
    retry_at: Option<Instant>,
    wrote_at: Option<Instant>,
    logged: (Instant, Option<Head>),
}

/// What a write came to that went wrong. Dropped, it tells those who wait: once the failure is known to all.
struct Failed {
    error: io::Error,
    _waiting: Vec<Waiting>,
}

/// A line on its way.
struct Pending {
    end: usize,
    place: Place,
    waiting: Option<Waiting>,
    /// How many lost lines it tells of.
    says_lost: u64,
}

impl Writer {
    /// Writes the first line.
    pub(super) fn begin(
        sink: Sink,
        tail: Tail,
        chain: Chain,
        state: Arc<State>,
        written: UnboundedSender<Written>,
    ) -> io::Result<Self> {
        let first = line::begin(chain.algorithm(), tail.head);
        let mut writer = Self {
            sink,
            chain,
            text: Vec::new(),
            written,
            state,
            is_cut: tail.is_cut,
            retry_at: None,
            wrote_at: None,
            logged: (Instant::now(), None),
        };
        writer
            .write(vec![(first, None)])
            .map_err(|failed| failed.error)?;
        writer.log_head();
        Ok(writer)
    }

    /// Until it is told to end, or nobody can tell it anything any more.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        loop {
            self.gather();
            let wake = self.logged.0 + HEAD_EVERY;
            let wake = self.retry_at.map_or(wake, |retry| retry.min(wake));
            match commands.recv_timeout(wake.saturating_duration_since(Instant::now())) {
                Ok(command) => {
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

    /// Lets lines come that will be written together. Nobody has to wake this thread for them.
    fn gather(&self) {
        let until = self.wrote_at.map(|at| at + PACE);
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if let Some(left) = left.filter(|left| !left.is_zero()) {
            std::thread::park_timeout(left);
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
        if let Err(failed) = self.write(lines) {
            self.fail("cannot write the audit log", &failed.error);
        }
    }

    /// Writes lines, all in one go. What was not written is counted, and left out of the chain.
    fn write(&mut self, lines: Vec<Members>) -> Result<(), Failed> {
        if self.sink.is_gone() {
            tracing::error!("the audit log's file was deleted: beginning another of its name");
            match self.sink.reopen() {
                Ok(tail) => self.is_cut = tail.is_cut,
                Err(error) => {
                    self.state.lost(lines.len() as u64);
                    let waiting = lines.into_iter().filter_map(|(_, waiting)| waiting);
                    return Err(Failed {
                        error,
                        _waiting: waiting.collect(),
                    });
                }
            }
        }
        self.text.clear();
        if self.is_cut {
            self.text.extend(AFTER_A_PIECE);
        }
        let before = self.chain.place();
        let mut pending = Vec::with_capacity(lines.len() + 1);
        let unsaid = self.state.unsaid();
        let about_lost = (unsaid > 0).then(|| (line::lost(unsaid), None, unsaid));
        let lines = lines
            .into_iter()
            .map(|(object, waiting)| (object, waiting, 0));
        for (object, waiting, says_lost) in about_lost.into_iter().chain(lines) {
            self.chain.append(&object, &mut self.text);
            pending.push(Pending {
                end: self.text.len(),
                place: self.chain.place(),
                waiting,
                says_lost,
            });
        }
        self.chain.go_to(before);
        let (written, error) = match self.sink.write(&self.text) {
            Ok(()) => (self.text.len(), None),
            Err((written, error)) => (written, Some(error)),
        };
        self.wrote_at = Some(Instant::now());
        let unwritten = self.settle(pending, written);
        match error {
            None => Ok(()),
            Some(error) => Err(Failed {
                error,
                _waiting: unwritten,
            }),
        }
    }

    /// Goes as far along the chain as was written. Gives back who waits for the rest.
    fn settle(&mut self, pending: Vec<Pending>, written: usize) -> Vec<Waiting> {
        if let Some(last) = written.checked_sub(1).and_then(|last| self.text.get(last)) {
            self.is_cut = *last != b'\n';
        }
        let (mut count, mut lost) = (0, 0);
        let (mut told, mut unwritten) = (Vec::with_capacity(pending.len()), Vec::new());
        for line in pending {
            if line.end <= written {
                count += 1;
                self.state.said(line.says_lost);
                self.chain.go_to(line.place);
                told.extend(line.waiting);
            } else if line.says_lost == 0 {
                lost += 1;
                unwritten.extend(line.waiting);
            }
        }
        self.state.lost(lost);
        self.state.written(count, self.chain.head());
        if !told.is_empty() {
            // At the end of the process nobody is there any more.
            let _ = self.written.send(told);
        }
        unwritten
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
        if let Err(failed) = self.write(Vec::new()) {
            return self.fail("cannot write the audit log", &failed.error);
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

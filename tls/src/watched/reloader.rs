//! The poll of watched files.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use tokio::task::JoinError;
use tokio::time::MissedTickBehavior;

use super::contents::Contents;
use super::{BoxError, LoadError};

/// How often watched files are read.
pub const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How long new content must stay the same before it counts.
///
/// A file that is written in place is empty, then half there: half a list of callers or of CAs may
/// well parse, and would shut the other half out until the next poll.
pub const SETTLE: Duration = Duration::from_millis(100);

/// SHA-256 of contents: tells a change without keeping a second copy of a secret.
type ContentDigest = [u8; 32];

type Apply = dyn Fn(&[Contents]) -> Result<(), BoxError> + Send + Sync;

/// Reads the files of one [`Watched`](super::Watched) value again. Dropped, the value stays as it is.
pub struct Reloader {
    files: Arc<Files>,
    in_use: ContentDigest,
    modified: Option<SystemTime>,
    failure: Option<Failure>,
    // A failure was reported since the files were last good: their recovery is news too.
    reported: bool,
}

struct Files {
    name: &'static str,
    paths: Vec<PathBuf>,
    apply: Box<Apply>,
}

/// What the last poll failed with.
struct Failure {
    // `None`: the files could not be read.
    digest: Option<ContentDigest>,
    error: String,
    reported: bool,
}

/// What a poll found.
#[derive(Debug)]
#[must_use]
pub enum Polled {
    /// Nothing to tell: the content is the one in use, or is just being written.
    Unchanged,
    /// New content is in use; or the old one is back after a reported failure.
    Reloaded,
    /// The content is bad, and the last good value stays.
    Failed {
        /// What is wrong, and in which file.
        error: LoadError,
        /// Whether this is the poll to report it at: the second in a row that sees this content
        /// with this error, and then never again. Files that are replaced one after the other are bad for
        /// a moment, which is nobody's mistake.
        new: bool,
    },
}

/// Who is told what [`Reloader::run`] finds: a log and a metric.
pub trait Observer: Send + Sync {
    /// The files of the value `name` are good, and in use from now on; they were written at `modified`,
    /// as [`Reloader::modified`] has it.
    fn reloaded(&self, name: &'static str, modified: Option<SystemTime>);
    /// The files of the value `name` are bad; the last good value stays.
    fn failed(&self, name: &'static str, error: &LoadError);
}

impl Reloader {
    pub(super) fn new(
        name: &'static str,
        paths: Vec<PathBuf>,
        (in_use, modified): (ContentDigest, Option<SystemTime>),
        apply: impl Fn(&[Contents]) -> Result<(), BoxError> + Send + Sync + 'static,
    ) -> Self {
        let files = Arc::new(Files {
            name,
            paths,
            apply: Box::new(apply),
        });
        Self {
            files,
            in_use,
            modified,
            failure: None,
            reported: false,
        }
    }

    /// What the files are for, as in [`Watched::load`](super::Watched::load).
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.files.name
    }

    /// When the content in use was written: the latest of its files, where the file system says so.
    #[must_use]
    pub fn modified(&self) -> Option<SystemTime> {
        self.modified
    }

    /// Polls every [`POLL_INTERVAL`], for ever: drop the future to stop.
    pub async fn run(mut self, observer: Arc<dyn Observer>) {
        let mut ticks = tokio::time::interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.poll().await {
                Polled::Unchanged | Polled::Failed { new: false, .. } => {}
                Polled::Reloaded => observer.reloaded(self.name(), self.modified),
                Polled::Failed { error, new: true } => observer.failed(self.name(), &error),
            }
        }
    }

    /// Reads the files once, and replaces the value where their content is new and good.
    ///
    /// New content must stay the same for [`SETTLE`]; bad content is parsed again at each poll, because
    /// a certificate that is not valid yet becomes so. The file system is read off the runtime's
    /// threads.
    pub async fn poll(&mut self) -> Polled {
        let digest = match self.read_digest().await {
            Ok(digest) => digest,
            Err(error) => return self.failed(None, error),
        };
        if digest == self.in_use {
            return self.recovered();
        }
        if !self.is_known_bad(&digest) {
            tokio::time::sleep(SETTLE).await;
        }
        match self.apply(digest).await {
            Ok(Applied::Done(modified)) => {
                self.in_use = digest;
                self.modified = modified;
                self.failure = None;
                self.reported = false;
                Polled::Reloaded
            }
            Ok(Applied::Changing) => Polled::Unchanged,
            Err(error) => self.failed(Some(digest), error),
        }
    }

    fn is_known_bad(&self, digest: &ContentDigest) -> bool {
        self.failure
            .as_ref()
            .is_some_and(|failure| failure.digest.as_ref() == Some(digest))
    }

    /// The content in use is what the files hold.
    fn recovered(&mut self) -> Polled {
        self.failure = None;
        if std::mem::take(&mut self.reported) {
            Polled::Reloaded
        } else {
            Polled::Unchanged
        }
    }

    fn failed(&mut self, digest: Option<ContentDigest>, error: LoadError) -> Polled {
        let text = error.to_string();
        let new = match &mut self.failure {
            Some(last) if last.digest == digest && last.error == text => {
                !std::mem::replace(&mut last.reported, true)
            }
            last => {
                *last = Some(Failure {
                    digest,
                    error: text,
                    reported: false,
                });
                false
            }
        };
        self.reported |= new;
        Polled::Failed { error, new }
    }

    async fn read_digest(&self) -> Result<ContentDigest, LoadError> {
        let files = self.files.clone();
        let read = move || read_all(files.name, &files.paths).map(|read| read.digest);
        self.joined(tokio::task::spawn_blocking(read).await)
    }

    /// Reads again, and applies what it read where that is still what `digest` was made of.
    async fn apply(&self, digest: ContentDigest) -> Result<Applied, LoadError> {
        let files = self.files.clone();
        let apply = move || {
            let read = read_all(files.name, &files.paths)?;
            if read.digest != digest {
                return Ok(Applied::Changing);
            }
            (files.apply)(&read.contents)
                .map(|()| Applied::Done(read.modified()))
                .map_err(|cause| LoadError::of_parser(files.name, &files.paths, cause))
        };
        self.joined(tokio::task::spawn_blocking(apply).await)
    }

    /// A parser that panics must not end the polls: its file is as bad as any other. What the panic
    /// said is left out, because it may show the content.
    fn joined<T>(&self, result: Result<Result<T, LoadError>, JoinError>) -> Result<T, LoadError> {
        result.unwrap_or_else(|error| {
            let cause = if error.is_panic() {
                "what reads it panicked"
            } else {
                "the process is ending"
            };
            let Files { name, paths, .. } = &*self.files;
            Err(LoadError::new(name, paths.clone(), cause))
        })
    }
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader")
            .field("name", &self.files.name)
            .field("paths", &self.files.paths)
            .finish_non_exhaustive()
    }
}

enum Applied {
    Done(Option<SystemTime>),
    Changing,
}

/// The contents of all files, and the digest of them all.
pub(super) struct Read {
    pub(super) contents: Vec<Contents>,
    pub(super) digest: ContentDigest,
}

impl Read {
    /// When the latest of the files was written.
    pub(super) fn modified(&self) -> Option<SystemTime> {
        self.contents.iter().filter_map(Contents::modified).max()
    }
}

/// Reads all files.
pub(super) fn read_all(name: &'static str, paths: &[PathBuf]) -> Result<Read, LoadError> {
    let mut hash = Sha256::new();
    let mut all = Vec::with_capacity(paths.len());
    for path in paths {
        let contents = Contents::read(path)
            .map_err(|cause| LoadError::new(name, vec![path.clone()], cause))?;
        // The length keeps apart what two files hold.
        hash.update((contents.as_bytes().len() as u64).to_be_bytes());
        hash.update(contents.as_bytes());
        all.push(contents);
    }
    Ok(Read {
        contents: all,
        digest: hash.finalize().into(),
    })
}

//! Values that are read from files, and again while the process runs.
//!
//! The content is polled rather than watched through the operating system: Kubernetes swaps symbolic
//! links, editors rename, network file systems send no events, and a second's delay is well within
//! the five in which a removal must count.

mod contents;
mod reloader;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

pub use contents::{Contents, MAX_FILE_SIZE};
pub use reloader::{Observer, POLL_INTERVAL, Polled, Reloader, SETTLE};

/// Any error of a parser.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A value that may be replaced while the process runs; clones share it.
pub struct Watched<T> {
    // The sender lives as long as its readers do, so that a receiver of a value that never changes
    // waits instead of failing.
    sender: Arc<watch::Sender<Arc<T>>>,
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// A value that never changes.
    #[must_use]
    pub fn fixed(value: T) -> Self {
        Self {
            sender: Arc::new(watch::Sender::new(Arc::new(value))),
        }
    }

    /// Reads `paths` now and makes a value of them; the [`Reloader`] does so again when they change.
    ///
    /// The contents of all `paths` are one unit: `parse` sees them together and in this order. `name`
    /// stands for the value in logs and metrics. This call blocks on the file system.
    ///
    /// What `parse` says about a failure is logged: it must not repeat the content of a secret file.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or `parse` refuses the contents.
    pub fn load(
        name: &'static str,
        paths: Vec<PathBuf>,
        parse: impl Fn(&[Contents]) -> Result<T, BoxError> + Send + Sync + 'static,
    ) -> Result<(Self, Reloader), LoadError> {
        let read = reloader::read_all(name, &paths)?;
        let value =
            parse(&read.contents).map_err(|cause| LoadError::of_parser(name, &paths, cause))?;
        let watched = Self::fixed(value);
        let sender = watched.sender.clone();
        let reloader = Reloader::new(
            name,
            paths,
            (read.digest, read.modified()),
            move |contents| {
                sender.send_replace(Arc::new(parse(contents)?));
                Ok(())
            },
        );
        Ok((watched, reloader))
    }

    /// The value of this moment.
    #[must_use]
    pub fn current(&self) -> Arc<T> {
        self.sender.borrow().clone()
    }

    /// A receiver that tells of each later value; those up to now count as seen.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<T>> {
        self.sender.subscribe()
    }
}

impl<T> Clone for Watched<T> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
        }
    }
}

/// Shows no value: many are secret.
impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").finish_non_exhaustive()
    }
}

/// Why watched files give no value: which files, and what is wrong with them.
#[derive(Debug)]
pub struct LoadError {
    name: &'static str,
    paths: Vec<PathBuf>,
    cause: BoxError,
}

impl LoadError {
    /// An error of the value `name`, that `paths` caused.
    pub fn new(name: &'static str, paths: Vec<PathBuf>, cause: impl Into<BoxError>) -> Self {
        Self {
            name,
            paths,
            cause: cause.into(),
        }
    }

    fn of_parser(name: &'static str, paths: &[PathBuf], cause: BoxError) -> Self {
        match cause.downcast::<InFile>() {
            Ok(blamed) => {
                let path = paths.get(blamed.position).cloned();
                Self::new(name, Vec::from_iter(path), blamed.cause)
            }
            Err(cause) => Self::new(name, paths.to_vec(), cause),
        }
    }

    /// What the files are for, as in [`Watched::load`].
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What is wrong with them, for those who tell an [`IdentityError`](crate::IdentityError) from another.
    #[must_use]
    pub fn cause(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        &*self.cause
    }

    /// The files at fault: one that is bad by itself, or all that do not fit together.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.paths.iter().map(PathBuf::as_path)
    }
}

/// What a parser of several files says where one of them alone is at fault.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub(crate) struct InFile {
    /// Which one, counted from 0.
    pub(crate) position: usize,
    pub(crate) cause: BoxError,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, path) in self.paths.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{}", path.display())?;
        }
        write!(f, ": {}", self.cause)
    }
}

impl std::error::Error for LoadError {
    // The cause is part of the sentence above; what lies behind it may say more.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.source()
    }
}

#[cfg(test)]
mod tests;

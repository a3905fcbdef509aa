//! The certificates in use, read again while the client lives.

use std::fmt;
use std::sync::Arc;

use ask2do_token_tls::{Observer, POLL_INTERVAL, Polled, Reloader};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::transport::task::Task;

/// Polls the certificates' files; a call may ask for it to be done at once.
pub(crate) struct Credentials {
    files: Arc<Files>,
    poller: Task,
}

struct Files {
    polls: Mutex<Polls>,
    observer: Option<Arc<dyn Observer>>,
}

struct Polls {
    reloaders: Vec<Reloader>,
    last: Option<Instant>,
}

impl Credentials {
    /// Keeps current what these read. None: the certificates came from memory.
    pub(crate) fn new(reloaders: Vec<Reloader>, observer: Option<Arc<dyn Observer>>) -> Self {
        let polls = Mutex::new(Polls {
            reloaders,
            last: None,
        });
        Self {
            files: Arc::new(Files { polls, observer }),
            poller: Task::default(),
        }
    }

    /// Polls from now on. Needs a Tokio runtime.
    pub(crate) fn start(&self) {
        let files = self.files.clone();
        self.poller.ensure(|| async move {
            loop {
                files.poll(Instant::now()).await;
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        });
    }

    /// Reads the files now, and waits until what they hold is in use.
    pub(crate) async fn reread(&self) {
        self.files.poll(Instant::now()).await;
    }
}

impl Files {
    /// Polls once, unless somebody else's poll began after `asked`.
    async fn poll(&self, asked: Instant) {
        let mut polls = self.polls.lock().await;
        if polls.last.is_some_and(|last| last > asked) {
            return;
        }
        polls.last = Some(Instant::now());
        for reloader in &mut polls.reloaders {
            let polled = reloader.poll().await;
            self.tell(reloader, &polled);
        }
    }

    fn tell(&self, reloader: &Reloader, polled: &Polled) {
        let name = reloader.name();
        match polled {
            Polled::Reloaded => {
                tracing::info!(file = name, "reloaded");
                if let Some(observer) = &self.observer {
                    observer.reloaded(name, reloader.modified());
                }
            }
            Polled::Failed { error, new: true } => {
                tracing::warn!(file = name, %error, "cannot be used: the last good one stays");
                if let Some(observer) = &self.observer {
                    observer.failed(name, error);
                }
            }
            Polled::Unchanged | Polled::Failed { new: false, .. } => {}
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

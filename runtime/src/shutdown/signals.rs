//! SIGTERM and SIGINT as a stream.

use std::io;

use tokio::sync::mpsc;

/// The signals that ask this process to end, as they come.
#[derive(Debug)]
pub struct Signals {
    received: mpsc::Receiver<&'static str>,
}

impl Signals {
    /// From here on SIGTERM and SIGINT no longer end the process by themselves. Call it first
    /// thing: a process whose id is 1 ignores them until somebody listens.
    ///
    /// # Errors
    ///
    /// The operating system refused to install a handler.
    pub fn listen() -> io::Result<Self> {
        let (sender, signals) = Self::channel();
        listen(sender)?;
        Ok(signals)
    }

    /// Signals that a test sends.
    #[must_use]
    pub fn channel() -> (mpsc::Sender<&'static str>, Self) {
        let (sender, received) = mpsc::channel(4);
        (sender, Self { received })
    }

    /// The name of the next signal; waits for ever when nobody can send one.
    pub async fn next(&mut self) -> &'static str {
        match self.received.recv().await {
            Some(name) => name,
            None => std::future::pending().await,
        }
    }
}

#[cfg(unix)]
fn listen(sender: mpsc::Sender<&'static str>) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    for (name, kind) in [
        ("SIGTERM", SignalKind::terminate()),
        ("SIGINT", SignalKind::interrupt()),
    ] {
        let mut signals = signal(kind)?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() && sender.send(name).await.is_ok() {}
        });
    }
    Ok(())
}

#[cfg(not(unix))]
fn listen(sender: mpsc::Sender<&'static str>) -> io::Result<()> {
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() && sender.send("Ctrl-C").await.is_ok() {}
    });
    Ok(())
}

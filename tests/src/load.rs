//! Calls without a pause, of which none may fail.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::task::JoinSet;

use crate::caller::{Caller, minted};
use crate::until;

/// After so many calls a task opens another connection.
const CALLS_OF_A_CONNECTION: u64 = 20;

/// Callers at work, until [`stop`](Self::stop).
#[derive(Debug)]
pub struct Load {
    tasks: JoinSet<()>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    calls: AtomicU64,
}

impl Load {
    /// Begins, with this many callers at a time.
    #[must_use]
    pub fn begin(caller: &Caller, address: SocketAddr, callers: u64) -> Self {
        let shared = Arc::new(Shared::default());
        let mut tasks = JoinSet::new();
        for task in 0..callers {
            tasks.spawn(work(caller.clone(), address, shared.clone(), task));
        }
        Self { tasks, shared }
    }

    /// Waits for `calls` more that are begun and end after now.
    ///
    /// # Panics
    ///
    /// When one fails, or they don't come.
    pub async fn goes_on(&mut self, calls: u64) {
        // One of each task may have begun before now.
        let calls = calls + self.tasks.len() as u64;
        let target = self.shared.calls.load(Ordering::SeqCst) + calls;
        let tasks = &mut self.tasks;
        until("calls go on", async || {
            while let Some(ended) = tasks.try_join_next() {
                ended.expect("no call fails");
            }
            (self.shared.calls.load(Ordering::SeqCst) >= target).then_some(())
        })
        .await;
    }

    /// Ends: how many calls there were.
    ///
    /// # Panics
    ///
    /// When one has failed.
    pub async fn stop(mut self) -> u64 {
        self.shared.stop.store(true, Ordering::SeqCst);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("no call fails");
        }
        self.shared.calls.load(Ordering::SeqCst)
    }
}

async fn work(caller: Caller, address: SocketAddr, shared: Arc<Shared>, task: u64) {
    while !shared.stop.load(Ordering::SeqCst) {
        let connection = caller.connect(address).await;
        for call in 0..CALLS_OF_A_CONNECTION {
            let reply = connection
                .mint(&format!("load-{task}-{call}"), "admin")
                .await;
            minted(&reply);
            shared.calls.fetch_add(1, Ordering::SeqCst);
            if shared.stop.load(Ordering::SeqCst) {
                return;
            }
        }
    }
}

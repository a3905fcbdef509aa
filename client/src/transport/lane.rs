//! One address: dial, keep, dial again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::balancer::Shared;
use super::connect::Connect;
use super::pool::{Member, Tick};

/// Least time between the end of one try of an address and the next, also when calls wait for it.
pub(super) const SPACING: Duration = Duration::from_millis(100);

/// Most time between two tries: how long an address that came back may go unnoticed.
const LONGEST: Duration = Duration::from_secs(3);

/// A connection that lived this long was a good one: the next try is made at once.
const GOOD: Duration = Duration::from_secs(1);

/// Keeps a connection to `address`, for ever: abort it to stop.
pub(super) async fn keep<C: Connect>(shared: Arc<Shared<C>>, address: SocketAddr) {
    let mut backoff = Backoff::new();
    loop {
        let mut since = shared.tick();
        shared.pool.send_modify(|pool| pool.dialing(address));
        match shared.connector.connect(address).await {
            Ok(connection) => {
                let member = Arc::new(Member::new(connection, address, since));
                tracing::debug!(%address, "connected");
                if serve(&shared, member).await >= GOOD {
                    backoff.reset();
                    continue;
                }
            }
            Err(cause) => {
                tracing::debug!(%address, %cause, "not connected");
                since = shared.tick();
                shared
                    .pool
                    .send_modify(|pool| pool.failed(address, since, cause));
            }
        }
        backoff.pause(&shared, since).await;
    }
}

/// Lets calls use the connection until it ends, or another would differ. Gives how long that was.
async fn serve<C: Connect>(shared: &Shared<C>, member: Arc<Member<C::Connection>>) -> Duration {
    let since = Instant::now();
    shared.pool.send_modify(|pool| pool.ready(member.clone()));
    tokio::select! {
        () = member.ended() => since.elapsed(),
        () = shared.connector.outdated(&member.connection) => GOOD,
    }
}

/// Doubling pauses with jitter, cut short when a call waits for a connection.
struct Backoff {
    next: Duration,
}

impl Backoff {
    fn new() -> Self {
        Self { next: SPACING }
    }

    fn reset(&mut self) {
        self.next = SPACING;
    }

    /// Waits for the next try; not for long where a call asked after `since`.
    async fn pause<C: Connect>(&mut self, shared: &Shared<C>, since: Tick) {
        let begun = Instant::now();
        let full = self.next.mul_f64(rand::random_range(0.8..1.2));
        self.next = (self.next * 2).min(LONGEST);
        tokio::select! {
            () = tokio::time::sleep(full) => {}
            () = shared.wanted_after(since) => {
                tokio::time::sleep_until(begun + SPACING).await;
            }
        }
    }
}

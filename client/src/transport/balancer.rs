//! The endpoint's addresses: looked up again and again, a connection kept to each.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::connect::Connect;
use super::lane::{self, SPACING};
use super::pool::{Choice, Demand, Member, Pool, Tick, Wish};
use super::resolve::Resolve;
use super::task::Task;
use crate::unavailable::Unavailable;

/// How often the name is looked up: an address counts within two of these and a handshake.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(2);

/// How long calls wait for a lookup.
const LOOKUP_LIMIT: Duration = Duration::from_secs(3);

/// Most addresses that are used of one name.
const MOST_ADDRESSES: usize = 64;

/// Without a call for this long, connections are closed and nothing is looked up until the next.
const IDLE: Duration = Duration::from_secs(300);

/// Gives each call a connection.
#[derive(Debug)]
pub(crate) struct Balancer<C: Connect> {
    shared: Arc<Shared<C>>,
    supervisor: Task,
}

/// The name, and what looks it up.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) resolver: Box<dyn Resolve>,
}

/// What the supervisor, the lanes and the calls have in common.
#[derive(Debug)]
pub(super) struct Shared<C: Connect> {
    pub(super) connector: C,
    pub(super) pool: watch::Sender<Pool<C::Connection>>,
    /// When a call last asked that found no connection.
    wanted: watch::Sender<Tick>,
    awake: Notify,
    target: Target,
    clock: AtomicU64,
    turn: AtomicUsize,
    last_used: Mutex<Instant>,
    /// Which addresses to take where there are too many: always the same here, others elsewhere.
    preference: RandomState,
}

impl<C: Connect> Balancer<C> {
    pub(crate) fn new(target: Target, connector: C) -> Self {
        Self {
            shared: Arc::new(Shared {
                connector,
                pool: watch::Sender::new(Pool::empty()),
                wanted: watch::Sender::new(Tick::default()),
                awake: Notify::new(),
                target,
                clock: AtomicU64::new(1),
                turn: AtomicUsize::new(0),
                last_used: Mutex::new(Instant::now()),
                preference: RandomState::new(),
            }),
            supervisor: Task::default(),
        }
    }

    /// The present moment, in the order of events.
    pub(crate) fn tick(&self) -> Tick {
        self.shared.tick()
    }

    /// The connection whose turn it is.
    ///
    /// # Errors
    ///
    /// Every address was tried since this began, and failed. Without an address that answers or fails
    /// it waits: bound it by the call's deadline.
    pub(crate) async fn pick(
        &self,
        demand: &Demand,
    ) -> Result<Arc<Member<C::Connection>>, Unavailable> {
        let shared = &self.shared;
        shared.used();
        let wish = &Wish {
            asked: shared.tick(),
            demand: *demand,
        };
        self.supervisor.ensure(|| supervise(shared.clone()));
        let turn = shared.turn.fetch_add(1, Ordering::Relaxed);
        let mut pool = shared.pool.subscribe();
        loop {
            let choice = pool.borrow_and_update().choose(wish, turn);
            match choice {
                Choice::Take(member) => return Ok(member),
                Choice::Fail(cause) => return Err(cause),
                Choice::Wait => shared.want(wish),
            }
            // The sender is `shared`'s: there is no error.
            _ = pool.changed().await;
        }
    }
}

impl<C: Connect> Shared<C> {
    pub(super) fn tick(&self) -> Tick {
        Tick(self.clock.fetch_add(1, Ordering::SeqCst))
    }

    /// Tells those that wait before the next try that a call waits too.
    fn want(&self, wish: &Wish) {
        self.wanted.send_if_modified(|wanted| {
            let newer = wish.asked > *wanted;
            *wanted = wish.asked.max(*wanted);
            newer
        });
        self.awake.notify_one();
    }

    /// Completes when a call that asked after `since` finds no connection.
    pub(super) async fn wanted_after(&self, since: Tick) {
        // The sender is ours: there is no error.
        _ = self
            .wanted
            .subscribe()
            .wait_for(|wanted| *wanted > since)
            .await;
    }

    fn used(&self) {
        *self
            .last_used
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn idle_at(&self) -> Instant {
        *self
            .last_used
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            + IDLE
    }

    /// Looks the name up once. While that takes too long, calls are told so again and again: the
    /// system's resolver cannot be cancelled, and a second lookup beside it would take a second thread.
    async fn look_up(&self) -> io::Result<Vec<SocketAddr>> {
        let Target {
            host,
            port,
            resolver,
        } = &self.target;
        let mut lookup = resolver.resolve(host, *port);
        loop {
            match tokio::time::timeout(LOOKUP_LIMIT, &mut lookup).await {
                Ok(found) => return found,
                Err(_) => self.unresolved(io::ErrorKind::TimedOut.into()),
            }
        }
    }

    fn unresolved(&self, error: io::Error) {
        tracing::debug!(host = %self.target.host, %error, "not resolved");
        let cause = Unavailable::resolution(&self.target.host, error);
        let now = self.tick();
        self.pool.send_modify(|pool| pool.unresolved(now, cause));
    }

    /// At most [`MOST_ADDRESSES`] of the addresses, each once.
    fn selected(&self, mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
        addresses.sort_unstable_by_key(|address| (self.preference.hash_one(address), *address));
        addresses.dedup();
        addresses.truncate(MOST_ADDRESSES);
        addresses
    }
}

/// Keeps the pool filled while there are calls.
async fn supervise<C: Connect>(shared: Arc<Shared<C>>) {
    loop {
        shared.pool.send_modify(|pool| *pool = Pool::empty());
        while Instant::now() >= shared.idle_at() {
            shared.awake.notified().await;
        }
        follow(&shared).await;
    }
}

/// Follows the name until the client is idle. The lanes end with it.
async fn follow<C: Connect>(shared: &Arc<Shared<C>>) {
    let mut lanes = Lanes::default();
    while Instant::now() < shared.idle_at() {
        let looked_up = Instant::now();
        match shared.look_up().await {
            Ok(found) if found.is_empty() => {
                shared.unresolved(io::Error::other("it has no address"));
            }
            Ok(found) => lanes.set(shared, &shared.selected(found)),
            Err(error) => shared.unresolved(error),
        }
        let now = shared.tick();
        tokio::select! {
            () = tokio::time::sleep_until(looked_up + LOOKUP_INTERVAL) => {}
            // Only a call that has no address at all is served by an earlier lookup.
            () = shared.wanted_after(now), if lanes.by_address.is_empty() => {
                tokio::time::sleep_until(looked_up + SPACING).await;
            }
        }
    }
}

/// The tasks that keep connections, one per address.
#[derive(Default)]
struct Lanes {
    tasks: JoinSet<()>,
    by_address: HashMap<SocketAddr, AbortHandle>,
}

impl Lanes {
    fn set<C: Connect>(&mut self, shared: &Arc<Shared<C>>, addresses: &[SocketAddr]) {
        let now = shared.tick();
        let mut new = Vec::new();
        shared
            .pool
            .send_modify(|pool| new = pool.resolved(now, addresses));
        self.by_address.retain(|address, lane| {
            let stays = addresses.contains(address);
            if !stays {
                tracing::debug!(%address, "no longer an address of the service");
                lane.abort();
            }
            stays
        });
        for address in new {
            let task = self.tasks.spawn(lane::keep(shared.clone(), address));
            self.by_address.insert(address, task);
        }
        // Those that were aborted: nobody asks them.
        while self.tasks.try_join_next().is_some() {}
    }
}

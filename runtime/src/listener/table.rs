//! Who is connected to a port, and who has to make room for whom.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Options;
use super::metrics::{Held, Port};

/// A connection whose requests neither began nor ended for this long is stuck: no request here takes a
/// minute, but a peer can leave an answer unread for as long as it likes.
const STUCK_TO_MAKE_ROOM: Duration = Duration::from_secs(60);

/// The peers of one port.
#[derive(Debug)]
pub(super) struct Table {
    peers: Mutex<Peers>,
    max_pending: usize,
    max_open: usize,
    idle_to_make_room: Duration,
    began: Instant,
    metrics: Port,
}

#[derive(Debug, Default)]
struct Peers {
    last_id: u64,
    /// In the order in which they came.
    pending: BTreeMap<u64, CancellationToken>,
    open: HashMap<u64, Arc<Activity>>,
}

#[derive(Debug)]
struct Activity {
    requests: AtomicUsize,
    /// Milliseconds from [`Table::began`] to the last time that a request began or ended, or to the
    /// connection's start.
    changed: AtomicU64,
    evicted: CancellationToken,
}

/// A peer that has not spoken; leaves the table when dropped.
#[derive(Debug)]
pub(super) struct Pending {
    id: u64,
    evicted: CancellationToken,
    table: Arc<Table>,
    _held: Held,
}

/// A connection that has spoken; leaves the table when dropped.
#[derive(Debug)]
pub(super) struct Open {
    id: u64,
    activity: Arc<Activity>,
    table: Arc<Table>,
    _held: Held,
}

/// A request in flight, until it is dropped.
#[derive(Debug)]
pub(super) struct InFlight {
    activity: Arc<Activity>,
    table: Arc<Table>,
    _held: Held,
}

/// A peer whose place was taken by [`Pending::speak`] or [`Table::arrive`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MadeRoom(pub(super) bool);

/// Every connection is busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AllBusy;

impl Table {
    pub(super) fn new(options: &Options, metrics: Port) -> Arc<Self> {
        Arc::new(Self {
            peers: Mutex::default(),
            max_pending: options.pending.max(1),
            max_open: options.connections.max(1),
            idle_to_make_room: options.idle_to_make_room,
            began: Instant::now(),
            metrics,
        })
    }

    /// A peer came; where there are too many, the one that has been silent longest is evicted.
    pub(super) fn arrive(self: &Arc<Self>) -> (Pending, MadeRoom) {
        let evicted = CancellationToken::new();
        let mut peers = self.lock();
        let made_room = peers.pending.len() >= self.max_pending;
        if made_room && let Some((_, oldest)) = peers.pending.pop_first() {
            oldest.cancel();
        }
        peers.last_id += 1;
        let id = peers.last_id;
        peers.pending.insert(id, evicted.clone());
        drop(peers);
        let pending = Pending {
            id,
            evicted,
            table: Arc::clone(self),
            _held: Held::new(&self.metrics.pending),
        };
        (pending, MadeRoom(made_room))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Peers> {
        // Nothing that can panic runs under the lock.
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peers {
    /// Takes the connection out that has been idle longest, where it is idle long enough; else a stuck one.
    fn evict_idle(&mut self, now: u64, idle_enough: Duration) -> MadeRoom {
        let idlest = self
            .open
            .iter()
            .filter_map(|(id, activity)| Some((activity.expendable(now, idle_enough)?, *id)))
            .max()
            .map(|(_, id)| id);
        let evicted = idlest.and_then(|id| self.open.remove(&id));
        if let Some(activity) = &evicted {
            activity.evicted.cancel();
        }
        MadeRoom(evicted.is_some())
    }
}

impl Activity {
    /// How long there has been no request; `None` while there is one.
    fn idle_for(&self, now: u64) -> Option<Duration> {
        let idle = self.requests.load(Ordering::Acquire) == 0;
        idle.then(|| self.unchanged_for(now))
    }

    fn unchanged_for(&self, now: u64) -> Duration {
        let changed = self.changed.load(Ordering::Acquire);
        Duration::from_millis(now.saturating_sub(changed))
    }

    /// Orders the connections that may be asked to make room: the idle ones after the stuck ones.
    fn expendable(&self, now: u64, idle_enough: Duration) -> Option<(bool, Duration)> {
        match self.idle_for(now) {
            Some(idle) => (idle >= idle_enough).then_some((true, idle)),
            None => {
                let stuck = self.unchanged_for(now);
                (stuck >= STUCK_TO_MAKE_ROOM).then_some((false, stuck))
            }
        }
    }
}

impl Pending {
    /// Completes when this peer's place was given to another.
    pub(super) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }

    /// The peer has spoken. At the limit the connection that has been idle longest, or is stuck, makes room.
    pub(super) fn speak(self) -> Result<(Open, MadeRoom), AllBusy> {
        let table = &self.table;
        let now = table.now();
        let activity = Arc::new(Activity {
            requests: AtomicUsize::new(0),
            changed: AtomicU64::new(now),
            evicted: CancellationToken::new(),
        });
        let mut peers = table.lock();
        let mut made_room = MadeRoom(false);
        if peers.open.len() >= table.max_open {
            made_room = peers.evict_idle(now, table.idle_to_make_room);
            if made_room == MadeRoom(false) {
                return Err(AllBusy);
            }
        }
        peers.open.insert(self.id, Arc::clone(&activity));
        drop(peers);
        let open = Open {
            id: self.id,
            activity,
            table: Arc::clone(table),
            _held: Held::new(&table.metrics.open),
        };
        Ok((open, made_room))
    }
}

impl Open {
    /// A request began.
    pub(super) fn begin(&self) -> InFlight {
        // Written before the count goes up, so that nobody takes a connection that was long idle for a stuck one.
        let now = self.table.now();
        self.activity.changed.store(now, Ordering::Release);
        self.activity.requests.fetch_add(1, Ordering::AcqRel);
        InFlight {
            activity: Arc::clone(&self.activity),
            table: Arc::clone(&self.table),
            _held: Held::new(&self.table.metrics.requests),
        }
    }

    /// Completes when this connection's place was given to another.
    pub(super) async fn evicted(&self) {
        self.activity.evicted.cancelled().await;
    }

    /// Completes when there has been no request for `limit`, counted from now at the earliest.
    pub(super) async fn idle_for(&self, limit: Duration) {
        let mut wait = limit;
        loop {
            tokio::time::sleep(wait).await;
            let idle = self.activity.idle_for(self.table.now());
            match idle.map(|idle| limit.saturating_sub(idle)) {
                Some(Duration::ZERO) => return,
                Some(rest) => wait = rest,
                None => wait = limit,
            }
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.table.lock().pending.remove(&self.id);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.table.lock().open.remove(&self.id);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        // Written before the count goes down, so that nobody sees an old time beside a count of 0.
        let now = self.table.now();
        self.activity.changed.store(now, Ordering::Release);
        self.activity.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

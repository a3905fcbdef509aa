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
use super::lane;
use super::pool::{Choice, Demand, FRESH, Member, Pool, Tick, Wish};
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
        match shared.look_up().await {
            Ok(found) if found.is_empty() => {
                shared.unresolved(io::Error::other("it has no address"));
            }
            Ok(found) => lanes.set(shared, &shared.selected(found)),
            Err(error) => shared.unresolved(error),
        }
        let (now, looked_up) = (shared.tick(), Instant::now());
        tokio::select! {
            () = tokio::time::sleep_until(looked_up + LOOKUP_INTERVAL) => {}
            () = shared.wanted_after(now) => {
                tokio::time::sleep_until(looked_up + FRESH).await;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::fakes::{FakeDns, FakeNet, Host};
    use crate::transport::lane::SPACING;

    type Addresses = Result<Vec<SocketAddr>, io::ErrorKind>;

    fn address(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 8443).into()
    }

    fn addresses<const N: usize>(last: [u8; N]) -> Addresses {
        Ok(last.map(address).to_vec())
    }

    fn up<const N: usize>(last: [u8; N]) -> FakeNet {
        FakeNet::new(&last.map(|last| (address(last), Host::Up)))
    }

    fn balancer(net: &FakeNet, answers: impl IntoIterator<Item = Addresses>) -> Balancer<FakeNet> {
        let target = Target {
            host: "token.test".into(),
            port: 8443,
            resolver: Box::new(FakeDns::new(answers)),
        };
        Balancer::new(target, net.clone())
    }

    async fn pick(balancer: &Balancer<FakeNet>) -> Result<SocketAddr, Unavailable> {
        let member = balancer.pick(&Demand::default()).await?;
        Ok(member.address)
    }

    /// How long, by the paused clock, until a pick takes `wanted`, and how many picks failed.
    async fn until_taken(
        balancer: &Balancer<FakeNet>,
        done: impl Fn(&[SocketAddr]) -> bool,
    ) -> (Duration, usize) {
        let begun = Instant::now();
        let mut failed = 0;
        loop {
            let mut taken = Vec::new();
            for _ in 0..8 {
                match pick(balancer).await {
                    Ok(address) => taken.push(address),
                    Err(_) => failed += 1,
                }
            }
            if done(&taken) {
                return (begun.elapsed(), failed);
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "never");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_dialled_before_the_first_call() {
        let net = up([1]);
        let balancer = balancer(&net, [addresses([1])]);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(net.dials(address(1)).is_empty());
        assert_eq!(pick(&balancer).await.unwrap(), address(1));
    }

    #[tokio::test(start_paused = true)]
    async fn every_address_gets_its_turn_over_one_connection_each() {
        let net = up([1, 2, 3]);
        let balancer = balancer(&net, [addresses([1, 2, 3])]);
        until_taken(&balancer, |taken| taken.contains(&address(3))).await;
        until_taken(&balancer, |taken| {
            [1, 2, 3].iter().all(|last| taken.contains(&address(*last)))
        })
        .await;
        for last in [1, 2, 3] {
            assert_eq!(net.dials(address(last)).len(), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_comes_new_is_used_within_five_seconds() {
        let net = up([1, 2]);
        let balancer = balancer(&net, [addresses([1]), addresses([1, 2])]);
        pick(&balancer).await.unwrap();
        let (after, failed) = until_taken(&balancer, |taken| taken.contains(&address(2))).await;
        assert!(after < Duration::from_secs(5), "{after:?}");
        assert_eq!(failed, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_vanishes_is_let_go() {
        let net = up([1, 2]);
        let balancer = balancer(&net, [addresses([1, 2]), addresses([2])]);
        until_taken(&balancer, |taken| taken.contains(&address(1))).await;
        let (after, failed) = until_taken(&balancer, |taken| !taken.contains(&address(1))).await;
        assert!(after < Duration::from_secs(5), "{after:?}");
        assert_eq!(failed, 0);
        assert_eq!(net.open(), [address(2)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lookup_that_fails_keeps_the_addresses() {
        let net = up([1]);
        let balancer = balancer(&net, [addresses([1]), Err(io::ErrorKind::NotFound)]);
        for _ in 0..10 {
            assert_eq!(pick(&balancer).await.unwrap(), address(1));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(net.dials(address(1)).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_host_is_left_out_and_found_again_when_it_is_back() {
        let net = up([1, 2]);
        let balancer = balancer(&net, [addresses([1, 2])]);
        until_taken(&balancer, |taken| taken.contains(&address(1))).await;
        net.cut(address(1), Host::Refuses);
        for _ in 0..100 {
            assert_eq!(pick(&balancer).await.unwrap(), address(2));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        net.set(address(1), Host::Up);
        let (after, failed) = until_taken(&balancer, |taken| taken.contains(&address(1))).await;
        assert!(after < Duration::from_secs(5), "{after:?}");
        assert_eq!(failed, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_stays_dead_is_tried_ever_more_seldom() {
        let net = up([1]);
        let balancer = balancer(&net, [addresses([1, 2])]);
        for _ in 0..600 {
            pick(&balancer).await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let dials = net.dials(address(2)).len();
        assert!((15..40).contains(&dials), "{dials} in a minute");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_fails_at_once_when_every_address_refuses() {
        let net = FakeNet::new(&[]);
        let balancer = balancer(&net, [addresses([1, 2])]);
        for _ in 0..5 {
            let begun = Instant::now();
            let cause = pick(&balancer).await.unwrap_err();
            assert!(begun.elapsed() <= SPACING, "{:?}", begun.elapsed());
            assert!(
                cause
                    .to_string()
                    .contains("10.0.0.1:8443: connection refused")
            );
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_does_not_wait_for_the_pause_before_the_next_try() {
        let net = FakeNet::new(&[]);
        let balancer = balancer(&net, [addresses([1])]);
        for _ in 0..20 {
            // Until the pauses are as long as they get.
            assert!(pick(&balancer).await.is_err());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        net.set(address(1), Host::Up);
        let begun = Instant::now();
        assert_eq!(pick(&balancer).await.unwrap(), address(1));
        assert!(begun.elapsed() <= SPACING, "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn many_failing_calls_do_not_hammer_a_host() {
        let net = FakeNet::new(&[]);
        let balancer = Arc::new(balancer(&net, [addresses([1])]));
        let mut calls = JoinSet::new();
        for _ in 0..50 {
            let balancer = balancer.clone();
            calls.spawn(async move {
                for _ in 0..20 {
                    assert!(pick(&balancer).await.is_err());
                    tokio::time::sleep(Duration::from_millis(7)).await;
                }
            });
        }
        let begun = Instant::now();
        calls.join_all().await;
        let most = begun.elapsed().as_millis() / SPACING.as_millis() + 2;
        let dials = net.dials(address(1)).len() as u128;
        assert!(dials <= most, "{dials} in {:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_host_delays_no_call_while_another_answers() {
        let silent = Host::Silent(Duration::from_secs(2));
        let net = FakeNet::new(&[(address(1), silent), (address(2), Host::Up)]);
        let balancer = balancer(&net, [addresses([1, 2])]);
        let begun = Instant::now();
        for _ in 0..10 {
            assert_eq!(pick(&balancer).await.unwrap(), address(2));
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_does_not_resolve_fails_the_call_with_the_reason() {
        let net = up([1]);
        let not_found = Err(io::ErrorKind::NotFound);
        let balancer = balancer(
            &net,
            [not_found.clone(), Ok(vec![]), not_found, addresses([1])],
        );
        for _ in 0..3 {
            let begun = Instant::now();
            let cause = pick(&balancer).await.unwrap_err();
            assert_eq!(cause.kind(), crate::UnavailableKind::Resolution);
            assert_eq!(begun.elapsed(), Duration::ZERO);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(pick(&balancer).await.unwrap(), address(1));
    }

    #[tokio::test(start_paused = true)]
    async fn servers_that_all_moved_fail_no_call() {
        let net = up([1, 2]);
        let balancer = balancer(&net, [addresses([1]), addresses([2])]);
        assert_eq!(pick(&balancer).await.unwrap(), address(1));
        tokio::time::sleep(Duration::from_millis(700)).await;
        net.cut(address(1), Host::Refuses);
        assert_eq!(pick(&balancer).await.unwrap(), address(2));
    }

    #[derive(Debug)]
    struct HangingDns;

    impl Resolve for HangingDns {
        fn resolve<'a>(&'a self, _: &'a str, _: u16) -> crate::Resolving<'a> {
            Box::pin(std::future::pending())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lookup_that_hangs_fails_each_call_after_its_limit() {
        let target = Target {
            host: "token.test".into(),
            port: 1,
            resolver: Box::new(HangingDns),
        };
        let balancer = Balancer::new(target, up([]));
        for _ in 0..3 {
            let begun = Instant::now();
            assert!(pick(&balancer).await.is_err());
            assert!(begun.elapsed() <= LOOKUP_LIMIT);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn new_certificates_mean_new_connections_and_no_failed_call() {
        let net = up([1]);
        let balancer = balancer(&net, [addresses([1])]);
        pick(&balancer).await.unwrap();
        net.renew();
        assert_eq!(pick(&balancer).await.unwrap(), address(1));
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(pick(&balancer).await.unwrap(), address(1));
        assert_eq!(net.dials(address(1)).len(), 2);
        assert_eq!(net.open(), [address(1)], "the old one is let go");
    }

    #[tokio::test(start_paused = true)]
    async fn at_most_sixty_four_addresses_are_used_and_always_the_same() {
        let all: Vec<_> = (0..200).map(address).collect();
        let hosts: Vec<_> = all.iter().map(|address| (*address, Host::Up)).collect();
        let net = FakeNet::new(&hosts);
        let backwards = all.iter().rev().copied().collect();
        let balancer = balancer(&net, [Ok(all), Ok(backwards)]);
        pick(&balancer).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = net.open();
        assert_eq!(before.len(), MOST_ADDRESSES);
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert_eq!(net.open(), before);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_client_lets_its_connections_go_and_comes_back() {
        let net = up([1]);
        let balancer = balancer(&net, [addresses([1])]);
        pick(&balancer).await.unwrap();
        tokio::time::sleep(IDLE - Duration::from_secs(10)).await;
        assert_eq!(net.open(), [address(1)]);
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert!(net.open().is_empty());
        let begun = Instant::now();
        assert_eq!(pick(&balancer).await.unwrap(), address(1));
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn everything_ends_with_the_client() {
        let net = up([1, 2]);
        let balancer = balancer(&net, [addresses([1, 2])]);
        until_taken(&balancer, |taken| taken.contains(&address(2))).await;
        drop(balancer);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(net.open().is_empty());
        assert_eq!(net.dials(address(1)).len(), 1);
    }

    #[test]
    fn a_client_outlives_the_runtime_of_its_first_call() {
        let net = up([1]);
        let balancer = balancer(&net, [addresses([1])]);
        for _ in 0..2 {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            net.cut(address(1), Host::Up);
            assert_eq!(runtime.block_on(pick(&balancer)).unwrap(), address(1));
        }
    }
}

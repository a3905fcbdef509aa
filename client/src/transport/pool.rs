//! What is known of the endpoint's addresses, and which connection a call takes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::connect::Connection;
use crate::unavailable::Unavailable;

/// How long a lookup is as good as a new one. After that a call for which every address failed waits
/// for another: the servers may all have moved.
pub(super) const FRESH: Duration = Duration::from_millis(500);

/// The order of events. Instants of a clock may be equal; these never are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(pub(crate) u64);

/// A connection in use.
#[derive(Debug)]
pub(crate) struct Member<C> {
    pub(crate) connection: C,
    pub(crate) address: SocketAddr,
    dialed: Tick,
    retired: watch::Sender<bool>,
}

/// A call in need of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    /// Failures before this are old news: what failed then is tried again for this call.
    pub(crate) asked: Tick,
    pub(crate) demand: Demand,
}

/// Which connection a call will do with.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Demand {
    /// The connection must have been dialled after this.
    pub(crate) dialed_after: Option<Tick>,
    /// Another address than this, where there is one.
    pub(crate) other_than: Option<SocketAddr>,
}

/// What a call does next.
#[derive(Debug)]
pub(crate) enum Choice<C> {
    Take(Arc<Member<C>>),
    /// Something is still to come: an address, or a connection.
    Wait,
    /// Everything was tried since the call asked.
    Fail(Unavailable),
}

/// The endpoint's addresses, each with its connection or its failure.
#[derive(Debug)]
pub(crate) struct Pool<C> {
    lookup: Option<Lookup>,
    lanes: BTreeMap<SocketAddr, Lane<C>>,
}

/// The last lookup that ended.
#[derive(Debug)]
struct Lookup {
    ended: Tick,
    at: Instant,
    failure: Option<Unavailable>,
}

#[derive(Debug)]
struct Lane<C> {
    member: Option<Arc<Member<C>>>,
    dialing: bool,
    failure: Option<(Tick, Unavailable)>,
}

impl<C: Connection> Member<C> {
    pub(crate) fn new(connection: C, address: SocketAddr, dialed: Tick) -> Self {
        Self {
            connection,
            address,
            dialed,
            retired: watch::Sender::new(false),
        }
    }

    /// Takes no more calls. Those on it go on.
    pub(crate) fn retire(&self) {
        self.retired.send_replace(true);
    }

    /// Completes when no further call can be made on it.
    pub(crate) async fn ended(&self) {
        let mut retired = self.retired.subscribe();
        tokio::select! {
            () = self.connection.closed() => {}
            // The sender is `self`'s: there is no error.
            _ = retired.wait_for(|retired| *retired) => {}
        }
    }

    fn is_usable(&self) -> bool {
        !*self.retired.borrow() && !self.connection.is_closed()
    }
}

impl<C: Connection> Pool<C> {
    pub(crate) fn empty() -> Self {
        Self {
            lookup: None,
            lanes: BTreeMap::new(),
        }
    }

    /// The connection whose turn it is among those that will do, or what to wait for.
    pub(crate) fn choose(&self, wish: &Wish, turn: usize) -> Choice<C> {
        let demand = &wish.demand;
        let others = self.fit(demand, demand.other_than).count();
        let avoid = demand.other_than.filter(|_| others > 0);
        let count = self.fit(demand, avoid).count();
        if let Some(index) = turn.checked_rem(count)
            && let Some(member) = self.fit(demand, avoid).nth(index)
        {
            return Choice::Take(member.clone());
        }
        self.without_connection(wish)
    }

    fn fit(
        &self,
        demand: &Demand,
        avoid: Option<SocketAddr>,
    ) -> impl Iterator<Item = &Arc<Member<C>>> {
        self.lanes
            .values()
            .filter_map(|lane| lane.member.as_ref())
            .filter(move |member| {
                member.is_usable()
                    && demand.dialed_after.is_none_or(|tick| member.dialed > tick)
                    && avoid != Some(member.address)
            })
    }

    fn without_connection(&self, wish: &Wish) -> Choice<C> {
        let Some(lookup) = &self.lookup else {
            return Choice::Wait;
        };
        let stale = lookup.ended <= wish.asked && lookup.at.elapsed() > FRESH;
        if stale || self.lanes.values().any(|lane| lane.is_hopeful(wish)) {
            return Choice::Wait;
        }
        let failures = self.lanes.values().filter_map(|lane| lane.failure.as_ref());
        let mut causes: Vec<_> = failures.map(|(_, cause)| cause.clone()).collect();
        causes.extend(lookup.failure.clone());
        match Unavailable::all(causes) {
            Some(cause) => Choice::Fail(cause),
            // Nothing failed and nothing fits: what there is was dialled too early for this wish.
            None => Choice::Fail(Unavailable::new(
                crate::UnavailableKind::Connect,
                "no new connection could be made",
            )),
        }
    }

    /// The addresses are these. Gives back those that are new.
    pub(crate) fn resolved(&mut self, ended: Tick, addresses: &[SocketAddr]) -> Vec<SocketAddr> {
        self.looked_up(ended, None);
        self.lanes.retain(|address, _| addresses.contains(address));
        let mut new = Vec::new();
        for &address in addresses {
            self.lanes.entry(address).or_insert_with(|| {
                new.push(address);
                Lane {
                    member: None,
                    dialing: true,
                    failure: None,
                }
            });
        }
        new
    }

    /// The addresses could not be looked up: those that are known stay.
    pub(crate) fn unresolved(&mut self, ended: Tick, cause: Unavailable) {
        self.looked_up(ended, Some(cause));
    }

    fn looked_up(&mut self, ended: Tick, failure: Option<Unavailable>) {
        self.lookup = Some(Lookup {
            ended,
            at: Instant::now(),
            failure,
        });
    }

    pub(crate) fn dialing(&mut self, address: SocketAddr) {
        if let Some(lane) = self.lanes.get_mut(&address) {
            lane.dialing = true;
            // A connection that ended holds memory; one that is merely to be replaced serves until then.
            lane.member.take_if(|member| !member.is_usable());
        }
    }

    pub(crate) fn ready(&mut self, member: Arc<Member<C>>) {
        if let Some(lane) = self.lanes.get_mut(&member.address) {
            lane.dialing = false;
            lane.failure = None;
            lane.member = Some(member);
        }
    }

    pub(crate) fn failed(&mut self, address: SocketAddr, when: Tick, cause: Unavailable) {
        if let Some(lane) = self.lanes.get_mut(&address) {
            lane.dialing = false;
            lane.failure = Some((when, cause));
        }
    }
}

impl<C: Connection> Lane<C> {
    /// Whether a connection that suits the wish is still to be expected here.
    fn is_hopeful(&self, wish: &Wish) -> bool {
        if self.dialing {
            return true;
        }
        let usable = self.member.as_ref().is_some_and(|m| m.is_usable());
        let failed_since = self
            .failure
            .as_ref()
            .is_some_and(|(when, _)| *when > wish.asked);
        !usable && !failed_since
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::fakes::FakeConnection;

    fn address(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 8443).into()
    }

    fn wish(asked: u64) -> Wish {
        Wish {
            asked: Tick(asked),
            demand: Demand::default(),
        }
    }

    fn cause(text: &str) -> Unavailable {
        Unavailable::new(crate::UnavailableKind::Connect, text)
    }

    fn pool(addresses: &[u8]) -> Pool<FakeConnection> {
        let mut pool = Pool::empty();
        let addresses: Vec<_> = addresses.iter().map(|last| address(*last)).collect();
        assert_eq!(pool.resolved(Tick(1), &addresses), addresses);
        pool
    }

    fn connect(
        pool: &mut Pool<FakeConnection>,
        last: u8,
        dialed: u64,
    ) -> Arc<Member<FakeConnection>> {
        let member = Arc::new(Member::new(
            FakeConnection::new(address(last)),
            address(last),
            Tick(dialed),
        ));
        pool.ready(member.clone());
        member
    }

    fn taken(pool: &Pool<FakeConnection>, wish: &Wish, turn: usize) -> SocketAddr {
        match pool.choose(wish, turn) {
            Choice::Take(member) => member.address,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn turns_go_round_all_connections() {
        let mut pool = pool(&[1, 2, 3]);
        for last in 1..=3 {
            connect(&mut pool, last, 2);
        }
        let turns: Vec<_> = (0..6).map(|turn| taken(&pool, &wish(9), turn)).collect();
        assert_eq!(turns, [1, 2, 3, 1, 2, 3].map(address));
    }

    #[test]
    fn closed_and_retired_connections_get_no_turn() {
        let mut pool = pool(&[1, 2, 3]);
        connect(&mut pool, 1, 2).connection.close();
        connect(&mut pool, 2, 3).retire();
        connect(&mut pool, 3, 4);
        for turn in 0..4 {
            assert_eq!(taken(&pool, &wish(9), turn), address(3));
        }
    }

    #[test]
    fn another_address_is_preferred_but_not_at_any_price() {
        let mut pool = pool(&[1, 2]);
        connect(&mut pool, 1, 2);
        let mut wish = wish(9);
        wish.demand.other_than = Some(address(1));
        assert_eq!(taken(&pool, &wish, 0), address(1));
        connect(&mut pool, 2, 3);
        for turn in 0..4 {
            assert_eq!(taken(&pool, &wish, turn), address(2));
        }
    }

    #[test]
    fn a_call_fails_only_when_every_address_failed_after_it_asked() {
        let mut pool = pool(&[1, 2]);
        pool.failed(address(1), Tick(5), cause("one"));
        pool.failed(address(2), Tick(6), cause("two"));
        let wish = wish(5);
        assert!(matches!(pool.choose(&wish, 0), Choice::Wait), "old failure");
        pool.dialing(address(1));
        assert!(matches!(pool.choose(&wish, 0), Choice::Wait), "dialling");
        pool.failed(address(1), Tick(8), cause("one again"));
        let Choice::Fail(cause) = pool.choose(&wish, 0) else {
            panic!("still waits")
        };
        assert_eq!(cause.to_string(), "one again; two");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_lookup_with_no_address_is_the_cause() {
        let mut pool = Pool::<FakeConnection>::empty();
        assert!(matches!(pool.choose(&wish(1), 0), Choice::Wait));
        pool.unresolved(Tick(2), cause("no such name"));
        assert!(matches!(pool.choose(&wish(1), 0), Choice::Fail(_)));
        assert!(matches!(pool.choose(&wish(3), 0), Choice::Fail(_)));
        tokio::time::advance(FRESH * 2).await;
        assert!(matches!(pool.choose(&wish(1), 0), Choice::Fail(_)));
        assert!(matches!(pool.choose(&wish(3), 0), Choice::Wait));
    }

    #[test]
    fn a_failed_lookup_keeps_what_is_connected() {
        let mut pool = pool(&[1]);
        connect(&mut pool, 1, 2);
        pool.unresolved(Tick(3), cause("no such name"));
        assert_eq!(taken(&pool, &wish(9), 0), address(1));
    }

    #[test]
    fn a_wish_for_a_new_connection_waits_for_the_one_that_is_dialled() {
        let mut pool = pool(&[1, 2]);
        let old = connect(&mut pool, 1, 2);
        connect(&mut pool, 2, 3);
        let mut wish = wish(4);
        wish.demand.dialed_after = Some(Tick(4));
        pool.resolved(Tick(5), &[address(1), address(2)]);
        assert!(matches!(pool.choose(&wish, 0), Choice::Fail(_)));
        old.retire();
        assert!(matches!(pool.choose(&wish, 0), Choice::Wait));
        connect(&mut pool, 1, 6);
        assert_eq!(taken(&pool, &wish, 0), address(1));
    }

    #[test]
    fn addresses_that_vanish_take_their_connections_along() {
        let mut pool = pool(&[1, 2]);
        connect(&mut pool, 1, 2);
        connect(&mut pool, 2, 3);
        assert_eq!(
            pool.resolved(Tick(4), &[address(2), address(3)]),
            [address(3)]
        );
        assert!(!pool.lanes.contains_key(&address(1)));
        assert_eq!(taken(&pool, &wish(9), 0), address(2));
    }

    #[test]
    fn a_connection_to_be_replaced_serves_while_its_successor_is_dialled() {
        let mut pool = pool(&[1]);
        connect(&mut pool, 1, 2);
        pool.dialing(address(1));
        assert_eq!(taken(&pool, &wish(9), 0), address(1));
    }
}

//! Connections and resolvers for tests.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use tokio::sync::watch;

use super::connect::{Connect, Connection};
use super::exchange::{Failure, Reply, ReplyBody};
use super::resolve::{Resolve, Resolving};
use crate::unavailable::{Unavailable, UnavailableKind};

/// What a connection does with a request.
pub(super) type Script = Arc<dyn Fn(SocketAddr) -> Result<Reply, Failure> + Send + Sync>;

pub(super) struct FakeConnection {
    pub(super) address: SocketAddr,
    generation: u64,
    closed: watch::Sender<bool>,
    script: Script,
}

impl std::fmt::Debug for FakeConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FakeConnection({}, {})", self.address, self.generation)
    }
}

impl FakeConnection {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            generation: 0,
            closed: watch::Sender::new(false),
            script: Arc::new(|_| Ok(ok())),
        }
    }

    pub(super) fn close(&self) {
        self.closed.send_replace(true);
    }
}

impl Connection for FakeConnection {
    async fn exchange(&self, _request: Request<Bytes>) -> Result<Reply, Failure> {
        (self.script)(self.address)
    }

    fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    async fn closed(&self) {
        _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }
}

/// A reply with status OK.
pub(super) fn ok() -> Reply {
    Reply::new(ReplyBody::default())
}

pub(super) fn lost() -> Failure {
    Failure::Lost(Unavailable::new(UnavailableKind::Lost, "lost"))
}

/// What dialling an address comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Up,
    Refuses,
    /// Answers nothing: the dial fails after this time.
    Silent(Duration),
}

/// Hosts by address, and what was dialled.
#[derive(Clone)]
pub(super) struct FakeNet(Arc<Net>);

struct Net {
    hosts: Mutex<HashMap<SocketAddr, Host>>,
    dials: Mutex<Vec<(SocketAddr, tokio::time::Instant)>>,
    open: Mutex<Vec<(SocketAddr, watch::Sender<bool>)>>,
    generation: watch::Sender<u64>,
    script: Mutex<Script>,
}

impl std::fmt::Debug for FakeNet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FakeNet")
    }
}

impl FakeNet {
    pub(super) fn new(hosts: &[(SocketAddr, Host)]) -> Self {
        Self(Arc::new(Net {
            hosts: Mutex::new(hosts.iter().copied().collect()),
            dials: Mutex::default(),
            open: Mutex::default(),
            generation: watch::Sender::new(0),
            script: Mutex::new(Arc::new(|_| Ok(ok()))),
        }))
    }

    pub(super) fn set(&self, address: SocketAddr, host: Host) {
        self.0.hosts.lock().unwrap().insert(address, host);
    }

    /// Closes every connection to `address`, and answers further dials as `host` says.
    pub(super) fn cut(&self, address: SocketAddr, host: Host) {
        self.set(address, host);
        for (of, closed) in &*self.0.open.lock().unwrap() {
            if *of == address {
                closed.send_replace(true);
            }
        }
    }

    /// Makes every open connection one that is to be replaced.
    pub(super) fn renew(&self) {
        self.0.generation.send_modify(|generation| *generation += 1);
    }

    pub(super) fn script(
        &self,
        script: impl Fn(SocketAddr) -> Result<Reply, Failure> + Send + Sync + 'static,
    ) {
        *self.0.script.lock().unwrap() = Arc::new(script);
    }

    /// When `address` was dialled.
    pub(super) fn dials(&self, address: SocketAddr) -> Vec<tokio::time::Instant> {
        let dials = self.0.dials.lock().unwrap();
        let of = dials.iter().filter(|(dialed, _)| *dialed == address);
        of.map(|(_, when)| *when).collect()
    }

    /// The addresses that a connection is open to.
    pub(super) fn open(&self) -> Vec<SocketAddr> {
        let mut open = self.0.open.lock().unwrap();
        // A connection that was dropped has no receiver left.
        open.retain(|(_, closed)| closed.receiver_count() > 0 && !*closed.borrow());
        let mut addresses: Vec<_> = open.iter().map(|(address, _)| *address).collect();
        addresses.sort();
        addresses
    }
}

/// A connection of [`FakeNet`]'s, counted as long as it lives.
#[derive(Debug)]
pub(super) struct Open {
    connection: FakeConnection,
    _counted: watch::Receiver<bool>,
}

impl Connection for Open {
    async fn exchange(&self, request: Request<Bytes>) -> Result<Reply, Failure> {
        self.connection.exchange(request).await
    }

    fn is_closed(&self) -> bool {
        self.connection.is_closed()
    }

    async fn closed(&self) {
        self.connection.closed().await;
    }
}

impl Connect for FakeNet {
    type Connection = Open;

    async fn connect(&self, address: SocketAddr) -> Result<Open, Unavailable> {
        let now = tokio::time::Instant::now();
        self.0.dials.lock().unwrap().push((address, now));
        let host = self.0.hosts.lock().unwrap().get(&address).copied();
        match host {
            Some(Host::Up) => {}
            Some(Host::Silent(limit)) => {
                tokio::time::sleep(limit).await;
                return Err(Unavailable::connect_timeout(address, "silent"));
            }
            Some(Host::Refuses) | None => {
                let error = io::ErrorKind::ConnectionRefused.into();
                return Err(Unavailable::connect(address, error));
            }
        }
        let closed = watch::Sender::new(false);
        self.0.open.lock().unwrap().push((address, closed.clone()));
        Ok(Open {
            _counted: closed.subscribe(),
            connection: FakeConnection {
                address,
                generation: *self.0.generation.borrow(),
                closed,
                script: self.0.script.lock().unwrap().clone(),
            },
        })
    }

    async fn outdated(&self, open: &Open) {
        let mut generation = self.0.generation.subscribe();
        let own = open.connection.generation;
        _ = generation.wait_for(|current| *current > own).await;
    }
}

/// Gives these answers one after the other, and the last one for ever.
#[derive(Debug)]
pub(super) struct FakeDns(Mutex<VecDeque<Result<Vec<SocketAddr>, io::ErrorKind>>>);

impl FakeDns {
    pub(super) fn new(
        answers: impl IntoIterator<Item = Result<Vec<SocketAddr>, io::ErrorKind>>,
    ) -> Self {
        Self(Mutex::new(answers.into_iter().collect()))
    }
}

impl Resolve for FakeDns {
    fn resolve<'a>(&'a self, _host: &'a str, _port: u16) -> Resolving<'a> {
        let mut answers = self.0.lock().unwrap();
        let answer = if answers.len() > 1 {
            answers.pop_front()
        } else {
            answers.front().cloned()
        };
        Box::pin(async move { answer.unwrap().map_err(io::Error::from) })
    }
}

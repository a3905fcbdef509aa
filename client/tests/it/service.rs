//! A token service for tests: mTLS and HTTP/2 as the real one has them, answers as the test wants.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use ask2do_token_client::{PanelUser, Resolve, Resolving};
use ask2do_token_proto::v1::token_service_server::{TokenService, TokenServiceServer};
use ask2do_token_proto::v1::{MintTokenRequest, MintTokenResponse};
use ask2do_token_tls::{
    Authorities, ClientAuth, Identity, PeerCertificate, ServerTls, Versions, Watched,
};
use http::HeaderMap;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tonic::codegen::Service as _;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::HealthService;

use crate::pki::Pki;

/// What the service does with a call: its number, from 0.
pub(crate) type Answer = Arc<
    dyn Fn(usize) -> Pin<Box<dyn Future<Output = Result<MintTokenResponse, Status>> + Send>>
        + Send
        + Sync,
>;

/// One call, as the service saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) headers: HeaderMap,
    pub(crate) serial: String,
    pub(crate) id: String,
    pub(crate) role: String,
}

pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

struct State {
    tls: TlsAcceptor,
    answer: Answer,
    seen: Mutex<Vec<Seen>>,
    goaways: watch::Sender<usize>,
    frozen: watch::Sender<bool>,
    /// Connections open now.
    open: watch::Sender<usize>,
}

pub(crate) fn user() -> PanelUser {
    PanelUser::new("42", "admin")
}

pub(crate) fn token() -> MintTokenResponse {
    MintTokenResponse {
        token: "eyJhbGciOiJFZERTQSJ9.e30.c2ln".into(),
        expires_at: Some((SystemTime::now() + Duration::from_secs(900)).into()),
    }
}

/// Answers every call with a token.
pub(crate) fn mints() -> Answer {
    Arc::new(|_| Box::pin(async { Ok(token()) }))
}

pub(crate) fn answers<F>(answer: impl Fn(usize) -> F + Send + Sync + 'static) -> Answer
where
    F: Future<Output = Result<MintTokenResponse, Status>> + Send + 'static,
{
    Arc::new(move |number| Box::pin(answer(number)))
}

pub(crate) fn tls(pki: &Pki) -> TlsAcceptor {
    let authorities = Authorities::from_pem(pki.authority.certificate_pem().as_bytes()).unwrap();
    tls_for(pki, ClientAuth::Required(Watched::fixed(authorities)))
}

fn tls_for(pki: &Pki, clients: ClientAuth) -> TlsAcceptor {
    let server = pki.server();
    let identity = Identity::from_pem(
        server.certificate_pem().as_bytes(),
        server.private_key_pem().as_bytes(),
    )
    .unwrap();
    let tls = ServerTls::new(Watched::fixed(identity), clients, Versions::Tls13, &[b"h2"]).unwrap();
    TlsAcceptor::from(tls.config())
}

impl Service {
    pub(crate) async fn start(pki: &Pki, answer: Answer) -> Self {
        Self::start_behind(tls(pki), answer).await
    }

    /// One that asks nobody for a certificate.
    pub(crate) async fn start_for_anybody(pki: &Pki, answer: Answer) -> Self {
        Self::start_behind(tls_for(pki, ClientAuth::None), answer).await
    }

    async fn start_behind(tls: TlsAcceptor, answer: Answer) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            tls,
            answer,
            seen: Mutex::default(),
            goaways: watch::Sender::new(0),
            frozen: watch::Sender::new(false),
            open: watch::Sender::new(0),
        });
        let accepting = tokio::spawn(accept(listener, state.clone()));
        Self {
            address,
            state,
            accepting,
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("https://{}", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    pub(crate) fn calls(&self) -> usize {
        self.state.seen.lock().unwrap().len()
    }

    /// Says GOAWAY on every connection; new ones are accepted.
    pub(crate) fn go_away(&self) {
        self.state.goaways.send_modify(|number| *number += 1);
    }

    /// Answers nothing any more, on no connection.
    pub(crate) fn freeze(&self) {
        self.state.frozen.send_replace(true);
    }

    /// Closes the port and every connection.
    pub(crate) async fn kill(&mut self) {
        self.accepting.abort();
        _ = (&mut self.accepting).await;
    }

    /// Listens again, where it listened before.
    pub(crate) async fn restart(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.accepting = tokio::spawn(accept(listener, self.state.clone()));
    }

    /// Waits until so many connections are open.
    pub(crate) async fn until_open(&self, connections: usize) {
        let mut open = self.state.open.subscribe();
        open.wait_for(|open| *open == connections).await.unwrap();
    }

    /// Waits for the call of this number, from 0.
    pub(crate) async fn until_called(&self, number: usize) {
        while self.calls() <= number {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    let mut frozen = state.frozen.subscribe();
    loop {
        frozen.wait_for(|frozen| !frozen).await.unwrap();
        let (tcp, _) = listener.accept().await.unwrap();
        connections.spawn(connection(tcp, state.clone()));
    }
}

async fn connection(tcp: TcpStream, state: Arc<State>) {
    if *state.frozen.borrow() {
        std::future::pending::<()>().await;
    }
    let Ok(stream) = state.tls.accept(tcp).await else {
        return;
    };
    let chain = stream.get_ref().1.peer_certificates();
    let serial = chain.map_or_else(String::new, |chain| {
        let peer = PeerCertificate::from_chain(chain).unwrap();
        peer.serial().to_owned()
    });
    let _counted = Counted::new(state.open.clone());
    let calls = Calls {
        state: state.clone(),
        serial,
    };
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .serve_connection(
            TokioIo::new(stream),
            service_fn(move |request| route(calls.clone(), request)),
        );
    let mut connection = pin!(connection);
    let mut goaways = state.goaways.subscribe();
    let mut frozen = state.frozen.subscribe();
    loop {
        frozen.wait_for(|frozen| !frozen).await.unwrap();
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = goaways.changed() => connection.as_mut().graceful_shutdown(),
            _ = frozen.changed() => {}
        }
    }
}

async fn route(
    calls: Calls,
    request: http::Request<hyper::body::Incoming>,
) -> Result<http::Response<tonic::body::Body>, std::convert::Infallible> {
    if request.uri().path().starts_with("/grpc.health.v1.") {
        let health =
            HealthService::from_health_reporter(tonic_health::server::HealthReporter::new());
        return HealthServer::new(health).call(request).await;
    }
    TokenServiceServer::new(calls).call(request).await
}

struct Counted(watch::Sender<usize>);

impl Counted {
    fn new(open: watch::Sender<usize>) -> Self {
        open.send_modify(|open| *open += 1);
        Self(open)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

#[derive(Clone)]
struct Calls {
    state: Arc<State>,
    serial: String,
}

#[tonic::async_trait]
impl TokenService for Calls {
    async fn mint_token(
        &self,
        request: Request<MintTokenRequest>,
    ) -> Result<Response<MintTokenResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        let user = message.panel_user.unwrap_or_default();
        let number = {
            let mut seen = self.state.seen.lock().unwrap();
            seen.push(Seen {
                headers: metadata.into_headers(),
                serial: self.serial.clone(),
                id: user.id,
                role: user.role,
            });
            seen.len() - 1
        };
        (self.state.answer)(number).await.map(Response::new)
    }
}

/// A name whose addresses the test sets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names(Arc<Mutex<Vec<SocketAddr>>>);

impl Names {
    pub(crate) fn of<const N: usize>(services: [&Service; N]) -> Self {
        let names = Self::default();
        names.set(services);
        names
    }

    pub(crate) fn set<const N: usize>(&self, services: [&Service; N]) {
        *self.0.lock().unwrap() = services.map(|service| service.address).to_vec();
    }
}

impl Resolve for Names {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolving<'a> {
        assert_eq!((host, port), ("token.test", 8443));
        let addresses = self.0.lock().unwrap().clone();
        Box::pin(async move { Ok(addresses) })
    }
}

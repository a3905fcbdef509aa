//! A customer's panel behind or beside a gateway: it knows its users by a cookie, answers `/whoami`, and
//! tells of every other request what came.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// A running panel. It ends, with its connections, when this is dropped.
#[derive(Debug)]
pub struct Panel {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Seen,
    accepting: tokio::task::JoinHandle<()>,
}

type Seen = Arc<Mutex<Vec<(String, HeaderMap)>>>;

/// How it answers `/whoami`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whoami {
    /// From the cookie: `sid=admin/42` is user 42, an admin; anything else is nobody.
    Honest,
    /// Not at all.
    Silent,
    /// By 500.
    Failing,
}

impl Panel {
    /// Starts one.
    ///
    /// # Panics
    ///
    /// When it cannot listen.
    pub async fn start(whoami: Whoami) -> Self {
        Self::start_at((std::net::Ipv4Addr::LOCALHOST, 0).into(), whoami).await
    }

    /// Starts one there.
    ///
    /// # Panics
    ///
    /// When it cannot listen.
    pub async fn start_at(address: SocketAddr, whoami: Whoami) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Seen::default();
        let accepting = tokio::spawn(accept(listener, whoami, seen.clone()));
        Self {
            address,
            seen,
            accepting,
        }
    }

    /// The targets that were asked for so far, with the headers.
    ///
    /// # Panics
    ///
    /// Never: nothing panics under the lock.
    #[must_use]
    pub fn seen(&self) -> Vec<(String, HeaderMap)> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Panel {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Ends with its connections.
async fn accept(listener: TcpListener, whoami: Whoami, seen: Seen) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("there are descriptors left");
        let seen = seen.clone();
        let service = service_fn(move |request| answer(request, whoami, seen.clone()));
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(
    request: Request<Incoming>,
    whoami: Whoami,
    seen: Seen,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let target = request.uri().to_string();
    let headers = request.headers().clone();
    seen.lock().unwrap().push((target.clone(), headers.clone()));
    let (status, body) = match (request.uri().path(), whoami) {
        ("/whoami", Whoami::Honest) => who_is(&headers),
        ("/whoami", Whoami::Failing) => (StatusCode::INTERNAL_SERVER_ERROR, json!("sorry")),
        ("/whoami", Whoami::Silent) => std::future::pending().await,
        _ => (StatusCode::OK, json!({ "panel": target })),
    };
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = status;
    Ok(response)
}

fn who_is(headers: &HeaderMap) -> (StatusCode, serde_json::Value) {
    let user = headers
        .get("cookie")
        .and_then(|cookie| cookie.to_str().ok()?.strip_prefix("sid=")?.split_once('/'));
    match user {
        Some((role, id)) => (StatusCode::OK, json!({ "id": id, "role": role })),
        None => (
            StatusCode::UNAUTHORIZED,
            json!({ "error": "not logged in" }),
        ),
    }
}

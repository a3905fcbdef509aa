//! From the endpoint's name to addresses.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

/// What [`Resolve::resolve`] gives: the addresses, in any order.
pub type Resolving<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// Looks the endpoint's name up. The client asks every 2 s while it is in use, and follows what
/// changed; a name that ceases to resolve keeps its last addresses.
pub trait Resolve: fmt::Debug + Send + Sync + 'static {
    /// The addresses of `host` now, each with `port` or with one of its own.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolving<'a>;
}

/// The operating system's resolver. It gives no time to live, hence the fixed interval.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolving<'a> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

/// An endpoint that is an address already.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Literal(pub(crate) SocketAddr);

impl Resolve for Literal {
    fn resolve<'a>(&'a self, _host: &'a str, _port: u16) -> Resolving<'a> {
        Box::pin(std::future::ready(Ok(vec![self.0])))
    }
}

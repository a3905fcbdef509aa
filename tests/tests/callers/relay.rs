//! A relay between a caller and the service, which can hold back what the service says.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A running relay. It ends when this is dropped.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    is_held: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Relay {
    pub(crate) async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (is_held, held) = watch::channel(false);
        let accepting = tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                tokio::spawn(relay(caller, to, held.clone()));
            }
        });
        Self {
            address,
            is_held,
            accepting,
        }
    }

    /// From now on the caller hears nothing, or again all that was said.
    pub(crate) fn hold(&self, is_held: bool) {
        self.is_held.send_replace(is_held);
    }
}

async fn relay(caller: TcpStream, to: SocketAddr, mut held: watch::Receiver<bool>) {
    let Ok(service) = TcpStream::connect(to).await else {
        return;
    };
    let (mut from_caller, mut to_caller) = caller.into_split();
    let (mut from_service, mut to_service) = service.into_split();
    tokio::spawn(async move {
        _ = tokio::io::copy(&mut from_caller, &mut to_service).await;
        // Read on where the service has gone: unread bytes would reset what the caller has yet to hear.
        _ = tokio::io::copy(&mut from_caller, &mut tokio::io::sink()).await;
    });
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from_service.read(&mut bytes).await {
        if held.wait_for(|held| !held).await.is_err()
            || to_caller.write_all(&bytes[..count]).await.is_err()
        {
            return;
        }
    }
}

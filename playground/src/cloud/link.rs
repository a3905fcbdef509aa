//! One accepted connection, as a handler that wants to break it sees it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::calls::TlsFacts;

/// A handle on the connection that a request came by.
#[derive(Clone)]
pub(super) struct Link {
    socket: SharedSocket,
    severed: Arc<Notify>,
    pub(super) tls: Option<TlsFacts>,
}

impl Link {
    pub(super) fn new(socket: SharedSocket, tls: Option<TlsFacts>) -> Self {
        Self {
            socket,
            severed: Arc::new(Notify::new()),
            tls,
        }
    }

    /// Has the connection reset: the peer sees "connection reset by peer".
    pub(super) fn reset(&self) -> io::Result<()> {
        self.socket.lock().set_zero_linger()?;
        self.close();
        Ok(())
    }

    /// Has the connection closed, whatever is under way on it.
    pub(super) fn close(&self) {
        self.severed.notify_one();
    }

    /// Completes when the connection is to be dropped.
    pub(super) async fn severed(&self) {
        self.severed.notified().await;
    }
}

/// A socket that a server reads and writes while a [`Link`] can still set its options.
#[derive(Clone)]
pub(super) struct SharedSocket(Arc<Mutex<TcpStream>>);

impl SharedSocket {
    pub(super) fn new(socket: TcpStream) -> Self {
        Self(Arc::new(Mutex::new(socket)))
    }

    fn lock(&self) -> MutexGuard<'_, TcpStream> {
        // Held for single calls that leave no half-done state behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for SharedSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_read(cx, buf)
    }
}

impl AsyncWrite for SharedSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.lock()).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.lock()).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.lock().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_shutdown(cx)
    }
}

//! Writes that go together.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::thread::ThreadId;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::yield_now;

/// A stream whose writes let the runtime's other tasks that are ready run first, so that what several of them
/// have to say over one HTTP/2 connection is one TLS record and one system call, not one each.
///
/// A connection's task is woken by each stream that has something to send, and runs next: without this it
/// writes each answer by itself. Where no other task is ready it costs one look at the runtime's events. A task that
/// blocks its thread, which no task should, holds up what waits for its turn there. Made for
/// `hyper`'s HTTP/2, which gathers frames while a write is pending. It reports that it does not take vectored
/// writes: `h2` then gathers messages of up to 1 KiB, not 256 bytes.
#[derive(Debug)]
pub struct Coalesced<S> {
    stream: S,
    turn: Turn,
}

/// From one flush to the next.
#[derive(Debug)]
enum Turn {
    /// Nothing is to be written.
    Flushed,
    /// Something is, after the other tasks.
    Waiting(Arc<Others>),
    /// They have run.
    Come,
}

/// Woken when the other tasks have run. The connection's task itself is woken by what it reads, too.
#[derive(Debug)]
struct Others {
    have_run: AtomicBool,
    connection: Waker,
    /// The runtime's thread that they run on: it alone knows that they are waited for.
    on: ThreadId,
}

impl Wake for Others {
    fn wake(self: Arc<Self>) {
        self.have_run.store(true, Ordering::Release);
        self.connection.wake_by_ref();
    }
}

impl Others {
    /// Has the runtime wake it once they have.
    fn let_run(connection: &Waker) -> Arc<Self> {
        let others = Arc::new(Self {
            have_run: AtomicBool::new(false),
            connection: connection.clone(),
            on: std::thread::current().id(),
        });
        let waker = Waker::from(Arc::clone(&others));
        // Asks for it when it is polled first, which is all that is needed of it.
        let _ = pin!(yield_now()).poll(&mut Context::from_waker(&waker));
        others
    }
}

impl<S> Coalesced<S> {
    /// A stream of that kind.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            turn: Turn::Flushed,
        }
    }

    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if matches!(self.turn, Turn::Flushed) {
            self.turn = Turn::Waiting(Others::let_run(context.waker()));
        }
        if let Turn::Waiting(others) = &self.turn {
            // Another task than the one that will be woken does not wait for that, nor does another thread.
            let waits_here = others.connection.will_wake(context.waker())
                && others.on == std::thread::current().id();
            if waits_here && !others.have_run.load(Ordering::Acquire) {
                return Poll::Pending;
            }
            self.turn = Turn::Come;
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Coalesced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Coalesced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_turn(context));
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.turn, Turn::Waiting(_)) {
            ready!(self.poll_turn(context));
        }
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.turn = Turn::Flushed;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

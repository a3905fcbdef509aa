//! Accepting that neither spins nor ends when it fails.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A peer that vanished without a word is noticed after this and three unanswered probes.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long sent bytes may stay unacknowledged.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// Where connections come from: a socket, or a test.
pub(super) trait Source: Send {
    fn accept(&mut self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send;
}

impl Source for TcpListener {
    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        TcpListener::accept(self).await
    }
}

/// A source whose failures are counted, logged and paused after.
pub(super) struct Accepting<S> {
    source: S,
    errors: Counter,
    pause: Duration,
    resume_at: Instant,
}

impl<S: Source> Accepting<S> {
    pub(super) fn new(source: S, errors: Counter) -> Self {
        Self {
            source,
            errors,
            pause: FIRST_PAUSE,
            resume_at: Instant::now(),
        }
    }

    /// The next connection, with its socket options set. Nothing is lost when the future is dropped.
    pub(super) async fn next(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            // An instant rather than a length: this future is dropped and made anew during a pause.
            tokio::time::sleep_until(self.resume_at).await;
            match self.source.accept().await {
                Ok((stream, address)) => {
                    self.pause = FIRST_PAUSE;
                    if let Err(error) = set_options(&stream) {
                        // The peer is gone already, or the platform lacks an option: both show elsewhere.
                        tracing::debug!(%error, "cannot set socket options");
                    }
                    return (stream, address);
                }
                Err(error) => self.failed(&error),
            }
        }
    }

    fn failed(&mut self, error: &io::Error) {
        self.errors.inc();
        if is_of_one_connection(error) {
            return;
        }
        tracing::error!(%error, pause = ?self.pause, "cannot accept connections: pausing");
        self.resume_at = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

/// The connection at the head of the queue failed before it was taken; the next one may be well.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

fn set_options(stream: &TcpStream) -> io::Result<()> {
    // Answers are small and each is written whole: waiting for more bytes only adds delay.
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL);
    #[cfg(target_os = "linux")]
    let keepalive = {
        socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
        keepalive.with_retries(3)
    };
    socket.set_tcp_keepalive(&keepalive)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// Fails with the errors it holds, then accepts for real.
    struct Failing {
        errors: VecDeque<io::Error>,
        listener: TcpListener,
    }

    impl Source for Failing {
        async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
            match self.errors.pop_front() {
                Some(error) => Err(error),
                None => self.listener.accept().await,
            }
        }
    }

    async fn failing(errors: impl IntoIterator<Item = i32>) -> (Accepting<Failing>, Counter) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let counter = Counter::default();
        let errors = errors
            .into_iter()
            .map(io::Error::from_raw_os_error)
            .collect();
        let source = Failing { errors, listener };
        (Accepting::new(source, counter.clone()), counter)
    }

    #[cfg(unix)]
    #[tokio::test(start_paused = true)]
    async fn running_out_of_descriptors_pauses_longer_each_time_and_then_accepts() {
        const EMFILE: i32 = 24;
        let (mut accepting, errors) = failing([EMFILE; 10]).await;
        let address = accepting.source.listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(address).unwrap();
        let began = Instant::now();
        let (_, peer) = accepting.next().await;
        assert_eq!(peer, client.local_addr().unwrap());
        assert_eq!(errors.get(), 10);
        // 10, 20, 40, ... 640 ms, then 1 s each.
        let expected = Duration::from_millis(1270 + 3 * 1000);
        let took = began.elapsed();
        assert!(
            took >= expected && took < expected + Duration::from_millis(50),
            "{took:?}"
        );
    }

    #[cfg(target_os = "linux")]
    #[tokio::test(start_paused = true)]
    async fn a_connection_that_was_aborted_in_the_queue_pauses_nobody() {
        const ECONNABORTED: i32 = 103;
        let (mut accepting, errors) = failing([ECONNABORTED; 3]).await;
        let address = accepting.source.listener.local_addr().unwrap();
        let _client = std::net::TcpStream::connect(address).unwrap();
        let began = Instant::now();
        accepting.next().await;
        assert_eq!(errors.get(), 3);
        assert!(began.elapsed() < FIRST_PAUSE);
    }

    #[cfg(unix)]
    #[tokio::test(start_paused = true)]
    async fn a_pause_goes_on_when_the_future_was_dropped_in_it() {
        let (mut accepting, errors) = failing([24; 1]).await;
        let address = accepting.source.listener.local_addr().unwrap();
        let _client = std::net::TcpStream::connect(address).unwrap();
        let began = Instant::now();
        let short = Duration::from_millis(4);
        assert!(tokio::time::timeout(short, accepting.next()).await.is_err());
        accepting.next().await;
        assert_eq!(errors.get(), 1);
        assert!(began.elapsed() >= FIRST_PAUSE);
    }

    #[tokio::test]
    async fn an_accepted_socket_sends_at_once_and_notices_a_dead_peer() {
        let (mut accepting, _) = failing([]).await;
        let address = accepting.source.listener.local_addr().unwrap();
        let _client = std::net::TcpStream::connect(address).unwrap();
        let (stream, _) = accepting.next().await;
        assert!(stream.nodelay().unwrap());
        assert!(SockRef::from(&stream).keepalive().unwrap());
    }
}

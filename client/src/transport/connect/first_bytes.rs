//! Tells when the peer first spoke.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

/// A stream that reports the outcome of its first read, or of the write that failed before it.
pub(super) struct FirstBytes<T> {
    stream: T,
    report: Option<oneshot::Sender<io::Result<()>>>,
}

impl<T> FirstBytes<T> {
    /// The stream, and what its first read came to.
    pub(super) fn new(stream: T) -> (Self, oneshot::Receiver<io::Result<()>>) {
        let (report, outcome) = oneshot::channel();
        let stream = Self {
            stream,
            report: Some(report),
        };
        (stream, outcome)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for FirstBytes<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        if let Some(report) = self.report.take() {
            let outcome = match &read {
                Ok(()) if buffer.filled().len() == before => {
                    Err(io::ErrorKind::UnexpectedEof.into())
                }
                Ok(()) => Ok(()),
                Err(error) => Err(copy(error)),
            };
            // Nobody listens once the time for the handshake is up.
            _ = report.send(outcome);
        }
        Poll::Ready(read)
    }
}

/// The same error once more, with the TLS error that it holds.
fn copy(error: &io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|e| e.downcast_ref());
    match inner {
        Some(tls) => io::Error::new(error.kind(), rustls::Error::clone(tls)),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

impl<T: AsyncRead + Unpin> FirstBytes<T> {
    /// A peer that refuses a certificate says so and closes, and what is written after that fails.
    /// Then what it said is still there to be read, and tells more than a broken pipe.
    fn written<R>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if let Poll::Ready(Err(error)) = &written
            && let Some(report) = self.report.take()
        {
            let mut scratch = [0];
            let mut scratch = ReadBuf::new(&mut scratch);
            let said = match Pin::new(&mut self.stream).poll_read(context, &mut scratch) {
                Poll::Ready(Err(said)) => copy(&said),
                Poll::Ready(Ok(())) => copy(error),
                // The runtime has not noticed yet that there is something to read: when it has, this
                // is polled again, and the write fails again.
                Poll::Pending => {
                    self.report = Some(report);
                    return Poll::Pending;
                }
            };
            // Nobody listens once the time for the handshake is up.
            _ = report.send(Err(said));
        }
        written
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for FirstBytes<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = Pin::new(&mut self.stream).poll_flush(context);
        self.written(context, written)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn the_first_bytes_are_reported_and_passed_on() {
        let (near, mut far) = tokio::io::duplex(16);
        let (mut near, outcome) = FirstBytes::new(near);
        far.write_all(b"hello").await.unwrap();
        let mut read = [0; 5];
        near.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"hello");
        assert!(outcome.await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_peer_that_closes_without_a_word_is_an_error() {
        let (near, far) = tokio::io::duplex(16);
        let (mut near, outcome) = FirstBytes::new(near);
        drop(far);
        near.read_to_end(&mut Vec::new()).await.unwrap();
        let error = outcome.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    /// Refuses what is written, and says why at the second read.
    #[derive(Default)]
    struct Refusing {
        is_noticed: bool,
    }

    impl AsyncRead for Refusing {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            _buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if !std::mem::replace(&mut self.is_noticed, true) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let alert = rustls::AlertDescription::UnknownCA;
            let error = rustls::Error::AlertReceived(alert);
            Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)))
        }
    }

    impl AsyncWrite for Refusing {
        fn poll_write(
            self: Pin<&mut Self>,
            _context: &mut Context<'_>,
            _bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_write_that_fails_reports_what_the_peer_said() {
        let (mut stream, outcome) = FirstBytes::new(Refusing::default());
        let written = stream.write_all(b"x").await.unwrap_err();
        assert_eq!(written.kind(), io::ErrorKind::BrokenPipe);
        let said = outcome.await.unwrap().unwrap_err();
        assert!(said.to_string().contains("UnknownCA"), "{said}");
    }
}

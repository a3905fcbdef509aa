//! The child's side of the promise that none outlives the playground.

use std::io::{self, Read as _};
use std::process;
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

/// More than a child's drain takes.
const LIMIT: Duration = Duration::from_secs(8);

/// Ends this process, by SIGTERM as anybody else would, when its standard input ends.
///
/// # Errors
///
/// When no thread can be had.
pub(crate) fn end_with_parent() -> io::Result<()> {
    thread::Builder::new()
        .name("lifeline".to_owned())
        .spawn(|| {
            let mut stdin = io::stdin().lock();
            let mut buffer = [0; 64];
            loop {
                match stdin.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
            if let Err(error) = kill_process(getpid(), Signal::TERM) {
                tracing::warn!(%error, "cannot signal this process");
            }
            // Whatever may hang: nothing stays behind.
            thread::sleep(LIMIT);
            process::exit(1);
        })?;
    Ok(())
}

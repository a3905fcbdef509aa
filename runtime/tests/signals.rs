//! The operating system's signals. A file of its own, because they go to the whole process.
#![cfg(unix)]

use ask2do_token_runtime::shutdown::Signals;
use rustix::process::{Signal, getpid, kill_process};

#[tokio::test]
async fn both_signals_are_heard_and_neither_ends_the_process() {
    let mut signals = Signals::listen().unwrap();
    for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
        kill_process(getpid(), signal).unwrap();
        assert_eq!(signals.next().await, name);
    }
}

//! What the end-to-end tests stand on: the real binaries, started on loopback, and ended with the test.
//!
//! Nothing here sleeps to wait: [`until`] polls a condition and gives up loudly.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test's helpers may panic as the test may"
)]

pub mod admin;
pub mod binaries;
pub mod caller;
pub mod canary;
pub mod cluster;
pub mod collector;
pub mod demo;
pub mod exchange;
pub mod files;
pub mod gateway;
pub mod load;
#[path = "../../gateway/tests/gateway/openapi.rs"]
mod openapi;
pub mod panel;
pub mod pki;
pub mod process;
pub mod reply;
pub mod suite;
pub mod wire;
pub mod world;

use std::time::{Duration, Instant};

/// The longest that a test waits for something that must happen. Generous: these machines are noisy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Polls `condition` until it gives a value.
///
/// # Panics
///
/// When there is none within [`PATIENCE`]; `what` says what was waited for.
pub async fn until<T>(what: &str, condition: impl AsyncFnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, condition).await
}

/// The same with another limit, for what is not this machine's to hurry.
///
/// # Panics
///
/// When there is no value within `patience`.
pub async fn until_within<T>(
    patience: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> T {
    let give_up = Instant::now() + patience;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < give_up, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

//! The chart on a real Kubernetes, with pods of the real image and the simulated cloud in a pod.
//!
//! `KUBECONFIG` names the cluster, which must have the images `ghcr.io/ask2do/ask2do-token` and
//! `-playground` of this version (`image/build`, then `kind load image-archive` or the like). `ASK2DO_HELM` lists the helms (else
//! `helm` in `PATH`); `kubectl` comes from `PATH`. Each case has a namespace of its own, labelled `restricted`, and removes it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where something is missing"
)]

mod bad_input;
mod documentation;
mod habits;
mod life;

use std::process::ExitCode;

use ask2do_token_tests::suite::Suite;

fn main() -> ExitCode {
    let mut suite = Suite::new();
    documentation::cases(&mut suite);
    life::cases(&mut suite);
    bad_input::cases(&mut suite);
    habits::cases(&mut suite);
    suite.run()
}

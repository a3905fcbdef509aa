//! Operating a real installation: upgrades, rollbacks, lost pods, drained nodes, rotated keys and
//! certificates, at a fixed rate of calls of which none may fail.
//!
//! `KUBECONFIG` names the cluster, which must have both images of this version (see the program
//! `cluster`); `ASK2DO_IMAGE_REPOSITORY` names another repository of theirs. The cases run in turn, on one
//! installation with Helm 3 and 4 as `ASK2DO_HELM` lists them, by the commands of docs/operations.md as
//! written. The load is a pod, `ask2do-token-playground load`. In the end the table of figures is printed;
//! with `UPDATE_DOCS=1` it goes into the page.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test ends where something is missing"
)]

mod bad_input;
mod controls;
mod figures;
mod installation;
mod load;
mod manifests;
mod page;
mod pods;
mod rollouts;
mod rotations;
mod sizing;
mod workflows;
mod world;

use std::process::ExitCode;

use ask2do_token_tests::suite::Suite;

fn main() -> ExitCode {
    let mut suite = Suite::new();
    let world = world::Shared::default();
    page::cases(&mut suite);
    sizing::cases(&mut suite);
    workflows::cases(&mut suite);
    rollouts::cases(&mut suite, &world);
    rotations::cases(&mut suite, &world);
    controls::refused(&mut suite, &world);
    bad_input::cases(&mut suite, &world);
    controls::losses(&mut suite, &world);
    world::end(&mut suite, &world);
    let code = suite.run_in_turn();
    figures::print();
    code
}

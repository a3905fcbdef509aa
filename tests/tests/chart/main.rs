//! The chart, rendered by the real helm and checked by the real tools; and the images.
//!
//! `ASK2DO_HELM` lists the helms (paths with colons between them); else `helm` in `PATH`. The cases that need
//! a tool that is not there are ignored, and say so. `UPDATE_SNAPSHOTS=1` writes the renderings anew.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where something is missing"
)]

mod documentation;
mod flows;
mod helm;
mod image;
mod knobs;
mod names;
mod network;
mod pods;
mod refusals;
mod rollouts;
mod routes;
mod schema;
mod settings;
mod snapshots;
mod tools;

use std::process::ExitCode;

use ask2do_token_tests::suite::Suite;

fn main() -> ExitCode {
    let mut suite = Suite::new();
    snapshots::cases(&mut suite);
    refusals::cases(&mut suite);
    pods::cases(&mut suite);
    rollouts::cases(&mut suite);
    routes::cases(&mut suite);
    names::cases(&mut suite);
    knobs::cases(&mut suite);
    flows::cases(&mut suite);
    settings::cases(&mut suite);
    schema::cases(&mut suite);
    documentation::cases(&mut suite);
    tools::cases(&mut suite);
    image::cases(&mut suite);
    suite.run()
}

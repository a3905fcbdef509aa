//! The reference of `server.toml` in `docs/` is made from the types.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends where something is missing"
)]

use std::path::Path;

use ask2do_token_runtime::config::reference;
use ask2do_token_server::config::Config;

const BEGIN: &str = "<!-- begin: server -->\n";
const END: &str = "<!-- end: server -->\n";

#[test]
fn the_reference_in_docs_is_the_one_the_types_make() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let text = std::fs::read_to_string(&path).expect("docs/configuration.md");
    let (head, rest) = text.split_once(BEGIN).expect("the marker of the beginning");
    let (found, tail) = rest.split_once(END).expect("the marker of the end");
    let made = format!("\n{}\n", reference::<Config>());
    if found == made {
        return;
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, [head, BEGIN, &made, END, tail].concat()).unwrap();
        return;
    }
    panic!("docs/configuration.md is not what the types make: run this test with UPDATE_DOCS=1");
}

//! The committed code is what the `.proto` file generates.
//!
//! `UPDATE_GENERATED=1 cargo test -p ask2do-token-proto --test generated` writes it anew.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's helpers may panic as the test may"
)]

use std::{fs, path::Path};

use prost::Message as _;

const PROTO: &str = "ask2do/token/v1/token_service.proto";

fn generate(out: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let descriptors = protox::compile([PROTO], [root]).expect("the contract compiles");
    fs::write(out.join("descriptor.bin"), descriptors.encode_to_vec()).unwrap();
    tonic_prost_build::configure()
        .client_mod_attribute(".", r#"#[cfg(feature = "client")]"#)
        .server_mod_attribute(".", r#"#[cfg(feature = "server")]"#)
        .build_transport(false)
        // A token and a panel user must not reach a log through `{:?}`: the crate redacts them.
        .skip_debug([
            "ask2do.token.v1.MintTokenResponse",
            "ask2do.token.v1.PanelUser",
        ])
        .out_dir(out)
        .compile_fds(descriptors)
        .expect("code can be generated");
}

#[test]
fn the_committed_code_is_what_the_contract_generates() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/generated");
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        generate(&committed);
    }
    let fresh = tempfile::tempdir().unwrap();
    generate(fresh.path());

    let mut names: Vec<_> = fs::read_dir(fresh.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    let mut kept: Vec<_> = fs::read_dir(&committed)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    kept.sort();
    assert_eq!(kept, names, "the set of generated files");
    for name in names {
        assert!(
            fs::read(committed.join(&name)).unwrap() == fs::read(fresh.path().join(&name)).unwrap(),
            "{name:?} is stale: run this test with UPDATE_GENERATED=1"
        );
    }
}

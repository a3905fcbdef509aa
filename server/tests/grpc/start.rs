//! What the server reads, and what it says of it.

use ask2do_token_runtime::metrics::Metrics;
use ask2do_token_server::audit::Idle;
use ask2do_token_server::inputs;
use ask2do_token_server::serve::{Server, StartError};

use crate::pki::{Ca, PANEL};
use crate::support::{FakeMint, Files, Running, caller};

fn mistakes(files: &Files) -> Vec<String> {
    match inputs::read(&files.arguments()) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.iter().map(ToString::to_string).collect(),
    }
}

fn keys(mistakes: &[String]) -> Vec<&str> {
    let known = [
        "grpc.certificate_file",
        "grpc.private_key_file",
        "grpc.client_ca_file",
        "cloud.tenant_key_file",
        "cloud.ca_file",
        "callers_file",
        "allow_any_caller",
        "callers",
        "cloud.url",
    ];
    mistakes
        .iter()
        .map(|mistake| {
            *known
                .iter()
                .find(|key| mistake.contains(&format!(": {key}: ")))
                .unwrap_or(&mistake.as_str())
        })
        .collect()
}

#[test]
fn every_file_that_is_missing_or_bad_is_named_at_once() {
    let files = Files::new("cloud.ca_file = \"extra.crt\"\n");
    files.write("tls.key", &Ca::new().server().key);
    files.write("ca.crt", "no certificate\n");
    files.write("tenant-key", "two\nlines\n");
    files.write("callers.toml", &caller("panel", "*.example.com"));
    let found = mistakes(&files);
    assert_eq!(
        keys(&found)[..4],
        [
            &found[0],
            "grpc.certificate_file",
            "grpc.client_ca_file",
            "cloud.tenant_key_file"
        ],
        "{found:#?}"
    );
    assert!(
        found[0].contains("callers.toml:3: callers[0].san: "),
        "{found:#?}"
    );
    assert!(keys(&found).contains(&"cloud.ca_file"), "{found:#?}");
    assert_eq!(found.len(), 5);
    assert!(!found.concat().contains("two"), "a key is never shown");
}

#[test]
fn the_one_file_of_the_pair_that_is_missing_is_named() {
    let files = Files::new("");
    std::fs::remove_file(files.dir.path().join("tls.key")).unwrap();
    assert_eq!(keys(&mistakes(&files)), ["grpc.private_key_file"]);
}

#[test]
fn a_file_that_is_right_is_no_mistake() {
    assert_eq!(mistakes(&Files::new("")), [""; 0]);
}

#[test]
fn callers_have_one_place() {
    let files = Files::new(&caller("panel", PANEL));
    assert_eq!(keys(&mistakes(&files)), ["callers_file"]);
    let files = Files::new("allow_any_caller = true\n");
    assert_eq!(keys(&mistakes(&files)), ["allow_any_caller"]);
}

#[test]
fn nobody_to_mint_for_is_a_mistake_that_names_both_ways_out() {
    let files = Files::new("");
    files.write("server.toml", "");
    let found = mistakes(&files);
    assert_eq!(keys(&found), ["callers"]);
    assert!(
        found[0].contains("[[callers]]") && found[0].contains("allow_any_caller = true"),
        "{found:?}"
    );

    let files = Files::new("");
    files.write("callers.toml", "");
    assert!(
        mistakes(&files)[0].contains("callers.toml: callers: found no caller"),
        "{:?}",
        mistakes(&files)
    );
}

#[test]
fn a_san_or_a_name_that_is_there_twice_is_a_mistake() {
    let files = Files::new("");
    let twice = [
        caller("one", "a.example.com"),
        caller("two", "A.example.com"),
        caller("two", "b.example.com"),
    ];
    files.write("callers.toml", &twice.concat());
    let found = mistakes(&files).concat();
    assert!(
        found.contains("callers \"one\" and \"two\" have the same SAN a.example.com"),
        "{found}"
    );
    assert!(found.contains("two callers are named \"two\""), "{found}");
}

#[test]
fn the_key_travels_by_tls_alone_unless_the_cloud_is_here() {
    for (url, fine) in [
        ("https://cloud.example", true),
        ("http://127.0.0.1:1", true),
        ("http://cloud.example", false),
        ("https://cloud.example/?x=1", false),
        ("ftp://cloud.example", false),
    ] {
        let files = Files::new(&format!("cloud.url = \"{url}\"\n"));
        assert_eq!(mistakes(&files).is_empty(), fine, "{url}");
    }
}

#[tokio::test]
async fn a_port_that_is_in_use_is_an_error_that_names_it() {
    let running = Running::start().await;
    let address = running.addresses.grpc;
    let files = Files::new("");
    let mut arguments = files.arguments();
    arguments.set = vec![format!("grpc.listen={address}")];
    let (inputs, _) = inputs::read(&arguments).unwrap();
    let error = Server::bind(
        inputs,
        FakeMint::default(),
        Metrics::new("test", "0"),
        Idle::default(),
    )
    .await
    .err()
    .unwrap();
    assert!(matches!(error, StartError::Bind(_)));
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

//! What changes while the server runs.

use std::time::Duration;

use time::Duration as Validity;
use tokio::time::Instant;

use crate::pki::{Ca, PANEL};
use crate::support::{Files, PORTS, Running, caller, until, within};

/// What the contract promises of removals.
const PROMISED: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_removed_caller_is_refused_on_the_connection_it_has() {
    let server = Running::start().await;
    let panel = server.panel().await;
    assert!(panel.mint("42", "admin").await.is_ok());
    server
        .files
        .write("callers.toml", &caller("other", "spiffe://demo/other"));
    let removed = Instant::now();
    until("the caller is refused", async || {
        match panel.mint("42", "admin").await {
            Ok(_) => false,
            Err(status) => {
                assert!(
                    status.message().starts_with("CALLER_NOT_ALLOWED: "),
                    "{status:?}"
                );
                true
            }
        }
    })
    .await;
    assert!(removed.elapsed() < PROMISED, "{:?}", removed.elapsed());
    assert!(!panel.ended.is_finished());
}

#[tokio::test]
async fn callers_in_the_configuration_file_are_followed_too() {
    let files = Files::new("");
    files.write("server.toml", &format!("{PORTS}{}", caller("panel", PANEL)));
    let server = Running::start_from(files).await;
    let panel = server.panel().await;
    assert!(panel.mint("42", "admin").await.is_ok());
    let other = caller("other", "spiffe://demo/other");
    server
        .files
        .write("server.toml", &format!("{PORTS}{other}"));
    until("the caller is refused", async || {
        panel.mint("42", "admin").await.is_err()
    })
    .await;
    let (_, metrics) = server.admin("/metrics").await;
    assert!(
        metrics.contains("\nask2do_settings_needing_restart 0\n"),
        "{metrics}"
    );
}

#[tokio::test]
async fn an_empty_list_takes_effect_and_is_seen() {
    let server = Running::start().await;
    let panel = server.panel().await;
    server.files.write("callers.toml", "callers = []\n");
    until("nobody may mint", async || {
        panel.mint("42", "admin").await.is_err()
    })
    .await;
    let (_, metrics) = server.admin("/metrics").await;
    assert!(metrics.contains("\nask2do_callers 0\n"), "{metrics}");
}

#[tokio::test]
async fn a_bad_list_keeps_the_last_good_one_and_is_counted() {
    let server = Running::start().await;
    let panel = server.panel().await;
    server.files.write("callers.toml", "callers = 3\n");
    until("the failure is counted", async || {
        let (_, metrics) = server.admin("/metrics").await;
        metrics.contains("ask2do_reload_failures_total{file=\"callers\"} 1")
    })
    .await;
    assert!(panel.mint("42", "admin").await.is_ok());
}

#[tokio::test]
async fn a_removed_ca_ends_the_connections_of_its_callers_and_no_others() {
    let server = Running::start().await;
    let other = Ca::new();
    server
        .files
        .write("ca.crt", &(server.files.ca.pem() + &other.pem()));
    let identity = other.client(PANEL);
    until("the new CA's caller mints", async || {
        match server.connect(Some(&identity)).await {
            Ok(connection) => connection.mint("42", "admin").await.is_ok(),
            Err(_) => false,
        }
    })
    .await;
    let leaving = server.connect(Some(&identity)).await.unwrap();
    let staying = server.panel().await;
    assert!(leaving.mint("42", "admin").await.is_ok());
    assert!(staying.mint("42", "admin").await.is_ok());

    server.files.write("ca.crt", &server.files.ca.pem());
    let removed = Instant::now();
    within(leaving.ended).await.unwrap().unwrap();
    assert!(removed.elapsed() < PROMISED, "{:?}", removed.elapsed());
    assert!(staying.mint("42", "admin").await.is_ok());
    if let Ok(connection) = server.connect(Some(&identity)).await {
        assert!(connection.mint("42", "admin").await.is_err());
    }
}

#[tokio::test]
async fn a_certificate_that_ends_ends_its_connection() {
    let server = Running::start().await;
    let identity = server.files.ca.client_ending_in(Validity::seconds(3));
    let connection = server.connect(Some(&identity)).await.unwrap();
    assert!(connection.mint("42", "admin").await.is_ok());
    within(connection.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_new_connections() {
    let server = Running::start().await;
    let (_, before) = server.admin("/metrics").await;
    let pair = server.files.ca.server();
    // One after the other: the moment between is no mistake.
    server.files.write("tls.crt", &pair.cert);
    server.files.write("tls.key", &pair.key);
    until("the reload is counted", async || {
        let (_, metrics) = server.admin("/metrics").await;
        metrics.contains("ask2do_reloads_total{file=\"certificate\"} 1")
    })
    .await;
    assert!(before.contains("ask2do_reloads_total{file=\"certificate\"} 0"));
    assert!(server.panel().await.mint("42", "admin").await.is_ok());
}

#[tokio::test]
async fn another_setting_that_changes_is_counted_as_needing_a_restart() {
    let server = Running::start().await;
    let toml = format!("callers_file = \"callers.toml\"\nlimits.in_flight = 1\n{PORTS}");
    server.files.write("server.toml", &toml);
    until("the change is counted", async || {
        let (_, metrics) = server.admin("/metrics").await;
        metrics.contains("\nask2do_settings_needing_restart 1\n")
    })
    .await;
}

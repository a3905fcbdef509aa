//! The admin port over a real socket.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ask2do_token_runtime::admin;
use ask2do_token_runtime::listener::{ConnectionMetrics, Handler, Listener, Options, Plain};
use ask2do_token_runtime::metrics::{CertificateExpiry, Metrics, Reloads};
use ask2do_token_runtime::readiness::Readiness;
use ask2do_token_runtime::shutdown::Stop;
use ask2do_token_tls::{LoadError, Observer as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

struct Admin {
    address: SocketAddr,
    readiness: Readiness,
    metrics: Arc<Metrics>,
}

impl Admin {
    async fn serve() -> Self {
        let mut metrics = Metrics::new("test", "1.2.3");
        let connections = ConnectionMetrics::register(&mut metrics);
        let reloads = Reloads::register(&mut metrics);
        reloads.loaded("tenant_key", None);
        let written = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250);
        reloads.reloaded("certificate", Some(written));
        Observer::fail(&reloads);
        let ends = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
        CertificateExpiry::register(&mut metrics).show("grpc", move || ends);
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::bind("admin", any, Options::admin(), &connections);
        let listener = listener.await.unwrap();
        let address = listener.local_address().unwrap();
        let (readiness, metrics) = (Readiness::new(), Arc::new(metrics));
        let router = admin::router(readiness.clone(), Arc::clone(&metrics));
        let make = move |_| Handler::new(router.clone());
        tokio::spawn(listener.serve(Plain, make, Stop::new()));
        Self {
            address,
            readiness,
            metrics,
        }
    }

    /// The whole answer.
    async fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{request}\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn status(&self, request: &str) -> String {
        let answer = self.ask(&format!("{request} HTTP/1.1")).await;
        answer.split(' ').nth(1).unwrap().to_owned()
    }
}

struct Observer;

impl Observer {
    fn fail(reloads: &Reloads) {
        let error = LoadError::new("client_ca", Vec::new(), "no certificate");
        reloads.failed("client_ca", &error);
    }
}

#[tokio::test]
async fn it_says_whether_the_process_is_ready_and_what_is_missing() {
    let admin = Admin::serve().await;
    assert_eq!(admin.status("GET /readyz").await, "200");
    let latch = admin.readiness.latch("listening");
    let answer = admin.ask("GET /readyz HTTP/1.1").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(
        answer.ends_with("\r\n\r\nnot ready: listening\n"),
        "{answer}"
    );
    latch.release();
    assert_eq!(admin.status("GET /readyz").await, "200");
    admin.readiness.off();
    assert!(
        admin
            .ask("GET /readyz HTTP/1.1")
            .await
            .ends_with("not ready: draining\n")
    );
    // A draining process is alive: nobody should restart it.
    assert_eq!(admin.status("GET /livez").await, "200");
}

#[tokio::test]
async fn it_answers_get_and_head_on_three_paths_and_nothing_else() {
    let admin = Admin::serve().await;
    for (request, status) in [
        ("HEAD /livez", "200"),
        ("HEAD /metrics", "200"),
        ("POST /livez", "405"),
        ("DELETE /metrics", "405"),
        ("GET /", "404"),
        ("GET /metrics/", "404"),
        ("GET /livez/../metrics", "404"),
        ("POST /debug/pprof", "404"),
    ] {
        assert_eq!(admin.status(request).await, status, "{request}");
    }
}

#[tokio::test]
async fn metrics_come_as_the_scraper_accepts_them() {
    // What Prometheus 2 and 3 send, curl, and a browser.
    let open = "application/openmetrics-text; version=1.0.0";
    let prometheus_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    let classic = "text/plain; version=0.0.4";
    let admin = Admin::serve().await;
    for (accept, content_type) in [
        (prometheus_2, open),
        (prometheus_3, open),
        ("*/*", classic),
        ("text/html", classic),
        ("application/openmetrics-text;q=0, text/plain", classic),
        ("text/plain, application/openmetrics-text;q=0.5", classic),
        // Two headers are one list, and one that is no text is none.
        (
            "text/plain;q=0.1\r\naccept: application/openmetrics-text",
            open,
        ),
        ("\u{e9}", classic),
        ("\u{e9}\r\naccept: application/openmetrics-text", open),
    ] {
        let answer = admin
            .ask(&format!("GET /metrics HTTP/1.1\r\naccept: {accept}"))
            .await;
        assert!(
            answer.contains(&format!("content-type: {content_type}")),
            "{accept}: {answer}"
        );
        assert_eq!(
            answer.ends_with("# EOF\n"),
            content_type == open,
            "{accept}"
        );
    }
}

#[tokio::test]
async fn every_metric_is_in_the_catalogue_and_the_other_way_round() {
    let admin = Admin::serve().await;
    let answer = admin.ask("GET /metrics HTTP/1.1").await;
    let types: Vec<(&str, &str)> = answer
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();
    let catalogue = admin.metrics.catalogue();
    for (name, kind) in &types {
        let described = catalogue.iter().find(|described| described.name == *name);
        assert_eq!(described.map(|found| found.kind), Some(*kind), "{name}");
    }
    for described in &catalogue {
        if described.name == "ask2do_handshake_failures_total" {
            // No port here has handshakes, and a family without a series is not shown.
            continue;
        }
        assert!(
            types.contains(&(described.name, described.kind)),
            "{described:?}"
        );
        let help = format!("# HELP {} {}.", described.name, described.help);
        assert!(answer.lines().any(|line| line == help), "{help}");
        let samples = answer
            .lines()
            .filter(|line| line.starts_with(&format!("{}{{", described.name)));
        for sample in samples {
            for label in described.labels {
                assert!(sample.contains(&format!("{label}=\"")), "{sample}");
            }
        }
    }
}

#[tokio::test]
async fn reloads_certificates_build_and_process_are_shown() {
    let admin = Admin::serve().await;
    let answer = admin.ask("GET /metrics HTTP/1.1").await;
    for line in [
        "ask2do_build_info{service=\"test\",version=\"1.2.3\"} 1",
        "ask2do_reloads_total{file=\"tenant_key\"} 0",
        "ask2do_reloads_total{file=\"certificate\"} 1",
        "ask2do_reload_failures_total{file=\"client_ca\"} 1",
        "ask2do_reload_modified_timestamp_seconds{file=\"certificate\"} 1700000000.25",
        "ask2do_certificate_expiry_timestamp_seconds{certificate=\"grpc\"} 2000000000.0",
        "ask2do_connections{port=\"admin\"} 1",
        "ask2do_requests_in_flight{port=\"admin\"} 1",
    ] {
        assert!(
            answer.lines().any(|found| found == line),
            "{line}\n{answer}"
        );
    }
    for name in [
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_max_fds",
        "process_start_time_seconds",
        "process_threads",
    ] {
        let found = answer
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        // Elsewhere than on Linux they are left out.
        assert_eq!(found.is_some(), cfg!(target_os = "linux"), "{name}");
        if let Some(value) = found {
            assert!(value.parse::<f64>().unwrap() >= 0.0, "{name} {value}");
        }
    }
}

//! Scenario `telemetry`: the server with traces exported, `/metrics` scraped and the audit log on, beside
//! itself with none of it, each alone on one core, at 8 connections x 8 calls in flight.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use serde::Serialize;

use crate::load::Round;
use crate::measure::{self, Settings};
use crate::servers::{self, TokenServer};
use crate::{Result, mint, pki};

/// Fifteen times as often as Prometheus does by default.
const SCRAPED_EVERY: Duration = Duration::from_secs(1);

/// The longest that the exporter may hold a span before it tries to send it.
const LAST_BATCH: Duration = Duration::from_secs(30);

/// The same load on the same server, told to show more and more of itself.
#[derive(Debug, Serialize)]
pub(crate) struct Telemetry {
    /// No trace is exported, nobody scrapes, there is no audit log.
    pub(crate) off: Variant,
    /// A tenth of the traces, scrapes, and the audit log.
    pub(crate) tenth: Variant,
    /// All traces, scrapes, and the audit log.
    pub(crate) all: Variant,
}

/// One of them.
#[derive(Debug, Serialize)]
pub(crate) struct Variant {
    pub(crate) server: measure::Server,
    /// By the server's own count, over all rounds: what was dropped cost less than it should have.
    pub(crate) spans_exported: u64,
    pub(crate) spans_dropped: u64,
    pub(crate) audit_lines: u64,
}

/// A server under test, with what was measured so far.
struct Running {
    server: TokenServer,
    scraped: bool,
    rss_at_rest: u64,
    rounds: Vec<Round>,
}

/// Measures, in rounds of all three.
pub(crate) async fn run(settings: &Settings, folder: &Path) -> Result<Telemetry> {
    let cloud = servers::stub_cloud(settings, folder).await?;
    let collector = servers::stub_collector(settings, folder).await?;
    std::fs::write(folder.join("audit-key"), "0123456789abcdef".repeat(4))?;
    let mut running = Vec::new();
    for sampled in [None, Some("0.1"), Some("1")] {
        let (variables, set) = sampled.map_or_else(Default::default, |ratio| {
            (variables(collector.address, ratio), audit(ratio))
        });
        let address = cloud.address;
        let server = TokenServer::start_with(settings, folder, address, &variables, &set).await?;
        running.push(Running {
            server,
            scraped: sampled.is_some(),
            rss_at_rest: 0,
            rounds: Vec::new(),
        });
    }
    servers::settle().await;
    for variant in &mut running {
        variant.rss_at_rest = variant.server.process.usage()?.rss;
    }
    let tls = pki::caller(folder)?;
    for number in 1..=settings.rounds {
        for variant in &mut running {
            variant.round(settings, &tls).await?;
        }
        let [off, .., all] = &running[..] else {
            continue;
        };
        measure::progress(
            "telemetry",
            number,
            settings.rounds,
            &all.rounds,
            &off.rounds,
        );
    }
    let mut variants = Vec::new();
    for variant in running {
        variants.push(variant.end().await?);
    }
    for process in [collector.process, cloud.process] {
        process.end().await?;
    }
    let [off, tenth, all] = <[Variant; 3]>::try_from(variants).map_err(|_| "three variants")?;
    Ok(Telemetry { off, tenth, all })
}

fn variables(collector: SocketAddr, ratio: &str) -> Vec<String> {
    vec![
        format!("OTEL_EXPORTER_OTLP_ENDPOINT=http://{collector}"),
        "OTEL_TRACES_SAMPLER=parentbased_traceidratio".to_owned(),
        format!("OTEL_TRACES_SAMPLER_ARG={ratio}"),
    ]
}

/// As it is meant to be: sealed by a key, and no token before its line is written.
fn audit(ratio: &str) -> Vec<String> {
    vec![
        "audit.output=file".to_owned(),
        format!("audit.file=audit-{ratio}.log"),
        "audit.key_file=audit-key".to_owned(),
        "audit.on_failure=refuse".to_owned(),
    ]
}

impl Running {
    async fn round(&mut self, settings: &Settings, tls: &Arc<ClientConfig>) -> Result<()> {
        let TokenServer {
            process,
            grpc,
            admin,
            ..
        } = &self.server;
        let round = mint::round(settings, tls, *grpc, process);
        let round = if self.scraped {
            tokio::select! {
                round = round => round?,
                error = scrape(*admin) => return Err(error),
            }
        } else {
            round.await?
        };
        self.rounds.push(round);
        Ok(())
    }

    async fn end(self) -> Result<Variant> {
        let mut text = servers::scrape(self.server.admin).await?;
        // The last ones wait for their batch, a few seconds.
        let give_up = Instant::now() + LAST_BATCH;
        while self.scraped && count(&text, "ask2do_spans_exported_total") == 0 {
            if Instant::now() > give_up {
                return Err("no span was exported".into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            text = servers::scrape(self.server.admin).await?;
        }
        let variant = Variant {
            spans_exported: count(&text, "ask2do_spans_exported_total"),
            spans_dropped: count(&text, "ask2do_spans_dropped_total"),
            audit_lines: count(&text, "ask2do_audit_lines_total"),
            server: measure::Server::new(self.rounds, vec![self.rss_at_rest], Vec::new()),
        };
        self.server.process.end().await?;
        if self.scraped && variant.audit_lines < 2 {
            return Err("nothing was audited".into());
        }
        Ok(variant)
    }
}

/// The sum of all series of a counter.
fn count(text: &str, name: &str) -> u64 {
    let of_name = text.lines().filter(|line| line.starts_with(name));
    let values = of_name.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    values.sum()
}

/// Scrapes until an error.
async fn scrape(admin: SocketAddr) -> crate::Error {
    loop {
        if let Err(error) = servers::scrape(admin).await {
            return error;
        }
        tokio::time::sleep(SCRAPED_EVERY).await;
    }
}

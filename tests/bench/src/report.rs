//! What was measured, beside what is wanted.

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::Result;
use crate::measure::{Compared, Server, Settings};
use crate::telemetry::{Telemetry, Variant};

/// One run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    date: String,
    processor: String,
    cores: usize,
    rounds: usize,
    seconds_a_round: f64,
    smoke: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mint: Option<Compared>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) panel: Option<Compared>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) telemetry: Option<Telemetry>,
}

const MIB: f64 = 1024.0 * 1024.0;

impl Report {
    pub(crate) fn begin(settings: &Settings) -> Result<Self> {
        let processors = std::fs::read_to_string("/proc/cpuinfo")?;
        let name = |line: &str| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == "model name").then(|| value.trim().to_owned())
        };
        Ok(Self {
            date: OffsetDateTime::now_utc().format(&Rfc3339)?,
            processor: processors.lines().find_map(name).unwrap_or_default(),
            cores: processors
                .lines()
                .filter(|line| line.starts_with("processor"))
                .count(),
            rounds: settings.rounds,
            seconds_a_round: settings.timing.measured.as_secs_f64(),
            smoke: settings.smoke,
            mint: None,
            panel: None,
            telemetry: None,
        })
    }

    /// Prints it as tables in Markdown.
    #[expect(clippy::print_stdout, reason = "what the command is for")]
    pub(crate) fn print(&self) {
        println!(
            "{}; {} cores, {}; {} rounds of {} s",
            self.date, self.cores, self.processor, self.rounds, self.seconds_a_round
        );
        if self.smoke {
            println!("Smoke: too short to mean anything.");
        }
        self.mint.iter().for_each(mint);
        self.panel.iter().for_each(panel);
        self.telemetry.iter().for_each(telemetry);
    }
}

#[expect(clippy::print_stdout, reason = "what the command is for")]
fn mint(mint: &Compared) {
    println!("\n## Mint: 8 connections x 8 in flight, each server alone on one core\n");
    table(&[("server", &mint.ours), ("bare", &mint.other)]);
    println!("\n| | measured | wanted | met |\n|---|---|---|---|");
    verdict("CPU a mint, of the bare server's", mint.cpu_ratio, "", 1.10);
    verdict("RSS at rest", mebi(&mint.ours.rss_at_rest), " MiB", 20.0);
    verdict(
        "RSS under load",
        mebi(&mint.ours.rss_under_load),
        " MiB",
        32.0,
    );
    verdict(
        "exec to ready, median",
        mint.ours.median_ready_ms().unwrap_or_default(),
        " ms",
        50.0,
    );
    println!(
        "| requests/s, of the bare server's | {:.2} | | |",
        mint.rate_ratio
    );
}

#[expect(clippy::print_stdout, reason = "what the command is for")]
fn panel(panel: &Compared) {
    println!("\n## Panel: 64 connections, gateway and server together on one core\n");
    table(&[("gateway + server", &panel.ours), ("Express", &panel.other)]);
    println!("\n| | measured | wanted | met |\n|---|---|---|---|");
    verdict("CPU a mint, of Express's", panel.cpu_ratio, "", 0.10);
    verdict(
        "Express's requests/s, of ours",
        1.0 / panel.rate_ratio,
        "",
        1.0,
    );
    let [gateway, server] = panel.ours.rss_under_load[..] else {
        return;
    };
    verdict("RSS of the gateway", mebi(&[gateway]), " MiB", 25.0);
    verdict("RSS of the server", mebi(&[server]), " MiB", 25.0);
}

#[expect(clippy::print_stdout, reason = "what the command is for")]
fn telemetry(telemetry: &Telemetry) {
    println!(
        "\n## Telemetry: the server with traces, scrapes and audit log, beside itself without\n"
    );
    let Telemetry { off, tenth, all } = telemetry;
    table(&[
        ("off", &off.server),
        ("10 % of traces", &tenth.server),
        ("all traces", &all.server),
    ]);
    println!("\n| | measured | wanted | met |\n|---|---|---|---|");
    for (name, on, most) in [("10 % of traces", tenth, 10.0), ("all traces", all, 25.0)] {
        let lost = |of: fn(&Variant) -> f64| (1.0 - of(on) / of(off)) * 100.0;
        let of_rate = lost(|variant| variant.server.best_rate);
        verdict(&format!("throughput lost, {name}"), of_rate, " %", most);
        let of_cpu = lost(|variant| 1.0 / variant.server.best_cpu_us);
        verdict(
            &format!("the same by CPU a mint, {name}"),
            of_cpu,
            " %",
            most,
        );
        let more = mebi(&on.server.rss_under_load) - mebi(&off.server.rss_under_load);
        verdict(&format!("more RSS under load, {name}"), more, " MiB", 12.0);
    }
    println!("\n| | spans exported | spans dropped | audit lines |\n|---|---|---|---|");
    for (name, on) in [("10 % of traces", tenth), ("all traces", all)] {
        let (exported, dropped) = (on.spans_exported, on.spans_dropped);
        println!("| {name} | {exported} | {dropped} | {} |", on.audit_lines);
    }
}

#[expect(clippy::print_stdout, reason = "what the command is for")]
fn table(servers: &[(&str, &Server)]) {
    println!(
        "| | requests/s | p50 us | p99 us | p99.9 us | CPU us a request | core used | RSS at rest | under load |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (name, server) in servers {
        let Some(best) = server.best_round() else {
            continue;
        };
        println!(
            "| {name} | {:.0} | {} | {} | {} | {:.1} | {:.0} % | {:.1} MiB | {:.1} MiB |",
            best.requests_per_second,
            best.p50_us,
            best.p99_us,
            best.p999_us,
            server.best_cpu_us,
            best.core_used * 100.0,
            mebi(&server.rss_at_rest),
            mebi(&server.rss_under_load),
        );
    }
}

#[expect(clippy::print_stdout, reason = "what the command is for")]
fn verdict(what: &str, measured: f64, unit: &str, most: f64) {
    let met = if measured <= most { "yes" } else { "no" };
    println!("| {what} | {measured:.2}{unit} | at most {most}{unit} | {met} |");
}

/// The largest, in MiB.
#[expect(clippy::cast_precision_loss, reason = "to be read by people")]
fn mebi(bytes: &[u64]) -> f64 {
    bytes.iter().max().map_or(0.0, |bytes| *bytes as f64 / MIB)
}

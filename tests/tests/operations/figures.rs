//! What each disruption cost, for the page.

use std::fmt::Write as _;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::load::Window;
use crate::page;

static ROWS: Mutex<Vec<Row>> = Mutex::new(Vec::new());

struct Row {
    disruption: String,
    before: Window,
    during: Window,
}

pub(crate) fn note(disruption: &str, before: Window, during: Window) {
    let row = Row {
        disruption: disruption.to_owned(),
        before,
        during,
    };
    ROWS.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(row);
}

/// Prints the table, and writes it to the page where that was asked for and all of it is there.
pub(crate) fn print() {
    let rows = ROWS.lock().unwrap_or_else(PoisonError::into_inner);
    if rows.is_empty() {
        return;
    }
    let table = table(&rows);
    println!("\n{table}");
    if page::not_run().is_empty() {
        page::generated("figures", Some(&table));
    }
}

fn table(rows: &[Row]) -> String {
    let mut table = format!(
        "{}, {}.\n\n\
        | disruption | seconds | calls | failed | p99 callers: during (before) | p99 gateway: during (before) |\n\
        |---|---:|---:|---:|---:|---:|\n",
        today(),
        machine()
    );
    for row in rows {
        let (during, before) = (&row.during, &row.before);
        let callers = |window: &Window| {
            window
                .lane("panel")
                .p99_ms
                .max(window.lane("service").p99_ms)
        };
        let gateway = |window: &Window| window.lane("gateway").p99_ms;
        writeln!(
            table,
            "| {} | {:.0} | {} | {} | {:.0} ms ({:.0} ms) | {:.0} ms ({:.0} ms) |",
            row.disruption,
            during.time.as_secs_f64(),
            during.calls(),
            during.failed(),
            callers(during),
            callers(before),
            gateway(during),
            gateway(before),
        )
        .unwrap();
    }
    table
}

fn today() -> String {
    let today = time::OffsetDateTime::now_utc().date();
    format!(
        "{}-{:02}-{:02}",
        today.year(),
        u8::from(today.month()),
        today.day()
    )
}

fn machine() -> String {
    let processor = std::fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            Some(
                text.lines()
                    .find(|line| line.starts_with("model name"))?
                    .rsplit_once(": ")?
                    .1
                    .to_owned(),
            )
        });
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let nodes = Command::new("kubectl")
        .args([
            "get",
            "nodes",
            "--output",
            "jsonpath={.items[*].status.nodeInfo.kubeletVersion}",
        ])
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    let versions: Vec<_> = nodes.split(' ').collect();
    format!(
        "{cores} cores of {}, Kubernetes {} with {} node(s), load and all",
        processor.as_deref().unwrap_or("an unknown processor"),
        versions[0],
        versions.len()
    )
}

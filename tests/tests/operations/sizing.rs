//! The page's sizing: every number of its table follows from the measured ones by the page's formula.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ask2do_token_tests::suite::Suite;

use crate::page;

/// Panel users with the widget open.
const USERS: [u64; 5] = [1_000, 10_000, 100_000, 1_000_000, 10_000_000];

pub(crate) fn cases(suite: &mut Suite) {
    suite.case(
        "the sizing table follows from the measured figures",
        || async {
            let expected = table(&measured());
            let found = page::generated("sizing", Some(&expected));
            assert_eq!(found, expected, "UPDATE_DOCS=1 writes it");
        },
    );
}

/// The figures that the page's list of them has, by their symbols.
fn measured() -> BTreeMap<String, f64> {
    let list = page::generated("measured", None);
    list.lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('|');
            let symbol = cells.next()?.trim().trim_end_matches('`').to_owned();
            let value = cells.next()?.trim().split(' ').next()?.parse().ok()?;
            Some((symbol, value))
        })
        .collect()
}

fn table(measured: &BTreeMap<String, f64>) -> String {
    let of = |symbol: &str| {
        *measured
            .get(symbol)
            .unwrap_or_else(|| panic!("no {symbol}"))
    };
    let mut table = "\
        | panel users | mints a second, and at the peak | in flight at the peak | server: replicas (cores) | gateway: replicas (cores) | memory | cloud calls a day |\n\
        |---:|---:|---:|---:|---:|---:|---:|\n"
        .to_owned();
    for users in USERS {
        #[allow(clippy::cast_precision_loss, reason = "ten million is exact")]
        let mean = users as f64 / of("T");
        let peak = mean * of("P");
        let in_flight = peak * of("L") / 1000.0;
        let cores = |cost: &str| peak * of(cost) / 1e6;
        // A pod has one core, of which it should use U at most; and F calls at a time.
        let replicas = |cost: &str| {
            let by_cpu = cores(cost) / of("U");
            let by_flight = in_flight / of("F");
            by_cpu.max(by_flight).ceil().max(1.0) + 1.0
        };
        let (server, gateway) = (replicas("Cs"), replicas("Cg"));
        writeln!(
            table,
            "| {} | {}, {} | {} | {server:.0} ({:.1}) | {gateway:.0} ({:.1}) | {} MiB | {} |",
            grouped(users.to_string()),
            shown(mean),
            shown(peak),
            shown(in_flight),
            cores("Cs"),
            cores("Cg"),
            grouped(format!("{:.0}", (server + gateway) * of("M"))),
            grouped(format!("{:.0}", mean * 86_400.0 * of("D"))),
        )
        .unwrap();
    }
    table
}

fn shown(number: f64) -> String {
    if number < 10.0 {
        format!("{number:.1}")
    } else {
        grouped(format!("{number:.0}"))
    }
}

/// With a space between thousands.
fn grouped(digits: String) -> String {
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

//! docs/operations.md: its commands, which are run as written.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use ask2do_token_tests::binaries::workspace;
use ask2do_token_tests::cluster::marked;
use ask2do_token_tests::suite::Suite;

const PAGE: &str = "docs/operations.md";

/// Every block of commands on the page, by the name in its marker `<!-- test: NAME -->`. A case runs each of them.
pub(crate) const BLOCKS: &[&str] = &[
    "install",
    "upgrade",
    "upgrade or back",
    "roll back",
    "drain",
    "uncordon",
    "taken up",
    "tenant key",
    "server certificate",
    "client CA, both",
    "gateway certificate",
    "client CA, new",
    "back out",
];

/// Those that were run so far.
static RUN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

pub(crate) fn cases(suite: &mut Suite) {
    suite.case(
        "every block of commands on the page is one that is run",
        || async {
            let page = text();
            let mut rest = page.as_str();
            let mut found = Vec::new();
            while let Some((before, after)) = rest.split_once("```sh\n") {
                let marker = before.trim_end().rsplit('\n').next().unwrap_or_default();
                let name = marker
                    .strip_prefix("<!-- test: ")
                    .and_then(|marker| marker.strip_suffix(" -->"));
                found.push(
                    name.unwrap_or_else(|| panic!("no marker, but: {marker}"))
                        .to_owned(),
                );
                rest = after.split_once("```").unwrap().1;
            }
            assert_eq!(found, BLOCKS);
        },
    );
}

/// Whether all of them were run; else those that were not.
pub(crate) fn not_run() -> Vec<&'static str> {
    let run = RUN.lock().unwrap_or_else(PoisonError::into_inner);
    BLOCKS
        .iter()
        .copied()
        .filter(|block| !run.contains(block))
        .collect()
}

/// The commands of one block, to be run now.
pub(crate) fn block(name: &'static str) -> String {
    assert!(BLOCKS.contains(&name), "{name}");
    RUN.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(name);
    marked(PAGE, name)
}

pub(crate) fn text() -> String {
    std::fs::read_to_string(workspace().join(PAGE)).unwrap()
}

/// What stands between the page's marks of this name; with `UPDATE_DOCS=1` it is replaced by `expected` first.
pub(crate) fn generated(name: &str, expected: Option<&str>) -> String {
    let (begin, end) = (
        format!("<!-- begin: {name} -->\n"),
        format!("<!-- end: {name} -->"),
    );
    let page = text();
    let (before, rest) = page.split_once(&begin).unwrap();
    let (found, after) = rest.split_once(&end).unwrap();
    match expected {
        Some(expected) if std::env::var_os("UPDATE_DOCS").is_some() => {
            let page = format!("{before}{begin}{expected}{end}{after}");
            std::fs::write(workspace().join(PAGE), page).unwrap();
            expected.to_owned()
        }
        _ => found.to_owned(),
    }
}

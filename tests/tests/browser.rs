//! What a browser sees of the whole path: Chromium, driven by playwright-core, on the demo panel of a real
//! playground. The cases themselves are in `tests/browser`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "these are tests"
)]

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Output};
use std::sync::Arc;

use ask2do_token_tests::binaries::on_path;
use ask2do_token_tests::demo::Demo;
use ask2do_token_tests::suite::{CannotRun, Suite};
use tokio::process::Command;
use tokio::sync::Semaphore;

/// By the part of `tests/browser/cases` that has them.
const CASES: [&str; 12] = [
    "an_owner_and_an_admin_are_connected",
    "after_logging_out_login_is_required",
    "a_session_that_ends_under_an_open_page_is_login_required",
    "a_token_is_renewed_before_it_ends",
    "a_connection_that_is_cut_is_made_again_with_a_new_token",
    "a_junior_is_told_that_the_role_is_not_allowed",
    "each_of_the_vendors_three_symptoms_is_named_with_where_to_look",
    "what_is_none_of_the_three_is_not_taken_for_one",
    "the_trace_id_on_the_page_is_the_answers",
    "each_hop_of_the_last_call_is_on_the_second_tab",
    "the_keyboard_alone_is_enough",
    "every_page_fits_its_window_in_light_and_dark",
];

/// Those of a page elsewhere, before a gateway that serves GET, too: a panel could not be more open.
const CASES_ELSEWHERE: [&str; 3] = [
    "a_page_on_another_site_gets_nothing",
    "a_page_on_a_sibling_port_gets_nothing",
    "without_fetch_metadata_the_panel_works_and_a_sibling_port_gets_nothing",
];

/// Each is a browser and six processes.
const AT_A_TIME: usize = 2;

fn main() -> ExitCode {
    let mut suite = Suite::new();
    let turns = Arc::new(Semaphore::new(AT_A_TIME));
    for case in CASES {
        let turns = turns.clone();
        suite.case_where_possible(case, move || async move {
            let browser = Browser::find()?;
            let _turn = turns.acquire().await.unwrap();
            browser.run(case, &Demo::start().await).await;
            Ok(())
        });
    }
    for case in CASES_ELSEWHERE {
        let turns = turns.clone();
        suite.case_where_possible(case, move || async move {
            let browser = Browser::find()?;
            let _turn = turns.acquire().await.unwrap();
            browser.run(case, &Demo::start_serving_get().await).await;
            Ok(())
        });
    }
    suite.case_where_possible("every_case_is_run", every_case_is_run);
    suite.run()
}

async fn every_case_is_run() -> Result<(), CannotRun> {
    let browser = Browser::find()?;
    let listed = browser.command("--list").output().await.unwrap();
    let text = succeeded("--list", &listed);
    let mut listed: Vec<_> = text.lines().collect();
    let mut run = [&CASES[..], &CASES_ELSEWHERE].concat();
    listed.sort_unstable();
    run.sort_unstable();
    assert_eq!(run, listed);
    Ok(())
}

/// What it takes.
struct Browser {
    node: PathBuf,
    chromium: PathBuf,
}

impl Browser {
    fn find() -> Result<Self, CannotRun> {
        let node = on_path("node").ok_or(CannotRun("there is no node on PATH"))?;
        if !folder().join("node_modules/playwright-core").is_dir() {
            return Err(CannotRun(
                "playwright-core is not installed: `npm ci --ignore-scripts` in tests/browser",
            ));
        }
        let chromium = std::env::var_os("ASK2DO_CHROMIUM")
            .map(PathBuf::from)
            .or_else(|| {
                ["chromium", "chromium-browser", "google-chrome"]
                    .into_iter()
                    .find_map(on_path)
            })
            .ok_or(CannotRun(
                "there is no chromium on PATH, and no ASK2DO_CHROMIUM",
            ))?;
        Ok(Self { node, chromium })
    }

    fn command(&self, case: &str) -> Command {
        let mut command = Command::new(&self.node);
        command
            .args(["run.mjs", case])
            .current_dir(folder())
            .env("CHROMIUM", &self.chromium)
            .kill_on_drop(true);
        command
    }

    async fn run(&self, case: &str, demo: &Demo) {
        let output = self
            .command(case)
            .env("PANEL", &demo.panel)
            .env("CLOUD", &demo.cloud)
            .env("NODE_EXTRA_CA_CERTS", demo.ca())
            .env("OUTPUT", folder().with_file_name("output").join("browser"))
            .output()
            .await
            .unwrap();
        succeeded(case, &output);
    }
}

fn succeeded(case: &str, output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{case}: {}\n{said}", output.status);
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("browser")
}

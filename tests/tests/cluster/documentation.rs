//! The commands of docs/kubernetes.md, as written.

use std::os::unix::fs::symlink;
use std::process::Command;

use ask2do_token_tests::binaries::{binary, workspace};
use ask2do_token_tests::suite::Suite;

use crate::cluster::{helms, remove, restrict, run};

/// The namespace that the page names.
const NAMESPACE: &str = "ask2do-demo";

pub(crate) fn cases(suite: &mut Suite) {
    suite.case_where_possible(
        "the first try of the docs ends with a token, with every helm",
        || async {
            for helm in helms()? {
                let folder = tempfile::tempdir().unwrap();
                let programs = folder.path().join("bin");
                std::fs::create_dir(&programs).unwrap();
                symlink(&helm, programs.join("helm")).unwrap();
                symlink(binary("ask2do-token"), programs.join("ask2do-token")).unwrap();
                symlink(workspace().join("helm"), folder.path().join("helm")).unwrap();
                let path = std::env::var_os("PATH").unwrap();
                let path = std::env::join_paths(
                    std::iter::once(programs).chain(std::env::split_paths(&path)),
                );
                let path = path.unwrap();
                let shell = |line: &str| {
                    let mut command = Command::new("bash");
                    command
                        .args(["-c", line])
                        .current_dir(folder.path())
                        .env("PATH", &path);
                    run(&mut command).unwrap_or_else(|error| panic!("{error}"))
                };
                let commands = first_try();
                assert!(commands.len() <= 6, "{commands:?}");
                let mut gone = None;
                let mut last = String::new();
                for (index, command) in commands.iter().enumerate() {
                    last = shell(command);
                    if index == 0 {
                        // Not before: a namespace that was here already is somebody's.
                        gone = Some(Gone);
                        restrict(NAMESPACE);
                    }
                }
                let parts: Vec<_> = last.trim().split('.').collect();
                assert!(
                    parts.len() == 3 && parts.iter().all(|part| part.len() > 20),
                    "{last}"
                );
                let tested = shell(&format!("helm test ask2do-token --namespace {NAMESPACE}"));
                assert_eq!(tested.matches("Succeeded").count(), 3, "{tested}");
                drop(gone);
            }
            Ok(())
        },
    );
}

/// The lines of the block that is marked.
fn first_try() -> Vec<String> {
    let page = std::fs::read_to_string(workspace().join("docs/kubernetes.md")).unwrap();
    let (_, rest) = page.split_once("<!-- test: first try -->\n```\n").unwrap();
    let (block, _) = rest.split_once("```").unwrap();
    block.lines().map(str::to_owned).collect()
}

struct Gone;

impl Drop for Gone {
    fn drop(&mut self) {
        remove(NAMESPACE);
    }
}

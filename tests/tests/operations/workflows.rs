//! .github/workflows: what GitHub would run.

use std::process::Command;

use ask2do_token_tests::binaries::workspace;
use ask2do_token_tests::suite::{CannotRun, Suite};

pub(crate) fn cases(suite: &mut Suite) {
    suite.case_where_possible("actionlint finds nothing in the workflows", || async {
        let Ok(linted) = Command::new("actionlint").current_dir(workspace()).output() else {
            return Err(CannotRun("no actionlint in PATH"));
        };
        let said = String::from_utf8_lossy(&linted.stdout).into_owned();
        assert!(linted.status.success(), "{said}");
        Ok(())
    });
    suite.case(
        "every action is pinned by its digest, with its version beside it",
        || async {
            let mut pinned = 0;
            for entry in std::fs::read_dir(workspace().join(".github/workflows")).unwrap() {
                let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
                for used in text
                    .lines()
                    .filter_map(|line| line.trim_start_matches([' ', '-']).strip_prefix("uses: "))
                {
                    let is_pinned = used
                        .split_once('@')
                        .and_then(|(_, rest)| rest.split_once(" # v"))
                        .is_some_and(|(digest, version)| {
                            digest.len() == 40
                                && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
                                && version.starts_with(|first: char| first.is_ascii_digit())
                        });
                    assert!(is_pinned, "{used}");
                    pinned += 1;
                }
            }
            assert!(pinned > 0);
        },
    );
}

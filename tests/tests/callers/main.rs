//! The programs in `tests/callers`, and our own command line, all against one table: what a caller meets is
//! the same in every language, and where it is not, the table says so. `docs/callers.md` shows it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "these are tests"
)]

mod document;
mod lives;
mod programs;
mod relay;
mod rows;
mod stage;
mod trace;

use std::process::ExitCode;
use std::sync::Arc;

use ask2do_token_tests::suite::Suite;

use programs::{PROGRAMS, Program};

fn main() -> ExitCode {
    let mut suite = Suite::new();
    for program in PROGRAMS {
        let name = program.name;
        suite.case_where_possible(format!("{name}: every row of the table"), move || async {
            rows::run(&Program::of(program).await?).await;
            Ok(())
        });
        if program.takes_several {
            suite.case_where_possible(format!("{name}: several calls of one process"), || async {
                lives::run(&Arc::new(Program::of(program).await?)).await
            });
            suite.case_where_possible(
                format!("{name}: one trace, from its span to Ask2Do"),
                || async {
                    trace::is_one(&Program::of(program).await?).await;
                    Ok(())
                },
            );
        }
    }
    suite.case(
        "the page of callers shows the tested programs and their table",
        || async {
            document::is_current();
        },
    );
    suite.case_where_possible("the lines for grpcurl and buf mint", document::lines_mint);
    suite.case_where_possible(
        "the stub that is committed for Go is the one its generator makes",
        programs::go_stub_is_current,
    );
    suite.run()
}

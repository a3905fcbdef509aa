//! The README's table is the code's.
#![allow(
    clippy::unwrap_used,
    reason = "a test may end where something is amiss"
)]

use ask2do_token_playground::cloud::SCENARIOS;

#[test]
fn the_readme_lists_the_scenarios_there_are() {
    let readme =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let listed: Vec<&str> = readme
        .lines()
        .skip_while(|line| !line.starts_with("| panel id |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    let there_are: Vec<String> = SCENARIOS
        .iter()
        .map(|scenario| format!("| `{}` | {} |", scenario.pattern, scenario.effect))
        .collect();
    assert_eq!(
        listed,
        there_are,
        "the table should read:\n{}",
        there_are.join("\n")
    );
}

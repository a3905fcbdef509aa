//! What `docs/gateway.md` says is what the program does.

use std::path::{Path, PathBuf};

use ask2do_token_gateway::GatewayMetrics;
use ask2do_token_gateway::config::Config;
use ask2do_token_runtime::config::{Arguments, Sources, reference};
use ask2do_token_runtime::metrics::Metrics;

const BEGIN: &str = "<!-- begin: gateway -->\n";
const END: &str = "<!-- end: gateway -->\n";

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/gateway.md")
}

#[test]
fn the_reference_in_docs_is_the_one_the_types_make() {
    let text = std::fs::read_to_string(page()).unwrap();
    let (head, rest) = text.split_once(BEGIN).unwrap();
    let (found, tail) = rest.split_once(END).unwrap();
    let made = format!("\n{}\n", reference::<Config>());
    if found == made {
        return;
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(page(), [head, BEGIN, &made, END, tail].concat()).unwrap();
        return;
    }
    panic!("docs/gateway.md is not what the types make: run this test with UPDATE_DOCS=1");
}

#[test]
fn the_configuration_of_each_mode_is_one_that_is_taken() {
    let text = std::fs::read_to_string(page()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for mode in ["forward", "jwt", "header"] {
        let marker = format!("<!-- example: {mode} -->\n```toml\n");
        let (_, rest) = text.split_once(&marker).unwrap();
        let (toml, _) = rest.split_once("```").unwrap();
        let file = folder.path().join(mode);
        std::fs::write(&file, toml).unwrap();
        let arguments = Arguments {
            config: Some(file),
            ..Arguments::default()
        };
        let config: Config = Sources::with_environment(&arguments, [])
            .read()
            .unwrap_or_else(|mistakes| panic!("{mode}: {mistakes}"));
        assert_eq!(config.session.mode.unwrap().as_str(), mode);
    }
}

#[test]
fn every_metric_of_the_gateway_is_in_the_docs() {
    let text = std::fs::read_to_string(page()).unwrap();
    let mut metrics = Metrics::new("docs", "0");
    GatewayMetrics::default().register(&mut metrics);
    let ours: Vec<_> = metrics
        .catalogue()
        .into_iter()
        .filter(|metric| metric.name.starts_with("ask2do_gateway_"))
        .collect();
    assert!(!ours.is_empty());
    for metric in ours {
        let labels = match metric.labels {
            [] => String::new(),
            labels => format!("{{{}}}", labels.join(",")),
        };
        let row = format!("| `{}{labels}` |", metric.name);
        assert!(text.contains(&row), "{row}");
    }
}

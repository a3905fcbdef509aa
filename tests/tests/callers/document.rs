//! `docs/callers.md`: its prose is written, its tables and programs are made here.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use ask2do_token_tests::binaries::workspace;
use ask2do_token_tests::suite::CannotRun;
use ask2do_token_tests::world::World;
use serde_json::Value;
use tokio::process::Command;

use crate::lives::LIVES;
use crate::programs::{PROGRAMS, has};
use crate::rows::{Expected, ROWS, Wait};
use crate::stage::certificates;

const PAGE: &str = "docs/callers.md";
/// How much of a program a reader has to copy, at most.
const MOST_LINES: usize = 30;

/// Each language: where its core stands.
const CORES: &[(&str, &str, &str)] = &[
    ("Rust", "rust", "tests/callers/rust/src/service.rs"),
    ("Go", "go", "tests/callers/go/service.go"),
    ("Python", "python", "tests/callers/python/service.py"),
    ("Node", "js", "tests/callers/node/service.js"),
    (
        "Java",
        "java",
        "tests/callers/java/src/main/java/com/example/panel/Service.java",
    ),
];

/// The page is what the tests and the programs make it.
pub(crate) fn is_current() {
    let path = workspace().join(PAGE);
    let found = fs::read_to_string(&path).unwrap();
    let mut made = found.clone();
    replace(&mut made, "table", &table());
    replace(&mut made, "words", &words());
    for (name, highlighting, file) in CORES {
        let core = core(file);
        assert!(core.lines().count() <= MOST_LINES, "{file} is too long");
        let block = format!("```{highlighting}\n{core}\n```\n");
        replace(&mut made, &format!("{name}, core"), &block);
        replace(
            &mut made,
            &format!("{name}, dependencies"),
            &dependencies(name),
        );
    }
    if found == made {
        return;
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, made).unwrap();
        return;
    }
    panic!("{PAGE} is not what the tests and the programs make: run this test with UPDATE_DOCS=1");
}

fn replace(page: &mut String, name: &str, made: &str) {
    let begin = format!("<!-- begin: {name} -->\n");
    let end = format!("<!-- end: {name} -->\n");
    let from = page.find(&begin).expect(&begin) + begin.len();
    let to = page.find(&end).expect(&end);
    page.replace_range(from..to, made);
}

fn text(path: &str) -> String {
    fs::read_to_string(workspace().join(path)).unwrap()
}

/// What stands between the markers, without their indentation.
fn core(file: &str) -> String {
    let text = text(file);
    let lines: Vec<_> = text
        .lines()
        .skip_while(|line| !line.ends_with("core: begin"))
        .skip(1)
        .take_while(|line| !line.ends_with("core: end"))
        .collect();
    let filled = lines.iter().filter(|line| !line.trim().is_empty());
    let indentation = filled
        .map(|line| line.len() - line.trim_start().len())
        .min();
    let lines = lines
        .iter()
        .map(|line| line.get(indentation.unwrap_or(0)..).unwrap_or(""));
    lines.collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

fn table() -> String {
    let programs: Vec<_> = PROGRAMS.iter().filter(|kind| kind.takes_several).collect();
    let names: Vec<_> = programs.iter().map(|kind| kind.name).collect();
    let mut made = format!(
        "| what happens | exit code, code, reason | {} |\n",
        names.join(" | ")
    );
    writeln!(made, "|---|---|{}", "---|".repeat(names.len())).unwrap();
    let mut line = |what: &str, outcome: &str, of: &dyn Fn(&str) -> Option<String>| {
        let cells: Vec<_> = names
            .iter()
            .map(|name| of(name).unwrap_or_else(|| "✓".to_owned()))
            .collect();
        writeln!(made, "| {what} | {outcome} | {} |", cells.join(" | ")).unwrap();
    };
    for row in ROWS {
        let mut outcome = described(row.expected);
        if row.is_counted {
            outcome += "; one call at the service and at Ask2Do";
        }
        line(row.what, &outcome, &|name| {
            let except = row.except.iter().find(|(program, _)| *program == name)?;
            Some(described(except.1))
        });
    }
    for life in LIVES {
        line(life.what, life.outcome, &|name| {
            let except = life.except.iter().find(|(program, _)| *program == name)?;
            Some(except.1.to_owned())
        });
    }
    line(
        "the trace of `TRACEPARENT`",
        "one, from the caller's span to Ask2Do",
        &|_| None,
    );
    made
}

fn described(expected: Expected) -> String {
    let code = expected.exit_code();
    match expected {
        Expected::Token => format!("{code} a token"),
        Expected::Unreachable => format!("{code} UNAVAILABLE SERVICE_UNAVAILABLE"),
        Expected::Usage => format!("{code} nothing on stdout"),
        Expected::Help => format!("{code} the options"),
        Expected::Status(status, reason, wait, fields) => {
            let mut text = format!("{code} {status} {reason}");
            match wait {
                Wait::No => {}
                Wait::Some => text += ", with the time to wait",
                Wait::Seconds(seconds) => write!(text, ", wait {seconds} s").unwrap(),
            }
            if !fields.is_empty() {
                write!(text, ", fields {}", fields.join(", ")).unwrap();
            }
            text
        }
    }
}

/// What each library says where there is no service to say anything.
fn words() -> String {
    let mut made = String::from("| what happens | program | in its message |\n|---|---|---|\n");
    for row in ROWS {
        for (program, words) in row.says {
            writeln!(made, "| {} | {program} | `{words}` |", row.what).unwrap();
        }
    }
    made
}

/// The lines for a manifest, from the tested one.
fn dependencies(name: &str) -> String {
    let (highlighting, lines): (&str, Vec<String>) = match name {
        "Rust" => ("toml", of_cargo()),
        "Go" => ("text", of_go()),
        "Python" => ("text", of_python()),
        "Node" => ("json", of_node()),
        "Java" => ("text", of_maven()),
        _ => unreachable!(),
    };
    format!("```{highlighting}\n{}\n```\n", lines.join("\n"))
}

fn of_cargo() -> Vec<String> {
    let workspace: toml::Table = text("Cargo.toml").parse().unwrap();
    let versions = &workspace["workspace"]["dependencies"];
    let caller: toml::Table = text("tests/callers/rust/Cargo.toml").parse().unwrap();
    let lines = caller["dependencies"].as_table().unwrap().iter();
    lines
        .filter(|(name, _)| name.starts_with("ask2do") || name.contains("telemetry"))
        .map(|(name, _)| {
            let versioned = &versions[name];
            let version = versioned.get("version").unwrap_or(versioned);
            format!("{name} = {version}")
        })
        .collect()
}

fn of_go() -> Vec<String> {
    let text = text("tests/callers/go/go.mod");
    let first = text.split("require (\n").nth(1).unwrap();
    let first = first.split(')').next().unwrap();
    first.lines().map(|line| line.trim().to_owned()).collect()
}

fn of_python() -> Vec<String> {
    let manifest: toml::Table = text("tests/callers/python/pyproject.toml").parse().unwrap();
    let project = &manifest["project"];
    let own = project["dependencies"].as_array().unwrap();
    own.iter()
        .map(|line| line.as_str().unwrap().to_owned())
        .collect()
}

fn of_node() -> Vec<String> {
    let manifest: Value = serde_json::from_str(&text("tests/callers/node/package.json")).unwrap();
    let own = serde_json::to_string_pretty(&manifest["dependencies"]).unwrap();
    own.lines().map(str::to_owned).collect()
}

/// `group:artifact:version`, for Maven and Gradle.
fn of_maven() -> Vec<String> {
    let text = text("tests/callers/java/pom.xml");
    let between = |text: &str, tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>"))?;
        Some(rest.split_once(&format!("</{tag}>"))?.0.to_owned())
    };
    let all = between(&text, "dependencies").unwrap();
    let each = all.split("<dependency>").skip(1);
    each.map(|dependency| {
        let of = |tag: &str| between(dependency, tag).unwrap();
        let mut version = of("version");
        if let Some(property) = version.strip_prefix("${") {
            version = between(&text, property.trim_end_matches('}')).unwrap();
        }
        format!("{}:{}:{version}", of("groupId"), of("artifactId"))
    })
    .collect()
}

/// The page's lines for grpcurl and `buf curl` mint.
pub(crate) async fn lines_mint() -> Result<(), CannotRun> {
    for (tool, missing) in [
        ("grpcurl", "there is no grpcurl"),
        ("buf", "there is no buf"),
    ] {
        if !has(tool).await {
            return Err(CannotRun(missing));
        }
    }
    let world = World::new().await;
    let server = world.server().start().await;
    let folder = certificates(&world);
    for end in ["crt", "key"] {
        let of = |name: &str| folder.path().join(format!("{name}.{end}"));
        fs::rename(of("caller"), of("tls")).unwrap();
    }
    std::os::unix::fs::symlink(workspace().join("proto"), folder.path().join("proto")).unwrap();
    let page = text(PAGE).replace("\\\n", " ");
    for tool in ["grpcurl ", "buf curl "] {
        let line = page
            .lines()
            .find(|line| line.starts_with(tool))
            .expect(tool);
        assert!(line.contains("localhost:8443"), "{line}");
        let line = line.replace("8443", &server.grpc.port().to_string());
        let minted = shell(&line, folder.path()).await;
        let minted: Value = serde_json::from_str(&minted).expect(&minted);
        assert_eq!(
            minted["token"].as_str().unwrap().split('.').count(),
            3,
            "{line}"
        );
    }
    Ok(())
}

async fn shell(line: &str, folder: &Path) -> String {
    let done = Command::new("sh")
        .args(["-c", line])
        .current_dir(folder)
        .env("BUF_CACHE_DIR", folder.join("cache"))
        .output()
        .await
        .unwrap();
    assert!(done.status.success(), "{line}: {done:?}");
    String::from_utf8(done.stdout).unwrap()
}

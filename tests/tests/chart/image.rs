//! The images, built from the static binaries that target/image holds.

use std::path::PathBuf;
use std::process::Command;

use ask2do_token_tests::binaries::{on_path, workspace};
use ask2do_token_tests::suite::{CannotRun, Suite};
use serde_json::{Value, json};

use crate::helm::chart;

/// Compressed, as a registry keeps it.
const LARGEST: usize = 15_000_000;

pub(crate) fn cases(suite: &mut Suite) {
    suite.case_where_possible(
        "the images are small, hold nothing but their binaries, and are the same twice",
        || async {
            build()?;
            let first = ["ask2do-token", "ask2do-token-playground"].map(digest);
            let own = Archive::read("ask2do-token");
            assert!(own.compressed() <= LARGEST, "{} bytes", own.compressed());
            assert_eq!(
                own.files(),
                [
                    "ask2do-token",
                    "ask2do-token-gateway",
                    "ask2do-token-server"
                ]
            );
            let playground = Archive::read("ask2do-token-playground");
            assert_eq!(
                playground.files(),
                ["ask2do-token", "ask2do-token-playground"]
            );
            for archive in [&own, &playground] {
                let config = &archive.config["config"];
                assert_eq!(config["User"], "65532:65532");
                let label = |name: &str| {
                    config["Labels"][format!("org.opencontainers.image.{name}")].clone()
                };
                assert_eq!(label("licenses"), json!("Apache-2.0"));
                assert_eq!(label("version"), json!(env!("CARGO_PKG_VERSION")));
                for name in [
                    "source",
                    "url",
                    "documentation",
                    "vendor",
                    "title",
                    "description",
                ] {
                    assert!(label(name).as_str().is_some_and(|text| !text.is_empty()));
                }
            }
            assert_eq!(
                own.config["config"]["Entrypoint"],
                json!(["/ask2do-token-server"])
            );
            build()?;
            let second = ["ask2do-token", "ask2do-token-playground"].map(digest);
            assert_eq!(first, second, "the same binaries made another image");
            Ok(())
        },
    );
    suite.case_where_possible(
        "the bill of materials names what is in the image, and nothing that only tests use",
        || async {
            for (image, within, beside) in [
                (
                    "ask2do-token",
                    "ask2do-token-gateway",
                    "ask2do-token-playground",
                ),
                (
                    "ask2do-token-playground",
                    "ask2do-token-playground",
                    "ask2do-token-tests",
                ),
            ] {
                let packages = bill_of_materials(image)?;
                for name in [
                    within,
                    "ask2do-token-client",
                    "ask2do-token-server",
                    "rustls",
                ] {
                    assert!(
                        packages.iter().any(|package| package == name),
                        "{image}: {name}"
                    );
                }
                for name in [beside, "ask2do-token-tests", "libtest-mimic"] {
                    assert!(
                        !packages.iter().any(|package| package == name),
                        "{image}: {name}"
                    );
                }
            }
            Ok(())
        },
    );
    suite.case("image and chart are of this version", || async {
        let version = env!("CARGO_PKG_VERSION");
        let dockerfile = std::fs::read_to_string(workspace().join("Dockerfile")).unwrap();
        let is_default = |line: &str| line == format!("ARG VERSION={version}");
        assert!(dockerfile.lines().any(is_default));
        let chart = std::fs::read_to_string(chart().join("Chart.yaml")).unwrap();
        let chart: Value = serde_yaml_ng::from_str(&chart).unwrap();
        assert_eq!(chart["appVersion"], version);
        let images = chart["annotations"]["artifacthub.io/images"]
            .as_str()
            .unwrap();
        let images: Value = serde_yaml_ng::from_str(images).unwrap();
        for (image, suffix) in [(&images[0], ""), (&images[1], "-playground")] {
            let name = format!("ghcr.io/ask2do/ask2do-token{suffix}:{version}");
            assert_eq!(image["image"], name);
        }
    });
}

/// The names of the packages that it lists.
fn bill_of_materials(image: &str) -> Result<Vec<String>, CannotRun> {
    let file = folder().join(format!("{image}.spdx.json"));
    let Ok(content) = std::fs::read(file) else {
        return Err(CannotRun(
            "no bill of materials: run image/build, with cargo-sbom and jq",
        ));
    };
    let document: Value = serde_json::from_slice(&content).unwrap();
    assert_eq!(document["spdxVersion"], "SPDX-2.3");
    assert_eq!(document["name"], image);
    let packages = document["packages"].as_array().unwrap();
    let name = |package: &Value| package["name"].as_str().unwrap().to_owned();
    Ok(packages.iter().map(name).collect())
}

fn build() -> Result<(), CannotRun> {
    if !folder().join("ask2do-token-server").is_file() {
        return Err(CannotRun("no static binaries: run image/build"));
    }
    if on_path("buildah").is_none() && on_path("docker").is_none() {
        return Err(CannotRun("neither docker nor buildah in PATH"));
    }
    let script = workspace().join("image/build");
    let output = Command::new(script).arg("--staged").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    Ok(())
}

fn folder() -> PathBuf {
    workspace().join("target/image")
}

fn digest(image: &str) -> String {
    std::fs::read_to_string(folder().join(format!("{image}.digest"))).unwrap()
}

/// What `docker load` takes.
struct Archive {
    path: PathBuf,
    layers: Vec<String>,
    config: Value,
}

impl Archive {
    fn read(image: &str) -> Self {
        let path = folder().join(format!("{image}.tar"));
        let member = |name: &str| -> Value {
            let output = tar(&path, &["-xOf"], &[name]);
            serde_json::from_slice(&output).unwrap()
        };
        let manifest = member("manifest.json");
        let layers = manifest[0]["Layers"].as_array().unwrap();
        Self {
            layers: layers
                .iter()
                .map(|layer| layer.as_str().unwrap().to_owned())
                .collect(),
            config: member(manifest[0]["Config"].as_str().unwrap()),
            path,
        }
    }

    /// The bytes of all layers under gzip.
    fn compressed(&self) -> usize {
        self.layers
            .iter()
            .map(|layer| piped(self, layer, "gzip -c").len())
            .sum()
    }

    /// The files of all layers, sorted.
    fn files(&self) -> Vec<String> {
        let mut files: Vec<_> = self
            .layers
            .iter()
            .flat_map(|layer| {
                let list = String::from_utf8(piped(self, layer, "tar -t")).unwrap();
                list.lines()
                    .filter(|name| !name.ends_with('/'))
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .collect();
        files.sort();
        files
    }
}

/// What a filter makes of a layer.
fn piped(archive: &Archive, layer: &str, filter: &str) -> Vec<u8> {
    let script = format!("set -o pipefail; tar -xOf \"$0\" \"$1\" | {filter}");
    let output = Command::new("bash")
        .args(["-c", &script])
        .args([archive.path.as_os_str(), layer.as_ref()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

fn tar(archive: &std::path::Path, options: &[&str], members: &[&str]) -> Vec<u8> {
    let output = Command::new("tar")
        .args(options)
        .arg(archive)
        .args(members)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

//! Where the real binaries are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The path of a binary of this workspace, such as `ask2do-token-server`.
///
/// They are built on first use, in the profile and the target folder of the tests, so that no test runs a
/// stale one. `ASK2DO_BINARIES` names a folder with prebuilt ones instead.
///
/// # Panics
///
/// When they cannot be built, or there is no such binary.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let path = FOLDER
        .get_or_init(|| match std::env::var_os("ASK2DO_BINARIES") {
            Some(folder) => folder.into(),
            None => build(),
        })
        .join(name);
    assert!(path.is_file(), "there is no binary {}", path.display());
    path
}

fn build() -> PathBuf {
    // target/debug/deps/<this test>: its profile's folder is where cargo puts binaries.
    let test = std::env::current_exe().expect("a running program has a path");
    let folder = test
        .ancestors()
        .find(|folder| folder.join("deps").is_dir())
        .expect("tests run from a target folder");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(workspace())
        .args(["build", "--quiet", "--locked", "--workspace", "--bins"])
        // Of a test's environment, only what would change what is built is in the way.
        .env_remove("CARGO_MANIFEST_DIR");
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    cargo.env(
        "CARGO_TARGET_DIR",
        folder.parent().expect("a profile is in a target folder"),
    );
    let status = cargo.status().expect("cargo can be run");
    assert!(status.success(), "the binaries could not be built");
    folder.to_owned()
}

/// A program of somebody else's, where `PATH` has it.
#[must_use]
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// The root of the checkout.
///
/// # Panics
///
/// Never, in a checkout.
#[must_use]
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate is in a workspace")
}

//! The part of the command line that our services share.

use std::fmt;
use std::path::PathBuf;

/// `--config`, `--set` and `--check`: flattened into a binary's own command line
/// (`#[command(flatten)]`); `--version` is clap's (`#[command(version)]`).
#[derive(Clone, Default, clap::Args)]
#[group(id = "configuration")]
pub struct Arguments {
    /// The configuration, a TOML file; relative paths in it are relative to its folder
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Sets one key over the file and the environment: admin.listen=127.0.0.1:9090 (repeatable; TOML, or else text)
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Reads the configuration and every file it names, prints each mistake, and exits
    #[arg(long)]
    pub check: bool,
}

/// The values of `--set` may be credentials.
impl fmt::Debug for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&str> = self
            .set
            .iter()
            .map(|set| set.split_once('=').map_or("", |(key, _)| key))
            .collect();
        f.debug_struct("Arguments")
            .field("config", &self.config)
            .field("set", &keys)
            .field("check", &self.check)
            .finish()
    }
}

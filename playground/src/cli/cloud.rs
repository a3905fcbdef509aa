//! `ask2do-token-playground cloud`: the simulated cloud alone.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ask2do_token_runtime::shutdown::Signals;

use super::Failure;
use crate::certificates::https_server;
use crate::cloud::{Cloud, CloudConfig, TenantKeys, table};
use crate::folder::Folder;

/// What the simulated cloud is made of.
#[derive(clap::Args)]
pub(super) struct Options {
    /// Where it listens; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,

    /// Plain HTTP instead of HTTPS
    #[arg(long, conflicts_with_all = ["certificate_file", "private_key_file"])]
    plain: bool,

    /// The tenant keys it accepts, one a line, read anew at each request; made where not given
    #[arg(long, value_name = "FILE")]
    tenant_key_file: Option<PathBuf>,

    /// The certificate chain, PEM; made where not given
    #[arg(long, value_name = "FILE", requires = "private_key_file")]
    certificate_file: Option<PathBuf>,

    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "certificate_file")]
    private_key_file: Option<PathBuf>,

    /// Keeps what is made here, instead of in a temporary folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// What `--help` says of the panel ids that fail.
pub(super) fn scenarios() -> String {
    format!(
        "Panel ids that make a call fail; every other id mints:\n\n{}\n  \
         With the suffix `-once`, only the first call for that very id fails. What follows a dot\n  \
         makes the id another one, and nothing else: reset-once.17\n\n\
         GET /_sim/calls counts calls, /_sim/last shows the headers of the last, /_sim/jwk the key\n\
         that tokens verify with.",
        table()
    )
}

pub(super) async fn run(options: Options) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let mut made = Made::new(options.dir.as_deref());
    let tenant_key_file = match &options.tenant_key_file {
        Some(file) => {
            readable(file)?;
            file.clone()
        }
        None => made.tenant_key()?,
    };
    let tls = match (
        options.plain,
        &options.certificate_file,
        &options.private_key_file,
    ) {
        (true, ..) => None,
        (false, Some(certificate), Some(key)) => Some(identity(certificate, key)?),
        (false, ..) => Some(made.identity()?),
    };
    let scheme = if tls.is_some() { "https" } else { "http" };
    let config = CloudConfig {
        listen: options.listen,
        tls,
        tenant_keys: TenantKeys::File(tenant_key_file.clone()),
        ..CloudConfig::plain("")
    };
    let cloud = Cloud::start(config)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", options.listen))?;

    let mut told = format!("simulated cloud on {scheme}://{}\n", cloud.address());
    writeln!(told, "tenant key: {}", tenant_key_file.display())?;
    if let Some(ca) = made.ca() {
        writeln!(told, "CA:         {}", ca.display())?;
    }
    io::stdout().write_all(told.as_bytes())?;
    signals.next().await;
    Ok(())
}

/// The folder for what is made, opened only when something must be.
struct Made<'a> {
    dir: Option<&'a Path>,
    folder: Option<Folder>,
    certificates: bool,
}

impl<'a> Made<'a> {
    fn new(dir: Option<&'a Path>) -> Self {
        Self {
            dir,
            folder: None,
            certificates: false,
        }
    }

    fn tenant_key(&mut self) -> Result<PathBuf, Failure> {
        let folder = self.folder()?;
        folder.ensure_tenant_key()?;
        Ok(folder.file("tenant-key"))
    }

    fn identity(&mut self) -> Result<Arc<rustls::ServerConfig>, Failure> {
        self.certificates = true;
        let folder = self.folder()?;
        folder.ensure_certificates()?;
        identity(&folder.file("server.crt"), &folder.file("server.key"))
    }

    fn ca(&self) -> Option<PathBuf> {
        let folder = self.folder.as_ref().filter(|_| self.certificates)?;
        Some(folder.file("ca.crt"))
    }

    fn folder(&mut self) -> Result<&mut Folder, Failure> {
        let folder = match self.folder.take() {
            Some(folder) => folder,
            None => match self.dir {
                Some(dir) => Folder::at(dir)?,
                None => Folder::temporary()?,
            },
        };
        Ok(self.folder.insert(folder))
    }
}

fn identity(certificate: &Path, key: &Path) -> Result<Arc<rustls::ServerConfig>, Failure> {
    Ok(https_server(&read(certificate)?, &read(key)?)?)
}

fn readable(file: &Path) -> Result<(), Failure> {
    read(file).map(|_| ())
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()).into())
}

//! Everything that the server reads before it binds a port: all of it, or every mistake in it.

use std::ffi::OsString;
use std::fmt::{self, Display};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use ask2do_token_runtime::config::{self, FilePath, Mistake, Mistakes, Origin, Sources};
use ask2do_token_runtime::metrics::{Described, Metrics};
use ask2do_token_tls::{Authorities, BoxError, Identity, LoadError, Reloader, Watched};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};

use crate::admission::Callers;
use crate::audit;
use crate::cloud::key::{self, TenantKey};
use crate::cloud::{Cloud, CloudMetrics, EgressProxy, Endpoint, Settings};
use crate::config::{CallersFile, Config};

/// What the server runs on, beside the cloud.
#[derive(Debug)]
pub struct Inputs {
    /// The settings.
    pub config: Config,
    /// The server's certificate and key.
    pub identity: Watched<Identity>,
    /// The CAs of the callers.
    pub authorities: Watched<Authorities>,
    /// Who may mint.
    pub callers: Watched<Callers>,
    /// Whatever is read again while running.
    pub reloaders: Vec<Reloader>,
    /// Seals the audit log.
    pub audit_key: Option<audit::Key>,
    /// What in the configuration file has changed and needs a restart.
    pub restart: RestartNeeded,
}

/// The cloud, with what it counts and the key that it holds.
#[derive(Debug)]
pub struct CloudInputs {
    /// Mints.
    pub cloud: Cloud,
    /// What it counts, not registered yet.
    pub metrics: Arc<CloudMetrics>,
    /// The tenant key.
    pub key: Watched<TenantKey>,
}

impl CloudInputs {
    /// Makes `/metrics` show what the cloud counts, and how old the key is.
    pub fn register(&self, metrics: &mut Metrics) {
        self.metrics.register(metrics);
        let described = Described {
            name: KeyModified::NAME,
            kind: "gauge",
            labels: &[],
            help: KeyModified::HELP,
        };
        metrics.register_collector([described], KeyModified(self.key.clone()));
    }
}

/// When the key's file was written, read at each scrape.
#[derive(Debug)]
struct KeyModified(Watched<TenantKey>);

impl KeyModified {
    const NAME: &str = "ask2do_tenant_key_modified_timestamp_seconds";
    const HELP: &str = "When the tenant key's file was written, in seconds since 1970; none where the key \
                        comes from a variable";
}

impl Collector for KeyModified {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let modified = self.0.current().modified();
        let Some(since) = modified.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok())
        else {
            return Ok(());
        };
        let metric = ConstGauge::new(since.as_secs_f64());
        let encoder = encoder.encode_descriptor(Self::NAME, Self::HELP, None, MetricType::Gauge)?;
        metric.encode(encoder)
    }
}

/// Counts the settings that a restart would change.
#[derive(Clone, Debug, Default)]
pub struct RestartNeeded(Gauge);

impl RestartNeeded {
    /// Makes `/metrics` show it.
    pub fn register(&self, metrics: &mut Metrics) {
        metrics.register(
            "ask2do_settings_needing_restart",
            &[],
            "Settings whose value in the configuration file is not the one that runs",
            self.0.clone(),
        );
    }

    fn tell(&self, keys: &[String]) {
        self.0.set(keys.len().try_into().unwrap_or(i64::MAX));
        if !keys.is_empty() {
            tracing::warn!(
                ?keys,
                "these settings have changed and take effect with a restart"
            );
        }
    }
}

/// Reads the settings, and then every file that they name.
///
/// # Errors
///
/// Every mistake, in the settings and in the files that they name; those of the settings alone
/// where the configuration file itself could not be read.
pub fn read(arguments: &config::Arguments) -> Result<(Inputs, CloudInputs), Mistakes> {
    let sources = Sources::new(arguments);
    let (config, mistakes) = sources.read_on::<Config>()?;
    let mut reading = Reading {
        settings_hold: mistakes.is_empty(),
        origin: match &arguments.config {
            Some(path) => Origin::File {
                path: Arc::from(path.as_path()),
                line: None,
                column: None,
            },
            None => Origin::Nowhere,
        },
        mistakes,
        reloaders: Vec::new(),
    };
    let restart = RestartNeeded::default();
    let identity = reading.identity(&config);
    let authorities = reading.authorities(&config);
    let callers = reading.callers(&sources, &config, &restart);
    let cloud = reading.cloud(&config);
    let audit_key = reading.audit_key(&config);
    match (identity, authorities, callers, cloud, audit_key) {
        (Some(identity), Some(authorities), Some(callers), Some(cloud), Some(audit_key)) => {
            let inputs = Inputs {
                config,
                identity,
                authorities,
                callers,
                reloaders: reading.reloaders,
                audit_key,
                restart,
            };
            reading.mistakes.into_result((inputs, cloud))
        }
        _ => Err(reading.mistakes.in_order()),
    }
}

/// The files as they are read: nothing where there was a mistake.
struct Reading {
    settings_hold: bool,
    origin: Origin,
    mistakes: Mistakes,
    reloaders: Vec<Reloader>,
}

impl Reading {
    fn identity(&mut self, config: &Config) -> Option<Watched<Identity>> {
        let (certificate, key) = (&config.grpc.certificate_file, &config.grpc.private_key_file);
        let loaded = Identity::watch(certificate.to_path_buf(), key.to_path_buf());
        let is_keys = |error: &LoadError| error.paths().eq([&**key]);
        let at = match &loaded {
            Err(error) if is_keys(error) => "grpc.private_key_file",
            _ => "grpc.certificate_file",
        };
        self.watched(
            at,
            "allowed: a certificate and the private key that belongs to it, in PEM",
            loaded,
        )
    }

    fn authorities(&mut self, config: &Config) -> Option<Watched<Authorities>> {
        let path = config.grpc.client_ca_file.to_path_buf();
        let loaded = Authorities::watch("client_ca", path);
        let allowed =
            "required: at least one CA certificate in PEM: without it nobody could connect";
        self.watched("grpc.client_ca_file", allowed, loaded)
    }

    /// The list, from where it stands. The configuration file is followed in any case: for other
    /// settings that change.
    fn callers(
        &mut self,
        sources: &Sources,
        config: &Config,
        restart: &RestartNeeded,
    ) -> Option<Watched<Callers>> {
        let restart = restart.clone();
        let tell = move |keys: &[String]| restart.tell(keys);
        let part = |config: &Config| Ok(config.callers()?);
        // A file with mistakes, which are told already, cannot be followed.
        let followed = if self.settings_hold {
            sources.watch("configuration", config.clone(), &["callers"], part, tell)
        } else {
            Ok(None)
        };
        let here = match followed {
            Ok(Some(followed)) => self.watched("callers", "", Ok(followed)),
            Ok(None) => self.fine("callers", "", config.callers().map(Watched::fixed)),
            Err(error) => self.fine("callers", "", Err(error)),
        };
        match &config.callers_file {
            Some(file) => self.callers_file(file),
            None => here,
        }
    }

    fn callers_file(&mut self, file: &FilePath) -> Option<Watched<Callers>> {
        let arguments = config::Arguments {
            config: Some(file.to_path_buf()),
            ..config::Arguments::default()
        };
        let sources = Sources::with_environment(&arguments, None::<(OsString, OsString)>);
        let content: CallersFile = match sources.read() {
            Ok(content) => content,
            Err(mistakes) => {
                for mistake in mistakes.iter() {
                    self.mistakes.push(mistake.clone());
                }
                return None;
            }
        };
        let part = |content: &CallersFile| Ok::<_, BoxError>(content.callers()?);
        match sources.watch("callers", content, &["callers"], part, |_| {}) {
            Ok(followed) => self.watched("callers_file", "", Ok(followed?)),
            Err(error) => self.fine("callers_file", "", Err(error)),
        }
    }

    fn cloud(&mut self, config: &Config) -> Option<CloudInputs> {
        let settings = &config.cloud;
        let key = self.tenant_key(settings.tenant_key_file.as_deref());
        let endpoint = Endpoint::new(&settings.url);
        let endpoint = self.fine("cloud.url", "", endpoint);
        let proxy = settings
            .proxy
            .as_ref()
            .map(|url| EgressProxy::new(url.expose()));
        let proxy = self.fine("cloud.proxy", "", proxy.transpose());
        let extra_roots = settings.ca_file.as_deref().map(read_pem).transpose();
        let extra_roots = self.fine(CA_FILE, CA_ALLOWED, extra_roots);
        let (key, metrics) = (key?, Arc::new(CloudMetrics::default()));
        let cloud = Cloud::new(
            Settings {
                endpoint: endpoint?,
                proxy: proxy?,
                extra_roots: extra_roots?,
                timeout: settings.timeout,
                send_traceparent: settings.send_traceparent,
            },
            key.clone(),
            metrics.clone(),
        );
        let cloud = self.fine(CA_FILE, CA_ALLOWED, cloud)?;
        Some(CloudInputs {
            cloud,
            metrics,
            key,
        })
    }

    /// From the variable where it is set and holds something, else from the file. The settings'
    /// checks have refused both at once, and neither.
    fn tenant_key(&mut self, file: Option<&Path>) -> Option<Watched<TenantKey>> {
        if std::env::var_os(key::VARIABLE).is_some_and(|value| !value.is_empty()) {
            tracing::warn!(
                "the tenant key comes from the variable {}: a file can be rotated and shows in fewer places",
                key::VARIABLE
            );
            let key = TenantKey::from_environment().transpose();
            return self
                .fine(key::VARIABLE, KEY_ALLOWED, key)?
                .map(Watched::fixed);
        }
        let loaded = TenantKey::watch(file.map(PathBuf::from)?);
        self.watched("cloud.tenant_key_file", KEY_ALLOWED, loaded)
    }

    /// Read once: another key is another chain.
    fn audit_key(&mut self, config: &Config) -> Option<Option<audit::Key>> {
        let Some(path) = &config.audit.key_file else {
            return Some(None);
        };
        let parse = |contents: &[ask2do_token_tls::Contents]| {
            let bytes = contents.first().map(|content| content.as_bytes());
            Ok(audit::Key::from_bytes(bytes.unwrap_or_default())?)
        };
        let loaded = Watched::load("audit_key", vec![path.to_path_buf()], parse);
        let (key, reloader) = self.fine(
            "audit.key_file",
            "allowed: at least 32 random bytes, such as openssl rand -hex 32 writes",
            loaded,
        )?;
        drop(reloader);
        Some(Some(audit::Key::clone(&key.current())))
    }

    /// Keeps the reloader.
    fn watched<T>(
        &mut self,
        key: &str,
        allowed: &str,
        loaded: Result<(Watched<T>, Reloader), LoadError>,
    ) -> Option<Watched<T>> {
        let (value, reloader) = self.fine(key, allowed, loaded)?;
        self.reloaders.push(reloader);
        Some(value)
    }

    /// The value; an error becomes a mistake at `key`, unless there is one already: what follows
    /// from a setting's stand-in is no news.
    fn fine<T, E: Display>(&mut self, key: &str, allowed: &str, value: Result<T, E>) -> Option<T> {
        value
            .map_err(|error| {
                if self.mistakes.concern(key) {
                    return;
                }
                let found = format_args!("found {error}");
                let mistake = Mistake::new(self.origin.clone(), key, found, allowed);
                self.mistakes.push(mistake);
            })
            .ok()
    }
}

const CA_FILE: &str = "cloud.ca_file";
const CA_ALLOWED: &str = "allowed: CA certificates in PEM";
const KEY_ALLOWED: &str = "allowed: the tenant key as one line of text";

/// Read once: a change needs a restart, as those of the other settings of the cloud do.
fn read_pem(path: &Path) -> Result<Vec<u8>, LoadError> {
    let keep = |contents: &[ask2do_token_tls::Contents]| {
        let bytes = contents.first().map(|content| content.as_bytes().to_vec());
        Ok(bytes.unwrap_or_default())
    };
    let (bytes, _) = Watched::load("cloud_ca", vec![path.to_path_buf()], keep)?;
    Ok(Vec::clone(&bytes.current()))
}

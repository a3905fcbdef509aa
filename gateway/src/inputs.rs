//! Everything that the gateway reads before it binds a port: all of it, or every mistake in it.

use std::fmt::Display;
use std::sync::Arc;
use std::time::SystemTime;

use ask2do_token_client::TokenClient;
use ask2do_token_runtime::config::{self, FilePath, Mistake, Mistakes, Origin, Sources};
use ask2do_token_runtime::metrics::{CertificateExpiry, Metrics, Reloads};
use ask2do_token_tls::{
    Authorities, ClientAuth, Identity, LoadError, Observer, Reloader, ServerTls, Versions, Watched,
};
use prometheus_client::metrics::gauge::Gauge;

use crate::config::{Config, HttpTls, ServerName, Service, Session, SessionMode};
use crate::metrics::GatewayMetrics;
use crate::session::{Configured, Jwks};

mod sessions;

/// What the gateway runs on, beside the token service.
#[derive(Debug)]
pub struct Inputs {
    /// The settings.
    pub config: Config,
    /// TLS on the endpoint's port.
    pub tls: Option<ServerTls>,
    /// The session check.
    pub sessions: Configured,
    /// The keys of mode `jwt`.
    pub jwks: Option<Jwks>,
    /// What the endpoint counts.
    pub metrics: GatewayMetrics,
    /// Whatever is read again while running, but for what the token client reads itself.
    pub reloaders: Vec<Reloader>,
    /// Log and metric of reloads.
    pub observer: Arc<Observed>,
}

/// Reads the settings, and then every file that they name. `metrics` gets the gateway's own.
///
/// # Errors
///
/// Every mistake, in the settings and in the files that they name; those of the settings alone
/// where the configuration file itself could not be read.
pub fn read(
    arguments: &config::Arguments,
    metrics: &mut Metrics,
) -> Result<(Inputs, TokenClient), Mistakes> {
    let sources = Sources::new(arguments);
    let (config, mistakes) = sources.read_on::<Config>()?;
    let own = GatewayMetrics::default();
    own.register(metrics);
    let mut reading = Reading {
        origin: origin(arguments),
        mistakes,
        reloaders: Vec::new(),
        reloads: Reloads::register(metrics),
        expiry: CertificateExpiry::register(metrics),
        metrics: own,
    };
    // A file with mistakes, which are told already, cannot be followed.
    if reading.mistakes.is_empty() {
        reading.follow(&sources, &config, metrics);
    }
    let client = reading.client(&config.service);
    let tls = config
        .http
        .tls
        .as_ref()
        .and_then(|tls| reading.tls(tls, &config.session));
    let sessions = reading.sessions(&config.session);
    // A mistake in TLS leaves nothing else undone.
    match (client, sessions, reading.mistakes.is_empty()) {
        (Some(client), Some((sessions, jwks)), true) => {
            let inputs = Inputs {
                config,
                tls,
                sessions,
                jwks,
                metrics: reading.metrics,
                reloaders: reading.reloaders,
                observer: Arc::new(Observed(reading.reloads)),
            };
            Ok((inputs, client))
        }
        _ => Err(reading.mistakes.in_order()),
    }
}

/// Log and metric of what the reloaders find.
#[derive(Debug)]
pub struct Observed(Reloads);

impl Observer for Observed {
    fn reloaded(&self, name: &'static str, modified: Option<SystemTime>) {
        self.0.reloaded(name, modified);
    }

    fn failed(&self, name: &'static str, error: &LoadError) {
        self.0.failed(name, error);
    }
}

fn origin(arguments: &config::Arguments) -> Origin {
    match &arguments.config {
        Some(path) => Origin::File {
            path: Arc::from(path.as_path()),
            line: None,
            column: None,
        },
        None => Origin::Nowhere,
    }
}

/// The files as they are read: nothing where there was a mistake.
struct Reading {
    origin: Origin,
    mistakes: Mistakes,
    reloaders: Vec<Reloader>,
    reloads: Reloads,
    expiry: CertificateExpiry,
    metrics: GatewayMetrics,
}

impl Reading {
    /// No setting takes effect while running; log and metric tell which would with a restart.
    fn follow(&mut self, sources: &Sources, config: &Config, metrics: &mut Metrics) {
        let changed = Gauge::<i64>::default();
        metrics.register(
            "ask2do_settings_needing_restart",
            &[],
            "Settings whose value in the configuration file is not the one that runs",
            changed.clone(),
        );
        let tell = move |keys: &[String]| {
            changed.set(keys.len().try_into().unwrap_or(i64::MAX));
            if !keys.is_empty() {
                tracing::warn!(
                    ?keys,
                    "these settings have changed and take effect with a restart"
                );
            }
        };
        let followed = sources.watch("configuration", config.clone(), &[], |_| Ok(()), tell);
        if let Some(Some((_, reloader))) = self.fine("", "", followed) {
            self.keep(reloader);
        }
    }

    /// The client of the token service. It reads its files itself, and again while it lives; they are read here
    /// too, so that each one's mistake is told.
    fn client(&mut self, service: &Service) -> Option<TokenClient> {
        let identity = self.identity(
            "certificate",
            ["service.certificate_file", "service.private_key_file"],
            [&service.certificate_file, &service.private_key_file],
        );
        let authorities = Authorities::watch("ca", service.ca_file.to_path_buf());
        let authorities = self.fine("service.ca_file", CA_ALLOWED, authorities);
        let ((_, identity), (_, authorities)) = (identity?, authorities?);
        let mut client = TokenClient::builder(service.endpoint.as_str())
            .ca_file(&*service.ca_file)
            .identity_files(&*service.certificate_file, &*service.private_key_file)
            .reload_observer(Arc::new(Observed(self.reloads.clone())));
        if let Some(ServerName(name)) = &service.server_name {
            client = client.server_name(name);
        }
        let client = self.fine("service.endpoint", "", client.build())?;
        for read in [identity, authorities] {
            self.reloads.loaded(read.name(), read.modified());
        }
        let shown = client.clone();
        let not_after = move || {
            shown
                .certificate_not_after()
                .unwrap_or(SystemTime::UNIX_EPOCH)
        };
        self.expiry.show("client", not_after);
        Some(client)
    }

    /// TLS on the endpoint's port; it asks for the proxy's certificate where that is how the proxy is known.
    fn tls(&mut self, tls: &HttpTls, session: &Session) -> Option<ServerTls> {
        let loaded = self.identity(
            "http_certificate",
            ["http.tls.certificate_file", "http.tls.private_key_file"],
            [&tls.certificate_file, &tls.private_key_file],
        );
        let proxies = session
            .header
            .as_ref()
            .filter(|_| session.mode == Some(SessionMode::Header))
            .and_then(|header| header.client_ca_file.as_ref());
        let client_auth = match proxies {
            None => ClientAuth::None,
            Some(file) => {
                let loaded = Authorities::watch("client_ca", file.to_path_buf());
                let key = "session.header.client_ca_file";
                ClientAuth::Required(self.watched(key, CA_ALLOWED, loaded)?)
            }
        };
        let (identity, reloader) = loaded?;
        self.keep(reloader);
        let shown = identity.clone();
        self.expiry
            .show("server", move || shown.current().not_after());
        let alpn: [&[u8]; 2] = [b"h2", b"http/1.1"];
        let tls = ServerTls::new(identity, client_auth, Versions::Tls12AndTls13, &alpn);
        self.fine("http.tls", "", tls)
    }

    /// A certificate and its key, which change as a pair.
    fn identity(
        &mut self,
        name: &'static str,
        keys: [&str; 2],
        [certificate, key]: [&FilePath; 2],
    ) -> Option<(Watched<Identity>, Reloader)> {
        let paths = vec![certificate.to_path_buf(), key.to_path_buf()];
        let loaded = Watched::load(name, paths, |contents| match contents {
            [certificate, key] => Ok(Identity::from_pem(certificate.as_bytes(), key.as_bytes())?),
            _ => Err("two files are read".into()),
        });
        let is_key = |error: &LoadError| error.paths().eq([&**key]);
        let at = match &loaded {
            Err(error) if is_key(error) => keys[1],
            _ => keys[0],
        };
        self.fine(
            at,
            "allowed: a certificate and the private key that belongs to it, in PEM",
            loaded,
        )
    }

    /// The value, whose reloader is kept.
    fn watched<T>(
        &mut self,
        key: &str,
        allowed: &str,
        loaded: Result<(Watched<T>, Reloader), LoadError>,
    ) -> Option<Watched<T>> {
        let (value, reloader) = self.fine(key, allowed, loaded)?;
        self.keep(reloader);
        Some(value)
    }

    fn keep(&mut self, reloader: Reloader) {
        self.reloads.loaded(reloader.name(), reloader.modified());
        self.reloaders.push(reloader);
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

const CA_ALLOWED: &str = "allowed: CA certificates in PEM";

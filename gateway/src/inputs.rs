//! Everything that the gateway reads before it binds a port: all of it, or every mistake in it.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;

use ask2do_token_runtime::config::{self, FilePath, Mistake, Mistakes, Origin, Sources};
use ask2do_token_runtime::metrics::Metrics;
use ask2do_token_tls::{
    Authorities, ClientAuth, Identity, LoadError, Reloader, ServerTls, Versions, Watched,
};
use prometheus_client::metrics::gauge::Gauge;

use crate::config::{
    Config, ForwardSettings, HeaderSettings, HttpTls, JwtSettings, SessionMode, SettingHeader,
};
use crate::metrics::GatewayMetrics;
use crate::session::{
    Configured, Forward, Header, HttpClient, HttpClientError, Jwks, Jwt, ProxySans, TokenPlace,
    TrustedCidrs, TrustedProxies,
};

/// What the gateway runs on.
#[derive(Debug)]
pub struct Inputs {
    /// The settings.
    pub config: Config,
    /// The gateway's certificate and key towards the token service.
    pub identity: Watched<Identity>,
    /// The CA of the token service.
    pub authorities: Watched<Authorities>,
    /// The certificate and key of the endpoint's port, where it speaks TLS.
    pub http_identity: Option<Watched<Identity>>,
    /// TLS on the endpoint's port.
    pub tls: Option<ServerTls>,
    /// The session check.
    pub sessions: Configured,
    /// The keys of mode `jwt`.
    pub jwks: Option<Jwks>,
    /// What the gateway counts; not registered yet.
    pub metrics: GatewayMetrics,
    /// Whatever is read again while running.
    pub reloaders: Vec<Reloader>,
    /// What in the configuration file has changed and needs a restart.
    pub restart: RestartNeeded,
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
/// Every mistake: those of the settings, else those of all files.
pub fn read(arguments: &config::Arguments) -> Result<Inputs, Mistakes> {
    let sources = Sources::new(arguments);
    let config: Config = sources.read()?;
    let mut reading = Reading {
        origin: origin(arguments),
        mistakes: Mistakes::new(),
        reloaders: Vec::new(),
        metrics: GatewayMetrics::default(),
    };
    let restart = RestartNeeded::default();
    reading.follow(&sources, &config, &restart);
    let service = &config.service;
    let identity = reading.identity(
        "certificate",
        ["service.certificate_file", "service.private_key_file"],
        [&service.certificate_file, &service.private_key_file],
    );
    let authorities = reading.authorities("ca", "service.ca_file", &service.ca_file);
    let http_identity = config
        .http
        .tls
        .as_ref()
        .map(|tls| reading.http_identity(tls));
    let proxy_ca = reading.proxy_ca(&config);
    let sessions = reading.sessions(&config);
    let (Some(identity), Some(authorities), Some((sessions, jwks))) =
        (identity, authorities, sessions)
    else {
        return Err(reading.mistakes);
    };
    let http_identity = http_identity.flatten();
    let tls = http_identity.clone().map(|identity| {
        let client_auth = proxy_ca.map_or(ClientAuth::None, ClientAuth::Required);
        ServerTls::new(
            identity,
            client_auth,
            Versions::Tls12AndTls13,
            &[b"h2", b"http/1.1"],
        )
    });
    let tls = reading.fine("http.tls", "", tls.transpose()).flatten();
    if !reading.mistakes.is_empty() {
        return Err(reading.mistakes);
    }
    Ok(Inputs {
        config,
        identity,
        authorities,
        http_identity,
        tls,
        sessions,
        jwks,
        metrics: reading.metrics,
        reloaders: reading.reloaders,
        restart,
    })
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
    metrics: GatewayMetrics,
}

impl Reading {
    /// No setting takes effect while running; the operator is told which would.
    fn follow(&mut self, sources: &Sources, config: &Config, restart: &RestartNeeded) {
        let restart = restart.clone();
        let tell = move |keys: &[String]| restart.tell(keys);
        let followed = sources.watch("configuration", config.clone(), &[], |_| Ok(()), tell);
        if let Some(Some((_, reloader))) = self.fine("", "", followed) {
            self.reloaders.push(reloader);
        }
    }

    /// A certificate and its key, which change as a pair.
    fn identity(
        &mut self,
        name: &'static str,
        keys: [&str; 2],
        [certificate, key]: [&FilePath; 2],
    ) -> Option<Watched<Identity>> {
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
        self.watched(
            at,
            "allowed: a certificate and the private key that belongs to it, in PEM",
            loaded,
        )
    }

    fn http_identity(&mut self, tls: &HttpTls) -> Option<Watched<Identity>> {
        self.identity(
            "http_certificate",
            ["http.tls.certificate_file", "http.tls.private_key_file"],
            [&tls.certificate_file, &tls.private_key_file],
        )
    }

    fn authorities(
        &mut self,
        name: &'static str,
        key: &str,
        file: &FilePath,
    ) -> Option<Watched<Authorities>> {
        let loaded = Authorities::watch(name, file.to_path_buf());
        self.watched(key, CA_ALLOWED, loaded)
    }

    /// The CA of the proxy's certificate, where that is how it is known.
    fn proxy_ca(&mut self, config: &Config) -> Option<Watched<Authorities>> {
        if config.session.mode != Some(SessionMode::Header) {
            return None;
        }
        let file = config.session.header.as_ref()?.client_ca_file.as_ref()?;
        self.authorities("client_ca", "session.header.client_ca_file", file)
    }

    /// The session check of the mode, and its keys where it has some.
    fn sessions(&mut self, config: &Config) -> Option<(Configured, Option<Jwks>)> {
        let session = &config.session;
        match session.mode? {
            SessionMode::Forward => {
                let forward = self.forward(session.forward.as_ref()?)?;
                Some((Configured::Forward(forward), None))
            }
            SessionMode::Jwt => {
                let settings = session.jwt.as_ref()?;
                let jwks = self.jwks(settings)?;
                let jwt = jwt(settings, jwks.clone())?;
                Some((Configured::Jwt(jwt), Some(jwks)))
            }
            SessionMode::Header => {
                let header = self.header(session.header.as_ref()?)?;
                Some((Configured::Header(header), None))
            }
        }
    }

    fn forward(&mut self, settings: &ForwardSettings) -> Option<Forward> {
        let client = self.http_client("session.forward.ca_file", settings.ca_file.as_ref())?;
        let forward = Forward::new(
            client,
            (*settings.url).clone(),
            settings.timeout,
            settings
                .headers
                .iter()
                .map(|header| header.0.clone())
                .collect(),
            settings.id.clone(),
            settings.role.clone(),
        );
        self.fine("session.forward.headers", "", forward)
    }

    fn jwks(&mut self, settings: &JwtSettings) -> Option<Jwks> {
        if let Some(file) = &settings.jwks_file {
            let loaded = Jwks::file(file.to_path_buf());
            let (jwks, reloader) = self.fine("session.jwt.jwks_file", "allowed: a JWKS", loaded)?;
            self.reloaders.push(reloader);
            return Some(jwks);
        }
        let client = self.http_client("session.jwt.ca_file", settings.ca_file.as_ref())?;
        let url = settings.jwks_url.as_ref()?;
        let metrics = self.metrics.clone();
        Some(Jwks::url(
            client,
            (**url).clone(),
            settings.jwks_refresh,
            metrics,
        ))
    }

    fn header(&mut self, settings: &HeaderSettings) -> Option<Header> {
        let cidrs = settings.trusted_cidrs.iter().map(|cidr| cidr.0).collect();
        let proxies = if settings.client_ca_file.is_some() {
            ProxySans::new(settings.proxy_sans.clone()).map(TrustedProxies::Certificate)
        } else {
            TrustedCidrs::new(cidrs).map(TrustedProxies::Addresses)
        };
        let proxies = self.fine("session.header", "", proxies)?;
        let SettingHeader(id) = settings.id_header.clone();
        let SettingHeader(role) = settings.role_header.clone();
        Some(Header::new(proxies, id, role))
    }

    fn http_client(&mut self, key: &str, ca_file: Option<&FilePath>) -> Option<HttpClient> {
        let Some(file) = ca_file.map(|file| PathBuf::from(&**file)) else {
            return self.fine(key, "", HttpClient::new());
        };
        let loaded: Result<_, HttpClientError> = HttpClient::with_ca_file("session_ca", file);
        let (client, reloader) = self.fine(key, CA_ALLOWED, loaded)?;
        self.reloaders.push(reloader);
        Some(client)
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

    /// The value; an error becomes a mistake at `key`.
    fn fine<T, E: Display>(&mut self, key: &str, allowed: &str, value: Result<T, E>) -> Option<T> {
        value
            .map_err(|error| {
                let found = format_args!("found {error}");
                let mistake = Mistake::new(self.origin.clone(), key, found, allowed);
                self.mistakes.push(mistake);
            })
            .ok()
    }
}

const CA_ALLOWED: &str = "allowed: CA certificates in PEM";

fn jwt(settings: &JwtSettings, jwks: Jwks) -> Option<Jwt> {
    let place = match (&settings.cookie, &settings.header) {
        (Some(cookie), _) => TokenPlace::Cookie(cookie.0.clone()),
        (None, Some(header)) => TokenPlace::Header(header.0.clone()),
        (None, None) => return None, // Unreachable: the settings' checks refuse it.
    };
    Some(Jwt::new(
        jwks,
        settings.issuer.clone(),
        settings.audience.clone(),
        place,
        settings.id_claim.clone(),
        settings.role_claim.clone(),
    ))
}

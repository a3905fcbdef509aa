//! The session check, from its settings and files.

use std::path::PathBuf;

use ask2do_token_runtime::config::FilePath;

use super::{CA_ALLOWED, Reading};
use crate::config::{
    ForwardSettings, HeaderSettings, JwtSettings, Session, SessionMode, SettingHeader,
};
use crate::session::{
    Configured, Forward, Header, HttpClient, HttpClientError, Jwks, Jwt, ProxySans, TokenPlace,
    TrustedCidrs, TrustedProxies,
};

impl Reading {
    /// The session check of the mode, and its keys where it has some.
    pub(super) fn sessions(&mut self, session: &Session) -> Option<(Configured, Option<Jwks>)> {
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
            self.keep(reloader);
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
        self.keep(reloader);
        Some(client)
    }
}

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

//! Which settings go together, and which do not.

use ask2do_token_runtime::config::{Checks, is_loopback};

use super::{
    Config, ForwardSettings, HeaderSettings, Http, JwtSettings, Service, Session, SessionMode,
    SettingHeader,
};
use crate::origin::Origin;
use crate::session::{ProxySans, TrustedCidrs, TrustedProxiesError};

impl Http {
    pub(super) fn check(&self, checks: &mut Checks<'_>) {
        let both = self
            .allowed_origins
            .iter()
            .find(|origin| self.public_origins.contains(origin));
        checks.require(
            &["allowed_origins", "public_origins"],
            both.is_none(),
            format_args!(
                "found {:?} in both lists of origins",
                both.map_or("", Origin::as_str)
            ),
            "allowed: in public_origins for a page on the gateway's own origin, else in allowed_origins",
        );
    }
}

impl Service {
    pub(super) fn check(&self, checks: &mut Checks<'_>) {
        checks.require(
            &["endpoint"],
            self.endpoint.scheme() == "https" && matches!(self.endpoint.path(), "" | "/"),
            format_args!("found {:?}", self.endpoint.as_str()),
            r#"allowed: https, a host and a port, such as "https://ask2do-token:8443""#,
        );
    }
}

impl Session {
    pub(super) fn check(&self, checks: &mut Checks<'_>) {
        checks.require(
            &["mode"],
            self.mode.is_some(),
            "missing, so that nobody could be told from anybody",
            r#"required: "forward" (the gateway asks your panel who is logged in; begin with this one), "jwt" (your identity provider's JWT says it) or "header" (an identity-aware proxy says it)"#,
        );
        let (table, there) = match self.mode {
            None => return,
            Some(SessionMode::Forward) => ("forward", self.forward.is_some()),
            Some(SessionMode::Jwt) => ("jwt", self.jwt.is_some()),
            Some(SessionMode::Header) => ("header", self.header.is_some()),
        };
        checks.require(
            &[table, "mode"],
            there,
            "missing",
            format_args!("required by session.mode = {table:?}: a table [session.{table}]"),
        );
    }
}

impl ForwardSettings {
    /// Whether the panel's answers cross a network in the clear.
    pub(crate) fn is_plaintext(&self) -> bool {
        self.url.scheme() == "http" && !is_loopback(&self.url)
    }

    pub(super) fn check(&self, checks: &mut Checks<'_>) {
        checks.require(
            &["url", "allow_plaintext"],
            self.allow_plaintext || !self.is_plaintext(),
            "found plain http that leads off this machine",
            "allowed: https; or, with allow_plaintext = true, http where nobody can alter the panel's answers, for who can is any user",
        );
        let own = self.headers.iter().find(|header| !header.may_pass_on());
        checks.require(
            &["headers"],
            own.is_none(),
            format_args!("found {:?}", own.map_or("", SettingHeader::as_str)),
            "allowed: headers that are the browser's, not the connection's or the trace's",
        );
    }
}

impl JwtSettings {
    pub(super) fn check(&self, checks: &mut Checks<'_>) {
        checks.require(
            &["jwks_url", "jwks_file"],
            self.jwks_url.is_some() != self.jwks_file.is_some(),
            found_of_two("jwks_url", "jwks_file", self.jwks_url.is_some()),
            "required: one of them",
        );
        checks.require(
            &["cookie", "header"],
            self.cookie.is_some() != self.header.is_some(),
            found_of_two("cookie", "header", self.cookie.is_some()),
            "required: one of them",
        );
        checks.require(
            &["ca_file", "jwks_url"],
            self.ca_file.is_none() || self.jwks_url.is_some(),
            "found ca_file without jwks_url",
            "allowed: beside jwks_url",
        );
    }
}

impl HeaderSettings {
    pub(super) fn check(&self, checks: &mut Checks<'_>) {
        let by_certificate = self.client_ca_file.is_some() || !self.proxy_sans.is_empty();
        let by_address = !self.trusted_cidrs.is_empty();
        checks.require(
            &["client_ca_file", "proxy_sans", "trusted_cidrs"],
            by_certificate != by_address,
            found_of_two(
                "client_ca_file with proxy_sans",
                "trusted_cidrs",
                by_certificate,
            ),
            "required: one of them, the first if you can",
        );
        checks.require(
            &["client_ca_file", "proxy_sans"],
            self.client_ca_file.is_some() != self.proxy_sans.is_empty(),
            "found one of client_ca_file and proxy_sans alone",
            "allowed: both: the CA alone would let any of its certificates be any user",
        );
        if let Err(error) = ProxySans::new(self.proxy_sans.clone())
            && error != TrustedProxiesError::Nobody
        {
            checks.require(&["proxy_sans"], false, error, "allowed: exact SANs");
        }
        let cidrs = self.trusted_cidrs.iter().map(|cidr| cidr.0).collect();
        if let Err(error) = TrustedCidrs::new(cidrs)
            && error != TrustedProxiesError::Nobody
        {
            checks.require(
                &["trusted_cidrs"],
                false,
                error,
                r#"allowed: the proxies' own networks, such as "10.0.3.0/24""#,
            );
        }
        checks.require(
            &["role_header", "id_header"],
            self.role_header != self.id_header,
            "found the same header for id and role",
            "allowed: two headers",
        );
    }
}

fn found_of_two(one: &str, other: &str, first: bool) -> String {
    if first {
        format!("found {one} beside {other}")
    } else {
        format!("found neither {one} nor {other}")
    }
}

impl Config {
    /// What concerns two tables.
    pub(super) fn check(&self, checks: &mut Checks<'_>) {
        let certificates = self.session.mode == Some(SessionMode::Header)
            && self
                .session
                .header
                .as_ref()
                .is_some_and(|header| header.client_ca_file.is_some());
        checks.require(
            &["http.tls", "session.header.client_ca_file"],
            !certificates || self.http.tls.is_some(),
            "missing",
            "required by session.header.client_ca_file: certificate_file and private_key_file, for without TLS nobody shows a certificate",
        );
    }
}

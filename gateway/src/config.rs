//! The configuration of the binary: `gateway.toml`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ask2do_token_runtime::config::{Entries, FilePath, HttpUrl, HttpsUrl, Length};
use ask2do_token_runtime::{choices, settings};

use crate::endpoint::EndpointPath;
use crate::origin::Origin;
use crate::session::{Claim, Location};

mod together;
mod values;

pub use values::{Cidr, CookieName, ServerName, SettingHeader};

settings! {
    /// The gateway's whole configuration.
    pub struct Config checked by Config::check {
        /// The endpoint, and the port that browsers reach through the ingress.
        http: Http,
        /// The way to the token service.
        service: Service,
        /// Who is logged in.
        session: Session,
        /// Traces.
        telemetry: Telemetry,
        /// The port for probes and metrics, in plain HTTP.
        admin: Admin,
        /// How the process ends.
        shutdown: Shutdown,
    }

    /// The endpoint, and the port that browsers reach through the ingress.
    pub struct Http checked by Http::check {
        /// Where it listens: HTTP/1.1, and HTTP/2 without TLS by prior knowledge.
        listen: SocketAddr = "0.0.0.0:8080",
        /// The one path that it serves.
        path: EndpointPath = "/api/ask2do/token",
        /// The panel's own origins. Empty: a request's `Origin` must have the host and port of its `Host`.
        /// Name them where a proxy in front changes `Host`.
        public_origins: Vec<Origin> = [],
        /// Origins of panels that are on another origin: CORS is answered for them, with credentials.
        allowed_origins: Vec<Origin> = [],
        /// Serves GET beside POST: one of Ask2Do's pages shows it. A link or an image can send GET, so POST is
        /// the better choice.
        allow_get: bool = false,
        /// Open connections. One more closes the one that has been idle longest.
        connections: usize = 1024 where 1..=65_536,
        /// Requests whose session is checked or whose token is minted at a time. One more is answered 503.
        in_flight: usize = 256 where 1..=65_536,
        /// TLS on this port, with certificate and key re-read when they change. Without the table: plain HTTP,
        /// for an ingress that ends TLS.
        tls: Option<HttpTls>,
    }

    /// TLS on the port that browsers reach.
    pub struct HttpTls {
        /// The certificate chain, PEM.
        certificate_file: FilePath,
        /// Its private key, PEM.
        private_key_file: FilePath,
    }

    /// The way to the token service.
    pub struct Service checked by Service::check {
        /// The token service. Every address of its name is used.
        endpoint: HttpsUrl = "https://ask2do-token:8443",
        /// The name to verify in the service's certificate, where it is not the endpoint's.
        server_name: Option<ServerName>,
        /// The CA of the service's certificate, PEM. Re-read when it changes, as are the next two.
        ca_file: FilePath = "ca.crt",
        /// The gateway's own certificate chain, PEM: it must name one of the service's callers.
        certificate_file: FilePath = "tls.crt",
        /// Its private key, PEM.
        private_key_file: FilePath = "tls.key",
    }

    /// Who is logged in.
    pub struct Session checked by Session::check {
        /// How the panel's sessions are checked. It has no default: nobody but you knows.
        mode: Option<SessionMode>,
        /// Mode `forward`: the panel is asked.
        forward: Option<ForwardSettings>,
        /// Mode `jwt`: a JWT of the panel's identity provider says it.
        jwt: Option<JwtSettings>,
        /// Mode `header`: an identity-aware proxy says it.
        header: Option<HeaderSettings>,
        /// The panel's own role names to Ask2Do's: `superuser = "owner"`. Others pass as they are. Of several
        /// roles, the first of `owner`, `admin` counts, after this; else the first.
        role_map: BTreeMap<String, String>,
    }

    /// Mode `forward`: the panel is asked.
    pub struct ForwardSettings checked by ForwardSettings::check {
        /// What is asked, by GET. 401, 403 and redirects mean that nobody is logged in; 2xx with an id and a role
        /// that somebody is; anything else that nobody knows.
        url: HttpUrl,
        /// A CA beside the public ones, PEM. Re-read when it changes.
        ca_file: Option<FilePath>,
        /// The longest time for the answer.
        timeout: Duration = "2s" where Duration::from_millis(10)..=Duration::from_secs(5),
        /// The request headers that are passed on, and nothing else. A request with none of them is answered 401
        /// without asking.
        headers: Vec<SettingHeader> = ["Cookie", "Authorization"] where Entries(1..=16),
        /// Where the answer has the user's id: a JSON pointer into the body (a string or an integer), or the name
        /// of a response header.
        id: Location = "/id",
        /// Where the answer has the user's role: a JSON pointer (a string, or a list of strings), or the name of
        /// a response header (one role, or several with commas between them).
        role: Location = "/role",
        /// Allows a plain `http` URL that leads off this machine: who alters its answers can be any user.
        allow_plaintext: bool = false,
    }

    /// Mode `jwt`: a JWT of the panel's identity provider says who is logged in.
    pub struct JwtSettings checked by JwtSettings::check {
        /// The claim `iss`, exactly.
        issuer: String where Length(1..=2048),
        /// What the claim `aud` must be, or hold.
        audience: String where Length(1..=2048),
        /// Where the keys are: a JWKS. This or `jwks_file`.
        jwks_url: Option<HttpsUrl>,
        /// A CA beside the public ones for `jwks_url`, PEM. Re-read when it changes.
        ca_file: Option<FilePath>,
        /// How often the keys are read from `jwks_url`; for a key that is not known they are also read at once,
        /// though at most every 30 s.
        jwks_refresh: Duration = "5m" where Duration::from_secs(30)..=Duration::from_hours(24),
        /// A file with the keys, a JWKS. Re-read when it changes.
        jwks_file: Option<FilePath>,
        /// The cookie that holds the JWT. This or `header`.
        cookie: Option<CookieName>,
        /// The header that holds the JWT; in `Authorization`, after `Bearer`.
        header: Option<SettingHeader>,
        /// The claim with the user's id (a string or an integer): its name, or a JSON pointer.
        id_claim: Claim = "sub",
        /// The claim with the user's role (a string, or a list of strings): its name, or a JSON pointer such as
        /// `/realm_access/roles`.
        role_claim: Claim = "role",
    }

    /// Mode `header`: an identity-aware proxy says who is logged in.
    pub struct HeaderSettings checked by HeaderSettings::check {
        /// The CA of the proxy's client certificate, PEM, re-read when it changes: each connection must show one.
        /// Needs `[http.tls]`.
        client_ca_file: Option<FilePath>,
        /// The SANs of the proxies' certificates: URIs exactly, DNS names without regard to case.
        proxy_sans: Vec<String> = [],
        /// Instead: the networks that the proxies' connections come from, together at most a /8 (IPv6: a /32).
        /// Every process there can be any user.
        trusted_cidrs: Vec<Cidr> = [],
        /// The header with the user's id, which has no comma. The proxy must set it on every request, over whatever a browser
        /// sent.
        id_header: SettingHeader,
        /// The header with the user's role, or several with commas between them. The same holds for it.
        role_header: SettingHeader,
    }

    /// Traces.
    pub struct Telemetry {
        /// Lets a browser's `traceparent` decide whether its trace is recorded. Its trace id counts anyway.
        trust_browser_sampling: bool = false,
    }

    /// The port for probes and metrics, in plain HTTP.
    pub struct Admin {
        /// Where `/livez`, `/readyz` and `/metrics` are.
        listen: SocketAddr = "0.0.0.0:9091",
    }

    /// How the process ends after SIGTERM.
    pub struct Shutdown {
        /// Not ready any more, but still accepting: for load balancers that are slow to notice.
        settle: Duration = "0s" where Duration::ZERO..=Duration::from_mins(5),
        /// After that, the longest time for what is in flight.
        drain: Duration = "20s" where Duration::from_secs(1)..=Duration::from_mins(10),
    }
}

choices! {
    /// How the panel's sessions are checked.
    pub enum SessionMode {
        /// The panel is asked.
        Forward = "forward",
        /// A JWT says it.
        Jwt = "jwt",
        /// An identity-aware proxy says it.
        Header = "header",
    }
}

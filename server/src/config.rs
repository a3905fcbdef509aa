//! What can be configured: every key of `server.toml`, with its default.

use std::net::SocketAddr;
use std::time::Duration;

use ask2do_token_runtime::config::{Checks, FilePath, HttpsUrl, ProxyUrl};
use ask2do_token_runtime::{choices, settings};

use crate::admission::{Caller, Callers, CallersError, Roles, San};
use crate::audit::{self, Output};
use crate::cloud::{Endpoint, key};

mod rules;

use rules::{CallerName, RoleNames};

settings! {
    /// The server's configuration.
    pub struct Config checked by Config::check {
        /// Lets every certificate of the client CA mint for all of `cloud.roles`, under the name `any`: only
        /// where that CA issues to callers of this service alone. Instead of `[[callers]]`.
        allow_any_caller: bool = false,
        /// A TOML file with nothing but `[[callers]]`, instead of `[[callers]]` here. Read again when
        /// its content changes.
        callers_file: Option<FilePath>,
        /// The gRPC port: HTTP/2 over TLS 1.3, client certificates required.
        grpc: GrpcSettings,
        /// The admin port: `/livez`, `/readyz` and `/metrics` over plain HTTP. Keep it inside the cluster.
        admin: AdminSettings,
        /// Ask2Do's cloud, where tokens are minted.
        cloud: CloudSettings,
        /// How much at a time, and how often.
        limits: LimitSettings,
        /// One line for each decision: who asked, for whom, and what came of it.
        audit: AuditSettings,
        /// How the server ends after SIGTERM or SIGINT.
        shutdown: ShutdownSettings,
        /// Who may mint. Read again when the file's content changes; while running, an empty list means
        /// that nobody may.
        callers: Vec<CallerSettings> = [],
    }

    /// The gRPC port.
    pub struct GrpcSettings {
        /// Where it listens.
        listen: SocketAddr = "0.0.0.0:8443",
        /// The server's certificate, with the chain up to the CA that callers trust (PEM). Read again when its
        /// content or the key's changes; the two change as a pair.
        certificate_file: FilePath = "tls.crt",
        /// The certificate's private key (PEM, not encrypted).
        private_key_file: FilePath = "tls.key",
        /// The CAs of the callers' certificates (PEM). Read again when the content changes; open
        /// connections are then verified again.
        client_ca_file: FilePath = "ca.crt",
        /// Whether callers may ask for the service's description (gRPC server reflection v1 and v1alpha).
        reflection: bool = false,
        /// After so long (±10 %) a connection is asked to end, so that its certificate is verified anew
        /// and load spreads over new instances.
        max_connection_age: Duration = "5m" where Duration::from_secs(1)..=Duration::from_hours(24),
    }

    /// The admin port.
    pub struct AdminSettings {
        /// Where it listens.
        listen: SocketAddr = "0.0.0.0:9090",
    }

    /// Ask2Do's cloud.
    pub struct CloudSettings checked by CloudSettings::check {
        /// Where it is: `/auth/token` is put behind it.
        url: HttpsUrl = "https://cloud.ask2do.com",
        /// CAs that are trusted for it beside the public ones (PEM): where an egress proxy opens TLS.
        ca_file: Option<FilePath>,
        /// The longest a mint may take, its retry included. A caller's shorter deadline counts, less 100 ms.
        timeout: Duration = "5s" where Duration::from_millis(100)..=Duration::from_secs(60),
        /// The roles that Ask2Do serves; another is refused without asking it.
        roles: Vec<String> = ["admin", "owner"] where RoleNames,
        /// The HTTP proxy on the way to the cloud; it may hold a user and a password. The environment's
        /// proxies are never used.
        proxy: Option<ProxyUrl>,
        /// Whether the cloud gets the trace context (`traceparent` alone).
        send_traceparent: bool = true,
        /// The tenant key: one line. Read again when the content changes. Counts only where the variable
        /// `ASK2DO_TENANT_KEY` is not set; naming both is an error.
        tenant_key_file: Option<FilePath> = "tenant-key",
    }

    /// How much at a time, and how often.
    pub struct LimitSettings {
        /// The most open connections. One more closes the one that has been idle longest.
        connections: u32 = 1024 where 1..=65_536,
        /// The most mints at a time; one more is OVERLOADED.
        in_flight: u32 = 256 where 1..=65_536,
        /// Mints a second for each caller, twice that in a burst; 0: no limit.
        caller_rate: u32 = 0 where 0..=1_000_000,
        /// The same for each panel user of each caller.
        user_rate: u32 = 0 where 0..=1_000_000,
    }

    /// The audit log ([audit](audit.md)). It holds panel users' ids, which are personal data: it is off until somebody
    /// turns it on.
    pub struct AuditSettings checked by AuditSettings::check {
        /// Where the lines go; logs go to standard error.
        output: AuditOutput = "none",
        /// The file, with `output = "file"`: appended to, and opened again at SIGHUP.
        file: Option<FilePath>,
        /// A file with at least 32 random bytes, which seal the lines (HMAC-SHA256). Without one the lines are
        /// chained by plain hashes, which show accidents, not attackers. Read at the start alone.
        key_file: Option<FilePath>,
        /// A panel user's id as it is, or as a hash by `key_file`.
        panel_user_id: PanelUserIds = "plain",
        /// While lines cannot be written: refuse to mint (OVERLOADED), or continue and count the lines that are
        /// missing.
        on_failure: OnAuditFailure = "refuse",
    }

    /// How the server ends after SIGTERM or SIGINT.
    pub struct ShutdownSettings {
        /// How long it says that it is not ready while it still takes connections: the time a load balancer
        /// takes to notice, where no preStop hook waits.
        settle: Duration = "0s" where Duration::ZERO..=Duration::from_mins(5),
        /// The longest time after that for what is in flight; then the process ends.
        drain: Duration = "20s" where Duration::from_secs(1)..=Duration::from_mins(10),
    }

    /// One caller.
    pub struct CallerSettings {
        /// What logs and metrics call it.
        name: String where CallerName,
        /// The exact SAN of its certificate.
        san: San,
        /// The roles it may mint for.
        roles: Vec<String> where RoleNames,
    }

    /// `callers_file`.
    pub struct CallersFile checked by CallersFile::check {
        /// Who may mint.
        callers: Vec<CallerSettings> = [],
    }
}

choices! {
    /// Where the audit log goes.
    pub enum AuditOutput {
        /// There is none.
        None = "none",
        /// To standard output.
        Stdout = "stdout",
        /// To `audit.file`.
        File = "file",
    }
}

choices! {
    /// How the audit log names panel users.
    pub enum PanelUserIds {
        /// By their ids.
        Plain = "plain",
        /// By hashes of their ids.
        Hash = "hash",
    }
}

choices! {
    /// What happens while the audit log cannot be written.
    pub enum OnAuditFailure {
        /// Nothing is minted.
        Refuse = "refuse",
        /// Lines are missing, and counted.
        Continue = "continue",
    }
}

impl Config {
    fn check(&self, checks: &mut Checks<'_>) {
        let listed = !self.callers.is_empty();
        checks.require(
            &["callers_file", "callers"],
            !(self.callers_file.is_some() && listed),
            "found beside [[callers]]",
            "allowed: one of the two",
        );
        for (key, is_set) in [
            ("callers_file", self.callers_file.is_some()),
            ("callers", listed),
        ] {
            checks.require(
                &["allow_any_caller", key],
                !(self.allow_any_caller && is_set),
                format_args!("found true beside {key}"),
                "allowed: true only where no callers are named",
            );
        }
        let somebody = self.allow_any_caller || self.callers_file.is_some() || listed;
        checks.require(
            &["callers", "callers_file", "allow_any_caller"],
            somebody || !checks.starting(),
            "found no caller, so that nobody may mint",
            "required: name one ([[callers]] with name, san and roles, or callers_file), or set \
             allow_any_caller = true where the client CA issues to callers of this service alone",
        );
        check_callers(&self.callers, checks);
        let both = checks.has_variable(key::VARIABLE) && checks.is_set("cloud.tenant_key_file");
        checks.require(
            &["cloud.tenant_key_file"],
            !both,
            format_args!("found beside the variable {}", key::VARIABLE),
            "allowed: one of the two",
        );
        checks.require(
            &["cloud.tenant_key_file"],
            self.cloud.tenant_key_file.is_some() || checks.has_variable(key::VARIABLE),
            "found no tenant key",
            format_args!(
                "required: the path of its file, or the variable {}",
                key::VARIABLE
            ),
        );
    }

    /// The roles that Ask2Do serves.
    pub(crate) fn cloud_roles(&self) -> Roles {
        self.cloud.roles.iter().map(String::as_str).collect()
    }

    /// The callers that this file itself names.
    pub(crate) fn callers(&self) -> Result<Callers, Duplicates> {
        if self.allow_any_caller {
            Ok(Callers::any(self.cloud_roles()))
        } else {
            listed(&self.callers)
        }
    }
}

impl CallersFile {
    fn check(&self, checks: &mut Checks<'_>) {
        checks.require(
            &["callers"],
            !self.callers.is_empty() || !checks.starting(),
            "found no caller, so that nobody may mint",
            "required: at least one [[callers]] with name, san and roles",
        );
        check_callers(&self.callers, checks);
    }

    /// The callers that it names.
    pub(crate) fn callers(&self) -> Result<Callers, Duplicates> {
        listed(&self.callers)
    }
}

impl AuditSettings {
    fn check(&self, checks: &mut Checks<'_>) {
        let to_file = self.output == AuditOutput::File;
        checks.require(
            &["file"],
            self.file.is_some() == to_file,
            format_args!(
                "found {} beside output = {:?}",
                if self.file.is_some() {
                    "a file"
                } else {
                    "none"
                },
                self.output.as_str()
            ),
            "allowed: a file with output = \"file\", and none without",
        );
        checks.require(
            &["panel_user_id", "key_file"],
            self.panel_user_id == PanelUserIds::Plain || self.key_file.is_some(),
            "found \"hash\" without a key",
            "required: key_file; without a key anybody could try every id",
        );
    }

    /// How the log is kept, if there is one.
    pub(crate) fn log(&self, key: Option<audit::Key>) -> Option<audit::Settings> {
        let output = match (self.output, &self.file) {
            (AuditOutput::Stdout, _) => Output::Stdout,
            (AuditOutput::File, Some(file)) => Output::File(file.to_path_buf()),
            (AuditOutput::None, _) | (AuditOutput::File, None) => return None,
        };
        Some(audit::Settings {
            output,
            key,
            hash_ids: self.panel_user_id == PanelUserIds::Hash,
            refuse: self.on_failure == OnAuditFailure::Refuse,
        })
    }
}

impl CloudSettings {
    fn check(&self, checks: &mut Checks<'_>) {
        if let Err(invalid) = Endpoint::new(&self.url) {
            checks.require(
                &["url"],
                false,
                "found a URL that cannot be used",
                format_args!("allowed: {invalid}"),
            );
        }
    }
}

/// Callers that are there twice.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct Duplicates(Vec<CallersError>);

fn listed(callers: &[CallerSettings]) -> Result<Callers, Duplicates> {
    let callers = callers.iter().map(|caller| {
        let roles = caller.roles.iter().map(String::as_str).collect();
        Caller::new(caller.name.as_str(), caller.san.clone(), roles)
    });
    Callers::listed(callers).map_err(Duplicates)
}

fn check_callers(callers: &[CallerSettings], checks: &mut Checks<'_>) {
    let Err(Duplicates(errors)) = listed(callers) else {
        return;
    };
    for error in errors {
        let allowed = "allowed: a name and a SAN of its own for each caller";
        checks.require(
            &["callers"],
            false,
            format_args!("found that {error}"),
            allowed,
        );
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use ask2do_token_runtime::config::{Arguments, Sources};

    use super::*;

    fn read(set: &[&str], environment: &[(&str, &str)]) -> Result<Config, String> {
        let arguments = Arguments {
            set: set.iter().map(|&set| set.to_owned()).collect(),
            ..Arguments::default()
        };
        let owned = |(name, value): &(&str, &str)| (OsString::from(name), OsString::from(value));
        let environment: Vec<_> = environment.iter().map(owned).collect();
        let read = Sources::with_environment(&arguments, environment).read();
        read.map_err(|mistakes| mistakes.to_string())
    }

    const ANY: &str = "allow_any_caller=true";

    #[test]
    fn these_are_the_keys_and_defaults_that_others_rest_on() {
        let written = [
            "callers_file=callers.toml",
            "grpc.listen=0.0.0.0:8443",
            "grpc.certificate_file=tls.crt",
            "grpc.private_key_file=tls.key",
            "grpc.client_ca_file=ca.crt",
            "grpc.reflection=false",
            "grpc.max_connection_age=5m",
            "admin.listen=0.0.0.0:9090",
            "cloud.url=https://cloud.ask2do.com",
            "cloud.ca_file=",
            "cloud.timeout=5s",
            "cloud.roles=[\"admin\", \"owner\"]",
            "cloud.proxy=",
            "cloud.send_traceparent=true",
            "cloud.tenant_key_file=tenant-key",
            "limits.connections=1024",
            "limits.in_flight=256",
            "limits.caller_rate=0",
            "limits.user_rate=0",
            "audit.output=none",
            "audit.file=",
            "audit.key_file=",
            "audit.panel_user_id=plain",
            "audit.on_failure=refuse",
            "shutdown.settle=0s",
            "shutdown.drain=20s",
        ];
        assert_eq!(
            read(&written, &[]),
            read(&["callers_file=callers.toml"], &[])
        );
        assert!(read(&written, &[]).is_ok());
    }

    #[test]
    fn the_key_is_a_file_or_a_variable_and_not_both() {
        let variable = [(key::VARIABLE, "a-key")];
        assert!(read(&[ANY], &variable).is_ok());
        assert!(read(&[ANY], &[(key::VARIABLE, "")]).is_ok());
        assert!(read(&[ANY, "cloud.tenant_key_file="], &variable).is_ok());
        let both = read(&[ANY, "cloud.tenant_key_file=tenant-key"], &variable).unwrap_err();
        assert!(
            both.contains("cloud.tenant_key_file: found beside the variable ASK2DO_TENANT_KEY")
        );
        assert!(!both.contains("a-key"));
        let neither = read(&[ANY, "cloud.tenant_key_file="], &[]).unwrap_err();
        assert!(neither.contains("cloud.tenant_key_file: found no tenant key"));
    }

    #[test]
    fn the_audit_log_has_a_file_where_it_goes_to_one_and_a_key_where_it_hashes() {
        for (set, fine) in [
            (&["audit.output=stdout"][..], true),
            (&["audit.output=file", "audit.file=audit.log"], true),
            (&["audit.output=file"], false),
            (&["audit.output=stdout", "audit.file=audit.log"], false),
            (&["audit.file=audit.log"], false),
            (&["audit.output=syslog"], false),
            (&["audit.panel_user_id=hash", "audit.key_file=key"], true),
            (&["audit.panel_user_id=hash"], false),
        ] {
            let read = read(&[&[ANY], set].concat(), &[]);
            assert_eq!(read.is_ok(), fine, "{set:?}: {read:?}");
        }
    }

    #[test]
    fn a_proxys_password_is_never_shown() {
        let config = read(&[ANY, "cloud.proxy=http://user:canary@proxy:3128"], &[]).unwrap();
        assert!(!format!("{config:?}").contains("canary"));
        let refused = read(&[ANY, "cloud.proxy=ftp://user:canary@proxy:3128"], &[]).unwrap_err();
        assert!(!refused.contains("canary"), "{refused}");
    }

    #[test]
    fn a_callers_name_fits_a_label_and_is_not_the_one_of_everybody() {
        let named = |name: &str| {
            let caller =
                format!("callers=[{{name=\"{name}\",san=\"a.example\",roles=[\"admin\"]}}]");
            read(&[&caller], &[])
        };
        assert!(named("panel-1.eu_west").is_ok());
        for name in ["", "any", "a b", "ä", "a\\n", &"a".repeat(65)] {
            assert!(named(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_caller_has_at_least_one_role() {
        for roles in ["[]", "[\"\"]"] {
            let caller = format!("callers=[{{name=\"panel\",san=\"a.example\",roles={roles}}}]");
            assert!(
                read(&[&caller], &[])
                    .unwrap_err()
                    .contains("callers[0].roles: ")
            );
        }
    }
}

//! The part of the table that one call shows.

use ask2do_token_tests::suite::is_all_required;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::programs::{ATTEMPTS, Done, Program, TRACE};
use crate::stage::{Stage, mints};

/// Some wait for a timer, and each takes a core for as long as it starts.
const AT_A_TIME: usize = 3;

const OTHER_WORDS: &str = "it does not say";

/// One line of the table.
pub(crate) struct Row {
    pub(crate) what: &'static str,
    /// Instead of the arguments that work.
    instead: &'static [(&'static str, &'static str)],
    /// Of those, what is not given at all.
    without: &'static [&'static str],
    pub(crate) expected: Expected,
    /// Programs that see it another way.
    pub(crate) except: &'static [(&'static str, Expected)],
    /// Whether the server and Ask2Do must get one call exactly.
    pub(crate) is_counted: bool,
    /// What the program's gRPC library says, in words.
    pub(crate) says: &'static [(&'static str, &'static str)],
}

#[derive(Clone, Copy)]
pub(crate) enum Expected {
    Token,
    /// Code, reason, seconds to wait, fields.
    Status(&'static str, &'static str, Wait, &'static [&'static str]),
    /// Exit code 3.
    Unreachable,
    /// Exit code 2.
    Usage,
    /// Exit code 0, and no call.
    Help,
}

/// How long the service asks to wait.
#[derive(Clone, Copy)]
pub(crate) enum Wait {
    No,
    Seconds(u64),
    /// It depends.
    Some,
}

use Expected::{Help, Status, Token, Unreachable, Usage};

const fn row(
    what: &'static str,
    instead: &'static [(&'static str, &'static str)],
    expected: Expected,
) -> Row {
    Row {
        what,
        instead,
        without: &[],
        expected,
        except: &[],
        is_counted: false,
        says: &[],
    }
}

impl Row {
    const fn counted(mut self) -> Self {
        self.is_counted = true;
        self
    }

    const fn without(mut self, options: &'static [&'static str]) -> Self {
        self.without = options;
        self
    }

    const fn except(mut self, programs: &'static [(&'static str, Expected)]) -> Self {
        self.except = programs;
        self
    }

    const fn says(mut self, words: &'static [(&'static str, &'static str)]) -> Self {
        self.says = words;
        self
    }

    pub(crate) fn expected_of(&self, program: &str) -> Expected {
        let except = self.except.iter().find(|(name, _)| *name == program);
        except.map_or(self.expected, |(_, expected)| *expected)
    }
}

const fn refused(code: &'static str, reason: &'static str) -> Expected {
    Status(code, reason, Wait::No, &[])
}

pub(crate) const OUT_OF_TIME: Expected = refused("DEADLINE_EXCEEDED", "CLOUD_TIMEOUT");

pub(crate) const ROWS: &[Row] = &[
    row("a panel user", &[("--id", "43")], Token).counted(),
    row(
        "an id that is not ASCII",
        &[("--id", "żółć-東京-🦀")],
        Token,
    ),
    row(
        "an address instead of a name",
        &[("--endpoint", "127.0.0.1:{port}")],
        Token,
    ),
    row("an IPv6 address", &[("--endpoint", "@ipv6")], Token),
    row(
        "the certificate names no caller",
        &[("--cert", "stranger.crt"), ("--key", "stranger.key")],
        refused("PERMISSION_DENIED", "CALLER_NOT_ALLOWED"),
    ),
    row(
        "this caller may not mint for that role",
        &[
            ("--cert", "shop.crt"),
            ("--key", "shop.key"),
            ("--role", "owner"),
        ],
        refused("PERMISSION_DENIED", "CALLER_NOT_ALLOWED"),
    ),
    row(
        "neither id nor role is well-formed",
        &[("--id", "4\u{7}2"), ("--role", "")],
        Status(
            "INVALID_ARGUMENT",
            "PANEL_USER_INVALID",
            Wait::No,
            &["panel_user.id", "panel_user.role"],
        ),
    ),
    row(
        "an empty id",
        &[("--id", "")],
        Status(
            "INVALID_ARGUMENT",
            "PANEL_USER_INVALID",
            Wait::No,
            &["panel_user.id"],
        ),
    ),
    row(
        "an id of 257 bytes",
        &[("--id", "@257")],
        Status(
            "INVALID_ARGUMENT",
            "PANEL_USER_INVALID",
            Wait::No,
            &["panel_user.id"],
        ),
    ),
    row(
        "an id of 20 KiB",
        &[("--id", "@20480")],
        refused("INVALID_ARGUMENT", "REQUEST_INVALID"),
    ),
    row(
        "a role that Ask2Do does not serve",
        &[("--role", "editor")],
        refused("PERMISSION_DENIED", "ROLE_NOT_ALLOWED"),
    ),
    row(
        "Ask2Do answers 403",
        &[("--id", "status-403")],
        refused("PERMISSION_DENIED", "ROLE_NOT_ALLOWED"),
    )
    .counted(),
    row(
        "the service has too much in flight",
        &[("--endpoint", "@busy")],
        Status("RESOURCE_EXHAUSTED", "OVERLOADED", Wait::Some, &[]),
    ),
    row(
        "Ask2Do refuses the tenant key",
        &[("--endpoint", "@rejected")],
        refused("FAILED_PRECONDITION", "TENANT_KEY_REJECTED"),
    ),
    row(
        "Ask2Do answers 429",
        &[("--id", "status-429")],
        refused("UNAVAILABLE", "CLOUD_RATE_LIMITED"),
    )
    .counted(),
    row(
        "Ask2Do answers 429, with Retry-After",
        &[("--id", "status-429-retry-after-7")],
        Status("UNAVAILABLE", "CLOUD_RATE_LIMITED", Wait::Seconds(7), &[]),
    )
    .counted(),
    row(
        "Ask2Do answers 500",
        &[("--id", "status-500")],
        refused("UNAVAILABLE", "CLOUD_UNAVAILABLE"),
    )
    .counted(),
    row(
        "Ask2Do does not answer in time",
        &[("--id", "slow-9s")],
        OUT_OF_TIME,
    )
    .counted(),
    row(
        "Ask2Do's answer is no token",
        &[("--id", "garbage")],
        refused("INTERNAL", "CLOUD_RESPONSE_INVALID"),
    )
    .counted(),
    row(
        "the service's certificate is of another CA",
        &[("--ca", "other-ca.crt")],
        Unreachable,
    )
    .says(WRONG_CA),
    row(
        "the service's certificate is for another name",
        &[("--endpoint", "@misnamed")],
        Unreachable,
    )
    .says(WRONG_NAME),
    row("no certificate is shown", &[], Unreachable)
        .without(&["--cert", "--key"])
        .says(NO_CERTIFICATE),
    row(
        "the caller's certificate is of another CA",
        &[("--cert", "foreign.crt"), ("--key", "foreign.key")],
        Unreachable,
    )
    .says(FOREIGN),
    row(
        "the caller's certificate has expired",
        &[("--cert", "expired.crt"), ("--key", "expired.key")],
        Unreachable,
    )
    .says(EXPIRED),
    row(
        "nothing listens there",
        &[("--endpoint", "@down")],
        Unreachable,
    )
    .says(DOWN),
    row(
        "the name is unknown",
        &[("--endpoint", "no-such-host.invalid:8443")],
        Unreachable,
    )
    .says(UNKNOWN_NAME),
    row(
        "what listens there says nothing",
        &[("--endpoint", "@silent")],
        OUT_OF_TIME,
    )
    .except(SILENT),
    row(
        "an endpoint without a port: 443, where nothing listens",
        &[("--endpoint", "127.0.0.9")],
        Unreachable,
    ),
    row(
        "an endpoint with a word for its port",
        &[("--endpoint", "localhost:grpc")],
        Usage,
    ),
    row(
        "an endpoint with a port that there is none of",
        &[("--endpoint", "localhost:99999")],
        Usage,
    ),
    row("an empty endpoint", &[("--endpoint", "")], Usage),
    row("a missing file", &[("--cert", "missing.crt")], Usage),
    row("a key that cannot be read", &[("--key", "folder")], Usage),
    row("a CA that is garbage", &[("--ca", "garbage.pem")], Usage),
    row("a CA that is empty", &[("--ca", "empty.pem")], Usage),
    row(
        "a certificate that is garbage",
        &[("--cert", "garbage.pem")],
        Usage,
    ),
    row("a key that is garbage", &[("--key", "garbage.pem")], Usage),
    row(
        "a key of another certificate",
        &[("--key", "shop.key")],
        Usage,
    ),
    row("a certificate without a key", &[], Usage).without(&["--key"]),
    row("no id", &[], Usage).without(&["--id"]),
    row("no role", &[], Usage).without(&["--role"]),
    row("an option that there is none of", &[("--wat", "x")], Usage),
    row("--help", &[("--help", "@flag")], Help),
];

/// Our own client gives a connection 2 s, and fails when every address has failed.
const SILENT: &[(&str, Expected)] = &[("Rust", Unreachable), ("ask2do-token", Unreachable)];
const WRONG_CA: &[(&str, &str)] = &[
    (
        "Rust",
        "its certificate was not issued by a CA in the CA file",
    ),
    ("Go", "certificate signed by unknown authority"),
    ("Python", "CERTIFICATE_VERIFY_FAILED"),
    ("Node", "unable to verify the first certificate"),
    (
        "Java",
        "unable to find valid certification path to requested target",
    ),
];
const WRONG_NAME: &[(&str, &str)] = &[
    ("Rust", "its certificate is not for the name localhost"),
    (
        "Go",
        "certificate is valid for elsewhere.test, not localhost",
    ),
    ("Python", "Hostname Verification Check failed"),
    ("Node", "Hostname/IP does not match certificate's altnames"),
    (
        "Java",
        "No subject alternative DNS name matching localhost found",
    ),
];
const NO_CERTIFICATE: &[(&str, &str)] = &[
    ("Rust", "it wants a client certificate"),
    ("Go", "remote error: tls: certificate required"),
    ("Python", "TLSV1_ALERT_CERTIFICATE_REQUIRED"),
    ("Node", "alert certificate required"),
    ("Java", "TLSV1_ALERT_CERTIFICATE_REQUIRED"),
];
/// Java shows no certificate whose CA is not among those that the service names.
const FOREIGN: &[(&str, &str)] = &[
    ("Rust", "it refuses the client's certificate"),
    ("Go", "remote error: tls: unknown certificate authority"),
    ("Python", "TLSV1_ALERT_UNKNOWN_CA"),
    ("Node", "alert unknown ca"),
    ("Java", "TLSV1_ALERT_CERTIFICATE_REQUIRED"),
];
const EXPIRED: &[(&str, &str)] = &[
    ("Rust", "the certificate expired on"),
    ("Go", "remote error: tls: expired certificate"),
    ("Python", "SSLV3_ALERT_CERTIFICATE_EXPIRED"),
    ("Node", "alert certificate expired"),
    ("Java", "SSLV3_ALERT_CERTIFICATE_EXPIRED"),
];
const DOWN: &[(&str, &str)] = &[
    ("Rust", "Connection refused"),
    ("Go", "connection refused"),
    ("Python", "Connection refused"),
    ("Node", "ECONNREFUSED"),
    ("Java", "Connection refused"),
];
const UNKNOWN_NAME: &[(&str, &str)] = &[
    ("Rust", "the name no-such-host.invalid cannot be resolved"),
    ("Go", "no children to pick from"),
    ("Python", "errors resolving no-such-host.invalid"),
    ("Node", "Name resolution failed for target"),
    ("Java", "Unable to resolve host no-such-host.invalid"),
];

/// Runs every row, and reports all that differ.
pub(crate) async fn run(program: &Program) {
    let stage = &Stage::new().await;
    let check = |row: &'static Row| async move {
        let mut attempts = 1;
        loop {
            let difference = row.check(stage, program).await.err()?;
            // Or the connection broke before its refusal was read, which has other words.
            let is_late = difference.contains("CLOUD_TIMEOUT") || difference.contains(OTHER_WORDS);
            if !is_late || attempts == ATTEMPTS {
                return Some(format!("{}: {difference}", row.what));
            }
            attempts += 1;
        }
    };
    let differ: Vec<_> = futures_util::stream::iter(ROWS)
        .map(check)
        .buffer_unordered(AT_A_TIME)
        .filter_map(std::future::ready)
        .collect()
        .await;
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

impl Row {
    async fn check(&self, stage: &Stage, program: &Program) -> Result<(), String> {
        let expected = self.expected_of(program.name);
        let Some(arguments) = self.arguments(stage).await else {
            assert!(!is_all_required(), "there is no IPv6");
            eprintln!("left out, for want of IPv6: {}", self.what);
            return Ok(());
        };
        let done = if self.is_counted {
            let server = stage.counted.lock().await;
            let id = value_of(&arguments, "--id").unwrap();
            let at_cloud = stage.world.cloud.calls_for(id);
            let at_server = mints(&server).await;
            let done = program.run(&arguments, stage.folder(), &[]).await;
            let at_cloud = stage.world.cloud.calls_for(id) - at_cloud;
            let at_server = mints(&server).await - at_server;
            if at_server != 1.0 || at_cloud != 1 {
                return Err(format!(
                    "{at_server} calls at the server, {at_cloud} at the cloud\n{done:?}"
                ));
            }
            done
        } else {
            program.run(&arguments, stage.folder(), &[]).await
        };
        expected.is_met_by(&done)?;
        if let Some((_, words)) = self.says.iter().find(|(name, _)| *name == program.name)
            && !done.stderr.contains(words)
        {
            return Err(format!("{OTHER_WORDS} {words:?}\n{done:?}"));
        }
        match expected {
            Token => self.arrived(stage, value_of(&arguments, "--id").unwrap()),
            _ => Ok(()),
        }
    }

    /// `None` where this machine has no such endpoint.
    async fn arguments(&self, stage: &Stage) -> Option<Vec<String>> {
        let endpoint = if self.is_counted {
            "@counted"
        } else {
            "localhost:{port}"
        };
        let mut options = vec![
            ("--endpoint", endpoint),
            ("--ca", "ca.crt"),
            ("--cert", "caller.crt"),
            ("--key", "caller.key"),
            ("--id", "42"),
            ("--role", "admin"),
        ];
        options.retain(|(option, _)| {
            !self.without.contains(option) && self.instead.iter().all(|(other, _)| other != option)
        });
        options.extend(self.instead);
        let mut arguments = Vec::new();
        for (option, value) in options {
            arguments.push(option.to_owned());
            match (option, value) {
                (_, "@flag") => {}
                ("--endpoint", named) => arguments.push(stage.endpoint(named).await?),
                ("--id", of_length) if of_length.starts_with('@') => {
                    arguments.push("x".repeat(of_length[1..].parse().unwrap()));
                }
                (_, value) => arguments.push(value.to_owned()),
            }
        }
        Some(arguments)
    }

    /// Ask2Do was asked for this very user, in the trace of the environment.
    fn arrived(&self, stage: &Stage, id: &str) -> Result<(), String> {
        if stage.world.cloud.calls_for(id) == 0 {
            return Err(format!("Ask2Do was not asked for {id}"));
        }
        let header = &stage.world.cloud.last_call().unwrap().headers["traceparent"];
        if header.split('-').nth(1) != Some(TRACE) {
            return Err(format!("the trace is another at the cloud: {header}"));
        }
        Ok(())
    }
}

fn value_of<'a>(arguments: &'a [String], option: &str) -> Option<&'a str> {
    let at = arguments.iter().position(|argument| argument == option)?;
    arguments.get(at + 1).map(String::as_str)
}

impl Expected {
    pub(crate) fn exit_code(self) -> i32 {
        match self {
            Token | Help => 0,
            Status(..) => 1,
            Usage => 2,
            Unreachable => 3,
        }
    }

    fn is_met_by(self, done: &Done) -> Result<(), String> {
        let code = self.exit_code();
        if done.code != Some(code) {
            return Err(format!("the exit code is not {code}\n{done:?}"));
        }
        let lines: Vec<_> = done.stdout.lines().collect();
        match (self, lines.as_slice()) {
            (Help, _) if (done.stdout.clone() + &done.stderr).contains("-endpoint") => Ok(()),
            (Usage, []) if !done.stderr.is_empty() && !done.stderr.contains("Traceback") => Ok(()),
            (Help | Usage, _) => Err(format!("not the expected output\n{done:?}")),
            (_, &[line]) => {
                let said =
                    serde_json::from_str(line).map_err(|error| format!("{line}: {error}"))?;
                self.is_said(&said)
            }
            _ => Err(format!("not the one line on stdout\n{done:?}")),
        }
    }

    /// The line has exactly these keys in every language.
    pub(crate) fn is_said(self, said: &Value) -> Result<(), String> {
        let is_so = match self {
            Token => {
                let token = said["token"].as_str().unwrap_or_default();
                let at = said["expiresAt"].as_str().unwrap_or_default();
                has_keys(said, &["expiresAt", "ok", "token"])
                    && said["ok"] == json!(true)
                    && token.split('.').count() == 3
                    && at.ends_with('Z')
                    && expires_when(token, at)
            }
            Status(code, reason, wait, fields) => {
                let violations = said["fields"].as_array().into_iter().flatten();
                let mut named: Vec<_> = violations
                    .filter(|violation| violation["description"].is_string())
                    .map(|violation| violation["field"].as_str())
                    .collect();
                named.sort();
                let after = said["retryAfterSeconds"].as_f64();
                has_keys(
                    said,
                    &["code", "fields", "ok", "reason", "retryAfterSeconds"],
                ) && said["ok"] == json!(false)
                    && said["code"] == json!(code)
                    && said["reason"] == json!(reason)
                    && match wait {
                        Wait::No => after.is_none(),
                        Wait::Seconds(seconds) => after == Some(seconds as f64),
                        Wait::Some => after.is_some_and(|after| after > 0.0),
                    }
                    && named == fields.iter().copied().map(Some).collect::<Vec<_>>()
            }
            Unreachable => return refused("UNAVAILABLE", "SERVICE_UNAVAILABLE").is_said(said),
            Usage | Help => false,
        };
        if is_so {
            Ok(())
        } else {
            Err(format!("another line was expected: {said}"))
        }
    }
}

fn has_keys(said: &Value, keys: &[&str]) -> bool {
    let object = said.as_object().into_iter().flatten();
    let mut found: Vec<_> = object.map(|(key, _)| key.as_str()).collect();
    found.sort_unstable();
    found == keys
}

/// Within a second, what the token itself says.
fn expires_when(token: &str, at: &str) -> bool {
    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;

    let claims = token.split('.').nth(1).unwrap();
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    let exp = claims["exp"].as_i64().unwrap();
    OffsetDateTime::parse(at, &Rfc3339).is_ok_and(|at| (at.unix_timestamp() - exp).abs() <= 1)
}

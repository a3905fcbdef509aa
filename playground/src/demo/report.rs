//! What the playground prints: the token, where things are, and the lines to copy.

use std::fmt::{self, Write as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use time::OffsetDateTime;
use time::macros::format_description;

use crate::folder::Folder;
use crate::ports::Ports;

/// The user that the playground mints for.
pub(crate) const PANEL_ID: &str = "42";
/// That user's role.
pub(crate) const PANEL_ROLE: &str = "admin";

/// A token, taken apart for reading. Its signature is left out: what is printed is no credential.
pub(crate) fn token(token: &str, expires_at: OffsetDateTime) -> Result<String, Unreadable> {
    let mut parts = token.split('.').map(part);
    let (Some(header), Some(claims)) = (parts.next(), parts.next()) else {
        return Err(Unreadable);
    };
    let left = (expires_at - OffsetDateTime::now_utc()).whole_seconds();
    let until = expires_at
        .format(format_description!(
            "[year]-[month]-[day] [hour]:[minute]:[second] UTC"
        ))
        .map_err(|_| Unreadable)?;
    Ok(format!(
        "\nMinted a token for panel user {PANEL_ID} ({PANEL_ROLE}), as caller `panel`, by gRPC over mTLS:\n\n  \
           header    {}\n  claims    {}\n  lifetime  {} min {} s, until {until}\n",
        header?,
        claims?,
        left / 60,
        left % 60,
    ))
}

/// Not a JWT.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("what was minted is no JWT")]
pub(crate) struct Unreadable;

/// A part's JSON as it was written.
fn part(part: &str) -> Result<String, Unreadable> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| Unreadable)?;
    serde_json::from_slice::<serde::de::IgnoredAny>(&json).map_err(|_| Unreadable)?;
    String::from_utf8(json).map_err(|_| Unreadable)
}

/// Where things are, and what to copy.
pub(crate) fn running(folder: &Folder, ports: Ports) -> Result<String, fmt::Error> {
    let mut text = String::new();
    writeln!(
        text,
        "\nOpen the demo panel:  http://localhost:{}",
        ports.panel()
    )?;
    writeln!(text, "\nRunning on 127.0.0.1, until Ctrl-C:\n")?;
    for (name, address) in [
        ("demo panel", format!("http://localhost:{}", ports.panel())),
        ("gateway", format!("http://localhost:{}", ports.gateway())),
        (
            "gateway, admin",
            format!(
                "http://localhost:{}/metrics, /livez, /readyz",
                ports.gateway_admin()
            ),
        ),
        (
            "simulated cloud",
            format!("https://localhost:{}", ports.cloud()),
        ),
        ("server, gRPC", format!("localhost:{}", ports.grpc())),
        (
            "server, admin",
            format!(
                "http://localhost:{}/metrics, /livez, /readyz",
                ports.admin()
            ),
        ),
        ("files", folder.path().display().to_string()),
    ] {
        writeln!(text, "  {name:<18}{address}")?;
    }
    for (what, command) in commands(folder, ports) {
        writeln!(text, "\n{what}:\n\n  {command}")?;
    }
    Ok(text)
}

/// Where traces go.
pub(crate) fn traces(endpoint: &url::Url) -> String {
    format!(
        "\nTraces go to {endpoint}: click on the demo panel, and look for the trace id that it shows.\n"
    )
}

/// What each command shows, and the command. One line each, so that a copy is one gesture.
fn commands(folder: &Folder, ports: Ports) -> [(&'static str, String); 5] {
    let file = |name: &str| quoted(&folder.file(name));
    let (ca, certificate, key) = (file("ca.crt"), file("caller.crt"), file("caller.key"));
    let method = "ask2do.token.v1.TokenService/MintToken";
    let user = format!(r#"'{{"panel_user": {{"id": "{PANEL_ID}", "role": "{PANEL_ROLE}"}}}}'"#);
    let grpc = ports.grpc();
    [
        (
            "Mint with the command line",
            format!(
                "{} mint --endpoint https://localhost:{grpc} --ca {ca} --cert {certificate} --key {key} --id {PANEL_ID} --role {PANEL_ROLE}",
                command_line(),
            ),
        ),
        (
            "with grpcurl",
            format!(
                "grpcurl -cacert {ca} -cert {certificate} -key {key} -d {user} localhost:{grpc} {method}"
            ),
        ),
        (
            "with buf",
            format!(
                "buf curl --protocol grpc --cacert {ca} --cert {certificate} --key {key} -d {user} https://localhost:{grpc}/{method}"
            ),
        ),
        (
            "as somebody who is no caller (refused)",
            format!(
                "grpcurl -cacert {ca} -cert {} -key {} -d {user} localhost:{grpc} {method}",
                file("stranger.crt"),
                file("stranger.key"),
            ),
        ),
        (
            "Panel ids that make the simulated cloud fail",
            format!("{} cloud --help", this_binary()),
        ),
    ]
}

/// The command line beside this binary, or else how to run it from the sources.
fn command_line() -> String {
    beside("ask2do-token").unwrap_or_else(|| "cargo run -q -p ask2do-token-client --".to_owned())
}

fn this_binary() -> String {
    beside("ask2do-token-playground")
        .unwrap_or_else(|| "cargo run -q -p ask2do-token-playground --".to_owned())
}

fn beside(name: &str) -> Option<String> {
    let path = std::env::current_exe().ok()?.with_file_name(name);
    path.exists().then(|| quoted(&path))
}

/// A path as one word of a shell.
fn quoted(path: &Path) -> String {
    quote(&path.display().to_string())
}

fn quote(text: &str) -> String {
    let plain =
        |character: char| character.is_ascii_alphanumeric() || "/._-+:@%,=".contains(character);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_a_shell_would_take_apart_are_quoted() {
        for (text, expected) in [
            ("/tmp/demo", "/tmp/demo"),
            ("/tmp/my demo", "'/tmp/my demo'"),
            ("/tmp/it's", r"'/tmp/it'\''s'"),
            ("$HOME", "'$HOME'"),
            ("", "''"),
        ] {
            assert_eq!(quote(text), expected);
        }
    }

    #[test]
    fn a_token_is_shown_without_its_signature() {
        let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
        let jwt = format!(
            "{}.{}.c2lnbmF0dXJl",
            part(r#"{"alg":"EdDSA","kid":"1"}"#),
            part(r#"{"sub":"42"}"#)
        );
        let ends = OffsetDateTime::now_utc() + time::Duration::seconds(899);
        let shown = token(&jwt, ends).unwrap();
        assert!(
            shown.contains(r#"header    {"alg":"EdDSA","kid":"1"}"#),
            "{shown}"
        );
        assert!(shown.contains(r#"claims    {"sub":"42"}"#), "{shown}");
        assert!(shown.contains("lifetime  14 min 5"), "{shown}");
        assert!(!shown.contains("c2lnbmF0dXJl"), "{shown}");
    }

    #[test]
    fn what_is_no_token_is_not_shown() {
        for text in ["", "a.b", "not base64.x.y"] {
            assert_eq!(
                token(text, OffsetDateTime::now_utc()),
                Err(Unreadable),
                "{text}"
            );
        }
    }
}

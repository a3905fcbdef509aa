//! Who minted a token.

use std::fmt::Write as _;
use std::io::{self, BufRead};

use super::chain::{Mac, Seal};
use super::command::printable;
use super::line::{Line, token_hash};
use super::verify::next_line;

/// What to look for: a token, or the SHA-256 of one in hexadecimal.
pub(super) fn wanted(text: &str) -> Option<Mac> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    Some(Mac::parse(text).unwrap_or_else(|| token_hash(text)))
}

/// Every line about this token, each as a paragraph.
pub(super) fn find(
    name: &str,
    mut file: impl BufRead,
    wanted: Mac,
    seals: &[Seal],
) -> io::Result<Vec<String>> {
    let wanted = wanted.to_string();
    let (mut number, mut bytes, mut found) = (0, Vec::new(), Vec::new());
    while next_line(&mut file, &mut bytes)? {
        number += 1;
        let line = Line::parse(&bytes);
        if let Some(line) = line.filter(|line| line.says.token_sha256.as_deref() == Some(&wanted)) {
            found.push(describe(&format!("{name}:{number}"), &line, seals));
        }
    }
    Ok(found)
}

fn describe(place: &str, line: &Line<'_>, seals: &[Seal]) -> String {
    let says = &line.says;
    let members = [
        ("minted", Some(&says.time)),
        ("by caller", says.caller.as_ref()),
        ("for panel user", says.panel_user_id.as_ref()),
        ("for panel user (hmac)", says.panel_user_id_hmac.as_ref()),
        ("role", says.panel_user_role.as_ref()),
        ("expires", says.expires_at.as_ref()),
        ("trace", says.trace_id.as_ref()),
        ("instance", Some(&says.instance)),
    ];
    let mut text = format!("{}\n", printable(place));
    for (name, value) in members {
        if let Some(value) = value {
            let value = serde_json::Value::from(value.as_str()).to_string();
            let _ = writeln!(text, "  {name}: {}", printable(&value));
        }
    }
    let seal = if line.holds(seals) {
        "holds"
    } else {
        "does NOT hold: the line was changed, or sealed with another key (--key-file)"
    };
    let _ = writeln!(text, "  seal: {seal}");
    text
}

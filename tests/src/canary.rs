//! Finds secrets in whatever form a program may let them slip out.

use std::collections::HashMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// So many bytes in a row of a secret, in any of its forms, are a leak.
const WINDOW: usize = 16;

/// Secrets to look for.
#[derive(Debug, Default)]
pub struct Canary(HashMap<[u8; WINDOW], Needle>);

#[derive(Clone, Copy, Debug)]
struct Needle {
    secret: &'static str,
    form: &'static str,
}

/// A secret that slipped out.
#[derive(Debug, PartialEq, Eq)]
pub struct Leak {
    /// Which secret.
    pub secret: &'static str,
    /// In which form.
    pub form: &'static str,
    /// What stands around it.
    pub place: String,
}

impl Canary {
    /// Looks for `text` from now on, and calls it `secret`.
    ///
    /// # Panics
    ///
    /// When it is too short to be told from chance.
    pub fn watch(&mut self, secret: &'static str, text: &str) {
        assert!(text.len() >= 2 * WINDOW, "{secret} is too short");
        for (form, written) in forms(text) {
            for window in written.as_bytes().windows(WINDOW) {
                let window = window.try_into().unwrap();
                self.0.entry(window).or_insert(Needle { secret, form });
            }
        }
    }

    /// The first leak in `bytes`.
    #[must_use]
    pub fn find(&self, bytes: &[u8]) -> Option<Leak> {
        let windows = bytes.windows(WINDOW).enumerate();
        windows.into_iter().find_map(|(at, window)| {
            let needle = self.0.get(window)?;
            let around = at.saturating_sub(200)..bytes.len().min(at + 60);
            Some(Leak {
                secret: needle.secret,
                form: needle.form,
                place: String::from_utf8_lossy(&bytes[around]).into_owned(),
            })
        })
    }
}

/// Every way of writing it that logs, URLs, JSON and debuggers have.
fn forms(text: &str) -> Vec<(&'static str, String)> {
    let bytes = text.as_bytes();
    let json = |text: &str| serde_json::to_string(text).unwrap();
    let joined = |separator: &str, write: fn(u8) -> String| {
        let numbers: Vec<_> = bytes.iter().map(|byte| write(*byte)).collect();
        numbers.join(separator)
    };
    let mut forms = vec![
        ("raw", text.to_owned()),
        ("JSON", json(text)),
        ("JSON in JSON", json(&json(text))),
        ("ASCII JSON", ascii_json(text)),
        ("JSON with escaped slashes", json(text).replace('/', "\\/")),
        ("Debug", format!("{text:?}")),
        ("Debug in JSON", json(&format!("{text:?}"))),
        ("Debug of bytes", joined(", ", |byte| byte.to_string())),
        ("a byte string", bytes.escape_ascii().to_string()),
        (
            "a byte string in JSON",
            json(&bytes.escape_ascii().to_string()),
        ),
        ("hex", joined("", |byte| format!("{byte:02x}"))),
        ("HEX", joined("", |byte| format!("{byte:02X}"))),
        ("spaced hex", joined(" ", |byte| format!("{byte:02x}"))),
        ("hex with colons", joined(":", |byte| format!("{byte:02x}"))),
        (
            "Debug of bytes in hex",
            joined(", ", |byte| format!("{byte:x}")),
        ),
        ("URL", percent(text, |byte| format!("%{byte:02X}"))),
        ("url", percent(text, |byte| format!("%{byte:02x}"))),
        (
            "form",
            percent(text, |byte| format!("%{byte:02X}")).replace("%20", "+"),
        ),
    ];
    for alignment in 0..3 {
        // What stands before it moves it within base64's groups of three bytes; the characters at both ends
        // hold bits of the neighbours.
        let moved = [&vec![0; alignment], bytes].concat();
        for (form, encoded) in [
            ("base64", STANDARD_NO_PAD.encode(&moved)),
            ("base64url", URL_SAFE_NO_PAD.encode(&moved)),
        ] {
            let begin = (alignment * 4).div_ceil(3);
            forms.push((form, encoded[begin..encoded.len() - 1].to_owned()));
        }
    }
    forms
}

fn ascii_json(text: &str) -> String {
    let mut out = String::new();
    for unit in serde_json::to_string(text).unwrap().encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() => out.push(byte.into()),
            _ => write!(out, "\\u{unit:04x}").unwrap(),
        }
    }
    out
}

fn percent(text: &str, write: fn(u8) -> String) -> String {
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let bytes = text.bytes();
    bytes
        .map(|byte| match is_unreserved(byte) {
            true => char::from(byte).to_string(),
            false => write(byte),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "s3cr3t+/\"<&é%\\ k-of 32 bytes and more=";

    fn canary() -> Canary {
        let mut canary = Canary::default();
        canary.watch("it", SECRET);
        canary
    }

    #[test]
    fn every_form_is_found_in_the_middle_of_something() {
        let canary = canary();
        for (form, written) in forms(SECRET) {
            let text = format!("{{\"message\":\"x\"}} {written} and so on");
            assert!(canary.find(text.as_bytes()).is_some(), "{form}: {text}");
        }
    }

    #[test]
    fn base64_of_more_than_the_secret_is_found() {
        let canary = canary();
        for before in ["", "1", "12", "123", "tenantKey="] {
            let all = format!("{before}{SECRET}{before}");
            for encoded in [STANDARD_NO_PAD.encode(&all), URL_SAFE_NO_PAD.encode(&all)] {
                let leak = canary.find(encoded.as_bytes()).expect(&encoded);
                assert!(leak.form.starts_with("base64"), "{leak:?}");
            }
        }
    }

    #[test]
    fn a_part_of_the_secret_is_found() {
        let part = &SECRET[9..9 + 20];
        assert_eq!(canary().find(part.as_bytes()).unwrap().secret, "it");
        assert_eq!(canary().find(&SECRET.as_bytes()[..8]), None);
    }

    #[test]
    fn what_holds_no_secret_is_clean() {
        let clean = include_bytes!("canary.rs");
        let text = String::from_utf8_lossy(clean).replace(SECRET, "");
        let text = text.replace(&SECRET.replace('"', "\\\"").replace('\\', "\\\\"), "");
        let mut canary = Canary::default();
        canary.watch("another", "0123456789abcdefghijklmnopqrstuvwxyz");
        assert_eq!(
            canary.find(
                text.replace("0123456789abcdefghijklmnopqrstuvwxyz", "")
                    .as_bytes()
            ),
            None
        );
    }
}

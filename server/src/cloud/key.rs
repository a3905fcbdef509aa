//! The tenant key: the only type that holds it, and the only code that exposes it.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use ask2do_token_tls::{LoadError, Reloader, Watched};
use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::mint::PanelUser;

/// The environment variable that holds the tenant key where no file does.
pub const VARIABLE: &str = "ASK2DO_TENANT_KEY";

/// The longest tenant key, in bytes, after its line end was trimmed.
pub const MAX_LENGTH: usize = 4096;

/// The name under which log and metric speak of the key's file.
pub const WATCH_NAME: &str = "tenant_key";

/// A customer's long-term key at Ask2Do.
///
/// It is checked when it is read, wiped when it is dropped, and never shown: neither `Debug` nor any
/// error tells a byte of it or anything that is computed from it.
pub struct TenantKey {
    key: SecretString,
    modified: Option<SystemTime>,
}

/// Why something is not a tenant key. Says nothing about what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Nothing but, at most, a line end.
    #[error("the tenant key is empty")]
    Empty,
    /// Longer than [`MAX_LENGTH`].
    #[error("the tenant key is longer than {MAX_LENGTH} bytes")]
    TooLong,
    /// Not text.
    #[error("the tenant key is not UTF-8 text")]
    NotUtf8,
    /// An editor put U+FEFF in front of it.
    #[error("the tenant key begins with a byte order mark: save the file without one")]
    ByteOrderMark,
    /// A second line, a tab, a space: a key that was pasted with something beside it.
    #[error("the tenant key holds white space: one line end after it is all that may stand there")]
    WhiteSpace,
    /// NUL or another control character.
    #[error("the tenant key holds a control character")]
    ControlCharacter,
}

impl TenantKey {
    /// Reads a key from a file's or a variable's bytes: one line end (LF or CRLF) after it is trimmed.
    ///
    /// # Errors
    ///
    /// Each way in which it is no key has its own error; none shows the content.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidKey> {
        let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Err(InvalidKey::Empty);
        }
        if line.len() > MAX_LENGTH {
            return Err(InvalidKey::TooLong);
        }
        let text = std::str::from_utf8(line).map_err(|_| InvalidKey::NotUtf8)?;
        if text.starts_with('\u{feff}') {
            return Err(InvalidKey::ByteOrderMark);
        }
        if text.contains(char::is_whitespace) {
            return Err(InvalidKey::WhiteSpace);
        }
        if text.contains(char::is_control) {
            return Err(InvalidKey::ControlCharacter);
        }
        // Straight into its final allocation: a `String` that grows or shrinks leaves a copy behind.
        let key = SecretString::new(Box::from(text));
        Ok(Self {
            key,
            modified: None,
        })
    }

    /// Reads the key from [`VARIABLE`]; `None` where it is not set.
    ///
    /// The process's environment block keeps its own copy, which nothing can wipe: a file is better.
    ///
    /// # Errors
    ///
    /// As [`Self::from_bytes`].
    pub fn from_environment() -> Option<Result<Self, InvalidKey>> {
        std::env::var_os(VARIABLE).map(Self::from_variable)
    }

    fn from_variable(value: OsString) -> Result<Self, InvalidKey> {
        Self::from_bytes(&Zeroizing::new(value.into_encoded_bytes()))
    }

    /// Reads the key from a file, and again whenever the file's content changes.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or holds no key.
    pub fn watch(path: PathBuf) -> Result<(Watched<Self>, Reloader), LoadError> {
        Watched::load(WATCH_NAME, vec![path], |contents| {
            let file = contents.first().ok_or(InvalidKey::Empty)?;
            let mut key = Self::from_bytes(file.as_bytes())?;
            key.modified = file.modified();
            Ok(key)
        })
    }

    /// When the key's file was written, where it came from a file that says so.
    #[must_use]
    pub fn modified(&self) -> Option<SystemTime> {
        self.modified
    }

    /// The body of the request that exchanges this key for a panel user's token.
    ///
    /// Its bytes are wiped when the last of their references goes.
    pub(super) fn request_body(&self, user: &PanelUser) -> Bytes {
        Bytes::from_owner(self.request_json(user))
    }

    fn request_json(&self, user: &PanelUser) -> Zeroizing<Vec<u8>> {
        let body = Body {
            tenant_key: self.key.expose_secret(),
            panel_user: User {
                id: user.id(),
                role: user.role(),
            },
        };
        let mut length = Length(0);
        write(&body, &mut length);
        // Allocated once, at its length: a buffer that grows leaves its old bytes unwiped.
        let mut json = Zeroizing::new(Vec::with_capacity(length.0));
        write(&body, &mut *json);
        json
    }
}

impl fmt::Debug for TenantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantKey").finish_non_exhaustive()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    tenant_key: &'a str,
    panel_user: User<'a>,
}

#[derive(Serialize)]
struct User<'a> {
    id: &'a str,
    role: &'a str,
}

/// Counts the bytes that it is given.
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(body: &Body<'_>, writer: impl io::Write) {
    let written = serde_json::to_writer(writer, body);
    debug_assert!(
        written.is_ok(),
        "strings always serialize, memory takes them"
    );
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use zeroize::Zeroize;

    use super::*;

    const CANARY: &str = "canary-5f2d9c-tenant-key";

    fn user(id: &str, role: &str) -> PanelUser {
        PanelUser::parse(id.to_owned(), role.to_owned()).unwrap()
    }

    fn text(body: &[u8]) -> serde_json::Value {
        serde_json::from_slice(body).unwrap()
    }

    #[test]
    fn one_line_end_is_trimmed() {
        for form in ["k1", "k1\n", "k1\r\n"] {
            let key = TenantKey::from_bytes(form.as_bytes()).unwrap();
            assert_eq!(key.key.expose_secret(), "k1", "{form:?}");
        }
    }

    #[test]
    fn what_is_no_key_says_why_and_shows_nothing() {
        let long = "k".repeat(MAX_LENGTH + 1);
        let table: &[(&[u8], InvalidKey)] = &[
            (b"", InvalidKey::Empty),
            (b"\n", InvalidKey::Empty),
            (b"\r\n", InvalidKey::Empty),
            (b"canary\n\n", InvalidKey::WhiteSpace),
            (b" canary", InvalidKey::WhiteSpace),
            (b"canary x", InvalidKey::WhiteSpace),
            (b"canary\tx", InvalidKey::WhiteSpace),
            ("canary\u{a0}x".as_bytes(), InvalidKey::WhiteSpace),
            (b"canary\0", InvalidKey::ControlCharacter),
            (b"canary\x1b[0m", InvalidKey::ControlCharacter),
            (b"\xffcanary", InvalidKey::NotUtf8),
            ("\u{feff}canary".as_bytes(), InvalidKey::ByteOrderMark),
            (long.as_bytes(), InvalidKey::TooLong),
        ];
        for (bytes, expected) in table {
            let error = TenantKey::from_bytes(bytes).unwrap_err();
            assert_eq!(error, *expected, "{bytes:?}");
            assert!(!format!("{error} {error:?}").contains("canary"));
        }
        assert!(TenantKey::from_bytes(&long.as_bytes()[1..]).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn a_variable_that_is_not_unicode_is_an_error() {
        use std::os::unix::ffi::OsStringExt as _;
        let value = OsString::from_vec(b"\xff\xfe".to_vec());
        let error = TenantKey::from_variable(value).unwrap_err();
        assert_eq!(error, InvalidKey::NotUtf8);
    }

    #[test]
    fn debug_shows_no_byte_of_the_key() {
        let key = TenantKey::from_bytes(CANARY.as_bytes()).unwrap();
        assert_eq!(format!("{key:?}"), "TenantKey { .. }");
    }

    #[test]
    fn the_body_is_the_vendors_and_escapes_what_json_must() {
        let key = TenantKey::from_bytes(br#"a"b\c"#).unwrap();
        let body = key.request_body(&user("4\"2", "admin"));
        assert_eq!(
            text(&body),
            serde_json::json!({
                "tenantKey": "a\"b\\c",
                "panelUser": {"id": "4\"2", "role": "admin"},
            })
        );
    }

    #[test]
    fn the_bodys_buffer_is_allocated_once() {
        let key = TenantKey::from_bytes("\"".repeat(MAX_LENGTH).as_bytes()).unwrap();
        let body = key.request_json(&user(&"\\".repeat(256), "owner"));
        assert!(body.len() > 2 * MAX_LENGTH);
        assert_eq!(body.capacity(), body.len());
    }

    /// Stands in for the buffer, and tells when it was wiped.
    struct Probe(Arc<AtomicBool>);

    impl AsRef<[u8]> for Probe {
        fn as_ref(&self) -> &[u8] {
            b"body"
        }
    }

    impl Zeroize for Probe {
        fn zeroize(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn the_body_is_wiped_when_its_last_reference_goes() {
        let wiped = Arc::new(AtomicBool::new(false));
        let body = Bytes::from_owner(Zeroizing::new(Probe(Arc::clone(&wiped))));
        let sent_by_hyper = body.slice(1..);
        drop(body);
        assert!(!wiped.load(Ordering::SeqCst));
        drop(sent_by_hyper);
        assert!(wiped.load(Ordering::SeqCst));
    }
}

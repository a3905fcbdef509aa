//! The chain: what joins a line to the one before it, and seals both.

use std::fmt;
use std::io::Write as _;
use std::sync::Arc;

use aws_lc_rs::{digest, hmac};
use serde::{Serialize, Serializer};

/// What every line of the log begins with.
pub(super) const LINE_BEGIN: &str = "{\"audit\":1,";
/// What stands between a line's content and its seal.
pub(super) const MAC_MEMBER: &str = ",\"mac\":\"";

/// An audit key, for its two uses. Never shown.
#[derive(Clone)]
pub struct Key {
    chain: hmac::Key,
    panel_user_ids: hmac::Key,
}

/// Why something is not an audit key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Short enough to be guessed.
    #[error("fewer than {} bytes", Key::LEAST)]
    TooShort,
}

impl Key {
    /// The fewest bytes of a key: as many as the seal has.
    pub const LEAST: usize = 32;

    /// Makes a key of any bytes; line ends after them are left out.
    ///
    /// # Errors
    ///
    /// They are fewer than [`Self::LEAST`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidKey> {
        let bytes = bytes.trim_ascii_end();
        if bytes.len() < Self::LEAST {
            return Err(InvalidKey::TooShort);
        }
        let master = hmac::Key::new(hmac::HMAC_SHA256, bytes);
        // A key for each use: what one of them gives away says nothing of the other.
        let derived = |label: &str| {
            let tag = hmac::sign(&master, label.as_bytes());
            hmac::Key::new(hmac::HMAC_SHA256, tag.as_ref())
        };
        Ok(Self {
            chain: derived("ask2do-token audit chain 1"),
            panel_user_ids: derived("ask2do-token audit panel user id 1"),
        })
    }

    /// What stands in the log instead of a panel user's id.
    pub(super) fn hash_id(&self, id: &str) -> Mac {
        Mac::of(hmac::sign(&self.panel_user_ids, id.as_bytes()).as_ref())
    }

    pub(super) fn seal(&self) -> Seal {
        Seal::Keyed(Arc::new(self.chain.clone()))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(not shown)")
    }
}

/// How lines are sealed.
#[derive(Clone)]
pub(super) enum Seal {
    /// By whoever has the key: shows what anybody else has changed.
    Keyed(Arc<hmac::Key>),
    /// By anybody: shows accidents.
    Plain,
}

impl Seal {
    pub(super) const fn algorithm(&self) -> &'static str {
        match self {
            Self::Keyed(_) => "hmac-sha256",
            Self::Plain => "sha256",
        }
    }

    pub(super) fn mac(&self, content: &[u8]) -> Mac {
        match self {
            Self::Keyed(key) => Mac::of(hmac::sign(key, content).as_ref()),
            Self::Plain => sha256(content),
        }
    }
}

/// 32 bytes, shown in hexadecimal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Mac(pub(super) [u8; 32]);

impl Mac {
    fn of(bytes: &[u8]) -> Self {
        let mut mac = Self::default();
        // Every algorithm here gives as many bytes.
        for (to, from) in mac.0.iter_mut().zip(bytes) {
            *to = *from;
        }
        mac
    }

    /// Reads 64 hexadecimal digits.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut mac = Self::default();
        if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        for (byte, at) in mac.0.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
        }
        Some(mac)
    }

    pub(super) fn hex(self) -> Hex<32> {
        Hex::of(self.0)
    }

    /// The first 48 bits, which a metric can hold: the first twelve digits.
    pub(super) fn head_number(self) -> u64 {
        self.0[..6]
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.hex().as_str())
    }
}

/// Bytes in lowercase hexadecimal, two digits for each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hex<const BYTES: usize>([[u8; 2]; BYTES]);

impl<const BYTES: usize> Hex<BYTES> {
    /// By a table: a line has four of them, and formatting each byte costs as much as a hash.
    pub(crate) fn of(bytes: [u8; BYTES]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let pair = |byte: u8| [byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]);
        Self(bytes.map(pair))
    }

    fn as_bytes(&self) -> &[u8] {
        self.0.as_flattened()
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

impl<const BYTES: usize> Serialize for Hex<BYTES> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The SHA-256 of these bytes: of a token, and of a line where there is no key.
pub(super) fn sha256(bytes: &[u8]) -> Mac {
    Mac::of(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// The last line of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) instance: String,
    pub(super) seq: u64,
    pub(super) mac: Mac,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.instance, self.seq, self.mac)
    }
}

/// A chain that is being written.
pub(super) struct Chain {
    seal: Seal,
    instance: String,
    at: Place,
}

/// How far a chain has got.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    next: u64,
    previous: Mac,
}

impl Chain {
    /// A chain with no line yet, of an instance that no other has the name of.
    pub(super) fn begin(seal: Seal) -> Self {
        Self {
            seal,
            instance: format!("{:016x}", rand::random::<u64>()),
            at: Place::default(),
        }
    }

    /// Writes the next line behind `text`, its end included: the members of this JSON object between its own.
    pub(super) fn append(&mut self, object: &[u8], text: &mut Vec<u8>) {
        let begin = text.len();
        let Place { next, previous } = self.at;
        let members = object
            .get(1..object.len().saturating_sub(1))
            .unwrap_or_default();
        // Writing to memory cannot fail.
        let _ = write!(
            text,
            "{LINE_BEGIN}\"instance\":\"{}\",\"seq\":{next},",
            self.instance
        );
        text.extend(members);
        text.extend(b",\"prev\":\"");
        text.extend(previous.hex().as_bytes());
        text.push(b'"');
        let mac = self.seal.mac(&text[begin..]);
        text.extend(MAC_MEMBER.as_bytes());
        text.extend(mac.hex().as_bytes());
        text.extend(b"\"}\n");
        self.at = Place {
            next: next + 1,
            previous: mac,
        };
    }

    /// The next line by itself.
    #[cfg(test)]
    pub(super) fn line(&mut self, members: &str) -> String {
        let mut line = Vec::new();
        self.append(format!("{{{members}}}").as_bytes(), &mut line);
        String::from_utf8(line).unwrap()
    }

    pub(super) const fn place(&self) -> Place {
        self.at
    }

    /// Goes on from there.
    pub(super) fn go_to(&mut self, place: Place) {
        self.at = place;
    }

    /// The last line, once there is one.
    pub(super) fn head(&self) -> Option<Head> {
        Some(Head {
            instance: self.instance.clone(),
            seq: self.at.next.checked_sub(1)?,
            mac: self.at.previous,
        })
    }

    pub(super) const fn algorithm(&self) -> &'static str {
        self.seal.algorithm()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: &[u8] = b"0123456789abcdef0123456789abcdef\n";

    #[test]
    fn a_key_has_at_least_32_bytes_without_its_line_end() {
        assert!(Key::from_bytes(LONG).is_ok());
        assert_eq!(
            Key::from_bytes(&LONG[1..]).unwrap_err(),
            InvalidKey::TooShort
        );
        assert!(!format!("{:?}", Key::from_bytes(LONG).unwrap()).contains("0123"));
    }

    #[test]
    fn a_line_end_changes_no_key_and_each_use_has_its_own() {
        let (with, without) = (Key::from_bytes(LONG), Key::from_bytes(&LONG[..32]));
        let (with, without) = (with.unwrap(), without.unwrap());
        assert_eq!(with.hash_id("42"), without.hash_id("42"));
        assert_ne!(with.hash_id("42"), with.hash_id("43"));
        assert_ne!(with.hash_id("42"), with.seal().mac(b"42"));
    }

    #[test]
    fn hexadecimal_is_read_as_it_is_written() {
        let mac = sha256(b"abc");
        // FIPS 180-2, appendix B.1.
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(mac.to_string(), text);
        assert_eq!(Mac::parse(text), Some(mac));
        assert_eq!(mac.head_number(), 0xba78_16bf_8f01);
        for bad in [
            "",
            "ba",
            &text[1..],
            &text.replace('b', "g"),
            &"+1".repeat(32),
        ] {
            assert_eq!(Mac::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn each_line_names_the_one_before_it() {
        let mut chain = Chain::begin(Seal::Plain);
        assert_eq!(chain.head(), None);
        chain.line("\"event\":\"begin\"");
        let head = chain.head().unwrap();
        let line = chain.line("\"event\":\"end\"");
        assert!(line.contains(&format!(
            "\"seq\":1,\"event\":\"end\",\"prev\":\"{}\"",
            head.mac
        )));
        assert_eq!(line.find('\n'), Some(line.len() - 1));
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["mac"], chain.head().unwrap().mac.to_string());
    }
}

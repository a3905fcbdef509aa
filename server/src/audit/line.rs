//! One line: what it says of a decision, and how it is read back.

use std::sync::Arc;

use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use super::chain::{Head, Hex, Key, LINE_BEGIN, MAC_MEMBER, Mac, Seal, sha256};

/// The members of most lines take less.
const USUAL_MEMBERS: usize = 512;

/// What was decided about one call.
#[derive(Debug)]
pub(crate) struct Decision<'a> {
    /// The caller, where the certificate names one.
    pub(crate) caller: Option<&'a Arc<str>>,
    /// The panel user's id and role, where the call names one that can be.
    pub(crate) panel_user: Option<(&'a str, &'a str)>,
    /// What came of it.
    pub(crate) outcome: Outcome,
    /// `OK`, the contract's reason, or `CANCELLED`.
    pub(crate) reason: &'static str,
    /// The token that was minted, and its expiry.
    pub(crate) token: Option<(&'a str, OffsetDateTime)>,
    /// The trace of the call.
    pub(crate) trace_id: Hex<16>,
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// A token was minted.
    Minted,
    /// None was handed out; `reason` says why.
    Failed,
    /// The caller went away before the answer; Ask2Do may have minted a token, which nobody has got.
    Cancelled,
}

#[derive(Serialize)]
struct Members<'a> {
    time: Timestamp,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    panel_user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    panel_user_id_hmac: Option<Hex<32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    panel_user_role: Option<&'a str>,
    outcome: Outcome,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_sha256: Option<Hex<32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    trace_id: Hex<16>,
}

impl Decision<'_> {
    /// The members of its line, as an object; with a key for ids, their hash stands for them.
    pub(super) fn object(&self, ids: Option<&Key>) -> Vec<u8> {
        let id = self.panel_user.map(|(id, _)| id);
        let members = Members {
            time: Timestamp::now(),
            event: "mint",
            caller: self.caller.map(|name| &**name),
            panel_user_id: id.filter(|_| ids.is_none()),
            panel_user_id_hmac: ids.zip(id).map(|(key, id)| key.hash_id(id).hex()),
            panel_user_role: self.panel_user.map(|(_, role)| role),
            outcome: self.outcome,
            reason: self.reason,
            token_sha256: self.token.map(|(token, _)| token_hash(token).hex()),
            expires_at: self.token.map(|(_, at)| Timestamp(at)),
            trace_id: self.trace_id,
        };
        object(&members)
    }
}

/// What the log says of itself.
#[derive(Serialize)]
struct Own {
    time: Timestamp,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    algorithm: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<Previous>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lines: Option<u64>,
}

/// The head that the output held before a chain began.
#[derive(Debug, Serialize, Deserialize)]
struct Previous {
    instance: String,
    seq: u64,
    mac: String,
}

impl Own {
    fn new(event: &'static str) -> Self {
        Self {
            time: Timestamp::now(),
            event,
            algorithm: None,
            version: None,
            host: None,
            previous: None,
            lines: None,
        }
    }
}

/// The first line of a chain.
pub(super) fn begin(algorithm: &'static str, previous: Option<Head>) -> Vec<u8> {
    object(&Own {
        algorithm: Some(algorithm),
        version: Some(env!("CARGO_PKG_VERSION")),
        host: rustix::system::uname()
            .nodename()
            .to_str()
            .ok()
            .map(str::to_owned),
        previous: previous.map(|head| Previous {
            instance: head.instance,
            seq: head.seq,
            mac: head.mac.to_string(),
        }),
        ..Own::new("begin")
    })
}

/// So many lines before this one could not be written.
pub(super) fn lost(lines: u64) -> Vec<u8> {
    object(&Own {
        lines: Some(lines),
        ..Own::new("lost")
    })
}

/// The last line of a chain.
pub(super) fn end() -> Vec<u8> {
    object(&Own::new("end"))
}

/// The hash by which a token is found.
pub(super) fn token_hash(token: &str) -> Mac {
    sha256(token.as_bytes())
}

/// A time as RFC 3339 has it, in UTC.
struct Timestamp(OffsetDateTime);

impl Timestamp {
    /// To the millisecond: finer ones say nothing, and lines are many.
    fn now() -> Self {
        let now = OffsetDateTime::now_utc();
        Self(now.replace_millisecond(now.millisecond()).unwrap_or(now))
    }
}

impl Serialize for Timestamp {
    /// Times to the millisecond, which nearly all are, are written digit by digit: a line has two, and the general
    /// way costs as much as its seal.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let at = self.0.to_offset(UtcOffset::UTC);
        let nanosecond = at.nanosecond();
        let year = u16::try_from(at.year()).ok().filter(|year| *year < 10_000);
        let Some(year) = year.filter(|_| nanosecond.is_multiple_of(1_000_000)) else {
            let text = at.format(&Rfc3339).map_err(S::Error::custom)?;
            return serializer.serialize_str(&text);
        };
        let mut text = *b"0000-00-00T00:00:00.000Z";
        for (place, number) in [
            (0..4, year),
            (5..7, u8::from(at.month()).into()),
            (8..10, at.day().into()),
            (11..13, at.hour().into()),
            (14..16, at.minute().into()),
            (17..19, at.second().into()),
            (20..23, at.millisecond()),
        ] {
            let mut rest = number;
            for digit in text[place].iter_mut().rev() {
                *digit = b"0123456789"[usize::from(rest % 10)];
                rest /= 10;
            }
        }
        let end = if nanosecond == 0 { 19 } else { 23 };
        text[end] = b'Z';
        serializer.serialize_str(std::str::from_utf8(&text[..=end]).map_err(S::Error::custom)?)
    }
}

/// An object with these members.
fn object(members: &impl Serialize) -> Vec<u8> {
    let mut json = Vec::with_capacity(USUAL_MEMBERS);
    // Text and numbers alone: it cannot fail.
    let _ = serde_json::to_writer(&mut json, members);
    json
}

/// A line that was read.
#[derive(Debug)]
pub(super) struct Line<'a> {
    content: &'a [u8],
    mac: Mac,
    previous_mac: Mac,
    /// What it says.
    pub(super) says: Says,
}

/// What a line says. A member that is there twice is an error.
#[derive(Debug, Deserialize)]
pub(super) struct Says {
    pub(super) instance: String,
    pub(super) seq: u64,
    pub(super) time: String,
    pub(super) event: String,
    previous: Option<Previous>,
    pub(super) lines: Option<u64>,
    pub(super) caller: Option<String>,
    pub(super) panel_user_id: Option<String>,
    pub(super) panel_user_id_hmac: Option<String>,
    pub(super) panel_user_role: Option<String>,
    pub(super) token_sha256: Option<String>,
    pub(super) expires_at: Option<String>,
    pub(super) trace_id: Option<String>,
    prev: String,
    mac: String,
}

impl<'a> Line<'a> {
    /// Nothing for what is no line of an audit log, or only a piece of one.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        if !text.starts_with(LINE_BEGIN) {
            return None;
        }
        let (content, seal) = text.split_at_checked(text.rfind(MAC_MEMBER)?)?;
        let says: Says = serde_json::from_str(text).ok()?;
        // As every process names itself: what is printed of a line is nothing that a terminal obeys.
        let hexadecimal = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if says.instance.len() != 16 || !says.instance.bytes().all(hexadecimal) {
            return None;
        }
        let mac = Mac::parse(&says.mac)?;
        // What stands behind the seal is under no seal.
        if seal != format!("{MAC_MEMBER}{mac}\"}}") {
            return None;
        }
        Some(Self {
            content: content.as_bytes(),
            mac,
            previous_mac: Mac::parse(&says.prev)?,
            says,
        })
    }

    /// Whether one of these seals made it.
    pub(super) fn holds(&self, seals: &[Seal]) -> bool {
        seals.iter().any(|seal| seal.mac(self.content) == self.mac)
    }

    /// Its place in its chain.
    pub(super) fn head(&self) -> Head {
        Head {
            instance: self.says.instance.clone(),
            seq: self.says.seq,
            mac: self.mac,
        }
    }

    /// The seal of the line before it in its chain.
    pub(super) fn previous_mac(&self) -> Mac {
        self.previous_mac
    }

    /// The head that its chain found in the output when it began.
    pub(super) fn found(&self) -> Option<Head> {
        let previous = self.says.previous.as_ref()?;
        Some(Head {
            instance: previous.instance.clone(),
            seq: previous.seq,
            mac: Mac::parse(&previous.mac)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(time: OffsetDateTime) -> String {
        let json = serde_json::to_string(&Timestamp(time)).unwrap();
        json.trim_matches('"').to_owned()
    }

    #[test]
    fn times_are_written_as_the_standard_says() {
        for text in [
            "1970-01-01T00:00:00Z",
            "2026-05-02T13:55:00.001Z",
            "2026-12-31T23:59:59.1Z",
            "2026-05-02T13:55:00.123456789Z",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999Z",
            "2026-05-02T15:55:00.5+02:00",
        ] {
            let time = OffsetDateTime::parse(text, &Rfc3339).unwrap();
            let written = written(time);
            assert_eq!(OffsetDateTime::parse(&written, &Rfc3339).unwrap(), time);
            assert!(written.ends_with('Z'), "{written}");
        }
        let time = OffsetDateTime::parse("2026-05-02T13:55:00.120Z", &Rfc3339).unwrap();
        assert_eq!(written(time), "2026-05-02T13:55:00.120Z");
    }
}

//! Who calls what, and how often.

use std::path::PathBuf;
use std::str::FromStr;

use url::Url;

/// One kind of calls, as `name=panel,rate=200,url=https://...,folder=callers/panel`. With a folder, that
/// of `ca.crt`, `tls.crt` and `tls.key`, they are callers' over mTLS; without, browsers' through a gateway.
/// `id` is the panel id of its calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lane {
    /// What reports call it.
    pub(super) name: String,
    /// Calls a second.
    pub(super) rate: u32,
    /// The service's endpoint, or the gateway's whole URL.
    pub(super) url: Url,
    /// The caller's certificate; none for a browser.
    pub(super) folder: Option<PathBuf>,
    /// The panel id, which a number follows behind a dot.
    pub(super) id: String,
}

/// Why a text is no lane.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LaneError {
    #[error("expected name=NAME,rate=N,url=URL, and perhaps folder=FOLDER and id=ID; found `{0}`")]
    Form(String),
    #[error("`{0}` is missing")]
    Missing(&'static str),
    #[error("the rate is a whole number of calls a second, 1 to 10000")]
    Rate,
    #[error("the URL is none: {0}")]
    Url(#[from] url::ParseError),
    #[error("a call through the gateway goes to an http:// URL")]
    Scheme,
}

/// More than one process can make on time.
const HIGHEST_RATE: u32 = 10_000;

/// What Ask2Do may well take.
const ID: &str = "slow-50ms";

impl FromStr for Lane {
    type Err = LaneError;

    fn from_str(text: &str) -> Result<Self, LaneError> {
        let (mut name, mut rate, mut url, mut folder, mut id) = (None, None, None, None, None);
        for part in text.split(',') {
            let (place, value) = match part.split_once('=') {
                Some(("name", value)) => (&mut name, value),
                Some(("rate", value)) => (&mut rate, value),
                Some(("url", value)) => (&mut url, value),
                Some(("folder", value)) => (&mut folder, value),
                Some(("id", value)) => (&mut id, value),
                _ => return Err(LaneError::Form(part.to_owned())),
            };
            *place = Some(value);
        }
        let rate = rate.ok_or(LaneError::Missing("rate"))?;
        let rate = rate.parse().map_err(|_| LaneError::Rate)?;
        if !(1..=HIGHEST_RATE).contains(&rate) {
            return Err(LaneError::Rate);
        }
        let url = Url::parse(url.ok_or(LaneError::Missing("url"))?)?;
        if folder.is_none() && url.scheme() != "http" {
            return Err(LaneError::Scheme);
        }
        Ok(Self {
            name: name.ok_or(LaneError::Missing("name"))?.to_owned(),
            rate,
            url,
            folder: folder.map(PathBuf::from),
            id: id.unwrap_or(ID).to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_of_callers_and_of_browsers() {
        let text = "name=panel,rate=200,url=https://x:8443,folder=/etc/panel,id=42";
        let lane: Lane = text.parse().unwrap();
        assert_eq!((lane.name.as_str(), lane.rate), ("panel", 200));
        assert_eq!(lane.folder, Some("/etc/panel".into()));
        assert_eq!(lane.id, "42");
        let text = "url=http://x/api/ask2do/token,name=gateway,rate=50";
        let lane: Lane = text.parse().unwrap();
        assert_eq!((lane.folder, lane.id.as_str()), (None, ID));
    }

    #[test]
    fn what_is_no_lane_says_why() {
        let no_base = url::ParseError::RelativeUrlWithoutBase;
        for (text, error) in [
            ("panel", LaneError::Form("panel".to_owned())),
            ("rate=1,speed=2", LaneError::Form("speed=2".to_owned())),
            ("rate=0,url=http://x", LaneError::Rate),
            ("rate=often", LaneError::Rate),
            ("rate=1", LaneError::Missing("url")),
            ("rate=1,url=x", LaneError::Url(no_base)),
            ("rate=1,url=https://x", LaneError::Scheme),
            ("rate=1,url=http://x", LaneError::Missing("name")),
        ] {
            assert_eq!(text.parse::<Lane>(), Err(error), "{text}");
        }
    }
}

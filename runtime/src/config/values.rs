//! The plain types of values.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::path::{Path, PathBuf};

use super::given::Given;
use super::setting::Value;

impl Value for bool {
    const TYPE: &'static str = "boolean";

    fn allowed() -> String {
        "true or false".to_owned()
    }

    fn parse(given: &Given<'_>) -> Option<Self> {
        given.boolean()
    }

    fn stand_in() -> Self {
        false
    }
}

macro_rules! integers {
    ($($Integer:ty),*) => { $(
        impl Value for $Integer {
            const TYPE: &'static str = "whole number";

            fn allowed() -> String {
                "a whole number".to_owned()
            }

            fn bounds() -> Option<String> {
                Some(format!("{} to {}", Self::MIN, Self::MAX))
            }

            fn parse(given: &Given<'_>) -> Option<Self> {
                given.integer()?.try_into().ok()
            }

            fn stand_in() -> Self {
                0
            }
        }
    )* };
}
integers!(u8, u16, u32, u64, usize);

/// Text of one line.
impl Value for String {
    const TYPE: &'static str = "text";

    fn allowed() -> String {
        "text without control characters".to_owned()
    }

    fn bounds() -> Option<String> {
        Some(format!("at most {LONGEST_TEXT} bytes"))
    }

    fn parse(given: &Given<'_>) -> Option<Self> {
        let text = given.text()?;
        (text.len() <= LONGEST_TEXT && !text.contains(char::is_control)).then(|| text.to_owned())
    }

    fn stand_in() -> Self {
        Self::new()
    }
}

/// Nothing that a person configures is longer.
const LONGEST_TEXT: usize = 4096;

impl Value for SocketAddr {
    const TYPE: &'static str = "address and port";

    fn allowed() -> String {
        r#"an IP address and port, such as "0.0.0.0:8443" or "[::]:8443""#.to_owned()
    }

    fn parse(given: &Given<'_>) -> Option<Self> {
        given.text()?.parse().ok()
    }

    fn stand_in() -> Self {
        Self::from((Ipv4Addr::UNSPECIFIED, 0))
    }
}

/// The path of a file; a relative one was given relative to the configuration file.
#[derive(Clone, PartialEq, Eq)]
pub struct FilePath(PathBuf);

impl Value for FilePath {
    const TYPE: &'static str = "path of a file";

    fn allowed() -> String {
        r#"the path of a file, such as "tls.crt", relative to the configuration file"#.to_owned()
    }

    fn parse(given: &Given<'_>) -> Option<Self> {
        let path = given.text().filter(|path| {
            !path.is_empty() && path.len() <= LONGEST_TEXT && !path.contains(char::is_control)
        })?;
        Some(Self(given.base().join(path)))
    }

    fn stand_in() -> Self {
        Self(PathBuf::new())
    }
}

impl FilePath {
    /// The path itself.
    pub fn into_path(self) -> PathBuf {
        self.0
    }
}

impl Deref for FilePath {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl AsRef<Path> for FilePath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl fmt::Debug for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

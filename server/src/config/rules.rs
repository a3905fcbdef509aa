//! What a caller's name, its SAN and a list of roles may be.

use std::ops::RangeInclusive;

use ask2do_token_runtime::config::{Given, Length, Rule, Value};

use crate::admission::{ANY_CALLER, San};

impl Value for San {
    const TYPE: &'static str = "SAN";

    fn allowed() -> String {
        r#"a URI such as "spiffe://demo/ns/panel/sa/backend", compared exactly, or a DNS name, compared without regard to case; no wildcard"#.to_owned()
    }

    fn parse(given: &Given<'_>) -> Option<Self> {
        Self::parse(given.text()?).ok()
    }

    fn stand_in() -> Self {
        Self::Dns("".into())
    }
}

/// A word that fits into a metric's label and a log line.
pub(super) struct CallerName;

impl Rule<String> for CallerName {
    fn holds(&self, name: &String) -> bool {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        (1..=64).contains(&name.len()) && name.chars().all(fits) && name != ANY_CALLER
    }

    fn allowed(&self) -> String {
        format!("1 to 64 of the characters A-Z a-z 0-9 . _ -; not {ANY_CALLER:?}")
    }
}

/// At least one role, each as a panel user's may be.
pub(super) struct RoleNames;

impl RoleNames {
    const BYTES: RangeInclusive<usize> = 1..=64;
}

impl Rule<Vec<String>> for RoleNames {
    fn holds(&self, roles: &Vec<String>) -> bool {
        let length = Length(Self::BYTES);
        !roles.is_empty() && roles.iter().all(|role| length.holds(role))
    }

    fn allowed(&self) -> String {
        format!("at least one, each {}", Length(Self::BYTES).allowed())
    }
}

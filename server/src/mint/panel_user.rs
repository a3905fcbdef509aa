//! A user of the customer's admin panel, as a caller names one.

use std::fmt;

/// The most bytes of a panel user's id.
const ID_BYTES: usize = 256;
/// The most bytes of a panel user's role.
const ROLE_BYTES: usize = 64;

/// A panel user whose id and role are well-formed. Both are personal data: Debug shows neither.
#[derive(Clone, PartialEq, Eq)]
pub struct PanelUser {
    id: String,
    role: String,
}

impl PanelUser {
    /// Takes an id of 1 to 256 bytes and a role of 1 to 64, without control characters (Unicode's
    /// category Cc, line and paragraph separators, bidirectional controls).
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them, not the first alone.
    pub fn parse(id: String, role: String) -> Result<Self, InvalidPanelUser> {
        let violations: Vec<Violation> = problems(&id, ID_BYTES)
            .map(|problem| Violation {
                field: Field::Id,
                problem,
            })
            .chain(problems(&role, ROLE_BYTES).map(|problem| Violation {
                field: Field::Role,
                problem,
            }))
            .collect();
        if violations.is_empty() {
            Ok(Self { id, role })
        } else {
            Err(InvalidPanelUser { violations })
        }
    }

    /// The panel's own id of the user.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The user's role in the panel.
    #[must_use]
    pub fn role(&self) -> &str {
        &self.role
    }
}

impl fmt::Debug for PanelUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PanelUser")
            .field("id", &"[redacted]")
            .field("role", &"[redacted]")
            .finish()
    }
}

/// What is wrong with an id and a role. It holds neither.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidPanelUser {
    violations: Vec<Violation>,
}

impl InvalidPanelUser {
    /// At least one; the id's come first.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }
}

impl fmt::Display for InvalidPanelUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, violation) in self.violations.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{violation}")?;
        }
        Ok(())
    }
}

impl std::error::Error for InvalidPanelUser {}

/// One thing that is wrong with one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which field.
    pub field: Field,
    /// What is wrong with it.
    pub problem: Problem,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.field.path(), self.problem)
    }
}

/// A field of a panel user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The id.
    Id,
    /// The role.
    Role,
}

impl Field {
    /// Where it stands in the request of the contract.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Id => "panel_user.id",
            Self::Role => "panel_user.role",
        }
    }
}

/// What can be wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Nothing in it.
    Empty,
    /// Longer than `limit` bytes.
    TooLong {
        /// The most bytes it may have.
        limit: usize,
    },
    /// It holds a control character.
    ControlCharacter,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("must not be empty"),
            Self::TooLong { limit } => write!(f, "must have at most {limit} bytes"),
            Self::ControlCharacter => f.write_str("must not hold control characters"),
        }
    }
}

fn problems(text: &str, limit: usize) -> impl Iterator<Item = Problem> {
    let empty = text.is_empty().then_some(Problem::Empty);
    let too_long = (text.len() > limit).then_some(Problem::TooLong { limit });
    let control = text
        .chars()
        .any(is_control)
        .then_some(Problem::ControlCharacter);
    [empty, too_long, control].into_iter().flatten()
}

/// What could break a line of a log, or show a name as something that it is not.
fn is_control(c: char) -> bool {
    // Unicode's category Cc; line and paragraph separator; the bidirectional controls of UAX #9.
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}')
        || matches!(c, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems_of(id: &str, role: &str) -> Vec<(Field, Problem)> {
        match PanelUser::parse(id.to_owned(), role.to_owned()) {
            Ok(_) => Vec::new(),
            Err(invalid) => invalid
                .violations()
                .iter()
                .map(|violation| (violation.field, violation.problem))
                .collect(),
        }
    }

    #[test]
    fn lengths_are_counted_in_bytes_up_to_the_limit() {
        assert_eq!(problems_of(&"é".repeat(128), &"r".repeat(64)), []);
        assert_eq!(
            problems_of(&format!("{}x", "é".repeat(128)), &"r".repeat(65)),
            [
                (Field::Id, Problem::TooLong { limit: 256 }),
                (Field::Role, Problem::TooLong { limit: 64 }),
            ]
        );
    }

    #[test]
    fn every_violation_is_reported_at_once() {
        let long = format!("{}\n", "x".repeat(256));
        assert_eq!(
            problems_of(&long, ""),
            [
                (Field::Id, Problem::TooLong { limit: 256 }),
                (Field::Id, Problem::ControlCharacter),
                (Field::Role, Problem::Empty),
            ]
        );
    }

    #[test]
    fn every_kind_of_control_character_is_refused() {
        let controls = ('\0'..='\u{1F}')
            .chain('\u{7F}'..='\u{9F}')
            .chain(['\u{2028}', '\u{2029}', '\u{61C}', '\u{200E}', '\u{200F}'])
            .chain('\u{202A}'..='\u{202E}')
            .chain('\u{2066}'..='\u{2069}');
        for control in controls {
            let text = format!("a{control}b");
            assert_eq!(
                problems_of(&text, &text),
                [
                    (Field::Id, Problem::ControlCharacter),
                    (Field::Role, Problem::ControlCharacter),
                ],
                "{control:?}"
            );
        }
    }

    #[test]
    fn what_people_write_is_kept_as_it_is() {
        for text in [
            " ",
            "Ünïcode 名前 🦀",
            "a\u{200D}b",
            "a\u{202F}b",
            "\u{2065}",
            "\u{206A}",
        ] {
            let user = PanelUser::parse(text.to_owned(), "Admin".to_owned());
            assert_eq!(user.as_ref().map(PanelUser::id), Ok(text));
            assert_eq!(user.as_ref().map(PanelUser::role), Ok("Admin"));
        }
    }

    #[test]
    fn neither_debug_nor_the_error_shows_the_user() {
        let user = PanelUser::parse("canary-id".to_owned(), "canary-role".to_owned());
        assert!(!format!("{user:?}").contains("canary"));
        let invalid = PanelUser::parse("canary\n".to_owned(), "canary\n".to_owned());
        assert!(!format!("{invalid:?}").contains("canary"));
        assert_eq!(
            invalid.map_err(|error| error.to_string()),
            Err("panel_user.id must not hold control characters; \
                 panel_user.role must not hold control characters"
                .to_owned())
        );
    }
}

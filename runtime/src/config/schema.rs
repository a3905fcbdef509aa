//! What the configuration may hold, for the reference and for telling our variables from others'.

use super::rule::{self, Rule};
use super::setting::Setting;

/// What may stand at a key.
pub enum Shape {
    /// One value, or a list of values.
    Value {
        /// The name of its type: `duration`.
        kind: String,
        /// What is allowed, as a phrase.
        allowed: String,
        /// Limits of the type itself, where no `where` gives narrower ones.
        bounds: Option<String>,
    },
    /// A table with keys that we know.
    Table {
        /// What it is about.
        doc: &'static str,
        /// Its keys.
        fields: Vec<Field>,
    },
    /// A list of tables: `[[callers]]`.
    Tables {
        /// What one of them is about.
        doc: &'static str,
        /// Their keys.
        fields: Vec<Field>,
    },
    /// A table whose keys are the operator's own.
    Map {
        /// The type of its values.
        kind: String,
    },
}

impl Shape {
    /// What is allowed, with the limits of the type or, where there is one, the `rule`.
    pub(super) fn allowed(&self, rule: Option<&str>) -> String {
        let (allowed, bounds) = match self {
            Self::Value {
                allowed, bounds, ..
            } => (allowed.as_str(), rule.or(bounds.as_deref())),
            Self::Table { .. } => ("a table", rule),
            Self::Tables { .. } => ("a list of tables", rule),
            Self::Map { .. } => ("a table", rule),
        };
        bounds.map_or_else(
            || allowed.to_owned(),
            |bounds| format!("{allowed}, {bounds}"),
        )
    }
}

/// One key of a table.
pub struct Field {
    /// Its name.
    pub key: &'static str,
    /// What it means.
    pub doc: &'static str,
    /// As TOML.
    pub default: Option<&'static str>,
    /// May it be left out though it has no default?
    pub optional: bool,
    /// What its `where` allows.
    pub rule: Option<String>,
    /// What may stand there.
    pub shape: Shape,
}

impl Field {
    /// What the code made by [`settings!`](crate::settings) says of a key.
    #[doc(hidden)]
    pub fn new<T: Setting>(
        key: &'static str,
        doc: &'static str,
        default: &[&'static str],
        rules: &[&dyn Rule<T::Ruled>],
    ) -> Self {
        let optional = T::absent().is_some();
        Self {
            key,
            doc,
            default: default.first().copied(),
            optional,
            rule: rule::describe(rules),
            shape: T::shape(),
        }
    }
}

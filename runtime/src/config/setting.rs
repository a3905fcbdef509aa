//! What the type of a setting must do: [`Value`] for single values, [`Setting`] for whatever may
//! stand at a key.

use std::collections::BTreeMap;

use super::at::At;
use super::given::Given;
use super::mistake::Mistakes;
use super::node::Content;
use super::schema::Shape;

/// A single value: the type that a crate implements for a setting of its own kind.
pub trait Value: Sized + Clone + PartialEq {
    /// The name of the type in the reference: `duration`.
    const TYPE: &'static str;
    /// Never show what was given: it may hold credentials.
    const SECRET: bool = false;
    /// What is allowed, as a phrase with an example: `an address and port, such as "0.0.0.0:8443"`.
    fn allowed() -> String;
    /// Limits that hold where the key's `where` sets none: `0 to 65535`.
    fn bounds() -> Option<String> {
        None
    }
    /// The value, or nothing if what was given is not allowed.
    fn parse(given: &Given<'_>) -> Option<Self>;
    /// Takes the place of a value that was mistaken, so that the rest can be checked beside it. It is
    /// never handed out.
    fn stand_in() -> Self;
}

/// Whatever may stand at a key: a [`Value`], an `Option`, a `Vec`, a map, a table made by
/// [`settings!`](crate::settings).
pub trait Setting: Sized {
    /// What a `where` is about: what is in an `Option`, else the type itself.
    type Ruled;
    /// Do the layers merge key by key, rather than the last one count alone?
    const MERGES: bool = false;
    /// See [`Value::SECRET`].
    const HIDDEN: bool = false;
    /// What may stand there.
    fn shape() -> Shape;
    /// Reads what the layers have, and notes each mistake. Without `MERGES`, that is one layer.
    fn read(at: &At<'_>, mistakes: &mut Mistakes) -> Self;
    /// What it means that no layer has anything and there is no default; nothing: that is a mistake.
    fn absent() -> Option<Self> {
        None
    }
    /// See [`Value::stand_in`].
    fn stand_in() -> Self;
    /// What a `where` has to hold for, if it is there.
    fn ruled(&self) -> Option<&Self::Ruled>;
    /// Adds the keys whose value differs in `other`; `key` is where `self` stands.
    fn differences(&self, other: &Self, key: &str, keys: &mut Vec<String>);
}

impl<T: Value> Setting for T {
    type Ruled = Self;
    const HIDDEN: bool = T::SECRET;

    fn shape() -> Shape {
        Shape::Value {
            kind: T::TYPE.to_owned(),
            allowed: T::allowed(),
            bounds: T::bounds(),
        }
    }

    fn read(at: &At<'_>, mistakes: &mut Mistakes) -> Self {
        at.given()
            .and_then(|given| T::parse(&given))
            .unwrap_or_else(|| {
                mistakes.push(at.refuse::<T>());
                <T as Value>::stand_in()
            })
    }

    fn stand_in() -> Self {
        <T as Value>::stand_in()
    }

    fn ruled(&self) -> Option<&Self> {
        Some(self)
    }

    fn differences(&self, other: &Self, key: &str, keys: &mut Vec<String>) {
        if self != other {
            keys.push(key.to_owned());
        }
    }
}

/// May be left out; an empty text says the same, so that a later layer can take a value away.
impl<T: Setting> Setting for Option<T> {
    type Ruled = T::Ruled;
    const MERGES: bool = T::MERGES;
    const HIDDEN: bool = T::HIDDEN;

    fn shape() -> Shape {
        T::shape()
    }

    fn read(at: &At<'_>, mistakes: &mut Mistakes) -> Self {
        match at.layers.last() {
            None => None,
            Some(node) if !T::MERGES && node.is_empty_text() => None,
            Some(_) => Some(T::read(at, mistakes)),
        }
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn stand_in() -> Self {
        None
    }

    fn ruled(&self) -> Option<&T::Ruled> {
        self.as_ref().and_then(T::ruled)
    }

    fn differences(&self, other: &Self, key: &str, keys: &mut Vec<String>) {
        match (self, other) {
            (Some(this), Some(other)) => this.differences(other, key, keys),
            (None, None) => {}
            _ => keys.push(key.to_owned()),
        }
    }
}

/// A list of values, or of tables (`[[callers]]`).
impl<T: Setting> Setting for Vec<T> {
    type Ruled = Self;
    const HIDDEN: bool = T::HIDDEN;

    fn shape() -> Shape {
        match T::shape() {
            Shape::Table { doc, fields } => Shape::Tables { doc, fields },
            Shape::Value {
                kind,
                allowed,
                bounds,
            } => Shape::Value {
                kind: format!("list of {kind}"),
                allowed: format!("a list, each {allowed}"),
                bounds,
            },
            // Neither has a form in TOML that anybody would want to write.
            shape @ (Shape::Tables { .. } | Shape::Map { .. }) => shape,
        }
    }

    fn read(at: &At<'_>, mistakes: &mut Mistakes) -> Self {
        let Some(Content::List(items)) = at.layers.last().map(|node| &node.content) else {
            mistakes.push(at.refuse::<Self>());
            return Vec::new();
        };
        items
            .iter()
            .enumerate()
            .map(|(index, item)| T::read(&at.item(index, item), mistakes))
            .collect()
    }

    fn stand_in() -> Self {
        Vec::new()
    }

    fn ruled(&self) -> Option<&Self> {
        Some(self)
    }

    fn differences(&self, other: &Self, key: &str, keys: &mut Vec<String>) {
        let mut within = Vec::new();
        for (this, other) in self.iter().zip(other) {
            this.differences(other, key, &mut within);
        }
        if self.len() != other.len() || !within.is_empty() {
            keys.push(key.to_owned());
        }
    }
}

/// A table whose keys are the operator's own.
impl<T: Value> Setting for BTreeMap<String, T> {
    type Ruled = Self;
    const MERGES: bool = true;
    const HIDDEN: bool = T::SECRET;

    fn shape() -> Shape {
        Shape::Map {
            kind: T::TYPE.to_owned(),
        }
    }

    fn read(at: &At<'_>, mistakes: &mut Mistakes) -> Self {
        let tables = at.tables(mistakes);
        let mut values = Self::new();
        for (table, entries) in tables
            .iter()
            .filter_map(|table| Some((table, table.entries()?)))
        {
            for key in entries.keys() {
                values.insert(key.clone(), T::read(&at.child(key, &[table]), mistakes));
            }
        }
        values
    }

    fn stand_in() -> Self {
        Self::new()
    }

    fn ruled(&self) -> Option<&Self> {
        Some(self)
    }

    fn differences(&self, other: &Self, key: &str, keys: &mut Vec<String>) {
        if self != other {
            keys.push(key.to_owned());
        }
    }
}

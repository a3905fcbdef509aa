//! What a layer says, before anybody knows what it should say: a tree of TOML values, each with
//! the place where it stands.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::mistake::Origin;

/// One value and where it stands.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) origin: Origin,
    pub(super) content: Content,
    /// How a variable or `--set` spelled the whole value: a setting that is text takes this
    /// rather than what it would mean as TOML (`--set x=5` is the text "5" there).
    pub(super) text: Option<String>,
}

#[derive(Clone)]
pub(super) enum Content {
    Table(BTreeMap<String, Node>),
    List(Vec<Node>),
    Text(String),
    Integer(i128),
    Boolean(bool),
    /// A float, a date, or an integer beyond any limit, as it was written.
    Other(String),
}

impl Node {
    /// A whole file.
    pub(super) fn of_document(path: &Arc<Path>, lines: &Lines, table: &DeTable<'_>) -> Self {
        let content = Content::Table(entries(table, &Place::File { path, lines }));
        Self {
            origin: whole_file(path),
            content,
            text: None,
        }
    }

    /// What a variable or `--set` says: TOML if it parses, else text.
    pub(super) fn of_text(origin: Origin, text: String) -> Self {
        let content = match DeValue::parse(text.trim()) {
            Ok(value) => content(value.get_ref(), &Place::Fixed(&origin)),
            Err(_) => Content::Text(text.clone()),
        };
        Self {
            origin,
            content,
            text: Some(text),
        }
    }

    /// A default of the program, as its source has it.
    pub(super) fn of_default(toml: &str) -> Self {
        Self {
            text: None,
            ..Self::of_text(Origin::Default, toml.to_owned())
        }
    }

    /// A table that says only this: `node` at the end of `path`.
    pub(super) fn at_path(path: &[String], node: Self) -> Self {
        path.iter().rev().fold(node, |node, key| Self {
            origin: node.origin.clone(),
            content: Content::Table(BTreeMap::from([(key.clone(), node)])),
            text: None,
        })
    }

    /// What is in the table, if it is one.
    pub(super) fn entries(&self) -> Option<&BTreeMap<String, Self>> {
        match &self.content {
            Content::Table(entries) => Some(entries),
            _ => None,
        }
    }

    pub(super) fn child(&self, key: &str) -> Option<&Self> {
        self.entries()?.get(key)
    }

    /// An empty text or list: as good as nothing.
    pub(super) fn is_empty(&self) -> bool {
        match &self.content {
            Content::List(items) => items.is_empty(),
            _ => self.is_empty_text(),
        }
    }

    pub(super) fn is_empty_text(&self) -> bool {
        matches!(&self.content, Content::Text(text) if text.is_empty())
    }

    pub(super) fn item(&self, index: usize) -> Option<&Self> {
        match &self.content {
            Content::List(items) => items.get(index),
            _ => None,
        }
    }
}

/// The file itself, where no line of it is meant.
pub(super) fn whole_file(path: &Arc<Path>) -> Origin {
    Origin::File {
        path: path.clone(),
        line: None,
        column: None,
    }
}

/// The bytes at which the lines of a file begin.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        let after_newlines = text.match_indices('\n').map(|(offset, _)| offset + 1);
        Self(std::iter::once(0).chain(after_newlines).collect())
    }

    /// The number of the line that byte `offset` is in, and the byte at which it begins.
    pub(super) fn at(&self, offset: usize) -> (usize, usize) {
        let number = self.0.partition_point(|start| *start <= offset);
        let start = self.0.get(number.saturating_sub(1));
        (number, start.copied().unwrap_or(0))
    }
}

/// How the origin of a value follows from where it begins.
enum Place<'a> {
    File {
        path: &'a Arc<Path>,
        lines: &'a Lines,
    },
    Fixed(&'a Origin),
}

impl Place<'_> {
    fn at(&self, offset: usize) -> Origin {
        match self {
            Self::Fixed(origin) => (*origin).clone(),
            Self::File { path, lines } => Origin::File {
                path: Arc::clone(path),
                line: Some(lines.at(offset).0),
                column: None,
            },
        }
    }
}

fn entries(table: &DeTable<'_>, place: &Place<'_>) -> BTreeMap<String, Node> {
    table
        .iter()
        .map(|(key, value)| {
            (
                key.get_ref().to_string(),
                node(value, key.span().start, place),
            )
        })
        .collect()
}

fn items(array: &DeArray<'_>, place: &Place<'_>) -> Vec<Node> {
    array
        .iter()
        .map(|value| node(value, value.span().start, place))
        .collect()
}

fn node(value: &Spanned<DeValue<'_>>, offset: usize, place: &Place<'_>) -> Node {
    Node {
        origin: place.at(offset),
        content: content(value.get_ref(), place),
        text: None,
    }
}

/// `toml` bounds the depth of what it parses (80), so that this may recurse.
fn content(value: &DeValue<'_>, place: &Place<'_>) -> Content {
    match value {
        DeValue::Table(table) => Content::Table(entries(table, place)),
        DeValue::Array(array) => Content::List(items(array, place)),
        DeValue::String(text) => Content::Text(text.to_string()),
        DeValue::Boolean(value) => Content::Boolean(*value),
        DeValue::Integer(integer) => {
            match i128::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(value) => Content::Integer(value),
                Err(_) => Content::Other(integer.to_string()),
            }
        }
        DeValue::Float(float) => Content::Other(float.as_str().to_owned()),
        DeValue::Datetime(datetime) => Content::Other(datetime.to_string()),
    }
}

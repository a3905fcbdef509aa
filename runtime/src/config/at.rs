//! A place in the configuration while it is read: a key, and what each layer says there.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;

use super::mistake::{Mistake, Mistakes, Origin};
use super::node::{Content, Node};
use super::rule::Rule;
use super::schema::Field;
use super::setting::Setting;

/// What holds for the whole reading.
pub(super) struct Circumstances {
    /// Relative paths are relative to this.
    pub(super) base: std::path::PathBuf,
    /// The names of the `ASK2DO_*` variables that are set.
    pub(super) variables: BTreeSet<String>,
    /// False when a running process reads again.
    pub(super) starting: bool,
}

/// A key, and what the layers say there: the later ones count.
#[derive(Clone)]
pub struct At<'a> {
    pub(super) key: String,
    pub(super) layers: Vec<&'a Node>,
    /// Where a mistake stands if no layer says anything here.
    pub(super) around: Origin,
    /// What the `where` of the key allows.
    pub(super) rule: Option<String>,
    pub(super) circumstances: &'a Circumstances,
}

impl<'a> At<'a> {
    /// Where the value that counts stands, else the table that it should be in.
    pub(super) fn origin(&self) -> &Origin {
        self.layers.last().map_or(&self.around, |node| &node.origin)
    }

    /// The same place as one layer has it.
    pub(super) fn in_layer(&self, node: &'a Node) -> Self {
        Self {
            layers: vec![node],
            ..self.clone()
        }
    }

    pub(super) fn item(&self, index: usize, node: &'a Node) -> Self {
        Self {
            key: format!("{}[{index}]", self.key),
            layers: vec![node],
            around: node.origin.clone(),
            ..self.clone()
        }
    }

    /// The tables that the layers have here; anything else is a mistake.
    pub(super) fn tables(&self, mistakes: &mut Mistakes) -> Vec<&'a Node> {
        let (tables, others): (Vec<&Node>, Vec<&Node>) = self
            .layers
            .iter()
            .partition(|node| matches!(node.content, Content::Table(_)));
        for other in others {
            mistakes.push(self.in_layer(other).mistake(&show(other), "a table"));
        }
        tables
    }

    /// The place of `key` in the table here, in those of `tables` that have it.
    pub(super) fn child(&self, key: &str, tables: &[&'a Node]) -> Self {
        Self {
            key: self.key_of(key),
            layers: tables.iter().filter_map(|table| table.child(key)).collect(),
            around: tables
                .first()
                .map_or(&self.around, |table| &table.origin)
                .clone(),
            rule: None,
            circumstances: self.circumstances,
        }
    }

    /// The dotted path of `key` in the table here.
    pub(super) fn key_of(&self, key: &str) -> String {
        let bare = !key.is_empty()
            && key
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        let key = if bare {
            Cow::Borrowed(key)
        } else {
            Cow::Owned(format!("{key:?}"))
        };
        if self.key.is_empty() {
            key.into_owned()
        } else {
            format!("{}.{key}", self.key)
        }
    }

    /// `found` and `allowed` as a mistake at this place.
    pub(super) fn mistake(&self, found: &str, allowed: &str) -> Mistake {
        Mistake::new(
            self.origin().clone(),
            self.key.clone(),
            format_args!("found {found}"),
            format_args!("allowed: {allowed}"),
        )
    }

    fn missing(&self, allowed: &str) -> Mistake {
        Mistake {
            missing: true,
            ..Mistake::new(
                self.around.clone(),
                self.key.clone(),
                "missing",
                format_args!("required: {allowed}"),
            )
        }
    }

    /// What the last layer has here is no `T`, or none that the key's `where` allows.
    pub(super) fn refuse<T: Setting>(&self) -> Mistake {
        let found = match self.layers.last() {
            Some(_) if T::HIDDEN => "a value that is not shown".to_owned(),
            Some(node) => show(node),
            None => "nothing".to_owned(),
        };
        self.mistake(&found, &T::shape().allowed(self.rule.as_deref()))
    }

    pub(super) fn given(&self) -> Option<Given<'a>> {
        self.layers.last().map(|node| Given {
            node,
            base: &self.circumstances.base,
        })
    }
}

/// A table being read: what the code made by [`settings!`](crate::settings) calls.
#[doc(hidden)]
pub struct Table<'a> {
    at: At<'a>,
    tables: Vec<&'a Node>,
}

impl<'a> Table<'a> {
    /// Notes what is no table and what is no key of it.
    pub fn open(at: &At<'a>, fields: &[Field], mistakes: &mut Mistakes) -> Self {
        let tables = at.tables(mistakes);
        for table in &tables {
            let entries = table.entries().into_iter().flatten();
            for (key, node) in
                entries.filter(|(key, _)| fields.iter().all(|field| field.key != *key))
            {
                let mistake = Mistake::new(
                    node.origin.clone(),
                    at.key_of(key),
                    "unknown key",
                    suggestion(at, key, fields),
                );
                mistakes.push(mistake);
            }
        }
        Self {
            at: at.clone(),
            tables,
        }
    }

    /// Reads one key: what the layers say, else the default, else what its absence means.
    pub fn field<T: Setting>(
        &self,
        key: &str,
        default: &[&str],
        rules: &[&dyn Rule<T::Ruled>],
        mistakes: &mut Mistakes,
    ) -> T {
        let mut at = self.at.child(key, &self.tables);
        at.rule = super::rule::describe(rules);
        if T::MERGES {
            return checked(&at, rules, mistakes);
        }
        if at.layers.is_empty() {
            return match default {
                [toml, ..] => checked(&at.in_layer(&Node::of_default(toml)), rules, mistakes),
                [] => T::absent().unwrap_or_else(|| {
                    mistakes.push(at.missing(&T::shape().allowed(at.rule.as_deref())));
                    T::stand_in()
                }),
            };
        }
        // What a later layer overrides is read as well: a mistake there is a mistake.
        let mut last = None;
        for node in &at.layers {
            last = Some(checked(&at.in_layer(node), rules, mistakes));
        }
        last.unwrap_or_else(T::stand_in)
    }

    /// For checks that need more than one key.
    pub fn checks<'m>(&'m self, mistakes: &'m mut Mistakes) -> Checks<'m> {
        Checks {
            at: &self.at,
            tables: &self.tables,
            mistakes,
        }
    }
}

fn checked<T: Setting>(at: &At<'_>, rules: &[&dyn Rule<T::Ruled>], mistakes: &mut Mistakes) -> T {
    let before = mistakes.len();
    let value = T::read(at, mistakes);
    if before == mistakes.len()
        && !value
            .ruled()
            .is_none_or(|value| rules.iter().all(|rule| rule.holds(value)))
    {
        mistakes.push(at.refuse::<T>());
    }
    value
}

/// The nearest known key, else all of them.
fn suggestion(at: &At<'_>, key: &str, fields: &[Field]) -> String {
    let nearest = fields
        .iter()
        .map(|field| (strsim::osa_distance(field.key, key), field.key))
        .filter(|(distance, known)| *distance <= known.len().max(3) / 3)
        .min();
    match nearest {
        Some((_, known)) => format!("did you mean {}?", at.key_of(known)),
        None => {
            let known: Vec<&str> = fields.iter().map(|field| field.key).collect();
            format!("known here: {}", known.join(", "))
        }
    }
}

/// What a `checked by` function gets beside the values: where to say that keys do not go together.
pub struct Checks<'a> {
    at: &'a At<'a>,
    tables: &'a [&'a Node],
    mistakes: &'a mut Mistakes,
}

impl Checks<'_> {
    /// Notes a mistake at the first of `keys` (dotted paths in this table, `callers[0].san`) unless
    /// `holds`. Says nothing while one of them is mistaken in itself: then its value is a stand-in.
    pub fn require(&mut self, keys: &[&str], holds: bool, found: &str, allowed: &str) {
        let full = |key: &str| {
            if self.at.key.is_empty() {
                key.to_owned()
            } else {
                format!("{}.{key}", self.at.key)
            }
        };
        if holds || keys.iter().any(|key| self.mistakes.touch(&full(key))) {
            return;
        }
        let key = keys.first().copied().unwrap_or_default();
        let origin = self
            .locate(key)
            .map_or_else(|| self.at.origin().clone(), |node| node.origin.clone());
        self.mistakes
            .push(Mistake::new(origin, full(key), found, allowed));
    }

    /// Does any layer set `key`, an empty text apart?
    pub fn is_set(&self, key: &str) -> bool {
        self.locate(key).is_some_and(|node| !is_empty_text(node))
    }

    /// Is this `ASK2DO_*` variable, which is no setting, there and not empty?
    pub fn has_variable(&self, name: &str) -> bool {
        self.at.circumstances.variables.contains(name)
    }

    /// Is this the reading at start, rather than one while running?
    pub fn starting(&self) -> bool {
        self.at.circumstances.starting
    }

    /// What the last layer that has `path` says there.
    fn locate(&self, path: &str) -> Option<&Node> {
        self.tables.iter().rev().find_map(|table| {
            path.split(['.', '['])
                .try_fold(*table, |node, part| match part.strip_suffix(']') {
                    Some(index) => node.item(index.parse().ok()?),
                    None => node.child(part),
                })
        })
    }
}

/// One value as it was given, for [`Value::parse`].
pub struct Given<'a> {
    node: &'a Node,
    base: &'a Path,
}

impl<'a> Given<'a> {
    /// The text. What a variable or `--set` gives is text for whoever wants text: `--set x=5` is "5".
    pub fn text(&self) -> Option<&'a str> {
        match (&self.node.content, &self.node.text) {
            (Content::Text(text), _) | (_, Some(text)) => Some(text),
            _ => None,
        }
    }

    /// The whole number.
    pub fn integer(&self) -> Option<i128> {
        match self.node.content {
            Content::Integer(value) => Some(value),
            _ => None,
        }
    }

    /// The boolean.
    pub fn boolean(&self) -> Option<bool> {
        match self.node.content {
            Content::Boolean(value) => Some(value),
            _ => None,
        }
    }

    /// The folder of the configuration file: relative paths are relative to it.
    pub fn base(&self) -> &'a Path {
        self.base
    }
}

pub(super) fn is_empty_text(node: &Node) -> bool {
    matches!(&node.content, Content::Text(text) if text.is_empty())
}

/// A value as a mistake shows it: on one line, short, and without what looks like credentials.
pub(super) fn show(node: &Node) -> String {
    const LONGEST: usize = 80;
    let text = match &node.content {
        Content::Table(_) => return "a table".to_owned(),
        Content::List(_) => return "a list".to_owned(),
        Content::Boolean(value) => return value.to_string(),
        Content::Integer(value) => return value.to_string(),
        Content::Other(text) => return text.chars().take(LONGEST).collect(),
        Content::Text(text) => text,
    };
    if text.contains("://") && text.contains('@') {
        return "a URL with credentials (not shown)".to_owned();
    }
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}... ({} bytes)", &text[..end], text.len()),
        None => format!("{text:?}"),
    }
}

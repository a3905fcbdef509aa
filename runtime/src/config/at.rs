//! A place in the configuration while it is read: a key, and what each layer says there.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::PathBuf;

use super::given::{Given, show};
use super::mistake::{Kind, Mistake, Mistakes, Origin};
use super::node::{Content, Node};
use super::setting::Setting;

/// What holds for the whole reading.
pub(super) struct Circumstances {
    /// Relative paths are relative to this.
    pub(super) base: PathBuf,
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
            around: self.around_children(tables).clone(),
            rule: None,
            circumstances: self.circumstances,
        }
    }

    /// Where what is missing here would stand: in the file, wherever the table began.
    pub(super) fn around_children<'b>(&'b self, tables: &[&'b Node]) -> &'b Origin {
        let mut origins = tables.iter().map(|table| &table.origin);
        origins
            .find(|origin| matches!(origin, Origin::File { .. }))
            .unwrap_or(&self.around)
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

    /// No layer has anything here, and it is required.
    pub(super) fn missing(&self, allowed: &str) -> Mistake {
        let allowed = format_args!("required: {allowed}");
        Mistake::new(self.around.clone(), self.key.clone(), "missing", allowed)
            .of_kind(Kind::Missing)
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

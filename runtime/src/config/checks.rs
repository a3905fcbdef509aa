//! What one key alone cannot say: which ones go together.

use std::fmt;

use super::at::At;
use super::mistake::{Kind, Mistake, Mistakes};
use super::node::Node;

/// What a `checked by` function gets beside the values: where to say that keys do not go together.
pub struct Checks<'a> {
    pub(super) at: &'a At<'a>,
    pub(super) tables: &'a [&'a Node],
    pub(super) mistakes: &'a mut Mistakes,
}

impl Checks<'_> {
    /// Notes a mistake at the first of `keys` (dotted paths in this table: `callers[0].san`) unless
    /// `holds`. `keys` are those whose values the condition rests on: while one of them is mistaken
    /// in itself its value is only a stand-in, and nothing is noted.
    ///
    /// `found` and `allowed` are phrases, without a secret: `found X beside Y`, `allowed: one of them`.
    pub fn require(
        &mut self,
        keys: &[&str],
        holds: bool,
        found: impl fmt::Display,
        allowed: impl fmt::Display,
    ) {
        let full = |key: &str| match self.at.key.as_str() {
            "" => key.to_owned(),
            table => format!("{table}.{key}"),
        };
        if holds || keys.iter().any(|key| self.mistakes.touch(&full(key))) {
            return;
        }
        let key = keys.first().copied().unwrap_or_default();
        let origin = match self.locate(key) {
            Some(node) => &node.origin,
            None => self.at.around_children(self.tables),
        };
        let mistake = Mistake::new(origin.clone(), full(key), found, allowed);
        self.mistakes.push(mistake.of_kind(Kind::Together));
    }

    /// Does any layer set `key`, to more than an empty text or list?
    pub fn is_set(&self, key: &str) -> bool {
        self.locate(key).is_some_and(|node| !node.is_empty())
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

//! One value as it was given: for the type that reads it, and for a mistake that shows it.

use std::path::Path;

use super::node::{Content, Node};

/// One value as it was given, for [`Value::parse`](super::Value::parse).
pub struct Given<'a> {
    pub(super) node: &'a Node,
    pub(super) base: &'a Path,
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

/// The most characters of a value that a mistake shows.
const LONGEST_SHOWN: usize = 80;

/// A value as a mistake shows it: on one line, short, and without what looks like a secret.
pub(super) fn show(node: &Node) -> String {
    match &node.content {
        Content::Table(_) => "a table".to_owned(),
        Content::List(items) => show_list(items),
        Content::Boolean(value) => value.to_string(),
        Content::Integer(value) => value.to_string(),
        Content::Other(text) => text.chars().take(LONGEST_SHOWN).collect(),
        Content::Text(text) => show_text(text),
    }
}

fn show_list(items: &[Node]) -> String {
    let mut shown = String::new();
    for item in items {
        if shown.len() > LONGEST_SHOWN {
            return format!("[{shown}...] ({} entries)", items.len());
        }
        if !shown.is_empty() {
            shown.push_str(", ");
        }
        shown.push_str(&show(item));
    }
    format!("[{shown}]")
}

fn show_text(text: &str) -> String {
    if text.contains("://") && text.contains('@') {
        return "a URL with credentials (not shown)".to_owned();
    }
    if text.contains("-----BEGIN") {
        return "the content of a PEM file (not shown)".to_owned();
    }
    match text.char_indices().nth(LONGEST_SHOWN) {
        Some((end, _)) => format!("{:?}... ({} bytes)", &text[..end], text.len()),
        None => format!("{text:?}"),
    }
}

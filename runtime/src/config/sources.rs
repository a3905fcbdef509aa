//! The layers: a file, the environment, the command line.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeTable;
use zeroize::Zeroizing;

use super::arguments::Arguments;
use super::at::{At, Circumstances};
use super::mistake::{Mistake, Mistakes, Origin};
use super::node::{Content, Node, position_in_file, whole_file};
use super::schema::{Field, Shape};
use super::setting::Setting;

/// What the names of our variables begin with.
const PREFIX: &str = "ASK2DO_";
/// The longest configuration file. Nobody writes one; a wrong path may lead to one.
const LARGEST_FILE: u64 = 1024 * 1024;
/// No key of ours is as deep, so that nobody's variable makes us recurse.
const DEEPEST: usize = 16;

/// Where the settings of this process come from. No `Debug`: variables may hold credentials.
#[derive(Clone)]
pub struct Sources {
    pub(super) file: Option<PathBuf>,
    /// Variables that may be settings.
    settings: Vec<(String, OsString)>,
    /// The names of all our variables that are not empty.
    names: BTreeSet<String>,
    /// `--set`.
    assignments: Vec<String>,
}

impl Sources {
    /// The arguments, and the environment of this process.
    pub fn new(arguments: &Arguments) -> Self {
        Self::with_environment(arguments, std::env::vars_os())
    }

    /// The arguments, and this environment.
    pub fn with_environment(
        arguments: &Arguments,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        let mut settings = Vec::new();
        let mut names = BTreeSet::new();
        for (name, value) in environment {
            let ours = name
                .into_string()
                .ok()
                .filter(|name| name.starts_with(PREFIX));
            if let Some(name) = ours.as_ref().filter(|_| !value.is_empty()) {
                names.insert(name.clone());
            }
            match ours.filter(|name| name.contains("__")) {
                Some(name) => settings.push((name, value)),
                // One of them is the tenant key: this copy must not stay in memory.
                None => drop(Zeroizing::new(value.into_encoded_bytes())),
            }
        }
        settings.sort();
        Self {
            file: arguments.config.clone(),
            settings,
            names,
            assignments: arguments.set.clone(),
        }
    }

    /// Reads all layers. Relative paths in any of them are relative to the file's folder (without a
    /// file, to the working directory).
    ///
    /// # Errors
    ///
    /// Every mistake in every layer.
    pub fn read<T: Setting>(&self) -> Result<T, Mistakes> {
        let text = self.file.as_deref().map(read_file);
        self.read_layers(text, true)
    }

    /// Reads all layers, with these bytes for the file's.
    pub(super) fn read_again<T: Setting>(&self, file: &[u8]) -> Result<T, Mistakes> {
        self.read_layers(Some(Ok(file.to_vec())), false)
    }

    fn read_layers<T: Setting>(
        &self,
        file: Option<io::Result<Vec<u8>>>,
        starting: bool,
    ) -> Result<T, Mistakes> {
        let mut mistakes = Mistakes::new();
        let mut layers = Vec::new();
        let mut whole = true;
        let path: Option<Arc<Path>> = self.file.as_deref().map(Arc::from);
        if let (Some(path), Some(content)) = (&path, file) {
            let layer = parse_file(path, content, &mut mistakes);
            whole = layer.is_some();
            layers.extend(layer);
        }
        layers.extend(self.variables::<T>(&mut mistakes));
        layers.extend(
            self.assignments
                .iter()
                .filter_map(|assignment| parse_assignment(assignment, &mut mistakes)),
        );

        let base = self
            .file
            .as_deref()
            .and_then(Path::parent)
            .unwrap_or(Path::new(""))
            .to_owned();
        let circumstances = Circumstances {
            base,
            variables: self.names.clone(),
            starting,
        };
        let around = path.as_ref().map_or(Origin::Nowhere, whole_file);
        let layers = layers.iter().collect();
        let value = T::read(
            &At {
                key: String::new(),
                layers,
                around,
                rule: None,
                circumstances: &circumstances,
            },
            &mut mistakes,
        );
        if !whole {
            // What the file sets is not known.
            mistakes.forget_missing();
        }
        mistakes.unless_any(value)
    }

    /// A layer for each variable that begins with one of the tables: others' may look alike
    /// (Kubernetes puts `ASK2DO_TOKEN_PORT` into every pod beside a Service of that name).
    fn variables<T: Setting>(&self, mistakes: &mut Mistakes) -> Vec<Node> {
        let fields = match T::shape() {
            Shape::Table { fields, .. } => fields,
            _ => Vec::new(),
        };
        let mut layers = Vec::new();
        for (name, value) in &self.settings {
            let path: Vec<String> = name[PREFIX.len()..]
                .split("__")
                .map(str::to_lowercase)
                .collect();
            let Some(field) = fields
                .iter()
                .find(|field| is_table(field) && path.first().is_some_and(|key| key == field.key))
            else {
                continue;
            };
            let origin = Origin::Variable(name.clone());
            let mut refuse = |found: &str, allowed: &str| {
                mistakes.push(Mistake::new(origin.clone(), path.join("."), found, allowed))
            };
            if matches!(field.shape, Shape::Tables { .. }) {
                refuse(
                    "found a variable",
                    "allowed: in the file, or as a list by --set",
                );
            } else if path.len() > DEEPEST {
                refuse("unknown key", "no key is as deep");
            } else if let Some(value) = value.to_str() {
                layers.push(Node::at_path(
                    &path,
                    Node::of_text(origin, value.to_owned()),
                ));
            } else {
                refuse("found bytes that are no UTF-8", "allowed: text");
            }
        }
        layers
    }
}

fn is_table(field: &Field) -> bool {
    !matches!(field.shape, Shape::Value { .. })
}

/// The bytes of the file, or why there are none.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let mut content = Vec::new();
    file.take(LARGEST_FILE + 1).read_to_end(&mut content)?;
    Ok(content)
}

/// The file as a layer. A key that is there twice leaves the first one to be read; after any other
/// error of TOML nobody can say what the rest means.
fn parse_file(
    path: &Arc<Path>,
    content: io::Result<Vec<u8>>,
    mistakes: &mut Mistakes,
) -> Option<Node> {
    let mut refuse = |found: &str, allowed: &str| {
        mistakes.push(Mistake::new(whole_file(path), "", found, allowed));
        None
    };
    let content = match content {
        Ok(content) => content,
        Err(error) => {
            return match error.kind() {
                io::ErrorKind::NotFound => {
                    refuse("no such file", "allowed: the path of a TOML file")
                }
                io::ErrorKind::PermissionDenied => refuse(
                    "this process may not read it",
                    "allowed: a file it may read",
                ),
                io::ErrorKind::IsADirectory => {
                    refuse("a directory", "allowed: the path of a TOML file")
                }
                _ => refuse(&format!("cannot be read: {error}"), ""),
            };
        }
    };
    if content.len() as u64 > LARGEST_FILE {
        return refuse("over 1 MiB", "allowed: a TOML file of at most 1 MiB");
    }
    let text = match std::str::from_utf8(&content) {
        Ok(text) => text,
        Err(error) => {
            return refuse(
                &format!("not UTF-8 at byte {}", error.valid_up_to()),
                "allowed: a TOML file, in UTF-8",
            );
        }
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let origin = error.span().map_or_else(
            || whole_file(path),
            |span| position_in_file(path, text, span.start),
        );
        // The message alone: the whole error shows the line, which may hold credentials.
        mistakes.push(Mistake::new(origin, "", error.message(), ""));
    }
    let readable = errors
        .iter()
        .all(|error| error.message() == "duplicate key");
    readable.then(|| Node::of_document(path, text, table.get_ref()))
}

/// `KEY=VALUE` as a layer; the key is one of TOML, dots and quotes included.
fn parse_assignment(assignment: &str, mistakes: &mut Mistakes) -> Option<Node> {
    let key_and_value = assignment
        .split_once('=')
        .map(|(key, value)| (key.trim(), value));
    let Some((key, value, path)) =
        key_and_value.and_then(|(key, value)| Some((key, value, parse_key(key)?)))
    else {
        let key = key_and_value
            .map_or("", |(key, _)| key)
            .escape_debug()
            .to_string();
        mistakes.push(Mistake::new(
            Origin::Argument(key),
            "",
            "not understood",
            "allowed: KEY=VALUE, such as grpc.listen=0.0.0.0:8443",
        ));
        return None;
    };
    Some(Node::at_path(
        &path,
        Node::of_text(Origin::Argument(key.to_owned()), value.to_owned()),
    ))
}

/// The parts of a dotted key.
fn parse_key(key: &str) -> Option<Vec<String>> {
    let text = format!("{key} = 0");
    let table = DeTable::parse(&text).ok()?;
    let mut node = &Node::of_document(&Arc::from(Path::new("")), &text, table.get_ref());
    let mut path = Vec::new();
    while let Some(entries) = node.entries() {
        let mut entries = entries.iter();
        let (key, child) = entries.next()?;
        if entries.next().is_some() {
            return None;
        }
        path.push(key.clone());
        node = child;
    }
    matches!(node.content, Content::Integer(0)).then_some(path)
}

//! The layers: a file, the environment, the command line.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeTable;
use zeroize::Zeroizing;

use super::arguments::Arguments;
use super::at::{At, Circumstances};
use super::file::{parse_file, read_file};
use super::mistake::{Mistake, Mistakes, Origin};
use super::node::{Content, Lines, Node, whole_file};
use super::schema::{Field, Shape};
use super::setting::Setting;

/// What the names of our variables begin with.
const PREFIX: &str = "ASK2DO_";
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
        let (content, mistakes) = self.file_content();
        self.read_layers(content.as_deref(), mistakes, true)
    }

    /// As [`Sources::read`], for who goes on to look for mistakes in what the settings name: gives the
    /// settings beside their mistakes. A mistaken one is a stand-in, which [`Mistakes::concern`] tells.
    ///
    /// # Errors
    ///
    /// Every mistake, where the file could not be read: nobody knows what it names.
    pub fn read_on<T: Setting>(&self) -> Result<(T, Mistakes), Mistakes> {
        let (content, mistakes) = self.file_content();
        let (value, mistakes, file_is_known) = self.read_value(content.as_deref(), mistakes, true);
        if file_is_known {
            Ok((value, mistakes))
        } else {
            Err(mistakes.in_order())
        }
    }

    fn file_content(&self) -> (Option<Vec<u8>>, Mistakes) {
        let mut mistakes = Mistakes::new();
        let content = self.file.as_deref().and_then(|path| {
            read_file(path)
                .map_err(|(found, allowed)| {
                    let origin = whole_file(&Arc::from(path));
                    mistakes.push(Mistake::new(origin, "", found, allowed));
                })
                .ok()
        });
        (content, mistakes)
    }

    /// Reads all layers, with these bytes for the file's. `mistakes` begin with those of a file that
    /// could not be read; `starting` is as in [`Checks::starting`](super::Checks::starting).
    pub(super) fn read_layers<T: Setting>(
        &self,
        file: Option<&[u8]>,
        mistakes: Mistakes,
        starting: bool,
    ) -> Result<T, Mistakes> {
        let (value, mistakes, _) = self.read_value(file, mistakes, starting);
        mistakes.into_result(value)
    }

    /// What all layers say, every mistake in them, and whether the file is among them.
    fn read_value<T: Setting>(
        &self,
        file: Option<&[u8]>,
        mut mistakes: Mistakes,
        starting: bool,
    ) -> (T, Mistakes, bool) {
        let path: Option<Arc<Path>> = self.file.as_deref().map(Arc::from);
        let in_file = path
            .as_ref()
            .zip(file)
            .and_then(|(path, content)| parse_file(path, content, &mut mistakes));
        let file_is_known = path.is_none() || in_file.is_some();
        let mut layers = Vec::from_iter(in_file);
        layers.extend(self.variables::<T>(&mut mistakes));
        let assigned = self.assignments.iter();
        layers
            .extend(assigned.filter_map(|assignment| parse_assignment(assignment, &mut mistakes)));

        let folder = self.file.as_deref().and_then(Path::parent);
        let circumstances = Circumstances {
            base: folder.unwrap_or(Path::new("")).to_owned(),
            variables: self.names.clone(),
            starting,
        };
        let at = At {
            key: String::new(),
            layers: layers.iter().collect(),
            around: path.as_ref().map_or(Origin::Nowhere, whole_file),
            rule: None,
            circumstances: &circumstances,
        };
        let value = T::read(&at, &mut mistakes);
        if !file_is_known {
            mistakes.forget_what_rests_on_all_layers();
        }
        (value, mistakes, file_is_known)
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

/// What a file with this content says on its own: for tests, of documentation for instance. Paths are
/// relative to the working directory.
///
/// # Errors
///
/// Every mistake in it.
pub fn parse<T: Setting>(toml: impl AsRef<[u8]>) -> Result<T, Mistakes> {
    let arguments = Arguments {
        config: Some("configuration.toml".into()),
        ..Arguments::default()
    };
    Sources::with_environment(&arguments, []).read_layers(
        Some(toml.as_ref()),
        Mistakes::new(),
        true,
    )
}

fn is_table(field: &Field) -> bool {
    !matches!(field.shape, Shape::Value { .. })
}

/// `KEY=VALUE` as a layer; the key is one of TOML, dots and quotes included.
fn parse_assignment(assignment: &str, mistakes: &mut Mistakes) -> Option<Node> {
    let key_and_value = assignment
        .split_once('=')
        .map(|(key, value)| (key.trim(), value));
    let Some((key, value, path)) =
        key_and_value.and_then(|(key, value)| Some((key, value, parse_key(key)?)))
    else {
        let key = key_and_value.map_or("", |(key, _)| key).to_owned();
        mistakes.push(Mistake::new(
            Origin::Argument(key),
            "",
            "not understood",
            "allowed: KEY=VALUE, such as admin.listen=127.0.0.1:9090",
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
    let mut node = &Node::of_document(
        &Arc::from(Path::new("")),
        &Lines::of(&text),
        table.get_ref(),
    );
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

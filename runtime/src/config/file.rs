//! The configuration file: its bytes, and what they say.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use toml::de::DeTable;

use super::mistake::{Mistake, Mistakes, Origin};
use super::node::{Lines, Node, whole_file};

/// The largest file that is read, in bytes: what tls reads again while running, too. Nobody writes
/// as much; a wrong path may lead to it.
const LARGEST: u64 = ask2do_token_tls::MAX_FILE_SIZE;

/// After so many errors of TOML the file is something else than TOML.
const MOST_ERRORS: usize = 20;

/// The bytes of the file, one more than it may have at most; or what is wrong with it, and what is
/// allowed.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, (String, String)> {
    read(path).map_err(|error| {
        let (found, allowed) = match error.kind() {
            io::ErrorKind::NotFound => ("no such file", "allowed: the path of a TOML file"),
            io::ErrorKind::PermissionDenied => (
                "this process may not read it",
                "allowed: a file that it may read",
            ),
            io::ErrorKind::IsADirectory => ("a directory", "allowed: the path of a TOML file"),
            io::ErrorKind::InvalidInput => {
                ("not a regular file", "allowed: the path of a TOML file")
            }
            _ => return (format!("cannot be read: {error}"), String::new()),
        };
        (found.to_owned(), allowed.to_owned())
    })
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Asked before the file is opened, because opening a pipe would wait for its writer.
    let kind = fs::metadata(path)?.file_type();
    if kind.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !kind.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut content = Vec::new();
    File::open(path)?
        .take(LARGEST + 1)
        .read_to_end(&mut content)?;
    Ok(content)
}

/// The file as a layer. A key that is there twice leaves the first one to be read; after any other
/// error of TOML nobody can say what the rest means.
pub(super) fn parse_file(
    path: &Arc<Path>,
    content: &[u8],
    mistakes: &mut Mistakes,
) -> Option<Node> {
    let mut refuse = |found: String, allowed: &str| {
        mistakes.push(Mistake::new(whole_file(path), "", found, allowed));
    };
    if content.len() as u64 > LARGEST {
        refuse(
            "over 1 MiB".to_owned(),
            "allowed: a TOML file of at most 1 MiB",
        );
        return None;
    }
    let text = std::str::from_utf8(content)
        .map_err(|error| {
            let found = format!("not UTF-8 at byte {}", error.valid_up_to());
            refuse(found, "allowed: a TOML file, which is UTF-8");
        })
        .ok()?;
    let (table, errors) = DeTable::parse_recoverable(text);
    let lines = Lines::of(text);
    for error in errors.iter().take(MOST_ERRORS) {
        let origin = error.span().map_or_else(
            || whole_file(path),
            |span| place_in_file(path, text, &lines, span.start),
        );
        // The message alone: the whole error shows the line, which may hold credentials.
        mistakes.push(Mistake::new(origin, "", error.message(), "allowed: TOML"));
    }
    let readable = errors
        .iter()
        .all(|error| error.message() == "duplicate key");
    readable.then(|| Node::of_document(path, &lines, table.get_ref()))
}

fn place_in_file(path: &Arc<Path>, text: &str, lines: &Lines, offset: usize) -> Origin {
    let (line, start) = lines.at(offset);
    let before = text.get(start..offset).unwrap_or_default();
    Origin::File {
        path: path.clone(),
        line: Some(line),
        column: Some(before.chars().count() + 1),
    }
}

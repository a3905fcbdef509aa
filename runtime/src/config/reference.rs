//! The reference of every key, as Markdown: `docs/` holds it, and a test compares.

use std::fmt::Write as _;

use super::schema::{Field, Shape};
use super::setting::Setting;

/// Every key of `T`: a section a table, a row a key.
///
/// ```
/// ask2do_token_runtime::settings! {
///     /// The whole file.
///     pub struct Config {
///         /// Answer nobody.
///         silent: bool = false,
///     }
/// }
/// let reference = ask2do_token_runtime::config::reference::<Config>();
/// assert!(reference.contains("| `silent` | boolean | `false` | true or false | Answer nobody. |"));
/// ```
pub fn reference<T: Setting>() -> String {
    let mut markdown = String::new();
    if let Shape::Table { fields, .. } = T::shape() {
        section(&mut markdown, "", "Top level", "", &fields);
    }
    markdown.truncate(markdown.trim_end().len());
    markdown.push('\n');
    markdown
}

/// A table, then the tables in it. `path` is empty for the file itself.
fn section(markdown: &mut String, path: &str, heading: &str, about: &str, fields: &[Field]) {
    let rows: String = fields.iter().filter_map(row).collect();
    if !rows.is_empty() || !path.is_empty() {
        let _ = write!(markdown, "### {heading}\n\n");
    }
    if !about.is_empty() {
        let _ = write!(markdown, "{about}\n\n");
    }
    if !rows.is_empty() {
        let _ = write!(
            markdown,
            "| key | type | default | allowed | meaning |\n|---|---|---|---|---|\n{rows}\n"
        );
    }
    for field in fields {
        let path = if path.is_empty() {
            field.key.to_owned()
        } else {
            format!("{path}.{}", field.key)
        };
        table(markdown, &path, field);
    }
}

/// The section of a key that is a table.
fn table(markdown: &mut String, path: &str, field: &Field) {
    let about = |table: &str| {
        let about = one_line(if field.doc.trim().is_empty() {
            table
        } else {
            field.doc
        });
        if field.optional {
            format!("{about} The table may be left out.")
        } else {
            about
        }
    };
    match &field.shape {
        Shape::Value { .. } => {}
        Shape::Table { doc, fields } => {
            section(markdown, path, &format!("`[{path}]`"), &about(doc), fields)
        }
        Shape::Tables { doc, fields } => section(
            markdown,
            path,
            &format!("`[[{path}]]`"),
            &about(doc),
            fields,
        ),
        Shape::Map { kind } => {
            let about = format!("{} The keys are your own, each value is {kind}.", about(""));
            section(markdown, path, &format!("`[{path}]`"), &about, &[]);
        }
    }
}

/// The row of a key that is a value.
fn row(field: &Field) -> Option<String> {
    let Shape::Value { kind, .. } = &field.shape else {
        return None;
    };
    let default = match field.default {
        Some(toml) => format!("`{toml}`"),
        None if field.optional => "–".to_owned(),
        None => "required".to_owned(),
    };
    let allowed = field.shape.allowed(field.rule.as_deref());
    let cells = [
        format!("`{}`", field.key),
        kind.clone(),
        default,
        allowed,
        one_line(field.doc),
    ];
    Some(format!(
        "| {} |\n",
        cells.map(|cell| cell.replace('|', "\\|")).join(" | ")
    ))
}

fn one_line(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

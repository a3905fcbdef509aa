//! What is wrong in a configuration: collected, never just the first.

use std::fmt;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Where a value of a setting was given. The order is that of the report: files by line, then
/// variables, then the command line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The configuration file; no line where the file as a whole is meant.
    File {
        /// As given by `--config`.
        path: Arc<Path>,
        /// The line, from 1.
        line: Option<usize>,
        /// The column, in characters from 1, where the file is no TOML.
        column: Option<usize>,
    },
    /// An environment variable, by its name.
    Variable(String),
    /// `--set`, by its key (its value may be a secret).
    Argument(String),
    /// The program's own default.
    Default,
    /// Nowhere: no configuration file was given.
    Nowhere,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => {
                write!(f, "{}", path.display())?;
                let position = [line, column].into_iter().flatten();
                position
                    .into_iter()
                    .try_for_each(|number| write!(f, ":{number}"))
            }
            // Whoever sets a variable may put anything into its name.
            Self::Variable(name) => write!(f, "{}", name.escape_debug()),
            Self::Argument(key) => write!(f, "--set {}", key.escape_debug()),
            Self::Default => f.write_str("default"),
            Self::Nowhere => f.write_str("configuration"),
        }
    }
}

/// One thing that is wrong. Shown on one line:
/// `server.toml:3: grpc.listen: found "abc"; allowed: an address and port, such as "0.0.0.0:8443"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where it stands.
    pub origin: Origin,
    /// The dotted path of the key; empty where no key is meant (a file that cannot be read).
    pub key: String,
    /// What was found: a phrase such as `found 5` or `unknown key`.
    pub found: String,
    /// What is allowed: a phrase.
    pub allowed: String,
    pub(super) kind: Kind,
}

/// What a mistake means for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The key has no usable value: what rests on it is not checked.
    Value,
    /// A required key that nobody set.
    Missing,
    /// There is no such key: nothing rests on it.
    Unknown,
    /// Good in itself, but not together with another.
    Together,
}

impl Mistake {
    /// A mistake at `key`: what was `found` and what is `allowed`, both as phrases without a secret.
    pub fn new(
        origin: Origin,
        key: impl Into<String>,
        found: impl fmt::Display,
        allowed: impl fmt::Display,
    ) -> Self {
        Self {
            origin,
            key: key.into(),
            found: found.to_string(),
            allowed: allowed.to_string(),
            kind: Kind::Value,
        }
    }

    pub(super) fn of_kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.found)?;
        if !self.allowed.is_empty() {
            write!(f, "; {}", self.allowed)?;
        }
        Ok(())
    }
}

/// Every mistake in a configuration. Shown one on a line, in the order of [`Origin`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mistakes {
    kept: Vec<Mistake>,
    /// How many more there were than [`MOST_KEPT`].
    more: usize,
}

/// A file of nothing but mistakes, a megabyte of them, must not fill memory and log.
const MOST_KEPT: usize = 1000;

impl Mistakes {
    /// None so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one; after the first thousand they are only counted.
    pub fn push(&mut self, mistake: Mistake) {
        if self.kept.len() < MOST_KEPT {
            self.kept.push(mistake);
        } else {
            self.more += 1;
        }
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.kept.len() + self.more
    }

    /// Each of them; of more than a thousand, the first thousand.
    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        self.kept.iter()
    }

    /// The value, if there is no mistake; else the mistakes, in order.
    ///
    /// # Errors
    ///
    /// There is a mistake.
    pub fn into_result<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() {
            return Ok(value);
        }
        Err(self.in_order())
    }

    /// Is a mistake at `key`, in something in it or around it already among these? Then what `key`
    /// names is not worth another.
    pub fn concern(&self, key: &str) -> bool {
        self.iter()
            .filter(|mistake| mistake.kind != Kind::Unknown)
            .any(|mistake| within(&mistake.key, key) || within(key, &mistake.key))
    }

    /// These, in the order of the report.
    #[must_use]
    pub fn in_order(mut self) -> Self {
        self.kept.sort_by(|a, b| a.origin.cmp(&b.origin));
        self
    }

    /// Prints each on a line of standard error; the exit code is 2, as for any wrong usage.
    pub fn report(&self) -> ExitCode {
        // There is no log yet, and without standard error nobody to tell; the exit code still says it.
        let _ = writeln!(io::stderr(), "{self}");
        ExitCode::from(2)
    }

    /// Is `key`, something in it or something around it mistaken already?
    pub(super) fn touch(&self, key: &str) -> bool {
        self.iter()
            .filter(|mistake| matches!(mistake.kind, Kind::Value | Kind::Missing))
            .any(|mistake| within(&mistake.key, key) || within(key, &mistake.key))
    }

    /// Where a layer could not be read, nobody knows what it sets.
    pub(super) fn forget_what_rests_on_all_layers(&mut self) {
        self.kept
            .retain(|mistake| !matches!(mistake.kind, Kind::Missing | Kind::Together));
    }
}

/// Is `inner` the key `outer`, or within it?
pub(super) fn within(outer: &str, inner: &str) -> bool {
    inner
        .strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{mistake}")?;
        }
        if self.more > 0 {
            write!(f, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

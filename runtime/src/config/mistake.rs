//! What is wrong in a configuration: collected, never just the first.

use std::fmt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Where a value of a setting was given. The order is that of the report: files by line, then
/// variables, then the command line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The configuration file; no position where the file as a whole is meant.
    File {
        /// As given by `--config`.
        path: Arc<Path>,
        /// Line and column, from 1.
        position: Option<(usize, usize)>,
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
            Self::File {
                path,
                position: None,
            } => write!(f, "{}", path.display()),
            Self::File {
                path,
                position: Some((line, column)),
            } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Argument(key) => write!(f, "--set {key}"),
            Self::Default => f.write_str("default"),
            Self::Nowhere => f.write_str("configuration"),
        }
    }
}

/// One thing that is wrong. Shown on one line:
/// `server.toml:3:10: grpc.listen: found "abc"; allowed: an address and port, such as "0.0.0.0:8443"`.
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
    /// A required key that nobody set; not reported where a layer could not be read at all.
    pub(super) missing: bool,
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
            missing: false,
        }
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
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// None so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one; the same one twice counts once.
    pub fn push(&mut self, mistake: Mistake) {
        if !self.0.contains(&mistake) {
            self.0.push(mistake);
        }
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        self.0.iter()
    }

    /// Prints each on a line of standard error; the exit code is 2, as for any wrong usage.
    #[expect(
        clippy::print_stderr,
        reason = "a configuration is refused before there is a log"
    )]
    pub fn report(&self) -> ExitCode {
        eprintln!("{self}");
        ExitCode::from(2)
    }

    /// Is `key`, something in it or something around it mistaken already?
    pub(super) fn touch(&self, key: &str) -> bool {
        self.0
            .iter()
            .any(|mistake| holds(&mistake.key, key) || holds(key, &mistake.key))
    }

    pub(super) fn forget_missing(&mut self) {
        self.0.retain(|mistake| !mistake.missing);
    }

    /// The value, if there was no mistake in it.
    pub(super) fn unless_any<T>(mut self, value: T) -> Result<T, Self> {
        if self.is_empty() {
            return Ok(value);
        }
        self.0.sort_by(|a, b| a.origin.cmp(&b.origin));
        Err(self)
    }
}

/// Is `inner` the key `outer`, or within it?
fn holds(outer: &str, inner: &str) -> bool {
    inner
        .strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

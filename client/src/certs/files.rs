//! Files that are written once and never over others.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Files to be written together into one directory.
#[derive(Default)]
pub struct NewFiles {
    files: Vec<NewFile>,
}

struct NewFile {
    name: String,
    content: Zeroizing<String>,
    secret: bool,
}

/// Why files were not written. Nothing of them is left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// These are there already, and are not touched.
    #[error("would be overwritten: {}", Paths(.0))]
    Exist(Vec<PathBuf>),
    /// A file or the directory cannot be written.
    #[error("{}: {error}", path.display())]
    Io {
        /// What could not be written.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
}

struct Paths<'a>(&'a [PathBuf]);

impl std::fmt::Display for Paths<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, path) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{}", path.display())?;
        }
        Ok(())
    }
}

impl NewFiles {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file that everybody may read (mode 0644).
    pub fn public(&mut self, name: impl Into<String>, content: impl Into<String>) {
        self.add(name.into(), content.into(), false);
    }

    /// Adds a file that only its owner may read (mode 0600).
    pub fn secret(&mut self, name: impl Into<String>, content: impl Into<String>) {
        self.add(name.into(), content.into(), true);
    }

    fn add(&mut self, name: String, content: String, secret: bool) {
        let content = Zeroizing::new(content);
        self.files.push(NewFile {
            name,
            content,
            secret,
        });
    }

    /// Writes them all into `directory`, which is made with mode 0700 if it does not exist.
    ///
    /// # Errors
    ///
    /// One of the files exists (a dangling symbolic link too), or cannot be written. What was written
    /// until then is removed again.
    pub fn write(&self, directory: &Path) -> Result<(), WriteError> {
        let paths: Vec<_> = self.files.iter().map(|f| directory.join(&f.name)).collect();
        let exists = |path: &&PathBuf| fs::symlink_metadata(path).is_ok();
        let existing: Vec<_> = paths.iter().filter(exists).cloned().collect();
        if !existing.is_empty() {
            return Err(WriteError::Exist(existing));
        }
        let made = make(directory)?;
        let mut written = Written {
            made: made.then(|| directory.to_owned()),
            files: Vec::new(),
        };
        for (path, file) in paths.into_iter().zip(&self.files) {
            written.create(path, file)?;
        }
        written.keep();
        Ok(())
    }
}

/// What exists by now; removed again unless all of it does.
struct Written {
    made: Option<PathBuf>,
    files: Vec<PathBuf>,
}

impl Written {
    fn create(&mut self, path: PathBuf, file: &NewFile) -> Result<(), WriteError> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            options.mode(if file.secret { 0o600 } else { 0o644 });
        }
        let mut open = match options.open(&path) {
            Ok(open) => open,
            // Made by somebody else since the check.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(WriteError::Exist(vec![path]));
            }
            Err(error) => return Err(WriteError::Io { path, error }),
        };
        self.files.push(path.clone());
        open.write_all(file.content.as_bytes())
            .map_err(|error| WriteError::Io { path, error })
    }

    fn keep(mut self) {
        self.files.clear();
        self.made = None;
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        // Best effort: the error that led here is the one to report.
        for path in &self.files {
            _ = fs::remove_file(path);
        }
        if let Some(directory) = &self.made {
            _ = fs::remove_dir(directory);
        }
    }
}

/// Makes the directory, private. Gives whether it was made: one that exists stays as it is.
fn make(directory: &Path) -> Result<bool, WriteError> {
    if directory.is_dir() {
        return Ok(false);
    }
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    match builder.create(directory) {
        Ok(()) => Ok(true),
        Err(error) => Err(WriteError::Io {
            path: directory.to_owned(),
            error,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_files() -> NewFiles {
        let mut files = NewFiles::new();
        files.public("a.crt", "certificate");
        files.secret("a.key", "key");
        files
    }

    #[test]
    fn files_and_directory_are_made_private() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = temporary.path().join("new").join("deep");
        two_files().write(&directory).unwrap();
        assert_eq!(
            fs::read_to_string(directory.join("a.crt")).unwrap(),
            "certificate"
        );
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&directory), 0o700);
            assert_eq!(mode(&directory.join("a.key")), 0o600);
        }
    }

    #[test]
    fn a_file_that_exists_stays_and_nothing_is_added() {
        let temporary = tempfile::tempdir().unwrap();
        let key = temporary.path().join("a.key");
        fs::write(&key, "precious").unwrap();
        let error = two_files().write(temporary.path()).unwrap_err();
        let WriteError::Exist(paths) = error else {
            panic!("{error}")
        };
        assert_eq!(paths, std::slice::from_ref(&key));
        assert_eq!(fs::read_to_string(key).unwrap(), "precious");
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_dangling_link_is_not_written_through() {
        let temporary = tempfile::tempdir().unwrap();
        let elsewhere = temporary.path().join("elsewhere");
        std::os::unix::fs::symlink(&elsewhere, temporary.path().join("a.key")).unwrap();
        assert!(two_files().write(temporary.path()).is_err());
        assert!(!elsewhere.exists());
    }

    #[test]
    fn what_was_written_before_a_failure_is_removed_again() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = temporary.path().join("new");
        let mut files = two_files();
        files.public("no-such-directory/b.crt", "x");
        assert!(matches!(
            files.write(&directory),
            Err(WriteError::Io { .. })
        ));
        assert!(!directory.exists());
    }
}

//! The folder that a playground keeps its files in, under stable names. What is there is used when
//! it can be, and what the playground did not write it never overwrites.

mod credentials;

pub use credentials::CALLER_SAN;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use tempfile::TempDir;

use crate::certificates::CertificateError;

/// Who wrote what: the digests of the files that the playground made.
const MANIFEST: &str = ".ask2do-token-playground.json";

/// An open folder, locked against a second playground.
pub struct Folder {
    path: PathBuf,
    /// File name to the SHA-256 of what the playground wrote there, in hexadecimal.
    made: BTreeMap<String, String>,
    _lock: File,
    /// Where it is nobody's choice, the folder goes when the playground does.
    _temporary: Option<TempDir>,
}

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Its owner alone: keys.
    Owner,
    /// Everybody who can enter the folder.
    All,
}

/// Where a file comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Absent,
    /// Written here, and not changed since.
    Ours,
    /// Written or changed by somebody else.
    Theirs,
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file or the folder itself cannot be read or written.
    #[error("{}: {cause}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Another playground runs in it.
    #[error("{}: another playground is using this folder", .0.display())]
    InUse(PathBuf),
    /// Something that the playground did not write is in its way.
    #[error("{}: {problem}; the playground did not write this file and leaves it alone: move it away, or give another --dir", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Certificates could not be made.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

impl Folder {
    /// A private folder that is removed when this is dropped.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn temporary() -> Result<Self, FolderError> {
        let temporary = tempfile::Builder::new()
            .prefix("ask2do-playground-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .map_err(|cause| FolderError::Io {
                path: std::env::temp_dir(),
                cause,
            })?;
        let mut folder = Self::at(temporary.path())?;
        folder._temporary = Some(temporary);
        Ok(folder)
    }

    /// This folder; it is made, for its owner alone, where it is missing.
    ///
    /// # Errors
    ///
    /// When it cannot be made or read, or another playground uses it.
    pub fn at(path: &Path) -> Result<Self, FolderError> {
        let failed = |cause| FolderError::Io {
            path: path.to_owned(),
            cause,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed)?;
        let path = fs::canonicalize(path).map_err(failed)?;
        let manifest = path.join(MANIFEST);
        let failed = |cause| FolderError::Io {
            path: manifest.clone(),
            cause,
        };
        let lock = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&manifest)
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FolderError::InUse(path)),
            Err(TryLockError::Error(cause)) => return Err(failed(cause)),
        }
        let text = io::read_to_string(&lock).map_err(failed)?;
        let made = if text.is_empty() {
            BTreeMap::new()
        } else {
            serde_json::from_str(&text).map_err(|error| FolderError::Foreign {
                path: manifest.clone(),
                problem: error.to_string(),
            })?
        };
        Ok(Self {
            path,
            made,
            _lock: lock,
            _temporary: None,
        })
    }

    /// Where it is; absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the file of this name is; absolute.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The text of a file.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn read(&self, name: &str) -> Result<String, FolderError> {
        fs::read_to_string(self.file(name)).map_err(self.failed(name))
    }

    /// Writes the file unless there is one, whoever wrote that.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn keep_or_write(
        &mut self,
        name: &str,
        readers: Readers,
        text: impl FnOnce() -> String,
    ) -> Result<(), FolderError> {
        match self.origin(name)? {
            Origin::Absent => self.write(name, readers, &text()),
            Origin::Ours | Origin::Theirs => Ok(()),
        }
    }

    /// Writes the file anew, unless somebody else wrote or changed it: then theirs stays, and the
    /// answer is `false`.
    ///
    /// # Errors
    ///
    /// When it cannot be read or written.
    pub fn renew(&mut self, name: &str, readers: Readers, text: &str) -> Result<bool, FolderError> {
        match self.origin(name)? {
            Origin::Absent | Origin::Ours => self.write(name, readers, text).map(|()| true),
            Origin::Theirs => Ok(self.read(name)? == text),
        }
    }

    fn origin(&self, name: &str) -> Result<Origin, FolderError> {
        match fs::read(self.file(name)) {
            Ok(bytes) if self.made.get(name) == Some(&sha256(&bytes)) => Ok(Origin::Ours),
            Ok(_) => Ok(Origin::Theirs),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Origin::Absent),
            Err(cause) => Err(self.failed(name)(cause)),
        }
    }

    fn write(&mut self, name: &str, readers: Readers, text: &str) -> Result<(), FolderError> {
        // Said before it is done: a file that was half made is ours to make again, and one that was
        // never made is in nobody's way.
        self.made.insert(name.to_owned(), sha256(text.as_bytes()));
        let manifest = serde_json::to_string_pretty(&self.made).map_err(io::Error::other);
        manifest
            .and_then(|manifest| overwrite(&self.file(MANIFEST), &manifest))
            .map_err(self.failed(MANIFEST))?;
        let mode = match readers {
            Readers::Owner => 0o600,
            Readers::All => 0o644,
        };
        replace(&self.path, name, mode, text).map_err(self.failed(name))
    }

    fn failed(&self, name: &str) -> impl Fn(io::Error) -> FolderError + use<> {
        let path = self.file(name);
        move |cause| FolderError::Io {
            path: path.clone(),
            cause,
        }
    }
}

/// In place: the lock is on this very file.
fn overwrite(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).truncate(true).open(path)?;
    file.write_all(text.as_bytes())
}

/// Whole or not at all: a server may be watching the file.
fn replace(folder: &Path, name: &str, mode: u32, text: &str) -> io::Result<()> {
    let mut file = tempfile::Builder::new()
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.persist(folder.join(name))
        .map_err(|error| error.error)?;
    Ok(())
}

fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes)
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_folder_and_its_keys_are_for_their_owner_alone() {
        let root = tempfile::tempdir().unwrap();
        let mut folder = Folder::at(&root.path().join("new/demo")).unwrap();
        folder
            .keep_or_write("key", Readers::Owner, || "secret".to_owned())
            .unwrap();
        folder
            .keep_or_write("text", Readers::All, || "public".to_owned())
            .unwrap();
        let modes = [
            folder.path().to_owned(),
            folder.file("key"),
            folder.file("text"),
        ];
        assert_eq!(modes.map(|path| mode(&path)), [0o700, 0o600, 0o644]);
        assert!(folder.path().is_absolute());
    }

    #[test]
    fn a_temporary_folder_goes_with_the_playground() {
        let folder = Folder::temporary().unwrap();
        let path = folder.path().to_owned();
        assert_eq!(mode(&path), 0o700);
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn a_second_playground_is_told_that_the_folder_is_in_use() {
        let root = tempfile::tempdir().unwrap();
        let first = Folder::at(root.path()).unwrap();
        assert!(matches!(
            Folder::at(root.path()),
            Err(FolderError::InUse(_))
        ));
        drop(first);
        assert!(Folder::at(root.path()).is_ok());
    }

    #[test]
    fn files_are_renewed_until_somebody_changes_them() {
        let root = tempfile::tempdir().unwrap();
        let mut folder = Folder::at(root.path()).unwrap();
        assert!(folder.renew("server.toml", Readers::All, "one").unwrap());
        drop(folder);
        let mut folder = Folder::at(root.path()).unwrap();
        assert!(folder.renew("server.toml", Readers::All, "two").unwrap());
        assert_eq!(folder.read("server.toml").unwrap(), "two");

        fs::write(folder.file("server.toml"), "mine").unwrap();
        assert!(!folder.renew("server.toml", Readers::All, "three").unwrap());
        assert_eq!(folder.read("server.toml").unwrap(), "mine");
        assert!(folder.renew("server.toml", Readers::All, "mine").unwrap());
    }

    #[test]
    fn a_manifest_that_is_not_the_playgrounds_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(MANIFEST), "not json").unwrap();
        assert!(matches!(
            Folder::at(root.path()),
            Err(FolderError::Foreign { .. })
        ));
        assert_eq!(
            fs::read_to_string(root.path().join(MANIFEST)).unwrap(),
            "not json"
        );
    }
}

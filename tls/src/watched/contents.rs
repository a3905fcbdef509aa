//! The bytes of a watched file.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::SystemTime;

use zeroize::Zeroizing;

/// The largest file that is read, in bytes. Certificates, keys and lists of callers are far smaller;
/// whoever points a setting at a disk image learns so at once.
pub const MAX_FILE_SIZE: u64 = 1024 * 1024;

/// The bytes of one file: wiped when dropped, never shown by `Debug`.
pub struct Contents {
    bytes: Zeroizing<Vec<u8>>,
    modified: Option<SystemTime>,
}

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is not a regular file")]
    NotAFile,
    #[error("it is larger than {MAX_FILE_SIZE} bytes")]
    TooLarge,
    #[error("it changed while it was read")]
    Changing,
}

impl Contents {
    /// Contents that come from no file: for those who test a parser.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self {
            bytes: Zeroizing::new(bytes),
            modified: None,
        }
    }

    pub(super) fn read(path: &Path) -> Result<Self, ReadError> {
        // Asked before the file is opened, because opening a pipe would wait for its writer.
        if !fs::metadata(path)?.is_file() {
            return Err(ReadError::NotAFile);
        }
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.len() > MAX_FILE_SIZE {
            return Err(ReadError::TooLarge);
        }
        let bytes = read_at_most(&mut file, metadata.len())?;
        Ok(Self {
            bytes,
            modified: metadata.modified().ok(),
        })
    }

    /// The file's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// When the file was written, where the file system says so.
    #[must_use]
    pub fn modified(&self) -> Option<SystemTime> {
        self.modified
    }
}

/// Reads into one buffer of the right size: a buffer that grows leaves a copy of a secret behind.
fn read_at_most(file: &mut File, size: u64) -> Result<Zeroizing<Vec<u8>>, ReadError> {
    let size = usize::try_from(size).map_err(|_| ReadError::TooLarge)?;
    // The one byte more tells a file that grew since its size was asked.
    let mut bytes = Zeroizing::new(vec![0; size + 1]);
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read(&mut bytes[filled..]) {
            Ok(0) => {
                bytes.truncate(filled);
                return Ok(bytes);
            }
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(ReadError::Changing)
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contents")
            .field("modified", &self.modified)
            .finish_non_exhaustive()
    }
}

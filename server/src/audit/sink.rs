//! Where the lines go: standard output, or a file that a rotation may take away.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use super::chain::Head;
use super::line::Line;

/// Where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The process's standard output; logs go to standard error.
    Stdout,
    /// A file that is appended to, made where there is none, for its owner alone to read.
    File(PathBuf),
}

/// What a file holds at its end.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// The last line of whoever wrote it.
    pub(super) head: Option<Head>,
    /// Whether it ends amid a line.
    pub(super) is_cut: bool,
}

/// An output that is open.
#[derive(Debug)]
pub(super) struct Sink {
    output: Output,
    file: File,
}

/// As much of a file as surely holds a whole line at its end.
const TAIL: u64 = 64 * 1024;

impl Sink {
    pub(super) fn open(output: Output) -> io::Result<(Self, Tail)> {
        let (file, tail) = match &output {
            // By its descriptor: `std::io::Stdout` keeps back what was not written.
            Output::Stdout => {
                let descriptor = io::stdout().as_fd().try_clone_to_owned()?;
                (File::from(descriptor), Tail::default())
            }
            Output::File(path) => {
                let mut file = OpenOptions::new()
                    .read(true)
                    .append(true)
                    .create(true)
                    .mode(0o600)
                    .open(path)?;
                let tail = tail(&mut file)?;
                (file, tail)
            }
        };
        Ok((Self { output, file }, tail))
    }

    /// Standard output that is this pipe.
    #[cfg(test)]
    pub(super) fn pipe(pipe: io::PipeWriter) -> Self {
        Self {
            output: Output::Stdout,
            file: File::from(std::os::fd::OwnedFd::from(pipe)),
        }
    }

    /// Opens the file of that name, which may be another one now. Standard output stays what it is.
    pub(super) fn reopen(&mut self) -> io::Result<Tail> {
        match self.output {
            Output::Stdout => Ok(Tail::default()),
            Output::File(_) => {
                let (sink, tail) = Self::open(self.output.clone())?;
                *self = sink;
                Ok(tail)
            }
        }
    }

    pub(super) const fn is_file(&self) -> bool {
        matches!(self.output, Output::File(_))
    }

    /// Whether the open file is in no folder any more, so that nobody can read what is written.
    pub(super) fn is_gone(&self) -> bool {
        self.is_file() && self.file.metadata().is_ok_and(|file| file.nlink() == 0)
    }

    /// Writes all of it, or says how much was written until an error came.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match self.file.write(rest) {
                Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err((written, error)),
            }
        }
        Ok(())
    }
}

fn tail(file: &mut File) -> io::Result<Tail> {
    let metadata = file.metadata()?;
    // A device has no end to read.
    if !metadata.is_file() {
        return Ok(Tail::default());
    }
    file.seek(SeekFrom::Start(metadata.len().saturating_sub(TAIL)))?;
    let mut end = Vec::new();
    file.take(TAIL).read_to_end(&mut end)?;
    let head = end.rsplit(|byte| *byte == b'\n').find_map(Line::parse);
    Ok(Tail {
        head: head.map(|line| line.head()),
        is_cut: end.last().is_some_and(|byte| *byte != b'\n'),
    })
}

//! `ask2do-token-server audit`: for whoever reads the log.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufReader, IsTerminal as _, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use zeroize::Zeroizing;

use super::chain::{Key, Seal};
use super::find;
use super::verify::{KnownHead, Report, Verifier};

/// The longest token that is looked for; Ask2Do's have some 340 characters.
const LONGEST_TOKEN: u64 = 64 * 1024;

/// What is done with a log.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Checks that no line was changed, moved or taken out
    ///
    /// Exit code 0: every chain holds; 1: one does not; 2: a file cannot be read.
    Verify {
        /// The log, as one or many files in any order; `-` is standard input
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The server's `audit.key_file` (repeatable, where the key has changed)
        #[arg(long, value_name = "FILE")]
        key_file: Vec<PathBuf>,
        /// A head that must be there: INSTANCE:SEQUENCE:MAC, as the server logs it (repeatable)
        #[arg(long, value_name = "HEAD", value_parser = known_head)]
        head: Vec<Known>,
        /// What is only worth a note, such as a chain without its beginning or its end, counts too
        #[arg(long)]
        strict: bool,
    },
    /// Says who minted a token, for whom, when, and in which trace
    ///
    /// The token, or its SHA-256 in hexadecimal, comes on standard input: what stands on a command line is
    /// seen by others. Exit code 0: found; 1: not found; 2: a file cannot be read.
    Find {
        /// The log, as one or many files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The server's `audit.key_file` (repeatable, where the key has changed)
        #[arg(long, value_name = "FILE")]
        key_file: Vec<PathBuf>,
    },
}

/// A head of the command line.
#[derive(Clone, Debug)]
pub struct Known(KnownHead);

fn known_head(text: &str) -> Result<Known, &'static str> {
    let known = KnownHead::parse(text).map(Known);
    known.ok_or("want INSTANCE:SEQUENCE:MAC, with at least twelve digits of the mac")
}

/// A file that is of no use.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}", path.display())]
struct Unusable {
    path: PathBuf,
    cause: Box<dyn std::error::Error>,
}

/// Does it.
#[expect(clippy::print_stderr, reason = "a command line's error")]
pub fn run(command: &Command) -> ExitCode {
    let done = match command {
        Command::Verify {
            files,
            key_file,
            head,
            strict,
        } => verify(files, key_file, head, *strict),
        Command::Find { files, key_file } => find(files, key_file),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn verify(
    files: &[PathBuf],
    key_files: &[PathBuf],
    heads: &[Known],
    strict: bool,
) -> Result<bool, Unusable> {
    let known = heads.iter().map(|Known(head)| head.clone()).collect();
    let mut verifier = Verifier::new(seals(key_files)?, known);
    let mut sources = Vec::new();
    for path in files {
        let source = Source::of(path).map_err(|cause| unusable(path, cause))?;
        sources.push((path, source));
    }
    for (path, source) in &sources {
        let learnt = source.read().and_then(|file| verifier.learn(file));
        learnt.map_err(|cause| unusable(path, cause))?;
    }
    for (path, source) in &sources {
        let name = path.display().to_string();
        let checked = source.read().and_then(|file| verifier.check(&name, file));
        checked.map_err(|cause| unusable(path, cause))?;
    }
    let report = verifier.finish();
    let holds = report.problems.is_empty()
        && !report.chains.is_empty()
        && (report.notes.is_empty() || !strict);
    say(&described(&report, holds));
    Ok(holds)
}

/// What can be read twice: a file, or the copy of what is none.
enum Source<'a> {
    File(&'a Path),
    Copy(File),
}

impl<'a> Source<'a> {
    /// `-` is standard input. That, and a pipe, is copied into a file without a name.
    fn of(path: &'a Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Self::copied(io::stdin().lock());
        }
        let file = File::open(path)?;
        if file.metadata()?.is_file() {
            // Opened again when it is its turn: there may be more files than a process may hold.
            Ok(Self::File(path))
        } else {
            Self::copied(file)
        }
    }

    fn copied(mut from: impl io::Read) -> io::Result<Self> {
        let mut copy = tempfile::tempfile()?;
        io::copy(&mut from, &mut copy)?;
        Ok(Self::Copy(copy))
    }

    /// From its beginning.
    fn read(&self) -> io::Result<BufReader<File>> {
        match self {
            Self::File(path) => open(path),
            Self::Copy(copy) => {
                let mut file = copy.try_clone()?;
                file.rewind()?;
                Ok(BufReader::new(file))
            }
        }
    }
}

fn described(report: &Report, holds: bool) -> String {
    let mut text = String::new();
    let mut line = |line: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", printable(line));
    };
    for chain in &report.chains {
        let (first, head) = (chain.first, &chain.head);
        line(&format!(
            "chain {}: lines {first} to {}, {} to {}, head {head}",
            head.instance, head.seq, chain.from, chain.to
        ));
    }
    for note in &report.notes {
        line(&format!("note: {note}"));
    }
    for problem in &report.problems {
        line(&format!("problem: {problem}"));
    }
    if report.untold > 0 {
        line(&format!("and {} more of these", report.untold));
    }
    if report.chains.is_empty() {
        line("there is no audit log in these files");
    }
    line(if holds { "ok" } else { "NOT ok" });
    text
}

/// What stands in a file, or is its name, must not be obeyed by a terminal.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Prints the answer, which the exit code gives too: whoever reads it may have read enough.
fn say(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

fn find(files: &[PathBuf], key_files: &[PathBuf]) -> Result<bool, Unusable> {
    let seals = seals(key_files)?;
    let standard_input = Path::new("standard input");
    if let Some(path) = files.iter().find(|path| *path == Path::new("-")) {
        return Err(unusable(path, "the token comes on standard input"));
    }
    let text = wanted_text().map_err(|cause| unusable(standard_input, cause))?;
    let Some(wanted) = find::wanted(&text) else {
        return Err(unusable(standard_input, "found neither a token nor a hash"));
    };
    let mut found = false;
    for path in files {
        let name = path.display().to_string();
        let lines = open(path).and_then(|file| find::find(&name, file, wanted, &seals));
        for line in lines.map_err(|cause| unusable(path, cause))? {
            say(&line);
            found = true;
        }
    }
    if !found {
        say("no line tells of this token\n");
    }
    Ok(found)
}

/// What standard input holds.
#[expect(
    clippy::print_stderr,
    reason = "a person who waits should know for what"
)]
fn wanted_text() -> io::Result<Zeroizing<String>> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        eprintln!("the token, or its SHA-256, and then Ctrl-D:");
    }
    let mut text = Zeroizing::new(String::new());
    let read = stdin.take(LONGEST_TOKEN + 1).read_to_string(&mut text)?;
    if read as u64 > LONGEST_TOKEN {
        return Err(io::Error::other("longer than any token"));
    }
    Ok(text)
}

/// Without a key, lines are hashed. With one, a plain hash holds no more: anybody can make it.
fn seals(key_files: &[PathBuf]) -> Result<Vec<Seal>, Unusable> {
    if key_files.is_empty() {
        return Ok(vec![Seal::Plain]);
    }
    let seal = |path: &PathBuf| {
        let bytes = std::fs::read(path).map_err(|cause| unusable(path, cause))?;
        let key = Key::from_bytes(&Zeroizing::new(bytes));
        Ok(key.map_err(|cause| unusable(path, cause))?.seal())
    };
    key_files.iter().map(seal).collect()
}

fn open(path: &Path) -> io::Result<BufReader<File>> {
    File::open(path).map(BufReader::new)
}

fn unusable(path: &Path, cause: impl Into<Box<dyn std::error::Error>>) -> Unusable {
    Unusable {
        path: path.to_owned(),
        cause: cause.into(),
    }
}

//! Checks chains: of many instances, over many files, in whatever order the files come.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::io::{self, BufRead, Read as _};

use super::chain::{Head, Mac, Seal};
use super::line::Line;

/// No line of ours is as long: what is longer is somebody else's, and never held in memory as a whole.
const LONGEST_LINE: u64 = 64 * 1024;

/// So many problems, and as many notes, are told one by one. With the wrong key every line is one.
const MOST_TOLD: usize = 1000;

/// A head that somebody knows of: the digits of its mac that are known are enough.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct KnownHead {
    instance: String,
    seq: u64,
    mac: String,
}

impl KnownHead {
    /// `INSTANCE:SEQUENCE:MAC`, as the server logs it; twelve digits of the mac are what the metric shows.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':');
        let known = Self {
            instance: parts.next()?.to_owned(),
            seq: parts.next()?.parse().ok()?,
            mac: parts.next()?.to_owned(),
        };
        let digits = known.mac.bytes().all(|digit| digit.is_ascii_hexdigit());
        (digits && (12..=64).contains(&known.mac.len())).then_some(known)
    }

    fn of(head: &Head) -> Self {
        Self {
            instance: head.instance.clone(),
            seq: head.seq,
            mac: head.mac.to_string(),
        }
    }

    fn is(&self, mac: Mac) -> bool {
        mac.to_string().starts_with(&self.mac)
    }
}

impl fmt::Display for KnownHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.instance, self.seq, self.mac)
    }
}

/// What a check came to.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// One for each instance.
    pub(super) chains: Vec<Summary>,
    /// What must not be.
    pub(super) problems: Vec<String>,
    /// What may be, and is worth knowing.
    pub(super) notes: Vec<String>,
    /// How many problems and notes there are beside those.
    pub(super) untold: u64,
}

impl Report {
    fn problem(&mut self, problem: String) {
        if self.problems.len() < MOST_TOLD {
            self.problems.push(problem);
        } else {
            self.untold += 1;
        }
    }

    fn note(&mut self, note: String) {
        if self.notes.len() < MOST_TOLD {
            self.notes.push(note);
        } else {
            self.untold += 1;
        }
    }
}

/// One chain.
#[derive(Debug)]
pub(super) struct Summary {
    pub(super) first: u64,
    pub(super) head: Head,
    pub(super) from: String,
    pub(super) to: String,
}

/// Reads every file twice: what later lines know of earlier ones, then the lines.
#[derive(Debug, Default)]
pub(super) struct Verifier {
    seals: Vec<Seal>,
    known: HashMap<(String, u64), Vec<KnownHead>>,
    /// Those that whoever checks wants to find; the others a chain found when it began.
    demanded: HashSet<KnownHead>,
    seen: HashSet<KnownHead>,
    segments: BTreeMap<String, Vec<Segment>>,
    report: Report,
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.algorithm())
    }
}

/// The lines of one instance in one file.
#[derive(Debug)]
struct Segment {
    place: String,
    first: u64,
    before: Mac,
    last: Head,
    from: String,
    to: String,
    ended: bool,
}

impl Verifier {
    /// Lines must hold by one of `seals`; `known` heads must be there.
    pub(super) fn new(seals: Vec<Seal>, known: Vec<KnownHead>) -> Self {
        let mut verifier = Self {
            seals,
            demanded: known.iter().cloned().collect(),
            ..Self::default()
        };
        for head in known {
            verifier.expect(head);
        }
        verifier
    }

    fn expect(&mut self, head: KnownHead) {
        let of_line = self.known.entry((head.instance.clone(), head.seq));
        of_line.or_default().push(head);
    }

    /// The first reading of a file: the heads that new chains have found.
    pub(super) fn learn(&mut self, mut file: impl BufRead) -> io::Result<()> {
        let mut bytes = Vec::new();
        while next_line(&mut file, &mut bytes)? {
            if let Some(found) = Line::parse(&bytes).and_then(|line| line.found()) {
                self.expect(KnownHead::of(&found));
            }
        }
        Ok(())
    }

    /// The second reading, after the first of all files.
    pub(super) fn check(&mut self, name: &str, mut file: impl BufRead) -> io::Result<()> {
        let (mut number, mut other) = (0, 0);
        let mut bytes = Vec::new();
        let mut segments: BTreeMap<String, Segment> = BTreeMap::new();
        while next_line(&mut file, &mut bytes)? {
            number += 1;
            let Some(line) = Line::parse(&bytes) else {
                other += u64::from(!bytes.is_empty());
                continue;
            };
            let place = format!("{name}:{number}");
            self.check_line(&place, &line);
            match segments.get_mut(&line.says.instance) {
                Some(segment) => {
                    if let Some(problem) = segment.goes_on(&place, &line) {
                        self.report.problem(problem);
                    }
                    segment.take(&line);
                }
                None => {
                    drop(segments.insert(line.says.instance.clone(), Segment::new(place, &line)))
                }
            }
        }
        if other > 0 {
            let note = format!("{name}: {other} lines are none of an audit log, or pieces of one");
            self.report.note(note);
        }
        for (instance, segment) in segments {
            self.segments.entry(instance).or_default().push(segment);
        }
        Ok(())
    }

    fn check_line(&mut self, place: &str, line: &Line<'_>) {
        let head = line.head();
        if !line.holds(&self.seals) {
            self.report.problem(format!(
                "{place}: line {} of {} was changed, or is sealed with another key (--key-file)",
                head.seq, head.instance
            ));
        }
        if let Some(lines) = line.says.lines {
            self.report.note(format!(
                "{place}: {} says that {lines} lines before this one could not be written",
                head.instance
            ));
        }
        let known = self.known.get(&(head.instance, head.seq));
        for known in known.into_iter().flatten() {
            self.seen.insert(known.clone());
            if !known.is(head.mac) {
                self.report.problem(format!(
                    "{place}: this line is another than the known head {known}"
                ));
            }
        }
    }

    /// Puts the files together.
    pub(super) fn finish(mut self) -> Report {
        for (instance, segments) in &mut self.segments {
            segments.sort_by_key(|segment| segment.first);
            for pair in segments.windows(2) {
                if let [before, after] = pair
                    && let Some(problem) = before.is_followed_by(after)
                {
                    self.report.problem(problem);
                }
            }
            let (Some(first), Some(last)) = (segments.first(), segments.last()) else {
                continue;
            };
            if first.first > 0 {
                self.report.note(format!(
                    "{instance} begins at line {}: what came before is in none of these files",
                    first.first
                ));
            }
            if !last.ended {
                self.report.note(format!(
                    "{instance} has no last line: it runs, was killed, or its tail was cut: compare its head"
                ));
            }
            self.report.chains.push(Summary {
                first: first.first,
                head: last.last.clone(),
                from: first.from.clone(),
                to: last.to.clone(),
            });
        }
        self.missing_heads();
        self.report
    }

    fn missing_heads(&mut self) {
        let known = self.known.values().flatten();
        let mut missing: Vec<_> = known.filter(|head| !self.seen.contains(*head)).collect();
        missing.sort_unstable_by_key(|head| (&head.instance, head.seq));
        missing.dedup();
        for head in missing {
            // Of a chain that is there in part, or not at all, the older files may have been taken away.
            let may_be_older = self
                .segments
                .get(&head.instance)
                .is_none_or(|all| all.iter().all(|segment| head.seq < segment.first));
            let text = format!("the known head {head} is in none of these files");
            if may_be_older && !self.demanded.contains(head) {
                self.report.note(text);
            } else {
                self.report.problem(format!("{text}: lines are missing"));
            }
        }
    }
}

impl Segment {
    fn new(place: String, line: &Line<'_>) -> Self {
        Self {
            place,
            first: line.says.seq,
            before: line.previous_mac(),
            last: line.head(),
            from: line.says.time.clone(),
            to: line.says.time.clone(),
            ended: line.says.event == "end",
        }
    }

    fn take(&mut self, line: &Line<'_>) {
        self.last = line.head();
        self.to.clone_from(&line.says.time);
        self.ended = line.says.event == "end";
    }

    fn goes_on(&self, place: &str, line: &Line<'_>) -> Option<String> {
        joint(&self.last, place, line.says.seq, line.previous_mac())
    }

    fn is_followed_by(&self, after: &Self) -> Option<String> {
        joint(&self.last, &after.place, after.first, after.before)
    }
}

/// What is wrong between a line and the next one that there is.
fn joint(last: &Head, place: &str, seq: u64, before: Mac) -> Option<String> {
    let instance = &last.instance;
    if seq <= last.seq {
        let last = last.seq;
        Some(format!(
            "{place}: line {seq} of {instance} after line {last}: repeated, or moved"
        ))
    } else if seq - last.seq > 1 {
        let (from, to) = (last.seq + 1, seq - 1);
        Some(format!(
            "{place}: lines {from} to {to} of {instance} are missing before this one"
        ))
    } else if before != last.mac {
        Some(format!(
            "{place}: line {seq} of {instance} follows another line than the one before it"
        ))
    } else {
        None
    }
}

/// The next line without its end; whether there was one. Of one that is too long to be ours nothing is left.
pub(super) fn next_line(file: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let read = file.by_ref().take(LONGEST_LINE).read_until(b'\n', line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
        // As a file looks that has been on another system.
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    } else if read as u64 == LONGEST_LINE {
        file.skip_until(b'\n')?;
        line.clear();
        line.extend(b"#");
    }
    Ok(read > 0)
}

//! File descriptors, of which each connection needs one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Options;

/// What a process needs beside one port's connections: logs, files, the other ports, the calls it makes itself.
const OTHERS: u64 = 256;

/// Raises the soft limit to the hard one, as Go programs do: 1024, which is common, is a limit for programs
/// that use select(2). Warns where even that is too few.
pub(super) fn make_room_for(port: &'static str, options: &Options) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Some systems have no number for their hard limit and refuse; then the soft one stays.
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised,
        Err(_) => limit,
    };
    let needed = u64::try_from(options.connections + options.pending).unwrap_or(u64::MAX);
    if let Some(limit) = limit.current
        && limit < needed.saturating_add(OTHERS)
    {
        tracing::warn!(
            port,
            limit,
            needed,
            "the limit of open files is lower than what the connections may need"
        );
    }
}

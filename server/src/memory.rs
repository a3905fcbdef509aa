//! Keeps the tenant key in this process's memory.

/// Switches core dumps off; on Linux also lets no other process of the same user attach or read
/// the memory. What cannot be switched off is reported, and nothing else: the key's file is as
/// readable to whoever could do it.
pub(crate) fn protect() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};

        let none = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        if let Err(error) = setrlimit(Resource::Core, none) {
            tracing::warn!(%error, "core dumps cannot be switched off");
        }
    }
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};

        if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
            tracing::warn!(%error, "other processes cannot be kept from attaching to this one");
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};

    #[test]
    fn there_is_no_core_dump_and_nobody_attaches() {
        super::protect();
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
        let now = dumpable_behavior().unwrap();
        assert!(matches!(now, DumpableBehavior::NotDumpable));
    }
}

//! The commands of docs/kubernetes.md, as written.

use ask2do_token_tests::cluster::{
    Helm, Namespace, case_of_each_helm, helms, marked, remove, restrict, shell,
};
use ask2do_token_tests::suite::Suite;

const PAGE: &str = "docs/kubernetes.md";

/// The namespace that the page names for its first try.
const NAMESPACE: &str = "ask2do-demo";

pub(crate) fn cases(suite: &mut Suite) {
    // One after the other: the page names one namespace.
    suite.case_where_possible(
        "the first try of the docs ends with a token, with every helm",
        || async {
            for helm in helms()? {
                first_try(&helm);
            }
            Ok(())
        },
    );
    case_of_each_helm(
        suite,
        "three lines of values install the service, by the commands of the docs",
        async |helm| {
            let namespace = Namespace::new(&helm, "lines");
            let folder = tempfile::tempdir().unwrap();
            let values = marked(PAGE, "three lines");
            assert_eq!(values.lines().count(), 3, "{values}");
            std::fs::write(folder.path().join("values.yaml"), values).unwrap();
            let mut last = String::new();
            for command in marked(PAGE, "install").lines() {
                // Not in the page's own namespace, which may be somebody's.
                let command = command.replace(
                    "--namespace ask2do",
                    &format!("--namespace {}", namespace.name),
                );
                last = namespace.shell(folder.path(), &command);
            }
            assert_eq!(last.matches("Succeeded").count(), 1, "{last}");
        },
    );
}

fn first_try(helm: &Helm) {
    let folder = tempfile::tempdir().unwrap();
    let shell =
        |line: &str| shell(helm, folder.path(), line).unwrap_or_else(|error| panic!("{error}"));
    let commands = marked(PAGE, "first try");
    let commands: Vec<_> = commands.lines().collect();
    assert!(commands.len() <= 6, "{commands:?}");
    let mut gone = None;
    let mut last = String::new();
    for (index, command) in commands.iter().enumerate() {
        last = shell(command);
        if index == 0 {
            // Not before: a namespace that was here already is somebody's.
            gone = Some(Gone);
            restrict(NAMESPACE);
        }
    }
    let parts: Vec<_> = last.trim().split('.').collect();
    assert!(
        parts.len() == 3 && parts.iter().all(|part| part.len() > 20),
        "{last}"
    );
    let tested = shell(&format!("helm test ask2do-token --namespace {NAMESPACE}"));
    assert_eq!(tested.matches("Succeeded").count(), 3, "{tested}");
    drop(gone);
}

struct Gone;

impl Drop for Gone {
    fn drop(&mut self) {
        remove(NAMESPACE, "--wait=true");
    }
}

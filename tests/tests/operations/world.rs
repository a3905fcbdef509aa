//! One installation for all cases, and what each of them does to it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ask2do_token_tests::cluster::helms;
use ask2do_token_tests::suite::Suite;

use crate::figures;
use crate::installation::Installation;
use crate::load::{self, Window};
use crate::pods::Pod;

/// How long calls are looked at before a disruption, for comparison.
const QUIET: Duration = Duration::from_secs(4);

/// The installation, while no case has it. One that failed leaves none, so that the next one makes it anew.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Option<Installation>>>);

/// What a disruption may do to the pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pods {
    /// None is replaced.
    Stay,
    /// Some are.
    Change,
}

impl Shared {
    /// Adds a case that works on the installation, where there is a cluster.
    pub(crate) fn case(
        &self,
        suite: &mut Suite,
        name: &str,
        work: impl AsyncFnOnce(&mut Installation) + Send + 'static,
    ) {
        let shared = self.clone();
        suite.case_where_possible(name, move || async move {
            let helms = helms()?;
            let mut installation = match shared.take() {
                Some(installation) => installation,
                None => Installation::new(&helms).await,
            };
            work(&mut installation).await;
            *shared.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(installation);
            Ok(())
        });
    }

    fn take(&self) -> Option<Installation> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The last case: everything goes, as the page says it.
pub(crate) fn end(suite: &mut Suite, shared: &Shared) {
    shared.case(
        suite,
        "backing out leaves nothing but what was there before",
        async |installation| {
            installation.page("back out");
            let gone = "kubectl wait --for=delete pod --timeout=120s \
            --selector app.kubernetes.io/instance=ask2do-token";
            installation.shell(gone);
            let left = "pods,services,deployments,replicasets,configmaps,secrets,\
            serviceaccounts,networkpolicies,poddisruptionbudgets";
            let left = installation.namespace.list(left);
            let of_the_release: Vec<_> = left
                .iter()
                .filter(|object| {
                    let release = object.pointer("/metadata/labels/app.kubernetes.io~1instance");
                    release == Some(&"ask2do-token".into())
                })
                .collect();
            assert!(of_the_release.is_empty(), "{of_the_release:#?}");
            for secret in [
                "ask2do-tenant-key",
                "ask2do-token-tls",
                "ask2do-gateway-tls",
            ] {
                installation.shell(&format!("kubectl get secret {secret}"));
            }
        },
    );
    let shared = shared.clone();
    // Not a case of its own, so that a filter that leaves it out leaves nothing behind.
    suite.finally(move || drop(shared.take()));
}

impl Installation {
    /// Does something to the release under load: no call fails, no process ends that was not meant to, and the
    /// figures are noted.
    pub(crate) async fn disrupt(
        &self,
        name: &str,
        expected: Pods,
        disruption: impl AsyncFnOnce(&Self),
    ) -> Window {
        let pods = self.settled().await;
        let (before, during) = self.observe(disruption).await;
        figures::note(name, before.clone(), during.clone());
        for window in [&before, &during] {
            window.assert_none_failed();
            window.assert_rate();
        }
        let now = self.settled().await;
        assert!(now.iter().all(|pod| pod.restarts == 0), "{now:#?}");
        let uids = |pods: &[Pod]| pods.iter().map(|pod| pod.uid.clone()).collect::<Vec<_>>();
        assert_eq!(
            uids(&now) == uids(&pods),
            expected == Pods::Stay,
            "{now:#?}"
        );
        during
    }

    /// The calls before and during something, to the end of its last after-effects.
    pub(crate) async fn observe(&self, disruption: impl AsyncFnOnce(&Self)) -> (Window, Window) {
        let began = load::now(self);
        let quiet = u64::try_from(QUIET.as_millis()).unwrap();
        let before = load::window(self, began, began + quiet);
        disruption(self).await;
        self.settled().await;
        let ended = load::now(self) + 1000;
        let during = load::window(self, began + quiet, ended);
        (before, during)
    }
}

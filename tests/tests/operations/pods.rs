//! The release's pods, as the API shows them.

use std::time::Duration;

use ask2do_token_tests::until_within;
use serde_json::Value;

use crate::installation::Installation;

/// Pods of each component.
pub(crate) const REPLICAS: usize = 2;

/// The longest that pods may take to be replaced, one after the other, on a busy machine.
pub(crate) const ROLLOUT: Duration = Duration::from_secs(180);

/// The longest that a changed Secret may take to its files: the kubelet's sync period, and its cache's time.
pub(crate) const ARRIVAL: Duration = Duration::from_secs(180);

/// A pod of the release.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) component: String,
    pub(crate) ready: bool,
    pub(crate) terminating: bool,
    pub(crate) restarts: u64,
    pub(crate) phase: String,
    /// The exit code of its last end.
    pub(crate) exit_code: Option<i64>,
}

impl Pod {
    fn of(pod: &Value) -> Option<Self> {
        let labels = pod.pointer("/metadata/labels")?;
        let component = labels["app.kubernetes.io/component"].as_str()?;
        if !["server", "gateway"].contains(&component) {
            return None; // A pod of `helm test`.
        }
        let status = pod
            .pointer("/status/containerStatuses/0")
            .unwrap_or(&Value::Null);
        let text = |pointer: &str| {
            pod.pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        Some(Self {
            name: text("/metadata/name"),
            uid: text("/metadata/uid"),
            component: component.to_owned(),
            ready: status["ready"] == true,
            terminating: pod.pointer("/metadata/deletionTimestamp").is_some(),
            restarts: status["restartCount"].as_u64().unwrap_or_default(),
            phase: text("/status/phase"),
            exit_code: ["/state", "/lastState"].iter().find_map(|state| {
                status
                    .pointer(&format!("{state}/terminated/exitCode"))?
                    .as_i64()
            }),
        })
    }
}

impl Installation {
    /// Every pod of the release.
    pub(crate) fn pods(&self) -> Vec<Pod> {
        let list = self.namespace.list("pods");
        let mut pods: Vec<_> = list
            .iter()
            .filter(|pod| {
                pod.pointer("/metadata/labels/app.kubernetes.io~1instance")
                    == Some(&Value::from("ask2do-token"))
            })
            .filter_map(Pod::of)
            .collect();
        pods.sort();
        pods
    }

    /// Those of one component.
    pub(crate) fn pods_of(&self, component: &str) -> Vec<Pod> {
        let mut pods = self.pods();
        pods.retain(|pod| pod.component == component);
        pods
    }

    /// Waits until just the pods that there should be are there and ready.
    pub(crate) async fn settled(&self) -> Vec<Pod> {
        until_within(ROLLOUT, "all pods ready, and none ending", async || {
            let pods = self.pods();
            let all = pods.iter().all(|pod| pod.ready && !pod.terminating);
            (all && pods.len() == 2 * REPLICAS).then_some(pods)
        })
        .await
    }
}

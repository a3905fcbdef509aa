//! Pods that are replaced, by whatever replaces pods.

use ask2do_token_tests::suite::Suite;
use ask2do_token_tests::until_within;
use serde_json::{Value, json};

use crate::installation::Installation;
use crate::page;
use crate::pods::ROLLOUT;
use crate::world::{Pods, Shared};

pub(crate) fn cases(suite: &mut Suite, world: &Shared) {
    world.case(
        suite,
        "an upgrade and a rollback lose no call, with every helm",
        upgrade,
    );
    world.case(
        suite,
        "an upgrade to an image that is not there goes back by itself, with every helm",
        bad_image,
    );
    world.case(suite, "deleted pods lose no call", async |installation| {
        let name = "`kubectl delete pod`, one of each";
        installation
            .disrupt(name, Pods::Change, async |installation| {
                for component in ["server", "gateway"] {
                    let pod = &installation.pods_of(component)[0].name;
                    installation.shell(&format!("kubectl delete pod {pod} --wait=false"));
                }
            })
            .await;
    });
    world.case(
        suite,
        "evicted pods lose no call, and the budget keeps the last one",
        evict,
    );
    world.case(suite, "a drained node loses no call", drain);
}

async fn upgrade(installation: &mut Installation) {
    for (index, helm) in installation.helms.clone().iter().enumerate() {
        installation.use_helm(helm);
        let version = version(installation);
        let mut values = installation.values.clone();
        values["server"]["config"]["limits"] = json!({"in_flight": 300 + index});
        values["gateway"]["config"]["http"] = json!({"in_flight": 300 + index});
        installation.write_values(&values);
        let name = format!("upgrade, Helm {version}");
        installation
            .disrupt(&name, Pods::Change, async |installation| {
                installation.page("upgrade");
            })
            .await;
        let name = format!("rollback, Helm {version}");
        installation
            .disrupt(&name, Pods::Change, async |installation| {
                installation.page("roll back");
            })
            .await;
        installation.write_values(&installation.values);
    }
}

async fn bad_image(installation: &mut Installation) {
    for helm in installation.helms.clone() {
        installation.use_helm(&helm);
        let mut values = installation.values.clone();
        values["image"]["tag"] = json!("no-such-version");
        installation.write_values(&values);
        let name = format!("image that is not there, Helm {}", version(installation));
        installation
            .disrupt(&name, Pods::Stay, async |installation| {
                let failed = installation.try_shell(&page::block("upgrade or back"));
                assert!(failed.is_err(), "{failed:?}");
            })
            .await;
        installation.write_values(&installation.values);
        let status = installation.shell("helm status ask2do-token --output json");
        let status: Value = serde_json::from_str(&status).unwrap();
        assert_eq!(status["info"]["status"], "deployed");
    }
}

fn version(installation: &Installation) -> String {
    let version = installation.shell("helm version --short");
    let version = version.trim().trim_start_matches('v');
    version.split('+').next().unwrap().to_owned()
}

async fn evict(installation: &mut Installation) {
    installation
        .disrupt(
            "eviction, one of each",
            Pods::Change,
            async |installation| {
                for component in ["server", "gateway"] {
                    let pods = installation.pods_of(component);
                    assert!(try_evict(installation, &pods[0].name).is_ok());
                    // While that one is being replaced, the other must stay.
                    let refused = try_evict(installation, &pods[1].name).unwrap_err();
                    assert!(refused.contains("disruption budget"), "{refused}");
                }
            },
        )
        .await;
}

fn try_evict(installation: &Installation, pod: &str) -> Result<String, String> {
    let namespace = &installation.namespace.name;
    let eviction = json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": namespace},
    });
    installation.write("eviction.json", &eviction.to_string());
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/eviction");
    installation.try_shell(&format!(
        "kubectl create --raw {path} --filename eviction.json"
    ))
}

/// On a single node the pods have nowhere to go: it is given back as soon as one of them waits for a place.
async fn drain(installation: &mut Installation) {
    let others = "kubectl get pods --all-namespaces --output json \
        --selector app.kubernetes.io/instance=ask2do-token";
    until_within(
        ROLLOUT,
        "no other release's pods, which would be drained too",
        async || {
            let list: Value = serde_json::from_str(&installation.shell(others)).unwrap();
            let mut pods = list["items"].as_array().unwrap().iter();
            let own = Value::from(installation.namespace.name.clone());
            pods.all(|pod| pod["metadata"]["namespace"] == own)
                .then_some(())
        },
    )
    .await;
    let pod = installation.pods_of("server").remove(0).name;
    let node = installation.shell(&format!(
        "kubectl get pod {pod} --output jsonpath={{.spec.nodeName}}"
    ));
    let cordoned = Cordoned {
        installation,
        node: node.clone(),
    };
    installation
        .disrupt("drained node", Pods::Change, async |installation| {
            let mut drain = installation.start(&page::block("drain"), ("NODE", &node));
            let ended = until_within(
                ROLLOUT,
                "a pod without a node, or the drain's end",
                async || {
                    let pending = installation.pods().iter().any(|pod| pod.phase == "Pending");
                    let ended = drain.try_wait().unwrap();
                    (pending || ended.is_some()).then_some(ended)
                },
            )
            .await;
            drop(cordoned);
            let status = match ended {
                Some(status) => status,
                None => {
                    until_within(ROLLOUT, "the drain's end", async || {
                        drain.try_wait().unwrap()
                    })
                    .await
                }
            };
            let mut said = String::new();
            std::io::Read::read_to_string(&mut drain.stderr.take().unwrap(), &mut said).unwrap();
            assert!(status.success(), "{said}");
        })
        .await;
}

/// Given back to the scheduler, whatever becomes of the test.
struct Cordoned<'a> {
    installation: &'a Installation,
    node: String,
}

impl Drop for Cordoned<'_> {
    fn drop(&mut self) {
        let script = page::block("uncordon");
        let mut child = self.installation.start(&script, ("NODE", &self.node));
        let ended = child.wait().unwrap();
        if !ended.success() {
            eprintln!("node {} is still cordoned", self.node);
        }
    }
}

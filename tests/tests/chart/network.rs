//! What rendered NetworkPolicies let through, as Kubernetes defines it: a pod that a policy of a direction selects
//! has in that direction what some rule allows, any other pod has everything; a flow needs both its ends.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use crate::helm::NAMESPACE;

/// One end of a flow.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// A pod, by its namespace and its labels.
    Pod(&'static str, Vec<(String, String)>),
    /// An address outside of the cluster.
    Address(IpAddr),
}

/// A pod with these labels, written `a=b,c=d`.
pub(crate) fn pod(namespace: &'static str, labels: &str) -> End {
    let label = |label: &str| {
        let (key, value) = label.split_once('=').unwrap();
        (key.to_owned(), value.to_owned())
    };
    End::Pod(namespace, labels.split(',').map(label).collect())
}

/// A pod of the release.
pub(crate) fn own(component: &str) -> End {
    pod(
        NAMESPACE,
        &format!(
            "app.kubernetes.io/name=ask2do-token,app.kubernetes.io/instance=ask2do-token,app.kubernetes.io/component={component}"
        ),
    )
}

pub(crate) fn address(address: &str) -> End {
    End::Address(address.parse().unwrap())
}

/// Whether the policies let `from` open a connection to that port of `to`.
pub(crate) fn is_allowed(
    policies: &[Value],
    from: &End,
    to: &End,
    port: u16,
    protocol: &str,
) -> bool {
    passes(policies, "Egress", from, to, port, protocol)
        && passes(policies, "Ingress", to, from, port, protocol)
}

fn passes(
    policies: &[Value],
    direction: &str,
    here: &End,
    there: &End,
    port: u16,
    protocol: &str,
) -> bool {
    let (rules_key, peers_key) = match direction {
        "Egress" => ("egress", "to"),
        _ => ("ingress", "from"),
    };
    let mut selected = policies
        .iter()
        .filter(|policy| {
            let types = policy["spec"]["policyTypes"].as_array().unwrap();
            types.iter().any(|kind| kind == direction)
                && selects(&policy["spec"]["podSelector"], here, Some(NAMESPACE))
        })
        .peekable();
    if selected.peek().is_none() {
        return true;
    }
    selected
        .flat_map(|policy| policy["spec"][rules_key].as_array().into_iter().flatten())
        .any(|rule| {
            let ports = rule["ports"].as_array();
            let peers = rule[peers_key].as_array();
            ports.is_none_or(|ports| {
                ports
                    .iter()
                    .any(|entry| entry["port"] == port && entry["protocol"] == protocol)
            }) && peers.is_none_or(|peers| peers.iter().any(|peer| is_peer(peer, there)))
        })
}

fn is_peer(peer: &Value, end: &End) -> bool {
    if let Some(block) = peer.get("ipBlock") {
        let End::Address(address) = end else {
            return false;
        };
        let within = |cidr: &Value| {
            cidr.as_str()
                .unwrap()
                .parse::<IpNet>()
                .unwrap()
                .contains(address)
        };
        let excepted = block["except"].as_array().into_iter().flatten().any(within);
        return within(&block["cidr"]) && !excepted;
    }
    let End::Pod(namespace, _) = end else {
        return false;
    };
    let in_namespace = match peer.get("namespaceSelector") {
        None => *namespace == NAMESPACE,
        Some(selector) => matches(
            selector,
            &[(
                "kubernetes.io/metadata.name".to_owned(),
                (*namespace).to_owned(),
            )],
        ),
    };
    in_namespace
        && peer
            .get("podSelector")
            .is_none_or(|selector| selects(selector, end, None))
}

fn selects(selector: &Value, end: &End, within: Option<&str>) -> bool {
    match end {
        End::Pod(namespace, labels) => {
            within.is_none_or(|within| *namespace == within) && matches(selector, labels)
        }
        End::Address(_) => false,
    }
}

fn matches(selector: &Value, labels: &[(String, String)]) -> bool {
    assert!(
        selector.get("matchExpressions").is_none(),
        "not evaluated here: {selector}"
    );
    let wanted = selector["matchLabels"].as_object().into_iter().flatten();
    wanted.into_iter().all(|(key, value)| {
        labels
            .iter()
            .any(|(label, is)| label == key && value == is.as_str())
    })
}

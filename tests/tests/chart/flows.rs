//! Who may open which connection, under the policies of each way to run it.

use ask2do_token_tests::suite::Suite;

use crate::helm::{helm, value_set};
use crate::network::{End, address, is_allowed, own, pod};

struct Flow {
    values: &'static str,
    set: &'static [&'static str],
    from: End,
    to: End,
    port: u16,
    protocol: &'static str,
    may: bool,
}

pub(crate) fn cases(suite: &mut Suite) {
    suite.case_where_possible(
        "the network policies let through what the table says",
        || async {
            let helm = helm()?;
            for Flow {
                values,
                set,
                from,
                to,
                port,
                protocol,
                may,
            } in flows()
            {
                let objects = helm.objects(&value_set(values), set);
                let policies: Vec<_> = objects
                    .into_iter()
                    .filter(|object| object["kind"] == "NetworkPolicy")
                    .collect();
                assert!(!policies.is_empty());
                assert_eq!(
                    is_allowed(&policies, &from, &to, port, protocol),
                    may,
                    "{values} {set:?}: {from:?} to {to:?}, {protocol} {port}"
                );
            }
            Ok(())
        },
    );
    suite.case_where_possible("without network policies nothing is held back", || async {
        let objects = helm()?.objects(&value_set("gateway"), &["networkPolicy.enabled=false"]);
        assert!(
            objects
                .iter()
                .all(|object| object["kind"] != "NetworkPolicy")
        );
        Ok(())
    });
}

fn flows() -> Vec<Flow> {
    let mut flows = Vec::new();
    let mut table = |values, set: &'static [&'static str], rows: Vec<(End, End, u16, bool)>| {
        for (from, to, port, may) in rows {
            flows.push(Flow {
                values,
                set,
                from,
                to,
                port,
                protocol: "TCP",
                may,
            });
        }
    };
    let server = || own("server");
    let gateway = || own("gateway");
    let neighbour = || pod("ask2do", "app=panel");
    let stranger = || pod("elsewhere", "app=panel");
    let prometheus = || pod("monitoring", "app=prometheus");
    let dns = || pod("kube-system", "k8s-app=kube-dns");
    table(
        "minimal",
        &[],
        vec![
            // Who reaches the server
            (neighbour(), server(), 8443, true),
            (own("test"), server(), 8443, true),
            (stranger(), server(), 8443, false),
            (address("203.0.113.7"), server(), 8443, false),
            (neighbour(), server(), 9090, false),
            (prometheus(), server(), 9090, false),
            // What the server reaches: public addresses at 443, and nothing else
            (server(), address("203.0.113.7"), 443, true),
            (server(), address("2606:4700::1111"), 443, true),
            (server(), address("203.0.113.7"), 80, false),
            (server(), address("10.1.2.3"), 443, false),
            (server(), address("172.20.0.1"), 443, false),
            (server(), address("192.168.1.1"), 443, false),
            (server(), address("100.64.0.1"), 443, false),
            (server(), address("127.0.0.1"), 443, false),
            (server(), address("169.254.169.254"), 443, false),
            (server(), address("169.254.169.254"), 80, false),
            (server(), address("fd00::1"), 443, false),
            (server(), address("fe80::1"), 443, false),
            (server(), neighbour(), 443, false),
            (server(), dns(), 53, true),
            (server(), pod("observability", "app=collector"), 4318, false),
        ],
    );
    table(
        "demo",
        &[],
        vec![
            (server(), pod("ask2do", "app=simulated-cloud"), 8443, true),
            (server(), pod("ask2do", "app=other"), 8443, false),
            (server(), address("203.0.113.7"), 443, false),
            (pod("ask2do", "app=simulated-cloud"), server(), 8443, true),
        ],
    );
    table(
        "gateway",
        &[],
        vec![
            (pod("ask2do", "app=reports"), server(), 8443, true),
            (gateway(), server(), 8443, true),
            (own("test"), server(), 8443, true),
            (neighbour(), server(), 8443, false),
            (pod("ingress-nginx", "app=nginx"), gateway(), 8080, true),
            (own("test"), gateway(), 8080, true),
            (own("test"), address("203.0.113.7"), 443, false),
            (neighbour(), own("test"), 8443, false),
            (stranger(), gateway(), 8080, false),
            (neighbour(), gateway(), 8080, false),
            (pod("ingress-nginx", "app=nginx"), gateway(), 9091, false),
            (pod("ingress-nginx", "app=nginx"), server(), 8443, false),
            (prometheus(), server(), 9090, true),
            (prometheus(), gateway(), 9091, true),
            (stranger(), server(), 9090, false),
            (gateway(), neighbour(), 3000, true),
            (gateway(), neighbour(), 80, false),
            (gateway(), stranger(), 3000, false),
            (gateway(), address("203.0.113.7"), 443, false),
            (gateway(), dns(), 53, true),
            (server(), neighbour(), 3000, false),
        ],
    );
    table(
        "gateway",
        &["networkPolicy.gatewayFrom=[]"],
        vec![
            (stranger(), gateway(), 8080, true),
            (address("203.0.113.7"), gateway(), 8080, true),
            (stranger(), gateway(), 9091, false),
        ],
    );
    table(
        "full",
        &[],
        vec![
            (address("10.20.0.7"), server(), 8443, true),
            (address("10.21.0.7"), server(), 8443, false),
            (gateway(), server(), 8443, true),
            (prometheus(), server(), 9090, true),
            (prometheus(), gateway(), 9091, true),
            (prometheus(), server(), 8443, false),
            // Through the egress proxy alone
            (server(), pod("egress", "app=proxy"), 3128, true),
            (server(), pod("egress", "app=proxy"), 443, false),
            (server(), address("203.0.113.7"), 443, false),
            (gateway(), pod("egress", "app=proxy"), 3128, false),
            (gateway(), address("203.0.113.10"), 443, true),
            (gateway(), address("203.0.113.11"), 443, false),
            (server(), pod("observability", "app=collector"), 4318, true),
            (gateway(), pod("observability", "app=collector"), 4318, true),
        ],
    );
    table(
        "minimal",
        &[
            r#"networkPolicy.grpcFrom=[{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"elsewhere"}},"podSelector":{"matchLabels":{"app":"panel"}}}]"#,
        ],
        vec![
            (stranger(), server(), 8443, true),
            (pod("elsewhere", "app=other"), server(), 8443, false),
            (neighbour(), server(), 8443, false),
            (own("test"), server(), 8443, true),
            // 6to4 and documentation: no public address
            (server(), address("2002:a00:1::1"), 443, false),
            (server(), address("2001:db8::1"), 443, false),
            (server(), address("2001::1"), 443, false),
            (server(), address("::1"), 443, false),
        ],
    );
    table(
        "minimal",
        &[
            r#"networkPolicy.dnsTo=[{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"kube-system"}}}]"#,
            "networkPolicy.dnsPorts=[53,5353]",
            r#"networkPolicy.extraIngress=[{"ports":[{"protocol":"TCP","port":15008}]}]"#,
            r#"networkPolicy.extraEgress=[{"to":[{"ipBlock":{"cidr":"10.9.0.0/16"}}],"ports":[{"protocol":"TCP","port":15012}]}]"#,
        ],
        vec![
            (server(), dns(), 53, true),
            (server(), dns(), 5353, true),
            (server(), stranger(), 53, false),
            (server(), address("203.0.113.7"), 53, false),
            (stranger(), server(), 15008, true),
            (server(), address("10.9.0.1"), 15012, true),
            (server(), address("10.9.0.1"), 443, false),
        ],
    );
    table(
        "gateway",
        &[
            r#"gateway.config.session={"mode":"jwt","jwt":{"issuer":"i","audience":"a","jwks_url":"https://idp.example/jwks"}}"#,
            r#"networkPolicy.sessionTo=[{"ipBlock":{"cidr":"203.0.113.10/32"}}]"#,
            "networkPolicy.sessionPort=443",
        ],
        vec![
            (gateway(), address("203.0.113.10"), 443, true),
            (gateway(), address("203.0.113.11"), 443, false),
            (gateway(), neighbour(), 3000, false),
        ],
    );
    for from in ["server", "gateway", "test"] {
        for (protocol, port, may) in [("UDP", 53, true), ("TCP", 53, true), ("UDP", 443, false)] {
            flows.push(Flow {
                values: "gateway",
                set: &[],
                from: own(from),
                to: dns(),
                port,
                protocol,
                may,
            });
        }
    }
    flows
}

//! Values that must not render, each with the sentence that says what to do.

use ask2do_token_tests::suite::Suite;

use crate::helm::{helms, value_set};

/// What is wrong, the value set that it is put on, the values, and what the message must hold.
type Refusal = (
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static str,
);

const REFUSALS: &[Refusal] = &[
    (
        "no tenant key",
        "minimal",
        &[r#"tenantKey.existingSecret="""#],
        "tenantKey.existingSecret is missing: create a Secret",
    ),
    (
        "no callers",
        "minimal",
        &["callers=[]"],
        "callers is empty: name at least one caller",
    ),
    (
        "callers beside allowAnyCaller",
        "minimal",
        &["allowAnyCaller=true"],
        "callers and allowAnyCaller exclude each other",
    ),
    (
        "no client CA",
        "minimal",
        &[r#"clientCA.existingSecret="""#],
        "clientCA is missing: set clientCA.existingSecret or clientCA.existingConfigMap",
    ),
    (
        "two client CAs",
        "minimal",
        &[r#"clientCA.existingConfigMap="ca""#],
        "clientCA.existingSecret and clientCA.existingConfigMap are both set",
    ),
    (
        "two TLS sources",
        "full",
        &[r#"tls.existingSecret="tls""#],
        "tls.existingSecret and tls.certManager.enabled are both set",
    ),
    (
        "cert-manager without an issuer",
        "full",
        &[r#"tls.certManager.issuerRef.name="""#],
        "tls.certManager.issuerRef.name is missing",
    ),
    (
        "a typo in a key",
        "minimal",
        &[r#"tenantKey.existingSercet="x""#],
        "existingSercet",
    ),
    (
        "a typo in a setting",
        "minimal",
        &[r#"server.config.cloud.timeuot="5s""#],
        "timeuot",
    ),
    (
        "a file that is the chart's own",
        "minimal",
        &[r#"server.config.cloud.tenant_key_file="/x""#],
        "tenant_key_file",
    ),
    (
        "a caller without roles",
        "minimal",
        &[r#"callers=[{"name":"panel","san":"panel.example"}]"#],
        "roles",
    ),
    (
        "a caller with a wildcard",
        "minimal",
        &[r#"callers=[{"name":"panel","san":"*.panel.example","roles":["admin"]}]"#],
        "callers",
    ),
    (
        "an autoscaler without a CPU request",
        "full",
        &["server.resources.requests.cpu=null"],
        "server.autoscaling scales on CPU and needs server.resources.requests.cpu",
    ),
    (
        "the server's grace shorter than sleep and drain",
        "minimal",
        &["server.terminationGracePeriodSeconds=24"],
        "server.terminationGracePeriodSeconds is 24, less than preStopSeconds + settle + drain = 25",
    ),
    (
        "the gateway's grace shorter than sleep, settling and drain",
        "gateway",
        &[r#"gateway.config.shutdown={"settle":"1500ms","drain":"1m"}"#],
        "gateway.terminationGracePeriodSeconds is 30, less than preStopSeconds + settle + drain = 67",
    ),
    (
        "a gateway without a session mode",
        "minimal",
        &[r#"gateway={"enabled":true,"identity":{"existingSecret":"x"}}"#],
        "gateway.config.session.mode is missing: say how",
    ),
    (
        "a gateway whose mode has no settings",
        "gateway",
        &[r#"gateway.config.session.mode="jwt""#],
        r#"gateway.config.session.jwt is missing: session.mode is "jwt""#,
    ),
    (
        "a gateway with two identities",
        "gateway",
        &[r#"gateway.identity.certManager={"enabled":true}"#],
        "gateway.identity.existingSecret and gateway.identity.certManager.enabled are both set",
    ),
    (
        "a gateway without an identity",
        "gateway",
        &[r#"gateway.identity.existingSecret="""#],
        "the gateway has no client certificate",
    ),
    (
        "a gateway whose certificate names nobody",
        "full",
        &["gateway.identity.certManager.uris=[]"],
        "gateway.identity.certManager needs one SAN",
    ),
    (
        "a gateway that can reach no session check",
        "gateway",
        &["networkPolicy.sessionTo=[]"],
        "networkPolicy.sessionTo is empty",
    ),
    (
        "any origin",
        "gateway",
        &[r#"gateway.config.http.allowed_origins=["*"]"#],
        r#"gateway.config.http.allowed_origins holds "*": an origin is exact"#,
    ),
    (
        "an origin with a path",
        "gateway",
        &[r#"gateway.config.http.public_origins=["https://panel.example/"]"#],
        "gateway.config.http.public_origins holds",
    ),
    (
        "everybody a trusted proxy",
        "gateway",
        &[
            r#"gateway.config.session={"mode":"header","header":{"id_header":"X-Id","role_header":"X-Role","trusted_cidrs":["0.0.0.0/0"]}}"#,
        ],
        r#"trusted_cidrs holds "0.0.0.0/0": every process at a trusted address can be any user"#,
    ),
    (
        "every IPv6 address a trusted proxy",
        "gateway",
        &[
            r#"gateway.config.session={"mode":"header","header":{"id_header":"X-Id","role_header":"X-Role","trusted_cidrs":["::/0"]}}"#,
        ],
        r#"trusted_cidrs holds "::/0""#,
    ),
    (
        "every pod that reaches the gateway a trusted proxy",
        "gateway",
        &[
            r#"gateway.config.session={"mode":"header","header":{"id_header":"X-Id","role_header":"X-Role","trusted_cidrs":["10.0.0.0/8"]}}"#,
            "networkPolicy.gatewayFrom=[]",
        ],
        "networkPolicy.gatewayFrom is empty: with session.header.trusted_cidrs every pod",
    ),
    (
        "a route without the gateway",
        "minimal",
        &[r#"ingress={"enabled":true,"host":"panel.example"}"#],
        "ingress and httpRoute route to the gateway: set gateway.enabled=true",
    ),
    (
        "an Ingress without a host",
        "gateway",
        &[r#"ingress.host="""#],
        "ingress.host is missing",
    ),
    (
        "every pod scraped twice",
        "full",
        &["monitoring.serviceMonitor.enabled=true"],
        "monitoring.serviceMonitor and monitoring.podMonitor are both enabled",
    ),
    (
        "a gateway whose certificate has two SANs",
        "full",
        &[r#"gateway.identity.certManager.dnsNames=["gateway.example"]"#],
        "gateway.identity.certManager needs one SAN, in uris or dnsNames, and has 2",
    ),
    (
        "a gateway whose certificate no caller has",
        "full",
        &[r#"gateway.identity.certManager.uris=["spiffe://example/other"]"#],
        r#"the gateway's certificate is for "spiffe://example/other", which no entry of callers names"#,
    ),
    (
        "a gateway that cannot verify the server",
        "gateway",
        &[
            r#"gateway.identity={"existingSecret":"","volume":{"csi":{"driver":"spiffe.csi.cert-manager.io"}}}"#,
        ],
        "gateway.serverCA is missing: with gateway.identity.volume there is no Secret",
    ),
    (
        "a volume beside a Secret",
        "gateway",
        &[r#"tls.volume={"emptyDir":{}}"#],
        "tls.existingSecret and tls.volume are both set: keep one source",
    ),
    (
        "two callers with one SAN",
        "minimal",
        &[
            r#"callers=[{"name":"a","san":"A.example","roles":["admin"]},{"name":"b","san":"a.example","roles":["admin"]}]"#,
        ],
        r#"callers holds the san "a.example" twice"#,
    ),
    (
        "two callers with one name",
        "minimal",
        &[
            r#"callers=[{"name":"a","san":"a.example","roles":["admin"]},{"name":"a","san":"b.example","roles":["admin"]}]"#,
        ],
        r#"callers holds the name "a" twice"#,
    ),
    (
        "a caller with everybody's name",
        "minimal",
        &[r#"callers=[{"name":"any","san":"a.example","roles":["admin"]}]"#],
        r#"callers holds the name "any""#,
    ),
    (
        "a caller with a name that metrics cannot hold",
        "minimal",
        &[r#"callers=[{"name":"a b","san":"a.example","roles":["admin"]}]"#],
        "callers",
    ),
    (
        "a proxy that no policy lets through",
        "minimal",
        &[r#"server.config.cloud.proxy="http://egress-proxy:3128""#],
        "networkPolicy.egressProxy is empty: the server could not reach server.config.cloud.proxy",
    ),
    (
        "a collector that no policy lets through",
        "minimal",
        &[r#"otel.endpoint="http://collector:4318""#],
        "networkPolicy.otlpTo is empty: nothing could reach otel.endpoint",
    ),
    (
        "a monitor that no policy lets through",
        "minimal",
        &["monitoring.serviceMonitor.enabled=true"],
        "networkPolicy.metricsFrom is empty: Prometheus could not scrape",
    ),
    (
        "a TLSRoute that no policy lets through",
        "full",
        &["networkPolicy.grpcFrom=[]", "networkPolicy.extraIngress=[]"],
        "networkPolicy.grpcFrom is empty: this namespace's pods alone could reach gRPC",
    ),
    (
        "a load balancer that no policy lets through",
        "minimal",
        &[r#"server.service.type="LoadBalancer""#],
        "networkPolicy.grpcFrom is empty: this namespace's pods alone could reach gRPC",
    ),
    (
        "a misspelt selector, which would select everything",
        "minimal",
        &[r#"networkPolicy.grpcFrom=[{"namespaceSelector":{},"podSelecter":{}}]"#],
        "podSelecter",
    ),
    (
        "IPv6 Services before an IPv4 port",
        "minimal",
        &[r#"ipFamilyPolicy="PreferDualStack""#],
        r#"listenAddress is 0.0.0.0, which IPv6 does not reach"#,
    ),
    (
        "a name that no Service can have",
        "minimal",
        &[r#"fullnameOverride="1st""#],
        r#"the objects would be called "1st", which no Service can be: set fullnameOverride"#,
    ),
    (
        "more pods at least than at most",
        "full",
        &["server.autoscaling.minReplicas=13"],
        "server.autoscaling.minReplicas is 13, more than maxReplicas = 12",
    ),
    (
        "a mount that would never see a change",
        "minimal",
        &[r#"server.extraVolumeMounts=[{"name":"x","mountPath":"/x","subPath":"y"}]"#],
        "subPath",
    ),
    (
        "the tenant key in the environment",
        "minimal",
        &[r#"server.extraEnv=[{"name":"ASK2DO_TENANT_KEY","value":"k"}]"#],
        "extraEnv",
    ),
    (
        "a user of the test without a role",
        "minimal",
        &[r#"test.mint={"id":"42"}"#],
        "role",
    ),
    (
        "a digest that is none",
        "minimal",
        &[r#"image.digest="latest""#],
        "digest",
    ),
    (
        "an HTTPRoute of no Gateway",
        "full",
        &["httpRoute.parentRefs=[]"],
        "httpRoute.parentRefs is missing: name the Gateway",
    ),
    (
        "a TLSRoute for no host",
        "full",
        &["tlsRoute.hostnames=[]"],
        "tlsRoute.hostnames is missing: name the hosts",
    ),
];

pub(crate) fn cases(suite: &mut Suite) {
    for (what, set, values, message) in REFUSALS {
        suite.case_where_possible(format!("{what} does not render"), async move || {
            for helm in helms()? {
                let answer = helm.template(&value_set(set), values);
                let Err(complaint) = answer else {
                    panic!("{helm:?} renders it");
                };
                assert!(complaint.contains(message), "{helm:?} says: {complaint}");
            }
            Ok(())
        });
    }
}

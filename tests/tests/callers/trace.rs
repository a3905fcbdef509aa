//! The trace of one call, as an OpenTelemetry collector gets it from caller and server.

use std::collections::HashMap;

use ask2do_token_tests::collector::Collector;
use ask2do_token_tests::until;
use ask2do_token_tests::world::World;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use crate::programs::{PARENT, Program, TRACE};
use crate::stage::certificates;

/// From the span that sends the request to Ask2Do up to the one in which the program was called: each is the
/// next one's child, and both processes have a part in it.
pub(crate) async fn is_one(program: &Program) {
    let world = World::new().await;
    let collector = Collector::start().await;
    let server = world
        .server()
        .variable("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)
        .variable("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        .variable("OTEL_BSP_SCHEDULE_DELAY", "100")
        .start()
        .await;
    let folder = certificates(&world);
    let endpoint = format!("localhost:{}", server.grpc.port());
    let arguments = arguments(&endpoint, "42");
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_SERVICE_NAME", "the-panel"),
    ];
    let done = program.run(&arguments, folder.path(), &variables).await;
    assert_eq!(done.code, Some(0), "{done:?}");

    let header = world.cloud.last_call().unwrap().headers["traceparent"].clone();
    let parts: Vec<_> = header.split('-').collect();
    assert_eq!(parts[1], TRACE, "{header}");
    let what = "every span from the caller to the cloud";
    let path = until(what, async || path(&collector, parts[2])).await;
    let services: Vec<_> = path.iter().map(|(service, _)| service.as_str()).collect();
    assert_eq!(services.last(), Some(&"the-panel"), "{path:?}");
    assert_eq!(services.first(), Some(&"ask2do-token-server"), "{path:?}");
    let name = "ask2do.token.v1.TokenService/MintToken";
    let (_, of_caller) = path.last().unwrap();
    assert!(of_caller.ends_with(name), "{path:?}");
}

/// Service and name of each span, from this one up to [`PARENT`]; `None` as long as one is missing.
fn path(collector: &Collector, from: &str) -> Option<Vec<(String, String)>> {
    // Repeated fields: requests one after another are one that holds them all.
    let exported = ExportTraceServiceRequest::decode(collector.bytes().as_slice()).ok()?;
    let mut spans: HashMap<String, (String, Span)> = HashMap::new();
    for resource in exported.resource_spans {
        let described = format!("{:?}", resource.resource);
        let named = ["the-panel", "ask2do-token-server"];
        let service = named.iter().find(|name| described.contains(**name));
        for span in resource
            .scope_spans
            .into_iter()
            .flat_map(|scope| scope.spans)
        {
            let service = (*service.unwrap_or(&"another")).to_owned();
            spans.insert(hex(&span.span_id), (service, span));
        }
    }
    let mut path = Vec::new();
    let mut at = from.to_owned();
    while at != PARENT {
        let (service, span) = spans.get(&at)?;
        assert_eq!(hex(&span.trace_id), TRACE, "{span:?}");
        path.push((service.clone(), span.name.clone()));
        at = hex(&span.parent_span_id);
    }
    Some(path)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Those that work, in a folder of [`certificates`].
pub(crate) fn arguments(endpoint: &str, id: &str) -> Vec<String> {
    let options = [
        ("--endpoint", endpoint),
        ("--ca", "ca.crt"),
        ("--cert", "caller.crt"),
        ("--key", "caller.key"),
        ("--id", id),
        ("--role", "admin"),
    ];
    let words = options.iter().flat_map(|(option, value)| [option, value]);
    words.map(|word| (*word).to_owned()).collect()
}

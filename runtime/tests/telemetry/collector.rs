//! A trace collector that keeps what it gets, over HTTP and gRPC at once.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use ask2do_token_runtime::listener::{
    Acceptor, ConnectionMetrics, Handler, Listener, Options, Plain, Protocols, Tls,
};
use ask2do_token_runtime::metrics::Metrics;
use ask2do_token_runtime::shutdown::Stop;
use ask2do_token_tls::{Authorities, ClientAuth, Identity, ServerTls, Versions, Watched};
use bytes::{Buf as _, Bytes};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

#[derive(Clone, Debug, Default)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    /// Whether what came last was compressed, and therefore not read.
    pub(crate) compressed: bool,
    /// How many spans came at once, each time.
    pub(crate) batches: Vec<usize>,
    pub(crate) resource: Vec<KeyValue>,
    /// In the order in which they ended.
    pub(crate) spans: Vec<Span>,
}

pub(crate) struct Collector {
    address: SocketAddr,
    scheme: &'static str,
    received: Arc<Mutex<Received>>,
    /// Who issued its certificate, in PEM, and a client's certificate and key.
    pub(crate) ca: String,
    pub(crate) client: (String, String),
}

impl Collector {
    pub(crate) async fn plain() -> Self {
        Self::serve("http", Plain, String::new(), Default::default()).await
    }

    pub(crate) async fn mutual_tls() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let issue = || {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &ca).unwrap();
            (certificate.pem(), key.serialize_pem())
        };
        let (certificate, key) = issue();
        let identity = Identity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
        let authorities = Authorities::from_pem(ca.pem().as_bytes()).unwrap();
        let server = ServerTls::new(
            Watched::fixed(identity),
            ClientAuth::Required(Watched::fixed(authorities)),
            Versions::Tls12AndTls13,
            &[b"h2", b"http/1.1"],
        )
        .unwrap();
        let acceptor = Tls::new(move || server.config(), |_| Ok(()));
        Self::serve("https", acceptor, ca.pem(), issue()).await
    }

    async fn serve<A: Acceptor>(
        scheme: &'static str,
        acceptor: A,
        ca: String,
        client: (String, String),
    ) -> Self {
        let mut metrics = Metrics::new("collector", "0");
        let connections = ConnectionMetrics::register(&mut metrics);
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = Options::new(Protocols::Both, 16, None);
        let listener = Listener::bind("collector", any, options, &connections);
        let listener = listener.await.unwrap();
        let address = listener.local_address().unwrap();
        let received = Arc::<Mutex<Received>>::default();
        let kept = Arc::clone(&received);
        let make = move |_connection| {
            let kept = Arc::clone(&kept);
            Handler::new(tower::service_fn(move |request| {
                let kept = Arc::clone(&kept);
                async move { Ok::<_, Infallible>(take(request, &kept).await) }
            }))
        };
        tokio::spawn(listener.serve(acceptor, make, Stop::new()));
        Self {
            address,
            scheme,
            received,
            ca,
            client,
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("{}://localhost:{}", self.scheme, self.address.port())
    }

    pub(crate) fn received(&self) -> Received {
        self.received.lock().unwrap().clone()
    }
}

async fn take(
    request: Request<Incoming>,
    received: &Mutex<Received>,
) -> Response<BoxBody<Bytes, Infallible>> {
    let (parts, body) = request.into_parts();
    let mut body = body.collect().await.unwrap().to_bytes();
    let grpc = match parts.headers["content-type"].to_str().unwrap() {
        "application/x-protobuf" => false,
        "application/grpc" => {
            let method = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
            assert_eq!(parts.uri.path(), method);
            true
        }
        other => panic!("{other:?}"),
    };
    let mut compressed = parts.headers.contains_key("content-encoding");
    if grpc {
        compressed = body.get_u8() == 1;
        assert_eq!(body.get_u32(), u32::try_from(body.len()).unwrap());
    }
    let mut received_now = Vec::new();
    let mut resource_now = None;
    if compressed {
        assert!(body.starts_with(&[0x1f, 0x8b]), "gzip's first bytes");
    } else {
        let export = ExportTraceServiceRequest::decode(body).unwrap();
        for resource in export.resource_spans {
            resource_now = Some(resource.resource.unwrap().attributes);
            let scopes = resource.scope_spans.into_iter();
            received_now.extend(scopes.flat_map(|scope| scope.spans));
        }
    }
    {
        let mut received = received.lock().unwrap();
        received.path = parts.uri.path().to_owned();
        received.headers = parts.headers;
        received.compressed = compressed;
        received.batches.push(received_now.len());
        received.resource = resource_now.unwrap_or_default();
        received.spans.extend(received_now);
    }
    let answer = ExportTraceServiceResponse::default().encode_to_vec();
    assert_eq!(answer, b"");
    if grpc {
        grpc_answer()
    } else {
        Response::new(Full::default().boxed())
    }
}

/// An empty message, and the status OK.
fn grpc_answer() -> Response<BoxBody<Bytes, Infallible>> {
    let trailers = async {
        let pair = ("grpc-status", HeaderValue::from_static("0"));
        let (name, value) = pair;
        let mut trailers = HeaderMap::new();
        trailers.insert(name, value);
        Some(Ok(trailers))
    };
    let body = Full::from(&[0; 5][..]).with_trailers(trailers);
    let mut response = Response::new(body.boxed());
    let content_type = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", content_type);
    response
}

pub(crate) fn attribute(attributes: &[KeyValue], name: &str) -> String {
    let found = attributes.iter().find(|pair| pair.key == name);
    let value = found.and_then(|pair| pair.value.as_ref()?.value.as_ref());
    match value {
        Some(any_value::Value::StringValue(value)) => value.clone(),
        other => panic!("{name}: {other:?} in {attributes:?}"),
    }
}

/// The address of something that answers anybody with nonsense.
pub(crate) async fn nonsense() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut sent = [0; 1024];
                if matches!(stream.read(&mut sent).await, Ok(1..)) {
                    let _ = stream.write_all(&[b'?'; 1024]).await;
                }
            });
        }
    });
    format!("http://{address}")
}

//! What logs and spans show of a call, and what they never show.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::field::{Field, Visit};
use tracing::span;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use super::*;

type Fields = BTreeMap<&'static str, String>;

/// Everything that was recorded: spans with their fields, events with theirs.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Recorded>>);

#[derive(Default)]
struct Recorded {
    spans: Vec<(u64, &'static str, Fields)>,
    events: Vec<Fields>,
}

struct Visitor<'a>(&'a mut Fields);

impl Visit for Visitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> tracing_subscriber::Layer<S> for Recorder {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, _: Context<'_, S>) {
        let mut fields = Fields::new();
        attributes.record(&mut Visitor(&mut fields));
        let name = attributes.metadata().name();
        self.0
            .lock()
            .unwrap()
            .spans
            .push((id.into_u64(), name, fields));
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, _: Context<'_, S>) {
        let mut recorded = self.0.lock().unwrap();
        let span = recorded
            .spans
            .iter_mut()
            .rev()
            .find(|span| span.0 == id.into_u64());
        values.record(&mut Visitor(&mut span.unwrap().2));
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::new();
        event.record(&mut Visitor(&mut fields));
        self.0.lock().unwrap().events.push(fields);
    }
}

impl Recorder {
    /// Records what this thread does, at every level, from here on.
    fn start() -> (Self, DefaultGuard) {
        let recorder = Self::default();
        let subscriber = tracing_subscriber::registry().with(recorder.clone());
        (recorder, tracing::subscriber::set_default(subscriber))
    }

    fn spans(&self, name: &str) -> Vec<Fields> {
        let recorded = self.0.lock().unwrap();
        let named = recorded.spans.iter().filter(|span| span.1 == name);
        named.map(|span| span.2.clone()).collect()
    }

    fn all(&self) -> String {
        let recorded = self.0.lock().unwrap();
        let spans = recorded.spans.iter().map(|span| format!("{span:?}\n"));
        let events = recorded.events.iter().map(|event| format!("{event:?}\n"));
        spans.chain(events).collect()
    }
}

fn field<'a>(span: &'a Fields, name: &str) -> Option<&'a str> {
    span.get(name).map(String::as_str)
}

#[tokio::test]
async fn each_request_is_a_client_span_after_the_conventions() {
    let stub = Stub::plain(|number| match number {
        0 => Act::Answer(answer("503 Service Unavailable", "", "")),
        1 => Act::Reset,
        _ => Act::Answer(granted()),
    });
    let stub = stub.await;
    let cloud = cloud(stub.address);
    let (recorder, guard) = Recorder::start();
    assert_eq!(mint(&cloud).await.unwrap_err(), MintError::CloudUnavailable);
    assert!(mint(&cloud).await.is_ok());
    drop(guard);

    let spans = recorder.spans("POST");
    let port = stub.address.port().to_string();
    let url = format!("http://127.0.0.1:{port}/auth/token");
    for span in &spans {
        assert_eq!(field(span, "otel.kind"), Some("client"));
        assert_eq!(field(span, "http.request.method"), Some("POST"));
        assert_eq!(field(span, "server.address"), Some("127.0.0.1"));
        assert_eq!(field(span, "server.port"), Some(&*port));
        assert_eq!(field(span, "url.full"), Some(&*url));
    }
    let told = |span, name| field(span, name).map(str::to_owned);
    let told: Vec<_> = spans
        .iter()
        .map(|span| {
            let names = [
                "http.response.status_code",
                "error.type",
                "http.request.resend_count",
            ];
            names.map(|name| told(span, name))
        })
        .collect();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        told,
        [
            [some("503"), some("503"), None],
            [None, some("connection_lost"), some("1")],
            [some("200"), None, None],
        ]
    );
    assert_eq!(field(&spans[0], "otel.status_code"), Some("ERROR"));
    assert_eq!(field(&spans[2], "otel.status_code"), None);
    assert_eq!(field(&spans[2], "network.peer.address"), Some("127.0.0.1"));
    assert_eq!(field(&spans[2], "network.peer.port"), Some(&*port));
    assert!(!recorder.spans("connect").is_empty());
}

#[tokio::test]
async fn looking_a_name_up_is_a_span_of_its_own() {
    let stub = Stub::plain(|_| Act::Answer(granted())).await;
    let port = stub.address.port();
    let cloud = cloud_with(settings(&format!("http://localhost:{port}")));
    let (recorder, guard) = Recorder::start();
    assert!(mint(&cloud).await.is_ok());
    drop(guard);
    let lookups = recorder.spans("dns lookup");
    assert_eq!(field(&lookups[0], "dns.question.name"), Some("localhost"));
}

#[tokio::test]
async fn a_connection_that_fails_says_why_in_its_span() {
    let plaintext = tls::plaintext_server().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let (recorder, guard) = Recorder::start();
    for url in [
        format!("https://{plaintext}"),
        format!("http://{closed}"),
        "https://cloud.invalid".to_owned(),
    ] {
        assert!(mint(&cloud_with(settings(&url))).await.is_err());
    }
    drop(guard);
    let spans = recorder.spans("connect");
    let types: Vec<_> = spans.iter().map(|span| field(span, "error.type")).collect();
    let expected = ["tls", "tls", "connect", "connect", "dns", "dns"].map(Some);
    assert_eq!(types, expected);
    assert_eq!(field(&spans[0], "otel.status_code"), Some("ERROR"));
}

#[tokio::test]
async fn the_trace_context_is_sent_only_where_it_is_asked_for() {
    let stub = Stub::plain(|_| Act::Answer(granted())).await;
    let mut settings = settings(&format!("http://{}", stub.address));
    settings.send_traceparent = false;
    assert!(mint(&cloud_with(settings)).await.is_ok());
    let head = &stub.requests()[0].head;
    for name in ["traceparent", "tracestate", "baggage"] {
        assert_eq!(header(head, name), None);
    }
}

#[tokio::test]
async fn the_cloud_gets_traceparent_alone_and_the_histogram_an_exemplar() {
    let provider = SdkTracerProvider::builder().build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let stub = Stub::plain(|_| Act::Answer(granted())).await;
    let cloud = cloud(stub.address);
    let span = tracing::info_span!("mint");
    let trace_id = telemetry::trace_id(&span).to_string();
    assert!(mint(&cloud).instrument(span).await.is_ok());
    drop(guard);

    let head = &stub.requests()[0].head;
    let parent = header(head, "traceparent").unwrap();
    assert!(parent.starts_with(&format!("00-{trace_id}-")), "{parent}");
    assert_eq!(header(head, "tracestate"), None);
    assert_eq!(header(head, "baggage"), None);
    let exemplar = format!(r#"# {{trace_id="{trace_id}"}}"#);
    assert!(metrics(&cloud).contains(&exemplar));
}

#[tokio::test]
async fn a_proxys_refusal_is_logged_as_one() {
    let html = "<html>Please log in</html>";
    let stub = Stub::plain(move |_| Act::Answer(answer("403 Forbidden", "", html))).await;
    let cloud = cloud(stub.address);
    let (recorder, guard) = Recorder::start();
    assert!(mint(&cloud).await.is_err());
    drop(guard);
    let logged = recorder.all();
    assert!(
        logged.contains("the tenant key is not at fault"),
        "{logged}"
    );
    assert!(logged.contains(r#""cause": "not_the_vendor""#), "{logged}");
    assert!(!logged.contains("Please log in"), "{logged}");
}

#[tokio::test]
async fn neither_log_nor_span_nor_error_shows_key_panel_user_token_or_what_was_answered() {
    const ID: &str = "canary-panel-id";
    let mut acts: Vec<_> = answers()
        .into_iter()
        .map(|row| Act::Answer(row.0))
        .collect();
    let echo = |status| {
        // A cloud that repeats what it was sent.
        let body = format!(r#"{{"error":"{KEY} {ID}","token":"{KEY}","expiresAt":"{KEY}"}}"#);
        Act::Answer(answer(status, &format!("X-Echo: {KEY}\r\n"), &body))
    };
    acts.extend(["200 OK", "400 Bad", "401 No", "403 No", "500 Oh"].map(echo));
    acts.extend([
        Act::Reset,
        Act::AnswerAndClose(Vec::new()),
        Act::Answer(format!("{KEY} {ID}\r\n\r\n").into_bytes()),
        Act::Answer(granted()),
    ]);
    let user = PanelUser::parse(ID.to_owned(), "admin".to_owned()).unwrap();
    let (recorder, guard) = Recorder::start();
    let mut errors = String::new();
    for act in acts {
        let stub = Stub::plain(move |_| act.clone()).await;
        let cloud = cloud(stub.address);
        let result = cloud.mint(&user, Instant::now() + TIMEOUT).await;
        errors.push_str(&format!("{result:?} {cloud:?}\n"));
        if let Err(error) = result {
            errors.push_str(&error.to_string());
        }
    }
    drop(guard);
    let shown = recorder.all() + &errors;
    assert!(shown.contains("key_rejected") && shown.contains("not_http"));
    for secret in [KEY, ID, "canary", "eyJ", "Please log in"] {
        let at = shown.find(secret);
        assert_eq!(
            at.map(|at| &shown[at.saturating_sub(200)..at]),
            None,
            "{secret}"
        );
    }
}

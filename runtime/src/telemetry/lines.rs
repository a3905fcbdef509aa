//! The log: one line a record, with the ids of the trace it belongs to.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::io::{IsTerminal as _, Write as _};
use std::sync::OnceLock;
use std::time::Instant;

use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use tracing::dispatcher::WeakDispatch;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::registry::LookupSpan;

use super::floods::Floods;

const TIMESTAMP: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// How a record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One JSON object.
    Json,
    /// For a person, with or without colour.
    Human { colour: bool },
}

impl Form {
    /// JSON unless a person is looking.
    pub(super) fn of_stderr() -> Self {
        if std::io::stderr().is_terminal() {
            let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            Self::Human { colour }
        } else {
            Self::Json
        }
    }
}

/// Writes records. `write` gets one whole line at a time.
pub(super) struct Lines<W> {
    form: Form,
    write: W,
    floods: Floods,
    dispatch: OnceLock<WeakDispatch>,
}

/// Writes to standard error. There is nowhere to tell a failure.
pub(super) fn to_stderr(line: &[u8]) {
    let _ = std::io::stderr().lock().write_all(line);
}

impl<W: Fn(&[u8])> Lines<W> {
    pub(super) fn new(form: Form, write: W) -> Self {
        Self {
            form,
            write,
            floods: Floods::default(),
            dispatch: OnceLock::new(),
        }
    }

    /// The trace of the innermost span that has one.
    fn trace<S>(&self, event: &Event<'_>, context: &Context<'_, S>) -> Option<SpanContext>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let dispatch = self.dispatch.get()?.upgrade()?;
        context.event_scope(event)?.find_map(|span| {
            let context = tracing_opentelemetry::get_otel_context(&span.id(), &dispatch)?;
            let span = context.span();
            let context = span.span_context();
            context.is_valid().then(|| context.clone())
        })
    }
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Fn(&[u8]) + 'static,
{
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        let _ = self.dispatch.set(dispatch.downgrade());
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let Some(suppressed) = self.floods.admit(event.metadata(), Instant::now()) else {
            return;
        };
        let mut record = Record::default();
        event.record(&mut record);
        if suppressed > 0 {
            record.put("suppressed", suppressed.into());
        }
        if let Some(trace) = self.trace(event, &context) {
            record.put("trace_id", trace.trace_id().to_string().into());
            record.put("span_id", trace.span_id().to_string().into());
        }
        let now = OffsetDateTime::now_utc().format(TIMESTAMP);
        let line = match self.form {
            Form::Json => record.json(&now.unwrap_or_default(), event.metadata()),
            Form::Human { colour } => {
                record.human(&now.unwrap_or_default(), event.metadata(), colour)
            }
        };
        (self.write)(line.as_bytes());
    }
}

/// The fields of an event, in its order.
#[derive(Default)]
struct Record {
    message: String,
    fields: Vec<(&'static str, Value)>,
}

impl Record {
    fn put(&mut self, name: &'static str, value: Value) {
        let name = name.strip_prefix("r#").unwrap_or(name);
        self.fields.push((name, value));
    }

    fn json(self, now: &str, metadata: &Metadata<'_>) -> String {
        let mut line = format!(
            r#"{{"timestamp":"{now}","level":"{}","target":{},"message":{}"#,
            metadata.level(),
            Value::from(metadata.target()),
            Value::from(self.message),
        );
        for (name, value) in self.fields {
            // Writing to a String cannot fail.
            let _ = write!(line, ",{}:{value}", Value::from(name));
        }
        line.push_str("}\n");
        line
    }

    fn human(self, now: &str, metadata: &Metadata<'_>, colour: bool) -> String {
        let level = *metadata.level();
        let (begin, end) = if colour {
            (ansi(level), "\x1b[0m")
        } else {
            ("", "")
        };
        let (target, message) = (metadata.target(), escaped(&self.message));
        let mut line = format!("{now} {begin}{level:>5}{end} {target}: {message}");
        for (name, value) in self.fields {
            let _ = match value {
                Value::String(text) if is_plain(&text) => write!(line, " {name}={text}"),
                value => write!(line, " {name}={value}"),
            };
        }
        line.push('\n');
        line
    }
}

fn ansi(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        _ => "\x1b[2m",
    }
}

/// What somebody else sent must neither begin a line nor colour one.
fn escaped(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let control = c.is_control();
            let escape = control.then(|| c.escape_default());
            (!control)
                .then_some(c)
                .into_iter()
                .chain(escape.into_iter().flatten())
        })
        .collect()
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"')
}

impl Visit for Record {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.put(field.name(), value.into());
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(error) = source {
            let _ = write!(text, ": {error}");
            source = error.source();
        }
        self.put(field.name(), text.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// What `RUST_LOG` lets through; and our own spans, always, because the lines need their ids.
#[derive(Debug)]
pub(super) struct Shown(pub(super) Targets);

impl Shown {
    fn shows(&self, metadata: &Metadata<'_>) -> bool {
        if metadata.is_span() {
            super::is_ours(metadata)
        } else {
            self.0.would_enable(metadata.target(), metadata.level())
        }
    }
}

impl<S> Filter<S> for Shown {
    fn enabled(&self, metadata: &Metadata<'_>, _context: &Context<'_, S>) -> bool {
        self.shows(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.shows(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let shown = self.0.iter().map(|(_, level)| level);
        let default = self.0.default_level().unwrap_or(LevelFilter::OFF);
        Some(shown.fold(default.max(LevelFilter::INFO), LevelFilter::max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt as _;

    fn written(form: Form, shown: &str, log: impl FnOnce()) -> String {
        let lines = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&lines);
        let keep = move |line: &[u8]| kept.lock().unwrap().push_str(str::from_utf8(line).unwrap());
        let layer = Lines::new(form, keep).with_filter(Shown(shown.parse().unwrap()));
        tracing::subscriber::with_default(Registry::default().with(layer), log);
        lines.lock().unwrap().clone()
    }

    const PLAIN: Form = Form::Human { colour: false };

    #[test]
    fn a_person_reads_level_target_message_and_fields() {
        let line = written(PLAIN, "info", || {
            tracing::warn!(target: "t", port = "grpc", text = "two words", number = 7, "it broke");
        });
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(
            OffsetDateTime::parse(time, &time::format_description::well_known::Rfc3339).is_ok()
        );
        assert_eq!(
            rest,
            " WARN t: it broke port=grpc text=\"two words\" number=7\n"
        );
    }

    #[test]
    fn what_somebody_else_sent_neither_begins_a_line_nor_colours_one() {
        let line = written(PLAIN, "info", || {
            tracing::info!(target: "t", field = "a\n\u{1b}[31m", "one\ntwo \u{1b}[31mred");
        });
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(!line.contains('\u{1b}'), "{line}");
    }

    #[test]
    fn levels_are_coloured_where_that_is_wanted() {
        let line = written(Form::Human { colour: true }, "info", || {
            tracing::error!("x")
        });
        assert!(line.contains("\u{1b}[31mERROR\u{1b}[0m"), "{line}");
    }

    #[test]
    fn rust_log_chooses_by_target_and_level() {
        let line = written(PLAIN, "warn,some_library=debug", || {
            tracing::info!(target: "ours", "hidden");
            tracing::debug!(target: "some_library", "shown");
            tracing::trace!(target: "some_library", "hidden");
        });
        assert!(line.contains("shown") && !line.contains("hidden"), "{line}");
    }
}

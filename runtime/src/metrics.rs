//! What a process counts: one registry, which knows every metric's name, type, labels and help, so
//! that the documentation can be compared with it, and which `/metrics` writes as OpenMetrics or as
//! the classic text.

use std::borrow::Cow;
use std::fmt::Write as _;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

mod accept;
mod classic;
mod expiry;
mod process;
mod reloads;

pub use expiry::CertificateExpiry;
pub use reloads::Reloads;

/// Everything that `/metrics` shows. Filled while the process starts, then shared in an `Arc`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    catalogue: Vec<Described>,
}

/// One metric as the documentation names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Described {
    /// The name in the classic text: a counter's ends in `_total`.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// The labels' names.
    pub labels: &'static [&'static str],
    /// One sentence, without its full stop.
    pub help: &'static str,
}

/// The two text forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0, with exemplars.
    OpenMetrics,
    /// The classic text 0.0.4, which has no exemplars.
    Classic,
}

impl Format {
    /// Chooses by what a scraper accepts: the form that it would rather have, by `q`. OpenMetrics only where
    /// it is asked for by name, as Prometheus does; a browser or curl gets the text that everybody reads.
    #[must_use]
    pub fn from_accept(accept: &str) -> Self {
        accept::preferred(accept)
    }

    /// The `Content-Type` that goes with it.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

impl Described {
    /// Begins the family for a collector.
    fn begin<'a>(
        &'a self,
        encoder: &'a mut DescriptorEncoder<'_>,
        kind: MetricType,
    ) -> Result<MetricEncoder<'a>, std::fmt::Error> {
        let help = format!("{}.", self.help);
        encoder.encode_descriptor(family(self.name, &kind), &help, None, kind)
    }
}

/// OpenMetrics names a counter's family without the suffix, which prometheus-client puts back.
fn family<'a>(name: &'a str, kind: &MetricType) -> &'a str {
    match kind {
        MetricType::Counter => name.strip_suffix("_total").unwrap_or(name),
        _ => name,
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Build {
    service: Cow<'static, str>,
    version: Cow<'static, str>,
}

impl Metrics {
    /// A registry that holds the build's and the process's metrics.
    #[must_use]
    pub fn new(service: &'static str, version: &'static str) -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            catalogue: Vec::new(),
        };
        let build = Family::<Build, Gauge>::default();
        build
            .get_or_create(&Build {
                service: service.into(),
                version: version.into(),
            })
            .set(1);
        metrics.register(
            "ask2do_build_info",
            &["service", "version"],
            "Always 1: which program runs here, and its version",
            build,
        );
        process::register(&mut metrics);
        metrics
    }

    /// Adds a metric. `name` is the whole name, unit and a counter's `_total` included, so that it
    /// can be searched for; `help` is a sentence without its full stop, which is added.
    ///
    /// Label values must come from a closed set: nothing that a caller sends may become one.
    pub fn register(
        &mut self,
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
        metric: impl Metric,
    ) {
        // prometheus-client writes it as it is.
        debug_assert!(!help.contains(['\\', '\n']), "{name}: {help}");
        let kind = metric.metric_type();
        self.registry.register(family(name, &kind), help, metric);
        self.catalogue.push(Described {
            name,
            kind: match kind {
                MetricType::Counter => "counter",
                MetricType::Histogram => "histogram",
                _ => "gauge",
            },
            labels,
            help,
        });
    }

    /// Adds metrics that are read when somebody scrapes; `described` must say what it encodes.
    pub fn register_collector(
        &mut self,
        described: impl IntoIterator<Item = Described>,
        collector: impl Collector,
    ) {
        self.catalogue.extend(described);
        self.registry.register_collector(Box::new(collector));
    }

    /// Every metric that was registered, by name.
    #[must_use]
    pub fn catalogue(&self) -> Vec<Described> {
        let mut catalogue = self.catalogue.clone();
        catalogue.sort_unstable();
        catalogue
    }

    /// What `/metrics` answers now.
    #[must_use]
    pub fn encode(&self, format: Format) -> String {
        let mut text = String::with_capacity(16 * 1024);
        if text::encode(&mut text, &self.registry).is_err() {
            // Only a collector of ours could fail here; the scraper sees a cut text without `# EOF`.
            let _ = writeln!(text, "# a collector failed");
        }
        match format {
            Format::OpenMetrics => text,
            Format::Classic => classic::from_open_metrics(&text),
        }
    }
}

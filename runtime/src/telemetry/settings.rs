//! The OpenTelemetry specification's own variables, as far as the SDK and the exporter do not read them
//! themselves (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>).

use std::path::PathBuf;
use std::time::Duration;

use super::TelemetryError;
use super::sampling::{Root, Sampling};

/// The numbers that the SDK reads itself, and what it takes instead of one that is none.
const NUMBERS: [(&str, &str); 2] = [
    ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "128"),
    ("OTEL_SPAN_EVENT_COUNT_LIMIT", "128"),
];

/// What the environment asks for.
#[derive(Debug, PartialEq)]
pub(super) struct Settings {
    /// `None`: nothing is exported.
    pub(super) export: Option<Export>,
    /// `OTEL_PROPAGATORS` holds `tracecontext`, or is not set.
    pub(super) propagate: bool,
    /// `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` names the service.
    pub(super) names_service: bool,
    /// Values that mean nothing here: the specification wants a warning and the default.
    pub(super) warnings: Vec<String>,
}

/// Where spans go. The endpoint, its headers and compression are read by the exporter itself.
#[derive(Debug, PartialEq)]
pub(super) struct Export {
    pub(super) protocol: Protocol,
    pub(super) timeout: Duration,
    pub(super) certificate: Option<PathBuf>,
    pub(super) client: Option<Client>,
    pub(super) sampling: Sampling,
    pub(super) batches: Batches,
}

/// How spans are held and sent.
#[derive(Debug, PartialEq)]
pub(super) struct Batches {
    /// The most that are held.
    pub(super) held: usize,
    /// The most that go at once.
    pub(super) size: usize,
    /// How long they are held at most.
    pub(super) delay: Duration,
    /// For one export with its retries.
    pub(super) timeout: Duration,
}

/// The certificate and key that a collector asks for.
#[derive(Debug, PartialEq)]
pub(super) struct Client {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    HttpProtobuf,
    Grpc,
}

/// Reads one variable at a time; an empty one is one that is not set, says the specification.
struct Environment<F> {
    lookup: F,
    warnings: Vec<String>,
}

impl Protocol {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::HttpProtobuf => "http/protobuf",
            Self::Grpc => "grpc",
        }
    }
}

impl Settings {
    pub(super) fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, TelemetryError> {
        let mut environment = Environment {
            lookup,
            warnings: Vec::new(),
        };
        Ok(Self {
            export: environment.export()?,
            propagate: environment.propagate(),
            names_service: environment.names_service(),
            warnings: environment.warnings,
        })
    }
}

impl<F: Fn(&str) -> Option<String>> Environment<F> {
    fn value(&self, name: &str) -> Option<String> {
        let value = (self.lookup)(name)?;
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// A variable of the exporter: the one for traces goes before the one for all signals.
    fn otlp(&self, name: &str) -> Option<String> {
        self.value(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}"))
            .or_else(|| self.value(&format!("OTEL_EXPORTER_OTLP_{name}")))
    }

    fn warn(&mut self, name: &str, value: &str, instead: &str) {
        self.warnings
            .push(format!("{name}={value} means nothing here: {instead}"));
    }

    fn export(&mut self) -> Result<Option<Export>, TelemetryError> {
        if !self.exports() {
            return Ok(None);
        }
        let client = match (self.otlp("CLIENT_CERTIFICATE"), self.otlp("CLIENT_KEY")) {
            (Some(certificate), Some(key)) => Some(Client {
                certificate: certificate.into(),
                key: key.into(),
            }),
            (None, None) => None,
            _ => {
                return Err(TelemetryError::Variable(
                    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY need each other"
                        .to_owned(),
                ));
            }
        };
        self.check_what_others_read();
        Ok(Some(Export {
            protocol: self.protocol(),
            timeout: self.timeout(),
            certificate: self.otlp("CERTIFICATE").map(PathBuf::from),
            client,
            sampling: self.sampling(),
            batches: self.batches(),
        }))
    }

    /// The exporter and the SDK take their defaults in silence where they cannot read a value.
    fn check_what_others_read(&mut self) {
        for (name, default) in NUMBERS {
            if let Some(value) = self.value(name)
                && value.parse::<u32>().is_err()
            {
                self.warn(name, &value, &format!("{default} is used"));
            }
        }
        if let Some(value) = self.otlp("COMPRESSION")
            && !["gzip", "none"].contains(&&*value.to_ascii_lowercase())
        {
            let instead = "nothing is compressed (known: gzip, none)";
            self.warn("OTEL_EXPORTER_OTLP_COMPRESSION", &value, instead);
        }
        let headers = self.otlp("HEADERS").unwrap_or_default();
        let pairs = headers.split(',').map(str::trim);
        let is_none = |pair: &str| {
            let name = pair.split_once('=').map(|(name, _)| name.trim());
            name.is_none_or(|name| http::HeaderName::try_from(name).is_err())
        };
        let unusable = pairs
            .filter(|pair| !pair.is_empty() && is_none(pair))
            .count();
        if unusable > 0 {
            // They hold credentials: none is shown.
            self.warnings.push(format!(
                "OTEL_EXPORTER_OTLP_HEADERS: {unusable} of the pairs are no name=value, and are left out"
            ));
        }
    }

    /// An endpoint, or the exporter asked for by name, asks for an export.
    fn exports(&mut self) -> bool {
        let disabled = self.value("OTEL_SDK_DISABLED");
        if disabled.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return false;
        }
        match self.value("OTEL_TRACES_EXPORTER").as_deref() {
            None => self.otlp("ENDPOINT").is_some(),
            Some("otlp") => true,
            Some("none") => false,
            Some(other) => {
                self.warn(
                    "OTEL_TRACES_EXPORTER",
                    other,
                    "traces are not exported (known: otlp, none)",
                );
                false
            }
        }
    }

    fn protocol(&mut self) -> Protocol {
        match self.otlp("PROTOCOL").as_deref() {
            None | Some("http/protobuf") => Protocol::HttpProtobuf,
            Some("grpc") => Protocol::Grpc,
            Some(other) => {
                let instead = "http/protobuf is used (known: http/protobuf, grpc)";
                self.warn("OTEL_EXPORTER_OTLP_PROTOCOL", other, instead);
                Protocol::HttpProtobuf
            }
        }
    }

    fn timeout(&mut self) -> Duration {
        const DEFAULT: Duration = Duration::from_secs(10);
        match self.otlp("TIMEOUT") {
            None => DEFAULT,
            Some(value) => value
                .parse()
                .map(Duration::from_millis)
                .unwrap_or_else(|_| {
                    let instead = "10000 is used (milliseconds)";
                    self.warn("OTEL_EXPORTER_OTLP_TIMEOUT", &value, instead);
                    DEFAULT
                }),
        }
    }

    /// None of them may be 0: the SDK's timer ends the process's exports at that.
    fn batches(&mut self) -> Batches {
        let number = |value| usize::try_from(value).unwrap_or(usize::MAX);
        Batches {
            held: number(self.positive("OTEL_BSP_MAX_QUEUE_SIZE", 2048)),
            size: number(self.positive("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512)),
            delay: Duration::from_millis(self.positive("OTEL_BSP_SCHEDULE_DELAY", 5000)),
            timeout: Duration::from_millis(self.positive("OTEL_BSP_EXPORT_TIMEOUT", 30_000)),
        }
    }

    fn positive(&mut self, name: &str, default: u64) -> u64 {
        let Some(value) = self.value(name) else {
            return default;
        };
        match value.parse::<u32>() {
            Ok(number @ 1..) => number.into(),
            _ => {
                self.warn(name, &value, &format!("{default} is used"));
                default
            }
        }
    }

    fn sampling(&mut self) -> Sampling {
        const NAME: &str = "OTEL_TRACES_SAMPLER";
        let Some(name) = self.value(NAME) else {
            return Sampling::DEFAULT;
        };
        let (root, parent_based) = match name.as_str() {
            "always_on" => (Root::On, false),
            "always_off" => (Root::Off, false),
            "traceidratio" => (self.ratio(), false),
            "parentbased_always_on" => (Root::On, true),
            "parentbased_always_off" => (Root::Off, true),
            "parentbased_traceidratio" => (self.ratio(), true),
            other => {
                self.warn(NAME, other, "parentbased_always_on is used");
                return Sampling::DEFAULT;
            }
        };
        Sampling { root, parent_based }
    }

    fn ratio(&mut self) -> Root {
        const NAME: &str = "OTEL_TRACES_SAMPLER_ARG";
        let value = self.value(NAME);
        match value.as_deref().map(str::parse) {
            None => Root::Ratio(1.0),
            Some(Ok(ratio)) if (0.0..=1.0).contains(&ratio) => Root::Ratio(ratio),
            Some(_) => {
                self.warn(
                    NAME,
                    &value.unwrap_or_default(),
                    "1.0 is used (from 0 to 1)",
                );
                Root::Ratio(1.0)
            }
        }
    }

    fn propagate(&mut self) -> bool {
        const NAME: &str = "OTEL_PROPAGATORS";
        let Some(value) = self.value(NAME) else {
            return true;
        };
        let mut propagate = false;
        for name in value.split(',').map(str::trim) {
            match name {
                "tracecontext" => propagate = true,
                // Baggage is never passed on; leaving it out or in changes nothing.
                "baggage" | "none" | "" => {}
                other => self.warn(NAME, other, "only tracecontext is known"),
            }
        }
        propagate
    }

    fn names_service(&self) -> bool {
        let attributes = self.value("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        let mut names = attributes
            .split(',')
            .filter_map(|pair| pair.split_once('='));
        self.value("OTEL_SERVICE_NAME").is_some()
            || names.any(|(name, _)| name.trim() == "service.name")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Settings {
        try_read(variables).unwrap()
    }

    fn try_read(variables: &[(&str, &str)]) -> Result<Settings, TelemetryError> {
        Settings::read(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

    #[test]
    fn nothing_is_exported_unless_a_variable_asks_for_it() {
        let table: &[(&[(&str, &str)], bool)] = &[
            (&[], false),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")], false),
            (
                &[
                    ("OTEL_SERVICE_NAME", "x"),
                    ("OTEL_TRACES_SAMPLER", "always_on"),
                ],
                false,
            ),
            (&[ENDPOINT], true),
            (
                &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c/x")],
                true,
            ),
            (&[("OTEL_TRACES_EXPORTER", "otlp")], true),
            (&[("OTEL_TRACES_EXPORTER", "none"), ENDPOINT], false),
            (&[("OTEL_TRACES_EXPORTER", "zipkin"), ENDPOINT], false),
            (&[("OTEL_SDK_DISABLED", "True"), ENDPOINT], false),
            (&[("OTEL_SDK_DISABLED", "1"), ENDPOINT], true),
        ];
        for (variables, expected) in table {
            assert_eq!(read(variables).export.is_some(), *expected, "{variables:?}");
        }
    }

    #[test]
    fn the_variable_for_traces_goes_before_the_one_for_all_signals() {
        let settings = read(&[
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1000"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2000"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "all.pem"),
            ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "traces.pem"),
        ]);
        let export = settings.export.unwrap();
        assert_eq!(export.protocol, Protocol::Grpc);
        assert_eq!(export.timeout, Duration::from_secs(2));
        assert_eq!(export.certificate, Some("traces.pem".into()));
    }

    #[test]
    fn samplers_are_those_of_the_specification() {
        let sampled = |root, parent_based| Sampling { root, parent_based };
        let table: &[(&str, Option<&str>, Sampling)] = &[
            ("always_on", None, sampled(Root::On, false)),
            ("always_off", None, sampled(Root::Off, false)),
            (
                "traceidratio",
                Some("0.25"),
                sampled(Root::Ratio(0.25), false),
            ),
            ("traceidratio", None, sampled(Root::Ratio(1.0), false)),
            ("parentbased_always_on", None, sampled(Root::On, true)),
            ("parentbased_always_off", None, sampled(Root::Off, true)),
            (
                "parentbased_traceidratio",
                Some("0"),
                sampled(Root::Ratio(0.0), true),
            ),
        ];
        for (sampler, argument, expected) in table {
            let settings = read(&[
                ENDPOINT,
                ("OTEL_TRACES_SAMPLER", sampler),
                ("OTEL_TRACES_SAMPLER_ARG", argument.unwrap_or_default()),
            ]);
            assert_eq!(settings.export.unwrap().sampling, *expected, "{sampler}");
            assert_eq!(settings.warnings, [""; 0]);
        }
    }

    #[test]
    fn what_means_nothing_is_warned_about_and_the_default_used() {
        let table: &[(&str, &str)] = &[
            ("OTEL_TRACES_EXPORTER", "console"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
            ("OTEL_BSP_SCHEDULE_DELAY", "5s"),
            ("OTEL_BSP_SCHEDULE_DELAY", "0"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "-1"),
            ("OTEL_BSP_EXPORT_TIMEOUT", "1e3"),
            ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many"),
            ("OTEL_SPAN_EVENT_COUNT_LIMIT", "1.5"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization Bearer secret"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a b=secret, good=1"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
            ("OTEL_PROPAGATORS", "b3"),
        ];
        for variable in table {
            let warnings = read(&[ENDPOINT, *variable]).warnings;
            assert_eq!(warnings.len(), 1, "{variable:?}");
            assert!(warnings[0].contains(variable.0), "{warnings:?}");
            assert!(!warnings[0].contains("secret"), "{warnings:?}");
        }
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=1,b=2=3, c=,"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "GZIP"),
            ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "none"),
            ("OTEL_BSP_EXPORT_TIMEOUT", "1000"),
        ] {
            assert_eq!(read(&[ENDPOINT, (name, value)]).warnings, [""; 0], "{name}");
        }
        for ratio in ["2", "-1", "NaN", "half"] {
            let settings = read(&[
                ENDPOINT,
                ("OTEL_TRACES_SAMPLER", "traceidratio"),
                ("OTEL_TRACES_SAMPLER_ARG", ratio),
            ]);
            assert_eq!(settings.warnings.len(), 1, "{ratio}");
        }
    }

    #[test]
    fn trace_context_is_propagated_unless_the_list_leaves_it_out() {
        let propagates = |value| read(&[("OTEL_PROPAGATORS", value)]).propagate;
        assert!(propagates(""));
        assert!(propagates("tracecontext, baggage"));
        assert!(!propagates("none"));
        assert!(!propagates("baggage"));
    }

    #[test]
    fn a_client_certificate_without_its_key_is_an_error() {
        let half = ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "tls.crt");
        let error = try_read(&[ENDPOINT, half]).unwrap_err().to_string();
        assert!(error.contains("OTEL_EXPORTER_OTLP_CLIENT_KEY"), "{error}");
    }

    #[test]
    fn a_service_name_from_either_variable_counts() {
        assert!(!read(&[]).names_service);
        assert!(read(&[("OTEL_SERVICE_NAME", "x")]).names_service);
        let attributes = "deployment.environment.name=prod, service.name=x";
        assert!(read(&[("OTEL_RESOURCE_ATTRIBUTES", attributes)]).names_service);
    }
}

//! Which traces are recorded: what `OTEL_TRACES_SAMPLER` says, except that a browser has no say.

use std::fmt;

use opentelemetry::trace::{Link, SpanKind, TraceContextExt as _, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};

/// Marks, in the OpenTelemetry context, a remote parent whose sampling decision does not count.
#[derive(Debug)]
pub(super) struct Undecided;

/// How traces that nobody decided about are decided about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Root {
    On,
    Off,
    /// This part of them, from 0 to 1.
    Ratio(f64),
}

/// The sampler of this process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sampling {
    pub(super) root: Root,
    /// Whether a trusted caller's decision is taken over.
    pub(super) parent_based: bool,
}

impl Sampling {
    /// Where nothing is exported.
    pub(super) const NOTHING: Self = Self {
        root: Root::Off,
        parent_based: false,
    };

    /// The specification's default.
    pub(super) const DEFAULT: Self = Self {
        root: Root::On,
        parent_based: true,
    };

    fn decides(&self, parent: Option<&Context>, trace: TraceId) -> bool {
        let remote_or_none = |context: &Context| {
            let span = context.span();
            let span = span.span_context();
            span.is_valid()
                .then(|| (span.is_remote(), span.is_sampled()))
        };
        match parent.map(|context| (context, remote_or_none(context))) {
            // Within the process a trace is recorded whole or not at all.
            Some((_, Some((false, sampled)))) => sampled,
            // A browser chooses its trace id, so chance decides and not the id.
            Some((context, Some((true, _)))) if context.get::<Undecided>().is_some() => {
                match self.root {
                    Root::On => true,
                    Root::Off => false,
                    Root::Ratio(ratio) => rand::random::<f64>() < ratio,
                }
            }
            Some((_, Some((true, sampled)))) if self.parent_based => sampled,
            _ => self.root.decides(trace),
        }
    }
}

/// As `OTEL_TRACES_SAMPLER` and its argument name it.
impl fmt::Display for Sampling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if self.parent_based {
            "parentbased_"
        } else {
            ""
        };
        match self.root {
            Root::On => write!(f, "{prefix}always_on"),
            Root::Off => write!(f, "{prefix}always_off"),
            Root::Ratio(ratio) => write!(f, "{prefix}traceidratio {ratio}"),
        }
    }
}

impl Root {
    fn decides(self, trace: TraceId) -> bool {
        match self {
            Self::On => true,
            Self::Off => false,
            Self::Ratio(ratio) => {
                // The SDK's own arithmetic, so that services of one ratio agree about a trace.
                let sampler = Sampler::TraceIdRatioBased(ratio);
                let result = sampler.should_sample(None, trace, "", &SpanKind::Internal, &[], &[]);
                result.decision == SamplingDecision::RecordAndSample
            }
        }
    }
}

impl ShouldSample for Sampling {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        _name: &str,
        _kind: &SpanKind,
        _attributes: &[KeyValue],
        _links: &[Link],
    ) -> SamplingResult {
        let trace_state = parent
            .filter(|context| context.has_active_span())
            .map_or(TraceState::NONE, |context| {
                context.span().span_context().trace_state().clone()
            });
        SamplingResult {
            decision: if self.decides(parent, trace) {
                SamplingDecision::RecordAndSample
            } else {
                SamplingDecision::Drop
            },
            attributes: Vec::new(),
            trace_state,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags};

    fn parent(remote: bool, sampled: bool) -> Context {
        let flags = TraceFlags::default().with_sampled(sampled);
        let span = SpanContext::new(
            TraceId::from(7),
            SpanId::from(7),
            flags,
            remote,
            TraceState::NONE,
        );
        Context::new().with_remote_span_context(span)
    }

    #[test]
    fn who_decides_depends_on_the_parent() {
        let (on, off) = (Root::On, Root::Off);
        let trusted = |sampled| Some(parent(true, sampled));
        let browser = |sampled| Some(parent(true, sampled).with_value(Undecided));
        // The browser's marker is still in the context of the spans below.
        let below = |sampled| Some(parent(false, sampled).with_value(Undecided));
        let table = [
            (on, true, None, true),
            (off, true, None, false),
            (on, true, trusted(false), false),
            (off, true, trusted(true), true),
            (on, false, trusted(false), true),
            (off, false, trusted(true), false),
            (on, true, browser(false), true),
            (off, true, browser(true), false),
            (Root::Ratio(0.0), true, browser(true), false),
            (Root::Ratio(1.0), true, browser(false), true),
            (off, true, below(true), true),
            (on, true, below(false), false),
            (on, false, below(false), false),
        ];
        for (number, (root, parent_based, parent, expected)) in table.into_iter().enumerate() {
            let sampling = Sampling { root, parent_based };
            let decided = sampling.decides(parent.as_ref(), TraceId::from(7));
            assert_eq!(decided, expected, "row {number}");
        }
    }

    #[test]
    fn a_browser_cannot_choose_a_trace_id_that_is_always_sampled() {
        let sampling = Sampling {
            root: Root::Ratio(0.5),
            parent_based: true,
        };
        let context = parent(true, true).with_value(Undecided);
        let sampled = (0..200)
            .filter(|_| sampling.decides(Some(&context), TraceId::from(7)))
            .count();
        // Of 200 fair coins, fewer than 40 or more than 160 come in one of 10^17 runs.
        assert!((40..=160).contains(&sampled), "{sampled}");
    }
}

//! The classic text format 0.0.4, made from the OpenMetrics text that prometheus-client writes.
//!
//! What differs: a counter's family is named with its `_total`, there are types that the classic format
//! lacks, and it has neither units, exemplars, `_created` samples nor an end mark.
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>,
//! <https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md>)

/// Rewrites OpenMetrics text line by line.
pub(super) fn from_open_metrics(text: &str) -> String {
    let mut classic = String::with_capacity(text.len());
    // The help comes before the type, which decides how the family is called.
    let mut help = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = type_of(line) {
            let (suffix, kind) = classic_type(kind);
            if let Some((_, help)) = help.take_if(|(helped, _)| *helped == name) {
                let help = help.replace("\\\"", "\"");
                classic.extend(["# HELP ", name, suffix, " ", &help, "\n"]);
            }
            classic.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
        } else if let Some(sample) = sample(line) {
            classic.extend([sample, "\n"]);
        }
    }
    classic
}

fn type_of(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("# TYPE ")?.split_once(' ')
}

/// What is added to the family's name, and the nearest type.
fn classic_type(kind: &str) -> (&'static str, &str) {
    match kind {
        "counter" => ("_total", "counter"),
        "info" => ("_info", "gauge"),
        "stateset" => ("", "gauge"),
        "gaugehistogram" | "unknown" => ("", "untyped"),
        same => ("", same),
    }
}

/// A sample without its exemplar; `None` where the line is none that the classic format has.
fn sample(line: &str) -> Option<&str> {
    if line.starts_with('#') || line.is_empty() {
        return None;
    }
    let labels = labels_end(line);
    let (name, rest) = line.split_at(labels);
    let bare = name.split('{').next().unwrap_or(name);
    if bare.split(' ').next()?.ends_with("_created") {
        return None;
    }
    let exemplar = rest.find(" # ").unwrap_or(rest.len());
    Some(&line[..labels + exemplar])
}

/// Where the name and its labels end; a label's value may hold anything.
fn labels_end(line: &str) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return at + 1,
            b' ' if !quoted => return at,
            _ => {}
        }
    }
    line.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_classic_text_is_what_prometheus_reads_without_open_metrics() {
        let open_metrics = r#"# HELP mints Tokens \"minted\", by outcome.
# TYPE mints counter
mints_total{outcome="ok"} 3 # {trace_id="4bf92f3577b34da6a3ce929d0e0e4736"} 1.0
mints_total{outcome="a } # { b\" \\"} 1
mints_created{outcome="ok"} 1.7e9
# HELP latency_seconds How long.
# TYPE latency_seconds histogram
# UNIT latency_seconds seconds
latency_seconds_sum 0.5
latency_seconds_count 2
latency_seconds_bucket{le="0.1"} 1 # {trace_id="x"} 0.05 1.7
latency_seconds_bucket{le="+Inf"} 2
# HELP build What runs.
# TYPE build info
build_info{version="1"} 1
# TYPE plain gauge
plain 0.25
# HELP odd Anything.
# TYPE odd unknown
odd NaN
# EOF
"#;
        let classic = r#"# HELP mints_total Tokens "minted", by outcome.
# TYPE mints_total counter
mints_total{outcome="ok"} 3
mints_total{outcome="a } # { b\" \\"} 1
# HELP latency_seconds How long.
# TYPE latency_seconds histogram
latency_seconds_sum 0.5
latency_seconds_count 2
latency_seconds_bucket{le="0.1"} 1
latency_seconds_bucket{le="+Inf"} 2
# HELP build_info What runs.
# TYPE build_info gauge
build_info{version="1"} 1
# TYPE plain gauge
plain 0.25
# HELP odd Anything.
# TYPE odd untyped
odd NaN
"#;
        assert_eq!(from_open_metrics(open_metrics), classic);
    }
}

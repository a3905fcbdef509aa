//! Reads an `Accept` header (RFC 9110, 12.5.1).

use super::Format;

const OPEN_METRICS: &str = "application/openmetrics-text";
const TEXT: &str = "text/plain";

/// The form that this header would rather have; what cannot be read of it is as if it were not there.
pub(super) fn preferred(accept: &str) -> Format {
    let ranges: Vec<(&str, u16)> = split(accept, ',').filter_map(range).collect();
    let quality = |names: &[&str]| {
        // The most specific range that fits counts, whatever `q` the others have.
        names.iter().find_map(|name| {
            let named = ranges
                .iter()
                .filter(|(range, _)| range.eq_ignore_ascii_case(name));
            named.map(|(_, quality)| *quality).max()
        })
    };
    let open_metrics = quality(&[OPEN_METRICS]).unwrap_or(0);
    let text = quality(&[TEXT, "text/*", "*/*"]).unwrap_or(0);
    if open_metrics > 0 && open_metrics >= text {
        Format::OpenMetrics
    } else {
        Format::Classic
    }
}

/// A media range without its parameters, and its `q` in thousandths.
fn range(text: &str) -> Option<(&str, u16)> {
    let mut parts = split(text, ';').map(str::trim);
    let name = parts.next()?;
    let mut quality = 1000;
    for part in parts {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        if key.trim().eq_ignore_ascii_case("q") {
            quality = thousandths(value.trim())?;
        }
    }
    Some((name, quality))
}

/// `0`, `0.5`, `1.000`: at most three digits, at most 1.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = whole.len() == 1 && part.len() <= 3;
    if !digits || !(whole.bytes().chain(part.bytes())).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    format!("{whole}{part:0<3}")
        .parse()
        .ok()
        .filter(|quality| *quality <= 1000)
}

/// Splits outside quoted strings.
fn split(text: &str, at: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        if escaped {
            escaped = false;
        } else if c == '"' {
            quoted = !quoted;
        } else {
            escaped = quoted && c == '\\';
        }
        c == at && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_that_is_wanted_most_is_given() {
        const OPEN: Format = Format::OpenMetrics;
        const CLASSIC: Format = Format::Classic;
        let table: &[(&str, Format)] = &[
            // Prometheus 2 and 3, with and without protobuf; Grafana Alloy sends the same.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                OPEN,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                OPEN,
            ),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                OPEN,
            ),
            // curl, a browser, nobody's.
            ("*/*", CLASSIC),
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                CLASSIC,
            ),
            ("", CLASSIC),
            // What wants the other one more gets it.
            ("text/plain, application/openmetrics-text;q=0.5", CLASSIC),
            ("text/plain;q=0.4, application/openmetrics-text;q=0.5", OPEN),
            ("text/*, application/openmetrics-text;q=0.9", CLASSIC),
            ("application/openmetrics-text, text/plain", OPEN),
            (
                "application/openmetrics-text;q=0.3, text/plain;q=0.1, */*",
                OPEN,
            ),
            ("application/*", CLASSIC),
            // Refused by q.
            ("application/openmetrics-text;q=0", CLASSIC),
            (
                "application/openmetrics-text; Q=0.000 , text/plain",
                CLASSIC,
            ),
            (
                "application/openmetrics-text;version=1.0.0 ; q = 0",
                CLASSIC,
            ),
            ("application/openmetrics-text;q=0.001", OPEN),
            // Written oddly.
            ("APPLICATION/OpenMetrics-Text", OPEN),
            (" ,, application/openmetrics-text ,", OPEN),
            ("application/openmetrics-text;version=\"1.0.0\"", OPEN),
            ("text/plain;x=\"a,application/openmetrics-text\"", CLASSIC),
            (
                "text/plain;x=\"\\\",application/openmetrics-text\"",
                CLASSIC,
            ),
            ("application/openmetrics-textual", CLASSIC),
            // A q that is none: the range is left out.
            ("application/openmetrics-text;q=1.5", CLASSIC),
            ("application/openmetrics-text;q=0.0001", CLASSIC),
            ("application/openmetrics-text;q=", CLASSIC),
            ("application/openmetrics-text;q=-1", CLASSIC),
            ("application/openmetrics-text;q=\u{661}", CLASSIC),
            ("\"application/openmetrics-text", CLASSIC),
        ];
        for (accept, expected) in table {
            assert_eq!(preferred(accept), *expected, "{accept}");
        }
    }

    #[test]
    fn a_header_of_any_size_is_read_once() {
        let many = "text/plain;q=0.1,".repeat(100_000) + OPEN_METRICS;
        assert_eq!(preferred(&many), Format::OpenMetrics);
    }
}

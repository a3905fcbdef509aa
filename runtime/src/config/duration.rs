//! Durations as people write them.

use std::time::Duration;

use super::given::Given;
use super::setting::Value;

/// Beyond this, adding one to a clock could overflow.
const LONGEST: Duration = Duration::from_hours(365 * 24);

impl Value for Duration {
    const TYPE: &'static str = "duration";

    fn allowed() -> String {
        r#"a duration such as "250ms", "5s", "5m" or "1h""#.to_owned()
    }

    fn bounds() -> Option<String> {
        Some(format!("at most {}", show_duration(LONGEST)))
    }

    fn parse(given: &Given<'_>) -> Option<Self> {
        parse_duration(given.text()?).filter(|duration| *duration <= LONGEST)
    }

    fn stand_in() -> Self {
        Self::ZERO
    }
}

/// A whole number and one unit.
fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let number: u64 = number.parse().ok()?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(milliseconds).map(Duration::from_millis)
}

/// In the largest unit that shows it exactly: `5m`, not `300s`.
pub(super) fn show_duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let (size, unit) = [(3_600_000, "h"), (60_000, "m"), (1_000, "s")]
        .into_iter()
        .find(|(size, _)| milliseconds > 0 && milliseconds.is_multiple_of(*size))
        .unwrap_or(if milliseconds == 0 {
            (1, "s")
        } else {
            (1, "ms")
        });
    format!("{}{unit}", milliseconds / size)
}

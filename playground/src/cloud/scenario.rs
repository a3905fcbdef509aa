//! The panel ids that make the simulated cloud misbehave: one table, from which parsing, `--help`
//! and the documentation are made.

use std::fmt::Write as _;
use std::time::Duration;

use http::StatusCode;

/// The suffix that makes only the first call of an id misbehave; the later ones mint.
const ONCE: &str = "-once";

/// One line of the table.
pub struct Scenario {
    /// The panel id, with its variable part in angle brackets.
    pub pattern: &'static str,
    /// An id that fits the pattern.
    pub example: &'static str,
    /// What a call for it meets.
    pub effect: &'static str,
    fault: Makes,
}

enum Makes {
    /// The pattern itself is the id.
    Always(Fault),
    /// The id says how much.
    From(fn(&str) -> Option<Fault>),
}

/// Every scenario there is. An id that fits none of them mints a token as usual.
///
/// Any of them takes the suffix `-once` (only the first call of that very id misbehaves), and after
/// that a label behind a dot, which means nothing but makes the id another one: `reset-once.17`.
pub const SCENARIOS: &[Scenario] = &[
    from("slow-<n>s", "slow-7s", "answers after n seconds", |id| {
        Some(Fault::Slow(Duration::from_secs(number(id, "slow-", "s")?)))
    }),
    from(
        "slow-<n>ms",
        "slow-50ms",
        "answers after n milliseconds",
        |id| {
            Some(Fault::Slow(Duration::from_millis(number(
                id, "slow-", "ms",
            )?)))
        },
    ),
    from(
        "status-<code>",
        "status-500",
        "that status (200 to 599), with an error body in the vendor's form",
        |id| Some(Fault::Status(status(id.strip_prefix("status-")?)?, None)),
    ),
    from(
        "status-<code>-retry-after-<n>",
        "status-429-retry-after-2",
        "the same with `Retry-After`: seconds, `date` (5 s ahead) or `garbage`",
        |id| {
            let (code, after) = id.strip_prefix("status-")?.split_once("-retry-after-")?;
            Some(Fault::Status(
                status(code)?,
                Some(RetryAfter::parse(after)?),
            ))
        },
    ),
    from(
        "flaky-once",
        "flaky-once",
        "503 the first time, then a token",
        |id| (id == "flaky").then_some(Fault::Status(StatusCode::SERVICE_UNAVAILABLE, None)),
    ),
    always(
        "reset",
        "the connection is reset (TCP RST) instead of an answer",
        Fault::Reset,
    ),
    always(
        "close",
        "the connection is closed instead of an answer",
        Fault::Close,
    ),
    always(
        "truncated",
        "the connection is closed halfway through the body",
        Fault::Truncated,
    ),
    always(
        "drip",
        "the body arrives one byte every 50 ms",
        Fault::Drip(Duration::from_millis(50)),
    ),
    from(
        "drip-<n>ms",
        "drip-2ms",
        "the body arrives one byte every n milliseconds",
        |id| {
            Some(Fault::Drip(Duration::from_millis(number(
                id, "drip-", "ms",
            )?)))
        },
    ),
    always("garbage", "200 with a body that is no JSON", Fault::Garbage),
    always("huge", "200 with a body of 10 MiB", Fault::Huge),
    always(
        "redirect",
        "302 to another path",
        Fault::Redirect(StatusCode::FOUND),
    ),
    always(
        "redirect-307",
        "307, which asks to send the key there again",
        Fault::Redirect(StatusCode::TEMPORARY_REDIRECT),
    ),
    always(
        "waf-403",
        "403 with a firewall's HTML page",
        Fault::Firewall,
    ),
    always(
        "waf-403-json",
        "403 with JSON that has no string `error`",
        Fault::FirewallJson,
    ),
    always("proxy-401", "401 with a proxy's HTML page", Fault::Proxy),
    from(
        "skew-<n>s",
        "skew-120s",
        "the `Date` header is n seconds ahead",
        |id| Some(Fault::Skew(Duration::from_secs(number(id, "skew-", "s")?))),
    ),
    always(
        "expired",
        "a token that ended an hour ago",
        Fault::Token(Defect::Expired),
    ),
    always(
        "alg-none",
        "a token of `\"alg\":\"none\"` without a signature",
        Fault::Token(Defect::AlgNone),
    ),
    always(
        "alg-none-mixed-case",
        "a token of `\"alg\":\"NoNe\"`, with a signature",
        Fault::Token(Defect::AlgNoneMixedCase),
    ),
    always(
        "wrong-sub",
        "a token of another user",
        Fault::Token(Defect::WrongSub),
    ),
    always(
        "wrong-role",
        "a token of another role",
        Fault::Token(Defect::WrongRole),
    ),
    always(
        "malformed-token",
        "a token that is no JWT",
        Fault::Token(Defect::Malformed),
    ),
    always(
        "bad-signature",
        "a token whose signature does not hold: `/chat` answers `invalid token`",
        Fault::Token(Defect::BadSignature),
    ),
    always(
        "token-missing",
        "200 without `token`",
        Fault::Token(Defect::TokenMissing),
    ),
    always(
        "exp-missing",
        "a token without `exp`; `expiresAt` is right",
        Fault::Token(Defect::ExpMissing),
    ),
    always(
        "exp-mismatch",
        "`exp` is 5 minutes earlier than `expiresAt`",
        Fault::Token(Defect::ExpMismatch),
    ),
    always(
        "expires-at-garbage",
        "`expiresAt` is no time",
        Fault::Token(Defect::ExpiresAtGarbage),
    ),
    always(
        "expires-at-missing",
        "200 without `expiresAt`",
        Fault::Token(Defect::ExpiresAtMissing),
    ),
    always(
        "expires-at-offset",
        "`expiresAt` is right, written with an offset of +02:00",
        Fault::Token(Defect::ExpiresAtOffset),
    ),
    from(
        "short-lived-<n>s",
        "short-lived-30s",
        "a token of n seconds",
        |id| {
            let lifetime = number(id, "short-lived-", "s")?;
            Some(Fault::Token(Defect::ShortLived(
                u32::try_from(lifetime).ok()?,
            )))
        },
    ),
];

/// The table as text, one scenario a line.
#[must_use]
pub fn table() -> String {
    let mut text = String::new();
    for Scenario {
        pattern, effect, ..
    } in SCENARIOS
    {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {pattern:<31}{effect}");
    }
    text
}

/// Whether a call for this panel id goes wrong.
#[must_use]
pub fn is_scenario(panel_id: &str) -> bool {
    Fault::of(panel_id, 0).is_some()
}

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Slow(Duration),
    Status(StatusCode, Option<RetryAfter>),
    Reset,
    Close,
    Truncated,
    Drip(Duration),
    Garbage,
    Huge,
    Redirect(StatusCode),
    Firewall,
    FirewallJson,
    Proxy,
    Skew(Duration),
    Token(Defect),
}

/// What a `Retry-After` header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RetryAfter {
    Seconds(u64),
    Date,
    Garbage,
}

/// What is wrong with a token, or with the answer that carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Defect {
    Expired,
    AlgNone,
    AlgNoneMixedCase,
    WrongSub,
    WrongRole,
    Malformed,
    BadSignature,
    TokenMissing,
    ExpMissing,
    ExpMismatch,
    ExpiresAtGarbage,
    ExpiresAtMissing,
    ExpiresAtOffset,
    ShortLived(u32),
}

impl Fault {
    /// What the panel id asks for, when `before` calls for that very id came earlier.
    pub(super) fn of(panel_id: &str, before: u64) -> Option<Self> {
        let id = panel_id.split_once('.').map_or(panel_id, |(id, _label)| id);
        match id.strip_suffix(ONCE) {
            Some(_) if before > 0 => None,
            Some(id) => Self::parse(id),
            None => Self::parse(id),
        }
    }

    fn parse(id: &str) -> Option<Self> {
        SCENARIOS.iter().find_map(|scenario| match scenario.fault {
            Makes::Always(fault) => (id == scenario.pattern).then_some(fault),
            Makes::From(parse) => parse(id),
        })
    }
}

impl RetryAfter {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "date" => Some(Self::Date),
            "garbage" => Some(Self::Garbage),
            seconds => seconds.parse().ok().map(Self::Seconds),
        }
    }
}

const fn always(id: &'static str, effect: &'static str, fault: Fault) -> Scenario {
    Scenario {
        pattern: id,
        example: id,
        effect,
        fault: Makes::Always(fault),
    }
}

const fn from(
    pattern: &'static str,
    example: &'static str,
    effect: &'static str,
    parse: fn(&str) -> Option<Fault>,
) -> Scenario {
    Scenario {
        pattern,
        example,
        effect,
        fault: Makes::From(parse),
    }
}

fn number(id: &str, prefix: &str, unit: &str) -> Option<u64> {
    id.strip_prefix(prefix)?.strip_suffix(unit)?.parse().ok()
}

fn status(code: &str) -> Option<StatusCode> {
    let code: u16 = code.parse().ok()?;
    // What is below 200 is no final answer, and hyper would not send it as one.
    (200..600)
        .contains(&code)
        .then(|| StatusCode::from_u16(code).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_in_the_table_misbehaves() {
        for scenario in SCENARIOS {
            assert!(
                Fault::of(scenario.example, 0).is_some(),
                "{}",
                scenario.example
            );
        }
    }

    #[test]
    fn every_fixed_id_makes_its_own_fault() {
        for scenario in SCENARIOS {
            if let Makes::Always(fault) = scenario.fault {
                assert_eq!(
                    Fault::of(scenario.pattern, 0),
                    Some(fault),
                    "{}",
                    scenario.pattern
                );
            }
        }
    }

    #[test]
    fn ids_outside_the_table_mint() {
        for id in [
            "42",
            "",
            "slow-",
            "slow-s",
            "slow--1s",
            "status-199",
            "status-600",
            "resets",
            "flaky",
        ] {
            let expected =
                (id == "flaky").then_some(Fault::Status(StatusCode::SERVICE_UNAVAILABLE, None));
            assert_eq!(Fault::of(id, 0), expected, "{id}");
        }
    }

    #[test]
    fn the_variable_part_says_how_much() {
        assert_eq!(
            Fault::of("slow-7s", 0),
            Some(Fault::Slow(Duration::from_secs(7)))
        );
        assert_eq!(
            Fault::of("slow-50ms", 0),
            Some(Fault::Slow(Duration::from_millis(50)))
        );
        assert_eq!(
            Fault::of("status-429-retry-after-2", 0),
            Some(Fault::Status(
                StatusCode::TOO_MANY_REQUESTS,
                Some(RetryAfter::Seconds(2))
            ))
        );
        assert_eq!(
            Fault::of("short-lived-30s", 0),
            Some(Fault::Token(Defect::ShortLived(30)))
        );
    }

    #[test]
    fn once_holds_for_the_first_call_of_that_very_id() {
        assert_eq!(Fault::of("reset-once", 0), Some(Fault::Reset));
        assert_eq!(Fault::of("reset-once", 1), None);
        assert_eq!(Fault::of("reset-once.17", 0), Some(Fault::Reset));
        assert_eq!(Fault::of("reset.17", 3), Some(Fault::Reset));
        assert_eq!(Fault::of("flaky-once", 1), None);
    }
}

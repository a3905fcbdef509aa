//! `ask2do-token mint`.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::connection::Connection;
use super::exit::{Described, Exit};
use crate::{MintError, MintedToken, PanelUser};

/// RFC 3339 with milliseconds, as Ask2Do writes it.
const TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

#[derive(Debug, Args)]
pub(super) struct Mint {
    /// The panel's own id of the user
    #[arg(long)]
    id: String,
    /// The user's role in the panel
    #[arg(long)]
    role: String,
    /// Print one line of JSON, also when the call fails
    #[arg(long)]
    json: bool,
    /// Only say when the token ends: the token itself is not printed, so that no log keeps it
    #[arg(long, conflicts_with = "json")]
    check: bool,
    // Last, so that its heading stands over its own options alone.
    #[command(flatten)]
    connection: Connection,
}

/// The line that every caller, in every language, prints.
#[derive(Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
enum Line<'a> {
    Minted {
        ok: bool,
        token: &'a str,
        expires_at: String,
    },
    Failed {
        ok: bool,
        code: &'static str,
        reason: &'static str,
        retry_after_seconds: Option<serde_json::Number>,
        fields: Vec<Field<'a>>,
    },
}

#[derive(Serialize)]
struct Field<'a> {
    field: &'a str,
    description: &'a str,
}

impl Mint {
    pub(super) async fn run(self) -> Exit {
        let client = match self.connection.client() {
            Ok(client) => client,
            Err(error) => {
                let exit = Exit::of_build(&error).complain(&error);
                return match exit {
                    Exit::Unavailable if self.json => exit.print(&json(&Line::out_of_time())),
                    _ => exit,
                };
            }
        };
        let user = PanelUser::new(self.id, self.role);
        match client.mint_token(&user).await {
            Ok(minted) if self.json => Exit::Done.print(&json(&Line::minted(&minted))),
            Ok(minted) if self.check => {
                Exit::Done.print(&format!("minted, until {}", rfc3339(minted.expires_at())))
            }
            Ok(minted) => Exit::Done.print(minted.expose_token()),
            Err(error) => {
                let exit = Exit::of_call(&error).complain(&Described(&error));
                if self.json {
                    return exit.print(&json(&Line::failed(&error)));
                }
                exit
            }
        }
    }
}

impl<'a> Line<'a> {
    fn minted(minted: &'a MintedToken) -> Self {
        Self::Minted {
            ok: true,
            token: minted.expose_token(),
            expires_at: rfc3339(minted.expires_at()),
        }
    }

    fn failed(error: &'a MintError) -> Self {
        let violations = match error {
            MintError::PanelUserInvalid { fields } => fields.as_slice(),
            _ => &[],
        };
        let fields = violations.iter().map(|violation| Field {
            field: &violation.field,
            description: &violation.description,
        });
        Self::Failed {
            ok: false,
            code: error.code().as_str(),
            reason: error.reason().as_str(),
            retry_after_seconds: error.retry_after().map(seconds),
            fields: fields.collect(),
        }
    }

    /// A certificate out of its time: what the service would say, before it is asked.
    fn out_of_time() -> Self {
        Self::Failed {
            ok: false,
            code: crate::Code::Unavailable.as_str(),
            reason: crate::Reason::ServiceUnavailable.as_str(),
            retry_after_seconds: None,
            fields: Vec::new(),
        }
    }
}

/// Whole seconds as the whole number that most people write.
fn seconds(after: Duration) -> serde_json::Number {
    let whole = serde_json::Number::from(after.as_secs());
    match after.subsec_nanos() {
        0 => whole,
        // A duration is finite.
        _ => serde_json::Number::from_f64(after.as_secs_f64()).unwrap_or(whole),
    }
}

fn json(line: &Line<'_>) -> String {
    // Strings, numbers and nulls: nothing here that JSON cannot hold.
    serde_json::to_string(line).unwrap_or_default()
}

fn rfc3339(time: OffsetDateTime) -> String {
    // Every component of the format is one that a time has.
    time.to_utc().format(TIME).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn times_are_written_as_ask2do_writes_them() {
        assert_eq!(
            rfc3339(datetime!(2026-05-02 15:55:00 +2)),
            "2026-05-02T13:55:00.000Z"
        );
    }

    #[test]
    fn failures_are_lines_of_the_form_that_all_callers_print() {
        let invalid = MintError::PanelUserInvalid {
            fields: vec![crate::FieldViolation {
                field: "panel_user.id".into(),
                description: "must not be empty".into(),
            }],
        };
        assert_eq!(
            json(&Line::failed(&invalid)),
            r#"{"ok":false,"code":"INVALID_ARGUMENT","reason":"PANEL_USER_INVALID","retryAfterSeconds":null,"fields":[{"field":"panel_user.id","description":"must not be empty"}]}"#
        );
        let limited = MintError::CloudRateLimited {
            retry_after: Some(Duration::from_secs(2)),
        };
        assert_eq!(
            json(&Line::failed(&limited)),
            r#"{"ok":false,"code":"UNAVAILABLE","reason":"CLOUD_RATE_LIMITED","retryAfterSeconds":2,"fields":[]}"#
        );
        assert_eq!(seconds(Duration::from_millis(250)).to_string(), "0.25");
    }
}

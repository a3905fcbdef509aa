//! What a failed call means: decide by the reason, and by the code where it is unknown.

use ask2do_token_client::{Code, MintError, Reason};
use serde_json::{Value, json};

pub(crate) fn line(error: &MintError) -> Value {
    let fields: Vec<_> = match error {
        MintError::PanelUserInvalid { fields } => fields
            .iter()
            .map(
                |violation| json!({"field": violation.field, "description": violation.description}),
            )
            .collect(),
        _ => Vec::new(),
    };
    json!({
        "ok": false,
        "code": error.code().as_str(),
        "reason": error.reason().as_str(),
        "retryAfterSeconds": error.retry_after().map(|after| after.as_secs_f64()),
        "fields": fields,
    })
}

pub(crate) fn unreachable() -> Value {
    json!({
        "ok": false,
        "code": Code::Unavailable.as_str(),
        "reason": Reason::ServiceUnavailable.as_str(),
        "retryAfterSeconds": null,
        "fields": [],
    })
}

pub(crate) fn exit_code(error: &MintError) -> u8 {
    match error {
        MintError::ServiceUnavailable(_) => 3,
        _ => 1,
    }
}

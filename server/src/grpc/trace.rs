//! The span of a call, after OpenTelemetry's semantic conventions for RPC servers. It holds neither a
//! panel user nor a token.

use ask2do_token_runtime::telemetry::{self, Trust};
use http::HeaderMap;
use opentelemetry_semantic_conventions::attribute::{
    ERROR_TYPE, RPC_METHOD, RPC_RESPONSE_STATUS_CODE, RPC_SYSTEM_NAME,
};
use tonic::Code;
use tracing::Span;
use tracing::field::Empty;

use crate::audit::Hex;

/// The name of the caller, where it is known.
const CALLER: &str = "ask2do.caller";
/// The reason of the contract, or how else the call ended.
const REASON: &str = "ask2do.reason";

/// The method's name: package, service and method.
const METHOD: &str = "ask2do.token.v1.TokenService/MintToken";

/// The span of a `MintToken`, in the trace that the request's headers name, and that trace's id.
pub(super) fn mint_token(headers: &HeaderMap) -> (Span, Hex<16>) {
    let span = tracing::info_span!(
        "MintToken",
        otel.name = METHOD,
        otel.kind = "server",
        otel.status_code = Empty,
        { RPC_SYSTEM_NAME } = "grpc",
        { RPC_METHOD } = METHOD,
        { RPC_RESPONSE_STATUS_CODE } = Empty,
        { ERROR_TYPE } = Empty,
        { CALLER } = Empty,
        { REASON } = Empty,
    );
    let trace_id = telemetry::continue_trace(&span, headers, Trust::Caller);
    (span, Hex::of(trace_id.to_bytes()))
}

/// Says how the call ended.
pub(super) fn ended(span: &Span, caller: Option<&str>, reason: &'static str, code: Code) {
    let error = is_error(code).then(|| name(code));
    tracing::record_all!(
        span,
        { CALLER } = caller,
        { REASON } = reason,
        { RPC_RESPONSE_STATUS_CODE } = name(code),
        { ERROR_TYPE } = error,
        otel.status_code = error.map(|_| "ERROR"),
    );
}

/// The codes that are the server's error rather than its answer, by the conventions.
fn is_error(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// The code's name in the gRPC specification.
const fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

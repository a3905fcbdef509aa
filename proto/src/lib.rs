//! The gRPC contract of the Ask2Do token service.
//!
//! `ask2do/token/v1/token_service.proto` is the contract and its manual; [`v1`] is the code that it
//! generates, committed so that nobody needs `protoc`. [`Reason`] names every failure of the service
//! once, for all crates.

mod reason;
mod redacted;

pub use reason::{ERROR_DOMAIN, Reason, UnknownReason};

/// The generated messages, client and server of package `ask2do.token.v1`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
#[rustfmt::skip]
pub mod v1 {
    include!("generated/ask2do.token.v1.rs");
}

/// The contract's descriptor set, with `google/protobuf/timestamp.proto`: what reflection serves.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/descriptor.bin");

/// The trailer that stops a gRPC library's own retries, where its value is a negative number.
///
/// Source: gRFC A6, "Pushback".
pub const RETRY_PUSHBACK: &str = "grpc-retry-pushback-ms";

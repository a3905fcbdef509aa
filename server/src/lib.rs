//! The Ask2Do token server: the one process that holds the tenant key. Callers ask it over mTLS for a
//! token of one panel user, and it mints one at Ask2Do.

pub mod admission;
pub mod cloud;
pub mod grpc;
pub mod metrics;
pub mod mint;

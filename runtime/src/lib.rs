//! How a process of the Ask2Do token service runs: configuration, logs and traces, metrics, the admin
//! port, the bounded listener, and the way it ends. No domain, and no service of its own.

pub mod admin;
pub mod config;
pub mod listener;
pub mod metrics;
pub mod readiness;
pub mod shutdown;
pub mod telemetry;

//! A server while it runs.

use std::net::SocketAddr;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::caller::{Caller, Connection};
use crate::process::Process;
use crate::{admin, until};

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// The process.
    pub process: Process,
    /// The gRPC port.
    pub grpc: SocketAddr,
    /// The admin port.
    pub admin: SocketAddr,
    folder: TempDir,
}

impl Server {
    pub(super) fn new(
        process: Process,
        grpc: SocketAddr,
        admin: SocketAddr,
        folder: TempDir,
    ) -> Self {
        Self {
            process,
            grpc,
            admin,
            folder,
        }
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A connection of `caller`.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub async fn connect(&self, caller: &Caller) -> Connection {
        caller.connect(self.grpc).await
    }

    /// Status and body of a path of the admin port.
    ///
    /// # Panics
    ///
    /// When there is no answer.
    pub async fn get(&self, path: &str) -> (u16, String) {
        admin::get(self.admin, path).await.unwrap()
    }

    /// One sample of `/metrics`; 0 where there is none. `series` is written as it stands there.
    ///
    /// # Panics
    ///
    /// When there is no answer.
    pub async fn metric(&self, series: &str) -> f64 {
        admin::sample(&self.get("/metrics").await.1, series).unwrap_or(0.0)
    }

    /// Waits until a sample of `/metrics` is `value`.
    ///
    /// # Panics
    ///
    /// When it does not become that.
    pub async fn metric_is(&self, series: &str, value: f64) {
        until(&format!("{series} {value}"), async || {
            (self.metric(series).await == value).then_some(())
        })
        .await;
    }

    /// The first log record for which `wanted` holds, once there is one.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub async fn record(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.process.record(what, wanted).await
    }

    /// Ends it as Kubernetes does: the exit code must be 0.
    ///
    /// # Panics
    ///
    /// When it is not.
    pub async fn end(mut self) -> String {
        self.process.signal(Signal::TERM);
        let status = self.process.ended().await;
        let text = self.process.output().text();
        assert_eq!(status.code(), Some(0), "{text}");
        text
    }
}

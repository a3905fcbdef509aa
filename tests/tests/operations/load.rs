//! What the load's pod says of its calls.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::installation::Installation;

/// Calls of which none may fail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lane {
    pub(crate) name: &'static str,
    /// Calls a second.
    pub(crate) rate: u32,
    pub(crate) to: To,
    /// How long the simulated cloud takes, as its panel ids say it.
    pub(crate) id: &'static str,
}

/// What is called.
#[derive(Clone, Copy, Debug)]
pub(crate) enum To {
    /// The name that has every pod's address.
    Pods,
    /// The one address of the Service.
    Service,
    /// The gateway's.
    Gateway,
}

/// 200 a second of callers and 50 of browsers. Some of them are long: what is in flight when a pod ends.
pub(crate) const LANES: &[Lane] = &[
    lane("panel", 100, To::Pods, "slow-50ms"),
    lane("service", 90, To::Service, "slow-50ms"),
    lane("long", 10, To::Pods, "slow-3s"),
    lane("gateway", 45, To::Gateway, "slow-50ms"),
    lane("gateway-long", 5, To::Gateway, "slow-3s"),
];

const fn lane(name: &'static str, rate: u32, to: To, id: &'static str) -> Lane {
    Lane { name, rate, to, id }
}

/// One that calls all the time and may not always: the removed caller.
pub(crate) const GUEST: &str = "guest";

/// One whose certificate stays of the old client CA.
pub(crate) const LAGGARD: &str = "laggard";

/// Calls a second of each of these two.
pub(crate) const PROBES: u32 = 10;

/// What became of the calls of a lane in some time.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Report {
    pub(crate) calls: usize,
    pub(crate) failed: usize,
    pub(crate) p99_ms: f64,
    pub(crate) reasons: BTreeMap<String, usize>,
    pub(crate) last_ok: Option<u64>,
    pub(crate) failures: Vec<serde_json::Value>,
}

/// The reports of some time, by lane.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) time: Duration,
    pub(crate) lanes: BTreeMap<String, Report>,
}

/// The load's clock: milliseconds since 1970.
pub(crate) fn now(installation: &Installation) -> u64 {
    let said: serde_json::Value = serde_json::from_str(&get(installation, "now")).unwrap();
    said["now"].as_u64().unwrap()
}

/// The calls that begin from `from` on and before `to`; waits for `to` and for what is under way then.
pub(crate) fn window(installation: &Installation, from: u64, to: u64) -> Window {
    let text = get(installation, &format!("report/{from}/{to}"));
    Window {
        time: Duration::from_millis(to - from),
        lanes: serde_json::from_str(&text).unwrap(),
    }
}

fn get(installation: &Installation, page: &str) -> String {
    installation.get("load:8080", page)
}

impl Window {
    pub(crate) fn lane(&self, name: &str) -> &Report {
        &self.lanes[name]
    }

    /// The calls of which none may fail.
    pub(crate) fn calls(&self) -> usize {
        self.main().map(|report| report.calls).sum()
    }

    /// Those of them that failed.
    pub(crate) fn failed(&self) -> usize {
        self.main().map(|report| report.failed).sum()
    }

    fn main(&self) -> impl Iterator<Item = &Report> {
        LANES.iter().map(|lane| self.lane(lane.name))
    }

    /// The rate was kept up: the load itself stalled nowhere.
    pub(crate) fn assert_rate(&self) {
        for Lane { name, rate, .. } in LANES {
            let due = f64::from(*rate) * self.time.as_secs_f64();
            let calls = f64::from(u32::try_from(self.lane(name).calls).unwrap());
            // A call that is due at the edge falls on either side; a busy machine makes some late.
            let slack = f64::from(*rate);
            assert!(
                (calls - due).abs() <= slack,
                "{name}: {calls} calls of {due}"
            );
        }
    }

    /// No call failed.
    pub(crate) fn assert_none_failed(&self) {
        for Lane { name, .. } in LANES {
            let report = self.lane(name);
            assert_eq!(report.failed, 0, "{name}: {report:#?}");
        }
    }
}

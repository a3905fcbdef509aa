//! The process's own metrics, by the names that every Prometheus client uses. Linux only: elsewhere
//! they are left out.

use super::Metrics;

#[cfg(target_os = "linux")]
pub(super) fn register(metrics: &mut Metrics) {
    metrics.register_collector(linux::DESCRIBED, linux::Process::new());
}

#[cfg(not(target_os = "linux"))]
pub(super) fn register(_metrics: &mut Metrics) {}

#[cfg(target_os = "linux")]
mod linux {
    use std::fmt;
    use std::fs;

    use prometheus_client::collector::Collector;
    use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
    use prometheus_client::metrics::counter::ConstCounter;
    use prometheus_client::metrics::gauge::ConstGauge;
    use rustix::process::{Resource, getrlimit};

    use crate::metrics::Described;

    const CPU: Described = gauge_or_counter(
        "process_cpu_seconds_total",
        "counter",
        "User and system CPU time spent, in seconds",
    );
    const RESIDENT: Described = gauge_or_counter(
        "process_resident_memory_bytes",
        "gauge",
        "Resident memory size, in bytes",
    );
    const OPEN_FDS: Described =
        gauge_or_counter("process_open_fds", "gauge", "Open file descriptors");
    const MAX_FDS: Described = gauge_or_counter(
        "process_max_fds",
        "gauge",
        "The most file descriptors that may be open",
    );
    const STARTED: Described = gauge_or_counter(
        "process_start_time_seconds",
        "gauge",
        "When the process started, in seconds since 1970",
    );
    const THREADS: Described = gauge_or_counter("process_threads", "gauge", "Threads");

    pub(super) const DESCRIBED: [Described; 6] =
        [CPU, RESIDENT, OPEN_FDS, MAX_FDS, STARTED, THREADS];

    const fn gauge_or_counter(
        name: &'static str,
        kind: &'static str,
        help: &'static str,
    ) -> Described {
        Described {
            name,
            kind,
            labels: &[],
            help,
        }
    }

    /// Reads `/proc` at each scrape; what cannot be read is left out.
    #[derive(Debug)]
    pub(super) struct Process {
        started: Option<f64>,
    }

    /// From `/proc/self/stat`, proc_pid_stat(5).
    #[derive(Debug, Clone, Copy, PartialEq)]
    struct Stat {
        cpu_ticks: u64,
        threads: u64,
        start_ticks: u64,
        resident_pages: u64,
    }

    impl Process {
        pub(super) fn new() -> Self {
            Self { started: started() }
        }
    }

    impl Collector for Process {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
            if let Some(stat) = stat() {
                let cpu = ConstCounter::new(seconds(stat.cpu_ticks));
                CPU.encode(&mut encoder, &cpu)?;
                let page = u64::try_from(rustix::param::page_size()).unwrap_or(u64::MAX);
                RESIDENT.encode(
                    &mut encoder,
                    &gauge(stat.resident_pages.saturating_mul(page)),
                )?;
                THREADS.encode(&mut encoder, &gauge(stat.threads))?;
            }
            if let Ok(open) = fs::read_dir("/proc/self/fd") {
                // One of them is the directory that is being read.
                let open = u64::try_from(open.count().saturating_sub(1)).unwrap_or(u64::MAX);
                OPEN_FDS.encode(&mut encoder, &gauge(open))?;
            }
            if let Some(most) = getrlimit(Resource::Nofile).current {
                MAX_FDS.encode(&mut encoder, &gauge(most))?;
            }
            if let Some(started) = self.started {
                STARTED.encode(&mut encoder, &ConstGauge::new(started))?;
            }
            Ok(())
        }
    }

    impl Described {
        fn encode(
            &self,
            encoder: &mut DescriptorEncoder<'_>,
            metric: &impl EncodeMetric,
        ) -> Result<(), fmt::Error> {
            self.begin(encoder, metric.metric_type())
                .and_then(|encoder| metric.encode(encoder))
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "exact to 2^53")]
    fn gauge(value: u64) -> ConstGauge<f64> {
        ConstGauge::new(value as f64)
    }

    #[expect(clippy::cast_precision_loss, reason = "exact to 2^53")]
    fn seconds(ticks: u64) -> f64 {
        ticks as f64 / rustix::param::clock_ticks_per_second() as f64
    }

    fn stat() -> Option<Stat> {
        parse(&fs::read_to_string("/proc/self/stat").ok()?)
    }

    fn parse(stat: &str) -> Option<Stat> {
        // The second field is the program's name, which may hold spaces and parentheses; the third
        // field is the first of these.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Stat {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            resident_pages: field(24)?,
        })
    }

    fn started() -> Option<f64> {
        let system = fs::read_to_string("/proc/stat").ok()?;
        let booted = system
            .lines()
            .find_map(|line| line.strip_prefix("btime "))?;
        let booted: f64 = booted.trim().parse().ok()?;
        Some(booted + seconds(stat()?.start_ticks))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_program_may_be_called_anything() {
            let stat = "42 (a ) b) S 1 2 3 4 5 6 7 8 9 10 100 50 13 14 15 16 7 18 9000 20 300 22";
            let expected = Stat {
                cpu_ticks: 150,
                threads: 7,
                start_ticks: 9000,
                resident_pages: 300,
            };
            assert_eq!(parse(stat), Some(expected));
            assert_eq!(parse("42 (cut) S 1"), None);
        }

        #[test]
        fn the_process_started_before_now_and_after_the_system() {
            let started = started().unwrap();
            let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
            assert!(started <= now + 1.0, "{started} {now}");
            assert!(started > now - 86400.0, "{started} {now}");
        }
    }
}

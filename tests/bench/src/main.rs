//! Measures the token service beside what it is compared with, in one run on one machine. How to read
//! it: `docs/performance.md`. How to run it: `tests/bench/run`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

mod bare;
mod child;
mod collector;
mod load;
mod measure;
mod mint;
mod panel;
mod pki;
mod report;
mod servers;
mod stub;
mod telemetry;

use child::Cores;
use load::Timing;
use measure::Settings;
use report::Report;

type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

/// Everything ends by then, whatever hangs.
const LIMIT: Duration = Duration::from_secs(30 * 60);

#[derive(Debug, Parser)]
#[command(about = "Measures the Ask2Do token service; see docs/performance.md")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measures.
    Run(Run),
    /// Part of a run: the stub of Ask2Do's cloud.
    #[command(hide = true)]
    Cloud,
    /// Part of a run: the stub of a trace collector.
    #[command(hide = true)]
    Collector,
    /// Part of a run: what the server is compared with.
    #[command(hide = true)]
    Bare(bare::Bare),
    /// Part of a run: becomes another program, on one core.
    #[command(hide = true)]
    Exec(child::Exec),
}

#[derive(Debug, clap::Args)]
struct Run {
    /// The folder of the release binaries.
    #[arg(long)]
    binaries: PathBuf,
    /// The folder of the Express app, its modules installed.
    #[arg(long)]
    express: PathBuf,
    /// What is measured; all without it.
    #[arg(long)]
    scenario: Option<Scenario>,
    /// Rounds of each server.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds that a round measures.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// A few seconds in all: shows that the benchmark works, and measures nothing well.
    #[arg(long)]
    smoke: bool,
    /// Where the result goes as JSON, with every round.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// The server beside a bare tonic and reqwest server.
    Mint,
    /// Gateway and server beside an Express app.
    Panel,
    /// The server with traces, scrapes and audit log beside itself without.
    Telemetry,
}

#[expect(clippy::print_stderr, reason = "a command line")]
fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run(run) => measure(&run),
        Command::Cloud => stub::serve(),
        Command::Collector => collector::serve(),
        Command::Bare(settings) => bare::serve(&settings),
        Command::Exec(line) => child::exec(&line),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(run: &Run) -> Result<()> {
    let cores = Cores::find()?;
    // Before the runtime: its threads stay where this one is.
    child::enter(cores.load)?;
    let settings = run.settings(cores)?;
    let folder = tempfile::tempdir()?;
    pki::write(folder.path())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(async {
        let scenarios = scenarios(run.scenario, &settings, folder.path());
        tokio::time::timeout(LIMIT, scenarios).await?
    })?;
    report.print();
    if let Some(path) = &run.json {
        std::fs::write(path, serde_json::to_vec_pretty(&report)?)?;
    }
    Ok(())
}

async fn scenarios(only: Option<Scenario>, settings: &Settings, folder: &Path) -> Result<Report> {
    let wanted = |scenario| only.is_none_or(|only| only == scenario);
    let mut report = Report::begin(settings)?;
    if wanted(Scenario::Mint) {
        report.mint = Some(mint::run(settings, folder).await?);
    }
    if wanted(Scenario::Panel) {
        report.panel = Some(panel::run(settings, folder).await?);
    }
    if wanted(Scenario::Telemetry) {
        report.telemetry = Some(telemetry::run(settings, folder).await?);
    }
    Ok(report)
}

impl Run {
    fn settings(&self, cores: Cores) -> Result<Settings> {
        let binaries = std::path::absolute(&self.binaries)?;
        let (rounds, starts, timing) = if self.smoke {
            let (warm_up, measured) = (Duration::from_millis(200), Duration::from_millis(500));
            (2, 2, Timing { warm_up, measured })
        } else {
            let timing = Timing {
                warm_up: Duration::from_secs(1),
                measured: Duration::from_secs(self.seconds),
            };
            (self.rounds.max(1), 11, timing)
        };
        Ok(Settings {
            binaries,
            express: std::path::absolute(&self.express)?,
            cores,
            rounds,
            timing,
            starts,
            smoke: self.smoke,
        })
    }
}

//! `corelane-bench load`: plans, runs, and reports.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use corelane_runtime::{CheckedConfig, Config, ShardConfig, Topology};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::arguments::LoadArguments;
use crate::error::LoadError;
use crate::hdr_log::HdrFile;
use crate::live::Live;
use crate::plan::{Pace, Plan};
use crate::report::{Report, Run};
use crate::run::{Outcome, run};
use crate::sweep::{Sweep, is_beyond, knee};
use crate::table;
use crate::timekeeper::Interval;

/// A probe longer than this would only lengthen the sweep.
const PROBE_MAX: Duration = Duration::from_secs(3);
/// What the shell reports for a process that SIGINT has ended: 128 and the signal's number.
const EXIT_INTERRUPTED: i32 = 130;

/// Runs the load, prints the result, and says whether anything was answered.
///
/// # Errors
/// Why there is no result.
pub(crate) fn load(arguments: &LoadArguments) -> Result<bool, LoadError> {
    let config = shards(arguments)?;
    let plan = arguments.plan(config.cpus().len())?;
    let report = Report::new(&arguments.url, &plan, config.cpus());
    // Before the run: its minutes ought not to be lost to a misspelt directory.
    let json = arguments.json.as_deref().map(create).transpose()?;
    let mut bench = Bench {
        interrupt: watch_signals()?,
        live: Live::new(arguments.quiet),
        config,
        plan,
        report,
    };
    let text = match arguments.sweep {
        None => bench.measure(arguments.hdr.as_deref())?,
        Some(sweep) => bench.sweep(arguments, sweep)?,
    };
    print(&text).map_err(|source| file_error(Path::new("standard output"), source))?;
    if let (Some(file), Some(path)) = (json, &arguments.json) {
        write_json(file, &bench.report).map_err(|source| file_error(path, source))?;
    }
    Ok(bench.report.runs.iter().any(|run| run.answers > 0))
}

/// Everything that the runs of an invocation share.
struct Bench {
    config: CheckedConfig,
    plan: Plan,
    interrupt: Arc<AtomicBool>,
    live: Live,
    report: Report,
}

impl Bench {
    /// One run as planned.
    fn measure(&mut self, hdr: Option<&Path>) -> Result<String, LoadError> {
        let pace = self.plan.pace;
        let outcome = match hdr {
            None => self.run(pace, &mut |_| {})?,
            Some(path) => self.run_logged(pace, path)?,
        };
        self.report.runs.push(Run::new(pace, &outcome));
        Ok(table::of_run(&self.report, &self.report.runs[0]))
    }

    fn run_logged(&mut self, pace: Pace, path: &Path) -> Result<Outcome, LoadError> {
        let mut file = HdrFile::create(path).map_err(|source| file_error(path, source))?;
        let mut log = file.begin().map_err(|source| file_error(path, source))?;
        let outcome = self.run(pace, &mut |interval| log.write(interval))?;
        log.outcome().and_then(|()| file.finish()).map_err(|source| file_error(path, source))?;
        Ok(outcome)
    }

    /// A run at each rate, until the server has fallen behind.
    fn sweep(&mut self, arguments: &LoadArguments, sweep: Sweep) -> Result<String, LoadError> {
        let capacity = match sweep {
            Sweep::Steps { .. } => 0.0,
            Sweep::Auto => self.probe()?,
        };
        for rate in sweep.rates(capacity) {
            if self.interrupt.load(Ordering::Relaxed) || is_beyond(&self.report.runs) {
                break;
            }
            let pace = arguments.pace_at(rate);
            let outcome = self.run(pace, &mut |_| {})?;
            self.report.runs.push(Run::new(pace, &outcome));
        }
        self.report.knee = knee(&self.report.runs);
        Ok(table::of_sweep(&self.report))
    }

    /// What a closed loop reaches, in answers a second.
    fn probe(&mut self) -> Result<f64, LoadError> {
        let duration = self.plan.duration;
        self.plan.duration = duration.min(PROBE_MAX);
        let outcome = self.run(Pace::Closed, &mut |_| {});
        self.plan.duration = duration;
        let rate = Run::new(Pace::Closed, &outcome?).answers_per_second;
        if rate < 1.0 {
            let problem = "the target answers not even one request a second as expected";
            return Err(LoadError::argument("--sweep", problem));
        }
        Ok(rate)
    }

    fn run(&mut self, pace: Pace, watch: &mut dyn FnMut(&Interval)) -> Result<Outcome, LoadError> {
        let plan = Plan { pace, ..self.plan.clone() };
        let live = &mut self.live;
        let outcome = run(&Arc::new(plan), &self.config, &self.interrupt, &mut |interval| {
            live.show(interval);
            watch(interval);
        });
        self.live.clear();
        outcome
    }
}

/// The shards that generate the load.
fn shards(arguments: &LoadArguments) -> Result<CheckedConfig, LoadError> {
    let config = Config {
        cores: arguments.cores.clone(),
        shard: ShardConfig {
            // Nothing here uses glommio directly, so its reactor need not run often, and a shard
            // that waits for the server does so in its own ring.
            block_max: Duration::from_secs(1),
            reactor_period: Duration::from_millis(100),
            ..ShardConfig::default()
        },
        ..Config::default()
    };
    Ok(config.checked(&Topology::detect())?)
}

/// Set by the first SIGINT or SIGTERM; the second one ends the process at once.
fn watch_signals() -> Result<Arc<AtomicBool>, LoadError> {
    let interrupt = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        let second = Arc::clone(&interrupt);
        // In this order: the shutdown looks at the flag before it is set.
        signal_hook::flag::register_conditional_shutdown(signal, EXIT_INTERRUPTED, second)
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&interrupt)))
            .map_err(|source| file_error(Path::new("signal handler"), source))?;
    }
    Ok(interrupt)
}

fn create(path: &Path) -> Result<File, LoadError> {
    File::create(path).map_err(|source| file_error(path, source))
}

fn write_json(file: File, report: &Report) -> io::Result<()> {
    let mut writer = BufWriter::new(file);
    serde_json::to_writer_pretty(&mut writer, report)?;
    writer.write_all(b"\n")?;
    writer.flush()
}

fn print(text: &str) -> io::Result<()> {
    io::stdout().lock().write_all(text.as_bytes())
}

fn file_error(path: &Path, source: io::Error) -> LoadError {
    LoadError::File { path: path.to_owned(), source }
}

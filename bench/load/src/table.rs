//! What is printed at the end, for people.

use std::fmt::Write;

use crate::failure::Failure;
use crate::format::{count, latency, traffic};
use crate::plan::Pace;
use crate::report::{Percentiles, Report, Run};
use crate::schedule::Arrivals;

/// The result of one run.
pub(crate) fn of_run(report: &Report, run: &Run) -> String {
    let duration = std::time::Duration::from_secs_f64(run.measured_seconds);
    let mut text = header(report, run);
    line(
        &mut text,
        "rate",
        &format!(
            "{} answers/s   {} in {:.1} s",
            count(run.answers_per_second.round() as u64),
            count(run.answers),
            run.measured_seconds
        ),
    );
    let mut flow = format!(
        "{} received, {} sent",
        traffic(run.bytes_received, duration),
        traffic(run.bytes_sent, duration)
    );
    if run.connections_made > 0 {
        let _ = write!(flow, ", {} connections made", count(run.connections_made));
    }
    line(&mut text, "traffic", &flow);
    let statuses = run.statuses.iter().filter(|(_, count)| **count > 0);
    let statuses: Vec<_> =
        statuses.map(|(class, number)| format!("{class} {}", count(*number))).collect();
    line(&mut text, "statuses", &or_none(&statuses.join("   ")));
    line(&mut text, "errors", &errors(run));
    if run.late > 0 {
        let late = count(run.late);
        line(
            &mut text,
            "warning",
            &format!("{late} requests sent over 1 ms late by this tool; give it a CPU of its own"),
        );
    }
    text.push('\n');
    text += &percentiles(run);
    text
}

fn header(report: &Report, run: &Run) -> String {
    let pace = match run.pace {
        _ if report.runs.len() > 1 => "sweep".to_owned(),
        Pace::Closed => "closed loop".to_owned(),
        Pace::Open { rate, arrivals } => {
            let arrivals = match arrivals {
                Arrivals::Constant => "constant",
                Arrivals::Poisson => "Poisson",
            };
            let rate = count(rate.round() as u64);
            format!("open loop at {rate} requests/s, {arrivals} arrivals")
        }
    };
    let mut text = format!(
        "{}\n{pace}, {} connections, pipeline {}, {} on CPU {}\n",
        report.target,
        count(report.connections as u64),
        report.pipeline,
        shards(report.cpus.len()),
        list(&report.cpus),
    );
    if run.is_interrupted {
        text.push_str("interrupted: the results so far\n");
    }
    text.push('\n');
    text
}

/// Every kind of error that happened, and what the end of the window cut off.
fn errors(run: &Run) -> String {
    let mut parts: Vec<_> = run
        .errors
        .seen()
        .map(|(failure, number)| format!("{} {}", count(number), failure.meaning()))
        .collect();
    if run.errors.seen().any(|(failure, _)| failure == Failure::ConnectNoPort) {
        parts.push("(see ip_local_port_range in ip(7))".to_owned());
    }
    if run.unsent > 0 {
        let unsent = count(run.unsent);
        parts.push(format!("{unsent} requests due but not sent by the end"));
    }
    or_none(&parts.join(&format!("\n{:12}", "")))
}

fn percentiles(run: &Run) -> String {
    let mut text = format!("  {:<18}", "latency");
    for name in ["p50", "p90", "p99", "p99.9", "p99.99", "max"] {
        let _ = write!(text, "{name:>9}");
    }
    text.push('\n');
    match &run.latency_ns.uncorrected {
        None => {
            row(&mut text, "from sent", &run.latency_ns.corrected);
            text.push_str(
                "\n  A closed loop waits for the server before it sends again: a stall delays few \
                 requests,\n  however long it is. Use --rate to see what users would.\n",
            );
        }
        Some(uncorrected) => {
            row(&mut text, "from due", &run.latency_ns.corrected);
            row(&mut text, "from sent (hides)", uncorrected);
        }
    }
    text
}

fn row(text: &mut String, name: &str, percentiles: &Percentiles) {
    let _ = write!(text, "  {name:<18}");
    for value in [
        percentiles.p50,
        percentiles.p90,
        percentiles.p99,
        percentiles.p999,
        percentiles.p9999,
        percentiles.max,
    ] {
        let _ = write!(text, "{:>9}", latency(value));
    }
    text.push('\n');
}

/// The result of a sweep.
pub(crate) fn of_sweep(report: &Report) -> String {
    let Some(first) = report.runs.first() else {
        return format!("{}\ninterrupted: no result\n", report.target);
    };
    let mut text = header(report, first);
    let _ = writeln!(
        text,
        "  {:>11} {:>11} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "offered/s", "answered/s", "p50", "p99", "p99.9", "unsent", "late", "errors"
    );
    for run in &report.runs {
        let Pace::Open { rate, .. } = run.pace else {
            continue;
        };
        let latencies = &run.latency_ns.corrected;
        let is_knee = report.knee == Some(rate);
        let _ = writeln!(
            text,
            "  {:>11} {:>11} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}{}",
            count(rate.round() as u64),
            count(run.answers_per_second.round() as u64),
            latency(latencies.p50),
            latency(latencies.p99),
            latency(latencies.p999),
            count(run.unsent),
            count(run.late),
            count(run.errors.total()),
            if is_knee { "  <- knee" } else { "" }
        );
    }
    text.push_str(match report.knee {
        Some(_) => "\n  The knee is the highest rate up to which the server kept up.\n",
        None => "\n  The server did not keep up with the lowest rate.\n",
    });
    if report.runs.iter().any(|run| run.late > 0) {
        text.push_str(
            "  Late are requests sent over 1 ms late by this tool: it needs its own CPU.\n",
        );
    }
    text
}

fn line(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "  {name:<10}{value}");
}

fn or_none(text: &str) -> String {
    if text.is_empty() { "none" } else { text }.to_owned()
}

fn shards(count: usize) -> String {
    match count {
        1 => "1 shard".to_owned(),
        count => format!("{count} shards"),
    }
}

fn list(cpus: &[usize]) -> String {
    let cpus: Vec<_> = cpus.iter().map(usize::to_string).collect();
    cpus.join(", ")
}

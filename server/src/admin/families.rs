//! Every metric: its name, what it says, and where it is read.

use corelane_runtime::{Counter, ShardId, Stats};

use super::exposition::{Exposition, Format};
use super::process::Process;
use super::{Running, View};
use crate::http1::ProtocolError;
use crate::stats::histogram::Durations;
use crate::stats::{Closed, Deadline, ServerStats};

type Read<S> = fn(&S) -> &Counter;

/// What the runtime counts on each shard.
const RUNTIME: &[(&str, &str, Read<Stats>)] = &[
    ("corelane_turns_total", "Passes of the shard's loop.", |stats| &stats.turns),
    ("corelane_polls_total", "Times that tasks were polled.", |stats| &stats.polls),
    (
        "corelane_background_polls_total",
        "Times that tasks in the background were polled.",
        |stats| &stats.background_polls,
    ),
    ("corelane_task_panics_total", "Tasks and jobs that panicked.", |stats| &stats.panics),
    ("corelane_stalls_total", "Turns whose tasks held the shard too long.", |stats| &stats.stalls),
    ("corelane_timers_fired_total", "Timers that fired.", |stats| &stats.timers_fired),
    ("corelane_parks_total", "Times that the shard slept outside its ring.", |stats| &stats.parks),
    ("corelane_ring_submissions_total", "Operations given to the ring.", |stats| {
        &stats.submissions
    }),
    ("corelane_ring_completions_total", "Completions that the ring delivered.", |stats| {
        &stats.completions
    }),
    ("corelane_ring_overflows_total", "Turns with more completions than fit.", |stats| {
        &stats.overflows
    }),
    (
        "corelane_ring_stale_completions_total",
        "Completions for nobody. More than zero is a bug.",
        |stats| &stats.stale_completions,
    ),
    (
        "corelane_ring_buffers_exhausted_total",
        "Receives that found no buffer lent to the ring (ENOBUFS): usual under uploads.",
        |stats| &stats.buffers_exhausted,
    ),
    ("corelane_received_bytes_total", "Bytes received.", |stats| &stats.bytes_received),
    ("corelane_sent_bytes_total", "Bytes sent.", |stats| &stats.bytes_sent),
    ("corelane_partial_sends_total", "Sends that the kernel took a part of.", |stats| {
        &stats.partial_sends
    }),
    (
        "corelane_streams_opened_total",
        "Sockets that were accepted or connected, to other servers too.",
        |stats| &stats.streams_opened,
    ),
    (
        "corelane_direct_accepts_total",
        "Connections that take no descriptor of the process's.",
        |stats| &stats.direct_accepts,
    ),
    ("corelane_streams_closed_total", "Sockets that are closed again.", |stats| {
        &stats.streams_closed
    }),
    (
        "corelane_accepts_aborted_total",
        "Connections that were gone before they could be accepted.",
        |stats| &stats.accepts_aborted,
    ),
    (
        "corelane_connections_handed_over_total",
        "Connections that were accepted here and given to another shard.",
        |stats| &stats.handed_over,
    ),
    (
        "corelane_connections_taken_over_total",
        "Connections that another shard has given to this one.",
        |stats| &stats.taken_over,
    ),
    ("corelane_mesh_jobs_total", "Jobs from other shards and threads.", |stats| &stats.mesh_jobs),
    (
        "corelane_mesh_waits_total",
        "Milliseconds that tasks waited for room in another shard's inbox.",
        |stats| &stats.mesh_waits,
    ),
    ("corelane_offload_jobs_total", "Jobs given to the offload pool.", |stats| &stats.offloads),
];

/// What the server counts on each shard.
const SERVER: &[(&str, &str, Read<ServerStats>)] = &[
    ("corelane_heads_total", "Requests whose head was accepted.", |stats| &stats.requests),
    (
        "corelane_exchanges_abandoned_total",
        "Requests that got no whole answer of their route.",
        |stats| &stats.abandoned,
    ),
    ("corelane_handler_panics_total", "Handlers that panicked.", |stats| &stats.handler_panics),
    (
        "corelane_requests_shed_total",
        "Requests that were refused because there were too many.",
        |stats| &stats.requests_shed,
    ),
    (
        "corelane_peers_gone_total",
        "Requests whose client went away before its answer was complete.",
        |stats| &stats.peers_gone,
    ),
    (
        "corelane_connections_accepted_total",
        "Connections that were accepted to be served.",
        |stats| &stats.connections,
    ),
    (
        "corelane_access_log_dropped_total",
        "Lines of the access log that were dropped because its writer was behind.",
        |stats| &stats.access_log_dropped,
    ),
    (
        "corelane_spans_dropped_total",
        "Spans that were dropped because their exporter was behind.",
        |stats| &stats.spans_dropped,
    ),
];

/// Writes all metrics down. Before the shards listen, those of the process alone.
pub(super) fn expose(view: &View, format: Format) -> Vec<u8> {
    let mut out = Exposition::new(format);
    of_process(&mut out, view);
    if let Some(running) = view.running() {
        of_requests(&mut out, running);
        of_connections(&mut out, running);
        of_refusals(&mut out, running);
        of_shards(&mut out, running);
        of_time(&mut out, running);
        of_offload(&mut out, running);
        of_records(&mut out, running);
    }
    out.finish()
}

fn of_process(out: &mut Exposition, view: &View) {
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    let build = [("version", env!("CARGO_PKG_VERSION")), ("profile", profile)];
    out.gauge("corelane_build_info", "What runs; always 1.");
    out.sample(&build, 1u64);
    out.gauge("corelane_ready", "Whether requests should be sent here: as /readyz.");
    out.sample(&[], u64::from(view.why_not_ready().is_none()));
    let process = Process::now();
    out.counter("process_cpu_seconds_total", "Time on CPUs, of user and system.");
    out.sample(&[], process.cpu.as_secs_f64());
    let gauges = [
        ("process_open_fds", "Open file descriptors.", process.open_fds as f64),
        ("process_max_fds", "The limit of open file descriptors.", process.fds_max as f64),
        ("process_resident_memory_bytes", "Resident memory.", process.resident_bytes as f64),
        ("process_virtual_memory_bytes", "Virtual memory.", process.virtual_bytes as f64),
        ("process_threads", "Threads.", process.threads as f64),
        ("process_start_time_seconds", "When it was started, since the epoch.", process.started),
    ];
    for (name, help, value) in gauges {
        out.gauge(name, help);
        out.sample(&[], value);
    }
}

fn of_requests(out: &mut Exposition, running: &Running) {
    out.counter("corelane_requests_total", "Requests that were answered whole, by their route.");
    for (shard, server) in running.shards() {
        for route in server.routes() {
            for (class, count) in route.exchanges.iter().enumerate() {
                // Most routes never answer with most classes; successes are there from the start.
                if count.value() > 0 || class == 1 {
                    let (shard, code) = (shard.0.to_string(), CODES[class]);
                    let labels =
                        [("shard", &*shard), ("route", route.name.as_str()), ("code", code)];
                    out.sample(&labels, count.value());
                }
            }
        }
    }
    out.counter("corelane_responses_total", "Answers that were begun, refusals included.");
    each_shard(out, running, |out, shard, server| {
        for (class, count) in server.responses.iter().enumerate() {
            out.sample(&[("shard", shard), ("code", CODES[class])], count.value());
        }
    });
    out.gauge("corelane_requests_in_flight", "Requests that are not answered whole yet.");
    each_shard(out, running, |out, shard, server| {
        out.sample(&[("shard", shard)], server.in_flight());
    });
    let help = "From the end of a request's head to the end of its answer.";
    out.histogram("corelane_request_duration_seconds", help);
    for (name, durations) in by_route(running) {
        out.durations(&[("route", name.as_str())], &durations);
    }
    out.histogram("corelane_shard_request_duration_seconds", help);
    each_shard(out, running, |out, shard, server| {
        out.durations(&[("shard", shard)], &of_shard(server));
    });
}

const CODES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// How long the requests of each route took, on all shards together; routes without any left out.
fn by_route(running: &Running) -> Vec<(String, Durations)> {
    // Every shard has the same routes in the same order.
    let count = running.servers.iter().map(|server| server.routes().len()).max().unwrap_or(0);
    let route = |index: usize| {
        let mut durations = Durations::default();
        let routes = running.servers.iter().filter_map(|server| server.routes().get(index));
        routes.clone().for_each(|route| durations.add(&route.durations));
        let name = routes.map(|route| route.name.clone()).next().unwrap_or_default();
        (name, durations)
    };
    (0..count).map(route).filter(|(_, durations)| durations.count() > 0).collect()
}

/// How long the requests of a shard took.
pub(super) fn of_shard(server: &ServerStats) -> Durations {
    let mut durations = Durations::default();
    server.routes().iter().for_each(|route| durations.add(&route.durations));
    durations
}

fn of_connections(out: &mut Exposition, running: &Running) {
    out.gauge("corelane_connections_open", "Connections that are open.");
    each_shard(out, running, |out, shard, server| {
        out.sample(&[("shard", shard)], server.connections_open());
    });
    out.counter("corelane_connections_closed_total", "Connections that have ended, and why.");
    each_shard(out, running, |out, shard, server| {
        for reason in Closed::ALL {
            let count = server.closed[reason as usize].value();
            out.sample(&[("shard", shard), ("reason", reason.label())], count);
        }
    });
    out.counter("corelane_timeouts_total", "Deadlines of connections that passed.");
    each_shard(out, running, |out, shard, server| {
        for deadline in Deadline::ALL {
            let count = server.timeouts[deadline as usize].value();
            out.sample(&[("shard", shard), ("deadline", deadline.label())], count);
        }
    });
}

fn of_refusals(out: &mut Exposition, running: &Running) {
    let refused = |error: ProtocolError| {
        let count = |server: &std::sync::Arc<ServerStats>| server.refused[error.index()].value();
        running.servers.iter().map(count).sum::<u64>()
    };
    out.counter("corelane_parse_errors_total", "Requests that broke a rule of HTTP.");
    for error in ProtocolError::ALL {
        out.sample(&[("kind", error.label())], refused(error));
    }
    out.counter("corelane_limit_hits_total", "Times that a limit was hit: see docs/limits.md.");
    for error in ProtocolError::ALL {
        if let Some(limit) = limit_of(error) {
            out.sample(&[("limit", limit)], refused(error));
        }
    }
    let sum = |read: Read<Stats>| {
        running.monitor.stats().iter().map(|stats| read(stats).value()).sum::<u64>()
    };
    let of_servers =
        |read: Read<ServerStats>| running.servers.iter().map(|server| read(server).value()).sum();
    for (limit, count) in [
        ("connections_max", of_servers(|server| &server.connections_full)),
        ("concurrency_max", of_servers(|server| &server.requests_shed)),
        ("open_files", sum(|stats| &stats.accepts_paused)),
        ("buffer_count", sum(|stats| &stats.buffers_all_used)),
        ("unread_bytes_max", sum(|stats| &stats.receives_paused)),
        ("offload_job_count_max", sum(|stats| &stats.offloads_rejected)),
        ("mesh_job_count_max", sum(|stats| &stats.mesh_waits)),
    ] {
        out.sample(&[("limit", limit)], count);
    }
}

/// The limit that a refusal names, where it names one.
fn limit_of(error: ProtocolError) -> Option<&'static str> {
    Some(match error {
        ProtocolError::MethodTooLong => "method_bytes_max",
        ProtocolError::TargetTooLong => "target_bytes_max",
        ProtocolError::FieldTooLarge => "field_line_bytes_max",
        ProtocolError::FieldsTooMany => "field_count_max",
        ProtocolError::HeadTooLarge => "head_bytes_max",
        ProtocolError::ContentTooLarge => "body_bytes_max",
        ProtocolError::ChunkLineTooLong => "chunk_line_bytes_max",
        ProtocolError::ChunkExtensionsTooLarge => "chunk_extension_bytes_max",
        ProtocolError::TrailersTooLarge => "trailer_bytes_max",
        ProtocolError::TrailersTooMany => "trailer_count_max",
        _ => return None,
    })
}

fn of_shards(out: &mut Exposition, running: &Running) {
    for (name, help, read) in SERVER {
        out.counter(name, help);
        each_shard(out, running, |out, shard, server| {
            out.sample(&[("shard", shard)], read(server).value());
        });
    }
    for (name, help, read) in RUNTIME {
        out.counter(name, help);
        each_runtime(out, running, |out, shard, _, stats| {
            out.sample(&[("shard", shard)], read(stats).value());
        });
    }
    out.gauge("corelane_receive_buffers", "Receive buffers of the shard.");
    each_runtime(out, running, |out, shard, _, _| {
        out.sample(&[("shard", shard)], u64::from(running.buffer_count));
    });
    out.gauge("corelane_receive_buffers_in_use", "Receive buffers that hold received bytes.");
    each_runtime(out, running, |out, shard, _, stats| {
        let spare = stats.buffers_spare.value();
        out.sample(&[("shard", shard)], u64::from(running.buffer_count).saturating_sub(spare));
    });
    out.gauge("corelane_mesh_depth", "Jobs that wait in the shard's inbox.");
    each_runtime(out, running, |out, shard, id, _| {
        out.sample(&[("shard", shard)], running.monitor.mesh_depth(id));
    });
}

fn of_time(out: &mut Exposition, running: &Running) {
    out.counter(
        "corelane_shard_seconds_total",
        "What the shard's thread did: useful work, looking for work, or waiting for its CPU.",
    );
    each_runtime(out, running, |out, shard, id, stats| {
        let cpu = running.monitor.cpu_time(id);
        let spinning = std::time::Duration::from_nanos(stats.spinning_nanos.value());
        for (state, time) in [
            ("useful", cpu.ran.saturating_sub(spinning)),
            ("spinning", spinning),
            ("waiting_for_cpu", cpu.waited),
        ] {
            out.sample(&[("shard", shard), ("state", state)], time.as_secs_f64());
        }
    });
}

fn of_offload(out: &mut Exposition, running: &Running) {
    let stats = running.monitor.offload_stats();
    out.gauge("corelane_offload_queued", "Jobs that wait for a thread of the offload pool.");
    out.sample(&[], stats.queued);
    out.gauge("corelane_offload_running", "Jobs that run on the offload pool.");
    out.sample(&[], stats.running);
    out.counter("corelane_offload_ended_total", "Jobs of the offload pool that have ended.");
    for (outcome, count) in [
        ("finished", stats.finished.saturating_sub(stats.panicked)),
        ("panicked", stats.panicked),
        ("skipped", stats.skipped),
    ] {
        out.sample(&[("outcome", outcome)], count);
    }
}

fn of_records(out: &mut Exposition, running: &Running) {
    for (name, help, count) in &running.metrics {
        out.counter(name, help);
        out.sample(&[], count.value());
    }
}

fn each_shard(
    out: &mut Exposition,
    running: &Running,
    mut write: impl FnMut(&mut Exposition, &str, &ServerStats),
) {
    for (shard, server) in running.shards() {
        write(out, &shard.0.to_string(), server);
    }
}

fn each_runtime(
    out: &mut Exposition,
    running: &Running,
    mut write: impl FnMut(&mut Exposition, &str, ShardId, &Stats),
) {
    for (index, stats) in running.monitor.stats().iter().enumerate() {
        write(out, &index.to_string(), ShardId(index), stats);
    }
}

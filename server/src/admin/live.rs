//! What the live page is told: once a second, what each shard did in that second.
//!
//! An event is JSON in one line. The first one, `hello`, has what does not change; then comes a
//! `sample` a second, those of the last minutes at once.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use corelane_runtime::{CpuTime, ShardId, Stats};
use serde::Serialize;

use super::process::Process;
use super::{Running, View, families};
use crate::events::Event;
use crate::stats::histogram::{BUCKET_COUNT, Durations, upper_bound};
use crate::stats::{ServerStats, Slow};

/// How many slow requests, and how many routes, a sample names.
const NAMED_MAX: usize = 8;

#[derive(Serialize)]
struct Hello<'a> {
    version: &'static str,
    cpus: &'a [usize],
    routes: Vec<&'a str>,
    /// The upper bounds of the buckets of a heat map's column, in microseconds; the last one has
    /// none.
    bounds: Vec<f64>,
    buffers: u16,
}

/// The event that a page begins with.
pub(super) fn hello(running: &Running) -> String {
    let routes = running.servers.first().map(|server| server.routes()).unwrap_or_default();
    let bounds = (0..BUCKET_COUNT).map_while(upper_bound);
    event(
        "hello",
        &Hello {
            version: env!("CARGO_PKG_VERSION"),
            cpus: &running.cpus,
            routes: routes.iter().map(|route| route.name.as_str()).collect(),
            bounds: bounds.map(|bound| bound.as_nanos() as f64 / 1e3).collect(),
            buffers: running.buffer_count,
        },
    )
}

fn event(name: &str, data: &impl Serialize) -> String {
    // Maps with keys of text, numbers and text: nothing that JSON can not say.
    let data = serde_json::to_string(data).unwrap_or_default();
    Event::data(data).event(name).to_string()
}

#[derive(Serialize)]
struct Sample {
    /// Milliseconds since the Unix epoch.
    at: u64,
    /// Why no requests should be sent here, if none should.
    not_ready: Option<&'static str>,
    resident_bytes: u64,
    open_fds: usize,
    latency: Latency,
    /// How many requests took how long: buckets and their counts, empty ones left out.
    heat: Vec<(usize, u64)>,
    shards: Vec<ShardSample>,
    /// The busiest first.
    routes: Vec<RouteSample>,
    /// The newest first.
    slow: Vec<SlowSample>,
}

/// Microseconds; none where there was no request.
#[derive(Serialize)]
struct Latency {
    p50: Option<f64>,
    p99: Option<f64>,
    p999: Option<f64>,
}

#[derive(Serialize)]
struct ShardSample {
    /// Parts of the second: at work, looking for work, waiting for its CPU.
    load: f64,
    spinning: f64,
    waiting: f64,
    connections: u64,
    in_flight: u64,
    /// All of these are per second.
    requests: f64,
    errors: f64,
    received_bytes: f64,
    sent_bytes: f64,
    turns: f64,
    completions: f64,
    latency: Latency,
    /// Since the start.
    stalls: u64,
    buffers_in_use: u64,
    mesh_depth: usize,
}

#[derive(Serialize)]
struct RouteSample {
    route: usize,
    requests: f64,
    errors: f64,
    latency: Latency,
}

#[derive(Serialize)]
struct SlowSample {
    shard: usize,
    route: usize,
    class: u16,
    count: u32,
    /// Milliseconds since the Unix epoch.
    at: u64,
    /// Milliseconds.
    receive: f64,
    handle: f64,
    send: f64,
}

/// Compares the counters with those of a second before.
#[derive(Default)]
pub(super) struct Sampler(Option<Snapshot>);

impl Sampler {
    /// Tells the pages what has happened since the last time.
    pub(super) fn sample(&mut self, view: &View, count_max: usize) {
        let Some(running) = view.running() else { return };
        let now = Snapshot::take(running);
        if let Some(earlier) = self.0.replace(now)
            && let Some(now) = &self.0
        {
            let sample = now.since(&earlier, running, view.why_not_ready());
            view.push(event("sample", &sample), count_max);
        }
    }
}

/// The counters at one moment.
struct Snapshot {
    at: Instant,
    shards: Vec<ShardCounts>,
    routes: Vec<RouteCounts>,
}

struct ShardCounts {
    cpu: CpuTime,
    spinning: Duration,
    durations: Durations,
    errors: u64,
    received_bytes: u64,
    sent_bytes: u64,
    turns: u64,
    completions: u64,
}

#[derive(Default)]
struct RouteCounts {
    durations: Durations,
    errors: u64,
}

impl Snapshot {
    fn take(running: &Running) -> Snapshot {
        let mut routes: Vec<RouteCounts> = Vec::new();
        for route in running.servers.iter().flat_map(|server| server.routes().iter().enumerate()) {
            let (index, route) = route;
            if routes.len() <= index {
                routes.resize_with(index + 1, RouteCounts::default);
            }
            routes[index].durations.add(&route.durations);
            routes[index].errors += route.exchanges[4].value();
        }
        let pairs = running.shards().zip(running.monitor.stats());
        let shards = pairs.map(|((id, server), stats)| {
            let cpu = running.monitor.cpu_time(id);
            ShardCounts::take(server, stats, cpu)
        });
        Snapshot { at: Instant::now(), shards: shards.collect(), routes }
    }

    fn since(
        &self,
        earlier: &Snapshot,
        running: &Running,
        not_ready: Option<&'static str>,
    ) -> Sample {
        let second = (self.at - earlier.at).as_secs_f64().max(0.001);
        let process = Process::now();
        let mut all = Durations::default();
        let mut shards = Vec::new();
        for (index, (now, before)) in self.shards.iter().zip(&earlier.shards).enumerate() {
            let durations = now.durations.since(&before.durations);
            shards.push(now.since(before, &durations, second, running, index));
            all.merge(&durations);
        }
        let heat = all.counts().iter().copied().enumerate().filter(|(_, count)| *count > 0);
        Sample {
            at: unix_millis(SystemTime::now()),
            not_ready,
            resident_bytes: process.resident_bytes,
            open_fds: process.open_fds,
            latency: Latency::of(&all),
            heat: heat.collect(),
            shards,
            routes: self.busiest(earlier, second),
            slow: slowest(running),
        }
    }

    fn busiest(&self, earlier: &Snapshot, second: f64) -> Vec<RouteSample> {
        let pairs = self.routes.iter().zip(&earlier.routes).enumerate();
        let mut routes: Vec<RouteSample> = pairs
            .map(|(route, (now, before))| {
                let durations = now.durations.since(&before.durations);
                RouteSample {
                    route,
                    requests: durations.count() as f64 / second,
                    errors: now.errors.saturating_sub(before.errors) as f64 / second,
                    latency: Latency::of(&durations),
                }
            })
            .filter(|route| route.requests > 0.0)
            .collect();
        routes.sort_by(|one, other| other.requests.total_cmp(&one.requests));
        routes.truncate(NAMED_MAX);
        routes
    }
}

impl ShardCounts {
    fn take(server: &ServerStats, stats: &Stats, cpu: CpuTime) -> ShardCounts {
        ShardCounts {
            cpu,
            spinning: Duration::from_nanos(stats.spinning_nanos.value()),
            durations: families::of_shard(server),
            errors: server.responses[4].value(),
            received_bytes: stats.bytes_received.value(),
            sent_bytes: stats.bytes_sent.value(),
            turns: stats.turns.value(),
            completions: stats.completions.value(),
        }
    }

    fn since(
        &self,
        before: &ShardCounts,
        durations: &Durations,
        second: f64,
        running: &Running,
        index: usize,
    ) -> ShardSample {
        let part =
            |now: Duration, before: Duration| now.saturating_sub(before).as_secs_f64() / second;
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / second;
        let spinning = part(self.spinning, before.spinning);
        let (stats, server) = (&running.monitor.stats()[index], &running.servers[index]);
        let spare = stats.buffers_spare.value();
        ShardSample {
            load: (part(self.cpu.ran, before.cpu.ran) - spinning).clamp(0.0, 1.0),
            spinning: spinning.min(1.0),
            waiting: part(self.cpu.waited, before.cpu.waited).min(1.0),
            connections: server.connections_open(),
            in_flight: server.in_flight(),
            requests: durations.count() as f64 / second,
            errors: rate(self.errors, before.errors),
            received_bytes: rate(self.received_bytes, before.received_bytes),
            sent_bytes: rate(self.sent_bytes, before.sent_bytes),
            turns: rate(self.turns, before.turns),
            completions: rate(self.completions, before.completions),
            latency: Latency::of(durations),
            stalls: stats.stalls.value(),
            buffers_in_use: u64::from(running.buffer_count).saturating_sub(spare),
            mesh_depth: running.monitor.mesh_depth(ShardId(index)),
        }
    }
}

impl Latency {
    fn of(durations: &Durations) -> Latency {
        let micros = |quantile| {
            let duration = durations.quantile(quantile)?;
            Some((duration.as_secs_f64() * 1e7).round() / 10.0)
        };
        Latency { p50: micros(0.5), p99: micros(0.99), p999: micros(0.999) }
    }
}

/// The last slow requests of all shards, the newest first.
fn slowest(running: &Running) -> Vec<SlowSample> {
    let of_shard = |(id, server): (ShardId, &ServerStats)| {
        server.slow.copy().into_iter().map(move |slow| (id, slow))
    };
    let mut all: Vec<(ShardId, Slow)> = running.shards().flat_map(of_shard).collect();
    all.sort_by_key(|(_, slow)| std::cmp::Reverse(slow.ended));
    let (now, wall) = (running.monitor.now(), unix_millis(SystemTime::now()));
    let millis = |duration: Duration| (duration.as_secs_f64() * 1e5).round() / 100.0;
    let named = all.into_iter().take(NAMED_MAX).map(|(shard, slow)| SlowSample {
        shard: shard.0,
        route: slow.route,
        class: slow.class,
        count: slow.count,
        at: wall.saturating_sub((now - slow.ended).as_millis() as u64),
        receive: millis(slow.receive),
        handle: millis(slow.handle),
        send: millis(slow.send),
    });
    named.collect()
}

fn unix_millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

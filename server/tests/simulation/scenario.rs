//! One run: a world, a server and its clients, all of them from one seed.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::time::Duration;

use corelane::ServerConfig;
use corelane::runtime::ShardConfig;
use corelane::runtime::simulation::{Faults, Simulation, SimulationConfig};
use fastrand::Rng;

use crate::app::{self, app, open_ledger};
use crate::client::{Action, Client, Rules, Tally};
use crate::exchange::BODY_BYTES_MAX;

/// When and how a run drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drain {
    /// Once everybody is done.
    AtTheEnd,
    /// In the middle, for as long as it takes.
    At(Duration),
    /// In the middle; what has not ended by then is cut off.
    Impatient(Duration, Duration),
}

/// By when whoever asks without dawdling has all answers, where nobody has to wait for room.
const PROMPT: Duration = Duration::from_secs(5);

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    /// Of everything that the clients received, and when it ended: the same for the same seed.
    pub(crate) trace: u64,
}

fn address() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 80))
}

/// How the world misbehaves.
fn faults(random: &mut Rng) -> Faults {
    let mut faults = match random.u8(0..8) {
        0 => Faults::default(),
        1..5 => Faults::harmless(),
        5 | 6 => Faults::all(),
        // A storm: hardly anything works the first time.
        _ => Faults {
            partial_send: 0.7,
            partial_receive: 0.7,
            no_buffer: 0.5,
            multishot_end: 0.5,
            accept_failure: 0.5,
            interruption: 0.3,
            ..Faults::harmless()
        },
    };
    if random.u8(0..4) == 0 {
        (faults.stall, faults.stall_max) = (0.05, Duration::from_millis(20));
    }
    if random.u8(0..4) == 0 {
        faults.echo = 0.5;
    }
    if faults.reset > 0.0 && random.bool() {
        faults.no_memory = 0.005;
    }
    faults
}

/// Small shards, so that every bound is soon met.
fn world(random: &mut Rng) -> SimulationConfig {
    SimulationConfig {
        shard_count: random.usize(1..4),
        shard: ShardConfig {
            buffer_count: random.u16(1..12),
            buffer_bytes: random.u32(32..512),
            unread_bytes_max: random.usize(64..2048),
            spare_buffer_count_max: random.usize(0..8),
            mesh_job_count_max: random.usize(1..4),
            ..ShardConfig::default()
        },
        offload_job_count_max: random.usize(1..4),
        faults: faults(random),
        socket_bytes_max: random.usize(64..4096),
        step_count_max: 2_000_000,
        permits_panics: false,
    }
}

fn server(random: &mut Rng, has_short_deadlines: bool) -> ServerConfig {
    let mut config = ServerConfig {
        body_bytes_max: BODY_BYTES_MAX as u64,
        pipelined_max: random.usize(1..10),
        unsent_bytes_max: [128, 1024, 64 * 1024][random.usize(0..3)],
        connections_max: random.bool().then(|| random.usize(1..5)),
        ..ServerConfig::default()
    };
    if has_short_deadlines {
        let mut short = || Duration::from_millis(random.u64(1..120));
        config.first_byte_timeout = short();
        config.head_timeout = short();
        config.idle_timeout = short();
        config.body_timeout = short();
        config.send_timeout = short();
        config.linger_timeout = short();
    }
    config
}

fn drain(random: &mut Rng) -> Drain {
    let moment = Duration::from_micros(random.u64(0..40_000));
    match random.u8(0..6) {
        0..3 => Drain::AtTheEnd,
        3 | 4 => Drain::At(moment),
        _ => Drain::Impatient(moment, Duration::from_millis(random.u64(0..100))),
    }
}

/// Runs a seed.
///
/// # Panics
/// Where anything does not hold.
pub(crate) fn run(seed: u64) -> Outcome {
    let mut random = Rng::with_seed(seed);
    let config = world(&mut random);
    let has_short_deadlines = random.u8(0..4) == 0;
    let server = server(&mut random, has_short_deadlines);
    let drain = drain(&mut random);
    let is_reliable = config.faults.reset == 0.0
        && !has_short_deadlines
        && !matches!(drain, Drain::Impatient(..));
    let has_room = server.connections_max.is_none();
    open_ledger(server.connections_max.unwrap_or(usize::MAX));
    let shard_count = config.shard_count;
    let mut simulation = Simulation::new(seed, config);
    let stats = app().config(server).simulate(&mut simulation, shard_count, address());
    let stats = stats.expect("it starts");
    let (mut clients, actions) = clients(&mut random);
    let is_crowd = clients.len() > 16;
    let drain_begin = match drain {
        // Who gets no buffer for a quarter of a second counts as idle while its shard drains, and
        // is closed: with a handful of buffers for a crowd that happens.
        Drain::At(_) if is_crowd => Some(Duration::ZERO),
        Drain::At(moment) => Some(moment),
        _ => None,
    };
    let rules = Rules { is_reliable, drain: drain_begin };
    let start = simulation.now();
    play(&mut simulation, &mut clients, actions, drain);
    if is_reliable && has_room && !is_crowd {
        // Long before the first deadline: what is only found when one passes was forgotten.
        simulation.run_to(start + PROMPT);
        clients.iter().for_each(|client| client.check_prompt(rules));
    }
    match drain {
        Drain::Impatient(..) => simulation.stop_and_check(),
        _ => {
            simulation.run_until_idle();
            for client in clients.iter().filter(|client| client.is_watching()) {
                let is_ended = client.peer.as_ref().is_none_or(|peer| peer.ending().is_some());
                assert!(is_ended, "{client:?} is left alone with its connection");
            }
            simulation.drain_and_check();
        }
    }
    let mut tally = Tally::default();
    clients.iter().for_each(|client| client.check(rules, &mut tally));
    assert_eq!(app::violations(), Vec::<String>::new());
    let panics: u64 = stats.iter().map(|stats| stats.handler_panics.value()).sum();
    let planned = clients.iter().flat_map(|client| &client.exchanges).filter(|exchange| {
        exchange.request.starts_with(b"GET /panic") && app::calls(exchange.number) > 0
    });
    assert!(panics <= planned.count() as u64, "a handler panicked that was not to");
    Outcome { tally, trace: trace(&simulation, &clients) }
}

type Actions = Vec<(Duration, usize, Action)>;

/// A handful of clients, sometimes many, and all that they do in the order of its moments.
fn clients(random: &mut Rng) -> (Vec<Client>, Actions) {
    let count = match random.u8(0..100) {
        0 => random.usize(50..150),
        1..10 => random.usize(10..30),
        _ => random.usize(1..8),
    };
    let mut actions = Actions::new();
    let clients = (0..count).map(|index| {
        let (client, own) = Client::new(random, index as u64);
        actions.extend(own.into_iter().map(|(moment, action)| (moment, index, action)));
        client
    });
    let clients = clients.collect();
    // Stable: what one client does at the same moment stays in its order.
    actions.sort_by_key(|(moment, ..)| *moment);
    (clients, actions)
}

/// Has the clients do what they do, and the shards drain when they must.
fn play(simulation: &mut Simulation, clients: &mut [Client], actions: Actions, drain: Drain) {
    let start = simulation.now();
    let mut pending = match drain {
        Drain::AtTheEnd => None,
        Drain::At(moment) => Some((moment, Duration::MAX)),
        Drain::Impatient(moment, patience) => Some((moment, patience)),
    };
    for (moment, index, action) in actions {
        if let Some((begin, patience)) = pending.filter(|(begin, _)| *begin <= moment) {
            simulation.run_to(start + begin);
            simulation.drain(patience);
            pending = None;
        }
        if matches!(drain, Drain::Impatient(..)) && simulation.is_finished() {
            return;
        }
        simulation.run_to(start + moment);
        if matches!(action, Action::Connect) {
            clients[index].peer = simulation.connect(address());
        }
        clients[index].act(action);
    }
    if let Some((begin, patience)) = pending {
        simulation.run_to(start + begin);
        simulation.drain(patience);
    }
    if let Drain::Impatient(..) = drain {
        while !simulation.is_finished() {
            simulation.step();
        }
    }
}

fn trace(simulation: &Simulation, clients: &[Client]) -> u64 {
    let mut hasher = DefaultHasher::new();
    simulation.now().hash(&mut hasher);
    for peer in clients.iter().filter_map(|client| client.peer.as_ref()) {
        peer.received().hash(&mut hasher);
    }
    hasher.finish()
}

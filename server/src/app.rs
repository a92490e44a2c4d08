//! The application: routes, per-shard state, settings; and how it is started.

use std::future::Future;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corelane_runtime::{
    Address, Balance, BoundSockets, CheckedConfig, Config, ConfigError, Cores, Handle, Listener,
    Mesh, OffloadConfig, OffloadStats, Shard, ShardConfig, ShardSockets, SignalWatch, StartError,
    Stats, Stopper, Topology, launch,
};

use crate::addresses::IntoAddresses;
use crate::admin::{self, Admin, AdminServer, Running, Settings, View};
use crate::config::{ServerConfig, connections_max};
use crate::error::{BoxError, Error, Result};
use crate::files::Files;
use crate::handler::Handler;
use crate::log::{self, AccessLog, Recorders};
use crate::middleware::Layer;
use crate::router::{MethodRouter, Router, Table, TrailingSlash};
use crate::serve::{self, Site};
use crate::state::{Reach, StateMaker};
use crate::stats::ServerStats;

/// An application to be served.
///
/// ```no_run
/// use corelane::{App, Json, Path, get};
///
/// fn main() -> corelane::Result<()> {
///     App::new()
///         .route("/plaintext", get(async || "Hello, World!"))
///         .route("/twice/{number}", get(async |Path(number): Path<i64>| Json(number * 2)))
///         .serve("127.0.0.1:8080")
/// }
/// ```
#[derive(Default)]
pub struct App {
    router: Router,
    trailing_slash: TrailingSlash,
    runtime: Config,
    server: ServerConfig,
    addresses: Vec<Address>,
    admin: Option<Admin>,
    is_quiet: bool,
    pub(crate) access_log: Option<AccessLog>,
}

impl App {
    /// An application without routes, on every CPU that the process may use.
    pub fn new() -> App {
        App::default()
    }

    /// Routes a path to its handlers.
    ///
    /// `{name}` stands for one segment, `{*name}` at the end for the rest of the path. Static
    /// segments win over parameters. Two routes that match the same paths are an error at start.
    #[must_use]
    pub fn route(mut self, path: &str, methods: MethodRouter) -> App {
        self.router = self.router.route(path, methods);
        self
    }

    /// Serves a directory, by its path or as [`files`](crate::files()) makes it, at and below a
    /// prefix; `/` for all of the site. Routes win over files.
    ///
    /// A directory that does not exist is an error at start.
    #[must_use]
    pub fn files(mut self, prefix: &str, files: impl Into<Files>) -> App {
        self.router = self.router.files(prefix, files);
        self
    }

    /// Puts the routes of a router below a prefix: see [`Router::nest`].
    #[must_use]
    pub fn nest(mut self, prefix: &str, router: Router) -> App {
        self.router = self.router.nest(prefix, router);
        self
    }

    /// Adds the routes of a router: see [`Router::merge`].
    #[must_use]
    pub fn merge(mut self, router: Router) -> App {
        self.router = self.router.merge(router);
        self
    }

    /// Answers whatever no route answers, in the place of 404: see [`Router::fallback`].
    #[must_use]
    pub fn fallback<A: 'static>(mut self, handler: impl Handler<A>) -> App {
        self.router = self.router.fallback(handler);
        self
    }

    /// Puts middleware around everything that was added before: see [`Router::layer`].
    ///
    /// A request that breaks a rule of the protocol is refused before any middleware sees it.
    #[must_use]
    pub fn layer(mut self, layer: impl Layer) -> App {
        self.router = self.router.layer(layer);
        self
    }

    /// Puts middleware around the handlers of the routes that were added before: see
    /// [`Router::route_layer`].
    #[must_use]
    pub fn route_layer(mut self, layer: impl Layer) -> App {
        self.router = self.router.route_layer(layer);
        self
    }

    /// What becomes of a path that would be a route but for a slash at its end. Default: it is not
    /// found.
    #[must_use]
    pub fn trailing_slash(mut self, policy: TrailingSlash) -> App {
        self.trailing_slash = policy;
        self
    }

    /// Makes a value on every shard before it accepts connections; handlers take it as
    /// [`State`](crate::State). It may be `!Send`: each shard has its own.
    #[must_use]
    pub fn state<T, F>(mut self, make: impl Fn(Rc<Shard>) -> F + Send + Sync + 'static) -> App
    where
        T: 'static,
        F: Future<Output = T> + 'static,
    {
        self.router = self.router.state(make);
        self
    }

    /// As [`state`](App::state), for what can fail: the first failure is the error of the start.
    #[must_use]
    pub fn try_state<T, E, F>(
        mut self,
        make: impl Fn(Rc<Shard>) -> F + Send + Sync + 'static,
    ) -> App
    where
        T: 'static,
        E: Into<BoxError>,
        F: Future<Output = Result<T, E>> + 'static,
    {
        self.router = self.router.try_state(make);
        self
    }

    /// Which CPUs get a shard. Default: every CPU that the process may use.
    #[must_use]
    pub fn cores(mut self, cores: Cores) -> App {
        self.runtime.cores = cores;
        self
    }

    /// The size of each shard.
    #[must_use]
    pub fn shard(mut self, shard: ShardConfig) -> App {
        self.runtime.shard = shard;
        self
    }

    /// The threads that [`offload`](crate::offload) runs jobs on.
    #[must_use]
    pub fn offload(mut self, offload: OffloadConfig) -> App {
        self.runtime.offload = offload;
        self
    }

    /// Limits and deadlines.
    #[must_use]
    pub fn config(mut self, config: ServerConfig) -> App {
        self.server = config;
        self
    }

    /// Which shard serves a connection. Default: the one that the kernel chose by a hash. The same
    /// as [`ListenConfig::balance`](corelane_runtime::ListenConfig) of the server's settings.
    #[must_use]
    pub fn balance(mut self, balance: Balance) -> App {
        self.server.listen.balance = balance;
        self
    }

    /// One more address to listen on, beside the one that is given when the server is started.
    #[must_use]
    pub fn listen(mut self, address: Address) -> App {
        self.addresses.push(address);
        self
    }

    /// An address for metrics, health, and a live page of the cores, on threads beside the shards.
    /// Default: none.
    ///
    /// ```no_run
    /// # fn main() -> corelane::Result<()> {
    /// use corelane::{Address, App};
    ///
    /// let admin: Address = "127.0.0.1:9090".parse()?;
    /// App::new().admin(admin).serve("0.0.0.0:8080")
    /// # }
    /// ```
    #[must_use]
    pub fn admin(mut self, admin: impl Into<Admin>) -> App {
        self.admin = Some(admin.into());
        self
    }

    /// Prints nothing when [`serve`](App::serve) is ready.
    #[must_use]
    pub fn quiet(mut self) -> App {
        self.is_quiet = true;
        self
    }

    /// Serves until SIGTERM or SIGINT, then drains; a second signal stops at once.
    ///
    /// Listens on one address or several ([`IntoAddresses`]), beside those of
    /// [`listen`](App::listen). Prints one line to standard output when it is ready.
    ///
    /// # Errors
    /// A setting or route that can not be obeyed, an address that can not be listened on, a
    /// machine without io_uring, a shard that failed.
    pub fn serve(self, addresses: impl IntoAddresses) -> Result<()> {
        let (is_quiet, patience) = (self.is_quiet, self.server.drain_timeout);
        let server = self.start(addresses)?;
        server.reopen_access_log_on_signals()?;
        let signals = SignalWatch::new(server.stopper(), patience);
        let _signals = signals.map_err(corelane_runtime::RuntimeError::Thread)?;
        if !is_quiet {
            use std::io::Write;
            // A closed standard output must not end the server.
            let _ = writeln!(std::io::stdout(), "{}", server.ready_line());
        }
        server.join()
    }

    /// Starts the server and returns, for programs that have threads and signals of their own.
    ///
    /// # Errors
    /// As [`serve`](App::serve).
    pub fn start(mut self, addresses: impl IntoAddresses) -> Result<Server> {
        self.addresses.splice(..0, addresses.into_addresses()?);
        if self.addresses.is_empty() {
            return Err(ConfigError::new("listen", "name at least one address").into());
        }
        self.server.check()?;
        self.router.check(self.trailing_slash)?;
        let topology = Topology::detect();
        let checked = self.runtime.checked(&topology)?;
        let (shard_count, buffer_count) = (checked.cpus().len(), checked.shard().buffer_count);
        let sockets = BoundSockets::bind(&self.addresses, shard_count, &self.server.listen)?;
        let addresses = sockets.addresses().to_vec();
        let connections_max = connections_max(&self.server, shard_count)?;
        let admin = match &self.admin {
            Some(admin) => {
                let server = &self.server;
                Some(start_admin(admin, server, &checked, &addresses, connections_max)?)
            }
            None => None,
        };
        let stats: Vec<Arc<ServerStats>> = (0..shard_count).map(|_| Arc::default()).collect();
        let (access_log, recorders) = log::start(self.access_log, shard_count)?;
        let plan = Arc::new(Plan {
            recorders,
            states: self.router.take_states(),
            router: self.router,
            trailing_slash: self.trailing_slash,
            config: Arc::new(self.server),
            connections_max,
            sockets: Mutex::new(Some(sockets)),
            stats: stats.clone(),
        });
        let drain_timeout = plan.config.drain_timeout;
        let handle = launch(&checked, move |shard| start_shard(shard, Arc::clone(&plan)))?;
        let cpus = checked.cpus().to_vec();
        if let Some(admin) = &admin {
            let (monitor, servers, cpus) = (handle.monitor(), stats.clone(), cpus.clone());
            admin.view().begin(Running { monitor, servers, cpus, buffer_count });
        }
        Ok(Server { handle, addresses, cpus, stats, drain_timeout, admin, access_log })
    }
}

#[cfg(feature = "simulation")]
impl App {
    /// Serves on every shard of a simulation.
    ///
    /// # Errors
    /// A setting or route that can not be obeyed.
    pub fn simulate(
        mut self,
        simulation: &mut corelane_runtime::simulation::Simulation,
        shard_count: usize,
        address: std::net::SocketAddr,
    ) -> Result<Vec<Arc<ServerStats>>> {
        self.server.check()?;
        self.router.check(self.trailing_slash)?;
        let stats: Vec<Arc<ServerStats>> = (0..shard_count).map(|_| Arc::default()).collect();
        let plan = Rc::new(Plan {
            recorders: Recorders::default(),
            states: self.router.take_states(),
            router: self.router,
            trailing_slash: self.trailing_slash,
            connections_max: self.server.connections_max.unwrap_or(usize::MAX),
            config: Arc::new(self.server),
            sockets: Mutex::new(None),
            stats: stats.clone(),
        });
        for index in 0..shard_count {
            let id = corelane_runtime::ShardId(index);
            let (plan, shard) = (Rc::clone(&plan), Rc::clone(simulation.shard(id)));
            let listeners = vec![simulation.listen(id, address)];
            let opened = async move { open_site(&shard, &plan, listeners).await };
            simulation.block_on(id, opened).map_err(corelane_runtime::RuntimeError::Start)?;
        }
        Ok(stats)
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("runtime", &self.runtime).finish_non_exhaustive()
    }
}

/// What every shard starts from.
struct Plan {
    recorders: Recorders,
    router: Router,
    trailing_slash: TrailingSlash,
    states: Vec<StateMaker>,
    config: Arc<ServerConfig>,
    connections_max: usize,
    sockets: Mutex<Option<BoundSockets>>,
    stats: Vec<Arc<ServerStats>>,
}

impl Plan {
    fn take_sockets(&self) -> Option<ShardSockets> {
        // A poisoned lock: another shard panicked while it started, and all are about to stop.
        self.sockets.lock().ok()?.as_mut()?.pop_shard()
    }
}

async fn start_shard(shard: Rc<Shard>, plan: Arc<Plan>) -> Result<(), StartError> {
    let Some(sockets) = plan.take_sockets() else { return Ok(()) };
    open_site(&shard, &plan, sockets.into_listeners()).await
}

/// Makes the shard's state and routes, then begins to accept.
async fn open_site(
    shard: &Rc<Shard>,
    plan: &Plan,
    listeners: Vec<Listener>,
) -> Result<(), StartError> {
    for make in &plan.states {
        make(Rc::clone(shard), Reach::Shard).await?;
    }
    let table = Table::build(&plan.router, plan.trailing_slash, shard).await?;
    let stats = Arc::clone(&plan.stats[shard.id().0]);
    let site = Site::new(
        Arc::clone(&plan.config),
        table,
        stats,
        plan.connections_max,
        plan.recorders.take(shard.id()),
    );
    let site = Rc::new(site);
    let tally = Rc::clone(&site.tally);
    shard.on_turn_end(move |end| tally.settle(end));
    for listener in listeners {
        shard.spawn(serve::accept(Rc::clone(shard), Rc::clone(&site), listener));
    }
    Ok(())
}

/// It answers before there is a shard: that it is not ready.
fn start_admin(
    admin: &Admin,
    server: &ServerConfig,
    checked: &CheckedConfig,
    addresses: &[Address],
    connections_max: usize,
) -> Result<AdminServer, corelane_runtime::RuntimeError> {
    let config = admin::describe(&Settings {
        addresses,
        cpus: checked.cpus(),
        server,
        connections_max,
        shard: checked.shard(),
        offload: checked.offload(),
        shown: &admin.shown,
    });
    AdminServer::start(admin, checked, Arc::new(View::new(config)))
}

/// A running server. Dropping it stops it at once; [`join`](Server::join) waits for its end.
#[derive(Debug)]
pub struct Server {
    handle: Handle,
    addresses: Vec<Address>,
    cpus: Vec<usize>,
    stats: Vec<Arc<ServerStats>>,
    drain_timeout: Duration,
    /// Behind the handle: it answers until the last shard has ended.
    admin: Option<AdminServer>,
    pub(crate) access_log: Option<log::Writer>,
}

impl Server {
    /// Where it listens, with the ports that were chosen where port zero was asked for.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Where the admin address listens, if there is one.
    pub fn admin_address(&self) -> Option<&Address> {
        self.admin.as_ref().map(AdminServer::address)
    }

    /// How many shards serve.
    pub fn shard_count(&self) -> usize {
        self.handle.shard_count()
    }

    /// The runtime's counters of each shard, by its number.
    pub fn runtime_stats(&self) -> &[Arc<Stats>] {
        self.handle.stats()
    }

    /// What the program's other threads send jobs to the shards with.
    pub fn mesh(&self) -> Mesh {
        self.handle.mesh()
    }

    /// What the offload pool does, and has done.
    pub fn offload_stats(&self) -> OffloadStats {
        self.handle.offload_stats()
    }

    /// The server's counters of each shard, by its number.
    pub fn stats(&self) -> &[Arc<ServerStats>] {
        &self.stats
    }

    /// What ends the server from any thread.
    pub fn stopper(&self) -> Stopper {
        self.handle.stopper()
    }

    /// Begins to drain: takes no new connections, finishes what is in flight, closes what is idle;
    /// after [`ServerConfig::drain_timeout`] it ends with whatever is unfinished.
    pub fn drain(&self) {
        self.handle.stopper().drain(self.drain_timeout);
    }

    /// Waits until every shard has ended.
    ///
    /// # Errors
    /// The first shard's error where one failed.
    pub fn join(self) -> Result<()> {
        let Server { handle, admin, .. } = self;
        let ended = handle.join().map_err(Error::from);
        drop(admin);
        ended
    }

    /// One line for people and scripts: where it listens, and on which CPUs.
    pub fn ready_line(&self) -> String {
        let link = |address: &Address| match address {
            Address::Tcp(address) => format!("http://{address}"),
            Address::Unix(_) => address.to_string(),
        };
        let addresses: Vec<String> = self.addresses.iter().map(link).collect();
        let count = self.cpus.len();
        let shards = if count == 1 { "shard" } else { "shards" };
        let cpus: Vec<String> = self.cpus.iter().map(usize::to_string).collect();
        format!(
            "corelane listens on {} with {count} {shards} on CPU {}",
            addresses.join(" and "),
            cpus.join(",")
        )
    }
}

//! The application: routes, per-shard state, settings; and how it is started.

use std::cell::RefCell;
use std::future::Future;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use corelane_runtime::{
    Address, Balance, BoundSockets, CheckedConfig, Config, ConfigError, Cores, Inherited, Listener,
    OffloadConfig, Restart, Shard, ShardConfig, StartError, Topology, launch,
};

use crate::addresses::IntoAddresses;
use crate::admin::{self, Admin, AdminServer, Running, Settings, View};
use crate::config::{ServerConfig, connections_max};
use crate::error::{BoxError, Result};
use crate::files::Files;
use crate::handler::Handler;
use crate::middleware::Layer;
use crate::overload::Concurrency;
use crate::process::Process;
use crate::records::{self, Recorders};
use crate::router::{MethodRouter, Router, Table, TrailingSlash};
use crate::serve::{self, Site, Sites};
use crate::server::Server;
use crate::state::{Reach, StateMaker};
use crate::stats::{ServerStats, ShardStats};

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
    /// Where to listen; `None` stands for the application's own settings.
    listeners: Vec<(Address, Option<ServerConfig>)>,
    admin: Option<Admin>,
    is_quiet: bool,
    /// What is to be recorded of each exchange.
    pub(crate) records: records::Wanted,
    inherits: bool,
    pid_file: Option<PathBuf>,
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

    /// Limits and deadlines, for every listener that has none of its own.
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

    /// How many requests a shard takes on at once. Default: all that come. The same as
    /// [`OverloadConfig::concurrency_max`](crate::OverloadConfig) of the server's settings.
    #[must_use]
    pub fn concurrency_max(mut self, concurrency: Concurrency) -> App {
        self.server.overload.concurrency_max = concurrency;
        self
    }

    /// One more address to listen on, beside the one that is given when the server is started.
    #[must_use]
    pub fn listen(mut self, address: Address) -> App {
        self.listeners.push((address, None));
        self
    }

    /// As [`listen`](App::listen), with limits and deadlines of its own: narrow ones for an address
    /// that anybody reaches, wide ones for one that only a proxy or a colleague does.
    ///
    /// A limit that a route sets for its bodies holds whatever the listener. The drain is one for
    /// all: [`ServerConfig::drain_timeout`] counts in the application's settings alone.
    ///
    /// ```no_run
    /// use corelane::{Address, App, ServerConfig, get};
    ///
    /// fn main() -> corelane::Result<()> {
    ///     let mut uploads = ServerConfig { body_bytes_max: 1 << 30, ..ServerConfig::default() };
    ///     uploads.limits.head_bytes_max = 64 * 1024;
    ///     App::new()
    ///         .route("/", get(async || "Hello, World!"))
    ///         .listen_with(Address::Unix("/run/app.sock".into()), uploads)
    ///         .serve("0.0.0.0:8080")
    /// }
    /// ```
    #[must_use]
    pub fn listen_with(mut self, address: Address, config: ServerConfig) -> App {
        self.listeners.push((address, Some(config)));
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

    /// Takes the listening sockets that a predecessor or systemd hands to this process, where an
    /// address of theirs is listened on; [`serve`](App::serve) always does. Once a process.
    #[must_use]
    pub fn inherit(mut self) -> App {
        self.inherits = true;
        self
    }

    /// Keeps the process's number in a file while [`serve`](App::serve) or
    /// [`Server::run`] serves: for `corelane restart --pid-file`.
    #[must_use]
    pub fn pid_file(mut self, path: impl Into<PathBuf>) -> App {
        self.pid_file = Some(path.into());
        self
    }

    /// Serves until SIGTERM or SIGINT, then drains; a second signal stops at once. SIGUSR2 starts
    /// the program anew and hands the listening sockets over ([`Server::run`]).
    ///
    /// Listens on one address or several ([`IntoAddresses`]), beside those of
    /// [`listen`](App::listen). Prints one line to standard output when it is ready.
    ///
    /// # Errors
    /// A setting or route that can not be obeyed, an address that can not be listened on, a
    /// machine without io_uring, a shard that failed.
    pub fn serve(self, addresses: impl IntoAddresses) -> Result<()> {
        let is_quiet = self.is_quiet;
        let server = self.inherit().start(addresses)?;
        server.run_announced(|server| {
            use std::io::Write;
            if !is_quiet {
                // A closed standard output must not end the server.
                let _ = writeln!(std::io::stdout(), "{}", server.ready_line());
            }
        })
    }

    /// Starts the server and returns, for programs that have threads and signals of their own.
    ///
    /// # Errors
    /// As [`serve`](App::serve).
    pub fn start(mut self, addresses: impl IntoAddresses) -> Result<Server> {
        let addresses = addresses.into_addresses()?.into_iter();
        self.listeners.splice(..0, addresses.map(|address| (address, None)));
        if self.listeners.is_empty() {
            return Err(ConfigError::new("listen", "name at least one address").into());
        }
        let own = self.listeners.iter().filter_map(|(_, config)| config.as_ref());
        [&self.server].into_iter().chain(own).try_for_each(ServerConfig::check)?;
        self.router.check(self.trailing_slash)?;
        let topology = Topology::detect();
        let checked = self.runtime.checked(&topology)?;
        let (shard_count, buffer_count) = (checked.cpus().len(), checked.shard().buffer_count);
        let mut inherited = if self.inherits { Inherited::take()? } else { Inherited::default() };
        let predecessor = inherited.take_predecessor();
        let asked: Vec<Address> = self.listeners.iter().map(|(one, _)| one.clone()).collect();
        inherited.expect(&asked);
        let config = Arc::new(self.server);
        let mut bound = Vec::new();
        for (address, own) in self.listeners {
            let config = own.map_or_else(|| Arc::clone(&config), Arc::new);
            let listen = &config.listen;
            let sockets = BoundSockets::prepare(&[address], shard_count, listen, &mut inherited)?;
            bound.push((sockets, config));
        }
        inherited.close_rest();
        let of_all = || bound.iter().map(|(sockets, _)| sockets);
        let addresses: Vec<Address> = of_all().flat_map(BoundSockets::addresses).cloned().collect();
        let names: Vec<_> = of_all().flat_map(BoundSockets::names).cloned().collect();
        let connections_max = connections_max(&config, &checked)?;
        let admin = match &self.admin {
            Some(admin) => {
                let settings = (&*config, connections_max);
                start_admin(admin, settings, &checked, &addresses, predecessor.is_some())?
            }
            None => None,
        };
        let stats: Vec<Arc<ServerStats>> = (0..shard_count).map(|_| Arc::default()).collect();
        let (records, recorders) = records::start(self.records, &checked)?;
        let plan = Arc::new(Plan {
            recorders,
            states: self.router.take_states(),
            router: self.router,
            trailing_slash: self.trailing_slash,
            connections_max,
            slow_threshold: config.slow_threshold,
            stats: stats.clone(),
        });
        let drain_timeout = config.drain_timeout;
        let handle = launch(&checked, move |shard| start_shard(shard, Arc::clone(&plan)))?;
        let cpus = checked.cpus().to_vec();
        if let Some(admin) = &admin {
            let (monitor, servers, cpus) = (handle.monitor(), stats.clone(), cpus.clone());
            let metrics = records.metrics();
            admin.view().begin(Running { monitor, servers, cpus, buffer_count, metrics });
        }
        let restart = Restart::new(handle.mesh(), handle.stopper(), &names);
        let process = Process { predecessor, restart, pid_file: self.pid_file };
        let server =
            Server { handle, addresses, cpus, stats, drain_timeout, process, admin, records };
        server.open(bound)?;
        Ok(server)
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
        let config = Arc::new(self.server);
        let plan = Rc::new(Plan {
            recorders: Recorders::default(),
            states: self.router.take_states(),
            router: self.router,
            trailing_slash: self.trailing_slash,
            connections_max: config.connections_max.unwrap_or(usize::MAX),
            slow_threshold: config.slow_threshold,
            stats: stats.clone(),
        });
        for index in 0..shard_count {
            let id = corelane_runtime::ShardId(index);
            let (plan, shard) = (Rc::clone(&plan), Rc::clone(simulation.shard(id)));
            let config = Arc::clone(&config);
            let listeners = vec![simulation.listen(id, address)];
            let opened = async move {
                let mut sites = prepare_sites(&shard, &plan).await?;
                accept_from(&shard, &sites.of(&config), listeners);
                Ok(())
            };
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
    connections_max: usize,
    slow_threshold: Duration,
    stats: Vec<Arc<ServerStats>>,
}

/// Makes all that a shard needs before it accepts; the shard keeps it.
async fn start_shard(shard: Rc<Shard>, plan: Arc<Plan>) -> Result<(), StartError> {
    let sites = prepare_sites(&shard, &plan).await?;
    shard.set_local(Rc::new(RefCell::new(sites)));
    Ok(())
}

/// Makes the shard's state and routes.
async fn prepare_sites(shard: &Rc<Shard>, plan: &Plan) -> Result<Sites, StartError> {
    for make in &plan.states {
        make(Rc::clone(shard), Reach::Shard).await?;
    }
    let table = Table::build(&plan.router, plan.trailing_slash, shard).await?;
    let stats = Arc::clone(&plan.stats[shard.id().0]);
    shard.set_local(Rc::new(ShardStats(Arc::clone(&stats))));
    let (connections_max, slow_threshold) = (plan.connections_max, plan.slow_threshold);
    let recorder = plan.recorders.take(shard.id());
    let sites = Sites::new(Rc::new(table), stats, connections_max, slow_threshold, recorder);
    let tally = Rc::clone(sites.tally());
    shard.on_turn_end(move |end| tally.settle(end));
    Ok(sites)
}

pub(crate) fn accept_from(shard: &Rc<Shard>, site: &Rc<Site>, listeners: Vec<Listener>) {
    for listener in listeners {
        shard.spawn(serve::accept(Rc::clone(shard), Rc::clone(site), listener));
    }
}

/// It answers before there is a shard: that it is not ready.
fn start_admin(
    admin: &Admin,
    (server, connections_max): (&ServerConfig, usize),
    checked: &CheckedConfig,
    addresses: &[Address],
    has_predecessor: bool,
) -> Result<Option<AdminServer>, corelane_runtime::RuntimeError> {
    let config = admin::describe(&Settings {
        addresses,
        cpus: checked.cpus(),
        server,
        connections_max,
        shard: checked.shard(),
        offload: checked.offload(),
        shown: &admin.shown,
    });
    AdminServer::start(admin, checked, Arc::new(View::new(config)), has_predecessor)
}

//! The wiring of one node, top to bottom.
//!
//! ```text
//!   bind every listener -> open the store -> the crew (actors) -> a door for each listener
//! ```
//!
//! Listeners come first, because a port that is taken is the mistake people make, and nothing has been touched then.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use ottla_actors::crew::{self, Crew};
use ottla_actors::partition::{LookUp, Wanted};
use ottla_actors::stage::directory::Directory;
use ottla_actors::stage::reply::Reply;
use ottla_actors::stage::shards::{Shard, Shards};
use ottla_config::{Config, Endpoint};
use ottla_host::{Host, Listener};
use ottla_rules::ids::{NodeId, PartitionId};
use ottla_rules::partition::ReadError;
use ottla_store::{FactsKind, OpenError, Store};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::admin::{self, Admin};
use crate::door::{Door, Hall};
use crate::drain::{CREW_MS, GUESTS_MS};
use crate::server::{Common, Server};

/// How long to wait before looking again whether the partitions are there: it doubles from one to the other.
const STEP_MS_MIN: u64 = 1;
const STEP_MS_MAX: u64 = 50;

/// Why a node did not start: one sentence for a person.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It cannot listen where it should: the port is taken, or the address is not this machine's.
    #[error("{0}")]
    Listen(io::Error),
    /// The data directory cannot be used.
    #[error("{0}")]
    Store(#[from] OpenError),
    /// The kernel gives no more threads.
    #[error("cannot start threads: {0}; allow this process more of them, or set shard.threads lower")]
    Threads(io::Error),
    /// What is in the data directory cannot be read.
    #[error("{0}")]
    Crew(#[from] crew::StartError),
}

/// One running broker.
pub struct Node {
    crew: Crew,
    hall: Hall,
    common: Arc<Common>,
    admin: Option<Admin>,
    gates: Vec<Gate>,
    id: NodeId,
    cluster: String,
    host: Host,
}

/// A listener on the control shard, which waits for its door. Dropping it closes the listener.
struct Gate {
    bound: SocketAddr,
    door: Option<oneshot::Sender<Arc<Door>>>,
    _open: oneshot::Sender<()>,
}

impl Node {
    /// Starts a node on this machine, inside of [`block_on`]. Clients are served when this returns: batches for
    /// partitions that are not recovered yet wait for that, other requests are answered NOT_LEADER_OR_FOLLOWER, which every client tries again.
    ///
    /// # Errors
    /// One sentence; nothing is left running then.
    pub async fn start(host: Host, config: Config) -> Result<Self, StartError> {
        // One core is left to the journal, the disk pool and the kernel's network.
        let left = || std::thread::available_parallelism().map_or(1, |cores| cores.get() - 1);
        let shards = Shards::arbiters(config.shards.unwrap_or_else(left)).map_err(StartError::Threads)?;
        Self::start_in(host, config, FactsKind::Sled, shards).await
    }

    /// Starts a node in any world: its facts kept by `facts`, its actors on `shards`. With `Shards::local()` everything
    /// runs on the caller's `LocalSet`, and no actix system is needed.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub async fn start_in(
        host: Host,
        config: Config,
        facts: FactsKind,
        shards: Shards,
    ) -> Result<Self, StartError> {
        let (gates, store) = match prepare(&host, &config, facts, shards.control()).await {
            Ok(prepared) => prepared,
            Err(error) => {
                shards.join();
                return Err(error);
            }
        };
        let cluster = store.identity().cluster;
        let told: Vec<_> = config
            .advertise
            .iter()
            .zip(&gates)
            .map(|(endpoint, gate)| advertised(endpoint, gate.bound))
            .collect();
        let reached = match (told.first(), gates.first()) {
            (Some(Some(endpoint)), _) => endpoint.clone(),
            (_, Some(gate)) => named("PLAINTEXT", gate.bound),
            (_, None) => named("PLAINTEXT", SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        };
        let crew = Crew::start(host.clone(), &config, store, shards, &reached)?;
        let (common, id) = (Common::new(&config.limits), config.node_id);
        let hall = Hall::new(Arc::clone(&common.credit), crew.shards().count());
        let mut node = Self { crew, hall, common, admin: None, gates, id, cluster, host };
        node.wait_for_image().await;
        if let Some(endpoint) = &config.admin
            && let Err(error) = node.open_admin(endpoint).await
        {
            node.stop().await;
            return Err(StartError::Listen(error));
        }
        node.open(&config, told);
        Ok(node)
    }

    /// Opens the administrative listener: before the others, so that it can be asked how recovery goes.
    async fn open_admin(&mut self, endpoint: &Endpoint) -> io::Result<()> {
        let sources = admin::Sources {
            shared: self.crew.shared().clone(),
            hall: self.hall.clone(),
            common: Arc::clone(&self.common),
        };
        let admin = Admin::open(endpoint, self.crew.shards().control(), sources).await?;
        log::info!(address:% = admin.bound; "metrics and health are served");
        self.admin = Some(admin);
        Ok(())
    }

    /// Opens a door for each listener.
    fn open(&mut self, config: &Config, told: Vec<Option<Endpoint>>) {
        let shards = self.crew.shards().all();
        for ((endpoint, told), gate) in config.listen.iter().zip(told).zip(&mut self.gates) {
            let shared = self.crew.shared().clone();
            let server = Arc::new(Server::new(shared, config, told, Arc::clone(&self.common)));
            let door = Door::new(server, self.hall.clone(), shards.to_vec(), &endpoint.name);
            if let Some(waiting) = gate.door.take() {
                // The control shard ends after the gates are closed, so someone takes it.
                let _ = waiting.send(door);
            }
        }
    }

    /// Where the first listener really listens: with the port that was taken for port 0.
    ///
    /// # Panics
    /// Never: a configuration has at least one listener.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.gates[0].bound
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.id.0
    }

    /// The cluster it belongs to.
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        &self.cluster
    }

    /// Clients who were told that there are no topics would believe it: so the door opens after the image is there.
    async fn wait_for_image(&self) {
        let knows = |directory: &Directory| {
            let image = directory.image();
            image.cluster_id() == self.cluster && image.nodes().any(|node| node.id == self.id)
        };
        while !knows(self.crew.directory()) {
            self.pause(STEP_MS_MIN).await;
        }
    }

    async fn pause(&self, ms: u64) {
        let clock = &self.host.clock;
        clock.sleep_until(clock.now().mono_ms + ms).await;
    }

    /// Waits until every partition is recovered, or known to be offline; false when that takes longer than
    /// `patience_ms`.
    pub async fn wait_ready(&self, patience_ms: u64) -> bool {
        let deadline = self.host.clock.now().mono_ms.saturating_add(patience_ms);
        let image = self.crew.directory().image();
        let mut missing: Vec<PartitionId> = image
            .topics_by_name()
            .flat_map(|topic| (0..).zip(&topic.partitions).map(|(index, _)| (topic.id, index)))
            .map(|(topic, index)| PartitionId { topic, index })
            .collect();
        let mut step_ms = STEP_MS_MIN;
        loop {
            // Of a topic that was deleted meanwhile nobody will ever answer.
            let image = self.crew.directory().image();
            missing.retain(|partition| image.partition(*partition).is_some());
            missing = self.not_yet_here(missing).await;
            if missing.is_empty() {
                return true;
            }
            if self.host.clock.now().mono_ms >= deadline {
                return false;
            }
            self.pause(step_ms).await;
            step_ms = (step_ms * 2).min(STEP_MS_MAX);
        }
    }

    /// Those of `partitions` that nobody answers for: not started, or recovering.
    async fn not_yet_here(&self, partitions: Vec<PartitionId>) -> Vec<PartitionId> {
        let asked = partitions.into_iter().map(|partition| {
            let (reply, answer) = Reply::once();
            let look = LookUp { wanted: Wanted::Earliest, committed_only: false, current_epoch: None, reply };
            self.crew.directory().tell(partition, look);
            async move { matches!(answer.await, Err(ReadError::NotHere)).then_some(partition) }
        });
        // All are asked before the first answer is waited for.
        let asked: Vec<_> = asked.collect();
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// From now on SIGUSR2 makes the actor of partition 0 of the topic `ledger` panic. For tests of what happens then.
    ///
    /// # Errors
    /// When the kernel has no file descriptor left for it.
    #[cfg(feature = "provoke")]
    pub fn provoke_on_signal(&self) -> io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut asked = signal(SignalKind::user_defined2())?;
        let directory = self.crew.directory().clone();
        actix_rt::spawn(async move {
            while asked.recv().await.is_some() {
                let Some(topic) = directory.image().topic_named("ledger").map(|topic| topic.id) else {
                    continue;
                };
                directory.tell(PartitionId { topic, index: 0 }, ottla_actors::partition::Provoke);
            }
        });
        Ok(())
    }

    /// Leaves in order: no new connections, the answers in flight, the partitions synced, the store marked clean.
    /// Takes less than five seconds. False when something could not be finished; nothing acknowledged is lost then.
    pub async fn stop(self) -> bool {
        // The listeners are closed by this.
        drop(self.gates);
        self.hall.send_off();
        if timeout(Duration::from_millis(GUESTS_MS), self.hall.all_left()).await.is_err() {
            log::warn!(waited_ms = GUESTS_MS; "some clients did not take their last answers");
        }
        // Asked until here, it says that the node is leaving.
        drop(self.admin);
        self.crew.stop(CREW_MS).await
    }
}

impl Gate {
    /// Listens, on the control shard: a listener belongs to the thread it was bound on.
    async fn bind(host: &Host, control: &Shard, endpoint: &Endpoint) -> io::Result<Gate> {
        let (bound_to, bound) = oneshot::channel();
        let (door, waits_for_door) = oneshot::channel::<Arc<Door>>();
        let (open, closed) = oneshot::channel::<()>();
        let (host, endpoint) = (host.clone(), endpoint.clone());
        control.spawn(move || async move {
            let listener = match listen(&host, &endpoint).await {
                Ok(listener) => listener,
                Err(error) => return drop(bound_to.send(Err(error))),
            };
            let _ = bound_to.send(listener.local_addr());
            let serve = async {
                if let Ok(door) = waits_for_door.await {
                    door.keep(listener).await;
                }
            };
            // In one order: a simulated world tells the same story every time.
            tokio::select! {
                biased;
                _ = closed => (),
                () = serve => (),
            }
        });
        let ended = |_| io::Error::other("the control thread ended");
        let bound = bound.await.map_err(ended)??;
        Ok(Gate { bound, door: Some(door), _open: open })
    }
}

/// Listens everywhere and opens the data directory.
async fn prepare(
    host: &Host,
    config: &Config,
    facts: FactsKind,
    control: &Shard,
) -> Result<(Vec<Gate>, Store), StartError> {
    let mut gates = Vec::with_capacity(config.listen.len());
    for endpoint in &config.listen {
        gates.push(Gate::bind(host, control, endpoint).await.map_err(StartError::Listen)?);
    }
    let store = Store::open(host.disk.clone(), config.data_dir.clone(), facts, host.chance.clone())?;
    store.claim(config.node_id)?;
    Ok((gates, store))
}

/// Listens at an endpoint. No host is every address, of both kinds where the machine has both.
async fn listen(host: &Host, endpoint: &Endpoint) -> io::Result<Listener> {
    let port = endpoint.port;
    if endpoint.host.is_empty() {
        let both = host.net.bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await;
        return match both {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                host.net.bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).await
            }
            both => both,
        };
    }
    if let Ok(ip) = endpoint.host.parse::<IpAddr>() {
        return host.net.bind(SocketAddr::from((ip, port))).await;
    }
    let unknown = |why: &dyn std::fmt::Display| {
        let name = &endpoint.host;
        io::Error::other(format!(
            "cannot listen on {name}:{port}: {why}; configure an address of this machine"
        ))
    };
    let mut found =
        tokio::net::lookup_host((endpoint.host.as_str(), port)).await.map_err(|why| unknown(&why))?;
    let address = found.next().ok_or_else(|| unknown(&"the name has no address"))?;
    host.net.bind(address).await
}

/// What clients are told about a listener; nothing where the address by which they came is the best answer.
fn advertised(endpoint: &Endpoint, bound: SocketAddr) -> Option<Endpoint> {
    if matches!(endpoint.host.as_str(), "" | "0.0.0.0" | "::") {
        return None;
    }
    let port = if endpoint.port == 0 { bound.port() } else { endpoint.port };
    Some(Endpoint { port, ..endpoint.clone() })
}

fn named(name: &str, address: SocketAddr) -> Endpoint {
    Endpoint { name: name.to_owned(), host: address.ip().to_canonical().to_string(), port: address.port() }
}

/// Runs a future with everything that a node needs on this thread: a runtime, and an actix system around it.
///
/// # Panics
/// When the kernel has no file descriptors left for a runtime.
pub fn block_on<F: Future>(future: F) -> F::Output {
    // Nothing can run without a runtime, and whoever calls this has nothing to fall back on.
    let runtime = || ottla_host::runtime().unwrap_or_else(|error| panic!("cannot make a runtime: {error}"));
    actix_rt::System::with_tokio_rt(runtime).block_on(future)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpStream;
    use std::sync::Barrier;

    use ottla_actors::observe::look;
    use ottla_config::Sources;
    use ottla_host::Pool;

    use super::*;

    #[test]
    fn how_a_node_is_can_be_asked_while_the_disks_threads_are_busy() {
        let around = tempfile::tempdir().unwrap();
        let (here, elsewhere) = (around.path().join("data"), around.path().join("elsewhere"));
        let set = vec!["listeners=ONE://127.0.0.1:0".to_owned(), format!("log.dirs={}", here.display())];
        let config = Config::load(&Sources { set, ..Sources::default() }).unwrap();
        block_on(async {
            let host = Host::machine().unwrap();
            let node = Node::start(host.clone(), config).await.unwrap();
            let end = Arc::new(Barrier::new(Pool::THREADS + 1));
            for _ in 0..Pool::THREADS {
                let end = Arc::clone(&end);
                let job = move || _ = end.wait();
                host.pool.run(job).unwrap();
            }
            let shared = node.crew.shared();
            let seen = timeout(Duration::from_secs(30), look(shared)).await.expect("nobody answers");
            assert!(seen.free_bytes.is_some_and(|free| free > 0));
            assert_eq!(seen.unready(), None);
            // And somebody goes on looking how much space is left: a disk that is full is noticed.
            std::fs::rename(&here, &elsewhere).unwrap();
            while shared.space().is_some() {
                node.pause(STEP_MS_MIN).await;
            }
            std::fs::rename(&elsewhere, &here).unwrap();
            end.wait();
            assert!(node.stop().await);
        });
    }

    #[test]
    fn an_address_is_the_same_by_a_listener_for_both_kinds() {
        let around = tempfile::tempdir().unwrap();
        let dir = format!("log.dirs={}", around.path().join("data").display());
        let listeners = "listeners=BOTH://:0,OLD://127.0.0.1:0";
        let set = [listeners, &dir, "max.connections.per.ip=1"];
        let sources = Sources { set: set.map(str::to_owned).to_vec(), ..Sources::default() };
        let config = Config::load(&sources).unwrap();
        block_on(async {
            let node = Node::start(Host::machine().unwrap(), config).await.unwrap();
            let door = |at: usize| (Ipv4Addr::LOCALHOST, node.gates[at].bound.port());
            let _inside = TcpStream::connect(door(0)).unwrap();
            while node.hall.count() < 1 {
                node.pause(STEP_MS_MIN).await;
            }
            let mut outside = TcpStream::connect(door(1)).unwrap();
            outside.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            assert_eq!(outside.read(&mut [0]).unwrap(), 0, "closed at once: one is here from there");
            assert!(node.stop().await);
        });
    }

    #[test]
    fn the_bounds_are_the_nodes_by_whichever_listener_people_come() {
        let around = tempfile::tempdir().unwrap();
        let dir = format!("log.dirs={}", around.path().join("data").display());
        let listeners = "listeners=ONE://127.0.0.1:0,TWO://127.0.0.1:0";
        let set = [listeners, &dir, "max.connections=2"];
        let sources = Sources { set: set.map(str::to_owned).to_vec(), ..Sources::default() };
        let config = Config::load(&sources).unwrap();
        block_on(async {
            let node = Node::start(Host::machine().unwrap(), config).await.unwrap();
            let doors: Vec<_> = node.gates.iter().map(|gate| gate.bound).collect();
            // They are let in by another thread, in the order in which each door heard of them.
            let _inside: Vec<_> = doors.iter().map(|door| TcpStream::connect(door).unwrap()).collect();
            while node.hall.count() < 2 {
                node.pause(STEP_MS_MIN).await;
            }
            for door in &doors {
                let mut outside = TcpStream::connect(door).unwrap();
                outside.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
                assert_eq!(outside.read(&mut [0]).unwrap(), 0, "closed at once");
            }
            assert!(node.stop().await);
        });
    }
}

//! Restarts of every replica under load, while the engine of their flags is dead.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::nats::Nats;
use crate::support::{Backsoon, Upstream, get, wait};

/// Replica whose listening socket outlives it, as under systemd.
struct Replica {
    socket: TcpListener,
    address: SocketAddr,
    running: Option<Backsoon>,
}

impl Replica {
    fn start(nats: &Nats, upstream: &Upstream) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let (url, fleet) = (upstream.url(), nats.table());
        let config = format!(
            "[[listen]]\naddress = \"{address}\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
             [routes.web]\nupstream = \"{url}\"\n[routes.shop]\npath = \"/shop\"\nupstream = \"{url}\"\n{fleet}"
        );
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("backsoon.toml"), config).unwrap();
        let mut replica = Self { socket, address, running: None };
        replica.run(dir);
        replica
    }

    fn run(&mut self, dir: tempfile::TempDir) {
        // The standard input brings the socket, so that nobody has to touch descriptors.
        let mut command = Command::new("sh");
        command.args(["-c", "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"", "sh"]);
        command.arg(env!("CARGO_BIN_EXE_backsoon")).args(["run", "--config"]).arg(dir.path().join("backsoon.toml"));
        command.stdin(Stdio::from(OwnedFd::from(self.socket.try_clone().unwrap())));
        self.running = Some(Backsoon::spawn_with_input(dir, command));
    }

    fn restart(&mut self) {
        let mut before = self.running.take().unwrap();
        before.signal("TERM");
        assert_eq!(before.wait_for_exit().code(), Some(0));
        let dir = std::mem::replace(&mut before.dir, tempfile::tempdir().unwrap());
        self.run(dir);
    }

    fn backsoon(&self) -> &Backsoon {
        self.running.as_ref().unwrap()
    }
}

#[test]
fn replicas_that_restart_under_load_without_their_engine_fail_no_request() {
    let Some(mut nats) = Nats::start("restarts without NATS are not tried") else { return };
    let mut client = nats.client();
    client.make_bucket();
    client.put("[routes]\nshop = \"offline\"\n");
    let upstream = Upstream::ok();
    let mut replicas: Vec<Replica> = (0..3).map(|_| Replica::start(&nats, &upstream)).collect();
    let closed = |replica: &Replica| replica.backsoon().route("shop")["phase"] == "closed";
    wait("all to have closed it", || replicas.iter().all(closed));
    nats.kill();
    wait("word that it is away", || {
        replicas.iter().all(|replica| replica.backsoon().status()["fleet"]["stale_since"].is_string())
    });
    let (over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let addresses: Vec<SocketAddr> = replicas.iter().map(|replica| replica.address).collect();
    thread::scope(|scope| {
        for &address in &addresses {
            for (path, status) in [("/", 200), ("/shop", 503)] {
                let (over, asked) = (&over, &asked);
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        assert_eq!(get(address, path).status, status, "{path} of {address}");
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        }
        for replica in &mut replicas {
            let before = asked.load(Ordering::Relaxed);
            replica.restart();
            assert!(closed(replica), "by its copy");
            wait("requests after the restart", || asked.load(Ordering::Relaxed) > before + 60);
        }
        over.store(true, Ordering::Relaxed);
    });
    eprintln!("3 restarts without the engine: {} requests, none failed", asked.load(Ordering::Relaxed));
    for replica in &replicas {
        assert_eq!(get(replica.backsoon().admin, "/readyz").status, 200);
        assert!(closed(replica));
    }
}

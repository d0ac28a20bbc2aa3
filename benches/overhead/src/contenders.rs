//! The proxies and references that are measured, with their processes, ports and pages.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::configs::{self, Ports};
use crate::machine::{self, Cores};
use crate::nursery::Nursery;
use crate::proc;

/// Kind of a contender or a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// No proxy: the load generator asks the upstream.
    Direct,
    /// The bare TCP forwarder.
    Floor,
    /// This project.
    Backsoon,
    /// nginx.
    Nginx,
    /// haproxy.
    Haproxy,
    /// caddy; only if it is named.
    Caddy,
    /// traefik; only if it is named.
    Traefik,
    /// envoy; only if it is named.
    Envoy,
}

impl Kind {
    /// All, in the order of the tables.
    pub(crate) const ALL: [Self; 8] = [
        Self::Direct,
        Self::Floor,
        Self::Backsoon,
        Self::Nginx,
        Self::Haproxy,
        Self::Caddy,
        Self::Traefik,
        Self::Envoy,
    ];

    /// Peers, which take part only if they are named.
    pub(crate) const PEERS: [Self; 3] = [Self::Caddy, Self::Traefik, Self::Envoy];

    /// Returns the name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Floor => "floor",
            Self::Backsoon => "backsoon",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Caddy => "caddy",
            Self::Traefik => "traefik",
            Self::Envoy => "envoy",
        }
    }

    /// Returns true if the contender speaks HTTP itself.
    pub(crate) fn is_proxy(self) -> bool {
        !matches!(self, Self::Direct | Self::Floor)
    }

    /// Returns true if the contender serves backsoon's page.
    pub(crate) fn serves_pages(self) -> bool {
        self.is_proxy() && !Self::PEERS.contains(&self)
    }
}

/// A running contender.
#[derive(Debug)]
pub(crate) struct Contender {
    /// Kind of the contender.
    pub(crate) kind: Kind,
    /// The process whose CPU time and memory count: nginx's worker. `None` for direct.
    pub(crate) pid: Option<u32>,
    /// The process to end: nginx's master. 0 for direct.
    pub(crate) process: u32,
    /// Ports on which it listens.
    pub(crate) ports: Ports,
}

/// Surroundings in which contenders start.
#[derive(Debug)]
pub(crate) struct Setup<'g> {
    /// Owner of the processes.
    pub(crate) nursery: &'g Nursery,
    /// The program of backsoon.
    pub(crate) backsoon: PathBuf,
    /// Folder of the configs.
    pub(crate) configs: PathBuf,
    /// Cores of the proxy and of everything else.
    pub(crate) cores: &'g Cores,
    /// `HOST:PORT` of the upstream.
    pub(crate) upstream: String,
    /// Client connections that one process may have by its limit on descriptors, each with one to the upstream.
    pub(crate) most_connections: u32,
}

impl Setup<'_> {
    /// Starts the contender, and waits until it accepts connections.
    ///
    /// # Errors
    /// If it does not start.
    pub(crate) fn start(&self, kind: Kind) -> io::Result<Contender> {
        match kind {
            Kind::Direct => {
                let clear = address(&self.upstream)?.port();
                Ok(Contender { kind, pid: None, process: 0, ports: Ports { clear, ..Ports::default() } })
            }
            Kind::Floor => {
                let mut command = self.cores.proxy_command(&std::env::current_exe()?);
                command.args([crate::FLOOR, &address(&self.upstream)?.to_string()]);
                let (pid, clear) = self.nursery.start_and_ask_port(&mut command)?;
                Ok(Contender { kind, pid: Some(pid), process: pid, ports: Ports { clear, ..Ports::default() } })
            }
            Kind::Backsoon => self.backsoon("backsoon", 1, self.cores),
            Kind::Nginx => self.nginx(),
            Kind::Haproxy => self.haproxy(),
            Kind::Caddy | Kind::Traefik | Kind::Envoy => self.peer(kind),
        }
    }

    /// Starts backsoon with this many workers, under a name of its own.
    ///
    /// # Errors
    /// If it does not start.
    pub(crate) fn backsoon(&self, name: &str, workers: usize, cores: &Cores) -> io::Result<Contender> {
        let ports = Ports { h2c: 0, ..Ports::free()? };
        let ports = Ports { h2c: ports.clear, ..ports };
        let config = self.configs.join(format!("{name}.toml"));
        let flags = self.flag_file(name);
        fs::write(&flags, configs::flags())?;
        fs::write(&config, configs::backsoon(self, ports, (workers, &flags)))?;
        let mut command = cores.proxy_command(&self.backsoon);
        let pid = self.nursery.start(name, command.arg("run").arg("--config").arg(config))?;
        self.listening(name, pid, ports.clear)?;
        Ok(Contender { kind: Kind::Backsoon, pid: Some(pid), process: pid, ports })
    }

    /// Returns the path of the flag file of a backsoon with this name.
    pub(crate) fn flag_file(&self, name: &str) -> PathBuf {
        self.configs.join(name).with_extension("flags.toml")
    }

    fn nginx(&self) -> io::Result<Contender> {
        let ports = Ports::free()?;
        let config = self.configs.join("nginx.conf");
        fs::write(&config, configs::nginx(self, ports))?;
        let program = machine::find("nginx").ok_or_else(|| io::Error::other("nginx is not installed"))?;
        let log = self.nursery.path("nginx-start.log");
        let mut command = self.cores.proxy_command(&program);
        command.arg("-e").arg(log).arg("-c").arg(config);
        let master = self.nursery.start("nginx", &mut command)?;
        self.listening("nginx", master, ports.clear)?;
        let workers = wait_for(|| Some(proc::children(master)).filter(|workers| !workers.is_empty()));
        let worker = workers.and_then(|workers| workers.first().copied());
        let pid = Some(worker.ok_or_else(|| io::Error::other("nginx has no worker"))?);
        Ok(Contender { kind: Kind::Nginx, pid, process: master, ports })
    }

    fn haproxy(&self) -> io::Result<Contender> {
        let ports = Ports::free()?;
        let config = self.configs.join("haproxy.cfg");
        fs::write(&config, configs::haproxy(self, ports))?;
        let program = machine::find("haproxy").ok_or_else(|| io::Error::other("haproxy is not installed"))?;
        let mut command = self.cores.proxy_command(&program);
        let pid = self.nursery.start("haproxy", command.arg("-db").arg("-f").arg(config))?;
        self.listening("haproxy", pid, ports.clear)?;
        Ok(Contender { kind: Kind::Haproxy, pid: Some(pid), process: pid, ports })
    }

    /// Waits until a process listens.
    ///
    /// # Errors
    /// If it ends, or takes too long.
    pub(crate) fn listening(&self, name: &str, pid: u32, port: u16) -> io::Result<()> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let connected = wait_for(|| TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok());
        if connected.is_some() && Path::new(&format!("/proc/{pid}")).exists() {
            return Ok(());
        }
        Err(io::Error::other(format!("{name} does not listen: {}", self.nursery.log(name))))
    }
}

/// Looks up the address of `HOST:PORT`.
///
/// # Errors
/// If the name has none.
pub(crate) fn address(authority: &str) -> io::Result<SocketAddr> {
    use std::net::ToSocketAddrs;
    authority.to_socket_addrs()?.next().ok_or_else(|| io::Error::other(format!("{authority} has no address")))
}

/// Returns a port that was free a moment ago.
///
/// # Errors
/// If there is none.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Returns the version as the command prints it.
pub(crate) fn version(program: &Path, argument: &str) -> String {
    let Ok(output) = Command::new(program).arg(argument).output() else { return "unknown".into() };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("unknown");
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(found) = look() {
            return Some(found);
        }
        thread::sleep(Duration::from_millis(20));
    }
    None
}

/// Time in which a contender must begin to listen.
const PATIENCE: Duration = Duration::from_secs(10);

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
}

impl Kind {
    /// All, in the order of the tables.
    pub(crate) const ALL: [Self; 5] = [Self::Direct, Self::Floor, Self::Backsoon, Self::Nginx, Self::Haproxy];

    /// Returns the name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Floor => "floor",
            Self::Backsoon => "backsoon",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
        }
    }

    /// Returns true if the contender speaks HTTP itself.
    pub(crate) fn is_proxy(self) -> bool {
        !matches!(self, Self::Direct | Self::Floor)
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
        fs::write(self.configs.join("maintenance.toml"), configs::flags())?;
        fs::write(&config, configs::backsoon(self, ports, workers))?;
        let mut command = cores.proxy_command(&machine::backsoon()?);
        let pid = self.nursery.start(name, command.arg("run").arg("--config").arg(config))?;
        self.listening(name, pid, ports.clear)?;
        Ok(Contender { kind: Kind::Backsoon, pid: Some(pid), process: pid, ports })
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

    fn listening(&self, name: &str, pid: u32, port: u16) -> io::Result<()> {
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
    String::from_utf8_lossy(&text).lines().next().unwrap_or("unknown").trim().to_owned()
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

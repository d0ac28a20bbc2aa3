//! The machine: its hardware, the division of its cores, and its tools.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;

use crate::contenders::{Kind, version};
use crate::peers;

/// Circumstances on which the figures depend.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    /// Cores that the bench may use.
    pub(crate) cores: usize,
    /// The processor's name.
    pub(crate) processor: String,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// Date and time in UTC.
    pub(crate) date: String,
    /// Command line of the bench.
    pub(crate) command: String,
    /// Cores on which the proxy and everything else ran.
    pub(crate) pinning: String,
    /// Names and versions of all programs.
    pub(crate) versions: Vec<(String, String)>,
}

impl Machine {
    /// Inspects the machine.
    pub(crate) fn inspect(cores: &Cores, backsoon: &Path, peers: &[Kind]) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let programs = [("nginx", "-v"), ("haproxy", "-v"), ("wrk", "-v"), ("h2load", "--version"), ("strace", "-V")];
        let mut versions = vec![("backsoon".to_owned(), version(backsoon, "--version"))];
        versions.extend(programs.iter().map(|(name, argument)| {
            let version = find(name).map_or("missing".to_owned(), |program| version(&program, argument));
            ((*name).to_owned(), version)
        }));
        versions.extend(peers.iter().map(|kind| {
            let version = |program: PathBuf| version(&program, peers::version_argument(*kind));
            (kind.name().to_owned(), peers::program(*kind).map_or("missing".to_owned(), version))
        }));
        Self {
            cores: cores.all,
            processor: processor.map_or("unknown", |(_, name)| name.trim()).to_owned(),
            kernel: kernel.trim().to_owned(),
            date: jiff::Timestamp::now().to_string(),
            command: format!("cargo run --release -p overhead -- {}", arguments.join(" ")).trim().to_owned(),
            pinning: cores.describe(),
            versions,
        }
    }
}

/// Division of the cores between the proxy and everything else.
#[derive(Clone, Debug)]
pub(crate) struct Cores {
    /// Number of cores.
    pub(crate) all: usize,
    /// Core of the proxy, if it has one of its own.
    proxy: Option<usize>,
}

impl Cores {
    /// Gives the proxy the last core, and this process and its other children the rest.
    pub(crate) fn share(wanted: bool) -> Self {
        let all = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let cores = Self { all, proxy: (wanted && all > 1 && find("taskset").is_some()).then_some(all - 1) };
        let Some(proxy) = cores.proxy else { return cores };
        let pid = std::process::id().to_string();
        let rest = format!("0-{}", proxy - 1);
        let pinned = Command::new("taskset").args(["-a", "-p", "-c", &rest, &pid]).stdout(Stdio::null()).status();
        if pinned.is_ok_and(|status| status.success()) { cores } else { Self { proxy: None, ..cores } }
    }

    /// Returns a division in which everybody has all cores.
    pub(crate) fn unpinned(&self) -> Self {
        Self { all: self.all, proxy: None }
    }

    /// Returns a command that runs on the proxy's core, or on all cores.
    pub(crate) fn proxy_command(&self, program: &Path) -> Command {
        if self.all < 2 || find("taskset").is_none() {
            return Command::new(program);
        }
        let list = self.proxy.map_or_else(|| format!("0-{}", self.all - 1), |core| core.to_string());
        let mut command = Command::new("taskset");
        command.args(["-c", &list]).arg(program);
        command
    }

    fn describe(&self) -> String {
        match self.proxy {
            Some(core) => format!("proxy alone on core {core}; load generator and upstream on cores 0-{}", core - 1),
            None => format!("none: proxy, load generator and upstream share {} cores", self.all),
        }
    }
}

/// Lets this process and its children open as many files as they may.
pub(crate) fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current }.unwrap_or(1 << 20)
}

/// Finds a program.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Returns the program to measure: the given one, or backsoon as `cargo install` builds it, with no feature that only this
/// tool needs.
///
/// # Errors
/// If it cannot be built, or is missing.
pub(crate) fn backsoon(given: Option<&Path>) -> io::Result<PathBuf> {
    if let Some(given) = given {
        // A program without a slash would be searched for in PATH.
        return fs::canonicalize(given).map_err(|error| io::Error::other(format!("{}: {error}", given.display())));
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let arguments = ["build", "--release", "--locked", "--package", "backsoon", "--bin", "backsoon"];
    let built = Command::new(cargo).args(arguments).current_dir(root).stdin(Stdio::null()).status()?;
    // cargo puts it beside this program.
    let program = std::env::current_exe()?.with_file_name("backsoon");
    if built.success() { Ok(program) } else { Err(io::Error::other("backsoon cannot be built")) }
}

/// Installs missing tools with apt-get if there is one, and stops the services that the packages start.
///
/// # Errors
/// If a command cannot be run at all.
pub(crate) fn install_missing() -> io::Result<()> {
    let missing: Vec<_> = PACKAGES.iter().filter(|(program, _)| find(program).is_none()).collect();
    if missing.is_empty() || find("apt-get").is_none() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    eprintln!("installing {}", packages.join(" "));
    let mut install = vec!["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "install", "--yes"];
    install.push("--no-install-recommends");
    install.extend(&packages);
    if !(as_root(&["apt-get", "-qq", "update"])? && as_root(&install)?) {
        eprintln!("!! cannot install {}: what needs them is skipped", packages.join(" "));
    }
    for (program, _) in missing.iter().filter(|(program, _)| matches!(*program, "nginx" | "haproxy")) {
        // The service is not needed: the bench starts processes of its own. One of these commands exists.
        let _ = as_root(&["systemctl", "disable", "--now", program])? || as_root(&["service", program, "stop"])?;
    }
    Ok(())
}

fn as_root(arguments: &[&str]) -> io::Result<bool> {
    let root = rustix::process::geteuid().is_root();
    let whole: Vec<&str> = if root { arguments.to_vec() } else { [&["sudo", "-n"], arguments].concat() };
    let Some((program, arguments)) = whole.split_first() else { return Ok(false) };
    if find(program).is_none() {
        return Ok(false);
    }
    let mut command = Command::new(program);
    Ok(command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?.success())
}

const PACKAGES: [(&str, &str); 6] = [
    ("nginx", "nginx-light"),
    ("haproxy", "haproxy"),
    ("wrk", "wrk"),
    ("h2load", "nghttp2-client"),
    ("strace", "strace"),
    ("taskset", "util-linux"),
];

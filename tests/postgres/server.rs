//! PostgreSQL server of the tests' own, from Debian's package. Tests of the library and of the command share this file.

#![allow(dead_code, unreachable_pub, reason = "two crates have it, and each one uses a part")]

use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs};

/// Server in a directory of its own. It ends with the test that has it, or with the process.
pub struct Server {
    pub directory: PathBuf,
    pub port: u16,
    binaries: PathBuf,
    keeper: Option<Child>,
}

impl Server {
    /// Returns the server of all tests of this process. Without PostgreSQL, tells what is skipped.
    pub fn shared(claim: &str) -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Server>> = OnceLock::new();
        let shared = SHARED.get_or_init(Self::start).as_ref();
        if shared.is_none() {
            // Captured output would be hidden for a passing test.
            let _ = writeln!(std::io::stderr(), "SKIPPED: {claim}: PostgreSQL is missing; tests/all installs it");
        }
        shared
    }

    /// Makes a server and starts it; `None` if PostgreSQL is missing.
    pub fn start() -> Option<Self> {
        let binaries = binaries()?;
        // A user of its own has to get there, which the tests' folder may forbid.
        let place = if Path::new("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { env::temp_dir() };
        let directory = tempfile::Builder::new().prefix("bs-pg").tempdir_in(place).unwrap().keep();
        if let Some(user) = user() {
            chown(&directory, Some(user), Some(group())).unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Self { directory, port, binaries, keeper: None };
        let data = server.directory.join("data");
        let options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"];
        let made = as_user(&server.binaries.join("initdb")).args(options).arg("-D").arg(data).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        server.speak_tls();
        server.run();
        Some(server)
    }

    /// Makes a certificate, whose authority is itself. By TCP the server asks for a password, and speaks TLS alone.
    fn speak_tls(&self) {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        self.write("server.key", &pair.signing_key.serialize_pem());
        self.write("server.crt", &pair.cert.pem());
        self.write("pg_hba.conf", "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n");
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.directory.join("data").join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        if let Some(user) = user() {
            chown(path, Some(user), Some(group())).unwrap();
        }
    }

    /// Starts a server that was stopped.
    pub fn run(&mut self) {
        let (directory, port) = (self.directory.display(), self.port);
        let options = format!(
            "-D {directory}/data -k {directory} -p {port} -h 127.0.0.1 -F -c full_page_writes=off \
             -c shared_buffers=16MB -c max_connections=100 -c ssl=on"
        );
        // The pipe ends with this process, whatever ends it.
        let script = "\"$1\" $3 >\"$2/log\" 2>&1 & pid=$!; read -r word; kill -INT $pid; wait $pid; \
                      [ \"$word\" = keep ] || rm -rf \"$2\"";
        let mut keeper = as_user(Path::new("/bin/sh"));
        keeper.args(["-c", script, "keeper"]).arg(self.binaries.join("postgres")).arg(&self.directory).arg(options);
        self.keeper = Some(keeper.stdin(Stdio::piped()).spawn().unwrap());
        let end = Instant::now() + Duration::from_secs(120);
        while !self.psql("postgres", "SELECT 1").output().unwrap().status.success() {
            let log = || fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            assert!(Instant::now() < end, "PostgreSQL does not start: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Stops the server at once. Its data stay.
    pub fn stop(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            keeper.stdin.take().unwrap().write_all(b"keep\n").unwrap();
            keeper.wait().unwrap();
        }
    }

    /// Returns the file of the certificate, which is its own authority.
    pub fn certificate(&self) -> PathBuf {
        self.directory.join("data/server.crt")
    }

    /// Makes an empty database, and returns its name.
    pub fn database(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        name
    }

    /// Returns the URL of a database, by the socket.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@/{database}?host={}&port={}", self.directory.display(), self.port)
    }

    /// Runs statements on the tables of backsoon, and returns a line for each row.
    pub fn sql(&self, database: &str, statements: &str) -> Vec<String> {
        let output = self.psql(database, statements).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    fn psql(&self, database: &str, statements: &str) -> Command {
        let mut psql = Command::new(self.binaries.join("psql"));
        psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database, "-c", statements]);
        psql.arg("-h").arg(&self.directory).arg("-p").arg(self.port.to_string());
        psql.env("PGOPTIONS", "-c search_path=backsoon,public -c client_min_messages=warning");
        psql
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.stdin.take());
            keeper.wait().unwrap();
        } else {
            let _gone = fs::remove_dir_all(&self.directory);
        }
    }
}

/// Returns the folder of the newest server programs.
fn binaries() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let debian = versions.map(|version| version.path()).max_by_key(number).map(|path| path.join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let mut all = debian.into_iter().chain(env::split_paths(&path));
    all.find(|folder| ["initdb", "postgres", "psql"].iter().all(|name| folder.join(name).exists()))
}

/// Returns a command. PostgreSQL does not run as root, which becomes the user of Debian's package.
fn as_user(program: &Path) -> Command {
    if user().is_none() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program).current_dir("/");
    command
}

/// Returns the user to become; `None` if this one is not root.
fn user() -> Option<u32> {
    let is_root = fs::read_to_string("/proc/self/status").unwrap().lines().any(|line| line.starts_with("Uid:\t0\t"));
    is_root.then(|| id("-u"))
}

fn group() -> u32 {
    id("-g")
}

fn id(option: &str) -> u32 {
    let output = Command::new("id").args([option, "postgres"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

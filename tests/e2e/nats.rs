//! NATS servers of the tests' own, from the wheel that `tests/all` installs, and a client that speaks only what it must.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::wait;

/// Server with JetStream, on one port. Its data survives a restart.
pub struct Nats {
    pub dir: tempfile::TempDir,
    pub address: SocketAddr,
    program: PathBuf,
    /// More of its config.
    more: String,
    child: Option<Child>,
}

impl Nats {
    /// Starts a server; `None` if the program is missing, which is told.
    pub fn start(claim: &str) -> Option<Self> {
        Self::with(claim, "")
    }

    /// Starts a server with more config.
    pub fn with(claim: &str, more: &str) -> Option<Self> {
        let python = std::env::var_os("BACKSOON_TEST_PYTHON").map(PathBuf::from);
        let program = python.and_then(|python| Some(python.parent()?.join("nats-server"))).filter(|path| path.exists());
        let Some(program) = program else {
            let _ = writeln!(std::io::stderr(), "SKIPPED: {claim}: nats-server is missing; tests/all installs it");
            return None;
        };
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut nats = Self { dir, address, program, more: more.to_owned(), child: None };
        nats.run();
        Some(nats)
    }

    pub fn run(&mut self) {
        let store = self.dir.path().join("store");
        let config = format!(
            "listen: \"{}\"\njetstream {{ store_dir: {:?}, max_file_store: 64MB, max_memory_store: 64MB }}\n{}\n",
            self.address, store, self.more
        );
        let file = self.dir.path().join("nats.conf");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(&file).arg("-l").arg(self.dir.path().join("log"));
        self.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        wait("the NATS server", || TcpStream::connect(self.address).is_ok());
    }

    /// Returns servers of one cluster that run.
    pub fn cluster<const N: usize>(claim: &str) -> Option<[Self; N]> {
        let ports: [SocketAddr; N] =
            std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
        let routes: Vec<String> = ports.iter().map(|port| format!("\"nats://{port}\"")).collect();
        let started = ports.map(|port| {
            let (name, routes) = (port.port(), routes.join(", "));
            let cluster = format!("cluster {{ name: tests, listen: \"{port}\", routes: [{routes}] }}");
            Self::with(claim, &format!("server_name: n{name}\n{cluster}"))
        });
        let started: Vec<Self> = started.into_iter().flatten().collect();
        started.try_into().ok()
    }

    /// Stops the server, and starts it with other config. Its data stays.
    pub fn restart_with(&mut self, more: &str) {
        self.kill();
        more.clone_into(&mut self.more);
        self.run();
    }

    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Returns true if this is the server with a name in a cluster.
    pub fn is_named(&self, name: &str) -> bool {
        self.more.starts_with(&format!("server_name: {name}\n"))
    }

    /// Kills the server.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops the server where it is, or lets it go on.
    pub fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    /// Forgets all data, as a server does whose disk was replaced.
    pub fn lose_data(&mut self) {
        self.kill();
        std::fs::remove_dir_all(self.dir.path().join("store")).unwrap();
        self.run();
    }

    pub fn client(&self) -> NatsClient {
        NatsClient::connect(self.address, "{}")
    }

    pub fn place(&self) -> String {
        format!("nats://{}/backsoon/flags", self.address)
    }

    /// Returns the table that names this server.
    pub fn table(&self) -> String {
        format!("[fleet]\nnats = \"nats://{}\"\n", self.address)
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Client of a server.
pub struct NatsClient {
    stream: BufReader<TcpStream>,
    requests: u32,
    /// True if a server that does not answer is no failure.
    is_patient: bool,
}

impl NatsClient {
    pub fn connect(address: SocketAddr, login: &str) -> Self {
        Self::answering(address, |_| login.to_owned())
    }

    /// Connects with a login that answers the challenge of the server.
    pub fn answering(address: SocketAddr, login: impl FnOnce(&str) -> String) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut client = Self { stream: BufReader::new(stream), requests: 0, is_patient: false };
        let info: Value = serde_json::from_str(client.line().trim_start_matches("INFO ")).unwrap();
        let login = login(info["nonce"].as_str().unwrap_or_default());
        let mut connect = json!({ "verbose": false, "headers": true });
        connect
            .as_object_mut()
            .unwrap()
            .extend(serde_json::from_str::<Value>(&login).unwrap().as_object().unwrap().clone());
        client.send(format!("CONNECT {connect}\r\nSUB answers.> 1\r\n").as_bytes());
        client
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    /// Sends one request to a server that may not answer.
    pub fn ask(address: SocketAddr, subject: &str, payload: &str) -> Value {
        let mut client = Self::connect(address, "{}");
        client.is_patient = true;
        client.stream.get_ref().set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        client.request(subject, payload)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line);
        assert!(read.is_ok() || self.is_patient, "{read:?}");
        line.trim_end().to_owned()
    }

    /// Sends a request, and returns the JSON of its answer.
    pub fn request(&mut self, subject: &str, payload: &str) -> Value {
        self.requests += 1;
        let reply = format!("answers.{}", self.requests);
        self.send(format!("PUB {subject} {reply} {}\r\n{payload}\r\n", payload.len()).as_bytes());
        loop {
            let line = self.line();
            if line.is_empty() && self.is_patient {
                return Value::Null;
            }
            let words: Vec<&str> = line.split(' ').collect();
            match words[0] {
                "PING" => self.send(b"PONG\r\n"),
                "MSG" => {
                    let mut body = vec![0; words[words.len() - 1].parse::<usize>().unwrap() + 2];
                    self.stream.read_exact(&mut body).unwrap();
                    if words[1] == reply {
                        return serde_json::from_slice(&body[..body.len() - 2]).unwrap();
                    }
                }
                "INFO" | "+OK" | "PONG" => {}
                _ => panic!("{line}"),
            }
        }
    }

    /// Makes the bucket.
    pub fn make_bucket(&mut self) {
        let answer = self.request("$JS.API.STREAM.CREATE.KV_backsoon", &Self::bucket(1));
        assert!(answer.get("error").is_none(), "{answer}");
    }

    /// Returns the request for a bucket with a number of replicas.
    pub fn bucket(replicas: usize) -> String {
        let stream = json!({
            "name": "KV_backsoon", "subjects": ["$KV.backsoon.>"], "max_msgs_per_subject": 16, "allow_rollup_hdrs": true,
            "deny_delete": true, "allow_direct": true, "discard": "new", "storage": "file",
            "num_replicas": replicas,
        });
        stream.to_string()
    }

    /// Writes the flags, and returns their revision.
    pub fn put(&mut self, text: &str) -> u64 {
        let answer = self.request("$KV.backsoon.flags", text);
        answer["seq"].as_u64().unwrap_or_else(|| panic!("{answer}"))
    }

    /// Deletes the flags as a KV client does.
    pub fn delete(&mut self) {
        self.requests += 1;
        let head = "NATS/1.0\r\nKV-Operation: DEL\r\n\r\n";
        let size = head.len();
        self.send(format!("HPUB $KV.backsoon.flags {size} {size}\r\n{head}\r\n").as_bytes());
    }

    /// Returns the flags as they are.
    pub fn flags(&mut self) -> String {
        use base64::Engine as _;
        let answer = self.request("$JS.API.STREAM.MSG.GET.KV_backsoon", r#"{"last_by_subj":"$KV.backsoon.flags"}"#);
        let data = answer["message"]["data"].as_str().unwrap_or_default();
        String::from_utf8(base64::engine::general_purpose::STANDARD.decode(data).unwrap()).unwrap()
    }
}

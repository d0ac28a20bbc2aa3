//! Foreign clients and servers: curl, httpx, websockets, gRPC, nginx.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::authority::Authority;
use crate::support::{Backsoon, Client, LISTEN, Upstream, get, request, wait};

/// Reports on the real standard error what was not tested; captured output would be hidden for a passing test.
pub fn skipped(claim: &str, reason: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {claim}: {reason}");
}

/// Returns the Python that has the packages of `tests/requirements.txt`.
pub fn python(claim: &str) -> Option<PathBuf> {
    let python = std::env::var_os("BACKSOON_TEST_PYTHON").map(PathBuf::from).filter(|python| python.exists());
    if python.is_none() {
        skipped(claim, "BACKSOON_TEST_PYTHON names no Python; tests/all makes one");
    }
    python
}

/// Command that runs until the test ends.
pub struct Helper(Child);

impl Helper {
    /// Starts the command and waits for its first line, which names its address.
    pub fn start(mut command: Command) -> (Self, String) {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "{command:?} said nothing");
        (Self(child), line.trim().to_owned())
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns a command for a script of `tests/e2e/python` with these arguments.
pub fn script(python: &Path, name: &str) -> Command {
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/python").join(name));
    command
}

/// Runs a command to its end and returns its output.
pub fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// Returns a curl that ignores the user's configuration and appends details of the response to the body.
pub fn curl(arguments: &[&str]) -> String {
    let mut command = Command::new("curl");
    command.args(["--disable", "--silent", "--show-error", "--max-time", "20", "--noproxy", "*"]);
    printed(command.args(["--write-out", " HTTP/%{http_version} %{http_code}"]).args(arguments))
}

pub fn has_curl(claim: &str) -> bool {
    let found = Command::new("curl").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        skipped(claim, "curl is not installed");
    }
    found
}

#[test]
fn curl_is_served_over_both_versions_in_clear_text_and_over_tls() {
    if !has_curl("curl is served") {
        return;
    }
    let upstream = Upstream::ok();
    let authority = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    authority.identity(&["localhost"]).write(dir.path());
    std::fs::write(dir.path().join("ca.pem"), authority.pem()).unwrap();
    let tls = "[[listen]]\naddress = \"127.0.0.1:0\"\ntls = { cert = \"cert.pem\", key = \"key.pem\" }\n";
    let config = format!("{tls}{LISTEN}[routes.web]\nupstream = \"{}\"\n", upstream.url());
    let backsoon = Backsoon::start_in(dir, &config);
    let clear = format!("http://{}/", backsoon.listen[1]);
    assert_eq!(curl(&["--http1.1", &clear]), "hello HTTP/1.1 200");
    assert_eq!(curl(&["--http2-prior-knowledge", &clear]), "hello HTTP/2 200");
    // An upgrade of clear text to HTTP/2 is not offered, so the answer ignores the request for it.
    assert_eq!(curl(&["--http2", &clear]), "hello HTTP/1.1 200");
    let secure = format!("https://localhost:{}/", backsoon.listen[0].port());
    let ca = backsoon.path("ca.pem");
    let trusting = ["--cacert", ca.to_str().unwrap(), &secure];
    assert_eq!(curl(&[&["--http2"][..], &trusting].concat()), "hello HTTP/2 200");
    assert_eq!(curl(&[&["--http1.1", "--tls-max", "1.2"][..], &trusting].concat()), "hello HTTP/1.1 200");
    assert_eq!(curl(&["--head", "--http1.1", "--output", "/dev/null", &clear]), " HTTP/1.1 200");
}

#[test]
fn curl_reads_the_page_though_it_is_uploading() {
    if !has_curl("curl reads the page") {
        return;
    }
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    backsoon.flag("[routes.web]\nmode = \"offline\"\nmessage = \"We move the database.\"\n");
    let file = backsoon.path("upload");
    std::fs::write(&file, vec![b'x'; 20 << 20]).unwrap();
    let data = format!("@{}", file.display());
    let url = backsoon.url("/");
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        for expect in ["Expect:", "Expect: 100-continue"] {
            let told =
                curl(&[version, "--data-binary", &data, "--header", expect, "--header", "accept: text/plain", &url]);
            assert!(told.contains("We move the database.") && told.ends_with(" 503"), "{version} {expect}: {told}");
        }
    }
    assert_eq!(upstream.seen(), "");
}

#[test]
fn httpx_gets_uploads_and_streams_over_both_versions() {
    let Some(python) = python("httpx is served") else { return };
    let (_app, port) = Helper::start(script(&python, "app.py"));
    let backsoon = Backsoon::before(&format!("http://127.0.0.1:{port}"), "");
    printed(script(&python, "httpx_client.py").arg(backsoon.url("")));
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    printed(script(&python, "httpx_client.py").arg(backsoon.url("")).arg("closed"));
    wait("nothing to be in flight", || backsoon.route("web")["in_flight"] == 0);
}

#[test]
fn websockets_are_carried_both_ways_and_outlive_the_closing_of_their_route_if_they_are_kept() {
    let Some(python) = python("websockets are carried") else { return };
    let (_server, port) = Helper::start(script(&python, "websocket_server.py"));
    let backsoon = Backsoon::before(&format!("http://127.0.0.1:{port}"), "streams = \"keep\"\n");
    let url = format!("ws://{}/echo", backsoon.address());
    let mut client = script(&python, "websocket_client.py");
    let flags = backsoon.path("maintenance.toml");
    printed(client.arg(&url).arg(&flags).arg(format!("http://{}/metrics", backsoon.admin)));
    wait("the tunnel to be closed", || {
        backsoon.metric("backsoon_tunnels", "") == 0.0 && backsoon.route("web")["in_flight"] == 0
    });
    assert_eq!(get(backsoon.address(), "/").status, 503, "the client has closed the route on its way");
}

#[test]
fn grpc_calls_of_every_kind_pass() {
    let Some(python) = python("gRPC calls pass") else { return };
    let (_server, port) = Helper::start(script(&python, "grpc_server.py"));
    let backsoon = Backsoon::before(&format!("http://127.0.0.1:{port}"), "http2 = true\n");
    printed(script(&python, "grpc_client.py").arg(backsoon.address().to_string()));
    wait("nothing to be in flight", || backsoon.route("web")["in_flight"] == 0);
    let requests = backsoon.route("web")["requests"].clone();
    assert_eq!(requests["failed"], 0, "{requests}");
}

/// nginx in the foreground, with its own configuration and directory.
pub struct Nginx {
    child: Child,
    pub address: SocketAddr,
    dir: tempfile::TempDir,
}

impl Nginx {
    /// Starts an nginx that serves a file, compressed below `/gzip/`.
    fn start() -> Option<Self> {
        Self::serving(
            "nginx is an upstream",
            "root HERE/files;\n    location /gzip/ { alias HERE/files/; gzip on; gzip_min_length 1; }",
        )
    }

    /// Starts an nginx with this content of its server, in which `HERE` is its directory. Returns `None`, and says that a
    /// claim is not tested, if it is not installed.
    pub fn serving(claim: &str, server: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let here = dir.path().display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("  {name}_temp_path {here}/{name};\n"))
            .concat();
        let config = format!(
            "daemon off; master_process off; pid {here}/pid; error_log {here}/error.log;\n\
             events {{ worker_connections 64; }}\n\
             http {{\n  access_log {here}/access.log;\n{temporary}  gzip_proxied any; gzip_types text/plain;\n  \
             log_format c '$connection $request'; access_log {here}/connections.log c;\n  \
             server {{ listen {address}; {} }}\n}}\n",
            server.replace("HERE", &here.to_string())
        );
        std::fs::write(dir.path().join("nginx.conf"), config).unwrap();
        std::fs::create_dir(dir.path().join("files")).unwrap();
        std::fs::write(dir.path().join("files/file.txt"), "0123456789".repeat(1000)).unwrap();
        let program = ["nginx", "/usr/sbin/nginx"]
            .into_iter()
            .find(|program| Command::new(program).arg("-v").output().is_ok_and(|output| output.status.success()));
        let Some(program) = program else {
            skipped(claim, "nginx is not installed");
            return None;
        };
        let mut command = Command::new(program);
        command.arg("-c").arg(dir.path().join("nginx.conf")).arg("-p").arg(dir.path());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let nginx = Self { child, address, dir };
        wait("nginx to listen", || TcpStream::connect(address).is_ok());
        Some(nginx)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn nginx_serves_files_ranges_heads_and_chunks_over_few_connections() {
    let Some(nginx) = Nginx::start() else { return };
    let backsoon =
        Backsoon::start(&format!("workers = 1\n{LISTEN}[routes.web]\nupstream = \"http://{}\"\n", nginx.address));
    let mut client = Client::connect(backsoon.address());
    let mut ask = |method: &str, path: &str, fields: &str| {
        client.send(format!("{method} {path} HTTP/1.1\r\nhost: test\r\n{fields}\r\n"));
        if method == "HEAD" {
            let head = client.head();
            assert!(
                head.starts_with("HTTP/1.1 200") && head.to_lowercase().contains("content-length: 10000\r\n"),
                "{head}"
            );
            return None;
        }
        Some(client.response())
    };
    let whole = ask("GET", "/file.txt", "").unwrap();
    assert_eq!((whole.status, whole.body.len()), (200, 10_000));
    assert!(whole.field("server").is_some_and(|server| server.starts_with("nginx")));
    ask("HEAD", "/file.txt", "");
    let range = ask("GET", "/file.txt", "range: bytes=5-14\r\n").unwrap();
    assert_eq!((range.status, range.body.as_str()), (206, "5678901234"));
    assert_eq!(range.field("content-range"), Some("bytes 5-14/10000"));
    let several = ask("GET", "/file.txt", "range: bytes=0-1,5-6\r\n").unwrap();
    assert_eq!(several.status, 206);
    let etag = whole.field("etag").unwrap();
    let same = ask("GET", "/file.txt", &format!("if-none-match: {etag}\r\n")).unwrap();
    assert_eq!((same.status, same.field("etag")), (304, Some(etag)));
    let chunked = ask("GET", "/gzip/file.txt", "accept-encoding: gzip\r\n").unwrap();
    assert_eq!((chunked.status, chunked.field("transfer-encoding")), (200, Some("chunked")));
    assert_eq!(chunked.field("content-encoding"), Some("gzip"));
    assert_eq!(ask("GET", "/none", "").unwrap().status, 404);
    for _ in 0..50 {
        assert_eq!(ask("GET", "/file.txt", "").unwrap().body.len(), 10_000);
    }
    // nginx writes its log after the answer.
    let log = || std::fs::read_to_string(nginx.dir.path().join("connections.log")).unwrap();
    wait("nginx to have logged", || log().lines().count() == 57);
    let mut connections: Vec<_> = log().lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    connections.dedup();
    assert_eq!(connections.len(), 1, "one client needs one connection");
    // HTTP/1.0 knows no chunks, so the end of the connection ends the body.
    let old = request(backsoon.address(), "GET /gzip/file.txt HTTP/1.0\r\nhost: test\r\naccept-encoding: gzip\r\n\r\n");
    assert_eq!((old.status, old.field("transfer-encoding")), (200, None));
}

#[test]
fn an_nginx_that_is_killed_is_a_bad_gateway_and_one_that_returns_is_used_again() {
    let Some(mut nginx) = Nginx::start() else { return };
    let backsoon = Backsoon::before(&format!("http://{}", nginx.address), "");
    assert_eq!(get(backsoon.address(), "/file.txt").status, 200);
    nginx.child.kill().unwrap();
    nginx.child.wait().unwrap();
    let response = get(backsoon.address(), "/file.txt");
    assert_eq!(response.status, 502);
    assert!(response.field("proxy-status").unwrap().contains("connection_refused"), "{}", response.head);
    let program = if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" };
    let mut command = Command::new(program);
    command.arg("-c").arg(nginx.dir.path().join("nginx.conf")).arg("-p").arg(nginx.dir.path());
    nginx.child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait("nginx to be back", || get(backsoon.address(), "/file.txt").status == 200);
}

//! Listeners: which routes they have, and the sockets that they are.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;

use crate::support::{Backsoon, LISTEN, Upstream, get, request, run_to_end};

/// Two sites without names on two ports, beside a route for both.
fn two_sites(upstreams: &[Upstream; 3]) -> String {
    format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\nname = \"public\"\n\
         [[listen]]\naddress = \"127.0.0.1:0\"\nname = \"internal\"\n\
         [[listen]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
         [routes.site01]\nlisten = \"public\"\nupstream = \"{}\"\n\
         [routes.site02]\nlisten = [\"internal\"]\nupstream = \"{}\"\n\
         [routes.both]\nhost = \"both.example.com\"\npath = \"/both\"\nupstream = \"{}\"\n",
        upstreams[0].url(),
        upstreams[1].url(),
        upstreams[2].url()
    )
}

#[test]
fn two_sites_without_names_live_on_two_ports_and_close_each_for_itself() {
    let answer = |body: &str| Upstream::answering(&format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{body}"));
    let upstreams = [answer("1"), answer("2"), answer("3")];
    let backsoon = Backsoon::start(&two_sites(&upstreams));
    let asked = |listener: usize, host: &str, path: &str| {
        let head = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let answer = request(backsoon.listen[listener], &head);
        (answer.status, answer.body.chars().next())
    };
    assert_eq!(asked(0, "a", "/"), (200, Some('1')));
    assert_eq!(asked(1, "a", "/"), (200, Some('2')));
    assert_eq!(asked(2, "a", "/").0, 404);
    // What a listener has of its own comes first; a route for all of them is found where there is nothing else.
    assert_eq!(asked(0, "both.example.com", "/both"), (200, Some('1')));
    assert_eq!(asked(2, "both.example.com", "/both"), (200, Some('3')));
    backsoon.flag("[routes]\nsite01 = \"offline\"\n");
    assert_eq!(asked(0, "a", "/").0, 503);
    assert_eq!(asked(1, "a", "/"), (200, Some('2')));
    // The proxy's own paths tell of the routes of their listener alone.
    assert_eq!(asked(0, "a", "/.backsoon/status").0, 200);
    assert_eq!(asked(2, "a", "/.backsoon/status").0, 404);
    assert_eq!(asked(2, "a", "/.backsoon/news/").0, 404);
    // The routes are changed at once, the listeners are not.
    let swapped =
        two_sites(&upstreams).replace("[routes.site02]\nlisten = [\"internal\"]", "[routes.site02]\nhost = \"a\"");
    backsoon.config(&swapped);
    assert_eq!(asked(1, "a", "/"), (200, Some('2')));
    assert_eq!(asked(2, "a", "/"), (200, Some('2')));
    assert_eq!(asked(0, "a", "/").0, 503);
    assert_eq!(asked(1, "b", "/").0, 404);
}

#[test]
fn explain_is_told_the_listener() {
    let upstreams = [Upstream::ok(), Upstream::ok(), Upstream::ok()];
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("backsoon.toml"), two_sites(&upstreams)).unwrap();
    let explain = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backsoon"));
        command.arg("explain").args(args).arg("--config").arg(dir.path().join("backsoon.toml"));
        let output = command.output().unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    assert!(explain(&["/a", "--listener", "public"]).contains("site01"));
    assert!(explain(&["/a", "--listener", "internal"]).contains("site02"));
    let none = explain(&["/a"]);
    assert!(none.contains("answered 404") && none.contains("--listener"), "{none}");
    assert!(none.contains("site02 (any host, path /, listener internal)"), "{none}");
    let unknown = explain(&["/a", "--listener", "intern"]);
    assert!(unknown.contains("no listener `intern`") && unknown.contains("`internal`"), "{unknown}");
}

/// Runs a proxy that cannot start, and returns its exit code and what it says.
fn refused(listen: &str) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let config = format!("{listen}\n[routes.web]\nupstream = \"http://127.0.0.1:1\"\n");
    std::fs::write(dir.path().join("backsoon.toml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_backsoon"));
    command.args(["run", "--config"]).arg(dir.path().join("backsoon.toml"));
    run_to_end(command)
}

/// Returns true if the machine has IPv6.
fn has_ipv6() -> bool {
    TcpListener::bind("[::1]:0").is_ok()
}

/// Returns a port that nobody listens on.
fn free_port() -> u16 {
    TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn both_families_are_served_on_one_port() {
    if !has_ipv6() {
        eprintln!("SKIPPED: 0.0.0.0 and [::] on one port: this machine has no IPv6");
        return;
    }
    let upstream = Upstream::ok();
    for order in [["0.0.0.0", "[::]"], ["[::]", "0.0.0.0"]] {
        let port = free_port();
        let listen = order.map(|ip| format!("[[listen]]\naddress = \"{ip}:{port}\"\n")).concat();
        let backsoon = Backsoon::start(&format!(
            "{listen}[admin]\naddress = \"127.0.0.1:0\"\n[routes.web]\nupstream = \"{}\"\n",
            upstream.url()
        ));
        for ip in ["127.0.0.1", "[::1]"] {
            assert_eq!(get(format!("{ip}:{port}").parse().unwrap(), "/").status, 200, "{ip}");
        }
        drop(backsoon);
        // One alone takes both.
        let port = free_port();
        let backsoon = Backsoon::start(&format!(
            "[[listen]]\naddress = \"[::]:{port}\"\n[admin]\naddress = \"127.0.0.1:0\"\n[routes.web]\nupstream = \"{}\"\n",
            upstream.url()
        ));
        assert_eq!(get(format!("127.0.0.1:{port}").parse().unwrap(), "/").status, 200);
        drop(backsoon);
    }
}

#[test]
fn the_file_of_a_socket_has_the_mode_and_the_group_that_are_asked_for() {
    let upstream = Upstream::ok();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("http.sock");
    let (own, group) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    // A file of a process that died is replaced.
    drop(UnixListener::bind(&path).unwrap());
    let config = format!(
        "[[listen]]\naddress = \"unix:{}\"\nmode = \"0620\"\nowner = \"{own}\"\ngroup = \"{group}\"\n{LISTEN}\
         [routes.web]\nupstream = \"{}\"\n",
        path.display(),
        upstream.url()
    );
    let backsoon = Backsoon::start_in(dir, &config);
    let file = std::fs::metadata(&path).unwrap();
    assert_eq!((file.permissions().mode() & 0o777, file.uid(), file.gid()), (0o620, own, group));
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(backsoon);
}

#[test]
fn the_sockets_of_operators_and_of_the_status_site_have_an_access_of_their_own() {
    let upstream = Upstream::ok();
    let dir = tempfile::tempdir().unwrap();
    let (admin, site) = (dir.path().join("admin.sock"), dir.path().join("site.sock"));
    let group = rustix::process::getgid().as_raw();
    let config = format!(
        "{LISTEN}[routes.web]\nupstream = \"{}\"\n[status]\nlisten = \"unix:{}\"\nmode = \"0666\"\ngroup = \"{group}\"\n",
        upstream.url(),
        site.display()
    );
    let own = format!("[admin]\naddress = \"unix:{}\"\nmode = \"0600\"\ngroup = \"{group}\"", admin.display());
    let config = config.replace("[admin]\naddress = \"127.0.0.1:0\"", &own);
    std::fs::write(dir.path().join("backsoon.toml"), &config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_backsoon"));
    let proxy = command.args(["run", "--config"]).arg(dir.path().join("backsoon.toml")).spawn().unwrap();
    let _proxy = Ended(proxy);
    let ask = |path: &std::path::Path, target: &str| {
        let mut client = UnixStream::connect(path).ok()?;
        client.write_all(format!("GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").as_bytes()).ok()?;
        let mut answer = String::new();
        client.read_to_string(&mut answer).ok()?;
        answer.starts_with("HTTP/1.1 200").then_some(answer)
    };
    crate::support::wait("the proxy", || ask(&admin, "/readyz").is_some());
    let access = |path: &std::path::Path| {
        let file = std::fs::metadata(path).unwrap();
        (file.permissions().mode() & 0o777, file.gid())
    };
    assert_eq!((access(&admin), access(&site)), ((0o600, group), (0o666, group)));
    assert!(ask(&site, "/").is_some());
    // The access of a socket changes with a restart alone, and that is told.
    crate::support::replace(&dir.path().join("backsoon.toml"), &config.replace("0600", "0660"));
    crate::support::wait("the word of it", || {
        ask(&admin, "/status").is_some_and(|told| told.contains("`admin` has changed"))
    });
    assert_eq!(access(&admin).0, 0o600);
}

/// Process that ends with the test.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn whoever_cannot_listen_is_told_why_and_what_helps() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (code, said) = refused(&format!("[[listen]]\naddress = \"{}\"\n", taken.local_addr().unwrap()));
    assert!(code == Some(69) && said.contains("in use by another process"), "{said}");
    // Its own other listener is not another process.
    let (code, said) = refused("[[listen]]\naddress = \"0.0.0.0:8080\"\n[[listen]]\naddress = \"127.0.0.1:8080\"\n");
    assert!(code == Some(64) && said.contains("takes the connections of `127.0.0.1:8080` as well"), "{said}");
    // An address for documents, which no machine has.
    let (code, said) = refused("[[listen]]\naddress = \"192.0.2.1:8080\"\n");
    assert!(code == Some(69) && said.contains("this machine does not have the address"), "{said}");
    let dir = tempfile::tempdir().unwrap();
    let socket = |name: &str, more: &str| {
        refused(&format!("[[listen]]\naddress = \"unix:{}\"\n{more}", dir.path().join(name).display()))
    };
    let (code, said) = socket("none/http.sock", "");
    assert!(code == Some(69) && said.contains("make its directory first"), "{said}");
    std::fs::write(dir.path().join("file"), "mine").unwrap();
    let (code, said) = socket("file", "");
    assert!(code == Some(69) && said.contains("is no socket") && !said.contains("another process"), "{said}");
    assert_eq!(std::fs::read_to_string(dir.path().join("file")).unwrap(), "mine");
    let (code, said) = socket("http.sock", "group = \"no-such-group\"\n");
    assert!(code.is_some_and(|code| code != 0) && said.contains("no group"), "{said}");
    assert!(!dir.path().join("http.sock").exists());
}

#[test]
fn a_port_for_privileged_processes_is_told_from_one_in_use() {
    let first_free = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    let is_root = rustix::process::geteuid().is_root();
    let Some(port) = (1..first_free.trim().parse().unwrap_or(0)).next_back().filter(|_| !is_root || has_setpriv())
    else {
        eprintln!("SKIPPED: a port for privileged processes: there is none, or this user may have it");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let config =
        format!("[[listen]]\naddress = \"127.0.0.1:{port}\"\n[routes.web]\nupstream = \"http://127.0.0.1:1\"\n");
    std::fs::write(dir.path().join("backsoon.toml"), config).unwrap();
    let mut command = if is_root {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set", "-net_bind_service", "--inh-caps", "-net_bind_service"]);
        command.arg(env!("CARGO_BIN_EXE_backsoon"));
        command
    } else {
        Command::new(env!("CARGO_BIN_EXE_backsoon"))
    };
    command.args(["run", "--config"]).arg(dir.path().join("backsoon.toml"));
    let (code, said) = run_to_end(command);
    assert!(code == Some(69) && said.contains("is for privileged processes"), "{said}");
    assert!(said.contains("CAP_NET_BIND_SERVICE") && said.contains("ip_unprivileged_port_start"), "{said}");
    assert!(!said.contains("in use"), "{said}");
}

/// Returns true if a capability can be dropped for a command, and that takes it away.
fn has_setpriv() -> bool {
    let drop = ["--bounding-set", "-net_bind_service", "--inh-caps", "-net_bind_service", "true"];
    Command::new("setpriv").args(drop).status().is_ok_and(|status| status.success())
}

#[test]
fn check_knows_the_owners_of_sockets() {
    let dir = tempfile::tempdir().unwrap();
    let config = "[[listen]]\naddress = \"unix:/tmp/x.sock\"\nowner = \"no-such-user\"\n[routes.web]\nupstream = \"http://127.0.0.1:1\"\n";
    std::fs::write(dir.path().join("backsoon.toml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_backsoon"));
    command.args(["check", "--config"]).arg(dir.path().join("backsoon.toml"));
    let (code, said) = run_to_end(command);
    assert!(code == Some(64) && said.contains("there is no user `no-such-user`"), "{said}");
}

//! The configurations of `deploy/examples`: each is loaded, and driven with its addresses moved to this machine.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use crate::authority::Authority;
use crate::clients::curl;
use crate::command::run;
use crate::support::{Backsoon, Response, Upstream, request, wait};

/// An example with its files, before it is started.
struct Example {
    dir: tempfile::TempDir,
    config: String,
}

impl Example {
    /// Reads an example. Its listeners get ports that the system chooses, and absolute paths lie in a directory of the test.
    fn read(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = fs::read_to_string(format!("{}/deploy/examples/{name}.toml", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let moved = text.lines().map(|line| match line.strip_prefix("address = ") {
            Some(address) if address.starts_with("\"[") => "address = \"[::1]:0\"\n".to_owned(),
            Some(_) => "address = \"127.0.0.1:0\"\n".to_owned(),
            None => format!("{line}\n"),
        });
        let root = dir.path().to_str().unwrap();
        let config = moved.collect::<String>();
        let config = ["/var/www/", "/srv/", "/etc/haproxy/"]
            .iter()
            .fold(config, |config, place| config.replace(place, &format!("{root}{place}")));
        for place in ["var/www/magento/var", "srv/site01", "srv/site02", "etc/haproxy/certs", "tls", "pages"] {
            fs::create_dir_all(dir.path().join(place)).unwrap();
        }
        Self { dir, config }
    }

    /// Puts an upstream of the test in the place of one in the example, which must have it.
    fn with(mut self, named: &str, upstream: &Upstream) -> Self {
        assert!(self.config.contains(named), "{named} is not in\n{}", self.config);
        self.config = self.config.replace(named, &upstream.url());
        self
    }

    fn file(self, name: &str, text: &str) -> Self {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        // `check` warns of secrets that others can read.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        self
    }

    /// Writes the certificate of the example for these names, and that of its authority.
    fn secured(self, names: &[&str]) -> Self {
        let authority = Authority::new();
        authority.identity(names).write(&self.dir.path().join("tls"));
        self.file("ca.pem", &authority.pem())
    }

    /// Checks the example, which must pass without a warning, and starts it.
    fn start(self) -> Backsoon {
        fs::write(self.dir.path().join("backsoon.toml"), &self.config).unwrap();
        let checked = run(self.dir.path(), &["check"]);
        assert!(checked.code == 0 && !checked.err.contains("warning"), "{checked:?}");
        Backsoon::start_in(self.dir, &self.config)
    }
}

fn page(address: SocketAddr, host: &str, path: &str, more: &str) -> Response {
    request(
        address,
        &format!("GET {path} HTTP/1.1\r\nhost: {host}\r\naccept: text/html\r\n{more}connection: close\r\n\r\n"),
    )
}

/// Asks by curl over TLS, and returns the head and the body.
fn secure(backsoon: &Backsoon, listener: usize, host: &str, path: &str, more: &[&str]) -> String {
    let address = backsoon.listen[listener];
    let (port, place) = (address.port(), address.ip());
    let resolve = format!("{host}:{port}:{}", if address.is_ipv6() { format!("[{place}]") } else { place.to_string() });
    let url = format!("https://{host}:{port}{path}");
    let ca = backsoon.path("ca.pem");
    let mut arguments = vec!["--include", "--cacert", ca.to_str().unwrap(), "--resolve", &resolve, &url];
    arguments.extend(more);
    curl(&arguments)
}

fn named(name: &str) -> Upstream {
    Upstream::answering(&format!("HTTP/1.1 200 OK\r\nserver: app\r\ncontent-length: {}\r\n\r\n{name}", name.len()))
}

#[test]
fn a_shop_is_closed_by_touching_a_file() {
    let upstream = Upstream::ok();
    let backsoon = Example::read("adobe-commerce").with("http://127.0.0.1:8080", &upstream).start();
    let switch = backsoon.path("var/www/magento/var/.maintenance.enable");
    assert_eq!(page(backsoon.address(), "shop", "/", "").status, 200);
    fs::write(&switch, "We move to a larger warehouse").unwrap();
    wait("the file to close the shop", || {
        let answer = page(backsoon.address(), "shop", "/", "");
        answer.status == 503 && answer.body.contains("We move to a larger warehouse")
    });
    fs::remove_file(switch).unwrap();
    wait("the shop to open", || page(backsoon.address(), "shop", "/", "").status == 200);
}

#[test]
fn public_records_are_served_over_https_with_fields_for_security() {
    let (app, files) = (named("app"), named("files"));
    let backsoon = Example::read("public-records")
        .with("http://127.0.0.1:5000", &app)
        .with("http://127.0.0.1:5001", &files)
        .secured(&["records.example.org"])
        .file("key", "a secret of the office that nobody guesses")
        .start();
    let (host, plain) = ("records.example.org", backsoon.listen[0]);
    let redirect = page(plain, host, "/request?id=1", "");
    assert_eq!((redirect.status, redirect.field("location")), (308, Some("https://records.example.org/request?id=1")));
    let answer = secure(&backsoon, 1, host, "/", &[]).to_lowercase();
    for field in ["strict-transport-security: max-age=31536000", "x-frame-options: sameorigin", "default-src 'self'"] {
        assert!(answer.contains(field), "{field} is not in {answer}");
    }
    assert!(answer.contains("app") && !answer.contains("server: app"), "{answer}");
    assert!(secure(&backsoon, 1, host, "/static/a.css", &[]).contains("files"));
    let large = ["--http1.1", "--header", "content-length: 30000000", "--header", "expect:", "--data", "x"];
    assert!(secure(&backsoon, 1, host, "/", &large).contains(" 413"));

    backsoon.flag("[routes]\n\"*\" = \"offline\"\n");
    wait("the routes to be closed", || backsoon.route("records")["phase"] == "closed");
    assert_eq!(page(plain, host, "/", "").status, 308);
    let closed = secure(&backsoon, 1, host, "/", &["--header", "accept: text/html"]);
    assert!(closed.contains("strict-transport-security") && closed.contains("sha256-"), "{closed}");
    assert!(closed.ends_with(" 503"));
    let key = ["--header", "x-maintenance-key: a secret of the office that nobody guesses"];
    assert!(secure(&backsoon, 1, host, "/", &key).contains("app"));
    assert!(app.seen().contains("x-real-ip: 127.0.0.1"));
}

#[test]
fn two_sites_have_a_port_a_switch_and_a_page_each() {
    let (one, two) = (named("one"), named("two"));
    let backsoon =
        Example::read("two-ports").with("http://webserver01:80", &one).with("http://webserver02:80", &two).start();
    let [first, second] = backsoon.listen[..] else { panic!("two listeners are configured") };
    assert_eq!((page(first, "a", "/", "").body, page(second, "a", "/", "").body), ("one".into(), "two".into()));
    fs::write(backsoon.path("srv/site02/MAINTENANCE"), "").unwrap();
    wait("the second site to be closed", || page(second, "a", "/", "").status == 503);
    assert!(page(second, "a", "/", "").body.contains("Site two"));
    assert_eq!(page(first, "a", "/", "").body, "one");
}

#[test]
fn a_secret_passes_and_some_paths_stay_open() {
    let upstream = named("app");
    let document = "<!DOCTYPE html><title>Our own page</title><p>Back soon</p>";
    let backsoon = Example::read("header-bypass")
        .with("http://myapp:80", &upstream)
        .file("key", "the value that the plugin compared with")
        .file("pages/page.html", document)
        .start();
    let address = backsoon.address();
    backsoon.flag("[routes]\napp = \"offline\"\n");
    wait("the page of the file", || page(address, "app.example.com", "/", "").body.contains("Our own page"));
    assert_eq!(page(address, "app.example.com", "/api/status", "").body, "app");
    let secret = "x-service-control-token: the value that the plugin compared with\r\n";
    assert_eq!(page(address, "app.example.com", "/", secret).body, "app");
}

#[test]
fn a_social_network_streams_beside_the_app_on_both_families() {
    let streaming = named("streaming");
    let app = Upstream::handling(|connection| {
        while let Some(head) = connection.request() {
            let status = if head.starts_with("GET /down ") { "502 Bad Gateway" } else { "200 OK" };
            connection.send(format!("HTTP/1.1 {status}\r\ncontent-length: 3\r\n\r\napp"));
        }
    });
    let backsoon = Example::read("social-network")
        .with("http://127.0.0.1:3000", &app)
        .with("http://127.0.0.1:4000", &streaming)
        .secured(&["social.example"])
        .start();
    for plain in &backsoon.listen[..2] {
        assert_eq!(page(*plain, "social.example", "/@me", "").field("location"), Some("https://social.example/@me"));
    }
    for listener in 2..4 {
        let answer = secure(&backsoon, listener, "social.example", "/", &[]);
        assert!(answer.contains("strict-transport-security: max-age=63072000") && answer.contains("app"), "{answer}");
        assert!(secure(&backsoon, listener, "social.example", "/api/v1/streaming/user", &[]).contains("streaming"));
    }
    let down = secure(
        &backsoon,
        2,
        "social.example",
        "/down",
        &["--header", "accept: text/html", "--header", "sec-fetch-dest: document"],
    );
    assert!(down.ends_with(" 502") && down.to_lowercase().contains("<!doctype html>"), "{down}");
}

#[test]
fn a_service_has_a_prefix_that_is_stripped_and_checks_before_it_returns() {
    let (web, api) = (named("web"), named("api"));
    let backsoon = Example::read("kamal")
        .with("http://app-web-1:3000", &web)
        .with("http://app-api-1:3000", &api)
        .secured(&["foo.example.com", "bar.example.com"])
        .start();
    assert_eq!(page(backsoon.listen[0], "bar.example.com", "/up", "").status, 200);
    assert_eq!(page(backsoon.listen[0], "bar.example.com", "/", "").status, 308);
    assert!(secure(&backsoon, 1, "foo.example.com", "/api/orders?page=2", &[]).contains("api"));
    assert!(api.seen().starts_with("GET /orders?page=2 "), "{}", api.seen());
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    wait("the route to be closed", || backsoon.route("web")["phase"] == "closed");
    assert!(secure(&backsoon, 1, "foo.example.com", "/", &[]).ends_with(" 503"));
    assert!(secure(&backsoon, 1, "foo.example.com", "/up", &[]).contains("ok"));
    web.forget();
    backsoon.unflag();
    wait("the route to be open", || backsoon.route("web")["phase"] == "open");
    assert!(web.seen().contains("GET /up "), "{}", web.seen());
}

#[test]
fn each_tenant_has_a_certificate_and_a_page() {
    let (challenges, first, twin, second) = (named("token"), named("first"), named("first"), named("second"));
    let authority = Authority::new();
    let example = Example::read("many-tenants")
        .with("http://127.0.0.1:8080", &challenges)
        .with("http://10.0.0.11:80", &first)
        .with("http://10.0.0.12:80", &twin)
        .with("http://10.0.0.21:80", &second)
        .file("ca.pem", &authority.pem());
    for names in [&["a.example.org", "preview.a.example.org"][..], &["b.example.org"]] {
        let identity = authority.identity(names);
        let file = example.dir.path().join(format!("etc/haproxy/certs/{}.pem", names[0]));
        fs::write(file, identity.cert + &identity.key).unwrap();
    }
    let backsoon = example.start();
    assert_eq!(page(backsoon.listen[0], "a.example.org", "/.well-known/acme-challenge/x", "").body, "token");
    assert_eq!(page(backsoon.listen[0], "a.example.org", "/", "").status, 308);
    assert!(secure(&backsoon, 1, "preview.a.example.org", "/", &[]).contains("first"));
    assert!(secure(&backsoon, 1, "b.example.org", "/", &[]).contains("second"));
    backsoon.flag("[routes]\ntenant-b = \"offline\"\n");
    wait("the tenant to be closed", || backsoon.route("tenant-b")["phase"] == "closed");
    assert!(secure(&backsoon, 1, "b.example.org", "/", &["--header", "accept: text/html"]).contains("Institute B"));
    assert!(secure(&backsoon, 1, "a.example.org", "/", &[]).contains("first"));
}

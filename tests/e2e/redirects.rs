//! Redirects: of a listener to https, and of a route to another URL.

use std::process::Command;

use crate::support::{Backsoon, Client, Upstream, get, request, run_to_end, wait};

/// Starts a proxy whose only listener redirects to https, with these routes.
fn in_clear(redirect: &str, more: &str) -> Backsoon {
    let listen = format!("[[listen]]\naddress = \"127.0.0.1:0\"\nredirect = {redirect}\n");
    Backsoon::start(&format!(
        "log = {{ access = \"full\", access_file = \"access.log\" }}\n{listen}[admin]\naddress = \"127.0.0.1:0\"\n{more}"
    ))
}

/// Sends a request with a host, and returns the status and the `Location`.
fn led(backsoon: &Backsoon, line: &str, host: &str) -> (u16, Option<String>) {
    let answer = request(backsoon.address(), &format!("{line}\r\nhost: {host}\r\nconnection: close\r\n\r\n"));
    (answer.status, answer.field("location").map(str::to_owned))
}

/// Answers that lead to a URL for good.
fn to(location: &str) -> (u16, Option<String>) {
    (308, Some(location.to_owned()))
}

#[test]
fn a_listener_redirects_all_but_challenges_and_open_paths_to_https() {
    let upstream = Upstream::ok();
    let routes = format!(
        "[routes.web]\nhost = [\"example.com\", \"[::1]\"]\nupstream = \"{0}\"\nalways_open = [\"/healthz\"]\n\
         [routes.shut]\nhost = \"shut.example.com\"\nupstream = \"{0}\"\nwell_known = \"closed\"\n",
        upstream.url()
    );
    let backsoon = in_clear("\"https\"", &routes);
    for flags in ["[routes]\n", "[routes]\nweb = \"offline\"\nshut = \"offline\"\n", "[routes]\nweb = \"hold\"\n"] {
        backsoon.flag(flags);
        upstream.forget();
        let asked = |line: &str, host: &str| led(&backsoon, line, host);
        assert_eq!(asked("GET / HTTP/1.1", "example.com"), to("https://example.com/"));
        assert_eq!(
            asked("GET /a%2Fb//c?d=%20&e HTTP/1.1", "EXAMPLE.com.:80"),
            to("https://example.com/a%2Fb//c?d=%20&e")
        );
        assert_eq!(asked("GET //evil.example/ HTTP/1.1", "example.com"), to("https://example.com//evil.example/"));
        assert_eq!(asked("GET /a HTTP/1.1", "[::1]:8080"), to("https://[::1]/a"));
        assert_eq!(asked("POST /a?b HTTP/1.1\r\ncontent-length: 0", "example.com"), to("https://example.com/a?b"));
        assert_eq!(asked("OPTIONS * HTTP/1.1", "example.com"), to("https://example.com/"));
        assert_eq!(asked("GET http://example.com/x HTTP/1.1", "example.com"), to("https://example.com/x"));
        // The proxy's own paths: what they tell is told over https alone.
        assert_eq!(asked("GET /.backsoon/status HTTP/1.1", "example.com"), to("https://example.com/.backsoon/status"));
        assert_eq!(asked("GET /.backsoon/events HTTP/1.1", "example.com"), to("https://example.com/.backsoon/events"));
        // Another spelling of an open path might mean something else to the upstream.
        assert_eq!(asked("GET /x/../healthz HTTP/1.1", "example.com"), to("https://example.com/x/../healthz"));
        assert_eq!(asked("GET /robots.txt HTTP/1.1", "example.com"), to("https://example.com/robots.txt"));
        assert_eq!(upstream.seen(), "");
        assert_eq!(asked("GET /healthz HTTP/1.1", "example.com"), (200, None));
        assert_eq!(asked("GET /.well-known/acme-challenge/t HTTP/1.1", "example.com"), (200, None));
    }
    // A closed route that closes challenges as well tells so over https.
    backsoon.flag("[routes]\nshut = \"offline\"\n");
    let challenge = led(&backsoon, "GET /.well-known/acme-challenge/t HTTP/1.1", "shut.example.com");
    assert_eq!(challenge, to("https://shut.example.com/.well-known/acme-challenge/t"));
    assert!(backsoon.metric("backsoon_redirects_total", "route=\"web\"") >= 30.0);
    wait("the access log", || {
        let lines = std::fs::read_to_string(backsoon.path("access.log")).unwrap_or_default();
        let parts = ["\"route\":\"web\"", "\"verdict\":\"redirect\"", "\"status\":308"];
        lines.lines().any(|line| parts.iter().all(|part| line.contains(part)))
    });
}

#[test]
fn a_body_is_read_and_the_connection_goes_on() {
    let backsoon = in_clear("\"https\"", "[routes.web]\nupstream = \"http://127.0.0.1:1\"\n");
    let mut client = Client::connect(backsoon.address());
    for _ in 0..2 {
        client.send("POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello");
        assert_eq!(client.response().field("location"), Some("https://a/a"));
    }
}

#[test]
fn a_made_up_host_is_never_led_to() {
    let named = in_clear("\"https\"", "[routes.web]\nhost = \"example.com\"\nupstream = \"http://127.0.0.1:1\"\n");
    assert_eq!(led(&named, "GET / HTTP/1.1", "evil.example"), (404, None));
    assert_eq!(led(&named, "GET http://evil.example/ HTTP/1.1", "example.com"), (404, None));
    let any = in_clear("\"https\"", "[routes.web]\nupstream = \"http://127.0.0.1:1\"\n");
    for backsoon in [&named, &any] {
        for host in [
            "example.com@evil.example",
            "evil.example/",
            "evil.example?",
            "evil.example#",
            "example.com:80:90",
            "example.com:8x",
            "a b",
            "a\\b",
            "a\"b",
            "[::1",
            "[::1]evil.example",
            "a,b",
            "a%0d%0ab",
            "a\tb",
            "",
        ] {
            let answer = request(backsoon.address(), &format!("GET /x HTTP/1.1\r\nhost: {host}\r\n\r\n"));
            assert_eq!((answer.status, answer.field("location")), (400, None), "{host:?}");
        }
    }
    let none = request(any.address(), "GET / HTTP/1.0\r\naccept: text/plain\r\n\r\n");
    assert_eq!((none.status, none.field("location")), (400, None));
    assert!(none.body.contains("no host to redirect to"), "{}", none.body);
    assert_eq!(led(&any, "GET /\r\nx: HTTP/1.1", "a").1, None);
}

#[test]
fn the_port_and_the_time_of_a_redirect_can_be_chosen() {
    let route = "[routes.web]\nupstream = \"http://127.0.0.1:1\"\n";
    let other_port = in_clear("\"https:8443\"", route);
    assert_eq!(led(&other_port, "GET /a HTTP/1.1", "example.com:8080"), to("https://example.com:8443/a"));
    let lasting = request(other_port.address(), "GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(lasting.field("cache-control"), Some("max-age=86400"));
    let backsoon = in_clear("{ to = \"https:8443\", permanent = false }", route);
    let answer = request(backsoon.address(), "GET /a HTTP/1.1\r\nhost: [2001:db8::1]\r\n\r\n");
    assert_eq!((answer.status, answer.field("location")), (307, Some("https://[2001:db8::1]:8443/a")));
    assert_eq!(answer.field("cache-control"), Some("no-store"));
}

#[test]
fn a_trusted_proxy_that_speaks_https_is_not_redirected() {
    let upstream = Upstream::ok();
    let more = format!("[routes.web]\nupstream = \"{}\"\n", upstream.url());
    let backsoon = in_clear("\"https\"", &format!("{more}[limits]\n"));
    let secured = "GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-proto: https\r\n\r\n";
    assert_eq!(request(backsoon.address(), secured).status, 308, "a stranger is not believed");
    let config = std::fs::read_to_string(backsoon.path("backsoon.toml")).unwrap();
    backsoon.config(&format!("trusted_proxies = \"127.0.0.1\"\n{config}"));
    assert_eq!(request(backsoon.address(), secured).status, 200);
    assert_eq!(get(backsoon.address(), "/").status, 308);
}

#[test]
fn a_route_redirects_and_a_flag_closes_it() {
    let upstream = Upstream::ok();
    let config = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
         [routes.web]\nhost = \"example.com\"\nupstream = \"{}\"\n\
         [routes.www]\nhost = \"www.example.com\"\nredirect = \"https://example.com\"\n\
         [routes.old]\npath = \"/old\"\nredirect = {{ to = \"https://example.com/new?from=old\", permanent = false, keep_path = false }}\n",
        upstream.url()
    );
    let backsoon = Backsoon::start(&config);
    let asked = |line: &str, host: &str| led(&backsoon, line, host);
    assert_eq!(asked("GET /a%20b?c=d HTTP/1.1", "www.example.com"), to("https://example.com/a%20b?c=d"));
    assert_eq!(asked("OPTIONS * HTTP/1.1", "www.example.com"), to("https://example.com/"));
    let old = (307, Some("https://example.com/new?from=old".to_owned()));
    assert_eq!(asked("GET /old/x?y HTTP/1.1", "other.example"), old);
    assert_eq!(asked("GET / HTTP/1.1", "example.com"), (200, None));
    backsoon.flag("[routes]\nwww = \"offline\"\n");
    assert_eq!(asked("GET / HTTP/1.1", "www.example.com"), (503, None));
    assert_eq!(asked("GET /old HTTP/1.1", "other.example"), old);
    backsoon.unflag();
    assert_eq!(asked("GET / HTTP/1.1", "www.example.com"), to("https://example.com/"));
    assert!(backsoon.metric("backsoon_redirects_total", "route=\"www\"") >= 3.0);
    // An edit of the config takes effect at once.
    backsoon.config(&config.replace("https://example.com\"", "https://example.org/base\""));
    assert_eq!(asked("GET /a HTTP/1.1", "www.example.com"), to("https://example.org/base/a"));
}

#[test]
fn explain_tells_where_a_request_is_led() {
    let dir = tempfile::tempdir().unwrap();
    let config = "[[listen]]\naddress = \"127.0.0.1:8080\"\nredirect = \"https:8443\"\n\
                  [[listen]]\naddress = \"127.0.0.1:8443\"\n[routes.www]\nhost = \"www.example.com\"\n\
                  redirect = \"https://example.com\"\n[routes.web]\nhost = \"example.com\"\nupstream = \"http://127.0.0.1:1\"\n";
    std::fs::write(dir.path().join("backsoon.toml"), config).unwrap();
    let explain = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backsoon"));
        command.arg("explain").args(args).arg("--config").arg(dir.path().join("backsoon.toml"));
        let output = command.output().unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    let route = explain(&["www.example.com/a?b"]);
    assert!(route.contains("redirect: answered 308, to https://example.com/a?b"), "{route}");
    let open = explain(&["example.com/a"]);
    assert!(open.contains("forward"), "{open}");
    let listener = explain(&["example.com/a", "--listener", "127.0.0.1:8080"]);
    assert!(listener.contains("redirect: answered 308, to https://example.com:8443/a"), "{listener}");
    let unknown = explain(&["example.com/a", "--listener", "127.0.0.1:80"]);
    assert!(unknown.contains("127.0.0.1:8080") && unknown.contains("no listener"), "{unknown}");
}

#[test]
fn check_refuses_a_redirect_that_cannot_be_meant() {
    let dir = tempfile::tempdir().unwrap();
    let config = "[[listen]]\naddress = \"127.0.0.1:8080\"\nredirect = \"https://example.com\"\n\
                  [routes.web]\nupstream = \"http://127.0.0.1:1\"\n";
    std::fs::write(dir.path().join("backsoon.toml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_backsoon"));
    command.args(["check", "--config"]).arg(dir.path().join("backsoon.toml"));
    let (code, said) = run_to_end(command);
    assert_eq!(code, Some(64));
    assert!(said.contains("a listener cannot redirect to `https://example.com`"), "{said}");
}

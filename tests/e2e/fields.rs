//! Fields that the operator sets, adds and removes: towards upstreams, towards clients, and on the proxy's own answers.

use std::process::Command;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};

use crate::support::{Backsoon, Client, LISTEN, Upstream, get, request};
use crate::two::{Two, TwoUpstream};

/// Config with changes in general and of the route `web` at `/`. There is nothing at `/none` of another host.
fn config(upstream: &Upstream) -> String {
    format!(
        "trusted_proxies = [\"127.0.0.2\"]\n\
         request = {{ set = {{ X-Client = \"{{client_ip}}\", X-Env = \"general\" }}, remove = [\"X-Secret\", \"Forwarded\"] }}\n\
         response = {{ set = {{ Strict-Transport-Security = \"max-age=60\", Server = \"general\", \
         Content-Security-Policy = \"default-src 'self'\", Cache-Control = \"public\" }}, remove = [\"X-Powered-By\"] }}\n\
         {LISTEN}[routes.web]\nhost = \"test\"\nupstream = \"{}\"\n\
         request = {{ set = {{ X-Env = \"{{route}} of {{host}} by {{scheme}}\", X-Forwarded-Proto = \"https\" }}, \
         add = {{ X-Id = \"{{request_id}}\", Via = \"1.1 backsoon\" }} }}\n\
         response = {{ set = {{ Server = \"{{route}} {{host}} {{request_id}}\" }}, add = {{ Link = \"</a>\" }} }}\n",
        upstream.url()
    )
}

const ANSWER: &str =
    "HTTP/1.1 200 OK\r\nserver: app/1.2\r\nx-powered-by: php\r\nlink: </b>\r\ncontent-length: 5\r\n\r\nhello";

#[test]
fn upstreams_get_the_fields_that_the_operator_wants() {
    let upstream = Upstream::answering(ANSWER);
    let backsoon = Backsoon::start(&config(&upstream));
    let answer = request(
        backsoon.address(),
        "GET / HTTP/1.1\r\nhost: TEST:80\r\nx-client: forged\r\nx-env: forged\r\nx-secret: 1\r\nvia: 1.0 a\r\n\
         connection: close\r\n\r\n",
    );
    let seen = upstream.seen();
    let id = answer.field("x-request-id").unwrap();
    for line in [
        "x-client: 127.0.0.1\r\n",
        "x-env: web of test by http\r\n",
        "x-forwarded-proto: https\r\n",
        &format!("x-id: {id}\r\n"),
        "via: 1.0 a\r\nvia: 1.1 backsoon\r\n",
        "host: TEST:80\r\n",
    ] {
        assert!(seen.contains(line), "{line:?} in {seen}");
    }
    for gone in ["forged", "x-secret", "\r\nforwarded:", "x-forwarded-proto: http\r\n"] {
        assert!(!seen.contains(gone), "{gone:?} in {seen}");
    }
}

#[test]
fn clients_get_the_fields_that_the_operator_wants() {
    let upstream = Upstream::answering(ANSWER);
    let backsoon = Backsoon::start(&config(&upstream));
    let answer = get(backsoon.address(), "/");
    let id = answer.field("x-request-id").unwrap();
    assert_eq!(answer.field("server"), Some(&*format!("web test {id}")), "{}", answer.head);
    assert_eq!(answer.field("content-security-policy"), Some("default-src 'self'"), "{}", answer.head);
    assert!(answer.head.contains("link: </b>\r\nlink: </a>\r\n"), "{}", answer.head);
    assert_eq!(answer.field("x-powered-by"), None);
    assert_eq!(answer.field("strict-transport-security"), None, "not over plain HTTP");
    let mut client = Client::from(2, backsoon.address());
    client.send("GET / HTTP/1.1\r\nhost: test\r\nx-forwarded-proto: https\r\nconnection: close\r\n\r\n");
    let secure = client.response();
    assert_eq!(secure.field("strict-transport-security"), Some("max-age=60"), "{}", secure.head);
}

#[test]
fn own_answers_get_fields_and_keep_what_they_say() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::start(&config(&upstream));
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    let ask = |host: &str| {
        let mut client = Client::from(2, backsoon.address());
        client.send(format!(
            "GET / HTTP/1.1\r\nhost: {host}\r\naccept: text/html\r\nx-forwarded-proto: https\r\nconnection: close\r\n\r\n"
        ));
        client.response()
    };
    let page = ask("test");
    assert_eq!(page.status, 503, "{}", page.head);
    assert_eq!(page.field("strict-transport-security"), Some("max-age=60"), "{}", page.head);
    assert!(page.field("server").unwrap().starts_with("web test "), "{}", page.head);
    let policy = page.field("content-security-policy").unwrap();
    assert!(policy.contains("sha256-"), "the page has its own policy: {policy}");
    assert_ne!(page.field("cache-control"), Some("public"), "{}", page.head);
    assert!(!page.head.contains("</a>"), "it is about the app's content: {}", page.head);
    let lost = ask("other");
    assert_eq!((lost.status, lost.field("server")), (404, Some("general")), "{}", lost.head);
    assert_eq!(lost.field("strict-transport-security"), Some("max-age=60"), "{}", lost.head);
    assert_ne!(lost.field("cache-control"), Some("public"), "{}", lost.head);
    // A malformed host is answered before there is a route.
    let bad = ask("a,b");
    assert_eq!((bad.status, bad.field("server")), (400, Some("general")), "{}", bad.head);
    let status = get(backsoon.address(), "/.backsoon/status");
    assert!(status.field("server").unwrap().starts_with("web test "), "{}", status.head);
}

#[test]
fn a_host_injects_nothing_into_a_value() {
    let upstream = Upstream::ok();
    let more = "response = { set = { Content-Security-Policy = \"default-src https://{host}\" } }\n";
    let backsoon = Backsoon::before(&upstream.url(), more);
    for (host, policy) in [
        ("a.example:8443", "default-src https://a.example"),
        ("a;script-src", "default-src https://"),
        ("a'b", "default-src https://"),
        ("[::1]:80", "default-src https://[::1]"),
    ] {
        let answer =
            request(backsoon.address(), &format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"));
        assert_eq!(answer.field("content-security-policy"), Some(policy), "{host}: {}", answer.head);
    }
}

#[test]
fn a_host_of_the_operators_takes_the_place_of_the_clients() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "request = { set = { Host = \"app.internal:81\" } }\n");
    get(backsoon.address(), "/");
    let seen = upstream.seen();
    assert!(seen.contains("host: app.internal:81\r\n") && seen.contains("x-forwarded-host: test\r\n"), "{seen}");
    assert_eq!(seen.matches("host: ").count(), 2, "{seen}");
}

#[test]
fn fields_change_with_the_config_and_on_upgrades() {
    let upstream = Upstream::handling(|connection| {
        while let Some(head) = connection.request() {
            let switch = head.contains("upgrade: websocket");
            connection.send(if switch {
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nserver: app\r\n\r\n"
            } else {
                "HTTP/1.1 200 OK\r\nserver: app\r\ncontent-length: 0\r\n\r\n"
            });
        }
    });
    let backsoon = Backsoon::before(&upstream.url(), "");
    assert_eq!(get(backsoon.address(), "/").field("server"), Some("app"));
    let changed = format!(
        "{LISTEN}[routes.web]\nupstream = \"{}\"\nrequest = {{ set = {{ X-Env = \"new\" }} }}\n\
         response = {{ remove = [\"Server\"] }}\n",
        upstream.url()
    );
    backsoon.config(&changed);
    assert_eq!(get(backsoon.address(), "/").field("server"), None);
    let mut client = Client::connect(backsoon.address());
    client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    let switched = client.head();
    assert!(switched.starts_with("HTTP/1.1 101") && !switched.contains("server:"), "{switched}");
    let seen = upstream.seen();
    assert_eq!(seen.matches("x-env: new\r\n").count(), 2, "{seen}");
}

/// Changes on a listener with a name and a route to an upstream with HTTP/2.
fn over_two(upstream: &str) -> String {
    format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\nname = \"front\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
         [routes.web]\nupstream = \"{upstream}\"\nhttp2 = true\n\
         request = {{ set = {{ X-By = \"{{listener}}/{{route}} for {{host}}\", User-Agent = \"edge\" }}, \
         add = {{ X-More = \"2\" }}, remove = [\"X-Secret\"] }}\n\
         response = {{ set = {{ Server = \"{{listener}}\", X-Frame-Options = \"DENY\" }}, add = {{ X-More = \"b\" }}, \
         remove = [\"X-Powered-By\"] }}\n"
    )
}

fn call(kind: &str) -> Request<()> {
    let request = Request::builder().method("POST").uri("http://test.example/shop.Cart/Add");
    let request = request.header("content-type", kind).header("te", "trailers").header("user-agent", "client");
    request.header("x-more", "1").header("x-secret", "1").header("x-by", "forged").body(()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn fields_change_over_http_2_and_in_calls_of_grpc() {
    let upstream = TwoUpstream::handling(|request, mut respond| async move {
        let kind = request.headers()["content-type"].clone();
        let head = Response::builder().header("content-type", kind).header("server", "app");
        let head = head.header("x-powered-by", "app").header("x-more", "a").body(()).unwrap();
        let mut stream = respond.send_response(head, false).unwrap();
        stream.send_data(Bytes::from_static(b"\0\0\0\0\0"), false).unwrap();
        let trailers = [("grpc-status", "0"), ("x-powered-by", "trailer")];
        let trailers = trailers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        stream.send_trailers(HeaderMap::from_iter(trailers)).unwrap();
    })
    .await;
    let backsoon = Backsoon::start(&over_two(&upstream.url()));
    let all = |headers: &HeaderMap, name: &str| {
        headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let mut client = Two::connect(backsoon.address()).await;
    for kind in ["application/grpc", "application/json"] {
        let answer = client.ask(call(kind), "\0\0\0\0\0").await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(all(&answer.headers, "server"), ["front"], "{kind}");
        assert_eq!(all(&answer.headers, "x-frame-options"), ["DENY"], "{kind}");
        assert_eq!(all(&answer.headers, "x-more"), ["a", "b"], "{kind}");
        assert!(!answer.headers.contains_key("x-powered-by"), "{answer:?}");
        let trailers = answer.trailers.unwrap();
        assert_eq!(
            (all(&trailers, "grpc-status"), all(&trailers, "x-powered-by")),
            (vec!["0".to_owned()], vec!["trailer".to_owned()])
        );
    }
    for seen in upstream.heads() {
        let seen = seen.headers();
        assert_eq!(all(seen, "x-by"), ["front/web for test.example"]);
        assert_eq!(all(seen, "user-agent"), ["edge"]);
        assert_eq!(
            (all(seen, "x-more"), all(seen, "te")),
            (vec!["1".to_owned(), "2".to_owned()], vec!["trailers".to_owned()])
        );
        assert!(!seen.contains_key("x-secret"), "{seen:?}");
    }
    // A closed route tells its callers in their own way, with the fields that its answer lacks.
    let before = upstream.heads().len();
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    let closed = client.ask(call("application/grpc"), "\0\0\0\0\0").await.unwrap();
    let status = closed.trailers.as_ref().unwrap_or(&closed.headers);
    assert_eq!((closed.status, all(status, "grpc-status")), (200, vec!["14".to_owned()]), "{closed:?}");
    assert_eq!(all(&closed.headers, "server"), ["front"], "{closed:?}");
    assert_eq!(
        (all(&closed.headers, "x-frame-options"), all(&closed.headers, "x-more")),
        (vec!["DENY".to_owned()], vec!["b".to_owned()])
    );
    let closed = client.ask(call("application/json"), "{}").await.unwrap();
    assert_eq!((closed.status, all(&closed.headers, "server")), (503, vec!["front".to_owned()]), "{closed:?}");
    assert_eq!(upstream.heads().len(), before);
}

#[test]
fn explain_shows_the_changes_of_a_route_and_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let config = "request = { set = { X-Env = \"{listener} {host}\", Host = \"app.internal\" }, remove = [\"X-Secret\"] }\n\
         response = { set = { Server = \"general\", X-Frame-Options = \"DENY\" } }\n\
         [[listen]]\naddress = \"127.0.0.1:0\"\n[routes.web]\nupstream = \"http://127.0.0.1:1\"\n\
         request = { set = { Authorization = \"Bearer hush\" } }\nresponse = { set = { Server = \"web\" } }\n";
    std::fs::write(dir.path().join("backsoon.toml"), config).unwrap();
    let explain = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backsoon"));
        command.args(["explain", "/"]).args(more).arg("--config").arg(dir.path().join("backsoon.toml"));
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let text = explain(&[]);
    for line in [
        "request   set host: app.internal\n",
        "set authorization (its value is not shown)\n",
        "set x-env: {listener} {host}\n",
        "remove x-secret\n",
        "set server: web\n",
        "set x-frame-options: DENY\n",
    ] {
        assert!(text.contains(line), "{line:?} in {text}");
    }
    assert!(!text.contains("general") && !text.contains("hush"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&explain(&["--json"])).unwrap();
    assert!(!json.to_string().contains("hush"), "{json}");
    assert_eq!(json["response"][0], serde_json::json!({ "action": "set", "name": "server", "value": "web" }), "{json}");
    std::fs::write(dir.path().join("maintenance.toml"), "[routes]\nweb = \"offline\"\n").unwrap();
    let closed = explain(&[]);
    assert!(!closed.contains("x-env") && closed.contains("set server: web"), "{closed}");
}

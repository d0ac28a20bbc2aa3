//! Single upstreams that the flag file takes out for maintenance.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use crate::command::run;
use crate::support::{Client, Upstream, ask_until, get, wait};
use crate::wire::balanced;

/// Returns an upstream that answers with its name, and `/slow` once it may.
fn named(name: &'static str, may: &Arc<AtomicBool>) -> Upstream {
    let may = Arc::clone(may);
    Upstream::handling(move |connection| {
        while let Some(request) = connection.request() {
            while request.starts_with("GET /slow") && !may.load(SeqCst) {
                std::thread::sleep(Duration::from_millis(2));
            }
            connection.send(format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{name}"));
        }
    })
}

#[test]
fn an_upstream_that_drains_gets_nothing_new_and_finishes_what_it_has() {
    let may = Arc::new(AtomicBool::new(false));
    let (a, b) = (named("a", &may), named("b", &may));
    let backsoon = balanced(&[&a.url(), &b.url()], "");
    let dir = backsoon.path("");
    let (name_a, name_b) = (a.url().replace("http://", ""), b.url().replace("http://", ""));
    std::fs::write(backsoon.path("maintenance.toml"), "# ours\n[routes] # none\n").unwrap();
    let mut slow = Vec::new();
    ask_until("a slow request at the first", || {
        let mut client = Client::connect(backsoon.address());
        client.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
        slow.push(client);
        std::thread::sleep(Duration::from_millis(10));
        a.seen().contains("GET /slow")
    });
    let drain = ["upstream", "drain", &name_a, "--wait", "--timeout", "2s"];
    run(&dir, &drain).exits(3).says(&format!("{name_a} drains")).complains("still in flight there");
    let text = std::fs::read_to_string(backsoon.path("maintenance.toml")).unwrap();
    assert_eq!(text, format!("# ours\n[routes] # none\n\n[upstreams]\n\"{name_a}\" = \"drain\"\n"));
    for _ in 0..20 {
        assert_eq!(get(backsoon.address(), "/").body, "b");
    }
    let labels = format!("route=\"web\",upstream=\"{}\"", a.url());
    assert_eq!(backsoon.metric("backsoon_upstream_withdrawn", &labels), 1.0);
    run(&dir, &["status"]).exits(0).says(&format!("upstream {}: drain, ", a.url()));
    may.store(true, SeqCst);
    for client in &mut slow {
        assert_eq!(client.response().status, 200, "what is in flight goes on");
    }
    run(&dir, &drain).exits(0).says("nothing is in flight there");
    // With the other one down as well nobody is left, which is said everywhere.
    run(&dir, &["upstream", "down", &b.url(), "--wait"]).exits(0);
    let refused = get(backsoon.address(), "/");
    assert_eq!((refused.status, refused.field("proxy-status")), (503, Some("backsoon; error=destination_unavailable")));
    assert!(refused.field("retry-after").is_some());
    run(&dir, &["check"]).exits(0).complains("no upstream is left for `web`");
    run(&dir, &["status"]).exits(1).says("no upstream is left for web");
    // It was written as a URL, and is found by its address.
    run(&dir, &["upstream", "up", &name_b, "--wait"]).exits(0).says(&format!("{name_b} is taken back"));
    run(&dir, &["upstream", "up", &name_a, "--wait"]).exits(0);
    wait("the first to be used again", || get(backsoon.address(), "/").body == "a");
    assert_eq!(backsoon.metric("backsoon_upstream_ejections_total", &format!("upstream=\"{}\"", a.url())), 0.0);
    assert_eq!(
        std::fs::read_to_string(backsoon.path("maintenance.toml")).unwrap(),
        "# ours\n[routes] # none\n\n[upstreams]\n"
    );
}

#[test]
fn an_unknown_upstream_is_refused_with_a_likely_name_and_a_host_means_a_machine() {
    let may = Arc::new(AtomicBool::new(true));
    let (a, b) = (named("a", &may), named("b", &may));
    let backsoon = balanced(&[&a.url(), &b.url()], "");
    let dir = backsoon.path("");
    let near = format!("{}0", a.url().replace("http://", ""));
    run(&dir, &["upstream", "drain", &near]).exits(64).complains("no route has the upstream").complains("did you mean");
    run(&dir, &["upstream", "drain", "db.internal"]).exits(64).complains("the upstreams are");
    run(&dir, &["upstream", "drain", "db.internal", "--force"]).exits(0);
    run(&dir, &["check"]).exits(0).complains("no route of this proxy has the upstream `db.internal`");
    run(&dir, &["upstream", "down", "127.0.0.1", "--wait"]).exits(0);
    assert_eq!(get(backsoon.address(), "/").status, 503);
    let one = a.url().replace("http://", "");
    run(&dir, &["upstream", "up", &one]).exits(0).complains("still takes it out");
    run(&dir, &["upstream", "up", "127.0.0.1", "--wait"]).exits(0);
    assert_eq!(get(backsoon.address(), "/").status, 200);
}

#[test]
fn a_route_opens_without_the_check_of_an_upstream_that_is_out() {
    let may = Arc::new(AtomicBool::new(true));
    let good = named("a", &may);
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let checks = "verify = { get = \"/\", every = \"50ms\" }\nquorum = \"all\"\n";
    let route = format!("[routes.web]\nupstream = [\"{}\", \"http://{dead}\"]\n{checks}", good.url());
    let backsoon = crate::support::Backsoon::start(&format!("{}{route}", crate::support::LISTEN));
    wait("the start to ask", || backsoon.route("web")["phase"] != "closed");
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    wait("the route to close", || backsoon.route("web")["phase"] == "closed");
    backsoon.flag("[routes]\n");
    wait("a check to fail", || backsoon.route("web")["why"].as_str().unwrap().contains("a check fails"));
    backsoon.flag(&format!("[routes]\n[upstreams]\n\"{dead}\" = \"down\"\n"));
    wait("the route to open", || backsoon.route("web")["phase"] == "open");
    for _ in 0..10 {
        assert_eq!(get(backsoon.address(), "/").body, "a");
    }
}

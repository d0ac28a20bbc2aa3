//! Upstreams that are not alike: weights, backups, names, and clients that keep to one.

use crate::command::run;
use crate::support::{Backsoon, Client, LISTEN, Upstream, ask_until, get, request, wait};

fn named(name: &'static str) -> Upstream {
    Upstream::answering(&format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{name}"))
}

fn start(upstreams: &str, more: &str) -> Backsoon {
    Backsoon::start(&format!("{LISTEN}[routes.web]\nupstream = [{upstreams}]\n{more}\n"))
}

#[test]
fn an_upstream_gets_requests_by_its_weight() {
    let (a, b) = (named("a"), named("b"));
    let backsoon = start(&format!("{{ url = \"{}\", weight = 9 }}, \"{}\"", a.url(), b.url()), "");
    let mut client = Client::connect(backsoon.address());
    let of_a = (0..400).filter(|_| {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        client.response().body == "a"
    });
    // Nine tenths of 400, and eleven standard deviations.
    let count = of_a.count();
    assert!((294..400).contains(&count), "{count}");
}

#[test]
fn a_backup_is_used_while_nobody_else_answers_or_is_in_use() {
    let (first, backup) = (named("a"), named("b"));
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let backup_item = format!("{{ url = \"{}\", backup = true }}", backup.url());
    let backsoon = start(&format!("{{ url = \"{}\", name = \"app-1\" }}, {backup_item}", first.url()), "");
    for _ in 0..20 {
        assert_eq!(get(backsoon.address(), "/").body, "a");
    }
    let dir = backsoon.path("");
    run(&dir, &["upstream", "down", "app-1", "--wait"]).exits(0);
    assert_eq!(get(backsoon.address(), "/").body, "b");
    run(&dir, &["upstream", "up", "app-1", "--wait"]).exits(0);
    assert_eq!(get(backsoon.address(), "/").body, "a");
    let broken = start(&format!("\"http://{dead}\", {backup_item}"), "");
    for _ in 0..20 {
        assert_eq!(get(broken.address(), "/").body, "b", "a request that could not be sent goes to the backup");
    }
}

#[test]
fn a_client_keeps_to_its_upstream_and_moves_only_while_that_is_out() {
    let all = [named("a"), named("b"), named("c")];
    let urls: Vec<String> = all.iter().map(|upstream| format!("\"{}\"", upstream.url())).collect();
    let trusted = "trusted_proxies = [\"127.0.0.0/8\"]\n";
    let config = format!("{trusted}{LISTEN}[routes.web]\nupstream = [{}]\nsticky = \"address\"\n", urls.join(", "));
    let backsoon = Backsoon::start(&config);
    let ask = |client: usize| {
        let head =
            format!("GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 203.0.113.{client}\r\nconnection: close\r\n\r\n");
        request(backsoon.address(), &head).body
    };
    let before: Vec<String> = (0..30).map(ask).collect();
    assert_eq!((0..30).map(ask).collect::<Vec<_>>(), before);
    for name in ["a", "b", "c"] {
        assert!(before.iter().any(|own| own == name), "{name} has clients: {before:?}");
    }
    backsoon.flag(&format!("[upstreams]\n{} = \"down\"\n", urls[0]));
    wait("it to be out", || backsoon.route("web")["upstreams"][0]["withdrawn"] == "down");
    ask_until("no answer of it", || (0..30).map(ask).all(|own| own != "a"));
    for (client, own) in before.iter().enumerate().filter(|(_, own)| *own != "a") {
        assert_eq!(ask(client), *own, "clients of others stay");
    }
    backsoon.flag("[upstreams]\n");
    wait("it to be back", || backsoon.route("web")["upstreams"][0]["withdrawn"].is_null());
    ask_until("everybody to be where he was", || (0..30).map(ask).collect::<Vec<_>>() == before);
}

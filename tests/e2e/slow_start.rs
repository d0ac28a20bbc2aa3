//! Slow start: the share of an upstream that comes back, or is new, grows.

use std::net::TcpListener;

use crate::command::run;
use crate::support::{Backsoon, Client, LISTEN, Upstream, ask_until, wait};

fn named(name: &str) -> Upstream {
    Upstream::answering(&format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{name}"))
}

/// Returns the config of a route with these upstreams. One worker has all requests, and sees all ejections.
fn config(upstreams: &[&str], slow_start: &str) -> String {
    let list: Vec<String> = upstreams.iter().map(|url| format!("\"{url}\"")).collect();
    let more = if slow_start.is_empty() { String::new() } else { format!("slow_start = \"{slow_start}\"\n") };
    format!("workers = 1\n{LISTEN}[routes.web]\nupstream = [{}]\n{more}", list.join(", "))
}

/// Asks this often, and returns how many answers have a body.
fn count(backsoon: &Backsoon, of: &str, requests: usize) -> usize {
    let mut client = Client::connect(backsoon.address());
    let answers = (0..requests).filter(|_| {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        client.response().body == of
    });
    answers.count()
}

/// A share of a hundredth, which grows by a tenth a minute, and one of a half: of 300 requests, 3 to 30, and 150.
fn is_little(count: usize) -> bool {
    count < 60
}

fn is_half(count: usize) -> bool {
    (100..200).contains(&count)
}

#[test]
fn an_upstream_that_was_down_gets_little_at_first_and_then_its_share() {
    let (a, b) = (named("a"), named("b"));
    let backsoon = Backsoon::start(&config(&[&a.url(), &b.url()], "10m"));
    let first = count(&backsoon, "b", 300);
    assert!(is_half(first), "nobody is new when the proxy starts: {first}");
    let dir = backsoon.path("");
    let back = |name: &str| {
        run(&dir, &["upstream", "down", name, "--wait"]).exits(0);
        ask_until("it to be out", || count(&backsoon, "b", 5) == 0);
        run(&dir, &["upstream", "up", name, "--wait"]).exits(0);
        wait("it to be back", || backsoon.route("web")["upstreams"][1]["withdrawn"].is_null());
    };
    let name = b.address.to_string();
    back(&name);
    let little = count(&backsoon, "b", 300);
    assert!(is_little(little), "{little}");
    backsoon.config(&config(&[&a.url(), &b.url()], "2s"));
    back(&name);
    ask_until("its whole share", || is_half(count(&backsoon, "b", 300)));
    backsoon.config(&config(&[&a.url(), &b.url()], ""));
    back(&name);
    let at_once = count(&backsoon, "b", 300);
    assert!(is_half(at_once), "without `slow_start`: {at_once}");
}

#[test]
fn a_new_upstream_and_one_that_was_ejected_get_little_at_first() {
    let (a, b) = (named("a"), named("b"));
    let backsoon = Backsoon::start(&config(&[&a.url()], "10m"));
    backsoon.config(&config(&[&a.url(), &b.url()], "10m"));
    wait("it to be listed", || backsoon.route("web")["upstreams"].as_array().unwrap().len() == 2);
    let little = count(&backsoon, "b", 300);
    assert!(is_little(little), "new: {little}");

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let dead = format!("http://{address}");
    let backsoon = Backsoon::start(&config(&[&a.url(), &dead], "10m"));
    let of = |name: &str| backsoon.metric(name, &format!("upstream=\"{dead}\""));
    ask_until("an ejection", || count(&backsoon, "a", 5) == 5 && of("backsoon_upstream_ejections_total") >= 1.0);
    let _back = Upstream::listening(TcpListener::bind(address).unwrap());
    ask_until("it to be taken back", || {
        count(&backsoon, "hello", 20);
        of("backsoon_upstream_ejected") == 0.0
    });
    let little = count(&backsoon, "hello", 300);
    assert!(is_little(little), "ejected: {little}");
}

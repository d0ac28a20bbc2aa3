//! Traces: passed on, cleaned, or begun.

use crate::support::{Backsoon, Client, LISTEN, Upstream, request, wait};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ac902b7-01";
const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn config(upstream: &Upstream, trace: &str) -> String {
    format!(
        "trusted_proxies = [\"127.0.0.2\"]\n{trace}{LISTEN}[log]\naccess = \"full\"\naccess_file = \"access.log\"\n\
         [routes.web]\nupstream = \"{}\"\nrequest = {{ set = {{ X-Trace = \"<{{trace_id}}>\" }} }}\n",
        upstream.url()
    )
}

/// Sends a request with these fields, and returns what the upstream gets.
fn sent(backsoon: &Backsoon, upstream: &Upstream, from: u8, fields: &str) -> String {
    upstream.forget();
    let mut client = Client::from(from, backsoon.address());
    client.send(format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}connection: close\r\n\r\n"));
    assert_eq!(client.response().status, 200);
    upstream.seen()
}

#[test]
fn a_valid_trace_passes_and_is_logged() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::start(&config(&upstream, ""));
    let sent = |fields: &str| sent(&backsoon, &upstream, 1, fields);
    let seen = sent(&format!("traceparent: {PARENT}\r\ntracestate: a=1\r\ntracestate: b=2\r\n"));
    for line in [format!("traceparent: {PARENT}\r\n"), "tracestate: a=1,b=2\r\n".into(), format!("x-trace: <{ID}>\r\n")]
    {
        assert!(seen.contains(&line), "{line:?} in {seen}");
    }
    for fields in
        ["traceparent: nonsense\r\ntracestate: a=1\r\n".to_owned(), format!("traceparent: {PARENT}\r\n").repeat(2)]
    {
        let seen = sent(&fields);
        assert!(seen.contains("x-trace: <>\r\n") && seen.matches("trace").count() == 1, "{seen}");
    }
    let log = || std::fs::read_to_string(backsoon.path("access.log")).unwrap_or_default();
    wait("the access log", || log().contains(&format!("\"trace\":\"{ID}\"")) && log().contains("\"trace\":null"));
}

#[test]
fn a_trace_begins_and_a_stranger_does_not_decide_what_is_recorded() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::start(&config(&upstream, "trace = 0\n"));
    let seen = sent(&backsoon, &upstream, 1, "tracestate: a=1\r\n");
    let parent = seen.lines().find_map(|line| line.strip_prefix("traceparent: ")).expect(&seen);
    assert!(parent.len() == 55 && parent.ends_with("-00") && !seen.contains("tracestate"), "{seen}");
    assert!(seen.contains(&format!("x-trace: <{}>", &parent[3..35])), "{seen}");
    let given = format!("traceparent: {PARENT}\r\n");
    let seen = sent(&backsoon, &upstream, 1, &given);
    assert!(seen.contains(&format!("traceparent: {}00\r\n", &PARENT[..53])), "{seen}");
    let seen = sent(&backsoon, &upstream, 2, &given);
    assert!(seen.contains(&format!("traceparent: {PARENT}\r\n")), "{seen}");
    // It is switched while the proxy runs.
    backsoon.config(&config(&upstream, "trace = true\n"));
    let seen = sent(&backsoon, &upstream, 1, "");
    let parent = seen.lines().find_map(|line| line.strip_prefix("traceparent: ")).expect(&seen);
    assert!(parent.ends_with("-01"), "{seen}");
    let answer = request(backsoon.address(), "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert_eq!(answer.field("traceparent"), None, "{}", answer.head);
}

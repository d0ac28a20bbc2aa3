//! The promise that no upstream has got a request, so that it may be sent again whatever its method is.

use crate::support::{Backsoon, LISTEN, Response, Upstream, request, wait};
use crate::wire::alone;

fn ask(backsoon: &Backsoon, method: &str, accept: &str) -> Response {
    let head = format!("{method} /orders HTTP/1.1\r\nhost: a\r\naccept: {accept}\r\ncontent-length: 2\r\n\r\nhi");
    request(backsoon.address(), &head)
}

fn promised(answer: &Response) -> bool {
    answer.field("x-should-retry").is_some_and(|value| value == "true")
}

#[test]
fn the_answer_of_a_closed_route_promises_that_nothing_was_processed() {
    let upstream = Upstream::ok();
    let backsoon = alone(&upstream.url(), "");
    for mode in ["offline", "read-only"] {
        backsoon.flag(&format!("[routes]\nweb = \"{mode}\"\n"));
        wait("the mode", || backsoon.route("web")["mode"] == mode);
        for (accept, words) in [
            ("application/json", "\"processed\":false"),
            ("application/problem+json", "\"processed\":false"),
            ("application/xml", "<processed>false</processed>"),
            ("text/html", ""),
            ("text/plain", ""),
        ] {
            let answer = ask(&backsoon, "POST", accept);
            assert!(answer.status == 503 && promised(&answer), "{accept}: {}", answer.head);
            assert!(answer.body.contains(words), "{accept}: {}", answer.body);
        }
    }
    assert_eq!(upstream.seen(), "");
}

#[test]
fn an_error_before_a_request_has_left_promises_it_too() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let backsoon = alone(&format!("http://{gone}"), "");
    let answer = ask(&backsoon, "POST", "application/json");
    assert!(answer.status == 502 && promised(&answer), "{}", answer.head);
    assert!(answer.body.contains("\"sent\":\"unsent\",\"processed\":false"), "{}", answer.body);
    assert!(ask(&backsoon, "POST", "application/xml").body.contains("<processed>false</processed>"));
    // What is taken out gets nothing either.
    backsoon.flag(&format!("[upstreams]\n\"{gone}\" = \"down\"\n"));
    let taken_out = || ask(&backsoon, "POST", "application/json");
    wait("the upstream to be out", || taken_out().status == 503);
    let answer = taken_out();
    assert!(promised(&answer) && answer.body.contains("\"processed\":false"), "{}{}", answer.head, answer.body);
}

#[test]
fn nothing_is_promised_where_an_upstream_may_have_acted() {
    let upstream = Upstream::taking(|mut connection| drop(connection.request()));
    let backsoon = alone(&upstream.url(), "");
    for accept in ["application/json", "application/xml", "text/html"] {
        let answer = ask(&backsoon, "POST", accept);
        assert!(answer.status == 502 && !promised(&answer), "{}", answer.head);
        assert!(!answer.body.contains("processed"), "{}", answer.body);
    }
    // Neither is it for what another try does not mend.
    let refused =
        Backsoon::start(&format!("{LISTEN}[limits]\nbody_size = 1\n[routes.web]\nupstream = \"{}\"\n", upstream.url()));
    let answer = ask(&refused, "POST", "application/json");
    assert!(answer.status == 413 && !promised(&answer), "{}", answer.head);
}

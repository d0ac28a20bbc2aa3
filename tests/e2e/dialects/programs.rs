//! Programs: the form of the answer by what their requests show, and what is in it.

use super::{ask, closed, json};
use crate::support::{Backsoon, LISTEN, Response};

const JSON: &str = "application/json";
const XML: &str = "application/problem+xml; charset=utf-8";
const LINE: &str = "text/plain; charset=utf-8";

/// Returns a closed route with a title, a message and an end.
fn told() -> Backsoon {
    let backsoon = closed("");
    backsoon.flag(
        "[[windows]]\nid = \"M-1\"\ntitle = \"Tea & <b>cake</b>\"\nmessage = \"Moving the database.\\n\\nNothing is lost.\"\n\
         starts = 2020-01-01T00:00:00Z\nends = 2099-01-01T00:00:00Z\nroutes = { web = \"offline\" }\n",
    );
    backsoon
}

fn content_type(response: &Response) -> &str {
    response.field("content-type").unwrap_or_default()
}

#[test]
fn a_program_that_accepts_anything_gets_what_it_sent_and_a_script_json() {
    let backsoon = told();
    for (fields, expected) in [
        (&["content-type: application/json", "accept: */*"][..], JSON),
        (&["content-type: application/vnd.api+json"], JSON),
        (&["sec-fetch-dest: empty", "accept: */*"], JSON),
        (&["x-requested-with: XMLHttpRequest", "accept: */*"], JSON),
        (&["content-type: application/xml", "accept: */*"], XML),
        (&["content-type: text/xml"], XML),
        (&["content-type: application/x-www-form-urlencoded", "accept: */*"], LINE),
    ] {
        let response = ask(backsoon.address(), "POST /api", fields);
        assert_eq!((response.status, content_type(&response)), (503, expected), "{fields:?}");
        assert!(response.body.contains("Nothing is lost."), "{fields:?}: {}", response.body);
    }
}

#[test]
fn soap_gets_a_fault_with_the_title_and_the_time_to_come_back() {
    let backsoon = told();
    for (fields, expected, code) in [
        (
            &["content-type: text/xml; charset=utf-8", "soapaction: \"urn:x\"", "accept: text/html, */*"][..],
            "text/xml; charset=utf-8",
            "<faultcode>soap:Server</faultcode>",
        ),
        (
            &["content-type: application/soap+xml; action=\"urn:x\""],
            "application/soap+xml; charset=utf-8",
            "<env:Value>env:Receiver</env:Value>",
        ),
    ] {
        let response = ask(backsoon.address(), "POST /service", fields);
        assert_eq!((response.status, content_type(&response)), (503, expected));
        assert!(response.field("retry-after").is_some(), "{}", response.head);
        for part in [
            code,
            "Tea &amp; &lt;b&gt;cake&lt;/b&gt; (until 2099-01-01T00:00:00Z)",
            "<type>urn:backsoon:maintenance</type>",
        ] {
            assert!(response.body.contains(part), "{part}: {}", response.body);
        }
    }
}

#[test]
fn git_and_a_picture_get_one_line() {
    let backsoon = told();
    for (line, field) in [
        ("GET /a.git/info/refs?service=git-upload-pack", "accept: */*"),
        ("GET /a.git/HEAD", "user-agent: git/2.47.3"),
        ("POST /a.git/git-upload-pack", "content-type: application/x-git-upload-pack-request"),
        ("GET /logo", "accept: image/avif,image/webp,image/svg+xml,image/*,*/*;q=0.8"),
        ("GET /style", "accept: text/css,*/*;q=0.1"),
    ] {
        let response = ask(backsoon.address(), line, &[field]);
        assert_eq!((response.status, content_type(&response)), (503, LINE), "{line}");
        assert!(response.body.lines().count() == 1 && response.body.len() < 100, "{line}: {}", response.body);
    }
}

#[test]
fn the_problem_has_a_type_of_its_own_and_an_error_for_each_way_to_look_for_one() {
    let backsoon = told();
    for accept in ["application/problem+json", "application/json"] {
        let response = ask(backsoon.address(), "GET /api", &[&format!("accept: {accept}")]);
        let problem = json(&response.body);
        assert_eq!(problem["type"], "urn:backsoon:maintenance");
        let error = &problem["errors"][0];
        let words = ["message", "title", "detail"].map(|name| error[name].as_str().unwrap());
        assert_eq!(words, ["Tea & <b>cake</b>", "Tea & <b>cake</b>", "Moving the database.\n\nNothing is lost."]);
        assert_eq!((&error["status"], &error["code"]), (&"503".into(), &"maintenance".into()));
        assert_eq!(error["extensions"]["code"], "MAINTENANCE");
    }
}

/// Programs that came back at the minute that the page tells would all come at once.
#[test]
fn every_body_with_a_time_to_come_back_has_that_of_its_field() {
    let backsoon = told();
    for (fields, start) in [
        (&["accept: application/json"][..], "\"retry_after\":"),
        (&["accept: application/problem+json", "accept-encoding: gzip"], "\"retry_after\":"),
        (&["accept: application/xml", "accept-encoding: br"], "<retry_after>"),
        (&["content-type: application/soap+xml"], "<retry_after>"),
        (&["content-type: text/xml", "soapaction: x"], "<retry_after>"),
    ] {
        for _ in 0..3 {
            let response = ask(backsoon.address(), "POST /", fields);
            let (_, rest) = response.body.split_once(start).unwrap();
            let seconds: String = rest.chars().take_while(char::is_ascii_digit).collect();
            assert_eq!(response.field("retry-after"), Some(seconds.as_str()), "{fields:?}");
        }
    }
}

/// Without the field, htmx swaps nothing for a 503, and the visitor sees nothing happen.
#[test]
fn htmx_loads_a_page_of_the_closed_route_again_and_no_other() {
    let config = format!(
        "{LISTEN}[routes.web]\nupstream = \"http://127.0.0.1:1\"\nalways_open = [\"/public\"]\n\
         [routes.shop]\npath = \"/shop\"\nupstream = \"http://127.0.0.1:1\"\n"
    );
    let backsoon = Backsoon::start(&config);
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    for (line, url, expected) in [
        ("GET /rows", "hx-current-url: http://test/table?x=1#y", Some("true")),
        ("GET /rows", "hx-current-url: https://TEST:8443/", Some("true")),
        ("GET /rows", "hx-current-url: http://test/shop/cart", None),
        ("GET /rows", "hx-current-url: http://test/public/a", None),
        ("GET /rows", "hx-current-url: nonsense nonsense", None),
        ("GET /rows", "x-own: 1", None),
        ("POST /rows", "hx-current-url: http://test/table", None),
    ] {
        let response = ask(backsoon.address(), line, &["hx-request: true", url, "accept: */*"]);
        assert_eq!((response.status, response.field("hx-refresh")), (503, expected), "{line} {url}");
    }
    let response = ask(backsoon.address(), "GET /rows", &["hx-current-url: http://test/table"]);
    assert_eq!(response.field("hx-refresh"), None);
}

/// Some programs sleep as long as they are told, however long that is.
#[test]
fn the_operator_says_how_long_programs_are_told_to_wait_at_most() {
    let config = format!(
        "retry_after_max = \"20s\"\n{LISTEN}[routes.web]\nupstream = \"http://127.0.0.1:1\"\n\
         [routes.calls]\npath = \"/calls\"\nupstream = \"http://127.0.0.1:1\"\nretry_after_max = \"3s\"\n"
    );
    let backsoon = Backsoon::start(&config);
    backsoon.flag("[routes]\n\"*\" = { mode = \"offline\", until = 2099-01-01T00:00:00Z }\n");
    for (path, bounds) in [("/", 18..=20), ("/calls", 3..=3)] {
        let mut seen = Vec::new();
        for accept in ["application/json", "text/html", "application/json"] {
            let response = ask(backsoon.address(), &format!("GET {path}"), &[&format!("accept: {accept}")]);
            let seconds: u64 = response.field("retry-after").unwrap().parse().unwrap();
            assert!(bounds.contains(&seconds), "{path}: {seconds}");
            if accept == "application/json" {
                assert_eq!(json(&response.body)["retry_after"], seconds, "{path}");
            }
            seen.push(seconds);
        }
        let call = ask(backsoon.address(), &format!("POST {path}"), &["content-type: application/grpc"]);
        let pushback = if path == "/" { "-1" } else { "3000" };
        assert_eq!(call.field("grpc-retry-pushback-ms"), Some(pushback), "{path}: {seen:?}");
    }
}

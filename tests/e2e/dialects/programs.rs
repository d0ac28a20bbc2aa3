//! Programs: the form of the answer by what their requests show, and what is in it.

use std::process::Command;

use super::{ask, closed, json};
use crate::clients::{curl, has_curl, printed, python, script, skipped};
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
        (&["sec-fetch-mode: cors", "accept: */*"], JSON),
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

#[test]
fn a_route_may_have_a_template_for_its_programs() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("pages/programs")).unwrap();
    let own = "{\"why\": {{ title }}, \"retry_after\": {{ retry_after }}}";
    std::fs::write(dir.path().join("pages/programs/own.json"), own).unwrap();
    let route = |name: &str, more: &str| {
        format!("[routes.{name}]\npath = \"/{name}\"\nupstream = \"http://127.0.0.1:1\"\n{more}\n")
    };
    let routes = [
        route("openai", "template = \"openai.json\""),
        route("own", "template = \"own.json\""),
        route("s3", "template = \"s3.xml\""),
        route("plain", ""),
    ];
    let backsoon = Backsoon::start_in(dir, &format!("pages = \"pages\"\n{LISTEN}{}", routes.concat()));
    backsoon.flag("[routes]\n\"*\" = \"offline\"\n");
    let ask = |path: &str, fields: &[&str]| ask(backsoon.address(), &format!("POST {path}"), fields);
    for accept in ["accept: application/json", "accept: application/problem+json", "accept: */*", "x-own: 1"] {
        let response = ask("/openai", &[accept]);
        assert_eq!((response.status, content_type(&response)), (503, JSON), "{accept}");
        let error = &json(&response.body)["error"];
        assert_eq!(
            (&error["type"], &error["code"], &error["param"]),
            (&"server_error".into(), &"maintenance".into(), &json("null"))
        );
        assert!(error["message"].as_str().unwrap().starts_with("Paused for maintenance: "), "{error}");
    }
    // The time to come back is that of each answer, also with a space before it.
    let response = ask("/own", &["accept: application/json"]);
    let seconds: u64 = response.field("retry-after").unwrap().parse().unwrap();
    assert_eq!(json(&response.body), serde_json::json!({ "why": "Paused for maintenance", "retry_after": seconds }));
    let response = ask("/s3", &["accept: */*"]);
    assert_eq!(content_type(&response), "application/xml; charset=utf-8");
    assert!(response.body.contains("<Code>ServiceUnavailable</Code>"), "{}", response.body);
    // Whoever names another form gets that.
    for (path, field, expected) in [
        ("/openai", "accept: text/html", "text/html; charset=utf-8"),
        ("/openai", "accept: application/xml", XML),
        ("/s3", "accept: application/json", JSON),
        ("/openai", "content-type: application/grpc", "application/grpc"),
        ("/plain", "accept: */*", LINE),
    ] {
        let response = ask(path, &[field]);
        assert_eq!(content_type(&response), expected, "{path} {field}");
        assert!(!response.body.contains("server_error"), "{path} {field}");
    }
    assert_eq!(json(&ask("/plain", &["accept: application/json"]).body)["type"], "urn:backsoon:maintenance");
}

#[test]
fn requests_urllib3_and_xmlrpc_see_the_problem_and_wait_no_longer_than_the_operator_says() {
    let Some(python) = python("requests, urllib3 and xmlrpc read a closed route") else { return };
    let config = format!(
        "{LISTEN}[routes.web]\nupstream = \"http://127.0.0.1:1\"\n\
         [routes.short]\npath = \"/short\"\nupstream = \"http://127.0.0.1:1\"\nretry_after_max = \"1s\"\n\
         [routes.openai]\npath = \"/openai\"\nupstream = \"http://127.0.0.1:1\"\ntemplate = \"openai.json\"\n"
    );
    let backsoon = Backsoon::start(&config);
    backsoon.flag("[routes]\n\"*\" = { mode = \"offline\", message = \"Moving the database.\" }\n");
    printed(script(&python, "closed_programs.py").arg(backsoon.url("")));
}

#[test]
fn git_says_in_one_line_why_it_cannot_clone() {
    if !Command::new("git").arg("--version").output().is_ok_and(|output| output.status.success()) {
        skipped("git is told in one line", "git is not installed");
        return;
    }
    let backsoon = told();
    let dir = tempfile::tempdir().unwrap();
    let mut git = Command::new("git");
    git.args(["-c", "http.proxy=", "clone", &backsoon.url("/a.git"), "clone"]).current_dir(dir.path());
    let output = git.env("LC_ALL", "C").env("GIT_TERMINAL_PROMPT", "0").env("NO_PROXY", "*").output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("503"), "{told}");
    assert!(told.lines().filter(|line| line.starts_with("remote: ")).count() == 1, "{told}");
}

#[test]
fn curl_that_sends_json_gets_json_and_one_that_fails_says_503() {
    if !has_curl("curl that sends JSON gets JSON") {
        return;
    }
    let backsoon = told();
    let url = backsoon.url("/api");
    let answer = curl(&["--json", "{}", "--header", "accept: */*", &url]);
    let (body, _) = answer.rsplit_once(" HTTP/").unwrap();
    assert_eq!(json(body)["type"], "urn:backsoon:maintenance");
    let failed = Command::new("curl").args(["--disable", "-s", "-S", "-f", "--noproxy", "*", &url]).output().unwrap();
    assert_eq!(failed.status.code(), Some(22), "{failed:?}");
    assert!(String::from_utf8_lossy(&failed.stderr).contains("503"), "{failed:?}");
}

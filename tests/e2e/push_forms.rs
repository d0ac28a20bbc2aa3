//! Browsers that subscribe by a script of the site: greeted by a first push, told, and forgotten when they have left.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::chat_forms::{list, start};
use crate::clients::{python, script};
use crate::support::{Backsoon, Client, Response, wait};

fn ask(proxy: &Backsoon, line: &str, fields: &str, body: &str) -> Response {
    let mut client = Client::connect(proxy.address());
    let length = body.len();
    client.send(format!("{line} HTTP/1.1\r\nHost: status.test\r\nContent-Length: {length}\r\n{fields}\r\n{body}"));
    client.response()
}

fn offered(proxy: &Backsoon) -> Response {
    let page = || ask(proxy, "GET /subscribe", "Accept: text/html\r\n", "");
    wait("the key of browsers", || page().body.contains("data-key="));
    page()
}

const JSON: &str = "Content-Type: application/json\r\n";

#[test]
fn a_browser_is_greeted_by_a_push_and_told() {
    let Some(python) = python("a browser of `http_ece` that subscribes by the site and reads what it is told") else {
        return;
    };
    let mut service = script(&python, "push_service.py");
    let mut service = service.arg("2").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(service.stdout.take().unwrap()).lines();
    let mut told = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    let browser = told();
    let (proxy, _app) = start("allow_private = \"127.0.0.0/8\"\n");
    offered(&proxy);
    let endpoint = format!("http://127.0.0.1:{}/here", browser["port"]);
    let keys = json!({ "p256dh": browser["p256dh"], "auth": browser["auth"] });
    let sent = json!({ "endpoint": endpoint, "expirationTime": null, "keys": keys, "language": "de" });
    let answer = ask(&proxy, "POST /subscribe/push", JSON, &sent.to_string());
    assert!(answer.status == 202 && answer.body.contains("first notification"), "{}", answer.body);
    let greeting = told();
    assert_eq!(greeting["payload"]["title"], "Sie haben abonniert", "{greeting}");
    assert_eq!(greeting["payload"]["url"], "https://status.test/subscribe");
    wait("the browser to be active", || list(&proxy).contains("\"active\""));
    proxy.flag("[routes]\nweb = \"offline\"\n");
    let update = told();
    let url = update["payload"]["url"].as_str().unwrap();
    assert!(url.starts_with("https://status.test/incidents/"), "{update}");
    assert!(service.wait().unwrap().success());
}

#[test]
fn what_is_no_browser_is_refused_and_the_page_allows_its_worker_alone() {
    let (proxy, _app) = start("");
    let page = offered(&proxy);
    let policy = page.field("content-security-policy").unwrap().to_owned();
    for part in ["worker-src 'self'", "script-src 'sha256-", "default-src 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(page.body.contains("id=\"push-s\"") && page.body.contains(" hidden data-key=\""), "{}", page.body);
    let front = ask(&proxy, "GET /", "Accept: text/html\r\n", "");
    assert!(!front.field("content-security-policy").unwrap().contains("worker-src"));
    let worker = ask(&proxy, "GET /sw.js", "", "");
    assert_eq!(worker.field("content-type"), Some("text/javascript; charset=utf-8"));
    assert!(worker.body.contains("showNotification") && worker.field("content-security-policy").is_some());
    let point = format!("B{}", "A".repeat(86));
    let (good, auth) = ("https://fcm.googleapis.com/fcm/send/x", "A".repeat(22));
    let body = |endpoint: &str, auth: &str| {
        json!({ "endpoint": endpoint, "keys": { "p256dh": point, "auth": auth } }).to_string()
    };
    let cases = [
        ("POST /subscribe/push", format!("{JSON}Sec-Fetch-Site: cross-site\r\n"), body(good, &auth), 403),
        ("POST /subscribe/push", "Content-Type: text/plain\r\n".to_owned(), body(good, &auth), 415),
        ("POST /subscribe/push", JSON.to_owned(), "{}".to_owned(), 400),
        ("POST /subscribe/push", JSON.to_owned(), body(good, "short"), 422),
        ("POST /subscribe/push", JSON.to_owned(), body("https://example.com/push", &auth), 422),
        ("POST /subscribe/push", JSON.to_owned(), body("https://127.0.0.1/push", &auth), 422),
        ("POST /subscribe", JSON.to_owned(), json!({ "channel": "push", "address": good }).to_string(), 422),
        ("GET /subscribe/push", String::new(), String::new(), 404),
    ];
    for (line, fields, body, status) in cases {
        let answer = ask(&proxy, line, &fields, &body);
        assert_eq!(answer.status, status, "{line} {body}: {}", answer.body);
    }
}

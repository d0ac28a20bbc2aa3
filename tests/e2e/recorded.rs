//! The access log: its forms and fields, and a line for everything that was answered.

use std::fs;
use std::io::Read;

use rustls::version::TLS12;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::authority::{Authority, connect};
use crate::support::{Backsoon, Client, LISTEN, Upstream, get, request, wait};
use crate::two::patiently;

/// Starts a proxy with an access log, with these further lines of `[log]`.
fn logging(upstream: &Upstream, more: &str) -> Backsoon {
    Backsoon::start(&config(upstream, more))
}

fn config(upstream: &Upstream, more: &str) -> String {
    format!(
        "{LISTEN}[limits]\nhead_read = \"1s\"\nhead_size = \"128KiB\"\nhead_fields = 40\n[log]\naccess = \"full\"\n\
         access_file = \"access.log\"\n{more}[routes.web]\npath = \"/web\"\nupstream = \"{}\"\n",
        upstream.url()
    )
}

/// Returns the log's text once it has this many lines.
fn text(backsoon: &Backsoon, lines: usize) -> String {
    let log = || fs::read_to_string(backsoon.path("access.log")).unwrap_or_default();
    wait(&format!("{lines} lines"), || log().lines().count() >= lines);
    log()
}

/// Returns the log's lines once there are so many of them, in the order of their statuses.
fn lines(backsoon: &Backsoon, count: usize) -> Vec<Value> {
    let mut lines: Vec<Value> =
        text(backsoon, count).lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert_eq!(lines.len(), count, "{lines:#?}");
    lines.sort_by_key(|line| line["status"].as_u64());
    lines
}

#[test]
fn everything_that_was_answered_has_a_line() {
    let upstream = Upstream::ok();
    let backsoon = logging(&upstream, "");
    let answered = |bytes: String| request(backsoon.address(), &bytes).status;
    assert_eq!(answered("GET /web HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".into()), 200);
    assert_eq!(answered("GET /nowhere HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".into()), 404);
    assert_eq!(answered("GET /bad?secret HTTP/1.1\r\nhost : a\r\n\r\n".into()), 400);
    assert_eq!(answered("\u{16}\u{3}\u{1} garbage\r\n\r\n".into()), 400);
    assert_eq!(answered(format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(70_000))), 414);
    assert_eq!(answered(format!("GET /many HTTP/1.1\r\nhost: a\r\n{}\r\n", "a: b\r\n".repeat(200))), 431);
    assert_eq!(answered(format!("GET /large HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(140_000))), 431);
    assert_eq!(answered("GET /late?secret HTTP/1.1\r\nhos".into()), 408);
    let lines = lines(&backsoon, 8);
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            let path = line["path"].as_str().map(|path| path.chars().take(8).collect::<String>());
            assert_eq!((&line["client"], line["port"].is_u64()), (&"127.0.0.1".into(), true), "{line}");
            assert!(line["micros"].is_u64() && line["generation"].is_u64() && line["time"].is_string(), "{line}");
            (line["status"].as_u64().unwrap(), path.unwrap_or_default(), line["verdict"].as_str().unwrap().to_owned())
        })
        .collect();
    let told: Vec<_> = told.iter().map(|(status, path, verdict)| (*status, path.as_str(), verdict.as_str())).collect();
    // Two of a kind may be in either order.
    assert_eq!((told[0], told[5]), ((200, "/web", "forward"), (414, "/xxxxxxx", "refuse")));
    assert_eq!((told[3], told[4]), ((404, "/nowhere", "refuse"), (408, "/late", "refuse")));
    for pair in [[(400, "/bad", "refuse"), (400, "", "refuse")], [(431, "/many", "refuse"), (431, "/large", "refuse")]]
    {
        assert!(pair.iter().all(|one| told.contains(one)), "{told:?}");
    }
    let log = text(&backsoon, 8);
    assert!(!log.contains("secret"), "{log}");
    assert!(log.lines().all(|line| line.len() < 4096), "a path of 70,000 bytes is cut");
}

#[test]
fn a_line_has_sizes_upstream_agent_and_a_referer_without_its_query() {
    let upstream = Upstream::ok();
    let backsoon = logging(&upstream, "");
    let mut client = Client::connect(backsoon.address());
    client.send(
        "POST /web/a?token=1 HTTP/1.1\r\nhost: shop.example\r\nuser-agent: \"Agent\" \u{e9}\tx\r\n\
         referer: https://other.example/page?secret=2#frag\r\ncontent-length: 7\r\n\r\n1234567",
    );
    assert_eq!(client.response().status, 200);
    let line = lines(&backsoon, 1).remove(0);
    assert_eq!(line["port"], client.stream.get_ref().local_addr().unwrap().port());
    assert_eq!((&line["request_bytes"], &line["bytes"]), (&7.into(), &5.into()));
    assert_eq!((&line["host"], &line["upstream"]), (&"shop.example".into(), &upstream.url().into()));
    assert_eq!(line["user_agent"], "\"Agent\" \u{e9}\tx");
    assert_eq!(line["referer"], "https://other.example/page");
    assert_eq!(line.get("query"), None);
    assert!(line["tls"].is_null() && line["sni"].is_null());
}

#[test]
fn form_and_fields_change_with_the_config_and_no_head_forges_a_line() {
    let upstream = Upstream::ok();
    let backsoon = logging(&upstream, "format = \"combined\"\n");
    // Bytes of no text, a quote, and a backslash.
    let nasty: &[u8] =
        b"GET /web/a?b=1 HTTP/1.1\r\nhost: a\r\nuser-agent: x\xff\xfe\" 500 \\\tz\r\nconnection: close\r\n\r\n";
    let send = |bytes: &[u8]| {
        let mut client = Client::connect(backsoon.address());
        client.send(bytes);
        client.response().status
    };
    assert_eq!(send(nasty), 200);
    assert_eq!(send(b"nonsense\r\n\r\n"), 400);
    let log = text(&backsoon, 2);
    let mut combined: Vec<&str> = log.lines().collect();
    combined.sort_by_key(|line| line.contains(" 400 "));
    assert!(combined[0].starts_with("127.0.0.1 - - ["), "{log}");
    let agent = r#""GET /web/a HTTP/1.1" 200 5 "-" "x\xEF\xBF\xBD\xEF\xBF\xBD\x22 500 \x5C\x09z""#;
    assert!(combined[0].ends_with(agent), "{log}");
    assert!(combined[1].ends_with(r#" "-" 400 0 "-" "-""#), "{log}");

    backsoon.config(&config(&upstream, "format = \"logfmt\"\nfields = [\"status\", \"query\", \"user_agent\"]\n"));
    assert_eq!(send(nasty), 200);
    let log = text(&backsoon, 3);
    assert_eq!(
        log.lines().last().unwrap(),
        "status=200 query=\"b=1\" user_agent=\"x\u{fffd}\u{fffd}\\\" 500 \\\\\\u0009z\""
    );
    assert_eq!(get(backsoon.address(), "/web").status, 200);
    assert_eq!(text(&backsoon, 4).lines().last().unwrap(), "status=200");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_line_has_the_version_of_tls_and_the_name_that_was_asked_for() {
    let authority = Authority::new();
    let upstream = Upstream::ok();
    let dir = tempfile::tempdir().unwrap();
    authority.identity(&["localhost"]).write(dir.path());
    let tls = "address = \"127.0.0.1:0\"\ntls = { cert = \"cert.pem\", key = \"key.pem\" }\n[admin]";
    let config = config(&upstream, "").replacen("address = \"127.0.0.1:0\"\n[admin]", tls, 1);
    let backsoon = Backsoon::start_in(dir, &config);
    let mut stream = connect(backsoon.address(), &authority.client(&[], &[&TLS12])).await.unwrap();
    let head = b"GET /web HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    patiently(stream.write_all(head)).await.unwrap();
    let mut answer = Vec::new();
    patiently(stream.read_to_end(&mut answer)).await.unwrap();
    let line = lines(&backsoon, 1).remove(0);
    assert_eq!((&line["tls"], &line["sni"]), (&"TLSv1.2".into(), &"localhost".into()), "{line}");
}

#[test]
fn an_answer_that_breaks_off_has_the_bytes_that_were_sent() {
    let upstream = Upstream::handling(|connection| {
        while connection.request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhello");
        }
    });
    let backsoon = logging(&upstream, "");
    let mut client = Client::connect(backsoon.address());
    client.send("GET /web HTTP/1.1\r\nhost: a\r\n\r\n");
    client.head();
    let mut hello = [0; 5];
    client.stream.read_exact(&mut hello).unwrap();
    drop(client);
    let line = lines(&backsoon, 1).remove(0);
    assert_eq!(
        (&line["error"], &line["status"], &line["bytes"]),
        (&"aborted".into(), &200.into(), &5.into()),
        "{line}"
    );
}

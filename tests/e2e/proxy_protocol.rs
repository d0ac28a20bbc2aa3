//! PROXY protocol: read from trusted proxies before anything else, and written to upstreams.

use std::net::SocketAddr;

use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;

use crate::authority::Authority;
use crate::support::{Backsoon, Client, Upstream, wait};
use crate::two::{Two, patiently};

/// Config whose second and third listener take headers. 127.0.0.2 is a trusted proxy.
fn config(upstream: &str, more: &str) -> String {
    format!(
        "trusted_proxies = [\"127.0.0.2\"]\n\
         [[listen]]\naddress = \"127.0.0.1:0\"\nproxy_protocol = true\n\
         [[listen]]\naddress = \"127.0.0.1:0\"\nproxy_protocol = \"optional\"\n\
         [admin]\naddress = \"127.0.0.1:0\"\n[log]\naccess = \"full\"\naccess_file = \"access.log\"\n\
         [routes.web]\nupstream = \"{upstream}\"\n{more}"
    )
}

const REQUEST: &str = "GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 203.0.113.9\r\nconnection: close\r\n\r\n";
const V1: &str = "PROXY TCP4 192.0.2.1 198.51.100.2 56324 8443\r\n";

/// Header of version 2 for a client over IPv6, followed by five bytes of something else.
fn v2() -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x29".to_vec();
    header.extend("2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
    header.extend("2001:db8::2".parse::<std::net::Ipv6Addr>().unwrap().octets());
    header.extend([0x10, 0, 0x20, 0xfb]);
    header.extend(b"\x04\0\x02hi");
    header
}

/// Sends bytes as a trusted proxy, and returns the first line of what comes back.
fn as_proxy(address: SocketAddr, bytes: impl AsRef<[u8]>) -> String {
    let mut client = Client::from(2, address);
    client.send(bytes);
    client.try_head().unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}

fn with_request(header: impl AsRef<[u8]>) -> Vec<u8> {
    [header.as_ref(), REQUEST.as_bytes()].concat()
}

#[test]
fn a_trusted_proxy_says_whose_the_connection_is() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::start(&config(&upstream.url(), "bypass = { networks = [\"192.0.2.0/24\"] }\n"));
    for listener in [0, 1] {
        let address = backsoon.listen[listener];
        upstream.forget();
        assert_eq!(as_proxy(address, with_request(V1)), "HTTP/1.1 200 OK");
        let seen = upstream.seen();
        // The client is a stranger: what it says of others is not believed.
        for line in ["x-forwarded-for: 192.0.2.1\r\n", "x-real-ip: 192.0.2.1\r\n", "x-forwarded-port: 8443\r\n"] {
            assert!(seen.contains(line), "{line:?} in {seen}");
        }
        upstream.forget();
        assert_eq!(as_proxy(address, with_request(v2())), "HTTP/1.1 200 OK");
        let seen = upstream.seen();
        assert!(seen.contains("x-forwarded-for: 2001:db8::1\r\n"), "{seen}");
        upstream.forget();
        // A client without a name is nobody, and not the proxy, whose word would be believed.
        assert_eq!(as_proxy(address, with_request("PROXY UNKNOWN\r\n")), "HTTP/1.1 200 OK");
        let seen = upstream.seen();
        assert!(seen.contains("x-forwarded-for: unknown\r\n") && !seen.contains("203.0.113.9"), "{seen}");
        upstream.forget();
        // The proxy's own connection is that of a trusted proxy.
        assert_eq!(as_proxy(address, with_request(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0")), "HTTP/1.1 200 OK");
        let seen = upstream.seen();
        assert!(seen.contains("x-forwarded-for: 203.0.113.9, 127.0.0.2\r\n"), "{seen}");
    }
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    assert_eq!(as_proxy(backsoon.listen[0], with_request(V1)), "HTTP/1.1 200 OK", "the network passes");
    assert_eq!(as_proxy(backsoon.listen[0], with_request(v2())), "HTTP/1.1 503 Service Unavailable");
    let log = || std::fs::read_to_string(backsoon.path("access.log")).unwrap_or_default();
    wait("the access log", || log().contains("\"192.0.2.1\"") && log().contains("\"2001:db8::1\""));
    assert!(!log().contains("\"127.0.0.1\""));
}

#[test]
fn a_header_that_comes_byte_by_byte_is_read() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::start(&config(&upstream.url(), ""));
    for listener in [0, 1] {
        for header in [V1.as_bytes().to_vec(), v2()] {
            let mut client = Client::from(2, backsoon.listen[listener]);
            for byte in with_request(header) {
                client.send([byte]);
            }
            assert_eq!(client.response().status, 200);
        }
    }
}

#[test]
fn a_proxy_that_sends_something_else_is_cut_off_and_a_stranger_is_not_believed() {
    let upstream = Upstream::ok();
    let mut backsoon = Backsoon::start(&config(&upstream.url(), ""));
    for bytes in [REQUEST, "PROXY TCP4 nobody 198.51.100.2 1 2\r\n", "PROXY TCP4 192.0.2.1\r\n\r\n"] {
        assert_eq!(as_proxy(backsoon.listen[0], bytes), "", "{bytes:?}");
    }
    wait("the counter", || backsoon.metric("backsoon_proxy_headers_refused_total", "") >= 3.0);
    let line = backsoon.wait_for_log("a trusted proxy sent no valid PROXY header, its connection was closed");
    assert_eq!(line["proxy"], "127.0.0.2");
    // Where the header is optional, other bytes are those of the proxy itself, but half a header is none.
    assert_eq!(as_proxy(backsoon.listen[1], REQUEST), "HTTP/1.1 200 OK");
    let propfind = "PROPFIND / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    assert_eq!(as_proxy(backsoon.listen[1], propfind).get(..8), Some("HTTP/1.1"), "it begins alike");
    assert_eq!(as_proxy(backsoon.listen[1], "PROXY TCP4 nobody 198.51.100.2 1 2\r\n"), "");
    assert!(!upstream.seen().contains("198.51.100.2"), "{}", upstream.seen());
    for listener in [0, 1] {
        let mut stranger = Client::from(3, backsoon.listen[listener]);
        stranger.send(with_request(V1));
        assert_eq!(stranger.response().status, 400);
        let mut stranger = Client::from(3, backsoon.listen[listener]);
        stranger.send(REQUEST);
        assert_eq!(stranger.response().status, 200);
    }
}

#[test]
fn a_header_that_does_not_come_in_time_ends_the_connection() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::start(&format!("limits = {{ head_read = \"1s\" }}\n{}", config(&upstream.url(), "")));
    for (listener, begins) in [(0, ""), (0, "PROXY TC"), (1, "PRO"), (1, "PROXY TCP4 192.0.2.1")] {
        let mut client = Client::from(2, backsoon.listen[listener]);
        client.send(begins);
        assert!(client.is_closed(), "{listener} {begins:?}");
    }
}

#[test]
fn an_upstream_connection_with_a_header_serves_one_client() {
    for (version, header) in [
        ("v1", "PROXY TCP4 127.0.0.3 127.0.0.1 "),
        ("v2", "\r\n\r\n\0\r\nQUIT\n\u{21}\u{11}\0\u{c}\u{7f}\0\0\u{3}\u{7f}\0\0\u{1}"),
    ] {
        let upstream = Upstream::handling(move |connection| {
            // Version 2 has four more bytes, the ports.
            if version == "v1" {
                connection.line();
            } else {
                for _ in 0..28 {
                    connection.byte();
                }
            }
            while connection.request().is_some() {
                connection.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
            }
        });
        let backsoon = Backsoon::before(&upstream.url(), &format!("proxy_protocol = \"{version}\"\n"));
        for last in [3, 3, 4] {
            let mut client = Client::from(last, backsoon.address());
            client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
            assert_eq!(client.response().status, 200, "{version}");
            client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
            assert_eq!(client.response().status, 200, "{version}");
        }
        assert_eq!(upstream.connections(), 6, "{version}: each request has its own");
        let seen = upstream.seen();
        assert!(seen.starts_with(header), "{version}: {seen:?}");
        if version == "v1" {
            assert_eq!(seen.matches("PROXY TCP4 127.0.0.3 127.0.0.1 ").count(), 4, "{seen}");
            assert_eq!(seen.matches("PROXY TCP4 127.0.0.4 127.0.0.1 ").count(), 2, "{seen}");
            assert!(seen.contains(&format!(" {}\r\nGET /", backsoon.address().port())), "{seen}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_header_comes_before_tls() {
    let authority = Authority::new();
    let upstream = Upstream::ok();
    let dir = tempfile::tempdir().unwrap();
    authority.identity(&["localhost"]).write(dir.path());
    let backsoon = Backsoon::start_in(
        dir,
        &config(&upstream.url(), "").replace(
            "proxy_protocol = true\n",
            "proxy_protocol = true\ntls = { cert = \"cert.pem\", key = \"key.pem\" }\n",
        ),
    );
    let address = backsoon.address();
    let connector = authority.client(&["h2"], &[&TLS13]);
    let connected = async |header: &[u8]| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        stream.write_all(header).await.unwrap();
        patiently(connector.connect(ServerName::try_from("localhost").unwrap(), stream)).await
    };
    for (header, client) in [(V1.as_bytes().to_vec(), "192.0.2.1"), (v2(), "2001:db8::1")] {
        upstream.forget();
        let mut two = Two::over(connected(&header).await.unwrap(), &mut h2::client::Builder::new()).await;
        assert_eq!(two.get("/").await.unwrap().status, 200);
        let seen = upstream.seen();
        for line in [format!("x-forwarded-for: {client}\r\n"), "x-forwarded-proto: https\r\n".to_owned()] {
            assert!(seen.contains(&line), "{line:?} in {seen}");
        }
    }
    // A trusted proxy that begins with TLS at once is cut off.
    assert!(connected(b"").await.is_err());
}

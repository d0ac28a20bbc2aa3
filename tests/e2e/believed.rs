//! Fields that apps believe from a proxy, on every path to an upstream, and the client that trusted proxies name.

use std::net::SocketAddr;
use std::sync::mpsc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response};

use crate::support::{Backsoon, Client, LISTEN, Upstream, request, wait};
use crate::two::{Two, TwoUpstream, patiently, read, whole};
use crate::wire::{alone, next, observed};

/// Fields that a stranger must never set: more of them, and others, than in the proxy's own table.
const WORDS: &[&str] = &[
    // Addresses.
    "X-Forwarded",
    "Forwarded-For",
    "True-Client-IP",
    "X-True-Client-IP",
    "CF-Connecting-IP",
    "CF-Connecting-IPv6",
    "CF-Pseudo-IPv4",
    "CF-IPCountry",
    "CF-Visitor",
    "Fastly-Client-IP",
    "Fastly-SSL",
    "Fly-Client-IP",
    "Incap-Client-IP",
    "DO-Connecting-IP",
    "Ali-CDN-Real-IP",
    "X-Sucuri-ClientIP",
    "X-Vercel-Forwarded-For",
    "X-Client-IP",
    "Client-IP",
    "X-Cluster-Client-IP",
    "X-ProxyUser-IP",
    "X-Remote-IP",
    "X-Remote-Addr",
    "Remote-Addr",
    "X-Originating-IP",
    "X-Azure-ClientIP",
    "X-Azure-SocketIP",
    "X-Appengine-User-IP",
    "X-Envoy-External-Address",
    "X-Envoy-Internal",
    "CloudFront-Viewer-Address",
    "NS-Client-IP",
    "WL-Proxy-Client-IP",
    "WL-Proxy-SSL",
    "Proxy-Client-IP",
    "$WSRA",
    // Schemes, hosts, paths.
    "X-Forwarded-Prefix",
    "X-Forwarded-Server",
    "X-Forwarded-Ssl",
    "X-Forwarded-Scheme",
    "X-Forwarded-Proto-Version",
    "X-Forwarded-Protocol",
    "X-Forwarded-Path",
    "X-Forwarded-Uri",
    "X-Forwarded-Method",
    "X-Forwarded-By",
    "X-Forwarded-Whatever",
    "X-Scheme",
    "X-Url-Scheme",
    "X-Original-URL",
    "X-Original-URI",
    "X-Original-Host",
    "X-Original-To",
    "X-Original-Proto",
    "X-Original-Remote-Addr",
    "X-Original-Forwarded-For",
    "X-Rewrite-URL",
    "X-Envoy-Original-Path",
    "X-HTTP-Host-Override",
    "X-Host",
    "Front-End-Https",
    "CloudFront-Forwarded-Proto",
    "X-Script-Name",
    "X-Sendfile-Type",
    "X-Accel-Mapping",
    // Certificates and identities.
    "X-Forwarded-Client-Cert",
    "X-Forwarded-User",
    "X-SSL-Client-Cert",
    "X-SSL-Client-Verify",
    "SSL-Client-Cert",
    "SSL-Client-Verify",
    "X-Client-Cert",
    "X-Client-Cert-Subject",
    "Client-Cert",
    "X-ARR-ClientCert",
    "MS-ASPNETCORE-CLIENTCERT",
    "X-Amzn-Mtls-Clientcert",
    "X-Amzn-Oidc-Identity",
    "X-MS-Client-Principal",
    "X-Goog-Authenticated-User-Email",
    "Cf-Access-Authenticated-User-Email",
    "Remote-User",
    "X-Remote-User",
    "X-Authenticated-User",
    "X-Auth-Request-Email",
    "X-WEBAUTH-USER",
    "Tailscale-User-Login",
    "iv-user",
];

/// CGI spellings of such fields, which are removed from trusted proxies' requests as well.
const DISGUISED: &[&str] = &[
    "X_Real_IP",
    "X-Real_IP",
    "x_forwarded-port",
    "X_FORWARDED_FOR",
    "X_Scheme",
    "True_Client-IP",
    "CF_Connecting_IP",
    "Remote_User",
    "SSL_CLIENT_CERT",
    "SM_USER",
    "OIDC_CLAIM_sub",
    "X.Forwarded.For",
    "X~Real'IP",
    "Content_Length",
    "X_Request_Id",
];

/// Names that exist in this form only.
const OWN_FORM: &[&str] = &["SSL_CLIENT_CERT", "SM_USER", "OIDC_CLAIM_sub"];

/// Names that resemble them and are harmless.
const INNOCENT: &[&str] = &[
    "X-Requested-With",
    "X-Http-Method-Override",
    "X-Csrf-Token",
    "X-Client-Version",
    "X-User-Id",
    "X-Correlation-Id",
    "X-Api-Key",
    "CDN-Loop",
    "Via",
    "Sec-Fetch-Site",
    "Cache-Control",
    "Origin",
    "Authorization",
    "Accept_Language",
];

const EVIL: &str = "198.51.100.66";

/// Returns these fields as `name: value` lines.
fn lines(names: &[&str]) -> String {
    names.iter().map(|name| format!("{name}: {EVIL}\r\n")).collect()
}

/// Returns a field's values in a head that the upstream received.
fn values<'h>(head: &'h str, name: &str) -> Vec<&'h str> {
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

/// Checks that a head has none of the forbidden fields and all innocent ones.
fn is_clean(head: &str, names: &[&str]) {
    for name in names {
        let expected: &[&str] = if INNOCENT.contains(name) { &[EVIL] } else { &[] };
        assert_eq!(values(head, name), expected, "{name} in\n{head}");
    }
    assert_eq!(values(head, "proxy"), <[&str; 0]>::default());
}

/// Returns all fields in groups, because more than a hundred in one request are refused.
fn turns() -> impl Iterator<Item = Vec<&'static str>> {
    [WORDS, DISGUISED, INNOCENT].concat().chunks(40).map(<[&str]>::to_vec).collect::<Vec<_>>().into_iter()
}

/// Returns the config of a proxy that trusts every peer on this machine.
fn trusting(upstream: &str) -> String {
    format!("workers = 1\ntrusted_proxies = [\"127.0.0.0/8\"]\n{LISTEN}[routes.web]\nupstream = \"{upstream}\"\n")
}

#[test]
fn no_stranger_says_a_word_of_a_proxy() {
    let upstream = Upstream::ok();
    let backsoon = alone(&upstream.url(), "");
    let port = backsoon.address().port().to_string();
    let mine =
        ["X-Real-IP", "X-Forwarded-Port", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded"];
    for names in turns() {
        let said = lines(&names) + &lines(&mine) + &lines(&mine) + "Proxy: http://evil/\r\n";
        assert_eq!(request(backsoon.address(), &format!("GET / HTTP/1.1\r\nhost: a\r\n{said}\r\n")).status, 200);
        let head = upstream.seen();
        is_clean(&head, &names);
        assert_eq!(values(&head, "x-real-ip"), ["127.0.0.1"]);
        assert_eq!(values(&head, "x-forwarded-port"), [port.as_str()]);
        assert_eq!(values(&head, "x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(values(&head, "x-forwarded-host"), ["a"]);
        upstream.forget();
    }
}

#[test]
fn connection_takes_none_of_them_away() {
    let upstream = Upstream::ok();
    let names =
        "connection: x-real-ip, x-forwarded-port, x-forwarded-for, forwarded, x-request-id, x-forwarded-proto\r\n";
    let ask = |backsoon: &Backsoon, said: &str| {
        assert_eq!(request(backsoon.address(), &format!("GET / HTTP/1.1\r\nhost: a\r\n{names}{said}\r\n")).status, 200);
        let head = upstream.seen();
        upstream.forget();
        head
    };
    let head = ask(&alone(&upstream.url(), ""), "");
    for name in ["x-real-ip", "x-forwarded-port", "x-forwarded-for", "forwarded", "x-request-id", "x-forwarded-proto"] {
        assert_eq!(values(&head, name).len(), 1, "{name} in\n{head}");
    }
    // A trusted proxy that forwards its client's `Connection` field keeps its own fields.
    let head = ask(&Backsoon::start(&trusting(&upstream.url())), "x-forwarded-for: 203.0.113.9\r\n");
    assert_eq!(values(&head, "x-forwarded-for"), ["203.0.113.9, 127.0.0.1"]);
    assert_eq!(values(&head, "x-real-ip"), ["203.0.113.9"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn no_stranger_says_a_word_over_http_2() {
    let (one, two) = (Upstream::ok(), TwoUpstream::echoing_paths().await);
    let before_one = alone(&one.url(), "");
    let before_two = alone(&two.url(), "http2 = true\n");
    for names in turns() {
        for backsoon in [&before_one, &before_two] {
            let mut client = Two::connect(backsoon.address()).await;
            let mut head = crate::two::request("GET", "/");
            for name in names.iter().chain(&["X-Real-IP", "X-Forwarded-Port", "Proxy"]) {
                let name = HeaderName::from_bytes(name.to_lowercase().as_bytes()).unwrap();
                head.headers_mut().append(name, HeaderValue::from_static(EVIL));
            }
            assert_eq!(client.ask(head, "").await.unwrap().status, 200);
        }
        let mut came = two.heads().pop().unwrap().headers().clone();
        let two: String =
            came.drain().map(|(name, value)| format!("\n{}: {}", name.unwrap(), value.to_str().unwrap())).collect();
        for (head, port) in [(one.seen(), before_one.address().port()), (two, before_two.address().port())] {
            is_clean(&head, &names);
            assert_eq!(values(&head, "x-real-ip"), ["127.0.0.1"]);
            assert_eq!(values(&head, "x-forwarded-port"), [port.to_string()]);
        }
        one.forget();
    }
}

#[test]
fn no_stranger_says_a_word_in_an_upgrade() {
    let (upstream, connections) = observed();
    let backsoon = alone(&upstream.url(), "");
    for names in turns() {
        let mut client = Client::connect(backsoon.address());
        let said = lines(&names) + "x-real-ip: 198.51.100.66\r\nproxy: http://evil/\r\n";
        client.send(format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n{said}\r\n"));
        let mut connection = next(&connections);
        let head = connection.head().unwrap();
        is_clean(&head, &names);
        assert_eq!(values(&head, "upgrade"), ["websocket"]);
        assert_eq!(values(&head, "x-real-ip"), ["127.0.0.1"]);
        connection.send("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n");
        assert!(client.head().starts_with("HTTP/1.1 101 "));
    }
}

#[test]
fn a_unix_socket_has_a_port_and_no_address() {
    use std::io::{Read, Write};
    let upstream = Upstream::ok();
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("listen.sock");
    let config = format!(
        "workers = 1\n{LISTEN}[[listen]]\naddress = \"unix:{}\"\n[routes.web]\nupstream = \"{}\"\n",
        socket.display(),
        upstream.url()
    );
    let _backsoon = Backsoon::start_in(dir, &config);
    let mut client = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nx-real-ip: 198.51.100.66\r\nconnection: close\r\n\r\n").unwrap();
    client.read_to_string(&mut String::new()).unwrap();
    let head = upstream.seen();
    assert_eq!(values(&head, "x-real-ip"), <[&str; 0]>::default(), "{head}");
    assert_eq!(values(&head, "x-forwarded-port"), ["80"]);
}

/// Sends trailers over HTTP/1 and returns everything the upstream got after the last chunk.
fn trailers_of(
    connections: &mpsc::Receiver<crate::support::UpstreamConnection>,
    to: SocketAddr,
    names: &[&str],
) -> String {
    let mut client = Client::connect(to);
    client.send(format!(
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close, te\r\nte: trailers\r\ntrailer: {}\r\n\r\n\
         5\r\nhello\r\n0\r\n{}\r\n",
        names.join(", "),
        lines(names)
    ));
    let mut connection = next(connections);
    connection.head().unwrap();
    while connection.line() != "0" {}
    let mut trailers = "\n".to_owned();
    loop {
        match connection.line() {
            line if line.is_empty() => break,
            line => trailers += &format!("{line}\n"),
        }
    }
    connection.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    assert_eq!(client.response().status, 200);
    trailers
}

#[test]
fn no_word_comes_in_trailers() {
    let (upstream, connections) = observed();
    for backsoon in [alone(&upstream.url(), ""), Backsoon::start(&trusting(&upstream.url()))] {
        for names in [WORDS, DISGUISED].concat().chunks(40) {
            let names = [names, &["X-Real-IP", "X-Forwarded-For", "X-Forwarded-Port", "Proxy", "X-Checksum"]].concat();
            let trailers = trailers_of(&connections, backsoon.address(), &names);
            assert_eq!(trailers.to_lowercase(), format!("\nx-checksum: {EVIL}\n"));
        }
        assert_eq!(trailers_of(&connections, backsoon.address(), &["X-Real-IP"]), "\n");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn no_word_comes_in_trailers_over_http_2() {
    let (send, came) = mpsc::channel();
    let upstream = TwoUpstream::handling(move |request, mut respond| {
        let send = send.clone();
        async move {
            let mut body = request.into_body();
            read(&mut body).await.unwrap();
            let trailers = body.trailers().await.unwrap().unwrap_or_default();
            send.send(trailers).unwrap();
            respond.send_response(Response::new(()), true).unwrap();
        }
    })
    .await;
    let backsoon = alone(&upstream.url(), "http2 = true\n");
    let mut client = Two::connect(backsoon.address()).await;
    for (own, left) in [(Some("x-checksum"), vec!["x-checksum"]), (None, vec![])] {
        let (response, mut upload) = client.begin(crate::two::request("POST", "/"), false).await;
        upload.send_data(Bytes::from_static(b"hello"), false).unwrap();
        let names = [WORDS, DISGUISED, &["X-Real-IP", "Proxy", "Cookie", "Host", "Content-Length"]].concat();
        let mut trailers = HeaderMap::new();
        for name in names.iter().copied().chain(own) {
            let name = HeaderName::from_bytes(name.to_lowercase().as_bytes()).unwrap();
            trailers.append(name, HeaderValue::from_static(EVIL));
        }
        upload.send_trailers(trailers).unwrap();
        assert_eq!(whole(patiently(response).await.unwrap()).await.unwrap().status, 200);
        let trailers = came.recv().unwrap();
        assert_eq!(trailers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), left);
    }
}

#[test]
fn a_trusted_proxys_word_is_passed_on_as_it_came() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::start(&trusting(&upstream.url()));
    let ask = |said: &str| {
        assert_eq!(request(backsoon.address(), &format!("GET / HTTP/1.1\r\nhost: a\r\n{said}\r\n")).status, 200);
        let head = upstream.seen();
        upstream.forget();
        head
    };
    for names in [WORDS, INNOCENT].concat().chunks(40) {
        let head = ask(&(lines(names) + "Proxy: http://evil/\r\n"));
        for name in names {
            assert_eq!(values(&head, name), [EVIL], "{name} in\n{head}");
        }
        assert_eq!(values(&head, "proxy"), <[&str; 0]>::default(), "no app is to have it (httpoxy)");
    }
    for name in DISGUISED {
        let head = ask(&lines(&[name]));
        let own: &[&str] = if OWN_FORM.contains(name) { &[EVIL] } else { &[] };
        assert_eq!(values(&head, name), own, "{name}");
    }
    let head = ask("x-real-ip: 203.0.113.1\r\nx-forwarded-port: 8443\r\nx-forwarded-for: 203.0.113.2\r\n");
    assert_eq!(values(&head, "x-real-ip"), ["203.0.113.1"]);
    assert_eq!(values(&head, "x-forwarded-port"), ["8443"]);
    let port = backsoon.address().port().to_string();
    // The proxy's own field, and the address and port that the upstream is told.
    for (said, address, told) in [
        ("", Some("127.0.0.1"), Some(port.as_str())),
        ("x-forwarded-for: 203.0.113.2\r\n", Some("203.0.113.2"), None),
        ("x-forwarded-for: 198.51.100.1, 203.0.113.2:4711, 127.0.0.2\r\n", Some("203.0.113.2"), None),
        ("x-forwarded-for: unknown\r\n", None, None),
        ("forwarded: for=\"[2001:db8::1]:4711\";proto=https\r\n", Some("2001:db8::1"), None),
        ("x-forwarded-proto: https\r\n", Some("127.0.0.1"), None),
    ] {
        let head = ask(said);
        assert_eq!(values(&head, "x-real-ip"), address.into_iter().collect::<Vec<_>>(), "{said}");
        assert_eq!(values(&head, "x-forwarded-port"), told.into_iter().collect::<Vec<_>>(), "{said}");
    }
}

#[test]
fn the_next_hop_is_told_the_same_in_both_fields() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::start(&trusting(&upstream.url()));
    let own = "for=127.0.0.1;host=a;proto=http";
    for (said, addresses, elements) in [
        (
            "x-forwarded-for: 203.0.113.1:80, [2001:db8::1], _x, unknown, odd one",
            "203.0.113.1:80, [2001:db8::1], _x, unknown, odd one, 127.0.0.1",
            "for=203.0.113.1, for=\"[2001:db8::1]\", for=_x, for=unknown, for=unknown",
        ),
        (
            "forwarded: For=203.0.113.1;proto=https, for=\"[2001:db8::1]:80\"\r\nforwarded: by=x, for=_x",
            "203.0.113.1, 2001:db8::1, unknown, _x, 127.0.0.1",
            "For=203.0.113.1;proto=https, for=\"[2001:db8::1]:80\", by=x, for=_x",
        ),
        ("forwarded: for=\"203.0.113.1", "unknown, 127.0.0.1", "for=\"203.0.113.1"),
        ("x-forwarded-for: ", "unknown, 127.0.0.1", "for=unknown"),
        (
            "x-forwarded-for: 1.1.1.1,\r\nx-forwarded-for: 2.2.2.2",
            "1.1.1.1,unknown, 2.2.2.2, 127.0.0.1",
            "for=1.1.1.1, for=unknown, for=2.2.2.2",
        ),
        ("x-forwarded-for: 1.1.1.1\r\nforwarded: for=2.2.2.2", "1.1.1.1, 127.0.0.1", "for=2.2.2.2"),
    ] {
        assert_eq!(request(backsoon.address(), &format!("GET / HTTP/1.1\r\nhost: a\r\n{said}\r\n\r\n")).status, 200);
        let head = upstream.seen();
        assert_eq!(values(&head, "x-forwarded-for"), [addresses], "{said}");
        assert_eq!(values(&head, "forwarded"), [format!("{elements}, {own}")], "{said}");
        upstream.forget();
    }
}

/// Returns a proxy whose trusted peers and staff share one network, as is usual.
fn with_staff(upstream: &Upstream) -> Backsoon {
    let config = trusting(&upstream.url())
        + "bypass = { networks = [\"127.0.0.0/8\", \"2001:db8:aa::/48\"] }\n[log]\naccess = \"full\"\naccess_file = \"access.log\"\n";
    let backsoon = Backsoon::start(&config);
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    backsoon
}

#[test]
fn who_cannot_be_read_is_unknown_and_in_no_network() {
    let backsoon = with_staff(&Upstream::ok());
    let many = format!("x-forwarded-for: {}", vec!["127.0.0.9"; 40].join(", "));
    let cases: &[(&str, u16, &str)] = &[
        ("", 200, "127.0.0.1"),
        ("x-forwarded-for: 203.0.113.1:4711", 503, "203.0.113.1"),
        ("x-forwarded-for: 127.0.0.7:4711", 200, "127.0.0.7"),
        ("x-forwarded-for: [2001:db8::1]:4711", 503, "2001:db8::1"),
        ("x-forwarded-for: [2001:db8:aa::1]:4711", 200, "2001:db8:aa::1"),
        ("x-forwarded-for: [2001:db8:aa::1]", 200, "2001:db8:aa::1"),
        ("x-forwarded-for: fe80::1%eth0", 503, "fe80::1"),
        ("x-forwarded-for: [fe80::1%25eth0]:80", 503, "fe80::1"),
        ("x-forwarded-for: \"2001:db8:aa::1\"", 200, "2001:db8:aa::1"),
        ("x-forwarded-for: \"[2001:db8:aa::1]:1\"", 200, "2001:db8:aa::1"),
        ("x-forwarded-for: ::ffff:203.0.113.1", 503, "203.0.113.1"),
        ("x-forwarded-for: [::ffff:127.0.0.7]:80", 200, "127.0.0.7"),
        ("x-forwarded-for: unknown", 503, "unknown"),
        ("x-forwarded-for: _hidden", 503, "unknown"),
        ("x-forwarded-for: ", 503, "unknown"),
        ("x-forwarded-for: ,", 503, "unknown"),
        ("x-forwarded-for: 127.0.0.7, ", 503, "unknown"),
        ("x-forwarded-for: 127.0.0.7\r\nx-forwarded-for: ", 503, "unknown"),
        ("x-forwarded-for: 203.0.113.1, , 127.0.0.7", 503, "203.0.113.1"),
        ("x-forwarded-for: , 127.0.0.7", 200, "127.0.0.7"),
        ("x-forwarded-for: 127.0.0.7, 203.0.113.1:x", 503, "unknown"),
        ("x-forwarded-for: 203.0.113.1:99999999", 503, "unknown"),
        ("x-forwarded-for: 127.0.0.07", 503, "unknown"),
        ("x-forwarded-for: unix:", 503, "unknown"),
        (&many, 503, "unknown"),
        ("x-forwarded-for: 203.0.113.1, 127.0.0.7:80, 127.0.0.8", 503, "203.0.113.1"),
        ("x-forwarded-for: unknown, 127.0.0.7", 503, "unknown"),
        ("x-forwarded-for: \nforwarded: for=127.0.0.7", 503, "unknown"),
        ("forwarded: for=203.0.113.1", 503, "203.0.113.1"),
        ("forwarded: for=127.0.0.7", 200, "127.0.0.7"),
        ("Forwarded: proto=https;FOR=\"[2001:db8:aa::1]:80\"; by=127.0.0.1", 200, "2001:db8:aa::1"),
        ("forwarded: for=\"\\[2001:db8:aa::1]\"", 200, "2001:db8:aa::1"),
        ("forwarded: for=203.0.113.1, for=127.0.0.7", 503, "203.0.113.1"),
        ("forwarded: for=127.0.0.7, for=203.0.113.1\r\nforwarded: for=127.0.0.8", 503, "203.0.113.1"),
        ("forwarded: for=unknown", 503, "unknown"),
        ("forwarded: for=_hidden", 503, "unknown"),
        ("forwarded: for=\"_hidden:_port\"", 503, "unknown"),
        ("forwarded: proto=https", 503, "unknown"),
        ("forwarded: for=127.0.0.7;for=127.0.0.8", 503, "unknown"),
        ("forwarded: ", 503, "unknown"),
        ("forwarded: for=127.0.0.7, ", 503, "unknown"),
        ("forwarded: for=\"127.0.0.7", 503, "unknown"),
        // The client's value opens a quoted string, which swallows the proxy's own value.
        ("forwarded: for=127.0.0.7;x=\", for=203.0.113.1", 503, "unknown"),
        ("forwarded: for=127.0.0.7;x=\", for=\"203.0.113.1:80\"", 503, "unknown"),
        ("forwarded: for=127.0.0.7\r\nx-forwarded-for: 203.0.113.1", 503, "203.0.113.1"),
        ("forwarded: for=203.0.113.1\r\nx-forwarded-for: 127.0.0.7", 200, "127.0.0.7"),
    ];
    let log = || std::fs::read_to_string(backsoon.path("access.log")).unwrap_or_default();
    for (count, (said, status, client)) in cases.iter().enumerate() {
        let said = said.replace(": \nf", ": \r\nf");
        let line = if said.is_empty() { String::new() } else { format!("{said}\r\n") };
        let answer =
            request(backsoon.address(), &format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{line}\r\n"));
        assert_eq!(answer.status, *status, "{said:?}");
        wait("the access log", || log().lines().count() == count + 1);
        let last: serde_json::Value = serde_json::from_str(log().lines().last().unwrap()).unwrap();
        assert_eq!(last["client"], *client, "{said:?}");
    }
}

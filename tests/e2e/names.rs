//! Upstreams by name.

use std::time::{Duration, Instant};

use crate::support::{Backsoon, Client, LISTEN, Upstream, get};

#[test]
fn a_name_is_looked_up_again_and_kept_connections_to_its_addresses_stay() {
    let upstream = Upstream::ok();
    let port = upstream.address.port();
    let route = format!("[routes.web]\nupstream = \"http://localhost:{port}\"\n[limits]\ndns_ttl = \"1s\"\n");
    let backsoon = Backsoon::start(&format!("workers = 1\n{LISTEN}{route}"));
    let mut client = Client::connect(backsoon.address());
    let began = Instant::now();
    // Over several look-ups, and sweeps of idle connections.
    while began.elapsed() < Duration::from_millis(3500) {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(client.response().status, 200);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(upstream.connections(), 1, "the address has not changed");
}

#[test]
fn a_name_that_does_not_exist_is_a_bad_gateway() {
    let route = "[routes.web]\nupstream = \"http://nowhere.invalid:1\"\n";
    let backsoon = Backsoon::start(&format!("{LISTEN}{route}"));
    for _ in 0..3 {
        let status = get(backsoon.address(), "/").status;
        assert!(matches!(status, 502 | 504), "{status}");
    }
}

//! Flags from a NATS cluster of three servers, which loses its leader, and then its majority.

use std::time::{Duration, Instant};

use crate::command::run;
use crate::nats::{Nats, NatsClient};
use crate::support::{Backsoon, Upstream, get, wait, wait_for_page};

const EDITS: usize = 8;

/// Returns the name of the server that leads the bucket, as a running server sees it.
fn leader(node: &Nats) -> Option<String> {
    let info = NatsClient::ask(node.address, "$JS.API.STREAM.INFO.KV_backsoon", "");
    info["cluster"]["leader"].as_str().filter(|name| !name.is_empty()).map(str::to_owned)
}

fn closed(proxy: &Backsoon) -> usize {
    let status = proxy.status();
    status["routes"].as_array().unwrap().iter().filter(|route| route["phase"] == "closed").count()
}

#[test]
fn a_cluster_that_loses_its_leader_and_its_majority_loses_no_edit() {
    let Some(mut nodes) = Nats::cluster::<3>("a cluster of NATS is not tried") else { return };
    wait_for_page("a bucket with three replicas", || {
        NatsClient::ask(nodes[0].address, "$JS.API.STREAM.CREATE.KV_backsoon", &NatsClient::bucket(3));
        leader(&nodes[0]).is_some()
    });
    nodes[0].client().put("# of the fleet\n[routes]\n");
    let upstream = Upstream::ok();
    let routes: String =
        (0..EDITS).map(|at| format!("[routes.r{at}]\npath = \"/{at}\"\nupstream = \"{}\"\n", upstream.url())).collect();
    let servers: Vec<String> = nodes.iter().map(|node| format!("\"nats://{}\"", node.address)).collect();
    let more = format!("{routes}[fleet]\nnats = [{}]\n", servers.join(", "));
    let proxies = [Backsoon::before(&upstream.url(), &more), Backsoon::before(&upstream.url(), &more)];
    let (dir, admin) = (proxies[0].dir.path(), proxies[0].admin.to_string());

    // The leader is killed between two edits, the second of which comes before there is another.
    let mut failed = 0;
    for edit in 0..EDITS {
        if edit == EDITS / 2 {
            let name = leader(&nodes[0]).unwrap();
            nodes.iter_mut().find(|node| node.is_named(&name)).unwrap().kill();
        }
        wait_for_page("an edit", || {
            let code = run(dir, &["on", &format!("r{edit}"), "--admin", &admin]).code;
            failed += usize::from(code != 0);
            assert!([0, 69, 75].contains(&code), "{code}");
            code == 0
        });
    }
    let alive = nodes.iter().position(Nats::is_running).unwrap();
    let mut client = nodes[alive].client();
    let text = client.flags();
    (0..EDITS).for_each(|edit| assert!(text.contains(&format!("r{edit} = \"offline\"")), "r{edit} is lost:\n{text}"));
    wait("the proxies to follow", || proxies.iter().all(|proxy| closed(proxy) == EDITS));
    eprintln!("the leader was killed: {failed} edits were refused, none lost");

    // Without a majority nothing is written, and everything stays.
    let other = nodes.iter().rposition(Nats::is_running).unwrap();
    nodes[other].kill();
    wait_for_page("word that it is away", || {
        proxies.iter().all(|proxy| proxy.status()["fleet"]["trouble"].is_string())
    });
    run(dir, &["off", "r0", "--admin", &admin]).exits(69);
    for proxy in &proxies {
        assert_eq!((get(proxy.admin, "/readyz").status, closed(proxy)), (200, EDITS));
        assert_eq!((get(proxy.address(), "/0").status, get(proxy.address(), "/").status), (503, 200));
    }
    nodes.iter_mut().filter(|node| !node.is_running()).for_each(Nats::run);
    let mut revision = None;
    wait_for_page("a majority", || {
        revision = NatsClient::ask(nodes[alive].address, "$KV.backsoon.flags", "# anew\n[routes]\n")["seq"].as_u64();
        revision.is_some()
    });
    let (back, revision) = (Instant::now(), revision.unwrap());
    // A put whose answer did not come in time may be stored as well, and later.
    let agrees = |proxy: &Backsoon| {
        let fleet = &proxy.status()["fleet"];
        let in_force: u64 = fleet["in_force"].as_str().unwrap().parse().unwrap();
        in_force >= revision && fleet["trouble"].is_null()
    };
    wait("the proxies to agree", || proxies.iter().all(agrees));
    eprintln!("majority back to agreed: {:?}", back.elapsed());
    assert!(back.elapsed() < Duration::from_secs(10), "{:?}", back.elapsed());
    assert!(proxies.iter().all(|proxy| closed(proxy) == 0));
}

//! Flags from a key of NATS: edited from several sides, with a server that is killed, stopped, or loses its data.

use std::thread;
use std::time::{Duration, Instant};

use crate::command::run;
use crate::nats::{Nats, NatsClient};
use crate::support::{Backsoon, Upstream, get, wait};

const OPEN: &str = "# of the fleet\n[routes]\n";
const CLOSED: &str = "# of the fleet\n[routes]\nweb = \"offline\"\n";

fn proxy(nats: &Nats, upstream: &Upstream) -> Backsoon {
    Backsoon::before(&upstream.url(), &nats.table())
}

fn status_of(proxy: &Backsoon) -> u16 {
    get(proxy.address(), "/").status
}

fn wait_for_status(proxy: &Backsoon, status: u16) {
    wait(&format!("{status} from {}", proxy.address()), || status_of(proxy) == status);
}

fn wait_for_revision(proxy: &Backsoon, revision: u64) {
    let revision = revision.to_string();
    wait(&format!("revision {revision}"), || proxy.status()["fleet"]["in_force"] == *revision);
}

/// Starts a server with a bucket, and a client.
fn server(claim: &str) -> Option<(Nats, NatsClient)> {
    let nats = Nats::start(claim)?;
    let mut client = nats.client();
    client.make_bucket();
    Some((nats, client))
}

#[test]
fn five_replicas_follow_a_key_within_milliseconds() {
    let Some((nats, mut client)) = server("replicas that follow NATS are not timed") else { return };
    client.put(OPEN);
    let upstream = Upstream::ok();
    let proxies: Vec<Backsoon> = (0..5).map(|_| proxy(&nats, &upstream)).collect();
    proxies.iter().for_each(|proxy| assert_eq!(status_of(proxy), 200));
    let mut times: Vec<Duration> = (0..20)
        .map(|turn| {
            let (text, status) = if turn % 2 == 0 { (CLOSED, 503) } else { (OPEN, 200) };
            let put = Instant::now();
            client.put(&format!("{text}# turn {turn}\n"));
            proxies.iter().for_each(|proxy| {
                while status_of(proxy) != status {
                    assert!(put.elapsed() < Duration::from_secs(20), "turn {turn}");
                    thread::sleep(Duration::from_micros(200));
                }
            });
            put.elapsed()
        })
        .collect();
    times.sort_unstable();
    eprintln!("put to the last of 5 replicas: median {:?}, longest {:?}", times[10], times[19]);
    // A watch that fell silent would be seen by the reads alone, after 10 s.
    assert!(times[10] < Duration::from_secs(5), "{times:?}");
}

#[test]
fn an_engine_that_is_killed_or_hangs_opens_nothing_and_is_followed_again() {
    let Some((mut nats, mut client)) = server("flags of a NATS server that dies are not tried") else { return };
    client.put(CLOSED);
    let upstream = Upstream::ok();
    let mut proxy = proxy(&nats, &upstream);
    assert_eq!(status_of(&proxy), 503);
    client.put("[routes]\nweb = \"of-line\"\n");
    let place = nats.place();
    wait("the mistake with its place", || {
        let status = proxy.status();
        let files = status["files"].as_array().unwrap();
        files.iter().any(|file| file["path"] == *place && file["problems"][0]["line"] == 2)
    });
    client.put(CLOSED);
    client.delete();
    wait("word of the deletion", || proxy.status()["fleet"]["deleted"] == true);
    assert_eq!(status_of(&proxy), 503, "deleted is not off");
    let revision = client.put(CLOSED);
    wait_for_revision(&proxy, revision);
    nats.kill();
    wait("word that it is away", || proxy.status()["fleet"]["stale_since"].is_string());
    proxy.signal("TERM");
    proxy.wait_for_exit();
    let config = std::fs::read_to_string(proxy.path("backsoon.toml")).unwrap();
    let dir = std::mem::replace(&mut proxy.dir, tempfile::tempdir().unwrap());
    let proxy = Backsoon::start_in(dir, &config);
    assert_eq!(status_of(&proxy), 503, "by the copy");
    assert_eq!(get(proxy.admin, "/readyz").status, 200);
    nats.run();
    let back = Instant::now();
    wait("the engine to be back", || proxy.status()["fleet"]["trouble"].is_null());
    eprintln!("engine back to followed: {:?}", back.elapsed());
    let mut client = nats.client();
    let revision = client.put(OPEN);
    wait_for_revision(&proxy, revision);
    wait_for_status(&proxy, 200);
    // A server that hangs holds up nothing. What it was told meanwhile is followed afterwards.
    nats.signal("STOP");
    wait("word that it hangs", || proxy.status()["fleet"]["trouble"].is_string());
    assert_eq!(status_of(&proxy), 200);
    nats.signal("CONT");
    let revision = client.put(CLOSED);
    wait_for_revision(&proxy, revision);
    wait_for_status(&proxy, 503);
}

#[test]
fn an_engine_that_has_lost_its_data_is_reported_and_followed() {
    let Some((mut nats, mut client)) = server("flags of a NATS server without its data are not tried") else { return };
    (0..5).for_each(|turn| {
        client.put(&format!("{OPEN}# {turn}\n"));
    });
    let revision = client.put(CLOSED);
    let upstream = Upstream::ok();
    let proxy = proxy(&nats, &upstream);
    wait_for_revision(&proxy, revision);
    nats.lose_data();
    let mut client = nats.client();
    wait("word of the bucket that is gone", || {
        proxy.status()["fleet"]["trouble"].as_str().is_some_and(|why| why.contains("there is no bucket `backsoon`"))
    });
    client.make_bucket();
    wait("word of the key that is gone", || proxy.status()["fleet"]["deleted"] == true);
    assert_eq!(status_of(&proxy), 503);
    client.put(&format!("{CLOSED}# anew\n"));
    wait("word of the loss", || proxy.status()["fleet"]["lost"] == "from 6 to 1");
    assert_eq!(status_of(&proxy), 503);
    run(proxy.dir.path(), &["status", &proxy.admin.to_string()])
        .exits(1)
        .says("has gone back in its revisions, from 6 to 1");
    let revision = client.put(OPEN);
    wait_for_revision(&proxy, revision);
    wait_for_status(&proxy, 200);
    assert!(proxy.status()["fleet"]["lost"].is_null());
}

#[test]
fn ten_shells_edit_one_key_and_no_edit_is_lost() {
    let Some((nats, mut client)) = server("edits of a key of NATS are not tried") else { return };
    client.put(OPEN);
    let upstream = Upstream::ok();
    let routes: String = (0..10)
        .map(|shell| format!("[routes.r{shell}]\npath = \"/{shell}\"\nupstream = \"{}\"\n", upstream.url()))
        .collect();
    let proxy = Backsoon::before(&upstream.url(), &format!("{routes}{}", nats.table()));
    let (dir, admin) = (proxy.dir.path(), proxy.admin.to_string());
    thread::scope(|scope| {
        for shell in 0..10 {
            let admin = &admin;
            scope.spawn(move || {
                let route = format!("r{shell}");
                // An odd number would leave it open.
                for word in ["on", "off"].into_iter().cycle().take(9).chain(["on"]) {
                    // A shell that is outrun is told so, and tries again, as a script would.
                    let tries = (0..20).map(|_| run(dir, &[word, &route, "--admin", admin]).code);
                    let ended = tries.into_iter().find(|code| *code != 75).unwrap();
                    assert_eq!(ended, 0, "{word} {route}");
                }
            });
        }
    });
    let text = client.flags();
    (0..10).for_each(|shell| assert!(text.contains(&format!("r{shell} = \"offline\"")), "r{shell} is lost:\n{text}"));
    assert!(text.starts_with("# of the fleet\n"), "{text}");
    wait("every edit to be in force", || {
        let status = proxy.status();
        let closed = status["routes"].as_array().unwrap().iter().filter(|route| route["phase"] == "closed").count();
        closed == 10
    });
    run(dir, &["history"]).exits(0).says("on r");
}

#[test]
fn a_command_holds_a_key_until_its_runner_is_killed() {
    let Some((nats, mut client)) = server("`backsoon with` on NATS is not tried") else { return };
    client.put(OPEN);
    crate::with::holds_until_its_runner_is_killed(&proxy(&nats, &Upstream::ok()), || client.flags());
}

#[test]
fn a_login_is_checked_and_its_failure_is_told() {
    let login = "authorization { users = [{ user: \"anna\", password: \"secret\" }] }";
    let Some(nats) = Nats::with("logins at NATS are not tried", login) else { return };
    let mut client = NatsClient::connect(nats.address, r#"{"user":"anna","pass":"secret"}"#);
    client.make_bucket();
    client.put(CLOSED);
    let upstream = Upstream::ok();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("login"), "anna:secret\n").unwrap();
    let config = |more: &str| {
        format!("{}[routes.web]\nupstream = \"{}\"\n{}{more}", crate::support::LISTEN, upstream.url(), nats.table())
    };
    std::fs::write(dir.path().join("backsoon.toml"), config("")).unwrap();
    run(dir.path(), &["check"]).exits(0).complains("Authorization Violation");
    run(dir.path(), &["on", "web"]).exits(69).complains("Authorization Violation").keeps_quiet_of("secret");
    std::fs::write(dir.path().join("backsoon.toml"), config("credentials = \"nothing\"\n")).unwrap();
    run(dir.path(), &["check"]).exits(64).complains("cannot be read");
    let proxy = Backsoon::start_in(dir, &config("credentials = \"login\"\n"));
    assert_eq!(status_of(&proxy), 503);
}

//! The word of the commands: `on`, `off` and `step` say what is so, and where they cannot know they say that.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::command::{Done, command, run};
use crate::support::{Backsoon, LISTEN, Upstream, get, replace, sha256, wait};

fn begin(dir: &Path, args: &[&str]) -> Child {
    command(dir, args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Directory with a config whose admin listener is a socket in it.
struct Place {
    dir: tempfile::TempDir,
    config: String,
}

impl Place {
    /// Makes a config with a route `web` with this policy, followed by more.
    fn new(policy: &str, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let upstream = Upstream::ok();
        let config = format!(
            "[[listen]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"unix:{}\"\n[routes.web]\nupstream = \"{}\"\n{policy}\n{more}",
            dir.path().join("admin.sock").display(),
            upstream.url()
        );
        fs::write(dir.path().join("backsoon.toml"), &config).unwrap();
        Self { dir, config }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        replace(&self.path(name), text);
    }

    fn flags(&self) -> String {
        fs::read_to_string(self.path("maintenance.toml")).unwrap_or_default()
    }

    fn run(&self, args: &[&str]) -> Done {
        run(self.dir.path(), args)
    }

    /// Starts the proxy.
    fn start(self) -> Backsoon {
        Backsoon::start_in(self.dir, &self.config)
    }
}

fn at(seconds: i64) -> String {
    Timestamp::from_second(Timestamp::now().as_second() + seconds).unwrap().to_string()
}

/// Returns a window of `web`.
fn window(id: &str, from: i64, to: i64, more: &str) -> String {
    format!(
        "[[windows]]\nid = \"{id}\"\nstarts = {}\nends = {}\nroutes = {{ web = \"offline\" }}\n{more}\n",
        at(from),
        at(to)
    )
}

// --- waiting

#[test]
fn operators_at_once_are_all_told_that_it_is_live() {
    let routes: Vec<String> = (0..20).map(|index| format!("r{index}")).collect();
    let more: String = routes
        .iter()
        .map(|name| format!("[routes.{name}]\npath = \"/{name}\"\nupstream = \"http://127.0.0.1:9\"\n"))
        .collect();
    let proxy = Place::new("", &more).start();
    let ons: Vec<Child> =
        routes.iter().map(|name| begin(proxy.dir.path(), &["on", name, "--wait", "--timeout", "60s"])).collect();
    for on in ons {
        Done::from(on.wait_with_output().unwrap())
            .exits(0)
            .tells("live at ")
            .tells("nothing is in flight at this proxy that began before");
    }
    routes.iter().for_each(|name| assert_eq!(get(proxy.address(), &format!("/{name}")).status, 503, "{name}"));
    // Two at a time, in the time of one poll.
    for pair in routes.chunks(2) {
        let offs: Vec<Child> =
            pair.iter().map(|name| begin(proxy.dir.path(), &["off", name, "--wait", "--timeout", "60s"])).collect();
        for off in offs {
            Done::from(off.wait_with_output().unwrap()).exits(0).tells("live at ");
        }
    }
}

#[test]
fn wait_demands_the_route_of_the_running_proxy() {
    let place = Place::new("", "");
    let config = place.config.clone();
    let proxy = place.start();
    // Refused, because the certificate is missing. So `shop` is in the config on disk alone.
    let broken = format!(
        "{config}[routes.shop]\npath = \"/shop\"\nupstream = \"http://127.0.0.1:9\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n\
         tls = {{ cert = \"none.pem\", key = \"none.pem\" }}\n"
    );
    replace(&proxy.path("backsoon.toml"), &broken);
    for more in [&[][..], &["--force"]] {
        let args = [&["on", "shop", "--wait", "--timeout", "3s"], more].concat();
        run(proxy.dir.path(), &args)
            .exits(75)
            .tells("the running proxy has no route `shop`")
            .tells("config is not the one on disk")
            .keeps_quiet_of("shop is offline until")
            .keeps_quiet_of("live at");
    }
    run(proxy.dir.path(), &["on", "shop"])
        .exits(0)
        .tells("the running proxy has no route `shop`")
        .keeps_quiet_of("live at");
    run(proxy.dir.path(), &["on", "shop", "web", "--wait", "--timeout", "3s"]).exits(75).keeps_quiet_of("route `web`");
    assert_eq!(get(proxy.address(), "/").status, 503);
}

#[test]
fn wait_demands_the_same_file_and_not_the_same_text() {
    let proxy = Place::new("", "").start();
    let admin = format!("unix:{}", proxy.path("admin.sock").display());
    let place = Place::new("", "");
    place
        .write("backsoon.toml", &place.config.replace(&format!("unix:{}", place.path("admin.sock").display()), &admin));
    for verb in ["on", "off"] {
        run(proxy.dir.path(), &[verb, "web", "--wait"]).exits(0);
        let reads = format!("reads `{}`", fs::canonicalize(proxy.path("maintenance.toml")).unwrap().display());
        let begun = Instant::now();
        place.run(&[verb, "web", "--wait", "--timeout", "20s"]).exits(75).tells(&reads).keeps_quiet_of("live at");
        assert!(begun.elapsed() < Duration::from_secs(15), "nothing would change by waiting");
        place.run(&[verb, "web"]).exits(0).tells(&reads).keeps_quiet_of("live at");
    }
    // The same file by another name is the same.
    std::os::unix::fs::symlink(proxy.path("maintenance.toml"), proxy.path("link.toml")).unwrap();
    let config = fs::read_to_string(proxy.path("backsoon.toml")).unwrap();
    fs::write(proxy.path("other.toml"), format!("maintenance = \"link.toml\"\n{config}")).unwrap();
    run(proxy.dir.path(), &["on", "web", "--config", "other.toml", "--wait"]).exits(0).tells("live at");
}

#[test]
fn every_admin_listener_that_is_named_must_confirm() {
    let shared = tempfile::tempdir().unwrap();
    let file = shared.path().join("maintenance.toml");
    fs::write(&file, "[routes]\n").unwrap();
    let config = format!(
        "maintenance = \"{}\"\n{LISTEN}[routes.web]\nupstream = \"{}\"\n",
        file.display(),
        Upstream::ok().url()
    );
    let (one, two) = (Backsoon::start(&config), Backsoon::start(&config));
    let (first, second) = (one.admin.to_string(), two.admin.to_string());
    let both = ["--admin", &first, "--admin", &second];
    let on = |admin: &[&str], more: &[&str]| run(one.dir.path(), &[&["on", "web"], admin, more].concat());
    on(&both, &["--wait"]).exits(0).tells("2 of 2 asked").tells(&format!("live at {second}"));
    assert_eq!([get(one.address(), "/").status, get(two.address(), "/").status], [503, 503]);
    on(&both[..2], &["--wait"]).exits(0).tells("1 of 1 asked");
    let by_environment = command(one.dir.path(), &["off", "web", "--wait"])
        .env("BACKSOON_ADMIN", format!("{first},{second}"))
        .output()
        .unwrap();
    Done::from(by_environment).exits(0).tells("2 of 2 asked");
    let gone = ["--admin", "unix:/nonexistent/admin.sock"];
    on(&[&both, &gone[..]].concat(), &["--wait", "--timeout", "1s"])
        .exits(69)
        .tells("unix:/nonexistent/admin.sock")
        .tells("no connection")
        .tells("2 of 3 asked")
        .tells(&format!("live at {first}"));
    on(&[&both[..2], &gone[..]].concat(), &[])
        .exits(0)
        .tells("not confirmed: unix:/nonexistent/admin.sock: no connection");
}

#[test]
fn a_refused_connection_is_tried_again_until_the_time_is_over() {
    let place = Place::new("", "");
    let begun = Instant::now();
    place
        .run(&["on", "web", "--wait", "--timeout", "1s"])
        .exits(69)
        .tells("no connection")
        .tells("the flag file is written");
    assert!(begun.elapsed() >= Duration::from_millis(900));
    let off = begin(place.dir.path(), &["off", "web", "--wait", "--timeout", "60s"]);
    wait("the file to be written", || !place.flags().contains("web = \""));
    let _proxy = place.start();
    Done::from(off.wait_with_output().unwrap()).exits(0).tells("live at ");
}

#[test]
fn a_proxy_that_hangs_cannot_be_asked() {
    let proxy = Place::new("", "").start();
    proxy.signal("STOP");
    run(proxy.dir.path(), &["on", "web", "--wait", "--timeout", "1s"]).exits(69).tells("no answer within 1 s");
    run(proxy.dir.path(), &["on", "web"]).exits(0).tells("not confirmed: unix:").keeps_quiet_of("web is offline until");
    proxy.signal("CONT");
}

/// Answers `/status` as a proxy that has read the flag file just now, with these routes. The clock is `ahead`.
fn pretend(file: &Path, routes: &str, ahead: SignedDuration, then: Option<&str>) -> Upstream {
    let (file, routes, then) = (file.to_owned(), routes.to_owned(), then.map(str::to_owned));
    Upstream::handling(move |connection| {
        while connection.request().is_some() {
            if let (Some(then), Ok(text)) = (&then, fs::read_to_string(&file))
                && text.contains("web")
            {
                replace(&file, then);
            }
            let hash = sha256(&fs::read(&file).unwrap_or_default());
            let path = fs::canonicalize(&file).unwrap_or_else(|_| file.clone());
            let body = format!(
                "{{\"generation\":7,\"stage\":\"running\",\"files\":[{{\"path\":{path:?},\"role\":\"flags\",\"hash\":\"{hash}\"}}],\
                 \"routes\":[{routes}]}}"
            );
            let date = (Timestamp::now() + ahead).strftime("%a, %d %b %Y %H:%M:%S GMT");
            connection.send(format!(
                "HTTP/1.1 200 OK\r\ndate: {date}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ));
        }
    })
}

const OPEN: &str = "{\"name\":\"web\",\"phase\":\"open\",\"why\":\"its time is over\"}";

#[test]
fn a_flag_that_is_over_by_the_proxys_clock_is_not_in_force() {
    let place = Place::new("", "");
    let proxy = pretend(&place.path("maintenance.toml"), OPEN, SignedDuration::from_hours(1), None);
    let admin = proxy.address.to_string();
    let on = |more: &[&str]| place.run(&[&["on", "web", "--for", "30m", "--admin", &admin], more].concat());
    on(&["--wait", "--timeout", "10s"])
        .exits(75)
        .tells("web is open")
        .tells("its clock is 1 h ahead")
        .keeps_quiet_of("live at");
    on(&[]).exits(0).tells("its clock is 1 h ahead").keeps_quiet_of("web is offline until");
    let behind = pretend(&place.path("maintenance.toml"), OPEN, SignedDuration::ZERO, None);
    let admin = behind.address.to_string();
    place
        .run(&["on", "web", "--wait", "--timeout", "2s", "--admin", &admin])
        .exits(75)
        .tells("web is open: its time is over")
        .keeps_quiet_of("clock");
}

#[test]
fn a_later_edit_that_takes_it_back_is_named() {
    let place = Place::new("", "");
    let opened = OPEN.replace("its time is over", "the flag was lifted");
    let proxy = pretend(&place.path("maintenance.toml"), &opened, SignedDuration::ZERO, Some("[routes]\n"));
    let admin = proxy.address.to_string();
    place
        .run(&["on", "web", "--wait", "--timeout", "10s", "--admin", &admin])
        .exits(75)
        .tells("a later edit opened web again")
        .keeps_quiet_of("live at");
}

#[test]
fn a_route_that_is_closed_less_strictly_is_not_what_was_asked() {
    let place = Place::new("", "");
    let milder = "{\"name\":\"web\",\"phase\":\"closed\",\"mode\":\"read-only\",\"why\":\"flagged read-only\"}";
    let proxy = pretend(&place.path("maintenance.toml"), milder, SignedDuration::ZERO, None);
    let admin = proxy.address.to_string();
    let on = |mode: &str| place.run(&["on", "web", "--mode", mode, "--wait", "--timeout", "2s", "--admin", &admin]);
    on("offline").exits(75).tells("web is only read-only");
    on("read-only").exits(0).tells("live at");
}

#[test]
fn a_text_that_the_proxy_refuses_is_told_with_its_own_code() {
    let place = Place::new("", "");
    let file = place.path("maintenance.toml");
    let proxy = Upstream::handling(move |connection| {
        while connection.request().is_some() {
            let hash = sha256(&fs::read(&file).unwrap_or_default());
            let body = format!(
                "{{\"generation\":7,\"files\":[{{\"path\":{:?},\"role\":\"flags\",\"hash\":\"{hash}\",\
                 \"problems\":[{{\"severity\":\"error\",\"file\":\"maintenance.toml\",\"line\":2,\"message\":\"too new\"}}]}}],\"routes\":[{OPEN}]}}",
                fs::canonicalize(&file).unwrap_or_else(|_| file.clone())
            );
            connection.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
        }
    });
    let admin = proxy.address.to_string();
    place.run(&["on", "web", "--wait", "--admin", &admin]).exits(65).tells("refuses").tells("too new");
    place.run(&["on", "web", "--admin", &admin]).exits(0).tells("refuses").keeps_quiet_of("web is offline until");
}

// --- without waiting

#[test]
fn without_wait_it_is_said_what_is_known() {
    let place = Place::new("", "");
    let file = "maintenance.toml";
    place
        .run(&["on", "web"])
        .exits(0)
        .tells(&format!("flagged in {file}"))
        .tells("not confirmed: unix:")
        .tells("no connection")
        .keeps_quiet_of("web is offline until");
    let config = place.config.clone();
    place.write("backsoon.toml", &config.replace("[admin]\naddress = \"unix:", "[page]\n#"));
    place.run(&["on", "web"]).exits(0).tells("no admin listener to ask").keeps_quiet_of("web is offline until");
    place.write("backsoon.toml", &config);
    let proxy = place.start();
    run(proxy.dir.path(), &["on", "web"]).exits(0).tells("web is already offline until lifted").tells("live at unix:");
    assert_eq!(get(proxy.address(), "/").status, 503);
    run(proxy.dir.path(), &["off", "web"]).exits(0).tells("lifted the flag of web").tells("live at unix:");
    assert_eq!(get(proxy.address(), "/").status, 200);
}

// --- what still closes a route

#[test]
fn off_judges_windows_as_the_proxy_does() {
    let ended = window("W-1", -3600, 3600, &format!("ended = {}", at(-60)));
    let stay = window("W-1", -7200, -3600, "on_overrun = \"stay\"");
    let over = window("W-1", -7200, -3600, "");
    let begun = window("W-1", -3600, 3600, "");
    let later = window("W-1", 3600, 7200, "");
    let today = Timestamp::now().strftime("%a").to_string();
    let other_day = if today == "Mon" { "Wed" } else { "Mon" };
    let every = format!(
        "[[windows]]\nid = \"W-1\"\nevery = \"{other_day} 02:00-03:00 UTC\"\nroutes = {{ web = \"offline\" }}\n"
    );
    for (flags, says, silent_of) in [
        (&ended, "", "W-1"),
        (&over, "", "W-1"),
        (&every, "window `W-1` will flag web from", "still flagged"),
        (&later, "window `W-1` will flag web from", "still flagged"),
        (&begun, "web is still flagged by window `W-1` until", "will flag"),
        (
            &stay,
            "web is still flagged by window `W-1`, which is overrunning; backsoon off --window W-1 ends it",
            "until",
        ),
    ] {
        let place = Place::new("", "");
        place.write("maintenance.toml", &format!("[routes]\nweb = \"offline\"\n{flags}"));
        let code = i32::from(says.contains("still")) * 4;
        let dead = place.run(&["off", "web"]).exits(code).tells("lifted the flag of web").tells(says);
        if !silent_of.is_empty() {
            dead.keeps_quiet_of(silent_of);
        }
        place.write("maintenance.toml", &format!("[routes]\nweb = \"offline\"\n{flags}"));
        let proxy = place.start();
        let expected = if says.contains("still") { 503 } else { 200 };
        run(proxy.dir.path(), &["off", "web", "--wait"])
            .exits(code)
            .tells(says)
            .tells("live at")
            .keeps_quiet_of(silent_of);
        assert_eq!(get(proxy.address(), "/").status, expected, "{flags}");
    }
}

#[test]
fn ending_a_window_says_what_still_closes_its_routes() {
    let first = window("W-1", -3600, 3600, "");
    let second = window("W-2", -3600, 7200, "");
    for (flags, policy, says) in [
        (format!("[routes]\nweb = \"offline\"\n{first}"), "", "web stays offline: flag; backsoon off web lifts it"),
        (
            format!("[routes]\n\"*\" = \"offline\"\n{first}"),
            "",
            "web is still flagged by \"*\"; backsoon off '*' lifts that",
        ),
        (format!("{first}{second}"), "", "web is still flagged by window `W-2` until"),
        (first.clone(), "verify = [{ get = \"/nothing\", expect = 204 }]", "web is verifying: "),
    ] {
        // Without --wait, a check that is still to pass is no reason to fail.
        let returning = i32::from(policy.is_empty()) * 4;
        for (wait, code) in [(&[][..], returning), (&["--wait", "--timeout", "2s"], 4)] {
            let place = Place::new(policy, "");
            place.write("maintenance.toml", &flags);
            let proxy = place.start();
            run(proxy.dir.path(), &[&["off", "--window", "W-1"], wait].concat())
                .exits(code)
                .tells("window W-1 is ended")
                .tells("live at")
                .tells(says);
            assert_eq!(get(proxy.address(), "/").status, 503, "{says}");
        }
    }
    let place = Place::new("", "");
    place.write("maintenance.toml", &format!("[routes]\nweb = \"offline\"\n{first}"));
    place.run(&["off", "--window", "W-1"]).exits(4).tells("web stays offline: flag; backsoon off web lifts it");
    place.run(&["off", "web"]).exits(0).keeps_quiet_of("W-1");
    // A window that is not in force is left alone, and what closes its routes is told all the same.
    let over = window("W-1", -7200, -3600, "");
    place.write("maintenance.toml", &format!("[routes]\nweb = \"offline\"\n{over}"));
    let proxy = place.start();
    run(proxy.dir.path(), &["off", "--window", "W-1", "--wait"])
        .exits(4)
        .tells("window W-1 is not in force")
        .tells("web stays offline: flag; backsoon off web lifts it");
}

#[test]
fn a_window_that_began_within_this_second_can_be_ended() {
    let proxy = Backsoon::before(&Upstream::ok().url(), "");
    let admin = proxy.admin.to_string();
    for _ in 0..3 {
        let starts = (Timestamp::now() + SignedDuration::from_millis(-1)).to_string();
        let flags = format!(
            "[[windows]]\nid = \"W-1\"\nstarts = {starts}\nends = {}\nroutes = {{ web = \"offline\" }}\n",
            at(3600)
        );
        proxy.flag(&flags);
        run(proxy.dir.path(), &["off", "--window", "W-1", "--wait", "--admin", &admin])
            .exits(0)
            .tells("window W-1 is ended");
        assert_eq!(get(proxy.address(), "/").status, 200);
    }
}

#[test]
fn a_route_that_its_guard_closed_is_told_with_or_without_a_proxy() {
    let place = Place::new("guard = { error_rate = \"5%\" }", "");
    let (then, seen) = (at(-600), at(-60));
    let state = format!(
        "{{\"version\":1,\"routes\":{{\"web\":{{\"phase\":\"closed\",\"since\":\"{then}\",\"why\":\"the guard closed it: 80 of 81 requests failed\",\
         \"closure\":{{\"started\":\"{then}\",\"demand\":{{\"mode\":\"offline\",\"source\":\"flag\",\"until\":null,\"started\":null,\"by_hand\":true}}}},\
         \"began\":\"{then}\",\"breach\":{{\"at\":\"{then}\",\"what\":\"80 of 81 requests failed\"}},\"seen\":\"{seen}\"}}}}}}"
    );
    place.write(".backsoon/backsoon.state.json", &state);
    place.write("maintenance.toml", "[routes]\n");
    let told = "web is closed by its guard: 80 of 81 requests failed; backsoon off web --force opens it";
    place.run(&["off", "web"]).exits(4).tells("web had no flag of its own").tells(told);
    let proxy = place.start();
    for wait in [&[][..], &["--wait"]] {
        run(proxy.dir.path(), &[&["off", "web"], wait].concat()).exits(4).tells(told);
    }
    assert_eq!(get(proxy.address(), "/").status, 503);
    run(proxy.dir.path(), &["off", "web", "--force", "--wait"]).exits(0).keeps_quiet_of("closed by its guard");
    assert_eq!(get(proxy.address(), "/").status, 200);
}

#[test]
fn on_says_when_it_really_ends() {
    let hour = window("W-1", -60, 3600, "");
    let place = Place::new("", "");
    place.write("maintenance.toml", &hour);
    let longer = "window `W-1` lasts longer";
    place.run(&["on", "web", "--for", "5m"]).exits(0).tells(longer).tells("web stays offline until");
    place.write("maintenance.toml", &hour);
    let proxy = place.start();
    run(proxy.dir.path(), &["on", "web", "--for", "5m"])
        .exits(0)
        .tells(longer)
        .tells("web stays offline until")
        .keeps_quiet_of("web is offline until");
    run(proxy.dir.path(), &["on", "web", "--for", "2h", "--wait"])
        .exits(0)
        .tells("web is offline until")
        .keeps_quiet_of(longer);
    run(proxy.dir.path(), &["on", "web", "--mode", "read-only", "--wait"])
        .exits(0)
        .tells("web is offline all the same: window `W-1` is stricter");
}

// --- a config that is broken on disk

#[test]
fn a_broken_config_does_not_take_the_commands_away() {
    let place = Place::new("", "");
    let config = place.config.clone();
    let proxy = place.start();
    let admin = format!("unix:{}", proxy.path("admin.sock").display());
    replace(&proxy.path("backsoon.toml"), &format!("{config}[routes.shop\n"));
    let dir = proxy.dir.path();
    let error = "`backsoon.toml` has an error (line ";
    run(dir, &["on", "web", "--wait", "--admin", &admin]).exits(0).tells(error).tells("web is offline until lifted");
    assert_eq!(get(proxy.address(), "/").status, 503);
    run(dir, &["off", "wep", "--admin", &admin]).exits(64).tells("did you mean `web`?");
    run(dir, &["off", "web", "--wait", "--admin", &admin]).exits(0).tells(error).tells("lifted the flag of web");
    assert_eq!(get(proxy.address(), "/").status, 200);
    // The runtime file names the proxy as well.
    let real = |name: &str| fs::canonicalize(proxy.path(name)).unwrap();
    let runtime = format!(
        "{{\"pid\":{},\"admin\":\"{admin}\",\"config\":{:?},\"maintenance\":{:?}}}",
        proxy.child.id(),
        real("backsoon.toml"),
        real("maintenance.toml")
    );
    fs::create_dir_all(proxy.path(".backsoon")).unwrap();
    fs::write(proxy.path(".backsoon/backsoon.runtime.json"), runtime).unwrap();
    run(dir, &["on", "web", "--wait"]).exits(0).tells(error).tells("using what the running proxy at unix:");
    assert_eq!(get(proxy.address(), "/").status, 503);
    run(dir, &["history"]).exits(0).tells("web");
    run(dir, &["off", "--all", "--wait"]).exits(0).tells("lifted the flag of web");
    // Without a proxy, the flag file can be named.
    let place = Place::new("", "");
    place.write("backsoon.toml", "[routes.web\n");
    place.run(&["on", "web"]).exits(64).tells("--flags FILE").tells("--admin ADDRESS");
    place.run(&["on", "web", "--flags", "maintenance.toml"]).exits(0).tells("flagged in maintenance.toml");
    assert_eq!(place.flags(), "[routes]\nweb = \"offline\"\n");
    place.run(&["off", "web", "--flags", "maintenance.toml"]).exits(0).tells("lifted the flag of web");
}

#[test]
fn an_admin_listener_that_moved_in_the_config_is_still_found() {
    let place = Place::new("", "");
    let config = place.config.clone();
    let proxy = place.start();
    let admin = format!("unix:{}", proxy.path("admin.sock").display());
    let real = |name: &str| fs::canonicalize(proxy.path(name)).unwrap();
    let runtime =
        format!("{{\"pid\":{},\"admin\":\"{admin}\",\"config\":{:?}}}", proxy.child.id(), real("backsoon.toml"));
    fs::create_dir_all(proxy.path(".backsoon")).unwrap();
    fs::write(proxy.path(".backsoon/backsoon.runtime.json"), runtime).unwrap();
    replace(&proxy.path("backsoon.toml"), &config.replace("admin.sock", "moved.sock"));
    run(proxy.dir.path(), &["on", "web", "--wait"])
        .exits(0)
        .tells(&format!("live at {admin}"))
        .tells("moved.sock")
        .tells("needs a restart");
}

// --- words

#[test]
fn a_dry_run_shows_the_edit_and_writes_nothing() {
    let place = Place::new("", "");
    let before = "# ours\n[routes]\nweb = \"read-only\" # since noon\n";
    place.write("maintenance.toml", before);
    place
        .run(&["on", "web", "--dry-run"])
        .exits(0)
        .tells("--- maintenance.toml\n")
        .tells("-web = \"read-only\" # since noon\n+web = \"offline\" # since noon\n")
        .tells("web would be offline until lifted")
        .keeps_quiet_of("web is offline");
    place.run(&["off", "web", "--dry-run"]).exits(0).tells("-web = \"read-only\"").tells("web would be open");
    place.run(&["off", "--all", "--dry-run"]).exits(0).tells("-web = \"read-only\"");
    place.run(&["on", "web", "--mode", "read-only", "--dry-run"]).exits(0).tells("nothing would change");
    assert_eq!(place.flags(), before);
    let steps = window("W-1", -60, 3600, "steps = [{ title = \"Move\" }]");
    place.write("maintenance.toml", &steps);
    place
        .run(&["step", "W-1", "1", "done", "--dry-run"])
        .exits(0)
        .tells("+steps = [{ title = \"Move\", state = \"done\" }]");
    place.run(&["off", "--window", "W-1", "--dry-run"]).exits(0).tells("+ended = ").tells("web would be open");
    assert_eq!(place.flags(), steps);
    let missing = Place::new("", "");
    missing.run(&["on", "web", "--dry-run"]).exits(0).tells("+web = \"offline\"");
    assert!(!missing.path("maintenance.toml").exists());
}

#[test]
fn what_was_given_is_said_as_it_was_given() {
    let place = Place::new("", "[routes.api]\npath = \"/api\"\nupstream = \"http://127.0.0.1:9\"\n");
    // A second is no whole one when the command begins.
    for given in ["5m", "90s", "10s", "1h 5m"] {
        let wanted = match given {
            "5m" => "(5 min)",
            "90s" => "(1 min 30 s)",
            "10s" => "(10 s)",
            _ => "(1 h 5 min)",
        };
        for _ in 0..3 {
            place.run(&["on", "web", "--for", given]).exits(0).tells(wanted);
            thread::sleep(Duration::from_millis(230));
        }
    }
    place.run(&["on", "web", "web", "api"]).exits(0).tells("web and api are flagged").tells("off web api lifts");
    place.run(&["off", "web", "api", "web"]).exits(0).tells("lifted the flags of web and api\n");
    place.run(&["on", "web", "--until", "9999-12-31T23:59:59Z"]).exits(0);
    assert!(place.flags().contains("until = 9999-12-30T22:00:00Z"), "{}", place.flags());
    place.run(&["on", "web", "--until", "+10000-01-01T00:00:00Z"]).exits(64).tells("9999-12-30T22:00:00Z");
    place.run(&["on", "web", "--until", "2036-02-30T00:00:00Z"]).exits(64).tells("no such day");
}

/// Cuts the file so that its second flag is lost, and it is still valid.
const CUT: &str = "# Kept by hand.\n[routes]\napi = \"offline\" # for th";

#[test]
fn a_command_does_not_drop_flags_that_only_the_proxy_has() {
    let upstream = Upstream::ok();
    let route = |name: &str| format!("[routes.{name}]\npath = \"/{name}\"\nupstream = \"{}\"\n", upstream.url());
    let proxy = Backsoon::start(&format!("{LISTEN}{}{}{}", route("web"), route("api"), route("shop")));
    let (dir, file) = (proxy.dir.path(), proxy.path("maintenance.toml"));
    let whole = "# Kept by hand.\n[routes]\napi = \"offline\" # for the move\nweb = \"offline\"\n";
    let edits: [&dyn Fn(); 2] = [&|| fs::write(&file, CUT).unwrap(), &|| fs::remove_file(&file).unwrap()];
    for damage in edits {
        proxy.flag(whole);
        damage();
        // At once, while the proxy still waits, and once it has refused the file.
        for _ in 0..2 {
            for command in [&["on", "shop"][..], &["off", "api"], &["on", "shop", "--dry-run"]] {
                run(dir, command).exits(74).tells("has flags in force that it lacks").tells("backsoon off --all");
            }
            let refused = |file: &serde_json::Value| {
                file["role"] == "flags" && (!file["problems"][0].is_null() || !file["trouble"].is_null())
            };
            wait("the file to be refused", || proxy.status()["files"].as_array().unwrap().iter().any(refused));
        }
        assert_eq!(get(proxy.address(), "/web").status, 503);
    }
    run(dir, &["off", "--all", "--wait"]).exits(0);
    assert_eq!(get(proxy.address(), "/web").status, 200);
    run(dir, &["on", "shop", "--wait"]).exits(0);
}

#[test]
fn a_path_that_is_no_text_is_no_reason_not_to_edit() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join(std::ffi::OsStr::from_bytes(b"site-\xff"));
    fs::create_dir(&place).unwrap();
    fs::write(place.join("backsoon.toml"), format!("{LISTEN}[routes.web]\nupstream = \"http://127.0.0.1:1\"\n"))
        .unwrap();
    let mut on = command(dir.path(), &["on", "web", "--config"]);
    let done = Done::from(on.arg(place.join("backsoon.toml")).output().unwrap());
    assert!(fs::read_to_string(place.join("maintenance.toml")).is_ok_and(|text| text.contains("web")), "{}", done.err);
    assert!(!done.err.contains("panicked"), "{}", done.err);
}

/// Returns a proxy with two routes, of which `api` is closed.
fn closing_api() -> Backsoon {
    let upstream = Upstream::ok();
    let place = Place::new("", &format!("[routes.api]\npath = \"/api\"\nupstream = \"{}\"\n", upstream.url()));
    place.write("maintenance.toml", "[routes]\napi = \"offline\"\n");
    place.start()
}

#[test]
fn a_new_flag_file_does_not_drop_those_of_the_one_in_force() {
    let proxy = closing_api();
    let config = fs::read_to_string(proxy.path("backsoon.toml")).unwrap();
    replace(&proxy.path("backsoon.toml"), &format!("maintenance = \"new.toml\"\n{config}"));
    run(proxy.dir.path(), &["on", "web"]).exits(74).tells("has flags in force that it lacks").tells("and it reads `");
    assert!(!proxy.path("new.toml").exists(), "the proxy would take it up");
    assert_eq!(get(proxy.address(), "/api").status, 503);
    // A file that no config names is nobody's yet.
    run(proxy.dir.path(), &["on", "web", "--flags", "next.toml"]).exits(0);
}

#[test]
fn a_missing_flag_file_of_a_proxy_that_hangs_is_not_made_anew() {
    let proxy = closing_api();
    let state = || fs::read_to_string(proxy.path(".backsoon/backsoon.state.json")).unwrap_or_default();
    wait("the state to be saved", || state().contains("api"));
    proxy.signal("STOP");
    fs::remove_file(proxy.path("maintenance.toml")).unwrap();
    let done = run(proxy.dir.path(), &["on", "web"]);
    proxy.signal("CONT");
    done.exits(74).tells("has closed routes").tells("no answer within 1 s");
    assert_eq!(get(proxy.address(), "/api").status, 503);
}

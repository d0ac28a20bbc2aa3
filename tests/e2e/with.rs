//! `backsoon with`: routes are closed while a command runs, and its end decides what becomes of them.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use crate::command::{Done, command, run};
use crate::support::{Backsoon, Client, Upstream, get, replace, wait};

const PAGE: &str = "[routes]\nweb = \"offline\"\n";

/// Starts a proxy before an upstream that answers.
fn proxy() -> Backsoon {
    Backsoon::before(&Upstream::ok().url(), "")
}

fn is_open(backsoon: &Backsoon) -> bool {
    get(backsoon.address(), "/").status == 200
}

/// Returns the command around a shell script.
fn around<'a>(options: &[&'a str], script: &'a str) -> Vec<&'a str> {
    [&["with", "web"], options, &["--", "sh", "-c", script]].concat()
}

fn with(backsoon: &Backsoon, options: &[&str], script: &str) -> Done {
    run(backsoon.dir.path(), &around(options, script))
}

fn start(backsoon: &Backsoon, options: &[&str], script: &str) -> Child {
    let mut command = command(backsoon.dir.path(), &around(options, script));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn flags(backsoon: &Backsoon) -> String {
    fs::read_to_string(backsoon.path("maintenance.toml")).unwrap_or_default()
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status().unwrap().success());
}

/// Waits until a script has written a file.
fn written(path: &Path) {
    wait("a script to write a file", || path.exists());
}

fn done(child: Child) -> Done {
    Done::from(child.wait_with_output().unwrap())
}

/// Returns the end that the flag has in the file.
fn end(backsoon: &Backsoon) -> Option<String> {
    let flags: toml::Table = flags(backsoon).parse().ok()?;
    Some(flags.get("routes")?.get("web")?.get("until")?.as_datetime()?.to_string())
}

#[test]
fn the_routes_are_closed_while_the_command_runs_and_open_when_it_succeeds() {
    let backsoon = proxy();
    let url = backsoon.url("/");
    let script = format!("cat maintenance.toml; curl -s -o /dev/null -w '%{{http_code}}' {url}");
    let done = with(&backsoon, &["--for", "10m", "--message", "A new disk."], &script).exits(0);
    assert!(done.out.ends_with("503"), "{done:?}");
    for part in ["mode = \"offline\"", "until = ", "message = \"A new disk.\"", "held_by = \"", ", pid "] {
        assert!(done.out.contains(part), "{part}: {done:?}");
    }
    done.complains("renewed while the command runs").complains("the flag of web is lifted");
    wait("the route to open", || is_open(&backsoon));
    assert!(!flags(&backsoon).contains("held_by") && flags(&backsoon).contains("[lifted]"), "{}", flags(&backsoon));
}

#[test]
fn a_command_that_fails_leaves_the_routes_closed_unless_they_are_to_open() {
    let backsoon = proxy();
    let done = with(&backsoon, &[], "exit 3").exits(3);
    done.complains("web stays offline; backsoon off web opens it");
    assert!(!is_open(&backsoon));
    assert!(flags(&backsoon).contains("which ended with exit code 3\"") && !flags(&backsoon).contains("until"));
    let why = backsoon.route("web")["why"].as_str().unwrap().to_owned();
    assert!(why.contains("held by") && why.ends_with("exit code 3"), "{why}");
    // The next attempt is refused, and runs behind the same closed route by --steal.
    with(&backsoon, &[], "touch never").exits(125).complains("web is flagged already").complains("exit code 3");
    assert!(!backsoon.path("never").exists());
    with(&backsoon, &["--steal"], "exit 0").exits(0);
    wait("the route to open", || is_open(&backsoon));
    with(&backsoon, &["--on-failure", "open"], "exit 7").exits(7);
    wait("the route to open again", || is_open(&backsoon));
}

#[test]
fn a_command_that_a_signal_ends_has_the_code_of_a_shell() {
    let backsoon = proxy();
    with(&backsoon, &[], "kill -KILL $$").exits(137).complains("stays offline");
    assert!(!is_open(&backsoon));
}

fn ignores_hangups() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
    u64::from_str_radix(ignored, 16).unwrap() & 1 == 1
}

#[test]
fn a_signal_is_passed_on_to_the_whole_command_and_its_end_is_awaited() {
    let backsoon = proxy();
    // The shell waits for its own child, which only a signal to the group reaches. That one says when it is there: a shell
    // that is about to start it would wait for its end.
    let script = "trap 'echo told; exit 4' TERM; sh -c 'touch begun; exec sleep 1000'; echo not reached";
    for (name, code) in [("TERM", 4), ("HUP", 129), ("INT", 130)] {
        // Whoever runs the tests by `nohup` has everything below ignore it.
        if name == "HUP" && ignores_hangups() {
            let _ = writeln!(std::io::stderr(), "SKIPPED: a hangup that is passed on: this process ignores hangups");
            continue;
        }
        let child = start(&backsoon, &["--steal"], script);
        written(&backsoon.path("begun"));
        signal(&child, name);
        let done = done(child).exits(code);
        assert_eq!(done.out, if name == "TERM" { "told\n" } else { "" });
        assert!(!is_open(&backsoon));
        fs::remove_file(backsoon.path("begun")).unwrap();
    }
    // One that exits with 0 in spite of the signal was interrupted all the same.
    let child = start(&backsoon, &["--steal"], "trap 'exit 0' TERM; sh -c 'touch begun; exec sleep 1000'; exit 9");
    written(&backsoon.path("begun"));
    signal(&child, "TERM");
    done(child).exits(143).complains("stays offline");
}

#[test]
fn a_command_that_does_not_end_is_killed_after_a_time() {
    let backsoon = proxy();
    let script = "trap '' TERM; touch begun; while :; do sleep 1; done";
    let child = start(&backsoon, &["--grace", "1s", "--on-failure", "open"], script);
    written(&backsoon.path("begun"));
    signal(&child, "TERM");
    done(child).exits(137).complains("is killed");
    wait("the route to open", || is_open(&backsoon));
}

#[test]
fn a_flag_is_renewed_while_the_command_runs_and_ends_when_its_holder_is_dead() {
    let backsoon = proxy();
    let mut child = start(&backsoon, &["--for", "4s"], "touch begun; exec sleep 1000");
    written(&backsoon.path("begun"));
    let first = end(&backsoon).unwrap();
    wait("a renewal", || end(&backsoon).is_some_and(|end| end > first));
    let second = end(&backsoon).unwrap();
    wait("a second renewal", || end(&backsoon).is_some_and(|end| end > second));
    assert!(!is_open(&backsoon));
    assert!(backsoon.route("web")["held_by"].as_str().unwrap().contains(&format!("pid {}", child.id())));
    // Its own command goes on as an orphan, as on a machine that is cut off.
    let orphan = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!is_open(&backsoon));
    wait("the route to open by itself", || is_open(&backsoon));
    assert!(Command::new("kill").arg(orphan.trim()).status().unwrap().success());
}

/// Runs a command that holds a route of a fleet, whose flags a test reads, and kills its runner.
pub fn holds_until_its_runner_is_killed(proxy: &Backsoon, mut text: impl FnMut() -> String) {
    let mut end = || -> Option<String> {
        let flags: toml::Table = text().parse().ok()?;
        Some(flags.get("routes")?.get("web")?.get("until")?.as_datetime()?.to_string())
    };
    let mut child = start(proxy, &["--for", "4s"], "touch begun; exec sleep 1000");
    written(&proxy.path("begun"));
    let first = end().unwrap();
    wait("a renewal", || end().is_some_and(|end| end > first));
    assert!(!is_open(proxy));
    let orphan = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!is_open(proxy));
    wait("the route to open by itself", || is_open(proxy));
    assert!(Command::new("kill").arg(orphan.trim()).status().unwrap().success());
    with(proxy, &["--steal"], "true").exits(0);
    assert!(end().is_none() && is_open(proxy));
}

#[test]
fn a_route_whose_holder_is_dead_stays_closed_by_choice_and_says_so() {
    let mut backsoon = proxy();
    let mut child = start(&backsoon, &["--for", "3s", "--on-lost", "keep"], "touch begun; exec sleep 1000");
    written(&backsoon.path("begun"));
    let orphan = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    backsoon.wait_for_log("the end of a flag has passed, and its route stays closed as it says");
    assert!(!is_open(&backsoon));
    assert_eq!(backsoon.metric("backsoon_route_holder_lost", "route=\"web\""), 1.0);
    let route = backsoon.route("web");
    assert_eq!(route["overruns"], true);
    assert!(route["why"].as_str().unwrap().ends_with("who has not renewed it"), "{route}");
    let dir = backsoon.dir.path().to_owned();
    run(&dir, &["status"]).tells("has not renewed that in time");
    run(&dir, &["explain", "http://a/"]).tells("held by");
    run(&dir, &["history"]).tells("held by");
    let page = get(backsoon.address(), "/");
    assert!(!page.body.contains("pid ") && !page.body.contains("held"), "{}", page.body);
    run(&dir, &["off", "web"]).exits(0);
    wait("the route to open", || is_open(&backsoon));
    assert_eq!(backsoon.metric("backsoon_route_holder_lost", "route=\"web\""), 0.0);
    assert!(Command::new("kill").arg(orphan.trim()).status().unwrap().success());
}

/// Upstream that answers once a file exists.
fn slow(until: std::path::PathBuf) -> Upstream {
    Upstream::handling(move |connection| {
        while connection.request().is_some() {
            wait("the test to let a request go", || until.exists());
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
        }
    })
}

#[test]
fn the_command_begins_when_earlier_requests_have_ended() {
    let place = tempfile::tempdir().unwrap();
    let upstream = slow(place.path().join("go"));
    let backsoon = Backsoon::before(&upstream.url(), "drain = \"1h\"\n");
    let mut client = Client::connect(backsoon.address());
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    wait("the request to be in flight", || upstream.seen().contains("GET / "));
    let child = start(&backsoon, &[], "touch begun");
    wait("the route to drain", || backsoon.route("web")["phase"] == "draining");
    assert!(!backsoon.path("begun").exists());
    fs::write(place.path().join("go"), "").unwrap();
    assert_eq!(client.response().status, 200);
    done(child).exits(0);
    assert!(backsoon.path("begun").exists());
    wait("the route to open", || is_open(&backsoon));
    // One that does not drain in time is opened again, and nothing is run.
    fs::remove_file(place.path().join("go")).unwrap();
    fs::remove_file(backsoon.path("begun")).unwrap();
    client.send("GET /2 HTTP/1.1\r\nhost: a\r\n\r\n");
    wait("the request to be in flight", || upstream.seen().contains("GET /2 "));
    with(&backsoon, &["--timeout", "1s"], "touch begun").exits(124).complains("nothing was run");
    assert!(!backsoon.path("begun").exists() && !flags(&backsoon).contains("held_by"));
    // So is one whose wait a signal ends.
    let child = start(&backsoon, &[], "touch begun");
    wait("the route to drain", || backsoon.route("web")["phase"] == "draining");
    signal(&child, "TERM");
    done(child).exits(143).complains("nothing was run");
    assert!(!backsoon.path("begun").exists() && !flags(&backsoon).contains("held_by"));
    fs::write(place.path().join("go"), "").unwrap();
    assert_eq!(client.response().status, 200);
}

#[test]
fn a_second_command_is_refused_waits_or_takes_the_route_over() {
    let backsoon = proxy();
    let first = start(&backsoon, &[], "touch begun; while [ ! -e go ]; do sleep 0.05; done");
    written(&backsoon.path("begun"));
    let holder = format!("pid {}", first.id());
    with(&backsoon, &[], "touch never").exits(125).complains("held by").complains(&holder).complains("--steal");
    with(&backsoon, &["--dry-run"], "touch never").exits(125).complains(&holder);
    with(&backsoon, &["--wait-for-holder", "1s"], "touch never").exits(125).complains("waiting up to 1 s");
    let mut second = start(&backsoon, &["--wait-for-holder", "1m"], "touch second");
    let mut told = String::new();
    BufReader::new(second.stderr.take().unwrap()).read_line(&mut told).unwrap();
    assert!(told.contains(&holder), "{told}");
    fs::write(backsoon.path("go"), "").unwrap();
    done(first).exits(0);
    assert_eq!(second.wait().unwrap().code(), Some(0));
    assert!(backsoon.path("second").exists() && !backsoon.path("never").exists());
    // One whose flag was stolen lifts nothing.
    for name in ["go", "begun"] {
        fs::remove_file(backsoon.path(name)).unwrap();
    }
    let first = start(&backsoon, &[], "touch begun; while [ ! -e go ]; do sleep 0.05; done");
    written(&backsoon.path("begun"));
    let thief = start(&backsoon, &["--steal"], "touch stolen; while [ ! -e away ]; do sleep 0.05; done");
    written(&backsoon.path("stolen"));
    fs::write(backsoon.path("go"), "").unwrap();
    done(first).exits(123).complains("was changed meanwhile, and is left as it is").complains(": with web --steal");
    assert!(!is_open(&backsoon));
    fs::write(backsoon.path("away"), "").unwrap();
    done(thief).exits(0);
    wait("the route to open", || is_open(&backsoon));
}

#[test]
fn what_somebody_else_edits_meanwhile_is_theirs() {
    let backsoon = proxy();
    let edit = |text: &str| format!("printf '{}' > m.new && mv m.new maintenance.toml", text.replace('\n', "\\n"));
    with(&backsoon, &[], &edit(PAGE)).exits(123).complains("the flag of web was changed meanwhile");
    assert_eq!(flags(&backsoon), PAGE);
    assert!(!is_open(&backsoon));
    // A flag that was set before is not ours either.
    with(&backsoon, &[], "touch never").exits(125).complains("web is flagged already: offline until lifted");
    assert_eq!(flags(&backsoon), PAGE);
    backsoon.unflag();
    // One that somebody lifted is gone, and the code is the command's.
    with(&backsoon, &[], &edit("[routes]\n")).exits(0).complains("is gone: somebody lifted it");
    wait("the route to open", || is_open(&backsoon));
    // Other edits of the file stay.
    let script = "printf '# a note\\napi = \"hold\"\\n' >> maintenance.toml; sleep 0.1";
    with(&backsoon, &[], script).exits(0);
    assert!(flags(&backsoon).contains("# a note\napi = \"hold\""), "{}", flags(&backsoon));
    wait("the route to open again", || is_open(&backsoon));
}

#[test]
fn a_flag_file_that_turns_bad_meanwhile_is_told_and_opens_by_itself() {
    let backsoon = proxy();
    let path = backsoon.path("maintenance.toml");
    let child = start(&backsoon, &["--for", "9s"], "touch begun; while [ ! -e go ]; do sleep 0.05; done");
    written(&backsoon.path("begun"));
    let good = flags(&backsoon);
    replace(&path, &format!("{good}broken\n"));
    fs::write(backsoon.path("go"), "").unwrap();
    // It is good again within the attempts.
    thread::sleep(std::time::Duration::from_millis(1500));
    replace(&path, &good);
    done(child).exits(0);
    wait("the route to open", || is_open(&backsoon));
    // It stays bad: that is told, and the flag in force ends by itself.
    let script = "printf 'broken\\n' >> maintenance.toml";
    with(&backsoon, &["--for", "9s"], script)
        .exits(123)
        .complains("the routes are not opened; their flag ends by itself at");
    wait("the route to open by itself", || is_open(&backsoon));
}

#[test]
fn nothing_is_run_if_that_cannot_be_right() {
    let backsoon = proxy();
    let dir = backsoon.dir.path();
    run(dir, &["with", "wbe", "--", "true"]).exits(125).complains("wbe");
    run(dir, &["with", "web"]).exits(125);
    run(dir, &["with", "web", "--for", "1s", "--", "true"]).exits(125).complains("3 seconds or more");
    run(dir, &["with", "web", "--", "./no-such-command"]).exits(127).complains("cannot run `./no-such-command`");
    run(dir, &["with", "web", "--", "./backsoon.toml"]).exits(126).complains("cannot run");
    assert!(!flags(&backsoon).contains("held_by"));
    let done = run(dir, &["with", "web", "--for", "10m", "--dry-run", "--", "touch", "never"]).exits(0);
    done.says("+web = { mode = \"offline\", until = ")
        .says("web would be offline")
        .complains("it would run: touch never");
    assert!(!dir.join("never").exists());
    wait("the route to be open", || is_open(&backsoon));
    fs::write(dir.join("maintenance.toml"), "broken\n").unwrap();
    run(dir, &["with", "web", "--", "touch", "never"]).exits(125).complains("nothing was run");
    assert!(!dir.join("never").exists());
}

#[test]
fn several_routes_are_held_as_one_and_in_any_mode() {
    let upstream = Upstream::ok().url();
    let more = format!("path = \"/web\"\n[routes.api]\nupstream = \"{upstream}\"\npath = \"/api\"\n");
    let backsoon = Backsoon::before(&upstream, &more);
    let dir = backsoon.dir.path();
    let script = "cp maintenance.toml seen.toml";
    run(dir, &["with", "web", "api", "--mode", "read-only", "--", "sh", "-c", script]).exits(0);
    let seen = fs::read_to_string(dir.join("seen.toml")).unwrap();
    assert_eq!(seen.matches("mode = \"read-only\"").count(), 2, "{seen}");
    assert!(!flags(&backsoon).contains("held_by"));
    // What the command is given is nobody's business.
    let history = run(dir, &["history"]);
    history.says("with web api --mode read-only").keeps_quiet_of("seen.toml");
}

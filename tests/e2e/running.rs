//! Operation: probes, metrics, status, logs, changing files, signals, start and end.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Backsoon, Client, LISTEN, PATIENCE, Upstream, get, replace, request, run_to_end, wait};

fn run(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backsoon"));
    command.args(["run", "--config"]).arg(directory.join("backsoon.toml"));
    command
}

/// Returns a route to this upstream, as text of a config.
fn route(name: &str, path: &str, upstream: &Upstream) -> String {
    format!("[routes.{name}]\npath = \"{path}\"\nupstream = \"{}\"\n", upstream.url())
}

#[test]
fn probes_and_metrics_are_answered_on_the_admin_listener_and_nowhere_else() {
    let upstream = Upstream::answering("HTTP/1.1 404 Not Found\r\ncontent-length: 8\r\n\r\nupstream");
    let backsoon = Backsoon::before(&upstream.url(), "");
    for flags in ["", "[routes]\n\"*\" = \"offline\"\n"] {
        backsoon.flag(flags);
        assert_eq!(get(backsoon.admin, "/livez").body, "ok\n");
        let ready: Value = serde_json::from_str(&get(backsoon.admin, "/readyz").body).unwrap();
        assert_eq!((&ready["ready"], &ready["stage"]), (&true.into(), &"running".into()));
        assert!(get(backsoon.admin, "/metrics").status == 200 && get(backsoon.admin, "/status").status == 200);
        for path in ["/livez", "/readyz", "/metrics", "/status"] {
            let public = get(backsoon.address(), path);
            assert_eq!(public.status, if flags.is_empty() { 404 } else { 503 }, "{path}");
            assert!(!public.body.contains("generation") && !public.body.contains("backsoon_"), "{}", public.body);
        }
    }
    assert_eq!(get(backsoon.admin, "/").status, 200);
    assert_eq!(get(backsoon.admin, "/elsewhere").status, 404);
    let refused = request(backsoon.admin, "POST /status HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
    assert_eq!((refused.status, refused.field("allow")), (405, Some("GET, HEAD")));
}

#[test]
fn the_latency_of_each_route_is_told_and_a_time_out_counts() {
    let delay = Duration::from_millis(120);
    let slow = Upstream::handling(move |connection| {
        while connection.request().is_some() {
            thread::sleep(delay);
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let silent = Upstream::handling(|connection| while connection.request().is_some() {});
    let routes = [route("slow", "/", &slow), route("silent", "/silent", &silent), route("idle", "/idle", &slow)];
    let backsoon = Backsoon::start(&format!("{LISTEN}[limits]\nfirst_byte = \"300ms\"\n{}", routes.concat()));
    for _ in 0..4 {
        assert_eq!(get(backsoon.address(), "/").status, 200);
    }
    assert_eq!(get(backsoon.address(), "/silent").status, 504);
    backsoon.flag("[routes]\nslow = \"offline\"\n");
    assert_eq!(get(backsoon.address(), "/").status, 503, "which is not recorded");
    wait("both to be observed", || ["slow", "silent"].iter().all(|name| backsoon.route(name)["latency"].is_object()));
    let told = |name: &str, key: &str| backsoon.route(name)["latency"][key].as_f64().unwrap();
    let generous = PATIENCE.as_secs_f64() * 1000.0;
    assert!(told("slow", "p50") >= 120.0 && told("slow", "p99") < generous, "{}", backsoon.route("slow"));
    assert!(told("slow", "p50") <= told("slow", "p90") && told("slow", "p90") <= told("slow", "p99"));
    assert!(told("silent", "p50") >= 300.0 && told("silent", "p99") < generous, "{}", backsoon.route("silent"));
    assert!(backsoon.route("slow")["requests_per_second"].as_f64().unwrap() > 0.0);
    let idle = backsoon.route("idle");
    assert!(idle.get("latency").is_none() && idle["requests_per_second"] == 0.0, "{idle}");
    let metrics = get(backsoon.admin, "/metrics").body;
    check_histogram(&metrics, "slow", 4, 0.12);
    check_histogram(&metrics, "silent", 1, 0.3);
    assert!(!metrics.contains("backsoon_request_duration_seconds_count{route=\"idle\"}"), "{metrics}");
}

/// Checks the histogram of a route that had `count` requests, none shorter than `least` seconds.
fn check_histogram(metrics: &str, route: &str, count: u64, least: f64) {
    let name = "backsoon_request_duration_seconds";
    let values = |series: String| metrics.lines().filter_map(move |line| line.strip_prefix(&series).map(str::to_owned));
    let value = |suffix: &str| -> f64 {
        let mut found = values(format!("{name}_{suffix}{{route=\"{route}\"}} "));
        found.next().unwrap_or_else(|| panic!("no {suffix} of {route}: {metrics}")).parse().unwrap()
    };
    let buckets: Vec<(String, u64)> = values(format!("{name}_bucket{{le=\""))
        .filter_map(|rest| {
            let (bound, rest) = rest.split_once("\",")?;
            let count = rest.strip_prefix(&format!("route=\"{route}\"}} "))?;
            Some((bound.to_owned(), count.parse().unwrap()))
        })
        .collect();
    let (last, bounded) = buckets.split_last().unwrap();
    assert_eq!(*last, ("+Inf".to_owned(), count));
    assert_eq!(value("count"), count as f64);
    assert!(value("sum") >= least * count as f64, "{}", value("sum"));
    assert_eq!(bounded.len(), 18, "{bounded:?}");
    assert!(buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{buckets:?}");
    let bounds: Vec<(f64, u64)> = bounded.iter().map(|(bound, count)| (bound.parse().unwrap(), *count)).collect();
    assert!(bounds.windows(2).all(|pair| pair[0].0 < pair[1].0), "{bounds:?}");
    assert!(bounds.iter().all(|&(bound, count)| bound >= least || count == 0), "{bounds:?}");
    assert_eq!(bounds.last(), Some(&(60.0, count)));
}

#[test]
fn status_tells_everything_about_files_and_routes() {
    let upstream = Upstream::ok();
    let config = format!("{LISTEN}{}{}", route("web", "/", &upstream), route("api", "/api", &upstream));
    let backsoon = Backsoon::start(&config);
    get(backsoon.address(), "/");
    let flags = "[routes.api]\nmode = \"read-only\"\nuntil = 2099-01-01T00:00:00Z\n[routes]\nother = \"offline\"\n";
    let flags = flags.replace("[routes]\nother = \"offline\"\n", "[routes.other]\nmode = \"offline\"\n");
    backsoon.flag(&flags);
    let status = backsoon.status();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["pid"], backsoon.child.id());
    assert!(status["generation"].as_u64().unwrap() >= 2 && status["stage"] == "running", "{status}");
    let is_instant = |value: &Value| value.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok());
    assert!(is_instant(&status["started"]) && is_instant(&status["published"]), "{status}");
    let files = status["files"].as_array().unwrap();
    let file = |role: &str| files.iter().find(|file| file["role"] == role).unwrap();
    assert_eq!(file("config")["hash"], crate::support::sha256(config.as_bytes()));
    assert_eq!(file("flags")["hash"], crate::support::sha256(flags.as_bytes()));
    assert!(is_instant(&file("config")["loaded"]) && is_instant(&file("flags")["loaded"]));
    assert_eq!(file("config")["problems"], serde_json::json!([]));
    let problem = &file("flags")["problems"][0];
    assert_eq!((&problem["severity"], &problem["line"]), (&"warning".into(), &4.into()), "{problem}");
    assert!(problem["message"].as_str().unwrap().contains("other") && problem["excerpt"].is_string(), "{problem}");
    let (web, api) = (backsoon.route("web"), backsoon.route("api"));
    assert_eq!((&web["phase"], &web["mode"], &web["until"]), (&"open".into(), &Value::Null, &Value::Null));
    assert_eq!((&web["in_flight"], &web["held"]), (&0.into(), &0.into()));
    let requests = serde_json::json!({"forwarded": 1, "maintenance": 0, "failed": 0, "aborted": 0});
    assert_eq!(web["requests"], requests);
    assert_eq!((&api["phase"], &api["mode"]), (&"closed".into(), &"read-only".into()));
    assert_eq!((&api["until"], &api["source"]), (&"2099-01-01T00:00:00Z".into(), &"flag".into()));
    assert!(is_instant(&api["since"]), "{api}");
    let upstreams = web["upstreams"].as_array().unwrap();
    assert_eq!((upstreams.len(), &upstreams[0]["name"]), (1, &upstream.url().into()));
    for key in ["pending", "connections", "connect_failures", "failures", "ejected"] {
        assert!(upstreams[0][key].is_u64(), "{key} in {upstreams:?}");
    }
}

#[test]
fn the_access_log_records_every_request_with_its_verdict_and_generation() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "[log]\naccess = \"full\"\naccess_file = \"access.log\"\n");
    // Beside the config, like every path in the config.
    let file = backsoon.path("access.log");
    get(backsoon.address(), "/open?secret=1");
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    get(backsoon.address(), "/closed");
    request(backsoon.address(), "GET /bad HTTP/1.1\r\n\r\n");
    let lines = || -> Vec<Value> {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    wait("three lines", || lines().len() == 3);
    let mut lines = lines();
    // Workers hand over their lines without being asked.
    lines.sort_by_key(|line| line["time"].as_str().unwrap().to_owned());
    let told = |line: &Value| {
        [&line["path"], &line["verdict"], &line["generation"], &line["status"], &line["route"]].map(Value::to_string)
    };
    assert_eq!(told(&lines[0]), ["\"/open\"", "\"forward\"", "1", "200", "\"web\""]);
    // Closing takes two generations: one that drains, and one with nothing left in flight.
    let closed = &lines[1]["generation"];
    assert!(*closed == 2 || *closed == 3, "{closed}");
    let closed = closed.to_string();
    assert_eq!(told(&lines[1]), ["\"/closed\"", "\"show\"", &closed, "503", "\"web\""]);
    assert!(lines[2]["generation"].as_u64() >= lines[1]["generation"].as_u64());
    let bad = lines[2]["generation"].to_string();
    assert_eq!(told(&lines[2]), ["\"/bad\"", "\"refuse\"", &bad, "400", "null"]);
    let line = &lines[0];
    assert_eq!((&line["client"], &line["method"], &line["bytes"]), (&"127.0.0.1".into(), &"GET".into(), &5.into()));
    assert_eq!(line["upstream"], upstream.url());
    assert!(line["micros"].is_u64() && line["id"].as_str().unwrap().len() == 32, "{line}");
    assert!(!line.to_string().contains("secret"));
}

#[test]
fn the_access_log_is_opened_anew_after_it_was_rotated() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "[log]\naccess = \"full\"\naccess_file = \"access.log\"\n");
    let (file, rotated) = (backsoon.path("access.log"), backsoon.path("access.log.1"));
    let has = |file: &Path, path: &str| std::fs::read_to_string(file).is_ok_and(|text| text.contains(path));
    get(backsoon.address(), "/before");
    wait("the first line", || has(&file, "/before"));
    std::fs::rename(&file, &rotated).unwrap();
    get(backsoon.address(), "/between");
    wait("the line between", || has(&rotated, "/between"));
    backsoon.signal("HUP");
    wait("the new file", || file.exists());
    get(backsoon.address(), "/after");
    wait("the line after", || has(&file, "/after"));
    assert!(!has(&rotated, "/after"));
}

#[test]
fn the_access_log_goes_to_standard_output_and_can_be_sampled_or_off() {
    let upstream = Upstream::ok();
    let counted = |access: &str| {
        let mut backsoon = Backsoon::before(&upstream.url(), &format!("[log]\naccess = {access}\n"));
        let mut stdout = backsoon.child.stdout.take().unwrap();
        let printed = thread::spawn(move || {
            let mut printed = String::new();
            stdout.read_to_string(&mut printed).unwrap();
            printed
        });
        let mut client = Client::connect(backsoon.address());
        for _ in 0..400 {
            client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
            client.response();
        }
        drop(client);
        backsoon.signal("INT");
        backsoon.wait_for_exit();
        let printed = printed.join().unwrap();
        assert!(printed.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{printed}");
        printed.lines().count()
    };
    assert_eq!((counted("\"full\""), counted("\"off\"")), (400, 0));
    let sampled = counted("0.5");
    // Beyond seven standard deviations of a fair coin.
    assert!((130..270).contains(&sampled), "{sampled} of 400");
}

#[test]
fn a_log_that_nobody_reads_costs_lines_and_neither_requests_nor_the_end() {
    let upstream = Upstream::ok();
    let mut backsoon = Backsoon::before(&upstream.url(), "[log]\naccess = \"full\"\n");
    let mut client = Client::connect(backsoon.address());
    // Much more than the pipe and the queue hold.
    for _ in 0..100 {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(100));
        for _ in 0..100 {
            assert_eq!(client.response().status, 200);
        }
    }
    wait("lines to be dropped", || backsoon.metric("backsoon_access_log_dropped_total", "") > 0.0);
    backsoon.signal("INT");
    assert_eq!(backsoon.wait_for_exit().code(), Some(0));
}

#[test]
fn an_edited_config_is_live_without_a_restart_and_a_bad_one_changes_nothing() {
    let upstream = Upstream::ok();
    let first = format!("{LISTEN}{}", route("web", "/web", &upstream));
    let backsoon = Backsoon::start(&first);
    assert_eq!(get(backsoon.address(), "/api").status, 404);
    let second = format!("{first}{}", route("api", "/api", &upstream));
    backsoon.config(&second);
    assert_eq!((get(backsoon.address(), "/api").status, get(backsoon.address(), "/web").status), (200, 200));
    let generation = backsoon.status()["generation"].clone();

    replace(&backsoon.path("backsoon.toml"), &second.replace("path = \"/api\"", "path = 7"));
    let mut problems = Value::Null;
    wait("the problem to be shown", || {
        problems = backsoon.file("config")["problems"].clone();
        problems.as_array().is_some_and(|problems| !problems.is_empty())
    });
    let line = second.lines().position(|line| line == "path = \"/api\"").unwrap() + 1;
    assert_eq!((&problems[0]["line"], &problems[0]["column"]), (&line.into(), &8.into()), "{problems}");
    assert_eq!((&problems[0]["severity"], &problems[0]["excerpt"]), (&"error".into(), &"path = 7".into()));
    assert!(problems[0]["message"].is_string() && problems[0]["help"].is_string(), "{problems}");
    assert_eq!(backsoon.status()["generation"], generation);
    assert_eq!(get(backsoon.address(), "/api").status, 200);
    assert_eq!(get(backsoon.admin, "/readyz").status, 200);
    let label = format!("file=\"{}\",role=\"config\"", backsoon.path("backsoon.toml").display());
    assert_eq!(backsoon.metric("backsoon_file_good", &label), 0.0);

    backsoon.config(&second);
    wait("the problem to go", || backsoon.file("config")["problems"] == serde_json::json!([]));
    assert_eq!(backsoon.metric("backsoon_file_good", &label), 1.0);
}

#[test]
fn what_needs_a_restart_is_said_and_the_rest_takes_effect() {
    let upstream = Upstream::ok();
    let config = format!("{LISTEN}{}", route("web", "/web", &upstream));
    let backsoon = Backsoon::start(&config);
    let changed = format!(
        "workers = 7\n[[listen]]\naddress = \"127.0.0.1:1\"\n[admin]\naddress = \"127.0.0.1:2\"\n\
         [log]\naccess = \"full\"\naccess_file = \"elsewhere.log\"\n{}",
        route("api", "/api", &upstream)
    );
    backsoon.config(&changed);
    wait("the new route", || get(backsoon.address(), "/api").status == 200);
    let problems = backsoon.file("config")["problems"].clone();
    for key in ["`listen`", "`admin`", "`workers`", "`access_file`"] {
        let problem = problems.as_array().unwrap().iter().find(|problem| {
            let message = problem["message"].as_str().unwrap();
            message.contains(key) && message.contains("restart")
        });
        assert_eq!(problem.map(|problem| &problem["severity"]), Some(&"warning".into()), "{key} in {problems}");
    }
    backsoon.config(&config);
    wait("the remarks to go", || backsoon.file("config")["problems"] == serde_json::json!([]));
}

#[test]
fn a_config_that_was_refused_for_the_sake_of_a_file_is_live_when_the_file_comes() {
    let upstream = Upstream::ok();
    let config = format!("{LISTEN}{}", route("web", "/", &upstream));
    let backsoon = Backsoon::start(&config);
    let better = config.replace("[routes.web]", "[routes.better]");
    // The config names a missing file, and so it is refused whole.
    let secure =
        format!("{better}[routes.secure]\npath = \"/s\"\nupstream = \"https://localhost:1\"\nca = \"ca.pem\"\n");
    replace(&backsoon.path("backsoon.toml"), &secure);
    wait("the problem", || !backsoon.file("config")["problems"].as_array().unwrap().is_empty());
    assert_eq!(backsoon.status()["routes"][0]["name"], "web");
    // The file's arrival is noticed without a signal.
    std::fs::write(backsoon.path("ca.pem"), crate::authority::Authority::new().pem()).unwrap();
    wait("the new routes", || backsoon.status()["routes"][0]["name"] == "better");
    assert_eq!(backsoon.file("config")["problems"], serde_json::json!([]));
    assert_eq!(backsoon.file("roots")["problems"], serde_json::json!([]));
}

#[test]
fn a_hangup_reads_everything_again() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    let refused = || backsoon.metric("backsoon_refused_inputs_total", "");
    replace(&backsoon.path("maintenance.toml"), "[routes]\nweb = \"ofline\"\n");
    wait("the problem", || refused() == 1.0);
    backsoon.signal("HUP");
    wait("the problem to be found again", || refused() == 2.0);
    let generation = backsoon.status()["generation"].as_u64().unwrap();
    backsoon.unflag();
    backsoon.signal("HUP");
    wait("another generation", || backsoon.status()["generation"].as_u64().unwrap() == generation + 2);
}

#[test]
fn a_flag_file_that_is_missing_at_the_start_means_that_nothing_is_flagged() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    assert!(backsoon.log_text().contains("no flag file: nothing is flagged"));
    assert_eq!(get(backsoon.address(), "/").status, 200);
    let flags = backsoon.file("flags");
    assert_eq!((&flags["hash"], &flags["trouble"]), (&Value::Null, &Value::Null));
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    assert_eq!(get(backsoon.address(), "/").status, 503);
}

#[test]
fn a_flag_file_that_disappears_keeps_the_last_state() {
    let upstream = Upstream::ok();
    let mut backsoon = Backsoon::before(&upstream.url(), "");
    let closed = "[routes]\nweb = \"offline\"\n";
    backsoon.flag(closed);
    std::fs::remove_file(backsoon.path("maintenance.toml")).unwrap();
    backsoon.wait_for_log("the file is gone, the last good one stays");
    assert_eq!(get(backsoon.address(), "/").status, 503);
    wait("the trouble to be shown", || !backsoon.file("flags")["trouble"].is_null());
    assert!(get(backsoon.admin, "/readyz").body.contains("maintenance.toml"));
    replace(&backsoon.path("maintenance.toml"), closed);
    wait("the trouble to go", || backsoon.file("flags")["trouble"].is_null());
    assert_eq!(get(backsoon.address(), "/").status, 503);
}

#[test]
fn a_flag_file_that_disappears_opens_everything_if_that_is_wished_and_closes_it_when_it_returns() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::start(&format!("on_missing = \"open\"\n{LISTEN}{}", route("web", "/", &upstream)));
    let closed = "[routes]\nweb = \"offline\"\n";
    backsoon.flag(closed);
    for _ in 0..2 {
        std::fs::remove_file(backsoon.path("maintenance.toml")).unwrap();
        wait("the route to open", || get(backsoon.address(), "/").status == 200);
        // With exactly the same content.
        replace(&backsoon.path("maintenance.toml"), closed);
        wait("the route to close", || get(backsoon.address(), "/").status == 503);
    }
}

#[test]
fn a_standard_error_that_nobody_reads_holds_up_neither_the_flag_nor_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let config = format!("{LISTEN}[routes.web]\nupstream = \"http://127.0.0.1:1\"\n");
    std::fs::write(dir.path().join("backsoon.toml"), config).unwrap();
    let mut command = Command::new("bash");
    // Reads the four lines up to "started", and then never again.
    command.args(["-c", "exec \"$0\" \"$@\" 2> >(head -n 4 >&2; exec sleep 30)", env!("CARGO_BIN_EXE_backsoon")]);
    command.args(["run", "--config"]).arg(dir.path().join("backsoon.toml"));
    let mut backsoon = Backsoon::spawn(dir, command);
    // Each flip logs more than 400 bytes; a pipe holds 64 KiB.
    for flip in 0..200 {
        let mode = if flip % 2 == 0 { "offline" } else { "read-only" };
        backsoon.flag(&format!("[routes]\nweb = \"{mode}\" # {flip}\n"));
    }
    backsoon.signal("INT");
    assert_eq!(backsoon.wait_for_exit().code(), Some(0));
}

#[test]
fn a_flag_file_that_is_gone_stays_given_up_over_a_hangup_and_an_edit_of_the_config() {
    let upstream = Upstream::ok();
    let config = format!("on_missing = \"open\"\n{LISTEN}{}", route("web", "/", &upstream));
    let mut backsoon = Backsoon::start(&config);
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    std::fs::remove_file(backsoon.path("maintenance.toml")).unwrap();
    wait("the route to open", || get(backsoon.address(), "/").status == 200);
    let generation = backsoon.status()["generation"].as_u64().unwrap();
    backsoon.signal("HUP");
    wait("the hangup to be heard", || backsoon.status()["generation"].as_u64().unwrap() > generation);
    assert_eq!(get(backsoon.address(), "/").status, 200);
    backsoon.config(&format!("{config}\n# edited\n"));
    assert_eq!(get(backsoon.address(), "/").status, 200);
    assert_eq!(backsoon.wait_for_log("reading everything again")["level"], "INFO");
}

#[test]
fn a_config_that_names_a_flag_file_that_is_not_there_is_taken_when_it_is() {
    let upstream = Upstream::ok();
    let config = format!("{LISTEN}{}", route("web", "/", &upstream));
    let backsoon = Backsoon::start(&config);
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    backsoon.config(&format!("maintenance = \"other.toml\"\n{config}"));
    let status = backsoon.status();
    assert!(status.to_string().contains("other.toml, which cannot be read"), "{status}");
    assert_eq!(get(backsoon.address(), "/").status, 503, "what is flagged stays flagged");
    replace(&backsoon.path("other.toml"), "# nothing\n");
    wait("the new file to count", || get(backsoon.address(), "/").status == 200);
    assert!(!backsoon.status().to_string().contains("cannot be read"));
}

#[test]
fn a_bad_file_at_the_start_is_exit_64_with_the_place_and_the_excerpt() {
    let good = "[[listen]]\naddress = \"127.0.0.1:0\"\n[routes.web]\nupstream = \"http://127.0.0.1:1\"\n";
    for (config, flags, said) in [
        ("[[listen]]\naddress = 8080\n", None, "backsoon.toml:2:11"),
        (good, Some("[routes]\nweb = \"ofline\"\n"), "maintenance.toml:2:7"),
        ("not toml at all", None, "backsoon.toml:1:"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("backsoon.toml"), config).unwrap();
        if let Some(flags) = flags {
            std::fs::write(dir.path().join("maintenance.toml"), flags).unwrap();
        }
        let (code, printed) = run_to_end(run(dir.path()));
        assert_eq!(code, Some(64), "{printed}");
        assert!(printed.contains(said) && printed.contains('^'), "{said} in {printed}");
    }
    let dir = tempfile::tempdir().unwrap();
    let (code, printed) = run_to_end(run(dir.path()));
    assert_eq!(code, Some(64), "{printed}");
    assert!(printed.contains("backsoon.toml"), "{printed}");
}

#[test]
fn a_port_in_use_is_exit_69_with_the_port_and_what_to_change() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for config in [
        format!("[[listen]]\naddress = \"{address}\"\n"),
        format!("[[listen]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"{address}\"\n"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let config = format!("{config}[routes.web]\nupstream = \"http://127.0.0.1:1\"\n");
        std::fs::write(dir.path().join("backsoon.toml"), config).unwrap();
        let (code, printed) = run_to_end(run(dir.path()));
        assert_eq!(code, Some(69), "{printed}");
        assert!(printed.contains(&format!("{address} is in use")) && printed.contains("`address`"), "{printed}");
    }
    // Another backsoon counts, too, although its sockets could be shared.
    let backsoon = Backsoon::before("http://127.0.0.1:1", "");
    let dir = tempfile::tempdir().unwrap();
    let config = format!("[[listen]]\naddress = \"{}\"\n[routes.web]\nupstream = \"http://a:1\"\n", backsoon.address());
    std::fs::write(dir.path().join("backsoon.toml"), config).unwrap();
    assert_eq!(run_to_end(run(dir.path())).0, Some(69));
}

#[test]
fn an_idle_process_ends_with_0_and_a_busy_one_after_its_request() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let upstream = Upstream::handling(move |connection| {
        connection.request();
        let _ = held.lock().unwrap().recv();
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate");
    });
    let mut backsoon = Backsoon::before(&upstream.url(), "[limits]\ngrace = \"100ms\"\n");
    let mut client = Client::connect(backsoon.address());
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    wait("the request to be under way", || backsoon.route("web")["in_flight"] == 1);
    backsoon.signal("TERM");
    wait("readiness to go down", || get(backsoon.admin, "/readyz").status == 503);
    assert_eq!(get(backsoon.admin, "/livez").status, 200);
    assert_eq!(backsoon.status()["stage"], "draining");
    release.send(()).unwrap();
    let response = client.response();
    assert_eq!((response.body.as_str(), response.field("connection")), ("late", Some("close")));
    assert_eq!(backsoon.wait_for_exit().code(), Some(0));
}

/// Shell command that hands over these sockets like systemd: as descriptors from 3 on, for its own process.
const ACTIVATE: &str = "LISTEN_PID=$$ exec \"$@\"";

#[test]
fn sockets_that_systemd_opened_are_taken_and_lose_nobody_over_a_restart() {
    let Some(python) = python() else {
        return crate::clients::skipped("socket activation", "python3 is not installed");
    };
    let upstream = Upstream::ok();
    let dir = tempfile::tempdir().unwrap();
    let unix = dir.path().join("front.sock");
    // Python binds two sockets and becomes backsoon, twice, with the same sockets.
    let script = dir.path().join("activate.py");
    std::fs::write(&script, include_str!("python/activate.py")).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = format!(
        "[[listen]]\naddress = \"127.0.0.1:{port}\"\n[[listen]]\naddress = \"unix:{}\"\n\
         [admin]\naddress = \"127.0.0.1:0\"\n[limits]\ngrace = \"0s\"\n{}",
        unix.display(),
        route("web", "/", &upstream)
    );
    std::fs::write(dir.path().join("backsoon.toml"), config).unwrap();
    let mut command = Command::new(python);
    command.arg(&script).arg(port.to_string()).arg(&unix).args(["sh", "-c", ACTIVATE, "sh"]);
    command.arg(env!("CARGO_BIN_EXE_backsoon")).args(["run", "--config"]).arg(dir.path().join("backsoon.toml"));
    let mut backsoon = Backsoon::spawn(dir, command);
    let inherited = backsoon.log_lines().into_iter().filter(|line| line["message"] == "listening");
    assert!(inherited.clone().count() == 2 && inherited.clone().all(|line| line["inherited"] == true));
    assert_eq!(get(backsoon.address(), "/").status, 200);
    assert!(std::os::unix::net::UnixStream::connect(&unix).is_ok());
    backsoon.signal("TERM");
    assert_eq!(backsoon.wait_for_exit().code(), Some(0));
    assert!(unix.exists(), "the socket is not ours to remove");
}

#[test]
fn a_socket_that_no_listener_wants_is_an_error_that_names_it() {
    let Some(python) = python() else {
        return crate::clients::skipped("unexpected sockets", "python3 is not installed");
    };
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("activate.py");
    std::fs::write(&script, include_str!("python/activate.py")).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = "[[listen]]\naddress = \"127.0.0.1:0\"\n[routes.web]\nupstream = \"http://127.0.0.1:1\"\n";
    std::fs::write(dir.path().join("backsoon.toml"), config).unwrap();
    let mut command = Command::new(python);
    command.arg(&script).arg(port.to_string()).arg(dir.path().join("front.sock")).args(["sh", "-c", ACTIVATE, "sh"]);
    command.arg(env!("CARGO_BIN_EXE_backsoon")).args(["run", "--config"]).arg(dir.path().join("backsoon.toml"));
    let (code, printed) = run_to_end(command);
    assert_eq!(code, Some(64), "{printed}");
    assert!(printed.contains(&format!("127.0.0.1:{port} was handed over")), "{printed}");
}

#[test]
fn systemd_itself_can_activate_it() {
    let upstream = Upstream::ok();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dir = tempfile::tempdir().unwrap();
    let config = format!("[[listen]]\naddress = \"127.0.0.1:{port}\"\n{}", route("web", "/", &upstream));
    std::fs::write(dir.path().join("backsoon.toml"), config).unwrap();
    let mut command = Command::new("systemd-socket-activate");
    command.arg(format!("--listen=127.0.0.1:{port}")).arg(env!("CARGO_BIN_EXE_backsoon"));
    command.args(["run", "--config"]).arg(dir.path().join("backsoon.toml"));
    let spawned = command.stdin(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn();
    let Ok(mut child) = spawned else {
        return crate::clients::skipped("systemd activates it", "systemd-socket-activate is not installed");
    };
    // systemd-socket-activate reports that it listens, and becomes the service at the first connection.
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let listens = lines.by_ref().map_while(Result::ok).find(|line| line.contains("Listening on"));
    assert!(listens.is_some());
    let drained = thread::spawn(move || lines.map_while(Result::ok).count());
    let answered = get(std::net::SocketAddr::from(([127, 0, 0, 1], port)), "/");
    child.kill().unwrap();
    child.wait().unwrap();
    drained.join().unwrap();
    assert_eq!((answered.status, answered.body.as_str()), (200, "hello"));
}

fn python() -> Option<&'static str> {
    let works = |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    ["/usr/bin/python3", "python3"].into_iter().find(works)
}

#[test]
fn a_signal_that_comes_as_the_port_opens_is_obeyed() {
    let upstream = Upstream::ok();
    for (signal, rounds) in [("TERM", 10), ("INT", 5), ("HUP", 10)] {
        for round in 0..rounds {
            let dir = tempfile::tempdir().unwrap();
            let config = format!("{LISTEN}[limits]\ngrace = \"0ms\"\n{}", route("web", "/", &upstream));
            std::fs::write(dir.path().join("backsoon.toml"), config).unwrap();
            let mut child = run(dir.path()).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
            let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
            assert!(log.any(|line| line.contains("\"listening\"")), "{signal} {round}");
            let sent = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
            assert!(sent.success());
            if signal == "HUP" {
                let reloads = log.any(|line| line.contains("reading everything again"));
                assert!(reloads, "{signal} {round}: {:?}", child.wait());
                child.kill().unwrap();
                child.wait().unwrap();
            } else {
                let last = log.last().unwrap_or_default();
                assert_eq!(child.wait().unwrap().code(), Some(0), "{signal} {round}: {last}");
                assert!(last.contains("\"ended\""), "{signal} {round}: {last}");
            }
        }
    }
}

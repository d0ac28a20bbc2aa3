//! What `deploy/` has for monitoring: alerts, a dashboard, a rotation of the log, and a health check.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::authority::Authority;
use crate::clients::skipped;
use crate::support::{Backsoon, Upstream, get, wait};

#[test]
fn the_alerts_fire_when_they_should_and_not_otherwise() {
    for (what, arguments) in [
        ("are valid", ["check", "rules", "deploy/alerts.yml"]),
        ("fire as they should", ["test", "rules", "tests/alerts.yml"]),
    ] {
        match Command::new("promtool").args(arguments).current_dir(root()).output() {
            Err(_) => skipped(&format!("the alerts {what}"), "promtool is not installed"),
            Ok(output) => assert!(output.status.success(), "{output:?}"),
        }
    }
    // Each alert is tried.
    let tried = read("tests/alerts.yml");
    for alert in read("deploy/alerts.yml").lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tried.contains(alert), "{alert} is in no test");
    }
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_metrics_that_exist() {
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana.json")).unwrap();
    let mut asked: Vec<String> = metrics_in(&read("deploy/alerts.yml"));
    let mut expressions = Vec::new();
    each_expression(&dashboard, &mut expressions);
    assert!(expressions.len() >= 30, "{expressions:#?}");
    expressions.iter().for_each(|expression| asked.extend(metrics_in(expression)));
    let there = all_metrics();
    let missing: BTreeSet<&String> = asked.iter().filter(|name| !there.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:?} are not in /metrics: {there:?}");
}

#[test]
fn the_dashboard_asks_the_data_source_that_is_chosen() {
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana.json")).unwrap();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    assert_eq!((&variables[0]["name"], &variables[0]["type"]), (&"datasource".into(), &"datasource".into()));
    let known: Vec<&str> = variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "an id comes twice");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let title = panel["title"].as_str().unwrap();
        assert!(!title.is_empty());
        let targets = panel["targets"].as_array().unwrap();
        for place in std::iter::once(panel).chain(targets) {
            assert_eq!(place["datasource"]["uid"], "${datasource}", "{title}");
        }
        let letters: BTreeSet<&str> = targets.iter().map(|target| target["refId"].as_str().unwrap()).collect();
        assert_eq!(letters.len(), targets.len(), "{title}");
        for target in targets {
            let text = target["expr"].as_str().unwrap();
            let used = text.split('$').skip(1).map(|rest| word(rest).to_owned());
            let unknown: Vec<String> =
                used.filter(|name| name != "__rate_interval" && !known.contains(&name.as_str())).collect();
            assert!(unknown.is_empty(), "{title}: {unknown:?}");
        }
    }
    let places: Vec<[u64; 4]> =
        panels.iter().map(|panel| ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap())).collect();
    for (index, [x, y, w, h]) in places.iter().enumerate() {
        assert!(x + w <= 24);
        for [x2, y2, w2, h2] in &places[index + 1..] {
            let apart = x + w <= *x2 || x2 + w2 <= *x || y + h <= *y2 || y2 + h2 <= *y;
            assert!(apart, "panel {index} lies over another");
        }
    }
}

#[test]
fn a_rotated_log_goes_on_in_a_new_file() {
    let upstream = Upstream::ok();
    let log = "[log]\naccess = \"full\"\naccess_file = \"access.log\"\n";
    let backsoon = Backsoon::before(&upstream.url(), log);
    get(backsoon.address(), "/before");
    let has = |name: &str, path: &str| fs::read_to_string(backsoon.path(name)).is_ok_and(|text| text.contains(path));
    wait("the first line", || has("access.log", "/before"));
    // As it is shipped, but for the place, and for the way in which the process is told.
    let conf = read("deploy/logrotate.conf");
    let conf = conf.replace("/var/log/backsoon/*.log", &format!("{}/*.log", backsoon.dir.path().display()));
    let conf =
        conf.replace("systemctl kill --signal=HUP backsoon.service", &format!("kill -HUP {}", backsoon.child.id()));
    fs::write(backsoon.path("logrotate.conf"), conf).unwrap();
    let mut command = Command::new("/usr/sbin/logrotate");
    command.arg("--force").arg("--state").arg(backsoon.path("state")).arg(backsoon.path("logrotate.conf"));
    match command.output() {
        Err(_) => return skipped("logrotate takes the file of deploy/", "logrotate is not installed"),
        Ok(output) => assert!(output.status.success(), "{output:?}"),
    }
    assert!(has("access.log.1", "/before"));
    wait("the new file", || backsoon.path("access.log").exists());
    get(backsoon.address(), "/after");
    wait("the line after", || has("access.log", "/after"));
}

#[test]
fn the_health_check_of_the_composed_example_asks_whether_the_proxy_answers() {
    let compose: Value = serde_saphyr::from_str(&read("deploy/compose.yaml")).unwrap();
    let service = &compose["services"]["backsoon"];
    assert_eq!((&service["read_only"], &service["cap_drop"][0]), (&true.into(), &"ALL".into()));
    assert_eq!(service["volumes"][0], "./compose:/etc/backsoon");
    let test: Vec<&str> = service["healthcheck"]["test"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let ["CMD", "/backsoon", arguments @ .., _admin] = test.as_slice() else { panic!("{test:?}") };
    let upstream = Upstream::ok();
    let mut backsoon = Backsoon::before(&upstream.url(), "");
    let admin = backsoon.admin.to_string();
    let healthy = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backsoon"));
        let output = command.args(arguments).arg(&admin).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(healthy(), (0, format!("{admin}  running\n")));
    fs::write(backsoon.path("maintenance.toml"), "[routes\n").unwrap();
    wait("the mistake to be seen", || backsoon.metric("backsoon_file_good", &flags_of(&backsoon)) == 0.0);
    assert_eq!(healthy().0, 0, "a mistake in the flag file is no reason for a restart");
    backsoon.child.kill().unwrap();
    backsoon.child.wait().unwrap();
    let (code, said) = healthy();
    assert_eq!(code, 69, "{said}");
    assert!(said.starts_with(&format!("{admin}  ")), "{said}");
    // The example is a config, and so is its flag file.
    let mut check = Command::new(env!("CARGO_BIN_EXE_backsoon"));
    let output = check.args(["check", "--config"]).arg(root().join("deploy/compose/backsoon.toml")).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert_eq!(read("deploy/compose/maintenance.toml"), read("deploy/maintenance.toml"));
}

/// Returns the labels of the flag file in the metrics about files.
fn flags_of(backsoon: &Backsoon) -> String {
    let body = get(backsoon.admin, "/metrics").body;
    let mut labels = body.lines().filter_map(|line| line.strip_prefix("backsoon_file_good{")?.split_once('}'));
    labels.find(|(labels, _)| labels.contains("maintenance.toml")).unwrap().0.to_owned()
}

/// Returns the names of all metrics that a proxy with everything has.
fn all_metrics() -> BTreeSet<String> {
    let upstream = Upstream::ok();
    let dir = tempfile::tempdir().unwrap();
    Authority::new().identity(&["localhost"]).write(dir.path());
    let config = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n\
         tls = {{ cert = \"cert.pem\", key = \"key.pem\" }}\n[admin]\naddress = \"127.0.0.1:0\"\n\
         [status]\nhost = \"status.example.com\"\nsend = true\n\
         [routes.web]\nupstream = \"{}\"\nhealth = {{ get = \"/\" }}\n",
        upstream.url()
    );
    let backsoon = Backsoon::start_in(dir, &config);
    get(backsoon.listen[0], "/");
    backsoon.flag(
        "[[windows]]\nid = \"W\"\nroutes = { web = \"offline\" }\nstarts = 2026-01-01T00:00:00Z\n\
         ends = 2099-01-01T00:00:00Z\n",
    );
    let scrape = || get(backsoon.admin, "/metrics").body;
    wait("the window", || scrape().contains("backsoon_planned_maintenance_end_timestamp_seconds{"));
    let names = scrape();
    let mut names: BTreeSet<String> =
        names.lines().filter(|line| !line.starts_with('#')).map(|line| word(line).to_owned()).collect();
    // Only of listeners whose certificates are watched for their end.
    names.insert("backsoon_certificate_expiry_timestamp_seconds".to_owned());
    // Only where a lease in NATS settles who tells subscribers.
    names.insert("backsoon_outbox_sender".to_owned());
    names
}

/// Collects the expressions of a dashboard, and the queries of its variables.
fn each_expression(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(table) => {
            for (key, value) in table {
                match value.as_str().filter(|_| ["expr", "definition"].contains(&key.as_str())) {
                    Some(text) => found.push(text.to_owned()),
                    None => each_expression(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| each_expression(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Returns the metrics that a text names.
fn metrics_in(text: &str) -> Vec<String> {
    let starts = ["backsoon_", "process_"].into_iter().flat_map(|start| text.match_indices(start));
    starts.map(|(at, _)| word(&text[at..]).to_owned()).filter(|name| !name.ends_with('_')).collect()
}

fn word(text: &str) -> &str {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default()
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

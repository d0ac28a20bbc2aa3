//! `/metrics`: both of its formats, read by parsers that are not ours, and the figures in it.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::clients::{python, script, skipped};
use crate::support::{Backsoon, LISTEN, Response, Upstream, get, request};

const OPEN_METRICS: &str = "application/openmetrics-text";

/// Scrapes with this `Accept`.
fn scrape(backsoon: &Backsoon, accept: &str) -> Response {
    let head = format!("GET /metrics HTTP/1.1\r\nhost: a\r\naccept: {accept}\r\nconnection: close\r\n\r\n");
    request(backsoon.admin, &head)
}

/// Runs a command with this input, and returns its output if it succeeds.
fn fed(mut command: Command, input: &str) -> String {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && err.is_empty(), "{command:?}: {out}\n{err}");
    out.into_owned()
}

#[test]
fn every_line_of_the_metrics_is_valid_in_both_formats_and_the_counters_move() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    for _ in 0..3 {
        get(backsoon.address(), "/");
    }
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    get(backsoon.address(), "/");
    request(backsoon.address(), "GET / HTTP/1.1\r\n\r\n");
    let text = get(backsoon.admin, "/metrics");
    assert_eq!(text.field("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(text.field("vary"), Some("accept"));
    check(&text.body, Format::Text);
    let open = scrape(&backsoon, &format!("{OPEN_METRICS};version=1.0.0,{OPEN_METRICS};version=0.0.1;q=0.7,*/*;q=0.1"));
    assert_eq!(open.field("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    check(&open.body, Format::OpenMetrics);
    let metric = |name: &str, labels: &str| backsoon.metric(name, labels);
    assert_eq!(metric("backsoon_upstream_responses_total", "route=\"web\",class=\"2xx\""), 3.0, "{}", text.body);
    assert_eq!(metric("backsoon_maintenance_responses_total", "route=\"web\""), 1.0);
    assert_eq!(metric("backsoon_proxy_errors_total", "route=\"web\""), 0.0);
    assert_eq!(metric("backsoon_requests_refused_total", ""), 1.0);
    assert!(metric("backsoon_generation", "") >= 2.0);
    let accepted: f64 = (0..backsoon.status()["workers"].as_u64().unwrap())
        .map(|worker| metric("backsoon_client_connections_accepted_total", &format!("worker=\"{worker}\"")))
        .sum();
    assert_eq!(accepted, 5.0);
}

#[test]
fn parsers_of_others_read_both_formats() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::start(&format!(
        "{LISTEN}[routes.web]\nupstream = \"{}\"\n[routes.api]\npath = \"/api\"\nupstream = \"{0}\"\n",
        upstream.url()
    ));
    backsoon.flag("[routes]\napi = \"hold\"\n");
    get(backsoon.address(), "/");
    let (text, open) = (get(backsoon.admin, "/metrics").body, scrape(&backsoon, OPEN_METRICS).body);
    if let Some(python) = python("metrics are read by the strict parsers of prometheus_client") {
        for (format, body) in [("text", &text), ("openmetrics", &open)] {
            let mut command = script(&python, "openmetrics.py");
            command.arg(format);
            let names = fed(command, body);
            for name in ["backsoon_route_phase", "backsoon_request_duration_seconds", "process_open_fds"] {
                assert!(names.lines().any(|found| found == name), "{format}: {names}");
            }
        }
    }
    if Command::new("promtool").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        return skipped("promtool finds nothing to mend in the metrics", "promtool is not installed");
    }
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]);
    assert_eq!(fed(command, &text), "");
}

#[test]
fn every_state_of_a_route_has_a_series_and_one_of_them_is_1() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    let states = |name: &str, label: &str, words: &[&str]| -> Vec<f64> {
        let body = get(backsoon.admin, "/metrics").body;
        let value = |word: &&str| {
            let series = format!("{name}{{route=\"web\",{label}=\"{word}\"}} ");
            let line = body.lines().find_map(|line| line.strip_prefix(&series));
            line.unwrap_or_else(|| panic!("no {series}: {body}")).parse::<f64>().unwrap()
        };
        assert_eq!(body.matches(&format!("\n{name}{{")).count(), words.len(), "{body}");
        words.iter().map(value).collect()
    };
    let phases = || states("backsoon_route_phase", "phase", &["open", "draining", "closed", "verifying", "ramping"]);
    let modes = || states("backsoon_route_closed", "mode", &["read-only", "hold", "offline"]);
    assert_eq!((phases(), modes()), (vec![1.0, 0.0, 0.0, 0.0, 0.0], vec![0.0, 0.0, 0.0]));
    backsoon.flag("[routes]\nweb = \"hold\"\n");
    crate::support::wait("the route to be closed", || phases() == [0.0, 0.0, 1.0, 0.0, 0.0]);
    assert_eq!(modes(), [0.0, 1.0, 0.0]);
}

#[test]
fn the_process_is_told_by_the_names_that_everybody_knows() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    get(backsoon.address(), "/");
    let metric = |name: &str| backsoon.metric(name, "");
    let now = jiff::Timestamp::now().as_duration().as_secs_f64();
    assert!((now - 600.0..=now).contains(&metric("process_start_time_seconds")));
    assert!((0.0..600.0).contains(&metric("process_cpu_seconds_total")));
    let resident = metric("process_resident_memory_bytes");
    assert!((1e6..1e9).contains(&resident) && metric("process_virtual_memory_bytes") > resident, "{resident}");
    assert!((1e6..resident).contains(&metric("backsoon_anonymous_memory_bytes")));
    #[allow(clippy::cast_precision_loss, reason = "a handful")]
    let open = backsoon.descriptors() as f64;
    assert!((metric("process_open_fds") - open).abs() < 6.0, "{open}");
    assert!(metric("process_max_fds") >= 256.0 && metric("process_threads") >= 2.0);
    // What is answered at once is told apart below a millisecond.
    let body = get(backsoon.admin, "/metrics").body;
    for bound in ["0.0001", "0.00025", "0.0005", "0.001"] {
        let series = format!("backsoon_request_duration_seconds_bucket{{le=\"{bound}\",route=\"web\"}} ");
        assert!(body.contains(&series), "{body}");
    }
    // Instants have the name that says so, and for one release their old one.
    for name in ["backsoon_route_since_seconds", "backsoon_route_since_timestamp_seconds"] {
        assert!((now - 600.0..=now).contains(&backsoon.metric(name, "route=\"web\"")), "{name}");
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Format {
    Text,
    OpenMetrics,
}

/// Checks a format as far as it is used: each family is described before its samples, each sample belongs to a family, no
/// sample appears twice, and the end is marked where it is to be.
fn check(text: &str, format: Format) {
    let mut family = String::new();
    let mut kind = String::new();
    let mut seen = std::collections::HashSet::new();
    let mut lines: Vec<_> = text.lines().collect();
    if format == Format::OpenMetrics {
        assert_eq!(lines.pop(), Some("# EOF"));
    }
    for line in lines {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ');
            let (word, name, rest) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
            match word {
                "HELP" => {
                    family = name.to_owned();
                    assert!(seen.insert(format!("family {name}")), "{name} comes twice");
                }
                "TYPE" => {
                    assert_eq!(name, family);
                    kind = rest.to_owned();
                    assert!(["gauge", "counter", "histogram"].contains(&rest), "{line}");
                }
                _ => panic!("{line}"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
        assert!(seen.insert(series.to_owned()), "{line} comes twice");
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let suffixes: &[&str] = match (kind.as_str(), format) {
            ("counter", Format::OpenMetrics) => &["_total"],
            ("histogram", _) => &["_sum", "_count", "_bucket"],
            _ => &[""],
        };
        assert!(suffixes.iter().any(|suffix| name == format!("{family}{suffix}")), "{line}");
        assert!(kind != "counter" || name.ends_with("_total"), "{line}");
        assert!((name.starts_with("backsoon_") || name.starts_with("process_")) && labels.ends_with('}'), "{line}");
        for label in labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty()) {
            let (key, value) = label.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            assert!(key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{line}");
            assert!(!value.trim_end_matches('"').contains('"'), "{line}");
        }
    }
}

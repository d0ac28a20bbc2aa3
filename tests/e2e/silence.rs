//! Nothing happens in silence: whatever differs from what the operator believes is in `/status`, in the log, and in a
//! metric.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::LISTEN;

#[test]
fn a_signal_that_comes_while_the_ports_open_is_not_lost() {
    for _ in 0..20 {
        let (ended, log) = signalled_while_starting("TERM");
        assert_eq!(ended, Some(0), "{log}");
        assert!(log.contains("ending: finishing what is in flight") && log.contains("\"ended\""), "{log}");
    }
    for _ in 0..20 {
        let (ended, log) = signalled_while_starting("HUP");
        assert_eq!(ended, None, "a reload ended it: {log}");
    }
}

/// Starts a proxy and sends it a signal as soon as its port is open. Returns its exit code, unless it goes on to
/// reload, and its log.
fn signalled_while_starting(signal: &str) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let config = format!("{LISTEN}[limits]\ngrace = \"0s\"\n[routes.web]\nupstream = \"http://127.0.0.1:9\"\n");
    let mut child = started_in(dir.path(), &config);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut log = String::new();
    while !log.contains("\"listening\"") {
        assert!(stderr.read_line(&mut log).unwrap() > 0, "no port: {log}");
    }
    let sent = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    if signal == "HUP" {
        while !log.contains("reading everything again") {
            if stderr.read_line(&mut log).unwrap() == 0 {
                return (Some(child.wait().unwrap().code().unwrap_or(-1)), log);
            }
        }
        let _ = child.kill();
        let _ = child.wait();
        return (None, log);
    }
    stderr.read_to_string(&mut log).unwrap();
    (Some(child.wait().unwrap().code().unwrap_or(-1)), log)
}

fn started_in(dir: &Path, config: &str) -> Child {
    fs::write(dir.join("backsoon.toml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_backsoon"));
    command.args(["run", "--config"]).arg(dir.join("backsoon.toml"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

//! Operators are told of what an ended process had still to tell them, with the same id.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use serde_json::Value;

use crate::mails::{Sink, field};
use crate::support::{Backsoon, LISTEN, Upstream, wait};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
const BUSY: &str = "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Webhook that is busy until it is told to take messages.
struct Hook {
    upstream: Upstream,
    takes: Arc<AtomicBool>,
}

impl Hook {
    fn busy() -> Self {
        let takes = Arc::new(AtomicBool::new(false));
        let own = Arc::clone(&takes);
        let upstream = Upstream::handling(move |connection| {
            if connection.request().is_some() {
                connection.send(if own.load(SeqCst) { OK } else { BUSY });
            }
        });
        Self { upstream, takes }
    }

    /// Returns the id of every message that came.
    fn ids(&self) -> Vec<String> {
        let seen = self.upstream.seen();
        let ids = seen.lines().filter_map(|line| line.strip_prefix("webhook-id: "));
        ids.map(|id| id.trim().to_owned()).collect()
    }
}

/// Ends a proxy by a signal, and returns its folder.
fn ended(mut proxy: Backsoon, signal: &str) -> tempfile::TempDir {
    proxy.signal(signal);
    proxy.wait_for_exit();
    std::mem::replace(&mut proxy.dir, tempfile::tempdir().unwrap())
}

#[test]
fn a_message_that_an_ended_process_left_is_told_by_the_next_one() {
    for signal in ["KILL", "TERM"] {
        let (app, hook) = (Upstream::ok(), Hook::busy());
        let config = format!(
            "{LISTEN}[routes.web]\nupstream = \"{}\"\n[[notify]]\nto = \"webhook:{}/secret\"\non = \"closed\"\n",
            app.url(),
            hook.upstream.url()
        );
        let proxy = Backsoon::start(&config);
        proxy.flag("[routes]\nweb = \"offline\"\n");
        wait("the first attempt", || !hook.ids().is_empty());
        let folder = ended(proxy, signal);
        let file = fs::read(folder.path().join(".backsoon/backsoon.notifications.sqlite"));
        let file = file.unwrap_or_default();
        assert!(!file.windows(6).any(|part| part == b"secret"), "the URL is secret");
        hook.takes.store(true, SeqCst);
        let mut proxy = Backsoon::start_in(folder, &config);
        let line = proxy.wait_for_log("operators were notified");
        assert_eq!(line["event"], "closed", "{signal}: {line}");
        let ids = hook.ids();
        assert!(ids.len() >= 2 && ids.iter().all(|id| *id == ids[0]), "{signal}: {ids:?}");
        let folder = ended(proxy, "KILL");
        let mut proxy = Backsoon::start_in(folder, &config);
        proxy.wait_for_log("listening");
        proxy.flag("[routes]\n");
        wait("the route to open", || proxy.route("web")["phase"] == "open");
        assert_eq!(hook.ids().len(), ids.len(), "{signal}: what was told is not told again");
    }
}

#[test]
fn a_mail_that_a_crash_cut_short_is_sent_by_the_next_process_in_the_thread_of_its_route() {
    let app = Upstream::ok();
    // Connections wait for a greeting that does not come.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = format!(
        "{LISTEN}[routes.web]\nupstream = \"{}\"\n[mail]\nserver = \"smtp://{}\"\nfrom = \"status@example.com\"\n\
         [[notify]]\nto = \"mail:ops@example.com\"\non = [\"closed\", \"opened\"]\n",
        app.url(),
        silent.local_addr().unwrap()
    );
    let proxy = Backsoon::start(&config);
    proxy.flag("[routes]\nweb = \"offline\"\n");
    drop(silent.accept().unwrap());
    let folder = ended(proxy, "KILL");
    let sink = Sink::listening(silent);
    let proxy = Backsoon::start_in(folder, &config);
    wait("the mail of the closed route", || sink.mails().len() == 1);
    proxy.flag("[routes]\n");
    wait("the mail of the open route", || sink.mails().len() == 2);
    let mails = sink.mails();
    for (mail, subject) in mails.iter().zip(["[backsoon] web is closed", "[backsoon] web is open"]) {
        assert_eq!(field(mail, "Subject"), subject);
        assert_eq!(field(mail, "To"), "ops@example.com");
        assert_eq!(field(mail, "Auto-Submitted"), "auto-generated");
        assert!(mail.contains("text/plain") && mail.contains("text/html") && !mail.contains("List-"), "{mail}");
    }
    assert_eq!(field(&mails[0], "References"), field(&mails[1], "References"));
    assert_ne!(field(&mails[0], "Message-ID"), field(&mails[1], "Message-ID"));
}

#[test]
fn a_program_that_waited_runs_after_a_crash_and_one_that_ran_does_not_run_twice() {
    let (app, folder) = (Upstream::ok(), tempfile::tempdir().unwrap());
    let (program, own) = (folder.path().join("program"), folder.path().display());
    let text = format!(
        "#!/bin/sh\necho $BACKSOON_EVENT $BACKSOON_ID >> {own}/ran\n[ -e {own}/go ] && exit 0\necho $$ > {own}/pid\n\
         exec sleep 600\n"
    );
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let config = format!(
        "{LISTEN}[routes.web]\nupstream = \"{}\"\n[[notify]]\nto = \"exec:{}\"\non = [\"closed\", \"opened\"]\n\
         timeout = \"10m\"\n",
        app.url(),
        program.display()
    );
    let proxy = Backsoon::start_in(folder, &config);
    let read = |proxy: &Backsoon, name: &str| fs::read_to_string(proxy.path(name)).unwrap_or_default();
    proxy.flag("[routes]\nweb = \"offline\"\n");
    wait("the program to run", || read(&proxy, "pid").ends_with('\n'));
    proxy.flag("[routes]\n");
    // What is in the history was written down as a notification before.
    wait("the route to open", || read(&proxy, ".backsoon/backsoon.history.jsonl").contains("\"to\":\"open\""));
    let pid = read(&proxy, "pid");
    let folder = ended(proxy, "KILL");
    Command::new("kill").args(["-KILL", pid.trim()]).status().unwrap();
    fs::write(folder.path().join("go"), "").unwrap();
    let mut proxy = Backsoon::start_in(folder, &config);
    let line: Value = proxy.wait_for_log("operators are not notified");
    assert!(line["why"].as_str().unwrap().contains("while the program ran"), "{line}");
    let line = proxy.wait_for_log("operators were notified");
    assert_eq!(line["event"], "opened", "{line}");
    let ran = read(&proxy, "ran");
    let events: Vec<&str> = ran.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(events, ["closed", "opened"], "{ran}");
}

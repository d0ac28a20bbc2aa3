//! `backsoon subscribers test` sends a mailbox a test, and says what the server answers.

use std::fs;

use crate::command::run;
use crate::mails::{Sink, field};
use crate::support::LISTEN;

#[test]
fn a_mailbox_is_tried_and_stays_as_it_is() {
    let (sink, folder) = (Sink::start(), tempfile::tempdir().unwrap());
    let config = |mail: &str| {
        let text = format!("{LISTEN}[routes.web]\nupstream = \"http://127.0.0.1:1\"\n[status]\nsend = true\n{mail}");
        fs::write(folder.path().join("backsoon.toml"), text).unwrap();
    };
    let line = |address: &str| {
        format!(
            "{{\"channel\":\"mail\",\"address\":\"{address}\",\"state\":\"active\",\"secret\":\"\",\
             \"created\":\"2026-05-19T14:00:00Z\"}}\n"
        )
    };
    let all = [line("reader@example.org"), line("gone@example.org")].concat();
    fs::write(folder.path().join("import"), all).unwrap();
    config("");
    run(folder.path(), &["subscribers", "import", "import"]).exits(0);
    let before = run(folder.path(), &["subscribers", "list"]).exits(0).out;
    run(folder.path(), &["subscribers", "test", "1"]).exits(1).says("the config has no `[mail]`");
    config(&format!("[mail]\nserver = \"smtp://127.0.0.1:{}\"\nfrom = \"status@example.com\"\n", sink.port));
    run(folder.path(), &["subscribers", "test", "reader@example.org"]).exits(0).says("taken by the mail server");
    let mails = sink.mails();
    assert_eq!(mails.len(), 1, "{mails:?}");
    assert_eq!(field(&mails[0], "Subject"), "This is a test");
    run(folder.path(), &["subscribers", "test", "2"]).exits(1).says("nobody of that name");
    assert_eq!(run(folder.path(), &["subscribers", "list"]).exits(0).out, before);
}

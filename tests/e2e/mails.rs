//! Subscribers by e-mail, with a server that takes mails.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::command::run as run_in;
use crate::support::{Backsoon, LISTEN, Upstream, wait};

const SUBSCRIBERS: &str = r#"{"channel":"mail","address":"reader@example.org","language":"de","state":"active","secret":"","created":"2026-05-19T14:00:00Z"}
{"channel":"mail","address":"gone@example.org","state":"active","secret":"","created":"2026-05-19T14:00:00Z"}
"#;

/// Server that takes mails, except for those to `gone@`.
pub struct Sink {
    pub port: u16,
    mails: Arc<Mutex<Vec<String>>>,
}

impl Sink {
    pub fn start() -> Self {
        Self::listening(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// Takes the mails of a listener, on which others may wait already.
    pub fn listening(listener: TcpListener) -> Self {
        let port = listener.local_addr().unwrap().port();
        let mails = Arc::<Mutex<Vec<String>>>::default();
        let taken = Arc::clone(&mails);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let taken = Arc::clone(&taken);
                thread::spawn(move || Self::serve(stream.unwrap(), &taken));
            }
        });
        Self { port, mails }
    }

    fn serve(mut stream: TcpStream, taken: &Mutex<Vec<String>>) -> Option<()> {
        let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
        stream.write_all(b"220 ready\r\n").ok()?;
        while let Some(Ok(line)) = lines.next() {
            let answer = match line.split([' ', ':']).next() {
                Some("RCPT") if line.contains("gone@") => "550 5.1.1 nobody of that name",
                Some("DATA") => "354 go on",
                Some("QUIT") => "221 bye",
                _ => "250 fine",
            };
            stream.write_all(format!("{answer}\r\n").as_bytes()).ok()?;
            if answer.starts_with("354") {
                let mail = lines.by_ref().map_while(Result::ok).take_while(|line| line != ".");
                let mail: Vec<String> = mail.collect();
                taken.lock().unwrap().push(mail.join("\n"));
                stream.write_all(b"250 taken\r\n").ok()?;
            }
        }
        Some(())
    }

    pub fn mails(&self) -> Vec<String> {
        self.mails.lock().unwrap().clone()
    }
}

pub fn field<'m>(mail: &'m str, name: &str) -> &'m str {
    let head = mail.split("\n\n").next().unwrap();
    let mut lines = head.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    lines.next().unwrap_or_else(|| panic!("no {name}: {mail}"))
}

#[test]
fn a_subscriber_gets_one_mail_a_change_in_one_thread() {
    let (app, sink, folder) = (Upstream::ok(), Sink::start(), tempfile::tempdir().unwrap());
    let config = format!(
        "{LISTEN}[routes.web]\nupstream = \"{}\"\n[status]\nurl = \"https://status.example.com\"\nsend = true\n\
         [mail]\nserver = \"smtp://127.0.0.1:{}\"\nfrom = \"Beispiel <status@example.com>\"\n",
        app.url(),
        sink.port,
    );
    fs::write(folder.path().join("backsoon.toml"), &config).unwrap();
    fs::write(folder.path().join("import"), SUBSCRIBERS).unwrap();
    run_in(folder.path(), &["subscribers", "import", "import"]).exits(0);
    let proxy = Backsoon::start_in(folder, &config);
    proxy.flag("[routes]\nweb = \"offline\"\n");
    wait("the first mail", || sink.mails().len() == 1);
    proxy.flag("[routes]\n");
    wait("the last mail", || sink.mails().len() >= 2 && proxy.status()["outbox"]["due"] == 0);
    let mails = sink.mails();
    assert_eq!(mails.len(), 2, "{mails:#?}");
    for mail in &mails {
        assert_eq!(field(mail, "To"), "reader@example.org");
        assert_eq!(field(mail, "From"), "Beispiel <status@example.com>");
        assert_eq!(field(mail, "Auto-Submitted"), "auto-generated");
        assert_eq!(field(mail, "List-Id"), "<status.example.com>");
        let ways = field(mail, "List-Unsubscribe");
        assert!(ways.starts_with("<https://status.example.com/u/"), "{mail}");
        assert!(mail.contains("<mailto:status@example.com?subject="), "{mail}");
        assert_eq!(field(mail, "List-Unsubscribe-Post"), "List-Unsubscribe=One-Click");
        assert!(mail.contains("https://status.example.com/incidents/"), "{mail}");
    }
    assert_eq!(field(&mails[0], "References"), field(&mails[1], "References"));
    assert_eq!(field(&mails[0], "Subject"), field(&mails[1], "Subject"));
    assert_ne!(field(&mails[0], "Message-ID"), field(&mails[1], "Message-ID"));
    let list = run_in(proxy.dir.path(), &["subscribers", "list"]).exits(0);
    assert!(list.out.contains("refuses the recipient") && list.out.contains("550"), "{}", list.out);
}

#[test]
fn a_mailbox_without_a_server_is_shown_as_what_it_is() {
    let (app, folder) = (Upstream::ok(), tempfile::tempdir().unwrap());
    let config = format!("{LISTEN}[routes.web]\nupstream = \"{}\"\n[status]\nsend = true\n", app.url());
    fs::write(folder.path().join("backsoon.toml"), &config).unwrap();
    fs::write(folder.path().join("import"), SUBSCRIBERS).unwrap();
    run_in(folder.path(), &["subscribers", "import", "import"]).exits(0);
    let proxy = Backsoon::start_in(folder, &config);
    proxy.flag("[routes]\nweb = \"offline\"\n");
    let list = || run_in(proxy.dir.path(), &["subscribers", "list"]).exits(0).out;
    wait("the failure to be noted", || list().contains("the config has no `[mail]`"));
}

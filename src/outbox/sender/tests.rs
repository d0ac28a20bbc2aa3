use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use http::StatusCode;

use crate::plan::config::{MailConfig, MailServer, MailTls, Mailbox};
use crate::plan::news::mail::{Daily, Direction, Letter};

use super::super::address::Reach;
use super::super::endpoint::Endpoint;
use super::super::subscription::{Channel, Order, Pace, State};
use super::super::tests::{SECRET, Seen, Sink, at, notice, order, plain, tls};
use super::super::{signature, store};
use super::*;

/// Sender with a store of its own, whose clock a test moves.
struct World {
    folder: tempfile::TempDir,
    sender: Sender,
}

impl World {
    fn new(reach: Reach) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join(store::FILE)).unwrap();
        let signer = Signer::open(&folder.path().join(signature::FILE)).unwrap();
        Self { folder, sender: Sender::new(store, Connector::new(reach, tls()), signer) }
    }

    fn on_loopback() -> Self {
        Self::new(Reach { allow_private: vec!["127.0.0.0/8".parse().unwrap()] })
    }

    async fn subscribe(&mut self, url: &str, state: State) -> i64 {
        self.sender.store().subscribe(&order(url), SECRET, state, at("13:00:00")).await.unwrap()
    }

    async fn state(&mut self, id: i64) -> State {
        self.sender.store().find(id).await.unwrap().unwrap().state
    }

    async fn error(&mut self, id: i64) -> String {
        self.sender.store().find(id).await.unwrap().unwrap().last_error.unwrap_or_default()
    }

    /// Sends all that is due at an instant.
    async fn send(&mut self, now: Timestamp) {
        loop {
            self.sender.start(&Stationery::default(), MayTell::Yes, now).await.unwrap();
            if !self.sender.is_busy() {
                return;
            }
            self.sender.land(|| now).await;
            self.sender.settle(now).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_retry_waits_as_asked_and_has_the_same_id_and_the_time_of_its_attempt() {
    let answers = ["503 Service Unavailable", "200 OK"];
    let sink = Sink::new(move |number, _| plain(answers[number - 1], "retry-after: 60\r\n", "")).await;
    let mut world = World::on_loopback();
    world.subscribe(&sink.url, State::Active).await;
    world.sender.record(&notice(1), at("14:00:00")).await.unwrap();
    world.send(at("14:00:00")).await;
    world.send(at("14:00:59")).await;
    assert_eq!(sink.seen().len(), 1);
    world.send(at("14:01:00")).await;
    world.send(at("20:00:00")).await;
    let seen = sink.seen();
    let field = |at: usize, name: &str| seen[at].fields[name].clone();
    assert_eq!(seen.len(), 2);
    assert_eq!(field(0, "webhook-id"), field(1, "webhook-id"));
    let seconds = |at: usize| field(at, "webhook-timestamp").parse::<i64>().unwrap();
    assert_eq!((seconds(0), seconds(1)), (at("14:00:00").as_second(), at("14:01:00").as_second()));
    assert_ne!(field(0, "webhook-signature"), field(1, "webhook-signature"));
    assert_eq!(world.sender.counts(), Counts { sent: 1, failures: 1 });
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_410_is_the_end() {
    let other = Sink::new(|_, _| plain("200 OK", "", "")).await;
    let location = format!("location: {}\r\n", other.url);
    let moved = Sink::new(move |_, _| plain("307 Temporary Redirect", &location, "")).await;
    let gone = Sink::new(|_, _| plain("410 Gone", "", "")).await;
    let mut world = World::on_loopback();
    let ids = [world.subscribe(&moved.url, State::Active).await, world.subscribe(&gone.url, State::Active).await];
    world.sender.record(&notice(1), at("14:00:00")).await.unwrap();
    world.send(at("14:00:00")).await;
    assert_eq!((moved.seen().len(), gone.seen().len(), other.seen().len()), (1, 1, 0));
    assert_eq!(world.error(ids[0]).await, "307 Temporary Redirect");
    assert_eq!([world.state(ids[0]).await, world.state(ids[1]).await], [State::Active, State::Disabled]);
}

#[tokio::test]
async fn loopback_is_refused_by_address_and_by_name_unless_the_operator_allows_it() {
    let sink = Sink::new(|_, _| plain("200 OK", "", "")).await;
    let mut world = World::new(Reach::default());
    for url in [sink.url.clone(), sink.url.replace("127.0.0.1", "localhost"), sink.url.replace("127.0.0.1", "[::1]")] {
        let id = world.subscribe(&url, State::Active).await;
        world.sender.record(&notice(u32::try_from(id).unwrap()), at("14:00:00")).await.unwrap();
        world.send(at("14:00:00")).await;
        let error = world.error(id).await;
        assert!(
            error.starts_with("the address is refused: ") && error.ends_with(" is not a public address"),
            "{error}"
        );
    }
    assert_eq!(sink.seen().len(), 0);
}

#[tokio::test]
async fn an_endpoint_that_sends_without_end_is_read_to_a_limit() {
    let sink = Sink::new(|_, _| format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(1_000_000))).await;
    let world = World::on_loopback();
    let message = Message { fields: HeaderMap::new(), body: "{}".into() };
    let answer = world.sender.connector.post(&Endpoint::parse(&sink.url).unwrap(), message).await.unwrap();
    assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 4096));
}

#[tokio::test]
async fn endpoints_that_keep_the_proof_waiting_take_no_room_of_deliveries() {
    let slow = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sink = Sink::new(|_, _| plain("200 OK", "", "")).await;
    let mut world = World::on_loopback();
    for number in 0..100 {
        let url = format!("http://{}/{number}", slow.local_addr().unwrap());
        world.subscribe(&url, State::Unconfirmed).await;
    }
    world.subscribe(&sink.url, State::Active).await;
    for _ in 0..100 {
        // Each stranger has the sender look again.
        world.sender.peak = usize::MAX;
        world.sender.start(&Stationery::default(), MayTell::Yes, at("14:00:00")).await.unwrap();
    }
    world.sender.record(&notice(1), at("14:00:00")).await.unwrap();
    world.sender.start(&Stationery::default(), MayTell::Yes, at("14:00:00")).await.unwrap();
    world.sender.land(|| at("14:00:00")).await;
    assert_eq!(sink.seen().len(), 1);
}

#[tokio::test]
async fn an_endpoint_is_told_nothing_before_it_has_answered_the_challenge() {
    let challenge = |seen: &Seen| serde_json::from_str::<serde_json::Value>(&seen.body).unwrap()["challenge"].clone();
    let text = Sink::new(move |_, seen| plain("200 OK", "", challenge(seen).as_str().unwrap_or_default())).await;
    let json =
        Sink::new(move |_, seen| plain("200 OK", "", &json!({ "challenge": challenge(seen) }).to_string())).await;
    let echo = Sink::new(|_, seen| plain("200 OK", "", &seen.body)).await;
    let silent = Sink::new(|_, _| plain("200 OK", "", "")).await;
    let mut world = World::on_loopback();
    let mut ids = Vec::new();
    for sink in [&text, &json, &echo, &silent] {
        ids.push(world.subscribe(&sink.url, State::Unconfirmed).await);
    }
    world.send(at("14:00:00")).await;
    world.sender.record(&notice(1), at("14:00:00")).await.unwrap();
    world.send(at("14:00:00")).await;
    let mut states = Vec::new();
    for id in ids {
        states.push(world.state(id).await);
    }
    assert_eq!(states, [State::Active, State::Active, State::Unconfirmed, State::Unconfirmed]);
    assert_eq!([&text, &json, &echo, &silent].map(|sink| sink.seen().len()), [2, 2, 1, 1]);
}

#[tokio::test]
async fn each_chat_is_told_in_its_form_and_its_answer_is_read_its_way() {
    let limited = r#"{"message":"You are being rate limited.","retry_after":90.5,"global":false}"#;
    let answers = [
        (Channel::Slack, plain("200 OK", "", "ok")),
        (Channel::Teams, plain("202 Accepted", "", "")),
        (Channel::Ntfy, plain("429 Too Many Requests", "retry-after: 40\r\n", "")),
        (Channel::Discord, plain("429 Too Many Requests", "", limited)),
        (Channel::Slack, plain("404 Not Found", "", "no_service")),
        (Channel::Slack, plain("400 Bad Request", "", "invalid_blocks")),
    ];
    let mut world = World::on_loopback();
    let (mut sinks, mut ids) = (Vec::new(), Vec::new());
    for (channel, answer) in answers {
        let sink = Sink::new(move |_, _| answer.clone()).await;
        let order = Order { channel, ..order(&sink.url) };
        ids.push(world.sender.store().subscribe(&order, "", State::Active, at("13:00:00")).await.unwrap());
        sinks.push(sink);
    }
    world.sender.record(&notice(1), at("14:00:00")).await.unwrap();
    let mut counts = Vec::new();
    for time in ["14:00:00", "14:00:39", "14:00:44", "14:01:29", "14:01:40"] {
        world.send(at(time)).await;
        counts.push(sinks.iter().map(|sink| sink.seen().len()).collect::<Vec<_>>());
    }
    // Who asks for time gets it, and a message that is refused is not repeated.
    assert_eq!(counts[..2], [[1; 6], [1; 6]]);
    assert_eq!([&counts[2], &counts[3], &counts[4]], [&[1, 1, 2, 1, 1, 1], &[1, 1, 2, 1, 1, 1], &[1, 1, 2, 2, 1, 1]]);
    let mut states = Vec::new();
    for id in &ids {
        states.push(world.state(*id).await);
    }
    assert_eq!(states[4], State::Disabled);
    assert!(states.iter().enumerate().all(|(at, state)| at == 4 || *state == State::Active), "{states:?}");
    assert_eq!(world.error(ids[4]).await, "404 Not Found (no_service)");
    assert_eq!(world.error(ids[5]).await, "400 Bad Request (invalid_blocks)");
    let bodies: Vec<String> = sinks.iter().map(|sink| sink.seen()[0].body.clone()).collect();
    let beginnings = [r#"{"blocks":[{"text""#, r#"{"attachments":[{"content":{"$schema""#, "Maintenance has begun."];
    for (body, beginning) in bodies.iter().zip(beginnings) {
        assert!(body.starts_with(beginning), "{body}");
    }
    assert!(bodies[3].starts_with(r#"{"allowed_mentions":{"parse":[]},"embeds":"#), "{}", bodies[3]);
    assert!(sinks.iter().all(|sink| !sink.seen()[0].fields.contains_key("webhook-signature")));
}

#[test]
fn the_result_follows_from_the_status() {
    let decide = |status: u16, attempt: u32| {
        let answer = Answer { status: StatusCode::from_u16(status).unwrap(), retry_after: None, body: Vec::new() };
        outcome(attempt, Ok(Channel::Webhook.meaning(&answer)), at("14:00:00"), 0.0)
    };
    let retry = |error: &str, time: &str| Outcome::Retry { at: at(time), error: error.to_owned() };
    let gone = Outcome::Gone { error: "410 Gone".to_owned() };
    assert_eq!([decide(200, 1), decide(204, 10), decide(410, 1)], [Outcome::Done, Outcome::Done, gone]);
    assert_eq!(decide(301, 1), retry("301 Moved Permanently", "14:00:05"));
    assert_eq!(decide(404, 2), retry("404 Not Found", "14:05:00"));
    assert_eq!(decide(429, 3), retry("429 Too Many Requests", "14:30:00"));
    assert_eq!(decide(500, 10), Outcome::Failed { error: "500 Internal Server Error".to_owned() });
}

/// The library of Standard Webhooks knows nothing of ours.
#[tokio::test]
async fn a_library_that_is_not_ours_verifies_the_signature() {
    let claim = "a webhook verified by `standardwebhooks` of PyPI";
    let python = std::env::var_os("BACKSOON_TEST_PYTHON").map(PathBuf::from).filter(|python| python.exists());
    let Some(python) = python else {
        eprintln!("SKIPPED: {claim}: BACKSOON_TEST_PYTHON names no Python; tests/all makes one");
        return;
    };
    let sink = Sink::new(|_, _| plain("200 OK", "", "")).await;
    let mut world = World::on_loopback();
    world.subscribe(&sink.url, State::Active).await;
    let (now, mut fresh) = (Timestamp::now(), notice(1));
    fresh.update.at = now;
    world.sender.record(&fresh, now).await.unwrap();
    world.send(now).await;
    let seen = sink.seen().remove(0);
    let input = json!({ "secret": SECRET, "fields": seen.fields, "body": seen.body }).to_string();
    let path = world.folder.path().join("seen.json");
    std::fs::write(&path, input).unwrap();
    let script = "import json, sys\nfrom standardwebhooks import Webhook, WebhookVerificationError\n\
        seen = json.load(open(sys.argv[1]))\nhook = Webhook(seen['secret'])\n\
        print(hook.verify(seen['body'], seen['fields'])['type'])\n\
        try:\n    hook.verify(seen['body'] + ' ', seen['fields'])\nexcept WebhookVerificationError:\n    print('refused')";
    let run = std::process::Command::new(python).args(["-c", script]).arg(&path).output().unwrap();
    let (out, error) = (String::from_utf8(run.stdout).unwrap(), String::from_utf8(run.stderr).unwrap());
    assert_eq!(out, "maintenance.started\nrefused\n", "{error}");
}

/// `BACKSOON_DELIVERIES=10000` measures; by default it is only tried.
#[tokio::test]
async fn many_subscribers_are_told_once_each() {
    let many: usize = std::env::var("BACKSOON_DELIVERIES").ok().and_then(|many| many.parse().ok()).unwrap_or(100);
    let sink = Sink::new(|_, _| plain("200 OK", "", "")).await;
    let mut world = World::on_loopback();
    for number in 0..many {
        world.subscribe(&format!("{}/{number}", sink.url), State::Active).await;
    }
    let begun = std::time::Instant::now();
    assert_eq!(world.sender.record(&notice(1), at("14:00:00")).await.unwrap(), Recorded::New(many));
    let recorded = begun.elapsed();
    world.send(at("14:00:00")).await;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default().to_owned();
    println!("{many} deliveries: recorded in {recorded:?}, sent in {:?}; {peak}", begun.elapsed());
    let ids: std::collections::BTreeSet<String> =
        sink.seen().iter().map(|seen| seen.fields["webhook-id"].clone()).collect();
    assert_eq!((sink.seen().len(), ids.len()), (many, many));
}

/// Starts a mail server that takes each mail with an answer, by its number. Returns its port, and what it was sent.
fn mail_server(answers: &'static [&'static str]) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let taken = Arc::<Mutex<Vec<String>>>::default();
    let mails = Arc::clone(&taken);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let mut say = |answer: &str| stream.write_all(format!("{answer}\r\n").as_bytes()).unwrap_or_default();
            say("220 ready");
            while let Some(line) = lines.next() {
                if line != "DATA" {
                    say("250 fine");
                    continue;
                }
                say("354 go on");
                let mail = lines.by_ref().take_while(|line| line != ".").collect::<Vec<_>>().join("\n");
                let number = mails.lock().unwrap().len();
                mails.lock().unwrap().push(mail.replace("=\n", ""));
                say(answers[number]);
            }
        }
    });
    (port, taken)
}

/// Returns an update with the words of a mail.
fn worded(sequence: u32) -> Notice {
    let mut notice = notice(sequence);
    for telling in &mut notice.tellings {
        let text = |text: &str| format!("{text} {sequence} {}", telling.language);
        telling.letter = Some(Letter {
            language: telling.language.clone(),
            direction: Direction::Ltr,
            site: "Status".to_owned(),
            subject: "[Status] Database".to_owned(),
            stage: None,
            heading: "Database".to_owned(),
            paragraphs: vec![text("step")],
            facts: Vec::new(),
            action: None,
            calendar: None,
            daily: Some(Daily { heading: text("day"), when: text("at"), more: "more".to_owned() }),
            reason: "reason".to_owned(),
            manage: "manage".to_owned(),
            unsubscribe: "leave".to_owned(),
        });
    }
    notice
}

#[tokio::test]
async fn a_reader_gets_one_mail_a_day_and_the_same_one_again_after_a_failure() {
    let (port, mails) = mail_server(&["451 later", "250 taken", "250 taken"]);
    let mut world = World::on_loopback();
    let mailbox = Mailbox { name: None, address: "status@example.com".to_owned() };
    let server = MailServer { host: "127.0.0.1".to_owned(), port, tls: MailTls::Off };
    let config = MailConfig { server, ca: None, login: None, from: mailbox, reply_to: None, dkim: None };
    world.sender = world.sender.with_mail(MailDesk::new(Some(config)));
    world.sender.unlock().await.unwrap();
    let language = "de".to_owned();
    let reader = Order { channel: Channel::Mail, pace: Pace::Digest, language, ..order("reader@example.org") };
    world.sender.store().subscribe(&reader, "", State::Active, at("07:00:00")).await.unwrap();
    for sequence in 1..=2 {
        world.sender.record(&worded(sequence), at("14:00:00")).await.unwrap();
    }
    // The digests are at 08:00.
    let next_day = |text: &str| at(text) + SignedDuration::from_hours(24);
    for time in [at("14:00:00"), at("23:59:59"), next_day("07:59:59")] {
        world.send(time).await;
    }
    assert_eq!(mails.lock().unwrap().len(), 0);
    for time in ["08:00:00", "08:00:10", "20:00:00"] {
        world.send(next_day(time)).await;
    }
    world.send(next_day("08:00:00") + SignedDuration::from_hours(24)).await;
    let seen = mails.lock().unwrap().clone();
    assert_eq!((seen.len(), world.sender.counts()), (2, Counts { sent: 1, failures: 1 }), "{seen:#?}");
    let id = |mail: &str| mail.lines().find(|line| line.starts_with("Message-ID: ")).map(str::to_owned);
    assert!(id(&seen[0]).is_some() && id(&seen[0]) == id(&seen[1]), "{seen:#?}");
    for part in ["Subject: [Status] day 2 de", "step 1 de", "step 2 de", "List-Unsubscribe-Post", "/manage/", "/u/"] {
        assert!(seen[1].contains(part), "{part}: {}", seen[1]);
    }
}

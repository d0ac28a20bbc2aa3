//! A bypass ticket in a cookie: only the one that was signed passes, whatever is changed in it or sent instead.
#![no_main]

use std::sync::{Arc, LazyLock};

use backsoon::plan::compile::{Inputs, Known, compile};
use backsoon::plan::page::Renderers;
use backsoon::plan::pass::{Binding, Key, Purpose, Token};
use backsoon::plan::snapshot::Snapshot;
use backsoon::plan::verdict::{Head, Verdict, decide};
use backsoon::plan::{config, flags};
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use jiff::{SignedDuration, Timestamp};
use libfuzzer_sys::fuzz_target;

const CONFIG: &str = "[[listen]]\naddress = \"127.0.0.1:0\"\n[routes.web]\nupstream = \"http://127.0.0.1:3000\"\n\
    drain = \"30s\"\nbypass = { header = \"X-Key\", secret_file = \"key\" }\n";
const NAME: &str = "__Host-backsoon-bypass-web";

/// A closed route, and a ticket that passes it.
static CLOSED: LazyLock<(Snapshot, String)> = LazyLock::new(|| {
    let key = Arc::new(Key::new(b"0123456789abcdef0123456789abcdef").expect("a key"));
    let known = Known { secrets: [("web".to_owned(), Arc::clone(&key))].into(), ..Known::default() };
    let config = config::parse("backsoon.toml", CONFIG).0.expect("a config");
    let flags = flags::parse("maintenance.toml", "[routes]\nweb = \"offline\"\n").0.expect("flags").flags;
    let renderers = Renderers::built_in();
    let at = |previous: Option<&Snapshot>, seconds| {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds);
        let (config, flags, known, renderers) = (&config, &flags, &known, &renderers);
        compile(Inputs { config, flags, renderers, known, previous, now, generation: 1 })
    };
    let closed = at(Some(&at(None, 0)), 600);
    let ticket = Token { expires: 4_000_000_000_000, begins: 4_000_000_000_000, ..Token::default() };
    let binding = Binding { purpose: Purpose::Pass, route: "web" };
    let signed = key.sign(binding, ticket);
    (closed, signed)
});

fuzz_target!(|input: (bool, &[u8])| {
    let (changed, bytes) = input;
    let (closed, signed) = &*CLOSED;
    let mut ticket = signed.clone().into_bytes();
    if changed {
        for pair in bytes.chunks_exact(2) {
            let at = usize::from(pair[0]) % ticket.len();
            ticket[at] = pair[1];
        }
    } else {
        ticket = bytes.to_vec();
    }
    let cookie = [b"theme=dark; ", NAME.as_bytes(), b"=", &ticket].concat();
    let Ok(cookie) = HeaderValue::from_bytes(&cookie) else { return };
    let headers: HeaderMap = [(COOKIE, cookie)].into_iter().collect();
    let passed = matches!(decide(closed, Head::unknown(&headers)), Verdict::Forward(..));
    let sent = ticket.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    // Another cookie of that name may stand behind a semicolon.
    let genuine = sent == signed.as_bytes() || ticket.windows(signed.len()).any(|part| part == signed.as_bytes());
    assert!(!passed || genuine, "passed: {:?}", String::from_utf8_lossy(&ticket));
    assert!(passed || ticket != signed.as_bytes(), "the genuine ticket does not pass");
});

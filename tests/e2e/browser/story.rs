//! Contents of these tests' pages: flag files from the shortest to the worst.

use std::fmt::Write;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::support::{Backsoon, Client, LISTEN, Upstream, wait_for_page};

/// Flag file that flags nothing. An empty file would say the same, but counts only after seconds.
pub const OPEN: &str = "[routes]\n";

/// Flag without a word.
pub const BARE: &str = "[routes]\nweb = \"offline\"\n";

/// Flag that pauses writes, and says why.
pub const READ_ONLY: &str = "[routes.web]\nmode = \"read-only\"\nmessage = \"We are moving the database.\"\n";

/// Returns the sample with everything, 28 minutes after its planned start.
pub fn full() -> String {
    full_since(SignedDuration::from_mins(28))
}

/// Returns the sample with everything, this long after its planned start.
pub fn full_since(since: SignedDuration) -> String {
    let starts: Timestamp = "2026-05-19T14:00:00Z".parse().unwrap();
    let by = Timestamp::now().duration_since(starts) - since;
    let moved = |line: &str| {
        let instant = line.split_once("= ").and_then(|(key, rest)| Some((key, rest.parse::<Timestamp>().ok()?)));
        instant.map_or_else(|| line.to_owned(), |(key, instant)| format!("{key}= {}", instant + by))
    };
    let lines: Vec<String> = include_str!("../../../pages/samples/full.toml").lines().map(moved).collect();
    lines.join("\n") + "\n"
}

/// Returns the full sample once the migrations are over and the first service answers again, slowly.
pub fn later(full: &str) -> String {
    let later = full.replacen("status = \"offline\"", "status = \"degraded\"", 1).replacen(
        "state = \"running\"\nprogress = { done = 3, total = 7, unit = \"schema changes\" }",
        "state = \"done\"",
        1,
    );
    let later = later.replacen("state = \"pending\"", "state = \"running\"", 1);
    assert_ne!(later, full);
    later
}

/// Returns a hundred services and forty steps, with words that no column holds, markup, and other scripts.
pub fn worst() -> String {
    let now = Timestamp::now();
    let mut text = format!(
        "[[windows]]\nid = '{}'\ntitle = '{LONG}'\nsummary = '{MARKUP}'\nmessage = '{} {}'\nlabel = '{MARKUP}'\n\
         starts = {}\nends = {}\nregions = ['{LONG}', '{MIXED}']\nimpact = {{ level = '{LONG}', note = '{MARKUP}' }}\n\
         routes = {{ web = \"offline\" }}\n",
        &LONG[..64],
        LONG.repeat(3),
        MIXED.repeat(8),
        now - SignedDuration::from_hours(100),
        now + SignedDuration::from_hours(1000),
    );
    let words = [MARKUP, LONG, MIXED];
    for (index, status) in (0..100).zip(["offline", "restarting", "queued", "degraded", "operational"].iter().cycle()) {
        let (name, detail) = (words[index % 3], words[(index + 1) % 3]);
        let eta = now + SignedDuration::from_hours(i64::try_from(index).unwrap() - 5);
        write!(text, "[[windows.services]]\nname = '{name}'\ndetail = '{detail}'\nstatus = \"{status}\"\n").unwrap();
        write!(text, "eta = {eta}\nregions = ['{name}', '{detail}']\n").unwrap();
    }
    for index in 0..40 {
        let state = ["done", "failed", "running", "pending"][index / 10];
        let (title, detail) = (words[index % 3], words[(index + 1) % 3].repeat(4));
        write!(text, "[[windows.steps]]\ntitle = '{title}'\ndetail = '{detail}'\nstate = \"{state}\"\n").unwrap();
        writeln!(text, "progress = {{ done = {}, total = 40999999, unit = '{title}' }}", index * 999_999).unwrap();
    }
    text
}

/// Starts a proxy before an app that answers everything with an HTML page of its own.
pub fn proxy(more: &str) -> Backsoon {
    Backsoon::before(&Upstream::answering(&html(APP)).url(), more)
}

/// Starts such a proxy with a template of its own, which is the built-in one with `from` replaced by `to`.
pub fn proxy_with(template: &str, from: &str, to: &str) -> Backsoon {
    let built_in = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("pages").join(template)).unwrap();
    assert!(built_in.contains(from), "{template} has {from}");
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("pages")).unwrap();
    std::fs::write(dir.path().join("pages").join(template), built_in.replacen(from, to, 1)).unwrap();
    let upstream = Upstream::answering(&html(APP)).url();
    let config = format!("pages = \"pages\"\n{LISTEN}[routes.web]\nupstream = \"{upstream}\"\n");
    Backsoon::start_in(dir, &format!("{config}always_open = [\"/open\"]\n"))
}

/// Closes a route with a flawless flag file, and waits until its page exists in every language.
pub fn close(proxy: &Backsoon, flags: &str) {
    proxy.flag(flags);
    let status = proxy.status();
    let mut files = status["files"].as_array().unwrap().iter();
    assert!(files.all(|file| file["problems"] == json!([])), "{:#}", status["files"]);
    finished(proxy, "GET /.backsoon/status/ HTTP/1.1\r\nhost: a\r\naccept: text/html\r\naccept-encoding: br\r\n\r\n");
}

/// Waits until the page that a request gets exists in every language and coding.
pub fn finished(proxy: &Backsoon, head: &str) {
    wait_for_page("the page to be finished", || {
        let mut client = Client::connect(proxy.address());
        client.send(head);
        client.head().contains("content-encoding: br")
    });
}

/// Returns a response with an HTML page.
pub fn html(page: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n{page}", page.len())
}

/// Parts of a page that only a config adds.
pub const BRAND: &str = "[page]\nbrand = \"Example Shop\"\nlinks = { home = \"/\", status = \"https://status.example.com\", \
    subscribe = \"/subscribe\", help = \"mailto:help@example.com\", channels = [\"email\", \"webhook\"] }\n";

/// Expression that is true in the page of [`proxy`]'s app.
pub const IN_APP: &str = "document.title == 'the app'";

/// Expression that is true in a page of ours whose script is running.
pub const LIVE: &str = "document.querySelector('#now .w')?.textContent == document.body.dataset.live && \
    !document.querySelector('#pause').hidden";

/// Expression that is true in a page of ours that has lost its proxy.
pub const LOST: &str = "document.querySelector('#now .w')?.textContent == document.body.dataset.off";

/// Expression that is true in a page of ours that is paused.
pub const PAUSED: &str = "document.querySelector('#now .w')?.textContent == document.body.dataset.paused";

const APP: &str = "<!doctype html><html lang=en><link rel=icon href=data:,><title>the app</title><h1>It works</h1>\
    <form method=post action=/order><button>Order</button></form>";

/// Word as long as a line may be, and longer than any column.
const LONG: &str = concat!(
    "AnUnbrokenWordThatGoesOnAndOnUntilItIsWiderThanAnyColumnThatAnybodyWouldEverThinkOfMakingForItInATableOfServices",
    "OrInTheHeadingOfAPageThatIsReadOnAPhoneInAnUndergroundTrainAtNightWhileTheBatteryIsLow"
);
const MARKUP: &str = r#"<script>alert(1)</script><img src=x onerror=alert(1)></main></body> {{ 7 * 7 }} & &amp; "><b>"#;
const MIXED: &str = "مرحبا بالعالم שלום 文字化けしないことを確かめるための長い文章をここに置きます 👩‍👩‍👧‍👦🏳️‍🌈 é́́ · ";

//! Time of the pure part of a request, and of a publication: `cargo bench --bench decide`.
//!
//! A decision is measured over many requests in turn, so that the caches hold no more of a large snapshot than they
//! would under traffic. The goal: at most 300 ns a decision with 10,000 routes, of which 1,000 are flagged.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use backsoon::live::{self, Generation, LiveUpstream};
use backsoon::plan::compile::{Inputs, Known, compile};
use backsoon::plan::config::{self, Config, Upstream};
use backsoon::plan::flags::{self, Flags};
use backsoon::plan::page::{Renderer, Renderers, samples};
use backsoon::plan::pass::{Binding, Key, Purpose, Token};
use backsoon::plan::path;
use backsoon::plan::snapshot::Snapshot;
use backsoon::plan::verdict::{Head, decide};
use backsoon::telemetry::{Meters, UpstreamKey};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::header::ACCEPT;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::{SignedDuration, Timestamp};

/// The allocator of the command.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = decisions, patterns, policies, paths, dialects, pages, files, publications
}
criterion_main!(benches);

fn decisions(c: &mut Criterion) {
    let mut group = c.benchmark_group("decide");
    for size in SIZES {
        let (config, flags) = inputs(size);
        let snapshot = snapshot(&config, &flags, None, 1);
        for form in FORMS {
            for (phase, flagged) in [("open", false), ("closed", true)] {
                let routes = (0..size).filter(|&index| form_of(index) == form && is_flagged(index) == flagged);
                let requests: Vec<_> = routes.map(request_for).collect();
                if !requests.is_empty() {
                    let name = format!("{form:?}, {phase}, {size} routes");
                    group.bench_function(name, |b| in_turn(b, &snapshot, &requests));
                }
            }
        }
        let nobody = |index| (format!("nobody{index}.example.net"), "/v1/index.html".to_owned());
        let requests: Vec<_> = (0..size).map(nobody).collect();
        group.bench_function(format!("none, {size} routes"), |b| in_turn(b, &snapshot, &requests));
    }
}

/// Measures routes whose paths have `*`: of as many beginnings as there are routes, and as many of one as may be.
fn patterns(c: &mut Criterion) {
    let mut group = c.benchmark_group("pattern");
    let ask = |path: String| ("example.com".to_owned(), path);
    for (size, path, asked) in [
        (LARGEST, "/v1/tenants/{}/*/orders", "/v1/tenants/{}/eu/orders/2026/invoice.pdf"),
        (64, "/v1/*/orders-{}", "/v1/eu/orders-{}/2026/invoice.pdf"),
        (64, "/**/orders-{}.pdf", "/v1/tenants/eu/2026/orders-{}.pdf"),
    ] {
        let mut text = "[[listen]]\naddress = \"127.0.0.1:0\"\n".to_owned();
        let of = |pattern: &str, index: usize| pattern.replace("{}", &format!("{index:05}"));
        for index in 0..size {
            let path = of(path, index);
            let upstream = "upstream = \"http://127.0.0.1:3000\"";
            let _ = writeln!(text, "[routes.r{index}]\nhost = \"example.com\"\npath = \"{path}\"\n{upstream}");
        }
        let (config, problems) = config::parse("backsoon.toml", &text);
        let config = config.unwrap_or_else(|| panic!("a config: {problems:?}"));
        let snapshot = snapshot(&config, &Flags::default(), None, 1);
        let requests: Vec<_> = (0..size).map(|index| ask(of(asked, index))).collect();
        group.bench_function(format!("{path}, {size} routes"), |b| in_turn(b, &snapshot, &requests));
        let requests = [ask("/v1/tenants/acme/eu/2026/index.html".to_owned())];
        group.bench_function(format!("{path}, {size} routes, none covers"), |b| in_turn(b, &snapshot, &requests));
    }
}

/// Decides one request after the other, from all over the snapshot.
fn in_turn(b: &mut criterion::Bencher<'_>, snapshot: &Snapshot, requests: &[(String, String)]) {
    let (mut next, headers) = (0, HeaderMap::new());
    b.iter(|| {
        let (host, path) = &requests[next];
        next = (next + STRIDE) % requests.len();
        let head = Head { host: black_box(host), path: black_box(path), ..Head::unknown(&headers) };
        black_box(decide(snapshot, head));
    });
}

/// Measures routes that are not open, with everything that may let a client pass.
fn policies(c: &mut Criterion) {
    let mut group = c.benchmark_group("policy");
    let (config, _) = config::parse("backsoon.toml", POLICY);
    let config = config.unwrap_or_else(|| panic!("a config"));
    let key = Arc::new(Key::new(b"0123456789abcdef0123456789abcdef").unwrap_or_else(|_| panic!("a key")));
    let known = Known { secrets: [("web".to_owned(), Arc::clone(&key))].into(), ..Known::default() };
    let at = |text: &str, previous: Option<&Snapshot>, seconds| {
        let (flags, _) = flags::parse("maintenance.toml", text);
        let flags = flags.unwrap_or_else(|| panic!("flags")).flags;
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds);
        let (config, flags, known) = (&config, &flags, &known);
        compile(Inputs { config, flags, renderers: &RENDERERS, known, previous, now, generation: 1 })
    };
    let offline = at("[routes]\nweb = \"offline\"\n", None, 0);
    let closed = at("[routes]\nweb = \"offline\"\n", Some(&offline), 600);
    let back = at("", Some(&closed), 700);
    let ramping = at("", Some(&back), 730);
    let read_only = at("[routes]\nweb = \"read-only\"\n", None, 0);
    let token = Token { expires: 4_000_000_000_000, turn: 7, begins: 4_000_000_000_000, ..Token::default() };
    let cookie = |purpose, name: &str| {
        let signed = key.sign(Binding { purpose, route: if purpose == Purpose::Ramp { "" } else { "web" } }, token);
        format!("session=0123456789abcdef; {name}={signed}; theme=dark")
    };
    let (pass, ramp) =
        (cookie(Purpose::Pass, "__Host-backsoon-bypass-web"), cookie(Purpose::Ramp, "__Host-backsoon-ramp"));
    let wrong = cookie(Purpose::Ramp, "__Host-backsoon-bypass-web");
    let (get, post) = (Method::GET, Method::POST);
    for (what, snapshot, method, from, fields) in [
        ("read-only, GET", &read_only, &get, "203.0.113.1", vec![]),
        ("read-only, an allowed POST", &read_only, &post, "203.0.113.1", vec![]),
        ("closed, nothing shown", &closed, &get, "203.0.113.1", vec![]),
        ("closed, by network", &closed, &get, "192.0.2.7", vec![]),
        (
            "closed, by network behind a trusted proxy",
            &closed,
            &get,
            "10.0.0.1",
            vec![("x-forwarded-for", "1.1.1.1, 192.0.2.7")],
        ),
        ("closed, by secret", &closed, &get, "203.0.113.1", vec![("x-key", "0123456789abcdef0123456789abcdef")]),
        ("closed, by cookie", &closed, &get, "203.0.113.1", vec![("cookie", pass.as_str())]),
        ("closed, a wrong cookie", &closed, &get, "203.0.113.1", vec![("cookie", wrong.as_str())]),
        ("ramping, by address", &ramping, &get, "203.0.113.1", vec![]),
        ("ramping, by IPv6 address", &ramping, &get, "2001:db8::1", vec![]),
        ("ramping, by cookie", &ramping, &get, "203.0.113.1", vec![("cookie", ramp.as_str())]),
    ] {
        let headers: HeaderMap = fields
            .into_iter()
            .map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::try_from(value).unwrap_or_else(|_| panic!("a value")))
            })
            .collect();
        let peer = from.parse::<std::net::IpAddr>().ok().into();
        group.bench_function(what, |b| {
            b.iter(|| {
                let head = Head {
                    method,
                    host: black_box("www.example.com"),
                    path: black_box("/app/x"),
                    peer,
                    ..Head::unknown(&headers)
                };
                black_box(decide(snapshot, head));
            });
        });
    }
}

const POLICY: &str = "\
trusted_proxies = [\"10.0.0.0/8\"]
[[listen]]
address = \"127.0.0.1:0\"
[routes.web]
host = \"www.example.com\"
upstream = \"http://127.0.0.1:3000\"
always_open = [\"/healthz\", \"/webhooks/\"]
drain = \"30s\"
ramp = [\"25% at 0s\", \"100% at 1h\"]
bypass = { networks = [\"192.0.2.0/24\", \"2001:db8:1::/48\"], header = \"X-Key\", secret_file = \"key\" }
read_only = { allow = [\"POST /login\", \"/search\", \"POST /app\"] }
";

fn paths(c: &mut Criterion) {
    let mut group = c.benchmark_group("path::normalize");
    let long = "/a/long/path/with/many/segments/and/0123456789abcdef/0123456789abcdef/index.html";
    for (what, path) in [
        ("root", "/"),
        ("normal", "/v1/tenants/acme/orders/items"),
        ("normal, long", long),
        ("escaped", "/v1/caf%C3%A9/%7Euser"),
        ("dots and slashes", "/a//b/./c/../d;v=1/e"),
        ("refused", "/a/../../etc/passwd"),
    ] {
        group.bench_function(what, |b| b.iter(|| black_box(path::normalize(black_box(path)))));
    }
}

fn dialects(c: &mut Criterion) {
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8";
    let renderer = Renderer::built_in();
    let mut group = c.benchmark_group("Renderer::choose");
    for (what, accept) in [("browser", Some(browser)), ("none", None), ("json", Some("application/json"))] {
        group.bench_function(what, |b| {
            let fields = accept.iter().map(|accept| (ACCEPT, HeaderValue::from_static(accept)));
            let headers: HeaderMap = fields.collect();
            b.iter(|| black_box(renderer.choose(None, &Method::GET, None, black_box(&headers))));
        });
    }
}

/// Measures the part of an edit that an operator waits for (`new`), and the part that follows later (`finish`).
fn pages(c: &mut Criterion) {
    let mut group = c.benchmark_group("page");
    let now = Timestamp::UNIX_EPOCH;
    group.bench_function("a renderer", |b| b.iter_with_large_drop(Renderer::built_in));
    for (what, flags) in [("bare", samples::bare()), ("full", samples::full(now)), ("worst", samples::worst(now))] {
        let (config, _) = inputs(1);
        let page = || snapshot(&config, &flags, None, 1);
        group.bench_function(format!("new, {what}"), |b| b.iter_with_large_drop(page));
        let finish = |snapshot: &Snapshot| snapshot.pages.values().for_each(|page| page.finish());
        group.bench_function(format!("finish, {what}"), |b| {
            b.iter_batched_ref(page, |snapshot| finish(snapshot), BatchSize::PerIteration);
        });
    }
}

fn files(c: &mut Criterion) {
    let mut group = c.benchmark_group("10,000 routes, 1,000 flagged");
    let (config_file, flag_file) = (config_text(LARGEST), flag_text(LARGEST));
    group.bench_function("parse the config", |b| b.iter(|| config::parse("backsoon.toml", black_box(&config_file))));
    group.bench_function("parse the flag file", |b| b.iter(|| flags::parse("maintenance.toml", black_box(&flag_file))));
    let (config, flags) = inputs(LARGEST);
    group.bench_function("compile", |b| b.iter_with_large_drop(|| snapshot(&config, &flags, None, 1)));
    let before = snapshot(&config, &Flags::default(), None, 1);
    group.bench_function("compile after an edit of the flag file", |b| {
        b.iter_with_large_drop(|| snapshot(&config, &flags, Some(&before), 2));
    });
    group.bench_function("drop a snapshot", |b| {
        b.iter_batched(|| snapshot(&config, &flags, Some(&before), 2), drop, BatchSize::PerIteration);
    });
}

fn publications(c: &mut Criterion) {
    let mut group = c.benchmark_group("live");
    let (config, flags) = inputs(100);
    let meters = Meters::new(1);
    let make = || generation(&meters, snapshot(&config, &flags, None, 1));
    let (publisher, reader) = live::cell(make());
    let publisher = RefCell::new(publisher);
    let mut cached = reader.cached();
    group.bench_function("cached load, nothing published", |b| b.iter(|| black_box(cached.load()).published));
    group.bench_function("publish, and the cached load after it", |b| {
        b.iter_batched(
            || {
                publisher.borrow_mut().release();
                make()
            },
            |next| {
                publisher.borrow_mut().publish(next);
                black_box(cached.load()).published
            },
            BatchSize::PerIteration,
        );
    });
}

/// Makes a generation without TLS.
fn generation(meters: &Meters, snapshot: Snapshot) -> Generation {
    let routes = snapshot.routes.iter().map(|route| meters.route(&route.config.name)).collect();
    let live = |upstream: &Upstream| LiveUpstream {
        meter: meters.upstream(UpstreamKey { upstream: upstream.clone(), roots: None, client_cert: None }),
        tls: None,
    };
    let upstreams = snapshot.upstreams.iter().map(live).collect();
    Generation { snapshot, published: Instant::now(), routes, upstreams, listeners: Vec::new() }
}

fn snapshot(config: &Config, flags: &Flags, previous: Option<&Snapshot>, generation: u64) -> Snapshot {
    let known = Known::default();
    compile(Inputs {
        config,
        flags,
        renderers: &RENDERERS,
        known: &known,
        previous,
        now: Timestamp::UNIX_EPOCH,
        generation,
    })
}

/// Renderers of all snapshots' pages.
static RENDERERS: LazyLock<Renderers> = LazyLock::new(Renderers::built_in);

/// Makes a config with `size` routes, and a flag file that flags every tenth of them.
fn inputs(size: usize) -> (Config, Flags) {
    let (config, problems) = config::parse("backsoon.toml", &config_text(size));
    let config = config.unwrap_or_else(|| panic!("a config: {problems:?}"));
    let (flags, problems) = flags::parse("maintenance.toml", &flag_text(size));
    (config, flags.unwrap_or_else(|| panic!("flags: {problems:?}")).flags)
}

/// Rule by which a route is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    ExactHost,
    WildcardHost,
    DeepPath,
}

fn form_of(index: usize) -> Form {
    FORMS[index % FORMS.len()]
}

fn is_flagged(index: usize) -> bool {
    index % 10 == 9
}

fn config_text(size: usize) -> String {
    let mut text = "[[listen]]\naddress = \"127.0.0.1:0\"\n".to_owned();
    for index in 0..size {
        let place = match form_of(index) {
            Form::ExactHost => format!("host = \"www.tenant{index}.example.com\""),
            Form::WildcardHost => format!("host = \"*.tenant{index}.example.com\""),
            Form::DeepPath => format!("host = \"example.com\"\npath = \"/v1/tenants/{index}/orders\""),
        };
        let port = 3000 + index % 1000;
        let _ = writeln!(text, "[routes.r{index}]\n{place}\nupstream = \"http://127.0.0.1:{port}\"");
    }
    text
}

fn flag_text(size: usize) -> String {
    let mut text = "[routes]\n".to_owned();
    for index in (0..size).filter(|&index| is_flagged(index)) {
        let _ = writeln!(text, "r{index} = \"offline\"");
    }
    text
}

/// Returns the host and the path of a request to the route.
fn request_for(index: usize) -> (String, String) {
    match form_of(index) {
        Form::ExactHost => (format!("www.tenant{index}.example.com"), "/assets/app.js".to_owned()),
        Form::WildcardHost => (format!("eu.shop.tenant{index}.example.com"), "/assets/app.js".to_owned()),
        Form::DeepPath => ("example.com".to_owned(), format!("/v1/tenants/{index}/orders/2026/invoice.pdf")),
    }
}

const FORMS: [Form; 3] = [Form::ExactHost, Form::WildcardHost, Form::DeepPath];
/// Numbers of routes in the snapshots. A tenth of them is flagged.
const SIZES: [usize; 3] = [1, 100, 10_000];
const LARGEST: usize = 10_000;
/// Distance between successive requests. It is large enough that they share no cache line, and a prime so that every
/// request has its turn.
const STRIDE: usize = 7919;

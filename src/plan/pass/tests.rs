//! Tests of bypass and cohorts.

mod turns;

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::super::compile::{Inputs, Known, compile};
use super::super::config;
use super::super::flags;
use super::super::page::Renderers;
use super::super::snapshot::Phase;
use super::super::verdict::{Verdict, decide};
use std::sync::Arc;

use jiff::Timestamp;

use super::*;

const SECRET: &[u8] = b"0123456789abcdef\n";
const CONFIG: &str = "\
trusted_proxies = [\"10.0.0.0/8\"]
[[listen]]
address = \"127.0.0.1:8080\"
[routes.web]
upstream = \"http://127.0.0.1:3000\"
ramp = [\"25% at 0s\", \"50% at 1m\", \"100% at 1h\"]
bypass = { networks = [\"192.0.2.0/24\"], header = \"X-Key\", secret_file = \"key\" }
";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn key() -> Key {
    Key::new(SECRET).unwrap()
}

/// Compiles this flag file for 14:05.
fn live(flags: &str) -> Snapshot {
    later(flags, None, at("2026-05-19T14:05:00Z"), Some(key()))
}

fn later(flags: &str, previous: Option<&Snapshot>, now: Timestamp, key: Option<Key>) -> Snapshot {
    let config = config::parse("backsoon.toml", CONFIG).0.unwrap();
    let flags = flags::parse("maintenance.toml", flags).0.unwrap().flags;
    let secrets = key.into_iter().map(|key| ("web".to_owned(), Arc::new(key))).collect();
    let known = Known { secrets, ..Known::default() };
    let renderers = Renderers::built_in();
    compile(Inputs {
        config: &config,
        flags: &flags,
        renderers: &renderers,
        known: &known,
        previous,
        now,
        generation: 1,
    })
}

/// Compiles a route that has been ramping for this long.
fn ramping(after: &str, key: Option<&Key>) -> Snapshot {
    let press_and = |flags: &str, previous: Option<&Snapshot>, now| later(flags, previous, at(now), key.cloned());
    let closed = press_and("[routes]\nweb = \"offline\"\n", None, "2026-05-19T14:00:00Z");
    let closed = press_and("[routes]\nweb = \"offline\"\n", Some(&closed), "2026-05-19T14:10:00Z");
    let back = press_and("", Some(&closed), "2026-05-19T15:00:00Z");
    press_and("", Some(&back), after)
}

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
}

fn from<'h>(address: &str, headers: &'h HeaderMap) -> Head<'h> {
    Head { host: "a", peer: Some(address.parse().unwrap()).into(), ..Head::unknown(headers) }
}

fn shows(snapshot: &Snapshot, head: Head<'_>) -> Result<PassReason, Option<InvalidToken>> {
    let route = &snapshot.routes[0];
    let reason = check(snapshot, route, route.closure.as_ref().unwrap(), &head);
    let passes =
        matches!(decide(snapshot, head), Verdict::Forward(_, pass) if reason.is_ok_and(|reason| reason.pass() == pass));
    assert_eq!(passes, reason.is_ok(), "the decision is the same");
    reason
}

/// Token for the maintenance of 14:00, until 15:00.
fn token() -> Token<'static> {
    let issued = millis(at("2026-05-19T14:00:00Z"));
    Token { issued, begins: issued, expires: millis(at("2026-05-19T15:00:00Z")), ..Token::default() }
}

const PASS: Binding<'_> = Binding { purpose: Purpose::Pass, route: "web" };
const OFFLINE: &str = "[routes]\nweb = \"offline\"\n";

#[test]
fn a_network_is_that_of_the_client_and_not_what_a_stranger_says() {
    let live = live(OFFLINE);
    let none = HeaderMap::new();
    assert_eq!(shows(&live, from("192.0.2.7", &none)), Ok(PassReason::Network));
    assert_eq!(shows(&live, from("::ffff:192.0.2.7", &none)), Ok(PassReason::Network));
    assert_eq!(shows(&live, from("203.0.113.1", &none)), Err(None));
    let said = headers(&[("x-forwarded-for", "192.0.2.7")]);
    assert_eq!(shows(&live, from("203.0.113.1", &said)), Err(None), "a stranger");
    assert_eq!(shows(&live, from("10.0.0.1", &said)), Ok(PassReason::Network), "a trusted proxy");
    let spoofed = headers(&[("x-forwarded-for", "192.0.2.7, 203.0.113.1")]);
    assert_eq!(shows(&live, from("10.0.0.1", &spoofed)), Err(None), "what the client wrote itself");
}

#[test]
fn the_secret_passes_and_all_else_is_a_guess() {
    let live = live(OFFLINE);
    let with = |secret: &str| shows(&live, from("203.0.113.1", &headers(&[("x-key", secret)])));
    assert_eq!(with("0123456789abcdef"), Ok(PassReason::Secret));
    for wrong in ["", "0123456789abcde", "0123456789abcdef0", "0123456789abcdeF", "x"] {
        assert_eq!(with(wrong), Err(Some(InvalidToken::Forged)), "{wrong}");
    }
}

#[test]
fn what_is_right_passes_beside_what_is_wrong() {
    let live = live(OFFLINE);
    let good = format!("{}={}", pass_cookie("web"), key().sign(PASS, token()));
    let bad = format!("{}=mangled", pass_cookie("web"));
    let shown = |fields: &[(&'static str, &str)]| shows(&live, from("203.0.113.1", &headers(fields)));
    assert_eq!(shown(&[("x-key", "wrong"), ("x-key", "0123456789abcdef")]), Ok(PassReason::Secret));
    assert_eq!(shown(&[("x-key", "0123456789abcdef"), ("cookie", &bad)]), Ok(PassReason::Secret));
    assert_eq!(shown(&[("x-key", "wrong"), ("cookie", &good)]), Ok(PassReason::Cookie));
    assert_eq!(shown(&[("cookie", &bad), ("cookie", &good)]), Ok(PassReason::Cookie));
    assert_eq!(shown(&[("x-key", "wrong"), ("cookie", &bad)]), Err(Some(InvalidToken::Forged)));
}

#[test]
fn a_link_gives_a_cookie_that_passes_until_it_expires() {
    let mut live = live(OFFLINE);
    let (now, route) = (live.compiled, &live.routes[0]);
    let (admission, closure) = (route.admission.clone().unwrap(), Arc::clone(route.closure.as_ref().unwrap()));
    let link = key().sign(Binding { purpose: Purpose::Link, ..PASS }, token());
    let redeem = |token: &str, now: Timestamp| {
        let link = OpenedLink { route: "web", transport: Transport::Https, token: token.as_bytes() };
        admission.redeem(link, closure.maintenance(millis(now))).map(|redeemed| redeemed.cookie)
    };
    let cookie = redeem(&link, now).unwrap();
    let (pair, rest) = cookie.split_once(';').unwrap();
    assert!(pair.starts_with("__Host-backsoon-bypass-web="), "{cookie}");
    assert_eq!(rest, " Secure; HttpOnly; SameSite=Lax; Path=/; Max-Age=3300");
    let cookies = headers(&[("cookie", &format!("a=b; {pair}; c"))]);
    let client = from("203.0.113.1", &cookies);
    assert_eq!(shows(&live, client), Ok(PassReason::Cookie));
    assert_eq!(shows(&live, Head { elapsed: Duration::from_secs(3299), ..client }), Ok(PassReason::Cookie));
    assert_eq!(shows(&live, Head { elapsed: Duration::from_secs(3300), ..client }), Err(Some(InvalidToken::Expired)));
    live.compiled = at("2026-05-19T16:00:00Z");
    assert_eq!(shows(&live, client), Err(Some(InvalidToken::Expired)));
    assert_eq!(redeem(&link, live.compiled), Err(InvalidToken::Expired));
    let as_link = pair.split_once('=').unwrap().1;
    assert_eq!(redeem(as_link, now), Err(InvalidToken::Forged), "a cookie is no link");
    assert_eq!(
        shows(&live, from("203.0.113.1", &headers(&[("cookie", &format!("{COOKIES}bypass-web={link}"))]))),
        Err(Some(InvalidToken::Forged)),
        "nor a link a cookie"
    );
}

#[test]
fn a_cookie_is_found_by_its_whole_name_alone() {
    let values = |lines: &[&str]| {
        let lines: Vec<_> = lines.iter().map(|line| ("cookie", *line)).collect();
        let name = Finder::new("__Host-backsoon-ramp=").into_owned();
        let mut fields = HeaderMap::new();
        for (name, line) in lines {
            fields.append(name, HeaderValue::from_str(line).unwrap());
        }
        cookies(&fields, std::slice::from_ref(&name))
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(values(&["a=1; __Host-backsoon-ramp=x; b=2"]), ["x"]);
    assert_eq!(values(&["__Host-backsoon-ramp=x;__Host-backsoon-ramp=y ", "__Host-backsoon-ramp="]), ["x", "y", ""]);
    assert_eq!(values(&["a__Host-backsoon-ramp=x; __Host-backsoon-ramp2=y; b=__Host-backsoon-ramp=z"]), [""; 0]);
}

#[test]
fn what_was_issued_before_a_revocation_is_void() {
    let cookies = headers(&[("cookie", &format!("{}={}", pass_cookie("web"), key().sign(PASS, token())))]);
    let revoked =
        |instant| shows(&live(&format!("{OFFLINE}[revoked]\nweb = {instant}\n")), from("203.0.113.1", &cookies));
    assert_eq!(revoked("2026-05-19T14:00:00Z"), Ok(PassReason::Cookie), "issued in that instant");
    assert_eq!(revoked("2026-05-19T14:00:00.001Z"), Err(Some(InvalidToken::Revoked)));
    let every = live(&format!("{OFFLINE}[revoked]\n\"*\" = 2026-05-19T14:01:00Z\n"));
    assert_eq!(shows(&every, from("203.0.113.1", &cookies)), Err(Some(InvalidToken::Revoked)));
}

/// Returns a window for the route.
fn window(id: &str, starts: &str, ends: &str) -> String {
    format!(
        "[[windows]]\nid = \"{id}\"\nstarts = 2026-05-19T{starts}:00Z\nends = 2026-05-19T{ends}:00Z\nroutes = {{ web = \"offline\" }}\n"
    )
}

/// Compiles these flag files, each for its time of the day.
fn after(files: &[(&str, &str)]) -> Snapshot {
    let mut live = None;
    for (time, flags) in files {
        let now = at(&format!("2026-05-19T{time}:00Z"));
        live = Some(later(flags, live.as_ref(), now, Some(key())));
    }
    live.unwrap()
}

/// Shows a cookie that was made at an instant.
fn shown(live: &Snapshot, made: &str, ahead: Option<(&str, &str)>) -> Result<PassReason, Option<InvalidToken>> {
    let instant = |time: &str| millis(at(&format!("2026-05-19T{time}:00Z")));
    let (window, begins) = ahead.map_or(("", made), |(window, starts)| (window, starts));
    let expires = millis(at("2027-05-19T00:00:00Z"));
    let token = Token { issued: instant(made), begins: instant(begins), expires, window, ..Token::default() };
    let cookies = headers(&[("cookie", &format!("{}={}", pass_cookie("web"), key().sign(PASS, token)))]);
    shows(live, from("203.0.113.1", &cookies))
}

#[test]
fn a_cookie_is_good_from_the_beginning_of_a_closure_to_its_end() {
    let planned = window("M-1", "14:00", "15:00");
    let both = format!("{OFFLINE}{planned}");
    let by_flag = [("13:00", ""), ("13:55", OFFLINE)];
    let other = Err(Some(InvalidToken::OtherWindow));
    for (more, made, expected) in [
        (&[][..], "13:56", Ok(PassReason::Cookie)),
        (&[], "13:05", Ok(PassReason::Cookie)),
        (&[("14:05", both.as_str())], "13:56", Ok(PassReason::Cookie)),
        (&[("14:05", &both), ("15:05", &both)], "13:56", Ok(PassReason::Cookie)),
        (&[("14:05", &planned), ("14:10", OFFLINE)], "13:56", Ok(PassReason::Cookie)),
        // The ramp lasts for an hour.
        (&[("14:05", ""), ("14:10", OFFLINE)], "13:56", Ok(PassReason::Cookie)),
        (&[("14:05", ""), ("15:06", ""), ("15:10", OFFLINE)], "13:56", other),
        (&[("14:05", ""), ("15:06", ""), ("15:10", OFFLINE)], "15:07", Ok(PassReason::Cookie)),
        (&[("14:05", ""), ("16:00", &window("M-2", "16:00", "17:00"))], "13:56", other),
    ] {
        let live = after(&[&by_flag, more].concat());
        assert_eq!(shown(&live, made, None), expected, "{more:?}, made at {made}");
    }
    assert!(!InvalidToken::OtherWindow.is_guess(), "the cookie of yesterday is no guess");
}

#[test]
fn a_cookie_that_is_made_ahead_waits_for_its_window() {
    let (planned, earlier) = (window("M-1", "14:00", "15:00"), window("M-1", "13:30", "15:00"));
    let other = Err(Some(InvalidToken::OtherWindow));
    let ahead = Some(("M-1", "14:00"));
    for (files, expected) in [
        (&[("12:00", ""), ("13:00", OFFLINE)][..], other),
        (&[("12:00", ""), ("14:00", planned.as_str())], Ok(PassReason::Cookie)),
        (&[("12:00", ""), ("13:40", &earlier)], Ok(PassReason::Cookie)),
        (&[("12:00", ""), ("13:00", OFFLINE), ("14:01", OFFLINE)], Ok(PassReason::Cookie)),
        (&[("14:30", &planned)], Ok(PassReason::Cookie)),
        (&[("12:00", ""), ("16:00", &window("M-2", "16:00", "17:00"))], Ok(PassReason::Cookie)),
    ] {
        assert_eq!(shown(&after(files), "12:30", ahead), expected, "{files:?}");
    }
}

#[test]
fn a_token_of_the_version_before_is_refused_and_is_no_guess() {
    // Made by 0.1 with this secret, for the flag of the route `web`.
    let signed = key().sign_as_before(PASS, token());
    let mut space = [0; LONGEST];
    assert_eq!(key().read(PASS, signed.as_bytes(), &mut space), Err(InvalidToken::OtherVersion));
    assert!(!InvalidToken::OtherVersion.is_guess());
}

#[test]
fn a_secret_has_sixteen_bytes_at_least_and_is_not_printed() {
    assert_eq!(Key::new(b"  0123456789abcde\n").unwrap_err(), 15);
    assert_eq!(Key::new(b"\n").unwrap_err(), 0);
    assert_eq!(format!("{:?}", key()), "Key { .. }");
    assert!(key().is_same(&Key::new(b"0123456789abcdef").unwrap()), "blanks around it do not count");
}

#[test]
fn the_share_of_admitted_clients_is_that_of_the_ramp_and_grows_by_them() {
    let snapshots = ["2026-05-19T15:00:00Z", "2026-05-19T15:01:00Z"].map(|now| ramping(now, Some(&key())));
    assert!(snapshots.iter().all(|snapshot| snapshot.routes[0].phase() == Phase::Ramping));
    let none = HeaderMap::new();
    let admitted = |snapshot: &Snapshot| -> Vec<bool> {
        let addresses = (0..4000_u32).map(|n| format!("198.51.{}.{}", n >> 8, n & 255));
        addresses.map(|address| shows(snapshot, from(&address, &none)) == Ok(PassReason::Cohort)).collect()
    };
    let [first, then] = snapshots.each_ref().map(admitted);
    let count = |admitted: &[bool]| admitted.iter().filter(|admitted| **admitted).count();
    assert!((900..1100).contains(&count(&first)), "{} of 4000, not a quarter", count(&first));
    assert!((1880..2120).contains(&count(&then)), "{} of 4000, not half", count(&then));
    assert!(first.iter().zip(&then).all(|(first, then)| !first || *then), "nobody is sent away again");
    assert_eq!(first, admitted(&ramping("2026-05-19T15:00:30Z", Some(&key()))), "another replica chooses the same");
}

#[test]
fn a_kept_cohort_counts_more_than_the_address_and_is_given_once() {
    let live = ramping("2026-05-19T15:01:00Z", Some(&key()));
    let route = &live.routes[0];
    let closure = route.closure.as_ref().unwrap();
    let document = headers(&[("accept", "text/html,*/*")]);
    for n in 0..200 {
        let client = from(&format!("198.51.100.{n}"), &document);
        let cookie = keep_turn(&live, route, closure, &client, Transport::Https).unwrap();
        let with = headers(&[("accept", "text/html"), ("cookie", cookie.split(';').next().unwrap())]);
        let moved = from(&format!("203.0.113.{n}"), &with);
        assert_eq!(turn(&live, route, &moved).0, turn(&live, route, &client).0);
        assert_eq!(shows(&live, moved).is_ok(), shows(&live, client).is_ok(), "it does not flip with its address");
        assert_eq!(keep_turn(&live, route, closure, &moved, Transport::Https), None);
    }
    let script = headers(&[("accept", "text/html"), ("sec-fetch-mode", "cors")]);
    assert_eq!(
        keep_turn(&live, route, closure, &from("198.51.100.1", &script), Transport::Https),
        None,
        "not what a script fetches"
    );
    let forged = headers(&[("cookie", "__Host-backsoon-ramp=AAAA")]);
    let client = from("198.51.100.1", &forged);
    assert_eq!(turn(&live, route, &client), turn(&live, route, &from("198.51.100.1", &document)));
}

#[test]
fn without_a_secret_there_are_no_cookies_and_every_replica_hashes_alike() {
    let live = ramping("2026-05-19T15:01:00Z", None);
    let route = &live.routes[0];
    let document = headers(&[("accept", "text/html")]);
    let client = from("198.51.100.1", &document);
    assert_eq!(keep_turn(&live, route, route.closure.as_ref().unwrap(), &client, Transport::Https), None);
    let closure = route.closure.as_ref().unwrap();
    let cohort = |address: &str| cohort(&live, route, closure, &from(address, &document));
    // The cohort must never change, because two versions may run side by side.
    assert_eq!(cohort("198.51.100.1"), 4_107_790_464);
    assert_eq!(cohort("2001:db8::1"), cohort("2001:db8::ffff:1"), "a client has all addresses of a /64");
    assert_ne!(cohort("2001:db8::1"), cohort("2001:db8:0:1::1"));
}

#[test]
fn unknown_clients_are_in_no_network_and_not_in_one_cohort() {
    // Staff and trusted proxies are in one network, as is usual.
    let mut wide = live(OFFLINE);
    wide.trusted_proxies.networks.push("192.0.2.0/24".parse().unwrap());
    for said in ["unknown", "_hidden", "", "nonsense", "192.0.2.7, ", "198.51.100.1:http"] {
        let said = headers(&[("x-forwarded-for", said)]);
        assert_eq!(shows(&wide, from("192.0.2.1", &said)), Err(None), "{said:?}");
    }
    let with_port = headers(&[("x-forwarded-for", "192.0.2.7:4711")]);
    assert_eq!(shows(&wide, from("10.0.0.1", &with_port)), Ok(PassReason::Network));

    let live = ramping("2026-05-19T15:59:59Z", Some(&key()));
    let route = &live.routes[0];
    let closure = route.closure.as_ref().unwrap();
    let named = |name: &str| headers(&[("x-forwarded-for", name), ("accept", "text/html")]);
    let cohort = |name: &str| cohort(&live, route, closure, &from("10.0.0.1", &named(name)));
    assert_ne!(cohort("_hidden1"), cohort("_hidden2"));
    assert_eq!(cohort("_hidden1:1234"), cohort("_hidden1:_other"), "the port is no part of who it is");
    for unknown in ["unknown", "", "unknown:80"] {
        assert_eq!(cohort(unknown), u32::MAX, "{unknown}");
        let unknown = named(unknown);
        assert_eq!(shows(&live, from("10.0.0.1", &unknown)), Err(None), "nobody before all others");
        assert_eq!(keep_turn(&live, route, closure, &from("10.0.0.1", &unknown), Transport::Https), None);
    }
}

#[test]
fn a_link_leads_to_its_own_host_and_nowhere_else() {
    let reserved = Prefix::new("/.backsoon").unwrap();
    let leads = |path: &str, query| destination(&reserved, path, query);
    assert_eq!(leads("/.backsoon/bypass/app/x", Some("a=1&token=t&b=2")), "/app/x?a=1&b=2");
    assert_eq!(leads("/.backsoon/bypass/", Some("token=t")), "/");
    assert_eq!(leads("/.backsoon/bypass", None), "/");
    assert_eq!(leads("/.backsoon/bypass/caf%C3%A9", None), "/caf%C3%A9");
    for evil in ["//evil.example", "/\\evil.example", "evil"] {
        assert_eq!(leads(&format!("/.backsoon/bypass{evil}"), None), "/", "{evil}");
    }
    assert_eq!(leads("/x/../.backsoon/bypass/a", None), "/", "written in another way");
}

proptest! {
    #[test]
    fn a_ticket_is_read_with_its_own_binding_and_with_no_other(
        secret in "[!-~]{16,64}", other in "[!-~]{16,64}", route in "[a-z.]{1,64}", window in "[ -~]{0,64}",
        name in "[a-z]{0,64}", issued: u64, expires: u64, turn: u32, begins: u64,
    ) {
        let (key, other_key) = (Key::new(secret.as_bytes()).unwrap(), Key::new(other.as_bytes()).unwrap());
        let binding = Binding { purpose: Purpose::Pass, route: &route };
        let (window, name) = (window.as_str(), name.as_str());
        let token = Token { issued, expires, turn, begins, window, name };
        let text = key.sign(binding, token);
        let mut space = [0; LONGEST];
        prop_assert_eq!(key.read(binding, text.as_bytes(), &mut space), Ok(token));
        for purpose in [Purpose::Link, Purpose::Ramp] {
            let read = key.read(Binding { purpose, ..binding }, text.as_bytes(), &mut space);
            prop_assert_eq!(read, Err(InvalidToken::Forged));
        }
        let longer = format!("{route}x");
        let read = key.read(Binding { route: &longer, ..binding }, text.as_bytes(), &mut space);
        prop_assert_eq!(read, Err(InvalidToken::Forged));
        if secret != other {
            prop_assert_eq!(other_key.read(binding, text.as_bytes(), &mut space), Err(InvalidToken::OtherKey));
        }
    }

    #[test]
    fn no_byte_of_a_ticket_can_be_changed(window in "[a-z]{0,64}", flip in 1_u8..=255, cut in 0_usize..200) {
        let text = key().sign(PASS, Token { window: &window, ..token() });
        let mut space = [0; LONGEST];
        for index in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[index] ^= flip;
            prop_assert!(key().read(PASS, &bytes, &mut space).is_err(), "byte {}", index);
        }
        if cut < text.len() {
            prop_assert!(key().read(PASS, &text.as_bytes()[..cut], &mut space).is_err());
        }
    }

    #[test]
    fn whatever_is_no_ticket_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(key().read(PASS, &bytes, &mut [0; LONGEST]).is_err());
    }

    #[test]
    fn cookies_that_are_not_ours_stay_as_they_are(names in proptest::collection::vec("( ?[a-z]{1,3}=[^;]{0,5})|( ?__Host-backsoon-x=y)", 0..6)) {
        let line = names.join(";");
        let others: Vec<&str> = line.split(';').filter(|pair| !pair.trim_start().starts_with(COOKIES)).collect();
        match without_own(line.as_bytes()) {
            None => prop_assert!(!line.split(';').any(|pair| pair.trim_start().starts_with(COOKIES))),
            Some(left) => {
                let others = others.join(";");
                prop_assert_eq!(left, others.trim_ascii_start().as_bytes());
            }
        }
    }
}

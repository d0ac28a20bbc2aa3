//! Tests of what replicas tell each other: sums of counts, hostile numbers, and findings that are taken over.

use proptest::prelude::*;
use serde_json::json;

use super::super::counts::{Counts, GuardCounts};
use super::super::whole::{Among, Peer, Standard, Whole, measure};
use super::super::{Arrivals, Moment, Traffic, Usual};
use super::*;
use crate::plan::config::{Guard, Statuses};

const HALF: Duration = Duration::from_millis(500);

fn guard(policy: &str) -> Guard {
    web(policy).config.routes[0].policy.guard.unwrap()
}

fn client(number: u8) -> Option<std::net::IpAddr> {
    Some([198, 51, 100, number].into())
}

/// Requests of one half second at one replica, all of one client.
#[derive(Clone, Copy, Debug)]
struct Half {
    replica: usize,
    client: u8,
    requests: u64,
    errors: u64,
}

/// Returns the counts of a replica that has these halves, the newest first.
fn counts(halves: &[Half], of: impl Fn(&Half) -> bool) -> Counts {
    let elapsed = HALF * u32::try_from(halves.len()).unwrap();
    let (mut moments, mut clients) = (Vec::new(), vec![Clients::default(); 4]);
    for (half, age) in halves.iter().zip(0..).filter(|(half, _)| of(half)) {
        let counted = Counted { requests: half.requests, errors: half.errors };
        moments.push(Moment { age: HALF * age, counted, ..Moment::default() });
        let counts = ClientCounts { requests: half.requests, failed: half.errors, ..ClientCounts::default() };
        for (span, clients) in [15, 30, 60, 600].into_iter().zip(&mut clients) {
            if HALF * age < Duration::from_secs(span) {
                clients.count(client(half.client), counts);
            }
        }
    }
    Counts::new(&moments, elapsed).with_clients(&clients, &Clients::default(), "web")
}

/// Sends counts to another replica and back.
fn told(counts: Counts) -> Counts {
    let told = GuardCounts { counts: Some(counts.limited()), ..GuardCounts::default() };
    let text = serde_json::to_string(&told).unwrap();
    serde_json::from_str::<GuardCounts>(&text).unwrap().counts.unwrap()
}

fn judged(guard: &Guard, own: &Counts, peers: &[Counts], baseline: Option<&Baseline>) -> (Measured, Option<String>) {
    let peers: Vec<_> = peers.iter().map(|counts| Peer { counts, age: Duration::ZERO }).collect();
    let standard = Standard { guard, baseline, anew: false };
    let measured = measure(standard, own, &peers, || own.clone());
    let found = judge(guard, &measured, baseline, at("14:00:00")).map(|breach| breach.what);
    (measured, found)
}

fn halves() -> impl Strategy<Value = Vec<Half>> {
    let half = (0..4_usize, 0..12_u8, 0..8_u64, 0..100_u64).prop_map(|(replica, client, requests, luck)| {
        let errors = if luck < 12 { requests / 2 } else { 0 };
        Half { replica, client, requests, errors }
    });
    proptest::collection::vec(half, 1..200)
}

proptest! {
    #[test]
    fn the_sum_over_a_split_judges_as_the_whole_does(halves in halves()) {
        let guard = guard("guard = { error_rate = \"baseline + 1%\" }");
        let baseline = Baseline::of(&[Counted { requests: 500, errors: 2 }; 10]);
        let (whole, found) = judged(&guard, &counts(&halves, |_| true), &[], baseline.as_ref());
        let parts: Vec<_> = (0..4).map(|replica| counts(&halves, move |half| half.replica == replica)).collect();
        let peers: Vec<_> = parts[1..].iter().cloned().map(told).collect();
        let (sum, found_in_sum) = judged(&guard, &parts[0], &peers, baseline.as_ref());
        let of = |measured: &Measured| -> Vec<_> { measured.windows.iter().map(|w| (w.span, w.errors)).collect() };
        prop_assert_eq!(of(&whole), of(&sum));
        prop_assert_eq!(&found, &found_in_sum);
        // Each replica comes to the same, whatever the order in which it hears of the others.
        let turned: Vec<_> = [3, 0, 2].into_iter().map(|index: usize| told(parts[index].clone())).collect();
        prop_assert_eq!(judged(&guard, &parts[1], &turned, baseline.as_ref()).1, found_in_sum);
    }

    #[test]
    fn the_order_of_baselines_does_not_matter(
        each in proptest::collection::vec((1..10_000_u64, 0..100_u64, 1..900_u64, 1.0..20.0_f64), 1..6),
        turn in 0..6_usize,
    ) {
        let baselines: Vec<Baseline> = each.iter().map(|&(requests, errors, p99, dispersion)| Baseline {
            counted: Counted { requests, errors: errors.min(requests) },
            dispersion,
            hanging: Some(errors),
            p99: Some(Duration::from_millis(p99)),
            statuses: [(Statuses::One(401), Usual { requests, answered: 0, dispersion })].into_iter().collect(),
            traffic: Some(Traffic { arrivals: Arrivals { requests, span: Duration::from_secs(600) }, dispersion }),
        }).collect();
        let sum = Baseline::of_all(baselines.iter());
        let mut turned = baselines.clone();
        turned.rotate_left(turn % baselines.len());
        prop_assert_eq!(sum, Baseline::of_all(turned.iter()));
        let sum = sum.unwrap();
        prop_assert_eq!(sum.counted.requests, each.iter().map(|one| one.0).sum::<u64>());
        prop_assert!(baselines.iter().any(|one| one.p99 == sum.p99), "a time that some replica measured");
    }

    #[test]
    fn no_number_of_another_replica_does_harm(
        numbers in proptest::collection::vec(any::<u64>(), 12),
        dispersion in prop_oneof![Just(json!(1e308)), Just(json!(-5)), Just(json!(null)), Just(json!("x")), Just(json!(0.0))],
        seconds in prop_oneof![Just(json!(u64::MAX)), Just(json!(-1)), Just(json!(3))],
    ) {
        let n = |index: usize| json!(numbers[index]);
        let text = json!({
            "state": { "phase": "open", "since": "2026-05-19T14:00:00Z", "why": "\u{1b}[2J", "closure": null,
                "began": "-009999-01-02T01:59:59Z", "seen": "9999-12-30T22:00:00Z", "watched": true,
                "baseline": { "requests": n(0), "errors": n(1), "dispersion": dispersion, "hanging": n(2),
                    "p99": { "secs": seconds, "nanos": 0 }, "statuses": { "401": { "requests": n(3), "answered": n(4) } },
                    "traffic": { "requests": n(5), "span": { "secs": seconds, "nanos": 7 }, "dispersion": dispersion } } },
            "returned": "9999-12-30T22:00:00Z",
            "counts": { "elapsed": n(6), "open": n(7), "slow": n(8),
                "moments": vec![json!({ "a": n(9), "n": n(10), "f": n(11), "s": n(0), "by": { "401": n(1) } }); 500],
                "clients": vec![json!({ "c": 4_294_967_295_u32, "h": n(2), "w": vec![json!({ "n": n(3), "f": n(4) }); 9] }); 500] },
            "news": [1, { "x": null }],
        });
        let read: GuardCounts = serde_json::from_value(text).unwrap();
        let own = counts(&[Half { replica: 0, client: 1, requests: 5, errors: 1 }; 60], |_| true);
        let policy = "guard = { error_rate = \"baseline + 1%\", p99 = \"baseline * 1.5\", zombies = 3, \
            statuses = { 401 = \"baseline + 1%\" }, traffic = \"baseline - 80%\" }";
        let guard = guard(policy);
        let peers: Vec<_> = read.counts.iter().cloned().collect();
        let baseline = Baseline::of_all(read.baseline().into_iter().chain(read.baseline()));
        let (measured, _) = judged(&guard, &own, &vec![peers; 50].concat(), baseline.as_ref());
        let _ = dropped(&guard, &measured, baseline.as_ref(), at("14:00:00"));
        prop_assert!(baseline.is_none_or(|baseline| baseline.dispersion.is_finite()));
        let _ = (read.closes(at("14:00:00"), jiff::SignedDuration::MAX, at("14:00:00")),);
    }
}

#[test]
fn what_cannot_be_read_is_left_out_and_what_is_new_does_no_harm() {
    for text in ["null", "7", "[]", "{}", r#"{"counts":7,"returned":"x","state":{"phase":"asleep"}}"#] {
        assert_eq!(serde_json::from_str::<GuardCounts>(text).unwrap(), GuardCounts::default(), "{text}");
    }
    let text = r#"{"counts":{"elapsed":7000,"moments":[{"a":500,"n":3,"x":1}],"more":[]},"later":1}"#;
    let counts = serde_json::from_str::<GuardCounts>(text).unwrap().counts.unwrap();
    assert_eq!((counts.elapsed, counts.moments[0].requests), (7000, 3));
}

#[test]
fn one_incident_at_two_replicas_is_one_and_the_sum_of_a_few_is_a_breach() {
    let guard = guard("guard = { error_rate = \"baseline + 1%\" }");
    let baseline = Baseline::of(&[Counted { requests: 500, errors: 0 }; 10]);
    let at_once = |bad: fn(u64) -> bool| -> Vec<Half> {
        let half = |age: u64| Half { replica: 0, client: (age % 20) as u8, requests: 1, errors: u64::from(bad(age)) };
        (0..40).map(half).collect()
    };
    // Within 3.5 s, at three replicas: no breach, however many fail.
    let incident = counts(&at_once(|age| (10..16).contains(&age)), |_| true);
    let peers = [told(incident.clone()), told(incident.clone())];
    let (measured, found) = judged(&guard, &incident, &peers, baseline.as_ref());
    assert_eq!((measured.windows.last().unwrap().errors.bad, found), (18, None));
    // Two in ten fail all the time. One replica has too few requests to tell; three have enough.
    let few = |replica: usize| {
        let half = |age: u64| Half {
            replica,
            client: (age % 7) as u8,
            requests: u64::from(age as usize % 3 == replica),
            errors: u64::from(age.is_multiple_of(5)),
        };
        let halves: Vec<_> =
            (0..40).map(half).map(|half| Half { errors: half.errors.min(half.requests), ..half }).collect();
        counts(&halves, |_| true)
    };
    assert_eq!(judged(&guard, &few(0), &[], baseline.as_ref()).1, None);
    let (_, found) = judged(&guard, &few(0), &[told(few(1)), told(few(2))], baseline.as_ref());
    assert!(found.unwrap().contains("20% of requests failed ("));
}

#[test]
fn a_stranger_at_three_replicas_is_one_client() {
    let guard = guard("guard = { error_rate = \"baseline + 1%\" }");
    let replica = |replica: usize| {
        let half = |age: u8| {
            let stranger = age.is_multiple_of(2);
            let client = if stranger { 200 } else { age / 2 % 4 + 10 * u8::try_from(replica).unwrap() };
            Half { replica, client, requests: 2, errors: if stranger { 2 } else { 0 } }
        };
        counts(&(0..60).map(half).collect::<Vec<_>>(), |_| true)
    };
    let baseline = Baseline::of(&[Counted { requests: 500, errors: 0 }; 10]);
    let (measured, found) = judged(&guard, &replica(0), &[told(replica(1)), told(replica(2))], baseline.as_ref());
    assert_eq!((measured.windows[0].errors.bad, found), (90, None), "nobody else has failed");
}

#[test]
fn moments_are_as_old_as_they_are_here_and_none_is_from_before_the_return() {
    let guard = guard("guard = { error_rate = \"5%\" }");
    let halves = [Half { replica: 0, client: 1, requests: 1, errors: 1 }; 20];
    let theirs = told(counts(&halves, |_| true));
    let own = Counts::new(&[], Duration::from_secs(6));
    let seen = |age: u64, anew: bool| {
        let peer = Peer { counts: &theirs, age: Duration::from_secs(age) };
        let standard = Standard { guard: &guard, baseline: None, anew };
        let measured = measure(standard, &own, &[peer], || own.clone());
        (measured.windows[0].errors.requests, measured.windows[0].span.as_secs())
    };
    assert_eq!((seen(0, false), seen(3, false), seen(13, false)), ((20, 10), (20, 13), (4, 15)));
    assert_eq!((seen(0, true), seen(3, true)), ((12, 6), (6, 6)), "since the finding alone");
}

#[test]
fn latency_is_summed_by_counts_over_one_limit_and_never_by_a_lower_one() {
    let guard = guard("guard = { p99 = \"800ms\" }");
    let counted = |slow: Option<u64>| {
        let moment = |age: u32| Moment {
            age: HALF * age,
            counted: Counted { requests: 4, errors: 0 },
            slow: u64::from(age.is_multiple_of(4)),
            ..Moment::default()
        };
        let moments: Vec<_> = (0..30).map(moment).collect();
        Counts { slow, ..Counts::new(&moments, Duration::from_secs(15)) }
    };
    let slow = |theirs| judged(&guard, &counted(Some(800)), &[told(counted(theirs))], None).0.windows[0].slow;
    assert_eq!((slow(Some(800)).bad, slow(Some(900)).bad), (16, 16));
    assert_eq!((slow(Some(700)).bad, slow(None).bad, slow(None).requests), (8, 8, 240));
    let mut own = counted(Some(800));
    let mut clients = Clients::default();
    clients.count(None, ClientCounts { requests: 120, slow: 8, ..ClientCounts::default() });
    own = own.with_clients(&vec![clients; 4], &Clients::default(), "web");
    let (_, found) = judged(&guard, &own, &[told(own.clone())], None);
    assert_eq!(found.as_deref(), Some("6.7% of requests took more than 800 ms (16 of 240 in 15 s), at most 1% may"));
}

#[test]
fn requests_that_hang_are_those_of_all_replicas() {
    let guard = guard("guard = { zombies = \"at most 5\" }");
    let hangs = |from: u8| {
        let mut hanging = Clients::default();
        (from..from + 3).for_each(|number| {
            hanging.count(client(number), ClientCounts { hanging: 1, ..ClientCounts::default() });
        });
        Counts::new(&[], Duration::from_secs(20)).with_clients(&[], &hanging, "web")
    };
    assert_eq!(judged(&guard, &hangs(0), &[], None).1, None);
    let (_, found) = judged(&guard, &hangs(0), &[told(hangs(10))], None);
    assert!(found.unwrap().starts_with("6 requests hang for more than 10 s"));
}

#[test]
fn a_drop_of_traffic_is_that_of_all_replicas_and_waits_until_all_are_open() {
    let guard = guard("guard = { traffic = \"baseline - 80%\" }");
    let traffic = Traffic { arrivals: Arrivals { requests: 600, span: Duration::from_secs(600) }, dispersion: 1.0 };
    let one = Baseline { traffic: Some(traffic), ..Baseline::of(&[Counted { requests: 600, errors: 0 }]).unwrap() };
    let baseline = Baseline::of_all([&one, &one].into_iter()).unwrap();
    assert_eq!(baseline.traffic.unwrap().arrivals.requests, 1200);
    let idle = |open| Counts { open, ..Counts::new(&[], Duration::from_secs(120)) };
    let drops = |theirs: Counts| {
        let (measured, _) = judged(&guard, &idle(Some(90_000)), &[told(theirs)], Some(&baseline));
        dropped(&guard, &measured, Some(&baseline), at("14:00:00")).map(|breach| breach.what)
    };
    assert_eq!((drops(idle(None)), drops(idle(Some(30_000)))), (None, None));
    let what = drops(idle(Some(90_000))).unwrap();
    assert!(what.starts_with("0 requests came in 60 s, at least 24 should (before it were 120"), "{what}");
}

/// Returns the word of a replica that has this state.
fn word(proxy: &Rehearsal) -> GuardCounts {
    let live = proxy.live.as_ref().unwrap();
    let told = GuardCounts { state: Some(Box::new((*live.routes[0].state).clone())), ..GuardCounts::default() };
    serde_json::from_value(serde_json::to_value(&told).unwrap()).unwrap()
}

/// Returns an observation of another replica's finding.
fn heard(breach: Option<Breach>) -> Observed {
    let among = Among { counted: 2, known: 3, is_cut_off: false };
    Observed { whole: Some(Whole { breach, among, ..Whole::default() }), ..Observed::default() }
}

const SINCE: jiff::SignedDuration = jiff::SignedDuration::ZERO;

#[test]
fn a_finding_closes_every_replica_and_an_old_one_none() {
    let policy = "drain = \"1ms\"\nverify = [{ get = \"/\" }]\nguard = { error_rate = \"5%\" }";
    let back = || {
        let mut proxy = web(policy);
        proxy.flag(OFFLINE).at("14:00:00");
        proxy.at("14:00:01");
        proxy.flag("[forced]\nweb = 2026-05-19T14:30:00Z\n").at("14:30:00");
        proxy
    };
    let mut first = back();
    first.observe(Observed { whole: heard(None).whole, verification: None, ..measured(100, 90, 1, 0) });
    first.at("14:30:20");
    first.observe(suspected_failure());
    first.at("14:30:21");
    let told = word(&first);
    let what = told.state.as_ref().unwrap().breach().unwrap().what.clone();
    assert!(
        what.contains("90% of requests failed (90 of 100 in 30 s)") && what.contains("; counted at 2 of 3 replicas"),
        "{what}"
    );
    let (since, now) = (at("14:30:00"), at("14:30:22"));
    let found = told.closes(since, SINCE, now).unwrap().found_by("edge-1:9901");
    assert_eq!(found.at, at("14:30:21"));
    assert!(found.what.ends_with("; found by edge-1:9901"));
    // Without asking its own checks, and while they run.
    let mut second = back();
    second.observe(heard(Some(found.clone())));
    assert!(second.at("14:30:22").starts_with("draining since 14:30:22: the guard tripped: 90%"));
    let again = word(&second).closes(since, SINCE, now).unwrap().found_by("edge-2:9901");
    assert_eq!(again.by.as_deref(), Some("edge-1:9901"), "who found it, and not who told it");
    let mut third = web(policy);
    third.flag(OFFLINE).at("14:00:00");
    third.at("14:00:01");
    third.flag("").at("14:30:00");
    assert_eq!(third.at("14:30:10").split(':').next(), Some("verifying since 14"));
    third.observe(heard(Some(found)));
    assert!(third.at("14:30:22").starts_with("draining since 14:30:22: the guard tripped"));
    // A return after the finding was an answer to it. A clock that is two minutes ahead makes no finding newer.
    assert_eq!(told.closes(at("14:30:22"), SINCE, at("14:40:00")), None);
    assert_eq!(told.closes(at("14:29:00"), jiff::SignedDuration::from_secs(120), at("14:40:00")), None);
    assert!(told.closes(at("14:28:00"), jiff::SignedDuration::from_secs(120), at("14:40:00")).is_some());
    assert_eq!(told.closes(since, SINCE, at("14:20:00")), None, "nor is one that is yet to come");
    // A guard that only warns closes for nobody.
    let mut warns = web("guard = { error_rate = \"5%\", on_breach = \"warn\" }\nramp = \"1h\"\ndrain = \"1ms\"");
    warns.flag(OFFLINE).at("14:00:00");
    warns.at("14:00:01");
    warns.flag("").at("14:30:00");
    warns.observe(heard(told.closes(since, SINCE, now)));
    assert!(warns.at("14:30:22").starts_with("ramping"), "{}", warns.at("14:30:22"));
}

fn suspected_failure() -> Observed {
    let verification = verified("14:30:20", 0, "14:30:21", Some("GET / answers 500")).verification;
    Observed { verification, whole: heard(None).whole, ..measured(100, 90, 1, 0) }
}

#[test]
fn counts_of_one_return_are_summed() {
    let policy = "drain = \"1ms\"\nramp = \"10m\"\nguard = { error_rate = \"5%\" }";
    let returned = |off: &str| {
        let mut proxy = web(policy);
        proxy.flag(OFFLINE).at("14:00:00");
        proxy.at("14:00:01");
        proxy.flag("").at(off);
        proxy
    };
    let (own, near, far) = (returned("14:30:00"), returned("14:30:50"), returned("14:33:00"));
    let state = &own.live.as_ref().unwrap().routes[0].state;
    let same = |other: &Rehearsal, told: Option<&str>| {
        let word = GuardCounts { returned: told.map(at), ..word(other) };
        word.is_of_same_return(state, at("14:30:00"))
    };
    assert_eq!((same(&near, None), same(&far, None)), (true, false));
    assert!(same(&far, Some("14:30:30")), "it was restarted, and knows the begin of the ramp");
    assert!(!GuardCounts::default().is_of_same_return(state, at("14:30:00")));
}

/// Starts a process without memory that hears these words.
fn joins(policy: &str, flags: &str, words: &[(&str, &GuardCounts)], clock: &str) -> (Rehearsal, String) {
    let mut fresh = web(policy);
    fresh.known.memory = Memory::Fresh;
    fresh.known.learned = Learned::of(words).map(|learned| ("web".to_owned(), learned)).into_iter().collect();
    let state = fresh.flag(flags).at(clock);
    fresh.known.learned.clear();
    (fresh, state)
}

#[test]
fn a_process_without_memory_begins_as_the_others_are() {
    let policy = "drain = \"1ms\"\nramp = \"10m\"\nverify = [{ get = \"/\", times = 3 }]\nguard = { error_rate = \"baseline + 5%\" }";
    let mut other = web(policy);
    other.observe(measured(0, 0, 0, 0)).at("13:59:00");
    other.flag(OFFLINE).at("14:00:00");
    other.at("14:00:01");
    other.flag("").at("14:30:00");
    // An hour later the checks still fail. One pass does not open the route, as it would if nothing was known.
    other.at("15:29:00");
    let (mut fresh, state) = joins(policy, "", &[("edge-1", &word(&other))], "15:30:00");
    assert_eq!(state, "verifying since 14:30:00: 0 of 1 checks have passed");
    fresh.observe(verified("14:30:00", 1, "15:30:02", None));
    assert!(fresh.at("15:30:02").starts_with("verifying since"));
    let baseline = fresh.live.as_ref().unwrap().routes[0].state.baseline().copied().unwrap();
    assert_eq!((baseline.counted, baseline.traffic), (Counted { requests: 1000, errors: 5 }, None));
    // The others ramp: each check has to pass once, and then the ramp is theirs.
    other.observe(verified("14:30:00", 3, "15:31:00", None));
    assert_eq!(other.at("15:31:00"), "ramping since 15:31:00: every check has passed");
    other.observe(Observed::default());
    other.at("15:33:00");
    let (mut fresh, state) = joins(policy, "", &[("edge-1", &word(&other))], "15:33:00");
    assert_eq!(state, "verifying since 15:33:00: 0 of 1 checks have passed");
    assert_eq!(fresh.live.as_ref().unwrap().routes[0].transitions[0].reason, Reason::Joined);
    fresh.observe(verified("15:33:00", 1, "15:33:04", None));
    assert_eq!(fresh.at("15:33:04"), "ramping since 15:33:04: every check has passed");
    other.at("15:33:10");
    fresh.observe(Observed::default());
    fresh.at("15:33:10");
    assert!((fresh.share() - other.share()).abs() < 1e-9, "{} {}", fresh.share(), other.share());
    // A guard has closed it.
    let observed = measured(200, 100, 1, 0);
    other.observe(observed.clone()).at("15:34:00");
    let fails = verified("15:34:00", 0, "15:34:01", Some("GET / answers 500"));
    other.observe(Observed { verification: fails.verification, ..observed });
    other.at("15:34:01");
    let told = other.observe(Observed::default()).at("15:34:02");
    assert!(told.starts_with("closed since 15:34:01: the guard tripped: 50%"), "{told}");
    let (mut fresh, state) =
        joins(policy, "", &[("edge-0", &GuardCounts::default()), ("edge-1", &word(&other))], "15:40:00");
    assert_eq!(state, format!("{told}; found by edge-1"));
    assert_eq!(fresh.at("23:40:00"), state);
    assert!(fresh.flag(OFFLINE).at("23:41:00").starts_with("closed"));
    assert!(fresh.flag("").at("23:42:00").starts_with("verifying"), "an operator has acted");
    // Nobody tells anything: as ever.
    let (_, state) = joins(policy, "", &[], "15:40:00");
    assert_eq!(state, "verifying since 15:40:00: nothing is known of it yet: each check has to pass once");
}

#[test]
fn without_checks_a_process_joins_the_ramp_at_once() {
    let policy = "drain = \"1ms\"\nramp = \"10m\"";
    let mut other = web(policy);
    other.flag(OFFLINE).at("14:00:00");
    other.at("14:00:01");
    other.flag("").at("14:30:00");
    other.at("14:34:00");
    let (mut fresh, state) = joins(policy, "", &[("edge-1", &word(&other))], "14:34:00");
    assert_eq!(state, "ramping since 14:30:00: the flag was lifted");
    other.at("14:36:00");
    fresh.at("14:36:00");
    assert!(fresh.share() > 0.59 && (fresh.share() - other.share()).abs() < 1e-9);
    let (mut alone, _) = joins(policy, "", &[], "14:34:00");
    assert!(alone.at("14:34:00").starts_with("open"), "as it was before replicas talked");
}

#[test]
fn a_busy_route_has_room_beside_four_others() {
    let half = |age: u16| Half { replica: 0, client: (age % 200) as u8, requests: 333, errors: 33 };
    let mut counts = counts(&(0..400).map(half).collect::<Vec<_>>(), |_| true).limited();
    assert!(
        counts.moments.len() > 170 && counts.clients.len() == 25,
        "{} {}",
        counts.moments.len(),
        counts.clients.len()
    );
    let mut proxy = web("guard = { error_rate = \"5%\" }\nramp = \"1h\"\ndrain = \"1ms\"");
    proxy.flag(OFFLINE).at("14:00:00");
    proxy.at("14:00:01");
    proxy.flag("").at("14:30:00");
    let busy = GuardCounts { counts: Some(counts.clone()), returned: Some(at("14:30:00")), ..word(&proxy) };
    assert!(busy.bytes() < 32 * 1024 / 4, "{}", busy.bytes());
    counts.moments.iter_mut().for_each(|moment| moment.errors = 0);
    let good = GuardCounts { counts: Some(counts), ..busy };
    assert!(good.clone().thinned().bytes() < 32 * 1024 / 5, "{}", good.thinned().bytes());
}

//! Turns, places and shares, at instants of the test's own.

use super::*;

const POLICY: Hold = Hold { max_wait: Duration::from_secs(30), max_held: 500, release: 0.0 };

fn queue(release: f64, held: u64) -> Queue {
    let mut queue = Queue::default();
    for _ in 0..held {
        assert!(queue.enter(Hold { release, ..POLICY }, None, &mut Vec::new()).is_some());
    }
    queue
}

/// Returns how many requests are called at an instant.
fn called(queue: &mut Queue, now: Instant) -> usize {
    let before = queue.waiting.len();
    queue.call(now, &mut Vec::new());
    before - queue.waiting.len()
}

#[test]
fn turns_are_so_many_a_second_whatever_the_clock_of_who_calls() {
    let begin = Instant::now();
    for (release, every) in [(50.0, 20), (50.0, 7), (400.0, 1), (400.0, 9), (0.5, 100)] {
        let mut queue = queue(release, 500);
        let mut total = 0;
        for step in 0..1000 / every {
            total += called(&mut queue, begin + Duration::from_millis(step * every));
        }
        let expected = release.ceil() as usize;
        assert!(total.abs_diff(expected) <= 4, "{release} {every}: {total}");
    }
}

#[test]
fn what_was_missed_is_made_up_for_within_50_ms_and_no_further() {
    let begin = Instant::now();
    for (release, burst) in [(1.0, 1), (10.0, 1), (50.0, 2), (400.0, 20), (2000.0, 100)] {
        let mut queue = queue(release, 500);
        assert_eq!(called(&mut queue, begin), 1);
        assert_eq!(called(&mut queue, begin + Duration::from_secs(60)), burst, "{release}");
    }
}

#[test]
fn a_higher_rate_counts_from_the_next_turn_on() {
    let begin = Instant::now();
    let mut queue = queue(1.0 / 60.0, 3);
    assert_eq!(called(&mut queue, begin), 1);
    queue.rate = 100.0;
    assert_eq!(called(&mut queue, begin), 0);
    assert_eq!(called(&mut queue, begin + Duration::from_millis(10)), 1);
}

#[test]
fn who_is_called_keeps_the_place_until_it_leaves() {
    let holds = HoldQueues::default();
    let policy = Hold { max_held: 2, release: 1.0, ..POLICY };
    let tickets = [(); 3].map(|()| holds.enter("web", policy, None));
    assert_eq!(tickets, [Some(0), Some(1), None]);
    let call = || holds.lock().get_mut("web").map(|queue| called(queue, Instant::now()));
    assert_eq!(call(), Some(1));
    assert_eq!(holds.poll_signal("web", 0, Waker::noop()), Some(Signal::Go));
    assert_eq!(holds.enter("web", policy, None), None);
    holds.requeue("web", 0);
    assert_eq!(holds.lock().get("web").map(|queue| queue.waiting.keys().copied().collect()), Some(vec![0, 1]));
    holds.leave("web", 0);
    assert_eq!(holds.enter("web", policy, None), Some(2));
}

#[tokio::test]
async fn a_request_that_returns_to_its_place_has_the_queue_looked_at() {
    let holds = HoldQueues::default();
    assert_eq!(holds.enter("web", POLICY, None), Some(0));
    holds.due(None).await;
    holds.lock().get_mut("web").map(|queue| called(queue, Instant::now()));
    holds.requeue("web", 0);
    let due = tokio::time::timeout(Duration::from_secs(10), holds.due(None)).await;
    assert!(due.is_ok(), "its route may be back already, and nothing else would say so");
}

/// Has clients take places of twenty, in this order; returns the tickets that they got.
fn entered(queue: &mut Queue, clients: &[&str]) -> Vec<Option<u64>> {
    let policy = Hold { max_held: 20, release: 1.0, ..POLICY };
    let enter = |client: &&str| queue.enter(policy, client.parse().ok(), &mut Vec::new());
    clients.iter().map(enter).collect()
}

fn waiting(queue: &Queue) -> Vec<u64> {
    queue.waiting.keys().copied().collect()
}

#[test]
fn a_client_alone_may_take_all_places_and_gives_way_to_others_up_to_their_share() {
    let mut queue = Queue::default();
    assert!(entered(&mut queue, &["192.0.2.1"; 20]).iter().all(Option::is_some));
    assert_eq!(entered(&mut queue, &["192.0.2.1"; 3]), [None; 3], "it has more than its share");
    // The first client's newest requests give way, and no more of them than its excess.
    assert_eq!(entered(&mut queue, &["192.0.2.2"; 3]), [Some(20), Some(21), None]);
    assert_eq!(waiting(&queue), (0..18).chain(20..22).collect::<Vec<_>>(), "in the order of arrival");
    // Nine others take their share, and then no client exceeds its share.
    let others: Vec<String> =
        (3..=11).flat_map(|last| [format!("192.0.2.{last}"), format!("192.0.2.{last}")]).collect();
    let others: Vec<&str> = others.iter().map(String::as_str).collect();
    let got = entered(&mut queue, &others);
    assert!(got[..16].iter().all(Option::is_some) && got[16..] == [None; 2], "{got:?}");
    assert_eq!((waiting(&queue)[..2].to_vec(), waiting(&queue).len()), (vec![0, 1], 20));
    // A request that leaves makes room for a new one.
    queue.leave(0);
    assert!(entered(&mut queue, &["192.0.2.1"])[0].is_some());
    assert_eq!(entered(&mut queue, &["192.0.2.99"]), [None]);
}

#[test]
fn a_client_has_all_of_its_64_and_one_that_is_not_known_is_not_limited() {
    let mut queue = Queue::default();
    let strangers: Vec<String> = (0..20).map(|host| format!("2001:db8::{host}")).collect();
    let strangers: Vec<&str> = strangers.iter().map(String::as_str).collect();
    entered(&mut queue, &strangers);
    assert_eq!(entered(&mut queue, &["2001:db8::ffff", "2001:db8:0:1::1"]), [None, Some(20)]);
    // On a unix socket, each may be another client.
    assert!(entered(&mut queue, &["unix"; 17]).iter().all(Option::is_some));
    assert_eq!(entered(&mut queue, &["unix"]), [None]);
    assert_eq!(waiting(&queue)[..3], [0, 1, 20]);
}

#[test]
fn whose_turn_it_is_gives_way_to_nobody_and_who_gives_way_is_told() {
    let holds = HoldQueues::default();
    let policy = Hold { max_held: 2, release: 1.0, ..POLICY };
    let enter = |last| holds.enter("web", policy, Some(IpAddr::from([192, 0, 2, last])));
    assert_eq!([enter(1), enter(1)], [Some(0), Some(1)]);
    assert_eq!(holds.poll_signal("web", 1, Waker::noop()), None);
    assert_eq!(enter(2), Some(2));
    assert_eq!(
        (holds.poll_signal("web", 0, Waker::noop()), holds.poll_signal("web", 1, Waker::noop())),
        (None, Some(Signal::GiveWay))
    );
    holds.leave("web", 1);
    assert_eq!(enter(3), None, "nobody has more than one");
    holds.leave("web", 2);
    assert_eq!(enter(1), Some(3));
    let call = |at| holds.lock().get_mut("web").map(|queue| called(queue, at));
    let now = Instant::now();
    assert_eq!((call(now), call(now + Duration::from_secs(60))), (Some(1), Some(1)));
    assert_eq!(enter(2), None, "both are on their way");
}

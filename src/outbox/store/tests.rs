use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;
use rusqlite::Connection;

use super::super::subscription::{Channel, Order, Pace, State};
use super::super::tests::server::Server;
use super::super::tests::{at, notice, order, tls};
use super::super::token::TokenKey;
use super::super::webhook;
use crate::plan::config::{PostgresConfig, PostgresServer};

use super::*;

const LEASE: SignedDuration = SignedDuration::from_mins(5);

/// Place of a store, which a test opens as often as it likes.
enum World {
    Sqlite(tempfile::TempDir),
    Postgres(&'static Server, String),
}

impl World {
    /// Returns a place of each kind.
    fn all() -> Vec<Self> {
        let postgres =
            Server::shared("the store in PostgreSQL").map(|server| Self::Postgres(server, server.database()));
        std::iter::once(Self::file()).chain(postgres).collect()
    }

    fn file() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        let Self::Sqlite(folder) = self else { panic!("a database has no path") };
        folder.path().join(FILE)
    }

    fn open(&self) -> Store {
        match self {
            Self::Sqlite(_) => Store::open(&self.path()).unwrap(),
            Self::Postgres(server, database) => {
                let server = PostgresServer::Socket { directory: server.directory.clone(), port: server.port };
                let user = Some("postgres".to_owned());
                let config = PostgresConfig { server, user, password_file: None, database: database.clone() };
                Store::of(&StoreConfig::Postgres(config), Path::new(""), &tls()).unwrap()
            }
        }
    }

    /// Returns a line for each row.
    fn sql(&self, statement: &str) -> Vec<String> {
        match self {
            Self::Sqlite(_) => {
                let connection = Connection::open(self.path()).unwrap();
                let mut statement = connection.prepare(statement).unwrap();
                statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
            }
            Self::Postgres(server, database) => server.sql(database, statement),
        }
    }

    /// Returns the sequence numbers and states of all deliveries.
    fn states(&self) -> Vec<String> {
        self.sql("SELECT sequence || ' ' || state FROM deliveries ORDER BY id")
    }
}

async fn subscribe(store: &mut Store, addresses: &[&str]) -> Vec<i64> {
    let mut ids = Vec::new();
    for address in addresses {
        let id = store.subscribe(&order(address), "whsec_AAAA", State::Active, at("13:00:00")).await.unwrap();
        ids.push(id);
    }
    ids
}

fn connection(store: &Store) -> &Connection {
    match store {
        Store::Sqlite(store) => &store.connection,
        Store::Postgres(_) => panic!("a database has no file"),
    }
}

async fn claim(store: &mut Store, now: &str) -> Vec<Claim> {
    store.claim(at(now), LEASE, 100, 100).await.unwrap()
}

#[tokio::test]
async fn a_crash_between_claim_and_result_sends_again_with_the_same_id() {
    for world in World::all() {
        let mut store = world.open();
        subscribe(&mut store, &["https://a.example/", "https://b.example/"]).await;
        assert_eq!(store.record(&notice(1), at("14:00:00"), at("23:00:00")).await.unwrap(), Recorded::New(2));
        let first = claim(&mut store, "14:00:00").await;
        store.finish(&first[0], &Outcome::Done, at("14:00:01")).await.unwrap();
        drop(store);

        let mut store = world.open();
        assert_eq!(claim(&mut store, "14:04:59").await, [], "the lease still holds");
        let again = claim(&mut store, "14:05:00").await;
        let id = |claim: &Claim| webhook::id(&claim.notice, claim.subscription.id);
        assert_eq!(again.iter().map(id).collect::<Vec<_>>(), [id(&first[1])]);
        assert_eq!((first[1].attempt, again[0].attempt), (1, 2));
        store.finish(&again[0], &Outcome::Done, at("14:05:01")).await.unwrap();
        assert_eq!(world.states(), ["1 done", "1 done"]);
    }
}

#[tokio::test]
async fn an_update_is_recorded_once_and_not_when_it_is_a_day_old() {
    for world in World::all() {
        let (mut one, mut other) = (world.open(), world.open());
        subscribe(&mut one, &["https://a.example/"]).await;
        assert_eq!(one.record(&notice(1), at("14:00:00"), at("23:00:00")).await.unwrap(), Recorded::New(1));
        assert_eq!(other.record(&notice(1), at("14:00:00"), at("23:00:00")).await.unwrap(), Recorded::Known);
        let next_day = at("14:00:00") + SignedDuration::from_hours(25);
        assert_eq!(one.record(&notice(2), next_day, at("23:00:00")).await.unwrap(), Recorded::Old);
        assert_eq!(world.states(), ["1 due"]);
    }
}

#[tokio::test]
async fn a_newer_update_replaces_what_was_not_told_yet() {
    for world in World::all() {
        let mut store = world.open();
        subscribe(&mut store, &["https://a.example/"]).await;
        store.record(&notice(1), at("14:00:00"), at("23:00:00")).await.unwrap();
        let first = claim(&mut store, "14:00:00").await;
        let retry = Outcome::Retry { at: at("14:00:05"), error: "503".to_owned() };
        store.finish(&first[0], &retry, at("14:00:01")).await.unwrap();
        store.record(&notice(2), at("14:00:02"), at("23:00:00")).await.unwrap();
        let next = claim(&mut store, "14:00:06").await;
        assert_eq!(next.iter().map(|claim| claim.notice.update.sequence).collect::<Vec<_>>(), [2]);
        assert_eq!(world.states(), ["1 dropped", "2 due"]);
    }
}

#[tokio::test]
async fn a_host_has_no_more_deliveries_at_a_time_than_it_may() {
    for world in World::all() {
        let mut store = world.open();
        subscribe(
            &mut store,
            &["https://a.example/1", "https://a.example/2", "https://a.example/3", "https://b.example/"],
        )
        .await;
        store.record(&notice(1), at("14:00:00"), at("23:00:00")).await.unwrap();
        let addresses = |claims: &[Claim]| -> Vec<String> {
            claims.iter().map(|claim| claim.subscription.order.address.clone()).collect()
        };
        let first = store.claim(at("14:00:00"), LEASE, 100, 2).await.unwrap();
        assert_eq!(addresses(&first), ["https://a.example/1", "https://a.example/2", "https://b.example/"]);
        assert_eq!(store.claim(at("14:00:00"), LEASE, 100, 2).await.unwrap(), []);
        store.finish(&first[0], &Outcome::Done, at("14:00:00")).await.unwrap();
        assert_eq!(addresses(&store.claim(at("14:00:00"), LEASE, 100, 2).await.unwrap()), ["https://a.example/3"]);
    }
}

#[tokio::test]
async fn an_endpoint_is_silenced_by_410_or_when_it_has_failed_for_days() {
    for world in World::all() {
        let mut store = world.open();
        let ids = subscribe(&mut store, &["https://a.example/", "https://b.example/", "https://c.example/"]).await;
        store.record(&notice(1), at("14:00:00"), at("23:00:00")).await.unwrap();
        let claims = claim(&mut store, "14:00:00").await;
        store.finish(&claims[0], &Outcome::Gone { error: "410 Gone".to_owned() }, at("14:00:00")).await.unwrap();
        let retry = Outcome::Retry { at: at("14:00:05"), error: "503".to_owned() };
        store.finish(&claims[1], &retry, at("14:00:00")).await.unwrap();
        let failed = Outcome::Failed { error: "503".to_owned() };
        store.finish(&claims[1], &failed, at("14:00:00") + SignedDuration::from_hours(76)).await.unwrap();
        store.finish(&claims[2], &failed, at("14:00:00")).await.unwrap();
        let mut found = Vec::new();
        for id in &ids {
            found.push(store.find(*id).await.unwrap().unwrap().state);
        }
        assert_eq!(found, [State::Disabled, State::Quarantined, State::Active]);
        let depth = store.depth().await.unwrap();
        assert_eq!((depth.due, depth.failed, depth.silenced), (0, 3, 2));
        assert!(store.activate(ids[1], at("15:00:00")).await.unwrap());
        assert_eq!(store.record(&notice(2), at("15:00:00"), at("23:00:00")).await.unwrap(), Recorded::New(2));
    }
}

#[test]
fn a_subscriber_is_told_of_what_it_wants() {
    let one = |name: &str| BTreeSet::from([name.to_owned()]);
    let cases: [(Order, bool); 7] = [
        (order("https://a.example/"), true),
        (Order { services: one("shop"), ..order("https://a.example/") }, true),
        (Order { services: one("blog"), ..order("https://a.example/") }, false),
        (Order { regions: one("eu-west"), ..order("https://a.example/") }, true),
        (Order { regions: one("us-east"), ..order("https://a.example/") }, false),
        (Order { kinds: one("began"), ..order("https://a.example/") }, true),
        (Order { kinds: one("over"), ..order("https://a.example/") }, false),
    ];
    for (order, wanted) in cases {
        assert_eq!(order.wants(&notice(1)), wanted, "{order:?}");
    }
}

#[tokio::test]
async fn an_endpoint_without_a_proof_is_asked_ever_less_often_and_forgotten() {
    for world in World::all() {
        let mut store = world.open();
        let id = store
            .subscribe(&order("https://a.example/"), "whsec_AAAA", State::Unconfirmed, at("13:00:00"))
            .await
            .unwrap();
        assert_eq!(store.record(&notice(1), at("14:00:00"), at("23:00:00")).await.unwrap(), Recorded::New(0));
        for (now, most) in [("13:00:00", 1), ("13:00:59", 0), ("13:01:00", 1), ("13:02:59", 0)] {
            assert_eq!(store.claim_proofs(at(now), 10).await.unwrap().len(), most, "{now}");
        }
        store.prune(at("13:00:00") + SignedDuration::from_hours(24 * 8)).await.unwrap();
        assert_eq!(store.find(id).await.unwrap(), None);
    }
}

#[tokio::test]
async fn what_is_over_is_removed_and_an_address_has_one_subscription() {
    for world in World::all() {
        let mut store = world.open();
        let ids = subscribe(&mut store, &["https://a.example/", "https://a.example/", "https://b.example/"]).await;
        assert_eq!(ids[0], ids[1]);
        store.record(&notice(1), at("14:00:00"), at("23:00:00")).await.unwrap();
        let claims = claim(&mut store, "14:00:00").await;
        store.finish(&claims[0], &Outcome::Done, at("14:00:00")).await.unwrap();
        let month_later = at("14:00:00") + SignedDuration::from_hours(24 * 31);
        store.prune(month_later).await.unwrap();
        assert_eq!(world.states(), ["1 due"]);
        assert!(store.remove(ids[2], month_later).await.unwrap() && !store.remove(ids[2], month_later).await.unwrap());
        assert_eq!(world.states(), Vec::<String>::new());
        store.prune(month_later).await.unwrap();
        assert_eq!(world.sql("SELECT incident FROM updates"), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_damaged_or_newer_file_is_an_error_and_stays_as_it_is() {
    let world = World::file();
    let garbage = vec![b'x'; 9000];
    std::fs::write(world.path(), &garbage).unwrap();
    let error = Store::open(&world.path()).unwrap_err();
    assert!(matches!(error, StoreError::Damaged(..)), "{error:?}");
    assert_eq!(std::fs::read(world.path()).unwrap(), garbage);

    let world = World::file();
    connection(&world.open()).execute_batch("PRAGMA user_version = 99").unwrap();
    let error = Store::open(&world.path()).unwrap_err();
    assert!(matches!(error, StoreError::Newer(_, 99, _)), "{error:?}");
}

#[tokio::test]
async fn only_the_owner_reads_the_file_and_a_locked_one_is_an_error() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::file();
    let (mut one, other) = (world.open(), world.open());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&world.path()), 0o600);
    assert_eq!(mode(&world.path().with_file_name(format!("{FILE}-wal"))), 0o600);
    connection(&other).execute_batch("BEGIN IMMEDIATE").unwrap();
    connection(&one).busy_timeout(Duration::ZERO).unwrap();
    let error = one.record(&notice(1), at("14:00:00"), at("23:00:00")).await.unwrap_err();
    assert!(matches!(error, StoreError::Sqlite(_)), "{error:?}");
    connection(&other).execute_batch("ROLLBACK").unwrap();
    assert_eq!(one.record(&notice(1), at("14:00:00"), at("23:00:00")).await.unwrap(), Recorded::New(0));
}

#[tokio::test]
async fn an_address_that_is_refused_three_times_is_silenced_and_one_success_forgives() {
    for world in World::all() {
        let mut store = world.open();
        let id = subscribe(&mut store, &["https://a.example/"]).await[0];
        let refused = |cause: Refusal| Outcome::Refused { error: "550 nobody".to_owned(), cause };
        let course = [
            (refused(Refusal::Address), State::Active),
            (refused(Refusal::Address), State::Active),
            (Outcome::Done, State::Active),
            (refused(Refusal::Message), State::Active),
            (refused(Refusal::Address), State::Active),
            (refused(Refusal::Address), State::Quarantined),
        ];
        for ((outcome, state), sequence) in course.into_iter().zip(1..) {
            let now = format!("14:00:{sequence:02}");
            store.record(&notice(sequence), at(&now), at("23:00:00")).await.unwrap();
            let claims = claim(&mut store, &now).await;
            store.finish(&claims[0], &outcome, at(&now)).await.unwrap();
            assert_eq!(store.find(id).await.unwrap().unwrap().state, state, "after {sequence}");
        }
    }
}

#[tokio::test]
async fn a_late_result_changes_nothing_of_what_another_sender_does() {
    for world in World::all() {
        let mut store = world.open();
        let id = subscribe(&mut store, &["https://a.example/"]).await[0];
        store.record(&notice(1), at("14:00:00"), at("23:00:00")).await.unwrap();
        let late = claim(&mut store, "14:00:00").await.remove(0);
        let current = claim(&mut store, "14:05:00").await.remove(0);
        let retry = Outcome::Retry { at: at("14:05:10"), error: "503".to_owned() };
        let failed = Outcome::Failed { error: "503".to_owned() };
        for outcome in [&retry, &failed] {
            store.finish(&late, outcome, at("14:05:01")).await.unwrap();
        }
        assert_eq!(claim(&mut store, "14:06:00").await, [], "the other one still has it");
        for _ in 0..2 {
            store.finish(&current, &retry, at("14:05:02")).await.unwrap();
        }
        assert_eq!(store.find(id).await.unwrap().unwrap().failures, 1, "a result that is repeated counts once");
        let last = claim(&mut store, "14:05:10").await.remove(0);
        store.finish(&late, &Outcome::Done, at("14:05:11")).await.unwrap();
        store.finish(&last, &failed, at("14:05:12")).await.unwrap();
        assert_eq!(world.states(), ["1 done"], "what was taken was taken");
    }
}

fn mailbox(address: &str) -> Order {
    Order { channel: Channel::Mail, ..order(address) }
}

fn daily(address: &str) -> Order {
    Order { pace: Pace::Digest, ..mailbox(address) }
}

/// Records updates of the minutes after 14:00, for a digest at 20:00.
async fn record(store: &mut Store, sequences: std::ops::RangeInclusive<u32>) {
    for sequence in sequences {
        let now = at(&format!("14:{sequence:02}:00"));
        store.record(&notice(sequence), now, at("20:00:00")).await.unwrap();
    }
}

/// Returns the sequence numbers of the updates of each claim.
fn told(claims: &[Claim]) -> Vec<Vec<u32>> {
    let sorted = |claim: &Claim| {
        let mut all: Vec<u32> = claim.notices().map(|notice| notice.update.sequence).collect();
        all.sort_unstable();
        all
    };
    claims.iter().map(sorted).collect()
}

#[tokio::test]
async fn readers_of_the_digest_get_all_of_a_day_at_its_time_and_others_each_step() {
    for world in World::all() {
        let mut store = world.open();
        for order in [daily("reader@example.org"), mailbox("other@example.org")] {
            store.subscribe(&order, "", State::Active, at("13:00:00")).await.unwrap();
        }
        // A pace is one of mails alone.
        let hook = Order { pace: Pace::Digest, ..order("https://a.example/") };
        store.subscribe(&hook, "whsec_AAAA", State::Active, at("13:00:00")).await.unwrap();
        record(&mut store, 1..=1).await;
        let now = claim(&mut store, "14:01:00").await;
        assert_eq!(told(&now), [[1], [1]]);
        for one in &now {
            store.finish(one, &Outcome::Done, at("14:01:00")).await.unwrap();
        }
        assert_eq!(store.depth().await.unwrap().oldest, Some(at("20:00:00")), "a digest is not late before its time");
        record(&mut store, 2..=3).await;
        assert_eq!(told(&claim(&mut store, "14:03:00").await), [[3], [3]], "the newer replaces the older");
        assert_eq!(claim(&mut store, "19:59:59").await.len(), 2, "what was claimed before is claimed again");
        let digest = claim(&mut store, "20:00:00").await;
        assert_eq!(told(&digest), [vec![1, 2, 3]]);
        assert_eq!(claim(&mut store, "20:00:01").await, []);
        store.finish(&digest[0], &Outcome::Done, at("20:00:02")).await.unwrap();
        let left = "SELECT count(*) || '' FROM deliveries WHERE digest > 0 AND state <> 'done'";
        assert_eq!(world.sql(left), ["0"]);
    }
}

#[tokio::test]
async fn a_digest_stays_whole_over_failures_and_crashes() {
    for world in World::all() {
        let mut store = world.open();
        store.subscribe(&daily("reader@example.org"), "", State::Active, at("13:00:00")).await.unwrap();
        record(&mut store, 1..=3).await;
        let first = claim(&mut store, "20:00:00").await;
        drop(store);
        let mut store = world.open();
        let again = claim(&mut store, "20:05:00").await;
        assert_eq!((told(&again), again[0].attempts()), (told(&first), 2), "after a crash");
        let retry = Outcome::Retry { at: at("20:10:00"), error: "451".to_owned() };
        store.finish(&again[0], &retry, at("20:05:01")).await.unwrap();
        assert_eq!(store.subscriptions().await.unwrap()[0].failures, 1, "one mail, one failure");
        // News that are due before the next attempt take along what waits for it.
        store.record(&notice(4), at("14:04:00"), at("20:07:00")).await.unwrap();
        let both = claim(&mut store, "20:07:00").await;
        assert_eq!((told(&both), both[0].attempts()), (vec![vec![1, 2, 3, 4]], 3));
        store.finish(&both[0], &retry, at("20:07:01")).await.unwrap();
        assert_eq!(claim(&mut store, "20:09:59").await, []);
        let last = claim(&mut store, "20:10:00").await;
        let refused = Outcome::Refused { error: "550 nobody".to_owned(), cause: Refusal::Address };
        store.finish(&last[0], &refused, at("20:10:01")).await.unwrap();
        let found = store.subscriptions().await.unwrap().remove(0);
        assert_eq!((found.state, world.states().len()), (State::Active, 4), "one mail, one refusal");
        assert_eq!(claim(&mut store, "23:00:00").await, []);
    }
}

#[tokio::test]
async fn a_digest_counts_as_one_mail_at_a_time_and_has_a_limit() {
    for world in World::all() {
        let mut store = world.open();
        for address in ["a@example.org", "b@example.org", "c@example.org"] {
            store.subscribe(&daily(address), "", State::Active, at("13:00:00")).await.unwrap();
        }
        record(&mut store, 1..=3).await;
        let two = store.claim(at("20:00:00"), LEASE, 100, 2).await.unwrap();
        assert_eq!(told(&two), [[1, 2, 3], [1, 2, 3]]);
        assert_eq!(store.claim(at("20:00:00"), LEASE, 100, 2).await.unwrap(), []);
        store.finish(&two[0], &Outcome::Done, at("20:00:00")).await.unwrap();
        assert_eq!(store.claim(at("20:00:00"), LEASE, 100, 2).await.unwrap().len(), 1);

        let mut store = World::file().open();
        store.subscribe(&daily("a@example.org"), "", State::Active, at("13:00:00")).await.unwrap();
        for sequence in 1..=130 {
            store.record(&notice(sequence), at("14:00:00"), at("20:00:00")).await.unwrap();
        }
        let one = claim(&mut store, "20:00:00").await;
        assert_eq!((one.len(), one[0].notices().count()), (1, 100));
        assert_eq!(claim(&mut store, "20:00:00").await[0].notices().count(), 30, "the rest is not lost");
    }
}

#[tokio::test]
async fn what_waits_follows_a_change_of_pace() {
    for world in World::all() {
        let mut store = world.open();
        store.subscribe(&daily("reader@example.org"), "", State::Active, at("13:00:00")).await.unwrap();
        let uid = store.subscriptions().await.unwrap()[0].uid;
        let change = async |store: &mut Store, order: &Order, now: &str| {
            assert!(store.change(uid, order, at(now), at("20:00:00")).await.unwrap());
        };
        record(&mut store, 1..=2).await;
        change(&mut store, &mailbox("reader@example.org"), "15:00:00").await;
        let now = claim(&mut store, "15:00:00").await;
        assert_eq!((told(&now), &now[0].digest), (vec![vec![2]], &None), "the newest state is told at once");
        let retry = Outcome::Retry { at: at("15:30:00"), error: "451".to_owned() };
        store.finish(&now[0], &retry, at("15:00:01")).await.unwrap();
        change(&mut store, &daily("reader@example.org"), "15:01:00").await;
        assert_eq!(claim(&mut store, "15:30:00").await, []);
        record(&mut store, 3..=3).await;
        assert_eq!(told(&claim(&mut store, "20:00:00").await), [[2, 3]]);
        change(&mut store, &mailbox("reader@example.org"), "20:00:01").await;
        assert_eq!(claim(&mut store, "20:00:02").await, [], "what is under way stays");
    }
}

#[tokio::test]
async fn a_stranger_changes_nothing_of_a_subscription_that_was_confirmed() {
    for world in World::all() {
        let mut store = world.open();
        let narrow = Order { services: BTreeSet::from(["shop".to_owned()]), ..mailbox("reader@example.org") };
        store.ask(&narrow, "", at("13:00:00")).await.unwrap();
        store.ask(&mailbox("reader@example.org"), "", at("13:01:00")).await.unwrap();
        let found = store.subscriptions().await.unwrap().remove(0);
        assert_eq!(
            (found.state, found.order.services.len()),
            (State::Unconfirmed, 0),
            "the last wishes count until then"
        );
        assert!(store.confirm(found.uid, at("13:02:00")).await.unwrap());
        assert!(!store.confirm(found.uid, at("13:03:00")).await.unwrap(), "a link confirms once");
        store.ask(&narrow, "", at("13:04:00")).await.unwrap();
        let again = store.find_uid(found.uid).await.unwrap().unwrap();
        assert_eq!((again.state, again.order.services.len(), again.id), (State::Active, 0, found.id));
        assert!(store.change(found.uid, &narrow, at("13:05:00"), at("23:00:00")).await.unwrap());
        assert_eq!(store.find_uid(found.uid).await.unwrap().unwrap().order, narrow);
        assert!(store.leave(found.uid, Leaving::Unsubscribed, at("13:06:00")).await.unwrap());
        assert!(!store.leave(found.uid, Leaving::Erased, at("13:06:00")).await.unwrap());
        assert_eq!(store.find_uid(found.uid).await.unwrap(), None);
        assert_eq!(
            world.sql("SELECT action FROM audit"),
            ["asked", "asked", "confirmed", "asked", "changed", "unsubscribed"]
        );
    }
}

#[tokio::test]
async fn a_mailbox_is_asked_a_few_times_and_one_that_wants_silence_never() {
    for world in World::all() {
        let mut store = world.open();
        store.ask(&mailbox("reader@example.org"), "", at("13:00:00")).await.unwrap();
        store.ask(&order("https://a.example/"), "whsec_AAAA", at("13:00:00")).await.unwrap();
        let without = store.claim_letters(Whose::NoMailbox, at("13:00:00"), 8).await.unwrap();
        assert!(without.is_empty(), "there is no server for mails");
        let letters =
            async |store: &mut Store, now: &str| store.claim_letters(Whose::All, at(now), 8).await.unwrap().len();
        assert_eq!(store.next_due().await.unwrap(), Some(Timestamp::UNIX_EPOCH), "the endpoint has to prove itself");
        let times = ["13:00:00", "13:00:59", "13:01:00", "13:05:00", "13:21:00", "23:59:59"];
        let mut asked = Vec::new();
        for time in times {
            asked.push(letters(&mut store, time).await);
        }
        assert_eq!(asked, [1, 0, 1, 1, 1, 0]);
        let id = store.subscriptions().await.unwrap()[0].id;
        store.ask(&mailbox("reader@example.org"), "", at("14:00:00")).await.unwrap();
        store.drop_letter(id).await.unwrap();
        assert_eq!(letters(&mut store, "14:00:00").await, 0);
        world.sql("UPDATE subscriptions SET state = 'disabled' RETURNING state");
        store.ask(&mailbox("reader@example.org"), "", at("14:00:00")).await.unwrap();
        assert_eq!(letters(&mut store, "14:00:00").await, 0);
    }
}

#[tokio::test]
async fn a_file_of_the_first_version_gets_names_and_a_key() {
    let world = World::file();
    let mut store = world.open();
    let old = subscribe(&mut store, &["https://a.example/", "https://b.example/"]).await;
    let first = "DROP INDEX subscriptions_by_uid; ALTER TABLE subscriptions DROP COLUMN uid; DROP TABLE secrets; \
                 ALTER TABLE deliveries DROP COLUMN digest; \
                 DROP TABLE letters; PRAGMA user_version = 1";
    drop(store);
    Connection::open(world.path()).unwrap().execute_batch(first).unwrap();
    let mut store = world.open();
    let all = store.subscriptions().await.unwrap();
    assert!(all.len() == old.len() && all[0].uid != all[1].uid);
    let (one, other) = (TokenKey::generate().unwrap(), TokenKey::generate().unwrap());
    assert_eq!(store.token_key(&one).await.unwrap(), one);
    assert_eq!(world.open().token_key(&other).await.unwrap(), one, "the first one stays");
    assert_eq!(world.open().subscriptions().await.unwrap()[0].uid, all[0].uid);
    let elsewhere = World::file();
    elsewhere.open().import(&all, at("13:00:00")).await.unwrap();
    assert_eq!(elsewhere.open().subscriptions().await.unwrap()[1].uid, all[1].uid, "an import keeps the names");
}

#[tokio::test]
async fn what_another_replica_has_told_is_told_to_nobody_again() {
    let worlds = [World::file(), World::file()];
    let [mut one, mut other] = worlds.each_ref().map(World::open);
    // The numbers differ, and one of them is known to one store alone.
    subscribe(&mut other, &["https://only.example/"]).await;
    for store in [&mut one, &mut other] {
        subscribe(store, &["https://a.example/", "https://b.example/"]).await;
        let reader = Order { pace: Pace::Digest, channel: Channel::Mail, ..order("reader@example.org") };
        store.subscribe(&reader, "", State::Active, at("13:00:00")).await.unwrap();
        store.record(&notice(1), at("14:00:00"), at("20:00:00")).await.unwrap();
    }
    let none = Progress::default();
    assert_eq!(other.take_over(&none, at("14:00:01")).unwrap(), 0);
    let claims = claim(&mut one, "14:00:00").await;
    let told = claims.iter().find(|claim| claim.subscription.order.address == "https://a.example/").unwrap();
    one.finish(told, &Outcome::Done, at("14:00:01")).await.unwrap();
    let progress = one.progress(at("14:00:01")).unwrap();
    assert_eq!((progress.updates.len(), progress.updates[0].waiting.len(), progress.updates[0].digest), (1, 1, true));
    assert_ne!(progress.readers, other.progress(at("14:00:01")).unwrap().readers);
    let text = serde_json::to_string(&progress).unwrap();
    assert!(!text.contains("example"), "no address leaves the store: {text}");
    let progress: Progress = serde_json::from_str(&text).unwrap();
    // The first of the other store's own is taken for told, which is why stores must have the same subscribers.
    assert_eq!(other.take_over(&progress, at("14:00:02")).unwrap(), 2);
    assert_eq!(other.take_over(&progress, at("14:00:02")).unwrap(), 0);
    let left = claim(&mut other, "14:00:02").await;
    let left: Vec<&str> = left.iter().map(|claim| claim.subscription.order.address.as_str()).collect();
    assert_eq!(left, ["https://b.example/"]);
    // The digest goes out at one, so that the other has nothing to tell.
    for claim in claim(&mut one, "20:00:00").await {
        one.finish(&claim, &Outcome::Done, at("20:00:01")).await.unwrap();
    }
    let progress = one.progress(at("20:00:01")).unwrap();
    assert!(progress.updates[0].waiting.is_empty() && !progress.updates[0].digest, "{progress:?}");
    assert_eq!(other.take_over(&progress, at("20:00:02")).unwrap(), 2);
    assert!(claim(&mut other, "21:00:00").await.is_empty());
    let old = other.progress(at("20:00:00") + SignedDuration::from_hours(97)).unwrap();
    assert!(old.updates.is_empty(), "nobody asks any more");
}

use std::collections::BTreeSet;

use tokio::time::timeout;

use super::super::lease::Holding;
use super::super::progress::{Progress, ToldUpdate};
use super::super::store;
use super::super::subscription::State;
use super::super::tests::{SECRET, Sink, notice, order, plain, tls};
use super::*;

fn settings(folder: &tempfile::TempDir) -> Settings {
    let reach = Reach { allow_private: vec!["127.0.0.0/8".parse().unwrap()] };
    Settings {
        state_dir: folder.path().to_owned(),
        reach,
        store: StoreConfig::Local,
        tls: tls(),
        mail: None,
        digest_at: DigestTime::default(),
        lease: None,
    }
}

fn fresh(sequence: u32) -> Notice {
    let mut notice = notice(sequence);
    notice.update.at = Timestamp::now();
    notice
}

/// Waits until the state is as it should be.
async fn until(outbox: &Outbox, is_so: impl Fn(&OutboxStatus) -> bool) -> OutboxStatus {
    let mut status = outbox.status.clone();
    let found = timeout(Duration::from_secs(60), status.wait_for(is_so)).await.expect("in time").unwrap();
    found.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_reaches_its_endpoint_and_a_second_start_repeats_nothing() {
    let (folder, sink) = (tempfile::tempdir().unwrap(), Sink::new(|_, _| plain("200 OK", "", "")).await);
    let mut store = Store::open(&folder.path().join(store::FILE)).unwrap();
    store.subscribe(&order(&sink.url), SECRET, State::Active, Timestamp::now()).await.unwrap();
    let notice = fresh(1);
    let outbox = Outbox::start(settings(&folder)).unwrap();
    outbox.tell(notice.clone()).unwrap();
    outbox.tell(notice.clone()).unwrap();
    let status = until(&outbox, |status| status.counts.sent > 0).await;
    assert_eq!((status.error, status.unrecorded, status.depth.due), (None, 0, 0));
    assert!(status.public_keys.webhooks[0].starts_with("whpk_"));
    outbox.stop();
    let again = Outbox::start(settings(&folder)).unwrap();
    again.tell(notice).unwrap();
    again.stop();
    assert_eq!(sink.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_store_is_told_and_updates_wait_until_it_is_mended() {
    let (folder, sink) = (tempfile::tempdir().unwrap(), Sink::new(|_, _| plain("200 OK", "", "")).await);
    let (path, aside) = (folder.path().join(store::FILE), folder.path().join("aside"));
    let mut store = Store::open(&aside).unwrap();
    store.subscribe(&order(&sink.url), SECRET, State::Active, Timestamp::now()).await.unwrap();
    drop(store);
    std::fs::write(&path, vec![b'x'; 9000]).unwrap();
    let outbox = Outbox::start(settings(&folder)).unwrap();
    outbox.tell(fresh(1)).unwrap();
    let error = until(&outbox, |status| status.error.is_some()).await.error.unwrap();
    assert!(error.contains("is damaged"), "{error}");
    std::fs::rename(aside, path).unwrap();
    until(&outbox, |status| status.error.is_none() && status.counts.sent == 1).await;
    assert_eq!(sink.seen().len(), 1);
    outbox.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_lease_nobody_is_told_and_with_it_what_others_have_not() {
    let (folder, sink) = (tempfile::tempdir().unwrap(), Sink::new(|_, _| plain("200 OK", "", "")).await);
    let mut store = Store::open(&folder.path().join(store::FILE)).unwrap();
    store.subscribe(&order(&sink.url), SECRET, State::Active, Timestamp::now()).await.unwrap();
    let (lease, mut keeper) = Lease::new();
    let outbox = Outbox::start(Settings { lease: Some(lease), ..settings(&folder) }).unwrap();
    outbox.tell(fresh(1)).unwrap();
    until(&outbox, |status| status.depth.due == 1).await;
    // The replica that had the lease has told it.
    let told = keeper.progress.wait_for(|progress| !progress.updates.is_empty()).await.unwrap().updates.clone();
    let told = told.into_iter().map(|update| ToldUpdate { waiting: BTreeSet::new(), ..update }).collect();
    let told = Arc::new(Progress { updates: told, ..Progress::default() });
    let until_then = Some(Instant::now() + Duration::from_secs(60));
    keeper.shown.send_replace(Holding { until: until_then, told: Arc::clone(&told), ..Holding::default() });
    until(&outbox, |status| status.depth.due == 0).await;
    outbox.tell(fresh(2)).unwrap();
    until(&outbox, |status| status.counts.sent == 1).await;
    let said = keeper.progress.wait_for(|progress| progress.updates.iter().all(|one| one.waiting.is_empty())).await;
    assert_eq!(said.unwrap().updates.len(), 2);
    // The time is over by itself.
    let soon = Instant::now() + Duration::from_millis(1);
    keeper.shown.send_replace(Holding { until: Some(soon), told, ..Holding::default() });
    tokio::time::sleep_until(soon).await;
    outbox.tell(fresh(3)).unwrap();
    until(&outbox, |status| status.depth.due == 1).await;
    outbox.stop();
    assert_eq!(sink.seen().len(), 1);
    assert!(sink.seen()[0].fields["webhook-id"].contains(fresh(2).update.key.as_str()));
}

use tokio::time::timeout;

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

use std::path::{Path, PathBuf};

use jiff::SignedDuration;
use tokio::task::JoinSet;

use crate::plan::config::{PostgresServer, PostgresTls};

use super::super::super::subscription::State;
use super::super::super::tests::server::Server;
use super::super::super::tests::{at, notice, order, tls};
use super::super::delivery::Recorded;
use super::*;

fn config(server: &Server, database: &str) -> PostgresConfig {
    let socket = PostgresServer::Socket { directory: server.directory.clone(), port: server.port };
    let user = Some("postgres".to_owned());
    PostgresConfig { server: socket, user, password_file: None, database: database.to_owned() }
}

/// Returns several replicas that share an empty database.
fn replicas(server: &Server, number: usize) -> (String, Vec<PostgresStore>) {
    let database = server.database();
    let replica = |_| PostgresStore::new(config(server, &database), tls());
    let all = (0..number).map(replica).collect();
    (database, all)
}

/// Lets all replicas do the same at the same time.
async fn all<T: Send + 'static>(
    replicas: Vec<PostgresStore>,
    act: impl AsyncFn(&mut PostgresStore) -> T + Copy + 'static,
) -> (Vec<PostgresStore>, Vec<T>) {
    let local = tokio::task::LocalSet::new();
    let mut tasks = JoinSet::new();
    for mut replica in replicas {
        tasks.spawn_local_on(
            async move {
                let result = act(&mut replica).await;
                (replica, result)
            },
            &local,
        );
    }
    local.run_until(async { tasks.join_all().await }).await.into_iter().unzip()
}

#[tokio::test]
async fn replicas_record_an_update_once_and_claim_each_delivery_once() {
    let Some(server) = Server::shared("replicas that share a store") else { return };
    let (database, mut stores) = replicas(server, 6);
    for number in 0..200 {
        // One host for each, so that no limit is in the way.
        let order = order(&format!("https://h{number}.example/"));
        stores[0].subscribe(&order, "whsec_AAAA", State::Active, at("13:00:00")).await.unwrap();
    }
    let (stores, recorded) =
        all(stores, async |store| store.record(&notice(1), at("14:00:00"), at("23:00:00")).await.unwrap()).await;
    assert_eq!(recorded.iter().filter(|one| **one == Recorded::New(200)).count(), 1, "{recorded:?}");
    assert_eq!(recorded.iter().filter(|one| **one == Recorded::Known).count(), 5, "{recorded:?}");
    let claim = async |store: &mut PostgresStore| {
        let mut ids = Vec::new();
        for _ in 0..20 {
            let claims = store.claim(at("14:00:00"), SignedDuration::from_mins(2), 16, 16).await.unwrap();
            ids.extend(claims.iter().map(|claim| claim.delivery));
        }
        ids
    };
    let (_, claimed) = all(stores, claim).await;
    let mut ids: Vec<i64> = claimed.into_iter().flatten().collect();
    ids.sort_unstable();
    assert_eq!(ids.len(), 200);
    ids.dedup();
    assert_eq!(ids.len(), 200, "none was claimed twice");
    assert_eq!(server.sql(&database, "SELECT DISTINCT attempt FROM deliveries"), ["1"]);
}

#[tokio::test]
async fn replicas_make_the_schema_once_and_a_newer_one_is_refused() {
    let Some(server) = Server::shared("the schema of a shared store") else { return };
    let (database, stores) = replicas(server, 6);
    let (_, depths) = all(stores, async |store| store.depth().await.unwrap()).await;
    assert_eq!(depths.len(), 6);
    server.sql(&database, "UPDATE version SET number = 99");
    let mut store = PostgresStore::new(config(server, &database), tls());
    let error = store.depth().await.unwrap_err().to_string();
    assert!(error.contains("has version 99") && error.contains(&database), "{error}");
    server.sql(&database, "UPDATE version SET number = 1");
    let again = store.depth().await.unwrap_err().to_string();
    assert_eq!(again, error, "it waits before it tries again");
}

#[tokio::test]
async fn a_call_that_is_dropped_halfway_leaves_nothing_behind() {
    let Some(server) = Server::shared("calls that are dropped") else { return };
    let (_, mut stores) = replicas(server, 2);
    stores[0].subscribe(&order("https://a.example/"), "whsec_AAAA", State::Active, at("13:00:00")).await.unwrap();
    let mut other = stores.pop().unwrap();
    other.depth().await.unwrap();
    for polls in 1..40 {
        let notice = notice(polls);
        let mut record = Box::pin(stores[0].record(&notice, at("14:00:00"), at("23:00:00")));
        let mut left = polls;
        let done = std::future::poll_fn(|cx| match record.as_mut().poll(cx) {
            std::task::Poll::Ready(_) => std::task::Poll::Ready(true),
            std::task::Poll::Pending if left == 0 => std::task::Poll::Ready(false),
            std::task::Poll::Pending => {
                left -= 1;
                std::task::Poll::Pending
            }
        });
        let done = done.await;
        drop(record);
        let recorded = other.record(&notice, at("14:00:00"), at("23:00:00")).await.unwrap();
        assert!(recorded == Recorded::New(1) || recorded == Recorded::Known, "after {polls} polls");
        if done {
            assert_eq!(recorded, Recorded::Known);
            return;
        }
    }
    panic!("a record takes more than 40 polls");
}

#[tokio::test]
async fn a_server_is_believed_by_its_certificate_and_asks_for_the_password() {
    let Some(server) = Server::shared("TLS and a password to a shared store") else { return };
    let (database, folder) = (server.database(), tempfile::tempdir().unwrap());
    let role = format!("CREATE ROLE {database} LOGIN PASSWORD 'right'; ALTER DATABASE {database} OWNER TO {database}");
    server.sql(&database, &role);
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (right, wrong) = (file("right", "right\n"), file("wrong", "wrong\n"));
    let elsewhere = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let strange = file("strange.pem", &elsewhere.cert.pem());
    let no_root = file("empty.pem", "");
    let reach = async |host: &str, roots: Option<&Path>, password: Option<&PathBuf>| {
        let tls_of = |roots: &Path| PostgresTls::Verified { roots: Some(roots.to_owned()) };
        let encryption = roots.map_or(PostgresTls::Off, tls_of);
        let place = PostgresServer::Tcp { host: host.to_owned(), port: server.port, tls: encryption };
        let (user, password_file) = (Some(database.clone()), password.cloned());
        let config = PostgresConfig { server: place, user, password_file, database: database.clone() };
        PostgresStore::new(config, tls()).depth().await.map(drop).map_err(|error| error.to_string())
    };
    let root = folder.path().join("root.pem");
    std::fs::copy(server.certificate(), &root).unwrap();
    assert_eq!(reach("localhost", Some(&root), Some(&right)).await, Ok(()));
    for (host, roots, password, told) in [
        ("localhost", Some(root.as_path()), Some(&wrong), "password authentication failed"),
        ("localhost", Some(&root), None, "password missing"),
        ("localhost", Some(&root), Some(&folder.path().join("none")), "its password cannot be read"),
        ("127.0.0.1", Some(&root), Some(&right), "not valid for name"),
        ("localhost", Some(&strange), Some(&right), "certificate"),
        ("localhost", Some(&no_root), Some(&right), "has no certificate in PEM"),
        ("localhost", None, Some(&right), "no encryption"),
    ] {
        let error = reach(host, roots, password).await.unwrap_err();
        assert!(error.contains(told) && !error.contains("right"), "{told}: {error}");
    }
}

#[tokio::test]
async fn replicas_share_the_first_secret_that_is_offered() {
    let Some(server) = Server::shared("secrets of a shared store") else { return };
    let (_, mut stores) = replicas(server, 2);
    assert_eq!(stores[0].secret("webhook-keys", "one").await.unwrap(), "one");
    assert_eq!(stores[1].secret("webhook-keys", "other").await.unwrap(), "one");
}

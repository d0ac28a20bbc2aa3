//! Connections to an upstream whose name gets other addresses.

use std::cell::RefCell;

use tokio::net::TcpListener;
use tokio::task::LocalSet;
use tokio::time::sleep;

use super::*;
use crate::plan::config::UpstreamAddress;
use crate::plan::rewrite::BasePath;
use crate::proxy::upstream::name::LookingUp;

/// Addresses that the resolver of a test returns.
type Answer = Rc<RefCell<Vec<SocketAddr>>>;

fn pool(answer: &Answer) -> Rc<Pool> {
    let address = UpstreamAddress::Host("app.test".into(), 80);
    let base = BasePath::default();
    let upstream = Upstream { tls: None, address, base, client_cert: None, http2: false, proxy_protocol: None };
    let meter = Arc::new(UpstreamMeter { id: 0, name: "app".into(), workers: Box::new([UpstreamCell::default()]) });
    let pool = Pool::new(upstream, None, meter, 0, Rc::new(Budget::new(64)));
    let answer = Rc::clone(answer);
    let look_up = move || -> LookingUp { Box::pin(std::future::ready(Ok(answer.borrow().clone()))) };
    let name = Name::new("app".into(), Box::new(look_up));
    Rc::new(Pool { name: Some(Rc::new(name)), ..pool })
}

async fn lease(pool: &Rc<Pool>, limits: &Limits) -> Result<Lease, Error> {
    let flow = || Flow { network: None, connection: None };
    let checkout = Checkout { relieve: &|| {}, limits, reuse: Reuse::Any, introduction: None, flow: &flow };
    pool.checkout(&checkout).await
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

#[test]
fn connections_to_an_address_that_is_gone_are_closed_once_they_are_idle() {
    run(async {
        let (old, new) =
            (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let answer = Answer::new(RefCell::new(vec![old.local_addr().unwrap()]));
        let (pool, limits) = (pool(&answer), Limits::default());
        let (idle, busy) = (lease(&pool, &limits).await.unwrap(), lease(&pool, &limits).await.unwrap());
        idle.finish(Instant::now());
        // Nothing changes, so nothing is closed.
        sleep(limits.dns_ttl).await;
        pool.sweep(&limits);
        sleep(Duration::from_secs(1)).await;
        pool.sweep(&limits);
        assert_eq!((pool.idle.len(), pool.open_connections()), (1, 2));
        answer.replace(vec![new.local_addr().unwrap()]);
        sleep(limits.dns_ttl).await;
        pool.sweep(&limits);
        sleep(Duration::from_secs(1)).await;
        pool.sweep(&limits);
        sleep(Duration::from_millis(1)).await;
        assert_eq!((pool.idle.len(), pool.open_connections()), (0, 1), "the one in use goes on");
        busy.finish(Instant::now());
        sleep(Duration::from_millis(1)).await;
        assert_eq!((pool.idle.len(), pool.open_connections()), (0, 0), "and is not kept");
        lease(&pool, &limits).await.unwrap().finish(Instant::now());
        let _kept = new.accept().await.unwrap();
        sleep(Duration::from_secs(1)).await;
        pool.sweep(&limits);
        assert_eq!(pool.idle.len(), 1, "connections to the new address are kept");
    });
}

#[test]
fn an_upstream_that_is_back_at_another_address_is_found_with_the_next_connection() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let answer = Answer::new(RefCell::new(vec![dead]));
        let (pool, limits) = (pool(&answer), Limits::default());
        assert!(matches!(lease(&pool, &limits).await, Err(Error::Connect(_))));
        answer.replace(vec![listener.local_addr().unwrap()]);
        sleep(Duration::from_millis(1500)).await;
        // The addresses are younger than `dns_ttl`, and none of them accepts.
        lease(&pool, &limits).await.unwrap();
        listener.accept().await.unwrap();
    });
}

//! Plays the load from which a release is optimized: `cargo run --release -p training -- BACKSOON`.
//!
//! The program at that path is started with one worker, in front of an application in this process, and gets the load of
//! `load.toml` in its order. A wrong answer ends the training: a profile of errors would be worse than none. Everything
//! runs on loopback addresses, and each step has a time limit.

#![allow(clippy::print_stdout, reason = "it is a command for people")]

mod ask;
mod http1;
mod http2;
mod load;
mod proxy;
mod socket;
mod upstream;

use std::error::Error;
use std::future::Future;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::ask::Visitors;
use crate::load::{Ask, Edit, Load, Step};
use crate::proxy::Proxy;

/// What went right, or why not.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let mut words = std::env::args().skip(1);
    let (Some(binary), None) = (words.next(), words.next()) else {
        return Err("usage: training BACKSOON".into());
    };
    let load = Load::read(Path::new(env!("CARGO_MANIFEST_DIR")))?;
    let proxy = Proxy::start(Path::new(&binary), upstream::start().await?).await?;
    let visitors = Visitors::to(&proxy)?;
    for step in &load.steps {
        let begun = Instant::now();
        let asked = soon(&format!("{step:?}"), play(step, &load, &proxy, &visitors)).await?;
        let told = asked.map_err(|error| format!("{error}, in {step:?}"))?;
        println!("{:>6} ms  {told}", begun.elapsed().as_millis());
    }
    proxy.end().await
}

/// Plays a step, and tells what it was.
async fn play(step: &Step, load: &Load, proxy: &Proxy, visitors: &Visitors) -> Outcome<String> {
    let told = |word: &str, ask: &Ask| {
        format!("{word} {} over {:?}, {} × {}", ask.request, ask.over, ask.connections, ask.requests)
    };
    match step {
        Step::Ask(ask) => {
            visitors.ask(ask, &load.head(ask)?, Duration::ZERO).await?;
            Ok(told("ask", ask))
        }
        Step::Park(ask) => {
            visitors.ask(ask, &load.head(ask)?, UNTIL_PARKED).await?;
            Ok(told("park", ask))
        }
        Step::Socket(ask) => {
            socket::exchange(ask, &load.head(ask)?, proxy.clear).await?;
            Ok(told("socket", ask))
        }
        Step::Edit(edit) => {
            apply(edit, load, proxy, visitors).await?;
            Ok(format!("edit {:?}", edit.flags))
        }
        Step::Hold(ask) => {
            hold(ask, load, proxy, visitors).await?;
            Ok(told("hold", ask))
        }
    }
}

/// Writes the flag file, and asks until the proxy goes by it.
async fn apply(edit: &Edit, load: &Load, proxy: &Proxy, visitors: &Visitors) -> Outcome<()> {
    proxy.flag(&edit.flags)?;
    let Some(status) = edit.status else { return Ok(()) };
    // A page is served from its first instant, and compressed soon after: what is asked next is the compressed one.
    let ask = Ask::once("chromium-document");
    let head = load.head(&ask)?;
    loop {
        let answer = visitors.first_head(&ask, &head).await?;
        if http1::status(&answer)? == status && (status == 200 || answer.contains("content-encoding: br")) {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Sends a request over each connection to a route on hold, and lifts the flag once all are held.
async fn hold(ask: &Ask, load: &Load, proxy: &Proxy, visitors: &Visitors) -> Outcome<()> {
    proxy.flag("[routes]\nhooks = \"hold\"\n")?;
    while !visitors.metrics(proxy.admin).await?.contains("mode=\"hold\"} 1") {
        tokio::time::sleep(PAUSE).await;
    }
    let head = load.head(ask)?;
    let lifted = async {
        let all = format!("backsoon_requests_held{{route=\"hooks\"}} {}", ask.connections);
        while !visitors.metrics(proxy.admin).await?.contains(&all) {
            tokio::time::sleep(PAUSE).await;
        }
        proxy.flag("[routes]\n")
    };
    tokio::try_join!(visitors.ask(ask, &head, Duration::ZERO), lifted)?;
    Ok(())
}

/// Waits for something that comes soon or never.
///
/// # Errors
/// If it does not come.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> Outcome<T> {
    tokio::time::timeout(PATIENCE, future).await.map_err(|_| format!("waited too long for {what}").into())
}

/// Time limit of a step, which an instrumented program on a busy machine needs at most.
const PATIENCE: Duration = Duration::from_secs(120);
/// Pause between two looks at what comes soon.
const PAUSE: Duration = Duration::from_millis(20);
/// Pause after which an idle connection has been parked.
const UNTIL_PARKED: Duration = Duration::from_millis(2500);

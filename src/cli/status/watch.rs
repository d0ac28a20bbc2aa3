//! Watches replicas: by their events, or by requests if there are no events.

use std::cell::RefCell;
use std::io::Write as _;
use std::rc::Rc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::MissedTickBehavior;

use super::super::admin::{self, Endpoint, Offset};
use super::super::exit;
use super::super::failure::Failure;
use super::super::streams::Streams;
use super::{Answer, EVERY, PATIENCE, Replica, StatusArgs, health, shown, split};

/// An answer, and the offset of the clock if it was measured.
type Told = (Answer, Option<Offset>);

/// The latest answers that are not shown yet. A later one replaces an earlier one, so that nothing piles up.
struct Answers {
    latest: RefCell<Vec<Option<Told>>>,
    news: Notify,
}

/// The reason to look again.
enum Wake {
    /// The user has seen enough.
    Interrupt,
    Answers,
    /// Ages have grown, and files on disk may have changed.
    Tick,
}

/// Shows the status whenever it changes. The last one shown decides the exit code.
pub(super) async fn run(args: &StatusArgs, endpoints: &[Endpoint], streams: &mut Streams) -> Result<u8, Failure> {
    LocalSet::new().run_until(show(args, endpoints, streams)).await
}

async fn show(args: &StatusArgs, endpoints: &[Endpoint], streams: &mut Streams) -> Result<u8, Failure> {
    // The handler comes before the first status, since a reader of it may interrupt at once.
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::Internal)?;
    let in_place = streams.out_is_terminal() && !args.json;
    if in_place {
        streams.clear()?;
    }
    let answers = Rc::new(Answers { latest: RefCell::new(vec![]), news: Notify::new() });
    answers.latest.borrow_mut().resize_with(endpoints.len(), || None);
    let mut following = JoinSet::new();
    for (index, endpoint) in endpoints.iter().cloned().enumerate() {
        following.spawn_local(follow(index, endpoint, Rc::clone(&answers)));
    }
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut replicas: Vec<Option<Replica>> = endpoints.iter().map(|_| None).collect();
    let mut code = exit::OK;
    loop {
        let wake = tokio::select! {
            _ = interrupt.recv() => Wake::Interrupt,
            () = answers.news.notified() => Wake::Answers,
            _ = tick.tick() => Wake::Tick,
        };
        let news = match wake {
            Wake::Interrupt => return Ok(code),
            Wake::Answers => take(&mut replicas, endpoints, &answers),
            Wake::Tick => look_at_disk(&mut replicas),
        };
        let all: Option<Vec<&Replica>> = replicas.iter().map(Option::as_ref).collect();
        let Some(all) = all.filter(|_| news || in_place) else { continue };
        code = health(&all, args.scope()).code();
        let text = shown(args, &all);
        if in_place {
            streams.draw_over(&text)?;
        } else {
            write!(streams.out, "{text}")?;
        }
        streams.out.flush()?;
    }
}

/// Replaces the answers that have come anew. A replica's remarks about files on disk stay as long as they are true.
fn take(replicas: &mut [Option<Replica>], endpoints: &[Endpoint], answers: &Answers) -> bool {
    let mut latest = answers.latest.borrow_mut();
    for ((place, endpoint), answer) in replicas.iter_mut().zip(endpoints).zip(latest.iter_mut()) {
        let Some((answer, clock)) = answer.take() else { continue };
        let (before, known) = place.take().map(|replica| (replica.unread, replica.clock)).unwrap_or_default();
        // Events do not tell the time, so the offset measured last counts.
        let mut fresh = Replica::at(endpoint.clone(), answer, clock.or(known));
        fresh.unread.retain(|file| before.contains(file));
        *place = Some(fresh);
    }
    true
}

/// Looks at all files on disk. Returns true if the unread files have changed.
fn look_at_disk(replicas: &mut [Option<Replica>]) -> bool {
    let mut news = false;
    for replica in replicas.iter_mut().flatten() {
        news |= replica.look_at_disk();
    }
    news
}

/// Follows one listener for ever.
async fn follow(index: usize, endpoint: Endpoint, answers: Rc<Answers>) {
    loop {
        // An older proxy has no events, an ending one has no more, and a dead one cannot be reached. A request tells
        // which, and the time on the proxy's clock.
        let (answer, clock) = split(admin::status(&endpoint, PATIENCE).await);
        let known = clock;
        answers.put(index, answer, clock);
        let _ = admin::follow(&endpoint, |status| {
            let parsed = admin::parsed(status);
            answers.put(index, parsed.map(|parsed| (parsed, status.clone())), known);
        })
        .await;
        tokio::time::sleep(EVERY).await;
    }
}

impl Answers {
    fn put(&self, index: usize, answer: Answer, clock: Option<Offset>) {
        if let Some(place) = self.latest.borrow_mut().get_mut(index) {
            *place = Some((answer, clock));
        }
        self.news.notify_one();
    }
}

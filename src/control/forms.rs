//! Forms of the status site: answers their visits, on a thread of its own.
//!
//! A visit that subscribes is answered before the store is asked, so that the answer and its time say nothing of an
//! address. The other visits have a token, and wait for the outbox.

mod answer;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};

use crate::live::{FormCall, FormDesk};
use crate::outbox::address::Reach;
use crate::outbox::clerk::Clerk;
use crate::outbox::run::OutboxStatus;
use crate::plan::news::forms::Choices;
use crate::plan::news::forms::limits::Limits;
use crate::plan::news::notes::{Note, Office};
use crate::plan::page::{Renderer, STACK_FOR_TEMPLATES};
use crate::telemetry::{FormEnd, FormMeter};

/// Handle of the thread, which runs from the first scene on. Dropping it ends the thread.
pub(super) struct FormThread {
    /// End at which visits come out; `None` once the thread has it.
    desk: Option<FormDesk>,
    scenes: Option<watch::Sender<Option<Arc<Scene>>>>,
    thread: Option<JoinHandle<()>>,
}

/// All that answers are made of, as it is now.
#[derive(Debug)]
pub(super) struct Scene {
    /// Name of the site.
    pub(super) title: String,
    /// Choices.
    pub(super) choices: Choices,
    /// Renderer.
    pub(super) renderer: Arc<Renderer>,
    /// Reach of the outbox.
    pub(super) reach: Reach,
    /// Way to the outbox.
    pub(super) clerk: Clerk,
    /// State of the outbox.
    pub(super) status: watch::Receiver<OutboxStatus>,
}

impl FormThread {
    /// Creates the handle. Most proxies have no forms, and need no thread.
    pub(super) fn new(desk: FormDesk) -> Self {
        Self { desk: Some(desk), scenes: None, thread: None }
    }

    fn start(&mut self, desk: FormDesk) -> io::Result<()> {
        let (scenes, shown) = watch::channel(None);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let work = move || LocalSet::new().block_on(&runtime, run(desk, shown));
        let thread =
            std::thread::Builder::new().name("forms".to_owned()).stack_size(STACK_FOR_TEMPLATES).spawn(work)?;
        (self.scenes, self.thread) = (Some(scenes), Some(thread));
        Ok(())
    }

    /// Answers by another scene from now on; without one, nobody can subscribe.
    pub(super) fn show(&mut self, scene: Option<Scene>) {
        if scene.is_some()
            && let Some(desk) = self.desk.take()
            && let Err(error) = self.start(desk)
        {
            tracing::error!(%error, "nobody can subscribe by a form");
        }
        if let Some(scenes) = &self.scenes {
            scenes.send_replace(scene.map(Arc::new));
        }
    }
}

impl Drop for FormThread {
    fn drop(&mut self) {
        drop(self.scenes.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the forms has panicked");
        }
    }
}

/// Answers visits until the handle is dropped.
async fn run(desk: FormDesk, mut scenes: watch::Receiver<Option<Arc<Scene>>>) {
    let FormDesk { mut calls, meter } = desk;
    let (mut limits, began, mut waiting) = (Limits::default(), Instant::now(), JoinSet::new());
    loop {
        while waiting.try_join_next().is_some() {}
        let call = tokio::select! {
            call = calls.recv() => call,
            changed = scenes.changed() => match changed {
                Ok(()) => continue,
                Err(_) => break,
            },
        };
        let Some(call) = call else { break };
        let scene = scenes.borrow().clone();
        let Some(scene) = scene else { continue };
        if !call.visit.place.has_token() {
            let (note, end) = answer::subscribe(&scene, &mut limits, &call.visit, began.elapsed());
            finish(&scene, &meter, call, &note, end);
        } else if waiting.len() < MOST_WAITING {
            let meter = Arc::clone(&meter);
            waiting.spawn_local(async move {
                let (note, end) = answer::by_token(&scene, &call.visit).await;
                finish(&scene, &meter, call, &note, end);
            });
        } else {
            finish(&scene, &meter, call, &Note::Busy, Some(FormEnd::Busy));
        }
    }
}

/// Writes an answer, and sends it.
fn finish(scene: &Scene, meter: &FormMeter, call: FormCall, note: &Note, end: Option<FormEnd>) {
    if let Some(end) = end {
        meter.count(end);
    }
    let office = Office { title: &scene.title, renderer: &scene.renderer, choices: &scene.choices };
    // The client may have gone.
    let _ = call.reply.send(office.reply(note, &call.visit));
}

/// Visits that wait for the outbox.
const MOST_WAITING: usize = 64;

//! The trial of an edited page, on a thread of its own. A template that loops is tried for seconds, and no edit of the
//! flag file may wait for that.

use tokio::sync::mpsc;

use crate::plan::page::Renderers;
use crate::plan::problem::Problem;

use super::pages::{Checked, Unchecked};

/// Runner of one trial at a time. Only the outcome of the latest one counts.
#[derive(Debug)]
pub(super) struct PageTrial {
    sender: mpsc::UnboundedSender<Tried>,
    receiver: mpsc::UnboundedReceiver<Tried>,
    /// Number of the latest trial that was asked for.
    latest: u64,
    running: bool,
    /// Files to try when the running trial has ended.
    next: Option<(Unchecked, Renderers)>,
}

/// Outcome of a trial.
#[derive(Debug)]
pub(super) struct Tried {
    number: u64,
    pub(super) files: Unchecked,
    pub(super) checked: Checked,
}

impl PageTrial {
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self { sender, receiver, latest: 0, running: false, next: None }
    }

    /// Tries files, in place of all files that still wait for a trial. Those of a known renderer need none.
    pub(super) fn start(&mut self, files: Unchecked, known: Renderers) {
        self.latest += 1;
        if self.running {
            self.next = Some((files, known));
        } else {
            self.run(files, known);
        }
    }

    /// Forgets the trial, because the config has brought another page.
    pub(super) fn forget(&mut self) {
        self.latest += 1;
        self.next = None;
    }

    /// Waits for the outcome of the latest trial. Cancel safe.
    pub(super) async fn tried(&mut self) -> Tried {
        loop {
            // The sender is kept here, so that the channel never closes.
            let Some(tried) = self.receiver.recv().await else { std::future::pending().await };
            self.running = false;
            if let Some((next, known)) = self.next.take() {
                self.run(next, known);
            } else if tried.number == self.latest {
                return tried;
            }
        }
    }

    fn run(&mut self, files: Unchecked, known: Renderers) {
        let (number, sender, failed) = (self.latest, self.sender.clone(), self.sender.clone());
        let (tried, untried) = (files.clone(), files.clone());
        self.running = true;
        // Nobody waits any more if the process is ending.
        let then = move |checked| drop(sender.send(Tried { number, files: tried, checked }));
        if let Err(error) = files.check_beside(known, then) {
            let problem = Problem::in_file(untried.config_file(), format!("the templates cannot be checked: {error}"));
            let checked = untried.failed(problem);
            let _ = failed.send(Tried { number, files: untried, checked });
        }
    }
}

//! Signals: requests of the service manager and the terminal.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The request that a signal makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Reload,
    End(Grace),
}

/// Grace period in which idle connections are still answered. After Ctrl-C nobody wants to wait for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grace {
    Configured,
    None,
}

/// The signals that the process obeys.
#[derive(Debug)]
pub(crate) struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Handles the signals from now on. [`Signals::next`] also returns a signal that came before the call.
    ///
    /// # Errors
    /// If the system refuses.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for a signal. Cancel safe.
    pub(super) async fn next(&mut self) -> Command {
        tokio::select! {
            _ = self.hangup.recv() => Command::Reload,
            _ = self.terminate.recv() => Command::End(Grace::Configured),
            _ = self.interrupt.recv() => Command::End(Grace::None),
        }
    }
}

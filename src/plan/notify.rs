//! Messages to chats, webhooks and programs: what they say, their form for each receiver, and the rules for answers.
//!
//! Nothing is sent here. Every text from outside is shown as it is written: no markup in it has an effect, and nobody is
//! mentioned.

mod answer;
mod event;
mod fit;
pub mod formats;
mod notice;
mod transition;
mod watch;

pub use answer::{Answer, answer};
pub use event::{OperatorEvent, WindowFacts};
pub use formats::Body;
pub use notice::{Field, Notice, Piece, Tone};
pub use watch::Watch;

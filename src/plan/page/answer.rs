//! Answer of a page, and the tone in which it is given.

/// Answer of the page to its visitor's question: when is the service back?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// At a known time.
    Back,
    /// Later than planned.
    Late,
    /// Nobody knows.
    Unknown,
    /// In a moment: requests wait.
    Held,
    /// After the checks.
    Checking,
    /// After checks that take long.
    CheckingLong,
    /// Now, for more and more visitors.
    Returning,
    /// Nobody knows: the service had come back, and a problem was found.
    Problem,
    /// The service is there, and a maintenance is planned.
    Announced,
    /// The service is there.
    Open,
}

/// Tone in which a page gives its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tone {
    /// Everything goes as planned.
    Calm,
    /// Later than planned, or not certain yet.
    Warn,
    /// Something failed.
    Bad,
}

impl Answer {
    /// Returns the word for the answer; the keys of its messages end in it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Back => "back",
            Self::Late => "late",
            Self::Unknown => "unknown",
            Self::Held => "held",
            Self::Checking => "checking",
            Self::CheckingLong => "checking-long",
            Self::Returning => "returning",
            Self::Problem => "problem",
            Self::Announced => "announced",
            Self::Open => "open",
        }
    }
}

impl Tone {
    /// Returns the word for the tone, which is a class of the page.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

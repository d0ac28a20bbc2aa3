//! The load as `load.toml` tells it.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::Outcome;

/// The steps, and the heads of their requests.
#[derive(Debug)]
pub(crate) struct Load {
    /// What is done, in this order.
    pub(crate) steps: Vec<Step>,
    requests: HashMap<String, Head>,
}

/// A step of the load.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Step {
    /// Sends requests over some connections, on each one after the other.
    Ask(Ask),
    /// Writes the flag file.
    Edit(Edit),
    /// Sends requests to a route on hold, and lifts its flag once they are held.
    Hold(Ask),
    /// Sends requests with pauses, in which idle connections are parked.
    Park(Ask),
    /// Exchanges messages over WebSockets.
    Socket(Ask),
}

/// The requests of a step.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Ask {
    /// Name of the file with the head.
    pub(crate) request: String,
    /// Route that is asked.
    #[serde(default)]
    pub(crate) route: Route,
    /// Path in place of the recorded one.
    pub(crate) path: Option<String>,
    /// Fields that are left out.
    #[serde(default)]
    pub(crate) without: Vec<String>,
    /// Bytes of the body.
    pub(crate) body: Option<usize>,
    /// Status of every answer.
    #[serde(default)]
    pub(crate) status: Expected,
    /// Protocol.
    #[serde(default)]
    pub(crate) over: Protocol,
    /// Number of connections.
    pub(crate) connections: usize,
    /// Requests at a time on each connection, over HTTP/2.
    #[serde(default = "one")]
    pub(crate) streams: usize,
    /// Number of requests of each connection.
    #[serde(default = "one")]
    pub(crate) requests: usize,
}

/// A change of the flag file.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Edit {
    /// Content of the file.
    pub(crate) flags: String,
    /// Status by which the change is seen to be in force.
    pub(crate) status: Option<u16>,
}

/// A route of the proxy.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Route {
    /// The web application.
    #[default]
    Web,
    /// One that may be read while it is written to nowhere.
    Notes,
    /// One whose requests wait.
    Hooks,
}

impl Route {
    /// Returns the host by which the route is chosen.
    pub(crate) fn host(self) -> &'static str {
        match self {
            Self::Web => "app.example.com",
            Self::Notes => "notes.example.com",
            Self::Hooks => "hooks.example.com",
        }
    }
}

/// A protocol between client and proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Protocol {
    /// HTTP/1.1 in clear text.
    #[default]
    Http1,
    /// HTTP/1.1 over TLS.
    Tls,
    /// HTTP/2 in clear text.
    H2,
    /// HTTP/2 over TLS.
    H2Tls,
}

/// The statuses that a step takes.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Expected {
    /// This one alone.
    One(u16),
    /// Any of those that a route gives which is half open.
    Some(Either),
}

/// The word for an answer of the application or the page.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Either {
    /// 200 or 503.
    Either,
}

impl Default for Expected {
    fn default() -> Self {
        Self::One(200)
    }
}

impl Expected {
    /// # Errors
    /// If the step does not take this status.
    pub(crate) fn check(self, status: u16) -> Outcome<()> {
        let fits = match self {
            Self::One(expected) => status == expected,
            Self::Some(Either::Either) => [200, 503].contains(&status),
        };
        if fits { Ok(()) } else { Err(format!("answered {status}, expected {self:?}").into()) }
    }
}

/// A recorded head of a request.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// Method.
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    /// Fields in their order, without `Host` and `Content-Length`.
    pub(crate) fields: Vec<(String, String)>,
}

impl Head {
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut words = lines.next()?.split(' ');
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        let fields = lines.map(|line| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned())));
        Some(Self { method, path, fields: fields.collect::<Option<_>>()? })
    }

    /// Returns the head in the form of HTTP/1.1.
    pub(crate) fn http1(&self, ask: &Ask) -> String {
        let mut text = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", self.method, self.path, ask.route.host());
        for (name, value) in &self.fields {
            text += &format!("{name}: {value}\r\n");
        }
        if let Some(length) = ask.body {
            text += &format!("Content-Length: {length}\r\n");
        }
        text + "\r\n"
    }
}

impl Load {
    /// Reads `load.toml` and `requests/` in this folder.
    ///
    /// # Errors
    /// If a file cannot be read or understood.
    pub(crate) fn read(folder: &Path) -> Outcome<Self> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            steps: Vec<Step>,
        }
        let File { steps } = toml::from_str(&fs::read_to_string(folder.join("load.toml"))?)?;
        let mut requests = HashMap::new();
        for entry in fs::read_dir(folder.join("requests"))? {
            let path = entry?.path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let head = Head::parse(&fs::read_to_string(&path)?).ok_or_else(|| format!("{name} is no head"))?;
            requests.insert(name, head);
        }
        Ok(Self { steps, requests })
    }

    /// Returns the head of a step's requests.
    ///
    /// # Errors
    /// If there is none of this name.
    pub(crate) fn head(&self, ask: &Ask) -> Outcome<Head> {
        let mut head =
            self.requests.get(&ask.request).cloned().ok_or_else(|| format!("no request {:?}", ask.request))?;
        head.fields.retain(|(name, _)| !ask.without.iter().any(|left_out| name.eq_ignore_ascii_case(left_out)));
        if let Some(path) = &ask.path {
            head.path.clone_from(path);
        }
        Ok(head)
    }
}

fn one() -> usize {
    1
}

//! `backsoon explain`: tells what would happen to a request, and why. The decision is made by the proxy's own code.

mod fields;
mod matched;
mod report;

use std::io::Write as _;
use std::net::IpAddr;
use std::path::Path;

use clap::Args;
use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use jiff::Timestamp;

use crate::control::load::{self, Loaded};
use crate::control::state::StateDir;
use crate::plan::compile::Memory;
use crate::plan::config::{Config, Listen, Serves};

use super::behind::Behind;
use super::failure::Failure;
use super::flag_file::with_option;
use super::place::Place;
use super::streams::Streams;
use super::{ConfigFile, exit, words};

/// The arguments of `explain`.
#[derive(Args, Debug)]
pub(super) struct Explain {
    /// URL of the request: https://www.example.com/app, www.example.com/app, or /app
    #[arg(value_parser = parse_url)]
    url: Uri,
    /// The method
    #[arg(short = 'X', long, default_value = "GET", value_parser = parse_method)]
    method: Method,
    /// A header field; `Host`, `Accept`, `Accept-Language`, `Content-Type`, `Sec-Fetch-Dest` … make a difference
    #[arg(short = 'H', long, value_name = "NAME: VALUE", value_parser = parse_header)]
    header: Vec<(HeaderName, HeaderValue)>,
    /// The address that the request comes from, which `bypass` and `ramp` look at
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    from: Option<IpAddr>,
    /// The listener that the request comes to: its name, or its address
    #[arg(long, value_name = "LISTENER")]
    listener: Option<String>,
    /// As of this instant: 2026-05-19T15:00:00Z
    #[arg(long, value_name = "INSTANT", value_parser = words::parse_instant)]
    at: Option<Timestamp>,
    /// Write it as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigFile,
}

/// Help text below the options.
pub(super) const AFTER_HELP: &str = "\
Reads the files as they are now, with the saved state of the routes (but not with --at). If the running proxy goes by \
an earlier content of the flag file, a note says so and why. The scheme and the port of the URL make no \
difference: name the listener instead. A bypass or a ramp depends on --from, and with `trusted_proxies` on \
-H 'X-Forwarded-For: …'.

Examples:
  backsoon explain https://www.example.com/app
  backsoon explain /api/orders -X POST -H 'Host: api.example.com' -H 'Accept: application/json'
  backsoon explain www.example.com --at 2026-05-19T14:30:00Z
  backsoon explain www.example.com --from 192.0.2.7        may this client pass?
  backsoon explain www.example.com --listener 0.0.0.0:80    is it redirected to https?

Exit codes:
  0   explained, whatever the verdict
  64  the arguments, the config or the flag file are wrong";

/// Parts of a request that the decision and the page depend on.
#[derive(Debug)]
struct ExplainedRequest {
    method: Method,
    host: String,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
    from: Option<IpAddr>,
}

impl ExplainedRequest {
    /// Returns path and query.
    fn target(&self) -> String {
        self.query.as_ref().map_or_else(|| self.path.clone(), |query| format!("{}?{query}", self.path))
    }
}

/// Explains the verdict for a request.
pub(super) fn run(args: &Explain, streams: &mut Streams) -> Result<u8, Failure> {
    let file = &args.config.config;
    let loaded = load::once(file).map_err(|problems| Failure::Problems(with_option(file, problems)))?;
    if args.at.is_none()
        && let Some(behind) = Behind::find(file, &Place::of(&loaded.config))
    {
        streams.note(behind)?;
    }
    let at = args.at.unwrap_or_else(Timestamp::now);
    let memory = match args.at {
        None => memory(file, &loaded, streams)?,
        Some(_) => Memory::default(),
    };
    let snapshot = loaded.snapshot_of(memory, at);
    let listen = listener(args, &loaded.config)?;
    let report = report::explain(&loaded, &snapshot, (&request_of(args), listen), at);
    if args.json {
        let json = serde_json::to_value(&report).map_err(|error| Failure::Output(error.into()))?;
        writeln!(streams.data(), "{json:#}")?;
    } else {
        write!(streams.out, "{}", report.text(at))?;
    }
    Ok(exit::OK)
}

/// Finds the listener that is meant. A config with a single one has no other.
fn listener<'c>(args: &Explain, config: &'c Config) -> Result<Option<&'c Listen>, Failure> {
    let mut listeners = config.listen.iter().filter(|listen| listen.serves == Serves::Routes);
    let Some(name) = &args.listener else {
        let first = listeners.next();
        return Ok(first.filter(|_| listeners.next().is_none()));
    };
    let names = |listen: &Listen| listen.address.to_string();
    let found = config.listen.iter().find(|listen| listen.name.as_ref() == Some(name) || names(listen) == *name);
    let unknown = || {
        let known = config.listen.iter().map(|listen| listen.name.clone().unwrap_or_else(|| names(listen))).collect();
        Failure::NoListener { name: name.clone(), known }
    };
    found.map(Some).ok_or_else(unknown)
}

/// Reads the saved state of the routes, because a route that is coming back is no longer in the flag file.
fn memory(config_file: &Path, loaded: &Loaded, streams: &mut Streams) -> Result<Memory, Failure> {
    match StateDir::of_process(config_file, loaded.config.state_dir.as_deref()).peek() {
        Ok(memory) => Ok(memory),
        Err(error) => {
            streams
                .note(format_args!("the saved state cannot be read: {error}; guard and checks are not considered"))?;
            Ok(Memory::default())
        }
    }
}

fn request_of(args: &Explain) -> ExplainedRequest {
    let headers: HeaderMap = args.header.iter().cloned().collect();
    // A `Host` field on the command line wins, as with curl.
    let given = headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = given.or_else(|| args.url.authority().map(|authority| authority.as_str())).unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default().to_owned();
    let path = args.url.path().to_owned();
    ExplainedRequest {
        method: args.method.clone(),
        host,
        path,
        query: args.url.query().map(str::to_owned),
        headers,
        from: args.from,
    }
}

/// Parses a URL as people type and paste it, with or without the scheme and the host.
fn parse_url(text: &str) -> Result<Uri, String> {
    let text = text.split_once('#').map_or(text, |(before, _)| before);
    let whole = if text.starts_with('/') || text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    whole.parse::<Uri>().map_err(|error| format!("{error}; write one like `https://www.example.com/app` or `/app`"))
}

fn parse_address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "write one like `192.0.2.7` or `2001:db8::7`".to_owned())
}

fn parse_method(text: &str) -> Result<Method, String> {
    Method::from_bytes(text.to_ascii_uppercase().as_bytes()).map_err(|_| "write one like `POST`".to_owned())
}

fn parse_header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("write it like `Accept: text/html`")?;
    let name = HeaderName::try_from(name.trim()).map_err(|_| "this is not the name of a field".to_owned())?;
    let value = HeaderValue::try_from(value.trim()).map_err(|_| "this is not the value of a field".to_owned())?;
    Ok((name, value))
}

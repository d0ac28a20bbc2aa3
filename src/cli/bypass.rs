//! `backsoon bypass`: makes a link that lets its reader pass a closed route, lists links, or revokes them.

mod links;

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use clap::Args;
use http::Uri;
use jiff::{SignedDuration, Timestamp};

use crate::control::certs;
use crate::control::edit::windows;
use crate::control::state::StateDir;
use crate::files::source;
use crate::files::write::Emptied;
use crate::plan::compile::{Inputs, Known, compile};
use crate::plan::config::{Address, Config, Cookies, HostPattern, RouteConfig};
use crate::plan::flags::{Flags, Link};
use crate::plan::page::Renderers;
use crate::plan::pass::{Binding, Key, Purpose, Token, millis, pass_cookie};
use crate::plan::snapshot::{LONG, Source};

use super::confirm::Wish;
use super::edit::{self, TableRef};
use super::failure::{EditFailure, Failure, Force};
use super::flag_file::FlagFile;
use super::remains::Asked;
use super::site::{Site, SiteArgs};
use super::streams::Streams;
use super::{ConfigFile, exit, words};

/// The arguments of `bypass`.
#[derive(Args, Debug)]
pub(super) struct Bypass {
    /// The route, by its name in the config; with --revoke, '*' is every route
    #[arg(value_name = "ROUTE", required_unless_present_any = ["list", "revoke"])]
    route: Option<String>,
    /// Give the link a name, under which the flag file lists it: only there it is good
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    name: Option<String>,
    /// For how long the link and its cookie are good: 30m, 1h, 2h 30m
    #[arg(long = "for", value_name = "TIME", value_parser = words::parse_span, default_value = "1h")]
    span: SignedDuration,
    /// The window's id, if it is not the maintenance in force or the next one
    #[arg(long, value_name = "ID")]
    window: Option<String>,
    /// The page that the link opens: https://www.example.com/app
    #[arg(long, value_name = "URL", value_parser = parse_url)]
    url: Option<Uri>,
    /// Print the cookie itself, for a script
    #[arg(long)]
    cookie: bool,
    /// Write it as JSON
    #[arg(long)]
    json: bool,
    /// List the links that have a name
    #[arg(long, conflicts_with_all = ["span", "window", "url", "cookie", "name", "revoke"])]
    list: bool,
    /// Revoke the link of this name; without NAME, every link and cookie that was issued for the route until now
    #[arg(
        long,
        value_name = "NAME",
        num_args = 0..=1,
        default_missing_value = "",
        conflicts_with_all = ["span", "window", "url", "cookie", "json", "name"]
    )]
    revoke: Option<String>,
    #[command(flatten)]
    config: ConfigFile,
}

/// Help text below the options.
pub(super) const AFTER_HELP: &str = "\
The link is signed with the route's secret (`bypass = { secret_file = \"key\" }`); no running proxy is needed. The link is \
good for one route and one maintenance: as long as the route stays closed, whatever closes it. Opening it sets a cookie, and its browser passes until the time is over. \
--name, --revoke and --list use the flag file, which never holds the \
secret. A name has one link: a new one replaces it.

Examples:
  backsoon bypass web                               a link for an hour
  backsoon bypass web --for 4h --window MNT-2026-0519-a
  backsoon bypass web --url https://www.example.com/app
  curl -b \"$(backsoon bypass web --cookie)\" https://www.example.com/
  backsoon bypass web --name ann                    listed, and revoked by its name
  backsoon bypass --list
  backsoon bypass --revoke ann
  backsoon bypass web --revoke                      all of them

Exit codes:
  0   the link is printed, or what was issued is revoked
  64  the arguments, the config, the secret or the flag file are wrong
  74  the flag file cannot be read or written";

/// Makes a link, or revokes all links of a route.
pub(super) fn run(args: &Bypass, streams: &mut Streams) -> Result<u8, Failure> {
    let file = FlagFile::of(&args.config.config)?;
    let now = Timestamp::now();
    if args.list {
        return links::list(args, &file.flags()?, streams);
    }
    match (args.revoke.as_deref(), args.route.as_deref()) {
        (Some(""), Some(route)) => return revoke(args, route, &file, streams),
        (Some(name), _) => return links::revoke(args, name, &file.flags()?, streams),
        (None, _) => {}
    }
    let name = args.route.as_deref().unwrap_or_default();
    let route = route_of(&file.config, name)?;
    let key = key(route)?;
    let flags = file.flags()?;
    let scope = scope(args, name, &file, &flags, now)?;
    // Whole seconds, because people read the end.
    let whole = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let expires = whole.checked_add(args.span).map_err(|_| Failure::Edit(EditFailure::Past))?;
    let token = Token {
        issued: millis(scope.issued),
        expires: millis(expires),
        begins: millis(scope.begins),
        window: scope.ahead.as_deref().unwrap_or_default(),
        name: args.name.as_deref().unwrap_or_default(),
        ..Token::default()
    };
    let sign = |purpose| key.sign(Binding { purpose, route: &route.name }, token);
    let cookie = format!("{}={}", pass_cookie(&route.name), sign(Purpose::Pass));
    let link = || {
        let (origin, path) = destination(args, &file.config, route)?;
        let prefix = file.config.page.prefix.as_str();
        Ok::<_, Failure>(format!("{origin}{prefix}/bypass{path}?token={}", sign(Purpose::Link)))
    };
    let made = if args.cookie { cookie } else { link()? };
    if let Some(name) = &args.name {
        let issued = Timestamp::from_millisecond(scope.issued.as_millisecond()).unwrap_or(scope.issued);
        let link = Link { name: name.clone(), route: route.name.clone(), issued, expires };
        links::write(args, &link, &flags, streams)?;
    }
    if args.json {
        let what = if args.cookie { "cookie" } else { "link" };
        let json = serde_json::json!({ "route": route.name, "window": scope.window, "expires": expires, what: made });
        writeln!(streams.data(), "{json:#}")?;
        return Ok(exit::OK);
    }
    writeln!(streams.out, "{made}")?;
    let until = format!("{} ({})", words::instant(expires, now), words::span(now, expires));
    let during = match (&scope.ahead, &scope.window) {
        (Some(id), _) => format!("from the start of window {id}, while it stays closed"),
        (None, Some(id)) => format!("while it stays closed (window {id})"),
        (None, None) => "while it stays closed".to_owned(),
    };
    streams.note(format_args!("good for {} until {until}, {during}", route.name))?;
    if let Some(id) = scope.ahead.filter(|_| expires <= scope.begins) {
        streams.note(format_args!("warning: it expires before window {id} begins; give it more time by `--for`"))?;
    }
    if args.span > LONG {
        let help = "anybody with the link passes for so long; `--revoke` voids a link early";
        streams.note(format_args!("warning: this is longer than a day: {help}"))?;
    }
    Ok(exit::OK)
}

fn revoke(args: &Bypass, name: &str, file: &FlagFile, streams: &mut Streams) -> Result<u8, Failure> {
    let now = Timestamp::now();
    if name != "*" {
        route_of(&file.config, name)?;
    }
    // Rounded up, so that a token issued in this same millisecond is void.
    let instant = Timestamp::from_millisecond(now.as_millisecond() + 1).unwrap_or(now);
    let keys = [(name, Some(instant.to_string()))];
    let site = Site::find(&SiteArgs::of(&args.config))?;
    let edited = site
        .edit(Emptied::Refused, |text| edit::set(text, TableRef::TopLevel("revoked"), &keys).map(|text| (text, ())))?;
    let name = if name == "*" { "every route" } else { name };
    writeln!(streams.out, "every link and cookie that was issued for {name} before now is void")?;
    let mut confirmation = site.confirmation(edited.text, Asked(Vec::new()), Wish::Taken)?;
    confirmation.ask();
    confirmation.tell(streams)?;
    Ok(exit::OK)
}

fn route_of<'c>(config: &'c Config, name: &str) -> Result<&'c Arc<RouteConfig>, Failure> {
    let known = || config.routes.iter().map(|route| route.name.clone()).collect();
    let route = config.routes.iter().find(|route| route.name == name);
    route.ok_or_else(|| {
        Failure::Edit(EditFailure::NoRoute { name: name.to_owned(), known: known(), force: Force::Impossible })
    })
}

fn key(route: &RouteConfig) -> Result<Key, Failure> {
    let secret = route.policy.bypass.as_ref().and_then(|bypass| bypass.secret_file.as_ref());
    let secret = secret.ok_or_else(|| Failure::NoSecret { route: route.name.clone() })?;
    let read = |path: &Path| source::read(path).content;
    certs::secret(secret, read).map_err(|problem| Failure::Problems(vec![problem]))
}

/// Maintenance that a link is for.
struct Scope {
    /// Time of issue.
    issued: Timestamp,
    /// Instant within the maintenance.
    begins: Timestamp,
    /// Window that is still to begin.
    ahead: Option<String>,
    /// Window in force, or still to begin.
    window: Option<String>,
}

/// Finds the maintenance that the link is for: the one in force as the proxy remembers it, or the next one.
fn scope(args: &Bypass, name: &str, file: &FlagFile, flags: &Flags, now: Timestamp) -> Result<Scope, Failure> {
    let state = StateDir::of_process(&args.config.config, file.config.state_dir.as_deref());
    let known = Known { memory: state.peek().unwrap_or_default(), ..Known::default() };
    // Only the closures matter here, so the built-in page is enough.
    let renderers = Renderers::built_in();
    let config = &file.config;
    let snapshot =
        compile(Inputs { config, flags, renderers: &renderers, known: &known, previous: None, now, generation: 1 });
    let route = snapshot.route(name);
    let closure = route.and_then(|route| route.closure.as_ref());
    // The local clock may be behind. A token of the same millisecond as a revocation counts as issued after it.
    let before = [flags.revoked(name), closure.map(|closure| closure.open_before)];
    let issued = before.into_iter().flatten().fold(now, Timestamp::max);
    let ahead = match &args.window {
        Some(id) => named_window(id, flags, now)?,
        None if closure.is_some() => None,
        None => next_window(flags, name, now),
    };
    let in_force = || match closure.map(|closure| &closure.source) {
        Some(Source::Window(id)) => Some(id.clone()),
        Some(Source::Flag | Source::Switch(_)) | None => None,
    };
    Ok(match ahead {
        Some((begins, id)) => Scope { issued, begins, ahead: Some(id.clone()), window: Some(id) },
        None => Scope { issued, begins: issued, ahead: None, window: in_force() },
    })
}

/// Returns the next start of the window of an id; `None` if it is in force, or for `flag`. A window called `flag` comes
/// before the flag itself.
fn named_window(id: &str, flags: &Flags, now: Timestamp) -> Result<Option<(Timestamp, String)>, Failure> {
    if id == "flag" && flags.window(id).is_none() {
        return Ok(None);
    }
    let window = windows::window(flags, id)?;
    if window.in_force(now).is_some() {
        return Ok(None);
    }
    let starts = window.next_start(now).ok_or_else(|| Failure::WindowOver { id: id.to_owned() })?;
    Ok(Some((starts, id.to_owned())))
}

/// Returns the next window of a route; `None` if none is planned.
fn next_window(flags: &Flags, route: &str, now: Timestamp) -> Option<(Timestamp, String)> {
    let own = flags.windows.iter().filter(|window| window.routes.iter().any(|(target, _)| target.is(route)));
    own.filter_map(|window| Some((window.next_start(now)?, window.id.clone()))).min_by_key(|(starts, _)| *starts)
}

/// Returns the origin and the path that the link leads to.
fn destination(args: &Bypass, config: &Config, route: &RouteConfig) -> Result<(String, String), Failure> {
    let allows_http = route.policy.cookies == Cookies::AlsoHttp;
    if let Some(url) = &args.url {
        let scheme = url.scheme_str().unwrap_or("https");
        if scheme != "https" && !allows_http {
            return Err(Failure::NotHttps { route: route.name.clone() });
        }
        let authority = url.authority().map(|authority| authority.as_str()).unwrap_or_default();
        return Ok((format!("{scheme}://{authority}"), url.path().to_owned()));
    }
    let no_url = || Failure::NoUrl { route: route.name.clone() };
    let exact = route.hosts.iter().find_map(|host| match host {
        HostPattern::Exact(host) => Some(host),
        HostPattern::Below(_) => None,
    });
    let port = |tls: bool| {
        config.listen.iter().filter(|listen| listen.tls.is_some() == tls).find_map(|listen| match listen.address {
            Address::Ip(address) => Some(address.port()),
            Address::Unix(_) => None,
        })
    };
    let secure = port(true).map(|port| ("https", port, 443));
    let address = secure.or_else(|| port(false).filter(|_| allows_http).map(|port| ("http", port, 80)));
    let (host, (scheme, port, usual)) = (exact.ok_or_else(no_url)?, address.ok_or_else(no_url)?);
    let port = if port == usual { String::new() } else { format!(":{port}") };
    // A pattern is no path that a browser could open.
    let path = route.paths.iter().find(|path| path.is_prefix()).ok_or_else(no_url)?;
    Ok((format!("{scheme}://{host}{port}"), path.as_str().to_owned()))
}

/// Reads the name of a link: what a route's name may be.
fn parse_name(text: &str) -> Result<String, String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if (1..=64).contains(&text.len()) && !text.starts_with('-') && text.chars().all(is_part) {
        Ok(text.to_owned())
    } else {
        Err("a name has 1 to 64 letters, digits, `_`, `.` and `-`".to_owned())
    }
}

fn parse_url(text: &str) -> Result<Uri, String> {
    let help = "write one like `https://www.example.com/app`";
    let url = text.parse::<Uri>().map_err(|error| format!("{error}; {help}"))?;
    match url.scheme_str() {
        Some("https" | "http") => Ok(url),
        Some(scheme) => Err(format!("a browser does not open {scheme}: here; {help}")),
        None => Err(help.to_owned()),
    }
}

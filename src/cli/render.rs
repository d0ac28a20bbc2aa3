//! `backsoon render`: the page that would be shown, made by what makes it in earnest.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use jiff::Timestamp;

use crate::control::load::{self, Loaded};
use crate::plan::compile::{Inputs, compile};
use crate::plan::flags::{Flag, Flags, Mode, Target, Window};
use crate::plan::page::{Dialect, Page};

use super::failure::{Failure, Force};
use super::flag_file::with_option;
use super::streams::Streams;
use super::write;
use super::{ConfigFile, exit, words};

/// The arguments of `render`.
#[derive(Args, Debug)]
pub(super) struct Render {
    /// The page of this route
    #[arg(short, long, value_name = "NAME", conflicts_with = "window")]
    route: Option<String>,
    /// The page of this window, whenever it is
    #[arg(short, long, value_name = "ID")]
    window: Option<String>,
    /// The form of the page
    #[arg(long = "as", value_enum, default_value_t = Form::Html, value_name = "DIALECT")]
    form: Form,
    /// Write it into this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// As of this instant: 2026-05-19T15:00:00Z
    #[arg(long, value_name = "INSTANT", value_parser = words::parse_instant)]
    at: Option<Timestamp>,
    #[command(flatten)]
    config: ConfigFile,
}

/// The dialects as arguments.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// A document for people
    Html,
    /// application/problem+json (RFC 9457)
    Json,
    /// Plain text
    Text,
}

/// What stands below the options.
pub(super) const AFTER_HELP: &str = "\
The bytes go to standard output. Without --route and --window it is the page of the first route that is flagged. Where \
nothing is flagged it is a preview: what the page would be if the route were taken offline now.

Examples:
  backsoon render -o page.html
  backsoon render --window MNT-2026-0519-a --as text
  backsoon render --route api --as json --at 2026-05-19T14:30:00Z

Exit codes:
  0   written
  64  the arguments, the config or the flag file are wrong
  74  the file cannot be written";

/// Writes the page.
pub(super) fn run(args: &Render, streams: &mut Streams) -> Result<u8, Failure> {
    let file = &args.config.config;
    let loaded = load::once(file).map_err(|problems| Failure::Problems(with_option(file, problems)))?;
    let now = args.at.unwrap_or_else(Timestamp::now);
    let page = match &args.window {
        Some(id) => of_window(&loaded, id, now)?,
        None => of_route(&loaded, args.route.as_deref(), now, streams)?,
    };
    let rendered = page.rendered(match args.form {
        Form::Html => Dialect::Html,
        Form::Json => Dialect::Json,
        Form::Text => Dialect::Text,
    });
    match &args.output {
        Some(path) => {
            write::atomically(path, &rendered.body).map_err(Failure::Page)?;
            streams.note(format_args!("wrote {} bytes to {}", rendered.body.len(), path.display()))?;
        }
        None => streams.out.write_all(&rendered.body)?,
    }
    Ok(exit::OK)
}

/// The page of a window as it is when it comes; when it is under way, as it is now.
fn of_window(loaded: &Loaded, id: &str, now: Timestamp) -> Result<Arc<Page>, Failure> {
    let known = || loaded.flags.windows.iter().map(|window| window.id.clone()).collect();
    let window = loaded.flags.windows.iter().find(|window| window.id == id);
    let window = window.ok_or_else(|| Failure::NoWindow { id: id.to_owned(), known: known() })?;
    let at = if (window.starts..window.ends).contains(&now) { now } else { window.starts };
    // Alone, and for every route: what else is flagged then, and which routes this proxy has, is not the question.
    let alone = Window { routes: vec![(Target::Every, Mode::Offline)], ..window.clone() };
    let flags = Flags { routes: Vec::new(), windows: vec![alone] };
    Ok(of_every(loaded, &flags, at))
}

fn of_route(loaded: &Loaded, name: Option<&str>, now: Timestamp, streams: &mut Streams) -> Result<Arc<Page>, Failure> {
    if let Some(name) = name {
        known(loaded, name)?;
    }
    let mut live = pages(loaded, &loaded.flags, now);
    live.retain(|(route, _)| name.is_none_or(|name| name == route));
    let others = live.iter().filter(|(_, page)| !Arc::ptr_eq(page, &live[0].1)).count();
    if others > 0 {
        let (first, _) = &live[0];
        streams
            .note(format_args!("this is the page of `{first}`; others are flagged with words of their own: --route"))?;
    }
    if let Some((_, page)) = live.into_iter().next() {
        return Ok(page);
    }
    let route = name.unwrap_or_else(|| loaded.config.routes.first().map_or("*", |route| &route.name));
    streams.note(format_args!("`{route}` is not flagged then; this is a preview, as if it were taken offline"))?;
    let flag = Flag { route: Target::Every, mode: Mode::Offline, until: None, message: None };
    Ok(of_every(loaded, &Flags { routes: vec![flag], windows: Vec::new() }, now))
}

fn known(loaded: &Loaded, name: &str) -> Result<(), Failure> {
    let known: Vec<String> = loaded.config.routes.iter().map(|route| route.name.clone()).collect();
    if known.iter().any(|known| known == name) {
        return Ok(());
    }
    Err(Failure::NoRoute { name: name.to_owned(), known, force: Force::Impossible })
}

/// The page of flags that close every route.
fn of_every(loaded: &Loaded, flags: &Flags, at: Timestamp) -> Arc<Page> {
    pages(loaded, flags, at).into_iter().next().expect("a config has a route, and every route is closed").1
}

/// The pages of the routes that these flags close at an instant, by the routes' names.
fn pages(loaded: &Loaded, flags: &Flags, now: Timestamp) -> Vec<(String, Arc<Page>)> {
    let snapshot = compile(Inputs { config: &loaded.config, flags, previous: None, now, generation: 1 });
    let closed = snapshot.routes.into_iter();
    closed.filter_map(|route| Some((route.config.name.clone(), Arc::clone(&route.closure?.page)))).collect()
}

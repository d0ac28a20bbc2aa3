//! `backsoon render`: writes the page that would be shown, made by the proxy's own code.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use jiff::Timestamp;

use crate::control::load::{self, Loaded};
use crate::plan::accept::{self, Coding};
use crate::plan::compile::{Inputs, Known, compile};
use crate::plan::dialect::Dialect;
use crate::plan::flags::{Flag, Flags, Mode, Target, Window};
use crate::plan::page::{Page, Variant, samples};

use super::failure::{Failure, Force};
use super::flag_file::with_option;
use super::streams::Streams;
use super::{ConfigFile, exit, words};
use crate::files::write;

/// The arguments of `render`.
#[derive(Args, Debug)]
pub(super) struct Render {
    /// The page of this route
    #[arg(short, long, value_name = "NAME", conflicts_with_all = ["window", "sample"])]
    pub(super) route: Option<String>,
    /// The page of this window, whenever it is
    #[arg(short, long, value_name = "ID", conflicts_with = "sample")]
    pub(super) window: Option<String>,
    /// A page with sample data instead of the flag file's
    #[arg(long, value_enum, value_name = "WIDTH")]
    pub(super) sample: Option<Sample>,
    /// The form of the page
    #[arg(long = "as", default_value = "html", value_name = "DIALECT", value_parser = form_parser())]
    form: Form,
    /// The language of the page: en, de, … (default: that of the config)
    #[arg(short, long, value_name = "TAG")]
    pub(super) lang: Option<String>,
    /// Write it into this file
    #[arg(short, long, value_name = "FILE", conflicts_with = "serve")]
    output: Option<PathBuf>,
    /// As of this instant: 2026-05-19T15:00:00Z
    #[arg(long, value_name = "INSTANT", value_parser = words::parse_instant, conflicts_with_all = ["watch", "serve"])]
    at: Option<Timestamp>,
    /// Go on, and write it again whenever a file changes
    #[arg(long)]
    watch: bool,
    /// Show it in a browser, where it follows every edit of the config, the flag file, templates and messages
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = "127.0.0.1:8081")]
    serve: Option<SocketAddr>,
    #[command(flatten)]
    config: ConfigFile,
}

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Page(Dialect),
    /// The badge, which is not a page.
    Badge,
}

/// Returns a parser for the names of the dialects and of the badge.
fn form_parser() -> impl TypedValueParser<Value = Form> {
    let words = Dialect::ALL.into_iter().map(|dialect| PossibleValue::new(dialect.as_str()).help(about(dialect)));
    let badge = PossibleValue::new(BADGE).help("A badge (SVG)");
    PossibleValuesParser::new(words.chain([badge])).map(|word| {
        let dialect = Dialect::ALL.into_iter().find(|dialect| dialect.as_str() == word);
        dialect.map_or(Form::Badge, Form::Page)
    })
}

fn about(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Html => "A document for people",
        Dialect::Text => "Plain text, what curl gets",
        Dialect::Markdown => "Markdown",
        Dialect::Problem => "application/problem+json (RFC 9457)",
        Dialect::Json => "The same as application/json",
        Dialect::Xml => "application/problem+xml",
        Dialect::Short => "One line, for scripts, pictures and refused upgrades",
        Dialect::Grpc => "gRPC: the head",
        Dialect::GrpcWeb => "gRPC-Web",
        Dialect::GrpcWebText => "gRPC-Web in base64",
        Dialect::Connect => "A unary call of Connect",
        Dialect::ConnectStreamJson => "A stream of Connect, in JSON",
        Dialect::ConnectStreamProto => "A stream of Connect, in Protocol Buffers",
        Dialect::Events => "What an EventSource gets in the place of its stream",
        Dialect::Preflight => "The answer to a CORS preflight: the head",
    }
}

/// Amount of sample data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Sample {
    /// A switch without words
    Bare,
    /// A switch with a message and an end
    Brief,
    /// A window with everything
    Full,
    /// A hundred services, forty steps, long words, markup everywhere
    Worst,
}

impl Render {
    pub(super) fn config_file(&self) -> &Path {
        &self.config.config
    }
}

impl Form {
    fn dialect(self) -> Option<Dialect> {
        match self {
            Self::Page(dialect) => Some(dialect),
            Self::Badge => None,
        }
    }
}

impl Sample {
    /// Returns the sample as flags.
    pub(super) fn flags(self, now: Timestamp) -> Flags {
        match self {
            Self::Bare => samples::bare(),
            Self::Brief => samples::brief(now),
            Self::Full => samples::full(now),
            Self::Worst => samples::worst(now),
        }
    }
}

/// Help text below the options.
pub(super) const AFTER_HELP: &str = "\
The bytes go to standard output. Without --route, --window and --sample it is the page of the first route that is \
flagged. Where nothing is flagged it is a preview: what the page would be if the route were taken offline now. Of dialects \
without a body the head is written.

Examples:
  backsoon render -o page.html
  backsoon render --window MNT-2026-0519-a --as text --lang de
  backsoon render --route api --as json --at 2026-05-19T14:30:00Z
  backsoon render --sample worst -o worst.html
  backsoon render --watch --serve --sample full        # and edit your templates

Exit codes:
  0   written
  64  the arguments, the config or the flag file are wrong
  69  the address is taken
  74  the file cannot be written";

/// Writes the page, or shows it.
pub(super) fn run(args: &Render, streams: &mut Streams) -> Result<u8, Failure> {
    if let Some(address) = args.serve {
        return super::preview::serve(args, address, args.form.dialect(), streams);
    }
    once(args, streams)?;
    if !args.watch {
        return Ok(exit::OK);
    }
    super::preview::watch(&args.config.config, || match once(args, streams) {
        Ok(()) => Ok(()),
        // Mistakes are normal while somebody edits, so watching goes on.
        Err(failure @ Failure::Problems(_)) => failure.report(streams).map_err(Failure::Output),
        Err(failure) => Err(failure),
    })
}

fn once(args: &Render, streams: &mut Streams) -> Result<(), Failure> {
    let file = &args.config.config;
    let loaded = load::once(file).map_err(|problems| Failure::Problems(with_option(file, problems)))?;
    streams.problems(&loaded.warnings)?;
    let now = args.at.unwrap_or_else(Timestamp::now);
    let bytes = match args.form.dialect() {
        None => loaded.renderer.badge(true).body.to_vec(),
        Some(dialect) => {
            let page = match (&args.window, args.sample) {
                (Some(id), _) => page_of_window(&loaded, id, now)?,
                (None, Some(sample)) => page_of_all(&loaded, &sample.flags(now), now),
                (None, None) => page_of_route(&loaded, args.route.as_deref(), now, streams)?,
            };
            let language = args.lang.as_deref().map_or(Ok(0), |tag| language(&loaded, tag))?;
            if language > 0 {
                page.finish(&loaded.renderer);
            }
            let rendered = page.rendered(Variant { dialect, language, coding: Coding::Identity });
            if rendered.body.is_empty() { head(rendered) } else { rendered.body.to_vec() }
        }
    };
    match &args.output {
        Some(path) => {
            write::atomically(path, &bytes).map_err(Failure::Page)?;
            streams.note(format_args!("wrote {} bytes to {}", bytes.len(), path.display()))?;
        }
        None => {
            streams.data().write_all(&bytes)?;
            streams.data().flush()?;
        }
    }
    Ok(())
}

/// Returns the index of a language that the config offers.
fn language(loaded: &Loaded, tag: &str) -> Result<usize, Failure> {
    let tags = &loaded.renderer.tags;
    let found = accept::language(std::iter::once(tag.as_bytes()), tags);
    found.ok_or_else(|| Failure::NoLanguage { tag: tag.to_owned(), known: tags.clone() })
}

/// Formats the head of a response that has no body.
fn head(rendered: &crate::plan::page::Rendered) -> Vec<u8> {
    let field = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()))
    };
    let fields: String = rendered.head.iter().map(field).collect();
    format!("HTTP {}\n{fields}", rendered.status).into_bytes()
}

/// Returns the page of a window: as of now if the window is in force, else as of its start.
fn page_of_window(loaded: &Loaded, id: &str, now: Timestamp) -> Result<Arc<Page>, Failure> {
    let window = find_window(&loaded.flags, id)?;
    let at = match window.in_force(now) {
        Some(_) => now,
        // Before or after the window.
        None => window.span_at(now).map_or(now, |(starts, _)| starts),
    };
    // The window alone, for every route: other flags and the routes of this proxy do not matter here.
    let alone = Window { routes: vec![(Target::Every, Mode::Offline)], ..window.clone() };
    let flags = Flags { windows: vec![alone], ..Flags::default() };
    Ok(page_of_all(loaded, &flags, at))
}

/// Finds a window by its id.
pub(super) fn find_window<'f>(flags: &'f Flags, id: &str) -> Result<&'f Window, Failure> {
    let known = || flags.windows.iter().map(|window| window.id.clone()).collect();
    let window = flags.windows.iter().find(|window| window.id == id);
    window.ok_or_else(|| Failure::NoWindow { id: id.to_owned(), known: known() })
}

fn page_of_route(
    loaded: &Loaded,
    name: Option<&str>,
    now: Timestamp,
    streams: &mut Streams,
) -> Result<Arc<Page>, Failure> {
    if let Some(name) = name {
        check_route(loaded, name)?;
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
    Ok(page_of_all(loaded, &offline(), now))
}

/// Returns flags that take every route offline, without a message.
pub(super) fn offline() -> Flags {
    let flag = Flag { route: Target::Every, mode: Mode::Offline, until: None, message: None };
    Flags { routes: vec![flag], ..Flags::default() }
}

/// Refuses a name that is no route of the config.
pub(super) fn check_route(loaded: &Loaded, name: &str) -> Result<(), Failure> {
    let known: Vec<String> = loaded.config.routes.iter().map(|route| route.name.clone()).collect();
    if known.iter().any(|known| known == name) {
        return Ok(());
    }
    Err(Failure::NoRoute { name: name.to_owned(), known, force: Force::Impossible })
}

/// Returns the page of flags that close every route.
fn page_of_all(loaded: &Loaded, flags: &Flags, at: Timestamp) -> Arc<Page> {
    pages(loaded, flags, at).into_iter().next().expect("a config has a route, and every route is closed").1
}

/// Returns the routes that these flags close at an instant, each with its page.
fn pages(loaded: &Loaded, flags: &Flags, now: Timestamp) -> Vec<(String, Arc<Page>)> {
    let Loaded { config, renderer, .. } = loaded;
    let snapshot =
        compile(Inputs { config, flags, renderer, known: &Known::default(), previous: None, now, generation: 1 });
    let closed = snapshot.routes.into_iter();
    closed.filter_map(|route| Some((route.config.name.clone(), Arc::clone(&route.closure?.page)))).collect()
}

/// Name of the badge, beside those of the dialects.
const BADGE: &str = "badge";

//! `backsoon render`: writes the page that would be shown, made by the proxy's own code.

mod page;
mod preview;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use jiff::Timestamp;

use crate::control::load;
use crate::plan::accept::{self, Coding};
use crate::plan::config::ErrorStatus;
use crate::plan::dialect::Dialect;
use crate::plan::page::{Fate, Renderer, Stored, Variant};
use crate::plan::problem::Problem;

use super::failure::Failure;
use super::flag_file::with_option;
use super::streams::Streams;
use super::{ConfigFile, exit, words};
use crate::files::write;
use page::Sample;

/// The arguments of `render`.
#[derive(Args, Debug)]
pub(super) struct Render {
    /// The page of this route; with --window or --sample, its look
    #[arg(short, long, value_name = "NAME")]
    route: Option<String>,
    /// The page of this window, in force or not
    #[arg(short, long, value_name = "ID", conflicts_with = "sample")]
    window: Option<String>,
    /// A page with sample data instead of the flag file's
    #[arg(long, value_enum, value_name = "WIDTH")]
    sample: Option<Sample>,
    /// The page for an error of this status, where no upstream answers
    #[arg(long, value_name = "STATUS", value_parser = error_parser())]
    #[arg(conflicts_with_all = ["route", "window", "sample", "at", "serve"])]
    error: Option<ErrorStatus>,
    /// The form of the page
    #[arg(long = "as", default_value = "html", value_name = "DIALECT", value_parser = form_parser())]
    form: Form,
    /// The language of the page: en, de, … (default: that of the config)
    #[arg(short, long, value_name = "TAG")]
    lang: Option<String>,
    /// Write it into this file
    #[arg(short, long, value_name = "FILE", conflicts_with = "serve")]
    output: Option<PathBuf>,
    /// As of this instant: 2026-05-19T15:00:00Z
    #[arg(long, value_name = "INSTANT", value_parser = words::parse_instant, conflicts_with_all = ["watch", "serve"])]
    at: Option<Timestamp>,
    /// Keep running, and write the page again whenever a file changes
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

/// Returns a parser for the statuses that have a page.
fn error_parser() -> impl TypedValueParser<Value = ErrorStatus> {
    let words = ErrorStatus::ALL.map(|error| PossibleValue::new(error.as_str()));
    PossibleValuesParser::new(words).try_map(|word| {
        let error = ErrorStatus::ALL.into_iter().find(|error| error.as_str() == word);
        error.ok_or("not one of the statuses")
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
        Dialect::Short => "One line, for scripts, pictures, git and refused upgrades",
        Dialect::Soap => "A fault of SOAP 1.1",
        Dialect::Soap12 => "A fault of SOAP 1.2",
        Dialect::Grpc => "gRPC: the head",
        Dialect::GrpcWeb => "gRPC-Web",
        Dialect::GrpcWebText => "gRPC-Web in base64",
        Dialect::Connect => "A unary call of Connect",
        Dialect::ConnectStreamJson => "A stream of Connect, in JSON",
        Dialect::ConnectStreamProto => "A stream of Connect, in Protocol Buffers",
        Dialect::Events => "The answer to an EventSource, in place of its stream",
        Dialect::Preflight => "The answer to a CORS preflight: the head",
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

/// Help text below the options.
pub(super) const AFTER_HELP: &str = "\
The page goes to standard output. Without --route, --window and --sample it is the page of the first flagged route. If \
nothing is flagged, it is a preview, as if the route were taken offline now. For a dialect without a body, the head is \
written.

Examples:
  backsoon render -o page.html
  backsoon render --window MNT-2026-0519-a --as text --lang de
  backsoon render --route api --as json --at 2026-05-19T14:30:00Z
  backsoon render --route shop --sample full -o shop.html
  backsoon render --sample worst -o worst.html
  backsoon render --error 502 --lang de
  backsoon render --watch --serve --sample full        # and edit your templates

Exit codes:
  0   written
  64  the arguments, the config or the flag file are wrong
  69  the address is taken
  74  the file cannot be written";

/// Writes the page, or shows it.
pub(super) fn run(args: &Render, streams: &mut Streams) -> Result<u8, Failure> {
    if let Some(address) = args.serve {
        return preview::serve(preview_options(args, address), streams);
    }
    once(args, streams)?;
    if !args.watch {
        return Ok(exit::OK);
    }
    preview::watch(&args.config.config, || match once(args, streams) {
        Ok(()) => Ok(()),
        // Mistakes are normal while somebody edits, so watching goes on.
        Err(failure @ Failure::Problems(_)) => failure.report(streams).map_err(Failure::Output),
        Err(failure) => Err(failure),
    })
}

fn preview_options(args: &Render, address: SocketAddr) -> preview::Options {
    let page = preview::PreviewedPage { window: args.window.clone(), route: args.route.clone(), sample: args.sample };
    let (lang, dialect) = (args.lang.clone(), args.form.dialect());
    preview::Options { config_file: args.config.config.clone(), address, page, lang, dialect }
}

fn once(args: &Render, streams: &mut Streams) -> Result<(), Failure> {
    let file = &args.config.config;
    let loaded = load::once(file).map_err(|problems| Failure::Problems(with_option(file, problems)))?;
    streams.problems(&loaded.warnings)?;
    let now = args.at.unwrap_or_else(Timestamp::now);
    let route = args.route.as_deref();
    if let Some(name) = route {
        page::check_route(&loaded, name)?;
    }
    let bytes = match args.form.dialect() {
        None => page::renderer(&loaded, route).badge(true).body.to_vec(),
        Some(dialect) if let Some(error) = args.error => {
            let renderer = page::renderer(&loaded, route);
            let language = args.lang.as_deref().map_or(Ok(0), |tag| language(renderer, tag))?;
            renderer.finish();
            let variant = Variant { dialect, language, coding: Coding::Identity };
            body(renderer.error(error, Fate::Nothing, variant).ok_or_else(|| switched_off(file))?)
        }
        Some(dialect) => {
            let page = match (&args.window, args.sample) {
                (Some(id), _) => page::of_window(&loaded, id, route, now)?,
                (None, Some(sample)) => page::of_all(&loaded, &sample.flags(now), route, now),
                (None, None) => page::of_route(&loaded, route, now, streams)?,
            };
            let language = args.lang.as_deref().map_or(Ok(0), |tag| language(&page.look.renderer, tag))?;
            if language > 0 {
                page.finish();
            }
            let variant = Variant { dialect, language, coding: Coding::Identity };
            let named = loaded.config.routes.iter().find(|route| Some(route.name.as_str()) == args.route.as_deref());
            let template = named.and_then(|route| route.template.as_ref());
            body(match template.filter(|template| template.format.replaces(dialect)) {
                Some(template) => page.program(template.index, variant),
                None => page.rendered(variant),
            })
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

/// Returns the index of a language that the page is offered in.
fn language(renderer: &Renderer, tag: &str) -> Result<usize, Failure> {
    let tags = &renderer.tags;
    let found = accept::language(std::iter::once(tag.as_bytes()), tags);
    found.ok_or_else(|| Failure::NoLanguage { tag: tag.to_owned(), known: tags.clone() })
}

/// Returns the failure to show a page for an error where the config has none.
fn switched_off(config: &Path) -> Failure {
    let problem = Problem::error(&config.display().to_string(), "`[page]` switches the pages for errors off");
    Failure::Problems(vec![problem.help("remove `errors = false`")])
}

/// Returns the body of an answer, or else its head.
fn body(rendered: &Stored) -> Vec<u8> {
    if rendered.body.is_empty() { head(rendered) } else { rendered.body.to_vec() }
}

/// Formats the head of a response that has no body.
fn head(rendered: &Stored) -> Vec<u8> {
    let field = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()))
    };
    let fields: String = rendered.rendered().head.iter().map(field).collect();
    format!("HTTP {}\n{fields}", rendered.status).into_bytes()
}

/// Name of the badge, beside those of the dialects.
const BADGE: &str = "badge";

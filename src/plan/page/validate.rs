//! Validation of templates: their output is checked before they are used.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::super::config::ProgramFormat;
use super::super::flags::{Flags, Mode};
use super::super::problem::Problem;
use super::errors;
use super::forms::{self, PROGRAMS};
use super::markup::{Kind, Markup, Outside};
use super::renderer::Renderer;
use super::sources::Source;
use super::templates::{
    ERROR_HTML, ERROR_MARKDOWN, ERROR_TEXT, ERROR_XML, SITE_HTML, SITE_MARKDOWN, SITE_TEXT, failed,
};
use super::{PageContent, PageModel, ServiceRow, samples};

/// Renders every sample with the operator's templates and checks the results.
pub(super) fn own(renderer: &Renderer, own: &[&Source], problems: &mut Vec<Problem>) {
    let mut validation = Validation { own, is_finished: renderer.finished.is_some(), found: BTreeMap::new() };
    let now = Timestamp::UNIX_EPOCH;
    let closed = [
        (samples::bare(), Mode::Offline),
        (samples::bare(), Mode::ReadOnly),
        (samples::brief(now), Mode::Hold),
        (samples::full(now), Mode::Offline),
        (samples::worst(now), Mode::Offline),
    ];
    let open = [PageContent::running(), samples::announced(now)].map(|content| PageModel::new(content, now));
    for model in closed.iter().map(|(flags, mode)| sample(flags, *mode, now)).chain(open) {
        for language in 0..renderer.tags.len() {
            for name in ["page.html", "page.txt", "page.md", "page.xml"] {
                validation.check(name, renderer.try_template(name, &model, language));
            }
            for source in own.iter().filter(|source| source.name.starts_with(PROGRAMS)) {
                validation.check_program(source, renderer.try_template(&source.name, &model, language));
            }
        }
    }
    for maintenance in [false, true] {
        validation.check("badge.svg", renderer.try_badge(maintenance));
    }
    for view in samples::site() {
        for language in 0..renderer.tags.len() {
            for name in [SITE_HTML, SITE_TEXT, SITE_MARKDOWN] {
                validation.check(name, renderer.try_site(name, &view, language));
            }
        }
    }
    for case in errors::cases() {
        for language in 0..renderer.tags.len() {
            for name in [ERROR_HTML, ERROR_TEXT, ERROR_MARKDOWN, ERROR_XML] {
                validation.check(name, renderer.try_error(name, case, language));
            }
        }
    }
    problems.extend(validation.found.into_values());
}

/// Findings so far.
struct Validation<'o> {
    own: &'o [&'o Source],
    /// True if the page is served as it stands.
    is_finished: bool,
    /// Problems, each once, by file and line.
    found: BTreeMap<(String, usize), Problem>,
}

impl Validation<'_> {
    fn check(&mut self, name: &str, rendered: Result<String, minijinja::Error>) {
        match rendered {
            Err(error) => {
                let problem = failed(&error, self.own);
                let line = problem.place.as_ref().map_or(0, |place| place.line);
                self.found.entry((problem.file.clone(), line)).or_insert(problem);
            }
            Ok(text) if text.trim().is_empty() => {
                let file = source_of(name, self.own);
                self.found.entry((file.clone(), 0)).or_insert_with(|| blank(&file));
            }
            Ok(html) if name == "page.html" || name == ERROR_HTML => {
                let file = source_of(name, self.own);
                if !has_title(&html) {
                    self.found.entry((file.clone(), 0)).or_insert_with(|| untitled(&file));
                }
                let markup = Markup::of(&html);
                let finished = self.is_finished && name == "page.html";
                self.found.extend(if finished { finished_warnings(&markup, &file) } else { warnings(&markup, &file) });
            }
            Ok(_) => {}
        }
    }

    fn check_program(&mut self, source: &Source, rendered: Result<String, minijinja::Error>) {
        let problem = match (rendered, ProgramFormat::of(&source.name)) {
            (Err(error), _) => failed(&error, self.own),
            (Ok(_), None) => return,
            (Ok(text), Some(_)) if text.trim().is_empty() => blank(&source.path),
            (Ok(text), Some(format)) => match forms::fault(format, &text) {
                Some(fault) => forms::unreadable(source, format, fault),
                None => return,
            },
        };
        let line = problem.place.as_ref().map_or(0, |place| place.line);
        self.found.entry((problem.file.clone(), line)).or_insert(problem);
    }
}

/// Returns the model of a sample.
pub(super) fn sample(flags: &Flags, mode: Mode, now: Timestamp) -> PageModel {
    let window = flags.windows.first().map(|window| {
        let (starts, ends) = window.span_at(now).unwrap_or((now, now));
        PageContent::of_window(window, mode, (starts, ends), Some(ends), |service| ServiceRow::new(service, None))
    });
    let flag = || {
        flags
            .routes
            .first()
            .map(|flag| PageContent { mode, ..PageContent::of_flag(flag.mode, flag.message.as_ref(), flag.until) })
    };
    PageModel::new(window.or_else(flag).expect("a sample flags something"), now)
}

/// Returns the file of a template; if it is the built-in one, the first of the operator's, which it may include.
fn source_of(name: &str, own: &[&Source]) -> String {
    let source = own.iter().find(|source| source.name == name).or(own.first());
    source.map_or_else(String::new, |source| source.path.clone())
}

/// Returns true if a document has a title with text. A title in its body is that of a picture.
fn has_title(html: &str) -> bool {
    let lower = html.to_ascii_lowercase();
    let head =
        ["<body", "<svg"].into_iter().filter_map(|tag| lower.find(tag)).min().map_or(&*lower, |end| &lower[..end]);
    let title = head.split_once("<title").and_then(|(_, rest)| rest.split_once('>'));
    let text = title.map(|(_, rest)| rest.split_once("</title").map_or("", |(text, _)| text));
    text.is_some_and(|text| !text.trim().is_empty())
}

/// Returns the problem of a template that an editor has emptied, or a full disk.
fn blank(file: &str) -> Problem {
    Problem::error(file, "the template renders nothing").help("remove the file for the built-in one, or write it again")
}

fn untitled(file: &str) -> Problem {
    Problem::error(file, "the page has no title")
        .help("write a <title> with text into its <head>; without one, the page may be cut off or half-written")
}

/// Returns warnings for the parts of a document that would not work.
fn warnings(markup: &Markup<'_>, path: &str) -> Vec<((String, usize), Problem)> {
    let help = "a page under maintenance cannot fetch anything: inline it, as a data: URL if it is a picture";
    let warning = |(index, refused): (usize, &String)| {
        ((path.to_owned(), 1_000_000 + index), Problem::warning(path, refused.clone()).help(help))
    };
    markup.refused.iter().take(MOST_WARNINGS).enumerate().map(warning).collect()
}

/// Returns warnings for what a finished page has elsewhere. Its policy allows what it names, but for scripts and frames.
fn finished_warnings(markup: &Markup<'_>, path: &str) -> Vec<((String, usize), Problem)> {
    let problem = |outside: &Outside| {
        let Outside { kind, shown, .. } = outside;
        let (message, help) = match (kind, outside.origin()) {
            (Kind::Active, _) => {
                ("is refused by the page's policy", "write a script into the page; frames are not shown")
            }
            (_, Some(_)) => (
                "is fetched from elsewhere",
                "the page depends on that host, which learns of each visitor: inline it, as a data: URL if it is a picture",
            ),
            (_, None) => (
                "is asked of the closed route itself, which answers with the page",
                "inline it, as a data: URL if it is a picture, or keep its path open with `always_open`",
            ),
        };
        Problem::warning(path, format!("{shown} {message}")).help(help)
    };
    let fetched = markup.outside.iter().filter(|outside| outside.kind != Kind::Connection);
    let numbered = fetched.take(MOST_WARNINGS).enumerate();
    numbered.map(|(index, outside)| ((path.to_owned(), 1_000_000 + index), problem(outside))).collect()
}

/// Most warnings for one document.
const MOST_WARNINGS: usize = 8;

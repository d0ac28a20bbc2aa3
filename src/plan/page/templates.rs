//! Templates and messages: built-in and the operator's, parsed, with the functions that templates may call.

use std::error::Error as _;
use std::sync::Arc;

use minijinja::value::{Kwargs, Value};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, UndefinedBehavior};

use super::super::config::{LANGUAGES, PageConfig};
use super::super::problem::{Place, Problem, did_you_mean, quoted};
use super::forms::{BUILT_IN, PROGRAMS};
use super::language::{Language, Messages};
use super::sources::{Source, Sources};
use super::{filters, finished};

/// Returns the offered languages, from the built-in messages and the operator's.
pub(super) fn languages(
    config: &PageConfig,
    sources: &Sources,
    config_file: &str,
    problems: &mut Vec<Problem>,
) -> Vec<Language> {
    let built_in: Vec<(&str, Messages)> =
        MESSAGE_FILES.iter().filter_map(|(tag, text)| Some((*tag, Messages::parse(tag, text, None).0?))).collect();
    let Some((_, english)) = built_in.first() else { return Vec::new() };
    let mut languages = Vec::new();
    for tag in &config.languages {
        let own = sources.files.iter().find(|source| source.name == format!("{MESSAGES}{tag}.toml"));
        let below = built_in.iter().find(|(known, _)| known == tag).map(|(_, messages)| messages);
        let messages = match (own, below) {
            (None, None) => {
                let known = LANGUAGES.map(quoted).join(", ");
                let message = format!("the language {} has no messages", quoted(tag));
                let help = format!("the built-in ones are {known}; for another, write {MESSAGES}{tag}.toml in `pages`");
                problems.push(Problem::error(config_file, message).help(help));
                continue;
            }
            (None, Some(below)) => below.clone(),
            (Some(own), below) => {
                let (messages, found) = Messages::parse(&own.path, &own.text, Some(english));
                problems.extend(found);
                let Some(messages) = messages else { continue };
                let missing = messages.missing(english);
                if below.is_none() && !missing.is_empty() {
                    let some: Vec<String> = missing.iter().take(8).map(|key| quoted(key)).collect();
                    let message = format!("{} of the messages are missing: {}", missing.len(), some.join(", "));
                    problems.push(Problem::warning(&own.path, message).help("they are shown in English"));
                }
                messages.over(below.unwrap_or(english))
            }
        };
        match Language::new(tag, messages) {
            Ok(language) => languages.push(language),
            Err(why) => {
                let file = own.map_or(config_file, |own| own.path.as_str());
                problems.push(Problem::error(file, why));
            }
        }
    }
    languages
}

/// Builds the template engine, with limits. The operator's templates replace the built-in ones.
pub(super) fn environment(
    languages: &Arc<[Language]>,
    own: &[&Source],
    problems: &mut Vec<Problem>,
) -> Environment<'static> {
    let mut environment = Environment::new();
    // In debug mode errors have their place in the template.
    environment.set_debug(true);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(TEMPLATE_FUEL));
    environment.set_syntax(syntax());
    // Escaping is chosen by the template's name, and unknown names are escaped. The engine's default is the opposite.
    environment.set_auto_escape_callback(|name| match name.rsplit('.').next() {
        Some("txt" | "md" | "css" | "js") => AutoEscape::None,
        Some("json") => AutoEscape::Json,
        _ => AutoEscape::Html,
    });
    let known = Arc::clone(languages);
    environment.add_function("t", move |state: &State<'_, '_>, key: &str, arguments: Kwargs| {
        translate(language_of(state, &known)?, key, &arguments)
    });
    let known = Arc::clone(languages);
    environment.add_function("number", move |state: &State<'_, '_>, number: u64| -> Result<String, Error> {
        Ok(language_of(state, &known)?.number(number))
    });
    let known = Arc::clone(languages);
    environment.add_function("list", move |state: &State<'_, '_>, items: Vec<String>| -> Result<String, Error> {
        Ok(language_of(state, &known)?.list(&items))
    });
    environment
        .add_filter("wrap", |text: &str, width: usize, indent: Option<usize>| filters::wrap(text, width, indent));
    environment.add_filter("pad", |text: &str, width: usize| filters::pad(text, width));
    environment.add_filter("rule", |text: &str, character: &str| filters::rule(text, character));
    environment.add_filter("markdown", |text: &str| filters::markdown(text));
    for source in own {
        problems.extend(if is_finished(source) { too_large(source, LARGEST_FINISHED) } else { too_long(source) });
    }
    if problems.iter().any(Problem::is_error) {
        return environment;
    }
    for (name, built_in) in TEMPLATES {
        let source = own.iter().find(|source| source.name == name);
        let text = match source {
            None => built_in.to_owned(),
            Some(page) if is_finished(page) => {
                // The line end comes back when it is rendered.
                let text = page.text.strip_suffix('\n').unwrap_or(&page.text);
                environment.add_global(FINISHED, Value::from_safe_string(text.to_owned()));
                format!("{{{{ {FINISHED} }}}}")
            }
            Some(source) => finished::mended(name, &source.text).into_owned(),
        };
        if let Err(error) = environment.add_template_owned(name, text) {
            problems.push(failed(&error, own));
        }
    }
    let built_in = BUILT_IN.iter().map(|(name, text)| (format!("{PROGRAMS}{name}"), *text));
    let named = own.iter().filter(|source| source.name.starts_with(PROGRAMS));
    // The operator's come last, and replace the built-in ones.
    for (name, text) in built_in.chain(named.clone().map(|source| (source.name.clone(), source.text.as_str()))) {
        if let Err(error) = environment.add_template_owned(name, text.to_owned()) {
            problems.push(failed(&error, own));
        }
    }
    let unknown = own.iter().filter(|source| !source.name.starts_with(PROGRAMS));
    for source in unknown.filter(|source| !TEMPLATES.iter().any(|(name, _)| *name == source.name)) {
        let near = did_you_mean(&source.name, TEMPLATES.iter().map(|(name, _)| *name));
        let help =
            near.map_or_else(|| "no page includes it".to_owned(), |near| format!("did you mean {}?", quoted(near)));
        problems.push(
            Problem::warning(&source.path, format!("{} is not the name of a template", quoted(&source.name)))
                .help(help),
        );
    }
    environment
}

/// Names of a route that pages show. Routes that differ in them alone share a page if it shows none.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::plan) struct ShownNames {
    /// Name of the route, which own templates show.
    pub route: bool,
    /// Host, which own templates show.
    pub host: bool,
    /// Host, which the built-in page shows for lack of a brand.
    pub unbranded_host: bool,
}

/// Finds the names that templates show.
pub(super) fn shown_names(environment: &Environment<'_>, own: &[&Source], is_branded: bool) -> ShownNames {
    let mut names = ShownNames::default();
    for (name, _) in TEMPLATES.iter().filter(|(name, _)| ![SITE_HTML, SITE_TEXT, SITE_MARKDOWN].contains(name)) {
        let Ok(template) = environment.get_template(name) else { continue };
        let variables = template.undeclared_variables(false);
        // `debug()` shows all there is.
        let shows = |variable: &str| variables.contains(variable) || variables.contains("debug");
        if own.iter().any(|source| source.name == *name) {
            names.route |= shows("route");
            names.host |= shows("host");
        } else {
            names.unbranded_host |= shows("host") && !is_branded;
        }
    }
    names
}

/// Returns true if a file is a page that is served as it stands.
pub(super) fn is_finished(source: &Source) -> bool {
    source.name == "page.html" && finished::is_finished(&source.text)
}

fn too_large(source: &Source, most: usize) -> Option<Problem> {
    let size = source.text.len();
    (size > most).then(|| {
        let message = format!("the template has {size} bytes, and at most {most} are allowed");
        Problem::error(&source.path, message).help("a page should stay below 14 kB")
    })
}

/// Refuses tags for which the engine would need too deep a stack: it parses expressions and chains of conditions by
/// recursion.
fn too_long(source: &Source) -> Option<Problem> {
    if let Some(problem) = too_large(source, LARGEST_TEMPLATE) {
        return Some(problem);
    }
    let mut at = 0;
    while let Some(open) = source.text[at..].find('{').map(|open| at + open) {
        at = open + 1;
        let close = match source.text.as_bytes().get(at) {
            Some(b'{') => "}}",
            Some(b'%') => "%}",
            _ => continue,
        };
        let length = source.text[at..].find(close).unwrap_or(source.text.len() - at);
        if length > LONGEST_TAG {
            let message = format!("a tag of {length} bytes, and at most {LONGEST_TAG} are allowed");
            let problem = Problem::error(&source.path, message).help("part it with `{% set … %}`");
            return Some(problem.at(Place::of(&source.text, open..open + 2)));
        }
        at += length;
    }
    None
}

/// Returns a syntax in which a line with only a tag produces no output.
fn syntax() -> minijinja::syntax::SyntaxConfig {
    minijinja::syntax::SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().unwrap_or_default()
}

fn language_of<'l>(state: &State<'_, '_>, languages: &'l [Language]) -> Result<&'l Language, Error> {
    let tag = state.lookup("lang");
    let tag = tag.as_ref().and_then(Value::as_str);
    let language = tag.and_then(|tag| languages.iter().find(|language| language.tag == tag)).or(languages.first());
    language.ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "there is no language"))
}

fn translate(language: &Language, key: &str, arguments: &Kwargs) -> Result<String, Error> {
    let mut n = None;
    let mut given = Vec::new();
    for name in arguments.args() {
        let value: Value = arguments.get(name)?;
        let number = u64::try_from(value.clone()).ok().filter(|_| value.is_number());
        if name == "n" {
            n = number;
        }
        given.push((name, number.map_or_else(|| value.to_string(), |number| language.number(number))));
    }
    let unknown = || Error::new(ErrorKind::InvalidOperation, format!("there is no message {}", quoted(key)));
    language.message(key, n, &given).ok_or_else(unknown)
}

pub(super) fn render(environment: &Environment<'_>, name: &str, context: &Value) -> Result<String, Error> {
    let rendered = environment.get_template(name)?.render(context)?;
    // The engine drops a template's last line end.
    Ok(rendered + "\n")
}

/// Returns the problem of a template that failed, with the place in the operator's file.
pub(super) fn failed(error: &Error, own: &[&Source]) -> Problem {
    // The innermost error names the included template.
    let mut inner = error;
    while let Some(next) = inner.source().and_then(|source| source.downcast_ref::<Error>()) {
        inner = next;
    }
    let name = inner.name().unwrap_or("page.html");
    let source = own.iter().find(|source| source.name == name);
    let message =
        inner.detail().map_or_else(|| inner.kind().to_string(), |detail| format!("{}: {detail}", inner.kind()));
    let Some(source) = source.or(own.first()) else { return Problem::error(name, message) };
    let problem = match inner.range().filter(|_| source.name == name) {
        Some(range) => Problem::error(&source.path, message).at(Place::of(&source.text, range)),
        None => Problem::error(&source.path, format!("{message} (in {name})")),
    };
    problem.help(help_for(inner))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "an enum of minijinja, and most kinds need no help of their own")]
fn help_for(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::UndefinedError => {
            "the fields are listed in pages/README.md; what is not known is none, and has no fields: ask first, `{% if impact %}`"
        }
        ErrorKind::OutOfFuel => "the template does too much: it must be done with a hundred services and forty steps",
        ErrorKind::TemplateNotFound => "a template can include those of pages/README.md and no other",
        ErrorKind::UnknownFilter | ErrorKind::UnknownFunction | ErrorKind::UnknownTest => {
            "the functions and filters that there are stand in pages/README.md"
        }
        ErrorKind::SyntaxError => {
            "the built-in template of this name shows how it is written; write what is no tag, such as a minified script, \
             between `{% raw %}` and `{% endraw %}`"
        }
        _ => "the built-in template of this name shows how it is written",
    }
}

/// Templates, by the name under which an operator replaces them.
pub const TEMPLATES: [(&str, &str); 21] = [
    ("page.html", include_str!("../../../pages/page.html")),
    ("style.css", include_str!("../../../pages/style.css")),
    ("script.js", include_str!("../../../pages/script.js")),
    ("answer.html", include_str!("../../../pages/answer.html")),
    ("facts.html", include_str!("../../../pages/facts.html")),
    ("figures.html", include_str!("../../../pages/figures.html")),
    ("services.html", include_str!("../../../pages/services.html")),
    ("timeline.html", include_str!("../../../pages/timeline.html")),
    ("actions.html", include_str!("../../../pages/actions.html")),
    ("page.txt", include_str!("../../../pages/page.txt")),
    ("page.md", include_str!("../../../pages/page.md")),
    ("page.xml", include_str!("../../../pages/page.xml")),
    ("badge.svg", include_str!("../../../pages/badge.svg")),
    (ERROR_HTML, include_str!("../../../pages/error.html")),
    ("retry.js", include_str!("../../../pages/retry.js")),
    (ERROR_TEXT, include_str!("../../../pages/error.txt")),
    (ERROR_MARKDOWN, include_str!("../../../pages/error.md")),
    (ERROR_XML, include_str!("../../../pages/error.xml")),
    (SITE_HTML, include_str!("../../../pages/site.html")),
    (SITE_TEXT, include_str!("../../../pages/site.txt")),
    (SITE_MARKDOWN, include_str!("../../../pages/site.md")),
];

/// Document for an error.
pub(super) const ERROR_HTML: &str = "error.html";
/// The same for terminals.
pub(super) const ERROR_TEXT: &str = "error.txt";
/// The same in Markdown.
pub(super) const ERROR_MARKDOWN: &str = "error.md";
/// Problem document of an error.
pub(super) const ERROR_XML: &str = "error.xml";

/// Templates of the status site.
pub const SITE_HTML: &str = "site.html";
/// For terminals.
pub const SITE_TEXT: &str = "site.txt";
/// Markdown.
pub const SITE_MARKDOWN: &str = "site.md";

/// Folder of the message files, below that of the templates.
pub const MESSAGES: &str = "messages/";

/// Message files by language tag, in the order of [`LANGUAGES`].
pub(super) const MESSAGE_FILES: [(&str, &str); LANGUAGES.len()] = [
    ("en", include_str!("../../../pages/messages/en.toml")),
    ("de", include_str!("../../../pages/messages/de.toml")),
    ("fr", include_str!("../../../pages/messages/fr.toml")),
    ("es", include_str!("../../../pages/messages/es.toml")),
    ("ja", include_str!("../../../pages/messages/ja.toml")),
    ("ar", include_str!("../../../pages/messages/ar.toml")),
    ("pt-BR", include_str!("../../../pages/messages/pt-BR.toml")),
    ("zh-Hans", include_str!("../../../pages/messages/zh-Hans.toml")),
    ("it", include_str!("../../../pages/messages/it.toml")),
    ("nl", include_str!("../../../pages/messages/nl.toml")),
    ("pl", include_str!("../../../pages/messages/pl.toml")),
    ("ko", include_str!("../../../pages/messages/ko.toml")),
];

/// Most steps of a template. The built-in page needs less than a tenth of it for the worst sample.
const TEMPLATE_FUEL: u64 = 1_000_000;
/// Bytes of stack for parsing the worst templates within these limits. Even the debug build needed only a fraction of
/// it.
pub const STACK_FOR_TEMPLATES: usize = 64 * 1024 * 1024;
/// Most bytes of a template.
const LARGEST_TEMPLATE: usize = 128 * 1024;
/// Most bytes of a page that is served as it stands, with pictures in it.
const LARGEST_FINISHED: usize = 512 * 1024;
/// Name under which the engine has the text of such a page.
const FINISHED: &str = "page_as_it_stands";
/// Most bytes between the braces of a tag.
const LONGEST_TAG: usize = 4096;

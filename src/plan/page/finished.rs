//! Operator's documents as they stand: tells a finished page from a template, and tags from what only looks like one.
//!
//! Designers deliver finished pages, whose minified styles have `{#` where the engine sees a comment.

use std::borrow::Cow;

use minijinja::Environment;

/// Returns true if a document has nothing for the engine to fill in, so that it is served as it stands.
///
/// Outside of styles and scripts, any `{{` and `{%` belongs to a template, with a mistake perhaps. Inside, only what the
/// engine would understand does.
pub(super) fn is_finished(html: &str) -> bool {
    parts(html).into_iter().all(|part| match part {
        Part::Markup(text) => !text.contains("{{") && !text.contains("{%") && !has_comment(text),
        Part::Code(text) => !has_comment(text) && !has_statement(text) && !has_expression(text),
    })
}

/// Returns a template in which `{#` begins a comment only where that ends. Otherwise the engine would refuse a minified
/// style. A blank between the brace and the `#` changes neither a style nor a script.
pub(super) fn mended<'t>(name: &str, text: &'t str) -> Cow<'t, str> {
    let parts = match name.rsplit_once('.') {
        Some((_, "html")) => parts(text),
        Some((_, "css" | "js")) => vec![Part::Code(text)],
        _ => return Cow::Borrowed(text),
    };
    let is_mistaken = |part: &Part<'_>| matches!(part, Part::Code(text) if text.contains("{#"));
    if !parts.iter().any(is_mistaken) {
        return Cow::Borrowed(text);
    }
    let mend = |part| match part {
        Part::Markup(text) => Cow::Borrowed(text),
        Part::Code(text) => {
            // Comments come first; what is open after the last of them is none.
            let (comments, rest) = text.rsplit_once("#}").map_or(("", text), |(before, _)| {
                let at = before.len() + "#}".len();
                text.split_at(at)
            });
            Cow::Owned(comments.to_owned() + &rest.replace("{#", "{ #"))
        }
    };
    Cow::Owned(parts.into_iter().map(mend).collect())
}

/// Part of a document.
enum Part<'t> {
    /// Text and tags.
    Markup(&'t str),
    /// Content of a `<style>` or `<script>`.
    Code(&'t str),
}

/// Splits a document before and after the content of each style and script.
fn parts(html: &str) -> Vec<Part<'_>> {
    let lower = html.to_ascii_lowercase();
    let mut parts = Vec::new();
    let mut from = 0;
    let find = |what: &str, at: usize| lower[at..].find(what).map(|found| found + at);
    while let Some((tag, name)) =
        ["style", "script"].into_iter().filter_map(|name| Some((find(&format!("<{name}"), from)?, name))).min()
    {
        let begin = find(">", tag).map_or(html.len(), |end| end + 1);
        let end = find(&format!("</{name}"), begin).unwrap_or(html.len());
        parts.extend([Part::Markup(&html[from..begin]), Part::Code(&html[begin..end])]);
        from = end;
    }
    parts.push(Part::Markup(&html[from..]));
    parts
}

fn has_comment(text: &str) -> bool {
    text.split_once("{#").is_some_and(|(_, rest)| rest.contains("#}"))
}

/// Returns true if a text has the beginning of a statement, such as `{% if`.
fn has_statement(text: &str) -> bool {
    text.split("{%").skip(1).any(|rest| {
        let rest = rest.trim_start_matches(['-', '+']).trim_start();
        let word = rest.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
        STATEMENTS.contains(&word)
    })
}

/// Returns true if a text has an expression between `{{` and `}}`.
fn has_expression(text: &str) -> bool {
    let engine = Environment::empty();
    text.split("{{").skip(1).any(|rest| {
        let Some((inner, _)) = rest.split_once("}}") else { return false };
        let inner = inner.trim_matches(['-', '+']);
        inner.len() <= LONGEST_EXPRESSION && engine.compile_expression(inner).is_ok()
    })
}

/// Words that a statement begins with.
const STATEMENTS: [&str; 19] = [
    "autoescape",
    "block",
    "break",
    "call",
    "continue",
    "do",
    "elif",
    "else",
    "extends",
    "filter",
    "for",
    "from",
    "if",
    "import",
    "include",
    "macro",
    "raw",
    "set",
    "with",
];

/// Most bytes that are tried as an expression. The engine parses by recursion.
const LONGEST_EXPRESSION: usize = 256;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::header::CONTENT_SECURITY_POLICY;
    use jiff::Timestamp;

    use super::super::super::accept::Coding;
    use super::super::super::config::PageConfig;
    use super::super::super::dialect::Dialect;
    use super::super::super::flags::Mode;
    use super::super::{Look, Page, Prerender, Renderer, Source, Sources, Variant, samples, validate};
    use super::*;

    /// Tries a page. Returns its policy, or that it was refused, and the problems.
    fn tried(html: &str) -> String {
        let source = Source { name: "page.html".to_owned(), path: "pages/page.html".to_owned(), text: html.to_owned() };
        let sources = Sources { files: vec![source], logo: None };
        let (renderer, problems) = Renderer::new(&PageConfig::default(), &sources, "backsoon.toml");
        let policy = renderer.map_or_else(|| "refused".to_owned(), |renderer| policy(renderer).replace("; ", "\n"));
        problems.iter().fold(policy, |text, problem| format!("{text}\n\n{problem}"))
    }

    /// Returns the policy of the page.
    fn policy(renderer: Renderer) -> String {
        let model = validate::sample(&samples::bare(), Mode::Offline, Timestamp::UNIX_EPOCH);
        let look = Look::from(&Arc::new(renderer));
        let page = Page::new(Arc::new(model), Timestamp::UNIX_EPOCH, look, Prerender::DefaultLanguage);
        let variant = Variant { dialect: Dialect::Html, language: 0, coding: Coding::Identity };
        page.rendered(variant).rendered().head[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned()
    }

    #[test]
    fn a_finished_page_may_do_what_stands_in_it() {
        let mut told = String::new();
        for (what, html) in [
            (
                "one with everything inside",
                "<title>x</title><style>@media print{#a{b:url(data:x)}}</style><script>f()</script>",
            ),
            ("attributes that style and act", "<title>x</title><p style=\"color:red\" onclick=\"f(&quot;a&quot;)\">"),
            (
                "pictures, fonts and styles of other hosts",
                "<title>x</title><link rel=preconnect href=https://fonts.example.net><link rel=stylesheet \
                 href=\"https://fonts.example.org/css?family=A\"><link rel=canonical href=https://example.com/><img \
                 srcset=\"https://CDN.example.com/a.png 1x, //cdn.example.com/b.png 2x\"><style>a{b:url(http://h:8080/c)}</style>",
            ),
            ("files beside it", "<title>x</title><link rel=stylesheet href=style.css><img src=/logo.png>"),
            (
                "scripts and frames of others",
                "<title>x</title><script src=https://a.example/x></script><iframe src=https://b.example/>",
            ),
            ("what is no URL", "<title>x</title><img src=\"https://a.example;script-src *\"><img src='https:// x'>"),
            ("no title", "<h1>Back soon</h1>"),
        ] {
            told += &format!("## {what}\n{}\n\n", tried(html));
        }
        insta::assert_snapshot!(told);
    }

    #[test]
    fn a_document_without_placeholders_is_finished_however_it_is_minified() {
        for finished in [
            "<title>Back soon</title><h1>Back soon</h1>",
            "<style>@media print{#a{color:red}}@supports(x:y){{#b}}</style><p>x",
            "<STYLE>a{%23b:url(data:image/svg+xml,{%23})}</STYLE>",
            "<script>class A{#x=1;y(){return`${{a:1}.a}`}}</script>",
            "<script>f(function(){{return 1}})</script><p>{#",
            "<style>a{#b}",
            "",
        ] {
            assert!(is_finished(finished), "{finished}");
        }
        for template in [
            "<h1>{{ title }}</h1>",
            "<h1>{{ title </h1>",
            "<p>{% if %}",
            "<style>{% include \"style.css\" %}</style>",
            "<style>{%- set x = 1 %}</style>",
            "<script>let x = {{ title|length }}</script>",
            "{# ours #}<h1>x</h1>",
            "<style>{# ours #}a{}</style>",
        ] {
            assert!(!is_finished(template), "{template}");
        }
    }

    #[test]
    fn what_only_looks_like_a_comment_is_mended() {
        let css = "@media print{#a{color:red}}";
        assert_eq!(mended("style.css", css), "@media print{ #a{color:red}}");
        assert_eq!(mended("style.css", "{# x #}a{}"), "{# x #}a{}");
        assert_eq!(mended("page.txt", css), css);
        let page = format!("{{# x #}}<style>{css}</style>{{# y #}}<p>{{# open");
        assert_eq!(mended("page.html", &page), "{# x #}<style>@media print{ #a{color:red}}</style>{# y #}<p>{# open");
    }

    #[test]
    fn any_text_is_looked_through_to_its_end() {
        for odd in ["<style", "<style>", "<script></style>", "{{", "{%", "{{}}", "<style>{{}}{%", "é<style>é{#é"] {
            is_finished(odd);
            mended("page.html", odd);
        }
    }
}

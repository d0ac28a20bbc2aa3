//! Scanner of documents: finds inline parts for the Content-Security-Policy, and parts that it would forbid.
//!
//! The documents come from templates, not from an adversary. A browser refuses everything that is overlooked here.

use std::borrow::Cow;

use memchr::{memchr, memchr_iter, memmem};

use super::super::dialect::strip;

/// Inline parts and references of a document.
#[derive(Clone, Debug, Default)]
pub(super) struct Markup<'d> {
    /// Text of each `<style>`.
    pub styles: Vec<&'d str>,
    /// Text of each `<script>`.
    pub scripts: Vec<&'d str>,
    /// Parts that a browser would fetch, or refuse to run.
    pub refused: Vec<String>,
    /// References among them to what is not part of the document.
    pub outside: Vec<Outside>,
    /// Text of each attribute with a script: `onclick="…"`.
    pub handlers: Vec<String>,
    /// Some element has an attribute `style="…"`.
    pub styled: bool,
}

/// Reference to what is not part of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outside {
    pub kind: Kind,
    /// URL as it is written.
    pub target: String,
    /// Place as messages name it.
    pub shown: String,
}

impl Outside {
    /// Returns scheme and host of the URL, or the host alone, as a policy names them; `None` if it is relative. What is
    /// no URL is taken as relative: a policy must not get words of its own from it.
    pub(super) fn origin(&self) -> Option<String> {
        let lower = self.target.to_ascii_lowercase();
        let Some((scheme @ ("https:" | "http:" | ""), rest)) = lower.split_once("//") else { return None };
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let is_host =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']');
        let valid = !host.is_empty() && host.bytes().all(is_host);
        valid.then(|| if scheme.is_empty() { host.to_owned() } else { format!("{scheme}//{host}") })
    }
}

/// Kind of a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Picture, font, sound or film.
    Passive,
    /// Style sheet, which may fetch more.
    Style,
    /// Connection that is made early. Nothing is fetched.
    Connection,
    /// Script, frame, and all else that may act.
    Active,
}

impl<'d> Markup<'d> {
    /// Scans a document.
    pub(super) fn of(html: &'d str) -> Self {
        let mut markup = Self::default();
        let mut attributes = Vec::new();
        let mut rest = html;
        while let Some(at) = memchr(b'<', rest.as_bytes()) {
            rest = &rest[at + 1..];
            if let Some(comment) = rest.strip_prefix("!--") {
                rest = comment.split_once("-->").map_or("", |(_, after)| after);
                continue;
            }
            let length = rest.bytes().take_while(u8::is_ascii_alphanumeric).count();
            if length == 0 {
                continue;
            }
            let name = lower_case(&rest[..length]);
            rest = split_tag(&rest[length..], &mut attributes);
            markup.look_at(&name, &attributes);
            if let "style" | "script" = &*name {
                let (text, after) = rest.split_at(end_of(&name, rest));
                rest = after;
                match &*name {
                    "style" => markup.style(text),
                    _ => markup.scripts.push(text),
                }
            }
        }
        markup
    }

    fn look_at(&mut self, name: &str, attributes: &[Attribute<'_>]) {
        let rel = attributes.iter().find(|(attribute, _)| attribute == "rel").map_or("", |(_, rel)| rel);
        for (attribute, value) in attributes {
            let kind = match (name, &**attribute) {
                ("link", "href") => kind_of_link(rel),
                ("use" | "image", "href" | "xlink:href") => (!value.starts_with('#')).then_some(Kind::Passive),
                ("script" | "iframe" | "frame" | "embed", "src") | ("object", "data") => Some(Kind::Active),
                (_, "src" | "srcset" | "poster" | "background") => Some(Kind::Passive),
                _ => None,
            };
            let inline = value.starts_with("data:") || value.is_empty();
            if let Some(kind) = kind.filter(|_| !inline) {
                // Pictures for several widths: `a.png 1x, b.png 2x`.
                let targets = value.split(',').filter_map(|one| one.split_whitespace().next());
                let targets: Vec<&str> = if attribute == "srcset" { targets.collect() } else { vec![*value] };
                targets.iter().for_each(|target| {
                    self.outside(kind, target, format!("<{name} {attribute}=\"{target}\">"));
                });
            } else if attribute == "style" {
                self.styled = true;
                self.refused.push(format!("<{name} style=…> is refused by the page's policy: write it into style.css"));
                self.urls(value);
            } else if attribute.len() > 2 && attribute.starts_with("on") {
                self.handlers.push(unescaped(value));
                self.refused
                    .push(format!("<{name} {attribute}=…> is refused by the page's policy: write it into script.js"));
            }
        }
    }

    fn outside(&mut self, kind: Kind, target: &str, shown: String) {
        self.refused.push(format!("{shown} is not part of the page"));
        self.outside.push(Outside { kind, target: target.trim().to_owned(), shown });
    }

    fn style(&mut self, text: &'d str) {
        for import in memchr_iter(b'@', text.as_bytes()) {
            let Some(behind) = strip(&text.as_bytes()[import..], b"@import") else { continue };
            let behind = text[text.len() - behind.len()..]
                .trim_start_matches(|c: char| c.is_whitespace() || "url(\"'".contains(c));
            let target: String = behind.chars().take_while(|c| !matches!(c, ')' | '"' | '\'' | ';')).collect();
            self.outside(Kind::Style, &target, "@import".to_owned());
        }
        self.urls(text);
        self.styles.push(text);
    }

    /// Looks at each `url(…)` of a style.
    fn urls(&mut self, text: &str) {
        for bracket in memchr_iter(b'(', text.as_bytes()) {
            if !text.as_bytes()[..bracket].last_chunk::<3>().is_some_and(|word| word.eq_ignore_ascii_case(b"url")) {
                continue;
            }
            let target = text[bracket + 1..].trim_start_matches(['"', '\'', ' ']);
            if !target.starts_with("data:") && !target.starts_with('#') {
                let target: String = target.chars().take_while(|c| !matches!(c, ')' | '"' | '\'')).collect();
                let shown: String = target.chars().take(60).collect();
                self.outside(Kind::Passive, &target, format!("url({shown})"));
            }
        }
    }
}

/// Name of an attribute in lower case, and its value as it is written.
type Attribute<'d> = (Cow<'d, str>, &'d str);

/// Returns a name in lower case, without a copy if it is written so.
fn lower_case(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) { name.to_ascii_lowercase().into() } else { name.into() }
}

/// Returns where the text of a `<style>` or `<script>` ends: at its closing tag, or with the document.
fn end_of(name: &str, text: &str) -> usize {
    let text = text.as_bytes();
    let mut closing = memmem::find_iter(text, "</");
    closing.find(|at| strip(&text[at + 2..], name.as_bytes()).is_some()).unwrap_or(text.len())
}

/// Returns the kind of a `<link>` by its `rel`; `None` if nothing is fetched.
fn kind_of_link(rel: &str) -> Option<Kind> {
    let rel = rel.to_ascii_lowercase();
    let has = |word: &str| rel.split_ascii_whitespace().any(|own| own == word);
    if has("stylesheet") {
        return Some(Kind::Style);
    }
    if has("preconnect") || has("dns-prefetch") {
        return Some(Kind::Connection);
    }
    let passive = ["icon", "apple-touch-icon", "mask-icon", "preload", "prefetch"].into_iter().any(has);
    let active = ["modulepreload", "manifest", "import"].into_iter().any(has);
    if passive { Some(Kind::Passive) } else { active.then_some(Kind::Active) }
}

/// Returns the text of an attribute, without the references that quotes and brackets are written as.
fn unescaped(value: &str) -> String {
    let references = [
        ("&quot;", "\""),
        ("&#34;", "\""),
        ("&apos;", "'"),
        ("&#39;", "'"),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&amp;", "&"),
    ];
    references.iter().fold(value.to_owned(), |text, (reference, character)| text.replace(reference, character))
}

/// Reads the attributes of a tag, starting after its name, into `attributes`, and returns the text after the tag.
fn split_tag<'d>(text: &'d str, attributes: &mut Vec<Attribute<'d>>) -> &'d str {
    let ends_name = |byte: u8| byte.is_ascii_whitespace() || matches!(byte, b'=' | b'>' | b'/');
    attributes.clear();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if rest.is_empty() {
            return rest;
        }
        if let Some(after) = rest.strip_prefix('>') {
            return after;
        }
        let end = rest.bytes().position(ends_name).unwrap_or(rest.len());
        // A stray character is skipped, so that the loop ends.
        let end = end.max(rest.chars().next().map_or(1, char::len_utf8));
        let name = lower_case(&rest[..end]);
        rest = rest[end..].trim_ascii_start();
        let Some(behind) = rest.strip_prefix('=') else {
            attributes.push((name, ""));
            continue;
        };
        let behind = behind.trim_ascii_start();
        let (value, after) = match behind.bytes().next() {
            Some(quote @ (b'"' | b'\'')) => behind[1..].split_once(char::from(quote)).unwrap_or((&behind[1..], "")),
            _ => {
                let ends_value = |byte: u8| byte.is_ascii_whitespace() || byte == b'>';
                behind.split_at(behind.bytes().position(ends_value).unwrap_or(behind.len()))
            }
        };
        attributes.push((name, value));
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inline_parts_are_found_and_foreign_ones_told() {
        let html = "<!doctype html><!-- <script>no</script> --><Style>a{}</style><script>\"<b>\"</script>\
            <img src=\"data:x\" alt='a>b'><img src=logo.png><a href=\"https://x\" onclick=run()>x</a>\
            <p style=\"color:red\"></p><link rel=stylesheet href=\"/x.css\"><svg><use href=\"#a\"/></svg>\
            <style>@import 'x'; b{background:url(\"y.png\")} c{background:url(data:z)}</style><script src=z></script>";
        let markup = Markup::of(html);
        assert_eq!(markup.styles.len(), 2);
        assert_eq!(markup.scripts, ["\"<b>\"", ""]);
        insta::assert_snapshot!(markup.refused.join("\n"));
    }

    #[test]
    fn words_count_in_any_case() {
        let markup = Markup::of("<STYLE>@IMPORT 'x'; b{background:URL(y)}</STYLE><IMG SRC=z><Script>1</SCRIPT>2");
        let targets: Vec<&str> = markup.outside.iter().map(|outside| outside.target.as_str()).collect();
        assert_eq!(targets, ["x", "y", "z"]);
        assert_eq!((markup.styles.len(), markup.scripts), (1, vec!["1"]));
    }

    #[test]
    fn any_text_is_looked_through_to_its_end() {
        for odd in
            ["<", "<a", "<a ", "<a =", "<a b=", "<a b='", "<script>", "<!--", "<é>", "<a é=é/>", "<style>", "< a>"]
        {
            Markup::of(odd);
        }
    }
}

//! Scanner of documents: finds inline parts for the Content-Security-Policy, and parts that it would forbid.
//!
//! The documents come from templates, not from an adversary. A browser refuses everything that is overlooked here.

/// Inline parts and references of a document.
#[derive(Clone, Debug, Default)]
pub(super) struct Markup {
    /// Text of each `<style>`.
    pub styles: Vec<String>,
    /// Text of each `<script>`.
    pub scripts: Vec<String>,
    /// Parts that a browser would fetch, or refuse to run.
    pub refused: Vec<String>,
}

impl Markup {
    /// Scans a document.
    pub(super) fn of(html: &str) -> Self {
        let mut markup = Self::default();
        let mut rest = html;
        while let Some(at) = rest.find('<') {
            rest = &rest[at + 1..];
            if let Some(comment) = rest.strip_prefix("!--") {
                rest = comment.split_once("-->").map_or("", |(_, after)| after);
                continue;
            }
            let name: String =
                rest.chars().take_while(|c| c.is_ascii_alphanumeric()).collect::<String>().to_ascii_lowercase();
            if name.is_empty() {
                continue;
            }
            let (attributes, after) = split_tag(&rest[name.len()..]);
            rest = after;
            markup.look_at(&name, &attributes);
            if let "style" | "script" = name.as_str() {
                let close = format!("</{name}");
                let end = rest.to_ascii_lowercase().find(&close).unwrap_or(rest.len());
                let text = rest[..end].to_owned();
                rest = &rest[end..];
                match name.as_str() {
                    "style" => markup.style(text),
                    _ => markup.scripts.push(text),
                }
            }
        }
        markup
    }

    fn look_at(&mut self, name: &str, attributes: &[(String, String)]) {
        for (attribute, value) in attributes {
            let fetched = match (name, attribute.as_str()) {
                ("link", "href") | (_, "src" | "srcset" | "poster" | "background") | ("object", "data") => true,
                ("use" | "image", "href" | "xlink:href") => !value.starts_with('#'),
                _ => false,
            };
            let inline = value.starts_with("data:") || value.is_empty();
            if fetched && !inline {
                self.refused.push(format!("<{name} {attribute}=\"{value}\"> is not part of the page"));
            } else if attribute == "style" {
                self.refused.push(format!("<{name} style=…> is refused by the page's policy: write it into style.css"));
            } else if attribute.len() > 2 && attribute.starts_with("on") {
                self.refused
                    .push(format!("<{name} {attribute}=…> is refused by the page's policy: write it into script.js"));
            }
        }
    }

    fn style(&mut self, text: String) {
        let lower = text.to_ascii_lowercase();
        if lower.contains("@import") {
            self.refused.push("@import is not part of the page".to_owned());
        }
        for (at, _) in lower.match_indices("url(") {
            let target = text[at + 4..].trim_start_matches(['"', '\'', ' ']);
            if !target.starts_with("data:") && !target.starts_with('#') {
                let shown: String = target.chars().take(60).take_while(|c| !matches!(c, ')' | '"' | '\'')).collect();
                self.refused.push(format!("url({shown}) is not part of the page"));
            }
        }
        self.styles.push(text);
    }
}

/// Returns the attributes of a tag, starting after its name, and the text after the tag.
fn split_tag(text: &str) -> (Vec<(String, String)>, &str) {
    let mut attributes = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if rest.is_empty() {
            return (attributes, rest);
        }
        if let Some(after) = rest.strip_prefix('>') {
            return (attributes, after);
        }
        let end = rest.find(|c: char| c.is_ascii_whitespace() || matches!(c, '=' | '>' | '/')).unwrap_or(rest.len());
        // A stray character is skipped, so that the loop ends.
        let end = end.max(rest.chars().next().map_or(1, char::len_utf8));
        let name = rest[..end].to_ascii_lowercase();
        rest = rest[end..].trim_start();
        let Some(behind) = rest.strip_prefix('=') else {
            attributes.push((name, String::new()));
            continue;
        };
        let behind = behind.trim_start();
        let (value, after) = match behind.chars().next() {
            Some(quote @ ('"' | '\'')) => behind[1..].split_once(quote).unwrap_or((&behind[1..], "")),
            _ => {
                let end = behind.find(|c: char| c.is_ascii_whitespace() || c == '>').unwrap_or(behind.len());
                behind.split_at(end)
            }
        };
        attributes.push((name, value.to_owned()));
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
    fn any_text_is_looked_through_to_its_end() {
        for odd in
            ["<", "<a", "<a ", "<a =", "<a b=", "<a b='", "<script>", "<!--", "<é>", "<a é=é/>", "<style>", "< a>"]
        {
            Markup::of(odd);
        }
    }
}

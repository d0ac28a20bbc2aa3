//! Notation of a text that is no TOML: told by its lines, so that one message says it and not one for each line.

use std::ops::Range;

/// Notation of another program's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notation {
    Json,
    Yaml,
    Haproxy,
    /// Blocks in braces, as nginx and Caddy have them.
    Blocks,
    Xml,
}

impl Notation {
    /// Returns the notation of a text that is no TOML, with its first line, if nearly all of it is written so.
    pub(super) fn of(text: &str) -> Option<(Self, Range<usize>)> {
        let lines = significant(text);
        let (first, first_line) = lines.first().cloned()?;
        let notation = match first_line.trim_start_matches('\u{feff}') {
            line if line.starts_with('{') && is_json(&lines) => Self::Json,
            line if line.starts_with('<') => Self::Xml,
            _ if share(&lines, |line| line.starts_with('[') || is_assignment(line)) > TOML_LEFT => return None,
            _ if lines.iter().any(|(_, line)| line.ends_with('{')) && share(&lines, is_of_block) >= MOST => {
                Self::Blocks
            }
            line if HAPROXY.contains(&line.split(' ').next().unwrap_or_default()) => Self::Haproxy,
            _ if lines.len() > 1 && share(&lines, is_yaml) >= MOST => Self::Yaml,
            _ => return None,
        };
        Some((notation, first))
    }

    /// Returns the name for a message.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Yaml => "YAML",
            Self::Haproxy => "a config of HAProxy",
            Self::Blocks => "a config of nginx or Caddy",
            Self::Xml => "XML",
        }
    }
}

/// Returns the lines that are neither blank nor comments, trimmed, each with its span.
fn significant(text: &str) -> Vec<(Range<usize>, &str)> {
    let mut lines = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let shown = line.trim();
        if !shown.is_empty() && !shown.starts_with('#') {
            let indent = line.len() - line.trim_start().len();
            lines.push((start + indent..start + indent + shown.len(), shown));
        }
        start += line.len();
    }
    lines
}

/// Returns the share of the lines that fulfil a condition.
fn share(lines: &[(Range<usize>, &str)], condition: impl Fn(&str) -> bool) -> f64 {
    let count = |number: usize| u32::try_from(number).map_or(f64::MAX, f64::from);
    count(lines.iter().filter(|(_, line)| condition(line)).count()) / count(lines.len())
}

fn is_json(lines: &[(Range<usize>, &str)]) -> bool {
    let is_member = |line: &str| line.contains("\":") || line.contains("\" :");
    lines.iter().any(|(_, line)| is_member(line)) || lines.iter().all(|(_, line)| line.starts_with(['{', '}']))
}

/// Returns true for `key = value`.
fn is_assignment(line: &str) -> bool {
    let Some((key, _)) = line.split_once('=') else { return false };
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '"' | '\'');
    !key.trim().is_empty() && key.trim().chars().all(allowed)
}

/// Returns true for `word value;`, `word {`, `}`, or for a directive of Caddy's.
fn is_of_block(line: &str) -> bool {
    let line = line.split(" #").next().unwrap_or_default().trim_end();
    line.ends_with(['{', '}', ';']) || (!line.contains('=') && line.contains(' '))
}

/// Returns true for `key: value`, `key:`, `- item` and the lines around documents.
fn is_yaml(line: &str) -> bool {
    let line = line.split(" #").next().unwrap_or_default().trim_end();
    let item = line.strip_prefix("- ").unwrap_or(line).trim_start();
    let is_key = |key: &str| !key.is_empty() && !key.contains(['=', '[', '{', ';']);
    let member = item.split_once(": ").or_else(|| item.strip_suffix(':').map(|key| (key, "")));
    matches!(line, "---" | "..." | "-") || line.starts_with("- ") || member.is_some_and(|(key, _)| is_key(key))
}

/// Sections with which a config of HAProxy begins.
const HAPROXY: [&str; 6] = ["global", "defaults", "frontend", "backend", "listen", "resolvers"];
/// Share of lines in a notation from which a text is taken for it.
const MOST: f64 = 0.8;
/// Share of lines in TOML above which a text is TOML with mistakes.
const TOML_LEFT: f64 = 0.2;

#[cfg(test)]
mod tests {
    use super::Notation;

    #[test]
    fn what_people_have_at_hand_is_told_from_toml_with_mistakes() {
        let cases = [
            (
                Some("YAML"),
                "listen:\n  - address: 0.0.0.0:8080\nroutes:\n  web:\n    upstream: http://127.0.0.1:3000\n",
            ),
            (Some("YAML"), "---\n# mine\nhttp:\n  routers:\n    app:\n      rule: Host(`a.example`) && x == y\n"),
            (Some("JSON"), "{\n  \"listen\": [{ \"address\": \":8080\" }]\n}\n"),
            (Some("JSON"), "{}"),
            (Some("a config of nginx"), "server {\n    listen 80;\n}\n"),
            (Some("a config of nginx"), "example.com {\n\treverse_proxy localhost:3000\n\tencode gzip\n}\n"),
            (Some("a config of HAProxy"), "frontend web\n    bind :80\n    default_backend app\n"),
            (Some("XML"), "<configuration>\n</configuration>\n"),
            (None, "listen = [{ address: \"0.0.0.0:8080\" }]\n"),
            (None, "[[listen]]\naddress: \"0.0.0.0:8080\"\n[routes.web]\nupstream: \"http://127.0.0.1:3000\"\n"),
            (None, "upstream: http://127.0.0.1:3000\n"),
            (None, "web = offline\n"),
            (None, ""),
        ];
        for (name, text) in cases {
            let found = Notation::of(text).map(|(notation, _)| notation.name());
            assert_eq!(found.is_some(), name.is_some(), "{text}{found:?}");
            assert!(found.zip(name).is_none_or(|(found, name)| found.starts_with(name)), "{text}{found:?}");
        }
    }
}

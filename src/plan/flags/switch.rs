//! Switches that are on: files whose existence is a flag, and the message that such a file may hold.

use std::fmt;
use std::path::Path;

use super::super::config::Config;
use super::super::text::Text;
use super::Mode;

/// Switch of a route that is on.
#[derive(Clone, Debug, PartialEq)]
pub struct Switched {
    /// Name of the route.
    pub route: String,
    /// File that exists, as it is shown.
    pub file: String,
    /// Mode that the route gets.
    pub mode: Mode,
    /// Content of the file, for the page.
    pub message: Option<Text>,
}

/// Reason for which the content of a switch is no message. The switch is on all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwitchNote {
    /// HTML, as Capistrano writes it, or a script.
    Markup,
    /// JSON, as Laravel writes it. It may hold a secret.
    Data,
    /// Bytes that are no text.
    Binary,
    /// Text that is longer than a message may be.
    Long,
    /// Word that says the opposite of what the file does.
    Off,
}

/// Returns the switches that are on. `content` returns the bytes of a file that exists.
pub fn switched<B: AsRef<[u8]>>(config: &Config, content: impl Fn(&Path) -> Option<B>) -> Vec<Switched> {
    let switches = config.routes.iter().filter_map(|route| Some((route, route.switch.as_ref()?)));
    let files = switches.flat_map(|(route, switch)| switch.files.iter().map(move |file| (route, switch.mode, file)));
    let on = files.filter_map(|(route, mode, file)| {
        let message = message(content(file)?.as_ref()).ok().flatten();
        Some(Switched { route: route.name.clone(), file: file.display().to_string(), mode, message })
    });
    on.collect()
}

/// Reads the message that a switch holds; `None` if it holds nothing to show.
///
/// # Errors
/// The reason, if the content is no message for people.
pub fn message(bytes: &[u8]) -> Result<Option<Text>, SwitchNote> {
    let text = std::str::from_utf8(bytes).map_err(|_| SwitchNote::Binary)?;
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.len() > LONGEST {
        return Err(SwitchNote::Long);
    }
    if text.starts_with('<') {
        return Err(SwitchNote::Markup);
    }
    if text.starts_with(['{', '[']) && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() {
        return Err(SwitchNote::Data);
    }
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err(SwitchNote::Binary);
    }
    let word = text.to_ascii_lowercase();
    if OFF.contains(&word.as_str()) {
        return Err(SwitchNote::Off);
    }
    // A script's mark, its process or its time tells visitors nothing.
    let is_mark = ON.contains(&word.as_str()) || text.bytes().all(|byte| byte.is_ascii_digit());
    Ok((!is_mark).then(|| Text::from(text.replace("\r\n", "\n").as_str())))
}

impl fmt::Display for SwitchNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Markup => "its content is markup, and not shown: the page has its own look",
            Self::Data => "its content is JSON, and not shown",
            Self::Binary => "its content is no text, and not shown",
            Self::Long => "its content is longer than the 4096 bytes of a message, and not shown",
            Self::Off => "its content is not looked at: the file closes the route as long as it exists",
        })
    }
}

/// Bytes of a message, as in the flag file.
const LONGEST: usize = 4096;
/// Words that only say that the switch is on.
const ON: [&str; 6] = ["on", "true", "yes", "enabled", "maintenance", "down"];
const OFF: [&str; 6] = ["0", "off", "false", "no", "disabled", "up"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_a_message_and_what_scripts_write_is_none() {
        let long = "x".repeat(LONGEST + 1);
        for (content, expected) in [
            ("", Ok(None)),
            ("\u{feff} \r\n", Ok(None)),
            ("1\n", Ok(None)),
            ("1779199200", Ok(None)),
            ("On", Ok(None)),
            ("Back at three.\r\nAnd so on.\n", Ok(Some(Text::from("Back at three.\nAnd so on.")))),
            ("すぐ戻ります", Ok(Some(Text::from("すぐ戻ります")))),
            ("{ see our blog }", Ok(Some(Text::from("{ see our blog }")))),
            ("0", Err(SwitchNote::Off)),
            ("off\n", Err(SwitchNote::Off)),
            ("<!DOCTYPE html>\n<title>Down</title>", Err(SwitchNote::Markup)),
            ("<?php\nreturn 1;", Err(SwitchNote::Markup)),
            (r#"{"retry":60,"secret":"s3cret"}"#, Err(SwitchNote::Data)),
            ("\u{1b}[31mred", Err(SwitchNote::Binary)),
            (&long, Err(SwitchNote::Long)),
        ] {
            assert_eq!(message(content.as_bytes()), expected, "{content:?}");
        }
        assert_eq!(message(b"\xff\xfe\0m"), Err(SwitchNote::Binary));
    }
}

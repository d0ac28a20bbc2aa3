//! HTML text of a mail: one column, no images, and nothing that has to be loaded.
//!
//! Mail programs know little of HTML: layout is by tables, styles stand at their elements, and only the dark colours are
//! in a style sheet, which a program may ignore.

use std::fmt::{self, Display, Formatter, Write as _};

use super::digest::Section;
use super::{Action, Direction, Letter, Links};

/// Writes the document.
pub(super) fn html(letter: &Letter, links: &Links) -> String {
    document(letter, &main(letter), links)
}

/// Writes the document of a digest with the parts for its incidents.
pub(super) fn digest(frame: &Letter, parts: &[String], more: Option<&str>, links: &Links) -> String {
    let more = more.map(|more| format!("<p style=\"margin:0 0 16px\">{}</p>\n", Escaped(more))).unwrap_or_default();
    document(frame, &format!("{}{}{more}", main(frame), parts.concat()), links)
}

/// Writes the part of a digest for an incident.
pub(super) fn section(section: &Section, frame: &Letter) -> String {
    let mut html = String::new();
    let mut put = |part: fmt::Arguments<'_>| {
        let _ = html.write_fmt(part);
    };
    put(format_args!(
        "<h2 style=\"margin:0 0 8px;padding-top:16px;border-top:1px solid #d9dedb;font-size:18px;line-height:1.3;\
         font-weight:600\">{}</h2>\n",
        Escaped(&section.heading)
    ));
    put(format_args!("{}{}", stage(section.stage.as_ref()), facts(&section.facts, sides(frame.direction).1)));
    for (when, paragraphs) in &section.updates {
        put(format_args!("<p class=\"soft\" style=\"margin:0;font-size:14px;color:#55605a\">{}</p>\n", Escaped(when)));
        for paragraph in paragraphs {
            put(format_args!("<p style=\"margin:0 0 12px\">{}</p>\n", Lines(paragraph)));
        }
    }
    put(format_args!("{}", button(section.action.as_ref())));
    html
}

fn document(letter: &Letter, main: &str, links: &Links) -> String {
    let (direction, side) = sides(letter.direction);
    let language = Escaped(&letter.language);
    // Some programs drop `html` and `body`: language and direction stand at an inner element, too.
    format!(
        "<!DOCTYPE html>\n<html lang=\"{language}\" dir=\"{direction}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta name=\"supported-color-schemes\" content=\"light dark\">\n<title>{title}</title>\n\
         <style>{DARK}</style>\n</head>\n<body class=\"back\" style=\"margin:0;padding:0;background:#f4f5f4\">\n\
         <div class=\"back\" lang=\"{language}\" dir=\"{direction}\" style=\"background:#f4f5f4\">\n\
         <table role=\"presentation\" width=\"100%\" cellpadding=\"0\" cellspacing=\"0\" border=\"0\"><tr>\
         <td align=\"center\" style=\"padding:24px 12px\">\n\
         <table role=\"presentation\" width=\"600\" cellpadding=\"0\" cellspacing=\"0\" border=\"0\" class=\"card\" \
         style=\"width:100%;max-width:600px;background:#ffffff;border-radius:8px\"><tr>\
         <td align=\"{side}\" class=\"text\" style=\"padding:28px 28px 24px;font-family:{FONT};font-size:16px;\
         line-height:1.5;color:#1b1f1d;text-align:{side}\">\n{main}{foot}</td></tr></table>\n\
         </td></tr></table>\n</div>\n</body>\n</html>\n",
        title = Escaped(&letter.subject),
        foot = foot(letter, links),
    )
}

/// Returns a direction, and the side at which its lines begin.
fn sides(direction: Direction) -> (&'static str, &'static str) {
    match direction {
        Direction::Ltr => ("ltr", "left"),
        Direction::Rtl => ("rtl", "right"),
    }
}

fn main(letter: &Letter) -> String {
    let mut html = String::new();
    let mut put = |part: fmt::Arguments<'_>| {
        // A text in memory takes all that is written.
        let _ = html.write_fmt(part);
    };
    let soft = "margin:0 0 8px;font-size:14px;color:#55605a";
    put(format_args!("<p class=\"soft\" style=\"{soft}\">{}</p>\n", Escaped(&letter.site)));
    put(format_args!(
        "<h1 style=\"margin:0 0 12px;font-size:22px;line-height:1.3;font-weight:600\">{}</h1>\n",
        Escaped(&letter.heading)
    ));
    put(format_args!("{}", stage(letter.stage.as_ref())));
    for paragraph in &letter.paragraphs {
        put(format_args!("<p style=\"margin:0 0 16px\">{}</p>\n", Lines(paragraph)));
    }
    put(format_args!("{}", facts(&letter.facts, sides(letter.direction).1)));
    put(format_args!("{}", button(letter.action.as_ref())));
    html
}

fn stage(stage: Option<&String>) -> String {
    // A word beside a shape: the colour alone says nothing.
    let put = |stage: &String| format!("<p style=\"margin:0 0 16px;font-weight:600\">&#9679; {}</p>\n", Escaped(stage));
    stage.map(put).unwrap_or_default()
}

fn facts(facts: &[(String, String)], side: &str) -> String {
    if facts.is_empty() {
        return String::new();
    }
    let row = |(label, value): &(String, String)| {
        format!(
            "<tr><th scope=\"row\" align=\"{side}\" valign=\"top\" class=\"soft\" style=\"padding:2px 0;\
             font-weight:400;font-size:14px;color:#55605a;text-align:{side}\">{}&nbsp;&nbsp;&nbsp;</th>\
             <td align=\"{side}\" valign=\"top\" style=\"padding:2px 0;font-size:14px\">{}</td></tr>\n",
            Escaped(label),
            Escaped(value)
        )
    };
    let rows: String = facts.iter().map(row).collect();
    format!("<table cellpadding=\"0\" cellspacing=\"0\" border=\"0\" style=\"margin:0 0 20px\">\n{rows}</table>\n")
}

fn button(action: Option<&Action>) -> String {
    let button = "display:inline-block;padding:10px 18px;border-radius:6px;background:#0b6b53;color:#ffffff;\
                  font-weight:600;text-decoration:none";
    let put = |action: &Action| {
        let (url, label) = (Escaped(&action.url), Escaped(&action.label));
        format!("<p style=\"margin:0 0 24px\"><a href=\"{url}\" style=\"{button}\">{label}</a></p>\n")
    };
    action.map(put).unwrap_or_default()
}

fn foot(letter: &Letter, links: &Links) -> String {
    let own = [(&letter.manage, links.manage.as_ref()), (&letter.unsubscribe, links.end())];
    let own: Vec<String> = own
        .into_iter()
        .filter_map(|(label, url)| {
            let (label, url) = (Escaped(label), Escaped(url?));
            Some(format!("<a href=\"{url}\" class=\"soft\" style=\"color:#55605a\">{label}</a>"))
        })
        .collect();
    let line = if own.is_empty() { "" } else { "<br>" };
    format!(
        "<p class=\"soft\" style=\"margin:0;padding-top:16px;border-top:1px solid #d9dedb;font-size:13px;color:#55605a\">\
         {}{line}{}</p>\n",
        Escaped(&letter.reason),
        own.join(" &middot; ")
    )
}

/// Text that is nothing but text in HTML, in elements and in quoted attributes.
struct Escaped<'t>(&'t str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&#34;")?,
                '\'' => f.write_str("&#39;")?,
                control if control.is_control() => {}
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// Text whose ends of lines are kept.
struct Lines<'t>(&'t str);

impl Display for Lines<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (place, line) in self.0.trim_end().lines().enumerate() {
            if place > 0 {
                f.write_str("<br>")?;
            }
            Escaped(line).fmt(f)?;
        }
        Ok(())
    }
}

const FONT: &str = "-apple-system,BlinkMacSystemFont,'Segoe UI',Roboto,Helvetica,Arial,sans-serif";
/// Dark colours. Contrast is above 7 to 1 for texts and above 4.5 to 1 for what is soft.
const DARK: &str = "@media (prefers-color-scheme:dark){.back{background:#111412 !important}\
    .card{background:#1b1f1d !important}.text{color:#eef1ef !important}.soft{color:#a9b4ae !important}}";

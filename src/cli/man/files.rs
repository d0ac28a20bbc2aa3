//! Manual pages of the two files, from the tables that the parsers use, as `docs/config.md` is.

use std::fmt::Write as _;

use crate::plan::key::Table;
use crate::plan::keys::{CONFIG, FLAGS};

use super::escaped;

/// Page of a file, in section 5 of the manual.
pub(super) struct Page {
    /// Title, as `man 5 TITLE` takes it.
    pub(super) title: &'static str,
    name: &'static str,
    description: &'static str,
    example: &'static str,
    also: &'static str,
    top: &'static Table,
}

/// Every page.
pub(super) const PAGES: [Page; 2] = [
    Page {
        title: "backsoon.toml",
        name: "config of backsoon",
        description: "The config says where clients connect, and which routes go to which upstreams. It is written in \
                      TOML, and read again when it changes: a file with a mistake in it changes nothing. Paths are \
                      relative to its folder. `${NAME}` in a string is a variable of the environment, \
                      `${NAME:-default}` has a value in its place, and `$${` stands for itself.",
        example: "[[listen]]\naddress = \"0.0.0.0:8080\"\n\n[routes.web]\nhost = \"www.example.com\"\n\
                  upstream = \"http://127.0.0.1:3000\"\n",
        also: "backsoon-maintenance.toml(5), backsoon(1), backsoon-check(1), backsoon-explain(1)",
        top: &CONFIG,
    },
    Page {
        title: "backsoon-maintenance.toml",
        name: "flag file of backsoon",
        description: "The flag file says which routes are closed, and which maintenance is planned. It is \
                      `maintenance.toml` beside the config unless `maintenance` of the config names another. It is \
                      written in TOML, by hand or by `backsoon on`, `off` and `plan`, and read again when it changes: \
                      a file with a mistake in it changes nothing.",
        example: "[routes]\nweb = \"offline\"\n\n[[windows]]\nid = \"MNT-7\"\ntitle = \"New disks\"\n\
                  starts = 2026-05-19T02:00:00Z\nends = 2026-05-19T04:00:00Z\nroutes = { web = \"read-only\" }\n",
        also: "backsoon.toml(5), backsoon(1), backsoon-on(1), backsoon-plan(1)",
        top: &FLAGS,
    },
];

impl Page {
    /// Returns the name of the page's file.
    pub(super) fn file(&self) -> String {
        format!("{}.5", self.title)
    }

    /// Returns the page in the language of manual pages.
    pub(super) fn text(&self) -> String {
        let mut page = format!(".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n.TH {} 5\n", escaped(self.title));
        let _ = writeln!(page, ".SH NAME\n{} \\- {}", escaped(self.title), escaped(self.name));
        let _ = writeln!(page, ".SH DESCRIPTION\n{}", prose(self.description));
        for table in self.top.with_inner() {
            let _ = writeln!(page, ".SH \"{}\"\n{}", escaped(table.header).replace('"', "\"\""), prose(table.about));
            for key in table.keys {
                let form = key.form.described(&|table| format!("`{}`", table.header));
                let absence = key.absence();
                let absence = if absence.is_empty() { absence } else { format!(". Without it: {absence}") };
                let absence = if absence.contains("*required*") { ". Required".to_owned() } else { absence };
                let _ = writeln!(page, ".TP\n\\fB{}\\fR", escaped(key.name));
                let _ = writeln!(page, "{}\n.br\n{}", prose(key.meaning), prose(&format!("Type: {form}{absence}.")));
            }
        }
        let example: Vec<String> = self.example.lines().map(escaped).collect();
        let _ = writeln!(page, ".SH EXAMPLES\n.nf\n{}\n.fi", example.join("\n"));
        let _ = writeln!(page, ".SH \"SEE ALSO\"\n{}", escaped(self.also));
        // Only ASCII is read alike everywhere.
        let named = |c: char| if c.is_ascii() { c.to_string() } else { format!("\\[u{:04X}]", u32::from(c)) };
        page.chars().map(named).collect()
    }
}

/// Returns a line of Markdown as one of a manual page: code is bold, and of a link only its text is left.
fn prose(markdown: &str) -> String {
    let mut text = String::new();
    for (index, part) in without_links(markdown).split('`').enumerate() {
        if index % 2 == 1 {
            let _ = write!(text, "\\fB{}\\fR", escaped(part).trim_start_matches("\\&"));
        } else {
            text.push_str(escaped(part).trim_start_matches("\\&"));
        }
    }
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

fn without_links(text: &str) -> String {
    let mut left = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("](") {
        let (before, text) = before.rsplit_once('[').unwrap_or((before, ""));
        left.extend([before, text]);
        rest = after.split_once(')').map_or("", |(_, behind)| behind);
    }
    left.push_str(rest);
    left
}

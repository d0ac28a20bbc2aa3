//! Adds a window to a flag file, removes one, and leaves an occurrence of one out.

use jiff::Timestamp;
use jiff::civil::Date;
use toml_edit::{Document, Item, TableLike, Value};

use super::{EditError, TableRef, find, form, parse, set, splice};
use crate::plan::flags::{self, Flags, Mode, Past};

/// Window to be written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NewWindow {
    /// Id, which no other window of the file has.
    pub id: String,
    /// Heading of the page.
    pub title: Option<String>,
    /// Paragraphs of the page.
    pub message: Option<String>,
    /// Span, once or again and again.
    pub when: NewSpan,
    /// Time from the announcement to the start, as the file writes it.
    pub announce: Option<String>,
    /// Names of the routes, or `*`.
    pub routes: Vec<String>,
    /// Mode of the routes.
    pub mode: Mode,
}

/// Span of a window to be written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum NewSpan {
    /// From an instant to another.
    Once(Timestamp, Timestamp),
    /// Rule of `every`.
    Every(String),
}

/// Adds a window behind everything that the text has.
///
/// # Errors
/// If `text` is not TOML, or has its windows in an array that is written as a value.
pub(crate) fn add(text: &str, window: &NewWindow) -> Result<String, EditError> {
    let doc = parse(text)?;
    if let Some(item @ (Item::Value(_) | Item::Table(_))) = doc.get("windows") {
        return Err(form(text, find::span(item).start, "windows"));
    }
    let newline = splice::newline(text);
    let joint = match text.trim_start_matches('\u{feff}') {
        "" => String::new(),
        _ if !text.ends_with('\n') => newline.repeat(2),
        _ if splice::last_line(text).trim().is_empty() => String::new(),
        _ => newline.to_owned(),
    };
    let lines: String = lines(window).iter().map(|line| format!("{line}{newline}")).collect();
    Ok(format!("{text}{joint}{lines}"))
}

/// Returns the lines of a window.
fn lines(window: &NewWindow) -> Vec<String> {
    let quoted = |text: &String| splice::quoted(text);
    let mode = splice::quoted(splice::word(window.mode));
    let routes = window.routes.iter().map(|route| format!("{} = {mode}", splice::key(route)));
    let routes = format!("{{ {} }}", routes.collect::<Vec<_>>().join(", "));
    let (starts, ends, every) = match &window.when {
        NewSpan::Once(starts, ends) => (Some(starts.to_string()), Some(ends.to_string()), None),
        NewSpan::Every(rule) => (None, None, Some(quoted(rule))),
    };
    let keys = [
        ("id", Some(quoted(&window.id))),
        ("title", window.title.as_ref().map(quoted)),
        ("message", window.message.as_ref().map(quoted)),
        ("starts", starts),
        ("ends", ends),
        ("every", every),
        ("announce", window.announce.as_ref().map(quoted)),
        ("routes", Some(routes)),
    ];
    let keys = keys.into_iter().filter_map(|(name, value)| Some(format!("{name:8} = {}", value?)));
    std::iter::once("[[windows]]".to_owned()).chain(keys).collect()
}

/// Removes a window with its services and steps. A comment above it stays, because it may be about more.
///
/// # Errors
/// If `text` is not TOML, has no such window, or has it in a form from which it cannot be cut in one piece.
pub(crate) fn remove(text: &str, id: &str) -> Result<String, EditError> {
    let doc = parse(text)?;
    let windows = match doc.get("windows") {
        Some(Item::ArrayOfTables(windows)) => windows,
        Some(item @ (Item::Value(_) | Item::Table(_))) => return Err(form(text, find::span(item).start, "windows")),
        Some(Item::None) | None => return Err(EditError::NoWindow { id: id.to_owned() }),
    };
    let window = windows.iter().find(|window| window.get("id").and_then(Item::as_str) == Some(id));
    let window = window.ok_or_else(|| EditError::NoWindow { id: id.to_owned() })?;
    let header = window.span().unwrap_or_default();
    let mut after = text.to_owned();
    after.replace_range(splice::lines_and_gap(text, header.start, end_of(window).max(header.end)), "");
    if after.trim().is_empty() {
        // The proxy would refuse an empty file.
        "[routes]\n".clone_into(&mut after);
    }
    // A table of something else may lie between the window and its steps.
    if is_without(text, &after, id) { Ok(after) } else { Err(form(text, header.start, id)) }
}

/// Returns the end of the last value or header of a table and of the tables below it.
fn end_of(table: &dyn TableLike) -> usize {
    let ends = table.iter().map(|(_, item)| match item {
        Item::ArrayOfTables(tables) => tables.iter().map(|table| span_end(table).max(end_of(table))).max().unwrap_or(0),
        Item::Table(table) => span_end(table).max(end_of(table)),
        Item::Value(Value::InlineTable(table)) if table.is_dotted() => end_of(table),
        Item::Value(_) | Item::None => find::span(item).end,
    });
    ends.max().unwrap_or(0)
}

fn span_end(table: &toml_edit::Table) -> usize {
    table.span().map_or(0, |span| span.end)
}

/// Returns true if two texts flag the same, but for one window that only the first has.
fn is_without(before: &str, after: &str, id: &str) -> bool {
    let now = Timestamp::now();
    let read = |text: &str| flags::parse_at("maintenance.toml", text, now).0.map(|parsed| parsed.flags);
    let (Some(before), Some(after)) = (read(before), read(after)) else { return false };
    let rest = |flags: Flags| Flags { windows: Vec::new(), past: Past::default(), ..flags };
    before.every_window().filter(|window| window.id != id).eq(after.every_window()) && rest(before) == rest(after)
}

/// Leaves the occurrence out that begins on a day of the window's time zone.
///
/// # Errors
/// Returns the reason for which the text stays as it was.
pub(crate) fn leave_out(text: &str, id: &str, day: Date) -> Result<String, EditError> {
    let doc = parse(text)?;
    let value = match excepted(text, &doc, id)? {
        None => format!("[{day}]"),
        Some(list) => match list.strip_suffix(']') {
            Some(open) => {
                let open = open.trim_end().trim_end_matches(',');
                let joint = if open.ends_with('[') { "" } else { ", " };
                format!("{open}{joint}{day}]")
            }
            None => format!("[{list}, {day}]"),
        },
    };
    set(text, TableRef::Window(id), &[("except", Some(value))])
}

/// Returns the exceptions of a window as the text spells them.
fn excepted<'t>(text: &'t str, doc: &Document<&str>, id: &str) -> Result<Option<&'t str>, EditError> {
    let mut windows = find::windows(doc).into_iter();
    let window = windows.find(|window| window.get("id").and_then(Item::as_str) == Some(id));
    let window = window.ok_or_else(|| EditError::NoWindow { id: id.to_owned() })?;
    let Some(item) = window.get("except") else { return Ok(None) };
    text.get(find::span(item)).filter(|list| !list.contains('#')).map(Some).ok_or_else(|| {
        // A comment inside the list would swallow what is put behind it.
        form(text, find::span(item).start, "except")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# top
[routes]
web = \"offline\" # now

# 1
[[windows]]
id = \"A\"
starts = 2026-05-19T14:00:00Z
ends = 2026-05-19T15:00:00Z
routes = { web = \"offline\" }
[[windows.steps]]
title = \"Snapshot\"
[[windows.steps]]
title = \"Migrate\"

# 2
[[windows]]
id = \"B\"
every = \"Sun 02:00-04:00 UTC\"
routes = { \"*\" = \"hold\" }
";

    fn window() -> NewWindow {
        NewWindow {
            id: "C".to_owned(),
            title: Some("A \"new\" disk".to_owned()),
            message: None,
            when: NewSpan::Once("2026-12-06T01:00:00Z".parse().unwrap(), "2026-12-06T02:00:00Z".parse().unwrap()),
            announce: Some("48h".to_owned()),
            routes: vec!["web".to_owned(), "*".to_owned()],
            mode: Mode::ReadOnly,
        }
    }

    const ADDED: &str = "\
[[windows]]
id       = \"C\"
title    = \"A \\\"new\\\" disk\"
starts   = 2026-12-06T01:00:00Z
ends     = 2026-12-06T02:00:00Z
announce = \"48h\"
routes   = { web = \"read-only\", \"*\" = \"read-only\" }
";

    #[test]
    fn a_window_is_added_behind_all_else() {
        assert_eq!(add(FILE, &window()).unwrap(), format!("{FILE}\n{ADDED}"));
        assert_eq!(add("", &window()).unwrap(), ADDED);
        assert_eq!(add("[routes]\n\n", &window()).unwrap(), format!("[routes]\n\n{ADDED}"));
        assert_eq!(add("# a", &window()).unwrap(), format!("# a\n\n{ADDED}"));
        let crlf = add("\u{feff}[routes]\r\n", &window()).unwrap();
        assert_eq!(crlf, format!("\u{feff}[routes]\r\n\r\n{}", ADDED.replace('\n', "\r\n")));
        assert!(matches!(add("\nwindows = []\n", &window()), Err(EditError::Form { line: 2, .. })));
        assert!(matches!(add("web = = 3", &window()), Err(EditError::Parse { .. })));
    }

    #[test]
    fn a_window_is_removed_with_its_steps_and_nothing_else() {
        let without = FILE.replace(&FILE[FILE.find("[[windows]]").unwrap()..FILE.find("# 2").unwrap()], "");
        assert_eq!(remove(FILE, "A").unwrap(), without.replace("# 1\n", "# 1\n\n"));
        let second = FILE.find("[[windows]]\nid = \"B\"").unwrap();
        assert_eq!(remove(FILE, "B").unwrap(), FILE[..second]);
        assert_eq!(remove(&add(FILE, &window()).unwrap(), "C").unwrap(), FILE);
        assert_eq!(remove(ADDED, "C").unwrap(), "[routes]\n");
        assert_eq!(remove(FILE, "X"), Err(EditError::NoWindow { id: "X".to_owned() }));
        let torn = FILE.replace("[[windows.steps]]\ntitle = \"Migrate\"", "[forced]\nweb = 2026-01-01T00:00:00Z\n$");
        let torn = torn.replace('$', "[[windows.steps]]\ntitle = \"Migrate\"");
        assert!(matches!(remove(&torn, "A"), Err(EditError::Form { line: 6, .. })));
    }

    #[test]
    fn exceptions_are_added_to_those_that_are_there() {
        let day = Date::constant(2026, 12, 27);
        for (before, after) in [
            ("", "except = [2026-12-27]\n"),
            ("except = 2026-12-20\n", "except = [2026-12-20, 2026-12-27]\n"),
            ("except = []\n", "except = [2026-12-27]\n"),
            ("except = [2026-12-20] # x\n", "except = [2026-12-20, 2026-12-27] # x\n"),
            ("except = [\n  2026-12-20,\n]\n", "except = [\n  2026-12-20, 2026-12-27]\n"),
        ] {
            assert_eq!(leave_out(&format!("{FILE}{before}"), "B", day).unwrap(), format!("{FILE}{after}"), "{before}");
        }
        let commented = format!("{FILE}except = [\n 2026-12-20, # x\n]\n");
        assert!(matches!(leave_out(&commented, "B", day), Err(EditError::Form { .. })));
    }
}

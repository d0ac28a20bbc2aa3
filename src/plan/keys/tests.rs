//! Every entry of the tables against the parsers.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::key::{Absent, Form, Key, Rule, Table};
use super::super::problem::Problem;
use super::super::units::{LARGEST, as_duration};
use super::super::{config, flags};
use super::*;

/// Keys and values of a table, in TOML.
type Entries = Vec<(String, String)>;

/// File that a table belongs to.
#[derive(Clone, Copy)]
enum File {
    Config,
    Flags,
}

/// Parsed file, to be compared: `None` if it was refused.
type Parsed = Option<String>;

impl File {
    const ALL: [(Self, &'static Table); 2] = [(Self::Config, &CONFIG), (Self::Flags, &FLAGS)];

    fn parse(self, text: &str) -> (Parsed, Vec<Problem>) {
        match self {
            Self::Config => {
                let (config, problems) = config::parse("file", text);
                (config.map(|config| format!("{config:#?}")), problems)
            }
            Self::Flags => {
                let (parsed, problems) = flags::parse("file", text);
                (parsed.map(|parsed| format!("{:#?}", parsed.flags)), problems)
            }
        }
    }
}

/// Function that makes a value from one of a table in it.
type Wrap<'w> = &'w dyn Fn(String) -> String;

/// Table at its place in a file.
struct Site<'s> {
    file: File,
    table: &'static Table,
    /// Returns the text of a file with these entries in the table, and all else as small as can be.
    text: &'s dyn Fn(Entries) -> String,
}

impl Site<'_> {
    /// Parses the file with a key of the table set.
    fn with(&self, key: &Key, value: &str) -> (Parsed, Vec<Problem>) {
        self.file.parse(&(self.text)(smallest(self.table, Some((key.name, value)))))
    }

    fn without(&self, key: &Key) -> (Parsed, Vec<Problem>) {
        let mut entries = smallest(self.table, None);
        entries.retain(|(name, _)| name != key.name);
        self.file.parse(&(self.text)(entries))
    }

    #[track_caller]
    fn takes(&self, key: &Key, value: &str) {
        let (parsed, problems) = self.with(key, value);
        assert!(parsed.is_some(), "{} {} = {value}: {problems:#?}", self.table.header, key.name);
    }

    #[track_caller]
    fn refuses(&self, key: &Key, value: &str) {
        let (parsed, _) = self.with(key, value);
        assert!(parsed.is_none(), "{} {} = {value} is taken", self.table.header, key.name);
    }
}

/// Calls `visit` for every table of both files.
fn every_table(visit: &mut dyn FnMut(&Site<'_>)) {
    for (file, table) in File::ALL {
        let lines = |entries: Entries| -> String {
            entries.into_iter().map(|(name, value)| format!("{name} = {value}\n")).collect()
        };
        visit_tables(file, table, &lines, visit);
    }
}

fn visit_tables(file: File, table: &'static Table, text: &dyn Fn(Entries) -> String, visit: &mut dyn FnMut(&Site<'_>)) {
    visit(&Site { file, table, text });
    for key in table.keys {
        for_tables(&key.form, &|inner| inner, &mut |inner, wrap| {
            let text = |entries: Entries| text(smallest(table, Some((key.name, &wrap(in_line(entries))))));
            visit_tables(file, inner, &text, visit);
        });
    }
}

/// Calls `found` for the tables in a form, with what makes a value of the form from one of the table.
fn for_tables(form: &'static Form, wrap: Wrap<'_>, found: &mut dyn FnMut(&'static Table, Wrap<'_>)) {
    match form {
        Form::Table(table) => found(table, wrap),
        Form::Tables(table, _) => found(table, &|inner| wrap(format!("[{inner}]"))),
        Form::Array(item, _) | Form::OneOrArray(item, _) => {
            for_tables(item, &|inner| wrap(format!("[{inner}]")), found);
        }
        Form::Routes(item) | Form::Targets(item) | Form::Upstreams(item) => {
            for_tables(item, &|inner| wrap(format!("{{ web = {inner} }}")), found);
        }
        Form::Statuses(item, _) => for_tables(item, &|inner| wrap(format!("{{ 4xx = {inner} }}")), found),
        Form::Either(forms) => forms.iter().for_each(|form| for_tables(form, wrap, found)),
        Form::Text(_)
        | Form::Words(_)
        | Form::Paragraphs(_)
        | Form::Translated(_)
        | Form::Bool
        | Form::Count(..)
        | Form::Share
        | Form::Size(..)
        | Form::Time(..)
        | Form::Instant
        | Form::Choice(_)
        | Form::Fields(_) => {}
    }
}

fn in_line(entries: Entries) -> String {
    let entries: Vec<String> = entries.into_iter().map(|(name, value)| format!("{name} = {value}")).collect();
    format!("{{ {} }}", entries.join(", "))
}

/// Returns what a table must have, with one key set to a value.
fn smallest(table: &'static Table, set: Option<(&str, &str)>) -> Entries {
    let is_set = |name: &str| set.is_some_and(|(key, _)| key == name);
    let mut names: Vec<&str> =
        table.keys.iter().filter(|key| matches!(key.absent, Absent::Required)).map(|key| key.name).collect();
    for rule in table.rules {
        match rule {
            Rule::Needs(key, other) if is_set(key) => names.push(other),
            Rule::Instead { key, of, .. } if !is_set(key) && !names.contains(key) => names.extend(*of),
            Rule::OneOf(keys) if !keys.iter().any(|key| is_set(key) || names.contains(key)) => names.push(keys[0]),
            Rule::Needs(..) | Rule::Instead { .. } | Rule::OneOf(_) => {}
        }
    }
    if table.header == "[[listen]]" {
        // A route may name it.
        names.push("name");
    }
    names.retain(|name| !is_set(name));
    let value = |name: &str| match (table.header, name, set) {
        ("[[listen]]", "address", Some(("mode" | "owner" | "group", _)))
        | ("[admin]", "address", Some(("mode" | "owner" | "group" | "write", _)))
        | ("[status]", "listen", Some(("mode" | "owner" | "group", _))) => "\"unix:/socket\"".to_owned(),
        ("[[listen]]", "name", _) => "\"internal\"".to_owned(),
        ("[[listen]]", "address", _) => "\"[::1]:1\"".to_owned(),
        ("[[windows]]", "starts", _) => "2026-05-18T14:00:00Z".to_owned(),
        ("[[windows]]", "ends", _) => "2026-05-20T14:00:00Z".to_owned(),
        ("[routes.NAME]", "upstream", Some(("ca" | "client_cert", _))) => "\"https://127.0.0.1\"".to_owned(),
        _ => sample(&table.keys.iter().find(|key| key.name == name).expect("the key of a rule").form),
    };
    let mut entries: Entries = names.into_iter().map(|name| (name.to_owned(), value(name))).collect();
    entries.extend(set.map(|(key, value)| (key.to_owned(), value.to_owned())));
    entries
}

/// Returns a value of a form.
fn sample(form: &'static Form) -> String {
    match form {
        Form::Text(pattern) => format!("{:?}", pattern.example),
        Form::Words(_) | Form::Paragraphs(_) | Form::Translated(_) => "\"words\"".to_owned(),
        Form::Bool => "true".to_owned(),
        Form::Count(least, _) | Form::Size(least, _) => least.to_string(),
        Form::Share => "0.5".to_owned(),
        Form::Time(least, _) => format!("{:?}", as_duration(*least)),
        Form::Instant => "2026-05-19T14:00:00Z".to_owned(),
        Form::Choice(words) => format!("{:?}", words[0]),
        Form::Array(item, _) | Form::OneOrArray(item, _) => format!("[{}]", sample(item)),
        Form::Fields(_) => "{ X-Name = \"words\" }".to_owned(),
        Form::Statuses(item, _) => format!("{{ 4xx = {} }}", sample(item)),
        Form::Table(table) => in_line(smallest(table, None)),
        Form::Tables(table, _) => format!("[{}]", in_line(smallest(table, None))),
        Form::Routes(item) | Form::Targets(item) | Form::Upstreams(item) => format!("{{ web = {} }}", sample(item)),
        Form::Either(forms) => sample(&forms[0]),
    }
}

#[test]
fn each_table_can_be_written_with_its_required_keys_alone() {
    every_table(&mut |site| {
        let text = (site.text)(smallest(site.table, None));
        let (parsed, problems) = site.file.parse(&text);
        assert!(parsed.is_some(), "{}: {text}\n{problems:#?}", site.table.header);
    });
}

#[test]
fn a_key_is_required_if_the_table_says_so() {
    every_table(&mut |site| {
        for key in site.table.keys {
            let either = site.table.rules.iter().any(|rule| match rule {
                Rule::Instead { of, .. } => of.contains(&key.name),
                Rule::OneOf(keys) => keys[0] == key.name,
                Rule::Needs(..) => false,
            });
            let required = either || matches!(key.absent, Absent::Required);
            let (parsed, problems) = site.without(key);
            assert_eq!(parsed.is_none(), required, "{} {}: {problems:#?}", site.table.header, key.name);
        }
    });
}

#[test]
fn a_default_is_what_applies_without_the_key() {
    every_table(&mut |site| {
        for key in site.table.keys {
            let Some(default) = key.default() else { continue };
            let (written, problems) = site.with(key, &default);
            let (absent, _) = site.without(key);
            assert!(written.is_some(), "{} {} = {default}: {problems:#?}", site.table.header, key.name);
            assert_eq!(written, absent, "{} {} = {default}", site.table.header, key.name);
        }
    });
}

#[test]
fn a_form_takes_what_it_says_and_no_more() {
    every_table(&mut |site| site.table.keys.iter().for_each(|key| bounds(site, key, &key.form, &|value| value)));
}

/// Tries the bounds of a form. `wrap` makes the key's value from one of the form.
fn bounds(site: &Site<'_>, key: &Key, form: &'static Form, wrap: Wrap<'_>) {
    let takes = |value: String| site.takes(key, &wrap(value));
    let refuses = |value: String| site.refuses(key, &wrap(value));
    let text = |length: usize| format!("{:?}", "w".repeat(length));
    let time = |time: Duration| format!("{:?}", as_duration(time));
    match form {
        Form::Words(longest) => {
            takes(text(*longest));
            refuses(text(longest + 1));
            refuses("\"two\\nlines\"".to_owned());
        }
        Form::Paragraphs(longest) => {
            takes(text(*longest));
            refuses(text(longest + 1));
            takes("\"two\\nlines\"".to_owned());
        }
        Form::Translated(longest) => {
            takes(text(*longest));
            refuses(text(longest + 1));
            takes("{ en = \"words\", pt-BR = \"palavras\" }".to_owned());
        }
        Form::Count(least, most) | Form::Size(least, most) => {
            takes(least.to_string());
            least.checked_sub(1).into_iter().for_each(|less| refuses(less.to_string()));
            if *most < LARGEST {
                takes(most.to_string());
                refuses((most + 1).to_string());
            }
        }
        Form::Time(least, most) => {
            takes(time(*least));
            takes(time(*most));
            refuses(time(*most + Duration::from_millis(1)));
            least.checked_sub(Duration::from_millis(1)).into_iter().for_each(|less| refuses(time(less)));
        }
        Form::Choice(words) => {
            words.iter().for_each(|word| takes(format!("{word:?}")));
            refuses("\"xyzzy\"".to_owned());
        }
        Form::Array(item, counts) | Form::OneOrArray(item, counts) => {
            bounds(site, key, item, &|value| wrap(format!("[{value}]")));
            lengths(site, key, item, counts);
        }
        Form::Either(forms) => forms.iter().for_each(|form| bounds(site, key, form, wrap)),
        Form::Fields(longest) => {
            takes(sample(form));
            refuses(format!("{{ X-Name = {} }}", text(longest + 1)));
            refuses("{ \"no name\" = \"words\" }".to_owned());
        }
        Form::Statuses(item, most) => {
            bounds(site, key, item, &|value| wrap(format!("{{ 401 = {value} }}")));
            refuses(format!("{{ xyzzy = {} }}", sample(item)));
            let many: Vec<String> = (0..=*most).map(|last| format!("40{last} = {}", sample(item))).collect();
            assert_too_many(site, key, &format!("{{ {} }}", many.join(", ")));
        }
        Form::Text(_) | Form::Bool | Form::Share | Form::Instant => takes(sample(form)),
        Form::Routes(item) | Form::Targets(item) | Form::Upstreams(item) => {
            bounds(site, key, item, &|value| wrap(format!("{{ web = {value} }}")))
        }
        Form::Tables(table, most) => {
            let tables = vec![in_line(smallest(table, None)); most + 1];
            assert_too_many(site, key, &format!("[{}]", tables.join(", ")));
        }
        Form::Table(_) => {}
    }
}

fn lengths(site: &Site<'_>, key: &Key, item: &'static Form, counts: &RangeInclusive<usize>) {
    if *counts.start() == 0 {
        site.takes(key, "[]");
    } else {
        site.refuses(key, "[]");
    }
    if *counts.end() < usize::MAX {
        let items = vec![sample(item); counts.end() + 1];
        assert_too_many(site, key, &format!("[{}]", items.join(", ")));
    }
}

fn assert_too_many(site: &Site<'_>, key: &Key, value: &str) {
    let (_, problems) = site.with(key, value);
    let told = problems.iter().any(|problem| problem.message.starts_with("too many"));
    assert!(told, "{} {}: {problems:#?}", site.table.header, key.name);
}

#[test]
fn a_star_is_every_route_in_the_flag_file_alone() {
    every_table(&mut |site| {
        for key in site.table.keys {
            if let Form::Routes(item) = &key.form {
                site.refuses(key, &format!("{{ \"*\" = {} }}", sample(item)));
            }
            if let Form::Targets(item) = &key.form {
                site.takes(key, &format!("{{ \"*\" = {} }}", sample(item)));
            }
        }
    });
}

#[test]
fn a_meaning_is_a_sentence() {
    every_table(&mut |site| {
        for key in site.table.keys {
            let meaning = key.meaning;
            assert!(meaning.ends_with('.') && !meaning.contains("  "), "{} {}", site.table.header, key.name);
        }
    });
}

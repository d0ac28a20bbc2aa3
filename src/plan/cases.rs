//! Text cases: `tests/cases/**/*.case`, one case a file.
//!
//! A case consists of sections, each under a line `=== NAME`. The inputs are `config`, `environment` (lines `NAME=value`),
//! `file NAME` (which the config may include),
//! `flags`, `secret` (of every route that names a secret file), `now INSTANT`, `requests` and `course`. The expected sections are `problems`, `parsed`,
//! `verdicts` and `life`. A case without a config has [`CONFIG`]. A case without expected sections expects no problem.
//! `UPDATE=1 cargo test --lib` rewrites the expected sections.
//!
//! A `course` is a list of events for one proxy, in order: lines of an instant, with or without words. Changes that are due
//! between two lines are made in their time. The words are
//! - `asleep`: the machine slept since the line before, and nothing was changed;
//! - `restart`: the process ends, and another goes on from its state;
//! - `flags NAME`: the section `flags NAME` becomes the flag file;
//! - `ROUTE remaining N`: number of requests in flight that began before the route went down;
//! - `ROUTE passed N`, `ROUTE fails WORDS`: result of its checks;
//! - `ROUTE measured ERRORS/REQUESTS P99ms HANGING`, `ROUTE lately ERRORS/REQUESTS`: measurements now, and before.
//!
//! In its `life` each line is followed by the changes up to it, and by the state after it.

mod life;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use jiff::Timestamp;

use super::compile::{Inputs, Known, compile};
use super::config::{self, Config, Include, Included, Policy, Surroundings};
use super::flags::{self, Parsed};
use super::page::Renderers;
use super::pass::Key;
use super::problem::Problem;
use super::snapshot::Snapshot;
use super::verdict::{Head, Pass, Verdict, decide};

/// Function that computes an expected section. It runs if the case has the section, and always for `problems`.
type Run = fn(&Case) -> String;

/// Expected sections, in the order in which an update writes them.
const EXPECTED: [(&str, Run); 4] =
    [("problems", problems), ("parsed", parsed), ("verdicts", verdicts), ("life", life::life)];

/// Config of a case without one.
const CONFIG: &str = "\
[[listen]]
address = \"127.0.0.1:8080\"
[routes.web]
host = \"www.example.com\"
upstream = \"http://127.0.0.1:3000\"
[routes.api]
host = \"api.example.com\"
upstream = \"http://127.0.0.1:3001\"
";

/// One case file.
struct Case {
    /// Sections in the order of the file: the words after `===`, and the text below.
    sections: Vec<(String, String)>,
}

impl Case {
    fn parse(text: &str) -> Self {
        let mut sections: Vec<(String, String)> = Vec::new();
        for line in text.split_inclusive('\n') {
            if let Some(name) = line.strip_prefix("=== ") {
                sections.push((name.trim().to_owned(), String::new()));
            } else if let Some((_, body)) = sections.last_mut() {
                body.push_str(line);
            } else {
                sections.push((String::new(), line.to_owned()));
            }
        }
        Self { sections }
    }

    /// Returns a section's text. `\x1b` and its like stand for the byte, which an editor would lose.
    fn section(&self, name: &str) -> Option<String> {
        let (_, body) = self.sections.iter().find(|(section, _)| section == name)?;
        let is_input = !EXPECTED.iter().any(|(expected, _)| *expected == name);
        Some(if is_input { unescape(body) } else { body.clone() })
    }

    /// Returns the instant of `=== now`, or the default one.
    fn now(&self) -> Timestamp {
        let written = self.sections.iter().find_map(|(section, _)| section.strip_prefix("now "));
        written.unwrap_or("2026-05-19T14:05:00Z").trim().parse().expect("`now` is an instant")
    }

    /// Parses the config.
    fn config(&self) -> (Option<Config>, Vec<Problem>) {
        let environment = self.section("environment").unwrap_or_default();
        let variable = |name: &str| {
            let mut lines = environment.lines().filter_map(|line| line.split_once('='));
            lines.find(|(other, _)| *other == name).map(|(_, value)| value.to_owned())
        };
        let text = self.section("config");
        let text = text.as_deref().unwrap_or(CONFIG);
        let mut include = |include: &Include| self.included(include);
        let mut surroundings = Surroundings { variable: &variable, include: &mut include };
        let parsed = config::parse_in("backsoon.toml", text, &mut surroundings);
        (parsed.config, parsed.problems)
    }

    /// Returns the file of a name, or all files with the ending of a pattern.
    fn included(&self, include: &Include) -> Vec<Included> {
        let files = self.sections.iter().filter_map(|(section, text)| Some((section.strip_prefix("file ")?, text)));
        let has = |file: &str| match include {
            Include::File(path) => path == Path::new(file),
            Include::Matching(path) => Path::new(file).parent() == path.parent(),
        };
        let found = files.filter(|(file, _)| has(file));
        let mut included: Vec<_> =
            found.map(|(file, text)| Included { file: file.into(), text: Ok(text.clone()) }).collect();
        if let (Include::File(path), true) = (include, included.is_empty()) {
            included.push(Included { file: path.clone(), text: Err("there is no such file".to_owned()) });
        }
        included
    }

    /// Parses the flags.
    fn flags(&self) -> (Option<Parsed>, Vec<Problem>) {
        flags::parse("maintenance.toml", self.section("flags").as_deref().unwrap_or_default())
    }

    /// Compares the expected sections, or rewrites them. Returns the differences.
    fn check(&mut self, path: &Path, update: bool) -> Vec<String> {
        let mut differences = Vec::new();
        for (name, run) in EXPECTED {
            let expected = self.section(name);
            if expected.is_none() && name != "problems" {
                continue;
            }
            let found = trimmed(&run(self));
            let expected = trimmed(&expected.unwrap_or_default());
            if found == expected {
                continue;
            }
            if update {
                self.replace(name, &found);
            } else {
                differences.push(format!("{}: {name}\n--- expected\n{expected}\n--- found\n{found}\n", path.display()));
            }
        }
        if update {
            fs::write(path, self.to_text()).expect("a case can be written");
        }
        differences
    }

    fn replace(&mut self, name: &str, body: &str) {
        self.sections.retain(|(section, _)| section != name || !body.is_empty());
        match self.sections.iter_mut().find(|(section, _)| section == name) {
            Some((_, old)) => *old = format!("{body}\n"),
            None if body.is_empty() => {}
            None => self.sections.push((name.to_owned(), format!("{body}\n"))),
        }
    }

    fn to_text(&self) -> String {
        let section = |(name, body): &(String, String)| match name.as_str() {
            "" => body.clone(),
            name => format!("=== {name}\n{body}"),
        };
        self.sections.iter().map(section).collect()
    }
}

/// Writes every problem of both files, as the command prints them.
fn problems(case: &Case) -> String {
    let (config, mut problems) = case.config();
    let (flags, more) = case.flags();
    problems.extend(more);
    if let (Some(config), Some(flags)) = (config, flags) {
        problems.extend(flags.unknown_routes(config.routes.iter().map(|route| route.name.as_str())));
    }
    problems.iter().map(|problem| format!("{problem}\n\n")).collect()
}

/// Writes the values of the case's files.
fn parsed(case: &Case) -> String {
    let mut parsed = String::new();
    if case.section("config").is_some() {
        parsed += &case.config().0.map_or_else(String::new, |config| format!("{config:#?}\n"));
    }
    if case.section("flags").is_some() {
        parsed += &case.flags().0.map_or_else(String::new, |parsed| format!("{:#?}\n", parsed.flags));
    }
    parsed
}

/// Writes the decisions at the case's instant: each route that is not open, the next change, then each of `===
/// requests`.
///
/// A request is `METHOD URL`, or `METHOD HOST TARGET` if the target is no part of a URL. `from ADDRESS` may follow. Its
/// fields are on indented lines below it.
fn verdicts(case: &Case) -> String {
    let (Some(config), Some(parsed)) = (case.config().0, case.flags().0) else {
        return "the input is refused\n".to_owned();
    };
    let renderers = Renderers::built_in();
    let (flags, now) = (&parsed.flags, case.now());
    let key = case.section("secret").map(|secret| Arc::new(Key::new(secret.as_bytes()).expect("a secret")));
    let has_secret = |policy: &Policy| policy.bypass.as_ref().is_some_and(|bypass| bypass.secret_file.is_some());
    let with_secret = config.routes.iter().filter(|route| has_secret(&route.policy));
    let secrets = with_secret.filter_map(|route| Some((route.name.clone(), Arc::clone(key.as_ref()?))));
    let known = Known { secrets: secrets.collect(), ..Known::default() };
    let snapshot = compile(Inputs {
        config: &config,
        flags,
        renderers: &renderers,
        known: &known,
        previous: None,
        now,
        generation: 1,
    });
    let closed = snapshot.routes.iter().filter_map(|route| {
        let closure = route.closure.as_ref()?;
        let until = closure.until.map_or_else(|| "further notice".to_owned(), |until| until.to_string());
        Some(format!("{} {} since {} until {until}\n", route.config.name, closure.mode.as_str(), route.since()))
    });
    let mut text: String = closed.collect();
    if let Some(next) = snapshot.next_change {
        text += &format!("next change {next}\n");
    }
    let requests = case.section("requests").unwrap_or_default();
    let mut lines = requests.lines().filter(|line| !line.is_empty()).peekable();
    while let Some(request) = lines.next() {
        let mut fields = Vec::new();
        while let Some(field) = lines.next_if(|line| line.starts_with(' ')) {
            fields.push(field.trim());
        }
        let shown = [&[request], fields.as_slice()].concat().join(" | ");
        text += &format!("{shown} => {}\n", verdict(&snapshot, request, &fields));
    }
    text
}

fn verdict(snapshot: &Snapshot, request: &str, fields: &[&str]) -> String {
    let (request, from) =
        request.rsplit_once(" from ").map_or((request, None), |(request, from)| (request, Some(from)));
    let (request, listener) =
        request.rsplit_once(" at ").map_or((request, None), |(request, listener)| (request, Some(listener)));
    let peer = from.map(|from| from.parse().expect("an address")).into();
    let mut words = request.split(' ');
    let method = words.next().unwrap_or_default().parse().expect("a method");
    let first = words.next().unwrap_or_default();
    let (host, path) = match (first.strip_prefix("http://"), words.next()) {
        (_, Some(target)) => (first, target),
        (Some(rest), None) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        (None, None) => panic!("a URL, or a host and a target: {request}"),
    };
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let mut headers = HeaderMap::new();
    for field in fields {
        let (name, value) = field.split_once(": ").expect("a field is `name: value`");
        headers.append(HeaderName::from_bytes(name.as_bytes()).expect("a name"), value.parse().expect("a value"));
    }
    match decide(snapshot, Head { method: &method, host, listener, path, query, peer, ..Head::unknown(&headers) }) {
        Verdict::Forward(route, pass @ (Pass::Admitted | Pass::Bypassed)) => {
            format!("forward {} ({})", route.config.name, pass.as_str())
        }
        Verdict::Forward(route, Pass::Open | Pass::Excepted | Pass::ReadOnly) => {
            format!("forward {}", route.config.name)
        }
        Verdict::Show(route, _) => format!("show {}", route.config.name),
        Verdict::Hold(route, _) => format!("hold {}", route.config.name),
        Verdict::Answer(route, fixed) => format!("answer {} {}", route.config.name, fixed.status),
        Verdict::Own(resource, route) => format!("own {resource:?} {}", route.config.name),
        Verdict::Site(mount) => format!("site {mount:?}"),
        Verdict::Redirect(route, redirect) => {
            let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
            format!("redirect {} {} {}", route.config.name, redirect.lasts.status(), redirect.location(&target))
        }
        Verdict::Secure(..) => "secure".to_owned(),
        Verdict::Refuse(refusal) => format!("refuse {refusal:?}"),
    }
}

/// Removes white space at the ends of lines and of the text, which editors change.
fn trimmed(text: &str) -> String {
    text.trim_end().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// Reads `\xHH` as the character with that number, and `\LONG` as 5000 letters.
fn unescape(text: &str) -> String {
    let mut parts = text.split("\\x");
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (digits, rest) = part.split_at(2);
        whole.push(char::from(u8::from_str_radix(digits, 16).expect("two hexadecimal digits")));
        whole.push_str(rest);
    }
    whole.replace("\\LONG", &"long ".repeat(1000))
}

/// Returns every case below a folder, sorted.
fn cases_below(folder: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder of cases") {
        let path = entry.expect("an entry of the folder").path();
        if path.is_dir() {
            paths.extend(cases_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "case") {
            paths.push(path);
        }
    }
    paths.sort();
    paths
}

#[test]
fn every_case_gives_what_it_says() {
    let update = std::env::var_os("UPDATE").is_some_and(|update| update == "1");
    let mut differences = Vec::new();
    let paths = cases_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases"));
    for path in &paths {
        let mut case = Case::parse(&fs::read_to_string(path).expect("a case is text"));
        differences.extend(case.check(path, update));
    }
    assert!(!paths.is_empty(), "there are no cases");
    assert!(
        differences.is_empty(),
        "{}\n{} of {} cases differ",
        differences.join("\n"),
        differences.len(),
        paths.len()
    );
}

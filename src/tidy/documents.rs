//! Checks of the documents: the tables of keys agree with the code, and every link has a target.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::plan::key::{Key, Table};
use crate::plan::keys::{CONFIG, FLAGS};
use crate::plan::problem::Problem;
use crate::plan::{config, flags};

/// Each document with tables of keys, and the table of the file that it describes.
const REFERENCES: [(&str, &Table); 2] = [("docs/config.md", &CONFIG), ("docs/flag-file.md", &FLAGS)];

/// Files and folders whose text may name documents.
const NAMING: [&str; 9] =
    ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "Cargo.toml", "docs", "src", "pages", "deploy"];

/// Folders below which a path that a document names must exist.
const PARTS: [&str; 5] = ["benches/", "deploy/", "examples/", "src/", "tests/"];

#[test]
fn the_documents_have_every_key_as_it_is() {
    let update = std::env::var_os("UPDATE").is_some_and(|update| update == "1");
    for (name, top) in REFERENCES {
        let path = root().join(name);
        let document = fs::read_to_string(&path).expect("the document");
        let updated = with_tables(&document, top);
        if update {
            fs::write(&path, updated).expect("the document can be written");
        } else {
            assert_eq!(document, updated, "UPDATE=1 cargo test --lib documents rewrites {name}");
        }
    }
}

#[test]
fn no_link_of_a_document_leads_nowhere() {
    let documents = texts().into_iter().filter(|(path, _)| is_document(path));
    let wrong: Vec<String> = documents.flat_map(|(path, text)| dead_links(&path, &text)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_document_that_is_named_exists() {
    let mut wrong = Vec::new();
    for (path, text) in texts() {
        let beside = path.parent().unwrap_or(&path).to_owned();
        let exists = |name: &&str| leads_somewhere(root(), name) || leads_somewhere(&beside, name);
        let missing = named_documents(&text).filter(|name| !exists(name));
        wrong.extend(missing.map(|name| format!("{}: {name}", path.display())));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_heading_becomes_the_anchor_that_it_has_on_the_web() {
    assert_eq!(anchor("## `[[listen]]`"), "listen");
    assert_eq!(anchor("### Draining, and what it cuts"), "draining-and-what-it-cuts");
}

#[test]
fn every_path_that_a_document_names_exists() {
    let mut wrong = Vec::new();
    for (path, text) in texts().into_iter().filter(|(path, _)| is_document(path)) {
        let missing = words(&text).filter(|word| PARTS.iter().any(|part| word.starts_with(part)));
        let missing = missing.filter(|word| !root().join(word).exists());
        wrong.extend(missing.map(|word| format!("{}: {word}", path.display())));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_example_of_a_file_has_known_keys_and_values_alone() {
    let mut wrong = Vec::new();
    for (path, text) in texts().into_iter().filter(|(path, _)| is_document(path)) {
        let examples = text.split("\n```toml\n").skip(1).filter_map(|rest| rest.split("\n```").next());
        let examples = examples.filter(|example| !example.starts_with("[dependencies]"));
        wrong.extend(
            examples.filter_map(|example| misunderstood(example).map(|why| format!("{}: {why}", path.display()))),
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Returns a mistake in an example of the config, of the flag file, or of a window alone. An example need not be whole,
/// so a missing key is no mistake.
fn misunderstood(example: &str) -> Option<String> {
    let window = format!("[[windows]]\n{example}");
    let mistakes = |problems: Vec<Problem>| {
        let of_example =
            |problem: &Problem| problem.is_error() && !LACKS.iter().any(|lack| problem.message.contains(lack));
        problems.into_iter().find(of_example).map(|problem| problem.to_string())
    };
    let config = mistakes(config::parse("config", example).1)?;
    let flags = mistakes(flags::parse("flags", example).1)?;
    mistakes(flags::parse("window", &window).1).map(|window| format!("{config}\n{flags}\n{window}"))
}

/// Parts of messages about things that an example lacks.
const LACKS: [&str; 3] = [" has no `", "the config has no ", "the environment has no "];

/// Returns true for Markdown, except for the page's template in Markdown.
fn is_document(path: &Path) -> bool {
    let is_template = ["pages/page.md", "pages/site.md"].iter().any(|template| path.ends_with(template));
    path.extension().is_some_and(|extension| extension == "md") && !is_template
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns every text file that may name documents.
fn texts() -> Vec<(PathBuf, String)> {
    let mut left: Vec<PathBuf> = NAMING.iter().map(|name| root().join(name)).collect();
    let mut texts = Vec::new();
    while let Some(path) = left.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("the folder");
            left.extend(entries.map(|entry| entry.expect("an entry of the folder").path()));
        } else if let Ok(text) = fs::read_to_string(&path) {
            texts.push((path, text));
        }
    }
    texts
}

/// Returns the document with its tables of keys replaced by those of the code.
fn with_tables(document: &str, top: &'static Table) -> String {
    let tables = top.with_inner();
    tables.iter().fold(document.to_owned(), |document, table| {
        let begin = format!("<!-- keys: {} -->\n", table.header);
        let (before, rest) = document.split_once(&begin).unwrap_or_else(|| panic!("no {begin}"));
        let (_, after) = rest.split_once(END).unwrap_or_else(|| panic!("{begin} without an end"));
        format!("{before}{begin}{}{END}{after}", rows(table))
    })
}

fn rows(table: &Table) -> String {
    let row = |key: &Key| {
        format!("| `{}` | {} | {} | {} |\n", key.name, key.form.described(&link), key.absence(), key.meaning)
    };
    let rows: String = table.keys.iter().map(row).collect();
    format!("| key | type | default | meaning |\n|---|---|---|---|\n{rows}")
}

fn link(table: &Table) -> String {
    format!("[`{}`](#{})", table.header, anchor(table.header))
}

/// Returns the links of a document that lead to no file, or to no heading of one.
fn dead_links(path: &Path, text: &str) -> Vec<String> {
    let folder = path.parent().unwrap_or(path);
    let in_file = |link: &str| link.starts_with('#').then(|| anchors(text).contains(&link[1..]));
    let links = links(text).filter(|link| !link.contains("://") && !link.starts_with("mailto:"));
    links
        .filter(|link| !in_file(link).unwrap_or_else(|| leads_somewhere(folder, link)))
        .map(|link| format!("{}: {link}", path.display()))
        .collect()
}

/// Returns true if a file exists, and has the heading that the link names, if any.
fn leads_somewhere(folder: &Path, link: &str) -> bool {
    let Some((file, heading)) = link.split_once('#') else { return folder.join(link).exists() };
    fs::read_to_string(folder.join(file)).is_ok_and(|text| anchors(&text).contains(heading))
}

/// Returns the targets of `[…](…)` outside of code blocks.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let prose = text.split("\n```").step_by(2);
    let parts = prose.flat_map(|prose| prose.split("](").skip(1));
    parts.filter_map(|rest| rest.split_once(')')).map(|(link, _)| link)
}

fn anchors(text: &str) -> HashSet<String> {
    text.split("\n```").step_by(2).flat_map(str::lines).filter(|line| line.starts_with('#')).map(anchor).collect()
}

/// Returns the anchor of a heading as GitHub makes it.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Returns every word of a text that is the path of a Markdown file, or the name of one in capitals. Addresses on the web
/// are left out. (`page.md` alone is a template.)
fn named_documents(text: &str) -> impl Iterator<Item = &str> {
    let is_document = |word: &&str| word.contains('/') || word.starts_with(|c: char| c.is_ascii_uppercase());
    let name = |word: &str| word.split('#').next().is_some_and(|name| name.ends_with(".md"));
    words(text).filter(move |word| name(word) && !word.contains(':')).filter(is_document)
}

/// Returns the words of a text that may be paths.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let belongs = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | ':' | '#');
    text.split(move |c: char| !belongs(c)).map(|word| word.trim_end_matches(['.', ':']))
}

const END: &str = "<!-- /keys -->";

//! The JSON Schemas: they take every file that the parsers take, and refuse the mistakes that a schema can see.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use backsoon::plan::{config, flags};
use serde_json::{Value, json};

use crate::clients::{printed, python, script};

/// Text of a file, and its kind: an argument of `backsoon schema`.
struct Document {
    kind: &'static str,
    name: String,
    text: String,
}

impl Document {
    fn is_valid(&self) -> bool {
        match self.kind {
            "config" => config::parse("file", &self.text).0.is_some(),
            _ => flags::parse("file", &self.text).0.is_some(),
        }
    }

    /// Returns the document in JSON, unless it is not TOML.
    fn value(&self) -> Option<Value> {
        toml::from_str::<toml::Table>(&self.text).ok().map(|table| json_of(toml::Value::Table(table)))
    }
}

/// Returns a value as editors hand it to a validator: instants are strings.
fn json_of(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => json!(number),
        toml::Value::Float(number) => json!(number),
        toml::Value::Boolean(value) => Value::Bool(value),
        toml::Value::Datetime(instant) => Value::String(instant.to_string()),
        toml::Value::Array(items) => items.into_iter().map(json_of).collect(),
        toml::Value::Table(table) => {
            Value::Object(table.into_iter().map(|(key, value)| (key, json_of(value))).collect())
        }
    }
}

/// Returns the reason for each document that its schema refuses, by name.
fn refusals(python: &Path, documents: &[Document]) -> BTreeMap<String, String> {
    let schema = |kind: &str| -> Value {
        let text = printed(Command::new(env!("CARGO_BIN_EXE_backsoon")).args(["schema", kind]));
        serde_json::from_str(&text).unwrap()
    };
    let values = documents.iter().filter_map(|document| {
        Some(json!({ "schema": document.kind, "name": document.name, "value": document.value()? }))
    });
    let given = json!({
        "schemas": { "config": schema("config"), "flags": schema("flags") },
        "documents": values.collect::<Vec<_>>(),
    });
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("documents.json");
    fs::write(&path, given.to_string()).unwrap();
    let refused = printed(script(python, "validate.py").arg(path));
    let line = |line: &str| line.split_once('\t').map(|(name, why)| (name.to_owned(), why.to_owned()));
    refused.lines().filter_map(line).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the configs and flag files of all cases.
fn cases() -> Vec<Document> {
    let mut left = vec![root().join("tests/cases")];
    let mut documents = Vec::new();
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            documents.extend(sections(&path));
        }
    }
    documents
}

/// Returns the inputs of a case. A section is the lines below `=== NAME`.
fn sections(path: &Path) -> Vec<Document> {
    let text = fs::read_to_string(path).unwrap();
    let document = |section: &str| {
        let (header, text) = section.split_once('\n')?;
        let kind = ["config", "flags"].into_iter().find(|kind| header.split(' ').next() == Some(kind))?;
        let name = format!("{} {header}", path.strip_prefix(root()).unwrap().display());
        Some(Document { kind, name, text: text.to_owned() })
    };
    format!("\n{text}").split("\n=== ").filter_map(document).collect()
}

fn shipped() -> Vec<Document> {
    let files = [
        ("config", "deploy/backsoon.toml"),
        ("flags", "deploy/maintenance.toml"),
        ("config", "src/cli/demo/backsoon.toml"),
        ("flags", "src/cli/demo/maintenance.toml"),
    ];
    let document = |(kind, name): (&'static str, &str)| {
        let path: PathBuf = root().join(name);
        Document { kind, name: name.to_owned(), text: fs::read_to_string(path).unwrap() }
    };
    files.into_iter().map(document).collect()
}

#[test]
fn a_schema_takes_every_valid_file_of_the_cases_and_of_what_is_shipped() {
    let Some(python) = python("the schemas take valid files") else { return };
    let documents: Vec<Document> = cases().into_iter().chain(shipped()).collect();
    let refused = refusals(&python, &documents);
    let (valid, invalid): (Vec<_>, Vec<_>) = documents.iter().partition(|document| document.is_valid());
    assert!(valid.len() > 50 && invalid.len() > 50, "{} valid, {} not", valid.len(), invalid.len());
    let wrong: Vec<_> =
        valid.iter().filter_map(|document| Some((&document.name, refused.get(&document.name)?))).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let readable: Vec<_> = invalid.into_iter().filter(|document| document.value().is_some()).collect();
    let seen = readable.iter().filter(|document| refused.contains_key(&document.name)).count();
    println!("the schemas see {seen} of the mistakes in {} files that are TOML", readable.len());
}

#[test]
fn a_schema_sees_the_typical_mistakes() {
    let Some(python) = python("the schemas refuse mistakes") else { return };
    let base = "[[listen]]\naddress = \"[::1]:8080\"\n[routes.web]\nupstream = \"http://127.0.0.1:3000\"\n";
    let config = |text: &str| Document { kind: "config", name: text.replace('\n', " "), text: text.to_owned() };
    let flags = |text: &str| Document { kind: "flags", ..config(text) };
    let mut documents: Vec<Document> = CONFIG_MISTAKES.iter().map(|more| config(&format!("{base}{more}"))).collect();
    documents.extend(CONFIG_TOP_MISTAKES.iter().map(|top| config(&format!("{top}\n{base}"))));
    documents.extend(["", "[routes.web]\nupstream = \"http://127.0.0.1:3000\"\n"].map(config));
    documents.extend(FLAG_MISTAKES.iter().map(|text| flags(text)));
    let refused = refusals(&python, &documents);
    for document in &documents {
        assert!(document.value().is_some() && !document.is_valid(), "{}: no mistake", document.name);
        assert!(refused.contains_key(&document.name), "{}: not seen", document.name);
    }
}

/// Lines behind a route without a mistake.
const CONFIG_MISTAKES: [&str; 17] = [
    "mode = \"offline\"",
    "drain = 30",
    "drain = \"30\"",
    "keep_host = \"yes\"",
    "host = \"https://www.example.com\"",
    "host = \"www.example.com:8080\"",
    "path = \"app\"",
    "path = \"app/*\"",
    "dialect = \"pdf\"",
    "hold = { max_wait = \"30s\", max_held = 0 }",
    "verify = [{ path = \"/healthz\" }]",
    "bypass = { header = \"X-Key\" }",
    "[routes.\"a b\"]\nupstream = \"http://127.0.0.1\"",
    "[routes.api]\nupstream = \"127.0.0.1:3001\"",
    "[limits]\nhead_size = \"1TiB\"",
    "[limits]\nhead_fields = 5",
    "[page]\naccent = \"green\"",
];

/// Lines before the first table.
const CONFIG_TOP_MISTAKES: [&str; 4] = [
    "workers = 0",
    "on_missing = \"close\"",
    "trusted_proxies = [\"proxy.example.com\"]",
    "upstream = \"http://127.0.0.1\"",
];

const FLAG_MISTAKES: [&str; 9] = [
    "web = \"offline\"",
    "[routes]\nweb = true",
    "[routes]\nweb = \"off\"",
    "[routes.web]\nends = 2026-05-19T15:00:00Z",
    "[routes.web]\nuntil = 2026-05-19T15:00:00",
    "[[windows]]\nid = \"a\"\nstarts = 2026-05-19T14:00:00Z",
    "[[windows]]\nid = \"a\"\nevery = \"daily 02:00-04:00 UTC\"\nstarts = 2026-05-19T14:00:00Z",
    "[[windows]]\nid = \"a\"\nstarts = 2026-05-19T14:00:00Z\nends = 2026-05-19T15:00:00Z\nroutes = { web = \"closed\" }",
    "[[windows]]\nid = \"a\"\nevery = \"daily 02:00-04:00 UTC\"\n[[windows.steps]]\ntitle = \"a\"\nstate = \"finished\"",
];

//! `backsoon schema`: JSON Schemas of the config and of the flag file, for editors.
//!
//! Both are made from the tables that the parsers use (`plan/keys`). Everything is inline, without `$ref`, because
//! editors show less of referenced schemas.

use std::io::Write as _;
use std::ops::RangeInclusive;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::exit;
use super::failure::Failure;
use super::streams::Streams;
use crate::plan::key::{
    Absent, DURATION, FIELD_NAME, Form, INSTANT, Key, Pattern, ROUTE_NAME, Rule, SIZE, STATUS_NAME, TARGET, Table,
};
use crate::plan::keys::{CONFIG, FLAGS};

/// The arguments of `schema`.
#[derive(Args, Debug)]
pub(super) struct Schema {
    /// The file that the schema describes
    #[arg(value_enum)]
    file: File,
}

/// The files that have a schema.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum File {
    /// The config, backsoon.toml
    Config,
    /// The flag file, maintenance.toml
    Flags,
}

/// Help text below the options.
pub(super) const AFTER_HELP: &str = "\
An editor with taplo completes and checks a file whose first line names its schema:
  #:schema ./backsoon.schema.json

Examples:
  backsoon schema config > backsoon.schema.json
  backsoon schema flags  > maintenance.schema.json

Exit codes:
  0   written
  74  it cannot be written";

/// Writes the schema.
pub(super) fn run(args: &Schema, streams: &mut Streams) -> Result<u8, Failure> {
    let table = match args.file {
        File::Config => &CONFIG,
        File::Flags => &FLAGS,
    };
    writeln!(streams.data(), "{:#}", schema(table))?;
    Ok(exit::OK)
}

/// Returns the schema of a file.
fn schema(file: &Table) -> Value {
    let mut schema = table(file);
    schema.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    schema.insert("title".to_owned(), json!(file.header));
    Value::Object(schema)
}

fn table(table: &Table) -> Map<String, Value> {
    let properties: Map<_, _> = table.keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    let required: Vec<_> =
        table.keys.iter().filter(|key| matches!(key.absent, Absent::Required)).map(|key| key.name).collect();
    let mut schema = object(json!({
        "type": "object",
        "description": table.about,
        "properties": properties,
        "additionalProperties": false,
    }));
    if !required.is_empty() {
        schema.insert("required".to_owned(), json!(required));
    }
    for rule in table.rules {
        for (keyword, value) in condition(rule) {
            match (schema.get_mut(&keyword), value) {
                // Several keys may need others.
                (Some(Value::Object(before)), Value::Object(mut more)) => before.append(&mut more),
                (_, value) => drop(schema.insert(keyword, value)),
            }
        }
    }
    schema
}

/// Returns the keywords of a condition. Besides [`Rule::Needs`], a table has at most one of each kind.
fn condition(rule: &Rule) -> Map<String, Value> {
    let has = |key: &&str| json!({ "required": [key] });
    object(match rule {
        Rule::Needs(key, other) => json!({ "dependentRequired": { *key: [other] } }),
        Rule::OneOf(keys) => json!({ "oneOf": keys.iter().map(has).collect::<Vec<_>>() }),
        Rule::Instead { key, of, refused } => json!({
            "if": has(key),
            "then": { "not": { "anyOf": of.iter().chain(*refused).map(has).collect::<Vec<_>>() } },
            "else": { "required": of },
        }),
    })
}

/// Returns the schema of a key's value, with its meaning and its default.
fn property(key: &Key) -> Value {
    let mut schema = form(&key.form);
    let range = key.form.range().map(|range| format!("\n\nRange: {range}."));
    let absent = match key.absent {
        Absent::Means(words) => Some(format!("\n\nDefault: {words}.")),
        Absent::Required | Absent::Is(_) | Absent::Count(_) | Absent::Bytes(_) | Absent::Millis(_) => None,
    };
    let description = format!("{}{}{}", key.meaning, range.unwrap_or_default(), absent.unwrap_or_default());
    schema.insert("description".to_owned(), json!(description));
    if let Some(default) = key.default() {
        schema.insert("default".to_owned(), json_of(&default));
    }
    Value::Object(schema)
}

fn form(form: &Form) -> Map<String, Value> {
    object(match form {
        Form::Text(pattern) => text(pattern),
        Form::Words(longest) | Form::Paragraphs(longest) => words(*longest),
        Form::Translated(longest) => json!({ "anyOf": [words(*longest), {
            "type": "object",
            "minProperties": 1,
            "propertyNames": { "pattern": "^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*$" },
            "additionalProperties": words(*longest),
        }] }),
        Form::Bool => json!({ "type": "boolean" }),
        Form::Count(least, most) => whole(*least, *most),
        Form::Share => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
        Form::Size(least, most) => json!({ "anyOf": [whole(*least, *most), text(&SIZE)] }),
        Form::Time(..) => text(&DURATION),
        Form::Instant => text(&INSTANT),
        Form::Choice(words) => json!({ "enum": words }),
        Form::Array(item, counts) => array(item, counts),
        Form::OneOrArray(item, counts) => json!({ "anyOf": [self::form(item), array(item, counts)] }),
        Form::Fields(longest) => by_name(&FIELD_NAME, &Form::Words(*longest)),
        Form::Statuses(item, most) => {
            let mut schema = object(by_name(&STATUS_NAME, item));
            schema.insert("maxProperties".to_owned(), json!(most));
            Value::Object(schema)
        }
        Form::Table(inner) => Value::Object(table(inner)),
        // A schema has no clock, and windows that are over do not count.
        Form::Tables(inner, _) if inner.header == WINDOWS => {
            json!({ "type": "array", "items": table(inner) })
        }
        Form::Tables(inner, most) => json!({ "type": "array", "items": table(inner), "maxItems": most }),
        Form::Routes(item) => by_name(&ROUTE_NAME, item),
        Form::Targets(item) => by_name(&TARGET, item),
        Form::Upstreams(item) => json!({
            "type": "object",
            "propertyNames": { "pattern": r"^\S+$" },
            "additionalProperties": self::form(item),
        }),
        Form::Either(forms) => json!({ "anyOf": forms.iter().map(self::form).collect::<Vec<_>>() }),
    })
}

fn text(pattern: &Pattern) -> Value {
    json!({ "type": "string", "pattern": pattern.regex, "examples": [pattern.example] })
}

/// Returns the schema of words. JSON Schema counts characters, of which there are never more than bytes.
fn words(longest: usize) -> Value {
    json!({ "type": "string", "pattern": r"\S", "maxLength": longest })
}

fn whole(least: u64, most: u64) -> Value {
    json!({ "type": "integer", "minimum": least, "maximum": most })
}

fn array(item: &Form, counts: &RangeInclusive<usize>) -> Value {
    let mut schema = object(json!({ "type": "array", "items": form(item), "minItems": counts.start() }));
    if *counts.end() < usize::MAX {
        schema.insert("maxItems".to_owned(), json!(counts.end()));
    }
    Value::Object(schema)
}

fn by_name(name: &Pattern, item: &Form) -> Value {
    json!({ "type": "object", "propertyNames": { "pattern": name.regex }, "additionalProperties": form(item) })
}

/// Converts a default of the tables from TOML to JSON. No default has a date or a time.
fn json_of(value: &str) -> Value {
    let table = toml::from_str::<Map<String, Value>>(&format!("value = {value}"));
    table.ok().and_then(|mut table| table.remove("value")).unwrap_or_default()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

/// Header of the tables that have no limit in the schema.
const WINDOWS: &str = "[[windows]]";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_refuses_unknown_keys_and_every_property_is_described() {
        for file in [&CONFIG, &FLAGS] {
            let mut left = vec![schema(file)];
            while let Some(value) = left.pop() {
                assert_ne!(value.get("default"), Some(&Value::Null), "{value:#}");
                if value.get("type") == Some(&json!("object")) {
                    assert!(value.get("additionalProperties").is_some(), "{value:#}");
                }
                for property in value.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::values) {
                    assert!(property["description"].as_str().is_some_and(|text| !text.is_empty()), "{property:#}");
                }
                left.extend(value.as_object().into_iter().flat_map(Map::values).cloned());
                left.extend(value.as_array().into_iter().flatten().cloned());
            }
        }
    }

    #[test]
    fn a_default_is_written_in_json() {
        let limits = &schema(&CONFIG)["properties"]["limits"]["properties"];
        assert_eq!(limits["head_size"]["default"], "64KiB");
        assert_eq!(limits["head_fields"]["default"], 100);
        assert_eq!(limits["keep_alive"]["default"], "75s");
        assert_eq!(limits["body_size"].get("default"), None);
    }
}

//! The OpenAPI document is held against the code.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use http::{Method, StatusCode};
use serde_json::Value;

use super::Told;
use super::make::Made;
use super::wish::{Options, Resource, Wish};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn document() -> Value {
    serde_json::from_str(&fs::read_to_string(root().join("docs/openapi.json")).unwrap()).unwrap()
}

fn names(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

/// Returns each operation with its path and its method.
fn operations(document: &Value) -> Vec<(String, Method, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, item): (&String, &Value)| {
        let methods = item.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters");
        let methods = methods.map(|(name, operation)| {
            (path.clone(), Method::from_bytes(name.to_uppercase().as_bytes()).unwrap(), operation.clone())
        });
        methods.collect::<Vec<_>>()
    };
    paths.iter().flat_map(of_path).collect()
}

fn resource(path: &str) -> Resource {
    Resource::of(&path.replace("{route}", "web").replace("{id}", "MNT-2036-1206-a")).unwrap()
}

fn wish(path: &str, method: &Method, body: &str) -> Result<Wish, String> {
    let now = "2026-05-19T14:00:00Z".parse().unwrap();
    let wish = Wish::of(resource(path), method, Options::default(), body.as_bytes(), now);
    wish.map_err(|refusal| format!("{refusal:?}"))
}

#[test]
fn the_document_has_every_resource_with_its_methods() {
    let document = document();
    let told: BTreeSet<String> =
        operations(&document).iter().map(|(path, method, _)| format!("{method} {path}")).collect();
    let paths = ["/routes/{route}/flag", "/routes/{route}/windows", "/routes/{route}/steps", "/windows/{id}"];
    let known = paths.iter().flat_map(|path| {
        resource(path).methods().split(", ").map(|method| format!("{method} {path}")).collect::<Vec<_>>()
    });
    assert_eq!(told, known.collect());
}

#[test]
fn the_document_has_every_status() {
    let folder = root().join("src/control/admin/write");
    let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).chain([folder.with_extension("rs")]);
    let mut used = BTreeSet::new();
    for file in files.filter(|file| file.extension().is_some() && !file.ends_with("tests.rs")) {
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for name in code.split("StatusCode::").skip(1) {
            let name: String =
                name.chars().take_while(|letter| letter.is_ascii_uppercase() || *letter == '_').collect();
            let known = (200..600).filter_map(|code| StatusCode::from_u16(code).ok());
            let spelled = |status: &StatusCode| {
                status.canonical_reason().map(|reason| reason.to_uppercase().replace(' ', "_")) == Some(name.clone())
            };
            used.extend(known.into_iter().find(spelled).map(|status| status.as_u16().to_string()));
        }
    }
    assert!(used.len() > 15, "{used:?}");
    let document = document();
    let told: BTreeSet<String> =
        operations(&document).iter().flat_map(|(_, _, operation)| names(&operation["responses"])).collect();
    assert_eq!(told, used);
    for (path, method, operation) in operations(&document) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let Some(name) = response["$ref"].as_str() else { continue };
            let name = name.rsplit('/').next().unwrap();
            let response = &document["components"]["responses"][name];
            assert!(response["description"].is_string(), "{method} {path} {status}: {name}");
        }
    }
}

#[test]
fn the_examples_of_the_document_are_taken_and_its_properties_are_those_of_the_code() {
    let document = document();
    let mut bodies = 0;
    for (path, method, operation) in operations(&document) {
        let Some(content) = operation["requestBody"]["content"].get("application/json") else { continue };
        for (name, example) in content["examples"].as_object().unwrap() {
            let taken = wish(&path, &method, &example["value"].to_string());
            assert!(taken.is_ok(), "{method} {path} {name}: {taken:?}");
            bodies += 1;
        }
        let schema = content["schema"]["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
        let error = wish(&path, &method, "{\"?\":1}").unwrap_err();
        // The parser lists the properties that it knows: one as "expected `by`", more as "expected one of …".
        let listed = error.split("expected").nth(1).unwrap_or_default().split(" at line").next().unwrap_or_default();
        let known: BTreeSet<String> = listed.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        assert_eq!(names(&document["components"]["schemas"][schema]["properties"]), known, "{schema}");
    }
    assert!(bodies >= 7, "{bodies}");
}

#[test]
fn the_answers_of_the_document_are_those_of_the_code() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    let made = Made::sample();
    let told = serde_json::to_value(Told { made: &made, in_force: false, why: Some("why".to_owned()) }).unwrap();
    assert_eq!(names(&told), names(&schemas["Edit"]["properties"]));
    assert_eq!(names(&told["flag"]), names(&schemas["Flag"]["properties"]));
    assert_eq!(names(&told["window"]), names(&schemas["Window"]["properties"]));
    for response in document["components"]["responses"].as_object().unwrap().values() {
        let Some(example) = response["content"]["application/json"].get("example") else { continue };
        assert!(names(example).is_subset(&names(&schemas["Edit"]["properties"])), "{example}");
    }
    assert!(Path::new("docs/openapi.json").exists());
}

//! Forms of answers to programs that routes name as their `template`: built in, or the operator's own.

use serde::de::IgnoredAny;

use super::super::config::ProgramFormat;
use super::super::problem::{Problem, did_you_mean, quoted};
use super::sources::Source;
use super::xml;

/// Folder of these templates, below that of all others.
pub const PROGRAMS: &str = "programs/";

/// Returns the problems of templates that a config names and nobody has.
pub(super) fn missing(named: &[String], own: &[&Source], config_file: &str) -> Vec<Problem> {
    let has_own = |name: &str| own.iter().any(|source| source.name.strip_prefix(PROGRAMS) == Some(name));
    let absent = named.iter().filter(|name| !has_own(name) && !BUILT_IN.iter().any(|(known, _)| known == *name));
    let problem = |name: &String| {
        let help = match did_you_mean(name, BUILT_IN.iter().map(|(known, _)| *known)) {
            Some(near) => format!("did you mean {}?", quoted(near)),
            None => {
                let known: Vec<String> = BUILT_IN.iter().map(|(known, _)| quoted(known)).collect();
                format!("the built-in ones are {}; for another, write {PROGRAMS}{name} in `pages`", known.join(", "))
            }
        };
        Problem::error(config_file, format!("there is no template {}", quoted(name))).help(help)
    };
    absent.map(problem).collect()
}

/// Says what is wrong with an answer that a template has rendered; `None` if a program can read it.
pub(super) fn fault(format: ProgramFormat, rendered: &str) -> Option<String> {
    match format {
        ProgramFormat::Json => serde_json::from_str::<IgnoredAny>(rendered).err().map(|error| {
            let line = rendered.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
            let before: String = line.chars().take(error.column()).collect();
            let skipped = before.chars().count().saturating_sub(SHOWN);
            let near: String = before.chars().skip(skipped).collect();
            format!("the template renders no JSON: {error}, after {}", quoted(&near))
        }),
        ProgramFormat::Xml => xml::read(rendered).err().map(|(at, why)| {
            let before: Vec<char> = rendered[..at].chars().rev().take(SHOWN).collect();
            let near: String = before.into_iter().rev().collect();
            format!("the template renders no XML: {why}, after {}", quoted(near.trim_start()))
        }),
    }
}

/// Returns the problem of an own template whose outcome no program can read.
pub(super) fn unreadable(source: &Source, format: ProgramFormat, fault: String) -> Problem {
    let help = match format {
        ProgramFormat::Json => {
            "values are written as JSON: `{\"message\": {{ title }}}` without quotes of your own, and \
             `{{ title ~ \" \" ~ summary }}` for two in one text"
        }
        ProgramFormat::Xml => "values are escaped; what you write yourself must be well-formed",
    };
    Problem::error(&source.path, fault).help(help)
}

/// Characters of an answer that a problem shows.
const SHOWN: usize = 40;

/// Built-in templates, by the name under which a route asks for them.
pub(super) const BUILT_IN: [(&str, &str); 10] = [
    ("anthropic.json", include_str!("../../../pages/programs/anthropic.json")),
    ("aws.json", include_str!("../../../pages/programs/aws.json")),
    ("fhir.json", include_str!("../../../pages/programs/fhir.json")),
    ("google.json", include_str!("../../../pages/programs/google.json")),
    ("graphql.json", include_str!("../../../pages/programs/graphql.json")),
    ("jsonrpc.json", include_str!("../../../pages/programs/jsonrpc.json")),
    ("oci.json", include_str!("../../../pages/programs/oci.json")),
    ("odata.json", include_str!("../../../pages/programs/odata.json")),
    ("openai.json", include_str!("../../../pages/programs/openai.json")),
    ("s3.xml", include_str!("../../../pages/programs/s3.xml")),
];

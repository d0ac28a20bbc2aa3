//! The first words of comments.

use std::fs;
use std::path::Path;

use super::sources;

/// Words that hide the noun or the verb that a comment should begin with.
const INDIRECT: [&str; 16] = [
    "What", "How", "Whether", "It", "Its", "Where", "When", "Why", "Who", "Whose", "Whoever", "They", "Those", "That",
    "Of", "Which",
];

/// Returns the lines that begin a doc comment with an indirect question or a pronoun.
fn indirect(text: &str) -> Vec<String> {
    let is_doc = |line: &str| line.starts_with("///") || line.starts_with("//!");
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let begins = |at: &usize| is_doc(lines[*at]) && (*at == 0 || !is_doc(lines[*at - 1]));
    let first = |line: &str| line[3..].split_whitespace().next().unwrap_or_default().to_owned();
    let hides = |at: &usize| INDIRECT.contains(&first(lines[*at]).as_str());
    (0..lines.len()).filter(begins).filter(hides).map(|at| format!("{}: {}", at + 1, lines[at])).collect()
}

#[test]
fn doc_comments_begin_with_a_noun_or_a_verb() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let parts = fs::read_dir(root).expect("src").map(|entry| entry.expect("an entry of src").path());
    let mut wrong = Vec::new();
    for part in parts.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())) {
        for (path, text) in sources(&part) {
            wrong.extend(indirect(&text).iter().map(|line| format!("{}:{line}", path.display())));
        }
    }
    wrong.sort();
    wrong.dedup();
    assert!(wrong.is_empty(), "begin with a noun, or with a verb in the third person: {wrong:#?}");
}

//! The imports of the crate as a graph: which file uses which.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::{code, sources};

/// A module's path below the crate, such as `["proxy", "io", "socket"]`.
type Module = Vec<String>;

/// Edges from modules, or groups of them, to those that they import.
type Graph<N> = BTreeMap<N, BTreeSet<N>>;

/// Non-test lines that a file may have.
const MOST_LINES: usize = 500;

fn modules() -> BTreeMap<Module, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut modules = BTreeMap::new();
    let parts = fs::read_dir(&root).expect("src").map(|entry| entry.expect("an entry of src").path());
    for part in parts.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())) {
        for (path, text) in sources(&part) {
            let below = path.strip_prefix(&root).expect("a path below src").with_extension("");
            let mut module: Module = below.iter().map(|name| name.to_string_lossy().into_owned()).collect();
            if module.last().is_some_and(|last| last == "mod") {
                module.pop();
            }
            let is_test =
                ["tests", "cases", "rehearsal", "tidy"].iter().any(|test| module.iter().any(|name| name == test));
            if !is_test {
                modules.insert(module, text);
            }
        }
    }
    modules
}

/// Splits a tree of imports such as `a::{b, c::{d, e}}` into its paths.
fn paths(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((before, inside)) = tree.strip_suffix('}').and_then(|tree| tree.split_once('{')) else {
        return vec![tree.split(" as ").next().unwrap_or_default().to_owned()];
    };
    let (mut branches, mut depth) = (vec![String::new()], 0);
    for character in inside.chars() {
        depth += i32::from(character == '{') - i32::from(character == '}');
        match character {
            ',' if depth == 0 => branches.push(String::new()),
            _ => branches.last_mut().expect("a branch").push(character),
        }
    }
    let branches = branches.iter().filter(|branch| !branch.trim().is_empty());
    branches.flat_map(|branch| paths(branch)).map(|path| format!("{before}{path}")).collect()
}

/// Returns all paths after `use` in a file, and all other paths that begin with `crate` or `super`.
fn named(text: &str) -> Vec<String> {
    let flat = code(text).split_whitespace().collect::<Vec<_>>().join(" ");
    let mut named: Vec<String> = Vec::new();
    for statement in flat.split("use ").skip(1) {
        named.extend(paths(statement.split(';').next().unwrap_or_default()));
    }
    let is_path = |character: char| character.is_alphanumeric() || character == '_' || character == ':';
    for word in flat.split(|character| !is_path(character)) {
        if word.starts_with("crate::") || word.starts_with("super::") {
            named.push(word.to_owned());
        }
    }
    named
}

/// Finds the module that a path names from within another.
fn resolve(path: &str, from: &Module, modules: &BTreeMap<Module, String>) -> Option<Module> {
    let mut parts = path.split("::").map(str::trim).peekable();
    let mut found = match *parts.peek()? {
        "crate" => {
            parts.next();
            Module::new()
        }
        "self" | "super" => from.clone(),
        first => {
            let mut child = from.clone();
            child.push(first.to_owned());
            modules.contains_key(&child).then(|| from.clone())?
        }
    };
    for part in parts {
        match part {
            "self" => {}
            "super" => drop(found.pop()),
            part => found.push(part.to_owned()),
        }
    }
    while !found.is_empty() && !modules.contains_key(&found) {
        found.pop();
    }
    (!found.is_empty() && found != *from).then_some(found)
}

fn graph(modules: &BTreeMap<Module, String>) -> Graph<Module> {
    let targets =
        |module: &Module, text: &str| named(text).iter().filter_map(|path| resolve(path, module, modules)).collect();
    modules.iter().map(|(module, text)| (module.clone(), targets(module, text))).collect()
}

/// Returns the groups of nodes that reach each other.
fn cycles<N: Ord + Clone>(graph: &Graph<N>) -> Vec<BTreeSet<N>> {
    let reach = |start: &N| {
        let (mut reached, mut open) = (BTreeSet::new(), vec![start.clone()]);
        while let Some(node) = open.pop() {
            let next = graph.get(&node).into_iter().flatten();
            open.extend(next.filter(|next| reached.insert((*next).clone())).cloned().collect::<Vec<_>>());
        }
        reached
    };
    let reached: BTreeMap<&N, BTreeSet<N>> = graph.keys().map(|node| (node, reach(node))).collect();
    let group = |node: &N| -> BTreeSet<N> {
        let others = reached[node].iter().filter(|other| reached.get(other).is_some_and(|back| back.contains(node)));
        others.cloned().collect()
    };
    let groups: BTreeSet<BTreeSet<N>> = graph.keys().map(group).filter(|group| group.len() > 1).collect();
    groups.into_iter().collect()
}

/// Returns true for a parent module and its child. They are one thing in two files, so their imports of each other make
/// no cycle.
fn are_kin(one: &Module, other: &Module) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

#[test]
fn no_import_cycle_has_more_than_two_files() {
    let mut graph = graph(&modules());
    for (module, targets) in &mut graph {
        targets.retain(|target| !are_kin(module, target));
    }
    let large: Vec<_> = cycles(&graph).into_iter().filter(|cycle| cycle.len() > 2).collect();
    assert!(large.is_empty(), "{large:#?}");
}

/// In every folder, each file and each subfolder counts as one node.
#[test]
fn no_folder_is_in_an_import_cycle() {
    let modules = modules();
    let graph = graph(&modules);
    let folders: BTreeSet<&[String]> = modules.keys().map(|module| &module[..module.len() - 1]).collect();
    let mut wrong = Vec::new();
    for folder in &folders {
        let unit = |module: &Module| module.strip_prefix(*folder).and_then(|rest| rest.first()).cloned();
        let mut units: Graph<String> = BTreeMap::new();
        for (module, targets) in &graph {
            let Some(from) = unit(module) else { continue };
            let to = targets.iter().filter_map(unit).filter(|to| *to != from);
            units.entry(from.clone()).or_default().extend(to);
        }
        let is_folder = |unit: &String| folders.contains(&[*folder, std::slice::from_ref(unit)].concat()[..]);
        let cycles = cycles(&units).into_iter().filter(|cycle| cycle.iter().any(is_folder));
        wrong.extend(cycles.map(|cycle| (folder.join("/"), cycle)));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_file_is_longer_than_it_may_be() {
    let lines = |text: &str| text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().lines().count();
    let long: Vec<_> = modules().into_iter().filter(|(_, text)| lines(text) > MOST_LINES).collect();
    let long: Vec<_> =
        long.iter().map(|(module, text)| format!("{}: {} lines", module.join("/"), lines(text))).collect();
    assert!(long.is_empty(), "{long:#?}");
}

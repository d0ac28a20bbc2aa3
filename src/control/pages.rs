//! The operator's own page: reads the files that `pages` and `logo` name, and has them checked.

use std::fs;
use std::path::{Path, PathBuf};

use crate::plan::config::PageConfig;
use crate::plan::encoding;
use crate::plan::page::{MESSAGES, Renderer, STACK_FOR_TEMPLATES, Source, Sources, TEMPLATES};
use crate::plan::problem::{Problem, did_you_mean, quoted};

use crate::files::source::{Content, ReadError};

/// Outcome of a check: a renderer, unless any problem is an error.
pub(crate) type Checked = (Option<Renderer>, Vec<Problem>);

/// Files of a page as they were read, before their check. The check may take seconds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Unchecked {
    config_file: PathBuf,
    page: PageConfig,
    sources: Sources,
    /// Problems of the reading.
    problems: Vec<Problem>,
}

impl Unchecked {
    /// Checks the templates on a thread of its own, and calls `then` there with the outcome.
    ///
    /// # Errors
    /// If no thread can be started.
    pub(super) fn check_beside(self, then: impl FnOnce(Checked) + Send + 'static) -> std::io::Result<()> {
        let check = std::thread::Builder::new().name("page".into()).stack_size(STACK_FOR_TEMPLATES);
        check.spawn(move || then(self.check())).map(drop)
    }

    /// Returns the config that names the files.
    pub(super) fn config_file(&self) -> &Path {
        &self.config_file
    }

    /// Checks the templates.
    pub(super) fn check(self) -> Checked {
        let Self { config_file, page, sources, mut problems } = self;
        let (renderer, found) = check_templates(&page, &sources, &config_file.display().to_string());
        let refused = problems.iter().any(Problem::is_error);
        problems.extend(found);
        (renderer.filter(|_| !refused), problems)
    }
}

/// Makes a renderer from the files that the config names.
pub(crate) fn renderer(
    config_file: &Path,
    page: &PageConfig,
    read: impl FnMut(&Path) -> Result<Content, ReadError>,
) -> Checked {
    read_files(config_file, page, read).check()
}

/// Reads the files of a page.
pub(super) fn read_files(
    config_file: &Path,
    page: &PageConfig,
    mut read: impl FnMut(&Path) -> Result<Content, ReadError>,
) -> Unchecked {
    let mut problems = Vec::new();
    let mut sources = Sources::default();
    for (name, path) in page.dir.iter().flat_map(|dir| named_files(dir, page)) {
        match read(&path) {
            Ok(content) => match encoding::decode(&path, &content.bytes) {
                Ok(text) => {
                    sources.files.push(Source { name, path: path.display().to_string(), text: text.to_owned() });
                }
                Err(problem) => problems.push(problem),
            },
            // The built-in file takes the place of a missing one.
            Err(ReadError::Missing) => {}
            Err(error) => problems.push(Problem::in_file(&path, error)),
        }
    }
    if let Some(dir) = &page.dir {
        problems.extend(unknown_files(dir, page, config_file));
    }
    if let Some(logo) = &page.logo {
        match read(logo) {
            Ok(content) => sources.logo = Some((logo.display().to_string(), content.bytes)),
            Err(error) => problems.push(Problem::in_file(logo, error)),
        }
    }
    Unchecked { config_file: config_file.to_owned(), page: page.clone(), sources, problems }
}

/// Checks templates on a thread with enough stack for any of them. A stack overflow would end the process.
fn check_templates(page: &PageConfig, sources: &Sources, config_file: &str) -> (Option<Renderer>, Vec<Problem>) {
    if sources.files.is_empty() {
        return Renderer::new(page, sources, config_file);
    }
    std::thread::scope(|scope| {
        let check = std::thread::Builder::new().stack_size(STACK_FOR_TEMPLATES);
        let checked = check.spawn_scoped(scope, || Renderer::new(page, sources, config_file));
        let failed =
            |why: &str| (None, vec![Problem::error(config_file, format!("the templates cannot be checked: {why}"))]);
        match checked {
            Ok(checked) => checked.join().unwrap_or_else(|_| failed("a bug in the template engine")),
            Err(error) => failed(&error.to_string()),
        }
    })
}

/// Returns every file that the page may be made of, whether or not it exists.
pub(crate) fn files_of(page: &PageConfig) -> Vec<PathBuf> {
    let templates = page.dir.iter().flat_map(|dir| named_files(dir, page)).map(|(_, path)| path);
    templates.chain(page.logo.clone()).collect()
}

fn named_files(dir: &Path, page: &PageConfig) -> Vec<(String, PathBuf)> {
    let messages = page.languages.iter().map(|tag| format!("{MESSAGES}{tag}.toml"));
    let names = TEMPLATES.iter().map(|(name, _)| (*name).to_owned()).chain(messages);
    names.map(|name| (name.clone(), dir.join(name))).collect()
}

/// Warns of files in the directory that are never read. Otherwise a misspelt name would go unnoticed.
fn unknown_files(dir: &Path, page: &PageConfig, config_file: &Path) -> Vec<Problem> {
    let names: Vec<String> = named_files(dir, page).into_iter().map(|(name, _)| name).collect();
    if !dir.is_dir() {
        let message = format!("`pages` names {}, which is no directory", dir.display());
        let help = "make it, or remove the line: the built-in page is shown";
        return vec![Problem::warning(&config_file.display().to_string(), message).help(help)];
    }
    let listed = |below: &str| {
        let entries = fs::read_dir(dir.join(below)).into_iter().flatten().flatten().take(MOST_LISTED);
        let files = entries.filter(|entry| entry.path().is_file());
        files.map(|entry| format!("{below}{}", entry.file_name().to_string_lossy())).collect::<Vec<_>>()
    };
    let mut found: Vec<String> = [listed(""), listed(MESSAGES)].concat();
    found.retain(|name| !names.contains(name) && is_relevant(name));
    found.sort_unstable();
    found.into_iter().map(|name| unknown_file(dir, &name, &names)).collect()
}

/// Returns false for files of editors, and for notes that people write.
fn is_relevant(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or_default();
    let meant = ["html", "htm", "css", "js", "txt", "svg", "xml", "toml", "jinja", "j2"];
    !file.starts_with(['.', '#']) && file.rsplit_once('.').is_some_and(|(_, extension)| meant.contains(&extension))
}

fn unknown_file(dir: &Path, name: &str, names: &[String]) -> Problem {
    let path = dir.join(name).display().to_string();
    let tag = name.strip_prefix(MESSAGES).and_then(|file| file.strip_suffix(".toml"));
    let help = match (tag, did_you_mean(name, names.iter().map(String::as_str))) {
        (Some(tag), _) => format!("add `{tag}` to `languages` under `[page]`"),
        (None, Some(near)) => format!("did you mean {}?", quoted(near)),
        (None, None) => "the templates that can be replaced are listed in pages/README.md".to_owned(),
    };
    Problem::warning(&path, "nothing asks for this file").help(help)
}

/// Entries of a directory that are examined.
const MOST_LISTED: usize = 1024;

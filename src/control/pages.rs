//! The operator's own pages: reads the files that `pages` and `logo` name, of the general page and of those of single
//! routes, and has them checked.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::plan::config::{Config, PageConfig};
use crate::plan::encoding;
use crate::plan::page::{
    MESSAGES, PROGRAMS, Renderer, Renderers, SITE_HTML, SITE_MARKDOWN, SITE_TEXT, STACK_FOR_TEMPLATES, Source, Sources,
    TEMPLATES,
};
use crate::plan::problem::{Problem, did_you_mean, quoted};

use crate::files::source::{Content, ReadError};

use super::chore;

/// Outcome of a check.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    /// Pages in the order of [`Config::pages`], with their renderers; `None` if a problem of the page is an error.
    pages: Vec<(PageConfig, Option<Arc<Renderer>>)>,
    /// Problems, each once.
    pub problems: Vec<Problem>,
}

impl Checked {
    /// Returns the renderers if every page has one.
    pub(crate) fn whole(&self) -> Option<Renderers> {
        let mut renderers = self.pages.iter().map(|(_, renderer)| renderer.clone());
        let general = renderers.next()??;
        Some(Renderers::new(general, renderers.collect::<Option<Vec<_>>>()?))
    }

    /// Returns the renderers of the pages that have one, and the last good ones of all others.
    pub(super) fn over(&self, last: &Renderers) -> Renderers {
        let renderer = |(page, renderer): &(PageConfig, Option<Arc<Renderer>>)| {
            renderer.clone().or_else(|| last.named(page.route.as_ref()).map(Arc::clone))
        };
        let mut renderers = self.pages.iter().map(renderer);
        let general = renderers.next().flatten().unwrap_or_else(|| Arc::clone(&last.general));
        Renderers::new(general, renderers.flatten())
    }

    /// Returns the files of the pages that have a renderer.
    pub(super) fn good_files(&self) -> Vec<PathBuf> {
        self.pages.iter().filter(|(_, renderer)| renderer.is_some()).flat_map(|(page, _)| files_of_page(page)).collect()
    }
}

/// Files of all pages as they were read, before their check. The check may take seconds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Unchecked {
    config_file: PathBuf,
    pages: Vec<UncheckedPage>,
}

/// Files of one page.
#[derive(Clone, Debug, PartialEq)]
struct UncheckedPage {
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
    pub(super) fn check_beside(
        self,
        known: Renderers,
        then: impl FnOnce(Checked) + Send + 'static,
    ) -> std::io::Result<()> {
        let check = std::thread::Builder::new().name("page".into()).stack_size(STACK_FOR_TEMPLATES);
        check.spawn(move || then(self.check(Some(&known)))).map(drop)
    }

    /// Returns the config that names the files.
    pub(super) fn config_file(&self) -> &Path {
        &self.config_file
    }

    /// Returns the outcome of a check that could not be made.
    pub(super) fn failed(&self, problem: Problem) -> Checked {
        let pages = self.pages.iter().map(|unchecked| (unchecked.page.clone(), None));
        Checked { pages: pages.collect(), problems: vec![problem] }
    }

    /// Checks the templates. A page that is the same as a known one is not tried again.
    pub(super) fn check(self, known: Option<&Renderers>) -> Checked {
        let config_file = self.config_file.display().to_string();
        let mut checked = Checked { pages: Vec::new(), problems: Vec::new() };
        for unchecked in self.pages {
            let (page, (renderer, problems)) = unchecked.check(known, &config_file);
            checked.pages.push((page, renderer));
            for problem in problems {
                if !checked.problems.contains(&problem) {
                    checked.problems.push(problem);
                }
            }
        }
        checked
    }
}

impl UncheckedPage {
    fn check(
        self,
        known: Option<&Renderers>,
        config_file: &str,
    ) -> (PageConfig, (Option<Arc<Renderer>>, Vec<Problem>)) {
        let Self { page, sources, mut problems } = self;
        let refused = problems.iter().any(Problem::is_error);
        let fingerprint = Renderer::fingerprint_of(&page, &sources);
        let same =
            known.and_then(|known| known.named(page.route.as_ref())).filter(|known| known.fingerprint == fingerprint);
        let (renderer, found) = match same {
            Some(same) => (Some(Arc::clone(same)), same.remarks.clone()),
            None => {
                let (renderer, found) = check_templates(&page, sources, config_file);
                (renderer.map(Arc::new), found)
            }
        };
        problems.extend(found);
        if let Some(route) = &page.route {
            // The config has many pages, and a problem of the whole file would not say which.
            let of_config = problems.iter_mut().filter(|problem| problem.file == config_file);
            of_config.for_each(|problem| problem.message.push_str(&format!(" (page of route {})", quoted(route))));
        }
        (page, (renderer.filter(|_| !refused), problems))
    }
}

/// Makes renderers from the files that the config names.
pub(crate) fn renderers(
    config_file: &Path,
    config: &Config,
    read: impl FnMut(&Path) -> Result<Content, ReadError>,
) -> (Option<Renderers>, Vec<Problem>) {
    let checked = read_files(config_file, config, read).check(None);
    (checked.whole(), checked.problems)
}

/// Reads the files of all pages.
pub(super) fn read_files(
    config_file: &Path,
    config: &Config,
    mut read: impl FnMut(&Path) -> Result<Content, ReadError>,
) -> Unchecked {
    let pages = config.pages().map(|page| read_page(config_file, page, &mut read)).collect();
    Unchecked { config_file: config_file.to_owned(), pages }
}

fn read_page(
    config_file: &Path,
    page: &PageConfig,
    mut read: impl FnMut(&Path) -> Result<Content, ReadError>,
) -> UncheckedPage {
    let mut problems = Vec::new();
    let mut sources = Sources::default();
    for (name, path) in page.dirs.iter().flat_map(|dir| named_files(dir, page)) {
        if sources.files.iter().any(|source| source.name == name) {
            continue;
        }
        match read(&path) {
            Ok(content) => match encoding::decode(&path, &content.bytes) {
                Ok(text) => {
                    sources.files.push(Source { name, path: path.display().to_string(), text: text.to_owned() });
                }
                Err(problem) => problems.push(problem),
            },
            // The file of the next directory takes the place of a missing one, or the built-in one.
            Err(ReadError::Missing) => {}
            Err(error) => problems.push(Problem::in_file(&path, error)),
        }
    }
    // The second directory of a route's page is that of the general page.
    if let Some(dir) = page.dirs.first().filter(|_| page.route.is_none() || page.dirs.len() > 1) {
        problems.extend(unknown_files(dir, page, config_file));
    }
    if let Some(logo) = &page.logo {
        match read(logo) {
            Ok(content) => sources.logo = Some((logo.display().to_string(), content.bytes)),
            Err(error) => problems.push(Problem::in_file(logo, error)),
        }
    }
    UncheckedPage { page: page.clone(), sources, problems }
}

/// Makes a renderer on a thread with enough stack for any template. A stack overflow would end the process.
fn check_templates(page: &PageConfig, sources: Sources, config_file: &str) -> (Option<Renderer>, Vec<Problem>) {
    let (page, file) = (page.clone(), config_file.to_owned());
    let checked = chore::run(STACK_FOR_TEMPLATES, move || Renderer::new(&page, &sources, &file));
    checked.unwrap_or_else(|error| {
        (None, vec![Problem::error(config_file, format!("the templates cannot be checked: {error}"))])
    })
}

/// Returns every file that the pages may be made of, whether or not it exists.
pub(crate) fn files_of(config: &Config) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = config.pages().flat_map(files_of_page).collect();
    files.sort_unstable();
    files.dedup();
    files
}

fn files_of_page(page: &PageConfig) -> Vec<PathBuf> {
    let templates = page.dirs.iter().flat_map(|dir| named_files(dir, page)).map(|(_, path)| path);
    templates.chain(page.logo.clone()).collect()
}

/// Returns the names and paths of the files that a page may have in a directory. The status site has one look for all.
fn named_files(dir: &Path, page: &PageConfig) -> Vec<(String, PathBuf)> {
    let messages = page.languages.iter().map(|tag| format!("{MESSAGES}{tag}.toml"));
    let programs = page.programs.iter().map(|name| format!("{PROGRAMS}{name}"));
    let is_of_page = |name: &&str| page.route.is_none() || ![SITE_HTML, SITE_TEXT, SITE_MARKDOWN].contains(name);
    let templates = TEMPLATES.iter().map(|(name, _)| *name).filter(is_of_page).map(str::to_owned);
    templates.chain(messages).chain(programs).map(|name| (name.clone(), dir.join(name))).collect()
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
    let mut found: Vec<String> = [listed(""), listed(MESSAGES), listed(PROGRAMS)].concat();
    found.retain(|name| !names.contains(name) && is_relevant(name));
    found.sort_unstable();
    found.into_iter().map(|name| unknown_file(dir, &name, &names)).collect()
}

/// Returns false for files of editors, and for notes that people write.
fn is_relevant(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or_default();
    let meant = ["html", "htm", "css", "js", "txt", "svg", "xml", "json", "toml", "jinja", "j2"];
    !file.starts_with(['.', '#']) && file.rsplit_once('.').is_some_and(|(_, extension)| meant.contains(&extension))
}

fn unknown_file(dir: &Path, name: &str, names: &[String]) -> Problem {
    let path = dir.join(name).display().to_string();
    let tag = name.strip_prefix(MESSAGES).and_then(|file| file.strip_suffix(".toml"));
    if [SITE_HTML, SITE_TEXT, SITE_MARKDOWN].contains(&name) {
        let help = "the status site looks the same for all routes: write it into `pages` above the tables";
        return Problem::warning(&path, "nothing asks for this file").help(help);
    }
    if let Some(program) = name.strip_prefix(PROGRAMS) {
        let help = format!("name it in the route whose programs get it: `template = \"{program}\"`");
        return Problem::warning(&path, "nothing asks for this file").help(help);
    }
    let help = match (tag, did_you_mean(name, names.iter().map(String::as_str))) {
        (Some(tag), _) => format!("add `{tag}` to `languages` under `[page]`"),
        (None, Some(near)) => format!("did you mean {}?", quoted(near)),
        (None, None) => "the templates that can be replaced are listed in pages/README.md".to_owned(),
    };
    Problem::warning(&path, "nothing asks for this file").help(help)
}

/// Entries of a directory that are examined.
const MOST_LISTED: usize = 1024;

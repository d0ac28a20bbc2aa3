//! Holder of a flag: who runs the command, where, and in which job.

use std::env;
use std::process;

use crate::files::author;

/// Describes this process: `anna@ci-7, pid 4121, https://ci.example/jobs/9`.
pub(super) fn of_process() -> String {
    let job = job(|name| env::var(name).ok());
    described(&format!("{}@{}", author::user(), author::host()), process::id(), job.as_deref())
}

fn described(who: &str, pid: u32, job: Option<&str>) -> String {
    let who: String = who.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect();
    let job = job.map(|job| format!(", {job}")).unwrap_or_default();
    format!("{who}, pid {pid}{job}")
}

/// Returns the address of the CI job that this process belongs to.
fn job(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let given = |name: &str| variable(name).filter(|value| !value.is_empty());
    let composed = |parts: &[Part]| {
        let texts = parts.iter().map(|part| match part {
            Part::Of(name) => given(name),
            Part::Text(text) => Some((*text).to_owned()),
        });
        texts.collect::<Option<String>>()
    };
    JOBS.iter().filter_map(|parts| composed(parts)).find(|url| is_address(url))
}

/// Returns true if a text is an address that fits into a flag.
fn is_address(text: &str) -> bool {
    let web = text.starts_with("https://") || text.starts_with("http://");
    web && text.len() <= LONGEST_ADDRESS && text.chars().all(|c| c.is_ascii_graphic())
}

/// Part of an address.
enum Part {
    /// Value of a variable.
    Of(&'static str),
    /// Text.
    Text(&'static str),
}

/// Addresses of jobs, as CI systems tell them.
const JOBS: [&[Part]; 10] = [
    &[
        Part::Of("GITHUB_SERVER_URL"),
        Part::Text("/"),
        Part::Of("GITHUB_REPOSITORY"),
        Part::Text("/actions/runs/"),
        Part::Of("GITHUB_RUN_ID"),
    ],
    // GitLab.
    &[Part::Of("CI_JOB_URL")],
    // Woodpecker.
    &[Part::Of("CI_PIPELINE_URL")],
    &[Part::Of("BUILDKITE_BUILD_URL")],
    &[Part::Of("CIRCLE_BUILD_URL")],
    &[Part::Of("DRONE_BUILD_LINK")],
    &[Part::Of("TRAVIS_JOB_WEB_URL")],
    &[Part::Of("BITBUCKET_GIT_HTTP_ORIGIN"), Part::Text("/pipelines/results/"), Part::Of("BITBUCKET_BUILD_NUMBER")],
    // Azure Pipelines.
    &[
        Part::Of("SYSTEM_COLLECTIONURI"),
        Part::Of("SYSTEM_TEAMPROJECTID"),
        Part::Text("/_build/results?buildId="),
        Part::Of("BUILD_BUILDID"),
    ],
    // Jenkins.
    &[Part::Of("BUILD_URL")],
];
/// Characters of a user and a host.
const LONGEST_NAME: usize = 100;
/// Bytes of an address.
const LONGEST_ADDRESS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn job_of(variables: &[(&str, &str)]) -> Option<String> {
        job(|name| variables.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn a_job_is_named_by_its_address() {
        let github =
            [("GITHUB_SERVER_URL", "https://github.com"), ("GITHUB_REPOSITORY", "a/b"), ("GITHUB_RUN_ID", "77")];
        assert_eq!(job_of(&github).as_deref(), Some("https://github.com/a/b/actions/runs/77"));
        assert_eq!(job_of(&github[..2]), None);
        let gitlab = [("CI_JOB_URL", "https://gitlab.example/a/-/jobs/9"), ("BUILD_URL", "https://other.example")];
        assert_eq!(job_of(&gitlab).as_deref(), Some("https://gitlab.example/a/-/jobs/9"));
        assert_eq!(job_of(&[("BUILD_URL", "no address")]), None);
        assert_eq!(job_of(&[("BUILD_URL", "https://a.example/\u{1b}[31m")]), None);
        assert_eq!(job_of(&[("BUILD_URL", &format!("https://{}", "a".repeat(300)))]), None);
    }

    #[test]
    fn a_holder_fits_into_a_flag() {
        assert_eq!(described("anna@ci-7", 41, Some("https://a.example/9")), "anna@ci-7, pid 41, https://a.example/9");
        let job = "a".repeat(LONGEST_ADDRESS);
        let longest = described(&"\u{1f600}".repeat(300), u32::MAX, Some(&job));
        assert!(longest.len() + 100 <= 1024, "{}", longest.len());
        assert_eq!(described("a\nb@c", 1, None), "ab@c, pid 1");
    }
}

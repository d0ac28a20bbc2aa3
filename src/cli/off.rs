//! `backsoon off`: lifts flags from the flag file.

use clap::Args;
use jiff::Timestamp;

use super::edit::{self, By, Off as Lifted, Still, Which};
use super::failure::Failure;
use super::flag_file::FlagFile;
use super::on::live;
use super::streams::Streams;
use super::wait::Wait;
use super::{ConfigFile, WaitFor, exit, words};

/// The arguments of `off`.
#[derive(Args, Debug)]
pub(super) struct Off {
    /// Routes by their names; '*' is the flag of that name
    #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "ROUTE")]
    routes: Vec<String>,
    /// Lift every flag (windows stay)
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    wait: WaitFor,
    #[command(flatten)]
    config: ConfigFile,
}

/// What stands below the options.
pub(super) const AFTER_HELP: &str = "\
The flag's line is removed from the flag file; comments, layout and planned windows stay. What still flags the route is \
said: a window, or the flag '*'.

Examples:
  backsoon off web
  backsoon off --all --wait         returns once it is live

Exit codes:
  0   the flags are gone, or there were none (with --wait: and that is live)
  64  the arguments, the config or the flag file are wrong; nothing was written
  69  with --wait: the admin listener cannot be reached; the file is written
  74  the flag file cannot be read or written
  75  with --wait: not live in time; the file is written";

/// Lifts the flags.
pub(super) fn run(args: &Off, streams: &mut Streams) -> Result<u8, Failure> {
    let file = FlagFile::of(&args.config.config)?;
    let wait = args.wait.wait.then(|| Wait::new(&file, &args.config.config, args.wait.timeout())).transpose()?;
    let which = if args.all { Which::All } else { Which::Routes(&args.routes) };
    // A name that only the flag file has is fine to lift. One that nobody has is a slip of the finger, and then nothing
    // of what was asked for is done.
    let all_known = |lifted: &Lifted| lifted.absent.iter().try_for_each(|route| file.knows(route));
    let edited = file.edit(|text| {
        let lifted = edit::off(text, which)?;
        let new = if all_known(&lifted).is_ok() { lifted.text.clone() } else { text.to_owned() };
        Ok((new, lifted))
    })?;
    all_known(&edited.report)?;
    for line in said(&edited.report, Timestamp::now()) {
        writeln!(streams.out, "{line}")?;
    }
    if let Some(wait) = wait {
        live(&wait.until_live(&file.path, &edited.text)?, streams)?;
    }
    Ok(exit::OK)
}

/// A line for what was done, and one for everything else that flags the routes.
fn said(lifted: &Lifted, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    if !lifted.removed.is_empty() {
        let flags = if lifted.removed.len() == 1 { "the flag" } else { "the flags" };
        lines.push(format!("lifted {flags} of {}", words::list(&names(&lifted.removed))));
    }
    if !lifted.absent.is_empty() {
        lines.extend(lifted.absent.iter().map(|route| match route.as_str() {
            "*" => "there was no flag for every route".to_owned(),
            route => format!("{route} had no flag of its own"),
        }));
    } else if lifted.removed.is_empty() {
        lines.push("there was no flag to lift".to_owned());
    }
    lines.extend(lifted.still.iter().filter_map(|still| remark(still, now)));
    lines
}

fn names(routes: &[String]) -> Vec<&str> {
    routes.iter().map(|route| if route == "*" { "every route" } else { route.as_str() }).collect()
}

/// What else flags a route, now or later; nothing for what is over.
fn remark(still: &Still, now: Timestamp) -> Option<String> {
    let name = if still.route == "*" { "every route" } else { &still.route };
    let By::Window { id, starts, ends } = &still.by else {
        return Some(format!("{name} is still flagged by \"*\"; backsoon off '*' lifts that"));
    };
    let window = if id.is_empty() { "a window".to_owned() } else { format!("window `{id}`") };
    let until = ends.map(|ends| format!(" until {}", words::instant(ends, now))).unwrap_or_default();
    match starts {
        _ if ends.is_some_and(|ends| ends <= now) => None,
        Some(starts) if *starts > now => {
            Some(format!("{window} will flag {name} from {}{until}", words::instant(*starts, now)))
        }
        _ => Some(format!("{name} is still flagged by {window}{until}; edit its `ends` to end it now")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_still_flags_a_route_is_said_and_what_is_over_is_not() {
        let now: Timestamp = "2026-05-19T14:30:00Z".parse().unwrap();
        let window = |starts: &str, ends: &str| By::Window {
            id: "M-1".to_owned(),
            starts: Some(starts.parse().unwrap()),
            ends: Some(ends.parse().unwrap()),
        };
        let say = |by| remark(&Still { route: "web".to_owned(), by }, now);
        assert_eq!(
            say(window("2026-05-19T14:00:00Z", "2026-05-19T15:00:00Z")).as_deref(),
            Some("web is still flagged by window `M-1` until 15:00 UTC; edit its `ends` to end it now")
        );
        assert_eq!(
            say(window("2026-05-19T16:00:00Z", "2026-05-19T17:00:00Z")).as_deref(),
            Some("window `M-1` will flag web from 16:00 UTC until 17:00 UTC")
        );
        assert_eq!(say(window("2026-05-19T13:00:00Z", "2026-05-19T14:30:00Z")), None);
        assert_eq!(say(By::Every).as_deref(), Some("web is still flagged by \"*\"; backsoon off '*' lifts that"));
    }
}

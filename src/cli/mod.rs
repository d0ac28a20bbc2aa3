//! The command: one file per subcommand, and code that several of them share.
//!
//! Subcommands that answer from files use the same code as the proxy: `control` loads, `plan` compiles and decides.
//! Nothing here interprets a config or a flag file in its own way.

pub mod exit;
pub mod run;

mod agenda;
mod behind;
mod bypass;
mod cancel;
mod check;
mod demo;
mod explain;
mod extend;
mod history;
mod init;
mod notify;
mod off;
mod on;
mod plan;
mod render;
mod report;
mod roll;
mod skip;
mod status;
mod step;
mod subscriber_error;
mod subscribers;
mod upstream;
mod verify;
mod with;

mod completions;
mod man;
mod schema;

mod confirm;
mod dry_run;
mod flag_file;
mod planning;
mod quick;
mod remains;
mod runtime;
mod site;
mod unseen;
mod whom;

mod admin;
mod failure;
mod streams;

use std::ffi::OsString;
use std::io;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches as _, Parser, Subcommand};
use jiff::SignedDuration;

use crate::control::edit::{calendar, place, refusal, text as edit, words};
use crate::control::fleet::peers::MOST_PEERS;

use confirm::{Confirmation, Goal};
use failure::Failure;
use streams::Streams;

/// A reverse proxy that knows how to pause.
#[derive(Debug, Parser)]
#[command(
    name = "backsoon",
    version,
    about = "A reverse proxy that knows how to pause",
    long_about = "A reverse proxy that knows how to pause.\n\n\
        It forwards requests to your service. When a route is flagged in a watched file, it answers that route from \
        memory with a maintenance page, until the flag is lifted or its time is over.",
    after_help = AFTER_HELP,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    max_term_width = 110
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy
    #[command(after_help = RUN_HELP)]
    Run(quick::RunArgs),
    /// Write a config and a flag file to begin with
    #[command(after_help = init::AFTER_HELP)]
    Init(init::Init),
    /// Try it out: a small app, the proxy before it, and a flag file to play with
    #[command(after_help = demo::AFTER_HELP)]
    Demo(demo::Demo),
    /// Check the config and the flag file, as `run` would read them
    #[command(after_help = check::AFTER_HELP)]
    Check(check::Check),
    /// Flag routes: pause them
    #[command(after_help = on::AFTER_HELP)]
    On(on::On),
    /// Lift flags: open routes again
    #[command(after_help = off::AFTER_HELP)]
    Off(off::Off),
    /// Close routes while a command runs, and open them when it has succeeded
    #[command(after_help = with::AFTER_HELP)]
    With(with::With),
    /// Take single upstreams out for maintenance, and back
    #[command(after_help = upstream::AFTER_HELP)]
    Upstream(upstream::UpstreamArgs),
    /// Plan a maintenance: write a window into the flag file
    #[command(after_help = plan::AFTER_HELP)]
    Plan(plan::PlanArgs),
    /// Move the end of a window
    #[command(after_help = extend::AFTER_HELP)]
    Extend(extend::ExtendArgs),
    /// Leave one occurrence of a recurring window out
    #[command(after_help = skip::AFTER_HELP)]
    Skip(skip::SkipArgs),
    /// Cancel a window that has not begun
    #[command(after_help = cancel::AFTER_HELP)]
    Cancel(cancel::CancelArgs),
    /// Show which windows are to come, and where they meet
    #[command(after_help = agenda::AFTER_HELP)]
    Agenda(agenda::AgendaArgs),
    /// Move a step of a window's timeline
    #[command(after_help = step::AFTER_HELP)]
    Step(step::StepArgs),
    /// Make a link that lets its reader pass a closed route
    #[command(after_help = bypass::AFTER_HELP)]
    Bypass(bypass::Bypass),
    /// Show what is live, in every replica named
    #[command(after_help = status::AFTER_HELP)]
    Status(status::StatusArgs),
    /// Try the checks of routes now, on each upstream
    #[command(after_help = verify::AFTER_HELP)]
    Verify(verify::Verify),
    /// Show where operators are told of events, and try it
    #[command(after_help = notify::AFTER_HELP)]
    Notify(notify::NotifyArgs),
    /// Show what happened: transitions of routes, and edits of files
    #[command(after_help = history::AFTER_HELP)]
    History(history::HistoryArgs),
    /// Sum up downtimes, for the post-mortem
    #[command(after_help = report::AFTER_HELP)]
    Report(report::ReportArgs),
    /// List, save, restore, try and remove those who are told of news
    #[command(after_help = subscribers::AFTER_HELP)]
    Subscribers(subscribers::SubscribersArgs),
    /// Explain what would happen to a request, and why
    #[command(after_help = explain::AFTER_HELP)]
    Explain(explain::Explain),
    /// Write the page that would be shown
    #[command(after_help = render::AFTER_HELP)]
    Render(render::Render),
    /// Write a completion script for a shell
    #[command(after_help = completions::AFTER_HELP)]
    Completions(completions::Completions),
    /// Write the manual pages
    #[command(after_help = man::AFTER_HELP)]
    Man(man::Man),
    /// Write a JSON Schema of the config or the flag file, for editors
    #[command(after_help = schema::AFTER_HELP)]
    Schema(schema::Schema),
}

/// Option that names the config.
#[derive(Args, Clone, Debug)]
struct ConfigFile {
    /// The config; the files it names are relative to it. By default `backsoon.toml`, else that of `run --listen`, else
    /// `/etc/backsoon/backsoon.toml`
    // The one that is there is not shown: a manual page is the same on every machine.
    #[arg(short, long, value_name = "FILE", default_value_os_t = quick::default_config(), hide_default_value = true)]
    config: PathBuf,
}

/// Options to wait for the effect of an edit, or only to show it.
#[derive(Args, Clone, Debug)]
struct WaitFor {
    /// Return once the change is in force, by the word of every proxy that can be asked, and closed routes are drained, or
    /// lifted ones open
    #[arg(short, long)]
    wait: bool,
    /// With --wait: give up after this time
    #[arg(long, value_name = "TIME", value_parser = words::parse_span, default_value = "1m", requires = "wait")]
    timeout: SignedDuration,
    /// With --wait: write nothing if fewer proxies than this can be asked, so that a name with some addresses missing is
    /// no word about all
    #[arg(long, value_name = "NUMBER", value_parser = number_of_replicas, requires = "wait")]
    replicas: Option<usize>,
    /// Show the edit and what it would do, and write nothing
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
}

impl WaitFor {
    /// Tells whether an edit is in force. If the user asked to wait, waits for that.
    ///
    /// # Errors
    /// With `--wait`, if the goal is not reached.
    fn conclude(&self, confirmation: Confirmation, goal: Goal, streams: &mut Streams) -> Result<u8, Failure> {
        if self.wait {
            return confirmation.conclude(goal, self.timeout.unsigned_abs(), streams);
        }
        confirmation.tell(streams)?;
        Ok(exit::OK)
    }
}

/// Reads a number of replicas.
fn number_of_replicas(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=MOST_PEERS).contains(number));
    number.ok_or_else(|| format!("write a number from 1 to {MOST_PEERS}"))
}

/// Runs the command in `args`, whose first item is the program's name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    // What `with` runs may exit with any code of the other commands.
    let misuse = if args.get(1).is_some_and(|name| name == "with") { exit::NOT_RUN } else { exit::USAGE };
    let parsed = definition().try_get_matches_from(args).and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return report_misuse(&error, misuse),
    };
    let mut streams = Streams::of_process();
    let done = match cli.command {
        Command::Run(args) => quick::prepare(args, &mut streams).map(run::run),
        Command::Init(args) => init::run(&args, &mut streams),
        Command::Demo(args) => demo::prepare(&args, &mut streams).map(run::run),
        Command::Check(args) => check::run(&args, &mut streams),
        Command::On(args) => on::run(&args, &mut streams),
        Command::Off(args) => off::run(&args, &mut streams),
        Command::With(args) => with::run(&args, &mut streams),
        Command::Upstream(args) => upstream::run(&args, &mut streams),
        Command::Plan(args) => plan::run(&args, &mut streams),
        Command::Extend(args) => extend::run(&args, &mut streams),
        Command::Skip(args) => skip::run(&args, &mut streams),
        Command::Cancel(args) => cancel::run(&args, &mut streams),
        Command::Agenda(args) => agenda::run(&args, &mut streams),
        Command::Step(args) => step::run(&args, &mut streams),
        Command::Bypass(args) => bypass::run(&args, &mut streams),
        Command::Status(args) => status::run(&args, &mut streams),
        Command::Verify(args) => verify::run(&args, &mut streams),
        Command::Notify(args) => notify::run(&args, &mut streams),
        Command::History(args) => history::run(&args, &mut streams),
        Command::Report(args) => report::run(&args, &mut streams),
        Command::Subscribers(args) => subscribers::run(&args, &mut streams),
        Command::Explain(args) => explain::run(&args, &mut streams),
        Command::Render(args) => render::run(&args, &mut streams),
        Command::Completions(args) => completions::run(&args, &mut streams),
        Command::Man(args) => man::run(&args, &mut streams),
        Command::Schema(args) => schema::run(&args, &mut streams),
    };
    let flushed = |code| streams.out.flush().map(|()| code).map_err(Failure::Output);
    finish(done.and_then(flushed), &mut streams)
}

fn finish(done: Result<u8, Failure>, streams: &mut Streams) -> ExitCode {
    match done {
        Ok(code) => code.into(),
        // A reader that closes the pipe (`backsoon status | head`) is no error.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => exit::OK.into(),
        Err(failure) => {
            // If the error stream is closed too, only the exit code is left.
            let _ = failure.report(streams);
            failure.code().into()
        }
    }
}

/// Prints clap's answer. Help and version are no errors; a usage error exits with 64 here, and with 2 in clap.
fn report_misuse(error: &clap::Error, misuse: u8) -> ExitCode {
    // As above: if the stream is closed, only the exit code is left.
    let _ = error.print();
    if error.exit_code() == 0 { exit::OK.into() } else { misuse.into() }
}

/// Returns the definition of the whole command, for its arguments, completions and manual pages.
fn definition() -> clap::Command {
    Cli::command().mut_subcommands(|command| {
        let text = command.get_after_help().cloned();
        // The examples and exit codes of a command are those of the commands below it.
        command.mut_subcommands(|below| match &text {
            Some(text) => below.after_help(text.clone()),
            None => below,
        })
    })
}

const AFTER_HELP: &str = "\
Try it:             backsoon demo
Begin:              backsoon init
Pause for a while:  backsoon on web --for 30m --message \"We are moving to a bigger disk.\"
While it runs:      backsoon with web -- ./migrate.sh
Plan it:            backsoon plan web --at \"Sun 02:00 Europe/Berlin\" --for 1h
Is it live?         backsoon status
What happened?      backsoon history

Exit codes (each command's --help says what they mean for it):
  0   done
  3   on --wait: in force, but requests are still in flight
  4   off: lifted, but something keeps a route closed
  64  the arguments, the config or the flag file are wrong
  65  --wait: the proxy refuses the flag file
  69  an address or a proxy cannot be reached
  70  something is wrong with backsoon itself
  74  a file, or the output, cannot be read or written
  75  --wait: the edit is written, and not in force
  `with` has the code of the command that it runs, and 123 to 127 for what went wrong besides";

const RUN_HELP: &str = "\
All files are watched: an edit is live within milliseconds, and a file with a mistake in it changes nothing. SIGTERM \
lets requests in flight finish, a second one ends them at once; SIGHUP reads all files again.

With --listen and --to it needs no config: the flag file is maintenance.toml beside, and other commands in the same \
folder find both.

Examples:
  backsoon run
  backsoon run --config /etc/backsoon/backsoon.toml
  backsoon run --listen :8080 --to http://127.0.0.1:3000

Exit codes:
  0   ended by a signal, after the requests in flight
  1   a second signal cut requests in flight
  64  the config, or a file that it names, is wrong
  69  an address cannot be listened on, or the system refused something else
  70  something is wrong with backsoon itself";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        definition().debug_assert();
    }
}

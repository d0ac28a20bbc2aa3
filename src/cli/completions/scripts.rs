//! Completion scripts, as clap writes them, with the names of the operator's files.

use std::fmt::Write as _;

use clap::{Arg, Command, Id, ValueHint};
use clap_complete::Shell;

use super::super::definition;
use super::names::Kind;

/// Returns the script of a shell. Where only clap's is known, it has no names.
pub(super) fn script(shell: Shell) -> String {
    let mut definition = definition();
    if shell == Shell::Zsh {
        definition = with_hints(definition);
    }
    // In memory, because the generator panics on a failed write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut definition, "backsoon", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    match shell {
        Shell::Bash => bash(&script, &definition),
        Shell::Zsh => zsh(&script),
        Shell::Fish => fish(script, &definition),
        Shell::Elvish | Shell::PowerShell | _ => script,
    }
}

/// Returns the kind of names that an argument takes.
fn kind_of(command: &Command, arg: &Arg) -> Option<Kind> {
    let name = arg.get_value_names()?.first()?;
    match name.as_str() {
        "ROUTE" => Some(Kind::Routes),
        "WINDOW" => Some(Kind::Windows),
        // The id of a window that is planned is a new one.
        "ID" if command.get_name() != "plan" => Some(Kind::Windows),
        "UPSTREAM" => Some(Kind::Upstreams),
        "LISTENER" => Some(Kind::Listeners),
        _ => None,
    }
}

/// Returns the commands that take names, with the arguments that do.
fn takers(definition: &Command) -> impl Iterator<Item = (&Command, &Arg, Kind)> {
    let args = |command| Command::get_arguments(command).map(move |arg| (command, arg));
    let all = definition.get_subcommands().flat_map(args);
    all.filter_map(|(command, arg)| Some((command, arg, kind_of(command, arg)?)))
}

/// Returns the spellings of an option.
fn spellings(arg: &Arg) -> impl Iterator<Item = String> {
    let short = arg.get_short().map(|short| format!("-{short}"));
    short.into_iter().chain(arg.get_long().map(|long| format!("--{long}")))
}

/// Puts a function before clap's own: it knows where names stand, and leaves the rest to clap's.
fn bash(script: &str, definition: &Command) -> String {
    let (mut options, mut words) = (String::new(), String::new());
    for command in definition.get_subcommands() {
        for arg in command.get_arguments().filter(|arg| arg.get_action().takes_values()) {
            let kind = kind_of(command, arg).map_or("", Kind::as_str);
            let name = command.get_name();
            if let Some(index) = arg.get_index().filter(|_| !kind.is_empty()) {
                let _ =
                    writeln!(words, "        {name}) [[ $COMP_CWORD -gt {index} && $cur != -* ]] && kind={kind} ;;");
            } else if !arg.is_positional() {
                let cases: Vec<String> = spellings(arg).map(|spelling| format!("\"{name} {spelling}\"")).collect();
                let _ = writeln!(options, "        {}) kind={kind} ;;", cases.join("|"));
            }
        }
    }
    let function = BASH.replace("OPTIONS\n", &options).replace("WORDS\n", &words);
    script.replace("complete -F _backsoon -o", "complete -F _backsoon_names -o") + &function
}

const BASH: &str = r#"
_backsoon_names() {
    local kind="" name cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}"
    case "${COMP_WORDS[1]} $prev" in
OPTIONS
        *) case "${COMP_WORDS[1]}" in
WORDS
        esac ;;
    esac
    if [[ -n $kind ]]; then
        COMPREPLY=()
        while IFS= read -r name; do
            [[ $name == "$cur"* ]] && COMPREPLY+=("$name")
        done < <("$1" completions --names "$kind" -- "${COMP_WORDS[@]:1}" 2>/dev/null)
        [[ ${#COMPREPLY[@]} -gt 0 ]] && return
    fi
    _backsoon "$@"
}
"#;

/// Hints that clap knows and no argument has, with the zsh function that each stands for.
const HINTS: [(Kind, ValueHint, &str); 4] = [
    (Kind::Routes, ValueHint::Username, ":_users'"),
    (Kind::Windows, ValueHint::Hostname, ":_hosts'"),
    (Kind::Upstreams, ValueHint::EmailAddress, ":_email_addresses'"),
    (Kind::Listeners, ValueHint::Url, ":_urls'"),
];

/// Marks the arguments that take names.
fn with_hints(definition: Command) -> Command {
    let all: Vec<_> = takers(&definition)
        .map(|(command, arg, kind)| (command.get_name().to_owned(), arg.get_id().clone(), kind))
        .collect();
    all.into_iter().fold(definition, |definition, (command, id, kind)| {
        let hint = HINTS.iter().find(|(own, ..)| *own == kind).map_or(ValueHint::Unknown, |(_, hint, _)| *hint);
        definition.mut_subcommand(command, |command| with_hint(command, &id, hint))
    })
}

/// Marks an argument. clap moves one that is changed behind the others, so those without an option's name follow it.
fn with_hint(command: Command, id: &Id, hint: ValueHint) -> Command {
    let behind: Vec<Id> =
        command.get_positionals().map(|arg| arg.get_id().clone()).skip_while(|own| own != id).collect();
    let command = command.mut_arg(id, |arg| arg.value_hint(hint));
    behind.into_iter().skip(1).fold(command, |command, id| command.mut_arg(id, |arg| arg))
}

/// Replaces the marks by functions that ask for names.
fn zsh(script: &str) -> String {
    let script = HINTS.iter().fold(script.to_owned(), |script, (kind, _, mark)| {
        script.replace(mark, &format!(":{{_backsoon_names {}}}'", kind.as_str()))
    });
    script.replacen("autoload -U is-at-least\n", &format!("autoload -U is-at-least\n{ZSH}"), 1)
}

const ZSH: &str = r#"
_backsoon_names() {
    local -a names
    names=(${(f)"$(backsoon completions --names $1 -- "${words[@]}" 2>/dev/null)"})
    (( $#names )) && compadd -a names
}
"#;

/// Adds lines for the names.
fn fish(mut script: String, definition: &Command) -> String {
    for (command, arg, kind) in takers(definition) {
        let option = arg.get_long().map(|long| format!(" -l {long} -r")).unwrap_or_default();
        let _ = writeln!(
            script,
            "complete -c backsoon -n \"__fish_backsoon_using_subcommand {}\"{option} -f \
             -a \"(backsoon completions --names {} -- (commandline -opc) 2>/dev/null)\"",
            command.get_name(),
            kind.as_str()
        );
    }
    script
}

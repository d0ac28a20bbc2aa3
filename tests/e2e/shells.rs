//! Completion of names in real shells.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const CONFIG: &str = "[[listen]]\naddress = \"127.0.0.1:8080\"\nname = \"public\"\n[routes.web]\nhost = \"a\"\n\
    upstream = [{ url = \"http://10.0.0.2:8080\", name = \"app-2\" }, \"http://10.0.0.3:8080\"]\n\
    [routes.wiki]\nhost = \"b\"\nupstream = \"http://10.0.0.3:8080\"\n[routes.api]\nhost = \"c\"\nupstream = \"unix:/run/app.sock\"\n";
const FLAGS: &str = "[[windows]]\nid = \"MNT-7\"\nstarts = 2090-01-01T00:00:00Z\nends = 2090-01-01T01:00:00Z\n\
    routes = { web = \"offline\" }\n";

/// Folder with a config, a flag file, and another config in `other.toml`.
fn place() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("backsoon.toml"), CONFIG).unwrap();
    fs::write(dir.path().join("maintenance.toml"), FLAGS).unwrap();
    fs::write(dir.path().join("other.toml"), CONFIG.replace("routes.wiki", "routes.other")).unwrap();
    dir
}

/// Runs a script in a shell, in which `backsoon` is the command under test; `None` if there is no such shell.
fn shell(shell: &str, args: &[&str], dir: &Path) -> Option<String> {
    let own = PathBuf::from(env!("CARGO_BIN_EXE_backsoon"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(own.parent().unwrap().to_owned()).chain(std::env::split_paths(&path));
    let mut command = Command::new(shell);
    command.args(args).current_dir(dir).env("PATH", std::env::join_paths(paths).unwrap()).env("HOME", dir);
    let Ok(Output { status, stdout, stderr }) = command.output() else {
        let _ = writeln!(std::io::stderr(), "SKIPPED: names are completed in {shell}: it is not installed");
        return None;
    };
    let (out, err) = (String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr).into_owned());
    assert!(status.success() && err.is_empty(), "{shell}: {err}{out}");
    Some(out)
}

/// Command lines whose last word is completed, and what is offered.
const LINES: [(&str, &str); 12] = [
    ("on w", "web wiki"),
    ("on web wi", "wiki"),
    ("off ", "api web wiki"),
    ("plan a", "api"),
    ("on -c other.toml o", "other"),
    ("on --config=other.toml o", "other"),
    ("history --route w", "web wiki"),
    ("cancel M", "MNT-7"),
    ("off --window ", "MNT-7"),
    ("explain --listener ", "public"),
    ("on --mode h", "hold"),
    ("off nobody", ""),
];

#[test]
fn bash_completes_names() {
    let dir = place();
    let complete = |line: &str| {
        // As bash itself cuts a line: `=` is a word.
        let script = format!(
            "source <(backsoon completions bash)\n\
             line='backsoon {line}'; read -ra COMP_WORDS <<< \"${{line//=/ = }}\"\n\
             [[ $line == *' ' ]] && COMP_WORDS+=('')\n\
             COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMP_LINE=$line; COMP_POINT=${{#line}}\n\
             _backsoon_names backsoon \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"\n\
             echo \"${{COMPREPLY[*]}}\"\n"
        );
        shell("bash", &["--norc", "-c", &script], dir.path())
    };
    for (line, offered) in LINES {
        let Some(found) = complete(line) else { return };
        assert_eq!(found.trim(), offered, "{line}");
    }
    assert_eq!(complete("upstream drain ").unwrap().trim(), "10.0.0.3:8080 app-2 unix:/run/app.sock");
    assert_eq!(complete("upstream d").unwrap().trim(), "drain down");
    assert!(complete("o").unwrap().contains("on"), "commands");
    // Files that are broken, hostile or gone: nothing is said, and nothing is run.
    fs::write(dir.path().join("backsoon.toml"), "[[listen").unwrap();
    assert_eq!(complete("on w").unwrap().trim(), "");
    let hostile = FLAGS.replace("MNT-7", "$(touch hacked)");
    fs::write(dir.path().join("maintenance.toml"), hostile).unwrap();
    assert!(!complete("cancel --flags maintenance.toml ").unwrap().contains("touch"));
    assert!(!dir.path().join("hacked").exists());
    fs::remove_file(dir.path().join("backsoon.toml")).unwrap();
    assert_eq!(complete("off w").unwrap().trim(), "");
}

#[test]
fn fish_completes_names() {
    let dir = place();
    for (line, offered) in LINES {
        let script = format!("backsoon completions fish | source; complete -C 'backsoon {line}'");
        let Some(found) = shell("fish", &["--no-config", "-c", &script], dir.path()) else { return };
        let mut found: Vec<&str> = found.lines().filter_map(|line| line.split('\t').next()).collect();
        found.sort_unstable();
        assert_eq!(found.join(" "), offered, "{line}");
    }
}

#[test]
fn zsh_completes_names() {
    let dir = place();
    // The script in a shell that only prints what would be offered.
    let script = "autoload -Uz compinit; compinit -D -u; eval \"$(backsoon completions zsh)\"\n\
        (( $+functions[_backsoon] )) || exit 1\n\
        compadd() { shift; print -r -- ${(P)1} }\n\
        words=(on -c other.toml o); _backsoon_names routes\n\
        words=(cancel M); _backsoon_names windows\n\
        words=(explain --listener p); _backsoon_names listeners\n";
    let Some(found) = shell("zsh", &["-f", "-c", script], dir.path()) else { return };
    assert_eq!(found, "api other web\nMNT-7\npublic\n");
    let script = shell("zsh", &["-f", "-c", "backsoon completions zsh"], dir.path()).unwrap();
    for part in [
        "'*::routes -- Routes by their names in the config; '\\''*'\\'' is every route:{_backsoon_names routes}'",
        ":{_backsoon_names windows}'",
        ":{_backsoon_names upstreams}'",
        ":{_backsoon_names listeners}'",
    ] {
        assert!(script.contains(part), "{part}");
    }
}

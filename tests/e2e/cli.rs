//! The command: each subcommand's output, files and exit code.

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use backsoon::control::history::{Entry, Event, History};
use backsoon::control::state::StateDir;
use serde_json::Value;

use crate::command::{Done, run as run_in};
use crate::support::{Backsoon, LISTEN, PATIENCE, Upstream, wait};

/// Directory with a config of two routes, and no flag file.
struct Place(tempfile::TempDir);

const CONFIG: &str = r#"
[[listen]]
address = "127.0.0.1:8080"

[routes.web]
host = ["www.example.com", "*.example.org"]
path = ["/", "/app"]
always_open = ["/healthz"]
upstream = "http://127.0.0.1:3000"

[routes.api]
host = "api.example.com"
path = "/v1"
upstream = ["http://127.0.0.1:3001", "http://127.0.0.1:3002"]
"#;

impl Place {
    fn new() -> Self {
        Self::with(CONFIG)
    }

    fn with(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("backsoon.toml"), config).unwrap();
        Self(dir)
    }

    fn flags(self, text: &str) -> Self {
        fs::write(self.0.path().join("maintenance.toml"), text).unwrap();
        self
    }

    fn flag_file(&self) -> String {
        fs::read_to_string(self.0.path().join("maintenance.toml")).unwrap()
    }

    fn run(&self, args: &[&str]) -> Done {
        run_in(self.0.path(), args)
    }
}

// --- the command line

/// Returns the words of every command and of every command below it, as `--help` lists them.
fn commands(place: &Place) -> Vec<Vec<String>> {
    let mut found: Vec<Vec<String>> = Vec::new();
    let mut open = vec![Vec::new()];
    while let Some(words) = open.pop() {
        let asked: Vec<_> = words.iter().map(String::as_str).chain(["--help"]).collect();
        let help = place.run(&asked).exits(0).out;
        let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
        for name in listed.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
            open.push([words.as_slice(), &[name.to_owned()]].concat());
        }
        found.extend(Some(words).filter(|words| !words.is_empty()));
    }
    assert!(found.len() > 24, "{found:?}");
    found
}

/// Config with everything that a link needs.
const WITH_SECRET: &str = r#"
[[listen]]
address = "127.0.0.1:8443"
tls = { cert = "cert.pem", key = "key.pem" }
[routes.web]
host = ["*.example.org", "www.example.com"]
path = ["/app"]
upstream = "http://127.0.0.1:3000"
bypass = { secret_file = "key" }
[routes."a.b"]
host = "b.example.com"
upstream = "http://127.0.0.1:3001"
"#;

#[test]
fn bypass_prints_a_link_for_what_closes_the_route_or_will() {
    let window = "[[windows]]\nid = \"M-1\"\nstarts = 2090-01-01T00:00:00Z\nends = 2090-01-01T01:00:00Z\nroutes = { web = \"offline\" }\n";
    let place = Place::with(WITH_SECRET).flags(window);
    fs::write(place.0.path().join("key"), "0123456789abcdef\n").unwrap();
    let made = place.run(&["bypass", "web"]).exits(0);
    assert!(made.out.starts_with("https://www.example.com:8443/.backsoon/bypass/app?token="), "{}", made.out);
    let ahead = "(1 h), from the start of window M-1, while it stays closed";
    assert!(made.err.contains("good for web until") && made.err.contains(ahead), "{}", made.err);
    assert!(made.err.contains("warning: it expires before window M-1 begins"), "{}", made.err);
    let place = place.flags(&format!("[routes]\nweb = \"offline\"\n{window}"));
    let made = place.run(&["bypass", "web", "--for", "30m", "--url", "https://x.example.org/y"]).exits(0);
    assert!(made.out.starts_with("https://x.example.org/.backsoon/bypass/y?token="), "{}", made.out);
    assert!(made.err.contains("(30 min), while it stays closed") && !made.err.contains("warning"), "{}", made.err);
    let long = place.run(&["bypass", "web", "--for", "8760h"]).exits(0).err;
    assert!(long.contains("warning: this is longer than a day"), "{long}");
    let over = window.replace("2090", "2020");
    let place = place.flags(&over);
    assert!(place.run(&["bypass", "web", "--window", "M-1"]).exits(64).err.contains("window `M-1` is over"));
    let place = place.flags(&format!("[routes]\nweb = \"offline\"\n{window}"));
    let json: Value =
        serde_json::from_str(&place.run(&["bypass", "web", "--window", "M-1", "--json"]).exits(0).out).unwrap();
    assert_eq!((&json["route"], &json["window"]), (&"web".into(), &"M-1".into()));
    assert!(json["link"].as_str().unwrap().starts_with("https://www") && json["expires"].is_string(), "{json}");
}

#[test]
fn bypass_says_what_is_missing() {
    let place = Place::with(WITH_SECRET);
    let no_secret = place.run(&["bypass", "a.b"]).exits(64).err;
    assert!(no_secret.contains("error: the route `a.b` has no secret to sign a link with\n"), "{no_secret}");
    assert!(
        no_secret.contains("`openssl rand -hex 32 > key && chmod 600 key`") && no_secret.contains("[routes.\"a.b\"]"),
        "{no_secret}"
    );
    let no_file = place.run(&["bypass", "web"]).exits(64).err;
    assert!(no_file.contains("there is no such file") && no_file.contains("openssl rand -hex 32 > "), "{no_file}");
    fs::write(place.0.path().join("key"), "short").unwrap();
    let short = place.run(&["bypass", "web"]).exits(64).err;
    assert!(short.contains("this secret has 5 bytes, and at least 16 are needed"), "{short}");
    assert!(place.run(&["bypass", "wep"]).exits(64).err.contains("did you mean `web`?"));
    fs::write(place.0.path().join("key"), "0123456789abcdef").unwrap();
    assert!(place.run(&["bypass", "web", "--window", "M-9"]).exits(64).err.contains("no window `M-9`"));
    assert!(place.run(&["bypass", "web", "--url", "http://a/"]).exits(64).err.contains("over HTTPS alone"));
    let cleartext = Place::with(&WITH_SECRET.replace("tls = ", "# "));
    fs::write(cleartext.0.path().join("key"), "0123456789abcdef").unwrap();
    let no_url = cleartext.run(&["bypass", "web"]).exits(64).err;
    assert!(no_url.contains("= help: name it: `--url https://www.example.com/`"), "{no_url}");
    assert!(cleartext.run(&["bypass", "web", "--cookie"]).exits(0).out.starts_with("__Host-backsoon-bypass-web="));
    assert!(!cleartext.0.path().join("maintenance.toml").exists());
}

#[test]
fn bypass_revokes_in_the_flag_file_and_keeps_its_comments() {
    let place = Place::with(WITH_SECRET).flags("# ours\n[routes]\nweb = \"offline\" # since noon\n");
    let out = place.run(&["bypass", "web", "--revoke"]).exits(0).out;
    assert_eq!(out, "every link and cookie that was issued for web before now is void\n");
    place.run(&["bypass", "*", "--revoke"]).exits(0);
    let file = place.flag_file();
    assert!(file.starts_with("# ours\n[routes]\nweb = \"offline\" # since noon\n\n[revoked]\nweb = 20"), "{file}");
    assert!(file.contains("\n\"*\" = 20"), "{file}");
    place.run(&["bypass", "web", "--revoke", "--for", "1h"]).exits(64);
}

#[test]
fn check_warns_of_a_secret_that_everybody_can_read() {
    use std::os::unix::fs::PermissionsExt;
    let config = CONFIG.replace("[routes.api]", "bypass = { secret_file = \"key\" }\n[routes.api]");
    let place = Place::with(&config).flags("");
    let key = place.0.path().join("key");
    fs::write(&key, "0123456789abcdef").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let warned = place.run(&["check"]).exits(0);
    let said = format!("{}{}", warned.out, warned.err);
    assert!(said.contains("everybody on this machine can read this secret") && said.contains("chmod 600"), "{said}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let quiet = place.run(&["check"]).exits(0);
    assert!(!format!("{}{}", quiet.out, quiet.err).contains("everybody"));
    fs::write(&key, "").unwrap();
    let empty = place.run(&["check"]).exits(64);
    assert!(format!("{}{}", empty.out, empty.err).contains("there is no secret in this file"));
}

#[test]
fn explain_says_how_a_client_passes_or_why_not() {
    let config = CONFIG.replace(
        "[routes.api]",
        "bypass = { networks = [\"192.0.2.0/24\"], header = \"X-Key\", secret_file = \"key\" }\n[routes.api]",
    );
    let place = Place::with(&config).flags("[routes]\nweb = \"offline\"\n");
    fs::write(place.0.path().join("key"), "0123456789abcdef").unwrap();
    let explain = |args: &[&str]| place.run(&[&["explain", "www.example.com"], args].concat()).exits(0).out;
    let by_network = explain(&["--from", "192.0.2.7"]);
    assert!(
        by_network.contains("verdict   forward") && by_network.contains("in a network of `bypass`"),
        "{by_network}"
    );
    assert!(explain(&["-H", "X-Key: 0123456789abcdef"]).contains("the client has sent the secret of `bypass`"));
    let wrong = explain(&["-H", "X-Key: wrong"]);
    assert!(
        wrong.contains("verdict   show") && wrong.contains("does not let it pass: it is not one that was issued"),
        "{wrong}"
    );
    let cookie = format!("Cookie: {}", place.run(&["bypass", "web", "--cookie"]).exits(0).out.trim());
    assert!(explain(&["-H", &cookie]).contains("the cookie of a link"));
    assert!(explain(&["--from", "203.0.113.1"]).contains("verdict   show"));
}

#[test]
fn the_help_of_every_command_tells_its_exit_codes_and_an_example() {
    let place = Place::new();
    for words in commands(&place) {
        let asked: Vec<_> = words.iter().map(String::as_str).chain(["--help"]).collect();
        let done = place.run(&asked).exits(0).says("Exit codes:").says("Examples:");
        assert!(done.out.contains(&format!("backsoon {}", words.join(" "))), "{}", done.out);
        assert!(done.out.lines().all(|line| line.chars().count() <= 120), "{}", done.out);
    }
    place.run(&["--help"]).exits(0).says("Exit codes").says("backsoon demo");
    place.run(&["--version"]).exits(0).says(env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_wrong_command_line_exits_64_and_changes_nothing() {
    let place = Place::new();
    for args in [
        &["--nonsense"][..],
        &["check", "--nonsense"],
        &["nonsense"],
        &[],
        &["on"],
        &["off"],
        &["off", "web", "--all"],
        &["on", "web", "--for", "30m", "--until", "2036-01-01T00:00:00Z"],
        &["on", "web", "--mode", "closed"],
        &["on", "web", "--timeout", "3s"],
        &["completions", "cobol"],
        &["demo", "--port", "0"],
        &["status", "nowhere"],
        &["history", "--since", "yesterday"],
        &["history", "-n", "few"],
    ] {
        let done = place.run(args).exits(64);
        assert!(done.out.is_empty() && !done.err.is_empty(), "{args:?}");
    }
    assert!(!place.0.path().join("maintenance.toml").exists());
}

#[test]
fn completions_and_manual_pages_name_every_command() {
    let place = Place::new();
    let commands = commands(&place);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let done = place.run(&["completions", shell]).exits(0);
        assert!(commands.iter().flatten().all(|word| done.out.contains(word)), "{shell}");
    }
    place.run(&["man"]).exits(0).says(".TH backsoon 1").says("backsoon\\-explain(1)");
    let pages = commands.len() + 1;
    place.run(&["man", "--dir", "man/man1"]).exits(0).says(&format!("wrote {pages} pages into man/man1"));
    for words in commands {
        let command = words.join("-");
        let page = fs::read_to_string(place.0.path().join(format!("man/man1/backsoon-{command}.1"))).unwrap();
        assert!(page.contains(".SH \"EXIT STATUS\"") && page.contains(".SH \"EXAMPLES\""), "{command}");
        assert!(!page.contains(".SH EXTRA"), "{command}");
    }
}

#[test]
fn the_files_have_manual_pages_with_every_key() {
    let place = Place::new();
    place.run(&["man", "--dir", "man/man1"]).exits(0).says(", and 2 into man/man5\n");
    for (name, keys) in [
        ("backsoon.toml", &["trusted_proxies", "strip_prefix", "h2_field_list", "client_auth"][..]),
        ("backsoon-maintenance.toml", &["message", "starts", "every", "title"]),
    ] {
        let path = place.0.path().join("man/man5").join(format!("{name}.5"));
        let page = fs::read_to_string(&path).unwrap();
        assert!(keys.iter().all(|key| page.contains(&format!(".TP\n\\fB{key}\\fR\n"))), "{name}");
        for left in ["](", "`"] {
            assert!(!page.contains(left), "{name}: {left:?}");
        }
        // groff says what it does not understand.
        let Ok(read) = Command::new("groff").args(["-man", "-ww", "-Tutf8"]).arg(&path).output() else { continue };
        assert!(read.stderr.is_empty() && !read.stdout.is_empty(), "{}", String::from_utf8_lossy(&read.stderr));
    }
    place.run(&["man", "--dir", "all"]).exits(0);
    assert!(place.0.path().join("all/backsoon.toml.5").exists() && place.0.path().join("all/backsoon-on.1").exists());
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_backsoon"))
        .args(["completions", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    Done::from(child.wait_with_output().map(|output| Output { stdout: Vec::new(), ..output }).unwrap()).exits(0);
}

#[test]
fn an_output_that_is_full_is_one() {
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_backsoon")).arg("man").stdout(full).output().unwrap();
    Done::from(output).exits(74).complains("cannot write");
}

// --- check

#[test]
fn check_counts_what_is_there() {
    let place = Place::new();
    place
        .run(&["check"])
        .exits(0)
        .says("ok: 2 routes, 1 listener; no route is flagged now\n")
        .complains("there is no `maintenance.toml`: nothing is flagged");
    let place = place.flags("[routes]\nweb = \"offline\"\n");
    let done = place.run(&["check"]).exits(0).says("ok: 2 routes, 1 listener; 1 route is flagged now\n");
    assert_eq!(done.err, "");
}

#[test]
fn check_prints_every_problem_of_both_files_and_exits_64() {
    let place = Place::new().flags("[routes]\nweb = \"offlin\"\napi = 3\nwbe = \"hold\"\n");
    let done = place.run(&["check"]).exits(64).complains("2 errors\n");
    assert_eq!(done.out, "");
    done.complains(
        "error: unknown mode `offlin`\n --> maintenance.toml:2:7\n  |\n2 | web = \"offlin\"\n  |       ^^^^^^^^\n  = help: did you mean `offline`?\n",
    )
    .complains("maintenance.toml:3:7");
    let place = Place::with("workers = 0\n[routes.web]\nupstrem = \"x\"\n");
    place.run(&["check"]).exits(64).complains("backsoon.toml:1:11").complains("did you mean `upstream`?");
}

#[test]
fn check_lets_warnings_pass() {
    let place = Place::new().flags("[routes]\nwbe = \"offline\"\n");
    place
        .run(&["check"])
        .exits(0)
        .says("; 1 warning\n")
        .complains("warning: this proxy has no route `wbe`")
        .complains("did you mean `web`?");
}

#[test]
fn check_gives_problems_as_json() {
    let place = Place::new().flags("[routes]\nweb = \"offlin\"\n");
    let done = place.run(&["check", "--json"]).exits(64);
    let json: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(json["ok"], false);
    assert_eq!(json["problems"][0]["severity"], "error");
    assert_eq!((&json["problems"][0]["line"], &json["problems"][0]["column"]), (&2.into(), &7.into()));
    let place = Place::new().flags("[routes]\nweb = \"offline\"\n");
    let json: Value = serde_json::from_str(&place.run(&["check", "--json"]).exits(0).out).unwrap();
    assert_eq!(json["flagged"], serde_json::json!(["web"]));
}

#[test]
fn a_missing_config_is_answered_with_the_option_for_it() {
    let place = Place::new();
    for command in [&["check"][..], &["on", "web"], &["explain", "/"], &["render"], &["status"]] {
        let args = [command, &["--config", "other.toml"]].concat();
        place.run(&args).exits(64).complains("other.toml").complains("--config FILE");
    }
}

// --- on and off

const COMMENTED: &str = "\
# Call Kim before you touch this.
[routes]
web = \"read-only\"   # since Tuesday

# the api is moved in June
#api = \"offline\"

[[windows]]
id = \"M-1\"
starts = 2036-05-19T14:00:00Z
ends = 2036-05-19T15:00:00Z
routes = { api = \"offline\" }
";

#[test]
fn on_and_off_keep_every_comment() {
    let place = Place::new().flags(COMMENTED);
    place
        .run(&["on", "web", "--until", "2036-05-19T12:00:00+02:00", "--message", "Back \"soon\"."])
        .exits(0)
        .says("web is flagged in maintenance.toml: offline until 2036-05-19 10:00 UTC (");
    let flagged = "web = { mode = \"offline\", until = 2036-05-19T10:00:00Z, message = \"Back \\\"soon\\\".\" }";
    let expected = COMMENTED.replace("web = \"read-only\"", flagged);
    assert_eq!(place.flag_file(), expected);
    place.run(&["off", "web"]).exits(0).says("lifted the flag of web\n");
    let lifted = place.flag_file();
    let (rest, noted) = lifted.split_once("\n[lifted]\n").unwrap();
    assert_eq!(rest, COMMENTED.replace("web = \"read-only\"   # since Tuesday\n", ""));
    assert!(noted.starts_with("web = 20") && noted.ends_with("Z\n") && noted.lines().count() == 1, "{noted}");
    // The next flag takes the note away.
    place.run(&["on", "web"]).exits(0);
    assert!(!place.flag_file().contains("lifted"), "{}", place.flag_file());
}

#[test]
fn on_makes_a_missing_flag_file() {
    let place = Place::new();
    place
        .run(&["on", "web", "api", "--mode", "hold"])
        .exits(0)
        .says("web and api are flagged in maintenance.toml: on hold until lifted; backsoon off web api lifts them\n")
        .complains("made `maintenance.toml`");
    assert_eq!(place.flag_file(), "[routes]\nweb = \"hold\"\napi = \"hold\"\n");
    place.run(&["on", "web", "--mode", "hold"]).exits(0).says("web is already flagged in maintenance.toml: on hold");
    place
        .run(&["on", "*"])
        .exits(0)
        .says("every route is flagged in maintenance.toml: offline until lifted; backsoon off '*' lifts it\n");
    place
        .run(&["off", "web"])
        .exits(4)
        .says("lifted the flag of web\n")
        .says("web is still flagged by \"*\"; backsoon off '*' lifts that\n");
    place.run(&["off", "--all"]).exits(0).says("lifted the flags of api and every route\n");
    place.run(&["off", "--all"]).exits(0).says("there was no flag to lift\n");
}

#[test]
fn a_route_that_the_config_does_not_have_is_not_flagged() {
    let place = Place::new().flags(COMMENTED);
    for args in [&["on", "web", "wbe"][..], &["off", "web", "wbe"]] {
        place.run(args).exits(64).complains("the config has no route `wbe`").complains("did you mean `web`?");
        assert_eq!(place.flag_file(), COMMENTED);
    }
    place.run(&["on", "shop", "--force"]).exits(0).says("shop is flagged in maintenance.toml: offline");
    // A flag in the file can be lifted, even for an unknown route.
    place.run(&["off", "shop"]).exits(0).says("lifted the flag of shop");
    assert!(place.flag_file().starts_with(COMMENTED));
}

#[test]
fn what_is_not_an_end_is_answered_with_the_right_form() {
    let place = Place::new();
    let refused = |args: &[&str], text: &str| {
        place.run(&[&["on", "web"], args].concat()).exits(64).complains(text);
    };
    refused(&["--until", "2036-05-19T15:00:00"], "`2036-05-19T15:00:00Z`");
    refused(&["--until", "15:00"], "T15:00:00Z`");
    refused(&["--until", "2036-05-19"], "it has no time of day");
    refused(&["--until", "2001-01-01T00:00:00Z"], "the end is in the past");
    refused(&["--for", "30"], "add a unit: `30m`");
    refused(&["--for", "a while"], "`30m`");
    refused(&["--message", ""], "`message` is empty");
    assert!(!place.0.path().join("maintenance.toml").exists());
}

#[test]
fn a_flag_file_that_is_wrong_already_is_left_alone() {
    for broken in ["[routes\nweb = \"offline\"\n", "[routes]\nweb = \"offline\"\napi = \"of\"\n"] {
        let place = Place::new().flags(broken);
        for args in [&["on", "web", "--mode", "hold"][..], &["off", "web"]] {
            place
                .run(args)
                .exits(64)
                .complains("`maintenance.toml` has errors already, so it was not edited")
                .complains("--> maintenance.toml:");
        }
        assert_eq!(place.flag_file(), broken);
    }
}

#[test]
fn an_edit_that_takes_the_mistake_away_is_made() {
    let place = Place::new().flags("[routes]\nweb = \"of\"\n");
    place.run(&["on", "web"]).exits(0);
    assert_eq!(place.flag_file(), "[routes]\nweb = \"offline\"\n");
}

#[test]
fn a_stricter_window_is_said() {
    let window = "[[windows]]\nid = \"M-1\"\nstarts = 2001-01-01T00:00:00Z\nends = 2036-01-01T00:00:00Z\n\
                  routes = { web = \"offline\" }\n";
    let place = Place::new().flags(window);
    place
        .run(&["on", "web", "--mode", "read-only"])
        .exits(0)
        .complains("web is offline all the same: window `M-1` is stricter");
    place.run(&["off", "web"]).exits(4).says("web is still flagged by window `M-1` until 2036-01-01 00:00 UTC");
    assert!(place.flag_file().contains(window), "windows stay");
}

#[test]
fn a_flag_file_that_cannot_be_replaced_says_why() {
    let place = Place::new();
    fs::create_dir(place.0.path().join("maintenance.toml")).unwrap();
    place.run(&["on", "web"]).exits(64).complains("maintenance.toml` is not a regular file");
    let place = Place::with(&format!("maintenance = \"nowhere/maintenance.toml\"\n{CONFIG}"));
    place.run(&["on", "web"]).exits(74).complains("nowhere");
}

// --- wait and status, against a running proxy

/// Starts a proxy whose admin listener is a socket beside its files.
fn running(more: &str) -> (Backsoon, String) {
    let dir = tempfile::tempdir().unwrap();
    let admin = format!("unix:{}", dir.path().join("admin.sock").display());
    let config = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"{admin}\"\n\
         [routes.web]\nupstream = \"{}\"\n{more}",
        Upstream::ok().url()
    );
    (Backsoon::start_in(dir, &config), admin)
}

#[test]
fn wait_returns_when_the_next_request_sees_it() {
    let (proxy, _) = running("");
    assert_eq!(crate::support::get(proxy.address(), "/").status, 200);
    run_in(proxy.dir.path(), &["on", "web", "--for", "1h", "--wait"])
        .exits(0)
        .says("web is offline until ")
        .says("live at unix:")
        .says("generation ")
        .says("nothing is in flight at this proxy that began before\n");
    assert_eq!(crate::support::get(proxy.address(), "/").status, 503);
    run_in(proxy.dir.path(), &["off", "--all", "--wait"]).exits(0).says("lifted the flag of web\nlive at ");
    assert_eq!(crate::support::get(proxy.address(), "/").status, 200);
}

#[test]
fn wait_gives_up_when_the_proxy_reads_another_file() {
    let (proxy, admin) = running("");
    let place = Place::with(&format!("{CONFIG}[admin]\naddress = \"{admin}\"\n"));
    let done = place.run(&["on", "web", "--wait", "--timeout", "1s"]).exits(75);
    done.complains("it is not in force at unix:")
        .complains("after 1 s: it reads `")
        .complains("the flag file is written");
    assert_eq!(place.flag_file(), "[routes]\nweb = \"offline\"\n");
    drop(proxy);
}

#[test]
fn wait_says_when_nobody_can_confirm() {
    let gone = "[admin]\naddress = \"unix:/nonexistent/admin.sock\"\n";
    let place = Place::with(&format!("{CONFIG}{gone}"));
    let wait = ["on", "web", "--wait", "--timeout", "1s"];
    place.run(&wait).exits(69).complains("no connection").complains("the flag file is written");
    let place = Place::new();
    place.run(&["on", "web", "--wait"]).exits(64).complains("`backsoon.toml` has no admin listener");
    assert!(!place.0.path().join("maintenance.toml").exists(), "nothing is written that cannot be waited for");
}

#[test]
fn status_shows_what_is_live() {
    let (proxy, admin) = running("");
    run_in(proxy.dir.path(), &["on", "web", "--wait"]).exits(0);
    let done = run_in(proxy.dir.path(), &["status"]).exits(0).says(&admin).says("generation ").says("no errors\n");
    let row = done.out.lines().find(|line| line.trim_start().starts_with("web")).unwrap();
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!((cells[1], cells[2], cells.last()), ("closed", "offline", Some(&"flag")), "{row}");
    let json: Value =
        serde_json::from_str(&run_in(proxy.dir.path(), &["status", "--json", &admin]).exits(0).out).unwrap();
    assert_eq!((&json["agree"], &json["well"]), (&true.into(), &true.into()));
    assert_eq!(json["replicas"][0]["status"]["routes"][0]["phase"], "closed");
}

#[test]
fn status_tells_when_a_file_has_an_error_and_what_it_is() {
    let (proxy, _) = running("");
    run_in(proxy.dir.path(), &["on", "web", "--wait"]).exits(0);
    fs::write(proxy.path("maintenance.toml"), "[routes]\nweb = \"of\"\n").unwrap();
    wait("the mistake to be seen", || run_in(proxy.dir.path(), &["status"]).code == 1);
    run_in(proxy.dir.path(), &["status"])
        .exits(1)
        .says("error: unknown mode `of`")
        .says("maintenance.toml:2:7")
        .says("a file has an error: what was live before it stays live");
}

#[test]
fn status_tells_whether_replicas_agree() {
    let ((one, first), (two, second)) = (running(""), running(""));
    let ask = |admin: &[&str]| run_in(one.dir.path(), &[&["status"], admin].concat());
    ask(&[&first, &second]).exits(1).says("the replicas do not agree: they have different configs");
    let all = ask(&[&first, &second, "unix:/nonexistent/admin.sock"]).exits(69);
    all.says("1 of 3 cannot be reached").says("unix:/nonexistent/admin.sock  no connection");
    // One proxy that is named twice is still one proxy.
    ask(&[&second, &second]).exits(0).says("this proxy: no errors");
    drop(two);
}

#[test]
fn status_of_something_else_is_an_error_not_a_hang() {
    let app = Upstream::ok();
    let place = Place::new();
    place.run(&["status", &app.address.to_string()]).exits(69).says("it answered, but not with a status");
    place.run(&["status"]).exits(64).complains("`backsoon.toml` has no admin listener to ask");
}

#[test]
fn status_is_watched_until_interrupted() {
    let (proxy, admin) = running("");
    let mut child = Command::new(env!("CARGO_BIN_EXE_backsoon"))
        .args(["status", "--watch", "--json", &admin])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["well"], true);
    crate::support::replace(&proxy.path("maintenance.toml"), "[routes]\nweb = \"offline\"\n");
    while next()["replicas"][0]["status"]["routes"][0]["phase"] != "closed" {}
    let began = std::time::Instant::now();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(began.elapsed() < PATIENCE);
    drop(proxy);
}

// --- explain

#[test]
fn explain_names_the_route_and_what_matched() {
    let place = Place::new();
    place
        .run(&["explain", "https://www.example.com:8443/app/x?y=1#z"])
        .exits(0)
        .says("route     web (host `www.example.com`, path `/app`)\n")
        .says("verdict   forward\n")
        .says("why       nothing is flagged for `web`")
        .says("upstream  http://127.0.0.1:3000\n");
    place.run(&["explain", "a.b.EXAMPLE.org"]).exits(0).says("(host `*.example.org`, path `/`)");
    place
        .run(&["explain", "/x/../%761/orders", "-H", "Host: api.example.com"])
        .exits(0)
        .says("path      `/x/../%761/orders` is matched as `/v1/orders`\n")
        .says("upstream  http://127.0.0.1:3001, http://127.0.0.1:3002\n");
}

#[test]
fn explain_says_why_a_route_is_closed_and_in_which_dialect() {
    let place = Place::new().flags(
        "[routes]\nweb = \"read-only\"\n\"*\" = { mode = \"read-only\", until = 2030-01-01T00:00:00Z }\n[[windows]]\n\
         id = \"M-1\"\nstarts = 2035-05-19T14:00:00Z\nends = 2035-05-19T15:00:00Z\nroutes = { web = \"offline\" }\n",
    );
    let at = |time: &str, args: &[&str]| place.run(&[&["explain", "--at", time], args].concat()).exits(0);
    at("2029-01-01T00:00:00Z", &["www.example.com"])
        .says("verdict   forward\n")
        .says("the route is read-only, and GET changes nothing")
        .says("next      window `M-1` makes it offline from 2035-05-19 14:00 UTC\n");
    at("2035-05-19T14:30:00Z", &["www.example.com", "-H", "Accept: text/html,*/*;q=0.8"])
        .says("verdict   show: answered 503 with the maintenance page, as html\n")
        .says("why       window `M-1` says offline, until 15:00 UTC (30 min)\n")
        .says("form      html, because `Accept` names it\n")
        .says("(sees nothing of it)");
    for (fields, form) in [
        (
            &["-H", "Content-Type: application/json"][..],
            "json, because `Accept` names nothing, and the request's own body",
        ),
        (
            &["-H", "Sec-Fetch-Dest: empty", "-H", "Accept: */*"],
            "json, because `Accept` names nothing, and a script asks",
        ),
        (&["-H", "Content-Type: text/xml", "-H", "SOAPAction: x"], "soap, because its message is one of SOAP"),
        (&["-H", "User-Agent: git/2.47.3"], "short, because it comes from git"),
        (&["-H", "Accept: image/*"], "short, because `Accept` names a picture"),
        (&[], "text, because `Accept` names none of the others"),
    ] {
        let args = [&["www.example.com", "-X", "POST"], fields].concat();
        at("2035-05-19T14:30:00Z", &args).says(&format!("form      {form}"));
    }
    at("2035-05-19T14:30:00Z", &["www.example.com/healthz"])
        .says("verdict   forward\n")
        .says("`always_open` has `/healthz`");
    at("2029-12-31T23:00:00Z", &["api.example.com/v1", "-X", "post"]).says("as text\n").says(
        "why       the flag for `\"*\"` says read-only, until 2030-01-01 00:00 UTC (1 h); POST may change something\n",
    );
}

#[test]
fn explain_and_render_show_the_template_of_a_route() {
    let place = Place::with(&CONFIG.replace("path = \"/v1\"\n", "path = \"/v1\"\ntemplate = \"openai.json\"\n"))
        .flags("[routes]\n\"*\" = \"offline\"\n");
    place.run(&["explain", "api.example.com/v1"]).exits(0).says(
        "form      json by the template `openai.json`, because `Accept` names none of the others, and the route has a",
    );
    place
        .run(&["explain", "api.example.com/v1", "-H", "Accept: application/problem+json"])
        .says("form      problem by the template `openai.json`, because `Accept` names it\n");
    place
        .run(&["explain", "api.example.com/v1", "-H", "Accept: text/html"])
        .says("form      html, because `Accept` names it\n");
    place.run(&["render", "--route", "api", "--as", "json"]).exits(0).says("\"code\": \"maintenance\"");
    place.run(&["render", "--route", "web", "--as", "json"]).exits(0).says("\"type\":\"urn:backsoon:maintenance\"");
}

#[test]
fn explain_says_what_there_is_where_nothing_matches() {
    let place = Place::new();
    place
        .run(&["explain", "api.example.com/v2"])
        .exits(0)
        .says("verdict   refuse: answered 404\n")
        .says("there is  api (api.example.com, path /v1)\n");
    place.run(&["explain", "elsewhere.example/"]).exits(0).says("there is  api (").says("there is  web (");
    place.run(&["explain", "/"]).exits(0).says("no host is given");
    place.run(&["explain", "www.example.com/%zz"]).exits(0).says("answered 400");
    place.run(&["explain", "www.example.com", "-X", "TRACE"]).exits(0).says("answered 405");
    for wrong in ["ht tp://x", "http://", ""] {
        place.run(&["explain", wrong]).exits(64);
    }
    place.run(&["explain", "/", "-H", "nonsense"]).exits(64).complains("Accept: text/html");
}

#[test]
fn explain_gives_json() {
    let place = Place::new().flags("[routes]\nweb = \"offline\"\n");
    let done = place.run(&["explain", "www.example.com", "--json", "-H", "Accept: application/json"]).exits(0);
    let json: Value = serde_json::from_str(&done.out).unwrap();
    for (key, value) in [("verdict", "show"), ("route", "web"), ("dialect", "json"), ("host", "www.example.com")] {
        assert_eq!(json[key], value, "{json:#}");
    }
    assert_eq!(json["status"], 503);
    assert_eq!(json["closure"]["mode"], "offline");
}

// --- render

#[test]
fn render_writes_the_bytes_that_a_client_gets() {
    let proxy = Backsoon::start(&format!("{LISTEN}[routes.web]\nupstream = \"{}\"\n", Upstream::ok().url()));
    proxy.flag("[routes.web]\nuntil = 2036-05-19T15:00:00Z\nmessage = \"We move.\"\n");
    // The text names the minute, which may end between the two.
    let is_same = || {
        let page = crate::support::get(proxy.address(), "/").body;
        let text = run_in(proxy.dir.path(), &["render", "--as", "text"]).exits(0).out;
        if page != text {
            println!("the proxy: {page}\nthe command: {text}");
        }
        page == text
    };
    assert!(is_same() || is_same(), "twice another text");
    let html = run_in(proxy.dir.path(), &["render", "--route", "web"]).exits(0);
    assert!(html.out.starts_with("<!doctype html>") && html.out.contains("We move."));
    assert_eq!(html.err, "");
}

#[test]
fn render_shows_the_page_for_an_error() {
    let place = Place::new();
    let html = place.run(&["render", "--error", "504", "--lang", "de"]).exits(0);
    assert!(html.out.contains("<h1>Der Dienst braucht zu lange für eine Antwort</h1>"), "{}", html.out);
    let json = place.run(&["render", "--error", "502", "--as", "problem"]).exits(0);
    assert!(json.out.contains("\"type\":\"urn:backsoon:upstream-failed\""), "{}", json.out);
    place.run(&["render", "--error", "500"]).exits(64).complains("502, 503, 504");
    place.run(&["render", "--error", "502", "--route", "web"]).exits(64);
    let config = std::fs::read_to_string(place.0.path().join("backsoon.toml")).unwrap();
    std::fs::write(place.0.path().join("backsoon.toml"), format!("{config}\n[page]\nerrors = false\n")).unwrap();
    place.run(&["render", "--error", "502"]).exits(64).complains("switches the pages for errors off");
}

#[test]
fn render_shows_a_window_before_it_comes_and_a_preview_of_nothing() {
    let place = Place::new().flags(
        "[[windows]]\nid = \"M-1\"\ntitle = \"New disks\"\nstarts = 2036-05-19T14:00:00Z\nends = 2036-05-19T15:00:00Z\n\
         routes = { elsewhere = \"offline\" }\n",
    );
    let json = place.run(&["render", "--window", "M-1", "--as", "json"]).exits(0);
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((&json["title"], &json["reference"]), (&"New disks".into(), &"M-1".into()));
    assert_eq!(json["until"], "2036-05-19T15:00:00Z");
    place.run(&["render", "--window", "M-2"]).exits(64).complains("did you mean `M-1`?");
    place.run(&["render", "--route", "wbe"]).exits(64).complains("did you mean `web`?");
    place
        .run(&["render", "-o", "page.html"])
        .exits(0)
        .complains("is not flagged then; this is a preview")
        .complains("page.html");
    assert!(fs::read_to_string(place.0.path().join("page.html")).unwrap().starts_with("<!doctype html>"));
    place.run(&["render", "-o", "nowhere/page.html"]).exits(74).complains("the page was not written");
}

// --- history

/// Writes a history beside the config, with the library's own writer.
fn recorded(place: &Place) -> History {
    let mut history = History::new(StateDir::new(&place.0.path().join("backsoon.toml"), None, None));
    let started = Event::Started { version: "0.1.0".to_owned(), pid: 42 };
    history
        .append(&[
            happened("2026-05-19T13:00:00Z", started),
            happened("2026-05-19T14:00:00Z", transition("web", "open", "draining", "offline by window M-1")),
            happened("2026-05-19T14:00:00Z", transition("api", "open", "closed", "flagged \u{1b}[31mread-only")),
            happened("2026-05-19T14:00:30Z", transition("web", "draining", "closed", "nothing is in flight any more")),
        ])
        .unwrap();
    history
}

fn happened(time: &str, event: Event) -> Entry {
    Entry { time: time.parse().unwrap(), generation: 7, event }
}

fn transition(route: &str, from: &str, to: &str, why: &str) -> Event {
    Event::Phase {
        route: route.to_owned(),
        from: from.to_owned(),
        to: to.to_owned(),
        at: "2026-05-19T14:00:00Z".parse().unwrap(),
        why: why.to_owned(),
        mode: None,
        source: None,
        until: None,
        flags: None,
        requests: None,
    }
}

#[test]
fn history_tells_what_happened_to_whom_and_why() {
    let place = Place::new();
    let done = place.run(&["history"]).exits(0).complains("nothing is recorded in `.backsoon`").complains("state_dir");
    assert_eq!(done.out, "");
    assert!(!place.0.path().join(".backsoon").exists());
    recorded(&place);
    let done = place
        .run(&["history"])
        .exits(0)
        .says("2026-05-19 13:00:00 UTC  proxy   backsoon 0.1.0 started, pid 42\n")
        .says("2026-05-19 14:00:00 UTC  web     open → draining      offline by window M-1\n")
        .says("api     open → closed        flagged \u{fffd}[31mread-only\n");
    assert_eq!((done.out.lines().count(), done.err.as_str()), (4, ""));
}

#[test]
fn history_shows_the_latest_of_a_route_since_an_instant() {
    let place = Place::new();
    recorded(&place);
    let lines = |args: &[&str]| {
        let done = place.run(&[&["history", "--json"], args].concat()).exits(0);
        done.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(lines(&[]).len(), 4);
    assert_eq!(lines(&["-n", "0"]).len(), 4);
    assert_eq!(lines(&["-n", "1"])[0]["to"], "closed");
    assert_eq!(lines(&["--route", "web"]).len(), 2);
    assert_eq!(lines(&["--route", "web", "--route", "api", "-n", "2"])[0]["route"], "api");
    assert_eq!(lines(&["--since", "2026-05-19T14:00:30Z"]).len(), 1);
    assert_eq!(lines(&["--since", "2h"]).len(), 0);
    let done = place.run(&["history", "--route", "wbe"]).exits(0).complains("did you mean `web`?");
    assert_eq!(done.out, "");
}

#[test]
fn history_is_found_where_the_config_says_and_what_is_damaged_is_counted() {
    let place = Place::with(&format!("state_dir = \"kept\"\n{CONFIG}"));
    let kept = place.0.path().join("kept/backsoon.history.jsonl");
    fs::create_dir(place.0.path().join("kept")).unwrap();
    let unknown = r#"{"time":"2026-05-19T14:00:00Z","generation":1,"event":"eclipse"}"#;
    fs::write(&kept, format!("{unknown}\n{{\"time\":\"20\n")).unwrap();
    let done = place.run(&["history"]).exits(0).complains("1 line left out: damaged").complains("`--json`");
    assert_eq!(done.out, "");
    place.run(&["history", "--json"]).exits(0).says(unknown);
    fs::remove_file(&kept).unwrap();
    fs::create_dir(&kept).unwrap();
    place.run(&["history"]).exits(74).complains("cannot read the history in `kept`");
    place.run(&["history", "--config", "nowhere.toml"]).exits(64).complains("--config");
}

#[test]
fn history_follows_until_it_is_interrupted() {
    let place = Place::new();
    let mut history = recorded(&place);
    let (mut child, mut lines) = follow(&place);
    let mut next = || lines.next().unwrap().unwrap();
    assert!(next().contains("draining → closed"));
    history
        .append(&[happened("2026-05-19T15:00:00Z", transition("web", "closed", "open", "its time is over"))])
        .unwrap();
    assert!(next().contains("closed → open"));
    history.append(&[happened("2026-05-19T15:00:01Z", Event::Ended)]).unwrap();
    assert!(next().ends_with("ended"));
    assert_eq!(interrupt(&mut child), Some(0));
}

#[test]
fn an_interrupt_right_after_the_first_line_ends_history_well() {
    let place = Place::new();
    let _history = recorded(&place);
    for _ in 0..10 {
        let (mut child, mut lines) = follow(&place);
        assert!(lines.next().unwrap().unwrap().contains("draining → closed"));
        assert_eq!(interrupt(&mut child), Some(0));
    }
}

/// Starts `history --follow` with one line.
fn follow(place: &Place) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_backsoon"))
        .args(["history", "--follow", "-n", "1"])
        .current_dir(place.0.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

/// Interrupts a process, and returns its exit code.
fn interrupt(child: &mut Child) -> Option<i32> {
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    child.wait().unwrap().code()
}

// --- demo

#[test]
fn demo_says_which_option_changes_a_port_that_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let place = Place::new();
    let free = free_port();
    for (public, admin, option) in [(&port, &free, "--port"), (&free, &port, "--admin-port")] {
        place
            .run(&["demo", "--port", public, "--admin-port", admin])
            .exits(69)
            .complains(&format!("port {port} cannot be listened on"))
            .complains(&format!("`{option}`"));
    }
    assert!(!place.0.path().join("backsoon-demo").exists());
}

#[test]
fn demo_serves_and_keeps_the_flag_file_that_is_there() {
    let (dir, port, admin) = (tempfile::tempdir().unwrap(), free_port(), free_port());
    let files = dir.path().join("demo");
    let demo = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backsoon"));
        command.args(["demo", "--port", &port, "--admin-port", &admin, "--dir"]).arg(&files);
        command
    };
    let mut running = Backsoon::spawn(tempfile::tempdir().unwrap(), demo());
    let page = crate::support::get(running.address(), "/");
    assert_eq!(page.status, 200);
    assert!(page.body.contains("This is the app behind backsoon"));
    assert_eq!(crate::support::get(running.address(), "/api").field("content-type"), Some("application/json"));
    run_in(&files, &["on", "web", "--wait"]).exits(0);
    assert_eq!(crate::support::get(running.address(), "/").status, 503);
    running.signal("INT");
    assert_eq!(running.wait_for_exit().code(), Some(0));

    let edited = fs::read_to_string(files.join("maintenance.toml")).unwrap();
    let running = Backsoon::spawn(tempfile::tempdir().unwrap(), demo());
    assert_eq!(fs::read_to_string(files.join("maintenance.toml")).unwrap(), edited);
    assert_eq!(crate::support::get(running.address(), "/").status, 503);
}

#[test]
fn demo_does_not_replace_a_config_of_somebody_else() {
    let place = Place::new();
    place
        .run(&["demo", "--port", &free_port(), "--admin-port", &free_port(), "--dir", "."])
        .exits(64)
        .complains("--dir");
    assert_eq!(fs::read_to_string(place.0.path().join("backsoon.toml")).unwrap(), CONFIG);
}

/// Returns a port that was free a moment ago.
fn free_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port().to_string()
}

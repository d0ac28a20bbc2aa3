//! Ways of writing the flag file that could be taken for a wish to open: in several parts, cut off, or emptied. None
//! lifts a flag that the writer did not lift, and a usual edit that lifts one is followed at once.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Backsoon, Client, LISTEN, Upstream, get, replace, run_to_end, sha256, wait};

/// Ways of cutting a text into parts that are written one after the other, each closed, and the pause between two parts.
/// `anchor` is closed before and after, and written last.
const IN_PARTS: &[(&str, Cut, Duration)] = &[
    ("line by line, as echo > and echo >>", |text| text.split_inclusive('\n').collect(), Duration::ZERO),
    ("the header, then the rest", |text| halves(text, text.find("web").unwrap()), Duration::ZERO),
    ("the first 300 bytes, 10 ms, the rest", |text| halves(text, 300), Duration::from_millis(10)),
    ("the first 300 bytes, 100 ms, the rest", |text| halves(text, 300), Duration::from_millis(100)),
    ("nothing, then all", |text| halves(text, 0), Duration::from_millis(300)),
    ("byte by byte", |text| text.split_inclusive(|_: char| true).collect(), Duration::ZERO),
];

type Cut = fn(&str) -> Vec<&str>;

fn halves(text: &str, at: usize) -> Vec<&str> {
    vec![&text[..at], &text[at..]]
}

#[test]
fn no_part_of_a_file_that_is_written_in_parts_opens_a_route() {
    in_parallel(IN_PARTS, |(what, cut, pause)| {
        let setting = Setting::with(OLD);
        let (mut turn, mut counted) = (0, 0);
        while counted < 10 {
            turn += 1;
            let whole = format!("{WHOLE}# turn {turn}\n");
            let mut longest = Duration::ZERO;
            let opened = setting.count_open("anchor", || {
                longest = setting.write_in_parts(&cut(&whole), *pause);
                setting.takes(&whole);
            });
            setting.replace(OLD);
            // A writer that the machine kept from writing is one that stops in the middle, and no more is promised of it.
            if longest < *pause + Duration::from_millis(10) {
                assert_eq!(opened, 0, "{what}: requests let through in turn {turn}");
                counted += 1;
            }
            assert!(turn < 300, "{what}: the machine is too busy to write a file");
        }
    });
}

/// Ways of emptying the file.
const EMPTIED: &[(&str, &str)] = &[
    ("truncated in place", ": > F"),
    ("truncated by truncate(1)", "truncate -s 0 F"),
    ("blanks", r"printf '\n  \n' > F"),
    ("an empty file renamed into place", ": > T; mv T F"),
    ("an empty file copied", ": > T; cp T F"),
    ("removed and made again", "rm F; touch F"),
    ("only a byte order mark", r"printf '\357\273\277' > F"),
    ("a link to nothing", "ln -s /dev/null T; : > E; ln -sfn E F"),
];

#[test]
fn an_emptied_file_is_pending_at_once_then_refused_and_lifts_nothing() {
    in_parallel(EMPTIED, |(what, script)| {
        let setting = Setting::with(OLD);
        let opened = setting.count_open("anchor", || {
            setting.run(script);
            wait(&format!("{what}: pending"), || {
                setting.pending().is_some_and(|why| why.contains("it is empty") && why.contains("[routes]"))
            });
            wait(&format!("{what}: refused"), || setting.problem().contains("it is empty"));
        });
        assert_eq!(opened, 0, "{what}");
        let flags = setting.flags();
        assert_eq!(flags["pending"], Value::Null, "{what}: it is refused now");
        assert!(flags["problems"][0]["help"].as_str().unwrap().contains("backsoon off --all"), "{flags}");
        assert_eq!(flags["in_force"]["hash"], sha256(OLD.as_bytes()), "{what}");
        let labels = format!("file=\"{}\",role=\"flags\"", setting.file().display());
        assert!(setting.backsoon.metric("backsoon_file_good", &labels) < 0.5, "{what}");
        // What the message says to write is taken.
        setting.run(r#"echo "[routes]" > F"#);
        setting.shows("anchor", 200);
        assert_eq!(setting.problem(), "");
    });
}

#[test]
fn an_empty_file_is_fine_where_nothing_is_flagged() {
    let setting = Setting::with("\n");
    setting.run("echo '# nothing' > F");
    setting.run(": > F");
    setting.reads("");
    assert_eq!(setting.problem(), "");
    assert_eq!(setting.flags()["pending"], Value::Null);
    setting.run("cat > F <<'E'\n[routes]\nanchor = \"offline\"\nE");
    setting.shows("anchor", 503);
}

/// Ways in which the end of a file is lost, each valid by itself. `F` holds `LONG`, and is 6,000 bytes long.
const CUT: &[(&str, &str)] = &[
    ("the first half of the same file", "head -c 2999 F > T; cat T > F"),
    (
        "the first 4096 bytes of another file, as a full disk leaves them",
        "sed -i '1s/^/# new\\n/' LONGER; head -c 4096 LONGER > F",
    ),
    ("the first 1024 bytes of another file", "sed -i '1s/^/# new\\n/' LONGER; head -c 1024 LONGER > F"),
    ("a beginning of another file, cut in a comment", "sed -i '1s/^/# new\\n/' LONGER; head -c 1111 LONGER > F"),
];

#[test]
fn a_file_whose_end_is_cut_off_is_pending_then_refused_and_lifts_nothing() {
    in_parallel(CUT, |(what, script)| {
        let long = long();
        let setting = Setting::with(&long);
        fs::write(setting.dir().join("LONGER"), &long).unwrap();
        let opened = setting.count_open("anchor", || {
            setting.run(script);
            wait(&format!("{what}: pending"), || setting.pending().is_some_and(|why| why.contains("cut off")));
            wait(&format!("{what}: refused"), || setting.problem().contains("cut off"));
        });
        assert_eq!(opened, 0, "{what}");
        assert_eq!(setting.flags()["in_force"]["hash"], sha256(long.as_bytes()), "{what}");
        setting.replace(&long);
        assert_eq!(setting.problem(), "", "{what}");
        // The same bytes renamed into place are a wish.
        setting.run(&format!("{script}; cp F T; cat LONGER > F; mv T F"));
        setting.shows("anchor", 200);
    });
}

/// Usual edits that lift everything. `F` holds `OLD`.
const LIFTING: &[(&str, &str)] = &[
    ("echo", r#"echo "[routes]" > F"#),
    ("printf without a line break", r#"printf '[routes]' > F"#),
    ("printf of a flag fewer, without a line break", r#"printf '[routes]\nweb = "offline"' > F"#),
    ("a comment instead, without a line break", r#"printf '[routes]\n#web = "offline"\n#anchor = "offline"' > F"#),
    ("sed -i", "sed -i s/^anchor/#anchor/ F"),
    ("sed, removing the last line", "sed -i '$d' F"),
    ("the last line removed in place", "head -n -1 F > T; cat T > F"),
    ("the last line removed in place, and its line break", "head -n -1 F | head -c -1 > T; cat T > F"),
    ("cp", "grep -v anchor F > T; cp T F"),
    ("mv", "grep -v anchor F > T; mv T F"),
    ("a rename without a line break", r#"printf '[routes]' > T; mv T F"#),
    ("a rename cut off, which is a wish", "head -c 40 F > T; sed -i 's/\\[routes.*/#/' T; mv T F"),
    ("vim", "vim -u NONE -es -c 'g/anchor/d' -c wq F"),
    ("vim in place", "vim -u NONE -es -c 'set bkc=yes' -c 'g/anchor/d' -c wq F"),
    ("perl", "perl -ni -e 'print unless /anchor/' F"),
    ("python", "python3 -c 'open(\"F\", \"w\").write(\"[routes]\\n\")'"),
    ("tee", "grep -v anchor F > T; tee F < T > /dev/null"),
    ("dd", "grep -v anchor F > T; dd if=T of=F status=none"),
    ("rsync --inplace or cat", "grep -v anchor F > T; rsync --inplace T F 2> /dev/null || cat T > F"),
    ("a milder mode", "sed s/offline/read-only/ F > T; cat T > F"),
];

#[test]
fn a_usual_edit_that_lifts_is_followed_by_its_event() {
    // A few at a time, since the time is what is judged.
    let few: Vec<_> = LIFTING.chunks(LIFTING.len().div_ceil(3)).collect();
    in_parallel(&few, |cases| cases.iter().for_each(lifts));
}

fn lifts((what, script): &(&str, &str)) {
    let setting = Setting::with(OLD);
    setting.run(script);
    let began = Instant::now();
    setting.shows("anchor", 200);
    assert!(began.elapsed() < Duration::from_millis(1900), "{what}: only after {:?}", began.elapsed());
    assert_eq!(setting.problem(), "", "{what}");
    assert_eq!(setting.flags()["pending"], Value::Null, "{what}");
}

#[test]
fn a_reload_in_the_middle_of_a_slow_writer_waits_for_its_close() {
    let setting = Setting::with(OLD);
    let opened = setting.count_open("anchor", || {
        let (dir, script) =
            (setting.dir(), "exec 3>F; head -n 2 WHOLE >&3; sleep 0.7; tail -n +3 WHOLE >&3; exec 3>&-");
        fs::write(dir.join("WHOLE"), WHOLE).unwrap();
        let writer = thread::spawn(move || sh(&dir, script));
        wait("the writer to begin", || {
            fs::read_to_string(setting.file()).is_ok_and(|text| WHOLE.starts_with(&text) && !text.is_empty())
        });
        for _ in 0..5 {
            setting.backsoon.signal("HUP");
            thread::sleep(Duration::from_millis(50));
        }
        writer.join().unwrap();
        setting.takes(WHOLE);
    });
    assert_eq!(opened, 0);
}

#[test]
fn a_file_that_is_missing_or_half_written_is_pending() {
    let setting = Setting::with(OLD);
    let dir = setting.dir();
    let writer = thread::spawn(move || sh(&dir, "exec 3>F; echo '# half' >&3; sleep 1; exec 3>&-; mv F G"));
    wait("it is written", || setting.pending().is_some_and(|why| why.contains("written")));
    writer.join().unwrap();
    wait("it is gone", || setting.pending().is_some_and(|why| why.contains("no such file")));
    wait("that is believed", || setting.flags()["trouble"].as_str().is_some_and(|why| why.contains("no such file")));
    assert_eq!(setting.flags()["pending"], Value::Null);
    setting.run("cp WHOLE F 2> /dev/null || printf '[routes]\nanchor = \"hold\"\n' > F");
    wait("it is back", || setting.flags()["trouble"] == Value::Null && setting.flags()["pending"] == Value::Null);
}

#[test]
fn the_status_names_the_file_that_was_read_and_what_is_in_force() {
    use std::os::unix::fs::MetadataExt;
    let setting = Setting::with(OLD);
    let first = setting.flags();
    assert_eq!(first["in_force"]["hash"], sha256(OLD.as_bytes()));
    assert_eq!(first["in_force"]["generation"], 1);
    for text in [WHOLE, OLD, "[routes]\nanchor = \"ofline\"\n"] {
        let before = setting.flags();
        setting.replace(text);
        let found = fs::metadata(setting.file()).unwrap();
        let (status, flags) = (setting.backsoon.status(), setting.flags());
        assert_eq!(flags["inode"], format!("{}:{}", found.dev(), found.ino()));
        let changed: jiff::Timestamp = flags["changed"].as_str().unwrap().parse().unwrap();
        assert_eq!(changed, jiff::Timestamp::new(found.ctime(), found.ctime_nsec() as i32).unwrap());
        assert_eq!(flags["real"], fs::canonicalize(setting.file()).unwrap().to_str().unwrap());
        if text.contains("ofline") {
            assert_eq!(flags["in_force"], before["in_force"], "the last good one");
        } else {
            assert_eq!(flags["in_force"]["hash"], sha256(text.as_bytes()));
            let generation = |value: &Value| value.as_u64().unwrap();
            assert!(generation(&flags["in_force"]["generation"]) > generation(&before["in_force"]["generation"]));
            assert!(generation(&flags["in_force"]["generation"]) <= generation(&status["generation"]));
        }
    }
    // The same text written again is another file, and no new generation.
    setting.replace(OLD);
    let (generation, before) = (setting.backsoon.status()["generation"].clone(), setting.flags());
    setting.run("cp F T; mv T F");
    wait("the new file to be seen", || setting.flags()["inode"] != before["inode"]);
    assert_eq!(setting.flags()["in_force"], before["in_force"]);
    assert_eq!(setting.backsoon.status()["generation"], generation);
    assert_eq!(setting.backsoon.status()["watching"]["by"], "events");
}

#[test]
fn a_command_in_the_gap_of_a_writer_in_place_drops_none_of_its_flags() {
    let setting = Setting::with(OLD);
    let opened = setting.count_open("anchor", || {
        let mut writer = fs::File::create(setting.file()).unwrap();
        thread::scope(|scope| {
            let on = scope.spawn(|| setting.command(&["on", "api"]));
            thread::sleep(Duration::from_millis(400));
            writer.write_all(WHOLE.as_bytes()).unwrap();
            drop(writer);
            let (code, said) = on.join().unwrap();
            assert_eq!(code, Some(0), "{said}");
        });
        wait("the command's flag", || fs::read_to_string(setting.file()).unwrap().contains("api = \"offline\""));
        setting.shows("web", 503);
    });
    assert_eq!(opened, 0);
    assert!(fs::read_to_string(setting.file()).unwrap().contains("anchor = \"offline\""));
}

#[test]
fn a_command_does_not_edit_an_emptied_file_but_lifts_all_flags_on_demand() {
    let setting = Setting::with(OLD);
    let opened = setting.count_open("anchor", || {
        thread::sleep(Duration::from_millis(20));
        fs::File::create(setting.file()).unwrap();
        for command in [["on", "web"], ["off", "web"], ["on", "web"]] {
            let (code, said) = setting.command(&command);
            assert_eq!(code, Some(74), "{command:?}: {said}");
            assert!(said.contains("it was emptied") && said.contains("[routes]"), "{command:?}: {said}");
        }
    });
    assert_eq!(opened, 0);
    assert_eq!(setting.command(&["off", "--all"]).0, Some(0));
    setting.shows("anchor", 200);
    assert_eq!(setting.problem(), "");
    assert_eq!(setting.command(&["on", "anchor"]).0, Some(0));
    setting.shows("anchor", 503);
    // The last flag goes, and what is left is no empty file.
    setting.replace("[routes.anchor]\nmode = \"offline\"\n");
    assert_eq!(setting.command(&["off", "anchor"]).0, Some(0));
    setting.shows("anchor", 200);
}

#[test]
fn where_the_system_gives_no_events_the_status_and_a_metric_say_so() {
    let limit = "echo 0 > /proc/sys/user/max_inotify_instances";
    let Some(setting) = Setting::elsewhere(OLD, &["-Ur"], limit) else { return };
    let status = setting.backsoon.status();
    assert_eq!(status["watching"]["by"], "polling");
    assert!(status["watching"]["trouble"].as_str().unwrap().contains("max_user_instances"), "{status}");
    assert!(status["problems"][0]["message"].as_str().unwrap().contains("polling"), "{status}");
    assert!(setting.backsoon.metric("backsoon_files_polled", "") > 0.5);
    // A signal waits for what was written just now, and for no longer than polling would.
    setting.run("echo '[routes]' > F");
    setting.backsoon.signal("HUP");
    setting.shows("anchor", 200);
}

#[test]
fn a_file_that_was_replaced_outside_its_mount_is_not_good() {
    let mount = "mkdir outside && cp flags/F outside/F && mount --bind outside/F flags/F";
    let Some(setting) = Setting::elsewhere(OLD, &["-Urm"], mount) else { return };
    let labels = format!("file=\"{}\",role=\"flags\"", setting.flags()["path"].as_str().unwrap());
    assert!(setting.flags()["caveat"].as_str().unwrap().contains("mounted by itself"));
    assert!(setting.backsoon.metric("backsoon_file_good", &labels) > 0.5, "so far it is");
    replace(&setting.backsoon.path("outside/F"), "[routes]\n");
    wait("the loss to be seen", || setting.flags()["trouble"].as_str().is_some_and(|why| why.contains("outside")));
    assert!(setting.backsoon.metric("backsoon_file_good", &labels) < 0.5);
    assert!(get(setting.backsoon.admin, "/readyz").body.contains("flags/F"));
    assert_eq!(setting.status("anchor"), 503);
}

const OLD: &str =
    "# the flags of old, with a line that is long enough to be cut\n[routes]\nanchor = \"offline\" # last\n";
const WHOLE: &str = "[routes]\n# These lines are here so that the first three hundred bytes of the file end in the middle of a comment.\n\
                     # Such a beginning is valid by itself, and flags nothing.\n\
                     # 3456789 123456789 123456789 123456789 123456789 123456789 123456789 123456789 123456789 123456789\n\
                     web = \"offline\"\napi = \"hold\"\nanchor = \"offline\"\n";

/// Returns a flag file of 6,000 bytes: comments, and at the very end the flag.
fn long() -> String {
    let mut text = String::from("[routes]\n");
    while text.len() < 5_900 {
        text.push_str("# a comment that says something of a route, and is as long as most of them are\n");
    }
    text.push_str("anchor = \"offline\"\n");
    text
}

/// Running proxy with the routes `web`, `api` and `anchor`, whose flag file `F` is in a directory of its own.
struct Setting {
    backsoon: Backsoon,
}

impl Setting {
    fn with(flags: &str) -> Self {
        let (dir, config) = Self::files(flags);
        Self { backsoon: Backsoon::start_in(dir, &config) }
    }

    fn files(flags: &str) -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("flags")).unwrap();
        fs::write(dir.path().join("flags/F"), flags).unwrap();
        let upstream = Upstream::ok().url();
        let routes = ["web", "api", "anchor"]
            .map(|name| format!("[routes.{name}]\nhost = \"{name}.test\"\nupstream = \"{upstream}\"\n"));
        (dir, format!("maintenance = \"flags/F\"\n{LISTEN}{}", routes.concat()))
    }

    /// Starts in namespaces of its own, after a preparation. Absent where there are no namespaces.
    fn elsewhere(flags: &str, namespaces: &[&str], prepare: &str) -> Option<Self> {
        let (dir, config) = Self::files(flags);
        fs::write(dir.path().join("backsoon.toml"), config).unwrap();
        let script = |then: &str| {
            let mut command = Command::new("unshare");
            let script = format!("cd \"$0\" && {prepare} && {then}");
            command.args(namespaces).args(["sh", "-c", &script]).arg(dir.path());
            command
        };
        let tried = script("umount flags/F 2> /dev/null; rm -rf outside").output();
        if !tried.as_ref().is_ok_and(|tried| tried.status.success()) {
            let _ = writeln!(std::io::stderr(), "SKIPPED: {prepare}: there are no namespaces here: {tried:?}");
            return None;
        }
        let run = format!("exec \"{}\" run --config backsoon.toml", env!("CARGO_BIN_EXE_backsoon"));
        let command = script(&run);
        Some(Self { backsoon: Backsoon::spawn(dir, command) })
    }

    fn dir(&self) -> PathBuf {
        self.backsoon.path("flags")
    }

    fn file(&self) -> PathBuf {
        self.backsoon.path("flags/F")
    }

    fn run(&self, script: &str) {
        sh(&self.dir(), script);
    }

    /// Runs a command on the config, and returns its exit code and standard error.
    fn command(&self, words: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backsoon"));
        command.args(words).arg("--config").arg(self.backsoon.path("backsoon.toml"));
        run_to_end(command)
    }

    /// Writes the file in parts, each closed. Returns the longest time between two closes.
    fn write_in_parts(&self, parts: &[&str], pause: Duration) -> Duration {
        let mut longest = Duration::ZERO;
        for (index, part) in parts.iter().enumerate() {
            let began = Instant::now();
            if index > 0 {
                thread::sleep(pause);
            }
            let mut options = fs::File::options();
            let mut file =
                options.create(true).write(true).truncate(index == 0).append(index > 0).open(self.file()).unwrap();
            file.write_all(part.as_bytes()).unwrap();
            drop(file);
            longest = longest.max(if index > 0 { began.elapsed() } else { Duration::ZERO });
        }
        longest
    }

    /// Replaces the file by rename, and waits until that content was read.
    fn replace(&self, text: &str) {
        replace(&self.file(), text);
        self.reads(text);
    }

    /// Waits until this content was read.
    fn reads(&self, text: &str) {
        self.backsoon.wait_for_file("flags/F", text);
    }

    /// Waits until this content is in force.
    fn takes(&self, text: &str) {
        let hash = sha256(text.as_bytes());
        wait("the content to be in force", || self.flags()["in_force"]["hash"] == hash.as_str());
    }

    fn status(&self, route: &str) -> u16 {
        let head = format!("GET / HTTP/1.1\r\nhost: {route}.test\r\nconnection: close\r\n\r\n");
        crate::support::request(self.backsoon.address(), &head).status
    }

    fn shows(&self, route: &str, status: u16) {
        wait(&format!("a {status} of {route}"), || self.status(route) == status);
    }

    /// Returns the flag file in `/status`.
    fn flags(&self) -> Value {
        self.backsoon.file("flags")
    }

    fn pending(&self) -> Option<String> {
        self.flags()["pending"]["why"].as_str().map(str::to_owned)
    }

    /// Returns the message of the file's first problem, or nothing.
    fn problem(&self) -> String {
        self.flags()["problems"][0]["message"].as_str().unwrap_or_default().to_owned()
    }

    /// Asks for a route all the time while something is done, and counts the answers that are not 503.
    fn count_open(&self, route: &str, act: impl FnOnce()) -> usize {
        let (ended, opened, asked) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut client = Client::connect(self.backsoon.address());
                while !ended.load(Ordering::Acquire) {
                    client.send(format!("GET / HTTP/1.1\r\nhost: {route}.test\r\n\r\n"));
                    opened.fetch_add(usize::from(client.response().status != 503), Ordering::AcqRel);
                    asked.fetch_add(1, Ordering::AcqRel);
                }
            });
            let _ended = Ended(&ended);
            wait("the first answer", || asked.load(Ordering::Acquire) > 0);
            act();
            // At least one more answer after the end.
            let before = asked.load(Ordering::Acquire);
            wait("one more answer", || asked.load(Ordering::Acquire) > before + 1);
        });
        opened.into_inner()
    }
}

/// Ends the client of [`Setting::count_open`], also if the test fails.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn sh(dir: &std::path::Path, script: &str) {
    let output = Command::new("bash").args(["-euc", script]).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

fn in_parallel<T: Sync>(cases: &[T], test: impl Fn(&T) + Sync) {
    thread::scope(|scope| {
        let running: Vec<_> = cases.iter().map(|case| scope.spawn(|| test(case))).collect();
        running.into_iter().for_each(|case| case.join().unwrap());
    });
}

#[test]
fn a_flag_file_that_takes_over_with_an_error_is_doubted_as_well() {
    let upstream = Upstream::ok();
    let config = |more: &str| format!("{more}{LISTEN}[routes.web]\nupstream = \"{}\"\n", upstream.url());
    let proxy = Backsoon::start(&config(""));
    proxy.flag("[routes]\nweb = \"offline\"\n");
    replace(&proxy.path("other.toml"), "[routes]\nweb = \"of\"\n");
    proxy.config(&config("maintenance = \"other.toml\"\n"));
    let told = |words: &str| {
        let file = proxy.file("flags");
        file["path"].as_str().unwrap().ends_with("other.toml") && file["problems"].to_string().contains(words)
    };
    wait("the error", || told("unknown mode"));
    // Valid by itself, and as long as the buffer of a writer.
    fs::write(proxy.path("other.toml"), format!("{:-<4096}", "[routes]\n# ")).unwrap();
    wait("the refusal", || told("cut off"));
    assert_eq!(get(proxy.address(), "/").status, 503);
}

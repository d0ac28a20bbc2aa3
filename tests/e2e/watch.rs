//! Every way in which a flag file changes, through the running command: each change is followed, and half a file never
//! counts.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::support::{Backsoon, LISTEN, Upstream, get, replace, wait};

#[test]
fn a_config_map_that_is_swapped_is_followed() {
    let setting = Setting::new();
    let volume = setting.backsoon.path("flags");
    project(&volume, "..1", OPEN);
    symlink("..data/maintenance.toml", volume.join("maintenance.toml")).unwrap();
    setting.shows(200);
    for (turn, (text, status)) in [(CLOSED, 503), (OPEN, 200), (CLOSED, 503)].into_iter().enumerate() {
        project(&volume, &format!("..{}", turn + 2), text);
        setting.follows(status);
    }
}

#[test]
fn sed_in_place_is_followed() {
    let setting = Setting::with("[routes]\n#web = \"offline\"\n");
    for (script, status) in [("s/^#web/web/", 503), ("s/^web/#web/", 200)] {
        run(Command::new("sed").args(["-i", script]).arg(setting.file()));
        setting.follows(status);
    }
}

#[test]
fn vim_is_followed_however_it_writes() {
    for how in ["backupcopy=no", "backupcopy=yes", "backupcopy=auto", "nobackup nowritebackup"] {
        let setting = Setting::with("[routes]\n#web = \"offline\"\n");
        for (script, status) in [("%s/^#web/web/", 503), ("%s/^web/#web/", 200)] {
            // By default, vim makes no backups in temporary directories.
            let set = format!("set {how} backupskip=");
            let mut vim = Command::new("vim");
            vim.args(["-es", "-u", "NONE", "-c", &set, "-c", script, "-c", "wq"]).arg(setting.file());
            run(&mut vim);
            setting.follows(status);
        }
    }
}

#[test]
fn a_file_that_is_written_in_place_with_its_time_put_back_is_followed() {
    let (open, closed) = ("[routes]\n#eb = \"offline\"\n", "[routes]\nweb = \"offline\"\n");
    assert_eq!(open.len(), closed.len());
    let setting = Setting::with(open);
    let time = fs::metadata(setting.file()).unwrap().modified().unwrap();
    for (text, status) in [(closed, 503), (open, 200)] {
        fs::write(setting.file(), text).unwrap();
        File::options().append(true).open(setting.file()).unwrap().set_modified(time).unwrap();
        setting.follows(status);
    }
}

#[test]
fn a_symlinked_file_is_followed_when_its_target_is_replaced_written_or_another() {
    let setting = Setting::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let (one, two) = (elsewhere.path().join("one.toml"), elsewhere.path().join("two.toml"));
    fs::write(&one, CLOSED).unwrap();
    symlink(&one, setting.file()).unwrap();
    setting.follows(503);
    // The target of a link is watched a moment after it was read. A change within that moment takes effect once the
    // file is quiet.
    replace(&one, OPEN);
    setting.shows(200);
    fs::write(&one, CLOSED).unwrap();
    setting.follows(503);
    replace(&one, OPEN);
    setting.follows(200);
    fs::write(&one, CLOSED).unwrap();
    setting.follows(503);
    fs::write(&two, OPEN).unwrap();
    symlink(&two, setting.file().with_extension("link")).unwrap();
    fs::rename(setting.file().with_extension("link"), setting.file()).unwrap();
    setting.follows(200);
    replace(&two, CLOSED);
    setting.shows(503);
    replace(&two, OPEN);
    setting.follows(200);
}

#[test]
fn a_directory_that_goes_and_comes_back_keeps_the_last_good_state_and_is_then_followed() {
    let setting = Setting::with(CLOSED);
    let (here, away) = (setting.backsoon.path("flags"), setting.backsoon.path("away"));
    fs::rename(&here, &away).unwrap();
    setting.stays(503, Duration::from_millis(1500));
    fs::create_dir(&here).unwrap();
    fs::write(setting.file(), OPEN).unwrap();
    // The file was there before its directory could be watched. No event says that it is finished, so it has to be
    // quiet for a while.
    setting.shows(200);
    // The new directory is watched, and the old one no longer.
    replace(&away.join("maintenance.toml"), "[routes]\n\"*\" = \"offline\"\n");
    setting.stays(200, Duration::from_millis(300));
    replace(&setting.file(), CLOSED);
    setting.follows(503);
    fs::remove_dir_all(&here).unwrap();
    setting.stays(503, Duration::from_millis(300));
    fs::rename(&away, &here).unwrap();
    replace(&setting.file(), OPEN);
    setting.shows(200);
}

#[test]
fn a_half_written_file_is_never_acted_on() {
    // Half of the file is itself a whole file: one that opens everything.
    let setting = Setting::with(CLOSED);
    for turn in 0..3 {
        let generation = setting.backsoon.status()["generation"].clone();
        let mut writer = File::create(setting.file()).unwrap();
        writer.write_all(b"# the flags\n[routes]\n").unwrap();
        setting.stays(503, Duration::from_millis(700));
        writer.write_all(b"web = \"off").unwrap();
        setting.stays(503, Duration::from_millis(300));
        assert_eq!(setting.backsoon.status()["generation"], generation, "nothing was taken");
        assert_eq!(setting.problems(), 0, "and nothing was found wrong");
        writer.write_all(format!("line\"\n# turn {turn}\n").as_bytes()).unwrap();
        drop(writer);
        let whole = format!("# the flags\n[routes]\nweb = \"offline\"\n# turn {turn}\n");
        setting.backsoon.wait_for_file("maintenance.toml", &whole);
        assert_eq!(setting.status(), 503);
    }
}

#[test]
fn a_file_that_is_emptied_and_filled_again_never_opens_the_route() {
    let setting = Setting::with(CLOSED);
    let mut writer = File::create(setting.file()).unwrap();
    setting.stays(503, Duration::from_millis(500));
    writer.write_all(CLOSED.as_bytes()).unwrap();
    drop(writer);
    setting.stays(503, Duration::from_millis(3500));
    assert_eq!(setting.problems(), 0, "the empty file was none");
}

#[test]
fn a_bad_file_keeps_the_last_good_one_and_says_where_it_is_wrong_until_it_is_put_right() {
    let setting = Setting::with(CLOSED);
    replace(&setting.file(), "# once\n[routes]\nweb = \"ofline\"\n");
    wait("the problem to be told", || setting.problems() == 1);
    assert_eq!(setting.status(), 503);
    let file = setting.backsoon.file("flags");
    let problem = &file["problems"][0];
    assert!(problem["file"].as_str().unwrap().ends_with("maintenance.toml"), "{problem}");
    assert_eq!((&problem["line"], &problem["column"]), (&3.into(), &7.into()), "{problem}");
    assert!(problem["help"].as_str().unwrap().contains("offline"), "{problem}");
    let ready = get(setting.backsoon.admin, "/readyz");
    assert_eq!(ready.status, 200, "what is live is good");
    assert!(ready.body.contains("maintenance.toml"), "{}", ready.body);
    replace(&setting.file(), OPEN);
    setting.follows(200);
    assert_eq!(setting.problems(), 0);
}

#[test]
fn a_flag_file_that_was_not_there_is_followed_when_it_comes() {
    let setting = Setting::new();
    setting.shows(200);
    fs::write(setting.file(), CLOSED).unwrap();
    setting.follows(503);
}

#[test]
fn a_flag_file_that_goes_opens_the_route_only_where_the_config_says_so() {
    let (kept, opened) = (Setting::with(CLOSED), Setting::start(CLOSED, "on_missing = \"open\"\n"));
    fs::remove_file(kept.file()).unwrap();
    fs::remove_file(opened.file()).unwrap();
    opened.shows(200);
    kept.stays(503, Duration::from_millis(500));
}

#[test]
fn a_flag_ends_by_the_clock_alone() {
    let setting = Setting::new();
    let until = soon(1500);
    fs::write(setting.file(), format!("[routes.web]\nmode = \"offline\"\nuntil = {until}\n")).unwrap();
    setting.follows(503);
    setting.shows(200);
    let late = Timestamp::now().duration_since(until);
    assert!(!late.is_negative(), "{late:?} before its time");
    assert!(late < jiff::SignedDuration::from_secs(1), "{late:?} late");
    assert_eq!(setting.backsoon.route("web")["phase"], "open");
}

#[test]
fn a_window_begins_and_ends_by_the_clock_alone() {
    let setting = Setting::new();
    let (starts, ends) = (soon(1000), soon(2500));
    let window = format!(
        "[[windows]]\nid = \"w\"\ntitle = \"t\"\nstarts = {starts}\nends = {ends}\nroutes = {{ web = \"offline\" }}\n"
    );
    fs::write(setting.file(), &window).unwrap();
    setting.backsoon.wait_for_file("maintenance.toml", &window);
    for (status, instant) in [(503, starts), (200, ends)] {
        setting.shows(status);
        let late = Timestamp::now().duration_since(instant);
        assert!(!late.is_negative(), "{late:?} before its time");
        assert!(late < jiff::SignedDuration::from_secs(1), "{late:?} late");
    }
}

const OPEN: &str = "[routes]\n";
const CLOSED: &str = "[routes]\nweb = \"offline\"\n";

/// Running proxy whose flag file is in a directory of its own.
struct Setting {
    backsoon: Backsoon,
}

impl Setting {
    /// Starts without a flag file.
    fn new() -> Self {
        Self::start("", "")
    }

    fn with(flags: &str) -> Self {
        Self::start(flags, "")
    }

    fn start(flags: &str, top: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("flags")).unwrap();
        if !flags.is_empty() {
            fs::write(dir.path().join("flags/maintenance.toml"), flags).unwrap();
        }
        let upstream = Upstream::ok().url();
        let config =
            format!("maintenance = \"flags/maintenance.toml\"\n{top}{LISTEN}[routes.web]\nupstream = \"{upstream}\"\n");
        Self { backsoon: Backsoon::start_in(dir, &config) }
    }

    fn file(&self) -> std::path::PathBuf {
        self.backsoon.path("flags/maintenance.toml")
    }

    fn status(&self) -> u16 {
        get(self.backsoon.address(), "/").status
    }

    fn problems(&self) -> usize {
        let status = self.backsoon.status();
        let flags = status["files"].as_array().unwrap().iter().find(|file| file["role"] == "flags").unwrap().clone();
        flags["problems"].as_array().unwrap().len()
    }

    /// Waits for an answer.
    fn shows(&self, status: u16) {
        wait(&format!("a {status}"), || self.status() == status);
    }

    /// Waits for an answer that has to come by an event: changes seen only by polling take effect after 2 s of quiet.
    fn follows(&self, status: u16) {
        let began = Instant::now();
        self.shows(status);
        let spent = began.elapsed();
        assert!(spent < Duration::from_millis(1900), "{status} only after {spent:?}: by polling, not by an event");
    }

    /// Asks for a time, and expects the same answer each time.
    fn stays(&self, status: u16, time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time {
            assert_eq!(self.status(), status, "after {:?}", began.elapsed());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Writes a ConfigMap's volume like the kubelet: a new directory, and one rename that makes it the current one.
fn project(volume: &Path, name: &str, text: &str) {
    fs::create_dir(volume.join(name)).unwrap();
    fs::write(volume.join(name).join("maintenance.toml"), text).unwrap();
    let old = fs::read_link(volume.join("..data")).ok();
    symlink(name, volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    if let Some(old) = old {
        fs::remove_dir_all(volume.join(old)).unwrap();
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// Returns the instant this many milliseconds from now, on a whole millisecond.
fn soon(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(Timestamp::now().as_millisecond() + millis).unwrap()
}

//! Tests of real files, which change in the ways that people and tools change them.

use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::*;

/// Nothing but an event can cause a change within an hour.
const EVENTS_ONLY: Options = Options { events: true, timing: timing([3_600_000; 4]) };
/// Nothing but polling can cause a change.
const POLLING_ONLY: Options = Options { events: false, timing: timing([50, 1_000, 2_000, 1_000]) };
/// Longer than the slowest machine needs.
const PATIENCE: Duration = Duration::from_secs(30);

const fn timing([poll, quiet, empty, gone]: [u64; 4]) -> Timing {
    Timing {
        lifts: Duration::from_millis(18),
        unended: Duration::from_millis(500),
        poll: Duration::from_millis(poll),
        quiet: Duration::from_millis(quiet),
        empty: Duration::from_millis(empty),
        gone: Duration::from_millis(gone),
    }
}

/// A directory with a watched file that holds `old`.
struct Bench {
    dir: TempDir,
    path: PathBuf,
    files: Files,
    log: Vec<String>,
}

impl Bench {
    fn new(options: Options, setup: &str, file: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        sh(dir.path(), &format!("printf old > f; {setup}"));
        let path = dir.path().join(file);
        let mut files = Files::new(options);
        files.set([path.clone()]);
        let bench = Self { dir, path, files, log: Vec::new() };
        assert_eq!(bench.content(), "old", "{setup}");
        bench
    }

    fn state(&self) -> &State {
        self.files.get(&self.path).unwrap()
    }

    fn content(&self) -> String {
        let content = self.state().content.as_ref().unwrap();
        String::from_utf8(content.bytes.to_vec()).unwrap()
    }

    /// Notes the next changes: contents as they are, and everything else in angle brackets.
    async fn step(&mut self) {
        let changes = self.files.next().await;
        self.note(changes);
    }

    fn note(&mut self, changes: Vec<Change>) {
        for change in changes {
            let entry = match change {
                Change::Noted(_) => continue,
                Change::Accepted(_) => self.content(),
                Change::Restored(_) => "<restored>".into(),
                Change::Missing(_) => "<missing>".into(),
                Change::Unreadable(_) => format!("<{}>", self.state().error.unwrap()),
                Change::WatchWarning(_) => "<caveat>".into(),
                Change::Listed(_) => "<listed>".into(),
                Change::Watching => format!("<{}>", self.files.watching()),
            };
            self.log.push(entry);
        }
    }

    /// Runs a script, waits for its end and for `last` to be noted, and returns all notes.
    async fn run(&mut self, script: &str, last: &str) -> Vec<String> {
        let (dir, text) = (self.dir.path().to_path_buf(), script.to_owned());
        let name = script;
        // Let the watches settle that the last change called for.
        let changes = self.files.process();
        self.note(changes);
        let mut script = Some(tokio::task::spawn_blocking(move || sh(&dir, &text)));
        let all = async {
            while script.is_some() || self.log.last().map_or("", String::as_str) != last {
                let ended = async {
                    match &mut script {
                        Some(script) => script.await.unwrap(),
                        None => std::future::pending().await,
                    }
                };
                tokio::select! { () = ended => script = None, () = self.step() => {} }
            }
        };
        let in_time = timeout(PATIENCE, all).await.is_ok();
        assert!(in_time, "{name}: waited for {last:?} in vain, saw {:?}", self.log);
        mem::take(&mut self.log)
    }

    /// Lets everything under way come to rest, and expects no change.
    async fn rest(&mut self, time: Duration) {
        let _ = timeout(time, self.step()).await;
        assert_eq!(self.log, Vec::<String>::new());
    }
}

fn sh(dir: &Path, script: &str) {
    let output = Command::new("bash").args(["-euc", script]).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

fn block_on<T>(test: impl Future<Output = T>) -> T {
    let runtime: Runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test)
}

/// Ways of replacing a content in one act: the watched file, the preparation, and the act.
const WAYS: &[(&str, &str, &str)] = &[
    ("f", "", "printf new > f"),
    ("f", "printf new > t", "cp t f"),
    ("f", "", "printf new | tee f"),
    ("f", "", "printf new | dd of=f conv=notrunc status=none"),
    ("f", "", "rm f; printf new > f"),
    ("f", "printf new > t", "mv t f"),
    ("f", "mkdir d; printf new > d/t", "mv d/t f"),
    ("f", "printf new > t", "cp --remove-destination t f"),
    ("f", "printf new > t", "install -m 600 t f"),
    ("f", "", "t=$(mktemp -p /dev/shm); printf new > $t; mv $t f"),
    ("f", "", "sed -i s/old/new/ f"),
    ("f", "", "perl -pi -e s/old/new/ f"),
    ("f", "", "python3 -c 'import os; open(\"t\", \"w\").write(\"new\"); os.replace(\"t\", \"f\")'"),
    ("f", "printf new > t", "ln -f t f"),
    ("f", "mv f a; printf new > b; ln -s a f", "ln -sfn b f"),
    ("f", "mv f a; printf new > b; ln -s a f", "rm f; ln -s b f"),
    ("f", "mv f a; printf new > t; ln -s a f", "mv t a"),
    ("f", "mkdir r; mv f r; ln -s r/f f", "printf new > r/f"),
    ("cur/f", "mkdir r1 r2; printf new > r2/f; mv f r1; ln -s r1 cur", "ln -sfn r2 cur"),
    ("f", "", "touch -r f t; printf new > f; touch -r t f"),
    ("f", "printf new > t; touch -d 2001-01-01 t", "mv t f"),
    ("f", "", "vim -u NONE -es -c 'set nofixeol bkc=no bsk=' -c '%s/old/new' -c wq f"),
    ("f", "", "vim -u NONE -es -c 'set nofixeol bkc=auto bk bsk=' -c '%s/old/new' -c wq f"),
    ("f", "", "vim -u NONE -es -c 'set nofixeol bkc=yes bsk=' -c '%s/old/new' -c wq f"),
    ("f", "mv f a; ln -s a f", "vim -u NONE -es -c 'set nofixeol bkc=auto bsk=' -c '%s/old/new' -c wq f"),
];

/// Ways of replacing a directory together with the file. Something may happen in the new one before it is watched, and
/// only polling finds that.
const MOVES: &[(&str, &str, &str)] = &[
    ("d/f", "mkdir d n; printf new > n/f; mv f d", "mv d away; mv n d"),
    ("d/f", "mkdir d n; printf new > n/f; mv f d", "rm -r d; mv n d"),
    ("d/f", "mkdir d; mv f d", "rm -r d; mkdir d; printf new > d/f"),
    ("d/e/f", "mkdir -p d/e n/e; printf new > n/e/f; mv f d/e", "mv d away; mv n d"),
    ("a/b/c/f", "mkdir -p a/b/c n/b/c; printf new > n/b/c/f; mv f a/b/c", "mv a away; mv n a"),
];

#[test]
fn every_finished_change_is_seen_at_once_and_whole() {
    for (file, setup, act) in WAYS {
        block_on(async {
            let mut bench = Bench::new(EVENTS_ONLY, setup, file);
            assert_eq!(bench.run(act, "new").await, ["new"], "{act}");
            assert_eq!(bench.run(&format!("printf again > {file}"), "again").await, ["again"], "after {act}");
        });
    }
}

#[test]
fn a_replaced_directory_is_followed() {
    in_parallel(MOVES, |(file, setup, act)| {
        block_on(async {
            let timing = Timing { gone: Duration::from_secs(10), ..Timing::default() };
            let mut bench = Bench::new(Options { events: true, timing }, setup, file);
            assert_eq!(bench.run(act, "new").await, ["new"], "{act}");
            assert_eq!(bench.run(&format!("printf again > {file}"), "again").await, ["again"], "after {act}");
        });
    });
}

/// Nearly always an event is enough. Now and then the events of the old directory come so late that a swap is found by
/// polling, which takes seconds.
#[test]
fn a_directory_that_is_swapped_again_and_again_is_followed_mostly_by_events() {
    // The old directory is kept, or removed: by another process, and within the same moment.
    let ends = ["", "rm -r o$n", "perl -e 'rename \"d\", \"o\"; rename \"m\", \"d\"; unlink \"o/f\"; rmdir \"o\"'"];
    in_parallel(&ends, |end| {
        block_on(async {
            let mut bench = Bench::new(Options::default(), "mkdir d; mv f d", "d/f");
            let mut polled = 0;
            for n in 0..30 {
                let swap = if end.starts_with("perl") { "" } else { "mv d o$n; mv m d;" };
                let swap = format!("n={n}; mkdir m; printf v{n} > m/f; {swap} {end}");
                let edit = format!("printf w{n} > t; mv t d/f");
                for (act, want) in [(swap, format!("v{n}")), (edit, format!("w{n}"))] {
                    let began = Instant::now();
                    assert_eq!(bench.run(&act, &want).await, [want], "{end}");
                    polled += usize::from(began.elapsed() > Duration::from_millis(1900));
                }
            }
            assert!(polled <= 3, "{end}: {polled} of 60 by polling");
        });
    });
}

#[test]
fn polling_alone_sees_every_change_too() {
    in_parallel(&[WAYS, MOVES].concat(), |(file, setup, act)| {
        block_on(async {
            let mut bench = Bench::new(POLLING_ONLY, setup, file);
            assert_eq!(bench.run(act, "new").await, ["new"], "{act}");
            assert_eq!(bench.files.watching(), &Watching::Polling);
        });
    });
}

#[test]
fn every_swap_of_a_config_map_is_seen_at_once() {
    let setup = "mkdir ..0; mv f ..0; ln -s ..0 ..data; ln -s ..data/f f";
    block_on(async {
        let mut bench = Bench::new(EVENTS_ONLY, setup, "f");
        for n in 1..6 {
            let swap = format!(
                "mkdir ..{n}; printf v{n} > ..{n}/f; ln -s ..{n} ..data_tmp; mv -T ..data_tmp ..data; rm -r ..{}",
                n - 1
            );
            let want = format!("v{n}");
            assert_eq!(bench.run(&swap, &want).await, [want]);
        }
    });
}

#[test]
fn half_a_file_is_never_acted_on() {
    const SLOWLY: &str = "exec 3>f; printf ha >&3; sleep 1.2; printf lf >&3; exec 3>&-";
    in_parallel(&[true, false], |events| {
        block_on(async {
            let timing = Timing { quiet: Duration::from_secs(4), ..Timing::default() };
            let mut bench = Bench::new(Options { events: *events, timing }, "", "f");
            assert_eq!(bench.run(SLOWLY, "half").await, ["half"]);
        });
    });
}

#[test]
fn a_writer_who_never_closes_is_believed_after_a_while() {
    block_on(async {
        let options = Options { events: true, timing: timing([3_600_000, 500, 3_600_000, 3_600_000]) };
        let mut bench = Bench::new(options, "", "f");
        assert_eq!(bench.run("exec 3>f; printf new >&3; sleep 2", "new").await, ["new"]);
        let mut bench = Bench::new(options, "printf new > t", "f");
        assert_eq!(bench.run("rm f; ln t f", "new").await, ["new"]);
    });
}

#[test]
fn of_many_renames_the_last_one_wins_and_a_burst_costs_one_look() {
    block_on(async {
        let storm = "for i in $(seq 50); do printf $i > t; mv t f; done";
        let mut bench = Bench::new(EVENTS_ONLY, "", "f");
        let log: Vec<u32> = bench.run(storm, "50").await.iter().map(|entry| entry.parse().unwrap()).collect();
        assert!(log.is_sorted(), "{log:?}");

        let before = bench.files.looks;
        sh(bench.dir.path(), storm.replace("$i >", "x$i >").as_str());
        assert_eq!(bench.run("", "x50").await.last().unwrap(), "x50");
        assert!(bench.files.looks - before <= 5, "{} looks", bench.files.looks - before);
    });
}

#[test]
fn a_file_truncated_by_mistake_is_not_taken_for_empty() {
    block_on(async {
        let options = Options { events: true, timing: timing([100, 200, 2_000, 3_600_000]) };
        let mut bench = Bench::new(options, "", "f");
        assert_eq!(bench.run(": > f; sleep 0.5; printf new > f", "new").await, ["new"]);
        let began = Instant::now();
        assert_eq!(bench.run("echo > f", "\n").await, ["\n"]);
        assert!(began.elapsed() >= options.timing.empty, "emptied on purpose, but believed too soon");
    });
}

#[test]
fn a_file_counts_as_missing_only_after_a_while() {
    block_on(async {
        let options = Options { events: true, timing: timing([3_600_000, 3_600_000, 3_600_000, 2_000]) };
        let mut bench = Bench::new(options, "", "f");
        assert_eq!(bench.run("mv f t; sleep 0.3; mv t f; sleep 0.3; printf new > f", "new").await, ["new"]);
        assert_eq!(bench.run("mv f t", "<missing>").await, ["<missing>"]);
        assert_eq!(bench.content(), "new");
        assert_eq!(bench.run("mv t f", "<restored>").await, ["<restored>"]);
        assert_eq!(bench.state().error, None);
    });
}

#[test]
fn a_file_that_cannot_be_read_keeps_its_content() {
    block_on(async {
        let options = Options { events: true, timing: timing([3_600_000, 300, 3_600_000, 300]) };
        let mut bench = Bench::new(options, "", "f");
        let directory = format!("<{}>", ReadError::NotAFile("directory"));
        assert_eq!(bench.run("rm f; mkdir f", &directory).await, [directory]);
        assert_eq!(bench.content(), "old");
        assert_eq!(bench.run("rmdir f; printf old > f", "<restored>").await, ["<restored>"]);
        let large = format!("<{}>", ReadError::TooLarge(source::MAX_SIZE + 1));
        let grow = format!("head -c {} /dev/zero > f", source::MAX_SIZE + 1);
        assert_eq!(bench.run(&grow, &large).await, [large]);
        assert_eq!(bench.run("printf new > f", "new").await, ["new"]);

        sh(bench.dir.path(), "chmod 000 f");
        if std::fs::read(&bench.path).is_err() {
            let denied = format!("<{}>", ReadError::Unreadable(std::io::ErrorKind::PermissionDenied));
            assert_eq!(bench.run("", &denied).await, [denied]);
            assert_eq!(bench.run("chmod 600 f", "<restored>").await, ["<restored>"]);
        }
    });
}

#[test]
fn a_file_that_was_never_there_is_seen_when_it_comes() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/f");
        let mut files = Files::new(Options::default());
        files.set([path.clone()]);
        assert_eq!(files.get(&path).unwrap().error, Some(ReadError::Missing));
        let mut bench = Bench { dir, path, files, log: Vec::new() };
        assert_eq!(bench.run("mkdir -p a/b; printf new > a/b/f", "new").await, ["new"]);
        assert_eq!(bench.state().error, None);
    });
}

/// Writes through a mapping. The system reports that only when the mapping is gone, here together with the file.
const SILENTLY: &str = r#"python3 -c '
import mmap, os, time
map = mmap.mmap(os.open("f", os.O_RDWR), 3); map[:] = b"new"; map.flush()
while os.path.exists("f"): time.sleep(0.1)' >/dev/null 2>&1 &
until [ $(cat f) = new ]; do sleep 0.01; done"#;

#[test]
fn a_write_that_the_system_does_not_tell_of_is_found_by_polling() {
    block_on(async {
        let options = Options { events: true, timing: timing([100, 300, 3_600_000, 3_600_000]) };
        let mut bench = Bench::new(options, "", "f");
        assert_eq!(bench.run(SILENTLY, "new").await, ["new"]);
    });
}

#[test]
fn lost_events_make_it_look_at_everything() {
    block_on(async {
        let options = Options { events: true, timing: timing([3_600_000, 300, 3_600_000, 3_600_000]) };
        let mut bench = Bench::new(options, "", "f");
        assert_eq!(bench.run(SILENTLY, "").await, [""; 0]);
        bench.files.watch.lose();
        assert_eq!(bench.run("", "new").await, ["new"]);
    });
}

#[test]
fn reading_and_the_noise_beside_the_file_cost_no_look() {
    block_on(async {
        let mut bench = Bench::new(EVENTS_ONLY, "", "f");
        assert_eq!(bench.run("printf new > f", "new").await, ["new"]);
        bench.rest(Duration::from_millis(100)).await;
        let before = bench.files.looks;
        let noise = "for i in $(seq 200); do echo $i >> log; cat f; [ $((i % 20)) != 0 ] || mv log log.1; done";
        sh(bench.dir.path(), noise);
        bench.rest(Duration::from_millis(200)).await;
        assert_eq!(bench.files.looks, before);
    });
}

#[test]
fn force_takes_what_is_there_but_not_what_is_not() {
    block_on(async {
        let mut bench = Bench::new(Options { events: false, ..EVENTS_ONLY }, "", "f");
        sh(bench.dir.path(), "printf new > f; touch -d '2 days ago' f");
        assert_eq!(bench.files.force(), [Change::Accepted(bench.path.clone())]);
        // The last one was written just now, and nothing says that its writer has finished.
        for act in [": > f", "rm f", "printf half > f"] {
            sh(bench.dir.path(), act);
            let news = bench.files.force().into_iter().filter(|change| !matches!(change, Change::Noted(_)));
            assert_eq!(news.count(), 0, "{act}");
            assert_eq!(bench.content(), "new");
        }
    });
}

#[test]
fn a_file_that_stays_declared_keeps_its_state() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b, c] = ["a", "b", "c"].map(|name| dir.path().join(name));
    sh(dir.path(), "printf 1 > a; printf 1 > b; printf 1 > c");
    let mut files = Files::new(EVENTS_ONLY);
    assert_eq!(files.settled(&a).unwrap().bytes, "1");
    files.set([a.clone(), b.clone()]);
    let known = files.get(&b).unwrap().clone();
    sh(dir.path(), "printf 2 > a; printf 2 > b; printf 2 > c");
    files.set([b.clone(), c.clone()]);
    assert_eq!(files.get(&a), None);
    assert_eq!(files.get(&b), Some(&known));
    assert_eq!(files.get(&c).unwrap().content.as_ref().unwrap().bytes, "2");
}

#[test]
fn a_file_mounted_by_itself_is_warned_about() {
    let dir = tempfile::tempdir().unwrap();
    sh(dir.path(), "mkdir outside; printf old > outside/f; touch f");
    elsewhere(dir.path(), &["-m"], "mount --bind outside/f f", "inside_a_mount");
}

#[test]
#[ignore = "run by a_file_mounted_by_itself_is_warned_about, where there is a mount"]
fn inside_a_mount() {
    block_on(async {
        let here = std::env::current_dir().unwrap();
        let path = here.join("f");
        let mut files = Files::new(POLLING_ONLY);
        assert_eq!(
            {
                let _ = files.settled(&path);
                files.get(&path).unwrap().warning
            },
            Some(WatchWarning::MountPoint)
        );
        sh(&here, "printf new > outside/t; mv outside/t outside/f");
        let changes = timeout(PATIENCE, files.next()).await.unwrap();
        assert!(changes.contains(&Change::WatchWarning(path.clone())), "{changes:?}");
        let state = files.get(&path).unwrap();
        assert_eq!(state.warning, Some(WatchWarning::Unlinked));
        assert_eq!(state.content.as_ref().unwrap().bytes, "old");
    });
}

#[test]
fn where_nothing_can_be_watched_it_says_so_and_polls() {
    let dir = tempfile::tempdir().unwrap();
    for limit in ["instances", "watches"] {
        elsewhere(dir.path(), &["-Ur"], &format!("echo 1 > /proc/sys/user/max_inotify_{limit}"), "inside_limits");
    }
}

#[test]
#[ignore = "run by where_nothing_can_be_watched_it_says_so_and_polls, where the system's limits are low"]
fn inside_limits() {
    block_on(async {
        // The one instance that is allowed.
        let mut taken = Files::new(Options::default());
        taken.set([PathBuf::from("/none")]);
        let mut bench = Bench::new(Options { events: true, ..POLLING_ONLY }, "", "f");
        let watching = bench.files.watching().clone();
        assert!(matches!(watching, Watching::Unavailable(_) | Watching::Limit), "{watching:?}");
        assert_eq!(bench.files.next().await, [Change::Watching]);
        assert_eq!(bench.run("printf new > t; mv t f", "new").await, ["new"]);
    });
}

/// Runs an ignored test of this file in namespaces of its own, after a preparation. Skipped where there are no
/// namespaces.
fn elsewhere(dir: &Path, namespaces: &[&str], prepare: &str, test: &str) {
    let script = format!("{prepare} && exec \"$0\" --exact --ignored files::tests::{test}");
    let mut command = Command::new("unshare");
    command.args(namespaces).args(["sh", "-c", &script]).arg(std::env::current_exe().unwrap()).current_dir(dir);
    let Ok(output) = command.output() else { return eprintln!("left out: there is no unshare here") };
    let text = String::from_utf8_lossy(&output.stdout);
    if !text.contains("running 1 test") {
        return eprintln!("left out: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(output.status.success(), "{prepare}: {text}");
}

#[test]
fn a_rename_is_seen_within_milliseconds() {
    block_on(async {
        let mut bench = Bench::new(Options::default(), "", "f");
        let mut took = Vec::new();
        for n in 0..200 {
            let (from, to) = (bench.dir.path().join("t"), bench.path.clone());
            let writer = std::thread::spawn(move || {
                std::fs::write(&from, n.to_string()).unwrap();
                // By then the reader is asleep, as in operation.
                std::thread::sleep(Duration::from_millis(2));
                let began = Instant::now();
                std::fs::rename(&from, &to).unwrap();
                began
            });
            assert_eq!(timeout(PATIENCE, bench.files.next()).await.unwrap(), [Change::Accepted(bench.path.clone())]);
            let now = Instant::now();
            took.push(now - writer.join().unwrap());
            assert_eq!(bench.content(), n.to_string());
        }
        took.sort();
        let [median, late] = [50, 99].map(|share| took[took.len() * share / 100]);
        println!("from rename to content: median {median:?}, 99th percentile {late:?}");
        assert!(median < Duration::from_millis(50), "median {median:?}");
    });
}

fn in_parallel<T: Sync>(cases: &[T], test: impl Fn(&T) + Sync) {
    std::thread::scope(|scope| {
        let running: Vec<_> = cases.iter().map(|case| scope.spawn(|| test(case))).collect();
        running.into_iter().for_each(|case| case.join().unwrap());
    });
}

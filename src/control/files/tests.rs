//! Files change in the ways that people and tools change them; real ones, in directories of the tests' own.

use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::*;

/// Only an event can bring about a change in less than an hour.
const EVENTS_ONLY: Options = Options { events: true, timing: timing([3_600_000; 4]) };
/// Only polling can.
const POLLING_ONLY: Options = Options { events: false, timing: timing([50, 300, 600, 200]) };
/// No machine is so slow.
const PATIENCE: Duration = Duration::from_secs(30);

const fn timing([poll, quiet, empty, gone]: [u64; 4]) -> Timing {
    Timing {
        poll: Duration::from_millis(poll),
        quiet: Duration::from_millis(quiet),
        empty: Duration::from_millis(empty),
        gone: Duration::from_millis(gone),
    }
}

/// A directory with a watched file in it that holds `old`.
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

    /// Notes what the next changes are: contents as they are, all else in angle brackets.
    async fn step(&mut self) {
        for change in self.files.next().await {
            let entry = match change {
                Change::Accepted(_) => self.content(),
                Change::Restored(_) => "<restored>".into(),
                Change::Missing(_) => "<missing>".into(),
                Change::Unreadable(_) => format!("<{}>", self.state().trouble.unwrap()),
                Change::Caveat(_) => "<caveat>".into(),
                Change::Watching => format!("<{}>", self.files.watching()),
            };
            self.log.push(entry);
        }
    }

    /// Runs a script, waits until it is through and `last` was noted, and returns all that was noted.
    async fn run(&mut self, script: &str, last: &str) -> Vec<String> {
        let (dir, text) = (self.dir.path().to_path_buf(), script.to_owned());
        let mut script = Some(tokio::task::spawn_blocking(move || sh(&dir, &text)));
        let all = async {
            while script.is_some() || self.log.last().is_none_or(|entry| entry != last) {
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
        assert!(in_time, "waited for {last:?} in vain, saw {:?}", self.log);
        mem::take(&mut self.log)
    }

    /// Lets everything come to rest that is under way, and expects nothing to come of it.
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

/// How a content gets replaced in one finished act: the file watched, what was there before, and the act.
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
    ("d/f", "mkdir d n; printf new > n/f; mv f d", "mv d away; mv n d"),
    ("d/f", "mkdir d n; printf new > n/f; mv f d", "rm -r d; mv n d"),
    ("f", "", "touch -r f t; printf new > f; touch -r t f"),
    ("f", "printf new > t; touch -d 2001-01-01 t", "mv t f"),
    ("f", "", "vim -u NONE -es -c 'set nofixeol bkc=no bsk=' -c '%s/old/new' -c wq f"),
    ("f", "", "vim -u NONE -es -c 'set nofixeol bkc=auto bk bsk=' -c '%s/old/new' -c wq f"),
    ("f", "", "vim -u NONE -es -c 'set nofixeol bkc=yes bsk=' -c '%s/old/new' -c wq f"),
    ("f", "mv f a; ln -s a f", "vim -u NONE -es -c 'set nofixeol bkc=auto bsk=' -c '%s/old/new' -c wq f"),
];

#[test]
fn every_finished_change_is_seen_at_once_and_whole() {
    block_on(async {
        for (file, setup, act) in WAYS {
            let mut bench = Bench::new(EVENTS_ONLY, setup, file);
            assert_eq!(bench.run(act, "new").await, ["new"], "{act}");
            assert_eq!(bench.run(&format!("printf again > {file}"), "again").await, ["again"], "after {act}");
        }
    });
}

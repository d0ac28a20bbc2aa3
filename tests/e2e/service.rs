//! The command as the examples in `deploy/` run it: its messages to the service manager, and its work under
//! restrictions. Where systemd itself does not run, its restrictions are approximated; each test names its substitutes.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Backsoon, LISTEN, PATIENCE, Upstream, get, wait};

#[test]
fn the_service_manager_is_told_when_it_is_ready_reloads_lives_and_stops() {
    let upstream = Upstream::ok();
    let (dir, mut command) =
        prepared(&format!("{LISTEN}[limits]\ngrace = \"100ms\"\n[routes.web]\nupstream = \"{}\"\n", upstream.url()));
    let told = Told::new(dir.path());
    command.env("NOTIFY_SOCKET", dir.path().join("notify")).env("WATCHDOG_USEC", "300000");
    let mut backsoon = Backsoon::spawn(dir, command);
    told.waits_for("READY=1");
    assert_eq!(get(backsoon.address(), "/").status, 200, "ready is ready to serve");
    for _ in 0..3 {
        told.waits_for("WATCHDOG=1");
    }
    backsoon.signal("HUP");
    assert!(told.waits_for("RELOADING=1").contains("MONOTONIC_USEC="), "systemd asks for the time with it");
    told.waits_for("READY=1");
    backsoon.signal("TERM");
    told.waits_for("STOPPING=1");
    assert_eq!(backsoon.wait_for_exit().code(), Some(0));
}

#[test]
fn a_bad_config_is_never_told_to_be_ready_and_exits_with_the_code_that_is_not_restarted() {
    let (dir, mut command) = prepared("[[listen]]\n");
    let told = Told::new(dir.path());
    command.env("NOTIFY_SOCKET", dir.path().join("notify"));
    assert_eq!(command.stdin(Stdio::null()).output().unwrap().status.code(), Some(64));
    assert_eq!(told.next(Duration::from_millis(10)), None);
}

/// `DynamicUser`, `NoNewPrivileges`, `CapabilityBoundingSet`, `ProtectSystem=strict`, `ProtectProc`, `ProcSubset` and
/// `PrivateDevices`, by unshare, mount and setpriv. The next test covers the unit's seccomp restrictions.
#[test]
fn it_serves_without_a_privilege_with_nothing_to_write_and_hardly_a_proc_or_a_dev() {
    const CLAIM: &str = "it serves under the restrictions of the unit";
    let restricted = "set -e
        mount --bind / /; mount -o remount,bind,ro /
        mount -t proc -o subset=pid,hidepid=invisible proc /proc
        mount -t tmpfs -o size=64k tmpfs /dev; : >/dev/null; mount -o remount,ro /dev
        exec setpriv --reuid 65532 --regid 65532 --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all \"$@\"";
    let restrict = |command: &mut Command, program: &Path, arguments: &[&Path]| {
        command.args(["--mount", "sh", "-c", restricted, "sh"]);
        command.arg(program).args(arguments);
    };
    let mut try_out = Command::new("unshare");
    restrict(&mut try_out, Path::new("true"), &[]);
    if !try_out.output().is_ok_and(|tried| tried.status.success()) {
        return skipped(CLAIM, "this user may not make namespaces");
    }
    let upstream = Upstream::ok();
    let config = format!(
        "{LISTEN}[limits]\ngrace = \"100ms\"\n[routes.web]\nupstream = \"http://localhost:{}\"\n",
        upstream.address.port()
    );
    // Below /dev, where temporary files may be, it would see nothing of them.
    let dir = tempfile::tempdir_in("/tmp").unwrap();
    fs::write(dir.path().join("backsoon.toml"), &config).unwrap();
    let program = readable(dir.path());
    let mut command = Command::new("unshare");
    let config = dir.path().join("backsoon.toml");
    restrict(&mut command, &program, &[Path::new("run"), Path::new("--config"), &config]);
    let mut backsoon = Backsoon::spawn(dir, command);
    assert_eq!(get(backsoon.address(), "/").body, "hello");
    // The watch sees files written from outside.
    let flags = backsoon.path("maintenance.toml");
    fs::write(&flags, "[routes]\nweb = \"offline\"\n").unwrap();
    wait("the flag", || get(backsoon.address(), "/").status == 503);
    let status = fs::read_to_string(format!("/proc/{}/status", backsoon.child.id())).unwrap();
    for line in ["Uid:\t65532\t65532\t65532\t65532", "NoNewPrivs:\t1", "CapBnd:\t0000000000000000"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    backsoon.signal("TERM");
    assert_eq!(backsoon.wait_for_exit().code(), Some(0));
}

/// `SystemCallFilter`, `RestrictAddressFamilies` and `MemoryDenyWriteExecute`: not enforced, but observed with strace.
#[test]
fn it_makes_no_system_call_that_the_unit_forbids() {
    const CLAIM: &str = "it makes no system call that the unit forbids";
    let Some(allowed) = allowed_calls() else { return skipped(CLAIM, "systemd-analyze is not installed") };
    if Command::new("strace").args(["-f", "true"]).output().map_or(true, |tried| !tried.status.success()) {
        return skipped(CLAIM, "strace is not installed, or may not trace");
    }
    let upstream = Upstream::ok();
    let config = format!(
        "{LISTEN}[limits]\ngrace = \"100ms\"\n[routes.web]\nupstream = \"http://localhost:{}\"\n",
        upstream.address.port()
    );
    let (dir, backsoon) = prepared(&config);
    // Not beside the flag file: writing the trace of an event there would cause the next event.
    let elsewhere = tempfile::tempdir().unwrap();
    let trace = elsewhere.path().join("trace");
    let mut command = Command::new("strace");
    // The tracer is the child, so that signals reach the traced process.
    command.args(["-D", "-f", "-qq", "-o"]).arg(&trace).arg(backsoon.get_program()).args(backsoon.get_args());
    let mut backsoon = Backsoon::spawn(dir, command);
    assert_eq!(get(backsoon.address(), "/").body, "hello");
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    assert_eq!(get(backsoon.address(), "/").status, 503);
    backsoon.signal("HUP");
    backsoon.wait_for_log("reading everything again");
    backsoon.metric("backsoon_panics_total", "");
    backsoon.signal("TERM");
    assert_eq!(backsoon.wait_for_exit().code(), Some(0));
    // "exit_group(0)", or "exit_group(0 <unfinished" if another thread is in a call.
    wait("the trace", || fs::read_to_string(&trace).is_ok_and(|trace| trace.contains("exit_group(0")));
    let trace = fs::read_to_string(trace).unwrap();
    // After execve(), which systemd does itself.
    let calls = trace.lines().filter_map(|line| line.split_once(' ')?.1.trim_start().split_once('(')).skip(1);
    let mut made = BTreeSet::new();
    for (call, arguments) in calls {
        if !call.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
            continue;
        }
        made.insert(call);
        let family = arguments.split(',').next().unwrap_or_default();
        // glibc's resolver asks for the machine's addresses, and works without them if it may not.
        let fits = ["AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"].contains(&family);
        assert!(call != "socket" || fits, "{call}({arguments}");
        assert!(!arguments.contains("PROT_WRITE|PROT_EXEC"), "{call}({arguments}");
        assert!(call != "mprotect" || !arguments.contains("PROT_EXEC"), "{call}({arguments}");
    }
    assert!(made.len() > 20 && made.contains("accept4"), "{made:?}");
    let forbidden: Vec<_> = made.iter().filter(|call| !allowed.contains(**call)).collect();
    assert!(forbidden.is_empty(), "{forbidden:?}");
}

/// The image without a container engine. It is built by the Containerfile's own instruction, put into an empty
/// directory and run there as its user. This takes minutes, so it runs only with BACKSOON_TEST_IMAGE set.
#[test]
fn the_image_is_one_static_binary_that_runs_in_an_empty_directory_as_nobody() {
    const CLAIM: &str = "the image is one static binary that runs in an empty directory as nobody";
    if std::env::var_os("BACKSOON_TEST_IMAGE").is_none() {
        return skipped(CLAIM, "it takes minutes to build: set BACKSOON_TEST_IMAGE=1");
    }
    let image = tempfile::tempdir().unwrap();
    fs::set_permissions(image.path(), Permissions::from_mode(0o755)).unwrap();
    let program = image.path().join("backsoon");
    let text = fs::read_to_string(root().join("deploy/Containerfile")).unwrap().replace("\\\n", " ");
    let build = text.lines().find_map(|line| line.strip_prefix("RUN ")).unwrap();
    let build = build.replace("/out/backsoon", program.to_str().unwrap());
    assert!(Command::new("sh").args(["-c", &build]).current_dir(root()).status().unwrap().success());
    let linked = Command::new("ldd").arg(&program).output().unwrap();
    let linked = String::from_utf8_lossy(&linked.stdout).into_owned() + &String::from_utf8_lossy(&linked.stderr);
    assert!(linked.contains("not a dynamic executable") || linked.contains("statically linked"), "{linked}");
    println!("image: {} bytes, {}", fs::metadata(&program).unwrap().len(), linked.trim());
    let upstream = Upstream::ok();
    let etc = image.path().join("etc/backsoon");
    fs::create_dir_all(&etc).unwrap();
    // By name: the resolver has to work with nothing but /etc/hosts.
    fs::write(image.path().join("etc/hosts"), "127.0.0.1 app\n").unwrap();
    let config = format!(
        "{LISTEN}[limits]\ngrace = \"100ms\"\n[routes.web]\nupstream = \"http://app:{}\"\n",
        upstream.address.port()
    );
    fs::write(etc.join("backsoon.toml"), config).unwrap();
    let mut command = Command::new("chroot");
    command.args(["--userspec=65532:65532"]).arg(image.path()).args([
        "/backsoon",
        "run",
        "--config",
        "/etc/backsoon/backsoon.toml",
    ]);
    let mut backsoon = Backsoon::spawn(tempfile::tempdir().unwrap(), command);
    assert_eq!(get(backsoon.address(), "/").body, "hello");
    fs::write(etc.join("maintenance.toml"), "[routes]\nweb = \"offline\"\n").unwrap();
    wait("the flag", || get(backsoon.address(), "/").status == 503);
    println!("image: {} KiB resident", backsoon.resident());
    backsoon.signal("TERM");
    assert_eq!(backsoon.wait_for_exit().code(), Some(0));
}

/// Returns a directory with a config, and the command that runs it.
fn prepared(config: &str) -> (tempfile::TempDir, Command) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("backsoon.toml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_backsoon"));
    command.args(["run", "--config"]).arg(dir.path().join("backsoon.toml"));
    (dir, command)
}

/// Makes a directory readable for everybody, and returns a copy of the command in it.
fn readable(dir: &Path) -> std::path::PathBuf {
    fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
    let program = dir.join("backsoon");
    fs::copy(env!("CARGO_BIN_EXE_backsoon"), &program).unwrap();
    program
}

/// Socket on which a service manager listens.
struct Told(UnixDatagram);

impl Told {
    fn new(dir: &Path) -> Self {
        Self(UnixDatagram::bind(dir.join("notify")).unwrap())
    }

    fn next(&self, patience: Duration) -> Option<String> {
        self.0.set_read_timeout(Some(patience)).unwrap();
        let mut message = [0; 4096];
        let length = self.0.recv(&mut message).ok()?;
        Some(String::from_utf8_lossy(&message[..length]).into_owned())
    }

    /// Reads up to the next message with this state; only watchdog messages may come before.
    fn waits_for(&self, state: &str) -> String {
        let began = Instant::now();
        loop {
            let message = self.next(PATIENCE).unwrap_or_else(|| panic!("{state} was not told"));
            if message.lines().any(|line| line == state) {
                return message;
            }
            assert_eq!(message.trim_end(), "WATCHDOG=1", "instead of {state}");
            assert!(began.elapsed() < PATIENCE, "{state} was not told");
        }
    }
}

/// Returns the system calls that the unit's filter permits; `None` without systemd-analyze.
fn allowed_calls() -> Option<BTreeSet<String>> {
    let mut allowed = calls_of("@system-service")?;
    for call in calls_of("@privileged")? {
        allowed.remove(&call);
    }
    Some(allowed)
}

/// Returns the calls of one of systemd's sets, including those of nested sets.
fn calls_of(set: &str) -> Option<BTreeSet<String>> {
    let output = Command::new("systemd-analyze").args(["syscall-filter", "--no-pager", set]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let names = text.lines().skip(1).map(str::trim).filter(|name| !name.is_empty() && !name.starts_with('#'));
    let mut calls = BTreeSet::new();
    for name in names {
        if name.starts_with('@') {
            calls.extend(calls_of(name)?);
        } else {
            calls.insert(name.to_owned());
        }
    }
    Some(calls)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Reports on the real standard error what was not tested; captured output would be hidden for a passing test.
fn skipped(claim: &str, reason: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {claim}: {reason}");
}

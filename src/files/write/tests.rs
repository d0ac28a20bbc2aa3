use std::convert::Infallible;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use super::*;

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_new_file_gets_the_usual_mode_and_leaves_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flags.toml");
    atomically(&path, b"new").unwrap();
    let usual = OpenOptions::new().write(true).create_new(true).mode(0o644).open(directory.path().join("x")).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode(), usual.metadata().unwrap().mode());
    assert_eq!(names(directory.path()), ["flags.toml", "x"]);
}

#[test]
fn mode_and_owner_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flags.toml");
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    let root = std::os::unix::fs::chown(&path, Some(12_345), Some(23_456)).is_ok();
    if !root {
        skipped("the owner is kept", "only root gives files away");
    }
    let before = fs::metadata(&path).unwrap();
    atomically(&path, b"new").unwrap();
    let after = fs::metadata(&path).unwrap();
    assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
    assert_ne!(after.ino(), before.ino(), "it is another file");
    assert_eq!(fs::read(&path).unwrap(), b"new");
}

#[test]
fn an_edit_names_its_author_and_the_content_it_is_about() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flags.toml");
    let file = File::create(directory.path().join("other.toml")).unwrap();
    if rustix::fs::fsetxattr(&file, author::ATTRIBUTE, b"", rustix::fs::XattrFlags::empty()).is_err() {
        skipped("an edit names its author", "this file system has no attributes of users");
        return;
    }
    rewrite(
        &path,
        Emptied::Refused,
        &Signer::of_process(),
        |_| {},
        |_| Ok::<_, Infallible>(("[routes]\n".to_owned(), ())),
    )
    .unwrap();
    let mut bytes = [0; 4096];
    let length = rustix::fs::getxattr(&path, author::ATTRIBUTE, &mut bytes[..]).unwrap();
    let signature: serde_json::Value = serde_json::from_slice(&bytes[..length]).unwrap();
    assert_eq!(signature["sha256"], "6fc1d5f3a2c409e10a2c06ee91da1c062e32e797a545ddb54fa637d580979782");
    for key in ["user", "host"] {
        assert!(signature[key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {signature}");
    }
}

#[test]
fn symlinks_are_followed_and_stay() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    // Laid out like a Kubernetes ConfigMap.
    fs::create_dir(at("..2026_05_19")).unwrap();
    fs::write(at("..2026_05_19/flags.toml"), "old").unwrap();
    symlink("..2026_05_19", at("..data")).unwrap();
    symlink("..data/flags.toml", at("flags.toml")).unwrap();
    symlink(at("flags.toml"), at("again.toml")).unwrap();
    atomically(&at("again.toml"), b"new").unwrap();
    assert_eq!(fs::read(at("..2026_05_19/flags.toml")).unwrap(), b"new");
    for link in ["..data", "flags.toml", "again.toml"] {
        assert!(fs::symlink_metadata(at(link)).unwrap().is_symlink(), "{link}");
    }
    assert_eq!(names(&at("..2026_05_19")), ["flags.toml"]);
}

#[test]
fn a_link_to_nothing_gets_its_file() {
    let directory = tempfile::tempdir().unwrap();
    symlink("real.toml", directory.path().join("link.toml")).unwrap();
    atomically(&directory.path().join("link.toml"), b"new").unwrap();
    assert_eq!(fs::read(directory.path().join("real.toml")).unwrap(), b"new");
    symlink("round", directory.path().join("round")).unwrap();
    assert!(matches!(atomically(&directory.path().join("round"), b""), Err(WriteError::NoTarget(_))));
}

#[test]
fn what_is_no_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(atomically(directory.path(), b""), Err(WriteError::NotAFile(_))));
    let socket = directory.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert!(matches!(atomically(&socket, b""), Err(WriteError::NotAFile(_))));
    assert!(matches!(atomically(Path::new("/"), b""), Err(WriteError::NoTarget(_))));
    let missing = directory.path().join("no/flags.toml");
    let error = atomically(&missing, b"").unwrap_err();
    assert!(matches!(&error, WriteError::Io { step: Step::Resolve, .. }), "{error}");
    fs::write(directory.path().join("latin1"), [0xe9]).unwrap();
    let error = rewrite(
        &directory.path().join("latin1"),
        Emptied::Refused,
        &Signer::of_process(),
        |_| {},
        |_| Ok::<_, Infallible>((String::new(), ())),
    )
    .unwrap_err();
    assert!(matches!(error, RewriteError::Write(WriteError::NotText(_))));
}

#[test]
fn a_refused_edit_and_an_empty_one_write_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flags.toml");
    fs::write(&path, "[routes]\nweb = ").unwrap();
    let before = fs::metadata(&path).unwrap();
    let refused = rewrite(&path, Emptied::Refused, &Signer::of_process(), |_| {}, |_| Err::<(String, ()), _>("no"));
    assert!(matches!(refused, Err(RewriteError::Edit("no"))));
    rewrite(&path, Emptied::Refused, &Signer::of_process(), |_| {}, |text| Ok::<_, Infallible>((text.to_owned(), ())))
        .unwrap();
    assert_eq!(fs::metadata(&path).unwrap().ino(), before.ino());
    assert_eq!(names(directory.path()), ["flags.toml"]);
}

#[test]
fn concurrent_edits_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flags.toml");
    fs::write(&path, "# kept\n[routes]\nfirst = 'hold' # kept, too\n\n[[windows]]\nid = 'w'\n").unwrap();
    thread::scope(|scope| {
        for number in 0..20 {
            let path = &path;
            scope.spawn(move || {
                let line = format!("\nroute-{number} = \"offline\"\n\n[[windows]]");
                rewrite(
                    path,
                    Emptied::Refused,
                    &Signer::of_process(),
                    |_| {},
                    |text| Ok::<_, Infallible>((text.replacen("\n\n[[windows]]", &line, 1), ())),
                )
                .unwrap();
            });
        }
    });
    let text = fs::read_to_string(&path).unwrap();
    for number in 0..20 {
        assert!(text.contains(&format!("\nroute-{number} = \"offline\"\n")), "{text}");
    }
    assert!(text.starts_with("# kept\n[routes]\nfirst = 'hold' # kept, too\n"), "{text}");
    assert!(text.ends_with("\n\n[[windows]]\nid = 'w'\n"), "{text}");
    assert_eq!(names(directory.path()), ["flags.toml"]);
}

#[test]
fn an_edit_that_an_editor_got_ahead_of_starts_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flags.toml");
    fs::write(&path, "old").unwrap();
    let mut seen = Vec::new();
    rewrite(
        &path,
        Emptied::Refused,
        &Signer::of_process(),
        |_| {},
        |text| {
            seen.push(text.to_owned());
            if seen.len() == 1 {
                fs::write(&path, "theirs").unwrap();
            }
            Ok::<_, Infallible>((format!("{text}, ours"), ()))
        },
    )
    .unwrap();
    assert_eq!(seen, ["old", "theirs"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "theirs, ours");
    let endless = rewrite(
        &path,
        Emptied::Refused,
        &Signer::of_process(),
        |_| {},
        |text| {
            fs::write(&path, format!("{text}!")).unwrap();
            Ok::<_, Infallible>((String::new(), ()))
        },
    );
    assert!(matches!(endless, Err(RewriteError::Write(WriteError::Contended(_)))));
    assert_eq!(names(directory.path()), ["flags.toml"]);
}

#[test]
fn a_full_disk_leaves_the_file_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(directory.path()) else {
        return skipped("a full disk leaves the file as it was", "mounting a tmpfs is not permitted");
    };
    let path = disk.0.join("flags.toml");
    fs::write(&path, "old").unwrap();
    let error = atomically(&path, &vec![b'#'; 1024 * 1024]).unwrap_err();
    let WriteError::Io { step: Step::Write, source, .. } = &error else { panic!("{error:?}") };
    assert_eq!(source.kind(), io::ErrorKind::StorageFull);
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(names(&disk.0), ["flags.toml"]);
}

#[test]
fn a_mounted_file_is_refused_with_the_way_out() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("host.toml"), "old").unwrap();
    fs::write(at("flags.toml"), "").unwrap();
    let mount = Command::new("mount").arg("--bind").arg(at("host.toml")).arg(at("flags.toml")).output();
    if !mount.is_ok_and(|mount| mount.status.success()) {
        return skipped("a mounted file is refused with the way out", "mounting is not permitted");
    }
    let _mounted = SmallDisk(at("flags.toml"));
    let error = atomically(&at("flags.toml"), b"new").unwrap_err();
    assert!(error.to_string().ends_with("mount its directory instead"), "{error}");
    assert_eq!(fs::read_to_string(at("host.toml")).unwrap(), "old");
    assert_eq!(names(directory.path()), ["flags.toml", "host.toml"]);
}

/// Reports a skipped claim on the real standard error, which is shown even if the test passes.
fn skipped(claim: &str, reason: &str) {
    let _ = writeln!(io::stderr(), "SKIPPED: {claim}: {reason}");
}

/// A small file system, mounted until it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(at).output().ok()?;
        mount.status.success().then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
    }
}

/// Appends a line, as an edit does that keeps what it sees.
fn append(path: &Path, line: &str) -> Result<(), RewriteError<Infallible>> {
    rewrite(path, Emptied::Refused, &Signer::of_process(), |_| {}, |text| Ok((format!("{text}{line}\n"), ())))
}

#[test]
fn an_edit_waits_for_a_writer_in_place_and_drops_nothing_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flags.toml");
    // What the writer has written before it pauses: nothing, and a half that is valid by itself.
    for half in ["", "[routes]\n"] {
        fs::write(&path, "[routes]\nold = \"hold\"\n").unwrap();
        let mut writer = File::create(&path).unwrap();
        writer.write_all(half.as_bytes()).unwrap();
        thread::scope(|scope| {
            let edit = scope.spawn(|| append(&path, "ours = \"hold\""));
            thread::sleep(Duration::from_millis(300));
            assert!(!edit.is_finished(), "{half:?}: the writer is at work");
            writer.write_all(&b"[routes]\ntheirs = \"hold\"\n"[half.len()..]).unwrap();
            drop(writer);
            edit.join().unwrap().unwrap();
        });
        assert_eq!(fs::read_to_string(&path).unwrap(), "[routes]\ntheirs = \"hold\"\nours = \"hold\"\n");
    }
}

#[test]
fn an_edit_gives_up_rather_than_drop_what_a_writer_has_not_written_yet() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flags.toml");
    fs::write(&path, "[routes]\nold = \"hold\"\n").unwrap();
    let mut writer = File::create(&path).unwrap();
    writer.write_all(b"[routes]\n").unwrap();
    let began = Instant::now();
    let error = append(&path, "ours").unwrap_err();
    assert!(began.elapsed() >= WRITER_PATIENCE, "{:?}", began.elapsed());
    let RewriteError::Write(error @ WriteError::Busy(_, Sign::Open { .. })) = error else { panic!("{error:?}") };
    assert!(error.to_string().contains("has it open for writing"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "[routes]\n");
    assert_eq!(names(directory.path()), ["flags.toml"]);
}

#[test]
fn an_emptied_file_is_edited_only_by_who_wants_nothing_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flags.toml");
    fs::write(&path, "[routes]\nold = \"hold\"\n").unwrap();
    if fs::metadata(&path).unwrap().created().is_err() {
        return skipped("an emptied file is not edited", "the file system does not remember when a file was made");
    }
    thread::sleep(Duration::from_millis(20));
    File::create(&path).unwrap();
    // At first a writer is waited for, later there is nothing to wait for.
    for least in [Duration::from_secs(1), Duration::ZERO] {
        let began = Instant::now();
        let error = append(&path, "ours").unwrap_err();
        assert!(matches!(error, RewriteError::Write(WriteError::Busy(_, Sign::Emptied(_)))), "{error:?}");
        assert!(began.elapsed() >= least, "{:?}", began.elapsed());
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "");
    rewrite(
        &path,
        Emptied::Taken,
        &Signer::of_process(),
        |_| {},
        |_| Ok::<_, Infallible>(("[routes]\n".to_owned(), ())),
    )
    .unwrap();
    append(&path, "ours").unwrap();
}

#[test]
fn an_edit_does_not_wait_where_nobody_is_at_work() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("blank"), "x").unwrap();
    fs::write(at("blank"), "\n").unwrap();
    File::options().append(true).open(at("blank")).unwrap().set_modified(UNIX_EPOCH).unwrap();
    fs::write(at("full"), "[routes]\n").unwrap();
    let mut reader = File::open(at("full")).unwrap();
    if fs::metadata(at("full")).unwrap().created().is_ok() {
        File::create(at("touched")).unwrap();
    }
    thread::sleep(writers::GONE);
    for name in ["blank", "full", "touched", "never"] {
        let began = Instant::now();
        append(&at(name), "ours").unwrap();
        assert!(began.elapsed() < Duration::from_secs(2), "{name}: {:?}", began.elapsed());
    }
    let mut read = String::new();
    reader.read_to_string(&mut read).unwrap();
    assert_eq!(read, "[routes]\n");
}

#[test]
fn a_long_wait_is_told_of_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flags.toml");
    let other = lock(directory.path(), || {}).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        let path = &path;
        scope.spawn(move || {
            let waiting = |file: &Path| tell.send(file.to_owned()).unwrap();
            rewrite(path, Emptied::Refused, &Signer::of_process(), waiting, |_| {
                Ok::<_, Infallible>(("new".to_owned(), ()))
            })
            .unwrap();
        });
        assert_eq!(&told.recv().unwrap(), path);
        thread::sleep(2 * LOCK_PAUSE);
        drop(other);
        assert!(told.recv().is_err(), "and not again");
    });
    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
}

#[test]
fn what_a_killed_edit_left_behind_is_removed_by_the_next_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let old = [
        ".backsoon-0123456789abcdef.tmp",
        ".backsoon-0123456789ABCDEF.tmp",
        ".backsoon-0123.tmp",
        "backsoon.tmp",
        ".backsoon-0123456789abcdef.tmp~",
        ".backsoon-zzzzzzzzzzzzzzzz.tmp",
    ];
    for name in old {
        fs::write(at(name), "left").unwrap();
        let minutes_ago = SystemTime::now() - Duration::from_secs(90);
        File::options().append(true).open(at(name)).unwrap().set_modified(minutes_ago).unwrap();
    }
    fs::write(at(".backsoon-1111111111111111.tmp"), "at work").unwrap();
    fs::create_dir(at(".backsoon-2222222222222222.tmp")).unwrap();
    symlink("flags.toml", at(".backsoon-3333333333333333.tmp")).unwrap();
    let before = names(directory.path());
    append(&at("flags.toml"), "[routes]").unwrap();
    let left: Vec<_> = before.into_iter().filter(|name| !names(directory.path()).contains(name)).collect();
    assert_eq!(left, [".backsoon-0123456789abcdef.tmp"]);
}

use std::convert::Infallible;
use std::os::unix::fs::symlink;
use std::process::Command;

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
    let error = rewrite(&directory.path().join("latin1"), |_| Ok::<_, Infallible>((String::new(), ()))).unwrap_err();
    assert!(matches!(error, RewriteError::Write(WriteError::NotText(_))));
}

#[test]
fn a_refused_edit_and_an_empty_one_write_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flags.toml");
    fs::write(&path, "[routes]\nweb = ").unwrap();
    let before = fs::metadata(&path).unwrap();
    let refused = rewrite(&path, |_| Err::<(String, ()), _>("no"));
    assert!(matches!(refused, Err(RewriteError::Edit("no"))));
    rewrite(&path, |text| Ok::<_, Infallible>((text.to_owned(), ()))).unwrap();
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
                rewrite(path, |text| Ok::<_, Infallible>((text.replacen("\n\n[[windows]]", &line, 1), ()))).unwrap();
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
    rewrite(&path, |text| {
        seen.push(text.to_owned());
        if seen.len() == 1 {
            fs::write(&path, "theirs").unwrap();
        }
        Ok::<_, Infallible>((format!("{text}, ours"), ()))
    })
    .unwrap();
    assert_eq!(seen, ["old", "theirs"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "theirs, ours");
    let endless = rewrite(&path, |text| {
        fs::write(&path, format!("{text}!")).unwrap();
        Ok::<_, Infallible>((String::new(), ()))
    });
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

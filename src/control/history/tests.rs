use std::path::Path;

use proptest::prelude::*;

use super::*;

fn entry(generation: u64, why: &str) -> Entry {
    let at = "2026-05-19T14:00:00Z".parse().unwrap();
    let event = Event::Phase {
        route: "web".to_owned(),
        from: "open".to_owned(),
        to: "draining".to_owned(),
        at,
        why: why.to_owned(),
        mode: Some("offline".to_owned()),
        source: Some("flag".to_owned()),
        until: None,
        flags: None,
        requests: None,
    };
    Entry { time: at, generation, event }
}

fn place() -> (tempfile::TempDir, StateDir) {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::new(&dir.path().join("edge.toml"), None, None);
    (dir, state)
}

/// Files hold three or four lines.
fn small(state: &StateDir) -> History {
    History { dir: state.clone(), largest: 4096 }
}

/// A text so long that only a few lines fit.
fn long() -> String {
    "x".repeat(900)
}

fn generations(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.generation).collect()
}

/// The history as it was read.
#[derive(Clone, Debug, Default, PartialEq)]
struct Recorded {
    /// Oldest first.
    entries: Vec<Entry>,
    /// Lines that could not be read because they are torn or of another version.
    unread: usize,
}

/// Reads the whole history.
fn read(dir: &StateDir) -> io::Result<Recorded> {
    let mut reader = Reader::open(dir.clone())?;
    let mut recorded = Recorded::default();
    while let Some(line) = reader.line()? {
        match line.entry {
            Some(entry) => recorded.entries.push(entry),
            None => recorded.unread += 1,
        }
    }
    recorded.entries.extend(reader.rest().and_then(|line| line.entry));
    recorded.unread += reader.damaged();
    Ok(recorded)
}

/// Returns what a reader finds now, without an unfinished line.
fn news(reader: &mut Reader) -> Vec<u64> {
    let lines = std::iter::from_fn(|| reader.line().unwrap());
    generations(&lines.filter_map(|line| line.entry).collect::<Vec<_>>())
}

#[test]
fn what_is_appended_is_read_back_in_order() {
    let (_dir, state) = place();
    let mut history = History::new(state.clone());
    assert_eq!(read(&state).unwrap(), Recorded::default());
    history.append(&[]).unwrap();
    assert!(!state.path().exists(), "nothing was to be written");
    let edit = Event::Edit {
        file: "maintenance.toml".to_owned(),
        role: "flags".to_owned(),
        hash: Some("3fa9".to_owned()),
        taken: false,
        by: Some(Author::Owner { owner: "anna".to_owned() }),
        problems: vec!["unknown mode `offlin`".to_owned()],
    };
    let edit = Entry { event: edit, ..entry(3, "") };
    history.append(&[entry(1, "flagged offline"), entry(2, "a\nb\u{1b}"), edit.clone()]).unwrap();
    let ended = Entry { event: Event::Ended, ..entry(4, "") };
    History::new(state.clone()).append(std::slice::from_ref(&ended)).unwrap();
    let recorded = read(&state).unwrap();
    assert_eq!(recorded.entries, [entry(1, "flagged offline"), entry(2, "a\nb\u{1b}"), edit, ended]);
    assert_eq!(recorded.unread, 0);
}

#[test]
fn a_line_is_flat_and_names_its_event() {
    let (_dir, state) = place();
    let started = Event::Started { version: "0.1.0".to_owned(), pid: 42 };
    History::new(state.clone())
        .append(&[Entry { event: started, ..entry(1, "") }, entry(2, "flagged offline")])
        .unwrap();
    let expected = "\
{\"time\":\"2026-05-19T14:00:00Z\",\"generation\":1,\"event\":\"started\",\"version\":\"0.1.0\",\"pid\":42}
{\"time\":\"2026-05-19T14:00:00Z\",\"generation\":2,\"event\":\"phase\",\"route\":\"web\",\"from\":\"open\",\"to\":\"draining\",\
\"at\":\"2026-05-19T14:00:00Z\",\"why\":\"flagged offline\",\"mode\":\"offline\",\"source\":\"flag\"}
";
    assert_eq!(fs::read_to_string(state.file(HISTORY)).unwrap(), expected);
}

#[test]
fn it_is_rotated_and_never_grows_without_bound() {
    let (_dir, state) = place();
    let mut history = small(&state);
    for first in (0..60).step_by(2) {
        history.append(&[entry(first, &long()), entry(first + 1, "short")]).unwrap();
    }
    let generations = generations(&read(&state).unwrap().entries);
    assert_eq!(generations, (60 - generations.len() as u64..60).collect::<Vec<_>>());
    let sizes = fs::read_dir(state.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len());
    let sizes: Vec<u64> = sizes.collect();
    assert!(sizes.len() == OLD_FILES + 1 && sizes.iter().all(|size| *size <= 4096), "{sizes:?}");
}

#[test]
fn a_batch_that_is_larger_than_a_file_is_split_and_kept() {
    let (_dir, state) = place();
    let batch: Vec<Entry> = (0..12).map(|generation| entry(generation, &long())).collect();
    small(&state).append(&batch).unwrap();
    assert_eq!(generations(&read(&state).unwrap().entries), (0..12).collect::<Vec<_>>());
    assert!(fs::metadata(state.file(HISTORY)).unwrap().len() <= 4096);
}

#[test]
fn an_entry_that_is_too_long_says_less_and_can_be_read_back() {
    let (_dir, state) = place();
    let edit = Event::Edit {
        file: "maintenance.toml".to_owned(),
        role: "flags".to_owned(),
        hash: None,
        taken: false,
        by: None,
        problems: vec!["\u{7}ä".repeat(3000); 1000],
    };
    let long = "ü".repeat(LONGEST);
    History::new(state.clone()).append(&[Entry { event: edit, ..entry(1, "") }, entry(2, &long)]).unwrap();
    let recorded = read(&state).unwrap();
    assert_eq!((generations(&recorded.entries), recorded.unread), (vec![1, 2], 0));
    let Event::Edit { problems, .. } = &recorded.entries[0].event else { panic!("{recorded:?}") };
    assert_eq!(problems.last().unwrap(), "and 980 more");
}

#[test]
fn where_it_cannot_be_written_that_is_an_error_and_later_it_is_tried_anew() {
    let (dir, state) = place();
    fs::write(dir.path().join(".backsoon"), "in the way").unwrap();
    let mut history = History::new(state.clone());
    assert!(history.append(&[entry(1, "")]).is_err());
    fs::remove_file(dir.path().join(".backsoon")).unwrap();
    history.append(&[entry(2, "")]).unwrap();
    // Removing the file loses its lines, but none that follow.
    fs::remove_file(state.file(HISTORY)).unwrap();
    history.append(&[entry(3, "")]).unwrap();
    assert_eq!(generations(&read(&state).unwrap().entries), [3]);
}

#[test]
fn a_symlink_in_its_place_is_not_followed() {
    let (dir, state) = place();
    state.make().unwrap();
    let secret = dir.path().join("secret");
    fs::write(&secret, "mine").unwrap();
    std::os::unix::fs::symlink(&secret, state.file(HISTORY)).unwrap();
    assert!(History::new(state.clone()).append(&[entry(1, "")]).is_err());
    assert!(read(&state).is_err());
    assert_eq!(fs::read_to_string(&secret).unwrap(), "mine");
}

#[test]
fn damaged_lines_are_counted_and_those_of_another_version_are_told_from_them() {
    let (_dir, state) = place();
    let mut history = History::new(state.clone());
    history.append(&[entry(1, "")]).unwrap();
    let mut text = fs::read(state.file(HISTORY)).unwrap();
    text.extend_from_slice(
        b"{\"time\":\"2026-05-19T14:00:00Z\",\"generation\":2,\"event\":\"eclipse\",\"of\":\"moon\"}\n",
    );
    text.extend_from_slice(b"\xff\xfe\n\n\0\0\0\0\n[]\n{\"time\":\"noon\"}\n");
    text.resize(text.len() + 3 * LONGEST, b'{');
    text.push(b'\n');
    fs::write(state.file(HISTORY), text).unwrap();
    history.append(&[entry(3, "")]).unwrap();
    let mut reader = Reader::open(state).unwrap();
    let lines: Vec<Line> = std::iter::from_fn(|| reader.line().unwrap()).collect();
    let known: Vec<Option<u64>> = lines.iter().map(|line| Some(line.entry.as_ref()?.generation)).collect();
    assert_eq!(known, [Some(1), None, Some(3)]);
    assert!(lines[1].text.contains("\"of\":\"moon\""));
    assert_eq!(reader.damaged(), 5);
}

#[test]
fn a_reader_follows_over_rotations_and_misses_nothing() {
    let (_dir, state) = place();
    let mut reader = Reader::open(state.clone()).unwrap();
    let mut history = small(&state);
    assert!(news(&mut reader).is_empty());
    let mut seen = Vec::new();
    for generation in 0..20 {
        history.append(&[entry(generation, &long())]).unwrap();
        // Only now and then, so that the file is rotated none, one or two times in between.
        if [1, 2, 5, 13, 19].contains(&generation) {
            reader.look_again().unwrap();
            seen.append(&mut news(&mut reader));
        }
    }
    assert_eq!(seen, (0..20).collect::<Vec<_>>());
}

#[test]
fn a_reader_goes_on_after_the_file_was_removed_or_emptied() {
    let (_dir, state) = place();
    let mut history = History::new(state.clone());
    history.append(&[entry(1, ""), entry(2, "")]).unwrap();
    fs::copy(state.file(HISTORY), state.file(".history.jsonl.1")).unwrap();
    let mut reader = Reader::open(state.clone()).unwrap();
    assert_eq!(news(&mut reader), [1, 2, 1, 2]);
    let mut expect = |then: &dyn Fn(&Path), generation| {
        then(&state.file(HISTORY));
        reader.look_again().unwrap();
        assert!(news(&mut reader).is_empty());
        history.append(&[entry(generation, "")]).unwrap();
        reader.look_again().unwrap();
        assert_eq!(news(&mut reader), [generation]);
    };
    expect(&|file| fs::remove_file(file).unwrap(), 3);
    expect(&|file| fs::write(file, "").unwrap(), 4);
    expect(&|_| {}, 5);
}

#[test]
fn a_line_that_is_being_written_is_waited_for() {
    let (_dir, state) = place();
    let mut history = History::new(state.clone());
    history.append(&[entry(1, ""), entry(2, "")]).unwrap();
    let whole = fs::read(state.file(HISTORY)).unwrap();
    fs::write(state.file(HISTORY), &whole[..whole.len() - 30]).unwrap();
    let mut reader = Reader::open(state.clone()).unwrap();
    assert_eq!(news(&mut reader), [1]);
    reader.look_again().unwrap();
    assert!(news(&mut reader).is_empty());
    let mut file = OpenOptions::new().append(true).open(state.file(HISTORY)).unwrap();
    file.write_all(&whole[whole.len() - 30..]).unwrap();
    assert_eq!((news(&mut reader), reader.damaged()), (vec![2], 0));
}

proptest! {
    // Each case flushes the disk several times.
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_crash_at_any_byte_loses_no_complete_line(
        rounds in proptest::collection::vec((1..4_u64, 0..500_usize), 1..5)
    ) {
        let (_dir, state) = place();
        let (mut next, mut expected, mut torn) = (0, Vec::new(), 0);
        for (lines, cut) in rounds {
            // A process writes and the machine dies: any part of what was not flushed may be on the disk.
            let before = fs::read(state.file(HISTORY)).map_or(0, |text| text.len());
            let batch: Vec<Entry> = (next..next + lines).map(|generation| entry(generation, "before")).collect();
            History::new(state.clone()).append(&batch).unwrap();
            let whole = fs::read(state.file(HISTORY)).unwrap();
            // Flushed lines stay, and so does the newline that a torn line got.
            let kept = whole.len().saturating_sub(cut).max(before);
            fs::write(state.file(HISTORY), &whole[..kept]).unwrap();
            // A line that lacks only its newline is whole.
            let mut end = before + usize::from(before > 0 && whole.get(before) == Some(&b'\n'));
            for line in &batch {
                let length = serde_json::to_vec(line).unwrap().len();
                if end + length <= kept { expected.push(line.generation) } else { torn += usize::from(end < kept) }
                end += length + 1;
            }
            next += lines;
        }
        let recorded = read(&state).unwrap();
        prop_assert_eq!(generations(&recorded.entries), expected);
        prop_assert_eq!(recorded.unread, torn);
    }
}

use super::*;
use crate::plan::config::EventKind;

fn event(what: &str) -> OperatorEvent {
    OperatorEvent::of_proxy(EventKind::VerifyFailed, Timestamp::UNIX_EPOCH, "a check fails", what.to_owned())
}

#[test]
fn what_was_written_down_is_there_after_a_crash_with_the_same_id_until_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.notifications.sqlite");
    let journal = Journal::open(&path).unwrap();
    let (one, other) = (event("one"), event("other"));
    let rows = journal.add(&[("a", &one), ("b", &one), ("a", &other)], Timestamp::UNIX_EPOCH).unwrap();
    assert!(journal.begin(rows[0], 0, Care::Little).unwrap());
    journal.end(rows[1]).unwrap();
    // Nothing is closed: the file is opened as after kill -9.
    let waiting = Journal::open(&path).unwrap().waiting().unwrap();
    let found: Vec<_> = waiting.iter().map(|one| (one.place.as_str(), one.attempts)).collect();
    assert_eq!(found, [("a", 1), ("a", 0)]);
    let ids: Vec<_> = waiting.iter().map(|one| one.event.as_ref().unwrap().id("proxy-1")).collect();
    assert_eq!(ids, [one.id("proxy-1"), other.id("proxy-1")]);
    assert_eq!(waiting[1].event.as_ref(), Some(&other));
}

#[test]
fn of_two_processes_one_begins() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.notifications.sqlite");
    let (old, new) = (Journal::open(&path).unwrap(), Journal::open(&path).unwrap());
    let row = old.add(&[("exec", &event("drained"))], Timestamp::UNIX_EPOCH).unwrap()[0];
    assert!(new.begin(row, 0, Care::Much).unwrap());
    assert!(!old.begin(row, 0, Care::Much).unwrap(), "the new one has it");
    new.end(row).unwrap();
    assert!(!old.begin(row, 1, Care::Much).unwrap(), "it is over");
    let next = old.add(&[("exec", &event("drained"))], Timestamp::UNIX_EPOCH).unwrap()[0];
    assert_ne!(row, next);
}

#[test]
fn a_journal_that_is_full_takes_all_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(&folder.path().join("x.notifications.sqlite")).unwrap();
    let event = event("again");
    let many = vec![("a", &event); usize::try_from(MOST_WAITING).unwrap() - 1];
    journal.add(&many, Timestamp::UNIX_EPOCH).unwrap();
    assert!(matches!(journal.add(&[("a", &event); 2], Timestamp::UNIX_EPOCH), Err(StoreError::Full(..))));
    assert_eq!(journal.add(&[("a", &event)], Timestamp::UNIX_EPOCH).unwrap().len(), 1);
}

//! `backsoon on` and `backsoon off`: what was edited is still TOML, says what was asked for, and can be taken back.
#![no_main]

use backsoon::cli::edit::{Entry, Selection, off, on};
use backsoon::plan::flags::Mode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let routes = ["web".to_owned()];
    let entry = Entry { mode: Mode::Offline, until: None, message: Some("Moving <the> \"database\".".to_owned()) };
    if let Ok(flagged) = on(text, &routes, &entry) {
        assert_eq!(on(&flagged, &routes, &entry).as_deref(), Ok(flagged.as_str()), "once more changes something");
        let lifted = off(&flagged, Selection::Routes(&routes)).expect("what was written can be edited");
        assert_eq!(lifted.removed, routes);
        let again = off(&lifted.text, Selection::Routes(&routes)).expect("what was lifted can be edited");
        assert_eq!(again.text, lifted.text, "nothing is left to lift");
    }
    if let Ok(all) = off(text, Selection::All) {
        assert!(off(&all.text, Selection::All).is_ok_and(|none| none.removed.is_empty()));
    }
});

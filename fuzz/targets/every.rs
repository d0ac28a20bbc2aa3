//! A recurrence: its occurrences have a length, come in order and are found from both sides.
#![no_main]

use backsoon::plan::flags::{When, parse};
use jiff::{SignedDuration, Timestamp};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u32, &str)| {
    let (seconds, rule) = input;
    let rule = rule.replace(['\'', '\n', '\r'], " ");
    let text = format!("[[windows]]\nid = 'w'\nevery = '{rule}'\nroutes = {{ web = 'offline' }}\n");
    let Some(parsed) = parse("maintenance.toml", &text).0 else { return };
    let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(i64::from(seconds));
    for window in &parsed.flags.windows {
        let When::Every(every) = &window.when else { continue };
        if let Some((starts, ends)) = every.after(now) {
            assert!(now < starts && starts < ends, "{rule}");
            assert_eq!(every.before(starts), Some((starts, ends)), "{rule}");
        }
        if let Some((starts, ends)) = every.on(now) {
            assert!(starts <= now && now < ends, "{rule}");
        }
    }
});

//! A flag file: any text has flags or an error, each with a place in the text.
#![no_main]

use backsoon::plan::flags::parse;
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (parsed, problems) = parse("maintenance.toml", text);
    for problem in &problems {
        assert!(!problem.to_string().is_empty());
    }
    let Some(parsed) = parsed else {
        assert!(!problems.is_empty(), "no flags, and nothing is wrong");
        return;
    };
    let now = Timestamp::UNIX_EPOCH;
    for window in &parsed.flags.windows {
        let _ = (window.in_force(now), window.announced(now), window.next_change(now));
    }
});

//! The path normalizer: what it returns is normal, below the root, and stays as it is if no escape is left in it.
#![no_main]

use backsoon::plan::path::normalize;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|path: &str| {
    let Ok(normal) = normalize(path) else { return };
    assert!(normal.starts_with('/'), "{normal:?}");
    assert!(!normal.split('/').any(|segment| segment == "." || segment == ".."), "{normal:?}");
    // Escapes are decoded once, so one that was escaped itself is left, and would be decoded the next time.
    if !normal.contains('%') {
        assert_eq!(normalize(&normal).as_deref(), Ok(&*normal), "normal twice is something else");
    }
});

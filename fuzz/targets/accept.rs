//! `Accept`, `Accept-Language` and `Accept-Encoding`: fields of any bytes, several of each.
#![no_main]

use backsoon::plan::accept::{choose, coding, language, suffix};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let fields = || bytes.split(|&byte| byte == b'\n');
    let offers = [(0, "text/html"), (1, "application/json"), (2, "application/problem+json"), (3, "text/plain")];
    let _ = choose(fields(), &offers);
    if let Some(suffix) = suffix(fields()) {
        assert!(!suffix.contains(&b'+'));
    }
    let languages = ["en", "de", "pt-BR", "zh-Hans"];
    assert!(language(fields(), &languages).is_none_or(|index| index < languages.len()));
    let _ = coding(fields()).as_str();
});

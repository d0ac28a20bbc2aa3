//! Past: a flag file that has grown for years is read by every command, and what is over is said to be over.

use std::fs;

use crate::command::run;

const CONFIG: &str = "\
[[listen]]
address = \"127.0.0.1:8080\"
[routes.web]
upstream = \"http://127.0.0.1:3000\"
";

/// Windows that were over long ago: more than may be still to come.
const OVER: usize = 2100;

#[test]
fn a_file_that_has_grown_for_years_is_read_by_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let window = |id: &str, year: u16| {
        format!(
            "[[windows]]\nid = \"{id}\"\nstarts = {year}-01-05T10:00:00Z\nends = {year}-01-05T12:00:00Z\nroutes = {{ web = \"offline\" }}\n"
        )
    };
    let old: String = (0..OVER).map(|number| window(&format!("OLD-{number}"), 2020)).collect();
    let file = dir.path().join("maintenance.toml");
    fs::write(dir.path().join("backsoon.toml"), CONFIG).unwrap();
    fs::write(&file, format!("{old}{}", window("NEXT", 2090))).unwrap();
    let before = fs::read_to_string(&file).unwrap();
    for (args, code, said) in [
        (&["check"][..], 0, "2100 windows never act: they were over more than 30 days ago"),
        (&["extend", "OLD-1", "1h"], 64, "window `OLD-1` is over since Sun 2020-01-05 12:00 UTC"),
        (&["cancel", "OLD-2099"], 64, "window `OLD-2099` is over since Sun 2020-01-05 12:00 UTC"),
        (&["cancel", "OLD-99999"], 64, "has no window `OLD-99999`"),
        (&["plan", "web", "--id", "OLD-7", "--at", "2090-02-01T10:00Z", "--for", "1h"], 64, "OLD-7"),
        (&["explain", "http://x/", "--at", "2090-01-05T11:00:00Z"], 0, "window `NEXT`"),
        // The past can still be asked for.
        (&["explain", "http://x/", "--at", "2020-01-05T11:00:00Z"], 0, "window `OLD-0`"),
        (&["step", "OLD-3", "1", "done"], 64, "window `OLD-3` has no step `1`"),
        (&["off", "--window", "OLD-3"], 0, "window OLD-3 is not in force"),
    ] {
        let done = run(dir.path(), args).exits(code);
        assert!(format!("{}{}", done.out, done.err).contains(said), "{args:?}: {} {}", done.out, done.err);
        assert_eq!(fs::read_to_string(&file).unwrap(), before, "{args:?}");
    }
    run(dir.path(), &["extend", "NEXT", "1h"]).exits(0).says("window NEXT ends Thu 2090-01-05 13:00 UTC");
}

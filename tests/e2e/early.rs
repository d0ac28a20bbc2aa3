//! Early: a window that steps end, and whose steps are all done before it begins, will not close its routes.

use std::fs;

use crate::command::run;

const CONFIG: &str = "\
[[listen]]
address = \"127.0.0.1:8080\"
[routes.web]
upstream = \"http://127.0.0.1:3000\"
";
const FLAGS: &str = "\
[[windows]]
id     = \"EARLY\"
starts = STARTS
ends   = 2090-01-05T12:00:00Z
opens  = \"steps\"
routes = { web = \"offline\" }
[[windows.steps]]
title = \"Wait\"
auto  = \"drain\"
[[windows.steps]]
title = \"Move\"
";

#[test]
fn a_window_whose_steps_are_done_before_it_begins_is_told_by_every_look_ahead() {
    let dir = tempfile::tempdir().unwrap();
    let starts = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(48);
    fs::write(dir.path().join("backsoon.toml"), CONFIG).unwrap();
    fs::write(dir.path().join("maintenance.toml"), FLAGS.replace("STARTS", &starts.to_string())).unwrap();
    let words = "never closes its routes: all of the steps that end it are done before it begins";
    let run = |args: &[&str]| run(dir.path(), args).exits(0);
    run(&["check"]).keeps_quiet_of(words);
    run(&["agenda"]).keeps_quiet_of("will not close");
    run(&["step", "EARLY", "2", "running"]).keeps_quiet_of("will");
    run(&["step", "EARLY", "2", "done"]).says("window EARLY will not close its routes at ");
    run(&["check"]).complains(words).complains("maintenance.toml:4:");
    run(&["agenda"]).complains("window `EARLY` will not close its routes");
    run(&["step", "EARLY", "2", "pending"]).says("window EARLY will close its routes again");
    run(&["check"]).keeps_quiet_of(words);
}

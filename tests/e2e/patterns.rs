//! Patterns of paths, and methods of every kind, while a route is closed or read-only.

use std::process::Command;

use crate::support::{Backsoon, LISTEN, Upstream, get, replace, request, wait};

#[test]
fn a_fetch_passes_a_read_only_route_and_a_push_does_not() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::start(&format!(
        "workers = 1\n{LISTEN}[routes.web]\nupstream = \"{}\"\nalways_open = [\"*.css\", \"/a/**/open\"]\n\
         read_only = {{ allow = [\"POST **/git-upload-pack\", \"PROPPATCH /dav/**\", \"MOO /moo\"] }}\n",
        upstream.url()
    ));
    let status = |method: &str, path: &str| {
        let head = format!("{method} {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
        request(backsoon.address(), &head).status
    };
    backsoon.flag("[routes]\nweb = \"read-only\"\n");
    for (method, path, passes) in [
        ("GET", "/", true),
        ("QUERY", "/search", true),
        ("PROPFIND", "/dav/", true),
        ("REPORT", "/dav/", true),
        ("SEARCH", "/dav/", true),
        ("POST", "/group/repo.git/git-upload-pack", true),
        // What is not in normal form may be another path to the app.
        ("POST", "/group/sub/repo.git/git%2Dupload-pack", false),
        ("POST", "/group/repo.git/git-receive-pack", false),
        ("POST", "/group/git-upload-pack/../git-receive-pack", false),
        ("PROPPATCH", "/dav/a/b", true),
        ("PROPPATCH", "/davs", false),
        ("MKCOL", "/dav/a", false),
        ("MOO", "/moo", true),
        ("moo", "/moo", false),
        ("POST", "/moo", false),
    ] {
        assert_eq!(status(method, path), if passes { 200 } else { 503 }, "{method} {path}");
    }
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    for (path, passes) in [
        ("/x/y/site.css", true),
        ("/site.css", true),
        ("/site.cssx", false),
        ("/a/b/c/open/d", true),
        ("/b/open", false),
    ] {
        assert_eq!(status("GET", path), if passes { 200 } else { 503 }, "{path}");
    }
}

#[test]
fn the_closest_path_of_several_routes_answers_and_explain_says_which() {
    let answer = |body: &str| Upstream::answering(&format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{body}"));
    let [app, php, export] = ["1", "2", "3"].map(answer);
    let config = |path: &str, more: &str| {
        format!(
            "{LISTEN}[routes.app]\nupstream = \"{}\"\n[routes.php]\npath = \"*.php\"\nupstream = \"{}\"\n\
             [routes.export]\npath = {path}\nupstream = \"{}\"\n{more}",
            app.url(),
            php.url(),
            export.url()
        )
    };
    let backsoon = Backsoon::start(&config("[\"/v1/*/export\", \"/v1/all\"]", "strip_prefix = \"/v1\"\n"));
    let body = |path: &str| get(backsoon.address(), path).body;
    for (path, by) in [
        ("/", "1"),
        ("/v1/eu", "1"),
        ("/a/b/index.php", "2"),
        ("/v1/x.php/y", "2"),
        ("/v1/eu/export", "3"),
        ("/v1/%65u/exp%6frt/x?y", "3"),
        ("/v1/all/x.php", "3"),
    ] {
        assert_eq!(body(path), by, "{path}");
    }
    assert!(export.seen().contains("GET /eu/export HTTP/1.1\r\n"), "{}", export.seen());
    backsoon.flag("[routes]\nexport = \"offline\"\n");
    assert_eq!(get(backsoon.address(), "/v1/eu/export").status, 503);
    assert_eq!(body("/v1/eu/exports"), "1");
    let explain = |path: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backsoon"));
        let config = backsoon.path("backsoon.toml");
        let output = command.args(["explain", path, "--config"]).arg(config).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let told = explain("/v1/eu/export/x");
    assert!(told.contains("export (any host, pattern `/v1/*/export`)"), "{told}");
    let told = explain("/v1/all");
    assert!(told.contains("export (any host, path `/v1/all`)"), "{told}");
    // A file whose paths contradict each other changes nothing.
    replace(&backsoon.path("backsoon.toml"), &config("\"**/*.php\"", ""));
    wait("the problem", || backsoon.status().to_string().contains("both answer for"));
    assert_eq!(body("/a/b/index.php"), "2");
    backsoon.config(&config("\"/v2/**/export\"", ""));
    assert_eq!(body("/v1/eu/export"), "1");
}

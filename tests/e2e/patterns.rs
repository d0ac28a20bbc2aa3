//! Patterns of paths, and methods of every kind, while a route is closed or read-only.

use crate::support::{Backsoon, LISTEN, Upstream, request};

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

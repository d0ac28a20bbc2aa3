use proptest::prelude::*;

use super::*;

fn rewrite(prefixes: &[&str]) -> Rewrite {
    let strip = prefixes.iter().map(|prefix| Stripped::new(Prefix::new(prefix).unwrap())).collect();
    Rewrite { strip, answers: true }
}

#[test]
fn a_prefix_is_taken_in_every_spelling_or_the_path_is_refused() {
    let app = rewrite(&["/app"]);
    for (path, rest) in [
        ("/app", Ok("")),
        ("/app/", Ok("/")),
        ("/app/x", Ok("/x")),
        ("/app/x/", Ok("/x/")),
        ("/%61pp/x", Ok("/x")),
        ("/%61%70%70", Ok("")),
        ("//app/x", Ok("/x")),
        ("/./app/x", Ok("/x")),
        ("/app//x", Ok("/x")),
        ("/app///x", Ok("/x")),
        ("/app/./x", Ok("/./x")),
        ("/app;v=1/x", Ok("/x")),
        ("/x/../app/y", Ok("/y")),
        ("/app/../app/y", Ok("/y")),
        ("/app/x/../y", Ok("/x/../y")),
        ("/app/x/../../app/y", Ok("/y")),
        ("/app/a%2Fb", Ok("/a%2Fb")),
        ("/app/%61%20b", Ok("/%61%20b")),
        ("/app/x;v=1", Ok("/x;v=1")),
        ("/app/caf\u{e9}", Ok("/caf\u{e9}")),
        ("/app/x/..", Ok("/x/..")),
        ("/app/.", Ok("/.")),
        // Where the prefix ends depends on who reads it.
        ("/app%2Fx", Err(BadPath::Ambiguous)),
        ("/app%5Cx", Err(BadPath::Ambiguous)),
        ("/app\\x", Err(BadPath::Ambiguous)),
        ("/app/\\x", Err(BadPath::Ambiguous)),
        ("/app//\\.", Err(BadPath::Ambiguous)),
        // Who does not read `%2F` as a slash climbs out of the app.
        ("/app/a%2Fb/../../x", Err(BadPath::Ambiguous)),
        ("/app/a%5cb/../../x", Err(BadPath::Ambiguous)),
        ("/app/x%2F..", Err(BadPath::Ambiguous)),
        ("/app/%2e%2e%2fapp/x", Err(BadPath::Ambiguous)),
        ("/app/..;/app", Err(BadPath::Ambiguous)),
        ("/app/../..", Err(BadPath::AboveRoot)),
    ] {
        assert_eq!(app.rest(path).map(|rest| rest.path), rest, "{path}");
    }
    // Of what another route answers, nothing is taken.
    for path in ["/", "/apple", "/app;x/..", "/app/..", "/app/../x", "*"] {
        assert_eq!(app.rest(path), Ok(Rest { path, stripped: None }), "{path}");
    }
}

#[test]
fn the_longest_prefix_is_taken() {
    let several = rewrite(&["/a/b", "/a"]);
    for (path, rest) in [("/a/b/c", "/c"), ("/a/c", "/c"), ("/a", ""), ("/a//b/c", "/c"), ("/a/x/../b/c", "/c")] {
        assert_eq!(several.rest(path).unwrap().path, rest, "{path}");
    }
    assert_eq!(Stripped::new(Prefix::new("/b\u{fc}ro a").unwrap()).written.as_ref(), "/b%C3%BCro%20a");
}

#[test]
fn a_base_path_is_plain() {
    for (path, base) in [("/app", "/app"), ("/app/", "/app"), ("/a/b-c_d.e~f", "/a/b-c_d.e~f")] {
        assert_eq!(BasePath::new(path).unwrap().as_str(), base);
    }
    for path in ["", "/", "//", "app", "/a//b", "/a/../b", "/a/.", "/%61", "/a;b", "/a b", "/\u{fc}", "/a\\b", "/a?b"] {
        assert_eq!(BasePath::new(path), None, "{path}");
    }
}

fn places<'a>(prefix: &'a str, base: &'a BasePath) -> Places<'a> {
    Places { prefix, base, upstream: ["10.0.0.3:8080", "app.internal"], asked: "www.example.com" }
}

#[test]
fn a_url_of_the_upstream_becomes_that_of_its_clients() {
    let (root, base) = (BasePath::default(), BasePath::new("/base").unwrap());
    for (prefix, base, url, rewritten) in [
        ("/app", &root, "/x?q=/y#z", Some("/app/x?q=/y#z")),
        ("/app", &root, "/", Some("/app/")),
        ("/app", &root, "http://10.0.0.3:8080/x", Some("/app/x")),
        ("/app", &root, "http://app.internal/x", Some("/app/x")),
        ("/app", &root, "HTTP://10.0.0.3:8080?q", Some("/app/?q")),
        ("/app", &root, "https://www.example.com/x", Some("https://www.example.com/app/x")),
        ("/app", &root, "https://WWW.example.com:443/x", Some("https://WWW.example.com:443/app/x")),
        ("/app", &root, "//www.example.com/x", Some("//www.example.com/app/x")),
        ("/app", &root, "//elsewhere.example/x", None),
        ("/app", &root, "https://elsewhere.example/x", None),
        ("/app", &root, "https://www.example.com.evil.example/x", None),
        ("/app", &root, "x", None),
        ("/app", &root, "../x", None),
        ("/app", &root, "?q", None),
        ("/app", &root, "", None),
        ("/app", &root, "mailto:a@b", None),
        ("/app", &root, "/\\evil.example", None),
        ("", base_of(&base), "/base/x", Some("/x")),
        ("", base_of(&base), "/base", Some("/")),
        ("", base_of(&base), "/based", None),
        ("", base_of(&base), "/other", None),
        // A host must not come of what was a path.
        ("", base_of(&base), "/base//evil.example/x", Some("/evil.example/x")),
        ("", base_of(&base), "/base/\\evil.example/x", Some("/evil.example/x")),
        ("/app", base_of(&base), "/base/x", Some("/app/x")),
    ] {
        assert_eq!(places(prefix, base).url(url).as_deref(), rewritten, "{url}");
    }
}

fn base_of(base: &BasePath) -> &BasePath {
    base
}

#[test]
fn a_refresh_and_the_path_of_a_cookie_are_rewritten() {
    let (root, base) = (BasePath::default(), BasePath::new("/base").unwrap());
    let app = places("/app", &root);
    for (value, rewritten) in [
        ("5; url=/x", Some("5; url=/app/x")),
        ("0;URL='/x'", Some("0;URL='/app/x'")),
        ("0, url=\"/x\"", Some("0, url=\"/app/x\"")),
        ("5", None),
        ("5; url=https://elsewhere.example/", None),
    ] {
        assert_eq!(app.refresh(value).as_deref(), rewritten, "{value}");
    }
    for (prefix, base, value, rewritten) in [
        ("/app", &root, "a=b; Path=/; HttpOnly", Some("a=b; Path=/app; HttpOnly")),
        ("/app", &root, "a=b;path=/x", Some("a=b;path=/app/x")),
        ("/app", &root, "a=/x; Domain=example.com", None),
        ("/app", &root, "path=/x", None),
        ("/app", &root, "a=b; Path=x", None),
        ("", &base, "a=b; Path=/base", Some("a=b; Path=/")),
        ("", &base, "a=b; Path=/base/x", Some("a=b; Path=/x")),
        ("", &base, "a=b; Path=/", None),
    ] {
        let cookie = places(prefix, base).cookie(value.as_bytes());
        assert_eq!(cookie.as_deref(), rewritten.map(str::as_bytes), "{value}");
    }
}

/// Resolves a path as a server does that sees no slash in an escape. `None` if it climbs above the root.
fn strictly(path: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for segment in path.split('/').skip(1) {
        let segment = segment.to_ascii_lowercase().replace("%2e", ".");
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => depth = depth.checked_sub(1)?,
            _ => depth += 1,
        }
    }
    Some(depth)
}

proptest! {
    /// Whatever is written, the rest leads where the normal form says, and no reader climbs above its root.
    #[test]
    fn what_is_behind_a_prefix_is_the_rest_of_the_normal_form(
        parts in proptest::collection::vec(
            proptest::sample::select(vec![
                "/", "/", "/", "app", "%61pp", "x", "..", ".", "%2e", "%2F", "%5c", "\\", ";", ";v", "..;", "\u{e9}", "%",
            ]),
            1..14,
        ),
    ) {
        let path = format!("/{}", parts.concat());
        let app = rewrite(&["/app"]);
        if let Ok(Rest { path: rest, stripped: Some(_) }) = app.rest(&path) {
            let normal = normalize(&path).unwrap();
            let or_root = |path: &str| if path.is_empty() { "/".to_owned() } else { path.to_owned() };
            let below = or_root(normal.strip_prefix("/app").unwrap());
            let rest = or_root(rest);
            prop_assert_eq!(normalize(&rest).unwrap().into_owned(), below, "{}", path);
            prop_assert!(strictly(&rest).is_some(), "{}", path);
            prop_assert!(!rest.starts_with("//") && !rest.starts_with("/\\"), "{}", path);
            prop_assert!(path.ends_with(rest.trim_start_matches('/')), "{}", path);
        }
    }
}

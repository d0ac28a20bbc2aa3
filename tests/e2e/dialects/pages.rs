//! A page for each host: brand, logo, languages, links and templates of a route's own.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::support::{Backsoon, LISTEN, Response, replace, request, wait_for_page};

use super::json;

const ROUTES: &str = "
[page]
brand = \"Example\"
accent = \"#0b6b53\"
links = { home = \"/example\", help = \"mailto:help@example.com\" }
[routes.blog]
host = \"blog.example.com\"
upstream = \"http://127.0.0.1:1\"
[routes.blog.page]
brand = \"Blog\"
languages = [\"de\", \"en\"]
pages = \"blog\"
[routes.shop]
host = \"shop.example.com\"
upstream = \"http://127.0.0.1:1\"
page = { brand = \"Shop\", logo = \"shop.svg\", accent = \"#ff6600\", links = { home = \"/shop\" } }
[routes.shop-api]
host = \"shop.example.com\"
path = \"/api\"
upstream = \"http://127.0.0.1:1\"
page = \"shop\"
[routes.web]
upstream = \"http://127.0.0.1:1\"
";

const LOGO: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\"/>";

/// Page of the blog with this word.
fn blog(word: &str) -> String {
    format!("<title>{{{{ title }}}}</title><p>{word} of {{{{ brand.name }}}}, {{{{ lang }}}}")
}

/// Writes the files of a proxy with four routes and three pages.
fn write(dir: &Path) {
    fs::create_dir_all(dir.join("blog")).unwrap();
    fs::create_dir_all(dir.join("pages/messages")).unwrap();
    fs::write(dir.join("blog/page.html"), blog("One")).unwrap();
    fs::write(dir.join("pages/messages/en.toml"), "check-again = \"Try anew\"\n").unwrap();
    fs::write(dir.join("shop.svg"), LOGO).unwrap();
    fs::write(dir.join("backsoon.toml"), config(ROUTES)).unwrap();
    fs::write(dir.join("maintenance.toml"), "[routes]\n\"*\" = \"offline\"\n").unwrap();
}

fn config(routes: &str) -> String {
    format!("pages = \"pages\"\n{LISTEN}{routes}")
}

fn start() -> Backsoon {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    Backsoon::start_in(dir, &config(ROUTES))
}

fn get(backsoon: &Backsoon, host: &str, path: &str, fields: &[&str]) -> Response {
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let head = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{fields}\r\n");
    request(backsoon.address(), &head)
}

fn html(backsoon: &Backsoon, host: &str) -> String {
    get(backsoon, host, "/", &["accept: text/html"]).body.replace("&#x2f;", "/")
}

fn problems(backsoon: &Backsoon, file: &str) -> Vec<Value> {
    let status = backsoon.status();
    let mut files = status["files"].as_array().unwrap().iter();
    let file = files.find(|known| known["path"].as_str().unwrap().ends_with(file)).cloned().unwrap_or_default();
    file["problems"].as_array().cloned().unwrap_or_default()
}

fn run(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backsoon"));
    command.args(arguments).arg("--config").arg(dir.join("backsoon.toml")).output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn each_host_has_the_page_of_its_route() {
    let backsoon = start();
    let shop = html(&backsoon, "shop.example.com");
    let logo = format!("data:image/svg+xml;base64,{}", STANDARD.encode(LOGO));
    assert!(shop.contains("Shop") && shop.contains(&logo) && shop.contains("href=\"/shop\""), "{shop}");
    assert!(!shop.contains("Example") && !shop.contains("mailto:help@"), "`links` are all of them: {shop}");
    let web = html(&backsoon, "any.example.org");
    assert!(web.contains("Example") && web.contains("mailto:help@example.com") && !web.contains("Shop"), "{web}");
    assert!(web.contains("Try anew") && shop.contains("Try anew"), "words of the general directory: {shop}");
    let page = get(&backsoon, "blog.example.com", "/", &["accept: text/html", "accept-language: fr"]);
    assert!(page.body.contains("One of Blog, de") && page.field("content-language") == Some("de"), "{}", page.body);
    let english =
        get(&backsoon, "blog.example.com", "/.backsoon/status", &["accept: text/html", "accept-language: en"]);
    assert!(english.status == 200 && english.body.contains("One of Blog, en"), "{}", english.body);
    let api = get(&backsoon, "shop.example.com", "/api/x", &["accept: text/html"]).body.replace("&#x2f;", "/");
    assert_eq!(api, shop, "a page that a route shares");
    let french = get(&backsoon, "shop.example.com", "/", &["accept-language: fr", "accept: application/json"]);
    assert_eq!(french.field("content-language"), Some("fr"), "languages that are not written are those of `[page]`");
}

#[test]
fn a_page_follows_its_files_while_a_bad_one_beside_it_stays_as_it_was() {
    let backsoon = start();
    let version = |host: &str| json(&get(&backsoon, host, "/", &["accept: application/json"]).body)["version"].clone();
    let (shop, web) = (version("shop.example.com"), version("any.example.org"));
    replace(&backsoon.path("blog/page.html"), &blog("Two"));
    wait_for_page("the new page", || html(&backsoon, "blog.example.com").contains("Two of Blog"));
    assert_eq!((version("shop.example.com"), version("any.example.org")), (shop, web.clone()), "others are as before");
    replace(&backsoon.path("blog/page.html"), "<title>x</title>\n{{ nobody }}");
    wait_for_page("the bad page", || !problems(&backsoon, "blog/page.html").is_empty());
    let found = problems(&backsoon, "blog/page.html");
    assert!(found[0]["severity"] == "error" && found[0]["line"] == 2, "{found:?}");
    let output = run(backsoon.dir.path(), &["check"]);
    assert!(output.status.code() == Some(64) && told(&output).contains("blog/page.html:2"), "{}", told(&output));
    // The others are not kept by it.
    replace(&backsoon.path("pages/messages/en.toml"), "check-again = \"Try once more\"\n");
    wait_for_page("the new words", || html(&backsoon, "shop.example.com").contains("Try once more"));
    assert!(html(&backsoon, "any.example.org").contains("Try once more"));
    assert!(html(&backsoon, "blog.example.com").contains("Two of Blog"), "the last good one stays");
    assert_ne!(version("any.example.org"), web);
    replace(&backsoon.path("blog/page.html"), &blog("Three"));
    wait_for_page("the good page", || html(&backsoon, "blog.example.com").contains("Three of Blog"));
    assert_eq!(problems(&backsoon, "blog/page.html"), [] as [Value; 0]);
    // A route that loses its page has the general one.
    replace(&backsoon.path("backsoon.toml"), &config(&ROUTES.replace("page = \"shop\"", "")));
    wait_for_page("the new config", || {
        get(&backsoon, "shop.example.com", "/api", &["accept: text/html"]).body.contains("Example")
    });
    assert!(html(&backsoon, "shop.example.com").contains("Shop"));
}

#[test]
fn what_is_wrong_with_the_page_of_a_route_is_told_of_that_route() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    let check = |routes: &str| {
        fs::write(dir.path().join("backsoon.toml"), config(routes)).unwrap();
        let output = run(dir.path(), &["check"]);
        (output.status.code(), told(&output))
    };
    let (code, found) = check(ROUTES);
    assert!(code == Some(0) && !found.contains("warning"), "{found}");
    let (code, found) = check(&ROUTES.replace("[\"de\", \"en\"]", "[\"de\", \"sv\"]"));
    assert_eq!(code, Some(64), "{found}");
    assert!(found.contains("the language `sv` has no messages (page of route `blog`)"), "{found}");
    let (code, found) = check(&ROUTES.replace("\"shop.svg\"", "\"shop.txt\""));
    assert!(code == Some(64) && found.contains("shop.txt"), "{found}");
    let (_, found) = check(&ROUTES.replace("pages = \"blog\"", "pages = \"nowhere\""));
    assert!(found.contains("no directory") && found.contains("(page of route `blog`)"), "{found}");
    fs::write(dir.path().join("blog/site.html"), "x").unwrap();
    fs::write(dir.path().join("blog/pgae.html"), "x").unwrap();
    let (code, found) = check(ROUTES);
    assert!(code == Some(0) && found.contains("the status site looks the same for all routes"), "{found}");
    assert!(found.contains("did you mean `page.html`?"), "{found}");
}

#[test]
fn render_and_explain_know_the_page_of_a_route() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    for (arguments, words, others) in [
        (&["render", "--route", "shop"][..], "Shop", "Example"),
        (&["render", "--route", "shop", "--sample", "full"], "Shop", "Example"),
        (&["render", "--route", "shop-api", "--sample", "full"], "Shop", "Example"),
        (&["render", "--sample", "full"], "Example", "Shop"),
        (&["render", "--route", "blog", "--lang", "en"], "One of Blog, en", "Example"),
    ] {
        let output = run(dir.path(), arguments);
        let page = String::from_utf8(output.stdout).unwrap();
        assert!(page.contains(words) && !page.contains(others), "{arguments:?}: {page}");
    }
    let output = run(dir.path(), &["render", "--route", "blog", "--lang", "fr"]);
    assert!(!output.status.success() && told(&output).contains("fr"), "{}", told(&output));
    let output = run(dir.path(), &["explain", "http://blog.example.com/", "-H", "Accept: text/html"]);
    assert!(told(&output).contains("maintenance page of route `blog`, as html in de"), "{}", told(&output));
}

#[test]
fn a_template_may_show_the_route_and_its_host() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    let template = "<title>{{ title }}</title><p>{{ brand.name }}: {{ route }} at {{ host or \"several\" }}.";
    fs::write(dir.path().join("pages/page.html"), template).unwrap();
    let backsoon = Backsoon::start_in(dir, &config(ROUTES));
    let shown = |host: &str, path: &str| get(&backsoon, host, path, &["accept: text/html"]).body;
    assert!(shown("shop.example.com", "/").contains("Shop: shop at shop.example.com."));
    assert!(shown("shop.example.com", "/api").contains("Shop: shop-api at shop.example.com."));
    assert!(shown("any.example.org", "/").contains("Example: web at several."));
    assert!(shown("blog.example.com", "/").contains("One of Blog, de"), "a page that shows neither");
    let output = run(backsoon.dir.path(), &["render", "--route", "shop-api"]);
    assert!(told(&output).contains("Shop: shop-api at shop.example.com."), "{}", told(&output));
}

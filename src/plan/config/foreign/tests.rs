//! First guesses of people who know other proxies, and the help that each gets.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use super::super::parse;
use super::lack::Lack;
use super::words::WORDS;
use super::{Answer, normal};

/// Places in the config where a guess is written: at the top, in a listener, in a route.
const TOP: &str = "{}\n[[listen]]\naddress = \"127.0.0.1:8080\"\n[routes.web]\nupstream = \"http://127.0.0.1:3000\"\n";
const LISTENER: &str =
    "[[listen]]\naddress = \"127.0.0.1:8080\"\n{}\n[routes.web]\nupstream = \"http://127.0.0.1:3000\"\n";
const ROUTE: &str =
    "[[listen]]\naddress = \"127.0.0.1:8080\"\n[routes.web]\nupstream = \"http://127.0.0.1:3000\"\n{}\n";

/// Guesses, with where they are written and a part of the help.
const GUESSES: &[(&str, &str, &str)] = &[
    // nginx
    (ROUTE, "proxy_pass = \"http://127.0.0.1:3000\"", "did you mean `upstream`?"),
    (ROUTE, "server_name = \"a.example\"", "did you mean `host`?"),
    (ROUTE, "location = \"/app\"", "did you mean `path`?"),
    (TOP, "server = { listen = 80 }", "`upstream` does that: write it under a `[routes.NAME]` line"),
    (TOP, "ssl_certificate = \"a.pem\"", "`tls` does that: write it under a `[[listen]]` line"),
    (LISTENER, "ssl_certificate_key = \"a.pem\"", "did you mean `tls`?"),
    (LISTENER, "ssl_protocols = \"TLSv1.3\"", "`min_version` does that: write it inside of `tls`"),
    (LISTENER, "ssl_ciphers = \"HIGH\"", "docs/beside.md#ciphers"),
    (LISTENER, "ssl_client_certificate = \"ca.pem\"", "`client_ca` does that: write it inside of `tls`"),
    (ROUTE, "client_max_body_size = \"20m\"", "`body_size` does that: write it inside of `limits`"),
    (ROUTE, "proxy_read_timeout = \"60s\"", "`first_byte` does that: write it inside of `limits`"),
    (ROUTE, "proxy_connect_timeout = \"5s\"", "`connect` does that"),
    (TOP, "worker_processes = \"auto\"", "did you mean `workers`?"),
    (TOP, "worker_connections = 1024", "`connections` does that: write it under a `[limits]` line"),
    (TOP, "keepalive_timeout = 65", "`keep_alive` does that: write it under a `[limits]` line"),
    (TOP, "set_real_ip_from = \"10.0.0.0/8\"", "did you mean `trusted_proxies`?"),
    (TOP, "access_log = \"a.log\"", "`access` does that: write it under a `[log]` line"),
    (TOP, "error_log = \"a.log\"", "`level` does that: write it under a `[log]` line"),
    (TOP, "gzip = true", "backsoon does not compress responses; "),
    (ROUTE, "try_files = \"$uri\"", "backsoon serves no files; "),
    (ROUTE, "root = \"/srv/www\"", "backsoon serves no files; "),
    (ROUTE, "proxy_cache = \"one\"", "backsoon does not cache; "),
    (ROUTE, "proxy_buffering = \"off\"", "they stream both ways"),
    (ROUTE, "limit_req = \"zone\"", "backsoon does not limit rates; "),
    (ROUTE, "auth_basic = \"Staff\"", "backsoon does not log people in; "),
    (ROUTE, "fastcgi_pass = \"unix:/run/php.sock\"", "backsoon speaks HTTP to upstreams; "),
    (ROUTE, "error_page = \"502 /50x.html\"", "did you mean `errors`?"),
    (ROUTE, "allow = \"10.0.0.0/8\"", "who passes a closed route"),
    (ROUTE, "stripPrefix = \"/app\"", "did you mean `strip_prefix`?"),
    (ROUTE, "proxy_redirect = true", "did you mean `rewrite_answers`?"),
    (ROUTE, "rewrite = \"^/a /b\"", "does not rewrite by patterns"),
    (ROUTE, "return = 301", "`redirect = \"https://www.example.com\"`"),
    (ROUTE, "respond = 200", "answers nothing of its own"),
    (ROUTE, "proxy_http_version = \"1.1\"", "did you mean `http2`?"),
    (ROUTE, "proxy_ssl_verify = \"off\"", "an upstream's certificate is always checked"),
    // HAProxy
    (TOP, "frontend = { bind = \":80\" }", "a listener is `[[listen]]`"),
    (LISTENER, "bind = \":80\"", "a listener is `[[listen]]`"),
    (TOP, "backend = { server = \"a\" }", "`upstream` does that"),
    (ROUTE, "backend = \"http://127.0.0.1:3000\"", "did you mean `upstream`?"),
    (ROUTE, "balance = \"roundrobin\"", "the less busy one of two upstreams"),
    (ROUTE, "timeout-server = \"30s\"", "`first_byte` does that"),
    (TOP, "maxconn = 2000", "`connections` does that"),
    (ROUTE, "option-httpchk = \"/up\"", "did you mean `health`?"),
    (ROUTE, "acl = \"host a\"", "a route is chosen by its keys"),
    // Caddy
    (ROUTE, "reverse_proxy = \"127.0.0.1:3000\"", "did you mean `upstream`?"),
    (ROUTE, "encode = \"zstd gzip\"", "docs/beside.md#compression"),
    (ROUTE, "file_server = true", "docs/beside.md#static-files"),
    (ROUTE, "basic_auth = { a = \"b\" }", "docs/beside.md#log-in"),
    (TOP, "email = \"ops@example.com\"", "backsoon does not get certificates; "),
    (TOP, "acme = true", "let certbot or lego write the files"),
    (ROUTE, "tls_insecure_skip_verify = true", "name the root of your own"),
    (ROUTE, "health_uri = \"/up\"", "did you mean `health`?"),
    (ROUTE, "lb_policy = \"first\"", "`sticky` keeps clients to one"),
    (ROUTE, "ip_hash = true", "did you mean `sticky`?"),
    (ROUTE, "dns_refresh_rate = \"5s\"", "`dns_ttl` does that: write it under a `[limits]` line"),
    (ROUTE, "slowstart = \"30s\"", "did you mean `slow_start`?"),
    (ROUTE, "session_cookie = \"sid\"", "did you mean `sticky`?"),
    (ROUTE, "cookie = \"SERVERID insert indirect nocache\"", "did you mean `sticky`?"),
    (ROUTE, "sticky = { name = \"sid\" }", "did you mean `cookie`?"),
    (ROUTE, "sticky = { cookie = \"sid\", httpOnly = true }", "always `HttpOnly`"),
    (ROUTE, "sticky = { cookie = \"sid\", maxAge = 60 }", "did you mean `max_age`?"),
    (ROUTE, "php_fastcgi = \"127.0.0.1:9000\"", "nginx with php-fpm"),
    // Traefik
    (TOP, "entryPoints = { web = { address = \":80\" } }", "a listener is `[[listen]]`"),
    (ROUTE, "rule = \"Host(`a.example`)\"", "a route is chosen by its keys"),
    (ROUTE, "middlewares = [\"a\"]", "backsoon has no middlewares"),
    (ROUTE, "loadBalancer = { servers = [] }", "did you mean `upstream`?"),
    (ROUTE, "passHostHeader = true", "did you mean `keep_host`?"),
    (ROUTE, "certResolver = \"le\"", "docs/beside.md#certificates-by-acme"),
    (ROUTE, "rateLimit = { average = 10 }", "docs/beside.md#rate-limits"),
    (ROUTE, "forwardAuth = { address = \"a\" }", "docs/beside.md#log-in"),
    (TOP, "providers = { docker = {} }", "backsoon does not discover services"),
    (TOP, "accessLog = {}", "`access` does that"),
    (ROUTE, "healthCheck = { path = \"/up\", interval = \"3s\" }", "did you mean `health`?"),
    // Kamal
    (ROUTE, "app_port = 3000", "the address has it"),
    (ROUTE, "hosts = [\"a.example\"]", "did you mean `host`?"),
    (ROUTE, "ssl = true", "`tls` does that: write it under a `[[listen]]` line"),
    (ROUTE, "response_timeout = 10", "`first_byte` does that"),
    (ROUTE, "healthcheck = { path = \"/up\" }", "did you mean `health`?"),
    (ROUTE, "buffering = { requests = true }", "never buffers bodies"),
    (ROUTE, "headers = { X-A = \"1\" }", "`response = { set = { … } }` for clients"),
    (ROUTE, "maintenance_file = \"/srv/on\"", "did you mean `switch`?"),
    (TOP, "import = \"sites/*\"", "did you mean `include`?"),
    (TOP, "env = \"a\"", "strings take variables"),
    (ROUTE, "proxy_set_header = 1", "did you mean `request`?"),
    (ROUTE, "add_header = 1", "did you mean `response`?"),
    (TOP, "hsts = true", "`response` does that: write it under a `[routes.NAME]` line"),
    (ROUTE, "forward_headers = true", "`trusted_proxies` does that: write it above the first `[…]` line"),
    (ROUTE, "path_prefix = \"/app\"", "did you mean `path`?"),
    (ROUTE, "redirect_regex = { to = \"a\" }", "did you mean `redirect`?"),
    (LISTENER, "force_https = true", "`redirect = \"https\"` under its `[[listen]]` line"),
    (ROUTE, "redirectScheme = { scheme = \"https\" }", "`redirect = \"https\"` under its `[[listen]]` line"),
    // Others
    (ROUTE, "timeout = \"30s\"", "each step has its own time below `[limits]`"),
    (ROUTE, "retries = 3", "there is no key"),
    (ROUTE, "websocket = true", "WebSockets pass without a key"),
    (ROUTE, "tls_skip_verify = true", "name the root of your own"),
    (ROUTE, "cors = { origins = \"*\" }", "let the app do it"),
    (ROUTE, "waf = true", "inspects no content"),
    (ROUTE, "body_size = \"1MB\"", "write it inside of `limits`"),
    (ROUTE, "health = { get = \"/up\", interval = \"3s\", timeout = \"1s\" }", "did you mean `every`?"),
];

#[test]
fn first_guesses_of_other_proxies_users_get_the_help_that_fits() {
    let mut wrong = Vec::new();
    for (place, guess, help) in GUESSES {
        let (_, problems) = parse("backsoon.toml", &place.replace("{}", guess));
        let helps: Vec<String> = problems.iter().filter_map(|problem| problem.help.clone()).collect();
        if !helps.iter().any(|other| other.contains(help)) || helps.iter().any(|other| other.contains("has a dot")) {
            wrong.push(format!("{guess}: {help}: {problems:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_key_that_a_word_leads_to_exists_and_no_word_is_that_key_itself() {
    for (words, answer) in WORDS {
        if let Answer::Key(table, key) = answer {
            assert!(table.has(key), "{key}");
            assert!(!words.split(' ').any(|word| table.has(word)), "a key is among the words: {words}");
        }
    }
}

#[test]
fn a_word_has_one_answer_besides_those_of_single_tables() {
    let mut seen = HashSet::new();
    let general = WORDS.iter().filter(|(_, answer)| !matches!(answer, Answer::Own(_)));
    for word in general.flat_map(|(words, _)| words.split(' ')) {
        assert!(seen.insert(word), "{word} is there twice");
        assert_eq!(normal(word), word, "a word is written as it is looked up");
    }
}

#[test]
fn what_is_not_done_stands_in_the_document() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/beside.md");
    let document = fs::read_to_string(path).expect("the document");
    let headings: Vec<&str> = document.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let anchor = |heading: &str| {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-'));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    let anchors: HashSet<String> = headings.iter().map(|heading| anchor(heading)).collect();
    let expected: HashSet<String> = Lack::ALL.iter().map(|lack| lack.anchor().to_owned()).collect();
    assert_eq!(anchors, expected);
}

//! The contenders' configs: one worker each, and the same features as far as they go.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use crate::contenders::{Setup, free_port};
use crate::nursery::Nursery;

/// Ports on which a contender listens; 0 for a protocol that it does not speak.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ports {
    /// HTTP/1.1 in clear text.
    pub(crate) clear: u16,
    /// HTTP/2 in clear text, by prior knowledge.
    pub(crate) h2c: u16,
    /// TLS, HTTP/1.1 and HTTP/2 by ALPN.
    pub(crate) tls: u16,
}

impl Ports {
    /// # Errors
    /// If the kernel has none to give.
    pub(crate) fn free() -> io::Result<Self> {
        Ok(Self { clear: free_port()?, h2c: free_port()?, tls: free_port()? })
    }
}

/// Path of a route under maintenance. The page has 18 KB, or 6 to 7 KB compressed.
pub(crate) const PAGE: &str = "/page";

/// Table of the contenders' features. The first column names the feature.
pub(crate) const FEATURES: [[&str; 7]; 11] = [
    ["", "backsoon", "nginx", "haproxy", "caddy", "traefik", "envoy"],
    ["workers", "1", "1", "1 thread", "GOMAXPROCS=1", "GOMAXPROCS=1", "1 thread that serves"],
    ["keep-alive to clients and upstream", "yes", "yes", "yes", "yes", "yes", "yes"],
    ["X-Forwarded-For, -Proto, -Host, Forwarded", "yes", "yes", "yes", "yes", "without Forwarded", "yes"],
    ["request id to the upstream and on the response", "yes", "yes", "yes", "yes", "no", "yes"],
    [
        "client's forwarding fields replaced unless trusted",
        "yes",
        "partly (For is appended)",
        "partly (For is appended)",
        "yes",
        "yes",
        "partly (For is appended)",
    ],
    ["time-outs on both sides", "yes", "yes", "yes", "yes", "yes", "yes"],
    ["metrics per route and upstream", "yes", "no", "counters per proxy", "no", "no", "counters"],
    ["maintenance decision per request, with drain", "yes", "a location", "an ACL", "no", "no", "no"],
    ["path normalisation and smuggling checks", "yes", "own", "own", "own", "own", "own"],
    ["access log", "off", "off", "off", "off", "off", "off"],
];

/// Returns backsoon's config: the defaults, so without an access log.
pub(crate) fn backsoon(setup: &Setup<'_>, ports: Ports, (workers, flags): (usize, &Path)) -> String {
    let Setup { nursery, upstream, .. } = setup;
    let (cert, key) = (nursery.path("cert.pem"), nursery.path("key.pem"));
    format!(
        r#"maintenance = "{flags}"
workers = {workers}
[[listen]]
address = "127.0.0.1:{clear}"
[[listen]]
address = "127.0.0.1:{tls}"
tls = {{ cert = "{cert}", key = "{key}" }}
[admin]
address = "127.0.0.1:0"
[routes.web]
upstream = "http://{upstream}"
[routes.page]
path = "{PAGE}"
upstream = "http://{upstream}"
"#,
        flags = flags.display(),
        clear = ports.clear,
        tls = ports.tls,
        cert = cert.display(),
        key = key.display(),
    )
}

/// Flag file with a bare switch, whose page does not change with time.
pub(crate) fn flags() -> &'static str {
    "[routes]\npage = \"offline\"\n"
}

/// Returns nginx's config.
pub(crate) fn nginx(setup: &Setup<'_>, ports: Ports) -> String {
    let Setup { nursery, configs, upstream, .. } = setup;
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let temp = |name: &str| nursery.path(name).display().to_string();
    format!(
        r#"{user}
worker_processes 1; daemon off; pid {pid}; error_log {log} crit; worker_rlimit_nofile 65536;
events {{ worker_connections 32768; }}
http {{
  access_log off; server_tokens off;
  client_body_temp_path {body}; proxy_temp_path {proxy};
  fastcgi_temp_path {fastcgi}; uwsgi_temp_path {uwsgi}; scgi_temp_path {scgi};
  keepalive_requests 100000000; keepalive_timeout 75s;
  client_header_timeout 10s; client_body_timeout 60s; send_timeout 60s;
  sendfile on; tcp_nopush on; open_file_cache max=100 inactive=1h; open_file_cache_valid 1m;
  types {{ text/html html; }}
  ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;
  upstream u {{ server {upstream}; keepalive 512; keepalive_requests 100000000; keepalive_timeout 60s; }}
  server {{
    listen 127.0.0.1:{clear} reuseport backlog=4096;
    listen 127.0.0.1:{h2c} http2 reuseport;
    listen 127.0.0.1:{tls} ssl http2 reuseport backlog=4096;
    location / {{
      proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_connect_timeout 5s; proxy_read_timeout 60s; proxy_send_timeout 60s;
      proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header Forwarded "for=$remote_addr;host=$http_host;proto=$scheme";
      proxy_set_header X-Request-Id $request_id; add_header X-Request-Id $request_id always;
    }}
    {page}
  }}
}}
"#,
        pid = temp("nginx.pid"),
        log = temp("nginx-error.log"),
        body = temp("body"),
        proxy = temp("proxy"),
        fastcgi = temp("fastcgi"),
        uwsgi = temp("uwsgi"),
        scgi = temp("scgi"),
        cert = temp("cert.pem"),
        key = temp("key.pem"),
        clear = ports.clear,
        h2c = ports.h2c,
        tls = ports.tls,
        page = nginx_page(PAGE, configs),
    )
}

/// Serves a page from a file, kept open and sent by sendfile. By measurement, a page held in variables costs as much.
fn nginx_page(path: &str, configs: &Path) -> String {
    let file = configs.join(format!("{}.html", path.trim_start_matches('/')));
    let location = format!("location = {path} {{ error_page 503 /at{path}.html; return 503; }}");
    format!("{location}\n    location = /at{path}.html {{ internal; alias {}; {NGINX_PAGE} }}", file.display())
}

/// Returns haproxy's config. haproxy wants two descriptors for each connection that it may have.
pub(crate) fn haproxy(setup: &Setup<'_>, ports: Ports) -> String {
    let Setup { nursery, configs, upstream, most_connections, .. } = setup;
    let mut pages = String::new();
    let file = |end: &str| configs.join(format!("{}.html{end}", PAGE.trim_start_matches('/')));
    for (end, coding) in [(".gz", " hdr Content-Encoding gzip"), ("", "")] {
        let only = if coding.is_empty() { "" } else { " { req.hdr(accept-encoding) -m sub gzip }" };
        let file = file(end).display().to_string();
        let _ = writeln!(
            pages,
            "  http-request return status 503 content-type \"text/html; charset=utf-8\" \
             file {file}{coding} {HAPROXY_PAGE} if {{ path {PAGE} }}{only}"
        );
    }
    format!(
        r#"global
  nbthread 1
  maxconn {most_connections}
  tune.h2.max-concurrent-streams 100
  # What it answers from a file must fit.
  tune.bufsize 32768
defaults
  mode http
  timeout connect 5s
  timeout client 75s
  timeout server 60s
  timeout http-request 10s
  timeout http-keep-alive 75s
  option forwardfor
  http-reuse always
frontend f
  bind 127.0.0.1:{clear} backlog 4096
  bind 127.0.0.1:{h2c} proto h2
  bind 127.0.0.1:{tls} ssl crt {pem} alpn h2,http/1.1 backlog 4096
  unique-id-format %{{+X}}o%ci%cp%fi%fp%Ts%rt%pid
  unique-id-header X-Request-Id
{pages}  http-request set-header X-Forwarded-Proto http if !{{ ssl_fc }}
  http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header Forwarded for=%[src];host=%[req.hdr(host)];proto=http
  http-response set-header X-Request-Id %[unique-id]
  default_backend b
backend b
  server u {upstream}
"#,
        clear = ports.clear,
        h2c = ports.h2c,
        tls = ports.tls,
        pem = nursery.path("both.pem").display(),
    )
}

/// Writes a certificate for 127.0.0.1, in the forms that the contenders read.
///
/// # Errors
/// If it cannot be made or written.
pub(crate) fn write_certificate(nursery: &Nursery) -> io::Result<()> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]);
    let made = made.map_err(io::Error::other)?;
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    fs::write(nursery.path("cert.der"), made.cert.der())?;
    fs::write(nursery.path("cert.pem"), &cert)?;
    fs::write(nursery.path("key.pem"), &key)?;
    fs::write(nursery.path("both.pem"), format!("{cert}{key}"))
}

/// Header fields of backsoon's page.
const NGINX_PAGE: &str = r#"charset utf-8; gzip_static on; etag off; if_modified_since off;
      add_header Retry-After 63 always; add_header Cache-Control no-store always; 
      add_header Vary 'accept, accept-encoding, accept-language, origin' always; add_header Refresh 63 always;
      add_header X-Content-Type-Options nosniff always; add_header Content-Language en always;
      add_header Content-Security-Policy "default-src 'none'; style-src 'sha256-x'; script-src 'sha256-x'" always;
      add_header X-Request-Id $request_id always;
      add_header Proxy-Status 'nginx; error=proxy_internal_response; details="maintenance"' always;"#;
const HAPROXY_PAGE: &str = "hdr Retry-After 63 hdr Cache-Control no-store hdr X-Request-Id %[unique-id] hdr Refresh 63 \
                            hdr Vary 'accept, accept-encoding, accept-language, origin' hdr Content-Language en \
                            hdr X-Content-Type-Options nosniff \
                            hdr Content-Security-Policy \"default-src 'none'; style-src 'sha256-x'; script-src 'sha256-x'\" \
                            hdr Proxy-Status \"haproxy; error=proxy_internal_response; details=maintenance\"";

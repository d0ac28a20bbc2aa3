//! Tasks that backsoon leaves to others, and what to put beside it. `docs/beside.md` says more about each.

/// Task of other proxies that backsoon leaves to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    Acme,
    AccessRules,
    Buffering,
    Cache,
    Ciphers,
    Compression,
    Cors,
    Discovery,
    Languages,
    LogIn,
    Middlewares,
    Mirroring,
    OtherProtocols,
    Http3,
    OwnAnswers,
    RateLimits,
    Rewriting,
    Scripts,
    StaticFiles,
    Tracing,
    Waf,
}

impl Lack {
    /// Every task.
    #[cfg(test)]
    pub(super) const ALL: [Self; 21] = [
        Self::Acme,
        Self::AccessRules,
        Self::Buffering,
        Self::Cache,
        Self::Ciphers,
        Self::Compression,
        Self::Cors,
        Self::Discovery,
        Self::Languages,
        Self::LogIn,
        Self::Middlewares,
        Self::Mirroring,
        Self::OtherProtocols,
        Self::Http3,
        Self::OwnAnswers,
        Self::RateLimits,
        Self::Rewriting,
        Self::Scripts,
        Self::StaticFiles,
        Self::Tracing,
        Self::Waf,
    ];

    /// Returns the correction: what is not done, what to do in its place, and where more is said.
    pub(super) fn help(self) -> String {
        let (not, beside) = self.words();
        format!("backsoon {not}; {beside} ({DOCUMENT}#{})", self.anchor())
    }

    /// Returns what backsoon does not do, and what to do in its place.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Acme => (
                "does not get certificates",
                "let certbot or lego write the files that `tls` names: it takes new ones at once",
            ),
            Self::AccessRules => (
                "refuses no clients by their address",
                "let a firewall do it; `bypass = { networks = [\"10.0.0.0/8\"] }` names who passes a closed route",
            ),
            Self::Buffering => ("never buffers bodies", "there is nothing to switch off: they stream both ways"),
            Self::Cache => ("does not cache", "put Varnish, nginx or a CDN in front of it"),
            Self::Ciphers => ("has no list of ciphers", "TLS 1.2 and 1.3 with safe ciphers are built in"),
            Self::Compression => ("does not compress responses", "let the app do it, or nginx behind it"),
            Self::Cors => (
                "answers no preflights for the app",
                "let the app do it; `response` sets fields; for the page of a closed route, `cors` of `[page]`",
            ),
            Self::Discovery => (
                "does not discover services",
                "write `upstream` by name or address, and the config anew: edits are live at once",
            ),
            Self::Languages => (
                "speaks HTTP to upstreams",
                "put a server before the program: nginx with php-fpm, gunicorn, FrankenPHP",
            ),
            Self::LogIn => ("does not log people in", "put oauth2-proxy, Authelia or nginx behind it"),
            Self::Middlewares => ("has no middlewares or plugins", "its keys stand in the route itself"),
            Self::Mirroring => ("does not mirror requests or run experiments", "put Envoy or nginx behind it"),
            Self::OtherProtocols => ("forwards HTTP alone", "put HAProxy or nginx `stream` before other protocols"),
            Self::Http3 => ("does not speak HTTP/3", "put a CDN, Caddy or nginx in front of it"),
            Self::OwnAnswers => (
                "answers nothing of its own on an open route",
                "`redirect` leads elsewhere; for the rest let the app answer, and on a closed route `always_open = [{ path = \"/up\", answer = 200 }]`",
            ),
            Self::RateLimits => {
                ("does not limit rates", "put nginx or HAProxy beside it; `[limits]` bounds what one client can hold")
            }
            Self::Rewriting => ("does not rewrite by patterns", "let the app do it, or nginx behind it"),
            Self::Scripts => ("runs no scripts on requests", "put nginx with Lua, or Envoy, behind it"),
            Self::StaticFiles => ("serves no files", "put nginx or Caddy behind it, and name that as `upstream`"),
            Self::Tracing => (
                "sends no spans",
                "the fields of a trace pass through, and `trace = true` begins one; the access log has its id",
            ),
            Self::Waf => ("inspects no content", "put a web application firewall such as Coraza in front of it"),
        }
    }

    /// Returns the heading in the document, as an anchor.
    pub(super) fn anchor(self) -> &'static str {
        match self {
            Self::Acme => "certificates-by-acme",
            Self::AccessRules => "rules-by-address",
            Self::Buffering => "buffering",
            Self::Cache => "caching",
            Self::Ciphers => "ciphers",
            Self::Compression => "compression",
            Self::Cors => "cors",
            Self::Discovery => "discovery-of-services",
            Self::Languages => "fastcgi-uwsgi-and-the-like",
            Self::LogIn => "log-in",
            Self::Middlewares => "middlewares-and-plugins",
            Self::Mirroring => "mirroring-and-experiments",
            Self::OtherProtocols => "tcp-udp-and-other-protocols",
            Self::Http3 => "http3",
            Self::OwnAnswers => "answers-of-its-own",
            Self::RateLimits => "rate-limits",
            Self::Rewriting => "rewriting",
            Self::Scripts => "scripts",
            Self::StaticFiles => "static-files",
            Self::Tracing => "tracing",
            Self::Waf => "web-application-firewall",
        }
    }
}

/// Document that says more.
const DOCUMENT: &str = "docs/beside.md";

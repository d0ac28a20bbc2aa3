//! `store` of `[status]`: where subscribers and deliveries stand.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use super::super::problem::{did_you_mean, quoted};
use super::super::read::{Report, Section, Value, did_you_mean_text};
use super::mail::{is_domain, is_label};

/// Place of subscribers and deliveries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum StoreConfig {
    /// File in the state directory, of this proxy alone.
    #[default]
    Local,
    /// Database that replicas share.
    Postgres(PostgresConfig),
}

/// PostgreSQL database.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PostgresConfig {
    /// Server.
    pub server: PostgresServer,
    /// Name of the user; `None` is the user of the process.
    pub user: Option<String>,
    /// File of the password; `None` if the server asks for none.
    pub password_file: Option<PathBuf>,
    /// Name of the database.
    pub database: String,
}

/// Way to a PostgreSQL server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PostgresServer {
    /// Unix socket in a directory.
    Socket {
        /// Directory.
        directory: PathBuf,
        /// Port, which is part of the socket's name.
        port: u16,
    },
    /// TCP.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
        /// Encryption.
        tls: PostgresTls,
    },
}

/// Encryption of the connection to a PostgreSQL server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PostgresTls {
    /// None.
    Off,
    /// TLS, with a certificate for the name of the server.
    Verified {
        /// File of the roots that sign it; `None` for those of the system.
        roots: Option<PathBuf>,
    },
}

impl fmt::Display for PostgresConfig {
    /// Writes the place as a URL, in which no secret stands.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.server {
            PostgresServer::Socket { directory, port } => {
                write!(f, "postgres:///{}?host={}&port={port}", self.database, directory.display())
            }
            PostgresServer::Tcp { host, port, .. } if host.contains(':') => {
                write!(f, "postgres://[{host}]:{port}/{}", self.database)
            }
            PostgresServer::Tcp { host, port, .. } => write!(f, "postgres://{host}:{port}/{}", self.database),
        }
    }
}

/// Reads `store` and `store_password_file`.
pub(super) fn store(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<StoreConfig> {
    let written = section.take("store");
    let password = section.take("store_password_file");
    let Some(value) = written else {
        if let Some(password) = password {
            let help = format!("name the database: `store = \"{EXAMPLE}\"`");
            report.wrong(password.key_span, "`store_password_file` has no `store`", help);
        }
        return None;
    };
    let password_file = password.and_then(|value| value.path("/run/secrets/postgres", report));
    let text = value.string(EXAMPLE, report)?;
    match parse(text) {
        Ok(parts) => {
            let parts = PostgresConfig { password_file, ..parts };
            Some(StoreConfig::Postgres(resolved(parts, &value, report)))
        }
        Err((what, help)) => {
            report.wrong(value.span, what, help);
            None
        }
    }
}

/// Resolves the paths of a URL, and warns of a connection that others can read.
fn resolved(mut config: PostgresConfig, value: &Value<'_>, report: &mut Report<'_>) -> PostgresConfig {
    let PostgresServer::Tcp { host, tls, .. } = &mut config.server else { return config };
    match tls {
        PostgresTls::Off if !is_loopback(host) => {
            let help = "remove `sslmode=disable`, unless the network to the server is your own";
            report.warn(value.span.clone(), "subscribers and their secrets go to the store in clear text", help);
        }
        PostgresTls::Verified { roots: Some(roots) } => *roots = report.resolve(&roots),
        PostgresTls::Off | PostgresTls::Verified { roots: None } => {}
    }
    config
}

/// Finding and help. The text may hold a password: neither repeats it.
type Bad = (String, String);

/// Parts of a URL before they are put together.
#[derive(Default)]
struct Parts {
    user: Option<String>,
    host: Option<String>,
    port: Option<String>,
    database: Option<String>,
    mode: Option<String>,
    roots: Option<String>,
}

/// Reads the URL of a database, as PostgreSQL's own programs do.
fn parse(text: &str) -> Result<PostgresConfig, Bad> {
    let bad = |what: &str, help: &str| (what.to_owned(), help.to_owned());
    let shape = || bad("the store is not the URL of a PostgreSQL database", &format!("write it like `{EXAMPLE}`"));
    let (scheme, rest) = text.split_once("://").ok_or_else(shape)?;
    if !["postgres", "postgresql"].contains(&scheme.to_ascii_lowercase().as_str()) || rest.contains('#') {
        return Err(shape());
    }
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, place) = authority.rsplit_once('@').map_or((None, authority), |(login, place)| (Some(login), place));
    if login.is_some_and(|login| login.contains(':')) {
        return Err(bad("the URL of the store has a password", PASSWORD_HELP));
    }
    let mut parts = Parts::default();
    put(&mut parts.user, "user", login.unwrap_or_default())?;
    put(&mut parts.database, "dbname", path)?;
    let (host, port) = host_and_port(place).ok_or_else(shape)?;
    put(&mut parts.host, "host", host)?;
    put(&mut parts.port, "port", port)?;
    for (name, word) in query.split('&').filter(|pair| !pair.is_empty()).filter_map(|pair| pair.split_once('=')) {
        put(parts.place(name)?, name, word)?;
    }
    if query.split('&').any(|pair| !pair.is_empty() && !pair.contains('=')) {
        return Err(shape());
    }
    parts.together()
}

/// Notes a decoded word; an empty one is none.
fn put(place: &mut Option<String>, name: &str, word: &str) -> Result<(), Bad> {
    if word.is_empty() {
        return Ok(());
    }
    let decoded = percent_decode_str(word).decode_utf8().map(|word| word.into_owned());
    let decoded = decoded.ok().filter(|word| !word.contains(char::is_control));
    let decoded = decoded.ok_or_else(|| {
        (format!("`{name}` in the URL of the store is no text"), "write it in UTF-8, percent-encoded".to_owned())
    })?;
    if place.replace(decoded).is_some() {
        return Err((format!("the URL of the store has two values of `{name}`"), "remove one of them".to_owned()));
    }
    Ok(())
}

/// Splits a host and its port.
fn host_and_port(place: &str) -> Option<(&str, &str)> {
    let Some(inner) = place.strip_prefix('[') else {
        return Some(place.split_once(':').unwrap_or((place, "")));
    };
    let (host, port) = inner.split_once(']')?;
    Some((host, if port.is_empty() { port } else { port.strip_prefix(':')? }))
}

impl Parts {
    /// Returns the place of a parameter.
    fn place(&mut self, name: &str) -> Result<&mut Option<String>, Bad> {
        match name {
            "host" => Ok(&mut self.host),
            "port" => Ok(&mut self.port),
            "user" => Ok(&mut self.user),
            "dbname" => Ok(&mut self.database),
            "sslmode" => Ok(&mut self.mode),
            "sslrootcert" => Ok(&mut self.roots),
            "password" => Err(("the URL of the store has a password".to_owned(), PASSWORD_HELP.to_owned())),
            other => {
                let known = ["host", "port", "user", "dbname", "sslmode", "sslrootcert"];
                let near = did_you_mean(other, known);
                let help = near.map_or_else(|| format!("known are: {}", known.join(", ")), did_you_mean_text);
                // A parameter's name is no secret, and its value is left out.
                Err((format!("the URL of the store has an unknown parameter, {}", quoted(other)), help))
            }
        }
    }

    fn together(self) -> Result<PostgresConfig, Bad> {
        let bad = |what: &str, help: &str| (what.to_owned(), help.to_owned());
        let host = self.host.clone().ok_or_else(|| {
            let help = format!("write it like `{EXAMPLE}`, or name the directory of its socket: `{SOCKET_EXAMPLE}`");
            bad("the URL of the store names no server", &help)
        })?;
        let port = self.port.as_deref().unwrap_or("5432");
        let digits = port.bytes().all(|digit| digit.is_ascii_digit());
        let port = port.parse::<u16>().ok().filter(|port| digits && *port > 0);
        let port = port.ok_or_else(|| bad("the port of the store is none", "write a number from 1 to 65535"))?;
        let database = self.database.clone().ok_or_else(|| {
            bad("the URL of the store names no database", &format!("name it behind the server: `{EXAMPLE}`"))
        })?;
        let server = if host.starts_with('/') {
            if self.mode.is_some() || self.roots.is_some() {
                let help = "remove `sslmode` and `sslrootcert`: nobody listens on a socket of this machine";
                return Err(bad("a socket is not encrypted", help));
            }
            PostgresServer::Socket { directory: host.into(), port }
        } else {
            PostgresServer::Tcp { tls: self.tls(&host)?, host: known_host(&host)?, port }
        };
        Ok(PostgresConfig { server, user: self.user, password_file: None, database })
    }

    fn tls(&self, host: &str) -> Result<PostgresTls, Bad> {
        let bad = |what: &str, help: &str| (what.to_owned(), help.to_owned());
        let roots = self.roots.clone().map(PathBuf::from);
        match self.mode.as_deref() {
            Some("disable") if roots.is_some() => {
                Err(bad("`sslrootcert` has no effect beside `sslmode=disable`", "remove one of them"))
            }
            Some("disable") => Ok(PostgresTls::Off),
            Some("verify-full") => Ok(PostgresTls::Verified { roots }),
            // Nobody listens between, and hardly any server has a certificate for these names.
            None if is_loopback(host) && roots.is_none() => Ok(PostgresTls::Off),
            None => Ok(PostgresTls::Verified { roots }),
            Some("allow" | "prefer" | "require" | "verify-ca") => {
                let help = "write `sslmode=verify-full`, which is the default, and name your own authority with \
                            `sslrootcert`; or `sslmode=disable` on a network of your own";
                Err(bad("this `sslmode` does not make sure that the store is yours", help))
            }
            Some(_) => Err(bad("the `sslmode` of the store is unknown", "write `verify-full` or `disable`")),
        }
    }
}

fn known_host(host: &str) -> Result<String, Bad> {
    let is_known = host.parse::<IpAddr>().is_ok() || is_domain(host) || is_label(host);
    if is_known {
        return Ok(host.to_ascii_lowercase());
    }
    let help = "name one server: for several, name the address that leads to the one that writes";
    Err(("the server of the store is neither a name nor an address".to_owned(), help.to_owned()))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

const EXAMPLE: &str = "postgres://backsoon@db.example.com/status";
const SOCKET_EXAMPLE: &str = "postgres:///status?host=/run/postgresql";
const PASSWORD_HELP: &str =
    "write it into a file, and name that: `store_password_file = \"/run/secrets/postgres\"`; then change the password";

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16, tls: PostgresTls) -> PostgresServer {
        PostgresServer::Tcp { host: host.to_owned(), port, tls }
    }

    fn config(server: PostgresServer, user: Option<&str>, database: &str) -> PostgresConfig {
        PostgresConfig { server, user: user.map(str::to_owned), password_file: None, database: database.to_owned() }
    }

    #[test]
    fn a_url_is_read_as_the_programs_of_postgresql_read_it() {
        let verified = |roots: Option<&str>| PostgresTls::Verified { roots: roots.map(PathBuf::from) };
        let socket = |directory: &str, port| PostgresServer::Socket { directory: directory.into(), port };
        let cases = [
            ("postgres://u@db.example.com/s", config(tcp("db.example.com", 5432, verified(None)), Some("u"), "s")),
            ("PostgreSQL://DB:6432/s", config(tcp("db", 6432, verified(None)), None, "s")),
            ("postgres://localhost/s", config(tcp("localhost", 5432, PostgresTls::Off), None, "s")),
            ("postgres://[::1]:1/s", config(tcp("::1", 1, PostgresTls::Off), None, "s")),
            ("postgres://127.0.0.1/s?sslmode=verify-full", config(tcp("127.0.0.1", 5432, verified(None)), None, "s")),
            ("postgres://10.0.0.1/s?sslmode=disable", config(tcp("10.0.0.1", 5432, PostgresTls::Off), None, "s")),
            ("postgres://db/s?sslrootcert=/ca.pem", config(tcp("db", 5432, verified(Some("/ca.pem"))), None, "s")),
            ("postgres:///s?host=/run/postgresql", config(socket("/run/postgresql", 5432), None, "s")),
            ("postgres://u%40x@%2Ftmp:7/a%20b", config(socket("/tmp", 7), Some("u@x"), "a b")),
            ("postgres://?host=db&user=u&dbname=s&port=1", config(tcp("db", 1, verified(None)), Some("u"), "s")),
        ];
        for (text, meant) in cases {
            assert_eq!(parse(text), Ok(meant), "{text}");
        }
    }

    #[test]
    fn a_bad_url_is_refused_and_no_secret_is_repeated() {
        let cases = [
            ("secret", "not the URL"),
            ("mysql://db/secret", "not the URL"),
            ("postgres://u:secret@db/s", "has a password"),
            ("postgres://u:@db/s", "has a password"),
            ("postgres://db/s?password=secret", "has a password"),
            ("postgres://db/s?secret", "not the URL"),
            ("postgres://db/s?ssl=secret", "unknown parameter"),
            ("postgres://db/s?sslmode=require", "make sure that the store is yours"),
            ("postgres://db/s?sslmode=secret", "is unknown"),
            ("postgres://db/s?sslmode=disable&sslrootcert=secret", "has no effect"),
            ("postgres:///s?host=/run&sslmode=disable", "not encrypted"),
            ("postgres://db/s?host=secret", "two values of `host`"),
            ("postgres://db", "names no database"),
            ("postgres:///s", "names no server"),
            ("postgres://a,secret/s", "neither a name nor an address"),
            ("postgres://db:0/s", "port"),
            ("postgres://db:65536/s", "port"),
            ("postgres://db:+1/s", "port"),
            ("postgres://[::1/s", "not the URL"),
            ("postgres://db/%ff", "no text"),
            ("postgres://db/a%00b", "no text"),
        ];
        for (text, told) in cases {
            let (what, help) = parse(text).expect_err(text);
            assert!(what.contains(told), "{text}: {what}");
            assert!(!what.contains("secret") && !help.replace("/run/secrets", "").contains("secret"), "{text}: {help}");
        }
    }
}

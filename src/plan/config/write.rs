//! Rights to change flags through the admin listener.

use std::net::IpAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::keys;
use super::super::problem::{did_you_mean, quoted};
use super::super::read::{Report, Section, Value, did_you_mean_text, no_hint};
use super::socket;
use super::{Account, Address, RouteConfig};

/// Rights to change flags through the admin listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdminWrite {
    /// File with the tokens.
    pub token_file: Option<PathBuf>,
    /// Names of the routes that may be changed; `None` for all.
    pub allow: Option<Vec<String>>,
    /// Users who may connect to the unix socket and need no token.
    pub peers: Vec<Account>,
    /// Names of hosts that clients reach the listener by.
    pub hosts: Vec<String>,
}

/// Reads `write` of `[admin]`. `address` is `None` if it is wrong.
pub(super) fn write(value: &Value<'_>, address: Option<&Address>, report: &mut Report<'_>) -> Option<AdminWrite> {
    let table = value.table("write = { token_file = \"/run/secrets/backsoon-tokens\" }", report)?;
    let mut section = Section::new(&keys::ADMIN_WRITE, "`write`", value.span.clone(), table);
    let token_file = section.take("token_file");
    let has_tokens = token_file.is_some();
    let token_file = token_file.and_then(|value| value.path("/run/secrets/backsoon-tokens", report));
    let allow = section.take("allow").map(|value| names(&value, "web", report));
    let peers = section.take("peers");
    if let (Some(peers), Some(Address::Ip(_))) = (&peers, address) {
        let help = "name a `token_file`, or listen on a unix socket: `address = \"unix:/run/backsoon/admin.sock\"`";
        report.wrong(peers.span.clone(), "only a unix socket tells which user connects", help);
    }
    let has_peers = peers.is_some();
    let users = peers.map(|peers| items(&peers, MOST_NAMES, report)).unwrap_or_default();
    let peers = users.iter().filter_map(|item| socket::account(item, "user", report)).collect();
    let hosts = section.take("hosts").map(|value| hosts(&value, report)).unwrap_or_default();
    section.finish(report, no_hint);
    if !has_tokens && !has_peers {
        let help = match address {
            Some(Address::Unix(_)) => "name users, `peers = [\"deploy\"]`, or a `token_file`",
            Some(Address::Ip(_)) | None => "name one: `token_file = \"/run/secrets/backsoon-tokens\"`",
        };
        report.wrong(value.span.clone(), "everybody who connects could close routes: `write` needs a token", help);
        return None;
    }
    Some(AdminWrite { token_file, allow, peers, hosts })
}

/// Warns of names that no route has.
pub(super) fn of_routes(
    write: Option<(AdminWrite, Range<usize>)>,
    routes: &[Arc<RouteConfig>],
    report: &mut Report<'_>,
) -> Option<AdminWrite> {
    let (write, span) = write?;
    let known = || routes.iter().map(|route| route.name.as_str());
    for name in write.allow.iter().flatten().filter(|name| !known().any(|known| known == *name)) {
        let help = match did_you_mean(name, known()) {
            Some(near) => did_you_mean_text(near),
            None => "name one of the `[routes]`".to_owned(),
        };
        report.warn(span.clone(), format!("`allow` names {}, and no route has this name", quoted(name)), help);
    }
    Some(write)
}

fn names(value: &Value<'_>, example: &str, report: &mut Report<'_>) -> Vec<String> {
    let items = items(value, MOST_ROUTES, report);
    items.iter().filter_map(|item| item.string(example, report)).map(str::to_owned).collect()
}

/// Returns the items of a list that has at least one, and at most so many.
fn items<'d>(value: &Value<'d>, most: usize, report: &mut Report<'_>) -> Vec<Value<'d>> {
    let items = value.one_or_more(report);
    report.at_most(most, items.len(), value.key, value.span.clone());
    items
}

/// Reads names of hosts. An address needs no entry.
fn hosts(value: &Value<'_>, report: &mut Report<'_>) -> Vec<String> {
    let mut hosts = Vec::new();
    for item in items(value, MOST_NAMES, report) {
        let Some(text) = item.string("edge-1.internal", report) else { continue };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if text.parse::<IpAddr>().is_ok() {
            report.warn(
                item.span.clone(),
                format!("{} is an address", quoted(text)),
                "remove it: each address is accepted",
            );
        } else if text.is_empty() || !text.bytes().all(is_name) {
            let help = "write the name alone, without a port: `edge-1.internal`";
            report.wrong(item.span.clone(), format!("{} is not the name of a host", quoted(text)), help);
        } else {
            hosts.push(text.to_ascii_lowercase());
        }
    }
    hosts
}

/// Names in `allow`.
const MOST_ROUTES: usize = 1024;
/// Names in `peers` and in `hosts`.
const MOST_NAMES: usize = 64;

#[cfg(test)]
mod tests {
    use super::super::parse;

    fn problems(admin: &str) -> Vec<String> {
        let text = format!(
            "[[listen]]\naddress = \"127.0.0.1:1\"\n[admin]\n{admin}\n[routes.web]\nupstream = \"http://127.0.0.1:2\"\n"
        );
        let problems = parse("backsoon.toml", &text).1;
        problems.into_iter().map(|problem| problem.message).collect()
    }

    #[test]
    fn nobody_writes_without_a_token_or_a_user_whom_the_system_names() {
        let (tcp, unix) = ("address = \"0.0.0.0:9\"\n", "address = \"unix:/run/a.sock\"\n");
        for (admin, found) in [
            (format!("{tcp}write = {{ token_file = \"t\", allow = \"web\", hosts = [\"edge-1\"] }}"), None),
            (format!("{unix}write = {{ peers = [\"root\", \"1000\"] }}"), None),
            (format!("{tcp}write = {{}}"), Some("everybody who connects could close routes")),
            (format!("{unix}write = {{ allow = \"web\" }}"), Some("everybody who connects could close routes")),
            (format!("{tcp}write = {{ peers = [\"root\"] }}"), Some("only a unix socket tells which user connects")),
            (format!("{tcp}write = {{ token_file = \"t\", allow = \"wep\" }}"), Some("`allow` names `wep`")),
            (format!("{tcp}write = {{ token_file = \"t\", hosts = \"edge:9\" }}"), Some("is not the name of a host")),
            (format!("{tcp}write = {{ token_file = \"t\", hosts = \"10.0.0.1\" }}"), Some("is an address")),
        ] {
            let told = problems(&admin);
            match found {
                None => assert!(told.is_empty(), "{told:?}"),
                Some(found) => assert!(told.iter().any(|told| told.contains(found)), "{admin}: {told:?}"),
            }
        }
    }
}

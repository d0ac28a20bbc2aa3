//! Parser of `request` and `response`.

use std::ops::Range;

use http::header::{HOST, SET_COOKIE};
use http::uri::Authority;
use http::{HeaderName, HeaderValue};

use super::super::super::key::Table;
use super::super::super::keys;
use super::super::super::problem::quoted;
use super::super::super::read::{Lines, Report, Section, Value, did_you_mean_text, in_order, list};
use super::{FieldAction, FieldChange, FieldChanges, FieldText, Piece, Reach, Variable};

/// Direction of the messages whose fields change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Direction {
    /// Requests, on their way to an upstream.
    Request,
    /// Answers, on their way to a client.
    Response,
}

/// Key under which a field is named.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Set,
    Add,
    Remove,
}

/// Reads `request = { set = { X-Name = "text" }, add = { … }, remove = ["X-Other"] }`.
pub(in super::super) fn fields(value: &Value<'_>, direction: Direction, report: &mut Report<'_>) -> FieldChanges {
    let example = format!("{} = {{ set = {{ X-Name = \"text\" }} }}", value.key);
    let Some(table) = value.table(&example, report) else { return FieldChanges::default() };
    let mut section = Section::new(direction.keys(), format!("`{}`", value.key), value.span.clone(), table);
    let set = section.take("set");
    let add = section.take("add");
    let remove = section.take("remove");
    section.finish(report, |key, inner| match key {
        "headers" | "header" => Some(format!("fields stand below `set`, `add` or `remove`: `{example}`")),
        "append" => Some(did_you_mean_text("add")),
        "delete" | "unset" | "hide" => Some(did_you_mean_text("remove")),
        _ if inner.is_str() => Some(format!("fields stand below `set`: `{example}`")),
        _ => None,
    });
    let mut reader = Reader { direction, key: value.key, changes: FieldChanges::default(), seen: Vec::new() };
    for (way, written) in [(Way::Set, set), (Way::Add, add)] {
        if let Some(written) = written {
            reader.texts(way, &written, report);
        }
    }
    if let Some(written) = remove {
        reader.removed(&written, report);
    }
    reader.changes
}

impl Direction {
    fn keys(self) -> &'static Table {
        match self {
            Self::Request => &keys::REQUEST,
            Self::Response => &keys::RESPONSE,
        }
    }
}

/// Reader of one table.
struct Reader<'k> {
    direction: Direction,
    key: &'k str,
    changes: FieldChanges,
    /// Fields that were named.
    seen: Vec<HeaderName>,
}

impl Reader<'_> {
    /// Reads `set` or `add`.
    fn texts(&mut self, way: Way, value: &Value<'_>, report: &mut Report<'_>) {
        let Some(table) = value.table(&format!("{} = {{ X-Name = \"text\" }}", value.key), report) else { return };
        report.at_most(MOST_FIELDS, table.len(), "fields", value.key_span.clone());
        for (key, item) in in_order(table).into_iter().take(MOST_FIELDS) {
            let item = Value::new(key.get_ref(), key, item);
            let Some(name) = self.name(way, item.key, &item.key_span, report) else { continue };
            let Some(text) = item.words(LONGEST_TEXT, Lines::One, report) else { continue };
            if self.direction == Direction::Request && name == HOST {
                self.changes.host = host(&item, text.trim(), report);
                continue;
            }
            let Some(text) = field_text(&item, text.trim(), report) else { continue };
            let action = if way == Way::Set { FieldAction::Set(text) } else { FieldAction::Add(text) };
            self.push(name, action);
        }
    }

    /// Reads `remove`.
    fn removed(&mut self, value: &Value<'_>, report: &mut Report<'_>) {
        let items = value.any_number();
        report.at_most(MOST_FIELDS, items.len(), "fields", value.key_span.clone());
        for item in items.iter().take(MOST_FIELDS) {
            let Some(text) = item.string("X-Name", report) else { continue };
            if let Some(name) = self.name(Way::Remove, text, &item.span, report) {
                self.push(name, FieldAction::Remove);
            }
        }
    }

    fn push(&mut self, name: HeaderName, action: FieldAction) {
        let reach = Reach::of(&name);
        self.changes.changes.push(FieldChange { name, action, reach });
    }

    /// Reads a field's name, which may be named once.
    fn name(&mut self, way: Way, text: &str, span: &Range<usize>, report: &mut Report<'_>) -> Option<HeaderName> {
        let name = HeaderName::from_bytes(text.as_bytes()).ok().filter(|_| text.len() <= LONGEST_NAME);
        let Some(name) = name else {
            let message = format!("{} is not the name of a header field", quoted(text));
            report.wrong(span.clone(), message, "write one like `X-Name`");
            return None;
        };
        if let Some(help) = refusal(self.direction, way, name.as_str()) {
            let verb = match way {
                Way::Set => "set",
                Way::Add => "add",
                Way::Remove => "remove",
            };
            report.wrong(span.clone(), format!("`{}` cannot {verb} {}", self.key, quoted(text)), help);
            return None;
        }
        if self.seen.contains(&name) {
            let message = format!("{} is named twice in `{}`", quoted(text), self.key);
            report.wrong(span.clone(), message, "a field is set, added or removed: keep one of them");
            return None;
        }
        self.seen.push(name.clone());
        Some(name)
    }
}

/// Returns the reason why a field is not the operator's to change.
fn refusal(direction: Direction, way: Way, name: &str) -> Option<&'static str> {
    let refused = match direction {
        _ if OF_CONNECTION.contains(&name) => "it belongs to one connection: the proxy writes it itself on each side",
        _ if name == "maintenance" || name == "x-maintenance" => "by this field the proxy itself tells of maintenance",
        Direction::Request if name == "host" && way != Way::Set => {
            "a request has exactly one: set it to a name, or write `keep_host = false` for the upstream's own"
        }
        Direction::Request if way == Way::Add && ONCE.contains(&name) => {
            "a request has it once at most, and nobody knows which of two an app reads: use `set`"
        }
        Direction::Response if name.starts_with("grpc-") => "it is the outcome of a call, on which gRPC clients rely",
        Direction::Response if name.starts_with("sec-websocket-") => "client and app agree by it on their WebSocket",
        Direction::Response if name == SET_COOKIE && way == Way::Set => {
            "it would replace the cookies of the app: use `add`, or `remove`"
        }
        Direction::Response if name == "content-encoding" => "it tells how the body is packed, which stays as it is",
        Direction::Response if name == "x-request-id" => "by this field the proxy tells the id of each request",
        Direction::Request | Direction::Response => return None,
    };
    Some(refused)
}

/// Reads the `Host` that upstreams get.
fn host(item: &Value<'_>, text: &str, report: &mut Report<'_>) -> Option<HeaderValue> {
    let is_plain = !text.contains(['@', '{', '}']) && Authority::try_from(text).is_ok();
    let value = HeaderValue::from_str(text).ok().filter(|_| is_plain);
    if value.is_none() {
        let help = "write a name, with a port if there is one: `app.internal:8080`";
        report.wrong(item.span.clone(), format!("{} is not a host", quoted(text)), help);
    }
    value
}

/// Reads a value, and takes it apart at its variables.
fn field_text(item: &Value<'_>, text: &str, report: &mut Report<'_>) -> Option<FieldText> {
    let Some(whole) = HeaderValue::from_str(text).ok().filter(|_| text.is_ascii()) else {
        let help = "only printable ASCII characters are allowed";
        report.wrong(item.span.clone(), format!("{} cannot be the value of a field", quoted(text)), help);
        return None;
    };
    if let Some((foreign, meant)) = FOREIGN.iter().find(|(foreign, _)| text.contains(foreign)) {
        let help = format!("write {}", quoted(meant.as_str()));
        report.wrong(item.span.clone(), format!("{} is not a variable here", quoted(foreign)), help);
        return None;
    }
    let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
    while let Some((before, braced)) = rest.split_once('{') {
        plain.push_str(before);
        let Some((word, after)) = word(braced) else {
            // A brace of something else, such as JSON.
            plain.push('{');
            rest = braced;
            continue;
        };
        let variable = variable(item, word, report)?;
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(Piece::Variable(variable));
        rest = after;
    }
    if pieces.is_empty() {
        return Some(FieldText::Fixed(whole));
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Some(FieldText::Pieces(pieces))
}

/// Returns the word that a brace closes at once, and the text after it.
fn word(braced: &str) -> Option<(&str, &str)> {
    let (word, after) = braced.split_once('}')?;
    let begins = word.starts_with(|first: char| first.is_ascii_alphabetic());
    let is_word = word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    (begins && is_word).then_some((word, after))
}

fn variable(item: &Value<'_>, word: &str, report: &mut Report<'_>) -> Option<Variable> {
    let written = format!("{{{word}}}");
    let found = Variable::ALL.into_iter().find(|variable| variable.as_str() == written);
    if found.is_none() {
        let all = Variable::ALL.map(Variable::as_str);
        let help = match ALIASES.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(word)) {
            Some((_, meant)) => did_you_mean_text(meant.as_str()),
            None => format!("the variables are {}", list(&all, "and")),
        };
        report.wrong(item.span.clone(), format!("unknown variable {}", quoted(&written)), help);
    }
    found
}

/// Fields that frame a message, or end at one connection (RFC 9110 section 7.6.1).
const OF_CONNECTION: [&str; 13] = [
    "connection",
    "content-length",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Fields of a request that it has once at most.
const ONCE: [&str; 16] = [
    "authorization",
    "content-type",
    "cookie",
    "forwarded",
    "from",
    "origin",
    "referer",
    "traceparent",
    "user-agent",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-maintenance",
    "x-real-ip",
    "x-request-id",
];

/// Variables as other proxies write them, the longer ones first.
const FOREIGN: [(&str, Variable); 11] = [
    ("$realip_remote_addr", Variable::ClientIp),
    ("$remote_addr", Variable::ClientIp),
    ("$proxy_add_x_forwarded_for", Variable::ClientIp),
    ("$http_host", Variable::Host),
    ("$host", Variable::Host),
    ("$server_name", Variable::Host),
    ("$scheme", Variable::Scheme),
    ("$request_id", Variable::RequestId),
    ("%[src]", Variable::ClientIp),
    ("%[req.hdr(host)]", Variable::Host),
    ("%[unique-id]", Variable::RequestId),
];

/// Names of variables elsewhere.
const ALIASES: [(&str, Variable); 17] = [
    ("remote_addr", Variable::ClientIp),
    ("remote_ip", Variable::ClientIp),
    ("remote_host", Variable::ClientIp),
    ("remote", Variable::ClientIp),
    ("client", Variable::ClientIp),
    ("ip", Variable::ClientIp),
    ("clientip", Variable::ClientIp),
    ("http.request.remote.host", Variable::ClientIp),
    ("http.request.host", Variable::Host),
    ("hostname", Variable::Host),
    ("hostport", Variable::Host),
    ("proto", Variable::Scheme),
    ("http.request.scheme", Variable::Scheme),
    ("id", Variable::RequestId),
    ("http.request.uuid", Variable::RequestId),
    ("route_name", Variable::Route),
    ("traceid", Variable::TraceId),
];

/// Fields below each of `set`, `add` and `remove`.
const MOST_FIELDS: usize = 64;
const LONGEST_NAME: usize = 255;
/// Bytes of a value, before its variables are replaced.
const LONGEST_TEXT: usize = 4096;

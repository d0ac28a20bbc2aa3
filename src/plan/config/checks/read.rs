//! Parser of checks.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use regex_lite::{Regex, RegexBuilder};
use toml::de::DeValue;

use super::super::super::key::Table;
use super::super::super::keys;
use super::super::super::problem::quoted;
use super::super::super::read::{Lines, Report, Section, Value, did_you_mean_text, in_order};
use super::super::values;
use super::{BodyPattern, Check, GrpcProbe, HealthCheck, HttpProbe, Probe, Quorum, Statuses};

/// Reads the checks of a route.
pub(in crate::plan::config) fn verify(value: &Value<'_>, report: &mut Report<'_>) -> Vec<Check> {
    let items = value.one_or_more(report);
    report.at_most(MOST_CHECKS, items.len(), "checks", value.key_span.clone());
    let kind = (&keys::CHECK, "verify");
    items.iter().take(MOST_CHECKS).filter_map(|item| Some(check(item, kind, report)?.check)).collect()
}

/// Reads the health checks of a route.
pub(in crate::plan::config) fn health(value: &Value<'_>, report: &mut Report<'_>) -> Vec<HealthCheck> {
    let items = value.one_or_more(report);
    report.at_most(MOST_CHECKS, items.len(), "checks", value.key_span.clone());
    let kind = (&keys::HEALTH, "health");
    items.iter().take(MOST_CHECKS).filter_map(|item| check(item, kind, report)).collect()
}

/// Reads the `quorum` of a route with this many upstreams.
pub(in crate::plan::config) fn quorum_of(
    section: &mut Section<'_>,
    upstreams: usize,
    report: &mut Report<'_>,
) -> Quorum {
    let Some(value) = section.take("quorum") else { return Quorum::default() };
    if !section.has("verify") {
        let help = "say what must pass: `verify = [{ get = \"/healthz\" }]`";
        report.wrong(value.key_span.clone(), "`quorum` needs `verify`", help);
    }
    quorum(&value, upstreams, report).unwrap_or_default()
}

/// Reads `"all"` or a number of upstreams.
fn quorum(value: &Value<'_>, upstreams: usize, report: &mut Report<'_>) -> Option<Quorum> {
    if matches!(value.inner, DeValue::String(text) if text == "all") {
        return Some(Quorum::All);
    }
    if !value.inner.is_integer() {
        let help = "write `quorum = \"all\"`, or how many upstreams must pass";
        value.mistyped("`\"all\"` or a number", help, report);
        return None;
    }
    let number = usize::try_from(value.count(1, MOST_UPSTREAMS, report)?).ok()?;
    if number > upstreams {
        let message = format!("`quorum` asks for {number} upstreams, and the route has {upstreams}");
        report.warn(value.span.clone(), message, "all of them must pass then: write `\"all\"`");
    }
    Some(Quorum::AtLeast(number))
}

/// Reads a check by its table of keys, which goes by a name.
fn check(value: &Value<'_>, (keys, name): (&'static Table, &str), report: &mut Report<'_>) -> Option<HealthCheck> {
    let table = value.table(&format!("{name} = [{{ get = \"/healthz\", expect = 200 }}]"), report)?;
    let mut section = Section::new(keys, quoted(name), value.span.clone(), table);
    let question = Question::take(&mut section, report);
    let conditions = Conditions::take(&mut section, report);
    let within = section.take("within").and_then(|value| values::duration(&value, report)).unwrap_or(DEFAULT_WITHIN);
    let faster_than = section.take("faster_than").and_then(|value| faster_than(&value, within, report));
    let times = section.take("times").and_then(|value| value.count(1, MOST_TIMES, report));
    let every = section.take("every").and_then(|value| values::duration(&value, report));
    let regions = section.take("region").map(|value| regions(&value, report)).unwrap_or_default();
    let fails = if keys.has("fails") { section.take("fails") } else { None };
    let fails = fails.and_then(|value| value.count(1, MOST_TIMES, report));
    let is_asked = !question.asked.is_empty();
    section.finish(report, |key, _| matches!(key, "path" | "url").then(|| did_you_mean_text("get")));
    if !is_asked && !["path", "url", "Get", "GET"].iter().any(|key| table.contains_key(*key)) {
        let help = "say which path is asked for: `get = \"/healthz\"`; or `tcp = true`, or `grpc = \"service\"`";
        report.wrong(value.span.clone(), format!("{} has no `get`", quoted(name)), help);
    }
    let small = |number: u64| u32::try_from(number).ok();
    let check = Check {
        probe: probe(question, conditions, report)?,
        within,
        faster_than,
        times: times.and_then(small).unwrap_or(1),
        every: every.unwrap_or(DEFAULT_EVERY),
        regions,
    };
    Some(HealthCheck { check, fails: fails.and_then(small).unwrap_or(DEFAULT_FAILS) })
}

/// Keys that say what is asked.
struct Question<'d> {
    get: Option<String>,
    grpc: Option<String>,
    /// The keys that are written, in the order of the table.
    asked: Vec<Value<'d>>,
    method: Option<(Method, Value<'d>)>,
    host: Option<String>,
    fields: Option<(Vec<(HeaderName, HeaderValue)>, Value<'d>)>,
    send: Option<(String, Value<'d>)>,
    follow: Option<(u64, Value<'d>)>,
}

impl<'d> Question<'d> {
    fn take(section: &mut Section<'d>, report: &mut Report<'_>) -> Self {
        let get = section.take("get");
        let tcp = section.take("tcp");
        let grpc = section.take("grpc");
        let connects = tcp.as_ref().is_some_and(|value| value.boolean(report).unwrap_or(true));
        let asked = [get.clone(), tcp.filter(|_| connects), grpc.clone()].into_iter().flatten().collect();
        let method = section.take("method");
        let host = section.take("host");
        let fields = section.take("headers");
        let send = section.take("send");
        let follow = section.take("follow");
        Self {
            get: get.and_then(|value| probe_path(&value, report)),
            grpc: grpc.and_then(|value| service(&value, report)),
            asked,
            method: method.and_then(|value| Some((self::method(&value, report)?, value))),
            host: host.and_then(|value| authority(&value, report)),
            fields: fields.map(|value| (sent_fields(&value, report), value)),
            send: send.and_then(|value| Some((value.words(LONGEST_BODY, Lines::Many, report)?, value))),
            follow: follow.and_then(|value| Some((value.count(0, MOST_REDIRECTS, report)?, value))),
        }
    }

    /// Returns the keys that only an HTTP request has.
    fn of_http(&self) -> impl Iterator<Item = &Value<'d>> {
        let method = self.method.iter().map(|(_, value)| value);
        let fields = self.fields.iter().map(|(_, value)| value);
        let follow = self.follow.iter().map(|(_, value)| value);
        method.chain(fields).chain(self.send.iter().map(|(_, value)| value)).chain(follow)
    }
}

/// Keys that say which answer passes.
struct Conditions<'d> {
    expect: Vec<Statuses>,
    body: Option<String>,
    matches: Option<BodyPattern>,
    expect_fields: Vec<(HeaderName, String)>,
    /// The keys that are written.
    written: Vec<Value<'d>>,
    /// The keys among them that look at the body.
    of_body: Vec<Value<'d>>,
}

impl<'d> Conditions<'d> {
    fn take(section: &mut Section<'d>, report: &mut Report<'_>) -> Self {
        let expect = section.take("expect");
        let body = section.take("body");
        let matches = section.take("matches");
        let fields = section.take("expect_headers");
        let of_body: Vec<_> = [&body, &matches].into_iter().flatten().cloned().collect();
        let written = [&expect, &body, &matches, &fields].into_iter().flatten().cloned().collect();
        Self {
            expect: expect.map(|value| statuses(&value, report)).unwrap_or_else(|| vec![Statuses::One(200)]),
            body: body.and_then(|value| value.words(LONGEST_TEXT, Lines::Many, report)),
            matches: matches.and_then(|value| pattern(&value, report)),
            expect_fields: fields.map(|value| expected_fields(&value, report)).unwrap_or_default(),
            written,
            of_body,
        }
    }
}

/// Puts the question together, and refuses keys that do not fit it.
fn probe(question: Question<'_>, conditions: Conditions<'_>, report: &mut Report<'_>) -> Option<Probe> {
    if let [first, second, ..] = question.asked.as_slice() {
        let message = format!("`{}` does not go with `{}`", second.key, first.key);
        report.wrong(second.key_span.clone(), message, "a check asks one thing: write two checks");
        return None;
    }
    let asked = question.asked.first()?.clone();
    if asked.key == "get" {
        return http(question, conditions, report).map(|probe| Probe::Http(Box::new(probe)));
    }
    for value in question.of_http().chain(&conditions.written) {
        let message = format!("`{}` does not go with `{}`", value.key, asked.key);
        report.wrong(value.key_span.clone(), message, "an HTTP request has it: `get = \"/healthz\"`");
    }
    if asked.key == "grpc" {
        return Some(Probe::Grpc(GrpcProbe { service: question.grpc?, host: question.host }));
    }
    if question.host.is_some() {
        let help = "a connection asks for no host: leave it out";
        report.wrong(asked.key_span.clone(), "`tcp` does not go with `host`", help);
    }
    Some(Probe::Connect)
}

fn http(question: Question<'_>, conditions: Conditions<'_>, report: &mut Report<'_>) -> Option<HttpProbe> {
    let default = if question.send.is_some() { Method::POST } else { Method::GET };
    let method = question.method.map_or(default, |(method, _)| method);
    let bodiless = matches!(method, Method::GET | Method::HEAD);
    if let Some((_, value)) = question.send.as_ref().filter(|_| bodiless) {
        let message = format!("`send` does not go with {method}, which has no body");
        report.wrong(value.key_span.clone(), message, "write `method = \"POST\"`");
    }
    if let Some(value) = conditions.of_body.first().filter(|_| method == Method::HEAD) {
        let message = format!("`{}` does not go with HEAD, whose answer has no body", value.key);
        report.wrong(value.key_span.clone(), message, "write `method = \"GET\"`");
    }
    Some(HttpProbe {
        method,
        target: question.get?,
        host: question.host,
        fields: question.fields.map(|(fields, _)| fields).unwrap_or_default(),
        send: question.send.map(|(body, _)| body),
        follow: question.follow.map_or(0, |(follow, _)| follow),
        expect: conditions.expect,
        body: conditions.body,
        matches: conditions.matches,
        expect_fields: conditions.expect_fields,
    })
}

fn method(value: &Value<'_>, report: &mut Report<'_>) -> Option<Method> {
    Method::from_bytes(value.choice(&METHODS, report)?.as_bytes()).ok()
}

fn probe_path(value: &Value<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = value.string("/healthz", report)?;
    let is_target = text.starts_with('/') && text.parse::<http::uri::PathAndQuery>().is_ok();
    if !is_target || text.contains('#') {
        report.wrong(value.span.clone(), format!("{} is not a path", quoted(text)), "write one like `/healthz`");
        return None;
    }
    Some(text.to_owned())
}

/// Reads the name of a gRPC service. The empty name is the whole server.
fn service(value: &Value<'_>, report: &mut Report<'_>) -> Option<String> {
    if matches!(value.inner, DeValue::String(text) if text.is_empty()) {
        return Some(String::new());
    }
    let text = value.string("shop.Cart", report)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    if text.len() > LONGEST_NAME || !text.chars().all(allowed) {
        let help = "write the name that the health service knows: `shop.Cart`, or `\"\"` for the whole server";
        report.wrong(value.span.clone(), format!("{} is not the name of a gRPC service", quoted(text)), help);
        return None;
    }
    Some(text.to_owned())
}

/// Reads a host, with a port if it has one.
fn authority(value: &Value<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = value.string("www.example.com", report)?;
    let is_host = text.parse::<http::uri::Authority>().is_ok() && !text.contains(['@', '*']);
    if !is_host || text.len() > LONGEST_NAME {
        report.wrong(value.span.clone(), format!("{} is not a host", quoted(text)), "write one like `www.example.com`");
        return None;
    }
    Some(text.to_owned())
}

/// Reads a status, a class of them, or a list of both.
fn statuses(value: &Value<'_>, report: &mut Report<'_>) -> Vec<Statuses> {
    let items = value.one_or_more(report);
    report.at_most(MOST_STATUSES, items.len(), "statuses", value.key_span.clone());
    items.iter().take(MOST_STATUSES).filter_map(|item| status(item, report)).collect()
}

fn status(value: &Value<'_>, report: &mut Report<'_>) -> Option<Statuses> {
    let DeValue::String(text) = value.inner else {
        return u16::try_from(value.count(100, 599, report)?).ok().map(Statuses::One);
    };
    let class = CLASSES.iter().find(|(class, _)| text.eq_ignore_ascii_case(class));
    if class.is_none() {
        let help = "write a status, `200`, or a class of them, `\"2xx\"`";
        report.wrong(value.span.clone(), format!("{} is not a class of statuses", quoted(text)), help);
    }
    class.map(|(_, digit)| Statuses::Class(*digit))
}

/// Reads a regular expression. Its size is limited, and it matches in linear time.
fn pattern(value: &Value<'_>, report: &mut Report<'_>) -> Option<BodyPattern> {
    let text = value.string("ready|ok", report)?;
    let compiled: Result<Regex, _> = RegexBuilder::new(text).size_limit(LARGEST_PATTERN).build();
    match compiled {
        Ok(regex) => Some(BodyPattern(regex)),
        Err(error) => {
            let message = format!("{} is not a regular expression: {error}", quoted(text));
            report.wrong(value.span.clone(), message, "write one as for Rust's `regex`, in single quotes: `'^ok$'`");
            None
        }
    }
}

/// Reads `headers = { X-Check = "1" }`.
fn sent_fields(value: &Value<'_>, report: &mut Report<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let fields = fields(value, report).into_iter().filter_map(|(name, text, item)| {
        if RESERVED.contains(&name.as_str()) {
            let help = if name == http::header::HOST { "write `host = \"…\"`" } else { "leave it out" };
            report.wrong(item.key_span.clone(), format!("`headers` cannot have {}", quoted(name.as_str())), help);
            return None;
        }
        let value = HeaderValue::from_str(&text).ok();
        if value.is_none() {
            let help = "only printable characters are allowed";
            report.wrong(item.span.clone(), format!("{} cannot be the value of a field", quoted(&text)), help);
        }
        Some((name, value?))
    });
    fields.collect()
}

/// Reads `expect_headers = { Content-Type = "json" }`.
fn expected_fields(value: &Value<'_>, report: &mut Report<'_>) -> Vec<(HeaderName, String)> {
    fields(value, report).into_iter().map(|(name, text, _)| (name, text)).collect()
}

/// Reads a table with a text for each header field.
fn fields<'d>(value: &Value<'d>, report: &mut Report<'_>) -> Vec<(HeaderName, String, Value<'d>)> {
    let Some(table) = value.table(&format!("{} = {{ X-Name = \"text\" }}", value.key), report) else {
        return Vec::new();
    };
    report.at_most(MOST_FIELDS, table.len(), "header fields", value.key_span.clone());
    let fields = in_order(table).into_iter().take(MOST_FIELDS).filter_map(|(key, item)| {
        let item = Value::new(key.get_ref(), key, item);
        let name = HeaderName::from_bytes(key.get_ref().as_bytes()).ok();
        if name.is_none() {
            let message = format!("{} is not the name of a header field", quoted(key.get_ref()));
            report.wrong(key.span(), message, "write one like `X-Check`");
        }
        Some((name?, item.words(LONGEST_TEXT, Lines::One, report)?, item))
    });
    fields.collect()
}

/// Reads the time from which on an answer is too slow.
fn faster_than(value: &Value<'_>, within: Duration, report: &mut Report<'_>) -> Option<Duration> {
    let time = values::duration(value, report)?;
    if time >= within {
        let help = "give a shorter time, or a longer `within`";
        report.warn(value.span.clone(), "`faster_than` has no effect: `within` ends the attempt before", help);
    }
    Some(time)
}

/// Reads the names of one or several regions.
fn regions(value: &Value<'_>, report: &mut Report<'_>) -> Vec<String> {
    let items = value.one_or_more(report);
    report.at_most(MOST_REGIONS, items.len(), "regions", value.key_span.clone());
    items.iter().take(MOST_REGIONS).filter_map(|item| item.words(LONGEST_REGION, Lines::One, report)).collect()
}

const METHODS: [(&str, &str); 7] = [
    ("GET", "GET"),
    ("HEAD", "HEAD"),
    ("OPTIONS", "OPTIONS"),
    ("POST", "POST"),
    ("PUT", "PUT"),
    ("PATCH", "PATCH"),
    ("DELETE", "DELETE"),
];
const CLASSES: [(&str, u16); 5] = [("1xx", 1), ("2xx", 2), ("3xx", 3), ("4xx", 4), ("5xx", 5)];

/// Fields that the request has anyway, or that would change its framing.
const RESERVED: [&str; 8] =
    ["host", "connection", "content-length", "transfer-encoding", "te", "upgrade", "expect", "trailer"];

const DEFAULT_WITHIN: Duration = Duration::from_secs(2);
const DEFAULT_EVERY: Duration = Duration::from_secs(5);
const DEFAULT_FAILS: u32 = 3;
const MOST_TIMES: u64 = 1000;
const MOST_CHECKS: usize = 32;
const MOST_UPSTREAMS: u64 = 64;
const MOST_STATUSES: usize = 16;
const MOST_FIELDS: usize = 32;
const MOST_REGIONS: usize = 16;
const MOST_REDIRECTS: u64 = 10;
const LONGEST_REGION: usize = 64;
const LONGEST_NAME: usize = 255;
const LONGEST_TEXT: usize = 4096;
const LONGEST_BODY: usize = 32 * 1024;
/// Bytes of a compiled expression.
const LARGEST_PATTERN: usize = 256 * 1024;

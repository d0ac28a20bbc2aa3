//! Write API: flags, windows and steps that are changed through the admin listener. Off unless `write` of `[admin]` says
//! who may. Edits are those of the command, made on a thread of their own ([`desk`]).

mod access;
mod desk;
mod login;
mod make;
mod refusal;
mod sessions;
mod tokens;
mod wish;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, ETAG};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::control::edit::place::Place;
use crate::files::author::{self, Signer};
use crate::net::accounts;
use crate::plan::config::{Account, AdminWrite, Config};
use crate::plan::problem::Problem;
use crate::status::{FileStatus, Role};

use super::{Shared, json, text};
use access::{Door, Grant};
use desk::Desk;
use make::{Made, Order, Outcome};
use refusal::Refusal;
use sessions::Sessions;
use tokens::{Token, Tokens};
use wish::{Condition, Options, Resource, Wish};

pub(super) use access::Caller;

/// State of the write API.
#[derive(Default)]
pub(in crate::control) struct Write {
    desk: Desk,
    door: RefCell<Door>,
    sessions: RefCell<Sessions>,
    /// Tags of the texts that were written last, in their order.
    written: RefCell<VecDeque<String>>,
}

/// Body of an answer.
#[derive(Serialize)]
struct Told<'m> {
    #[serde(flatten)]
    made: &'m Made,
    /// True if this proxy has the text in force, or a later one.
    in_force: bool,
    /// Reason why it has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// Returns true for a path of the write API, while that is on.
pub(super) fn is_on(shared: &Shared, path: &str) -> bool {
    let is_its = path.starts_with("/routes/") || path.starts_with("/windows/") || path == login::PATH;
    is_its && rights(shared).is_some()
}

/// Returns the config in force, if it lets anybody change flags.
fn rights(shared: &Shared) -> Option<Arc<Config>> {
    let report = shared.report.borrow();
    report.config.as_ref().filter(|config| config.admin_write.is_some()).cloned()
}

/// Returns true if the page may offer buttons to those who have a token.
pub(super) fn has_buttons(shared: &Shared) -> bool {
    let config = rights(shared);
    config.is_some_and(|config| config.admin_write.as_ref().is_some_and(|rights| rights.token_file.is_some()))
}

/// Returns a warning if the tokens of a config cannot be used.
pub(in crate::control) fn unusable(config: &Config) -> Option<Problem> {
    let file = config.admin_write.as_ref()?.token_file.as_ref()?;
    let problem = Tokens::read(file).err()?;
    let warning = Problem::warning(&problem.file, format!("nobody can change flags by a token: {}", problem.message));
    Some(match problem.help {
        Some(help) => warning.help(help),
        None => warning,
    })
}

/// Answers a request to the write API.
pub(super) async fn answer(shared: &Rc<Shared>, caller: Caller, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let answered = handle(shared, caller, request).await;
    answered.unwrap_or_else(|refusal| refusal.response())
}

async fn handle(
    shared: &Rc<Shared>,
    caller: Caller,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Refusal> {
    let config = rights(shared).ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "nothing can be changed here"))?;
    let rights = config.admin_write.clone().unwrap_or_default();
    let (head, body) = request.into_parts();
    if head.uri.path() == login::PATH {
        return log_in(shared, (&rights, caller), &head, body).await;
    }
    let resource = Resource::of(head.uri.path()).ok_or_else(not_found)?;
    resource.check(&head.method)?;
    access::check_site(&head.uri, &head.headers, caller, &rights.hosts)?;
    let grant = admit(shared, &rights, caller, &head).await?;
    let options = Options::of(head.uri.query().unwrap_or_default())?;
    let body = if takes_body(&head.method) { read(&head.headers, body).await? } else { Bytes::new() };
    let now = Timestamp::now();
    let order = Order {
        place: Place::of(&config),
        told: None,
        known: config.routes.iter().map(|route| route.name.clone()).collect(),
        signer: Signer::named(grant.user.clone(), &request_line(&head)),
        grant,
        condition: Condition::of(&head.headers)?,
        wish: Wish::of(resource, &head.method, options, &body, now)?,
        now,
    };
    if let Wish::Look(route) = &order.wish {
        order.grant.check(route)?;
    }
    let made = carry_out(shared, order.clone()).await?;
    if matches!(order.wish, Wish::Look(_)) {
        return Ok(looked(&made, &order.condition));
    }
    tracing::info!(
        by = order.grant.user,
        request = request_line(&head),
        changed = made.changed,
        "an edit by the write API"
    );
    Ok(tell(shared, &made, options.wait.unwrap_or(MOMENT)).await)
}

/// Answers the page, whose user logs in or out.
async fn log_in(
    shared: &Rc<Shared>,
    (rights, caller): (&AdminWrite, Caller),
    head: &Parts,
    body: Incoming,
) -> Result<Response<Full<Bytes>>, Refusal> {
    if !matches!(head.method, Method::GET | Method::POST | Method::DELETE) {
        return Err(Refusal::method("GET, POST, DELETE"));
    }
    access::check_site(&head.uri, &head.headers, caller, &rights.hosts)?;
    let body = if takes_body(&head.method) { read(&head.headers, body).await? } else { Bytes::new() };
    login::answer(shared, (rights, caller), (&head.method, &head.headers), &body).await
}

fn not_found() -> Refusal {
    let help = "there is /routes/NAME/flag, /routes/NAME/windows, /routes/NAME/steps and /windows/ID";
    Refusal::new(StatusCode::NOT_FOUND, "not found").help(help)
}

fn request_line(head: &Parts) -> String {
    format!("{} {}", head.method, head.uri.path())
}

fn takes_body(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::DELETE)
}

/// Recognises who asks.
async fn admit(shared: &Rc<Shared>, rights: &AdminWrite, caller: Caller, head: &Parts) -> Result<Grant, Refusal> {
    let Some(secret) = head.headers.get(AUTHORIZATION) else {
        if let Some((_, token)) = login::session(shared, rights, &head.headers).await? {
            if head.method != Method::GET {
                login::check(shared, &head.headers)?;
            }
            return Ok(granted(rights, &token));
        }
        let user = peer(rights, caller).await.ok_or_else(|| Refusal::unknown("this needs a token"))?;
        return Ok(Grant { user, lists: [rights.allow.clone(), None] });
    };
    let now = Instant::now();
    shared.write.door.borrow().check(caller, now)?;
    let tokens = tokens(rights.token_file.clone()).await?;
    let secret = secret.to_str().ok().and_then(|secret| secret.split_once(' '));
    let secret = secret.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, secret)| secret.trim());
    let Some(token) = secret.and_then(|secret| tokens.find(secret)) else {
        shared.write.door.borrow_mut().failed(caller, now);
        tracing::warn!(?caller, "a wrong token was sent to the admin listener");
        return Err(Refusal::unknown("this token is not known"));
    };
    Ok(granted(rights, token))
}

fn granted(rights: &AdminWrite, token: &Token) -> Grant {
    Grant { user: token.user(), lists: [rights.allow.clone(), token.routes.clone()] }
}

/// Returns the name of the user at the other end of a unix socket, if that one needs no token.
async fn peer(rights: &AdminWrite, caller: Caller) -> Option<String> {
    let Caller::Unix(Some(uid)) = caller else { return None };
    let peers = rights.peers.clone();
    let is_one = move |peer: &Account| accounts::user(peer).is_some_and(|known| known.as_raw() == uid);
    let find = move || peers.iter().any(is_one).then(|| author::name_of_user(uid));
    tokio::task::spawn_blocking(find).await.unwrap_or(None)
}

/// Reads the tokens, off control's thread.
async fn tokens(file: Option<PathBuf>) -> Result<Tokens, Refusal> {
    let Some(file) = file else { return Ok(Tokens::default()) };
    let slow =
        || Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the file of the tokens cannot be read in time").later();
    let read = tokio::task::spawn_blocking(move || Tokens::read(&file));
    Ok(tokio::time::timeout(PATIENCE, read).await.map_err(|_| slow())?.map_err(|_| slow())??)
}

/// Reads a body of JSON.
async fn read(headers: &HeaderMap, body: Incoming) -> Result<Bytes, Refusal> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) {
        let refusal = Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body is not JSON by its `Content-Type`");
        return Err(refusal.help("send `Content-Type: application/json`"));
    }
    let slow =
        || Refusal::new(StatusCode::REQUEST_TIMEOUT, format!("the body took more than {} s", PATIENCE.as_secs()));
    let read = tokio::time::timeout(PATIENCE, Limited::new(body, MOST_BODY).collect()).await.map_err(|_| slow())?;
    read.map(|body| body.to_bytes()).map_err(|error| {
        if error.is::<LengthLimitError>() {
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body has more than {MOST_BODY} bytes"))
        } else {
            Refusal::new(StatusCode::BAD_REQUEST, "the body is broken off")
        }
    })
}

/// Has an order made. While this proxy does not know yet what to think of the file, the order waits.
async fn carry_out(shared: &Rc<Shared>, mut order: Order) -> Result<Made, Refusal> {
    let begun = Instant::now();
    loop {
        order.told = flag_file(shared);
        let copy = order.clone();
        match shared.write.desk.run(move || copy.make()).await?? {
            Outcome::Made(made) => {
                if made.changed {
                    let mut written = shared.write.written.borrow_mut();
                    written.truncate(MOST_WRITTEN - 1);
                    written.push_front(made.etag.clone());
                }
                return Ok(made);
            }
            Outcome::Pending(_) if begun.elapsed() < PENDING => tokio::time::sleep(PAUSE).await,
            Outcome::Pending(why) => return Err(order.unseen(&why)),
        }
    }
}

/// Returns the word of this proxy on the flag file.
fn flag_file(shared: &Shared) -> Option<FileStatus> {
    FileStatus::find(&shared.report.borrow().files, Role::Flags).cloned()
}

fn looked(made: &Made, condition: &Condition) -> Response<Full<Bytes>> {
    let mut response = if condition.has(&made.etag) {
        text(StatusCode::NOT_MODIFIED, Bytes::new())
    } else {
        json(StatusCode::OK, &made.flag)
    };
    tag(&mut response, &made.etag);
    response
}

/// Tells of an edit, once this proxy has it in force or the time is over.
async fn tell(shared: &Rc<Shared>, made: &Made, wait: SignedDuration) -> Response<Full<Bytes>> {
    let begun = Instant::now();
    while !is_in_force(shared, &made.etag) && begun.elapsed() < wait.unsigned_abs() {
        tokio::time::sleep(PAUSE).await;
    }
    let in_force = is_in_force(shared, &made.etag);
    let why = (!in_force).then(|| why_not(shared, &made.etag));
    let status = if in_force { StatusCode::OK } else { StatusCode::ACCEPTED };
    let mut response = json(status, &Told { made, in_force, why });
    tag(&mut response, &made.etag);
    response
}

fn tag(response: &mut Response<Full<Bytes>>, etag: &str) {
    if let Ok(etag) = HeaderValue::from_str(etag) {
        response.headers_mut().insert(ETAG, etag);
    }
}

/// Returns true if the text of this tag is in force, or one that was written here later.
fn is_in_force(shared: &Shared, etag: &str) -> bool {
    let Some(live) = flag_file(shared).and_then(|file| file.in_force).map(|live| format!("\"{}\"", live.hash)) else {
        return false;
    };
    let written = shared.write.written.borrow();
    let later = written.iter().take_while(|written| *written != etag);
    live == etag || written.contains(&etag.to_owned()) && later.into_iter().any(|later| *later == live)
}

/// Tells why a text is not in force.
fn why_not(shared: &Shared, etag: &str) -> String {
    let told = flag_file(shared);
    let error = told.as_ref().and_then(|told| told.error_of(etag.trim_matches('"')));
    match (error, told.as_ref().and_then(|told| told.pending.as_ref())) {
        (Some(error), _) => format!("this proxy refuses it: {}", error.message),
        (None, Some(pending)) => format!("this proxy does not believe it yet: {}", pending.why),
        (None, None) => "this proxy has not taken it yet".to_owned(),
    }
}

/// Time to wait for an edit to be in force if the request names none. A command waits as long.
const MOMENT: SignedDuration = SignedDuration::from_secs(1);
/// Time for a body, and for the file of the tokens.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time for which the file may be pending. The proxy decides within 3 s.
const PENDING: Duration = Duration::from_secs(5);
/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(10);
/// Bytes of a body.
const MOST_BODY: usize = 16 * 1024;
/// Texts that are remembered.
const MOST_WRITTEN: usize = 64;

#[cfg(test)]
mod tests;

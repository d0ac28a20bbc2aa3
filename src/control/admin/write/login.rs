//! Login on the page: a token is typed once, and becomes a session with a cookie that no script reads.

use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{COOKIE, HOST, ORIGIN, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use serde::{Deserialize, Serialize};

use crate::plan::config::AdminWrite;

use super::super::{Shared, json};
use super::access::Caller;
use super::refusal::Refusal;
use super::sessions::{LENGTH, Session};
use super::tokens::Token;

/// Path of the session.
pub(super) const PATH: &str = "/session";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Typed {
    token: String,
}

/// Word on a session, for the script of the page.
#[derive(Serialize)]
struct Told<'s> {
    /// Name of the token; `None` for nobody.
    user: Option<String>,
    csrf: Option<&'s str>,
}

const NOBODY: Told<'static> = Told { user: None, csrf: None };

/// Answers a request for the session.
///
/// # Errors
/// If the token is not known, or the request is not one of the page.
pub(super) async fn answer(
    shared: &Rc<Shared>,
    (rights, caller): (&AdminWrite, Caller),
    (method, headers): (&Method, &HeaderMap),
    body: &[u8],
) -> Result<Response<Full<Bytes>>, Refusal> {
    if *method == Method::GET {
        let found = session(shared, rights, headers).await?;
        let told = found.as_ref().map(|(session, token)| told(session, token));
        return Ok(json(StatusCode::OK, &told.unwrap_or(NOBODY)));
    }
    let now = Instant::now();
    if *method == Method::DELETE {
        check(shared, headers)?;
        cookie(headers).iter().for_each(|id| shared.write.sessions.borrow_mut().end(id));
        return Ok(with_cookie(json(StatusCode::OK, &NOBODY), headers, "", 0));
    }
    let Typed { token: typed } = super::wish::parsed(body)?;
    shared.write.door.borrow().check(caller, now)?;
    let tokens = super::tokens(rights.token_file.clone()).await?;
    let Some(token) = tokens.find(typed.trim()) else {
        shared.write.door.borrow_mut().failed(caller, now);
        tracing::warn!(?caller, "a wrong token was typed into the admin page");
        return Err(Refusal::new(StatusCode::FORBIDDEN, "this token is not known"));
    };
    let begun = shared.write.sessions.borrow_mut().begin(token.hash, now);
    let begun = begun.ok_or_else(|| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the system gives no random bytes"));
    let (id, session) = begun?;
    Ok(with_cookie(json(StatusCode::OK, &told(&session, token)), headers, &id, LENGTH.as_secs()))
}

fn told<'s>(session: &'s Session, token: &Token) -> Told<'s> {
    Told { user: Some(token.user()), csrf: Some(&session.csrf) }
}

/// Finds the session of a request, with its token, unless that is not known any more.
///
/// # Errors
/// If the tokens cannot be read.
pub(super) async fn session(
    shared: &Rc<Shared>,
    rights: &AdminWrite,
    headers: &HeaderMap,
) -> Result<Option<(Session, Token)>, Refusal> {
    let Some(id) = cookie(headers) else { return Ok(None) };
    let found = shared.write.sessions.borrow().find(&id, Instant::now()).cloned();
    let Some(session) = found else { return Ok(None) };
    let tokens = super::tokens(rights.token_file.clone()).await?;
    Ok(tokens.with_hash(&session.token).cloned().map(|token| (session, token)))
}

/// Refuses a request with a cookie that does not come from the page.
///
/// # Errors
/// If it lacks the word of its session.
pub(super) fn check(shared: &Shared, headers: &HeaderMap) -> Result<(), Refusal> {
    let csrf = headers.get(&CSRF).map(HeaderValue::as_bytes).unwrap_or_default();
    let sessions = shared.write.sessions.borrow();
    let is_own = cookie(headers)
        .and_then(|id| sessions.find(&id, Instant::now()).map(|session| session.is_own(csrf)))
        .unwrap_or(false);
    if is_own { Ok(()) } else { Err(Refusal::new(StatusCode::FORBIDDEN, "this request does not come from the page")) }
}

/// Returns the id of a session that a browser sends.
fn cookie(headers: &HeaderMap) -> Option<String> {
    let name = name(headers);
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, id)| id.to_owned())
}

/// Returns the name of the cookie. A browser keeps the cookies of all ports of a host together.
fn name(headers: &HeaderMap) -> String {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let port =
        host.rsplit_once(':').map(|(_, port)| port).filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    format!("backsoon_session_{}", port.unwrap_or_default())
}

fn with_cookie(
    mut response: Response<Full<Bytes>>,
    headers: &HeaderMap,
    id: &str,
    seconds: u64,
) -> Response<Full<Bytes>> {
    let is_https = headers.get(ORIGIN).is_some_and(|origin| origin.as_bytes().starts_with(b"https:"));
    let secure = if is_https { "; Secure" } else { "" };
    let cookie = format!("{}={id}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}", name(headers));
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

/// Field with the word of a session.
const CSRF: HeaderName = HeaderName::from_static("x-csrf-token");

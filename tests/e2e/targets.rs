//! Request targets: what an upstream gets through backsoon is what it gets through nginx, byte for byte, but for the
//! differences that docs/forwarding.md lists.

use std::net::SocketAddr;

use crate::clients::Nginx;
use crate::support::{Backsoon, Upstream, request};

/// What became of a target: the status, and the target that the upstream got.
type Outcome = (u16, Option<String>);

fn outcome(address: SocketAddr, upstream: &Upstream, target: &str) -> Outcome {
    upstream.forget();
    let answer = request(address, &format!("GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"));
    let seen = upstream.seen();
    let line = seen.lines().next().and_then(|line| line.strip_prefix("GET "));
    (answer.status, line.and_then(|line| line.rsplit_once(' ')).map(|(target, _)| target.to_owned()))
}

/// Returns 200 targets and more: each visible byte in path and query, text of other alphabets, and what tools send.
fn targets() -> Vec<String> {
    let each = |around: fn(char) -> String| ('!'..='~').map(around);
    let beyond = ['é', '日', '€', '😀'];
    let named = [
        "/",
        "/a/../b",
        "//a//b",
        "/a/./b/",
        "/%41%42",
        "/a%2fb",
        "/caf%C3%A9",
        "/a;b=c/d",
        "/a\\..\\b",
        "/a%zz",
        "/a?%zz",
        "/a?",
        "/a??b",
        "/a?b=/../c",
        "/api/v1/query?query=rate(x{job=~'a|b'}[5m])^2",
        "/search?filter[a]=1&filter[b]={c}",
        "/a?q='x'&r=`y`",
        "/a#b",
        "/a?b#c",
    ];
    each(|byte| format!("/a{byte}b"))
        .chain(each(|byte| format!("/q?a={byte}b")))
        .chain(beyond.iter().flat_map(|letter| [format!("/{letter}/x"), format!("/q?a={letter}")]))
        .chain(named.map(str::to_owned))
        .collect()
}

/// Returns true for a target that the library reads as none (docs/forwarding.md, "Odd characters").
fn is_refused(target: &str) -> bool {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    path.contains(['<', '>', '`']) || query.contains(['<', '>', '"'])
}

#[test]
fn two_hundred_targets_reach_an_upstream_as_through_nginx() {
    let upstream = Upstream::ok();
    let pass = format!("location / {{ proxy_pass {}; }}", upstream.url());
    let Some(nginx) = Nginx::serving("targets are forwarded as by nginx", &pass) else { return };
    let backsoon = Backsoon::before(&upstream.url(), "");
    let targets = targets();
    assert!(targets.len() >= 200, "{}", targets.len());
    let mut wrong = Vec::new();
    for target in targets {
        let (theirs, ours) =
            (outcome(nginx.address, &upstream, &target), outcome(backsoon.address(), &upstream, &target));
        let before_fragment = target.split('#').next().map(str::to_owned);
        let right = if target.contains('#') {
            ours == (200, before_fragment) && theirs.0 == 200
        } else if is_refused(&target) {
            ours == (400, None) && theirs == (200, Some(target.clone()))
        } else {
            ours == theirs && ours.1.as_ref().is_none_or(|got| *got == target)
        };
        if !right {
            wrong.push(format!("{target}: nginx {theirs:?}, backsoon {ours:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

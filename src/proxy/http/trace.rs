//! W3C Trace Context: passes a trace on, or begins one.
//!
//! Upstreams get one valid `traceparent` or none. The proxy sends no spans, so a trace that it passes on keeps its parent:
//! another one would be missing in every tree.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::plan::config::Trace;

/// `traceparent` (W3C Trace Context section 3.2).
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// `tracestate` (section 3.3).
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Trace that a request belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Traced {
    /// The `traceparent` for upstreams.
    parent: HeaderValue,
    /// True if the request came with it.
    continued: bool,
}

impl Traced {
    /// Finds the trace of a request, or begins one if the config wants that. `None` leaves the request without any.
    #[cold]
    pub(crate) fn of(headers: &HeaderMap, trace: Trace, trusted: bool) -> Option<Self> {
        match (given(headers), trace) {
            (Some(parent), Trace::Pass) => Some(Self { parent: parent.clone(), continued: true }),
            (Some(parent), Trace::Begin(_)) if trusted => Some(Self { parent: parent.clone(), continued: true }),
            // A stranger keeps its trace, which may have begun in a browser, but does not decide what is recorded.
            (Some(parent), Trace::Begin(share)) => {
                let ids = parent.to_str().ok()?.get(VERSION..FLAGS)?;
                let parent = HeaderValue::try_from(format!("00{ids}{}", flags(share))).ok()?;
                Some(Self { parent, continued: true })
            }
            (None, Trace::Begin(share)) => {
                let (trace, parent) = (fastrand::u128(1..), fastrand::u64(1..));
                let parent = HeaderValue::try_from(format!("00-{trace:032x}-{parent:016x}-{}", flags(share))).ok()?;
                Some(Self { parent, continued: false })
            }
            (None, Trace::Pass) => None,
        }
    }

    /// Returns the id of the trace.
    pub(crate) fn id(&self) -> &str {
        self.parent.to_str().ok().and_then(|parent| parent.get(VERSION + 1..ID_END)).unwrap_or_default()
    }
}

/// Gives a request for an upstream the fields of its trace, and none that are malformed.
#[cold]
pub(crate) fn pass_on(headers: &mut HeaderMap, traced: Option<&Traced>) {
    let state = traced.filter(|traced| traced.continued).and_then(|_| state(headers));
    match traced {
        Some(traced) => drop(headers.insert(TRACEPARENT, traced.parent.clone())),
        None => drop(headers.remove(TRACEPARENT)),
    }
    match state {
        Some(state) => drop(headers.insert(TRACESTATE, state)),
        None => drop(headers.remove(TRACESTATE)),
    }
}

/// Returns the `traceparent` of a request, if there is exactly one and it is valid.
fn given(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut lines = headers.get_all(TRACEPARENT).iter();
    let only = lines.next().filter(|only| is_valid(only.as_bytes()))?;
    lines.next().is_none().then_some(only)
}

/// Returns true for a `traceparent`. A later version may have more behind what this one has (section 4.3).
fn is_valid(parent: &[u8]) -> bool {
    let is_hex = |part: &[u8]| part.iter().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte));
    let is_id = |part: &[u8]| is_hex(part) && part.iter().any(|byte| *byte != b'0');
    let Some((known, more)) = parent.split_at_checked(LENGTH) else { return false };
    let [v, w, b'-', ids @ .., b'-', f, g] = known else { return false };
    let Some((trace, [b'-', span @ ..])) = ids.split_at_checked(ID_END - VERSION - 1) else { return false };
    let version = [*v, *w];
    let ends = if version == *b"00" { more.is_empty() } else { matches!(more.first(), None | Some(b'-')) };
    is_hex(&version) && version != *b"ff" && is_id(trace) && is_id(span) && is_hex(&[*f, *g]) && ends
}

/// Returns the `tracestate` on one line: as many of its members as fit, from the left.
fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut kept: Vec<u8> = Vec::new();
    let lines = headers.get_all(TRACESTATE).iter();
    let members = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii));
    for member in members.filter(|member| !member.is_empty()).take(MOST_MEMBERS) {
        if kept.len() + 1 + member.len() > LONGEST_STATE {
            break;
        }
        if !kept.is_empty() {
            kept.push(b',');
        }
        kept.extend_from_slice(member);
    }
    HeaderValue::from_bytes(&kept).ok().filter(|_| !kept.is_empty())
}

/// Returns the flags of a trace of which this share is recorded.
fn flags(share: f64) -> &'static str {
    if fastrand::f64() < share { "01" } else { "00" }
}

/// Bytes of the version.
const VERSION: usize = 2;
/// End of the id of the trace.
const ID_END: usize = 35;
/// Beginning of the flags.
const FLAGS: usize = 53;
/// Bytes of a `traceparent` of version 00.
const LENGTH: usize = 55;
/// Members of a `tracestate` (section 3.3.1.1).
const MOST_MEMBERS: usize = 32;
/// Bytes of a `tracestate` that is passed on. Every proxy has to pass on that many (section 3.3.1.5).
const LONGEST_STATE: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ac902b7-01";

    fn head(parents: &[&str], states: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, values) in [(TRACEPARENT, parents), (TRACESTATE, states)] {
            for value in values {
                headers.append(&name, HeaderValue::from_str(value).unwrap());
            }
        }
        headers
    }

    /// Returns the fields that an upstream gets.
    fn passed(mut headers: HeaderMap, trace: Trace, trusted: bool) -> (Vec<String>, Vec<String>) {
        let traced = Traced::of(&headers, trace, trusted);
        pass_on(&mut headers, traced.as_ref());
        let all = |name| headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect();
        (all(TRACEPARENT), all(TRACESTATE))
    }

    #[test]
    fn a_valid_trace_passes_and_a_malformed_one_does_not() {
        let pass = |parents: &[&str]| passed(head(parents, &["a=1"]), Trace::Pass, false);
        for valid in [PARENT, &format!("cc{}-more", &PARENT[2..]), &format!("01{}", &PARENT[2..])] {
            assert_eq!(pass(&[valid]), (vec![valid.to_owned()], vec!["a=1".to_owned()]));
        }
        for wrong in [
            "",
            "00",
            &PARENT[..54],
            &format!("{PARENT}-more"),
            &format!("ff{}", &PARENT[2..]),
            &format!("cc{}.more", &PARENT[2..]),
            &PARENT.to_uppercase(),
            "00-00000000000000000000000000000000-00f067aa0ac902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ac902b7-0g",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ac902b7-01",
        ] {
            assert_eq!(pass(&[wrong]), (vec![], vec![]), "{wrong}");
        }
        assert_eq!(pass(&[PARENT, PARENT]), (vec![], vec![]), "two are none");
        assert_eq!(pass(&[]), (vec![], vec![]), "a state without a trace");
    }

    #[test]
    fn a_trace_begins_where_there_is_none() {
        let (parents, states) = passed(head(&["nonsense"], &["a=1"]), Trace::Begin(1.0), false);
        assert!(is_valid(parents[0].as_bytes()) && parents[0].ends_with("-01"), "{parents:?}");
        assert_eq!((parents.len(), states.len()), (1, 0));
        let traced = Traced::of(&head(&[], &[]), Trace::Begin(0.0), false).unwrap();
        assert!(traced.parent.to_str().unwrap().ends_with("-00"));
        assert!(traced.id().len() == 32 && traced.parent.to_str().unwrap().contains(traced.id()));
    }

    #[test]
    fn a_stranger_keeps_its_trace_and_does_not_decide_what_is_recorded() {
        let unsampled = format!("{}00", &PARENT[..FLAGS]);
        let pass = |trusted| passed(head(&[PARENT], &["a=1", "b=2"]), Trace::Begin(0.0), trusted);
        assert_eq!(pass(false), (vec![unsampled], vec!["a=1,b=2".to_owned()]));
        assert_eq!(pass(true), (vec![PARENT.to_owned()], vec!["a=1,b=2".to_owned()]));
    }

    #[test]
    fn a_state_is_cut_between_two_members() {
        let member = format!("a={}", "x".repeat(200));
        let (_, states) = passed(head(&[PARENT], &[&member, &member, &member]), Trace::Pass, false);
        assert_eq!(states, [format!("{member},{member}")]);
    }

    proptest! {
        #[test]
        fn whatever_comes_an_upstream_gets_one_valid_trace(
            parents in proptest::collection::vec("[0-9a-f-]{50,60}|00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}|[ -~]{0,60}", 0..3),
            states in proptest::collection::vec("[ -~]{0,300}", 0..3),
            begins: bool,
        ) {
            let head = head(&parents.iter().map(|p| &**p).collect::<Vec<_>>(), &states.iter().map(|s| &**s).collect::<Vec<_>>());
            let (parents, states) = passed(head, if begins { Trace::Begin(0.5) } else { Trace::Pass }, false);
            prop_assert!(parents.len() <= 1 && states.len() <= parents.len());
            prop_assert!(!begins || parents.len() == 1);
            prop_assert!(parents.iter().all(|parent| is_valid(parent.as_bytes())));
            prop_assert!(states.iter().all(|state| state.len() <= LONGEST_STATE));
        }
    }
}

//! The `Accept` field (RFC 9110 section 12.5.1): which of the offered media types a client would rather have.

/// Chooses among `offers` (value, type, subtype), which stand in the server's order of preference.
///
/// The greatest weight wins; among equal weights a type the client names beats one it takes by a wildcard, then
/// the order of the offers decides. Ranges that cannot be read are passed over. `None` when nothing was asked for
/// by name and everything is taken alike (no `Accept`, or only `*/*`), or when none of the offers is taken.
///
/// `application/json` is also met by `application/problem+json`, as RFC 9457 expects of its clients.
pub fn choose<'a, T: Copy, const N: usize>(
    fields: impl Iterator<Item = &'a [u8]>,
    offers: &[(T, &str, &str); N],
) -> Option<T> {
    let mut best = [Taken::default(); N];
    for range in fields.flat_map(|field| field.split(|&byte| byte == b',')).take(MOST_RANGES).filter_map(Range::parse) {
        for (taken, (_, kind, subtype)) in best.iter_mut().zip(offers) {
            taken.consider(range.specificity(kind, subtype), range.weight);
        }
    }
    let (index, taken) =
        best.iter().enumerate().max_by_key(|(index, taken)| (taken.weight, taken.specificity, usize::MAX - index))?;
    (taken.weight > 0 && taken.specificity > ANYTHING).then_some(offers[index].0)
}

/// How an offer is taken by the most specific range that covers it.
#[derive(Clone, Copy, Default)]
struct Taken {
    specificity: u8,
    weight: u16,
}

impl Taken {
    /// The most specific range decides an offer's weight; of equal ones, the greater weight.
    fn consider(&mut self, specificity: u8, weight: u16) {
        if specificity > self.specificity || (specificity == self.specificity && weight > self.weight) {
            *self = Self { specificity, weight };
        }
    }
}

/// One media range with its weight in thousandths.
struct Range<'a> {
    kind: &'a [u8],
    subtype: &'a [u8],
    weight: u16,
}

impl<'a> Range<'a> {
    fn parse(text: &'a [u8]) -> Option<Self> {
        let mut parts = text.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next()?;
        let slash = name.iter().position(|&byte| byte == b'/')?;
        let weight = parts.find_map(|part| part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q=")));
        let weight = weight.map_or(Some(1000), thousandths)?;
        Some(Self { kind: &name[..slash], subtype: &name[slash + 1..], weight })
    }

    /// 0: does not cover it; 1: `*/*`; 2: `type/*`; 3: by name.
    fn specificity(&self, kind: &str, subtype: &str) -> u8 {
        let named = |name: &[u8], offered: &str| name.eq_ignore_ascii_case(offered.as_bytes());
        if self.kind == b"*" && self.subtype == b"*" {
            ANYTHING
        } else if !named(self.kind, kind) {
            0
        } else if self.subtype == b"*" {
            2
        } else if named(self.subtype, subtype) || subtype == "json" && named(self.subtype, "problem+json") {
            3
        } else {
            0
        }
    }
}

/// `1`, `0.8`, `0.123` as thousandths; `None` for anything else.
fn thousandths(text: &[u8]) -> Option<u16> {
    let (whole, fraction) = match text {
        [whole] => (whole, &[][..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return None,
    };
    let digit = |byte: u8| char::from(byte).to_digit(10).and_then(|digit| u16::try_from(digit).ok());
    let mut value = digit(*whole)? * 1000;
    for (&byte, place) in fraction.iter().zip([100, 10, 1]) {
        value += digit(byte)? * place;
    }
    (value <= 1000).then_some(value)
}

const ANYTHING: u8 = 1;

/// A client that sends more ranges than this is not asking.
const MOST_RANGES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const OFFERS: [(&str, &str, &str); 3] =
        [("html", "text", "html"), ("json", "application", "json"), ("text", "text", "plain")];

    #[test]
    fn the_client_gets_what_it_would_rather_have() {
        for (accept, expected) in [
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Some("html")),
            ("application/json", Some("json")),
            ("application/problem+json", Some("json")),
            ("application/json, text/plain, */*", Some("json")),
            ("text/plain", Some("text")),
            ("text/*", Some("html")),
            ("application/*", Some("json")),
            ("text/html;q=0.5, application/json", Some("json")),
            ("text/html;q=0, text/*", Some("text")),
            ("TEXT/HTML ; level=1 ; q=0.3", Some("html")),
            ("*/*", None),
            ("", None),
            ("image/png", None),
            ("text/html;q=2", None),
            ("nonsense", None),
            (",,;q=1,/", None),
        ] {
            assert_eq!(choose([accept.as_bytes()].into_iter(), &OFFERS), expected, "{accept}");
        }
        assert_eq!(choose(std::iter::empty(), &OFFERS), None);
    }
}

//! `Accept` fields (RFC 9110 section 12.5): choice of media type, language and coding.
//!
//! Anything that cannot be read is skipped, and no list is read without end.

/// Coding of an answer's bytes (RFC 9110 section 8.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coding {
    /// Unchanged bytes.
    #[default]
    Identity,
    /// `gzip`.
    Gzip,
    /// `br`.
    Brotli,
}

impl Coding {
    /// Returns the name in `Accept-Encoding` and `Content-Encoding`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Brotli => "br",
        }
    }
}

/// Chooses among `offers` (a value and its `type/subtype`, lowercase), which stand in the server's order of preference.
///
/// The greatest weight wins. Among equal weights a type that is named beats a wildcard, and then the order of the
/// offers decides. Ranges that cannot be read are skipped.
///
/// Returns `None` if no offer matches, or if all match alike because no type is named (no `Accept`, or only `*/*`).
pub fn choose<'a, T: Copy, const N: usize>(
    fields: impl Iterator<Item = &'a [u8]>,
    offers: &[(T, &str); N],
) -> Option<T> {
    let mut matches = [Match::default(); N];
    for (range, weight) in ranges(fields) {
        match range.strip_suffix(b"*") {
            // Lengths are compared first, because most ranges are none of the offers.
            None => {
                let is_named = |offer: &str| range.len() == offer.len() && range.eq_ignore_ascii_case(offer.as_bytes());
                if let Some(index) = offers.iter().position(|(_, offer)| is_named(offer)) {
                    matches[index].update(NAMED, weight);
                }
            }
            Some(b"*/") => matches.iter_mut().for_each(|matched| matched.update(ANYTHING, weight)),
            Some(kind) if kind.ends_with(b"/") => {
                let of_kind = |index: &usize| starts_with(offers[*index].1.as_bytes(), kind);
                (0..N).filter(of_kind).for_each(|index| matches[index].update(KIND, weight));
            }
            Some(_) => {}
        }
    }
    let mut best = (Match::default(), None);
    for (matched, (offer, _)) in matches.into_iter().zip(offers) {
        if (matched.weight, matched.specificity) > (best.0.weight, best.0.specificity) {
            best = (matched, Some(*offer));
        }
    }
    best.1.filter(|_| best.0.weight > 0 && best.0.specificity > ANYTHING)
}

/// Returns the first type that is named and wanted.
pub fn first<'a>(fields: impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    ranges(fields).find(|(_, weight)| *weight > 0).map(|(range, _)| range)
}

/// Returns the structured syntax suffix (RFC 6839) of the first named type that has one: `json` of
/// `application/vnd.api+json`.
pub fn suffix<'a>(fields: impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    let matched = ranges(fields).filter(|(_, weight)| *weight > 0);
    let suffix = |range: &'a [u8]| range.iter().rposition(|&byte| byte == b'+').map(|plus| &range[plus + 1..]);
    matched.filter_map(|(range, _)| suffix(range)).next()
}

/// Chooses a language by `Accept-Language` (RFC 9110 section 12.5.4), and returns its index in `offers`.
///
/// The ranges are tried in the order of their weights, each as [`nearest`] says. Returns `None` if no range matches, or
/// if a `*` comes first.
pub fn language<'a>(fields: impl Iterator<Item = &'a [u8]>, offers: &[impl AsRef<str>]) -> Option<usize> {
    // Nearly every client writes its ranges in the order of their weights: then only the first ones are compared.
    let (mut greatest, mut best) = (0, None);
    for (range, weight) in ranges(fields) {
        if weight > greatest {
            let found = nearest(range, offers.iter().map(AsRef::as_ref)).filter(|_| range != b"*");
            if found.is_some() || range == b"*" {
                (greatest, best) = (weight, found);
            }
        }
    }
    best
}

/// Returns the index of the offer that is nearest to a language tag: the same tag, else the tag without its last subtags
/// (`de` for `de-AT`: the look-up of RFC 4647 section 3.4), else the first offer of the same language, wherever it is
/// spoken (`pt-BR` for `pt` and `pt-PT`), unless the two are written in different scripts (`zh-Hans` for `zh-TW`).
pub fn nearest<'o>(tag: &[u8], mut offers: impl Iterator<Item = &'o str> + Clone) -> Option<usize> {
    let mut rest = Some(tag);
    while let Some(parent) = rest {
        if let Some(found) = offers.clone().position(|offer| offer.as_bytes().eq_ignore_ascii_case(parent)) {
            return Some(found);
        }
        rest = parent.iter().rposition(|&byte| byte == b'-').map(|dash| &parent[..dash]);
    }
    let own = script(tag);
    offers.position(|offer| {
        let offer = offer.as_bytes();
        let same_script = own.zip(script(offer)).is_none_or(|(own, other)| own.eq_ignore_ascii_case(other));
        same_script && primary(offer).eq_ignore_ascii_case(primary(tag))
    })
}

/// Returns the first subtag: the language alone.
fn primary(tag: &[u8]) -> &[u8] {
    tag.split(|&byte| byte == b'-').next().unwrap_or_default()
}

/// Returns the script that a tag names. Chinese is written as it is in the region of the tag (CLDR, likely subtags).
fn script(tag: &[u8]) -> Option<&[u8]> {
    let mut rest = tag.split(|&byte| byte == b'-').skip(1);
    let next = rest.next()?;
    let is = |wanted: &str| next.eq_ignore_ascii_case(wanted.as_bytes());
    match next.len() {
        4 if next.iter().all(u8::is_ascii_alphabetic) => Some(next),
        2 if primary(tag).eq_ignore_ascii_case(b"zh") => {
            Some(if ["TW", "HK", "MO"].into_iter().any(is) { b"Hant" } else { b"Hans" })
        }
        _ => None,
    }
}

/// Chooses a coding by `Accept-Encoding` (RFC 9110 section 12.5.3): the greatest weight, then the smallest bytes. A
/// client that names nothing, or refuses everything, gets the bytes unchanged.
pub fn coding<'a>(fields: impl Iterator<Item = &'a [u8]>) -> Coding {
    let (mut brotli, mut gzip, mut identity, mut others) = (None, None, None, None);
    for (name, weight) in ranges(fields) {
        let named = |word: &[u8]| name.eq_ignore_ascii_case(word);
        let slot = match () {
            () if named(b"br") => &mut brotli,
            () if named(b"gzip") || named(b"x-gzip") => &mut gzip,
            () if named(b"identity") => &mut identity,
            () if name == b"*" => &mut others,
            () => continue,
        };
        *slot = Some(weight);
    }
    let weight = |own: Option<u16>| own.or(others).unwrap_or(0);
    let (brotli, gzip, identity) = (weight(brotli), weight(gzip), identity.or(others.filter(|&weight| weight == 0)));
    let best = brotli.max(gzip);
    if best == 0 || identity.is_some_and(|identity| identity > best) {
        Coding::Identity
    } else if brotli >= gzip {
        Coding::Brotli
    } else {
        Coding::Gzip
    }
}

/// Returns the ranges of a field's lists, each with its weight in thousandths.
fn ranges<'a>(fields: impl Iterator<Item = &'a [u8]>) -> impl Iterator<Item = (&'a [u8], u16)> {
    Items { fields, rest: None, left: MOST_RANGES }.filter_map(weighted)
}

/// Items of a field's lists, up to a limit.
struct Items<'a, F> {
    fields: F,
    /// Rest of the list that is being read.
    rest: Option<&'a [u8]>,
    left: usize,
}

impl<'a, F: Iterator<Item = &'a [u8]>> Iterator for Items<'a, F> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let list = match self.rest.take() {
            Some(rest) => rest,
            None => self.fields.next()?,
        };
        let Some(comma) = position(b',', list) else { return Some(list) };
        self.rest = Some(&list[comma + 1..]);
        Some(&list[..comma])
    }
}

/// Returns the index of a byte. Items are so short that a search by vectors would take longer.
fn position(byte: u8, text: &[u8]) -> Option<usize> {
    text.iter().position(|&own| own == byte)
}

/// Reads an item and its weight in thousandths.
fn weighted(item: &[u8]) -> Option<(&[u8], u16)> {
    let (name, parameters) = match position(b';', item) {
        None => (item, None),
        Some(end) => (&item[..end], Some(&item[end + 1..])),
    };
    let name = name.trim_ascii();
    if name.is_empty() {
        return None;
    }
    Some((name, parameters.map_or(Some(1000), weight)?))
}

/// Reads the weight among a range's parameters.
fn weight(parameters: &[u8]) -> Option<u16> {
    let mut parts = parameters.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    let weight = parts.find_map(|part| part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q=")));
    weight.map_or(Some(1000), thousandths)
}

/// Best range for an offer.
#[derive(Clone, Copy, Default)]
struct Match {
    specificity: u8,
    weight: u16,
}

impl Match {
    /// Takes a range if it is more specific, or as specific with a greater weight.
    fn update(&mut self, specificity: u8, weight: u16) {
        if specificity > self.specificity || (specificity == self.specificity && weight > self.weight) {
            *self = Self { specificity, weight };
        }
    }
}

/// Returns true if a text starts with another, in any case.
fn starts_with(text: &[u8], start: &[u8]) -> bool {
    text.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start))
}

/// Reads `1`, `0.8`, `0.123` as thousandths; `None` for anything else.
fn thousandths(text: &[u8]) -> Option<u16> {
    let (whole, fraction) = match text {
        [whole] => (whole, &[][..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return None,
    };
    let digit = |byte: u8| byte.is_ascii_digit().then(|| u16::from(byte - b'0'));
    let mut place = 1000;
    let mut value = digit(*whole)? * place;
    for &byte in fraction {
        place /= 10;
        value += digit(byte)? * place;
    }
    (value <= 1000).then_some(value)
}

/// Specificity of a range: `*/*`, `type/*`, or the name of a type.
const ANYTHING: u8 = 1;
const KIND: u8 = 2;
const NAMED: u8 = 3;

/// Most ranges that are read; no client needs more.
const MOST_RANGES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const OFFERS: [(&str, &str); 3] = [("html", "text/html"), ("json", "application/json"), ("text", "text/plain")];

    #[test]
    fn the_client_gets_what_it_would_rather_have() {
        for (accept, expected) in [
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Some("html")),
            ("application/json", Some("json")),
            ("application/problem+json", None),
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
    #[test]
    fn a_language_is_met_by_itself_by_its_parent_and_by_its_children() {
        let offers = ["en", "de", "pt-BR", "ar"];
        for (accept, expected) in [
            ("de", Some("de")),
            ("DE-at", Some("de")),
            ("fr-CH, fr;q=0.9, en;q=0.8, de;q=0.7, *;q=0.5", Some("en")),
            ("de;q=0.5, en;q=0.4", Some("de")),
            ("pt", Some("pt-BR")),
            ("PT-pt, en", Some("pt-BR")),
            ("xx, ar-EG;q=0.1", Some("ar")),
            ("*, de", None),
            ("xx, *;q=0.9, de;q=0.8", None),
            ("de;q=0.8, *;q=0.9", None),
            ("*;q=0.5, de;q=0.4, en;q=0.9", Some("en")),
            ("de;q=0.5, en;q=0.5", Some("de")),
            ("de;q=0.5, xx, en;q=0.6", Some("en")),
            ("de;q=0", None),
            ("", None),
            (";;,,q=1,-,--", None),
        ] {
            let found = language([accept.as_bytes()].into_iter(), &offers).map(|index| offers[index]);
            assert_eq!(found, expected, "{accept}");
        }
    }

    #[test]
    fn chinese_is_met_in_the_script_that_the_reader_reads() {
        let both = ["en", "zh-Hans", "zh-Hant"];
        for (accept, expected, without_hant) in [
            ("zh", Some("zh-Hans"), Some("zh-Hans")),
            ("zh-CN", Some("zh-Hans"), Some("zh-Hans")),
            ("zh-sg, en;q=0.5", Some("zh-Hans"), Some("zh-Hans")),
            ("zh-Hans-CN", Some("zh-Hans"), Some("zh-Hans")),
            ("zh-hans-HK", Some("zh-Hans"), Some("zh-Hans")),
            ("zh-TW", Some("zh-Hant"), None),
            ("zh-HK, en;q=0.5", Some("zh-Hant"), Some("en")),
            ("zh-Hant-MO", Some("zh-Hant"), None),
            // What browsers in Taiwan send: any Chinese rather than English.
            ("zh-TW,zh;q=0.9,en-US;q=0.8,en;q=0.7", Some("zh-Hant"), Some("zh-Hans")),
        ] {
            let found =
                |offers: &[&'static str]| language([accept.as_bytes()].into_iter(), offers).map(|index| offers[index]);
            assert_eq!((found(&both), found(&both[..2])), (expected, without_hant), "{accept}");
        }
        assert_eq!(language([&b"zh-MO"[..]].into_iter(), &["en", "zh-TW"]), Some(1));
        assert_eq!(language([&b"sr"[..]].into_iter(), &["en", "sr-Latn"]), Some(1));
        assert_eq!(language([&b"sr-Cyrl"[..]].into_iter(), &["en", "sr-Latn"]), None);
    }

    #[test]
    fn the_smallest_coding_is_chosen_among_those_wanted_most() {
        for (accept, expected) in [
            ("gzip, deflate, br, zstd", Coding::Brotli),
            ("gzip", Coding::Gzip),
            ("X-GZIP", Coding::Gzip),
            ("gzip;q=1.0, br;q=0.5", Coding::Gzip),
            ("*", Coding::Brotli),
            ("br;q=0, *", Coding::Gzip),
            ("identity", Coding::Identity),
            ("identity;q=1, gzip;q=0.5", Coding::Identity),
            ("identity;q=0, gzip;q=0.5", Coding::Gzip),
            ("*;q=0", Coding::Identity),
            ("deflate", Coding::Identity),
            ("", Coding::Identity),
            ("br;q=9", Coding::Identity),
        ] {
            assert_eq!(coding([accept.as_bytes()].into_iter()), expected, "{accept}");
        }
        assert_eq!(coding(std::iter::empty()), Coding::Identity);
    }
}

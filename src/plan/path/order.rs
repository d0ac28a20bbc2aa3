//! Order of patterns: which of two counts for a path that both cover, and whether there is such a path.

use std::cmp::Reverse;

use super::PathPattern;

/// Closeness of a pattern to its paths. The greater of two counts, whatever their order in the file.
///
/// Patterns are compared segment by segment: a whole segment is closer than one with `*`, which is closer than `**`, and a
/// pattern that goes on is closer than one that has ended. So the longest prefix counts among prefixes. Of two that are
/// alike, the first in the alphabet counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(Vec<Part>, Reverse<Box<str>>);

/// Segment of a pattern, the least close first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// `**`.
    Many,
    /// Segment with `*`, and this many other bytes.
    Partly(usize),
    /// Segment that is written out.
    Whole,
}

impl PathPattern {
    /// Returns the rank among the patterns of a host.
    pub fn rank(&self) -> Rank {
        let part = |segment: &str| match segment {
            "**" => Part::Many,
            _ if segment.contains('*') => Part::Partly(segment.bytes().filter(|&byte| byte != b'*').count()),
            _ => Part::Whole,
        };
        Rank(self.segments().map(part).collect(), Reverse(self.as_str().into()))
    }

    /// Returns the prefix that a path of the pattern begins with: the segments before the first `*`, or `/`.
    pub fn beginning(&self) -> &str {
        let text = self.as_str();
        let end = text.find('*').map_or(Some(text.len()), |star| text[..star].rfind('/'));
        match end {
            None | Some(0) => "/",
            Some(end) => &text[..end],
        }
    }

    /// Returns true if some path matches both patterns to its end. What lies below a match is covered by others as well,
    /// which is no reason to doubt what is meant.
    pub fn meets(&self, other: &Self) -> bool {
        let (own, others): (Vec<&str>, Vec<&str>) = (self.segments().collect(), other.segments().collect());
        meet(&own, &others, |segment| *segment == "**", |a, b| segments_meet(a, b))
    }

    /// Returns true if the pattern surely covers every path that another one covers.
    ///
    /// A character that no pattern has stands for `*`: only a `*` covers it, which then covers everything else in its
    /// place. Segments of it stand for `**`, none up to more than the pattern could take one by one.
    pub fn includes(&self, other: &Self) -> bool {
        let most = self.segments().count() + 1;
        let stars = other.segments().filter(|segment| *segment == "**").count();
        let tries = u32::try_from(stars).ok().and_then(|stars| (most + 1).checked_pow(stars));
        let Some(tries) = tries.filter(|&tries| tries <= MOST_TRIES) else { return false };
        let mut path = String::new();
        (0..tries).all(|mut number| {
            path.clear();
            for segment in other.segments() {
                if segment == "**" {
                    path.push_str(&"/\u{1}".repeat(number % (most + 1)));
                    number /= most + 1;
                } else {
                    path.push('/');
                    path.push_str(&segment.replace('*', "\u{1}"));
                }
            }
            self.covers(if path.is_empty() { "/" } else { &path })
        })
    }

    fn segments(&self) -> impl Iterator<Item = &str> {
        self.as_str().split('/').filter(|segment| !segment.is_empty())
    }
}

impl Rank {
    /// Returns true if nothing but the alphabet tells which of two patterns is closer.
    pub fn is_alike(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

/// Returns true if some segment matches both patterns, in which `*` stands for any characters.
fn segments_meet(a: &str, b: &str) -> bool {
    meet(a.as_bytes(), b.as_bytes(), |&byte| byte == b'*', |a, b| a == b)
}

/// Walks two patterns side by side, and stands at a wild part while the other goes on. Returns true if they can end
/// together.
fn meet<T>(a: &[T], b: &[T], is_wild: impl Fn(&T) -> bool, same: impl Fn(&T, &T) -> bool) -> bool {
    let width = b.len() + 1;
    let mut seen = vec![false; (a.len() + 1) * width];
    let mut open = vec![(0, 0)];
    while let Some((x, y)) = open.pop() {
        if std::mem::replace(&mut seen[x * width + y], true) {
            continue;
        }
        let (own, other) = (a.get(x), b.get(y));
        if own.is_none() && other.is_none() {
            return true;
        }
        if own.is_some_and(&is_wild) {
            open.push((x + 1, y));
            open.extend(other.map(|_| (x, y + 1)));
        }
        if other.is_some_and(&is_wild) {
            open.push((x, y + 1));
            open.extend(own.map(|_| (x + 1, y)));
        }
        if let (Some(own), Some(other)) = (own, other)
            && same(own, other)
        {
            open.push((x + 1, y + 1));
        }
    }
    false
}

/// Paths that are tried for a pattern within another one.
const MOST_TRIES: usize = 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> PathPattern {
        PathPattern::new(text).unwrap()
    }

    #[test]
    fn the_closer_pattern_has_the_higher_rank() {
        let ordered = [
            "/", "*.php", "**/b", "/**/b/c", "/*/b", "/a*", "/*ab", "/ab*c", "/a", "/a/**/b", "/a/*/b", "/a/b*", "/a/b",
        ];
        for pair in ordered.windows(2) {
            assert!(pattern(pair[0]).rank() < pattern(pair[1]).rank(), "{pair:?}");
        }
        let (a, b, x, y) = (pattern("/*a"), pattern("/b*"), pattern("/a/x"), pattern("/a/y"));
        assert!(a.rank().is_alike(&b.rank()) && a.rank() > b.rank());
        assert!(x.rank().is_alike(&y.rank()) && x.rank() > y.rank());
    }

    #[test]
    fn a_pattern_begins_with_the_segments_before_its_first_star() {
        for (text, beginning) in
            [("/", "/"), ("/a/b", "/a/b"), ("/a*", "/"), ("*.php", "/"), ("/a/b*c", "/a"), ("/a/**/b", "/a")]
        {
            assert_eq!(pattern(text).beginning(), beginning, "{text}");
        }
    }

    #[test]
    fn patterns_meet_where_a_path_is_of_both() {
        for (a, b, meets) in [
            ("/a*", "/*b", true),
            ("/a*", "/b*", false),
            ("/*.php", "/*.css", false),
            ("*.php", "*.css", false),
            ("*.php", "**/index*", true),
            ("/*/x", "/*/y", false),
            ("/**/x", "/**/y", false),
            ("/**/x", "/*/x", true),
            ("/a", "/a/b/c", false),
            ("/a*b*c", "/a*d*c", true),
            ("/a/*/c", "/*/b/d", false),
        ] {
            assert_eq!((pattern(a).meets(&pattern(b)), pattern(b).meets(&pattern(a))), (meets, meets), "{a} {b}");
        }
    }

    #[test]
    fn a_pattern_includes_what_it_surely_covers() {
        for (wide, narrow, includes) in [
            ("/", "/**/x", true),
            ("/**/a", "/**/x*/a", true),
            ("/**/a", "/**/a", true),
            ("/*/b", "/a/b/c", true),
            ("/a*", "/ab*c", true),
            ("/ab*", "/a*", false),
            ("/*/b", "/**/b", false),
            ("/**/b", "/*/b", true),
            ("/a/b", "/a", false),
        ] {
            assert_eq!(pattern(wide).includes(&pattern(narrow)), includes, "{wide} {narrow}");
        }
    }

    /// Tries everything: exponential, and plainly right.
    fn matches_whole(pattern: &[&str], path: &[&str]) -> bool {
        match pattern {
            [] => path.is_empty(),
            ["**", rest @ ..] => (0..=path.len()).any(|from| matches_whole(rest, &path[from..])),
            [one, rest @ ..] => {
                path.first().is_some_and(|first| super::super::matches(one, first)) && matches_whole(rest, &path[1..])
            }
        }
    }

    fn patterns() -> impl Strategy<Value = String> {
        let segments = proptest::sample::select(vec!["**", "*", "a", "b", "a*", "*b", "a*b"]);
        proptest::collection::vec(segments, 1..4).prop_map(|segments| format!("/{}", segments.join("/")))
    }

    proptest! {
        #[test]
        fn patterns_that_cover_one_path_meet(
            a in patterns(),
            b in patterns(),
            paths in proptest::collection::vec(
                proptest::collection::vec(proptest::sample::select(vec!["a", "b", "ab", "abb", "c"]), 0..5), 1..24),
        ) {
            let (a, b) = (pattern(&a), pattern(&b));
            for segments in &paths {
                let path = format!("/{}", segments.join("/"));
                let whole = |pattern: &PathPattern| matches_whole(&pattern.segments().collect::<Vec<_>>(), segments);
                prop_assert!(!(whole(&a) && whole(&b)) || a.meets(&b), "{a:?} {b:?} {path}");
                prop_assert!(!a.includes(&b) || !b.covers(&path) || a.covers(&path), "{a:?} {b:?} {path}");
            }
        }
    }
}

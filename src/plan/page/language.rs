//! Languages: the page's own words, plurals, numbers and dates, from message files.
//!
//! A message file is flat TOML: `key = "text with {placeholders}"`, or a table of plural categories (CLDR). The
//! argument `n` chooses the category.

use std::collections::HashMap;

use intl_pluralrules::{PluralCategory, PluralRuleType, PluralRules};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use toml::de::DeValue;
use unic_langid::LanguageIdentifier;

use super::super::problem::{Problem, did_you_mean, quoted};
use super::super::read::{Lines, Report, Value, did_you_mean_text, document, in_order};

/// Words of the page in one language.
pub(in crate::plan) struct Language {
    /// Language tag (BCP 47).
    pub(in crate::plan) tag: String,
    /// The language is written from right to left.
    pub(in crate::plan) right_to_left: bool,
    messages: Messages,
    digits: Vec<char>,
    months: Vec<String>,
    plurals: Option<PluralRules>,
}

/// Messages by their key.
#[derive(Clone, Debug, Default)]
pub(super) struct Messages(HashMap<String, Message>);

#[derive(Clone, Debug)]
enum Message {
    Text(String),
    /// Texts by plural category.
    Plural(Vec<(&'static str, String)>),
    List(Vec<String>),
}

impl Messages {
    /// Reads a message file. If `known` is given, other keys are problems.
    pub(super) fn parse(file: &str, text: &str, known: Option<&Self>) -> (Option<Self>, Vec<Problem>) {
        let mut report = Report::new(file, text);
        let Some(table) = document(text, &mut report) else {
            let (_, problems) = report.finish(());
            return (None, problems);
        };
        let mut messages = HashMap::new();
        for (key, value) in in_order(&table) {
            let value = Value::new(key.get_ref(), key, value);
            if known.is_some_and(|known| !known.0.contains_key(value.key)) {
                let near = known.and_then(|known| did_you_mean(value.key, known.0.keys().map(String::as_str)));
                let help = near.map_or_else(|| "remove it: no template asks for it".to_owned(), did_you_mean_text);
                report.wrong(value.key_span.clone(), format!("unknown message {}", quoted(value.key)), help);
                continue;
            }
            let Some(message) = Message::read(&value, &mut report) else { continue };
            if let Some(model) = known.and_then(|known| known.0.get(value.key)) {
                message.check_placeholders(model, &value, &mut report);
            }
            messages.insert(value.key.to_owned(), message);
        }
        report.finish(Self(messages))
    }

    /// Adds the messages of another set that are missing here.
    #[must_use]
    pub(super) fn over(self, below: &Self) -> Self {
        let mut messages = below.0.clone();
        messages.extend(self.0);
        Self(messages)
    }

    /// Returns the keys of another set that are missing here, sorted.
    pub(super) fn missing<'o>(&self, other: &'o Self) -> Vec<&'o str> {
        let mut missing: Vec<&str> =
            other.0.keys().filter(|key| !self.0.contains_key(*key)).map(String::as_str).collect();
        missing.sort_unstable();
        missing
    }

    fn text(&self, key: &str) -> &str {
        match self.0.get(key) {
            Some(Message::Text(text)) => text,
            Some(Message::Plural(_) | Message::List(_)) | None => "",
        }
    }
}

impl Message {
    fn read(value: &Value<'_>, report: &mut Report<'_>) -> Option<Self> {
        match value.inner {
            DeValue::Table(table) => {
                let mut forms = Vec::new();
                for (category, inner) in in_order(table) {
                    let form = Value::new(category.get_ref(), category, inner);
                    let Some(known) = CATEGORIES.iter().find(|known| **known == form.key) else {
                        let help = "the categories are `zero`, `one`, `two`, `few`, `many` and `other`";
                        report.wrong(category.span(), format!("{} is no plural category", quoted(form.key)), help);
                        continue;
                    };
                    forms.extend(form.words(LONGEST, Lines::Many, report).map(|words| (*known, words)));
                }
                if !forms.iter().any(|(category, _)| *category == "other") {
                    let help = "every language needs it: it is taken where no other category fits";
                    report.wrong(value.span.clone(), format!("`{}` has no `other`", value.key), help);
                }
                Some(Self::Plural(forms))
            }
            DeValue::Array(_) => {
                let items = value.any_number();
                report.at_most(MOST_ITEMS, items.len(), "items", value.key_span.clone());
                let items = items.iter().take(MOST_ITEMS);
                Some(Self::List(items.filter_map(|item| item.words(LONGEST, Lines::One, report)).collect()))
            }
            // A separator may be a blank, which `words` would refuse.
            DeValue::String(text) if text.chars().all(|c| c == ' ' || c == '\u{a0}' || c == '\u{202f}') => {
                Some(Self::Text(text.to_string()))
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => value.words(LONGEST, Lines::Many, report).map(Self::Text),
        }
    }
}

impl Message {
    /// Reports a `{placeholder}` that has no argument.
    fn check_placeholders(&self, model: &Self, value: &Value<'_>, report: &mut Report<'_>) {
        let known = model.placeholders();
        for name in self.placeholders().into_iter().filter(|name| !known.contains(name)) {
            let help = match known.as_slice() {
                [] => "this message has no placeholders".to_owned(),
                known => format!(
                    "its placeholders are {}",
                    known.iter().map(|name| format!("`{{{name}}}`")).collect::<Vec<_>>().join(", ")
                ),
            };
            report.wrong(value.span.clone(), format!("`{}` has an unknown placeholder `{{{name}}}`", value.key), help);
        }
    }

    /// Returns the placeholders, each once.
    fn placeholders(&self) -> Vec<&str> {
        let texts: Vec<&str> = match self {
            Self::Text(text) => vec![text],
            Self::Plural(forms) => forms.iter().map(|(_, text)| text.as_str()).collect(),
            Self::List(_) => Vec::new(),
        };
        let names =
            texts.iter().flat_map(|text| text.split('{').skip(1)).filter_map(|rest| Some(rest.split_once('}')?.0));
        let mut names: Vec<&str> = names.collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl Language {
    /// Makes a language of its messages.
    ///
    /// # Errors
    /// Returns a problem without a place if a message lacks something that numbers or dates need.
    pub(super) fn new(tag: &str, messages: Messages) -> Result<Self, String> {
        let digits: Vec<char> = messages.text("digits").chars().collect();
        if digits.len() != 10 {
            return Err("`digits` must be the ten digits from 0 to 9".to_owned());
        }
        let months = match messages.0.get("months") {
            Some(Message::List(months)) if months.len() == 12 => months.clone(),
            _ => return Err("`months` must be a list of the twelve months".to_owned()),
        };
        let right_to_left = match messages.text("dir") {
            "ltr" => false,
            "rtl" => true,
            _ => return Err("`dir` must be `ltr` or `rtl`".to_owned()),
        };
        Ok(Self { tag: tag.to_owned(), right_to_left, messages, digits, months, plurals: plurals(tag) })
    }

    /// Returns a message with its placeholders filled in; `None` for an unknown key. `n` chooses the plural.
    pub(in crate::plan) fn message(&self, key: &str, n: Option<u64>, arguments: &[(&str, String)]) -> Option<String> {
        let pattern = match self.messages.0.get(key)? {
            Message::Text(text) => text,
            Message::List(items) => return Some(items.join(self.messages.text("list-separator"))),
            Message::Plural(forms) => {
                let category = n.map_or("other", |n| self.category(n));
                let form = |wanted: &str| forms.iter().find(|(category, _)| *category == wanted);
                &form(category).or_else(|| form("other"))?.1
            }
        };
        Some(fill(pattern, arguments))
    }

    /// Returns a message whose key every language has; see [`Language::message`].
    pub(in crate::plan) fn own(&self, key: &str, arguments: &[(&str, String)]) -> String {
        let message = self.message(key, None, arguments);
        debug_assert!(message.is_some(), "no message {key}");
        message.unwrap_or_default()
    }

    /// Writes a whole number, with the digits and the grouping of the language.
    pub(in crate::plan) fn number(&self, number: u64) -> String {
        let plain = number.to_string();
        let group = self.messages.text("group");
        let mut text = String::with_capacity(plain.len() * 2);
        for (index, digit) in plain.chars().enumerate() {
            if index > 0 && (plain.len() - index).is_multiple_of(3) {
                text.push_str(group);
            }
            text.push(self.digit(digit));
        }
        text
    }

    /// Writes a length of time in its two largest units of days, hours and minutes.
    pub(in crate::plan) fn span(&self, seconds: u64) -> String {
        let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
        let (d, h, m) = (("d", self.number(days)), ("h", self.number(hours)), ("m", self.number(minutes)));
        match (days, hours, minutes) {
            (0, 0, 0) => self.own("span-0", &[]),
            (0, 0, _) => self.own("span-m", &[m]),
            (0, _, 0) => self.own("span-h0", &[h]),
            (0, ..) => self.own("span-h", &[h, m]),
            (_, 0, _) => self.own("span-d0", &[d]),
            _ => self.own("span-d", &[d, h]),
        }
    }

    /// Writes a time of day in UTC: `14:14`.
    pub(in crate::plan) fn clock(&self, instant: Timestamp) -> String {
        let plain = instant.strftime("%H:%M").to_string();
        plain.chars().map(|character| self.digit(character)).collect()
    }

    /// Writes a date in UTC: `19 May 2026`.
    pub(in crate::plan) fn date(&self, instant: Timestamp) -> String {
        let date = TimeZone::UTC.to_datetime(instant).date();
        let plain = |number: i16| number.to_string().chars().map(|digit| self.digit(digit)).collect::<String>();
        let month = usize::try_from(date.month() - 1).ok().and_then(|index| self.months.get(index));
        let month = month.cloned().unwrap_or_default();
        let (day, year) = (plain(date.day().into()), plain(date.year()));
        self.own("date", &[("day", day), ("month", month), ("year", year)])
    }

    /// Writes a date and a time: `19 May 2026, 14:14 UTC`.
    pub(in crate::plan) fn date_time(&self, instant: Timestamp) -> String {
        self.own("date-time", &[("date", self.date(instant)), ("clock", self.clock(instant))])
    }

    /// Joins a list: `eu-west, us-east`.
    pub(in crate::plan) fn list(&self, items: &[String]) -> String {
        items.join(self.messages.text("list-separator"))
    }

    fn digit(&self, digit: char) -> char {
        let index = digit.to_digit(10).and_then(|digit| usize::try_from(digit).ok());
        index.and_then(|index| self.digits.get(index)).copied().unwrap_or(digit)
    }

    fn category(&self, n: u64) -> &'static str {
        match self.plurals.as_ref().and_then(|rules| rules.select(n).ok()) {
            Some(PluralCategory::ZERO) => "zero",
            Some(PluralCategory::ONE) => "one",
            Some(PluralCategory::TWO) => "two",
            Some(PluralCategory::FEW) => "few",
            Some(PluralCategory::MANY) => "many",
            Some(PluralCategory::OTHER) | None => "other",
        }
    }
}

/// Returns the plural rules of a language, or those of its parent.
fn plurals(tag: &str) -> Option<PluralRules> {
    let rules = |tag: &str| {
        let language: LanguageIdentifier = tag.parse().ok()?;
        PluralRules::create(language, PluralRuleType::CARDINAL).ok()
    };
    rules(tag).or_else(|| rules(tag.split('-').next()?))
}

/// Fills in placeholders in one pass. Braces inside of arguments are never filled in.
fn fill(pattern: &str, arguments: &[(&str, String)]) -> String {
    let mut text = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    while let Some((before, behind)) = rest.split_once('{') {
        text.push_str(before);
        let argument = behind.split_once('}').and_then(|(name, after)| {
            let (_, value) = arguments.iter().find(|(own, _)| *own == name)?;
            Some((value, after))
        });
        rest = match argument {
            Some((value, after)) => {
                text.push_str(value);
                after
            }
            None => {
                text.push('{');
                behind
            }
        };
    }
    text + rest
}

const CATEGORIES: [&str; 6] = ["zero", "one", "two", "few", "many", "other"];
/// Most bytes of a message.
const LONGEST: usize = 4096;
/// Most items of a list of words.
const MOST_ITEMS: usize = 32;

#[cfg(test)]
mod tests {
    use super::super::super::config::LANGUAGES;
    use super::super::templates::MESSAGE_FILES;
    use super::*;

    fn language(tag: &str, more: &str) -> Language {
        let months = ["a", "b", "c", "d", "May", "f", "g", "h", "i", "j", "k", "l"].map(|month| format!("{month:?}"));
        let text = format!(
            "dir = \"ltr\"\ndigits = \"0123456789\"\nlist-separator = \", \"\nmonths = [{}]\ndate = \"{{day}} {{month}} \
             {{year}}\"\ndate-time = \"{{date}}, {{clock}} UTC\"\nspan-0 = \"now\"\nspan-m = \"{{m}}m\"\nspan-h = \"{{h}}h \
             {{m}}m\"\nspan-h0 = \"{{h}}h\"\nspan-d = \"{{d}}d {{h}}h\"\nspan-d0 = \"{{d}}d\"\n{more}",
            months.join(", ")
        );
        let (messages, problems) = Messages::parse("xx.toml", &text, None);
        assert_eq!(problems, []);
        Language::new(tag, messages.unwrap()).unwrap()
    }

    #[test]
    fn numbers_spans_and_dates_are_those_of_the_language() {
        let english = language("en", "group = \",\"");
        assert_eq!(english.number(0), "0");
        assert_eq!(english.number(1_234_567), "1,234,567");
        let spans =
            [(0, "now"), (59, "now"), (60, "1m"), (3600, "1h"), (5040, "1h 24m"), (86_400, "1d"), (97_200, "1d 3h")];
        for (seconds, words) in spans {
            assert_eq!(english.span(seconds), words);
        }
        let instant = "2026-05-19T14:04:59Z".parse().unwrap();
        assert_eq!(english.date_time(instant), "19 May 2026, 14:04 UTC");
        let arabic = language("ar-EG", "group = \" \"").messages;
        let digits = Messages::parse("ar.toml", "digits = \"٠١٢٣٤٥٦٧٨٩\"", None).0.unwrap();
        assert_eq!(Language::new("ar", digits.over(&arabic)).unwrap().number(1234), "١ ٢٣٤");
    }

    #[test]
    fn a_plural_is_chosen_by_the_rules_of_the_language() {
        let forms =
            "down = { one = \"{n} one\", few = \"{n} few\", many = \"{n} many\", other = \"{n} other\" }\ngroup = \"\"";
        let shown = |tag: &str, n: u64| {
            let language = language(tag, forms);
            language.message("down", Some(n), &[("n", language.number(n))]).unwrap()
        };
        assert_eq!([shown("en", 1), shown("en", 0), shown("en", 2)], ["1 one", "0 other", "2 other"]);
        assert_eq!([shown("pl", 1), shown("pl", 3), shown("pl", 5)], ["1 one", "3 few", "5 many"]);
        assert_eq!([shown("ja", 1), shown("ar-EG", 11), shown("xx", 1)], ["1 other", "11 many", "1 other"]);
    }

    #[test]
    fn what_an_argument_says_is_not_filled_in_again() {
        let arguments = [("a", "{b}".to_owned()), ("b", "x".to_owned())];
        assert_eq!(fill("{a} {b} {c} { } {", &arguments), "{b} x {c} { } {");
    }

    #[test]
    fn what_is_wrong_with_a_message_file_is_told_with_its_place() {
        let known = Messages::parse("en.toml", "title = \"x\"\ndown = { other = \"x\" }", None).0.unwrap();
        let text = "titel = \"x\"\ndown = { one = \"x\", some = \"y\" }\nother = 3\ntitle = \"{date} {}\"\n";
        let (messages, problems) = Messages::parse("pages/messages/de.toml", text, Some(&known));
        assert!(messages.is_none());
        let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(shown.join("\n\n"));
    }

    fn built_in() -> Vec<(&'static str, Messages)> {
        let parsed = MESSAGE_FILES.map(|(tag, text)| {
            let (messages, problems) = Messages::parse(&format!("{tag}.toml"), text, None);
            assert_eq!(problems, []);
            (tag, messages.unwrap())
        });
        parsed.into()
    }

    /// Returns the categories that the whole numbers of a language need, and `other`, which every message has.
    fn categories(tag: &str, messages: &Messages) -> Vec<&'static str> {
        let language = Language::new(tag, messages.clone()).unwrap();
        let needed: Vec<&str> = (0..=1000).chain([1_000_000]).map(|n| language.category(n)).collect();
        CATEGORIES.into_iter().filter(|category| needed.contains(category) || *category == "other").collect()
    }

    #[test]
    fn every_built_in_language_has_every_message_whole() {
        let languages = built_in();
        let (_, english) = &languages[0];
        let tags: Vec<&str> = languages.iter().map(|(tag, _)| *tag).collect();
        assert_eq!(tags, LANGUAGES);
        let mut wrong = Vec::new();
        for (tag, messages) in &languages {
            wrong.extend(messages.missing(english).iter().map(|key| format!("{tag}: `{key}` is missing")));
            wrong.extend(english.missing(messages).iter().map(|key| format!("{tag}: `{key}` is not in English")));
            let categories = categories(tag, messages);
            for (key, message) in &messages.0 {
                let Some(model) = english.0.get(key) else { continue };
                if message.placeholders() != model.placeholders() {
                    let (own, model) = (message.placeholders(), model.placeholders());
                    wrong.push(format!("{tag}: `{key}` has the placeholders {own:?}, and in English {model:?}"));
                }
                match (message, model) {
                    (Message::Plural(forms), Message::Plural(_)) => {
                        let has = |category| forms.iter().any(|(own, _)| *own == category);
                        let lacking: Vec<_> = categories.iter().filter(|category| !has(**category)).collect();
                        if !lacking.is_empty() {
                            wrong.push(format!("{tag}: `{key}` lacks the forms {lacking:?}"));
                        }
                    }
                    (Message::Text(_), Message::Text(_)) | (Message::List(_), Message::List(_)) => {}
                    _ => wrong.push(format!("{tag}: `{key}` is of another kind than in English")),
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    /// A message that was copied and forgotten looks like a translation to every other test.
    #[test]
    fn no_message_is_still_in_english() {
        let languages = built_in();
        let (_, english) = &languages[0];
        let has_words = |text: &str| {
            // Nothing is left of a pattern without its placeholders, units and marks.
            let mut words = text.split(['{', '}']).step_by(2).flat_map(|part| part.split(|c: char| !c.is_alphabetic()));
            words.any(|word| !["", "d", "h", "min", "UTC"].contains(&word))
        };
        let mut same = Vec::new();
        for (tag, messages) in languages.iter().skip(1) {
            for (key, message) in &messages.0 {
                let (text, is_word) = (messages.text(key), key != "dir");
                if is_word && has_words(text) && matches!(message, Message::Text(_)) && text == english.text(key) {
                    same.push(format!("{tag} {key}"));
                }
            }
        }
        same.sort_unstable();
        assert_eq!(same, THE_SAME, "translate it, or list it here if it is the same word");
    }

    /// Words that are those of English, sorted.
    const THE_SAME: [&str; 25] = [
        "de col-region",
        "de col-status",
        "de in",
        "de is-offline",
        "de live",
        "de region",
        "de status",
        "es error-label",
        "fr badge-maintenance",
        "fr col-service",
        "fr mail-services",
        "fr maintenance",
        "fr news-untitled",
        "fr services",
        "fr site-now",
        "nl badge-label",
        "nl col-status",
        "nl live",
        "nl site-updates",
        "nl status",
        "pl col-region",
        "pl region",
        "pt-BR badge-label",
        "pt-BR col-status",
        "pt-BR status",
    ];
}

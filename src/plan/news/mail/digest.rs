//! Digest: all updates of a day in one mail, by incident.

use jiff::Timestamp;

use super::super::Key;
use super::{Action, Daily, Letter, MOST_TEXT, cut, line};

/// Update that goes into a digest.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'e> {
    /// Key of the incident.
    pub incident: &'e Key,
    /// Key of the update.
    pub update: &'e Key,
    /// Number of the update within the incident.
    pub sequence: u32,
    /// Instant of the update.
    pub at: Timestamp,
    /// Words.
    pub letter: &'e Letter,
}

/// Digest in one language, incidents with the newest update first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Key, the same for the same updates.
    pub key: Key,
    /// Subject, heading and foot.
    pub frame: Letter,
    /// Incidents.
    pub sections: Vec<Section>,
    /// Sentence for what had no room.
    pub more: String,
}

/// Incident in a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Heading.
    pub heading: String,
    /// Word for the newest stage.
    pub stage: Option<String>,
    /// Newest facts with their labels.
    pub facts: Vec<(String, String)>,
    /// Instants and paragraphs of the updates, newest first.
    pub updates: Vec<(String, Vec<String>)>,
    /// True if some of the updates had no room.
    pub is_cut: bool,
    /// Link to the incident.
    pub action: Option<Action>,
}

impl Digest {
    /// Words a digest; `None` if there are no updates.
    pub fn new(mut entries: Vec<Entry<'_>>) -> Option<Self> {
        entries.sort_by_key(|entry| std::cmp::Reverse((entry.at, entry.sequence)));
        let newest = entries.first()?.letter;
        let mut incidents: Vec<&Key> = Vec::new();
        for entry in &entries {
            if !incidents.contains(&entry.incident) {
                incidents.push(entry.incident);
            }
        }
        let section = |incident: &Key| {
            let own = entries.iter().filter(|entry| entry.incident == incident);
            Section::new(own.map(|entry| entry.letter))
        };
        let mut updates: Vec<&str> = entries.iter().map(|entry| entry.update.as_str()).collect();
        updates.sort_unstable();
        let (heading, more) = match &newest.daily {
            Some(Daily { heading, more, .. }) => (heading.clone(), more.clone()),
            None => (newest.site.clone(), "…".to_owned()),
        };
        let frame = Letter {
            subject: format!("[{}] {heading}", newest.site),
            stage: None,
            heading,
            paragraphs: Vec::new(),
            facts: Vec::new(),
            action: None,
            calendar: None,
            daily: None,
            ..newest.clone()
        };
        Some(Self {
            key: Key::of(&std::iter::once("digest").chain(updates).collect::<Vec<_>>()),
            frame: frame.bounded(),
            sections: incidents.into_iter().filter_map(section).collect(),
            more: line(&more),
        })
    }
}

impl Section {
    /// Words an incident by the letters about it, newest first. Texts are cut as those of a mail are.
    fn new<'l>(mut letters: impl Iterator<Item = &'l Letter>) -> Option<Self> {
        let first = letters.next()?;
        let newest = first.bounded();
        let (mut updates, mut left, mut is_cut) = (Vec::new(), MOST_TEXT, false);
        for letter in std::iter::once(first).chain(letters) {
            if left == 0 || updates.len() == MOST_UPDATES {
                is_cut = true;
                break;
            }
            let mut paragraphs = Vec::new();
            for paragraph in &letter.paragraphs {
                if left == 0 {
                    break;
                }
                let shown = cut(paragraph, left);
                left = left.saturating_sub(shown.len());
                paragraphs.push(shown);
            }
            is_cut |= paragraphs.len() < letter.paragraphs.len();
            let when = letter.daily.as_ref().map(|daily| line(&daily.when)).unwrap_or_default();
            updates.push((when, paragraphs));
        }
        let Letter { heading, stage, facts, action, .. } = newest;
        Some(Self { heading, stage, facts, updates, is_cut, action })
    }
}

/// Updates of an incident.
const MOST_UPDATES: usize = 50;

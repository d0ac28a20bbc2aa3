//! Sample flag files for trying templates: the shortest, a complete one and the worst.

use jiff::{SignedDuration, Timestamp};

use super::super::flags::{
    self, Flags, Impact, Mode, OnOverrun, Opens, Progress, Service, ServiceStatus, Step, StepState, Target, When,
    Window,
};
use super::super::text::Text;
use super::PageContent;

/// Returns a flag without words.
pub fn bare() -> Flags {
    flags_of("[routes]\n\"*\" = \"offline\"\n")
}

/// Returns a flag with an end and a message.
pub fn brief(now: Timestamp) -> Flags {
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let until = now.checked_add(SignedDuration::from_mins(12)).unwrap_or(now);
    let message = "We are moving the database to a bigger disk.";
    flags_of(&format!("[routes.\"*\"]\nmode = \"offline\"\nuntil = {until}\nmessage = \"{message}\"\n"))
}

/// Returns a window with everything, 28 minutes after its planned start.
pub fn full(now: Timestamp) -> Flags {
    let mut flags = flags_of(FULL);
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    for window in &mut flags.windows {
        if let When::Once { starts, .. } = window.when {
            shift(window, now.duration_since(starts) - SignedDuration::from_mins(28));
        }
    }
    flags
}

/// Returns the content for an open route with an announced window.
pub(super) fn announced(now: Timestamp) -> PageContent {
    let instant = |hours| now.checked_add(SignedDuration::from_hours(hours)).unwrap_or(now);
    PageContent::announced("MNT-2026-0519-a", Some("A new disk".into()), Mode::Offline, (instant(40), instant(41)))
}

/// Moves a window and everything that it plans.
pub fn shift(window: &mut Window, by: SignedDuration) {
    let move_one = |instant: &mut Timestamp| *instant = instant.checked_add(by).unwrap_or(*instant);
    let services = window.services.iter_mut().filter_map(|service| service.eta.as_mut());
    let once = match &mut window.when {
        When::Once { starts, ends } => vec![starts, ends],
        When::Every(_) => Vec::new(),
    };
    once.into_iter().chain(&mut window.started).chain(services).for_each(move_one);
}

/// Returns what pages of the status site are made of: each kind with little and with much.
pub fn site() -> Vec<serde_json::Value> {
    serde_json::from_str(SITE).unwrap_or_else(|error| panic!("a sample is a list of pages: {error}"))
}

fn flags_of(text: &str) -> Flags {
    let (parsed, problems) = flags::parse("sample.toml", text);
    parsed.map(|parsed| parsed.flags).unwrap_or_else(|| panic!("a sample is a flag file: {problems:?}"))
}

/// Returns a window with a hundred services and forty steps, and with long words, markup and other scripts in every
/// field.
pub fn worst(now: Timestamp) -> Flags {
    let instant = |seconds| now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(now);
    let words = |index: usize| Text::from(HOSTILE[index % HOSTILE.len()]);
    let line = |index: usize| Text::from(HOSTILE[index % HOSTILE.len()].lines().next().unwrap_or_default());
    let statuses = [
        ServiceStatus::Offline,
        ServiceStatus::Restarting,
        ServiceStatus::Queued,
        ServiceStatus::Degraded,
        ServiceStatus::Operational,
    ];
    let service = |index: usize| Service {
        route: None,
        name: line(index),
        detail: (!index.is_multiple_of(3)).then(|| line(index + 1)),
        status: statuses[index % statuses.len()],
        eta: (index % 5 < 4 && index.is_multiple_of(2))
            .then(|| instant(i64::try_from(index).unwrap_or(0) * 4000 - 9000)),
        regions: (0..index % 7).map(|index| line(index).plain).collect(),
    };
    let states = [StepState::Done, StepState::Failed, StepState::Running, StepState::Pending];
    let step = |index: usize| Step {
        auto: None,
        title: line(index),
        detail: (!index.is_multiple_of(4)).then(|| words(index)),
        state: states[index / 10 % states.len()],
        progress: (index.is_multiple_of(2)).then(|| Progress {
            done: index as u64 * 99_999_999,
            total: 40 * 99_999_999,
            unit: (index.is_multiple_of(4)).then(|| line(index)),
        }),
        at: None,
    };
    let window = Window {
        ended: None,
        announce: None,
        on_overrun: OnOverrun::Open,
        opens: Opens::Time,
        title: Some(line(1)),
        summary: Some(line(2)),
        message: Some(Text::from(HOSTILE.join("\n\n").repeat(4).as_str())),
        id: HOSTILE[2].chars().take(64).collect(),
        label: Some(line(3)),
        when: When::Once { starts: instant(-400_000), ends: instant(2_000_000) },
        started: Some(instant(-300_000)),
        regions: (0..64).map(|index| line(index).plain).collect(),
        impact: Some(Impact { level: line(0), note: Some(line(1)) }),
        services: (0..100).map(service).collect(),
        steps: (0..40).map(step).collect(),
        routes: vec![(Target::Every, Mode::Offline)],
    };
    Flags { windows: vec![window], ..Flags::default() }
}

/// Texts that must not break the layout or the escaping.
const HOSTILE: [&str; 5] = [
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "\"><style>*{display:none}</style> {{ 7 * 7 }} {% raw %} ]]> --> ` | * _ # \\ & &amp; '",
    "AnUnbrokenWordThatGoesOnAndOnAndOnUntilItIsWiderThanAnyColumnThatAnybodyWouldEverThinkOfMakingForItInATableOfServicesOrInAHeadingOfAPageThatIsReadOnAPhoneInAnUndergroundTrainAtNightAnUnbrokenWordThatGoesOnAndOnAndOnUntilItIsWider",
    "مرحبا بالعالم \u{202e}reversed\u{202c} שלום 文字化けしないことを確かめるための長い文章をここに置きます 👩‍👩‍👧‍👦🏳️‍🌈 e\u{301}\u{301}\u{301}",
    "First line\nsecond line\n\n   indented\n# heading\n---\n| a | b |",
];

const SITE: &str = include_str!("../../../pages/samples/site.json");
const FULL: &str = include_str!("../../../pages/samples/full.toml");

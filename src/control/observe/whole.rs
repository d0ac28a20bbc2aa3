//! Word of the other replicas about the routes that come back: their counts, their baselines, their findings.
//!
//! Each replica sums on its own what it has heard, and so all come to the same.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::control::fleet::peers::{Heard, Peers};
use crate::live::Generation;
use crate::plan::lifecycle::{
    Among, Baseline, Breach, Clients, Counts, GuardCounts, Measured, Peer, Standard, Whole, measure,
};
use crate::plan::snapshot::{Phase, Route};
use crate::plan::units::millis;
use crate::status::beat::Beat;
use crate::status::judged::{JudgedStatus, MissingStatus};

use super::{Guarded, Judged, Observations};

/// Others that were heard, and what is in force here.
pub(in crate::control) struct Word {
    heard: Vec<Heard>,
    /// SHA-256 of the flags in force.
    flags: Option<String>,
    /// Revision of the flags in force.
    revision: Option<String>,
    /// Nothing can be heard.
    is_cut_off: bool,
}

/// Word about one route.
#[derive(Debug, Default)]
pub(super) struct RouteWord {
    /// Sum of what the others tell, except for their counts.
    pub(super) whole: Whole,
    /// Others whose counts are summed.
    counted: Vec<Counted>,
    /// Others that are not, with the reason.
    missing: Vec<MissingStatus>,
}

/// Replica whose counts are summed.
#[derive(Debug)]
struct Counted {
    beat: Arc<Beat>,
    /// Place of the route in the beat.
    index: usize,
    heard: Instant,
}

impl Word {
    /// Reads what the others have told last.
    pub(in crate::control) fn new(peers: &Peers, flags: Option<String>, revision: Option<String>) -> Self {
        Self { heard: peers.heard(), flags, revision, is_cut_off: peers.trouble().is_some() }
    }

    /// Returns what the others tell of a route at the start of this process, each with its name.
    pub(in crate::control) fn of_start(&self, route: &str) -> Vec<(&str, &GuardCounts)> {
        let heard = self.heard.iter().filter(|heard| !heard.late && self.has_same_flags(&heard.beat));
        let told = heard.filter_map(|heard| {
            let told = heard.beat.routes.iter().find(|told| told.name == route)?;
            Some((heard.beat.replica.as_str(), told.guard.as_ref()?))
        });
        told.collect()
    }

    /// Returns true if another replica has the flags in force. What one with other flags tells may be answered already.
    fn has_same_flags(&self, beat: &Beat) -> bool {
        let same_revision = self.revision.is_none() || beat.revision.is_none() || self.revision == beat.revision;
        self.flags.is_some() && self.flags == beat.flags && same_revision
    }
}

impl Observations {
    /// Takes in what the other replicas tell of the routes that come back.
    pub(in crate::control) fn hear(&mut self, word: &Word, live: &Generation, now: Instant, at: Timestamp) {
        let routes = live.snapshot.routes.iter().filter(|route| is_judged_by_all(route));
        let heard = routes.map(|route| {
            let name = route.config.name.clone();
            let (back, returned) = (self.backs.get(&name).copied(), self.guarded.get(&name).map(|it| it.returned));
            let of_route = RouteWord::new(word, route, (back, returned), (now, at));
            of_route.log(&name, self.words.get(&name));
            (name, of_route)
        });
        let heard: HashMap<_, _> = heard.collect();
        self.words = heard;
    }

    /// Measures a guarded route at all replicas that are counted.
    pub(super) fn measured_by_all(
        &self,
        (route, guarded): (&str, &Guarded),
        judged: Judged<'_>,
        now: Instant,
    ) -> Option<Measured> {
        let word = self.words.get(route).filter(|word| !word.counted.is_empty())?;
        let Judged { guard, baseline, hanging } = judged;
        let own = self.own_counts(guarded, judged, now).with_clients(&[], hanging, route);
        let peers: Vec<Peer<'_>> = word.counted.iter().filter_map(|counted| counted.peer(now)).collect();
        let standard = Standard { guard, baseline, anew: guarded.suspected.is_some() };
        let clients = || Counts::default().with_clients(&self.own_clients(guarded, now), hanging, route);
        Some(measure(standard, &own, &peers, clients))
    }

    /// Returns the counts of this replica, without clients.
    fn own_counts(&self, guarded: &Guarded, judged: Judged<'_>, now: Instant) -> Counts {
        let Judged { guard, baseline, .. } = judged;
        let slow = guard.p99.and_then(|p99| p99.bound(baseline.and_then(|baseline| baseline.p99)));
        let recent = self.routes.get(&guarded.meter.name).map(|seen| &seen.recent);
        let moments = recent.map(|recent| recent.moments(guarded.from, now, slow)).unwrap_or_default();
        let elapsed = now.saturating_duration_since(guarded.from);
        Counts { open: guarded.open_for(now).map(millis), slow: slow.map(millis), ..Counts::new(&moments, elapsed) }
    }

    fn own_clients(&self, guarded: &Guarded, now: Instant) -> Vec<Clients> {
        let Some(seen) = self.routes.get(&guarded.meter.name) else { return Vec::new() };
        SPANS.iter().map(|span| seen.recent.clients(guarded.from, *span, now)).collect()
    }

    /// Returns what the other replicas are told of a route; `None` if it has no checks and no guard, or is plainly open.
    pub(in crate::control) fn told(&self, route: &Route, hanging: &Clients, now: Instant) -> Option<GuardCounts> {
        let policy = &route.config.policy;
        if route.state.is_plain() || policy.guard.is_none() && policy.verify.is_empty() {
            return None;
        }
        let name = &route.config.name;
        let guarded = self.guarded.get(name);
        let counts = guarded.zip(policy.guard.as_ref()).map(|(guarded, guard)| {
            let judged = Judged { guard, baseline: self.baseline_of(route), hanging };
            let clients = self.own_clients(guarded, now);
            self.own_counts(guarded, judged, now).with_clients(&clients, hanging, name).limited()
        });
        let state = Some(Box::new((*route.state).clone()));
        Some(GuardCounts { state, returned: guarded.map(|guarded| guarded.returned), counts })
    }

    /// Returns the behaviour of a route before it went down, at all replicas that tell of it.
    pub(in crate::control) fn baseline_of<'b>(&'b self, route: &'b Route) -> Option<&'b Baseline> {
        let whole = self.words.get(&route.config.name).and_then(|word| word.whole.baseline.as_ref());
        whole.or(route.state.baseline())
    }

    /// Describes whose counts the guard of a route judges; `None` if there is no other replica.
    pub(in crate::control) fn judged(&self, route: &str) -> Option<JudgedStatus> {
        let word = self.words.get(route).filter(|word| word.whole.among.is_told())?;
        let Among { counted, known, .. } = word.whole.among;
        Some(JudgedStatus { counted, known, missing: word.missing.clone() })
    }

    /// Returns the word of the others, as the plan takes it.
    pub(super) fn whole(&self, route: &str) -> Option<Whole> {
        self.words.get(route).map(|word| &word.whole).filter(|whole| whole.among.is_told()).cloned()
    }
}

/// Begin of the return of a route, its checks included, and begin of the time in which its guard counts.
type Begins = (Option<Timestamp>, Option<Timestamp>);

impl RouteWord {
    fn new(word: &Word, route: &Route, (back, returned): Begins, (now, at): (Instant, Timestamp)) -> Self {
        let mut own = Self::default();
        let mut baselines: Vec<&Baseline> = Vec::new();
        for heard in &word.heard {
            let name = &heard.beat.replica;
            let found = heard.beat.routes.iter().position(|told| told.name == route.config.name);
            let told = found.map(|index| &heard.beat.routes[index]);
            let missing = match told.and_then(|told| told.guard.as_ref()) {
                _ if heard.late => Some("is late".to_owned()),
                _ if !word.has_same_flags(&heard.beat) => Some("has other flags".to_owned()),
                None if told.is_none() => Some("is open".to_owned()),
                None => Some("tells no counts".to_owned()),
                Some(counts) => {
                    baselines.extend(counts.baseline());
                    let breach = back.and_then(|back| counts.closes(back, heard.ahead, at));
                    own.take_breach(breach.map(|breach| breach.found_by(name)));
                    let is_same = returned.is_some_and(|returned| counts.is_of_same_return(&route.state, returned));
                    match (&counts.counts, told.map_or("", |told| &told.phase)) {
                        (None, phase @ ("closed" | "draining" | "verifying")) => Some(format!("is {phase}")),
                        (None, _) => Some("tells no counts".to_owned()),
                        (Some(_), _) => (!is_same).then(|| "counts for another return".to_owned()),
                    }
                }
            };
            match (missing, found) {
                (None, Some(index)) => {
                    let heard_at = now.checked_sub(heard.age).unwrap_or(now);
                    own.counted.push(Counted { beat: Arc::clone(&heard.beat), index, heard: heard_at });
                }
                (why, _) => own.missing.push(MissingStatus { replica: name.clone(), why: why.unwrap_or_default() }),
            }
        }
        if !baselines.is_empty() {
            own.whole.baseline = Baseline::of_all(baselines.into_iter().chain(route.state.baseline()));
        }
        let (counted, known) = (own.counted.len() + 1, word.heard.len() + 1);
        own.whole.among = Among { counted, known, is_cut_off: word.is_cut_off };
        own
    }

    /// Takes the earliest finding.
    fn take_breach(&mut self, found: Option<Breach>) {
        let earliest = self.whole.breach.take().into_iter().chain(found);
        self.whole.breach = earliest.min_by(|one, other| (one.at, &one.by).cmp(&(other.at, &other.by)));
    }

    /// Logs which replicas fall silent, and which are heard again.
    fn log(&self, route: &str, before: Option<&Self>) {
        let is_late =
            |word: &Self, replica: &str| word.missing.iter().any(|it| it.replica == replica && it.why == "is late");
        let Among { counted, known, .. } = self.whole.among;
        for MissingStatus { replica, why } in &self.missing {
            if is_late(self, replica) && before.is_some_and(|before| !is_late(before, replica)) {
                tracing::warn!(route, replica, why, counted, known, "the guard counts without a replica");
            }
        }
        for counted in &self.counted {
            let replica = counted.beat.replica.as_str();
            if before.is_some_and(|before| is_late(before, replica)) {
                tracing::info!(route, replica, "the guard counts a replica again");
            }
        }
    }
}

impl Counted {
    fn peer(&self, now: Instant) -> Option<Peer<'_>> {
        let counts = self.beat.routes.get(self.index)?.guard.as_ref()?.counts.as_ref()?;
        Some(Peer { counts, age: now.saturating_duration_since(self.heard) })
    }
}

/// Returns true if the word of the others matters for the guard of a route.
pub(in crate::control) fn is_judged_by_all(route: &Route) -> bool {
    route.config.policy.guard.is_some() && comes_back(route)
}

/// Returns true if a route comes back, so that the word of the others matters.
pub(super) fn comes_back(route: &Route) -> bool {
    match route.phase() {
        Phase::Verifying | Phase::Ramping => true,
        Phase::Open | Phase::Closed => route.state.is_watched(),
        Phase::Draining => false,
    }
}

/// Spans of the windows that a guard judges.
const SPANS: [Duration; 4] =
    [Duration::from_secs(15), Duration::from_secs(30), Duration::from_secs(60), Duration::from_secs(600)];

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use crate::control::tests::Routes;
    use crate::status::beat::BeatRoute;

    use super::*;

    /// One route that ramps, at this replica and at another one.
    struct Two {
        routes: Routes,
        observations: Observations,
        start: Instant,
        told: GuardCounts,
    }

    impl Two {
        fn new() -> Self {
            let text = "[routes.web]\nupstream = \"http://127.0.0.1:1\"\nramp = \"10m\"\ndrain = \"1ms\"\n\
                guard = { error_rate = \"5%\" }\n";
            let (mut routes, start) = (Routes::new(text), Instant::now());
            let mut observations = Observations::new(start);
            observations.on_publish(&routes.live, start);
            for (second, flags) in [(1, "[routes]\nweb = \"offline\"\n"), (2, "[routes]\nweb = \"offline\"\n"), (3, "")]
            {
                routes.compile(flags, Duration::from_secs(second));
                observations.on_publish(&routes.live, start + Duration::from_secs(second));
            }
            let route = routes.live.snapshot.route("web").unwrap();
            let told = observations.told(route, &Clients::default(), start + Duration::from_secs(4)).unwrap();
            Self { routes, observations, start, told }
        }

        /// Hears of a replica, and returns how many are counted, and why one is not.
        fn hears(&mut self, change: impl FnOnce(&mut Heard)) -> (usize, usize, String) {
            let route = BeatRoute { name: "web".to_owned(), guard: Some(self.told.clone()), ..BeatRoute::default() };
            let strange = BeatRoute { name: "strange".to_owned(), ..route.clone() };
            let (flags, revision) = (Some("h".to_owned()), Some("7".to_owned()));
            let replica = "b".to_owned();
            let beat = Beat { replica, flags, revision, routes: vec![strange, route], ..Beat::default() };
            let (age, ahead) = (Duration::ZERO, SignedDuration::ZERO);
            let mut heard = Heard { beat: Arc::new(beat), age, late: false, ahead };
            change(&mut heard);
            let in_force = (Some("h".to_owned()), Some("7".to_owned()));
            let word = Word { heard: vec![heard], flags: in_force.0, revision: in_force.1, is_cut_off: false };
            let now = self.routes.live.snapshot.compiled;
            self.observations.hear(&word, &self.routes.live, self.start + Duration::from_secs(5), now);
            assert!(!self.observations.words.contains_key("strange"), "no other route is made up");
            let judged = self.observations.judged("web").unwrap();
            let why = judged.missing.first().map(|one| one.why.clone());
            (judged.counted, judged.known, why.unwrap_or_default())
        }
    }

    fn change(beat: &mut Arc<Beat>, change: impl FnOnce(&mut Beat)) {
        change(Arc::make_mut(beat));
    }

    #[test]
    fn a_replica_counts_if_it_is_in_time_with_the_same_flags_and_the_same_return() {
        let mut two = Two::new();
        assert_eq!(two.hears(|_| {}), (2, 2, String::new()));
        let missing = |why: &str| (1, 2, why.to_owned());
        assert_eq!(two.hears(|heard| heard.late = true), missing("is late"));
        assert_eq!(two.hears(|heard| change(&mut heard.beat, |beat| beat.flags = None)), missing("has other flags"));
        let other = Some("6".to_owned());
        assert_eq!(
            two.hears(|heard| change(&mut heard.beat, |beat| beat.revision = other)),
            missing("has other flags")
        );
        assert_eq!(two.hears(|heard| change(&mut heard.beat, |beat| beat.routes.clear())), missing("is open"));
        let silent = |beat: &mut Beat| beat.routes[1].guard = None;
        assert_eq!(two.hears(|heard| change(&mut heard.beat, silent)), missing("tells no counts"));
        let other = |beat: &mut Beat| {
            let state = two.told.state.clone().map(|state| {
                let mut json = serde_json::to_value(&*state).unwrap();
                json["began"] = "2020-01-01T00:00:00Z".into();
                Box::new(serde_json::from_value(json).unwrap())
            });
            beat.routes[1].guard = Some(GuardCounts { state, returned: None, ..two.told.clone() });
        };
        let mut word = Two::new();
        assert_eq!(word.hears(|heard| change(&mut heard.beat, other)), missing("counts for another return"));
    }

    #[test]
    fn nobody_is_missed_where_there_is_no_other_replica_unless_nothing_can_be_heard() {
        let mut two = Two::new();
        let (now, at) = (two.start + Duration::from_secs(5), two.routes.live.snapshot.compiled);
        let mut word = Word { heard: Vec::new(), flags: Some("h".to_owned()), revision: None, is_cut_off: false };
        two.observations.hear(&word, &two.routes.live, now, at);
        assert_eq!((two.observations.judged("web"), two.observations.whole("web")), (None, None));
        word.is_cut_off = true;
        two.observations.hear(&word, &two.routes.live, now, at);
        let judged = two.observations.judged("web").unwrap();
        assert_eq!((judged.counted, judged.known), (1, 1));
    }
}

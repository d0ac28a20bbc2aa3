//! Runner of a case's `course`, line by line.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;

use super::super::lifecycle::{
    Baseline, CheckResult, ClientCounts, Clients, Counted, Measured, Observed, Phase, Sample, UpstreamChecks,
    Verification, Window,
};
use super::super::rehearsal::Rehearsal;
use super::super::snapshot::Route;
use super::Case;

/// Proxy that goes through a course.
struct Proxy<'c> {
    case: &'c Case,
    rehearsal: Rehearsal,
    /// Observable facts observables the routes, by name. Their phase decides which of them are observed.
    observables: BTreeMap<String, Observables>,
    told: String,
}

/// Observable facts observables a route.
#[derive(Default)]
struct Observables {
    remaining: Option<u64>,
    checks: Option<CheckResult>,
    measured: Option<Measured>,
    lately: Option<Baseline>,
}

/// Returns each line of the course with its effects: the transitions since the line before, and every route that is not
/// simply open.
pub(super) fn life(case: &Case) -> String {
    let (Some(config), Some(parsed)) = (case.config().0, case.flags().0) else {
        return "the input is refused\n".to_owned();
    };
    let mut rehearsal = Rehearsal::new(config);
    rehearsal.flags = parsed.flags;
    let mut proxy = Proxy { case, rehearsal, observables: BTreeMap::new(), told: String::new() };
    for line in case.section("course").unwrap_or_default().lines().filter(|line| !line.is_empty()) {
        proxy.go(line);
    }
    proxy.told
}

impl Proxy<'_> {
    fn go(&mut self, line: &str) {
        let (instant, words) = line.split_once(' ').unwrap_or((line, ""));
        let now: Timestamp = instant.parse().expect("a line of a course begins with an instant");
        self.told += &format!("{line}\n");
        if words != "asleep" {
            // The controller, too, makes each change in its time.
            while let Some(next) =
                self.rehearsal.live.as_ref().and_then(|live| live.next_change).filter(|next| *next < now)
            {
                self.settle(next);
            }
        }
        match words.split_once(' ') {
            None if matches!(words, "" | "asleep") => {}
            None if words == "restart" => self.restart(),
            Some(("flags", name)) => {
                let text = self.case.section(&format!("flags {name}")).expect("the section of these flags");
                self.rehearsal.flag(&text);
            }
            Some((route, words)) => self.observables.entry(route.to_owned()).or_default().learn(words, now),
            None => panic!("what does `{words}` mean?"),
        }
        self.settle(now);
        self.tell();
    }

    /// Compiles until nothing is due.
    fn settle(&mut self, now: Timestamp) {
        for _ in 0..MOST_LOOKS {
            self.observe();
            for route in &self.rehearsal.compile(now).routes {
                for made in &route.transitions {
                    let (name, from, to) = (&route.config.name, made.from.as_str(), made.to.as_str());
                    let _ = writeln!(self.told, "  {} {name} {from} -> {to}: {}", made.at, made.reason);
                }
            }
            self.observe();
            if !self.rehearsal.is_due(now) {
                return;
            }
        }
        panic!("it never settles at {now}");
    }

    /// Observes the routes as the controller would in their phases.
    fn observe(&mut self) {
        let Some(live) = &self.rehearsal.live else { return };
        let seen = self
            .observables
            .iter()
            .filter_map(|(name, observables)| Some((name.clone(), observables.seen(live.route(name)?))));
        self.rehearsal.known.observed = seen.collect();
    }

    /// Ends the process and starts it anew, without observations.
    fn restart(&mut self) {
        self.rehearsal.restart().known.observed.clear();
    }

    fn tell(&mut self) {
        let Some(live) = &self.rehearsal.live else { return };
        for route in &live.routes {
            let name = &route.config.name;
            for next in &route.announced {
                let _ = writeln!(self.told, "  {name} announced: {} at {}", next.mode.as_str(), next.starts);
            }
            if !route.state.is_plain() {
                let _ = writeln!(self.told, "  {name} {}", state(route));
            }
        }
        let pages = live.routes.iter().filter_map(|route| route.closure.as_ref()).map(|closure| &closure.page);
        let mut steps = Vec::new();
        for step in pages.flat_map(|page| &page.model.content.steps) {
            let progress = step.progress.as_ref();
            let progress =
                progress.map_or_else(String::new, |progress| format!(" {}/{}", progress.done, progress.total));
            let step = format!("  step {}: {}{progress}\n", step.title.in_language("en"), step.state.as_str());
            if !steps.contains(&step) {
                steps.push(step);
            }
        }
        self.told.extend(steps);
    }
}

/// Writes a route as one line.
fn state(route: &Route) -> String {
    let mut line = route.phase().as_str().to_owned();
    if let Some(closure) = &route.closure {
        let _ = write!(line, " {}", closure.mode.as_str());
    }
    let _ = write!(line, " since {}", route.since());
    if let Some(share) = route.state.share() {
        let _ = write!(line, ", {:.0}% are in", share * 100.0);
    }
    if let Some(until) = route.watched_until() {
        let _ = write!(line, ", watched until {until}");
    }
    let _ = write!(line, ": {}", route.state.reason());
    let told = route.state.reason().to_string();
    if let Some(breach) = route.state.breach().filter(|breach| told != breach.to_string()) {
        let _ = write!(line, "; {breach}");
    }
    match route.next {
        Some((phase, Some(at))) => drop(write!(line, "; then {} at {at}", phase.as_str())),
        Some((phase, None)) => drop(write!(line, "; then {}", phase.as_str())),
        None => {}
    }
    line
}

impl Observables {
    /// Learns an observable fact from the words of a line.
    fn learn(&mut self, words: &str, now: Timestamp) {
        let (verb, rest) = words.split_once(' ').unwrap_or((words, ""));
        let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("a number: {words}"));
        let counted = |text: &str| {
            let (errors, requests) = text.split_once('/').unwrap_or_else(|| panic!("ERRORS/REQUESTS: {words}"));
            Counted { requests: number(requests), errors: number(errors) }
        };
        match verb {
            "remaining" => self.remaining = Some(number(rest)),
            "passed" => {
                let passed = u32::try_from(number(rest)).expect("a small number");
                self.checks = Some(CheckResult { passed, at: Some(now), failure: None });
            }
            "fails" => self.checks = Some(CheckResult { passed: 0, at: None, failure: Some(rest.to_owned()) }),
            "lately" => self.lately = Baseline::of(&[counted(rest)]),
            "measured" => {
                let mut parts = rest.split(' ');
                let mut part = || parts.next().unwrap_or_default();
                let (counted, p99, zombies) = (counted(part()), number(part().trim_end_matches("ms")), number(part()));
                self.measured = Some(measured(counted, p99, zombies));
            }
            _ => panic!("what does `{words}` mean?"),
        }
    }

    fn seen(&self, route: &Route) -> Observed {
        let (phase, watched) = (route.phase(), route.state.is_watched());
        let checks = self.checks.clone().zip(route.state.checked_since());
        let verification = checks.map(|(check, began)| Verification {
            began,
            upstreams: (route.config.upstreams.iter())
                .map(|upstream| UpstreamChecks {
                    upstream: upstream.clone(),
                    checks: vec![check.clone(); route.config.policy.verify.len()],
                })
                .collect(),
        });
        Observed {
            remaining: self.remaining.filter(|_| phase == Phase::Draining),
            verification,
            unwell: Vec::new(),
            measured: self.measured.clone().filter(|_| phase == Phase::Ramping || watched),
            lately: self.lately.filter(|_| phase == Phase::Open && !watched),
            whole: None,
        }
    }
}

/// Most compilations at one instant.
const MOST_LOOKS: usize = 4;

/// Returns measurements of half a minute, all of one client. All requests are slow or none.
fn measured(counted: Counted, p99: u64, hanging: u64) -> Measured {
    let Counted { requests, errors: failed } = counted;
    let slow = if p99 > 800 { requests } else { 0 };
    let clients = |hanging| {
        let mut clients = Clients::default();
        clients.count(None, ClientCounts { requests, failed, slow, hanging, ..ClientCounts::default() });
        clients
    };
    let sample = |bad| Sample { requests, bad, stretches: 8 };
    let window = Window {
        span: Duration::from_secs(30),
        errors: sample(failed),
        slow: sample(slow),
        p99: Some(Duration::from_millis(p99)),
        clients: clients(0),
        ..Window::default()
    };
    Measured { windows: vec![window], hanging: clients(hanging), ..Measured::default() }
}

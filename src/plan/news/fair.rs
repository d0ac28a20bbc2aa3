//! Fairness: chooses of many what each filter needs, so that no noise of one tenant hides what another is told.

use std::collections::HashMap;

use super::document::Tags;

/// Counts of what was taken for each subject. What is looked at comes newest first.
///
/// Of each route, service and region, and of all together, the newest are taken. A filter by two of them may be left
/// fewer.
#[derive(Debug)]
pub(super) struct Fair<'t> {
    most: usize,
    all: usize,
    of_subject: HashMap<(Subject, &'t str), usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Subject {
    Route,
    Service,
    Region,
}

impl<'t> Fair<'t> {
    /// Creates the counts. As many are taken of each subject.
    pub(super) fn new(most: usize) -> Self {
        Self { most, all: 0, of_subject: HashMap::new() }
    }

    /// Returns true if some subject has room for it. It is counted for all of its subjects.
    pub(super) fn takes(&mut self, tags: &'t Tags) -> bool {
        let of = |subject, names: &'t std::collections::BTreeSet<String>| {
            names.iter().map(move |name| (subject, name.as_str()))
        };
        // What has no region is in all of them, and is counted by itself.
        let nowhere = tags.regions.is_empty().then_some((Subject::Region, ""));
        let subjects = of(Subject::Route, &tags.routes)
            .chain(of(Subject::Service, &tags.services))
            .chain(of(Subject::Region, &tags.regions))
            .chain(nowhere);
        let mut has_room = self.all < self.most;
        self.all += 1;
        for subject in subjects {
            let count = self.of_subject.entry(subject).or_default();
            has_room |= *count < self.most;
            *count += 1;
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_subject_has_its_newest() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let tags = |route: &str, regions: &[&str]| Tags {
            routes: set(&[route]),
            services: set(&["One"]),
            regions: set(regions),
            ..Tags::default()
        };
        let all =
            [tags("web", &["eu"]), tags("web", &["eu"]), tags("web", &["us"]), tags("web", &["eu"]), tags("api", &[])];
        let mut fair = Fair::new(1);
        assert_eq!(all.each_ref().map(|tags| fair.takes(tags)), [true, false, true, false, true]);
    }
}

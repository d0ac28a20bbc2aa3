//! Excess: more bad requests than chance explains.
//!
//! The test asks how likely the share that may be bad brings about such a count of bad requests. Nothing is judged by a
//! single incident: the bad requests must come in several stretches of time.

/// Requests of a span, and how many of them were bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// All requests.
    pub requests: u64,
    /// Bad ones among them.
    pub bad: u64,
    /// Stretches of [`super::window::STRETCH`] that it takes to cover the bad ones.
    pub stretches: u32,
}

/// Share of requests that may be bad.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allowed {
    /// The share.
    pub share: f64,
    /// Factor by which the counts vary more than independent requests would; 1 if they do not. See [`dispersion`].
    pub dispersion: f64,
}

impl Sample {
    /// Returns the share that was bad; 0 if there were no requests.
    pub fn share(&self) -> f64 {
        if self.requests == 0 { 0.0 } else { float(self.bad.min(self.requests)) / float(self.requests) }
    }

    /// Returns true if more requests were bad than the allowed share and chance explain.
    pub fn exceeds(&self, allowed: Allowed) -> bool {
        let share = self.share();
        let independent = float(self.requests) / allowed.dispersion.max(1.0);
        self.bad >= LEAST_BAD
            && self.stretches >= LEAST_STRETCHES
            && share > allowed.share
            && independent * divergence(share, allowed.share) > -UNLIKELY.ln()
    }
}

/// Returns true if this many at once are more than chance makes of the `usual` number.
pub(super) fn is_more_than(usual: f64, count: u64) -> bool {
    let (count, usual) = (float(count), usual.max(0.1));
    count > usual && count * (count / usual).ln() - (count - usual) > -UNLIKELY.ln()
}

/// Returns true if this many are fewer than chance makes of `least`. `dispersion` is that of the counts.
pub(super) fn is_fewer_than(least: f64, count: u64, dispersion: f64) -> bool {
    let count = float(count);
    let term = if count > 0.0 { count * (count / least).ln() } else { 0.0 };
    count < least && (least - count + term) / dispersion.max(1.0) > -UNLIKELY.ln()
}

/// Returns the upper bound of a share of which `bad` of `requests` were seen (Wilson's score interval). The less was
/// seen, the higher is the bound; 1 if nothing was.
pub(super) fn upper_bound(requests: f64, bad: f64) -> f64 {
    if requests <= 0.0 {
        return 1.0;
    }
    let (share, square) = (bad / requests, DEVIATIONS * DEVIATIONS);
    let centre = share + square / (2.0 * requests);
    let reach = DEVIATIONS * (share * (1.0 - share) / requests + square / (4.0 * requests * requests)).sqrt();
    ((centre + reach) / (1.0 + square / requests)).min(1.0)
}

/// Returns the factor by which counts of slots, each requests and bad ones, vary more than independent requests would.
/// Errors that come in bursts have a great one.
pub(super) fn dispersion(slots: &[(u64, u64)]) -> f64 {
    let (requests, bad) = slots.iter().fold((0, 0), |(all, bad), slot| (all + slot.0, bad + slot.1.min(slot.0)));
    let share = float(bad) / float(requests.max(1));
    if bad == 0 || bad == requests {
        return 1.0;
    }
    let terms = slots.iter().filter(|slot| slot.0 > 0).map(|&(requests, bad)| {
        let expected = share * float(requests);
        (float(bad) - expected).powi(2) / (expected * (1.0 - share))
    });
    let (sum, slots) = terms.fold((0.0, 0), |(sum, slots), term| (sum + term, slots + 1));
    (sum / float(slots.max(2) - 1)).max(1.0)
}

/// Returns the factor by which counts, each with its seconds, vary more than those of independent requests would.
pub(super) fn spread(slots: &[(u64, f64)]) -> f64 {
    let (count, seconds) = slots.iter().fold((0, 0.0), |(count, seconds), slot| (count + slot.0, seconds + slot.1));
    if count == 0 || seconds <= 0.0 {
        return 1.0;
    }
    let terms = slots.iter().filter(|slot| slot.1 > 0.0).map(|&(seen, time)| {
        let expected = float(count) * time / seconds;
        (float(seen) - expected).powi(2) / expected
    });
    let (sum, slots) = terms.fold((0.0, 0), |(sum, slots), term| (sum + term, slots + 1));
    (sum / float(slots.max(2) - 1)).max(1.0)
}

/// Returns the Kullback-Leibler divergence of two shares. Times the number of requests, it is the logarithm of how much
/// likelier the seen share is than the allowed one.
fn divergence(seen: f64, allowed: f64) -> f64 {
    let term = |seen: f64, allowed: f64| if seen <= 0.0 { 0.0 } else { seen * (seen / allowed).ln() };
    term(seen, allowed) + term(1.0 - seen, 1.0 - allowed)
}

#[allow(clippy::cast_precision_loss, reason = "nobody counts to 2^53 in ten minutes")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

/// Likelihood below which an excess is no chance. A guard looks a thousand times.
const UNLIKELY: f64 = 0.003;

/// Standard deviations from a baseline to its upper bound.
const DEVIATIONS: f64 = 1.0;

/// Bad requests below which nothing is an excess.
const LEAST_BAD: u64 = 5;

/// Stretches below which bad requests are one incident, or two.
const LEAST_STRETCHES: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(bad: u64, requests: u64, stretches: u32) -> Sample {
        Sample { requests, bad, stretches }
    }

    fn exceeds(sample: Sample, share: f64) -> bool {
        sample.exceeds(Allowed { share, dispersion: 1.0 })
    }

    #[test]
    fn an_excess_is_what_chance_does_not_explain() {
        // Two of a hundred come in every eleventh half minute if one of two hundred fails.
        assert!(!exceeds(sample(2, 100, 2), 0.015) && !exceeds(sample(5, 200, 3), 0.015));
        assert!(exceeds(sample(10, 100, 3), 0.015) && exceeds(sample(5, 20, 3), 0.015));
        assert!(!exceeds(sample(4, 4, 3), 0.015), "four are too few");
        assert!(!exceeds(sample(500, 500, 2), 0.015), "one incident, or two");
        assert!(!exceeds(sample(0, 0, 9), 0.0) && exceeds(sample(5, 5, 3), 0.0) && !exceeds(sample(9, 9, 9), 1.0));
        assert!(!sample(30, 300, 5).exceeds(Allowed { share: 0.04, dispersion: 30.0 }), "errors come in bursts");
        assert!(sample(30, 300, 5).exceeds(Allowed { share: 0.04, dispersion: 1.0 }));
    }

    #[test]
    fn a_thin_baseline_has_a_high_bound() {
        assert!(upper_bound(0.0, 0.0) >= 1.0);
        let bounds = [(10.0, 0.1), (100.0, 0.01), (10_000.0, 0.0001)];
        for (requests, most) in bounds {
            let bound = upper_bound(requests, 0.0);
            assert!(bound < most && bound > most / 2.0, "{requests}: {bound}");
        }
        assert!((upper_bound(1e6, 1e4) - 0.01).abs() < 0.0002);
    }

    #[test]
    fn errors_that_come_in_bursts_are_dispersed() {
        assert!(dispersion(&[]) <= 1.0 && dispersion(&[(0, 0), (10, 0)]) <= 1.0 && dispersion(&[(10, 1); 60]) <= 1.0);
        let mut bursts = [(100, 0); 60];
        bursts[7] = (100, 60);
        let found = dispersion(&bursts);
        assert!(found > 50.0, "{found}");
    }

    #[test]
    fn a_number_at_once_is_compared_with_the_usual_one() {
        assert!(is_more_than(0.0, 6) && is_more_than(100.0, 140) && !is_more_than(100.0, 120) && !is_more_than(2.0, 5));
        assert!(!is_more_than(0.0, 0) && !is_more_than(7.0, 7));
    }
}

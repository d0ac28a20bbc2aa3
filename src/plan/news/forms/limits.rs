//! Limits against those who would have strangers asked for their confirmation.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// Counts of what was asked lately. The clock is the caller's, and never goes back.
#[derive(Debug, Default)]
pub struct Limits {
    clients: Windows<Option<IpAddr>>,
    mailboxes: Windows<String>,
    all: Windows<()>,
}

/// Decision about a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// The address may be asked.
    Yes,
    /// The address was asked lately. The visitor is not told, since that would tell of others.
    Silently,
    /// Too many came from the network of the client, or from everywhere. There is room again after this time.
    Later(Duration),
}

/// Counts by a key, each within a window that begins with the first.
#[derive(Debug)]
struct Windows<K> {
    counts: HashMap<K, (Duration, u32)>,
}

impl Limits {
    /// Counts a subscription of a mailbox by a client.
    pub fn count(&mut self, client: Option<IpAddr>, mailbox: &str, now: Duration) -> Allowed {
        let waits = [self.clients.wait(&client, PER_CLIENT, now), self.all.wait(&(), FROM_ALL, now)];
        if let Some(wait) = waits.into_iter().flatten().max() {
            return Allowed::Later(wait);
        }
        self.clients.add(client, PER_CLIENT, now);
        self.all.add((), FROM_ALL, now);
        let mailbox = base(mailbox);
        if self.mailboxes.wait(&mailbox, PER_MAILBOX, now).is_some() {
            return Allowed::Silently;
        }
        self.mailboxes.add(mailbox, PER_MAILBOX, now);
        Allowed::Yes
    }
}

/// Limit of a count: so many within a time, and no two closer than a gap.
#[derive(Clone, Copy)]
struct Rate {
    most: u32,
    within: Duration,
    /// Part of the time that has to pass for each that was counted. Zero: all may come at once.
    gap: Duration,
}

impl<K: std::hash::Hash + Eq> Windows<K> {
    /// Returns the time until there is room again; `None` if there is room now.
    fn wait(&self, key: &K, rate: Rate, now: Duration) -> Option<Duration> {
        let (began, count) = *self.counts.get(key)?;
        let age = now.saturating_sub(began);
        if age >= rate.within {
            return None;
        }
        if count >= rate.most {
            return Some(rate.within - age);
        }
        let due = rate.gap * count;
        (age < due).then(|| due - age)
    }

    fn add(&mut self, key: K, rate: Rate, now: Duration) {
        if self.counts.len() >= MOST_KEYS {
            self.counts.retain(|_, (began, _)| now.saturating_sub(*began) < rate.within);
        }
        if self.counts.len() >= MOST_KEYS {
            // The limit for all keeps this from happening, whatever clients do.
            self.counts.clear();
        }
        let entry = self.counts.entry(key).or_insert((now, 0));
        if now.saturating_sub(entry.0) >= rate.within {
            *entry = (now, 0);
        }
        entry.1 += 1;
    }
}

impl<K> Default for Windows<K> {
    fn default() -> Self {
        Self { counts: HashMap::new() }
    }
}

/// Returns what an address reaches, as far as one who wants to hide it can be seen through: `a+b@c` is the mailbox `a@c`,
/// and to some servers `a.b@c` is `ab@c`. What is asked of an endpoint makes no other one of it.
fn base(address: &str) -> String {
    let lower = address.to_lowercase();
    match lower.rsplit_once('@') {
        Some((local, domain)) if !is_url(&lower) => {
            let local = local.split('+').next().unwrap_or_default();
            format!("{}@{domain}", local.replace('.', ""))
        }
        Some(_) | None => lower.split('?').next().unwrap_or_default().to_owned(),
    }
}

/// Returns true for a URL. A mailbox has no colon, but may have slashes.
fn is_url(address: &str) -> bool {
    address.starts_with("https://") || address.starts_with("http://")
}

/// Subscriptions from one network.
const PER_CLIENT: Rate = Rate { most: 5, within: Duration::from_mins(10), gap: Duration::ZERO };
/// Mails that ask one mailbox.
const PER_MAILBOX: Rate = Rate { most: 3, within: Duration::from_hours(24), gap: Duration::from_mins(10) };
/// Subscriptions from everywhere.
const FROM_ALL: Rate = Rate { most: 100, within: Duration::from_mins(10), gap: Duration::ZERO };
/// Keys of a table. The limit for all lets 14,400 be added a day.
const MOST_KEYS: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(minutes: u64) -> Duration {
        Duration::from_mins(minutes)
    }

    fn client(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn a_network_may_ask_five_times_in_ten_minutes() {
        let mut limits = Limits::default();
        for number in 0..5 {
            assert_eq!(limits.count(client(1), &format!("{number}@a.example"), minutes(0)), Allowed::Yes);
        }
        assert_eq!(limits.count(client(1), "6@a.example", minutes(3)), Allowed::Later(minutes(7)));
        assert_eq!(limits.count(client(2), "6@a.example", minutes(3)), Allowed::Yes);
        assert_eq!(limits.count(client(1), "7@a.example", minutes(10)), Allowed::Yes);
    }

    #[test]
    fn a_mailbox_is_asked_three_times_a_day_and_nobody_is_told() {
        let mut limits = Limits::default();
        let mut ask =
            |at: u64, address: &str| limits.count(client(u8::try_from(at / 10).unwrap()), address, minutes(at));
        assert_eq!(ask(0, "reader@example.org"), Allowed::Yes);
        assert_eq!(ask(9, "Reader+x@Example.org"), Allowed::Silently);
        assert_eq!(ask(9, "other@example.org"), Allowed::Yes);
        assert_eq!(ask(10, "reader+y@example.org"), Allowed::Yes);
        assert_eq!(ask(20, "reader@example.org"), Allowed::Yes);
        assert_eq!(ask(60, "reader@example.org"), Allowed::Silently);
        assert_eq!(ask(24 * 60, "reader@example.org"), Allowed::Yes);
    }

    #[test]
    fn all_together_have_a_limit_and_the_tables_have_one() {
        let mut limits = Limits::default();
        let mut allowed = 0;
        for number in 0..60_000_u32 {
            let client = Some(IpAddr::from(number.to_be_bytes()));
            let at = Duration::from_secs(u64::from(number) * 3);
            allowed += u32::from(limits.count(client, &format!("{number}@a.example"), at) == Allowed::Yes);
        }
        let windows = 60_000 * 3 / 600;
        assert!(allowed <= 100 * (windows + 1) && allowed >= 100 * (windows - 1), "{allowed}");
        assert!(limits.clients.counts.len() <= MOST_KEYS && limits.mailboxes.counts.len() <= MOST_KEYS);
    }

    #[test]
    fn a_mailbox_is_one_however_it_is_written() {
        for written in ["A+b@c", "a+b/c@C", "a+b//c@c", "a+@c", "a++b+c@c"] {
            assert_eq!(base(written), "a@c", "{written}");
        }
        for written in ["first.last@c", "firstlast@c", "f.i.r.s.t.last+x@c"] {
            assert_eq!(base(written), "firstlast@c", "{written}");
        }
        assert_eq!(base("a/b+c@d"), "a/b@d");
    }

    #[test]
    fn an_endpoint_is_one_whatever_is_asked_of_it() {
        for written in ["https://a.example/x+y", "https://a.example/X+y?z=@b", "https://a.example/x+y?"] {
            assert_eq!(base(written), "https://a.example/x+y", "{written}");
        }
    }
}

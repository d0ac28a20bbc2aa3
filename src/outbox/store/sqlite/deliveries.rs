//! Updates and their deliveries in the file.

use jiff::{SignedDuration, Timestamp};
use rusqlite::Transaction;

use super::super::super::notice::Notice;
use super::super::delivery::{Claim, Claimed, Depth, Outcome, Recorded, Refusal};
use super::super::limits::{LONG_FAILURE, MOST_DELIVERIES, MOST_IN_DIGEST, MOST_REFUSALS, OLD};
use super::super::{StoreError, millis};
use super::SqliteStore;
use super::subscriptions::{COLUMNS, note, read};

impl SqliteStore {
    /// Records an update with a delivery for each subscriber that wants it and was there before it, all or nothing. A
    /// repeated update changes nothing.
    ///
    /// # Errors
    /// If too many deliveries wait, or the store cannot be written.
    pub fn record(&mut self, notice: &Notice, now: Timestamp, digest: Timestamp) -> Result<Recorded, StoreError> {
        if now.duration_since(notice.update.at) > OLD {
            return Ok(Recorded::Old);
        }
        let (incident, sequence) = (notice.incident.key.as_str(), notice.update.sequence);
        let subscribers = self.subscriptions()?;
        let change = self.durably()?;
        let added = change.execute(
            "INSERT OR IGNORE INTO updates (incident, sequence, at, notice) VALUES (?1, ?2, ?3, ?4)",
            (incident, sequence, millis(notice.update.at), serde_json::to_string(notice)?),
        )?;
        if added == 0 {
            return Ok(Recorded::Known);
        }
        let waiting: i64 = change.query_row("SELECT count(*) FROM deliveries", [], |row| row.get(0))?;
        if waiting >= MOST_DELIVERIES {
            return Err(StoreError::Full("deliveries", MOST_DELIVERIES));
        }
        let mut told = 0;
        {
            // A subscription that was removed or silenced in between gets none.
            let mut insert = change.prepare(
                "INSERT OR IGNORE INTO deliveries (subscription, incident, sequence, host, due, digest) \
                 SELECT id, ?2, ?3, host, ?4, ?5 FROM subscriptions WHERE id = ?1 AND state = 'active'",
            )?;
            for one in subscribers
                .iter()
                .filter(|one| one.created.as_second() <= notice.update.at.as_second() && one.order.wants(notice))
            {
                let (due, digest) = if one.order.is_digest() { (digest, millis(digest)) } else { (now, 0) };
                told += insert.execute((one.id, incident, sequence, millis(due), digest))?;
            }
        }
        change.commit()?;
        Ok(Recorded::New(told))
    }

    /// Claims deliveries that are due, at most `per_host` of one host at a time. Drops those that a newer update of the
    /// same incident makes needless.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn claim(
        &mut self,
        now: Timestamp,
        lease: SignedDuration,
        most: usize,
        per_host: usize,
    ) -> Result<Vec<Claim>, StoreError> {
        let change = self.swiftly()?;
        drop_superseded(&change, now)?;
        let limit = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let mut claims = Vec::new();
        {
            let statement = format!(
                "SELECT chosen.id, chosen.attempt + 1, chosen.digest, updates.notice, {COLUMNS} FROM ({DUE}) AS chosen \
                 JOIN subscriptions ON subscriptions.id = chosen.subscription \
                 JOIN updates ON updates.incident = chosen.incident AND updates.sequence = chosen.sequence \
                 ORDER BY chosen.due, chosen.id"
            );
            let mut select = change.prepare(&statement)?;
            let mut rows = select.query([millis(now), limit(per_host), limit(most)])?;
            while let Some(row) = rows.next()? {
                claims.extend(claimed(row)?);
            }
            let mut take = change
                .prepare("UPDATE deliveries SET attempt = attempt + 1, claimed_until = ?2 WHERE deliveries.id = ?1")?;
            for claim in &mut claims {
                if let Some(further) = &mut claim.digest {
                    *further = of_digest(&change, claim.subscription.id, claim.delivery, now)?;
                }
                for (delivery, _) in claim.deliveries() {
                    take.execute([delivery, millis(now + lease)])?;
                }
            }
        }
        change.commit()?;
        Ok(claims)
    }

    /// Notes the result of an attempt. A result that is noted already, or that comes when another sender has the
    /// delivery, changes nothing; but what an endpoint has taken, it has taken.
    ///
    /// # Errors
    /// If the store cannot be written. The delivery is then sent again when its lease has ended.
    pub fn finish(&mut self, claim: &Claim, outcome: &Outcome, now: Timestamp) -> Result<(), StoreError> {
        let subscription = claim.subscription.id;
        let change = self.swiftly()?;
        match outcome {
            Outcome::Done => done(&change, claim, now)?,
            Outcome::Retry { at, error } => {
                if again(&change, claim, error, *at)? {
                    blame(&change, subscription, error, now)?;
                }
            }
            Outcome::Failed { error } => {
                if end(&change, claim, error, now)? {
                    blame(&change, subscription, error, now)?;
                    quarantine(&change, subscription, now)?;
                }
            }
            Outcome::Refused { error, cause } => {
                if end(&change, claim, error, now)? {
                    blame(&change, subscription, error, now)?;
                    match cause {
                        Refusal::Address => quarantine_unknown(&change, subscription, now)?,
                        Refusal::Message => quarantine(&change, subscription, now)?,
                    }
                }
            }
            Outcome::Gone { error } => {
                end(&change, claim, error, now)?;
                blame(&change, subscription, error, now)?;
                silence(&change, subscription, "disabled", now)?;
            }
        }
        Ok(change.commit()?)
    }

    /// Returns the instant from which something can be claimed.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let statement = "SELECT min(next) FROM (SELECT max(due, claimed_until) AS next FROM deliveries \
                         WHERE state = 'due' UNION ALL \
                         SELECT proof_due FROM subscriptions WHERE state = 'unconfirmed' AND channel = 'webhook' \
                         UNION ALL SELECT due FROM letters)";
        let next: Option<i64> = self.connection.query_row(statement, [], |row| row.get(0))?;
        Ok(next.and_then(|next| Timestamp::from_millisecond(next).ok()))
    }

    /// Returns how much work waits, and how much has failed.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn depth(&self) -> Result<Depth, StoreError> {
        let statement = "SELECT (SELECT count(*) FROM deliveries WHERE state = 'due'), \
            (SELECT min(max(u.at, d.digest)) FROM deliveries d JOIN updates u USING (incident, sequence) WHERE d.state = 'due'), \
            (SELECT count(*) FROM deliveries WHERE state = 'failed'), \
            (SELECT count(*) FROM subscriptions WHERE state IN ('quarantined', 'disabled'))";
        let count =
            |row: &rusqlite::Row<'_>, at: usize| row.get(at).map(|count: i64| u64::try_from(count).unwrap_or(0));
        Ok(self.connection.query_row(statement, [], |row| {
            let oldest: Option<i64> = row.get(1)?;
            let oldest = oldest.and_then(|oldest| Timestamp::from_millisecond(oldest).ok());
            Ok(Depth { due: count(row, 0)?, oldest, failed: count(row, 2)?, silenced: count(row, 3)? })
        })?)
    }
}

/// Reads a row of [`SqliteStore::claim`]; `None` if this backsoon does not understand it.
fn claimed(row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<Claim>> {
    let (digest, notice): (i64, String) = (row.get(2)?, row.get(3)?);
    let subscription = read(row, 4)?;
    let Some((subscription, notice)) = subscription.zip(serde_json::from_str(&notice).ok()) else {
        return Ok(None);
    };
    // What goes with it is read when it is known which deliveries are claimed.
    let digest = (digest > 0).then(Vec::new);
    Ok(Some(Claim { delivery: row.get(0)?, attempt: row.get(1)?, subscription, notice, digest }))
}

/// Reads what goes into a digest beside its first delivery. What waits for another attempt goes along.
fn of_digest(
    change: &Transaction<'_>,
    subscription: i64,
    first: i64,
    now: Timestamp,
) -> Result<Vec<Claimed>, StoreError> {
    let statement = "SELECT d.id, d.attempt + 1, updates.notice FROM deliveries AS d \
                     JOIN updates ON updates.incident = d.incident AND updates.sequence = d.sequence \
                     WHERE d.subscription = ?1 AND d.id <> ?2 AND d.state = 'due' AND d.digest BETWEEN 1 AND ?3 \
                     AND d.claimed_until <= ?3 ORDER BY d.id LIMIT ?4";
    let mut select = change.prepare(statement)?;
    let mut rows = select.query([subscription, first, millis(now), MOST_IN_DIGEST - 1])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        // A notice that this backsoon does not understand waits for one that does.
        if let Ok(notice) = serde_json::from_str(&row.get::<_, String>(2)?) {
            all.push(Claimed { delivery: row.get(0)?, attempt: row.get(1)?, notice });
        }
    }
    Ok(all)
}

/// Ends deliveries that were taken, and forgives their endpoint.
fn done(change: &Transaction<'_>, claim: &Claim, now: Timestamp) -> Result<(), StoreError> {
    for (delivery, _) in claim.deliveries() {
        let statement = "UPDATE deliveries SET state = 'done', last_error = NULL, finished = ?2, \
                         claimed_until = 0 WHERE id = ?1 AND state <> 'done'";
        change.execute(statement, [delivery, millis(now)])?;
    }
    let statement = "UPDATE subscriptions SET failures = 0, failing_since = NULL, last_error = NULL \
                     WHERE id = ?1 AND failures > 0";
    change.execute(statement, [claim.subscription.id])?;
    Ok(())
}

/// Puts off what this attempt still has. Returns false if it has nothing more.
fn again(change: &Transaction<'_>, claim: &Claim, error: &str, at: Timestamp) -> Result<bool, StoreError> {
    let mut changed = 0;
    for (delivery, attempt) in claim.deliveries() {
        let statement = "UPDATE deliveries SET due = ?3, claimed_until = 0, last_error = ?4 \
                         WHERE id = ?1 AND attempt = ?2 AND state = 'due' AND claimed_until > 0";
        changed += change.execute(statement, (delivery, attempt, millis(at), error))?;
    }
    Ok(changed > 0)
}

/// Drops deliveries that a newer update makes needless: news that are hours late are worse than none.
fn drop_superseded(change: &Transaction<'_>, now: Timestamp) -> Result<(), StoreError> {
    let statement = "UPDATE deliveries SET state = 'dropped', finished = ?1 \
         WHERE state = 'due' AND digest = 0 AND due <= ?1 AND claimed_until <= ?1 AND EXISTS (SELECT 1 FROM deliveries AS newer \
         WHERE newer.subscription = deliveries.subscription AND newer.incident = deliveries.incident \
         AND newer.sequence > deliveries.sequence)";
    change.execute(statement, [millis(now)])?;
    Ok(())
}

/// Ends what this attempt still has, without success. Returns false if it has nothing more.
fn end(change: &Transaction<'_>, claim: &Claim, error: &str, now: Timestamp) -> Result<bool, StoreError> {
    let mut changed = 0;
    for (delivery, attempt) in claim.deliveries() {
        let statement = "UPDATE deliveries SET state = 'failed', last_error = ?3, finished = ?4, claimed_until = 0 \
                         WHERE id = ?1 AND attempt = ?2 AND state = 'due'";
        changed += change.execute(statement, (delivery, attempt, error, millis(now)))?;
    }
    Ok(changed > 0)
}

fn blame(change: &Transaction<'_>, subscription: i64, error: &str, now: Timestamp) -> Result<(), StoreError> {
    let statement = "UPDATE subscriptions SET failures = failures + 1, last_error = ?2, \
                     failing_since = coalesce(failing_since, ?3) WHERE id = ?1";
    change.execute(statement, (subscription, error, millis(now)))?;
    Ok(())
}

/// Silences an endpoint that has failed for days.
fn quarantine(change: &Transaction<'_>, subscription: i64, now: Timestamp) -> Result<(), StoreError> {
    let statement = "SELECT count(*) FROM subscriptions WHERE id = ?1 AND failing_since <= ?2";
    let since = millis(now - LONG_FAILURE);
    let fails_long: i64 = change.query_row(statement, [subscription, since], |row| row.get(0))?;
    if fails_long > 0 {
        silence(change, subscription, "quarantined", now)?;
    }
    Ok(())
}

/// Silences a subscription that was refused several times in a row, the last time for its address.
fn quarantine_unknown(change: &Transaction<'_>, subscription: i64, now: Timestamp) -> Result<(), StoreError> {
    // A digest is one refusal, however many deliveries went into it.
    let statement = "SELECT count(DISTINCT CASE WHEN digest > 0 THEN -finished ELSE id END) FROM deliveries \
                     WHERE subscription = ?1 AND state = 'failed' AND finished > \
                     (SELECT coalesce(max(finished), 0) FROM deliveries WHERE subscription = ?1 AND state = 'done')";
    let refused: i64 = change.query_row(statement, [subscription], |row| row.get(0))?;
    if refused >= MOST_REFUSALS {
        silence(change, subscription, "quarantined", now)?;
    }
    Ok(())
}

/// Stops all that goes to a subscription.
fn silence(change: &Transaction<'_>, subscription: i64, state: &str, now: Timestamp) -> Result<(), StoreError> {
    change.execute("UPDATE subscriptions SET state = ?2 WHERE id = ?1", (subscription, state))?;
    let statement = "UPDATE deliveries SET state = 'dropped', finished = ?2 WHERE subscription = ?1 AND state = 'due'";
    change.execute(statement, [subscription, millis(now)])?;
    note(change, now, state, subscription)
}

/// Deliveries that are due, oldest first, no more of a host than it may have at a time. A digest counts as one, and its
/// first delivery stands for all. What a host has taken is counted once for all its rows.
const DUE: &str = "SELECT * FROM (SELECT d.*, row_number() OVER (PARTITION BY d.host ORDER BY d.due, d.id) AS rank, \
    coalesce(taken.number, 0) AS taken FROM deliveries AS d \
    JOIN subscriptions AS s ON s.id = d.subscription AND s.state = 'active' \
    LEFT JOIN (SELECT host, count(DISTINCT CASE WHEN digest > 0 THEN -subscription ELSE id END) AS number \
    FROM deliveries WHERE state = 'due' AND claimed_until > ?1 GROUP BY host) AS taken ON taken.host = d.host \
    WHERE d.state = 'due' AND d.due <= ?1 AND d.claimed_until <= ?1 \
    AND (d.digest = 0 OR NOT EXISTS (SELECT 1 FROM deliveries AS f WHERE f.subscription = d.subscription \
    AND f.digest > 0 AND f.id < d.id AND f.state = 'due' AND f.due <= ?1 AND f.claimed_until <= ?1))) \
    WHERE rank + taken <= ?2 ORDER BY due, id LIMIT ?3";

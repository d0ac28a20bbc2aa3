//! Updates and their deliveries in the database.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use tokio_postgres::Row;

use super::super::super::notice::Notice;
use super::super::super::subscription::Subscription;
use super::super::delivery::{Claim, Claimed, Depth, Outcome, Recorded, Refusal};
use super::super::limits::{LONG_FAILURE, MOST_DELIVERIES, MOST_IN_DIGEST, MOST_REFUSALS, OLD};
use super::super::{StoreError, millis};
use super::change::Change;
use super::change::Value::{Int, Ints, Text, Texts};
use super::subscriptions::{COLUMNS, known, note, read};
use super::{CALL, LONG_CALL, PostgresStore, Weight};

impl PostgresStore {
    /// Records an update with a delivery for each subscriber that wants it and was there before it, all or nothing. Of
    /// several replicas that record the same, one does it, and the others are told that it is known.
    ///
    /// # Errors
    /// If too many deliveries wait, or the store cannot be written.
    pub async fn record(&mut self, notice: &Notice, now: Timestamp, digest: Timestamp) -> Result<Recorded, StoreError> {
        if now.duration_since(notice.update.at) > OLD {
            return Ok(Recorded::Old);
        }
        let written = serde_json::to_string(notice)?;
        self.change(Weight::Durable, LONG_CALL, async |change| {
            let (incident, sequence) = (notice.incident.key.as_str(), i64::from(notice.update.sequence));
            // Waits for another replica that records the same, until it has done so or has failed.
            let statement = "INSERT INTO updates (incident, sequence, at, notice) VALUES ($1, $2, $3, $4) \
                             ON CONFLICT DO NOTHING";
            let values = [Text(incident), Int(sequence), Int(millis(notice.update.at)), Text(&written)];
            if change.run(statement, &values).await? == 0 {
                return Ok(Recorded::Known);
            }
            let waiting = change.row("SELECT count(*) FROM deliveries", &[]).await?;
            if waiting.try_get::<_, i64>(0)? >= MOST_DELIVERIES {
                return Err(StoreError::Full("deliveries", MOST_DELIVERIES));
            }
            let statement = format!("SELECT {COLUMNS} FROM subscriptions AS s WHERE state = 'active'");
            let all = known(&change.rows(&statement, &[]).await?)?;
            let wanting = all.iter().filter(|one| is_told(one, notice));
            let (daily, each): (Vec<&Subscription>, Vec<&Subscription>) =
                wanting.partition(|one| one.order.is_digest());
            let mut told = 0;
            for (readers, due, digest) in [(each, now, 0), (daily, digest, millis(digest))] {
                let ids: Vec<i64> = readers.into_iter().map(|one| one.id).collect();
                // A subscription that was removed or silenced in between gets none.
                let statement = "INSERT INTO deliveries (subscription, incident, sequence, host, due, digest) \
                                 SELECT id, $2, $3, host, $4, $5 FROM subscriptions \
                                 WHERE id = ANY($1) AND state = 'active' ORDER BY id ON CONFLICT DO NOTHING";
                let values = [Ints(&ids), Text(incident), Int(sequence), Int(millis(due)), Int(digest)];
                told += change.run(statement, &values).await?;
            }
            Ok(Recorded::New(usize::try_from(told).unwrap_or(usize::MAX)))
        })
        .await
    }

    /// Claims deliveries that are due, at most `per_host` of one host at a time, over all replicas. Those that another
    /// replica claims at this moment are passed over. Drops those that a newer update of the same incident makes
    /// needless.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub async fn claim(
        &mut self,
        now: Timestamp,
        lease: SignedDuration,
        most: usize,
        per_host: usize,
    ) -> Result<Vec<Claim>, StoreError> {
        let limit = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let (instant, until, most, per_host) = (millis(now), millis(now + lease), limit(most), limit(per_host));
        self.change(Weight::Swift, CALL, async |change| {
            change.run(DROP_SUPERSEDED, &[Int(instant)]).await?;
            let values = [Int(instant), Int(per_host), Int(most), Int(until), Int(MOST_IN_DIGEST)];
            let statement = format!(
                "{TAKE} SELECT took.id, took.attempt, took.incident, took.sequence, took.digest, {COLUMNS} \
                FROM took JOIN subscriptions AS s ON s.id = took.subscription ORDER BY took.due, took.id"
            );
            let rows = change.rows(&statement, &values).await?;
            let notices = notices(change, &rows).await?;
            let mut claims = Vec::with_capacity(rows.len());
            for row in &rows {
                if let Some(claim) = claimed(row, &notices)? {
                    join(&mut claims, claim);
                }
            }
            Ok(claims)
        })
        .await
    }

    /// Notes the result of an attempt. A result that is noted already, or that comes when another replica has the
    /// delivery, changes nothing; but what an endpoint has taken, it has taken.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub async fn finish(&mut self, claim: &Claim, outcome: &Outcome, now: Timestamp) -> Result<(), StoreError> {
        self.change(Weight::Swift, CALL, async |change| {
            let subscription = claim.subscription.id;
            match outcome {
                Outcome::Done => done(change, claim, now).await,
                Outcome::Retry { at, error } => {
                    let error = clean(error);
                    if again(change, claim, &error, *at).await? {
                        blame(change, subscription, &error, now).await?;
                    }
                    Ok(())
                }
                Outcome::Failed { error } => {
                    if failed(change, claim, error, now).await? {
                        quarantine(change, subscription, now).await?;
                    }
                    Ok(())
                }
                Outcome::Refused { error, cause } => {
                    if failed(change, claim, error, now).await? {
                        match cause {
                            Refusal::Address => quarantine_unknown(change, subscription, now).await?,
                            Refusal::Message => quarantine(change, subscription, now).await?,
                        }
                    }
                    Ok(())
                }
                Outcome::Gone { error } => {
                    failed(change, claim, error, now).await?;
                    silence(change, subscription, "disabled", now).await
                }
            }
        })
        .await
    }

    /// Returns the instant from which something can be claimed.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn next_due(&mut self) -> Result<Option<Timestamp>, StoreError> {
        self.change(Weight::Swift, CALL, async |change| {
            let statement = "SELECT min(next) FROM (SELECT greatest(due, claimed_until) AS next FROM deliveries \
                             WHERE state = 'due' UNION ALL SELECT proof_due FROM subscriptions \
                             WHERE state = 'unconfirmed' AND channel = 'webhook' \
                             UNION ALL SELECT due FROM letters) AS all_times";
            let next: Option<i64> = change.row(statement, &[]).await?.try_get(0)?;
            Ok(next.and_then(|next| Timestamp::from_millisecond(next).ok()))
        })
        .await
    }

    /// Returns how much work waits, and how much has failed, over all replicas.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn depth(&mut self) -> Result<Depth, StoreError> {
        self.change(Weight::Swift, CALL, async |change| {
            let statement = "SELECT (SELECT count(*) FROM deliveries WHERE state = 'due'), \
                (SELECT min(greatest(u.at, d.digest)) FROM deliveries AS d JOIN updates AS u USING (incident, sequence) \
                 WHERE d.state = 'due'), \
                (SELECT count(*) FROM deliveries WHERE state = 'failed'), \
                (SELECT count(*) FROM subscriptions WHERE state IN ('quarantined', 'disabled'))";
            let row = change.row(statement, &[]).await?;
            let count = |at: usize| row.try_get(at).map(|count: i64| u64::try_from(count).unwrap_or(0));
            let oldest: Option<i64> = row.try_get(1)?;
            let oldest = oldest.and_then(|oldest| Timestamp::from_millisecond(oldest).ok());
            Ok(Depth { due: count(0)?, oldest, failed: count(2)?, silenced: count(3)? })
        })
        .await
    }
}

/// Returns true if a subscriber wants a notice and was there before it.
fn is_told(one: &Subscription, notice: &Notice) -> bool {
    one.created.as_second() <= notice.update.at.as_second() && one.order.wants(notice)
}

/// Reads the notices of claims, each once.
async fn notices(change: Change<'_>, rows: &[Row]) -> Result<HashMap<(String, i64), Notice>, StoreError> {
    let mut names: Vec<(&str, i64)> = Vec::new();
    for row in rows {
        names.push((row.try_get("incident")?, row.try_get("sequence")?));
    }
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return Ok(HashMap::new());
    }
    let (incidents, sequences): (Vec<&str>, Vec<i64>) = names.into_iter().unzip();
    let statement = "SELECT incident, sequence, notice FROM updates JOIN unnest($1, $2) AS wanted (incident, sequence) \
                     USING (incident, sequence)";
    let mut found = HashMap::new();
    for row in change.rows(statement, &[Texts(&incidents), Ints(&sequences)]).await? {
        if let Ok(notice) = serde_json::from_str(row.try_get(2)?) {
            found.insert((row.try_get(0)?, row.try_get(1)?), notice);
        }
    }
    Ok(found)
}

/// Reads a row of [`PostgresStore::claim`]; `None` if this backsoon does not understand it.
fn claimed(row: &Row, notices: &HashMap<(String, i64), Notice>) -> Result<Option<Claim>, StoreError> {
    let Some(subscription) = read(row)? else { return Ok(None) };
    let name: (String, i64) = (row.try_get("incident")?, row.try_get("sequence")?);
    let Some(notice) = notices.get(&name).cloned() else { return Ok(None) };
    let attempt: i64 = row.try_get("attempt")?;
    let attempt = u32::try_from(attempt).unwrap_or(u32::MAX);
    let digest = (row.try_get::<_, i64>("digest")? > 0).then(Vec::new);
    Ok(Some(Claim { delivery: row.try_get("id")?, attempt, subscription, notice, digest }))
}

/// Adds a delivery to the digest that it goes into, or as a claim of its own.
fn join(claims: &mut Vec<Claim>, claim: Claim) {
    let reader = claim.subscription.id;
    let own = claims.iter_mut().find(|one| one.subscription.id == reader && one.digest.is_some());
    match own.and_then(|one| one.digest.as_mut()).filter(|_| claim.digest.is_some()) {
        Some(further) => {
            further.push(Claimed { delivery: claim.delivery, attempt: claim.attempt, notice: claim.notice });
        }
        None => claims.push(claim),
    }
}

/// Ends a delivery that was taken, and forgives its endpoint.
async fn done(change: Change<'_>, claim: &Claim, now: Timestamp) -> Result<(), StoreError> {
    let statement = "WITH ended AS (UPDATE deliveries SET state = 'done', last_error = NULL, finished = $3, \
                     claimed_until = 0 WHERE id = ANY($1) AND state <> 'done') \
                     UPDATE subscriptions SET failures = 0, failing_since = NULL, last_error = NULL \
                     WHERE id = $2 AND failures > 0";
    let ids: Vec<i64> = claim.deliveries().map(|(delivery, _)| delivery).collect();
    let values = [Ints(&ids), Int(claim.subscription.id), Int(millis(now))];
    change.run(statement, &values).await?;
    Ok(())
}

/// Puts off what this attempt still has. Returns false if it has nothing more.
async fn again(change: Change<'_>, claim: &Claim, error: &str, at: Timestamp) -> Result<bool, StoreError> {
    let statement = "UPDATE deliveries SET due = $3, claimed_until = 0, last_error = $4 \
                     FROM unnest($1, $2) AS own (id, attempt) WHERE deliveries.id = own.id \
                     AND deliveries.attempt = own.attempt AND state = 'due' AND claimed_until > 0";
    let (ids, attempts): (Vec<i64>, Vec<i64>) =
        claim.deliveries().map(|(id, attempt)| (id, i64::from(attempt))).unzip();
    let values = [Ints(&ids), Ints(&attempts), Int(millis(at)), Text(error)];
    Ok(change.run(statement, &values).await? > 0)
}

/// Ends a delivery for good that this attempt still has, and blames its endpoint. Returns false if it has it no more.
async fn failed(change: Change<'_>, claim: &Claim, error: &str, now: Timestamp) -> Result<bool, StoreError> {
    let error = clean(error);
    let is_ended = end(change, claim, &error, now).await?;
    if is_ended {
        blame(change, claim.subscription.id, &error, now).await?;
    }
    Ok(is_ended)
}

/// Ends what this attempt still has, without success. Returns false if it has nothing more.
async fn end(change: Change<'_>, claim: &Claim, error: &str, now: Timestamp) -> Result<bool, StoreError> {
    let statement = "UPDATE deliveries SET state = 'failed', last_error = $3, finished = $4, claimed_until = 0 \
                     FROM unnest($1, $2) AS own (id, attempt) WHERE deliveries.id = own.id \
                     AND deliveries.attempt = own.attempt AND state = 'due'";
    let (ids, attempts): (Vec<i64>, Vec<i64>) =
        claim.deliveries().map(|(id, attempt)| (id, i64::from(attempt))).unzip();
    let values = [Ints(&ids), Ints(&attempts), Text(error), Int(millis(now))];
    Ok(change.run(statement, &values).await? > 0)
}

async fn blame(change: Change<'_>, subscription: i64, error: &str, now: Timestamp) -> Result<(), StoreError> {
    let statement = "UPDATE subscriptions SET failures = failures + 1, last_error = $2, \
                     failing_since = coalesce(failing_since, $3) WHERE id = $1";
    change.run(statement, &[Int(subscription), Text(error), Int(millis(now))]).await?;
    Ok(())
}

/// Silences an endpoint that has failed for days.
async fn quarantine(change: Change<'_>, subscription: i64, now: Timestamp) -> Result<(), StoreError> {
    let statement = "SELECT count(*) FROM subscriptions WHERE id = $1 AND failing_since <= $2";
    let values = [Int(subscription), Int(millis(now - LONG_FAILURE))];
    if change.row(statement, &values).await?.try_get::<_, i64>(0)? > 0 {
        silence(change, subscription, "quarantined", now).await?;
    }
    Ok(())
}

/// Silences a subscription that was refused several times in a row, the last time for its address.
async fn quarantine_unknown(change: Change<'_>, subscription: i64, now: Timestamp) -> Result<(), StoreError> {
    // A digest is one refusal, however many deliveries went into it.
    let statement = "SELECT count(DISTINCT CASE WHEN digest > 0 THEN -finished ELSE id END) FROM deliveries \
                     WHERE subscription = $1 AND state = 'failed' AND finished > \
                     (SELECT coalesce(max(finished), 0) FROM deliveries WHERE subscription = $1 AND state = 'done')";
    let refused: i64 = change.row(statement, &[Int(subscription)]).await?.try_get(0)?;
    if refused >= MOST_REFUSALS {
        silence(change, subscription, "quarantined", now).await?;
    }
    Ok(())
}

/// Stops all that goes to a subscription.
async fn silence(change: Change<'_>, subscription: i64, state: &str, now: Timestamp) -> Result<(), StoreError> {
    let statement = "UPDATE subscriptions SET state = $2 WHERE id = $1";
    change.run(statement, &[Int(subscription), Text(state)]).await?;
    let statement = "UPDATE deliveries SET state = 'dropped', finished = $2 WHERE subscription = $1 AND state = 'due'";
    change.run(statement, &[Int(subscription), Int(millis(now))]).await?;
    note(change, now, state, subscription).await
}

/// Returns what a server has said without the one character that the database does not take.
fn clean(error: &str) -> String {
    error.replace('\0', "\u{fffd}")
}

/// Drops deliveries that a newer update makes needless: news that are hours late are worse than none.
const DROP_SUPERSEDED: &str = "WITH old AS MATERIALIZED (SELECT id FROM deliveries AS d \
    WHERE state = 'due' AND digest = 0 AND due <= $1 AND claimed_until <= $1 AND EXISTS (SELECT 1 FROM deliveries AS newer \
    WHERE newer.subscription = d.subscription AND newer.incident = d.incident AND newer.sequence > d.sequence) \
    ORDER BY id FOR UPDATE SKIP LOCKED) \
    UPDATE deliveries SET state = 'dropped', finished = $1 FROM old WHERE deliveries.id = old.id";

/// Takes deliveries that are due, oldest first, no more of a host than it may have at a time. What another replica has
/// locked is passed over, and what it has taken meanwhile is looked at again. The first delivery of a digest stands for
/// all: who has locked that takes the others.
const TAKE: &str = "WITH waiting AS (SELECT d.id, d.host, d.due, row_number() OVER (PARTITION BY d.host \
    ORDER BY d.due, d.id) AS rank FROM deliveries AS d JOIN subscriptions AS s ON s.id = d.subscription \
    AND s.state = 'active' WHERE d.state = 'due' AND d.due <= $1 AND d.claimed_until <= $1 \
    AND (d.digest = 0 OR NOT EXISTS (SELECT 1 FROM deliveries AS f WHERE f.subscription = d.subscription \
    AND f.digest > 0 AND f.id < d.id AND f.state = 'due' AND f.due <= $1 AND f.claimed_until <= $1))), \
    taken AS (SELECT host, count(DISTINCT CASE WHEN digest > 0 THEN -subscription ELSE id END) AS number \
    FROM deliveries WHERE state = 'due' AND claimed_until > $1 GROUP BY host), \
    chosen AS (SELECT waiting.id FROM waiting LEFT JOIN taken USING (host) \
    WHERE rank + coalesce(taken.number, 0) <= $2 ORDER BY waiting.due, waiting.id LIMIT $3), \
    locked AS MATERIALIZED (SELECT d.id, d.subscription, d.digest FROM deliveries AS d \
    WHERE d.id IN (SELECT id FROM chosen) AND d.state = 'due' AND d.due <= $1 AND d.claimed_until <= $1 \
    ORDER BY d.id FOR UPDATE SKIP LOCKED), \
    members AS (SELECT d.id, row_number() OVER (PARTITION BY d.subscription ORDER BY d.id) AS place \
    FROM deliveries AS d JOIN locked ON locked.subscription = d.subscription AND locked.digest > 0 \
    AND locked.id <> d.id WHERE d.state = 'due' AND d.digest BETWEEN 1 AND $1 AND d.claimed_until <= $1), \
    further AS MATERIALIZED (SELECT d.id FROM deliveries AS d WHERE d.id IN (SELECT id FROM members WHERE place < $5) \
    AND d.state = 'due' AND d.claimed_until <= $1 ORDER BY d.id FOR UPDATE SKIP LOCKED), \
    took AS (UPDATE deliveries SET attempt = attempt + 1, claimed_until = $4 \
    FROM (SELECT id FROM locked UNION ALL SELECT id FROM further) AS own \
    WHERE deliveries.id = own.id RETURNING deliveries.*)";

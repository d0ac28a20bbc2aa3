//! Metrics of the engine that the flags come from.

use super::super::fleet::FleetReport;
use super::exposition::Exposition;
use super::{flag, seconds};

/// Writes how fresh the flags are. Nothing is written if they come from a file.
pub(super) fn fleet(text: &mut Exposition, report: Option<&FleetReport>) {
    let Some(report) = report else { return };
    let status = report.status();
    let labels = [("source", status.source.as_str()), ("kind", status.kind.as_str())];
    let help = "1 while the engine of the flags answers, 0 while it is away and the last good flags stay.";
    text.gauge("backsoon_fleet_up", help).sample(&labels, flag(status.trouble.is_none() && status.confirmed.is_some()));
    if let Some(age) = report.sight.age() {
        let help = "Time since the engine of the flags gave its last word.";
        text.gauge("backsoon_fleet_age_seconds", help).sample(&labels, age.as_secs_f64());
    }
    if let Some(since) = status.stale_since {
        let help = "Instant since which the flags may be out of date, while their engine is away.";
        text.gauge("backsoon_fleet_stale_since_timestamp_seconds", help).sample(&labels, seconds(since));
    }
    let help = "1 while the engine has no flags, because they were deleted or never written. The last good ones stay.";
    text.gauge("backsoon_fleet_deleted", help).sample(&labels, flag(status.deleted));
    let help = "1 from when the engine went back to an earlier revision until the next edit.";
    text.gauge("backsoon_fleet_lost_data", help).sample(&labels, flag(status.lost.is_some()));
    let help = "1 if the flags in force are kept on this machine for a restart, 0 if they cannot be.";
    text.gauge("backsoon_fleet_copy_good", help).sample(&labels, flag(status.unsaved.is_none()));
    let Some(peers) = &report.peers else { return };
    let (heard, late) = peers.count();
    let counted = |number: usize| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
    let help = "Other replicas whose beats are heard.";
    text.gauge("backsoon_fleet_replicas", help).sample(&labels, counted(heard));
    let help = "Those of them whose next beats are missing. A replica is forgotten a minute after its last beat.";
    text.gauge("backsoon_fleet_replicas_late", help).sample(&labels, counted(late));
    let help = "Beats that were left out, because there are more replicas than are kept.";
    text.counter("backsoon_fleet_beats_left_out", help).sample(&labels, counted(peers.refused()));
}

//! Facts of a certificate: the names that it is for, and the time in which it is valid.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage};

use crate::plan::problem::Problem;
use crate::plan::words;

/// Facts of a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Names of hosts, in lower case. A wildcard is written `*.example.com`.
    pub names: Vec<String>,
    /// Beginning of the time in which it is valid.
    pub starts: Option<Timestamp>,
    /// End of that time.
    pub ends: Option<Timestamp>,
}

impl Facts {
    /// Reads the facts of a certificate.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Self {
        let Ok(parsed) = EndEntityCert::try_from(certificate) else { return Self::default() };
        let names = parsed.valid_dns_names().map(str::to_ascii_lowercase).collect();
        // The library says the times only in the error about a check in another time. It checks the time before the issuer.
        let checked = |seconds| {
            let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
            parsed.verify_for_usage(&[], &[], &[], time, KeyUsage::server_auth(), None, None).err()
        };
        let starts = match checked(0) {
            Some(Error::CertNotValidYet { not_before, .. }) => timestamp(not_before),
            Some(_) | None => None,
        };
        let ends = match checked(END_OF_TIME) {
            Some(Error::CertExpired { not_after, .. }) => timestamp(not_after),
            Some(_) | None => None,
        };
        Self { names, starts, ends }
    }

    /// Warns of a certificate that is not valid now, or not for long.
    pub(super) fn aging(&self, file: &Path, now: Timestamp) -> Option<Problem> {
        let whose = match self.names.as_slice() {
            [] => "the certificate".to_owned(),
            [name] => format!("the certificate for {name}"),
            [name, more @ ..] => format!("the certificate for {name} and {}", words::count(more.len(), "more name")),
        };
        let warning = |message: String| Problem::warning(&file.display().to_string(), message);
        if let Some(ends) = self.ends {
            if ends <= now {
                let message = format!("{whose} ended {} ago, at {}", span(ends, now), at(ends));
                return Some(warning(message).help("renew it: whoever checks it refuses the connection"));
            }
            if ends.as_second() - now.as_second() <= SOON {
                let message = format!("{whose} ends in {}, at {}", span(now, ends), at(ends));
                return Some(warning(message).help("renew it, and look why it was not renewed by itself"));
            }
        }
        let starts = self.starts.filter(|starts| *starts > now)?;
        let message = format!("{whose} is not valid yet: it begins in {}, at {}", span(now, starts), at(starts));
        Some(warning(message).help("look at the clock of this machine, and of the one that made it"))
    }
}

fn timestamp(time: UnixTime) -> Option<Timestamp> {
    Timestamp::from_second(i64::try_from(time.as_secs()).ok()?).ok()
}

/// Writes an instant to the minute.
fn at(instant: Timestamp) -> String {
    instant.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// Writes a span in its largest unit. A warning changes with it, so it is told again once a day, within two days of the
/// end once an hour, and within an hour of it once a minute.
fn span(from: Timestamp, to: Timestamp) -> String {
    let seconds = usize::try_from(to.as_second() - from.as_second()).unwrap_or_default();
    match seconds {
        0..3600 => words::count(seconds / 60, "minute"),
        3600..172_800 => words::count(seconds / 3600, "hour"),
        _ => words::count(seconds / 86_400, "day"),
    }
}

/// The year 9999, in which a certificate without an end ends (RFC 5280 section 4.1.2.5).
const END_OF_TIME: u64 = 253_402_300_800;
/// Seconds before the end of a certificate from which it is warned of: 14 days. Whoever renews by itself has renewed by
/// then.
const SOON: i64 = 14 * 86_400;

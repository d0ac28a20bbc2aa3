//! Time zones by their names, and corrections for names that are wrong.
//!
//! A correction never names a zone whose clock differs from what was written. Abbreviations such as `CEST` and `IST`
//! hold for a part of the year, or stand for several times. So an error lists the zones that use them, and proposes none.

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

use super::super::super::problem::quoted;
use super::super::super::words;
use super::Invalid;

/// Finds a time zone by its name, in any case.
pub(super) fn zone_of(name: &str) -> Result<TimeZone, Invalid> {
    // jiff knows the name `Etc/Unknown`, and would take it for UTC.
    if let Some(zone) = TimeZone::get(name).ok().filter(|zone| !zone.is_unknown()) {
        return Ok(zone);
    }
    let help = of_offset(name).or_else(|| nearest(name)).or_else(|| of_abbreviation(name));
    let help = help.unwrap_or_else(|| "write a name of the IANA database, `Europe/Berlin` or `UTC`".to_owned());
    Err((format!("there is no time zone {}", quoted(name)), help))
}

/// Returns the reading of a zone whose name is mistaken for another; `None` for all others.
pub(super) fn caution(zone: &TimeZone) -> Option<String> {
    let name = zone.iana_name()?;
    let hours = name.strip_prefix("Etc/GMT").and_then(|hours| hours.parse::<i8>().ok()).filter(|hours| *hours != 0);
    if let Some(hours) = hours {
        let side = if hours > 0 { "behind" } else { "ahead of" };
        let (number, s) = (hours.unsigned_abs(), if hours.abs() == 1 { "" } else { "s" });
        return Some(format!("{} is {number} hour{s} {side} UTC: the sign of these names is reversed", quoted(name)));
    }
    let (hours, place) = match name {
        "EST" => (5, "America/New_York"),
        "MST" => (7, "America/Denver"),
        "HST" => (10, "America/Adak"),
        _ => return None,
    };
    let place = quoted(place);
    Some(format!("{} is {hours} hours behind UTC all year; the clocks of {place} change in summer", quoted(name)))
}

/// Explains an offset, such as `GMT+2`, `UTC-03:00` or `+02:00`. Whole hours have a zone of their own.
fn of_offset(name: &str) -> Option<String> {
    let upper = name.to_ascii_uppercase().replace(' ', "");
    let digits = ["ETC/GMT", "ETC/UTC", "UTC", "GMT"].iter().find_map(|prefix| upper.strip_prefix(prefix));
    let digits = digits.unwrap_or(&upper).replace('\u{2212}', "-");
    let (sign, digits) = (digits.get(..1)?, digits.get(1..)?);
    let (hours, minutes) = match digits.split_once(':') {
        Some((hours, minutes)) => (hours.to_owned(), minutes.to_owned()),
        None if digits.len() == 4 => (digits.get(..2)?.to_owned(), digits.get(2..)?.to_owned()),
        None => (digits.to_owned(), "0".to_owned()),
    };
    let (hours, minutes) = (hours.parse::<i8>().ok()?, minutes.parse::<i8>().ok()?);
    let hours = match sign {
        "+" => hours,
        "-" => -hours,
        _ => return None,
    };
    // The names of POSIX count the other way: `Etc/GMT-2` is two hours ahead of UTC.
    let zone = match hours {
        0 => "UTC".to_owned(),
        hours => format!("Etc/GMT{:+}", -i16::from(hours)),
    };
    let known = minutes == 0 && TimeZone::get(&zone).is_ok();
    let place = "if its clocks change, write the place, as in `Europe/Berlin`";
    Some(if known && hours != 0 {
        format!("this offset has the name {} (the sign is reversed); {place}", quoted(&zone))
    } else if known {
        format!("this offset has the name {}; {place}", quoted(&zone))
    } else {
        "write a place with this offset: a name of the IANA database, as `Asia/Kolkata`".to_owned()
    })
}

/// Proposes the zone of a city, or of a place with one letter wrong, if it is the only one.
fn nearest(name: &str) -> Option<String> {
    let meant = name.replace(' ', "_").to_ascii_lowercase();
    if meant.len() > LONGEST_NAME {
        return None;
    }
    let places = places();
    let city = |name: &str| name.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let by_city: Vec<&String> = places.iter().filter(|place| city(place) == city(&meant)).collect();
    let by_letter = || -> Vec<&String> {
        let is_near = |place: &&String| strsim::osa_distance(&place.to_ascii_lowercase(), &meant) <= 1;
        let is_near_city = |place: &&String| meant.len() > 4 && strsim::osa_distance(&city(place), &meant) <= 1;
        let whole: Vec<&String> = places.iter().filter(is_near).collect();
        if whole.is_empty() { places.iter().filter(is_near_city).collect() } else { whole }
    };
    let found = if by_city.is_empty() { by_letter() } else { by_city };
    let (first, rest) = found.split_first()?;
    let same = rest.iter().all(|other| year(other) == year(first));
    same.then(|| format!("did you mean {}?", quoted(first)))
}

/// Tells which places use an abbreviation, by the halves of a year.
fn of_abbreviation(name: &str) -> Option<String> {
    let is_letters = (2..=5).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphabetic());
    if !is_letters {
        return None;
    }
    // One place for each clock that has the abbreviation, the best known one if it is among them.
    let places = WELL_KNOWN.iter().map(|place| (*place).to_owned()).chain(places());
    let mut clocks: Vec<(Year, String)> = Vec::new();
    for place in places {
        let Some(year) = year(&place) else { continue };
        let uses = year.iter().any(|(abbreviation, _)| abbreviation.eq_ignore_ascii_case(name));
        if uses && clocks.len() < MOST_CLOCKS && clocks.iter().all(|(known, _)| known[0].1 != year[0].1) {
            clocks.push((year, place));
        }
    }
    let used: Vec<String> = clocks.iter().map(|(_, place)| quoted(place)).collect();
    let what = match used.as_slice() {
        [] => return None,
        [one] => format!("clocks in {one} show it"),
        more => format!("clocks in {} show it, at different times", words::list(more, "and")),
    };
    Some(format!("an abbreviation is no time zone: write region and city ({what}, at least for a part of the year)"))
}

/// Abbreviation and offset in January and in July.
type Year = [(String, Offset); 2];

fn year(place: &str) -> Option<Year> {
    let zone = TimeZone::get(place).ok()?;
    let at = |instant: Timestamp| {
        let info = zone.to_offset_info(instant);
        (info.abbreviation().to_owned(), info.offset())
    };
    Some([at(JANUARY), at(JULY)])
}

/// Returns the zones that are named for a place.
fn places() -> Vec<String> {
    let all = jiff::tz::db().available().map(|name| name.to_string());
    all.filter(|name| name.contains('/') && !name.starts_with("Etc/")).collect()
}

/// Bytes of a name for which similar ones are searched.
const LONGEST_NAME: usize = 64;
/// Most places that are told for an abbreviation.
const MOST_CLOCKS: usize = 4;
const JANUARY: Timestamp = Timestamp::constant(1_768_478_400, 0);
const JULY: Timestamp = Timestamp::constant(1_784_116_800, 0);
/// Places that most people know, for each clock in wide use.
const WELL_KNOWN: [&str; 14] = [
    "Europe/Berlin",
    "Europe/London",
    "Europe/Athens",
    "America/New_York",
    "America/Chicago",
    "America/Denver",
    "America/Los_Angeles",
    "Asia/Kolkata",
    "Asia/Shanghai",
    "Asia/Tokyo",
    "Australia/Sydney",
    "Australia/Perth",
    "Pacific/Auckland",
    "Africa/Johannesburg",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the names in backquotes of a text.
    fn named(text: &str) -> Vec<String> {
        text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn a_correction_never_means_another_time() {
        for (name, expected) in [
            ("Berlin", "did you mean `Europe/Berlin`?"),
            ("New York", "did you mean `America/New_York`?"),
            ("Europe/Berlim", "did you mean `Europe/Berlin`?"),
            ("Amerika/New_York", "did you mean `America/New_York`?"),
            ("Asia/Kathmandoo", "IANA"),
            ("America/Boston", "IANA"),
            ("GMT+2", "`Etc/GMT-2` (the sign is reversed)"),
            ("UTC+2", "`Etc/GMT-2` (the sign is reversed)"),
            ("utc-03:00", "`Etc/GMT+3` (the sign is reversed)"),
            ("+0200", "`Etc/GMT-2` (the sign is reversed)"),
            ("+02:00", "`Etc/GMT-2` (the sign is reversed)"),
            ("GMT+5:30", "`Asia/Kolkata`"),
            ("UTC+15", "IANA"),
            ("CEST", "`Europe/Berlin`"),
            ("EDT", "`America/New_York`"),
            ("BST", "`Europe/London`"),
            ("IST", "`Asia/Kolkata`, `Asia/Jerusalem` and `Europe/Dublin`"),
            ("XYZ", "IANA"),
            ("Etc/Unknown", "IANA"),
            ("", "IANA"),
            ("\u{2212}02:00", "`Etc/GMT+2`"),
            ("+ü2", "IANA"),
            ("+1ü0", "IANA"),
        ] {
            let (_, help) = zone_of(name).unwrap_err();
            assert!(help.contains(expected), "{name}: {help}");
            let proposes = help.starts_with("did you mean");
            assert!(!proposes || named(&help).iter().all(|zone| TimeZone::get(zone).is_ok()), "{name}: {help}");
            if proposes {
                assert!(name.len() > 4, "{name}: {help}");
            }
        }
        // The offset that is written, and the one of the zone that is told for it.
        for hours in -12..=14_i8 {
            let (_, help) = zone_of(&format!("UTC{hours:+}")).unwrap_err();
            let zone = TimeZone::get(&named(&help)[0]).unwrap();
            assert_eq!(zone.to_offset(JULY), Offset::constant(hours), "{hours}: {help}");
        }
    }

    #[test]
    fn no_abbreviation_is_answered_with_a_proposal() {
        for place in places() {
            for (abbreviation, _) in year(&place).unwrap() {
                if let Err((_, help)) = zone_of(&abbreviation) {
                    assert!(!help.contains("did you mean"), "{abbreviation}: {help}");
                }
            }
        }
    }

    #[test]
    fn a_name_that_is_mistaken_for_another_is_explained() {
        for (name, expected) in [
            ("Etc/GMT+2", Some("2 hours behind UTC")),
            ("Etc/GMT-1", Some("1 hour ahead of UTC")),
            ("EST", Some("5 hours behind UTC all year")),
            ("CET", None),
            ("UTC", None),
            ("Etc/GMT", None),
            ("GMT0", None),
            ("Europe/Berlin", None),
        ] {
            let told = caution(&zone_of(name).unwrap());
            assert_eq!(told.is_some(), expected.is_some(), "{name}: {told:?}");
            assert!(told.unwrap_or_default().contains(expected.unwrap_or_default()), "{name}");
        }
    }
}

//! Links with a name: writes them into the flag file, lists them, and takes them out.

use std::io::Write as _;

use jiff::Timestamp;

use crate::cli::confirm::{Confirmation, Wish};
use crate::cli::edit::{self, TableRef};
use crate::cli::failure::Failure;
use crate::cli::remains::Asked;
use crate::cli::site::{Site, SiteArgs};
use crate::cli::streams::Streams;
use crate::cli::{exit, words};
use crate::files::write::Emptied;
use crate::plan::flags::{Flags, Link};

use super::Bypass;

/// Writes a link into the flag file, and waits until the proxy knows it. Links that have expired leave the file.
pub(super) fn write(args: &Bypass, link: &Link, flags: &Flags, streams: &mut Streams) -> Result<(), Failure> {
    let now = Timestamp::now();
    if let Some(other) = flags.links.iter().find(|other| other.name == link.name && other.route != link.route) {
        return Err(Failure::OtherLink { name: other.name.clone(), route: other.route.clone() });
    }
    let Link { route, issued, expires, .. } = link;
    let value = format!("{{ route = \"{route}\", issued = {issued}, expires = {expires} }}");
    let gone = flags.links.iter().filter(|other| other.expires <= now && other.name != link.name);
    let keys = gone.map(|gone| (gone.name.as_str(), None)).chain([(link.name.as_str(), Some(value))]);
    // The standard output is the link alone.
    let confirmation = change(args, &keys.collect::<Vec<_>>())?;
    if !confirmation.is_in_force() {
        let help = "the link is good once it is; `backsoon status` tells";
        streams.note(format_args!("warning: no proxy says that the flag file is in force; {help}"))?;
    }
    Ok(())
}

/// Takes a link out of the flag file.
pub(super) fn revoke(args: &Bypass, name: &str, flags: &Flags, streams: &mut Streams) -> Result<u8, Failure> {
    if !flags.links.iter().any(|link| link.name == name) {
        let known = flags.links.iter().map(|link| link.name.clone()).collect();
        return Err(Failure::NoLink { name: name.to_owned(), known });
    }
    let confirmation = change(args, &[(name, None)])?;
    writeln!(streams.out, "the link {name} and its cookies are void")?;
    confirmation.tell(streams)?;
    Ok(exit::OK)
}

/// Edits `[links]`, and asks the proxy until the edit is in force.
fn change(args: &Bypass, keys: &[(&str, Option<String>)]) -> Result<Confirmation, Failure> {
    let site = Site::find(&SiteArgs::of(&args.config))?;
    let edited =
        site.edit(Emptied::Refused, |text| edit::set(text, TableRef::TopLevel("links"), keys).map(|text| (text, ())))?;
    let mut confirmation = site.confirmation(edited.text, Asked(Vec::new()), Wish::Taken)?;
    confirmation.ask();
    Ok(confirmation)
}

/// Lists the links of a route, or of all.
pub(super) fn list(json: bool, route: Option<&str>, flags: &Flags, streams: &mut Streams) -> Result<u8, Failure> {
    let now = Timestamp::now();
    let links = || flags.links.iter().filter(|link| route.is_none_or(|route| link.route == route));
    if json {
        let link = |link: &Link| {
            let Link { name, route, issued, expires } = link;
            serde_json::json!({ "name": name, "route": route, "issued": issued, "expires": expires,
                "expired": *expires <= now, "revoked": is_revoked(link, flags) })
        };
        let links: Vec<_> = links().map(link).collect();
        writeln!(streams.data(), "{:#}", serde_json::json!({ "links": links }))?;
        return Ok(exit::OK);
    }
    for link in links() {
        let until = words::instant(link.expires, now);
        let state = match (is_revoked(link, flags), link.expires <= now) {
            (true, _) => "revoked with all of its route".to_owned(),
            (false, true) => format!("expired {until}"),
            (false, false) => format!("good until {until} ({})", words::span(now, link.expires)),
        };
        writeln!(streams.out, "{}  {}  {state}", link.name, link.route)?;
    }
    if links().next().is_none() {
        streams.note(format_args!("no link has a name; links without one are not listed"))?;
    }
    Ok(exit::OK)
}

/// Returns true if the whole route was revoked after the link was issued.
fn is_revoked(link: &Link, flags: &Flags) -> bool {
    flags.revoked(&link.route).is_some_and(|revoked| link.issued < revoked)
}

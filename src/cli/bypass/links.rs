//! Links with a name: writes them into the flag file, lists them, and takes them out.

use std::io::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use crate::cli::admin;
use crate::cli::confirm::{Confirmation, Wish};
use crate::cli::edit::{self, TableRef};
use crate::cli::failure::Failure;
use crate::cli::remains::Asked;
use crate::cli::site::{self, Site, SiteArgs};
use crate::cli::streams::Streams;
use crate::cli::{exit, words};
use crate::files::write::Emptied;
use crate::plan::flags::{Flags, Link};
use crate::status::{LinkStatus, Status};

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

/// Lists the links of a route, or of all, with their uses at each proxy that answers.
pub(super) fn list(args: &Bypass, flags: &Flags, streams: &mut Streams) -> Result<u8, Failure> {
    let now = Timestamp::now();
    let route = args.route.as_deref();
    let links: Vec<&Link> = flags.links.iter().filter(|link| route.is_none_or(|route| link.route == route)).collect();
    if links.is_empty() && !args.json {
        streams.note(format_args!("no link has a name; links without one are not listed"))?;
        return Ok(exit::OK);
    }
    let uses = if links.is_empty() { Uses::default() } else { Uses::ask(args) };
    if args.json {
        let link = |link: &&Link| {
            let Link { name, route, issued, expires } = link;
            let used = uses.of(link);
            serde_json::json!({ "name": name, "route": route, "issued": issued, "expires": expires,
                "expired": *expires <= now, "revoked": is_revoked(link, flags), "proxies": uses.told(),
                "uses": used.as_ref().map(|used| used.uses), "last": used.and_then(|used| used.last) })
        };
        let links: Vec<_> = links.iter().map(link).collect();
        writeln!(streams.data(), "{:#}", serde_json::json!({ "links": links }))?;
        return Ok(exit::OK);
    }
    for link in links {
        let until = words::instant(link.expires, now);
        let state = match (is_revoked(link, flags), link.expires <= now) {
            (true, _) => "revoked with all of its route".to_owned(),
            (false, true) => format!("expired {until}"),
            (false, false) => format!("good until {until} ({})", words::span(now, link.expires)),
        };
        writeln!(streams.out, "{}  {}  {state}{}", link.name, link.route, uses.in_words(link, now))?;
    }
    if uses.told() < uses.asked {
        streams.note(format_args!(
            "{} of {} did not tell how often the links were used",
            uses.asked - uses.told(),
            proxies(uses.asked)
        ))?;
    }
    Ok(exit::OK)
}

/// Uses of links, as proxies tell them.
#[derive(Default)]
struct Uses {
    /// Proxies that were asked.
    asked: usize,
    /// Answers.
    answers: Vec<Status>,
}

impl Uses {
    /// Asks all proxies of the config at once. Without one that runs, nothing is known.
    fn ask(args: &Bypass) -> Self {
        let (endpoints, _) = site::listeners(&[], &args.config.config).unwrap_or_default();
        let asked = endpoints.len();
        let Ok(runtime) = Builder::new_current_thread().enable_all().build() else {
            return Self { asked, answers: Vec::new() };
        };
        let answers = runtime.block_on(async {
            let mut asking = JoinSet::new();
            for endpoint in endpoints {
                asking.spawn(async move { admin::ask(&endpoint, PATIENCE).await });
            }
            asking.join_all().await
        });
        Self { asked, answers: answers.into_iter().flatten().map(|answer| answer.status).collect() }
    }

    fn told(&self) -> usize {
        self.answers.len()
    }

    /// Sums the uses of a link; `None` if no proxy told of it.
    fn of(&self, link: &Link) -> Option<LinkStatus> {
        let routes = self.answers.iter().flat_map(|status| &status.routes).filter(|route| route.name == link.route);
        let told = routes.flat_map(|route| &route.links).filter(|told| told.name == link.name).cloned();
        told.reduce(|sum, one| LinkStatus { uses: sum.uses + one.uses, last: sum.last.max(one.last), ..sum })
    }

    /// Tells the uses of a link, and who knows of them.
    fn in_words(&self, link: &Link, now: Timestamp) -> String {
        let Some(used) = self.of(link) else { return String::new() };
        let who = if self.asked == 1 { "this proxy".to_owned() } else { proxies(self.told()) };
        let times = usize::try_from(used.uses).unwrap_or(usize::MAX);
        match used.last {
            Some(last) => format!("; {who}: used {}, last {}", words::count(times, "time"), words::instant(last, now)),
            None => format!("; {who}: not used"),
        }
    }
}

fn proxies(count: usize) -> String {
    if count == 1 { "1 proxy".to_owned() } else { format!("{count} proxies") }
}

/// Returns true if the whole route was revoked after the link was issued.
fn is_revoked(link: &Link, flags: &Flags) -> bool {
    flags.revoked(&link.route).is_some_and(|revoked| link.issued < revoked)
}

/// Time for the proxies to answer.
const PATIENCE: Duration = Duration::from_secs(1);

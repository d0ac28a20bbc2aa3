//! The page that `render` is asked for: of a window, of a route, or of sample data.

use std::sync::Arc;

use clap::ValueEnum;
use jiff::Timestamp;

use crate::control::edit::windows;
use crate::control::load::Loaded;
use crate::plan::compile::{Inputs, Known, compile};
use crate::plan::flags::{Flag, Flags, Mode, Target, Window};
use crate::plan::page::{Page, Renderer, samples};

use super::super::failure::{EditFailure, Failure, Force};
use super::super::streams::Streams;

/// Amount of sample data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Sample {
    /// A switch without words
    Bare,
    /// A switch with a message and an end
    Brief,
    /// A window with everything
    Full,
    /// A hundred services, forty steps, long words, markup everywhere
    Worst,
}

impl Sample {
    /// Returns the sample as flags.
    pub(super) fn flags(self, now: Timestamp) -> Flags {
        match self {
            Self::Bare => samples::bare(),
            Self::Brief => samples::brief(now),
            Self::Full => samples::full(now),
            Self::Worst => samples::worst(now),
        }
    }
}

/// Returns the page of a window: as of now if the window is in force, else as of its start.
pub(super) fn of_window(loaded: &Loaded, id: &str, route: Option<&str>, now: Timestamp) -> Result<Arc<Page>, Failure> {
    let window = find_window(&loaded.flags, id)?;
    let at = match window.in_force(now) {
        Some(_) => now,
        // Before or after the window.
        None => window.span_at(now).map_or(now, |(starts, _)| starts),
    };
    // The window alone, for every route: other flags and the routes of this proxy do not matter here.
    let alone = Window { routes: vec![(Target::Every, Mode::Offline)], ..window.clone() };
    let flags = Flags { windows: vec![alone], ..Flags::default() };
    Ok(of_all(loaded, &flags, route, at))
}

/// Finds a window by its id.
pub(super) fn find_window<'f>(flags: &'f Flags, id: &str) -> Result<&'f Window, Failure> {
    Ok(windows::window(flags, id)?)
}

pub(super) fn of_route(
    loaded: &Loaded,
    name: Option<&str>,
    now: Timestamp,
    streams: &mut Streams,
) -> Result<Arc<Page>, Failure> {
    let mut live = pages(loaded, &loaded.flags, now);
    live.retain(|(route, _)| name.is_none_or(|name| name == route));
    let others = live.iter().filter(|(_, page)| !Arc::ptr_eq(page, &live[0].1)).count();
    if others > 0 {
        let (first, _) = &live[0];
        streams
            .note(format_args!("this is the page of `{first}`; others are flagged with words of their own: --route"))?;
    }
    if let Some((_, page)) = live.into_iter().next() {
        return Ok(page);
    }
    let route = name.unwrap_or_else(|| loaded.config.routes.first().map_or("*", |route| &route.name));
    streams.note(format_args!("`{route}` is not flagged then; this is a preview, as if it were taken offline"))?;
    Ok(of_all(loaded, &offline(), Some(route), now))
}

/// Returns flags that take every route offline, without a message.
pub(super) fn offline() -> Flags {
    Flags { routes: vec![Flag::new(Target::Every, Mode::Offline)], ..Flags::default() }
}

/// Refuses a name that is not a route of the config.
pub(super) fn check_route(loaded: &Loaded, name: &str) -> Result<(), Failure> {
    let known: Vec<String> = loaded.config.routes.iter().map(|route| route.name.clone()).collect();
    if known.iter().any(|known| known == name) {
        return Ok(());
    }
    Err(Failure::Edit(EditFailure::NoRoute { name: name.to_owned(), known, force: Force::Impossible }))
}

/// Returns the page of flags that close every route, with the look of this one, or else the general look.
pub(super) fn of_all(loaded: &Loaded, flags: &Flags, route: Option<&str>, at: Timestamp) -> Arc<Page> {
    let mut pages = pages(loaded, flags, at);
    let is_meant = |(name, page): &(String, Arc<Page>)| match route {
        Some(route) => name == route,
        None => page.look.renderer.config.route.is_none(),
    };
    let meant = pages.iter().position(is_meant).unwrap_or(0);
    assert!(!pages.is_empty(), "a config has a route, and every route is closed");
    pages.swap_remove(meant).1
}

/// Returns the renderer of a route, or the general one.
pub(super) fn renderer<'l>(loaded: &'l Loaded, route: Option<&str>) -> &'l Renderer {
    let route = loaded.config.routes.iter().find(|known| Some(known.name.as_str()) == route);
    route.map_or(&loaded.renderers.general, |route| loaded.renderers.of(route))
}

/// Returns the routes that these flags close at an instant, each with its page.
fn pages(loaded: &Loaded, flags: &Flags, now: Timestamp) -> Vec<(String, Arc<Page>)> {
    let Loaded { config, renderers, .. } = loaded;
    let snapshot =
        compile(Inputs { config, flags, renderers, known: &Known::default(), previous: None, now, generation: 1 });
    let closed = snapshot.routes.into_iter();
    closed.filter_map(|route| Some((route.config.name.clone(), Arc::clone(&route.closure?.page)))).collect()
}

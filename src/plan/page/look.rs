//! Looks: what a page is made of besides its content. Routes with the same look and the same content share a page.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use jiff::Timestamp;

use super::super::config::RouteConfig;
use super::model::VersionedModel;
use super::{PageModel, Renderer};

/// Renderers of a config: the general one, and one for each page that routes have of their own.
#[derive(Clone, Debug)]
pub struct Renderers {
    /// Renderer of the status site, and of all routes without a page of their own.
    pub general: Arc<Renderer>,
    /// By the route that the page is named for.
    own: Arc<HashMap<String, Arc<Renderer>>>,
}

impl Renderers {
    /// Creates a set. Each renderer of `own` has a page that is named for a route.
    pub fn new(general: Arc<Renderer>, own: impl IntoIterator<Item = Arc<Renderer>>) -> Self {
        let named = |renderer: Arc<Renderer>| Some((renderer.config.route.clone()?, renderer));
        Self { general, own: Arc::new(own.into_iter().filter_map(named).collect()) }
    }

    /// Creates a set without any of the operator's files.
    pub fn built_in() -> Self {
        Self::from(Arc::new(Renderer::built_in()))
    }

    /// Returns the renderer of a route.
    pub fn of(&self, route: &RouteConfig) -> &Arc<Renderer> {
        let named = route.page.as_ref().and_then(|page| page.route.as_ref());
        self.named(named).unwrap_or(&self.general)
    }

    /// Returns the renderer of a page by the route that it is named for; `None` for a page that is not in the set.
    pub fn named(&self, route: Option<&String>) -> Option<&Arc<Renderer>> {
        match route {
            None => Some(&self.general),
            Some(route) => self.own.get(route),
        }
    }

    /// Returns every renderer, the general one first.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Renderer>> {
        std::iter::once(&self.general).chain(self.own.values())
    }

    /// Returns true if both sets make the same pages.
    pub fn is_same(&self, other: &Self) -> bool {
        let prints = |set: &Self| {
            let mut prints: Vec<_> = set.all().map(|one| (one.config.route.clone(), one.fingerprint)).collect();
            prints.sort_unstable();
            prints
        };
        prints(self) == prints(other)
    }
}

impl From<Arc<Renderer>> for Renderers {
    fn from(general: Arc<Renderer>) -> Self {
        Self::new(general, [])
    }
}

/// Look of a page: what it is made of besides its content. Equal looks make equal pages of equal contents.
#[derive(Clone, Debug)]
pub struct Look {
    /// Renderer.
    pub renderer: Arc<Renderer>,
    /// Name of the route, if the templates show it.
    pub route: Option<Arc<str>>,
    /// Host of the route, if it has one alone and the templates show it.
    pub host: Option<Arc<str>>,
}

impl Look {
    /// Returns the look of a route. It has the names that its templates show and no others, so that all routes whose pages
    /// do not differ share them.
    pub fn of(renderer: &Arc<Renderer>, route: &RouteConfig) -> Self {
        let names = renderer.names;
        Self {
            renderer: Arc::clone(renderer),
            route: names.route.then(|| route.name.as_str().into()),
            host: (names.host || names.unbranded_host).then(|| route.one_host()).flatten().map(Into::into),
        }
    }

    /// Returns this look without the host, if the built-in page alone shows it. There its script can take the place.
    pub fn without_optional_host(&self) -> Self {
        let host = self.host.clone().filter(|_| self.renderer.names.host);
        Self { host, ..self.clone() }
    }

    /// Returns the fingerprint. It differs between looks whose pages differ.
    pub(super) fn fingerprint(&self) -> u64 {
        if self.route.is_none() && self.host.is_none() {
            return self.renderer.fingerprint;
        }
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

impl Look {
    /// Adds to a model what templates show besides it.
    pub(super) fn versioned<'m>(&'m self, model: &'m PageModel, version: u64, now: Timestamp) -> VersionedModel<'m> {
        VersionedModel { model, route: self.route.as_deref(), host: self.host.as_deref(), version, now }
    }
}

impl From<&Arc<Renderer>> for Look {
    /// Returns the look of a renderer without names of a route.
    fn from(renderer: &Arc<Renderer>) -> Self {
        Self { renderer: Arc::clone(renderer), route: None, host: None }
    }
}

impl PartialEq for Look {
    fn eq(&self, other: &Self) -> bool {
        let parts = |look: &Self| (look.renderer.fingerprint, look.route.clone(), look.host.clone());
        parts(self) == parts(other)
    }
}

impl Eq for Look {}

impl Hash for Look {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.renderer.fingerprint, &self.route, &self.host).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::super::compile::{Inputs, Known, compile};
    use super::super::super::lifecycle::Phase;
    use super::super::super::{config, flags};
    use super::super::{Source, Sources};
    use super::*;

    /// Closes every route of a config with this page, and returns the names that each page has.
    fn looks(routes: &str, page: &str, template: Option<&str>) -> Vec<(Option<String>, Option<String>)> {
        let text = format!("[[listen]]\naddress = \"127.0.0.1:0\"\n[page]\n{page}\n{routes}");
        let config = config::parse("backsoon.toml", &text).0.expect("a config");
        let source = |text: &str| Source { name: "page.html".into(), path: "page.html".into(), text: text.to_owned() };
        let sources = Sources { files: template.map(source).into_iter().collect(), logo: None };
        let (renderer, problems) = Renderer::new(&config.page, &sources, "backsoon.toml");
        let renderers = Renderers::from(Arc::new(renderer.unwrap_or_else(|| panic!("{problems:?}"))));
        let flags = flags::parse("maintenance.toml", "[routes]\n\"*\" = \"offline\"\n").0.expect("flags").flags;
        let (config, flags, known) = (&config, &flags, &Known::default());
        let now = Timestamp::UNIX_EPOCH;
        let inputs = Inputs { config, flags, renderers: &renderers, known, previous: None, now, generation: 1 };
        let snapshot = compile(inputs);
        let text = |name: &Option<Arc<str>>| name.as_ref().map(|name| name.to_string());
        let closed = snapshot.pages.values().filter(|page| page.model.content.phase != Phase::Open);
        let names = closed.map(|page| (text(&page.look.route), text(&page.look.host)));
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        names
    }

    const ROUTES: &str = "[routes.a]\nhost = \"a.example\"\nupstream = \"http://127.0.0.1:1\"\n\
        [routes.b]\nhost = [\"b.example\", \"*.b.example\"]\nupstream = \"http://127.0.0.1:1\"\n\
        [routes.c]\nhost = \"a.example\"\npath = \"/c\"\nupstream = \"http://127.0.0.1:1\"\n";

    #[test]
    fn routes_share_a_page_unless_it_shows_what_they_differ_in() {
        let looks = |template: &str| looks(ROUTES, "languages = \"en\"", Some(template));
        let name = |name: &str| Some(name.to_owned());
        assert_eq!(looks("<title>x</title>{{ title }}").len(), 1);
        assert_eq!(looks("<title>{{ host or title }}</title>"), [(None, None), (None, name("a.example"))]);
        let routes = [(name("a"), None), (name("b"), None), (name("c"), None)];
        assert_eq!(looks("<title>{% if route %}{{ route }}{% endif %}{{ title }}</title>"), routes);
        assert_eq!(looks("<title>x</title>{# {{ host }} #}{{ title }}").len(), 1);
    }

    #[test]
    fn a_switch_for_many_hosts_makes_few_built_in_pages() {
        let route = |n: usize| format!("[routes.r{n}]\nhost = \"h{n}.example\"\nupstream = \"http://127.0.0.1:1\"\n");
        let many: String = (0..40).map(route).collect();
        assert!(looks(&many, "languages = \"en\"", None).len() <= 9);
        assert_eq!(
            looks(&many, "languages = \"en\"\nbrand = \"Example\"", None).len(),
            1,
            "the brand says whose it is"
        );
    }
}

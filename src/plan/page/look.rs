//! Looks: what a page is made of besides its content. Routes with the same look and the same content share a page.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::super::config::RouteConfig;
use super::Renderer;

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

/// What a page is made of besides its content. Looks are equal if they make equal pages of equal contents.
#[derive(Clone, Debug)]
pub struct Look {
    /// Renderer.
    pub renderer: Arc<Renderer>,
}

impl From<&Arc<Renderer>> for Look {
    fn from(renderer: &Arc<Renderer>) -> Self {
        Self { renderer: Arc::clone(renderer) }
    }
}

impl PartialEq for Look {
    fn eq(&self, other: &Self) -> bool {
        self.renderer.fingerprint == other.renderer.fingerprint
    }
}

impl Eq for Look {}

impl Hash for Look {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.renderer.fingerprint.hash(state);
    }
}

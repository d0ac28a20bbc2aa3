//! Banners of a snapshot. Routes that announce the same share one, and it is kept from snapshot to snapshot.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::banner::{AnnouncedWindow, Banner, BannerModel};
use super::super::config::RouteConfig;
use super::super::snapshot::Announced;
use super::Inputs;

/// Banners by their content.
pub(super) struct Banners<'i> {
    inputs: &'i Inputs<'i>,
    /// URL of the status site, where the page of a route has no other link.
    site: String,
    /// Banners of the previous snapshot, if they came from the same renderer.
    kept: Option<&'i HashMap<Arc<BannerModel>, Arc<Banner>>>,
    pub(super) made: HashMap<Arc<BannerModel>, Arc<Banner>>,
}

impl<'i> Banners<'i> {
    pub(super) fn new(inputs: &'i Inputs<'i>) -> Self {
        let previous = inputs.previous.filter(|previous| Arc::ptr_eq(&previous.renderer, &inputs.renderers.general));
        let (page, status) = (&inputs.config.page, &inputs.config.status);
        let site = format!("{}/", status.base(&page.prefix));
        Self { inputs, site, kept: previous.map(|previous| &previous.banners), made: HashMap::new() }
    }

    /// Returns the banner of a route, if it has one.
    pub(super) fn of(&mut self, config: &RouteConfig, announced: &[Announced]) -> Option<Arc<Banner>> {
        config.policy.announce_banner.then(|| {
            let windows = announced.iter().map(|next| AnnouncedWindow {
                id: next.id.clone(),
                title: self.inputs.flags.window(&next.id).and_then(|window| window.title.clone()),
                mode: next.mode,
                starts: next.starts,
                ends: next.ends,
            });
            let link = self.inputs.renderers.of(config).config.links.status.as_ref();
            let model = BannerModel { url: link.unwrap_or(&self.site).clone(), windows: windows.collect() };
            let known = self.made.get(&model).or_else(|| self.kept?.get(&model));
            let banner = known.map_or_else(|| self.make(model), Arc::clone);
            self.made.insert(Arc::clone(&banner.model), Arc::clone(&banner));
            banner
        })
    }

    fn make(&self, model: BannerModel) -> Arc<Banner> {
        let languages = if self.made.len() < MOST_LOCALIZED { usize::MAX } else { 1 };
        Arc::new(Banner::new(Arc::new(model), &self.inputs.renderers.general, languages))
    }
}

/// Most banners of one snapshot that are made in every language, because each takes memory.
const MOST_LOCALIZED: usize = 128;

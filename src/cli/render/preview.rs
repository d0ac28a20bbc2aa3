//! Preview of a page: served by the proxy itself, or written again whenever a file changes.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::runtime::LocalOptions;

use crate::control::load;
use crate::control::preview::Preview;
use crate::files::{self, Files, Kind};
use crate::plan::config::{
    Access, Address, Config, Errors, HostPattern, Listen, PageConfig, Policy, RouteConfig, Upstream, UpstreamAddress,
    WellKnown,
};
use crate::plan::dialect::Dialect;
use crate::plan::flags::{Flag, Flags, Mode, Past, Target, When};
use crate::plan::page::samples;
use crate::plan::path::PathPattern;
use crate::plan::rewrite::BasePath;

use super::super::failure::Failure;
use super::super::flag_file::with_option;
use super::super::run;
use super::super::streams::{BOLD, Streams, styled};
use super::page::{Sample, check_route, find_window, offline};

/// Options of a preview.
pub(super) struct Options {
    pub(super) config_file: PathBuf,
    pub(super) address: SocketAddr,
    pub(super) page: PreviewedPage,
    pub(super) lang: Option<String>,
    pub(super) dialect: Option<Dialect>,
}

/// Page to show.
pub(super) struct PreviewedPage {
    pub(super) window: Option<String>,
    pub(super) route: Option<String>,
    pub(super) sample: Option<Sample>,
}

/// Serves the page until interrupted. The proxy runs with one route that is always closed, and no other is reachable.
pub(super) fn serve(options: Options, streams: &mut Streams) -> Result<u8, Failure> {
    let Options { config_file, address, page, lang, dialect } = options;
    let loaded = load::once(&config_file).map_err(|problems| Failure::Problems(with_option(&config_file, problems)))?;
    if let Some(id) = &page.window {
        find_window(&loaded.flags, id)?;
    }
    if let Some(name) = &page.route {
        check_route(&loaded, name)?;
    }
    let fixed = dialect.filter(|dialect| *dialect != Dialect::Html && dialect.is_negotiated());
    let route = page.route.clone();
    let preview = Preview {
        config: Box::new(move |config| {
            let own = config.routes.iter().find(|known| Some(&known.name) == route.as_ref());
            let page = own.and_then(|route| route.page.clone());
            adapt(config, address, lang.as_deref(), PreviewedForm { page, dialect: fixed });
        }),
        flags: Box::new(move |flags| page.close(flags)),
    };
    let url = format!("http://{address}/");
    writeln!(streams.out, "\n  Open {}; it follows every edit. Ctrl-C ends it.\n", styled(BOLD, url))?;
    streams.out.flush()?;
    let options = run::Options {
        config: config_file,
        port_hint: Some("choose another address: `--serve 127.0.0.1:8082`".to_owned()),
        preview: Some(preview),
    };
    Ok(run::run(options))
}

/// Calls `again` whenever one of a config's files has changed, until interrupted.
pub(super) fn watch(config_file: &Path, mut again: impl FnMut() -> Result<(), Failure>) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    runtime.map_err(Failure::Internal)?.block_on(async {
        let mut files = Files::new(files::Options::default());
        loop {
            // A config with errors names no files, so the files named before stay watched.
            if let Ok(loaded) = load::from(config_file, &mut files) {
                let named = load::files_of(&loaded.config).into_iter().chain([config_file.to_owned()]);
                let named = named.map(|file| (file, Kind::Content));
                files.set_all(named.chain(load::sources_of(&loaded.sources)));
            }
            files.next().await;
            again()?;
        }
    })
}

impl PreviewedPage {
    /// Changes the flags so that the preview route is closed now, with the text to be shown.
    fn close(&self, flags: &mut Flags) {
        let now = Timestamp::now();
        if let Some(sample) = self.sample {
            *flags = sample.flags(now);
            return;
        }
        let target = Target::Route(ROUTE.to_owned());
        if let Some(id) = &self.window {
            flags.windows = flags.window(id).cloned().into_iter().collect();
            flags.past = Past::default();
            flags.routes.clear();
            flags.switched.clear();
            for window in &mut flags.windows {
                if let (None, Some((starts, ends))) = (window.in_force(now), window.span_at(now)) {
                    // The page shows the window at its start, which is moved to now.
                    window.when = When::Once { starts, ends };
                    window.ended = None;
                    samples::shift(window, now.duration_since(starts));
                }
                window.routes.push((target.clone(), Mode::Offline));
            }
        } else {
            let meant = |other: &Target| match other {
                Target::Every => true,
                Target::Route(name) => self.route.as_ref().is_none_or(|route| route == name),
            };
            for window in &mut flags.windows {
                let mode = window.routes.iter().filter(|(target, _)| meant(target)).map(|(_, mode)| *mode).max();
                window.routes.extend(mode.map(|mode| (target.clone(), mode)));
            }
            let own = flags.routes.iter().find(|flag| meant(&flag.route)).cloned();
            flags.routes.extend(own.map(|flag| Flag { route: target.clone(), ..flag }));
        }
        let closed = flags.routes.iter().any(|flag| flag.route == target && flag.acts(now))
            || flags.windows.iter().any(|window| {
                window.in_force(now).is_some() && window.routes.iter().any(|(other, _)| *other == target)
            });
        if !closed {
            flags.routes.extend(offline().routes.into_iter().map(|flag| Flag { route: target.clone(), ..flag }));
        }
    }
}

/// Form of the page that is shown.
struct PreviewedForm {
    /// Page of the route, if it has one of its own.
    page: Option<Arc<PageConfig>>,
    dialect: Option<Dialect>,
}

/// Adapts a config to one listener and one route for everything. The other routes stay, because the page names them.
fn adapt(config: &mut Config, address: SocketAddr, lang: Option<&str>, form: PreviewedForm) {
    let PreviewedForm { page, dialect } = form;
    config.listen = vec![Listen::plain(Address::Ip(address))];
    config.admin = None;
    config.workers = Some(1);
    config.log.access = Access::Off;
    config.log.access_file = None;
    config.drain = Duration::ZERO;
    config.limits.grace = Duration::ZERO;
    // A page has the name of its first route, which here is the only one.
    let mut page = page.map(|page| PageConfig { route: Some(ROUTE.to_owned()), ..(*page).clone() });
    if let Some(lang) = lang {
        for page in page.iter_mut().chain([&mut config.page]) {
            page.language = lang.to_owned();
            page.languages = vec![lang.to_owned()];
        }
    }
    for route in &mut config.routes {
        let route = Arc::make_mut(route);
        route.hosts = vec![HostPattern::Exact(format!("{}.invalid", route.name.to_ascii_lowercase()))];
        route.policy = Policy::default();
        route.redirect = None;
        route.listen = Vec::new();
        route.page = None;
    }
    let preview = RouteConfig {
        name: ROUTE.to_owned(),
        hosts: Vec::new(),
        paths: PathPattern::new("/").into_iter().collect(),
        upstreams: vec![Upstream {
            tls: None,
            address: UpstreamAddress::Host("127.0.0.1".to_owned(), 9),
            base: BasePath::default(),
            client_cert: None,
            http2: false,
            proxy_protocol: None,
        }],
        redirect: None,
        listen: Vec::new(),
        keep_host: true,
        request: None,
        response: None,
        rewrite: None,
        always_open: Vec::new(),
        well_known: WellKnown::Closed,
        limits: None,
        dialect,
        errors: Errors::default(),
        page: page.map(Arc::new),
        template: None,
        balance: None,
        switch: None,
        policy: Policy::default(),
    };
    config.routes.push(Arc::new(preview));
    config.routes.sort_by(|a, b| a.name.cmp(&b.name));
}

/// Name of the preview route, which no real route can have.
const ROUTE: &str = "(preview)";

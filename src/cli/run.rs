//! `backsoon run`: starts control and proxy, and cleans up after them.

use std::path::PathBuf;
use std::sync::Arc;

use listenfd::ListenFd;
use tokio::runtime::LocalOptions;
use tokio::sync::{oneshot, watch};

use crate::control::admin::AdminListener;
use crate::control::controller::Controller;
use crate::control::preview::Preview;
use crate::control::{self, End, Signals};
use crate::files::Files;
use crate::live::{self, Stage};
use crate::plan::config::{Listen, LogLevel};
use crate::proxy;
use crate::proxy::listen::{self, BindError, Inherited};
use crate::telemetry::Meters;
use crate::telemetry::access::AccessWriter;
use crate::telemetry::log::{self, LogHandle};

use super::exit;
use super::flag_file::with_option;

/// Options of `run`.
#[derive(Debug)]
pub struct Options {
    /// The config file.
    pub config: PathBuf,
    /// Hint if a port is taken: the option or the key that changes it.
    pub port_hint: Option<String>,
    /// Changes to the files' content, for the preview of a page.
    pub(crate) preview: Option<Preview>,
}

/// Error that keeps `run` from starting.
#[derive(Debug)]
pub enum StartError {
    /// The files have problems; each is printed in full.
    Problems(Vec<crate::plan::problem::Problem>),
    /// An address cannot be listened on.
    Bind(BindError),
    /// An inherited socket matches no listener.
    Unexpected(String),
    /// The system refused something else.
    System(&'static str, std::io::Error),
}

/// Serves until a signal ends it.
pub fn run(mut options: Options) -> u8 {
    let preview = options.preview.take();
    let log = match log::start(LogLevel::Info) {
        Ok(log) => log,
        Err(error) => return StartError::System("cannot start", error).tell(&options),
    };
    let ended = serve(&options, preview, log.clone());
    match &ended {
        Ok(End::Drained) => tracing::info!("ended"),
        Ok(End::Cut) => tracing::warn!("ended at once, by a second signal"),
        Ok(End::Died) => tracing::error!("ended, because the workers did"),
        Err(_) => {}
    }
    log.flush();
    match ended {
        Ok(End::Drained) => exit::OK,
        Ok(End::Cut) => exit::CUT,
        Ok(End::Died) => exit::INTERNAL,
        Err(error) => error.tell(&options),
    }
}

fn serve(options: &Options, preview: Option<Preview>, log: LogHandle) -> Result<End, StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let runtime = runtime.map_err(|error| StartError::System("cannot start", error))?;
    // The watcher needs this runtime, so files are read inside it from the start.
    let _inside = runtime.enter();
    // Signals are handled before the process can be seen, since the first one may come as soon as a port answers.
    let signals = Signals::new().map_err(|error| StartError::System("cannot receive signals", error))?;
    let files = Files::new(crate::files::Options::default());
    let (mut controller, _) =
        Controller::start(options.config.clone(), files, preview, log).map_err(StartError::Problems)?;
    let workers = controller.config().workers.unwrap_or_else(cores);
    let mut inherited = inherited();
    let file = controller.config().admin_file.clone();
    let admin = controller.config().admin.clone().map(|address| Listen { file, ..Listen::plain(address) });
    let admin = admin.map(|listen| bind_admin(&listen, &mut inherited)).transpose().map_err(StartError::Bind)?;
    let (admin, admin_file) = admin.unzip();
    let admin_file = admin_file.flatten();
    let listeners = listen::bind(&controller.config().listen, workers, &mut inherited).map_err(StartError::Bind)?;
    if let Some(left) = inherited.names().first() {
        return Err(StartError::Unexpected(left.clone()));
    }
    raise_descriptor_limit();
    let mut socket_files: Vec<PathBuf> = listeners.iter().filter_map(listen::Bound::file).collect();
    socket_files.extend(admin_file);
    for listener in &listeners {
        tracing::info!(address = %listener.address, inherited = listener.inherited, "listening");
    }
    let meters = Arc::new(Meters::new(workers));
    controller.set_meters(Arc::clone(&meters));
    // Opened even if the access log is off, because an edit of the config can turn it on.
    let access_file = controller.config().log.access_file.clone();
    let access = AccessWriter::start(access_file).map(Arc::new);
    let access = access.map_err(|error| StartError::System("cannot open the access log", error))?;
    let (mut publisher, reader) = live::cell(controller.first());
    controller.announce(admin.as_ref().and_then(AdminListener::address));
    controller.open_site(&mut publisher);
    let (stage, staged) = watch::channel(Stage::Running);
    let tls = controller.config().listen.iter().map(|listen| listen.tls.is_some()).collect();
    let logs = (0..workers).map(|_| access.log()).collect();
    let start =
        proxy::Start { listeners, tls, reader: reader.clone(), meters: Arc::clone(&meters), stage: staged, logs };
    let proxy = proxy::start(start).map_err(|error| StartError::System("cannot start the workers", error))?;
    let ended = watch_over(proxy).map_err(|error| StartError::System("cannot start", error))?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), workers, "started");
    let access_writer = Arc::clone(&access);
    let start =
        control::Start { signals, controller, publisher, reader, meters, stage, ended, admin, access: access_writer };
    let end = runtime.block_on(control::run(start));
    if let Some(access) = Arc::into_inner(access) {
        access.finish();
    }
    for file in socket_files {
        // The file may be gone already.
        let _ = std::fs::remove_file(file);
    }
    Ok(end)
}

/// Returns a receiver that resolves when the workers have ended.
fn watch_over(proxy: proxy::Proxy) -> std::io::Result<oneshot::Receiver<()>> {
    let (tell, ended) = oneshot::channel();
    std::thread::Builder::new().name("workers".into()).spawn(move || {
        // A worker that panicked has ended the process already.
        let _ = proxy.join();
        let _ = tell.send(());
    })?;
    Ok(ended)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Takes the sockets that systemd, or a predecessor, has opened for this process.
fn inherited() -> Inherited {
    let mut given = ListenFd::from_env();
    let mut inherited = Inherited::default();
    for index in 0..given.len() {
        if let Ok(Some(listener)) = given.take_tcp_listener(index) {
            inherited.tcp.push(listener);
        } else if let Ok(Some(listener)) = given.take_unix_listener(index) {
            inherited.unix.push(listener);
        }
    }
    inherited
}

/// Binds the admin listener. Also returns its socket file, if this process created it and must remove it at the end.
fn bind_admin(listen: &Listen, inherited: &mut Inherited) -> Result<(AdminListener, Option<PathBuf>), BindError> {
    let (bound, file) = listen::bind_one_exclusively(listen, inherited)?;
    let address = &listen.address;
    let listener = match bound {
        listen::Exclusive::Tcp(listener) => {
            let local = listener.local_addr().map_or_else(|_| address.to_string(), |local| local.to_string());
            tracing::info!(address = local, "admin listener");
            AdminListener::Tcp(listener)
        }
        listen::Exclusive::Unix(listener) => {
            tracing::info!(%address, "admin listener");
            AdminListener::Unix(listener)
        }
    };
    Ok((listener, file))
}

/// Raises the limit on descriptors to the hard limit. The soft limit is only a shell's default.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit on descriptors stays as it is");
    }
}

impl StartError {
    /// Prints the error and a hint, and returns the exit code.
    fn tell(&self, options: &Options) -> u8 {
        match self {
            Self::Problems(problems) => {
                for problem in with_option(&options.config, problems.clone()) {
                    exit::say(format_args!("{problem}\n"));
                }
                exit::say(format_args!("backsoon: not started, because of the problems above"));
                exit::USAGE
            }
            Self::Bind(error) => {
                let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
                let hint = match (&options.port_hint, error.in_use()) {
                    (Some(hint), _) => format!("; {hint}"),
                    (None, true) => {
                        let key = format!("`address` under [[listen]] or [admin] in {}", options.config.display());
                        format!("; end that process, or change {key}")
                    }
                    (None, false) => error.advice().map(|advice| format!("; {advice}")).unwrap_or_default(),
                };
                exit::say(format_args!("backsoon: {error}{source}{hint}"));
                exit::UNAVAILABLE
            }
            Self::Unexpected(socket) => {
                exit::say(format_args!(
                    "backsoon: the socket {socket} was handed over, and no [[listen]] in {} has this address",
                    options.config.display()
                ));
                exit::USAGE
            }
            Self::System(what, error) => {
                exit::say(format_args!("backsoon: {what}: {error}"));
                exit::UNAVAILABLE
            }
        }
    }
}

//! `backsoon subscribers`: lists, saves, restores and removes subscribers. Works on the store of the outbox, which may be
//! open in a running proxy.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use jiff::Timestamp;

use crate::control::certs;
use crate::control::state::StateDir;
use crate::outbox::address::Reach;
use crate::outbox::keys::SenderKeys;
use crate::outbox::mail::mailer::MailDesk;
use crate::outbox::post::Connector;
use crate::outbox::store::{FILE, Store, StoreError};
use crate::outbox::subscription::{Channel, Subscription};
use crate::outbox::trial::{Keys, trial};
use crate::plan::config::StoreConfig;
use crate::plan::problem::quoted;

use super::failure::Failure;
use super::flag_file::FlagFile;
use super::streams::{ERROR, GOOD, Streams, styled};
use super::subscriber_error::SubscriberError;
use super::{ConfigFile, exit, words};

/// The arguments of `subscribers`.
#[derive(Args, Debug)]
pub(super) struct SubscribersArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show who is told of news, and which endpoints fail
    List {
        /// Write a JSON object for each, without its secret
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Write all subscribers with their secrets, a JSON object each: a backup
    Export {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Add the subscribers of an export. Those with a known address stay as they are
    Import {
        /// The export; `-` for standard input
        file: PathBuf,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Remove a subscriber, and all that it was still to be told
    Remove {
        /// Number or address, as `list` shows it
        subscriber: String,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Send a test to a subscriber, once, and show what came of it
    Test {
        /// Number or address, as `list` shows it
        subscriber: String,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Send to an endpoint again that was quarantined or disabled
    Resume {
        /// Number or address, as `list` shows it
        subscriber: String,
        #[command(flatten)]
        config: ConfigFile,
    },
}

/// Help text below the options.
pub(super) const AFTER_HELP: &str = "\
Subscribers stand in `.subscribers.sqlite` in `state_dir` of the config, or in the database that `store` in `[status]` \
names. The proxy may run meanwhile. An export has the secrets that sign webhooks: keep it as you keep a key.

Examples:
  backsoon subscribers list
  backsoon subscribers export > subscribers.jsonl
  backsoon subscribers import subscribers.jsonl
  backsoon subscribers test 17
  backsoon subscribers remove 17

Exit codes:
  0   done
  1   the test was not taken
  64  the arguments, the config or the export are wrong, or there is no such subscriber
  74  a file or the database cannot be read or written";

/// Runs `subscribers`.
pub(super) fn run(args: &SubscribersArgs, streams: &mut Streams) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Internal)?;
    runtime.block_on(act(&args.action, streams))
}

async fn act(action: &Action, streams: &mut Streams) -> Result<u8, Failure> {
    match action {
        Action::List { json, config } => list(&subscriptions(config).await?, Form::of(*json), streams)?,
        Action::Export { config } => export(&subscriptions(config).await?, streams)?,
        Action::Import { file, config } => import(file, config, streams).await?,
        Action::Remove { subscriber, config } => {
            let (mut store, found) = find(subscriber, config).await?;
            store.remove(found.id, Timestamp::now()).await.map_err(failed)?;
            writeln!(streams.out, "removed {}", found.order.shown())?;
        }
        Action::Test { subscriber, config } => return test(subscriber, config, streams).await,
        Action::Resume { subscriber, config } => {
            let (mut store, found) = find(subscriber, config).await?;
            store.activate(found.id, Timestamp::now()).await.map_err(failed)?;
            writeln!(streams.out, "{} is told of what comes", found.order.shown())?;
        }
    }
    Ok(exit::OK)
}

/// Sends a test.
async fn test(subscriber: &str, config: &ConfigFile, streams: &mut Streams) -> Result<u8, Failure> {
    let (mut store, found) = find(subscriber, config).await?;
    let loaded = FlagFile::of(&config.config)?.config;
    let place = Place::of(config)?;
    let keys = SenderKeys::open(&mut store, &place.store, &place.state_dir).await;
    let keys = keys.map_err(|why| Failure::Internal(io::Error::other(why)))?;
    let keys = Keys { signer: &keys.signer, vapid: &keys.vapid };
    let Some(tls) = certs::public_client() else { return Err(Failure::Internal(io::Error::other("no TLS"))) };
    let connector = Connector::new(Reach { allow_private: loaded.status.allow_private.clone() }, tls);
    let mut desk = MailDesk::new(loaded.mail);
    let (text, code) = match trial(&connector, keys, &mut desk, &found, Timestamp::now()).await {
        Ok(how) => (styled(GOOD, format!("told: {how}")), exit::OK),
        Err(why) => (styled(ERROR, format!("not told: {}", words::harmless(&why))), exit::DIFFERS),
    };
    writeln!(streams.out, "{} {}  {text}", found.order.channel.as_str(), found.order.shown())?;
    Ok(code)
}

/// Form of a list.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Json,
}

impl Form {
    fn of(json: bool) -> Self {
        if json { Self::Json } else { Self::Text }
    }
}

/// Place of the store that a config names.
struct Place {
    store: StoreConfig,
    state_dir: PathBuf,
}

impl Place {
    fn of(config: &ConfigFile) -> Result<Self, Failure> {
        let found = FlagFile::of(&config.config)?.config;
        let state_dir = StateDir::of_process(&config.config, found.state_dir.as_deref()).path().to_owned();
        Ok(Self { store: found.status.store.clone(), state_dir })
    }

    /// Opens the store; `None` if it is a file that does not exist yet.
    fn open(&self) -> Result<Option<Store>, Failure> {
        match &self.store {
            StoreConfig::Local if !self.state_dir.join(FILE).exists() => Ok(None),
            StoreConfig::Local | StoreConfig::Postgres(_) => self.make().map(Some),
        }
    }

    /// Opens the store, and makes its file if there is none.
    fn make(&self) -> Result<Store, Failure> {
        let no_tls = || Failure::Internal(io::Error::other("no version of TLS is possible"));
        let tls = certs::public_client().ok_or_else(no_tls)?;
        Store::of(&self.store, &self.state_dir, &tls).map_err(failed)
    }
}

/// Returns all subscribers; none if there is no store yet.
async fn subscriptions(config: &ConfigFile) -> Result<Vec<Subscription>, Failure> {
    match Place::of(config)?.open()? {
        Some(mut store) => store.subscriptions().await.map_err(failed),
        None => Ok(Vec::new()),
    }
}

async fn find(subscriber: &str, config: &ConfigFile) -> Result<(Store, Subscription), Failure> {
    let missing = || Failure::Subscribers(SubscriberError::Missing(subscriber.to_owned()));
    let mut store = Place::of(config)?.open()?.ok_or_else(missing)?;
    let all = store.subscriptions().await.map_err(failed)?;
    let is_meant = |one: &Subscription| one.order.address == subscriber || one.id.to_string() == subscriber;
    let found = all.into_iter().find(is_meant).ok_or_else(missing)?;
    Ok((store, found))
}

fn list(all: &[Subscription], form: Form, streams: &mut Streams) -> io::Result<()> {
    for one in all {
        match form {
            Form::Json => {
                let mut value = serde_json::to_value(one)?;
                if let Some(fields) = value.as_object_mut() {
                    fields.remove("secret");
                    fields.insert("address".to_owned(), one.order.shown().into());
                }
                writeln!(streams.data(), "{value}")?;
            }
            Form::Text => {
                let state = format!("{:12}", one.state.as_str());
                let failure = one.last_error.as_ref().filter(|_| one.failures > 0);
                let failures = words::count(usize::try_from(one.failures).unwrap_or(usize::MAX), "failure");
                let failure = failure.map(|error| format!("  ({failures}, the last: {})", quoted(error)));
                let failure = failure.unwrap_or_default();
                writeln!(
                    streams.out,
                    "{:>6}  {state}  {:8}  {:9}  since {}  {}{failure}",
                    one.id,
                    one.order.channel.as_str(),
                    one.order.pace.as_str(),
                    one.created.strftime("%Y-%m-%d"),
                    one.order.shown()
                )?;
            }
        }
    }
    if all.is_empty() {
        streams.note("nobody has subscribed")?;
    }
    Ok(())
}

fn export(all: &[Subscription], streams: &Streams) -> io::Result<()> {
    let mut out = streams.data().lock();
    all.iter().try_for_each(|one| writeln!(out, "{}", serde_json::to_string(one)?))
}

async fn import(file: &Path, config: &ConfigFile, streams: &mut Streams) -> Result<(), Failure> {
    let text = read(file).map_err(|source| Failure::File { verb: "read", path: file.to_owned(), source })?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let parse = |(at, line): (usize, &str)| {
        let (file, line_number) = (file.to_owned(), at + 1);
        let one: Subscription = serde_json::from_str(line).map_err(|source| {
            Failure::Subscribers(SubscriberError::Import { file: file.clone(), line: line_number, source })
        })?;
        let judged = if one.order.channel == Channel::Mail { Ok(()) } else { one.order.endpoint().map(drop) };
        let wrong = |source| SubscriberError::Address { file, line: line_number, source };
        judged.map_err(|source| Failure::Subscribers(wrong(source))).map(|()| one)
    };
    let all: Vec<Subscription> = lines.map(parse).collect::<Result<_, _>>()?;
    let place = Place::of(config)?;
    if place.store == StoreConfig::Local {
        let folder = &place.state_dir;
        let made = fs::create_dir_all(folder);
        made.map_err(|source| Failure::File { verb: "make", path: folder.clone(), source })?;
    }
    let mut store = place.make()?;
    let added = store.import(&all, Timestamp::now()).await.map_err(failed)?;
    writeln!(streams.out, "{} added, {} known already", words::count(added, "subscriber"), all.len() - added)?;
    Ok(())
}

fn read(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    let most = LARGEST_EXPORT + 1;
    if file == Path::new("-") {
        io::stdin().lock().take(most).read_to_string(&mut text)?;
    } else {
        fs::File::open(file)?.take(most).read_to_string(&mut text)?;
    }
    if text.len() as u64 == most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "is larger than 256 MiB"));
    }
    Ok(text)
}

fn failed(error: StoreError) -> Failure {
    Failure::Subscribers(SubscriberError::Store(error))
}

const LARGEST_EXPORT: u64 = 256 << 20;

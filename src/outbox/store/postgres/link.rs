//! Connection to a PostgreSQL database.

use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustls::ClientConfig;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::{Client, Config};

use crate::plan::config::{PostgresConfig, PostgresServer, PostgresTls};

use super::super::super::told::told;
use super::super::StoreError;
use super::change::Change;
use super::tls::Tls;
use super::{Weight, schema};

/// Connection. Dropping it closes it, and undoes what was not committed.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: Client,
    /// Task that moves bytes. It would outlive a server that says nothing any more.
    mover: JoinHandle<()>,
}

impl Link {
    /// Connects, and brings the schema to the newest version.
    ///
    /// # Errors
    /// If a file cannot be read, the server cannot be reached or refuses, or its schema or its clock does not fit.
    pub(super) async fn open(place: &PostgresConfig, tls: &ClientConfig) -> Result<Self, String> {
        let (config, tls) = (config(place)?, tls_for(place, tls)?);
        let connecting = timeout(CONNECT, config.connect(tls)).await;
        let connecting = connecting.map_err(|_| format!("no answer within {} s", CONNECT.as_secs()))?;
        let (client, connection) = connecting.map_err(|error| told(&error))?;
        let mover = tokio::spawn(async move {
            // Whoever waits for an answer is told of the failure.
            let _ = connection.await;
        });
        let link = Self { client, mover };
        let prepared = timeout(PREPARE, async {
            compare_clocks(&link.client).await?;
            schema::prepare(&link.client).await
        });
        prepared.await.map_err(|_| format!("its schema was not ready within {} s", PREPARE.as_secs()))??;
        Ok(link)
    }

    /// Begins a transaction. Nothing is set for longer than it lasts, so that a pooler may stand between.
    pub(super) async fn begin(&self, weight: Weight, patience: Duration) -> Result<(), StoreError> {
        let patience = patience.as_millis();
        let commit = match weight {
            Weight::Durable => "on",
            Weight::Swift => "off",
        };
        let statements = format!(
            "BEGIN; SET LOCAL search_path = {}; SET LOCAL statement_timeout = {patience}; \
             SET LOCAL idle_in_transaction_session_timeout = {patience}; SET LOCAL synchronous_commit = {commit}",
            schema::NAME
        );
        Ok(self.client.batch_execute(&statements).await?)
    }

    /// Undoes a transaction. Returns false if the connection is of no use any more.
    pub(super) async fn undo(&self) -> bool {
        matches!(timeout(UNDO, self.client.batch_execute("ROLLBACK")).await, Ok(Ok(())))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.mover.abort();
    }
}

fn config(place: &PostgresConfig) -> Result<Config, String> {
    let mut config = Config::new();
    match &place.server {
        PostgresServer::Socket { directory, port } => config.host_path(directory).port(*port),
        PostgresServer::Tcp { host, port, .. } => config.host(host).port(*port),
    };
    let mode = match &place.server {
        PostgresServer::Socket { .. } | PostgresServer::Tcp { tls: PostgresTls::Off, .. } => SslMode::Disable,
        PostgresServer::Tcp { tls: PostgresTls::Verified { .. }, .. } => SslMode::Require,
    };
    config.ssl_mode(mode).dbname(&place.database).application_name("backsoon").connect_timeout(CONNECT);
    config.keepalives_idle(KEEPALIVE).tcp_user_timeout(KEEPALIVE);
    // A standby takes no writes.
    config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    if let Some(user) = &place.user {
        config.user(user);
    }
    if let Some(file) = &place.password_file {
        config.password(password(file)?);
    }
    Ok(config)
}

/// Reads the password. Each attempt does, so that it can be replaced.
fn password(file: &Path) -> Result<String, String> {
    let told = |what: &str| format!("its password cannot be read: {} {what}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| told(&format!("({error})")))?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() || password.len() > LONGEST_PASSWORD || password.contains(char::is_control) {
        return Err(told("has to be one line of at most 1024 bytes"));
    }
    Ok(password.to_owned())
}

fn tls_for(place: &PostgresConfig, tls: &ClientConfig) -> Result<Tls, String> {
    match &place.server {
        PostgresServer::Tcp { tls: PostgresTls::Verified { roots: Some(file) }, .. } => Tls::with_roots(file, tls),
        PostgresServer::Tcp { .. } | PostgresServer::Socket { .. } => Ok(Tls::new(tls.clone())),
    }
}

/// Compares this clock with that of the database. Leases are instants, so that replicas have to agree on the time.
async fn compare_clocks(client: &Client) -> Result<(), String> {
    let before = Timestamp::now();
    let statement = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    let row = Change(client).row(statement, &[]).await.map_err(|error| told(&error))?;
    let theirs: i64 = row.try_get(0).map_err(|error| told(&error))?;
    let theirs = Timestamp::from_millisecond(theirs).unwrap_or(before);
    let difference = theirs.duration_since(before);
    if difference.abs() <= MOST_SKEW {
        return Ok(());
    }
    let word = if difference.is_positive() { "behind" } else { "ahead of" };
    Err(format!("this machine's clock is {} s {word} its clock; set both by NTP", difference.abs().as_secs()))
}

/// Time to connect.
const CONNECT: Duration = Duration::from_secs(5);
/// Time to bring the schema to the newest version, while another replica may do the same.
const PREPARE: Duration = Duration::from_secs(60);
const UNDO: Duration = Duration::from_secs(2);
/// Time after which a server that says nothing is asked whether it is there, and after which it is given up.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Difference between clocks that leases bear: they last for minutes, and attempts for less than half a minute.
const MOST_SKEW: SignedDuration = SignedDuration::from_secs(20);
const LONGEST_PASSWORD: usize = 1024;

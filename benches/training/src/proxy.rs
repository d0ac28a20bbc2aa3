//! The program that is trained, in a folder of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::{Outcome, PATIENCE, soon};

/// The running program.
#[derive(Debug)]
pub(crate) struct Proxy {
    child: Child,
    folder: TempDir,
    /// Certificate of the listener with TLS, made for this run.
    pub(crate) certificate: CertificateDer<'static>,
    /// Address of the listener in clear text.
    pub(crate) clear: SocketAddr,
    /// Address of the listener with TLS.
    pub(crate) tls: SocketAddr,
    /// Address of the admin listener.
    pub(crate) admin: SocketAddr,
}

impl Proxy {
    /// Starts the program in front of an application, and waits until it listens.
    ///
    /// # Errors
    /// If it does not start in time.
    pub(crate) async fn start(binary: &Path, upstream: SocketAddr) -> Outcome<Self> {
        let folder = tempfile::Builder::new().prefix("training-").tempdir()?;
        let certificate = rcgen::generate_simple_self_signed(vec!["*.example.com".to_owned()])?;
        fs::write(folder.path().join("cert.pem"), certificate.cert.pem())?;
        fs::write(folder.path().join("key.pem"), certificate.signing_key.serialize_pem())?;
        fs::write(folder.path().join("maintenance.toml"), "[routes]\n")?;
        fs::write(folder.path().join("backsoon.toml"), config(upstream))?;
        let mut command = Command::new(binary);
        command.args(["run", "--config"]).arg(folder.path().join("backsoon.toml"));
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
        let mut log = BufReader::new(child.stderr.take().ok_or("no log")?).lines();
        let (mut listening, mut admin) = (Vec::new(), None);
        let mut said = String::new();
        loop {
            let line = soon("the proxy to start", log.next_line()).await??;
            let line = line.ok_or_else(|| format!("it did not start:\n{said}"))?;
            let event: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            let address = event["address"].as_str();
            match event["message"].as_str() {
                Some("listening") => listening.push(address.ok_or("no address")?.parse::<SocketAddr>()?),
                Some("admin listener") => admin = Some(address.ok_or("no address")?.parse::<SocketAddr>()?),
                Some("started") => break,
                _ => said = said + &line + "\n",
            }
        }
        // The log has to be read, or the program would wait for it.
        tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
        let (&[clear, tls], Some(admin)) = (&listening[..], admin) else {
            return Err("it listens otherwise than configured".into());
        };
        Ok(Self { child, folder, certificate: certificate.cert.der().clone(), clear, tls, admin })
    }

    /// Replaces the flag file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn flag(&self, flags: &str) -> Outcome<()> {
        let next = self.folder.path().join("next.toml");
        fs::write(&next, flags)?;
        Ok(fs::rename(&next, self.folder.path().join("maintenance.toml"))?)
    }

    /// Ends the program as an operator does, so that it writes its profile.
    ///
    /// # Errors
    /// If it does not end well.
    pub(crate) async fn end(mut self) -> Outcome<()> {
        let pid = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        kill_process(pid.ok_or("it has ended already")?, Signal::TERM)?;
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.map_err(|_| "it did not end")??;
        if status.success() { Ok(()) } else { Err(format!("it ended with {status}").into()) }
    }
}

/// Returns a config with the defaults, but for what the load needs.
fn config(upstream: SocketAddr) -> String {
    let route = |name: &str, more: &str| {
        format!("[routes.{name}]\nhost = \"{name}.example.com\"\nupstream = \"http://{upstream}\"\n{more}")
    };
    format!(
        "workers = 1\ndrain = \"2s\"\n\
         [[listen]]\naddress = \"127.0.0.1:0\"\n\
         [[listen]]\naddress = \"127.0.0.1:0\"\ntls = {{ cert = \"cert.pem\", key = \"key.pem\" }}\n\
         [admin]\naddress = \"127.0.0.1:0\"\n[limits]\ngrace = \"1s\"\n{}{}{}",
        route("web", "ramp = [\"10% at 0s\", \"60% at 5s\", \"100% at 10s\"]\n")
            .replace("web.example.com", "app.example.com"),
        route("notes", ""),
        route("hooks", "hold = { max_wait = \"30s\", max_held = 1000, release = \"500/s\" }\n"),
    )
}

//! Time from the rename of a flag file to the first answer that follows it.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::{configs, wire};

/// Flag file that is to be switched, and a client that sees what follows.
#[derive(Debug)]
pub(crate) struct Flips<'f> {
    /// The flag file.
    pub(crate) file: &'f Path,
    /// Port of the proxy.
    pub(crate) port: u16,
    /// Path of the requests.
    pub(crate) path: &'f str,
    /// Host of the requests.
    pub(crate) host: &'f str,
}

/// Times until the first answer: of switching off, and of switching on again.
pub(crate) type Times = (Vec<Duration>, Vec<Duration>);

impl Flips<'_> {
    /// Switches a route off and on again, this many times. Asks without pause on one connection meanwhile.
    ///
    /// # Errors
    /// If a file cannot be written, or nothing follows.
    pub(crate) fn run(&self, times: usize) -> io::Result<Times> {
        let mut client = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)))?;
        client.set_nodelay(true)?;
        client.set_read_timeout(Some(PATIENCE))?;
        let (mut off, mut on) = (Vec::new(), Vec::new());
        for turn in 0..times {
            off.push(self.flip(&mut client, &format!("# {turn}\n{}web = \"offline\"\n", configs::flags()), true)?);
            on.push(self.flip(&mut client, &format!("# {turn}\n{}", configs::flags()), false)?);
        }
        Ok((off, on))
    }

    fn flip(&self, client: &mut TcpStream, text: &str, off: bool) -> io::Result<Duration> {
        let beside = self.file.with_extension("new");
        fs::write(&beside, text)?;
        // People and deployments leave more time between two edits: the pages of the last one are finished.
        std::thread::sleep(PAUSE);
        let began = Instant::now();
        fs::rename(&beside, self.file)?;
        while (self.ask(client)? == 503) != off {
            if began.elapsed() > PATIENCE {
                return Err(io::Error::other("no answer follows the flag file"));
            }
        }
        Ok(began.elapsed())
    }

    fn ask(&self, client: &mut TcpStream) -> io::Result<u16> {
        client.write_all(wire::get(self.path, self.host, "").as_bytes())?;
        let (mut bytes, mut buffer) = (Vec::new(), [0; 16 * 1024]);
        while wire::length(&bytes)?.is_none_or(|length| bytes.len() < length) {
            let count = client.read(&mut buffer)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            bytes.extend_from_slice(buffer.get(..count).unwrap_or_default());
        }
        Ok(wire::status(&bytes))
    }
}

/// Time between writing a file and renaming it.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

//! Time from the rename of a flag file to the first answer that follows it.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::results::Flip;
use crate::workloads::Bench;
use crate::{configs, wire};

/// Flag file that is to be switched, and a client that sees what follows.
struct Flips<'f> {
    file: &'f Path,
    port: u16,
    path: &'f str,
    host: &'f str,
}

/// Times until the first answer that follows each kind of edit.
#[derive(Default)]
struct Times {
    /// Switching off by a bare switch, whose page another route has already.
    off: Vec<Duration>,
    /// Switching off with a text of its own: its page is rendered first, in every language.
    off_with_text: Vec<Duration>,
    /// Switching on again.
    on: Vec<Duration>,
}

impl Bench<'_> {
    /// Measures the time from an edit to the answer that follows. All cores are used: another thread than the worker's
    /// follows an edit.
    pub(crate) fn flips(&mut self) {
        let name = "backsoon-flips";
        let measured = self.setup.backsoon(name, 1, &self.setup.cores.unpinned()).and_then(|fresh| {
            let (path, file) = (self.path(), self.setup.flag_file(name));
            let flips = Flips { file: &file, port: fresh.ports.clear, path: &path, host: &self.setup.upstream };
            let times = flips.run(self.options.flips as usize);
            self.setup.nursery.end(fresh.process);
            times
        });
        match measured {
            Ok(Times { off, off_with_text, on }) => {
                let flips = [
                    flip("the first 503", off),
                    flip("the first 503 with a new text", off_with_text),
                    flip("the first answer of the upstream again", on),
                ];
                for flip in flips {
                    let Flip { answer, median, p99, max, .. } = &flip;
                    eprintln!("flips        {answer}: median {median:.2} ms, p99 {p99:.2} ms, most {max:.2} ms");
                    self.results.flips.push(flip);
                }
            }
            Err(error) => self.results.invalidate(&format!("flips: {error}")),
        }
    }
}

/// Computes the figures of some edits.
fn flip(answer: &'static str, mut times: Vec<Duration>) -> Flip {
    times.sort_unstable();
    let count = times.len();
    let at = |percent: usize| times.get((count.saturating_sub(1)) * percent / 100);
    let at = |percent: usize| at(percent).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3);
    Flip { answer, count, median: at(50), p99: at(99), max: at(100) }
}

impl Flips<'_> {
    /// Switches a route off and on again, this many times in each way. Asks without pause on one connection meanwhile.
    ///
    /// # Errors
    /// If a file cannot be written, or nothing follows.
    fn run(&self, times: usize) -> io::Result<Times> {
        let mut client = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)))?;
        client.set_nodelay(true)?;
        client.set_read_timeout(Some(PATIENCE))?;
        let mut flips = Times::default();
        for turn in 0..times {
            let open = format!("# {turn}\n{}", configs::flags());
            let text = format!("{open}web = {{ mode = \"offline\", message = \"Edit number {turn}.\" }}\n");
            flips.off.push(self.flip(&mut client, &format!("{open}web = \"offline\"\n"), true)?);
            flips.on.push(self.flip(&mut client, &open, false)?);
            flips.off_with_text.push(self.flip(&mut client, &text, true)?);
            flips.on.push(self.flip(&mut client, &open, false)?);
        }
        Ok(flips)
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

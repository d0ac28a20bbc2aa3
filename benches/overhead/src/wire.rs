//! The minimum of HTTP/1.1 that a client needs: to write a request, and to find the end of its response.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Writes a GET for a kept-alive connection.
pub(crate) fn get(path: &str, host: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n")
}

/// Returns the length of the response at the start of `bytes`; `None` while its head is not complete.
///
/// # Errors
/// If the response does not state its length.
pub(crate) fn length(bytes: &[u8]) -> io::Result<Option<usize>> {
    let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default());
    let body = field(&head, "content-length").and_then(|value| value.parse::<usize>().ok());
    body.map(|body| Some(end + 4 + body)).ok_or_else(|| io::Error::other("a response without Content-Length"))
}

/// Returns the value of a field of a head.
pub(crate) fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

/// Returns the status of a response; 0 if there is none.
pub(crate) fn status(bytes: &[u8]) -> u16 {
    let digits = bytes.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// Fetches one response: its head and its body.
///
/// # Errors
/// If there is none, or it does not state its length.
pub(crate) fn fetch(address: SocketAddr, request: &str) -> io::Result<(String, Vec<u8>)> {
    let mut socket = TcpStream::connect_timeout(&address, PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.write_all(request.as_bytes())?;
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        if length(&bytes)?.is_some_and(|length| bytes.len() >= length) || bytes.len() > LARGEST {
            break;
        }
        let count = socket.read(&mut buffer)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(buffer.get(..count).unwrap_or_default());
    }
    let end = bytes.windows(4).position(|end| end == b"\r\n\r\n").map_or(0, |end| end + 4);
    let body = bytes.split_off(end);
    Ok((String::from_utf8_lossy(&bytes).into_owned(), body))
}

const PATIENCE: Duration = Duration::from_secs(5);
const LARGEST: usize = 4 * 1024 * 1024;

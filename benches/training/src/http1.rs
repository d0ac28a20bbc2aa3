//! HTTP/1.1 on the wire: heads and bodies.

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

use crate::Outcome;

/// Reads a head; `None` at the end of the connection.
///
/// # Errors
/// If the connection breaks, or the head is no text.
pub(crate) async fn head(stream: &mut (impl AsyncBufRead + Unpin)) -> Outcome<Option<String>> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(head))
}

/// Reads the body that belongs to a head, by its length or its chunks.
///
/// # Errors
/// If the connection breaks.
pub(crate) async fn skip_body(stream: &mut (impl AsyncBufRead + Unpin), head: &str) -> Outcome<()> {
    if let Some(length) = field(head, "content-length") {
        return skip(stream, length.parse()?).await;
    }
    if field(head, "transfer-encoding").is_none() {
        return Ok(());
    }
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let size = u64::from_str_radix(line.trim(), 16)?;
        // Includes the line end after the chunk, which ends the body after the last chunk.
        skip(stream, size + 2).await?;
        if size == 0 {
            return Ok(());
        }
    }
}

async fn skip(stream: &mut (impl AsyncBufRead + Unpin), length: u64) -> Outcome<()> {
    let read = tokio::io::copy(&mut stream.take(length), &mut tokio::io::sink()).await?;
    if read == length { Ok(()) } else { Err("the connection was closed within a body".into()) }
}

/// Returns the status of an answer's head.
///
/// # Errors
/// If it is no head of an answer.
pub(crate) fn status(head: &str) -> Outcome<u16> {
    Ok(head.split(' ').nth(1).ok_or("not an answer")?.parse()?)
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

//! A client of WebSockets.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::load::{Ask, Head};
use crate::{Outcome, http1};

/// Opens the WebSockets of a step, and exchanges its messages over each of them at once.
///
/// # Errors
/// If a WebSocket is refused, or a message comes back otherwise.
pub(crate) async fn exchange(ask: &Ask, head: &Head, proxy: SocketAddr) -> Outcome<()> {
    let mut sockets = JoinSet::new();
    for _ in 0..ask.connections {
        sockets.spawn(converse(head.http1(ask), ask.requests, proxy));
    }
    while let Some(socket) = sockets.join_next().await {
        socket??;
    }
    Ok(())
}

async fn converse(head: String, messages: usize, proxy: SocketAddr) -> Outcome<()> {
    let mut stream = BufReader::new(TcpStream::connect(proxy).await?);
    stream.write_all(head.as_bytes()).await?;
    let answer = http1::head(&mut stream).await?.ok_or("the connection was closed")?;
    if http1::status(&answer)? != 101 {
        return Err(format!("no WebSocket: {answer}").into());
    }
    for number in 0..messages {
        let message = message(number);
        stream.write_all(&message).await?;
        let mut back = vec![0; message.len()];
        stream.read_exact(&mut back).await?;
        if back != message {
            return Err("a message came back otherwise".into());
        }
    }
    Ok(())
}

/// Returns a masked text message (RFC 6455, section 5.2) of 20 to 119 bytes. The mask is zero, which leaves the text as
/// it is.
fn message(number: usize) -> Vec<u8> {
    let length = 20 + number % 100;
    let mut message = vec![0x81, 0x80 | u8::try_from(length).unwrap_or_default(), 0, 0, 0, 0];
    message.resize(message.len() + length, b'x');
    message
}

//! The application: it answers by the path, over HTTP/1.1.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::Outcome;
use crate::http1;

/// Starts the application, and returns its address.
///
/// # Errors
/// If it cannot listen.
pub(crate) async fn start() -> Outcome<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    // The task ends with the program.
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A connection that breaks is the proxy's to notice.
            tokio::spawn(async move { drop(serve(stream).await) });
        }
    });
    Ok(address)
}

async fn serve(stream: TcpStream) -> Outcome<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::with_capacity(64 * 1024, stream);
    let answers = Answers::new();
    while let Some(head) = http1::head(&mut stream).await? {
        http1::skip_body(&mut stream, &head).await?;
        let path = head.split(' ').nth(1).unwrap_or_default();
        if path == "/socket" {
            stream.write_all(SWITCH.as_bytes()).await?;
            return echo(stream).await;
        }
        let answer = match path {
            "/large" => &answers.large,
            "/chunked" => &answers.chunked,
            _ => &answers.small,
        };
        stream.write_all(answer).await?;
    }
    Ok(())
}

/// Sends back what comes, as after an upgrade.
async fn echo(mut stream: BufReader<TcpStream>) -> Outcome<()> {
    let mut buffer = vec![0; 4096];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            count => stream.write_all(&buffer[..count]).await?,
        }
    }
}

struct Answers {
    small: Vec<u8>,
    large: Vec<u8>,
    chunked: Vec<u8>,
}

impl Answers {
    fn new() -> Self {
        let sized = |length: usize| {
            let mut bytes = format!("HTTP/1.1 200 OK\r\n{FIELDS}content-length: {length}\r\n\r\n").into_bytes();
            bytes.resize(bytes.len() + length, b'x');
            bytes
        };
        let chunk = "y".repeat(2048);
        let chunked = format!(
            "HTTP/1.1 200 OK\r\n{FIELDS}transfer-encoding: chunked\r\n\r\n800\r\n{chunk}\r\n800\r\n{chunk}\r\n0\r\n\r\n"
        );
        Self { small: sized(131), large: sized(1024 * 1024), chunked: chunked.into_bytes() }
    }
}

/// Fields of a usual application.
const FIELDS: &str = "date: Tue, 24 Nov 2026 11:00:00 GMT\r\nserver: app\r\ncontent-type: text/html; charset=utf-8\r\n\
cache-control: private, max-age=0\r\netag: \"5f2c-19\"\r\nvary: accept-encoding\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
sec-websocket-accept: PFHWoGzJLgCnLPcPY14r4cVpBbE=\r\n\r\n";

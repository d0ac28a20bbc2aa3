//! HTTP/2 for the tests: a client and an upstream by the `h2` crate, and a client that writes its frames by hand.

use std::future::Future;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::server::SendResponse;
use h2::{Ping, PingPong, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::support::PATIENCE;

/// Response with its whole body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
    pub trailers: Option<HeaderMap>,
}

impl Answer {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// One HTTP/2 client connection.
pub struct Two {
    pub send: SendRequest<Bytes>,
    pub driver: JoinHandle<Result<(), h2::Error>>,
    pings: PingPong,
}

impl Two {
    /// Connects to a clear-text port, with prior knowledge.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::with(address, &mut h2::client::Builder::new()).await
    }

    pub async fn with(address: SocketAddr, builder: &mut h2::client::Builder) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream, builder).await
    }

    /// Speaks HTTP/2 over any stream.
    pub async fn over(
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        builder: &mut h2::client::Builder,
    ) -> Self {
        let (send, mut connection) = patiently(builder.handshake(io)).await.unwrap();
        let pings = connection.ping_pong().unwrap();
        let mut two = Self { send, driver: tokio::spawn(connection), pings };
        // After the ping, the server's limit on streams is known.
        let _ = two.ping().await;
        two
    }

    /// Sends a request's head.
    pub async fn begin(&mut self, request: Request<()>, end: bool) -> (ResponseFuture, SendStream<Bytes>) {
        let mut ready = patiently(self.send.clone().ready()).await.unwrap();
        ready.send_request(request, end).unwrap()
    }

    /// Sends a request with its body, and reads the whole answer.
    pub async fn ask(&mut self, request: Request<()>, body: &str) -> Result<Answer, h2::Error> {
        let (response, mut upload) = self.begin(request, body.is_empty()).await;
        if !body.is_empty() {
            upload.send_data(Bytes::copy_from_slice(body.as_bytes()), true)?;
        }
        whole(patiently(response).await?).await
    }

    pub async fn get(&mut self, path: &str) -> Result<Answer, h2::Error> {
        self.ask(request("GET", path), "").await
    }

    /// Returns when the other side has answered a ping.
    pub async fn ping(&mut self) -> Result<(), h2::Error> {
        patiently(self.pings.ping(Ping::opaque())).await.map(drop)
    }

    /// Waits for the end of the connection.
    pub async fn ended(self) -> Result<(), h2::Error> {
        drop(self.send);
        patiently(self.driver).await.unwrap()
    }
}

/// Returns a request for this path of host `test`.
pub fn request(method: &str, path: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("http://test{path}")).body(()).unwrap()
}

/// Reads a response to its end, and returns the window to the sender.
pub async fn whole(response: Response<RecvStream>) -> Result<Answer, h2::Error> {
    let (head, mut stream) = response.into_parts();
    let body = String::from_utf8_lossy(&read(&mut stream).await?).into_owned();
    let trailers = patiently(stream.trailers()).await?;
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body, trailers })
}

/// Reads a body to its end, and returns the window to the sender.
pub async fn read(stream: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut body = Vec::new();
    while let Some(data) = patiently(stream.data()).await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    Ok(body)
}

/// Sends a body as the window allows.
pub async fn write(stream: &mut SendStream<Bytes>, mut body: Bytes, end: bool) -> Result<(), h2::Error> {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let capacity = patiently(std::future::poll_fn(|cx| stream.poll_capacity(cx))).await;
        let some = body.split_to(capacity.ok_or(h2::Reason::STREAM_CLOSED)??.min(body.len()));
        let end = end && body.is_empty();
        stream.send_data(some, end)?;
    }
    Ok(())
}

/// Awaits a future that must not take long.
pub async fn patiently<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("waited in vain")
}

/// Upstream that speaks HTTP/2.
#[derive(Clone)]
pub struct TwoUpstream {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<Request<()>>>>,
    leave: watch::Sender<Leave>,
}

/// Way in which the upstream's connections end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    Stay,
    /// GOAWAY, and requests in flight are finished.
    Gracefully,
    /// The connections are closed at once.
    Dying,
}

impl TwoUpstream {
    /// Answers every request with its path.
    pub async fn echoing_paths() -> Self {
        Self::handling(|request, mut respond| async move {
            let path = request.uri().path().to_owned();
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            stream.send_data(Bytes::from(path), true).unwrap();
        })
        .await
    }

    /// Passes every request to `handle`, in a task of its own.
    pub async fn handling<F, R>(handle: F) -> Self
    where
        F: Fn(Request<RecvStream>, SendResponse<Bytes>) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        Self::start(handle, None, h2::server::Builder::new()).await
    }

    pub async fn start<F, R>(handle: F, tls: Option<TlsAcceptor>, builder: h2::server::Builder) -> Self
    where
        F: Fn(Request<RecvStream>, SendResponse<Bytes>) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = Self {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            heads: Arc::default(),
            leave: watch::channel(Leave::Stay).0,
        };
        let (shared, handle) = (upstream.clone(), Arc::new(handle));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                stream.set_nodelay(true).unwrap();
                let (shared, handle, tls, builder) =
                    (shared.clone(), Arc::clone(&handle), tls.clone(), builder.clone());
                tokio::spawn(async move {
                    match tls {
                        None => shared.serve(stream, &builder, handle).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => shared.serve(stream, &builder, handle).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        upstream
    }

    async fn serve<F, R>(
        &self,
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        builder: &h2::server::Builder,
        handle: Arc<F>,
    ) -> Option<()>
    where
        F: Fn(Request<RecvStream>, SendResponse<Bytes>) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let mut connection = builder.handshake(io).await.ok()?;
        // Orders from now on concern this connection.
        let mut leave = self.leave.subscribe();
        loop {
            tokio::select! {
                accepted = connection.accept() => {
                    let (request, respond) = accepted?.ok()?;
                    let (head, body) = request.into_parts();
                    self.heads.lock().unwrap().push(Request::from_parts(head.clone(), ()));
                    tokio::spawn(handle(Request::from_parts(head, body), respond));
                }
                _ = leave.changed() => match *leave.borrow_and_update() {
                    Leave::Gracefully => connection.graceful_shutdown(),
                    Leave::Dying => return None,
                    Leave::Stay => {}
                },
            }
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the number of accepted connections.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Returns the heads received.
    pub fn heads(&self) -> Vec<Request<()>> {
        self.heads.lock().unwrap().clone()
    }

    /// Ends the open connections; later ones stay.
    pub fn leave(&self, how: Leave) {
        self.leave.send_replace(how);
    }
}

/// Client with hand-written frames, for everything that a library would refuse to send.
pub struct Frames {
    pub stream: StdTcpStream,
}

/// Frame as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const HEADER_TABLE_SIZE: u16 = 1;
pub const MAX_CONCURRENT_STREAMS: u16 = 3;
pub const INITIAL_WINDOW_SIZE: u16 = 4;

pub const NO_ERROR: u32 = 0;
pub const PROTOCOL_ERROR: u32 = 1;
pub const REFUSED_STREAM: u32 = 7;
pub const ENHANCE_YOUR_CALM: u32 = 11;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Frames {
    /// Connects, and sends the preface and these settings. The server may not use the header table, so that each head
    /// can be read alone.
    pub fn connect(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut client = Self::silent(address);
        let settings = [&[(HEADER_TABLE_SIZE, 0)], settings].concat();
        client.send([PREFACE, &frame(SETTINGS, 0, 0, &settings_payload(&settings))].concat());
        client
    }

    /// Connects, and says nothing yet.
    pub fn silent(address: SocketAddr) -> Self {
        let stream = StdTcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    /// Sends. Returns false if the other side has closed.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Reads the next frame. Returns `None` at the end of the connection.
    pub fn frame(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).ok()?;
        let mut payload = vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
        self.stream.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Reads up to a frame of this kind on this stream and returns it, or `None` if the connection ends before.
    pub fn until(&mut self, kind: u8, stream: u32) -> Option<Frame> {
        std::iter::from_fn(|| self.frame()).find(|frame| frame.kind == kind && frame.stream == stream)
    }

    /// Reads to the end of the connection, and returns the reason of its GOAWAY, if there was one.
    pub fn goaway(&mut self) -> Option<u32> {
        let last = std::iter::from_fn(|| self.frame()).filter(|frame| frame.kind == GOAWAY).last();
        last.map(|frame| code(&frame.payload[4..]))
    }

    /// Reads a whole response. Returns its head, and the frame that ended it.
    pub fn answer(&mut self, stream: u32) -> Option<(Frame, Frame)> {
        let head = self.until(HEADERS, stream)?;
        let mut last = head.clone();
        while last.flags & END_STREAM == 0 && last.kind != RST_STREAM {
            last = self.frame().filter(|frame| frame.stream == stream)?;
        }
        Some((head, last))
    }
}

/// Returns a frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn settings_payload(settings: &[(u16, u32)]) -> Vec<u8> {
    settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect()
}

/// Returns the reason's number in RST_STREAM or GOAWAY.
pub fn code(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload[..4].try_into().unwrap())
}

/// Returns `GET /` of host `test` in HPACK, followed by these fields.
pub fn get_block(more: &[u8]) -> Vec<u8> {
    block(0x82, more)
}

/// Returns `POST /` of host `test` in HPACK, followed by these fields.
pub fn post_block(more: &[u8]) -> Vec<u8> {
    block(0x83, more)
}

fn block(method: u8, more: &[u8]) -> Vec<u8> {
    [&[method, 0x84, 0x86, 0x01, 4][..], b"test", more].concat()
}

/// Returns a field in HPACK, literal and not indexed. Name and value must be short.
pub fn field(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).ok().filter(|&length| length < 127).unwrap();
    [&[0, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
}

/// Returns true if a head has this status, by HPACK's static table or as a literal.
pub fn has_status(head: &Frame, status: u16) -> bool {
    let indexed = [(200, 0x88), (204, 0x89), (206, 0x8a), (304, 0x8b), (400, 0x8c), (404, 0x8d), (500, 0x8e)];
    // Updates of the table's size may precede the fields.
    let sizes = head.payload.iter().take_while(|&byte| byte & 0xe0 == 0x20).count();
    let payload = &head.payload[sizes..];
    if let Some((_, byte)) = indexed.iter().find(|(known, _)| *known == status) {
        return payload[0] == *byte;
    }
    // A literal of name 8 (`:status`), its digits plain or in Huffman's code.
    let digits = status.to_string();
    let huffman: Vec<u8> = huffman_digits(&digits);
    let literal = |byte: u8| byte == 0x48 || byte == 0x08 || byte == 0x18;
    let length = usize::from(payload[1] & 0x7f);
    let value = payload.get(2..2 + length).unwrap_or_default();
    literal(payload[0]) && (value == digits.as_bytes() || value == huffman)
}

/// Returns digits in HPACK's Huffman code: `0`, `1` and `2` have five bits, the others six.
fn huffman_digits(digits: &str) -> Vec<u8> {
    let mut bits = String::new();
    for digit in digits.bytes() {
        let value = u32::from(digit - b'0');
        bits += &if value < 3 { format!("{value:05b}") } else { format!("{:06b}", 0x19 + value - 3) };
    }
    while !bits.len().is_multiple_of(8) {
        bits.push('1');
    }
    bits.as_bytes().chunks(8).map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap()).collect()
}

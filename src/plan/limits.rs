//! Limits and time-outs, with their defaults: the one table of them.

use std::time::Duration;

/// `[limits]`: every limit and time-out of the proxy. All are on by default.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of a request head, and of an upstream's response head; more is 431 (502 from an upstream). Default 64 KiB; 8 KiB to 1 MiB.
    pub head_size: usize,
    /// Fields of a request head; more is 431. HTTP/2 `cookie` fields count as one. Default 100; 10 to 1000.
    pub head_fields: usize,
    /// From the connection, or from the first byte of a later request, to the end of the head; also bounds the TLS handshake. 408. Default 10 s.
    pub head_read: Duration,
    /// How long a connection may wait for its next request. Default 75 s.
    pub keep_alive: Duration,
    /// Bytes of a request body; more is 413. Default none.
    pub body_size: Option<u64>,
    /// How long a client may send nothing while its body is awaited. 408. Default 60 s.
    pub body_read: Duration,
    /// How long a client may accept nothing while there is something to write; then its stream or connection is closed. Default 60 s.
    pub write: Duration,
    /// For connecting to an upstream, its TLS handshake and the wait for a place among `upstream_connections`. 504. Default 5 s.
    pub connect: Duration,
    /// From the request to the upstream's response head. 504. Default 60 s.
    pub first_byte: Duration,
    /// How long an upstream may send nothing inside a body; then the response is cut. Default 5 min.
    pub upstream_read: Duration,
    /// How long an idle upstream connection is kept for reuse. Default 60 s.
    pub upstream_keep_alive: Duration,
    /// How long a tunnel may carry nothing in either direction. Default 1 h.
    pub tunnel_idle: Duration,
    /// Client connections of one worker; more wait in the kernel's backlog. Default: computed from the limit on descriptors.
    pub connections: Option<usize>,
    /// Connections of one worker to one upstream; more requests wait for `connect`, then 503. Default 512.
    pub upstream_connections: usize,
    /// Requests that may wait for one upstream in one worker; more is 503 at once. Default 1024.
    pub upstream_queue: usize,
    /// Streams that a client may have open on one HTTP/2 connection. Default 100.
    pub h2_streams: usize,
    /// Bytes of an HTTP/2 field list, counted with 32 for each field (RFC 9113 section 6.5.2). 431. Default 64 KiB.
    pub h2_field_list: usize,
    /// Streams a client may reset before they were looked at; more ends the connection. Default 20.
    pub h2_pending_resets: usize,
    /// Resets of our own that a client may provoke; more ends the connection. Default 1024.
    pub h2_error_resets: usize,
    /// Bytes of flow-control window of an HTTP/2 stream. Default 256 KiB.
    pub h2_stream_window: usize,
    /// Bytes of flow-control window of an HTTP/2 connection. Default 1 MiB.
    pub h2_connection_window: usize,
    /// How often an HTTP/2 client is pinged; 20 s without an answer ends the connection. Default 30 s.
    pub h2_ping: Duration,
    /// Bytes of a refused request's body that are read and thrown away, so that the client can read the answer. Default 128 MiB.
    pub linger_size: u64,
    /// For how long they are. Default 30 s.
    pub linger: Duration,
    /// After SIGTERM: for how long requests on idle connections are still answered before those are closed. Default 3 s.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_size: 64 * KIB,
            head_fields: 100,
            head_read: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            body_size: None,
            body_read: Duration::from_secs(60),
            write: Duration::from_secs(60),
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(60),
            upstream_read: Duration::from_secs(300),
            upstream_keep_alive: Duration::from_secs(60),
            tunnel_idle: Duration::from_secs(3600),
            connections: None,
            upstream_connections: 512,
            upstream_queue: 1024,
            h2_streams: 100,
            h2_field_list: 64 * KIB,
            h2_pending_resets: 20,
            h2_error_resets: 1024,
            h2_stream_window: 256 * KIB,
            h2_connection_window: 1024 * KIB,
            h2_ping: Duration::from_secs(30),
            linger_size: 128 * 1024 * 1024,
            linger: Duration::from_secs(30),
            grace: Duration::from_secs(3),
        }
    }
}

const KIB: usize = 1024;

//! Sockets, streams and bodies: what moves the bytes. It knows of no route and no upstream.

pub(crate) mod client;
pub(crate) mod deadline;
pub(crate) mod executor;
pub(crate) mod gather;
pub(crate) mod request_body;
pub(crate) mod socket;
pub(crate) mod upload;
pub(crate) mod upstream;
pub(crate) mod wake;
pub(crate) mod websocket;

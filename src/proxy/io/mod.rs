//! Sockets, streams and bodies: what moves the bytes. It knows of no route and no upstream.

pub(crate) mod deadline;
pub(crate) mod gather;
pub(crate) mod socket;
pub(crate) mod websocket;

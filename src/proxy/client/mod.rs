//! The client's side: listeners, connections from accept to close, HTTP/1 and HTTP/2.

mod bind_error;
mod certificate;
pub(crate) mod driver;
pub(crate) mod http1;
pub(crate) mod http2;
mod introduced;
pub mod listen;
mod refused;
mod unix;

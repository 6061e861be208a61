//! The accept loop that issuer and gate share: TLS 1.3 in front, HTTP/1.1 behind, limits everywhere.
//!
//! A handler learns who is at the other end from the [`Peer`] in the request's extensions: the address, and the client
//! certificate where one was asked for. On a resumed session rustls restores the certificate and runs no verifier, so
//! whoever maps a certificate to rights does it on every request.

mod serve;
mod tls;

pub use self::{
    serve::{Limits, Listener, Peer, ServeError},
    tls::{ClientCertificates, Reload, TlsError, reloadable_server_config, server_config},
};

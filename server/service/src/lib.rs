//! What issuer and gate have in common as services: the accept loop with TLS 1.3 and limits, the clock, the signal to stop, and how an
//! error is told.
//!
//! A handler learns who is at the other end from the [`Peer`] in the request's extensions: the address, and the client
//! certificate where one was asked for. On a resumed session rustls restores the certificate and runs no verifier, so
//! whoever maps a certificate to rights does it on every request.

mod argument;
mod certificate;
mod client;
mod clock;
mod file;
pub mod framing;
mod idle;
mod program;
mod serve;
mod stop;
mod tell;
mod tls;

pub use self::{
    argument::file as file_argument,
    certificate::ClientCertificate,
    clock::{Clock, random, system_clock},
    file::{MAX_TEXT, beside, folder_of, open_file, read_file, read_text, read_up_to, sync_folder},
    idle::Idle,
    program::program,
    serve::{Limits, Listener, Peer, ServeError},
    stop::stop_signal,
    tell::{log_to_stderr, told},
    tls::{ClientCertificates, Reload, TlsError, reloadable_server_config, server_config},
};

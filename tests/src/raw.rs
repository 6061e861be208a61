//! HTTP that no client would send: bytes over TLS, exactly as a story writes them.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, ConfigBuilder, RootCertStore, StreamOwned,
    client::WantsClientCert,
    crypto::aws_lc_rs,
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};

use crate::{Failure, wait};

/// An open connection.
#[derive(Debug)]
pub struct Raw(StreamOwned<ClientConnection, TcpStream>);

fn tls(error: &dyn std::fmt::Display) -> Failure {
    Failure::unexpected("a TLS connection", error)
}

impl Raw {
    /// Connects to a server under the CA in `ca`, with a client certificate and its key where there are some.
    pub fn open(address: SocketAddr, ca: &Path, client: Option<(&Path, &Path)>) -> Result<Self, Failure> {
        let builder = trusting(ca)?;
        let config = match client {
            Some((chain, key)) => {
                let key = PrivateKeyDer::from_pem_file(key).map_err(|error| tls(&error))?;
                builder.with_client_auth_cert(certificates(chain)?, key).map_err(|error| tls(&error))?
            }
            None => builder.with_no_client_auth(),
        };
        Self::connect(address, config)
    }

    /// The same with a client certificate whose key is somewhere else than in a file.
    pub fn open_as(address: SocketAddr, ca: &Path, client: Arc<CertifiedKey>) -> Result<Self, Failure> {
        let resolver = Arc::new(SingleCertAndKey::from(client));
        Self::connect(address, trusting(ca)?.with_client_cert_resolver(resolver))
    }

    fn connect(address: SocketAddr, config: ClientConfig) -> Result<Self, Failure> {
        let connecting = || Failure::machine(format!("connect to {address}"));
        let socket = TcpStream::connect(address).map_err(connecting())?;
        // Only against a server that neither answers nor closes.
        socket.set_read_timeout(Some(wait::PATIENCE)).map_err(connecting())?;
        socket.set_nodelay(true).map_err(connecting())?;
        let name = ServerName::IpAddress(address.ip().into());
        let connection = ClientConnection::new(Arc::new(config), name).map_err(|error| tls(&error))?;
        Ok(Self(StreamOwned::new(connection, socket)))
    }

    /// Sends bytes. A server that has closed already is not at fault.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes).and_then(|()| self.0.flush());
    }

    /// Asks and hears one answer on a connection that is kept: status and body. `None` when the server went away before all of it was there.
    pub fn ask(&mut self, request: &[u8]) -> Option<(u16, String)> {
        self.0.write_all(request).and_then(|()| self.0.flush()).ok()?;
        let (mut seen, mut piece) = (Vec::new(), [0; 4096]);
        loop {
            if let Some(answer) = whole_answer(&seen) {
                return Some(answer);
            }
            match self.0.read(&mut piece) {
                Ok(0) | Err(_) => return None,
                Ok(length) => seen.extend_from_slice(piece.get(..length)?),
            }
        }
    }

    /// Takes no more than this much that it has not read, whatever the machine would allow: so an answer stops where the story stops.
    pub fn takes_little(&self) -> Result<(), Failure> {
        nix::sys::socket::setsockopt(&self.0.sock, nix::sys::socket::sockopt::RcvBuf, &(64 * 1024))
            .map_err(|error| Failure::unexpected("a small receive buffer", error))
    }

    /// Reads so many bytes of an answer, or what there is of it.
    pub fn reads(&mut self, bytes: usize) -> Result<Vec<u8>, Failure> {
        let (mut seen, mut piece) = (Vec::new(), vec![0; 16 * 1024]);
        while seen.len() < bytes {
            match self.0.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => seen.extend_from_slice(piece.get(..read).unwrap_or_default()),
                Err(error) => return Err(Failure::unexpected("more of the answer", error)),
            }
        }
        Ok(seen)
    }

    /// Waits until the server has said these words.
    pub fn hear(&mut self, words: &str) -> Result<(), Failure> {
        let (mut seen, mut buffer) = (String::new(), [0; 4096]);
        while !seen.contains(words) {
            match self.0.read(&mut buffer) {
                Ok(read) if read > 0 => seen.push_str(&String::from_utf8_lossy(buffer.get(..read).unwrap_or_default())),
                Ok(_) => return Err(Failure::unexpected(words, seen)),
                Err(error) => return Err(Failure::unexpected(words, format!("{error}, after {seen}"))),
            }
        }
        Ok(())
    }

    /// Everything that comes back until the server closes.
    pub fn read_to_end(&mut self) -> Result<String, Failure> {
        Ok(String::from_utf8_lossy(&self.bytes_to_end()?).into_owned())
    }

    /// The same as bytes.
    pub fn bytes_to_end(&mut self) -> Result<Vec<u8>, Failure> {
        let mut seen = Vec::new();
        // By hand: the stream's own reading would first try to send what a server that has closed did not take.
        let StreamOwned { conn, sock } = &mut self.0;
        loop {
            match conn.read_tls(sock) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // Closed while it had something unread.
                Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => {
                    break;
                }
                Err(error) => {
                    let found = format!("{error}, after {}", String::from_utf8_lossy(&seen));
                    return Err(Failure::unexpected("the connection to be closed", found));
                }
            }
            conn.process_new_packets().map_err(|error| tls(&error))?;
            match conn.reader().read_to_end(&mut seen) {
                // Said to be the end; or nothing more for now.
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(tls(&error)),
            }
        }
        Ok(seen)
    }

    /// Sends bytes and hears what comes back until the server closes: each final status, and the whole text.
    pub fn exchange(mut self, bytes: &[u8]) -> Result<(Vec<u16>, String), Failure> {
        self.send(bytes);
        let text = self.read_to_end()?;
        let status = |line: &str| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok();
        Ok((text.lines().filter_map(status).filter(|status| *status >= 200).collect(), text))
    }
}

/// A client of TLS 1.3 that trusts the CAs in `ca`.
fn trusting(ca: &Path) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, Failure> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).map_err(|error| tls(&error))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| tls(&error))?;
    Ok(builder.with_root_certificates(roots))
}

/// Status and body, when all that `content-length` says is there.
fn whole_answer(seen: &[u8]) -> Option<(u16, String)> {
    let text = String::from_utf8_lossy(seen);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    let (_, length) = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?;
    let length: usize = length.trim().parse().ok()?;
    (body.len() >= length).then(|| (status, body.to_owned()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|error| tls(&error))
}

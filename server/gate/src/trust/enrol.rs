//! Enrolment with a one-time code, and renewal of what it gave.

use daypass_proto::{
    encoding::Bytes,
    gate_api::{EnrolRequest, GateCertificates, RenewRequest},
    invitation::Code,
};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use thiserror::Error;
use zeroize::Zeroizing;

use super::{
    client::{self, IssuerClient, IssuerError},
    state::{GateState, Identity},
};
use daypass_proto::encoding::Fixed;

/// Why the gate got no certificates.
#[derive(Debug, Error)]
pub enum EnrolError {
    /// A key or request.
    #[error("could not make a key for the gate")]
    Key(#[from] rcgen::Error),
    /// The issuer.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// The root that the pin named did not come along.
    #[error("the issuer's answer lacks what was asked for")]
    Incomplete,
}

struct Fresh {
    key: KeyPair,
    csr: Bytes,
}

fn fresh() -> Result<Fresh, rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let csr = CertificateParams::default().serialize_request(&key)?;
    Ok(Fresh { csr: Bytes(csr.der().to_vec()), key })
}

fn identity(fresh: &Fresh, chain: Vec<Bytes>) -> Identity {
    Identity { chain, key: Zeroizing::new(fresh.key.serialize_der()) }
}

/// Enrols with `code`; `wants_server` where the operator brings no certificate. `root` is the issuer's, which the pin of the code names.
pub async fn enrol(code: &Code, wants_server: bool) -> Result<GateState, EnrolError> {
    let (client, server) = (fresh()?, wants_server.then(fresh).transpose()?);
    let request = EnrolRequest {
        secret: Fixed(*code.secret.expose()),
        client_csr: client.csr.clone(),
        server_csr: server.as_ref().map(|fresh| fresh.csr.clone()),
    };
    let answer = client::enrol(code.issuer(), code.pin, &request).await?;
    // What was said over a connection that the pin vouched for is the issuer's word; the root itself is held to the pin once more.
    let root = code.pin.find(&answer.root_chain).cloned().ok_or(EnrolError::Incomplete)?;
    assemble(&client, server.as_ref(), root, answer)
}

fn assemble(
    client: &Fresh,
    server: Option<&Fresh>,
    root: Bytes,
    answer: GateCertificates,
) -> Result<GateState, EnrolError> {
    let server = match (server, answer.server_chain) {
        (Some(fresh), Some(chain)) => Some(identity(fresh, chain)),
        (None, _) => None,
        (Some(_), None) => return Err(EnrolError::Incomplete),
    };
    Ok(GateState {
        name: answer.name.to_string(),
        issuer: answer.issuer,
        mtls_url: answer.mtls_url,
        root,
        client: identity(client, answer.client_chain),
        server,
    })
}

/// Renews the certificates of `state`, with new keys.
pub async fn renew(issuer: &IssuerClient, state: &GateState) -> Result<GateState, EnrolError> {
    let (client, server) = (fresh()?, state.server.is_some().then(fresh).transpose()?);
    let request =
        RenewRequest { client_csr: client.csr.clone(), server_csr: server.as_ref().map(|fresh| fresh.csr.clone()) };
    let answer = issuer.renew(&request).await?;
    assemble(&client, server.as_ref(), state.root.clone(), answer)
}

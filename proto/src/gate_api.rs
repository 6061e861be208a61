//! What a gate and the issuer say to each other (docs/wire.md section 8).

use serde::{Deserialize, Serialize};

use crate::{
    encoding::{Bytes, Fixed},
    names::GateName,
    oauth_error::Reason,
    resource::Resource,
    time::Timestamp,
};

/// `POST /gate/v1/enrol`, with the secret of a gate code.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolRequest {
    /// The code's secret.
    pub secret: Fixed<16>,
    /// PKCS#10 DER of the key for mTLS to the issuer.
    pub client_csr: Bytes,
    /// PKCS#10 DER of the key for the gate's own listener, where the operator brings no certificate.
    pub server_csr: Option<Bytes>,
}

/// `POST /gate/v1/renew`, over mTLS.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// As in [`EnrolRequest`].
    pub client_csr: Bytes,
    /// As in [`EnrolRequest`].
    pub server_csr: Option<Bytes>,
}

/// What a gate gets.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct GateCertificates {
    /// The gate's registered name.
    pub name: GateName,
    /// The issuer's identifier.
    pub issuer: String,
    /// The origin of the issuer's mTLS listener.
    pub mtls_url: String,
    /// The resources that this gate guards.
    pub resources: Vec<Resource>,
    /// Certificates of the issuer's root, DER; the holder of a code takes the one that its pin names.
    pub root_chain: Vec<Bytes>,
    /// Client certificate and gate CA, DER.
    pub client_chain: Vec<Bytes>,
    /// Server certificate for the resources' hosts and gate CA, DER, where asked for.
    pub server_chain: Option<Vec<Bytes>>,
}

/// `GET /gate/v1/revocations`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Revocations {
    /// The issuer's clock when it read its store.
    pub as_of: Timestamp,
    /// The resources that this gate guards today.
    pub resources: Vec<Resource>,
    /// Every token for these resources that has not expired and must be refused.
    pub tokens: Vec<RevokedToken>,
}

/// A token that must be refused before its end.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RevokedToken {
    /// Its `jti`.
    pub jti: String,
    /// Why.
    pub reason: Reason,
}

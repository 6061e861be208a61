//! What a gate and the issuer say to each other (docs/wire.md section 8).

use serde::{Deserialize, Serialize};

use crate::{
    encoding::{Bytes, Fixed},
    names::{DeviceId, GateName, GrantId},
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

/// How long a request that is under way may go on after its token has ended, in seconds: a large clone takes hours, a token lives for
/// minutes. The issuer names what is dead for this long, and the gate cuts whatever is older.
pub const FLOW_OUTLIVES_TOKEN: i64 = 12 * 3600;

/// `GET /gate/v1/revocations`: what must be refused among all that had a token for these resources, live or ended no longer ago than
/// [`FLOW_OUTLIVES_TOKEN`].
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Revocations {
    /// The issuer's clock when it read its store.
    pub as_of: Timestamp,
    /// The resources that this gate guards today.
    pub resources: Vec<Resource>,
    /// Tokens that were revoked themselves.
    pub tokens: Vec<RevokedToken>,
    /// Devices that may use none of theirs.
    pub devices: Vec<DeadDevice>,
    /// Grants under which none may be used.
    pub grants: Vec<DeadGrant>,
}

/// A token that must be refused before its end.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RevokedToken {
    /// Its `jti`.
    pub jti: String,
    /// Why.
    pub reason: Reason,
}

/// A device that may use none of its tokens.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct DeadDevice {
    /// Which.
    pub device: DeviceId,
    /// Why.
    pub reason: Reason,
}

/// A grant under which no token may be used.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct DeadGrant {
    /// Which.
    pub grant: GrantId,
    /// Why.
    pub reason: Reason,
}

//! What a gate and the issuer say to each other (docs/wire.md section 8).

mod revocations;
mod usage;

use serde::{Deserialize, Serialize};

pub use self::{
    revocations::{DeadDevice, DeadGrant, MAX_DEAD, RevocationReader, Revocations, RevocationsError, RevokedToken},
    usage::{GateUse, MAX_LOCATIONS, MAX_USES, UsageReport},
};
use crate::{
    encoding::{Bytes, Fixed},
    names::GateName,
    resource::Resource,
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

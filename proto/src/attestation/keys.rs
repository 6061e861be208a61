//! The three keys of a device: AK, identity and proof key. They have exactly the form that the agent makes; anything else is
//! refused, since a key of another form is not made by it.

use std::fmt;

use thiserror::Error;
use tpm2_protocol::data::{TpmAlgId, TpmtEccScheme, TpmuAsymScheme, TpmuPublicParms};

use super::public::{EccCurve, NameAlgorithm, PublicError, TpmPublic};
use crate::jose::EcPublicKey;

/// fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, sign.
const SIGNING: u32 = 0x0004_0472;
/// And restricted: it signs only what the TPM itself made (Part 1, section 25.1.5.2).
const RESTRICTED: u32 = 0x0001_0000;

/// Which of a device's keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyRole {
    /// The AK.
    Attestation,
    /// The identity key, for mTLS.
    Identity,
    /// The proof key.
    Proof,
}

impl fmt::Display for KeyRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Attestation => "attestation key",
            Self::Identity => "identity key",
            Self::Proof => "proof key",
        })
    }
}

/// Why a set of keys was refused.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum KeyError {
    /// The public area.
    #[error("the {0} {1}")]
    Public(KeyRole, #[source] PublicError),
    /// Other attributes than ours.
    #[error(
        "the {role} has attributes {got:#010x} where {expected:#010x} is needed: a key of that kind could leave the TPM, or sign what the TPM did not make"
    )]
    Attributes {
        /// Which.
        role: KeyRole,
        /// As sent.
        got: u32,
        /// As it must be.
        expected: u32,
    },
    /// Not ECDSA over P-256 with SHA-256.
    #[error("the {0} is not an ECDSA key on P-256 with SHA-256")]
    Algorithm(KeyRole),
    /// A policy, where there must be none.
    #[error("the {0} has an authorization policy")]
    Policy(KeyRole),
    /// One key in two roles.
    #[error("two of the three keys are the same")]
    NotDistinct,
}

/// One key: public area and point.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceKey {
    public: TpmPublic,
    point: EcPublicKey,
}

impl DeviceKey {
    fn parse(role: KeyRole, bytes: &[u8]) -> Result<Self, KeyError> {
        let public = TpmPublic::parse(bytes).map_err(|error| KeyError::Public(role, error))?;
        let expected = if role == KeyRole::Attestation { SIGNING | RESTRICTED } else { SIGNING };
        if public.attributes() != expected {
            return Err(KeyError::Attributes { role, got: public.attributes(), expected });
        }
        if !public.policy().is_empty() {
            return Err(KeyError::Policy(role));
        }
        if !is_ecdsa_sha256(&public) {
            return Err(KeyError::Algorithm(role));
        }
        let point = match public.ecc_point() {
            Some((EccCurve::P256, x, y)) => match (x.try_into(), y.try_into()) {
                (Ok(x), Ok(y)) => EcPublicKey::from_coordinates(x, y).map_err(|_| KeyError::Algorithm(role))?,
                _ => return Err(KeyError::Algorithm(role)),
            },
            _ => return Err(KeyError::Algorithm(role)),
        };
        Ok(Self { public, point })
    }

    /// The public area as it was sent.
    pub fn public(&self) -> &TpmPublic {
        &self.public
    }

    /// The point.
    pub fn point(&self) -> &EcPublicKey {
        &self.point
    }
}

fn is_ecdsa_sha256(public: &TpmPublic) -> bool {
    let TpmuPublicParms::Ecc(parameters) = &public.parsed().parameters else { return false };
    let TpmtEccScheme { scheme, details } = &parameters.scheme;
    public.name_algorithm() == NameAlgorithm::Sha256
        && *scheme == TpmAlgId::Ecdsa
        && matches!(details, TpmuAsymScheme::Hash(hash) if hash.hash_alg == TpmAlgId::Sha256)
}

/// A device's three keys, each of the right form, all distinct. Where they live is not yet said.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceKeySet {
    attestation: DeviceKey,
    identity: DeviceKey,
    proof: DeviceKey,
}

impl DeviceKeySet {
    /// Reads and checks three `TPMT_PUBLIC`.
    pub fn parse(attestation: &[u8], identity: &[u8], proof: &[u8]) -> Result<Self, KeyError> {
        let set = Self {
            attestation: DeviceKey::parse(KeyRole::Attestation, attestation)?,
            identity: DeviceKey::parse(KeyRole::Identity, identity)?,
            proof: DeviceKey::parse(KeyRole::Proof, proof)?,
        };
        let points = [set.attestation.point, set.identity.point, set.proof.point];
        if points[0] == points[1] || points[0] == points[2] || points[1] == points[2] {
            return Err(KeyError::NotDistinct);
        }
        Ok(set)
    }

    /// The AK.
    pub fn attestation(&self) -> &DeviceKey {
        &self.attestation
    }

    /// The identity key.
    pub fn identity(&self) -> &DeviceKey {
        &self.identity
    }

    /// The proof key.
    pub fn proof(&self) -> &DeviceKey {
        &self.proof
    }

    /// The names of AK, identity and proof key, in this order.
    pub fn names(&self) -> [Vec<u8>; 3] {
        [self.attestation.public.name(), self.identity.public.name(), self.proof.public.name()]
    }
}

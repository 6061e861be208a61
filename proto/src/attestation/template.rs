//! The templates of the TCG EK Credential Profile 2.4 (annex B.3 and B.4): which key exactly is an EK. An EK has the form of one of them, to
//! the last attribute; its maker chose the template, and a key of another form was made by somebody else.

use std::fmt;

use tpm2_protocol::data::{TpmAlgId, TpmtSymDefObject, TpmuPublicParms, TpmuSymKeyBits, TpmuSymMode};

use super::{
    ek::EkKey,
    public::{EccCurve, NameAlgorithm, TpmPublic},
};

/// Attributes of the low range: fixedTPM, fixedParent, sensitiveDataOrigin, adminWithPolicy, restricted, decrypt.
const LOW: u32 = 0x0003_00b2;
/// Attributes of the high range: the same and userWithAuth.
const HIGH: u32 = 0x0003_00f2;

/// `PolicyA_SHA256`: `TPM2_PolicySecret(TPM_RH_ENDORSEMENT)` (section B.6.2).
const POLICY_A_SHA256: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd, 0x52, 0xd7,
    0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];
/// `PolicyB`: PolicyOR of PolicyA and of the NV-index policy PolicyC (section B.6.4 to B.6.6), as published.
const POLICY_B_SHA256: [u8; 32] = [
    0xca, 0x3d, 0x0a, 0x99, 0xa2, 0xb9, 0x39, 0x06, 0xf7, 0xa3, 0x34, 0x24, 0x14, 0xef, 0xcf, 0xb3, 0xa3, 0x85, 0xd4,
    0x4c, 0xd1, 0xfd, 0x45, 0x90, 0x89, 0xd1, 0x9b, 0x50, 0x71, 0xc0, 0xb7, 0xa0,
];
const POLICY_B_SHA384: [u8; 48] = [
    0xb2, 0x6e, 0x7d, 0x28, 0xd1, 0x1a, 0x50, 0xbc, 0x53, 0xd8, 0x82, 0xbc, 0xf5, 0xfd, 0x3a, 0x1a, 0x07, 0x41, 0x48,
    0xbb, 0x35, 0xd3, 0xb4, 0xe4, 0xcb, 0x1c, 0x0a, 0xd9, 0xbd, 0xe4, 0x19, 0xca, 0xcb, 0x47, 0xba, 0x09, 0x69, 0x96,
    0x46, 0x15, 0x0f, 0x9f, 0xc0, 0x00, 0xf3, 0xf8, 0x0e, 0x12,
];

/// A template that is taken here. H-4 (P-521) and H-5 (SM2) are not: their names are of hashes that nothing else here uses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EkTemplate {
    /// RSA 2048, low range.
    L1,
    /// P-256, low range.
    L2,
    /// RSA 2048, high range.
    H1,
    /// P-256, high range.
    H2,
    /// P-384.
    H3,
    /// RSA 3072.
    H6,
    /// RSA 4096.
    H7,
}

impl fmt::Display for EkTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::L1 => "L-1",
            Self::L2 => "L-2",
            Self::H1 => "H-1",
            Self::H2 => "H-2",
            Self::H3 => "H-3",
            Self::H6 => "H-6",
            Self::H7 => "H-7",
        })
    }
}

impl EkTemplate {
    /// Every template.
    pub const ALL: [Self; 7] = [Self::L1, Self::L2, Self::H1, Self::H2, Self::H3, Self::H6, Self::H7];

    /// The templates that such a key can be of: a certificate names the key and not the template.
    pub fn for_key(key: &EkKey) -> impl Iterator<Item = Self> + '_ {
        Self::ALL.into_iter().filter(|template| template.is_kind_of(key))
    }

    /// The NV index where the certificate of such an EK is.
    pub fn certificate_index(self) -> u32 {
        match self {
            Self::L1 => 0x01c0_0002,
            Self::L2 => 0x01c0_000a,
            Self::H1 => 0x01c0_0012,
            Self::H2 => 0x01c0_0014,
            Self::H3 => 0x01c0_0016,
            Self::H6 => 0x01c0_001c,
            Self::H7 => 0x01c0_001e,
        }
    }

    fn is_kind_of(self, key: &EkKey) -> bool {
        match key {
            EkKey::Rsa(modulus, _) => match self {
                Self::L1 | Self::H1 => modulus.len() == 256,
                Self::H6 => modulus.len() == 384,
                Self::H7 => modulus.len() == 512,
                Self::L2 | Self::H2 | Self::H3 => false,
            },
            EkKey::Ecc(curve, ..) => match self {
                Self::L2 | Self::H2 => *curve == EccCurve::P256,
                Self::H3 => *curve == EccCurve::P384,
                Self::L1 | Self::H1 | Self::H6 | Self::H7 => false,
            },
        }
    }

    fn attributes(self) -> u32 {
        if matches!(self, Self::L1 | Self::L2) { LOW } else { HIGH }
    }

    fn name_algorithm(self) -> NameAlgorithm {
        match self {
            Self::L1 | Self::L2 | Self::H1 | Self::H2 => NameAlgorithm::Sha256,
            Self::H3 | Self::H6 | Self::H7 => NameAlgorithm::Sha384,
        }
    }

    fn policy(self) -> &'static [u8] {
        match self {
            Self::L1 | Self::L2 => &POLICY_A_SHA256,
            Self::H1 | Self::H2 => &POLICY_B_SHA256,
            Self::H3 | Self::H6 | Self::H7 => &POLICY_B_SHA384,
        }
    }

    /// The bits of its AES key.
    pub fn symmetric_bits(self) -> u16 {
        match self.name_algorithm() {
            NameAlgorithm::Sha256 => 128,
            NameAlgorithm::Sha384 => 256,
        }
    }

    /// Whether it is named with SHA-384 (else SHA-256).
    pub fn is_sha384(self) -> bool {
        self.name_algorithm() == NameAlgorithm::Sha384
    }

    /// Why this public area, with this key, is not of this template; `None` where it is.
    fn misses(self, public: &TpmPublic, key: &EkKey) -> Option<Miss> {
        if !self.is_kind_of(key) || public.name_algorithm() != self.name_algorithm() {
            return Some(Miss::Kind);
        }
        if public.policy() != self.policy() {
            return Some(Miss::Policy);
        }
        if public.attributes() != self.attributes() {
            return Some(Miss::Attributes);
        }
        (!has_aes_cfb(public, self.symmetric_bits()) || has_scheme(public)).then_some(Miss::Parameters)
    }

    /// The template of this public area, or where the one that comes nearest is missed.
    pub(super) fn of(public: &TpmPublic, key: &EkKey) -> Result<Self, Miss> {
        let mut nearest = Miss::Kind;
        for template in Self::ALL {
            match template.misses(public, key) {
                None => return Ok(template),
                Some(miss) => nearest = nearest.max(miss),
            }
        }
        Err(nearest)
    }
}

/// Where a public area leaves a template; the later, the nearer it came.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Miss {
    Kind,
    Policy,
    Attributes,
    Parameters,
}

fn has_aes_cfb(public: &TpmPublic, bits: u16) -> bool {
    let symmetric: &TpmtSymDefObject = match &public.parsed().parameters {
        TpmuPublicParms::Rsa(parameters) => &parameters.symmetric,
        TpmuPublicParms::Ecc(parameters) => &parameters.symmetric,
        _ => return false,
    };
    symmetric.algorithm == TpmAlgId::Aes
        && matches!(&symmetric.key_bits, TpmuSymKeyBits::Aes(found) if found.value() == bits)
        && matches!(&symmetric.mode, TpmuSymMode::Aes(TpmAlgId::Cfb))
}

/// A storage key has none (Part 2, section 12.2.3.5).
fn has_scheme(public: &TpmPublic) -> bool {
    match &public.parsed().parameters {
        TpmuPublicParms::Rsa(parameters) => parameters.scheme.scheme != TpmAlgId::Null,
        TpmuPublicParms::Ecc(parameters) => {
            parameters.scheme.scheme != TpmAlgId::Null || parameters.kdf.scheme != TpmAlgId::Null
        }
        _ => true,
    }
}

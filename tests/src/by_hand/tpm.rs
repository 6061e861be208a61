//! A TPM driven by hand: any key, any statement. Each use connects anew, and leaves nothing loaded.

use std::str::FromStr as _;

use daypass_proto::{
    encoding::{Bytes, sha256},
    enrolment::Attestation,
};
use rcgen::{PublicKeyData, SigningKey};
use rustls::{
    SignatureAlgorithm, SignatureScheme as TlsScheme,
    sign::{Signer, SigningKey as TlsSigningKey},
};
use tss_esapi::{
    Context, Error as TssError, TctiNameConf,
    constants::tss::{TPM2_RH_NULL, TPM2_ST_HASHCHECK},
    handles::KeyHandle,
    interface_types::{algorithm::HashingAlgorithm, resource_handles::Hierarchy, session_handles::AuthSession},
    structures::{
        Attest, Data, Digest, HashScheme, HashcheckTicket, PcrSelectionList, PcrSlot, Private, Public, Signature,
        SignatureScheme,
    },
    traits::{Marshall as _, UnMarshall as _},
    tss2_esys::TPMT_TK_HASHCHECK,
};

use crate::Failure;

/// fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, sign.
pub const SIGNS: u32 = 0x0004_0472;
/// And restricted: an AK.
pub const ATTESTS: u32 = 0x0005_0472;
/// A storage root key: restricted and decrypting instead.
const STORES: u32 = 0x0003_0472;

/// A TPM, by how it is reached.
#[derive(Clone, Debug)]
pub(super) struct Tpm(pub(super) String);

/// A key of one TPM: its public area, and what only that TPM can load.
#[derive(Clone, Debug)]
pub struct HandKey {
    tpm: Tpm,
    public: Vec<u8>,
    private: Vec<u8>,
}

fn wrong(error: &dyn std::fmt::Display) -> Failure {
    Failure::unexpected("the TPM to do as it is told", error)
}

/// `TPMT_PUBLIC` of a key on P-256 without a point (Part 2, section 12.2.4): what a TPM is asked to make.
fn template(attributes: u32) -> Result<Public, TssError> {
    let kind: &[u8] = if attributes == STORES {
        // AES-128 in CFB mode, no scheme
        &[0x00, 0x06, 0x00, 0x80, 0x00, 0x43, 0x00, 0x10]
    } else {
        // no symmetric algorithm, ECDSA with SHA-256
        &[0x00, 0x10, 0x00, 0x18, 0x00, 0x0b]
    };
    let head = [0x00, 0x23, 0x00, 0x0b];
    // no policy; P-256, no KDF, and an empty point
    let bytes = [&head[..], &attributes.to_be_bytes(), &[0, 0], kind, &[0x00, 0x03, 0x00, 0x10, 0, 0, 0, 0]].concat();
    Public::unmarshall(&bytes)
}

fn ecdsa() -> SignatureScheme {
    SignatureScheme::EcDsa { hash_scheme: HashScheme::new(HashingAlgorithm::Sha256) }
}

fn password<T>(context: &mut Context, act: impl FnOnce(&mut Context) -> Result<T, TssError>) -> Result<T, TssError> {
    context.execute_with_session(Some(AuthSession::Password), act)
}

impl Tpm {
    fn connect(&self) -> Result<Context, TssError> {
        Context::new(TctiNameConf::from_str(&self.0)?)
    }

    /// Does something below a storage root key, which is the same each time.
    fn below_root<T>(
        context: &mut Context,
        act: impl FnOnce(&mut Context, KeyHandle) -> Result<T, TssError>,
    ) -> Result<T, TssError> {
        let root = password(context, |context| {
            context.create_primary(Hierarchy::Owner, template(STORES)?, None, None, None, None)
        })?;
        let done = password(context, |context| act(context, root.key_handle));
        context.flush_context(root.key_handle.into())?;
        done
    }

    /// Makes a key.
    pub(super) fn create(&self, attributes: u32) -> Result<HandKey, Failure> {
        let made = self.connect().and_then(|mut context| {
            let made = Self::below_root(&mut context, |context, root| {
                context.create(root, template(attributes)?, None, None, None, None)
            })?;
            Ok((made.out_public.marshall()?, made.out_private.value().to_vec()))
        });
        let (public, private) = made.map_err(|error| wrong(&error))?;
        Ok(HandKey { tpm: self.clone(), public, private })
    }
}

impl HandKey {
    /// `TPMT_PUBLIC`.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// The encrypted private part.
    pub fn private(&self) -> &[u8] {
        &self.private
    }

    fn load(&self, context: &mut Context) -> Result<KeyHandle, TssError> {
        let (public, private) = (Public::unmarshall(&self.public)?, Private::try_from(self.private.clone())?);
        Tpm::below_root(context, |context, root| context.load(root, private, public))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Context, KeyHandle) -> Result<T, TssError>) -> Result<T, TssError> {
        let mut context = self.tpm.connect()?;
        let handle = self.load(&mut context)?;
        let done = act(&mut context, handle);
        context.flush_context(handle.into())?;
        done
    }

    /// `TPM2_Certify` of `subject` by this key.
    pub fn certify(&self, subject: &Self, extra: &[u8]) -> Result<Attestation, Failure> {
        let made = self.with(|context, own| {
            let subject = subject.load(context)?;
            let data = Data::try_from(extra.to_vec())?;
            let made = context
                .execute_with_sessions((Some(AuthSession::Password), Some(AuthSession::Password), None), |context| {
                    context.certify(subject.into(), own, data, ecdsa())
                });
            context.flush_context(subject.into())?;
            statement(made?)
        });
        made.map_err(|error| wrong(&error))
    }

    /// `TPM2_Quote` by this key over these PCRs of one bank.
    pub fn quote(&self, bank: HashingAlgorithm, pcrs: &[u8], extra: &[u8]) -> Result<Attestation, Failure> {
        let made = self.with(|context, own| {
            let slots: Result<Vec<PcrSlot>, _> = pcrs.iter().map(|pcr| PcrSlot::try_from(1_u32 << pcr)).collect();
            let selection = PcrSelectionList::builder().with_selection(bank, &slots?).build()?;
            let data = Data::try_from(extra.to_vec())?;
            statement(password(context, |context| context.quote(own, data, ecdsa(), selection))?)
        });
        made.map_err(|error| wrong(&error))
    }

    /// Signs a message with ECDSA and SHA-256; gives `r` and `s`. An AK refuses: it signs what its TPM made.
    fn sign_message(&self, message: &[u8]) -> Result<(Vec<u8>, Vec<u8>), TssError> {
        let digest = Digest::try_from(sha256(&[message]).to_vec())?;
        let ticket = TPMT_TK_HASHCHECK { tag: TPM2_ST_HASHCHECK, hierarchy: TPM2_RH_NULL, digest: Default::default() };
        let ticket: HashcheckTicket = ticket.try_into()?;
        let made = self.with(|context, own| password(context, |context| context.sign(own, digest, ecdsa(), ticket)))?;
        match made {
            Signature::EcDsa(made) => Ok((made.signature_r().value().to_vec(), made.signature_s().value().to_vec())),
            _ => Err(TssError::WrapperError(tss_esapi::WrapperErrorKind::WrongValueFromTpm)),
        }
    }

    /// A statement that no TPM made, signed by this key as any message.
    pub fn forge(&self, attest: &[u8]) -> Result<Attestation, Failure> {
        let (r, s) = self.sign_message(attest).map_err(|error| wrong(&error))?;
        let part = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap_or_default().to_be_bytes()[..], bytes].concat();
        // TPMT_SIGNATURE: ECDSA with SHA-256
        let signature = [&[0x00, 0x18, 0x00, 0x0b][..], &part(&r), &part(&s)].concat();
        Ok(Attestation { attest: Bytes(attest.to_vec()), signature: Bytes(signature) })
    }

    /// The same in DER (RFC 3279 section 2.2.3).
    fn sign_der(&self, message: &[u8]) -> Result<Vec<u8>, TssError> {
        let (r, s) = self.sign_message(message)?;
        let integer = |bytes: &[u8]| {
            let digits: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
            let sign = digits.first().is_some_and(|first| *first >= 0x80).then_some(0);
            let digits: Vec<u8> = sign.into_iter().chain(digits).collect();
            [&[0x02, u8::try_from(digits.len()).unwrap_or_default()][..], &digits].concat()
        };
        let both = [integer(&r), integer(&s)].concat();
        Ok([&[0x30, u8::try_from(both.len()).unwrap_or_default()][..], &both].concat())
    }

    /// As what signs certificate requests.
    pub(super) fn csr_key(&self) -> Result<CsrKey<'_>, Failure> {
        let point = daypass_proto::attestation::TpmPublic::parse(&self.public).ok().and_then(|key| key.ecc_point());
        let (_, x, y) = point.ok_or_else(|| Failure::unexpected("an ECC key", "another"))?;
        Ok(CsrKey { key: self, point: [&[4], &x[..], &y].concat() })
    }
}

fn statement((attest, signature): (Attest, Signature)) -> Result<Attestation, TssError> {
    Ok(Attestation { attest: Bytes(attest.marshall()?), signature: Bytes(signature.marshall()?) })
}

/// A key in a TPM, for `rcgen`.
pub(super) struct CsrKey<'a> {
    key: &'a HandKey,
    point: Vec<u8>,
}

impl PublicKeyData for CsrKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for CsrKey<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.key.sign_der(message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

impl TlsSigningKey for HandKey {
    fn choose_scheme(&self, offered: &[TlsScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&TlsScheme::ECDSA_NISTP256_SHA256).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for HandKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        self.sign_der(message).map_err(|error| rustls::Error::General(error.to_string()))
    }

    fn scheme(&self) -> TlsScheme {
        TlsScheme::ECDSA_NISTP256_SHA256
    }
}

//! Public areas of TPM keys, endorsement certificates, and requests for certificates.

use daypass_issuer::keys::{certificate_validity, csr_key};
use daypass_proto::{
    attestation::{AssessedEk, DeviceKeySet, EkCertificate, EkPublic, EkRoots, TpmPublic},
    enrolment::TrustTier,
    jose::EcPublicKey,
    pin::Pin,
    time::Timestamp,
};
use rcgen::{BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyUsagePurpose};

use crate::{
    choice,
    keys::{Role, certifying, csr, pkcs8, public, sized, tpm_public},
    seed,
};

const EK: u8 = 1;
const MAKER: u8 = 2;
const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// One structure, of the kind that the first letter names.
pub fn run(input: &[u8]) {
    let Some((kind, rest)) = choice(input, 7) else { return };
    match kind {
        0 => area(rest),
        1 => endorsement(rest),
        2 => {
            let [attestation, identity, proof] = parts(rest);
            if let Ok(keys) = DeviceKeySet::parse(attestation, identity, proof) {
                let [ak, identity_name, proof_name] = keys.names();
                assert!(ak != identity_name && ak != proof_name && identity_name != proof_name);
                assert_ne!(keys.identity().point(), keys.proof().point());
            }
        }
        3 => assess(&tpm_public(Role::Ek, EK), rest),
        4 => {
            let [area, certificate, _] = parts(rest);
            assess(area, certificate);
        }
        5 => {
            let (roots, bad) = EkRoots::new(vec![rest.to_vec()]);
            assert_eq!(roots.len() + bad, 1);
            if let Some(pin) = Pin::of_certificate(rest) {
                assert_eq!(pin.find(&[rest]), Some(&rest));
            }
            let _ = certificate_validity(rest);
        }
        _ => {
            if let Ok(key) = csr_key(rest) {
                assert_eq!(EcPublicKey::from_spki_der(&key.to_spki_der()), Ok(key));
            }
        }
    }
}

fn area(bytes: &[u8]) {
    let Ok(area) = TpmPublic::parse(bytes) else { return };
    assert_eq!(area.bytes(), bytes);
    assert!(matches!(area.name().len(), 34 | 50));
    if let Some((curve, x, y)) = area.ecc_point() {
        assert!(x.len() == curve.size() && y.len() == curve.size());
    }
    let _ = (area.rsa(), area.attributes(), area.policy());
}

fn endorsement(bytes: &[u8]) {
    area(bytes);
    let Ok(ek) = EkPublic::parse(bytes) else { return };
    assert!(matches!(ek.template().symmetric_bits(), 128 | 256));
    assert!(ek.key().to_spki_der().len() < 700);
    let _ = (ek.hash(), ek.template().is_sha384());
}

/// With a maker's root that is trusted.
fn assess(area: &[u8], certificate: &[u8]) {
    let (roots, _) = EkRoots::new(vec![maker().0]);
    if let Ok(read) = EkCertificate::parse(certificate) {
        assert!(read.length() + read.padding() == certificate.len());
        let _ = (read.judge(&roots, NOW), read.templates().count(), read.is_authority());
    }
    let Ok(ek) = AssessedEk::assess(area, Some(certificate), &roots, NOW) else { return };
    let known = ek.certificate_error().is_none();
    assert_eq!(known, matches!(ek.tier(false), TrustTier::EkChain | TrustTier::Virtual));
    if let Some(error) = ek.certificate_error() {
        assert!(error.to_string().len() < 1500, "an error is no place for a certificate");
    }
}

/// Three parts, each behind its length.
fn parts(mut rest: &[u8]) -> [&[u8]; 3] {
    [(); 3].map(|()| {
        let Some((length, behind)) = rest.split_first_chunk::<2>() else { return &[][..] };
        let (part, behind) = behind.split_at(usize::from(u16::from_be_bytes(*length)).min(behind.len()));
        rest = behind;
        part
    })
}

fn maker() -> (Vec<u8>, Issuer<'static, rcgen::KeyPair>) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "maker");
    let root = params.self_signed(&certifying(MAKER)).unwrap().der().to_vec();
    (root, Issuer::new(params, certifying(MAKER)))
}

fn certificate() -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
    // SEQUENCE { tcg-kp-EKCertificate }
    let usage = vec![0x30, 0x07, 0x06, 0x05, 0x67, 0x81, 0x05, 0x08, 0x01];
    params.custom_extensions.push(CustomExtension::from_oid_content(&[2, 5, 29, 37], usage));
    params.custom_extensions.push(CustomExtension::from_oid_content(&[2, 5, 29, 17], description()));
    params.signed_by(&certifying(EK), &maker().1).unwrap().der().to_vec()
}

/// A SAN that names manufacturer, model and version of a TPM, all in one set (TCG EK Credential Profile section 3.2.9).
fn description() -> Vec<u8> {
    let der = |tag: u8, content: Vec<u8>| [vec![tag, content.len().try_into().unwrap()], content].concat();
    let attribute = |last: u8, text: &str| {
        let name = der(0x06, vec![0x67, 0x81, 0x05, 0x02, last]);
        der(0x30, [name, der(0x0c, text.as_bytes().to_vec())].concat())
    };
    let set = [attribute(1, "id:53544D20"), attribute(2, "ST33"), attribute(3, "id:00490004")].concat();
    der(0x30, der(0xa4, der(0x30, der(0x31, set))))
}

/// One of each.
pub fn seeds() -> Vec<Vec<u8>> {
    let ek = tpm_public(Role::Ek, EK);
    let keys =
        [(Role::Attestation, 3), (Role::Signing, 4), (Role::Signing, 5)].map(|(role, byte)| tpm_public(role, byte));
    let three = keys.iter().map(|area| sized(area)).collect::<Vec<_>>().concat();
    let padded = [certificate(), vec![0xff; 60]].concat();
    vec![
        seed(b'a', &keys[0]),
        seed(b'b', &ek),
        // RSA-2048, template L-1.
        seed(b'b', rsa(&ek)),
        seed(b'c', three),
        seed(b'd', certificate()),
        seed(b'd', padded),
        seed(b'e', [sized(&ek), sized(&certificate())].concat()),
        seed(b'f', maker().0),
        seed(b'g', csr(6)),
        seed(b'f', pkcs8(7)),
        seed(b'a', public(8).to_spki_der()),
    ]
}

/// The EK's public area as an RSA key has it.
fn rsa(ecc: &[u8]) -> Vec<u8> {
    let head = [&[0x00, 0x01, 0x00, 0x0b], &ecc[4..8], &ecc[8..42]].concat();
    // AES-128 in CFB mode, no scheme, 2048 bits, the usual exponent.
    let parameters = [0x00, 0x06, 0x00, 0x80, 0x00, 0x43, 0x00, 0x10, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00];
    [head, parameters.to_vec(), sized(&[0xc5; 256])].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_good() {
        let ek = tpm_public(Role::Ek, EK);
        assert!(EkPublic::parse(&ek).is_ok() && EkPublic::parse(&rsa(&ek)).is_ok());
        let (roots, bad) = EkRoots::new(vec![maker().0]);
        assert_eq!(bad, 0);
        let assessed = AssessedEk::assess(&ek, Some(&certificate()), &roots, NOW).unwrap();
        assert_eq!(assessed.certificate_error(), None);
        assert!(csr_key(&csr(6)).is_ok());
    }

    /// What is cut off, goes on behind its end, or has another length inside is no public area and no certificate.
    #[test]
    fn lengths_are_exact() {
        let ek = tpm_public(Role::Ek, EK);
        for good in [ek.clone(), rsa(&ek)] {
            for cut in 0..good.len() {
                assert!(TpmPublic::parse(&good[..cut]).is_err(), "cut at {cut}");
            }
            assert!(TpmPublic::parse(&[&good[..], &[0]].concat()).is_err());
            assert!(TpmPublic::parse(&[&good[..], &good].concat()).is_err());
        }
        assert!(TpmPublic::parse(&vec![0; 100_000]).is_err());
        for good in [csr(6)] {
            for cut in 0..good.len() {
                assert!(csr_key(&good[..cut]).is_err(), "cut at {cut}");
            }
            assert!(csr_key(&[&good[..], &[0]].concat()).is_err());
        }
        let root = maker().0;
        for cut in 0..root.len() {
            assert_eq!(Pin::of_certificate(&root[..cut]), None, "cut at {cut}");
        }
        assert_eq!(Pin::of_certificate(&[&root[..], &[0]].concat()), None);
    }
}

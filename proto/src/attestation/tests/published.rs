//! Published test data of other projects, where it lies beside this one: `DAYPASS_VECTORS`, else `../shared/vectors` from the workspace.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::Value;
use tpm2_protocol::{TpmUnmarshal as _, data::TpmsAttest, data::TpmuAttest};

use super::*;

/// The folder, or `None` after saying that this test is skipped.
fn vectors(test: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    let folder = std::env::var_os("DAYPASS_VECTORS").map_or(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    use std::io::Write as _;
    // Past libtest's capturing: a skipped test that nobody sees is one that nobody runs.
    let _ = writeln!(std::io::stderr(), "skipped: {test} needs the published vectors in `{}`", folder.display());
    None
}

fn read(folder: &Path, file: &str) -> Vec<u8> {
    std::fs::read(folder.join("ekcerts").join(file)).unwrap()
}

/// The first certificate of each file, by the file's name.
fn certificates(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder.join("ekcerts")).unwrap();
    entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let bytes = std::fs::read(&path).unwrap();
            let der = match path.extension().and_then(|extension| extension.to_str()) {
                Some("pem") => CertificateDer::pem_slice_iter(&bytes).next().unwrap().unwrap().to_vec(),
                _ => bytes,
            };
            (name, der)
        })
        .collect()
}

/// 2026-06-01.
fn now() -> Timestamp {
    Timestamp::from_seconds(1_780_272_000)
}

#[test]
fn certificates_of_tpm_makers() {
    let Some(folder) = vectors("certificates_of_tpm_makers") else { return };
    let all = certificates(&folder);
    let (roots, bad) = EkRoots::new(all.values().cloned().collect());
    assert_eq!(bad, 0, "each of them reads, with its sets in the wrong order and its padding");
    assert!(all.len() > 50, "{}", all.len());
    let judged: BTreeMap<&str, Judgement> = all
        .iter()
        .map(|(name, der)| (name.as_str(), EkCertificate::parse(der).unwrap().judge(&roots, now())))
        .collect();

    // A real EK, as read from NV: empty subject, critical SAN, 431 bytes of padding; through two CAs to its root.
    let st = &judged["st_sha256_with_rsa_der.bin"];
    assert_eq!((st.faults.as_slice(), st.tier), (&[][..], TrustTier::EkChain));
    let ends: Vec<_> = st.walk.links.iter().filter_map(|link| link.subject.rsplit("CN=").next()).collect();
    assert_eq!(
        ends,
        ["STM TPM EK Intermediate CA 05", "STM TPM EK Root CA", "GlobalSign Trusted Platform Module Root CA"]
    );
    let read_st = EkCertificate::parse(&read(&folder, "st_sha256_with_rsa_der.bin")).unwrap();
    assert_eq!((read_st.length(), read_st.padding(), read_st.subject()), (1169, 431, ""));
    let chip = read_st.tpm();
    assert_eq!(
        [&chip.manufacturer, &chip.model, &chip.version].map(|text| text.as_deref().unwrap_or_default()),
        ["id:53544D20", "ST33HTPHAHB4", "id:00490004"]
    );
    assert_eq!(read_st.templates().map(|template| template.to_string()).collect::<Vec<_>>(), ["L-1", "H-1"]);
    let mut broken = read(&folder, "st_sha256_with_rsa_der.bin");
    *broken.last_mut().unwrap() = 1;
    assert_eq!(EkCertificate::parse(&broken).unwrap_err(), EkCertificateError::Malformed, "something else after it");
    let without = EkRoots::new(vec![all["STM_RSA_05I.pem"].clone(), all["STM_RSA_RT.pem"].clone()]).0;
    assert!(
        matches!(read_st.judge(&without, now()).walk.end, Err(ChainError::UnknownIssuer(name)) if name.contains("GlobalSign")),
        "a root that another one signed is none"
    );

    // Keys of a cloud's virtual TPMs, signed by a CA that is not among them. Two of them sign: they are no EKs, whatever else they say.
    for (file, needed) in
        [("pca_tpm_ecc_sign_cert.pem", "Key Agreement"), ("pca_tpm_rsa_sign_cert.pem", "Key Encipherment")]
    {
        let expected = EkCertificateError::KeyUsage { needed, found: "Digital Signature".to_owned() };
        assert_eq!(judged[file].faults.first(), Some(&expected), "{file}");
    }
    for file in ["pca_tpm_ecc_enc_cert.pem", "pca_tpm_rsa_enc_cert.pem"] {
        assert_eq!(judged[file].faults.first(), Some(&EkCertificateError::Usage), "{file}: no extended key usage");
        assert!(judged[file].faults.contains(&EkCertificateError::Unnamed("manufacturer")), "{file}: no SAN");
        assert!(matches!(judged[file].walk.end, Err(ChainError::UnknownIssuer(_))), "{file}");
    }

    // The others are CAs: none of them is an EK, and each leads to its root, or breaks where it should.
    let sha1 = ["IFX2.pem", "IFX3.pem", "IFX4.pem", "IFX5.pem", "IFX8.pem", "IFX15.pem", "NTC1.pem", "NTC2.pem"];
    let sha1_too = ["IFX_RSA_02I.pem", "IFX_RSA_03I.pem", "IFX_RSA_04I.pem", "IFX_RSA_05I.pem", "IFX_RSA_08I.pem"];
    let sha1_newer = ["IFX_RSA_17I.pem", "IFX_RSA_18I.pem", "IFX_RSA_20I.pem", "IFX_RSA_21I.pem"];
    let ended = ["IFX1.pem", "IFX_RSA_01I.pem"];
    let elsewhere = ["Alibaba_Cloud_vTPM_EK.pem", "Nationz_TPM_EK.pem", "STM_ECC_01I.pem", "STM_ECC_01RT.pem"];
    let elsewhere_too = ["IFX_RSA_RT.pem", "iak_idevid_chain.pem"];
    for (file, judgement) in
        judged.iter().filter(|(file, _)| !file.starts_with("pca_") && **file != "st_sha256_with_rsa_der.bin")
    {
        assert_eq!(judgement.faults.first(), Some(&EkCertificateError::Authority), "{file}");
        let end = &judgement.walk.end;
        let expected = if sha1.contains(file) || sha1_too.contains(file) || sha1_newer.contains(file) {
            matches!(end, Err(ChainError::SignatureKind(kind)) if kind == "RSA and SHA-1")
        } else if ended.contains(file) {
            matches!(end, Err(ChainError::Validity { .. }))
        } else if elsewhere.contains(file) || elsewhere_too.contains(file) {
            matches!(end, Err(ChainError::UnknownIssuer(_)))
        } else {
            end.is_ok()
        };
        assert!(expected, "{file}: {end:?}");
    }
    let good = judged.values().filter(|judgement| judgement.walk.end.is_ok()).count();
    assert!(good > 25, "{good} chains hold");
}

fn bytes(vector: &Value, field: &str) -> Vec<u8> {
    hex::decode(vector[field].as_str().unwrap_or_default()).unwrap()
}

/// A `TPM2B` without its size.
fn inner(vector: &Value, field: &str) -> Vec<u8> {
    bytes(vector, field)[2..].to_vec()
}

fn statement_of(vector: &Value) -> Attestation {
    Attestation { attest: bytes(vector, "attest").into(), signature: bytes(vector, "tpmt_signature").into() }
}

#[test]
fn statements_of_other_tpms_and_tools() {
    let Some(folder) = vectors("statements_of_other_tpms_and_tools") else { return };
    let vectors: Vec<Value> =
        serde_json::from_slice(&std::fs::read(folder.join("tpm/tpm-vectors.json")).unwrap()).unwrap();
    let (mut quotes, mut certifications) = (0, 0);
    let (identity, proof) = (key(SIGNING), key(SIGNING));
    for vector in &vectors {
        let source = vector["source"].as_str().unwrap();
        let ak = match (vector["ak_tpmt_public"].as_str(), vector["ak_tpm2b_public"].as_str()) {
            (Some(_), _) => bytes(vector, "ak_tpmt_public"),
            (None, Some(_)) => inner(vector, "ak_tpm2b_public"),
            (None, None) => continue,
        };
        match vector["kind"].as_str() {
            Some("quote") => {
                quotes += 1;
                // RSA keys: the statements read, and no such key attests here. Our attributes differ, and one of them has a policy.
                let refused = DeviceKeySet::parse(&ak, &identity.public, &proof.public);
                match TpmPublic::parse(&ak).unwrap().policy().is_empty() {
                    true => {
                        assert!(
                            matches!(refused, Err(KeyError::Attributes { role: KeyRole::Attestation, .. })),
                            "{source}"
                        );
                    }
                    false => assert_eq!(refused, Err(KeyError::Policy(KeyRole::Attestation)), "{source}"),
                }
                if let Some(name) = vector["ak_name"].as_str() {
                    assert_eq!(hex::encode(TpmPublic::parse(&ak).unwrap().name()), name, "{source}");
                }
                let attestation = statement_of(vector);
                let point = *Scene::new().set.attestation().point();
                let refused = statement::parse(&point, &[0; 32], &attestation).err();
                assert_eq!(refused, Some(StatementError::SignatureForm), "{source}");
                let (attest, rest) = TpmsAttest::unmarshal(&attestation.attest.0).unwrap();
                assert_eq!((rest, &attest.extra_data[..]), (&[][..], &bytes(vector, "extra_data")[..]), "{source}");
                let TpmuAttest::Quote(quote) = attest.attested else { panic!("{source}") };
                let (Some("sha256"), Some(values)) = (vector["pcr_bank"].as_str(), vector["pcrs"].as_object()) else {
                    continue;
                };
                // The selection as it is read here, and the digest over its values.
                let values: Vec<Vec<u8>> = statement::selected(&quote.pcr_select[0].pcr_select)
                    .iter()
                    .map(|pcr| hex::decode(values[&pcr.to_string()].as_str().unwrap()).unwrap())
                    .collect();
                assert_eq!(values.len(), 24, "{source}");
                let digest = sha256(&values.iter().map(Vec::as_slice).collect::<Vec<_>>());
                assert_eq!(quote.pcr_digest[..], digest, "{source}");
            }
            Some("certify") => {
                certifications += 1;
                let (ak, subject) =
                    (TpmPublic::parse(&ak).unwrap(), TpmPublic::parse(&inner(vector, "key_tpm2b_public")).unwrap());
                let (_, x, y) = ak.ecc_point().unwrap();
                let point =
                    crate::jose::EcPublicKey::from_coordinates(x.try_into().unwrap(), y.try_into().unwrap()).unwrap();
                let attestation = statement_of(vector);
                let (message, signature) = (&attestation.attest.0, &attestation.signature.0);
                assert_eq!(statement::verify_signature(&point, message, signature), Ok(()), "{source}");
                let (attest, _) = TpmsAttest::unmarshal(message).unwrap();
                let TpmuAttest::Certify(certify) = attest.attested else { panic!("{source}") };
                assert_eq!(certify.name[..], subject.name(), "{source}");
                // The tool's fixed extraData answers nobody's challenge.
                let refused = statement::parse(&point, &extra(Purpose::CertifyIdentity), &attestation).err();
                assert_eq!(refused, Some(StatementError::ExtraData), "{source}");
            }
            _ => {}
        }
    }
    assert_eq!((quotes, certifications), (4, 1));
}

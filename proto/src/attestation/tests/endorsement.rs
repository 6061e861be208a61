//! Endorsement keys and their certificates: what makers do, what they must not, and what somebody would show in their place.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData as _,
};

use super::*;

/// P-256, AES-128 in CFB mode, no scheme, no KDF.
const L2_PARAMETERS: [u8; 12] = [0x00, 0x06, 0x00, 0x80, 0x00, 0x43, 0x00, 0x10, 0x00, 0x03, 0x00, 0x10];

/// `TPMT_PUBLIC` of an ECC key for this point.
fn ecc(name: u8, attributes: u32, policy: &[u8], parameters: &[u8], point: &[u8]) -> Vec<u8> {
    let (x, y) = point[1..].split_at((point.len() - 1) / 2);
    let head = [0x00, 0x23, 0x00, name];
    [&head[..], &attributes.to_be_bytes(), &sized(policy), parameters, &sized(x), &sized(y)].concat()
}

/// An EK by template L-2, with these attributes and this policy.
fn ek_public(attributes: u32, policy: &[u8], point: &[u8]) -> Vec<u8> {
    ecc(0x0b, attributes, policy, &L2_PARAMETERS, point)
}

/// `TPMT_PUBLIC` of an RSA key with a modulus of so many bytes.
fn rsa(name: u8, attributes: u32, policy: &[u8], aes: u16, bytes: u16) -> Vec<u8> {
    let head = [0x00, 0x01, 0x00, name];
    let [high, low] = aes.to_be_bytes();
    let parameters = [0x00, 0x06, high, low, 0x00, 0x43, 0x00, 0x10];
    let modulus = vec![0x81; usize::from(bytes)];
    let bits = (bytes * 8).to_be_bytes();
    [&head[..], &attributes.to_be_bytes(), &sized(policy), &parameters, &bits, &[0; 4], &sized(&modulus)].concat()
}

fn policy_a() -> Vec<u8> {
    hex::decode("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa").unwrap()
}

fn policy_b_sha256() -> Vec<u8> {
    hex::decode("ca3d0a99a2b93906f7a3342414efcfb3a385d44cd1fd459089d19b5071c0b7a0").unwrap()
}

fn policy_b_sha384() -> Vec<u8> {
    hex::decode("b26e7d28d11a50bc53d882bcf5fd3a1a074148bb35d3b4e4cb1c0ad9bde419cacb47ba09699646150f9fc000f3f80e12")
        .unwrap()
}

/// SEQUENCE, SET, OCTET STRING and the like, below 64 KiB.
fn tlv(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    let content = parts.concat();
    let length = u16::try_from(content.len()).unwrap();
    match content.len() {
        short @ 0..=0x7f => [&[tag, u8::try_from(short).unwrap()], &content[..]].concat(),
        _ => [&[tag, 0x82], &length.to_be_bytes()[..], &content].concat(),
    }
}

/// 2.23.133.2.`last` with a UTF8String.
fn attribute(last: u8, text: &str) -> Vec<u8> {
    tlv(0x30, &[tlv(0x06, &[vec![0x67, 0x81, 0x05, 0x02, last]]), tlv(0x0c, &[text.as_bytes().to_vec()])])
}

/// A SAN of one directory name with these attributes, all in one set, in the order given.
fn san(critical: bool, attributes: &[(u8, &str)]) -> CustomExtension {
    let attributes: Vec<_> = attributes.iter().map(|(last, text)| attribute(*last, text)).collect();
    let name = tlv(0xa4, &[tlv(0x30, &[tlv(0x31, &attributes)])]);
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 17], tlv(0x30, &[name]));
    extension.set_criticality(critical);
    extension
}

fn ek_usage() -> CustomExtension {
    CustomExtension::from_oid_content(&[2, 5, 29, 37], tlv(0x30, &[tlv(0x06, &[vec![0x67, 0x81, 0x05, 0x08, 0x01]])]))
}

const CHIP: [(u8, &str); 3] = [(1, "id:53544D20"), (2, "ST33"), (3, "id:00490004")];

struct Maker {
    root: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

fn maker_with(name: &str, constraints: BasicConstraints) -> Maker {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(constraints);
    params.distinguished_name.push(DnType::CommonName, name);
    let root = params.self_signed(&key).unwrap().der().to_vec();
    Maker { root, issuer: Issuer::new(params, key) }
}

fn maker() -> Maker {
    maker_with("maker", BasicConstraints::Unconstrained)
}

impl Maker {
    /// An EK certificate as the profile has it, for this key, after `change`.
    fn certify(&self, key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
        params.custom_extensions = vec![ek_usage(), san(true, &CHIP)];
        change(&mut params);
        params.signed_by(key, &self.issuer).unwrap().der().to_vec()
    }

    /// A CA below this one.
    fn below(&self, name: &str, constraints: BasicConstraints, change: impl FnOnce(&mut CertificateParams)) -> Maker {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(constraints);
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        let root = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Maker { root, issuer: Issuer::new(params, key) }
    }
}

fn roots(makers: &[&Maker]) -> EkRoots {
    EkRoots::new(makers.iter().map(|maker| maker.root.clone()).collect()).0
}

fn now() -> Timestamp {
    Timestamp::from_seconds(1_800_000_000)
}

struct Scene {
    ours: Maker,
    key: KeyPair,
    public: Vec<u8>,
    roots: EkRoots,
}

impl Scene {
    fn new() -> Self {
        let ours = maker();
        let key = KeyPair::generate().unwrap();
        let public = ek_public(0x0003_00b2, &policy_a(), key.der_bytes());
        let roots = roots(&[&ours]);
        Self { ours, key, public, roots }
    }

    fn assess(&self, certificate: Option<&[u8]>, now: Timestamp) -> AssessedEk {
        AssessedEk::assess(&self.public, certificate, &self.roots, now).unwrap()
    }

    fn error(&self, certificate: &[u8]) -> EkCertificateError {
        self.assess(Some(certificate), now()).certificate_error().cloned().expect("a refusal")
    }

    fn error_of(&self, change: impl FnOnce(&mut CertificateParams)) -> EkCertificateError {
        self.error(&self.ours.certify(&self.key, change))
    }
}

#[test]
fn a_certificate_as_makers_write_them_is_believed() {
    let scene = Scene::new();
    let good = scene.ours.certify(&scene.key, |_| {});
    let read = EkCertificate::parse(&good).unwrap();
    assert_eq!(read.subject(), "", "an empty subject, and the SAN critical");
    assert_eq!(read.tpm().version.as_deref(), Some("id:00490004"));
    assert_eq!(scene.assess(Some(&good), now()).certificate_error(), None);
    assert_eq!(scene.assess(Some(&good), now()).tier(false), TrustTier::EkChain);
    for padding in [0xff, 0x00] {
        let padded = [good.as_slice(), &[padding; 400]].concat();
        assert_eq!(scene.assess(Some(&padded), now()).certificate_error(), None, "as NV holds it");
        let read = EkCertificate::parse(&padded).unwrap();
        assert_eq!((read.length(), read.padding()), (good.len(), 400));
    }
    // A SAN that is not critical, no version, the set in another order: all seen.
    for attributes in [&CHIP[..2], &[CHIP[2], CHIP[1], CHIP[0]]] {
        let odd = scene.ours.certify(&scene.key, |params| {
            params.custom_extensions = vec![ek_usage(), san(false, attributes)];
        });
        assert_eq!(scene.assess(Some(&odd), now()).certificate_error(), None);
    }
    // The EK hash is that of the certificate's own key.
    let spki = scene.key.subject_public_key_info();
    assert_eq!(scene.assess(None, now()).public().hash(), sha256(&[&spki]));
    assert_eq!(read.hash(), Some(sha256(&[&spki])));
}

#[test]
fn a_certificate_that_says_nothing_says_why() {
    let scene = Scene::new();
    let good = scene.ours.certify(&scene.key, |_| {});
    assert_eq!(scene.error(&[good.as_slice(), b"x"].concat()), EkCertificateError::Malformed, "junk behind it");
    assert_eq!(scene.error(&good[..good.len() - 1]), EkCertificateError::Malformed, "cut off");
    assert_eq!(scene.error(&scene.ours.certify(&KeyPair::generate().unwrap(), |_| {})), EkCertificateError::OtherKey);
    // Missing extensions.
    assert_eq!(scene.error_of(|params| params.key_usages = Vec::new()), EkCertificateError::NoKeyUsage);
    assert_eq!(scene.error_of(|params| params.custom_extensions = vec![san(true, &CHIP)]), EkCertificateError::Usage);
    assert_eq!(
        scene.error_of(|params| params.custom_extensions = vec![ek_usage()]),
        EkCertificateError::Unnamed("manufacturer")
    );
    assert_eq!(
        scene.error_of(|params| params.custom_extensions = vec![ek_usage(), san(true, &CHIP[..1])]),
        EkCertificateError::Unnamed("model")
    );
    // A key that signs.
    assert!(matches!(
        scene.error_of(|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]),
        EkCertificateError::KeyUsage { needed: "Key Agreement", .. }
    ));
    // The purpose of another kind of key: 2.23.133.8.3, an AK.
    let other = tlv(0x30, &[tlv(0x06, &[vec![0x67, 0x81, 0x05, 0x08, 0x03]])]);
    assert_eq!(
        scene.error_of(|params| {
            let other = CustomExtension::from_oid_content(&[2, 5, 29, 37], other);
            params.custom_extensions = vec![other, san(true, &CHIP)];
        }),
        EkCertificateError::Usage
    );
    // A CA's, which could make EKs of its own.
    assert_eq!(
        scene.error_of(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        EkCertificateError::Authority
    );
    // Twice the same extension: two readers, two certificates.
    assert_eq!(
        scene.error_of(|params| params.custom_extensions.push(san(true, &CHIP))),
        EkCertificateError::Extensions
    );
    // One that does not read, and would else be as if it were not there.
    assert_eq!(
        scene.error_of(|params| {
            params.key_usages = Vec::new();
            params.custom_extensions.push(CustomExtension::from_oid_content(&[2, 5, 29, 15], vec![0x30, 0x00]));
        }),
        EkCertificateError::Extensions
    );
    let mut unknown = CustomExtension::from_oid_content(&[2, 23, 133, 99], vec![0x05, 0x00]);
    unknown.set_criticality(true);
    assert_eq!(
        scene.error_of(|params| params.custom_extensions.push(unknown)),
        EkCertificateError::Chain(ChainError::Critical)
    );
    assert_eq!(scene.assess(None, now()).certificate_error(), Some(&EkCertificateError::Missing));
    let (unknown, registered) = (scene.assess(None, now()).tier(false), scene.assess(None, now()).tier(true));
    assert_eq!((unknown, registered), (TrustTier::EkUnknown, TrustTier::EkRegistered));
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let scene = Scene::new();
    let bad = scene.ours.certify(&scene.key, |params| {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.custom_extensions = Vec::new();
    });
    let judged = EkCertificate::parse(&bad).unwrap().judge(&EkRoots::default(), now());
    assert_eq!(judged.faults.len(), 5, "{:?}", judged.faults);
    assert_eq!(judged.tier, TrustTier::EkUnknown);
}

#[test]
fn a_virtual_tpm_is_one_however_good_its_chain() {
    let scene = Scene::new();
    for (maker, model) in [("id:00001014", "x"), ("id:474F4F47", "x"), ("id:4d534654", "x"), ("id:49465800", "swtpm")] {
        let certificate = scene.ours.certify(&scene.key, |params| {
            params.custom_extensions = vec![ek_usage(), san(true, &[(1, maker), (2, model)])];
        });
        assert_eq!(scene.assess(Some(&certificate), now()).tier(false), TrustTier::Virtual, "{maker} {model}");
        assert_eq!(scene.assess(Some(&certificate), now()).tier(true), TrustTier::Virtual, "registered as well");
    }
}

#[test]
fn a_chain_leads_to_a_root_or_says_where_it_breaks() {
    let scene = Scene::new();
    let chain =
        |certificate: &[u8], roots: &EkRoots| EkCertificate::parse(certificate).unwrap().judge(roots, now()).walk;
    let good = scene.ours.certify(&scene.key, |_| {});
    // Another maker of that name, and of another.
    let (namesake, stranger) = (maker(), maker_with("stranger", BasicConstraints::Unconstrained));
    assert_eq!(chain(&good, &roots(&[&namesake])).end, Err(ChainError::Signature));
    assert_eq!(chain(&good, &roots(&[&stranger])).end, Err(ChainError::UnknownIssuer("CN=maker".to_owned())));
    // Of two with one name, the one that signed it, in whatever order.
    for both in [[&namesake, &scene.ours], [&scene.ours, &namesake]] {
        assert_eq!(chain(&good, &roots(&both)).end, Ok(()));
    }
    // Signed in a way that no TPM maker does, and that is not accepted.
    let edwards = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "edwards");
    let root = params.self_signed(&edwards).unwrap().der().to_vec();
    let edwards = Maker { root, issuer: Issuer::new(params, edwards) };
    let end = chain(&edwards.certify(&scene.key, |_| {}), &roots(&[&edwards])).end;
    assert_eq!(end, Err(ChainError::SignatureKind("algorithm 1.3.101.112".to_owned())));
    // Time: the leaf's, and the CA's.
    let late = Timestamp::from_seconds(100_000_000_000);
    assert!(matches!(
        scene.assess(Some(&good), late).certificate_error(),
        Some(EkCertificateError::Chain(ChainError::Validity { .. }))
    ));
    let ended = scene.ours.below("ended", BasicConstraints::Unconstrained, |params| {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    let walk = chain(&ended.certify(&scene.key, |_| {}), &roots(&[&scene.ours, &ended]));
    assert!(matches!(walk.end, Err(ChainError::Validity { .. })), "{walk:?}");
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    params.distinguished_name.push(DnType::CommonName, "ended root");
    let root = params.self_signed(&key).unwrap().der().to_vec();
    let ended = Maker { root, issuer: Issuer::new(params, key) };
    let walk = chain(&ended.certify(&scene.key, |_| {}), &roots(&[&ended]));
    assert!(matches!(walk.end, Err(ChainError::Validity { .. })), "{walk:?}");
    // Makers mark the policies of their CAs as critical.
    let policies = tlv(0x30, &[tlv(0x30, &[tlv(0x06, &[vec![0x55, 0x1d, 0x20, 0x00]])])]);
    let mut policies = CustomExtension::from_oid_content(&[2, 5, 29, 32], policies);
    policies.set_criticality(true);
    let usual = scene.ours.below("usual", BasicConstraints::Constrained(0), |params| {
        params.custom_extensions.push(policies);
    });
    assert_eq!(chain(&usual.certify(&scene.key, |_| {}), &roots(&[&scene.ours, &usual])).end, Ok(()));
    // An intermediate leads nowhere without its root, and to it with it.
    let middle = scene.ours.below("middle", BasicConstraints::Unconstrained, |_| {});
    let leaf = middle.certify(&scene.key, |_| {});
    let walk = chain(&leaf, &roots(&[&middle]));
    assert_eq!(walk.end, Err(ChainError::UnknownIssuer("CN=maker".to_owned())));
    assert_eq!(walk.links.len(), 1, "as far as it goes");
    let walk = chain(&leaf, &roots(&[&scene.ours, &middle]));
    assert_eq!(walk.end, Ok(()));
    assert_eq!(walk.links.iter().map(|link| link.subject.as_str()).collect::<Vec<_>>(), ["CN=middle", "CN=maker"]);
}

#[test]
fn a_ca_may_do_what_its_certificate_allows() {
    let scene = Scene::new();
    let end =
        |leaf: &[u8], makers: &[&Maker]| EkCertificate::parse(leaf).unwrap().judge(&roots(makers), now()).walk.end;
    let leaf_of = |maker: &Maker| maker.certify(&scene.key, |_| {});
    // No CA at all: an EK's own certificate that signs another.
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "no CA");
    let plain = Maker {
        root: params.signed_by(&key, &scene.ours.issuer).unwrap().der().to_vec(),
        issuer: Issuer::new(params, key),
    };
    assert_eq!(end(&leaf_of(&plain), &[&scene.ours, &plain]), Err(ChainError::NotAuthority));
    // And one that says itself that it is none.
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::ExplicitNoCa;
    params.distinguished_name.push(DnType::CommonName, "explicitly none");
    let explicit = Maker {
        root: params.signed_by(&key, &scene.ours.issuer).unwrap().der().to_vec(),
        issuer: Issuer::new(params, key),
    };
    assert_eq!(end(&leaf_of(&explicit), &[&scene.ours, &explicit]), Err(ChainError::NotAuthority));
    // A CA whose key may not sign certificates.
    let crl = scene.ours.below("crl", BasicConstraints::Unconstrained, |params| {
        params.key_usages = vec![KeyUsagePurpose::CrlSign];
    });
    assert_eq!(end(&leaf_of(&crl), &[&scene.ours, &crl]), Err(ChainError::NotAuthority));
    // One that lets no CA stand below it, and has one.
    let last = scene.ours.below("last", BasicConstraints::Constrained(0), |_| {});
    assert_eq!(end(&leaf_of(&last), &[&scene.ours, &last]), Ok(()));
    let beyond = last.below("beyond", BasicConstraints::Unconstrained, |_| {});
    assert_eq!(end(&leaf_of(&beyond), &[&scene.ours, &last, &beyond]), Err(ChainError::PathLength));
    // Five certificates are a chain, six are none.
    let mut makers = vec![maker()];
    for depth in 0..4 {
        let next = makers[depth].below(&format!("depth {depth}"), BasicConstraints::Unconstrained, |_| {});
        makers.push(next);
    }
    let all: Vec<&Maker> = makers.iter().collect();
    assert_eq!(end(&leaf_of(&makers[3]), &all), Ok(()));
    assert_eq!(end(&leaf_of(&makers[4]), &all), Err(ChainError::TooLong));
}

#[test]
fn of_one_key_in_two_certificates_the_one_that_leads_to_a_root_counts() {
    // A root that a second, unknown one has cross-signed: one name, one key, two certificates.
    let (ours, elsewhere) = (maker(), maker_with("elsewhere", BasicConstraints::Unconstrained));
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "maker");
    let crossed = params.signed_by(ours.issuer.key(), &elsewhere.issuer).unwrap().der().to_vec();
    let leaf = EkCertificate::parse(&ours.certify(&KeyPair::generate().unwrap(), |_| {})).unwrap();
    for both in [[&crossed, &ours.root], [&ours.root, &crossed]] {
        let (roots, bad) = EkRoots::new(both.into_iter().cloned().collect());
        assert_eq!(bad, 0);
        assert_eq!(leaf.judge(&roots, now()).walk.end, Ok(()));
    }
}

#[test]
fn a_certificate_stands_once_among_the_roots() {
    let ours = maker();
    let (roots, bad) = EkRoots::new(vec![ours.root.clone(), b"junk".to_vec(), ours.root]);
    assert_eq!((roots.len(), bad), (1, 1));
}

#[test]
fn each_template_is_taken_exactly() {
    let p256 = KeyPair::generate().unwrap();
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let p521 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap();
    let h3 = [0x00, 0x06, 0x01, 0x00, 0x00, 0x43, 0x00, 0x10, 0x00, 0x04, 0x00, 0x10];
    let (low, high, a, b, b384) = (0x0003_00b2, 0x0003_00f2, policy_a(), policy_b_sha256(), policy_b_sha384());
    for (template, public) in [
        (EkTemplate::L1, rsa(0x0b, low, &a, 128, 256)),
        (EkTemplate::L2, ecc(0x0b, low, &a, &L2_PARAMETERS, p256.der_bytes())),
        (EkTemplate::H1, rsa(0x0b, high, &b, 128, 256)),
        (EkTemplate::H2, ecc(0x0b, high, &b, &L2_PARAMETERS, p256.der_bytes())),
        (EkTemplate::H3, ecc(0x0c, high, &b384, &h3, p384.der_bytes())),
        (EkTemplate::H6, rsa(0x0c, high, &b384, 256, 384)),
        (EkTemplate::H7, rsa(0x0c, high, &b384, 256, 512)),
    ] {
        let read = EkPublic::parse(&public).unwrap();
        assert_eq!(read.template(), template);
        assert!(EkTemplate::for_key(read.key()).any(|fits| fits == template), "{template} from the key alone");
    }
    let refused = [
        (rsa(0x0b, high, &a, 128, 256), EkError::Attributes(high), "PolicyA and userWithAuth"),
        (rsa(0x0b, low, &b, 128, 256), EkError::Attributes(low), "PolicyB without userWithAuth"),
        (rsa(0x0b, low, &a, 256, 256), EkError::Parameters, "AES of another size"),
        (rsa(0x0b, low, &a, 128, 384), EkError::Algorithm, "RSA 3072 by the low range"),
        (rsa(0x0b, low, &a, 128, 128), EkError::Algorithm, "RSA 1024"),
        (rsa(0x0c, high, &b384, 128, 384), EkError::Parameters, "RSA 3072 with AES-128"),
        (ecc(0x0b, high, &b, &h3, p384.der_bytes()), EkError::Algorithm, "P-384 named with SHA-256"),
    ];
    for (public, error, why) in refused {
        assert_eq!(EkPublic::parse(&public), Err(error), "{why}");
    }
    // H-4: named with SHA-512, which is taken nowhere here.
    let h4 = [0x00, 0x06, 0x01, 0x00, 0x00, 0x43, 0x00, 0x10, 0x00, 0x05, 0x00, 0x10];
    let public = ecc(0x0d, high, &[0; 64], &h4, p521.der_bytes());
    assert!(matches!(EkPublic::parse(&public), Err(EkError::Public(PublicError::NameAlgorithm))));
}

#[test]
fn a_key_that_is_no_ek_is_refused() {
    let key = KeyPair::generate().unwrap();
    let point = key.der_bytes().to_vec();
    assert!(EkPublic::parse(&ek_public(0x0003_00b2, &policy_a(), &point)).is_ok());
    // Signing, unrestricted, not fixed to its TPM, imported, with an attribute more.
    for attributes in [0x0007_00b2, 0x0002_00b2, 0x0003_00b0, 0x0003_0092, 0x0003_04b2] {
        assert!(
            matches!(EkPublic::parse(&ek_public(attributes, &policy_a(), &point)), Err(EkError::Attributes(_))),
            "{attributes:#x}"
        );
    }
    assert_eq!(EkPublic::parse(&ek_public(0x0003_00b2, &[], &point)), Err(EkError::Policy));
    assert!(
        matches!(EkPublic::parse(&ek_public(0x0003_0032, &policy_a(), &point)), Err(EkError::Attributes(_))),
        "PolicyA without adminWithPolicy"
    );
    // Another mode than CFB, and a signing scheme.
    let with = |parameters: [u8; 12]| ecc(0x0b, 0x0003_00b2, &policy_a(), &parameters, &point);
    let mut ctr = L2_PARAMETERS;
    ctr[5] = 0x40;
    assert_eq!(EkPublic::parse(&with(ctr)), Err(EkError::Parameters));
    let (aes, p256, sha256) = ([0x00, 0x06, 0x00, 0x80, 0x00, 0x43], [0x00, 0x03], [0x00, 0x0b]);
    let ecdsa = [&aes[..], &[0x00, 0x18], &sha256, &p256, &[0x00, 0x10]].concat();
    let kdf = [&aes[..], &[0x00, 0x10], &p256, &[0x00, 0x20], &sha256].concat();
    for parameters in [ecdsa, kdf] {
        let public = ecc(0x0b, 0x0003_00b2, &policy_a(), &parameters, &point);
        assert_eq!(EkPublic::parse(&public), Err(EkError::Parameters));
    }
    let oaep = [&[0x00, 0x17][..], &sha256].concat();
    let mut public = rsa(0x0b, 0x0003_00b2, &policy_a(), 128, 256);
    let scheme = 4 + 4 + 34 + 6;
    assert_eq!(public[scheme..scheme + 2], [0x00, 0x10]);
    public.splice(scheme..scheme + 2, oaep);
    assert_eq!(EkPublic::parse(&public), Err(EkError::Parameters));
}

/// DER sorts the members of a SET OF (X.690 section 11.6); some makers do not, in the names of their CAs as in those of their TPMs. Whoever
/// sorted such a name before comparing or verifying would not find its issuer, or verify another certificate than the one that was signed.
#[test]
fn names_whose_sets_are_in_the_wrong_order_are_read_as_they_are() {
    use rcgen::SigningKey as _;
    let utf8 =
        |oid: &[u8], text: &str| tlv(0x30, &[tlv(0x06, &[oid.to_vec()]), tlv(0x0c, &[text.as_bytes().to_vec()])]);
    let (country, organization, common) = ([0x55, 4, 6], [0x55, 4, 10], [0x55, 4, 3]);
    let members = [utf8(&country, "FR"), utf8(&organization, "a longer one"), utf8(&common, "maker")];
    let named = |order: [usize; 3]| tlv(0x30, &[tlv(0x31, &order.map(|at| members[at].clone()))]);
    let mut sorted = [0, 1, 2];
    sorted.sort_by_key(|at| members[*at].clone());
    let wrong = named([sorted[2], sorted[0], sorted[1]]);
    let ecdsa = tlv(0x30, &[tlv(0x06, &[vec![0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]])]);
    let time = |text: &str| tlv(0x17, &[text.as_bytes().to_vec()]);
    let validity = tlv(0x30, &[time("200101000000Z"), time("400101000000Z")]);
    let extension = |oid: &[u8], critical: bool, content: Vec<u8>| {
        let flag = if critical { tlv(0x01, &[vec![0xff]]) } else { Vec::new() };
        tlv(0x30, &[tlv(0x06, &[oid.to_vec()]), flag, tlv(0x04, &[content])])
    };
    let certificate = |issuer: &[u8], subject: &[u8], key: &KeyPair, signer: &KeyPair, extensions: &[Vec<u8>]| {
        let extensions = tlv(0xa3, &[tlv(0x30, extensions)]);
        let tbs = tlv(
            0x30,
            &[
                tlv(0xa0, &[vec![2, 1, 2]]),
                vec![2, 1, 1],
                ecdsa.clone(),
                issuer.to_vec(),
                validity.clone(),
                subject.to_vec(),
                key.subject_public_key_info(),
                extensions,
            ],
        );
        let signature = tlv(0x03, &[vec![0], signer.sign(&tbs).unwrap()]);
        tlv(0x30, &[tbs, ecdsa.clone(), signature])
    };
    let (authority, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let is_ca = [extension(&[0x55, 0x1d, 0x13], true, tlv(0x30, &[tlv(0x01, &[vec![0xff]])]))];
    let root = certificate(&wrong, &wrong, &authority, &authority, &is_ca);
    // Its SAN is in the wrong order as well: the shortest member is the last.
    let chip = [attribute(3, "id:00490004"), attribute(1, "id:53544D20"), attribute(2, "ST33")];
    let directory = tlv(0x30, &[tlv(0xa4, &[tlv(0x30, &[tlv(0x31, &chip)])])]);
    let of_ek = |issuer: &[u8]| {
        let extensions = [
            extension(&[0x55, 0x1d, 0x0f], true, vec![0x03, 0x02, 0x03, 0x08]),
            extension(&[0x55, 0x1d, 0x25], false, tlv(0x30, &[tlv(0x06, &[vec![0x67, 0x81, 0x05, 0x08, 0x01]])])),
            extension(&[0x55, 0x1d, 0x11], true, directory.clone()),
        ];
        certificate(issuer, &tlv(0x30, &[]), &key, &authority, &extensions)
    };
    let roots = EkRoots::new(vec![root.clone()]).0;
    assert_eq!(roots.len(), 1);
    let read = EkCertificate::parse(&of_ek(&wrong)).unwrap();
    assert_eq!(read.tpm().manufacturer.as_deref(), Some("id:53544D20"));
    assert_eq!(read.tpm().model.as_deref(), Some("ST33"));
    assert_eq!(read.tpm().version.as_deref(), Some("id:00490004"));
    let judged = read.judge(&roots, now());
    assert_eq!((judged.faults, judged.tier), (Vec::new(), TrustTier::EkChain));
    // The same members in order are another name, and so another issuer.
    let other = EkCertificate::parse(&of_ek(&named(sorted))).unwrap().judge(&roots, now());
    assert!(matches!(other.walk.end, Err(ChainError::UnknownIssuer(_))), "{:?}", other.walk.end);
}

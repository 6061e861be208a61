//! Endorsement keys as TPMs really have them, each kind; tpm2-tools and our own programs on both sides; and what `ek check` says of certificates.

use daypass_proto::{
    attestation::{EkPublic, EkTemplate, TpmPublic},
    encoding::{Bytes, sha256},
    enrolment::{Attestation, Purpose},
};
use daypass_tests::{
    Chip, Clock, Failure, Issuer, Machine, Maker, Place, Programs, Ran, Story, Who,
    by_hand::{ByHand, EkKind, begun, complete},
    ensure,
};
use serde_json::Value;

use crate::software::PROJECT;

const KINDS: [(EkKind, EkTemplate); 3] =
    [(EkKind::Rsa, EkTemplate::L1), (EkKind::P256, EkTemplate::L2), (EkKind::P384, EkTemplate::H3)];

/// An issuer that trusts the maker of a TPM with an EK of each kind.
struct Scene {
    issuer: Issuer,
    maker: Maker,
    place: Place,
}

impl Scene {
    fn new() -> Result<(Self, Chip), Failure> {
        let place = Place::new()?;
        let maker = Maker::new(&place, "maker")?;
        let mut chip = maker.make(&place.folder("chip", Who::Agent, 0o700)?)?;
        chip.start()?;
        maker.add_p256_ek(&chip)?;
        let mut issuer = Issuer::init(&place, "issuer", &Programs::find()?, None, &[&maker])?;
        issuer.write_project("apollo", PROJECT)?;
        issuer.serve()?;
        Ok((Self { issuer, maker, place }, chip))
    }

    fn check(&self, name: &str, content: &[u8], more: &[&str]) -> Result<Ran, Failure> {
        let file = self.issuer.put(name, content)?;
        let mut act = self.issuer.act(["ek", "check"]).arg(file);
        act = act.args(more);
        act.run()
    }

    fn ek_hash(&self, certificate: &[u8]) -> Result<String, Failure> {
        let ran = self.check("for-hash.der", certificate, &["--json"])?.succeeded()?;
        match ran.json()?.pointer("/certificates/0/ek_hash").and_then(Value::as_str) {
            Some(hash) => Ok(hash.to_owned()),
            None => Err(ran.surprise("an EK hash")),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Our credential is opened by `tpm2_activatecredential`, the tools' quote is believed, names and EK hashes are the tools'.
#[test]
fn what_tpm2_tools_do_is_believed_for_each_kind_of_ek() -> Story {
    let (scene, chip) = Scene::new()?;
    for (kind, template) in KINDS {
        let hand = ByHand::new(&scene.place, &format!("{kind:?}"), &chip)?;
        let ek = hand.endorsement_key(kind)?;
        // Names (with SHA-256 and SHA-384), template and hash.
        let parsed = EkPublic::parse(&ek.public.0).map_err(|error| Failure::unexpected("an EK", error))?;
        ensure(parsed.template() == template, template.to_string(), parsed.template())?;
        let own_name = |public: &[u8]| {
            TpmPublic::parse(public).map(|public| public.name()).map_err(|error| Failure::unexpected("a key", error))
        };
        hand.run_tool(&format!("tpm2_readpublic -c {} -f der -o ek.der -n ek.name", kind.handle()))?;
        ensure(
            own_name(&ek.public.0)? == hand.file("ek.name")?,
            "the name of tpm2_readpublic",
            hex(&hand.file("ek.name")?),
        )?;
        ensure(parsed.hash() == sha256(&[&hand.file("ek.der")?]), "the hash of its DER", hex(&parsed.hash()))?;
        hand.load_for_tools(&hand.attestation, "ak")?;
        hand.run_tool("tpm2_readpublic -c ak.ctx -n ak.name")?;
        ensure(own_name(hand.attestation.public())? == hand.file("ak.name")?, "the AK's name", "another")?;

        let code = scene.issuer.invite(&format!("alice-{template}"), "apollo", "developer", &[])?;
        let begun = begun(&scene.issuer, &hand.begin_request(&code, vec![ek])?)?;
        let secret = hand.activate(kind, &begun.challenge)?;
        let mut request = hand.complete_request(&begun, secret)?;
        let pcrs: Vec<String> = begun.challenge.pcrs.iter().map(u8::to_string).collect();
        let extra = hex(&begun.enrolment_extra(Purpose::Quote));
        hand.load_for_tools(&hand.attestation, "ak")?;
        hand.run_tool(&format!(
            "tpm2_quote -c ak.ctx -l sha256:{} -q {extra} -g sha256 -m quote.attest -s quote.signature",
            pcrs.join(",")
        ))?;
        request.quote =
            Attestation { attest: Bytes(hand.file("quote.attest")?), signature: Bytes(hand.file("quote.signature")?) };
        complete(&scene.issuer, &request)?.status(200)?;
    }
    Ok(())
}

/// `tpm2_certify` sends an `extraData` of its own: for that, and for nothing else, its certification is refused.
#[test]
fn a_certification_by_tpm2_tools_answers_no_challenge() -> Story {
    let (scene, chip) = Scene::new()?;
    let hand = ByHand::new(&scene.place, "hand", &chip)?;
    let code = scene.issuer.invite("alice", "apollo", "developer", &[])?;
    let mut made = None;
    let answer = hand.answer(&scene.issuer, &code, |_, request| {
        hand.load_for_tools(&hand.attestation, "ak")?;
        hand.load_for_tools(&hand.identity, "identity")?;
        hand.run_tool("tpm2_certify -c identity.ctx -C ak.ctx -g sha256 -o certify.attest -s certify.signature")?;
        request.identity_certification = Attestation {
            attest: Bytes(hand.file("certify.attest")?),
            signature: Bytes(hand.file("certify.signature")?),
        };
        made = Some(request.identity_certification.attest.0.clone());
        Ok(())
    })?;
    answer.status(403)?.says(&["certification of the identity key answers another challenge"])?;
    // It is all in order otherwise: with the same bytes as `extraData`, made by hand, it differs in nothing but clock and reset counts.
    let ours = hand.attestation.certify(&hand.identity, &[0x00, 0xff, 0x55, 0xaa])?;
    let made = made.unwrap_or_default();
    let names = |attest: &[u8]| attest.get(attest.len().saturating_sub(72)..).map(<[u8]>::to_vec);
    ensure(made.get(..48) == ours.attest.0.get(..48), "magic, kind, signer and extraData of tpm2_certify", hex(&made))?;
    ensure(names(&made) == names(&ours.attest.0), "the names of tpm2_certify", hex(&made))
}

/// Our agent answers the issuer's challenge for each kind of EK.
#[test]
fn the_agent_enrols_by_each_kind_of_ek() -> Story {
    let (scene, chip) = Scene::new()?;
    drop(chip);
    let mut laptop = Machine::new(&scene.place, "laptop", Who::Alice, &scene.maker, None)?;
    laptop.chip.start()?;
    scene.maker.add_p256_ek(&laptop.chip)?;
    let certificates = {
        let hand = ByHand::new(&scene.place, "laptop", &laptop.chip)?;
        let all: Result<Vec<_>, _> = KINDS.iter().map(|(kind, _)| hand.endorsement_key(*kind)).collect();
        all?
    };
    laptop.start_agent()?;
    for ((kind, template), ek) in KINDS.into_iter().zip(certificates) {
        let hash = scene.ek_hash(&ek.certificate.unwrap_or(Bytes(Vec::new())).0)?;
        // Named in the invitation, this EK is the one that the credential is made for, whatever others the TPM has.
        let code = scene.issuer.invite(&format!("alice-{template}"), "apollo", "developer", &["--ek-hash", &hash])?;
        laptop.enrol(&code)?.says(&["approved"])?;
        let device = scene.issuer.device_of(&format!("alice-{template}"))?;
        let shown = scene.issuer.run(["device", "show", &device, "--json"])?;
        ensure(shown.json()?.get("ek_hash").and_then(Value::as_str) == Some(&hash), format!("{kind:?}"), &shown)?;
        laptop.daypass(["leave", "--yes"]).run()?.succeeded()?;
    }
    Ok(())
}

#[test]
fn ek_check_explains_a_certificate_its_chain_and_its_tier() -> Story {
    let (scene, chip) = Scene::new()?;
    let hand = ByHand::new(&scene.place, "hand", &chip)?;
    for (kind, template) in KINDS {
        let ek = hand.endorsement_key(kind)?;
        let certificate = ek.certificate.unwrap_or(Bytes(Vec::new())).0;
        let public = EkPublic::parse(&ek.public.0).map_err(|error| Failure::unexpected("an EK", error))?;
        // DER as it is, and with the padding of NV.
        for (padding, word) in [(0, "ek hash"), (300, "300 bytes behind it")] {
            let padded = [&certificate[..], &vec![0xff; padding]].concat();
            scene.check("ek.der", &padded, &[])?.succeeded()?.says(&[
                "1 of 1",
                "id:00001014",
                "swtpm",
                &template.to_string(),
                &hex(&public.hash()),
                "endorsement key (2.23.133.8.1)",
                "1. signed (",
                "2. signed (",
                "configured root",
                "trust tier      virtual",
                "whoever runs its host",
                word,
            ])?;
        }
        let json = scene.check("ek.der", &certificate, &["--json"])?.succeeded()?.json()?;
        let one = json.pointer("/certificates/0").cloned().unwrap_or_default();
        let is = |pointer: &str, value: Value| {
            let found = one.pointer(pointer).cloned().unwrap_or_default();
            ensure(found == value, format!("`{pointer}` to be {value}"), &one)
        };
        is("/trust_tier", "virtual".into())?;
        is("/verdict", "believed".into())?;
        is("/chain/ends_at_root", true.into())?;
        is("/faults", Value::Array(Vec::new()))?;
    }
    Ok(())
}

#[test]
fn ek_check_says_why_a_certificate_would_be_refused() -> Story {
    let (scene, chip) = Scene::new()?;
    let hand = ByHand::new(&scene.place, "hand", &chip)?;
    let certificate = hand.endorsement_key(EkKind::Rsa)?.certificate.unwrap_or(Bytes(Vec::new())).0;
    let pem = |der: &[u8], name: &str| -> Result<String, Failure> {
        hand.put(name, der)?;
        let words = format!("openssl x509 -inform der -in {name}");
        let mut words = words.split(' ');
        let act = daypass_tests::Act::new(Programs::system(words.next().unwrap_or_default())?, Who::Agent);
        let folder = scene.place.path().join("hand-by-hand");
        Ok(act.args(words).within(folder).run()?.succeeded()?.text())
    };
    let ek = pem(&certificate, "one.der")?;
    let read = |path: &std::path::Path| {
        std::fs::read_to_string(path).map_err(Failure::machine(format!("read `{}`", path.display())))
    };
    let [ca, root] = scene.maker.roots();
    let (ca, root) = (read(&ca)?, read(&root)?);
    // Several in one file: each by itself, CAs described and not judged.
    scene.check("chain.pem", format!("{ek}{ca}{root}").as_bytes(), &[])?.succeeded()?.says(&[
        "1 of 3",
        "3 of 3",
        "not an EK",
    ])?;
    scene
        .check("cas.pem", format!("{ca}{root}").as_bytes(), &[])?
        .refused(&["no EK certificate", "ek_roots/"])?
        .code(3)?;

    // Another issuer, that trusts nobody yet.
    let other = Issuer::init(&scene.place, "other", &Programs::find()?, None, &[])?;
    let check = |name: &str, content: &[u8]| -> Result<Ran, Failure> {
        let file = other.put(name, content)?;
        other.act(["ek", "check"]).arg(file).run()
    };
    check("ek.pem", ek.as_bytes())?
        .refused(&["not issued by any configured root", "`ek_roots/` is empty", "ek_unknown", "refused", "--ek-hash"])?
        .code(3)?;
    check("chain.pem", format!("{ek}{ca}").as_bytes())?
        .refused(&["certificate 2 of this file has that name", "counts when it is in `ek_roots/`"])?
        .code(3)?;
    // The intermediate alone: one step, and where it breaks.
    other.put("ek_roots/ca.pem", &ca)?;
    check("ek.pem", ek.as_bytes())?
        .refused(&["1. signed (", "breaks: ", "not issued by any configured root"])?
        .code(3)?;
    other.put("ek_roots/root.pem", &root)?;
    check("ek.pem", ek.as_bytes())?.succeeded()?.says(&["2. signed (", "configured root"])?;
    std::fs::remove_file(other.folder().join("ek_roots/root.pem")).map_err(Failure::machine("remove a root"))?;
    // An issuer that reviews unknown EKs refuses none of them for its chain, and says so.
    other.configure("accept_unknown_ek = false", "accept_unknown_ek = true")?;
    check("ek.pem", ek.as_bytes())?.succeeded()?.says(&["ek_unknown", "accept_unknown_ek"])?;

    // What does not read: which certificate, where, and what to do.
    let spoilt = format!("{ek}{}", ek.replacen("MI", "AA", 1));
    let line =
        format!("certificate 2 (PEM, from line {}) does not read: the certificate, at byte 0", ek.lines().count() + 1);
    let cut = [&certificate[..], certificate.get(..400).unwrap_or_default()].concat();
    let byte =
        format!("certificate 2 (DER, from byte {}) does not read: the certificate, at byte 0", certificate.len());
    for (name, content, words) in [
        ("text", &b"hello"[..], "it has neither PEM"),
        ("empty", b"", "it is empty"),
        ("spoilt", spoilt.as_bytes(), &line),
        ("cut", &cut, &byte),
    ] {
        let refused = check(name, content)?;
        refused.refused(&["is not a file of certificates in PEM or DER", words, "tpm2_getekcertificate"])?.code(3)?;
    }
    check("large", &vec![0x30; 1024 * 1024 + 1])?.refused(&["it is larger than 1048576 bytes"])?.code(3)?;
    // Standard input, by name alone.
    let piped = |content: &[u8]| other.act(["ek", "check", "-"]).input(content).run();
    piped(ek.as_bytes())?.succeeded()?.says(&["1 of 1"])?;
    piped(&vec![0x30; 1024 * 1024 + 1])?.refused(&["it is larger than 1048576 bytes"])?.code(3)?;
    other.act(["ek", "check", "/nonexistent"]).run()?.refused(&["could not read `/nonexistent`"])?.code(3)?;
    Ok(())
}

#[test]
fn published_certificates_are_explained() -> Story {
    let beside = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    let folder = std::env::var_os("DAYPASS_VECTORS").map_or(beside, Into::into).join("ekcerts");
    if !folder.is_dir() {
        daypass_tests::say(&format!(
            "skipped: published_certificates_are_explained needs the published vectors in `{}`",
            folder.display()
        ));
        return Ok(());
    }
    let read = |name: &str| std::fs::read(folder.join(name)).map_err(Failure::machine(format!("read `{name}`")));
    let place = Place::new()?;
    // One of the certificates ends in 2028: this story is told in June 2026.
    let clock = Clock::new(place.path(), "clock")?;
    clock.shift(1_780_272_000 - clock.now())?;
    let issuer = Issuer::init(&place, "issuer", &Programs::find()?, Some(&clock), &[])?;
    for name in ["STM_RSA_05I.pem", "STM_RSA_RT.pem", "GS_TPM_RT.pem"] {
        issuer.put(&format!("ek_roots/{name}"), read(name)?)?;
    }
    let check = |name: &str| -> Result<Ran, Failure> {
        let file = issuer.put(name, read(name)?)?;
        issuer.act(["ek", "check"]).arg(file).run()
    };
    check("st_sha256_with_rsa_der.bin")?.succeeded()?.says(&[
        "(empty)",
        "431 bytes behind it",
        "id:53544D20 (STM)",
        "ST33HTPHAHB4",
        "id:00490004",
        "RSA 2048, of L-1",
        "3. signed (RSA and SHA-256) by `OU=GlobalSign",
        "trust tier      ek_chain",
        "believed",
    ])?;
    clock.shift(3 * 366 * 86_400)?;
    let late = ["valid from 2018-07-11T00:00:00Z to 2028-07-11T00:00:00Z, and it is 2029-", "ek_unknown"];
    check("st_sha256_with_rsa_der.bin")?.refused(&late)?.code(3)?;
    check("pca_tpm_rsa_sign_cert.pem")?
        .refused(&["usage `Digital Signature`", "cannot be activated against", "no extended key usage"])?
        .code(3)?;
    check("pca_tpm_ecc_enc_cert.pem")?
        .refused(&["no extended key usage", "does not name the TPM's manufacturer"])?
        .code(3)?;
    check("nuvoton_ecdsa_sha256_der.bin")?.refused(&["CN=Nuvoton TPM Root CA 2110", "not an EK"])?.code(3)?;
    Ok(())
}

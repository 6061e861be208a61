//! tpm2-tools and OpenSSL, which we did not write, judge what the agent's TPM code makes, and make what it opens.

use super::*;

impl Swtpm {
    fn tcti(&self) -> String {
        format!("swtpm:host={},port={}", self.address, self.port)
    }

    /// Runs a program in this TPM's folder; gives whether it went well, and all that it printed.
    fn try_run(&self, words: &str) -> (bool, String) {
        let mut words = words.split(' ');
        let out = Command::new(words.next().unwrap())
            .args(words)
            .current_dir(self.folder.path())
            .env("TPM2TOOLS_TCTI", self.tcti())
            .env("XDG_CONFIG_HOME", self.folder.path())
            .output()
            .unwrap();
        let text = [out.stdout, out.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        (out.status.success(), text)
    }

    fn run(&self, words: &str) -> String {
        let (well, text) = self.try_run(words);
        assert!(well, "{words}: {text}");
        text
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.folder.path().join(name), bytes).unwrap();
    }

    fn file(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.folder.path().join(name)).unwrap()
    }

    /// An EK by template L-2 with its certificate in NV, which `swtpm_setup` does not make.
    fn add_p256_ek(&self) {
        self.run("tpm2_createek -G ecc -c 0x81010002 -u p256.pub");
        self.run("tpm2_flushcontext -t");
        let shown = self.run("tpm2_readpublic -c 0x81010002");
        let coordinate = |name| shown.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        let (x, y) = (coordinate("x:"), coordinate("y:"));
        self.run(&format!(
            "swtpm_localca --type ek --ek x={x},y={y},id=secp256r1 --dir . --vmid test --tpm2 --tpm-spec-family 2.0 --tpm-spec-level 0 --tpm-spec-revision 164 --tpm-manufacturer id:00001014 --tpm-model swtpm --tpm-version id:20191023 --configfile ca.conf --optsfile ca.options"
        ));
        let length = self.file("ek.cert").len();
        self.run(&format!(
            "tpm2_nvdefine 0x01c0000a -C p -s {length} -a ppwrite|ppread|ownerread|authread|no_da|platformcreate"
        ));
        self.run("tpm2_nvwrite 0x01c0000a -C p -i ek.cert");
    }
}

/// A key's public area as OpenSSL reads it.
fn spki(key: &KeyFile) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(point(key).to_spki_der()))
}

fn name(public: &[u8]) -> Vec<u8> {
    daypass_proto::attestation::TpmPublic::parse(public).unwrap().name()
}

/// The tools' credential for each kind of EK, and the names of those EKs and of our own keys.
#[tokio::test]
async fn credentials_of_tpm2_tools_are_opened_and_names_are_theirs() {
    let swtpm = Swtpm::new();
    swtpm.add_p256_ek();
    let (eks, keys) = {
        let tpm = swtpm.tpm();
        let keys = tpm.create_keys().await.unwrap();
        let set = DeviceKeySet::parse(keys.attestation.public(), keys.identity.public(), keys.proof.public()).unwrap();
        let eks = tpm.endorsement_keys().await.unwrap();
        let mut templates = Vec::new();
        for ek in &eks {
            let assessed = AssessedEk::assess(&ek.public, ek.certificate.as_deref(), &swtpm.roots(), now()).unwrap();
            assert_eq!(assessed.certificate_error(), None);
            templates.push(assessed.public().template().to_string());
            let challenge = swtpm.challenge(ek, &set, |_| [1; 32], &[0]);
            let answer = tpm.answer(&keys, &challenge).await.unwrap();
            assert_eq!(answer.secret.as_slice(), [9; 32], "{templates:?}");
            // One bit of it altered.
            let mut bent = challenge.clone();
            *bent.credential_blob.last_mut().unwrap() ^= 1;
            assert!(tpm.answer(&keys, &bent).await.is_err(), "{templates:?}");
        }
        assert_eq!(templates, ["L-1", "L-2", "H-3"]);
        (eks, keys)
    };
    // swtpm serves one client at a time: the tools' turn.
    for (ek, handle) in eks.iter().zip(["0x81010001", "0x81010002", "0x81010016"]) {
        swtpm.run(&format!("tpm2_readpublic -c {handle} -o tool.pub -n tool.name"));
        assert_eq!(swtpm.file("tool.pub")[2..], ek.public, "{handle}");
        assert_eq!(swtpm.file("tool.name"), name(&ek.public), "{handle}");
    }
    // Our keys load below the storage root key with the tools, and have the names that we say.
    let sized = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
    for key in [&keys.attestation, &keys.identity, &keys.proof] {
        use tss_esapi::traits::Marshall as _;
        let (public, private) = key.parts().unwrap();
        swtpm.put("key.pub", &sized(&public.marshall().unwrap()));
        swtpm.put("key.priv", &sized(private.value()));
        swtpm.run("tpm2_load -C 0x81000001 -u key.pub -r key.priv -c key.ctx -n key.name");
        swtpm.run("tpm2_flushcontext -t");
        assert_eq!(swtpm.file("key.name"), name(key.public()));
    }
}

/// `tpm2_checkquote` and OpenSSL believe what our AK says, and only that.
#[tokio::test]
async fn quotes_and_certifications_are_believed_by_tpm2_tools_and_openssl() {
    let swtpm = Swtpm::new();
    let (keys, answer) = {
        let tpm = swtpm.tpm();
        let keys = tpm.create_keys().await.unwrap();
        let set = DeviceKeySet::parse(keys.attestation.public(), keys.identity.public(), keys.proof.public()).unwrap();
        let eks = tpm.endorsement_keys().await.unwrap();
        let extra = |purpose| extra_data(purpose, &[1; 32], &[2; 32], b"csr");
        let challenge = swtpm.challenge(&eks[0], &set, extra, &[0, 1, 2, 7]);
        let answer = tpm.answer(&keys, &challenge).await.unwrap();
        (keys, answer)
    };
    swtpm.put("ak.pem", spki(&keys.attestation).as_bytes());
    swtpm.put("other.pem", spki(&keys.proof).as_bytes());

    let quote = &answer.quote.attestation;
    swtpm.put("quote.msg", &quote.attest.0);
    swtpm.put("quote.sig", &quote.signature.0);
    let nonce = hex::encode(extra_data(Purpose::Quote, &[1; 32], &[2; 32], b"csr"));
    let check = |key: &str, nonce: &str| {
        swtpm.try_run(&format!("tpm2_checkquote -u {key} -m quote.msg -s quote.sig -g sha256 -q {nonce}"))
    };
    let (well, text) = check("ak.pem", &nonce);
    assert!(well, "{text}");
    assert!(!check("other.pem", &nonce).0, "under another key");
    assert!(!check("ak.pem", &nonce.replace(&nonce[..4], "0000")).0, "with another nonce");
    // The values that went along are those that the tool hashes from its own reading of the PCRs.
    swtpm.run("tpm2_pcrread sha256:0,1,2,7 -o pcrs.bin");
    assert_eq!(swtpm.file("pcrs.bin"), answer.quote.values.concat());
    let shown = swtpm.run("tpm2_print -t TPMS_ATTEST quote.msg");
    assert!(shown.contains(&hex::encode(daypass_proto::encoding::sha256(&[&answer.quote.values.concat()]))), "{shown}");
    assert!(shown.contains(&nonce), "{shown}");

    for (statement, key, purpose) in [
        (&answer.identity, &keys.identity, Purpose::CertifyIdentity),
        (&answer.proof, &keys.proof, Purpose::CertifyProof),
    ] {
        // TPMT_SIGNATURE: scheme and hash, then r and s, each behind its size.
        let signature = &statement.signature.0;
        assert_eq!(signature[..4], [0x00, 0x18, 0x00, 0x0b]);
        let length = usize::from(u16::from_be_bytes([signature[4], signature[5]]));
        let (r, s) = (&signature[6..6 + length], &signature[8 + length..]);
        let fixed: Vec<u8> = [r, s].iter().flat_map(|part| [&vec![0; 32 - part.len()][..], part].concat()).collect();
        swtpm.put("certify.msg", &statement.attest.0);
        swtpm.put("certify.der", &crate::issuer::der_signature(&fixed.try_into().unwrap()));
        let verify = |key: &str| {
            swtpm.try_run(&format!("openssl dgst -sha256 -verify {key} -signature certify.der certify.msg"))
        };
        let (well, text) = verify("ak.pem");
        assert!(well, "{text}");
        assert!(!verify("other.pem").0, "under another key");
        // The tool prints as far as it knows such statements: not the names, which stand behind.
        let (_, shown) = swtpm.try_run("tpm2_print -t TPMS_ATTEST certify.msg");
        assert!(shown.contains("type: 8017"), "{shown}");
        assert!(shown.contains(&hex::encode(extra_data(purpose, &[1; 32], &[2; 32], b"csr"))), "{shown}");
        let name = name(key.public());
        assert_eq!(statement.attest.0[statement.attest.0.len() - 2 * 36..][..36], [&[0, 34], &name[..]].concat());
    }
}

//! Endorsement keys with tpm2-tools: read, and activated against, each by its own policy.

use std::{fs, path::PathBuf};

use daypass_proto::{
    encoding::{Bytes, Fixed},
    enrolment::{BeginAnswer, EndorsementKey},
};

use super::{ByHand, HandKey};
use crate::{Act, Failure, Ran, Who, place::write};

/// `PolicyC_SHA384` of the EK Credential Profile (section B.6.5): the branch of the high range's policy that is not taken.
const POLICY_C: &str =
    "d6032ce61f2fb3c240eb3cf6a33237ef2b6a16f4293c22b455e261cffd217ad5b4947c2d73e63005eed2dc2b3593d165";

/// The kinds of EK that a story's TPMs have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EkKind {
    /// RSA 2048, template L-1.
    Rsa,
    /// P-256, template L-2; see [`crate::Maker::add_p256_ek`].
    P256,
    /// P-384, template H-3.
    P384,
}

impl EkKind {
    /// Its persistent handle.
    pub fn handle(self) -> &'static str {
        match self {
            Self::Rsa => "0x81010001",
            Self::P256 => "0x81010002",
            Self::P384 => "0x81010016",
        }
    }

    /// The NV index of its certificate.
    pub fn certificate(self) -> &'static str {
        match self {
            Self::Rsa => "0x01c00002",
            Self::P256 => "0x01c0000a",
            Self::P384 => "0x01c00016",
        }
    }
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap_or_default().to_be_bytes()[..], bytes].concat()
}

impl ByHand<'_> {
    /// A program of tpm2-tools, in this machine's folder.
    pub fn tool(&self, name: &str) -> Result<Act, Failure> {
        Ok(self.chip.tool(name)?.within(&self.folder))
    }

    /// Runs one that must succeed. A bare TPM keeps loaded what a tool loaded, and has three slots: they are emptied behind it.
    pub fn run_tool(&self, words: &str) -> Result<Ran, Failure> {
        let mut words = words.split(' ');
        let ran = self.tool(words.next().unwrap_or_default())?.args(words).run()?.succeeded();
        self.tool("tpm2_flushcontext")?.arg("-t").run()?.succeeded()?;
        ran
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A file of this machine's folder.
    pub fn file(&self, name: &str) -> Result<Vec<u8>, Failure> {
        fs::read(self.at(name)).map_err(Failure::machine(format!("read `{name}`")))
    }

    /// Puts a file there.
    pub fn put(&self, name: &str, content: impl AsRef<[u8]>) -> Result<(), Failure> {
        write(&self.at(name), Who::Agent, 0o600, content)
    }

    /// An EK and its certificate, as the TPM has them.
    pub fn endorsement_key(&self, kind: EkKind) -> Result<EndorsementKey, Failure> {
        self.run_tool(&format!("tpm2_readpublic -c {} -o ek.pub", kind.handle()))?;
        self.run_tool(&format!("tpm2_nvread {} -o ek.cert", kind.certificate()))?;
        let public = self.file("ek.pub")?.get(2..).unwrap_or_default().to_vec();
        Ok(EndorsementKey { public: Bytes(public), certificate: Some(Bytes(self.file("ek.cert")?)) })
    }

    /// A key's context for the tools, as `NAME.ctx`.
    pub fn load_for_tools(&self, key: &HandKey, name: &str) -> Result<(), Failure> {
        self.put(&format!("{name}.pub"), sized(key.public()))?;
        self.put(&format!("{name}.priv"), sized(key.private()))?;
        let root = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt";
        self.run_tool(&format!("tpm2_createprimary -C o -G ecc256:null:aes128cfb -a {root} -c root.ctx"))?;
        self.run_tool(&format!("tpm2_load -C root.ctx -u {name}.pub -r {name}.priv -c {name}.ctx"))?;
        Ok(())
    }

    /// Activates a challenge with this machine's AK, by `tpm2_activatecredential`; whatever comes of it.
    pub fn try_activate(&self, kind: EkKind, challenge: &BeginAnswer) -> Result<Ran, Failure> {
        self.load_for_tools(&self.attestation, "ak")?;
        // The tools' file: magic and version before the two structures.
        let blob = [
            &[0xba, 0xdc, 0xc0, 0xde, 0, 0, 0, 1][..],
            &sized(&challenge.credential_blob.0),
            &sized(&challenge.encrypted_secret.0),
        ];
        self.put("credential", blob.concat())?;
        let high = kind == EkKind::P384;
        let hash = if high { "sha384" } else { "sha256" };
        self.run_tool(&format!("tpm2_startauthsession --policy-session -g {hash} -S ek.session"))?;
        self.run_tool("tpm2_policysecret -S ek.session -c e -L a.policy")?;
        if high {
            let policy_c =
                (0..POLICY_C.len()).step_by(2).filter_map(|at| u8::from_str_radix(POLICY_C.get(at..at + 2)?, 16).ok());
            self.put("c.policy", policy_c.collect::<Vec<u8>>())?;
            self.run_tool("tpm2_policyor -S ek.session -l sha384:a.policy,c.policy")?;
        }
        let handle = kind.handle();
        let words = ["-c", "ak.ctx", "-C", handle, "-i", "credential", "-o", "opened", "-P", "session:ek.session"];
        let ran = self.tool("tpm2_activatecredential")?.args(words).run();
        self.run_tool("tpm2_flushcontext ek.session")?;
        ran
    }

    /// The same; it must open.
    pub fn activate(&self, kind: EkKind, challenge: &BeginAnswer) -> Result<[u8; 32], Failure> {
        let ran = self.try_activate(kind, challenge)?.succeeded()?;
        self.file("opened")?.try_into().map_err(|_| ran.surprise("a secret of 32 bytes"))
    }

    /// The values of these PCRs of the SHA-256 bank.
    pub fn pcr_values(&self, pcrs: &[u8]) -> Result<Vec<Fixed<32>>, Failure> {
        let list: Vec<String> = pcrs.iter().map(u8::to_string).collect();
        let ran = self.run_tool(&format!("tpm2_pcrread sha256:{} -o pcrs", list.join(",")))?;
        let bytes = self.file("pcrs")?;
        let values: Vec<Fixed<32>> =
            bytes.chunks_exact(32).filter_map(|value| value.try_into().ok().map(Fixed)).collect();
        if values.len() == pcrs.len() { Ok(values) } else { Err(ran.surprise("a value for each PCR")) }
    }
}

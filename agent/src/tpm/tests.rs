//! Against real software TPMs, each test with one of its own: a bare one, with three slots and no resource manager.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use daypass_proto::{
    attestation::{AssessedEk, DeviceKeySet, EkRoots, Evidence, Expected, verify_enrolment},
    enrolment::{Purpose, extra_data},
    jose::EcPublicKey,
    time::Timestamp,
};
use tempfile::TempDir;

use super::*;

mod faults;
mod interoperability;
mod states;

struct Swtpm {
    folder: TempDir,
    address: String,
    port: u16,
    process: Option<Child>,
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Swtpm {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display().to_string();
        std::fs::write(
            folder.path().join("setup.conf"),
            format!("create_certs_tool=/usr/bin/swtpm_localca\ncreate_certs_tool_config={at}/ca.conf\ncreate_certs_tool_options={at}/ca.options\nactive_pcr_banks=sha256\n"),
        )
        .unwrap();
        std::fs::write(
            folder.path().join("ca.conf"),
            format!("statedir = {at}\nsigningkey = {at}/ca.key\nissuercert = {at}/ca.pem\ncertserial = {at}/serial\n"),
        )
        .unwrap();
        std::fs::write(
            folder.path().join("ca.options"),
            "--platform-manufacturer D\n--platform-version 1\n--platform-model T\n",
        )
        .unwrap();
        std::fs::create_dir(folder.path().join("state")).unwrap();
        let made = Command::new("swtpm_setup")
            .args([
                "--tpm2",
                "--create-ek-cert",
                "--overwrite",
                "--tpmstate",
                &format!("{at}/state"),
                "--config",
                &format!("{at}/setup.conf"),
            ])
            .env("XDG_CONFIG_HOME", folder.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        // An address of its own: nobody else asks for ports there.
        let pid = std::process::id();
        let count = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
        let address = format!("127.{}.{}.{}", 64 + (pid >> 8 & 0x3f), pid & 0xff, count & 0xff);
        let port = loop {
            let port = TcpListener::bind((address.as_str(), 0)).unwrap().local_addr().unwrap().port();
            if port < 65_000 {
                break port;
            }
        };
        let mut swtpm = Self { folder, address, port, process: None };
        swtpm.start();
        swtpm
    }

    fn start(&mut self) {
        let channel = |port: u16| format!("type=tcp,port={port},bindaddr={}", self.address);
        let pid = self.folder.path().join("pid");
        let _ = std::fs::remove_file(&pid);
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"])
            .arg(format!("dir={}", self.folder.path().join("state").display()))
            .args(["--server", &channel(self.port), "--ctrl", &channel(self.port + 1), "--pid"])
            .arg(format!("file={}", pid.display()))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(child);
        // It writes its pid when both channels are open.
        while !pid.exists() {
            std::thread::yield_now();
        }
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn tpm(&self) -> Arc<dyn Tpm> {
        owner(&format!("swtpm:host={},port={}", self.address, self.port))
    }

    fn roots(&self) -> EkRoots {
        use rustls_pki_types::{CertificateDer, pem::PemObject as _};
        let files = ["ca.pem", "swtpm-localca-rootca-cert.pem"];
        let der = files.map(|file| CertificateDer::from_pem_file(self.folder.path().join(file)).unwrap().to_vec());
        EkRoots::new(der.to_vec()).0
    }

    /// A challenge to this EK and these keys, made by tpm2-tools, which we did not write. It holds 32 times 9.
    fn challenge(
        &self,
        ek: &EndorsementKey,
        set: &DeviceKeySet,
        extra: impl Fn(Purpose) -> [u8; 32],
        pcrs: &[u8],
    ) -> Challenge {
        let at = |name: &str| self.folder.path().join(name);
        let sized = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
        std::fs::write(at("ek.pub"), sized(&ek.public)).unwrap();
        std::fs::write(at("secret"), [9; 32]).unwrap();
        let [name, ..] = set.names();
        let made = Command::new("tpm2_makecredential")
            .args(["-T", "none", "-u"])
            .arg(at("ek.pub"))
            .arg("-s")
            .arg(at("secret"))
            .args(["-n", &hex::encode(name)])
            .arg("-o")
            .arg(at("blob"))
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        // magic, version, TPM2B_ID_OBJECT, TPM2B_ENCRYPTED_SECRET
        let blob = std::fs::read(at("blob")).unwrap();
        let length = |at: usize| usize::from(u16::from_be_bytes([blob[at], blob[at + 1]]));
        let id = &blob[10..10 + length(8)];
        let secret = &blob[12 + id.len()..12 + id.len() + length(10 + id.len())];
        Challenge {
            endorsement_key: ek.public.clone(),
            credential_blob: id.to_vec(),
            encrypted_secret: secret.to_vec(),
            identity_extra: extra(Purpose::CertifyIdentity),
            proof_extra: extra(Purpose::CertifyProof),
            quote_extra: extra(Purpose::Quote),
            pcrs: pcrs.to_vec(),
        }
    }

    fn capability(tcti: &str, capability: &str) -> String {
        let out = Command::new("tpm2_getcap").arg(capability).env("TPM2TOOLS_TCTI", tcti).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    fn handles_at(tcti: &str) -> String {
        ["handles-transient", "handles-loaded-session", "handles-saved-session"]
            .map(|kind| Self::capability(tcti, kind))
            .concat()
    }
}

use std::sync::Arc;

fn owner(tcti: &str) -> Arc<dyn Tpm> {
    let config = TpmConfig { tcti: tcti.parse().unwrap(), provision_srk: true };
    TpmOwner::start(config, Deadlines::default(), real_pace()).unwrap().0
}

fn point(key: &KeyFile) -> EcPublicKey {
    let (_, x, y) = daypass_proto::attestation::TpmPublic::parse(key.public()).unwrap().ecc_point().unwrap();
    EcPublicKey::from_coordinates(x.try_into().unwrap(), y.try_into().unwrap()).unwrap()
}

fn verifies(key: &KeyFile, message: &[u8], signature: &[u8; 64]) -> bool {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point(key).to_sec1()).verify(message, signature).is_ok()
}

fn now() -> Timestamp {
    crate::clock::system().now()
}

#[tokio::test]
async fn twelve_keys_in_three_slots_sign_in_turn() {
    let swtpm = Swtpm::new();
    let tpm = swtpm.tpm();
    let mut sets = Vec::new();
    for _ in 0..4 {
        sets.push(tpm.create_keys().await.unwrap());
    }
    let digest = daypass_proto::encoding::sha256(&[b"message"]);
    for _ in 0..3 {
        for set in &sets {
            for key in [&set.identity, &set.proof] {
                let signature = tpm.sign(key, digest).await.unwrap();
                assert!(verifies(key, b"message", &signature));
            }
            tpm.quote(&set.attestation, &[0, 7], [1; 32]).await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_it_attests_is_what_the_issuer_believes() {
    let swtpm = Swtpm::new();
    let tpm = swtpm.tpm();
    let keys = tpm.create_keys().await.unwrap();
    let eks = tpm.endorsement_keys().await.unwrap();
    assert_eq!(eks.len(), 2, "swtpm makes an RSA and a P-384 key");
    let set = DeviceKeySet::parse(keys.attestation.public(), keys.identity.public(), keys.proof.public()).unwrap();
    let (nonce, transcript, csr, pcrs) = ([1; 32], [2; 32], b"csr", [0, 1, 2, 3, 4, 5, 6, 7]);
    let extra = |purpose| extra_data(purpose, &nonce, &transcript, csr);
    for ek in &eks {
        let assessed = AssessedEk::assess(&ek.public, ek.certificate.as_deref(), &swtpm.roots(), now()).unwrap();
        assert_eq!(assessed.certificate_error(), None);
        let challenge = swtpm.challenge(ek, &set, extra, &pcrs);
        let answer = tpm.answer(&keys, &challenge).await.unwrap();
        assert_eq!(answer.secret.as_slice(), [9; 32]);
        let expected = Expected { keys: &set, nonce: &nonce, transcript: &transcript, csr, pcrs: &pcrs };
        let evidence = |quote| Evidence {
            identity: &answer.identity,
            proof: &answer.proof,
            quote,
            pcr_values: &answer.quote.values,
            event_log: None,
        };
        verify_enrolment(&expected, &evidence(&answer.quote.attestation)).unwrap();
        // Each signature is for its own purpose and challenge.
        assert!(verify_enrolment(&expected, &evidence(&answer.identity)).is_err());
        assert!(
            verify_enrolment(&Expected { nonce: &[3; 32], ..expected }, &evidence(&answer.quote.attestation)).is_err()
        );

        // A credential for another object is not opened, and nothing stays loaded of the attempt.
        let other = tpm.create_keys().await.unwrap();
        assert!(matches!(tpm.answer(&other, &challenge).await, Err(TpmError::KeyOfAnotherTpm | TpmError::Tpm { .. })));
    }
    drop(tpm);
}

#[tokio::test]
async fn keys_of_one_tpm_are_of_no_use_in_another() {
    let (one, other) = (Swtpm::new(), Swtpm::new());
    let keys = one.tpm().create_keys().await.unwrap();
    let error = other.tpm().sign(&keys.proof, [0; 32]).await.unwrap_err();
    assert!(matches!(error, TpmError::Moved), "{error}");
}

#[tokio::test]
async fn it_comes_back_when_the_tpm_does() {
    let mut swtpm = Swtpm::new();
    let tpm = swtpm.tpm();
    let keys = tpm.create_keys().await.unwrap();
    tpm.sign(&keys.proof, [0; 32]).await.unwrap();
    swtpm.kill();
    let error = tpm.sign(&keys.proof, [0; 32]).await.unwrap_err();
    assert!(matches!(error, TpmError::Lost { .. } | TpmError::NoDevice { .. }), "{error}");
    swtpm.start();
    tpm.sign(&keys.proof, [0; 32]).await.unwrap();
}

#[tokio::test]
async fn a_new_owner_clears_what_a_dead_one_left() {
    let swtpm = Swtpm::new();
    {
        let tpm = swtpm.tpm();
        let keys = tpm.create_keys().await.unwrap();
        tpm.sign(&keys.proof, [0; 32]).await.unwrap();
    }
    let keys = swtpm.tpm();
    keys.describe().await.unwrap();
    drop(keys);
    // swtpm serves one client at a time: tools get their turn when the owner's thread has let go.
    assert_eq!(Swtpm::handles_at(&format!("swtpm:host={},port={}", swtpm.address, swtpm.port)).trim(), "");
}

/// `tpm2-abrmd` on a D-Bus of its own, in front of a software TPM.
struct Abrmd {
    processes: Vec<Child>,
    _folder: TempDir,
    address: String,
}

impl Drop for Abrmd {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Abrmd {
    fn in_front_of(swtpm: &Swtpm) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = format!("unix:path={}", folder.path().join("bus").display());
        let bus = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile", "--address", &address])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut all = Self { processes: vec![bus], _folder: folder, address };
        all.wait_for("org.freedesktop.DBus");
        let tcti = format!("--tcti=swtpm:host={},port={}", swtpm.address, swtpm.port);
        // In `/usr/sbin`, which people have not on their path.
        let manager = Command::new(daypass_tests::Programs::system("tpm2-abrmd").unwrap())
            .args(["--session", "--allow-root", &tcti])
            .env("DBUS_SESSION_BUS_ADDRESS", &all.address)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        all.processes.push(manager);
        all.wait_for("com.intel.tss2.Tabrmd");
        all
    }

    /// Until somebody owns this name on the bus.
    fn wait_for(&mut self, name: &str) {
        loop {
            let asked = Command::new("dbus-send")
                .arg(format!("--bus={}", self.address))
                .args(["--print-reply", "--dest=org.freedesktop.DBus", "/org/freedesktop/DBus"])
                .args(["org.freedesktop.DBus.GetNameOwner", &format!("string:{name}")])
                .output()
                .unwrap();
            if asked.status.success() {
                return;
            }
            for process in &mut self.processes {
                assert!(process.try_wait().unwrap().is_none(), "ended before `{name}` was there");
            }
        }
    }
}

/// Runs in a process of its own, since the stack finds the bus through the environment.
#[tokio::test]
async fn behind_a_resource_manager() {
    const TOLD: &str = "DAYPASS_TEST_BEHIND_A_RESOURCE_MANAGER";
    if std::env::var_os(TOLD).is_some() {
        let tpm = owner("tabrmd:bus_name=com.intel.tss2.Tabrmd,bus_type=session");
        let mut sets = Vec::new();
        for _ in 0..2 {
            sets.push(tpm.create_keys().await.unwrap());
        }
        let digest = daypass_proto::encoding::sha256(&[b"message"]);
        for set in sets.iter().chain(&sets) {
            assert!(verifies(&set.proof, b"message", &tpm.sign(&set.proof, digest).await.unwrap()));
            tpm.quote(&set.attestation, &[0, 7], [1; 32]).await.unwrap();
        }
        assert_eq!(tpm.endorsement_keys().await.unwrap().len(), 2);
        return;
    }
    let swtpm = Swtpm::new();
    let abrmd = Abrmd::in_front_of(&swtpm);
    let ran = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tpm::tests::behind_a_resource_manager", "--nocapture"])
        .env(TOLD, "1")
        .env("DBUS_SESSION_BUS_ADDRESS", &abrmd.address)
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(String::from_utf8_lossy(&ran.stdout).contains("1 passed"), "the inner test ran");
}

#[test]
fn key_files_come_back_as_they_were() {
    let key = KeyFile::for_fake(vec![1; 90], vec![2; 120]);
    let pem = key.to_pem().unwrap();
    assert!(pem.contains("\n-----BEGIN TSS2 PRIVATE KEY-----"));
    assert_eq!(KeyFile::from_pem(&pem).unwrap(), key);
    assert_eq!(KeyFile::from_pem("hello"), Err(KeyFileError::Form));
    assert_eq!(KeyFile::from_pem(&pem.replace("TSS2", "EC")), Err(KeyFileError::Form));
    assert!(KeyFile::from_pem(&pem[..pem.len() / 2]).is_err());
}

#[test]
fn transports_by_their_names() {
    for good in ["device:/dev/tpmrm0", "swtpm:host=127.0.0.1,port=2321", "tabrmd:bus_name=a.b,bus_type=session"] {
        assert_eq!(good.parse::<Tcti>().unwrap().to_string(), good);
    }
    for bad in ["", "mssim", "swtpm:path=/x", "swtpm:port=x", "device:tpm0", "tabrmd:bus_type=x"] {
        assert!(bad.parse::<Tcti>().is_err(), "{bad}");
    }
}

#[tokio::test]
async fn a_missing_tpm_is_said_to_be_missing() {
    let error = owner("device:/dev/does-not-exist").describe().await.unwrap_err();
    assert!(matches!(error, TpmError::NoDevice { .. }), "{error}");
    assert_eq!(error.code(), daypass_proto::local_api::ErrorCode::TpmMissing);
}

#[tokio::test]
async fn what_is_no_device_is_not_opened() {
    use std::os::unix::{fs::FileTypeExt as _, net::UnixListener};
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("file"), "kept").unwrap();
    std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
    nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    for (name, words) in [
        ("file", "is a regular file, and no TPM's device"),
        ("link", "is a regular file"),
        ("pipe", "is a named pipe"),
        ("socket", "is a socket"),
        ("", "is a folder"),
    ] {
        let error = owner(&format!("device:{}", at(name).display())).describe().await.unwrap_err();
        assert!(error.to_string().contains(words), "{name}: {error}");
        assert!(error.to_string().contains(&at(name).display().to_string()), "{error}");
        assert_eq!(error.code(), daypass_proto::local_api::ErrorCode::TpmMissing);
    }
    assert_eq!(std::fs::read(at("file")).unwrap(), b"kept");
    assert!(std::fs::metadata(at("pipe")).unwrap().file_type().is_fifo());
}

#[tokio::test]
async fn a_resource_manager_that_is_not_there_is_named() {
    let error = owner("tabrmd:bus_name=org.example.Nobody,bus_type=session").describe().await.unwrap_err();
    assert!(error.to_string().contains("tpm2-abrmd"), "{error}");
    assert!(error.next_step().contains("tpm2-abrmd"), "{}", error.next_step());
}

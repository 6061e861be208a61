//! TPMs in software, manufactured as hardware is: with endorsement keys, and certificates for them from the maker's CA.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::{
    Act, Failure, Loopback, Place, Process, Programs, Ready, Service, Who,
    place::{folder, write},
};

/// A maker of TPMs with a CA of its own, so that an issuer can trust one maker and not another.
#[derive(Debug)]
pub struct Maker {
    folder: PathBuf,
    setup: PathBuf,
}

impl Maker {
    /// A new maker. Its CA comes with its first TPM.
    pub fn new(place: &Place, name: &str) -> Result<Self, Failure> {
        let folder = place.folder(name, Who::Agent, 0o755)?;
        let at = folder.display();
        let (setup, local_ca, options) = (folder.join("setup.conf"), folder.join("ca.conf"), folder.join("ca.options"));
        write(
            &setup,
            Who::Agent,
            0o644,
            format!(
                "create_certs_tool={}\ncreate_certs_tool_config={}\ncreate_certs_tool_options={}\nactive_pcr_banks=sha256\n",
                Programs::system("swtpm_localca")?.display(),
                local_ca.display(),
                options.display(),
            ),
        )?;
        write(
            &local_ca,
            Who::Agent,
            0o644,
            format!("statedir = {at}\nsigningkey = {at}/ca.key\nissuercert = {at}/ca.pem\ncertserial = {at}/serial\n"),
        )?;
        write(
            &options,
            Who::Agent,
            0o644,
            "--platform-manufacturer Daypass\n--platform-version 1\n--platform-model Story\n",
        )?;
        Ok(Self { folder, setup })
    }

    /// A new TPM of this maker, for the machine in `machine`.
    pub fn make(&self, machine: &Path) -> Result<Chip, Failure> {
        let state = machine.join("tpm");
        folder(&state, Who::Agent, 0o700)?;
        Act::new(Programs::system("swtpm_setup")?, Who::Agent)
            .args(["--tpm2", "--create-ek-cert", "--tpmstate"])
            .arg(&state)
            .arg("--config")
            .arg(&self.setup)
            .env("HOME", &self.folder)
            // It makes a folder of its own there; ours is this user's.
            .env("TMPDIR", &state)
            .run()?
            .succeeded()?;
        let address = Loopback::next();
        // The stack finds the control channel on the port after the data channel's.
        let port = address.port()?.min(u16::MAX - 1);
        Ok(Chip { state, data: SocketAddr::new(address.ip(), port), logs: machine.to_owned(), process: None })
    }

    /// Gives a running TPM of this maker one EK more: P-256 by template L-2, which `swtpm_setup` does not make, with its certificate in NV.
    pub fn add_p256_ek(&self, chip: &Chip) -> Result<(), Failure> {
        let at = self.folder.join("p256-ek");
        folder(&at, Who::Agent, 0o700)?;
        let tool = |name: &str, words: &str| {
            let ran = chip.tool(name)?.within(&at).args(words.split(' ')).run()?.succeeded();
            chip.tool("tpm2_flushcontext")?.arg("-t").run()?.succeeded()?;
            ran
        };
        tool("tpm2_createek", "-G ecc -c 0x81010002 -u ek.pub")?;
        let shown = tool("tpm2_readpublic", "-c 0x81010002")?;
        let text = shown.text();
        let coordinate = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let (Some(x), Some(y)) = (coordinate("x:"), coordinate("y:")) else { return Err(shown.surprise("a point")) };
        Act::new(Programs::system("swtpm_localca")?, Who::Agent)
            .args(["--type", "ek", "--ek", &format!("x={x},y={y},id=secp256r1"), "--vmid", "story", "--tpm2", "--dir"])
            .arg(&at)
            .args("--tpm-spec-family 2.0 --tpm-spec-level 0 --tpm-spec-revision 164".split(' '))
            .args("--tpm-manufacturer id:00001014 --tpm-model swtpm --tpm-version id:20191023".split(' '))
            .arg("--configfile")
            .arg(self.folder.join("ca.conf"))
            .arg("--optsfile")
            .arg(self.folder.join("ca.options"))
            .env("HOME", &self.folder)
            .run()?
            .succeeded()?;
        let length = fs::metadata(at.join("ek.cert")).map_err(Failure::machine("look at the certificate"))?.len();
        let attributes = "ppwrite|ppread|ownerread|authread|no_da|platformcreate";
        tool("tpm2_nvdefine", &format!("0x01c0000a -C p -s {length} -a {attributes}"))?;
        tool("tpm2_nvwrite", "0x01c0000a -C p -i ek.cert")?;
        fs::remove_dir_all(&at).map_err(Failure::machine("remove the certificate's folder"))
    }

    /// Its name, from its folder's.
    pub fn name(&self) -> &str {
        self.folder.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// The certificates that lead to this maker: what an issuer needs in `ek_roots`.
    pub fn roots(&self) -> [PathBuf; 2] {
        [self.folder.join("ca.pem"), self.folder.join("swtpm-localca-rootca-cert.pem")]
    }
}

/// One TPM: three slots for loaded keys, and no resource manager in front of it.
#[derive(Debug)]
pub struct Chip {
    state: PathBuf,
    data: SocketAddr,
    logs: PathBuf,
    process: Option<Process>,
}

impl Chip {
    /// How tpm2-tss reaches it.
    pub fn tcti(&self) -> String {
        format!("swtpm:host={},port={}", self.data.ip(), self.data.port())
    }

    /// Where its command channel is.
    pub fn address(&self) -> SocketAddr {
        self.data
    }

    /// Switches it on.
    pub fn start(&mut self) -> Result<(), Failure> {
        let control = SocketAddr::new(self.data.ip(), self.data.port() + 1);
        let channel = |at: SocketAddr| format!("type=tcp,port={},bindaddr={}", at.port(), at.ip());
        let act = Act::new(Programs::system("swtpm")?, Who::Agent)
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"])
            .arg(format!("dir={}", self.state.display()))
            .arg("--server")
            .arg(channel(self.data))
            .arg("--ctrl")
            .arg(channel(control));
        self.process = Some(Service::new("swtpm", act, Ready::Port(control), &self.logs).start()?);
        Ok(())
    }

    /// Takes its power away, in whatever it was doing.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Runs a program of tpm2-tools against it.
    pub fn tool(&self, name: &str) -> Result<Act, Failure> {
        Ok(Act::new(Programs::system(name)?, Who::Agent).env("TPM2TOOLS_TCTI", self.tcti()))
    }
}

//! Where no TPM is reachable: what was found here, said exactly, with what to do about it.

use std::{env, fs, path::Path};

/// What this system looks like, as far as it explains a missing TPM.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Surroundings {
    /// Windows Subsystem for Linux.
    pub wsl: bool,
    /// Inside a container.
    pub container: bool,
    /// Another system than Linux.
    pub other_system: bool,
    /// The kernel has a TPM, whatever this process may see of it.
    pub kernel_has_tpm: bool,
    /// The chip that the kernel has is a TPM 1.2.
    pub is_tpm_1_2: bool,
}

impl Surroundings {
    /// Looks around.
    pub fn probe() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self {
            wsl: read("/proc/version").to_ascii_lowercase().contains("microsoft"),
            container: Path::new("/.dockerenv").exists()
                || Path::new("/run/.containerenv").exists()
                || env::var_os("container").is_some(),
            other_system: !cfg!(target_os = "linux"),
            kernel_has_tpm: Path::new("/sys/class/tpm/tpm0").exists(),
            is_tpm_1_2: read("/sys/class/tpm/tpm0/tpm_version_major").trim() == "1",
        }
    }
}

/// Why there is no TPM here, and what to do.
pub fn explain_missing(around: Surroundings) -> &'static str {
    match around {
        Surroundings { other_system: true, .. } => {
            "this system is not Linux, and the agent talks to TPMs on Linux only; use a Linux machine"
        }
        Surroundings { wsl: true, .. } => {
            "this is WSL2, which passes no TPM through; run the agent on a Linux machine of its own"
        }
        Surroundings { is_tpm_1_2: true, .. } => {
            "this machine has a TPM 1.2, and Daypass needs a TPM 2.0; look for a firmware update"
        }
        Surroundings { container: true, kernel_has_tpm: true, .. } => {
            "this is a container, and the machine's TPM is not passed in; run the agent on the host, or pass `/dev/tpmrm0` in"
        }
        Surroundings { container: true, .. } => {
            "this is a container on a machine whose kernel shows no TPM; run the agent on a host with one"
        }
        Surroundings { kernel_has_tpm: true, .. } => {
            "the kernel has a TPM, but its device node is missing; is udev running?"
        }
        Surroundings { .. } => {
            "the kernel shows no TPM; switch it on in the firmware's setup (it may be called fTPM, PTT or security chip)"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_surrounding_has_its_own_words() {
        let nothing = Surroundings::default();
        let all = [
            nothing,
            Surroundings { other_system: true, ..nothing },
            Surroundings { wsl: true, ..nothing },
            Surroundings { container: true, ..nothing },
            Surroundings { container: true, kernel_has_tpm: true, ..nothing },
            Surroundings { kernel_has_tpm: true, ..nothing },
            Surroundings { is_tpm_1_2: true, kernel_has_tpm: true, ..nothing },
        ];
        let words: std::collections::BTreeSet<_> = all.into_iter().map(explain_missing).collect();
        assert_eq!(words.len(), all.len());
    }
}

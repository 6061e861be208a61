//! How the chip is reached (TCTI), as the configuration writes it.

use std::{fmt, path::PathBuf, str::FromStr};

use thiserror::Error;
use tss_esapi::tcti_ldr::TctiNameConf;

/// Not a TCTI.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error(
    "`{0}` is not a TCTI: write `device:/dev/tpmrm0`, `swtpm:host=127.0.0.1,port=2321`, or `tabrmd:bus_name=com.intel.tss2.Tabrmd,bus_type=system`"
)]
pub struct TctiError(String);

/// A transport to a TPM.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Tcti {
    /// A device node; `/dev/tpmrm0` is the kernel's resource manager.
    Device(PathBuf),
    /// A software TPM over TCP; no resource manager.
    Swtpm {
        /// Its host.
        host: String,
        /// Its port; the control channel is the next one.
        port: u16,
    },
    /// The user-space resource manager.
    Tabrmd(String),
}

impl Tcti {
    /// Whether a resource manager stands between: then other users' objects are invisible, and slots are no concern.
    pub fn is_managed(&self) -> bool {
        match self {
            Self::Device(path) => path.to_string_lossy().contains("tpmrm"),
            Self::Swtpm { .. } => false,
            Self::Tabrmd(_) => true,
        }
    }

    pub(super) fn name_conf(&self) -> Result<TctiNameConf, TctiError> {
        TctiNameConf::from_str(&self.to_string()).map_err(|_| TctiError(self.to_string()))
    }
}

impl FromStr for Tcti {
    type Err = TctiError;

    fn from_str(text: &str) -> Result<Self, TctiError> {
        let wrong = || TctiError(text.to_owned());
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        let tcti = match name {
            "device" if rest.starts_with('/') => Self::Device(PathBuf::from(rest)),
            "device" if rest.is_empty() => Self::Device(PathBuf::from("/dev/tpmrm0")),
            "swtpm" => {
                let value = |key: &str| rest.split(',').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
                let known = rest.split(',').all(|pair| pair.starts_with("host=") || pair.starts_with("port="));
                let port = value("port").unwrap_or("2321").parse().map_err(|_| wrong())?;
                if !known {
                    return Err(wrong());
                }
                Self::Swtpm { host: value("host").unwrap_or("127.0.0.1").to_owned(), port }
            }
            "tabrmd" => Self::Tabrmd(rest.to_owned()),
            _ => return Err(wrong()),
        };
        tcti.name_conf()?;
        Ok(tcti)
    }
}

impl fmt::Display for Tcti {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(path) => write!(f, "device:{}", path.display()),
            Self::Swtpm { host, port } => write!(f, "swtpm:host={host},port={port}"),
            Self::Tabrmd(rest) if rest.is_empty() => f.write_str("tabrmd"),
            Self::Tabrmd(rest) => write!(f, "tabrmd:{rest}"),
        }
    }
}

//! The lines that git and its helpers exchange (git-credential(1), "INPUT/OUTPUT FORMAT").

use std::io::{self, Read};

use daypass_proto::local_api::GitCredential;
use thiserror::Error;
use zeroize::Zeroizing;

/// git's own limit for one line.
const MAX_LINE: usize = 65_535;
/// Everything that git says at once; far above what it can say.
const MAX_INPUT: u64 = 1024 * 1024;

/// Why lines were refused.
#[derive(Debug, Error)]
pub enum FormatError {
    /// The input ended in an error.
    #[error("could not read what git says: {0}")]
    Read(#[from] io::Error),
    /// Not `key=value` lines in UTF-8, or more of them than git ever sends.
    #[error("what git says is not `key=value` lines")]
    Lines,
    /// What the agent gave holds a line break, which would begin another attribute.
    #[error("the agent's credential has a line break in it")]
    Smuggled,
}

/// What git said. Secrets among it are wiped after use.
#[derive(Default)]
pub struct Attributes {
    protocol: Option<String>,
    host: Option<String>,
    path: Option<String>,
    wwwauth: Vec<String>,
    capabilities: Vec<String>,
    secret: Option<Zeroizing<String>>,
}

impl Attributes {
    /// Reads to the empty line or the end. What is not known is passed over, as git asks of helpers.
    pub fn read(input: &mut dyn Read) -> Result<Self, FormatError> {
        let mut bytes = Zeroizing::new(Vec::new());
        input.take(MAX_INPUT + 1).read_to_end(&mut bytes)?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_INPUT) {
            return Err(FormatError::Lines);
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| FormatError::Lines)?;
        let mut attributes = Self::default();
        for line in text.split('\n').take_while(|line| !line.is_empty()) {
            if line.len() > MAX_LINE || line.contains('\0') {
                return Err(FormatError::Lines);
            }
            let (key, value) = line.split_once('=').ok_or(FormatError::Lines)?;
            attributes.take(key, value);
        }
        Ok(attributes)
    }

    fn take(&mut self, key: &str, value: &str) {
        let keep = |list: &mut Vec<String>| {
            // An empty value clears a list.
            if value.is_empty() { list.clear() } else { list.push(value.to_owned()) }
        };
        match key {
            "protocol" => self.protocol = Some(value.to_owned()),
            "host" => self.host = Some(value.to_owned()),
            "path" => self.path = Some(value.to_owned()),
            "password" | "credential" => self.secret = Some(Zeroizing::new(value.to_owned())),
            "wwwauth[]" => keep(&mut self.wwwauth),
            "capability[]" => keep(&mut self.capabilities),
            _ => {}
        }
    }

    /// `https`, `http`, or what is none of our business.
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// Host, with the port where the remote names one.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref().filter(|host| !host.is_empty())
    }

    /// The repository, where `credential.useHttpPath` is on.
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref().filter(|path| !path.is_empty())
    }

    /// The server's challenges, in its order.
    pub fn wwwauth(&self) -> &[String] {
        &self.wwwauth
    }

    /// Whether this git takes `authtype` and `credential`.
    pub fn takes_authtype(&self) -> bool {
        self.capabilities.iter().any(|capability| capability == "authtype")
    }

    /// The password or credential that git names, in `store` and `erase`.
    pub fn secret(&self) -> Option<&str> {
        self.secret.as_ref().map(|secret| secret.as_str())
    }
}

/// The lines of an answer. The capability comes first: without it git forgets `credential` before `erase`.
pub(super) fn answer(credential: &GitCredential) -> Result<Zeroizing<String>, FormatError> {
    let (lines, values) = match credential {
        GitCredential::Authtype { authtype, credential, expires_at } => (
            format!(
                "capability[]=authtype\nauthtype={authtype}\ncredential={credential}\nephemeral=1\npassword_expiry_utc={}\n\n",
                expires_at.seconds()
            ),
            [authtype, credential],
        ),
        GitCredential::Basic { username, password, expires_at } => (
            format!("username={username}\npassword={password}\npassword_expiry_utc={}\n\n", expires_at.seconds()),
            [username, password],
        ),
    };
    let lines = Zeroizing::new(lines);
    if values.iter().any(|value| value.contains(['\n', '\r', '\0'])) {
        return Err(FormatError::Smuggled);
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use daypass_proto::time::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Attributes, FormatError> {
        Attributes::read(&mut text.as_bytes())
    }

    #[test]
    fn what_git_2_47_says() {
        let said = read(
            "capability[]=authtype\ncapability[]=state\nprotocol=https\nhost=g.example:8443\npath=team/app.git\nwwwauth[]=Daypass realm=\"https://g.example:8443/\", nonce=\"n=1\"\nwwwauth[]=Basic realm=\"Daypass\"\n\nignored=after\n",
        )
        .unwrap();
        assert!(said.takes_authtype());
        assert_eq!(said.host(), Some("g.example:8443"));
        assert_eq!(said.path(), Some("team/app.git"));
        assert_eq!(said.wwwauth().len(), 2);
        assert!(said.wwwauth()[0].ends_with("nonce=\"n=1\""));
    }

    #[test]
    fn an_empty_value_clears_a_list() {
        let said = read("capability[]=authtype\ncapability[]=\nwwwauth[]=a\nwwwauth[]=\nwwwauth[]=b\n").unwrap();
        assert!(!said.takes_authtype());
        assert_eq!(said.wwwauth(), ["b"]);
    }

    #[test]
    fn of_an_attribute_that_stands_there_twice_the_last_counts() {
        // As git itself reads them (git-credential(1)).
        let said = read("protocol=http\nhost=a\npath=x\nprotocol=https\nhost=b\npath=\n").unwrap();
        assert_eq!((said.protocol(), said.host(), said.path()), (Some("https"), Some("b"), None));
    }

    #[test]
    fn what_is_no_attribute_is_refused() {
        assert!(read("protocol\n").is_err());
        assert!(read("host=a\0b\n").is_err());
        assert!(read(&format!("host={}\n", "a".repeat(MAX_LINE))).is_err());
        assert!(read(&"host=aaaaaaaaaaaaaaa\n".repeat(60_000)).is_err());
        assert!(Attributes::read(&mut &b"host=\xff\n"[..]).is_err());
    }

    #[test]
    fn a_line_break_begins_no_attribute() {
        for bad in ["tok\nquit=1", "tok\rx", "tok\0"] {
            let credential = GitCredential::Basic {
                username: "daypass".to_owned(),
                password: bad.to_owned(),
                expires_at: Timestamp::from_seconds(1),
            };
            assert!(matches!(answer(&credential), Err(FormatError::Smuggled)), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_stumble(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Attributes::read(&mut bytes.as_slice());
        }
    }
}

//! Files: the configurations of agent, gate and issuer, projects, briefings, key files, and the agent's record.
//!
//! Who writes them may be trusted; what he wrote may be anything. Whatever is wrong is said, and loosens nothing.

use std::path::Path;

use daypass_agent::tpm::KeyFile;
use daypass_issuer::policy::{Files, Piece, Policy, PolicyError};
use daypass_proto::time::Skew;

use crate::{choice, seed};

const FOLDER: &str = "/etc/daypass/apollo.toml";
const PROJECT: &str = "apollo";

/// The policy whose one project this is.
fn policy(text: &str) -> Result<Policy, PolicyError> {
    Policy::check(&[(format!("projects/{PROJECT}.toml"), text)].into_iter().collect::<Files>())
}

/// The policy whose one project has this text in its briefing.
fn briefed(text: &str) -> Result<Policy, PolicyError> {
    let project = include_str!("../../../server/issuer/project.toml.example");
    let files = [(format!("projects/{PROJECT}.toml"), project), (format!("projects/{PROJECT}.briefing.md"), text)];
    Policy::check(&files.into_iter().collect::<Files>())
}

/// One file, of the kind that the first letter names.
pub fn run(input: &[u8]) {
    let Some((kind, rest)) = choice(input, 6) else { return };
    // Anything else is refused where the file is read.
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let path = Path::new(FOLDER);
    match kind {
        0 => {
            if let Ok(config) = daypass_agent::config::Config::parse(text, path) {
                assert!(config.socket.is_absolute() && config.state_dir.is_absolute());
            }
        }
        1 => {
            let Ok(config) = daypass_gate::config::Config::parse(text, path) else { return };
            assert!(!config.resources.is_empty() && (0..=Skew::MAX_SECONDS).contains(&config.skew.seconds()));
            assert!((1..=5).contains(&config.poll_interval) && (1..=3600).contains(&config.feed_max_age));
            for guarded in &config.resources {
                assert!(guarded.path_prefix.starts_with('/') && guarded.path_prefix.ends_with('/'));
                let together = format!("{}{}", guarded.path_prefix, guarded.path_suffix);
                assert!(!together.contains("..") && !together.contains(['?', '%', '#', ' ']), "{together}");
                let same = |other: &&daypass_gate::config::Guarded| other.resource == guarded.resource;
                assert_eq!(config.resources.iter().filter(same).count(), 1);
            }
        }
        2 => {
            let Ok(config) = daypass_issuer::config::Config::parse(text, path) else { return };
            assert!(config.issuer_url != config.mtls_url && !config.pcrs.is_empty());
            assert!(config.pcrs.is_sorted_by(|one, other| one < other) && config.pcrs.iter().all(|pcr| *pcr < 24));
            assert!(config.device_certificate_lifetime > 0 && config.challenge_lifetime > 0);
        }
        3 => {
            let Ok(policy) = policy(text) else { return };
            let project = policy.project(&PROJECT.parse().unwrap()).expect("the one file");
            assert!(!project.owners.is_empty());
            for (_, role) in project.roles() {
                assert!((1..=3600).contains(&role.token_lifetime) && role.longest_grant > 0);
                for user in ["alice@example.com", "a*b", "refs/heads"] {
                    let _ = role.details_for(&user.parse().unwrap());
                }
            }
        }
        5 => {
            let Ok(policy) = briefed(text) else { return };
            let project = policy.project(&PROJECT.parse().unwrap()).expect("the one file");
            let pieces = project.briefing_text.as_ref().expect("its text").pieces();
            let put = |piece: &&Piece| matches!(piece, Piece::Put(_));
            assert!(!text.trim().is_empty() && text.len() <= 16 * 1024 && pieces.iter().filter(put).count() <= 100);
            for piece in pieces {
                match piece {
                    Piece::Text(words) => assert!(!words.contains("{{") && !words.contains('\u{1b}'), "{words}"),
                    Piece::Put(section) if section.is_section() => {
                        assert_eq!(pieces.iter().filter(|other| *other == piece).count(), 1);
                    }
                    Piece::Put(_) => {}
                }
            }
        }
        _ => {
            let Ok(key) = KeyFile::from_pem(text) else { return };
            let again = KeyFile::from_pem(&key.to_pem().expect("what was read is written")).expect("and read again");
            assert_eq!(again, key);
        }
    }
}

/// The reference files, and a key file.
pub fn seeds() -> Vec<Vec<u8>> {
    vec![
        seed(b'a', daypass_agent::config::REFERENCE),
        seed(
            b'a',
            "tcti = \"swtpm:host=127.0.0.1,port=2321\"\nprovision_srk = false\nsocket = \"s\"\nstate_dir = \"d\"\ninspector = \"i\"\n",
        ),
        seed(b'b', daypass_gate::config::REFERENCE),
        seed(b'c', daypass_issuer::config::REFERENCE),
        seed(b'd', include_str!("../../../server/issuer/project.toml.example")),
        seed(b'e', key_file()),
        seed(b'f', include_str!("../../../server/issuer/briefing.md.example")),
    ]
}

/// A key file as the agent writes it (draft-woodhouse-cert-best-practice-01, appendix A).
fn key_file() -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let der = |tag: u8, content: &[u8]| [&[tag, u8::try_from(content.len()).unwrap()][..], content].concat();
    let content = [
        &[0x06, 0x06, 0x67, 0x81, 0x05, 0x0a, 0x01, 0x03][..],
        &[0xa0, 0x03, 0x01, 0x01, 0xff],
        &[0x02, 0x05, 0x00, 0x81, 0x00, 0x00, 0x01],
        &der(0x04, &[0, 3, 1, 2, 3]),
        &der(0x04, &[0, 2, 4, 5]),
    ]
    .concat();
    let text = STANDARD.encode(der(0x30, &content));
    format!(
        "Endorsement-Key-SHA256: {}\nStorage-Root-Key: other\n-----BEGIN TSS2 PRIVATE KEY-----\n{text}\n-----END TSS2 PRIVATE KEY-----\n",
        "ab".repeat(32)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_good() {
        assert!(KeyFile::from_pem(&key_file()).is_ok());
        assert!(policy(include_str!("../../../server/issuer/project.toml.example")).is_ok());
        assert!(briefed(include_str!("../../../server/issuer/briefing.md.example")).is_ok());
    }

    /// Nothing is guessed: a key twice, a table within tables without end, and a number for a text are refused.
    #[test]
    fn strange_toml_is_refused() {
        let gate = daypass_gate::config::REFERENCE;
        let path = Path::new(FOLDER);
        let deep = format!("x = {}{}", "[".repeat(50_000), "]".repeat(50_000));
        for (what, text) in [
            ("a key twice", format!("listen = \"a:1\"\n{gate}")),
            ("a number", gate.replacen("listen = \"", "listen = 1 # \"", 1)),
            ("depth", deep.clone()),
            ("nothing", String::new()),
        ] {
            assert!(daypass_gate::config::Config::parse(&text, path).is_err(), "{what}");
        }
        assert!(daypass_agent::config::Config::parse(&deep, path).is_err());
        assert!(daypass_issuer::config::Config::parse(&deep, path).is_err());
        assert!(policy(&deep).is_err());
        assert!(KeyFile::from_pem(&"x".repeat(100_000)).is_err());
    }
}

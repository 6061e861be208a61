//! Which helpers besides ours git would hand a credential to.
//!
//! git itself cannot be asked for the list, so its matching (urlmatch.c, and credential.c for patterns without a scheme) is
//! judged here on the safe side: a reset counts only where it surely fits, a helper wherever it may.

use super::HelperEntry;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fits {
    Surely,
    Perhaps,
    No,
}

/// The helpers that git may ask, or tell, about `protocol://host/path`, in its order.
pub fn listed<'a>(entries: &'a [HelperEntry], protocol: &str, host: &str, path: Option<&str>) -> Vec<&'a str> {
    let mut list = Vec::new();
    for entry in entries {
        let fits = entry.pattern.as_deref().map_or(Fits::Surely, |pattern| fits(pattern, protocol, host, path));
        match (fits, entry.helper.as_str()) {
            (Fits::Surely, "") => list.clear(),
            (Fits::Perhaps, "") | (Fits::No, _) => {}
            (Fits::Surely | Fits::Perhaps, helper) => list.push(helper),
        }
    }
    list
}

/// Those of [`listed`] that are not ours.
pub fn others<'a>(entries: &'a [HelperEntry], protocol: &str, host: &str, path: Option<&str>) -> Vec<&'a str> {
    let mut list = listed(entries, protocol, host, path);
    list.retain(|helper| !is_ours(helper));
    list
}

/// Whether a helper line runs `git-credential-daypass`.
pub fn is_ours(helper: &str) -> bool {
    let program = program(helper);
    program == "daypass" || program.starts_with('/') && program.rsplit('/').next() == Some("git-credential-daypass")
}

/// The first word of a helper line, as the shell reads it: the program.
pub fn program(helper: &str) -> String {
    let mut program = String::new();
    let mut letters = helper.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => program.extend(letters.next()),
            letter if letter.is_whitespace() => break,
            letter => program.push(letter),
        }
    }
    program
}

fn fits(pattern: &str, protocol: &str, host: &str, path: Option<&str>) -> Fits {
    let Some((scheme, rest)) = pattern.split_once("://") else {
        // A pattern without scheme is compared part by part, and an absent part fits everything.
        let authority = rest_host(pattern.split('/').next().unwrap_or_default());
        return if authority.is_empty() || same_host(authority, host, protocol) { Fits::Perhaps } else { Fits::No };
    };
    if !scheme.eq_ignore_ascii_case(protocol) {
        return Fits::No;
    }
    let (authority, below) = rest.split_once('/').unwrap_or((rest, ""));
    let wanted = rest_host(authority);
    let by_host = if wanted.is_empty() || wanted.contains('*') {
        Fits::Perhaps
    } else if !same_host(wanted, host, protocol) {
        return Fits::No;
    } else if wanted.len() != authority.len() {
        // `user@host`: whether it fits depends on a user name that is not known here.
        Fits::Perhaps
    } else {
        Fits::Surely
    };
    let below = below.trim_end_matches('/');
    match path {
        _ if below.is_empty() => by_host,
        Some(path) if !below.contains('%') => {
            let inside = path.strip_prefix(below).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            if inside { by_host } else { Fits::No }
        }
        _ => Fits::Perhaps,
    }
}

fn rest_host(authority: &str) -> &str {
    authority.rsplit('@').next().unwrap_or(authority)
}

fn same_host(one: &str, other: &str, protocol: &str) -> bool {
    let port = if protocol == "https" { ":443" } else { ":80" };
    let plain = |host: &str| host.strip_suffix(port).unwrap_or(host).to_ascii_lowercase();
    plain(one) == plain(other)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

    use tempfile::TempDir;

    use super::*;
    use crate::git_config::Git;

    fn entry(pattern: Option<&str>, helper: &str) -> HelperEntry {
        HelperEntry { pattern: pattern.map(str::to_owned), helper: helper.to_owned() }
    }

    #[test]
    fn our_own_helper_is_known_in_every_spelling() {
        for ours in [
            "daypass",
            "/usr/bin/git-credential-daypass",
            r"/opt/my\ tools/git-credential-daypass --socket /a\ b --exclusive",
        ] {
            assert!(is_ours(ours), "{ours}");
        }
        for other in
            ["store", "!git-credential-daypass", "/bin/git-credential-daypass2", "/bin/sh git-credential-daypass", ""]
        {
            assert!(!is_ours(other), "{other}");
        }
    }

    #[test]
    fn a_doubtful_reset_does_not_count_and_a_doubtful_helper_does() {
        let doubtful = [entry(None, "store"), entry(Some("https://*.example"), ""), entry(None, "daypass")];
        assert_eq!(others(&doubtful, "https", "g.example", Some("a/b")), ["store"]);
        let user = [entry(None, "daypass"), entry(Some("https://me@g.example"), "store")];
        assert_eq!(others(&user, "https", "g.example", Some("a/b")), ["store"]);
    }

    /// git writes down which helpers it told to store; what [`others`] finds must name each of them.
    #[test]
    fn agrees_with_the_gits_that_are_here() {
        const HOST: &str = "g.example:8443";
        let cases: &[&str] = &[
            "[credential]\n helper = @other\n[credential \"https://g.example:8443/\"]\n helper =\n helper = @ours\n",
            "[credential \"https://g.example:8443/\"]\n helper =\n helper = @ours\n[credential]\n helper = @other\n",
            "[credential \"https://g.example:8443/\"]\n helper =\n helper = @ours\n[credential \"https://g.example:8443/team\"]\n helper = @other\n",
            "[credential \"https://g.example:8443/\"]\n helper =\n helper = @ours\n[credential \"https://g.example:8443/elsewhere\"]\n helper = @other\n",
            "[credential \"https://g.example:8443/\"]\n helper =\n helper = @ours\n[credential \"https://g.example\"]\n helper = @other\n",
            "[credential \"https://g.example:8443/\"]\n helper =\n helper = @ours\n[credential \"g.example:8443\"]\n helper = @other\n",
            "[credential \"https://g.example:8443/\"]\n helper =\n helper = @ours\n[credential \"https://*.example:8443\"]\n helper = @other\n",
            "[credential \"https://G.EXAMPLE:8443\"]\n helper = @other\n[credential \"https://g.example:8443/\"]\n helper = @ours\n",
            "[credential \"https://\"]\n helper = @other\n[credential]\n helper = @ours\n",
            "[credential \"http://g.example:8443\"]\n helper = @other\n[credential]\n helper = @ours\n",
        ];
        let mut asked = 0;
        for program in ["/usr/bin/git", "/usr/local/bin/git"] {
            if !Path::new(program).exists() {
                eprintln!("skipped: there is no {program}");
                continue;
            }
            for case in cases {
                asked += 1;
                let home = TempDir::new().unwrap();
                let log = home.path().join("log");
                for name in ["git-credential-daypass", "git-credential-other"] {
                    let script = format!(
                        "#!/bin/sh\ncat >/dev/null\n[ \"$1\" = store ] && echo {name} >> '{}'\nexit 0\n",
                        log.display()
                    );
                    let file = home.path().join(name);
                    fs::write(&file, script).unwrap();
                    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
                }
                let folder = home.path().display().to_string();
                let config = case
                    .replace("@ours", &format!("{folder}/git-credential-daypass"))
                    .replace("@other", &format!("{folder}/git-credential-other"))
                    + "[credential]\n useHttpPath = true\n";
                fs::write(home.path().join(".gitconfig"), config).unwrap();
                let input = format!("protocol=https\nhost={HOST}\npath=team/app\nusername=u\npassword=p\n\n");
                fs::write(home.path().join("input"), input).unwrap();
                let status = Command::new(program)
                    .args(["credential", "approve"])
                    .env_clear()
                    .env("PATH", "/usr/bin:/bin")
                    .env("HOME", home.path())
                    .env("GIT_CONFIG_NOSYSTEM", "1")
                    .current_dir(home.path())
                    .stdin(fs::File::open(home.path().join("input")).unwrap())
                    .status()
                    .unwrap();
                assert!(status.success());
                let told = fs::read_to_string(&log).unwrap_or_default().contains("git-credential-other");
                let entries = Git::default()
                    .program(program.as_ref())
                    .variable("HOME", home.path().as_os_str())
                    .variable("GIT_CONFIG_NOSYSTEM", "1".as_ref())
                    .folder(home.path())
                    .helpers()
                    .unwrap();
                let found = !others(&entries, "https", HOST, Some("team/app")).is_empty();
                assert_eq!(told, found, "{program}: {case}");
            }
        }
        assert!(asked > 0 || !Path::new("/usr/bin/git").exists());
    }
}

//! A clean Debian in a folder, made once and unpacked for each run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    failure::Failure,
    tool::{file, fresh_folder, ran, run, tool},
};

/// The Debian that the packages are for.
const SUITE: &str = "bookworm";

/// An unpacked Debian. Goes away when dropped.
pub(super) struct Root {
    path: PathBuf,
}

impl Root {
    /// Unpacks one below `folder`; makes it where it is missing, from where this machine's apt gets its packages.
    pub(super) fn make(folder: &Path) -> Result<Self, Failure> {
        let tar = folder.join(format!("{SUITE}.tar"));
        if !tar.exists() {
            println!("making a clean Debian, once");
            let new = tar.with_extension("new.tar");
            let mut make = tool("mmdebstrap", ["--quiet", "--variant=minbase", SUITE]);
            run(make.arg(&new).args(sources()?))?;
            fs::rename(&new, &tar).map_err(file("rename", &new))?;
        }
        let root = Self { path: folder.join("root") };
        fresh_folder(&root.path)?;
        run(tool("tar", ["--extract", "--file"]).arg(&tar).arg("--directory").arg(&root.path))?;
        let resolver = Path::new("/etc/resolv.conf");
        let to = root.path.join("etc/resolv.conf");
        fs::copy(resolver, &to).map_err(file("copy", resolver))?;
        // Which no package brings.
        let hosts = root.path.join("etc/hosts");
        fs::write(&hosts, "127.0.0.1 localhost\n").map_err(file("write", &hosts))?;
        Ok(root)
    }

    /// The folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A path inside, as seen from outside.
    pub(super) fn inside(&self, path: &str) -> PathBuf {
        self.path.join(path.trim_start_matches('/'))
    }

    /// Puts a file in.
    pub(super) fn put(&self, from: &Path, to: &str) -> Result<(), Failure> {
        let to = self.inside(to);
        fs::copy(from, &to).map(drop).map_err(file("copy", from))
    }

    /// A command inside, where no systemd runs. In namespaces of its own, with a `/proc` of its own: what it leaves running ends with it.
    pub(super) fn chroot(&self, arguments: &[&str]) -> Command {
        let mut command = tool("unshare", ["--mount", "--pid", "--fork", "--kill-child", "--root"]);
        command.arg(&self.path).arg("--mount-proc").args(arguments);
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("DEBIAN_FRONTEND", "noninteractive").env("LANG", "C.UTF-8");
        // How apt gets out of here, where that takes a proxy.
        command.envs(std::env::vars().filter(|(name, _)| name.to_ascii_lowercase().ends_with("_proxy")));
        command
    }

    /// Every path inside whose name or owner is ours.
    pub(super) fn ours(&self) -> Result<String, Failure> {
        let mut find = self.chroot(&["find", "/", "-xdev", "(", "-ipath", "*daypass*"]);
        let users = fs::read_to_string(self.inside("etc/passwd")).unwrap_or_default();
        for user in
            super::PACKAGES.iter().filter(|user| users.lines().any(|line| line.starts_with(&format!("{user}:"))))
        {
            find.args(["-o", "-user", user]);
        }
        run(find.args([")", "-not", "-path", "/opt/*"]))
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("could not remove `{}`: {error}", self.path.display());
        }
    }
}

/// The machine's own archives, as `deb` lines: only it knows where packages come from here.
fn sources() -> Result<Vec<String>, Failure> {
    let format = "$(SITE) $(REPO_URI) $(CODENAME) $(COMPONENT) $(CREATED_BY)";
    let (_, said) = ran(&mut tool("apt-get", ["indextargets", "--format", format]))?;
    let lines = deb_lines(&said);
    if lines.is_empty() {
        let faults = vec![said];
        return Err(Failure::Check { what: format!("apt has no archive of Debian {SUITE} on this machine"), faults });
    }
    Ok(lines)
}

fn deb_lines(targets: &str) -> Vec<String> {
    let mut lines: Vec<String> = targets
        .lines()
        .filter_map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
            [_, uri, codename, component, "Packages"] if codename.split('-').next() == Some(SUITE) => {
                Some(format!("deb {uri} {codename} {component}"))
            }
            _ => None,
        })
        .collect();
    lines.sort_unstable();
    lines.dedup();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_of_this_debian_alone_are_taken() {
        let targets = "https://a.example https://a.example/debian/ bookworm main Packages\n\
                       https://a.example https://a.example/debian/ bookworm main Contents-deb\n\
                       https://a.example https://a.example/security/ bookworm-security main Packages\n\
                       https://b.example https://b.example/node/ nodistro main Packages\n";
        assert_eq!(
            deb_lines(targets),
            ["deb https://a.example/debian/ bookworm main", "deb https://a.example/security/ bookworm-security main"]
        );
    }
}

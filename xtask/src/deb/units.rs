//! The units, and what makes their users and folders: systemd's own opinion of them, without a running systemd.

use std::{fs, path::Path};

use crate::{
    failure::Failure,
    packages::is_root,
    tool::{file, fresh_folder, ran, run, tool},
};

/// Each unit with the most exposure, in tenths, that `systemd-analyze security` may find: what is reached, so that it only falls.
const EXPOSURE: [(&str, u8); 4] = [
    ("daypass.service", 17),
    ("daypass-inspector.service", 10),
    ("daypass-issuer.service", 12),
    ("daypass-gate.service", 15),
];
const FOLDER: &str = "lib/systemd/system";

/// Checks the units below `root`, where the packages were extracted; `scratch` is for copies.
pub(super) fn check(root: &Path, scratch: &Path) -> Result<(), Failure> {
    let units = root.join(FOLDER);
    for (unit, most) in EXPOSURE {
        let threshold = format!("--threshold={most}");
        let (output, said) = ran(
            tool("systemd-analyze", ["security", "--offline=true", &threshold, "--no-pager"]).arg(units.join(unit))
        )?;
        let overall = said.lines().rev().find(|line| line.contains("exposure level")).unwrap_or("nothing was said");
        println!("{}", overall.trim_start_matches(['→', ' ']));
        if !output.status.success() {
            return Err(Failure::Check { what: format!("`{unit}` is more exposed than it was"), faults: vec![said] });
        }
    }
    verify(root, scratch)?;
    users_and_folders(root)
}

/// `systemd-analyze verify` looks for the programs; so the copies that it sees name the extracted ones.
fn verify(root: &Path, scratch: &Path) -> Result<(), Failure> {
    fresh_folder(scratch)?;
    let units = root.join(FOLDER);
    let mut copies = Vec::new();
    for entry in fs::read_dir(&units).map_err(file("list", &units))? {
        let path = entry.map_err(file("list", &units))?.path();
        let text = fs::read_to_string(&path).map_err(file("read", &path))?;
        let to = scratch.join(path.file_name().unwrap_or_default());
        let text = text.replace("=/usr/bin/", &format!("={}/usr/bin/", root.display()));
        fs::write(&to, text).map_err(file("write", &to))?;
        copies.push(to);
    }
    // Manual pages are looked for on this machine, where none of ours is.
    let (output, said) = ran(tool("systemd-analyze", ["verify", "--man=no", "--no-pager"]).args(&copies))?;
    let ours: Vec<String> = said.lines().filter(|line| line.contains("daypass")).map(str::to_owned).collect();
    if output.status.success() && ours.is_empty() {
        Ok(())
    } else {
        Err(Failure::Check { what: "`systemd-analyze verify`".to_owned(), faults: vec![said] })
    }
}

fn users_and_folders(root: &Path) -> Result<(), Failure> {
    let option = format!("--root={}", root.display());
    run(&mut tool("systemd-sysusers", [&option]))?;
    let passwd = root.join("etc/passwd");
    let users = fs::read_to_string(&passwd).map_err(file("read", &passwd))?;
    for (user, home) in [
        ("daypass", "/var/lib/daypass"),
        ("daypass-issuer", "/var/lib/daypass-issuer"),
        ("daypass-gate", "/var/lib/daypass-gate"),
    ] {
        let closed =
            |line: &str| line.starts_with(&format!("{user}:")) && line.ends_with(&format!(":{home}:/usr/sbin/nologin"));
        if !users.lines().any(closed) {
            return Err(Failure::Check { what: format!("no closed user `{user}` was made"), faults: vec![users] });
        }
    }
    if !is_root() {
        println!("skipped: making the folders of tmpfiles.d needs root");
        return Ok(());
    }
    // By `tpm-udev`, which is not here.
    run(&mut tool("systemd-sysusers", [option.as_str(), "--inline", "g tss -"]))?;
    run(&mut tool("systemd-tmpfiles", [option.as_str(), "--create"]))?;
    for (folder, mode) in [("run/daypass", 0o755), ("var/lib/daypass-issuer", 0o700), ("var/lib/daypass-gate", 0o700)] {
        use std::os::unix::fs::MetadataExt as _;
        let path = root.join(folder);
        let made = fs::metadata(&path).map_err(file("look at", &path))?;
        if made.mode() & 0o777 != mode || made.uid() == 0 {
            let faults = vec![format!("mode {:o}, owner {}", made.mode() & 0o777, made.uid())];
            return Err(Failure::Check { what: format!("`{folder}` is another's"), faults });
        }
    }
    Ok(())
}

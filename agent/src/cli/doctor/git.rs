//! git's configuration: does it ask us, does it say which repository, and does it tell nobody else?

use std::path::Path;

use daypass_proto::{
    local_api::{Enrolment, ErrorCode, LocalResource},
    resource::Resource,
};

use super::Finding;
use crate::{
    file_kind::open_file,
    git_config::{self, Git, GitConfigError, HelperEntry},
};

/// The git that first took a credential which helpers do not store.
const AUTHTYPE_SINCE: (u32, u32) = (2, 46);
/// Outranks every `http.<url>.sslCAInfo`.
const CA_VARIABLE: &str = "GIT_SSL_CAINFO";
/// Switches every check of certificates off.
const TRUST_ALL_VARIABLE: &str = "GIT_SSL_NO_VERIFY";

pub(super) fn version(git: &Git<'_>) -> Finding {
    match git.version() {
        Ok(version) if takes_authtype(&version) => Finding::good("git", format!("version {version}")),
        Ok(version) => Finding::good("git", format!("version {version}; before 2.46, so credentials go as passwords")),
        Err(error) => Finding::warning("git", error.to_string(), "install git, if this machine is to use repositories"),
    }
}

pub(super) fn takes_authtype(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= AUTHTYPE_SINCE
}

pub(super) fn look(git: &Git<'_>, enrolments: &[Enrolment]) -> Vec<Finding> {
    let mut findings = vec![version(git)];
    let Ok(version) = git.version() else { return findings };
    let resources = enrolments.iter().flat_map(|enrolment| &enrolment.resources);
    let looked = git.helpers().map(|entries| {
        for resource in resources {
            findings.push(
                one(git, &entries, resource, takes_authtype(&version)).unwrap_or_else(|error| unreadable(&error)),
            );
        }
    });
    if let Err(error) = looked {
        findings.push(unreadable(&error));
    }
    findings
}

fn unreadable(error: &GitConfigError) -> Finding {
    Finding::failed(
        "git",
        ErrorCode::Configuration,
        error.to_string(),
        "see to git's configuration (`git config --list --show-origin`)",
    )
}

/// The first thing that is wrong for one resource, or that nothing is.
fn one(
    git: &Git<'_>,
    entries: &[HelperEntry],
    local: &LocalResource,
    authtype: bool,
) -> Result<Finding, GitConfigError> {
    let resource = &local.resource;
    let url = resource.as_str();
    let again = "run `daypass setup git`";
    let failed =
        |message: String, next_step: &str| Finding::failed("git", ErrorCode::Configuration, message, next_step);
    let listed = git_config::listed(entries, "https", resource.host_and_port(), None);
    let Some(ours) = listed.iter().find(|helper| git_config::is_ours(helper)) else {
        return Ok(failed(format!("{resource}: git does not ask Daypass"), again));
    };
    let program = git_config::program(ours);
    if program.starts_with('/') && !Path::new(&program).is_file() {
        return Ok(failed(format!("{resource}: git is told to run `{program}`, which is not there"), again));
    }
    if git.is_on("credential.useHttpPath", url)? != Some(true) {
        return Ok(failed(format!("{resource}: git does not say which repository it wants"), again));
    }
    if let Some(finding) = others(entries, resource, authtype) {
        return Ok(finding);
    }
    if git.sees(TRUST_ALL_VARIABLE).is_some() {
        return Ok(failed(
            format!("{resource}: `{TRUST_ALL_VARIABLE}` is set, so anybody on the way can pose as it"),
            "take that variable out of the environment",
        ));
    }
    if git.is_on("http.sslVerify", url)? == Some(false) {
        return Ok(failed(
            format!("{resource}: `http.sslVerify` is off, so anybody on the way can pose as it"),
            "take that setting out of git's configuration",
        ));
    }
    if let Some(wanted) = &local.ca_file {
        if git.value_for("http.sslCAInfo", url)?.as_deref() != Some(wanted) {
            return Ok(failed(format!("{resource}: git does not know the CA of its certificate"), again));
        }
        if git.sees(CA_VARIABLE).is_some_and(|set| set != wanted.as_str()) {
            return Ok(failed(
                format!(
                    "{resource}: `{CA_VARIABLE}` in the environment outranks git's configuration, and names another CA"
                ),
                "take that variable out of the environment, where `http.sslCAInfo` for all other hosts can stand in its place",
            ));
        }
        if let Err(error) = open_file(Path::new(wanted)) {
            return Ok(failed(
                format!("{resource}: the CA of its certificate, `{wanted}`, cannot be read: {error}"),
                "restart the agent, which writes it again; if it stays so, see to the permissions of its folder",
            ));
        }
    }
    Ok(Finding::good("git", format!("{resource}: asks Daypass and tells nobody else")))
}

fn others(entries: &[HelperEntry], resource: &Resource, authtype: bool) -> Option<Finding> {
    let others = git_config::others(entries, "https", resource.host_and_port(), None);
    let other = others.first()?;
    let message = format!("{resource}: git tells the helper `{other}` what Daypass hands out");
    let next_step = format!(
        "run `daypass setup git` again; if that does not help, `{other}` stands in this repository's own configuration (`git config --show-origin --get-all credential.helper`)"
    );
    // Helpers of today leave alone what is marked `ephemeral`; a password they would keep, so the agent gives an older git none.
    Some(if authtype {
        Finding::warning("git", message, next_step)
    } else {
        Finding::failed("git", ErrorCode::Configuration, format!("{message}, so it is refused"), next_step)
    })
}

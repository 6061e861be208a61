//! Resources and repositories in their one canonical form.
//!
//! Agent, issuer and gate must mean the same repository, so there is one parser, with an allow-list: what is not
//! plainly a name is refused, never repaired. No percent sign survives, so no encoded slash or dot does.

use std::{fmt, str::FromStr};

use thiserror::Error;
use url::Url;

use crate::{names::serde_as_text, redaction::glimpse_up_to};

/// The longest URL of a resource or repository, in bytes: a host, and 16 components of 100.
const MAX_URL: usize = 2048;

/// Why a URL is not a resource or a repository.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum ResourceError {
    /// Not a URL at all, or longer than any here.
    #[error("`{0}` is not a URL; write one such as `https://git.example.com/`")]
    NotAUrl(String),
    /// Only TLS protects a proof on its way.
    #[error("`{0}` does not begin with `https://`")]
    NotHttps(String),
    /// User, password, query or fragment.
    #[error("`{0}` has a user, a query or a fragment; only scheme, host, port and path are allowed")]
    Decorated(String),
    /// A resource is an origin.
    #[error("`{0}` has a path; a resource is a host with an optional port, such as `https://git.example.com/`")]
    HasPath(String),
    /// A repository needs a path of plain components.
    #[error(
        "`{0}` is not a repository path: expected 1 to 16 components of letters, digits, `.`, `_`, `-`, not beginning with `.` or `-`, not ending in `.git`, without `..`"
    )]
    Path(String),
}

fn shown(text: &str) -> String {
    glimpse_up_to(200, text)
}

/// What a token is for: the origin of a gate, with a final slash. The `aud` of a token, the `resource` of RFC 8707.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Resource(String);

impl Resource {
    /// The resource as it stands on the wire, with its final slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The origin: without the final slash.
    pub fn origin(&self) -> &str {
        self.0.strip_suffix('/').unwrap_or(&self.0)
    }

    /// `host` or `host:port`, as git writes it in a credential request.
    pub fn host_and_port(&self) -> &str {
        let origin = self.origin();
        origin.strip_prefix("https://").unwrap_or(origin)
    }

    /// Host alone, without brackets for IPv6.
    pub fn host(&self) -> String {
        Url::parse(&self.0)
            .ok()
            .and_then(|url| url.host_str().map(|host| host.trim_matches(['[', ']']).to_owned()))
            .unwrap_or_default()
    }

    /// The resource that an absolute `https` URL belongs to, whatever its path and query.
    pub fn of_url(url: &str) -> Result<Self, ResourceError> {
        let parsed = parse_https(url)?;
        Ok(Self(format!("{}/", parsed.origin().ascii_serialization())))
    }

    /// The repository at `path` of this resource; `path` may begin with `/` and end in `/` and `.git`.
    pub fn repository(&self, path: &str) -> Result<Repository, ResourceError> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let path = path.strip_suffix('/').unwrap_or(path);
        let path = path.strip_suffix(".git").unwrap_or(path);
        if !is_repository_path(path) {
            return Err(ResourceError::Path(shown(path)));
        }
        Ok(Repository { origin: self.origin().len(), url: format!("{}{path}", self.0) })
    }
}

fn short(text: &str) -> Result<&str, ResourceError> {
    if text.len() <= MAX_URL { Ok(text) } else { Err(ResourceError::NotAUrl(shown(text))) }
}

fn parse_https(text: &str) -> Result<Url, ResourceError> {
    let url = Url::parse(text).map_err(|_| ResourceError::NotAUrl(shown(text)))?;
    if url.scheme() != "https" {
        return Err(ResourceError::NotHttps(shown(text)));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // Not shown: there may be a password in it.
        return Err(ResourceError::Decorated(url.host_str().unwrap_or_default().to_owned()));
    }
    Ok(url)
}

impl FromStr for Resource {
    type Err = ResourceError;

    fn from_str(text: &str) -> Result<Self, ResourceError> {
        let url = parse_https(short(text)?)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(ResourceError::Decorated(shown(text)));
        }
        if url.path() != "/" {
            return Err(ResourceError::HasPath(shown(text)));
        }
        Ok(Self(format!("{}/", url.origin().ascii_serialization())))
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

serde_as_text!(Resource);

/// A git repository behind a gate, in canonical form: no `.git`, no final slash.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Repository {
    url: String,
    origin: usize,
}

impl Repository {
    /// The canonical URL.
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// The path below the resource: `team/app`.
    pub fn path(&self) -> &str {
        self.url.get(self.origin + 1..).unwrap_or_default()
    }

    /// The resource that this repository belongs to.
    pub fn resource(&self) -> Resource {
        Resource(self.url.get(..=self.origin).unwrap_or_default().to_owned())
    }
}

impl FromStr for Repository {
    type Err = ResourceError;

    /// Takes a git remote too: one final `/` and one `.git` come off.
    fn from_str(text: &str) -> Result<Self, ResourceError> {
        let url = parse_https(short(text)?)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(ResourceError::Decorated(shown(text)));
        }
        // The URL parser resolves `..` and re-encodes: what was written must already be what it says.
        let written = text.splitn(4, '/').nth(3).unwrap_or_default();
        if url.path().strip_prefix('/') != Some(written) {
            return Err(ResourceError::Path(shown(text)));
        }
        Resource::of_url(text)?.repository(url.path())
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

serde_as_text!(Repository);

fn is_repository_path(path: &str) -> bool {
    let mut count = 0;
    path.split('/').all(|component| {
        count += 1;
        count <= 16 && is_component(component) && !ends_in_git(component)
    })
}

/// `app.git.git` would come back as `app.git`, which is written `app`; `app.GIT` is `app.git` where a file system says so; and
/// `app.git/refs` is inside a repository.
fn ends_in_git(component: &str) -> bool {
    component
        .len()
        .checked_sub(4)
        .and_then(|at| component.get(at..))
        .is_some_and(|end| end.eq_ignore_ascii_case(".git"))
}

/// One path component: also the form in which `{user}` is substituted.
pub(crate) fn is_component(component: &str) -> bool {
    component.len() <= 100
        && component.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric() || first == b'_')
        && component.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        && !component.contains("..")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn resources_are_origins() {
        let resource: Resource = "https://Git.Example.com:443".parse().unwrap();
        assert_eq!(resource.as_str(), "https://git.example.com/");
        assert_eq!("https://[::1]:8443/".parse::<Resource>().unwrap().host(), "::1");
        assert_eq!("https://h:8443/".parse::<Resource>().unwrap().host_and_port(), "h:8443");
        for bad in ["http://a/", "https://a/b", "https://a/?x", "https://u:p@a/", "git.example.com", "https://a/#f"] {
            assert!(bad.parse::<Resource>().is_err(), "{bad}");
        }
    }

    #[test]
    fn remotes_come_to_one_form() {
        for remote in
            ["https://h:1/team/app", "https://h:1/team/app.git", "https://h:1/team/app.git/", "https://H:1/team/app/"]
        {
            let repository: Repository = remote.parse().unwrap();
            assert_eq!(repository.as_str(), "https://h:1/team/app");
            assert_eq!(repository.path(), "team/app");
            assert_eq!(repository.resource().as_str(), "https://h:1/");
        }
    }

    #[test]
    fn tricks_in_paths_are_refused() {
        for bad in [
            "https://h/",
            "https://h/a//b",
            "https://h/a/../b",
            "https://h/%2e%2e/b",
            "https://h/a%2fb",
            "https://h/.git",
            "https://h/-x",
            "https://h/a/.hidden",
            "https://h/a b",
            "https://h/a\\b",
            "https://h/a?b",
            "https://h/a..b",
            "https://h/ü",
            "https://h/a/.git/.git",
            "https://h/a.git.git",
            "https://h/a.GIT",
            "https://h/a.git/refs",
        ] {
            assert!(bad.parse::<Repository>().is_err(), "{bad}");
        }
        let deep = format!("https://h/{}", ["a"; 17].join("/"));
        assert!(deep.parse::<Repository>().is_err());
        let long = format!("https://{}/", "a.".repeat(MAX_URL / 2));
        assert!(matches!(long.parse::<Resource>(), Err(ResourceError::NotAUrl(shown)) if shown.len() == 200));
        let hidden = "https://h\u{202e}/".parse::<Resource>();
        assert!(matches!(hidden, Err(ResourceError::NotAUrl(shown)) if shown == "https://h\u{fffd}/"));
        assert!(format!("{long}a").parse::<Repository>().is_err());
        assert!(format!("https://h/{}", "a".repeat(101)).parse::<Repository>().is_err());
    }
    proptest! {
        #[test]
        fn one_form_for_each(text in "(https|HTTPS|http)://[a-zA-Z0-9.@:\\[\\]%ü-]{0,12}(/[a-zA-Z0-9._%?#/\\\\-]{0,20})?") {
            if let Ok(resource) = text.parse::<Resource>() {
                prop_assert_eq!(resource.as_str().parse::<Resource>(), Ok(resource.clone()));
                prop_assert_eq!(Resource::of_url(&text), Ok(resource));
            }
            if let Ok(repository) = text.parse::<Repository>() {
                prop_assert_eq!(repository.as_str().parse::<Repository>(), Ok(repository.clone()));
                prop_assert_eq!(repository.as_str(), format!("{}{}", repository.resource(), repository.path()));
                prop_assert!(!repository.as_str().contains(['%', '?', '#', '\\']));
            }
        }
    }
}

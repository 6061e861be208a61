//! From a request line to (repository, endpoint, service). The client's URL goes no further: the upstream request is built anew
//! from what is parsed here, so a URL cannot mean one thing to the gate and another to the server.

use daypass_proto::resource::{Repository, Resource, ResourceError};
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use thiserror::Error;

/// The two services of git smart HTTP.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Service {
    /// Clone and fetch.
    UploadPack,
    /// Push.
    ReceivePack,
}

impl Service {
    /// git's name for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UploadPack => "git-upload-pack",
            Self::ReceivePack => "git-receive-pack",
        }
    }

    /// Whether a request says that its body is one of this service, once.
    pub fn is_type_of(self, headers: &HeaderMap) -> bool {
        let mut types = headers.get_all(header::CONTENT_TYPE).iter();
        let given = (types.next().map(HeaderValue::as_bytes), types.next());
        given == (Some(self.request_type().as_bytes()), None)
    }

    /// The type of its requests.
    pub fn request_type(self) -> String {
        format!("application/x-{}-request", self.name())
    }
}

/// What is asked of a service.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Endpoint {
    /// `GET info/refs?service=…`
    Advertise(Service),
    /// `POST git-…-pack`
    Call(Service),
}

impl Endpoint {
    /// The service.
    pub const fn service(self) -> Service {
        match self {
            Self::Advertise(service) | Self::Call(service) => service,
        }
    }
}

/// A request of git smart HTTP, and nothing else.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// The resource that was addressed.
    pub resource: Resource,
    /// The repository in it.
    pub repository: Repository,
    /// What is asked.
    pub endpoint: Endpoint,
}

/// Why a request is not routed.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum RouteError {
    /// No `Host`, several, or one that this gate does not guard.
    #[error("this gate does not serve the host that was asked for")]
    Host,
    /// Not one of the three endpoints.
    #[error(
        "only git's smart HTTP endpoints are served here: `info/refs?service=…`, `git-upload-pack`, `git-receive-pack`"
    )]
    Endpoint,
    /// The right path with the wrong method.
    #[error("this endpoint takes another method")]
    Method,
    /// Not a repository path.
    #[error(transparent)]
    Repository(#[from] ResourceError),
}

/// Parses a request against the guarded resources.
pub fn parse(method: &Method, uri: &Uri, headers: &HeaderMap, resources: &[Resource]) -> Result<Route, RouteError> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return Err(RouteError::Host) };
    let host = host.to_str().map_err(|_| RouteError::Host)?;
    // An absolute-form target could name another host than the header does.
    if uri.authority().is_some() || uri.scheme().is_some() {
        return Err(RouteError::Endpoint);
    }
    let asked: Resource = format!("https://{host}/").parse().map_err(|_| RouteError::Host)?;
    let resource = resources.iter().find(|resource| **resource == asked).ok_or(RouteError::Host)?;
    let (path, query) = (uri.path(), uri.query());
    let ends = |suffix: &str| path.strip_suffix(suffix).filter(|rest| !rest.ends_with('/'));
    let (rest, endpoint, needed) = if let Some(rest) = ends("/info/refs") {
        let service = match query {
            Some("service=git-upload-pack") => Service::UploadPack,
            Some("service=git-receive-pack") => Service::ReceivePack,
            _ => return Err(RouteError::Endpoint),
        };
        (rest, Endpoint::Advertise(service), Method::GET)
    } else if let Some(rest) = ends("/git-upload-pack").filter(|_| query.is_none()) {
        (rest, Endpoint::Call(Service::UploadPack), Method::POST)
    } else if let Some(rest) = ends("/git-receive-pack").filter(|_| query.is_none()) {
        (rest, Endpoint::Call(Service::ReceivePack), Method::POST)
    } else {
        return Err(RouteError::Endpoint);
    };
    if *method != needed {
        return Err(RouteError::Method);
    }
    Ok(Route { resource: resource.clone(), repository: resource.repository(rest)?, endpoint })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn route(method: &str, target: &str) -> Result<Route, RouteError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "h:8443".parse().unwrap());
        parse(&method.parse().unwrap(), &target.parse().unwrap(), &headers, &["https://h:8443/".parse().unwrap()])
    }

    #[test]
    fn the_three_endpoints() {
        for (method, target, endpoint) in [
            ("GET", "/team/app.git/info/refs?service=git-upload-pack", Endpoint::Advertise(Service::UploadPack)),
            ("GET", "/team/app/info/refs?service=git-receive-pack", Endpoint::Advertise(Service::ReceivePack)),
            ("POST", "/team/app.git/git-upload-pack", Endpoint::Call(Service::UploadPack)),
            ("POST", "/team/app/git-receive-pack", Endpoint::Call(Service::ReceivePack)),
        ] {
            let route = route(method, target).unwrap();
            assert_eq!((route.repository.as_str(), route.endpoint), ("https://h:8443/team/app", endpoint), "{target}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for (method, target) in [
            ("GET", "/team/app.git/info/refs"),
            ("GET", "/team/app.git/info/refs?service=git-upload-pack&service=git-receive-pack"),
            ("GET", "/team/app.git/info/refs?x=1&service=git-upload-pack"),
            ("GET", "/team/app.git/info/refs?service=git%2Dupload-pack"),
            ("GET", "/team/app.git/HEAD"),
            ("GET", "/team/app.git/objects/info/packs"),
            ("POST", "/team/app.git/info/lfs/objects/batch"),
            ("POST", "/team/app.git/git-upload-archive"),
            ("POST", "/team/app.git/git-receive-pack?x"),
            ("GET", "/team/app.git/git-upload-pack"),
            ("HEAD", "/team/app.git/info/refs?service=git-upload-pack"),
            ("POST", "/team%2Fapp.git/git-upload-pack"),
            ("POST", "/team/../app.git/git-upload-pack"),
            ("POST", "/team/./app.git/git-upload-pack"),
            ("POST", "//app.git/git-upload-pack"),
            ("POST", "/team/app.git//git-upload-pack"),
            ("POST", "/git-upload-pack"),
            ("POST", "https://h:8443/team/app.git/git-upload-pack"),
        ] {
            assert!(route(method, target).is_err(), "{method} {target}");
        }
    }

    #[test]
    fn the_host_must_be_guarded_and_single() {
        let uri: Uri = "/a/git-upload-pack".parse().unwrap();
        let resources = ["https://h/".parse().unwrap()];
        let with = |hosts: &[&str]| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(header::HOST, host.parse().unwrap());
            }
            parse(&Method::POST, &uri, &headers, &resources)
        };
        assert!(with(&["h"]).is_ok());
        assert!(with(&["H:443"]).is_ok());
        for hosts in [&[][..], &["h", "h"], &["i"], &["h:1"], &["h/x"], &["u@h"]] {
            assert_eq!(with(hosts), Err(RouteError::Host), "{hosts:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_routed_is_canonical(path in "[a-zA-Z0-9./%_-]{0,40}") {
            if let Ok(route) = route("POST", &format!("/{path}/git-receive-pack")) {
                prop_assert!(!route.repository.path().contains("..") && !route.repository.path().contains('%'));
            }
        }
    }
}

//! git's probe: before a body that it cannot send twice, git asks with an empty list whether it would be let in (gitprotocol-http(5)).
//!
//! git 2.46 and later forget the credential on that one request where it has a scheme of its own (`authtype`), and give up when the
//! answer is 401; the large request behind it carries the credential. So exactly this probe is answered to everybody, from its form
//! alone: no store, no upstream, no view is asked, and the answer is the same for every repository that can be named.

use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

use crate::route::{Endpoint, Service};

/// A flush packet and nothing else.
const PROBE: [u8; 4] = *b"0000";

/// The service that a request without a credential probes; `None` for everything else, which needs one.
pub async fn probed(endpoint: Endpoint, headers: &HeaderMap, body: &mut Incoming) -> Option<Service> {
    let service = has_form(endpoint, headers, body.size_hint().exact())?;
    // As long as it says, or it fails.
    let sent = body.collect().await.ok()?.to_bytes();
    (sent == PROBE.as_slice()).then_some(service)
}

fn has_form(endpoint: Endpoint, headers: &HeaderMap, length: Option<u64>) -> Option<Service> {
    let Endpoint::Call(service) = endpoint else { return None };
    let bare = !headers.contains_key(header::AUTHORIZATION) && !headers.contains_key(header::CONTENT_ENCODING);
    let fits = bare && length == Some(4) && service.is_type_of(headers);
    fits.then_some(service)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_the_probe_of_git_has_its_form() {
        let push = Endpoint::Call(Service::ReceivePack);
        let mut headers = HeaderMap::new();
        assert_eq!(has_form(push, &headers, Some(4)), None, "no type");
        let kind = HeaderValue::from_static("application/x-git-receive-pack-request");
        headers.insert(header::CONTENT_TYPE, kind.clone());
        assert_eq!(has_form(push, &headers, Some(4)), Some(Service::ReceivePack));
        assert_eq!(has_form(Endpoint::Call(Service::UploadPack), &headers, Some(4)), None, "the other's type");
        assert_eq!(has_form(Endpoint::Advertise(Service::ReceivePack), &headers, Some(4)), None, "no call");
        for length in [None, Some(0), Some(3), Some(5)] {
            assert_eq!(has_form(push, &headers, length), None, "{length:?}");
        }
        for (name, value) in [(header::AUTHORIZATION, "Bearer x"), (header::CONTENT_ENCODING, "gzip")] {
            let mut more = headers.clone();
            more.insert(&name, HeaderValue::from_static(value));
            assert_eq!(has_form(push, &more, Some(4)), None, "{name}");
        }
        headers.append(header::CONTENT_TYPE, kind);
        assert_eq!(has_form(push, &headers, Some(4)), None, "a type twice");
    }
}

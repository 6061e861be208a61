//! One-line texts: codes, names, URLs of resources and repositories, ref patterns, durations, upstreams, TCTIs.
//!
//! Whatever is accepted has one canonical form, which reads back as the same.

use std::{fmt::Display, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use daypass_agent::tpm::Tcti;
use daypass_gate::upstream::Upstream;
use daypass_proto::{
    authorization::{RefPattern, substitute_user},
    dpop,
    encoding::{base64url, sha256},
    invitation::{Code, CodeKind, CodeSecret, canonical_issuer},
    ledger::checkpoint::{CheckpointKey, MAX_CHECKPOINT, VerifiedCheckpoint, peek},
    names::{Collaborator, DeviceId, EnrolmentId, GateName, GrantId, InvitationId, ProjectName, RenewalId, RoleName},
    pin::Pin,
    resource::{Repository, Resource},
};

use crate::{choice, seed};

/// One text, of the kind that the first letter names.
pub fn run(input: &[u8]) {
    let Some((kind, rest)) = choice(input, 16) else { return };
    if kind == 2 {
        return sealed_code(rest);
    }
    // Everything here is text before it comes to these parsers; whether it is UTF-8 is asked by whoever reads it from outside.
    let Ok(text) = std::str::from_utf8(rest) else { return };
    match kind {
        0 => code(CodeKind::Invitation, text),
        1 => code(CodeKind::Gate, text),
        3 => resource(text),
        4 => repository(text),
        5 => path(text),
        6 => names(text),
        7 => patterns(text),
        8 => user(text),
        9 => {
            if let Ok(seconds) = daypass_proto::duration::seconds(text) {
                assert!(seconds > 0);
            }
        }
        10 => same(text.parse::<Upstream>()),
        11 => same(text.parse::<Tcti>()),
        12 => {
            if let Some(htu) = dpop::htu(text) {
                assert_eq!(dpop::htu(&htu).as_deref(), Some(htu.as_str()));
                assert!(!htu.contains(['?', '#']), "{htu}");
            }
        }
        14 => checkpoint(text),
        15 => {
            if let Ok((origin, key)) = CheckpointKey::from_verifier_key(text) {
                assert_eq!(CheckpointKey::from_verifier_key(&key.verifier_key(&origin)), Ok((origin, key)));
            }
        }
        _ => {
            if let Some(issuer) = canonical_issuer(text) {
                assert!(issuer.starts_with("https://") && !issuer.ends_with('/'));
                assert_eq!(canonical_issuer(&issuer), Some(issuer.clone()));
            }
        }
    }
}

/// What was accepted is written in a form that reads as the same.
fn same<T: FromStr + Display + PartialEq, E>(read: Result<T, E>) {
    if let Ok(value) = read {
        let text = value.to_string();
        assert!(text.parse::<T>().ok() == Some(value), "{text}");
    }
}

fn code(kind: CodeKind, text: &str) {
    match Code::parse(kind, text) {
        Ok(code) => {
            assert_eq!(code.kind, kind);
            assert_eq!(Code::parse(kind, &code.expose()), Ok(code));
        }
        Err(error) => assert!(error.to_string().len() < 200, "an error shows no code"),
    }
}

/// Behind a checksum that fits: nobody would guess one.
fn sealed_code(content: &[u8]) {
    let checksum = sha256(&[b"dpinv1_", content]);
    code(CodeKind::Invitation, &format!("dpinv1_{}", base64url(&[content, &checksum[..4]].concat())));
}

fn resource(text: &str) {
    if let Ok(url) = Resource::of_url(text) {
        assert_eq!(url.as_str().parse::<Resource>(), Ok(url));
    }
    let Ok(resource) = text.parse::<Resource>() else { return };
    assert!(resource.as_str().starts_with("https://") && resource.as_str().ends_with('/'));
    assert!(!resource.host().is_empty() && !resource.host_and_port().contains('/'));
    assert_eq!(Resource::of_url(text), Ok(resource.clone()));
    same(Ok::<_, ()>(resource));
}

fn is_plain(repository: &Repository) {
    let component = |part: &str| {
        part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
            && !part.is_empty()
            && !part.starts_with(['.', '-'])
            && !part.contains("..")
            && !part.to_ascii_lowercase().ends_with(".git")
    };
    assert!(repository.path().split('/').all(component), "{repository}");
    assert_eq!(repository.as_str(), format!("{}{}", repository.resource(), repository.path()));
    assert_eq!(repository.as_str().parse::<Repository>().as_ref(), Ok(repository));
}

fn repository(text: &str) {
    if let Ok(repository) = text.parse::<Repository>() {
        assert_eq!(repository.resource(), Resource::of_url(text).unwrap());
        is_plain(&repository);
    }
}

fn path(text: &str) {
    if let Ok(repository) = "https://h:8443/".parse::<Resource>().unwrap().repository(text) {
        is_plain(&repository);
    }
}

fn names(text: &str) {
    same(text.parse::<DeviceId>());
    same(text.parse::<GrantId>());
    same(text.parse::<InvitationId>());
    same(text.parse::<EnrolmentId>());
    same(text.parse::<RenewalId>());
    same(text.parse::<ProjectName>());
    same(text.parse::<RoleName>());
    same(text.parse::<GateName>());
    same(text.parse::<Collaborator>());
    if let Ok(device) = DeviceId::from_client_id(text) {
        assert_eq!(device.client_id(), text);
        assert!(text.parse::<Collaborator>().is_err(), "a client is no person");
    }
    if let Ok(gate) = GateName::from_uri(text) {
        assert_eq!(gate.uri(), text);
    }
    if let Err(error) = text.parse::<DeviceId>() {
        assert!(error.to_string().len() < 500 && !error.to_string().contains('\n'));
    }
}

/// `inner LF outer LF ref`.
fn patterns(text: &str) {
    let mut lines = text.splitn(3, '\n');
    let Ok(inner) = lines.next().unwrap_or_default().parse::<RefPattern>() else { return };
    same(Ok::<_, ()>(inner.clone()));
    assert!(inner.is_within(&inner), "{inner}");
    if !inner.to_string().contains('*') {
        assert!(inner.matches(inner.to_string().as_bytes()), "{inner}");
    }
    let Ok(outer) = lines.next().unwrap_or_default().parse::<RefPattern>() else { return };
    let Some(reference) = lines.next() else { return };
    if inner.is_within(&outer) && inner.matches(reference.as_bytes()) {
        assert!(outer.matches(reference.as_bytes()), "{inner} is not within {outer}: {reference}");
    }
}

/// A checkpoint that nobody has signed says what it says, and is never one that is verified.
fn checkpoint(text: &str) {
    if let Ok((origin, head)) = peek(text) {
        assert!(text.len() <= MAX_CHECKPOINT && text.starts_with(&format!("{origin}\n{}\n", head.size())));
        assert!(!origin.as_str().chars().any(char::is_control));
        same(Ok::<_, ()>(origin));
    }
    assert!(VerifiedCheckpoint::verify_any(text, &[CheckpointKey::from_bytes([3; 32])]).is_err());
}

fn user(text: &str) {
    let Ok(user) = text.parse::<Collaborator>() else { return };
    if let Ok(pattern) = substitute_user("refs/heads/{user}/x", &user) {
        assert!(pattern.parse::<RefPattern>().is_ok_and(|pattern| pattern.to_string().split('/').count() == 4));
        assert!(!user.as_str().contains('*'));
    }
}

/// One of each.
pub fn seeds() -> Vec<Vec<u8>> {
    let code = |kind| {
        let secret = CodeSecret::from_random([9; 16]);
        Code::try_new(kind, Pin([3; 32]), secret, "https://issuer.test:8443").unwrap().expose().to_string()
    };
    let content = [&[3; 32][..], &[9; 16], b"https://issuer.test:8443"].concat();
    let mut seeds = vec![seed(b'a', code(CodeKind::Invitation)), seed(b'b', code(CodeKind::Gate)), seed(b'c', content)];
    for (letter, texts) in [
        (b'd', &["https://git.example.com/", "https://[::1]:8443/", "HTTPS://Git.Example.COM:443"][..]),
        (b'e', &["https://h:1/team/app.git/", "https://h/a/b/c"]),
        (b'f', &["/team/app.git", "team/app"]),
        (
            b'g',
            &[
                "dev-0123456789abcdef",
                "urn:daypass:device:dev-0123456789abcdef",
                "urn:daypass:gate:front",
                "alice@example.com",
                "gr-0123456789abcdef",
            ],
        ),
        (
            b'h',
            &[
                "refs/heads/alice/*\nrefs/heads/**\nrefs/heads/alice/x",
                "refs/tags/v*\nrefs/tags/*\nrefs/tags/v1",
                "refs/heads/**/x\nrefs/heads/*/**\nrefs/heads/a/x",
            ],
        ),
        (b'i', &["alice@example.com"]),
        (b'j', &["90d", "1h 30m", "P1DT2H"]),
        (b'k', &["unix:/run/git.sock", "http://127.0.0.1:8080/", "http://[::1]:80"]),
        (
            b'l',
            &[
                "device:/dev/tpmrm0",
                "swtpm:host=127.0.0.1,port=2321",
                "tabrmd:bus_name=com.intel.tss2.Tabrmd,bus_type=system",
            ],
        ),
        (b'm', &["https://h/a/../b%2f?x=y#z"]),
        (b'n', &["https://issuer.test:8443/"]),
    ] {
        seeds.extend(texts.iter().map(|text| seed(letter, text)));
    }
    let origin = "issuer.test/ledger/a".parse().unwrap();
    let (root, signature) = (STANDARD.encode([7; 32]), STANDARD.encode([7; 68]));
    let note = format!("{origin}\n12\n{root}\n\n\u{2014} {origin} {signature}\n");
    assert!(peek(&note).is_ok(), "{note}");
    seeds.push(seed(b'o', note));
    seeds.push(seed(b'p', CheckpointKey::from_bytes([3; 32]).verifier_key(&origin)));
    seeds
}

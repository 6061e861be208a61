//! A client with its keys in files: what `allow_software_keys` lets in. It can forge whatever a story needs, which an agent with a TPM
//! will not.

use std::path::{Path, PathBuf};

use aws_lc_rs::{
    rand::{SystemRandom, fill},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use daypass_proto::{
    delegation, dpop,
    encoding::base64url,
    jose::{Header, SoftwareKey},
    presentation::{self, KeyBindingClaims},
    time::Timestamp,
};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::Value;

use crate::{Answer, Failure, Issuer, Place, Request, Who, place::write};

/// A registered software client.
#[derive(Debug)]
pub struct SoftwareClient {
    /// Its certificate and the device CA's, PEM.
    pub certificate: PathBuf,
    /// The certificate's private key, PEM.
    pub key: PathBuf,
    /// The proof key, PKCS#8 PEM.
    pub proof_key: PathBuf,
    /// Its `client_id`.
    pub client_id: String,
    /// Its device.
    pub device: String,
    proof: SoftwareKey,
    ca: PathBuf,
    token_endpoint: String,
    who: Who,
}

/// The keys of a client that is not registered yet.
#[derive(Debug)]
pub struct SoftwareKeys {
    csr: PathBuf,
    key: PathBuf,
    proof_key: PathBuf,
    proof: SoftwareKey,
    folder: PathBuf,
    who: Who,
}

fn wrong(what: &'static str) -> impl FnOnce(&dyn std::fmt::Display) -> Failure {
    move |found| Failure::unexpected(what, found)
}

/// A new ES256 key, in memory and as PKCS#8 PEM.
pub fn new_key() -> Result<(SoftwareKey, String), Failure> {
    let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
        .map_err(|error| wrong("a new key")(&error))?;
    let key = SoftwareKey::from_pkcs8(der.as_ref()).map_err(|error| wrong("a usable key")(&error))?;
    let pem = KeyPair::try_from(der.as_ref()).map_err(|error| wrong("a key as PEM")(&error))?.serialize_pem();
    Ok((key, pem))
}

/// 128 random bits, for a `jti`.
pub fn random_id() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    fill(&mut bytes).map_err(|error| wrong("randomness")(&error))?;
    Ok(base64url(&bytes))
}

impl SoftwareKeys {
    /// New keys and a request for a certificate, in a folder of `who`.
    pub fn new(place: &Place, name: &str, who: Who) -> Result<Self, Failure> {
        let folder = place.folder(name, who, 0o755)?;
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| wrong("a new key")(&error))?;
        let params = CertificateParams::new(Vec::new()).map_err(|error| wrong("certificate parameters")(&error))?;
        let request = params.serialize_request(&pair).and_then(|request| request.pem());
        let request = request.map_err(|error| wrong("a certificate request")(&error))?;
        let (proof, proof_pem) = new_key()?;
        let keys = Self {
            csr: folder.join("request.pem"),
            key: folder.join("client.key"),
            proof_key: folder.join("proof.key"),
            proof,
            folder,
            who,
        };
        write(&keys.csr, who, 0o644, request)?;
        write(&keys.key, who, 0o600, pair.serialize_pem())?;
        write(&keys.proof_key, who, 0o600, proof_pem)?;
        Ok(keys)
    }

    /// The public proof key as JWK text.
    pub fn proof_jwk(&self) -> Result<String, Failure> {
        serde_json::to_string(self.proof.public()).map_err(|error| wrong("a JWK")(&error))
    }

    /// The arguments that register these keys.
    pub fn registration(&self, project: &str, role: &str) -> Result<Vec<String>, Failure> {
        let request = self.csr.display().to_string();
        let words = [
            "device",
            "register",
            "--software",
            "--project",
            project,
            "--role",
            role,
            "--csr",
            &request,
            "--proof-key",
        ];
        let mut arguments: Vec<String> = words.into_iter().map(str::to_owned).collect();
        arguments.push(self.proof_jwk()?);
        Ok(arguments)
    }

    /// Registers them at an issuer that allows it.
    pub fn register(self, issuer: &Issuer, project: &str, role: &str) -> Result<SoftwareClient, Failure> {
        self.register_with(issuer, project, role, &[])
    }

    /// The same with more arguments.
    pub fn register_with(
        self,
        issuer: &Issuer,
        project: &str,
        role: &str,
        more: &[&str],
    ) -> Result<SoftwareClient, Failure> {
        let mut arguments = self.registration(project, role)?;
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        let chain = issuer.run(arguments)?;
        let certificate = self.folder.join("client.pem");
        write(&certificate, Who::Server, 0o644, &chain.stdout)?;
        let thumbprint = self.proof.public().thumbprint();
        let devices = issuer.devices()?;
        let device = devices
            .iter()
            .find(|device| device.get("proof_key").and_then(Value::as_str) == Some(&thumbprint))
            .and_then(|device| device.get("device")?.as_str())
            .ok_or_else(|| chain.surprise("the device in the listing"))?
            .to_owned();
        Ok(SoftwareClient {
            certificate,
            key: self.key,
            proof_key: self.proof_key,
            client_id: format!("urn:daypass:device:{device}"),
            device,
            proof: self.proof,
            ca: issuer.root().to_owned(),
            token_endpoint: format!("{}/oauth/token", issuer.mtls_url()),
            who: self.who,
        })
    }
}

impl SoftwareClient {
    /// Its proof key.
    pub fn proof(&self) -> &SoftwareKey {
        &self.proof
    }

    /// Where it asks for tokens.
    pub fn token_endpoint(&self) -> &str {
        &self.token_endpoint
    }

    /// A DPoP proof (RFC 9449), signed by `key`, after `change`.
    pub fn forge_proof(
        key: &SoftwareKey,
        method: &str,
        url: &str,
        now: i64,
        change: impl FnOnce(&mut dpop::Claims),
    ) -> Result<String, Failure> {
        let mut claims = dpop::Claims {
            jti: random_id()?,
            htm: method.to_owned(),
            htu: dpop::htu(url).unwrap_or_else(|| url.to_owned()),
            iat: Timestamp::from_seconds(now),
            ath: None,
            nonce: None,
        };
        change(&mut claims);
        let header = Header { typ: "dpop+jwt", kid: None, jwk: Some(key.public()) };
        key.sign(&header, &claims).map_err(|error| wrong("a proof")(&error))
    }

    /// A delegation of `delegated`'s key for `resource`, signed by `key`, after `change`.
    pub fn forge_delegation(
        key: &SoftwareKey,
        issuer: &str,
        resource: &str,
        delegated: &SoftwareKey,
        now: i64,
        change: impl FnOnce(&mut delegation::Claims),
    ) -> Result<String, Failure> {
        let mut claims = delegation::Claims {
            aud: issuer.to_owned(),
            resource: resource.parse().map_err(|error| wrong("a resource")(&error))?,
            cnf: delegation::DelegatedKey { jwk: *delegated.public() },
            exp: Timestamp::from_seconds(now + 600),
            jti: random_id()?,
        };
        change(&mut claims);
        let header = Header { typ: delegation::TYP, ..Header::default() };
        key.sign(&header, &claims).map_err(|error| wrong("a delegation")(&error))
    }

    /// A request that carries its certificate.
    pub fn request(&self, url: &str) -> Result<Request, Failure> {
        Ok(Request::new(self.who, url, &self.ca)?.certificate(&self.certificate, &self.key))
    }

    /// A token request with this proof and these form fields beside the usual ones.
    pub fn token_request(&self, proof: &str, resource: &str, more: &[(&str, &str)]) -> Result<Request, Failure> {
        let mut request = self.request(&self.token_endpoint)?.header("DPoP", proof);
        let fields = [("grant_type", "client_credentials"), ("client_id", &self.client_id), ("resource", resource)];
        for (name, value) in fields.iter().filter(|(name, _)| !more.iter().any(|(other, _)| other == name)).chain(more)
        {
            request = request.with(["--data-urlencode".to_owned(), format!("{name}={value}")]);
        }
        Ok(request)
    }

    /// The bytes of a token request with a fresh proof, for a connection that is kept.
    pub fn raw_token_request(&self, resource: &str, now: i64) -> Result<Vec<u8>, Failure> {
        let proof = Self::forge_proof(&self.proof, "POST", &self.token_endpoint, now, |_| {})?;
        let encoded = |text: &str| text.replace(':', "%3A").replace('/', "%2F");
        let (client, resource) = (encoded(&self.client_id), encoded(resource));
        let body = format!("grant_type=client_credentials&client_id={client}&resource={resource}");
        let host = self.token_endpoint.trim_start_matches("https://").trim_end_matches("/oauth/token");
        Ok(format!(
            "POST /oauth/token HTTP/1.1\r\nHost: {host}\r\nDPoP: {proof}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into())
    }

    /// Asks for a token.
    pub fn ask(&self, resource: &str, now: i64, more: &[(&str, &str)]) -> Result<Answer, Failure> {
        let proof = Self::forge_proof(&self.proof, "POST", &self.token_endpoint, now, |_| {})?;
        self.token_request(&proof, resource, more)?.send()
    }

    /// A token that must be given.
    pub fn token(&self, resource: &str, now: i64) -> Result<String, Failure> {
        let answer = self.ask(resource, now, &[])?.status(200)?;
        match answer.json()?.get("access_token").and_then(Value::as_str) {
            Some(token) => Ok(token.to_owned()),
            None => Err(answer.ran.surprise("a token")),
        }
    }

    /// A presentation (RFC 9901) signed by `key`, after `change`.
    pub fn forge_presentation(
        key: &SoftwareKey,
        token: &str,
        repository: &str,
        nonce: &str,
        now: i64,
        change: impl FnOnce(&mut KeyBindingClaims),
    ) -> Result<String, Failure> {
        let mut claims = KeyBindingClaims {
            aud: repository.to_owned(),
            nonce: nonce.to_owned(),
            iat: Timestamp::from_seconds(now),
            sd_hash: dpop::token_hash(&format!("{token}~")),
        };
        change(&mut claims);
        let header = Header { typ: "kb+jwt", ..Header::default() };
        let binding = key.sign(&header, &claims).map_err(|error| wrong("a key binding")(&error))?;
        Ok(presentation::present(token, &binding))
    }

    /// The CA of the issuer.
    pub fn ca(&self) -> &Path {
        &self.ca
    }
}

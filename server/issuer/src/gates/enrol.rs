//! `POST /gate/v1/enrol` with a one-time code, `POST /gate/v1/renew` over mTLS.

use std::sync::Arc;

use axum::{Extension, Json, extract::State};
use daypass_proto::{
    encoding::{Bytes, sha256},
    gate_api::{EnrolRequest, GateCertificates, RenewRequest},
    invitation::CodeSecret,
    json::read,
    ledger::{Event, EventKind},
    names::GateName,
    oauth_error::{OAuthError, Reason},
    resource::Resource,
    time::Timestamp,
};
use daypass_service::Peer;
use thiserror::Error;

use crate::{
    body::Body,
    caller::{CallerError, EnrolledGate},
    error::Refusal,
    issuer::Issuer,
    keys::{KeyError, Subject, csr_key, not_before},
    ledger::Source,
    store::{CertificateRecord, Change, DecideError, Decision, Gate, GateLife, Holder, StoreError},
};

/// Why a gate gets no certificate.
#[derive(Debug, Error)]
pub enum GateError {
    /// The body.
    #[error("the request does not fit the format: {0}")]
    Malformed(String),
    /// No gate has this code.
    #[error("no gate waits for this code")]
    UnknownCode,
    /// The code was used.
    #[error("the code of gate `{0}` was used already")]
    CodeUsed(String),
    /// Its time is over.
    #[error("the code of gate `{0}` is too old")]
    CodeExpired(String),
    /// A gate speaks of what it does not guard.
    #[error("gate `{gate}` is not registered for `{resource}`, and says nothing about it")]
    NotGuarded {
        /// Which gate.
        gate: GateName,
        /// Of what it spoke.
        resource: Resource,
    },
    /// A CSR.
    #[error(transparent)]
    Csr(KeyError),
    /// The caller.
    #[error(transparent)]
    Caller(#[from] CallerError),
    /// Our keys.
    #[error("could not issue the certificate")]
    Certificate(#[source] KeyError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody else was faster, or the store failed.
    #[error(transparent)]
    Decide(#[from] DecideError),
}

impl From<GateError> for Refusal {
    fn from(error: GateError) -> Self {
        use OAuthError::{AccessDenied, InvalidGrant, InvalidRequest};
        const AGAIN: &str = "run `daypass-issuer gate remove` and `gate add` for a new code";
        let text = error.to_string();
        match error {
            GateError::Malformed(_) => Self::malformed(text),
            GateError::UnknownCode => Self::new(InvalidGrant, Reason::UnknownCode, text, AGAIN),
            GateError::CodeUsed(_) => Self::new(InvalidGrant, Reason::CodeUsed, text, AGAIN),
            GateError::CodeExpired(_) => Self::new(InvalidGrant, Reason::CodeExpired, text, AGAIN),
            GateError::NotGuarded { .. } => Self::new(
                AccessDenied,
                Reason::NotTheirs,
                text,
                "`daypass-issuer gate list` shows what each gate guards; find out who has this gate's key",
            ),
            GateError::Csr(_) => {
                Self::new(InvalidRequest, Reason::Malformed, text, "send a PKCS#10 request for a P-256 key")
            }
            GateError::Caller(error) => error.into(),
            GateError::Store(error) => error.into(),
            GateError::Decide(error) => error.into(),
            GateError::Certificate(error) => error.into(),
        }
    }
}

/// The first certificates, for whoever holds the code.
pub async fn enrol(
    State(issuer): State<Arc<Issuer>>,
    Extension(peer): Extension<Peer>,
    Body(body): Body,
) -> Result<Json<GateCertificates>, Refusal> {
    let request: EnrolRequest = read(&body).map_err(|error| Refusal::from(GateError::Malformed(error)))?;
    Ok(Json(enrol_with_code(&issuer, &(&peer).into(), &request).await?))
}

async fn enrol_with_code(
    issuer: &Issuer,
    source: &Source,
    request: &EnrolRequest,
) -> Result<GateCertificates, Refusal> {
    let hash = CodeSecret::from_random(request.secret.0).hash();
    let gate = issuer.store.gate_by_secret(hash).await?.ok_or(GateError::UnknownCode)?;
    match first(issuer, source, &gate, request).await {
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(refuse(issuer, source, &gate, error).await),
    }
}

/// Records that a gate that is known got nothing, or was not listened to.
pub(super) async fn refuse(issuer: &Issuer, source: &Source, gate: &Gate, error: GateError) -> Refusal {
    let (environment, why) = (&issuer.environment, error.to_string());
    let refusal = Refusal::from(error);
    if refusal.cannot_be_recorded() {
        return refusal;
    }
    if let Err(error) = issuer.one_more(EventKind::GateRefused, &gate.name) {
        return error.into();
    }
    let event = environment.event(EventKind::GateRefused).text("gate", &gate.name);
    let event = environment.asked(environment.refused(event, refusal.reason(), &why), source);
    match issuer.store.decide(Decision::new(event)).await {
        Ok(()) => refusal,
        Err(error) => error.into(),
    }
}

async fn first(
    issuer: &Issuer,
    source: &Source,
    gate: &Gate,
    request: &EnrolRequest,
) -> Result<GateCertificates, GateError> {
    match gate.state {
        GateLife::Added => {}
        GateLife::Enrolled => return Err(GateError::CodeUsed(gate.name.to_string())),
        GateLife::Removed => return Err(GateError::UnknownCode),
    }
    if issuer.environment.now() > gate.code_expires_at {
        return Err(GateError::CodeExpired(gate.name.to_string()));
    }
    let (certificates, not_after, change) = certify(issuer, gate, &request.client_csr, request.server_csr.as_ref())?;
    let event = certified(issuer, EventKind::GateEnrolled, source, gate, not_after);
    let enrolled = Gate { state: GateLife::Enrolled, ..gate.clone() };
    let decision = Decision::new(event).change(Change::Gate { to: enrolled, from: GateLife::Added }).change(change);
    issuer.store.decide(decision).await?;
    Ok(certificates)
}

/// The next certificates, for a gate that is enrolled.
pub async fn renew(
    State(issuer): State<Arc<Issuer>>,
    Extension(peer): Extension<Peer>,
    Body(body): Body,
) -> Result<Json<GateCertificates>, Refusal> {
    let caller = EnrolledGate::identify(&issuer, &peer).await?;
    let request: RenewRequest = read(&body).map_err(|error| Refusal::from(GateError::Malformed(error)))?;
    let (gate, source) = (caller.gate(), Source::from(&peer));
    let (certificates, not_after, change) =
        match certify(&issuer, gate, &request.client_csr, request.server_csr.as_ref()) {
            Ok(certified) => certified,
            Err(error) => return Err(refuse(&issuer, &source, gate, error).await),
        };
    let event = certified(&issuer, EventKind::GateRenewed, &source, gate, not_after);
    issuer.store.decide(Decision::new(event).change(change)).await?;
    Ok(Json(certificates))
}

fn certified(issuer: &Issuer, kind: EventKind, source: &Source, gate: &Gate, not_after: Timestamp) -> Event {
    let event = issuer.environment.event(kind).text("gate", &gate.name).structure("resources", &gate.resources);
    issuer.environment.asked(event.number("not_after", not_after.seconds()), source)
}

fn certify(
    issuer: &Issuer,
    gate: &Gate,
    client_csr: &Bytes,
    server_csr: Option<&Bytes>,
) -> Result<(GateCertificates, Timestamp, Change), GateError> {
    let keyring = issuer.keyring();
    let authority = keyring.gate_ca();
    let not_after = issuer.environment.now().plus(issuer.config.gate_certificate_lifetime);
    let sign = |csr: &Bytes, subject: &Subject| {
        let key = csr_key(&csr.0).map_err(GateError::Csr)?;
        let der = authority
            .sign(&issuer.environment, subject, &key.to_spki_der(), not_after)
            .map_err(GateError::Certificate)?;
        Ok::<_, GateError>(vec![Bytes(der), Bytes(authority.der().to_vec())])
    };
    let client_chain = sign(client_csr, &Subject::Client { uri: gate.name.uri(), name: gate.name.to_string() })?;
    let hosts: Vec<String> = gate.resources.iter().map(Resource::host).collect();
    let server_chain = server_csr.map(|csr| sign(csr, &Subject::Server(hosts))).transpose()?;
    let hash = client_chain.first().map(|der| sha256(&[&der.0])).unwrap_or_default();
    let record = CertificateRecord {
        holder: Holder::Gate(gate.name.clone()),
        not_before: not_before(issuer.environment.now()),
        not_after,
    };
    let change = Change::AddCertificate { hash, record };
    let certificates = GateCertificates {
        name: gate.name.clone(),
        issuer: issuer.config.issuer_url.clone(),
        mtls_url: issuer.config.mtls_url.clone(),
        resources: gate.resources.clone(),
        root_chain: vec![Bytes(keyring.root().to_vec())],
        client_chain,
        server_chain,
    };
    Ok((certificates, not_after, change))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use daypass_proto::encoding::Fixed;

    use super::*;
    use crate::{
        actor::Actor,
        fixture::{Made, request},
        gates::{Registration, add},
    };

    fn peer(certificate: Option<&Bytes>) -> Extension<Peer> {
        let certificate = certificate.map(|der| Arc::new(der.0.clone().into()));
        Extension(Peer { address: SocketAddr::from((Ipv4Addr::LOCALHOST, 50_000)), certificate })
    }

    fn body(request: &impl serde::Serialize) -> Body {
        Body(serde_json::to_vec(request).unwrap().into())
    }

    #[tokio::test]
    async fn what_a_gate_gets_and_does_not_get_is_an_event() {
        let made = Made::new().await;
        let issuer = &made.issuer;
        let registration = Registration {
            name: "git-1".parse().unwrap(),
            resources: vec!["https://git.example.com/".parse().unwrap()],
            ca: None,
            code_expires_at: made.now().plus(60),
            by: Actor::account("olga"),
        };
        let code = add(issuer, registration).await.unwrap();
        let secret = Fixed(*code.secret.expose());
        let csr = || Bytes(request().1);
        let first = EnrolRequest { secret, client_csr: csr(), server_csr: None };
        let state = State(Arc::clone(&made.issuer));
        let stranger = EnrolRequest { secret: Fixed([9; 16]), client_csr: csr(), server_csr: None };
        enrol(state.clone(), peer(None), body(&stranger)).await.unwrap_err();
        let Json(got) = enrol(state.clone(), peer(None), body(&first)).await.unwrap();
        let refused = enrol(state.clone(), peer(None), body(&first)).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::CodeUsed);
        let renewal = RenewRequest { client_csr: csr(), server_csr: None };
        let _ = renew(state.clone(), peer(got.client_chain.first()), body(&renewal)).await.unwrap();
        let nonsense = RenewRequest { client_csr: Bytes(vec![0; 4]), server_csr: None };
        renew(state.clone(), peer(got.client_chain.first()), body(&nonsense)).await.unwrap_err();
        let mut events = Vec::new();
        for kind in ["gate_enrolled", "gate_renewed", "gate_refused"] {
            events.push(crate::fixture::leaves(&state, kind).await);
        }
        let [enrolled, renewed, refused] = events.as_slice() else { panic!() };
        assert_eq!((enrolled.len(), renewed.len(), refused.len()), (1, 1, 2), "a stranger's code is no event");
        assert!(events.iter().flatten().all(|leaf| leaf.contains(r#""gate":"git-1""#) && leaf.contains("address")));
        assert!(refused.iter().any(|leaf| leaf.contains("code_used")), "{refused:?}");
    }
}

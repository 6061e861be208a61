//! The running gate: the listener, and the work between requests.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    task::{Context, Poll},
    time::Duration,
};

use daypass_proto::time::Timestamp;
use daypass_service::{
    ClientCertificates, Clock, Limits, Listener, MAX_TEXT, ServeError, TlsError, random, read_file,
    reloadable_server_config, told,
};
use http::{Request, Response};
use hyper::body::Incoming;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use thiserror::Error;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use zeroize::Zeroizing;

use crate::{
    config::Config,
    gate::Gate,
    nonce::Nonces,
    proxy,
    trust::{EnrolError, GateState, IssuerClient, IssuerError, StateError, nonce_key, renew},
    upstream::Body,
};

/// Keys are read anew this often even when nothing asks for it, in polls.
const KEYS_EVERY: u32 = 15;
/// How many reports of what was let through go out at a time.
const REPORTS: u32 = 8;
/// How long a gate that stops still tries to tell what it let through.
const LAST_WORD: Duration = Duration::from_secs(2);

/// Why the gate does not run.
#[derive(Debug, Error)]
pub enum RunError {
    /// Its state.
    #[error(transparent)]
    State(#[from] StateError),
    /// The issuer's side of TLS.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// A file of its own certificate.
    #[error("could not read the certificate or key `{}`", path.display())]
    CertificateFile {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What is in it.
    #[error("`{}` is no certificate or key in PEM", .0.display())]
    Certificate(PathBuf),
    /// None at all.
    #[error(
        "this gate has no TLS certificate: it was enrolled with `tls_certificate` set, which is gone; set it, or enrol anew"
    )]
    NoCertificate,
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The port.
    #[error(transparent)]
    Listen(#[from] ServeError),
}

type Certificate = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The certificate of the gate's own listener: the operator's, else the issuer's.
pub fn own_certificate(config: &Config, state: &GateState) -> Result<Certificate, RunError> {
    if let Some((certificate, key)) = &config.tls {
        let read = |path: &Path| {
            read_file(path, MAX_TEXT).map_err(|source| RunError::CertificateFile { path: path.to_owned(), source })
        };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(certificate)?).collect();
        let chain =
            chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| RunError::Certificate(certificate.clone()))?;
        let secret = Zeroizing::new(read(key)?);
        let key = PrivateKeyDer::from_pem_slice(&secret).map_err(|_| RunError::Certificate(key.clone()))?;
        return Ok((chain, key));
    }
    let server = state.server.as_ref().ok_or(RunError::NoCertificate)?;
    let chain = server.chain.iter().map(|der| der.0.clone().into()).collect();
    Ok((chain, PrivatePkcs8KeyDer::from(server.key.to_vec()).into()))
}

/// Serves until `stop`, then drains.
pub async fn serve(config: Config, clock: Arc<dyn Clock>, stop: CancellationToken) -> Result<(), RunError> {
    let state = GateState::load(&config.state_dir)?;
    let (chain, key) = own_certificate(&config, &state)?;
    let (tls, reload) = reloadable_server_config(chain, key, ClientCertificates::None)?;
    let shared = nonce_key(&config.state_dir, config.nonce_key.as_deref())?;
    // Of this process: it dies with the memory of what was used.
    let mut own = Zeroizing::new([0; 32]);
    random(own.as_mut_slice());
    let nonces = Nonces::new(&shared, &own, config.bind_nonce_to_address);
    let client = IssuerClient::new(&state)?;
    for loosening in config.loosenings() {
        tracing::warn!(loosening, "this gate runs with a loosened setting");
    }
    let limits = Limits { idle: config.idle_timeout, ..Limits::default() };
    let listener = Listener::bind(&config.listen, tls, limits).await?;
    let gate = Arc::new(Gate::new(config, state.issuer.clone(), clock, nonces, client));
    poll(&gate, true).await;
    tracing::info!(name = state.name, issuer = state.issuer, listen = gate.config().listen, "serving");
    // Under a service manager only; elsewhere there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);

    let tasks = TaskTracker::new();
    tasks.spawn(listener.serve(Proxy(Arc::clone(&gate)), stop.clone()));
    tasks.spawn(poll_loop(Arc::clone(&gate), stop.clone()));
    tasks.spawn(report_loop(Arc::clone(&gate), stop.clone()));
    let (current, told_last) = (RwLock::new(state), Arc::clone(&gate));
    tasks.spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_secs(600));
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            let state = current.read().unwrap_or_else(PoisonError::into_inner).clone();
            match renew_if_due(&gate, &state).await {
                Ok(None) => {}
                Ok(Some(fresh)) => {
                    if let Ok((chain, key)) = own_certificate(gate.config(), &fresh)
                        && let Err(error) = reload.replace(chain, key)
                    {
                        tracing::error!(%error, "the renewed certificate cannot be used");
                    }
                    *current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
                }
                Err(error) => tracing::warn!(%error, "could not renew the gate's certificates; trying again"),
            }
        }
    });
    tasks.close();
    tasks.wait().await;
    if !matches!(tokio::time::timeout(LAST_WORD, report(&told_last)).await, Ok(Ok(()))) {
        tracing::warn!("stopped before the issuer knew everything that was let through");
    }
    Ok(())
}

/// Due from two thirds of the life on.
pub fn is_due(now: Timestamp, from: Timestamp, to: Timestamp) -> bool {
    now.since(from) * 3 >= to.since(from) * 2
}

async fn renew_if_due(gate: &Gate, state: &GateState) -> Result<Option<GateState>, EnrolError> {
    let validity = state.client.chain.first().and_then(|der| validity(&der.0));
    if !validity.is_some_and(|(from, to)| is_due(gate.now(), from, to)) {
        return Ok(None);
    }
    let fresh = renew(gate.client().await.as_ref(), state).await?;
    if let Err(error) = fresh.save(&gate.config().state_dir) {
        tracing::error!(%error, "could not keep the renewed certificates; they are used until the gate stops");
    }
    gate.replace_client(IssuerClient::new(&fresh)?).await;
    tracing::info!("renewed the gate's certificates");
    Ok(Some(fresh))
}

fn validity(der: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let validity = certificate.validity();
    Some((
        Timestamp::from_seconds(validity.not_before.timestamp()),
        Timestamp::from_seconds(validity.not_after.timestamp()),
    ))
}

fn ticks(gate: &Gate) -> tokio::time::Interval {
    let every = Duration::from_secs(u64::try_from(gate.config().poll_interval).unwrap_or(1));
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tick
}

/// Beside the polling, which must not wait for it.
async fn report_loop(gate: Arc<Gate>, stop: CancellationToken) {
    let (mut tick, mut failing) = (ticks(&gate), false);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let told_now = report(&gate).await;
        if let Err(error) = &told_now
            && !failing
        {
            tracing::warn!(error = %told(error), "could not tell the issuer what was let through; trying on");
        }
        failing = told_now.is_err();
    }
}

/// Tells what was let through, as far as it goes.
async fn report(gate: &Gate) -> Result<(), IssuerError> {
    for _ in 0..REPORTS {
        let Some(report) = gate.usage().next() else { break };
        match gate.client().await.tell_usage(&report).await {
            Ok(()) => gate.usage().taken(),
            Err(error) => {
                if error.is_about_what_was_said() {
                    gate.usage().lost();
                }
                return Err(error);
            }
        }
    }
    Ok(())
}

async fn poll_loop(gate: Arc<Gate>, stop: CancellationToken) {
    let mut tick = ticks(&gate);
    for turn in 0_u32.. {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => poll(&gate, turn % KEYS_EVERY == 0).await,
        }
    }
}

async fn poll(gate: &Gate, keys_too: bool) {
    let client = gate.client().await;
    // The age of an answer counts from when it was asked for.
    let asked = gate.moment();
    match client.revocations().await {
        Ok(answer) => gate.view().learn_revocations(answer, asked),
        Err(error) => {
            gate.view().learn_silence(error.about_time());
            tracing::warn!(error = %told(&error), "could not ask which tokens are dead");
        }
    }
    if keys_too {
        match client.keys().await {
            Ok(keys) => gate.view().learn_keys(keys),
            Err(error) => {
                tracing::warn!(error = %told(&error), "could not ask for the issuer's keys")
            }
        }
    }
}

/// The proxy as a service.
#[derive(Clone)]
struct Proxy(Arc<Gate>);

impl tower_service::Service<Request<Incoming>> for Proxy {
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        Box::pin(proxy::handle(Arc::clone(&self.0), request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_renewed_from_two_thirds_on() {
        let at = Timestamp::from_seconds;
        assert!(!is_due(at(199), at(0), at(300)));
        assert!(is_due(at(200), at(0), at(300)));
        assert!(is_due(at(999), at(0), at(300)), "and when it is over");
    }
}

//! Why a TLS connection failed, found in what an HTTP client says: above all, a certificate that is not in its time.
//!
//! A clock that is years off shows here first: no server's certificate is good by it. Both times belong into what is said then, since either
//! of the two clocks may be the wrong one, and only a person can tell which.

use std::{error::Error, fmt, io};

use rustls::CertificateError;
use rustls_pki_types::UnixTime;

use crate::time::Timestamp;

/// What went wrong in TLS, where that is why `error` came about.
pub fn tls_fault<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(tls);
    }
    // An I/O error carries another inside, which is not its source.
    let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    inside.and_then(|inside| tls_fault(inside)).or_else(|| error.source().and_then(tls_fault))
}

/// What was wrong with a server's certificate, where that is why `error` came about.
pub fn certificate_fault<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a CertificateError> {
    if let rustls::Error::InvalidCertificate(fault) = tls_fault(error)? { Some(fault) } else { None }
}

/// A certificate that is not in its time by this machine's clock.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OutsideItsTime {
    bound: Bound,
    now: Timestamp,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Bound {
    Begins(Timestamp),
    Ended(Timestamp),
}

impl OutsideItsTime {
    /// What this machine's clock said.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// From what an HTTP client says, where that is why it failed.
    pub fn find(error: &(dyn Error + 'static)) -> Option<Self> {
        let at = |time: &UnixTime| Timestamp::from_seconds(i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
        match certificate_fault(error)? {
            CertificateError::ExpiredContext { time, not_after } => {
                Some(Self { bound: Bound::Ended(at(not_after)), now: at(time) })
            }
            CertificateError::NotValidYetContext { time, not_before } => {
                Some(Self { bound: Bound::Begins(at(not_before)), now: at(time) })
            }
            _ => None,
        }
    }
}

/// Its begin or end. Whoever tells of it says beside it what the clock says.
impl fmt::Display for OutsideItsTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bound {
            Bound::Begins(at) => write!(f, "begins at {at}"),
            Bound::Ended(at) => write!(f, "ended at {at}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// As HTTP clients hand it on: inside an I/O error.
    fn met(fault: CertificateError) -> io::Error {
        io::Error::other(rustls::Error::InvalidCertificate(fault))
    }

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    #[test]
    fn both_times_are_said_on_both_sides() {
        let said = |fault| {
            let times = OutsideItsTime::find(&met(fault)).unwrap();
            format!("{times}, and it is {}", times.now())
        };
        assert_eq!(
            said(CertificateError::ExpiredContext { time: at(86_400), not_after: at(60) }),
            "ended at 1970-01-01T00:01:00Z, and it is 1970-01-02T00:00:00Z"
        );
        assert_eq!(
            said(CertificateError::NotValidYetContext { time: at(60), not_before: at(86_400) }),
            "begins at 1970-01-02T00:00:00Z, and it is 1970-01-01T00:01:00Z"
        );
    }

    #[test]
    fn other_faults_are_not_the_clocks() {
        assert_eq!(OutsideItsTime::find(&met(CertificateError::UnknownIssuer)), None);
        assert_eq!(OutsideItsTime::find(&io::Error::other("a broken cable")), None);
        assert_eq!(certificate_fault(&met(CertificateError::Revoked)), Some(&CertificateError::Revoked));
    }
}

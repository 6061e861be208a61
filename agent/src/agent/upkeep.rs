//! What goes on between requests, and what a request may find undone: the device's state, its certificate, tokens renewed ahead.
//!
//! Whether something is due is a pure function of clocks that go on while the machine sleeps; the timer only says when to look.

use std::sync::PoisonError;

use daypass_proto::{
    enrolment::{DeviceLife, DeviceState},
    notice::StateAnswer,
    oauth_error::{ErrorBody, Reason},
    time::Timestamp,
};
use reqwest::RequestBuilder;
use serde::de::DeserializeOwned;

use super::{Agent, Member};
use crate::{clock::Moment, enrolment::Enroller, error::AgentError, issuer, state::Completed};

/// How long an issuer that could not be reached is left in peace by what nobody waits for, in seconds.
const REST: i64 = 30;
/// The longest that an answer may take and still teach the issuer's time, in seconds.
const FAST: i64 = 2;

impl Agent {
    /// The work between requests: renewals of tokens and certificates, and the state of devices.
    pub async fn housekeeping(&self) {
        for key in self.tokens.due(self.clock.moment()) {
            if let Ok(member) = self.member(key.uid, &key.issuer)
                && !self.rests(&member)
                && let Err(error) = self.renew_token(&member, key).await
            {
                self.rest(&member);
                tracing::info!(issuer = member.issuer, %error, "could not renew a token ahead");
            }
        }
        for member in self.all_members() {
            if self.rests(&member) {
                continue;
            }
            let completed = member.completed();
            // Certificates end by the issuer's clock.
            let result = match validity(&completed) {
                Some((from, to)) if is_due(self.issuer_time(&member), from, to) => {
                    self.renew_certificate(&member).await
                }
                _ if is_stale(self.clock.now(), &completed) => self.ask_state(&member).await,
                _ => Ok(()),
            };
            if let Err(error) = result {
                self.rest(&member);
                tracing::info!(issuer = member.issuer, %error, "could not renew the certificate or ask for the state");
            }
        }
    }

    /// Leaves the issuer in peace for a while.
    pub(super) fn rest(&self, member: &Member) {
        *member.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.clock.moment());
    }

    /// Whether the issuer is left in peace.
    pub(super) fn rests(&self, member: &Member) -> bool {
        let failed = *member.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|failed| self.clock.moment().since(failed) < REST)
    }

    /// The issuer's time, as far as it is known.
    pub(super) fn issuer_time(&self, member: &Member) -> Timestamp {
        member.time.now(self.clock.moment(), member.completed().clock_offset)
    }

    /// Asks the issuer for its time where this machine's clock was set since it was last asked. Without an answer, what was learned counts.
    pub(super) async fn settle_time(&self, member: &Member) {
        if member.time.is_in_doubt(self.clock.moment()) {
            tracing::info!(issuer = member.issuer, "this machine's clock was set: asking the issuer for its time");
            if let Err(error) = self.ask_state(member).await {
                tracing::info!(issuer = member.issuer, %error, "could not ask for the issuer's time");
            }
        }
    }

    /// Asks for the device's state, and learns the issuer's time from the answer.
    pub(super) async fn ask_state(&self, member: &Member) -> Result<(), AgentError> {
        let result = match self.ask_state_once(member).await {
            Err(error) if is_certificate_outside_its_time(&error) => match self.renew_certificate(member).await {
                Ok(()) => self.ask_state_once(member).await,
                Err(error) => Err(error),
            },
            other => other,
        };
        member.note(result)
    }

    async fn ask_state_once(&self, member: &Member) -> Result<(), AgentError> {
        let before = self.clock.moment();
        let url = format!("{}/device/v1/state?notices_after={}", member.device().mtls_url, member.notices.next());
        let answer: StateAnswer = self.answer(member, &url, member.client().get(&url)).await?;
        self.heard(member, answer.device, before).await?;
        Ok(member.notices.add(answer.notices, answer.notices_next)?)
    }

    /// Keeps what the issuer says of the device in answer to what was asked at `before`, and learns its time from that.
    pub(super) async fn heard(
        &self,
        member: &Member,
        mut device: DeviceState,
        before: Moment,
    ) -> Result<(), AgentError> {
        let here = self.clock.moment();
        let fast = here.since_boot.saturating_sub(before.since_boot) < FAST;
        if fast {
            member.time.learn(device.server_time, here);
        }
        self.change(member, |completed| {
            // The code that this side computed stays; the issuer's word on it counts for nothing.
            device.comparison_code.clone_from(&completed.device.comparison_code);
            if fast {
                completed.clock_offset = Some(device.server_time.since(here.now));
            }
            completed.last_contact = here.now;
            completed.device = device;
        })
        .await
    }

    /// What the issuer answers; a refusal may say what has become of this device.
    pub(super) async fn answer<T: DeserializeOwned>(
        &self,
        member: &Member,
        url: &str,
        request: RequestBuilder,
    ) -> Result<T, AgentError> {
        let answer = issuer::answer(url, request).await;
        if let Err(AgentError::Refused(body)) = &answer {
            self.learn_refusal(member, body).await?;
        }
        answer
    }

    /// A device that hears that it is suspended or revoked remembers it, and hands out nothing that it still has.
    pub(super) async fn learn_refusal(&self, member: &Member, body: &ErrorBody) -> Result<(), AgentError> {
        let life = match body.daypass_reason {
            Reason::DeviceSuspended => DeviceLife::Suspended,
            Reason::DeviceRevoked => DeviceLife::Revoked,
            _ => return Ok(()),
        };
        self.tokens.drop_all(member.uid, &member.issuer);
        self.change(member, |completed| completed.device.state = life).await
    }

    /// Has the device certificate renewed, or, where its time is over, attests anew with the AK: the same exchange over the same
    /// certificate, which the issuer takes for nothing else then.
    pub(super) async fn renew_certificate(&self, member: &Member) -> Result<(), AgentError> {
        let before = member.completed().chain;
        let _one_at_a_time = member.renewing.lock().await;
        if member.completed().chain != before {
            // Somebody who asked at the same time has it already.
            return Ok(());
        }
        let enroller =
            Enroller { tpm: &self.tpm, config: &self.config.tpm, clock: self.clock.as_ref(), folder: &member.folder };
        let renewed = match enroller.renew(&member.client(), &member.device().mtls_url, &member.keys).await {
            Err(AgentError::Refused(body)) => {
                self.learn_refusal(member, &body).await?;
                Err(AgentError::Refused(body))
            }
            other => other,
        };
        let chain = member.note(renewed)?;
        let not_after = chain.first().and_then(|der| certificate_times(&der.0)).map(|(_, to)| to);
        self.change(member, |completed| {
            completed.chain = chain;
            if let Some(not_after) = not_after {
                completed.device.certificate_not_after = not_after;
            }
        })
        .await?;
        let client = issuer::mutual(&member.completed(), &member.keys.identity, &self.tpm)?;
        *member.client.write().unwrap_or_else(PoisonError::into_inner) = client;
        tracing::info!(issuer = member.issuer, "renewed the device certificate");
        Ok(())
    }
}

/// Whether the issuer refused because of the certificate's time, by its own clock.
pub(super) fn is_certificate_outside_its_time(error: &AgentError) -> bool {
    let AgentError::Refused(body) = error else { return false };
    matches!(body.daypass_reason, Reason::CertificateExpired | Reason::CertificateNotYet)
}

fn certificate_times(der: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let validity = certificate.validity();
    Some((
        Timestamp::from_seconds(validity.not_before.timestamp()),
        Timestamp::from_seconds(validity.not_after.timestamp()),
    ))
}

fn validity(completed: &Completed) -> Option<(Timestamp, Timestamp)> {
    completed.chain.first().and_then(|der| certificate_times(&der.0))
}

/// A certificate is renewed from two thirds of its life on; after its end as well.
fn is_due(now: Timestamp, from: Timestamp, to: Timestamp) -> bool {
    now.since(from).saturating_mul(3) >= to.since(from).saturating_mul(2)
}

/// A pending device asks often, since somebody waits; an approved one now and then.
fn is_stale(now: Timestamp, completed: &Completed) -> bool {
    let every = match completed.device.state {
        DeviceLife::Pending => 30,
        DeviceLife::Approved => 300,
        DeviceLife::Suspended => 300,
        DeviceLife::Revoked => i64::MAX,
    };
    now.since(completed.last_contact).saturating_abs() >= every
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{agent::member::IssuerTime, clock::Moment};

    #[test]
    fn a_machine_that_slept_wakes_up_to_a_certificate_that_is_due() {
        let at = Timestamp::from_seconds;
        let time = IssuerTime::default();
        time.learn(at(1000), Moment { now: at(1000), since_boot: 50 });
        // It sleeps for 200 s, and its time of day is put back or not.
        for now in [-100_000_000, 1000, 1200] {
            let due = |since_boot| is_due(time.now(Moment { now: at(now), since_boot }, None), at(1000), at(1300));
            assert!(!due(249) && due(250), "at {now}");
        }
    }

    #[test]
    fn certificates_are_renewed_from_two_thirds_of_their_life_on() {
        let at = Timestamp::from_seconds;
        assert!(!is_due(at(199), at(0), at(300)));
        for due in [200, 300, 301, 1_000_000] {
            assert!(is_due(at(due), at(0), at(300)), "at {due}");
        }
    }
}

//! Enrolment under somebody who has real TPMs and not our agent, and says whatever he likes: each attack, against the built issuer.

use std::{thread, time::Duration};

use daypass_proto::{
    encoding::{Bytes, Fixed, sha256},
    enrolment::{CompleteRequest, Purpose},
};
use daypass_tests::{
    Answer, Chip, Clock, Failure, Issuer, Maker, Place, Programs, Story, Who,
    by_hand::{ATTESTS, Begun, ByHand, EkKind, SIGNS, begun, complete, try_begin},
    ensure,
};
use serde_json::Value;
use tss_esapi::interface_types::algorithm::HashingAlgorithm;

use crate::software::PROJECT;

/// An issuer that trusts one maker, and two TPMs of that maker.
struct Scene {
    one: Chip,
    other: Chip,
    issuer: Issuer,
    clock: Clock,
    place: Place,
}

impl Scene {
    fn new() -> Result<Self, Failure> {
        let place = Place::new()?;
        let clock = Clock::new(place.path(), "clock")?;
        let maker = Maker::new(&place, "maker")?;
        let mut chips = Vec::new();
        for name in ["one", "other"] {
            let mut chip = maker.make(&place.folder(name, Who::Agent, 0o700)?)?;
            chip.start()?;
            chips.push(chip);
        }
        let mut issuer = Issuer::init(&place, "issuer", &Programs::find()?, Some(&clock), &[&maker])?;
        issuer.write_project("apollo", PROJECT)?;
        issuer.serve()?;
        match (chips.pop(), chips.pop()) {
            (Some(other), Some(one)) => Ok(Self { one, other, issuer, clock, place }),
            _ => Err(Failure::unexpected("two TPMs", "fewer")),
        }
    }

    fn by_hand(&self) -> Result<ByHand<'_>, Failure> {
        ByHand::new(&self.place, "one", &self.one)
    }

    fn on_the_other(&self) -> Result<ByHand<'_>, Failure> {
        ByHand::new(&self.place, "other", &self.other)
    }

    fn invite(&self, collaborator: &str) -> Result<String, Failure> {
        self.issuer.invite(collaborator, "apollo", "developer", &[])
    }

    fn nobody_enrolled(&self) -> Story {
        let devices = self.issuer.devices()?;
        ensure(devices.is_empty(), "no device", format!("{devices:?}"))
    }
}

/// A refusal with this cause, in these words.
fn refused(answer: Answer, status: u16, reason: &str, words: &[&str]) -> Story {
    let answer = answer.status(status)?;
    let found = answer.json()?.get("daypass_reason").and_then(Value::as_str).map(str::to_owned);
    ensure(found.as_deref() == Some(reason), format!("the reason `{reason}`"), &answer.ran)?;
    ensure(!answer.body.contains("certificate_chain"), "no certificate", &answer.ran)?;
    answer.says(words)?;
    Ok(())
}

fn not_proved(answer: Answer, words: &[&str]) -> Story {
    refused(answer, 403, "attestation_failed", words)
}

#[test]
fn an_activation_that_is_relayed_to_another_tpm_opens_nothing() -> Story {
    let scene = Scene::new()?;
    let (victim, thief) = (scene.by_hand()?, scene.on_the_other()?);
    let code = scene.invite("mallory")?;
    // The thief's keys beside the EK of a TPM that he can have commands run in.
    let stolen = victim.endorsement_key(EkKind::Rsa)?;
    let relayed = begun(&scene.issuer, &thief.begin_request(&code, vec![stolen])?)?;
    // His own TPM has another EK; the victim's cannot load his AK, and with its own AK the name does not fit.
    thief.try_activate(EkKind::Rsa, &relayed.challenge)?.refused(&[])?;
    ensure(victim.load_for_tools(&thief.attestation, "foreign").is_err(), "a key of another TPM refused", "it loaded")?;
    victim.try_activate(EkKind::Rsa, &relayed.challenge)?.refused(&["0x1df"])?;
    // What he can do is guess. Everything else in his answer is genuine.
    let guess = thief.complete_request(&relayed, [7; 32])?;
    not_proved(complete(&scene.issuer, &guess)?, &["activation secret is wrong"])?;
    scene.nobody_enrolled()?;
    // The secret of one challenge opens no other.
    let first = thief.begin(&scene.issuer, &code, EkKind::Rsa)?;
    let secret = thief.activate(EkKind::Rsa, &first.challenge)?;
    let second = begun(&scene.issuer, &thief.begin_request(&code, vec![victim.endorsement_key(EkKind::Rsa)?])?)?;
    not_proved(complete(&scene.issuer, &thief.complete_request(&second, secret)?)?, &["activation secret is wrong"])?;
    scene.nobody_enrolled()
}

#[test]
fn an_ak_of_another_tpm_does_not_attest() -> Story {
    let scene = Scene::new()?;
    let (hand, other) = (scene.by_hand()?, scene.on_the_other()?);
    let code = scene.invite("mallory")?;
    // EK, identity and proof key of one TPM, the AK of another: that one's owner has both, and the first TPM does not.
    let mut request = hand.begin_request(&code, vec![hand.endorsement_key(EkKind::Rsa)?])?;
    request.attestation_key = Bytes(other.attestation.public().to_vec());
    let mixed = begun(&scene.issuer, &request)?;
    hand.try_activate(EkKind::Rsa, &mixed.challenge)?.refused(&["0x1df"])?;
    not_proved(complete(&scene.issuer, &hand.complete_request(&mixed, [0; 32])?)?, &["activation secret is wrong"])?;
    // The honest AK, and statements by another TPM's AK about its own keys.
    let foreign = |begun: &Begun<_>, request: &mut CompleteRequest| {
        let identity = begun.enrolment_extra(Purpose::CertifyIdentity);
        request.identity_certification = other.attestation.certify(&other.identity, &identity)?;
        Ok(())
    };
    not_proved(hand.answer(&scene.issuer, &code, foreign)?, &["identity key", "not signed by the attestation key"])?;
    let foreign = |begun: &Begun<_>, request: &mut CompleteRequest| {
        let proof = begun.enrolment_extra(Purpose::CertifyProof);
        request.proof_certification = other.attestation.certify(&other.proof, &proof)?;
        Ok(())
    };
    not_proved(hand.answer(&scene.issuer, &code, foreign)?, &["proof key", "not signed by the attestation key"])?;
    let foreign = |begun: &Begun<daypass_proto::enrolment::BeginAnswer>, request: &mut CompleteRequest| {
        let extra = begun.enrolment_extra(Purpose::Quote);
        request.quote = other.attestation.quote(HashingAlgorithm::Sha256, &begun.challenge.pcrs, &extra)?;
        Ok(())
    };
    not_proved(hand.answer(&scene.issuer, &code, foreign)?, &["quote", "not signed by the attestation key"])?;
    scene.nobody_enrolled()
}

#[test]
fn a_replayed_attestation_is_refused() -> Story {
    let scene = Scene::new()?;
    let hand = scene.by_hand()?;
    // A whole enrolment, overheard.
    let code = scene.invite("alice")?;
    let first = hand.begin(&scene.issuer, &code, EkKind::Rsa)?;
    let overheard = hand.complete_request(&first, hand.activate(EkKind::Rsa, &first.challenge)?)?;
    complete(&scene.issuer, &overheard)?.status(200)?;
    // Sent again, word for word.
    refused(complete(&scene.issuer, &overheard)?, 400, "challenge_expired", &["answered already"])?;
    // Each of its statements, in answer to another challenge of the same TPM with the same keys.
    let again = |change: &dyn Fn(&mut CompleteRequest)| {
        hand.answer(&scene.issuer, &code, |_, request| {
            change(request);
            Ok(())
        })
    };
    let words = ["answers another challenge"];
    not_proved(again(&|request| request.identity_certification = overheard.identity_certification.clone())?, &words)?;
    not_proved(again(&|request| request.proof_certification = overheard.proof_certification.clone())?, &words)?;
    not_proved(again(&|request| request.quote = overheard.quote.clone())?, &words)?;
    // And the same without any of it: a machine may run its own enrolment again.
    again(&|_| {})?.status(200)?;
    ensure(scene.issuer.devices()?.len() == 1, "one device", "more")
}

#[test]
fn a_swapped_certificate_request_is_refused() -> Story {
    let scene = Scene::new()?;
    let hand = scene.by_hand()?;
    let code = scene.invite("alice")?;
    let eks = || Ok::<_, Failure>(vec![hand.endorsement_key(EkKind::Rsa)?]);
    // For another key; and for the right one, with a signature that is not by it.
    let mut request = hand.begin_request(&code, eks()?)?;
    request.csr = Bytes(hand.csr(&hand.proof)?);
    not_proved(try_begin(&scene.issuer, &request)?, &["not for the identity key"])?;
    let mut request = hand.begin_request(&code, eks()?)?;
    if let Some(last) = request.csr.0.last_mut() {
        *last ^= 1;
    }
    not_proved(try_begin(&scene.issuer, &request)?, &["certificate signing request"])?;
    // Exchanged on the way for another one that the identity key signed: the machine answers what it sent itself.
    let request = hand.begin_request(&code, eks()?)?;
    let swapped = daypass_proto::enrolment::BeginRequest { csr: Bytes(hand.csr(&hand.identity)?), ..request.clone() };
    ensure(swapped.csr != request.csr, "two requests", "one")?;
    let arrived = begun(&scene.issuer, &swapped)?;
    let sent = serde_json::to_vec(&request).map_err(|error| Failure::unexpected("JSON", error))?;
    let seen = Begun { sent, csr: request.csr.0, ..arrived };
    let answer = hand.complete_request(&seen, hand.activate(EkKind::Rsa, &seen.challenge)?)?;
    not_proved(complete(&scene.issuer, &answer)?, &["answers another challenge"])?;
    scene.nobody_enrolled()
}

#[test]
fn an_unrestricted_ak_and_one_key_in_two_roles_are_refused() -> Story {
    let scene = Scene::new()?;
    let hand = scene.by_hand()?;
    let code = scene.invite("mallory")?;
    let eks = || Ok::<_, Failure>(vec![hand.endorsement_key(EkKind::Rsa)?]);
    let honest = || hand.begin_request(&code, eks()?);
    let public = |key: &daypass_tests::by_hand::HandKey| Bytes(key.public().to_vec());
    // A key of the TPM that signs any message is no AK: it would sign this, which no TPM made.
    let signs = hand.another_key(SIGNS)?;
    let mut request = honest()?;
    request.attestation_key = public(&signs);
    not_proved(try_begin(&scene.issuer, &request)?, &["attestation key", "0x00040472", "0x00050472"])?;
    // Said to be restricted, it has another name, and the TPM opens nothing for it.
    let mut claimed = signs.public().to_vec();
    if let Some(attributes) = claimed.get_mut(4..8) {
        attributes.copy_from_slice(&ATTESTS.to_be_bytes());
    }
    request.attestation_key = Bytes(claimed);
    let lied = begun(&scene.issuer, &request)?;
    let mut unrestricted = scene.by_hand_again("lied")?;
    unrestricted.attestation = signs.clone();
    unrestricted.try_activate(EkKind::Rsa, &lied.challenge)?.refused(&["0x1df"])?;
    let genuine = hand.complete_request(&lied, [0; 32])?;
    let forged = CompleteRequest { quote: signs.forge(&genuine.quote.attest.0)?, ..genuine };
    not_proved(complete(&scene.issuer, &forged)?, &["activation secret is wrong"])?;
    // A real AK does not sign what somebody brings.
    ensure(hand.attestation.forge(&forged.quote.attest.0).is_err(), "a restricted key that refuses", "a signature")?;

    // One key as two.
    let mut request = honest()?;
    request.proof_key = request.identity_key.clone();
    not_proved(try_begin(&scene.issuer, &request)?, &["two of the three keys are the same"])?;
    let mut request = honest()?;
    request.identity_key = request.attestation_key.clone();
    not_proved(try_begin(&scene.issuer, &request)?, &["identity key has attributes"])?;
    // And a certification of one shown for the other.
    let answer = hand.answer(&scene.issuer, &code, |begun, request| {
        let extra = begun.enrolment_extra(Purpose::CertifyProof);
        request.proof_certification = hand.attestation.certify(&hand.identity, &extra)?;
        Ok(())
    })?;
    not_proved(answer, &["certification of the proof key", "about another key"])?;
    scene.nobody_enrolled()
}

impl Scene {
    /// The first TPM once more, with another folder.
    fn by_hand_again(&self, name: &str) -> Result<ByHand<'_>, Failure> {
        ByHand::new(&self.place, name, &self.one)
    }
}

#[test]
fn a_quote_is_over_the_pcrs_that_were_asked_for() -> Story {
    let scene = Scene::new()?;
    let hand = scene.by_hand()?;
    let code = scene.invite("alice")?;
    let quoted = |bank: HashingAlgorithm, pcrs: &[u8]| {
        hand.answer(&scene.issuer, &code, |begun, request| {
            request.quote = hand.attestation.quote(bank, pcrs, &begun.enrolment_extra(Purpose::Quote))?;
            request.pcr_values = if pcrs.is_empty() { Vec::new() } else { hand.pcr_values(pcrs)? };
            Ok(())
        })
    };
    let all: Vec<u8> = (0..24).collect();
    for pcrs in [&[][..], &[0], &[0, 1, 2, 3, 4, 5, 6], &[16, 17, 18, 19, 20, 21, 22, 23], &all] {
        not_proved(quoted(HashingAlgorithm::Sha256, pcrs)?, &["quote", "other PCRs"])?;
    }
    // The same numbers of a bank that is not there.
    not_proved(quoted(HashingAlgorithm::Sha1, &[0, 1, 2, 3, 4, 5, 6, 7])?, &["quote", "other PCRs"])?;
    // Values that would look better.
    let better = hand.answer(&scene.issuer, &code, |_, request| {
        if let Some(value) = request.pcr_values.first_mut() {
            *value = Fixed([1; 32]);
        }
        Ok(())
    })?;
    not_proved(better, &["quote", "does not fit the PCR values"])?;
    let fewer = hand.answer(&scene.issuer, &code, |_, request| {
        request.pcr_values.pop();
        Ok(())
    })?;
    not_proved(fewer, &["quote", "does not fit the PCR values"])?;
    // A certification is no quote.
    let other = hand.answer(&scene.issuer, &code, |begun, request| {
        let extra = begun.enrolment_extra(Purpose::Quote);
        request.quote = hand.attestation.certify(&hand.identity, &extra)?;
        Ok(())
    })?;
    not_proved(other, &["quote", "another kind"])?;
    scene.nobody_enrolled()?;
    hand.enrol(&scene.issuer, &code)?;
    Ok(())
}

/// `UEFI_VARIABLE_DATA` of `SecureBoot`.
fn secure_boot(value: u8) -> Vec<u8> {
    let global = [0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c];
    let name: Vec<u8> = "SecureBoot".encode_utf16().flat_map(u16::to_le_bytes).collect();
    [&global[..], &10_u64.to_le_bytes(), &1_u64.to_le_bytes(), &name, &[value]].concat()
}

const VARIABLE: u32 = 0x8000_0001;
const SEPARATOR: u32 = 4;

/// An event log (TCG PC Client Platform Firmware Profile, section 10) of PCR 7 alone.
fn event_log(events: &[(u32, &[u8])]) -> Vec<u8> {
    let (sha256_id, one) = (0x000b_u16.to_le_bytes(), 1_u32.to_le_bytes());
    let specification =
        [&b"Spec ID Event03\0"[..], &[0, 0, 0, 0, 0, 2, 0, 2], &one, &sha256_id, &32_u16.to_le_bytes(), &[0]].concat();
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or_default().to_le_bytes();
    let mut log = [&[0; 28][..], &length(&specification), &specification].concat();
    for (kind, data) in events {
        let head = [&7_u32.to_le_bytes()[..], &kind.to_le_bytes(), &one, &sha256_id, &sha256(&[data])];
        log.extend([&head.concat(), &length(data)[..], data].concat());
    }
    log
}

#[test]
fn an_event_log_counts_where_it_replays_and_for_what_the_firmware_measured() -> Story {
    let scene = Scene::new()?;
    let hand = scene.by_hand()?;
    let posture = |collaborator: &str, log: Option<&[u8]>| -> Result<Value, Failure> {
        let code = scene.invite(collaborator)?;
        let answer = hand.answer(&scene.issuer, &code, |_, request| {
            request.event_log = log.map(|log| Bytes(log.to_vec()));
            Ok(())
        })?;
        answer.status(200)?;
        let device = scene.issuer.device_of(collaborator)?;
        let shown = scene.issuer.run(["device", "show", &device, "--json"])?.json()?;
        Ok(shown.get("posture").cloned().unwrap_or_default())
    };
    let is = |posture: &Value, state: &str, secure_boot: &Value| {
        let right = posture.get("event_log").and_then(Value::as_str) == Some(state)
            && posture.get("secure_boot").unwrap_or(&Value::Null) == secure_boot;
        ensure(right, format!("the log {state}, Secure Boot {secure_boot}"), posture)
    };
    let measure = |data: &[u8]| {
        let words: String = sha256(&[data]).iter().map(|byte| format!("{byte:02x}")).collect();
        hand.run_tool(&format!("tpm2_pcrextend 7:sha256={words}"))
    };
    let (off, on, separator) = (secure_boot(0), secure_boot(1), [0; 4]);
    let mut events: Vec<(u32, &[u8])> = vec![(VARIABLE, &off), (SEPARATOR, &separator)];
    is(&posture("nobody", None)?, "absent", &Value::Null)?;
    // The TPM has measured nothing of the kind.
    is(&posture("liar", Some(&event_log(&events)))?, "dropped", &Value::Null)?;
    measure(&off)?;
    is(&posture("early", Some(&event_log(&events[..1])))?, "replayed", &Value::Null)?;
    measure(&separator)?;
    is(&posture("honest", Some(&event_log(&events)))?, "replayed", &Value::Bool(false))?;
    // Root measures what the firmware has not, and tells of it; also under names that no digest binds.
    measure(&on)?;
    events.push((VARIABLE, &on));
    let log = event_log(&events);
    is(&posture("root", Some(&log))?, "replayed", &Value::Bool(false))?;
    let mut renamed = log.clone();
    let first = event_log(&[]).len() + 4;
    renamed.splice(first..first + 4, 5_u32.to_le_bytes());
    is(&posture("renamed", Some(&renamed))?, "replayed", &Value::Null)?;
    // One event less, cut off, junk: said to be dropped, and nothing in it counts.
    let head = log.len() - 7;
    for (collaborator, other) in [("cut", log.get(..head).unwrap_or_default()), ("junk", b"junk"), ("empty", b"")] {
        is(&posture(collaborator, Some(other))?, "dropped", &Value::Null)?;
    }
    is(&posture("less", Some(&event_log(&events[..2])))?, "dropped", &Value::Null)?;
    Ok(())
}

#[test]
fn each_statement_answers_this_challenge_for_its_own_purpose() -> Story {
    let scene = Scene::new()?;
    let hand = scene.by_hand()?;
    let code = scene.invite("alice")?;
    let words = ["answers another challenge, or is for another purpose"];
    // Each with the extraData of another purpose, of nothing, and of a nonce of somebody's own.
    for wrong in [Purpose::CertifyProof, Purpose::Quote, Purpose::RenewalQuote] {
        let answer = hand.answer(&scene.issuer, &code, |begun, request| {
            let extra = begun.enrolment_extra(wrong);
            request.identity_certification = hand.attestation.certify(&hand.identity, &extra)?;
            Ok(())
        })?;
        not_proved(answer, &words)?;
    }
    for extra in [&[][..], &[0; 32], &[0x00, 0xff, 0x55, 0xaa]] {
        let answer = hand.answer(&scene.issuer, &code, |begun, request| {
            request.quote = hand.attestation.quote(HashingAlgorithm::Sha256, &begun.challenge.pcrs, extra)?;
            Ok(())
        })?;
        not_proved(answer, &words)?;
        let answer = hand.answer(&scene.issuer, &code, |_, request| {
            request.proof_certification = hand.attestation.certify(&hand.proof, extra)?;
            Ok(())
        })?;
        not_proved(answer, &words)?;
    }
    // Altered on the way.
    let answer = hand.answer(&scene.issuer, &code, |begun, request| {
        let extra = begun.enrolment_extra(Purpose::Quote);
        if let Some(at) = request.quote.attest.0.windows(32).position(|window| window == extra)
            && let Some(byte) = request.quote.attest.0.get_mut(at)
        {
            *byte ^= 1;
        }
        Ok(())
    })?;
    not_proved(answer, &["quote", "not signed by the attestation key"])?;
    scene.nobody_enrolled()
}

#[test]
fn a_challenge_is_answered_once_and_in_time() -> Story {
    let scene = Scene::new()?;
    let hand = scene.by_hand()?;
    let code = scene.invite("alice")?;
    let prepared = || -> Result<CompleteRequest, Failure> {
        let begun = hand.begin(&scene.issuer, &code, EkKind::Rsa)?;
        hand.complete_request(&begun, hand.activate(EkKind::Rsa, &begun.challenge)?)
    };
    // Too late; its invitation is still good.
    let late = prepared()?;
    scene.clock.advance(Duration::from_secs(301))?;
    refused(complete(&scene.issuer, &late)?, 400, "challenge_expired", &["too old"])?;
    // Wrong once: the right answer comes too late.
    let right = prepared()?;
    let mut wrong = right.clone();
    wrong.activation_secret = Fixed([0; 32]);
    not_proved(complete(&scene.issuer, &wrong)?, &["activation secret is wrong"])?;
    refused(complete(&scene.issuer, &right)?, 400, "challenge_expired", &["answered already"])?;
    // Another's, and nobody's.
    let unknown = "enr-0000000000000000".parse().map_err(|error| Failure::unexpected("an enrolment", error))?;
    let mut nobodys = prepared()?;
    nobodys.enrolment = unknown;
    refused(complete(&scene.issuer, &nobodys)?, 400, "challenge_expired", &["unknown"])?;
    scene.nobody_enrolled()?;
    // Right: once.
    let good = prepared()?;
    complete(&scene.issuer, &good)?.status(200)?;
    refused(complete(&scene.issuer, &good)?, 400, "challenge_expired", &["answered already"])?;
    // What was begun while the invitation was good ends with it.
    let short = scene.issuer.invite("carol", "apollo", "developer", &["--code-expires", "2m"])?;
    let begun = hand.begin(&scene.issuer, &short, EkKind::Rsa)?;
    let answer = hand.complete_request(&begun, hand.activate(EkKind::Rsa, &begun.challenge)?)?;
    scene.clock.advance(Duration::from_secs(130))?;
    refused(complete(&scene.issuer, &answer)?, 400, "code_expired", &["expired at", "and it is"])
}

/// Has both enrol with one invitation at once; one must win, and the other be told so.
fn race(scene: &Scene, hands: [&ByHand<'_>; 2], code: &str) -> Story {
    // Both have proved everything, and send at the same moment.
    let mut requests = Vec::new();
    for hand in hands {
        let begun = hand.begin(&scene.issuer, code, EkKind::Rsa)?;
        requests.push(hand.complete_request(&begun, hand.activate(EkKind::Rsa, &begun.challenge)?)?);
    }
    let answers: Vec<Result<Answer, Failure>> = thread::scope(|scope| {
        let sending: Vec<_> = requests.iter().map(|request| scope.spawn(|| complete(&scene.issuer, request))).collect();
        sending
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(Failure::unexpected("an answer", "a panic"))))
            .collect()
    });
    let (won, lost): (Vec<Answer>, Vec<Answer>) =
        answers.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().partition(|answer| answer.status == 200);
    ensure(won.len() == 1, "one winner", format!("{} winners", won.len()))?;
    for answer in lost {
        refused(answer, 400, "code_used", &["was used already"])?;
    }
    Ok(())
}

#[test]
fn of_two_machines_that_race_for_one_invitation_one_enrols() -> Story {
    let scene = Scene::new()?;
    let (one, other) = (scene.by_hand()?, scene.on_the_other()?);
    // Several times, so that they do meet.
    for round in 0..4 {
        race(&scene, [&one, &other], &scene.invite(&format!("racer-{round}"))?)?;
        let devices = scene.issuer.devices()?;
        ensure(devices.len() == round + 1, format!("{} devices", round + 1), format!("{devices:?}"))?;
    }
    let code = scene.invite("alice")?;
    race(&scene, [&one, &other], &code)?;
    // The loser cannot even begin; the winner can run its enrolment again, and stays one device.
    let (mut begun, mut refusals) = (0, 0);
    for hand in [&one, &other] {
        let request = hand.begin_request(&code, vec![hand.endorsement_key(EkKind::Rsa)?])?;
        let answer = try_begin(&scene.issuer, &request)?;
        if answer.status == 200 {
            begun += 1;
        } else {
            refused(answer, 400, "code_used", &["was used already"])?;
            refusals += 1;
        }
    }
    ensure((begun, refusals) == (1, 1), "one that may go on", format!("{begun} and {refusals}"))?;
    // The same TPM with other keys is another machine to the invitation.
    let stranger = scene.by_hand_again("stranger")?;
    let request = stranger.begin_request(&code, vec![stranger.endorsement_key(EkKind::Rsa)?])?;
    refused(try_begin(&scene.issuer, &request)?, 400, "code_used", &["with other keys"])
}

fn renewal_refused((status, body): (u16, String), expected: u16, words: &[&str]) -> Story {
    let said = words.iter().all(|word| body.contains(word)) && !body.contains("certificate_chain");
    ensure(status == expected && said, format!("{expected} with {words:?}"), format!("{status}: {body}"))
}

#[test]
fn a_suspended_device_does_not_attest_again() -> Story {
    let scene = Scene::new()?;
    let hand = scene.by_hand()?;
    let code = scene.invite("alice")?;
    let device = hand.enrol(&scene.issuer, &code)?;
    scene.issuer.approve("alice")?;
    let decide = |verb: &str| {
        let decided = scene.issuer.act(["device", verb, &device.device, "--reason", "a test"]);
        if verb == "revoke" { decided.arg("--yes") } else { decided }.run()?.succeeded()
    };

    // Begun before, answered after: an enrolment with the same invitation, and a renewal.
    let enrolment = hand.begin(&scene.issuer, &code, EkKind::Rsa)?;
    let enrolment = hand.complete_request(&enrolment, hand.activate(EkKind::Rsa, &enrolment.challenge)?)?;
    let renewal = hand.renewal_request(&hand.begin_renewal(&scene.issuer, &device)?)?;
    decide("suspend")?;
    refused(complete(&scene.issuer, &enrolment)?, 403, "device_suspended", &["suspended"])?;
    renewal_refused(device.renew(&scene.issuer, &renewal)?, 403, &["device_suspended"])?;
    // Begun after.
    let request = hand.begin_request(&code, vec![hand.endorsement_key(EkKind::Rsa)?])?;
    refused(try_begin(&scene.issuer, &request)?, 403, "device_suspended", &["suspended"])?;
    renewal_refused(device.post(&scene.issuer, "/device/v1/renewal/begin", b"{}")?, 403, &["device_suspended"])?;
    // With a certificate whose time is over as well.
    scene.clock.advance(Duration::from_secs(8 * 86_400))?;
    renewal_refused(device.post(&scene.issuer, "/device/v1/renewal/begin", b"{}")?, 403, &["device_suspended"])?;

    // Resumed, it attests anew with that same certificate: what was refused was the suspension.
    decide("resume")?;
    let renewal = hand.renewal_request(&hand.begin_renewal(&scene.issuer, &device)?)?;
    let (status, body) = device.renew(&scene.issuer, &renewal)?;
    ensure(status == 200 && body.contains("certificate_chain"), "a new certificate", format!("{status}: {body}"))?;
    // Revoked, never again.
    decide("revoke")?;
    renewal_refused(device.post(&scene.issuer, "/device/v1/renewal/begin", b"{}")?, 403, &["device_revoked"])?;
    refused(try_begin(&scene.issuer, &request)?, 403, "device_revoked", &["revoked"])
}

#[test]
fn a_renewal_is_attested_as_strictly_as_an_enrolment() -> Story {
    let scene = Scene::new()?;
    let (hand, other) = (scene.by_hand()?, scene.on_the_other()?);
    let device = hand.enrol(&scene.issuer, &scene.invite("alice")?)?;
    let theirs = other.enrol(&scene.issuer, &scene.invite("bob")?)?;
    let honest = || -> Result<_, Failure> {
        let begun = hand.begin_renewal(&scene.issuer, &device)?;
        Ok((hand.renewal_request(&begun)?, begun))
    };
    // Another device's challenge, and one's own shown by another device.
    let (request, _) = honest()?;
    renewal_refused(theirs.renew(&scene.issuer, &request)?, 400, &["challenge_expired"])?;
    // It was not spent by that: whose it is may answer it.
    let (status, body) = device.renew(&scene.issuer, &request)?;
    ensure(status == 200, "the challenge of its own device untouched", format!("{status}: {body}"))?;
    renewal_refused(device.renew(&scene.issuer, &request)?, 400, &["challenge_expired", "answered already"])?;
    // A swapped request for a certificate: for another key, and for the same one.
    let (mut request, _) = honest()?;
    request.csr = Bytes(hand.csr(&hand.proof)?);
    renewal_refused(device.renew(&scene.issuer, &request)?, 400, &["not for this device's identity key"])?;
    let (mut request, _) = honest()?;
    request.csr = Bytes(hand.csr(&hand.identity)?);
    renewal_refused(device.renew(&scene.issuer, &request)?, 403, &["answers another challenge"])?;
    // Another TPM's quote, a quote for enrolment, other PCRs, none.
    let quote = |key: &daypass_tests::by_hand::HandKey, purpose, pcrs: &[u8], words: &[&str]| -> Story {
        let (mut request, begun) = honest()?;
        let extra = begun.extra(purpose, &begun.challenge.nonce);
        request.quote = key.quote(HashingAlgorithm::Sha256, pcrs, &extra)?;
        request.pcr_values = if pcrs.is_empty() { Vec::new() } else { hand.pcr_values(pcrs)? };
        renewal_refused(device.renew(&scene.issuer, &request)?, 403, words)
    };
    let asked: Vec<u8> = (0..8).collect();
    quote(&other.attestation, Purpose::RenewalQuote, &asked, &["not signed by the attestation key"])?;
    quote(&hand.attestation, Purpose::Quote, &asked, &["another purpose"])?;
    quote(&hand.attestation, Purpose::RenewalQuote, &[0, 1], &["other PCRs"])?;
    quote(&hand.attestation, Purpose::RenewalQuote, &[], &["other PCRs"])?;
    // Too late.
    let (request, _) = honest()?;
    scene.clock.advance(Duration::from_secs(301))?;
    renewal_refused(device.renew(&scene.issuer, &request)?, 400, &["challenge_expired", "too old"])
}

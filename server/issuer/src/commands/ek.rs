//! `daypass-issuer ek check`: what an EK certificate says, how far its chain leads, and what an enrolment with it would come to.
//!
//! It judges as enrolment does, by the same code, under today's configuration. It needs neither the store nor the keys, so it can be asked
//! before anybody is invited.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use daypass_proto::{
    attestation::{EkCertificate, EkCertificateError, EkRoots, EkTemplate, Judgement},
    enrolment::TrustTier,
    time::Timestamp,
};
use daypass_service::{file_argument, read_file, read_up_to};
use serde_json::{Value, json};

use super::{
    CommandError,
    output::{json as print_json, line, untrusted_up_to},
};
use crate::{
    certificates::{self, MAX_FILE},
    clock::Environment,
    config::Config,
    issuer::load_ek_roots,
};

/// The longest name that is printed.
const LONGEST: usize = 200;

/// What can be done.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Explain a certificate: which TPM, which key, its chain, its trust tier, and whether a machine with it could enrol.
    Check(Args),
}

/// Options of `ek check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// One or more certificates, PEM or DER, with the padding of the TPM's NV or without; a regular file, or `-` for standard input.
    #[arg(value_parser = file_argument())]
    file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Why the command ends with a refusal.
#[derive(Debug)]
pub enum Refused {
    /// The file has CAs' certificates alone.
    NoEk,
    /// So many of its EK certificates would be refused.
    Certificates(usize),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEk => f.write_str(
                "no EK certificate is in this file; a CA's goes into `ek_roots/`, if you believe whoever made it",
            ),
            Self::Certificates(1) => f.write_str(
                "a machine with this EK certificate would be refused; whoever knows the machine can name it: `daypass-issuer invite --ek-hash`",
            ),
            Self::Certificates(count) => write!(f, "machines with {count} of these EK certificates would be refused"),
        }
    }
}

/// One certificate of the file, and what becomes of it.
struct Checked {
    certificate: EkCertificate,
    judgement: Judgement,
    outcome: Outcome,
    /// Of a chain that ends at an unknown issuer: the place of that issuer's certificate in this very file.
    issuer_in_file: Option<usize>,
}

/// What an enrolment with a certificate would come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    /// Not an EK's; it is not judged as one.
    Authority,
    Believed(TrustTier),
    /// Unknown, and let in for review by the configuration.
    Reviewed,
    Refused,
}

impl Outcome {
    fn of(certificate: &EkCertificate, judgement: &Judgement, accept_unknown: bool) -> Self {
        match (certificate.is_authority(), judgement.tier) {
            (true, _) => Self::Authority,
            (false, TrustTier::EkUnknown) if accept_unknown => Self::Reviewed,
            (false, TrustTier::EkUnknown) => Self::Refused,
            (false, tier) => Self::Believed(tier),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Authority => "not_an_ek",
            Self::Believed(_) => "believed",
            Self::Reviewed => "review",
            Self::Refused => "refused",
        }
    }
}

pub(super) fn check(config: &Path, environment: &Environment, args: &Args) -> Result<(), CommandError> {
    let config = Config::load(config)?;
    let roots = load_ek_roots(&config.ek_roots)?;
    let certificates = read(&args.file)?;
    let checked = judged(certificates, &roots, environment.now(), config.accept_unknown_ek);
    if args.json {
        print_json(&json!({
            "ek_roots": roots.len(), "accept_unknown_ek": config.accept_unknown_ek,
            "certificates": checked.iter().map(Checked::to_json).collect::<Vec<_>>(),
        }))?;
    } else {
        for (at, one) in checked.iter().enumerate() {
            if at > 0 {
                line("")?;
            }
            line(format!("certificate     {} of {} in the file", at + 1, checked.len()))?;
            one.lines(roots.len()).into_iter().try_for_each(line)?;
        }
    }
    match verdict(&checked) {
        None => Ok(()),
        Some(refused) => Err(CommandError::Ek(refused)),
    }
}

fn verdict(checked: &[Checked]) -> Option<Refused> {
    let eks = checked.iter().filter(|one| one.outcome != Outcome::Authority);
    let refused = eks.clone().filter(|one| one.outcome == Outcome::Refused).count();
    match (eks.count(), refused) {
        (0, _) => Some(Refused::NoEk),
        (_, 0) => None,
        (_, count) => Some(Refused::Certificates(count)),
    }
}

fn read(path: &Path) -> Result<Vec<EkCertificate>, CommandError> {
    let bytes = match path.as_os_str() == "-" {
        true => read_up_to(io::stdin().lock(), MAX_FILE),
        false => read_file(path, MAX_FILE),
    };
    let bytes = bytes.map_err(|source| CommandError::File { path: path.to_owned(), source })?;
    let ders = certificates::certificates(&bytes)
        .map_err(|source| CommandError::Certificates { path: path.to_owned(), source })?;
    // All of them read by now.
    Ok(ders.iter().filter_map(|der| EkCertificate::parse(der).ok()).collect())
}

fn judged(certificates: Vec<EkCertificate>, roots: &EkRoots, now: Timestamp, accept_unknown: bool) -> Vec<Checked> {
    let subjects: Vec<(bool, String)> =
        certificates.iter().map(|one| (one.is_authority(), one.subject().to_owned())).collect();
    let judge = |certificate: EkCertificate| {
        let judgement = certificate.judge(roots, now);
        let wanted = judgement.walk.links.last().map_or(certificate.issuer(), |link| link.issuer.as_str());
        let unknown = matches!(judgement.walk.end, Err(daypass_proto::attestation::ChainError::UnknownIssuer(_)));
        let issuer_in_file =
            subjects.iter().position(|(authority, subject)| unknown && *authority && subject == wanted);
        let outcome = Outcome::of(&certificate, &judgement, accept_unknown);
        Checked { outcome, issuer_in_file, certificate, judgement }
    };
    certificates.into_iter().map(judge).collect()
}

fn tier_word(tier: TrustTier) -> String {
    serde_json::to_value(tier).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

fn shown(text: &str) -> String {
    if text.is_empty() { "(empty)".to_owned() } else { untrusted_up_to(LONGEST, text) }
}

fn template_words(certificate: &EkCertificate) -> Vec<String> {
    certificate.templates().map(|template| template.to_string()).collect()
}

impl Checked {
    /// For people. What the certificate says of itself is text of whoever made it.
    fn lines(&self, roots: usize) -> Vec<String> {
        let Self { certificate, judgement, .. } = self;
        let mut lines = Vec::new();
        let mut say = |name: &str, text: String| lines.push(format!("{name:<15} {text}"));
        say("subject", shown(certificate.subject()));
        say("issuer", shown(certificate.issuer()));
        say("serial", shown(certificate.serial()));
        let (from, to) = certificate.validity();
        say("valid", format!("{from} to {to}"));
        say("key", self.key_words());
        if let Some(hash) = certificate.hash().filter(|_| self.outcome != Outcome::Authority) {
            say("EK hash", hex::encode(hash));
        }
        if certificate.padding() > 0 {
            say("padding", format!("{} bytes behind it, as TPMs keep it", certificate.padding()));
        }
        if self.outcome != Outcome::Authority {
            let tpm = certificate.tpm();
            let word = |text: &Option<String>| text.as_deref().map_or_else(|| "not named".to_owned(), shown);
            say("manufacturer", word(&tpm.manufacturer) + &vendor(tpm.manufacturer.as_deref()));
            say("model", word(&tpm.model));
            say("version", word(&tpm.version));
        }
        say("key usage", certificate.key_usage().map_or_else(|| "none".to_owned(), shown));
        let purpose =
            if certificate.is_for_ek() { "endorsement key (2.23.133.8.1)" } else { "none for endorsement keys" };
        say("extended usage", purpose.to_owned());
        for (step, link) in judgement.walk.links.iter().enumerate() {
            let text =
                format!("{}. signed ({}) by `{}`, until {}", step + 1, link.signature, shown(&link.subject), link.to);
            say("chain", text);
        }
        say("chain", self.end_words(roots));
        if self.outcome == Outcome::Authority {
            say("verdict", "not an EK: a CA's certificate, which this command only describes".to_owned());
            return lines;
        }
        // The chain's own is in the line above.
        for fault in judgement.faults.iter().filter(|fault| !matches!(fault, EkCertificateError::Chain(_))) {
            say("fault", untrusted_up_to(400, &fault.to_string()));
        }
        say("trust tier", tier_word(judgement.tier));
        say("verdict", self.verdict_words());
        lines
    }

    fn key_words(&self) -> String {
        let templates: Vec<String> = self
            .certificate
            .templates()
            .map(|template: EkTemplate| format!("{template} (certificate at {:#010x})", template.certificate_index()))
            .collect();
        let fits =
            if templates.is_empty() { "no template that is taken here".to_owned() } else { templates.join(" or ") };
        let name = self.certificate.key_name();
        if self.outcome == Outcome::Authority { name.to_owned() } else { format!("{name}, of {fits}") }
    }

    fn end_words(&self, roots: usize) -> String {
        let Err(error) = &self.judgement.walk.end else { return "the last one is a configured root".to_owned() };
        let mut text = format!("breaks: {}", untrusted_up_to(400, &error.to_string()));
        if roots == 0 {
            text += "; `ek_roots/` is empty";
        }
        if let Some(at) = self.issuer_in_file {
            text += &format!(
                "; certificate {} of this file has that name, and counts when it is in `ek_roots/`, with its root",
                at + 1
            );
        }
        text
    }

    fn verdict_words(&self) -> String {
        match self.outcome {
            Outcome::Believed(TrustTier::Virtual) => {
                "believed, and shown as a virtual TPM to whoever approves: whoever runs its host holds its keys"
            }
            Outcome::Believed(_) => "believed: a machine with this EK can enrol, and then waits for approval",
            Outcome::Reviewed => {
                "says nothing; a machine with this EK could enrol as unknown, since `accept_unknown_ek` is on"
            }
            Outcome::Refused => "refused: the certificate does not make this EK known",
            Outcome::Authority => "not an EK",
        }
        .to_owned()
    }

    fn to_json(&self) -> Value {
        let Self { certificate, judgement, .. } = self;
        let (from, to) = certificate.validity();
        let tpm = certificate.tpm();
        let links: Vec<Value> = judgement
            .walk
            .links
            .iter()
            .map(|link| json!({"subject": link.subject, "signature": link.signature, "not_after": link.to}))
            .collect();
        let is_ek = self.outcome != Outcome::Authority;
        json!({
            "subject": certificate.subject(), "issuer": certificate.issuer(), "serial": certificate.serial(),
            "tpm": {"manufacturer": tpm.manufacturer, "model": tpm.model, "version": tpm.version},
            "key": certificate.key_name(), "templates": template_words(certificate),
            "ek_hash": certificate.hash().filter(|_| is_ek).map(hex::encode),
            "not_before": from, "not_after": to, "padding": certificate.padding(),
            "key_usage": certificate.key_usage(), "is_for_ek": certificate.is_for_ek(), "is_ca": certificate.is_authority(),
            "chain": {"links": links, "ends_at_root": judgement.walk.end.is_ok(),
                "breaks": judgement.walk.end.as_ref().err().map(ToString::to_string)},
            "faults": judgement.faults.iter().filter(|_| is_ek).map(ToString::to_string).collect::<Vec<_>>(),
            "trust_tier": is_ek.then_some(judgement.tier), "verdict": self.outcome.word(),
        })
    }
}

/// The letters in a TCG vendor ID: `id:53544D20` is STM.
fn vendor(id: Option<&str>) -> String {
    let bytes = id.and_then(|id| id.get(3..)).and_then(|digits| hex::decode(digits).ok()).unwrap_or_default();
    let letters: String =
        bytes.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(|byte| char::from(*byte)).collect();
    if letters.is_empty() { letters } else { format!(" ({letters})") }
}

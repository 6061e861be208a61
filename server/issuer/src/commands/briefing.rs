//! `daypass-issuer grant briefing`: what the holder of a grant reads, and what of it they accepted.

use daypass_proto::{
    briefing::{Claims, Standing, TYP, text_hash},
    encoding::{Fixed, sha256},
    jose::UnverifiedJws,
    names::GrantId,
};
use serde_json::json;

use super::{
    CommandError,
    output::{json as print_json, line},
};
use crate::{
    briefing::{of, standing},
    ending::EndError,
    issuer::Issuer,
    store::{Acceptance, Device},
};

/// Options of `grant briefing`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which.
    grant: GrantId,
    /// Print the text as its holder would read it now, and nothing else.
    #[arg(long, conflicts_with = "json")]
    text: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(issuer: &Issuer, args: Args) -> Result<(), CommandError> {
    let grant = issuer.store.grant(&args.grant).await?.ok_or_else(|| EndError::NoGrant(args.grant.clone()))?;
    let policy = issuer.policy();
    let now = issuer.environment.now();
    if args.text {
        return line(of(&policy, &issuer.config.issuer_url, &grant, now)?.text.trim_end());
    }
    let stands = standing(&policy, &grant, now);
    let mut acceptances = Vec::new();
    for kept in issuer.store.acceptances(&grant.id).await? {
        let device = issuer.store.device(&kept.device).await?;
        acceptances.push((is_theirs(&kept, device.as_ref()), kept));
    }
    if args.json {
        let told = |(signed, kept): &(bool, Acceptance)| {
            let mut told = json!(kept);
            if let Some(told) = told.as_object_mut() {
                told.insert("signature_holds".to_owned(), json!(signed));
            }
            told
        };
        let acceptances: Vec<_> = acceptances.iter().map(told).collect();
        return print_json(&json!({"grant": grant.id, "standing": stands, "acceptances": acceptances}));
    }
    line(format!(
        "{} ({} as {}): {}",
        grant.id,
        grant.project,
        grant.role,
        match stands {
            None => "has no briefing now",
            Some(Standing::Offered) => "can be read, and need not be accepted",
            Some(Standing::Required) => "waits to be accepted: it gives no token before",
            Some(Standing::Accepted) => "is accepted as it is now",
        }
    ))?;
    for (signed, kept) in &acceptances {
        let by =
            if *signed { "signed by the device's proof key" } else { "and the signature or the text DOES NOT HOLD" };
        let hash = serde_json::to_string(&kept.hash).unwrap_or_default();
        line(format!("\naccepted at {} by {}, {by}; in the ledger as {hash}\n", kept.at, kept.device))?;
        line(kept.text.as_deref().map_or("its text went when somebody whom it names was erased", str::trim_end))?;
    }
    if acceptances.is_empty() { line("nobody has accepted it; `--text` shows what they read") } else { Ok(()) }
}

/// Whether what is kept is one whole: the word of this device's key for this text, under this hash.
fn is_theirs(kept: &Acceptance, device: Option<&Device>) -> bool {
    let claims = device.and_then(|device| {
        let jws = UnverifiedJws::parse(&kept.acceptance, TYP).ok()?.verify(&device.proof).ok()?;
        jws.claims::<Claims>().ok()
    });
    claims.is_some_and(|claims| {
        let text = kept.text.as_ref().is_none_or(|text| text_hash(text) == claims.text);
        let hash = Fixed(sha256(&[kept.acceptance.as_bytes()])) == kept.hash;
        text && hash && claims.briefing == kept.briefing && claims.grant == kept.grant
    })
}

#[cfg(test)]
mod tests {
    use daypass_proto::jose::{Header, SoftwareKey};
    use rcgen::KeyPair;

    use super::*;
    use crate::fixture::Made;

    #[tokio::test]
    async fn evidence_that_was_touched_does_not_hold() {
        let made = Made::with_software().await;
        let client = made.client().await;
        let key = SoftwareKey::from_pkcs8(&KeyPair::generate().unwrap().serialize_der()).unwrap();
        let device = Device { proof: *key.public(), ..client.clone() };
        let (grant, text) = (made.issuer.store.grants_of(&device.id).await.unwrap().remove(0), "what was read");
        let claims = Claims {
            aud: "https://issuer.example.com".to_owned(),
            iat: made.now(),
            grant: grant.id.clone(),
            project: grant.project.clone(),
            briefing: Fixed([1; 32]),
            text: text_hash(text),
        };
        let acceptance = key.sign(&Header { typ: TYP, ..Header::default() }, &claims).unwrap();
        let kept = Acceptance {
            hash: Fixed(sha256(&[acceptance.as_bytes()])),
            grant: grant.id.clone(),
            device: device.id.clone(),
            collaborator: grant.collaborator.clone(),
            at: made.now(),
            briefing: Fixed([1; 32]),
            acceptance,
            text: Some(text.to_owned()),
        };
        assert!(is_theirs(&kept, Some(&device)));
        assert!(is_theirs(&Acceptance { text: None, ..kept.clone() }, Some(&device)), "whoever it named was erased");
        assert!(!is_theirs(&kept, Some(&client)) && !is_theirs(&kept, None), "another key");
        for touched in [
            Acceptance { text: Some("what was not read".to_owned()), ..kept.clone() },
            Acceptance { hash: Fixed([2; 32]), ..kept.clone() },
            Acceptance { briefing: Fixed([2; 32]), ..kept.clone() },
            Acceptance { grant: GrantId::from_random([9; 10]), ..kept.clone() },
        ] {
            assert!(!is_theirs(&touched, Some(&device)), "{touched:?}");
        }
    }
}

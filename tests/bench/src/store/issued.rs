//! What the token endpoint writes for one token (`issuer::token::issue`), for a grant that is drawn from all of them.

use daypass_issuer::{
    clock::Environment,
    new_jti,
    store::{Change, Decision, GrantLife, IssuedToken},
};
use daypass_proto::{
    enrolment::DeviceLife,
    ledger::{Event, EventKind},
    resource::Resource,
    time::Timestamp,
};
use daypass_tests::Failure;

use super::population::{Population, RESOURCE};

const LIFETIME: i64 = 300;
const REMEMBERED: i64 = 120;
/// As many as a device may have unless configured.
const MOST: u32 = 1000;

/// One token, about to be written.
pub(crate) struct Issued {
    pub(crate) event: Event,
    pub(crate) token: IssuedToken,
    pub(crate) proof: [u8; 32],
    pub(crate) remember_until: Timestamp,
}

/// Makes them; all that is the same for each is here.
pub(crate) struct Issuing {
    environment: Environment,
    population: Population,
    resource: Resource,
    details: serde_json::Value,
}

impl Issuing {
    pub(crate) fn new(environment: Environment, population: Population) -> Result<Self, Failure> {
        Ok(Self {
            environment,
            population,
            resource: RESOURCE.parse().map_err(|error| Failure::unexpected("a resource", error))?,
            details: serde_json::json!([{
                "type": "git_repository", "locations": ["https://git.example.com/team/app"],
                "actions": ["push"], "refs": ["refs/heads/alice/**"],
            }]),
        })
    }

    /// The next.
    pub(crate) fn issued(&self) -> Issued {
        let environment = &self.environment;
        let now = environment.now();
        let number = u64::from_be_bytes(environment.random()) % self.population.grants;
        let (device, grant) = (Population::device(number), Population::grant(number));
        let (jti, expires_at) = (new_jti(environment, now), now.plus(LIFETIME));
        let event = environment
            .event(EventKind::TokenIssued)
            .text("jti", &jti)
            .text("device", &device)
            .text("grant", &grant)
            .text("project", "apollo")
            .text("resource", &self.resource)
            .text("policy", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")
            .text("jkt", "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I")
            .number("exp", expires_at.seconds())
            .text("protection", "hardware")
            .text("token_hash", "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU")
            .text("role", "developer")
            .number("until", now.plus(90 * 86_400).seconds())
            .number("lifetime", LIFETIME);
        let details = serde_json::to_string(&self.details).unwrap_or_default();
        let people = [
            ("collaborator", "alice@example.com"),
            ("owner", "[\"olga@example.com\"]"),
            ("address", "192.0.2.7"),
            ("authorization_details", &details),
        ];
        Issued {
            event: people.into_iter().fold(event, |event, (name, value)| environment.personal(event, name, value)),
            token: IssuedToken { jti, device, grant, resource: self.resource.clone(), expires_at, revoked: false },
            proof: environment.random(),
            remember_until: now.plus(REMEMBERED),
        }
    }
}

impl Issued {
    /// As the endpoint hands it to the store.
    pub(crate) fn decision(self) -> Decision {
        let Self { event, token, proof, remember_until } = self;
        let now = event.at();
        Decision::new(event)
            .change(Change::RequireDevice(token.device.clone(), DeviceLife::Approved))
            .change(Change::RequireGrant(token.grant.clone(), GrantLife::Active))
            .change(Change::RememberProof { id: proof, until: remember_until })
            .change(Change::AddToken { token, now, most: MOST })
    }
}

//! Every field that there is. A name means the same in every kind.

use super::{Field, Form};

const fn plain(name: &'static str, form: Form, meaning: &'static str) -> Field {
    Field { name, form, personal: false, meaning }
}

const fn text(name: &'static str, meaning: &'static str) -> Field {
    plain(name, Form::Text, meaning)
}

const fn number(name: &'static str, meaning: &'static str) -> Field {
    plain(name, Form::Number, meaning)
}

const fn personal(name: &'static str, meaning: &'static str) -> Field {
    Field { name, form: Form::Text, personal: true, meaning }
}

// Who.
pub(super) const COLLABORATOR: Field = personal("collaborator", "for whom");
pub(super) const COLLABORATORS: Field =
    personal("collaborators", "the first of those who lost something, by name, a JSON list");
pub(super) const OWNER: Field = personal("owner", "the project's owners at that time, a JSON list");
pub(super) const BY: Field = personal(
    "by",
    "who decided: the account on the issuer's machine that ran the command; with `by_device`, the person",
);
pub(super) const BY_DEVICE: Field =
    text("by_device", "the enrolled device of whoever decided, who is not at the issuer's machine");
pub(super) const ON_BEHALF_OF: Field =
    personal("on_behalf_of", "the owner for whom the account on the issuer's machine decided");
pub(super) const CALLER: Field =
    personal("caller", "who asked the agent, as the agent reports it: JSON, docs/wire.md section 6.2");
pub(super) const HOSTNAME: Field = personal("hostname", "what the machine calls itself");
pub(super) const DEVICE: Field = text("device", "the device");
pub(super) const GATE: Field = text("gate", "the gate");
// From where.
pub(super) const ADDRESS: Field = personal("address", "from where: the IP address at the other end of the connection");
// What.
pub(super) const ADMINISTRATORS: Field = number("administrators", "how many administrators there were already");
pub(super) const AGAIN: Field = plain("again", Form::Flag, "the same machine once more, after an answer was lost");
pub(super) const ACCEPTANCE: Field =
    text("acceptance", "SHA-256 over the signed acceptance, which the store keeps, base64url");
pub(super) const ACCEPTED: Field = number("accepted", "the time from which decisions go on");
pub(super) const ACTIVE_FROM: Field = number("active_from", "from when the key is used");
pub(super) const APPROVALS: Field = number("approvals", "how many have approved, with this one");
pub(super) const APPROVERS: Field = number("approvers", "how many must approve");
pub(super) const BRIEFING: Field =
    text("briefing", "the hash of what was accepted, docs/wire.md section 5.7, base64url");
pub(super) const CODE: Field = text("comparison_code", "what both sides show");
pub(super) const CONTINUES: Field = text("continues", "the ledger's former name");
pub(super) const DELEGATION: Field =
    text("delegation", "the `jti` of the delegation, where the proof was made by a delegated key");
pub(super) const DEVICES: Field = number("devices", "how many devices were ended");
pub(super) const DETAILS: Field =
    personal("authorization_details", "what is granted, or was asked for: JSON; refs and paths name people");
pub(super) const ENROLMENT: Field = text("enrolment", "the enrolment in flight");
pub(super) const ERASED: Field = number("erased_fields", "how many values and salts were removed");
pub(super) const EXP: Field = number("exp", "the token's end");
pub(super) const EXPIRES_AT: Field = number("expires_at", "the end of the code or the challenge");
pub(super) const FLOOR: Field = number("floor", "the time up to which there were decisions");
pub(super) const FORMER_MASTER: Field = text("former_master", "the master key that opened the private keys before");
pub(super) const GRANT: Field = text("grant", "the grant");
pub(super) const GRANTS: Field = number("grants", "how many grants were ended");
pub(super) const INSTEAD_OF: Field =
    text("instead_of", "a name under which more was published meanwhile, which is not in this tree");
pub(super) const INVITATION: Field = text("invitation", "the invitation");
pub(super) const INVITATIONS: Field = number("invitations", "how many open invitations were taken back");
pub(super) const ISSUER: Field = text("issuer", "the issuer's URL");
pub(super) const JKT: Field = text("jkt", "the thumbprint of the key that the token is bound to");
pub(super) const JTI: Field = text("jti", "the token's identifier");
pub(super) const KEYS: Field = number("keys", "how many keys");
pub(super) const KID: Field = text("kid", "the key");
pub(super) const GRACE_UNTIL: Field = number("grace_until", "until when the role's narrower rights are left");
pub(super) const LIFETIME: Field = number("lifetime", "the token's life, in seconds");
pub(super) const MADE_AT: Field = number("made_at", "when the backup was made");
pub(super) const MASTER: Field = text("master", "the master key that opens the private keys now");
pub(super) const NOT_AFTER: Field = number("not_after", "the end of the certificate");
pub(super) const NOTIFICATIONS: Field = number("notifications", "how many messages, each of one sink");
pub(super) const OPERATION: Field =
    text("operation", "what was asked of the admin API, by its name in docs/admin-api.json");
pub(super) const ORIGIN: Field = text("origin", "the ledger's name");
pub(super) const PEOPLE: Field = number("people", "how many people lost something");
pub(super) const PHASE: Field = text("phase", "the phase of the project that the grant is for, or that was ended");
pub(super) const POSTURE: Field = plain("posture", Form::Object, "what was learned from the quote");
pub(super) const PROJECT: Field = text("project", "the project");
pub(super) const PROPOSAL: Field = text("proposal", "the proposal by which a policy waits, or waited");
pub(super) const PROTECTION: Field = text("protection", "who signs the proofs: `hardware`, `delegated` or `software`");
pub(super) const PURPOSE: Field = text("purpose", "what the key is for");
pub(super) const RENEWAL: Field = text("renewal", "the renewal in flight");
pub(super) const REPLACES: Field = text("replaces", "the grant on another device of theirs whose place it takes");
pub(super) const REQUEST: Field = text("request", "the request for longer, or for more");
pub(super) const REQUESTS: Field = number("requests", "how many requests that waited lapsed");
pub(super) const RESOURCE: Field =
    text("resource", "the one resource that the token is for; of a refused one, where a project has it");
pub(super) const RESOURCES: Field = plain("resources", Form::List, "what the gate guards");
pub(super) const RETIRE_AT: Field = number("retire_at", "from when the key is no longer published");
pub(super) const ROLE: Field = text("role", "the role in the project: the rule that gives what is given");
pub(super) const SETTING: Field = text("setting", "the setting");
pub(super) const SIZE: Field = number("size", "how many numbered events the backup has");
pub(super) const STATE: Field = text("state", "where the device is in its life afterwards");
pub(super) const SUCCESSOR: Field = text("successor", "the grant on another device of theirs that took its place");
pub(super) const TERMS: Field = personal(
    "terms",
    "what the grant is bound to beside role and end, JSON: begin, phase, tokens, grace, networks, devices; networks tell where people are",
);
pub(super) const TIER: Field = text("trust_tier", "how well the TPM is known");
pub(super) const TOKEN_HASH: Field = text(
    "token_hash",
    "SHA-256 over the token's claims without `daypass.leaf`, as JSON with sorted keys and no white space",
);
pub(super) const UNTIL: Field = number("until", "the grant's hard end");
pub(super) const UNTIL_BEFORE: Field = number("until_before", "the hard end that the grant had before");
pub(super) const WANTED: Field = text("wanted", "what a request asks for: `extension` or `scopes`");
pub(super) const SOFTWARE: Field = text("version", "the version of the program");
pub(super) const WITH_MASTER_KEY: Field = plain("with_master_key", Form::Flag, "whether the backup has the master key");
pub(super) const WITH_ROOT_KEY: Field = plain("with_root_key", Form::Flag, "whether the backup has the root key");
// Why.
pub(super) const BEFORE: Field = text("before", "the version of the policy that was in force before");
pub(super) const RULES: Field = plain("rules", Form::List, "the guardrails that forbade it, by their `@id`");
pub(super) const MONITORED: Field =
    plain("monitored", Form::List, "the guardrails that would have forbidden it, were they enforced");
pub(super) const POLICY: Field = text("policy", "the version of the policy: SHA-256 over its files, hex");
pub(super) const REASON: Field = text("reason", "the code of the refusal, docs/wire.md section 4");
pub(super) const RULE: Field = text("rule", "what decided without a reason of somebody's own, or how somebody decided");
pub(super) const WHY: Field = personal("why", "the reason in words; they name people, and what was sent");

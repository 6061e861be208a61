//! The table: what each kind says.

use super::{Entry, Field, Source, fields::*};
use crate::ledger::EventKind;

/// What this kind says.
pub const fn entry(kind: EventKind) -> Entry {
    use EventKind as K;
    use Source::{Command, Either, Issuer, Request};
    const GRANTED: &[Field] = &[GRANT, PROJECT, ROLE, UNTIL, POLICY, COLLABORATOR, OWNER];
    const ASKED: &[Field] = &[REQUEST, WANTED, DEVICE, PROJECT, ROLE, UNTIL, POLICY, COLLABORATOR, OWNER];
    const GATE_CERTIFIED: &[Field] = &[GATE, RESOURCES, NOT_AFTER];
    let (meaning, source, required, optional): (_, _, &'static [Field], &'static [Field]) = match kind {
        K::IssuerInitialised => ("an issuer was made", Command, &[ISSUER], &[]),
        K::IssuerStarted => ("the issuer began to serve", Issuer, &[SOFTWARE, POLICY], &[]),
        K::LooseningEnabled => ("the issuer serves with a setting that loosens a rule", Issuer, &[SETTING], &[]),
        K::PolicyLoaded => ("this policy decides from here on", Command, &[POLICY], &[BEFORE, PROPOSAL, RULE, WHY]),
        K::PolicyProposed => (
            "this policy touches what guards others, and waits for an administrator who did not bring it",
            Command,
            &[POLICY, PROPOSAL, WHY],
            &[BEFORE],
        ),
        K::ProposalWithdrawn => ("a policy that waited will not come into force", Command, &[POLICY, PROPOSAL], &[WHY]),
        K::KeyCreated => ("a key of the issuer was made", Command, &[KID, PURPOSE, ACTIVE_FROM], &[]),
        K::KeyRetired => ("a key of the issuer got an end", Command, &[KID, PURPOSE, RETIRE_AT], &[]),
        K::LedgerBegun => (
            "a ledger began, or goes on under another name after a restore",
            Issuer,
            &[ORIGIN],
            &[CONTINUES, INSTEAD_OF, SIZE, MADE_AT, WHY],
        ),
        K::Invited => (
            "somebody was invited, and the grant waits",
            Command,
            &[INVITATION, GRANT, PROJECT, ROLE, UNTIL, EXPIRES_AT, POLICY, COLLABORATOR, OWNER, DETAILS],
            &[RULE, WHY, PHASE, TERMS, REPLACES],
        ),
        K::InvitationWithdrawn => (
            "an invitation was taken back",
            Command,
            &[INVITATION, GRANT, PROJECT, ROLE, POLICY, COLLABORATOR, OWNER],
            &[RULE, WHY],
        ),
        K::EnrolmentBegun => (
            "a machine showed a good code and its keys, and got a challenge",
            Request,
            &[ENROLMENT, INVITATION, GRANT, PROJECT, ROLE, POLICY, TIER, EXPIRES_AT, COLLABORATOR, OWNER],
            &[],
        ),
        K::EnrolmentRefused => (
            "a machine that showed a known code, or answered a challenge, was refused",
            Request,
            &[REASON, WHY, INVITATION, GRANT, PROJECT, ROLE, POLICY, COLLABORATOR, OWNER],
            &[ENROLMENT, DEVICE],
        ),
        K::DeviceEnrolled => (
            "a machine proved its keys, and is a device",
            Request,
            &[
                DEVICE,
                STATE,
                TIER,
                POSTURE,
                CODE,
                NOT_AFTER,
                INVITATION,
                GRANT,
                PROJECT,
                ROLE,
                POLICY,
                COLLABORATOR,
                OWNER,
                HOSTNAME,
            ],
            &[AGAIN],
        ),
        K::InvitationAccepted => (
            "a device that is enrolled took what another invitation carries, one event for each grant; without missing approvals it comes into force",
            Request,
            &[DEVICE, INVITATION, GRANT, PROJECT, ROLE, UNTIL, POLICY, COLLABORATOR, OWNER],
            &[APPROVALS, APPROVERS, PHASE],
        ),
        K::SoftwareDeviceRegistered => (
            "a client with keys in files was registered, with its grant",
            Command,
            &[DEVICE, GRANT, PROJECT, ROLE, UNTIL, POLICY, NOT_AFTER, COLLABORATOR, OWNER, DETAILS],
            &[PHASE, TERMS, MONITORED],
        ),
        K::ApprovalRefused => (
            "somebody approved a device or a grant, and it did not count",
            Either,
            &[COLLABORATOR, RULE],
            &[RULES, DEVICE, GRANT, PHASE, REQUEST, WANTED, PROJECT, ROLE, UNTIL, POLICY, OWNER],
        ),
        K::DeviceApproved => ("a device may use its grants", Either, &[DEVICE, COLLABORATOR, RULE], &[WHY]),
        K::DeviceSuspended => ("a device was held back", Command, &[DEVICE, COLLABORATOR], &[RULE, WHY]),
        K::DeviceResumed => ("a device was let on again", Command, &[DEVICE, COLLABORATOR], &[RULE, WHY]),
        K::DeviceRevoked => ("a device was ended", Either, &[DEVICE, COLLABORATOR], &[RULE, WHY]),
        K::DeviceLeft => ("a device ended itself", Request, &[DEVICE, COLLABORATOR], &[RULE, WHY]),
        K::DeviceLossRefused => (
            "this device reported another one as lost, and nothing was ended",
            Request,
            &[DEVICE, REASON, WHY, COLLABORATOR],
            &[],
        ),
        K::RenewalBegun => (
            "a device asked for its next certificate, and got a challenge",
            Request,
            &[DEVICE, RENEWAL, EXPIRES_AT, COLLABORATOR],
            &[],
        ),
        K::CertificateRenewed => {
            ("a device got its next certificate", Request, &[DEVICE, RENEWAL, POSTURE, NOT_AFTER, COLLABORATOR], &[])
        }
        K::CertificateRefused => {
            ("a device did not get its next certificate", Request, &[DEVICE, RENEWAL, REASON, WHY, COLLABORATOR], &[])
        }
        K::GrantApproved => (
            "an owner approved a grant that waits",
            Command,
            &[GRANT, PROJECT, ROLE, UNTIL, POLICY, COLLABORATOR, OWNER, APPROVALS, APPROVERS],
            &[DEVICE, PHASE, RULE, WHY],
        ),
        K::RequestMade => ("somebody asked for longer, or for more", Request, ASKED, &[GRANT, WHY]),
        K::RequestNotTaken => {
            ("somebody asked for what nobody could give", Request, &[DEVICE, WANTED, REASON, WHY, COLLABORATOR], &[])
        }
        K::RequestApproved => (
            "an owner approved what was asked for, or less",
            Command,
            &[REQUEST, WANTED, DEVICE, PROJECT, ROLE, UNTIL, POLICY, COLLABORATOR, OWNER, APPROVALS, APPROVERS],
            &[GRANT, RULE, WHY],
        ),
        K::RequestRefused => ("an owner refused what was asked for", Command, ASKED, &[GRANT, WHY]),
        K::RequestWithdrawn => ("whoever had asked took it back", Request, ASKED, &[GRANT]),
        K::RequestLapsed => (
            "a request waited until there was nothing left to decide, or ended with what it was about",
            Issuer,
            ASKED,
            &[GRANT, RULE, WHY, BY_DEVICE, ADDRESS, ON_BEHALF_OF],
        ),
        K::GrantExtended => (
            "a grant's hard end was moved",
            Command,
            &[GRANT, PROJECT, ROLE, UNTIL, UNTIL_BEFORE, REQUEST, POLICY, COLLABORATOR, OWNER],
            &[DEVICE, PHASE, TERMS, RULE, WHY, MONITORED],
        ),
        K::GrantActivated => {
            ("a grant came into force", Either, GRANTED, &[DEVICE, PHASE, REQUEST, REPLACES, RULE, WHY, MONITORED])
        }
        K::GrantSuspended => ("a grant was held back", Command, GRANTED, &[DEVICE, PHASE, RULE, WHY]),
        K::GrantResumed => ("a grant was let on again", Command, GRANTED, &[DEVICE, PHASE, RULE, WHY]),
        K::EverythingEnded => (
            "everything of a person, a project or a phase was ended by one decision, whose other events come after this one",
            Command,
            &[RULE, POLICY, INVITATIONS, REQUESTS, GRANTS, DEVICES, PEOPLE],
            &[PROJECT, PHASE, COLLABORATOR, COLLABORATORS, OWNER, WHY],
        ),
        K::GrantRevoked => {
            ("a grant was ended before its time", Either, GRANTED, &[DEVICE, PHASE, SUCCESSOR, RULE, WHY])
        }
        K::GrantGraceBegun => (
            "a grant's hard end came, and its role's narrower rights are left for a while",
            Issuer,
            &[GRANT, PROJECT, ROLE, UNTIL, GRACE_UNTIL, POLICY, COLLABORATOR, OWNER],
            &[DEVICE, PHASE],
        ),
        K::GrantEnded => ("a grant's time is over", Issuer, GRANTED, &[DEVICE, PHASE, RULE]),
        K::TokenIssued => (
            "a token was issued",
            Request,
            &[
                JTI,
                TOKEN_HASH,
                DEVICE,
                GRANT,
                PROJECT,
                ROLE,
                UNTIL,
                RESOURCE,
                POLICY,
                JKT,
                EXP,
                LIFETIME,
                PROTECTION,
                COLLABORATOR,
                OWNER,
                DETAILS,
            ],
            &[DELEGATION, CALLER, MONITORED, PHASE],
        ),
        K::TokenRefused => (
            "a token was asked for and refused",
            Request,
            &[DEVICE, REASON, WHY, POLICY, COLLABORATOR],
            &[RESOURCE, DETAILS, CALLER, RULES],
        ),
        K::TokenRevoked => (
            "a device ended a token of its own",
            Request,
            &[JTI, TOKEN_HASH, DEVICE, GRANT, PROJECT, RESOURCE, EXP, COLLABORATOR],
            &[],
        ),
        K::GateAdded => ("a gate was registered", Command, &[GATE, RESOURCES, EXPIRES_AT], &[]),
        K::GateEnrolled => ("a gate got its first certificates", Request, GATE_CERTIFIED, &[]),
        K::GateRenewed => ("a gate got its next certificates", Request, GATE_CERTIFIED, &[]),
        K::GateRefused => (
            "a gate that is known did not get certificates, or spoke of a resource that it does not guard",
            Request,
            &[GATE, REASON, WHY],
            &[],
        ),
        K::GateRemoved => ("a gate was taken out", Command, &[GATE], &[WHY]),
        K::MasterKeyRotated => {
            ("every private key in the store was wrapped anew", Command, &[FORMER_MASTER, MASTER, KEYS], &[])
        }
        K::ClockAccepted => (
            "somebody said that the clock is right and was ahead before: times run backwards here",
            Command,
            &[FLOOR, ACCEPTED],
            &[],
        ),
        K::BackupMade => ("a backup was begun", Command, &[WITH_MASTER_KEY, WITH_ROOT_KEY], &[]),
        K::StoreRestored => (
            "a backup was put in place of the store; what was decided after it is gone",
            Command,
            &[MADE_AT, SIZE],
            &[],
        ),
        K::AdministratorBootstrapped => (
            "an administrator was invited on the issuer's machine, and nobody was asked",
            Command,
            &[INVITATION, GRANT, ADMINISTRATORS, COLLABORATOR],
            &[WHY],
        ),
        K::AdministrationRefused => {
            ("something was asked of the admin API and refused", Command, &[OPERATION, REASON, WHY], &[])
        }
        K::BriefingAccepted => (
            "somebody read and accepted their project's briefing, by their device's word",
            Request,
            &[DEVICE, GRANT, PROJECT, ROLE, UNTIL, POLICY, COLLABORATOR, OWNER, BRIEFING, ACCEPTANCE],
            &[PHASE],
        ),
        K::BriefingNotAccepted => (
            "a device sent an acceptance of a briefing that does not count",
            Request,
            &[DEVICE, REASON, WHY, COLLABORATOR],
            &[],
        ),
        K::NotificationsDropped => {
            ("messages that no sink had taken were taken out: nobody was told", Command, &[NOTIFICATIONS], &[WHY])
        }
        K::PersonErased => ("a person was erased from the ledger; who, it does not say", Command, &[ERASED], &[WHY]),
    };
    Entry { meaning, source, required, optional }
}

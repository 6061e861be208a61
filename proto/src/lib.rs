//! What the parts of Daypass must agree on: every wire format and every rule that two of them share.
//!
//! This crate is *sans-I/O*: it reads no clock, file, socket or random source; all of those come in as arguments. So
//! each rule can be tested at every second, and the agent, the issuer and the gate cannot drift apart. The formats are
//! described for people in `docs/wire.md`.
//!
//! What was checked is a type: [`jose::VerifiedPayload`], [`attestation::VerifiedAttestation`] and their like have private fields, so a
//! later step that takes one as an argument cannot be reached past its check.

pub mod access_request;
pub mod admin_api;
pub mod arguments;
pub mod attestation;
pub mod authorization;
pub mod briefing;
pub mod caller;
pub mod delegation;
pub mod dpop;
pub mod duration;
pub mod encoding;
pub mod enrolment;
pub mod gate_api;
pub mod invitation;
pub mod jose;
pub mod json;
pub mod ledger;
pub mod local_api;
pub mod names;
pub mod notice;
pub mod oauth_error;
pub mod own_devices;
pub mod pin;
pub mod presentation;
pub mod redaction;
pub mod resource;
pub mod time;
pub mod tls_fault;
pub mod token;
pub mod words;

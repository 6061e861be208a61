//! The stories: what Daypass promises, told on the real programs. One module a story, named for what it is about.
//!
//! `cargo xtask test` builds the programs and runs these. `cargo test -p daypass-tests --test stories -- <words>` tells one.

mod administration;
mod agent;
mod approvals;
mod asking;
mod at_rest;
mod attestation;
mod backup;
mod briefing;
mod caller;
mod commands;
mod conformance;
mod delegated;
mod demo;
mod disk;
mod endorsement;
mod enrolment;
mod flows;
mod gate;
mod git;
mod helper;
mod interop;
mod issuer;
mod large;
mod ledger;
mod life;
mod notices;
mod notifications;
mod offboarding;
mod path;
mod policy;
mod policy_tools;
mod promises;
mod proofs;
mod pushes;
mod reading;
mod replacement;
mod replay;
mod requests;
mod revocations;
mod secrets;
mod software;
mod time;
mod tpm;
mod warnings;

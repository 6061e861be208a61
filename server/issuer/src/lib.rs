//! `daypass-issuer`: decides who gets what, and writes every decision down.
//!
//! A library, so that what reads strangers' bytes can be driven from tests; the program is [`commands::run`].

pub mod actor;
pub mod admin;
pub mod approval;
mod backup;
mod body;
pub mod briefing;
mod caller;
mod certificates;
pub mod clock;
pub mod commands;
pub mod config;
pub mod device;
pub mod ending;
mod enrolment;
mod error;
#[cfg(test)]
mod fixture;
pub mod gates;
pub mod grant;
pub mod invitation;
pub mod issuer;
pub mod keys;
pub mod ledger;
mod metadata;
pub mod network;
pub mod notification;
mod pace;
pub mod policy;
mod remembered;
pub mod replacement;
pub mod requests;
pub mod serve;
pub mod store;
mod token;
mod until;

pub use self::token::new_jti;

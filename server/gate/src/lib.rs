//! `daypass-gate`: stands in front of a git server and lets through what a bound token covers.
//!
//! A library, so that what reads strangers' bytes can be driven from tests; the program is [`commands::run`].

pub mod authentication;
pub mod commands;
pub mod config;
mod flow;
pub mod gate;
pub mod git;
mod inflate;
pub mod nonce;
mod probe;
pub mod proxy;
mod refusal;
mod replay;
pub mod route;
mod serve;
pub mod trust;
pub mod upstream;
pub mod usage;

//! The harness: a whole world of Daypass on one machine, driven from outside.
//!
//! Nothing of Daypass is linked in here but the wire formats: issuer, gate and agents are the built programs, the TPMs are
//! `swtpm` with endorsement certificates of a maker of their own, the git server is `git-http-backend` behind nginx on a Unix
//! socket. Each [`World`] has its own folder, its own loopback address and free ports, and ends with everything in it.
//!
//! What keeps the stories honest:
//!
//! * **Nobody is root.** Root hides permission faults, so when the harness is root, each part runs as a uid of its own ([`Who`]);
//!   otherwise all are the one who started it, and a story that needs two uids says that it is skipped.
//! * **Nothing outlives its story.** Each process is the leader of a group and dies with the thread that started it.
//! * **Nobody sleeps.** A part is ready when it says so ([`Ready`]); hours pass by [`Clock`], which the real programs see.

mod address;
mod boot_time;
pub mod by_hand;
mod chip;
mod clock;
mod command;
mod disk;
pub mod ending;
mod failure;
mod faulty_tpm;
mod foreign;
mod gate;
mod interrupt;
mod issuer;
mod machine;
mod person;
mod place;
mod process;
mod programs;
mod raw;
mod receiver;
mod relay;
mod say;
mod secrets;
mod software;
mod upstream;
mod wait;
mod watch;
mod web;
mod who;
mod world;

pub use address::Loopback;
pub use boot_time::goes_by_boot_time;
pub use chip::{Chip, Maker};
pub use clock::Clock;
pub use command::{Act, Ran, Recording, Started};
pub use disk::{Disk, Interference};
pub use failure::{Failure, Story, ensure};
pub use faulty_tpm::{Fault, FaultyTpm, command as tpm_command, response as tpm_response};
pub use foreign::{ForeignClient, Language};
pub use gate::Gate;
pub use interrupt::end_on_signal;
pub use issuer::{Issuer, OWNER, on_behalf_of};
pub use machine::Machine;
pub use person::Person;
pub use place::{Place, copy_folder, files};
pub use process::{Process, Ready, Service};
pub use programs::{Git, Programs};
pub use raw::Raw;
pub use receiver::{Delivery, Receiver};
pub use relay::Relay;
pub use say::say;
pub use secrets::{Found, Home, Secrets, Written, has_encoded_object, written_below};
pub use software::{SoftwareClient, SoftwareKeys, new_key, random_id};
pub use upstream::Upstream;
pub use wait::{a_moment, eventually, now};
pub use watch::Watch;
pub use web::{Answer, Request};
pub use who::Who;
pub use world::{OTHER_REPOSITORY, PROJECT, REPOSITORY, World};

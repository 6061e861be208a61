//! What the gate understands of git's wire formats: pkt-lines, the head of a push, and the report that answers it.

mod commands;
mod pkt_line;
mod report;

pub use self::{
    commands::{Command, Head, PushHead, read_head},
    report::{Verdict, report},
};

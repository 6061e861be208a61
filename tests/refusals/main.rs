//! Every argument of every command refuses what it does not take: the programs' own command lines are walked, so that an argument that nobody thought of
//! here fails. Each is given nothing, too much, what is not to be seen, and what it does not mean, and the built program says what was wrong and what
//! would be right.
//!
//! Options that take no value are left out: there is nothing to be wrong about.

mod agent;
mod fields;
mod gate;
mod issuer;

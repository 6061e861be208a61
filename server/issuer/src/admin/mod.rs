//! Administration: who administers this issuer, and the admin API, through which owners and administrators decide from their own enrolled devices.
//!
//! An administrator is whoever has a live grant in the project `administration`, which no policy file has. The first comes from a bootstrap on the
//! issuer's machine; so does every other, for whoever may use the issuer's files can make one anyway, and there it is loud.

mod administrators;
mod authority;
mod caller;
mod deeds;
mod endpoints;
mod error;
mod invite;
mod list;
mod notifications;
mod openapi;
mod perform;
pub(crate) mod policy;
mod replace;
mod requests;
mod route;
mod shown;

pub use self::administrators::{
    AdministratorError, Administrators, Bootstrap, administrators, bootstrap, is_administrator, remove,
};
pub(crate) use self::administrators::{acting, was_administered};
use self::authority::Standing;
pub(crate) use self::deeds::{Bootstrapped, Versioned, bootstraps, versions};
pub use self::{
    endpoints::{routes, takes_a_policy},
    route::Operation,
};

#[cfg(test)]
mod tests;

//! The issuer's admin API: what owners and administrators ask from their enrolled devices, and what they are answered.

/// What every path of it begins with, on the issuer's mTLS listener.
pub const PREFIX: &str = "/admin/v1/";

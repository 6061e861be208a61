//! What the commands take as a value, beside the types of `proto`.

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use daypass_proto::{
    arguments::{path, text},
    invitation::canonical_issuer,
    ledger::EventKind,
};

/// The name of a file or folder, wherever it is.
pub(super) fn file() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(path)
}

/// An issuer's address in its canonical form.
pub(super) fn issuer(given: &str) -> Result<String, &'static str> {
    canonical_issuer(given).ok_or("this is not an issuer's address; give it as `daypass status` shows it")
}

/// A kind of event.
pub(super) fn kind(given: &str) -> Result<String, String> {
    let kind = text(given).map_err(|error| error.to_string())?;
    kind.parse::<EventKind>().map_err(|error| error.to_string())?;
    Ok(kind)
}

//! The value of an argument that names a file or a folder.

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use daypass_proto::arguments::path;

/// Takes the name of a file or folder, wherever it is.
pub fn file() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(path)
}

//! Words to the person who runs the tests or the demo.

use std::io::Write as _;

/// Writes a line to standard error, past the capturing of test output.
pub fn say(line: &str) {
    // Nobody to tell when that fails.
    let _ = writeln!(std::io::stderr(), "{line}");
}

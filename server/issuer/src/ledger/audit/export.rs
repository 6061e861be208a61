//! Auditing an export: the file alone, line by line.

use std::io::{BufRead, Read as _};

use daypass_proto::{
    ledger::{
        api::{EXPORT_VERSION, ExportedEvent, Line, LogKey, MAX_LEAF},
        checkpoint::{CheckpointKey, VerifiedCheckpoint},
    },
    pin::Pin,
};
use thiserror::Error;

use super::{Audit, Event, Finding, Report, part};

/// No line of an export is longer: a leaf, its personal fields and what is around them.
const MAX_LINE: usize = 16 * MAX_LEAF;

/// Why an export cannot be audited.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The file.
    #[error("could not read the export")]
    Read(#[from] std::io::Error),
    /// A line of another form.
    #[error("line {line} of the export is not one: {why}")]
    Line {
        /// Which, from 1.
        line: u64,
        /// Why.
        why: String,
    },
    /// Another version's.
    #[error("the export is of version {0}, and this program reads version {EXPORT_VERSION}")]
    Version(u32),
    /// A checkpoint that a part says nothing about.
    #[error(
        "the export is a part, under the checkpoint over {size} events, and can be compared with no other (yours is over {kept}); ask for a whole export"
    )]
    KeptOfPart {
        /// The part's.
        size: u64,
        /// The one that was kept.
        kept: u64,
    },
    /// Its keys are nobody's.
    #[error("none of the checkpoint keys in the export is certified by the root with that pin")]
    Keys,
}

/// By what an export is judged.
#[derive(Debug)]
pub enum Judge {
    /// These keys.
    Keys(Vec<CheckpointKey>),
    /// The keys in it that the root with this pin has certified.
    Pin(Pin),
}

impl Judge {
    fn keys(self, given: &[LogKey]) -> Result<Vec<CheckpointKey>, ExportError> {
        let keys = match self {
            Self::Keys(keys) => keys,
            Self::Pin(pin) => given
                .iter()
                .filter_map(|key| CheckpointKey::certified(&key.chain.first()?.0, &key.chain, &pin).ok())
                .collect(),
        };
        if keys.is_empty() { Err(ExportError::Keys) } else { Ok(keys) }
    }
}

pub(super) struct Lines<R> {
    reader: R,
    line: u64,
}

impl<R: BufRead> Lines<R> {
    /// What is wrong with the line that was read last.
    pub(super) fn wrong(&self, why: &str) -> ExportError {
        ExportError::Line { line: self.line, why: why.to_owned() }
    }

    pub(super) fn next(&mut self) -> Result<Option<Line>, ExportError> {
        self.line += 1;
        let mut text = Vec::new();
        let limit = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
        let read = self.reader.by_ref().take(limit).read_until(b'\n', &mut text)?;
        if read == 0 {
            return Ok(None);
        }
        let wrong = |why: String| ExportError::Line { line: self.line, why };
        if text.last() != Some(&b'\n') {
            return Err(wrong("it is cut off, or longer than any".to_owned()));
        }
        serde_json::from_slice(&text).map(Some).map_err(|error| wrong(error.to_string()))
    }
}

/// Audits an export. `kept` gives the checkpoints that somebody kept, verified by the keys of the judge.
pub fn audit_export<E: From<ExportError>>(
    reader: impl BufRead,
    judge: Judge,
    kept: impl FnOnce(&[CheckpointKey]) -> Result<Vec<VerifiedCheckpoint>, E>,
) -> Result<Report, E> {
    let mut lines = Lines { reader, line: 0 };
    let (origin, keys, size) = match lines.next()? {
        Some(Line::Ledger { version: EXPORT_VERSION, origin, keys, size }) => (origin, keys, size),
        Some(Line::Part { version: EXPORT_VERSION, origin, keys, checkpoint }) => {
            let keys = judge.keys(&keys)?;
            let kept = kept(&keys)?;
            return Ok(part::audit(lines, origin, &checkpoint, keys, &kept)?);
        }
        Some(Line::Ledger { version, .. } | Line::Part { version, .. }) => {
            return Err(ExportError::Version(version).into());
        }
        _ => {
            let why = "an export begins with its ledger".to_owned();
            return Err(ExportError::Line { line: 1, why }.into());
        }
    };
    let keys = judge.keys(&keys)?;
    let kept = kept(&keys)?;
    let mut audit = Audit::new(origin, keys, kept);
    let mut expected = 0;
    while let Some(line) = lines.next()? {
        match line {
            Line::Event(ExportedEvent { sequence, hash, leaf, personal }) => {
                if sequence > expected {
                    audit.step(expected, None, None);
                }
                let personal = personal.iter();
                let personal = personal.map(|(name, field)| (name.as_str(), &field.salt.0[..], field.value.as_str()));
                let event = Event { leaf: &leaf.0, personal: personal.collect(), columns: None };
                audit.step(sequence, Some(&event), Some(hash.0));
                expected = expected.max(sequence.saturating_add(1));
            }
            Line::Checkpoint { note } => audit.checkpoint(&note, None),
            Line::Ledger { .. } => audit.find(Finding::Checkpoint { size: 0, why: "begins a second time".to_owned() }),
            Line::Part { .. } | Line::Proved(_) => {
                return Err(lines.wrong("a whole export has no parts").into());
            }
        }
    }
    Ok(audit.finish(size, 0))
}

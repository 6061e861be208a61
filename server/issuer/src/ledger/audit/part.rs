//! Auditing a part of an export: each event by itself, under the one checkpoint that the file begins with.
//!
//! What was left out is not seen, and neither is what another ledger was shown to somebody else: that is what whole exports are for.

use std::io::BufRead;

use daypass_proto::ledger::{
    api::{Line, ProvedEvent},
    checkpoint::{CheckpointKey, Origin, VerifiedCheckpoint},
    leaf_hash,
    tree::verify_inclusion,
};

use super::{
    Audit, Event, Finding, Report,
    export::{ExportError, Lines},
};

pub(super) fn audit<R: BufRead>(
    mut lines: Lines<R>,
    origin: Origin,
    note: &str,
    keys: Vec<CheckpointKey>,
    kept: &[VerifiedCheckpoint],
) -> Result<Report, ExportError> {
    let checkpoint = VerifiedCheckpoint::verify(note, &origin, &keys);
    let mut audit = Audit::new(origin.clone(), keys, Vec::new());
    let head = match checkpoint {
        Ok(checkpoint) => Some(*checkpoint.head()),
        Err(error) => {
            audit.find(Finding::Checkpoint { size: 0, why: error.to_string() });
            None
        }
    };
    for (kept, head) in kept.iter().filter_map(|kept| Some((kept, head?))) {
        let size = kept.head().size();
        if size != head.size() || *kept.origin() != origin {
            return Err(ExportError::KeptOfPart { size: head.size(), kept: size });
        }
        if kept.head().root() != head.root() {
            audit.find(Finding::Rewritten { from: 0, to: size, kept: true });
        }
    }
    let (mut behind, mut events) = (0, 0);
    while let Some(line) = lines.next()? {
        let Line::Proved(ProvedEvent { sequence, leaf, personal, proof }) = line else {
            return Err(lines.wrong("a part has a beginning, and then proved events alone"));
        };
        if sequence < behind {
            audit.find(Finding::Reordered(sequence));
        }
        behind = sequence.saturating_add(1);
        events += 1;
        let proved = head.is_some_and(|head| verify_inclusion(&head, sequence, leaf_hash(&leaf.0), &proof).is_ok());
        if head.is_some() && !proved {
            audit.find(Finding::Changed(sequence));
        }
        let personal = personal.iter().map(|(name, field)| (name.as_str(), &field.salt.0[..], field.value.as_str()));
        audit.look_into(sequence, &Event { leaf: &leaf.0, personal: personal.collect(), columns: None });
    }
    let (erased, findings, more) = (audit.erased, audit.findings, audit.more);
    let findings = findings.into_iter().chain((more > 0).then_some(Finding::More(more))).collect();
    let (checkpoints, covered) = (u64::from(head.is_some()), if head.is_some() { events } else { 0 });
    Ok(Report { origin, events, erased, checkpoints, covered, unnumbered: 0, findings })
}

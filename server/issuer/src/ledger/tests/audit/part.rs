//! Parts of an export.

use daypass_proto::{
    ledger::api::{Line, ProvedEvent},
    time::Timestamp,
};

use super::*;
use crate::{ledger::export::export_part, store::Filter};

#[tokio::test]
async fn a_part_is_judged_event_by_event() {
    let honest = Honest::new().await;
    let issuer = &honest.made.issuer;
    let filter = Filter { device: "dev-0000000000000003".parse().ok(), ..Filter::default() };
    let everything = Filter { since: Some(Timestamp::from_seconds(0)), ..Filter::default() };
    let keyring = issuer.keyring();
    let part = async |filter: &Filter| {
        let mut file = Vec::new();
        let store = issuer.store.as_ref();
        let events = export_part(store, keyring.checkpoint_keys(), filter, &mut file).await.unwrap();
        (events, file)
    };
    let judge = |file: &[u8], kept: Vec<VerifiedCheckpoint>| {
        audit_export::<ExportError>(file, Judge::Keys(honest.keys()), |_| Ok(kept))
    };
    assert_eq!(part(&filter).await.0, 0, "none is called so");
    let suspended = Filter { kind: Some(EventKind::DeviceSuspended), ..Filter::default() };
    assert_eq!(judge(&part(&suspended).await.1, Vec::new()).unwrap().events, 300);
    let (events, file) = part(&everything).await;
    assert_eq!(events, honest.size);
    let report = judge(&file, vec![honest.kept(honest.size).await]).unwrap();
    assert_eq!((report.findings, report.events, report.covered), (Vec::new(), events, events));
    let other = judge(&file, vec![honest.kept(honest.sizes[1]).await]);
    assert!(matches!(other, Err(ExportError::KeptOfPart { .. })), "nothing is claimed of what cannot be seen");
    let touched = |change: &dyn Fn(&mut Vec<Line>)| {
        let mut lines: Vec<Line> =
            file.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
        change(&mut lines);
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, &line).unwrap();
            text.push(b'\n');
        }
        judge(&text, Vec::new()).unwrap().findings
    };
    assert_eq!(touched(&|_| ()), []);
    let at = usize::try_from(AT).unwrap() + 1;
    let event = |lines: &mut Vec<Line>, change: &dyn Fn(&mut ProvedEvent)| {
        let Some(Line::Proved(event)) = lines.get_mut(at) else { panic!() };
        change(event);
    };
    let leaf = touched(&|lines| event(lines, &|event| event.leaf.0[10] ^= 1));
    assert_eq!(leaf.first(), Some(&Finding::Changed(AT)));
    assert_eq!(touched(&|lines| event(lines, &|event| event.sequence += 1)).first(), Some(&Finding::Changed(AT + 1)));
    let value = |event: &mut ProvedEvent| event.personal.get_mut("by").unwrap().value.push('x');
    assert_eq!(touched(&|lines| event(lines, &value)), [Finding::Field { event: AT, field: "by".to_owned() }]);
    assert!(touched(&|lines| lines.swap(at, at + 1)).contains(&Finding::Reordered(AT)));
    // Fewer events are a smaller part.
    assert_eq!(touched(&|lines| drop(lines.remove(at))), []);
    let unsigned = touched(&|lines| {
        let Some(Line::Part { checkpoint, .. }) = lines.first_mut() else { panic!() };
        *checkpoint = checkpoint.replacen('\n', "x\n", 1);
    });
    assert!(matches!(unsigned.as_slice(), [Finding::Checkpoint { .. }]), "{unsigned:?}");
    let mixed = touched_lines(&file);
    assert!(matches!(judge(&mixed, Vec::new()), Err(ExportError::Line { line: 3, .. })));
}

/// A part with a line of a whole export in it.
fn touched_lines(file: &[u8]) -> Vec<u8> {
    let mut lines: Vec<&[u8]> = file.split_inclusive(|byte| *byte == b'\n').collect();
    let foreign = b"{\"line\":\"checkpoint\",\"note\":\"\"}\n";
    lines.insert(2, &foreign[..]);
    lines.concat()
}

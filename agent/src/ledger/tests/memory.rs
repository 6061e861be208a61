//! What a restart, a damaged file and a full disk leave of it.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::*;

#[tokio::test]
async fn promises_and_checkpoints_survive_a_restart() {
    let mut issuer = Script::new(10);
    let mut machine = Machine::new(&issuer);
    machine.check(&issuer).await.unwrap();
    issuer.down = true;
    machine.promise(leaf(500));
    machine.restart();
    assert_eq!((machine.size(), machine.outstanding()), (Some(10), 1));
    issuer.down = false;
    machine.live(&issuer, 30).await;
    assert_eq!(machine.kinds(), [FindingKind::LeafMissing], "a restart makes nobody forget");
    machine.restart();
    assert_eq!(machine.kinds(), [FindingKind::LeafMissing]);
    issuer.leaves[1] = leaf(999);
    machine.check(&issuer).await.unwrap();
    assert_eq!(machine.kinds(), [FindingKind::LeafMissing, FindingKind::Fork]);
    let mode = fs::metadata(machine.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(fs::metadata(machine.file()).unwrap().len() < 16 * 1024);
}

#[tokio::test]
async fn a_file_that_is_gone_or_does_not_read_is_said_and_kept() {
    let cut = |text: &str| text[..text.len() / 2].to_owned();
    let newer = |text: &str| text.replacen("\"version\":1", "\"version\":2", 1);
    let empty = |_: &str| String::new();
    for damage in [&cut as &dyn Fn(&str) -> String, &newer, &empty] {
        let issuer = Script::new(10);
        let mut machine = Machine::new(&issuer);
        machine.check(&issuer).await.unwrap();
        let damaged = damage(&fs::read_to_string(machine.file()).unwrap());
        fs::write(machine.file(), &damaged).unwrap();
        machine.restart();
        assert_eq!(machine.kinds(), [FindingKind::MemoryLost]);
        let view = machine.follower.view(false);
        assert_eq!(view.error().unwrap().exit_code(), 13);
        let aside = machine.file().with_file_name(format!("ledger.json.damaged-{}", machine.now.get()));
        assert!(view.findings[0].message.contains(&aside.display().to_string()), "{}", view.findings[0].message);
        assert_eq!(fs::read_to_string(aside).unwrap(), damaged, "there may be evidence in it");
        // It goes on from here, and the finding stays.
        machine.check(&issuer).await.unwrap();
        machine.restart();
        assert_eq!((machine.kinds(), machine.size()), (vec![FindingKind::MemoryLost], Some(10)));
    }
    let issuer = Script::new(10);
    let mut machine = Machine::new(&issuer);
    machine.check(&issuer).await.unwrap();
    fs::remove_file(machine.file()).unwrap();
    machine.restart();
    assert_eq!(machine.kinds(), [FindingKind::MemoryLost], "its file is gone");
}

#[tokio::test]
async fn a_checkpoint_that_was_altered_on_disk_is_not_believed() {
    let issuer = Script::new(10);
    let other = Script::new(10);
    let mut machine = Machine::new(&issuer);
    machine.check(&issuer).await.unwrap();
    machine.promise(leaf(4));
    let text = fs::read_to_string(machine.file()).unwrap();
    fs::write(machine.file(), text.replacen("\\n10\\n", "\\n11\\n", 1)).unwrap();
    machine.restart();
    assert_eq!((machine.kinds(), machine.size()), (vec![FindingKind::MemoryLost], None));
    assert_eq!(machine.outstanding(), 1, "the promises are there");
    // Nor is one of another issuer's root.
    let mut machine = Machine::new(&issuer);
    machine.check(&issuer).await.unwrap();
    machine.pin = other.root.pin();
    machine.restart();
    assert_eq!((machine.kinds(), machine.size()), (vec![FindingKind::MemoryLost], None));
}

#[tokio::test]
async fn what_cannot_be_written_down_is_said_and_written_later() {
    let issuer = Script::new(10);
    let mut machine = Machine::new(&issuer);
    machine.check(&issuer).await.unwrap();
    // A folder in the file's place: nothing can be renamed over it, whoever asks.
    fs::remove_file(machine.file()).unwrap();
    fs::create_dir(machine.file()).unwrap();
    machine.promise(leaf(500));
    let view = machine.follower.view(false);
    assert_eq!((view.outstanding, view.error().unwrap().exit_code()), (1, 13));
    fs::remove_dir(machine.file()).unwrap();
    machine.follower.tidy();
    assert_eq!(machine.follower.view(false).error(), None);
    machine.restart();
    assert_eq!(machine.outstanding(), 1);
}

#[tokio::test]
async fn there_is_an_end_to_what_is_kept_and_it_is_said() {
    let mut issuer = Script::new(10);
    let machine = Machine::new(&issuer);
    machine.check(&issuer).await.unwrap();
    {
        // Without the disk: one write for all.
        let mut state = machine.follower.state();
        for number in (0..4100).chain([0, 1]) {
            let promise = Promise { leaf: Fixed(leaf(10_000 + number)), issued: Timestamp::from_seconds(1) };
            state.memory.promised(promise);
        }
    }
    let view = machine.follower.view(false);
    assert_eq!((view.outstanding, view.unkept), (4096, 4));
    machine.check(&issuer).await.unwrap();
    let view = machine.follower.view(false);
    assert_eq!((view.outstanding, view.findings.len(), view.more_findings), (4096 - 256, 32, 256 - 32));
    let first = view.findings[0].number;
    machine.follower.accept(&[first], machine.moment()).unwrap();
    issuer.leaves[0] = leaf(999);
    machine.check(&issuer).await.unwrap();
    assert_eq!(machine.kinds()[31], FindingKind::Fork, "what was accepted makes room");
}

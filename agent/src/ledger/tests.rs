//! Honest issuers and dishonest ones, through hours, by a clock of the test's own.

mod memory;
mod properties;
mod script;

use std::cell::Cell;

use daypass_proto::{ledger::api::MERGE_DELAY, local_api::ledger::FindingKind, oauth_error::Reason, time::Timestamp};
use tempfile::TempDir;

use self::script::{Script, leaf, name};
use super::*;

/// A machine that follows the issuer's ledger.
struct Machine {
    follower: Follower,
    now: Cell<i64>,
    /// By how much the time of day is set ahead of the clock that nobody sets.
    ahead: Cell<i64>,
    folder: TempDir,
    pin: Pin,
}

impl Machine {
    fn new(issuer: &Script) -> Self {
        let folder = TempDir::new().unwrap();
        let pin = issuer.root.pin();
        let now = Moment { now: Timestamp::from_seconds(6000), since_boot: 6000 };
        let follower = Follower::open("https://issuer.test", "dev-1", Self::at(&folder), pin, false, now);
        follower.save().unwrap();
        Self { follower, now: Cell::new(6000), ahead: Cell::new(0), folder, pin }
    }

    fn at(folder: &TempDir) -> Folder {
        Folder::new(folder.path(), 1000, "https://issuer.test")
    }

    fn file(&self) -> std::path::PathBuf {
        Self::at(&self.folder).file("ledger.json")
    }

    /// The agent is stopped and started.
    fn restart(&mut self) {
        self.follower =
            Follower::open("https://issuer.test", "dev-1", Self::at(&self.folder), self.pin, true, self.moment());
    }

    fn moment(&self) -> Moment {
        let now = self.now.get();
        Moment { now: Timestamp::from_seconds(now + self.ahead.get()), since_boot: now }
    }

    fn pass(&self, seconds: i64) {
        self.now.set(self.now.get() + seconds);
    }

    fn promise(&self, leaf: [u8; 32]) {
        let issued = self.moment().now;
        self.follower.promised(Promise { leaf: Fixed(leaf), issued }, self.moment());
    }

    /// Checks now.
    async fn check(&self, issuer: &Script) -> Result<(), AgentError> {
        self.follower.check(issuer, || self.moment()).await
    }

    /// Lets the time go on as the agent's timer does; gives how often it was asked for something.
    async fn live(&self, issuer: &Script, seconds: i64) -> i64 {
        let before = issuer.asked();
        for _ in 0..seconds / 5 {
            self.pass(5);
            if self.follower.is_due(self.moment()) {
                let _ = self.check(issuer).await;
            }
        }
        issuer.asked() - before
    }

    fn kinds(&self) -> Vec<FindingKind> {
        self.follower.view(false).findings.iter().map(|finding| finding.kind).collect()
    }

    fn size(&self) -> Option<u64> {
        self.follower.view(false).size
    }

    fn outstanding(&self) -> u64 {
        self.follower.view(false).outstanding
    }
}

#[tokio::test]
async fn an_honest_ledger_through_a_day_has_nothing_to_find() {
    let mut issuer = Script::new(3);
    let machine = Machine::new(&issuer);
    assert!(machine.live(&issuer, 60).await > 0, "the first look comes by itself");
    assert_eq!((machine.size(), machine.kinds()), (Some(3), vec![]));
    for hour in 0..24 {
        // Two tokens within a second are one check.
        for _ in 0..2 {
            issuer.grow(1);
            machine.promise(*issuer.leaves.last().unwrap());
        }
        issuer.grow(hour);
        assert_eq!(machine.outstanding(), 2);
        assert_eq!(machine.live(&issuer, 30).await, 5, "log, checkpoint, consistency, leaves");
        assert_eq!(machine.outstanding(), 0);
        if hour % 5 == 0 {
            issuer.rotate();
        }
        machine.live(&issuer, 3600).await;
    }
    assert_eq!(machine.kinds(), []);
    assert_eq!(machine.size(), Some(issuer.leaves.len() as u64));
    let idle = machine.live(&issuer, 24 * 3600).await;
    assert!((36..=48).contains(&idle), "two answers an hour on an idle machine, not {idle}");
}

#[tokio::test]
async fn two_ledgers_of_one_size_are_a_fork_and_both_are_kept() {
    let mut issuer = Script::new(10);
    let machine = Machine::new(&issuer);
    machine.check(&issuer).await.unwrap();
    let before = issuer.sign();
    issuer.leaves[4] = leaf(999);
    let after = issuer.sign();
    machine.check(&issuer).await.unwrap();
    assert_eq!(machine.kinds(), [FindingKind::Fork]);
    for _ in 0..3 {
        issuer.grow(2);
        machine.live(&issuer, 2 * 3600).await;
    }
    let view = machine.follower.view(true);
    assert_eq!(view.findings.len(), 1, "said once, however often it is looked at");
    assert_eq!(view.size, Some(16), "what is done next is seen as well");
    let evidence = view.findings[0].evidence.clone().unwrap();
    assert_eq!((evidence.kept, evidence.shown), (Some(before), Some(after)), "no good answer overwrites it");
    assert!(!evidence.keys.is_empty());
    assert_eq!(view.error().unwrap().exit_code(), 14);
    // Another fork is another finding.
    issuer.leaves[2] = leaf(998);
    machine.check(&issuer).await.unwrap();
    assert_eq!(machine.kinds(), [FindingKind::Fork, FindingKind::Fork]);
}

#[tokio::test]
async fn a_ledger_that_grew_from_another_is_found() {
    for (refusal, bad_proofs, altered) in
        [(None, false, true), (None, true, false), (Some(Reason::Malformed), false, false)]
    {
        let mut issuer = Script::new(10);
        let machine = Machine::new(&issuer);
        machine.check(&issuer).await.unwrap();
        issuer.grow(5);
        (issuer.refusal, issuer.bad_proofs) = (refusal, bad_proofs);
        if altered {
            issuer.leaves[0] = leaf(999);
        }
        machine.check(&issuer).await.unwrap();
        assert_eq!(machine.kinds(), [FindingKind::Inconsistent]);
        let finding = machine.follower.view(true).findings.remove(0);
        assert_eq!(finding.evidence.unwrap().proof.is_some(), refusal.is_none(), "the proof that does not hold");
    }
}

#[tokio::test]
async fn an_issuer_that_cannot_prove_it_now_has_not_forked() {
    let mut issuer = Script::new(10);
    let machine = Machine::new(&issuer);
    machine.check(&issuer).await.unwrap();
    issuer.grow(5);
    issuer.refusal = Some(Reason::StoreUnavailable);
    let since = machine.moment().now;
    machine.check(&issuer).await.unwrap_err();
    machine.live(&issuer, 7200).await;
    let view = machine.follower.view(false);
    assert_eq!((view.findings.len(), view.size), (0, Some(10)), "not kept before it is proved");
    assert_eq!(view.unchecked.as_ref().unwrap().since, since);
    assert_eq!(view.error().unwrap().exit_code(), 10);
    issuer.refusal = None;
    machine.live(&issuer, 2 * 3600).await;
    let view = machine.follower.view(false);
    assert_eq!((view.error(), view.size, view.unchecked), (None, Some(15), None));
}

#[tokio::test]
async fn a_ledger_that_shrank_is_found() {
    for left in [7, 0] {
        let mut issuer = Script::new(10);
        let machine = Machine::new(&issuer);
        machine.check(&issuer).await.unwrap();
        issuer.leaves.truncate(left);
        machine.check(&issuer).await.unwrap();
        assert_eq!(machine.kinds(), [FindingKind::RolledBack]);
    }
}

#[tokio::test]
async fn an_empty_ledger_makes_nothing_forgotten() {
    let mut issuer = Script::new(10);
    let machine = Machine::new(&issuer);
    machine.check(&issuer).await.unwrap();
    let before = std::mem::take(&mut issuer.leaves);
    machine.check(&issuer).await.unwrap();
    issuer.leaves = before.clone();
    issuer.grow(2);
    machine.check(&issuer).await.unwrap();
    assert_eq!((machine.kinds(), machine.size()), (vec![FindingKind::RolledBack], Some(12)), "it is as it was");
    issuer.leaves = before.into_iter().rev().collect();
    issuer.grow(5);
    machine.check(&issuer).await.unwrap();
    assert_eq!(machine.kinds().len(), 2, "another history is compared with what was seen first");
}

#[tokio::test]
async fn nothing_that_comes_with_a_key_makes_evidence_too_large() {
    let mut issuer = Script::new(10);
    let mut machine = Machine::new(&issuer);
    machine.check(&issuer).await.unwrap();
    issuer.rotate();
    issuer.pad();
    issuer.leaves.truncate(7);
    machine.check(&issuer).await.unwrap();
    assert_eq!(machine.kinds(), [FindingKind::RolledBack], "and not a signature that is not known");
    assert!(std::fs::metadata(machine.file()).unwrap().len() < 64 * 1024);
    machine.restart();
    assert_eq!(machine.kinds(), [FindingKind::RolledBack]);
}

#[tokio::test]
async fn a_checkpoint_that_nobody_who_may_has_signed_is_found_once_and_not_kept() {
    let honest = || {
        let issuer = Script::new(10);
        let machine = Machine::new(&issuer);
        (issuer, machine)
    };
    let forge = |issuer: &mut Script| issuer.forge();
    let alter = |issuer: &mut Script| issuer.note = Some(issuer.sign().replacen("\n15\n", "\n16\n", 1));
    let nonsense = |issuer: &mut Script| issuer.note = Some("nonsense".to_owned());
    let bloat = |issuer: &mut Script| issuer.bloat();
    for change in [&forge as &dyn Fn(&mut Script), &alter, &nonsense, &bloat] {
        let (mut issuer, machine) = honest();
        machine.check(&issuer).await.unwrap();
        issuer.grow(5);
        change(&mut issuer);
        let checked = machine.follower.view(false).checked_at;
        machine.promise(issuer.leaves[12]);
        let asked = machine.live(&issuer, 3 * 3600).await;
        assert!(asked < 20, "asked {asked} times: no more often than one that is away");
        assert_eq!((machine.kinds(), machine.size()), (vec![FindingKind::BadSignature], Some(10)));
        assert_eq!(
            (machine.outstanding(), machine.follower.view(false).checked_at),
            (1, checked),
            "nothing was looked at"
        );
        assert!(machine.follower.view(true).findings[0].evidence.as_ref().unwrap().shown.is_some());
    }
}

#[tokio::test]
async fn a_leaf_that_was_taken_out_is_found() {
    let mut issuer = Script::new(10);
    let machine = Machine::new(&issuer);
    machine.check(&issuer).await.unwrap();
    machine.promise(leaf(500));
    issuer.grow(5);
    machine.live(&issuer, 30).await;
    assert_eq!((machine.kinds(), machine.outstanding()), (vec![FindingKind::LeafMissing], 0));
    let view = machine.follower.view(true);
    assert_eq!(view.findings[0].evidence.as_ref().unwrap().leaves, [Fixed(leaf(500))]);
    assert_eq!(view.error().unwrap().exit_code(), 15);
    // One that is shown with a proof that is none is not shown.
    issuer.bad_proofs = true;
    machine.promise(issuer.leaves[12]);
    machine.live(&issuer, 30).await;
    assert_eq!(machine.kinds(), [FindingKind::LeafMissing, FindingKind::LeafMissing]);
}

#[tokio::test]
async fn a_leaf_may_be_on_its_way_for_the_merge_delay_and_no_longer() {
    let mut issuer = Script::new(10);
    let machine = Machine::new(&issuer);
    issuer.waiting = vec![leaf(500), leaf(501)];
    machine.promise(leaf(500));
    machine.promise(leaf(501));
    machine.check(&issuer).await.unwrap();
    machine.pass(MERGE_DELAY + SLACK - 1);
    machine.check(&issuer).await.unwrap();
    assert_eq!((machine.kinds(), machine.outstanding()), (vec![], 2));
    issuer.leaves.push(leaf(500));
    machine.check(&issuer).await.unwrap();
    assert_eq!((machine.kinds(), machine.outstanding()), (vec![], 1), "the one is shown");
    // By itself, as soon as it is late.
    machine.live(&issuer, 30).await;
    assert_eq!((machine.kinds(), machine.outstanding()), (vec![FindingKind::LeafMissing], 0));
}

#[tokio::test]
async fn an_issuer_that_was_away_is_given_its_time_and_a_clock_that_is_set_takes_none_of_it() {
    let mut issuer = Script::new(10);
    let machine = Machine::new(&issuer);
    issuer.waiting = vec![leaf(500)];
    machine.promise(leaf(500));
    issuer.down = true;
    machine.live(&issuer, 5 * 3600).await;
    assert_eq!(machine.outstanding(), 1);
    assert!(machine.follower.view(false).unchecked.is_some());
    // It is started, and was asked before its integrator had its turn; then somebody sets the clock.
    issuer.down = false;
    machine.check(&issuer).await.unwrap();
    machine.ahead.set(400_000_000);
    machine.check(&issuer).await.unwrap();
    assert_eq!((machine.kinds(), machine.outstanding()), (vec![], 1));
    issuer.leaves.push(leaf(500));
    machine.live(&issuer, 60).await;
    assert_eq!((machine.kinds(), machine.outstanding()), (vec![], 0));
}

#[tokio::test]
async fn a_restore_that_is_admitted_is_told_from_a_fork_and_waits_for_a_person() {
    let mut issuer = Script::new(10);
    let mut machine = Machine::new(&issuer);
    machine.check(&issuer).await.unwrap();
    // Got and never shown: its event goes with what the backup does not have.
    let lost = Promise { leaf: Fixed(leaf(500)), issued: Timestamp::from_seconds(4500) };
    machine.follower.promised(lost, machine.moment());
    issuer.restore("b", "a", 8);
    issuer.grow(3);
    machine.check(&issuer).await.unwrap();
    assert_eq!((machine.kinds(), machine.outstanding()), (vec![FindingKind::Restored], 0));
    let finding = machine.follower.view(true).findings.remove(0);
    let words = "restored its store at 1970-01-01T01:23:20Z from a backup of 1970-01-01T01:06:40Z: events since 1970-01-01T01:06:40Z may be missing; \
                 of the 10 events that this machine had seen, 2 are not shown to be there; the events of 1 tokens of this machine are gone";
    assert!(finding.message.contains(words), "{}", finding.message);
    let evidence = finding.evidence.unwrap();
    assert!(evidence.beginning.is_some() && evidence.kept.is_some() && evidence.shown.is_some());
    assert_eq!(evidence.leaves, [Fixed(leaf(500))]);
    machine.live(&issuer, 3 * 3600).await;
    machine.restart();
    assert_eq!(machine.follower.view(false).error().unwrap().exit_code(), 16, "it waits for a person");
    assert!(matches!(machine.follower.accept(&[finding.number, 7], machine.moment()), Err(AgentError::NoFinding(7))));
    assert_eq!(machine.kinds(), [FindingKind::Restored], "all or none");
    machine.follower.accept(&[finding.number], machine.moment()).unwrap();
    assert_eq!((machine.kinds(), machine.follower.view(false).error()), (vec![], None));
    machine.restart();
    assert!(machine.follower.view(true).findings[0].evidence.is_some(), "the evidence stays");
    // A token from after it cannot have been lost to it.
    machine.promise(leaf(501));
    machine.check(&issuer).await.unwrap();
    assert_eq!(machine.kinds(), [FindingKind::LeafMissing]);
}

#[tokio::test]
async fn a_restore_that_lacks_nothing_is_said_to_lack_nothing() {
    let mut issuer = Script::new(10);
    let machine = Machine::new(&issuer);
    machine.check(&issuer).await.unwrap();
    issuer.grow(5);
    issuer.restore("b", "a", 12);
    machine.check(&issuer).await.unwrap();
    let finding = machine.follower.view(true).findings.remove(0);
    assert!(finding.message.contains("had seen of its ledger, all is there"), "{}", finding.message);
}

#[tokio::test]
async fn a_new_name_without_a_word_or_with_a_false_one_is_no_restore() {
    let nothing = |issuer: &mut Script| _ = issuer.begin("b", None, None, 0);
    let elsewhere = |issuer: &mut Script| issuer.restore("b", "z", 8);
    let not_in_the_tree = |issuer: &mut Script| _ = issuer.begin("b", Some("a"), None, 8);
    let not_the_same = |issuer: &mut Script| {
        issuer.leaves[3] = leaf(999);
        issuer.grow(2);
        issuer.restore("b", "a", 11);
    };
    for change in [&nothing as &dyn Fn(&mut Script), &elsewhere, &not_in_the_tree, &not_the_same] {
        let mut issuer = Script::new(10);
        let machine = Machine::new(&issuer);
        machine.check(&issuer).await.unwrap();
        change(&mut issuer);
        machine.check(&issuer).await.unwrap();
        assert_eq!(machine.kinds(), [FindingKind::OtherLedger]);
        machine.live(&issuer, 3 * 3600).await;
        assert_eq!(machine.kinds(), [FindingKind::OtherLedger], "said once");
        assert_eq!(machine.follower.view(false).origin, Some(name("b")));
    }
}

#[tokio::test]
async fn a_restore_in_place_of_one_that_was_seen_is_admitted_as_well() {
    let mut issuer = Script::new(10);
    let machine = Machine::new(&issuer);
    issuer.restore("b", "a", 9);
    machine.check(&issuer).await.unwrap();
    // The same backup once more: `b` was published meanwhile, and is nowhere in it.
    issuer.leaves.truncate(9);
    issuer.beginnings.clear();
    let begun = issuer.begin("c", Some("a"), Some("b"), 9);
    issuer.leaves.push(begun);
    machine.check(&issuer).await.unwrap();
    assert_eq!(machine.kinds(), [FindingKind::Restored]);
}

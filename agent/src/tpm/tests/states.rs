//! States that people and other programs bring a TPM into, brought about with tpm2-tools.

use super::{faults::Faulty, *};

/// Makes a persistent storage root key of tpm2-tools' own template, which is subject to the lockout.
fn make_other_root(it: &Faulty, more: &str) {
    it.must(&format!("tpm2_createprimary -C o -G rsa -c srk.ctx {more}"));
    it.must("tpm2_evictcontrol -C o -c srk.ctx 0x81000001");
    it.must("tpm2_flushcontext -t");
}

/// Wrong passwords for somebody else's key, until it is enough.
fn lock_out(it: &Faulty) {
    it.must(
        "tpm2_dictionarylockout --setup-parameters --max-tries=2 --recovery-time=1000 --lockout-recovery-time=1000",
    );
    it.must("tpm2_createprimary -C n -G ecc -p secret -c theirs.ctx");
    for _ in 0..3 {
        assert!(!it.tool("tpm2_create -C theirs.ctx -P wrong -G ecc -u x.pub -r x.priv"));
    }
    it.must("tpm2_flushcontext -t");
    assert!(is_locked_out(it));
}

fn is_locked_out(it: &Faulty) -> bool {
    let properties = Swtpm::capability(&it.proxy.tcti(), "properties-variable");
    let line = properties.lines().find(|line| line.trim().starts_with("inLockout:")).unwrap();
    line.ends_with('1')
}

#[tokio::test]
async fn a_lockout_touches_nothing_of_ours() {
    let mut it = Faulty::new();
    let before = it.tpm.create_keys().await.unwrap();
    lock_out(&it);
    it.restart();
    it.signs(&before).await.unwrap();
    let after = it.tpm.create_keys().await.unwrap();
    it.answers(&after).await.unwrap();
    it.signs(&after).await.unwrap();
    assert!(is_locked_out(&it));
}

#[tokio::test]
async fn below_a_storage_root_key_that_is_subject_to_it_a_lockout_is_named() {
    let mut it = Faulty::new();
    make_other_root(&it, "");
    let keys = it.tpm.create_keys().await.unwrap();
    lock_out(&it);
    it.restart();
    let error = it.tpm.sign(&keys.proof, [1; 32]).await.unwrap_err();
    assert!(matches!(error, TpmError::Lockout { attempted: "load a key" }), "{error}");
    assert!(error.next_step().contains("tpm2_dictionarylockout --clear-lockout"));
    it.must("tpm2_dictionarylockout --clear-lockout");
    it.signs(&keys).await.unwrap();
}

#[tokio::test]
async fn an_owners_password_keeps_from_nothing_where_the_storage_root_key_is_there() {
    let mut it = Faulty::new();
    let before = it.tpm.create_keys().await.unwrap();
    it.must("tpm2_changeauth -c owner secret");
    it.must("tpm2_changeauth -c lockout secret");
    it.restart();
    it.tpm.check(None).await.unwrap();
    it.signs(&before).await.unwrap();
    let after = it.tpm.create_keys().await.unwrap();
    it.answers(&after).await.unwrap();
}

#[tokio::test]
async fn an_owners_password_and_no_storage_root_key_is_named_with_the_commands_that_help() {
    let it = Faulty::new();
    it.must("tpm2_changeauth -c owner secret");
    for error in [it.tpm.create_keys().await.unwrap_err(), it.tpm.check(None).await.unwrap_err()] {
        assert!(matches!(error, TpmError::Authorization { of: Authorized::Owner, .. }), "{error}");
        assert!(error.to_string().contains("0x81000001"), "{error}");
    }
    // What needs no owner goes on.
    it.tpm.describe().await.unwrap();
    it.tpm.endorsement_keys().await.unwrap();
    // Exactly what it says.
    let commands: Vec<&str> = Authorized::Owner.next_step().split('`').skip(1).step_by(2).collect();
    assert_eq!(commands.len(), 2);
    for command in commands {
        it.must(&command.replace("PASSWORD", "secret").replace('\'', ""));
    }
    it.must("tpm2_flushcontext -t");
    let keys = it.tpm.create_keys().await.unwrap();
    it.signs(&keys).await.unwrap();
}

#[tokio::test]
async fn an_endorsement_password_stops_enrolment_alone() {
    let it = Faulty::new();
    let keys = it.tpm.create_keys().await.unwrap();
    it.must("tpm2_changeauth -c endorsement secret");
    for error in [it.answers(&keys).await.unwrap_err(), it.tpm.check(None).await.unwrap_err()] {
        assert!(matches!(error, TpmError::Authorization { of: Authorized::Endorsement, .. }), "{error}");
    }
    it.signs(&keys).await.unwrap();
    it.tpm.check(Some(&keys)).await.unwrap();
    it.must("tpm2_changeauth -c endorsement -p secret");
    it.answers(&keys).await.unwrap();
}

#[tokio::test]
async fn a_storage_root_key_with_a_password_is_done_without_and_not_asked_into_a_lockout() {
    let it = Faulty::new();
    make_other_root(&it, "-p secret");
    it.must(
        "tpm2_dictionarylockout --setup-parameters --max-tries=3 --recovery-time=1000 --lockout-recovery-time=1000",
    );
    for _ in 0..5 {
        let keys = it.tpm.create_keys().await.unwrap();
        it.signs(&keys).await.unwrap();
    }
    assert!(!is_locked_out(&it));
}

#[tokio::test]
async fn a_storage_root_key_that_lost_its_password_is_used_within_ten_minutes() {
    let it = Faulty::new();
    make_other_root(&it, "-p secret");
    it.must("tpm2_changeauth -c owner secret");
    let refused = async || {
        let error = it.tpm.create_keys().await.unwrap_err();
        assert!(matches!(error, TpmError::Authorization { of: Authorized::StorageRootKey, .. }), "{error}");
    };
    refused().await;
    it.must("tpm2_evictcontrol -C o -P secret -c 0x81000001");
    it.must("tpm2_createprimary -C o -P secret -G rsa -c srk.ctx");
    it.must("tpm2_evictcontrol -C o -P secret -c srk.ctx 0x81000001");
    it.must("tpm2_flushcontext -t");
    // The same key, by its name: nothing tells that it is another but a try.
    refused().await;
    it.time.advance(601);
    let keys = it.tpm.create_keys().await.unwrap();
    it.signs(&keys).await.unwrap();
}

#[tokio::test]
async fn where_the_place_is_taken_by_something_else_a_transient_primary_does() {
    let mut it = Faulty::new();
    it.must("tpm2_createprimary -C o -G ecc -a fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign -c s.ctx");
    it.must("tpm2_evictcontrol -C o -c s.ctx 0x81000001");
    it.must("tpm2_flushcontext -t");
    let keys = it.tpm.create_keys().await.unwrap();
    it.restart();
    it.signs(&keys).await.unwrap();
    // Keys below that primary do after the place became free and was filled by us.
    it.must("tpm2_evictcontrol -C o -c 0x81000001");
    it.restart();
    let more = it.tpm.create_keys().await.unwrap();
    it.signs(&keys).await.unwrap();
    it.signs(&more).await.unwrap();
}

#[tokio::test]
async fn a_storage_root_key_that_somebody_exchanges_is_done_without() {
    let mut it = Faulty::new();
    let keys = it.tpm.create_keys().await.unwrap();
    it.must("tpm2_evictcontrol -C o -c 0x81000001");
    make_other_root(&it, "");
    it.signs(&keys).await.unwrap();
    it.restart();
    it.signs(&keys).await.unwrap();
    // With an owner's password there is no primary either.
    it.must("tpm2_changeauth -c owner secret");
    it.restart();
    let error = it.tpm.sign(&keys.proof, [1; 32]).await.unwrap_err();
    assert!(matches!(error, TpmError::SrkTaken), "{error}");
    it.must("tpm2_changeauth -c owner -p secret");
    it.signs(&keys).await.unwrap();
}

#[tokio::test]
async fn keys_below_somebody_elses_storage_root_key_go_and_come_with_it() {
    let it = Faulty::new();
    make_other_root(&it, "");
    let keys = it.tpm.create_keys().await.unwrap();
    it.must("tpm2_evictcontrol -C o -c 0x81000001");
    let error = it.tpm.sign(&keys.proof, [1; 32]).await.unwrap_err();
    assert!(matches!(error, TpmError::SrkTaken), "{error}");
    // Put back, in the place of the one that we made meanwhile.
    it.must("tpm2_evictcontrol -C o -c 0x81000001");
    make_other_root(&it, "");
    it.signs(&keys).await.unwrap();
}

#[tokio::test]
async fn a_cleared_tpm_is_told_from_another_one() {
    let mut it = Faulty::new();
    let keys = it.tpm.create_keys().await.unwrap();
    it.signs(&keys).await.unwrap();
    it.must("tpm2_clear");
    for _ in 0..2 {
        let error = it.tpm.sign(&keys.proof, [1; 32]).await.unwrap_err();
        assert!(matches!(error, TpmError::Cleared), "{error}");
        assert_eq!(error.code(), daypass_proto::local_api::ErrorCode::TpmChanged);
        it.restart();
    }
    // It serves whoever enrols anew.
    let anew = it.tpm.create_keys().await.unwrap();
    it.signs(&anew).await.unwrap();
    let other = Faulty::new();
    let error = other.tpm.sign(&anew.proof, [1; 32]).await.unwrap_err();
    assert!(matches!(error, TpmError::Moved), "{error}");
    // A file of an earlier version does not say whose it is.
    let pem = anew.proof.to_pem().unwrap();
    let silent = KeyFile::from_pem(&pem[pem.find("-----BEGIN").unwrap()..]).unwrap();
    let error = other.tpm.sign(&silent, [1; 32]).await.unwrap_err();
    assert!(matches!(error, TpmError::KeyOfAnotherTpm), "{error}");
}

#[tokio::test]
async fn object_slots_that_another_program_holds_are_named_and_used_when_they_are_free() {
    let mut it = Faulty::new();
    let keys = it.tpm.create_keys().await.unwrap();
    it.restart();
    it.tpm.describe().await.unwrap();
    // Without a resource manager, what tools make stays loaded.
    for _ in 0..3 {
        it.must("tpm2_createprimary -C n -G ecc -c theirs.ctx");
    }
    let error = it.tpm.sign(&keys.proof, [1; 32]).await.unwrap_err();
    assert!(matches!(error, TpmError::Busy { attempted: "load a key" }), "{error}");
    it.must("tpm2_flushcontext -t");
    it.signs(&keys).await.unwrap();
}

#[tokio::test]
async fn session_slots_that_another_program_holds_keep_nobody_from_signing() {
    let it = Faulty::new();
    let keys = it.tpm.create_keys().await.unwrap();
    while it.tool("tpm2_startauthsession -S session.ctx") {}
    let error = it.answers(&keys).await.unwrap_err();
    assert!(matches!(error, TpmError::Busy { attempted: "open a policy session" }), "{error}");
    it.signs(&keys).await.unwrap();
    it.must("tpm2_flushcontext -s");
    it.answers(&keys).await.unwrap();
}

#[tokio::test]
async fn a_storage_hierarchy_that_is_switched_off_is_named() {
    let mut it = Faulty::new();
    let keys = it.tpm.create_keys().await.unwrap();
    it.signs(&keys).await.unwrap();
    it.must("tpm2_hierarchycontrol -C p shEnable clear");
    for _ in 0..2 {
        let error = it.tpm.sign(&keys.proof, [1; 32]).await.unwrap_err();
        assert!(matches!(error, TpmError::Disabled { .. }), "{error}");
        it.restart();
    }
    it.must("tpm2_hierarchycontrol -C p shEnable set");
    it.signs(&keys).await.unwrap();
}

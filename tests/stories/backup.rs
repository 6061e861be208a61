//! A backup of an issuer that serves, and what comes back from it.

use std::{fs, path::PathBuf, thread};

use daypass_tests::{Failure, Issuer, Programs, Request, Story, Who, ensure, eventually, files};

use crate::{
    disk::all_are_written_down,
    software::{GIT, Scene, scene},
};

fn at(scene: &Scene, name: &str) -> String {
    scene.issuer.folder().join(name).display().to_string()
}

fn published(scene: &Scene) -> PathBuf {
    format!("{}.checkpoint", scene.issuer.store().display()).into()
}

/// Waits until everything that happened so far was published; gives the checkpoint.
fn all_published(scene: &Scene) -> Result<String, Failure> {
    eventually("a published checkpoint of all events", || {
        let note = fs::read_to_string(published(scene)).unwrap_or_default();
        let events = scene.issuer.sql("SELECT COUNT(*) FROM events")?;
        Ok((note.lines().nth(1) == events.first().map(String::as_str)).then_some(note))
    })
}

fn origin(scene: &Scene) -> Result<String, Failure> {
    Ok(scene.issuer.sql("SELECT origin FROM ledger")?.join(""))
}

#[test]
fn a_backup_under_load_comes_back_as_a_store_that_verifies() -> Story {
    let mut scene = scene()?;
    let client = scene.client("client")?;
    let mut tokens = vec![client.token(GIT, scene.clock.now())?];
    let backups: Vec<String> = (0..3).map(|n| at(&scene, &format!("{n}.backup"))).collect();
    let during = thread::scope(|scope| {
        let asking =
            scope.spawn(|| (0..40).map(|_| client.token(GIT, scene.clock.now())).collect::<Result<Vec<_>, Failure>>());
        for backup in &backups {
            scene.issuer.run(["backup", backup])?;
        }
        asking.join().map_err(|_| Failure::unexpected("tokens", "a panic"))?
    })?;
    tokens.extend(during);
    all_are_written_down(&scene, &tokens)?;
    // What is restored below is older than what was published only once all of this is.
    all_published(&scene)?;
    // Nothing half-made is left, and nobody else can read what is.
    for (path, _) in files(scene.issuer.folder())? {
        ensure(!path.to_string_lossy().contains(".part"), "no unfinished file", path.display())?;
    }
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(&backups[0]).map_err(Failure::machine("look at the backup"))?.permissions().mode();
        ensure(mode & 0o777 == 0o600, "a backup for its owner alone", format!("{mode:o}"))?;
    }
    scene.issuer.act(["backup", &backups[0]]).run()?.refused(&["exists already"])?.code(3)?;
    // A running issuer's store is replaced by nobody.
    scene.issuer.act(["restore", &backups[2]]).run()?.refused(&["--replace"])?.code(3)?;
    scene.issuer.act(["restore", &backups[2], "--replace"]).run()?.refused(&["in use", "stop it"])?;
    scene.issuer.stop()?;
    for backup in &backups {
        scene.issuer.run(["restore", backup, "--replace"])?.says(&["restored", "former", "begins anew"])?;
        scene.issuer.act(["check"]).run()?.says_nothing_of(&["damaged"])?;
        scene.issuer.serve()?;
        tokens.clear();
        tokens.push(client.token(GIT, scene.clock.now())?);
        all_are_written_down(&scene, &tokens)?;
        all_published(&scene)?;
        scene.issuer.stop()?;
        scene.issuer.run(["ledger", "verify"])?;
    }
    Ok(())
}

#[test]
fn a_restore_that_is_behind_what_was_published_begins_a_new_ledger_and_says_so() -> Story {
    let mut scene = scene()?;
    let client = scene.client("client")?;
    client.token(GIT, scene.clock.now())?;
    let old = at(&scene, "old.backup");
    scene.issuer.run(["backup", &old])?;
    let before = origin(&scene)?;
    client.token(GIT, scene.clock.now())?;
    let note = all_published(&scene)?;
    let elsewhere = scene.issuer.put("elsewhere.checkpoint", &note)?.display().to_string();
    scene.issuer.stop()?;

    // Known from the file beside the database.
    let ran = scene.issuer.run(["restore", &old, "--replace"])?;
    ensure(ran.complaints().contains("the ledger begins anew"), "words on standard error", &ran)?;
    ran.says(&["events were published, and the backup has"])?;
    let renamed = origin(&scene)?;
    ensure(renamed != before, "another origin", &renamed)?;
    let said = scene
        .issuer
        .sql("SELECT CAST(leaf AS TEXT) FROM events WHERE kind IN ('store_restored', 'ledger_begun')")?
        .join("\n");
    ensure(
        said.contains(&renamed) && said.contains(&before) && said.contains("store_restored"),
        "both names in events",
        &said,
    )?;
    scene.issuer.serve()?;
    client.token(GIT, scene.clock.now())?;
    let note = all_published(&scene)?;
    ensure(note.starts_with(&renamed), "checkpoints of the new ledger", &note)?;
    scene.issuer.stop()?;

    // Known from what somebody else has, on a machine that has nothing.
    let gone = |scene: &Scene| {
        for (path, _) in files(scene.issuer.folder())? {
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("issuer.db")) {
                fs::remove_file(&path).map_err(Failure::machine("lose a file"))?;
            }
        }
        Ok::<_, Failure>(())
    };
    gone(&scene)?;
    let ran = scene.issuer.run(["restore", &old, "--checkpoint", &elsewhere])?;
    ran.says(&["begins anew", "events were published, and the backup has"])?;
    gone(&scene)?;
    scene.issuer.run(["restore", &old])?.says(&["begins anew", "not known what was published"])?;
    let nonsense = scene.issuer.put("nonsense", "nonsense")?.display().to_string();
    scene
        .issuer
        .act(["restore", &old, "--replace", "--checkpoint", &nonsense])
        .run()?
        .refused(&["not a checkpoint"])?;
    Ok(())
}

#[test]
fn a_restore_that_lacks_nothing_that_was_published_keeps_the_ledgers_name() -> Story {
    let mut scene = scene()?;
    let client = scene.client("client")?;
    client.token(GIT, scene.clock.now())?;
    all_published(&scene)?;
    scene.issuer.stop()?;
    let before = origin(&scene)?;
    let backup = at(&scene, "new.backup");
    scene.issuer.run(["backup", &backup])?;
    scene.issuer.run(["restore", &backup, "--replace"])?.says_nothing_of(&["begins anew"])?;
    ensure(origin(&scene)? == before, "the same origin", origin(&scene)?)?;
    scene.issuer.serve()?;
    client.token(GIT, scene.clock.now())?;
    all_published(&scene)?;
    scene.issuer.run(["ledger", "verify"])?;
    Ok(())
}

#[test]
fn an_older_copy_that_somebody_put_in_place_by_hand_is_not_served() -> Story {
    let mut scene = scene()?;
    let client = scene.client("client")?;
    scene.issuer.stop()?;
    scene.issuer.fold()?;
    let copy = fs::read(scene.issuer.store()).map_err(Failure::machine("copy the store"))?;
    scene.issuer.serve()?;
    client.token(GIT, scene.clock.now())?;
    all_published(&scene)?;
    scene.issuer.stop()?;
    scene.issuer.fold()?;
    fs::write(scene.issuer.store(), copy).map_err(Failure::machine("put the copy in place"))?;
    for command in ["serve", "check"] {
        scene
            .issuer
            .act([command])
            .run()?
            .refused(&["older than what was published", "daypass-issuer restore"])?
            .code(4)?;
    }
    Ok(())
}

#[test]
fn a_broken_or_foreign_backup_changes_nothing() -> Story {
    let mut scene = scene()?;
    let client = scene.client("client")?;
    let backup = at(&scene, "good.backup");
    scene.issuer.run(["backup", &backup])?;
    scene.issuer.stop()?;
    let good = fs::read(&backup).map_err(Failure::machine("read the backup"))?;
    let state = |scene: &Scene| fs::read(scene.issuer.store()).map_err(Failure::machine("read the store"));
    let before = state(&scene)?;
    let mut broken: Vec<Vec<u8>> = (1..8).map(|part| good[..good.len() * part / 8].to_vec()).collect();
    for part in 1..8 {
        let mut flipped = good.clone();
        flipped[good.len() * part / 8] ^= 1;
        broken.push(flipped);
    }
    broken.extend([Vec::new(), b"nonsense".to_vec(), vec![0; 10_240]]);
    for bytes in broken {
        let length = bytes.len();
        let bad = scene.issuer.put("bad.backup", bytes)?.display().to_string();
        let ran = scene.issuer.act(["restore", &bad, "--replace"]).run()?;
        ran.refused(&["not a whole backup"])
            .map_err(|error| Failure::unexpected(format!("a refusal of {length} bytes"), error))?
            .code(3)?;
        ensure(state(&scene)? == before, "the store as it was", "another")?;
    }
    let other = Issuer::init(&scene.place, "other", &Programs::find()?, Some(&scene.clock), &[])?;
    let foreign = other.folder().join("foreign.backup").display().to_string();
    other.run(["backup", &foreign])?;
    scene.issuer.act(["restore", &foreign, "--replace"]).run()?.refused(&["backup of the issuer"])?.code(3)?;
    ensure(state(&scene)? == before, "the store as it was", "another")?;
    scene.issuer.serve()?;
    client.token(GIT, scene.clock.now())?;
    Ok(())
}

#[test]
fn a_lost_machine_comes_back_from_the_backup_and_the_keys_that_lay_elsewhere() -> Story {
    let mut scene = scene()?;
    let client = scene.client("client")?;
    let folder = scene.issuer.folder().to_owned();
    let aside = scene.place.folder("elsewhere", Who::Server, 0o700)?;
    let (plain, all) = (aside.join("plain.backup"), aside.join("all.backup"));
    scene.issuer.run(["backup", &plain.display().to_string()])?.says(&["not in it", "master.key", "root.key"])?;
    scene
        .issuer
        .run(["backup", &all.display().to_string(), "--with-master-key", "--with-root-key"])?
        .says(&["every key"])?;
    let master = fs::read(folder.join("master.key")).map_err(Failure::machine("read the master key"))?;
    let holds = |path: &PathBuf| {
        let bytes = fs::read(path).map_err(Failure::machine("read a backup"))?;
        Ok::<_, Failure>(bytes.windows(32).any(|window| window == master))
    };
    ensure(!holds(&plain)? && holds(&all)?, "the master key in one of both", "otherwise")?;
    scene.issuer.stop()?;
    let lose = || {
        for entry in fs::read_dir(&folder).map_err(Failure::machine("look"))?.flatten() {
            let path = entry.path();
            let gone = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            gone.map_err(Failure::machine("lose everything"))?;
        }
        Ok::<_, Failure>(())
    };
    lose()?;
    scene.issuer.run(["restore", &plain.display().to_string()])?.says(&["mk-", "is missing", "signs nothing"])?;
    scene.issuer.act(["serve"]).run()?.refused(&["mk-", "is missing"])?;
    scene.issuer.put("master.key", &master)?;
    scene.issuer.serve()?;
    client.token(GIT, scene.clock.now())?;
    scene.issuer.stop()?;
    lose()?;
    scene.issuer.run(["restore", &all.display().to_string()])?.says_nothing_of(&["is missing"])?;
    scene.issuer.serve()?;
    client.token(GIT, scene.clock.now())?;
    scene.issuer.run(["key", "rotate", "token"])?;
    Request::new(Who::Alice, &format!("{}/healthz", scene.issuer.url()), scene.issuer.root())?.send()?.status(200)?;
    Ok(())
}

//! The ground under the store gives way: a disk that is full, read-only, slow or broken, a file that is damaged, a clock that is put back.
//!
//! Each story asks the same: is the refusal clear, is everything that was answered written down, and does it go on when the cause is gone?

use std::{
    fs::{self, OpenOptions, Permissions},
    io::{Seek as _, SeekFrom, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use daypass_proto::encoding::from_base64url;
use daypass_tests::{Answer, Clock, Failure, Interference, Request, SoftwareClient, Story, Who, ensure, eventually};

use crate::software::{GIT, Scene, scene};

/// The leaf hash that a token promises, as the store shows it.
pub(crate) fn leaf(token: &str) -> Result<String, Failure> {
    let claims = token.split('.').nth(1).and_then(from_base64url).unwrap_or_default();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap_or_default();
    let leaf = claims.pointer("/daypass/leaf").and_then(|leaf| leaf.as_str()).and_then(from_base64url);
    let leaf = leaf.ok_or_else(|| Failure::unexpected("a leaf hash in the token", &claims))?;
    Ok(leaf.iter().map(|byte| format!("{byte:02X}")).collect())
}

/// Whether every token that was handed out has its event.
pub(crate) fn all_are_written_down(scene: &Scene, tokens: &[String]) -> Story {
    let events = scene.issuer.sql("SELECT hex(leaf_hash) FROM events WHERE kind = 'token_issued'")?;
    for token in tokens {
        let leaf = leaf(token)?;
        ensure(events.contains(&leaf), format!("the event {leaf} of a token"), events.join(" "))?;
    }
    Ok(())
}

fn health(scene: &Scene) -> Result<Answer, Failure> {
    Request::new(Who::Alice, &format!("{}/healthz", scene.issuer.url()), scene.issuer.root())?.send()
}

/// Asks until it is refused; tokens that are given meanwhile are kept.
fn until_refused(scene: &Scene, client: &SoftwareClient, tokens: &mut Vec<String>) -> Result<Answer, Failure> {
    eventually("a refusal", || {
        let answer = client.ask(GIT, scene.clock.now(), &[])?;
        if answer.status != 200 {
            return Ok(Some(answer));
        }
        let json = answer.json()?;
        tokens.extend(json.get("access_token").and_then(|token| token.as_str()).map(str::to_owned));
        Ok(None)
    })
}

fn is_unavailable(answer: Answer, reason: &str, words: &str) -> Story {
    let answer = answer.status(503)?.says(&["temporarily_unavailable", reason, words, "daypass_next_step"])?;
    ensure(!answer.body.contains("access_token"), "no token", &answer.ran)
}

/// Goes on by itself, in the same process.
fn goes_on(scene: &mut Scene, client: &SoftwareClient, before: u32, tokens: &mut Vec<String>) -> Story {
    let token = eventually("a token again", || {
        let answer = client.ask(GIT, scene.clock.now(), &[])?;
        let token = answer.json().ok().and_then(|json| json.get("access_token")?.as_str().map(str::to_owned));
        Ok(token.filter(|_| answer.status == 200))
    })?;
    tokens.push(token);
    eventually("a good health", || Ok((health(scene)?.status == 200).then_some(())))?;
    let now = scene.issuer.process().map(|process| process.pid());
    ensure(now == Some(before), "the same process", format!("{now:?}"))?;
    all_are_written_down(scene, tokens)
}

fn pid(scene: &mut Scene) -> u32 {
    scene.issuer.process().map(|process| process.pid()).unwrap_or_default()
}

fn logged(scene: &mut Scene, words: &str) -> Story {
    match scene.issuer.process() {
        Some(process) => process.wait_for_log(words),
        None => Err(Failure::unexpected("a running issuer", "none")),
    }
}

fn interfere(scene: &mut Scene, rule: &str) -> Result<Interference, Failure> {
    let logs = scene.place.path().to_owned();
    match scene.issuer.process() {
        Some(process) => Interference::with(process, rule, &logs),
        None => Err(Failure::unexpected("a running issuer", "none")),
    }
}

#[test]
fn a_full_disk_refuses_and_is_forgiven_once_it_has_room() -> Story {
    if Who::skip_unless_chosen("a full disk") {
        return Ok(());
    }
    let mut scene = scene()?;
    scene.issuer.stop()?;
    scene.issuer.move_to_disk(&scene.place, "8m")?;
    scene.issuer.serve()?;
    let client = scene.client("client")?;
    let mut tokens = vec![client.token(GIT, scene.clock.now())?];
    let before = pid(&mut scene);
    for _ in 0..2 {
        scene.issuer.disk()?.fill()?;
        is_unavailable(until_refused(&scene, &client, &mut tokens)?, "store_unavailable", "is full")?;
        health(&scene)?.status(503)?.says(&["is full"])?;
        logged(&mut scene, "free some space on it")?;
        // What is there can be read.
        scene.issuer.sql("SELECT COUNT(*) FROM events")?;
        all_are_written_down(&scene, &tokens)?;
        scene.issuer.disk()?.free()?;
        goes_on(&mut scene, &client, before, &mut tokens)?;
    }
    scene.issuer.stop()?;
    scene.issuer.serve()?;
    all_are_written_down(&scene, &tokens)
}

#[test]
fn a_disk_that_turns_read_only_or_fails_is_borne() -> Story {
    if Who::skip_unless_chosen("a disk that fails") {
        return Ok(());
    }
    let mut scene = scene()?;
    let client = scene.client("client")?;
    let mut tokens = vec![client.token(GIT, scene.clock.now())?];
    let before = pid(&mut scene);
    for (rule, words) in [
        ("pwrite64:error=EROFS", "does not do what is asked"),
        ("pwrite64:error=EIO", "does not do what is asked"),
        ("pwrite64:error=ENOSPC", "is full"),
        // A disk that takes what is written and cannot keep it: nothing may be answered that is not durable.
        ("fsync,fdatasync:error=EIO", "does not do what is asked"),
    ] {
        let interference = interfere(&mut scene, rule)?;
        is_unavailable(until_refused(&scene, &client, &mut tokens)?, "store_unavailable", words)?;
        health(&scene)?.status(503)?.says(&[words])?;
        interference.end()?;
        goes_on(&mut scene, &client, before, &mut tokens)?;
    }
    logged(&mut scene, "the store takes writes again")
}

#[test]
fn a_read_only_disk_is_named_at_the_start() -> Story {
    if Who::skip_unless_chosen("a read-only disk") {
        return Ok(());
    }
    let mut scene = scene()?;
    let client = scene.client("client")?;
    let tokens = vec![client.token(GIT, scene.clock.now())?];
    scene.issuer.stop()?;
    scene.issuer.move_to_disk(&scene.place, "8m")?;
    scene.issuer.disk()?.read_only(true)?;
    scene.issuer.act(["serve"]).run()?.refused(&["issuer.db", "read-only", "writable"])?;
    scene.issuer.disk()?.read_only(false)?;
    scene.issuer.serve()?;
    client.token(GIT, scene.clock.now())?;
    all_are_written_down(&scene, &tokens)
}

#[test]
fn a_slow_disk_makes_everybody_wait_and_a_hanging_one_is_said() -> Story {
    if Who::skip_unless_chosen("a slow disk") {
        return Ok(());
    }
    let mut scene = scene()?;
    let client = scene.client("client")?;
    let mut tokens = vec![client.token(GIT, scene.clock.now())?];
    let before = pid(&mut scene);
    let slow = interfere(&mut scene, "fsync,fdatasync:delay_enter=700000")?;
    tokens.push(client.token(GIT, scene.clock.now())?);
    slow.end()?;
    let hanging = interfere(&mut scene, "fsync,fdatasync:delay_enter=25000000")?;
    is_unavailable(until_refused(&scene, &client, &mut tokens)?, "store_unavailable", "too slow")?;
    health(&scene)?.status(503)?.says(&["too slow"])?;
    hanging.end()?;
    goes_on(&mut scene, &client, before, &mut tokens)
}

/// Writes over `length` bytes of a file, at this part of it.
fn spoil(path: &Path, part: f64, length: usize) -> Story {
    let spoiling = || Failure::machine(format!("spoil `{}`", path.display()));
    let mut file = OpenOptions::new().write(true).open(path).map_err(spoiling())?;
    let size = file.metadata().map_err(spoiling())?.len();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "somewhere in the file"
    )]
    let at = (size as f64 * part) as u64 / 4096 * 4096;
    file.seek(SeekFrom::Start(at)).map_err(spoiling())?;
    file.write_all(&vec![0x5a; length]).map_err(spoiling())
}

#[test]
fn a_damaged_store_is_not_served_and_a_backup_brings_it_back() -> Story {
    let mut scene = scene()?;
    let client = scene.client("client")?;
    let tokens = vec![client.token(GIT, scene.clock.now())?];
    let backup = scene.issuer.folder().join("good.backup").display().to_string();
    scene.issuer.run(["backup", &backup])?;
    scene.issuer.stop()?;
    scene.issuer.fold()?;
    let store = scene.issuer.store();
    let whole = fs::read(&store).map_err(Failure::machine("read the store"))?;
    type Harm = fn(&Path) -> Story;
    let harms: [(&str, Harm); 4] = [
        ("pages written over", |store| (1..8).try_for_each(|part| spoil(store, f64::from(part) / 9.0, 300))),
        ("no database at all", |store| spoil(store, 0.0, 100)),
        ("cut in half", |store| {
            let cutting = || Failure::machine("cut the store");
            let file = OpenOptions::new().write(true).open(store).map_err(cutting())?;
            let size = file.metadata().map_err(cutting())?.len();
            file.set_len(size / 8192 * 4096).map_err(cutting())
        }),
        ("empty", |store| {
            OpenOptions::new()
                .write(true)
                .open(store)
                .and_then(|file| file.set_len(0))
                .map_err(Failure::machine("empty the store"))
        }),
    ];
    for (what, harm) in harms {
        fs::write(&store, &whole).map_err(Failure::machine("make the store whole"))?;
        harm(&store)?;
        for command in ["serve", "check"] {
            let ran = scene.issuer.act([command]).run()?;
            ran.refused(&["daypass-issuer restore"])
                .map_err(|error| Failure::unexpected(format!("a refusal of a store with {what}"), error))?;
        }
        scene.issuer.run(["restore", &backup, "--replace"])?;
        scene.issuer.serve()?;
        client.token(GIT, scene.clock.now())?;
        all_are_written_down(&scene, &tokens)?;
        scene.issuer.stop()?;
        scene.issuer.fold()?;
    }
    Ok(())
}

#[test]
fn a_write_ahead_log_that_was_lost_is_noticed() -> Story {
    let mut scene = scene()?;
    let client = scene.client("client")?;
    scene.issuer.stop()?;
    scene.issuer.fold()?;
    scene.issuer.serve()?;
    client.token(GIT, scene.clock.now())?;
    let published = format!("{}.checkpoint", scene.issuer.store().display());
    let size = |note: &str| note.lines().nth(1).and_then(|size| size.parse::<i64>().ok()).unwrap_or_default();
    eventually("a published checkpoint of all events", || {
        let note = fs::read_to_string(&published).unwrap_or_default();
        let events = scene.issuer.sql("SELECT COUNT(*) FROM events")?;
        Ok((Some(size(&note).to_string()) == events.first().cloned()).then_some(()))
    })?;
    scene.issuer.kill();
    let log = format!("{}-wal", scene.issuer.store().display());
    ensure(fs::metadata(&log).is_ok_and(|log| log.len() > 0), "a write-ahead log", &log)?;
    // The engine takes the log for one that ends here, and says nothing.
    spoil(Path::new(&log), 0.0, 64)?;
    scene.issuer.act(["serve"]).run()?.refused(&["older than what was published", "daypass-issuer restore"])?;
    Ok(())
}

#[test]
fn what_was_published_and_cannot_be_known_stops_the_start() -> Story {
    let mut scene = scene()?;
    let client = scene.client("client")?;
    client.token(GIT, scene.clock.now())?;
    let published = PathBuf::from(format!("{}.checkpoint", scene.issuer.store().display()));
    eventually("a published checkpoint", || Ok(published.exists().then_some(())))?;
    scene.issuer.stop()?;
    let away = published.with_extension("away");
    let moved =
        |from: &Path, to: &Path| fs::rename(from, to).map_err(Failure::machine(format!("move `{}`", from.display())));
    let refuses = |scene: &Scene, why: &str| -> Story {
        for command in ["serve", "check"] {
            let name = published.display().to_string();
            let words = [&name, "what it says cannot be known", "daypass-issuer restore --replace", why];
            scene.issuer.act([command]).run()?.refused(&words)?.code(4)?;
        }
        Ok(())
    };
    // Cut off, as by somebody who copied it by hand.
    let note = fs::read(&published).map_err(Failure::machine("read the checkpoint"))?;
    spoil_with(&published, note.get(..note.len() / 2).unwrap_or_default())?;
    refuses(&scene, "does not read")?;
    spoil_with(&published, b"")?;
    refuses(&scene, "does not read")?;
    spoil_with(&published, &note)?;
    moved(&published, &away)?;
    fs::create_dir(&published).map_err(Failure::machine("put a folder there"))?;
    refuses(&scene, "cannot be read: it is not a regular file")?;
    fs::remove_dir(&published).map_err(Failure::machine("take the folder away"))?;
    moved(&away, &published)?;
    // The issuer is no root here, who reads everything.
    fs::set_permissions(&published, Permissions::from_mode(0o000)).map_err(Failure::machine("close the checkpoint"))?;
    refuses(&scene, "cannot be read: Permission denied")?;
    fs::set_permissions(&published, Permissions::from_mode(0o600)).map_err(Failure::machine("open the checkpoint"))?;
    scene.issuer.serve()?;
    client.token(GIT, scene.clock.now())?;
    Ok(())
}

fn spoil_with(path: &Path, content: &[u8]) -> Story {
    fs::write(path, content).map_err(Failure::machine(format!("write `{}`", path.display())))
}

fn set(clock: &Clock, seconds: i64) -> Story {
    clock.shift(seconds)
}

#[test]
fn a_clock_that_is_put_back_stops_decisions_until_it_is_right() -> Story {
    let mut scene = scene()?;
    let client = scene.client("client")?;
    let mut tokens = vec![client.token(GIT, scene.clock.now())?];
    scene.clock.advance(Duration::from_secs(3600))?;
    tokens.push(client.token(GIT, scene.clock.now())?);
    let before = pid(&mut scene);
    set(&scene.clock, -1800)?;
    // On the client's side the time may be right or as wrong as here: it is the issuer that is told of.
    for client_time in [scene.clock.now(), scene.clock.now() + 1800] {
        is_unavailable(client.ask(GIT, client_time, &[])?, "issuer_clock", "decisions were made until")?;
    }
    health(&scene)?.status(503)?.says(&["clock"])?;
    logged(&mut scene, "daypass-issuer clock accept")?;
    scene.issuer.act(["clock", "show"]).run()?.refused(&["this machine's clock", "newest decisions"])?;
    set(&scene.clock, 1800)?;
    goes_on(&mut scene, &client, before, &mut tokens)?;
    // Where it was ahead before, a person says so, and the ledger has it.
    set(&scene.clock, -1800)?;
    scene.issuer.run(["clock", "accept"])?.says(&["decisions go on"])?;
    goes_on(&mut scene, &client, before, &mut tokens)?;
    let accepted = scene.issuer.sql("SELECT COUNT(*) FROM events WHERE kind = 'clock_accepted'")?;
    ensure(accepted == ["1"], "its event", accepted.join(" "))
}

//! Secrets at rest: what a copy of the database gives to whoever finds it, and the rotation of the key that keeps it closed.

use std::{fs, path::Path};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use daypass_proto::encoding::{base64url, from_base64url};
use daypass_tests::{Act, Failure, Programs, Ran, Story, Who, copy_folder, ensure, files};

use crate::{
    disk::all_are_written_down,
    software::{GIT, Scene, scene},
};

fn wrong(what: &'static str) -> Failure {
    Failure::unexpected(what, "something else")
}

/// Every private key of the issuer, with its name, opened by the master key as docs/operations.md describes it.
fn private_keys(scene: &Scene) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let master = fs::read(scene.issuer.folder().join("master.key")).map_err(Failure::machine("read the master key"))?;
    let master = UnboundKey::new(&AES_256_GCM, &master).map(LessSafeKey::new).map_err(|_| wrong("a master key"))?;
    let rows = scene.issuer.sql("SELECT body FROM keys")?;
    rows.iter()
        .map(|row| {
            let record: serde_json::Value = serde_json::from_str(row).map_err(|_| wrong("JSON"))?;
            let text = |name: &str| record.get(name).and_then(|text| text.as_str()).map(str::to_owned);
            let kid = text("kid").ok_or_else(|| wrong("a name"))?;
            let wrapped =
                text("wrapped").and_then(|text| from_base64url(&text)).ok_or_else(|| wrong("a wrapped key"))?;
            let (nonce, sealed) = wrapped.split_at(NONCE_LEN);
            let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| wrong("a nonce"))?;
            let mut opened = sealed.to_vec();
            let opened = master
                .open_in_place(nonce, Aad::from(kid.as_bytes()), &mut opened)
                .map_err(|_| wrong("an opened key"))?;
            Ok((kid, opened.to_vec()))
        })
        .collect()
}

/// Where `secret` stands in `bytes`, in any of the ways in which bytes are written here.
fn stands_in(bytes: &[u8], secret: &[u8]) -> bool {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let forms = [secret.to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes(), base64url(secret).into_bytes()];
    forms.iter().any(|form| bytes.windows(form.len()).any(|window| window == form))
}

/// Everything that a dump shows: the files byte by byte, and every row as the engine tells it.
fn dumped(scene: &Scene) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    for (path, content) in files(scene.issuer.folder())? {
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("issuer.db")) {
            bytes.extend(content);
        }
    }
    bytes.extend(scene.issuer.sql(".dump")?.join("\n").into_bytes());
    Ok(bytes)
}

/// The secret of an invitation's or gate's code (docs/wire.md section 2).
fn secret_of(code: &str) -> Result<Vec<u8>, Failure> {
    let bytes = code.split_once('_').and_then(|(_, text)| from_base64url(text)).unwrap_or_default();
    bytes.get(32..48).map(<[u8]>::to_vec).ok_or_else(|| Failure::unexpected("a code", code))
}

#[test]
fn a_dump_of_the_database_holds_no_secret_that_is_of_use() -> Story {
    let scene = scene()?;
    let client = scene.client("client")?;
    let token = client.token(GIT, scene.clock.now())?;
    let code = scene.issuer.invite("alice", "apollo", "developer", &[])?;
    let gate = scene.issuer.run(["gate", "add", "other", "--resource", "https://other.example.com/"])?.text();
    let gate = gate.split_whitespace().find(|word| word.starts_with("dpgate1_")).unwrap_or_default().to_owned();
    let dump = dumped(&scene)?;
    let keys = private_keys(&scene)?;
    ensure(keys.len() >= 5, "every key of the issuer", keys.len())?;
    // A scan that finds nothing must be able to find something: names of keys and wrapped ones do stand there.
    for (kid, private) in &keys {
        ensure(stands_in(&dump, kid.as_bytes()), "the key's name in the dump", kid)?;
        ensure(!stands_in(&dump, private), "no private key in the dump", kid)?;
        // RFC 5915 and RFC 8410: the private value itself is an octet string of 32 bytes.
        let value = private.windows(2).position(|tag| tag == [4, 32]).and_then(|at| private.get(at + 2..at + 34));
        let value = value.ok_or_else(|| wrong("a private value"))?;
        ensure(!stands_in(&dump, value), "no private value in the dump", kid)?;
    }
    for (what, secret) in [
        ("an invitation's secret", secret_of(&code)?),
        ("a gate's secret", secret_of(&gate)?),
        ("a token", token.clone().into_bytes()),
        ("a token's signature", token.rsplit('.').next().unwrap_or_default().as_bytes().to_vec()),
        ("the master key", fs::read(scene.issuer.folder().join("master.key")).map_err(Failure::machine("read it"))?),
    ] {
        ensure(secret.len() >= 16 && !stands_in(&dump, &secret), format!("no {what} in the dump"), "it stands there")?;
    }
    Ok(())
}

#[test]
fn a_dump_under_another_master_key_signs_nothing_and_says_so() -> Story {
    let mut scene = scene()?;
    let client = scene.client("client")?;
    client.token(GIT, scene.clock.now())?;
    scene.issuer.stop()?;
    let at = scene.issuer.folder().join("master.key");
    let good = fs::read(&at).map_err(Failure::machine("read the master key"))?;
    scene.issuer.put("master.key", [7; 32])?;
    for command in
        [&["serve"][..], &["check"], &["key", "rotate", "token"], &["key", "list"], &["key", "rotate", "master"]]
    {
        scene
            .issuer
            .act(command)
            .run()?
            .refused(&["wrapped under the master key `mk-", "has `mk-", "signs nothing"])?
            .code(4)?;
    }
    fs::remove_file(&at).map_err(Failure::machine("lose the master key"))?;
    scene.issuer.act(["serve"]).run()?.refused(&["mk-", "is missing"])?.code(4)?;
    scene.issuer.put("master.key", good)?;
    scene.issuer.serve()?;
    client.token(GIT, scene.clock.now())?;
    Ok(())
}

#[test]
fn the_master_key_rotates_while_tokens_are_issued_and_old_copies_need_the_old_key() -> Story {
    let mut scene = scene()?;
    let client = scene.client("client")?;
    let mut tokens = vec![client.token(GIT, scene.clock.now())?];
    let backup = scene.issuer.folder().join("old.backup").display().to_string();
    scene.issuer.run(["backup", &backup])?;
    let old = private_keys(&scene)?;
    let id = scene.issuer.sql("SELECT DISTINCT master FROM keys")?.join(" ");
    let ran = scene.issuer.run(["key", "rotate", "master"])?.says(&["former key", &id])?;
    tokens.push(client.token(GIT, scene.clock.now())?);
    ensure(private_keys(&scene)? == old, "the same keys, wrapped anew", &ran)?;
    let new = scene.issuer.sql("SELECT DISTINCT master FROM keys")?.join(" ");
    ensure(new.starts_with("mk-") && new != id, "another master key", &new)?;
    let event = scene.issuer.sql("SELECT CAST(leaf AS TEXT) FROM events WHERE kind = 'master_key_rotated'")?.join("");
    ensure(event.contains(&id) && event.contains(&new), "its event, with both names", &event)?;
    scene.issuer.stop()?;
    scene.issuer.serve()?;
    tokens.push(client.token(GIT, scene.clock.now())?);
    all_are_written_down(&scene, &tokens)?;
    scene.issuer.stop()?;
    // A copy from before opens with the key from before, which lies beside under its name, and with no other.
    let kept = scene.issuer.folder().join(format!("master.key.{id}"));
    scene.issuer.run(["restore", &backup, "--replace"])?.says_nothing_of(&["signs nothing"])?;
    scene.issuer.serve()?;
    client.token(GIT, scene.clock.now())?;
    scene.issuer.stop()?;
    fs::remove_file(&kept).map_err(Failure::machine("delete the former key"))?;
    scene.issuer.act(["serve"]).run()?.refused(&[&id, &new, "from before a rotation"])?;
    Ok(())
}

/// `key rotate master`, killed at the `nth` call of a thread that changes a file.
fn killed_at(scene: &Scene, nth: usize) -> Result<Ran, Failure> {
    let calls = "fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,pwrite64,write";
    Act::new(Programs::system("strace")?, Who::Server)
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")])
        .args(["-e", &format!("inject={calls}:signal=KILL:when={nth}")])
        .arg(Programs::find()?.built("daypass-issuer"))
        .args(["key", "rotate", "master"])
        .env("DAYPASS_ISSUER_CONFIG", scene.issuer.configuration())
        .within(scene.issuer.folder())
        .run()
}

#[test]
fn a_rotation_that_is_killed_anywhere_is_finished_by_the_next() -> Story {
    let mut scene = scene()?;
    let client = scene.client("client")?;
    scene.issuer.stop()?;
    let keys = private_keys(&scene)?;
    let (mut killed, mut nth) = (0, 1);
    loop {
        let ran = killed_at(&scene, nth)?;
        if ran.code == Some(0) {
            break;
        }
        if ran.code.is_some() {
            return Err(ran.surprise("a death or a good end"));
        }
        killed += 1;
        nth += 1;
        // Whatever moment that was: the store opens.
        scene.issuer.run(["key", "list"])?;
        ensure(nth < 400, "an end of all this", nth)?;
    }
    ensure(killed > 5, "many deaths", killed)?;
    let strays = files(scene.issuer.folder())?.into_iter().map(|(path, _)| path).filter(|path| is_stray(path)).count();
    ensure(strays == 0, "no new key left over", strays)?;
    ensure(private_keys(&scene)? == keys, "the same keys as before", "others")?;
    scene.issuer.serve()?;
    client.token(GIT, scene.clock.now())?;
    Ok(())
}

fn is_stray(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("master.key.next"))
}

#[test]
fn the_master_key_may_be_a_credential_and_rotates_to_one_that_is_provided() -> Story {
    let mut scene = scene()?;
    let client = scene.client("client")?;
    scene.issuer.stop()?;
    let folder = scene.issuer.folder().to_owned();
    let credentials = scene.place.folder("credentials", Who::Server, 0o700)?;
    let file = folder.join("master.key");
    let master = fs::read(&file).map_err(Failure::machine("read the master key"))?;
    fs::remove_file(&file).map_err(Failure::machine("take the file away"))?;
    copy_folder(&scene.place.folder("empty", Who::Server, 0o700)?, &credentials, Who::Server)?;
    let provide = |name: &str, key: &[u8]| {
        let put = scene.issuer.put(name, key)?;
        fs::rename(put, credentials.join(name)).map_err(Failure::machine("provide a credential"))
    };
    provide("daypass-master-key", &master)?;
    let act = |words: &[&str]| scene.issuer.act(words).env("CREDENTIALS_DIRECTORY", &credentials).run();
    act(&["key", "list"])?.succeeded()?;
    act(&["key", "rotate", "master"])?.refused(&["daypass-master-key-next", "systemd-creds"])?.code(4)?;
    provide("daypass-master-key-next", &[9; 32])?;
    act(&["key", "rotate", "master"])?.succeeded()?.says(&["wrapped under", "daypass-master-key"])?;
    // Both are there, and the store says which it needs; then the new one takes the place of the old.
    act(&["key", "list"])?.succeeded()?;
    fs::remove_file(credentials.join("daypass-master-key-next")).map_err(Failure::machine("take it away"))?;
    act(&["key", "list"])?.refused(&["mk-"])?;
    provide("daypass-master-key", &[9; 32])?;
    act(&["key", "list"])?.succeeded()?;
    scene.issuer.put("master.key", [9; 32])?;
    scene.issuer.serve()?;
    client.token(GIT, scene.clock.now())?;
    Ok(())
}

//! Reading the ledger with the issuer's own commands, while it serves.

use std::collections::BTreeMap;

use daypass_proto::encoding::{base64url, from_base64url};
use daypass_tests::{
    Failure, Issuer, Place, Programs, Ran, Ready, Service, SoftwareKeys, Story, Who, ensure, eventually, now,
};
use serde_json::Value;

use crate::software::{GIT, PROJECT};

fn serving(place: &Place) -> Result<Issuer, Failure> {
    let mut issuer = Issuer::init(place, "issuer", &Programs::find()?, None, &[])?;
    issuer.configure("allow_software_keys = false", "allow_software_keys = true")?;
    issuer.write_project("apollo", PROJECT)?;
    issuer.serve()?;
    Ok(issuer)
}

fn claims(token: &str) -> Result<Value, Failure> {
    let claims = token.split('.').nth(1).and_then(from_base64url).unwrap_or_default();
    serde_json::from_slice(&claims).map_err(|error| Failure::unexpected("claims", error))
}

/// JSON with sorted keys and no white space.
fn in_order(value: &Value) -> String {
    match value {
        Value::Object(object) => {
            let by_key: BTreeMap<_, _> = object.iter().collect();
            let members =
                by_key.iter().map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), in_order(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        Value::Array(all) => format!("[{}]", all.iter().map(in_order).collect::<Vec<_>>().join(",")),
        plain => plain.to_string(),
    }
}

fn text(value: &Value, pointer: &str) -> Result<String, Failure> {
    let found = value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    found.ok_or_else(|| Failure::unexpected(format!("a text at {pointer}"), value))
}

fn lines(ran: &Ran) -> Result<Vec<Value>, Failure> {
    let line = |line: &str| serde_json::from_str(line).map_err(|error| Failure::unexpected("a line of JSON", error));
    ran.text().lines().map(line).collect()
}

#[test]
fn a_token_s_event_is_found_by_whom_and_what_it_is_about_and_a_person_no_longer_once_erased() -> Story {
    let place = Place::new()?;
    let issuer = serving(&place)?;
    let client = SoftwareKeys::new(&place, "client", Who::Server)?.register(&issuer, "apollo", "developer")?;
    let device = client.client_id.rsplit('/').next().unwrap_or_default().to_owned();
    let device = device.rsplit(':').next().unwrap_or_default().to_owned();
    let following = issuer.act(["ledger", "tail", "-n", "0", "--follow", "--json", "--kind", "token_issued"]);
    let mut following = Service::new("tail", following, Ready::AtOnce, issuer.folder()).start()?;
    let token = claims(&client.token(GIT, now())?)?;
    let (jti, leaf) = (text(&token, "/jti")?, text(&token, "/daypass/leaf")?);
    following.wait_for_log(&jti)?;
    following.stop()?;

    // By the token's identifier and by the leaf hash that it carries: the same, and proved.
    let shown = eventually("the event under a checkpoint", || {
        let shown = issuer.run(["ledger", "show", &jti, "--json"])?.succeeded()?.json()?;
        Ok((text(&shown, "/inclusion/state")? == "proved").then_some(shown))
    })?;
    ensure(text(&shown, "/leaf_hash")? == leaf && text(&shown, "/kind")? == "token_issued", "its leaf", &shown)?;
    let by_leaf = issuer.run(["ledger", "show", &leaf])?.says(&[&jti, "proved by", "software-client"])?;
    let number = shown["event"].to_string();
    issuer.run(["ledger", "show", &number])?.says(&[&jti])?;
    issuer.act(["ledger", "show", &base64url(&[1; 32])]).run()?.refused(&["no event has", "ledger list"])?.code(3)?;
    // What the token says, its event says: `token_hash` is over the claims without the leaf.
    let mut without = token.clone();
    without["daypass"].as_object_mut().map(|own| own.remove("leaf"));
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, in_order(&without).as_bytes());
    ensure(text(&shown, "/fields/token_hash")? == base64url(hash.as_ref()), "its hash", &by_leaf)?;

    let list = |filters: &[&str]| {
        let ran = issuer.run([&["ledger", "list", "--json"], filters].concat())?.succeeded()?;
        lines(&ran)
    };
    for filters in [
        &["--device", &device, "--kind", "token_issued"][..],
        &["--collaborator", "software-client", "--project", "apollo", "--kind", "token_issued", "--since", "1h"],
    ] {
        let found = list(filters)?;
        let same = found.len() == 1 && found[0]["leaf_hash"] == shown["leaf_hash"];
        ensure(same, "that event alone", Value::from(found))?;
    }
    ensure(list(&["--until", "1h"])?.is_empty(), "nothing of an hour ago", "")?;
    issuer.run(["ledger", "list", "--limit", "3"])?.says(&["EVENT", "issuer_initialised"])?;
    issuer.act(["ledger", "list", "--since", "soon"]).run()?.refused(&["is no moment"])?.code(2)?;

    // A part of it, for somebody who is to see that and no more: it verifies by the root's pin alone.
    let part = issuer.folder().join("part.jsonl").display().to_string();
    let exported = issuer.run(["ledger", "export", "--device", &device, "--out", &part, "--json"])?.json()?;
    ensure(exported["events"].as_u64() >= Some(2), "events of the device", &exported)?;
    issuer.run(["ledger", "verify", "--export", &part])?.says(&["all good"])?;

    // The person goes. The events stay, and tell of nobody.
    issuer.act(["ledger", "erase-person", "software-client", "--yes"]).run()?.refused(&[&device])?.code(3)?;
    issuer.run(["device", "revoke", &device, "--yes"])?.succeeded()?;
    issuer.act(["ledger", "erase-person", "software-client"]).run()?.refused(&["--yes"])?.code(3)?;
    issuer.run(["ledger", "erase-person", "software-client", "--yes"])?.says(&["verifies as before"])?;
    ensure(list(&["--collaborator", "software-client"])?.is_empty(), "nobody of that name", "")?;
    let shown = issuer.run(["ledger", "show", &jti])?.says(&["(erased)", "proved by"])?;
    shown.says_nothing_of(&["software-client"])?;
    issuer.run(["ledger", "compact"])?.says(&["anew"])?;
    issuer.run(["ledger", "verify"])?.says(&["all good"])?;
    client.token(GIT, now()).err().map(drop).ok_or_else(|| Failure::unexpected("a refusal", "a token"))
}

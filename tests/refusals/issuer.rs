//! `daypass-issuer`.

use clap::CommandFactory as _;
use daypass_tests::{Failure, PROJECT, Story, Who, World};

use crate::fields::{Field, Files, Program};

/// What a name that is none is told.
const NAME: &[&str] = &["expected", "shows them", "show them", "invitation list"];
/// What a file that is not there, or is none of its kind, is told.
const FILE: &[&str] = &["could not read", "No such file", "Is a directory", "is not "];
const WHEN: &[&str] = &["IANA", "write a date", "write a time", "not in the future", "at most 100"];
const NO_DAY: &[&str] = &["yesterday", "2027-02-30", "-3d", "99999999999999d", "2027-01-31[Nowhere/Here]"];
const AS_IF: &[&str] = &["--collaborator", "--project", "--role"];
const AT: &[&str] = &["--collaborator", "--project", "--role", "--location"];

const DEVICE: &str = "dev-0000000000000000";
const GRANT: &str = "gr-0000000000000000";

const NEEDED: &[(&str, &[&str])] = &[
    ("invite", &["COLLABORATOR", "--project", "--role", "--until"]),
    ("request narrow", &["--until"]),
    ("policy explain", AS_IF),
    ("notification drop", &["--all"]),
];

const FIELDS: &[Field] = &[
    Field::new("--config", "{missing}", &["could not read", "does not read"]).of(&["check"]).not(&[
        "{missing}",
        "{folder}",
        "{junk}",
    ]),
    // Names.
    Field::new("--collaborator", "alice", NAME).not(&["a:b"]),
    Field::new("COLLABORATOR", "alice", NAME).not(&["a:b"]),
    Field::new("NAME", "alice", NAME).of(&["ledger erase-person"]).not(&["a:b", "nobody"]),
    Field::new("NAME", "front", NAME).of(&["gate add", "gate remove"]).not(&["a b", "-"]),
    Field::new("--project", PROJECT, NAME).not(&["A b", "../x"]),
    Field::new("PROJECT", PROJECT, NAME).not(&["A b", "../x"]),
    Field::new("--role", "reader", NAME).not(&["A b", "../x"]),
    Field::new("--phase", "build", NAME).not(&["A b", "../x"]),
    Field::new("PHASE", "build", NAME).not(&["A b", "../x"]),
    Field::new("--on-behalf-of", "olga@example.com", NAME).with(&["--reason", "--until"]).not(&["a:b"]),
    Field::new("--device", DEVICE, NAME).with(&[]).not(&["dev-1", GRANT]),
    Field::new("DEVICE", DEVICE, NAME).not(&["dev-1", GRANT, DEVICE]),
    Field::new("--replaces", DEVICE, NAME).with(&["--reason"]).not(&["dev-1", DEVICE]),
    Field::new("--grant", GRANT, NAME).with(&[]).not(&["gr-1", DEVICE]),
    Field::new("GRANT", GRANT, NAME).not(&["gr-1", DEVICE, GRANT]),
    Field::new("INVITATION", "inv-0000000000000000", NAME).not(&["inv-1", "inv-0000000000000000"]),
    Field::new("REQUEST", "req-0000000000000000", NAME).not(&["req-1", "req-0000000000000000"]),
    Field::new("PROPOSAL", "prop-0000000000000000", NAME).not(&["prop-1", "prop-0000000000000000"]),
    Field::new("EVENT", "0", &["ledger list", "expected"])
        .of(&["ledger show"])
        .not(&["-1", "1.5", "99999999"])
        .called("no event has that number"),
    Field::new("MESSAGE", "msg_1", &["notification list --dead"]).with(&[]).not(&["msg_1"]),
    // Words of a list.
    Field::new("--state", "approved", NAME).of(&["device list"]).not(&["Approved", "gone"]),
    Field::new("--state", "active", NAME).of(&["grant list"]).not(&["Active", "gone"]),
    Field::new("--state", "open", NAME).of(&["invitation list"]).not(&["Open", "gone"]),
    Field::new("--state", "requested", NAME).of(&["request list"]).not(&["Requested", "gone"]),
    Field::new("--sort", "id", &["possible values"]).not(&["name"]),
    Field::new("--trust-tier", "ek_chain", NAME).not(&["best"]),
    Field::new("--trust-tier", "ek_chain", NAME).of(&["policy explain"]).not(&["best"]),
    Field::new("--kind", "grant_approved", &["docs/ledger.md"]).not(&["no_such_kind"]),
    Field::new("PURPOSE", "token", NAME).not(&["root"]),
    Field::new("SHELL", "bash", &["possible values"]).not(&["tcl"]),
    Field::new("--decision", "issue", NAME).not(&["refuse"]),
    Field::new("--protection", "hardware", NAME).not(&["none"]),
    Field::new("--secure-boot", "true", NAME).not(&["yes"]),
    // Numbers.
    Field::new("--limit", "7", NAME).not(&["0", "-1", "1.5", "100001"]),
    Field::new("--limit", "7", NAME).of(&["ledger list"]).not(&["0", "-1", "18446744073709551616"]),
    Field::new("--lines", "7", NAME).not(&["-1", "4294967296"]),
    Field::new("--after", "7", NAME).not(&["-1", "18446744073709551616"]),
    Field::new("--uses", "7", NAME).not(&["0", "-1", "4294967296"]),
    // Words for others.
    Field::new("--reason", "it is over", &["say it in words"]).not(&[" "]),
    // Times.
    Field::new("--until", "3d", WHEN).not(NO_DAY),
    Field::new("--until", "2030-01-01", WHEN)
        .of(&["ledger list", "ledger tail", "ledger export"])
        .not(&["tomorrow", "2027-02-30"]),
    Field::new("--since", "3d", WHEN).not(&["tomorrow", "2027-02-30"]),
    Field::new("--until", "3d", WHEN).of(&["invite", "admin bootstrap", "device register"]).not(&["2020-01-01"]),
    Field::new("--not-before", "1d", WHEN).not(NO_DAY),
    Field::new("--code-expires", "2d", &["write"]).not(&["soon", "0d", "-1d", "2027-01-01"]),
    Field::new("--at", "2027-01-31T18:00:00Z", NAME).not(&["2027-01-31", "noon"]),
    // Where.
    Field::new("--url", "https://issuer.example.com", &["https origin"]).not(&[
        "http://issuer.example.com",
        "https://h/path",
        "issuer",
    ]),
    Field::new("--mtls-url", "https://issuer.example.com:8444", &["https origin"]).not(&[
        "http://issuer.example.com",
        "https://h/path",
        "issuer",
    ]),
    Field::new("--listen", "127.0.0.1", NAME).not(&["localhost", "127.0.0.1:80", "300.0.0.1"]),
    Field::new("--address", "127.0.0.1", NAME).not(&["localhost", "127.0.0.1:80", "300.0.0.1"]),
    Field::new("--from-network", "192.0.2.0/24", &["write"]).not(&["192.0.2.1/24", "192.0.2.0/33", "here"]),
    Field::new("--resource", "https://git.example.com/", &["expected", "https"]).of(&["gate add"]).not(&[
        "http://git.example.com/",
        "git.example.com",
        "https://h/x?y",
    ]),
    Field::new("--resource", "https://git.example.com/", &["expected", "https"])
        .not(&["http://git.example.com/", "git.example.com"]),
    Field::new("--location", "https://git.example.com/team/app", &["expected", "https"])
        .not(&["http://git.example.com/x", "team/app"]),
    Field::new("--action", "read", &["expected", "one of"]).with(AT).not(&["write", "GET"]),
    Field::new("--ref", "refs/heads/main", &["refs/"])
        .with(&["--collaborator", "--project", "--role", "--location", "--action=push"])
        .not(&["main", "refs/heads/../x"]),
    Field::new("--path", "/v1/**", &["begin with `/`", "expected"])
        .with(&["--collaborator", "--project", "--role", "--location=https://api.example.com/"])
        .not(&["v1", "/../x"]),
    // What machines say.
    Field::new("--os", "Debian 12", &["plain words"]),
    Field::new("--agent-version", "1.2.3", &["plain words"]),
    Field::new("--pcr", "7=0000000000000000000000000000000000000000000000000000000000000000", NAME)
        .not(&["7", "24=00", "7=zz"]),
    Field::new("--ek-hash", "0000000000000000000000000000000000000000000000000000000000000000", NAME)
        .not(&["00", "zz"]),
    Field::new("--code", "AAAA-AAAA", &["say it in words"]),
    Field::new("--proof-key", "{junk}", &["JWK", "could not read"]).not(&[
        "{missing}",
        "{folder}",
        "{junk}",
        "{}",
        "{\"kty\":\"RSA\"}",
    ]),
    // Files.
    Field::new("--csr", "{junk}", FILE).not(&["{missing}", "{folder}", "{junk}"]),
    Field::new("--state-dir", "{folder}", &["could not make", "No such"])
        .with(&["--url", "--config={folder}/new.toml"])
        .not(&["{missing}", "{junk}"]),
    Field::new("--ca", "{junk}", FILE).not(&["{missing}", "{folder}", "{junk}"]),
    Field::new("FILE", "{folder}/backup", &["could not", "exists"]).of(&["backup"]).not(&[
        "{missing}/x",
        "{folder}",
        "{junk}",
    ]),
    Field::new("FILE", "{junk}", &["could not", "is no", "is not"]).of(&["restore"]).not(&[
        "{missing}",
        "{folder}",
        "{junk}",
    ]),
    Field::new("FILE", "{junk}", FILE).of(&["ek check"]).not(&["{missing}", "{folder}", "{junk}"]),
    Field::new("--checkpoint", "{junk}", FILE).of(&["restore"]).not(&["{missing}"]),
    Field::new("--checkpoint", "{junk}", FILE).of(&["ledger verify"]).not(&["{missing}", "{folder}", "{junk}"]),
    Field::new("--database", "{junk}", &["could not", "is not", "no such"]).not(&["{missing}", "{folder}", "{junk}"]),
    Field::new("--export", "{junk}", &["could not", "is not", "line 1"]).called("of the export").not(&[
        "{missing}",
        "{folder}",
        "{junk}",
    ]),
    Field::new("--key", "{junk}", FILE).not(&["{missing}", "{folder}", "{junk}"]),
    Field::new("--pin", "0000000000000000000000000000000000000000000000000000000000000000", NAME).not(&["00", "zz"]),
    Field::new("--out", "{folder}/out", &["could not make"]).not(&["{missing}/x", "{folder}", "{junk}"]),
    Field::new("FOLDER", "{folder}", &["could not be read"]).not(&["{missing}", "{junk}"]),
    Field::new("OLD", "in-force", &["policy list", "could not read"]).not(&["{missing}", "zzzz"]),
    Field::new("NEW", "in-force", &["policy list", "could not read"]).not(&["{missing}", "zzzz"]),
    Field::new("--policy", "in-force", &["policy list", "could not read"]).not(&["{missing}", "zzzz"]),
];

#[test]
fn every_argument_of_the_issuer_refuses_what_it_does_not_take() -> Story {
    let world = World::with_software_keys(false)?;
    let text = std::fs::read_to_string(world.issuer.project(PROJECT)).map_err(Failure::machine("read a project"))?;
    let phase = "[phases.build]\nends = \"2099-12-31[Europe/Berlin]\"\n\n[roles.developer]";
    world.issuer.write_project(PROJECT, &text.replace("[roles.developer]", phase))?;
    let files = Files::make(&world.place, Who::Server)?;
    let run = |_: &str, line: &[String]| world.issuer.act(line);
    let command = daypass_issuer::commands::Cli::command();
    Program { command, fields: FIELDS, needed: NEEDED, files: &files, run: &run }.refuses()
}

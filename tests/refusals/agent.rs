//! `daypass`. What the agent and the issuer judge, they judge here: one machine is an administrator's, one an owner's.

use clap::CommandFactory as _;
use daypass_tests::{Act, Failure, Issuer, Machine, OWNER, PROJECT, Ran, Story, Who, World, ensure};

use crate::fields::{Field, Files, Program, asking};

/// What a name that is none is told.
const NAME: &[&str] = &["expected", "there is no"];
const ISSUER: &[&str] = &["as `daypass status` shows it"];
const WORDS: &[&str] = &["say it in words"];
const WHEN: &[&str] = &["IANA", "write a date", "write a time", "at most 100"];
const NO_DAY: &[&str] = &["yesterday", "2027-02-30", "-3d", "99999999999999d", "2027-01-31[Nowhere/Here]"];

const DEVICE: &str = "dev-0000000000000000";
const GRANT: &str = "gr-0000000000000000";

const NEEDED: &[(&str, &[&str])] = &[
    ("enroll", &["--wait"]),
    ("proof", &["METHOD", "URL"]),
    ("inspector", &["--asker", "--listen"]),
    ("admin invite", &["COLLABORATOR", "--project", "--role", "--until"]),
    ("admin request narrow", &["--until"]),
    ("admin notification drop", &["--all"]),
];

const FIELDS: &[Field] = &[
    // Files.
    Field::new("--socket", "{missing}", &["next step"]).of(&["status"]).not(&["{missing}", "{folder}", "{junk}"]),
    Field::new("--config", "{missing}", &["could not", "does not read"]).of(&["agent"]).not(&[
        "{missing}",
        "{folder}",
        "{junk}",
    ]),
    Field::new("--out", "{folder}", &["name a folder"]).not(&["{junk}", "{junk}/x"]),
    Field::new("--listen", "{missing}/x", &["name a free path"])
        .not(&["{missing}/x", "{junk}"])
        .called("the inspector's socket"),
    Field::new("FOLDER", "{folder}", &["could not", "no policy"]).of(&["admin policy load"]).not(&[
        "{missing}",
        "{junk}",
        "{folder}",
    ]),
    // Names.
    Field::new("--asker", "root", &["name the user"]).not(&["nobody-at-all"]),
    Field::new("--issuer", "{issuer}", ISSUER).not(&["http://issuer.example.com", "issuer", "https://h/x?y"]),
    Field::new("--issuer", "{issuer}", ISSUER).of(&["admin gate list"]).not(&["http://issuer.example.com", "issuer"]),
    Field::new("INVITATION", "-", &["begins with", "copy the whole"])
        .of(&["enroll"])
        .with(&[])
        .not(&["nonsense", "dpinv1_short", "dpgate1_x"])
        .called("invitation"),
    Field::new("GRANT|PROJECT", PROJECT, &["daypass status", "next step"]).not(&["no-such-project", GRANT]),
    Field::new("GRANT", GRANT, NAME).not(&["gr-1", DEVICE]),
    Field::new("DEVICE", DEVICE, NAME).not(&["dev-1", GRANT]),
    Field::new("DEVICE", DEVICE, &["daypass device list"]).of(&["device lost"]).not(&["no-such-device", DEVICE]),
    Field::new("REQUEST", "req-0000000000000000", NAME).not(&["req-1"]),
    Field::new("--withdraw", "req-0000000000000000", &["expected", "`daypass requests` shows"])
        .not(&["req-1", "req-0000000000000000"]),
    Field::new("--project", PROJECT, NAME).not(&["A b", "../x"]),
    Field::new("PROJECT", PROJECT, NAME).not(&["A b", "../x"]),
    Field::new("--role", "reader", NAME).not(&["A b", "../x"]),
    Field::new("--phase", "build", NAME).not(&["A b", "../x"]),
    Field::new("PHASE", "build", NAME).not(&["A b", "../x"]),
    Field::new("--collaborator", "alice", NAME).not(&["a:b"]),
    Field::new("COLLABORATOR", "alice", NAME).not(&["a:b"]),
    Field::new("--replaces", DEVICE, &["expected", "list them", "no device"])
        .with(&["--reason"])
        .not(&["dev-1", GRANT]),
    Field::new("--device", DEVICE, NAME).not(&["dev-1", GRANT]),
    Field::new("INVITATION", "inv-0000000000000000", NAME).not(&["inv-1"]),
    Field::new("PROPOSAL", "prop-0000000000000000", NAME).not(&["prop-1"]),
    Field::new("GATE", "gate", NAME).not(&["a b"]),
    Field::new("MESSAGE", "msg_1", &["not tried any more", "notification"])
        .with(&["--yes"])
        .not(&["msg_1"])
        .called("notification"),
    // Words of a list.
    Field::new("SHELL", "bash", &["possible values"]).not(&["tcl"]),
    Field::new("--protection", "hardware", &["possible values"]).not(&["none"]),
    Field::new("--sort", "id", &["possible values"]).not(&["name"]),
    Field::new("--state", "approved", &["expected", "one of"]).of(&["admin device list"]).not(&["gone"]),
    Field::new("--state", "open", &["expected", "one of"]).of(&["admin invitation list"]).not(&["gone"]),
    Field::new("--state", "requested", &["expected", "one of"]).not(&["gone"]),
    Field::new("--kind", "grant_approved", &["docs/ledger.md"]).not(&["no_such_kind"]),
    Field::new("--trust-tier", "ek_chain", NAME).not(&["best"]),
    // Numbers.
    Field::new("--min-ttl", "60", NAME).not(&["-1", "86401", "1.5"]),
    Field::new("--limit", "7", NAME).not(&["0", "-1", "1001"]),
    Field::new("--after", "7", NAME).not(&["-1", "18446744073709551616"]),
    Field::new("--uses", "7", NAME).not(&["0", "-1", "4294967296"]),
    // Words for others.
    Field::new("--reason", "it is over", WORDS).not(&[" "]),
    Field::new("--code", "AAAA-AAAA", WORDS),
    // Times.
    Field::new("--until", "3d", WHEN).not(NO_DAY).called("Nowhere/Here"),
    Field::new("--until", "3d", WHEN).of(&["admin request narrow"]),
    Field::new("--until", "2030-01-01", WHEN).of(&["admin ledger list"]).not(&["tomorrow", "2027-02-30"]),
    Field::new("--since", "3d", WHEN).not(&["tomorrow", "2027-02-30"]),
    Field::new("--for", "3d", &["write"]).not(&["soon", "-3d", "2027-02-30"]),
    Field::new("--not-before", "1d", WHEN).not(NO_DAY).called("not_before"),
    Field::new("--code-expires", "2d", &["write"]).not(&["soon", "0d", "-1d", "2027-01-01"]),
    // Where.
    Field::new("RESOURCE", "https://git.example.com/", &["https"]).not(&[
        "http://git.example.com/",
        "git.example.com",
        "https://h/x",
    ]),
    Field::new("--details", "[]", &["write it like"]).not(&["x", "{}", "[{\"type\":\"root\"}]"]),
    Field::new("METHOD", "GET", &["GET"]).not(&["G T", "get:"]),
    Field::new("URL", "https://git.example.com/x", &["https"]).not(&["http://git.example.com/x", "git.example.com"]),
    Field::new("--nonce", "n", WORDS),
    Field::new("--from-network", "192.0.2.0/24", &["write"]).not(&["192.0.2.1/24", "192.0.2.0/33", "here"]),
];

/// What administrators ask; the rest is an owner's.
const ADMINISTRATORS: [&str; 6] =
    ["admin policy", "admin gate", "admin notification", "admin administrator", "admin offboard", "admin ledger"];

fn lets_on(issuer: &Issuer, machine: &Machine, code: &str, who: &str) -> Story {
    machine.enrol(code)?;
    issuer.run(["device", "approve", &issuer.device_of(who)?, "--yes"]).map(drop)
}

/// The commands that ask first, and what they are given here; of the others a story tells.
const ASKING: &[(&str, Asked)] = &[
    ("briefing accept", Asked::Elsewhere), // `briefing`
    ("device lost", Asked::Elsewhere),     // `notices`
    ("setup git", Asked::Elsewhere),       // `git`
    ("ledger accept", Asked::Elsewhere),   // `ledger`
    ("leave", Asked::Here(&[])),
    ("admin device approve", Asked::Elsewhere), // `administration`
    ("admin invite", Asked::Elsewhere),         // `replacement`
    ("admin device revoke", Asked::Here(&["{device}"])),
    ("admin grant revoke", Asked::Here(&["{grant}"])),
    ("admin invitation withdraw", Asked::Here(&["{invitation}"])),
    ("admin offboard", Asked::Here(&["bob", "--reason=left"])),
    ("admin project end", Asked::Here(&[PROJECT, "--reason=over"])),
    ("admin phase end", Asked::Elsewhere),      // `administering`
    ("admin policy confirm", Asked::Elsewhere), // `proposals`
    ("admin gate remove", Asked::Here(&["gate"])),
    ("admin notification drop", Asked::Here(&["--all"])),
];

/// Where it is tried that a command asks.
enum Asked {
    /// Here, with these arguments.
    Here(&'static [&'static str]),
    /// In the story of what it needs.
    Elsewhere,
}

#[test]
fn what_ends_something_is_not_done_where_nobody_can_say_yes() -> Story {
    let world = World::start()?;
    let issuer = &world.issuer;
    let text = |ran: &Ran, at: &str| -> Result<String, Failure> {
        let json = ran.json()?;
        Ok(json.pointer(at).and_then(|text| text.as_str()).unwrap_or_default().to_owned())
    };
    let made = issuer.run(["admin", "bootstrap", "ada", "--json"])?;
    let desk = Machine::start(&world, "desk", Who::Alice)?;
    lets_on(issuer, &desk, &text(&made, "/code")?, "ada")?;
    let office = Machine::start(&world, "office", Who::Bob)?;
    lets_on(issuer, &office, &issuer.invite(OWNER, PROJECT, "owner", &[])?, OWNER)?;
    issuer.invite("bob", PROJECT, "reader", &[])?;
    let of_bob = issuer.run(["invitation", "list", "--collaborator", "bob", "--json"])?;
    let (invitation, grant) = (text(&of_bob, "/0/invitation")?, text(&of_bob, "/0/grant")?);
    let device = issuer.device_of(OWNER)?;

    let mut here = asking(&daypass_agent::cli::Arguments::command());
    here.sort();
    let mut told: Vec<_> = ASKING.iter().map(|(path, _)| (*path).to_owned()).collect();
    told.sort();
    ensure(here == told, format!("{told:?}"), format!("{here:?}"))?;
    // Whatever is decided is an event; tokens and refusals are no decisions of theirs.
    let decided = || {
        issuer.sql("SELECT kind || ' ' || count(*) FROM events WHERE kind <> 'token_issued' AND kind NOT LIKE '%refused' GROUP BY kind ORDER BY kind")
    };
    let before = decided()?;
    for (path, asked) in ASKING {
        let Asked::Here(more) = asked else { continue };
        let machine = if ADMINISTRATORS.iter().chain(&["admin device"]).any(|asked| path.starts_with(asked)) {
            &desk
        } else {
            &office
        };
        let fill = |word: &&str| {
            word.replace("{device}", &device).replace("{grant}", &grant).replace("{invitation}", &invitation)
        };
        let act = machine.daypass(path.split(' ')).args(more.iter().map(fill));
        // Programs are told the same.
        act.clone().run()?.code(2)?.says(&["--yes"])?;
        act.arg("--json").run()?.code(2)?.says(&["\"error\": \"unconfirmed\"", "--yes"])?;
    }
    let after = decided()?;
    ensure(after == before, "no decision", format!("{before:?} {after:?}"))
}

#[test]
fn every_argument_of_the_agent_refuses_what_it_does_not_take() -> Story {
    let world = World::start()?;
    let issuer = &world.issuer;
    let made = issuer.run(["admin", "bootstrap", "ada", "--json"])?.json()?;
    let code = made.pointer("/code").and_then(|code| code.as_str()).unwrap_or_default();
    let desk = Machine::start(&world, "desk", Who::Alice)?;
    lets_on(issuer, &desk, code, "ada")?;
    let office = Machine::start(&world, "office", Who::Bob)?;
    lets_on(issuer, &office, &issuer.invite(OWNER, PROJECT, "owner", &[])?, OWNER)?;
    let files = Files::make(&world.place, Who::Myself)?.with_issuer(&issuer.url());
    let run = |path: &str, line: &[String]| -> Act {
        let asked = if ADMINISTRATORS.iter().any(|asked| path.starts_with(asked)) { &desk } else { &office };
        asked.daypass(line)
    };
    let command = daypass_agent::cli::Arguments::command();
    Program { command, fields: FIELDS, needed: NEEDED, files: &files, run: &run }.refuses()?;

    // Nobody was invited, asked or ended by what was refused.
    let left = office.daypass(["admin", "grant", "list", "--json"]).run()?.succeeded()?.json()?;
    let left = left.pointer("/items").and_then(|items| items.as_array()).map_or(0, Vec::len);
    ensure(left == 1, "the owner's grant alone", left)
}

//! Pushes that say one thing to the gate and another to git: whatever is not plainly a command list refuses the whole push, and the
//! git server hears nothing of it.

use daypass_tests::{Act, Failure, Programs, REPOSITORY, Story, Who, World, ensure};

const ZERO: &str = "0000000000000000000000000000000000000000";
const OTHER: &str = "2222222222222222222222222222222222222222";
/// A pack without objects, and its checksum.
const EMPTY_PACK: [u8; 32] = [
    b'P', b'A', b'C', b'K', 0, 0, 0, 2, 0, 0, 0, 0, 0x02, 0x9d, 0x08, 0x82, 0x3b, 0xd8, 0xa8, 0xea, 0xb5, 0x10, 0xad,
    0x6a, 0xc7, 0x5c, 0x82, 0x3c, 0xfd, 0x3e, 0xd3, 0x1e,
];

struct Scene {
    world: World,
    push: String,
    main: String,
}

fn scene() -> Result<Scene, Failure> {
    let world = World::with_software_keys(false)?;
    let client = world.software_client("client", "developer")?;
    let push = world.presentation(&client, REPOSITORY, "git-receive-pack")?;
    let refs = world.upstream.refs(REPOSITORY)?;
    let main = refs.lines().find_map(|line| line.strip_prefix("refs/heads/main ")).unwrap_or_default().to_owned();
    Ok(Scene { world, push, main })
}

fn packet(line: &[u8]) -> Vec<u8> {
    [format!("{:04x}", line.len() + 4).as_bytes(), line].concat()
}

fn list(lines: &[&[u8]]) -> Vec<u8> {
    lines.iter().flat_map(|line| packet(line)).chain(*b"0000").collect()
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>, Failure> {
    Ok(Act::new(Programs::system("gzip")?, Who::Server).args(["-1", "-c"]).input(bytes).run()?.succeeded()?.stdout)
}

impl Scene {
    fn post(&self, service: &str, lines: &str, body: &[u8]) -> Result<(Vec<u16>, String), Failure> {
        let head = format!(
            "POST /team/app.git/{service} HTTP/1.1\r\nHost: {}\r\nAuthorization: Daypass {}\r\nContent-Type: application/x-{service}-request\r\nConnection: close\r\nContent-Length: {}\r\n{lines}\r\n",
            self.world.gate.address(),
            self.push,
            body.len(),
        );
        self.world.raw()?.exchange(&[head.as_bytes(), body].concat())
    }

    fn pushes(&self, lines: &str, body: &[u8]) -> Result<(Vec<u16>, String), Failure> {
        self.post("git-receive-pack", lines, body)
    }

    /// Goes on only if this push is refused with 400 and those words, and the git server hears nothing of it.
    fn refused(&self, name: &str, lines: &str, body: &[u8], words: &str) -> Story {
        let (statuses, text) = self.pushes(lines, body)?;
        ensure(statuses == [400] && text.contains(words), format!("{name}: 400 and `{words}`"), text)?;
        self.world.upstream.heard_nothing()
    }

    /// A command that is granted: a new branch at what `main` is.
    fn create(&self, branch: &str) -> String {
        format!("{ZERO} {} refs/heads/software-client/{branch}", self.main)
    }

    /// Nothing is wrong with credential, client and server: the same bytes without a trick make a branch.
    fn still_good(&self) -> Story {
        let command = format!("{}\0report-status", self.create("good"));
        let (statuses, text) = self.pushes("", &[list(&[command.as_bytes()]), EMPTY_PACK.to_vec()].concat())?;
        ensure(statuses == [200] && text.contains("ok refs/heads/software-client/good"), "a new branch", text)?;
        let refs = self.world.upstream.refs(REPOSITORY)?;
        ensure(refs.contains("refs/heads/software-client/good"), "the branch at the server", refs)
    }
}

#[test]
fn a_command_list_that_is_not_plain_refuses_the_whole_push() -> Story {
    let scene = scene()?;
    let good = scene.create("good");
    let main = &scene.main;
    let with = |line: &str| vec![line.as_bytes().to_vec()];
    let behind = |line: &[u8]| vec![good.as_bytes().to_vec(), line.to_vec()];
    let on = |reference: &str| with(&format!("{ZERO} {main} {reference}"));
    let (command, shallow, reference, twice) =
        ("not a command", "not a command", "a ref that git does not allow", "one ref twice");
    let long = "2".repeat(64);
    let cases: Vec<(&str, Vec<Vec<u8>>, &str)> = vec![
        ("a line feed and a second command", with(&format!("{good}\n{ZERO} {main} refs/heads/main")), reference),
        ("a line feed in the middle", with(&good.replacen(' ', "\n", 1)), command),
        ("two line feeds at the end", with(&format!("{good}\n\n")), reference),
        ("a carriage return", with(&format!("{good}\r\n")), reference),
        ("a NUL in the ref", with(&format!("{ZERO} {main} refs/heads/soft\0ware")), "NOTHING"),
        ("a second NUL", with(&format!("{good}\0report-status\0{ZERO} {main} refs/heads/main")), command),
        (
            "a line feed in the capabilities",
            with(&format!("{good}\0report-status\n{ZERO} {main} refs/heads/main")),
            command,
        ),
        ("capabilities that are no text", vec![[good.as_bytes(), b"\0\xff"].concat()], command),
        (
            "a NUL in the second command",
            behind(format!("{ZERO} {main} refs/heads/software-client/b\0atomic").as_bytes()),
            command,
        ),
        (
            "a NUL at the end of the second command",
            behind(format!("{ZERO} {main} refs/heads/software-client/b\0").as_bytes()),
            command,
        ),
        ("push options", with(&format!("{good}\0report-status push-options")), "push options"),
        ("push options alone", with(&format!("{good}\0push-options")), "push options"),
        ("a push certificate", with("push-cert\0report-status"), "signed pushes"),
        ("a push certificate behind a command", behind(b"push-cert"), "signed pushes"),
        ("the end of a push certificate", with("push-cert-end"), "signed pushes"),
        ("no ref", with(&format!("{ZERO} {main}")), command),
        ("an empty ref", with(&format!("{ZERO} {main} ")), reference),
        ("two spaces", with(&format!("{ZERO} {main}  refs/heads/software-client/a")), reference),
        ("a space in front", with(&format!(" {good}")), command),
        ("a tab", with(&good.replace(' ', "\t")), command),
        ("nothing becomes nothing", with(&format!("{ZERO} {ZERO} refs/heads/software-client/a")), command),
        ("a short object", with(&format!("{ZERO} {} refs/heads/software-client/a", &main[..39])), command),
        ("a long object", with(&format!("{ZERO} {main}0 refs/heads/software-client/a")), command),
        ("an object in capitals", with(&format!("{ZERO} {} refs/heads/software-client/a", "A".repeat(40))), command),
        ("an object that is a name", with(&format!("{ZERO} HEAD refs/heads/software-client/a")), command),
        ("two formats in one command", with(&format!("{ZERO} {long} refs/heads/software-client/a")), command),
        (
            "SHA-256 without a word",
            with(&format!("{} {long} refs/heads/software-client/a", "0".repeat(64))),
            "object-format",
        ),
        (
            "SHA-256 in the second command",
            behind(format!("{} {long} refs/heads/software-client/b", "0".repeat(64)).as_bytes()),
            "object-format",
        ),
        ("SHA-1 that says SHA-256", with(&format!("{good}\0object-format=sha256")), "object-format"),
        ("two formats declared", with(&format!("{good}\0object-format=sha1 object-format=sha256")), "object-format"),
        ("not below refs", on("heads/main"), reference),
        ("HEAD", on("HEAD"), reference),
        ("refs itself", on("refs"), reference),
        ("refs and a slash", on("refs/"), reference),
        ("another case of refs", on("REFS/heads/software-client/a"), reference),
        ("a slash in front", on("/refs/heads/software-client/a"), reference),
        ("dots", on("refs/heads/software-client/../main"), reference),
        ("two dots", on("refs/heads/software-client/a..b"), reference),
        ("a hidden component", on("refs/heads/software-client/.a"), reference),
        ("an empty component", on("refs/heads//main"), reference),
        ("a slash behind", on("refs/heads/software-client/"), reference),
        ("a dot behind", on("refs/heads/software-client/a."), reference),
        ("a lock", on("refs/heads/software-client/a.lock"), reference),
        ("a lock as a folder", on("refs/heads/software-client.lock/a"), reference),
        ("a wildcard", on("refs/heads/software-client/*"), reference),
        ("a question mark", on("refs/heads/software-client/?"), reference),
        ("a bracket", on("refs/heads/software-client/[a]"), reference),
        ("a caret", on("refs/heads/software-client/a^1"), reference),
        ("a tilde", on("refs/heads/software-client/a~1"), reference),
        ("a colon", on("refs/heads/software-client/a:refs/heads/main"), reference),
        ("a backslash", on("refs/heads/software-client\\a"), reference),
        ("a reflog", on("refs/heads/software-client/@{1}"), reference),
        ("a control character", on("refs/heads/software-client/a\x7f"), reference),
        ("bytes that are no text", vec![[good.as_bytes(), b"\xff"].concat()], reference),
        ("a name without end", on(&format!("refs/heads/software-client/{}", "a".repeat(1024))), reference),
        ("one ref twice", behind(good.as_bytes()), twice),
        (
            "one ref twice, differently",
            behind(format!("{main} {ZERO} refs/heads/software-client/good").as_bytes()),
            twice,
        ),
        ("shallow without an object", with("shallow "), shallow),
        ("shallow of a name", with("shallow HEAD"), shallow),
        ("shallow of a short object", with(&format!("shallow {}", &main[..39])), shallow),
        ("shallow and more", with(&format!("shallow {main} refs/heads/main")), shallow),
        ("shallow with a NUL", with(&format!("shallow {main}\0report-status")), shallow),
        ("shallow with a line feed", with(&format!("shallow {main}\n{ZERO} {main} refs/heads/main")), shallow),
        ("shallow behind a command", behind(format!("shallow {main}").as_bytes()), shallow),
        (
            "shallow of another format",
            vec![format!("shallow {long}").into_bytes(), good.clone().into_bytes()],
            "object-format",
        ),
        ("shallow alone", with(&format!("shallow {main}")), "no commands"),
        ("unshallow", with(&format!("unshallow {main}")), command),
    ];
    for (name, lines, words) in cases {
        let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
        let body = [list(&lines), EMPTY_PACK.to_vec()].concat();
        if words == "NOTHING" {
            // A NUL ends the ref; what stands behind it are capabilities, of which the gate knows none: `refs/heads/soft` is not granted.
            let (statuses, text) = scene.pushes("", &body)?;
            ensure(statuses == [403] && text.contains("refs/heads/soft`"), format!("{name}: 403"), text)?;
            scene.world.upstream.heard_nothing()?;
        } else {
            scene.refused(name, "", &body, words)?;
        }
    }
    scene.still_good()
}

#[test]
fn packets_that_lie_about_their_length_refuse_the_push() -> Story {
    let scene = scene()?;
    let good = packet(format!("{}\0report-status", scene.create("good")).as_bytes());
    let (form, end) = ("a list of pkt-lines", "ended before its command list did");
    for (name, body, words) in [
        ("no flush", good.clone(), end),
        ("no flush, but a pack", [&good[..], &EMPTY_PACK].concat(), form),
        ("half a flush", [&good[..], b"00"].concat(), end),
        ("nothing", Vec::new(), end),
        ("half a packet", good[..good.len() - 1].to_vec(), end),
        ("a delimiter", [&good[..], b"0001"].concat(), form),
        ("an end of answer", [&good[..], b"0002"].concat(), form),
        ("a length of three", [&good[..], b"0003"].concat(), form),
        ("an empty packet", [b"0004", &good[..], b"0000"].concat(), form),
        ("a signed length", [&good[..], b"+005x0000"].concat(), form),
        ("a length with a space", [&good[..], b" 005x0000"].concat(), form),
        ("a prefixed length", [&good[..], b"0x05x0000"].concat(), form),
        ("a packet longer than any", [&good[..], b"fff1"].concat(), form),
        ("the longest length", [&good[..], b"ffff"].concat(), form),
        (
            "a ref as long as a packet",
            packet(&[scene.create("").as_bytes(), &vec![b'a'; 60_000]].concat()),
            "a ref that git does not allow",
        ),
        ("a pack at once", EMPTY_PACK.to_vec(), form),
        ("a pack behind nothing", [b"0000", &EMPTY_PACK[..]].concat(), "goes on behind them"),
        ("a command behind nothing", [b"0000", &good[..], b"0000"].concat(), "goes on behind them"),
        ("a question in version 2", list(&[b"command=ls-refs"]), "not a command"),
    ] {
        scene.refused(name, "", &body, words)?;
    }
    let many: Vec<u8> =
        (0..4097).flat_map(|n| packet(scene.create(&n.to_string()).as_bytes())).chain(*b"0000").collect();
    scene.refused("more commands than are served", "", &many, "more than 4096 commands")?;
    let many: Vec<u8> = (0..4097).flat_map(|_| packet(format!("shallow {}", scene.main).as_bytes())).collect();
    scene.refused("more shallow lines than are served", "", &many, "more than 4096 commands")?;
    // git's own question before a large push is answered here.
    let (statuses, text) = scene.pushes("", b"0000")?;
    ensure(statuses == [200], "an answer to a probe", text)?;
    scene.world.upstream.heard_nothing()?;
    scene.still_good()
}

#[test]
fn one_ref_that_is_not_granted_refuses_them_all() -> Story {
    let scene = scene()?;
    let main = &scene.main;
    for (name, command) in [
        ("an update of main", format!("{main} {OTHER} refs/heads/main")),
        ("a deletion of main", format!("{main} {ZERO} refs/heads/main")),
        ("a note", format!("{ZERO} {main} refs/notes/commits")),
        ("a replacement", format!("{ZERO} {main} refs/replace/{main}")),
        ("a hidden namespace", format!("{ZERO} {main} refs/namespaces/x/refs/heads/main")),
        ("the folder itself", format!("{ZERO} {main} refs/heads/software-client")),
        ("another case of the folder", format!("{ZERO} {main} refs/heads/Software-Client/a")),
        ("a longer name of the folder", format!("{ZERO} {main} refs/heads/software-client2/a")),
        ("a tag", format!("{ZERO} {main} refs/tags/v1")),
    ] {
        let first = format!("{}\0report-status", scene.create("good"));
        for lines in [
            [first.as_bytes(), command.as_bytes()],
            [format!("{command}\0report-status").as_bytes(), scene.create("good").as_bytes()],
        ] {
            let (statuses, text) = scene.pushes("", &[list(&lines), EMPTY_PACK.to_vec()].concat())?;
            let said = text.contains("not granted") && text.contains("ng refs/heads/software-client/good not updated");
            ensure(statuses == [200] && said, format!("{name}: refused by name"), text)?;
            scene.world.upstream.heard_nothing()?;
        }
    }
    scene.still_good()
}

#[test]
fn gzip_is_one_whole_member() -> Story {
    let scene = scene()?;
    let coding = "Content-Encoding: gzip\r\n";
    let good = format!("{}\0report-status", scene.create("zipped"));
    let plain = [list(&[good.as_bytes()]), EMPTY_PACK.to_vec()].concat();
    let zipped = gzip(&plain)?;
    let head = gzip(&list(&[good.as_bytes()])[..60])?;
    for (name, body) in [
        ("nothing", Vec::new()),
        ("half a header", zipped[..5].to_vec()),
        ("a command list that is cut", zipped[..40].to_vec()),
        ("half a command list in a whole member", head),
        ("not compressed", plain.clone()),
        ("garbage", vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xff, 0xff, 0xff]),
        ("another coding inside", gzip(&zipped)?),
    ] {
        let (statuses, text) = scene.pushes(coding, &body)?;
        ensure(statuses == [400], format!("{name}: 400"), text)?;
        scene.world.upstream.heard_nothing()?;
    }
    // What goes wrong behind a good command list goes wrong while the push is under way: the server never sees its end.
    for (name, body) in [
        ("a trailer that is cut", zipped[..zipped.len() - 1].to_vec()),
        ("a wrong checksum", {
            let mut wrong = zipped.clone();
            let at = wrong.len() - 8;
            wrong[at] ^= 1;
            wrong
        }),
        ("garbage behind it", [&zipped[..], b"garbage"].concat()),
        ("a second member", [&zipped[..], &zipped].concat()),
    ] {
        let (statuses, text) = scene.pushes(coding, &body)?;
        ensure(statuses == [400], format!("{name}: 400"), text)?;
        let refs = scene.world.upstream.refs(REPOSITORY)?;
        ensure(!refs.contains("zipped"), format!("{name}: no branch"), refs)?;
    }
    let (statuses, text) = scene.pushes(coding, &zipped)?;
    ensure(statuses == [200] && text.contains("ok refs/heads/software-client/zipped"), "a push in gzip", text)?;
    let seen = scene.world.upstream.requests()?;
    ensure(seen.iter().all(|line| !line.contains("gzip")), "no coding at the server", format!("{seen:?}"))
}

#[test]
fn a_bomb_costs_little() -> Story {
    let scene = scene()?;
    // 256 MiB in a quarter of one: as a push, whose first bytes are no packet; and as one whose command list is good.
    let zeros = vec![0; 256 << 20];
    let bomb = gzip(&zeros)?;
    let good = list(&[format!("{}\0report-status", scene.create("bomb")).as_bytes()]);
    let armed = gzip(&[&good[..], &zeros].concat())?;
    drop(zeros);
    let gate = scene.world.gate.process();
    let (Some(before), Some(busy)) = (gate.and_then(|gate| gate.peak_kib()), gate.and_then(|gate| gate.busy())) else {
        return Err(Failure::unexpected("a running gate", "none"));
    };
    scene.refused("a bomb", "Content-Encoding: gzip\r\n", &bomb, "a list of pkt-lines")?;
    let (statuses, text) = scene.pushes("Content-Encoding: gzip\r\n", &armed)?;
    ensure(statuses != [200] || !text.contains("ok refs/"), "no push", text)?;
    let refs = scene.world.upstream.refs(REPOSITORY)?;
    ensure(!refs.contains("bomb"), "no branch", refs)?;
    let peak = gate.and_then(|gate| gate.peak_kib()).unwrap_or(u64::MAX);
    ensure(peak < before + 32 * 1024, "at most 32 MiB more", format!("{before} KiB before, {peak} KiB then"))?;
    // Inflating all of both would take several times as long as what is read before the limit.
    let spent = gate.and_then(|gate| gate.busy()).unwrap_or_default().saturating_sub(busy);
    ensure(spent.as_secs() < 10, "a processor busy for less than 10 s", format!("{spent:?}"))?;
    scene.still_good()
}

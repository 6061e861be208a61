//! Requests that mean one thing to one server and another to the next, as bytes on the wire: none of them reaches the git server.

use std::{os::unix::fs::PermissionsExt as _, os::unix::net::UnixListener};

use daypass_tests::{Failure, REPOSITORY, Raw, Story, World, ensure};

const REFS: &str = "/team/app.git/info/refs?service=git-upload-pack";

/// A world, and a credential that is good in it: whatever is refused is refused for its form.
struct Scene {
    world: World,
    read: String,
    push: String,
}

fn scene() -> Result<Scene, Failure> {
    let world = World::with_software_keys(false)?;
    let client = world.software_client("client", "developer")?;
    let read = world.presentation(&client, REPOSITORY, "git-upload-pack")?;
    let push = world.presentation(&client, REPOSITORY, "git-receive-pack")?;
    Ok(Scene { world, read, push })
}

impl Scene {
    fn host(&self) -> String {
        self.world.gate.address().to_string()
    }

    /// A head; `lines` end in CRLF each.
    fn head(&self, method: &str, target: &str, credential: &str, lines: &str) -> String {
        let host = self.host();
        format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Daypass {credential}\r\n{lines}\r\n")
    }

    fn says(&self, bytes: &[u8]) -> Result<(Vec<u16>, String), Failure> {
        self.world.raw()?.exchange(bytes)
    }

    /// Goes on only if exactly this came back, the connection was closed, and the git server heard nothing.
    fn refused(&self, name: &str, bytes: &[u8], expected: u16) -> Story {
        let (statuses, text) = self.says(bytes)?;
        ensure(statuses == [expected], format!("{name}: {expected} and an end"), text)?;
        let heard = self.world.upstream.requests()?;
        ensure(heard.is_empty(), format!("{name}: nothing at the server"), format!("{heard:?}"))
    }

    /// Nothing is wrong with credential, client and server.
    fn still_good(&self) -> Story {
        let good = self.head("GET", REFS, &self.read, "Connection: close\r\n");
        let (statuses, text) = self.says(good.as_bytes())?;
        ensure(statuses == [200] && text.contains("refs/heads/main"), "the refs", text)
    }
}

#[test]
fn a_target_that_is_not_plainly_one_of_three_is_refused() -> Story {
    let scene = scene()?;
    let get = |target: &str| scene.head("GET", target, &scene.read, "Connection: close\r\n");
    let queries = [
        ("no service", ""),
        ("an empty query", "?"),
        ("an empty service", "?service="),
        ("a second service behind", "?service=git-upload-pack&service=git-receive-pack"),
        ("a second service before", "?service=git-receive-pack&service=git-upload-pack"),
        ("the same service twice", "?service=git-upload-pack&service=git-upload-pack"),
        ("a parameter before", "?x=1&service=git-upload-pack"),
        ("a parameter behind", "?service=git-upload-pack&x=1"),
        ("an empty parameter behind", "?service=git-upload-pack&"),
        ("a semicolon", "?service=git-upload-pack;service=git-receive-pack"),
        ("the name in another case", "?Service=git-upload-pack"),
        ("the value in another case", "?service=GIT-UPLOAD-PACK"),
        ("an encoded value", "?service=git%2Dupload-pack"),
        ("an encoded name", "?%73ervice=git-upload-pack"),
        ("an encoded NUL", "?service=git-upload-pack%00"),
        ("a plus", "?service=git-upload-pack+"),
        ("another service", "?service=git-upload-archive"),
        ("a second question mark", "??service=git-upload-pack"),
    ];
    for (name, query) in queries {
        scene.refused(name, get(&format!("/team/app.git/info/refs{query}")).as_bytes(), 404)?;
    }
    let paths = [
        ("an encoded slash", "/team%2fapp.git", 404),
        ("an encoded slash, upper case", "/team%2Fapp.git", 404),
        ("encoded dots", "/team/%2e%2e/team/app.git", 404),
        ("doubly encoded dots", "/team/%252e%252e/team/app.git", 404),
        ("dots", "/team/../team/app.git", 404),
        ("a dot", "/team/./app.git", 404),
        ("an empty first component", "//team/app.git", 404),
        ("an empty component", "/team//app.git", 404),
        ("an empty last component", "/team/app.git/", 404),
        ("out of the repository", "/team/app.git/../secret.git", 404),
        ("out of its .git", "/team/app.git/.git/..", 404),
        ("its .git", "/team/app.git/.git", 404),
        ("a .git of the root", "/.git", 404),
        ("a hidden component", "/team/.app.git", 404),
        ("an encoded letter", "/team/%61pp.git", 404),
        ("an encoded dot", "/team/app%2egit", 404),
        ("an encoded NUL", "/team/app%00.git", 404),
        ("an encoded NUL at the end", "/team/app.git%00", 404),
        ("an encoded line feed", "/team/app%0a.git", 404),
        ("an overlong encoding", "/team/%c0%ae%c0%ae/app.git", 404),
        ("a broken encoding", "/team/%zz/app.git", 404),
        (".git twice", "/team/app.git.git", 404),
        (".git in capitals", "/team/app.GIT", 404),
        ("a path into another repository", "/team/secret.git/app", 404),
        ("a parameter of a component", "/team/app.git;x=y", 404),
        ("a home", "/~team/app.git", 404),
        ("a backslash", "/team\\app.git", 404),
        // Names of other repositories: the credential is not for them.
        ("a trailing dot", "/team/app.", 401),
        ("another case", "/TEAM/app.git", 401),
        ("another repository", "/team/secret.git", 401),
    ];
    for (name, path, status) in paths {
        let target = format!("{path}/info/refs?service=git-upload-pack");
        scene.refused(name, get(&target).as_bytes(), status)?;
    }
    let host = scene.host();
    let whole = [
        ("a slash behind", "/team/app.git/info/refs/?service=git-upload-pack".to_owned(), 404),
        ("an encoded endpoint", "/team/app.git/info%2frefs?service=git-upload-pack".to_owned(), 404),
        ("no repository", "/info/refs?service=git-upload-pack".to_owned(), 404),
        ("absolute form", format!("https://{host}{REFS}"), 404),
        ("absolute form of another host", format!("https://git.example.com{REFS}"), 404),
        ("absolute form without TLS", format!("http://{host}{REFS}"), 404),
        ("authority form", host.clone(), 404),
        ("asterisk form", "*".to_owned(), 404),
        ("no slash", REFS.trim_start_matches('/').to_owned(), 400),
        ("a fragment", format!("{REFS}#x"), 400),
        ("a raw NUL", format!("{REFS}\0"), 400),
        ("a raw space", "/team/app .git/info/refs?service=git-upload-pack".to_owned(), 400),
        ("a long component", format!("/team/{}/info/refs?service=git-upload-pack", "a".repeat(60_000)), 404),
        ("a long path", format!("/{}app.git/info/refs?service=git-upload-pack", "a/".repeat(20_000)), 404),
        ("a target without end", format!("/{}", "a".repeat(200_000)), 431),
    ];
    for (name, target, status) in whole {
        scene.refused(name, get(&target).as_bytes(), status)?;
    }
    scene.still_good()
}

#[test]
fn dumb_files_lfs_and_archives_are_not_there() -> Story {
    let scene = scene()?;
    for (method, target) in [
        ("GET", "HEAD"),
        ("GET", "config"),
        ("GET", "packed-refs"),
        ("GET", "refs/heads/main"),
        ("GET", "info/refs"),
        ("GET", "info/packs"),
        ("GET", "objects/info/packs"),
        ("GET", "objects/info/alternates"),
        ("GET", "objects/info/http-alternates"),
        ("GET", "objects/11/11111111111111111111111111111111111111"),
        ("GET", "objects/pack/pack-1111111111111111111111111111111111111111.pack"),
        ("GET", "objects/pack/pack-1111111111111111111111111111111111111111.idx"),
        ("POST", "info/lfs/objects/batch"),
        ("GET", "info/lfs/locks"),
        ("POST", "info/lfs/locks/verify"),
        ("POST", "git-upload-archive"),
        ("GET", "archive/main.tar.gz"),
        ("PROPFIND", ""),
        ("MKCOL", "x/"),
        ("LOCK", "info/refs"),
    ] {
        let head = scene.head(method, &format!("/team/app.git/{target}"), &scene.push, "Connection: close\r\n");
        scene.refused(target, head.as_bytes(), 404)?;
    }
    scene.still_good()
}

#[test]
fn each_endpoint_has_one_method() -> Story {
    let scene = scene()?;
    for method in ["HEAD", "POST", "PUT", "OPTIONS", "TRACE", "DELETE", "PATCH", "get", "GETX"] {
        let head = scene.head(method, REFS, &scene.read, "Connection: close\r\n");
        scene.refused(method, head.as_bytes(), 405)?;
    }
    for endpoint in ["git-upload-pack", "git-receive-pack"] {
        for method in ["GET", "HEAD", "PUT", "OPTIONS", "TRACE", "DELETE", "post"] {
            let lines = format!("Content-Type: application/x-{endpoint}-request\r\nConnection: close\r\n");
            let head = scene.head(method, &format!("/team/app.git/{endpoint}"), &scene.push, &lines);
            scene.refused(method, head.as_bytes(), 405)?;
        }
        let lines =
            format!("Content-Type: application/x-{endpoint}-request\r\nContent-Length: 0\r\nConnection: close\r\n");
        let head = scene.head("POST", &format!("/team/app.git/{endpoint}?x"), &scene.push, &lines);
        scene.refused("a query behind a service", head.as_bytes(), 404)?;
    }
    let connect = scene.head("CONNECT", &scene.host(), &scene.read, "Connection: close\r\n");
    scene.refused("CONNECT", connect.as_bytes(), 404)?;
    // A method in a header is not one.
    let tunnelled = scene.head("POST", REFS, &scene.read, "X-HTTP-Method-Override: GET\r\nConnection: close\r\n");
    scene.refused("a method in a header", tunnelled.as_bytes(), 405)?;
    scene.still_good()
}

#[test]
fn the_body_has_its_own_type_and_at_most_one_gzip() -> Story {
    let scene = scene()?;
    for (service, credential) in [("git-upload-pack", &scene.read), ("git-receive-pack", &scene.push)] {
        let own = format!("application/x-{service}-request");
        for (name, lines) in [
            ("no type", String::new()),
            ("an empty type", "Content-Type:\r\n".to_owned()),
            ("a form", "Content-Type: application/x-www-form-urlencoded\r\n".to_owned()),
            ("the type of an answer", format!("Content-Type: application/x-{service}-result\r\n")),
            ("another case", format!("Content-Type: {}\r\n", own.to_uppercase())),
            ("a parameter", format!("Content-Type: {own}; charset=utf-8\r\n")),
            ("two types", format!("Content-Type: {own}\r\nContent-Type: text/plain\r\n")),
            ("its type twice", format!("Content-Type: {own}\r\nContent-Type: {own}\r\n")),
            ("another coding", format!("Content-Type: {own}\r\nContent-Encoding: br\r\n")),
            ("two codings", format!("Content-Type: {own}\r\nContent-Encoding: gzip, gzip\r\n")),
            (
                "two coding headers",
                format!("Content-Type: {own}\r\nContent-Encoding: gzip\r\nContent-Encoding: gzip\r\n"),
            ),
        ] {
            let lines = format!("{lines}Content-Length: 4\r\nConnection: close\r\n");
            let head = scene.head("POST", &format!("/team/app.git/{service}"), credential, &lines);
            scene.refused(name, [head.as_bytes(), b"0000"].concat().as_slice(), 415)?;
        }
    }
    scene.still_good()
}

/// Lines of a head that give its body two readings.
const AMBIGUOUS: [(&str, &str); 19] = [
    ("a length and chunks", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"),
    ("chunks and a length", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"),
    ("two lengths", "Content-Length: 4\r\nContent-Length: 0\r\n"),
    ("one length twice", "Content-Length: 4\r\nContent-Length: 4\r\n"),
    ("a list of lengths", "Content-Length: 4, 4\r\n"),
    ("a signed length", "Content-Length: +4\r\n"),
    ("a length in hexadecimal", "Content-Length: 0x4\r\n"),
    ("a length beyond numbers", "Content-Length: 18446744073709551620\r\n"),
    ("identity and chunked", "Transfer-Encoding: identity, chunked\r\n"),
    ("chunked and identity", "Transfer-Encoding: chunked, identity\r\n"),
    ("chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
    ("an unknown coding", "Transfer-Encoding: xchunked\r\n"),
    ("a coding behind a vertical tab", "Transfer-Encoding:\x0bchunked\r\n"),
    ("a folded header", "Transfer-Encoding:\r\n chunked\r\n"),
    ("a folded header behind a length", "Content-Length: 4\r\nX: y\r\n Transfer-Encoding: chunked\r\n"),
    ("a space before the colon", "Content-Length : 4\r\n"),
    ("a tab before the colon", "Transfer-Encoding\t: chunked\r\n"),
    ("a bare line feed", "X: y\nTransfer-Encoding: chunked\r\n"),
    ("a bare carriage return", "X: y\rTransfer-Encoding: chunked\r\n"),
];

#[test]
fn a_head_with_two_readings_is_refused_and_the_connection_closed() -> Story {
    let scene = scene()?;
    // What a server that reads it the other way would take for the next request.
    let smuggled = scene.head("GET", REFS, &scene.read, "");
    for (name, lines) in AMBIGUOUS {
        let lines = format!("Content-Type: application/x-git-upload-pack-request\r\n{lines}");
        let head = scene.head("POST", "/team/app.git/git-upload-pack", &scene.read, &lines);
        for body in ["0000", "4\r\n0000\r\n0\r\n\r\n", "0\r\n\r\n"] {
            scene.refused(name, format!("{head}{body}{smuggled}").as_bytes(), 400)?;
        }
        // As the second request of a connection it is no better.
        let first = scene.head("GET", "/nothing", &scene.read, "");
        let (statuses, text) = scene.says(format!("{first}{head}0000{smuggled}").as_bytes())?;
        ensure(statuses.ends_with(&[400]) && !statuses.contains(&200), format!("{name}: 400 at the end"), text)?;
        scene.world.upstream.heard_nothing()?;
    }
    let head = scene.head("GET", REFS, &scene.read, "");
    scene.refused("line feeds alone", head.replace("\r\n", "\n").as_bytes(), 400)?;
    scene.refused("HTTP/1.0 with chunks", b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400)?;
    scene.refused("no version", b"GET /\r\n\r\n", 400)?;
    scene.still_good()
}

#[test]
fn chunks_that_are_not_plain_are_refused() -> Story {
    let scene = scene()?;
    let lines = "Content-Type: application/x-git-receive-pack-request\r\nTransfer-Encoding: chunked\r\n";
    let head = scene.head("POST", "/team/app.git/git-receive-pack", &scene.push, lines);
    let smuggled = scene.head("GET", REFS, &scene.read, "");
    let plain = format!("{head}4\r\n0000\r\n0\r\n\r\n");
    let (statuses, text) =
        scene.says(format!("{plain}{}", smuggled.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")).as_bytes())?;
    ensure(statuses == [200, 200], "a probe and the refs", text)?;
    let before = scene.world.upstream.requests()?.len();
    for (name, chunks) in [
        ("an extension", "4;x=y\r\n0000\r\n0\r\n\r\n".to_owned()),
        ("an empty extension", "4;\r\n0000\r\n0\r\n\r\n".to_owned()),
        ("a long extension", format!("4;{}\r\n0000\r\n0\r\n\r\n", "x".repeat(10_000))),
        ("a line feed in an extension", "4;\n0000\r\n0\r\n\r\n".to_owned()),
        ("a long size", format!("{}4\r\n0000\r\n0\r\n\r\n", "0".repeat(10_000))),
        ("a size beyond numbers", "10000000000000004\r\n0000\r\n0\r\n\r\n".to_owned()),
        ("a signed size", "+4\r\n0000\r\n0\r\n\r\n".to_owned()),
        ("a space behind the size", "4 \r\n0000\r\n0\r\n\r\n".to_owned()),
        ("no size", "\r\n0000\r\n0\r\n\r\n".to_owned()),
        ("a bare line feed behind the size", "4\n0000\r\n0\r\n\r\n".to_owned()),
        ("bytes behind the chunk", "2\r\n0000\r\n0\r\n\r\n".to_owned()),
        ("a trailer", "4\r\n0000\r\n0\r\nX: y\r\n\r\n".to_owned()),
        ("no end of the chunk", "4\r\n00000\r\n\r\n".to_owned()),
    ] {
        let (statuses, text) = scene.says(format!("{head}{chunks}{smuggled}").as_bytes())?;
        ensure(statuses == [400], format!("{name}: 400 and an end"), text)?;
    }
    let heard = scene.world.upstream.requests()?;
    ensure(heard.len() == before, "nothing more at the server", format!("{heard:?}"))?;
    scene.still_good()
}

#[test]
fn the_issuer_refuses_two_readings_as_well() -> Story {
    let scene = scene()?;
    let address = scene.world.issuer.url().replace("https://", "");
    let parsed = address.parse().map_err(|error| Failure::unexpected("an address", format!("{error}")))?;
    for (name, lines) in AMBIGUOUS {
        let bytes = format!(
            "POST /enrolment/v1/begin HTTP/1.1\r\nHost: {address}\r\n{lines}\r\n4\r\n0000\r\n0\r\n\r\nGET /jwks HTTP/1.1\r\n\r\n"
        );
        let raw = Raw::open(parsed, scene.world.issuer.root(), None)?;
        let (statuses, text) = raw.exchange(bytes.as_bytes())?;
        ensure(statuses == [400] && !text.contains("keys"), format!("{name}: 400 and an end"), text)?;
    }
    Ok(())
}

#[test]
fn no_header_of_a_client_names_anybody_to_the_server() -> Story {
    let scene = scene()?;
    let names = ["Collaborator", "Device", "Grant", "Project", "Anything"];
    let forms: [fn(&str) -> String; 5] = [
        |name| format!("Daypass-{name}"),
        |name| format!("DAYPASS-{}", name.to_uppercase()),
        |name| format!("daypass_{}", name.to_lowercase()),
        |name| format!("Daypass_{name}"),
        |name| format!("HTTP_DAYPASS_{}", name.to_uppercase()),
    ];
    let mut lines = String::new();
    for name in forms.iter().flat_map(|form| names.map(form)) {
        // Twice: neither the first nor the last may win.
        lines += &format!("{name}: mallory\r\n{name}: mallory2\r\n");
    }
    for name in [
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-User",
        "X_Forwarded_For",
        "X-Real-IP",
        "X-Remote-User",
        "Remote-User",
        "X-Original-URL",
        "X-Rewrite-URL",
    ] {
        lines += &format!("{name}: mallory\r\n");
    }
    // Were the gate's own headers hop-by-hop, the server would not hear them (RFC 9110 section 7.6.1).
    for connection in [
        "close, Daypass-Collaborator, Daypass-Device, Daypass-Grant, Daypass-Project",
        "close\r\nConnection: daypass-collaborator\r\nConnection: daypass_device",
        "close, Host, Content-Type, Git-Protocol\r\nProxy-Connection: Daypass-Grant\r\nTE: trailers\r\nUpgrade: h2c",
    ] {
        let head = scene.head("GET", REFS, &scene.read, &format!("Connection: {connection}\r\n{lines}"));
        let (statuses, text) = scene.says(head.as_bytes())?;
        ensure(statuses == [200], "the refs", text)?;
    }
    let seen = scene.world.upstream.requests()?;
    ensure(seen.len() == 3, "three requests", format!("{seen:?}"))?;
    for line in seen {
        let whole =
            line.contains("\"software-client\" \"dev-") && line.contains("\"gr-") && line.contains("\"apollo\"");
        ensure(whole && !line.contains("mallory"), "the gate's words alone", line)?;
    }
    Ok(())
}

#[test]
fn the_host_is_said_once() -> Story {
    let scene = scene()?;
    let (host, read) = (scene.host(), &scene.read);
    for (name, lines, status) in [
        ("no host", String::new(), 421),
        ("an empty host", "Host:\r\n".to_owned(), 421),
        ("two hosts", format!("Host: {host}\r\nHost: {host}\r\n"), 421),
        ("a list of hosts", format!("Host: {host}, {host}\r\n"), 421),
        ("a user", format!("Host: x@{host}\r\n"), 421),
        ("a path", format!("Host: {host}/x\r\n"), 421),
        ("another host", "Host: git.example.com\r\n".to_owned(), 421),
        (
            "a host and where it was forwarded from",
            format!("Host: git.example.com\r\nX-Forwarded-Host: {host}\r\n"),
            421,
        ),
    ] {
        let head = format!("GET {REFS} HTTP/1.1\r\n{lines}Authorization: Daypass {read}\r\nConnection: close\r\n\r\n");
        scene.refused(name, head.as_bytes(), status)?;
    }
    scene.still_good()
}

#[test]
fn a_body_or_a_server_that_falls_silent_is_cut() -> Story {
    let patience = ("idle_timeout = \"2m\"", "idle_timeout = \"1s\"");
    let mut silent = None;
    let world = World::build(false, |issuer, gate| {
        issuer.configure("allow_software_keys = false", "allow_software_keys = true")?;
        gate.configure("allow_software_keys = false", "allow_software_keys = true")?;
        gate.configure(patience.0, patience.1)?;
        // A server that takes every connection and never says anything.
        let socket = gate.folder().join("silent.sock");
        let opening = || Failure::machine("open a socket");
        silent = Some(UnixListener::bind(&socket).map_err(opening())?);
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o777)).map_err(opening())?;
        let text = std::fs::read_to_string(gate.configuration()).map_err(opening())?;
        let upstream = text.lines().find(|line| line.starts_with("upstream = ")).unwrap_or_default().to_owned();
        gate.configure(&upstream, &format!("upstream = \"unix:{}\"", socket.display()))
    })?;
    let client = world.software_client("client", "developer")?;
    let read = world.presentation(&client, REPOSITORY, "git-upload-pack")?;
    let push = world.presentation(&client, REPOSITORY, "git-receive-pack")?;
    let scene = Scene { world, read, push };
    // Half a command list, and then nothing.
    let lines = "Content-Type: application/x-git-receive-pack-request\r\nContent-Length: 100\r\n";
    let head = scene.head("POST", "/team/app.git/git-receive-pack", &scene.push, lines);
    let (statuses, text) = scene.says(format!("{head}0032").as_bytes())?;
    ensure(statuses == [400], "the end of it", text)?;
    // A good question, to a server that says nothing.
    let good = scene.head("GET", REFS, &scene.read, "Connection: close\r\n");
    let (statuses, text) = scene.says(good.as_bytes())?;
    ensure(statuses == [502], "word of a silent server", text)?;
    drop(silent);
    Ok(())
}

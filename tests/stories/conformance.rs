//! What the specifications demand of an authorization server and a resource server, where no other story has it; and that
//! `docs/conformance.md` names only tests that there are.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use daypass_proto::{dpop::token_hash, encoding::from_base64url};
use daypass_tests::{
    Answer, Failure, Machine, OTHER_REPOSITORY, PROJECT, REPOSITORY, Request, SoftwareClient, SoftwareKeys, Story, Who,
    World, ensure, eventually,
};
use serde_json::{Value, json};

const REFS: &str = "team/app.git/info/refs?service=git-upload-pack";

fn scene() -> Result<(World, SoftwareClient), Failure> {
    let world = World::with_software_keys(false)?;
    let client = world.software_client("client", "developer")?;
    Ok((world, client))
}

/// RFC 6749 section 5.2 and 5.1: the status, the code, and how it is sent.
fn refused(answer: Answer, status: u16, error: &str) -> Story {
    let answer = answer.status(status)?;
    let found = answer.json()?.get("error").cloned().unwrap_or_default();
    ensure(found == error, error, &answer.ran)?;
    is_never_stored(&answer)
}

fn is_never_stored(answer: &Answer) -> Story {
    for (header, value) in [("content-type", "application/json"), ("cache-control", "no-store"), ("pragma", "no-cache")]
    {
        ensure(answer.header(header) == Some(value), format!("{header}: {value}"), &answer.ran)?;
    }
    Ok(())
}

fn fresh(world: &World, client: &SoftwareClient) -> Result<String, Failure> {
    SoftwareClient::forge_proof(client.proof(), "POST", client.token_endpoint(), world.now(), |_| {})
}

fn public(world: &World, path: &str) -> Result<Answer, Failure> {
    Request::new(Who::Bob, &format!("{}{path}", world.issuer.url()), world.issuer.root())?.send()
}

#[test]
fn every_unit_has_the_end_to_its_memory_that_the_page_explains() -> Story {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| fs::read_to_string(root.join(path)).map_err(Failure::machine(format!("read `{path}`")));
    let page = read("docs/operations.md")?;
    for unit in ["daypass", "daypass-inspector", "daypass-issuer", "daypass-gate"] {
        let text = read(&format!("packaging/systemd/{unit}.service"))?;
        let setting = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("nothing");
        let row = format!("| `{unit}.service` | {}, {} |", setting("MemoryHigh="), setting("MemoryMax="));
        ensure(page.contains(&row), row, &text)?;
    }
    Ok(())
}

#[test]
fn every_test_that_the_page_names_exists() -> Story {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| fs::read_to_string(root.join(path)).map_err(Failure::machine(format!("read `{path}`")));
    let page = read("docs/conformance.md")?;
    let named: BTreeSet<&str> = page.split('`').filter(|word| word.contains(".rs::")).collect();
    ensure(named.len() > 60, "a page with tests", named.len())?;
    for test in named {
        let (path, name) = test.split_once("::").unwrap_or_default();
        let source = read(path)?;
        let mut before = source.split(&format!("fn {name}(")).take(1).collect::<String>();
        ensure(before.len() < source.len(), test, "no such function")?;
        // The attributes of the function are the last that stand before it.
        before.truncate(before.trim_end_matches("async ").trim_end().len());
        let attributes = before.rsplit("\n\n").next().unwrap_or_default();
        ensure(attributes.contains("test]") || attributes.contains("test("), test, "a function that is no test")?;
    }
    // Each line of a table says what is asked for, how it is met, and where that is seen or why not.
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        ensure(cells.len() == 3 && cells.iter().all(|cell| !cell.is_empty()), "three cells", line)?;
    }
    Ok(())
}

/// Whether `crate::module::…` is a module, or an item that its module defines.
fn is_there(root: &Path, path: &str) -> bool {
    let mut parts: Vec<&str> = path.split("::").collect();
    let folder = match parts.remove(0) {
        part @ ("issuer" | "gate" | "service") => format!("server/{part}/src"),
        part => format!("{part}/src"),
    };
    let module = |parts: &[&str]| {
        let at = root.join(&folder).join(parts.join("/"));
        [at.with_extension("rs"), at.join("mod.rs")].into_iter().find(|file| file.is_file())
    };
    let item = || {
        let (name, parts) = parts.split_last()?;
        let source = fs::read_to_string(module(parts)?).ok()?;
        let kinds = ["fn", "struct", "enum", "trait", "const", "type"];
        kinds.iter().any(|kind| source.contains(&format!("pub {kind} {name}"))).then_some(())
    };
    parts.is_empty() || module(&parts).is_some() || item().is_some()
}

#[test]
fn every_module_that_the_pages_name_exists() -> Story {
    const CRATES: [&str; 5] = ["proto", "agent", "issuer", "gate", "service"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| fs::read_to_string(root.join(path)).map_err(Failure::machine(format!("read `{path}`")));
    let of_a_crate = |word: &str| word.split_once("::").is_some_and(|(first, _)| CRATES.contains(&first));
    let mut named = BTreeSet::new();
    for page in ["architecture", "conformance", "decisions", "operations", "policy", "threat-model", "wire"] {
        let text = read(&format!("docs/{page}.md"))?;
        named.extend(text.split('`').filter(|word| of_a_crate(word)).map(str::to_owned));
    }
    // The last column of the attacks says `gate `nonce`, `replay``: names in the crate, or the module, that was named before them.
    for line in read("docs/threat-model.md")?.lines().filter(|line| line.starts_with("| ")) {
        let mut within = String::new();
        let cell = line.trim_matches(['|', ' ']).rsplit(" | ").next().unwrap_or_default();
        for (at, text) in cell.split('`').enumerate() {
            if at % 2 == 0 {
                let mut words = text.split(|c: char| !c.is_alphanumeric());
                within = words.rfind(|word| CRATES.contains(word)).map_or(within, str::to_owned);
            } else if of_a_crate(text) {
                within = text.to_owned();
            } else if !within.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || "_:".contains(c)) {
                named.insert(format!("{within}::{text}"));
            }
        }
    }
    ensure(named.len() > 60, "pages with modules", named.len())?;
    let missing: Vec<_> = named.iter().filter(|path| !is_there(&root, path)).collect();
    ensure(missing.is_empty(), "modules that exist", format!("{missing:?}"))
}

#[test]
fn the_metadata_is_what_rfc_8414_and_fapi_demand() -> Story {
    let (world, _) = scene()?;
    let answer = public(&world, "/.well-known/oauth-authorization-server")?.status(200)?;
    ensure(answer.header("content-type") == Some("application/json"), "JSON", &answer.ran)?;
    let document = answer.json()?;
    let members = document.as_object().ok_or_else(|| answer.ran.clone().surprise("an object"))?;
    for (name, value) in members {
        let empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        ensure(!empty, format!("{name} with something in it"), value)?;
    }
    let issuer = members.get("issuer").and_then(Value::as_str).unwrap_or_default();
    let plain = issuer.starts_with("https://") && !issuer.contains(['?', '#']) && issuer == world.issuer.url();
    ensure(plain, "an https identifier without query and fragment", issuer)?;
    for (name, value) in [
        ("grant_types_supported", json!(["client_credentials"])),
        ("token_endpoint_auth_methods_supported", json!(["tls_client_auth"])),
        ("dpop_signing_alg_values_supported", json!(["ES256"])),
        ("authorization_details_types_supported", json!(["git_repository", "http_api"])),
    ] {
        ensure(members.get(name) == Some(&value), format!("{name} {value}"), &answer.body)?;
    }
    for name in ["jwks_uri", "token_endpoint", "introspection_endpoint", "revocation_endpoint"] {
        let url = members.get(name).and_then(Value::as_str).unwrap_or_default();
        ensure(url.starts_with("https://"), format!("{name} over TLS"), url)?;
        if name != "jwks_uri" {
            let alias = document.pointer(&format!("/mtls_endpoint_aliases/{name}")).and_then(Value::as_str);
            ensure(alias == Some(url), format!("{name} among the aliases"), &answer.body)?;
        }
    }
    // There is no authorization endpoint, and so nothing to redirect to.
    ensure(!members.contains_key("authorization_endpoint"), "no authorization endpoint", &answer.body)
}

#[test]
fn published_keys_are_public_es256_keys_with_names_of_their_own() -> Story {
    let (world, _) = scene()?;
    world.issuer.run(["key", "rotate", "token"])?;
    let keys = eventually("two keys", || {
        let keys = public(&world, "/jwks")?.status(200)?.json()?.get("keys").cloned().unwrap_or_default();
        let keys = keys.as_array().cloned().unwrap_or_default();
        Ok((keys.len() == 2).then_some(keys))
    })?;
    let mut names = BTreeSet::new();
    for key in &keys {
        let field = |name: &str| key.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let form = [field("kty"), field("crv"), field("alg"), field("use")];
        ensure(form == ["EC", "P-256", "ES256", "sig"], "a P-256 key for ES256", key)?;
        ensure(names.insert(field("kid")), "a `kid` once", key)?;
        for forbidden in ["d", "jku", "x5u"] {
            ensure(key.get(forbidden).is_none(), format!("no `{forbidden}`"), key)?;
        }
    }
    // FAPI 2.0 section 5.2: nothing is served in clear.
    let clear = world.issuer.url().replace("https://", "http://");
    Request::new(Who::Bob, &format!("{clear}/jwks"), world.issuer.root())?
        .act()
        .run()?
        .says_nothing_of(&["\"kid\""])?;
    Ok(())
}

#[test]
fn there_is_one_grant_type_and_no_token_without_a_proof() -> Story {
    let (world, client) = scene()?;
    let resource = world.gate.resource();
    for grant in [
        "password",
        "authorization_code",
        "refresh_token",
        "implicit",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "urn:ietf:params:oauth:grant-type:token-exchange",
        "urn:ietf:params:oauth:grant-type:device_code",
    ] {
        let answer = client.token_request(&fresh(&world, &client)?, &resource, &[("grant_type", grant)])?.send()?;
        refused(answer, 400, "unsupported_grant_type")?;
    }
    // No `DPoP` header, and two.
    let form = |request: Request| {
        let fields = [format!("client_id={}", client.client_id), format!("resource={resource}")];
        request
            .with(["--data", "grant_type=client_credentials"])
            .with(fields.iter().flat_map(|f| ["--data-urlencode", f]))
    };
    refused(form(client.request(client.token_endpoint())?).send()?, 400, "invalid_dpop_proof")?;
    let twice = client.request(client.token_endpoint())?.header("DPoP", &fresh(&world, &client)?);
    refused(form(twice.header("DPoP", &fresh(&world, &client)?)).send()?, 400, "invalid_dpop_proof")?;
    // Nothing that outlives the proof comes along.
    let given = client.token_request(&fresh(&world, &client)?, &resource, &[])?.send()?.status(200)?;
    is_never_stored(&given)?;
    let answer = given.json()?;
    ensure(answer.get("token_type") == Some(&json!("DPoP")), "token_type DPoP", &given.ran)?;
    ensure(answer.get("refresh_token").is_none(), "no refresh token", &given.ran)
}

#[test]
fn a_client_is_its_certificate_and_nothing_else() -> Story {
    let (world, client) = scene()?;
    let proof = || fresh(&world, &client);
    // A certificate of its own making, for the same name: the handshake does not end well.
    let stranger = SoftwareKeys::new(&world.place, "stranger", Who::Server)?;
    let other = world.place.path().join("stranger/self.pem");
    let made = daypass_tests::Act::new(daypass_tests::Programs::system("openssl")?, Who::Server)
        .args(["req", "-x509", "-new", "-days", "2", "-subj", "/", "-key"])
        .arg(world.place.path().join("stranger/client.key"))
        .args(["-addext", &format!("subjectAltName=URI:{}", client.client_id), "-out"])
        .arg(&other);
    made.run()?.succeeded()?;
    drop(stranger);
    let request = Request::new(Who::Server, client.token_endpoint(), world.issuer.root())?;
    let request = request.certificate(&other, &world.place.path().join("stranger/client.key"));
    let asked = request.header("DPoP", &proof()?).with(["--data", "grant_type=client_credentials"]).act().run()?;
    asked.refused(&["alert"])?.says_nothing_of(&["access_token"])?;
    // Other ways to say who one is count for nothing beside the certificate.
    let resource = world.gate.resource();
    let second = world.software_client("second", "developer")?;
    let others = [("client_id", second.client_id.as_str()), ("client_secret", "x")];
    refused(client.token_request(&proof()?, &resource, &others)?.send()?, 401, "invalid_client")?;
    // RFC 7009 section 2.1: the same at revocation.
    let revoke = |fields: &[&str]| {
        let request = client.request(&format!("{}/oauth/revoke", world.issuer.mtls_url()))?;
        request.with(fields.iter().flat_map(|field| ["--data-urlencode", field])).send()
    };
    let foreign = format!("client_id={}", second.client_id);
    refused(revoke(&["token=x", &foreign])?, 401, "invalid_client")?;
    revoke(&["token=x", "token_type_hint=refresh_token"])?.status(200)?;
    refused(revoke(&["token_type_hint=access_token"])?, 400, "invalid_request")
}

#[test]
fn fields_count_once_and_empty_ones_not_at_all() -> Story {
    let (world, client) = scene()?;
    let resource = world.gate.resource();
    let ask = |more: &[(&str, &str)]| client.token_request(&fresh(&world, &client)?, &resource, more)?.send();
    // RFC 6749 section 3.2.
    ask(&[("unknown", "x"), ("authorization_details", ""), ("scope", "")])?.status(200)?;
    refused(ask(&[("client_id", &client.client_id), ("client_id", &client.client_id)])?, 400, "invalid_request")?;
    refused(ask(&[("grant_type", "")])?, 400, "invalid_request")?;
    // RFC 8707 section 2.
    let relative = resource.trim_start_matches("https:");
    for wrong in
        ["", "x", relative, &format!("{resource}#part"), &format!("{resource}?q=1"), &format!("{resource}path")]
    {
        refused(ask(&[("resource", wrong)])?, 400, "invalid_target")?;
    }
    refused(ask(&[("resource", &resource), ("resource", &resource)])?, 400, "invalid_target")?;
    // RFC 6749 section 5.2: what comes back of it is in the characters that the RFC allows.
    let odd = ask(&[("authorization_details", "[{\"type\":\"\u{e9}\\\\\u{202e}\"}]")])?;
    let said = odd.json()?.get("error_description").and_then(Value::as_str).unwrap_or_default().to_owned();
    let allowed = |c: char| matches!(c, ' '..='~') && c != '"' && c != '\\';
    ensure(!said.is_empty() && said.chars().all(allowed), "a description in the allowed characters", &said)?;
    refused(odd, 400, "invalid_authorization_details")
}

#[test]
fn clocks_may_differ_by_ten_seconds_and_not_by_more_than_sixty() -> Story {
    let (world, client) = scene()?;
    let resource = world.gate.resource();
    let ask = |ahead: i64| client.ask(&resource, world.now() + ahead, &[]);
    ask(10)?.status(200)?;
    refused(ask(90)?, 400, "invalid_dpop_proof")?;
    // More than 60 s cannot be configured.
    let place = daypass_tests::Place::new()?;
    let lax = daypass_tests::Issuer::init(&place, "issuer", &world.programs, None, &[])?;
    lax.configure("clock_skew = \"30s\"", "clock_skew = \"61s\"")?;
    lax.act(["check"]).run()?.refused(&["clock_skew"])?;
    Ok(())
}

/// The gate's certificate and key, as curl takes them.
fn gates_identity(world: &World) -> Result<(std::path::PathBuf, std::path::PathBuf), Failure> {
    let state = world.gate.folder().join("gate-state/gate.json");
    let state: Value = serde_json::from_slice(&fs::read(&state).map_err(Failure::machine("read the gate's state"))?)
        .map_err(|error| Failure::unexpected("JSON", error))?;
    let pem = |label: &str, der: &[u8]| {
        let mut text = format!("-----BEGIN {label}-----\n");
        let encoded = daypass_proto::encoding::base64url(der).replace('-', "+").replace('_', "/");
        let _ = writeln!(text, "{encoded}{}", "=".repeat((4 - encoded.len() % 4) % 4));
        let _ = writeln!(text, "-----END {label}-----");
        text
    };
    let chain = state.pointer("/client/chain").and_then(Value::as_array).cloned().unwrap_or_default();
    let chain = chain.iter().filter_map(Value::as_str).filter_map(from_base64url);
    let chain: String = chain.map(|der| pem("CERTIFICATE", &der)).collect();
    let key: Vec<u8> = state
        .pointer("/client/key")
        .map(|key| serde_json::from_value(key.clone()))
        .transpose()
        .map_err(|error| Failure::unexpected("a key", error))?
        .unwrap_or_default();
    let put = |name: &str, text: String| world.issuer.put(name, text);
    Ok((put("gate-client.pem", chain)?, put("gate-client.key", pem("PRIVATE KEY", &key))?))
}

#[test]
fn introspection_tells_a_gate_of_its_own_tokens_and_of_others_nothing() -> Story {
    let (world, client) = scene()?;
    world.issuer.run(["gate", "add", "other", "--resource", "https://other.example.com/"])?;
    let (certificate, key) = gates_identity(&world)?;
    let ask = |fields: &[&str]| -> Result<Answer, Failure> {
        let url = format!("{}/oauth/introspect", world.issuer.mtls_url());
        let request = Request::new(Who::Server, &url, world.issuer.root())?.certificate(&certificate, &key);
        request.with(fields.iter().flat_map(|field| ["--data-urlencode", field])).send()
    };
    let token = client.token(&world.gate.resource(), world.now())?;
    let field = format!("token={token}");
    // RFC 7662 section 2.1: a hint limits nothing. RFC 9449 section 6.2: the binding is there.
    for hint in ["token_type_hint=access_token", "token_type_hint=refresh_token"] {
        let answer = ask(&[&field, hint])?.status(200)?;
        is_never_stored(&answer)?;
        let told = answer.json()?;
        let bound = told.pointer("/cnf/jkt").and_then(Value::as_str) == Some(&client.proof().public().thumbprint());
        ensure(told.get("active") == Some(&json!(true)) && bound, "an active, bound token", &answer.ran)?;
        ensure(told.get("token_type") == Some(&json!("DPoP")), "token_type DPoP", &answer.ran)?;
        ensure(told.get("client_id") == Some(&json!(client.client_id)), "its client", &answer.ran)?;
        // RFC 9396 section 9.2.
        let action = told.pointer("/authorization_details/0/actions/0").and_then(Value::as_str);
        ensure(action == Some("push"), "what it allows", &answer.ran)?;
    }
    // Section 2.2: whatever is not active is that, and nothing more.
    let nothing = |name: &str, field: &str| {
        let answer = ask(&[field])?.status(200)?;
        ensure(answer.body.trim() == r#"{"active":false}"#, format!("{name}: nothing"), &answer.ran)
    };
    nothing("garbage", "token=x")?;
    let (head, signature) = token.rsplit_once('.').unwrap_or_default();
    let flipped: String = signature.chars().rev().collect();
    nothing("another signature", &format!("token={head}.{flipped}"))?;
    refused(ask(&["token_type_hint=access_token"])?, 400, "invalid_request")?;
    world.issuer.run(["device", "suspend", &client.device])?;
    nothing("a suspended device's", &field)?;
    world.issuer.run(["device", "resume", &client.device])?;
    let revoke = client.request(&format!("{}/oauth/revoke", world.issuer.mtls_url()))?;
    revoke.with(["--data-urlencode", &field]).send()?.status(200)?;
    nothing("a revoked one", &field)
}

/// What introspection says to the world's gate.
pub(crate) fn introspected(world: &World, token: &str) -> Result<Value, Failure> {
    let (certificate, key) = gates_identity(world)?;
    let url = format!("{}/oauth/introspect", world.issuer.mtls_url());
    let request = Request::new(Who::Server, &url, world.issuer.root())?.certificate(&certificate, &key);
    request.with(["--data-urlencode", &format!("token={token}")]).send()?.status(200)?.json()
}

#[test]
fn a_client_revokes_its_own_tokens_and_no_others() -> Story {
    let (world, client) = scene()?;
    let other = world.software_client("other", "developer")?;
    let token = || client.token(&world.gate.resource(), world.now());
    let (ended, kept, foreign) = (token()?, token()?, other.token(&world.gate.resource(), world.now())?);
    let revoke = |token: &str| {
        let url = format!("{}/oauth/revoke", world.issuer.mtls_url());
        let fields = [format!("token={token}"), format!("client_id={}", client.client_id)];
        let fields = fields.iter().flat_map(|field| ["--data-urlencode", field]);
        client.request(&url)?.with(fields).send()?.status(200).map(drop)
    };
    // RFC 7009 section 2.2: neither is an error, and nothing is learned.
    revoke("unknown")?;
    revoke(&foreign)?;
    revoke(&ended)?;
    let active = |token: &str| Ok::<_, Failure>(introspected(&world, token)?.get("active") == Some(&json!(true)));
    ensure(!active(&ended)?, "its own token's end", "an active token")?;
    ensure(active(&kept)?, "its other token as it was", "an end")?;
    ensure(active(&foreign)?, "another client's token as it was", "an end")?;
    // And so at the gate.
    let at_the_gate = |client: &SoftwareClient, token: &str| {
        let nonce = world.nonce(REPOSITORY, "git-upload-pack", None)?;
        let presentation = SoftwareClient::forge_presentation(
            client.proof(),
            token,
            &world.repository(),
            &nonce,
            world.now(),
            |_| {},
        )?;
        let header = format!("Daypass {presentation}");
        Ok::<_, Failure>(world.request(REFS)?.header("Authorization", &header).send()?.status)
    };
    world.until_refused(|| at_the_gate(&client, &ended))?;
    for (client, token) in [(&client, &kept), (&other, &foreign)] {
        let status = at_the_gate(client, token)?;
        ensure(status == 200, "access with a token that nobody revoked", status)?;
    }
    Ok(())
}

#[test]
fn a_token_that_is_over_is_not_active() -> Story {
    let world = World::with_software_keys(true)?;
    let client = world.software_client("client", "developer")?;
    let token = client.token(&world.gate.resource(), world.now())?;
    let told = introspected(&world, &token)?;
    ensure(told.get("active") == Some(&json!(true)), "an active token", &told)?;
    let end = told.get("exp").and_then(Value::as_i64).unwrap_or_default();
    ensure(end > world.now() && end <= world.now() + 300, "its end", &told)?;
    world.advance(std::time::Duration::from_secs(6 * 60))?;
    let told = introspected(&world, &token)?;
    ensure(told == json!({"active": false}), "nothing of a token that is over", told)
}

#[test]
fn introspection_of_another_gates_token_says_nothing() -> Story {
    let (world, _) = scene()?;
    let project = fs::read_to_string(world.issuer.project(PROJECT)).map_err(Failure::machine("read the project"))?;
    // The same role at a second resource, which another gate guards.
    let there = "https://other.example.com/";
    let mut world = world;
    world.issuer.stop()?;
    world.issuer.write_project(PROJECT, &project.replace(&world.gate.resource(), there))?;
    world.issuer.run(["gate", "add", "other", "--resource", there])?;
    world.issuer.serve()?;
    let client = world.software_client("elsewhere", "developer")?;
    let token = client.token(there, world.now())?;
    let (certificate, key) = gates_identity(&world)?;
    let url = format!("{}/oauth/introspect", world.issuer.mtls_url());
    let request = Request::new(Who::Server, &url, world.issuer.root())?.certificate(&certificate, &key);
    let answer = request.with(["--data-urlencode", &format!("token={token}")]).send()?.status(200)?;
    ensure(answer.body.trim() == r#"{"active":false}"#, "nothing", &answer.ran)
}

#[test]
fn a_gate_takes_tokens_from_the_header_alone_and_answers_dpop_in_its_own_words() -> Story {
    let (world, client) = scene()?;
    let token = client.token(&world.gate.resource(), world.now())?;
    // FAPI 2.0 section 5.3.4, RFC 6750 section 2: not in the query, not in a body.
    for target in [format!("{REFS}&access_token={token}"), format!("team/app.git/info/refs?access_token={token}")] {
        let answer = world.request(&target)?.send()?;
        ensure(answer.status == 404, "not found", &answer.ran)?;
    }
    world.upstream.heard_nothing()?;
    let use_at = |path: &str, nonce: Option<&str>| -> Result<Answer, Failure> {
        let url = world.gate.url(path);
        let proof = SoftwareClient::forge_proof(client.proof(), "GET", &url, world.now(), |claims| {
            claims.ath = Some(token_hash(&token));
            claims.nonce = nonce.map(str::to_owned);
        })?;
        world.request(path)?.header("Authorization", &format!("DPoP {token}")).header("DPoP", &proof).send()
    };
    let challenges = |answer: &Answer| -> Vec<String> {
        let named = |line: &String| line.to_ascii_lowercase().starts_with("www-authenticate:");
        answer.headers.iter().filter(|line| named(line)).cloned().collect()
    };
    let only = |answer: &Answer, error: &str| {
        let found = challenges(answer);
        let one = found.len() == 1
            && found.iter().all(|line| line.contains("DPoP ") && line.contains(&format!("error=\"{error}\"")));
        ensure(one, format!("one challenge, {error}"), &answer.ran)
    };
    let asked = use_at(REFS, None)?.status(401)?;
    only(&asked, "use_dpop_nonce")?;
    let nonce = asked.header("DPoP-Nonce").unwrap_or_default().to_owned();
    use_at(REFS, Some(&nonce))?.status(200)?;
    // RFC 6750 section 3.1.
    let other = format!("{OTHER_REPOSITORY}.git/info/refs?service=git-upload-pack");
    only(&use_at(&other, Some(&nonce))?.status(403)?, "insufficient_scope")?;
    let wrong = world.request(REFS)?.header("Authorization", &format!("DPoP {token}x")).header("DPoP", "x");
    let wrong = wrong.send()?.status(401)?;
    only(&wrong, "invalid_token")?;
    ensure(wrong.header("DPoP-Nonce").is_none(), "no nonce where no new proof helps", &wrong.ran)?;
    // RFC 9449 section 7.2.
    let bearer = world.request(REFS)?.header("Authorization", &format!("Bearer {token}")).send()?.status(401)?;
    ensure(challenges(&bearer).iter().any(|line| line.contains("invalid_token")), "invalid_token", &bearer.ran)?;
    // FAPI 2.0 section 5.2.
    world.request(REFS)?.with(["--tls-max", "1.2"]).act().run()?.refused(&["protocol version"])?;
    Ok(())
}

#[test]
fn an_agent_proves_requests_to_its_resources_and_to_nobody_else() -> Story {
    let world = World::start()?;
    let laptop = Machine::start(&world, "laptop", Who::Alice)?;
    laptop.join(&world, "alice", "reader")?;
    let proof = |url: &str| laptop.daypass(["proof", "GET", url]).run();
    proof(&world.gate.url(REFS))?.succeeded()?.says(&["Authorization: DPoP", "DPoP: "])?;
    for url in [
        format!("{}/oauth/token", world.issuer.mtls_url()),
        world.issuer.url(),
        "https://elsewhere.example.com/x".to_owned(),
        world.gate.url(REFS).replace("https://", "http://"),
    ] {
        proof(&url)?.refused(&[])?.says_nothing_of(&["eyJ"])?;
    }
    // What comes out of it is a token for this resource that allows no more than was granted, and lives for minutes.
    let token = laptop.daypass(["token", &world.gate.resource()]).run()?.succeeded()?;
    let payload = token.text().split('.').nth(1).and_then(from_base64url).unwrap_or_default();
    let claims: Value = serde_json::from_slice(&payload).map_err(|_| token.clone().surprise("claims"))?;
    let time = |name: &str| claims.get(name).and_then(Value::as_i64).unwrap_or_default();
    ensure(claims.get("aud") == Some(&json!(world.gate.resource())), "one audience", &claims)?;
    ensure(
        claims.get("authorization_details")
            == Some(&json!([{
                "type": "git_repository", "locations": [world.repository()], "actions": ["read"]
            }])),
        "what was granted",
        &claims,
    )?;
    ensure(time("exp") - time("iat") == 300 && time("nbf") == time("iat"), "five minutes", &claims)?;
    let id = claims.get("jti").and_then(Value::as_str).and_then(from_base64url).unwrap_or_default();
    ensure(id.len() == 16, "a name of 128 random bits", &claims)?;
    for name in ["iss", "sub", "client_id", "cnf"] {
        ensure(claims.get(name).is_some(), name, &claims)?;
    }
    Ok(())
}

use super::*;

#[test]
fn the_seeds_are_served() {
    let scene = Scene::new();
    let statuses = |text: &str, from| {
        let answer = scene.ask(from, &scene.filled(text.as_bytes(), &Alterations::none())).unwrap();
        (answer.status().as_u16(), String::from_utf8_lossy(answer.body()).into_owned())
    };
    for (at, (from, text)) in TEMPLATES.into_iter().enumerate() {
        let (status, body) = statuses(text, from);
        // The last is asked by whom nobody has approved.
        let expected = if at + 1 == TEMPLATES.len() { 403 } else { 200 };
        assert_eq!(status, expected, "{at}: {body}");
    }
    assert_eq!(statuses(COMPLETE, 0).0, 200, "and once more");
    assert!(scene.token().is_some());
}

/// Status and cause of what a device is told.
fn told(scene: &Scene, from: u8, text: &[u8]) -> (u16, String) {
    let answer = scene.ask(from, &scene.filled(text, &Alterations::none())).unwrap();
    let refusal: ErrorBody = serde_json::from_slice(answer.body()).unwrap();
    let reason = serde_json::to_value(refusal.daypass_reason).unwrap();
    (answer.status().as_u16(), reason.as_str().unwrap().to_owned())
}

#[test]
fn forms_that_are_not_plain_are_refused() {
    let scene = Scene::new();
    let malformed = (400, "malformed".to_owned());
    let details = |text: &str| format!("{TOKEN}&authorization_details={text}");
    for (what, text) in [
        ("a field twice", format!("{TOKEN}&resource=https%3A%2F%2Fother.example.com%2F")),
        ("a field missing", TOKEN.replace("&resource=https%3A%2F%2Fgit.example.com%2F", "")),
        ("another type", TOKEN.replace("x-www-form-urlencoded", "json")),
        ("no UTF-8", details("%FF%FE")),
        ("no list", details("%7B%7D")),
        ("cut off", details("%5B%7B%22type%22")),
        ("too much", details(&format!("%5B%5D{}", "%20".repeat(9 * 1024)))),
        ("evidence that is none", format!("{TOKEN}&daypass_caller=%7B%7D")),
        ("too much evidence", format!("{TOKEN}&daypass_caller={CALLER}{}", "%20".repeat(17 * 1024))),
        ("a number for a resource", TOKEN.replace("https%3A%2F%2Fgit.example.com%2F", "1")),
        ("a long resource", TOKEN.replace("git.example", &"a".repeat(3000))),
    ] {
        assert_eq!(told(&scene, 1, text.as_bytes()), malformed, "{what}");
    }
    let twice = TOKEN.replace("DPoP: <proof>", "DPoP: <proof>\nDPoP: <proof>");
    assert_eq!(told(&scene, 1, twice.as_bytes()), (400, "proof_invalid".to_owned()));
    let long = format!("{TOKEN}&more={}", "x".repeat(64 * 1024));
    assert!(!matches!(
        scene.ask(1, &scene.filled(long.as_bytes(), &Alterations::none())).unwrap().status().as_u16(),
        200..400
    ));
}

#[test]
fn bodies_that_are_not_plain_are_refused() {
    let scene = Scene::new();
    let malformed = (400, "malformed".to_owned());
    for (what, text) in [
        ("a member twice", BEGIN.replace("{\"secret\"", "{\"csr\":\"AA\",\"secret\"")),
        ("a member more", BEGIN.replace("{\"secret\"", "{\"more\":1,\"secret\"")),
        ("another type", BEGIN.replace("\"<csr>\"", "7")),
        ("a secret of another length", BEGIN.replace("<secret>", "AAAA")),
        ("padding", BEGIN.replace("<csr>", "AA==")),
        ("no endorsement key", BEGIN.replace("[{\"public\":\"<ek>\",\"certificate\":null}]", "[]")),
        ("too many", BEGIN.replace("[{", &format!("[{}{{", "{\"public\":\"AA\",\"certificate\":null},".repeat(4)))),
        ("cut off", BEGIN.replace("\"csr\":\"<csr>\"}", "")),
        ("nothing", "POST /enrolment/v1/begin\n\n".to_owned()),
    ] {
        assert_eq!(told(&scene, 0, text.as_bytes()), malformed, "{what}");
    }
    let no_utf8 = [&b"POST /enrolment/v1/begin\n\n{\"secret\":\""[..], b"\xff\"}"].concat();
    assert_eq!(told(&scene, 0, &no_utf8), malformed);
    let large = |path: &str, size: usize| format!("POST {path}\n\n{}", " ".repeat(size)).into_bytes();
    for (path, limit) in [
        ("/enrolment/v1/begin", 256 * 1024),
        ("/enrolment/v1/complete", 4 * 1024 * 1024),
        ("/gate/v1/enrol", 64 * 1024),
    ] {
        assert_eq!(told(&scene, 0, &large(path, limit)), malformed, "{path}");
        assert_eq!(told(&scene, 0, &large(path, limit + 1)), (413, "too_large".to_owned()), "{path}");
    }
    // What somebody sends in the wrong place is not thrown back.
    let answer = scene.ask(0, b"POST /gate/v1/enrol\n\n{\"secret\":1,\"client_csr\":\"dpinv1_x\"}").unwrap();
    assert!(!String::from_utf8_lossy(answer.body()).contains("dpinv1_"));
}

/// How far the alterations of the seeds get: beyond the first check, and not always to the end.
#[test]
fn what_is_altered_gets_beyond_the_first_check() {
    let mut reasons = std::collections::BTreeMap::<String, usize>::new();
    let mut scene = Scene::new();
    for input in seeds().iter().filter(|input| input[0] == b'e') {
        for Shaped { template, alter } in shape::read(&input[1..]) {
            let (from, text) = TEMPLATES[usize::from(template)];
            let request = alter.request(&scene.filled(text.as_bytes(), &alter));
            // A header that cannot be sent is none.
            let Some(answer) = scene.ask(from, &request) else { continue };
            let refusal = serde_json::from_slice::<ErrorBody>(answer.body());
            let reason =
                refusal.map_or_else(|_| "served".to_owned(), |refusal| format!("{:?}", refusal.daypass_reason));
            *reasons.entry(reason).or_default() += 1;
            one(&mut scene, from, text.as_bytes(), &alter);
        }
    }
    for reason in [
        "served",
        "Malformed",
        "AttestationFailed",
        "CodeUsed",
        "ProofInvalid",
        "ProofTime",
        "ProofKeyUnknown",
        "DelegationInvalid",
        "DevicePending",
    ] {
        assert!(reasons.contains_key(reason), "{reason}: {reasons:?}");
    }
    let (all, malformed) = (reasons.values().sum::<usize>(), reasons["Malformed"]);
    assert!(malformed * 2 < all, "{reasons:?}");
    assert!(!reasons.contains_key("SlowDown"), "{reasons:?}");
}

#[test]
fn good_requests_are_served_however_many_bad_ones_came_before() {
    let scene = Scene::new();
    let bad = TOKEN.replace("<proof>", "x");
    let events = |kind: &str, text: &str, from| {
        let judged = (0..100).take_while(|_| told(&scene, from, text.as_bytes()).1 != "slow_down").count();
        assert_eq!(judged, 60, "{kind}");
    };
    events("token_refused", &bad, 1);
    assert!(scene.token().is_some());
    assert_eq!(told(&scene, 1, bad.as_bytes()), (429, "slow_down".to_owned()));
    // Challenges have an end, too: each can be answered wrongly, once. The scene has used one.
    let begin = scene.filled(BEGIN.as_bytes(), &Alterations::none());
    let begun = (0..100).take_while(|_| scene.ask(0, &begin).unwrap().status() == 200).count();
    assert_eq!(begun, 59);
    assert_eq!(told(&scene, 0, BEGIN.as_bytes()), (429, "slow_down".to_owned()));
    let renewal = b"POST /device/v1/renewal/begin\n\n{}";
    assert_eq!((0..100).take_while(|_| scene.ask(3, renewal).unwrap().status() == 200).count(), 60);
    assert_eq!(told(&scene, 3, renewal), (429, "slow_down".to_owned()));
}

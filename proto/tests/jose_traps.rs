//! What has gone wrong in JOSE libraries before (RFC 8725, and since), tried in every place that verifies a JWT.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that does not find what it made should panic")]

mod scene;

use aws_lc_rs::hmac;
use daypass_proto::encoding::{base64url, from_base64url};
use serde_json::{Value, json};

use self::scene::{PLACES, Place, Scene, jwk, jws};

/// The order of P-256.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7,
    0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// Every trap is refused in every place, and the untouched JWT is taken in each: it is the trap that is refused.
fn refused_everywhere(traps: impl Fn(&Scene, Place) -> Vec<(String, String)>) {
    let scene = Scene::new();
    for place in PLACES {
        assert_eq!(scene.verify(place, &scene.good(place)), Ok(()), "{place:?}");
        for (name, text) in traps(&scene, place) {
            assert!(scene.verify(place, &text).is_err(), "{place:?}: {name}: {text}");
        }
    }
}

fn named(name: &str, text: String) -> (String, String) {
    (name.to_owned(), text)
}

/// The header of a place with one member changed; `Value::Null` in `value` is JSON's `null`.
fn header_with(scene: &Scene, place: Place, member: &str, value: Value) -> String {
    let mut header = scene.header(place);
    header[member] = value;
    header.to_string()
}

#[test]
fn another_algorithm() {
    refused_everywhere(|scene, place| {
        let (payload, signer) = (scene.payload(place).to_string(), scene.signer(place));
        let header = |alg: Value| header_with(scene, place, "alg", alg);
        let mut traps = Vec::new();
        for alg in ["none", "None", "NONE", "nOnE", ""] {
            let signed = jws(signer, &header(json!(alg)), &payload);
            let unsigned = signed.rsplit_once('.').unwrap().0;
            traps.push((format!("`{alg}` without a signature"), format!("{unsigned}.")));
            traps.push((format!("`{alg}` without a third part"), unsigned.to_owned()));
            traps.push((format!("`{alg}` over a good signature"), signed.clone()));
        }
        for alg in
            ["HS256", "RS256", "PS256", "ES384", "ES512", "ES256K", "EdDSA", "Ed25519", "es256", "ES256 ", " ES256"]
        {
            traps.push((format!("`{alg}` over a good signature"), jws(signer, &header(json!(alg)), &payload)));
        }
        for alg in [json!(null), json!(["ES256"]), json!({"ES256": 1}), json!(256), json!(true)] {
            traps.push((format!("`alg` is {alg}"), jws(signer, &header(alg), &payload)));
        }
        let mut without = scene.header(place);
        without.as_object_mut().unwrap().remove("alg");
        traps.push(named("no `alg`", jws(signer, &without.to_string(), &payload)));
        // The public key is known to everybody: as the secret of a MAC it must open nothing.
        let public = signer.public();
        let secrets = [
            public.to_sec1(),
            public.to_spki_der(),
            jwk(signer).to_string().into_bytes(),
            public.x().to_vec(),
            Vec::new(),
        ];
        for secret in secrets {
            for alg in ["HS256", "ES256"] {
                let input = format!("{}.{}", base64url(header(json!(alg)).as_bytes()), base64url(payload.as_bytes()));
                let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), input.as_bytes());
                traps.push((format!("`{alg}` with a MAC"), format!("{input}.{}", base64url(mac.as_ref()))));
            }
        }
        traps
    });
}

#[test]
fn another_type() {
    refused_everywhere(|scene, place| {
        let (payload, signer) = (scene.payload(place).to_string(), scene.signer(place));
        let own = scene.header(place)["typ"].clone();
        let types = [
            "JWT",
            "jwt",
            "JOSE",
            "",
            "at+jwt",
            "kb+jwt",
            "dpop+jwt",
            "daypass-delegation+jwt",
            "application/",
            "sd+jwt",
        ];
        let mut traps: Vec<_> = types
            .into_iter()
            .map(Value::from)
            .chain([
                json!(null),
                json!([own]),
                json!(format!("{} ", own.as_str().unwrap())),
                json!(format!("application/application/{}", own.as_str().unwrap())),
                json!(format!("{}; charset=utf-8", own.as_str().unwrap())),
                json!(format!("x{}", own.as_str().unwrap())),
            ])
            .filter(|typ| *typ != own)
            .map(|typ| (format!("`typ` is {typ}"), jws(signer, &header_with(scene, place, "typ", typ), &payload)))
            .collect();
        let mut without = scene.header(place);
        without.as_object_mut().unwrap().remove("typ");
        traps.push(named("no `typ`", jws(signer, &without.to_string(), &payload)));
        traps
    });
}

#[test]
fn one_kind_of_jwt_in_place_of_another() {
    refused_everywhere(|scene, place| {
        let others = PLACES.into_iter().filter(|other| *other != place);
        // As it is; and signed by whose signature counts here, with the key that a proof brings along.
        others
            .flat_map(|other| {
                let mut header = scene.header(other);
                header["jwk"] = jwk(&scene.holder);
                header["kid"] = json!("k");
                let resigned = jws(scene.signer(place), &header.to_string(), &scene.payload(other).to_string());
                let retyped =
                    jws(scene.signer(place), &scene.header(place).to_string(), &scene.payload(other).to_string());
                [scene.good(other), resigned, retyped].map(|text| (format!("a {other:?}"), text))
            })
            .collect()
    });
}

#[test]
fn headers_that_demand_or_bring_something() {
    refused_everywhere(|scene, place| {
        let (payload, signer) = (scene.payload(place).to_string(), scene.signer(place));
        let with = |member: &str, value: Value| jws(signer, &header_with(scene, place, member, value), &payload);
        let mut traps = vec![
            named("an unknown `crit`", with("crit", json!(["x-daypass"]))),
            named("`crit` of what is known", with("crit", json!(["alg"]))),
            named("an empty `crit`", with("crit", json!([]))),
            named("`crit` is null", with("crit", json!(null))),
            named("`crit` is text", with("crit", json!("exp"))),
            named("a key that is no key", with("jwk", json!({"kty": "oct", "k": "AAAA"}))),
            named("`kid` is no text", with("kid", json!(1))),
        ];
        let mut detached = scene.header(place);
        detached["b64"] = json!(false);
        detached["crit"] = json!(["b64"]);
        traps.push(named("a payload that is not encoded", jws(signer, &detached.to_string(), &payload)));
        // The stranger's signature, with everything in the header that could lead to his key.
        for member in ["jwk", "jku", "x5u", "x5c", "x5t#S256", "kid"] {
            let value = match member {
                "jwk" => jwk(&scene.stranger),
                "x5c" => json!([base64url(&scene.stranger.public().to_spki_der())]),
                "kid" => json!(scene.stranger.public().thumbprint()),
                _ => json!("https://stranger.test/keys"),
            };
            let text = jws(&scene.stranger, &header_with(scene, place, member, value), &payload);
            traps.push((format!("the stranger's signature with his `{member}`"), text));
        }
        traps
    });
}

#[test]
fn what_leads_to_other_keys_is_ignored_where_the_signature_is_good() {
    let scene = Scene::new();
    for place in PLACES {
        for member in ["jku", "x5u", "x5c", "x5t"] {
            let header = header_with(&scene, place, member, json!("https://stranger.test/keys"));
            let text = jws(scene.signer(place), &header, &scene.payload(place).to_string());
            assert_eq!(scene.verify(place, &text), Ok(()), "{place:?}: {member}");
        }
    }
}

#[test]
fn members_that_stand_there_twice() {
    refused_everywhere(|scene, place| {
        let (header, payload) = (scene.header(place).to_string(), scene.payload(place).to_string());
        let doubled = |object: &str, member: &str| format!("{{{member},{}", &object[1..]);
        let behind = |object: &str, member: &str| format!("{},{member}}}", &object[..object.len() - 1]);
        let mut traps = Vec::new();
        for member in [
            r#""alg":"none""#,
            r#""alg":"ES256""#,
            r#""\u0061lg":"none""#,
            r#""typ":"JWT""#,
            r#""x":1,"x":2"#,
            r#""x":{"y":1,"y":1}"#,
            r#""jwk":null,"jwk":null"#,
            r#""kid":"k","kid":"k""#,
        ] {
            for header in [doubled(&header, member), behind(&header, member)] {
                traps.push((format!("in the header: {member}"), jws(scene.signer(place), &header, &payload)));
            }
        }
        let claims = scene.payload(place);
        for (name, value) in claims.as_object().unwrap() {
            for payload in
                [doubled(&payload, &format!("\"{name}\":{value}")), behind(&payload, &format!("\"{name}\":{value}"))]
            {
                traps.push((format!("in the payload: {name}"), jws(scene.signer(place), &header, &payload)));
            }
        }
        traps.push(named("an unknown claim", jws(scene.signer(place), &header, &doubled(&payload, r#""x":1,"x":2"#))));
        traps
    });
}

#[test]
fn texts_that_are_no_compact_jws() {
    refused_everywhere(|scene, place| {
        let good = scene.good(place);
        let parts: Vec<&str> = good.split('.').collect();
        let (header, payload, signature) = (parts[0], parts[1], parts[2]);
        let signer = scene.signer(place);
        let plain = |header: &str, payload: &str| jws(signer, header, payload);
        let (header_text, payload_text) = (scene.header(place).to_string(), scene.payload(place).to_string());
        let resigned = |header: &str, payload: &str| signer.sign_input(&format!("{header}.{payload}")).unwrap();
        // One text more has trailing bits to spoil: at least one of three lengths does.
        let loose = |text: &str| -> String {
            let text = (0..3).map(|n| format!("{}{}", " ".repeat(n), text)).find(|text| text.len() % 3 == 1).unwrap();
            let encoded = base64url(text.as_bytes());
            let (rest, last) = encoded.split_at(encoded.len() - 1);
            // The last of four bits that mean nothing.
            let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            let index = alphabet.find(last).unwrap();
            format!("{rest}{}", &alphabet[index + 1..index + 2])
        };
        let deep = format!("{{\"x\":{}", "[".repeat(5_000));
        vec![
            named("nothing", String::new()),
            named("dots", "..".to_owned()),
            named("two parts", format!("{header}.{payload}")),
            named("four parts", format!("{good}.AAAA")),
            named("five parts, as JWE has", format!("{header}..{payload}.{signature}.AAAA")),
            named("an empty header", format!(".{payload}.{signature}")),
            named("an empty payload", resigned(header, "")),
            named("a space in front", format!(" {good}")),
            named("a line feed behind", format!("{good}\n")),
            named("a line feed inside", format!("{header}.\n{payload}.{signature}")),
            named("padding on the header", resigned(&format!("{header}="), payload)),
            named("padding on the payload", resigned(header, &format!("{payload}=="))),
            named("padding on the signature", format!("{good}==")),
            named("spoilt bits in the header", resigned(&loose(&header_text), payload)),
            named("spoilt bits in the payload", resigned(header, &loose(&payload_text))),
            named("another alphabet", resigned(header, &format!("{payload}+/"))),
            named(
                "JSON serialization",
                json!({"protected": header, "payload": payload, "signature": signature}).to_string(),
            ),
            named("a header that is a list", plain("[]", &payload_text)),
            named("a header that is null", plain("null", &payload_text)),
            named("a header that is text", plain("\"ES256\"", &payload_text)),
            named("a header behind a byte order mark", plain(&format!("\u{feff}{header_text}"), &payload_text)),
            named("a header with something behind it", plain(&format!("{header_text}{header_text}"), &payload_text)),
            named("a header with a NUL behind it", plain(&format!("{header_text}\0"), &payload_text)),
            named("a header without end", plain(&deep, &payload_text)),
            named("a payload that is a list", plain(&header_text, "[]")),
            named("a payload that is null", plain(&header_text, "null")),
            named("a payload that is no JSON", plain(&header_text, "x")),
            named("a payload with something behind it", plain(&header_text, &format!("{payload_text}1"))),
            named("a payload without end", plain(&header_text, &deep)),
            named("a payload that is no text", resigned(header, &base64url(b"{\"x\":\"\xff\"}"))),
            named("more than is looked at", plain(&format!("{}{header_text}", " ".repeat(17_000)), &payload_text)),
        ]
    });
}

#[test]
fn signatures_that_are_none() {
    refused_everywhere(|scene, place| {
        let good = scene.good(place);
        let (input, signature) = good.rsplit_once('.').unwrap();
        let raw = from_base64url(signature).unwrap();
        let (r, s) = raw.split_at(32);
        let with = |bytes: &[u8]| format!("{input}.{}", base64url(bytes));
        let integer = |value: &[u8]| [&[2, 33, 0], value].concat();
        let der = [&[0x30, 70][..], &integer(r), &integer(s)].concat();
        let other = scene.with(place, |claims| claims["jti"] = json!("another"));
        let foreign = jws(&scene.stranger, &scene.header(place).to_string(), &scene.payload(place).to_string());
        let mut spoilt = signature.to_owned();
        // 64 bytes leave four bits over: 86 characters with 516 bits.
        let last = spoilt.pop().unwrap();
        spoilt.push(if last == 'A' { 'B' } else { char::from(last as u8 + 1) });
        vec![
            named("an empty one", format!("{input}.")),
            named("half of one", with(r)),
            named("63 bytes", with(&raw[..63])),
            named("65 bytes", with(&[&raw[..], &[0]].concat())),
            named("that of P-384", with(&[0x11; 96])),
            named("in DER", with(&der)),
            named("its halves exchanged", with(&[s, r].concat())),
            named("its bytes reversed", with(&raw.iter().rev().copied().collect::<Vec<_>>())),
            named("r is zero", with(&[&[0; 32], s].concat())),
            named("s is zero", with(&[r, &[0; 32]].concat())),
            named("both are zero", with(&[0; 64])),
            named("r is the order", with(&[&ORDER, s].concat())),
            named("s is the order", with(&[r, &ORDER].concat())),
            named("both are the order", with(&[ORDER, ORDER].concat())),
            named("all ones", with(&[0xff; 64])),
            named(
                "one bit is another",
                with(&{
                    let mut bytes = raw.clone();
                    bytes[40] ^= 1;
                    bytes
                }),
            ),
            named("with spoilt bits", format!("{input}.{spoilt}")),
            named("of another payload", format!("{input}.{}", other.rsplit_once('.').unwrap().1)),
            named("of somebody else", foreign),
        ]
    });
}

/// ES256 has no rule against a high `s`; whoever remembers what was used must not go by the signature's text.
#[test]
fn the_twin_of_a_signature_is_as_good_and_is_the_same_presentation() {
    let scene = Scene::new();
    for place in PLACES {
        assert_eq!(scene.verify(place, &twin(&scene.good(place))), Ok(()), "{place:?}");
    }
    let binding = scene.good(Place::KeyBinding);
    let hash = |binding: &str| scene.presentation(&format!("{}~{binding}", scene.token), scene::NOW).unwrap().hash();
    assert_ne!(binding, twin(&binding));
    assert_eq!(hash(&binding), hash(&twin(&binding)));
}

fn twin(text: &str) -> String {
    let (input, signature) = text.rsplit_once('.').unwrap();
    let mut bytes = from_base64url(signature).unwrap();
    let mut borrow = 0;
    for at in (0..32).rev() {
        let difference = i16::from(ORDER[at]) - i16::from(bytes[32 + at]) - borrow;
        borrow = i16::from(difference < 0);
        bytes[32 + at] = difference.rem_euclid(256) as u8;
    }
    format!("{input}.{}", base64url(&bytes))
}

#[test]
fn a_type_may_be_written_in_any_case_and_in_full() {
    let scene = Scene::new();
    for place in PLACES {
        let own = scene.header(place)["typ"].as_str().unwrap().to_owned();
        for typ in [own.to_uppercase(), format!("application/{own}"), format!("Application/{}", own.to_uppercase())] {
            let text = jws(
                scene.signer(place),
                &header_with(&scene, place, "typ", json!(typ)),
                &scene.payload(place).to_string(),
            );
            assert_eq!(scene.verify(place, &text), Ok(()), "{place:?}: {typ}");
        }
    }
}

//! HTTP APIs.

use super::*;

fn path(text: &str) -> ApiPath {
    text.parse().unwrap()
}

fn glob(text: &str) -> PathPattern {
    text.parse().unwrap()
}

const API: &str = r#"[{"type":"http_api","locations":["https://api/"],"actions":["GET","POST"],"paths":["/v1/items/*","/v1/reports/**"]}]"#;

#[test]
fn what_is_not_understood_is_refused() {
    assert_eq!(serde_json::to_string(&details(API)).unwrap(), API);
    for (from, to) in [
        ("\"GET\"", "\"get\""),
        ("\"GET\"", "\"TRACE\""),
        ("\"GET\"", "\"CONNECT\""),
        ("\"GET\"", "\"*\""),
        ("https://api/", "http://api/"),
        ("https://api/", "https://api/v1"),
        ("\"GET\",\"POST\"", ""),
        ("[\"https://api/\"]", "[]"),
        ("[\"/v1/items/*\",\"/v1/reports/**\"]", "[]"),
        ("\"paths\"", "\"refs\""),
        ("\"locations\"", "\"query\":\"x\",\"locations\""),
    ] {
        let bad = API.replace(from, to);
        assert_ne!(bad, API);
        assert!(serde_json::from_str::<AuthorizationDetails>(&bad).is_err(), "{bad}");
    }
    let many = format!("[{}]", vec!["\"/a\""; 65].join(","));
    let bad = API.replace("[\"/v1/items/*\",\"/v1/reports/**\"]", &many);
    assert!(serde_json::from_str::<AuthorizationDetails>(&bad).is_err());
}

#[test]
fn a_request_is_matched_by_method_and_path() {
    let granted = details(API);
    let (here, there): (Resource, Resource) = ("https://api/".parse().unwrap(), "https://other/".parse().unwrap());
    let may = |resource, method, text| granted.allows(HttpAccess { resource, method, path: &path(text) });
    assert!(may(&here, HttpMethod::Get, "/v1/items/7"));
    assert!(may(&here, HttpMethod::Head, "/v1/items/7"), "what HEAD tells, GET tells as well");
    assert!(may(&here, HttpMethod::Post, "/v1/reports/2026/11/"));
    assert!(!may(&there, HttpMethod::Get, "/v1/items/7"));
    for method in [HttpMethod::Delete, HttpMethod::Put, HttpMethod::Patch, HttpMethod::Options] {
        assert!(!may(&here, method, "/v1/items/7"), "{method}");
    }
    for text in
        ["/", "/v1/items", "/v1/items/", "/v1/items/7/", "/v1/items/7/x", "/V1/items/7", "/v1/reports/", "/v2/x"]
    {
        assert!(!may(&here, HttpMethod::Get, text), "{text}");
    }
    let head = details(&API.replace("\"GET\",\"POST\"", "\"HEAD\""));
    assert!(!head.allows(HttpAccess { resource: &here, method: HttpMethod::Get, path: &path("/v1/items/7") }));
}

#[test]
fn neither_type_gives_the_other() {
    let (api, git) = (details(API), details(&APP.replace("https://h/", "https://api/")));
    let repository: Repository = "https://api/team/app".parse().unwrap();
    assert!(!api.allows(GitAccess::Read(&repository)));
    let (resource, path) = (repository.resource(), path("/team/app"));
    assert!(!git.allows(HttpAccess { resource: &resource, method: HttpMethod::Get, path: &path }));
    assert!(api.is_subset_of(&git).is_err() && git.is_subset_of(&api).is_err());
    let both: AuthorizationDetails = api.iter().chain(git.iter()).cloned().collect::<Vec<_>>().try_into().unwrap();
    assert!(api.is_subset_of(&both).is_ok() && git.is_subset_of(&both).is_ok());
    assert_eq!(both.at_resource(&resource), both);
    assert_eq!(both.at_repository(&repository), git);
    assert_eq!((both.resources().len(), both.repositories().len()), (1, 1));
}

#[test]
fn subset_names_what_is_beyond() {
    let grant = details(API);
    for (from, to, beyond) in [
        ("\"POST\"", "\"HEAD\"", None),
        ("/v1/items/*", "/v1/items/7", None),
        ("\"POST\"", "\"DELETE\"", Some("`DELETE` of `/v1/items/*` at `https://api/` is not covered")),
        ("/v1/items/*", "/v1/**", Some("`GET` of `/v1/**` at `https://api/` is not covered")),
        ("https://api/", "https://b/", Some("`GET` of `/v1/items/*` at `https://b/` is not covered")),
    ] {
        let asked = details(&API.replace(from, to));
        assert_eq!(asked.is_subset_of(&grant).err().map(|error| error.to_string()).as_deref(), beyond, "{to}");
    }
}

#[test]
fn paths_with_two_meanings_are_refused() {
    for bad in [
        "",
        "v1",
        "//",
        "//v1",
        "/v1//x",
        "/v1/./x",
        "/v1/..",
        "/../v1",
        "/v1/%2e%2e/x",
        "/v1/%2E/x",
        "/v1%2Fx",
        "/v1%5Cx",
        "/v1\\x",
        "/v1;x/y",
        "/v1/..;/admin",
        "/%76%31",
        "/v1%00",
        "/v1%0A",
        "/v1%c3%bc",
        "/v1/%C3",
        "/v1/%C2%85",
        "/v1/%C0%AF",
        "/v1/%2",
        "/v1/%",
        "/v1?x",
        "/v1#x",
        "/v1/ü",
        "/v1/a b",
        "/v1/*",
        "https://h/v1",
        "*",
    ] {
        assert!(bad.parse::<ApiPath>().is_err(), "{bad:?}");
    }
    for good in ["/", "/v1", "/v1/", "/v1/a%20b", "/v1/%C3%BC", "/~a/b.c/d@e:f", "/..."] {
        assert_eq!(path(good).as_str(), good);
    }
    assert!(
        matches!(format!("/{}", "a".repeat(2048)).parse::<ApiPath>(), Err(PathError::Length(shown)) if shown.len() == 256)
    );
    for bad in ["/a**", "/***", "/**/", "/a/**/", "*", "/v1/%2A"] {
        assert!(bad.parse::<PathPattern>().is_err(), "{bad:?}");
    }
}

/// The model: no cleverness; a final slash is one more fact about a path.
fn model(pattern: &str, path: &str) -> bool {
    fn parts(text: &str) -> Vec<&str> {
        text.split('/').filter(|part| !part.is_empty()).collect()
    }
    model_matches(&parts(pattern), &parts(path))
        && (pattern.ends_with("**") || pattern.ends_with('/') == path.ends_with('/'))
}

fn some_glob() -> impl Strategy<Value = String> {
    let part = prop_oneof![Just("**".to_owned()), "[ab*]{1,2}".prop_filter("`**` is whole", |part| part != "**")];
    (prop::collection::vec(part, 0..3), prop::bool::ANY).prop_map(|(parts, slash)| {
        let slash = parts.is_empty() || (slash && parts.last().is_some_and(|part| part != "**"));
        format!("/{}{}", parts.join("/"), if slash && !parts.is_empty() { "/" } else { "" })
    })
}

fn every_path() -> Vec<String> {
    let parts = ["a", "b", "aa", "ab", "ba"];
    let one = parts.map(|part| format!("/{part}"));
    let two = one.iter().flat_map(|path| parts.map(|part| format!("{path}/{part}")));
    let three = two.clone().flat_map(|path| ["a", "ab"].map(|part| format!("{path}/{part}")));
    let plain: Vec<String> = one.iter().cloned().chain(two).chain(three).collect();
    plain.iter().map(|path| format!("{path}/")).chain(plain.iter().cloned()).chain(["/".to_owned()]).collect()
}

proptest! {
    #[test]
    fn matching_agrees_with_the_model(text in some_glob()) {
        for name in every_path() {
            prop_assert_eq!(glob(&text).matches(&path(&name)), model(&text, &name), "{} {}", text, name);
        }
    }

    #[test]
    fn containment_is_never_wrongly_yes(inner in some_glob(), outer in some_glob()) {
        if glob(&inner).is_within(&glob(&outer)) {
            for name in every_path() {
                prop_assert!(!model(&inner, &name) || model(&outer, &name), "{} {} {}", inner, outer, name);
            }
        }
        prop_assert!(glob(&inner).is_within(&glob(&inner)));
    }

    #[test]
    fn a_subset_allows_nothing_more(
        asked in prop::collection::vec((some_glob(), 0..4_usize), 1..3),
        given in prop::collection::vec((some_glob(), 0..4_usize), 1..3),
    ) {
        const METHODS: [HttpMethod; 4] = [HttpMethod::Get, HttpMethod::Head, HttpMethod::Post, HttpMethod::Delete];
        let build = |parts: &[(String, usize)]| {
            let list: Vec<_> = parts.iter().map(|(paths, method)| serde_json::json!({
                "type": "http_api", "locations": ["https://h/"], "actions": [METHODS[*method]], "paths": [paths],
            })).collect();
            details(&serde_json::Value::from(list).to_string())
        };
        let (asked, given) = (build(&asked), build(&given));
        let resource: Resource = "https://h/".parse().unwrap();
        if asked.is_subset_of(&given).is_ok() {
            for text in every_path() {
                let name = path(&text);
                for method in METHODS {
                    let access = HttpAccess { resource: &resource, method, path: &name };
                    prop_assert!(!asked.allows(access) || given.allows(access));
                }
            }
        }
    }

    #[test]
    fn what_is_a_path_has_one_meaning(text in "/[ab.%/;*~ü2EFC3-]{0,12}") {
        if let Ok(path) = text.parse::<ApiPath>() {
            // What the URL parser of the web makes of it, and of its decoded form, is the same.
            let url = url::Url::parse(&format!("https://h{path}")).unwrap();
            prop_assert_eq!(url.path(), path.as_str());
            prop_assert!(path.as_str() == "/" || !path.as_str().contains("//"));
        }
    }
}

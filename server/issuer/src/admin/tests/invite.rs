//! What an owner can bind an invitation to.

use serde_json::{Value, json};

use super::{World, is};

const INVITATIONS: &str = "/admin/v1/invitations";

fn with(terms: Value, until: Option<&str>) -> Value {
    let mut asked =
        json!({"collaborator": "carol", "project": "apollo", "role": "developer", "terms": terms, "reason": "audit"});
    if let Some(until) = until {
        asked["until"] = until.into();
    }
    asked
}

#[tokio::test]
async fn an_invitation_is_narrowed_as_on_the_issuers_machine() {
    let world = World::new().await;
    let owner = world.owner().await;
    let text = std::fs::read_to_string(world.made.issuer.config.policy.join("projects/apollo.toml")).unwrap();
    let phase = "[phases.build]\nends = 2026-12-01T00:00:00Z\n[roles.developer]\nuses = 9\n";
    world.made.project(&text.replace("[roles.developer]\n", phase)).await;
    let terms = json!({
        "not_before": "1d", "phase": "build", "uses": 3, "networks": ["192.0.2.0/24"], "trust_tiers": ["ek_chain"],
        "secure_boot": true,
    });
    let made = world.good(&owner, "POST", INVITATIONS, with(terms.clone(), None)).await;
    let begins = world.made.now().plus(86_400).seconds();
    let mut given = terms;
    given["not_before"] = json!(begins);
    given["grace"] = json!(0);
    assert_eq!(made["terms"], given);
    let phase_ends: daypass_proto::time::Timestamp =
        crate::until::until("2026-12-01T00:00:00Z", world.made.now(), &jiff::tz::TimeZone::UTC).unwrap();
    assert_eq!(made["until"], json!(phase_ends), "it ends with its phase");
    let grant = made["invitation"]["grant"].as_str().unwrap();
    let shown = world.good(&owner, "GET", &format!("/admin/v1/grants/{grant}"), Value::Null).await;
    assert_eq!((&shown["terms"], &shown["used"]), (&given, &json!(0)));
    // The role's own number holds where nobody says less.
    let made = world.good(&owner, "POST", INVITATIONS, with(json!({}), Some("7d"))).await;
    assert_eq!(made["terms"]["uses"], 9);

    for (terms, until) in [
        (json!({"uses": 0}), Some("7d")),
        (json!({"uses": 10}), Some("7d")),
        (json!({"phase": "biuld"}), Some("7d")),
        (json!({"phase": "biuld"}), None),
        (json!({"not_before": "8d"}), Some("7d")),
        (json!({"networks": ["192.0.2.1/24"]}), Some("7d")),
        (json!({"trust_tiers": ["best"]}), Some("7d")),
        (json!({"ek_hash": "00"}), Some("7d")),
        (json!({}), None),
    ] {
        let refused = world.refused(&owner, "POST", INVITATIONS, with(terms.clone(), until)).await;
        assert_eq!(refused, is(400, "malformed"), "{terms}");
    }
}

#[tokio::test]
async fn everything_that_goes_beyond_the_policy_is_shown_before_it_is_refused() {
    let world = World::new().await;
    let owner = world.owner().await;
    world.made.edit_policy(&[("[roles.developer]\n", "[roles.developer]\nuses = 3\n")]).await;
    let asked = |dry_run: bool| {
        let mut asked = with(json!({"uses": 9}), Some("4000d"));
        asked["dry_run"] = dry_run.into();
        asked
    };
    let would = world.good(&owner, "POST", INVITATIONS, asked(true)).await;
    let excess: Vec<&str> = would["excess"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    assert!(
        matches!(&excess[..], [end, uses] if end.contains("allows until") && uses.contains("9 tokens")),
        "{excess:?}"
    );
    assert_eq!(would["invitation"], Value::Null);
    assert_eq!(world.refused(&owner, "POST", INVITATIONS, asked(false)).await, is(400, "malformed"));
    let phase = json!({"collaborator": "carol", "project": "apollo", "role": "developer", "terms": {"phase": "biuld"}, "dry_run": true});
    let would = world.good(&owner, "POST", INVITATIONS, phase).await;
    assert!(
        would["excess"].as_array().is_some_and(|all| all.len() == 1),
        "that there is no such phase alone: {would:#}"
    );
    assert_eq!(world.made.events("invited").await.len(), 0);
}

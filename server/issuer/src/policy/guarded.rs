//! What in another version of the policy guards others: owners, sensitivity, and what is trusted of devices. One person alone does not change it, or
//! editing the policy would undo that two must approve.

use std::collections::{BTreeMap, BTreeSet};

use daypass_proto::resource::Resource;

use super::{Mode, Policy, Project, Role, Rule, role::Sensitivity};

/// Each such change, in words; none where nobody's second word is needed.
pub fn guarded(old: &Policy, new: &Policy) -> Vec<String> {
    let mut found = Vec::new();
    let none = BTreeMap::new();
    let sensitive = resources_of_sensitive(old);
    for (name, project) in &new.projects {
        let before = old.projects.get(name);
        owners(name.as_str(), before, project, &mut found);
        let roles = before.map_or(&none, |before| &before.roles);
        for (role, after) in &project.roles {
            sensitivity(&format!("`{role}` of `{name}`"), roles.get(role), after, &sensitive, &mut found);
        }
    }
    // In two steps, what took two people would be forgotten, and then given by one.
    for (name, project) in &old.projects {
        let after = new.projects.get(name).map_or(&none, |after| &after.roles);
        let sensitive = project.roles.iter().filter(|(_, role)| role.sensitivity == Sensitivity::Sensitive);
        for (role, _) in sensitive.filter(|(role, _)| !after.contains_key(*role)) {
            found.push(format!("role `{role}` of `{name}`, which is sensitive, is gone"));
        }
    }
    trust(old, new, &mut found);
    found
}

fn owners(name: &str, before: Option<&Project>, after: &Project, found: &mut Vec<String>) {
    let set = |project: &Project| -> BTreeSet<String> { project.owners.iter().cloned().collect() };
    let (was, is) = (before.map(set).unwrap_or_default(), set(after));
    found.extend(is.difference(&was).map(|owner| format!("`{owner}` becomes an owner of `{name}`")));
    found.extend(was.difference(&is).map(|owner| format!("`{owner}` is no owner of `{name}` any more")));
}

/// What takes two people today, anywhere.
fn resources_of_sensitive(policy: &Policy) -> BTreeSet<Resource> {
    let sensitive = policy.roles().filter(|role| role.sensitivity == Sensitivity::Sensitive);
    sensitive.flat_map(Role::resources).collect()
}

fn sensitivity(
    name: &str,
    before: Option<&Role>,
    after: &Role,
    sensitive: &BTreeSet<Resource>,
    found: &mut Vec<String>,
) {
    match before.map(|before| before.sensitivity) {
        Some(was) if was != after.sensitivity => {
            let now = if after.sensitivity == Sensitivity::Sensitive { "becomes" } else { "is no longer" };
            found.push(format!("role {name} {now} sensitive"));
        }
        Some(Sensitivity::Sensitive)
            if before.is_some_and(|before| before.template.text() != after.template.text()) =>
        {
            found.push(format!("role {name}, which is sensitive, gives something else"));
        }
        Some(Sensitivity::Sensitive) if before.is_some_and(|before| after.is_looser_than(before)) => {
            found.push(format!("role {name}, which is sensitive, gives more, for longer, or by weaker proofs"));
        }
        // A second role beside a sensitive one would give with one approval what takes two.
        was => {
            let same = before.is_some_and(|before| before.template.text() == after.template.text());
            let beside = after.resources().iter().any(|resource| sensitive.contains(resource));
            if was != Some(Sensitivity::Sensitive) && after.sensitivity == Sensitivity::Normal && !same && beside {
                found.push(format!("role {name} reaches what a sensitive role reaches, and one owner approves it"));
            }
        }
    }
}

fn trust(old: &Policy, new: &Policy, found: &mut Vec<String>) {
    let rules = |policy: &Policy| -> BTreeMap<String, Rule> {
        policy.guardrails().rules().map(|rule| (rule.id.clone(), rule.clone())).collect()
    };
    let (was, is) = (rules(old), rules(new));
    for (id, before) in was.iter().filter(|(_, before)| before.about_devices && before.mode == Mode::Enforce) {
        match is.get(id) {
            None => found.push(format!("guardrail `{id}`, which says what is trusted of a device, is gone")),
            Some(after) if after.mode != Mode::Enforce => {
                found.push(format!("guardrail `{id}`, which says what is trusted of a device, is only watched"));
            }
            Some(after) if after.body != before.body => {
                found.push(format!("guardrail `{id}`, which says what is trusted of a device, reads otherwise"));
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Files;

    const PROJECT: &str = r#"
owners = ["olga", "otto"]
[roles.developer]
token_lifetime = "10m"
longest_grant = "90d"
[[roles.developer.authorization_details]]
type = "git_repository"
locations = ["https://h/team/app"]
actions = ["read"]
[roles.release]
token_lifetime = "10m"
longest_grant = "90d"
sensitivity = "sensitive"
[[roles.release.authorization_details]]
type = "git_repository"
locations = ["https://secret/team/app"]
actions = ["push"]
refs = ["refs/heads/main"]
"#;
    const RULE: &str = r#"@id("tpm") @reason("x") @mode("enforce")
forbid (principal, action, resource) when { principal.trust_tier == "virtual" };
"#;

    fn policy(project: &str, rules: &str) -> Policy {
        let files: Files = [("projects/apollo.toml", project), ("guardrails/g.cedar", rules)].into_iter().collect();
        Policy::check(&files).unwrap_or_else(|error| panic!("{error}"))
    }

    fn changed(from: &str, to: &str) -> Vec<String> {
        let (project, rules) = (
            PROJECT.replacen(from, to, if from.starts_with("roles.release") { 9 } else { 1 }),
            RULE.replacen(from, to, 1),
        );
        assert!(project != PROJECT || rules != RULE, "{from}");
        guarded(&policy(PROJECT, RULE), &policy(&project, &rules))
    }

    #[test]
    fn a_guardrail_about_devices_is_guarded_however_it_asks() {
        let rule = |condition: &str| RULE.replace("principal.trust_tier == \"virtual\"", condition);
        for condition in [
            "principal.os == \"x\"",
            "principal[\"os\"] == \"x\"",
            "principal.agent_version like \"0.*\"",
            "principal has secure_boot && !principal.secure_boot",
            "principal has pcr7",
            "context.protection == \"software\"",
            "resource.protection == \"delegated\"",
            "(if context.risk == 1 then principal else principal).os == \"x\"",
            "[{a: principal}].contains({a: principal}) && {a: principal}.a.os == \"x\"",
        ] {
            let found = guarded(&policy(PROJECT, &rule(condition)), &policy(PROJECT, ""));
            assert_eq!(found.len(), 1, "{condition}: {found:?}");
        }
        for condition in [
            "context.risk == 1",
            "context.resource == \"principal.os\"",
            "context has address && context.address.isLoopback()",
            "context has caller && context.caller.peer has unit && context.caller.peer.unit == \"os\"",
        ] {
            let found = guarded(&policy(PROJECT, &rule(condition)), &policy(PROJECT, ""));
            assert_eq!(found, [""; 0], "{condition}");
        }
    }

    #[test]
    fn what_guards_others_is_named_and_nothing_else_is() {
        let other = "[roles.other]\ntoken_lifetime = \"10m\"\nlongest_grant = \"90d\"\n[[roles.other.authorization_details]]\ntype = \"git_repository\"\nlocations = [\"https://secret/team/app\"]\nactions = [\"read\"]\n[roles.release]";
        for (from, to, word) in [
            ("\"otto\"]", "\"otto\", \"mallory\"]", "`mallory` becomes an owner of `apollo`"),
            ("\"olga\", \"otto\"]", "\"olga\", \"eve\"]", "`otto` is no owner"),
            ("sensitivity = \"sensitive\"\n", "", "is no longer sensitive"),
            ("roles.release", "roles.renamed", "`release` of `apollo`, which is sensitive, is gone"),
            (
                "https://secret/team/app",
                "https://elsewhere/team/app",
                "`release` of `apollo`, which is sensitive, gives",
            ),
            ("[roles.release]", other, "`other` of `apollo` reaches what a sensitive role reaches"),
            ("https://h/team/app", "https://secret/team/app", "`developer` of `apollo` reaches"),
            ("\"enforce\"", "\"monitor\"", "is only watched"),
            ("\"virtual\"", "\"software\"", "reads otherwise"),
            (RULE, "", "is gone"),
        ] {
            let found = changed(from, to);
            assert!(found.iter().any(|text| text.contains(word)), "{to}: {found:?}");
        }
        for (from, to) in
            [("10m", "9m"), ("https://h/team/app", "https://h/team/web"), ("\"x\"", "\"y\""), ("90d", "30d")]
        {
            assert_eq!(changed(from, to), [""; 0], "{to}");
        }
        // A sensitive role's limits are what two people approved by.
        let release = |more: &str| {
            let text =
                PROJECT.replace("sensitivity = \"sensitive\"\n", &format!("sensitivity = \"sensitive\"\n{more}"));
            policy(&text, RULE)
        };
        for (was, is) in [
            ("uses = 3\n", "uses = 4\n"),
            ("uses = 3\n", ""),
            ("longest_total = \"200d\"\n", ""),
            ("renewal = \"none\"\n", ""),
            ("", "protection = \"delegated\"\n"),
        ] {
            let found = guarded(&release(was), &release(is));
            assert!(found.len() == 1 && found[0].contains("gives more"), "{was} to {is}: {found:?}");
        }
        for (was, is) in [
            ("protection = \"delegated\"\n", ""),
            ("uses = 4\n", "uses = 3\n"),
            ("", "uses = 3\n"),
            ("", "longest_total = \"200d\"\n"),
        ] {
            assert_eq!(guarded(&release(was), &release(is)), [""; 0], "{was} to {is}");
        }
        assert_eq!(guarded(&Policy::default(), &policy(PROJECT, RULE)).len(), 2, "a new project has new owners");
        assert_eq!(guarded(&policy(PROJECT, RULE), &policy(PROJECT, "")).len(), 1);
    }
}

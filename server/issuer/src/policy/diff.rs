//! What another version of the policy changes, in people's words: who gains what, and who loses what.
//!
//! Details are compared as requests are compared with grants, atom by atom. Where that cannot tell, it says that something is gained *and* something is
//! lost, never that nothing is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use daypass_proto::{
    authorization::AuthorizationDetails,
    names::{Collaborator, PhaseName, ProjectName, RoleName},
    token::Protection,
};
use jiff::SignedDuration;
use serde::Serialize;

use super::{
    Demand, Files, Mode, Phase, Policy, Project, Renewal, Role, Rule, Sensitivity, Template,
    files::{BRIEFING, EXAMPLES, GUARDRAILS, PROJECTS},
    project::{PROBE, USER},
};

/// Which way a difference goes, for those who ask for tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// More is possible.
    Gains,
    /// Less is possible.
    Loses,
    /// Neither, or it depends.
    Changes,
}

/// What a difference is about.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// A project.
    Project(ProjectName),
    /// A role of a project.
    Role(ProjectName, RoleName),
    /// A guardrail, which is asked for everybody.
    Guardrail(String),
    /// A file.
    File(String),
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Project(project) => write!(f, "project `{project}`"),
            Self::Role(project, role) => write!(f, "role `{role}` of `{project}`"),
            Self::Guardrail(id) => write!(f, "guardrail `{id}`"),
            Self::File(name) => write!(f, "file `{name}`"),
        }
    }
}

/// One difference.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Difference {
    /// What it is about.
    pub about: About,
    /// Which way it goes.
    pub effect: Effect,
    /// What is different.
    pub text: String,
}

/// One version: its files, and what they say.
#[derive(Clone, Copy)]
pub struct Version<'a> {
    /// The files.
    pub files: &'a Files,
    /// What they say.
    pub policy: &'a Policy,
}

/// Everything that `new` makes different, in order of what it is about.
pub fn differences(old: Version<'_>, new: Version<'_>) -> Vec<Difference> {
    let mut told = Telling(Vec::new());
    for (name, old, new) in both(&old.policy.projects, &new.policy.projects) {
        told.project(name, old, new);
    }
    let rules = |policy: &'_ Policy| -> BTreeMap<String, Rule> {
        policy.guardrails().rules().map(|rule| (rule.id.clone(), rule.clone())).collect()
    };
    for (id, old, new) in both(&rules(old.policy), &rules(new.policy)) {
        told.guardrail(id, old, new);
    }
    told.files(old, new);
    told.0
}

/// Everything that is on one of two sides, or on both.
fn both<'a, K: Ord, V>(
    old: &'a BTreeMap<K, V>,
    new: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, Option<&'a V>, Option<&'a V>)> {
    let keys: BTreeSet<&K> = old.keys().chain(new.keys()).collect();
    keys.into_iter().map(|key| (key, old.get(key), new.get(key)))
}

struct Telling(Vec<Difference>);

/// What a role gives somebody, at some time.
type Of = fn(&Role, &Collaborator) -> Result<AuthorizationDetails, String>;

impl Telling {
    fn say(&mut self, about: &About, effect: Effect, text: impl Into<String>) {
        self.0.push(Difference { about: about.clone(), effect, text: text.into() });
    }

    /// Says what the details give and take. What cannot be compared is said to be so: silence would call it the same.
    fn details(&mut self, about: &About, old: Option<&Role>, new: Option<&Role>, (of, when): (Of, &str)) {
        let compared = somebody(old, new).and_then(|(somebody, collaborator)| {
            let given = |role: Option<&Role>| match role {
                Some(role) => of(role, &collaborator).ok(),
                None => Some(AuthorizationDetails::default()),
            };
            Some((somebody, given(old)?, given(new)?))
        });
        let Some((somebody, before, after)) = compared else {
            return self.say(about, Effect::Changes, "what the role allows cannot be compared: read both versions");
        };
        for gained in after.beyond(&before) {
            self.say(about, Effect::Gains, gained.what().replace(&somebody, USER) + when);
        }
        for lost in before.beyond(&after) {
            self.say(about, Effect::Loses, lost.what().replace(&somebody, USER) + when);
        }
    }

    /// Says what something is now and was before, where that differs; `none` is what stands for nothing.
    fn named(&mut self, about: &About, what: &str, none: &str, old: Option<&str>, new: Option<&str>) {
        if old != new {
            let shown = |name: Option<&str>| name.map_or(none.to_owned(), |name| format!("`{name}`"));
            self.say(about, Effect::Changes, format!("{what} is {}, and was {}", shown(new), shown(old)));
        }
    }

    fn project(&mut self, name: &ProjectName, old: Option<&Project>, new: Option<&Project>) {
        let about = About::Project(name.clone());
        match (old, new) {
            (None, Some(_)) => self.say(&about, Effect::Gains, "the project is new"),
            (Some(_), None) => self.say(&about, Effect::Loses, "the project is gone, and all access in it with it"),
            _ => {}
        }
        let owners = |project: Option<&Project>| -> BTreeSet<String> {
            project.map(|project| project.owners.iter().cloned().collect()).unwrap_or_default()
        };
        let (before, after) = (owners(old), owners(new));
        for owner in after.difference(&before) {
            self.say(&about, Effect::Changes, format!("`{owner}` becomes an owner, and approves"));
        }
        for owner in before.difference(&after) {
            self.say(&about, Effect::Changes, format!("`{owner}` is no owner any more"));
        }
        if let (Some(old), Some(new)) = (old, new) {
            self.named(&about, "the contact", "nobody", old.contact.as_deref(), new.contact.as_deref());
            let zone =
                |project: &Project| project.time_zone.as_ref().and_then(|zone| zone.iana_name().map(str::to_owned));
            if old.briefing != new.briefing {
                let text = match new.briefing {
                    Demand::Required => "there is no token before the briefing was read and accepted",
                    Demand::Offered => "nobody must accept the briefing any more",
                };
                let effect = if new.briefing == Demand::Required { Effect::Loses } else { Effect::Gains };
                self.say(&about, effect, text);
            }
            let words = |project: &Project| project.briefing_text.as_ref().map(Template::hash);
            if words(old) != words(new) {
                let again = if new.briefing == Demand::Required { ", and is accepted anew" } else { "" };
                self.say(&about, Effect::Changes, format!("the owners' text of the briefing is another{again}"));
            }
            self.named(&about, "the time zone", "the issuer's", zone(old).as_deref(), zone(new).as_deref());
        }
        let none = BTreeMap::new();
        let (before, after) = (old.map_or(&none, |old| &old.phases), new.map_or(&none, |new| &new.phases));
        for (phase, old, new) in both(before, after) {
            self.phase(&about, phase, old, new);
        }
        let none = BTreeMap::new();
        let (before, after) = (old.map_or(&none, |old| &old.roles), new.map_or(&none, |new| &new.roles));
        for (role, old, new) in both(before, after) {
            self.role(&About::Role(name.clone(), role.clone()), old, new);
        }
    }

    fn phase(&mut self, about: &About, name: &PhaseName, old: Option<&Phase>, new: Option<&Phase>) {
        let lasts = |phase: &Phase| {
            let begins = phase.begins.map(|begins| format!("begins at {begins} and ")).unwrap_or_default();
            format!("{begins}ends at {}", phase.ends)
        };
        match (old, new) {
            (Some(old), Some(new)) if old != new => {
                let text = format!("phase `{name}` {}; before, it {}", lasts(new), lasts(old));
                // Nobody's begin is before every begin.
                let effect = match (
                    new.ends >= old.ends && new.begins <= old.begins,
                    new.ends <= old.ends && new.begins >= old.begins,
                ) {
                    (true, _) => Effect::Gains,
                    (_, true) => Effect::Loses,
                    _ => Effect::Changes,
                };
                self.say(about, effect, text);
            }
            (None, Some(new)) => {
                self.say(about, Effect::Gains, format!("phase `{name}` is new, and {}", lasts(new)));
            }
            (Some(_), None) => {
                let text = format!("phase `{name}` is gone; what is granted for it gives nothing any more");
                self.say(about, Effect::Loses, text);
            }
            _ => {}
        }
    }

    fn role(&mut self, about: &About, old: Option<&Role>, new: Option<&Role>) {
        match (old, new) {
            (None, Some(new)) => {
                let text = format!(
                    "the role is new: {}; grants in it that stand from before count again",
                    limits(new).join(", ")
                );
                self.say(about, Effect::Gains, text);
            }
            (Some(_), None) => {
                self.say(about, Effect::Loses, "the role is gone; whoever is in it gets no token any more")
            }
            _ => {}
        }
        self.details(about, old, new, (Role::details_for, ""));
        if [old, new].into_iter().flatten().any(|role| role.grace.is_some()) {
            self.details(about, old, new, (Role::grace_for, ", in grace"));
        }
        let (Some(old), Some(new)) = (old, new) else { return };
        let longer = |old: i64, new: i64| if new > old { Effect::Gains } else { Effect::Loses };
        if old.token_lifetime != new.token_lifetime {
            let text = format!(
                "tokens live for {} at most, and did for {}",
                span(new.token_lifetime),
                span(old.token_lifetime)
            );
            self.say(about, longer(old.token_lifetime, new.token_lifetime), text);
        }
        if old.longest_grant != new.longest_grant {
            let text = format!(
                "new grants last for {} at most, and did for {}; those that stand keep their end",
                span(new.longest_grant),
                span(old.longest_grant)
            );
            self.say(about, longer(old.longest_grant, new.longest_grant), text);
        }
        if old.protection != new.protection {
            let (effect, text) = if new.protection == Protection::Delegated {
                (Effect::Gains, "proofs by a key in the agent's memory are taken, too")
            } else {
                (Effect::Loses, "proofs are taken from the TPM only, and no longer by a key in the agent's memory")
            };
            self.say(about, effect, text);
        }
        self.limits(about, old, new);
    }

    fn limits(&mut self, about: &About, old: &Role, new: &Role) {
        // No limit is the widest one.
        let wider = |old: Option<i64>, new: Option<i64>| {
            let rank = |limit: Option<i64>| limit.unwrap_or(i64::MAX);
            if rank(new) > rank(old) { Effect::Gains } else { Effect::Loses }
        };
        if old.longest_total != new.longest_total {
            let text = now_and_before(&total(new.longest_total), &total(old.longest_total));
            self.say(about, wider(old.longest_total, new.longest_total), text);
        }
        let [before, after] = [old, new].map(|role| role.grace.as_ref().map_or(0, |grace| grace.seconds));
        if before != after {
            let text = now_and_before(&grace_of(new), &grace_of(old));
            self.say(about, if after > before { Effect::Gains } else { Effect::Loses }, text);
        }
        if old.renewal != new.renewal {
            let effect = if new.renewal == Renewal::Ask { Effect::Gains } else { Effect::Loses };
            self.say(about, effect, now_and_before(renewal(new.renewal), renewal(old.renewal)));
        }
        if old.uses != new.uses {
            let text = now_and_before(&uses(new.uses), &uses(old.uses));
            self.say(about, wider(old.uses.map(i64::from), new.uses.map(i64::from)), text);
        }
        if old.sensitivity != new.sensitivity {
            let effect = if new.sensitivity == Sensitivity::Normal { Effect::Gains } else { Effect::Loses };
            let text = now_and_before(approval(new.sensitivity), approval(old.sensitivity));
            self.say(about, effect, text);
        }
    }

    fn guardrail(&mut self, id: &str, old: Option<&Rule>, new: Option<&Rule>) {
        let about = About::Guardrail(id.to_owned());
        let does = |rule: &Rule| match rule.mode {
            Mode::Enforce => "enforced",
            Mode::Monitor => "watching only",
        };
        match (old, new) {
            (None, Some(new)) => {
                let effect = if new.mode == Mode::Enforce { Effect::Loses } else { Effect::Changes };
                self.say(&about, effect, format!("the rule is new, {}: {}", does(new), new.reason));
            }
            (Some(old), None) => {
                let effect = if old.mode == Mode::Enforce { Effect::Gains } else { Effect::Changes };
                self.say(&about, effect, format!("the rule is gone; it was {}: {}", does(old), old.reason));
            }
            (Some(old), Some(new)) => {
                if old.mode != new.mode {
                    let effect = if new.mode == Mode::Enforce { Effect::Loses } else { Effect::Gains };
                    self.say(&about, effect, format!("the rule is {}, and was {}", does(new), does(old)));
                }
                if old.body != new.body {
                    let text = format!(
                        "the rule asks for something else. It was\n{}\nand is\n{}",
                        old.text.trim(),
                        new.text.trim()
                    );
                    self.say(&about, Effect::Changes, text);
                }
                if old.reason != new.reason {
                    self.say(&about, Effect::Changes, format!("whoever is refused reads `{}`", new.reason));
                }
            }
            (None, None) => {}
        }
    }

    /// Files whose text differs without anything that was told: comments, or what is not compared here. It is said, so that two texts are never
    /// called the same.
    fn files(&mut self, old: Version<'_>, new: Version<'_>) {
        let told: BTreeSet<String> = self
            .0
            .iter()
            .flat_map(|difference| match &difference.about {
                About::Project(project) | About::Role(project, _) => {
                    vec![format!("{PROJECTS}/{project}.toml"), format!("{PROJECTS}/{project}{BRIEFING}")]
                }
                About::Guardrail(_) => vec![GUARDRAILS.to_owned()],
                About::File(_) => Vec::new(),
            })
            .collect();
        for (name, old, new) in both(old.files.texts(), new.files.texts()) {
            let folder = name.split('/').next().unwrap_or_default();
            if old == new || told.contains(name) || told.contains(folder) {
                continue;
            }
            let text = match (old, new) {
                (None, _) => "the file is new",
                (_, None) => "the file is gone",
                _ if folder == EXAMPLES => "the examples are other ones",
                _ => "the file reads otherwise, in order, comments or what is not compared here",
            };
            self.say(&About::File(name.clone()), Effect::Changes, text);
        }
    }
}

/// A collaborator's name that stands for all of them: of a letter or digit that is nowhere in the two roles, so that no pattern matches it that
/// does not match every name. As long as the name that roles are checked with.
fn somebody(old: Option<&Role>, new: Option<&Role>) -> Option<(String, Collaborator)> {
    let texts = |role: &'_ Role| {
        let grace = role.grace.as_ref().map(|grace| grace.template.text().to_owned());
        [Some(role.template.text().to_owned()), grace]
    };
    let texts: Vec<String> = [old, new].into_iter().flatten().flat_map(texts).flatten().collect();
    let is_free = |letter: &char| texts.iter().all(|text| !text.contains(*letter));
    let letter = ('a'..='z').chain('0'..='9').find(is_free)?;
    let name = String::from(letter).repeat(PROBE.len());
    let collaborator = name.parse().ok()?;
    Some((name, collaborator))
}

/// A role's limits, as people say them.
pub(crate) fn limits(role: &Role) -> Vec<String> {
    let mut limits = vec![
        format!("tokens live for {} at most", span(role.token_lifetime)),
        format!("grants last for {} at most", span(role.longest_grant)),
    ];
    limits.extend(role.longest_total.map(|seconds| total(Some(seconds))));
    limits.extend(role.uses.map(|count| uses(Some(count))));
    limits.extend(role.grace.as_ref().map(|_| grace_of(role)));
    limits.push(renewal(role.renewal).to_owned());
    limits.push(approval(role.sensitivity).to_owned());
    let proofs = if role.protection == Protection::Delegated { "may be by a delegated key" } else { "are by the TPM" };
    limits.push(format!("proofs {proofs}"));
    limits
}

fn now_and_before(now: &str, before: &str) -> String {
    format!("{now}; before, {before}")
}

fn total(seconds: Option<i64>) -> String {
    seconds.map_or_else(
        || "extensions have no limit together".to_owned(),
        |seconds| format!("with all extensions grants last for {} at most", span(seconds)),
    )
}

fn uses(uses: Option<u32>) -> String {
    match uses {
        None => "tokens are not counted".to_owned(),
        Some(1) => "a grant gives one token".to_owned(),
        Some(uses) => format!("a grant gives {uses} tokens at most"),
    }
}

fn grace_of(role: &Role) -> String {
    role.grace.as_ref().map_or_else(
        || "nothing is left after the hard end".to_owned(),
        |grace| format!("narrower rights are left for {} after the hard end", span(grace.seconds)),
    )
}

const fn renewal(renewal: Renewal) -> &'static str {
    match renewal {
        Renewal::None => "grants are never extended",
        Renewal::Ask => "an owner decides on every extension",
    }
}

const fn approval(sensitivity: Sensitivity) -> &'static str {
    match sensitivity {
        Sensitivity::Normal => "one owner approves",
        Sensitivity::Sensitive => "two owners approve",
    }
}

/// A span as people write it: `10m`, `90d`.
/// So many seconds, as people say it.
pub(crate) fn span(seconds: i64) -> String {
    const DAY: i64 = 24 * 3600;
    if seconds % DAY == 0 {
        return format!("{}d", seconds / DAY);
    }
    format!("{:#}", SignedDuration::from_secs(seconds))
}

#[cfg(test)]
mod tests;

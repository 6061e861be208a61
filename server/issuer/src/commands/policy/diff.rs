//! `daypass-issuer policy diff`: what another version changes, and how many grants that touches.

use std::{collections::BTreeMap, path::Path};

use daypass_proto::{
    arguments::text,
    names::{ProjectName, RoleName},
};
use serde_json::{Value, json};

use super::{CommandError, line, print_json, version::Here};
use crate::{
    clock::Environment,
    issuer::Issuer,
    policy::{About, Difference, Effect, differences},
    store::GrantLife,
};

/// Which two.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What it is now: a policy folder, the first characters of a version's hash, or `in-force`
    #[arg(value_parser = text)]
    old: String,
    /// What it would be: the same
    #[arg(value_parser = text)]
    new: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(config: &Path, environment: Environment, args: Args) -> Result<(), CommandError> {
    let here = Here::look(config, environment).await;
    let (Some(old), Some(new)) = (here.version(&args.old).await?, here.version(&args.new).await?) else {
        return here.needed().map(drop);
    };
    let grants = match here.issuer() {
        Some(issuer) => Some(Grants::standing(issuer).await?),
        None => None,
    };
    let all = differences(old.version(), new.version());
    if args.json {
        let told: Vec<Value> = all
            .iter()
            .map(|difference| {
                let mut told = about(&difference.about);
                if let Value::Object(members) = &mut told {
                    members.insert("effect".to_owned(), json!(difference.effect));
                    members.insert("text".to_owned(), json!(difference.text));
                    members.insert(
                        "grants".to_owned(),
                        json!(grants.as_ref().and_then(|grants| grants.touched(&difference.about))),
                    );
                }
                told
            })
            .collect();
        let hash = |hash: [u8; 32]| hex::encode(hash);
        return print_json(
            &json!({"old": hash(old.policy.hash()), "new": hash(new.policy.hash()), "differences": told}),
        );
    }
    if all.is_empty() {
        return line("no difference");
    }
    lines(&all, grants.as_ref()).into_iter().try_for_each(line)?;
    match grants {
        Some(_) => Ok(()),
        None => line("grants are not counted: there is no issuer on this machine whose store can be read"),
    }
}

/// One paragraph for each project, role and guardrail.
fn lines(all: &[Difference], grants: Option<&Grants>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut before = None;
    for difference in all {
        let about = &difference.about;
        if before.replace(about) != Some(about) {
            let touched = grants.and_then(|grants| grants.touched(about));
            lines.push(format!(
                "{}{}",
                about,
                touched.map_or(String::new(), |touched| format!(" ({touched} grant(s))"))
            ));
        }
        let sign = match difference.effect {
            Effect::Gains => "+",
            Effect::Loses => "-",
            Effect::Changes => "~",
        };
        lines.push(format!("  {sign} {}", difference.text.replace('\n', "\n      ")));
    }
    lines
}

fn about(about: &About) -> Value {
    match about {
        About::Project(project) => json!({"project": project}),
        About::Role(project, role) => json!({"project": project, "role": role}),
        About::Guardrail(id) => json!({"guardrail": id}),
        About::File(name) => json!({"file": name}),
    }
}

/// How many grants stand in each role: those that are active, suspended, or wait.
struct Grants(BTreeMap<(ProjectName, RoleName), usize>);

impl Grants {
    async fn standing(issuer: &Issuer) -> Result<Self, CommandError> {
        let mut counts = BTreeMap::new();
        for state in [GrantLife::Requested, GrantLife::Active, GrantLife::Grace, GrantLife::Suspended] {
            for grant in issuer.store.grants_in(state).await? {
                let count: &mut usize = counts.entry((grant.project, grant.role)).or_default();
                *count = count.saturating_add(1);
            }
        }
        Ok(Self(counts))
    }

    /// How many a difference is about; a guardrail is asked for all of them, and files are about none.
    fn touched(&self, about: &About) -> Option<usize> {
        let sum = |wanted: &dyn Fn(&ProjectName, &RoleName) -> bool| {
            Some(self.0.iter().filter(|((project, role), _)| wanted(project, role)).map(|(_, count)| count).sum())
        };
        match about {
            About::Project(wanted) => sum(&|project, _| project == wanted),
            About::Role(wanted, named) => sum(&|project, role| project == wanted && role == named),
            About::Guardrail(_) => sum(&|_, _| true),
            About::File(_) => None,
        }
    }
}

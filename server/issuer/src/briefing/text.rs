//! The text: the owner's words with the policy's numbers in them, and behind them every section that they left out.

use std::fmt::Write as _;

use daypass_proto::{
    authorization::{AuthorizationDetail, AuthorizationDetails, GitAction, GitRepository, HttpApi},
    time::Timestamp,
    words::is_shown,
};

use crate::{
    grant::Span,
    policy::{Mode, Piece, Placeholder, Policy, Project, Renewal, Role, span as lasting, word},
    store::Grant,
    until::there,
};

/// The sections, in their order, each under its heading.
const SECTIONS: [(Placeholder, &str); 6] = [
    (Placeholder::Access, "What you may do"),
    (Placeholder::Duration, "For how long"),
    (Placeholder::Why, "Why so little"),
    (Placeholder::Asking, "How to ask for more, or for longer"),
    (Placeholder::Examples, "Common cases"),
    (Placeholder::Whom, "Whom to call"),
];

/// What a text is made of.
pub(super) struct Facts<'a> {
    pub(super) policy: &'a Policy,
    /// The issuer's identifier.
    pub(super) issuer: &'a str,
    pub(super) project: &'a Project,
    pub(super) role: &'a Role,
    pub(super) grant: &'a Grant,
    pub(super) span: Span,
}

/// The text; nothing where the role does not fit the collaborator.
pub(super) fn text(facts: &Facts<'_>) -> Option<String> {
    let given = Given {
        facts,
        details: facts.role.details_for(&facts.grant.collaborator).ok()?,
        left: facts.role.grace_for(&facts.grant.collaborator).ok()?,
    };
    let mut text = String::new();
    let pieces = facts.project.briefing_text.as_ref().map(|template| template.pieces());
    match pieces {
        Some(pieces) => pieces.iter().for_each(|piece| match piece {
            Piece::Text(words) => text.push_str(&words.replace('\r', "")),
            Piece::Put(placeholder) => text.push_str(&given.put(*placeholder)),
        }),
        None => text.push_str(&format!("# Your access to `{}`", facts.grant.project)),
    }
    for (section, heading) in SECTIONS {
        if pieces.is_none_or(|pieces| !pieces.contains(&Piece::Put(section))) {
            let _ = write!(text.truncated(), "\n\n## {heading}\n\n{}", given.put(section));
        }
    }
    text.truncated().push('\n');
    Some(text)
}

trait Truncated {
    /// Without what is blank at its end.
    fn truncated(&mut self) -> &mut Self;
}

impl Truncated for String {
    fn truncated(&mut self) -> &mut Self {
        self.truncate(self.trim_end().len());
        self
    }
}

/// Somebody's words, on one line and in one piece of code.
fn plain(words: &str) -> String {
    words.chars().map(|c| if is_shown(c) && c != '`' { c } else { '\u{fffd}' }).collect()
}

fn quoted<T: ToString>(all: impl IntoIterator<Item = T>, between: &str) -> String {
    all.into_iter().map(|one| format!("`{}`", plain(&one.to_string()))).collect::<Vec<_>>().join(between)
}

struct Given<'a> {
    facts: &'a Facts<'a>,
    /// What the grant gives.
    details: AuthorizationDetails,
    /// What is left of it in grace.
    left: AuthorizationDetails,
}

impl Given<'_> {
    fn put(&self, placeholder: Placeholder) -> String {
        let Facts { project, role, grant, span, .. } = self.facts;
        match placeholder {
            Placeholder::Access => self.access(),
            Placeholder::Duration => self.duration(),
            Placeholder::Why => self.why(),
            Placeholder::Asking => self.asking(),
            Placeholder::Examples => self.examples(),
            Placeholder::Whom => self.whom(),
            Placeholder::Collaborator => grant.collaborator.to_string(),
            Placeholder::Project => grant.project.to_string(),
            Placeholder::Role => grant.role.to_string(),
            Placeholder::Grant => grant.id.to_string(),
            Placeholder::Until => self.time(span.ends),
            Placeholder::TokenLifetime => lasting(role.token_lifetime),
            Placeholder::LongestGrant => lasting(role.longest_grant),
            Placeholder::Owners => quoted(&project.owners, ", "),
            Placeholder::Contact => project.contact.as_deref().map_or_else(|| "the owners".to_owned(), plain),
        }
    }

    /// A time where the project is.
    fn time(&self, time: Timestamp) -> String {
        self.facts.project.time_zone.as_ref().map_or_else(|| time.to_string(), |zone| there(time, zone))
    }

    fn access(&self) -> String {
        let Facts { policy, grant, .. } = self.facts;
        let mut text = format!(
            "You are `{}`, in the role `{}` of project `{}` (grant `{}`). That allows:\n\n{}\n\nWhat does not stand here is refused.",
            grant.collaborator,
            grant.role,
            grant.project,
            grant.id,
            list(&self.details)
        );
        let terms = &grant.terms;
        if !terms.networks.is_empty() {
            let _ = write!(text, " It is used from {} only.", quoted(&terms.networks, " or "));
        }
        if !terms.trust_tiers.is_empty() {
            let tiers = quoted(terms.trust_tiers.iter().map(word), " or ");
            let _ = write!(text, " It is used by machines of trust tier {tiers} only.");
        }
        if terms.secure_boot {
            text.push_str(" It is used by machines only that boot with Secure Boot.");
        }
        // Others may tell of projects that are not theirs.
        let enforced = policy.guardrails().rules().filter(|rule| rule.mode == Mode::Enforce);
        let told: Vec<_> = enforced.filter_map(|rule| Some((&rule.id, rule.briefing.as_ref()?))).collect();
        if !told.is_empty() {
            text.push_str("\n\nThese rules can refuse it all the same, and say so then:\n");
            for (id, words) in told {
                let _ = write!(text, "\n- `{}`: {}", plain(id), plain(words));
            }
        }
        text
    }

    fn duration(&self) -> String {
        let Facts { role, grant, span, .. } = self.facts;
        let mut lines = Vec::new();
        lines.extend(span.begins.map(|begins| format!("It gives nothing before {}.", self.time(begins))));
        lines.push(format!("It ends by itself at {}.", self.time(span.ends)));
        lines.extend(grant.terms.phase.as_ref().map(|phase| format!("It is for phase `{phase}`, and ends with it.")));
        lines.push(format!(
            "Each token lives for {} at most; this machine renews it while you work, and you notice nothing.",
            lasting(role.token_lifetime)
        ));
        lines.extend(grant.uses(role).map(|uses| format!("It gives {uses} token(s) in all.")));
        if span.over > span.ends && !self.left.is_empty() {
            lines.push(format!(
                "After its end, until {}, this is left:\n\n{}",
                self.time(span.over),
                list(&self.left).replace("- ", "  - ")
            ));
        }
        lines.iter().map(|line| format!("- {line}")).collect::<Vec<_>>().join("\n")
    }

    fn why(&self) -> String {
        let Facts { role, issuer, .. } = self.facts;
        format!(
            "Nobody doubts you. A laptop is stolen, a file is copied, a program does what it should not: then what you could do is what somebody else can \
             do, for as long as you could. So access is what the work needs, and ends when the work does. The keys stay in this machine's TPM, so nothing \
             that is copied from it works elsewhere, and a token is over after {} at most. Every decision about your access, and that you accepted this, is \
             in the ledger of `{}`, which nobody can rewrite unseen.",
            lasting(role.token_lifetime),
            plain(issuer)
        )
    }

    fn asking(&self) -> String {
        let Facts { project, role, grant, span, .. } = self.facts;
        let approvers = role.sensitivity.approvers();
        let (id, name) = (&grant.id, &grant.project);
        let mut tree =
            format!("Do you need it after {}?\n├─ no ─── do nothing: it ends by itself\n", self.time(span.ends));
        // Nothing that is for a phase goes on after it.
        let phase = grant.terms.phase.as_ref().and_then(|name| Some((name, project.phase(name)?.ends)));
        match role.renewal {
            _ if phase.is_some_and(|(_, ends)| span.ends >= ends) => {
                tree.push_str(
                    "└─ yes ── it ends with its phase, and is never extended: ask an owner for a new invitation\n",
                );
            }
            Renewal::None => {
                let role = &grant.role;
                let _ = writeln!(tree, "└─ yes ── role `{role}` is never extended: ask an owner for a new invitation");
            }
            Renewal::Ask => {
                let total = role.longest_total.map(|total| {
                    let until =
                        grant.made_at.map(|made_at| format!(", which is until {}", self.time(made_at.plus(total))));
                    format!(", and {} in all{}", lasting(total), until.unwrap_or_default())
                });
                let bound = phase
                    .map(|(name, ends)| format!(", and not after the end of phase `{name}` at {}", self.time(ends)));
                let _ = write!(
                    tree,
                    "└─ yes\n   ├─ for {} from now at most{}{}:\n   │    daypass extend {id} --for 7d --reason \"what it is for\"\n   \
                     └─ for longer: ask an owner for a new invitation\n",
                    lasting(role.longest_grant),
                    total.unwrap_or_default(),
                    bound.unwrap_or_default()
                );
            }
        }
        let others: Vec<_> =
            project.roles().filter(|(other, _)| **other != grant.role).map(|(other, _)| other).collect();
        tree.push_str("Do you need something that is not allowed?\n");
        if let Some(first) = others.first() {
            let _ = write!(
                tree,
                "├─ another role gives it ({}):\n│    daypass request --project {name} --role {first} --reason \"what it is for\"\n└─ no role \
                 gives it: ask an owner, who writes the roles\n",
                quoted(&others, ", ")
            );
        } else {
            tree.push_str("└─ ask an owner: there is no other role to ask for\n");
        }
        let who = if approvers > 1 { format!("{approvers} different owners") } else { "an owner".to_owned() };
        let _ = write!(
            tree,
            "What becomes of it? {who} must say yes, and `daypass requests` shows it\n\
             ├─ approved: it counts at once, and there is nothing to do\n\
             ├─ narrowed: less was given than you asked for\n\
             ├─ refused: what you have stays as it is, to its end; the answer says why, and asking again needs another reason\n\
             └─ no answer: call them; what you have ends when it was to end"
        );
        format!(
            "Nothing is extended by itself, and asking costs you nothing that you have. Owners see what you took tokens for and what gates let you do, and when last, beside what you were granted.\n\n```text\n{tree}\n```"
        )
    }

    fn examples(&self) -> String {
        let mut lines = Vec::new();
        for detail in self.details.iter() {
            match detail {
                AuthorizationDetail::GitRepository(git) => git_examples(git, &mut lines),
                AuthorizationDetail::HttpApi(api) => api_examples(api, &mut lines),
            }
        }
        let extend = matches!(self.facts.role.renewal, Renewal::Ask)
            .then(|| (format!("daypass extend {} --for 7d --reason \"…\"", self.facts.grant.id), "ask for longer"));
        lines.push(("daypass status".to_owned(), "what you have, and until when"));
        lines.extend(extend);
        lines.push(("daypass leave".to_owned(), "when you are done with this machine: erases its keys"));
        let width = lines.iter().map(|(command, _)| command.chars().count()).max().unwrap_or_default();
        let lines: Vec<_> = lines.iter().map(|(command, what)| format!("{command:<width$}  # {what}")).collect();
        format!("```sh\n{}\n```", lines.join("\n"))
    }

    fn whom(&self) -> String {
        let Facts { project, .. } = self.facts;
        let mut text = format!("- The owners, who decide: {}", quoted(&project.owners, ", "));
        if let Some(contact) = &project.contact {
            let _ = write!(text, "\n- Questions: {}", quoted([contact], ""));
        }
        text.push_str(
            "\n- This machine was lost or stolen, or somebody else was at it: tell an owner at once, at any hour. One command of theirs ends what it can do.",
        );
        text
    }
}

/// What details allow, one line for each place.
fn list(details: &AuthorizationDetails) -> String {
    let mut lines = Vec::new();
    for detail in details.iter() {
        match detail {
            AuthorizationDetail::GitRepository(git) => {
                // Whatever writes implies reading.
                let read = (!git.actions().contains(&GitAction::Read)).then_some(GitAction::Read);
                let actions: Vec<_> = read.iter().chain(git.actions()).map(ToString::to_string).collect();
                let refs =
                    if git.refs().is_empty() { String::new() } else { format!(" on {}", quoted(git.refs(), ", ")) };
                lines.extend(git.locations().iter().map(|at| format!("- `{at}`: {}{refs}", actions.join(", "))));
            }
            AuthorizationDetail::HttpApi(api) => {
                let actions: Vec<_> = api.actions().iter().map(ToString::to_string).collect();
                let paths = quoted(api.paths(), ", ");
                lines.extend(api.locations().iter().map(|at| format!("- `{at}`: {} of {paths}", actions.join(", "))));
            }
        }
    }
    lines.join("\n")
}

/// Something that a pattern matches.
fn matching(pattern: &str) -> String {
    pattern.split('/').map(|part| part.replace("**", "topic").replace('*', "topic")).collect::<Vec<_>>().join("/")
}

fn git_examples(git: &GitRepository, lines: &mut Vec<(String, &'static str)>) {
    const MAIN: &str = "refs/heads/main";
    let Some(location) = git.locations().first() else { return };
    lines.push((format!("git clone {location}.git"), "read"));
    let writes = [GitAction::Create, GitAction::Push].iter().any(|action| git.actions().contains(action));
    if let Some(pattern) = git.refs().first().filter(|_| writes) {
        lines.push((format!("git push origin HEAD:{}", matching(&pattern.to_string())), "write where you may"));
    }
    let main = git.actions().contains(&GitAction::Push) && git.refs().iter().any(|refs| refs.matches(MAIN.as_bytes()));
    if !main {
        lines.push((format!("git push origin HEAD:{MAIN}"), "is refused: it is not in your grant"));
    }
}

fn api_examples(api: &HttpApi, lines: &mut Vec<(String, &'static str)>) {
    let (Some(location), Some(method), Some(path)) =
        (api.locations().first(), api.actions().first(), api.paths().first())
    else {
        return;
    };
    let url = format!("{}{}", location.origin(), matching(&path.to_string()));
    lines.push((format!("daypass proof {method} {url} | curl -X {method} -H @- {url}"), "one request"));
}

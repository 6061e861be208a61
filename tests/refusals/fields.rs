//! One table a program, and what is tried with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::Mutex,
    thread,
};

use clap::{Arg, Command};
use daypass_proto::{redaction::glimpse, words::is_shown};
use daypass_tests::{Act, Failure, Place, Ran, Story, Who, ensure};

/// An argument, and what it does not take.
pub(crate) struct Field {
    /// The commands whose argument is meant; all that have one of this name, but for those that another field names.
    pub(crate) of: &'static [&'static str],
    /// `--option`, or the value's name of what has none: `DEVICE`.
    pub(crate) name: &'static str,
    /// What it takes.
    pub(crate) good: &'static str,
    /// What else has to be there, names of other arguments or whole ones, in place of what the command always needs.
    pub(crate) with: Option<&'static [&'static str]>,
    /// What it does not take, beside nothing, too much, and what is not to be seen.
    pub(crate) bad: &'static [&'static str],
    /// What would be right: one of these is said.
    pub(crate) right: &'static [&'static str],
    /// How the refusal calls it where it says neither its name nor its value: a secret is not repeated.
    pub(crate) called: &'static str,
}

impl Field {
    /// Takes `good`, and says of anything else one of `right`.
    pub(crate) const fn new(name: &'static str, good: &'static str, right: &'static [&'static str]) -> Self {
        Self { of: &[], name, good, with: None, bad: &[], right, called: name }
    }

    /// The one of these commands.
    pub(crate) const fn of(self, of: &'static [&'static str]) -> Self {
        Self { of, ..self }
    }

    /// Takes none of these.
    pub(crate) const fn not(self, bad: &'static [&'static str]) -> Self {
        Self { bad, ..self }
    }

    /// By this name.
    pub(crate) const fn called(self, called: &'static str) -> Self {
        Self { called, ..self }
    }

    /// Beside these.
    pub(crate) const fn with(self, with: &'static [&'static str]) -> Self {
        Self { with: Some(with), ..self }
    }
}

/// What no argument takes, and what may be said of it in place of what would be right.
const NEVER: [(&str, &[&str]); 4] = [
    ("", &["is empty", "a value is required"]),
    ("a\u{202e}b", &["U+202E"]),
    ("a\n\u{1b}[2Jb", &["U+000A"]),
    (LONG, &["at most", "too long"]),
];
/// Stands for very much.
const LONG: &str = "{long}";
/// More than anybody reads; shorter than what a kernel takes as one argument.
const TOO_MUCH: usize = 60_000;
/// The most that is said of one argument; the usage of a command with many is some hundred bytes of it.
const LONGEST_REFUSAL: usize = 3000;
/// How many programs run at once.
const AT_ONCE: usize = 4;

/// The files and folders that values name: `{folder}`, `{junk}` (a file of no form) and `{missing}` in it.
pub(crate) struct Files {
    folder: String,
    issuer: String,
}

impl Files {
    /// Made for `who`.
    pub(crate) fn make(place: &Place, who: Who) -> Result<Self, Failure> {
        let folder = place.folder("values", who, 0o755)?;
        let junk = folder.join("junk");
        fs::write(&junk, "x = [\u{1}\n").map_err(Failure::machine("write a file"))?;
        Ok(Self { folder: folder.display().to_string(), issuer: String::new() })
    }

    /// With an issuer's address as `{issuer}`.
    pub(crate) fn with_issuer(self, issuer: &str) -> Self {
        Self { issuer: issuer.to_owned(), ..self }
    }

    fn fill(&self, value: &str) -> String {
        let paths = [("{folder}", ""), ("{junk}", "/junk"), ("{missing}", "/missing")];
        let filled = paths
            .iter()
            .fold(value.to_owned(), |text, (name, path)| text.replace(name, &format!("{}{path}", self.folder)));
        filled.replace("{issuer}", &self.issuer).replace(LONG, &"long ".repeat(TOO_MUCH / 5))
    }
}

/// A program, its table, and how it is run.
pub(crate) struct Program<'a> {
    pub(crate) command: Command,
    pub(crate) fields: &'a [Field],
    /// What commands need where their own description does not say it alone.
    pub(crate) needed: &'a [(&'a str, &'static [&'static str])],
    pub(crate) files: &'a Files,
    pub(crate) run: &'a (dyn Fn(&str, &[String]) -> Act + Sync),
}

/// One command line with one wrong value.
struct Try<'a> {
    path: String,
    line: Vec<String>,
    field: &'a Field,
    value: String,
    said: Vec<&'static str>,
}

/// How the table calls an argument.
fn name(arg: &Arg) -> String {
    match arg.get_long() {
        Some(long) => format!("--{long}"),
        None => arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string).unwrap_or_default(),
    }
}

/// Every command with its words.
fn commands<'c>(command: &'c Command, path: &str, all: &mut Vec<(String, &'c Command)>) {
    if !path.is_empty() {
        all.push((path.to_owned(), command));
    }
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        commands(below, format!("{path} {}", below.get_name()).trim(), all);
    }
}

/// The commands of a program that ask first, unless `--yes` is given.
pub(crate) fn asking(command: &Command) -> Vec<String> {
    let mut built = command.clone();
    built.build();
    let mut all = Vec::new();
    commands(&built, "", &mut all);
    let asks = |command: &Command| command.get_arguments().any(|arg| arg.get_long() == Some("yes"));
    all.into_iter().filter(|(_, command)| asks(command)).map(|(path, _)| path).collect()
}

impl Program<'_> {
    fn field(&self, path: &str, arg: &Arg) -> Option<&Field> {
        let name = name(arg);
        let named = |field: &&Field| field.name == name;
        let its = self.fields.iter().find(|field| named(field) && field.of.contains(&path));
        its.or_else(|| self.fields.iter().find(|field| named(field) && field.of.is_empty()))
    }

    /// The command line that has `value` for `arg`, and all that it needs beside.
    fn line(&self, path: &str, command: &Command, arg: &Arg, value: &str) -> Vec<String> {
        let needed = self.needed.iter().find(|(of, _)| *of == path).map(|(_, needed)| *needed);
        let with = self.field(path, arg).and_then(|field| field.with).or(needed).unwrap_or_default();
        let place = arg.get_index().unwrap_or_default();
        let (mut options, mut positionals) = (Vec::new(), BTreeMap::new());
        for other in command.get_arguments() {
            let its_own = other.get_id() == arg.get_id();
            let before = other.get_index().is_some_and(|index| index < place);
            if !its_own && !before && !other.is_required_set() && !with.contains(&name(other).as_str()) {
                continue;
            }
            let good = || self.field(path, other).map(|field| field.good).unwrap_or_default();
            let value = if its_own { value.to_owned() } else { self.files.fill(good()) };
            match other.get_index() {
                Some(index) => drop(positionals.insert(index, value)),
                None if other.get_action().takes_values() => options.push(format!("{}={value}", name(other))),
                None => options.push(name(other)),
            }
        }
        let whole = with.iter().filter(|word| word.contains('=')).map(|word| self.files.fill(word));
        let words = path.split(' ').map(str::to_owned).chain(options).chain(whole);
        words.chain(["--".to_owned()]).chain(positionals.into_values()).collect()
    }

    /// What is tried of this program; and what is wrong with the table.
    fn tries(&self) -> (Vec<Try<'_>>, Vec<String>) {
        let mut built = self.command.clone();
        built.build();
        let (mut all, mut tries, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
        let (mut everywhere, mut used) = (BTreeSet::new(), BTreeSet::new());
        commands(&built, "", &mut all);
        for (path, command) in all {
            for arg in command.get_arguments().filter(|arg| arg.get_action().takes_values()) {
                let field = self.field(&path, arg);
                // What every command has is tried with the one that the table names.
                if arg.is_global_set() && !field.is_some_and(|field| field.of.contains(&path.as_str())) {
                    everywhere.insert(name(arg));
                    continue;
                }
                let Some(field) = field else {
                    wrong.push(format!("`{path}` has `{}`, of which the table says nothing", name(arg)));
                    continue;
                };
                used.insert((field.name, field.of));
                let good = self.line(&path, command, arg, &self.files.fill(field.good));
                let whole = std::iter::once(self.command.get_name().to_owned()).chain(good.iter().cloned());
                if let Err(error) = self.command.clone().try_get_matches_from(whole) {
                    wrong.push(format!("{good:?} is good: {error}"));
                }
                let never = NEVER.iter().map(|(value, said)| (*value, *said));
                for (value, said) in never.chain(field.bad.iter().map(|value| (*value, [].as_slice()))) {
                    let value = self.files.fill(value);
                    let line = self.line(&path, command, arg, &value);
                    let said = said.iter().chain(field.right).copied().collect();
                    tries.push(Try { path: path.clone(), line, field, value, said });
                }
            }
        }
        everywhere.retain(|name| !used.iter().any(|(used, _)| used == name));
        wrong.extend(everywhere.iter().map(|name| format!("`{name}`, which every command has, is tried with none")));
        let unused = self.fields.iter().filter(|field| !used.contains(&(field.name, field.of)));
        wrong.extend(unused.map(|field| format!("`{}` of {:?} is no argument", field.name, field.of)));
        (tries, wrong)
    }

    /// Tries every argument, and tells all that is wrong at once.
    pub(crate) fn refuses(&self) -> Story {
        let (tries, wrong) = self.tries();
        ensure(tries.len() > self.fields.len(), "arguments to try", tries.len())?;
        let (tries, wrong) = (Mutex::new(tries.iter()), Mutex::new(wrong));
        thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    while let Some(one) = { tries.lock().map_or(None, |mut tries| tries.next()) } {
                        let fault = match (self.run)(&one.path, &one.line).run() {
                            Ok(ran) => one.fault(&ran),
                            Err(failure) => Some(failure.to_string()),
                        };
                        if let (Some(fault), Ok(mut wrong)) = (fault, wrong.lock()) {
                            wrong.push(fault);
                        }
                    }
                });
            }
        });
        let wrong = wrong.into_inner().unwrap_or_else(|_| vec!["a thread that panicked".to_owned()]);
        ensure(
            wrong.is_empty(),
            "refusals with cause and next step",
            format!("{}\n{}", wrong.len(), wrong.join("\n\n")),
        )
    }
}

impl Try<'_> {
    /// What is wrong about the refusal.
    fn fault(&self, ran: &Ran) -> Option<String> {
        let seen = ran.seen();
        let option = self.field.name;
        let names = seen.contains(option)
            || seen.contains(self.field.called)
            || !self.value.is_empty() && seen.contains(&glimpse(&self.value));
        let fault = match ran.code {
            Some(0) => "is taken".to_owned(),
            None | Some(101) => "ends the program".to_owned(),
            _ if !names => "is not named".to_owned(),
            _ if !self.said.iter().any(|word| seen.contains(word)) => format!("is not told one of {:?}", self.said),
            _ if !seen.chars().all(|c| c == '\n' || is_shown(c)) => "is shown with what is not to be seen".to_owned(),
            _ if seen.contains("a\n") => "breaks the line".to_owned(),
            _ if seen.len() > LONGEST_REFUSAL => format!("is told in {} bytes", seen.len()),
            _ => return None,
        };
        let line: Vec<String> = self.line.iter().map(|word| word.chars().take(60).collect()).collect();
        let seen: String = seen.chars().take(500).collect();
        Some(format!("`{}`: {option} {fault}: {line:?}: {seen:?}", self.path))
    }
}

//! The command line.

use std::{
    fs,
    io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{CommandFactory as _, Parser, Subcommand};
use daypass_proto::invitation::{Code, CodeError, CodeKind};
use daypass_service::file_argument;
use serde_json::{Value, json};
use thiserror::Error;

use crate::{
    config::{Config, ConfigError, Guarded, REFERENCE},
    serve::{self, RunError},
    trust::{EnrolError, GateState, IssuerClient, IssuerError, StateError, enrol},
};

/// The gate of Daypass: lets through what a bound token covers, and nothing else.
#[derive(Debug, Parser)]
#[command(name = "daypass-gate", version, about, max_term_width = 100)]
pub struct Cli {
    /// The configuration file.
    #[arg(
        long,
        global = true,
        env = "DAYPASS_GATE_CONFIG",
        default_value = "/etc/daypass/gate.toml",
        value_name = "FILE",
        value_parser = file_argument()
    )]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a configuration with every key explained.
    Init {
        /// Where the gate is to keep its keys and certificates; a folder beside the configuration when left out.
        #[arg(long, value_name = "FOLDER", value_parser = file_argument())]
        state_dir: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Enrol this gate with the one-time code of `daypass-issuer gate add`.
    Enrol {
        /// The code; without it, or with `-`, it is read from standard input, so that it stands in no process list.
        #[arg(default_value = "-", hide_default_value = true)]
        code: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Serve until stopped.
    Serve,
    /// Check the configuration, the certificates, and that the issuer answers; name every loosening.
    Check {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print a completion script for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    #[command(hide = true)]
    Man,
}

/// Why a command failed.
#[derive(Debug, Error)]
pub enum CommandError {
    /// Input or output.
    #[error("could not {attempted}")]
    Io {
        /// What was attempted.
        attempted: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The code.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The state.
    #[error(transparent)]
    State(#[from] StateError),
    /// Enrolment.
    #[error("could not enrol this gate")]
    Enrol(#[from] EnrolError),
    /// The issuer.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// Serving.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A resource that is configured and not registered.
    #[error(
        "the issuer has not registered this gate for `{0}`; run `daypass-issuer gate remove` and `gate add` with every `--resource`"
    )]
    NotRegistered(String),
}

impl CommandError {
    /// 1 for faults of the machine, 2 is the command line's own, 3 for what was refused, 4 for configuration.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Io { .. } | Self::Run(RunError::Listen(_)) => 1,
            Self::Code(_) | Self::Enrol(_) | Self::Issuer(_) | Self::NotRegistered(_) => 3,
            Self::Config(_) | Self::State(_) | Self::Run(_) => 4,
        })
    }
}

fn failed(attempted: impl Into<String>) -> impl FnOnce(io::Error) -> CommandError {
    let attempted = attempted.into();
    move |source| CommandError::Io { attempted, source }
}

fn say(text: &str) -> Result<(), CommandError> {
    writeln!(io::stdout(), "{text}").map_err(failed("write the output"))
}

fn say_json(value: &Value) -> Result<(), CommandError> {
    say(&format!("{value:#}"))
}

/// Runs one command.
pub fn run(cli: Cli) -> Result<(), CommandError> {
    match cli.command {
        Command::Init { state_dir, json } => init(&cli.config, state_dir.as_deref(), json),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "daypass-gate", &mut io::stdout());
            Ok(())
        }
        Command::Man => {
            clap_mangen::Man::new(Cli::command()).render(&mut io::stdout()).map_err(failed("write the manual page"))
        }
        Command::Enrol { code, json } => runtime()?.block_on(enrol_gate(&cli.config, code, json)),
        Command::Check { json } => runtime()?.block_on(check(&cli.config, json)),
        Command::Serve => {
            daypass_service::log_to_stderr();
            runtime()?.block_on(async {
                let stop = daypass_service::stop_signal().map_err(failed("take signals"))?;
                let config = Config::load(&cli.config)?;
                Ok(serve::serve(config, daypass_service::system_clock(), stop).await?)
            })
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, CommandError> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(failed("start the runtime"))
}

fn init(path: &Path, state_dir: Option<&Path>, json: bool) -> Result<(), CommandError> {
    let mut text = REFERENCE.to_owned();
    if let Some(state_dir) = state_dir {
        let state_dir = std::path::absolute(state_dir).map_err(failed("make the state folder's path absolute"))?;
        let state_dir = toml::Value::String(state_dir.display().to_string());
        text = text.replace("\"gate-state\"", &state_dir.to_string());
    }
    let attempted = || format!("write `{}`", path.display());
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(path).map_err(failed(attempted()))?;
    file.write_all(text.as_bytes()).map_err(failed(attempted()))?;
    if json {
        return say_json(&json!({"configuration": path}));
    }
    say(&format!(
        "wrote {}; edit it, then run `daypass-gate enrol` with the code of `daypass-issuer gate add`",
        path.display()
    ))
}

async fn enrol_gate(path: &Path, code: String, json: bool) -> Result<(), CommandError> {
    let parse = |code: &str| Code::parse(CodeKind::Gate, code);
    let given = (code != "-").then(|| parse(&code)).transpose()?;
    let config = Config::load(path)?;
    if GateState::exists(&config.state_dir) {
        return Err(StateError::Enrolled(config.state_dir).into());
    }
    let code = match given {
        Some(code) => code,
        None => parse(&code_from_stdin().map_err(failed("read the code"))?)?,
    };
    let state = enrol(&code, config.tls.is_none()).await?;
    state.save(&config.state_dir)?;
    if json {
        return say_json(&json!({"gate": state.name, "issuer": state.issuer}));
    }
    say(&format!(
        "enrolled as gate {} of {}; next: `daypass-gate check`, then `daypass-gate serve`",
        state.name, state.issuer
    ))
}

fn code_from_stdin() -> io::Result<String> {
    if io::stdin().is_terminal() {
        writeln!(io::stderr(), "paste the gate's code and press Enter")?;
    }
    let mut line = String::new();
    io::stdin().lock().take(4096).read_line(&mut line)?;
    Ok(line)
}

async fn check(path: &Path, json: bool) -> Result<(), CommandError> {
    // People see how far it came; programs want it whole.
    let step = |text: String| if json { Ok(()) } else { say(&text) };
    let config = Config::load(path)?;
    step(format!("configuration   {} reads", path.display()))?;
    let state = GateState::load(&config.state_dir)?;
    serve::own_certificate(&config, &state)?;
    step(format!("certificates    read; this is gate {} of {}", state.name, state.issuer))?;
    let answer = IssuerClient::new(&state)?.revocations().await?;
    step("issuer          answers".to_owned())?;
    for guarded in &config.resources {
        if !answer.resources.contains(&guarded.resource) {
            return Err(CommandError::NotRegistered(guarded.resource.to_string()));
        }
        step(format!("resource        {} -> {}", guarded.resource, guarded.upstream))?;
    }
    for loosening in config.loosenings() {
        step(format!("loosening       `{loosening}` is on"))?;
    }
    if json {
        let resource =
            |guarded: &Guarded| json!({"resource": guarded.resource, "upstream": guarded.upstream.to_string()});
        return say_json(&json!({
            "ok": true, "configuration": path, "gate": state.name, "issuer": state.issuer,
            "resources": config.resources.iter().map(resource).collect::<Vec<_>>(), "loosenings": config.loosenings(),
        }));
    }
    say("all good")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_names_the_state_folder_that_was_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("gate.toml");
        init(&at, Some(Path::new("/var/lib/daypass-gate")), false).unwrap();
        assert_eq!(Config::load(&at).unwrap().state_dir, Path::new("/var/lib/daypass-gate"));
        assert!(init(&at, None, false).is_err(), "never over one that is there");
        let other = folder.path().join("other.toml");
        init(&other, None, false).unwrap();
        assert_eq!(Config::load(&other).unwrap().state_dir, folder.path().join("gate-state"));
    }
}

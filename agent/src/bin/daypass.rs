//! `daypass`: the agent and its command line; see `daypass_agent::cli` and `daypass_agent::daemon`.

use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
};

use daypass_agent::{cli, config::Config, daemon, memory};
use daypass_proto::redaction::{Redacting, for_terminal};

fn main() -> ExitCode {
    if let Err(error) = memory::keep_private() {
        let _ = writeln!(std::io::stderr(), "daypass: could not close this program's memory to others: {error}");
        return ExitCode::FAILURE;
    }
    cli::main(|arguments| {
        // The binding calls an error what is the ordinary way of a full chip; what comes of it, the agent says in its own words.
        let wanted = std::env::var("DAYPASS_LOG").unwrap_or_else(|_| "info".to_owned());
        let filter = tracing_subscriber::EnvFilter::try_new(format!("tss_esapi=off,{wanted}"))
            .unwrap_or_else(|_| "tss_esapi=off,info".into());
        // For eyes only: a log file is read by programs.
        let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(colours)
            .with_writer(|| Redacting(std::io::stderr()))
            .init();
        let config = match Config::load(arguments.config.as_deref(), arguments.socket.as_deref()) {
            Ok(config) => config,
            Err(error) => return failed(&error, 13),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        match runtime.map(|runtime| runtime.block_on(daemon::run(config))) {
            Ok(Ok(())) => ExitCode::SUCCESS,
            Ok(Err(error)) => failed(&error, 13),
            Err(error) => failed(&error, 1),
        }
    })
}

/// Says why the service does not run, with every cause.
fn failed(error: &(dyn std::error::Error + 'static), code: u8) -> ExitCode {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    tracing::error!("{}", for_terminal(&text));
    ExitCode::from(code)
}

//! git's credential helper; see `daypass_agent::git_helper`.

use std::{
    env,
    io::{self, IsTerminal as _},
    process::ExitCode,
};

use daypass_agent::{
    git_config::Git,
    git_helper::{self, Invocation, Surroundings},
    local_client::{LocalClient, find_socket},
    memory,
};

fn main() -> ExitCode {
    if let Err(error) = memory::keep_private() {
        let text = format!("git-credential-daypass: could not close this program's memory to others: {error}\n");
        let _ = io::Write::write_all(&mut io::stderr(), text.as_bytes());
        return ExitCode::FAILURE;
    }
    let invocation = match Invocation::parse(env::args_os().skip(1)) {
        Ok(invocation) => invocation,
        Err(error) => {
            let text = format!("git-credential-daypass: {error}\n{}\n", git_helper::USAGE);
            let _ = io::Write::write_all(&mut io::stderr(), text.as_bytes());
            return ExitCode::from(2);
        }
    };
    let surroundings = Surroundings {
        agent: LocalClient::new(find_socket(invocation.socket.as_deref(), None)),
        helpers: &|| Git::default().helpers(),
        watched: Surroundings::is_watched(io::stderr().is_terminal(), env::var_os("GIT_TERMINAL_PROMPT").as_deref()),
    };
    ExitCode::from(git_helper::run(
        &invocation,
        &surroundings,
        &mut io::stdin().lock(),
        &mut io::stdout().lock(),
        &mut io::stderr().lock(),
    ))
}

//! Completions and man pages, made from the command line's own definition so that they cannot fall behind it.

use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;
use daypass_proto::local_api::ErrorCode;

use super::{arguments::Arguments, failure::Failure, terminal::Terminal};

pub(super) fn completions(shell: Shell, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "daypass", &mut script);
    terminal.words(String::from_utf8_lossy(&script).trim_end())
}

pub(super) fn man(out: Option<&Path>, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let Some(folder) = out else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Arguments::command()).render(&mut page).map_err(Failure::output)?;
        return terminal.words(String::from_utf8_lossy(&page).trim_end());
    };
    std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Arguments::command(), folder)).map_err(
        |error| {
            Failure::new(
                ErrorCode::Configuration,
                format!("could not write man pages into `{}`: {error}", folder.display()),
                "name a folder that you may write to",
            )
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::terminal::buffer::Buffer;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_shell_and_every_command_has_its_page() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut terminal = Buffer::default();
            completions(shell, &mut terminal).unwrap();
            assert!(terminal.said().contains("doctor"), "{shell}");
        }
        let mut terminal = Buffer::default();
        man(None, &mut terminal).unwrap();
        assert!(terminal.said().contains("Exit codes"));
        let folder = tempfile::TempDir::new().unwrap();
        man(Some(folder.path()), &mut terminal).unwrap();
        for page in ["daypass.1", "daypass-enroll.1", "daypass-setup-git.1", "daypass-doctor.1"] {
            assert!(folder.path().join(page).exists(), "{page}");
        }
    }
}

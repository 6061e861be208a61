use std::{fs, path::Path, process::Command};

use tempfile::TempDir;

use super::*;
use crate::{
    cli::{status::tests::APPROVED, terminal::buffer::Buffer},
    mock_agent::MockAgent,
};

const QUIET: SetupGit = SetupGit { undo: false, yes: true, dry_run: false };

fn places(home: &TempDir) -> Places {
    Places::within(home.path(), &home.path().join(".config"), None).unwrap()
}

fn helper(program: &str) -> HelperLine {
    HelperLine { program: program.into(), socket: None }
}

fn one_resource() -> BTreeMap<Resource, Option<String>> {
    [("https://git.example.com:8443/".parse().unwrap(), Some("/var/lib/daypass/my ca.pem".to_owned()))].into()
}

fn set_up(home: &TempDir, helper: &HelperLine) {
    carry_out(
        &QUIET,
        &setup(&places(home), &one_resource(), helper).unwrap(),
        &[],
        &Git::default(),
        &mut Buffer::default(),
    )
    .unwrap();
}

fn git_sees(program: &str, home: &TempDir, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", home.path())
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .current_dir(home.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn gits() -> Vec<&'static str> {
    let gits: Vec<_> =
        ["/usr/bin/git", "/usr/local/bin/git"].into_iter().filter(|git| Path::new(git).exists()).collect();
    if gits.is_empty() {
        eprintln!("skipped: there is no git here");
    }
    gits
}

#[test]
fn every_git_reads_what_is_written() {
    for program in gits() {
        let home = TempDir::new().unwrap();
        fs::write(home.path().join(".gitconfig"), "[credential]\n\thelper = store").unwrap();
        let odd = HelperLine {
            program: "/opt/my \"tools\" $HOME/git-credential-daypass".into(),
            socket: Some("/run/a b/agent.sock".into()),
        };
        set_up(&home, &odd);
        let url = "https://git.example.com:8443/team/app.git";
        assert_eq!(
            git_sees(program, &home, &["config", "--get-urlmatch", "credential.helper", url]),
            "/opt/my\\ \\\"tools\\\"\\ \\$HOME/git-credential-daypass --socket /run/a\\ b/agent.sock --exclusive\n"
        );
        assert_eq!(git_sees(program, &home, &["config", "--get-urlmatch", "credential.useHttpPath", url]), "true\n");
        assert_eq!(
            git_sees(program, &home, &["config", "--get-urlmatch", "http.sslCAInfo", url]),
            "/var/lib/daypass/my ca.pem\n"
        );
        // Other hosts keep their helper, and know nothing of ours.
        assert_eq!(
            git_sees(program, &home, &["config", "--get-urlmatch", "credential.helper", "https://github.com/"]),
            "store\n"
        );
    }
}

#[test]
fn nothing_reaches_the_disk_of_a_user_whose_helper_is_store() {
    for program in gits() {
        let home = TempDir::new().unwrap();
        fs::write(home.path().join(".gitconfig"), "[credential]\n\thelper = store\n").unwrap();
        let approve = |host: &str| {
            let said = home.path().join("said");
            fs::write(
                &said,
                format!("protocol=https\nhost={host}\npath=team/app\nusername=daypass\npassword=TOK~KB\n\n"),
            )
            .unwrap();
            let status = Command::new(program)
                .args(["credential", "approve"])
                .env_clear()
                .env("PATH", "/usr/bin:/bin")
                .env("HOME", home.path())
                .env("GIT_CONFIG_NOSYSTEM", "1")
                .current_dir(home.path())
                .stdin(fs::File::open(&said).unwrap())
                .status()
                .unwrap();
            assert!(status.success());
            fs::read_to_string(home.path().join(".git-credentials")).unwrap_or_default()
        };
        set_up(&home, &helper("/bin/true"));
        assert_eq!(approve("git.example.com:8443"), "");
        assert!(approve("elsewhere.example").contains("elsewhere.example"), "the user's own helper still works");
    }
}

#[test]
fn running_it_again_moves_the_include_back_to_the_end() {
    let home = TempDir::new().unwrap();
    set_up(&home, &helper("/usr/bin/git-credential-daypass"));
    let gitconfig = home.path().join(".gitconfig");
    let late = fs::read_to_string(&gitconfig).unwrap() + "[credential]\n\thelper = store\n";
    fs::write(&gitconfig, late).unwrap();
    set_up(&home, &helper("/usr/bin/git-credential-daypass"));
    let text = fs::read_to_string(&gitconfig).unwrap();
    assert!(text.starts_with("[credential]\n\thelper = store\n# begin"), "{text}");
    assert_eq!(text.matches("# begin").count(), 1);
    let again = setup(&places(&home), &one_resource(), &helper("/usr/bin/git-credential-daypass")).unwrap();
    assert!(!again.iter().any(Change::changes_something));
}

#[test]
fn undo_leaves_everything_as_it_was() {
    for before in [None, Some("[user]\n\tname = Alice\n"), Some("[include]\n\tpath = mine\n")] {
        let home = TempDir::new().unwrap();
        let gitconfig = home.path().join(".gitconfig");
        if let Some(text) = before {
            fs::write(&gitconfig, text).unwrap();
        }
        set_up(&home, &helper("/usr/bin/git-credential-daypass"));
        assert!(places(&home).ours.exists());
        let away = SetupGit { undo: true, ..QUIET };
        carry_out(&away, &undo(&places(&home)).unwrap(), &[], &Git::default(), &mut Buffer::default()).unwrap();
        assert_eq!(fs::read_to_string(&gitconfig).ok().as_deref(), before);
        assert!(!places(&home).ours.exists());
        let mut terminal = Buffer::default();
        carry_out(&away, &undo(&places(&home)).unwrap(), &[], &Git::default(), &mut terminal).unwrap();
        assert!(terminal.said().contains("nothing to undo"));
    }
}

#[test]
fn what_was_added_among_our_lines_stays() {
    for program in gits() {
        let home = TempDir::new().unwrap();
        set_up(&home, &helper("/usr/bin/git-credential-daypass"));
        git_sees(program, &home, &["config", "--global", "--add", "include.path", "/theirs"]);
        let away = SetupGit { undo: true, ..QUIET };
        carry_out(&away, &undo(&places(&home)).unwrap(), &[], &Git::default(), &mut Buffer::default()).unwrap();
        assert_eq!(git_sees(program, &home, &["config", "--global", "--get-all", "include.path"]), "/theirs\n");
    }
}

#[test]
fn it_is_shown_and_nothing_is_written_without_a_yes() {
    let home = TempDir::new().unwrap();
    let changes = setup(&places(&home), &one_resource(), &helper("/usr/bin/git-credential-daypass")).unwrap();
    for (dry_run, answer) in [(true, Some(true)), (false, Some(false)), (false, None)] {
        let mut terminal = Buffer { answer, ..Buffer::default() };
        let asked = SetupGit { undo: false, yes: false, dry_run };
        let result = carry_out(&asked, &changes, &[], &Git::default(), &mut terminal);
        assert_eq!(result.is_ok(), dry_run);
        let said = terminal.said();
        for part in [
            "[credential \"https://git.example.com:8443/\"]",
            "helper =\n",
            "useHttpPath = true",
            "sslCAInfo",
            "[include]",
        ] {
            assert!(said.contains(part), "{part} is missing in {said}");
        }
        assert!(!home.path().join(".gitconfig").exists() && !home.path().join(".config").exists());
    }
}

#[test]
fn a_link_stays_a_link_and_a_lock_is_respected() {
    let home = TempDir::new().unwrap();
    fs::write(home.path().join("dotfiles"), "[user]\n\tname = Alice\n").unwrap();
    std::os::unix::fs::symlink(home.path().join("dotfiles"), home.path().join(".gitconfig")).unwrap();
    set_up(&home, &helper("/usr/bin/git-credential-daypass"));
    assert!(home.path().join(".gitconfig").is_symlink());
    assert!(fs::read_to_string(home.path().join("dotfiles")).unwrap().contains("# begin"));
    fs::write(home.path().join("dotfiles.lock"), "").unwrap();
    let away = undo(&places(&home)).unwrap();
    let failure = away[0].apply().unwrap_err();
    assert!(failure.to_string().contains("another program is changing"), "{failure}");
}

#[test]
fn a_helper_that_is_configured_later_comes_before_ours() {
    for program in gits() {
        let home = TempDir::new().unwrap();
        set_up(&home, &helper("/usr/bin/git-credential-daypass"));
        git_sees(program, &home, &["config", "--global", "--add", "credential.helper", "store"]);
        let git = Git::default()
            .program(program.as_ref())
            .variable("HOME", home.path().as_os_str())
            .variable("GIT_CONFIG_NOSYSTEM", "1".as_ref())
            .folder(home.path());
        let entries = git.helpers().unwrap();
        assert_eq!(git_config::others(&entries, "https", "git.example.com:8443", Some("a")), Vec::<&str>::new());
        let away = SetupGit { undo: true, ..QUIET };
        carry_out(&away, &undo(&places(&home)).unwrap(), &[], &Git::default(), &mut Buffer::default()).unwrap();
        assert_eq!(fs::read_to_string(home.path().join(".gitconfig")).unwrap(), "[credential]\n\thelper = store\n");
    }
}

#[test]
fn what_the_issuer_says_now_counts_and_what_is_known_serves_where_it_is_silent() {
    let down = r#"{"error":"issuer_unreachable","message":"no answer","next_step":"wait"}"#;
    let agent = MockAgent::start([(503, down), (200, APPROVED)]);
    assert_eq!(enrolments(&agent.client()).unwrap().len(), 1);
    let nothing = r#"{"version":"0","now":1,"tpm":{"tcti":"x","available":true,"description":null,"problem":null},"enrolments":[]}"#;
    let agent = MockAgent::start([(503, down), (200, nothing)]);
    assert_eq!(enrolments(&agent.client()).unwrap_err().exit_code(), 10);
}

#[test]
fn a_broken_block_and_an_impossible_path_are_refused() {
    assert!(
        content::without_include(
            "[user]\n# begin: written by `daypass setup git`; `daypass setup git --undo` takes it away\n"
        )
        .is_err()
    );
    assert!(content::include(Path::new("/a\nb")).is_err());
    assert!(content::sections(&one_resource(), &helper("/a\nb")).is_err());
}

#[test]
fn the_other_place_of_gits_configuration_counts() {
    let home = TempDir::new().unwrap();
    let config = home.path().join(".config");
    fs::create_dir_all(config.join("git")).unwrap();
    fs::write(config.join("git/config"), "").unwrap();
    assert_eq!(Places::within(home.path(), &config, None).unwrap().git, config.join("git/config"));
    fs::write(home.path().join(".gitconfig"), "").unwrap();
    assert_eq!(Places::within(home.path(), &config, None).unwrap().git, home.path().join(".gitconfig"));
    assert_eq!(Places::within(home.path(), &config, Some("/named".into())).unwrap().git, Path::new("/named"));
}

#[test]
fn without_resources_the_reason_is_named() {
    let mut enrolments = serde_json::from_str::<Status>(APPROVED).unwrap().enrolments;
    assert_eq!(resources(&enrolments).unwrap().len(), 1);
    enrolments[0].resources.clear();
    assert_eq!(resources(&enrolments).unwrap_err().exit_code(), 8);
    enrolments[0].state = EnrolmentLife::Device(DeviceLife::Pending);
    assert_eq!(resources(&enrolments).unwrap_err().exit_code(), 6);
    enrolments.clear();
    assert_eq!(resources(&enrolments).unwrap_err().exit_code(), 4);
}

#[test]
fn a_helper_that_is_left_over_is_warned_of() {
    for program in gits() {
        let home = TempDir::new().unwrap();
        set_up(&home, &helper("/usr/bin/git-credential-daypass"));
        let resource: Resource = "https://git.example.com:8443/".parse().unwrap();
        let git = || {
            Git::default()
                .program(program.as_ref())
                .variable("HOME", home.path().as_os_str())
                .variable("GIT_CONFIG_NOSYSTEM", "1".as_ref())
                .folder(home.path())
        };
        assert_eq!(remaining(std::slice::from_ref(&resource), &git()), Vec::<String>::new());
        let later = git()
            .variable("GIT_CONFIG_COUNT", "1".as_ref())
            .variable("GIT_CONFIG_KEY_0", "credential.helper".as_ref())
            .variable("GIT_CONFIG_VALUE_0", "store".as_ref());
        let warnings = remaining(&[resource], &later);
        assert!(warnings[0].contains("`store`"), "{warnings:?}");
    }
}

#[test]
fn what_is_no_file_is_refused_and_left_as_it_is() {
    use std::os::unix::{fs::FileTypeExt as _, net::UnixListener};
    let home = TempDir::new().unwrap();
    let at = |name: &str| home.path().join(name);
    nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    std::os::unix::fs::symlink(at("pipe"), at("link")).unwrap();
    fs::create_dir(at("folder")).unwrap();
    for (name, words) in
        [("pipe", "a named pipe"), ("link", "a named pipe"), ("socket", "a socket"), ("folder", "a folder")]
    {
        let places = Places::within(home.path(), &at(".config"), Some(at(name))).unwrap();
        let refused = setup(&places, &one_resource(), &helper("/usr/bin/git-credential-daypass")).err().unwrap();
        assert!(refused.to_string().contains(words), "{refused}");
        assert!(undo(&places).is_err(), "{name}");
        // It may have become one since it was read.
        for after in [Some("x".to_owned()), None] {
            let refused = Change::new(&at(name), None, after, String::new()).apply().unwrap_err();
            assert!(refused.to_string().contains(words), "{refused}");
        }
    }
    assert!(at("pipe").symlink_metadata().unwrap().file_type().is_fifo());
    assert!(at("socket").symlink_metadata().unwrap().file_type().is_socket());
    assert!(at("link").is_symlink());
}

#[test]
fn no_global_configuration_is_named_as_such() {
    // Read only: nothing here writes.
    let home = TempDir::new().unwrap();
    let places = Places::within(home.path(), &home.path().join(".config"), Some("/dev/null".into())).unwrap();
    let refused = places.read_git().unwrap_err();
    assert!(refused.to_string().contains("no global configuration"), "{refused}");
    assert_eq!(refused.exit_code(), 13);
}

#[test]
fn a_home_that_is_no_full_path_is_refused() {
    assert!(Places::within(Path::new("home"), Path::new("/x/.config"), None).is_err());
    assert!(Places::within(Path::new("/x"), Path::new(".config"), None).is_err());
}

#[test]
fn undo_leaves_the_last_line_as_it_was() {
    for text in ["", "[user]\n\tname = A\n", "[user]\n\tname = A", "[user]\r\n\tname = A"] {
        let with = content::with_include(text, &content::include(Path::new("/x/git.config")).unwrap());
        assert_eq!(content::without_include(&with).unwrap(), text);
        let later = format!("{with}[core]\n\tx = y\n");
        let kept = content::without_include(&later).unwrap();
        assert!(kept.ends_with("[core]\n\tx = y\n") && kept.starts_with(text), "{kept:?}");
        assert!(text.is_empty() || kept.contains("name = A\n"), "{kept:?}");
    }
}

#[test]
fn a_configuration_that_git_cannot_read_is_not_added_to() {
    for program in gits() {
        let home = TempDir::new().unwrap();
        let broken = "[user\n\tname = A\n";
        fs::write(home.path().join(".gitconfig"), broken).unwrap();
        let git = Git::default()
            .program(program.as_ref())
            .variable("HOME", home.path().as_os_str())
            .variable("GIT_CONFIG_NOSYSTEM", "1".as_ref())
            .folder(home.path());
        let changes = setup(&places(&home), &one_resource(), &helper("/usr/bin/git-credential-daypass")).unwrap();
        let refused = carry_out(&QUIET, &changes, &[], &git, &mut Buffer::default()).unwrap_err();
        assert!(refused.to_string().contains("bad config"), "{refused}");
        assert_eq!(refused.exit_code(), 13);
        assert_eq!(fs::read_to_string(home.path().join(".gitconfig")).unwrap(), broken);
        assert!(!home.path().join(".config/daypass/git.config").exists());
    }
}

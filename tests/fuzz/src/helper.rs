//! What git says to its credential helper, the helper lines of its configuration, the gate's challenges, and the agent's answers.

use daypass_agent::{
    agent::nonce_in,
    git_config::{HelperEntry, is_ours, listed, others, program},
    git_helper::Attributes,
    local_client::{Split, split},
};
use daypass_proto::resource::Resource;

use crate::{choice, seed};

/// One input, of the kind that the first letter names.
pub fn run(input: &[u8]) {
    let Some((kind, rest)) = choice(input, 4) else { return };
    match kind {
        0 => attributes(rest),
        1 => configuration(rest),
        2 => challenges(rest),
        _ => answer(rest),
    }
}

fn attributes(mut input: &[u8]) {
    let Ok(said) = Attributes::read(&mut input) else { return };
    let values = [said.protocol(), said.host(), said.path(), said.secret()];
    for value in values.into_iter().flatten().chain(said.wwwauth().iter().map(String::as_str)) {
        assert!(!value.contains(['\n', '\0']), "a value ends with its line");
    }
    assert!(said.host() != Some("") && said.path() != Some(""));
    assert!(said.wwwauth().iter().all(|challenge| !challenge.is_empty()));
}

/// `pattern TAB helper` lines.
fn configuration(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let entries: Vec<HelperEntry> = text
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(pattern, helper)| HelperEntry {
            pattern: (!pattern.is_empty()).then(|| pattern.to_owned()),
            helper: helper.to_owned(),
        })
        .collect();
    for path in [None, Some("team/app")] {
        let all = listed(&entries, "https", "g.example:8443", path);
        let foreign = others(&entries, "https", "g.example:8443", path);
        assert_eq!(foreign.len(), all.iter().filter(|helper| !is_ours(helper)).count());
        // A helper for every URL that nothing takes back is always among them.
        if let Some(HelperEntry { pattern: None, helper }) = entries.last()
            && !helper.is_empty()
            && !is_ours(helper)
        {
            assert_eq!(foreign.last(), Some(&helper.as_str()));
        }
        assert!(all.iter().all(|helper| program(helper).len() <= helper.len()));
    }
}

fn challenges(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let resource: Resource = "https://h:8443/".parse().unwrap();
    let challenges: Vec<String> = text.split('\n').map(str::to_owned).collect();
    if let Some(nonce) = nonce_in(&challenges, &resource) {
        assert!((1..=256).contains(&nonce.len()) && nonce.bytes().all(|byte| byte.is_ascii_graphic()));
        assert!(text.contains(resource.as_str()) && text.contains(&nonce));
    }
}

fn answer(input: &[u8]) {
    if let Split::Whole { status, body } = split(input) {
        assert!((100..600).contains(&status));
        assert!(body.is_empty() || input.windows(body.len()).any(|window| window == body));
        assert!(matches!(split(&input[..input.len().saturating_sub(1)]), Split::Whole { .. } | Split::CutOff));
    }
}

/// One of each.
pub fn seeds() -> Vec<Vec<u8>> {
    vec![
        seed(
            b'a',
            "capability[]=authtype\ncapability[]=state\nprotocol=https\nhost=g.example:8443\npath=team/app.git\nwwwauth[]=Daypass realm=\"https://g.example:8443/\", nonce=\"n=1\"\nwwwauth[]=\nwwwauth[]=Basic realm=\"x\"\n\n",
        ),
        seed(b'a', "protocol=https\nhost=h\nauthtype=Daypass\ncredential=a~b\npassword=x\nusername=daypass\n"),
        seed(
            b'b',
            "https://g.example:8443/\t\nhttps://g.example:8443/\t/usr/bin/git-credential-daypass --exclusive\n\tstore\n",
        ),
        seed(
            b'b',
            "https://*.example\t\nme@g.example\t/opt/my\\ tools/git-credential-daypass\nhttps://g.example:8443/team\tcache\n",
        ),
        seed(b'c', "Basic realm=\"x\"\nDaypass realm=\"https://h:8443/\", nonce=\"abc_-1\""),
        seed(
            b'd',
            "HTTP/1.1 200 OK\r\nContent-Length: 18\r\ncontent-type: application/json\r\n\r\n{\"enrolments\":[ ]}",
        ),
        seed(b'd', "HTTP/1.1 204 No Content\r\n\r\n"),
    ]
}

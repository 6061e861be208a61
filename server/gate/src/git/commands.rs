//! The head of a push (gitprotocol-pack(5), "Reference Update Request and Packfile Transfer"), read with an allow-list: `shallow`
//! lines, commands, a flush. What is not plainly one of those refuses the whole push; what goes upstream is written anew from what was
//! understood.

use std::{collections::BTreeSet, io};

use daypass_proto::authorization::GitAction;
use thiserror::Error;
use tokio::io::AsyncRead;

use super::pkt_line::{self, Packet, write_data, write_flush};

/// The most commands in one push.
const MAX_COMMANDS: usize = 4096;
/// The longest ref name, in bytes.
const MAX_REF: usize = 1024;
/// The longest list of capabilities, in bytes: git's is a tenth of it, and the line that is written anew fits a pkt-line.
const MAX_CAPABILITIES: usize = 8 * 1024;
/// All lines of a head together, in bytes: it is kept whole, several times over, while the push is judged.
const MAX_HEAD: usize = 1024 * 1024;
/// The capabilities that are passed on; others are dropped, and so switched off.
const CAPABILITIES: [&str; 6] = ["report-status", "report-status-v2", "delete-refs", "quiet", "atomic", "ofs-delta"];

/// Why the head of a push is refused.
#[derive(Debug, Error)]
pub enum CommandError {
    /// The connection.
    #[error("the push ended before its command list did")]
    Read(#[source] io::Error),
    /// Not pkt-lines.
    #[error("the push does not begin with a list of pkt-lines")]
    PktLine,
    /// No command at all.
    #[error("the push has no commands")]
    Empty,
    /// Too many.
    #[error("the push has more than {MAX_COMMANDS} commands")]
    TooMany,
    /// Capabilities without end.
    #[error("the push has more than {MAX_CAPABILITIES} bytes of capabilities")]
    TooLong,
    /// Long names, and many of them.
    #[error("the push has more than {MAX_HEAD} bytes of commands; push fewer refs at a time")]
    TooMuch,
    /// `push-cert`.
    #[error("signed pushes (`push-cert`) are not served here; push without `--signed`")]
    PushCertificate,
    /// Push options.
    #[error("push options are not served here; push without `--push-option`")]
    PushOptions,
    /// Neither a command nor a shallow line.
    #[error("the push has a line that is not a command")]
    Malformed,
    /// A ref name that git would not take.
    #[error("the push names a ref that git does not allow")]
    RefName,
    /// One ref twice.
    #[error("the push names one ref twice")]
    Duplicate,
    /// Objects named by another hash than the push says that it uses.
    #[error("the push names objects in another format than the `object-format` that it declares")]
    ObjectFormat,
}

/// One command: what becomes of one ref.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Command {
    old: String,
    new: String,
    reference: String,
}

impl Command {
    /// The full name of the ref.
    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// What is done to it.
    pub fn action(&self) -> GitAction {
        let zero = |id: &str| id.bytes().all(|byte| byte == b'0');
        if zero(&self.old) {
            GitAction::Create
        } else if zero(&self.new) {
            GitAction::Delete
        } else {
            GitAction::Push
        }
    }
}

/// The head of a push, understood whole.
#[derive(Debug, Eq, PartialEq)]
pub struct PushHead {
    shallow: Vec<String>,
    commands: Vec<Command>,
    capabilities: Vec<String>,
}

impl PushHead {
    /// The commands; never empty.
    pub fn commands(&self) -> &[Command] {
        &self.commands
    }

    /// Whether the client understands this capability.
    pub fn has(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|own| own == capability)
    }

    /// Whether every object is named by the one hash that the capabilities declare (gitprotocol-capabilities(5); SHA-1 where they are
    /// silent): a server that reads the lines by another length would find other refs in them.
    fn is_of_one_format(&self) -> bool {
        let mut declared = self.capabilities.iter().filter_map(|one| one.strip_prefix("object-format="));
        let length = match (declared.next(), declared.next()) {
            (None | Some("sha1"), None) => 40,
            (Some("sha256"), None) => 64,
            _ => return false,
        };
        let commands = self.commands.iter().flat_map(|command| [&command.old, &command.new]);
        self.shallow.iter().chain(commands).all(|id| id.len() == length)
    }

    /// The head as it goes upstream.
    pub fn serialize(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for id in &self.shallow {
            write_data(&mut out, format!("shallow {id}\n").as_bytes());
        }
        for (index, Command { old, new, reference }) in self.commands.iter().enumerate() {
            let capabilities = if index == 0 { format!("\0 {}", self.capabilities.join(" ")) } else { String::new() };
            write_data(&mut out, format!("{old} {new} {reference}{capabilities}").as_bytes());
        }
        write_flush(&mut out);
        out
    }
}

/// What a push begins with.
#[derive(Debug, Eq, PartialEq)]
pub enum Head {
    /// git's probe before a large push: a flush and nothing else.
    Probe,
    /// A push.
    Push(PushHead),
}

/// Reads up to and including the flush after the commands; the pack, if any, is left in `input`.
pub async fn read_head(input: &mut (impl AsyncRead + Unpin)) -> Result<Head, CommandError> {
    let mut head = PushHead { shallow: Vec::new(), commands: Vec::new(), capabilities: Vec::new() };
    let mut names = BTreeSet::new();
    let mut left = MAX_HEAD;
    loop {
        let packet = pkt_line::read(input).await.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => CommandError::PktLine,
            _ => CommandError::Read(error),
        })?;
        let line = match packet {
            None => return Err(CommandError::Read(io::ErrorKind::UnexpectedEof.into())),
            Some(Packet::Flush) if head.commands.is_empty() && head.shallow.is_empty() => return Ok(Head::Probe),
            Some(Packet::Flush) if head.commands.is_empty() => return Err(CommandError::Empty),
            Some(Packet::Flush) if !head.is_of_one_format() => return Err(CommandError::ObjectFormat),
            Some(Packet::Flush) => return Ok(Head::Push(head)),
            Some(Packet::Data(line)) => line,
        };
        if head.commands.len() + head.shallow.len() >= MAX_COMMANDS {
            return Err(CommandError::TooMany);
        }
        left = left.checked_sub(line.len()).ok_or(CommandError::TooMuch)?;
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        if line.starts_with(b"push-cert") {
            return Err(CommandError::PushCertificate);
        }
        if let Some(id) = line.strip_prefix(b"shallow ").filter(|_| head.commands.is_empty()) {
            head.shallow.push(object_id(id).ok_or(CommandError::Malformed)?);
            continue;
        }
        let mut parts = line.splitn(2, |byte| *byte == 0);
        let command = parse_command(parts.next().unwrap_or_default())?;
        match parts.next() {
            Some(capabilities) if head.commands.is_empty() => head.capabilities = parse_capabilities(capabilities)?,
            Some(_) => return Err(CommandError::Malformed),
            None => {}
        }
        if !names.insert(command.reference.clone()) {
            return Err(CommandError::Duplicate);
        }
        head.commands.push(command);
    }
}

fn object_id(bytes: &[u8]) -> Option<String> {
    let hex = bytes.iter().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte));
    (matches!(bytes.len(), 40 | 64) && hex).then(|| String::from_utf8_lossy(bytes).into_owned())
}

fn parse_command(bytes: &[u8]) -> Result<Command, CommandError> {
    let mut parts = bytes.splitn(3, |byte| *byte == b' ');
    let (Some(old), Some(new), Some(reference)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(CommandError::Malformed);
    };
    let (Some(old), Some(new)) = (object_id(old), object_id(new)) else { return Err(CommandError::Malformed) };
    if old.len() != new.len() || (old == new && old.bytes().all(|byte| byte == b'0')) {
        return Err(CommandError::Malformed);
    }
    Ok(Command { old, new, reference: ref_name(reference).ok_or(CommandError::RefName)? })
}

/// A full ref name by the rules of git-check-ref-format(1), in UTF-8, below `refs/`.
fn ref_name(bytes: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(bytes).ok()?;
    let forbidden = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    let component = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    let good = name.len() <= MAX_REF
        && name.starts_with("refs/")
        && !name.contains(forbidden)
        && !name.contains("..")
        && !name.contains("@{")
        && !name.ends_with('.')
        && name.split('/').all(component);
    good.then(|| name.to_owned())
}

fn parse_capabilities(bytes: &[u8]) -> Result<Vec<String>, CommandError> {
    if bytes.len() > MAX_CAPABILITIES {
        return Err(CommandError::TooLong);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| CommandError::Malformed)?;
    if !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err(CommandError::Malformed);
    }
    let all: Vec<&str> = text.split(' ').filter(|one| !one.is_empty()).collect();
    if all.contains(&"push-options") {
        return Err(CommandError::PushOptions);
    }
    let known = |one: &&&str| {
        CAPABILITIES.contains(*one)
            || matches!(**one, "side-band-64k" | "object-format=sha1" | "object-format=sha256")
            || one.starts_with("agent=")
    };
    Ok(all.iter().filter(known).map(|one| (*one).to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OLD: &str = "1111111111111111111111111111111111111111";
    const NEW: &str = "2222222222222222222222222222222222222222";
    const ZERO: &str = "0000000000000000000000000000000000000000";

    fn packets(lines: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for line in lines {
            write_data(&mut out, line);
        }
        write_flush(&mut out);
        out
    }

    async fn read(lines: &[&[u8]]) -> Result<Head, CommandError> {
        read_head(&mut &packets(lines)[..]).await
    }

    fn line(old: &str, new: &str, reference: &str) -> Vec<u8> {
        format!("{old} {new} {reference}").into_bytes()
    }

    #[tokio::test]
    async fn understands_a_push_and_writes_it_anew() {
        let first = format!("{OLD} {NEW} refs/heads/a\0 report-status side-band-64k agent=git/2 evil=1\n");
        let shallow = format!("shallow {OLD}");
        let lines =
            [shallow.as_bytes(), first.as_bytes(), &line(ZERO, NEW, "refs/heads/b"), &line(OLD, ZERO, "refs/tags/c")];
        let mut input = &[packets(&lines), b"PACK".to_vec()].concat()[..];
        let Head::Push(head) = read_head(&mut input).await.unwrap() else { panic!() };
        assert_eq!(input, b"PACK", "the pack is left alone");
        let actions: Vec<_> = head.commands().iter().map(Command::action).collect();
        assert_eq!(actions, [GitAction::Push, GitAction::Create, GitAction::Delete]);
        assert!(head.has("report-status") && !head.has("evil=1"));
        let Head::Push(again) = read_head(&mut &head.serialize()[..]).await.unwrap() else { panic!() };
        assert_eq!(again, head);
    }

    #[tokio::test]
    async fn a_flush_alone_is_a_probe() {
        assert_eq!(read(&[]).await.unwrap(), Head::Probe);
        assert!(matches!(read(&[format!("shallow {OLD}").as_bytes()]).await, Err(CommandError::Empty)));
    }

    #[tokio::test]
    async fn tricks_are_refused() {
        let good = line(OLD, NEW, "refs/heads/a");
        for bad in [
            b"push-cert\0 x".to_vec(),
            b"garbage".to_vec(),
            line(ZERO, ZERO, "refs/heads/a"),
            line("1", NEW, "refs/heads/a"),
            line(&OLD.replace('1', "A"), NEW, "refs/heads/a"),
            line(OLD, NEW, "HEAD"),
            line(OLD, NEW, "refs/heads/a\nrefs/heads/b"),
            line(OLD, NEW, "refs/heads/../main"),
            line(OLD, NEW, "refs/heads/a b"),
            line(OLD, NEW, "refs/heads//a"),
            line(OLD, NEW, "refs/heads/a.lock"),
            line(OLD, NEW, "refs/heads/*"),
            line(OLD, NEW, ""),
            [line(OLD, NEW, "refs/heads/a"), b"\0push-options".to_vec()].concat(),
            [line(OLD, NEW, "refs/heads/a"), b"\0a\0b".to_vec()].concat(),
            [line(OLD, NEW, "refs/heads/"), vec![0xff]].concat(),
            format!("{OLD} {} refs/heads/a", "2".repeat(64)).into_bytes(),
        ] {
            assert!(read(&[&bad]).await.is_err(), "{}", String::from_utf8_lossy(&bad));
        }
        assert!(matches!(read(&[&good, &good]).await, Err(CommandError::Duplicate)));
        let second_nul = [line(OLD, NEW, "refs/heads/b"), b"\0x".to_vec()].concat();
        assert!(matches!(read(&[&good, &second_nul]).await, Err(CommandError::Malformed)));
        let late_shallow = format!("shallow {OLD}").into_bytes();
        assert!(matches!(read(&[&good, &late_shallow]).await, Err(CommandError::Malformed)));
    }

    #[tokio::test]
    async fn objects_are_named_by_the_hash_that_is_declared() {
        let (old, new) = ("1".repeat(64), "2".repeat(64));
        let long = |capabilities: &str| format!("{old} {new} refs/heads/a\0{capabilities}").into_bytes();
        let short = |capabilities: &str| format!("{OLD} {NEW} refs/heads/a\0{capabilities}").into_bytes();
        assert!(read(&[&long("object-format=sha256")]).await.is_ok());
        assert!(read(&[&short("object-format=sha1")]).await.is_ok());
        let mixed = line(OLD, NEW, "refs/heads/b");
        let shallow = format!("shallow {OLD}").into_bytes();
        for lines in [
            vec![long("")],
            vec![long("object-format=sha1")],
            vec![short("object-format=sha256")],
            vec![long("object-format=sha256 object-format=sha1")],
            vec![long("object-format=sha256"), mixed],
            vec![shallow, long("object-format=sha256")],
        ] {
            let refs: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
            assert!(matches!(read(&refs).await, Err(CommandError::ObjectFormat)));
        }
    }

    #[tokio::test]
    async fn there_is_an_end_to_it() {
        let mut out = Vec::new();
        for n in 0..=MAX_COMMANDS {
            write_data(&mut out, &line(OLD, NEW, &format!("refs/heads/{n}")));
        }
        assert!(matches!(read_head(&mut &out[..]).await, Err(CommandError::TooMany)));
        let mut out = Vec::new();
        for n in 0..1000 {
            write_data(&mut out, &line(OLD, NEW, &format!("refs/heads/{n:0>1000}")));
        }
        assert!(matches!(read_head(&mut &out[..]).await, Err(CommandError::TooMuch)));
        let mut longest = line(OLD, NEW, "refs/heads/a");
        longest.extend_from_slice(b"\0agent=");
        longest.resize(pkt_line::MAX_DATA, b'x');
        assert!(matches!(read(&[&longest]).await, Err(CommandError::TooLong)));
        assert!(matches!(read_head(&mut &b"0032"[..]).await, Err(CommandError::Read(_))));
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _ = runtime.block_on(read_head(&mut &bytes[..]));
            let _ = runtime.block_on(read_head(&mut &packets(&[&[b"x"[..].to_vec(), bytes].concat()])[..]));
        }

        #[test]
        fn what_is_accepted_is_written_as_the_same(names in prop::collection::btree_set("[a-z]{1,8}", 1..6)) {
            let lines: Vec<Vec<u8>> = names.iter().map(|name| line(OLD, NEW, &format!("refs/heads/{name}"))).collect();
            let refs: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let Head::Push(head) = runtime.block_on(read(&refs)).unwrap() else { panic!() };
            let Head::Push(again) = runtime.block_on(read_head(&mut &head.serialize()[..])).unwrap() else { panic!() };
            prop_assert_eq!(again, head);
        }
    }
}

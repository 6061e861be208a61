use std::sync::{Arc, Mutex};

use clap::Parser;
use daypass_proto::ledger::EventKind;
use serde_json::Value;

use super::*;
use crate::{fixture::Made, ledger::integrate, store::Decision};

#[derive(Parser)]
struct Line<T: clap::Args> {
    #[command(flatten)]
    args: T,
}

fn args<T: clap::Args>(text: &str) -> T {
    Line::<T>::try_parse_from(text.split_whitespace()).unwrap().args
}

async fn listed(made: &Made, text: &str) -> Vec<String> {
    let mut out = Vec::new();
    list(&made.issuer, &args(text), &mut out).await.unwrap();
    String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
}

fn numbers(lines: &[String]) -> Vec<u64> {
    let number = |line: &String| serde_json::from_str::<Value>(line).unwrap()["event"].as_u64().unwrap();
    lines.iter().map(number).collect()
}

/// Suspensions of two devices of two people by turns, behind what `init` wrote.
async fn decide(made: &Made, count: u64) {
    for number in 0..count {
        let environment = &made.issuer.environment;
        let event = environment.event(EventKind::DeviceSuspended).text("device", format!("dev-{:016}", number % 2));
        let event = environment.personal(event, "collaborator", if number % 2 == 0 { "alice" } else { "bob" });
        let event = environment.personal(event, "why", "\u{1b}[2J\u{202e}gone");
        made.issuer.store.decide(Decision::new(environment.personal(event, "by", "olga"))).await.unwrap();
    }
}

async fn made(count: u64) -> (Made, u64) {
    let made = Made::new().await;
    integrate(&made.issuer).await;
    let before = made.issuer.store.ledger().await.unwrap().unwrap().head.size();
    made.pass(3600);
    decide(&made, count).await;
    integrate(&made.issuer).await;
    (made, before)
}

#[tokio::test]
async fn a_list_goes_on_where_the_last_one_ended() {
    let (made, before) = made(600).await;
    let all = numbers(&listed(&made, "list --json").await);
    assert_eq!(all, (0..before + 600).collect::<Vec<_>>());
    let mut pages = Vec::new();
    while pages.len() < all.len() {
        let after = pages.last().map(|last| format!("--after {last}")).unwrap_or_default();
        let page = numbers(&listed(&made, &format!("list --json --limit 250 {after}")).await);
        assert!(page.len() == 250 || pages.len() + page.len() == all.len(), "{}", page.len());
        pages.extend(page);
    }
    assert_eq!(pages, all);
    let bobs = numbers(&listed(&made, "list --json --collaborator bob --since 1h --kind device_suspended").await);
    assert_eq!(bobs, (0..300).map(|number| before + 2 * number + 1).collect::<Vec<_>>());
    assert_eq!(numbers(&listed(&made, "list --json --until 1h").await), (0..before).collect::<Vec<_>>());
    assert!(listed(&made, "list --json --collaborator carol").await.is_empty());
    // What has no number yet is not in the ledger yet.
    decide(&made, 1).await;
    assert_eq!(listed(&made, "list --json").await.len(), all.len());
}

#[tokio::test]
async fn a_table_shows_no_control_characters_and_says_what_was_erased() {
    let (made, before) = made(2).await;
    let table = listed(&made, &format!("list --after {}", before - 1)).await;
    let [heading, alice, bob] = table.as_slice() else { panic!("{table:?}") };
    assert!(heading.starts_with("EVENT") && heading.ends_with("WHAT"), "{heading}");
    assert!(alice.starts_with(&before.to_string()) && alice.contains("device_suspended"), "{alice}");
    assert!(alice.contains(" alice ") && alice.contains("dev-0000000000000000") && alice.ends_with("by=olga"));
    assert_eq!(heading.find("COLLABORATOR"), bob.find("bob"), "columns\n{heading}\n{bob}");
    let mut shown = Shown::of(made.issuer.store.entries(before, 1).await.unwrap().remove(0));
    let lines = shown.lines().join("\n");
    assert!(lines.contains("why                   \u{fffd}[2J\u{fffd}gone"), "{lines}");
    assert!(lines.chars().all(|c| c == '\n' || !c.is_control()), "{lines:?}");
    // In JSON they are escaped.
    assert!(shown.json().to_string().contains("\\u001b[2J"));
    shown.erase("collaborator");
    assert!(shown.json()["personal"]["collaborator"].is_null() && shown.row()[3] == "(erased)", "{shown:?}");
}

/// What was written so far, as a reader of a pipe has it.
#[derive(Clone, Default)]
struct Pipe(Arc<Mutex<Vec<u8>>>, bool);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.1 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Pipe {
    fn numbers(&self) -> Vec<u64> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        numbers(&text.lines().map(str::to_owned).collect::<Vec<_>>())
    }
}

#[tokio::test]
async fn a_tail_has_the_newest_and_goes_on_until_it_is_stopped() {
    let (made, before) = made(600).await;
    let (pipe, stop) = (Pipe::default(), CancellationToken::new());
    let size = before + 600;
    tail(&made.issuer, &args("tail --json"), pipe.clone(), &stop).await.unwrap();
    assert_eq!(pipe.numbers(), (size - 10..size).collect::<Vec<_>>());
    let pipe = Pipe::default();
    tail(&made.issuer, &args("tail --json -n 290 --collaborator alice"), pipe.clone(), &stop).await.unwrap();
    assert_eq!(pipe.numbers(), (10..300).map(|number| before + 2 * number).collect::<Vec<_>>());
    // With none before, from now on.
    let pipe = Pipe::default();
    let args = args("tail --json -n 0 --follow --collaborator bob");
    let following = tail(&made.issuer, &args, pipe.clone(), &stop);
    let stopped = async {
        decide(&made, 4).await;
        integrate(&made.issuer).await;
        while pipe.numbers().len() < 2 {
            tokio::task::yield_now().await;
        }
        decide(&made, 2).await;
        integrate(&made.issuer).await;
        while pipe.numbers().len() < 3 {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let (done, ()) = tokio::join!(following, stopped);
    done.unwrap();
    assert_eq!(pipe.numbers(), [size + 1, size + 3, size + 5], "each once");
}

#[tokio::test]
async fn who_has_read_enough_is_no_error() {
    let (made, _) = made(1).await;
    let closed = Pipe(Arc::default(), true);
    let read = list(&made.issuer, &args("list"), io::BufWriter::new(closed)).await;
    assert!(matches!(&read, Err(CommandError::Output(_))));
    assert!(super::super::read_on(read).is_ok());
    let full = Err(CommandError::Output(io::ErrorKind::StorageFull.into()));
    assert!(super::super::read_on(full).is_err(), "which a full disk is");
}

#[test]
fn what_is_no_filter_is_refused_with_what_is_one() {
    for (text, said) in [
        ("list --kind token_isued", "`token_isued` is no kind of event"),
        ("list --device x", "invalid value"),
        ("list --limit -1", "unexpected argument"),
        ("list --since soon", "`soon` is no moment"),
    ] {
        let Err(refused) = Line::<List>::try_parse_from(text.split_whitespace()) else { panic!("{text}") };
        assert!(refused.to_string().contains(said), "{refused}");
    }
}

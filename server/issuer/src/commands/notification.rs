//! `daypass-issuer notification …`: what sinks have not taken, and whether they take anything.

use daypass_proto::arguments::{number, text};
use serde_json::{Value, json};

use super::{
    CommandError,
    arguments::reason,
    operator,
    output::{json as print_json, line, table, untrusted_up_to},
};
use crate::{
    actor::Actor,
    issuer::Issuer,
    notification::{Sinks, drop_dead, test_message},
    store::{DecideError, Outgoing},
};

/// What can be done.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List what sinks have not taken yet, the oldest first.
    List {
        /// Only what is not tried any more.
        #[arg(long)]
        dead: bool,
        /// No more than so many.
        #[arg(long, default_value_t = 1000, value_name = "NUMBER", value_parser = |given: &str| number::<u32>(given, 1..=100_000))]
        limit: u32,
        /// Print JSON, with what would be sent.
        #[arg(long)]
        json: bool,
    },
    /// Try again what is not tried any more.
    Retry(Which),
    /// Take out what is not tried any more: nobody is told of it.
    Drop {
        #[command(flatten)]
        which: Which,
        /// Why, for the ledger.
        #[arg(long, value_parser = reason)]
        reason: Option<String>,
    },
    /// Send a message of type `test` to every sink, and say what comes of it.
    Test {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Which messages, and how it is told.
#[derive(Debug, clap::Args)]
pub struct Which {
    #[command(flatten)]
    messages: Messages,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Which messages.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Messages {
    /// This one.
    #[arg(value_name = "MESSAGE", value_parser = text)]
    message: Option<String>,
    /// All of them.
    #[arg(long)]
    all: bool,
}

impl Which {
    /// What is said where there is nothing.
    fn none(&self) -> CommandError {
        CommandError::NoNotification(self.messages.message.clone())
    }
}

pub(super) async fn run(issuer: &Issuer, command: Command) -> Result<(), CommandError> {
    match command {
        Command::List { dead, limit, json } => list(issuer, dead, limit, json).await,
        Command::Retry(which) => {
            let count = issuer.store.retry(which.messages.message.as_deref(), issuer.environment.now()).await?;
            if count == 0 && !which.messages.all {
                return Err(which.none());
            }
            tell(&which, count, "tried again, as soon as the issuer serves")
        }
        Command::Drop { which, reason } => take_out(issuer, &which, reason).await,
        Command::Test { json } => test(issuer, json).await,
    }
}

fn tell(which: &Which, count: u64, what: &str) -> Result<(), CommandError> {
    if which.json {
        print_json(&json!({"notifications": count}))
    } else {
        line(format!("{count} notification(s) {what}"))
    }
}

fn describe(message: &Outgoing) -> Value {
    json!({
        "message": message.id, "sink": message.sink, "type": message.kind, "dead": message.dead,
        "happened_at": message.created_at, "attempts": message.attempts, "next_attempt_at": message.due_at,
        "error": message.error,
        "payload": serde_json::from_str::<Value>(&message.payload).unwrap_or(Value::Null),
    })
}

async fn list(issuer: &Issuer, dead: bool, limit: u32, json: bool) -> Result<(), CommandError> {
    let messages = issuer.store.outgoing(dead, limit).await?;
    if json {
        return print_json(&messages.iter().map(describe).collect::<Vec<_>>());
    }
    let rows: Vec<Vec<String>> = messages
        .iter()
        .map(|message| {
            vec![
                message.id.clone(),
                message.sink.clone(),
                message.kind.clone(),
                message.created_at.to_string(),
                message.attempts.to_string(),
                if message.dead { "dead".to_owned() } else { message.due_at.to_string() },
                message.error.as_deref().map_or_else(|| "-".to_owned(), |error| untrusted_up_to(200, error)),
            ]
        })
        .collect();
    table(&["MESSAGE", "SINK", "TYPE", "HAPPENED", "ATTEMPTS", "NEXT", "LAST ERROR"], &rows)
}

async fn take_out(issuer: &Issuer, which: &Which, reason: Option<String>) -> Result<(), CommandError> {
    let by = Actor::account(operator());
    match drop_dead(issuer, which.messages.message.as_deref(), &by, reason.as_deref()).await {
        Ok(0) if !which.messages.all => Err(which.none()),
        Ok(count) => tell(which, count, "taken out"),
        // Somebody tried it again, or took it out, meanwhile.
        Err(DecideError::Conflict(_)) => Err(which.none()),
        Err(error) => Err(error.into()),
    }
}

async fn test(issuer: &Issuer, json: bool) -> Result<(), CommandError> {
    let (sinks, environment) = (Sinks::open(&issuer.config.notification)?, &issuer.environment);
    let (id, payload) = test_message(environment.random(), environment.now(), &issuer.config.issuer_url);
    let mut results = Vec::new();
    for sink in sinks.iter() {
        let sent = sink.send(&id, environment.now(), &payload).await;
        results.push((sink.name(), sent.err().map(|error| daypass_service::told(&error))));
    }
    if json {
        let results: Vec<Value> = results
            .iter()
            .map(|(sink, error)| json!({"sink": sink, "taken": error.is_none(), "error": error}))
            .collect();
        print_json(&json!({"message": id, "sinks": results}))?;
    } else {
        for (sink, error) in &results {
            match error {
                None => line(format!("{sink}: took `{id}`"))?,
                Some(error) => line(format!("{sink}: {}", untrusted_up_to(400, error)))?,
            }
        }
    }
    match results.iter().filter(|(_, error)| error.is_some()).count() {
        _ if results.is_empty() => Err(CommandError::NoSinks),
        0 => Ok(()),
        failed => Err(CommandError::NotTaken(failed)),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        fixture::Made,
        store::{Attempt, Found},
    };

    const NONE: &str = "# [notification]\n";

    fn which(message: Option<&str>) -> Which {
        Which { messages: Messages { message: message.map(str::to_owned), all: message.is_none() }, json: false }
    }

    pub(crate) async fn dead(made: &Made, id: &str) {
        let store = &made.issuer.store;
        store.begin_notifying(vec!["command".to_owned()]).await.unwrap();
        let next = store.notifying().await.unwrap().unwrap().next;
        let epoch = store.lease_notifying("here", made.now(), made.now().plus(60)).await.unwrap().unwrap();
        let message = Outgoing {
            id: id.to_owned(),
            sink: "command".to_owned(),
            kind: "test".to_owned(),
            place: next,
            created_at: made.now(),
            due_at: made.now(),
            attempts: 0,
            dead: false,
            error: None,
            collaborator: None,
            payload: "{}".to_owned(),
        };
        let found = Found { epoch, looked_at: next..next, messages: vec![message.clone()], ends: Vec::new() };
        assert!(store.keep_found(found).await.unwrap());
        assert!(store.settle(epoch, &message, Attempt::Dead { error: "no".to_owned() }).await.unwrap());
    }

    #[tokio::test]
    async fn what_is_dead_is_tried_again_or_taken_out_and_nothing_else_is() {
        let made = Made::new().await;
        for id in ["msg_1", "msg_2", "msg_3"] {
            dead(&made, id).await;
        }
        let run = async |command| run(&made.issuer, command).await;
        run(Command::List { dead: true, limit: 10, json: true }).await.unwrap();
        assert!(matches!(run(Command::Retry(which(Some("msg_9")))).await, Err(CommandError::NoNotification(Some(_)))));
        run(Command::Retry(which(Some("msg_1")))).await.unwrap();
        let drop = |message| Command::Drop { which: which(message), reason: Some("moved".to_owned()) };
        assert!(matches!(run(drop(Some("msg_1"))).await, Err(CommandError::NoNotification(_))), "it is tried again");
        run(drop(Some("msg_2"))).await.unwrap();
        run(drop(None)).await.unwrap();
        run(drop(None)).await.unwrap();
        let left = made.issuer.store.outgoing(false, 10).await.unwrap();
        assert_eq!(left.iter().map(|message| message.id.as_str()).collect::<Vec<_>>(), ["msg_1"]);
        assert_eq!(made.events("notifications_dropped").await.len(), 2);
        assert_eq!(made.reasons("notifications_dropped").await, ["moved", "moved"]);
    }

    #[tokio::test]
    async fn a_try_says_who_takes_nothing() {
        let none = Made::new().await;
        assert!(matches!(run(&none.issuer, Command::Test { json: false }).await, Err(CommandError::NoSinks)));
        for (program, taken) in [("/bin/true", true), ("/bin/false", false)] {
            let text = format!("[notification.command]\nrun = [\"{program}\"]\n");
            let made = Made::with(&[(NONE, &text)]).await;
            for json in [false, true] {
                let result = run(&made.issuer, Command::Test { json }).await;
                assert_eq!(result.is_ok(), taken, "{result:?}");
                assert!(taken || matches!(result, Err(CommandError::NotTaken(1))));
            }
        }
    }
}

//! `daypass-issuer clock …`: this machine's time beside that of the newest decisions.
//!
//! An issuer whose clock is behind what it decided already refuses to decide. Mostly the clock is wrong, and then it is set. Where it was ahead
//! before, only a person can know that it is right now, and says so here; the ledger then shows why its times run backwards.

use daypass_proto::ledger::EventKind;

use serde_json::json;

use super::{
    CommandError,
    output::{json as print_json, line},
};
use crate::{
    issuer::Issuer,
    store::{Change, Decision},
};

/// What can be done.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show both times.
    Show {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say that this machine's clock is right, and was ahead before.
    Accept {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(issuer: &Issuer, command: Command) -> Result<(), CommandError> {
    let (now, floor) = (issuer.environment.now(), issuer.store.clock_floor().await?);
    match command {
        Command::Show { json: true } => {
            let right = issuer.clock_is_right().await;
            print_json(&json!({"ok": right.is_ok(), "now": now, "decisions_until": floor}))?;
            Ok(right?)
        }
        Command::Show { json: false } => {
            line(format!("this machine's clock  {now}"))?;
            line(format!("newest decisions      {floor}"))?;
            issuer.clock_is_right().await?;
            line("all good")
        }
        Command::Accept { json } => {
            let told = |accepted| json!({"accepted": accepted, "now": now, "decisions_until": floor});
            if issuer.clock_is_right().await.is_ok() {
                if json {
                    return print_json(&told(false));
                }
                return line(format!("nothing to accept: the clock says {now}, and decisions were made until {floor}"));
            }
            let event = issuer.environment.event(EventKind::ClockAccepted).number("floor", floor.seconds());
            let event = issuer.environment.personal(event.number("accepted", now.seconds()), "by", super::operator());
            issuer.store.decide(Decision::new(event).change(Change::AcceptClock { from: floor, to: now })).await?;
            if json {
                return print_json(&told(true));
            }
            line(format!("decisions go on from {now}; some were made until {floor}, by a clock that was ahead"))
        }
    }
}

#[cfg(test)]
mod tests {
    use daypass_proto::time::Skew;

    use super::*;
    use crate::{fixture::Made, store::DecideError};

    #[tokio::test]
    async fn a_clock_that_was_put_back_decides_nothing_until_it_is_right_or_accepted() {
        let made = Made::new().await;
        let decide = async || {
            let event = crate::fixture::event(&made.issuer.environment);
            made.issuer.store.decide(Decision::new(event)).await
        };
        made.pass(7200);
        decide().await.unwrap();
        made.pass(-Skew::MAX_SECONDS);
        decide().await.unwrap();
        made.pass(-1);
        let (now, floor) = (made.now(), made.now().plus(Skew::MAX_SECONDS + 1));
        let refused = decide().await;
        assert!(
            matches!(&refused, Err(DecideError::Clock { now: a, floor: b }) if (*a, *b) == (now, floor)),
            "{refused:?}"
        );
        assert!(made.issuer.clock_is_right().await.is_err());
        made.pass(1);
        decide().await.unwrap();
        made.pass(-3600);
        assert!(decide().await.is_err());
        run(&made.issuer, Command::Accept { json: false }).await.unwrap();
        decide().await.unwrap();
        made.pass(-Skew::MAX_SECONDS - 1);
        assert!(decide().await.is_err(), "what was accepted holds from now on");
    }
}

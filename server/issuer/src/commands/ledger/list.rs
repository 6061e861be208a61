//! `daypass-issuer ledger list` and `tail`: events as a table or as JSON Lines, written as they are read.
//!
//! Both show events with a number and no others: what waits for one is not in the ledger yet, and comes at its end.

use daypass_proto::arguments::number;
use std::{
    io::{self, Write},
    ops::Range,
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{
    event::{HEADING, Shown, padded},
    which::Which,
};
use crate::{
    commands::CommandError,
    issuer::Issuer,
    store::{Filter, Side},
};

/// How many events are read at once.
const PAGE: u32 = 256;

/// How often `tail --follow` looks for more.
const LOOK: Duration = Duration::from_millis(500);

/// Options of `list`.
#[derive(Debug, clap::Args)]
pub(in crate::commands) struct List {
    #[command(flatten)]
    which: Which,
    /// Only events behind this one: the last of an earlier list, to go on from there.
    #[arg(long, value_name = "EVENT", value_parser = |given: &str| number::<u64>(given, 0..=u64::MAX))]
    after: Option<u64>,
    /// At most so many.
    #[arg(long, value_name = "NUMBER", value_parser = |given: &str| number::<u64>(given, 1..=u64::MAX))]
    limit: Option<u64>,
    /// Print JSON Lines.
    #[arg(long)]
    json: bool,
}

/// Options of `tail`.
#[derive(Debug, clap::Args)]
pub(in crate::commands) struct Tail {
    #[command(flatten)]
    which: Which,
    /// How many of the newest.
    #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 10, value_parser = |given: &str| number::<u32>(given, 0..=u32::MAX.into()))]
    lines: u32,
    /// Go on with what comes, until stopped.
    #[arg(long, short)]
    follow: bool,
    /// Print JSON Lines.
    #[arg(long)]
    json: bool,
}

/// Where events are written; a table has its heading above the first.
struct Printer<W> {
    to: W,
    json: bool,
    begun: bool,
}

impl<W: Write> Printer<W> {
    fn new(to: W, json: bool) -> Self {
        Self { to, json, begun: false }
    }

    fn print(&mut self, event: &Shown) -> io::Result<()> {
        if self.json {
            return writeln!(self.to, "{}", event.json());
        }
        if !self.begun {
            self.begun = true;
            writeln!(self.to, "{}", padded(&HEADING.map(|(name, _)| name)))?;
        }
        writeln!(self.to, "{}", padded(&event.row()))
    }

    /// Prints what fits of `within`, at most `limit`; gives where to go on.
    async fn page_by_page(
        &mut self,
        issuer: &Issuer,
        filter: &Filter,
        mut within: Range<u64>,
        mut limit: u64,
    ) -> Result<u64, CommandError> {
        while limit > 0 {
            let most = u32::try_from(limit).unwrap_or(PAGE).min(PAGE);
            let page = issuer.store.listed(filter, within.clone(), Side::First, most).await?;
            let found = u64::try_from(page.len()).unwrap_or(u64::MAX);
            for entry in page {
                within.start = entry.sequence.saturating_add(1);
                self.print(&Shown::of(entry)).map_err(CommandError::Output)?;
            }
            self.to.flush().map_err(CommandError::Output)?;
            limit = limit.saturating_sub(found);
            if found < u64::from(most) {
                break;
            }
        }
        Ok(within.start)
    }
}

/// How many events the tree has: those that come meanwhile are not shown twice, nor passed over.
async fn size(issuer: &Issuer) -> Result<u64, CommandError> {
    Ok(issuer.store.ledger().await?.map_or(0, |ledger| ledger.head.size()))
}

fn cut(span: Range<u64>, within: Range<u64>) -> Range<u64> {
    span.start.max(within.start)..span.end.min(within.end)
}

pub(super) async fn list(issuer: &Issuer, args: &List, to: impl Write) -> Result<(), CommandError> {
    let filter = args.which.filter(issuer.environment.now())?;
    let first = args.after.map_or(0, |after| after.saturating_add(1));
    let within = cut(issuer.store.span(&filter).await?, first..size(issuer).await?);
    let limit = args.limit.unwrap_or(u64::MAX);
    Printer::new(to, args.json).page_by_page(issuer, &filter, within, limit).await.map(drop)
}

pub(super) async fn tail(
    issuer: &Issuer,
    args: &Tail,
    to: impl Write,
    stop: &CancellationToken,
) -> Result<(), CommandError> {
    let filter = args.which.filter(issuer.environment.now())?;
    let mut printer = Printer::new(to, args.json);
    let mut size = size(issuer).await?;
    let within = cut(issuer.store.span(&filter).await?, 0..size);
    // The last of them are found from behind, and shown from the front.
    let mut start = within.end;
    let mut missing = args.lines;
    while missing > 0 {
        let most = missing.min(PAGE);
        let page = issuer.store.listed(&filter, within.start..start, Side::Last, most).await?;
        let found = u32::try_from(page.len()).unwrap_or(u32::MAX);
        start = page.first().map_or(start, |entry| entry.sequence);
        missing = missing.saturating_sub(found);
        if found < most {
            break;
        }
    }
    printer.page_by_page(issuer, &filter, start..within.end, u64::from(args.lines)).await?;
    if !args.follow {
        return Ok(());
    }
    loop {
        let now = self::size(issuer).await?;
        size = printer.page_by_page(issuer, &filter, size..now, u64::MAX).await?.max(now);
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

#[cfg(test)]
mod tests;

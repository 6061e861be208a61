//! `bench store`: durable decisions a second, and whether a large store is as quick as a small one.

mod baseline;
mod issued;
mod population;
mod seed;
mod subject;

use std::{path::PathBuf, time::Duration};

use daypass_issuer::clock::Environment;
use daypass_tests::{Failure, Issuer, Place, Programs, say};

use self::{
    baseline::{Baseline, Commit},
    issued::Issuing,
    subject::Subject,
};
pub(crate) use self::{
    population::{Population, RESOURCE},
    seed::seed,
};
use crate::{
    figures::{Figure, Line, Report, Series},
    scale::Scale,
};

/// How many decisions the store commits at once at most, and so does the baseline beside it.
const BATCH: usize = 64;
/// How many askers a small and a large store are compared with.
const ASKERS: usize = 16;

fn sql(error: sqlx::Error) -> Failure {
    Failure::unexpected("the database to do this", error)
}

/// Measures the store.
pub(crate) fn bench(place: &Place, programs: &Programs, scale: &Scale) -> Result<Report, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::machine("start the runtime"))?;
    runtime.block_on(async {
        let small = Population { grants: small(scale.grants), events: small(scale.events) };
        let stage = Stage { place, programs, scale };
        let home = stage.store("small", small).await?;
        let (mut lines, mut figures) = (Vec::new(), Vec::new());
        stage.concurrency(&home, small, &mut lines, &mut figures).await?;
        let many_grants = Population { grants: large(scale.grants), ..small };
        lines.extend(stage.growth("grants", small.grants, many_grants.grants, many_grants).await?);
        let many_events = Population { events: large(scale.events), ..small };
        lines.extend(stage.growth("events", small.events, many_events.events, many_events).await?);
        Ok(Report { bench: "store", rounds: scale.rounds, lines, figures })
    })
}

const fn small(sizes: [u64; 2]) -> u64 {
    let [small, _] = sizes;
    small
}

const fn large(sizes: [u64; 2]) -> u64 {
    let [_, large] = sizes;
    large
}

struct Stage<'a> {
    place: &'a Place,
    programs: &'a Programs,
    scale: &'a Scale,
}

/// Where a seeded issuer is.
struct Home {
    configuration: PathBuf,
    folder: PathBuf,
    database: PathBuf,
}

impl Stage<'_> {
    async fn store(&self, name: &str, population: Population) -> Result<Home, Failure> {
        say(&format!("seeding a store with {} grants and {} events", population.grants, population.events));
        let issuer = Issuer::init(self.place, name, self.programs, None, &[])?;
        seed(&issuer.store(), population, &Environment::system()).await?;
        Ok(Home { configuration: issuer.configuration(), folder: issuer.folder().to_owned(), database: issuer.store() })
    }

    /// One asker, several, many; beside plain loops.
    async fn concurrency(
        &self,
        home: &Home,
        population: Population,
        lines: &mut Vec<Line>,
        figures: &mut Vec<Figure>,
    ) -> Result<(), Failure> {
        let beside = home.database.with_file_name("baseline.db");
        std::fs::copy(&home.database, &beside).map_err(Failure::machine("copy the store"))?;
        let mut baseline = Baseline::open(&beside, Issuing::new(Environment::system(), population)?).await?;
        let mut subject = Subject::open(&home.configuration, population).await?;
        let mut row = Series::new("plain loop: one row a commit");
        let mut single = Series::new("plain loop: one decision a commit");
        let mut batch = Series::new(format!("plain loop: {BATCH} decisions a commit"));
        let askers = self.scale.askers;
        let mut series: Vec<Series> =
            askers.iter().map(|askers| Series::new(format!("store, {askers} at once"))).collect();
        let decisions = self.scale.decisions;
        // The first round warms everything up, and is not counted.
        for round in 0..=self.scale.rounds {
            self.tell("decisions", round);
            let mut seen = vec![
                baseline.round(Commit::Row, decisions).await?,
                baseline.round(Commit::Decisions(1), decisions).await?,
                baseline.round(Commit::Decisions(BATCH), 4 * decisions).await?,
            ];
            for askers in askers {
                seen.push(subject.round(*askers, if *askers == 1 { decisions } else { 4 * decisions }).await?);
            }
            if round > 0 {
                let all = [&mut row, &mut single, &mut batch].into_iter().chain(&mut series);
                all.zip(seen).for_each(|(series, sample)| series.push(sample));
            }
        }
        lines.extend([row.line(&[]), single.line(&[&row]), batch.line(&[&single])]);
        lines.extend(series.iter().map(|series| series.line(&[&single, &batch])));

        let most = askers.last().copied().unwrap_or(1);
        say(&format!("{} s of {most} at once, without a pause", self.scale.sustained));
        let load = subject.sustain(most, Duration::from_secs(self.scale.sustained)).await?;
        let rate = load.decided as f64 / load.took.as_secs_f64();
        let (left, caught_up) = load.left;
        figures.extend([
            Figure::new(format!("sustained, {most} at once: decisions"), rate, "a second"),
            Figure::new("  most events that waited for their number", load.most_waiting as f64, "events"),
            Figure::new("  which is the work of", load.most_waiting as f64 / rate, "s"),
            Figure::new("  waiting at the end", left as f64, "events"),
            Figure::new("  until all had their number", caught_up.as_secs_f64(), "s"),
        ]);
        std::fs::remove_file(&beside).map_err(Failure::machine("remove the baseline's file"))
    }

    /// A small store and one that is larger in one respect, in turns.
    async fn growth(&self, of: &str, few: u64, many: u64, population: Population) -> Result<[Line; 2], Failure> {
        let small_population = Population { grants: small(self.scale.grants), events: small(self.scale.events) };
        let homes = (
            self.store(&format!("few-{of}"), small_population).await?,
            self.store(&format!("many-{of}"), population).await?,
        );
        let mut small = Subject::open(&homes.0.configuration, small_population).await?;
        let mut large = Subject::open(&homes.1.configuration, population).await?;
        let mut few = Series::new(format!("store with {few} {of}, {ASKERS} at once"));
        let mut many = Series::new(format!("store with {many} {of}, {ASKERS} at once"));
        let decisions = 2 * self.scale.decisions;
        for round in 0..=self.scale.rounds {
            self.tell(of, round);
            // By turns each is the first.
            let seen = if round % 2 == 0 {
                let small = small.round(ASKERS, decisions).await?;
                (small, large.round(ASKERS, decisions).await?)
            } else {
                let large = large.round(ASKERS, decisions).await?;
                (small.round(ASKERS, decisions).await?, large)
            };
            if round > 0 {
                few.push(seen.0);
                many.push(seen.1);
            }
        }
        drop((small, large));
        for home in [homes.0, homes.1] {
            std::fs::remove_dir_all(&home.folder).map_err(Failure::machine("remove a store"))?;
        }
        Ok([few.line(&[]), many.line(&[&few])])
    }

    fn tell(&self, what: &str, round: usize) {
        say(&format!("{what}: round {round} of {}{}", self.scale.rounds, if round == 0 { ", to warm up" } else { "" }));
    }
}

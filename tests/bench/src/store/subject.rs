//! The store under measurement, with the integrator at work beside it as in a running issuer.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use daypass_issuer::{clock::Environment, config::Config, issuer::Issuer, ledger};
use daypass_tests::Failure;
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{issued::Issuing, population::Population};
use crate::rounds::{Sample, Stopwatch, own_busy};

/// How often it is looked whether the integrator has caught up.
const LOOK: Duration = Duration::from_millis(10);

/// What sustained load came to.
pub(crate) struct Sustained {
    /// Events that were decided.
    pub(crate) decided: usize,
    /// In how long.
    pub(crate) took: Duration,
    /// The most events that waited for their number at a time.
    pub(crate) most_waiting: u64,
    /// Events that waited when the load ended, and how long they did from then on.
    pub(crate) left: (u64, Duration),
}

/// An issuer without its listeners.
pub(crate) struct Subject {
    issuer: Arc<Issuer>,
    issuing: Arc<Issuing>,
    stop: CancellationToken,
}

impl Subject {
    pub(crate) async fn open(configuration: &Path, population: Population) -> Result<Self, Failure> {
        let environment = Environment::system();
        let config = Config::load(configuration).map_err(|error| Failure::unexpected("a configuration", error))?;
        let issuer = Issuer::open(config, environment.clone()).await;
        let issuer = Arc::new(issuer.map_err(|error| Failure::unexpected("an issuer", error))?);
        let stop = CancellationToken::new();
        tokio::spawn(ledger::run(Arc::clone(&issuer), stop.clone()));
        let issuing = Arc::new(Issuing::new(environment, population)?);
        let subject = Self { issuer, issuing, stop };
        subject.caught_up().await?;
        Ok(subject)
    }

    /// `askers` at once, each with its next decision as soon as the last is durable, until `count` are. What the integrator does for them counts.
    pub(crate) async fn round(&mut self, askers: usize, count: usize) -> Result<Sample, Failure> {
        let watch = Stopwatch::start(own_busy()?);
        let left = Arc::new(AtomicUsize::new(count));
        self.ask(askers, move |_| {
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
        })
        .await?;
        let took = watch.elapsed();
        self.caught_up().await?;
        Ok(watch.sample(count, took, own_busy()?))
    }

    /// The same for a time, looking at how far the integrator is behind.
    pub(crate) async fn sustain(&self, askers: usize, time: Duration) -> Result<Sustained, Failure> {
        let watch = Arc::new(Stopwatch::start(own_busy()?));
        let (decided, over) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
        let looking = async {
            let mut most = 0;
            while !over.is_cancelled() {
                most = most.max(self.waiting().await?);
                sleep(LOOK).await;
            }
            Ok::<_, Failure>(most)
        };
        let asking = async {
            let (watch, decided) = (Arc::clone(&watch), Arc::clone(&decided));
            let asked = self
                .ask(askers, move |done| {
                    decided.fetch_add(usize::from(done), Ordering::Relaxed);
                    watch.elapsed() < time
                })
                .await;
            over.cancel();
            asked
        };
        let (most, asked) = tokio::join!(looking, asking);
        asked?;
        let took = watch.elapsed();
        let left = self.waiting().await?;
        self.caught_up().await?;
        let decided = decided.load(Ordering::Relaxed);
        Ok(Sustained {
            decided,
            took,
            most_waiting: most?.max(left),
            left: (left, watch.elapsed().saturating_sub(took)),
        })
    }

    /// Each asker asks for as long as `more` says; it is told whether this asker has just been answered.
    async fn ask(&self, askers: usize, more: impl Fn(bool) -> bool + Clone + Send + 'static) -> Result<(), Failure> {
        let mut asking = JoinSet::new();
        for _ in 0..askers {
            let (issuer, issuing, more) = (Arc::clone(&self.issuer), Arc::clone(&self.issuing), more.clone());
            asking.spawn(async move {
                let mut done = false;
                while more(done) {
                    issuer.store.decide(issuing.issued().decision()).await?;
                    done = true;
                }
                Ok::<_, daypass_issuer::store::DecideError>(())
            });
        }
        while let Some(ended) = asking.join_next().await {
            ended
                .map_err(|error| Failure::unexpected("an asker", error))?
                .map_err(|error| Failure::unexpected("a durable decision", error))?;
        }
        Ok(())
    }

    async fn waiting(&self) -> Result<u64, Failure> {
        let backlog = self.issuer.store.backlog().await;
        backlog.map(|backlog| backlog.events).map_err(|error| Failure::unexpected("the ledger's backlog", error))
    }

    /// Waits until every event has its number.
    async fn caught_up(&self) -> Result<(), Failure> {
        while self.waiting().await? > 0 {
            sleep(LOOK).await;
        }
        Ok(())
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

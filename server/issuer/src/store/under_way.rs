//! Requests that are being worked on, and will come to the writer in a moment. A commit costs the same for all that come with it, so the writer waits for
//! them: for as long as somebody is under way, and no longer than a moment.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How long the writer waits at most. A disk takes about as long.
const MOMENT: Duration = Duration::from_millis(2);

/// Those that are under way to one writer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Road(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    traffic: Mutex<Traffic>,
    settled: Condvar,
}

#[derive(Debug, Default)]
struct Traffic {
    under_way: usize,
    /// How many more may come, or turn back, until the writer waits no longer; `None` where it does not.
    room: Option<usize>,
}

impl Shared {
    fn traffic(&self) -> MutexGuard<'_, Traffic> {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that is under way, until it is dropped.
#[derive(Debug)]
pub struct UnderWay(Arc<Shared>);

impl Road {
    /// One more.
    pub(crate) fn enter(&self) -> UnderWay {
        self.0.traffic().under_way += 1;
        UnderWay(Arc::clone(&self.0))
    }

    /// Waits until nobody is under way, or `most` have come, or the moment is over.
    pub(crate) fn wait(&self, most: usize) {
        let mut traffic = self.0.traffic();
        if traffic.under_way == 0 || most == 0 {
            return;
        }
        traffic.room = Some(most);
        let more = |traffic: &mut Traffic| traffic.under_way > 0 && traffic.room != Some(0);
        let waited = self.0.settled.wait_timeout_while(traffic, MOMENT, more);
        waited.unwrap_or_else(PoisonError::into_inner).0.room = None;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut traffic = self.0.traffic();
        traffic.under_way = traffic.under_way.saturating_sub(1);
        let nobody = traffic.under_way == 0;
        if let Some(room) = &mut traffic.room {
            *room = room.saturating_sub(1);
            // The last one wakes the writer, and not each.
            if nobody || *room == 0 {
                self.0.settled.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    /// Waits on a thread, and tells when that is over.
    fn ends(road: &Road, most: usize) -> mpsc::Receiver<()> {
        let (tell, told) = mpsc::channel();
        let road = road.clone();
        thread::spawn(move || {
            road.wait(most);
            let _ = tell.send(());
        });
        told
    }

    #[test]
    fn nobody_under_way_is_waited_for() {
        let road = Road::default();
        road.wait(64);
        drop(road.enter());
        road.wait(64);
    }

    #[test]
    fn the_wait_ends_with_the_last_one_and_with_the_moment() {
        let road = Road::default();
        let (first, second) = (road.enter(), road.enter());
        let told = ends(&road, 64);
        drop(first);
        drop(second);
        told.recv_timeout(Duration::from_secs(10)).unwrap();
        assert!(road.0.traffic().room.is_none());
        // Whoever stays is not waited for longer than a moment.
        let _stays = road.enter();
        ends(&road, 64).recv_timeout(Duration::from_secs(10)).unwrap();
    }
}

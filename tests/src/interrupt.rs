//! Ctrl-C, and what a service manager or a closed terminal sends: everything ends, nothing is left.

use std::{io, process, thread};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{Failure, ending, say};

/// From now on a signal ends everything, then this program, with the exit code that `last` gives.
pub fn end_on_signal(last: impl FnOnce() -> i32 + Send + 'static) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.map_err(Failure::machine("wait for signals"))?;
    // Handlers, not a mask: what we start would inherit a mask, and hear nothing.
    let signals = {
        let _inside = runtime.enter();
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        kinds.into_iter().map(signal).collect::<io::Result<Vec<_>>>()
    };
    let mut signals = signals.map_err(Failure::machine("wait for signals"))?;
    thread::spawn(move || {
        runtime.block_on(any(&mut signals));
        ending::everything();
        say("\nEverything is stopped.");
        process::exit(last());
    });
    Ok(())
}

async fn any(signals: &mut [Signal]) {
    std::future::poll_fn(|context| {
        if signals.iter_mut().any(|signal| signal.poll_recv(context).is_ready()) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

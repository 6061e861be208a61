//! Ctrl-C, and what a service manager or a closed terminal sends: everything ends, nothing is left.

use std::{fs, io, path::PathBuf, process, thread};

use daypass_tests::{Failure, ending, say};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// From now on a signal ends everything. While serving, that is the expected end; `served` is the file that goes with it.
pub(crate) fn end_on_signal(served: Option<PathBuf>) -> Result<(), Failure> {
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
        let code = match served {
            Some(env_file) => {
                // What it names is gone.
                let _ = fs::remove_file(env_file);
                0
            }
            // As a shell says that it was interrupted.
            None => 130,
        };
        process::exit(code);
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

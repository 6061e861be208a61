//! Stops that do not lose.

use crate::{
    issuer::Issuer,
    store::{DecideError, Decision},
};

/// How often a stop is decided where something comes in between each time.
const STOPS_TRIED: u32 = 16;

/// Decides what `prepare` makes of what there is. A stop, which ends something or holds it back, is decided anew where something came in between: it does
/// not lose to an approval, or a token, of the same moment.
pub(crate) async fn decide_anew<T, E: From<DecideError>, F: Future<Output = Result<(Decision, T), E>>>(
    issuer: &Issuer,
    is_stop: bool,
    prepare: impl Fn() -> F,
) -> Result<T, E> {
    let mut tries = if is_stop { STOPS_TRIED } else { 1 };
    loop {
        let (decision, made) = prepare().await?;
        tries -= 1;
        match issuer.store.decide(decision).await {
            Ok(()) => return Ok(made),
            Err(DecideError::Conflict(_)) if tries > 0 => {}
            Err(error) => return Err(error.into()),
        }
    }
}

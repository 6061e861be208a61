//! Reading of the tree what a question needs.

use daypass_proto::ledger::tree::{Tiles, TreeError};

use super::LedgerError;
use crate::store::LedgerStore;

/// A question asks for tiles a few times at most; each time for all that it knows of.
const ROUNDS: usize = 16;

/// Asks `question`, and reads the tiles that it misses, until it is answered.
pub(crate) async fn with_tiles<S: LedgerStore + ?Sized, T>(
    store: &S,
    question: impl Fn(&Tiles) -> Result<T, TreeError>,
) -> Result<T, LedgerError> {
    let (mut tiles, mut held) = (Tiles::default(), 0);
    for _ in 0..ROUNDS {
        match question(&tiles) {
            Err(TreeError::Missing(ids)) => {
                let more = tiles.absorb(store.tiles(&ids).await?);
                if more == held {
                    break;
                }
                held = more;
            }
            answer => return Ok(answer?),
        }
    }
    Err(TreeError::Altered.into())
}

//! Bodies of the one endpoint that takes more than the others: a whole policy goes to an issuer's admin API.
//!
//! What is announced as larger than other bodies needs a place, and each user has one: nobody fills the agent's memory with as many as they have
//! connections, and nobody waits for somebody else.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    body::{Bytes, to_bytes},
    extract::Request,
    http::header::CONTENT_LENGTH,
};
use daypass_proto::{admin_api::MAX_POLICY, local_api::MAX_BODY};

use crate::error::AgentError;

/// The largest body: a policy, and what stands around it.
const MAX_LARGE: usize = MAX_POLICY + MAX_BODY;

/// Who has a large body under way.
#[derive(Clone, Debug, Default)]
pub struct Large(Arc<Mutex<HashSet<u32>>>);

/// Somebody's place.
#[derive(Debug)]
struct Place {
    of: Large,
    uid: u32,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.uid);
    }
}

/// A whole body; it has its place as long as it is held.
#[derive(Debug)]
pub struct Whole {
    /// What was sent.
    pub bytes: Bytes,
    _place: Option<Place>,
}

impl Large {
    fn place(&self, uid: u32) -> Option<Place> {
        let free = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(uid);
        free.then(|| Place { of: self.clone(), uid })
    }

    /// Reads a body. Who does not say how long it is gets as much as elsewhere.
    pub async fn read(&self, uid: u32, request: Request) -> Result<Whole, AgentError> {
        let announced: Option<usize> =
            request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let (place, most) = match announced {
            Some(length) if length > MAX_LARGE => {
                return Err(AgentError::Malformed(format!("the body is over {MAX_LARGE} bytes")));
            }
            Some(length) if length > MAX_BODY => match self.place(uid) {
                Some(place) => (Some(place), MAX_LARGE),
                None => {
                    let busy = "another request of this user with as large a body is under way; try again after it";
                    return Err(AgentError::Malformed(busy.to_owned()));
                }
            },
            _ => (None, MAX_BODY),
        };
        let refused = |_| AgentError::Malformed(format!("the body is over {most} bytes, or broke off"));
        Ok(Whole { bytes: to_bytes(request.into_body(), most).await.map_err(refused)?, _place: place })
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn announced(size: usize) -> Request {
        Request::builder().header(CONTENT_LENGTH, size).body(Body::from(vec![b' '; size])).unwrap()
    }

    #[tokio::test]
    async fn each_user_has_room_for_one_large_body() {
        let large = Large::default();
        let first = large.read(1, announced(MAX_POLICY)).await.unwrap();
        assert_eq!(first.bytes.len(), MAX_POLICY);
        large.read(1, announced(MAX_BODY + 1)).await.unwrap_err();
        large.read(1, announced(MAX_BODY)).await.unwrap();
        let others = large.read(2, announced(MAX_LARGE)).await.unwrap();
        drop((first, others));
        large.read(1, announced(MAX_BODY + 1)).await.unwrap();
    }

    #[tokio::test]
    async fn nothing_is_read_beyond_what_was_announced_and_allowed() {
        let large = Large::default();
        large.read(1, announced(MAX_LARGE + 1)).await.unwrap_err();
        let silent = Request::new(Body::from(vec![b' '; MAX_BODY + 1]));
        large.read(1, silent).await.unwrap_err();
        assert!(large.0.lock().unwrap().is_empty());
    }
}

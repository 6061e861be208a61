//! Bytes of a connection: what our own check of the framing lets pass is read by `hyper` as the same requests.
//!
//! The check sees the bytes as a client of issuer and gate sends them, in one piece and one by one. The bodies that `hyper` then hands to its
//! service must be those that the check saw, one after another: where they differ, a request could hide in another's body.

use std::{
    convert::Infallible,
    sync::{Arc, LazyLock, Mutex},
};

use daypass_service::framing::Framing;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::runtime::{Builder, Runtime};

pub(crate) static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_all().build().unwrap());

/// The body of one request.
#[derive(Clone, Copy, Debug)]
enum Body {
    /// By its length.
    Fixed(usize),
    /// In chunks: so long without them.
    Chunked(usize),
}

/// One connection.
pub fn run(input: &[u8]) {
    let (mut whole, mut single) = (Framing::default(), Framing::default());
    let seen = whole.see(input);
    let mut bodies = Vec::new();
    let mut inside = 0;
    let mut refused = None;
    for (at, byte) in input.iter().enumerate() {
        let was_inside = single.is_inside_body();
        if let Err((_, error)) = single.see(&[*byte]) {
            refused = Some((at, error));
            break;
        }
        inside += usize::from(was_inside);
        if was_inside && !single.is_inside_body() {
            bodies.push(std::mem::take(&mut inside));
        }
    }
    assert_eq!(seen, refused.map_or(Ok(()), Err), "in one piece it is the same");

    let mut passed = input[..refused.map_or(input.len(), |(good, _)| good)].to_vec();
    if refused.is_some() {
        passed.push(0);
    }
    for (at, body) in hyper_bodies(passed).into_iter().enumerate() {
        let raw = bodies.get(at).unwrap_or_else(|| panic!("hyper sees a body {body:?} that was none: {bodies:?}"));
        match body {
            Body::Fixed(length) => assert_eq!(*raw, length, "body {at} of {bodies:?}"),
            // At least the last chunk is added.
            Body::Chunked(length) => assert!(*raw >= length + 5, "body {at} of {bodies:?}: {length}"),
        }
    }
}

/// The bodies that `hyper` reads to their end.
fn hyper_bodies(bytes: Vec<u8>) -> Vec<Body> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&seen);
    let service = service_fn(move |request: Request<Incoming>| {
        let note = Arc::clone(&note);
        async move {
            let chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
            if let Ok(body) = request.into_body().collect().await {
                let length = body.to_bytes().len();
                if chunked {
                    note.lock().unwrap().push(Body::Chunked(length));
                } else if length > 0 {
                    note.lock().unwrap().push(Body::Fixed(length));
                }
            }
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let stream = TokioIo::new(tokio::io::join(std::io::Cursor::new(bytes), tokio::io::sink()));
    let connection = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .max_buf_size(64 * 1024)
        .serve_connection(stream, service);
    let _ = RUNTIME.block_on(connection);
    std::mem::take(&mut *seen.lock().unwrap())
}

/// Requests in a row, good and with two readings.
pub fn seeds() -> Vec<Vec<u8>> {
    let get = "GET /team/app.git/info/refs?service=git-upload-pack HTTP/1.1\r\nHost: h:8443\r\n\r\n";
    let post = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc";
    let chunked =
        "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n00a\r\n0123456789\r\n0\r\n\r\n";
    let both = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let upgrade = "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 1\r\n\r\nx";
    let texts = [
        [get, post, chunked, get].concat(),
        [chunked, chunked].concat(),
        ["\r\n", post, post].concat(),
        both.to_owned(),
        "CONNECT h:443 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nabGET / HTTP/1.1\r\n\r\n".to_owned(),
        [upgrade, get].concat(),
        "POST / HTTP/1.0\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nab".to_owned(),
        "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab".to_owned(),
        "POST / HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab".to_owned(),
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n0\r\nTrailer: x\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
    ];
    texts.into_iter().map(String::into_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hyper_sees_the_bodies_that_are_there() {
        let good = &seeds()[0];
        assert!(matches!(hyper_bodies(good.clone())[..], [Body::Fixed(3), Body::Chunked(13)]));
        run(good);
    }
}

//! A webhook receiver that remembers everything.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;

/// One post.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) key: String,
    pub(crate) body: String,
}

#[derive(Default)]
struct Inner {
    posts: Vec<Post>,
    answer: Option<(u16, Option<&'static str>)>,
    delay: Duration,
}

/// A receiver on a port of its own.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    inner: Arc<Mutex<Inner>>,
}

impl Receiver {
    /// Starts to listen; answers 200.
    pub(crate) async fn start() -> Self {
        let inner = Arc::new(Mutex::new(Inner::default()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let router = Router::new().route("/hook", post(take)).with_state(Arc::clone(&inner));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, inner }
    }

    /// Answers with this status and `Retry-After` from now on.
    pub(crate) fn answer(&self, status: u16, retry_after: Option<&'static str>) {
        self.inner.lock().unwrap().answer = Some((status, retry_after));
    }

    /// Takes so long to answer from now on.
    pub(crate) fn delay(&self, delay: Duration) {
        self.inner.lock().unwrap().delay = delay;
    }

    /// Everything that came, oldest first.
    pub(crate) fn posts(&self) -> Vec<Post> {
        self.inner.lock().unwrap().posts.clone()
    }

    /// Bodies by key. Fails when one key came with two bodies.
    pub(crate) fn by_key(&self) -> BTreeMap<String, String> {
        let mut bodies = BTreeMap::new();
        for Post { key, body } in self.posts() {
            let first = bodies.entry(key.clone()).or_insert_with(|| body.clone());
            assert_eq!(*first, body, "the key {key} came with two bodies");
        }
        bodies
    }
}

async fn take(State(inner): State<Arc<Mutex<Inner>>>, headers: HeaderMap, body: Bytes) -> Response {
    assert_eq!(headers["content-type"], "application/json");
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    let (answer, delay) = {
        let mut inner = inner.lock().unwrap();
        inner.posts.push(Post { key, body: String::from_utf8(body.to_vec()).unwrap() });
        (inner.answer, inner.delay)
    };
    tokio::time::sleep(delay).await;
    let (status, retry_after) = answer.unwrap_or((200, None));
    let mut response = StatusCode::from_u16(status).unwrap().into_response();
    if let Some(after) = retry_after {
        response.headers_mut().insert("retry-after", after.parse().unwrap());
    }
    response
}

//! What others ask the engine: its page, its figures, its state as JSON. Everything is answered from the latest view, so
//! that answers stay quick while the disk is busy.

mod coverage;
mod dto;
mod entries;
mod health;
mod metrics;

use crate::clock::Clock;
use crate::keeper::{Order, View};
use crate::notify::DeliveryFigures;
use crate::web;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// What handlers look at.
#[derive(Clone)]
struct Window {
    view: watch::Receiver<Arc<View>>,
    deliveries: Arc<dyn Fn() -> DeliveryFigures + Send + Sync>,
    clock: Clock,
    orders: mpsc::Sender<Order>,
}

impl Window {
    fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }
}

/// The routes of the web listener.
pub(crate) fn router(
    view: watch::Receiver<Arc<View>>,
    clock: Clock,
    deliveries: impl Fn() -> DeliveryFigures + Send + Sync + 'static,
    orders: mpsc::Sender<Order>,
) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/style.css", get(style))
        .route("/api/v1/slos", get(slos))
        .route("/api/v1/alerts", get(alerts))
        .route("/api/v1/exclusions", get(entries::exclusions).post(entries::exclude))
        .route("/api/v1/exclusions/{id}/end", post(entries::end_exclusion))
        .route("/api/v1/detections", get(entries::detections))
        .route("/api/v1/incidents/missed", post(entries::missed))
        .route("/api/v1/coverage", get(coverage))
        .route("/metrics", get(figures))
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .fallback(|| async {
            (
                StatusCode::NOT_FOUND,
                "Not here. There is /, /api/v1/slos, /api/v1/alerts, /api/v1/events, /api/v1/rotations, /api/v1/coverage, /api/v1/exclusions, /api/v1/detections, /metrics, /healthz and /readyz.\n",
            )
        })
        .with_state(Window { view, deliveries: Arc::new(deliveries), clock, orders })
}

const PAGE_HEADERS: [(HeaderName, HeaderValue); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

async fn page(State(window): State<Window>) -> Response {
    let markup = web::page(&window.view(), &(window.deliveries)(), window.clock.now());
    let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    (PAGE_HEADERS, kind, markup.into_string()).into_response()
}

async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, "max-age=300")], web::STYLE)
}

async fn slos(State(window): State<Window>) -> impl IntoResponse {
    Json(dto::Slos::from(window.view().as_ref()))
}

async fn alerts(State(window): State<Window>) -> impl IntoResponse {
    Json(dto::Alerts::new(&window.view(), &(window.deliveries)()))
}

async fn coverage(State(window): State<Window>) -> impl IntoResponse {
    Json(coverage::CoverageDto::from(window.view().as_ref()))
}

async fn figures(State(window): State<Window>) -> impl IntoResponse {
    let text = metrics::exposition(&window.view(), &(window.deliveries)());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

async fn ready(State(window): State<Window>) -> impl IntoResponse {
    match health::fault(&window.view(), window.clock.now()) {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(fault) => (StatusCode::SERVICE_UNAVAILABLE, format!("{fault}\n")),
    }
}

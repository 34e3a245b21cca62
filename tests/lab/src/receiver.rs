//! A webhook sink: takes every POST, keeps what came, tells repeats from new pages by their `Idempotency-Key`, and can
//! be told to refuse the first deliveries, so that retries can be seen.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::any;
use serde_json::Value;
use std::collections::HashMap;
use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

const LARGEST_BODY_BYTES: usize = 1 << 20;

/// One delivery as it arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Value of the `Idempotency-Key` header, if there was one.
    pub idempotency_key: Option<String>,
    /// The body as sent.
    pub body: Vec<u8>,
    /// How it was answered.
    pub verdict: Verdict,
}

/// What the receiver made of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// New, or without a key to tell.
    Accepted,
    /// A key that was accepted before, with the same body.
    Repeat,
    /// A key that was accepted before, with another body: the sender breaks its promise.
    ChangedRepeat,
    /// Refused on purpose with status 503.
    Refused,
}

impl Delivery {
    /// The body as JSON, if it is JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// A few lines for people.
    pub fn describe(&self) -> String {
        let key = self.idempotency_key.as_deref().unwrap_or("none");
        let mut out = match self.verdict {
            Verdict::Accepted => String::new(),
            Verdict::Repeat => return format!("repeat of a page already taken (Idempotency-Key {key})\n"),
            Verdict::ChangedRepeat => {
                format!("WRONG: Idempotency-Key {key} came before with another body\n")
            }
            Verdict::Refused => {
                return format!("refused on purpose with status 503 (Idempotency-Key {key})\n");
            }
        };
        match self.json() {
            Some(page) => describe_page(&mut out, &page),
            None => {
                let _ = writeln!(out, "a body of {} bytes that is not JSON", self.body.len());
            }
        }
        let _ = writeln!(out, "  idempotency key {key}");
        out
    }
}

/// Writes the fields of a page that a person asks for first. Fields that are not there are left out.
fn describe_page(out: &mut String, page: &Value) {
    let text = |name: &str| page.get(name).and_then(Value::as_str);
    let status = text("status").unwrap_or("notification").to_uppercase();
    let severity = text("severity").unwrap_or("no severity");
    let _ = writeln!(out, "{status} ({severity}) {}", text("summary").unwrap_or("no summary"));
    for (label, name) in
        [("objective", "slo"), ("service", "service"), ("since", "started_at"), ("event", "event")]
    {
        if let Some(value) = text(name) {
            let _ = writeln!(out, "  {label:<15} {value}");
        }
    }
    if let Some(left) = page.get("budget_remaining").and_then(Value::as_f64) {
        let text = if left < 0.0 {
            format!("none: it is spent {:.1} times over", 1.0 - left)
        } else {
            format!("{:.1} %", left * 100.0)
        };
        let _ = writeln!(out, "  {:<15} {text}", "budget left");
    }
    for tier in page.get("tiers").and_then(Value::as_array).into_iter().flatten() {
        let number = |name: &str| tier.get(name).and_then(Value::as_f64);
        let (Some(long), Some(short), Some(factor)) =
            (number("long_burn"), number("short_burn"), number("factor"))
        else {
            continue;
        };
        let windows = tier.get("windows").and_then(Value::as_str).unwrap_or("?");
        let mark =
            if tier.get("active").and_then(Value::as_bool) == Some(true) { "over the limit" } else { "" };
        let _ = writeln!(
            out,
            "  {:<15} {windows}: {long:.1}x and {short:.1}x, limit {factor}x {mark}",
            "burn rate"
        );
    }
    for cause in page.get("causes").and_then(Value::as_array).into_iter().flatten().take(3) {
        let value = cause.get("value").and_then(Value::as_str).unwrap_or("?");
        let attribute = cause.get("attribute").and_then(Value::as_str).unwrap_or("?");
        let count = cause.get("count").and_then(Value::as_u64).unwrap_or_default();
        let _ = writeln!(out, "  {:<15} {value}: {count} ({attribute})", "cause");
    }
    for (label, name) in [("runbook", "runbook"), ("dashboard", "dashboard")] {
        if let Some(value) = text(name) {
            let _ = writeln!(out, "  {label:<15} {value}");
        }
    }
}

#[derive(Default)]
struct Book {
    deliveries: Vec<Delivery>,
    taken: HashMap<String, Vec<u8>>,
    refusals_left: u64,
}

impl Book {
    fn judge(&mut self, key: Option<&str>, body: &[u8]) -> Verdict {
        if self.refusals_left > 0 {
            self.refusals_left -= 1;
            return Verdict::Refused;
        }
        let Some(key) = key else { return Verdict::Accepted };
        match self.taken.get(key) {
            Some(first) if first == body => Verdict::Repeat,
            Some(_) => Verdict::ChangedRepeat,
            None => {
                self.taken.insert(key.to_owned(), body.to_vec());
                Verdict::Accepted
            }
        }
    }
}

#[derive(Clone)]
struct Shared {
    book: Arc<Mutex<Book>>,
    arrivals: mpsc::UnboundedSender<Delivery>,
}

/// A running webhook sink.
pub struct Receiver {
    address: SocketAddr,
    book: Arc<Mutex<Book>>,
    arrivals: mpsc::UnboundedReceiver<Delivery>,
    serving: JoinHandle<()>,
}

impl Receiver {
    /// Listens at this address (port 0: any free one) and refuses the first `fail_first` deliveries.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(listen: SocketAddr, fail_first: u64) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let book = Arc::new(Mutex::new(Book { refusals_left: fail_first, ..Book::default() }));
        let (sender, arrivals) = mpsc::unbounded_channel();
        let app = Router::new()
            .fallback(any(take))
            .layer(DefaultBodyLimit::max(LARGEST_BODY_BYTES))
            .with_state(Shared { book: Arc::clone(&book), arrivals: sender });
        let serving = tokio::spawn(async move {
            // Ends with the task; an error of one connection does not end it.
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { address, book, arrivals, serving })
    }

    /// Address and port that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL to give to a sender.
    pub fn url(&self) -> String {
        format!("http://{}/page", self.address)
    }

    /// Everything that has arrived so far, in order.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner).deliveries.clone()
    }

    /// Waits for the next delivery.
    pub async fn next(&mut self) -> Option<Delivery> {
        self.arrivals.recv().await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn take(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let key = headers.get("idempotency-key").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let delivery = {
        let mut book = shared.book.lock().unwrap_or_else(PoisonError::into_inner);
        let verdict = book.judge(key.as_deref(), &body);
        let delivery = Delivery { idempotency_key: key, body: body.to_vec(), verdict };
        book.deliveries.push(delivery.clone());
        delivery
    };
    let status = match delivery.verdict {
        Verdict::Refused => StatusCode::SERVICE_UNAVAILABLE,
        Verdict::Accepted | Verdict::Repeat | Verdict::ChangedRepeat => StatusCode::OK,
    };
    // Nobody may be waiting for arrivals; the book has the delivery all the same.
    let _ = shared.arrivals.send(delivery);
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_told_from_new_pages() {
        let mut book = Book { refusals_left: 1, ..Book::default() };
        assert_eq!(book.judge(Some("a"), b"x"), Verdict::Refused);
        assert_eq!(book.judge(Some("a"), b"x"), Verdict::Accepted);
        assert_eq!(book.judge(Some("a"), b"x"), Verdict::Repeat);
        assert_eq!(book.judge(Some("a"), b"y"), Verdict::ChangedRepeat);
        assert_eq!(book.judge(Some("b"), b"x"), Verdict::Accepted);
        assert_eq!(book.judge(None, b"x"), Verdict::Accepted);
    }

    #[test]
    fn a_page_reads_as_a_person_would_write_it() {
        let body =
            br#"{"status":"firing","severity":"page","summary":"checkout burns","budget_remaining":0.5,
            "tiers":[{"windows":"1h/5m","long_burn":20.0,"short_burn":30.0,"factor":14.4,"active":true}],
            "causes":[{"attribute":"error.type","value":"alert_handshake_failure","count":4}]}"#;
        let delivery = Delivery {
            idempotency_key: Some("k".to_owned()),
            body: body.to_vec(),
            verdict: Verdict::Accepted,
        };
        let text = delivery.describe();
        assert!(text.starts_with("FIRING (page) checkout burns\n"), "{text}");
        assert!(text.contains("50.0 %") && text.contains("1h/5m: 20.0x and 30.0x, limit 14.4x"), "{text}");
        assert!(text.contains("alert_handshake_failure: 4 (error.type)"), "{text}");
    }
}

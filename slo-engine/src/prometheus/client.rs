//! One question to one back end over HTTP (`POST /api/v1/query`), and what its answer means. Whatever is not a whole and
//! sound answer is a fault, in words.

use crate::unreachable::describe;
use pqscope_slo_core::objective::DataSource;
use pqscope_slo_core::time::Timestamp;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Client, redirect};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Largest answer that is read: tens of thousands of groups.
const LARGEST_ANSWER: usize = 8 << 20;
/// Longest part of somebody else's message that is told on.
const LONGEST_WORDS: usize = 300;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// A file that belongs to the data source.
    #[error("cannot read {0}")]
    File(String),
    /// The data source cannot be used as it is written.
    #[error("{0}")]
    Setup(String),
    /// It is down or not to be reached.
    #[error("no answer: {0}")]
    Unreachable(String),
    /// It took longer than it may.
    #[error("no answer: {0}")]
    TimedOut(String),
    /// It answered with an error.
    #[error("it answered {0}")]
    Refused(String),
    /// The answer is not what it should be.
    #[error("its answer cannot be used: {0}")]
    Unusable(String),
}

/// One sample of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    /// Label names as the back end writes them.
    pub(crate) labels: BTreeMap<String, String>,
    /// Finite.
    pub(crate) value: f64,
}

/// Asks one data source.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    client: Client,
    address: String,
    headers: HeaderMap,
    round: Arc<Round>,
}

/// What a round of questions has shown so far.
#[derive(Debug, Default)]
struct Round {
    answers: AtomicU64,
    /// Why no more is asked in this round.
    hangs: OnceLock<Fault>,
}

impl Asker {
    /// Reads the authorities of the data source; blocks on the disk. The token is added by [`Self::for_a_round`].
    pub(crate) fn new(source: &DataSource) -> Result<Self, Fault> {
        let mut builder = Client::builder()
            .user_agent(concat!("pqscope-slo/", env!("CARGO_PKG_VERSION")))
            .timeout(source.timeout)
            .redirect(redirect::Policy::none());
        if let Some(path) = &source.ca_file {
            let pem = std::fs::read(path).map_err(|error| Fault::File(format!("{path}: {error}")))?;
            let authorities = Certificate::from_pem_bundle(&pem)
                .map_err(|error| Fault::Setup(format!("{path} holds no certificates: {error}")))?;
            builder = builder.tls_certs_merge(authorities);
        }
        let client = builder.build().map_err(|error| Fault::Setup(error.to_string()))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &source.headers {
            let pair = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value));
            let (Ok(name), Ok(mut value)) = pair else {
                return Err(Fault::Setup(format!("`{name}` cannot be sent as a header")));
            };
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let address = format!("{}/api/v1/query", source.url.trim_end_matches('/'));
        Ok(Self { client, address, headers, round: Arc::default() })
    }

    /// The same with the token as it is now, so that one that was rotated is noticed; blocks on the disk. Its copies give
    /// up together once the source hangs.
    pub(crate) fn for_a_round(mut self, source: &DataSource) -> Result<Self, Fault> {
        if let Some(path) = &source.bearer_token_file {
            let token =
                std::fs::read_to_string(path).map_err(|error| Fault::File(format!("{path}: {error}")))?;
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
                .map_err(|_| Fault::Setup(format!("{path} holds no token that can be sent")))?;
            value.set_sensitive(true);
            self.headers.insert(AUTHORIZATION, value);
        }
        self.round = Arc::default();
        Ok(self)
    }

    /// The samples of a query at a moment. Nothing more is asked once a question was in vain for as long as the source may
    /// take and no other was answered meanwhile: one slow query is no reason, a source that hangs is.
    pub(crate) async fn ask(&self, query: &str, at: Timestamp) -> Result<Vec<Sample>, Fault> {
        if let Some(fault) = self.round.hangs.get() {
            return Err(fault.clone());
        }
        let answers = self.round.answers.load(Ordering::Relaxed);
        let outcome = self.post(query, at).await;
        match &outcome {
            Err(fault @ Fault::TimedOut(_)) => {
                if self.round.answers.load(Ordering::Relaxed) == answers {
                    let _ = self.round.hangs.set(fault.clone());
                }
            }
            _ => {
                self.round.answers.fetch_add(1, Ordering::Relaxed);
            }
        }
        outcome
    }

    async fn post(&self, query: &str, at: Timestamp) -> Result<Vec<Sample>, Fault> {
        let milliseconds = at.nanoseconds() / 1_000_000;
        let time = format!("{}.{:03}", milliseconds / 1_000, milliseconds % 1_000);
        let request = self
            .client
            .post(&self.address)
            .headers(self.headers.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(format!("query={}&time={time}", encoded(query)));
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > LARGEST_ANSWER {
                return Err(Fault::Unusable(format!("it is larger than {} MiB", LARGEST_ANSWER >> 20)));
            }
            body.extend_from_slice(&chunk);
        }
        let reply: Result<Reply, _> = serde_json::from_slice(&body);
        if !status.is_success() {
            let words = reply
                .ok()
                .and_then(|reply| reply.error)
                .map_or_else(String::new, |words| format!(": {}", short(&words)));
            return Err(Fault::Refused(format!("{status}{words}")));
        }
        read(reply.map_err(|error| Fault::Unusable(format!("it is no JSON of a query API ({error})")))?)
    }
}

/// The error with its causes, without the address: that may hold a secret.
fn unreachable(error: reqwest::Error) -> Fault {
    let timed_out = error.is_timeout();
    let text = describe(error);
    if timed_out { Fault::TimedOut(text) } else { Fault::Unreachable(text) }
}

fn short(words: &str) -> String {
    words.chars().take(LONGEST_WORDS).collect()
}

/// `application/x-www-form-urlencoded` of one value.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            other => {
                let _ = write!(out, "%{other:02X}");
            }
        }
    }
    out
}

/// The envelope of the HTTP API (Prometheus, "HTTP API", format overview).
#[derive(Debug, Deserialize)]
struct Reply {
    status: String,
    error: Option<String>,
    data: Option<Data>,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Value,
}

#[derive(Debug, Deserialize)]
struct RawSample {
    metric: BTreeMap<String, String>,
    value: Option<(f64, String)>,
}

fn read(reply: Reply) -> Result<Vec<Sample>, Fault> {
    if reply.status != "success" {
        return Err(Fault::Refused(short(&reply.error.unwrap_or(reply.status))));
    }
    if let Some(warning) = reply.warnings.first() {
        // Thanos and Mimir say so when a part of their stores did not answer: the sums are too small then.
        return Err(Fault::Unusable(format!("it may be partial: {}", short(warning))));
    }
    let data = reply.data.ok_or_else(|| Fault::Unusable("it has no `data`".to_owned()))?;
    let unsound = |error: serde_json::Error| {
        Fault::Unusable(format!("the {} is malformed ({error})", data.result_type))
    };
    match data.result_type.as_str() {
        "scalar" => {
            let (_, value): (f64, String) = serde_json::from_value(data.result).map_err(unsound)?;
            Ok(vec![Sample { labels: BTreeMap::new(), value: number(&value)? }])
        }
        "vector" => {
            let samples: Vec<RawSample> = serde_json::from_value(data.result).map_err(unsound)?;
            samples
                .into_iter()
                .map(|sample| {
                    let (_, value) = sample.value.ok_or_else(|| {
                        Fault::Unusable("it holds a histogram where a number is needed".to_owned())
                    })?;
                    Ok(Sample { labels: sample.metric, value: number(&value)? })
                })
                .collect()
        }
        other => Err(Fault::Unusable(format!("it is a {other} where an instant vector is needed"))),
    }
}

fn number(text: &str) -> Result<f64, Fault> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(Fault::Unusable(format!("a sample is {}", short(text)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Result<Vec<Sample>, Fault> {
        let reply: Result<Reply, _> = serde_json::from_str(text);
        read(reply.map_err(|error| Fault::Unusable(error.to_string()))?)
    }

    #[test]
    fn vectors_and_scalars_are_read() {
        let samples = answer(
            r#"{"status":"success","data":{"resultType":"vector","result":[
               {"metric":{"a":"b"},"value":[1.5,"2.5"]},{"metric":{},"value":[1,"0"]}]}}"#,
        )
        .unwrap();
        assert_eq!(samples[0].labels["a"], "b");
        assert_eq!((samples[0].value, samples[1].value), (2.5, 0.0));
        let scalar =
            answer(r#"{"status":"success","data":{"resultType":"scalar","result":[1,"7"]}}"#).unwrap();
        assert_eq!(scalar[0].value, 7.0);
    }

    #[test]
    fn what_is_not_whole_and_sound_is_a_fault() {
        for (text, words) in [
            (r#"{"status":"error","errorType":"timeout","error":"query timed out"}"#, "query timed out"),
            (r#"{"status":"success"}"#, "no `data`"),
            (r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#, "matrix"),
            (r#"{"status":"success","data":{"resultType":"vector","result":{}}}"#, "malformed"),
            (
                r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"NaN"]}]}}"#,
                "NaN",
            ),
            (
                r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"+Inf"]}]}}"#,
                "Inf",
            ),
            (
                r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"histogram":[1,{}]}]}}"#,
                "histogram",
            ),
            (
                r#"{"status":"success","warnings":["a store did not answer"],"data":{"resultType":"vector","result":[]}}"#,
                "partial",
            ),
            ("<html>", "cannot be used"),
        ] {
            let told = answer(text).unwrap_err().to_string();
            assert!(told.contains(words), "{text}: {told}");
        }
    }

    #[test]
    fn queries_survive_the_form() {
        assert_eq!(encoded("sum(a{b=~\"x|y\"}[5m]) + 1"), "sum%28a%7Bb%3D%7E%22x%7Cy%22%7D%5B5m%5D%29+%2B+1");
    }
}

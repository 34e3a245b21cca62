//! Just enough HTTP to ask a program on this machine.

use serde_json::Value;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use thiserror::Error;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The connection failed.
    #[error("no answer: {0}")]
    Connection(#[from] io::Error),
    /// The answer is not HTTP.
    #[error("the answer is not HTTP: {0:?}")]
    Malformed(String),
    /// The body is not JSON.
    #[error("the body is not JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Body as text.
    pub body: String,
}

/// Asks `http://HOST:PORT` for a path.
///
/// # Errors
/// When there is no answer or none that is HTTP.
pub fn get(address: &str, path: &str) -> Result<Answer, HttpError> {
    exchange(address, &format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: */*\r\n\r\n"))
}

/// Posts JSON to a path of `http://HOST:PORT`.
///
/// # Errors
/// When there is no answer or none that is HTTP.
pub fn post_json(address: &str, path: &str, body: &Value) -> Result<Answer, HttpError> {
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    exchange(address, &format!("{head}\r\n{body}"))
}

/// Version 1.0: the body of the answer ends with the connection and is never sent in chunks.
fn exchange(address: &str, request: &str) -> Result<Answer, HttpError> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let malformed = || HttpError::Malformed(text.chars().take(80).collect());
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(malformed)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(malformed)?;
    Ok(Answer { status, body: body.to_owned() })
}

/// Asks for a path and reads the answer as JSON.
///
/// # Errors
/// When there is no answer or none that is JSON.
pub fn get_json(address: &str, path: &str) -> Result<Value, HttpError> {
    Ok(serde_json::from_str(&get(address, path)?.body)?)
}

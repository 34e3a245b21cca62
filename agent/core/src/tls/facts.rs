//! From a settled machine to the fields of an observation.

use super::client_hello::ClientHello;
use super::inference::{Inferred, Offer};
use super::ja4::{self, Hashes};
use super::legacy::KeyExchangeParameters;
use super::machine::{Machine, Step};
use super::server_hello::ServerHello;
use crate::iana::{CipherSuite, Group, KeyExchangeClass, ProtocolVersion};
use crate::observation::{
    Alert, CertificateVerify, CertificateWishes, Certificates, ClientHelloFacts, Decrypted, HelloRetry,
    KeyExchange, Protocol, ServerFlight,
};
use crate::time::Timestamp;
use std::time::Duration;

/// What a machine knows of its attempt, verdict apart.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) start: Timestamp,
    pub(crate) server_name: Option<String>,
    pub(crate) client_hello: ClientHelloFacts,
    pub(crate) hello_retry: Option<HelloRetry>,
    pub(crate) version: Option<ProtocolVersion>,
    pub(crate) cipher_suite: Option<CipherSuite>,
    pub(crate) alpn: Option<String>,
    pub(crate) group: Option<Group>,
    pub(crate) dhe_bits: Option<u32>,
    pub(crate) key_exchange: Option<KeyExchange>,
    pub(crate) key_exchange_class: Option<KeyExchangeClass>,
    pub(crate) certificates: Option<Certificates>,
    pub(crate) client_certificates: Option<Certificates>,
    pub(crate) certificate_verify: Option<CertificateVerify>,
    pub(crate) server_flight: Option<ServerFlight>,
    /// The client's answer showed that the flight was over.
    pub(crate) flight_is_over: bool,
    pub(crate) alerts: Vec<Alert>,
    pub(crate) hello_retry_after: Option<Duration>,
    pub(crate) server_hello_after: Option<Duration>,
    pub(crate) client_encrypted_after: Option<Duration>,
    /// Intervals whose end lies before their beginning.
    pub(crate) negative_intervals: u64,
    pub(crate) missing_bytes: u64,
    pub(crate) truncated: bool,
    /// Key shares of either side whose length is not that of their group.
    pub(crate) odd_key_shares: u64,
    pub(crate) decrypted: Option<Box<Decrypted>>,
}

/// What follows from the final ServerHello.
#[derive(Default)]
struct Negotiated<'a> {
    hello: Option<&'a ServerHello>,
    group: Option<Group>,
    dhe_bits: Option<u32>,
    key_exchange: Option<KeyExchange>,
    client_encrypted_at: Option<Timestamp>,
}

impl<'a> Negotiated<'a> {
    fn of(step: &'a Step) -> Self {
        match step {
            Step::FirstHello | Step::Answer | Step::SecondHello | Step::FinalAnswer => Self::default(),
            Step::Encrypted(state) => {
                let hello = &state.server_hello;
                let key_exchange = match (hello.group, hello.selects_psk) {
                    (Some(_), false) => Some(KeyExchange::Ephemeral),
                    (Some(_), true) => Some(KeyExchange::PskEphemeral),
                    (None, true) => Some(KeyExchange::Psk),
                    (None, false) => None,
                };
                Self {
                    hello: Some(hello),
                    group: hello.group,
                    dhe_bits: None,
                    key_exchange,
                    client_encrypted_at: state.client_encrypted_at,
                }
            }
            Step::Legacy(state) => {
                let (group, dhe_bits) = match state.parameters {
                    Some(KeyExchangeParameters::Named(group)) => (Some(group), None),
                    Some(KeyExchangeParameters::FiniteField { bits }) => (None, Some(bits)),
                    Some(KeyExchangeParameters::Other) | None => (None, None),
                };
                Self {
                    hello: Some(&state.server_hello),
                    group,
                    dhe_bits,
                    key_exchange: state.key_exchange(),
                    client_encrypted_at: state.client_encrypted_at,
                }
            }
        }
    }

    fn has_odd_share(&self) -> bool {
        self.hello.is_some_and(|hello| hello.version.is_tls_1_3() && !hello.share_fits_group())
    }

    fn class(&self) -> Option<KeyExchangeClass> {
        Some(match self.key_exchange? {
            KeyExchange::Psk | KeyExchange::Resumed => KeyExchangeClass::None,
            KeyExchange::StaticRsa => KeyExchangeClass::Classical,
            // What the number says is not what the server did.
            _ if self.has_odd_share() => KeyExchangeClass::Unknown,
            KeyExchange::Ephemeral | KeyExchange::PskEphemeral | KeyExchange::Anonymous => {
                self.group.map_or(KeyExchangeClass::Classical, Group::class)
            }
        })
    }
}

impl Machine {
    /// Everything that was learnt, for the record.
    pub(crate) fn into_facts(mut self, hashes: &mut Hashes) -> Facts {
        let revealed = self.decryption.take().map(|decryption| decryption.revealed()).unwrap_or_default();
        let opening = &self.opening;
        let hello = opening.hello.as_ref();
        let negotiated = Negotiated::of(&self.step);
        let ssl2_version = self.ssl2_version();
        let retry = self.retry.as_ref();
        let answer = negotiated.hello.or(retry.map(|retry| &retry.request));
        let chosen_at = negotiated.hello.and(self.server_hello_at);
        // With early data the client's first encrypted record precedes its Finished by any length of time.
        let early_data = hello.is_some_and(ClientHello::offers_early_data);
        let encrypted_at = negotiated.client_encrypted_at.filter(|_| !early_data);
        let inferred = match &self.step {
            Step::Encrypted(state) => state.inferred(&Offer::of(hello)),
            _ => Inferred::default(),
        };
        let hello_retry = Interval { from: opening.complete_at, to: retry.map(|retry| retry.at) };
        let server_hello = Interval { from: opening.complete_at, to: chosen_at };
        let client_encrypted = Interval { from: hello.map(|_| opening.start), to: encrypted_at };
        Facts {
            start: opening.start,
            server_name: hello.and_then(ClientHello::server_name),
            client_hello: self.hello_facts(hashes),
            hello_retry: retry.map(|retry| HelloRetry { group: retry.request.group }),
            version: answer.map(|answer| answer.version).or(ssl2_version),
            cipher_suite: negotiated.hello.and_then(|hello| hello.cipher_suite),
            alpn: negotiated.hello.and_then(|hello| hello.alpn.clone()).or(revealed.alpn),
            group: negotiated.group,
            dhe_bits: negotiated.dhe_bits,
            key_exchange: negotiated.key_exchange,
            key_exchange_class: negotiated.class(),
            hello_retry_after: hello_retry.length(),
            server_hello_after: server_hello.length(),
            client_encrypted_after: client_encrypted.length(),
            negative_intervals: [hello_retry, server_hello, client_encrypted]
                .into_iter()
                .map(Interval::is_negative)
                .map(u64::from)
                .sum(),
            odd_key_shares: hello.map_or(0, ClientHello::odd_key_shares) as u64
                + u64::from(negotiated.has_odd_share()),
            missing_bytes: self.missing_bytes,
            truncated: self.truncated,
            certificates: match &self.step {
                Step::Legacy(state) => state.certificates.clone(),
                _ => revealed.certificates.or(inferred.certificates),
            },
            client_certificates: match &self.step {
                Step::Legacy(state) => state.client_certificates.clone(),
                Step::Encrypted(state) => revealed.client_certificates.or_else(|| state.inferred_client()),
                _ => None,
            },
            certificate_verify: revealed.certificate_verify.or(inferred.verify),
            server_flight: match &self.step {
                Step::Encrypted(state) => state.flight(),
                _ => None,
            },
            flight_is_over: negotiated.client_encrypted_at.is_some(),
            alerts: self.alerts,
            decrypted: revealed.decrypted,
        }
    }

    fn hello_facts(&self, hashes: &mut Hashes) -> ClientHelloFacts {
        let hello = self.opening.hello.as_ref();
        let Some(hello) = hello.filter(|hello| !hello.is_cut()) else {
            // Cut by the snapshot length, or too large to be kept whole: what is absent from it may have been there.
            let Some(length) = hello.map(ClientHello::length).or(self.opening.cut_length) else {
                return ClientHelloFacts::default();
            };
            let (records, segments) = (Some(self.opening.records), Some(self.opening.segments));
            return ClientHelloFacts {
                length: Some(length),
                records,
                segments,
                ..ClientHelloFacts::default()
            };
        };
        ClientHelloFacts {
            versions: Some(hello.versions()),
            groups: Some(hello.groups()),
            key_shares: Some(hello.key_shares()),
            signature_schemes: Some(hello.signature_schemes()),
            alpn: Some(hello.alpn()),
            length: Some(hello.length()),
            records: Some(self.opening.records),
            segments: Some(self.opening.segments),
            psk_offered: Some(hello.offers_psk()),
            early_data: Some(hello.offers_early_data()),
            ech: Some(hello.has_ech()),
            ja4: ja4::fingerprint(hello, Protocol::Tls, hashes),
            wishes: Some(CertificateWishes {
                ocsp: hello.offers_ocsp(),
                timestamps: hello.offers_timestamps(),
                compression: hello.offers_certificate_compression(),
            }),
        }
    }
}

/// From one moment to another, as far as they are known.
#[derive(Clone, Copy, Debug)]
struct Interval {
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

impl Interval {
    fn length(self) -> Option<Duration> {
        self.to?.since(self.from?)
    }

    fn is_negative(self) -> bool {
        self.from.zip(self.to).is_some_and(|(from, to)| to < from)
    }
}

//! What a key log reveals of a TLS 1.3 handshake.
//!
//! Enters: protected records of both directions as they come, and handshake traffic secrets whenever they come, before
//! the records or after. Leaves: lengths, certificates, the signature's scheme, alerts, and what they say about the
//! outcome. Only records under the handshake keys are opened; application data never is, nor early data. An attempt
//! without a key log has nothing of this.

mod half;
pub(crate) mod key_log;
mod keys;
mod message;

use super::encrypted::Judgement;
use super::inference::family_of;
use super::verdict::Verdict;
use crate::iana::{CipherSuite, ProtocolVersion};
use crate::observation::{
    CertificateVerify, Certificates, Decrypted, Evidence, Failure, FailureCause, IncompleteReason, Outcome,
    Phase, Side,
};
use half::{Half, HalfFacts, Progress};
use key_log::{Random, SharedKeyLog};
use keys::{RecordKeys, Suite};

/// Opens the handshake records of one attempt.
#[derive(Debug)]
pub(super) struct Decryption {
    key_log: SharedKeyLog,
    random: Random,
    suite: Suite,
    client: Half,
    server: Half,
}

/// What an attempt's record takes from the opened messages.
#[derive(Debug, Default)]
pub(super) struct Revealed {
    pub(super) decrypted: Option<Box<Decrypted>>,
    pub(super) alpn: Option<String>,
    pub(super) certificates: Option<Certificates>,
    pub(super) client_certificates: Option<Certificates>,
    pub(super) certificate_verify: Option<CertificateVerify>,
}

impl Decryption {
    /// For a handshake whose final ServerHello was read; `None` for a version or suite that is not known here.
    /// `random` is the client's, `early_data` whether the client's first records may be early data.
    pub(super) fn new(
        key_log: SharedKeyLog,
        random: Random,
        version: ProtocolVersion,
        suite: Option<CipherSuite>,
        early_data: bool,
    ) -> Option<Box<Self>> {
        let suite = Suite::of(suite?).filter(|_| version == ProtocolVersion::TLS_1_3)?;
        let (client, server) = (Half::new(Side::Client, early_data), Half::new(Side::Server, false));
        Some(Box::new(Self { key_log, random, suite, client, server }))
    }

    const fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// Heap bytes held.
    pub(super) fn heap_bytes(&self) -> usize {
        self.client.heap_bytes() + self.server.heap_bytes()
    }

    /// Takes bytes of the body of a protected record.
    pub(super) fn body(&mut self, from: Side, bytes: &[u8]) {
        self.half(from).body(bytes);
    }

    /// A protected record is over. Returns what it says about the attempt: what was opened goes before what was
    /// inferred from lengths. `phase` is how far the attempt had come by the latter.
    pub(super) fn record_ends(
        &mut self,
        from: Side,
        phase: Phase,
        inferred: Option<Judgement>,
    ) -> Option<Judgement> {
        self.half(from).record_ends();
        self.open(from);
        // Lengths may take for a Finished what is none.
        let plausible = |judgement: &Judgement| {
            !(matches!(judgement, Judgement::Completed(_)) && self.client.is_short_of_finished())
        };
        self.judgement(phase).or_else(|| inferred.filter(plausible))
    }

    /// Bytes of a direction are not in the capture.
    pub(super) fn hole(&mut self, from: Side) {
        self.half(from).hole();
    }

    /// The connection has begun to close, and what became of the attempt is settled.
    pub(super) fn closing(&mut self) {
        self.client.closing();
        self.server.closing();
    }

    /// Lets go of what is only needed while bytes may still come. Whole records still wait for their secret.
    pub(super) fn close_books(&mut self) {
        self.client.close_books();
        self.server.close_books();
    }

    fn open(&mut self, side: Side) {
        let Self { key_log, random, suite, client, server } = self;
        let half = match side {
            Side::Client => client,
            Side::Server => server,
        };
        let keys = || key_log.with_secret(random, side, |secret| RecordKeys::derive(*suite, secret));
        if half.open(keys) == Progress::Failed {
            key_log.count_failed();
        }
    }

    /// What the opened records say about the attempt.
    fn judgement(&self, phase: Phase) -> Option<Judgement> {
        let (server, client) = (&self.server.facts, &self.client.facts);
        let failed = |description, by, after| Judgement::Failed {
            cause: FailureCause::Alert(description),
            after,
            by,
            evidence: Evidence::Decrypted,
        };
        if let Some(description) = server.fatal {
            let begun = if server.messages.is_empty() { Phase::ServerHello } else { Phase::ServerFlight };
            return Some(failed(description, Side::Server, begun));
        }
        if let Some(description) = client.fatal {
            // A padded alert may have been taken for a flight.
            let phase = if client.messages.is_empty() { phase.min(Phase::ServerFlight) } else { phase };
            return Some(failed(description, Side::Client, phase));
        }
        // Where the server asked for a certificate it may still refuse what it got, under keys that are not looked at.
        (server.finished && client.finished && !server.requests_certificate)
            .then_some(Judgement::Completed(Evidence::Decrypted))
    }

    /// The final verdict, in the light of secrets that may have come after the records.
    pub(super) fn revised(&mut self, phase: Phase, verdict: Verdict) -> Verdict {
        self.open(Side::Server);
        self.open(Side::Client);
        let in_the_clear = |failure: Failure| {
            matches!(failure.cause, FailureCause::Alert(_)) && failure.evidence == Evidence::Seen
        };
        if verdict.failure.is_some_and(in_the_clear) {
            return verdict;
        }
        match (self.judgement(phase), verdict.failure) {
            (Some(Judgement::Completed(evidence)), _) => Verdict::completed(verdict.at, evidence),
            (Some(Judgement::Failed { cause, after, by, evidence }), _) => {
                Verdict::failed(verdict.at, Failure { cause, after, by: by.into(), evidence })
            }
            (_, None) if verdict.outcome == Outcome::Completed && self.client.is_short_of_finished() => {
                Verdict::incomplete(verdict.at, IncompleteReason::Ambiguous)
            }
            (_, Some(failure)) if failure.cause == FailureCause::EncryptedAlert => {
                let alerts = |facts: &HalfFacts| !facts.alerts.is_empty();
                let closed = [(Side::Client, &self.client), (Side::Server, &self.server)]
                    .into_iter()
                    .any(|(side, half)| failure.by == side.into() && alerts(&half.facts));
                if closed {
                    // What had an alert's size was one that only closes.
                    let cause = FailureCause::Closed;
                    Verdict::failed(verdict.at, Failure { cause, evidence: Evidence::Decrypted, ..failure })
                } else {
                    verdict
                }
            }
            _ => verdict,
        }
    }

    /// What the record takes from here; nothing where no record was opened.
    pub(super) fn revealed(self) -> Revealed {
        let (server, client) = (self.server.facts, self.client.facts);
        if !server.has_opened && !client.has_opened {
            return Revealed::default();
        }
        let mut alerts = server.alerts;
        alerts.extend(client.alerts);
        let certificate_verify = server.signature.map(|signature| CertificateVerify {
            family: family_of(signature.scheme),
            evidence: Evidence::Decrypted,
        });
        let decrypted = Decrypted {
            server_messages: server.messages,
            client_messages: client.messages,
            certificate_verify: server.signature,
            client_certificate_verify: client.signature,
            alpn: server.alpn.clone(),
            alerts,
        };
        Revealed {
            decrypted: Some(Box::new(decrypted)),
            alpn: server.alpn,
            certificates: server.certificates,
            client_certificates: client.certificates,
            certificate_verify,
        }
    }
}

#[cfg(test)]
mod tests;

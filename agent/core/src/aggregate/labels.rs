//! The labels that series carry, as closed and bounded values, and how they read. Keys that differ read differently, or
//! one metric would have two series with the same attributes: what shares a word shares a value.

use super::series::Labels;
use super::{Attributes, Value};
use crate::iana::{AlertDescription, Group, KeyExchangeClass, ProtocolVersion};
use crate::observation::{
    Evidence, Failure, IncompleteReason, KeyExchange, Observation, Outcome, PqReason, Protocol, Side,
    SignatureFamily, Vantage,
};
use pqscope_telemetry::{OTHER, attribute};
use std::borrow::Cow;
use std::sync::Arc;

/// Which server, as labels tell it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Service {
    pub(super) name: Arc<str>,
    /// `None` beyond the bound.
    pub(super) port: Option<u16>,
}

/// Labels that every handshake counter carries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Common {
    pub(super) protocol: Protocol,
    pub(super) version: Option<VersionLabel>,
    pub(super) service: Service,
    pub(super) group: Option<GroupLabel>,
    pub(super) class: Option<KeyExchangeClass>,
    /// `Unknown` where nothing was listed as well.
    pub(super) offered: KeyExchangeClass,
    pub(super) key_exchange: Option<KeyExchange>,
    pub(super) vantage: Option<Vantage>,
}

impl Common {
    /// Which service it is about, and from where it was seen.
    pub(super) fn service(&self) -> (Protocol, Service, Option<Vantage>) {
        (self.protocol, self.service.clone(), self.vantage)
    }

    /// The group, where no table names it.
    pub(super) fn unknown_group(&self) -> Option<Group> {
        match self.group {
            Some(GroupLabel::Known(group)) if group.name().is_none() => Some(group),
            _ => None,
        }
    }

    /// The version, where it is one that takes room.
    pub(super) fn odd_version(&self) -> Option<ProtocolVersion> {
        match self.version {
            Some(VersionLabel::Known(version)) if is_odd(version) => Some(version),
            _ => None,
        }
    }
}

/// A version, or that it is one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum VersionLabel {
    Known(ProtocolVersion),
    Overflow,
}

/// One number of those that share a name: drafts of TLS 1.3 have had three ranges.
pub(super) const fn canonical(version: ProtocolVersion) -> ProtocolVersion {
    if is_odd(version) && version.is_tls_1_3() { ProtocolVersion(0x7f00 | version.0 & 0xff) } else { version }
}

/// Whether a version is none of the few that were ever published.
pub(super) const fn is_odd(version: ProtocolVersion) -> bool {
    !matches!(version.0, 0x0002 | 0x0300..=0x0304)
}

/// A group, or that it is one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum GroupLabel {
    Known(Group),
    Overflow,
}

/// Labels of `pqscope.handshakes`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HandshakeKey {
    pub(super) common: Common,
    pub(super) outcome: Outcome,
    pub(super) failure: Option<FailureLabel>,
    pub(super) hello_retry: bool,
    /// `None` where the hello was not read whole.
    pub(super) client_class: Option<Arc<str>>,
    pub(super) pq_reason: Option<PqReason>,
}

pub(super) type FailureLabel = (Value, &'static str, &'static str);

/// Labels of histograms.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HistogramKey {
    pub(super) protocol: Protocol,
    pub(super) version: Option<VersionLabel>,
    pub(super) class: Option<KeyExchangeClass>,
    pub(super) service: Arc<str>,
    pub(super) vantage: Option<Vantage>,
    /// Of certificate chains only.
    pub(super) chain: Option<ChainLabel>,
}

/// What the size of a chain rests on, and what its key signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ChainLabel {
    pub(super) evidence: Evidence,
    pub(super) family: SignatureFamily,
}

/// Labels of `pqscope.path.events`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PathKey {
    pub(super) service: Arc<str>,
    pub(super) vantage: Option<Vantage>,
    pub(super) event: &'static str,
}

/// Labels of `pqscope.alerts`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AlertKey {
    pub(super) service: Arc<str>,
    pub(super) vantage: Option<Vantage>,
    /// The registry's name, or [`OTHER`].
    pub(super) description: &'static str,
    pub(super) sender: Side,
}

pub(super) fn alert_label(description: AlertDescription) -> &'static str {
    description.name().unwrap_or(OTHER)
}

pub(super) fn failure_label(failure: Failure) -> FailureLabel {
    (failure.cause.as_str(), failure.after.as_str(), failure.by.as_str())
}

/// The server's name for labels: the SNI in lower case where it looks like a host name, the address where there is
/// none. What clients send is not to be trusted with a label of its own shape.
pub(super) fn server_label(observation: &Observation) -> Arc<str> {
    let Some(name) = &observation.server_name else {
        return observation.server.address.to_string().into();
    };
    let is_host_name = name.len() <= 253
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':'));
    if is_host_name { name.to_ascii_lowercase().into() } else { Arc::from("invalid") }
}

const UNKNOWN: Value = Cow::Borrowed("unknown");
/// The word for what was never negotiated.
const NOT_NEGOTIATED: Value = Cow::Borrowed("not_negotiated");

fn version_label(version: Option<VersionLabel>) -> Value {
    match version {
        Some(VersionLabel::Known(version)) => version.name().unwrap_or_else(|| version.to_string()).into(),
        Some(VersionLabel::Overflow) => OTHER.into(),
        None => UNKNOWN,
    }
}

fn class_label(class: Option<KeyExchangeClass>) -> Value {
    class.map_or(NOT_NEGOTIATED, |class| class.as_str().into())
}

fn vantage_label(vantage: Option<Vantage>) -> Value {
    vantage.map_or(UNKNOWN, |vantage| vantage.as_str().into())
}

impl HandshakeKey {
    /// The series of a service that counts from zero before anything is known of a handshake.
    pub(super) fn bare(common: &Common, outcome: Outcome) -> Self {
        let common = Common {
            version: None,
            group: None,
            class: None,
            offered: KeyExchangeClass::Unknown,
            key_exchange: None,
            ..common.clone()
        };
        Self { common, outcome, failure: None, hello_retry: false, client_class: None, pq_reason: None }
    }

    /// Whether this is such a series.
    pub(super) fn is_bare(&self) -> bool {
        *self == Self::bare(&self.common, self.outcome)
    }

    /// Which service it is about, and from where it was seen.
    pub(super) fn service(&self) -> (Protocol, Service, Option<Vantage>) {
        self.common.service()
    }
}

impl Labels for HandshakeKey {
    fn attributes(&self) -> Attributes {
        let common = &self.common;
        let mut attributes: Attributes = vec![
            (attribute::PROTOCOL, common.protocol.as_str().into()),
            (attribute::TLS_VERSION, version_label(common.version)),
            (attribute::SERVICE, common.service.name.to_string().into()),
            (attribute::SERVER_ADDRESS, common.service.name.to_string().into()),
            (
                attribute::SERVER_PORT,
                common.service.port.map_or(OTHER.into(), |port| port.to_string().into()),
            ),
            (attribute::GROUP_CLASS, class_label(common.class)),
            (attribute::OFFERED_CLASS, common.offered.as_str().into()),
            (attribute::KEY_EXCHANGE, common.key_exchange.map_or(NOT_NEGOTIATED, |how| how.as_str().into())),
            (attribute::VANTAGE, vantage_label(common.vantage)),
            (attribute::OUTCOME, self.outcome.as_str().into()),
            (attribute::HELLO_RETRY, if self.hello_retry { "true" } else { "false" }.into()),
            (
                attribute::CLIENT_CLASS,
                self.client_class.as_ref().map_or(UNKNOWN, |class| class.to_string().into()),
            ),
        ];
        match common.group {
            Some(GroupLabel::Known(group)) => {
                let name = group.name().map_or_else(|| group.to_string().into(), Cow::Borrowed);
                attributes.push((attribute::GROUP_NAME, name));
                attributes.push((attribute::GROUP_ID, group.to_string().into()));
            }
            Some(GroupLabel::Overflow) => attributes.push((attribute::GROUP_NAME, OTHER.into())),
            None => {}
        }
        if let Some(reason) = self.pq_reason {
            attributes.push((attribute::PQ_REASON, reason.as_str().into()));
        }
        if let Some((cause, after, by)) = &self.failure {
            attributes.push((attribute::ERROR_TYPE, cause.clone()));
            attributes.push((attribute::FAILURE_AFTER, (*after).into()));
            attributes.push((attribute::FAILURE_BY, (*by).into()));
        }
        attributes
    }
}

impl HistogramKey {
    pub(super) fn of(common: &Common, chain: Option<ChainLabel>) -> Self {
        Self {
            protocol: common.protocol,
            version: common.version,
            class: common.class,
            service: Arc::clone(&common.service.name),
            vantage: common.vantage,
            chain,
        }
    }
}

impl Labels for HistogramKey {
    fn attributes(&self) -> Attributes {
        let mut attributes: Attributes = vec![
            (attribute::PROTOCOL, self.protocol.as_str().into()),
            (attribute::TLS_VERSION, version_label(self.version)),
            (attribute::SERVICE, self.service.to_string().into()),
            (attribute::GROUP_CLASS, class_label(self.class)),
            (attribute::VANTAGE, vantage_label(self.vantage)),
        ];
        if let Some(ChainLabel { evidence, family }) = self.chain {
            attributes.push((attribute::EVIDENCE, evidence.as_str().into()));
            attributes.push((attribute::SIGNATURE_FAMILY, family.as_str().into()));
        }
        attributes
    }
}

impl Labels for AlertKey {
    fn attributes(&self) -> Attributes {
        vec![
            (attribute::SERVICE, self.service.to_string().into()),
            (attribute::VANTAGE, vantage_label(self.vantage)),
            (attribute::ALERT_DESCRIPTION, self.description.into()),
            (attribute::ALERT_SENDER, self.sender.as_str().into()),
        ]
    }
}

impl Labels for PathKey {
    fn attributes(&self) -> Attributes {
        vec![
            (attribute::SERVICE, self.service.to_string().into()),
            (attribute::VANTAGE, vantage_label(self.vantage)),
            (attribute::PATH_EVENT, self.event.into()),
        ]
    }
}

impl Labels for IncompleteReason {
    fn attributes(&self) -> Attributes {
        vec![(attribute::INCOMPLETE_REASON, self.as_str().into())]
    }
}

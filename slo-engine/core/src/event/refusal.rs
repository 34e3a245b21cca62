//! Why an event is not taken, in words for its sender.

use crate::intake::Rejected;
use std::borrow::Cow;
use std::fmt;

/// Kinds of refusals: a closed set, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefusalReason {
    /// Not an event at all: no JSON, no object, not the version of CloudEvents that is taken.
    Unreadable,
    /// A type outside the closed set.
    UnknownType,
    /// Something that must be there is not.
    MissingField,
    /// A field with a value that it cannot have.
    BadValue,
    /// More than [`FUTURE_TOLERANCE`](crate::intake::FUTURE_TOLERANCE) ahead of the engine's clock.
    FromFuture,
    /// Older than counts are kept.
    TooOld,
    /// Older than the repeats that are remembered.
    TooLateToTell,
    /// The bound on rotations, or on the services of one, is reached.
    RotationLimit,
    /// The counts refused it, for instance since there are too many series.
    Uncountable(Rejected),
}

impl RefusalReason {
    /// A short stable word for a metric attribute.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::UnknownType => "unknown_type",
            Self::MissingField => "missing_field",
            Self::BadValue => "bad_value",
            Self::FromFuture => "from_future",
            Self::TooOld => "too_old",
            Self::TooLateToTell => "too_late_to_tell",
            Self::RotationLimit => "rotation_limit",
            Self::Uncountable(why) => why.word(),
        }
    }
}

/// Why one event is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The kind of fault.
    pub reason: RefusalReason,
    /// The field at fault: an attribute such as `type`, or a data field such as `data.duration`. `None` when the event
    /// as a whole is at fault.
    pub field: Option<Cow<'static, str>>,
    /// What is wrong and what would be right, as a sentence without its field.
    pub message: String,
}

impl Refusal {
    /// A refusal for the event as a whole.
    pub fn whole(reason: RefusalReason, message: impl Into<String>) -> Self {
        Self { reason, field: None, message: message.into() }
    }

    /// A refusal for one field.
    pub fn of(
        reason: RefusalReason,
        field: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self { reason, field: Some(field.into()), message: message.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.field {
            Some(field) => write!(f, "`{field}` {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Refusal {}

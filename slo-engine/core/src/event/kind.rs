//! The closed sets of events: types, results and classes of reasons, with the words that stand for them on the wire.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! closed_set {
    ($(#[$outer:meta])* $name:ident { $($(#[$inner:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$inner])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// All of them, in the order of the contract.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word on the wire, in attributes and on disk.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// What a word stands for; `None` for a word outside the set.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.word() == word)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

closed_set! {
    /// What an event tells.
    EventKind {
        /// A key is to be replaced, or a service has taken the new one into use.
        KeyRotation = "pqscope.key.rotation",
        /// A key was brought into a module or service.
        KeyImport = "pqscope.key.import",
        /// A key was taken out of one.
        KeyExport = "pqscope.key.export",
        /// A key was destroyed, or scheduled to be.
        KeyDestroy = "pqscope.key.destroy",
        /// A key is known or feared to be in wrong hands.
        KeyCompromise = "pqscope.key.compromise",
        /// An artifact was signed.
        Sign = "pqscope.sign",
        /// A signature was checked.
        Verify = "pqscope.verify",
        /// Data was encrypted anew under another key or algorithm.
        Reencrypt = "pqscope.reencrypt",
        /// A source of randomness passed or failed its health test.
        EntropyHealth = "pqscope.entropy.health",
        /// A link of a quantum key distribution came up or went down.
        QkdLink = "pqscope.qkd.link",
        /// How large a store is.
        StorageSize = "pqscope.storage.size",
        /// Something was rolled out.
        Deploy = "pqscope.deploy",
        /// Something was built.
        Build = "pqscope.build",
        /// A rollout has reached a stage.
        RolloutStage = "pqscope.rollout.stage",
        /// A certificate was issued.
        CertificateIssue = "pqscope.certificate.issue",
        /// A certificate was revoked.
        CertificateRevoke = "pqscope.certificate.revoke",
        /// Data was decrypted.
        Decrypt = "pqscope.decrypt",
        /// A policy refused something.
        PolicyDenial = "pqscope.policy.denial",
    }
}

impl EventKind {
    /// Whether such an event says nothing without a result.
    pub(super) const fn needs_result(self) -> bool {
        match self {
            Self::KeyImport
            | Self::KeyExport
            | Self::KeyDestroy
            | Self::Sign
            | Self::Verify
            | Self::Reencrypt
            | Self::EntropyHealth
            | Self::QkdLink
            | Self::Deploy
            | Self::Build
            | Self::CertificateIssue
            | Self::CertificateRevoke
            | Self::Decrypt => true,
            // A rotation without a result is a plan; the others are facts.
            Self::KeyRotation
            | Self::KeyCompromise
            | Self::StorageSize
            | Self::RolloutStage
            | Self::PolicyDenial => false,
        }
    }

    /// Whether such events come by the thousand, so that single successes are not worth keeping for long.
    pub const fn is_bulk(self) -> bool {
        matches!(
            self,
            Self::Sign
                | Self::Verify
                | Self::Decrypt
                | Self::Reencrypt
                | Self::EntropyHealth
                | Self::QkdLink
                | Self::StorageSize
        )
    }
}

closed_set! {
    /// How it went.
    Outcome {
        /// As it should.
        Success = "success",
        /// Not.
        Failure = "failure",
    }
}

closed_set! {
    /// Why something failed, in classes that alerts and runbooks tell apart.
    ReasonClass {
        /// What was read is not what was written.
        CorruptedArtifact = "corrupted_artifact",
        /// The algorithm is missing, or gave a wrong answer.
        AlgorithmFailure = "algorithm_failure",
        /// A format that the other side does not take.
        UnsupportedFormat = "unsupported_format",
        /// The firmware is too old, or at fault.
        Firmware = "firmware",
        /// Not allowed.
        Permission = "permission",
        /// Not there, or not reachable.
        Unavailable = "unavailable",
        /// Took too long.
        Timeout = "timeout",
        /// Anything else, or not told.
        Other = "other",
    }
}

/// All words of a set, for a message that says what would be right.
pub(super) fn words<T: Copy>(all: &[T], word: impl Fn(T) -> &'static str) -> String {
    all.iter().map(|known| word(*known)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_leads_back() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::from_word(kind.word()), Some(*kind));
            assert_eq!(serde_json::to_string(kind).unwrap(), format!("\"{kind}\""));
        }
        assert_eq!(EventKind::ALL.len(), 18);
        assert_eq!(ReasonClass::from_word("timeout"), Some(ReasonClass::Timeout));
        assert_eq!(Outcome::from_word("Success"), None);
    }
}

//! AWS CloudTrail records of KMS ("Logging AWS KMS API calls with AWS CloudTrail", and the CloudTrail record contents).
//!
//! A rotation that KMS carries out by itself is an `AwsServiceEvent` whose key stands in `serviceEventDetails`.

use super::{Data, Reading, text_at};
use crate::event::{RawEvent, parse_time};
use serde_json::Value;

pub(super) fn read(record: &Value) -> Reading {
    let (Some(source), Some(name)) = (text_at(record, "eventSource"), text_at(record, "eventName")) else {
        return Reading::Unreadable;
    };
    let Some(kind) = kind_of(&source, &name) else { return Reading::Ignored };
    let error = text_at(record, "errorCode");
    let key = ["serviceEventDetails.keyId", "resources.0.ARN", "requestParameters.keyId"];
    let key = key.iter().find_map(|path| text_at(record, path));
    let algorithm =
        ["signingAlgorithm", "encryptionAlgorithm", "destinationEncryptionAlgorithm", "wrappingAlgorithm"];
    let algorithm = algorithm.iter().find_map(|name| text_at(record, &format!("requestParameters.{name}")));
    let service =
        ["requestParameters.encryptionContext.service", "userIdentity.sessionContext.sessionIssuer.userName"];
    let service = service.iter().find_map(|path| text_at(record, path));
    let data = Data::default()
        .result(error.is_none())
        .put("reason_class", error.as_deref().map(class_of))
        .put("reason", text_at(record, "errorMessage").or(error))
        .name("key_id", key)
        .name("algorithm", algorithm)
        .name("service", service);
    let region = text_at(record, "awsRegion").unwrap_or_default();
    let account = text_at(record, "recipientAccountId").unwrap_or_default();
    Reading::Event(RawEvent {
        id: text_at(record, "eventID").unwrap_or_default(),
        source: format!("aws:kms:{region}:{account}"),
        kind: kind.to_owned(),
        time: text_at(record, "eventTime").and_then(|text| parse_time(&text)),
        data: data.0,
    })
}

fn kind_of(source: &str, name: &str) -> Option<&'static str> {
    if source != "kms.amazonaws.com" {
        return None;
    }
    Some(match name {
        "RotateKey" | "RotateKeyOnDemand" => "pqscope.key.rotation",
        "ImportKeyMaterial" => "pqscope.key.import",
        "ScheduleKeyDeletion" | "DeleteImportedKeyMaterial" | "DeleteKey" => "pqscope.key.destroy",
        "Sign" | "GenerateMac" => "pqscope.sign",
        "Verify" | "VerifyMac" => "pqscope.verify",
        "Decrypt" => "pqscope.decrypt",
        "ReEncrypt" => "pqscope.reencrypt",
        _ => return None,
    })
}

fn class_of(code: &str) -> &'static str {
    // CloudTrail writes some codes with `Exception` at their end and some without.
    match code.trim_end_matches("Exception") {
        "AccessDenied" | "UnauthorizedOperation" | "KMSInvalidGrant" => "permission",
        "KMSInvalidSignature" | "KMSInvalidMac" | "InvalidCiphertext" | "IncorrectKeyMaterial" => {
            "corrupted_artifact"
        }
        "UnsupportedOperation" | "InvalidKeyUsage" | "InvalidImportToken" | "ExpiredImportToken" => {
            "unsupported_format"
        }
        "DependencyTimeout" => "timeout",
        "Throttling"
        | "LimitExceeded"
        | "KeyUnavailable"
        | "KMSInvalidState"
        | "Disabled"
        | "NotFound"
        | "KMSInternal"
        | "CloudHsmClusterNotActive" => "unavailable",
        _ => "other",
    }
}

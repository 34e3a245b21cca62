//! Holds a record that the agent made with the endpoints' key log against what the ends tell: nothing may be left open that the
//! handshake keys open. A truth and a record enter, one verdict per field leaves. Pure.

use crate::compare::{Field, Verdict, alert_cause, side, verdict};
use crate::truth::{Chain, End, Truth};
use crate::wire::Phase;
use serde_json::{Value, json};

/// Compares what only the keys tell; nothing for earlier versions than TLS 1.3.
pub(crate) fn compare(truth: &Truth, record: &Value) -> Vec<Field> {
    if !truth.modern {
        return Vec::new();
    }
    let mut fields = Vec::new();
    let [server, client] = &truth.messages;
    for (name, right, said) in [
        ("keys: server's messages", server, &record["decrypted"]["server_messages"]),
        ("keys: client's messages", client, &record["decrypted"]["client_messages"]),
    ] {
        let listed = said
            .as_array()
            .map(|list| list.iter().map(|message| json!([message["type"], message["length"]])).collect());
        fields.push((name, verdict(&json!(right), &listed.unwrap_or_else(|| json!([])))));
    }
    if let Some(chain) = &truth.certificates {
        fields.push(("keys: certificates", certificates(chain, &record["certificates"])));
        if let Some(family) = chain.family {
            let said = &record["certificate_verify"];
            let told = json!([said["family"], said["evidence"]]);
            fields.push(("keys: signature", verdict(&json!([family, "decrypted"]), &told)));
        }
    }
    if let Some(chain) = &truth.client_certificates {
        fields.push(("keys: client certificates", certificates(chain, &record["client_certificates"])));
    }
    if let Some(name) = &truth.alpn {
        let right = if name.is_empty() { Value::Null } else { json!(name) };
        fields.push(("keys: alpn", verdict(&right, &record["alpn"])));
    }
    if let End::Alert { by, description, phase: Phase::Handshake, .. } = &truth.end {
        let right = json!(["failed", alert_cause(*description), side(*by), "decrypted"]);
        let failure = &record["failure"];
        let said = json!([record["outcome"], failure["cause"], failure["by"], failure["evidence"]]);
        fields.push(("keys: alert", verdict(&right, &said)));
    }
    if truth.end == End::Completed {
        fields.push(("keys: outcome", verdict(&json!("completed"), &record["outcome"])));
    }
    fields
}

/// Of a compressed message the length alone is held against the truth: the agent unpacks one of the algorithms.
fn certificates(chain: &Chain, said: &Value) -> Verdict {
    let Some(lengths) = &chain.lengths else {
        return verdict(
            &json!([chain.message, "decrypted"]),
            &json!([said["message_bytes"], said["evidence"]]),
        );
    };
    let told = json!([said["message_bytes"], said["lengths"], said["evidence"]]);
    verdict(&json!([chain.message, lengths, "decrypted"]), &told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Side;

    fn truth() -> Truth {
        Truth {
            modern: true,
            version: Some(0x0304),
            suite: Some(0x1301),
            group: Some(0x11ec),
            key_exchange: Some("ephemeral"),
            resumed: Some(false),
            retry: Some(false),
            alpn: Some("h2".into()),
            messages: [vec![(8, 6), (11, 916), (15, 260), (20, 32)], vec![(20, 32)]],
            certificates: Some(Chain {
                lengths: Some(vec![907]),
                bytes: Some(907),
                message: 916,
                compressed: false,
                family: Some("rsa"),
            }),
            client_certificates: None,
            flight: None,
            end: End::Completed,
        }
    }

    fn record() -> Value {
        let message = |kind: u8, length: u32| json!({"type": kind, "length": length});
        json!({
            "decrypted": {"server_messages": [message(8, 6), message(11, 916), message(15, 260), message(20, 32)],
                "client_messages": [message(20, 32)]},
            "certificates": {"lengths": [907], "message_bytes": 916, "evidence": "decrypted"},
            "certificate_verify": {"family": "rsa", "evidence": "decrypted"}, "alpn": "h2", "outcome": "completed"
        })
    }

    fn differing(truth: &Truth, record: &Value) -> Vec<&'static str> {
        let fields = compare(truth, record);
        fields.into_iter().filter(|(_, verdict)| *verdict != Verdict::Equal).map(|(name, _)| name).collect()
    }

    #[test]
    fn every_wrong_field_is_reported() {
        assert!(differing(&truth(), &record()).is_empty());
        for (pointer, wrong, name) in [
            ("/decrypted/server_messages/1/length", json!(917), "keys: server's messages"),
            ("/decrypted", Value::Null, "keys: server's messages"),
            ("/certificates/lengths", json!([906]), "keys: certificates"),
            ("/certificates/evidence", json!("inferred"), "keys: certificates"),
            ("/certificate_verify/family", json!("ed25519"), "keys: signature"),
            ("/alpn", Value::Null, "keys: alpn"),
            ("/outcome", json!("incomplete"), "keys: outcome"),
        ] {
            let mut record = record();
            *record.pointer_mut(pointer).unwrap() = wrong;
            assert_eq!(differing(&truth(), &record).first(), Some(&name), "{pointer}");
        }
    }

    #[test]
    fn an_alert_has_its_name() {
        let end = End::Alert { by: Side::Client, description: 48, phase: Phase::Handshake, late: false };
        let refused = Truth { end, alpn: None, ..truth() };
        let mut record = record();
        record["outcome"] = json!("failed");
        record["failure"] = json!({"cause": "alert_unknown_ca", "by": "client", "evidence": "decrypted"});
        assert!(differing(&refused, &record).is_empty());
        record["failure"]["cause"] = json!("encrypted_alert");
        assert_eq!(differing(&refused, &record), ["keys: alert"]);
    }
}

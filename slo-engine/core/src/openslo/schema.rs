//! The JSON Schema (draft 2020-12) of the files that are read here: OpenSLO v1 with our extensions. Editors complete and
//! check with it; what only several documents together show is left to [`Catalog::parse`](super::Catalog::parse).

use super::document::KINDS;
use serde_json::{Value, json};

/// The schema of one document.
pub fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://pqscope.dev/schema/openslo-v1.json",
        "title": "OpenSLO v1 as pqscope-slo reads it",
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {
            "apiVersion": {"const": "openslo/v1"},
            "kind": {"enum": KINDS},
            "metadata": {"$ref": "#/$defs/metadata"},
            "spec": true
        },
        "additionalProperties": false,
        "allOf": KINDS.map(|kind| json!({
            "if": {"properties": {"kind": {"const": kind}}},
            "then": {"properties": {"spec": {"$ref": format!("#/$defs/{kind}")}}}
        })),
        "$defs": definitions()
    })
}

fn definitions() -> Value {
    let mut all = serde_json::Map::new();
    for part in [common(), services_and_sources(), indicators(), objectives(), alerting(), extension()] {
        if let Value::Object(part) = part {
            all.extend(part);
        }
    }
    Value::Object(all)
}

fn common() -> Value {
    json!({
        "name": {"type": "string", "pattern": "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", "maxLength": 253},
        "text": {"type": ["string", "number", "boolean"]},
        "texts": {"oneOf": [{"$ref": "#/$defs/text"}, {"type": "array", "items": {"$ref": "#/$defs/text"}, "minItems": 1}]},
        "span": {"type": "string", "pattern": "^[0-9]+[smhdw]$"},
        "severity": {"enum": ["page", "ticket"]},
        "metadata": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"$ref": "#/$defs/name"},
                "displayName": {"$ref": "#/$defs/text"},
                "labels": {"type": "object", "additionalProperties": {"$ref": "#/$defs/texts"}},
                "annotations": {
                    "type": "object",
                    "properties": {
                        "pqscope.dev/runbook": {"type": "string", "description": "Link in every notification."},
                        "pqscope.dev/dashboard": {"type": "string", "description": "Link in every notification."},
                        "pqscope.dev/services": {"const": "migrating"}
                    },
                    "patternProperties": {"^(?!pqscope\\.dev/)": {"$ref": "#/$defs/text"}},
                    "additionalProperties": false
                }
            },
            "additionalProperties": false
        }
    })
}

fn services_and_sources() -> Value {
    json!({
        "Service": {
            "type": "object",
            "properties": {"description": {"$ref": "#/$defs/text"}},
            "additionalProperties": false
        },
        "AlertNotificationTarget": {
            "type": "object",
            "properties": {"description": {"$ref": "#/$defs/text"}, "target": {"$ref": "#/$defs/text"}},
            "additionalProperties": false
        },
        "DataSource": {
            "type": "object",
            "required": ["type", "connectionDetails"],
            "properties": {
                "description": {"$ref": "#/$defs/text"},
                "type": {"type": "string", "pattern": "^[Pp]rometheus$"},
                "connectionDetails": {
                    "type": "object",
                    "required": ["url"],
                    "properties": {
                        "url": {"type": "string", "pattern": "^https?://[^/@]+"},
                        "headers": {"type": "object", "additionalProperties": {"$ref": "#/$defs/text"}},
                        "bearerTokenFile": {"type": "string"},
                        "caFile": {"type": "string"},
                        "timeout": {"$ref": "#/$defs/span"}
                    },
                    "additionalProperties": false
                }
            },
            "additionalProperties": false
        }
    })
}

fn indicators() -> Value {
    let values = json!({"type": "object", "additionalProperties": {"$ref": "#/$defs/texts"}});
    json!({
        "metricSource": {
            "type": "object",
            "required": ["type", "spec"],
            "properties": {
                "metricSourceRef": {"$ref": "#/$defs/name"},
                "type": {"type": "string", "pattern": "^([Pp]qscope|[Pp]rometheus)$"},
                "spec": {"type": "object"}
            },
            "additionalProperties": false,
            "if": {"properties": {"type": {"pattern": "^[Pp]q"}}},
            "then": {"properties": {"spec": {
                "required": ["metric"],
                "properties": {
                    "metric": {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9._/-]*$"},
                    "match": values,
                    "not_match": values
                },
                "additionalProperties": false
            }}},
            "else": {
                "required": ["metricSourceRef"],
                "properties": {"spec": {
                    "required": ["query"],
                    "properties": {"query": {"type": "string"}},
                    "additionalProperties": false
                }}
            }
        },
        "metric": {
            "type": "object",
            "required": ["metricSource"],
            "properties": {"metricSource": {"$ref": "#/$defs/metricSource"}},
            "additionalProperties": false
        },
        "SLI": {
            "type": "object",
            "properties": {
                "description": {"$ref": "#/$defs/text"},
                "thresholdMetric": {"$ref": "#/$defs/metric"},
                "ratioMetric": {
                    "type": "object",
                    "properties": {
                        "counter": {"type": "boolean"},
                        "good": {"$ref": "#/$defs/metric"},
                        "bad": {"$ref": "#/$defs/metric"},
                        "total": {"$ref": "#/$defs/metric"},
                        "raw": {"$ref": "#/$defs/metric"},
                        "rawType": {"enum": ["success", "failure"]}
                    },
                    "oneOf": [
                        {"required": ["good", "total"], "not": {"required": ["bad"]}},
                        {"required": ["bad", "total"], "not": {"required": ["good"]}},
                        {"required": ["raw", "rawType"]}
                    ],
                    "additionalProperties": false
                }
            },
            "oneOf": [{"required": ["thresholdMetric"]}, {"required": ["ratioMetric"]}],
            "additionalProperties": false
        }
    })
}

fn objectives() -> Value {
    json!({
        "SLO": {
            "type": "object",
            "required": ["service", "timeWindow", "budgetingMethod", "objectives"],
            "properties": {
                "description": {"$ref": "#/$defs/text"},
                "service": {"$ref": "#/$defs/name"},
                "indicator": {
                    "type": "object",
                    "required": ["spec"],
                    "properties": {"apiVersion": true, "kind": true, "metadata": {"$ref": "#/$defs/metadata"}, "spec": {"$ref": "#/$defs/SLI"}},
                    "additionalProperties": false
                },
                "indicatorRef": {"$ref": "#/$defs/name"},
                "budgetingMethod": {"enum": ["Occurrences", "Timeslices", "RatioTimeslices"]},
                "timeWindow": {"type": "array", "items": {"$ref": "#/$defs/timeWindow"}, "minItems": 1, "maxItems": 1},
                "objectives": {"type": "array", "items": {"$ref": "#/$defs/objective"}, "minItems": 1},
                "alertPolicies": {"type": "array", "items": {"oneOf": [
                    {"$ref": "#/$defs/name"},
                    {"$ref": "#/$defs/alertPolicyUse"}
                ]}},
                "pqscope.alerting": {"oneOf": [{"const": "off"}, {"$ref": "#/$defs/alerting"}]}
            },
            "oneOf": [{"required": ["indicator"]}, {"required": ["indicatorRef"]}],
            "additionalProperties": false
        },
        "timeWindow": {
            "type": "object",
            "required": ["duration"],
            "properties": {
                "duration": {"type": "string", "pattern": "^[0-9]+[smhdwMQY]$"},
                "isRolling": {"type": "boolean"},
                "calendar": {
                    "type": "object",
                    "required": ["startTime", "timeZone"],
                    "properties": {"startTime": {"type": "string"}, "timeZone": {"type": "string"}},
                    "additionalProperties": false
                }
            },
            "additionalProperties": false
        },
        "objective": {
            "type": "object",
            "properties": {
                "displayName": {"$ref": "#/$defs/text"},
                "op": {"enum": ["lte", "lt", "gte", "gt"]},
                "value": {"type": "number"},
                "target": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
                "targetPercent": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 100},
                "timeSliceTarget": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
                "timeSliceWindow": {"$ref": "#/$defs/span"},
                "pqscope.zeroTolerance": {
                    "description": "No bad event at all, in place of a target.",
                    "type": "object",
                    "required": ["severity"],
                    "properties": {"severity": {"$ref": "#/$defs/severity"}, "hold": {"$ref": "#/$defs/span"}},
                    "additionalProperties": false
                },
                "pqscope.growth": {
                    "description": "What a gauge may grow by over the window, in place of a target.",
                    "type": "object",
                    "required": ["budget"],
                    "properties": {
                        "budget": {"type": "number", "exclusiveMinimum": 0},
                        "capacity": {"type": "number", "exclusiveMinimum": 0}
                    },
                    "additionalProperties": false
                },
                "pqscope.baseline": {
                    "description": "Observations are compared with a quantile of others, in place of `value`.",
                    "type": "object",
                    "required": ["metricSource", "quantile", "margin"],
                    "properties": {
                        "metricSource": {"$ref": "#/$defs/metricSource"},
                        "quantile": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
                        "margin": {"type": "number", "minimum": 0},
                        "minimumEvents": {"type": "integer", "minimum": 1},
                        "pinned": {"type": "number", "exclusiveMinimum": 0},
                        "by": {"$ref": "#/$defs/texts"}
                    },
                    "additionalProperties": false
                }
            },
            "oneOf": [
                {"required": ["target"]},
                {"required": ["targetPercent"]},
                {"required": ["pqscope.zeroTolerance"]},
                {"required": ["pqscope.growth"]}
            ],
            "additionalProperties": false
        }
    })
}

fn alerting() -> Value {
    let inline = |kind: &str| {
        json!({
            "apiVersion": true,
            "kind": {"const": kind},
            "metadata": {"$ref": "#/$defs/metadata"},
            "spec": {"$ref": format!("#/$defs/{kind}")}
        })
    };
    let entry = |reference: &str, kind: &str| {
        let named = json!({"required": [reference], "properties": {reference: {"$ref": "#/$defs/name"}}, "additionalProperties": false});
        let inline = json!({"required": ["kind", "metadata", "spec"], "properties": inline(kind), "additionalProperties": false});
        json!({"type": "object", "oneOf": [named, inline]})
    };
    json!({
        "alertPolicyUse": entry("alertPolicyRef", "AlertPolicy"),
        "AlertPolicy": {
            "type": "object",
            "required": ["conditions"],
            "properties": {
                "description": {"$ref": "#/$defs/text"},
                "alertWhenNoData": {"type": "boolean"},
                "alertWhenBreaching": {"const": true},
                "alertWhenResolved": {"const": true},
                "conditions": {"type": "array", "items": entry("conditionRef", "AlertCondition"), "minItems": 1},
                "notificationTargets": {"type": "array", "items": entry("targetRef", "AlertNotificationTarget")}
            },
            "additionalProperties": false
        },
        "AlertCondition": {
            "type": "object",
            "required": ["severity", "condition"],
            "properties": {
                "description": {"$ref": "#/$defs/text"},
                "severity": {"$ref": "#/$defs/severity"},
                "condition": {
                    "type": "object",
                    "required": ["kind", "op", "threshold", "lookbackWindow"],
                    "properties": {
                        "kind": {"const": "burnrate"},
                        "op": {"const": "gte"},
                        "threshold": {"type": "number", "exclusiveMinimum": 0},
                        "lookbackWindow": {"$ref": "#/$defs/span"},
                        "alertAfter": {"$ref": "#/$defs/span"}
                    },
                    "additionalProperties": false
                }
            },
            "additionalProperties": false
        }
    })
}

fn extension() -> Value {
    let whole = json!({"type": "integer", "minimum": 1});
    json!({
        "alerting": {
            "description": "How an SLO alerts beyond what an AlertPolicy can say.",
            "type": "object",
            "properties": {
                "tiers": {"type": "array", "minItems": 1, "items": {
                    "type": "object",
                    "required": ["long", "short", "factor", "severity"],
                    "properties": {
                        "long": {"$ref": "#/$defs/span"},
                        "short": {"$ref": "#/$defs/span"},
                        "factor": {"type": "number", "exclusiveMinimum": 0},
                        "severity": {"$ref": "#/$defs/severity"},
                        "pendingFor": {"$ref": "#/$defs/span"}
                    },
                    "additionalProperties": false
                }},
                "clearFor": {"$ref": "#/$defs/span"},
                "minimumEvents": whole,
                "minimumBadEvents": whole,
                "spike": {"oneOf": [{"const": "off"}, {
                    "type": "object",
                    "properties": {
                        "by": {"$ref": "#/$defs/texts"},
                        "among": {"$ref": "#/$defs/texts"},
                        "short": {"$ref": "#/$defs/span"},
                        "reference": {"$ref": "#/$defs/span"},
                        "minimumBadEvents": whole,
                        "minimumRatio": {"type": "number", "exclusiveMinimum": 0},
                        "significance": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
                        "severity": {"$ref": "#/$defs/severity"}
                    },
                    "additionalProperties": false
                }]},
                "dayShare": {"oneOf": [{"const": "off"}, {"type": "number", "exclusiveMinimum": 0, "maximum": 1}]},
                "noData": {"oneOf": [{"const": "hold"}, {
                    "type": "object",
                    "required": ["after", "severity"],
                    "properties": {"after": {"$ref": "#/$defs/span"}, "severity": {"$ref": "#/$defs/severity"}},
                    "additionalProperties": false
                }]}
            },
            "additionalProperties": false
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openslo::{Catalog, SourceFile};
    use crate::yaml::{self, Findings, Node, Shape};
    use jsonschema::Validator;

    fn as_json(node: &Node) -> Value {
        match &node.shape {
            Shape::Null => Value::Null,
            Shape::Scalar { text, plain: true } => match text.as_str() {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                number => number
                    .parse::<i64>()
                    .map(Value::from)
                    .or_else(|_| number.parse::<f64>().map(Value::from))
                    .unwrap_or_else(|_| text.as_str().into()),
            },
            Shape::Scalar { text, .. } => text.as_str().into(),
            Shape::Sequence(items) => items.iter().map(as_json).collect(),
            Shape::Mapping(entries) => entries
                .iter()
                .map(|(key, node)| (key.value.clone(), as_json(node)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }

    fn documents(text: &str) -> Vec<Value> {
        yaml::read("s.yaml", text, &mut Findings::default()).iter().map(as_json).collect()
    }

    fn validator() -> Validator {
        jsonschema::validator_for(&schema()).expect("a sound schema")
    }

    #[test]
    fn the_shipped_files_fit_the_schema() {
        let validator = validator();
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../slos");
        let files = std::fs::read_dir(folder).unwrap().filter_map(|entry| Some(entry.ok()?.path()));
        let mut seen = 0;
        for file in files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")) {
            for document in documents(&std::fs::read_to_string(&file).unwrap()) {
                let faults: Vec<String> = validator
                    .iter_errors(&document)
                    .map(|fault| format!("{}: {fault}", fault.instance_path()))
                    .collect();
                assert!(faults.is_empty(), "{}: {faults:?}", file.display());
                seen += 1;
            }
        }
        assert!(seen >= 16, "{seen}");
    }

    const RIGHT: &str = include_str!("../../tests/openslo/everything.yaml");

    /// A file with every key that is read. Taken away or misspelt, the schema and the reader must both notice.
    #[test]
    fn schema_and_reader_agree_on_every_key() {
        let validator = validator();
        let takes = |text: &str| Catalog::parse(&[SourceFile { name: "s.yaml", text }], None).is_ok();
        let fits = |text: &str| documents(text).iter().all(|document| validator.is_valid(document));
        assert!(takes(RIGHT), "{:?}", Catalog::parse(&[SourceFile { name: "s.yaml", text: RIGHT }], None));
        for document in documents(RIGHT) {
            let faults: Vec<String> = validator
                .iter_errors(&document)
                .map(|fault| format!("{}: {fault}", fault.instance_path()))
                .collect();
            assert!(faults.is_empty(), "{faults:?}");
        }
        let keys = RIGHT.lines().enumerate().filter_map(|(number, line)| {
            let key = line.trim_start().trim_start_matches("- ").split(':').next()?;
            let known = !key.is_empty() && !key.starts_with(['#', '-', '{']) && line.contains(':');
            known.then(|| (number, key.to_owned()))
        });
        for (number, key) in keys {
            let free = ["team", "owner", "X-Scope-OrgID", "outcome", "code", "test"];
            if free.contains(&key.as_str()) {
                continue;
            }
            let misspelt: Vec<String> = RIGHT
                .lines()
                .enumerate()
                .map(|(at, line)| {
                    if at == number {
                        line.replacen(&format!("{key}:"), &format!("{key}X:"), 1)
                    } else {
                        line.to_owned()
                    }
                })
                .collect();
            let misspelt = misspelt.join("\n");
            assert!(!takes(&misspelt), "the reader takes {key}X on line {}", number + 1);
            assert!(!fits(&misspelt), "the schema takes {key}X on line {}", number + 1);
        }
    }

    #[test]
    fn schema_and_reader_take_the_same_units_of_a_window() {
        let validator = validator();
        for (duration, right) in [("30d", true), ("1440m", true), ("86400s", true), ("30 days", false)] {
            let text = RIGHT.replacen("duration: 30d", &format!("duration: {duration}"), 1);
            let takes = Catalog::parse(&[SourceFile { name: "s.yaml", text: &text }], None).is_ok();
            let fits = documents(&text).iter().all(|document| validator.is_valid(document));
            assert_eq!((takes, fits), (right, right), "{duration}");
        }
    }
}

//! The short way from the bytes of a protobuf request to samples, for what most requests are full of: points of
//! monotonic sums.
//!
//! Nothing is decoded but numbers. The attributes of a point are looked up by their bytes as they lie in the request.
//! Whatever is not as it usually is (a field twice, an unknown shape, bytes that end early) is left to the decoder of
//! the whole message, which also has the better words for what is wrong.

use super::Export;
use super::convert::{
    Fault, Interest, Sender, convert_metric, identify, number_point, take_found, temporality,
};
use super::known::{Identified, Identities};
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint, number_data_point};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const BYTES: u8 = 2;
const FIXED_32: u8 = 5;

/// One field of a message.
#[derive(Clone, Copy)]
enum Value<'a> {
    Number(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
    Other,
}

/// Reads the fields of a message.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// The next field; `None` inside when the bytes make no sense.
    fn next(&mut self) -> Option<Option<(u64, Value<'a>)>> {
        if self.0.is_empty() {
            return None;
        }
        Some(self.field())
    }

    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let tag = self.varint()?;
        let value = match (tag & 7) as u8 {
            VARINT => Value::Number(self.varint()?),
            FIXED_64 => {
                let (bytes, rest) = self.0.split_first_chunk::<8>()?;
                self.0 = rest;
                Value::Fixed(u64::from_le_bytes(*bytes))
            }
            BYTES => {
                let length = usize::try_from(self.varint()?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            FIXED_32 => {
                let (_, rest) = self.0.split_first_chunk::<4>()?;
                self.0 = rest;
                Value::Other
            }
            _ => return None,
        };
        Some((tag >> 3, value))
    }
}

/// Converts the bytes of a request; `None` when the long way has to be gone.
pub(super) fn convert_bytes(request: &[u8], interest: &Interest) -> Option<Export> {
    let mut export = Export::default();
    let mut identities = interest.known().begin();
    let mut fields = Fields(request);
    while let Some(field) = fields.next() {
        let (1, Value::Bytes(resource)) = field? else { return None };
        convert_resource(resource, interest, &mut identities, &mut export)?;
    }
    Some(export)
}

/// The message in field 1, if any; `None` when it is spoiled or there twice.
fn only<M: Message + Default>(bytes: &[u8]) -> Option<Option<M>> {
    let mut found = None;
    let mut fields = Fields(bytes);
    while let Some(field) = fields.next() {
        if let (1, Value::Bytes(bytes)) = field?
            && found.replace(M::decode(bytes).ok()?).is_some()
        {
            return None;
        }
    }
    Some(found)
}

fn convert_resource(
    bytes: &[u8],
    interest: &Interest,
    identities: &mut Identities<'_>,
    export: &mut Export,
) -> Option<()> {
    let sender = Sender::new(only::<Resource>(bytes)?.as_ref());
    identities.lift(sender.lifted());
    let mut fields = Fields(bytes);
    while let Some(field) = fields.next() {
        match field? {
            (2, Value::Bytes(scope)) => convert_scope(scope, &sender, interest, identities, export)?,
            (3, Value::Bytes(schema)) => {
                std::str::from_utf8(schema).ok()?;
            }
            (1, _) => {}
            _ => return None,
        }
    }
    Some(())
}

fn convert_scope(
    bytes: &[u8],
    sender: &Sender,
    interest: &Interest,
    identities: &mut Identities<'_>,
    export: &mut Export,
) -> Option<()> {
    let scope = only::<InstrumentationScope>(bytes)?.unwrap_or_default();
    let mut fields = Fields(bytes);
    while let Some(field) = fields.next() {
        match field? {
            (2, Value::Bytes(metric)) => {
                if convert_sum(metric, sender, &scope.name, interest, identities, export).is_none() {
                    let metric = Metric::decode(metric).ok()?;
                    convert_metric(&metric, sender, &scope.name, interest, identities, export);
                }
            }
            (3, Value::Bytes(schema)) => {
                std::str::from_utf8(schema).ok()?;
            }
            (1, _) => {}
            _ => return None,
        }
    }
    Some(())
}

/// A monotonic sum that is counted, with nothing odd about it; otherwise nothing was done.
fn convert_sum(
    bytes: &[u8],
    sender: &Sender,
    scope: &str,
    interest: &Interest,
    identities: &mut Identities<'_>,
    export: &mut Export,
) -> Option<()> {
    let (mut name, mut sum) = (None, None);
    let mut fields = Fields(bytes);
    while let Some(field) = fields.next() {
        let seen = match field? {
            (1, Value::Bytes(bytes)) => name.replace(std::str::from_utf8(bytes).ok()?).is_some(),
            (2 | 3, Value::Bytes(text)) => {
                std::str::from_utf8(text).ok()?;
                false
            }
            (7, Value::Bytes(bytes)) => sum.replace(bytes).is_some(),
            _ => return None,
        };
        if seen {
            return None;
        }
    }
    let (name, sum) = (name?, sum?);
    if !interest.counts(name) {
        return None;
    }
    let (mut code, mut is_monotonic) = (0, false);
    let mut fields = Fields(sum);
    while let Some(field) = fields.next() {
        match field? {
            (1, Value::Bytes(_)) => {}
            (2, Value::Number(number)) => code = i32::try_from(number).ok()?,
            (3, Value::Number(number)) => is_monotonic = number != 0,
            _ => return None,
        }
    }
    if !is_monotonic {
        return None;
    }
    let temporality = temporality(code);
    // All or nothing: what is odd about one point sends the whole metric the long way.
    let mut points = Vec::new();
    let mut fields = Fields(sum);
    while let Some(field) = fields.next() {
        if let (1, Value::Bytes(point)) = field? {
            points.push(read_point(point, name, identities)?);
        }
    }
    let source = sender.source(scope, name);
    export.samples.reserve(points.len());
    for (point, series) in points {
        take_found(export, source, name, series, number_point(&point, temporality));
    }
    Some(())
}

fn read_point(
    bytes: &[u8],
    metric: &str,
    identities: &mut Identities<'_>,
) -> Option<(NumberDataPoint, Result<Identified, Fault>)> {
    let mut point = NumberDataPoint::default();
    // Where the attributes lie; one behind the other, or it is not the usual shape.
    let (mut first, mut end) = (0, 0);
    let mut fields = Fields(bytes);
    loop {
        let at = bytes.len() - fields.0.len();
        let Some(field) = fields.next() else { break };
        match field? {
            (2, Value::Fixed(time)) => point.start_time_unix_nano = time,
            (3, Value::Fixed(time)) => point.time_unix_nano = time,
            (4, Value::Fixed(bits)) => {
                point.value = Some(number_data_point::Value::AsDouble(f64::from_bits(bits)));
            }
            (6, Value::Fixed(bits)) => {
                point.value = Some(number_data_point::Value::AsInt(bits.cast_signed()));
            }
            // Exemplars say nothing here.
            (5, Value::Bytes(_)) => {}
            (7, Value::Bytes(_)) => {
                if end == 0 {
                    first = at;
                } else if end != at {
                    return None;
                }
                end = bytes.len() - fields.0.len();
            }
            (8, Value::Number(flags)) => point.flags = u32::try_from(flags).ok()?,
            _ => return None,
        }
    }
    let raw = bytes.get(first..end)?;
    let found = match identities.find_raw(metric, raw) {
        Some(series) => Ok(series),
        None => identify(&decode_attributes(raw)?, metric, identities.lifted())
            .map(|series| identities.note_raw(raw, series)),
    };
    Some((point, found))
}

fn decode_attributes(raw: &[u8]) -> Option<Vec<KeyValue>> {
    let mut attributes = Vec::new();
    let mut fields = Fields(raw);
    while let Some(field) = fields.next() {
        let (_, Value::Bytes(pair)) = field? else { return None };
        attributes.push(KeyValue::decode(pair).ok()?);
    }
    Some(attributes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::convert::convert;
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
    use opentelemetry_proto::tonic::metrics::v1::{Gauge, ResourceMetrics, ScopeMetrics, Sum, metric};

    fn pair(key: &str, value: any_value::Value) -> KeyValue {
        KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
    }

    fn request() -> ExportMetricsServiceRequest {
        let text = |text: &str| any_value::Value::StringValue(text.to_owned());
        let point = |number: i64, attributes: Vec<KeyValue>| NumberDataPoint {
            attributes,
            start_time_unix_nano: 5,
            time_unix_nano: 9,
            value: Some(number_data_point::Value::AsInt(number)),
            ..NumberDataPoint::default()
        };
        let mut points = vec![
            point(1, vec![pair("b", text("x")), pair("a", text(""))]),
            point(-2, vec![]),
            point(3, vec![pair("n", any_value::Value::IntValue(7))]),
            point(4, (0..70).map(|key| pair(&key.to_string(), text("x"))).collect()),
        ];
        points[1].flags = 1;
        points.push(NumberDataPoint {
            value: Some(number_data_point::Value::AsDouble(0.5)),
            ..points[0].clone()
        });
        points.push(NumberDataPoint { value: None, ..points[0].clone() });
        let sum = |is_monotonic| {
            let sum = Sum { data_points: points.clone(), aggregation_temporality: 2, is_monotonic };
            Some(metric::Data::Sum(sum))
        };
        let gauge = Some(metric::Data::Gauge(Gauge { data_points: points.clone() }));
        let named = |name: &str, data| Metric {
            name: name.to_owned(),
            unit: "1".to_owned(),
            data,
            ..Metric::default()
        };
        let metrics = vec![
            named("pqscope.a", sum(true)),
            named("pqscope.b", sum(false)),
            named("other", sum(true)),
            named("pqscope.c", gauge),
        ];
        let scope = ScopeMetrics { metrics, schema_url: "https://x".to_owned(), ..ScopeMetrics::default() };
        let resource = Resource {
            attributes: vec![pair("service.name", text("s")), pair("pqscope.stage", text("canary"))],
            ..Resource::default()
        };
        let resource = ResourceMetrics {
            resource: Some(resource),
            scope_metrics: vec![scope.clone(), scope],
            ..ResourceMetrics::default()
        };
        let mut other = resource.clone();
        other.resource = Some(Resource::default());
        ExportMetricsServiceRequest { resource_metrics: vec![resource, other] }
    }

    #[test]
    fn points_carry_the_stage_of_their_resource_and_no_other() {
        let (request, interest) = (request(), Interest::default());
        for _ in 0..2 {
            let export = convert(&request, &interest);
            let (first, second) = export.samples.split_at(export.samples.len() / 2);
            assert!(first.iter().all(|sample| sample.series.attribute("pqscope.stage") == "canary"));
            assert!(second.iter().all(|sample| sample.series.attribute("pqscope.stage").is_empty()));
        }
    }

    #[test]
    fn both_ways_lead_to_the_same_samples() {
        let (request, interest) = (request(), Interest::default());
        let long = convert(&request, &interest);
        assert_eq!(long.samples.len(), 4 * (3 + 6 - 2));
        let bytes = request.encode_to_vec();
        for _ in 0..2 {
            assert_eq!(convert_bytes(&bytes, &interest).as_ref(), Some(&long));
        }
    }

    #[test]
    fn a_request_that_is_cut_or_spoiled_is_read_as_the_decoder_reads_it() {
        let interest = Interest::default();
        let bytes = request().encode_to_vec();
        let check = |bytes: &[u8]| {
            if let Some(short) = convert_bytes(bytes, &interest) {
                let long =
                    ExportMetricsServiceRequest::decode(bytes).map(|request| convert(&request, &interest));
                assert_eq!(Some(short), long.ok());
            }
        };
        (0..bytes.len()).step_by(3).for_each(|cut| check(&bytes[..cut]));
        for place in (0..bytes.len()).step_by(5) {
            for bits in [0x01, 0x08, 0x80, 0xff] {
                let mut spoiled = bytes.clone();
                spoiled[place] ^= bits;
                check(&spoiled);
            }
        }
    }
}

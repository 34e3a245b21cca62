//! OTLP metrics as JSON, one request per line.

use super::{Arrived, Recorded};
use crate::ingest::{Interest, Reading, Sample, convert};
use anyhow::{Context as _, bail};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use pqscope_slo_core::openslo::Catalog;
use pqscope_slo_core::time::Timestamp;
use std::io::{BufRead, Read};
use std::sync::Arc;

/// Longest line that is read.
const LONGEST_LINE: u64 = 64 << 20;

pub(super) fn read(
    mut reader: impl BufRead,
    catalog: &Catalog,
    all: &mut Vec<Arrived>,
) -> anyhow::Result<()> {
    let interest = Interest::of(catalog);
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let length = Read::by_ref(&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut line)?;
        if length == 0 {
            break;
        }
        if length as u64 == LONGEST_LINE {
            bail!("line {number} is longer than {LONGEST_LINE} bytes");
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let request: ExportMetricsServiceRequest = serde_json::from_slice(&line)
            .with_context(|| format!("line {number} is no OTLP metrics request in JSON"))?;
        let export = convert(&request, &interest);
        let at = export.samples.iter().map(time_of).max();
        let arrived = |sample| at.map(|at| Arrived { at, what: recorded(sample) });
        all.extend(export.samples.into_iter().filter_map(arrived));
    }
    Ok(())
}

fn recorded(sample: Sample) -> Recorded {
    let series = Arc::new((*sample.series).clone());
    match sample.reading {
        Reading::Point(point) => Recorded::Point(sample.source, series, point),
        Reading::Level(level) => Recorded::Level(sample.source, series, level),
    }
}

const fn time_of(sample: &Sample) -> Timestamp {
    match &sample.reading {
        Reading::Point(point) => point.time,
        Reading::Level(level) => level.at,
    }
}

//! Metrics for Prometheus: all counters, read when somebody asks, in the words of `weftctl` and with their units.
//!
//! The control thread reads ([`Metrics::read`]); writing them out and talking HTTP is [`serve`]'s, in the runtime that
//! serves the control socket, too. Names and labels are a promise: dashboards and alerts stand on them.
//! Of reasons only those are told that have occurred: a thousand ports have thirty of them each.

mod families;
pub mod serve;

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
    registry::Registry,
};

/// A label's name and value.
type Labels = Vec<(&'static str, String)>;

/// What one row of a family says.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Count(u64),
    Seconds(f64),
    Gauge(f64),
    /// Upper bounds in seconds and frames up to each; then all frames' times together.
    Histogram(Vec<(f64, u64)>, f64),
}

/// Metrics of one name.
#[derive(Debug, Clone, PartialEq)]
struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    rows: Vec<(Labels, Value)>,
}

/// What kind they are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// All of them at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics {
    families: Vec<Family>,
}

/// How metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exposition {
    /// OpenMetrics 1.0, which Prometheus asks for.
    OpenMetrics,
    /// Prometheus's text format 0.0.4.
    Text,
}

impl Exposition {
    /// What an HTTP `Accept` header asks for.
    pub fn accepted(header: Option<&str>) -> Self {
        let openmetrics = header.is_some_and(|header| header.contains("application/openmetrics-text"));
        if openmetrics { Self::OpenMetrics } else { Self::Text }
    }

    /// Its media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

impl Metrics {
    /// As text.
    pub fn text(self, exposition: Exposition) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        match exposition {
            Exposition::OpenMetrics => prometheus_client::encoding::text::encode(&mut text, &registry)?,
            Exposition::Text => prometheus_client::encoding::prometheus_text::encode(&mut text, &registry)?,
        }
        Ok(text)
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        for family in &self.families {
            let kind = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for (labels, value) in &family.rows {
                let mut row = metric.encode_family(labels)?;
                match value {
                    Value::Count(count) => row.encode_counter::<NoLabelSet, u64, u64>(count, None)?,
                    Value::Seconds(seconds) => row.encode_counter::<NoLabelSet, f64, u64>(seconds, None)?,
                    Value::Gauge(gauge) => row.encode_gauge(gauge)?,
                    Value::Histogram(buckets, sum) => {
                        let count = buckets.iter().map(|(_, count)| count).sum();
                        row.encode_histogram::<NoLabelSet>(*sum, count, buckets, None)?;
                    }
                }
            }
        }
        Ok(())
    }
}

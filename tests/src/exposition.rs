//! Metrics as text, read as strictly as the formats are written (OpenMetrics 1.0; Prometheus text format 0.0.4).

use std::collections::{BTreeMap, BTreeSet};

/// The two formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Ends with `# EOF`; a counter's family is named without `_total`.
    OpenMetrics,
    /// A counter's family is named with `_total`.
    Text,
}

/// A series: its sample's name and labels.
type Series = (String, Vec<(String, String)>);

fn is_name(text: &str) -> bool {
    let begins_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    begins_well && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// `name{label="value",…} number`.
fn sample(line: &str) -> Option<(Series, f64)> {
    let (series, number) = line.rsplit_once(' ')?;
    let number = number.parse().ok()?;
    let Some((name, rest)) = series.split_once('{') else {
        return is_name(series).then(|| ((series.to_owned(), Vec::new()), number));
    };
    let mut labels = Vec::new();
    let mut rest = rest.strip_suffix('}')?;
    while !rest.is_empty() {
        let (label, value) = rest.split_once("=\"")?;
        let end = value.find('"').filter(|end| !value[..*end].contains(['\\', '\n']))?;
        labels.push((label.to_owned(), value[..end].to_owned()));
        rest = &value[end + 1..];
        rest = if rest.is_empty() { rest } else { rest.strip_prefix(',').filter(|rest| !rest.is_empty())? };
    }
    let names: BTreeSet<_> = labels.iter().map(|(name, _)| name).collect();
    let is_sound = is_name(name) && names.len() == labels.len() && names.iter().all(|name| is_name(name));
    is_sound.then(|| ((name.to_owned(), labels), number))
}

/// Suffixes that the samples of a family may have.
fn suffixes(kind: &str, dialect: Dialect) -> &'static [&'static str] {
    match (kind, dialect) {
        ("counter", Dialect::OpenMetrics) => &["_total"],
        ("histogram", _) => &["_bucket", "_sum", "_count"],
        _ => &[""],
    }
}

/// Panics unless the text is sound: every family once, with help and type ahead of its samples; every series once; names
/// and numbers as they must be; buckets that add up.
pub fn check(text: &str, dialect: Dialect) {
    let body = match dialect {
        Dialect::OpenMetrics => text.strip_suffix("# EOF\n").expect("it ends with # EOF"),
        Dialect::Text => text,
    };
    let mut families = BTreeSet::new();
    let mut series = BTreeSet::new();
    let mut buckets: BTreeMap<Series, Vec<(f64, f64)>> = BTreeMap::new();
    let mut counts = BTreeMap::new();
    let (mut helped, mut family, mut kind) = ("", "", "");
    for line in body.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            helped = help.split_once(' ').filter(|(_, text)| text.len() > 10).expect(line).0;
        } else if let Some(words) = line.strip_prefix("# TYPE ") {
            (family, kind) = words.split_once(' ').expect(line);
            assert!(family == helped && is_name(family), "{line}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(families.insert(family), "{family} comes twice");
            let is_total = family.ends_with("_total");
            assert_eq!(is_total, kind == "counter" && dialect == Dialect::Text, "{line}");
        } else {
            let ((name, mut labels), number) = sample(line).unwrap_or_else(|| panic!("no sample: {line}"));
            let suffix = name.strip_prefix(family).unwrap_or_else(|| panic!("not of {family}: {line}"));
            assert!(suffixes(kind, dialect).contains(&suffix), "{line}");
            assert!(kind == "gauge" || number >= 0.0 && number.is_finite(), "{line}");
            assert!(series.insert((name.clone(), labels.clone())), "twice: {line}");
            if suffix == "_bucket" {
                let le = labels.iter().position(|(name, _)| name == "le").expect(line);
                let bound = labels.remove(le).1.parse().expect(line);
                labels.sort();
                buckets.entry((family.to_owned(), labels)).or_default().push((bound, number));
            } else if suffix == "_count" {
                labels.sort();
                counts.insert((family.to_owned(), labels), number);
            }
        }
    }
    assert!(families.len() > 20 && series.len() > 50);
    assert_eq!(buckets.keys().collect::<Vec<_>>(), counts.keys().collect::<Vec<_>>());
    for (of, buckets) in &buckets {
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{of:?}: {buckets:?}");
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, counts[of])), "{of:?}");
    }
}

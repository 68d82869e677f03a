//! Results as files: JSON, which is read again, and CSV for spreadsheets.

use std::{fs, path::Path};

use serde::Deserialize;

use super::{FORMAT, Results, axis};
use crate::lab::Error;

impl Results {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        /// What any version of the format has.
        #[derive(Deserialize)]
        struct Head {
            format: Option<u32>,
        }
        let text = fs::read_to_string(path).map_err(Error::file(path))?;
        let unread =
            |error: serde_json::Error| Error::Unreadable { file: path.to_owned(), why: error.to_string() };
        let head: Head = serde_json::from_str(&text).map_err(unread)?;
        match head.format {
            Some(FORMAT) => serde_json::from_str(&text).map_err(unread),
            Some(format) => {
                let why = format!(
                    "its format is {format}, this weft-perf reads {FORMAT}: use the one that wrote it"
                );
                Err(Error::Unreadable { file: path.to_owned(), why })
            }
            None => {
                let why =
                    "it has no \"format\": no results of weft-perf (its --json or --out writes some)".into();
                Err(Error::Unreadable { file: path.to_owned(), why })
            }
        }
    }

    /// As JSON, to be read by people, too.
    pub fn json(&self) -> Result<String, Error> {
        let text = serde_json::to_string_pretty(self);
        Ok(text.map_err(|error| Error::Io { what: "results as JSON".into(), source: error.into() })? + "\n")
    }

    /// As CSV: a line for each run of each measurement, and one, without a value, for each that is missing.
    pub fn csv(&self) -> Result<String, Error> {
        let mut rows = csv::Writer::from_writer(Vec::new());
        let failed = |error: csv::Error| Error::Io { what: "results as CSV".into(), source: error.into() };
        let head = ["test", "metric", "system", "axes", "unit", "better", "run", "value", "reason"];
        rows.write_record(head).map_err(failed)?;
        for measurement in &self.measurements {
            let axes = axis::pairs(&measurement.axes);
            let better = match measurement.better {
                super::Better::More => "more",
                super::Better::Less => "less",
                super::Better::Neither => "neither",
            };
            for (run, value) in measurement.runs.iter().enumerate() {
                let (run, value) = ((run + 1).to_string(), value.to_string());
                let what = [&*measurement.test, &measurement.metric, &measurement.system, &axes];
                let row = [&what[..], &[&measurement.unit, better, &run, &value, ""]].concat();
                rows.write_record(row).map_err(failed)?;
            }
        }
        for missing in &self.missing {
            let axes = axis::pairs(&missing.axes);
            let row = [&*missing.test, "", &missing.system, &axes, "", "", "", "", &missing.reason];
            rows.write_record(row).map_err(failed)?;
        }
        let bytes = rows.into_inner().map_err(|error| failed(error.into_error().into()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Writes JSON to a file.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        fs::write(path, self.json()?).map_err(Error::file(path))
    }
}

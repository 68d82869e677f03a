//! The flags that every measuring verb has: where results go, and what is expected of them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;

use super::{Expect, Results};
use crate::lab::{Error, tell};

/// Where results go, and what is expected of them.
#[derive(Debug, Clone, Default, Args)]
pub struct Output {
    /// Print results as JSON, which `report` and `compare` read; with FILE, write them there.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub json: Option<PathBuf>,
    /// Print every run as CSV; with FILE, write them there.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub csv: Option<PathBuf>,
    /// Exit with 1 unless it holds: a system and a test, if need be, and a metric, then >= or <= and a number, or a
    /// factor of another system's: "weft-tap/tcp1/rate>=0.95*bridge". May be given several times.
    #[arg(long, value_name = "CONDITION")]
    pub expect: Vec<Expect>,
}

impl Output {
    /// Whether standard output is for a program: then tables for people have no place there.
    pub fn is_for_a_program(&self) -> bool {
        [&self.json, &self.csv].into_iter().flatten().any(|path| is_standard_output(path))
    }

    /// Writes what was asked for; whether all that is expected holds, and weft was measured whole.
    pub fn finish(&self, results: &Results) -> Result<bool, Error> {
        if let Some(path) = &self.json {
            put(path, &results.json()?)?;
        }
        if let Some(path) = &self.csv {
            put(path, &results.csv()?)?;
        }
        let mut holds = !results.weft_failed();
        for expect in &self.expect {
            for broken in expect.check(results) {
                eprintln!("below --expect: {broken}");
                holds = false;
            }
        }
        Ok(holds)
    }
}

fn is_standard_output(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn put(path: &Path, text: &str) -> Result<(), Error> {
    if is_standard_output(path) {
        tell(text);
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(Error::file(folder))?;
    }
    fs::write(path, text).map_err(Error::file(path))?;
    eprintln!("written: {}", path.display());
    Ok(())
}

//! Where results go: to people, or to programs.

use serde::Serialize;

use crate::lab::Error;

/// What standard output is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lines {
    /// A line a second, then a table.
    #[default]
    Text,
    /// One JSON object at the end; lines for people go to standard error.
    Json,
    /// A line of CSV a second; nothing at the end.
    Csv,
}

impl Lines {
    /// As asked for.
    pub fn of(json: bool, csv: bool) -> Self {
        match (json, csv) {
            (true, _) => Self::Json,
            (_, true) => Self::Csv,
            _ => Self::Text,
        }
    }

    /// A line of progress, for people and in CSV.
    pub fn line(self, text: &str, csv: &str) {
        match self {
            Self::Text => println!("{text}"),
            Self::Json => eprintln!("{text}"),
            Self::Csv => println!("{csv}"),
        }
    }

    /// The result.
    pub fn end(self, result: &impl Serialize, table: impl FnOnce() -> String) -> Result<(), Error> {
        match self {
            Self::Text => print!("{}", table()),
            Self::Csv => (),
            Self::Json => {
                let text =
                    serde_json::to_string_pretty(result).map_err(|error| Error::io("JSON")(error.into()))?;
                println!("{text}");
            }
        }
        Ok(())
    }
}

//! How far a long benchmark is: a bar where standard error is a terminal, else a line for each step.

use std::{
    io::{IsTerminal, stderr},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// Steps that take about as long as each other.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    began: Instant,
    steps: u64,
    done: u64,
    step: String,
}

impl Progress {
    /// So many steps are to be done.
    pub fn new(what: &str, steps: u64) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(steps);
            let style =
                ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len} {msg} ({elapsed}, {eta} left)");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(what.to_owned());
            bar.enable_steady_tick(Duration::from_millis(500));
            bar
        });
        Self { bar, began: Instant::now(), steps, done: 0, step: String::new() }
    }

    /// A step begins.
    pub fn begin(&mut self, step: &str) {
        step.clone_into(&mut self.step);
        if let Some(bar) = &self.bar {
            bar.set_message(self.step.clone());
        }
    }

    /// Something that came out, of this step.
    pub fn say(&self, what: &str) {
        match &self.bar {
            Some(bar) => bar.println(format!("{}: {what}", self.step)),
            None => eprintln!("[{}/{}{}] {}: {what}", self.done + 1, self.steps, self.left(), self.step),
        }
    }

    /// A step has ended.
    pub fn done(&mut self) {
        self.done += 1;
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
        }
    }

    /// All have: the bar goes.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }

    fn left(&self) -> String {
        if self.done == 0 {
            return String::new();
        }
        let each = self.began.elapsed().as_secs_f64() / self.done as f64;
        let seconds = each * self.steps.saturating_sub(self.done) as f64;
        format!(", {} left", clock(seconds))
    }
}

/// `3:07`, minutes and seconds.
fn clock(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_is_told_from_what_is_done() {
        let mut progress = Progress::new("test", 4);
        assert_eq!(progress.left(), "");
        progress.began = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
        progress.begin("one");
        progress.done();
        assert_eq!(progress.left(), ", 3:00 left");
        assert_eq!(clock(59.6), "1:00");
    }
}

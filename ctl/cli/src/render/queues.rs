//! Where queues are polled, before and after.

use weft_ctl_api::pmd::RebalanceReply;

use super::{Render, table};

impl Render for RebalanceReply {
    fn render(&self) -> String {
        let queues = self.queues.iter().map(|row| {
            let after = match (row.before == row.after, row.pinned) {
                (true, true) => format!("{} (set)", row.after),
                (true, false) => row.after.to_string(),
                (false, _) => format!("{} ←", row.after),
            };
            let (percent, noise) = (format!("{:.1}", row.percent), format!("{:.1}", row.noise));
            vec![row.queue.clone(), percent, noise, row.before.to_string(), after]
        });
        let queues =
            table(&["queue", "busy %", "±", "core", "core then"], 1..4, queues.collect(), "no queues");
        let threads = self
            .threads
            .iter()
            .map(|row| vec![row.core.to_string(), format!("{:.1}", row.before), format!("{:.1}", row.after)]);
        let threads = table(&["core", "busy %", "busy % then"], 1..3, threads.collect(), "no PMD threads");
        format!("{}\nload of the last {:.0} s\n\n{queues}\n\n{threads}", self.summary, self.seconds)
    }
}

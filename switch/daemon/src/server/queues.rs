//! Queues and threads: who polls what.

use weft_ctl_api::{
    Code, Done, Error,
    pmd::{PmdRebalance, PmdSet, QueueMove, RebalanceReply, ThreadLoad},
};
use weft_wire::ThreadId;

use super::{Session, not_found};
use crate::{
    assign::rebalance,
    switch::{Loads, QueueName},
};

/// Load of less time tells nothing.
const MEASURED_MIN_S: f64 = 2.0;

impl Session {
    fn core(&self, thread: ThreadId) -> usize {
        self.switch.runtime.threads[thread.index()].core
    }

    fn queue_named(&self, text: &str) -> Result<QueueName, Error> {
        let ports = &self.switch.ports;
        let wrong = |text: &str| {
            let known = ports
                .iter()
                .flat_map(|(name, open)| (0..open.owners.len()).map(move |queue| format!("{name}:{queue}")));
            let known: Vec<String> = known.collect();
            not_found("queue", text, known.iter().map(String::as_str))
        };
        let (port, queue) = text.rsplit_once(':').ok_or_else(|| wrong(text))?;
        let number: u16 = queue.parse().map_err(|_| wrong(text))?;
        let open = ports.get(port).filter(|open| usize::from(number) < open.owners.len());
        open.map(|_| (port.to_owned(), number)).ok_or_else(|| wrong(text))
    }

    pub(super) fn set_queue(&mut self, call: &PmdSet) -> Result<Done, Error> {
        let name = self.queue_named(&call.queue)?;
        let cores: Vec<usize> = self.switch.runtime.threads.iter().map(|thread| thread.core).collect();
        let Some(to) = cores.iter().position(|core| *core == call.core) else {
            let message = format!("no PMD thread runs on core {}", call.core);
            return Err(Error::new(Code::NotFound, message).remedy(format!("use one of {cores:?}")));
        };
        let allowed = &self.switch.ports[&name.0].spec.cores;
        if !allowed.is_empty() && !allowed.contains(&call.core) {
            let message = format!("port \"{}\" is to be polled on cores {allowed:?} only", name.0);
            return Err(
                Error::new(Code::Invalid, message).remedy("use one of them, or change the port's cores")
            );
        }
        self.switch.pin_queue(&name, ThreadId(to as u16))?;
        Ok(self.done(format!("queue {} is polled on core {}", call.queue, call.core)))
    }

    pub(super) fn rebalance(&mut self, call: &PmdRebalance) -> Result<RebalanceReply, Error> {
        if call.plan == call.apply {
            return Err(Error::new(Code::BadRequest, "say either plan or apply"));
        }
        let loads = self.switch.queue_loads();
        let Loads { time, queues, threads } = &loads;
        if time.as_secs_f64() < MEASURED_MIN_S {
            let message = "load has been measured for less than 2 s since queues were last moved";
            return Err(Error::new(Code::Unavailable, message).remedy("try again"));
        }
        let costs: Vec<_> = queues.iter().map(|(_, load)| load.clone()).collect();
        let moves = rebalance(&costs, threads.len());
        let mut after = threads.clone();
        let mut rows = Vec::new();
        for (index, ((port, queue), load)) in queues.iter().enumerate() {
            let to = moves.iter().find(|(moved, _)| *moved == index).map_or(load.owner, |(_, to)| *to);
            after[load.owner.index()] -= load.percent;
            after[to.index()] += load.percent;
            rows.push(QueueMove {
                queue: format!("{port}:{queue}"),
                before: self.core(load.owner),
                after: self.core(to),
                percent: load.percent,
                noise: load.noise,
                pinned: load.pinned,
            });
        }
        if call.apply {
            self.switch.rebalance(&loads, &moves)?;
        }
        let count = if moves.len() == 1 { "1 queue".into() } else { format!("{} queues", moves.len()) };
        let summary = match (moves.is_empty(), call.apply) {
            (true, _) => "nothing to gain that is sure: queues stay where they are".into(),
            (false, true) => format!("{count} moved"),
            (false, false) => format!("{count} would be moved"),
        };
        let thread = |(index, before): (usize, &f64)| ThreadLoad {
            core: self.core(ThreadId(index as u16)),
            before: *before,
            after: after[index].max(0.0),
        };
        let threads = threads.iter().enumerate().map(thread).collect();
        Ok(RebalanceReply {
            summary,
            seconds: time.as_secs_f64(),
            queues: rows,
            threads,
            applied: call.apply,
        })
    }
}

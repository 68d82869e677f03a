//! The running switch: memory, PMD threads, the slow path's thread, and the publication of snapshots.

use std::{
    hash::{BuildHasher, RandomState},
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crossbeam::channel::{self, Sender};
use weft_dataplane::{
    capture::Capture,
    key::{FlowKey, HashSecret},
    mailbox::{Exits, Mailbox},
    publish::Publisher,
    snapshot::Snapshot,
    stats::{PortStats, ThreadCounters},
    table::flow::FlowEntry,
    thread::{Command, FlowDump, FoundFlow, Idle, Parts, PmdThread},
    trace::live::Live,
};
use weft_pmd::{Caps, FramePool, Memory, MemoryError, PortQueue, Queue};
use weft_wire::{PortId, QueueId, ThreadId};

use crate::{
    capture::Running,
    slowpath::{
        path_mtu::PathMtus,
        thread::{Report, SlowPath, SlowPathCounters},
    },
};

/// How the PMD threads are set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// One thread on each.
    pub cores: Vec<usize>,
    /// What a thread without work does.
    pub idle: Idle,
    /// Frame memory, MiB.
    pub memory_mib: usize,
    /// Flow table entries per thread.
    pub flows: usize,
}

/// Why the switch can't run.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// No memory for frames.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// No thread, no event counter.
    #[error("cannot start PMD threads: {0}")]
    Thread(#[from] io::Error),
}

/// A PMD thread as the control side sees it.
#[derive(Debug)]
pub struct Thread {
    /// The core it is pinned to.
    pub core: usize,
    /// Its counters.
    pub counters: Arc<ThreadCounters>,
    /// Whether pinning worked; nothing until it was tried, which is before the thread's first turn.
    pub pinned: Arc<OnceLock<bool>>,
    commands: Sender<Command>,
    handle: Option<JoinHandle<()>>,
}

impl Thread {
    /// Whether it runs. One that panicked does not, and its queues stand still.
    pub fn is_alive(&self) -> bool {
        self.handle.as_ref().is_some_and(|handle| !handle.is_finished())
    }
}

/// The running switch.
pub struct Runtime {
    /// Frame memory.
    pub memory: Arc<Memory>,
    /// PMD threads, by [`ThreadId`].
    pub threads: Vec<Thread>,
    /// What the slow path could not do.
    pub slowpath_counters: Arc<SlowPathCounters>,
    /// What is known of the paths to other nodes.
    pub path_mtus: Arc<PathMtus>,
    publisher: Publisher<Snapshot>,
    mailboxes: Arc<[Mailbox]>,
    exits: Arc<Exits>,
    slowpath: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    /// When the threads' clock was zero.
    epoch: Instant,
}

/// A thread that does not answer for so long is stuck, and is left alone.
const PATIENCE: Duration = Duration::from_secs(5);

impl Runtime {
    /// Starts the threads with an empty snapshot and no ports. `report` is called on the slow path's thread.
    pub fn start(
        settings: &Settings,
        report: Box<dyn Fn(Report) -> bool + Send>,
    ) -> Result<Self, RuntimeError> {
        let memory = Memory::new(settings.memory_mib)?;
        if let Some(warning) = crate::memory::hoarded(crate::memory::pools(&memory), settings.cores.len()) {
            tracing::warn!("{warning}");
        }
        let mailboxes: Arc<[Mailbox]> =
            settings.cores.iter().map(|_| Mailbox::new()).collect::<Result<_, _>>()?;
        let exits = Arc::new(Exits::new()?);
        let publisher = Publisher::new(Snapshot::default());
        let epoch = Instant::now();
        let mut threads = Vec::new();
        for (index, &core) in settings.cores.iter().enumerate() {
            let (commands, receiver) = channel::unbounded();
            let counters = Arc::new(ThreadCounters::default());
            let parts = Parts {
                id: ThreadId(index as u16),
                pool: FramePool::new(memory.clone()),
                reader: publisher.reader(),
                mailboxes: mailboxes.clone(),
                exits: exits.clone(),
                commands: receiver,
                counters: counters.clone(),
                flows: settings.flows,
                secret: random_secret(),
            };
            let (idle, pinned) = (settings.idle, Arc::new(OnceLock::new()));
            let mut pmd = PmdThread::new(parts)?;
            let handle = thread::Builder::new().name(format!("pmd-{core}")).spawn({
                let pinned = pinned.clone();
                move || {
                    let ok = core_affinity::set_for_current(core_affinity::CoreId { id: core });
                    let _ = pinned.set(ok); // nobody else sets it
                    pmd.run(idle, || epoch.elapsed().as_nanos() as u64);
                }
            })?;
            threads.push(Thread { core, counters, pinned, commands, handle: Some(handle) });
        }
        let stop = Arc::new(AtomicBool::new(false));
        let slowpath_counters = Arc::new(SlowPathCounters::default());
        let path_mtus = Arc::new(PathMtus::default());
        let slowpath = SlowPath {
            counters: slowpath_counters.clone(),
            exits: exits.clone(),
            mailboxes: mailboxes.clone(),
            reader: publisher.reader(),
            pool: FramePool::new(memory.clone()),
            path_mtus: path_mtus.clone(),
            report,
            stop: stop.clone(),
        };
        let slowpath = thread::Builder::new().name("slowpath".into()).spawn(move || slowpath.run())?;
        let slowpath = Some(slowpath);
        Ok(Self {
            memory,
            threads,
            slowpath_counters,
            path_mtus,
            epoch,
            publisher,
            mailboxes,
            exits,
            slowpath,
            stop,
        })
    }

    /// The PMD threads' clock, nanoseconds.
    pub fn now_ns(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// The snapshot in force.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        self.publisher.current()
    }

    /// Puts a snapshot in force. Nobody waits for anybody; a sleeping thread is woken so that it lets go of the old one.
    pub fn publish(&mut self, snapshot: Snapshot) {
        self.publisher.publish(snapshot);
        self.mailboxes.iter().for_each(|mailbox| mailbox.bell.ring());
        self.exits.bell.ring(); // whoever comes or moves is announced by the slow path
    }

    /// Hands a port's queues to their threads. Comes before the snapshot that names the port.
    pub fn attach(
        &self,
        port: PortId,
        queues: Vec<Queue>,
        owners: &[ThreadId],
        caps: Caps,
        stats: &Arc<PortStats>,
    ) {
        for (index, (queue, owner)) in queues.into_iter().zip(owners).enumerate() {
            let id = QueueId(index as u16);
            self.command(*owner, Command::Attach { port, id, queue, caps, stats: stats.clone() });
        }
    }

    /// A port can carry something else from now on.
    pub fn set_caps(&self, port: PortId, owners: &[ThreadId], caps: Caps) {
        let owners: std::collections::BTreeSet<ThreadId> = owners.iter().copied().collect();
        owners.into_iter().for_each(|owner| self.command(owner, Command::SetCaps { port, caps }));
    }

    /// Waits until every thread is pinned, or known not to be, and has turned with all that it was given so far; so long at
    /// most. Returns the cores of those that have not.
    pub fn settle(&self, patience: Duration) -> Vec<usize> {
        let until = Instant::now() + patience;
        let barrier = |thread: usize| {
            let (reply, receiver) = channel::bounded(1);
            self.command(ThreadId(thread as u16), Command::Barrier(reply));
            receiver
        };
        let barriers: Vec<_> = (0..self.threads.len()).map(barrier).collect();
        let late = |(thread, barrier): (&Thread, channel::Receiver<()>)| {
            barrier.recv_deadline(until).is_err().then_some(thread.core)
        };
        self.threads.iter().zip(barriers).filter_map(late).collect()
    }

    /// Takes a port's queues back and closes them. Comes after a snapshot without the port was published. False: a
    /// thread did not answer; its queues go when it does.
    pub fn detach(&self, port: PortId, owners: &[ThreadId]) -> bool {
        let mut owners = owners.to_vec();
        owners.sort_unstable();
        owners.dedup();
        let detach_from = |owner| {
            let (reply, receiver) = channel::bounded(1);
            self.command(owner, Command::Detach { port, reply });
            let Ok(queues) = receiver.recv_timeout(PATIENCE) else { return false };
            // Closed here: a device may take its time to give frames back, and no packet waits for that.
            let mut pool = FramePool::new(self.memory.clone());
            for mut queue in queues {
                queue.close(&mut pool);
            }
            true
        };
        // Every thread is asked, whatever another answered.
        owners.into_iter().map(detach_from).fold(true, |all, one| all & one)
    }

    /// Has a thread hand a queue over to another while traffic flows. Comes before the snapshot that says so. False: it has
    /// no such queue, or one of the two has died.
    pub fn move_queue(&self, port: PortId, id: QueueId, from: ThreadId, to: ThreadId) -> bool {
        let (reply, receiver) = channel::bounded(1);
        let next = self.threads[to.index()].commands.clone();
        self.command(from, Command::Move { port, id, to, next, reply });
        receiver.recv_timeout(PATIENCE).unwrap_or(false)
    }

    /// All flows of one thread, piece by piece; the thread never copies more than one piece at a time.
    pub fn flows(&self, thread: ThreadId, mut each: impl FnMut(&FlowEntry, &FlowDump) -> bool) {
        let mut from = 0;
        loop {
            let (reply, receiver) = channel::bounded(1);
            self.command(thread, Command::DumpFlows { from, reply });
            let Ok(dump) = receiver.recv_timeout(PATIENCE) else { return };
            if !dump.flows.iter().all(|flow| each(flow, &dump)) {
                return;
            }
            match dump.next {
                Some(next) => from = next,
                None => return,
            }
        }
    }

    /// What a thread's flow table knows of a flow.
    pub fn flow(&self, thread: ThreadId, key: FlowKey) -> Option<FoundFlow> {
        let (reply, receiver) = channel::bounded(1);
        self.command(thread, Command::FindFlow { key, reply });
        receiver.recv_timeout(PATIENCE).ok().flatten()
    }

    /// Lets all threads trace.
    pub fn trace(&self, live: &Arc<Live>) {
        for thread in 0..self.threads.len() {
            self.command(ThreadId(thread as u16), Command::Trace(live.clone()));
        }
    }

    /// Hands a capture to all threads.
    pub fn capture(&self, capture: Capture) -> Running {
        let commands = self.threads.iter().map(|thread| thread.commands.clone()).collect();
        Running::start(capture, self.epoch, commands, self.mailboxes.clone())
    }

    fn command(&self, thread: ThreadId, command: Command) {
        // A thread that has ended dropped its receiver, and with it whatever it was asked.
        let _ = self.threads[thread.index()].commands.send(command);
        self.mailboxes[thread.index()].bell.ring();
    }

    /// Ends all threads; every queue is closed by the thread that owned it. Returns how many chunks of frame memory
    /// did not come back.
    pub fn stop(mut self) -> usize {
        for thread in 0..self.threads.len() {
            self.command(ThreadId(thread as u16), Command::Stop);
        }
        self.stop.store(true, Ordering::Release);
        self.exits.bell.ring();
        let handles = self.threads.iter_mut().filter_map(|thread| thread.handle.take());
        for handle in handles.chain(self.slowpath.take()) {
            // A thread that panicked has said so on standard error.
            let _ = handle.join();
        }
        self.memory.total() - self.memory.available()
    }
}

fn random_secret() -> HashSecret {
    HashSecret::new(std::array::from_fn(|i| RandomState::new().hash_one(i)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_settled_it_is_known_of_every_thread_whether_it_is_pinned() {
        // No machine that tests run on has the other core.
        let settings = Settings { cores: vec![0, 1000], idle: Idle::Adaptive, memory_mib: 8, flows: 16 };
        let runtime = Runtime::start(&settings, Box::new(|_| true)).expect("it starts");
        assert_eq!(runtime.settle(PATIENCE), [0; 0]);
        let pinned: Vec<_> = runtime.threads.iter().map(|thread| thread.pinned.get().copied()).collect();
        assert_eq!(pinned, [Some(true), Some(false)]);
        end(&runtime, 1);
        assert_eq!(runtime.settle(PATIENCE), [1000], "one that has ended is not waited for");
        runtime.stop();
    }

    /// Ends a thread, and waits until it has.
    fn end(runtime: &Runtime, thread: usize) {
        runtime.command(ThreadId(thread as u16), Command::Stop);
        let deadline = Instant::now() + PATIENCE;
        while runtime.threads[thread].is_alive() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_thread_that_has_ended_is_told_from_one_that_runs() {
        let settings = Settings { cores: vec![0, 0], idle: Idle::Adaptive, memory_mib: 8, flows: 16 };
        let runtime = Runtime::start(&settings, Box::new(|_| true)).expect("it starts");
        end(&runtime, 1);
        assert_eq!(runtime.threads.iter().map(Thread::is_alive).collect::<Vec<_>>(), [true, false]);
        runtime.stop();
    }
}

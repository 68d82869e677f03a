//! The control thread: the one owner of the [`Switch`]. Requests, reports of PMD threads, netlink and signals come to it
//! as events, one after the other; nothing else changes anything.

use std::{
    thread,
    time::{Duration, Instant},
};

use crossbeam::channel::{Receiver, Sender};
use weft_ctl_api::{Role, role_of};
use weft_dataplane::share::{Bucket, Rate};

use crate::{
    event::{Answer, Event},
    log,
    metrics::Metrics,
    server::Session,
    slowpath::thread::Report,
    switch::{Switch, TICK},
};

/// Learnt addresses wait for so long, so that many are published at once.
const LEARN_EVERY: Duration = Duration::from_millis(10);
/// Publishing learnt addresses may take this part of the control thread's time: with many of them, each time is long.
const PUBLISHING_SHARE: u32 = 10;
/// And so many times a second, after so many at once: each has every cached flow decided again, so whoever has an address go to
/// and fro costs others no more than that.
const PUBLICATIONS: Rate = Rate::new(10, 50);
/// Reports taken before the next look for a request, a thousand learnt addresses each at most: whoever floods addresses holds
/// nobody up.
const REPORTS_PER_ROUND: usize = 4;

/// Serves until stopped; returns the switch to be taken down. Events come first, then reports.
pub fn run(mut session: Session, events: &Receiver<Event>, reports: &Receiver<Report>) -> Switch {
    let mut ticked = Instant::now();
    let (started, mut publications) = (Instant::now(), Bucket::default());
    let (mut published, mut pause) = (Instant::now(), LEARN_EVERY);
    loop {
        let mut first = None;
        crossbeam::channel::select_biased! {
            recv(events) -> event => match event {
                Ok(Event::Stop) | Err(_) => return session.switch,
                Ok(event) => handle(&mut session, event),
            },
            recv(reports) -> report => first = report.ok(),
            default(LEARN_EVERY.min(TICK)) => {}
        }
        for report in first.into_iter().chain(reports.try_iter()).take(REPORTS_PER_ROUND) {
            take(&mut session.switch, report);
        }
        session.look_after_captures();
        session.look_after_trace();
        let due = published.elapsed() >= pause && session.switch.has_news_of_addresses();
        if due && publications.allow(PUBLICATIONS, started.elapsed().as_nanos() as u64) {
            let began = Instant::now();
            session.switch.publish_learnt();
            pause = LEARN_EVERY.max(began.elapsed() * PUBLISHING_SHARE);
            published = Instant::now();
        }
        session.look_after_pending();
        session.look_after_state();
        if ticked.elapsed() >= TICK {
            session.switch.look_after_ports();
            session.switch.age();
            session.switch.look_after_peers();
            session.switch.watch_queues();
            session.look_at_pmds();
            log::tell_left_out();
            ticked = Instant::now();
        }
        session.history.tick(&session.switch);
    }
}

fn take(switch: &mut Switch, report: Report) {
    match report {
        Report::Learnt(learnt) => switch.learn(&learnt),
        Report::Vanished { port, errno } => switch.port_vanished(port, errno),
        Report::PathMtu => switch.publish_path_mtus(),
    }
}

fn handle(session: &mut Session, event: Event) {
    match event {
        // Whoever only wanted to see something does not wait for it any more.
        Event::Request { verb, reply, .. } if reply.is_closed() && role_of(&verb) == Some(Role::View) => {}
        Event::Request { verb, args, persist, peer, reply: to, place } => {
            let reply = session.serve(&verb, args, persist, &peer);
            let stream = session.stream.take();
            session.when_kept(move |warnings| {
                // Whoever asked may have gone.
                let _ = to.send(reply.map(|reply| Answer { reply, warnings, stream, place }));
            });
        }
        Event::Scrape { reply } => {
            let _ = reply.send(Metrics::read(&session.switch)); // as above
        }
        Event::Report(report) => take(&mut session.switch, report),
        Event::NextHops(hops) => session.switch.set_next_hops(hops),
        Event::Bfd(report) => session.switch.set_bfd(report),
        Event::Devices(changes) => session.switch.devices_changed(changes),
        Event::Opened { spec, outcome } => session.switch.port_opened(&spec, outcome),
        Event::Placed { ticket, placement, outcome } => {
            session.switch.port_placed(ticket, *placement, outcome);
            session.switch.settle_taps(false); // it may be wanted otherwise by now
        }
        Event::Reload => session.reload_by_signal(),
        Event::Stop => {}
    }
}

/// Passes the slow path's reports on. Learnt addresses may be lost when the control thread is behind: they are seen again.
/// False: there was no room.
pub fn reporter(events: Sender<Event>, reports: Sender<Report>) -> Box<dyn Fn(Report) -> bool + Send> {
    Box::new(move |report| match report {
        // What is known of paths is looked at again at every tick.
        Report::Learnt(_) | Report::PathMtu => reports.try_send(report).is_ok(),
        Report::Vanished { .. } => {
            // On a thread of its own: a full channel must not hold the slow path up.
            let events = events.clone();
            let sender = thread::Builder::new()
                .name("report".into())
                .spawn(move || events.send(Event::Report(report)));
            sender.is_ok()
        }
    })
}

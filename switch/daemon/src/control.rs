//! The control thread: the one owner of the [`Switch`]. Requests, reports of PMD threads, netlink and signals come to it
//! as events, one after the other; nothing else changes anything.

use std::{
    thread,
    time::{Duration, Instant},
};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use weft_ctl_api::serve;

use crate::{
    event::Event,
    server::Session,
    slowpath::thread::Report,
    switch::{Switch, TICK},
};

/// Learnt addresses wait for so long, so that many are published at once.
const LEARN_EVERY: Duration = Duration::from_millis(10);

/// Serves until stopped; returns the switch to be taken down.
pub fn run(switch: Switch, events: &Receiver<Event>) -> Switch {
    let mut session = Session::new(switch);
    let mut ticked = Instant::now();
    let mut published = Instant::now();
    loop {
        match events.recv_timeout(LEARN_EVERY.min(TICK)) {
            Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => return session.switch,
            Ok(event) => handle(&mut session, event),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if published.elapsed() >= LEARN_EVERY {
            session.switch.publish_learnt();
            published = Instant::now();
        }
        if ticked.elapsed() >= TICK {
            session.switch.check_devices();
            session.switch.age();
            session.switch.look_after_peers();
            ticked = Instant::now();
        }
    }
}

fn handle(session: &mut Session, event: Event) {
    match event {
        Event::Request { verb, args, peer, reply } => {
            let answer = serve(session, &verb, args);
            match &answer {
                Err(error) => tracing::info!(verb, peer, %error, "request refused"),
                Ok(_) => tracing::debug!(verb, peer, "request served"),
            }
            // Whoever asked may have gone.
            let _ = reply.send(answer);
        }
        Event::Report(Report::Learn(learn)) => session.switch.learn(learn),
        Event::Report(Report::Vanished { port, errno }) => session.switch.port_vanished(port, errno),
        Event::Report(Report::PathMtu { peer, mtu }) => session.switch.set_path_mtu(peer, mtu),
        Event::NextHops(hops) => session.switch.set_next_hops(hops),
        Event::Reload => match session.switch.reload() {
            Ok(()) => tracing::info!(generation = session.switch.generation(), "configuration reloaded"),
            Err(error) => tracing::error!(%error, "configuration not reloaded: nothing has changed"),
        },
        Event::Stop => {}
    }
}

/// Passes the slow path's reports on. Learnt addresses may be lost when the control thread is behind: they are seen again.
pub fn reporter(events: Sender<Event>) -> Box<dyn Fn(Report) + Send> {
    Box::new(move |report| match report {
        // A router says it again with the next packet that is too big.
        Report::Learn(_) | Report::PathMtu { .. } => {
            let _ = events.try_send(Event::Report(report));
        }
        Report::Vanished { .. } => {
            // On a thread of its own: a full channel must not hold the slow path up.
            let events = events.clone();
            let _ = thread::Builder::new()
                .name("report".into())
                .spawn(move || events.send(Event::Report(report)));
        }
    })
}

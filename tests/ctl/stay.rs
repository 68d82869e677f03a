//! Verbs that stay, and what ends them: a terminal that goes away, a reader that has seen enough, signals, a weftd that ends.

use std::{
    fs::File,
    io::Read,
    os::{fd::OwnedFd, unix::ffi::OsStrExt, unix::fs::OpenOptionsExt},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use weft_tests::{
    daemon::{Weftd, binary},
    netns::require_root,
};

use super::weftd;

/// Long enough that nothing is asked or printed meanwhile.
const LONG: &str = "300";
const VERBS: &[&[&str]] = &[
    &["top"],
    &["top", "--view", "flows", "--interval", "60"],
    &["stats", "--watch"],
    &["stats", "--watch", LONG],
    &["drops", "--watch", LONG],
    &["drops", "--last", "--watch", LONG],
    &["capture", "any"],
    &["--json", "capture", "drops"],
    &["capture", "any", "-w", "-"],
    &["trace", "--live", "--from", "sink", "--seconds", LONG],
];

/// At once, on a machine that has other things to do.
const AT_ONCE: Duration = Duration::from_secs(3);

fn weftctl(weftd: &Weftd, verb: &[&str]) -> Command {
    let mut command = Command::new(binary("weftctl"));
    command.arg("--socket").arg(weftd.socket()).args(verb);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A terminal: our end, and what a process has of it.
fn terminal() -> (OwnedFd, File) {
    const NOCTTY: i32 = 0o400; // open(2), O_NOCTTY
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
    grantpt(&ours).expect("ours");
    unlockpt(&ours).expect("ours");
    let name = ptsname(&ours, Vec::new()).expect("it has a name");
    let path = Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()));
    let theirs = File::options().read(true).write(true).custom_flags(NOCTTY).open(path).expect("it is there");
    (ours, theirs)
}

fn on(terminal: &File, command: &mut Command) -> Child {
    let end = || Stdio::from(terminal.try_clone().expect("a descriptor"));
    command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("weftctl runs")
}

/// Time for it to get to where it stays.
fn settle(verb: &[&str], child: &mut Child) {
    thread::sleep(Duration::from_millis(700));
    let ended = child.try_wait().expect("it was started");
    assert!(ended.is_none(), "{verb:?} does not stay: {ended:?}");
}

/// All of them but those that take a terminal.
fn verbs() -> impl Iterator<Item = &'static [&'static str]> {
    VERBS.iter().copied().filter(|verb| verb[0] != "top")
}

fn start_all(weftd: &Weftd) -> Vec<(&'static [&'static str], Child)> {
    let start = |verb| (verb, weftctl(weftd, verb).spawn().expect("weftctl runs"));
    let mut children: Vec<_> = verbs().map(start).collect();
    thread::sleep(Duration::from_millis(1500));
    children.iter_mut().for_each(|(verb, child)| settle(verb, child));
    children
}

fn kill(signal: &str, child: &Child) {
    weft_tests::netns::must(&["kill", signal, &child.id().to_string()]);
}

#[track_caller]
fn end_of(verb: &[&str], child: &mut Child, since: Instant) -> ExitStatus {
    loop {
        if let Some(status) = child.try_wait().expect("it was started") {
            return status;
        }
        if since.elapsed() > AT_ONCE {
            child.kill().expect("it runs");
            child.wait().expect("it ends");
            panic!("{verb:?} does not end");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_terminal_that_goes_away_ends_them() {
    if !require_root() {
        return;
    }
    let (_node, weftd) = weftd();
    for verb in VERBS {
        let (ours, theirs) = terminal();
        let mut child = on(&theirs, &mut weftctl(&weftd, verb));
        drop(theirs);
        settle(verb, &mut child);
        drop(ours);
        let status = end_of(verb, &mut child, Instant::now());
        assert_eq!(status.code(), Some(129), "{verb:?}");
    }
}

#[test]
fn top_leaves_the_terminal_as_it_was_whatever_ends_it() {
    if !require_root() {
        return;
    }
    let (_node, mut weftd) = weftd();
    for (signal, code) in [("-TERM", 143), ("-INT", 130), ("-HUP", 129), ("weftd", 1)] {
        let (ours, theirs) = terminal();
        let mut child = on(&theirs, &mut weftctl(&weftd, &["top"]));
        let (said, heard) = mpsc::channel();
        let mut ours = File::from(ours);
        thread::spawn(move || {
            let mut text = Vec::new();
            let mut part = [0; 4096];
            // EIO: nobody has the other end any more.
            while let Ok(len @ 1..) = ours.read(&mut part) {
                text.extend_from_slice(&part[..len]);
            }
            said.send(String::from_utf8_lossy(&text).into_owned()).expect("heard");
        });
        settle(&["top"], &mut child);
        match signal {
            "weftd" => weftd.kill(),
            signal => kill(signal, &child),
        }
        let status = end_of(&["top"], &mut child, Instant::now());
        drop(theirs);
        assert_eq!(status.code(), Some(code), "{signal}");
        let text = heard.recv_timeout(AT_ONCE).expect("the terminal's text");
        let last = text.rfind("\u{1b}[?1049l").unwrap_or_else(|| panic!("{signal}: {text:?}"));
        assert!(text.rfind("\u{1b}[?1049h").is_some_and(|first| first < last), "{signal}: {text:?}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_ends_them_also_while_they_are_silent() {
    if !require_root() {
        return;
    }
    let (_node, weftd) = weftd();
    for verb in verbs() {
        let mut child = weftctl(&weftd, verb).stdout(Stdio::piped()).spawn().expect("weftctl runs");
        settle(verb, &mut child);
        drop(child.stdout.take());
        let status = end_of(verb, &mut child, Instant::now());
        assert_eq!(status.code(), Some(0), "{verb:?}");
    }
}

#[test]
fn signals_end_them_and_are_the_exit_code() {
    if !require_root() {
        return;
    }
    let (_node, weftd) = weftd();
    for (signal, code) in [("-TERM", 143), ("-HUP", 129), ("-INT", 130)] {
        weftd.wait_for("no trace", |weftd| {
            weftd.ctl(&["trace", "--live", "--from", "sink", "--seconds", "1"]).status.success()
        });
        for (verb, child) in &mut start_all(&weftd) {
            kill(signal, child);
            let status = end_of(verb, child, Instant::now());
            // Ctrl-C is how one ends a capture.
            let is_ordinary = signal == "-INT" && verb.contains(&"capture");
            assert_eq!(status.code(), Some(if is_ordinary { 0 } else { code }), "{signal} {verb:?}");
        }
    }
}

#[test]
fn what_is_to_outlive_the_terminal_does() {
    if !require_root() {
        return;
    }
    let (_node, weftd) = weftd();
    let verb = ["stats", "--watch", LONG];
    let mut command = weftctl(&weftd, &verb);
    let mut nohup = Command::new("nohup");
    nohup.arg(command.get_program()).args(command.get_args());
    command = nohup;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("nohup runs");
    settle(&verb, &mut child);
    kill("-HUP", &child);
    settle(&verb, &mut child);
    kill("-TERM", &child);
    assert_eq!(end_of(&verb, &mut child, Instant::now()).code(), Some(143));
}

#[test]
fn a_weftd_that_ends_ends_them() {
    if !require_root() {
        return;
    }
    let (_node, mut weftd) = weftd();
    let mut children = start_all(&weftd);
    weftd.kill();
    let since = Instant::now();
    for (verb, child) in &mut children {
        assert_eq!(end_of(verb, child, since).code(), Some(1), "{verb:?}");
    }
}

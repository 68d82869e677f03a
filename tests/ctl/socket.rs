//! Who may use the socket, and how; what nobody should send.

use std::{
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    time::{Duration, Instant},
};

use weft_tests::{
    daemon::Weftd,
    netns::{NetNs, require_root},
};

use super::{CONFIG, weftd};

/// Sends bytes, closes, and returns what comes back.
fn send(weftd: &Weftd, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(weftd.socket()).expect("the socket listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    stream.write_all(bytes).expect("it takes what it is sent");
    stream.shutdown(std::net::Shutdown::Write).expect("half-closed");
    let mut answer = Vec::new();
    // What was answered comes first; bytes that weftd did not care to read then reset the connection.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn framed(json: &str) -> Vec<u8> {
    [&(json.len() as u32).to_be_bytes(), json.as_bytes()].concat()
}

#[test]
fn garbage_harms_nobody() {
    if !require_root() {
        return;
    }
    let (_node, weftd) = weftd();
    let huge = [&u32::MAX.to_be_bytes()[..], &[b'x'; 1000]].concat();
    for (bytes, says) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "bad_request"),
        (huge, "are allowed"),
        (framed("not json"), "can't be read"),
        (framed("{}"), "can't be read"),
        (framed(r#"{"version":1,"verb":"port list","args":{},"more":1}"#), "can't be read"),
        (framed(r#"{"version":9,"verb":"port list","args":{}}"#), "protocol version 9"),
        (framed(r#"{"version":1,"verb":"reboot","args":{}}"#), "there is no verb"),
        (framed(r#"{"version":1,"verb":"port del","args":{"name":7}}"#), "can't be read"),
        (framed(r#"{"version":1,"verb":"port list","args":{"prot":"x"}}"#), "unknown field `prot`"),
        (
            framed(r#"{"version":1,"verb":"port del","args":{"name":"sink","froce":true}}"#),
            "unknown field `froce`",
        ),
        (
            framed(&format!(
                r#"{{"version":1,"verb":"port list","args":{}1{}}}"#,
                "[".repeat(5000),
                "]".repeat(5000)
            )),
            "can't be read",
        ),
        (framed("half a request")[..8].to_vec(), "half a request"),
        (vec![0], "half a request"),
        (Vec::new(), ""),
    ] {
        let answer = send(&weftd, &bytes);
        assert!(
            answer.contains(says),
            "{:?}: {answer}",
            String::from_utf8_lossy(&bytes[..bytes.len().min(60)])
        );
    }
    assert_eq!(weftd.json(&["status"])["ports"], 2);
}

#[test]
fn clients_that_hang_or_crowd_do_not_hold_others_up() {
    if !require_root() {
        return;
    }
    let (_node, weftd) = weftd();
    // Half a request each, never ended; and one that asks and never reads.
    let hanging: Vec<UnixStream> = (0..50)
        .map(|_| {
            let mut stream = UnixStream::connect(weftd.socket()).expect("the socket listens");
            stream.write_all(&[0, 0]).expect("two bytes");
            stream
        })
        .collect();
    let mut deaf = UnixStream::connect(weftd.socket()).expect("the socket listens");
    deaf.set_write_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    let ask = framed(r#"{"version":1,"verb":"flow cache","args":{"limit":100000}}"#);
    while deaf.write_all(&ask).is_ok() {}
    let began = Instant::now();
    weftd.must(&["status"]);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    // Those who hang are let go after their time.
    for mut stream in hanging {
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("closed by weftd");
        assert!(String::from_utf8_lossy(&answer).contains("did not end in time"));
    }
}

#[test]
fn more_silent_clients_than_there_is_room_for_lock_nobody_out() {
    if !require_root() {
        return;
    }
    let (_node, weftd) = weftd();
    let connect = || UnixStream::connect(weftd.socket()).expect("the socket listens");
    let mut first = connect();
    let silent: Vec<UnixStream> = (0..200).map(|_| connect()).collect();
    let began = Instant::now();
    weftd.must(&["status"]);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    // Room was made by those silent longest.
    first.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout");
    assert_eq!(first.read(&mut [0]).expect("closed by weftd"), 0);
    drop(silent);
}

#[test]
fn a_crowd_of_one_user_takes_no_room_from_others() {
    if !require_root() {
        return;
    }
    for roles in ["", "[roles]\nview = [\"65534\"]\n"] {
        let node = NetNs::new("ctl");
        let weftd = Weftd::start(&node, &format!("{roles}{CONFIG}"));
        crowd(&node, &weftd);
    }
}

/// Many connections of nobody's, who has a role or none, beside one of root's.
fn crowd(node: &NetNs, weftd: &Weftd) {
    std::fs::set_permissions(weftd.socket(), std::fs::Permissions::from_mode(0o666)).expect("root may");
    let dir = weftd.socket().parent().map(std::path::Path::to_owned).expect("a directory");
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).expect("root may");
    let mut own = UnixStream::connect(weftd.socket()).expect("the socket listens");
    // perl-base is on every Debian, where anybody may run it.
    let crowd = "use IO::Socket::UNIX; @s = map { IO::Socket::UNIX->new(Peer => $ARGV[0]) } 1..200; \
                 open(F, '>', $ARGV[1]); sleep 30";
    let socket = weftd.socket().display().to_string();
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o777)).expect("root may");
    let ready = dir.join("ready");
    let there = ready.display().to_string();
    let crowd = node.spawn(&[
        "setpriv",
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        "/usr/bin/perl",
        "-e",
        crowd,
        &socket,
        &there,
    ]);
    let until = Instant::now() + Duration::from_secs(20);
    while !ready.exists() {
        assert!(Instant::now() < until, "the crowd does not come");
        std::thread::sleep(Duration::from_millis(20));
    }
    own.write_all(&framed(r#"{"version":1,"verb":"status","args":{}}"#)).expect("still connected");
    own.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout");
    assert_eq!(own.read(&mut [0]).expect("an answer"), 1);
    weftd.must(&["status"]);
    drop(crowd);
}

#[test]
fn a_group_may_use_the_socket_and_nobody_else() {
    if !require_root() {
        return;
    }
    let node = NetNs::new("ctl");
    let config = CONFIG.replace("control = \"CONTROL\"", "control = \"CONTROL\"\ncontrol_group = \"daemon\"");
    let mut weftd = Weftd::start(&node, &config);
    // The file's mode is others' to change; who may is not.
    std::fs::set_permissions(weftd.socket(), std::fs::Permissions::from_mode(0o666)).expect("root may");
    let dir = weftd.socket().parent().map(std::path::Path::to_owned).expect("a directory");
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).expect("root may");
    let weftctl = dir.join("weftctl");
    std::fs::copy(weft_tests::daemon::binary("weftctl"), &weftctl).expect("a copy that anybody may run");
    let as_nobody = |groups: &[&str]| {
        let (weftctl, socket) = (weftctl.display().to_string(), weftd.socket().display().to_string());
        let user = [&["setpriv", "--reuid", "65534"], groups].concat();
        let output =
            node.run(&[&user[..], &[weftctl.as_str(), "--socket", socket.as_str(), "status"]].concat());
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for member in [&["--regid", "1", "--clear-groups"][..], &["--regid", "65534", "--groups", "1,65534"]] {
        let (may, said) = as_nobody(member);
        assert!(may, "{member:?}: {said}");
    }
    let (may, said) = as_nobody(&["--regid", "65534", "--clear-groups"]);
    assert!(!may && said.contains("a member of the group"), "{said}");
    weftd.write(&config.replace("\"daemon\"", "\"root\""));
    let output = weftd.ctl(&["config", "reload"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("node.control_group"), "{said}");
    weftd.stop();
}

#[test]
fn what_is_no_socket_of_a_dead_weftd_is_left_alone() {
    if !require_root() {
        return;
    }
    let node = NetNs::new("ctl");
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("precious");
    std::fs::write(&path, "data").expect("writable");
    let config = dir.path().join("weft.toml");
    std::fs::write(&config, CONFIG.replace("CONTROL", &path.display().to_string())).expect("writable");
    let weftd = weft_tests::daemon::binary("weftd");
    let output = node.run(&[weftd.to_str().expect("a path"), "--config", config.to_str().expect("a path")]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("node.control") && said.contains("is no socket"),
        "{said}"
    );
    assert_eq!(std::fs::read(&path).expect("it is there"), b"data");
    // What a killed weftd leaves behind is nobody's.
    let mut killed = Weftd::start(&node, CONFIG);
    killed.kill();
    assert!(killed.socket().exists());
    killed.run();
    killed.must(&["status"]);
}

#[test]
fn only_those_who_may_can_use_the_socket() {
    if !require_root() {
        return;
    }
    let (node, weftd) = weftd();
    let mode = std::fs::metadata(weftd.socket()).expect("the socket is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Even where the file's mode lets them, others are told no (SO_PEERCRED).
    std::fs::set_permissions(weftd.socket(), std::fs::Permissions::from_mode(0o666)).expect("root may");
    let dir = weftd.socket().parent().map(std::path::Path::to_owned).expect("a directory");
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).expect("root may");
    let weftctl = dir.join("weftctl");
    std::fs::copy(weft_tests::daemon::binary("weftctl"), &weftctl).expect("a copy that nobody may run");
    let nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups";
    let socket = weftd.socket().display().to_string();
    let command = format!("{nobody} {} --socket {socket} status", weftctl.display());
    let output = node.run(&["sh", "-c", &command]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("user 65534 may not control weftd"), "{text}");
}

#[test]
fn a_second_weftd_on_the_same_socket_is_refused() {
    if !require_root() {
        return;
    }
    let (node, weftd) = weftd();
    let second = node.run(&[
        weft_tests::daemon::binary("weftd").to_str().expect("a path"),
        "--config",
        weftd.config().to_str().expect("a path"),
    ]);
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && text.contains("another weftd listens"), "{text}");
    weftd.must(&["status"]);
}

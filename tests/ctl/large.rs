//! Large configurations: who reads them holds nobody up.

use std::{
    fmt::Write as _,
    io::{Read, Write},
    os::unix::net::UnixStream,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use weft_tests::{
    daemon::Weftd,
    netns::{NetNs, require_root},
};

use super::CONFIG;

/// So many rules take a while to write down.
const RULES: usize = 8_000;

struct Client(UnixStream);

impl Client {
    fn connect(weftd: &Weftd) -> Self {
        let stream = UnixStream::connect(weftd.socket()).expect("the socket listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        Self(stream)
    }

    fn ask(&mut self, verb: &str) {
        let json = format!(r#"{{"version":1,"verb":"{verb}","args":{{}}}}"#);
        let framed = [&(json.len() as u32).to_be_bytes(), json.as_bytes()].concat();
        self.0.write_all(&framed).expect("it listens");
    }

    fn answer(&mut self) -> Value {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).expect("an answer");
        let mut json = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut json).expect("an answer");
        serde_json::from_slice(&json).expect("JSON")
    }
}

#[test]
fn who_reads_a_large_configuration_holds_nobody_up() {
    if !require_root() {
        return;
    }
    let mut config = CONFIG.to_owned();
    for rule in 0..RULES {
        let (priority, port) = (rule % 60_000, 1 + rule);
        writeln!(
            config,
            "[[flow]]\nname = \"r{rule}\"\npriority = {priority}\nmatch = {{ protocol = \"tcp\", dst_port = {port} }}\n\
             actions = [\"drop\"]"
        )
        .expect("a String takes all");
    }
    let node = NetNs::new("ctl");
    let weftd = Weftd::start(&node, &config);
    let mut other = Client::connect(&weftd);
    let time_of = |client: &mut Client, verb: &str| {
        let began = Instant::now();
        client.ask(verb);
        assert!(client.answer()["ok"].is_object(), "{verb}");
        began.elapsed()
    };
    time_of(&mut other, "status"); // who has said nothing yet is let go soon
    for verb in ["config show", "config diff", "flow list"] {
        let alone = time_of(&mut Client::connect(&weftd), verb);
        let read = |mut reader: Client| {
            reader.ask(verb);
            thread::spawn(move || reader.answer()["ok"].is_object())
        };
        let readers: Vec<_> = (0..4).map(|_| read(Client::connect(&weftd))).collect();
        let (mut longest, mut count) = (Duration::ZERO, 0);
        while readers.iter().any(|reader| !reader.is_finished()) {
            longest = longest.max(time_of(&mut other, "status"));
            count += 1;
        }
        // Made by turns, each would have been waited for.
        assert!(longest < alone.max(Duration::from_millis(300)), "{verb}: {longest:?}, {alone:?}");
        assert!(count > 2, "{verb}: {count} answers meanwhile");
        for reader in readers {
            assert!(reader.join().expect("it does not panic"), "{verb}");
        }
    }
}

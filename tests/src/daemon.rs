//! The real weftd, driven by the real weftctl.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread::sleep,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::netns::{NetNs, Running};

/// Where `weftd` and `weftctl` are: `WEFT_BIN_DIR`, or beside this test.
pub fn binary(name: &str) -> PathBuf {
    let beside = || {
        let exe = std::env::current_exe().expect("a test has a path");
        exe.ancestors().nth(2).map(Path::to_owned).unwrap_or_default()
    };
    let path = std::env::var_os("WEFT_BIN_DIR").map_or_else(beside, PathBuf::from).join(name);
    assert!(path.exists(), "{} is not built: cargo build -p {name}", path.display());
    path
}

/// A running weftd; killed when dropped.
pub struct Weftd {
    dir: TempDir,
    running: Option<Running>,
    node: String,
}

impl Weftd {
    /// Starts it in the node's namespace and waits until it answers. The configuration's `node.control` must be
    /// `CONTROL`, which becomes a path of this test's own.
    pub fn start(node: &NetNs, config: &str) -> Self {
        let mut weftd = Self::prepare(node, config);
        weftd.run();
        weftd
    }

    /// The same without starting it.
    pub fn prepare(node: &NetNs, config: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let weftd = Self { dir, running: None, node: node.name().to_owned() };
        weftd.write(config);
        weftd
    }

    /// Writes another configuration, for a reload or a restart.
    pub fn write(&self, config: &str) {
        std::fs::write(self.config(), self.own(config)).expect("the temporary directory is writable");
    }

    /// A configuration with this test's own paths in it.
    pub fn own(&self, config: &str) -> String {
        let state = format!("control = \"CONTROL\"\nstate = \"{}\"", self.state().display());
        let config = config.replace("control = \"CONTROL\"", &state);
        config.replace("CONTROL", &self.socket().display().to_string())
    }

    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("weft.toml")
    }

    /// Its control socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("control.sock")
    }

    /// Its state directory.
    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Starts it (again).
    pub fn run(&mut self) {
        self.spawn(&[]);
        self.await_answer();
    }

    /// Starts it with an environment, and does not wait.
    pub fn spawn(&mut self, environment: &[(&str, &str)]) {
        let log =
            File::options().create(true).append(true).open(self.dir.path().join("log")).expect("a log file");
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.node]).arg(binary("weftd")).arg("--config").arg(self.config());
        command.envs(environment.iter().copied());
        let child = command.stderr(log).spawn().expect("ip netns exec");
        self.running = Some(Running::from(child));
    }

    /// Waits until it answers.
    pub fn await_answer(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.ctl(&["status"]).status.success() {
            let ended = self
                .running
                .as_mut()
                .is_some_and(|running| running.child().try_wait().is_ok_and(|s| s.is_some()));
            assert!(!ended && Instant::now() < deadline, "weftd does not answer:\n{}", self.log());
            sleep(Duration::from_millis(20));
        }
    }

    /// Runs weftctl.
    pub fn ctl(&self, args: &[&str]) -> Output {
        let mut command = Command::new(binary("weftctl"));
        command.arg("--socket").arg(self.socket()).args(args).output().expect("weftctl runs")
    }

    /// Runs weftctl, which must succeed; its output.
    #[track_caller]
    pub fn must(&self, args: &[&str]) -> String {
        let output = self.ctl(args);
        assert!(
            output.status.success(),
            "weftctl {args:?}: {}\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.log()
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs `weftctl --json`, which must succeed.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.must(&[&["--json"], args].concat())).expect("weftctl --json prints JSON")
    }

    /// Its process id.
    pub fn pid(&mut self) -> u32 {
        // `ip netns exec` replaces itself by the command it runs.
        self.running.as_mut().expect("it runs").child().id()
    }

    /// SIGHUP.
    pub fn reload(&mut self) {
        crate::netns::must(&["kill", "-HUP", &self.pid().to_string()]);
    }

    /// SIGTERM; it must end well, and soon.
    pub fn stop(&mut self) {
        let began = Instant::now();
        let output = self.running.take().expect("it runs").signal("-TERM");
        assert!(output.status.success(), "weftd ended with {}:\n{}", output.status, self.log());
        assert!(began.elapsed() < Duration::from_secs(5), "weftd took {:?} to end", began.elapsed());
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.running.as_mut().is_none_or(|running| running.child().try_wait().is_ok_and(|s| s.is_some()))
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.running.take().expect("it runs").signal("-KILL");
    }

    /// Waits until `condition` holds, 10 s at most.
    #[track_caller]
    pub fn wait_for(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !condition(self) {
            assert!(Instant::now() < deadline, "{what} does not come about:\n{}", self.log());
            sleep(Duration::from_millis(20));
        }
    }

    /// Drops at a port for a reason.
    pub fn drops(&self, port: &str, reason: &str) -> u64 {
        let drops = self.json(&["drops", port]);
        let rows = drops["drops"].as_array().expect("a list");
        rows.iter().filter(|row| row["reason"] == reason).filter_map(|row| row["packets"].as_u64()).sum()
    }
}

impl Drop for Weftd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("weftd's log:\n{}", self.log());
        }
        if let Some(running) = self.running.take() {
            drop(running);
        }
    }
}

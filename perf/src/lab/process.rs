//! Commands that must succeed, and processes that run until they are dropped.

use std::{
    env,
    fs::File,
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use super::{Error, interrupt, tail};

const STEP: Duration = Duration::from_millis(10);
/// For commands that are not meant to take any time.
const SOON: Duration = Duration::from_secs(30);

/// Runs a command that must succeed; its standard output.
pub fn output(arguments: &[&str]) -> Result<String, Error> {
    let mut command = Command::new(arguments[0]);
    output_of(command.args(&arguments[1..]), None, SOON)
}

/// Whether a command succeeds.
pub fn succeeds(arguments: &[&str]) -> Result<bool, Error> {
    match output(arguments) {
        Ok(_) => Ok(true),
        Err(Error::Failed { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Runs a command, with this input, that must succeed within a time; its standard output.
pub fn output_of(command: &mut Command, input: Option<&str>, limit: Duration) -> Result<String, Error> {
    // Files, unlike pipes, never fill up, and need nobody to read them meanwhile.
    let temporary = || tempfile::tempfile().map_err(Error::io("a temporary file"));
    let (mut out, mut err) = (temporary()?, temporary()?);
    let mut stdin = temporary()?;
    let prepared = stdin.write_all(input.unwrap_or_default().as_bytes()).and_then(|()| stdin.rewind());
    prepared.map_err(Error::io("a temporary file"))?;
    command.stdin(stdin).stdout(share(&out)?).stderr(share(&err)?);
    let words = words(command);
    let child = command.spawn().map_err(Error::io(&words))?;
    let mut running = Running { child, words: words.clone(), log: None };
    let status = running.wait(limit)?;
    let said = read(&mut out)?;
    if status.success() {
        return Ok(said);
    }
    // iperf3 and others report errors on standard output.
    let said = tail(&(said + "\n" + &read(&mut err)?));
    Err(Error::Failed { command: words, status: status.to_string(), said })
}

fn share(file: &File) -> Result<File, Error> {
    file.try_clone().map_err(Error::io("a temporary file"))
}

fn read(file: &mut File) -> Result<String, Error> {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).map_err(Error::io("a temporary file"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn words(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// A running program; ended when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    words: String,
    log: Option<PathBuf>,
}

impl Running {
    /// Starts it; what it prints goes to a file.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self, Error> {
        let file = File::create(log).map_err(Error::file(log))?;
        command.stdout(share(&file)?).stderr(file);
        let words = words(command);
        let child = command.spawn().map_err(Error::io(&words))?;
        Ok(Self { child, words, log: Some(log.to_owned()) })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub fn said(&self) -> String {
        let log = self.log.as_deref().map(std::fs::read).and_then(Result::ok).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Writes to its standard input, which must be a pipe.
    pub fn tell(&mut self, line: &str) -> Result<(), Error> {
        let told = self.child.stdin.as_mut().map_or(Ok(()), |stdin| writeln!(stdin, "{line}"));
        told.map_err(Error::io(&self.words))
    }

    /// Waits for its end; it is ended if that takes too long.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus, Error> {
        let deadline = Instant::now() + limit;
        loop {
            interrupt::check()?;
            if let Some(status) = self.child.try_wait().map_err(Error::io(&self.words))? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                return Err(self.late(&format!("the end of `{}`", self.words), limit));
            }
            sleep(STEP);
        }
    }

    /// Waits until a condition holds; fails if the program ends before, or if that takes too long.
    pub fn until(
        &mut self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut(&Self) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let deadline = Instant::now() + limit;
        while !condition(self)? {
            if let Some(status) = self.child.try_wait().map_err(Error::io(&self.words))? {
                let (command, said) = (self.words.clone(), tail(&self.said()));
                return Err(Error::Failed { command, status: status.to_string(), said });
            }
            if Instant::now() > deadline {
                return Err(self.late(what, limit));
            }
            interrupt::pause(STEP)?;
        }
        Ok(())
    }

    fn late(&self, what: &str, limit: Duration) -> Error {
        let said = tail(&self.said());
        let said = if said.is_empty() { said } else { format!(": {said}") };
        Error::Late { what: what.to_owned(), limit, said }
    }

    fn ends_within(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            sleep(STEP);
        }
        false
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        // SIGTERM first: a switch detaches its XDP programs. Without kill(1), SIGKILL must do.
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).stderr(Stdio::null()).status();
        if !self.ends_within(Duration::from_secs(5)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Where a program is: below `WEFT_BIN_DIR` or beside this one for weft's own, else in PATH.
pub fn find(program: &str) -> Option<PathBuf> {
    let own = env::var_os("WEFT_BIN_DIR").map(PathBuf::from);
    let beside = || env::current_exe().ok()?.parent().map(Path::to_owned);
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = Vec::new();
    if program.starts_with("weft") {
        folders.extend(own.or_else(beside));
    }
    folders.extend(env::split_paths(&path));
    folders.extend(["/usr/sbin", "/usr/lib/openvswitch-switch-dpdk"].map(PathBuf::from));
    folders.into_iter().map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Where a program is, or how to get it.
pub fn present(program: &str, package: &str) -> Result<PathBuf, Error> {
    let remedy = if program.starts_with("weft") {
        format!("cargo build --release -p {package}, or set WEFT_BIN_DIR")
    } else {
        format!("apt-get install {package}")
    };
    find(program).ok_or_else(|| Error::Absent { program: program.to_owned(), remedy })
}

/// Keeps this thread on one core.
pub fn pin(cpu: usize) -> Result<(), Error> {
    if core_affinity::set_for_current(core_affinity::CoreId { id: cpu }) {
        return Ok(());
    }
    Err(Error::Usage(format!("--cpu {cpu}: this process may not run there; choose another core")))
}

/// This program.
pub fn myself() -> Result<String, Error> {
    let path = env::current_exe().map_err(Error::io("this program's path"))?;
    Ok(path.display().to_string())
}

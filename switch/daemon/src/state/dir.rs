//! A directory, held open: what is done in it is done in this one, whatever is put at its path meanwhile, and no link leads out of
//! it (openat(2), O_NOFOLLOW).

use std::{
    ffi::{OsStr, OsString},
    fs::{self, DirBuilder, File, Metadata},
    hash::{BuildHasher, RandomState},
    io::{self, Read},
    os::{
        fd::OwnedFd,
        unix::{
            ffi::OsStrExt,
            fs::{DirBuilderExt, MetadataExt},
        },
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, renameat, unlinkat},
    io::Errno,
};

/// For its owner alone.
const PRIVATE: Mode = Mode::from_raw_mode(0o600);
/// What the names of unfinished files have in the middle.
const UNFINISHED: &str = ".new.";

/// An open directory.
#[derive(Debug, Clone)]
pub struct Dir {
    fd: Arc<OwnedFd>,
    path: PathBuf,
}

/// Our own user, or the superuser, who may do everything anyway.
pub(crate) fn is_ours(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

fn refused(problem: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, problem.into())
}

/// Only our own user, or root, has made it and may change it.
fn must_be_ours(meta: &Metadata) -> io::Result<()> {
    if !is_ours(meta.uid()) {
        return Err(refused(format!("it belongs to user {}, not to weftd", meta.uid())));
    }
    if meta.mode() & 0o022 != 0 {
        let mode = meta.mode() & 0o7777;
        return Err(refused(format!("its mode is {mode:04o}: others than weftd may write to it")));
    }
    Ok(())
}

impl Dir {
    /// Opens a directory of weftd's own, making it if need be (for its owner alone). One that is somebody else's, that others may
    /// write to, or that is only linked to is refused, and stays as it is; so is one that holds something else than the files
    /// that are `known`.
    pub(super) fn open_own(path: &Path, known: &[&str]) -> io::Result<Self> {
        let path: PathBuf = path.components().collect(); // a slash at the end would follow a link
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
        }
        let dir = Self::make(CWD, path.as_os_str(), &path)?;
        let is_new = !dir.names()?.iter().any(|name| name == known[0]);
        let strange = |name: &&OsString| !known.iter().any(|known| name.as_os_str() == *known);
        match dir.names()?.iter().filter(|name| !is_unfinished(name)).find(strange) {
            Some(name) if is_new => Err(refused(format!(
                "it has not been weftd's, and there is something else in it ({}); name an empty directory, or one that weftd \
                 can make",
                name.display()
            ))),
            _ => Ok(dir),
        }
    }

    /// The directory that a file is in, whosever it is.
    pub fn of_file(place: &Path) -> io::Result<(Self, OsString)> {
        let name = place.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::IsADirectory))?;
        let parent = place.parent().filter(|parent| !parent.as_os_str().is_empty());
        let path = parent.unwrap_or(Path::new(".")).to_owned();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat(CWD, &path, flags, Mode::empty())?;
        Ok((Self { fd: Arc::new(fd), path }, name.to_owned()))
    }

    /// A directory of weftd's own in this one, made if need be.
    pub(super) fn make_own(&self, name: &str) -> io::Result<Self> {
        Self::make(&*self.fd, OsStr::new(name), &self.path.join(name))
    }

    /// A directory of weftd's own in this one.
    pub(super) fn own(&self, name: &str) -> io::Result<Self> {
        Self::existing(&*self.fd, OsStr::new(name), &self.path.join(name))
    }

    fn make(at: impl rustix::fd::AsFd + Copy, name: &OsStr, path: &Path) -> io::Result<Self> {
        match mkdirat(at, name, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        Self::existing(at, name, path)
    }

    fn existing(at: impl rustix::fd::AsFd, name: &OsStr, path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(at, name, flags, Mode::empty()).map_err(|error| match error {
            Errno::LOOP | Errno::NOTDIR if path.is_symlink() => {
                refused("it is a symbolic link; name the directory itself")
            }
            error => error.into(),
        })?;
        let dir = Self { fd: Arc::new(fd), path: path.to_owned() };
        must_be_ours(&dir.metadata()?)?;
        Ok(dir)
    }

    fn metadata(&self) -> io::Result<Metadata> {
        File::from(self.fd.try_clone()?).metadata()
    }

    /// Where it was found.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is written to a directory that is not at its place any more would not be found again.
    fn must_be_in_place(&self) -> io::Result<()> {
        let (here, there) = (self.metadata()?, fs::metadata(&self.path)?);
        if (here.dev(), here.ino()) == (there.dev(), there.ino()) {
            return Ok(());
        }
        Err(refused(format!("{} was moved or replaced while weftd ran; restart weftd", self.path.display())))
    }

    fn open(&self, name: &OsStr, flags: OFlags) -> io::Result<File> {
        // O_NONBLOCK: neither a FIFO nor a device holds anybody up.
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = openat(&*self.fd, name, flags, PRIVATE).map_err(|error| match error {
            Errno::LOOP => refused("it is a symbolic link"),
            error => error.into(),
        })?;
        Ok(fd.into())
    }

    /// Opens a file of weftd's own.
    fn open_own_file(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let file = self.open(OsStr::new(name), flags)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
        }
        must_be_ours(&meta)?;
        if meta.nlink() > 1 {
            return Err(refused("it has another name elsewhere (a hard link)"));
        }
        Ok(file)
    }

    /// Reads a file of weftd's own, of `most` bytes at most; none: there is none.
    pub(crate) fn read(&self, name: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
        let file = match self.open_own_file(name, OFlags::RDONLY) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            outcome => outcome?,
        };
        let mut bytes = Vec::new();
        file.take(most + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it is longer than {most} bytes"),
            ));
        }
        Ok(Some(bytes))
    }

    /// A file of weftd's own to be locked, made if need be; for reading only where the file system is.
    pub(super) fn open_lock(&self, name: &str) -> io::Result<(File, bool)> {
        match self.open_own_file(name, OFlags::RDWR | OFlags::CREATE) {
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                self.open_own_file(name, OFlags::RDONLY).map(|file| (file, false)).map_err(|_| error)
            }
            outcome => outcome.map(|file| (file, true)),
        }
    }

    /// A file of weftd's own to be written to at its end, made if need be.
    pub(crate) fn append(&self, name: &str) -> io::Result<File> {
        self.must_be_in_place()?;
        self.open_own_file(name, OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE)
    }

    /// Makes a file beside the place of `name`, under a name that nobody foresees and nobody else has made.
    pub(super) fn create_beside(&self, name: &OsStr) -> io::Result<(File, OsString)> {
        const TRIES: usize = 8;
        self.must_be_in_place()?;
        let mut error = Errno::EXIST.into();
        for _ in 0..TRIES {
            let mut temporary = name.to_owned();
            temporary.push(format!("{UNFINISHED}{:016x}", RandomState::new().hash_one(std::process::id())));
            match self.open(&temporary, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL) {
                Ok(file) => return Ok((file, temporary)),
                Err(refusal) => error = refusal,
            }
            if error.kind() != io::ErrorKind::AlreadyExists {
                break;
            }
        }
        Err(error)
    }

    /// Gives a file another name, that of one that is there included.
    pub(crate) fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(renameat(&*self.fd, from, &*self.fd, to)?)
    }

    /// Removes a file; says whether there was one.
    pub(super) fn remove(&self, name: &OsStr) -> io::Result<bool> {
        match unlinkat(&*self.fd, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes names in it last.
    pub(super) fn flush(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&*self.fd)?)
    }

    /// What is in it.
    pub(super) fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&*self.fd)? {
            let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Removes what a weftd that was killed had begun to write.
    pub(super) fn remove_unfinished(&self) {
        for name in self.names().unwrap_or_default().iter().filter(|name| is_unfinished(name)) {
            let _ = self.remove(name); // it takes room, and nothing else
        }
    }
}

fn is_unfinished(name: &OsStr) -> bool {
    name.to_string_lossy().contains(UNFINISHED)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    const KNOWN: &[&str] = &["lock", "other"];

    fn refusal(path: &Path) -> String {
        Dir::open_own(path, KNOWN).expect_err("refused").to_string()
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").mode() & 0o7777
    }

    #[test]
    fn only_a_directory_of_our_own_is_taken_and_none_is_changed() {
        let at = tempfile::tempdir().expect("a directory");
        let at = at.path();
        Dir::open_own(&at.join("deep/new"), KNOWN).expect("made");
        assert_eq!((mode(&at.join("deep")) & 0o022, mode(&at.join("deep/new"))), (0, 0o700));
        for open in [0o1777, 0o775, 0o707] {
            let dir = at.join(format!("open{open:o}"));
            fs::create_dir(&dir).expect("writable");
            fs::set_permissions(&dir, fs::Permissions::from_mode(open)).expect("ours");
            assert!(refusal(&dir).contains("others than weftd may write to it"));
            assert_eq!(mode(&dir), open, "it stays as it was");
            symlink(&dir, at.join(format!("link{open:o}"))).expect("writable");
        }
        for link in ["link775", "link775/", "link775/."] {
            assert!(refusal(&at.join(link)).contains("symbolic link"), "{link}");
        }
        let strange = at.join("strange");
        fs::create_dir(&strange).expect("writable");
        fs::write(strange.join("other"), "").expect("writable");
        Dir::open_own(&strange, KNOWN).expect("known names");
        fs::write(strange.join("passwd"), "").expect("writable");
        assert!(refusal(&strange).contains("something else in it (passwd)"));
        fs::write(strange.join("lock"), "").expect("writable");
        Dir::open_own(&strange, KNOWN).expect("it has been weftd's");
        fs::write(at.join("file"), "").expect("writable");
        assert!(Dir::open_own(&at.join("file"), KNOWN).is_err());
    }

    #[test]
    fn no_link_leads_out_and_nobody_foresees_a_name() {
        let at = tempfile::tempdir().expect("a directory");
        let victim = at.path().join("victim");
        fs::write(&victim, "precious").expect("writable");
        let dir = Dir::open_own(&at.path().join("own"), KNOWN).expect("made");
        for name in ["lock", "other"] {
            symlink(&victim, dir.path().join(name)).expect("writable");
            let outcomes = [
                dir.read(name, 100).map(drop),
                dir.open_lock(name).map(drop),
                dir.append(name).map(drop),
                dir.make_own(name).map(drop),
            ];
            for outcome in outcomes {
                let error = outcome.expect_err("refused");
                assert!(error.to_string().contains("symbolic link"), "{error}");
            }
        }
        fs::hard_link(&victim, dir.path().join("hard")).expect("writable");
        assert!(dir.append("hard").expect_err("refused").to_string().contains("hard link"));
        rustix::fs::mkfifoat(CWD, dir.path().join("fifo"), PRIVATE).expect("writable");
        for outcome in [dir.read("fifo", 100).map(drop), dir.append("fifo").map(drop)] {
            outcome.expect_err("it neither blocks nor is it taken");
        }
        let names: Vec<_> = (0..2).map(|_| dir.create_beside(OsStr::new("x")).expect("made").1).collect();
        assert_ne!(names[0], names[1]);
        dir.remove_unfinished();
        assert!(!dir.names().expect("there").iter().any(|name| is_unfinished(name)));
        assert_eq!(fs::read_to_string(victim).expect("there"), "precious");
    }

    #[test]
    fn nothing_is_written_where_nobody_would_find_it() {
        let at = tempfile::tempdir().expect("a directory");
        let place = at.path().join("own");
        let dir = Dir::open_own(&place, KNOWN).expect("made");
        fs::rename(&place, at.path().join("moved")).expect("ours");
        assert!(dir.append("other").is_err());
        fs::create_dir(&place).expect("ours");
        let error = dir.create_beside(OsStr::new("x")).expect_err("another one is there");
        assert!(error.to_string().contains("moved or replaced"), "{error}");
    }
}

//! Files that users name. Whoever opens one must not be held up by what it turns out to be: a FIFO without an other end, a
//! device that never ends.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

fn no_regular_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")
}

/// Only what is a regular file before and after it is opened: opening alone wakes some devices, and O_NONBLOCK keeps a FIFO
/// that takes its place meanwhile from blocking.
fn open(path: &Path, options: &mut OpenOptions, flags: i32) -> io::Result<File> {
    match fs::metadata(path) {
        Ok(meta) if !meta.is_file() => return Err(no_regular_file()),
        _ => {}
    }
    let file = options.custom_flags(libc::O_NONBLOCK | flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(no_regular_file()) }
}

/// Opens a regular file of `most` bytes at most for reading.
pub fn open_regular(path: &Path, most: u64) -> io::Result<File> {
    let file = open(path, File::options().read(true), 0)?;
    if file.metadata()?.len() > most { Err(too_long(most)) } else { Ok(file) }
}

/// Reads a regular file of `most` bytes at most as text.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    let mut text = String::new();
    // Files of the kernel's say that they are empty, and are not.
    open_regular(path, most)?.take(most + 1).read_to_string(&mut text)?;
    if text.len() as u64 > most { Err(too_long(most)) } else { Ok(text) }
}

/// Makes a regular file, or empties the one that is there; a symbolic link is not followed, for it may lead where only we may write.
pub fn create(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(false);
    let file = open(path, &mut options, libc::O_NOFOLLOW).map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP) => io::Error::new(io::ErrorKind::InvalidInput, "it is a symbolic link"),
        _ => error,
    })?;
    file.set_len(0)?;
    Ok(file)
}

fn too_long(most: u64) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {} MiB", most >> 20))
}

#[cfg(test)]
mod tests {
    use std::{ffi::CString, os::unix::ffi::OsStrExt, path::PathBuf};

    use super::*;

    fn temporary(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("weft-files-{}-{name}", std::process::id()))
    }

    #[test]
    fn only_regular_files_are_opened() {
        let fifo = temporary("fifo");
        let name = CString::new(fifo.as_os_str().as_bytes()).expect("no zero in it");
        // SAFETY: a C string that lives for the call.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        for path in [fifo.as_path(), Path::new("/dev/zero"), Path::new("/tmp")] {
            for outcome in [read_text(path, 1000).map(drop), create(path).map(drop)] {
                let error = outcome.expect_err("refused");
                assert!(error.to_string().contains("no regular file"), "{}: {error}", path.display());
            }
        }
        fs::remove_file(fifo).expect("it was there");
    }

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let path = temporary("text");
        fs::write(&path, "0123456789").expect("writable");
        assert_eq!(read_text(&path, 10).expect("short enough"), "0123456789");
        assert!(read_text(&path, 9).is_err());
        create(&path).expect("writable");
        assert_eq!(read_text(&path, 0).expect("emptied"), "");
        fs::write(&path, "precious").expect("writable");
        let link = temporary("link");
        std::os::unix::fs::symlink(&path, &link).expect("writable");
        assert!(create(&link).expect_err("refused").to_string().contains("symbolic link"));
        assert_eq!(read_text(&link, 10).expect("readable"), "precious");
        fs::remove_file(link).expect("it was there");
        fs::remove_file(path).expect("it was there");
    }
}

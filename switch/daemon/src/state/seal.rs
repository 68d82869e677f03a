//! How weftd knows that what it reads back is what it wrote: a first line that names the format, what is in it, how long it is and
//! a CRC-64 of it. Any bit that was flipped and any part that was cut off is noticed, in that line, too. It is a guard
//! against damage, not against people: against those, the directory is weftd's alone.

use crc::{CRC_64_XZ, Crc, Table};

/// The format's version: another one is not read.
const VERSION: u32 = 1;
const MARK: &str = "weft-state";

static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_XZ);

/// Why a file can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Damage {
    /// It does not begin as it should.
    #[error("it is damaged, or no file of weftd's: its first line is not whole")]
    Head,
    /// Another weftd's.
    #[error("it is of another format than version {VERSION}, which this weftd reads")]
    Version,
    /// It is not what was written.
    #[error("it is damaged or cut off: its digest does not fit")]
    Digest,
}

fn head(what: &str, body: &[u8]) -> String {
    format!("{MARK} {VERSION} {what} bytes {} crc64 {:016x}\n", body.len(), CRC.checksum(body))
}

/// Puts a first line before it; `what` says which file it is, so that none stands in for another.
pub(super) fn seal(what: &str, body: &[u8]) -> Vec<u8> {
    [head(what, body).as_bytes(), body].concat()
}

/// What was sealed.
pub(super) fn unseal<'a>(what: &str, bytes: &'a [u8]) -> Result<&'a [u8], Damage> {
    let at = bytes.iter().position(|byte| *byte == b'\n').ok_or(Damage::Head)? + 1;
    let (first, body) = bytes.split_at(at);
    if first == head(what, body).as_bytes() {
        return Ok(body);
    }
    let mut words = first.split(|byte| *byte == b' ');
    match (words.next() == Some(MARK.as_bytes()), words.next()) {
        (false, _) => Err(Damage::Head),
        (true, version) if version != Some(VERSION.to_string().as_bytes()) => Err(Damage::Version),
        _ => Err(Damage::Digest),
    }
}

/// The last field of a sealed line, and all of it that is not the digest.
const FIELD: &str = ",\"crc64\":\"";

/// Adds a digest to one line, a JSON object, as its last field.
pub(crate) fn seal_line(object: &str) -> String {
    let digest = CRC.checksum(object.as_bytes());
    let open = object.strip_suffix('}').unwrap_or(object);
    format!("{open}{FIELD}{digest:016x}\"}}")
}

/// The object, if it is what was sealed.
pub(crate) fn unseal_line(line: &str) -> Option<String> {
    let (open, _) = line.rsplit_once(FIELD)?;
    let object = format!("{open}}}");
    (seal_line(&object) == line).then_some(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let sealed = seal("startup", b"{\"instead_of\":\"x\",\"config\":\"y\"}");
        assert_eq!(unseal("startup", &sealed), Ok(&b"{\"instead_of\":\"x\",\"config\":\"y\"}"[..]));
        for bit in 0..sealed.len() * 8 {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal("startup", &damaged).is_err(), "bit {bit}");
        }
        for len in 0..sealed.len() {
            assert!(unseal("startup", &sealed[..len]).is_err(), "cut at {len}");
        }
        assert!(unseal("startup", &[&sealed[..], b" "].concat()).is_err(), "longer");
        assert_eq!(unseal("history 7", &sealed), Err(Damage::Digest), "another file");
        assert_eq!(unseal("startup", b"{\"instead_of\":\"\"}\n"), Err(Damage::Head));
        let other = String::from_utf8(sealed).expect("text").replacen(" 1 ", " 2 ", 1);
        assert_eq!(unseal("startup", other.as_bytes()), Err(Damage::Version));
    }

    #[test]
    fn every_flipped_bit_of_a_line_is_noticed() {
        let object = r#"{"at":"now","verb":"port add","args":{"crc64":",\"crc64\":\""}}"#;
        let line = seal_line(object);
        assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok(), "{line}");
        assert_eq!(unseal_line(&line).as_deref(), Some(object));
        for bit in 0..line.len() * 8 {
            let mut damaged = line.clone().into_bytes();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let Ok(damaged) = String::from_utf8(damaged) else { continue };
            assert_eq!(unseal_line(&damaged), None, "bit {bit}");
        }
        assert!((0..line.len()).all(|len| unseal_line(&line[..len]).is_none()));
    }
}

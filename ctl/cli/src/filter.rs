//! tcpdump's filter words (pcap-filter(7)), compiled by libpcap.

use pcap::{Capture, Linktype};
use weft_ctl_api::filter::{Filter, Instruction};

/// Compiles a filter for Ethernet frames; the error is libpcap's own, for people. No words: every packet.
pub(crate) fn compile(words: &[String]) -> Result<Option<Filter>, String> {
    let text = words.join(" ");
    if text.trim().is_empty() {
        return Ok(None);
    }
    let compiled = Capture::dead(Linktype::ETHERNET).and_then(|ethernet| ethernet.compile(&text, true));
    let compiled = compiled.map_err(|error| {
        // Without the crate's own word before it.
        let said = match &error {
            pcap::Error::PcapError(said) => said.clone(),
            other => other.to_string(),
        };
        format!("the filter `{text}` can't be used: {said}; `man pcap-filter` has the words, for example `tcp port 80`")
    })?;
    let program: Option<Vec<_>> = compiled.get_instructions().iter().map(instruction).collect();
    let program = program.ok_or_else(|| format!("libpcap's program for `{text}` can't be read"))?;
    Ok(Some(Filter { text, program }))
}

/// The crate shows an instruction's fields only as text: "code jt jf k".
fn instruction(compiled: &pcap::BpfInstruction) -> Option<Instruction> {
    let text = compiled.to_string();
    let mut fields = text.split(' ').map(str::parse::<u32>);
    let mut next = || fields.next()?.ok();
    Some(Instruction(next()?.try_into().ok()?, next()?.try_into().ok()?, next()?.try_into().ok()?, next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn words_become_a_program() {
        let filter = compile(&words("arp")).expect("it compiles").expect("there is one");
        let expected = [(0x28, 0, 0, 12), (0x15, 0, 1, 0x806), (0x06, 0, 0, 65535), (0x06, 0, 0, 0)];
        let program: Vec<_> =
            filter.program.iter().map(|&Instruction(code, jt, jf, k)| (code, jt, jf, k)).collect();
        assert_eq!(filter.text, "arp");
        assert_eq!(program, expected);
        assert_eq!(compile(&[]), Ok(None));
    }

    #[test]
    fn bad_words_get_libpcaps_answer() {
        for (text, says) in [
            ("tcp prt 80", "syntax error"),
            ("port nosuchservice", "nosuchservice"),
            ("ip host 1.2.3.4.5", "1.2.3.4.5"),
        ] {
            let error = compile(&words(text)).expect_err("it does not compile");
            assert!(error.contains(text) && error.contains(says) && error.contains("pcap-filter"), "{error}");
        }
    }
}

//! Packets' paths.

use weft_ctl_api::trace::{Change, TraceOutput, TraceReply, TracedPacket};

use super::{Render, dash, drops::clock, table};

impl Render for TraceReply {
    fn render(&self) -> String {
        let Some(against) = &self.against else { return self.now.render() };
        let differences = match self.differences.as_slice() {
            [] => "the other configuration does the same".to_owned(),
            list => format!("the other configuration changes\n{}", changes(list, ["", "now", "then"])),
        };
        format!("{}\n\nthe other configuration\n{}\n\n{differences}", self.now.render(), against.render())
    }
}

impl Render for TracedPacket {
    fn render(&self) -> String {
        let mut parts = vec![head(self)];
        let rows =
            self.steps.iter().map(|step| vec![step.stage.clone(), step.table.clone(), step.text.clone()]);
        parts.push(table(&["stage", "table", "what"], 3..3, rows.collect(), ""));
        parts.extend(self.cached.iter().map(|flow| {
            let stale = if flow.stale { ", stale: decided again with its next packet" } else { "" };
            let (core, actions, packets, idle_ms) = (flow.core, &flow.actions, flow.packets, flow.idle_ms);
            format!(
                "core {core} has the flow cached: {actions} ({packets} packets, idle {idle_ms} ms{stale})"
            )
        }));
        if self.core.is_none() && self.cached.is_empty() {
            parts.push("no PMD thread has the flow cached".into());
        }
        let by = self.decided_by.as_ref().map_or_else(String::new, |by| format!(", by {by}"));
        let meaning = self.meaning.as_ref().map_or_else(String::new, |meaning| format!(": {meaning}"));
        parts.push(format!("verdict  {}{by}{meaning}", self.verdict));
        parts.extend(self.drops.iter().map(|drop| format!("dropped  {drop}")));
        parts.extend(self.outputs.iter().map(|output| output_text("leaves", output, Some(&self.hex))));
        parts.extend(self.answers.iter().map(|output| output_text("answer", output, None)));
        parts.join("\n")
    }
}

/// The lines above a path.
fn head(packet: &TracedPacket) -> String {
    let ends = match (&packet.source, &packet.destination) {
        (None, None) => String::new(),
        (source, destination) => format!(" ({} > {})", dash(source.as_ref()), dash(destination.as_ref())),
    };
    let place = packet.core.map_or_else(String::new, |core| format!("{} core {core} ", clock(packet.at_ms)));
    format!("{place}from {}, generation {}{ends}\npacket   {}", packet.from, packet.generation, packet.packet)
}

fn output_text(word: &str, output: &TraceOutput, before: Option<&str>) -> String {
    let offload = output.offload.as_ref().map_or_else(String::new, |left| format!(" ({left})"));
    let mut parts = vec![format!("{word:<8} by {}: {}{offload}", output.port, output.packet)];
    if !output.changes.is_empty() {
        parts.push(changes(&output.changes, ["changed", "before", "after"]));
    }
    parts.push(dumps(before.unwrap_or(""), &output.hex));
    parts.join("\n")
}

fn changes(list: &[Change], header: [&str; 3]) -> String {
    let rows =
        list.iter().map(|change| vec![change.what.clone(), change.before.clone(), change.after.clone()]);
    table(&header, 3..3, rows.collect(), "")
}

/// Bytes shown of each, which is where headers are.
const SHOWN: usize = 128;

/// Sixteen bytes a line: lines that are the same before and after have a space in front, others - and +.
fn dumps(before: &str, after: &str) -> String {
    let lines = |hex: &str| -> Vec<String> {
        let bytes =
            hex.as_bytes().chunks(2).take(SHOWN).map(|pair| String::from_utf8_lossy(pair).into_owned());
        bytes.collect::<Vec<_>>().chunks(16).map(|line| line.join(" ")).collect()
    };
    let (old, new) = (lines(before), lines(after));
    let mut text = Vec::new();
    for at in 0..old.len().max(new.len()) {
        let offset = at * 16;
        match (old.get(at), new.get(at)) {
            (Some(old), Some(new)) if old == new => text.push(format!("    {offset:04x}  {new}")),
            (old, new) => {
                let sign = if before.is_empty() { ' ' } else { '+' };
                text.extend(old.map(|line| format!("  - {offset:04x}  {line}")));
                text.extend(new.map(|line| format!("  {sign} {offset:04x}  {line}")));
            }
        }
    }
    if hex_len(before).max(hex_len(after)) > SHOWN {
        text.push(format!("    …     ({} bytes)", hex_len(after)));
    }
    text.join("\n")
}

fn hex_len(hex: &str) -> usize {
    hex.len() / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_marked() {
        let before = "00".repeat(40);
        let after = format!("{}01{}", "00".repeat(20), "00".repeat(19));
        assert_eq!(
            dumps(&before, &after),
            "    0000  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00\n  \
             - 0010  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00\n  \
             + 0010  00 00 00 00 01 00 00 00 00 00 00 00 00 00 00 00\n    \
             0020  00 00 00 00 00 00 00 00"
        );
        assert!(dumps("", &"00".repeat(200)).ends_with("(200 bytes)"));
    }
}

//! Plans, differences, the history and the audit log.

use serde_json::Value;
use weft_ctl_api::{
    audit::AuditReply,
    config::HistoryReply,
    plan::{Change, ChangeKind, DiffReply, Effect, FieldChange, FlowImpact, PlanReply},
};

use super::{Render, table};

/// A value as a configuration has it; a long list is cut.
fn word(value: Option<&Value>) -> String {
    const SHOWN: usize = 8;
    match value {
        None => "(default)".into(),
        Some(Value::Array(items)) if items.len() > SHOWN => {
            let shown: Vec<String> = items.iter().take(SHOWN).map(Value::to_string).collect();
            format!("[{}, … {} more]", shown.join(","), items.len() - SHOWN)
        }
        Some(value) => value.to_string(),
    }
}

fn field(change: &FieldChange, what: ChangeKind) -> String {
    let name = &change.field;
    match what {
        ChangeKind::Added => format!("    {name} = {}", word(change.new.as_ref())),
        ChangeKind::Removed => format!("    {name} = {}", word(change.old.as_ref())),
        ChangeKind::Changed => {
            format!("    {name}: {} → {}", word(change.old.as_ref()), word(change.new.as_ref()))
        }
    }
}

fn changes(changes: &[Change]) -> String {
    let lines = changes.iter().flat_map(|change| {
        let sign = match change.what {
            ChangeKind::Added => '+',
            ChangeKind::Removed => '-',
            ChangeKind::Changed => '~',
        };
        let head = format!("{sign} {} {}", change.noun, change.name).trim_end().to_owned();
        [head].into_iter().chain(change.fields.iter().map(|each| field(each, change.what)))
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn flows(flows: &FlowImpact) -> String {
    let mut text = format!("{} cached flows are resolved again on their next packets", flows.cached);
    if flows.checked > 0 {
        let some = flows.checked < flows.cached;
        let all = if some { format!("of {} looked at, ", flows.checked) } else { String::new() };
        text += &format!("; {all}{} would go another way", flows.changed);
    }
    for example in &flows.examples {
        text += &format!("\n  {} {}: {} → {}", example.port, example.flow, example.old, example.new);
    }
    text
}

fn effect(effect: &Effect) -> String {
    let sign = if effect.disruptive { '!' } else { ' ' };
    format!("{sign} {} {}", effect.subject, effect.text)
}

impl Render for PlanReply {
    fn render(&self) -> String {
        let mut parts = Vec::new();
        if self.changes.is_empty() {
            parts.push(format!("{} is what is in force: nothing would change", self.candidate));
        } else {
            parts.push(changes(&self.changes));
            let effects: Vec<String> = self.effects.iter().map(effect).collect();
            if !effects.is_empty() {
                parts.push(format!("what that does (!: somebody is interrupted)\n{}", effects.join("\n")));
            }
            parts.push(flows(&self.flows));
        }
        if let Some(error) = &self.refused {
            parts.push(format!("it would be refused: {error}"));
        }
        parts.join("\n\n")
    }
}

impl Render for DiffReply {
    fn render(&self) -> String {
        if self.changes.is_empty() {
            return format!("what is in force is what {} says", self.file.display());
        }
        format!("from {} to what is in force\n{}", self.file.display(), changes(&self.changes))
    }
}

impl Render for HistoryReply {
    fn render(&self) -> String {
        let rows = self.entries.iter().map(|row| {
            let mark = if row.current { "*" } else { "" };
            vec![
                mark.into(),
                row.generation.to_string(),
                row.at.clone(),
                row.who.to_string(),
                row.what.clone(),
            ]
        });
        table(&["", "generation", "at", "who", "what"], 1..2, rows.collect(), "no configurations")
    }
}

impl Render for AuditReply {
    fn render(&self) -> String {
        let rows = self.entries.iter().map(|entry| {
            vec![
                entry.at.clone(),
                entry.who.to_string(),
                entry.verb.clone(),
                entry.generation.to_string(),
                format!("{}{}", if entry.done { "" } else { "REFUSED: " }, entry.outcome),
            ]
        });
        table(&["at", "who", "verb", "generation", "outcome"], 3..4, rows.collect(), "no changes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_reads_like_a_difference() {
        let change =
            |noun: &str, name: &str, what, field: &str, old: Option<Value>, new: Option<Value>| Change {
                noun: noun.into(),
                name: name.into(),
                what,
                fields: vec![FieldChange { field: field.into(), old, new }],
            };
        let plan = PlanReply {
            candidate: "x.toml".into(),
            changes: vec![
                change("port", "web", ChangeKind::Changed, "mtu", None, Some(1400.into())),
                change("flow", "f", ChangeKind::Removed, "priority", Some(3.into()), None),
            ],
            effects: vec![Effect { disruptive: true, subject: "port web".into(), text: "is closed".into() }],
            flows: FlowImpact { cached: 7, checked: 7, changed: 2, examples: Vec::new() },
            refused: None,
        };
        assert_eq!(
            plan.render(),
            "~ port web\n    mtu: (default) → 1400\n- flow f\n    priority = 3\n\n\
             what that does (!: somebody is interrupted)\n! port web is closed\n\n\
             7 cached flows are resolved again on their next packets; 2 would go another way"
        );
    }

    #[test]
    fn long_lists_are_cut() {
        let list: Vec<Value> = (0..20).map(Value::from).collect();
        assert_eq!(word(Some(&list.into())), "[0,1,2,3,4,5,6,7, … 12 more]");
    }
}

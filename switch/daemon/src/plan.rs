//! What going from one configuration to another would change, and whom it would interrupt. Nothing is changed here.

mod effects;
mod flows;

use std::collections::BTreeMap;

use hashbrown::HashMap;
use serde::Serialize;
use serde_json::{Map, Value};
use weft_ctl_api::{
    Error,
    plan::{Change, ChangeKind, FieldChange, PlanReply},
    spec::Config,
};

use crate::{desired::Desired, switch::Switch};

/// What a candidate would change.
pub fn plan(switch: &Switch, candidate: String, config: &Config) -> Result<PlanReply, Error> {
    let desired = Desired::try_from(config)?;
    let changes = changes(&switch.config, config);
    let effects = effects::effects(switch, &desired, &changes);
    let flows = flows::impact(switch, config, &desired);
    let refused = switch.refusal(config, &desired);
    Ok(PlanReply { candidate, changes, effects, flows, refused })
}

/// What differs between two configurations, field by field.
pub fn changes(old: &Config, new: &Config) -> Vec<Change> {
    let mut changes = Vec::new();
    changes.extend(one("node", &old.node, &new.node));
    changes.extend(one("roles", &old.roles, &new.roles));
    changes.extend(one("pmd", &old.pmd, &new.pmd));
    changes.extend(many("network", &old.network, &new.network));
    changes.extend(many("port", &old.port, &new.port));
    changes.extend(many("endpoint", &old.endpoint, &new.endpoint));
    let fabric = |config: &Config| config.fabric.as_ref().map(fields).unwrap_or_default();
    let (mut old_fabric, mut new_fabric) = (fabric(old), fabric(new));
    let peers = |fabric: &mut Map<String, Value>| match fabric.remove("peer") {
        Some(Value::Array(peers)) => peers,
        _ => Vec::new(),
    };
    let (old_peers, new_peers) = (peers(&mut old_fabric), peers(&mut new_fabric));
    changes.extend(between("fabric", "", Some(old_fabric), Some(new_fabric)));
    changes.extend(many("peer", &old_peers, &new_peers));
    changes.extend(many("flow", &old.flow, &new.flow));
    changes.extend(order_of_rules(old, new));
    changes
}

fn fields<T: Serialize>(item: &T) -> Map<String, Value> {
    match serde_json::to_value(item) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

fn one<T: Serialize + PartialEq>(noun: &str, old: &T, new: &T) -> Option<Change> {
    if old == new { None } else { between(noun, "", Some(fields(old)), Some(fields(new))) }
}

fn many<T: Serialize>(noun: &str, old: &[T], new: &[T]) -> Vec<Change> {
    let by_name = |list: &[T]| -> Vec<(String, Map<String, Value>)> {
        let entry = |item: &T| {
            let mut fields = fields(item);
            let name = fields.remove("name");
            (name.and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default(), fields)
        };
        list.iter().map(entry).collect()
    };
    let (old, new) = (by_name(old), by_name(new));
    let known: HashMap<String, Map<String, Value>> = old.iter().cloned().collect();
    let stays: HashMap<&String, ()> = new.iter().map(|(name, _)| (name, ())).collect();
    let gone = old.iter().filter(|(name, _)| !stays.contains_key(name));
    let gone = gone.filter_map(|(name, fields)| between(noun, name, Some(fields.clone()), None));
    let others = new
        .iter()
        .filter_map(|(name, fields)| between(noun, name, known.get(name).cloned(), Some(fields.clone())));
    gone.chain(others).collect()
}

fn between(
    noun: &str,
    name: &str,
    old: Option<Map<String, Value>>,
    new: Option<Map<String, Value>>,
) -> Option<Change> {
    let what = match (&old, &new) {
        (None, _) => ChangeKind::Added,
        (_, None) => ChangeKind::Removed,
        _ => ChangeKind::Changed,
    };
    let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
    let names: BTreeMap<&String, ()> = old.keys().chain(new.keys()).map(|name| (name, ())).collect();
    let field = |name: &String| {
        let (old, new) = (old.get(name).cloned(), new.get(name).cloned());
        (old != new).then(|| FieldChange { field: name.clone(), old, new })
    };
    let fields: Vec<FieldChange> = names.into_keys().filter_map(field).collect();
    if fields.is_empty() && what == ChangeKind::Changed {
        return None;
    }
    Some(Change { noun: noun.into(), name: name.into(), what, fields })
}

/// Among rules of one priority the first goes first: their order means something.
fn order_of_rules(old: &Config, new: &Config) -> Option<Change> {
    let order = |config: &Config, other: &Config| -> Vec<String> {
        let others: HashMap<&String, ()> = other.flow.iter().map(|flow| (&flow.name, ())).collect();
        let mut rules: Vec<_> = config.flow.iter().filter(|flow| others.contains_key(&flow.name)).collect();
        rules.sort_by_key(|flow| std::cmp::Reverse(flow.priority));
        rules.into_iter().map(|flow| flow.name.clone()).collect()
    };
    let (old, new) = (order(old, new), order(new, old));
    (old != new).then(|| Change {
        noun: "flow".into(),
        name: String::new(),
        what: ChangeKind::Changed,
        fields: vec![FieldChange { field: "order".into(), old: Some(old.into()), new: Some(new.into()) }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &str) -> Config {
        crate::config::parse(&format!("[node]\nname = \"n\"\n{more}")).expect("it parses")
    }

    fn told(old: &str, new: &str) -> Vec<String> {
        let word = |change: &Change| {
            let fields: Vec<String> = change
                .fields
                .iter()
                .map(|field| {
                    let word = |value: &Option<Value>| value.as_ref().map_or("-".into(), Value::to_string);
                    format!("{} {} {}", field.field, word(&field.old), word(&field.new))
                })
                .collect();
            format!("{:?} {} {}: {}", change.what, change.noun, change.name, fields.join(", "))
        };
        changes(&config(old), &config(new)).iter().map(word).collect()
    }

    #[test]
    fn what_is_the_same_is_no_change() {
        let text = include_str!("../../../configs/full.toml");
        let config = crate::config::parse(text).expect("it parses");
        assert_eq!(changes(&config, &config), []);
    }

    #[test]
    fn every_field_that_differs_is_named_old_and_new() {
        let a =
            "[[port]]\nname = \"a\"\nkind = \"null\"\nmtu = 1400\n[[port]]\nname = \"b\"\nkind = \"null\"\n";
        let b = "[[port]]\nname = \"b\"\nkind = \"null\"\nqueues = 2\n[[port]]\nname = \"c\"\nkind = \"gen\"\n\
                 [fabric]\nmode = \"native\"\n[[fabric.peer]]\nname = \"p\"\naddress = \"192.0.2.2\"\n";
        let expected = [
            "Removed port a: kind \"null\" -, mtu 1400 -",
            "Changed port b: queues - 2",
            "Added port c: kind - \"gen\"",
            "Changed fabric : mode - \"native\"",
            "Added peer p: address - \"192.0.2.2\"",
        ];
        assert_eq!(told(a, b), expected);
    }

    #[test]
    fn the_order_of_rules_counts_within_a_priority() {
        let rule = |name: &str, priority: u16| {
            format!("[[flow]]\nname = \"{name}\"\npriority = {priority}\nactions = [\"drop\"]\n")
        };
        let all = |rules: &[(&str, u16)]| rules.iter().map(|(name, at)| rule(name, *at)).collect::<String>();
        let old = all(&[("a", 1), ("b", 1), ("c", 2)]);
        assert_eq!(told(&old, &all(&[("c", 2), ("a", 1), ("b", 1)])), Vec::<String>::new());
        let swapped = told(&old, &all(&[("b", 1), ("a", 1), ("c", 2)]));
        assert_eq!(swapped, ["Changed flow : order [\"c\",\"a\",\"b\"] [\"c\",\"b\",\"a\"]"]);
    }
}

//! A table while it is read: its keys, one after the other.

use super::at::At;
use super::checks::Checks;
use super::mistake::{Kind, Mistake, Mistakes};
use super::node::Node;
use super::rule::{self, Rule};
use super::schema::Field;
use super::setting::Setting;

/// A table being read: what the code made by [`settings!`](crate::settings) calls.
pub struct Table<'a> {
    at: At<'a>,
    tables: Vec<&'a Node>,
}

impl<'a> Table<'a> {
    /// Notes what is no table and what is no key of it.
    pub fn open(at: &At<'a>, fields: &[Field], mistakes: &mut Mistakes) -> Self {
        let tables = at.tables(mistakes);
        for table in &tables {
            let entries = table.entries().into_iter().flatten();
            for (key, node) in
                entries.filter(|(key, _)| fields.iter().all(|field| field.key != *key))
            {
                let origin = node.origin.clone();
                let advice = suggestion(at, key, fields);
                let mistake = Mistake::new(origin, at.key_of(key), "unknown key", advice);
                mistakes.push(mistake.of_kind(Kind::Unknown));
            }
        }
        Self {
            at: at.clone(),
            tables,
        }
    }

    /// Reads one key: what the layers say, else the default, else what its absence means.
    pub fn field<T: Setting>(
        &self,
        key: &str,
        default: &[&str],
        rules: &[&dyn Rule<T::Ruled>],
        mistakes: &mut Mistakes,
    ) -> T {
        let mut at = self.at.child(key, &self.tables);
        at.rule = rule::describe(rules);
        if T::MERGES {
            return checked(&at, rules, mistakes);
        }
        if at.layers.is_empty() {
            return match default {
                [toml, ..] => checked(&at.in_layer(&Node::of_default(toml)), rules, mistakes),
                [] => T::absent().unwrap_or_else(|| {
                    mistakes.push(at.missing(&T::shape().allowed(at.rule.as_deref())));
                    T::stand_in()
                }),
            };
        }
        // What a later layer overrides is read as well: a mistake there is a mistake.
        let mut last = None;
        for node in &at.layers {
            last = Some(checked(&at.in_layer(node), rules, mistakes));
        }
        last.unwrap_or_else(T::stand_in)
    }

    /// For checks that need more than one key.
    pub fn checks<'m>(&'m self, mistakes: &'m mut Mistakes) -> Checks<'m> {
        Checks {
            at: &self.at,
            tables: &self.tables,
            mistakes,
        }
    }
}

fn checked<T: Setting>(at: &At<'_>, rules: &[&dyn Rule<T::Ruled>], mistakes: &mut Mistakes) -> T {
    let before = mistakes.len();
    let value = T::read(at, mistakes);
    let keeps_to_rules = value
        .ruled()
        .is_none_or(|value| rules.iter().all(|rule| rule.holds(value)));
    if before == mistakes.len() && !keeps_to_rules {
        mistakes.push(at.refuse::<T>());
    }
    value
}

/// The nearest known key, else all of them.
fn suggestion(at: &At<'_>, key: &str, fields: &[Field]) -> String {
    let nearest = fields
        .iter()
        .map(|field| (strsim::osa_distance(field.key, key), field.key))
        .filter(|(distance, known)| *distance <= known.len().max(3) / 3)
        .min();
    match nearest {
        Some((_, known)) => format!("did you mean {}?", at.key_of(known)),
        None => {
            let known: Vec<&str> = fields.iter().map(|field| field.key).collect();
            format!("known here: {}", known.join(", "))
        }
    }
}

//! What a key allows beyond its type: the `where` of [`settings!`](crate::settings).

use std::ops::RangeInclusive;
use std::time::Duration;

use super::duration::show_duration;
use super::setting::Setting;

/// A condition on a value, which can say what it allows. A range is one, for numbers and durations.
pub trait Rule<T> {
    /// Does the value keep to it?
    fn holds(&self, value: &T) -> bool;
    /// What it allows, as a phrase: `1 to 65536`.
    fn allowed(&self) -> String;
}

/// A `where` for a key of type `T`; a function, so that `1..=10` becomes a range of the right type.
#[doc(hidden)]
pub fn rule_of<T: Setting, R: Rule<T::Ruled>>(rule: &R) -> &dyn Rule<T::Ruled> {
    rule
}

/// What all of `rules` allow.
pub(super) fn describe<T>(rules: &[&dyn Rule<T>]) -> Option<String> {
    (!rules.is_empty()).then(|| {
        rules
            .iter()
            .map(|rule| rule.allowed())
            .collect::<Vec<_>>()
            .join(", ")
    })
}

/// A type whose values may be bounded by a range.
pub trait Bound: PartialOrd {
    /// As a setting is written.
    fn show(&self) -> String;
}

macro_rules! integer_bounds {
    ($($Integer:ty),*) => { $(
        impl Bound for $Integer {
            fn show(&self) -> String {
                self.to_string()
            }
        }
    )* };
}
integer_bounds!(u8, u16, u32, u64, usize);

impl Bound for Duration {
    fn show(&self) -> String {
        show_duration(*self)
    }
}

impl<T: Bound> Rule<T> for RangeInclusive<T> {
    fn holds(&self, value: &T) -> bool {
        self.contains(value)
    }

    fn allowed(&self) -> String {
        format!("{} to {}", self.start().show(), self.end().show())
    }
}

/// So many bytes of text.
pub struct Length(pub RangeInclusive<usize>);

impl Rule<String> for Length {
    fn holds(&self, value: &String) -> bool {
        self.0.contains(&value.len())
    }

    fn allowed(&self) -> String {
        format!("{} to {} bytes", self.0.start(), self.0.end())
    }
}

/// So many entries in a list.
pub struct Entries(pub RangeInclusive<usize>);

impl<T> Rule<Vec<T>> for Entries {
    fn holds(&self, value: &Vec<T>) -> bool {
        self.0.contains(&value.len())
    }

    fn allowed(&self) -> String {
        match (*self.0.start(), *self.0.end()) {
            (least, usize::MAX) => format!("at least {least} of them"),
            (least, most) => format!("{least} to {most} of them"),
        }
    }
}

/// Each entry of a list keeps to the rule.
pub struct Each<R>(pub R);

impl<T, R: Rule<T>> Rule<Vec<T>> for Each<R> {
    fn holds(&self, value: &Vec<T>) -> bool {
        value.iter().all(|value| self.0.holds(value))
    }

    fn allowed(&self) -> String {
        format!("each {}", self.0.allowed())
    }
}

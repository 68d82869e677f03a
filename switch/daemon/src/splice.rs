//! What turns one list into another, where a change touches a stretch of it: a list may be long, and a change short.

use serde::{Deserialize, Serialize};

/// From place `at` on, so many are gone, and others have come; what is before and behind stays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Splice<T> {
    /// Where.
    pub at: usize,
    /// How many are gone.
    pub gone: usize,
    /// What has come instead.
    pub come: Vec<T>,
}

impl<T> Default for Splice<T> {
    fn default() -> Self {
        Self { at: 0, gone: 0, come: Vec::new() }
    }
}

impl<T: Clone + PartialEq> Splice<T> {
    /// The shortest that turns one list into the other.
    pub fn between(old: &[T], new: &[T]) -> Self {
        let at = old.iter().zip(new).take_while(|(old, new)| old == new).count();
        let rest = old[at..].iter().rev().zip(new[at..].iter().rev());
        let behind = rest.take_while(|(old, new)| old == new).count();
        Self { at, gone: old.len() - behind - at, come: new[at..new.len() - behind].to_vec() }
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.gone == 0 && self.come.is_empty()
    }

    /// Changes a list; false: it is not of this one, which stays as it is.
    #[must_use]
    pub fn apply(&self, list: &mut Vec<T>) -> bool {
        let fits = self.at.checked_add(self.gone).is_some_and(|end| end <= list.len());
        if fits {
            list.splice(self.at..self.at + self.gone, self.come.iter().cloned());
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_turns_one_list_into_the_other(old in prop::collection::vec(0_u8..3, 0..8), new in prop::collection::vec(0_u8..3, 0..8)) {
            let splice = Splice::between(&old, &new);
            prop_assert_eq!(splice.is_empty(), old == new);
            let mut list = old;
            prop_assert!(splice.apply(&mut list));
            prop_assert_eq!(list, new);
        }
    }

    #[test]
    fn it_is_short_and_of_one_list() {
        let splice = Splice::between(&[1, 2, 2, 3], &[1, 2, 4, 2, 3]);
        assert_eq!(splice, Splice { at: 2, gone: 0, come: vec![4] });
        for (at, gone) in [(3, 0), (1, 2), (usize::MAX, 2)] {
            let mut other = vec![7, 8];
            assert!(!Splice { at, gone, come: vec![9] }.apply(&mut other));
            assert_eq!(other, [7, 8]);
        }
    }
}

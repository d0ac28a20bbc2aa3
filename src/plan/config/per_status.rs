//! Value for each of the few statuses that a guard names.
//!
//! Everything is kept by the name of the status. A changed config never compares one status with another.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Statuses;

/// Value for each of at most [`PerStatus::MOST`] statuses or classes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BTreeMap<String, T>", into = "BTreeMap<String, T>")]
#[serde(bound(serialize = "T: Copy + Serialize", deserialize = "T: Deserialize<'de>"))]
pub struct PerStatus<T>([Option<(Statuses, T)>; PER_STATUS]);

impl<T> PerStatus<T> {
    /// Statuses that a guard may name.
    pub const MOST: usize = PER_STATUS;

    /// No values.
    pub const EMPTY: Self = Self([const { None }; PER_STATUS]);

    /// Returns true if there is no value.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// Returns the value for a status.
    pub fn get(&self, status: Statuses) -> Option<&T> {
        self.0.iter().flatten().find(|(own, _)| *own == status).map(|(_, value)| value)
    }

    /// Returns the value for a status, which is first set to a new one if there is none. `None` if no place is left.
    pub fn entry(&mut self, status: Statuses, new: impl FnOnce() -> T) -> Option<&mut T> {
        let own = self.0.iter().position(|place| matches!(place, Some((own, _)) if *own == status));
        let place = own.or_else(|| self.0.iter().position(Option::is_none))?;
        Some(&mut self.0.get_mut(place)?.get_or_insert_with(|| (status, new())).1)
    }

    /// Returns the statuses with their values.
    pub fn iter(&self) -> impl Iterator<Item = (Statuses, &T)> {
        self.0.iter().flatten().map(|(status, value)| (*status, value))
    }

    /// Makes other values of these. A status is left out for which there is none.
    pub fn filter_map<U>(&self, mut of: impl FnMut(Statuses, &T) -> Option<U>) -> PerStatus<U> {
        PerStatus(self.0.each_ref().map(|place| {
            let (status, value) = place.as_ref()?;
            Some((*status, of(*status, value)?))
        }))
    }
}

impl<T> Default for PerStatus<T> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<T> FromIterator<(Statuses, T)> for PerStatus<T> {
    /// Takes the first ones, as many as there is place for. Of two with the same status the first stays.
    fn from_iter<I: IntoIterator<Item = (Statuses, T)>>(values: I) -> Self {
        let mut all = Self::default();
        for (status, value) in values {
            let _ = all.entry(status, || value);
        }
        all
    }
}

/// Statuses that cannot be read are those of another version, and are left out.
impl<T> From<BTreeMap<String, T>> for PerStatus<T> {
    fn from(values: BTreeMap<String, T>) -> Self {
        values.into_iter().filter_map(|(name, value)| Some((Statuses::parse(&name)?, value))).collect()
    }
}

impl<T: Copy> From<PerStatus<T>> for BTreeMap<String, T> {
    fn from(values: PerStatus<T>) -> Self {
        values.iter().map(|(status, value)| (status.to_string(), *value)).collect()
    }
}

const PER_STATUS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_by_its_status_and_by_no_other() {
        let (class, one) = (Statuses::Class(4), Statuses::One(401));
        let values: PerStatus<u32> = [(class, 7), (one, 3), (class, 9)].into_iter().collect();
        assert_eq!((values.get(class), values.get(one), values.get(Statuses::Class(5))), (Some(&7), Some(&3), None));
        let text = serde_json::to_string(&values).unwrap();
        assert_eq!(text, r#"{"401":3,"4xx":7}"#);
        assert_eq!(serde_json::from_str::<PerStatus<u32>>(r#"{"4xx":7,"9xx":1,"x":2}"#).unwrap().iter().count(), 1);
        assert!(PerStatus::<u32>::default().is_empty());
    }

    #[test]
    fn there_is_place_for_a_few() {
        let mut values: PerStatus<u16> = (400..410).map(|code| (Statuses::One(code), code)).collect();
        assert_eq!(values.iter().count(), PerStatus::<u16>::MOST);
        assert_eq!(values.entry(Statuses::One(409), || 0), None);
        assert_eq!(values.entry(Statuses::One(403), || 0), Some(&mut 403));
    }
}

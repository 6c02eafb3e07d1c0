//! From the names of classes in files to numbers.
//!
//! Input: names as they stand in annotations. Output: class indices. Invariant: a name always gets the same index;
//! given classes keep their order, found ones are sorted by name, so that numbers do not depend on the order of
//! files.

use std::collections::BTreeMap;

/// Which classes there are and what files call them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassMap {
    /// The classes in the order of their numbers, and no others; none takes those that are found.
    pub names: Option<Vec<String>>,
    /// What files say and what it stands for: two sorts of vehicle may be one class.
    pub renamed: BTreeMap<String, String>,
}

/// Classes while a data set is read.
pub(super) struct Classes {
    renamed: BTreeMap<String, String>,
    index: BTreeMap<String, usize>,
    fixed: bool,
}

impl Classes {
    pub(super) fn new(map: &ClassMap) -> Classes {
        let named = map.names.iter().flatten().enumerate();
        Classes {
            renamed: map.renamed.clone(),
            index: named.map(|(i, name)| (name.clone(), i)).collect(),
            fixed: map.names.is_some(),
        }
    }

    /// The number of a class; none for a name that is not among given ones.
    pub(super) fn index(&mut self, name: &str) -> Option<usize> {
        let name = self.renamed.get(name).map_or(name, String::as_str);
        match self.index.get(name) {
            Some(&index) => Some(index),
            None if self.fixed => None,
            None => {
                let index = self.index.len();
                self.index.insert(name.to_owned(), index);
                Some(index)
            }
        }
    }

    /// "known: a, b".
    pub(super) fn known(&self) -> String {
        let mut names: Vec<(&String, &usize)> = self.index.iter().collect();
        names.sort_by_key(|(_, index)| **index);
        let shown: Vec<&str> = names.iter().take(20).map(|(name, _)| name.as_str()).collect();
        let more = if names.len() > shown.len() { ", .." } else { "" };
        format!("known: {}{more}", shown.join(", "))
    }

    /// The names, and the final number of every number given so far. Found names are sorted unless `keep`.
    pub(super) fn finish(self, keep: bool) -> (Vec<String>, Vec<usize>) {
        let mut names: Vec<(String, usize)> = self.index.into_iter().collect();
        if self.fixed || keep {
            names.sort_by_key(|(_, index)| *index);
        }
        let mut moved = vec![0; names.len()];
        names.iter().enumerate().for_each(|(to, (_, from))| moved[*from] = to);
        (names.into_iter().map(|(name, _)| name).collect(), moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn found_classes_are_sorted() {
        let mut classes = Classes::new(&ClassMap::default());
        assert_eq!(["b", "a", "b"].map(|n| classes.index(n)), [Some(0), Some(1), Some(0)]);
        assert_eq!(classes.finish(false), (vec!["a".to_owned(), "b".to_owned()], vec![1, 0]));
    }

    #[test]
    fn given_classes_keep_their_order_and_take_no_others() {
        let map = ClassMap {
            names: Some(vec!["van".into(), "cat".into()]),
            renamed: BTreeMap::from([("lorry".into(), "van".into())]),
        };
        let mut classes = Classes::new(&map);
        assert_eq!(["cat", "lorry", "dog"].map(|n| classes.index(n)), [Some(1), Some(0), None]);
        assert_eq!(classes.known(), "known: van, cat");
        assert_eq!(classes.finish(false), (vec!["van".to_owned(), "cat".to_owned()], vec![0, 1]));
    }
}

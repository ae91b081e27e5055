//! Ways of assigning: which of them all members support, and which is used.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

/// What a member supports, what it likes best first.
type Protocols = [(String, Bytes)];

/// The names that all members support. Each name is looked up, and not compared with all others: a member may name very many.
pub(in crate::group) fn supported_by_all<'a>(
    members: impl Iterator<Item = &'a Protocols> + Clone,
) -> BTreeSet<&'a str> {
    let shortest = members.clone().min_by_key(|protocols| protocols.len()).unwrap_or_default();
    let mut common: BTreeSet<&str> = names(shortest).collect();
    for protocols in members {
        if common.is_empty() {
            break;
        }
        common = names(protocols).filter(|name| common.contains(name)).collect();
    }
    common
}

/// The way of assigning that most members like best, of those that all support.
pub(super) fn voted_for<'a>(members: impl Iterator<Item = &'a Protocols> + Clone) -> Option<&'a str> {
    let candidates = supported_by_all(members.clone());
    let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
    for protocols in members {
        let choice = names(protocols).find(|name| candidates.contains(name))?;
        *votes.entry(choice).or_default() += 1;
    }
    votes.into_iter().max_by_key(|(_, votes)| *votes).map(|(name, _)| name)
}

fn names(protocols: &Protocols) -> impl Iterator<Item = &str> {
    protocols.iter().map(|(name, _)| name.as_str())
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// The same by its definition, name by name.
    fn plainly_voted_for(members: &[Vec<(String, Bytes)>]) -> Option<&str> {
        let by_all = |name: &str| members.iter().all(|member| names(member).any(|known| known == name));
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in members {
            *votes.entry(names(member).find(|name| by_all(name))?).or_default() += 1;
        }
        votes.into_iter().max_by_key(|(_, votes)| *votes).map(|(name, _)| name)
    }

    proptest! {
        #[test]
        fn the_vote_is_by_what_each_likes_best_of_what_all_support(members in vec(vec("[a-d]", 0..6), 0..5)) {
            let protocols = |names: Vec<String>| names.into_iter().map(|name| (name, Bytes::new())).collect();
            let members: Vec<Vec<_>> = members.into_iter().map(protocols).collect();
            prop_assert_eq!(voted_for(members.iter().map(Vec::as_slice)), plainly_voted_for(&members));
        }
    }
}

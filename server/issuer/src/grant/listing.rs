//! Grants by the state that they are shown in, page by page: a list costs what it shows, and never more than a bound.
//!
//! Where a grant is, time and today's policy say, and the store has what people decided. So the store is asked for those among which they are (by state,
//! end and use), and each is looked at. What is read for one list is bounded; where that ends before the list is full, the list says that there is more.

use daypass_proto::time::Timestamp;

use super::Shown;
use crate::{
    policy::Policy,
    store::{Ends, Find, Grant, GrantLife, Store, StoreError},
};

/// How many are read at once.
const PAGE: u32 = 1001;

/// Where grants are in the store that are shown in some state.
#[derive(Debug)]
pub(crate) struct Among {
    find: Find,
    /// The state; any where the store says it by itself.
    shown: Option<Shown>,
}

impl Among {
    /// Of those that are looked for, the grants that are shown in one of these states; in any where there are none.
    pub(crate) fn of(find: &Find, states: &[Shown], now: Timestamp) -> Vec<Self> {
        if states.is_empty() {
            return vec![Self { find: find.clone(), shown: None }];
        }
        let decided: Vec<_> = states.iter().filter_map(|state| state.decided()).map(GrantLife::as_str).collect();
        let decided =
            (!decided.is_empty()).then(|| Self { find: Find { states: decided, ..find.clone() }, shown: None });
        let each = Shown::OF_TIME.into_iter().filter(|state| states.contains(state));
        let living = Find { states: vec![GrantLife::Active.as_str(), GrantLife::Grace.as_str()], ..find.clone() };
        let each = each.map(|state| {
            let find = match state {
                Shown::UsedUp => Find { used: true, ..living.clone() },
                Shown::Life(GrantLife::Active) => Find { ends: Some(Ends::After(now)), ..living.clone() },
                Shown::Life(_) => Find { ends: Some(Ends::By(now)), ..living.clone() },
            };
            Self { find, shown: Some(state) }
        });
        decided.into_iter().chain(each).collect()
    }
}

/// What may still be read for one list.
#[derive(Debug)]
pub(crate) struct Pages {
    page: u32,
    left: usize,
    cut: bool,
}

impl Pages {
    /// So many grants in all.
    pub(crate) const fn up_to(most: usize) -> Self {
        Self { page: PAGE, left: most, cut: false }
    }

    /// Whether there are some that were not looked at.
    pub(crate) const fn is_cut(&self) -> bool {
        self.cut
    }

    /// The first of them in their order, up to the limit of what is looked for.
    pub(crate) async fn read<S: Store + ?Sized>(
        &mut self,
        store: &S,
        policy: &Policy,
        among: &Among,
        now: Timestamp,
    ) -> Result<Vec<Grant>, StoreError> {
        let Some(shown) = among.shown else { return store.find_grants(&among.find).await };
        let wanted = usize::try_from(among.find.limit).unwrap_or(usize::MAX);
        let (mut find, mut found) = (among.find.clone(), Vec::new());
        while found.len() < wanted {
            find.limit = self.page.min(u32::try_from(self.left).unwrap_or(u32::MAX));
            if find.limit == 0 {
                self.cut = true;
                break;
            }
            let page = store.find_grants(&find).await?;
            self.left = self.left.saturating_sub(page.len());
            let last = page.len() < usize::try_from(find.limit).unwrap_or(usize::MAX);
            find.beyond = page.last().map(|grant| grant.place(find.sort));
            found.extend(page.into_iter().filter(|grant| grant.shown(policy, now) == shown));
            if last {
                break;
            }
        }
        found.truncate(wanted);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use daypass_proto::{admin_api::Sort, names::GrantId};

    use super::*;
    use crate::{
        fixture::{Made, event},
        store::{Change, Decision, Terms},
    };

    const DAY: i64 = 86_400;

    /// Grants in every state that time and use make of one, thrice, and one each that people decided.
    async fn many() -> Made {
        let made = Made::with_software().await;
        let phase = "[phases.build]\nends = 2027-12-01T00:00:00Z\n[phases.plan]\nends = 2026-01-01T00:00:00Z\n[roles.developer]\n";
        made.edit_policy(&[("[roles.developer]\n", phase)]).await;
        let now = made.now();
        let of = |state, until: i64, used, terms: Terms| Grant {
            id: GrantId::from_random(made.issuer.environment.random()),
            collaborator: "alice".parse().unwrap(),
            project: "apollo".parse().unwrap(),
            role: "developer".parse().unwrap(),
            until: now.plus(until),
            state,
            device: None,
            made_at: Some(now),
            used,
            terms,
            replaces: None,
            briefed: None,
        };
        let phase = |name: &str| Terms { phase: name.parse().ok(), ..Terms::default() };
        let counted = || Terms { uses: Some(2), ..Terms::default() };
        let mut all = Vec::new();
        for number in 0..3 {
            all.extend([
                of(GrantLife::Active, DAY + number, 0, Terms::default()),
                of(GrantLife::Active, DAY - number, 1, counted()),
                of(GrantLife::Active, DAY - number, 0, phase("build")),
                of(GrantLife::Active, DAY + number, 2, counted()),
                // Nobody has marked these yet.
                of(GrantLife::Active, -number, 0, Terms::default()),
                of(GrantLife::Active, -number, 2, counted()),
                of(GrantLife::Active, DAY + number, 0, phase("plan")),
                of(GrantLife::Ended, -DAY - number, 0, Terms::default()),
            ]);
        }
        all.extend(
            [GrantLife::Requested, GrantLife::Suspended, GrantLife::Revoked]
                .map(|state| of(state, DAY, 0, Terms::default())),
        );
        for grant in all {
            let decision = Decision::new(event(&made.issuer.environment)).change(Change::AddGrant(grant));
            made.issuer.store.decide(decision).await.unwrap();
        }
        made
    }

    /// What a list of these states has, read by pages of so many, and what was left to read of a hundred.
    async fn listed(made: &Made, states: &[Shown], sort: Sort, page: u32, limit: u32) -> (Vec<Grant>, usize) {
        let mut pages = Pages { page, ..Pages::up_to(100) };
        let (policy, now) = (made.issuer.policy(), made.now());
        let mut found = Vec::new();
        for among in Among::of(&Find { sort, ..Find::up_to(limit) }, states, now) {
            found.extend(pages.read(made.issuer.store.as_ref(), &policy, &among, now).await.unwrap());
        }
        assert!(!pages.is_cut());
        (found, pages.left)
    }

    #[tokio::test]
    async fn each_state_has_its_grants_whole_in_whatever_order_and_pages() {
        let made = many().await;
        let (policy, now) = (made.issuer.policy(), made.now());
        let all = made.issuer.store.find_grants(&Find::up_to(1000)).await.unwrap();
        for (states, count) in [
            (&["active"][..], 9),
            (&["used_up"], 3),
            (&["ended"], 12),
            (&["grace"], 0),
            (&["requested"], 1),
            (&["suspended", "revoked"], 2),
            (&["active", "used_up", "ended", "grace", "requested", "active"], 25),
        ] {
            let states: Vec<Shown> = states.iter().map(|state| state.parse().unwrap()).collect();
            let mut expected: Vec<_> =
                all.iter().filter(|grant| states.contains(&grant.shown(&policy, now))).map(|grant| &grant.id).collect();
            expected.sort();
            assert_eq!(expected.len(), count, "{states:?}");
            for sort in Sort::ALL {
                for page in [1, 2, 7, 1000] {
                    let (found, _) = listed(&made, &states, sort, page, 1000).await;
                    let mut ids: Vec<_> = found.iter().map(|grant| &grant.id).collect();
                    ids.sort();
                    assert_eq!(ids, expected, "{states:?} by {sort}, {page} at once");
                }
            }
        }
    }

    #[tokio::test]
    async fn what_is_read_is_what_is_shown_and_never_more_than_the_bound() {
        let made = many().await;
        let active = ["active".parse().unwrap()];
        let (first, left) = listed(&made, &active, Sort::Until, 2, 3).await;
        assert_eq!((first.len(), left >= 90), (3, true), "no more pages than are needed: {left}");
        assert!(first.is_sorted_by_key(|grant| grant.until), "the first of them in their order");
        let (policy, now) = (made.issuer.policy(), made.now());
        // Of those that ended or may have, not one that goes on is read.
        let mut pages = Pages::up_to(100);
        for among in Among::of(&Find::up_to(1000), &["grace".parse().unwrap()], now) {
            assert!(pages.read(made.issuer.store.as_ref(), &policy, &among, now).await.unwrap().is_empty());
        }
        assert_eq!(100 - pages.left, 12, "six that are over, and six that are for a phase");
        for (most, cut) in [(5, true), (12, true), (13, false)] {
            let mut pages = Pages { page: 4, ..Pages::up_to(most) };
            for among in Among::of(&Find::up_to(1000), &["grace".parse().unwrap()], now) {
                pages.read(made.issuer.store.as_ref(), &policy, &among, now).await.unwrap();
            }
            assert_eq!(pages.is_cut(), cut, "{most}");
        }
    }
}

//! Whatever an honest issuer does, nothing is found; whatever a dishonest one does to what was seen, something is.

use proptest::prelude::*;

use super::*;

/// What an honest issuer does between two looks.
#[derive(Clone, Debug)]
enum Step {
    Events(u8),
    Token,
    Rotate,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step =
        prop_oneof![(0..40_u8).prop_map(Step::Events), Just(Step::Token), Just(Step::Rotate), Just(Step::Restart)];
    prop::collection::vec(step, 1..12)
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

/// Lives through the steps, looking after each.
async fn honest(steps: &[Step]) -> (Script, Machine) {
    let mut issuer = Script::new(1);
    let mut machine = Machine::new(&issuer);
    machine.check(&issuer).await.unwrap();
    for step in steps {
        match step {
            Step::Events(by) => issuer.grow(u64::from(*by)),
            Step::Token => {
                issuer.grow(1);
                machine.promise(*issuer.leaves.last().unwrap());
            }
            Step::Rotate => issuer.rotate(),
            Step::Restart => machine.restart(),
        }
        machine.check(&issuer).await.unwrap();
    }
    (issuer, machine)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn honest_growth_has_no_finding(steps in steps()) {
        run(async {
            let (issuer, machine) = honest(&steps).await;
            let view = machine.follower.view(true);
            assert!(view.findings.is_empty() && view.outstanding == 0, "{view:?}");
            assert_eq!(view.size, Some(issuer.leaves.len() as u64));
        });
    }

    #[test]
    fn a_history_that_was_touched_is_found(steps in steps(), at in any::<prop::sample::Index>(), more in 0..20_u64, removed: bool) {
        run(async {
            let (mut issuer, machine) = honest(&steps).await;
            let at = at.index(issuer.leaves.len());
            if removed {
                issuer.leaves.remove(at);
                issuer.leaves.extend((0..more.max(1)).map(|number| leaf(70_000 + number)));
            } else {
                issuer.leaves[at] = leaf(90_000);
                issuer.grow(more);
            }
            machine.check(&issuer).await.unwrap();
            assert!(matches!(machine.kinds()[..], [FindingKind::Fork | FindingKind::Inconsistent]), "{:?}", machine.kinds());
        });
    }

    #[test]
    fn a_history_that_was_cut_is_found(steps in steps(), cut in any::<prop::sample::Index>()) {
        run(async {
            let (mut issuer, machine) = honest(&steps).await;
            issuer.grow(1);
            machine.check(&issuer).await.unwrap();
            let left = 1 + cut.index(issuer.leaves.len() - 1);
            issuer.leaves.truncate(left);
            machine.check(&issuer).await.unwrap();
            assert_eq!(machine.kinds(), [FindingKind::RolledBack]);
        });
    }
}

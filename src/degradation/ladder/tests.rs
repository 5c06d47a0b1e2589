//! The ladder as a table and as properties.

use super::*;
use proptest::prelude::*;

fn optional(rank: u8) -> Priority {
    Priority::Optional(Rank::new(rank).unwrap())
}

fn by_priority(priorities: &[Priority]) -> Ladder {
    let names: Vec<String> = (0..priorities.len()).map(|i| format!("f{i}")).collect();
    let fragments = priorities.iter().zip(&names).enumerate();
    Ladder::by_priority(
        fragments.map(|(i, (priority, name))| (FragmentId(i), name.as_str(), *priority)),
    )
}

fn step(name: &str, blocks: &[usize]) -> Step {
    Step {
        name: name.to_owned(),
        blocks: blocks.iter().copied().map(FragmentId).collect(),
    }
}

#[test]
fn lowest_rank_goes_first_and_equals_go_together() {
    let ladder = by_priority(&[optional(70), Priority::Core, optional(10), optional(10)]);
    assert_eq!(ladder.steps(), [step("f2, f3", &[2, 3]), step("f0", &[0])]);
    assert_eq!(ladder.text_only(), Level::new(2));
    assert!(ladder.sheds(Level::new(1), FragmentId(2)));
    assert!(!ladder.sheds(Level::new(1), FragmentId(0)));
    assert!(ladder.sheds(Level::new(200), FragmentId(0)));
    assert_eq!(ladder.level_of(FragmentId(0)), Some(Level::new(2)));
    assert_eq!(ladder.step_of(FragmentId(3)), Some(0));
    assert_eq!(ladder.step_of(FragmentId(1)), None);
    assert_eq!(ladder.level_of(FragmentId(9)), None);
}

#[test]
fn a_declared_ladder_is_as_declared() {
    let ladder = Ladder::new([step("extras", &[4, 1]), step("live", &[3])]);
    assert_eq!(ladder.level_of(FragmentId(1)), Some(Level::new(1)));
    assert_eq!(ladder.level_of(FragmentId(3)), Some(Level::new(2)));
    assert_eq!(ladder.level_of(FragmentId(0)), None);
    assert_eq!(ladder.steps()[0].name, "extras");
}

#[test]
fn levels_have_names_for_people() {
    let ladder = Ladder::new([step("extras", &[4, 1]), step("live", &[3])]);
    let called: Vec<&str> = (0..5).map(|n| ladder.called(Level::new(n))).collect();
    let expected = ["full page", "extras", "text only", "snapshot", "snapshot"];
    assert_eq!(called, expected);
    let none = Ladder::default();
    assert_eq!(none.called(Level::new(0)), "full page");
    assert_eq!(none.called(Level::new(1)), "snapshot");
}

#[test]
fn there_are_as_many_levels_as_steps() {
    let ladder = Ladder::new([step("extras", &[1])]);
    assert_eq!(ladder.level(1), Ok(Level::new(1)));
    let error = ladder.level(2).unwrap_err().to_string();
    let expected = "level 2 does not exist: this site has 0 (full page) to 1 (text only)";
    assert_eq!(error, expected);
}

proptest! {
    #[test]
    fn levels_are_nested_and_spare_the_text(ranks in prop::collection::vec(0u8..=99, 0..30), level in 0u8..120) {
        // rank 0 stands for what has none
        let priorities: Vec<Priority> = ranks
            .iter()
            .map(|rank| Rank::new(*rank).map_or(Priority::Essential, Priority::Optional))
            .collect();
        let ladder = by_priority(&priorities);
        for (i, priority) in priorities.iter().enumerate() {
            let (now, next) = (Level::new(level), Level::new(level + 1));
            let id = FragmentId(i);
            prop_assert!(!ladder.sheds(now, id) || ladder.sheds(next, id));
            prop_assert!(!ladder.sheds(Level::FULL, id));
            prop_assert_eq!(ladder.sheds(ladder.text_only(), id), priority.rank().is_some());
            prop_assert_eq!(ladder.sheds(Level::new(u8::MAX), id), priority.rank().is_some());
            // a lower rank never outlives a higher one
            for (j, other) in priorities.iter().enumerate() {
                if let (Some(a), Some(b)) = (priority.rank(), other.rank()) && a <= b {
                    prop_assert!(ladder.level_of(id) <= ladder.level_of(FragmentId(j)));
                }
            }
        }
    }

    #[test]
    fn any_steps_make_a_ladder(steps in prop::collection::vec(prop::collection::vec(0usize..40, 0..5), 0..120)) {
        let ladder = Ladder::new(steps.iter().map(|blocks| step("s", blocks)));
        prop_assert!(ladder.steps().len() <= Ladder::STEPS_MAX);
        for (index, step) in ladder.steps().iter().enumerate() {
            for block in &step.blocks {
                prop_assert_eq!(ladder.step_of(*block), Some(index));
            }
        }
        let placed: usize = ladder.steps().iter().map(|step| step.blocks.len()).sum();
        let named: std::collections::BTreeSet<usize> = steps.into_iter().flatten().collect();
        prop_assert_eq!(placed, named.len());
    }
}

//! What it makes of shortages: of one origin, of two, of many; and that it comes back.

use proptest::prelude::*;

use super::*;

const TICK: Duration = Duration::from_millis(100);

/// Seven blocks of as many origins, first given up first.
fn blocks(of: impl Fn(usize) -> BlockReading) -> Vec<Strained> {
    (0..7)
        .map(|step| Strained {
            place: step + 1,
            step,
            origin: step,
            requests: 1.0,
            reading: BlockReading {
                tolerance: 1.5 + step as f64 / 2.0,
                ..of(step)
            },
        })
        .collect()
}

fn look(blocks: &[Strained], pages: f64) -> Look<'_> {
    Look {
        span: TICK,
        pages,
        blocks,
        steps: 7,
    }
}

fn asked(asked: u32, refused: u32) -> BlockReading {
    BlockReading {
        asked,
        refused,
        slowness: Some(1.0),
        ..BlockReading::default()
    }
}

/// Origins behind which one thing takes so many requests a tick, with a plain queue before it.
struct World {
    capacity: f64,
    /// Requests that wait.
    queue: f64,
    pages: f64,
    /// How slow answers are whatever is asked for.
    slow: f64,
    state: State,
    phi: f64,
    cut: Cut,
    cuts: u32,
}

impl World {
    fn new(capacity: f64, pages: f64) -> Self {
        Self {
            capacity,
            queue: 0.0,
            pages,
            slow: 1.0,
            state: State::default(),
            phi: 1.0,
            cut: Cut::NONE,
            cuts: 0,
        }
    }

    fn run(&mut self, seconds: f64) {
        for _ in 0..(seconds * 10.0).round() as usize {
            let step = usize::from(self.cut.given_up.get());
            let share = |block: usize| match block {
                block if block > step => 1.0,
                block if block == step => self.cut.kept,
                _ => 0.0,
            };
            let wanted: f64 = (0..7).map(|block| share(block) * self.pages).sum();
            // what waits for more than a quarter of a second is refused
            let room = (self.capacity * 2.5 - self.queue).max(0.0) + self.capacity;
            let refused = (1.0 - room / wanted.max(1e-9)).max(0.0);
            let let_in = wanted * (1.0 - refused);
            self.queue = (self.queue + let_in - self.capacity).max(0.0);
            let slowness = self.slow + 2.0 * self.queue / self.capacity;
            let blocks = blocks(|block| {
                let wanted = share(block) * self.pages;
                BlockReading {
                    asked: wanted.round() as u32,
                    refused: (wanted * refused).round() as u32,
                    slowness: (wanted >= 1.0).then_some(slowness),
                    ..BlockReading::default()
                }
            });
            let (state, relief) = step_(&self.state, &look(&blocks, self.pages));
            self.cuts += u32::from(state.since_cut == 0.0);
            (self.state, self.phi, self.cut) = (state, relief.phi, relief.cut);
        }
    }
}

fn step_(state: &State, look: &Look<'_>) -> (State, Relief) {
    step(state.clone(), look)
}

#[test]
fn without_a_shortage_nothing_is_given_up() {
    let mut world = World::new(200.0, 12.0);
    world.run(60.0);
    assert_eq!((world.phi, world.cut), (1.0, Cut::NONE));
    assert_eq!(world.state.capacity, None);
}

#[test]
fn what_is_refused_together_is_given_up_in_order_within_five_ticks() {
    // 84 requests are wanted in a tick, and a third of them is refused everywhere
    let mut state = State::default();
    let refused = blocks(|_| asked(12, 4));
    let mut phi = 1.0;
    for _ in 0..5 {
        let (next, relief) = step(state, &look(&refused, 12.0));
        (state, phi) = (next, relief.phi);
    }
    assert!((0.4..0.75).contains(&phi), "{phi}");
    assert!(state.is_shared(0) && state.is_shared(6));
}

#[test]
fn a_lasting_shortage_is_felt_seldom_and_its_end_soon() {
    let mut world = World::new(50.0, 12.0);
    // a database is slow, whether much is asked of it or not
    world.slow = 1.4;
    world.run(10.0);
    let (before, best) = (world.cuts, 50.0 / 84.0);
    world.run(60.0);
    assert!(
        world.cuts - before <= 8,
        "cut {} times",
        world.cuts - before
    );
    assert!(
        world.phi > 0.7 * best && world.phi <= best + 0.05,
        "{}",
        world.phi
    );
    (world.capacity, world.slow) = (200.0, 1.0);
    world.run(8.0);
    assert_eq!(world.phi, 1.0);
}

#[test]
fn an_end_that_nothing_tells_of_is_found_by_trying() {
    let mut world = World::new(50.0, 12.0);
    world.run(70.0);
    assert!(world.phi < 0.9, "{}", world.phi);
    world.capacity = 200.0;
    world.run(PATIENCE_S.1 + 5.0);
    assert_eq!(world.phi, 1.0);
}

#[test]
fn when_a_crowd_leaves_all_is_back_at_once() {
    let mut world = World::new(150.0, 12.0);
    world.run(10.0);
    assert_eq!(world.phi, 1.0);
    world.pages = 60.0;
    world.run(10.0);
    assert!((0.2..0.4).contains(&world.phi), "{}", world.phi);
    world.pages = 12.0;
    world.run(1.5);
    assert_eq!(world.phi, 1.0);
}

#[test]
fn what_was_learned_in_one_crowd_is_known_in_the_next() {
    let mut world = World::new(150.0, 12.0);
    for _ in 0..2 {
        world.pages = 60.0;
        world.run(20.0);
        world.pages = 12.0;
        world.run(5.0);
    }
    let before = world.cuts;
    world.pages = 60.0;
    world.run(1.0);
    assert!((0.2..0.45).contains(&world.phi), "{}", world.phi);
    // what is known is a cut, and there may be one that corrects it
    assert!(world.cuts - before <= 2);
}

#[test]
fn what_does_not_help_is_taken_back() {
    let mut world = World::new(500.0, 12.0);
    world.slow = 4.0;
    world.run(2.0);
    assert!(world.phi < 1.0);
    world.run(4.0);
    assert_eq!(world.phi, 1.0, "answers are as slow with less");
    world.run(5.0);
    assert_eq!(world.phi, 1.0, "and it is not tried again at once");
    world.slow = 1.0;
    world.run(10.0);
    assert_eq!((world.phi, world.state.capacity), (1.0, None));
}

#[test]
fn who_stays_strained_alone_is_left_to_its_limiter() {
    let mut world = World::new(50.0, 12.0);
    world.run(10.0);
    let mut state = world.state;
    let sick = blocks(|block| match block {
        6 => asked(12, 9),
        block if block > 3 => asked(12, 0),
        _ => asked(0, 0),
    });
    let mut phis = Vec::new();
    for _ in 0..60 {
        let (next, relief) = step(state, &look(&sick, 12.0));
        state = next;
        phis.push(relief.phi);
    }
    assert!(!state.is_shared(6) && state.is_shared(5));
    assert!(
        phis[59] >= phis[30],
        "it does not drag the others down: {phis:?}"
    );
    let well = blocks(|block| if block > 3 { asked(12, 0) } else { asked(0, 0) });
    for _ in 0..40 {
        (state, _) = step(state, &look(&well, 12.0));
    }
    assert!(!state.blocks[6].is_alone);
}

#[test]
fn a_step_that_hardly_anybody_would_see_is_given_up_as_a_whole() {
    let blocks = blocks(|_| asked(12, 0));
    let mut state = State {
        // a tenth of the readers would keep the third step
        phi: 4.1 / 7.0,
        capacity: Some(120.0 * 4.1),
        ..State::default()
    };
    let cut = |state: &mut State| state.cut(&look(&blocks, 12.0), 0.1);
    for _ in 0..48 {
        assert!((cut(&mut state).kept - 0.1).abs() < 1e-6);
    }
    for _ in 0..3 {
        cut(&mut state);
    }
    assert_eq!(cut(&mut state).kept, 0.0);
    state.phi = 4.25 / 7.0;
    assert_eq!(cut(&mut state).kept, 0.0, "it does not come and go");
    state.phi = 4.35 / 7.0;
    assert!((cut(&mut state).kept - 0.35).abs() < 1e-6);
}

#[test]
fn what_is_left_alone_costs_nothing() {
    let blocks = blocks(|block| BlockReading {
        is_open: block == 6,
        ..asked(12, 0)
    });
    let mut state = State {
        phi: 0.5,
        ..State::default()
    };
    let cut = state.cut(&look(&blocks, 12.0), 0.1);
    assert_eq!(
        (cut.given_up.get(), cut.kept),
        (2, 0.0),
        "half of six, not of seven"
    );
}

fn reading() -> impl Strategy<Value = BlockReading> {
    let slowness = proptest::option::of(prop_oneof![
        4 => 0.1..20.0f64,
        1 => prop_oneof![Just(0.0), Just(f64::INFINITY), Just(-1.0)],
    ]);
    (0u32..200, 0.0..1.0f64, slowness, any::<bool>()).prop_map(|(asked, share, slowness, open)| {
        BlockReading {
            asked,
            refused: (f64::from(asked) * share) as u32,
            slowness,
            is_open: open && asked % 4 == 0,
            ..BlockReading::default()
        }
    })
}

proptest! {
    #[test]
    fn one_or_two_sick_origins_never_move_it(
        sick in prop::collection::vec((reading(), reading(), reading()), 1..150),
        one in 0usize..7,
        other in 0usize..7,
        pages in 0.0..100.0f64,
    ) {
        let mut state = State::default();
        for (first, second, third) in sick {
            // the sick ones hold any of the blocks, and more than one each
            let mut seen = blocks(|block| match block {
                block if block == one => first,
                block if block == other => second,
                block if block % 2 == 0 => third,
                _ => asked(pages as u32, 0),
            });
            for (block, seen) in seen.iter_mut().enumerate() {
                if block == one || block % 2 == 0 {
                    seen.origin = 0;
                } else if block == other {
                    seen.origin = 1;
                } else {
                    seen.origin += 2;
                }
            }
            let (next, relief) = step(state, &look(&seen, pages));
            state = next;
            prop_assert_eq!(relief, Relief { phi: 1.0, cut: Cut::NONE });
            prop_assert!((0..7).all(|block| !state.is_shared(block)));
        }
    }

    #[test]
    fn whatever_is_seen_it_is_a_share(
        seen in prop::collection::vec(prop::collection::vec(reading(), 7), 1..80),
        pages in prop::collection::vec(0.0..300.0f64, 80),
        span in 0u64..3000,
    ) {
        let mut state = State::default();
        for (readings, pages) in seen.iter().zip(pages) {
            let blocks = blocks(|block| readings[block]);
            let look = Look { span: Duration::from_millis(span), ..look(&blocks, pages) };
            let (next, Relief { phi, cut }) = step(state, &look);
            prop_assert!((0.0..=1.0).contains(&phi), "{phi}");
            prop_assert!((0.0..=1.0).contains(&cut.kept) && cut.given_up.get() <= 7, "{cut:?}");
            state = next;
        }
    }
}

//! What things cost: learned from what was counted, never declared. Owns the averages, over minutes, of
//! the work of a page and of each block, and of the mix of pages that is asked for; pure.
//!
//! # What is not seen
//!
//! Work is measured where it is done, but the libraries that speak HTTP work elsewhere. Where the
//! processor time of the process is known, what of it was not seen is shared out among *exchanges*: a
//! page is one, and so is each request to an origin, which does much the same the other way round.
//!
//! A process has work of its own too: timers, measures, what operators ask for. At night that is nearly
//! all that it does, and shared out among the few exchanges that there are it would make each of them a
//! hundred times as dear as it is, when the crowd comes in the morning. So what is used while there are
//! no exchanges is taken off, and nothing is learned of exchanges while there are few.
//!
//! # Pages that documents are woven into
//!
//! What is on a declared page is known beforehand, what is on a woven one only by what its document asks
//! for. So of a woven page is learned how often it was to show each fragment, what was given up included:
//! were it only counted while it is shown, giving it up would make it look cheap. The document is a
//! fragment too, which each of these pages shows and none gives up. What stands inside an include that is
//! given up is not seen: where included documents are read as markup, that makes such an include look
//! cheaper than it is for as long as it is given up by everybody.

use std::time::Duration;

use super::meters::Counted;
use super::sample::Costs;

/// Costs are averages over so long: the work of a block changes with a deployment, not with the load.
/// From: simulation, minutes.
const COST_TIME: Duration = Duration::from_secs(120);

/// The mix of pages is an average over so long: a crowd comes for one article.
/// From: found by hand. Differs: the simulation had one page.
const MIX_TIME: Duration = Duration::from_secs(10);

/// With fewer exchanges a second than that, five in a tick, what the process does for itself is a good
/// part of what it does, and nothing is made of what is not seen.
/// From: found by hand. Differs: the simulation saw all work.
const EXCHANGES_MIN: f64 = 50.0;

/// A ratio of two sums that both fade.
#[derive(Debug, Clone, Copy, Default)]
struct Ratio {
    over: f64,
    under: f64,
}

impl Ratio {
    fn add(&mut self, over: f64, under: f64, kept: f64) {
        // what is not used any more keeps its last ratio, however long ago that was
        if under > 0.0 {
            self.over *= kept;
            self.under = self.under * kept + under;
        }
        // work may be done in a later tick than it was begun in
        self.over += over;
    }

    fn is_known(self) -> bool {
        self.under > 0.0
    }

    fn value(self) -> f64 {
        if self.is_known() {
            self.over / self.under
        } else {
            0.0
        }
    }
}

/// What is declared, as far as costs are concerned; by the indices of the declaration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    /// Of each page the fragments on it.
    pub pages: Vec<Vec<usize>>,
    /// Of each step of the ladder its fragments.
    pub steps: Vec<Vec<usize>>,
    /// Of each fragment its name.
    pub names: Vec<String>,
    /// Of each list the fragment that its items are.
    pub items: Vec<Option<usize>>,
}

/// What is to be made of the cost of a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Charge {
    /// It is paid for, and is given up in its turn.
    #[default]
    Usual,
    /// It costs nothing at present: its origin is left alone, or it is switched off.
    Nothing,
    /// It is paid for like the core: no level gives it up.
    Kept,
}

/// What is known of the costs of one site.
#[derive(Debug, Clone, Default)]
pub struct CostBook {
    page: Ratio,
    page_job: Ratio,
    exchange: Ratio,
    /// What the process does for itself, in milliseconds a second.
    idle: Ratio,
    /// Whether there was no exchange in the last tick: of one that there was some work may be left.
    was_idle: bool,
    blocks: Vec<BlockCost>,
    /// Of each list the fragment that its items are.
    items: Vec<Option<usize>>,
    /// Of each declared page how many were asked for,
    mix: Vec<f64>,
    /// and how many were woven.
    woven: f64,
}

#[derive(Debug, Clone, Copy, Default)]
struct BlockCost {
    /// How often woven pages of the present mix were to show it.
    woven: f64,
    work: Ratio,
    job: Ratio,
    fetches: Ratio,
    /// Of a list.
    items: Ratio,
}

impl CostBook {
    /// Nothing is known of the costs of a site of this shape, but what `before` knows of fragments of
    /// the same name.
    pub fn new(shape: &Shape, before: Option<(&Shape, &Self)>) -> Self {
        let known = |name: &String| {
            let (shape, book) = before?;
            let place = shape.names.iter().position(|known| known == name)?;
            let block = book.blocks.get(place).copied()?;
            // of the mix of pages before nothing is known any more
            Some(BlockCost {
                woven: 0.0,
                ..block
            })
        };
        Self {
            page: before.map(|(_, book)| book.page).unwrap_or_default(),
            page_job: before.map(|(_, book)| book.page_job).unwrap_or_default(),
            exchange: before.map(|(_, book)| book.exchange).unwrap_or_default(),
            idle: before.map(|(_, book)| book.idle).unwrap_or_default(),
            was_idle: false,
            blocks: shape
                .names
                .iter()
                .map(|name| known(name).unwrap_or_default())
                .collect(),
            items: shape.items.clone(),
            mix: vec![0.0; shape.pages.len()],
            woven: 0.0,
        }
    }

    /// Learns from what was counted in a span, in which the process has used so much processor time.
    /// Gives the work that was done, over what it costs usually; `None` where there was none.
    pub fn learn(&mut self, seen: &Counted, cpu: Option<Duration>, span: Duration) -> Option<f64> {
        let kept = |time: Duration| (-span.as_secs_f64() / time.as_secs_f64()).exp();
        let work: u64 = seen.page_work + seen.blocks.iter().map(|b| b.work).sum::<u64>();
        let fetches: u64 = seen.blocks.iter().map(|block| block.fetches).sum();
        let exchanges = (seen.composed + seen.woven + fetches) as f64;
        let work = ms(work);
        let costs = kept(COST_TIME);
        let unseen = cpu.map(|cpu| self.unseen(cpu, work, exchanges, span, costs));
        let unseen = unseen.filter(|_| exchanges >= EXCHANGES_MIN * span.as_secs_f64());
        let usual = self.jobs(seen);
        let (done, usual) = match unseen.filter(|_| self.exchange.is_known()) {
            Some(unseen) => (work + unseen, usual + exchanges * self.exchange.value()),
            None => (work, usual),
        };
        let inflation = (usual > 0.0).then(|| done / usual);
        self.page
            .add(ms(seen.page_work), seen.composed as f64, costs);
        self.page_job
            .add(ms(seen.page_work), seen.page_jobs as f64, costs);
        if let Some(unseen) = unseen {
            self.exchange.add(unseen, exchanges, costs);
        }
        for (known, block) in self.blocks.iter_mut().zip(&seen.blocks) {
            let uses = block.uses as f64;
            known.work.add(ms(block.work), uses, costs);
            known.job.add(ms(block.work), block.jobs as f64, costs);
            known.fetches.add(block.fetches as f64, uses, costs);
            known.items.add(block.items as f64, uses, costs);
        }
        let mix = kept(MIX_TIME);
        for (known, pages) in self.mix.iter_mut().zip(&seen.pages) {
            *known = *known * mix + *pages as f64;
        }
        self.woven = self.woven * mix + seen.woven as f64;
        for (known, block) in self.blocks.iter_mut().zip(&seen.blocks) {
            known.woven = known.woven * mix + block.woven as f64;
        }
        inflation
    }

    /// The work of a span that was not seen where it is done, in milliseconds, without what the process
    /// does for itself; learns what that is.
    fn unseen(
        &mut self,
        cpu: Duration,
        work: f64,
        exchanges: f64,
        span: Duration,
        kept: f64,
    ) -> f64 {
        let unseen = (cpu.as_secs_f64() * 1e3 - work).max(0.0);
        let is_idle = exchanges == 0.0;
        if is_idle && self.was_idle {
            self.idle.add(unseen, span.as_secs_f64(), kept);
        }
        self.was_idle = is_idle;
        (unseen - self.idle.value() * span.as_secs_f64()).max(0.0)
    }

    /// What the jobs that were done take usually. Those of the same tick, and not of the pages that
    /// came in it: their work is done later, and a crowd that begins would look like quick work.
    fn jobs(&self, seen: &Counted) -> f64 {
        let blocks = self.blocks.iter().zip(&seen.blocks);
        let blocks = blocks.map(|(known, seen)| seen.jobs as f64 * known.job.value());
        let page = seen.page_jobs as f64 * self.page_job.value();
        page + blocks.sum::<f64>()
    }

    /// What one use of a fragment costs, in milliseconds of work; of a list with all its items.
    pub fn block(&self, place: usize) -> f64 {
        let own = self.alone(place);
        let item = self.items.get(place).copied().flatten();
        own + item.map_or(0.0, |item| {
            self.blocks[place].items.value() * self.alone(item)
        })
    }

    fn alone(&self, place: usize) -> f64 {
        let known = &self.blocks[place];
        known.work.value() + known.fetches.value() * self.exchange.value()
    }

    /// What a page of the present mix costs, and what each step of the ladder does. `charges` are those
    /// of the fragments; one that is not there is the usual one.
    pub fn costs(&self, shape: &Shape, charges: &[Charge]) -> (Costs, Vec<f64>) {
        let shares = self.shares(shape);
        let charge = |place: usize| charges.get(place).copied().unwrap_or_default();
        let cost = |place: usize| match charge(place) {
            Charge::Nothing => 0.0,
            Charge::Usual | Charge::Kept => self.block(place) * shares[place],
        };
        let steps = shape.steps.iter().map(|step| {
            let given_up = step.iter().filter(|place| charge(**place) != Charge::Kept);
            given_up.map(|place| cost(*place)).sum()
        });
        let steps: Vec<f64> = steps.collect();
        let all: f64 = (0..shape.names.len()).map(cost).sum();
        let optional_ms = steps.iter().sum::<f64>();
        let own = self.page.value() * (1.0 - self.woven_share()) + self.exchange.value();
        let costs = Costs {
            base_ms: own + (all - optional_ms).max(0.0),
            optional_ms,
        };
        (costs, steps)
    }

    /// Requests that a page of the present mix makes for each fragment, on average.
    pub fn requests(&self, shape: &Shape) -> Vec<f64> {
        let shares = self.shares(shape).into_iter();
        let requests = shares.zip(&self.blocks);
        requests
            .map(|(share, block)| share * block.fetches.value())
            .collect()
    }

    /// Of each fragment how often a page shows it.
    fn shares(&self, shape: &Shape) -> Vec<f64> {
        let mut shares = vec![0.0; shape.names.len()];
        let all = self.pages();
        let share = |count: f64| if all > 0.0 { count / all } else { 0.0 };
        for (page, known) in shape.pages.iter().zip(&self.mix) {
            for place in page {
                shares[*place] += share(*known);
            }
        }
        for (shown, block) in shares.iter_mut().zip(&self.blocks) {
            *shown += share(block.woven);
        }
        shares
    }

    /// All pages of the present mix.
    fn pages(&self) -> f64 {
        self.mix.iter().sum::<f64>() + self.woven
    }

    fn woven_share(&self) -> f64 {
        let all = self.pages();
        if all > 0.0 { self.woven / all } else { 0.0 }
    }
}

fn ms(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::degradation::meters::BlockCounted;

    const TICK: Duration = Duration::from_millis(100);

    fn shape() -> Shape {
        Shape {
            pages: vec![vec![0, 1, 2], vec![0, 2]],
            steps: vec![vec![1], vec![2]],
            names: ["article", "ads", "live"].map(str::to_owned).to_vec(),
            items: vec![None; 3],
        }
    }

    fn seen(pages: [u64; 2], ads_ns: u64) -> Counted {
        let all = pages[0] + pages[1];
        let block = |uses, work| BlockCounted {
            uses,
            fetches: uses,
            work,
            jobs: uses,
            ..BlockCounted::default()
        };
        Counted {
            pages: pages.to_vec(),
            woven: 0,
            composed: all,
            page_jobs: 2 * all,
            page_work: all * 1_000_000,
            blocks: vec![
                block(all, all * 2_000_000),
                block(pages[0], pages[0] * ads_ns),
                block(all, all * 4_000_000),
            ],
        }
    }

    #[test]
    fn a_page_costs_what_the_mix_makes_it_cost() {
        let shape = shape();
        let mut book = CostBook::new(&shape, None);
        assert_eq!(book.learn(&seen([3, 1], 8_000_000), None, TICK), None);
        let (costs, steps) = book.costs(&shape, &[]);
        assert!((costs.base_ms - 3.0).abs() < 1e-9);
        // three of four pages show the ads
        assert_eq!(steps, [6.0, 4.0]);
        assert!((costs.optional_ms - 10.0).abs() < 1e-9);
        let (free, steps) = book.costs(&shape, &[Charge::Usual, Charge::Nothing]);
        assert_eq!((steps[0], free.base_ms), (0.0, costs.base_ms));
        let (kept, steps) = book.costs(&shape, &[Charge::Usual, Charge::Kept]);
        assert_eq!(steps, [0.0, 4.0]);
        assert!((kept.base_ms - 9.0).abs() < 1e-9);
    }

    #[test]
    fn work_that_takes_longer_than_usual_is_inflation_at_once_and_a_cost_later() {
        let mut book = CostBook::new(&shape(), None);
        for _ in 0..100 {
            book.learn(&seen([4, 0], 1_000_000), None, TICK);
        }
        let before = book.block(1);
        let slower = book.learn(&seen([4, 0], 9_000_000), None, TICK).unwrap();
        assert!((slower - 2.0).abs() < 1e-6, "8 ms have become 16: {slower}");
        assert!(book.block(1) < before * 1.2);
    }

    #[test]
    fn what_is_not_seen_is_shared_out_among_exchanges() {
        let shape = shape();
        let mut book = CostBook::new(&shape, None);
        // 1 + 2 + 1 + 4 ms of each of two pages were seen of 32; the pages and six fetches share the rest
        book.learn(
            &seen([2, 0], 1_000_000),
            Some(Duration::from_millis(32)),
            TICK,
        );
        let (costs, steps) = book.costs(&shape, &[]);
        assert_eq!(steps, [3.0, 6.0]);
        assert!((costs.base_ms - 7.0).abs() < 1e-9, "1 + 2 and twice 2");
    }

    #[test]
    fn what_the_process_does_for_itself_is_no_cost_of_a_quiet_nights_pages() {
        let shape = shape();
        let mut book = CostBook::new(&shape, None);
        // 5 ms a tick for itself, and a page every ten seconds
        for tick in 0..36_000 {
            let pages = u64::from(tick % 100 == 0);
            let own = Duration::from_millis(5 + 8 * pages);
            let inflation = book.learn(&seen([pages, 0], 1_000_000), Some(own), TICK);
            assert!(
                inflation.is_none_or(|i| (i - 1.0).abs() < 1e-6),
                "{inflation:?}"
            );
        }
        let (costs, steps) = book.costs(&shape, &[]);
        assert_eq!(steps, [1.0, 4.0]);
        assert!((costs.base_ms - 3.0).abs() < 1e-9, "{costs:?}");
        // in the morning ten pages take 8 ms that are seen, and their forty exchanges a quarter each
        let crowd = Duration::from_millis(5 + 80 + 10);
        let inflation = book
            .learn(&seen([10, 0], 1_000_000), Some(crowd), TICK)
            .unwrap();
        assert!((inflation - 1.0).abs() < 1e-6, "{inflation}");
        let inflation = book
            .learn(&seen([10, 0], 1_000_000), Some(crowd), TICK)
            .unwrap();
        assert!((inflation - 1.0).abs() < 1e-6, "{inflation}");
        let (costs, steps) = book.costs(&shape, &[]);
        assert!((steps[0] - 1.25).abs() < 1e-6, "{steps:?}");
        assert!((costs.base_ms - 3.5).abs() < 1e-6, "{costs:?}");
    }

    #[test]
    fn a_list_costs_what_its_items_cost() {
        let shape = Shape {
            pages: vec![vec![0]],
            steps: Vec::new(),
            names: ["latest", "teaser"].map(str::to_owned).to_vec(),
            items: vec![Some(1), None],
        };
        let mut book = CostBook::new(&shape, None);
        let list = BlockCounted {
            uses: 2,
            work: 2_000_000,
            items: 20,
            jobs: 2,
            ..BlockCounted::default()
        };
        let item = BlockCounted {
            uses: 20,
            jobs: 20,
            work: 10_000_000,
            ..BlockCounted::default()
        };
        let seen = Counted {
            pages: vec![2],
            composed: 2,
            blocks: vec![list, item],
            ..Counted::default()
        };
        book.learn(&seen, None, TICK);
        assert!((book.block(0) - 6.0).abs() < 1e-9, "1 and ten times 0.5");
    }

    #[test]
    fn a_woven_page_costs_what_its_document_asks_for_also_while_that_is_given_up() {
        // of no declared page: a document, which is core, and what it includes
        let shape = Shape {
            pages: vec![vec![0]],
            steps: vec![vec![2]],
            names: ["article", "document", "menu"].map(str::to_owned).to_vec(),
            items: vec![None; 3],
        };
        let block = |woven, uses, ms: u64| BlockCounted {
            woven,
            uses,
            jobs: uses,
            work: uses * ms * 1_000_000,
            ..BlockCounted::default()
        };
        // three woven pages with two menus each, for one declared
        let seen = |menus| Counted {
            pages: vec![1],
            woven: 3,
            composed: 1,
            page_jobs: 1,
            page_work: 4_000_000,
            blocks: vec![block(0, 1, 8), block(3, 3, 2), block(6, menus, 5)],
        };
        let mut book = CostBook::new(&shape, None);
        book.learn(&seen(6), None, TICK);
        for menus in [6, 0] {
            for _ in 0..200 {
                book.learn(&seen(menus), None, TICK);
            }
            let (costs, steps) = book.costs(&shape, &[]);
            assert!((steps[0] - 7.5).abs() < 1e-9, "1.5 menus a page: {steps:?}");
            let base = (4.0 + 8.0 + 3.0 * 2.0) / 4.0;
            assert!((costs.base_ms - base).abs() < 1e-9, "{costs:?}");
        }
    }

    #[test]
    fn what_is_given_up_keeps_its_cost_and_so_does_a_site_declared_anew() {
        let shape = shape();
        let mut book = CostBook::new(&shape, None);
        book.learn(&seen([1, 0], 1_000_000), None, TICK);
        for _ in 0..100_000 {
            let mut without = seen([1, 0], 0);
            without.blocks[1] = BlockCounted::default();
            book.learn(&without, None, TICK);
        }
        assert!((book.block(1) - 1.0).abs() < 1e-9);
        let mut turned = shape.clone();
        turned.names.reverse();
        let again = CostBook::new(&turned, Some((&shape, &book)));
        assert!((again.block(0) - 4.0).abs() < 1e-6);
        assert!((again.block(2) - 2.0).abs() < 1e-6);
    }
}

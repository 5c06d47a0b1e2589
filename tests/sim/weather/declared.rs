//! What the newsroom declares: a site that is drawn, and drawn anew with each reload.

use std::fmt::Write as _;
use std::time::Duration;

use fastrand::Rng;
use marbre::config;
use marbre::site::Site;

/// Names that blocks have.
pub(crate) const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// Origins that blocks are spread over.
pub(crate) const ORIGINS: [&str; 4] = ["one", "two", "three", "four"];

/// The pages of each site: one has all blocks, the other some of them.
pub(crate) const PAGES: [&str; 2] = ["p", "q"];

/// How important a block is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Rank {
    Core,
    Essential,
    Optional(u8),
}

/// What fills the place of a block that cannot be had.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Reserve {
    None,
    Inline,
    Sibling(&'static str),
}

/// A block as it is declared.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Block {
    pub(crate) name: &'static str,
    pub(crate) rank: Rank,
    pub(crate) origin: &'static str,
    /// The first part of the path that is asked for; says whose piece an answer is.
    pub(crate) source: String,
    pub(crate) ttl: Duration,
    pub(crate) grace: Duration,
    pub(crate) keep: Duration,
    patience: Duration,
    timeout: Duration,
    /// Whether it is made for the reader whose cookie is sent along.
    pub(crate) is_personal: bool,
    pub(crate) reserve: Reserve,
}

/// A declaration, one of several that follow one another.
#[derive(Debug, Clone)]
pub(crate) struct Declared {
    /// Written into the layout, so that each page says which declaration it is of.
    pub(crate) generation: u32,
    pub(crate) blocks: Vec<Block>,
    pub(crate) budget: Duration,
    pub(crate) snapshot_keep: Duration,
    pub(crate) shared_max_age: Duration,
    origin_timeout: Duration,
    max_in_flight: u32,
}

fn ms(rng: &mut Rng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(rng.u64(range))
}

impl Block {
    fn draw(rng: &mut Rng, name: &'static str, rank: Rank) -> Self {
        let (ttl, grace, keep) = match rng.u8(..3) {
            0 => (0, 0, 0),
            1 => (rng.u64(1..5_000), rng.u64(..20_000), 3_600_000),
            _ => (rng.u64(1_000..10_000), 30_000, rng.u64(1..60_000)),
        };
        let is_optional = matches!(rank, Rank::Optional(_));
        Self {
            name,
            rank,
            origin: ORIGINS[rng.usize(..ORIGINS.len())],
            source: format!("{name}{}", rng.u8(..3)),
            ttl: Duration::from_millis(ttl),
            grace: Duration::from_millis(grace),
            keep: Duration::from_millis(keep),
            patience: ms(rng, 1..100),
            timeout: ms(rng, 20..800),
            is_personal: is_optional && rng.u8(..4) == 0,
            reserve: match rng.u8(..4) {
                0 if rank != Rank::Core => Reserve::Inline,
                _ => Reserve::None,
            },
        }
    }

    fn write(&self, generation: u32, toml: &mut String) {
        let Self {
            name,
            origin,
            source,
            ..
        } = self;
        let priority = match self.rank {
            Rank::Core => "\"core\"".to_owned(),
            Rank::Essential => "\"essential\"".to_owned(),
            Rank::Optional(rank) => rank.to_string(),
        };
        let fallback = match self.reserve {
            Reserve::None => String::new(),
            Reserve::Inline => {
                format!("fallback = [\"inline:<s>{generation}:{name}</s>\"]\n")
            }
            Reserve::Sibling(sibling) => format!("fallback = [\"fragment:{sibling}\"]\n"),
        };
        let cookies = match self.is_personal {
            true => "forward_cookies = [\"who\"]\n",
            false => "",
        };
        let _ = write!(
            toml,
            "[fragments.{name}]\npriority = {priority}\nsource = \"{origin}:/{source}/{{id}}\"\n\
             timeout = \"{}ms\"\npatience = \"{}ms\"\nttl = \"{}ms\"\ngrace = \"{}ms\"\n\
             keep = \"{}ms\"\n{fallback}{cookies}",
            self.timeout.as_millis(),
            self.patience.as_millis(),
            self.ttl.as_millis(),
            self.grace.as_millis(),
            self.keep.as_millis(),
        );
    }

    /// Until when a copy of it may be shown at most.
    pub(crate) fn whole(&self, ttl_factor: f64) -> Duration {
        self.ttl.mul_f64(ttl_factor.max(1.0)) + self.grace + self.keep
    }
}

impl Declared {
    /// The first declaration.
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let count = rng.usize(2..=6);
        let cores = rng.usize(1..=2.min(count - 1));
        let essentials = rng.usize(..=1.min(count - cores));
        let mut blocks = Vec::new();
        for (place, name) in NAMES[..count].iter().enumerate() {
            let rank = match place {
                place if place < cores => Rank::Core,
                place if place < cores + essentials => Rank::Essential,
                _ => Rank::Optional(rng.u8(1..=99)),
            };
            blocks.push(Block::draw(rng, name, rank));
        }
        let mut declared = Self {
            generation: 1,
            blocks,
            budget: ms(rng, 100..1_000),
            snapshot_keep: Duration::from_secs([0, 60, 3_600][rng.usize(..3)]),
            shared_max_age: Duration::from_secs([0, 5, 60][rng.usize(..3)]),
            origin_timeout: ms(rng, 800..3_000),
            max_in_flight: rng.u32(2..64),
        };
        declared.draw_siblings(rng);
        declared
    }

    /// A sibling is no personal block, and has no sibling itself. None is left that was drawn before: what it
    /// names may have been taken away, and the last that could stand in with it.
    fn draw_siblings(&mut self, rng: &mut Rng) {
        for block in &mut self.blocks {
            if let Reserve::Sibling(_) = block.reserve {
                block.reserve = Reserve::None;
            }
        }
        let plain = |block: &Block| matches!(block.rank, Rank::Optional(_)) && !block.is_personal;
        let sibling = self.blocks.iter().rev().find(|block| plain(block));
        let Some(sibling) = sibling.map(|block| block.name) else {
            return;
        };
        for block in &mut self.blocks {
            let is_free = block.name != sibling && matches!(block.rank, Rank::Optional(_));
            if is_free && block.reserve == Reserve::None && rng.u8(..4) == 0 {
                block.reserve = Reserve::Sibling(sibling);
            }
        }
    }

    /// The one that follows: something of it is another.
    pub(crate) fn next(&self, rng: &mut Rng) -> Self {
        let mut next = self.clone();
        next.generation += 1;
        let place = rng.usize(..next.blocks.len());
        match rng.u8(..7) {
            // another place to ask
            0 => {
                let block = &mut next.blocks[place];
                block.source = format!("{}{}", block.name, rng.u8(..3));
            }
            1 => next.blocks[place].origin = ORIGINS[rng.usize(..ORIGINS.len())],
            // a block more, a block less
            2 => {
                let free = NAMES.iter().find(|name| next.block(name).is_none());
                if let Some(name) = free {
                    let rank = Rank::Optional(rng.u8(1..=99));
                    next.blocks.push(Block::draw(rng, name, rank));
                }
            }
            3 => {
                if next.blocks.len() > 2 && matches!(next.blocks[place].rank, Rank::Optional(_)) {
                    next.blocks.remove(place);
                }
            }
            // another lifetime
            4 => {
                let (name, rank) = (next.blocks[place].name, next.blocks[place].rank);
                let drawn = Block::draw(rng, name, rank);
                let block = &mut next.blocks[place];
                (block.ttl, block.grace, block.keep) = (drawn.ttl, drawn.grace, drawn.keep);
            }
            5 => next.budget = ms(rng, 100..1_000),
            _ => {
                next.origin_timeout = ms(rng, 800..3_000);
                next.max_in_flight = rng.u32(2..64);
            }
        }
        next.draw_siblings(rng);
        next
    }

    pub(crate) fn block(&self, name: &str) -> Option<&Block> {
        self.blocks.iter().find(|block| block.name == name)
    }

    /// The blocks of a page, in document order.
    pub(crate) fn members(&self, page: &str) -> impl Iterator<Item = &Block> {
        let all = page == PAGES[0];
        let is_member = move |(place, block): &(usize, &Block)| {
            all || *place < 3 || !matches!(block.rank, Rank::Optional(_))
        };
        self.blocks
            .iter()
            .enumerate()
            .filter(is_member)
            .map(|(_, block)| block)
    }

    fn layout(&self, page: &str) -> String {
        let slot = |block: &Block| {
            let (generation, name) = (self.generation, block.name);
            format!("<u>{generation}:{name}</u><fragment name=\"{name}\"></fragment>")
        };
        self.members(page).map(slot).collect()
    }

    fn toml(&self) -> String {
        let mut toml = String::from("[degradation]\nreader_cookie = \"who\"\n");
        for page in PAGES {
            let _ = write!(
                toml,
                "[pages.{page}]\nroute = \"/{page}/{{id}}\"\nlayout = \"{page}.html\"\n\
                 budget = \"{}ms\"\nsnapshot_keep = \"{}s\"\nsnapshot_every = \"1s\"\n\
                 [pages.{page}.cache]\nshared_max_age = \"{}s\"\n",
                self.budget.as_millis(),
                self.snapshot_keep.as_secs(),
                self.shared_max_age.as_secs(),
            );
        }
        for origin in ORIGINS {
            let _ = write!(
                toml,
                "[origins.{origin}]\nurls = [\"http://{origin}.invalid\"]\n\
                 timeout = \"{}ms\"\nmax_in_flight = {}\n",
                self.origin_timeout.as_millis(),
                self.max_in_flight,
            );
        }
        for block in &self.blocks {
            block.write(self.generation, &mut toml);
        }
        toml
    }

    /// Loads it as a server does; where it `is_broken`, with an error in it.
    pub(crate) fn load(&self, is_broken: bool) -> Result<Site, String> {
        let folder = tempfile::tempdir().expect("the temporary folder is writable");
        let file = folder.path().join("fragments.toml");
        std::fs::create_dir(folder.path().join("templates")).expect("a new folder");
        for page in PAGES {
            let layout = folder.path().join(format!("templates/{page}.html"));
            std::fs::write(layout, self.layout(page)).expect("a new file");
        }
        let mut toml = self.toml();
        if is_broken {
            toml += "[pages.broken]\nroute = \"/broken\"\nlayout = \"missing.html\"\n";
        }
        std::fs::write(&file, toml).expect("a new file");
        match config::load(&file, &|_| None) {
            Ok(loaded) => Ok(loaded.site),
            Err(diagnostics) => Err(format!("{diagnostics}\n{}", self.toml())),
        }
    }
}

impl Declared {
    /// The same with copies that are fresh for a while, of blocks for everybody.
    pub(crate) fn calm(mut self) -> Self {
        for block in &mut self.blocks {
            block.is_personal = false;
            block.reserve = Reserve::None;
            block.timeout = Duration::from_millis(200);
            (block.ttl, block.grace) = (Duration::from_secs(5), Duration::from_secs(60));
            block.keep = Duration::from_secs(60);
        }
        self.shared_max_age = Duration::from_secs(60);
        self.budget = Duration::from_secs(1);
        self
    }
}

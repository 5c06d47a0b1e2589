//! Who asks for pages, and when: by chance, or one after another.

use super::*;

impl Plant<'_> {
    pub(super) fn load_begins(&mut self, load: usize) {
        self.load = Some(load);
        let count = match self.scenario.loads[load].kind {
            LoadKind::Open { .. } => {
                self.next_arrival(load);
                0
            }
            LoadKind::Users { count, .. } => count as usize,
        };
        for user in count..self.users.len() {
            self.users[user] = false;
        }
        for user in 0..count {
            if user >= self.users.len() {
                self.users.push(false);
            }
            if !self.users[user] {
                self.users[user] = true;
                self.think(user);
            }
        }
    }

    /// Plans when somebody may ask next: as often as at the load's height, of which those that are too
    /// many are left out.
    fn next_arrival(&mut self, load: usize) {
        let LoadKind::Open { from, to } = self.scenario.loads[load].kind else {
            return;
        };
        let most = from.max(to);
        if most > 0.0 {
            let pause = pause(&mut self.chance.arrivals, 1e3 / most);
            self.agenda.plan(self.now + pause, Event::Arrive(load));
        }
    }

    pub(super) fn arrive(&mut self, load: usize) {
        if self.load != Some(load) {
            return;
        }
        self.next_arrival(load);
        let LoadKind::Open { from, to } = self.scenario.loads[load].kind else {
            return;
        };
        let rate = self.scenario.rate(self.now.duration());
        let is_one = from == to || self.chance.arrivals.f64() * from.max(to) < rate;
        if is_one {
            let reader = self.chance.readers.u32(0..self.scenario.readers);
            self.ask(reader, None, self.retries());
        }
    }

    /// How often whoever asks now asks again.
    fn retries(&self) -> u8 {
        let retry = self.load.and_then(|load| self.scenario.loads[load].retry);
        retry.map_or(0, |(_, often)| often)
    }

    /// A user reads.
    pub(super) fn think(&mut self, user: usize) {
        let kind = self.load.map(|load| self.scenario.loads[load].kind);
        if let Some(LoadKind::Users { think_ms, .. }) = kind
            && self.users[user]
        {
            let pause = pause(&mut self.chance.arrivals, think_ms);
            self.agenda.plan(self.now + pause, Event::Click(user));
        }
    }

    pub(super) fn click(&mut self, user: usize) {
        if self.users[user] {
            let reader = user as u32 % self.scenario.readers;
            self.ask(reader, Some(user), self.retries());
        }
    }

    pub(super) fn ask_again(&mut self, page: Key, left: u8) {
        let Some(page) = self.pages.get(page) else {
            return;
        };
        // whoever has lost patience does not look at it any more, but it is made all the same
        let (reader, user) = (page.reader_number, page.user.take());
        self.ask(reader, user, left);
    }

    /// A page is asked for.
    fn ask(&mut self, reader_number: u32, user: Option<usize>, retries: u8) {
        let reader = self.readers[reader_number as usize];
        self.deciding.meters().arrived(0);
        let admission = match self.scenario.degradation.has_snapshots {
            true => self.deciding.mode().admit(reader, 0),
            false => Admission::Compose(self.deciding.mode().level(reader, 0)),
        };
        let (level, is_snapshot) = match admission {
            Admission::Compose(level) => (level, false),
            Admission::Snapshot => (Level::FULL, true),
        };
        let page = Page::asked(reader_number, user, level, self.now, self.blocks.len());
        let key = self.pages.put(page);
        self.meter.asked();
        let retry = self.load.and_then(|load| self.scenario.loads[load].retry);
        if let Some((after, _)) = retry
            && retries > 0
        {
            let event = Event::AskAgain(key, retries - 1);
            self.agenda.plan(self.after(after), event);
        }
        if is_snapshot {
            self.give_snapshot(key.place);
            return;
        }
        let takes = self.chance.work.time(&self.plan_work);
        self.composer.add(Job::Plan(key.place), takes, self.now);
        self.dispatch();
        if self.scenario.degradation.has_snapshots {
            let patience = self.scenario.degradation.wait_max;
            self.agenda.plan(self.after(patience), Event::TooLate(key));
        }
    }

    fn give_snapshot(&mut self, page: usize) {
        self.pages.at(page).core = Core::Snapshot;
        let job = Job::Snapshot(page);
        self.composer.add(job, self.snapshot_work, self.now);
        self.dispatch();
    }

    /// A page that has not begun may not wait any longer.
    pub(super) fn too_late(&mut self, page: Key) {
        let is_there = self.pages.get(page).is_some();
        if is_there && self.composer.give_up(page.place, self.now) {
            self.give_snapshot(page.place);
        }
    }
}

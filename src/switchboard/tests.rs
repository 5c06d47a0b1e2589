//! The switchboard with a real folder and a paused clock: what is in force, what is told, what is
//! written, and what is found again.

use std::collections::BTreeSet;
use std::fs;

use tokio_util::task::TaskTracker;

use super::*;
use crate::degradation::switches::Factor;
use crate::degradation::switches::schedule::{Schedule, When, Window};
use crate::report::PageReport;

const HOUR: Duration = Duration::from_secs(3600);

/// Remembers what it is told.
#[derive(Default)]
struct Listener(Mutex<Vec<Event>>);

impl Observer for Listener {
    fn page(&self, _: &PageReport<'_>) {}

    fn event(&self, event: &Event) {
        self.0.lock().push(event.clone());
    }
}

impl Listener {
    fn told(&self) -> Vec<String> {
        let events = std::mem::take(&mut *self.0.lock());
        let words = events.into_iter().map(|event| match &event {
            Event::Switched(change) => {
                let text = change.to_string();
                // moments are of this run
                text.split(" until 2").next().unwrap_or_default().to_owned()
            }
            Event::SwitchesLost(_) => "lost".to_owned(),
            Event::Reloaded { .. }
            | Event::ReloadRefused { .. }
            | Event::Degraded { .. }
            | Event::Purged { .. }
            | Event::Origin { .. }
            | Event::Started { .. }
            | Event::Stopping
            | Event::Stopped(_)
            | Event::Acted(_)
            | Event::ActRefused { .. }
            | Event::Pushed
            | Event::Fault { .. }
            | Event::Chaos { .. }
            | Event::Certificates(_)
            | Event::Slo { .. } => panic!("{event:?}"),
        });
        words.collect()
    }
}

/// A server's life: a board over a folder, and who listens to it.
struct Life {
    board: Arc<Switchboard>,
    listener: Arc<Listener>,
}

fn begin(folder: Option<&Path>) -> Life {
    let listener = Arc::new(Listener::default());
    let observers = vec![Arc::clone(&listener) as Arc<dyn Observer>];
    let board = Arc::new(Switchboard::open(folder, Clock::start(), observers));
    Life { board, listener }
}

impl Life {
    fn switch(&self, act: Act, span: Duration) -> Switch {
        Switch::new(act, "desk", "a test", self.board.now(), span).unwrap()
    }

    /// Sets it, and tells whether it will survive a restart.
    async fn set(&self, act: Act, span: Duration) -> Result<(), String> {
        self.board.set(self.switch(act, span)).unwrap();
        self.board.keep().await
    }

    fn overrides(&self) -> Arc<Overrides> {
        self.board.in_force().load_full()
    }
}

fn off(block: &str) -> Act {
    let block = block.to_owned();
    Act::Off { block }
}

fn pin(level: u8) -> Act {
    let level = Level::new(level);
    Act::Pin { level }
}

fn files(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn what_is_set_is_in_force_at_once_and_everybody_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let life = begin(Some(folder.path()));
    assert_eq!(life.set(off("ad"), HOUR).await, Ok(()));
    assert!(life.overrides().is_off("ad"));
    let block = || "ad".to_owned();
    life.set(Act::On { block: block() }, HOUR).await.unwrap();
    assert!(life.overrides().is_on("ad") && !life.overrides().is_off("ad"));
    let cleared = life
        .board
        .clear(&Subject::Block(block()), "the other shift");
    assert_eq!(cleared.unwrap().act, Act::On { block: block() });
    assert_eq!(life.board.clear(&Subject::Block(block()), "x"), None);
    assert_eq!(*life.overrides(), Overrides::default());
    let told = life.listener.told();
    assert_eq!(told.len(), 3);
    assert_eq!(told[0], "ad is off");
    assert_eq!(told[1], "ad is always on");
    assert_eq!(
        told[2],
        "taken back by the other shift: ad is always on, by desk: a test"
    );
}

#[tokio::test]
async fn whoever_must_know_at_once_does() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    let board = Switchboard::open(None, Clock::start(), Vec::new());
    let board = board.publishing(move |overrides| hears.lock().push(overrides.ttl_factor));
    let factor = Factor::new(4.0).unwrap();
    let switch = Switch::new(Act::Ttl { factor }, "x", "x", board.now(), HOUR);
    board.set(switch.unwrap()).unwrap();
    board.clear(&Subject::Ttl, "x");
    assert_eq!(*heard.lock(), [1.0, 4.0, 1.0]);
}

#[tokio::test]
async fn switches_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let life = begin(Some(folder.path()));
    life.set(off("ad"), HOUR).await.unwrap();
    life.set(pin(2), HOUR).await.unwrap();
    life.set(Act::Freeze, HOUR).await.unwrap();
    life.board.clear(&Subject::Freeze, "x");
    life.board.keep().await.unwrap();
    let before = life.overrides();
    drop(life);

    let life = begin(Some(folder.path()));
    assert_eq!(*life.overrides(), *before);
    assert_eq!(life.overrides().pin, Some(Level::new(2)));
    assert_eq!(life.listener.told(), Vec::<String>::new());
    assert_eq!(files(folder.path()), ["switches.json"]);
}

#[tokio::test(start_paused = true)]
async fn a_switch_ends_by_itself_and_everybody_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let life = begin(Some(folder.path()));
    let stop = CancellationToken::new();
    let tending = TaskTracker::new();
    tending.spawn(Arc::clone(&life.board).tend(stop.clone()));
    tending.close();
    life.set(off("ad"), HOUR).await.unwrap();
    life.set(off("live"), HOUR * 2).await.unwrap();
    life.set(Act::Freeze, HOUR * 3).await.unwrap();
    life.listener.told();

    sleep(HOUR - Duration::from_secs(1)).await;
    assert!(life.overrides().is_off("ad"));
    sleep(Duration::from_secs(2)).await;
    assert!(!life.overrides().is_off("ad") && life.overrides().is_off("live"));
    assert_eq!(life.listener.told(), ["over: ad is off, by desk: a test"]);

    // one that is set again ends when the new one does
    life.set(off("live"), HOUR * 12).await.unwrap();
    sleep(HOUR * 4).await;
    assert!(life.overrides().is_off("live") && !life.overrides().is_frozen);

    stop.cancel();
    tending.wait().await;
    drop(life);
    let left = begin(Some(folder.path()));
    let expected = BTreeSet::from(["live".to_owned()]);
    assert_eq!(left.overrides().off, expected);
}

#[tokio::test(start_paused = true)]
async fn what_ended_while_the_server_was_down_is_told_at_its_start() {
    let folder = tempfile::tempdir().unwrap();
    let life = begin(Some(folder.path()));
    let clock = Clock::start();
    life.set(off("ad"), HOUR).await.unwrap();
    life.set(off("live"), HOUR * 3).await.unwrap();
    drop(life);
    tokio::time::advance(HOUR * 2).await;
    let listener = Arc::new(Listener::default());
    let observers = vec![Arc::clone(&listener) as Arc<dyn Observer>];
    let board = Switchboard::open(Some(folder.path()), clock, observers);
    assert_eq!(listener.told(), ["over: ad is off, by desk: a test"]);
    assert!(board.in_force().load().is_off("live") && !board.in_force().load().is_off("ad"));
}

#[tokio::test]
async fn a_damaged_file_is_set_aside_and_the_server_begins_without_switches() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("switches.json");
    for (n, damaged) in ["", "{", "null", "{\"version\":0,\"switches\":[]}"]
        .iter()
        .enumerate()
    {
        fs::write(&file, damaged).unwrap();
        let life = begin(Some(folder.path()));
        assert_eq!(*life.overrides(), Overrides::default());
        assert_eq!(life.listener.told(), ["lost"]);
        let aside = folder.path().join(format!("switches.json.aside-{}", n + 1));
        assert_eq!(fs::read_to_string(aside).unwrap(), *damaged);
        assert!(!file.exists());
    }
    // the latest two are enough to find out what it was
    let expected = ["switches.json.aside-3", "switches.json.aside-4"];
    assert_eq!(files(folder.path()), expected);

    let life = begin(Some(folder.path()));
    assert_eq!(life.set(off("ad"), HOUR).await, Ok(()));
    drop(life);
    assert!(begin(Some(folder.path())).overrides().is_off("ad"));
}

#[tokio::test]
async fn one_changed_letter_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let life = begin(Some(folder.path()));
    life.set(pin(3), HOUR).await.unwrap();
    drop(life);
    let file = folder.path().join("switches.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("\"level\": 3", "\"level\": 9")).unwrap();
    let life = begin(Some(folder.path()));
    assert_eq!(life.listener.told(), ["lost"]);
    assert_eq!(life.overrides().pin, None);
}

#[tokio::test]
async fn what_is_no_file_is_kept_under_another_name_when_a_switch_is_set() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("switches.json")).unwrap();
    let life = begin(Some(folder.path()));
    assert_eq!(life.listener.told(), ["lost"]);
    assert_eq!(life.board.keep().await, Ok(()));
    assert_eq!(files(folder.path()), ["switches.json"]);
    assert_eq!(life.set(off("ad"), HOUR).await, Ok(()));
    let both = ["switches.json", "switches.json.aside-1"];
    assert_eq!(files(folder.path()), both);
    assert!(folder.path().join(both[1]).is_dir());
    assert!(begin(Some(folder.path())).overrides().is_off("ad"));
}

/// A folder in which a switch was set, and whose file cannot be read until it is put in its place
/// again. Gives the folder, the file's name, and where it is meanwhile.
async fn unreadable() -> (tempfile::TempDir, std::path::PathBuf, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let before = begin(Some(folder.path()));
    before.set(off("ad"), HOUR).await.unwrap();
    before.set(off("live"), HOUR).await.unwrap();
    let (file, away) = ("switches.json", "away");
    let (file, away) = (folder.path().join(file), folder.path().join(away));
    fs::rename(&file, &away).unwrap();
    // a link to itself: an error of the disk that even root gets
    std::os::unix::fs::symlink(&file, &file).unwrap();
    (folder, file, away)
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_read_for_a_moment_is_in_force_after_it() {
    let (folder, file, away) = unreadable().await;
    let life = begin(Some(folder.path()));
    let stop = CancellationToken::new();
    let tending = TaskTracker::new();
    tending.spawn(Arc::clone(&life.board).tend(stop.clone()));
    tending.close();
    assert_eq!(life.listener.told(), ["lost"]);
    sleep(READ_AGAIN * 3).await;
    assert_eq!(files(folder.path()), ["away", "switches.json"]);
    assert!(!life.overrides().is_off("ad"));

    let text = fs::read(&away).unwrap();
    fs::rename(&away, &file).unwrap();
    sleep(READ_AGAIN * 2).await;
    assert!(life.overrides().is_off("ad") && life.overrides().is_off("live"));
    assert_eq!(life.listener.told(), ["ad is off", "live is off"]);
    assert_eq!(fs::read(&file).unwrap(), text, "nothing has changed");
    stop.cancel();
    tending.wait().await;
}

#[tokio::test]
async fn what_was_decided_since_stands_beside_what_can_be_read_again() {
    let (folder, file, away) = unreadable().await;
    let life = begin(Some(folder.path()));
    let block = "ad".to_owned();
    let on = life.switch(Act::On { block }, HOUR);
    life.board.set(on).unwrap();
    fs::rename(&away, &file).unwrap();
    life.board.keep().await.unwrap();
    for life in [&life, &begin(Some(folder.path()))] {
        let overrides = life.overrides();
        assert!(overrides.is_on("ad") && !overrides.is_off("ad"));
        assert!(overrides.is_off("live"));
    }
    assert_eq!(files(folder.path()), ["switches.json"]);
}

#[tokio::test]
async fn the_file_of_a_newer_program_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("switches.json");
    let newer = "{\"version\":9,\"more\":[]}";
    fs::write(&file, newer).unwrap();
    let life = begin(Some(folder.path()));
    assert_eq!(life.listener.told(), ["lost"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), newer);
    for block in ["ad", "live"] {
        assert_eq!(life.set(off(block), HOUR).await, Ok(()));
    }
    let both = ["switches.json", "switches.json.aside-1"];
    assert_eq!(files(folder.path()), both);
    let aside = fs::read_to_string(folder.path().join(both[1]));
    assert_eq!(aside.unwrap(), newer);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    // opening a pipe waits for whoever reads
    let pipe = folder.path().join("switches.json.next");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let life = begin(Some(folder.path()));
    let stop = CancellationToken::new();
    let tending = TaskTracker::new();
    tending.spawn(Arc::clone(&life.board).tend(stop.clone()));
    tending.close();
    let late = async |act, span| {
        // time stands still while a write is under way
        let passing = tokio::time::advance(DISK_TIME + Duration::from_secs(1));
        let (kept, ()) = futures::join!(life.set(act, span), passing);
        assert_eq!(kept.unwrap_err(), "the disk has not answered for 5 s");
    };
    late(off("ad"), HOUR).await;
    late(off("live"), HOUR * 5).await;
    assert!(life.overrides().is_off("ad") && life.overrides().is_off("live"));
    life.listener.told();

    tokio::time::advance(HOUR).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!life.overrides().is_off("ad") && life.overrides().is_off("live"));
    assert_eq!(life.listener.told(), ["over: ad is off, by desk: a test"]);

    // the disk is well again, and what was decided last is written last
    fs::read(&pipe).unwrap();
    life.board.keep().await.unwrap();
    assert_eq!(life.board.trouble.lock().clone(), None);
    assert_eq!(files(folder.path()), ["switches.json"]);
    let written = Folder::new(folder.path()).read().unwrap();
    let written = written.switches().iter().map(|switch| switch.act.clone());
    assert_eq!(written.collect::<Vec<_>>(), [off("live")]);
    stop.cancel();
    tending.wait().await;
}

#[tokio::test]
async fn a_switch_that_cannot_be_written_is_in_force_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    // where a folder should be there is a file: nobody can write below it
    let state = folder.path().join("state");
    fs::write(&state, "x").unwrap();
    let life = begin(Some(&state));
    let why = life.set(off("ad"), HOUR).await.unwrap_err();
    assert!(
        why.contains("state/switches.json cannot be written"),
        "{why}"
    );
    assert!(life.overrides().is_off("ad"));
    assert_eq!(life.board.trouble.lock().clone(), Some(why));

    // and once the disk is well again, the next one takes it along
    fs::remove_file(&state).unwrap();
    assert_eq!(life.board.keep().await, Ok(()));
    assert_eq!(life.board.trouble.lock().clone(), None);
    drop(life);
    assert!(begin(Some(&state)).overrides().is_off("ad"));
}

#[tokio::test]
async fn half_a_file_never_takes_the_place_of_a_whole_one() {
    let folder = tempfile::tempdir().unwrap();
    let life = begin(Some(folder.path()));
    life.set(off("ad"), HOUR).await.unwrap();
    // what a crash in the middle of a write leaves
    fs::write(folder.path().join("switches.json.next"), "{\"version\"").unwrap();
    drop(life);
    let life = begin(Some(folder.path()));
    assert!(life.overrides().is_off("ad"));
    assert_eq!(life.listener.told(), Vec::<String>::new());
    life.set(off("live"), HOUR).await.unwrap();
    assert_eq!(files(folder.path()), ["switches.json"]);
}

#[tokio::test]
async fn a_site_without_a_state_folder_is_told_that_nothing_survives() {
    let life = begin(None);
    let why = life.set(off("ad"), HOUR).await.unwrap_err();
    assert_eq!(why, "the site declares no `state_dir`");
    assert!(life.overrides().is_off("ad"));
}

#[tokio::test]
async fn the_level_of_the_command_line_is_of_this_run_only() {
    let folder = tempfile::tempdir().unwrap();
    let life = begin(Some(folder.path()));
    life.board.pin_for_this_run(Level::new(2));
    life.set(off("ad"), HOUR).await.unwrap();
    assert_eq!(life.overrides().pin, Some(Level::new(2)));
    drop(life);
    let life = begin(Some(folder.path()));
    assert_eq!(life.overrides().pin, None);
    assert!(life.overrides().is_off("ad"));

    // a pin that somebody has decided on stays
    life.board.pin_for_this_run(Level::new(2));
    life.set(pin(1), HOUR).await.unwrap();
    drop(life);
    assert_eq!(
        begin(Some(folder.path())).overrides().pin,
        Some(Level::new(1))
    );
}

#[tokio::test(start_paused = true)]
async fn the_level_of_the_command_line_stands_above_a_pin_that_lasts() {
    let folder = tempfile::tempdir().unwrap();
    let pinned = |life: &Life| life.overrides().pin.map(Level::get);
    begin(Some(folder.path()))
        .set(pin(1), HOUR * 24 * 30)
        .await
        .unwrap();
    let life = begin(Some(folder.path()));
    life.board.pin_for_this_run(Level::new(2));
    assert_eq!(pinned(&life), Some(2));
    life.set(off("ad"), HOUR).await.unwrap();
    drop(life);
    let life = begin(Some(folder.path()));
    assert_eq!(pinned(&life), Some(1), "and another switch was written");

    // it does not end by itself, whatever does
    life.board.pin_for_this_run(Level::new(2));
    tokio::time::advance(HOUR * 24 * 40).await;
    life.board.turn();
    life.set(off("live"), HOUR).await.unwrap();
    assert_eq!(pinned(&life), Some(2));

    // whoever sets a pin, or takes it back, ends both
    let before = life.board.set(life.switch(pin(3), HOUR)).unwrap();
    assert_eq!(before.unwrap().owner, "command line");
    assert_eq!(pinned(&life), Some(3));
    life.board.pin_for_this_run(Level::new(2));
    life.listener.told();
    let before = life.board.clear(&Subject::Pin, "x");
    assert_eq!(before.unwrap().owner, "command line");
    assert_eq!(pinned(&life), None);
    assert_eq!(life.listener.told().len(), 2);
    assert_eq!(life.board.clear(&Subject::Pin, "x"), None);
    life.board.keep().await.unwrap();
    drop(life);
    assert_eq!(pinned(&begin(Some(folder.path()))), None);
}

/// What begins so far after now, and lasts an hour.
fn schedule(life: &Life, name: &str, after: Duration) -> Schedule {
    let from = life.board.now().after(after);
    let until = from.after(HOUR);
    Schedule {
        name: name.to_owned(),
        acts: vec![off("ad"), pin(2)],
        owner: "chief".to_owned(),
        reason: "results".to_owned(),
        when: When::Once(Window { from, until }),
        zone: jiff::tz::TimeZone::UTC,
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_set_by_the_clock_begins_and_ends_and_everybody_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let life = begin(Some(folder.path()));
    let stop = CancellationToken::new();
    let tending = TaskTracker::new();
    tending.spawn(Arc::clone(&life.board).tend(stop.clone()));
    tending.close();
    life.board.declare(&[schedule(&life, "night", HOUR * 2)]);
    let (now, from) = (life.board.now(), life.board.now().after(HOUR));
    let until = from.after(HOUR * 3);
    let planned = Switch::planned(off("live"), "desk", "a test", now, from, until);
    life.board.set(planned.unwrap()).unwrap();
    life.board.keep().await.unwrap();
    assert_eq!(life.listener.told().len(), 1);
    assert_eq!(*life.overrides(), Overrides::default());
    let moment = Duration::from_secs(1);
    sleep(HOUR - moment).await;
    assert_eq!(life.listener.told(), Vec::<String>::new());
    sleep(moment * 2).await;
    assert_eq!(life.listener.told(), ["begun: live is off"]);
    assert!(life.overrides().is_off("live") && !life.overrides().is_off("ad"));
    sleep(HOUR).await;
    let begun = ["begun: ad is off", "begun: the level is pinned at 2"];
    assert_eq!(life.listener.told(), begun);
    assert!(life.overrides().is_off("ad") && life.overrides().is_off("live"));
    // a reload that changes nothing of it is not told
    let same = life.board.held.lock().schedules.clone();
    life.board.declare(&same);
    assert_eq!(life.listener.told(), Vec::<String>::new());
    sleep(HOUR).await;
    let over = [
        "over: ad is off, by chief: results",
        "over: the level is pinned at 2, by chief: results",
    ];
    assert_eq!(life.listener.told(), over);
    assert!(life.overrides().is_off("live") && life.overrides().pin.is_none());
    sleep(HOUR).await;
    assert_eq!(life.listener.told(), ["over: live is off, by desk: a test"]);
    assert_eq!(*life.overrides(), Overrides::default());
    stop.cancel();
    tending.wait().await;
}

#[tokio::test(start_paused = true)]
async fn what_begins_later_is_there_after_a_restart_and_is_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let life = begin(Some(folder.path()));
    let now = life.board.now();
    let (from, until) = (now.after(HOUR * 30), now.after(HOUR * 31));
    let planned = Switch::planned(off("live"), "desk", "a test", now, from, until).unwrap();
    life.board.set(planned.clone()).unwrap();
    life.set(off("live"), HOUR).await.unwrap();
    drop(life);
    let life = begin(Some(folder.path()));
    assert_eq!(life.board.find(&planned.key()), Some(planned.clone()));
    // the one of now is the one that is meant by the subject alone
    let cleared = life
        .board
        .clear(&Subject::Block("live".into()), "x")
        .unwrap();
    assert_eq!(cleared.from, None);
    assert_eq!(life.board.clear(&Subject::Block("live".into()), "x"), None);
    assert_eq!(life.board.clear(planned.key(), "x"), Some(planned));
    life.board.keep().await.unwrap();
    drop(life);
    let life = begin(Some(folder.path()));
    assert_eq!(life.board.held.lock().ledger.switches().iter().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_pin_of_this_run_is_above_what_is_scheduled() {
    let life = begin(None);
    life.board.pin_for_this_run(Level::new(1));
    life.board
        .declare(&[schedule(&life, "night", Duration::ZERO)]);
    assert_eq!(life.overrides().pin, Some(Level::new(1)));
    assert!(life.overrides().is_off("ad"));
    life.board.clear(&Subject::Pin, "x").unwrap();
    assert_eq!(life.overrides().pin, Some(Level::new(2)));
    assert_eq!(life.board.clear(&Subject::Pin, "x"), None);
    let by = life.board.scheduled_by(&Subject::Pin);
    assert_eq!(by.as_deref(), Some("night"));
}

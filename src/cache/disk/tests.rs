//! The store as its users see it, on real files: what is returned was stored, whatever happens to
//! the folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64};

use proptest::collection::vec;
use proptest::prelude::*;
use tempfile::{TempDir, tempdir};

use super::*;

const FOREVER: u64 = u64::MAX;
const SMALL: Limits = Limits {
    bytes_max: 16 << 10,
    segment_bytes: 2 << 10,
    records_max: 1 << 20,
};

fn id(number: usize) -> CopyId {
    CopyId::named(&number.to_string())
}

/// A body that is not another's.
fn body(number: usize, version: usize, len: usize) -> Vec<u8> {
    let mut body = format!("{number}.{version}:").into_bytes();
    body.resize(body.len() + len, number as u8);
    body
}

fn open(folder: &Path, limits: Limits) -> Disk {
    open_on(folder, limits, Platter)
}

fn open_on(folder: &Path, limits: Limits, medium: impl Medium + 'static) -> Disk {
    Disk::open_on(folder.to_owned(), limits, Clock::start(), Box::new(medium))
}

fn roomy() -> Limits {
    Limits::of(4 << 20)
}

impl Disk {
    fn keep(&self, number: usize, body: &[u8]) {
        self.keep_as(number, body, false, FOREVER);
    }

    fn keep_as(&self, number: usize, body: &[u8], pinned: bool, good_until: u64) {
        let frame = body.to_vec();
        self.put(
            id(number),
            body.len(),
            pinned,
            good_until,
            Box::new(|| frame),
        );
    }

    fn find(&self, number: usize) -> Option<Vec<u8>> {
        self.get_blocking(&id(number)).map(|body| body.to_vec())
    }

    /// Everything is on disk.
    fn settle(&self) {
        assert!(self.flush_blocking(), "{:?}", self.state());
    }
}

fn files(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "lock").collect()
}

fn bytes_in(folder: &Path) -> u64 {
    let len = |name: &String| fs::metadata(folder.join(name)).map_or(0, |metadata| metadata.len());
    files(folder).iter().map(len).sum()
}

fn copy_of(folder: &Path) -> TempDir {
    let copy = tempdir().unwrap();
    for name in files(folder) {
        fs::copy(folder.join(&name), copy.path().join(&name)).unwrap();
    }
    copy
}

#[test]
fn what_was_kept_is_there_after_a_restart_and_what_was_removed_is_not() {
    let folder = tempdir().unwrap();
    let disk = open(folder.path(), roomy());
    assert_eq!(disk.find(1), None);
    disk.keep(1, b"old");
    disk.settle();
    disk.keep(1, b"new");
    disk.keep(2, b"removed");
    disk.keep(3, b"");
    disk.settle();
    assert!(disk.contains(&id(2)));
    disk.remove(id(2));
    assert_eq!(disk.find(2), None, "at once");
    drop(disk);

    let disk = open(folder.path(), roomy());
    let found: Vec<_> = (1..=3).map(|number| disk.find(number)).collect();
    assert_eq!(found, [Some(b"new".to_vec()), None, Some(Vec::new())]);
    let state = disk.state();
    assert_eq!((state.records, state.problem), (2, None));
    assert_eq!((state.pending, state.dropped, state.refused), (0, 0, 0));
    assert_eq!(
        files(folder.path()).len(),
        1,
        "the last segment is continued"
    );
}

#[tokio::test]
async fn it_is_asked_from_a_runtime() {
    let folder = tempdir().unwrap();
    let disk = open(folder.path(), roomy());
    disk.keep(1, b"one");
    assert!(disk.flush().await);
    assert_eq!(disk.get(id(1)).await.as_deref(), Some(&b"one"[..]));
    assert_eq!(disk.get(id(2)).await, None);
}

#[tokio::test]
async fn many_who_ask_at_once_all_get_an_answer() {
    let folder = tempdir().unwrap();
    let disk = open(folder.path(), roomy());
    (0..200).for_each(|number| disk.keep(number, &body(number, 0, 100)));
    assert!(disk.flush().await);
    let all = futures::future::join_all((0..200).map(|number| disk.get(id(number)))).await;
    for (number, found) in all.into_iter().enumerate() {
        assert_eq!(found.as_deref(), Some(&body(number, 0, 100)[..]));
    }
}

#[tokio::test(start_paused = true)]
async fn when_all_reads_hang_nobody_waits() {
    let clock = Clock::start();
    let readers = Arc::new(Readers::new(clock));
    let mut hanging = Vec::new();
    for _ in 0..READERS_MAX {
        hanging.push(readers.enter().await.unwrap());
    }
    assert!(readers.enter().await.is_none(), "waits a while");
    let asked = clock.now();
    assert!(readers.enter().await.is_none());
    assert_eq!(clock.now(), asked, "at once: nothing has moved since");
    hanging.pop();
    let _back = readers.enter().await.unwrap();
    let waiting = readers.enter();
    tokio::pin!(waiting);
    assert!(futures::poll!(&mut waiting).is_pending(), "it moves again");
    hanging.pop();
    assert!(waiting.await.is_some());
}

#[derive(Debug, Clone)]
enum Step {
    Keep(usize, usize, bool),
    Remove(usize),
    Flush,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        10 => (0..12usize, 0..700usize, any::<bool>()).prop_map(|(n, len, pin)| Step::Keep(n, len, pin)),
        3 => (0..12usize).prop_map(Step::Remove),
        2 => Just(Step::Flush),
        1 => Just(Step::Restart),
    ];
    vec(step, 1..120)
}

/// Takes the steps; after each flush and restart `check` sees the store and what it was given last.
fn take(steps: &[Step], limits: Limits, check: impl Fn(&Disk, &BTreeMap<usize, Vec<u8>>, &Path)) {
    let folder = tempdir().unwrap();
    let mut disk = open(folder.path(), limits);
    let mut model = BTreeMap::new();
    for (version, step) in steps.iter().enumerate() {
        match step {
            Step::Keep(number, len, pinned) => {
                let body = body(*number, version, *len);
                disk.keep_as(*number, &body, *pinned, FOREVER);
                model.insert(*number, body);
            }
            Step::Remove(number) => {
                disk.remove(id(*number));
                model.remove(number);
                assert_eq!(disk.find(*number), None, "removed at once");
            }
            Step::Flush => disk.settle(),
            Step::Restart => {
                drop(disk);
                disk = open(folder.path(), limits);
            }
        }
        if matches!(step, Step::Flush | Step::Restart) {
            check(&disk, &model, folder.path());
        }
    }
    drop(disk);
    check(&open(folder.path(), limits), &model, folder.path());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn with_room_it_is_a_map(steps in steps()) {
        take(&steps, roomy(), |disk, model, _| {
            for number in 0..12 {
                assert_eq!(disk.find(number).as_ref(), model.get(&number), "{number}");
            }
            assert_eq!(disk.state().records, model.len());
        });
    }

    #[test]
    fn without_room_it_is_a_map_that_forgets(steps in steps()) {
        take(&steps, SMALL, |disk, model, folder| {
            for number in 0..12 {
                let found = disk.find(number);
                assert!(found.is_none() || found.as_ref() == model.get(&number), "{number}");
            }
            assert!(bytes_in(folder) <= SMALL.bytes_max);
            assert_eq!(disk.state().bytes, bytes_in(folder));
        });
    }

    #[test]
    fn flipped_bytes_cost_records_and_never_change_one(
        flips in vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1..=255u8), 1..20),
    ) {
        let folder = tempdir().unwrap();
        let limits = Limits { segment_bytes: 8 << 10, ..roomy() };
        let disk = open(folder.path(), limits);
        let mut stored: BTreeMap<usize, BTreeSet<Vec<u8>>> = BTreeMap::new();
        for version in 0..3 {
            for number in 0..30 {
                let body = body(number, version, number * 17);
                disk.keep(number, &body);
                stored.entry(number).or_default().insert(body);
            }
            disk.settle();
        }
        drop(disk);
        let names: Vec<_> = files(folder.path()).into_iter().collect();
        for (file, at, with) in &flips {
            let path = folder.path().join(file.get(&names));
            let mut bytes = fs::read(&path).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= with;
            fs::write(path, bytes).unwrap();
        }
        let disk = open(folder.path(), limits);
        let mut lost = 0;
        for (number, bodies) in &stored {
            match disk.find(*number) {
                Some(found) => prop_assert!(bodies.contains(&found), "{number}: {found:?}"),
                None => lost += 1,
            }
        }
        // a file whose three heads are all hit would cost more; twenty flips do not do that here
        prop_assert!(lost <= flips.len(), "{lost} lost to {} flips", flips.len());
        disk.keep(0, b"goes on");
        disk.settle();
        prop_assert_eq!(disk.find(0), Some(b"goes on".to_vec()));
    }
}

#[test]
fn a_write_torn_at_any_byte_costs_what_was_not_written_and_no_more() {
    let folder = tempdir().unwrap();
    let disk = open(folder.path(), roomy());
    let mut ends = Vec::new();
    for number in 0..8 {
        disk.keep(number, &body(number, 0, 20 + number));
        disk.settle();
        ends.push(disk.state().bytes);
    }
    drop(disk);
    let name = files(folder.path()).pop_last().unwrap();
    for cut in ends[4]..=ends[7] {
        // nothing, what a power cut leaves of a longer file, and the beginning of a record
        let garbage = [&b""[..], &[0; 200], &record::SYNC][cut as usize % 3];
        let copy = copy_of(folder.path());
        let file = File::options()
            .write(true)
            .open(copy.path().join(&name))
            .unwrap();
        file.set_len(cut).unwrap();
        file.write_all_at(garbage, cut).unwrap();
        drop(file);
        let disk = open(copy.path(), roomy());
        for (number, end) in ends.iter().enumerate() {
            let expected = (*end <= cut).then(|| body(number, 0, 20 + number));
            assert_eq!(
                disk.find(number),
                expected,
                "{number} of a file cut at {cut}"
            );
        }
        disk.keep(100, b"after");
        drop(disk);
        let disk = open(copy.path(), roomy());
        assert_eq!(disk.find(100), Some(b"after".to_vec()), "cut at {cut}");
        assert_eq!(disk.find(0), Some(body(0, 0, 20)));
    }
}

#[test]
fn a_file_cut_in_its_head_is_made_anew() {
    for len in 0..record::SEGMENT_HEAD as u64 {
        let folder = tempdir().unwrap();
        drop(open(folder.path(), roomy()));
        let path = segment::path(folder.path(), 1);
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(len)
            .unwrap();
        let disk = open(folder.path(), roomy());
        disk.keep(1, b"one");
        disk.settle();
        drop(disk);
        assert_eq!(
            open(folder.path(), roomy()).find(1),
            Some(b"one".to_vec()),
            "{len}"
        );
        assert_eq!(files(folder.path()).len(), 1, "{len}");
    }
}

#[test]
fn one_damaged_record_costs_one_record() {
    let folder = tempdir().unwrap();
    let disk = open(folder.path(), roomy());
    for number in 0..5 {
        disk.keep(number, &body(number, 0, 1000));
        disk.settle();
    }
    drop(disk);
    let path = segment::path(folder.path(), 1);
    let whole = fs::read(&path).unwrap();
    let middle = whole.windows(4).position(|bytes| bytes == b"2.0:").unwrap();
    for (at, refused) in [
        (middle + 500, 1),
        (middle - 1, 0),
        (middle - record::HEAD, 0),
    ] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(&path, damaged).unwrap();
        let disk = open(folder.path(), roomy());
        let found: Vec<_> = (0..5)
            .filter(|number| disk.find(*number).is_some())
            .collect();
        assert_eq!(found, [0, 1, 3, 4], "byte {at}");
        assert_eq!(disk.state().refused, refused, "byte {at}");
        assert_eq!(disk.state().records, 4, "byte {at}");
    }
}

#[test]
fn a_body_that_holds_records_is_not_taken_for_them() {
    let folder = tempdir().unwrap();
    let disk = open(folder.path(), roomy());
    let forged = |salt| {
        let label = log::label(
            &id(1),
            &segment::Place {
                seq: 1 << 62,
                good_until: 0,
                segment: 0,
                offset: 0,
                len: 0,
                pinned: false,
            },
        );
        let mut bytes = record::Head::of(&label, b"forged", salt)
            .encode(salt)
            .to_vec();
        bytes.extend_from_slice(b"forged");
        bytes
    };
    disk.keep(1, b"true");
    disk.keep(
        2,
        &[forged(0), forged(1), record::SYNC.repeat(1000)].concat(),
    );
    disk.settle();
    drop(disk);
    let path = segment::path(folder.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes
        .windows(32)
        .position(|bytes| bytes == id(2).0)
        .unwrap();
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    let disk = open(folder.path(), roomy());
    assert_eq!(disk.find(1), Some(b"true".to_vec()));
    assert_eq!(disk.state().records, 1);
}

#[test]
fn files_that_are_not_segments_are_set_aside_and_few_are_kept() {
    let folder = tempdir().unwrap();
    let disk = open(folder.path(), roomy());
    disk.keep(1, b"one");
    drop(disk);
    let name = |number| segment::path(folder.path(), number);
    fs::write(
        name(2),
        "not a segment, and long enough to have had a head".repeat(9),
    )
    .unwrap();
    fs::write(name(3), "short").unwrap();
    fs::create_dir(name(4)).unwrap();
    fs::write(folder.path().join("9999999999.log"), "far").unwrap();
    fs::write(folder.path().join("notes.txt"), "someone's").unwrap();
    let disk = open(folder.path(), roomy());
    assert_eq!(disk.find(1), Some(b"one".to_vec()));
    disk.keep(2, b"two");
    disk.settle();
    let files = files(folder.path());
    let asides = files.iter().filter(|name| name.contains(".aside-"));
    assert_eq!(asides.count(), 2, "{files:?}");
    assert!(files.contains("notes.txt"), "{files:?}");
    drop(disk);
    assert_eq!(open(folder.path(), roomy()).find(2), Some(b"two".to_vec()));
}

#[test]
fn another_version_is_set_aside_whole() {
    let folder = tempdir().unwrap();
    let disk = open(folder.path(), roomy());
    disk.keep(1, b"one");
    drop(disk);
    let path = segment::path(folder.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    bytes[..record::SEGMENT_HEAD].copy_from_slice(&record::segment_head_of(2, 5));
    fs::write(&path, &bytes).unwrap();
    let disk = open(folder.path(), roomy());
    assert_eq!(disk.find(1), None);
    let aside = folder.path().join("0000000001.log.aside-1");
    assert_eq!(fs::read(aside).unwrap(), bytes);
    disk.keep(1, b"anew");
    disk.settle();
    assert_eq!(disk.find(1), Some(b"anew".to_vec()));
}

#[test]
fn a_folder_that_cannot_be_is_waited_for() {
    let parent = tempdir().unwrap();
    let file = parent.path().join("file");
    for folder in [file.clone(), file.join("below")] {
        fs::write(&file, "in the way").unwrap();
        let disk = open(&folder, roomy());
        disk.keep(1, b"lost");
        assert!(!disk.flush_blocking());
        let state = disk.state();
        assert_eq!((state.records, state.dropped), (0, 1));
        let problem = state.problem.unwrap();
        assert!(problem.contains(&*folder.to_string_lossy()), "{problem}");
        fs::remove_file(&file).unwrap();
        assert!(disk.flush_blocking(), "it is tried again");
        disk.keep(1, b"kept");
        disk.settle();
        assert_eq!(
            (disk.find(1), disk.state().problem),
            (Some(b"kept".to_vec()), None)
        );
        drop(disk);
        fs::remove_dir_all(&file).unwrap();
    }
}

#[test]
fn a_second_process_keeps_nothing_until_the_first_is_gone() {
    let folder = tempdir().unwrap();
    let first = open(folder.path(), roomy());
    first.keep(1, b"one");
    first.settle();
    let second = open(folder.path(), roomy());
    second.keep(2, b"two");
    assert!(!second.flush_blocking());
    let problem = second.state().problem.unwrap();
    assert!(
        problem.starts_with("another process has this folder"),
        "{problem}"
    );
    assert_eq!(second.find(1), None);
    drop(first);
    assert!(second.flush_blocking());
    assert_eq!(
        (second.find(1), second.state().problem),
        (Some(b"one".to_vec()), None)
    );
}

#[test]
fn files_deleted_under_it_are_written_again() {
    let folder = tempdir().unwrap();
    let disk = open(folder.path(), SMALL);
    (0..8).for_each(|number| disk.keep(number, &body(number, 0, 500)));
    disk.remove(id(7));
    disk.settle();
    let expect_all = |disk: &Disk| {
        for number in 0..7 {
            assert_eq!(disk.find(number), Some(body(number, 0, 500)), "{number}");
        }
        assert_eq!(disk.find(7), None);
    };
    let all = |_: usize, name: &Path| fs::remove_file(name).unwrap();
    let some = |number: usize, name: &Path| {
        if number.is_multiple_of(2) {
            all(number, name)
        }
    };
    for (round, remove) in [&all as &dyn Fn(usize, &Path), &some]
        .into_iter()
        .enumerate()
    {
        for (number, name) in files(folder.path()).iter().enumerate() {
            remove(number, &folder.path().join(name));
        }
        if round == 0 {
            fs::remove_dir_all(folder.path()).unwrap();
        }
        expect_all(&disk);
        // enough that a segment ends: the moment at which it looks whether all are there
        (20..28).for_each(|number| disk.keep(number, &body(number, round, 300)));
        disk.flush_blocking();
        disk.settle();
        expect_all(&disk);
        drop(open(copy_of(folder.path()).path(), SMALL));
        expect_all(&open(copy_of(folder.path()).path(), SMALL));
    }
}

#[test]
fn it_takes_no_more_than_it_may() {
    let folder = tempdir().unwrap();
    let disk = open(folder.path(), SMALL);
    for number in 0..400 {
        disk.keep(number, &body(number, 0, 300 + number));
        if number % 7 == 0 {
            disk.settle();
            assert!(
                bytes_in(folder.path()) <= SMALL.bytes_max,
                "{:?}",
                disk.state()
            );
        }
    }
    disk.settle();
    assert!(disk.state().written * 300 > 7 * SMALL.bytes_max);
    assert!(disk.state().evicted > 300);
    assert!(disk.find(399).is_some());
    // most of the ring is of use, not spare
    assert!(bytes_in(folder.path()) > SMALL.bytes_max / 2);
    drop(disk);
    let less = Limits {
        bytes_max: 8 << 10,
        ..SMALL
    };
    let disk = open(folder.path(), less);
    disk.keep(1000, b"one more");
    disk.settle();
    assert!(
        bytes_in(folder.path()) <= less.bytes_max,
        "a smaller limit holds at the next write"
    );
}

#[test]
fn what_is_pinned_stays_and_what_is_past_its_time_goes_first() {
    let folder = tempdir().unwrap();
    let disk = open(folder.path(), SMALL);
    // 12 of 400 bytes are 5 KiB and more: less than half of 16
    (0..12).for_each(|number| disk.keep_as(number, &body(number, 0, 300), true, FOREVER));
    disk.keep_as(50, &body(50, 0, 300), true, 1);
    for number in 100..500 {
        disk.keep(number, &body(number, 0, 300));
        if number % 5 == 0 {
            disk.settle();
        }
    }
    drop(disk);
    let disk = open(folder.path(), SMALL);
    for number in 0..12 {
        assert_eq!(disk.find(number), Some(body(number, 0, 300)), "{number}");
    }
    assert_eq!(disk.find(50), None, "past its time");
}

#[test]
fn more_pinned_records_than_half_do_not_stop_it() {
    let folder = tempdir().unwrap();
    let disk = open(folder.path(), SMALL);
    for number in 0..300 {
        disk.keep_as(number, &body(number, 0, 300), true, FOREVER);
        disk.settle();
        assert!(bytes_in(folder.path()) <= SMALL.bytes_max);
        assert!(disk.find(number).is_some());
    }
}

#[test]
fn a_copy_that_is_rewritten_again_and_again_evicts_nobody() {
    let folder = tempdir().unwrap();
    let disk = open(folder.path(), SMALL);
    (0..10).for_each(|number| disk.keep(number, &body(number, 0, 300)));
    for version in 0..300 {
        disk.keep(99, &body(99, version, 300));
        disk.settle();
    }
    assert_eq!(disk.state().evicted, 0);
    for number in 0..10 {
        assert_eq!(disk.find(number), Some(body(number, 0, 300)), "{number}");
    }
}

#[test]
fn the_number_of_records_is_bounded() {
    let folder = tempdir().unwrap();
    let limits = Limits {
        records_max: 40,
        ..SMALL
    };
    let disk = open(folder.path(), limits);
    for number in 0..500 {
        disk.keep_as(number, b"small", number % 2 == 0, FOREVER);
        disk.settle();
        // those of the segment that is written cannot go
        assert!(disk.state().records <= 40 + 25, "{:?}", disk.state());
    }
    assert!(disk.find(499).is_some());
}

#[test]
fn a_record_larger_than_a_segment_is_dropped() {
    let folder = tempdir().unwrap();
    let disk = open(folder.path(), SMALL);
    let largest = SMALL.segment_bytes as usize - record::SEGMENT_HEAD - record::HEAD;
    disk.keep(1, &vec![1; largest]);
    disk.keep(2, &vec![2; largest + 1]);
    disk.settle();
    assert_eq!(disk.find(1).unwrap().len(), largest);
    assert_eq!((disk.find(2), disk.state().dropped), (None, 1));
}

#[test]
fn a_frame_that_panics_costs_itself_and_leaves_nothing_old() {
    let folder = tempdir().unwrap();
    let disk = open(folder.path(), roomy());
    disk.keep(1, b"purged");
    disk.settle();
    // the writer is held, so that both are queued when it comes to them
    let (go, held) = sync_channel::<()>(1);
    let hold = move || {
        held.recv().unwrap();
        b"held".to_vec()
    };
    disk.put(id(3), 4, false, FOREVER, Box::new(hold));
    disk.remove(id(1));
    disk.put(id(1), 1, false, FOREVER, Box::new(|| panic!("on purpose")));
    disk.keep(2, b"two");
    go.send(()).unwrap();
    disk.settle();
    assert_eq!(disk.state().dropped, 1);
    drop(disk);
    let disk = open(folder.path(), roomy());
    assert_eq!((disk.find(1), disk.find(2)), (None, Some(b"two".to_vec())));
}

/// A disk of so many bytes, or one that fails in other ways.
#[derive(Clone, Default)]
struct Sick(Arc<Symptoms>);

#[derive(Default)]
struct Symptoms {
    folder: Mutex<PathBuf>,
    bytes: AtomicU64,
    fails: AtomicBool,
    fails_to_sync: AtomicBool,
    panics: AtomicBool,
}

impl Sick {
    fn with_room(folder: &Path, bytes: u64) -> Self {
        let sick = Self::default();
        *sick.0.folder.lock() = folder.to_owned();
        sick.0.bytes.store(bytes, Ordering::Relaxed);
        sick
    }
}

impl Medium for Sick {
    fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        if self.0.panics.swap(false, Ordering::Relaxed) {
            panic!("on purpose");
        }
        if self.0.fails.load(Ordering::Relaxed) {
            return Err(io::Error::other("on purpose"));
        }
        let taken = bytes_in(&self.0.folder.lock()) + bytes.len() as u64;
        if taken > self.0.bytes.load(Ordering::Relaxed) {
            // as a disk does: as much as there is room for
            file.write_all_at(&bytes[..bytes.len() / 2], at)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.write_all_at(bytes, at)
    }

    fn sync(&self, _: &File) -> io::Result<()> {
        if self.0.fails_to_sync.load(Ordering::Relaxed) {
            return Err(io::Error::other("on purpose"));
        }
        Ok(())
    }
}

#[test]
fn on_a_full_disk_the_oldest_make_room_and_pinned_ones_stay() {
    let folder = tempdir().unwrap();
    let disk = open_on(
        folder.path(),
        SMALL,
        Sick::with_room(folder.path(), 9 << 10),
    );
    disk.keep_as(0, &body(0, 0, 300), true, FOREVER);
    for number in 1..200 {
        disk.keep(number, &body(number, 0, 300));
        disk.settle();
        assert_eq!(
            disk.find(number),
            Some(body(number, 0, 300)),
            "{:?}",
            disk.state()
        );
        assert_eq!(disk.find(0), Some(body(0, 0, 300)), "{number}");
    }
    drop(disk);
    let disk = open(folder.path(), SMALL);
    assert_eq!(disk.find(0), Some(body(0, 0, 300)));
    assert_eq!(disk.find(199), Some(body(199, 0, 300)));
    let kept = (1..200)
        .filter(|number| disk.find(*number).is_some())
        .count();
    assert!(kept > 5, "{kept}");
}

#[test]
fn a_disk_that_someone_else_fills_is_not_emptied_for_it() {
    let folder = tempdir().unwrap();
    let sick = Sick::with_room(folder.path(), 1 << 20);
    let disk = open_on(folder.path(), SMALL, sick.clone());
    (0..20).for_each(|number| disk.keep(number, &body(number, 0, 300)));
    disk.settle();
    sick.0.bytes.store(0, Ordering::Relaxed);
    for number in 100..150 {
        disk.keep(number, &body(number, 0, 300));
        assert!(!disk.flush_blocking());
    }
    let problem = disk.state().problem.unwrap();
    assert!(problem.starts_with("no room in"), "{problem}");
    assert_eq!(disk.state().dropped, 50);
    let kept = (0..20)
        .filter(|number| disk.find(*number).is_some())
        .count();
    assert!(kept >= 15, "one segment at most: {kept} of 20 left");
    assert!(
        !disk.flush_blocking() || disk.state().problem.is_some(),
        "no proof yet"
    );
    sick.0.bytes.store(1 << 20, Ordering::Relaxed);
    disk.keep(1000, b"room again");
    disk.settle();
    assert_eq!(disk.state().problem, None);
    drop(disk);
    let disk = open(folder.path(), SMALL);
    assert_eq!(disk.find(1000), Some(b"room again".to_vec()));
    assert_eq!(
        (0..20)
            .filter(|number| disk.find(*number).is_some())
            .count(),
        kept
    );
}

#[test]
fn a_disk_full_from_the_start_is_no_trouble_to_readers() {
    let folder = tempdir().unwrap();
    let disk = open(folder.path(), SMALL);
    (0..20).for_each(|number| disk.keep(number, &body(number, 0, 300)));
    drop(disk);
    let disk = open_on(folder.path(), SMALL, Sick::with_room(folder.path(), 0));
    disk.keep(100, &body(100, 0, 300));
    assert!(!disk.flush_blocking());
    let kept = (0..20)
        .filter(|number| disk.find(*number).is_some())
        .count();
    assert!(kept >= 15, "one segment at most: {kept} of 20 left");
}

#[test]
fn a_removal_that_cannot_be_written_is_not_forgotten() {
    let folder = tempdir().unwrap();
    let sick = Sick::with_room(folder.path(), 1 << 20);
    let disk = open_on(folder.path(), roomy(), sick.clone());
    disk.keep(1, b"purged");
    disk.keep(2, b"purged, then kept anew in vain");
    disk.settle();
    sick.0.fails.store(true, Ordering::Relaxed);
    disk.remove(id(1));
    disk.remove(id(2));
    disk.keep(2, b"in vain");
    assert!(!disk.flush_blocking());
    assert!(disk.state().problem.unwrap().contains("on purpose"));
    assert_eq!((disk.find(1), disk.find(2)), (None, None));
    sick.0.fails.store(false, Ordering::Relaxed);
    disk.settle();
    assert_eq!((disk.state().problem, disk.state().dropped), (None, 1));
    drop(disk);
    let disk = open(folder.path(), roomy());
    assert_eq!((disk.find(1), disk.find(2)), (None, None));
}

#[test]
fn a_sync_that_fails_is_told_and_the_next_records_go_elsewhere() {
    let folder = tempdir().unwrap();
    let sick = Sick::with_room(folder.path(), 1 << 20);
    let disk = open_on(folder.path(), roomy(), sick.clone());
    sick.0.fails_to_sync.store(true, Ordering::Relaxed);
    disk.keep(1, b"one");
    assert!(!disk.flush_blocking());
    assert!(disk.state().problem.is_some());
    sick.0.fails_to_sync.store(false, Ordering::Relaxed);
    disk.keep(2, b"two");
    disk.settle();
    assert_eq!(disk.state().problem, None);
    assert_eq!(files(folder.path()).len(), 2);
    assert_eq!(
        (disk.find(1), disk.find(2)),
        (Some(b"one".to_vec()), Some(b"two".to_vec()))
    );
}

#[test]
fn a_panic_of_the_writer_costs_what_was_in_hand() {
    let folder = tempdir().unwrap();
    let sick = Sick::with_room(folder.path(), 1 << 20);
    let disk = open_on(folder.path(), roomy(), sick.clone());
    disk.keep(1, b"one");
    disk.settle();
    sick.0.panics.store(true, Ordering::Relaxed);
    disk.keep(2, b"in hand");
    disk.flush_blocking();
    assert!(disk.flush_blocking(), "it starts again");
    disk.keep(3, b"three");
    disk.settle();
    assert_eq!(
        (disk.find(1), disk.find(3)),
        (Some(b"one".to_vec()), Some(b"three".to_vec()))
    );
    assert_eq!(disk.state().problem, None);
}

#[test]
fn what_is_queued_is_written_before_it_ends() {
    let folder = tempdir().unwrap();
    let disk = open(folder.path(), roomy());
    (0..1000).for_each(|number| disk.keep(number, &body(number, 0, 100)));
    drop(disk);
    assert_eq!(open(folder.path(), roomy()).state().records, 1000);
}

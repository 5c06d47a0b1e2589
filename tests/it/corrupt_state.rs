//! Whatever happens to the bytes of the state folder, the server starts, no page shows a wrong byte,
//! and what was not touched is there still.
//!
//! Bound: damage costs the copies that lie where the damage is. One flipped byte costs one copy at
//! most; a cut, what lies behind it; a deleted file, what was in it.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::support::numbered::pieces;
use crate::support::program::{seed, unpooled};
use crate::support::{Press, Program, newsroom};

const PAGES: usize = 40;

/// Damaged folders of each kind; `MARBRE_CASES` makes it more.
const CASES: usize = 7;

/// The names of a page's copies on disk.
const OF_A_PAGE: [&str; 3] = ["article", "aside", "live"];

type Extents = BTreeMap<PathBuf, Range<u64>>;

/// A site that was served and stopped, its origins dead.
struct Morgue {
    site: TempDir,
    client: reqwest::Client,
    /// Its state folder as it was then.
    whole: BTreeMap<PathBuf, Vec<u8>>,
    /// Where the copies of each page lie.
    extents: Vec<Extents>,
    /// What each page was.
    pages: Vec<String>,
}

/// What a start from a damaged folder came to.
struct Found {
    /// Of each page, how many of its copies are not there any more.
    lost: Vec<usize>,
    log: String,
}

impl Morgue {
    async fn new() -> Self {
        let mut press = Press::start(15_000..=25_000);
        let url = press.url();
        let durable = "ttl = \"1h\"\nkeep = \"1h\"\ndurable = true";
        let site = newsroom()
            .server("state_size = \"8MiB\"")
            .toml(&format!(
                "[origins.press]\nurls = [\"{url}\"]\ntimeout = \"20s\""
            ))
            .fragment("article", "\"core\"", "press:/article/{slug}", durable)
            .fragment("aside", "\"essential\"", "press:/aside/{slug}", durable)
            .fragment("live", "60", "press:/live/{slug}", durable)
            .page_within("page", "/p/{slug}", "[article][aside][live]", "20s")
            // a snapshot would hide that a copy was lost
            .without_snapshots()
            .written();
        let client = unpooled();
        let program = Program::start(site.path(), &client).await;
        let (mut extents, mut pages) = (Vec::new(), Vec::new());
        let mut before = lens(site.path());
        for slug in 0..PAGES {
            let (status, body) = program.get(&format!("/p/{slug}")).await;
            assert_eq!((status, pieces(&body).unwrap().len()), (200, 3), "{body}");
            program.has_written().await;
            let after = lens(site.path());
            let grown = after.iter().filter_map(|(path, len)| {
                let from = before.get(path).copied().unwrap_or_default();
                (from < *len).then(|| (path.clone(), from..*len))
            });
            extents.push(grown.collect::<Extents>());
            assert!(!extents[slug].is_empty(), "page {slug} is not on disk");
            pages.push(body);
            before = after;
        }
        program.stop().await;
        press.die().await;
        // the port stays taken, so that nobody else answers in its place
        std::mem::forget(press);
        let whole = files(site.path());
        let whole = whole.into_iter().map(|path| {
            let bytes = fs::read(&path).unwrap();
            (path, bytes)
        });
        let whole: BTreeMap<_, _> = whole.collect();
        assert!(whole.len() >= 2, "several files: {:?}", whole.keys());
        Self {
            site,
            client,
            whole,
            extents,
            pages,
        }
    }

    /// Starts from the folder as `damage` leaves it, and looks at every page.
    async fn after(&self, damage: impl FnOnce(&mut BTreeMap<PathBuf, Vec<u8>>)) -> Found {
        let mut bytes = self.whole.clone();
        damage(&mut bytes);
        for path in everything(self.site.path()) {
            fs::remove_file(path).unwrap();
        }
        for (path, bytes) in &bytes {
            fs::write(path, bytes).unwrap();
        }
        let program = Program::start(self.site.path(), &self.client).await;
        let mut lost = Vec::new();
        for (slug, was) in self.pages.iter().enumerate() {
            let (status, body) = program.get(&format!("/p/{slug}")).await;
            let was = pieces(was).unwrap();
            let found = match status {
                200 => pieces(&body).unwrap_or_else(|wrong| panic!("page {slug}: {wrong}")),
                // there is no page without its article
                503 => BTreeMap::new(),
                other => panic!("page {slug} is {other}"),
            };
            for (name, number) in &found {
                assert_eq!(was.get(name), Some(number), "page {slug}: {name}");
            }
            let has_core = found.contains_key(&format!("/article/{slug}"));
            assert_eq!(status == 200, has_core, "page {slug} is {status}");
            lost.push(match status {
                // how many of the others are there cannot be seen
                503 => 1,
                _ => OF_A_PAGE.len() - found.len(),
            });
        }
        let log = program.stop().await;
        assert!(!log.contains("panicked"), "{log}");
        Found { lost, log }
    }

    fn any_file(&self, rng: &mut fastrand::Rng) -> (PathBuf, u64) {
        let (path, bytes) = self
            .whole
            .iter()
            .nth(rng.usize(..self.whole.len()))
            .unwrap();
        (path.clone(), bytes.len() as u64)
    }

    /// Nothing was lost of a page whose copies lie elsewhere than in `damaged`.
    #[track_caller]
    fn assert_others_are_whole(&self, found: &Found, what: &str, path: &Path, damaged: Range<u64>) {
        for (slug, lost) in found.lost.iter().enumerate() {
            let hit = self.extents[slug]
                .get(path)
                .is_some_and(|extent| extent.start < damaged.end && damaged.start < extent.end);
            assert!(
                *lost == 0 || hit,
                "{what}: page {slug} has lost {lost} of its copies, at {:?}\n{}",
                self.extents[slug],
                found.log
            );
        }
    }
}

/// Every file of the state folder.
fn everything(site: &Path) -> Vec<PathBuf> {
    let copies = site.join("var/copies");
    let entries = fs::read_dir(copies).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Those that hold copies.
fn files(site: &Path) -> Vec<PathBuf> {
    let mut paths = everything(site);
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    paths
}

fn lens(site: &Path) -> BTreeMap<PathBuf, u64> {
    let len = |path: PathBuf| (path.clone(), fs::metadata(path).unwrap().len());
    files(site).into_iter().map(len).collect()
}

fn cases() -> usize {
    let cases = std::env::var("MARBRE_CASES").ok();
    cases.map_or(CASES, |cases| cases.parse().expect("a number"))
}

/// The damage is told with the file and the place.
#[track_caller]
fn assert_tells(found: &Found, what: &str, path: &Path) {
    let told = |line: &&str| line.contains(&*path.to_string_lossy()) && line.contains("at byte ");
    let told = found.log.lines().find(told);
    assert!(told.is_some(), "{what}: no line says so\n{}", found.log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_costs_what_it_hits() {
    let mut rng = fastrand::Rng::with_seed(seed());
    let morgue = Morgue::new().await;
    let found = morgue.after(|_| ()).await;
    assert_eq!(found.lost, [0; PAGES], "undamaged\n{}", found.log);

    for _ in 0..cases() {
        let (path, len) = morgue.any_file(&mut rng);
        let (at, bit) = (rng.u64(..len), rng.u8(..8));
        let what = format!("bit {bit} of byte {at} of {} flipped", path.display());
        let flip = |all: &mut BTreeMap<PathBuf, Vec<u8>>| {
            all.get_mut(&path).unwrap()[at as usize] ^= 1 << bit;
        };
        let found = morgue.after(flip).await;
        morgue.assert_others_are_whole(&found, &what, &path, at..at + 1);
        let lost: usize = found.lost.iter().sum();
        assert!(lost <= 1, "{what}: {lost} copies are lost\n{}", found.log);
        if lost > 0 {
            assert_tells(&found, &what, &path);
        }
    }
    for _ in 0..cases() {
        let (path, len) = morgue.any_file(&mut rng);
        let to = rng.u64(..len);
        let what = format!("{} cut to {to} bytes", path.display());
        let cut = |all: &mut BTreeMap<PathBuf, Vec<u8>>| {
            all.get_mut(&path).unwrap().truncate(to as usize);
        };
        let found = morgue.after(cut).await;
        morgue.assert_others_are_whole(&found, &what, &path, to..len);
    }
    for _ in 0..cases() {
        let (path, len) = morgue.any_file(&mut rng);
        let garbage: Vec<u8> = (0..rng.usize(1..9000)).map(|_| rng.u8(..)).collect();
        let what = format!(
            "{} bytes of garbage behind {}",
            garbage.len(),
            path.display()
        );
        let append = |all: &mut BTreeMap<PathBuf, Vec<u8>>| {
            all.get_mut(&path).unwrap().extend(&garbage);
        };
        let found = morgue.after(append).await;
        morgue.assert_others_are_whole(&found, &what, &path, len..len);
        assert_tells(&found, &what, &path);
    }
    for _ in 0..cases() {
        let (path, len) = morgue.any_file(&mut rng);
        let at = rng.u64(..len) / 4096 * 4096;
        let end = (at + 4096).min(len);
        let what = format!("bytes {at}..{end} of {} zeroed", path.display());
        let zero = |all: &mut BTreeMap<PathBuf, Vec<u8>>| {
            all.get_mut(&path).unwrap()[at as usize..end as usize].fill(0);
        };
        let found = morgue.after(zero).await;
        // of the first block all heads are gone: it is no segment any more
        let damaged = if at == 0 { 0..len } else { at..end };
        morgue.assert_others_are_whole(&found, &what, &path, damaged);
    }
    for (path, bytes) in &morgue.whole {
        let what = format!("{} deleted", path.display());
        let found = morgue.after(|all| drop(all.remove(path))).await;
        morgue.assert_others_are_whole(&found, &what, path, 0..bytes.len() as u64);
    }
    // the sequence numbers within are what counts
    let mut paths = morgue.whole.keys();
    let (one, other) = (paths.next().unwrap(), paths.next().unwrap());
    let found = morgue
        .after(|all| {
            let bytes = all[one].clone();
            let others = all.insert(other.clone(), bytes).unwrap();
            all.insert(one.clone(), others);
        })
        .await;
    assert_eq!(found.lost, [0; PAGES], "two files swapped\n{}", found.log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_wounds_at_once_show_no_wrong_byte() {
    let mut rng = fastrand::Rng::with_seed(seed());
    let morgue = Morgue::new().await;
    for _ in 0..cases() {
        let wounds = 1 << rng.u32(2..12);
        let found = morgue
            .after(|all| {
                for _ in 0..wounds {
                    let file = rng.usize(..all.len());
                    let bytes = all.values_mut().nth(file).unwrap();
                    let at = rng.usize(..bytes.len());
                    bytes[at] = rng.u8(..);
                }
            })
            .await;
        let lost: usize = found.lost.iter().sum();
        assert!(lost <= wounds, "{wounds} wounds, {lost} copies lost");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_of_a_future_version_is_set_aside_and_served_without() {
    let morgue = Morgue::new().await;
    let first = morgue.whole.keys().next().unwrap();
    let mut head = b"marbrelg".to_vec();
    head.extend(7u32.to_le_bytes());
    head.extend([0; 12]);
    let sum = xxh3_64_with_seed(&head, 0);
    head.extend(sum.to_le_bytes());
    let found = morgue
        .after(|all| all.get_mut(first).unwrap()[..96].copy_from_slice(&head.repeat(3)))
        .await;
    morgue.assert_others_are_whole(&found, "version 7", first, 0..u64::MAX);
    let said = "has format version 7, and this program reads 1: set aside as";
    assert!(found.log.contains(said), "{}", found.log);
    let mut aside = first.clone().into_os_string();
    aside.push(".aside-1");
    let kept = fs::read(aside).expect("a newer program may want it back");
    assert_eq!(kept[96..], morgue.whole[first][96..]);
}

//! Where a crawl begins, when it is told by sitemaps (shell: files). Owns where a sitemap is read
//! from: this site itself, or a file beside it.
//!
//! Invariant: no more addresses are held than the crawl may ask for, and no more sitemaps read than
//! the limit, whatever they name.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use http_body_util::{BodyExt as _, Limited};

use crate::site::Found;

use super::account::Line;
use super::crawl::Crawl;
use super::links::{resolve, scheme};
use super::press::Press;
use super::sitemap::{self, SITEMAP_BYTES_MAX, SITEMAPS_MAX};

/// Most addresses that are told to be nothing that this site composes.
const FOREIGN_MAX: usize = 1_000;

/// A sitemap to be read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// This site answers to the path.
    Served(String),
    File(PathBuf),
}

/// Reads these sitemaps and whatever they name, and takes up their pages. A file that was asked for
/// and is not there is an error; anything else that is wrong goes to the account.
pub(super) async fn gather(
    crawl: &mut Crawl,
    press: &Press,
    home: Option<&str>,
    sources: &[String],
) -> Result<(), String> {
    let (mut waiting, mut seen) = (VecDeque::new(), BTreeSet::new());
    for source in sources {
        let place = place(press, source, None);
        if let Place::File(file) = &place
            && !file.is_file()
        {
            return Err(format!(
                "`{source}` is neither a file nor a path that this site answers to"
            ));
        }
        waiting.push_back(place);
    }
    while let Some(place) = waiting.pop_front() {
        if seen.contains(&place) {
            continue;
        }
        if seen.len() >= SITEMAPS_MAX {
            crawl
                .account
                .limits
                .push(format!("{SITEMAPS_MAX} sitemaps"));
            break;
        }
        seen.insert(place.clone());
        let (name, beside) = match &place {
            Place::Served(path) => (path.clone(), None),
            Place::File(file) => (file.display().to_string(), file.parent()),
        };
        let text = match read(press, &place).await {
            Ok(text) => text,
            Err(why) => {
                crawl.account.failed.push(Line { path: name, why });
                continue;
            }
        };
        let named = sitemap::read(&text);
        // one too many, so that the limit is noticed
        let room = (SITEMAPS_MAX + 1).saturating_sub(waiting.len());
        let more = named.sitemaps.iter().take(room);
        waiting.extend(more.map(|address| self::place(press, address, beside)));
        for address in &named.pages {
            take_up(crawl, home, address);
        }
    }
    Ok(())
}

fn take_up(crawl: &mut Crawl, home: Option<&str>, address: &str) {
    let known = match (home, authority(address)) {
        (Some(home), Some(theirs)) => home.eq_ignore_ascii_case(theirs),
        (None, _) | (_, None) => true,
    };
    let query = address.split_once('?').map(|(_, rest)| rest);
    let query = query.and_then(|rest| rest.split('#').next());
    let path = resolve("/", address, authority(address)).filter(|_| known);
    let found = path.is_some_and(|path| crawl.offer_page(&path, query, false));
    if !found && crawl.account.foreign.len() < FOREIGN_MAX {
        crawl.account.foreign.push(Line {
            path: address.to_owned(),
            why: "in a sitemap".to_owned(),
        });
    }
}

fn authority(address: &str) -> Option<&str> {
    let (_, rest) = scheme(address)?;
    rest.strip_prefix("//")?.split(['/', '?', '#']).next()
}

/// Where a sitemap is: what this site answers to is asked of it, the rest are files, those that a
/// file names beside it.
fn place(press: &Press, address: &str, beside: Option<&Path>) -> Place {
    let path = resolve("/", address, authority(address));
    let path = path.filter(|_| address.starts_with('/') || authority(address).is_some());
    let is_served = |path: &str| matches!(press.site().routes.find(path), Found::Match { .. });
    match (path, beside) {
        (Some(path), _) if is_served(&path) => Place::Served(path),
        (Some(path), Some(folder)) => {
            Place::File(folder.join(path.rsplit('/').next().unwrap_or_default()))
        }
        (_, Some(folder)) => Place::File(folder.join(address)),
        (_, None) => Place::File(PathBuf::from(address)),
    }
}

async fn read(press: &Press, place: &Place) -> Result<String, String> {
    let bytes_max = usize::try_from(SITEMAP_BYTES_MAX).unwrap_or(usize::MAX);
    let bytes = match place {
        Place::Served(path) => {
            let body = press.fetch(path).await?.into_body();
            let body = Limited::new(body, bytes_max).collect().await;
            body.map_err(|error| error.to_string())?.to_bytes().into()
        }
        Place::File(file) => {
            let length = std::fs::metadata(file)
                .map_err(|error| error.to_string())?
                .len();
            if length > SITEMAP_BYTES_MAX {
                return Err(format!("larger than {SITEMAP_BYTES_MAX} bytes"));
            }
            std::fs::read(file).map_err(|error| error.to_string())?
        }
    };
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return Err("it is compressed: give it uncompressed".to_owned());
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

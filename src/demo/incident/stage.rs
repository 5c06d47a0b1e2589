//! The site that an incident is rehearsed on: the demo newspaper, on a machine that is as slow wherever it
//! is played, and without copies to hide behind. Owns what differs from the demo; pure.
//!
//! The optional blocks are made anew for each page and no copies of them are kept. With copies the
//! newspaper would bear far more readers, and a block whose service is sick would be missed by nobody:
//! there would be nothing to see. The core and the essential blocks have their copies as ever.

use std::time::Duration;

use toml::{Table, Value};

use crate::degradation::executor::Job;

/// What optional blocks have instead of what is declared: no copy is good for a moment.
const WITHOUT_COPIES: [&str; 3] = ["ttl", "grace", "keep"];

/// Pages that are worked on at once.
const WORKERS: i64 = 1;

/// What a job takes. A full page of four or five optional blocks that nobody shares takes 26 to 30 ms, the
/// text alone 10: 35 pages a second, or 100 of the text. That is slow enough for any machine to play it,
/// also one that is busy, and a debug build.
pub fn work(job: Job<'_>) -> Duration {
    Duration::from_millis(match job {
        Job::Plan | Job::Assemble => 5,
        Job::Render(_) => 4,
    })
}

/// The declaration, changed so. `None` if it is not one.
pub(in crate::demo) fn declaration(demo: &str) -> Option<String> {
    let mut site: Table = demo.parse().ok()?;
    let degradation = site.get_mut("degradation")?.as_table_mut()?;
    degradation.insert("workers".to_owned(), Value::Integer(WORKERS));
    for (_, fragment) in site.get_mut("fragments")?.as_table_mut()? {
        let fragment = fragment.as_table_mut()?;
        if fragment.get("priority").is_some_and(Value::is_integer) {
            for copies in WITHOUT_COPIES {
                fragment.insert(copies.to_owned(), Value::String("0s".to_owned()));
            }
        }
    }
    Some(site.to_string())
}

/// What each optional block of the demo is worth, by its name.
pub fn worth(demo: &str) -> impl Fn(&str) -> f64 + use<> {
    let site: Table = demo.parse().unwrap_or_default();
    move |name| {
        let fragment = site.get("fragments").and_then(|all| all.get(name));
        let rank = fragment.and_then(|fragment| fragment.get("priority")?.as_integer());
        // a rank is at most 99
        rank.map_or(0.0, |rank| rank as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optional_blocks_lose_their_copies_and_nothing_else_does() {
        let demo = "[degradation]\ntarget = \"400ms\"\n\
                    [fragments.article]\npriority = \"core\"\nttl = \"30s\"\n\
                    [fragments.live]\npriority = 60\nttl = \"5s\"\nkeep = \"10m\"\n";
        let staged: Table = declaration(demo).unwrap().parse().unwrap();
        assert_eq!(staged["degradation"]["target"].as_str(), Some("400ms"));
        assert_eq!(staged["degradation"]["workers"].as_integer(), Some(WORKERS));
        assert_eq!(staged["fragments"]["article"]["ttl"].as_str(), Some("30s"));
        for copies in WITHOUT_COPIES {
            assert_eq!(staged["fragments"]["live"][copies].as_str(), Some("0s"));
        }
        let worth = worth(demo);
        assert_eq!(
            [worth("live"), worth("article"), worth("x")],
            [60.0, 0.0, 0.0]
        );
    }
}

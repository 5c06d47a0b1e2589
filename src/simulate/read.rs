//! A file, and the one that it builds upon → a [`Scenario`], or everything that is wrong with it. Owns
//! what the keys mean together; reads no files itself.

use std::time::Duration;

use crate::config::diagnose::{FileId, Place};
use crate::config::file::{At, Breaker, Constants, TimeSpan, Tunable};
use crate::config::{Diagnostic, Diagnostics, document};
use crate::degradation::Law;
use crate::degradation::law::{aimd, work_rate};
use crate::fragment::{Grade, Priority, Rank};
use crate::site::BreakerPolicy;

use super::file::{self, FaultName, File, LawName};
use super::scenario::{
    Block, Composer, Control, Degradation, Fault, FaultKind, Load, LoadKind, Origin, Scenario,
    Shared, With,
};

mod course;
mod layers;
mod plant;

use layers::{Layers, place};

/// Blocks that a page can have here: one bit each.
const BLOCKS_MAX: usize = 32;

/// What a text is read as: its name, and the text of another file that it names.
pub(super) type Fetch<'f> = &'f dyn Fn(&str) -> Result<String, String>;

/// Reads a scenario; `fetch` gives the text of the plant that it builds upon.
pub(super) fn read(shown: &str, text: &str, fetch: Fetch<'_>) -> Result<Scenario, Diagnostics> {
    let mut found = Diagnostics::new();
    let scenario = assemble(shown, text, fetch, &mut found);
    found.sort();
    match scenario {
        Some(scenario) if !found.has_errors() => Ok(scenario),
        _ => Err(found),
    }
}

fn assemble(
    shown: &str,
    text: &str,
    fetch: Fetch<'_>,
    found: &mut Diagnostics,
) -> Option<Scenario> {
    let (id, own) = document::read::<File>(shown, text, found)?;
    let below = match &own.plant {
        Some(plant) => Some(below(plant, id, fetch, found)?),
        None => None,
    };
    let layers = Layers {
        own: (id, own),
        below,
    };
    Reading { layers, found }.scenario(shown)
}

fn below(
    plant: &At<String>,
    file: FileId,
    fetch: Fetch<'_>,
    found: &mut Diagnostics,
) -> Option<(FileId, File)> {
    let place = Place {
        file,
        span: plant.span().unwrap_or_default(),
    };
    let text = match fetch(plant) {
        Ok(text) => text,
        Err(why) => {
            let finding = Diagnostic::error(format!("`{}` cannot be read", **plant));
            found.push(finding.at(place, why));
            return None;
        }
    };
    let (id, below) = document::read::<File>(plant, &text, found)?;
    if let Some(further) = &below.plant {
        let place = Place {
            file: id,
            span: further.span().unwrap_or_default(),
        };
        let finding = Diagnostic::error("a plant cannot build upon another one");
        found.push(finding.at(place, "one file below another is enough"));
        return None;
    }
    Some((id, below))
}

/// The rates that a law can have learned, in milliseconds of work a second: from the least share of the
/// least `rate_max` to the greatest one.
const LEARNED_RATE: (f64, f64) = (0.5, 1e7);

struct Reading<'r> {
    layers: Layers,
    found: &'r mut Diagnostics,
}

impl Reading<'_> {
    fn scenario(mut self, shown: &str) -> Option<Scenario> {
        let layers = std::mem::replace(
            &mut self.layers,
            Layers {
                own: (self.found.add_file("", ""), File::default()),
                below: None,
            },
        );
        let scale = self.scale(&layers);
        let lasts = layers.one(|file| file.run.lasts.as_ref());
        let lasts = lasts.map_or(Duration::from_secs(180), |lasts| lasts.0);
        let shared = self.shared(&layers, &scale);
        let origins = self.origins(&layers, &scale, &shared);
        let (blocks, steps) = self.blocks(&layers, &scale, &origins);
        let degradation = self.degradation(&layers);
        let composer = self.composer(&layers, &scale, &blocks);
        let loads = self.loads(&layers, &scale);
        let faults = self.faults(&layers, &origins, &shared);
        let learned = layers.at(|file| file.run.learned_rate.as_ref());
        let learned_rate = learned.map(|at| self.number(Some(at), 0.0, LEARNED_RATE));
        let event = self.event(&layers, lasts, &loads, &faults, &composer);
        let (_, own) = &layers.own;
        let name = std::path::Path::new(shown).file_stem();
        let name = name.map_or_else(|| shown.to_owned(), |n| n.to_string_lossy().into_owned());
        let spans = |span: &file::Span| (span.at.0, span.lasts.0);
        Some(Scenario {
            name,
            about: own.about.clone(),
            lasts,
            event,
            seed: u64::from(layers.one(|f| f.run.seed.as_ref()).map_or(1, |seed| **seed)),
            readers: layers
                .one(|f| f.run.readers.as_ref())
                .map_or(2000, |readers| **readers),
            learned_rate,
            stalls: own.run.stalls.iter().map(spans).collect(),
            composer,
            shared,
            origins,
            blocks,
            steps,
            degradation: degradation?,
            loads,
            faults,
            expect: own.expect.clone(),
        })
    }

    fn error(&mut self, place: Place, message: impl Into<String>, label: impl Into<String>) {
        self.found.push(Diagnostic::error(message).at(place, label));
    }

    /// A number within bounds, or what it is unless it is said.
    fn number(
        &mut self,
        written: Option<(&At<f64>, Place)>,
        default: f64,
        range: (f64, f64),
    ) -> f64 {
        let Some((at, place)) = written else {
            return default;
        };
        let (min, max) = range;
        if !(min..=max).contains(&**at) {
            self.error(
                place,
                "this number is out of range",
                format!("expected {min} to {max}"),
            );
            return default;
        }
        **at
    }

    fn scale(&mut self, layers: &Layers) -> Scale {
        let mut factor =
            |of: fn(&File) -> Option<&At<f64>>| self.number(layers.at(of), 1.0, (1e-3, 1e3));
        Scale {
            servers: factor(|f| f.scale.servers.as_ref()),
            costs: factor(|f| f.scale.costs.as_ref()),
            latency: factor(|f| f.scale.latency.as_ref()),
            load: factor(|f| f.scale.load.as_ref()),
            cv: layers.one(|f| f.scale.cv.as_ref()).map(|cv| **cv),
        }
    }
}

/// Times as many of a kind.
struct Scale {
    servers: f64,
    costs: f64,
    latency: f64,
    load: f64,
    cv: Option<f64>,
}

impl Scale {
    fn servers(&self, declared: u32) -> usize {
        ((f64::from(declared) * self.servers).round() as usize).max(1)
    }
}

//! What holds of each parser whatever it is given, by the name of its fuzz target. Owns the list; the
//! properties are written beside the parsers, in their `properties`, and hold by panicking where they do
//! not. `fuzz/` looks for inputs that break them, and the tests here run what it keeps.

/// A parser, and what holds of it.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 9] = [
    ("config", config),
    ("esi", esi),
    ("expression", expression),
    ("frame", frame),
    ("header", header),
    ("layout", layout),
    ("request", request),
    ("ssi", ssi),
    ("tailor", tailor),
];

/// The declaration of a site, with its layout and its template.
pub fn config(input: &[u8]) {
    crate::config::properties::hold(input);
}

/// Documents in ESI.
pub fn esi(input: &[u8]) {
    crate::layout::esi::properties::hold(input);
}

/// Expressions in ESI, and texts with variables.
pub fn expression(input: &[u8]) {
    crate::layout::esi::properties::hold_of_expression(input);
}

/// Copies as bytes, on disk and in the shared store.
pub fn frame(input: &[u8]) {
    crate::cache::properties::hold_of_frame(input);
}

/// What answers say about how long they are good, and dates.
pub fn header(input: &[u8]) {
    crate::cache::properties::hold_of_header(input);
    crate::fetch::hold_of_retry_after(input);
}

/// Layouts with slots and includes, and parts of fragments.
pub fn layout(input: &[u8]) {
    crate::layout::properties::hold(input);
}

/// What readers and balancers say before and in the head of a request.
pub fn request(input: &[u8]) {
    crate::server::properties::hold(input);
}

/// Documents with server-side includes.
pub fn ssi(input: &[u8]) {
    crate::layout::ssi::properties::hold(input);
}

/// Templates of Tailor's.
pub fn tailor(input: &[u8]) {
    crate::layout::tailor::properties::hold(input);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    fn fuzz() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
    }

    /// The files of a folder in the order of their names; none if there is no such folder.
    fn files(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    #[test]
    fn every_target_is_fuzzed() {
        let named: BTreeSet<String> = TARGETS.map(|(name, _)| name.to_owned()).into();
        let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
        let fuzzed = files(&fuzz().join("targets")).into_iter().map(stem);
        assert_eq!(fuzzed.collect::<BTreeSet<_>>(), named);
    }

    #[test]
    fn what_fuzzing_has_kept_holds() {
        for (name, hold) in TARGETS {
            let seeds = files(&fuzz().join("corpus").join(name));
            assert!(seeds.len() >= 10, "fuzz/corpus/{name} has {}", seeds.len());
            let found = files(&fuzz().join("found").join(name));
            for path in seeds.into_iter().chain(found) {
                let input = fs::read(&path).unwrap();
                // told where it panics
                eprintln!("{}", path.display());
                hold(&input);
            }
        }
    }
}

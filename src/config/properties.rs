//! What holds of every declaration, whatever is in it. Owns no rule of it.

use std::collections::BTreeMap;
use std::path::Path;

use super::files::{Files, Unreadable};
use super::{Diagnostics, Loaded, load_from};

/// Parts the texts of a site: its declaration, its layout and its template.
const BORDER: u8 = 0x1f;

/// What a declaration may be about if nothing else is said.
pub(super) const LAYOUT: &str = "<fragment name=\"a\"/>";
pub(super) const TEMPLATE: &str = "{{ data }}";

/// What holds of every declaration: it is a site, or all that is wrong with it is told where it is.
pub(crate) fn hold(input: &[u8]) {
    let mut texts = input.split(|byte| *byte == BORDER);
    let declaration = texts.next().unwrap_or_default();
    let layout = texts.next().unwrap_or(LAYOUT.as_bytes());
    let template = texts.next().unwrap_or(TEMPLATE.as_bytes());
    match load(declaration, layout, template) {
        Ok(loaded) => {
            assert!(!loaded.warnings.has_errors());
            is_told_where_it_is(&loaded.warnings);
        }
        Err(found) => {
            assert!(found.has_errors());
            is_told_where_it_is(&found);
        }
    }
}

fn is_told_where_it_is(found: &Diagnostics) {
    assert_eq!(found.outside_their_file(), None);
    for is_styled in [false, true] {
        let told = found.render(is_styled);
        assert!(!told.contains("please report this"), "{told}");
    }
    let _ = found.to_json();
}

struct Memory<'t>(BTreeMap<&'static str, &'t [u8]>);

impl Files for Memory<'_> {
    fn read(&self, path: &Path) -> Result<Vec<u8>, Unreadable> {
        let text = self.0.get(path.to_str().unwrap_or_default());
        text.map(|text| text.to_vec()).ok_or(Unreadable::Missing)
    }

    fn list(&self, folder: &Path) -> Option<Vec<String>> {
        let paths = self.0.keys();
        let names = paths.filter_map(|path| Path::new(path).strip_prefix(folder).ok());
        let names = names.filter(|name| name.components().count() == 1);
        Some(names.map(|name| name.display().to_string()).collect())
    }

    fn is_open_to_all(&self, _: &Path) -> bool {
        false
    }
}

/// Loads a site of these three files.
pub(super) fn load(
    declaration: &[u8],
    layout: &[u8],
    template: &[u8],
) -> Result<Loaded, Diagnostics> {
    let files = Memory(BTreeMap::from([
        ("/site/fragments.toml", declaration),
        ("/site/templates/page.html", layout),
        ("/site/templates/a.html", template),
    ]));
    load_from(&files, Path::new("/site/fragments.toml"), &|_| None)
}

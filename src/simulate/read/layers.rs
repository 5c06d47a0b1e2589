//! The scenario's own file, and the one below it: of what both say, the upper one's counts. Owns the
//! lookups.

use std::collections::BTreeMap;

use crate::config::diagnose::{FileId, Place};
use crate::config::file::At;
use crate::simulate::file::File;

/// The scenario's own file, and the one below it.
pub(super) struct Layers {
    pub(super) own: (FileId, File),
    pub(super) below: Option<(FileId, File)>,
}

impl Layers {
    pub(super) fn all(&self) -> impl Iterator<Item = &(FileId, File)> {
        std::iter::once(&self.own).chain(&self.below)
    }

    /// What the upper one says, or else the lower one.
    pub(super) fn one<'l, T>(&'l self, of: impl Fn(&'l File) -> Option<T>) -> Option<T> {
        self.all().find_map(|(_, file)| of(file))
    }

    /// The same, with where it is written.
    pub(super) fn at<'l, T>(
        &'l self,
        of: impl Fn(&'l File) -> Option<&'l At<T>>,
    ) -> Option<(&'l At<T>, Place)> {
        self.all().find_map(|(id, file)| {
            let at = of(file)?;
            Some((at, place(*id, at)))
        })
    }

    /// What both declare under names; of the same name, the upper one's.
    pub(super) fn named<'l, T>(
        &'l self,
        of: impl Fn(&'l File) -> &'l BTreeMap<String, T>,
    ) -> BTreeMap<&'l str, (FileId, &'l T)> {
        let mut all = BTreeMap::new();
        for (id, file) in self.all() {
            for (name, entry) in of(file) {
                all.entry(name.as_str()).or_insert((*id, entry));
            }
        }
        all
    }
}

pub(super) fn place<T>(file: FileId, at: &At<T>) -> Place {
    Place {
        file,
        span: at.span().unwrap_or_default(),
    }
}

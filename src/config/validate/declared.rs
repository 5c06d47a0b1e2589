//! What a fragment's declaration may refer to. Owns nothing but the references.

use super::names::Names;
use super::templates::Templates;
use crate::config::file;
use crate::config::read::Entry;

/// The rest of the site, as far as a fragment may name it.
pub(super) struct Declared<'d> {
    pub(super) origins: &'d [Entry<file::Origin>],
    pub(super) origin_names: &'d Names,
    pub(super) fragments: &'d [Entry<file::Fragment>],
    pub(super) fragment_names: &'d Names,
    pub(super) templates: &'d Templates,
    pub(super) output_max: usize,
}

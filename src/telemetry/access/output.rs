//! Where records end up (shell): standard output, or a file that may be rotated meanwhile. Owns when the
//! file is opened anew, and what is left of a write that failed half-way.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::site::AccessTarget;

/// For whoever serves the site, and their group.
const MODE: u32 = 0o640;

/// An output, opened when it is needed.
pub(super) struct Output {
    to: AccessTarget,
    file: Option<File>,
    /// Whether the last write ended within a line.
    is_torn: bool,
}

/// A write that was not, or not all of it.
pub(super) struct Short {
    /// Bytes that were written.
    pub(super) written: usize,
    pub(super) error: io::Error,
}

impl Output {
    pub(super) fn new(to: AccessTarget) -> Self {
        Self {
            to,
            file: None,
            is_torn: false,
        }
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.to == AccessTarget::Stdout && io::stdout().is_terminal()
    }

    /// As it is called in the log.
    pub(super) fn name(&self) -> String {
        match &self.to {
            AccessTarget::Stdout => "standard output".to_owned(),
            AccessTarget::File(path) => path.display().to_string(),
        }
    }

    /// Opens it, if it is not open.
    pub(super) fn open(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            self.file = Some(match &self.to {
                // without the library's buffer: what it holds would be lost in one piece, uncounted
                AccessTarget::Stdout => File::from(io::stdout().as_fd().try_clone_to_owned()?),
                AccessTarget::File(path) => open(path)?,
            });
        }
        Ok(())
    }

    /// Opens the file anew: whoever rotates has moved it away.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if let AccessTarget::File(path) = &self.to {
            // the one before stays where the new one cannot be had
            self.file = Some(open(path)?);
            self.is_torn = false;
        }
        Ok(())
    }

    /// Whether another file, or none, has taken the file's place.
    pub(super) fn was_moved(&self) -> bool {
        let (AccessTarget::File(path), Some(file)) = (&self.to, &self.file) else {
            return false;
        };
        let identity = |of: io::Result<std::fs::Metadata>| of.map(|m| (m.dev(), m.ino())).ok();
        identity(file.metadata()) != identity(std::fs::metadata(path))
    }

    /// Writes whole lines; one that was torn before is ended first.
    pub(super) fn write(&mut self, lines: &[u8]) -> Result<(), Short> {
        let short = |written, error| Short { written, error };
        self.open().map_err(|error| short(0, error))?;
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        if self.is_torn {
            file.write_all(b"\n").map_err(|error| short(0, error))?;
            self.is_torn = false;
        }
        let mut written = 0;
        while written < lines.len() {
            match file.write(&lines[written..]) {
                Ok(0) => return Err(short(written, io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    written += count;
                    self.is_torn = lines[written - 1] != b'\n';
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(short(written, error)),
            }
        }
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(MODE).open(path)
}

//! `marbre man` and `marbre completions`: what the command line says of itself, for `man` and for shells. Owns
//! nothing but where it is written: both are made of the arguments themselves.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use clap_complete::Shell;

use super::output;

#[derive(Args)]
pub(super) struct Man {
    /// Write the page of each command into this folder, instead of the first page to standard output.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct Completions {
    /// For which shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Man {
    pub(super) fn run(self, command: clap::Command) -> ExitCode {
        match self.write(command) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                output::message(&format!("error: {why}"));
                ExitCode::FAILURE
            }
        }
    }

    fn write(self, command: clap::Command) -> Result<(), String> {
        match self.out {
            Some(folder) => {
                let written = write_all(command, &folder);
                written.map_err(|error| format!("{}: {error}", folder.display()))
            }
            None => {
                output::bytes(&page(command).map_err(|error| error.to_string())?);
                Ok(())
            }
        }
    }
}

impl Completions {
    pub(super) fn run(self, mut command: clap::Command) -> ExitCode {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "marbre", &mut script);
        output::bytes(&script);
        ExitCode::SUCCESS
    }
}

fn page(command: clap::Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    Ok(page)
}

fn write_all(command: clap::Command, folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(command, folder)
}

//! `marbre alerts`: rules for Prometheus. Owns the arguments only.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::config;
use crate::telemetry::alerts;

use super::{File, output};

#[derive(Args)]
pub(super) struct Alerts {
    /// The site's declaration [default: fragments.toml].
    #[arg(value_name = "FILE", conflicts_with = "file")]
    declaration: Option<PathBuf>,
    #[command(flatten)]
    file: File,
    /// Where whoever is called looks first.
    #[arg(long, value_name = "URL")]
    dashboard: Option<String>,
}

impl Alerts {
    pub(super) fn run(self) -> ExitCode {
        let file = self.declaration.unwrap_or(self.file.file);
        let loaded = match config::load(&file, &|name| std::env::var(name).ok()) {
            Ok(loaded) => loaded,
            Err(diagnostics) => {
                output::message(&diagnostics.render(output::colours()));
                return ExitCode::FAILURE;
            }
        };
        let site = &loaded.site;
        for origin in site.origins.iter().filter(|origin| origin.owner.is_none()) {
            let name = &origin.name;
            output::message(&format!(
                "warning: origin `{name}` has no owner: its alert has no `owner` label, and goes to \
                 whom Alertmanager sends such ones; declare `owner` in [origins.{name}]"
            ));
        }
        output::result(&alerts::rules(site, self.dashboard.as_deref()));
        ExitCode::SUCCESS
    }
}

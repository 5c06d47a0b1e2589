//! `marbre snapshot`: the site as a folder that any web server or CDN can serve.
//!
//! Pages are composed in this process, as for a reader without cookies, and written where a static
//! server looks for them. A nightly run never makes the folder worse: only a whole page that is
//! everybody's replaces what is there. Owns the options, the order of the work and the exit code.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use http::Uri;
use parking_lot::Mutex;

use crate::config::{self, Loaded};

use super::explain::Asked;
use super::serve::asked_to_stop;
use super::{File, output};

mod account;
mod crawl;
mod desk;
mod folder;
mod links;
mod manifest;
mod press;
mod seeds;
mod sitemap;
mod statics;

use account::{Account, Line};
use crawl::Crawl;
use desk::{Desk, Rules};
use folder::{Folder, MANIFEST, NOT_FOUND, Place, REDIRECTS, SITEMAP, StoreError, UNAVAILABLE};
use manifest::{Kind, MANIFEST_BYTES_MAX, Manifest};
use press::Press;

/// What the origins are told that the site is called, where `--base-url` does not say.
const NAMELESS: &str = "localhost";
/// Nothing could be done: there is no page in the folder.
const NOTHING: u8 = 2;

#[derive(Args)]
pub(super) struct Snapshot {
    /// The site's declaration [default: fragments.toml].
    #[arg(value_name = "FILE", conflicts_with = "file")]
    declaration: Option<PathBuf>,
    #[command(flatten)]
    file: File,
    /// Where to write; made if it is not there.
    #[arg(long, short, value_name = "FOLDER")]
    out: PathBuf,
    /// Begin at this page too; may be repeated. Pages without parameters are begun at anyway.
    #[arg(long, value_name = "PATH")]
    from: Vec<String>,
    /// Begin at the pages of this sitemap, index of sitemaps or robots.txt too: a file, or a path
    /// that the site answers to. May be repeated.
    #[arg(long, value_name = "FILE_OR_PATH")]
    sitemap: Vec<String>,
    /// Leave out paths that begin like this; may be repeated.
    #[arg(long, value_name = "BEGINNING")]
    exclude: Vec<String>,
    /// Most pages.
    #[arg(long, value_name = "N", default_value_t = 10_000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_pages: u32,
    /// Most images, stylesheets and scripts that are saved from [[proxy]] paths.
    #[arg(long, value_name = "N", default_value_t = 20_000,
          value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    max_assets: u32,
    /// Pages under way at once.
    #[arg(long, value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u8).range(1..=64))]
    concurrency: u8,
    /// Most pages a second.
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    /// Where the site is for readers, such as https://www.example.fr: absolute links to it are
    /// followed, and a sitemap.xml is written.
    #[arg(long, value_name = "URL", value_parser = base)]
    base_url: Option<Base>,
    /// Also ask again for the pages of the snapshot before, and remove those that are gone (404 or
    /// 410). Otherwise a file stays until a better one takes its place.
    #[arg(long)]
    recheck: bool,
    /// Write to a folder that holds something else than a snapshot.
    #[arg(long)]
    force: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A site's own address.
#[derive(Debug, Clone)]
struct Base {
    /// Without a slash at the end.
    url: String,
    authority: String,
}

fn base(text: &str) -> Result<Base, String> {
    let wrong = || "write a scheme and a host, such as https://www.example.fr".to_owned();
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let web = matches!(uri.scheme_str(), Some("http" | "https"));
    let authority = uri.authority().filter(|_| web).ok_or_else(wrong)?.as_str();
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() || authority.contains('@') {
        return Err(wrong());
    }
    Ok(Base {
        url: text.trim_end_matches('/').to_owned(),
        authority: authority.to_owned(),
    })
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    let possible = (0.001..=100_000.0).contains(&rate);
    possible
        .then_some(rate)
        .ok_or_else(|| "pages a second: from 0.001 to 100000".to_owned())
}

impl Snapshot {
    pub(super) fn run(self) -> ExitCode {
        match super::run_async(self.take()) {
            Ok(code) => code,
            Err(why) => {
                output::message(&why);
                ExitCode::from(NOTHING)
            }
        }
    }

    async fn take(self) -> Result<ExitCode, String> {
        let desk = Arc::new(self.desk().await?);
        let had_redirects = desk.manifest.lock().redirects().is_some();
        let mut crawl = Crawl::new(Arc::clone(&desk));
        self.begin(&desk, &mut crawl).await?;
        let copying = Arc::clone(&desk);
        let mut account = std::mem::take(&mut crawl.account);
        let work = tokio::task::spawn_blocking(move || {
            statics::copy_all(&copying, &mut account);
            account
        });
        crawl.account = work.await.expect("copying files does not panic");
        crawl.run(asked_to_stop()).await;
        let mut account = crawl.account;
        if let Err(error) = self.finish(&desk, had_redirects).await {
            account.failed.push(Line {
                path: format!("/{MANIFEST}"),
                why: error.to_string(),
            });
            let why = || format!("/{MANIFEST} {error}");
            account.stopped.get_or_insert_with(why);
        }
        let manifest = desk.manifest.lock();
        account.files = manifest.iter().count();
        account.bytes = manifest.iter().map(|(_, entry)| entry.bytes).sum();
        let is_usable = manifest.iter().any(|(_, entry)| entry.kind == Kind::Page);
        self.tell(&account);
        Ok(if !is_usable {
            output::message("error: there is no page in the folder");
            ExitCode::from(NOTHING)
        } else if account.is_complete() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    /// The site and the folder, or what is wrong with either.
    async fn desk(&self) -> Result<Desk, String> {
        let file = self.declaration.as_ref().unwrap_or(&self.file.file);
        let Loaded { site, server, .. } = config::load(file, &|name| std::env::var(name).ok())
            .map_err(|diagnostics| diagnostics.render(output::colours()))?;
        let home = self.base_url.as_ref().map(|base| base.authority.clone());
        let press = Press::new(site, &server, home.as_deref().unwrap_or(NAMELESS))
            .await
            .map_err(|why| format!("error: {why}"))?;
        let folder =
            Folder::open(&self.out, self.force).map_err(|error| format!("error: {error}"))?;
        let manifest = folder.read(&Place::own(MANIFEST), MANIFEST_BYTES_MAX).ok();
        let mut manifest = match manifest.map(|json| Manifest::read(&json)) {
            None => Manifest::default(),
            Some(Some(manifest)) => manifest,
            Some(None) if self.force => Manifest::default(),
            Some(None) => {
                return Err(format!(
                    "error: {MANIFEST} in {} is not of a snapshot; give another folder, or --force",
                    self.out.display()
                ));
            }
        };
        if !folder.holds(&Place::own(MANIFEST)) {
            // whatever becomes of this run, the next one finds a snapshot and not a strange folder
            let first = manifest.write("");
            folder
                .store(&Place::own(MANIFEST), &first)
                .map_err(|error| format!("error: {MANIFEST} {error}"))?;
        }
        manifest.retain(|entry| Path::is_file(&folder.root().join(&entry.file)));
        Ok(Desk {
            press,
            folder,
            manifest: Mutex::new(manifest),
            rules: Rules {
                max_pages: self.max_pages as usize,
                max_assets: self.max_assets as usize,
                concurrency: usize::from(self.concurrency),
                rate: self.rate,
                exclude: self.exclude.clone(),
                home,
                recheck: self.recheck,
            },
        })
    }

    /// Takes up the pages that are known without reading one.
    async fn begin(&self, desk: &Desk, crawl: &mut Crawl) -> Result<(), String> {
        let site = desk.press.site();
        let routes = site.pages.iter().map(|page| page.route.as_str());
        for route in routes.filter(|route| !route.contains('{')) {
            crawl.offer_page(route, None, true);
        }
        for from in &self.from {
            let (asked, _) = Asked::new(site, from, &[]).map_err(|why| format!("error: {why}"))?;
            crawl.offer_page(asked.uri.path(), asked.uri.query(), true);
        }
        let home = desk.rules.home.as_deref();
        seeds::gather(crawl, &desk.press, home, &self.sitemap)
            .await
            .map_err(|why| format!("error: {why}"))?;
        if self.recheck {
            let manifest = desk.manifest.lock();
            let pages = manifest
                .iter()
                .filter(|(_, entry)| matches!(entry.kind, Kind::Page | Kind::Redirect));
            for (path, _) in pages {
                crawl.offer_page(path, None, false);
            }
        }
        Ok(())
    }

    /// Writes what is made of all the rest, the manifest last.
    async fn finish(&self, desk: &Desk, had_redirects: bool) -> Result<(), StoreError> {
        let [not_found, unavailable] = desk.press.error_pages().await;
        let folder = &desk.folder;
        for (name, page, status) in [(NOT_FOUND, not_found, 404), (UNAVAILABLE, unavailable, 503)] {
            let place = Place::own(name);
            let mut entry = desk.entry(&place, Kind::Error, folder.store(&place, &page)?);
            entry.status = status;
            desk.manifest.lock().insert(format!("/{name}"), entry);
        }
        let manifest = desk.manifest.lock();
        let redirects = Place::own(REDIRECTS);
        match manifest.redirects() {
            Some(lines) => _ = folder.store(&redirects, lines.as_bytes())?,
            None if had_redirects && folder.holds(&redirects) => folder.remove(&redirects)?,
            None => {}
        }
        if let Some(base) = &self.base_url {
            let pages = manifest
                .iter()
                .filter(|(_, entry)| entry.kind == Kind::Page);
            let pages = pages.map(|(path, entry)| (path, entry.taken_at.as_str()));
            let xml = sitemap::write(&base.url, pages);
            folder.store(&Place::own(SITEMAP), xml.as_bytes())?;
        }
        folder.store(&Place::own(MANIFEST), &manifest.write(&desk.taken_at()))?;
        Ok(())
    }

    fn tell(&self, account: &Account) {
        if self.json {
            output::json(account);
        } else {
            output::result(&account.text(&self.out.display().to_string()));
        }
    }
}

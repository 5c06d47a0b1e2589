//! What the demo newspaper prints: every address of every origin, with its answer.
//!
//! It owns the answers. It must not know sockets, dials or the composition server. Its invariant:
//! an [`Edition`] is complete once printed, so answering is a look-up and cannot fail.

mod content;
mod stories;

use std::collections::BTreeMap;

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use content::{files, read};
use stories::Stories;

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const SVG: &str = "image/svg+xml";

/// One answer of one origin, whole.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: &'static str,
    /// Where a moved story went, as a path of the site.
    pub(crate) location: Option<String>,
    pub(crate) body: Bytes,
}

/// All the answers, by origin and path.
#[derive(Debug)]
pub(crate) struct Edition {
    answers: BTreeMap<&'static str, BTreeMap<String, Answer>>,
    not_found: Answer,
}

impl Edition {
    /// Puts the whole newspaper together from the embedded content.
    pub(crate) fn print() -> Self {
        let not_found = json!({"error": "not found"}).to_string();
        let mut edition = Self {
            answers: BTreeMap::new(),
            not_found: answer(StatusCode::NOT_FOUND, JSON, not_found),
        };
        let stories = Stories::gather();
        edition.put_cms(&stories);
        edition.put_media(&stories);
        edition.put_reco(&stories);
        edition.put_json("live", "/live", &stories.live());
        edition.put_json("weather", "/weather", &read("weather.json"));
        edition.put_html("ads", "/ads/", "ads/");
        edition.put_html("web", "/", "web/");
        edition
    }

    /// The answer of `origin` at `path`; a 404 in JSON where there is none.
    pub(crate) fn answer(&self, origin: &str, path: &str) -> &Answer {
        self.answers
            .get(origin)
            .and_then(|pages| pages.get(path))
            .unwrap_or(&self.not_found)
    }

    fn put_cms(&mut self, stories: &Stories) {
        for (slug, story) in stories.all() {
            self.put_json("cms", format!("/articles/{slug}"), story);
        }
        for (slug, section) in stories.sections() {
            self.put_json("cms", format!("/sections/{slug}"), &section);
        }
        self.put_json("cms", "/front", &stories.front());
        for (old, new) in stories.moved() {
            let mut moved = answer(StatusCode::MOVED_PERMANENTLY, JSON, "{}");
            moved.location = Some(format!("/articles/{new}"));
            self.put("cms", format!("/articles/{old}"), moved);
        }
    }

    fn put_media(&mut self, stories: &Stories) {
        for (name, drawing) in files("pictures/", ".svg") {
            let drawing = answer(StatusCode::OK, SVG, drawing);
            self.put("pictures", format!("/pictures/{name}.svg"), drawing);
        }
        for (slug, slideshow) in stories.slideshows() {
            self.put_json("media", format!("/slideshows/{slug}"), &slideshow);
        }
    }

    fn put_reco(&mut self, stories: &Stories) {
        for (slug, related) in stories.related() {
            self.put_json("reco", format!("/related/{slug}"), &related);
        }
        self.put_json("reco", "/most-read", &stories.most_read());
    }

    fn put(&mut self, origin: &'static str, path: impl Into<String>, answer: Answer) {
        self.answers
            .entry(origin)
            .or_default()
            .insert(path.into(), answer);
    }

    fn put_json(&mut self, origin: &'static str, path: impl Into<String>, value: &Value) {
        self.put(
            origin,
            path,
            answer(StatusCode::OK, JSON, value.to_string()),
        );
    }

    /// Every HTML file of `folder`, each at `prefix` + its name without extension.
    fn put_html(&mut self, origin: &'static str, prefix: &str, folder: &str) {
        for (name, body) in files(folder, ".html") {
            self.put(
                origin,
                format!("{prefix}{name}"),
                answer(StatusCode::OK, HTML, body),
            );
        }
    }
}

/// The paths of all the site's pages, the front page first: what a crowd of readers asks for.
pub(crate) fn pages() -> Vec<String> {
    let stories = Stories::gather();
    let sections = stories
        .sections()
        .map(|(slug, _)| format!("/sections/{slug}"));
    let articles = stories.all().map(|(slug, _)| format!("/articles/{slug}"));
    std::iter::once("/".to_owned())
        .chain(sections)
        .chain(articles)
        .collect()
}

/// What the readers of a rehearsal ask for.
#[derive(Debug, Clone)]
pub struct Corpus {
    /// Pages of which it is known what belongs on them: the stories among these have a slideshow.
    pub pages: Vec<String>,
    /// The story that everybody comes for.
    pub story: String,
    /// One that has moved.
    pub moved: String,
    /// One that there is not.
    pub unknown: String,
}

impl Corpus {
    /// From the embedded content.
    pub fn gather() -> Self {
        let stories = Stories::gather();
        let illustrated: Vec<_> = stories.slideshows().map(|(slug, _)| slug).collect();
        let all = pages().into_iter();
        let is_known = |path: &String| {
            let slug = path.strip_prefix("/articles/");
            slug.is_none_or(|slug| illustrated.iter().any(|known| known == slug))
        };
        let moved = stories.moved().into_keys().next();
        Self {
            pages: all.filter(is_known).collect(),
            story: "/articles/municipales-port-garance".to_owned(),
            moved: format!("/articles/{}", moved.expect("a story has moved")),
            unknown: "/articles/introuvable".to_owned(),
        }
    }
}

fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    Answer {
        status,
        content_type,
        location: None,
        body: body.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::content::{parse, text};
    use super::*;

    /// Every string under a `url` or `src` key, and every `href` of an HTML answer.
    fn links(answer: &Answer) -> Vec<String> {
        fn walk(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(fields) => {
                    for (key, inner) in fields {
                        match inner.as_str() {
                            Some(link) if key == "url" || key == "src" => found.push(link.into()),
                            _ => walk(inner, found),
                        }
                    }
                }
                Value::Array(items) => items.iter().for_each(|item| walk(item, found)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        let body = std::str::from_utf8(&answer.body).unwrap();
        let mut found = Vec::new();
        match answer.content_type {
            JSON => walk(&parse("an answer", &answer.body), &mut found),
            HTML => found.extend(
                body.split("href=\"")
                    .skip(1)
                    .map(|rest| rest.split('"').next().unwrap().into()),
            ),
            _ => {}
        }
        found
    }

    /// The site's pages and the paths it passes on, as `fragments.toml` declares them.
    fn resolves(edition: &Edition, link: &str) -> bool {
        let path = link.split('#').next().unwrap();
        let found = |origin: &str| edition.answer(origin, path).status.is_success();
        match path {
            "" | "/" => true,
            _ if path.starts_with("/pictures/") => found("pictures"),
            _ => found("cms"),
        }
    }

    #[test]
    fn every_link_and_picture_leads_somewhere() {
        let edition = Edition::print();
        for answer in edition.answers.values().flat_map(BTreeMap::values) {
            for link in links(answer).into_iter().chain(answer.location.clone()) {
                assert!(resolves(&edition, &link), "{link} leads nowhere");
            }
        }
    }

    #[test]
    fn every_story_is_complete() {
        let stories = Stories::gather();
        let stories: BTreeMap<_, _> = stories.all().collect();
        assert!(stories.len() >= 12);
        let headlines: BTreeSet<_> = stories.values().map(|s| text(s, "headline")).collect();
        assert_eq!(
            headlines.len(),
            stories.len(),
            "two stories share a headline"
        );
        for (slug, story) in stories {
            assert_eq!(text(story, "slug"), slug);
            for key in ["format", "kicker", "standfirst", "desk", "published"] {
                assert!(!text(story, key).is_empty(), "{slug} has no {key}");
            }
            assert!(
                !text(&story["picture"], "alt").is_empty(),
                "{slug}'s picture is not described"
            );
            let body = story["body"].as_array().unwrap();
            assert!(
                body.iter().filter(|b| b["kind"] == "paragraph").count() >= 5,
                "{slug} is short"
            );
        }
    }

    #[test]
    fn a_moved_story_says_where_it_went_and_an_unknown_one_is_not_found() {
        let edition = Edition::print();
        let moved = edition.answer("cms", "/articles/municipales-soiree-electorale");
        assert_eq!(moved.status, StatusCode::MOVED_PERMANENTLY);
        assert_eq!(
            moved.location.as_deref(),
            Some("/articles/municipales-port-garance")
        );
        assert_eq!(
            edition.answer("cms", "/articles/rien").status,
            StatusCode::NOT_FOUND
        );
        assert_eq!(
            edition.answer("media", "/slideshows/rien").status,
            StatusCode::NOT_FOUND
        );
    }
}

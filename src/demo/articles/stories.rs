//! The newspaper's stories, with their references resolved.
//!
//! It owns how stories, sections, cards and pictures are put together from the files. It must not
//! know which origin answers with them. Its invariant: what it hands out names only stories,
//! sections and pictures that exist.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::content::{files, parse, read, text};

/// Pixels of every picture of the newspaper: all are drawn on the same 3:2 sheet.
const PICTURE_SIZE: (u32, u32) = (1200, 800);

/// The stories and sections, with their references resolved.
#[derive(Debug)]
pub(super) struct Stories {
    sections: BTreeMap<String, Value>,
    articles: BTreeMap<String, Value>,
}

impl Stories {
    pub(super) fn gather() -> Self {
        let mut stories = Self {
            sections: sections(),
            articles: BTreeMap::new(),
        };
        for (slug, body) in files("articles/", ".json") {
            let mut story = parse(&slug, &body);
            story["url"] = json!(format!("/articles/{slug}"));
            story["section"] = stories.sections[text(&story, "section")].clone();
            story["picture"] = picture(text(&story, "picture"), text(&story, "caption"));
            stories.articles.insert(slug, story);
        }
        stories
    }

    /// Every story by slug, as its own page prints it.
    pub(super) fn all(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.articles.iter()
    }

    /// Every section's page by slug.
    pub(super) fn sections(&self) -> impl Iterator<Item = (&String, Value)> {
        self.sections.iter().map(|(slug, section)| {
            (
                slug,
                json!({"section": section, "articles": self.latest_of(slug)}),
            )
        })
    }

    /// Former slugs, each with the present one.
    pub(super) fn moved(&self) -> BTreeMap<String, String> {
        serde_json::from_value(read("redirects.json")).expect("redirects.json maps slugs to slugs")
    }

    /// The stories that have a slideshow, with it.
    pub(super) fn slideshows(&self) -> impl Iterator<Item = (String, Value)> {
        files("slideshows/", ".json").map(|(slug, body)| {
            let mut show = parse(&slug, &body);
            for view in show["pictures"]
                .as_array_mut()
                .expect("a slideshow lists its pictures")
            {
                *view = picture(text(view, "picture"), text(view, "caption"));
            }
            (slug, show)
        })
    }

    /// What to read after each story.
    pub(super) fn related(&self) -> impl Iterator<Item = (&String, Value)> {
        self.articles.iter().map(|(slug, story)| {
            (
                slug,
                json!({"title": "Lire aussi", "articles": self.cards(&story["related"])}),
            )
        })
    }

    pub(super) fn most_read(&self) -> Value {
        json!({"title": "Les plus lus", "articles": self.cards(&read("most-read.json"))})
    }

    /// The live feed, with the story it leads to.
    pub(super) fn live(&self) -> Value {
        let mut live = read("live.json");
        live["article"] = self.card(text(&live, "article"));
        live
    }

    pub(super) fn front(&self) -> Value {
        let plan = read("front.json");
        let columns = plan["columns"]
            .as_array()
            .expect("front.json lists its columns");
        let columns: Vec<_> = columns
            .iter()
            .map(|column| {
                let section = &self.sections[text(column, "section")];
                json!({"section": section, "articles": self.cards(&column["articles"])})
            })
            .collect();
        json!({
            "title": "Le Marbre — Quotidien du soir",
            "description": plan["description"],
            "lead": self.card(text(&plan, "lead")),
            "angles": self.cards(&plan["angles"]),
            "second": self.cards(&plan["second"]),
            "columns": columns,
        })
    }

    /// The cards of a section, the newest first.
    fn latest_of(&self, section: &str) -> Vec<Value> {
        let mut stories: Vec<_> = self
            .articles
            .values()
            .filter(|story| story["section"]["slug"] == section)
            .collect();
        stories.sort_by_key(|story| std::cmp::Reverse(text(story, "published")));
        stories
            .into_iter()
            .map(|story| self.card(text(story, "slug")))
            .collect()
    }

    fn cards(&self, slugs: &Value) -> Vec<Value> {
        let slugs = slugs.as_array().expect("stories are listed by slug");
        slugs
            .iter()
            .map(|slug| self.card(slug.as_str().expect("a slug is a string")))
            .collect()
    }

    /// A story as it is announced elsewhere: all of it but its text.
    fn card(&self, slug: &str) -> Value {
        let mut card = self.articles[slug].clone();
        let fields = card.as_object_mut().expect("a story is an object");
        for kept_for_its_own_page in ["body", "related", "tags", "caption"] {
            fields.remove(kept_for_its_own_page);
        }
        card
    }
}

fn sections() -> BTreeMap<String, Value> {
    let list = read("sections.json");
    let list = list
        .as_array()
        .expect("sections.json is a list")
        .iter()
        .cloned();
    list.map(|mut section| {
        let slug = text(&section, "slug").to_owned();
        section["url"] = json!(format!("/sections/{slug}"));
        (slug, section)
    })
    .collect()
}

fn picture(name: &str, caption: &str) -> Value {
    let (width, height) = PICTURE_SIZE;
    json!({
        "src": format!("/pictures/{name}.svg"),
        "alt": read("pictures.json")[name],
        "caption": caption,
        "credit": "Illustration Le\u{a0}Marbre",
        "width": width,
        "height": height,
    })
}

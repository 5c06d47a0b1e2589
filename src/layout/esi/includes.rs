//! Includes: what a document asks for, under which conditions, and with which headers and parameters. Owns
//! the attributes of `include`, `eval` and `param`.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Method};

use crate::fragment::quantity;
use crate::layout::markup::{HeaderEdit, Include, OnFailure, Piece, Step};

use super::evaluate::Place;
use super::tokens::Tag;
use super::value::{self, Author};
use super::{Esi, Frame};

impl Esi {
    pub(super) fn include(&mut self, tag: &Tag) {
        if self.is_silent() {
            return;
        }
        let Some(src) = tag.attribute("src").filter(|src| !src.trim().is_empty()) else {
            return;
        };
        let src = self.filled(src, Place::Address);
        if let Some(content) = self.inlines.get(&src).cloned() {
            return self.push(Piece::Text(content));
        }
        let include = self.included(tag, src);
        if tag.is_empty {
            self.push_include(include);
        } else {
            self.enter(Frame::Include(Box::new(include), BytesMut::new()));
        }
    }

    pub(super) fn included(&mut self, tag: &Tag, src: String) -> Include {
        let alt = tag.attribute("alt").map(str::to_owned);
        let alt = alt.map(|alt| self.filled(&alt, Place::Address));
        let on_failure = match tag.attribute("onerror") {
            Some("continue") => OnFailure::LeaveOut,
            Some(_) | None => OnFailure::Fail,
        };
        let entity = tag.attribute("entity").map(str::to_owned);
        let body = entity.map(|entity| match self.value_of(&entity) {
            Some(value) => Bytes::from(value.text()),
            None => Bytes::from(self.filled(&entity, Place::Data)),
        });
        Include {
            src,
            alt: alt.filter(|alt| !alt.trim().is_empty()),
            on_failure,
            max_wait: tag.attribute("maxwait").and_then(max_wait),
            ttl: match tag.attribute("no-store") {
                Some("on") => Some(Duration::ZERO),
                Some(_) | None => tag.attribute("ttl").and_then(quantity_of_time),
            },
            method: tag.attribute("method").and_then(method),
            body,
            headers: self.header_edits(tag),
            is_markup: match tag.attribute("dca") {
                Some("esi") => Some(true),
                Some("none") => Some(false),
                Some(_) | None => None,
            },
            offset: tag.offset,
            ..Include::default()
        }
    }

    pub(super) fn header_edits(&mut self, tag: &Tag) -> Vec<HeaderEdit> {
        let mut edits = Vec::new();
        for (attribute, value) in tag.attributes.clone() {
            // Akamai's names, and Fastly's, which end in `s`
            let attribute = attribute.strip_suffix('s').unwrap_or(&attribute);
            let is_removed = attribute == "removeheader";
            if !is_removed && !matches!(attribute, "appendheader" | "setheader") {
                continue;
            }
            let value = match self.value_of(&value) {
                Some(value) => value.text(),
                None => self.filled(&value, Place::Data),
            };
            if is_removed {
                let names = value.split(',').filter_map(|name| name.trim().parse().ok());
                edits.extend(names.map(HeaderEdit::Remove));
                continue;
            }
            let (name, value) = value.split_once(':').unwrap_or((&value, ""));
            let (name, value) = (
                name.trim().parse::<HeaderName>(),
                HeaderValue::try_from(value.trim()),
            );
            let (Ok(name), Ok(value)) = (name, value) else {
                continue;
            };
            edits.push(match attribute {
                "appendheader" => HeaderEdit::Append(name, value),
                _ => HeaderEdit::Set(name, value),
            });
        }
        edits
    }

    /// Adds to the query of the include that is open.
    pub(super) fn param(&mut self, tag: &Tag) {
        if let Some(Frame::Include(_, blanks)) = self.frames.last_mut() {
            blanks.clear();
        }
        let (Some(name), Some(value)) = (tag.attribute("name"), tag.attribute("value")) else {
            return;
        };
        let (name, value) = (name.to_owned(), value.to_owned());
        let value = match self.value_of(&value) {
            Some(value) => value.text(),
            None => self.filled(&value, Place::Data),
        };
        let max = self.limits.value_bytes;
        if let Some(Frame::Include(include, _)) = self.frames.last_mut()
            && include.src.len() + name.len() + value.len() < max
        {
            let sign = if include.src.contains('?') { '&' } else { '?' };
            let encoded = |text: &str| value::in_address("?", text, Author::Reader);
            include.src.push(sign);
            include.src += &encoded(&name);
            include.src.push('=');
            include.src += &encoded(&value);
        }
    }

    pub(super) fn push_include(&mut self, include: Include) {
        // a function gives a value, and cannot wait for anybody
        if self.arguments.is_empty() {
            self.push(Piece::Include(Box::new(include)));
        }
    }

    /// Content that is part of this document, with its variables, and has to be here first.
    pub(super) fn eval(&mut self, tag: &Tag) {
        if self.is_silent() || !self.arguments.is_empty() {
            return;
        }
        let Some(src) = tag.attribute("src").filter(|src| !src.trim().is_empty()) else {
            return;
        };
        let src = self.filled(src, Place::Address);
        let mut include = self.included(tag, src);
        let is_apart = include.is_markup == Some(true);
        include.is_markup = Some(false);
        self.asks = Some((include.on_failure.clone(), is_apart));
        self.ready.push_back(Step::Ask(Box::new(include)));
    }
}

/// Akamai counts `maxwait` in milliseconds; a unit may follow.
fn max_wait(text: &str) -> Option<Duration> {
    match text.trim().parse() {
        Ok(milliseconds) => Some(Duration::from_millis(milliseconds)),
        Err(_) => quantity_of_time(text),
    }
}

fn quantity_of_time(text: &str) -> Option<Duration> {
    quantity::parse_duration(text.trim()).ok()
}

fn method(text: &str) -> Option<Method> {
    let method = text.trim().to_ascii_uppercase().parse().ok()?;
    (method != Method::GET).then_some(method)
}

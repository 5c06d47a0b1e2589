//! `Surrogate-Control` (Edge Architecture Specification, W3C note of 4 August 2001) and Akamai's
//! `Edge-Control`: what an answer says to whoever stands between its origin and its readers. Owns their
//! syntax; pure.

use std::time::Duration;

use http::HeaderMap;

use super::freshness::{CacheControl, delta_seconds};

/// What this server calls itself: directives for others are not for it.
const NAME: &str = "marbre";

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Surrogate {
    /// What it holds, such as `ESI/1.0`.
    pub content: Vec<String>,
    /// How long it is good, here and nowhere else.
    pub max_age: Option<Duration>,
    /// How long it may be shown after that while it is asked for again.
    pub stale: Option<Duration>,
    /// Whether nobody is to keep it.
    pub no_store: bool,
    /// Whether `Edge-Control` says that it holds ESI.
    is_edge_esi: bool,
}

impl Surrogate {
    /// Reads both headers; what is not understood is passed over.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut says = Self::default();
        let lines = |name: &'static str| {
            let lines = headers.get_all(name).iter();
            lines.filter_map(|value| value.to_str().ok())
        };
        for directive in lines("surrogate-control").flat_map(directives) {
            says.heed(&directive);
        }
        for directive in lines("edge-control").flat_map(directives) {
            let (name, value) = directive.split_once('=').unwrap_or((&directive, ""));
            says.is_edge_esi |=
                name.trim().eq_ignore_ascii_case("dca") && value.trim().eq_ignore_ascii_case("esi");
        }
        says
    }

    fn heed(&mut self, directive: &str) {
        let mut parts = directive.split(';');
        let what = parts.next().unwrap_or_default();
        let mut targets = parts
            .map(str::trim)
            .filter(|target| !target.is_empty())
            .peekable();
        if targets.peek().is_some() && !targets.any(|target| target == NAME) {
            return;
        }
        let (name, value) = what.split_once('=').unwrap_or((what, ""));
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "content" => self.content = value.split_whitespace().map(str::to_owned).collect(),
            "no-store" => self.no_store = true,
            "max-age" => {
                let (fresh, stale) = value.split_once('+').unwrap_or((value, ""));
                self.max_age = delta_seconds(fresh);
                self.stale = delta_seconds(stale);
            }
            _ => {}
        }
    }

    /// Whether it says that it is in the language of this token.
    pub fn holds(&self, token: &str) -> bool {
        let mut content = self.content.iter();
        content.any(|held| held.eq_ignore_ascii_case(token))
            || (self.is_edge_esi && token.eq_ignore_ascii_case("ESI/1.0"))
    }

    /// What `Cache-Control` says, where this does not say otherwise: here, it has the last word.
    pub fn over(&self, mut says: CacheControl) -> CacheControl {
        if let Some(max_age) = self.max_age {
            says.max_age = Some(max_age);
            (says.private, says.no_store) = (false, false);
            says.must_revalidate = false;
        }
        says.stale_while_revalidate = self.stale.or(says.stale_while_revalidate);
        says.no_store |= self.no_store;
        says
    }
}

/// The directives of a line: commas within quotes separate nothing.
fn directives(line: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut is_quoted = false;
    for character in line.chars() {
        match character {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => {
                found.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = found.last_mut() {
            last.push(character);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(name: &'static str, value: &'static str) -> Surrogate {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        Surrogate::of(&headers)
    }

    #[test]
    fn what_is_in_it_and_for_how_long() {
        let all = says(
            "surrogate-control",
            "max-age=30+60, content=\"ESI/1.0 ESI-Inline/1.0\"",
        );
        assert!(all.holds("ESI/1.0") && !all.holds("SSI/1.0"));
        assert_eq!(all.max_age, Some(Duration::from_secs(30)));
        assert_eq!(all.stale, Some(Duration::from_secs(60)));
        assert!(says("surrogate-control", "content=ESI/1.0").holds("ESI/1.0"));
        assert!(says("surrogate-control", "no-store, content=\"a,b\"").no_store);
    }

    #[test]
    fn what_is_too_long_is_for_ever() {
        let for_ever = Some(Duration::from_secs(1 << 31));
        for value in [
            "max-age=18446744073709551615",
            "max-age=99999999999999999999+9999999999",
        ] {
            let says = says("surrogate-control", value);
            assert_eq!(says.max_age, for_ever, "{value}");
        }
        let both = says("surrogate-control", "max-age=1+99999999999999999999");
        assert_eq!(both.stale, for_ever);
    }

    #[test]
    fn what_is_for_others_is_not_heeded() {
        assert_eq!(says("surrogate-control", "max-age=30;other").max_age, None);
        assert!(
            says("surrogate-control", "max-age=30;marbre")
                .max_age
                .is_some()
        );
    }

    #[test]
    fn edge_control_says_it_in_its_own_way() {
        assert!(says("edge-control", "max-age=5, dca=esi").holds("ESI/1.0"));
        assert!(!says("edge-control", "dca=noop").holds("ESI/1.0"));
    }

    #[test]
    fn it_has_the_last_word_here() {
        let private = CacheControl::parse(["private, no-store, max-age=0"]);
        let over = says("surrogate-control", "max-age=30").over(private);
        assert_eq!(over.max_age, Some(Duration::from_secs(30)));
        assert!(!over.private && !over.no_store);
    }
}

//! Crawlers: who they are, and what they get where a page is degraded. Owns how a crawler is told by its
//! name.
//!
//! What a crawler reads is kept for days and shown to many. So it had better read the page as it was when
//! it was complete than the page that is right for a reader in a hurry.

use memchr::memmem;

/// `[site]`: what crawlers get of a page of which something is given up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Crawlers {
    /// Words of their `User-Agent`, in small letters.
    pub names: Vec<String>,
    /// What they get.
    pub policy: ForCrawlers,
}

/// What a crawler gets of a page of which something is given up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ForCrawlers {
    /// Its snapshot; the page as it is where there is none.
    #[default]
    Snapshot,
    /// What everybody gets.
    Serve,
    /// Its snapshot; where there is none it is asked to come again.
    Refuse,
}

impl ForCrawlers {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Serve => "serve",
            Self::Refuse => "503",
        }
    }
}

impl Crawlers {
    /// What whoever sends this `User-Agent` gets; `None` for what everybody gets.
    pub fn policy_for(&self, user_agent: &[u8]) -> Option<ForCrawlers> {
        if self.policy == ForCrawlers::Serve {
            return None;
        }
        let agent = user_agent.to_ascii_lowercase();
        let names = &mut self.names.iter();
        names
            .any(|name| is_named(&agent, name.as_bytes()))
            .then_some(self.policy)
    }
}

/// Whether the name is a word of the text, and not a part of one.
fn is_named(agent: &[u8], name: &[u8]) -> bool {
    let is_letter = |at: Option<usize>| {
        let byte = at.and_then(|at| agent.get(at));
        byte.is_some_and(u8::is_ascii_alphanumeric)
    };
    !name.is_empty()
        && memmem::find_iter(agent, name)
            .any(|at| !is_letter(at.checked_sub(1)) && !is_letter(Some(at + name.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crawler_is_told_by_a_word_of_its_name() {
        let crawlers = Crawlers {
            names: vec!["googlebot".to_owned(), "yeti".to_owned()],
            policy: ForCrawlers::Refuse,
        };
        for (agent, is_crawler) in [
            (
                "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
                true,
            ),
            ("GOOGLEBOT", true),
            ("Googlebot-Image/1.0", true),
            ("NotGooglebot/1.0", false),
            ("Mozilla/5.0 (compatible; Yeti/1.1)", true),
            ("Yetix Yeti", true),
            ("Yetis", false),
            ("Mozilla/5.0 (X11; Linux x86_64) Firefox/140", false),
            ("", false),
        ] {
            let found = crawlers.policy_for(agent.as_bytes());
            assert_eq!(found.is_some(), is_crawler, "{agent}");
        }
        let serving = Crawlers {
            policy: ForCrawlers::Serve,
            ..crawlers
        };
        assert_eq!(serving.policy_for(b"Googlebot"), None);
    }
}

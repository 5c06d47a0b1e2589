//! Sitemaps: what a sitemap, an index of sitemaps or a `robots.txt` names
//! (<https://www.sitemaps.org/protocol.html>, RFC 9309, 2.2.4), and the sitemap of a finished
//! snapshot. Owns both formats; pure.
//!
//! Invariant: of a file that is damaged, what can be read is read.

use std::fmt::Write as _;

use super::links::decode;

/// Longest sitemap that is read, in bytes: the protocol allows 50 MiB.
pub(super) const SITEMAP_BYTES_MAX: u64 = 50 * 1024 * 1024;
/// Most sitemaps that are read, through any number of indexes.
pub(super) const SITEMAPS_MAX: usize = 1_000;
/// Most addresses in a sitemap that is written: the protocol allows no more.
const ADDRESSES_MAX: usize = 50_000;

/// What a file names, in its order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    /// Pages.
    pub(super) pages: Vec<String>,
    /// More sitemaps.
    pub(super) sitemaps: Vec<String>,
}

/// Reads a sitemap, an index of sitemaps or a `robots.txt`, whichever it is.
pub(super) fn read(text: &str) -> Named {
    if !text
        .trim_start_matches('\u{feff}')
        .trim_start()
        .starts_with('<')
    {
        return robots(text);
    }
    let mut named = Named::default();
    let mut in_index = false;
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = comment.find("-->").map_or("", |end| &comment[end + 3..]);
            continue;
        }
        let end = rest.find(|c: char| c.is_ascii_whitespace() || matches!(c, '>' | '/'));
        let name = &rest[..end.unwrap_or(rest.len())];
        match name {
            "sitemap" => in_index = true,
            "url" => in_index = false,
            // `image:loc` and the like are other names
            "loc" => {
                let Some((_, after)) = rest.split_once('>') else {
                    break;
                };
                let (text, after) = after.split_once("</").unwrap_or((after, ""));
                let address = text_of(text);
                let list = if in_index {
                    &mut named.sitemaps
                } else {
                    &mut named.pages
                };
                list.extend((!address.is_empty()).then_some(address));
                rest = after;
            }
            _ => {}
        }
    }
    named
}

fn text_of(text: &str) -> String {
    let text = text.trim();
    let section = text
        .strip_prefix("<![CDATA[")
        .and_then(|t| t.strip_suffix("]]>"));
    section.map_or_else(|| decode(text), |text| text.trim().to_owned())
}

fn robots(text: &str) -> Named {
    let sitemaps = text.lines().filter_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let (name, value) = line.split_once(':')?;
        let value = value.trim();
        (name.trim().eq_ignore_ascii_case("sitemap") && !value.is_empty()).then(|| value.to_owned())
    });
    Named {
        pages: Vec::new(),
        sitemaps: sitemaps.collect(),
    }
}

/// A sitemap of these paths, each with the time when it was taken, below `base`.
pub(super) fn write<'e>(base: &str, entries: impl Iterator<Item = (&'e str, &'e str)>) -> String {
    let mut xml = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <urlset xmlns=\"http://www.sitemaps.org/schemas/sitemap/0.9\">\n",
    );
    for (path, taken_at) in entries.take(ADDRESSES_MAX) {
        let address = escape(&format!("{base}{path}"));
        writeln!(
            xml,
            "<url><loc>{address}</loc><lastmod>{taken_at}</lastmod></url>"
        )
        .expect("writing to a string cannot fail");
    }
    xml + "</urlset>\n"
}

/// For text and attributes of XML and HTML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sitemap_names_pages() {
        let xml = "\u{feff}<?xml version='1.0'?><!-- <loc>/no</loc> --><urlset><url>\n<loc>\n\
            https://a/x?y=1&amp;z=2 </loc><image:image><image:loc>https://a/i.jpg</image:loc>\
            </image:image></url><url><loc><![CDATA[ https://a/c&d ]]></loc></url><url><loc/></url>";
        let named = read(xml);
        assert_eq!(named.pages, ["https://a/x?y=1&z=2", "https://a/c&d"]);
        assert!(named.sitemaps.is_empty());
    }

    #[test]
    fn an_index_and_robots_name_sitemaps() {
        let index = read("<sitemapindex><sitemap><loc>/a.xml</loc></sitemap></sitemapindex>");
        assert_eq!(
            (index.pages.len(), index.sitemaps),
            (0, vec!["/a.xml".to_owned()])
        );
        let robots =
            read("User-agent: *\nSITEMAP: https://a/s.xml # main\n#Sitemap: /no\nsitemap:\n");
        assert_eq!(robots.sitemaps, ["https://a/s.xml"]);
    }

    #[test]
    fn what_is_written_can_be_read() {
        let entries = [
            ("/", "2026-01-01T00:00:00Z"),
            ("/a&b'", "2026-01-01T00:00:00Z"),
        ];
        let named = read(&write("https://a", entries.into_iter()));
        assert_eq!(named.pages, ["https://a/", "https://a/a&b'"]);
        let many = std::iter::repeat_n(("/", "x"), ADDRESSES_MAX + 1);
        assert_eq!(read(&write("", many)).pages.len(), ADDRESSES_MAX);
    }
}

//! The frame of a page and of a picture.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use crate::ink;
use crate::text::harmless;

/// A page with `body`, which needs no other file.
///
/// `style` and `script` are code of ours: they are neither escaped nor checked, and contain neither
/// `<` nor `&`. The page's policy allows these two by their digests and nothing else.
#[must_use]
pub fn document(title: &str, style: &str, script: Option<&str>, body: &Markup) -> String {
    let style = format!("{style}{}", ink::style());
    let source = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    let policy = format!(
        "default-src 'none'; style-src {}; script-src {}; base-uri 'none'; form-action 'none'",
        source(&style),
        script.map_or_else(|| "'none'".to_owned(), source)
    );
    let page = html! {
        (maud::DOCTYPE) "\n"
        html lang="en" xmlns="http://www.w3.org/1999/xhtml" {
            head {
                // By hand: maud leaves these elements open, which is not well-formed XML.
                (PreEscaped(format!("<meta charset=\"utf-8\"/>\n\
                    <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\"/>\n\
                    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
                    <meta name=\"color-scheme\" content=\"light dark\"/>\n")))
                title { (title) }
                style { (PreEscaped(&style)) }
            }
            body {
                (body)
                @if let Some(script) = script {
                    script { (PreEscaped(script)) }
                }
            }
        }
        "\n"
    };
    harmless(&page.into_string())
}

/// A picture inside a page, as wide as its place. `title` describes it to those who cannot see it.
#[must_use]
pub fn picture(class: &str, (width, height): (u64, u64), title: &str, content: &Markup) -> Markup {
    html! {
        svg xmlns="http://www.w3.org/2000/svg" class=(class) role="img" aria-label=(title)
            viewBox=(format_args!("0 0 {width} {height}")) {
            (content)
        }
        "\n"
    }
}

/// A picture as a file of its own.
#[must_use]
pub fn picture_file((width, height): (u64, u64), title: &str, content: &Markup) -> String {
    let picture = html! {
        (PreEscaped("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"))
        svg xmlns="http://www.w3.org/2000/svg" width=(width) height=(height) role="img"
            viewBox=(format_args!("0 0 {width} {height}")) font-family="sans-serif" font-size="12" {
            title { (title) }
            (content)
        }
        "\n"
    };
    harmless(&picture.into_string())
}

#[cfg(test)]
mod tests {
    use roxmltree::{Document, Node, ParsingOptions};

    use super::*;

    const EVIL: &str = "\"></p><script>alert(1)</script>&amp;'\u{202e}\u{1b}[31m\u{0}]]>--><!--";

    fn parsed(page: &str) -> Document<'_> {
        let options = ParsingOptions {
            allow_dtd: true,
            ..ParsingOptions::default()
        };
        Document::parse_with_options(page, options).unwrap()
    }

    fn elements<'a>(
        document: &'a Document<'_>,
        name: &'a str,
    ) -> impl Iterator<Item = Node<'a, 'a>> {
        let named = move |node: &Node<'_, '_>| node.tag_name().name() == name;
        document.root().descendants().filter(named)
    }

    #[test]
    fn text_from_outside_stays_text_wherever_it_stands() {
        let body = html! {
            p class=(EVIL) { (EVIL) }
            (picture("chart", (1, 1), EVIL, &html! { text { (EVIL) } }))
        };
        let page = document(EVIL, "", Some("1;"), &body);
        let document = parsed(&page);
        assert_eq!(elements(&document, "script").count(), 1);
        assert!(!page.contains(['\u{202e}', '\u{1b}', '\u{0}']));
        let shown = "\"></p><script>alert(1)</script>&amp;'\\u{202e}\\u{1b}[31m\\u{0}]]>--><!--";
        for name in ["title", "p", "text"] {
            let node = elements(&document, name).next().unwrap();
            assert_eq!(node.text(), Some(shown), "{name}");
        }
        let svg = elements(&document, "svg").next().unwrap();
        assert_eq!(svg.attribute("aria-label"), Some(shown));
    }

    #[test]
    fn a_picture_is_a_well_formed_file() {
        let file = picture_file((20, 10), EVIL, &html! { rect width="1" height="1" {} });
        let document = Document::parse(&file).unwrap();
        assert_eq!(
            document.root_element().attribute("viewBox"),
            Some("0 0 20 10")
        );
        assert_eq!(elements(&document, "script").count(), 0);
    }

    #[test]
    fn the_policy_allows_the_style_and_the_script_of_the_page_only() {
        for script in [None, Some("\"use strict\";")] {
            let page = document("t", "p { color: red; }", script, &html! { p { "x" } });
            let document = parsed(&page);
            let policy = elements(&document, "meta")
                .find(|node| node.attribute("http-equiv") == Some("Content-Security-Policy"))
                .and_then(|node| node.attribute("content"))
                .unwrap();
            assert!(policy.starts_with("default-src 'none';"), "{policy}");
            let allowed = |element: &str| {
                let text = elements(&document, element).next()?.text()?;
                let digest = STANDARD.encode(Sha256::digest(text));
                Some(format!("{element}-src 'sha256-{digest}';"))
            };
            assert!(policy.contains(&allowed("style").unwrap()), "{policy}");
            let expected = allowed("script").unwrap_or("script-src 'none';".to_owned());
            assert!(policy.contains(&expected), "{policy}");
        }
    }
}

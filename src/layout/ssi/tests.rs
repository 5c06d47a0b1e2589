//! Documents from text to text: what nginx's manual says about each command.

use proptest::prelude::*;

use super::properties::{cost, hold, machine};
use super::*;
use crate::layout::markup::trial;

const E: &str = "[an error occurred while processing the directive]";

/// What comes of `text`, of which `E` is the error message, and the addresses that were asked for.
fn run(text: &str, query: &str, answers: &[(&str, &str)]) -> (String, Vec<String>) {
    let machine = machine(query, Limits::default());
    let (written, sought) = trial::run(machine, [text.as_bytes()], answers);
    let written = String::from_utf8(written.unwrap()).unwrap();
    (written.replace(E, "E"), sought)
}

fn written(text: &str, query: &str) -> String {
    run(text, query, &[]).0
}

#[test]
fn echo_says_what_is_and_escapes_it() {
    for (text, is) in [
        ("<!--#echo var=\"arg_a\" -->", "1&lt;2"),
        ("<!--# echo var='arg_a' encoding='none' -->", "1<2"),
        ("<!--#echo var=\"ARG_A\" encoding=\"url\" -->", "1%3C2"),
        (
            "<!--#echo var=\"http_user_agent\" -->",
            "&lt;b&gt;&quot;x&quot;&amp;y",
        ),
        ("<!--#echo var=\"nothing\" -->", "(none)"),
        ("<!--#echo var=\"nothing\" default=\"<i>\" -->", "&lt;i&gt;"),
        ("<!--#echo var=\"nothing\" default=\"\" -->", ""),
        ("<!--#echo var=\"arg_e\" default=\"no\" -->", ""),
        (
            "<!--#echo var=\"DATE_GMT\" -->",
            "Sunday, 06-Nov-1994 08:49:37 GMT",
        ),
        (
            "<!--#config timefmt=\"%Y\" --><!--#echo var=\"DATE_LOCAL\" -->",
            "1994",
        ),
        // an encoding holds until another one is named
        (
            "<!--#echo var=\"arg_a\" encoding=\"none\" --><!--#echo var=\"arg_a\" -->",
            "1<21<2",
        ),
        ("<!--#echo var=\"arg_a\" encoding=\"what\" -->", "1&lt;2"),
        ("<!--#echo -->", "E"),
        ("<!--#echo var=\"a\" var=\"b\" -->", "E"),
        ("<!--#echo var=\"a\" vra=\"b\" -->", "E"),
    ] {
        assert_eq!(written(text, "a=1<2&e="), is, "{text}");
    }
}

#[test]
fn errors_stand_where_they_happen() {
    for (text, is) in [
        ("a<!--#nonsense -->b", "aEb"),
        ("a<!--#printenv -->b", "aEb"),
        ("a<!--#echo var=x -->b", "aEb"),
        (
            "<!--#config errmsg=\"<p>sorry</p>\" --><!--#nonsense -->",
            "<p>sorry</p>",
        ),
        ("<!--#config errmsg=\"\" -->a<!--#nonsense -->b", "ab"),
        ("<!--#config errormsg=\"\" -->", "E"),
        ("<!--#set var=\"a\" -->", "E"),
        ("<!--#set var=\"a\" value=\"$\" -->", "E"),
        ("<!--#set var=\"a\" value=\"${b\" -->", "E"),
        ("<!--#include -->", "E"),
        ("<!--#include virtual=\"/a\" file=\"a\" -->", "E"),
        ("<!--#include virtual=\"\" -->", "E"),
        ("<!--#include virtual=\"/../a\" -->", "E"),
        ("<!--#include virtual=\"../a\" -->", "E"),
        ("<!--#include virtual=\"/a/%2e%2E/b\" -->", "E"),
        ("<!--#include virtual=\"/a%00\" -->", "E"),
        ("<!--#include virtual=\"/a\" wait=\"perhaps\" -->", "E"),
        ("<!--#include file=\"a\" wait=\"yes\" -->", "E"),
        ("<!--#include virtual=\"/a\" stub=\"none\" -->", "E"),
        ("<!--#block --><!--#endblock x=\"y\" -->", "EE"),
        ("<!--#endblock -->", ""),
    ] {
        assert_eq!(written(text, ""), is, "{text}");
    }
    let many = "x=\"\" ".repeat(17);
    assert_eq!(written(&format!("<!--#endblock {many}-->"), ""), "E");
}

#[test]
fn branches() {
    let text =
        "x<!--#if expr=\"$arg_a\" -->A<!--#elif expr=\"$arg_b\" -->B<!--#else -->C<!--#endif -->x";
    for (query, is) in [
        ("a=1", "xAx"),
        ("a=1&b=1", "xAx"),
        ("b=1", "xBx"),
        ("", "xCx"),
    ] {
        assert_eq!(written(text, query), is, "{query}");
    }
    for (text, is) in [
        // what is not taken does nothing
        (
            "<!--#if expr=\"\" --><!--#set var=\"v\" value=\"1\" --><!--#nonsense --><!--#x y --><!--#endif --><!--#echo var=\"v\" -->",
            "(none)",
        ),
        (
            "<!--#if expr=\"$arg_q = /(.)(.)/\" --><!--#echo var=\"2\" --><!--#echo var=\"1\" --><!--#endif -->",
            "iH",
        ),
        (
            "<!--#if expr=\"$arg_q = /(?<second>.)$nothing/\" --><!--#echo var=\"second\" --><!--#endif -->",
            "H",
        ),
        // one in another
        (
            "<!--#if expr=\"1\" -->a<!--#if expr=\"\" -->b<!--#else -->c<!--#endif -->d<!--#else -->e<!--#endif -->f",
            "acdf",
        ),
        (
            "<!--#if expr=\"\" -->a<!--#if expr=\"1\" -->b<!--#else -->c<!--#endif -->d<!--#else -->e<!--#endif -->f",
            "ef",
        ),
        // out of place
        (
            "<!--#else -->a<!--#endif -->b<!--#elif expr=\"1\" -->c",
            "EaEbEc",
        ),
        (
            "<!--#if expr=\"1\" -->a<!--#else -->b<!--#else -->c<!--#elif expr=\"1\" -->d<!--#endif -->e",
            "aEEe",
        ),
        // not understood: does not hold
        (
            "<!--#if expr=\"a b\" -->a<!--#else -->b<!--#endif -->c",
            "Ebc",
        ),
        (
            "<!--#if -->a<!--#elif expr=\"a b\" -->b<!--#elif expr=\"1\" -->c<!--#endif -->d",
            "EEcd",
        ),
        ("<!--#if expr=1 -->a<!--#else -->b<!--#endif -->c", "Ebc"),
        // never ended
        ("<!--#if expr=\"\" -->a", ""),
    ] {
        assert_eq!(written(text, "q=Hi"), is, "{text}");
    }
}

#[test]
fn nesting_has_an_end() {
    let limits = Limits {
        nesting: 2,
        ..Limits::default()
    };
    let open = "<!--#if expr=\"1\" -->(";
    let close = ")<!--#else -->-<!--#endif -->";
    let text = format!("{}x{}y", open.repeat(4), close.repeat(4));
    let (out, _) = trial::run(machine("", limits), [text.as_bytes()], &[]);
    assert_eq!(
        String::from_utf8(out.unwrap()).unwrap(),
        format!("(({E}))y")
    );
}

#[test]
fn includes() {
    let answers = [
        ("/a", "A"),
        ("/l/fr", "F"),
        ("/p?$x", "P"),
        ("near", "N"),
        ("/empty", ""),
    ];
    for (text, is, sought) in [
        ("x<!--#include virtual=\"/a\" -->y", "xAy", vec!["/a"]),
        (
            "x<!--#include virtual='/l/$arg_l' -->y",
            "xFy",
            vec!["/l/fr"],
        ),
        (
            "x<!--# include virtual=\"/p?\\$x\" -->y",
            "xPy",
            vec!["/p?$x"],
        ),
        ("x<!--#include virtual=\"near\" -->y", "xNy", vec!["near"]),
        ("x<!--#include file=\"near\" -->y", "xNy", vec!["near"]),
        ("x<!--#include virtual=\"/gone\" -->y", "xy", vec!["/gone"]),
        (
            "x<!--#include virtual=\"/a b\u{e9}\" -->y",
            "xy",
            vec!["/a%20b%C3%A9"],
        ),
        (
            "x<!--#include virtual=\"/a\" wait=\"yes\" -->y",
            "xAy",
            vec!["/a"],
        ),
        (
            "x<!--#include virtual=\"/gone\" wait=\"YES\" -->y",
            "xy",
            vec!["/gone"],
        ),
        (
            "x<!--#include virtual=\"/a\" wait=\"no\" -->y",
            "xAy",
            vec!["/a"],
        ),
        (
            "<!--#include virtual=\"/a\" set=\"v\" -->x<!--#echo var=\"v\" -->",
            "xA",
            vec!["/a"],
        ),
        (
            "<!--#set var=\"v\" value=\"old\" --><!--#include virtual=\"/gone\" set=\"v\" -->x<!--#echo var=\"v\" -->",
            "x",
            vec!["/gone"],
        ),
    ] {
        assert_eq!(
            run(text, "l=fr", &answers),
            (
                is.to_owned(),
                sought.into_iter().map(str::to_owned).collect()
            ),
            "{text}"
        );
    }
}

#[test]
fn includes_are_documents_of_their_own() {
    let answers = [
        (
            "/n?q=in",
            "!<!--#echo var=\"arg_q\" -->,<!--#echo var=\"uri\" -->,<!--#echo var=\"v\" --><!--#set var=\"v\" value=\"theirs\" -->",
        ),
        ("sub/n", "!<!--#echo var=\"document_uri\" -->"),
    ];
    for (text, is) in [
        (
            "<!--#set var=\"v\" value=\"ours\" --><!--#include virtual=\"/n?q=in\" -->;<!--#echo var=\"v\" -->",
            "in,/n,ours;ours",
        ),
        ("<!--#include virtual=\"sub/n\" -->", "/sub/n"),
        // a value is not looked into
        (
            "<!--#include virtual=\"sub/n\" set=\"v\" --><!--#echo var=\"v\" encoding=\"none\" -->",
            "!<!--#echo var=\"document_uri\" -->",
        ),
    ] {
        assert_eq!(run(text, "q=out", &answers).0, is, "{text}");
    }
}

#[test]
fn stubs() {
    let answers = [("/a", "A"), ("/empty", ""), ("/b", "B")];
    let one =
        "<!--#block name=\"one\" -->S<!--#echo var=\"arg_q\" default=\"-\" --><!--#endblock -->";
    for (text, is) in [
        ("<!--#include virtual=\"/a\" stub=\"one\" -->", "A"),
        ("<!--#include virtual=\"/gone\" stub=\"one\" -->", "S-"),
        ("<!--#include virtual=\"/empty\" stub=\"one\" -->", "S-"),
        (
            "<!--#include virtual=\"/empty\" stub=\"one\" wait=\"yes\" -->",
            "S-",
        ),
        ("<!--#include virtual=\"/gone?q=7\" stub=\"one\" -->", "S7"),
        // the first of a name
        (
            "<!--#block name=\"one\" -->T<!--#endblock --><!--#include virtual=\"/gone\" stub=\"one\" -->",
            "S-",
        ),
        (
            "<!--#if expr=\"\" --><!--#block name=\"two\" -->no<!--#endblock -->no<!--#else --><!--#block name=\"two\" -->yes<!--#endblock --><!--#endif --><!--#include virtual=\"/gone\" stub=\"two\" -->",
            "yes",
        ),
        (
            "<!--#block name=\"two\" --><!--#include virtual=\"/b\" wait=\"yes\" --><!--#endblock -->x<!--#include virtual=\"/gone\" stub=\"two\" -->",
            "xB",
        ),
        (
            "<!--#block name=\"two\" --><!--#include virtual=\"/b\" set=\"v\" -->v<!--#echo var=\"v\" --><!--#endblock --><!--#include virtual=\"/gone\" stub=\"two\" -->",
            "v",
        ),
        // an empty one is one
        (
            "<!--#block name=\"two\" --><!--#endblock -->x<!--#include virtual=\"/gone\" stub=\"two\" -->y",
            "xy",
        ),
        (
            "<!--#include virtual=\"/gone\" stub=\"one\" set=\"v\" -->",
            "E",
        ),
        // a block that does not end
        ("x<!--#block name=\"two\" -->y", "x"),
    ] {
        assert_eq!(run(&format!("{one}{text}"), "", &answers).0, is, "{text}");
    }
}

#[test]
fn a_stub_of_itself_ends() {
    let inner = "<!--#include virtual=\"/gone\" stub=\"one\" -->".repeat(8);
    let text = format!("<!--#block name=\"one\" -->({inner})<!--#endblock -->{inner}");
    let (out, sought) = run(&text, "", &[]);
    let twice = format!("({})", "()".repeat(8));
    assert_eq!(out, twice.repeat(8));
    assert_eq!(sought.len(), 8 + 8 * 8 + 8 * 8 * 8);
    // and what has no fuel left has no stub
    let limits = Limits {
        steps: 100,
        ..Limits::default()
    };
    let (out, sought) = trial::run(machine("", limits), [text.as_bytes()], &[]);
    assert!(String::from_utf8(out.unwrap()).unwrap().ends_with(E));
    assert!(sought.len() < 100, "{}", sought.len());
}

#[test]
fn a_block_that_is_too_long_is_none() {
    let text = "x".repeat(BLOCK_BYTES_MAX + 1);
    for (len, is) in [(BLOCK_BYTES_MAX, &text[1..]), (BLOCK_BYTES_MAX + 1, "E")] {
        let text = format!(
            "<!--#block name=\"b\" -->{}<!--#endblock --><!--#include virtual=\"/gone\" stub=\"b\" -->",
            &text[..len]
        );
        assert!(written(&text, "") == is, "{len}");
    }
}

#[test]
fn doubling_ends_in_an_error() {
    let double = "<!--#set var=\"a\" value=\"$a$a$a$a$a$a$a$a\" -->".repeat(20);
    let text = format!("<!--#set var=\"a\" value=\"x\" -->{double}");
    let out = written(&text, "");
    assert_eq!(out, "E".repeat(15), "8^5 is the last power within 64 KiB");
}

#[test]
fn text_and_included_content_are_not_copied() {
    let mut machine = machine("", Limits::default());
    let document = Bytes::from(b"\xff\x00text<!--#endblock -->more".to_vec());
    machine.feed(document.clone());
    machine.finish();
    let mut texts = Vec::new();
    while let Step::Piece(Piece::Text(text)) = machine.next() {
        texts.push(text);
    }
    assert_eq!(texts, [document.slice(..6), document.slice(23..)]);
    assert_eq!(texts[0].as_ptr(), document.as_ptr());
}

#[test]
fn work_grows_with_the_document() {
    let units = [
        "<!--#",
        "<",
        "<!--#if expr=\"1\" -->",
        "<!--#block name=\"a\" -->",
        "<!--#endif -->",
        "<!--#x ",
        "<!-",
        "<!--#echo var=\"a\" -->",
        "<!--#set var=\"a\" value=\"$a$a\" -->",
        "<!--#if expr=\"$arg_q = /(a|b)*c/\" -->",
    ];
    trial::hostile_documents_cost_by_their_length(&units, cost);
    let machine = || machine("q=abab", Limits::default());
    trial::hostile_documents_take_steps_by_their_length(&units, machine);
}

#[test]
fn a_copy_is_read_once() {
    let document =
        Bytes::from("a<!--#echo var=\"arg_a\" -->b<!--#x<!--#include virtual=\"/a\" -->");
    let tokens = Arc::default();
    let read = |query: &str| {
        let asked = Arc::new(trial::asked(query, &[]));
        let mut ssi = Ssi::new(asked, Limits::default(), TimeZone::UTC);
        ssi.take_whole(document.clone(), &tokens);
        let steps = std::iter::from_fn(|| Some(ssi.next()).filter(|step| *step != Step::End));
        (steps.count(), ssi.scanner.work.bytes())
    };
    let (steps, looked_at) = read("a=1");
    assert!(looked_at > 0 && tokens.are_known());
    assert_eq!(read("a=2"), (steps, 0));
}

proptest! {
    #[test]
    fn what_holds_of_every_document(pieces in prop::collection::vec(prop::sample::select(vec![
        "<!--#if expr=\"$arg_a\" -->", "<!--#if expr=\"$arg_b = /(.)/\" -->", "<!--#elif expr=\"1\" -->",
        "<!--#else -->", "<!--#endif -->", "<!--#block name=\"b\" -->", "<!--#endblock -->",
        "<!--#include virtual=\"/x\" stub=\"b\" -->", "<!--#include virtual=\"/x\" wait=\"yes\" -->",
        "<!--#include virtual=\"/m?a=2\" -->", "<!--#include virtual=\"/m\" set=\"v\" -->",
        "<!--#set var=\"v\" value=\"$v$arg_a\" -->", "<!--#echo var=\"v\" -->", "<!--#echo var=\"1\" -->",
        "<!--#", "-->", "<", "!", "--", "é", "text", "\u{1f}",
    ]), 0..25)) {
        hold(pieces.concat().as_bytes());
    }

    #[test]
    fn whatever_comes_is_read_to_its_end(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let (out, _) = trial::run(machine("", Limits::default()), [&bytes[..]], &[]);
        prop_assert!(out.is_ok());
    }
}

//! What comes of documents in ESI, from text to text, and what they may cost.

use proptest::prelude::*;

use std::sync::Arc;

use bytes::Bytes;

use super::properties::{ANSWERS, cost, hold, machine};
use super::tokens::{Lexer, Token};
use crate::layout::markup::{Limits, trial};

fn run_chunks(chunks: &[&[u8]], limits: Limits) -> (Result<String, String>, Vec<String>) {
    let (written, sought) = trial::run(machine(limits), chunks.iter().copied(), &ANSWERS);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (written.map(text), sought)
}

fn run(document: &str) -> String {
    let (written, _) = run_chunks(&[document.as_bytes()], Limits::default());
    written.unwrap_or_else(|why| format!("FAILED {why}"))
}

#[track_caller]
fn becomes(rows: &[(&str, &str)]) {
    for (document, expected) in rows {
        assert_eq!(run(document), *expected, "{document}");
    }
}

#[test]
fn includes_in_any_dress() {
    becomes(&[
        ("<p><esi:include src=\"/a\"/></p>", "<p>ALPHA</p>"),
        (
            "[<esi:include\n src = '/a'\t/><esi:include src=/b />]",
            "[ALPHABETA]",
        ),
        ("[<esi:include src=/a/>]", "[ALPHA]"),
        ("[<esi:include src=\"/a\"></esi:include>]", "[ALPHA]"),
        ("[<esi:include src=\"/a\"> and more", "[ALPHA and more"),
        ("[<esi:include src=\"/gone\" alt=\"/b\"/>]", "[BETA]"),
        ("[<esi:include src=\"/gone\" onerror=\"continue\"/>]", "[]"),
        ("[<esi:include src=\"/nested\"/>]", "[<ALPHA>]"),
        ("[<esi:include src=\"/lang/$(QUERY_STRING{l})\"/>]", "[FR]"),
        (
            "[<esi:include src=\"/q\"><esi:param name=\"id\" value=\"1\"/> <esi:param name=\"f\" value=\"'json'\"/></esi:include>]",
            "[Q]",
        ),
        // blanks are text where the include has no end
        ("[<esi:include src=\"/a\"> \n<b>", "[ALPHA \n<b>"),
        ("[<esi:include src=\"/a\"> <esi:vars/>.", "[ALPHA ."),
        ("[<esi:include src=\"/a\"> \n</esi:include> .", "[ALPHA ."),
        ("[<esi:include krud src=\"/a\"/>]", "[ALPHA]"),
        ("<a href=\"<esi:include src='/a'/>\">", "<a href=\"ALPHA\">"),
    ]);
    assert!(run("<esi:include src=\"/gone\"/>").starts_with("FAILED"));
}

#[test]
fn what_is_no_esi_passes_untouched() {
    for document in [
        "",
        "plain",
        "<!DOCTYPE html><p class='x'>a < b && c > d $(x) $ </p>",
        "<esX>one</esX><_esi:include src=\"/a\"/><esi/> </es>",
        "<!-- <esi:include src=\"/a\"/> --><!----><!--esX --> <!-- never closed <esi:vars>",
        "<![CDATA[<esi:include src=\"/a\"/>]]>",
        "<p>-->]]></p> <es",
        "\u{fffd}\0<\0",
    ] {
        assert_eq!(run(document), document);
    }
}

#[test]
fn what_is_broken_vanishes() {
    becomes(&[
        ("[<esi:bogus/>]", "[]"),
        ("[<esi:include />]", "[]"),
        ("[<esi:include src=/>]", "[]"),
        ("[<esi:include k?=./>]", "[]"),
        ("[<esi:comment / >]", "[]"),
        ("[</esi:vars></esi:include></esi:nothing>]", "[]"),
        ("[<esi:remove/>]", "[]"),
        ("[<esi:include src=\"/a\" <p>]", "[<p>]"),
        ("[<esi:include src=\"/a", "["),
        ("<esi:in", ""),
        // a variable without an end is text, and takes no tag along
        ("<esi:vars>$('<esi:include src=\"/a\"/>", "$('ALPHA"),
        (
            "<esi:vars>$(a<esi:include src=\"/a\"/>)</esi:vars>",
            "$(aALPHA)",
        ),
    ]);
}

/// So long a tag has no end, or a quote that was forgotten: what follows is read again.
#[test]
fn a_tag_that_is_too_long_vanishes_wherever_chunks_end() {
    let limits = Limits {
        value_bytes: 30,
        ..Limits::default()
    };
    for (document, expected) in [
        ("[<esi:include src=\"/a\" x=\"123\"/>]", "[>]"),
        ("[<esi:include src=\"/a\" x=\"1\"/>]", "[ALPHA]"),
        ("[</esi:include                    >]", "[   >]"),
        (
            "[<esi:include src=\"/a/> <p>some text</p> and more of it",
            "[ text</p> and more of it",
        ),
    ] {
        let whole = run_chunks(&[document.as_bytes()], limits).0;
        assert_eq!(whole.as_deref(), Ok(expected), "{document}");
        for size in 1..document.len() {
            let chunks: Vec<&[u8]> = document.as_bytes().chunks(size).collect();
            assert_eq!(run_chunks(&chunks, limits).0, whole, "{document} by {size}");
        }
    }
}

#[test]
fn comments_and_what_is_removed() {
    becomes(&[
        ("<!--esi <b>kept</b>-->", " <b>kept</b>"),
        ("<!--esikept-->", "kept"),
        ("1<!--esi [a<!--esi (b)-->c]-->2", "1 [a (b)c]2"),
        (
            "<!--esi <!-- own --> <esi:include src=\"/a\"/>-->.",
            " <!-- own --> ALPHA.",
        ),
        ("a<esi:comment text=\"it's > \"/>b", "ab"),
        (
            "a<esi:remove>x <esi:include src=\"/a\"/><!-- </esi:remove> --></esi:remove>b",
            "ab",
        ),
        (
            "A<esi:remove>1<esi:remove>2</esi:remove>3</esi:remove>B",
            "AB",
        ),
    ]);
    let (_, sought) = run_chunks(
        &[b"<esi:remove><esi:include src=\"/a\"/></esi:remove>"],
        Limits::default(),
    );
    assert_eq!(sought, [""; 0]);
}

#[test]
fn choices() {
    becomes(&[
        (
            "<esi:choose> x <esi:when test=\"1 == 2\">a</esi:when> <esi:when test=\"1==1\">b</esi:when><esi:when test=\"1==1\">c</esi:when><esi:otherwise>d</esi:otherwise></esi:choose>",
            "b",
        ),
        (
            "<esi:choose><esi:when test=\"\">a</esi:when><esi:otherwise>$(QUERY_STRING{n})</esi:otherwise></esi:choose>",
            "5",
        ),
        (
            "<esi:choose><esi:when test=\"1==2\"><esi:choose><esi:otherwise>x<esi:assign name=\"v\" value=\"1\"/></esi:otherwise></esi:choose></esi:when></esi:choose>[<esi:vars>$(v)</esi:vars>]",
            "[]",
        ),
        ("<esi:when test=\"1==1\">stray</esi:when>", "stray"),
        // ends that belong to no branch end nothing around the choice
        (
            "<esi:choose><esi:when test=\"1==1\">a<esi:choose></esi:when x=\"y\"><esi:when test=\"1==1\">b</esi:when></esi:vars></esi:choose>c</esi:when> </esi:choose>.",
            "abc.",
        ),
        (
            "<esi:try><esi:attempt>a<esi:try></esi:attempt><esi:attempt>b</esi:attempt></esi:try>c</esi:attempt></esi:try>.",
            "abc.",
        ),
    ]);
    let document = b"<esi:choose><esi:when test=\"1==2\"><esi:include src=\"/a\"/></esi:when><esi:otherwise><esi:include src=\"/b\"/></esi:otherwise></esi:choose>";
    let (_, sought) = run_chunks(&[document], Limits::default());
    assert_eq!(sought, ["/b"]);
}

#[test]
fn tests_of_expressions() {
    for (test, expected) in [
        ("1 != 2", true),
        ("9 < 10", true),
        ("'9' < '10'", true),
        ("'b' > 'a'", true),
        ("(1 <= 1)&(2 >= 1)", true),
        ("(1 > 2) | (3 > 2)", true),
        ("(1>2)||(3>2&&2>1)", true),
        ("!(1 == 1)", false),
        ("!1 == 2", true),
        ("$(HTTP_COOKIE{group})=='Advanced'", true),
        ("$(HTTP_COOKIE{GROUP})=='Advanced'", false),
        ("$(HTTP_COOKIE{nope}) == 'x'", false),
        ("$(HTTP_COOKIE{nope}) != 'x'", false),
        ("$(HTTP_COOKIE{nope}) < 7", false),
        ("$(HTTP_COOKIE{nope}|'x') == 'x'", true),
        ("$(HTTP_COOKIE{nope}|x) == 'x'", true),
        ("$(QUERY_STRING{n}) > 4", true),
        ("$(QUERY_STRING{n})", true),
        ("!$(QUERY_STRING{none})", true),
        ("$(HTTP_ACCEPT_LANGUAGE{en-GB})", true),
        ("$(HTTP_ACCEPT_LANGUAGE{fr})", false),
        ("'abc' has 'b'", true),
        ("'abc' has_i 'B'", true),
        ("'a' < 3", false),
        ("5 + 3 * 2 > 10", true),
        ("-1 < 0", true),
        ("true", true),
        ("false", false),
        ("'hello' 'there'", false),
        ("3 'hello'", false),
        ("1 == ", false),
        ("((((", false),
        ("'it\\'s' == 'it\\'s'", true),
        ("9223372036854775807 + 1 > 0", false),
        ("1 / 0 == 0", false),
        // no sign binds more tightly than another one
        ("2 + 3 * 4 == 20", true),
        ("10 - 3 - 2 == 5", true),
        ("2 * (3 + 4) == 14", true),
        ("3.02 > 2.4124", true),
        ("9.5 < 10 & +4.3 == 4.30", true),
        ("-5 != -5.1", true),
        ("'1.2.3' == 1.2", false),
        ("1e3 == 1000", false),
        ("'hello' =~ '/llo/'", true),
        ("'HeLLo' =~ '/hello/'", false),
        ("'HeLLo' =~ '/hello/i'", true),
        ("'hello' =~ 'llo'", false),
        ("'id=5' matches '''id=[0-9]'''", true),
        ("'id=x' matches 'id=[0-9]'", false),
        ("'ABC' matches_i 'b' & !('ABC' matches 'b')", true),
        ("'a' matches '('", false),
        ("$(nope) matches '.*'", false),
        ("'''it's''' == 'it\\'s'", true),
        ("[1, 2] == [1] + [2]", true),
        (r"'10-20' matches '^\d+-\d+$' & 'a.b' =~ '/^a\.b$/'", true),
        (r"'a\\b' matches '''^a\\b$'''", true),
        ("$len(nope) == 0 & !$exists(nope)", true),
        ("$exists('') | $is_empty($(nope))", false),
        ("$is_empty('') & $exists([1])", true),
    ] {
        let document = format!(
            "<esi:choose><esi:when test=\"{test}\">YES</esi:when><esi:otherwise>NO</esi:otherwise></esi:choose>"
        );
        let expected = if expected { "YES" } else { "NO" };
        assert_eq!(run(&document), expected, "{test}");
    }
}

#[test]
fn variables_are_written_where_they_are_read() {
    becomes(&[
        (
            "<esi:vars>$(HTTP_HOST) $(HTTP_COOKIE{id})$(QUERY_STRING{n})</esi:vars> $(HTTP_HOST)",
            "news.example 75 $(HTTP_HOST)",
        ),
        (
            "<esi:vars>$(HTTP_USER_AGENT{browser}) $(HTTP_USER_AGENT{os}) $(HTTP_USER_AGENT{version})</esi:vars>",
            "MOZILLA UNIX 5.0",
        ),
        (
            "<esi:vars>$(HTTP_ACCEPT_LANGUAGE{en-gb})$(HTTP_ACCEPT_LANGUAGE{de})</esi:vars>",
            "truefalse",
        ),
        (
            "<esi:vars>[$(nope)][$(nope|'d')][$( HTTP_COOKIE{id} )] $5 $(a</esi:vars>",
            "[][d][7] $5 $(a",
        ),
        ("<esi:vars name=\"$(HTTP_COOKIE{id})\"/>", "7"),
        (
            "<esi:vars>$(a|'in quotes') $(a|without them) $(HTTP_COOKIE{x;y})</esi:vars>",
            "in quotes $(a|without them) ",
        ),
        (
            "<esi:vars>$(HTTP_ACCEPT_LANGUAGE{en-gb}|'none')$(HTTP_ACCEPT_LANGUAGE{de}|'none')</esi:vars>",
            "truenone",
        ),
        (
            "<esi:vars><img src=\"/$(HTTP_COOKIE{id})/x.gif\"/></esi:vars>",
            "<img src=\"/7/x.gif\"/>",
        ),
    ]);
}

#[test]
fn what_a_reader_sends_ends_no_text_and_no_path() {
    becomes(&[
        (
            "<esi:vars>$(QUERY_STRING{html})</esi:vars>",
            "&lt;b&gt;&quot;",
        ),
        (
            "<esi:vars><a title=\"$(HTTP_REFERER)\"></esi:vars>",
            "<a title=\"http://ref.example/&quot;x\">",
        ),
        (
            "<esi:assign name=\"v\" value=\"'<i>' + $(QUERY_STRING{html})\"/><esi:vars>$(v)</esi:vars>",
            "&lt;i&gt;&lt;b&gt;&quot;",
        ),
        (
            "<esi:assign name=\"v\" value=\"'<i>'\"/><esi:vars>$(v)</esi:vars>",
            "<i>",
        ),
        (
            "<esi:vars>$html_decode($(QUERY_STRING{html}))</esi:vars>",
            "&lt;b&gt;&quot;",
        ),
    ]);
    becomes(&[
        // what the document writes around it stays what it is
        (
            "<esi:assign name=\"v\"><i>$(QUERY_STRING{html})</i></esi:assign><esi:vars>$(v)$html_decode($(v))</esi:vars>",
            "<i>&lt;b&gt;&quot;</i>&lt;i&gt;&lt;b&gt;&quot;&lt;/i&gt;",
        ),
        (
            "<esi:function name=\"f\"><i>$(ARGS{0})</i></esi:function><esi:vars>$f($(QUERY_STRING{html}))$lower($f('<X>'))</esi:vars>",
            "<i>&lt;b&gt;&quot;</i><i><x></i>",
        ),
        (
            "<esi:assign name=\"v\" value=\"a <b>\"/><esi:assign name=\"w\" value=\"a $(QUERY_STRING{html})\"/><esi:vars>$(v) $(w)</esi:vars>",
            "a <b> a &lt;b&gt;&quot;",
        ),
    ]);
    // nor is it as a key
    becomes(&[
        (
            "<esi:assign name=\"d{$(QUERY_STRING{html})}\" value=\"1\"/><esi:vars>$(d)</esi:vars><esi:foreach collection=\"$(d)\">$(item{0})</esi:foreach>",
            "&lt;b&gt;&quot;=1&lt;b&gt;&quot;",
        ),
        (
            "<esi:assign name=\"d\" value=\"{$(QUERY_STRING{html}): ['x']}\"/><esi:vars>$(d)</esi:vars>",
            "&lt;b&gt;&quot;=x",
        ),
        (
            "<esi:assign name=\"d{'a'}\" value=\"<i>\"/><esi:vars>$(d)</esi:vars>",
            "a=<i>",
        ),
    ]);
    // nor is it the document's own once that has given it a name
    for (document, expected) in [
        (
            "<esi:assign name=\"v\">$(QUERY_STRING{s})</esi:assign><esi:include src=\"/x/$(v)\"/>",
            "/x/a%2F..%2Fb",
        ),
        (
            "<esi:assign name=\"v\"><esi:assign name=\"w\">c</esi:assign>$(QUERY_STRING{s})</esi:assign><esi:include src=\"/x/$(v)$(w)\"/>",
            "/x/a%2F..%2Fbc",
        ),
        (
            "<esi:assign name=\"v\">$(QUERY_STRING{s})<esi:assign name=\"w\">/c</esi:assign></esi:assign><esi:include src=\"/x/$(v)$(w)\"/>",
            "/x/a%2F..%2Fb/c",
        ),
        (
            "<esi:function name=\"f\">$(ARGS{0})</esi:function><esi:include src=\"/x/$f($(QUERY_STRING{s}))\"/>",
            "/x/a%2F..%2Fb",
        ),
        (
            "<esi:assign name=\"v\" value=\"a $(QUERY_STRING{s})\"/><esi:include src=\"/x/$(v)\"/>",
            "/x/a%20a%2F..%2Fb",
        ),
        (
            "<esi:assign name=\"v\" value=\"/a/b\"/><esi:include src=\"/x$(v)\"/>",
            "/x/a/b",
        ),
        (
            "<esi:assign name=\"v\">/a/b</esi:assign><esi:include src=\"/x$(v)\"/>",
            "/x/a/b",
        ),
    ] {
        let (_, sought) = run_chunks(&[document.as_bytes()], Limits::default());
        assert_eq!(sought, [expected], "{document}");
    }
    let (_, sought) = run_chunks(
        &[b"<esi:include src=\"/x/$(QUERY_STRING{s})?$(QUERY_STRING)\" onerror=\"continue\"/>"],
        Limits::default(),
    );
    assert_eq!(sought, ["/x/a%2F..%2Fb?l=fr&n=5&html=%3Cb%3E%22&s=a/../b"]);
}

#[test]
fn attempts_and_exceptions() {
    becomes(&[
        (
            "<esi:try>-<esi:attempt>[<esi:include src=\"/a\"/>]</esi:attempt><esi:except>no</esi:except></esi:try>",
            "[ALPHA]",
        ),
        (
            "<esi:try><esi:attempt>lost<esi:include src=\"/gone\"/></esi:attempt><esi:except>(<esi:include src=\"/b\"/>)</esi:except></esi:try>",
            "(BETA)",
        ),
        (
            "<esi:try><esi:attempt><esi:include src=\"/gone\" onerror=\"continue\"/>kept</esi:attempt><esi:except>no</esi:except></esi:try>",
            "kept",
        ),
        (
            "[<esi:try><esi:attempt><esi:include src=\"/gone\"/></esi:attempt></esi:try>]",
            "[]",
        ),
        (
            "<esi:try><esi:attempt><esi:try><esi:attempt><esi:include src=\"/gone\"/></esi:attempt><esi:except>inner</esi:except></esi:try></esi:attempt><esi:except>outer</esi:except></esi:try>",
            "inner",
        ),
    ]);
    let document = b"<esi:try><esi:attempt><esi:include src=\"/a\"/></esi:attempt><esi:except><esi:include src=\"/b\"/></esi:except></esi:try>";
    let (_, sought) = run_chunks(&[document], Limits::default());
    assert_eq!(sought, ["/a"]);
}

#[test]
fn what_others_have_added() {
    becomes(&[
        (
            "<esi:assign name=\"f\" value=\"'John'\"/><esi:assign name=\"all\">$(f) Doe</esi:assign><esi:vars>$(all)</esi:vars>",
            "John Doe",
        ),
        (
            "<esi:foreach collection=\"[1..3]\" item=\"n\">$(n) </esi:foreach>",
            "1 2 3 ",
        ),
        (
            "<esi:foreach collection=\"['a','b']\">$(item)</esi:foreach>",
            "ab",
        ),
        (
            "<esi:foreach collection=\"$string_split('1,2,3', ',')\" item=\"n\"><esi:choose><esi:when test=\"$(n) == 3\"><esi:break/></esi:when><esi:otherwise>[$(n)]</esi:otherwise></esi:choose></esi:foreach>.",
            "[1][2].",
        ),
        (
            "<esi:foreach collection=\"[1,2]\" item=\"i\"><esi:foreach collection=\"[3,4]\" item=\"j\">$(i)$(j) </esi:foreach></esi:foreach>",
            "13 14 23 24 ",
        ),
        (
            "<esi:function name=\"add\"><esi:return value=\"$(ARGS{0}) + $(ARGS{1})\"/></esi:function><esi:vars>$add(5, 7)</esi:vars>",
            "12",
        ),
        (
            "<esi:assign name=\"l\" value=\"['a','b']\"/><esi:foreach collection=\"l\">$upper(item)</esi:foreach><esi:vars>$len(l)$join(l, '-')$lower(nope)$lower(a b)</esi:vars>",
            "AB2a-b$lower(a b)",
        ),
        (
            "<esi:function name=\"greet\">Hello $(ARGS{0})</esi:function><esi:vars>$greet('you')</esi:vars>",
            "Hello you",
        ),
        (
            "<esi:text>$(x)<esi:include src=\"/a\"/></esi:text>",
            "$(x)<esi:include src=\"/a\"/>",
        ),
        (
            "<esi:assign name=\"x\" value=\"1\"/><esi:eval src=\"/more\"/><esi:vars>$(y)</esi:vars>",
            "12",
        ),
        (
            "<esi:inline name=\"/own\">content</esi:inline>[<esi:include src=\"/own\"/>]",
            "[content]",
        ),
        (
            "<esi:vars>$substr('hello', 1, 3) $substr('hello', -3, -1) $upper('a') $len([1,2]) $index('abc','c') $join(['a','b'],'-')$url_encode('a b')$dollar()</esi:vars>",
            "el ll A 2 2 a-ba%20b$",
        ),
    ]);
}

#[test]
fn values_by_name() {
    becomes(&[
        (
            "<esi:assign name=\"d\" value=\"{'a': 1, 2: 'two'}\"/><esi:vars>$(d{a}) $(d{'2'}) $(d{x}|'none') $(d) $len($(d))</esi:vars>",
            "1 two none a=1&2=two 2",
        ),
        (
            "<esi:assign name=\"d\" value=\"{'a': 1}\"/><esi:assign name=\"d{a}\" value=\"$(d{a}) + 1\"/><esi:assign name=\"d{'b c'}\" value=\"3\"/><esi:vars>$(d)</esi:vars>",
            "a=2&b c=3",
        ),
        // what is not there is made, and what is another thing stays
        (
            "<esi:assign name=\"d{x}\" value=\"1\"/><esi:assign name=\"t\" value=\"'text'\"/><esi:assign name=\"t{x}\" value=\"1\"/><esi:vars>$(d{x})$(t)</esi:vars>",
            "1text",
        ),
        (
            "<esi:assign name=\"l\" value=\"['a', ['b', 'c']]\"/><esi:assign name=\"l{0}\" value=\"'A'\"/><esi:assign name=\"l{9}\" value=\"'Z'\"/><esi:vars>$(l) $(l{1}{0})</esi:vars>",
            "A,b,c b",
        ),
        (
            "<esi:assign name=\"d\" value=\"{1: 'one', 2: 'two'}\"/><esi:foreach collection=\"$(d)\"><esi:assign name=\"copy{$(item{0})}\" value=\"$(item{1})\"/>$(item{0})</esi:foreach><esi:vars>=$(copy)</esi:vars>",
            "12=1=one&2=two",
        ),
        // a query has names and values too
        (
            "<esi:assign name=\"q\" value=\"$(QUERY_STRING)\"/><esi:foreach collection=\"$(q)\">$(item{0}) </esi:foreach><esi:vars>$(q{l})</esi:vars>",
            "l n html s fr",
        ),
        // what is a reader's stays a reader's
        (
            "<esi:assign name=\"d\" value=\"{'h': $(QUERY_STRING{html})}\"/><esi:vars>$(d{h})</esi:vars>",
            "&lt;b&gt;&quot;",
        ),
    ]);
}

#[test]
fn what_a_regular_expression_captures() {
    becomes(&[
        (
            "<esi:choose><esi:when test=\"'user=42;x' matches 'user=([0-9]+)(y)?'\" matchname=\"m\">$(m{0}) $(m{1})[$(m{2})] $(MATCHES{1})</esi:when></esi:choose>",
            "user=42 42[] 42",
        ),
        (
            "<esi:choose><esi:when test=\"$(QUERY_STRING{html}) matches '.*'\">$(MATCHES{0})</esi:when></esi:choose>",
            "&lt;b&gt;&quot;",
        ),
    ]);
    let dear = "<esi:choose><esi:when test=\"'a' matches 'a{200}'\">x</esi:when></esi:choose>";
    let few = Limits {
        steps: 500,
        ..Limits::default()
    };
    assert_eq!(run_chunks(&[dear.as_bytes()], few).0, Ok(String::new()));
}

#[test]
fn functions_of_text_and_time() {
    for (call, expected) in [
        ("$replace('aXbX', 'X', '-')", "a-b-"),
        ("$replace('aXbX', 'X', '-', 1)", "a-bX"),
        ("$replace('aXbX', 'X', '-', 0)", "aXbX"),
        ("$len($string_split('a,b,c', ',', 1))", "2"),
        ("$base64_encode('hello')", "aGVsbG8="),
        ("$base64_decode('aGVsbG8=')", "hello"),
        ("[$base64_decode('!')]", "[]"),
        (
            "$digest_md5_hex('hello')",
            "5d41402abc4b2a76b9719d911017c592",
        ),
        ("$http_time(0)", "Thu, 01 Jan 1970 00:00:00 GMT"),
        (
            "$strftime(994867136, '%a, %d %B %Y %H:%M:%S %Z')",
            "Wed, 11 July 2001 15:58:56 UTC",
        ),
        ("[$strftime(0, '%')]", "[]"),
        ("[$last_rand()]$rand(1)$last_rand()[$rand(0)]", "[]00[]"),
        ("$(nope|'it\\'s (so)')", "it's (so)"),
        // a bare word is the name of a variable
        (
            "[$lower(bareword)][$lower(bare word)][$nothing('a')]$A(HTTP_HOST)",
            "[][$lower(bare word)][]$A(HTTP_HOST)",
        ),
    ] {
        assert_eq!(
            run(&format!("<esi:vars>{call}</esi:vars>")),
            expected,
            "{call}"
        );
    }
}

#[test]
fn what_eval_brings_may_be_kept_apart() {
    becomes(&[
        (
            "<esi:assign name=\"x\" value=\"1\"/><esi:eval src=\"/more\" dca=\"esi\"/>[<esi:vars>$(y)</esi:vars>]",
            "1[]",
        ),
        (
            "<esi:include src=\"/nested\" dca=\"none\"/>",
            "!<<esi:include src=\"/a\"/>>",
        ),
    ]);
}

#[test]
fn heads_are_changed_by_the_site_only() {
    assert!(run("<esi:vars>$add_header('X-Own', 'a')</esi:vars>").contains("Add"));
    assert_eq!(
        run("<esi:vars>$add_header('X-Own', $(QUERY_STRING{l}))</esi:vars>"),
        ""
    );
    assert_eq!(run("<esi:vars>$add_header('X Own', 'a\nb')</esi:vars>"), "");
    let refused = run("a<esi:vars>$set_response_code(404, 'none')</esi:vars>");
    assert!(
        refused.contains("Status(404)") && refused.contains("Body(b\"none\")"),
        "{refused}"
    );
}

#[test]
fn nothing_goes_on_for_ever() {
    let endless = "<esi:function name=\"f\">$f()x</esi:function><esi:vars>$f()</esi:vars>.";
    assert!(run(endless).ends_with('.'));
    let huge = "<esi:foreach collection=\"[1..9999]\"><esi:foreach collection=\"[1..9999]\">x</esi:foreach></esi:foreach>.";
    let written = run(huge);
    assert!(written.ends_with('.') && written.len() < 100_000);
    let doubling = format!(
        "<esi:assign name=\"x\" value=\"'xxxxxxxx'\"/>{}<esi:vars>$len($(x))</esi:vars>",
        "<esi:assign name=\"x\" value=\"$(x) + $(x)\"/>".repeat(60)
    );
    assert_eq!(run(&doubling), "0");
    let deep = format!(
        "{}x{}.",
        "<esi:vars>".repeat(500),
        "</esi:vars>".repeat(500)
    );
    assert_eq!(run(&deep), "x.");
    let held = format!("<esi:try><esi:attempt>{}", "0123456789".repeat(500_000));
    assert!(run(&held).starts_with("FAILED"));
    let parentheses = format!("<esi:vars>$({})</esi:vars>", "(".repeat(1000));
    assert!(run(&parentheses).contains("(("));
}

/// What is done for a document grows with its length, and with nothing else: some work for each byte,
/// however many tags begin in it and however it is cut.
#[test]
fn a_hostile_document_costs_what_a_plain_one_of_its_length_may() {
    let units = [
        "<esi:",
        "<esi:include src=\"",
        "<esi:vars>",
        "<esi:vars>$(",
        "<esi:vars>$(a{",
        "<!--esi",
        "<!--",
        "<![CDATA[",
        "<",
        "</esi:",
        "<esi:a b='",
        "<esi:choose><esi:when test=\"(1\">",
        "<esi:remove>",
        "<esi:foreach collection=\"[1,2]\">",
    ];
    let longest = Limits::default().value_bytes;
    trial::hostile_documents_cost_by_their_length(&units, |chunks| cost(chunks, longest));
    for unit in units {
        let _ = run(&unit.repeat((1 << 18) / unit.len()));
    }
}

const PARTS: [&str; 40] = [
    "<esi:include src=\"/a\"/>",
    "<esi:include src='/gone' onerror=\"continue\">",
    "</esi:include>",
    "<esi:try>",
    "</esi:try>",
    "<esi:attempt>",
    "</esi:attempt>",
    "<esi:except>",
    "</esi:except>",
    "<esi:choose>",
    "</esi:choose>",
    "<esi:when test=\"1==1\">",
    "<esi:when test=\"$(x)\">",
    "</esi:when>",
    "<esi:otherwise>",
    "</esi:otherwise>",
    "<esi:vars>",
    "</esi:vars>",
    "$(HTTP_HOST)",
    "$upper('a')",
    "$(",
    "<esi:remove>",
    "</esi:remove>",
    "<!--esi",
    "-->",
    "<!--",
    "<![CDATA[",
    "]]>",
    "<esi:",
    "</esi:",
    "\"",
    "'",
    "<esi:assign name=\"x\" value=\"1\"/>",
    "<esi:foreach collection=\"[1,2]\">",
    "</esi:foreach>",
    "<esi:function name=\"f\">",
    "</esi:function>",
    "$f(1)",
    "é<p>",
    "<esi:text>",
];

#[test]
fn what_a_loop_leaves_open_too_deep_does_not_count_after_it() {
    let deep = "<esi:choose><esi:when test=\"1\">".repeat(32);
    for items in ["[]", "[1]", "[1,2,3]"] {
        let document = format!(
            "{deep}<esi:foreach collection=\"{items}\"><esi:vars></esi:foreach>[</esi:when>no</esi:choose>]"
        );
        assert_eq!(run(&document), "[]", "{items}");
    }
}

#[test]
fn a_copy_is_read_once() {
    let document = Bytes::from("a<esi:vars>$(x)</esi:vars><!-- c --><esi:include src=\"/a\"/>b");
    let tokens = Arc::default();
    let read = || {
        let mut lexer = Lexer::new(1000);
        lexer.take_whole(document.clone(), &tokens, Limits::default());
        let tokens = std::iter::from_fn(|| Some(lexer.next(true)).filter(|t| *t != Token::End));
        let read: Vec<Token> = tokens.collect();
        (read, lexer.work.bytes())
    };
    let (first, looked_at) = read();
    assert!(looked_at > 0 && first.len() > 5 && tokens.are_known());
    assert_eq!(read(), (first, 0));
}

fn document() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PARTS.to_vec()), 0..24).prop_map(|p| p.concat())
}

proptest! {
    #[test]
    fn what_holds_of_every_document(text in document(), borders in prop::collection::vec(0usize..400, 0..12)) {
        let mut input = text.into_bytes();
        for border in borders {
            input.insert(border.min(input.len()), trial::BORDER);
        }
        hold(&input);
    }

    #[test]
    fn any_bytes_are_borne(bytes in prop::collection::vec(any::<u8>(), 0..200), text in document()) {
        let document = [&bytes[..], text.as_bytes(), &bytes[..]].concat();
        let few = Limits { nesting: 3, value_bytes: 64, steps: 50 };
        let _ = run_chunks(&[&document], few);
        let _ = run_chunks(&document.chunks(7).collect::<Vec<_>>(), Limits::default());
    }

    #[test]
    fn no_tag_comes_out(text in document()) {
        // what is in comments, sections and `text` is not for us
        prop_assume!(!["<!--", "<![CDATA[", "<esi:text>"].iter().any(|opaque| text.contains(opaque)));
        let (written, _) = run_chunks(&[text.as_bytes()], Limits::default());
        prop_assert!(!written.unwrap_or_default().contains("<esi:include"));
    }
}

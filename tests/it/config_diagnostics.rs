//! What a person is told about a wrong `fragments.toml`: for each kind of mistake the whole text, as
//! `marbre check` prints it without colours. And that a right one loads.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use marbre::config::{self, Diagnostics, Loaded};
use marbre::degradation::law::{aimd, work_rate};
use marbre::degradation::{Law, Step};
use marbre::fragment::{Rung, Source};
use marbre::site::{DegradationSpec, Found, Mode, Site, Target};
use tempfile::TempDir;

use crate::support::Authority;

/// A right declaration, which the wrong ones differ from by one thing.
const GOOD: &str = r#"
[origins.cms]
urls = ["http://cms-1:8000", "http://cms-2:8000"]
owner = "newsroom-platform"

[origins.media]
urls = "http://media:8000"
timeout = "500ms"

[fragments.article]
priority = "core"
source = "cms:/api/articles/{slug}"
template = "fragments/article.html"
ttl = "30s"
grace = "10m"
keep = "7d"

[fragments.header]
priority = "essential"
source = "file:parts/header.html"

[fragments.slideshow]
priority = 40
source = "media:/slideshows/{slug}?size={device}"
timeout = "250ms"
fallback = ["fragment:teaser", "static:fallbacks/slideshow.html", "omit"]

[fragments.teaser]
priority = 30
source = "data:data/teaser.json"
template = "fragments/teaser.html"

[pages.article]
route = "/articles/{slug}"
layout = "layouts/article.html"
"#;

const FILES: [(&str, &str); 8] = [
    (
        "templates/fragments/article.html",
        "<h1>{{ data.title|upper }}</h1>{% include 'fragments/byline.html' %}",
    ),
    (
        "templates/fragments/byline.html",
        "{% if data.by is string %}<i>{{ data.by }}</i>{% endif %}",
    ),
    ("templates/fragments/teaser.html", "<p>{{ data.text }}</p>"),
    ("templates/data/teaser.json", "{\"text\": \"a < b\"}"),
    ("templates/parts/header.html", "<header>marbre</header>"),
    ("templates/fallbacks/slideshow.html", "<p>no pictures</p>"),
    (
        "templates/layouts/article.html",
        "<!doctype html>\n<fragment name=\"header\"/>\n<fragment name=\"article\">…</fragment>\n<fragment name=\"slideshow\"/>\n",
    ),
    ("public/logo.svg", "<svg/>"),
];

/// A folder with a site in it.
struct Newsroom {
    folder: TempDir,
    env: BTreeMap<&'static str, &'static str>,
}

impl Newsroom {
    fn new(declaration: &str) -> Self {
        let room = Self {
            folder: tempfile::tempdir().expect("a folder"),
            env: BTreeMap::new(),
        };
        FILES
            .iter()
            .fold(room, |room, (path, text)| room.file(path, text))
            .file("fragments.toml", declaration)
    }

    /// The right declaration with one part of it replaced.
    fn with(from: &str, to: &str) -> Self {
        assert!(GOOD.contains(from), "{from}");
        Self::new(&GOOD.replacen(from, to, 1))
    }

    /// The right declaration and more.
    fn and(more: &str) -> Self {
        Self::new(&format!("{GOOD}\n{more}"))
    }

    /// The right declaration, with an optional fragment that asks the core's origin, which has
    /// these keys.
    fn sharing(keys: &str) -> Self {
        let declaration = GOOD.replace("owner = \"newsroom-platform\"", keys);
        let related = "[fragments.related]\npriority = 20\nsource = \"cms:/related\"\n";
        let layout = "<fragment name=\"article\"/><fragment name=\"header\"/>\
                      <fragment name=\"slideshow\"/><fragment name=\"related\"/>";
        Self::new(&format!("{declaration}\n{related}"))
            .file("templates/layouts/article.html", layout)
    }

    fn file(self, path: &str, text: impl AsRef<[u8]>) -> Self {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().expect("a file in a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
        self
    }

    fn env(mut self, name: &'static str, value: &'static str) -> Self {
        self.env.insert(name, value);
        self
    }

    fn load(&self) -> Result<Loaded, Diagnostics> {
        let env = |name: &str| self.env.get(name).map(|value| (*value).to_owned());
        config::load(&self.folder.path().join("fragments.toml"), &env)
    }

    fn loaded(&self) -> Loaded {
        self.load().unwrap_or_else(|found| panic!("{found}"))
    }

    /// What a person is told.
    fn told(&self) -> String {
        let found = self.load().expect_err("there is nothing wrong");
        let told = found.to_string();
        assert!(
            !told.contains(self.folder.path().to_str().expect("UTF-8")),
            "not relative: {told}"
        );
        assert_eq!(found.to_json().as_array().map(Vec::len), Some(found.len()));
        told
    }
}

/// One test for each kind of mistake: its name is the name of its snapshot.
macro_rules! wrong {
    ($($name:ident: $room:expr;)*) => {
        $(#[test] fn $name() { insta::assert_snapshot!(stringify!($name), $room.told()); })*
    };
}

wrong! {
    // the file itself
    list_that_is_never_closed: Newsroom::new("[origins.cms]\nurls = [\"http://a\", \"http://b\"\n\n[fragments.x]\nsource = \"cms:/x\"\n");
    syntax_errors: Newsroom::new("[origins.cms\nurls = \"http://a\"\n\n[fragments.x]\nsource = \"cms:/x\npriority = core\n");
    key_declared_twice: Newsroom::with("timeout = \"250ms\"", "timeout = \"250ms\"\ntimeout = \"300ms\"");
    table_declared_twice: Newsroom::and("[fragments.article]\npriority = 3\nsource = \"cms:/x\"");
    unknown_keys: Newsroom::with("timeout = \"250ms\"", "tmeout = \"250ms\"\nzebra = 1\n[fragment.x]");
    missing_keys: Newsroom::and("[fragments.x]\n[pages.x]\n[origins.x]\n[[proxy]]\n[[static]]");
    wrong_types: Newsroom::and("[limits]\nflights = \"12\"\n[server]\nheader_timeout = 10\nmax_body_size = 5\nlisten = true\n[proxy]\nroute = \"/x\"\n[fragments.x]\npriority = \"40\"\nsource = 3\nfallback = \"omit\"");
    wrong_priorities: Newsroom::and("[fragments.a]\npriority = \"cor\"\nsource = \"cms:/\"\n[fragments.b]\npriority = 0\nsource = \"cms:/\"\n[fragments.c]\npriority = 1.5\nsource = \"cms:/\"");
    wrong_durations_and_sizes: Newsroom::and("[fragments.x]\npriority = 1\nsource = \"cms:/x\"\nttl = \"5 minutes\"\ngrace = \"10\"\ntimeout = \"2m\"\nmax_size = \"1 MB\"\nkeep = \"-1s\"\n[limits]\npage_slots = 100000\ncache_size = \"1KiB\"");
    names_that_cannot_be: Newsroom::and("[fragments.\"a b\"]\npriority = 1\nsource = \"cms:/x\"\n[origins.file]\nurls = \"http://x\"");
    environment_where_it_is_not_read: Newsroom::with("/api/articles", "${API}/articles");
    not_utf8: Newsroom::new("").file("fragments.toml", b"[site]\nlanguage = \"\xe9\"");

    empty_file: Newsroom::new("");

    // settings
    environment_that_is_missing: Newsroom::with("http://cms-1:8000", "http://${CMS_HOST}:8000\", \"http://${CMS-HOST}\", \"${X");
    addresses: Newsroom::and("[server]\nlisten = \"localhost:8080\"\n[admin]\nlisten = \":8081\"");
    admin_without_token: Newsroom::and("[admin]\nlisten = \"0.0.0.0:8081\"");
    admin_on_the_readers_address: Newsroom::and("[admin]\nlisten = \"127.0.0.1:8080\"");
    markup_of_another_kind: Newsroom::and("[markup]\ndepth = 99\nundeclared = \"drop\"\nnested = true\n[[proxy]]\nroute = \"/x/{*rest}\"\norigin = \"cms\"\nmarkup = \"php\"");
    markup_that_cannot_be: Newsroom::and("[markup]\npriority = \"core\"\nforward_headers = [\"cookie\", \"a b\"]\nhosts = [\"http://10.0.0.1\", \"http://[::ffff:127.0.0.1]\", \"http://2130706433\", \"http://x/y\"]\n[fragments.i]\npriority = 3\nsource = \"cms:/i/{slug}\"\ninclude = \"/i/{x}\"\n[fragments.j]\npriority = 3\nsource = \"cms:/j\"\ninclude = \"/j/{x\"");
    esi_of_a_layout: Newsroom::new(GOOD).file("templates/layouts/article.html", "<fragment name=\"article\"/><esi:include src=\"/slideshows/{slug}?size={device}\"/>\n<esi:vars>$(HTTP_HOST)</esi:vars>\n<esi:include src=\"/none\"/><esi:remove>");
    tokens_are_never_shown: Newsroom::and("[admin]\nlisten = \"9999\"\ntoken = \"s3cret with spaces\" # s3cret\nx = 1").env("T", "s3cret");
    shared_stores_that_cannot_be: Newsroom::and("[shared]\nvalkey = \"http://me:s3cret@cache\"");
    shared_prefix: Newsroom::and("[shared]\nvalkey = \"redis://cache:6379\"\nprefix = \"le marbre!\"");
    site_settings: Newsroom::and("[site]\nlanguage = \"fr-FR\"\nerror_page = \"errors/503.html\"\nnot_found_page = \"../secret.html\"\nretry_after = \"0s\"");

    what_readers_are_told: Newsroom::and("[admin]\nreaders_url = \"www.example.org/news\"\n[status]\npath = \"/articles/{slug}\"\ntitle = 5\nblocks = { slidshow = \"The pictures\", header = 3 }\nwrks = \"x\"");
    status_where_something_else_is: Newsroom::and("[[proxy]]\nroute = \"/status.json\"\norigin = \"cms\"\n[status]\npath = \"/status\"");

    // what readers are promised
    objectives: Newsroom::and("[slo.nothing]\nobjective = 0.999\n[slo.percent]\nobjective = 99.9\nwithin = \"1s\"\n[slo.both]\nobjective = 0.99\nvalue = true\nwithin = \"1s\"\n[slo.where]\nobjective = 0.99\ncomplete = \"al\"\npages = [\"artcle\"]\n[slo.when]\nstale_max = \"0s\"\nperiod = \"1h\"\nwhen_spent = \"stop\"\n[slo.elsewhere]\nobjective = 0.99\nwithin = \"1s\"\npages = [\"artcle\"]");
    too_many_objectives: Newsroom::and(&(0..33).map(|n| format!("[slo.s{n}]\nobjective = 0.99\nwithin = \"1s\"\n")).collect::<String>());
    // telemetry
    collectors_that_cannot_be: Newsroom::and("[telemetry]\nenabled = false\n[telemetry.traces]\nendpoint = \"collector:4318\"\nheaders = { host = \"x\", authorization = \"${NO_KEY}\" }\n[telemetry.metrics]\ninterval = \"1ms\"\nheaders = { key = \"s3cret\", empty = \"\" }");
    values_that_are_none: Newsroom::and("[fragments.x]\npriority = 3\nsource = \"cms:/x\"\nvalue = nan\n[fragments.y]\npriority = 3\nsource = \"cms:/y\"\nvalue = -1\n[fragments.z]\npriority = 3\nsource = \"cms:/z\"\nvalue = \"4 cents\"");

    // degradation
    degradation_settings: Newsroom::and("[degradation]\nmode = \"dry\"\nlaw = \"pid\"\ntarget = \"5ms\"\nmargin = \"1m\"\nreader_cookie = \"\"\nsave_data = 100\nworkers = 0\nwait_max = \"0s\"\nladdder = []");
    targets_that_leave_nothing: Newsroom::with("layout = \"layouts/article.html\"", "layout = \"layouts/article.html\"\ntarget = \"60ms\"\n[degradation]\nmargin = \"80ms\"\ntarget = \"80ms\"");
    target_beyond_the_budget: Newsroom::with("layout = \"layouts/article.html\"", "layout = \"layouts/article.html\"\nbudget = \"800ms\"\ntarget = \"900ms\"");
    readers_cookie: Newsroom::and("[degradation]\nreader_cookie = \"session=1\"");
    readers_header: Newsroom::and("[degradation]\nreader_header = \"x-forwarded-for: 1\"");
    rehearsal_tokens_are_never_shown: Newsroom::and("[degradation]\nrehearse_token = \"s3cret;s3cret\" # s3cret\nx = 1").env("T", "s3cret");
    access_logs_that_cannot_be: Newsroom::and("[telemetry.access_log]\nto = \"/var/log/access.log\"\nformat = \"text\"\nsample = 2.0\nclient = \"hash\"");
    access_log_to_nowhere: Newsroom::and("[telemetry.access_log]\nto = \"syslog\"");
    debug_secret_that_can_be_guessed: Newsroom::and("[telemetry]\ndebug_secret = \"${T}\" # s3cret\nx = 1").env("T", "s3cret");
    rehearsal_token_that_is_not_set: Newsroom::and("[degradation]\nrehearse_token = \"${MARBRE_REHEARSE_TOKEN}\"");
    constants_of_laws: Newsroom::and("[degradation.work_rate]\nqueue_target = 25\ncut_rate = 9\ngrowth = 0.001\ndrift = nan\nspell_gap = \"1ms\"\nqueue_traget = \"25ms\"\n[degradation.aimd]\ncut = \"0.5\"\ncut_time = \"1h\"\nadmit_min = -inf");
    ladder_names: Newsroom::and("[degradation]\nladder = [\n  \"slidshow\",\n  \"teaser\",\n  { name = \"more\", blocks = [\"slideshow\", \"teaser\", \"article\"] },\n  { name = \"more\", blocks = [\"header\"] },\n  { name = \"two words\", blocks = [\"slideshow\"] },\n]");
    ladder_that_lacks_something: Newsroom::and("[degradation]\nladder = [\"slideshow\"]");
    ladder_of_the_wrong_kind: Newsroom::and("[degradation]\nladder = [\"teaser\", 5, { name = \"x\" }, { name = \"y\", blocks = [] }, { nme = \"z\", blocks = \"slideshow\" }]");
    ladder_with_an_item: Newsroom::and("[fragments.latest]\npriority = 50\nsource = \"cms:/latest\"\nitem = \"entry\"\n[fragments.entry]\npriority = 50\nsource = \"cms:/entries/{item.id}\"\n[degradation]\nladder = [\"teaser\", \"slideshow\", \"entry\"]");
    ladder_in_an_included_file: Newsroom::new(&format!("include = [\"more.toml\"]\n{GOOD}")).file("more.toml", "[degradation]\nladder = [\"teaser\"]");

    // schedules
    schedule_that_lacks_something: Newsroom::and("[schedules.night]\nfrom = \"2026-11-03T20:00\"\nunitl = \"2026-11-04T02:00\"\nfloor = \"1\"\ndays = [\"sunday\"]\nttl = 1000");
    schedules_at_times_that_cannot_be: Newsroom::and(&["from = \"20:00\"\nuntil = \"tomorrow\"", "from = \"2026-11-03T20:00\"\nuntil = \"2026-11-03T20:00\"", "from = \"2026-11-03T20:00\"\nuntil = \"2027-11-03T20:00\"", "days = [\"sat\"]\nfrom = \"2026-11-03T20:00\"\nuntil = \"25:00\"", "from = \"2026-03-29T02:10\"\nuntil = \"2026-03-29T02:50\"", "zone = \"Europe/Pariss\"\nfrom = \"2026-11-03T20:00\"\nuntil = \"2026-11-04T02:00\""].iter().enumerate().map(|(n, times)| format!("[schedules.s{n}]\nowner = \"desk\"\nreason = \"a test\"\nfloor = 1\n{times}\n")).collect::<String>().replacen("[schedules.s0]", "[site]\nzone = \"Europe/Paris\"\n[schedules.s0]", 1));
    schedules_of_what_cannot_be: Newsroom::and(&["", "floor = 2\ncap = 1", "floor = 9", "off = [\"slidshow\", \"article\"]", "on = [\"header\"]", "off = [\"teaser\"]\non = [\"teaser\"]", "freeze = false", "dry_run = true\nttl = 4"].iter().enumerate().map(|(n, acts)| format!("[schedules.s{n}]\nowner = \"desk\"\nreason = \"a test\"\nfrom = \"2026-11-03T20:00\"\nuntil = \"2026-11-04T02:00\"\n{acts}\n")).collect::<String>());
    levels_and_blocks_that_no_schedule_can_set: Newsroom::and(&["floor = 9", "off = [\"slidshow\", \"article\"]", "on = [\"header\"]"].iter().enumerate().map(|(n, acts)| format!("[schedules.s{n}]\nowner = \"desk\"\nreason = \"a test\"\nfrom = \"2026-11-03T20:00\"\nuntil = \"2026-11-04T02:00\"\n{acts}\n")).collect::<String>());

    // faults
    faults_that_lack_something: Newsroom::and("[chaos.a]\norigin = \"media\"\n[chaos.b]\nharm = \"melt\"\nowner = \"desk\"\nreason = \"a test\"\nfor = \"2d\"\n[chaos.\"c d\"]\norigin = \"media\"\nharm = \"hang\"\nowner = \"\"\nreason = \"a test\"\nfor = \"5m\"\nlatncy = \"1s\"");
    faults_that_do_not_go_together: Newsroom::and(&["harm = \"hang\"", "origin = \"media\"\nfragment = \"slideshow\"\nharm = \"hang\"", "origin = \"media\"\nharm = \"latency\"", "origin = \"media\"\nharm = \"hang\"\nstatus = 503", "origin = \"media\"\nharm = \"error\"\nstatus = 404", "fragment = \"slideshow\"\nharm = \"dns\"", "store = true\nharm = \"cut\"\nshare = 0.5"].iter().enumerate().map(|(n, what)| format!("[chaos.f{n}]\n{what}\nowner = \"desk\"\nreason = \"a test\"\nfor = \"5m\"\n")).collect::<String>());
    faults_with_another_end: Newsroom::and(&["", "for = \"5m\"\nfrom = \"2026-11-03T10:00\"", "from = \"2026-11-03T10:00\"", "from = \"10:00\"\nuntil = \"11:00\"", "from = \"2026-11-03T10:00\"\nuntil = \"2026-11-03T09:00\"", "from = \"2026-11-03T10:00\"\nuntil = \"2026-11-05T10:00\""].iter().enumerate().map(|(n, times)| format!("[chaos.f{n}]\norigin = \"media\"\nharm = \"hang\"\nowner = \"desk\"\nreason = \"a test\"\n{times}\n")).collect::<String>());
    faults_on_what_is_not_there: Newsroom::and(&["origin = \"meda\"\nharm = \"hang\"", "fragment = \"slidshow\"\nharm = \"hang\"", "fragment = \"header\"\nharm = \"hang\"", "store = true\nharm = \"hang\"", "origin = \"media\"\nharm = \"hang\"\nsigned = true"].iter().enumerate().map(|(n, what)| format!("[chaos.f{n}]\n{what}\nowner = \"desk\"\nreason = \"a test\"\nfor = \"5m\"\n")).collect::<String>());

    // readers
    trusted_peers: Newsroom::and("[server]\nproxy_protocol = true\ntrusted_peers = [\"10.0.0.0/33\", \"10.1.0.0/8\", \"balancer\", \"::1\", 5]");
    proxy_protocol_of_nobody: Newsroom::and("[server]\nproxy_protocol = true");
    certificates_for_readers: Newsroom::and("[server.tls]\ncertificate = \"none.pem\"\nkey = \"none.key\"\nothers = [{ certificate = \"fragments.toml\", key = \"fragments.toml\" }]");
    certificates_for_readers_in_part: Newsroom::and("[server.tls]\ncertificate = \"a.pem\"\nother = []");
    crawlers: Newsroom::and("[site]\ncrawlers = [\"Googlebot\", \"\", \"a b\"]\ndegraded_for_crawlers = \"404\"");

    // origins
    urls: Newsroom::and("[origins.bad]\nurls = [\"cms\", \"ftp://cms\", \"http://cms/api\", \"http://me:s3cret@cms\", \"http://cms?x\", \"http://cms:\", \"http://ok\", \"http://ok/\"]\n[origins.none]\nurls = []");
    url_from_environment: Newsroom::with("http://cms-1:8000", "${CMS}").env("CMS", "http://me:s3cret@cms");
    replicas_that_are_all_canaries: Newsroom::with("urls = \"http://media:8000\"", "urls = [{ url = \"http://media:8000\", weight = 5 }]");
    replicas_that_are_all_read_replicas: Newsroom::with("urls = \"http://media:8000\"", "urls = [{ url = \"http://media:8000\", role = \"read-replica\" }]");
    read_replica_with_a_weight: Newsroom::with("\"http://cms-2:8000\"", "{ url = \"http://cms-2:8000\", weight = 5, role = \"read-replica\" }");
    replica_tables: Newsroom::with("\"http://cms-2:8000\"]", "\n  { url = \"http://a\", wieght = 5 },\n  { url = \"http://b\", role = \"replica\" },\n  { url = \"http://c\", role = \"read_replica\" },\n  { url = \"http://d\", weight = 0 },\n  { url = \"http://e\", weight = 101 },\n  { url = \"http://f\", weight = \"5\" },\n  { weight = 5 },\n  { url = \"http://cms-1:8000/\", weight = 5 },\n  { url = \"ftp://g\", weight = 5 },\n  5,\n]\n[origins.table]\nurls = { url = \"http://a\" }");
    sockets: Newsroom::and(&format!("[origins.bad]\nurls = [\n  \"unix:run/cms.sock\",\n  \"unix:\",\n  \"unix://run/cms.sock\",\n  \"/run/cms.sock\",\n  \"unix:/run/ok.sock\",\n  \"unix:///run/ok.sock\",\n  \"unix:/{}\",\n]", "x".repeat(107)));
    certificates_that_cannot_be: Newsroom::with("timeout = \"500ms\"", "timeout = \"500ms\"\nca = \"certs/ca.pem\"\n[origins.der]\nurls = \"https://der\"\nca = \"ca.der\"\n[origins.key]\nurls = \"https://key\"\nca = \"key.pem\"\n[origins.damaged]\nurls = \"https://damaged\"\nca = \"damaged.pem\"\n[origins.folder]\nurls = \"https://folder\"\nca = \"templates\"\n[origins.none]\nurls = \"https://none\"\nca = \"\"").file("ca.der", b"\x30\x82\x01\x0a").file("key.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").file("damaged.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    nothing_left_for_optional_fragments: Newsroom::sharing("max_in_flight = 8\nreserved = 8");
    one_request_at_a_time_for_core_and_optional: Newsroom::sharing("max_in_flight = 1");
    breakers: Newsroom::and("[origins.cms.breaker]\nopen = \"20s\"\n[origins.media.breaker]\nopen = \"2s\"\nopen_max = \"1s\"\n[origins.c]\nurls = \"http://c\"\nbreaker = false\n[origins.d]\nurls = \"http://d\"\n[origins.d.breaker]\nenable = true\nfailed = 0\nin_a_row = 1\nwindow = \"20m\"");
    retries_and_health_checks: Newsroom::and("[origins.media.retry]\nattempts = 0\nbudget = 101\nstatus = 503\nstatuses = [200, 503, \"504\"]\nbackoff = \"1m\"\n[origins.media.health]\nevery = \"5s\"\n[origins.c]\nurls = \"http://c\"\nhealth = \"/healthz\"\n[origins.d]\nurls = \"http://d\"\nhealth = { path = \"healthz\" }\n[origins.e]\nurls = \"http://e\"\nhealth = { path = \"/health z#1\" }");
    connect_timeout_too_long: Newsroom::with("timeout = \"500ms\"", "timeout = \"500ms\"\nconnect_timeout = \"1s\"");

    // fragments
    unknown_origin: Newsroom::with("\"cms:/api", "\"csm:/api");
    sources_that_cannot_be_read: Newsroom::and("[fragments.a]\npriority = 1\nsource = \"cms\"\n[fragments.b]\npriority = 1\nsource = \"/x\"\n[fragments.c]\npriority = 1\nsource = \"http://cms/x\"\n[fragments.d]\npriority = 1\nsource = \"cms:/{slug\"\n[fragments.e]\npriority = 1\nsource = \"cms:/{env.HOME}\"\n[fragments.f]\npriority = 1\nsource = \"cms:/é\"");
    missing_files: Newsroom::new(&GOOD.replace("fragments/article.html", "fragments/artcle.html").replace("parts/header", "prts/header").replace("fallbacks/slideshow.html", "fallbacks/other").replace("layouts/article.html", "layouts/artikel.html"));
    paths_that_leave_the_folder: Newsroom::with("file:parts/header.html", "file:../fragments.toml").file("x", "");
    template_that_does_not_compile: Newsroom::new(GOOD).file("templates/fragments/byline.html", "<i>\n{% if data.by %}{{ data.by | }}</i>\n");
    template_that_includes_nothing: Newsroom::new(GOOD).file("templates/fragments/byline.html", "{# ok #}\n{% include 'fragments/author.html' %}\n");
    template_with_an_unknown_filter: Newsroom::new(GOOD).file("templates/fragments/byline.html", "{{ data.by|uper }}\n{% if data.by is strng %}x{% endif %}");
    data_that_is_not_json: Newsroom::new(GOOD).file("templates/data/teaser.json", "{\n  \"text\": \"a\",\n}\n");
    data_without_a_template: Newsroom::with("template = \"fragments/teaser.html\"", "");
    data_that_cannot_be_rendered: Newsroom::new(GOOD).file("templates/fragments/teaser.html", "{{ data.text / 2 }}");
    content_that_is_too_large: Newsroom::with("source = \"file:parts/header.html\"", "source = \"file:parts/header.html\"\nmax_size = \"10B\"");
    timeout_longer_than_the_origins: Newsroom::with("timeout = \"250ms\"", "timeout = \"2s\"");
    forwarded_headers: Newsroom::with("timeout = \"250ms\"", "forward_headers = [\"Cookie\", \"host\", \"Transfer-Encoding\", \"if-none-match\", \"a b\", \"authorization\"]\nforward_cookies = [\"a=b\"]\naccept = [\"html\", \"text/*\", \"text/html; charset=utf-8\"]");

    headers_that_no_source_may_use: Newsroom::with("{slug}?size={device}", "{slug}?host={header.host}&all={header.cookie}&v={header.x-v}");

    // fallbacks
    unknown_fallbacks: Newsroom::with("\"fragment:teaser\"", "\"fragment:tease\", \"fragmnt:teaser\", \"fallbacks/slideshow.html\", \"ommit\"");
    fallbacks_that_are_never_reached: Newsroom::with("[\"fragment:teaser\", \"static:fallbacks/slideshow.html\", \"omit\"]", "[\"static:fallbacks/slideshow.html\", \"fragment:teaser\"]");
    omit_that_is_not_last: Newsroom::with("[\"fragment:teaser\",", "[\"omit\", \"fragment:teaser\",");
    core_that_is_omitted: Newsroom::with("ttl = \"30s\"", "fallback = [\"omit\"]").file("templates/x", "");
    essential_that_is_omitted: Newsroom::with("priority = \"essential\"", "priority = \"essential\"\nfallback = [\"omit\"]");
    lazy_that_is_not_last: Newsroom::with("[\"fragment:teaser\",", "[\"lazy\", \"fragment:teaser\",");
    lazy_where_nothing_can_come_later: Newsroom::and("[fragments.latest]\npriority = 50\nsource = \"cms:/latest\"\nitem = \"entry\"\n[fragments.entry]\npriority = 50\nsource = \"cms:/e/{item}\"\nfallback = [\"lazy\", \"omit\"]\n[fragments.top]\npriority = \"core\"\nsource = \"cms:/top\"\nfallback = [\"lazy\"]\n[fragments.spare]\npriority = 50\nsource = \"cms:/spare\"\nfallback = [\"lazy\"]\n[fragments.block]\npriority = 50\nsource = \"cms:/block\"\nfallback = [\"fragment:spare\", \"lazi\"]\n[pages.later]\nroute = \"/later\"\nlayout = \"layouts/later.html\"").file("templates/layouts/later.html", "<fragment name=\"top\"/><fragment name=\"latest\"/><fragment name=\"block\"/>");
    fallbacks_in_a_circle: Newsroom::with("source = \"data:data/teaser.json\"", "source = \"data:data/teaser.json\"\nfallback = [\"fragment:slideshow\", \"fragment:teaser\"]");

    // pages
    unknown_fragments_in_a_layout: Newsroom::new(GOOD).file("templates/layouts/article.html", "<html>\n<p><fragment name=\"artcle\"/></p>\n<fragment part='head' name='slidshow'>…</fragment>\n");
    layout_errors: Newsroom::new(GOOD).file("templates/layouts/article.html", "<fragment nme=\"article\"/>\n<fragment name=article/>\n</fragment>\n<fragment name=\"header\">");
    layout_limits: Newsroom::and("[pages.wide]\nroute = \"/wide\"\nlayout = \"layouts/wide.html\"\n[limits]\nlayout_size = \"1KiB\"\npage_slots = 2").file("templates/layouts/wide.html", "x".repeat(1025));
    page_without_core: Newsroom::with("priority = \"core\"", "priority = 50");
    params_that_the_route_does_not_give: Newsroom::and("[pages.front]\nroute = \"/\"\nlayout = \"layouts/article.html\"\n[pages.tag]\nroute = \"/tags/{slgu}\"\nlayout = \"layouts/article.html\"");

    page_caches: Newsroom::and("[pages.article.cache]\nshared_max_age = \"30s\"\nmax_age = \"1m\"\nstale_if_error = \"1500ms\"\ndegraded_max_age = \"2m\"\nstale_while_revalidate = 5\nmaxage = \"1s\"");

    // routes
    routes_that_conflict: Newsroom::and("[pages.other]\nroute = \"/articles/{id}\"\nlayout = \"layouts/article.html\"\n[[proxy]]\nroute = \"/articles/{slug}\"\norigin = \"cms\"");
    routes_that_cannot_be: Newsroom::and("[[proxy]]\nroute = \"/{a}.html\"\norigin = \"cms\"\n[[proxy]]\nroute = \"x\"\norigin = \"cms\"\n[[proxy]]\nroute = \"/é\"\norigin = \"cms\"\n[[proxy]]\nroute = \"/{lang}/{x}/{x}\"\norigin = \"cms\"\n[[proxy]]\nroute = \"/{*x}/y\"\norigin = \"cms\"\n[[proxy]]\nroute = \"/a?b\"\norigin = \"cms\"\n[pages.rest]\nroute = \"/r/{*rest}\"\nlayout = \"layouts/article.html\"");
    routes_that_are_the_servers_own: Newsroom::and("[[static]]\nroute = \"/.marbre\"\ndir = \"public\"\n[[proxy]]\nroute = \"/.marbre/{*rest}\"\norigin = \"cms\"\n[[proxy]]\nroute = \"/{*rest}\"\norigin = \"cms\"\n[pages.own]\nroute = \"/.marbre/{slug}\"\nlayout = \"layouts/article.html\"");
    routes_below_a_static_folder: Newsroom::and("[[static]]\nroute = \"/assets\"\ndir = \"public\"\n[[proxy]]\nroute = \"/assets/logo.svg\"\norigin = \"cms\"");
    proxies: Newsroom::and("[[proxy]]\nroute = \"/p/{id}/{*rest}\"\norigin = \"cmss\"\npath = \"/q/{ident}/{rest}\"");
    static_folders: Newsroom::and("[[static]]\nroute = \"/a\"\ndir = \"publik\"\n[[static]]\nroute = \"/b/{x}\"\ndir = \"fragments.toml\"\ncache_control = \"é\"");

    // several files
    names_declared_in_two_files: Newsroom::new(&format!("include = [\"sections/*.toml\"]\n{GOOD}")).file("sections/sport.toml", "[fragments.article]\npriority = 3\nsource = \"cms:/x\"\n[origins.cms]\nurls = \"http://x\"\n");
    includes: Newsroom::new(&format!("include = [\"sections/*.toml\", \"nowhere/*.toml\", \"*/x.toml\", \"sections/sprot.toml\"]\n{GOOD}")).file("sections/sport.toml", "include = [\"x\"]\n[server]\nlisten = \"1.2.3.4:5\"\n[fragments.scores]\npriority = 3\nsource = \"cmss:/x\"\n");

    // all at once
    many_mistakes_at_once: Newsroom::new(&GOOD.replace("ttl = \"30s\"", "tll = \"30s\"").replace("\"fragment:teaser\"", "\"fragment:teazer\"").replace("\"media:/slide", "\"medai:/slide").replace("priority = 30", "priority = \"low\"")).file("templates/layouts/article.html", "<fragment name=\"haeder\"/><fragment name=\"article\"/><fragment name=\"teaser\"/>");
}

#[test]
fn no_such_file() {
    let room = Newsroom::new("").file("fragmnts.toml", "");
    let path = room.folder.path().join("fragment.toml");
    let found = config::load(&path, &|_| None).unwrap_err();
    insta::assert_snapshot!("no_such_file", found.to_string());
    assert_eq!(found.watched(), [path]);
}

#[test]
fn a_right_declaration_loads() {
    let room = Newsroom::new(GOOD);
    let loaded = room.loaded();
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let summary = loaded.summary.to_string();
    assert_eq!(summary, "1 page, 4 fragments, 2 origins, 1 file");
    let site = &loaded.site;
    let names: Vec<_> = site
        .members(&site.pages[0])
        .map(|f| f.name.as_str())
        .collect();
    assert_eq!(names, ["header", "article", "slideshow"]);
    let slideshow = site
        .fragments
        .iter()
        .find(|f| f.name == "slideshow")
        .unwrap();
    assert_eq!(slideshow.timeout.as_millis(), 250);
    let [Rung::Sibling(teaser), Rung::Ready { body, .. }] = &slideshow.fallback[..] else {
        panic!()
    };
    assert_eq!(&body[..], b"<p>no pictures</p>");
    let Source::Ready(html) = &site.fragment(*teaser).source else {
        panic!()
    };
    assert_eq!(&html[..], b"<p>a &lt; b</p>");
    let Found::Match { target, params } = site.routes.find("/articles/x") else {
        panic!()
    };
    assert!(matches!(target, Target::Page(_)) && params[0].1 == "x");
    let watched = |path: &str| loaded.watched.contains(&room.folder.path().join(path));
    assert!(watched("fragments.toml") && watched("templates/fragments/byline.html"));
}

#[test]
fn environment_is_expanded_in_hosts_and_secrets() {
    let more = "[admin]\nlisten = \"0.0.0.0:${PORT:-9000}\"\ntoken = \"${TOKEN}\"";
    let room = Newsroom::new(&format!(
        "{}\n{more}",
        GOOD.replace("cms-1:8000", "${CMS}:${PORT:-8000}")
    ))
    .env("CMS", "cms.internal")
    .env("TOKEN", "0123456789abcdef");
    let loaded = room.loaded();
    assert_eq!(
        loaded.site.origins[0].replicas[0].to_string(),
        "http://cms.internal:8000"
    );
    assert_eq!(loaded.server.admin_listen.port(), 9000);
    assert_eq!(
        loaded.server.admin_tokens.operate.as_deref(),
        Some("0123456789abcdef")
    );
}

#[test]
fn included_files_are_part_of_the_site() {
    let sport = "[fragments.scores]\npriority = 3\nsource = \"cms:/scores\"\n[[proxy]]\nroute = \"/live\"\norigin = \"cms\"\n[[static]]\nroute = \"/\"\ndir = \"public\"\ncache_control = \"no-cache\"";
    let room = Newsroom::new(&format!("include = [\"sections/*.toml\", \"*.toml\"]\n{GOOD}"))
        .file("sections/sport.toml", sport)
        .file("templates/layouts/article.html", "<fragment name=\"article\"/><fragment name=\"header\"/><fragment name=\"slideshow\"/><fragment name=\"scores\"/>");
    let loaded = room.loaded();
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let summary = loaded.summary.to_string();
    assert_eq!(
        summary,
        "1 page, 5 fragments, 2 origins, 1 proxy, 1 static folder, 2 files"
    );
    assert!(
        loaded
            .watched
            .contains(&room.folder.path().join("sections"))
    );
    assert!(matches!(
        loaded.site.routes.find("/logo.svg"),
        Found::Match {
            target: Target::Static(0),
            ..
        }
    ));
}

#[test]
fn lists_that_cannot_be() {
    let more = r#"
[fragments.latest]
priority = 50
source = "cms:/latest"
item = "teasr"
items_at = "data..stories"
min_items = 30

[fragments.inline]
priority = 50
source = "inline:[]"
item = "entry"

[fragments.entry]
priority = "core"
source = "cms:/entries/{item.id}"
item = "words"
fallback = ["fragment:words"]

[fragments.words]
priority = 50
source = "cms:/words"

[fragments.alone]
priority = 50
source = "cms:/alone/{item.id}"
max_items = 3

[pages.lists]
route = "/lists/{slug}"
layout = "layouts/lists.html"
"#;
    let layout =
        "<fragment name=\"article\"/>\n<fragment name=\"words\"/><fragment name=\"latest\"/>";
    let room = Newsroom::and(more).file("templates/layouts/lists.html", layout);
    insta::assert_snapshot!("lists_that_cannot_be", room.told());
}

#[test]
fn items_that_lead_back_to_their_list() {
    let more = r#"
[fragments.latest]
priority = 50
source = "cms:/latest"
item = "entry"

[fragments.entry]
priority = 50
source = "cms:/entries/{item.id}"
fallback = ["fragment:latest"]
"#;
    insta::assert_snapshot!("items_in_a_circle", Newsroom::and(more).told());
}

#[test]
fn what_is_unused_is_a_warning() {
    let more = "[origins.idle]\nurls = \"http://idle\"\nca = \"ca.pem\"\n[fragments.lonely]\npriority = 1\nsource = \"inline:x\"\n[admin]\ntoken = \"short\"";
    let loaded = Newsroom::and(more).file("ca.pem", authority()).loaded();
    insta::assert_snapshot!("what_is_unused", loaded.warnings.to_string());
}

#[test]
fn a_page_that_asks_an_origin_for_more_than_it_has_room_for_is_told_of() {
    let fragment = |name: &str, priority: &str| {
        format!("[fragments.{name}]\npriority = {priority}\nsource = \"small:/{name}\"\n")
    };
    let site = |room: &str, optional: &[&str]| {
        let (names, mut more) = (["menu", "foot"], String::new());
        more += &format!("[origins.small]\nurls = \"http://small\"\n{room}\n");
        more.extend(names.map(|name| fragment(name, "\"essential\"")));
        more.extend(optional.iter().map(|name| fragment(name, "10")));
        more += "[pages.wide]\nroute = \"/wide/{slug}\"\nlayout = \"layouts/wide.html\"\n";
        let slots = names.iter().chain(optional);
        let slots: String = slots
            .map(|name| format!("<fragment name=\"{name}\"/>"))
            .collect();
        let layout = format!("<html><body><fragment name=\"article\"/>{slots}</body></html>\n");
        let site = Newsroom::and(&more).file("templates/layouts/wide.html", &layout);
        site.loaded().warnings.to_string()
    };
    insta::assert_snapshot!(
        "a_page_with_too_little_room",
        [
            site("max_in_flight = 1", &[]),
            site("max_in_flight = 4\nreserved = 3", &["quiz", "poll"]),
        ]
        .join("\n")
    );
    assert!(!site("max_in_flight = 4\nreserved = 2", &["quiz", "poll"]).contains("room"));
}

#[test]
fn a_slot_that_cannot_be_late_is_told_of() {
    let layout = "<html><head><fragment name=\"header\" defer/></head>\n<body><table><fragment name=\"slideshow\" defer></fragment></table>\n<p><fragment name=\"teaser\" defer/></p><fragment name=\"article\"/></body></html>\n";
    let site = Newsroom::new(GOOD).file("templates/layouts/article.html", layout);
    insta::assert_snapshot!(
        "slots_that_cannot_be_late",
        site.loaded().warnings.to_string()
    );
}

#[test]
fn what_degradation_warns_of() {
    let more = "[degradation]\ntarget = \"250ms\"\nrehearse_token = \"short\"\nladder = [\"slideshow\", \"teaser\"]";
    let loaded = Newsroom::and(more).loaded();
    insta::assert_snapshot!("what_degradation_warns_of", loaded.warnings.to_string());
    assert!(!format!("{:?}", loaded.site.degradation).contains("short"));
}

#[test]
fn an_objective_that_wakes_nobody_is_told_of() {
    let more = "[slo.loose]\nobjective = 0.8\ncomplete = \"all\"\npages = \"article\"";
    let loaded = Newsroom::and(more).loaded();
    insta::assert_snapshot!(
        "an_objective_that_wakes_nobody_is_told_of",
        loaded.warnings.to_string()
    );
    let slo = &loaded.site.slos[0];
    assert_eq!((slo.pages.len(), slo.period.as_secs()), (1, 30 * 86_400));
}

#[test]
fn what_a_site_says_of_its_degradation() {
    let ms = Duration::from_millis;
    let plain = Newsroom::new(GOOD).loaded().site;
    assert_eq!(plain.degradation, DegradationSpec::default());
    assert_eq!(plain.pages[0].target, plain.pages[0].budget);
    assert_eq!(plain.pages[0].optional_time, None);
    assert_eq!(
        steps(&plain),
        [("teaser", vec!["teaser"]), ("slideshow", vec!["slideshow"])]
    );

    let more = r#"
[degradation]
mode = "dry-run"
target = "300ms"
margin = "60ms"
reader_cookie = "session"
reader_header = "X-Forwarded-For"
save_data = 2
rehearse_token = "${T}"
workers = 3
wait_max = "1s"
ladder = [{ name = "extras", blocks = ["teaser", "slideshow"] }]
[degradation.work_rate]
queue_target = "30ms"
cut_rate = 1
growth = 0.2
"#;
    let site = Newsroom::and(more)
        .env("T", "0123456789abcdef")
        .loaded()
        .site;
    let spec = &site.degradation;
    assert_eq!(
        (spec.mode, spec.target, spec.margin),
        (Mode::DryRun, Some(ms(300)), ms(60))
    );
    assert_eq!(
        (spec.save_data, spec.workers, spec.wait_max),
        (2, Some(3), ms(1000))
    );
    assert_eq!(spec.reader_cookie.as_deref(), Some("session"));
    let header = spec.reader_header.as_ref().unwrap();
    assert_eq!(header.as_str(), "x-forwarded-for");
    assert!(
        spec.rehearse_token
            .as_ref()
            .unwrap()
            .is(b"0123456789abcdef")
    );
    let Law::WorkRate(constants) = spec.law.for_cores(4) else {
        panic!("{:?}", spec.law);
    };
    let expected = work_rate::Constants {
        queue_target: ms(30),
        cut_rate: 1.0,
        growth: 0.2,
        ..work_rate::Constants::for_cores(4)
    };
    assert_eq!(constants, expected);
    assert_eq!(site.pages[0].target, ms(300));
    assert_eq!(site.pages[0].optional_time, Some(ms(240)));
    assert_eq!(steps(&site), [("extras", vec!["teaser", "slideshow"])]);

    let more = "[degradation]\nlaw = \"aimd\"\n[degradation.aimd]\ncut = 0.9\n[degradation.work_rate]\nrate_max = 500";
    let law = Newsroom::and(more)
        .loaded()
        .site
        .degradation
        .law
        .for_cores(4);
    let expected = aimd::Constants {
        cut: 0.9,
        ..aimd::Constants::default()
    };
    assert_eq!(law, Law::Aimd(expected));
    let more = "[degradation.work_rate]\nrate_max = 500";
    let law = Newsroom::and(more)
        .loaded()
        .site
        .degradation
        .law
        .for_cores(4);
    assert!(matches!(law, Law::WorkRate(constants) if constants.rate_max == 500.0));
}

/// The steps of the ladder, with the names of their blocks.
fn steps(site: &Site) -> Vec<(&str, Vec<&str>)> {
    let steps = site.ladder.steps().iter();
    let names = |step: &'_ Step| -> Vec<&str> {
        let blocks = step.blocks.iter();
        blocks.map(|id| site.fragment(*id).name.as_str()).collect()
    };
    steps
        .map(|step| (step.name.as_str(), names(step)))
        .collect()
}

#[test]
fn a_ladder_has_no_more_steps_than_there_are_ranks() {
    let with = |count: usize| {
        let fragments =
            (0..count).map(|n| format!("[fragments.b{n}]\npriority = 1\nsource = \"inline:x\"\n"));
        let names = (0..count).map(|n| format!("\"b{n}\", "));
        let (fragments, names): (String, String) = (fragments.collect(), names.collect());
        Newsroom::and(&format!(
            "{fragments}[degradation]\nladder = [{names}\"teaser\", \"slideshow\"]"
        ))
    };
    let site = with(97).loaded().site;
    assert_eq!(site.ladder.text_only().get(), 99);
    let told = with(98).told();
    assert!(told.contains("the ladder has too many steps"), "{told}");
    assert!(told.contains("this is one more than 99"), "{told}");
}

#[test]
fn a_page_may_have_a_target_of_its_own() {
    let ms = Duration::from_millis;
    let layout = "layout = \"layouts/article.html\"";
    let own = Newsroom::with(layout, &format!("{layout}\ntarget = \"500ms\""));
    let page = &own.loaded().site.pages[0];
    assert_eq!((page.target, page.optional_time), (ms(500), Some(ms(450))));
    // the site's is cut to the budget
    let more = "[degradation]\ntarget = \"3s\"";
    let page = &Newsroom::and(more).loaded().site.pages[0];
    assert_eq!((page.target, page.optional_time), (ms(1000), Some(ms(950))));
}

#[test]
fn differences_of_degradation() {
    let old = Newsroom::new(GOOD).loaded().site;
    let more = "[degradation]\nmode = \"off\"\ntarget = \"300ms\"\nreader_cookie = \"s\"\nreader_header = \"cf-connecting-ip\"\nsave_data = 0\nrehearse_token = \"0123456789abcdef\"\nworkers = 2\nladder = [{ name = \"extras\", blocks = [\"teaser\", \"slideshow\"] }]\n[degradation.work_rate]\nrate_max = 3000\nqueue_target = \"40ms\"";
    let new = Newsroom::and(more).loaded().site;
    insta::assert_snapshot!(
        "differences_of_degradation",
        config::diff(&old, &new).join("\n")
    );
}

#[test]
fn fingerprints_follow_what_is_rendered() {
    let prints = |room: &Newsroom| -> Vec<u64> {
        room.loaded()
            .site
            .fragments
            .iter()
            .map(|f| f.fingerprint)
            .collect()
    };
    let base = prints(&Newsroom::new(GOOD));
    assert_eq!(base, prints(&Newsroom::new(GOOD)));
    let edited = prints(&Newsroom::new(GOOD).file("templates/fragments/byline.html", "by"));
    let changed: Vec<bool> = base.iter().zip(&edited).map(|(a, b)| a != b).collect();
    // article and teaser have templates, header and slideshow are HTML
    assert_eq!(changed, [true, false, false, true]);
}

#[test]
fn differences_in_words() {
    let old = Newsroom::new(GOOD).loaded().site;
    assert_eq!(
        config::diff(&old, &Newsroom::new(GOOD).loaded().site),
        Vec::<String>::new()
    );
    let declaration = GOOD
        .replace("timeout = \"250ms\"", "timeout = \"400ms\"")
        .replace("keep = \"7d\"", "")
        .replace("priority = 30", "priority = 31")
        .replace("http://media:8000", "http://media:9000")
        .replace("\"fragment:teaser\", ", "")
        + "[[static]]\nroute = \"/assets\"\ndir = \"public\"\n[site]\nlanguage = \"fr\"\n"
        + "[slo.fast]\nobjective = 0.999\nwithin = \"1s\"\n";
    let new = Newsroom::new(&declaration)
        .file("templates/parts/header.html", "<header>new</header>")
        .file(
            "templates/layouts/article.html",
            "<fragment name=\"header\"/><fragment name=\"article\"/><fragment name=\"slideshow\"/>",
        )
        .loaded()
        .site;
    insta::assert_snapshot!("differences", config::diff(&old, &new).join("\n"));
}

#[test]
fn the_schema_names_every_key_with_its_meaning() {
    let schema = config::schema();
    let mut keys = Vec::new();
    list(&schema, "", &mut keys);
    insta::assert_snapshot!("schema_keys", keys.join("\n"));
}

/// Every key with its type, default and range; a key without a description is a mistake.
fn list(node: &serde_json::Value, path: &str, keys: &mut Vec<String>) {
    for (key, value) in node["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        assert!(
            value["description"].is_string(),
            "{path} has no description"
        );
        let mut line = path.clone();
        for what in ["default", "x-range", "minimum", "maximum"] {
            let shown = value
                .get(what)
                .filter(|v| !v.is_object() && **v != serde_json::json!([]));
            line += &shown.map(|v| format!(" {what}={v}")).unwrap_or_default();
        }
        keys.push(line);
        list(value, &path, keys);
        list(&value["items"], &path, keys);
        if let Some(entry) = value["patternProperties"]
            .as_object()
            .and_then(|p| p.values().next())
        {
            assert_eq!(value["additionalProperties"], false, "{path}");
            list(entry, &format!("{path}.NAME"), keys);
        }
    }
    if node["properties"].is_object() {
        assert_eq!(node["additionalProperties"], false, "{path}");
    }
}

/// Every key of the schema, each with its default or an example, is one that the loader accepts.
#[test]
fn the_loader_accepts_what_the_schema_offers() {
    let schema = config::schema();
    let mut text = String::new();
    let value = |node: &serde_json::Value| {
        let value = node
            .get("default")
            .filter(|v| **v != serde_json::json!([]))
            .unwrap_or(&node["examples"][0]);
        (!value.is_null()).then(|| value.to_string())
    };
    let table = |node: &serde_json::Value| -> String {
        let keys = node["properties"].as_object().unwrap().iter();
        // a secret is there, or in a file of its own
        let keys = keys.filter(|(key, _)| !key.ends_with("token_file"));
        keys.filter_map(|(key, node)| Some(format!("{key} = {}\n", value(node)?)))
            .collect()
    };
    let origin = &schema["properties"]["origins"]["patternProperties"];
    let origin = origin.as_object().unwrap().values().next().unwrap();
    let properties = schema["properties"].as_object().unwrap();
    for section in ["server", "site", "limits", "degradation"] {
        text += &format!("[{section}]\n{}", table(&properties[section]));
    }
    for law in ["work_rate", "aimd"] {
        let keys = table(&properties["degradation"]["properties"][law]);
        text += &format!("[degradation.{law}]\n{keys}");
    }
    text += &format!("[origins.cms]\n{}", table(origin));
    for part in ["breaker", "retry", "health"] {
        let keys = table(&origin["properties"][part]);
        text += &format!("[origins.cms.{part}]\n{keys}");
    }
    let replica = &origin["properties"]["urls"]["anyOf"][1]["items"]["anyOf"][1];
    let keys = table(replica).trim_end().replace('\n', ", ");
    text += &format!("[origins.tables]\nurls = [{{ {keys} }}]\n");
    text += &format!(
        "[fragments.article]\n{}",
        table(
            properties["fragments"]["patternProperties"]
                .as_object()
                .unwrap()
                .values()
                .next()
                .unwrap()
        )
    );
    text += &format!(
        "[pages.article]\n{}",
        table(
            properties["pages"]["patternProperties"]
                .as_object()
                .unwrap()
                .values()
                .next()
                .unwrap()
        )
    );
    let slo = &properties["slo"]["patternProperties"];
    let slo = slo.as_object().unwrap().values().next().unwrap();
    text += &format!("[slo.fast]\n{}", table(slo));
    text += &format!("[[proxy]]\n{}", table(&properties["proxy"]["items"]));
    text += &format!("[[static]]\n{}", table(&properties["static"]["items"]));
    let schedule = properties["schedules"]["patternProperties"].as_object();
    let keys = table(schedule.unwrap().values().next().unwrap());
    // a weekly one has times of the day
    let keys: String = keys
        .split_inclusive('\n')
        .filter(|line| !line.starts_with("days"))
        .collect();
    text += &format!(
        "[schedules.night]\n{}floor = 0\n",
        keys.replace("[\"slideshow\"]", "[\"teaser\"]")
            .replace("[\"live\"]", "[]")
    );
    text += "[fragments.teaser]\npriority = 1\nsource = \"inline:x\"\n";
    text += "[fragments.card]\npriority = 1\nsource = \"cms:/cards/{item.id}\"\n";
    let room = Newsroom::new(&text)
        .file("templates/errors/503.html", "503")
        .file("templates/errors/404.html", "404")
        .file(
            "templates/layouts/article.html",
            "<fragment name=\"article\"/>",
        )
        .file("public/assets/x", "")
        .file("certs/internal-ca.pem", authority())
        .env("MARBRE_REHEARSE_TOKEN", "0123456789abcdef");
    let loaded = room
        .load()
        .unwrap_or_else(|found| panic!("{text}\n{found}"));
    assert_eq!(loaded.site.error_page.as_deref(), Some(&b"503"[..]));
}

/// A certificate that may vouch for others.
fn authority() -> String {
    fs::read_to_string(Authority::new("newsroom").file()).unwrap()
}

/// Whatever stands for whichever key of the schema, what the check lets through can be read.
#[test]
fn what_is_checked_can_be_read() {
    let mut keys = Vec::new();
    spots(&config::schema(), "", "", &mut keys);
    assert!(keys.len() > 100, "{keys:?}");
    let room = Newsroom::new("");
    for (before, after) in keys {
        for value in [
            "true",
            "0",
            "-1",
            "7",
            "99999999999",
            "1.5",
            "1979-05-27",
            "''",
            "'x'",
            "'1s'",
            "'1KiB'",
            "'core'",
            "'primary'",
            "[]",
            "['x']",
            "[503]",
            "[{}]",
            "[[]]",
            "{}",
            "{ x = 1 }",
            "{ url = 'http://a' }",
            "[{ url = 'http://a' }]",
            "{ path = '/' }",
        ] {
            let text = format!("{before}{value}{after}");
            fs::write(room.folder.path().join("fragments.toml"), &text).unwrap();
            if let Err(found) = room.load() {
                let told = found.to_string();
                assert!(!told.contains("what it has checked"), "{text}\n{told}");
            }
        }
    }
}

/// What stands before and after the value of each key, in a file that holds nothing else.
fn spots(node: &serde_json::Value, before: &str, after: &str, keys: &mut Vec<(String, String)>) {
    let named = node["properties"].as_object().into_iter().flatten();
    let named = named.map(|(key, node)| (key.as_str(), node));
    let any = node["patternProperties"].as_object().into_iter().flatten();
    for (key, child) in named.chain(any.map(|(_, node)| ("x", node))) {
        let before = format!("{before}{}{key} = ", required_beside(key, node));
        keys.push((before.clone(), after.to_owned()));
        spots(child, &format!("{before}{{ "), &format!(" }}{after}"), keys);
        let options = child["anyOf"].as_array().map_or(&[][..], Vec::as_slice);
        for items in options.iter().chain([child]).map(|list| &list["items"]) {
            let (before, after) = (format!("{before}[{{ "), format!(" }}]{after}"));
            let options = items["anyOf"].as_array().map_or(&[][..], Vec::as_slice);
            let items = options.iter().chain([items]);
            items.for_each(|item| spots(item, &before, &after, keys));
        }
    }
}

/// Without the keys that a table must have, the whole of it is taken out.
fn required_beside(key: &str, table: &serde_json::Value) -> String {
    let required = table["required"].as_array().into_iter().flatten();
    let others = required.filter_map(|r| r.as_str()).filter(|r| *r != key);
    let example = |other: &str| {
        let value = &table["properties"][other]["examples"][0];
        assert!(!value.is_null(), "{other} has no example");
        format!("{other} = {value}, ")
    };
    others.map(example).collect()
}

#[test]
fn loading_never_panics_on_a_damaged_file() {
    let text = GOOD.as_bytes();
    let room = Newsroom::new(GOOD);
    for cut in (0..text.len()).step_by(7) {
        for damage in [&b""[..], b"\"", b"[", b"\xff", b"{", b"="] {
            let damaged = [&text[..cut], damage, &text[(cut + 3).min(text.len())..]].concat();
            fs::write(room.folder.path().join("fragments.toml"), damaged).unwrap();
            if let Err(found) = room.load() {
                assert!(found.has_errors() && !found.render(true).is_empty());
            }
        }
    }
    assert!(Path::new(room.folder.path()).exists());
}

//! Renders every page with the most hostile entries.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use askama::Template;
use bytes::Bytes;
use hyper::Request;
use hyper::header::HeaderValue;

use super::ErrorPage;
use super::deliveries::delivery::{DeliveryPage, EntryLine};
use super::deliveries::request::RequestView;
use super::deliveries::{DeliveriesPage, Found, Wanted};
use super::done::DonePage;
use super::entry::EntryPage;
use super::explanation::SHOWN;
use super::explore::detail::Detail;
use super::explore::{
    Content, Counted, EXAMPLE, ExplorePage, FirstDelivery, HintLine, QueryFault, RangePicker,
    Results,
};
use super::keys::KeysPage;
use super::link::{Link, Selection};
use super::login::LoginPage;
use super::outputs::{OutputsPage, ResetPage, output_rows, summary};
use super::overview::{CONDITIONS, DENIED, NOT_TRIED, OverviewCounts, OverviewPage};
use super::setup::{AuthorizationPage, Listener, SetupPage, action_row, certificate_row};
use super::shell::{HealthLine, Shell};
use super::text::SafeText;
use super::verify::VerifyPage;
use crate::console::actions::{Actions, CsrfToken};
use crate::console::lag::Lag;
use crate::console::receiver_info::{InputInfo, ReceiverInfo};
use crate::control::RecordedAction;
use crate::entry::record::Origin;
use crate::entry::{Millis, Record, VerdictName, Warning};
use crate::ingest::{CheckedLine, ExpectedIds};
use crate::konnect::sign::Signer;
use crate::log::coverage::{Coverage, CoverageReport, Covered, Interval};
use crate::log::status::LogStanding;
use crate::net::CertificateInfo;
use crate::output::{Activity, LastRequest, RecentLetters, RunningOutput};
use crate::receiver::kept::{KeptHead, KeptRequest, KeptRequests, Phases};
use crate::search::{Field, Hint};
use crate::signature::{Key, KeySet};
use crate::store::counts::SUMMARISED;
use crate::store::{
    self, Counts, Directory, FieldCounts, Gap, OutputStanding, Page, Provenance, Quarantined,
    Receipts, Received, Refused, Scope, Sighting, Source, Stats, StoredDelivery, TimeRange,
};

/// HTML, template syntax, terminal escapes, bidirectional marks and invisible characters.
const HOSTILE: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(2)> {{7*7}} {% x %} \
                       \u{202e}gnp\u{2066}\u{200b}\u{feff}\u{1b}[31m\0\u{9b}\u{e0041}&lt;";

const NOW: Millis = Millis::MAX;

fn record(id: u64, line: impl Into<Bytes>) -> Record {
    let line: Bytes = line.into();
    let examined = CheckedLine::new(&line, &KeySet::default(), 1 << 20);
    let entry = examined.read(line, &ExpectedIds::default(), NOW);
    let origin = Origin::Stored { id, input: HOSTILE.into(), received_at: NOW, delivery_count: 2 };
    let time = entry.time;
    Record { warnings: vec![Warning::BadTime], ..entry.into_record(origin, Some(time)) }
}

/// Entries with `value` in every field, of each kind.
fn records(value: &str) -> Vec<Record> {
    let mut records = Vec::new();
    for name in ["Ingress", "Authz.x", "AUTHENTICATION_OUTCOME_LOCKED", value] {
        let mut object = serde_json::Map::new();
        let names: Vec<&str> = Field::names().collect();
        for field in names.into_iter().chain([value, "x.y"]) {
            object.insert(field.to_owned(), value.into());
        }
        object.insert("name".into(), name.into());
        object.insert("status".into(), 500.into());
        object.insert("trace_id".into(), "18446744073709551615".into());
        let id = records.len() as u64 + 3;
        records.push(record(id, serde_json::Value::Object(object).to_string()));
    }
    records.push(record(8, value.to_owned()));
    records.push(record(9, [b"\xff\xfe".as_slice(), value.as_bytes()].concat()));
    records
}

fn receiver() -> ReceiverInfo {
    ReceiverInfo {
        exists: true,
        base: "https://127.0.0.1:8443".into(),
        local_base: "https://127.0.0.1:8443".into(),
        inputs: vec![InputInfo {
            name: "default".into(),
            path: "/audit-logs".into(),
            authorization_file: Some("it's/authorization".into()),
        }],
        tls: true,
        self_signed: Some("tls.pem".into()),
        loopback: true,
        has_key_source: false,
        resend_to: vec!["https://example.com/a".into()],
        region: None,
        settings: HOSTILE.into(),
    }
}

fn counts(value: &str, complete: bool) -> Counts {
    let fields = SUMMARISED.into_iter().map(|name| FieldCounts {
        field: Field::named(name),
        values: vec![(value.to_owned(), 3), (String::new(), 2), ("valid".into(), 1)],
        other: 4,
        missing: 5,
    });
    let verdicts = [("valid", 3), ("invalid", 1)].map(|(name, count)| (name.to_owned(), count));
    Counts {
        entries: 4,
        complete,
        width: 60_000,
        buckets: vec![(0, BTreeMap::from(verdicts)), (60_000, BTreeMap::new())],
        not_valid: vec![1, 0],
        fields: fields.collect(),
    }
}

fn stats() -> Stats {
    let text = || HOSTILE.to_owned();
    Stats {
        store_id: Some(text()),
        catalog_version: 4,
        gaps: vec![Gap { first_id: 7, last_id: 9, found_at: NOW, reason: text() }],
        versions: Default::default(),
        entries: 1,
        verdicts: BTreeMap::new(),
        kinds: BTreeMap::new(),
        time: Some((Millis::MIN, Millis::MAX)),
        received_at: None,
        bytes: 1 << 30,
        states: BTreeMap::from([("live", 1)]),
        segments: vec![],
        deliveries: vec![delivered()],
        refused: vec![Refused {
            time: NOW,
            peer: text(),
            status: None,
            reason: text(),
            scheme: Some(text()),
        }],
        quarantine: vec![Quarantined {
            id: 1,
            received_at: NOW,
            input: text(),
            peer: text(),
            status: 415,
            reason: text(),
            content_encoding: Some(text()),
            bytes: 7,
            origin: None,
        }],
        sources: vec![],
        keys: 0,
    }
}

fn delivered() -> StoredDelivery {
    StoredDelivery {
        id: 1,
        received_at: NOW,
        stored_at: Some(NOW),
        origin: Some(store::Origin { epoch: 1, number: 2, position: 3 }),
        input: HOSTILE.into(),
        peer: HOSTILE.into(),
        bytes: 1,
        decoded_bytes: 2,
        received: 3,
        stored: 4,
        duplicates: 5,
        malformed: 6,
        valid: 7,
        invalid: 8,
        unsigned: 0,
        no_key: 1,
        warnings: BTreeMap::from([(HOSTILE.to_owned(), 2)]),
        duration_us: 1234,
    }
}

/// A kept request whose every text is hostile.
fn kept_request(body: &'static [u8]) -> Arc<KeptRequest> {
    let kept = KeptRequests::new(1 << 20);
    let hostile: String = HOSTILE.chars().filter(|c| !c.is_control()).collect();
    let value = HeaderValue::from_bytes(hostile.as_bytes()).unwrap();
    let request = Request::builder().method("A'B|`id`").uri("/a?b=%3Cscript%3E");
    let request = request.header("x-hostile", value).header("authorization", "Bearer x").body(());
    let request = request.unwrap();
    let head = || KeptHead::new(&request, NOW, HOSTILE, None, Some(HOSTILE), None);
    let mut draft = kept.begin(Instant::now(), head).unwrap();
    draft.hold(&Bytes::from_static(body));
    kept.keep_failed(Some(draft), Phases::default(), HOSTILE.into(), None);
    kept.get(1).unwrap()
}

/// A frame with the button to log out.
fn shell() -> Shell {
    let health = HealthLine::new(Some(Millis::MIN), &[standing(HOSTILE)], true, NOW);
    Shell { log_out: true, health: Some(health), ..Shell::new("Title", "/") }
}

fn entries(value: &str, content: impl FnOnce(&Selection) -> Content) -> ExplorePage {
    // The form shows the query unchanged, so for the check below it has no invisible characters.
    let query = value.chars().filter(|c| !c.is_control() && c.is_ascii()).take(500).collect();
    let selection = Selection { query, since: "\"'>".into(), ..Selection::default() };
    let range = Ok(TimeRange { since: None, until: Some(0) });
    let picker = RangePicker::new(&selection, &range);
    ExplorePage {
        shell: Shell::new("Explore", "/"),
        range: RangePicker { fault: Some(SafeText::new(HOSTILE)), ..picker },
        query_fault: Some(QueryFault {
            message: SafeText::new(HOSTILE),
            before: SafeText::new(HOSTILE),
            rest: SafeText::new(HOSTILE),
        }),
        content: content(&selection),
        selection,
    }
}

fn entries_with(value: &str) -> String {
    let found = Page { records: records(value), next: None };
    let page = entries(value, |selection| {
        let range = TimeRange::default();
        let counts = counts(value, false);
        let detail = found.records.first().map(|record| {
            let key = Key::new(Some(HOSTILE.into()), [7; 32]);
            (3, Detail::new(selection, record, Some(key), KeySet::default()))
        });
        let mut results = Results::new(selection, range, &found, None, detail);
        results.counted = Counted::new(selection, range, &counts, &counts);
        let hint = Hint::UnknownField { name: value.to_owned(), nearest: Some("src".to_owned()) };
        results.hints = vec![HintLine::new(selection, &hint)];
        Content::Results(Box::new(results))
    });
    page.render().unwrap()
}

/// Every page with its name.
fn pages() -> Vec<(&'static str, String)> {
    let mut pages = vec![("entries", entries_with(HOSTILE))];
    let empty = entries(HOSTILE, |_| Content::EmptyStore(FirstDelivery::new(&receiver())));
    pages.push(("empty", empty.render().unwrap()));
    let key = Key::new(Some(HOSTILE.into()), [7; 32]);
    for record in records(HOSTILE) {
        let from = Provenance {
            delivery: Some(delivered()),
            key: Some(key.clone()),
            spellings: Vec::new(),
        };
        let mut page = EntryPage::new(shell(), &record, Some(from), KeySet::default());
        page.neighbours.back = Some(Selection::default().here());
        pages.push(("entry", page.render().unwrap()));
    }
    pages.push(("valid", valid()));
    let Stats { deliveries: stored, refused, quarantine, .. } = stats();
    let listed = Found { stored, refused, quarantine, is_empty: false };
    let nothing = Found { is_empty: true, ..Found::default() };
    for (name, found) in [("deliveries", listed), ("nothing", nothing)] {
        let (wanted, kept) = (Wanted::newest(50), KeptRequests::new(0));
        let page = DeliveriesPage::new(shell(), &found, &wanted, &receiver(), &kept);
        pages.push((name, page.render().unwrap()));
    }
    let (before, kept) = (kept_request(b"before"), kept_request(HOSTILE.as_bytes()));
    let view = RequestView::new(&kept, Some(&before), &receiver());
    let mut delivery = DeliveryPage::new(shell(), "Delivery 1".into(), Some(view), true);
    delivery.csrf = Some(csrf());
    delivery.resend_to = vec![SafeText::new(HOSTILE)];
    delivery.describe(&delivered());
    delivery.entries = records(HOSTILE).iter().map(EntryLine::new).collect();
    pages.push(("delivery", delivery.render().unwrap()));
    let mut body = DeliveryPage::new(shell(), "Body 1 in quarantine".into(), None, false);
    body.describe_quarantined(&stats().quarantine[0]);
    pages.push(("quarantined", body.render().unwrap()));
    let sighting =
        Sighting { source: HOSTILE.into(), key: key.clone(), first_seen: NOW, last_seen: NOW };
    let source = Source {
        source: HOSTILE.into(),
        attempted_at: NOW,
        succeeded_at: None,
        error: Some(HOSTILE.into()),
    };
    let keys = KeysPage::new(
        shell(),
        (vec![sighting], vec![source]),
        &BTreeMap::from([(key.thumbprint().to_string(), 5)]),
        &KeySet::default(),
        true,
    );
    pages.push(("keys", keys.render().unwrap()));
    pages.push(("overview", overview(&overview_counts()).render().unwrap()));
    let outputs = |csrf| {
        let known = [(running(HOSTILE), letters(HOSTILE))];
        let rows = output_rows(&[standing(HOSTILE), standing("gone")], &known, NOW);
        OutputsPage { shell: shell(), outputs: rows, csrf }.render().unwrap()
    };
    pages.push(("outputs", outputs(None)));
    pages.push(("outputs with actions", outputs(Some(csrf()))));
    for (id, csrf) in [(0, None), (9, Some(csrf()))] {
        let recorded = RecordedAction::new(NOW, "::1".parse().unwrap(), HOSTILE, HOSTILE, HOSTILE);
        let certificate =
            CertificateInfo { names: vec![HOSTILE.into()], expires_at: 0, is_self_signed: true };
        let setup = SetupPage {
            actions: (id > 0).then(|| vec![action_row(&recorded)]),
            csrf,
            certificate: certificate_row(Some(certificate), NOW),
            ..SetupPage::new(shell(), Listener::new(Some(id), Some(&delivered())), &receiver())
        };
        pages.push(("setup", setup.render().unwrap()));
    }
    let values = vec![SafeText::new("a value"), SafeText::new("another")];
    let shown = AuthorizationPage { shell: shell(), input: SafeText::new(HOSTILE), values };
    pages.push(("authorization", shown.render().unwrap()));
    let none = OutputsPage { shell: shell(), outputs: vec![], csrf: Some(csrf()) };
    pages.push(("no outputs", none.render().unwrap()));
    let reset = ResetPage {
        shell: shell(),
        name: SafeText::new(HOSTILE),
        action: Link::new("/outputs/x/reset", &[]),
        csrf: csrf(),
        since: "\"'><script>".into(),
        fault: Some(SafeText::new(HOSTILE)),
    };
    pages.push(("reset", reset.render().unwrap()));
    let done = DonePage {
        shell: shell(),
        heading: SafeText::new(HOSTILE),
        is_good: false,
        lines: vec![SafeText::new(HOSTILE)],
        sent: Some(("Sent", SafeText::new(HOSTILE))),
        back: (Link::new("/outputs", &[]), "Back"),
    };
    pages.push(("done", done.render().unwrap()));
    let pasted = "CEF:0|<b>|b|c|d|e|5|x=</textarea>\n<script>";
    let verify = VerifyPage::new(shell(), pasted.into(), &KeySet::new([Arc::new(key)]));
    pages.push(("verify", verify.render().unwrap()));
    let fault = Some(SafeText::new(HOSTILE));
    pages.push(("login", LoginPage { shell: Shell::bare("Log in"), fault }.render().unwrap()));
    let detail = SafeText::new(HOSTILE);
    let error = ErrorPage { shell: Shell::new("Not Found", ""), status: 404, detail };
    pages.push(("error", error.render().unwrap()));
    pages
}

/// Counts of hostile values, and an output whose name is hostile.
fn overview(counted: &OverviewCounts) -> OverviewPage {
    let standing = LogStanding { stopped: Some(HOSTILE.into()), ..LogStanding::default() };
    OverviewPage::new(shell(), &Selection::default(), &stats(), counted, &standing)
}

/// The coverage of regions with hostile names.
fn coverage() -> CoverageReport {
    let interval = |(since, covered): (i64, &Covered)| Interval {
        since: Millis::saturating(since),
        until: Millis::saturating(since + 1),
        covered: *covered,
        leaves: vec![7],
    };
    let coverage =
        |scope| Coverage { scope, intervals: (0..).zip(Covered::ALL).map(interval).collect() };
    let scope = Scope { region: HOSTILE.into(), portal: Some(HOSTILE.into()) };
    CoverageReport { coverages: vec![coverage(None), coverage(Some(scope))], unconfirmed: vec![9] }
}

fn overview_counts() -> OverviewCounts {
    let top = |value: &str| {
        let fields = ["principal_id", "src", "status"].into_iter().map(|name| FieldCounts {
            field: Field::named(name),
            values: vec![(value.to_owned(), 3), (String::new(), 2), ("\u{202e}".into(), 1)],
            other: 4,
            missing: 5,
        });
        Counts { fields: fields.collect(), ..counts(value, true) }
    };
    let mut by_kind = counts(HOSTILE, true);
    by_kind.buckets[0].1.insert(HOSTILE.to_owned(), 9);
    let received = Received { deliveries: 1, stored: 2, duplicates: 3 };
    OverviewCounts {
        range: TimeRange::default(),
        by_verdict: top(HOSTILE),
        by_kind,
        receipts: Receipts { width: 60_000, buckets: vec![(0, received)] },
        denied: top(HOSTILE),
        before: Some((top("x"), top(HOSTILE))),
        lag: BTreeMap::from([(HOSTILE.to_owned(), vec![Lag { at: 0, behind: 60_000 }])]),
        verdicts: vec![5; 5],
        coverage: coverage(),
        conditions: vec![6; CONDITIONS.len()],
        not_tried: 7,
        rates: vec![1, 2, 3, 4],
        outputs: vec![standing(HOSTILE)],
    }
}

/// An output that is behind. `text` is its name and its error.
fn standing(text: &str) -> OutputStanding {
    OutputStanding {
        name: text.to_owned(),
        configured: true,
        next_id: 7,
        change: 0,
        behind: 4321,
        behind_since: Some(NOW),
        rate: 12.34,
        written: 5,
        dead_letters: 1,
        lost: 2000,
        failures: 3,
        saved_at: NOW,
        error: Some(text.to_owned()),
        failed_at: Some(NOW),
    }
}

fn csrf() -> CsrfToken {
    let home = tempfile::tempdir().unwrap();
    let directory = Directory::create(&home.path().join("data")).unwrap();
    Actions::new(true, None, &directory).unwrap().token().unwrap()
}

/// A running output whose endpoint says `text`.
fn running(text: &str) -> RunningOutput {
    RunningOutput {
        name: text.to_owned(),
        type_name: "http",
        destination: text.to_owned(),
        format: "json",
        dead_letters: text.replace('\0', "").into(),
        activity: Activity {
            request: Some(LastRequest {
                at: NOW,
                bytes: 7,
                entries: 1,
                took: Duration::from_millis(5),
                answer: Err(text.to_owned()),
            }),
            waits_until: Some(NOW),
            ..Activity::default()
        },
    }
}

/// Dead letters with the reason `text`.
fn letters(text: &str) -> RecentLetters {
    let letter = serde_json::json!({
        "time": "2026-01-31T00:00:00.000Z", "status": 400, "reason": text, "entry": {"id": 7}
    });
    RecentLetters { letters: vec![serde_json::from_value(letter).unwrap()], has_more: true }
}

#[test]
fn outputs_say_how_they_stand_and_those_that_are_past_are_left_out() {
    let past = OutputStanding { configured: false, ..standing("past") };
    let long_ago = Some(Millis::saturating(NOW.get() - 60_000));
    let siem = OutputStanding { behind_since: long_ago, ..standing("siem") };
    let rows = output_rows(&[siem.clone(), past.clone()], &[], NOW);
    let [row] = &rows[..] else { panic!("{}", rows.len()) };
    assert_eq!((row.behind.as_str(), row.rate.as_str()), ("4,321 entries", "12.3"));
    assert_eq!((row.dead_letters, row.lost.as_deref()), (1, Some("2,000")));
    assert!(row.since.is_some() && row.error.is_some());
    assert_eq!((row.state, row.is_bad), ("failed", true));
    // A short lag is normal.
    let well = OutputStanding { error: None, failed_at: None, ..standing("siem") };
    let known = [(running("siem"), letters("x"))];
    let row = &output_rows(std::slice::from_ref(&well), &known, NOW)[0];
    assert!(row.since.is_none());
    assert_eq!((row.state, row.is_bad), ("works", false));
    assert_eq!(output_rows(std::slice::from_ref(&well), &[], NOW)[0].state, "does not run");
    let late = OutputStanding { behind_since: long_ago, ..well.clone() };
    assert_eq!(output_rows(std::slice::from_ref(&late), &known, NOW)[0].state, "behind");

    let said = |standings: &[OutputStanding]| summary(standings, NOW);
    assert_eq!(said(&[well.clone(), past.clone()]).as_deref(), Some("1 output, 0 behind"));
    assert_eq!(said(&[well, late, siem]).as_deref(), Some("3 outputs, 2 behind"));
    assert_eq!(said(&[past]), None);
}

/// The page of a valid entry.
fn valid() -> String {
    let (signer, _) = Signer::generate(Some(HOSTILE.into())).unwrap();
    let payload = "CEF:0|a|b|c|d|<b>|5|x=1";
    let mut record = record(1, format!("{payload} sig={}", signer.signature(payload)));
    record.verdict = VerdictName::Valid;
    let from =
        Provenance { delivery: None, key: Some(signer.key().clone()), spellings: Vec::new() };
    EntryPage::new(shell(), &record, Some(from), KeySet::default()).render().unwrap()
}

/// The tags of a page with their attributes.
fn tags(html: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut tags = Vec::new();
    for tag in html.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').expect("a tag ends");
        let (name, mut rest) = tag.split_once(' ').unwrap_or((tag, ""));
        let mut attributes = Vec::new();
        loop {
            rest = rest.trim_start();
            if rest.is_empty() {
                break;
            }
            let end = rest.find([' ', '=']).unwrap_or(rest.len());
            let (attribute, after) = rest.split_at(end);
            let (value, after) = match after.strip_prefix("=\"") {
                Some(after) => after.split_once('"').expect("a value ends"),
                None => ("", after),
            };
            attributes.push((attribute.to_owned(), value.to_owned()));
            rest = after;
        }
        tags.push((name.to_owned(), attributes));
    }
    tags
}

const KNOWN_TAGS: &str = "!DOCTYPE a bdi body br button caption code dd del details dialog div dl \
    dt fieldset form g h1 h2 h3 head header html input kbd label legend li line link main mark meta nav ol option p polyline pre rect \
    script section select span strong summary svg table tbody td text textarea th thead time title tr ul";

const KNOWN_ATTRIBUTES: &str = "action aria-current aria-describedby aria-expanded aria-hidden \
    aria-invalid aria-label aria-labelledby aria-pressed autocapitalize autocomplete autofocus \
    charset checked class colspan content data-copy data-copy-from data-copy-link data-copy-text data-days \
    data-entries data-exclude data-field data-from data-id data-keep data-member data-mine data-name \
    data-open data-page data-part data-poll data-row data-rows data-start data-stream data-tick data-time \
    data-to datetime defer download focusable for height hidden href html id lang method name \
    placeholder points preserveAspectRatio rel required role rows scope size spellcheck src tabindex title \
    type value viewBox width x x1 x2 y y1 y2";

fn check(name: &str, html: &str) {
    let (known_tags, known_attributes): (Vec<_>, Vec<_>) =
        (KNOWN_TAGS.split_whitespace().collect(), KNOWN_ATTRIBUTES.split_whitespace().collect());
    let tags = tags(html);
    let mut ids = BTreeSet::new();
    let of = |attributes: &[(String, String)], wanted: &str| {
        attributes.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone())
    };
    for (tag, attributes) in &tags {
        assert!(known_tags.contains(&tag.trim_start_matches('/')), "{name}: <{tag}>");
        for (attribute, value) in attributes {
            let known = known_attributes.contains(&attribute.as_str());
            assert!(known, "{name}: {attribute} in <{tag} {attributes:?}>");
            if matches!(attribute.as_str(), "href" | "src" | "action") {
                assert!(
                    value.starts_with(['/', '#']) && !value.starts_with("//"),
                    "{name}: {value}"
                );
            }
            assert!(attribute != "id" || ids.insert(value.clone()), "{name}: {value} stands twice");
        }
    }
    let labels: Vec<_> = tags.iter().filter_map(|(_, attributes)| of(attributes, "for")).collect();
    for (tag, attributes) in &tags {
        let is_hidden = of(attributes, "type").as_deref() == Some("hidden");
        if matches!(tag.as_str(), "input" | "textarea") && !is_hidden {
            let id = of(attributes, "id").expect("it has an id");
            assert!(labels.contains(&id), "{name}: no label for {id}");
        }
        for reference in ["aria-labelledby", "aria-describedby", "data-copy"] {
            let id = of(attributes, reference);
            let id = id.as_deref().unwrap_or_default();
            let known = id.split_whitespace().all(|id| ids.contains(id));
            assert!(known, "{name}: <{tag} {attributes:?}>");
        }
    }
    let number = |wanted: &str| tags.iter().filter(|(tag, _)| tag == wanted).count();
    assert_eq!((number("h1"), number("main"), number("title") > 0), (1, 1, true), "{name}");
    assert_eq!(html.matches("<script").count(), html.matches("></script>").count(), "{name}");
    let seen = |c: char| c == '\n' || SafeText::new(&c.to_string()).to_string() == c.to_string();
    let unseen: Vec<_> = html.chars().filter(|c| !seen(*c)).collect();
    assert!(unseen.is_empty(), "{name}: {unseen:?}");
}

#[test]
fn a_curl_command_quotes_what_strangers_chose() {
    let view = RequestView::new(&kept_request(b"x"), None, &receiver());
    assert!(view.curl.starts_with(r"curl -g -X 'A'\''B|`id`' \"), "{}", view.curl);
    assert!(view.curl.ends_with("'https://127.0.0.1:8443/a?b=%3Cscript%3E'"), "{}", view.curl);
    assert!(!view.curl.contains("Bearer x"), "{}", view.curl);
}

#[test]
fn every_page_is_sound_whatever_entries_hold() {
    for (name, html) in pages() {
        check(name, &html);
    }
}

#[test]
fn hostile_text_is_shown_as_text() {
    let html = entries_with(HOSTILE);
    assert!(html.contains("&#60;script&#62;alert(1)&#60;/script&#62;"), "{html}");
    assert!(html.contains("⟨U+202E⟩gnp⟨U+2066⟩⟨U+200B⟩⟨U+FEFF⟩⟨U+001B⟩[31m⟨U+0000⟩"), "{html}");
    assert!(html.contains("{{7*7}}"), "{html}");
}

#[test]
fn long_values_make_no_long_table_and_no_long_page() {
    let long = "<".repeat(100_000);
    let html = entries_with(&long);
    assert!(html.len() < 500_000, "{}", html.len());
    check("entries", &html);
    let record = &records(&long)[0];
    let html = EntryPage::new(shell(), record, None, KeySet::default()).render().unwrap();
    let run = |count: usize| html.contains(&"&#60;".repeat(count));
    assert!(run(10_000) && !run(SHOWN + 1));
    assert!(html.contains("Only its beginning is shown: <a href=\"/entries/"), "{html:.3000}");
    check("entry", &html);
}

#[test]
fn a_trace_has_all_its_digits() {
    let html = EntryPage::new(shell(), &records("x")[0], None, KeySet::default()).render().unwrap();
    assert!(html.contains(">18446744073709551615</a>"), "{html}");
}

#[test]
fn a_verified_entry_is_explained() {
    let html = valid();
    assert!(html.contains("<del class=\"cut\"> sig="), "{html}");
    assert!(html.contains("openssl pkeyutl -verify -pubin -inkey key.pem"), "{html}");
}

#[test]
fn counts_of_the_newest_say_so() {
    assert!(entries_with("x").contains("only the newest 40 matches are counted"));
}

#[test]
fn the_overview_says_how_many_signatures_were_not_tried() {
    let with = |not_tried| {
        let counted = OverviewCounts { not_tried, ..overview_counts() };
        overview(&counted).render().unwrap()
    };
    assert!(with(7000).contains(">7,000 not tried yet</a>"));
    assert!(!with(0).contains("not tried yet"));
}

#[test]
fn the_conditions_and_the_example_are_queries() {
    let others = [("the example", EXAMPLE), ("not tried", NOT_TRIED), ("denied", DENIED)];
    for (name, query) in CONDITIONS.into_iter().chain(others) {
        assert!(crate::search::parse(query, 0).is_ok(), "{name}: {query}");
    }
}

#[test]
fn the_authorization_value_is_not_told_but_where_it_is() {
    assert!(receiver().curl().contains(r"$(cat 'it'\''s/authorization')"));
}

#[test]
fn a_delivery_after_the_page_was_opened_has_arrived() {
    let newest = delivered();
    let is_new = |since| Listener::new(since, Some(&newest)).arrived.is_some();
    // The newest delivery has the number 1.
    assert!(is_new(Some(0)) && !is_new(Some(1)) && !is_new(Some(7)));
    // The page has just been opened.
    assert!(!is_new(None));
    assert_eq!(Listener::new(None, Some(&newest)).poll.to_string(), "/setup?since=1");
    assert_eq!(Listener::new(None, None).poll.to_string(), "/setup?since=0");
}

#[test]
fn a_certificate_that_expires_soon_is_a_warning() {
    let day = 86_400;
    let row = |expires_at| {
        let certificate =
            CertificateInfo { names: vec!["a".into()], expires_at, is_self_signed: false };
        let row = certificate_row(Some(certificate), Millis::saturating(100 * day * 1000)).unwrap();
        (row.left, row.is_late)
    };
    assert_eq!(row(121 * day), ("21 days left".into(), false));
    assert_eq!(row(121 * day - 1), ("20 days left".into(), true));
    assert_eq!(row(101 * day), ("1 day left".into(), true));
    assert_eq!(row(100 * day - 1), ("it has expired".into(), true));
    assert!(certificate_row(None, NOW).is_none());
}

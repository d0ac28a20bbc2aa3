//! Snapshots of every dialect of the samples, below `tests/snapshots`, and rules that hold for all of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use sha2::{Digest, Sha256};
use unicode_width::UnicodeWidthStr;

use super::super::config::LANGUAGES;
use super::super::flags::Flags;
use super::*;

fn now() -> Timestamp {
    "2026-05-19T14:28:00Z".parse().unwrap()
}

fn page(renderer: &Arc<Renderer>, flags: &Flags) -> Page {
    let page = Page::new(
        Arc::new(validate::sample(flags, Mode::Offline, now())),
        now(),
        renderer.into(),
        Prerender::DefaultLanguage,
    );
    page.finish();
    page
}

fn rendered<'p>(page: &'p Page, renderer: &Renderer, dialect: Dialect, tag: &str) -> &'p Stored {
    let language = renderer.tags.iter().position(|known| known == tag).unwrap();
    page.rendered(Variant { dialect, language, coding: Coding::Identity })
}

fn text_of(rendered: &Stored) -> &str {
    std::str::from_utf8(&rendered.body).unwrap()
}

/// Writes status, fields and body for a reviewer, without the parts that are the same on every page.
fn shown(rendered: &Stored) -> String {
    let mut fields: Vec<String> = rendered
        .rendered()
        .head
        .iter()
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
        .filter(|field| {
            !["content-length", "content-security-policy", "vary"].iter().any(|name| field.starts_with(name))
        })
        .collect();
    fields.sort();
    let body = match std::str::from_utf8(&rendered.body) {
        Ok(text) if !text.contains('\0') => without(&without(text, "style"), "script"),
        _ => rendered.body.escape_ascii().to_string(),
    };
    format!("{}\n{}\n\n{body}", rendered.status, fields.join("\n"))
}

/// Removes the page's version, which changes with every word of the config.
fn versionless(page: &Page, rendered: &Stored) -> String {
    shown(rendered).replace(&format!("{:016x}", page.version), "VERSION")
}

/// Removes the text of an inline part from a document.
fn without(html: &str, part: &str) -> String {
    let (open, close) = (format!("<{part}>"), format!("</{part}>"));
    let parts = html.split_once(&open).and_then(|(before, rest)| Some((before, rest.split_once(&close)?.1)));
    parts.map_or_else(|| html.to_owned(), |(before, after)| format!("{before}{open}…{close}{after}"))
}

#[test]
fn every_dialect_says_what_it_said_when_it_was_last_looked_at() {
    let renderer = Arc::new(Renderer::built_in());
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../../tests/snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for (name, flags) in
            [("bare", samples::bare()), ("full", samples::full(now())), ("worst", samples::worst(now()))]
        {
            let page = page(&renderer, &flags);
            for dialect in Dialect::ALL {
                let shown = versionless(&page, rendered(&page, &renderer, dialect, "en"));
                insta::assert_snapshot!(format!("{name}.{}", dialect.as_str()), shown);
            }
        }
        for tag in LANGUAGES.into_iter().skip(1) {
            let page = page(&renderer, &samples::full(now()));
            for dialect in [Dialect::Html, Dialect::Text, Dialect::Markdown] {
                let shown = versionless(&page, rendered(&page, &renderer, dialect, tag));
                insta::assert_snapshot!(format!("full.{}.{tag}", dialect.as_str()), shown);
            }
        }
        for maintenance in [false, true] {
            let name = if maintenance { "badge.maintenance" } else { "badge.open" };
            insta::assert_snapshot!(name, shown(renderer.badge(maintenance)));
        }
    });
}

#[test]
fn nothing_that_an_operator_writes_becomes_markup() {
    let renderer = Arc::new(Renderer::built_in());
    let page = page(&renderer, &samples::worst(now()));
    for tag in &renderer.tags {
        for dialect in [Dialect::Html, Dialect::Xml] {
            let document = text_of(rendered(&page, &renderer, dialect, tag));
            assert!(!document.contains("<script>alert") && !document.contains("<img src=x"), "{tag}");
            assert!(document.contains("&lt;script&gt;alert"), "{tag}");
        }
        for dialect in [Dialect::Problem, Dialect::Json] {
            let json: serde_json::Value =
                serde_json::from_slice(&rendered(&page, &renderer, dialect, tag).body).unwrap();
            assert_eq!(json["services"].as_array().map(Vec::len), Some(100));
            assert_eq!(json["steps"].as_array().map(Vec::len), Some(40));
        }
    }
}

/// Returns an element of XML as the member of JSON that it stands for (RFC 9457 appendix B): a list has items named `i`.
fn as_json(element: &xml::Element) -> serde_json::Value {
    let mut children = element.children.iter();
    if element.children.is_empty() {
        return element.text.clone().into();
    }
    if children.clone().all(|child| child.name == "i") {
        return children.map(as_json).collect();
    }
    let members: serde_json::Map<_, _> = children.by_ref().map(|child| (child.name.clone(), as_json(child))).collect();
    assert_eq!(members.len(), element.children.len(), "a member is written twice");
    members.into()
}

/// Returns a value with its numbers and truths as texts, since XML has no others.
fn in_texts(value: &serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), in_texts(value))).collect(),
        Value::Array(items) => items.iter().map(in_texts).collect(),
        Value::Number(_) | Value::Bool(_) => value.to_string().into(),
        Value::String(_) | Value::Null => value.clone(),
    }
}

#[test]
fn xml_and_json_carry_the_same_members_and_values() {
    let renderer = Arc::new(Renderer::built_in());
    let found = |model: PageModel| PageModel::new(model.content.after_a_problem(), now());
    let sample = |flags: &Flags| validate::sample(flags, Mode::Offline, now());
    for model in [
        sample(&samples::bare()),
        sample(&samples::brief(now())),
        sample(&samples::full(now())),
        sample(&samples::worst(now())),
        found(sample(&samples::full(now()))),
    ] {
        let page = Page::new(Arc::new(model), now(), Look::from(&renderer), Prerender::EveryLanguage);
        for tag in &renderer.tags {
            let root = xml::read(text_of(rendered(&page, &renderer, Dialect::Xml, tag))).unwrap();
            for dialect in [Dialect::Problem, Dialect::Json] {
                let json = serde_json::from_str(text_of(rendered(&page, &renderer, dialect, tag))).unwrap();
                assert_eq!(as_json(&root), in_texts(&json), "{tag}");
            }
            for dialect in [Dialect::Soap, Dialect::Soap12] {
                let root = xml::read(text_of(rendered(&page, &renderer, dialect, tag)));
                assert!(root.unwrap().name.ends_with(":Envelope"), "{tag}");
            }
        }
    }
}

#[test]
fn the_policy_names_the_inline_parts_of_every_page_and_nothing_else() {
    let renderer = Arc::new(Renderer::built_in());
    for flags in [samples::bare(), samples::brief(now()), samples::full(now()), samples::worst(now())] {
        let page = page(&renderer, &flags);
        for tag in &renderer.tags {
            let html = rendered(&page, &renderer, Dialect::Html, tag);
            let head = html.rendered().head;
            let policy = head["content-security-policy"].to_str().unwrap();
            let markup = markup::Markup::of(text_of(html));
            assert_eq!((markup.styles.len(), markup.scripts.len(), markup.refused.as_slice()), (1, 1, &[][..]));
            for part in markup.styles.iter().chain(&markup.scripts) {
                let hash = format!("'sha256-{}'", STANDARD.encode(Sha256::digest(part.as_bytes())));
                assert!(policy.contains(&hash), "{policy}");
            }
            assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
        }
    }
}

#[test]
fn the_whole_page_is_small_once_it_is_compressed() {
    let renderer = Arc::new(Renderer::built_in());
    let page = page(&renderer, &samples::full(now()));
    for (language, tag) in renderer.tags.iter().enumerate() {
        let size = |coding| page.rendered(Variant { dialect: Dialect::Html, language, coding }).body.len();
        let [plain, gzip, brotli] = [Coding::Identity, Coding::Gzip, Coding::Brotli].map(size);
        println!("{tag}: {plain} bytes, {gzip} as gzip, {brotli} as br");
        assert!(gzip < 14_000 && brotli < gzip, "{tag}: {gzip} and {brotli} bytes");
    }
}

#[test]
fn a_compressed_page_is_the_page() {
    let renderer = Arc::new(Renderer::built_in());
    let page = page(&renderer, &samples::full(now()));
    for (language, _) in renderer.tags.iter().enumerate() {
        for dialect in Dialect::ALL {
            let coded = |coding| page.rendered(Variant { dialect, language, coding });
            let plain = &coded(Coding::Identity).body;
            let unpacked = |rendered: &Stored| {
                let mut bytes = Vec::new();
                match rendered.rendered().head.get("content-encoding").map(|coding| coding.to_str().unwrap()) {
                    Some("br") => drop(brotli::BrotliDecompress(&mut &rendered.body[..], &mut bytes)),
                    Some("gzip") => {
                        drop(std::io::copy(&mut flate2::read::GzDecoder::new(&rendered.body[..]), &mut bytes))
                    }
                    _ => bytes.extend_from_slice(&rendered.body),
                }
                bytes
            };
            for coding in [Coding::Gzip, Coding::Brotli] {
                assert_eq!(unpacked(coded(coding)), *plain, "{dialect:?}");
            }
        }
    }
}

#[test]
fn a_prepared_head_is_that_of_the_answer_with_places_for_the_fields_of_a_request() {
    let renderer = Arc::new(Renderer::built_in());
    let page = page(&renderer, &samples::full(now()));
    for dialect in Dialect::ALL {
        for coding in [Coding::Identity, Coding::Brotli] {
            let stored = page.rendered(Variant { dialect, language: 0, coding });
            let (prepared, rendered) = (stored.prepared().head, stored.rendered().head);
            let added = ["x-request-id", "proxy-status", "retry-after", "x-should-retry"];
            let added = if stored.status == StatusCode::SERVICE_UNAVAILABLE { &added[..] } else { &added[..2] };
            let names: Vec<_> = prepared.keys().filter(|name| !rendered.contains_key(*name)).collect();
            assert_eq!(names, added, "{dialect:?}");
            assert_eq!(prepared.len(), rendered.len() + added.len(), "{dialect:?}");
            assert_eq!(prepared.get("content-encoding"), rendered.get("content-encoding"), "{dialect:?}");
        }
    }
}

#[test]
fn text_keeps_to_80_columns_and_cuts_no_word() {
    let renderer = Arc::new(Renderer::built_in());
    for flags in [samples::bare(), samples::brief(now()), samples::full(now())] {
        let page = page(&renderer, &flags);
        for tag in &renderer.tags {
            let wide: Vec<&str> = text_of(rendered(&page, &renderer, Dialect::Text, tag))
                .lines()
                .filter(|line| line.width() > 80)
                .collect();
            assert!(wide.is_empty(), "{tag}: {wide:#?}");
            let cut = text_of(rendered(&page, &renderer, Dialect::Text, tag)).lines().find(|line| line.contains('…'));
            assert_eq!(cut, None, "{tag}: a word is too long for its column");
        }
    }
}

#[test]
fn until_it_is_finished_a_page_is_there_uncompressed_in_the_languages_that_were_asked_for() {
    let renderer = Arc::new(Renderer::built_in());
    let variant = Variant { dialect: Dialect::Html, language: 1, coding: Coding::Brotli };
    let fields = |rendered: &Stored| {
        ["content-encoding", "content-language"].map(|name| rendered.rendered().head.get(name).cloned())
    };
    for (prerender, language) in [(Prerender::DefaultLanguage, "en"), (Prerender::EveryLanguage, "de")] {
        let model = Arc::new(validate::sample(&samples::full(now()), Mode::Offline, now()));
        let page = Page::new(model, now(), Look::from(&renderer), prerender);
        assert_eq!(fields(page.rendered(variant)), [None, language.parse().ok()]);
        let before = page.rendered(Variant { language: 0, ..variant }).body.clone();
        page.finish();
        assert_eq!(fields(page.rendered(variant)), [Some("br"), Some("de")].map(|value| value?.parse().ok()));
        assert_eq!(page.rendered(Variant { language: 0, coding: Coding::Identity, ..variant }).body, before);
    }
}

#[test]
fn the_built_in_templates_stand_every_trial_of_an_own_one() {
    let files =
        TEMPLATES.map(|(name, text)| Source { name: name.to_owned(), path: name.to_owned(), text: text.to_owned() });
    let sources = Sources { files: files.into(), logo: None };
    let (renderer, problems) = Renderer::new(&super::super::config::PageConfig::default(), &sources, "backsoon.toml");
    assert!(renderer.is_some() && problems.is_empty(), "{problems:#?}");
}

#[test]
fn an_own_template_of_the_site_is_tried_with_every_kind_of_page() {
    for (name, text, line, said) in [
        ("site.html", "<title>x</title>\n{{ incident.stage }}", 2, "undefined"),
        ("site.html", "<title>x</title>\n\n{% for one in past %}{{ one.tittle.x }}{% endfor %}", 3, "undefined"),
        ("site.txt", "a\n{{ nothing.known }}", 2, "undefined"),
        ("site.md", "{% for one in coming %}\n{{ t('no-such-key') }}\n{% endfor %}x", 2, "no-such-key"),
        ("site.txt", "{% if view == 'subscribe' %}{% else %}x{% endif %}", 0, "renders nothing"),
    ] {
        let source = Source { name: name.to_owned(), path: format!("templates/{name}"), text: text.to_owned() };
        let sources = Sources { files: vec![source], logo: None };
        let config = super::super::config::PageConfig::default();
        let (renderer, problems) = Renderer::new(&config, &sources, "backsoon.toml");
        assert!(renderer.is_none(), "{text}");
        let [problem] = problems.as_slice() else { panic!("{text}: {problems:#?}") };
        let place = problem.place.as_ref().map_or(0, |place| place.line);
        assert_eq!((problem.file.as_str(), place), (format!("templates/{name}").as_str(), line), "{problem:#?}");
        assert!(format!("{problem:?}").contains(said), "{said}: {problem:#?}");
    }
}

/// A page that passed its trial may still fail with more content than the trial had. Then the built-in one is shown,
/// whole.
#[test]
fn where_an_own_template_fails_in_earnest_the_built_in_one_is_shown() {
    let text = "{% if services|length > 100 %}{{ 1 // 0 }}{% endif %}<title>Own</title><script>own()</script>";
    let source = Source { name: "page.html".to_owned(), path: "page.html".to_owned(), text: text.to_owned() };
    let sources = Sources { files: vec![source], logo: None };
    let (renderer, problems) = Renderer::new(&super::super::config::PageConfig::default(), &sources, "backsoon.toml");
    let renderer = Arc::new(renderer.unwrap_or_else(|| panic!("{problems:?}")));
    let mut flags = samples::worst(now());
    let html = |flags: &Flags| rendered(&page(&renderer, flags), &renderer, Dialect::Html, "en").clone();
    assert!(text_of(&html(&flags)).contains("<script>own()"));
    let one = flags.windows[0].services[0].clone();
    flags.windows[0].services.push(one);
    let built_in = Arc::new(Renderer::built_in());
    let expected =
        rendered(&page(&built_in, &flags), &built_in, Dialect::Html, "en").rendered().head["content-security-policy"]
            .clone();
    let shown = html(&flags);
    assert!(text_of(&shown).starts_with("<!doctype html>"));
    assert_eq!(shown.rendered().head["content-security-policy"], expected);
}

/// Creates a renderer with one own file.
fn tried(name: &str, text: &str) -> (bool, String) {
    let source = Source { name: name.to_owned(), path: format!("pages/{name}"), text: text.to_owned() };
    let sources = Sources { files: vec![source], logo: None };
    let (renderer, problems) = Renderer::new(&super::super::config::PageConfig::default(), &sources, "backsoon.toml");
    (renderer.is_some(), problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n"))
}

#[test]
fn what_is_wrong_with_a_template_is_told_with_its_place() {
    let mut told = String::new();
    for (what, name, text) in [
        ("a misspelt field", "page.html", "<h1>{{ title }}</h1>\n<p>{{ sumary }}</p>\n"),
        ("a field of nothing", "facts.html", "<p>{{ impact.level }}</p>\n"),
        ("a tag left open", "page.txt", "{{ title }}\n{% if summary %}\n"),
        ("an unknown message", "actions.html", "\n\n<a href=\"\">{{ t(\"chekc-again\") }}</a>"),
        (
            "a loop without end",
            "page.html",
            "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}",
        ),
        ("an unknown template", "page.html", "{% include \"head.html\" %}"),
        (
            "what cannot be fetched",
            "page.html",
            "<title>x</title><h1>{{ title }}</h1><img src=\"logo.png\"><style>a{color:red}</style>",
        ),
        ("a page without a title", "page.html", "<h1>{{ title }}</h1>"),
        ("a file that was emptied", "page.txt", "\n"),
        ("a file that no page includes", "pag.html", "x"),
    ] {
        let (taken, problems) = tried(name, text);
        told += &format!("## {what}: {}\n{problems}\n\n", if taken { "taken" } else { "refused" });
    }
    insta::assert_snapshot!(told);
}

/// A stack overflow ends the process, and the live pages must outlive any template.
#[test]
fn no_template_is_too_deep() {
    let sum = format!("{{{{ 1{} }}}}", "+1".repeat(2000));
    let elif = format!("{{% if false %}}{}{{% endif %}}", "{% elif false %}x".repeat(7000));
    let nested = format!("{}{}", "{% if true %}".repeat(4000), "{% endif %}".repeat(4000));
    let brackets = format!("{{{{ {}1{} }}}}", "(".repeat(2000), ")".repeat(2000));
    let minus = format!("{{{{ {}1 }}}}", "-".repeat(4000));
    let filters = format!("{{{{ title{} }}}}", "|upper".repeat(600));
    let calls = format!("{{{{ title{} }}}}", ".a".repeat(2000));
    // The controller does the same.
    let validate = std::thread::Builder::new().stack_size(STACK_FOR_TEMPLATES).spawn(move || {
        for text in [sum, elif, nested, brackets, minus, filters, calls] {
            tried("page.html", &text);
        }
    });
    validate.unwrap().join().unwrap();
    for (longest, text) in
        [("a tag of", format!("{{{{ 1{} }}}}", "+1".repeat(4000))), ("the template has", "{{ title }}".repeat(20_000))]
    {
        let (taken, problems) = tried("page.html", &text);
        assert!(!taken && problems.contains(longest), "{problems}");
    }
}

/// Renders every built-in template for programs, or one of the operator's.
fn with_programs(names: &[&str], own: Option<(&str, &str)>) -> (Option<Renderer>, String) {
    let programs = names.iter().map(|name| (*name).to_owned()).collect();
    let config = super::super::config::PageConfig { programs, ..Default::default() };
    let file = own.map(|(name, text)| Source {
        name: format!("programs/{name}"),
        path: format!("pages/programs/{name}"),
        text: text.to_owned(),
    });
    let sources = Sources { files: file.into_iter().collect(), logo: None };
    let (renderer, problems) = Renderer::new(&config, &sources, "backsoon.toml");
    (renderer, problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n"))
}

#[test]
fn every_template_for_programs_can_be_read_whatever_there_is_to_say() {
    let names = forms::BUILT_IN.map(|(name, _)| name);
    let (renderer, problems) = with_programs(&names, None);
    let renderer = Arc::new(renderer.unwrap_or_else(|| panic!("{problems}")));
    let mut shown = String::new();
    for (sample, flags) in [
        ("bare", samples::bare()),
        ("brief", samples::brief(now())),
        ("full", samples::full(now())),
        ("worst", samples::worst(now())),
    ] {
        let page = page(&renderer, &flags);
        for (index, name) in names.iter().enumerate() {
            for language in 0..renderer.tags.len() {
                let variant = Variant { dialect: Dialect::Json, language, coding: Coding::Brotli };
                let text = text_of(page.program(index, variant));
                let format = super::super::config::ProgramFormat::of(name).unwrap();
                assert_eq!(forms::fault(format, text), None, "{name} {sample}");
                assert!(!text.contains("urn:ietf:rfc:7807"), "{name} {sample}: the template was not taken");
                if sample == "brief" && language == 0 {
                    shown += &format!("## {name}\n{}\n", self::shown(page.program(index, variant)));
                }
            }
        }
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn what_is_wrong_with_a_template_for_programs_is_told() {
    let mut told = String::new();
    for (what, name, text) in [
        ("quotes of its own", "own.json", "{\"message\": \"{{ title }}\"}"),
        ("a comma too many", "own.json", "{\n\"services\": [{% for s in services %}{{ s.name }},{% endfor %}]}"),
        ("a misspelt field", "own.json", "{\"message\":\n{{ tilte }}}"),
        ("what may be unknown", "own.json", "{\"until\": {{ until.iso }}}"),
        ("nothing", "own.json", "{# later #}"),
        ("a tag that is not closed", "own.xml", "<Error><Message>{{ title }}</Error>"),
        ("an ampersand", "own.xml", "<Error>R & D</Error>"),
        ("a good one", "own.json", "{\"m\": {{ title ~ \" \" ~ summary }}, \"u\": {{ until.iso if until else none }}}"),
    ] {
        let (renderer, problems) = with_programs(&[name], Some((name, text)));
        let outcome = if renderer.is_some() { "taken" } else { "refused" };
        told += &format!("## {what}: {outcome}\n{problems}\n\n");
    }
    for name in ["opanai.json", "soap.xml"] {
        told += &format!("## no template {name}\n{}\n\n", with_programs(&[name], None).1);
    }
    insta::assert_snapshot!(told);
}

/// A template that passed its trial may still fail in earnest. A program must be able to read the answer all the same.
#[test]
fn where_a_template_for_programs_fails_in_earnest_the_problem_document_is_sent() {
    let text = "{\"m\": {{ title }}{% if services|length > 100 %},{% endif %}}";
    let (renderer, problems) = with_programs(&["own.json"], Some(("own.json", text)));
    let renderer = Arc::new(renderer.unwrap_or_else(|| panic!("{problems}")));
    let mut flags = samples::worst(now());
    let variant = Variant { dialect: Dialect::Problem, language: 0, coding: Coding::Identity };
    let sent = |flags: &Flags| -> serde_json::Value {
        serde_json::from_str(text_of(page(&renderer, flags).program(0, variant))).unwrap()
    };
    assert_eq!(sent(&flags).as_object().unwrap().len(), 1);
    let one = flags.windows[0].services[0].clone();
    flags.windows[0].services.push(one);
    assert_eq!(sent(&flags)["type"], "urn:backsoon:maintenance");
}

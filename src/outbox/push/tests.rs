use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;

use super::super::address::Reach;
use super::super::lease::MayTell;
use super::super::post::Connector;
use super::super::sender::Sender;
use super::super::signature::Signer;
use super::super::store::Store;
use super::super::subscription::{Channel, Order, State};
use super::super::tests::{at, notice, order, tls};
use super::super::{chat, signature, store};
use super::*;

fn bytes(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

const P256DH: &str = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";

#[test]
fn the_example_of_rfc_8291_is_met() {
    let private = PrivateKey::from_private_key(&ECDH_P256, &bytes("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"));
    let once = Once { private: private.unwrap(), salt: bytes("DGv6ra1nlYgDCS1FRnbzlw").try_into().unwrap() };
    let keys = PushKeys::of_browser(P256DH, AUTH).unwrap();
    let sealed = seal::seal(&keys, b"When I grow up, I want to be a watermelon", &once).unwrap();
    let expected = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6Tl\
                    zAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN";
    assert_eq!(URL_SAFE_NO_PAD.encode(sealed), expected);
}

#[test]
fn keys_are_read_as_browsers_give_them_and_nothing_else_is() {
    let keys = PushKeys::of_browser(P256DH, &format!("{AUTH}==")).unwrap();
    assert_eq!(PushKeys::parse(&keys.to_text()), Some(keys));
    let short = &P256DH[..80];
    let compressed = format!("Ai{}", &P256DH[2..]);
    for (p256dh, auth) in [(P256DH, ""), ("", AUTH), (short, AUTH), (&compressed, AUTH), (P256DH, "$$$$"), (AUTH, AUTH)]
    {
        assert_eq!(PushKeys::of_browser(p256dh, auth), None, "{p256dh} {auth}");
    }
    assert_eq!(PushKeys::parse("whsec_AAAA"), None);
    // A point that is not on the curve has the right form.
    let off = URL_SAFE_NO_PAD.encode([&[4_u8][..], &[7; 64]].concat());
    let off = PushKeys::of_browser(&off, AUTH).unwrap();
    assert!(seal::seal(&off, b"x", &Once::new().unwrap()).is_err());
}

fn browser(url: &str) -> Subscription {
    Subscription {
        uid: crate::outbox::token::Uid::new(),
        id: 1,
        order: order(url),
        state: State::Active,
        secret: format!("{P256DH}.{AUTH}"),
        created: at("13:00:00"),
        failures: 0,
        last_error: None,
    }
}

#[test]
fn a_message_has_the_fields_that_push_services_ask_for() {
    let folder = tempfile::tempdir().unwrap();
    let vapid = Vapid::open(&folder.path().join(vapid::FILE)).unwrap();
    let notice = notice(1);
    let words = chat::words(&notice, "de");
    let words = Words { notice: &words, topic: notice.incident.key.as_str(), site: &notice.url };
    let message = message(&vapid, &browser("https://push.example.com/x"), words, at("14:00:00")).unwrap();
    let field = |name: &str| message.fields[name].to_str().unwrap();
    assert_eq!((field("content-encoding"), field("ttl"), field("urgency")), ("aes128gcm", "86400", "normal"));
    assert!(field("topic").len() <= 32 && field("topic").bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let (token, key) = field("authorization").strip_prefix("vapid t=").unwrap().split_once(", k=").unwrap();
    assert_eq!(key, vapid.public_key());
    let claims: serde_json::Value = serde_json::from_slice(&bytes(token.split('.').nth(1).unwrap())).unwrap();
    assert_eq!((&claims["aud"], &claims["sub"]), (&"https://push.example.com".into(), &notice.url.as_str().into()));
    assert_eq!(claims["exp"], at("14:00:00").as_second() + 12 * 3600);
}

#[test]
fn a_message_is_small_whatever_the_operator_writes() {
    let folder = tempfile::tempdir().unwrap();
    let vapid = Vapid::open(&folder.path().join(vapid::FILE)).unwrap();
    let mut notice = notice(1);
    notice.url = format!("https://example.com/{}", "\"".repeat(230));
    for piece in ["\"", "\\", "ä", "\u{0}", "\u{2028}", "😀", "\n"] {
        notice.tellings[0].title = piece.repeat(10_000);
        notice.tellings[0].paragraphs = vec![piece.repeat(100_000)];
        let words = chat::words(&notice, "en");
        let words = Words { notice: &words, topic: "t", site: "" };
        let message = message(&vapid, &browser("https://push.example.com/x"), words, at("14:00:00")).unwrap();
        assert!(message.body.len() < 3100, "{piece:?}: {}", message.body.len());
    }
}

#[test]
fn a_key_stays_is_private_and_a_wrong_one_is_left_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(vapid::FILE);
    let first = Vapid::open(&path).unwrap().public_key();
    assert_eq!(Vapid::open(&path).unwrap().public_key(), first);
    assert_eq!(bytes(&first).len(), 65);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    for wrong in ["", "nonsense", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
        std::fs::write(&path, wrong).unwrap();
        let error = Vapid::open(&path).unwrap_err().to_string();
        assert!(error.contains(".push-key has no private key of P-256 in PEM (PKCS#8): "), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), wrong);
    }
}

#[test]
fn an_answer_means_what_rfc_8030_says() {
    use Meaning::{Again, Gone, Refused, Taken};
    for (status, meaning) in [
        (201, Taken),
        (202, Taken),
        (404, Gone("404 Not Found".into())),
        (410, Gone("410 Gone".into())),
        (413, Refused("413 Payload Too Large".into())),
        (403, Again("403 Forbidden".into(), Some(Duration::from_secs(7)))),
        (429, Again("429 Too Many Requests".into(), Some(Duration::from_secs(7)))),
        (503, Again("503 Service Unavailable".into(), Some(Duration::from_secs(7)))),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let answer = Answer { status, retry_after: Some(Duration::from_secs(7)), body: Vec::new() };
        assert_eq!(super::meaning(&answer), meaning);
    }
}

/// The libraries that decrypt and verify know nothing of ours.
#[tokio::test]
async fn a_browser_that_is_not_ours_reads_the_message_and_one_that_has_left_is_not_told_again() {
    let claim = "a message read by a browser of `http_ece` and verified by `PyJWT` of PyPI";
    let python = std::env::var_os("BACKSOON_TEST_PYTHON").map(std::path::PathBuf::from).filter(|path| path.exists());
    let Some(python) = python else {
        eprintln!("SKIPPED: {claim}: BACKSOON_TEST_PYTHON names no Python; tests/all makes one");
        return;
    };
    let mut service = Command::new(python);
    service
        .args([concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/python/push_service.py"), "2"])
        .stdout(Stdio::piped());
    let mut service = service.spawn().unwrap();
    let mut lines = BufReader::new(service.stdout.take().unwrap()).lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        line
    });
    let browser = lines.next().expect("http_ece and PyJWT");
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join(store::FILE)).unwrap();
    let signer = Signer::open(&folder.path().join(signature::FILE)).unwrap();
    let vapid = Vapid::open(&folder.path().join(vapid::FILE)).unwrap();
    let public_key = vapid.public_key();
    let reach = Reach { allow_private: vec!["127.0.0.0/8".parse().unwrap()] };
    let mut sender = Sender::new(store, Connector::new(reach, tls()), signer).with_push(vapid);
    let secret = format!("{}.{}", browser["p256dh"].as_str().unwrap(), browser["auth"].as_str().unwrap());
    let now = Timestamp::now();
    let mut ids = Vec::new();
    for path in ["here", "gone"] {
        let url = format!("http://127.0.0.1:{}/{path}", browser["port"]);
        let order = Order { channel: Channel::Push, language: "de".to_owned(), ..order(&url) };
        let asked = now - Duration::from_secs(60);
        ids.push(sender.store().subscribe(&order, &secret, State::Active, asked).await.unwrap());
    }
    let mut fresh = notice(1);
    fresh.update.at = now;
    sender.record(&fresh, now).await.unwrap();
    sender.start(&super::super::stationery::Stationery::default(), MayTell::Yes, now).await.unwrap();
    while sender.is_busy() {
        sender.land(|| now).await;
        sender.settle(now).await.unwrap();
    }
    for seen in lines.by_ref().take(2) {
        assert_eq!(seen["payload"]["title"], "Datenbank: in progress", "{seen}");
        assert_eq!(seen["payload"]["body"], "Maintenance has begun.");
        assert_eq!(seen["payload"]["tag"], fresh.incident.key.as_str());
        assert_eq!(seen["fields"]["topic"], fresh.incident.key.as_str());
        assert_eq!((&seen["key"], &seen["claims"]["sub"]), (&public_key.as_str().into(), &fresh.url.as_str().into()));
    }
    assert!(service.wait().unwrap().success());
    let state = |one: Subscription| (one.state, one.last_error);
    assert_eq!(state(sender.store().find(ids[0]).await.unwrap().unwrap()), (State::Active, None));
    let gone = state(sender.store().find(ids[1]).await.unwrap().unwrap());
    assert_eq!(gone, (State::Disabled, Some("410 Gone".to_owned())));
}

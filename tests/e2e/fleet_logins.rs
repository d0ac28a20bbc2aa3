//! Logins at NATS: over TLS, by a password, by the seed of an nkey, and by a credentials file with a JWT.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::authority::Authority;
use crate::command::run;
use crate::nats::{Nats, NatsClient};
use crate::support::{Backsoon, LISTEN, Upstream, get, wait};

/// Key pair in the forms of nkeys.
struct Nkey {
    pair: Ed25519KeyPair,
    public: String,
    seed: String,
}

impl Nkey {
    /// Makes a pair of a kind: `O` of an operator, `A` of an account, `U` of a user.
    fn new(kind: u8) -> Self {
        let mut raw = [0; 32];
        fastrand::fill(&mut raw);
        let pair = Ed25519KeyPair::from_seed_unchecked(&raw).unwrap();
        let kind = (kind - b'A') << 3;
        // `S`, in whose last three bits the kind begins.
        let seed = checked([&[(18 << 3) | (kind >> 5), kind << 3], raw.as_slice()].concat());
        let public = checked([&[kind], pair.public_key().as_ref()].concat());
        Self { pair, public, seed }
    }

    fn sign(&self, text: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.pair.sign(text.as_bytes()))
    }

    /// Signs what is said of a subject.
    fn jwt(&self, subject: &str, nats: &Value) -> String {
        let claims = json!({ "jti": subject, "iat": 1_700_000_000, "iss": self.public, "name": "tests", "sub": subject, "nats": nats });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let body = format!("{}.{}", part(&json!({ "typ": "JWT", "alg": "ed25519-nkey" })), part(&claims));
        format!("{body}.{}", self.sign(&body))
    }
}

/// Returns bytes with their CRC-16 in base 32.
fn checked(mut bytes: Vec<u8>) -> String {
    let step = |sum: u16| if sum & 0x8000 == 0 { sum << 1 } else { (sum << 1) ^ 0x1021 };
    let sum = bytes.iter().fold(0u16, |sum, &byte| (0..8).fold(sum ^ (u16::from(byte) << 8), |sum, _| step(sum)));
    bytes.extend(sum.to_le_bytes());
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect();
    let letter = |five: &[u8]| {
        let value = (0..5).fold(0, |value, at| value << 1 | five.get(at).unwrap_or(&0));
        char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[usize::from(value)])
    };
    bits.chunks(5).map(letter).collect()
}

fn creds(jwt: &str, seed: &str) -> String {
    format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

/// Directory with a config, whose login a test replaces.
struct Place {
    dir: tempfile::TempDir,
    upstream: Upstream,
    fleet: String,
}

impl Place {
    fn new(fleet: String) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), upstream: Upstream::ok(), fleet }
    }

    fn login(&self, login: &str) -> &Self {
        let fleet = format!("{}credentials = \"login\"\n", self.fleet);
        let config = format!("{LISTEN}[routes.web]\nupstream = \"{}\"\n{fleet}", self.upstream.url());
        std::fs::write(self.dir.path().join("backsoon.toml"), config).unwrap();
        std::fs::write(self.dir.path().join("login"), login).unwrap();
        self
    }

    fn is_taken(&self, login: &str) {
        self.login(login);
        run(self.dir.path(), &["on", "web"]).exits(0);
        run(self.dir.path(), &["off", "web"]).exits(0);
    }

    fn is_refused(&self, login: &str, why: &str) {
        self.login(login);
        run(self.dir.path(), &["on", "web"]).exits(69).complains(why);
        run(self.dir.path(), &["check"]).complains(why);
    }

    /// Starts a proxy with the login that was written last, and has it follow an edit.
    fn follows(self) {
        let config = std::fs::read_to_string(self.dir.path().join("backsoon.toml")).unwrap();
        let proxy = Backsoon::start_in(self.dir, &config);
        assert_eq!(get(proxy.address(), "/").status, 200);
        run(proxy.dir.path(), &["on", "web"]).exits(0);
        wait("the route to close", || get(proxy.address(), "/").status == 503);
    }
}

#[test]
fn passwords_and_seeds_are_taken_over_tls_and_wrong_ones_are_refused() {
    let Some(mut nats) = Nats::start("logins over TLS at NATS are not tried") else { return };
    nats.client().make_bucket();
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (user, other) = (Nkey::new(b'U'), Nkey::new(b'U'));
    authority.identity(&["127.0.0.1"]).write(nats.dir.path());
    let file = |name: &str| nats.dir.path().join(name);
    let tls = format!("tls {{ cert_file: {:?}, key_file: {:?} }}\n", file("cert.pem"), file("key.pem"));
    let users =
        format!("authorization {{ users = [{{ user: anna, password: secret }}, {{ nkey: {} }}] }}", user.public);
    nats.restart_with(&format!("{tls}{users}"));
    let place = Place::new(format!("[fleet]\nnats = \"tls://{}\"\nca = \"ca.pem\"\n", nats.address));
    let ca = |authority: &Authority| std::fs::write(place.dir.path().join("ca.pem"), authority.pem()).unwrap();
    ca(&authority);
    place.is_taken("anna:secret\n");
    place.is_taken(&user.seed);
    place.is_refused("anna:wrong", "Authorization Violation");
    place.is_refused(&other.seed, "Authorization Violation");
    ca(&stranger);
    place.login("anna:secret");
    run(place.dir.path(), &["on", "web"]).exits(69).complains("TLS: ").keeps_quiet_of("secret");
    ca(&authority);
    place.login(&user.seed);
    place.follows();
}

#[test]
fn a_credentials_file_is_taken_and_one_of_another_account_or_seed_is_refused() {
    let [operator, system, account, stranger] = [b'O', b'A', b'A', b'A'].map(Nkey::new);
    let (user, other) = (Nkey::new(b'U'), Nkey::new(b'U'));
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
        "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
    });
    let of_account = |account: &Nkey, limits: &Value| {
        operator.jwt(&account.public, &json!({ "type": "account", "version": 2, "limits": limits }))
    };
    let all = json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 });
    let none = json!({ "subs": -1, "data": -1, "payload": -1, "conn": -1, "leaf": -1, "imports": -1, "exports": -1, "wildcards": true });
    let more = format!(
        "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{ {}: {}, {}: {} }}",
        operator.jwt(&operator.public, &json!({ "type": "operator", "version": 2 })),
        system.public,
        system.public,
        of_account(&system, &none),
        account.public,
        of_account(&account, &limits),
    );
    let Some(nats) = Nats::with("credentials files at NATS are not tried", &more) else { return };
    let jwt = account.jwt(&user.public, &all);
    let login = |nonce: &str| json!({ "jwt": jwt, "sig": user.sign(nonce) }).to_string();
    NatsClient::answering(nats.address, login).make_bucket();
    let place = Place::new(nats.table());
    place.is_taken(&creds(&jwt, &user.seed));
    place.is_refused(&creds(&jwt, &other.seed), "Authorization Violation");
    place.is_refused(&creds(&stranger.jwt(&user.public, &all), &user.seed), "Authorization Violation");
    place.is_refused(&user.seed, "Authorization Violation");
    place.login(&creds(&jwt, &user.seed));
    place.follows();
}

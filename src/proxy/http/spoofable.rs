//! Spoofable fields: apps believe them because only a proxy in front should be able to send them.
//!
//! A client that sends one lies to the app: about its address, the scheme, the host, the certificate or the user. So
//! these fields are removed, unless the peer is in `trusted_proxies`. Fields that clients send about themselves
//! (`X-Requested-With`, `X-HTTP-Method-Override`, `X-User-Id`, tracing) are not among them.

/// A group of fields that the same programs believe. An entry that ends with `-` or `*` stands for all names with that
/// beginning.
type Group = &'static [&'static str];

/// All spoofable fields. To add a field, add it here.
const GROUPS: &[Group] = &[
    // Rack and Rails, Django, Laravel and Symfony, Spring, ASP.NET, Express, Tomcat, Jetty and PHP apps: the client, scheme,
    // host, port, path prefix (`X-Forwarded-*`, -Ssl, -Scheme, -Server) and whatever else begins like that, which covers
    // Envoy's and Traefik's certificates and oauth2-proxy's users. `Forwarded-For` and `X-Forwarded` are of PHP apps.
    &["forwarded*", "x-forward*"],
    // The client, as nginx names it: Go, Node and PHP apps, gunicorn's examples.
    &["x-real-"],
    // Rails (`Client-IP`, and a spoofing check with it), PHP apps, Azure App Service, Rackspace, IIS, Express apps.
    &[
        "client-ip",
        "x-client-ip",
        "x-cluster-client-",
        "x-proxyuser-",
        "x-originating-ip",
        "x-originally-forwarded-for",
    ],
    &["x-source-ip", "source-ip", "x-user-ip", "x-peer-ip", "x-custom-ip-authorization", "x-ip", "rlnclientipaddr"],
    // CGI's own variables with `HTTP_` before them; Kubernetes' authenticating proxy; Authelia; Django's RemoteUserMiddleware.
    &["remote-", "x-remote-"],
    // The client, as content delivery networks and load balancers name it: Akamai, Cloudflare (with Access' users),
    // Fastly, Fly.io, Imperva, DigitalOcean, Alibaba, Citrix, Sucuri, Vercel, Netlify, CloudFront.
    &["true-client-", "x-true-client-", "akamai-", "x-akamai-", "cf-", "cdn-src-ip", "cloudfront-", "do-connecting-ip"],
    &[
        "ali-cdn-",
        "cdn-real-ip",
        "fastly-",
        "fly-",
        "incap-",
        "ns-client-ip",
        "x-edge-ip",
        "x-nf-",
        "x-sucuri-",
        "x-vercel-",
    ],
    &["geoip-", "x-geoip-"],
    // Azure Front Door and App Service, Google App Engine, AWS.
    &["disguised-host", "was-default-hostname", "x-appengine-", "x-azure-", "x-waws-"],
    // Envoy and Istio: whether the request is internal, its address, its path and its time-outs. Linkerd: the same.
    &["l5d-", "x-envoy-"],
    // WebLogic's and WebSphere's plug-ins for Apache and IIS (WebSphere's begin with `$WS`, which is read as `-ws`), Java apps.
    &["-ws*", "proxy-client-ip", "wl-proxy-"],
    // The scheme: Rails, IIS and Exchange, WordPress and other PHP apps, Flask's recipes.
    &["front-end-https", "https", "x-https", "x-proto", "x-protocol", "x-scheme", "x-ssl", "x-url-scheme"],
    // The target: Symfony, Laminas and Zend, Drupal and IIS' rewriting; ASP.NET's middleware; nginx's subrequests for
    // authentication.
    &["x-original-", "x-override-url", "x-rewrite-"],
    // The host and the path prefix of an app: PHP and Java apps, Flask's recipes, gunicorn, Home Assistant.
    &["path-info", "script-name", "x-host", "x-http-host-override", "x-ingress-path", "x-script-name"],
    // Rack::Sendfile believes that nginx sent these about its files (CVE-2025-61780). The time that a request has
    // queued (Puma, Rails).
    &["x-accel-", "x-sendfile-type", "x-queue-start", "x-request-start"],
    // Certificates that a proxy has checked: Tomcat's SSLValve, ASP.NET, ingress-nginx, RFC 9440, IIS ARR, AWS.
    &[
        "client-cert*",
        "ms-aspnetcore-",
        "ssl-",
        "x-amzn-mtls-",
        "x-arr-",
        "x-client-cert*",
        "x-client-dn",
        "x-client-s-dn",
    ],
    &["x-client-issuer*", "x-client-subject*", "x-client-verify", "x-peer-cert*", "x-ssl-", "x-tls-"],
    // Users that a proxy has let in: oauth2-proxy, authentik, Authelia, Grafana, Vouch, Pomerium, Kong, Tailscale, Teleport,
    // AWS, Azure, Google, mod_auth_openidc, Shibboleth, SiteMinder, WebSEAL, Oracle, WSO2, Replit, iisnode.
    &["iv-", "mellon-", "oam-", "oidc-", "osso-", "shib-", "sm-", "tailscale-", "teleport-jwt-assertion"],
    &[
        "x-amzn-oidc-",
        "x-auth-request-",
        "x-authelia-",
        "x-authenticated-",
        "x-authentik-",
        "x-goog-authenticated-user-",
    ],
    &[
        "x-anonymous-consumer",
        "x-consumer-",
        "x-credential-",
        "x-goog-iap-",
        "x-iisnode-",
        "x-jwt-assertion",
        "x-userinfo",
    ],
    &["x-apigateway-api-userinfo", "x-endpoint-api-userinfo", "x-ms-client-principal*", "x-ms-token-"],
    &["x-pomerium-", "x-replit-", "x-vouch-", "x-webauth-"],
];

/// Fields that must not come in disguise either, though they are not spoofable: the message's length and the request's
/// id.
pub(crate) const ALSO_PROTECTED: [&str; 4] = ["content-length", "transfer-encoding", "x-maintenance", "x-request-id"];

/// Endings of the names that other vendors use for the client's address.
const SUFFIXES: &[&str] =
    &["client-ip", "clientip", "connecting-ip", "real-ip", "remote-ip", "source-ip", "user-ip", "visitor-ip"];

/// Returns true if a name (in lower case) is that of a spoofable field.
pub(crate) fn is_spoofable(name: &str) -> bool {
    is_listed(name) || SUFFIXES.iter().any(|end| name.ends_with(end))
}

/// Returns false if a name's first two bytes and its ending exclude that it is, or may be read as, a spoofable field.
/// That is so for most names. Saves calls of [`is_spoofable`] and [`is_disguised`], which look at the whole name.
pub(crate) fn may_be_spoofable(name: &str) -> bool {
    let &[first, second, ..] = name.as_bytes() else { return false };
    BEGINNINGS[usize::from(first & LETTER)] & bit(second) != 0 || matches!(name.as_bytes(), [.., b'i', b'p'])
}

/// Looks up the last entry that does not sort after the name. Only that entry can be a prefix of the name, since no
/// entry is a prefix of another.
fn is_listed(name: &str) -> bool {
    let behind = SORTED.partition_point(|&(entry, _)| entry <= name);
    let last = behind.checked_sub(1).and_then(|at| SORTED.get(at));
    last.is_some_and(|&(entry, open)| if open { name.starts_with(entry) } else { name == entry })
}

/// Returns the form of a name under CGI, which does not tell apart bytes other than letters and digits (lighttpd).
pub(crate) fn cgi_form(name: &str) -> String {
    name.bytes().map(|byte| if is_odd(byte) { '-' } else { char::from(byte) }).collect()
}

/// Returns true if a name has odd bytes because its vendor writes it so: WebSphere, SiteMinder, mod_auth_openidc, Mellon
/// and SSLValve.
pub(crate) fn is_odd_by_design(name: &str) -> bool {
    ["$ws", "sm_", "oidc_", "mellon_", "ssl_"].iter().any(|begin| name.starts_with(begin))
}

/// Returns true if CGI changes a name, so that it may become that of another field.
pub(crate) fn is_disguised(name: &str) -> bool {
    name.bytes().any(is_odd)
}

const fn is_odd(byte: u8) -> bool {
    ODD[byte as usize]
}

const fn bit(byte: u8) -> u32 {
    1 << (byte & 31)
}

/// The bits that tell letters apart.
const LETTER: u8 = 31;

/// For each first byte, a bit set of the second bytes: of the names in [`GROUPS`] and [`ALSO_PROTECTED`], and of all that is
/// read as one.
const BEGINNINGS: [u32; 32] = {
    let mut table = [0; 32];
    let mut at = 0;
    while at < SORTED.len() + ALSO_PROTECTED.len() {
        let entry = if at < SORTED.len() { SORTED[at].0 } else { ALSO_PROTECTED[at - SORTED.len()] }.as_bytes();
        let (mut first, mut seconds, mut second) = (0, 0, 0);
        while second < 128 {
            seconds |= if is_read_as(second, entry[1]) { bit(second) } else { 0 };
            second += 1;
        }
        while first < 128 {
            table[(first & LETTER) as usize] |= if is_read_as(first, entry[0]) { seconds } else { 0 };
            first += 1;
        }
        at += 1;
    }
    table
};

/// Returns true if CGI reads a byte as the other one.
const fn is_read_as(byte: u8, other: u8) -> bool {
    byte == other || other == b'-' && is_odd(byte)
}

const ODD: [bool; 256] = {
    let mut table = [true; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = !(byte as u8).is_ascii_alphanumeric() && byte as u8 != b'-';
        byte += 1;
    }
    table
};

const COUNT: usize = {
    let (mut count, mut group) = (0, 0);
    while group < GROUPS.len() {
        count += GROUPS[group].len();
        group += 1;
    }
    count
};

/// All entries in order. The flag is true if the entry stands for all names with that beginning.
static SORTED: [(&str, bool); COUNT] = sorted();

const fn sorted() -> [(&'static str, bool); COUNT] {
    let mut table = [("", false); COUNT];
    let (mut filled, mut group) = (0, 0);
    while group < GROUPS.len() {
        let mut index = 0;
        while index < GROUPS[group].len() {
            let entry = parsed(GROUPS[group][index]);
            let mut at = filled;
            while at > 0 && is_before(entry.0.as_bytes(), table[at - 1].0.as_bytes()) {
                table[at] = table[at - 1];
                at -= 1;
            }
            table[at] = entry;
            filled += 1;
            index += 1;
        }
        group += 1;
    }
    table
}

const fn parsed(entry: &'static str) -> (&'static str, bool) {
    let (name, last) = entry.split_at(entry.len() - 1);
    match last.as_bytes()[0] {
        b'*' => (name, true),
        b'-' => (entry, true),
        _ => (entry, false),
    }
}

const fn is_before(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() {
        if one[at] != other[at] {
            return one[at] < other[at];
        }
        at += 1;
    }
    one.len() < other.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_found_and_none_is_the_beginning_of_another() {
        for (at, &(entry, open)) in SORTED.iter().enumerate() {
            assert!(is_spoofable(entry) && may_be_spoofable(entry), "{entry}");
            assert!(
                may_be_spoofable(&entry.replace('-', "_")) && may_be_spoofable(&entry.replace('-', "$")),
                "{entry}"
            );
            assert_eq!(is_spoofable(&format!("{entry}x")), open, "{entry}");
            assert_eq!(cgi_form(entry), entry);
            let inside = SORTED.iter().skip(at + 1).find(|(other, _)| open && other.starts_with(entry));
            assert_eq!(inside, None, "{entry} stands for it already");
            assert!(at == 0 || SORTED[at - 1].0 < entry, "{entry}");
        }
    }

    #[test]
    fn what_clients_say_for_themselves_is_none() {
        for name in [
            "host",
            "accept",
            "accept-encoding",
            "via",
            "te",
            "x",
            "",
            "cache-control",
            "client",
            "referer",
            "sec-fetch-site",
            "x-requested-with",
            "x-http-method-override",
            "x-client-version",
            "x-user-id",
            "x-access-token",
            "x-request-id",
            "x-amzn-trace-id",
            "cdn-loop",
            "device-ip",
            "zip",
            "x-zip",
        ] {
            assert!(!is_spoofable(name), "{name}");
        }
        assert!(
            is_spoofable("vendor-client-ip") && is_spoofable("x-vendor-clientip") && is_spoofable("x-forwardedfor")
        );
    }

    #[test]
    fn a_disguise_is_whatever_cgi_reads_as_a_hyphen() {
        for (name, read) in [("x_real-ip", "x-real-ip"), ("x.real~ip", "x-real-ip"), ("$wsra", "-wsra")] {
            assert!(is_disguised(name) && may_be_spoofable(name));
            assert_eq!(cgi_form(name), read);
            assert!(is_spoofable(read));
        }
        assert!(!is_disguised("x-real-ip1"));
        assert!(ALSO_PROTECTED.iter().all(|name| may_be_spoofable(&name.replace('-', "_")) && !is_spoofable(name)));
        assert!(may_be_spoofable("vendor_client_ip"));
        for usual in ["accept-encoding", "user-agent", "sec-fetch-site", "cache-control", "authorization", "origin"] {
            assert!(!may_be_spoofable(usual), "{usual} is worth no second look");
        }
    }
}

//! Every answer that the page can give, each by a route of its own in a state of its own.

use jiff::{SignedDuration, Timestamp};

use crate::support::{Backsoon, LISTEN, Upstream, ask_until, get, request, wait};

use super::story;

/// Names of the variants, which are their routes, too.
pub const VARIANTS: [&str; 11] =
    ["back", "late", "unknown", "read-only", "held", "checking", "returning", "problem", "announced", "open", "bare"];

/// Running proxy with a route for each variant.
pub struct Variants(Backsoon);

/// Variants whose route is open. A page of theirs is at their status alone, if there is one.
pub const OPEN: [&str; 2] = ["announced", "open"];

impl Variants {
    /// Starts the proxy, and returns once every route has come as far as its name says.
    pub fn start() -> Self {
        let upstream = Upstream::handling(|connection| {
            while let Some(request) = connection.request() {
                let broken = request.starts_with("GET /checking") || request.starts_with("GET /problem");
                let status = if broken { "500 Oh" } else { "200 OK" };
                connection.send(format!("HTTP/1.1 {status}\r\ncontent-length: 5\r\n\r\nhello"));
            }
        });
        let routes = VARIANTS.map(|name| {
            let policy = match name {
                "checking" => "verify = [{ get = \"/checking\", every = \"50ms\" }]\n",
                // So that nobody is let in while a test looks.
                "returning" => "ramp = [\"0.01% at 0s\", \"100% at 24h\"]\n",
                "problem" => "guard = { error_rate = \"5%\" }\n",
                _ => "",
            };
            format!("[routes.{name}]\npath = \"/{name}\"\nupstream = \"{}\"\ndrain = \"1ms\"\n{policy}", upstream.url())
        });
        let variants = Self(Backsoon::start(&format!("{LISTEN}{}{}{LANGUAGES}", routes.concat(), story::BRAND)));
        variants.bring_about();
        variants
    }

    /// Returns where a variant is to be seen: at its route, or beside it where that waits or answers itself.
    pub fn url(&self, name: &str) -> String {
        let beside = if ["held", "read-only"].contains(&name) || OPEN.contains(&name) { STATUS } else { "" };
        self.0.url(&format!("{beside}/{name}"))
    }

    /// Returns the names of those that have a page.
    pub fn shown(&self) -> Vec<&'static str> {
        let has_page = |name: &&str| {
            let answer = request(self.0.address(), &head(name, "connection: close\r\n"));
            answer.field("content-type").is_some_and(|kind| kind.starts_with("text/html"))
        };
        VARIANTS.into_iter().filter(has_page).collect()
    }

    fn bring_about(&self) {
        self.0.flag(&flags(""));
        for name in ["checking", "returning", "problem"] {
            wait("the routes to close", || self.0.route(name)["phase"] == "closed");
        }
        self.0.flag(&flags(&format!("ended = {}\n", Timestamp::now())));
        wait("the checks", || self.0.route("checking")["phase"] == "verifying");
        wait("the ramp", || self.0.route("returning")["phase"] == "ramping");
        ask_until("the guard", || {
            (0..10).for_each(|_| drop(get(self.0.address(), "/problem")));
            self.0.route("problem")["source"] == "guard"
        });
        for name in VARIANTS.iter().filter(|name| !OPEN.contains(name)) {
            story::finished(&self.0, &head(name, "accept-encoding: br\r\n"));
        }
    }
}

/// Returns the head of a request for the status page of a variant.
fn head(name: &str, more: &str) -> String {
    format!("GET {STATUS}/{name} HTTP/1.1\r\nhost: a\r\naccept: text/html\r\n{more}\r\n")
}

/// Languages that tests look at. Fewer pages are sooner finished.
const LANGUAGES: &str = "languages = [\"en\", \"ar\", \"ja\"]\n";

/// Path before that of a route, for its page.
const STATUS: &str = "/.backsoon/status";

/// Returns the flags of all variants. `over` ends the windows of those that are coming back.
fn flags(over: &str) -> String {
    let window = |name: &str, since: i64, more: &str, mode: &str| {
        let text = story::full_since(SignedDuration::from_mins(since));
        let text = text.replacen("MNT-2026-0519-a", &format!("MNT-{name}"), 1);
        text.replacen("routes   = { \"*\" = \"offline\" }", &format!("{more}routes = {{ {name} = \"{mode}\" }}"), 1)
    };
    let announced = format!(
        "[[windows]]\nid = \"MNT-announced\"\nstarts = {}\nends = {}\nannounce = \"48h\"\nroutes = {{ announced = \"offline\" }}\n",
        Timestamp::now() + SignedDuration::from_hours(20),
        Timestamp::now() + SignedDuration::from_hours(21),
    );
    let coming_back = ["checking", "returning", "problem"].map(|name| window(name, 28, over, "offline"));
    [
        window("back", 28, "", "offline"),
        window("late", 100, "on_overrun = \"stay\"\n", "offline"),
        window("read-only", 28, "", "read-only"),
        coming_back.concat(),
        announced,
        "[routes]\nheld = \"hold\"\nbare = \"offline\"\n".to_owned(),
        "[routes.unknown]\nmode = \"offline\"\nmessage = \"We are moving to another place.\"\n".to_owned(),
    ]
    .concat()
}

//! A browser under remote control: Debian's Chromium, Firefox or WebKit, each by the protocol of its own.
//!
//! The clients are our own, a dozen calls each. The crates for it bring second versions of `http`, `base64` and others
//! along, which `deny.toml` refuses.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::wait_for_page;
use crate::wire::skipped;

use super::classic::{chromium, webkit};
use super::firefox::{Firefox, Window};

/// Browser engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Chromium,
    Firefox,
    WebKit,
}

/// What a visitor has set up in the browser. WebKit takes it at its start alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Visitor {
    /// Name of a time zone, if it is not the machine's.
    pub zone: Option<&'static str>,
    pub scheme: Scheme,
    pub script: Script,
}

/// Colour scheme that the visitor prefers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    #[default]
    Light,
    Dark,
}

/// Whether pages run their scripts. The test's own always run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Script {
    #[default]
    Runs,
    Off,
}

impl Engine {
    /// Starts a browser, or reports which claim was not shown for lack of one.
    pub fn start(self, claim: &str) -> Option<Browser> {
        self.start_for(claim, Visitor::default())
    }

    /// Starts the browser of a certain visitor.
    pub fn start_for(self, claim: &str, visitor: Visitor) -> Option<Browser> {
        let missing: Vec<_> = self.needs().iter().filter(|command| find(command).is_none()).copied().collect();
        if !missing.is_empty() {
            skipped(&format!("{claim}, in {self:?}"), &format!("there is no {}", missing.join(" and no ")));
            return None;
        }
        let turn = Turn::take();
        let remote: Box<dyn Remote> = match self {
            Self::Chromium => Box::new(chromium(visitor)),
            Self::Firefox => Box::new(Window::open(&Firefox::shared(), visitor)),
            Self::WebKit => Box::new(webkit(visitor)),
        };
        Some(Browser { engine: self, remote, _turn: turn })
    }

    fn needs(self) -> &'static [&'static str] {
        match self {
            Self::Chromium => &["chromium", "chromedriver"],
            Self::Firefox => &["firefox-esr"],
            Self::WebKit => &["WebKitWebDriver", "Xvfb"],
        }
    }
}

/// What a protocol does. A window is open, and further ones can be opened.
pub trait Remote {
    /// Opens a page, and returns when it is loaded.
    fn go(&self, url: &str) -> Result<(), String>;
    /// Goes back by one page, as the button does.
    fn back(&self) -> Result<(), String>;
    /// Runs a script's body in the page and returns its result.
    fn run(&self, script: &str) -> Result<Value, String>;
    /// Awaits a promise and returns its value, or `failed: ` with the reason.
    fn promised(&self, promise: &str) -> Result<Value, String>;
    /// Clicks the visible element that a selector finds.
    fn click(&self, selector: &str) -> Result<(), String>;
    /// Opens a further window, which is the current one from now on.
    fn open(&self) -> Result<(), String>;
    /// Makes a window the current one, by its number in the order of their opening.
    fn switch(&self, window: usize) -> Result<(), String>;
    /// Hides the window, as one behind another tab is hidden.
    fn hide(&self) -> Result<(), String>;
    /// Shows it again.
    fn show(&self) -> Result<(), String>;
    /// Sets the width and height of the page's area.
    fn size(&self, width: u32, height: u32) -> Result<(), String>;
    /// Asks for a language, in every request from now on.
    fn speak(&self, language: &str) -> Result<(), String>;
    /// Prefers a colour scheme from now on.
    fn prefer(&self, scheme: Scheme) -> Result<(), String>;
    /// Runs a script in every document from now on, before its own.
    fn on_new_document(&self, script: &str) -> Result<(), String>;
    /// Returns a picture of the page's area, in PNG and Base64.
    fn picture(&self) -> Result<String, String>;
    /// Sends a command of the developer tools of Chromium.
    fn tool(&self, command: &str, parameters: &Value) -> Result<Value, String>;
    /// Returns the entries of a log of Chromium since the last call.
    fn log(&self, kind: &str) -> Result<Value, String>;
}

/// Browser of one test, with nothing left of another test. It ends with the test.
pub struct Browser {
    pub engine: Engine,
    remote: Box<dyn Remote>,
    /// Given back last, once the browser has ended.
    _turn: Turn,
}

/// Right to have a browser. Each is busy with several processes, and too many at once keep each other, and all other
/// tests, from being in time.
struct Turn;

impl Turn {
    /// Waits until few enough browsers run. A test that has several goes on after a while, so that none waits for ever.
    fn take() -> Self {
        let busy = BROWSERS.0.lock().unwrap_or_else(PoisonError::into_inner);
        let free = BROWSERS.1.wait_timeout_while(busy, LONGEST_TURN, |busy| *busy >= MOST_BROWSERS);
        *free.unwrap_or_else(PoisonError::into_inner).0 += 1;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *BROWSERS.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        BROWSERS.1.notify_one();
    }
}

/// Number of browsers that run.
static BROWSERS: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());
const MOST_BROWSERS: usize = 2;
const LONGEST_TURN: Duration = Duration::from_secs(120);

impl Browser {
    /// Starts Chromium, or reports which claim was not shown for lack of it.
    pub fn start(claim: &str) -> Option<Self> {
        Engine::Chromium.start(claim)
    }

    /// Opens a page, and returns when it is loaded.
    pub fn go(&self, url: &str) {
        self.remote.go(url).unwrap_or_else(|error| panic!("{url}: {error}"));
    }

    /// Goes back by one page.
    pub fn back(&self) {
        self.remote.back().unwrap();
    }

    /// Runs a script's body in the page and returns its result.
    pub fn run(&self, script: &str) -> Value {
        self.remote.run(script).unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Evaluates an expression.
    pub fn value(&self, expression: &str) -> Value {
        self.run(&format!("return {expression}"))
    }

    /// Evaluates an expression that must be text.
    pub fn text(&self, expression: &str) -> String {
        self.value(expression).as_str().unwrap_or_else(|| panic!("{expression} is no text")).to_owned()
    }

    /// Awaits a promise and returns its value.
    pub fn promised(&self, promise: &str) -> Value {
        self.remote.promised(promise).unwrap()
    }

    /// Waits until an expression is true, in whatever page is open by then.
    pub fn wait_for(&self, expression: &str) {
        let script = format!("return Boolean({expression})");
        wait_for_page(expression, || self.remote.run(&script) == Ok(Value::Bool(true)));
    }

    /// Clicks the visible element that a selector finds.
    pub fn click(&self, selector: &str) {
        self.remote.click(selector).unwrap_or_else(|error| panic!("{selector}: {error}"));
    }

    /// Opens a further window, and goes on in it.
    pub fn open(&self) {
        self.remote.open().unwrap();
    }

    /// Goes on in another window, by its number in the order of their opening.
    pub fn switch(&self, window: usize) {
        self.remote.switch(window).unwrap();
    }

    /// Hides the page as behind another tab.
    pub fn hide(&self) {
        self.remote.hide().unwrap();
        self.wait_for("document.hidden");
    }

    /// Shows the page again.
    pub fn show(&self) {
        self.remote.show().unwrap();
        self.wait_for("!document.hidden");
    }

    /// Sends a command of the developer tools (<https://chromedevtools.github.io/devtools-protocol/>), in Chromium.
    pub fn tool(&self, command: &str, parameters: &Value) -> Value {
        self.remote.tool(command, parameters).unwrap()
    }

    /// Runs a script in every document from now on, before its own.
    pub fn on_new_document(&self, script: &str) {
        self.remote.on_new_document(script).unwrap();
    }

    /// Asks for a language, in every request from now on.
    pub fn speak(&self, language: &str) {
        self.remote.speak(language).unwrap();
    }

    /// Prefers a colour scheme, `light` or `dark`.
    pub fn prefer(&self, scheme: &str) {
        let scheme = if scheme == "dark" { Scheme::Dark } else { Scheme::Light };
        self.remote.prefer(scheme).unwrap();
    }

    /// Sets the width and height of the window.
    pub fn size(&self, width: u32, height: u32) {
        self.remote.size(width, height).unwrap();
    }

    /// Returns a picture of what the window shows, in PNG.
    pub fn screen(&self) -> Vec<u8> {
        STANDARD.decode(self.remote.picture().unwrap()).unwrap()
    }

    /// Returns a picture of the whole page, at most `highest` pixels high, in PNG, in Chromium.
    pub fn picture(&self, highest: u64) -> Vec<u8> {
        // Scrollbars would be gone in the picture, along with the layout that had them.
        self.tool("Emulation.setScrollbarsHidden", &json!({ "hidden": true }));
        let area = self.tool("Page.getLayoutMetrics", &json!({}))["cssContentSize"].take();
        let height = area["height"].as_u64().unwrap().min(highest);
        let clip = json!({ "x": 0, "y": 0, "width": area["width"], "height": height, "scale": 1 });
        let picture = self.tool("Page.captureScreenshot", &json!({ "clip": clip, "captureBeyondViewport": true }));
        STANDARD.decode(picture["data"].as_str().unwrap()).unwrap()
    }

    /// Returns the printed page, in PDF, in Chromium.
    pub fn print(&self) -> Vec<u8> {
        let print = self.tool("Page.printToPDF", &json!({ "paperWidth": 8.27, "paperHeight": 11.69 }));
        STANDARD.decode(print["data"].as_str().unwrap()).unwrap()
    }

    /// Returns Chromium's console output since the last call: messages of the pages, and complaints of the browser.
    pub fn console(&self) -> Vec<String> {
        let entries = self.log("browser");
        entries.iter().map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
    }

    /// Returns every message of Chromium's developer tools since the last call.
    pub fn events(&self) -> Vec<Value> {
        let parse = |entry: &Value| -> Value { serde_json::from_str(entry["message"].as_str().unwrap()).unwrap() };
        self.log("performance").iter().map(|entry| parse(entry)["message"].take()).collect()
    }

    fn log(&self, kind: &str) -> Vec<Value> {
        self.remote.log(kind).unwrap().as_array().unwrap().clone()
    }
}

/// Program that ends with this, and also with a test run that is killed.
pub struct Kept(Child);

impl Kept {
    /// Starts a command with more in its environment, and returns what `find` finds in the lines that it prints.
    pub fn start<T>(
        command: &[&str],
        environment: &[(&str, &str)],
        find: impl Fn(&str) -> Option<T>,
    ) -> Result<(Self, T), String> {
        // It ends with our end of the shell's standard input, so also with a test run that is killed. The shell gives its
        // output away, so that a program that does not start is the end of it.
        let mut shell = Command::new("sh");
        shell.args(["-c", "\"$@\" 2>&1 & exec >&-; read -r _; kill $!; wait", "sh"]).args(command);
        shell.envs(environment.iter().copied());
        let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let kept = Self(child);
        let mut said = String::new();
        loop {
            let from = said.len();
            if !matches!(output.read_line(&mut said), Ok(1..)) {
                return Err(format!("{} ended: {said}", command[0]));
            }
            if let Some(found) = find(said[from..].trim_end()) {
                // A pipe that nobody empties would stop it some day.
                thread::spawn(move || output.read_to_end(&mut Vec::new()));
                return Ok((kept, found));
            }
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Finds a command like the shell.
pub fn find(command: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(command)).find(|file| file.is_file())
}

/// Makes a test of a function for every engine.
macro_rules! in_every_browser {
    ($($test:ident)*) => { $(
        mod $test {
            use crate::browser::driver::Engine;

            #[test]
            fn in_chromium() {
                super::$test(Engine::Chromium);
            }

            #[test]
            fn in_firefox() {
                super::$test(Engine::Firefox);
            }

            #[test]
            fn in_webkit() {
                super::$test(Engine::WebKit);
            }
        }
    )* };
}
pub(super) use in_every_browser;

/// Makes random delays short and constant. The first random number of a page is its name among the tabs.
pub const SHORT_DELAYS: &str =
    "const random = Math.random; let named; Math.random = () => named ? 0.1 : (named = true, random())";

/// Time for the slowest call: the start of a browser beside everything else in a test run.
pub const SLOWEST_CALL: Duration = Duration::from_secs(60);

/// Reports what a browser cannot be asked.
pub fn unable(engine: Engine, what: &str) -> Result<Value, String> {
    Err(format!("{engine:?} cannot {what}"))
}

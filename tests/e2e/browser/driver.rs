//! A browser under remote control: Debian's Chromium through its driver (<https://www.w3.org/TR/webdriver2/>).
//!
//! The client is our own, ten calls over plain HTTP. The crates for it bring second versions of `http`, `base64` and
//! others along, which `deny.toml` refuses.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::{Client, wait};
use crate::wire::skipped;

/// Driver of a test run, shared by all browsers. It ends with the last test that uses it, even if that test panics.
struct Driver {
    child: Child,
    address: SocketAddr,
}

impl Driver {
    fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Driver>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let driver = Arc::new(Self::start());
            *shared = Arc::downgrade(&driver);
            driver
        })
    }

    fn start() -> Self {
        // It ends with our end of the shell's standard input, so also with a test run that is killed. The shell gives its
        // output away, so that a driver that does not start is the end of it.
        let mut command = Command::new("sh");
        command.args(["-c", "chromedriver --port=0 & exec >&-; read -r _; kill $!; wait"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        let port = lines.find_map(|line| line.ok()?.strip_suffix('.')?.rsplit_once("on port ")?.1.parse().ok());
        Self { child, address: SocketAddr::from(([127, 0, 0, 1], port.expect("the driver says its port"))) }
    }

    /// Returns the result of a call, or the driver's error.
    fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let stream = TcpStream::connect(self.address).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(SLOWEST_CALL)).map_err(|error| error.to_string())?;
        let mut client = Client { stream: BufReader::new(stream) };
        let body = body.to_string();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.address);
        let length = if method == "POST" { body.len() } else { 0 };
        client.send(format!("{head}content-length: {length}\r\n\r\n{}", &body[..length]));
        let response = client.try_response().ok_or("the driver did not answer")?;
        let mut answer: Value = serde_json::from_str(&response.body).map_err(|error| error.to_string())?;
        let value = answer["value"].take();
        if response.status == 200 { Ok(value) } else { Err(format!("{}: {}", value["error"], value["message"])) }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Every browser has ended before, because each holds the driver.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Browser of one test, with nothing left of another test. It ends with the test.
pub struct Browser {
    driver: Arc<Driver>,
    session: String,
}

impl Browser {
    /// Starts a browser, or reports which claim was not shown for lack of one.
    pub fn start(claim: &str) -> Option<Self> {
        let (Some(chromium), Some(_)) = (find("chromium"), find("chromedriver")) else {
            skipped(claim, "there is no chromium with chromedriver");
            return None;
        };
        let driver = Driver::shared();
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "binary": chromium, "args": ARGUMENTS },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        } } });
        let session = driver.call("POST", "/session", &wanted).unwrap();
        let session = session["sessionId"].as_str().unwrap().to_owned();
        let browser = Self { driver, session };
        // Random delays become short and constant.
        browser.on_new_document("Math.random = () => 0.1");
        Some(browser)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        self.driver.call(method, &format!("/session/{}{path}", self.session), body)
    }

    /// Opens a page, and returns when it is loaded.
    pub fn go(&self, url: &str) {
        self.call("POST", "/url", &json!({ "url": url })).unwrap();
    }

    /// Runs a script's body in the page and returns its result.
    pub fn run(&self, script: &str) -> Value {
        self.try_run(script).unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    fn try_run(&self, script: &str) -> Result<Value, String> {
        self.call("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
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
        let script = format!("const done = arguments[0]; ({promise}).then(done, error => done(`failed: ${{error}}`))");
        self.call("POST", "/execute/async", &json!({ "script": script, "args": [] })).unwrap()
    }

    /// Waits until an expression is true, in whatever page is open by then.
    pub fn wait_for(&self, expression: &str) {
        let script = format!("return Boolean({expression})");
        wait(expression, || self.try_run(&script) == Ok(Value::Bool(true)));
    }

    /// Clicks the visible element that a selector finds.
    pub fn click(&self, selector: &str) {
        let found = self.call("POST", "/element", &json!({ "using": "css selector", "value": selector })).unwrap();
        let id = found[ELEMENT].as_str().unwrap();
        self.call("POST", &format!("/element/{id}/click"), &json!({})).unwrap();
    }

    /// Sends a command of the developer tools (<https://chromedevtools.github.io/devtools-protocol/>).
    pub fn tool(&self, command: &str, parameters: &Value) -> Value {
        self.call("POST", "/goog/cdp/execute", &json!({ "cmd": command, "params": parameters })).unwrap()
    }

    /// Runs a script in every document from now on, before its own.
    pub fn on_new_document(&self, script: &str) {
        self.tool("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": script }));
    }

    /// Asks for a language, in every request from now on.
    pub fn speak(&self, language: &str) {
        self.tool("Network.enable", &json!({}));
        self.tool("Network.setExtraHTTPHeaders", &json!({ "headers": { "Accept-Language": language } }));
    }

    /// Prefers a colour scheme, `light` or `dark`.
    pub fn prefer(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.tool("Emulation.setEmulatedMedia", &json!({ "media": "", "features": features }));
    }

    /// Sets the width and height of the window.
    pub fn size(&self, width: u32, height: u32) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.tool("Emulation.setDeviceMetricsOverride", &metrics);
    }

    /// Returns a picture of the whole page, at most `highest` pixels high, in PNG.
    pub fn picture(&self, highest: u64) -> Vec<u8> {
        // Scrollbars would be gone in the picture, along with the layout that had them.
        self.tool("Emulation.setScrollbarsHidden", &json!({ "hidden": true }));
        let area = self.tool("Page.getLayoutMetrics", &json!({}))["cssContentSize"].take();
        let height = area["height"].as_u64().unwrap().min(highest);
        let clip = json!({ "x": 0, "y": 0, "width": area["width"], "height": height, "scale": 1 });
        let picture = self.tool("Page.captureScreenshot", &json!({ "clip": clip, "captureBeyondViewport": true }));
        STANDARD.decode(picture["data"].as_str().unwrap()).unwrap()
    }

    /// Returns the printed page, in PDF.
    pub fn print(&self) -> Vec<u8> {
        let print = self.tool("Page.printToPDF", &json!({ "paperWidth": 8.27, "paperHeight": 11.69 }));
        STANDARD.decode(print["data"].as_str().unwrap()).unwrap()
    }

    /// Returns the console output since the last call: messages of the pages, and complaints of the browser.
    pub fn console(&self) -> Vec<String> {
        let entries = self.log("browser");
        entries.iter().map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
    }

    /// Returns every message of the developer tools since the last call.
    pub fn events(&self) -> Vec<Value> {
        let parse = |entry: &Value| -> Value { serde_json::from_str(entry["message"].as_str().unwrap()).unwrap() };
        self.log("performance").iter().map(|entry| parse(entry)["message"].take()).collect()
    }

    fn log(&self, kind: &str) -> Vec<Value> {
        let log = self.call("POST", "/se/log", &json!({ "type": kind })).unwrap();
        log.as_array().unwrap().clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.call("DELETE", "", &Value::Null);
    }
}

/// Finds a command like the shell.
fn find(command: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(command)).find(|file| file.is_file())
}

/// Arguments of the browser. Its pipe ends with the driver, and the browser with the pipe, however the driver ended.
const ARGUMENTS: [&str; 8] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
    "--window-size=1280,900",
];

/// Key of an element's id (<https://www.w3.org/TR/webdriver2/#elements>).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Time for the slowest call: the start of a browser beside everything else in a test run.
const SLOWEST_CALL: Duration = Duration::from_secs(60);

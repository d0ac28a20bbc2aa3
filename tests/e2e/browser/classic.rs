//! Chromium and WebKit by WebDriver (<https://www.w3.org/TR/webdriver2/>), through the driver that each comes with.

use std::cell::RefCell;
use std::io::BufReader;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::{Value, json};

use crate::support::{Client, wait};

use super::driver::{Engine, Kept, Remote, SHORT_DELAYS, SLOWEST_CALL, Scheme, Script, Visitor, find, unable};

/// Browser's session with its driver.
pub struct Classic {
    engine: Engine,
    driver: Arc<Driver>,
    session: String,
    windows: RefCell<Vec<String>>,
}

/// Starts Chromium. Its driver is shared by all tests.
pub fn chromium(visitor: Visitor) -> Classic {
    let capabilities = json!({
        "goog:chromeOptions": { "binary": find("chromium"), "args": CHROMIUM },
        "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
    });
    let classic = Classic::start(Engine::Chromium, Driver::chromium(), &capabilities);
    classic.on_new_document(SHORT_DELAYS).unwrap();
    if let Some(zone) = visitor.zone {
        classic.tool("Emulation.setTimezoneOverride", &json!({ "timezoneId": zone })).unwrap();
    }
    let off = json!({ "value": visitor.script == Script::Off });
    classic.tool("Emulation.setScriptExecutionDisabled", &off).unwrap();
    classic.prefer(visitor.scheme).unwrap();
    classic
}

/// Starts WebKit. Each has a driver and a screen of its own, since a driver has one browser.
pub fn webkit(visitor: Visitor) -> Classic {
    let mut arguments = vec!["--automation", "--full-screen"];
    if visitor.script == Script::Off {
        arguments.push("--enable-javascript=false");
    }
    if visitor.scheme == Scheme::Dark {
        arguments.push("--dark-mode");
    }
    let capabilities = json!({ "webkitgtk:browserOptions": { "binary": mini_browser(), "args": arguments } });
    let classic = Classic::start(Engine::WebKit, Arc::new(Driver::webkit(visitor)), &capabilities);
    classic.size(1280, 900).unwrap();
    classic
}

impl Classic {
    fn start(engine: Engine, driver: Arc<Driver>, capabilities: &Value) -> Self {
        let wanted = json!({ "capabilities": { "alwaysMatch": capabilities } });
        let session = driver.call("POST", "/session", &wanted).unwrap();
        let session = session["sessionId"].as_str().unwrap().to_owned();
        let classic = Self { engine, driver, session, windows: RefCell::default() };
        let first = classic.call("GET", "/window", &Value::Null).unwrap();
        classic.windows.borrow_mut().push(first.as_str().unwrap().to_owned());
        classic
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        self.driver.call(method, &format!("/session/{}{path}", self.session), body)
    }

    fn post(&self, path: &str, body: &Value) -> Result<(), String> {
        self.call("POST", path, body).map(drop)
    }
}

impl Remote for Classic {
    fn go(&self, url: &str) -> Result<(), String> {
        self.post("/url", &json!({ "url": url }))
    }

    fn back(&self) -> Result<(), String> {
        self.post("/back", &json!({}))
    }

    fn run(&self, script: &str) -> Result<Value, String> {
        self.call("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    fn promised(&self, promise: &str) -> Result<Value, String> {
        let script = format!("const done = arguments[0]; ({promise}).then(done, error => done(`failed: ${{error}}`))");
        self.call("POST", "/execute/async", &json!({ "script": script, "args": [] }))
    }

    fn click(&self, selector: &str) -> Result<(), String> {
        let found = self.call("POST", "/element", &json!({ "using": "css selector", "value": selector }))?;
        let id = found[ELEMENT].as_str().ok_or("an element without an id")?;
        self.post(&format!("/element/{id}/click"), &json!({}))
    }

    fn open(&self) -> Result<(), String> {
        let window = self.call("POST", "/window/new", &json!({ "type": "window" }))?;
        let handle = window["handle"].as_str().ok_or("a window without a handle")?.to_owned();
        self.windows.borrow_mut().push(handle);
        self.switch(self.windows.borrow().len() - 1)
    }

    fn switch(&self, window: usize) -> Result<(), String> {
        self.post("/window", &json!({ "handle": self.windows.borrow()[window] }))
    }

    fn hide(&self) -> Result<(), String> {
        self.post("/window/minimize", &json!({}))
    }

    fn show(&self) -> Result<(), String> {
        self.post("/window/rect", &json!({ "width": 1280, "height": 900 }))
    }

    fn size(&self, width: u32, height: u32) -> Result<(), String> {
        if self.engine == Engine::WebKit {
            return self.post("/window/rect", &json!({ "width": width, "height": height }));
        }
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.tool("Emulation.setDeviceMetricsOverride", &metrics).map(drop)
    }

    fn speak(&self, language: &str) -> Result<(), String> {
        self.tool("Network.enable", &json!({}))?;
        let headers = json!({ "headers": { "Accept-Language": language } });
        self.tool("Network.setExtraHTTPHeaders", &headers).map(drop)
    }

    fn prefer(&self, scheme: Scheme) -> Result<(), String> {
        let scheme = if scheme == Scheme::Dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.tool("Emulation.setEmulatedMedia", &json!({ "media": "", "features": features })).map(drop)
    }

    fn on_new_document(&self, script: &str) -> Result<(), String> {
        self.tool("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": script })).map(drop)
    }

    fn picture(&self) -> Result<String, String> {
        let picture = self.call("GET", "/screenshot", &Value::Null)?;
        picture.as_str().map(str::to_owned).ok_or_else(|| "no picture".to_owned())
    }

    fn tool(&self, command: &str, parameters: &Value) -> Result<Value, String> {
        if self.engine != Engine::Chromium {
            return unable(self.engine, command);
        }
        self.call("POST", "/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    fn log(&self, kind: &str) -> Result<Value, String> {
        self.call("POST", "/se/log", &json!({ "type": kind }))
    }
}

impl Drop for Classic {
    fn drop(&mut self) {
        let _ = self.call("DELETE", "", &Value::Null);
    }
}

/// Driver of browsers. It ends with the last browser that holds it, even if that one's test panics.
struct Driver {
    address: SocketAddr,
    _driver: Kept,
    _screen: Option<Kept>,
}

impl Driver {
    fn chromium() -> Arc<Self> {
        static SHARED: Mutex<Weak<Driver>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let port = |line: &str| line.strip_suffix('.')?.rsplit_once("on port ")?.1.parse().ok();
            // It wants the port that it got for one family of addresses in the other, too, where it may be taken.
            let mut tries = std::iter::repeat_with(|| Kept::start(&["chromedriver", "--port=0"], &[], port)).take(5);
            let (kept, port) = tries.find_map(Result::ok).expect("a driver that finds a port");
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            let driver = Arc::new(Self { address, _driver: kept, _screen: None });
            *shared = Arc::downgrade(&driver);
            driver
        })
    }

    fn webkit(visitor: Visitor) -> Self {
        let screen = ["Xvfb", "-displayfd", "1", "-screen", "0", "2600x2000x24", "-nolisten", "tcp"];
        let (screen, display) = Kept::start(&screen, &[], |line| line.parse::<u32>().ok()).unwrap();
        let display = format!(":{display}");
        // This driver does not choose a port. No other test is at this address, so a free port stays free.
        let address = TcpListener::bind("127.0.7.1:0").unwrap().local_addr().unwrap();
        let (host, port) = (format!("--host={}", address.ip()), format!("--port={}", address.port()));
        let environment =
            [("DISPLAY", display.as_str()), ("TZ", visitor.zone.unwrap_or("UTC")), ("GDK_BACKEND", "x11")];
        // It says nothing, so something else tells that it has begun.
        let command = ["sh", "-c", "echo begun; exec \"$@\"", "sh", "WebKitWebDriver", &host, &port];
        let (kept, ()) = Kept::start(&command, &environment, |_| Some(())).unwrap();
        wait("WebKit's driver to listen", || TcpStream::connect(address).is_ok());
        Self { address, _driver: kept, _screen: Some(screen) }
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

/// Returns the path of the browser that comes with WebKit's driver. Debian keeps it by architecture and version.
fn mini_browser() -> Option<String> {
    let found = |place: std::path::PathBuf| Some(std::fs::read_dir(place).ok()?.flatten().map(|entry| entry.path()));
    let versions = found("/usr/lib".into())?.filter_map(found).flatten();
    let browsers = versions.filter(|place| place.to_string_lossy().contains("/webkit2gtk-"));
    let mut browsers = browsers.map(|place| place.join("MiniBrowser")).filter(|file| file.is_file());
    browsers.next().map(|file| file.to_string_lossy().into_owned())
}

/// Arguments of Chromium. Its pipe ends with the driver, and the browser with the pipe, however the driver ended.
const CHROMIUM: [&str; 8] = [
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

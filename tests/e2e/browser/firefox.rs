//! Firefox by WebDriver BiDi (<https://w3c.github.io/webdriver-bidi/>), which it speaks itself.
//!
//! All tests share one Firefox. Each has a window of its own, in a context that shares no storage with others.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, mpsc};
use std::thread;

use serde_json::{Value, json};

use super::driver::{Engine, Kept, Remote, SHORT_DELAYS, SLOWEST_CALL, Scheme, Script, Visitor, unable};

/// Running Firefox. It ends with the last window.
pub struct Firefox {
    socket: Mutex<TcpStream>,
    calls: AtomicU64,
    waiting: Arc<Waiting>,
    /// Context of the browser's own window, whose scripts may set everything.
    chrome: String,
    _browser: Kept,
    _profile: tempfile::TempDir,
}

/// Calls without an answer so far, by their number.
type Waiting = Mutex<HashMap<u64, mpsc::Sender<Value>>>;

impl Firefox {
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Firefox>> = Mutex::new(Weak::new());
        let mut shared = locked(&SHARED);
        shared.upgrade().unwrap_or_else(|| {
            let firefox = Arc::new(Self::start());
            *shared = Arc::downgrade(&firefox);
            firefox
        })
    }

    fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        std::fs::write(profile.path().join("user.js"), PREFERENCES).unwrap();
        let place = profile.path().to_str().unwrap();
        let command = [&["firefox-esr", "--profile", place], ARGUMENTS.as_slice()].concat();
        let address = |line: &str| line.rsplit_once("BiDi listening on ws://")?.1.trim_end_matches('/').parse().ok();
        let (browser, address) = Kept::start(&command, &[("TZ", "UTC")], address).unwrap();
        let (socket, reader) = handshake(address);
        let waiting = Arc::new(Waiting::default());
        let answers = Arc::clone(&waiting);
        thread::spawn(move || receive(reader, &answers));
        let calls = AtomicU64::new(1);
        let mut firefox = Self {
            socket: Mutex::new(socket),
            calls,
            waiting,
            chrome: String::new(),
            _browser: browser,
            _profile: profile,
        };
        firefox.call("session.new", &json!({ "capabilities": {} })).unwrap();
        let tree = firefox.call("browsingContext.getTree", &json!({ "moz:scope": "chrome", "maxDepth": 0 })).unwrap();
        firefox.chrome = tree["contexts"][0]["context"].as_str().unwrap().to_owned();
        firefox
    }

    /// Returns the result of a command, or the browser's error.
    fn call(&self, method: &str, parameters: &Value) -> Result<Value, String> {
        let id = self.calls.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = mpsc::channel();
        locked(&self.waiting).insert(id, sender);
        let message = json!({ "id": id, "method": method, "params": parameters }).to_string();
        send(&mut locked(&self.socket), message.as_bytes()).map_err(|error| error.to_string())?;
        let mut answer = receiver.recv_timeout(SLOWEST_CALL).map_err(|_| format!("{method} got no answer"))?;
        if answer["type"] == "success" { Ok(answer["result"].take()) } else { Err(answer["message"].to_string()) }
    }

    /// Runs a function in a context and returns what it returns, or what it promises.
    fn run(&self, context: &str, function: &str) -> Result<Value, String> {
        let call = json!({
            "functionDeclaration": function,
            "target": { "context": context },
            "awaitPromise": true,
            "userActivation": false,
        });
        let answer = self.call("script.callFunction", &call)?;
        if answer["type"] == "exception" {
            return Err(answer["exceptionDetails"]["text"].to_string());
        }
        let text = answer["result"]["value"].as_str().ok_or("no text")?;
        serde_json::from_str(text).map_err(|error| error.to_string())
    }
}

/// Window of one test, and the further ones that it opens.
pub struct Window {
    firefox: Arc<Firefox>,
    user: String,
    windows: RefCell<Vec<String>>,
    current: RefCell<String>,
    visitor: Visitor,
}

impl Window {
    pub fn open(firefox: &Arc<Firefox>, visitor: Visitor) -> Self {
        let user = firefox.call("browser.createUserContext", &json!({})).unwrap();
        let user = user["userContext"].as_str().unwrap().to_owned();
        let window = Self {
            firefox: Arc::clone(firefox),
            user,
            windows: RefCell::default(),
            current: RefCell::default(),
            visitor,
        };
        Remote::open(&window).unwrap();
        window.on_new_document(SHORT_DELAYS).unwrap();
        window.size(1280, 900).unwrap();
        window
    }

    fn call(&self, method: &str, more: Value) -> Result<Value, String> {
        let mut parameters = json!({ "context": *self.current.borrow() });
        if let (Value::Object(all), Value::Object(more)) = (&mut parameters, more) {
            all.extend(more);
        }
        self.firefox.call(method, &parameters)
    }

    /// Sets a field of the tab's browsing context, which only the browser itself may do.
    fn set(&self, field: &str, value: &Value) -> Result<(), String> {
        let function = format!(
            "() => {{
                const {{ NavigableManager }} = ChromeUtils.importESModule('chrome://remote/content/shared/NavigableManager.sys.mjs');
                NavigableManager.getBrowsingContextById('{}').{field} = {value};
                return 'true';
            }}",
            self.current.borrow()
        );
        self.firefox.run(&self.firefox.chrome, &function).map(drop)
    }
}

impl Remote for Window {
    fn go(&self, url: &str) -> Result<(), String> {
        self.call("browsingContext.navigate", json!({ "url": url, "wait": "complete" })).map(drop)
    }

    fn back(&self) -> Result<(), String> {
        self.call("browsingContext.traverseHistory", json!({ "delta": -1 })).map(drop)
    }

    fn run(&self, script: &str) -> Result<Value, String> {
        let function = format!("() => JSON.stringify((() => {{ {script} }})() ?? null)");
        self.firefox.run(&self.current.borrow(), &function)
    }

    fn promised(&self, promise: &str) -> Result<Value, String> {
        let function = format!(
            "async () => JSON.stringify(await ({promise}).then(value => value ?? null, error => `failed: ${{error}}`))"
        );
        self.firefox.run(&self.current.borrow(), &function)
    }

    fn click(&self, selector: &str) -> Result<(), String> {
        self.run(&format!("document.querySelector('{selector}').scrollIntoView({{ block: 'center' }})"))?;
        let locator = json!({ "type": "css", "value": selector });
        let found = self.call("browsingContext.locateNodes", json!({ "locator": locator, "maxNodeCount": 1 }))?;
        let element = json!({ "type": "element", "element": { "sharedId": found["nodes"][0]["sharedId"] } });
        let moves = json!({ "type": "pointerMove", "x": 0, "y": 0, "origin": element });
        let (down, up) = (json!({ "type": "pointerDown", "button": 0 }), json!({ "type": "pointerUp", "button": 0 }));
        let pointer = json!({ "type": "pointer", "id": "mouse", "actions": [moves, down, up] });
        self.call("input.performActions", json!({ "actions": [pointer] })).map(drop)
    }

    fn open(&self) -> Result<(), String> {
        let wanted = json!({ "type": "window", "userContext": self.user });
        let window = self.firefox.call("browsingContext.create", &wanted)?;
        let context = window["context"].as_str().ok_or("a window without a context")?;
        self.windows.borrow_mut().push(context.to_owned());
        context.clone_into(&mut self.current.borrow_mut());
        if let Some(zone) = self.visitor.zone {
            let zone = json!({ "timezone": zone, "contexts": [context] });
            self.firefox.call("emulation.setTimezoneOverride", &zone)?;
        }
        if self.visitor.script == Script::Off {
            self.set("allowJavascript", &json!(false))?;
        }
        self.prefer(self.visitor.scheme)
    }

    fn switch(&self, window: usize) -> Result<(), String> {
        self.windows.borrow()[window].clone_into(&mut self.current.borrow_mut());
        Ok(())
    }

    fn hide(&self) -> Result<(), String> {
        let beside = json!({ "type": "tab", "userContext": self.user, "referenceContext": *self.current.borrow() });
        self.firefox.call("browsingContext.create", &beside).map(drop)
    }

    fn show(&self) -> Result<(), String> {
        self.call("browsingContext.activate", json!({})).map(drop)
    }

    fn size(&self, width: u32, height: u32) -> Result<(), String> {
        let viewport = json!({ "width": width, "height": height });
        self.call("browsingContext.setViewport", json!({ "viewport": viewport })).map(drop)
    }

    fn speak(&self, language: &str) -> Result<(), String> {
        let field = json!({ "name": "Accept-Language", "value": { "type": "string", "value": language } });
        let wanted = json!({ "headers": [field], "contexts": [*self.current.borrow()] });
        self.firefox.call("network.setExtraHeaders", &wanted).map(drop)
    }

    fn prefer(&self, scheme: Scheme) -> Result<(), String> {
        self.set("prefersColorSchemeOverride", &json!(if scheme == Scheme::Dark { "dark" } else { "light" }))
    }

    fn on_new_document(&self, script: &str) -> Result<(), String> {
        let wanted = json!({ "functionDeclaration": format!("() => {{ {script} }}"), "userContexts": [self.user] });
        self.firefox.call("script.addPreloadScript", &wanted).map(drop)
    }

    fn picture(&self) -> Result<String, String> {
        let picture = self.call("browsingContext.captureScreenshot", json!({}))?;
        picture["data"].as_str().map(str::to_owned).ok_or_else(|| "no picture".to_owned())
    }

    fn tool(&self, command: &str, _: &Value) -> Result<Value, String> {
        unable(Engine::Firefox, command)
    }

    fn log(&self, kind: &str) -> Result<Value, String> {
        unable(Engine::Firefox, kind)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // It closes the windows, too.
        let _ = self.firefox.call("browser.removeUserContext", &json!({ "userContext": self.user }));
    }
}

/// Opens a WebSocket (RFC 6455), and returns its writing and its reading side.
fn handshake(address: SocketAddr) -> (TcpStream, BufReader<TcpStream>) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    write!(
        stream,
        "GET /session HTTP/1.1\r\nhost: {address}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 101 "), "{line}");
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).unwrap();
    }
    (stream, reader)
}

/// Sends a message in one frame (RFC 6455 §5.2), its length in the shortest of three ways. Firefox refuses a
/// mask of zeros.
fn send(socket: &mut TcpStream, message: &[u8]) -> std::io::Result<()> {
    const TEXT: u8 = 0x81;
    const MASKED: u8 = 0x80;
    const MASK: [u8; 4] = *b"mask";
    let mut frame = vec![TEXT];
    if let Ok(length @ ..=125) = u8::try_from(message.len()) {
        frame.push(MASKED | length);
    } else if let Ok(length) = u16::try_from(message.len()) {
        frame.push(MASKED | 126);
        frame.extend(length.to_be_bytes());
    } else {
        frame.push(MASKED | 127);
        frame.extend((message.len() as u64).to_be_bytes());
    }
    frame.extend(MASK);
    frame.extend(message.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    socket.write_all(&frame)
}

/// Hands every answer to the call that waits for it, until the browser ends.
fn receive(mut reader: BufReader<TcpStream>, waiting: &Waiting) {
    let mut message = Vec::new();
    while let Some(last) = read_frame(&mut reader, &mut message) {
        if !last {
            continue;
        }
        if let Ok(answer) = serde_json::from_slice::<Value>(&message) {
            let caller = answer["id"].as_u64().and_then(|id| locked(waiting).remove(&id));
            caller.map(|caller| caller.send(answer));
        }
        message.clear();
    }
    // Whoever still waits is told by the end of the channel.
    locked(waiting).clear();
}

/// Reads a frame's content, and returns whether it is the last of a message. Returns `None` at the end of the stream.
fn read_frame(reader: &mut impl Read, message: &mut Vec<u8>) -> Option<bool> {
    let mut head = [0; 2];
    reader.read_exact(&mut head).ok()?;
    let mut length = u64::from(head[1]);
    let longer = match length {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    if longer > 0 {
        let mut bytes = [0; 8];
        reader.read_exact(&mut bytes[8 - longer..]).ok()?;
        length = u64::from_be_bytes(bytes);
    }
    reader.take(length).read_to_end(message).ok()?;
    Some(head[0] & 0x80 != 0)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const ARGUMENTS: [&str; 6] =
    ["--headless", "--no-remote", "--remote-debugging-port", "0", "--remote-allow-system-access", "about:blank"];

/// Preferences beyond those that Firefox sets for itself under remote control: it asks nobody for anything.
const PREFERENCES: &str = "\
    user_pref('dom.ipc.processCount.webIsolated', 1);\n\
    user_pref('dom.ipc.processPrelaunch.enabled', false);\n\
    user_pref('browser.sessionhistory.max_total_viewers', 4);\n\
    user_pref('network.dns.disablePrefetch', true);\n\
    user_pref('datareporting.policy.dataSubmissionEnabled', false);\n";

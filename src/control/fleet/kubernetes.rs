//! Kubernetes: the text is a key of a ConfigMap, which is listed and watched with the pod's service account.
//!
//! The API server may end a watch at any time, and an old revision makes a watch impossible (410). Both lead to a new list,
//! and so does the end of each watch, which comes within a minute.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::files::author::{self, Author};
use crate::files::source::Hash;
use crate::plan::config::{FleetKubernetes, HookScheme, HookUrl};

use super::http::{Answer, Client, bearer, wrong};
use super::outlet::Seen;
use super::{Document, FleetError, MOST_TEXT, Outlet, Revision, SignedText, Swapped};

/// API server, with the files by which we speak to it.
struct Cluster<'c> {
    config: &'c FleetKubernetes,
    url: HookUrl,
    ca: Option<PathBuf>,
    token: Option<PathBuf>,
}

/// End of a watch that was no failure.
enum WatchEnd {
    /// All is as usual: list again.
    Ended,
    /// A revision that goes back was seen: list again soon.
    Suspect,
}

/// Follows a ConfigMap until something fails.
pub(super) async fn follow(config: &FleetKubernetes, ca: Option<&Path>, outlet: &mut Outlet) -> FleetError {
    let cluster = match Cluster::of(config, ca) {
        Ok(cluster) => cluster,
        Err(error) => return error,
    };
    loop {
        let begun = Instant::now();
        let ended = match cluster.list(outlet).await {
            Ok(Some(version)) => cluster.watch(&version, outlet).await,
            Ok(None) => Ok(WatchEnd::Suspect),
            Err(error) => Err(error),
        };
        match ended {
            Ok(WatchEnd::Ended | WatchEnd::Suspect) => tokio::time::sleep_until(begun + LEAST_PAUSE).await,
            Err(error) => return error,
        }
    }
}

/// Reads a ConfigMap once.
pub(super) async fn read(config: &FleetKubernetes, ca: Option<&Path>) -> Result<Option<Document>, FleetError> {
    let cluster = Cluster::of(config, ca)?;
    Ok(cluster.get().await?.and_then(|object| document(&object, &config.key)))
}

/// Writes the text into the ConfigMap, unless somebody else has changed it since it was read.
pub(super) async fn swap(
    config: &FleetKubernetes,
    ca: Option<&Path>,
    before: Option<&Document>,
    SignedText { text, signature }: SignedText,
) -> Result<Swapped, FleetError> {
    let cluster = Cluster::of(config, ca)?;
    let version = match before {
        Some(before) => Some(before.revision.to_string()),
        // There may be a ConfigMap without the key.
        None => match cluster.get().await? {
            Some(object) if document(&object, &config.key).is_some() => return Ok(Swapped::Conflict),
            Some(object) => object["metadata"]["resourceVersion"].as_str().map(str::to_owned),
            None => None,
        },
    };
    let signature = signature.unwrap_or_default();
    let object = json!({
        "metadata": { "name": config.configmap, "annotations": { EDIT: signature }, "resourceVersion": version },
        "data": { &config.key: text },
    });
    let (method, target, kind) = match version {
        Some(_) => (Method::PATCH, cluster.object(), "application/merge-patch+json"),
        None => (Method::POST, cluster.collection(), "application/json"),
    };
    let mut request = cluster.request(method, &target)?;
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    *request.body_mut() = Bytes::from(object.to_string());
    let answer = cluster.client().send(request, PATIENCE).await?;
    match answer.head.status {
        status if status.is_success() => Ok(Swapped::Done),
        // Deleted or made by somebody else meanwhile.
        StatusCode::CONFLICT | StatusCode::NOT_FOUND => Ok(Swapped::Conflict),
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => Err(FleetError::ReadOnly(told(answer).await)),
        _ => Err(FleetError::Wrong(told(answer).await)),
    }
}

impl<'c> Cluster<'c> {
    /// Finds the API server: the config's, or that of the cluster that we run in.
    fn of(config: &'c FleetKubernetes, ca: Option<&Path>) -> Result<Self, FleetError> {
        if let Some(url) = &config.server {
            let (ca, token) = (ca.map(Path::to_owned), config.token_file.clone());
            return Ok(Self { config, url: url.clone(), ca, token });
        }
        let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let place = variable("KUBERNETES_SERVICE_HOST").zip(variable("KUBERNETES_SERVICE_PORT"));
        let Some((host, port)) = place.and_then(|(host, port)| Some((host, port.parse().ok()?))) else {
            let why = "this is no pod of a cluster: name the API server, `server = \"http://127.0.0.1:8001\"` for \
                       `kubectl proxy`";
            return Err(FleetError::Wrong(why.to_owned()));
        };
        let target = "/".parse().map_err(|error| wrong(&error))?;
        let url = HookUrl { scheme: HookScheme::Tls, host, port, target };
        let ca = Some(ca.map_or_else(|| Path::new(ACCOUNT).join("ca.crt"), Path::to_owned));
        let token = config.token_file.clone().unwrap_or_else(|| Path::new(ACCOUNT).join("token"));
        Ok(Self { config, url, ca, token: Some(token) })
    }

    fn client(&self) -> Client<'_> {
        Client::new(&self.url, self.ca.as_deref())
    }

    fn collection(&self) -> String {
        let base = self.url.target.path().trim_end_matches('/');
        format!("{base}/api/v1/namespaces/{}/configmaps", self.config.namespace)
    }

    fn object(&self) -> String {
        format!("{}/{}", self.collection(), self.config.configmap)
    }

    /// Returns a request with the token of the moment: it is replaced every hour.
    fn request(&self, method: Method, target: &str) -> Result<Request<Bytes>, FleetError> {
        let built = Request::builder().method(method).uri(target).body(Bytes::new());
        let mut request = built.map_err(|error| wrong(&error))?;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(file) = &self.token {
            request.headers_mut().extend([bearer(file)?]);
        }
        Ok(request)
    }

    /// Reads the ConfigMap; `None` if there is none.
    async fn get(&self) -> Result<Option<Value>, FleetError> {
        let answer = self.client().send(self.request(Method::GET, &self.object())?, PATIENCE).await?;
        match answer.head.status {
            StatusCode::OK => Ok(Some(parsed(&answer.whole(MOST_ANSWER).await?)?)),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(FleetError::Wrong(told(answer).await)),
        }
    }

    /// Lists the one ConfigMap, as a role with its name allows. Returns the version to watch from; `None` if what was
    /// found has to be seen once more.
    async fn list(&self, outlet: &mut Outlet) -> Result<Option<String>, FleetError> {
        let target = format!("{}?fieldSelector={}", self.collection(), self.selector());
        let answer = self.client().send(self.request(Method::GET, &target)?, PATIENCE).await?;
        if answer.head.status != StatusCode::OK {
            return Err(FleetError::Wrong(told(answer).await));
        }
        let list = parsed(&answer.whole(MOST_ANSWER).await?)?;
        let seen = self.tell(list["items"].get(0), outlet);
        let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        Ok((seen == Seen::Taken).then(|| version.to_owned()))
    }

    fn selector(&self) -> String {
        format!("metadata.name%3D{}", self.config.configmap)
    }

    fn tell(&self, object: Option<&Value>, outlet: &mut Outlet) -> Seen {
        outlet.tell(object.and_then(|object| document(object, &self.config.key)))
    }

    /// Watches from a version until the watch ends.
    async fn watch(&self, version: &str, outlet: &mut Outlet) -> Result<WatchEnd, FleetError> {
        let lasts = LASTS + fastrand::u64(..LASTS_SPREAD);
        let target = format!(
            "{}?watch=1&allowWatchBookmarks=true&fieldSelector={}&resourceVersion={version}&timeoutSeconds={lasts}",
            self.collection(),
            self.selector()
        );
        let begun = Instant::now();
        let mut answer = self.client().send(self.request(Method::GET, &target)?, PATIENCE).await?;
        match answer.head.status {
            StatusCode::OK => {}
            StatusCode::GONE => return Ok(WatchEnd::Ended),
            _ => return Err(FleetError::Wrong(told(answer).await)),
        }
        let mut ahead = Vec::new();
        // A server that says nothing beyond the time that it was given is a connection that nobody has told us is dead.
        while let Some(left) = (Duration::from_secs(lasts) + GRACE).checked_sub(begun.elapsed()) {
            let Some(piece) = answer.piece(left).await? else { return Ok(WatchEnd::Ended) };
            ahead.extend_from_slice(&piece);
            while let Some(end) = ahead.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = ahead.drain(..=end).collect();
                if let Some(end) = self.take(&parsed(&line)?, outlet)? {
                    return Ok(end);
                }
            }
            if ahead.len() > MOST_ANSWER {
                return Err(FleetError::Wrong("an event of the watch has no end".to_owned()));
            }
        }
        Err(FleetError::Wrong("the watch of the ConfigMap has fallen silent".to_owned()))
    }

    /// Takes an event of the watch. Returns the end of the watch, if it is over.
    fn take(&self, event: &Value, outlet: &mut Outlet) -> Result<Option<WatchEnd>, FleetError> {
        let object = &event["object"];
        let seen = match event["type"].as_str().unwrap_or_default() {
            "ADDED" | "MODIFIED" => self.tell(Some(object), outlet),
            "DELETED" => self.tell(None, outlet),
            "BOOKMARK" => {
                outlet.confirmed();
                Seen::Taken
            }
            "ERROR" if object["code"] == 410 => return Ok(Some(WatchEnd::Ended)),
            _ => return Err(FleetError::Wrong(message(object))),
        };
        Ok((seen == Seen::Suspect).then_some(WatchEnd::Suspect))
    }
}

/// Returns the text of a ConfigMap, if it has the key.
fn document(object: &Value, key: &str) -> Option<Document> {
    let text = object["data"].get(key)?.as_str()?;
    let metadata = &object["metadata"];
    let version = metadata["resourceVersion"].as_str().unwrap_or_default();
    let revision = version.parse().map_or_else(|_| Revision::Tag(version.to_owned()), Revision::Number);
    let signature = metadata["annotations"][EDIT].as_str().unwrap_or_default();
    let by = author::signed(signature.as_bytes(), Hash::of(text.as_bytes())).or_else(|| manager(metadata));
    Some(Document { text: Bytes::copy_from_slice(text.as_bytes()), revision, by })
}

/// Returns the program that changed an object last, such as `kubectl-edit`.
fn manager(metadata: &Value) -> Option<Author> {
    let managers = metadata["managedFields"].as_array()?.iter();
    let last = managers.max_by_key(|manager| manager["time"].as_str().unwrap_or_default().to_owned())?;
    Some(Author::Tool { tool: last["manager"].as_str()?.chars().take(100).collect() })
}

fn parsed(bytes: &[u8]) -> Result<Value, FleetError> {
    serde_json::from_slice(bytes).map_err(|error| wrong(&error))
}

/// Returns an answer that is no success in words.
async fn told(answer: Answer) -> String {
    let status = answer.head.status;
    let body = answer.whole(MOST_TEXT).await.unwrap_or_default();
    let words = serde_json::from_slice(&body).map(|object| message(&object)).unwrap_or_default();
    if words.is_empty() { format!("answered {status}") } else { format!("answered {status}: {words}") }
}

fn message(object: &Value) -> String {
    object["message"].as_str().unwrap_or_default().chars().filter(|c| !c.is_control()).take(300).collect()
}

/// Files of a pod's service account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Annotation that says who made an edit.
const EDIT: &str = "backsoon/edit";
const PATIENCE: Duration = Duration::from_secs(10);
/// Least time between two lists.
const LEAST_PAUSE: Duration = Duration::from_secs(1);
/// Seconds that a watch lasts, and what is added by chance: replicas do not list all at once.
const LASTS: u64 = 30;
const LASTS_SPREAD: u64 = 15;
const GRACE: Duration = Duration::from_secs(5);
/// Bytes of a ConfigMap in JSON: its own limit is 1 MiB, before it is escaped.
const MOST_ANSWER: usize = 8 * MOST_TEXT;

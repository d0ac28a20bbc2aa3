use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use rustls::RootCertStore;

use super::*;

/// Server that gives each connection to a function, on threads of its own.
fn server(serve: impl Fn(std::net::TcpStream) + Send + Sync + 'static) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || {
                let (mut stream, mut buffer) = (stream, [0; 4096]);
                // The request is small, and arrives at once.
                let _read = stream.read(&mut buffer);
                serve(stream);
            });
        }
    });
    Endpoint::parse(&url).unwrap()
}

fn connector(patience: Duration) -> Connector {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = tls.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let reach = Reach { allow_private: vec!["127.0.0.0/8".parse().unwrap()] };
    Connector { patience, ..Connector::new(reach, tls) }
}

/// Long enough for what a test expects, however busy the machine is.
const LONG: Duration = Duration::from_secs(120);

async fn post(endpoint: &Endpoint, patience: Duration) -> Result<Answer, PostError> {
    connector(patience).post(endpoint, Message { fields: HeaderMap::new(), body: "{}".into() }).await
}

/// Writes until the other side has had enough.
fn flood(mut stream: std::net::TcpStream, beginning: &str, piece: &[u8]) {
    let mut result = stream.write_all(beginning.as_bytes());
    while result.is_ok() {
        result = stream.write_all(piece);
    }
}

#[tokio::test]
async fn an_endpoint_that_floods_is_cut_off() {
    type Flood = (&'static str, &'static str, &'static [u8]);
    let floods: [Flood; 5] = [
        ("interim responses", "", b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"),
        ("continues", "", b"HTTP/1.1 100 Continue\r\n\r\n"),
        ("fields", "HTTP/1.1 200 OK\r\n", b"x-field: 0123456789012345678901234567890123456789\r\n"),
        ("one field", "HTTP/1.1 200 OK\r\nx-field: ", b"0123456789012345678901234567890123456789"),
        ("a status", "HTTP/1.1 200 ", b"0123456789012345678901234567890123456789"),
    ];
    for (what, beginning, piece) in floods {
        let (told, sent) = std::sync::mpsc::channel();
        let told = std::sync::Mutex::new(told);
        let endpoint = server(move |stream| {
            flood(stream, beginning, piece);
            let _told = told.lock().unwrap().send(());
        });
        let refused = post(&endpoint, Duration::from_secs(20)).await;
        assert!(matches!(refused, Err(PostError::Http(_))), "{what}: {refused:?}");
        sent.recv_timeout(LONG).expect("the connection is closed");
    }
}

#[tokio::test]
async fn the_status_is_the_answer_whatever_becomes_of_the_body() {
    let heads = [
        ("nothing", "HTTP/1.1 204 No Content\r\n\r\n", 204),
        ("a length that is not kept", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf", 200),
        ("a bomb", "HTTP/1.1 410 Gone\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f\x08\x08\x08", 410),
        ("a broken chunk", "HTTP/1.1 410 Gone\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nnonsense\r\n", 410),
        ("an exabyte", "HTTP/1.1 500 Oh\r\ncontent-length: 1152921504606846976\r\n\r\n", 500),
    ];
    for (what, head, status) in heads {
        let endpoint = server(move |mut stream| {
            let _written = stream.write_all(head.as_bytes());
        });
        let answer = post(&endpoint, LONG).await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        assert_eq!(answer.status.as_u16(), status, "{what}");
        assert!(answer.body.len() <= MOST_ANSWER, "{what}");
    }
}

#[tokio::test]
async fn an_endpoint_that_drips_has_a_time() {
    let silent = server(|stream| {
        std::thread::sleep(LONG);
        drop(stream);
    });
    let short = Duration::from_millis(300);
    assert!(matches!(post(&silent, short).await, Err(PostError::TimedOut(_))));
    let head = server(|mut stream| {
        for byte in b"HTTP/1.1 200 OK\r\n".iter().chain(b"x-field: y\r\n".iter().cycle()) {
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    assert!(matches!(post(&head, short).await, Err(PostError::TimedOut(_))));
    let body = server(|mut stream| {
        let mut result = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while result.is_ok() {
            std::thread::sleep(Duration::from_millis(20));
            result = stream.write_all(b"x");
        }
    });
    // What drips behind the status keeps nobody waiting for long.
    assert_eq!(post(&body, Duration::from_secs(20)).await.unwrap().status, StatusCode::OK);
}

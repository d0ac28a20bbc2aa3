//! A client of HTTP/2.

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

use crate::Outcome;
use crate::load::{Ask, Head};

/// Sends the requests of a connection, some at a time.
///
/// # Errors
/// If an answer is not the expected one.
pub(crate) async fn requests<S>(stream: S, ask: &Ask, head: &Head) -> Outcome<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .handshake::<_, Bytes>(stream)
        .await?;
    let driver = tokio::spawn(connection);
    let request = request(ask, head)?;
    let mut streams = JoinSet::new();
    for _ in 0..ask.streams {
        let (sender, request, ask) = (sender.clone(), request.clone(), ask.clone());
        streams.spawn(async move { one_after_the_other(sender, &request, &ask).await });
    }
    while let Some(ended) = streams.join_next().await {
        ended??;
    }
    driver.abort();
    Ok(())
}

async fn one_after_the_other(mut sender: SendRequest<Bytes>, request: &http::Request<()>, ask: &Ask) -> Outcome<()> {
    for _ in 0..ask.requests / ask.streams {
        sender = sender.ready().await?;
        let (answer, mut body) = sender.send_request(request.clone(), ask.body.is_none())?;
        if let Some(length) = ask.body {
            body.send_data(vec![b'x'; length].into(), true)?;
        }
        let answer = answer.await?;
        ask.status.check(answer.status().as_u16())?;
        let mut body = answer.into_body();
        while let Some(data) = body.data().await {
            body.flow_control().release_capacity(data?.len())?;
        }
    }
    Ok(())
}

/// Returns the recorded head in the form of HTTP/2, which has no fields about the connection.
fn request(ask: &Ask, head: &Head) -> Outcome<http::Request<()>> {
    let uri = format!("http://{}{}", ask.route.host(), head.path);
    let mut request = http::Request::builder().method(head.method.as_str()).uri(uri);
    for (name, value) in &head.fields {
        if !name.eq_ignore_ascii_case("connection") {
            request = request.header(name.as_str(), value.as_str());
        }
    }
    Ok(request.body(())?)
}

/// Window for flow control, as browsers have it: they do not make a server wait.
const WINDOW: u32 = 6 * 1024 * 1024;

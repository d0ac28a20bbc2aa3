//! Messages of the NATS protocol: text lines, with counted payloads.

use std::fmt::Write as _;

use bytes::Bytes;

/// Operation of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// `INFO`, with its JSON.
    Info(String),
    /// `MSG` and `HMSG`.
    Message(Message),
    /// `PING`.
    Ping,
    /// `PONG` and `+OK`.
    Fine,
    /// `-ERR`, with its words.
    Error(String),
}

/// Message of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    /// Subject to which it was published.
    pub subject: String,
    /// Subscription that brings it. A watch keeps the subjects, so that these alone tell it apart.
    pub subscription: String,
    /// Subject of the answer.
    pub reply: Option<String>,
    /// Status of a message of the server itself: 503 without anybody who answers, 100 for a beat.
    pub status: Option<u16>,
    /// Header fields.
    pub fields: Vec<(String, String)>,
    /// Payload.
    pub payload: Bytes,
}

impl Message {
    /// Returns the first value of a header field.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Finding in the bytes of a server.
pub(super) enum Parsed {
    /// Operation, and the number of bytes that it takes.
    Whole(Operation, usize),
    /// More bytes are needed.
    Partial,
    /// No operation of a server.
    Bad,
}

/// Parses the first operation in the bytes of a server.
pub(super) fn parse(bytes: &[u8]) -> Parsed {
    let window = &bytes[..bytes.len().min(LONGEST_LINE)];
    let Some(end) = window.windows(2).position(|two| two == b"\r\n") else {
        return if bytes.len() >= LONGEST_LINE { Parsed::Bad } else { Parsed::Partial };
    };
    let Ok(line) = std::str::from_utf8(&bytes[..end]) else { return Parsed::Bad };
    let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let after = end + 2;
    let operation = match word.to_ascii_uppercase().as_str() {
        "INFO" => Operation::Info(rest.trim().to_owned()),
        "PING" => Operation::Ping,
        "PONG" | "+OK" => Operation::Fine,
        "-ERR" => Operation::Error(rest.trim().trim_matches('\'').to_owned()),
        "MSG" => return message(rest, bytes, after, Headers::No),
        "HMSG" => return message(rest, bytes, after, Headers::Yes),
        _ => return Parsed::Bad,
    };
    Parsed::Whole(operation, after)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Headers {
    Yes,
    No,
}

/// Parses what follows `MSG` or `HMSG`: subject, subscription, perhaps a subject for the answer, and sizes.
fn message(line: &str, bytes: &[u8], start: usize, headers: Headers) -> Parsed {
    let mut words: Vec<&str> = line.split_ascii_whitespace().collect();
    let number = |word: Option<&str>| word.and_then(|word| word.parse::<usize>().ok());
    let Some(whole) = number(words.pop()) else { return Parsed::Bad };
    let head = match headers {
        Headers::Yes => number(words.pop()),
        Headers::No => Some(0),
    };
    let (Some(head), [subject, subscription, reply @ ..]) = (head, words.as_slice()) else { return Parsed::Bad };
    if head > whole || whole > MOST_PAYLOAD || reply.len() > 1 {
        return Parsed::Bad;
    }
    let end = start + whole;
    match bytes.get(end..end + 2) {
        None => return Parsed::Partial,
        Some(b"\r\n") => {}
        Some(_) => return Parsed::Bad,
    }
    let (status, fields) = fields(&bytes[start..start + head]);
    let message = Message {
        subject: (*subject).to_owned(),
        subscription: (*subscription).to_owned(),
        reply: reply.first().map(|&reply| reply.to_owned()),
        status,
        fields,
        payload: Bytes::copy_from_slice(&bytes[start + head..end]),
    };
    Parsed::Whole(Operation::Message(message), end + 2)
}

/// Parses a header: `NATS/1.0`, perhaps with a status, and fields.
pub(super) fn fields(head: &[u8]) -> (Option<u16>, Vec<(String, String)>) {
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let first = lines.next().unwrap_or_default();
    let status = first.split_ascii_whitespace().nth(1).and_then(|status| status.parse().ok());
    let fields = lines.filter_map(|line| line.split_once(':'));
    (status, fields.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect())
}

/// Writes a message, with header fields if there are any.
pub(super) fn publish(subject: &str, reply: &str, fields: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut head = String::new();
    if !fields.is_empty() {
        head.push_str("NATS/1.0\r\n");
        for (name, value) in fields {
            let value: String = value.chars().filter(|c| !c.is_control()).collect();
            let _ = write!(head, "{name}: {value}\r\n");
        }
        head.push_str("\r\n");
    }
    let (head_size, whole) = (head.len(), head.len() + payload.len());
    let line = if fields.is_empty() {
        format!("PUB {subject} {reply} {whole}\r\n")
    } else {
        format!("HPUB {subject} {reply} {head_size} {whole}\r\n")
    };
    [line.as_bytes(), head.as_bytes(), payload, b"\r\n"].concat()
}

/// Bytes of a line. `INFO` of a large cluster is the longest.
const LONGEST_LINE: usize = 64 * 1024;
/// Bytes of a message: more than a server takes, unless it is told to.
const MOST_PAYLOAD: usize = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_read_as_they_arrive() {
        let bytes = b"INFO {\"a\":1}\r\nPING\r\nMSG a.b 1 2\r\nhi\r\nHMSG c 1 re 28 31\r\nNATS/1.0 100\r\nKV-Op: DEL\r\n\r\nabc\r\n-ERR 'No'\r\n";
        let (mut at, mut found) = (0, Vec::new());
        for end in 0..=bytes.len() {
            while let Parsed::Whole(operation, size) = parse(&bytes[at..end]) {
                found.push(operation);
                at += size;
            }
        }
        let plain = Message {
            subject: "a.b".to_owned(),
            subscription: "1".to_owned(),
            payload: "hi".into(),
            ..Message::default()
        };
        let headed = Message {
            subject: "c".to_owned(),
            subscription: "1".to_owned(),
            reply: Some("re".to_owned()),
            status: Some(100),
            fields: vec![("KV-Op".to_owned(), "DEL".to_owned())],
            payload: "abc".into(),
        };
        let all = [
            Operation::Info("{\"a\":1}".to_owned()),
            Operation::Ping,
            Operation::Message(plain),
            Operation::Message(headed),
            Operation::Error("No".to_owned()),
        ];
        assert_eq!(found, all);
    }

    #[test]
    fn what_no_server_sends_is_refused() {
        for bad in [
            "HTTP/1.1 400 Bad Request\r\n",
            "MSG a 1\r\n",
            "MSG a 1 x\r\n",
            "HMSG a 1 9 3\r\nabc\r\n",
            "MSG a 1 2\r\nabcd",
        ] {
            assert!(matches!(parse(bad.as_bytes()), Parsed::Bad), "{bad}");
        }
        assert!(matches!(parse(&[b'x'; LONGEST_LINE]), Parsed::Bad));
        assert!(matches!(parse(format!("MSG a 1 {}\r\n", MOST_PAYLOAD + 1).as_bytes()), Parsed::Bad));
    }

    #[test]
    fn a_message_is_written_with_its_sizes() {
        assert_eq!(publish("a", "re", &[], b"hi"), b"PUB a re 2\r\nhi\r\n");
        let headed = publish("a", "re", &[("N", "1\r\n2")], b"hi");
        assert_eq!(headed, b"HPUB a re 19 21\r\nNATS/1.0\r\nN: 12\r\n\r\nhi\r\n".to_vec());
    }
}

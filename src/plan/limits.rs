//! Limits and time-outs with their defaults, in one table. Routes may set some of them for themselves.

use std::time::Duration;

use super::key::{self, Absent, Key, Table};
use super::read::{Report, Section, Value};
use super::units::{LARGEST, millis};

/// Makes [`Limits`], its defaults, its readers and their tables from one definition.
///
/// Each entry has the key, its type, its form with the range, and its default. The word `route` marks those that a route
/// may set for itself.
macro_rules! limits {
    ($(#[doc = $doc:literal] $key:ident: $type:ty, $form:ident $min:expr => $max:expr, default $default:tt $(, $route:ident)?;)+) => {
        /// `[limits]`: every limit and time-out of the proxy. All are on by default.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Limits {
            $(#[doc = $doc] #[doc = concat!("\n\nDefault: `", stringify!($default), "`.")] pub $key: $type,)+
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($key: default!($default),)+ }
            }
        }

        /// `[limits]`.
        pub(crate) static TABLE: Table = Table {
            header: "[limits]",
            about: "Limits and time-outs. All are on by default.",
            keys: &[$(Key {
                name: stringify!($key),
                form: Form::$form.within($min, $max),
                absent: absent!($form $default),
                meaning: $doc.trim_ascii(),
            },)+],
            rules: &[],
        };

        /// `limits` of a route.
        pub(crate) static ROUTE_TABLE: Table = Table {
            header: "limits of [routes.NAME]",
            about: "Limits and time-outs of a route.",
            keys: &[$($(Key {
                name: route!($route $key),
                form: Form::$form.within($min, $max),
                absent: Absent::Means("that of `[limits]`"),
                meaning: $doc.trim_ascii(),
            },)?)+],
            rules: &[],
        };

        /// Reads `[limits]`.
        pub(super) fn read(section: &mut Section<'_>, report: &mut Report<'_>) -> Limits {
            let mut limits = Limits::default();
            $(if let Some(value) = section.take(stringify!($key))
                && let Some(number) = Form::$form.read(&value, $min, $max, report) {
                limits.$key = Field::of(number);
            })+
            limits
        }

        /// Reads `limits` of a route. What it does not set is as in `whole`.
        pub(super) fn read_route(whole: &Limits, section: &mut Section<'_>, report: &mut Report<'_>) -> Limits {
            let mut limits = whole.clone();
            $($(if let Some(value) = section.take(route!($route $key))
                && let Some(number) = Form::$form.read(&value, $min, $max, report) {
                limits.$key = Field::of(number);
            })?)+
            limits
        }
    };
}

macro_rules! route {
    (route $key:ident) => {
        stringify!($key)
    };
}

macro_rules! default {
    (unset) => {
        None
    };
    ($number:tt) => {
        Field::of($number)
    };
}

macro_rules! absent {
    ($form:ident unset) => {
        Absent::Means("unset")
    };
    (Size $number:tt) => {
        Absent::Bytes($number)
    };
    (Count $number:tt) => {
        Absent::Count($number)
    };
    (Time $number:tt) => {
        Absent::Millis($number)
    };
}

limits! {
    /// Bytes of a request head. More is 431.
    head_size: usize, Size 8 * KIB => MIB, default (64 * KIB);
    /// Fields of a request head. More is 431. HTTP/2 `cookie` fields count as one.
    head_fields: usize, Count 10 => 1000, default 100;
    /// Time from the connection, or from the first byte of a later request, to the end of the head. Also bounds the TLS handshake. More is 408.
    head_read: Duration, Time SECOND => 10 * MINUTE, default (10 * SECOND);
    /// Time that a connection may wait for its next request.
    keep_alive: Duration, Time SECOND => HOUR, default (75 * SECOND);
    /// Bytes of a request body. More is 413. No limit if unset.
    body_size: Option<u64>, Size 1 => LARGEST, default unset, route;
    /// Time for which a client may send nothing while its body is awaited. More is 408.
    body_read: Duration, Time SECOND => HOUR, default MINUTE, route;
    /// Time for which a client may accept nothing while there is something to write. Then its stream or connection is closed.
    write: Duration, Time SECOND => HOUR, default MINUTE, route;
    /// Time for connecting to an upstream, with the TLS handshake. More is 504. Also the longest wait for one of `upstream_connections` during which none becomes free: 503.
    connect: Duration, Time 10 => 5 * MINUTE, default (5 * SECOND), route;
    /// Time from the request to the upstream's response head. More is 504. Also the longest wait for one of `upstream_connections`: 503.
    first_byte: Duration, Time 10 => 24 * HOUR, default MINUTE, route;
    /// Time for which an upstream may send nothing inside a body. Then the response is cut.
    upstream_read: Duration, Time SECOND => 24 * HOUR, default (5 * MINUTE), route;
    /// Bytes of the head of an upstream's answer. More is 502.
    upstream_head_size: usize, Size 8 * KIB => MIB, default (256 * KIB);
    /// Fields of the head of an upstream's answer over HTTP/1.1, each `Set-Cookie` among them. More is 502.
    upstream_head_fields: usize, Count 10 => 10_000, default 1000;
    /// Time that an idle upstream connection is kept for reuse.
    upstream_keep_alive: Duration, Time SECOND => HOUR, default MINUTE;
    /// Time for which the addresses of an upstream's name are used before it is looked up again, behind the requests.
    dns_ttl: Duration, Time SECOND => HOUR, default (10 * SECOND);
    /// Time for which a tunnel may carry nothing in either direction.
    tunnel_idle: Duration, Time SECOND => 168 * HOUR, default HOUR, route;
    /// Client connections of one worker. More wait in the kernel's backlog. If unset, computed from the limit on descriptors.
    connections: Option<usize>, Count 1 => 1_000_000, default unset;
    /// Connections of one worker to one upstream. More requests wait in turns. If unset, 4096 or what the limit on descriptors allows.
    upstream_connections: Option<usize>, Count 1 => 65_535, default unset, route;
    /// Requests that may wait for one upstream in one worker. More is 503 at once. A client that has much of the queue is refused first.
    upstream_queue: usize, Count 0 => 1_000_000, default 16_384, route;
    /// Streams of page events of one worker. Over HTTP/1 they take half of `connections` at most. A client that finds none free asks again every half a minute.
    watchers: usize, Count 0 => 1_000_000, default 10_000;
    /// Streams that a client may have open on one HTTP/2 connection.
    h2_streams: usize, Count 1 => 10_000, default 100;
    /// Bytes of an HTTP/2 field list, counted with 32 for each field (RFC 9113 section 6.5.2). More is 431.
    h2_field_list: usize, Size 8 * KIB => MIB, default (64 * KIB);
    /// Streams that a client may reset before the proxy looked at them. More ends the connection.
    h2_pending_resets: usize, Count 1 => 10_000, default 20;
    /// Resets by the proxy that a client may provoke. More ends the connection.
    h2_error_resets: usize, Count 1 => 100_000, default 1024;
    /// Bytes of the flow-control window of an HTTP/2 stream.
    h2_stream_window: usize, Size 64 * KIB => GIB, default (256 * KIB);
    /// Bytes of the flow-control window of an HTTP/2 connection.
    h2_connection_window: usize, Size 64 * KIB => GIB, default MIB;
    /// Time between pings to an HTTP/2 client. 20 s without an answer end the connection.
    h2_ping: Duration, Time SECOND => HOUR, default (30 * SECOND);
    /// Bytes of a refused request's body that are read and thrown away, so that the client can read the answer.
    linger_size: u64, Size 0 => GIB, default (128 * MIB);
    /// Time for which a refused request's body is read and thrown away.
    linger: Duration, Time SECOND => 5 * MINUTE, default (30 * SECOND);
    /// Time after SIGTERM for which requests on idle connections are still answered, before those are closed.
    grace: Duration, Time 0 => 5 * MINUTE, default (3 * SECOND);
}

/// Form of a limit.
#[derive(Clone, Copy)]
enum Form {
    /// Bytes: `"64KiB"`.
    Size,
    /// Number.
    Count,
    /// Duration, held in milliseconds: `"30s"`.
    Time,
}

impl Form {
    fn read(self, value: &Value<'_>, min: u64, max: u64, report: &mut Report<'_>) -> Option<u64> {
        match self {
            Self::Size => value.size(min, max, report),
            Self::Count => value.count(min, max, report),
            Self::Time => {
                let time = value.duration(Duration::from_millis(min), Duration::from_millis(max), report)?;
                Some(millis(time))
            }
        }
    }

    /// Returns the form of a key whose value is within a range.
    const fn within(self, min: u64, max: u64) -> key::Form {
        match self {
            Self::Size => key::Form::Size(min, max),
            Self::Count => key::Form::Count(min, max),
            Self::Time => key::Form::Time(Duration::from_millis(min), Duration::from_millis(max)),
        }
    }
}

/// Type of a limit, made of a plain number. Durations are milliseconds.
trait Field {
    fn of(number: u64) -> Self;
}

impl Field for u64 {
    fn of(number: u64) -> Self {
        number
    }
}

impl Field for usize {
    fn of(number: u64) -> Self {
        Self::try_from(number).unwrap_or(Self::MAX)
    }
}

impl Field for Duration {
    fn of(number: u64) -> Self {
        Self::from_millis(number)
    }
}

impl<T: Field> Field for Option<T> {
    fn of(number: u64) -> Self {
        Some(T::of(number))
    }
}

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

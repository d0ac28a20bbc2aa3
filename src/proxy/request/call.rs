//! Outcome of a gRPC call. The call's status stands in the trailers, or in the head of a response that has nothing else.

use http::HeaderMap;

/// Outcome of a response, as far as its HTTP status does not tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallOutcome {
    /// The response answers no gRPC call, or its outcome is known.
    Known,
    /// The trailers will tell.
    InTrailers,
}

/// Status of a gRPC call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallStatus {
    /// The fields have none.
    Missing,
    /// The upstream did its part, even if the answer is no.
    Answered,
    /// The upstream failed; the word is for the access log.
    Failed(&'static str),
}

impl CallStatus {
    /// Reads the status in these fields. Only codes that a server gives for its own failures are failures.
    pub(crate) fn of(fields: &HeaderMap) -> Self {
        let Some(status) = fields.get("grpc-status") else { return Self::Missing };
        match status.as_bytes() {
            b"2" => Self::Failed("grpc_unknown"),
            b"4" => Self::Failed("grpc_deadline_exceeded"),
            b"13" => Self::Failed("grpc_internal"),
            b"14" => Self::Failed("grpc_unavailable"),
            b"15" => Self::Failed("grpc_data_loss"),
            _ => Self::Answered,
        }
    }
}

/// Word for the access log: a response ended without a status, which clients take for a failure.
pub(crate) const NO_STATUS: &str = "grpc_no_status";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_failure_of_the_server_is_a_failure() {
        let failed: Vec<u8> = (0..=20)
            .filter(|code: &u8| {
                let fields = HeaderMap::from_iter([("grpc-status".parse().unwrap(), u16::from(*code).into())]);
                matches!(CallStatus::of(&fields), CallStatus::Failed(_))
            })
            .collect();
        assert_eq!(failed, [2, 4, 13, 14, 15]);
        assert_eq!(CallStatus::of(&HeaderMap::new()), CallStatus::Missing);
    }
}

//! What a client asks for.

use super::response::Status;
use httparse::EMPTY_HEADER;

/// The most header fields of a request.
const HEADERS: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// The metrics.
    Get,
    /// The header of the response alone.
    Head,
    Refused(Status),
}

impl Request {
    /// Parses the beginning of a request; `None` if more has to be received. A body is ignored.
    pub(super) fn parse(received: &[u8]) -> Option<Self> {
        let mut headers = [EMPTY_HEADER; HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(received) {
            Ok(httparse::Status::Partial) => return None,
            Ok(httparse::Status::Complete(_)) => {}
            Err(httparse::Error::TooManyHeaders) => return Some(Self::Refused(Status::TooLarge)),
            Err(_) => return Some(Self::Refused(Status::BadRequest)),
        }
        let path = request.path.map(path_of);
        let is_host = |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case("host");
        let hosts = request.headers.iter().filter(is_host).count();
        Some(match (path, request.method) {
            // HTTP/1.1 requires the field, once (RFC 9112, 3.2).
            _ if hosts > 1 || request.version != Some(0) && hosts == 0 => Self::Refused(Status::BadRequest),
            (Some("/metrics"), Some("GET")) => Self::Get,
            (Some("/metrics"), Some("HEAD")) => Self::Head,
            (Some("/metrics"), _) => Self::Refused(Status::MethodNotAllowed),
            _ => Self::Refused(Status::NotFound),
        })
    }
}

/// Returns the path in a request's target, which may be a whole address, as for a proxy (RFC 9112, 3.2.2).
fn path_of(target: &str) -> &str {
    const SCHEME: &str = "http://";
    let target = match target.get(..SCHEME.len()) {
        Some(scheme) if scheme.eq_ignore_ascii_case(SCHEME) => {
            let rest = &target[SCHEME.len()..];
            rest.find('/').map_or("/", |start| &rest[start..])
        }
        _ => target,
    };
    target.split('?').next().unwrap_or(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_metrics_can_be_read() {
        let many = "A: b\r\n".repeat(HEADERS + 1);
        let many = format!("GET /metrics HTTP/1.1\r\n{many}\r\n");
        for (text, expected) in [
            ("", None),
            ("GET /metrics HTTP/1.1\r\nHost: a\r\n", None),
            ("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", Some(Request::Get)),
            ("GET /metrics?a=b HTTP/1.1\r\nhost: a\r\n\r\nbody", Some(Request::Get)),
            (
                "GET HTTP://a:9/metrics?b HTTP/1.1\r\nHost: a:9\r\n\r\n",
                Some(Request::Get),
            ),
            (
                "GET http://a HTTP/1.1\r\nHost: a\r\n\r\n",
                Some(Request::Refused(Status::NotFound)),
            ),
            (
                "GET /metrics HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
                Some(Request::Refused(Status::BadRequest)),
            ),
            ("GET /metrics HTTP/1.0\r\n\r\n", Some(Request::Get)),
            ("HEAD /metrics HTTP/1.0\n\n", Some(Request::Head)),
            (
                "GET /metrics HTTP/1.1\r\n\r\n",
                Some(Request::Refused(Status::BadRequest)),
            ),
            (
                "POST /metrics HTTP/1.0\r\n\r\n",
                Some(Request::Refused(Status::MethodNotAllowed)),
            ),
            ("POST / HTTP/1.0\r\n\r\n", Some(Request::Refused(Status::NotFound))),
            (
                "GET /metrics/ HTTP/1.0\r\n\r\n",
                Some(Request::Refused(Status::NotFound)),
            ),
            ("\u{16}\u{3}\u{1}", Some(Request::Refused(Status::BadRequest))),
            (
                "GET /metrics HTTP/2.0\r\n\r\n",
                Some(Request::Refused(Status::BadRequest)),
            ),
            (&many, Some(Request::Refused(Status::TooLarge))),
        ] {
            assert_eq!(Request::parse(text.as_bytes()), expected, "{text:?}");
        }
    }
}

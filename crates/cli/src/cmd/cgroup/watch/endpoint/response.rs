//! Responses of the endpoint.

use std::rc::Rc;

/// Why a request gets no metrics (RFC 9110, 15; RFC 6585, 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    BadRequest,
    NotFound,
    MethodNotAllowed,
    TooLarge,
}

/// A response to GET.
pub(super) struct Response {
    bytes: Vec<u8>,
    /// The length of status line and header.
    head: usize,
}

impl Response {
    fn new(status: &str, fields: &str, body: &str) -> Self {
        let head = format!(
            "HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        Self {
            head: head.len(),
            bytes: (head + body).into_bytes(),
        }
    }

    /// Returns the response with OpenMetrics text.
    pub(super) fn metrics(text: &str) -> Self {
        let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        Self::new("200 OK", &format!("Content-Type: {content_type}\r\n"), text)
    }

    fn plain(status: &str, fields: &str, text: &str) -> Self {
        let fields = format!("Content-Type: text/plain; charset=utf-8\r\n{fields}");
        Self::new(status, &fields, &format!("{text}\n"))
    }

    /// Returns the response where the metrics cannot be read.
    pub(super) fn failure(why: &str) -> Self {
        Self::plain("500 Internal Server Error", "", why)
    }

    pub(super) fn refusal(status: Status) -> Self {
        match status {
            Status::BadRequest => Self::plain("400 Bad Request", "", "This is no request of HTTP/1.1."),
            Status::NotFound => Self::plain("404 Not Found", "", "The metrics are at /metrics."),
            Status::MethodNotAllowed => Self::plain(
                "405 Method Not Allowed",
                "Allow: GET, HEAD\r\n",
                "The metrics can only be read.",
            ),
            Status::TooLarge => Self::plain("431 Request Header Fields Too Large", "", "The request is too large."),
        }
    }
}

/// A response that is being sent.
pub(super) struct Answer {
    response: Rc<Response>,
    end: usize,
    sent: usize,
}

impl Answer {
    pub(super) fn new(response: Rc<Response>, is_head: bool) -> Self {
        Self {
            end: if is_head { response.head } else { response.bytes.len() },
            response,
            sent: 0,
        }
    }

    /// Returns what is still to be sent.
    pub(super) fn rest(&self) -> &[u8] {
        self.response.bytes.get(self.sent..self.end).unwrap_or_default()
    }

    /// Records that so many bytes more have been sent.
    pub(super) fn advance(&mut self, sent: usize) {
        self.sent += sent;
    }
}

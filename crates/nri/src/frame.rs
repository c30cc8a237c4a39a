//! The frames of a multiplexed connection, and the messages of ttrpc in them. A message can span several frames.

use std::collections::VecDeque;
use std::io;

/// The connection on which the runtime calls the plugin (`multiplex.PluginServiceConn`).
pub(crate) const PLUGIN: u32 = 1;
/// The connection on which the plugin calls the runtime (`multiplex.RuntimeServiceConn`).
pub(crate) const RUNTIME: u32 = 2;

/// The sizes of the two headers, in bytes.
const FRAME_HEADER: usize = 8;
const MESSAGE_HEADER: usize = 10;

/// The largest payload of a message, in bytes (`messageLengthMax` of ttrpc).
const LARGEST: usize = 4 << 20;

/// The type of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Response,
    /// One of a kind that plugins do not use.
    Other(u8),
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) connection: u32,
    /// The number of the call, which its response has too.
    pub(crate) stream: u32,
    pub(crate) kind: Kind,
    pub(crate) payload: Vec<u8>,
}

impl Message {
    /// Returns the message as one frame, as a reader with a small buffer requires (`Read` of `multiplex`).
    pub(crate) fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let length = |length: usize| u32::try_from(length).map_err(io::Error::other);
        let mut bytes = Vec::new();
        bytes.extend(self.connection.to_be_bytes());
        bytes.extend(length(MESSAGE_HEADER + self.payload.len())?.to_be_bytes());
        bytes.extend(length(self.payload.len())?.to_be_bytes());
        bytes.extend(self.stream.to_be_bytes());
        let kind = match self.kind {
            Kind::Request => 1,
            Kind::Response => 2,
            Kind::Other(kind) => kind,
        };
        bytes.extend([kind, 0]);
        bytes.extend(&self.payload);
        Ok(bytes)
    }
}

/// Assembles messages from received bytes.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    received: VecDeque<u8>,
    /// What the frames of each connection contained, without the complete messages.
    connections: [Vec<u8>; 2],
}

impl Decoder {
    /// Appends received bytes.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        self.received.extend(bytes);
    }

    /// Returns the next complete message, if there is one.
    ///
    /// # Errors
    /// `InvalidData` for a frame or message that is too large.
    pub(crate) fn next(&mut self) -> io::Result<Option<Message>> {
        loop {
            for (connection, bytes) in [PLUGIN, RUNTIME].into_iter().zip(&mut self.connections) {
                if let Some(message) = take_message(connection, bytes)? {
                    return Ok(Some(message));
                }
            }
            if !self.take_frame()? {
                return Ok(None);
            }
        }
    }

    /// Moves the next frame to its connection. Returns whether it was complete.
    fn take_frame(&mut self) -> io::Result<bool> {
        let header: Vec<u8> = self.received.iter().take(FRAME_HEADER).copied().collect();
        let Some([connection, length]) = numbers(&header) else {
            return Ok(false);
        };
        let length = within(length, MESSAGE_HEADER + LARGEST)?;
        if self.received.len() < FRAME_HEADER + length {
            return Ok(false);
        }
        let content = self.received.drain(..FRAME_HEADER + length).skip(FRAME_HEADER);
        match connection {
            PLUGIN => self.connections[0].extend(content),
            RUNTIME => self.connections[1].extend(content),
            // Frames of connections that are not open are ignored, as the runtime does.
            _ => drop(content),
        }
        Ok(true)
    }
}

/// Removes the first message from the bytes of a connection, if it is complete.
fn take_message(connection: u32, bytes: &mut Vec<u8>) -> io::Result<Option<Message>> {
    let Some([length, stream]) = numbers(bytes) else {
        return Ok(None);
    };
    let length = within(length, LARGEST)?;
    if bytes.len() < MESSAGE_HEADER + length {
        return Ok(None);
    }
    let rest = bytes.split_off(MESSAGE_HEADER + length);
    let mut message = std::mem::replace(bytes, rest);
    let kind = match message.get(FRAME_HEADER) {
        Some(1) => Kind::Request,
        Some(2) => Kind::Response,
        other => Kind::Other(other.copied().unwrap_or_default()),
    };
    message.drain(..MESSAGE_HEADER);
    Ok(Some(Message {
        connection,
        stream,
        kind,
        payload: message,
    }))
}

/// Returns the two numbers at the beginning, if they are complete.
fn numbers(bytes: &[u8]) -> Option<[u32; 2]> {
    let first = u32::from_be_bytes(*bytes.first_chunk()?);
    let second = u32::from_be_bytes(*bytes.get(4..)?.first_chunk()?);
    Some([first, second])
}

fn within(length: u32, limit: usize) -> io::Result<usize> {
    let length = usize::try_from(length).map_err(io::Error::other)?;
    if length <= limit {
        Ok(length)
    } else {
        let text = format!("a message of {length} bytes was announced; {limit} are allowed");
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(connection: u32, stream: u32, payload: &[u8]) -> Message {
        Message {
            connection,
            stream,
            kind: Kind::Request,
            payload: payload.to_vec(),
        }
    }

    #[test]
    fn messages_arrive_in_any_pieces() {
        let sent = [message(1, 1, b"one"), message(2, 3, b""), message(1, 5, &[7; 5000])];
        let bytes: Vec<u8> = sent.iter().flat_map(|message| message.to_bytes().unwrap()).collect();
        for size in [1, 7, 4096, bytes.len()] {
            let mut decoder = Decoder::default();
            let mut received = Vec::new();
            for piece in bytes.chunks(size) {
                decoder.receive(piece);
                while let Some(message) = decoder.next().unwrap() {
                    received.push(message);
                }
            }
            assert_eq!(received, sent, "{size}");
        }
    }

    #[test]
    fn message_spans_frames_and_other_connections_are_ignored() {
        let bytes = message(1, 9, b"abcdef").to_bytes().unwrap();
        let mut decoder = Decoder::default();
        for part in bytes[FRAME_HEADER..].chunks(4) {
            for connection in [7_u32, 1] {
                decoder.receive(&connection.to_be_bytes());
                decoder.receive(&u32::try_from(part.len()).unwrap().to_be_bytes());
                decoder.receive(part);
            }
        }
        assert_eq!(decoder.next().unwrap(), Some(message(1, 9, b"abcdef")));
        assert_eq!(decoder.next().unwrap(), None);
    }

    #[test]
    fn too_large_messages_are_refused() {
        for bytes in [[0, 0, 0, 1, 255, 255, 255, 255], [0, 0, 0, 2, 0, 128, 0, 0]] {
            let mut decoder = Decoder::default();
            decoder.receive(&bytes);
            assert_eq!(decoder.next().unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
        let mut decoder = Decoder::default();
        decoder.receive(&[0, 0, 0, 1, 0, 0, 0, 10, 1, 0, 0, 0, 0, 0, 0, 1, 1, 0]);
        assert_eq!(decoder.next().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}

//! A plugin's connection: registration, and the calls of the runtime.

use crate::frame::{Decoder, Kind, Message, PLUGIN, RUNTIME};
use crate::messages::nri::{
    ConfigureRequest, ConfigureResponse, Empty, Event as Number, PodSandbox, PodSandboxRequest, RegisterPluginRequest,
    StateChangeEvent, SynchronizeRequest, SynchronizeResponse,
};
use crate::messages::ttrpc::{Request, Response, Status};
use prost::Message as _;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// The usual socket of a runtime.
pub const SOCKET: &str = "/var/run/nri/nri.sock";

/// The service of the runtime (`Runtime` in `api.proto`).
const RUNTIME_SERVICE: &str = "nri.pkg.api.v1alpha1.Runtime";

/// The number of the call that registers the plugin. Clients use odd numbers.
const REGISTRATION: u32 = 1;

/// `UNIMPLEMENTED` and `INVALID_ARGUMENT` of `google.rpc.Code`.
const UNIMPLEMENTED: i32 = 12;
const INVALID_ARGUMENT: i32 = 3;

/// How long a write may wait for the runtime.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the runtime reports.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The plugin is registered with the runtime of this name and version.
    Configured(String, String),
    /// All pods that the runtime knows. They come once, after the registration.
    Synchronized(Vec<PodSandbox>),
    /// A pod is being created. Its first program starts after the answer.
    Run(PodSandbox),
    /// The processes of a pod have ended.
    Stopped(PodSandbox),
    /// A pod has been removed.
    Removed(PodSandbox),
    /// The call needs no reaction.
    Nothing,
}

/// A call of the runtime, which waits for the answer.
#[derive(Debug)]
#[must_use = "the runtime waits for the answer"]
pub struct Call {
    /// What the runtime reports.
    pub event: Event,
    stream: u32,
    response: Response,
}

/// A connection to a runtime.
#[derive(Debug)]
pub struct Connection {
    socket: UnixStream,
    decoder: Decoder,
    /// The pods of a synchronization of which more parts follow.
    pods: Vec<PodSandbox>,
}

impl Connection {
    /// Connects to the runtime and registers a plugin with this name and this index of two digits, which decides the order of
    /// plugins.
    ///
    /// # Errors
    /// As `connect(2)` and `write(2)`.
    pub fn open(path: &Path, name: &str, index: &str) -> io::Result<Self> {
        let socket = UnixStream::connect(path)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let mut connection = Self {
            socket,
            decoder: Decoder::default(),
            pods: Vec::new(),
        };
        let registration = RegisterPluginRequest {
            plugin_name: name.to_owned(),
            plugin_idx: index.to_owned(),
        };
        let request = Request {
            service: RUNTIME_SERVICE.to_owned(),
            method: "RegisterPlugin".to_owned(),
            payload: registration.encode_to_vec(),
            timeout_nano: 0,
        };
        connection.send(RUNTIME, REGISTRATION, Kind::Request, request.encode_to_vec())?;
        Ok(connection)
    }

    /// Receives bytes. Blocks if the descriptor is not ready.
    ///
    /// # Errors
    /// `UnexpectedEof` if the runtime has closed the connection; as `read(2)`.
    pub fn receive(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16384];
        match self.socket.read(&mut buffer) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => {
                self.decoder.receive(buffer.get(..length).unwrap_or_default());
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Returns the next call that was received completely.
    ///
    /// # Errors
    /// The runtime refuses the registration, or does not follow the protocol.
    pub fn next_call(&mut self) -> io::Result<Option<Call>> {
        while let Some(message) = self.decoder.next()? {
            match (message.connection, message.kind) {
                (PLUGIN, Kind::Request) => return self.decode_call(&message).map(Some),
                (RUNTIME, Kind::Response) if message.stream == REGISTRATION => {
                    let response = Response::decode(&*message.payload).map_err(io::Error::other)?;
                    if let Some(status) = response.status.filter(|status| status.code != 0) {
                        let text = format!("the runtime refuses the registration: {}", status.message);
                        return Err(io::Error::other(text));
                    }
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Answers a call.
    ///
    /// # Errors
    /// As `write(2)`.
    pub fn answer(&mut self, call: Call) -> io::Result<()> {
        let Call { stream, response, .. } = call;
        self.send(PLUGIN, stream, Kind::Response, response.encode_to_vec())
    }

    fn send(&mut self, connection: u32, stream: u32, kind: Kind, payload: Vec<u8>) -> io::Result<()> {
        let message = Message {
            connection,
            stream,
            kind,
            payload,
        };
        self.socket.write_all(&message.to_bytes()?)
    }

    fn decode_call(&mut self, message: &Message) -> io::Result<Call> {
        let request = Request::decode(&*message.payload).map_err(io::Error::other)?;
        let (event, response) = match self.decode_event(&request) {
            Ok(Some((event, payload))) => (event, Response { status: None, payload }),
            Ok(None) => (
                Event::Nothing,
                failure(UNIMPLEMENTED, format!("{} is not implemented", request.method)),
            ),
            Err(error) => (Event::Nothing, failure(INVALID_ARGUMENT, error.to_string())),
        };
        Ok(Call {
            event,
            stream: message.stream,
            response,
        })
    }

    /// Returns the event and the payload of the answer; `None` for a method that the plugin does not have.
    fn decode_event(&mut self, request: &Request) -> Result<Option<(Event, Vec<u8>)>, prost::DecodeError> {
        let payload = &*request.payload;
        let empty = Empty {}.encode_to_vec();
        let pod = || Ok::<_, prost::DecodeError>(PodSandboxRequest::decode(payload)?.pod.unwrap_or_default());
        Ok(Some(match &*request.method {
            "Configure" => {
                let request = ConfigureRequest::decode(payload)?;
                let wanted = [Number::RunPodSandbox, Number::StopPodSandbox, Number::RemovePodSandbox];
                let events = wanted.into_iter().fold(0, |mask, event| mask | 1 << (event as i32 - 1));
                let event = Event::Configured(request.runtime_name, request.runtime_version);
                (event, ConfigureResponse { events }.encode_to_vec())
            }
            "Synchronize" => {
                let request = SynchronizeRequest::decode(payload)?;
                self.pods.extend(request.pods);
                let event = if request.more {
                    Event::Nothing
                } else {
                    Event::Synchronized(std::mem::take(&mut self.pods))
                };
                (event, SynchronizeResponse { more: request.more }.encode_to_vec())
            }
            "RunPodSandbox" => (Event::Run(pod()?), empty),
            "StopPodSandbox" => (Event::Stopped(pod()?), empty),
            "RemovePodSandbox" => (Event::Removed(pod()?), empty),
            // Before RunPodSandbox and the others were calls of their own.
            "StateChange" => {
                let change = StateChangeEvent::decode(payload)?;
                let number = change.event();
                let pod = change.pod.unwrap_or_default();
                let event = match number {
                    Number::RunPodSandbox => Event::Run(pod),
                    Number::StopPodSandbox => Event::Stopped(pod),
                    Number::RemovePodSandbox => Event::Removed(pod),
                    Number::Unknown => Event::Nothing,
                };
                (event, empty)
            }
            "Shutdown" => (Event::Nothing, empty),
            _ => return Ok(None),
        }))
    }
}

fn failure(code: i32, message: String) -> Response {
    Response {
        status: Some(Status { code, message }),
        payload: Vec::new(),
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

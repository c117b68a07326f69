//! What clients and nodes say to each other: on each stream of a client's a request, some bytes up and
//! some bytes down, all of them checked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quinn_proto::{
    Connection, ConnectionError, Dir, Event, ReadError, StreamEvent, StreamId, WriteError,
};

use crate::pattern::Pattern;

/// One side of a connection.
pub(crate) trait App {
    /// Takes an event of the connection; says what is wrong, if anything.
    fn event(&mut self, connection: &mut Connection, event: Event) -> Option<String>;
}

/// A node's side.
#[derive(Debug)]
pub(crate) struct Serving {
    exchanges: BTreeMap<StreamId, Exchange>,
    going_away: Arc<AtomicBool>,
    fault: Option<String>,
    pub(crate) lost: Option<ConnectionError>,
}

/// A client's side.
#[derive(Debug, Default)]
pub(crate) struct Asking {
    fetches: BTreeMap<StreamId, Fetch>,
    pub(crate) connected: bool,
    /// How many fetches are complete.
    pub(crate) complete: u32,
    /// Whether the node asks to connect elsewhere.
    pub(crate) going_away: bool,
    fault: Option<String>,
    pub(crate) lost: Option<ConnectionError>,
}

/// What a client asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) tag: u64,
    pub(crate) up: u64,
    pub(crate) down: u64,
}

#[derive(Debug, Default)]
struct Exchange {
    header: Vec<u8>,
    request: Option<Request>,
    received: u64,
    sent: u64,
    ended: bool,
}

#[derive(Debug)]
struct Fetch {
    request: Request,
    sent: u64,
    finished: bool,
    received: u64,
}

impl Request {
    const LEN: u64 = 24;

    fn to_bytes(self) -> Vec<u8> {
        [self.tag, self.up, self.down]
            .map(u64::to_be_bytes)
            .concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let field = |at: usize| Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
        Some(Self {
            tag: field(0)?,
            up: field(8)?,
            down: field(16)?,
        })
    }

    /// What the client sends from an offset on.
    fn sends(self, offset: u64) -> Vec<u8> {
        match usize::try_from(offset) {
            Ok(offset) if (offset as u64) < Self::LEN => self.to_bytes()[offset..].to_vec(),
            _ => {
                let at = offset - Self::LEN;
                Pattern::up(self.tag)
                    .bytes(at, chunk(self.up - at))
                    .to_vec()
            }
        }
    }
}

impl Serving {
    pub(crate) fn new(going_away: Arc<AtomicBool>) -> Self {
        Self {
            exchanges: BTreeMap::new(),
            going_away,
            fault: None,
            lost: None,
        }
    }

    fn read(&mut self, connection: &mut Connection, id: StreamId) {
        let exchange = self.exchanges.entry(id).or_default();
        let ended = receive(connection, id, |bytes| {
            if let Err(fault) = exchange.take(bytes) {
                self.fault.get_or_insert(fault);
            }
        });
        exchange.ended |= ended;
        self.write(connection, id);
    }

    fn write(&mut self, connection: &mut Connection, id: StreamId) {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        let Some(request) = exchange.request else {
            return;
        };
        if exchange.ended && exchange.received != request.up {
            let fault = format!("{} of {} bytes came up", exchange.received, request.up);
            self.fault.get_or_insert(fault);
        }
        let total = request.down + FLAG_LEN;
        while exchange.sent < total {
            let bytes = match exchange.sent.checked_sub(FLAG_LEN) {
                None => vec![u8::from(self.going_away.load(Ordering::Relaxed))],
                Some(at) => Pattern::down(request.tag)
                    .bytes(at, chunk(request.down - at))
                    .to_vec(),
            };
            match connection.send_stream(id).write(&bytes) {
                Ok(written) => exchange.sent += written as u64,
                Err(WriteError::Blocked) => return,
                Err(_) => {
                    self.exchanges.remove(&id);
                    return;
                }
            }
        }
        // The end tells the client that everything it sent was there.
        if exchange.ended {
            drop(connection.send_stream(id).finish());
            self.exchanges.remove(&id);
        }
    }
}

impl App for Serving {
    fn event(&mut self, connection: &mut Connection, event: Event) -> Option<String> {
        match event {
            Event::Stream(StreamEvent::Opened { dir: Dir::Bi }) => {
                while let Some(id) = connection.streams().accept(Dir::Bi) {
                    self.read(connection, id);
                }
            }
            Event::Stream(StreamEvent::Readable { id }) => self.read(connection, id),
            Event::Stream(StreamEvent::Writable { id }) => self.write(connection, id),
            Event::ConnectionLost { reason } => self.lost = Some(reason),
            _ => {}
        }
        self.fault.take()
    }
}

impl Exchange {
    fn take(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        let missing = Request::LEN as usize - self.header.len();
        let (header, rest) = bytes.split_at(bytes.len().min(missing));
        self.header.extend_from_slice(header);
        bytes = rest;
        self.request = Request::from_bytes(&self.header);
        let Some(request) = self.request else {
            return Ok(());
        };
        let fits = Pattern::up(request.tag).fits(self.received, bytes);
        self.received += bytes.len() as u64;
        if fits && self.received <= request.up {
            Ok(())
        } else {
            Err(format!("a wrong byte came up before {}", self.received))
        }
    }
}

impl Asking {
    /// Begins a fetch; false if no stream may be opened now.
    pub(crate) fn fetch(&mut self, connection: &mut Connection, request: Request) -> bool {
        let Some(id) = connection.streams().open(Dir::Bi) else {
            return false;
        };
        let fetch = Fetch {
            request,
            sent: 0,
            finished: false,
            received: 0,
        };
        self.fetches.insert(id, fetch);
        self.write(connection, id);
        true
    }

    /// Fetches under way.
    pub(crate) fn open(&self) -> usize {
        self.fetches.len()
    }

    fn write(&mut self, connection: &mut Connection, id: StreamId) {
        let Some(fetch) = self.fetches.get_mut(&id) else {
            return;
        };
        let total = Request::LEN + fetch.request.up;
        while fetch.sent < total {
            let bytes = fetch.request.sends(fetch.sent);
            match connection.send_stream(id).write(&bytes) {
                Ok(written) => fetch.sent += written as u64,
                Err(WriteError::Blocked) => return,
                Err(error) => {
                    self.fault = Some(format!("writing: {error}"));
                    return;
                }
            }
        }
        if !fetch.finished {
            fetch.finished = true;
            drop(connection.send_stream(id).finish());
        }
    }

    fn read(&mut self, connection: &mut Connection, id: StreamId) {
        let Some(fetch) = self.fetches.get_mut(&id) else {
            return;
        };
        let mut wrong = false;
        let going_away = &mut self.going_away;
        let ended = receive(connection, id, |mut bytes| {
            if fetch.received == 0 {
                let (flag, rest) = bytes.split_first().expect("chunks are not empty");
                *going_away |= *flag == 1;
                (bytes, fetch.received) = (rest, FLAG_LEN);
            }
            let at = fetch.received - FLAG_LEN;
            wrong |= !Pattern::down(fetch.request.tag).fits(at, bytes);
            fetch.received += bytes.len() as u64;
        });
        let expected = fetch.request.down + FLAG_LEN;
        if wrong || fetch.received > expected || (ended && fetch.received != expected) {
            let fault = format!("{} of {expected} bytes, wrong: {wrong}", fetch.received);
            self.fault.get_or_insert(fault);
        }
        if ended {
            self.fetches.remove(&id);
            self.complete += 1;
        }
    }
}

impl App for Asking {
    fn event(&mut self, connection: &mut Connection, event: Event) -> Option<String> {
        match event {
            Event::Connected => self.connected = true,
            Event::Stream(StreamEvent::Readable { id }) => self.read(connection, id),
            Event::Stream(StreamEvent::Writable { id }) => self.write(connection, id),
            Event::ConnectionLost { reason } => self.lost = Some(reason),
            _ => {}
        }
        self.fault.take()
    }
}

/// Hands over what can be read now; true at the end of the stream.
fn receive(connection: &mut Connection, id: StreamId, mut take: impl FnMut(&[u8])) -> bool {
    let mut stream = connection.recv_stream(id);
    let Ok(mut chunks) = stream.read(true) else {
        return false;
    };
    let ended = loop {
        match chunks.next(usize::MAX) {
            Ok(Some(chunk)) => take(&chunk.bytes),
            Ok(None) => break true,
            Err(ReadError::Blocked | ReadError::Reset(_)) => break false,
        }
    };
    let _transmits_anyway = chunks.finalize();
    ended
}

fn chunk(left: u64) -> usize {
    usize::try_from(left).map_or(Pattern::MOST, |left| left.min(Pattern::MOST))
}

const FLAG_LEN: u64 = 1;

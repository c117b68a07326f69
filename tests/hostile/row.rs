//! What a row of the table is made of.

use wayhold::http3::Code;

/// One attack, or one oddity that is none, with what has to come of it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) steps: Vec<Step>,
    pub(crate) expect: Expect,
    pub(crate) reaches: Reaches,
}

/// What a client does, one after the other on one connection.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Opens a stream of one direction. The first one takes the place of the ordinary control stream
    /// where it is one.
    OneWay(Vec<u8>, End),
    /// Opens a request stream and sends pieces; between two of them lies a round trip.
    Request(Vec<Vec<u8>>, End),
    /// Stops reading the gateway's control stream.
    StopControl,
    /// Sends a QUIC DATAGRAM frame.
    Datagram(Vec<u8>),
    /// Sends packets with a PING, as many as these and then some.
    Pings(u64),
    /// Opens this many request streams and sends nothing on them. Whatever comes on a later one opens
    /// them at the other end (RFC 9000, section 2.1).
    Open(usize),
    /// Opens a request stream, sends the first bytes at once, and each of the others after a while.
    Drip(Vec<u8>, Vec<u8>),
    /// Opens a stream of one direction and sends each byte after a while.
    DripOneWay(Vec<u8>),
    /// Sends a request and reads nothing of the response.
    Unread(Vec<u8>),
    /// Sends a request and reads a little of the response now and then.
    Sip(Vec<u8>),
    /// Waits until the gateway's decoder stream has said this since the last time.
    Answers(Vec<u8>),
    /// Grants 1024 bytes on each of the gateway's streams, and no more on its decoder stream.
    Deaf,
}

/// How a stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Open,
    Finished,
    Reset,
    /// The response is not wanted.
    Stopped,
}

/// What the client sees on its last request stream, or of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    Status(u16),
    Reset(Code),
    Close(Code),
}

/// What a backend may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reaches {
    Nothing,
    /// Exactly this, once.
    Whole(Message),
    /// A part of a request, and never its end.
    Cut,
    /// Requests that were given up, any number of them.
    Ordinary,
}

/// A request as a backend sees it, without the fields that the gateway adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) authority: String,
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, Vec<u8>)>,
}

impl Message {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            authority: HOST.to_owned(),
            ..Self::default()
        }
    }

    pub(crate) fn field(mut self, name: &str, value: &[u8]) -> Self {
        self.fields.push((name.to_owned(), value.to_vec()));
        self
    }

    pub(crate) fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    pub(crate) fn trailer(mut self, name: &str, value: &[u8]) -> Self {
        self.trailers.push((name.to_owned(), value.to_vec()));
        self
    }
}

/// A request that is refused, and of which nothing goes further.
pub(crate) fn refused(name: &'static str, bytes: Vec<u8>, expect: Expect) -> Row {
    Row {
        name,
        steps: vec![Step::Request(vec![bytes], End::Finished)],
        expect,
        reaches: Reaches::Nothing,
    }
}

/// A request that is malformed (RFC 9114, section 4.1.2).
pub(crate) fn malformed(name: &'static str, bytes: Vec<u8>) -> Row {
    refused(name, bytes, Expect::Reset(Code::MessageError))
}

/// A stream of one direction, for which the connection is closed.
pub(crate) fn closed_by(name: &'static str, bytes: Vec<u8>, code: Code) -> Row {
    Row {
        name,
        steps: vec![Step::OneWay(bytes, End::Open)],
        expect: Expect::Close(code),
        reaches: Reaches::Nothing,
    }
}

/// A request that is served.
pub(crate) fn served(name: &'static str, bytes: Vec<u8>, message: Message) -> Row {
    Row {
        name,
        steps: vec![Step::Request(vec![bytes], End::Finished)],
        expect: Expect::Status(200),
        reaches: Reaches::Whole(message),
    }
}

impl Row {
    /// Does something else before.
    pub(crate) fn after(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.steps.splice(0..0, steps);
        self
    }

    pub(crate) fn reaching(mut self, reaches: Reaches) -> Self {
        self.reaches = reaches;
        self
    }

    /// Sends the pieces a round trip apart.
    pub(crate) fn in_pieces(mut self, pieces: Vec<Vec<u8>>) -> Self {
        if let Some(Step::Request(sent, _)) = self.steps.last_mut() {
            *sent = pieces;
        }
        self
    }

    pub(crate) fn ending(mut self, end: End) -> Self {
        if let Some(Step::Request(_, last) | Step::OneWay(_, last)) = self.steps.last_mut() {
            *last = end;
        }
        self
    }
}

/// An ordinary request, which shows that the connection works.
pub(crate) fn ordinary() -> Step {
    Step::Request(vec![get(&[])], End::Finished)
}

/// The host of every request.
pub(crate) const HOST: &str = "localhost";

/// The pseudo-fields of a request.
pub(crate) fn pseudo<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [
        (":method", method),
        (":scheme", "https"),
        (":authority", HOST),
        (":path", path),
    ]
}

/// A HEADERS frame of a request with more fields.
pub(crate) fn request(method: &str, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    headers(&[&pseudo(method, path)[..], fields].concat())
}

pub(crate) fn get(fields: &[(&str, &str)]) -> Vec<u8> {
    request("GET", "/", fields)
}

pub(crate) fn post(fields: &[(&str, &str)]) -> Vec<u8> {
    request("POST", "/", fields)
}

/// A HEADERS frame of these lines.
pub(crate) fn headers(lines: &[(&str, &str)]) -> Vec<u8> {
    let lines: Vec<u8> = lines
        .iter()
        .flat_map(|(name, value)| line(name.as_bytes(), value.as_bytes()))
        .collect();
    section(&lines)
}

/// A HEADERS frame of encoded lines behind the ordinary prefix.
pub(crate) fn section(lines: &[u8]) -> Vec<u8> {
    frame(1, &[&[0, 0], lines].concat())
}

/// The encoded pseudo-fields of a GET, all of them from the static table but the authority.
pub(crate) fn encoded_get() -> Vec<u8> {
    [
        &[0xd1, 0xd7, 0xc1][..],
        &line(b":authority", HOST.as_bytes()),
    ]
    .concat()
}

/// A literal line with a literal name, neither compressed (RFC 9204, section 4.5.6).
pub(crate) fn line(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = integer(0x20, 3, name.len() as u64);
    out.extend_from_slice(name);
    out.extend(integer(0, 7, value.len() as u64));
    out.extend_from_slice(value);
    out
}

/// An integer with a prefix of so many bits (RFC 7541, section 5.1).
pub(crate) fn integer(flags: u8, prefix: u32, value: u64) -> Vec<u8> {
    let most = (1 << prefix) - 1;
    let byte = |value: u64| u8::try_from(value).unwrap();
    if value < most {
        return vec![flags | byte(value)];
    }
    let mut out = vec![flags | byte(most)];
    let mut rest = value - most;
    while rest >= 128 {
        out.push(byte(rest % 128) | 128);
        rest /= 128;
    }
    out.push(byte(rest));
    out
}

/// A frame of this type.
pub(crate) fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    [&begun(kind, payload.len() as u64)[..], payload].concat()
}

pub(crate) fn data(payload: &[u8]) -> Vec<u8> {
    frame(0, payload)
}

/// A frame's type and length alone, in their shortest forms.
pub(crate) fn begun(kind: u64, len: u64) -> Vec<u8> {
    [varint(kind), varint(len)].concat()
}

/// The shortest form of a number (RFC 9000, section 16).
pub(crate) fn varint(value: u64) -> Vec<u8> {
    match value {
        0..0x40 => vec![u8::try_from(value).unwrap()],
        0x40..0x4000 => (u16::try_from(value).unwrap() | 0x4000)
            .to_be_bytes()
            .to_vec(),
        0x4000..0x4000_0000 => (u32::try_from(value).unwrap() | 0x8000_0000)
            .to_be_bytes()
            .to_vec(),
        _ => long(value),
    }
}

/// The longest form of a number.
pub(crate) fn long(value: u64) -> Vec<u8> {
    (value | 0b11 << 62).to_be_bytes().to_vec()
}

/// The type of a control stream and empty SETTINGS.
pub(crate) const CONTROL: [u8; 3] = [0, 4, 0];

/// A control stream with SETTINGS and these frames.
pub(crate) fn control(frames: &[u8]) -> Vec<u8> {
    [&CONTROL[..], frames].concat()
}

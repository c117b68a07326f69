use std::fmt;

use super::Code;

/// What becomes of a stream or a connection on which a rule was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// The connection is closed with this code (RFC 9114, section 8).
    Close(Code),
    /// The request stream is reset with this code, and nothing else.
    Reset(Code),
    /// The request is answered with 431 (RFC 9114, section 4.2.2), and the rest of it is not read.
    TooLarge,
}

/// Declares the rules once: name, consequence, and the text for logs and the client.
macro_rules! violations {
    ($($(#[doc = $doc:literal])* $name:ident => $kind:ident$(($code:ident))?, $text:literal;)*) => {
        /// A rule that a client broke. Every rule of the engine has one of these, and can be switched
        /// off by it in [`Rules`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Violation {
            $($(#[doc = $doc])* $name,)*
        }

        impl Violation {
            /// Every rule.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What follows from breaking it.
            pub fn consequence(self) -> Consequence {
                match self {
                    $(Self::$name => Consequence::$kind$((Code::$code))?,)*
                }
            }

            /// What was wrong, in a few words.
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

violations! {
    /// RFC 9114, section 7.1.
    TruncatedFrame => Close(FrameError), "the stream ended within a frame";
    /// RFC 9114, section 7.2.8: types that HTTP/2 used.
    ReservedFrame => Close(FrameUnexpected), "frame type is reserved";
    /// RFC 9114, section 7.2.
    ControlFrameOnRequest => Close(FrameUnexpected), "control frame on a request stream";
    /// RFC 9114, section 7.2.5: a client never promises.
    PushPromise => Close(FrameUnexpected), "PUSH_PROMISE from a client";
    /// RFC 9114, section 4.1.
    DataBeforeHead => Close(FrameUnexpected), "DATA before HEADERS";
    /// RFC 9114, section 4.1.
    DataAfterTrailers => Close(FrameUnexpected), "DATA after trailers";
    /// RFC 9114, section 4.1.
    HeadersAfterTrailers => Close(FrameUnexpected), "HEADERS after trailers";
    /// RFC 9114, section 4.4.
    HeadersInTunnel => Close(FrameUnexpected), "HEADERS after CONNECT";
    /// RFC 9114, sections 7.2.1 and 7.2.2.
    MessageFrameOnControl => Close(FrameUnexpected), "DATA or HEADERS on the control stream";
    /// RFC 9114, section 7.2.4.
    SecondSettings => Close(FrameUnexpected), "second SETTINGS";
    /// RFC 9218, section 7.2.
    PriorityUpdateOnRequest => Close(FrameUnexpected), "PRIORITY_UPDATE on a request stream";
    /// RFC 9114, section 6.2.1.
    MissingSettings => Close(MissingSettings), "control stream begins without SETTINGS";
    /// No legal control frame is near the limit of 4096 bytes.
    LargeControlFrame => Close(ExcessiveLoad), "control frame is larger than the limit";
    /// RFC 9114, section 7.1.
    MalformedControlFrame => Close(FrameError), "control frame is malformed";
    /// RFC 9114, section 7.2.4.
    DuplicateSetting => Close(SettingsError), "a setting twice";
    /// RFC 9114, sections 7.2.4.1 and 11.2.2.
    ReservedSetting => Close(SettingsError), "setting is reserved";
    /// RFC 9220, section 3; RFC 9297, section 2.1.1.
    SettingValue => Close(SettingsError), "setting is neither 0 nor 1";
    /// RFC 9114, section 6.2.1.
    SecondControlStream => Close(StreamCreationError), "second control stream";
    /// RFC 9204, section 4.2.
    SecondEncoderStream => Close(StreamCreationError), "second QPACK encoder stream";
    /// RFC 9204, section 4.2.
    SecondDecoderStream => Close(StreamCreationError), "second QPACK decoder stream";
    /// RFC 9114, section 6.2.2.
    PushStream => Close(StreamCreationError), "push stream from a client";
    /// RFC 9114, section 6.2.1; RFC 9204, section 4.2.
    ClosedCriticalStream => Close(ClosedCriticalStream), "a critical stream was closed";
    /// RFC 9114, section 7.2.7.
    MaxPushIdShrank => Close(IdError), "MAX_PUSH_ID shrank";
    /// RFC 9114, section 7.2.3: nothing was ever promised.
    CancelPush => Close(IdError), "CANCEL_PUSH without a promise";
    /// RFC 9114, section 5.2.
    GoawayGrew => Close(IdError), "GOAWAY with a larger ID";
    /// RFC 9218, section 7.1.
    PriorityOfNoRequest => Close(IdError), "PRIORITY_UPDATE for no request stream";
    /// RFC 9218, section 7.1.
    PriorityBeyondLimit => Close(IdError), "PRIORITY_UPDATE beyond the stream limit";
    /// RFC 9218, section 7.1: nothing was ever promised.
    PriorityOfPush => Close(IdError), "PRIORITY_UPDATE for a push";
    /// RFC 9204, sections 2.1.2 and 4.5.1.1: no section may wait for insertions.
    RequiredInsertCount => Close(DecompressionFailed), "field section needs what was not inserted";
    /// RFC 9204, section 4.5.1.2.
    NegativeBase => Close(DecompressionFailed), "field section has a negative base";
    /// RFC 9204, section 2.2.3: evicted, or not within the Required Insert Count.
    DynamicReference => Close(DecompressionFailed), "reference outside the dynamic table";
    /// RFC 9204, section 3.1.
    StaticIndex => Close(DecompressionFailed), "index outside the static table";
    /// RFC 9204, section 4.1.1.
    LargeInteger => Close(DecompressionFailed), "QPACK integer is too large";
    /// RFC 9204, section 2.2.
    TruncatedSection => Close(DecompressionFailed), "field section is cut";
    /// RFC 7541, section 5.2.
    HuffmanPadding => Close(DecompressionFailed), "Huffman padding is not the end of EOS";
    /// RFC 7541, section 5.2.
    HuffmanEnd => Close(DecompressionFailed), "Huffman string contains EOS";
    /// RFC 9204, section 3.2.2.
    LargeInsertion => Close(EncoderStreamError), "insertion is larger than the dynamic table";
    /// RFC 9204, sections 2.2.3 and 3.1.
    InstructionReference => Close(EncoderStreamError), "insertion refers to no entry";
    /// RFC 9204, section 4.1.1.
    InstructionInteger => Close(EncoderStreamError), "integer of an insertion is too large";
    /// RFC 9204, section 4.1.2; RFC 7541, section 5.2.
    InstructionString => Close(EncoderStreamError), "Huffman string of an insertion is malformed";
    /// RFC 9204, section 4.3.1.
    TableCapacity => Close(EncoderStreamError), "table capacity over the limit";
    /// RFC 9204, section 4.4: nothing dynamic was ever sent.
    Acknowledgment => Close(DecoderStreamError), "acknowledgment of nothing";
    /// RFC 9204, section 4.4.2.
    CancelledInteger => Close(DecoderStreamError), "stream cancellation is too large";
    /// RFC 9297, section 2.1.
    ShortDatagram => Close(DatagramError), "datagram without a stream";
    /// RFC 9297, section 2.1: the ID is larger than a stream's can be.
    DatagramOfNoStream => Close(DatagramError), "datagram of a stream that cannot be";
    /// RFC 9297, section 2.1.
    DatagramBeyondLimit => Close(IdError), "datagram beyond the stream limit";
    /// The allowance for what is legal and useless (RFC 9114, section 10.5) is spent.
    Glitches => Close(ExcessiveLoad), "too much that means nothing";
    /// The allowance for insertions into the dynamic table (RFC 9114, section 10.5) is spent.
    Insertions => Close(ExcessiveLoad), "too many insertions into the dynamic table";
    /// The client leaves no room for the answers to its QPACK instructions.
    UnreadAnswers => Close(ExcessiveLoad), "QPACK decoder stream is not read";
    /// The allowance for requests that come to nothing (RFC 9114, section 10.5) is spent.
    Cancellations => Close(ExcessiveLoad), "too many requests given up";

    /// RFC 9114, section 4.1.1.
    IncompleteRequest => Reset(RequestIncomplete), "the stream ended before the request";
    /// RFC 9114, section 4.2.2, judged by a frame's length before its payload comes.
    LargeFrame => TooLarge, "HEADERS is longer than the limit";
    /// RFC 9114, section 4.2.2.
    LargeSection => TooLarge, "header section is larger than the limit";
    /// RFC 9114, section 10.5.1.
    ManyFields => TooLarge, "too many fields";
    /// RFC 9110, section 5.1.
    EmptyName => Reset(MessageError), "field name is empty";
    /// RFC 9114, section 4.2.
    UppercaseName => Reset(MessageError), "field name has an upper-case letter";
    /// RFC 9114, section 10.3.
    IllegalName => Reset(MessageError), "field name has an illegal character";
    /// RFC 9114, section 10.3.
    IllegalValue => Reset(MessageError), "field value has an illegal character";
    /// RFC 9110, section 5.5.
    PaddedValue => Reset(MessageError), "field value begins or ends with a space";
    /// RFC 9114, section 4.3.
    UnknownPseudoField => Reset(MessageError), "unknown pseudo-field";
    /// RFC 9114, section 4.3.1.
    SecondPseudoField => Reset(MessageError), "a pseudo-field twice";
    /// RFC 9114, section 4.3.
    LatePseudoField => Reset(MessageError), "pseudo-field behind a field";
    /// RFC 9114, section 4.3.
    PseudoFieldInTrailers => Reset(MessageError), "pseudo-field in trailers";
    /// RFC 9114, section 4.3.1.
    NoMethod => Reset(MessageError), "no :method";
    /// RFC 9114, section 4.3.1.
    NoScheme => Reset(MessageError), "no :scheme";
    /// RFC 9114, section 4.3.1.
    NoPath => Reset(MessageError), "no :path";
    /// RFC 9114, section 4.3.1.
    NoAuthority => Reset(MessageError), "no authority";
    /// RFC 9110, section 9.1.
    IllegalMethod => Reset(MessageError), "method is not a token";
    /// RFC 3986, section 3.1.
    IllegalScheme => Reset(MessageError), "scheme is not one";
    /// RFC 9114, section 4.3.1; RFC 3986, section 3.2.
    IllegalAuthority => Reset(MessageError), "authority is not one";
    /// RFC 9114, section 4.3.1.
    Userinfo => Reset(MessageError), "userinfo in the authority";
    /// RFC 9114, section 4.3.1.
    RelativePath => Reset(MessageError), "path is not absolute";
    /// RFC 3986, section 3.3.
    IllegalPath => Reset(MessageError), "path has an illegal character";
    /// RFC 9110, section 7.2.
    SecondHost => Reset(MessageError), "several host fields";
    /// RFC 9114, section 4.3.1.
    OtherHost => Reset(MessageError), "host differs from the authority";
    /// RFC 9114, section 4.2.
    ConnectionField => Reset(MessageError), "connection-specific field";
    /// RFC 9114, section 4.2.
    OtherTe => Reset(MessageError), "te is not trailers";
    /// RFC 9110, section 8.6.
    SecondLength => Reset(MessageError), "several content-length fields";
    /// RFC 9110, section 8.6.
    IllegalLength => Reset(MessageError), "content-length is not a number";
    /// RFC 9114, section 4.1.2.
    LongBody => Reset(MessageError), "more DATA than content-length";
    /// RFC 9114, section 4.1.2.
    ShortBody => Reset(MessageError), "less DATA than content-length";
    /// RFC 9110, section 6.5.1.
    Reframing => Reset(MessageError), "trailers that change the framing";
    /// RFC 9114, section 4.4.
    ConnectTarget => Reset(MessageError), "CONNECT with :scheme or :path";
    /// RFC 9110, section 9.3.6.
    ConnectPort => Reset(MessageError), "CONNECT without a port";
    /// RFC 8441, section 4; RFC 9220, section 3.
    StrayProtocol => Reset(MessageError), ":protocol without CONNECT";
    /// RFC 8441, section 4; RFC 9110, section 7.8: a token, here of at most 64 bytes.
    IllegalProtocol => Reset(MessageError), ":protocol is not the name of one";
    /// RFC 9110, section 9.3.6: what follows CONNECT is not content.
    TunnelLength => Reset(MessageError), "content-length on CONNECT";
    /// RFC 9297, section 2.
    UselessDatagram => Reset(DatagramError), "datagram of a request without a use for it";
    /// What broke no other rule, and still is no message for the `http` crate.
    Unrepresentable => Reset(MessageError), "no message";
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Violation {}

/// Which rules are held; all of them, but in tests of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules(u128);

impl Default for Rules {
    fn default() -> Self {
        Self(u128::MAX)
    }
}

impl Rules {
    /// All rules but one, to show that it is needed.
    #[doc(hidden)]
    #[must_use]
    pub fn without(self, rule: Violation) -> Self {
        Self(self.0 & !bit(rule))
    }

    /// The violation as an error, if its rule is held.
    pub(super) fn refuse(self, violation: Violation) -> Result<(), Violation> {
        if self.0 & bit(violation) == 0 {
            Ok(())
        } else {
            Err(violation)
        }
    }
}

fn bit(rule: Violation) -> u128 {
    1 << rule as u32
}

const _: () = assert!(Violation::ALL.len() <= 128, "the rules fit into their set");

//! Trace contexts (W3C Trace Context, levels 1 and 2): which are well-formed, and new ones.

use std::fmt;

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// The name of a trace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceId([u8; 32]);

impl TraceId {
    /// 32 digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Reads `traceparent`; none if there is none that is well-formed, and then there is no trace
/// (section 3.2.2.4).
pub(crate) fn trace_id(fields: &HeaderMap) -> Option<TraceId> {
    let mut values = fields.get_all(TRACEPARENT).iter();
    let value = values.next()?.as_bytes();
    if values.next().is_some() {
        return None;
    }
    let (head, more) = value.split_at_checked(LENGTH)?;
    let [version, trace, parent, flags] = parts(head)?;
    let known = version == b"00";
    let hex = |part: &[u8]| {
        part.iter()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte))
    };
    let zero = |part: &[u8]| part.iter().all(|&byte| byte == b'0');
    let well_formed = [version, trace, parent, flags].into_iter().all(hex)
        && version != b"ff"
        && !zero(trace)
        && !zero(parent)
        && (more.is_empty() || !known && more.starts_with(b"-"));
    let trace = trace.try_into().ok()?;
    well_formed.then_some(TraceId(trace))
}

/// Whether `tracestate` is well-formed, over all of its lines (section 3.3.1).
pub(crate) fn is_state(fields: &HeaderMap) -> bool {
    let mut keys: Vec<&[u8]> = Vec::new();
    let members = fields
        .get_all(TRACESTATE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty());
    for member in members {
        let Some(equals) = member.iter().position(|&byte| byte == b'=') else {
            return false;
        };
        let (key, value) = (&member[..equals], &member[equals + 1..]);
        if keys.len() == MEMBERS || keys.contains(&key) || !is_key(key) || !is_value(value) {
            return false;
        }
        keys.push(key);
    }
    true
}

/// A new `traceparent` out of random bytes, which is to be recorded in so many of 100 cases. Its random
/// flag says that its ID is random (level 2, section 3.2.2.5).
pub(crate) fn start(random: [u8; 24], sampled_percent: u8) -> (TraceId, HeaderValue) {
    let [drawn @ .., _, _, _, _, _, _, _, _] = &random;
    let mut trace = [0; 16];
    trace.copy_from_slice(drawn);
    // Neither ID may be zero.
    trace[0] |= 1;
    let mut parent = [0; 8];
    parent.copy_from_slice(&random[16..]);
    parent[0] |= 1;
    let sampled = u64::from_be_bytes(parent) >> 8;
    let flags = if sampled % 100 < u64::from(sampled_percent) {
        "03"
    } else {
        "02"
    };
    let text = format!(
        "00-{:032x}-{:016x}-{flags}",
        u128::from_be_bytes(trace),
        u64::from_be_bytes(parent)
    );
    let mut id = [b'0'; 32];
    id.copy_from_slice(&text.as_bytes()[3..35]);
    let value = HeaderValue::try_from(text).expect("hexadecimal digits are legal");
    (TraceId(id), value)
}

fn parts(head: &[u8]) -> Option<[&[u8]; 4]> {
    let dashes = [2, 35, 52].iter().all(|&at| head[at] == b'-');
    dashes.then(|| [&head[..2], &head[3..35], &head[36..52], &head[53..]])
}

/// Level 2, section 3.3.1.3.1: a key may begin with a digit there, which level 1 allows only of tenants.
fn is_key(key: &[u8]) -> bool {
    let first = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let legal = |byte: &u8| first(byte) || b"_-*/".contains(byte);
    let mut parts = key.splitn(2, |&byte| byte == b'@');
    (1..=256).contains(&key.len())
        && parts.all(|part| part.first().is_some_and(first) && part.iter().all(legal))
}

fn is_value(value: &[u8]) -> bool {
    let legal = |byte: &u8| (b' '..=b'~').contains(byte) && !b",=".contains(byte);
    (1..=256).contains(&value.len()) && value.iter().all(legal)
}

pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const LENGTH: usize = 55;
const MEMBERS: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(name: &HeaderName, values: &[&[u8]]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for value in values {
            fields.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        fields
    }

    #[test]
    fn only_what_the_specification_calls_valid_is_a_trace() {
        const GOOD: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let read = |values: &[&[u8]]| trace_id(&fields(&TRACEPARENT, values));
        let id = read(&[GOOD]).unwrap();
        assert_eq!(id.as_str(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let later = b"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what.comes";
        assert_eq!(read(&[later]), Some(id));
        assert_eq!(read(&[&later[..55]]), Some(id));
        for wrong in [
            &b""[..],
            b"00",
            b"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            b"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.x",
            b"00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
            b"00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-\xff1",
        ] {
            assert_eq!(read(&[wrong]), None, "{:?}", String::from_utf8_lossy(wrong));
        }
        assert_eq!(read(&[GOOD, GOOD]), None);
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn a_state_is_a_list_of_distinct_keys() {
        let state = |values: &[&[u8]]| is_state(&fields(&TRACESTATE, values));
        assert!(state(&[]));
        assert!(state(&[b"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"]));
        assert!(state(&[b"a=1, ,\tb=2", b"1tenant@sys=x y"]));
        for wrong in [
            &b"a"[..],
            b"=1",
            b"a=",
            b"A=1",
            b"a=1,a=2",
            b"a=1=2",
            b"a b=1",
            b"@x=1",
            b"a@=1",
            b"a@b@c=1",
            b"a=\xff",
        ] {
            assert!(!state(&[wrong]), "{:?}", String::from_utf8_lossy(wrong));
        }
        let many = |count: usize| {
            let members: Vec<_> = (0..count).map(|number| format!("k{number}=1")).collect();
            state(&[members.join(",").as_bytes()])
        };
        assert!(many(32) && !many(33));
        assert!(!state(&[format!("a={}", "x".repeat(257)).as_bytes()]));
    }

    #[test]
    fn what_is_started_is_a_trace() {
        for (random, percent, flags) in [([0; 24], 100, "03"), ([0xff; 24], 0, "02")] {
            let (id, value) = start(random, percent);
            let mut fields = HeaderMap::new();
            fields.insert(TRACEPARENT, value);
            assert_eq!(trace_id(&fields), Some(id));
            assert!(fields[TRACEPARENT].to_str().unwrap().ends_with(flags));
        }
    }

    /// The same rules in other words.
    mod second {
        use std::collections::HashSet;

        pub(super) fn trace_id(value: &str) -> Option<&str> {
            let parts: Vec<&str> = value.split('-').collect();
            let [version, trace, parent, flags, more @ ..] = parts.as_slice() else {
                return None;
            };
            let hex = |(text, digits): (&str, usize)| {
                text.len() == digits
                    && text
                        .chars()
                        .all(|letter| "0123456789abcdef".contains(letter))
            };
            let sizes = [(*version, 2), (*trace, 32), (*parent, 16), (*flags, 2)];
            let is_zero = |text: &str| text.trim_matches('0').is_empty();
            let fine = sizes.into_iter().all(hex)
                && !is_zero(trace)
                && !is_zero(parent)
                && *version != "ff"
                && (*version != "00" || more.is_empty());
            fine.then_some(*trace)
        }

        pub(super) fn is_state(value: &str) -> bool {
            let mut keys = HashSet::new();
            let blank = |letter: char| " \t\n\r\u{c}".contains(letter);
            let members = value.split(',').map(|text| text.trim_matches(blank));
            let members = members.filter(|text| !text.is_empty());
            members.into_iter().all(|member| {
                let (key, value) = member.split_once('=').unwrap_or((member, ""));
                let (tenant, system) = key.split_once('@').unwrap_or((key, "x"));
                [tenant, system].into_iter().all(is_part)
                    && keys.insert(key.to_owned())
                    && keys.len() <= 32
                    && key.len() <= 256
                    && !value.is_empty()
                    && value.len() <= 256
                    && value
                        .chars()
                        .all(|letter| (' '..='~').contains(&letter) && letter != '=')
            })
        }

        fn is_part(text: &str) -> bool {
            let first = |letter: char| letter.is_ascii_digit() || letter.is_ascii_lowercase();
            text.starts_with(first)
                && text
                    .chars()
                    .all(|letter| first(letter) || "_-*/".contains(letter))
        }
    }

    fn parent() -> impl Strategy<Value = String> {
        let nearly = |digits: usize| {
            format!(
                "[0-9a-f]{{{digits}}}|0{{{digits}}}|[0-9a-fA-Fg]{{{}}}",
                digits - 1
            )
        };
        let [two, sixteen, thirty_two] = [2, 16, 32].map(nearly);
        let regex =
            format!("(00|00|ff|{two})-({thirty_two})-({sixteen})-({two})(-[ -~]{{0,3}}|.?)");
        prop_oneof![
            proptest::string::string_regex(&regex).unwrap(),
            "[ -~]{0,60}"
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn two_readers_of_a_trace_read_the_same(text in parent()) {
            prop_assume!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            let read = trace_id(&fields(&TRACEPARENT, &[text.as_bytes()]));
            prop_assert_eq!(read.as_ref().map(TraceId::as_str), second::trace_id(&text));
        }

        #[test]
        fn two_readers_of_a_state_agree(
            text in "((a|b|1|A|@|a@b|_|=|1=2|k[0-9])(=|=|@|)([a=~ 1]|x{255,257}|)(,|,| ,\t|)){0,40}",
        ) {
            let read = is_state(&fields(&TRACESTATE, &[text.as_bytes()]));
            prop_assert_eq!(read, second::is_state(&text));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(
            values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..70), 0..3),
        ) {
            let legal = |value: &Vec<u8>| HeaderValue::from_bytes(value).is_ok();
            let values: Vec<_> = values.iter().filter(|value| legal(value)).map(Vec::as_slice).collect();
            let _id = trace_id(&fields(&TRACEPARENT, &values));
            is_state(&fields(&TRACESTATE, &values));
        }

        #[test]
        fn what_is_started_is_read_again(random: [u8; 24], percent in 0..=100_u8) {
            let (id, value) = start(random, percent);
            let text = value.to_str().unwrap().to_owned();
            prop_assert_eq!(second::trace_id(&text), Some(id.as_str()));
        }
    }
}

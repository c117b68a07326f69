//! Tokens and claims out of any bytes: what is read is what was written.

use proptest::prelude::*;

use super::*;

/// The parts of a token, right and nearly right.
fn token() -> impl Strategy<Value = Vec<u8>> {
    let header = prop::sample::select(vec![
        r#"{"alg":"ES256","kid":"p256"}"#,
        r#"{"alg":"none"}"#,
        r#"{"alg":"HS256","kid":7}"#,
        r#"{"alg":"RS256","crit":["b64"],"b64":false}"#,
        r#"{"alg":["ES256"]}"#,
        r#"{"kid":"p256"}"#,
        r#"["ES256"]"#,
        "{",
        "",
    ]);
    let encoded = prop_oneof![
        header.prop_map(b64),
        prop::collection::vec(any::<u8>(), 0..12).prop_map(b64),
    ];
    let spoilt = prop_oneof![
        6 => Just(String::new()),
        1 => "[A-Za-z0-9_=+/. -]{1,2}",
    ];
    let part = (encoded, spoilt).prop_map(|(text, more)| text + &more);
    let token = prop::collection::vec(part, 2..5).prop_map(|parts| parts.join(".").into_bytes());
    prop_oneof![9 => token, 1 => prop::collection::vec(any::<u8>(), 0..40)]
}

fn value() -> impl Strategy<Value = Value> {
    let text = "[ -~]{0,6}|[a-c,\t\u{e9}\r\n ]{0,3}";
    let one = prop_oneof![
        4 => text.prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => Just(json!({"a": 1})),
    ];
    one.prop_recursive(1, 4, 4, |inner| {
        prop::collection::vec(inner, 0..4).prop_map(Value::Array)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// There is one way to write each token that is taken: none can be changed and stay the same one.
    #[test]
    fn a_token_that_is_read_is_the_one_that_was_written(token in token()) {
        let texts: Vec<_> = token.split(|&byte| byte == b'.').collect();
        let decoded = |text: &[u8]| URL_SAFE_NO_PAD.decode(text).ok();
        let header = texts.first().and_then(|text| decoded(text));
        let header = header.and_then(|json| serde_json::from_slice::<Value>(&json).ok());
        if let Ok(signed) = Signed::parse(&token) {
                let whole = [signed.message, b".", b64(&signed.signature).as_bytes()].concat();
                prop_assert_eq!(&whole, &token);
                let header = header.unwrap();
                prop_assert_eq!(texts.len(), 3);
                let again = b64(decoded(texts[0]).unwrap());
                prop_assert_eq!(again.as_bytes(), texts[0]);
                prop_assert_eq!(header.get("kid").and_then(Value::as_str), signed.kid());
                prop_assert!(header.get("crit").is_none() && header.get("b64").is_none());
                let named = header["alg"].as_str().unwrap();
                let pinned = signed.algorithm(&[JwtAlgorithm::Es256]);
                prop_assert_eq!(pinned.is_ok(), named == "ES256");
                if let Ok(claims) = signed.claims() {
                    let again = b64(decoded(texts[1]).unwrap());
                prop_assert_eq!(again.as_bytes(), texts[1]);
                    let read: Value = serde_json::from_slice(&decoded(texts[1]).unwrap()).unwrap();
                    prop_assert_eq!(read, Value::Object(claims));
                }
        } else {
                let fine = texts.len() == 3
                    && decoded(texts[2]).is_some()
                    && header.is_some_and(|header| {
                        header.get("alg").is_some_and(Value::is_string)
                            && header.get("kid").is_none_or(Value::is_string)
                            && header.get("crit").is_none()
                            && header.get("b64").is_none()
                    });
                prop_assert!(!fine, "{}", String::from_utf8_lossy(&token));
        }
    }

    /// A backend that cuts a list at its commas, and takes spaces off, has the claim again.
    #[test]
    fn a_claim_that_is_told_is_the_one_that_was_signed(claim in value()) {
        let claims = Value::Object([("c".to_owned(), claim.clone())].into_iter().collect());
        let wanted = [("c".to_owned(), HeaderName::from_static("x-c"))];
        let Ok(told) = claims::fields(claims.as_object().unwrap(), &wanted) else {
            return Ok(());
        };
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        match (told.as_slice(), &claim) {
            ([], claim) => prop_assert!(claim.is_null()),
            ([(_, value)], Value::Array(items)) => {
                let said = std::str::from_utf8(value.as_bytes()).unwrap();
                let said = said.split(',').map(str::trim).filter(|item| !item.is_empty());
                let signed: Vec<_> = items.iter().map(text).collect();
                prop_assert_eq!(said.collect::<Vec<_>>(), signed);
            }
            ([(_, value)], claim) => {
                prop_assert_eq!(std::str::from_utf8(value.as_bytes()).unwrap(), text(claim));
            }
            _ => prop_assert!(false, "one field for one claim"),
        }
    }

    #[test]
    fn terms_are_checked_without_a_panic(names in prop::collection::vec(value(), 4), now: u32) {
        let names = ["iss", "aud", "exp", "nbf"].into_iter().map(str::to_owned).zip(names);
        let claims = Value::Object(names.collect());
        let terms = Terms {
            issuer: "a".to_owned(),
            audience: vec!["b".to_owned()],
            leeway: Duration::from_secs(1),
        };
        let at = UNIX_EPOCH + Duration::from_secs(now.into());
        if terms.check(claims.as_object().unwrap(), at).is_ok() {
            prop_assert_eq!(&claims["iss"], "a");
            prop_assert!(claims["exp"].as_f64().unwrap() + 1.0 > f64::from(now));
        }
    }
}

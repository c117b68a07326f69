//! Tokens as an attacker would write them, and sets of keys as an issuer should not.

mod fetching;
mod written;

use std::io::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair,
};
use aws_lc_rs::{hmac, rsa};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::key_set::{KeySet, KeySetError};
use super::*;
use crate::config::{ClaimTo, JwtKeys};

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// An issuer with a key of each type, and an attacker who has the public ones.
struct Issuer {
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

impl Issuer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        Self {
            rsa: RsaKeyPair::generate(rsa::KeySize::Rsa2048).unwrap(),
            p256: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            p384: EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap(),
            ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap(),
        }
    }

    fn jwk(&self, kid: &str) -> Value {
        let ec = |pair: &EcdsaKeyPair, curve: &str| {
            let point = &pair.public_key().as_ref()[1..];
            let (x, y) = point.split_at(point.len() / 2);
            json!({"kty": "EC", "crv": curve, "kid": kid, "x": b64(x), "y": b64(y)})
        };
        match kid {
            "rsa" => {
                let public = self.rsa.public_key();
                let n = b64(public.modulus().big_endian_without_leading_zero());
                let e = b64(public.exponent().big_endian_without_leading_zero());
                json!({"kty": "RSA", "kid": kid, "use": "sig", "n": n, "e": e})
            }
            "p256" => ec(&self.p256, "P-256"),
            "p384" => ec(&self.p384, "P-384"),
            _ => {
                let x = b64(self.ed.public_key());
                json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x, "alg": "EdDSA"})
            }
        }
    }

    fn jwks(&self) -> Value {
        let keys = ["rsa", "p256", "p384", "ed"].map(|kid| self.jwk(kid));
        json!({ "keys": keys })
    }

    /// Signs by what the header says, or by nothing.
    fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
        let bytes = message.as_bytes();
        let random = SystemRandom::new();
        let of_rsa = |encoding| {
            let mut signature = vec![0; self.rsa.public_modulus_len()];
            self.rsa
                .sign(encoding, &random, bytes, &mut signature)
                .unwrap();
            signature
        };
        let signature = match header["alg"].as_str().unwrap_or_default() {
            "RS256" => of_rsa(&RSA_PKCS1_SHA256),
            "PS256" => of_rsa(&RSA_PSS_SHA256),
            "ES256" => self.p256.sign(&random, bytes).unwrap().as_ref().to_vec(),
            "ES384" => self.p384.sign(&random, bytes).unwrap().as_ref().to_vec(),
            "EdDSA" => self.ed.sign(bytes).as_ref().to_vec(),
            _ => Vec::new(),
        };
        format!("{message}.{}", b64(signature))
    }
}

const NOW: u64 = 1_800_000_000;

fn claims() -> Value {
    json!({
        "iss": "https://login.test/",
        "aud": "api",
        "sub": "ann",
        "exp": NOW + 600,
        "nbf": NOW - 600,
        "scope": ["read", "write"],
    })
}

fn changed(of: &Value, name: &str, value: Value) -> Value {
    let mut claims = of.clone();
    claims[name] = value;
    claims
}

fn es256() -> Value {
    json!({"alg": "ES256", "kid": "p256"})
}

fn file(content: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file
}

fn jwt(algorithms: &[JwtAlgorithm], keys: JwtKeys) -> Jwt {
    let mut jwt = Jwt::new("login", "https://login.test/", keys);
    jwt.audience = vec!["web".into(), "api".into()];
    jwt.algorithms = algorithms.to_vec();
    jwt.claims_to = [
        ("sub", "x-user"),
        ("scope", "x-scope"),
        ("level", "x-level"),
    ]
    .map(|(claim, field)| ClaimTo {
        claim: claim.into(),
        field: field.into(),
    })
    .into();
    jwt
}

fn tokens_of(jwt: &Jwt) -> Result<Tokens, TokenError> {
    Tokens::new(jwt, &GateMetrics::default(), &Kept::default())
}

fn tokens(issuer: &Issuer, algorithms: &[JwtAlgorithm]) -> Tokens {
    let jwks = file(&issuer.jwks().to_string());
    let keys = JwtKeys {
        file: Some(jwks.path().to_owned()),
        ..JwtKeys::default()
    };
    tokens_of(&jwt(algorithms, keys)).unwrap()
}

const PINNED: [JwtAlgorithm; 3] = [
    JwtAlgorithm::Rs256,
    JwtAlgorithm::Es256,
    JwtAlgorithm::EdDsa,
];

fn bearing(token: &str) -> HeaderMap {
    let mut fields = HeaderMap::new();
    let value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
    fields.insert(header::AUTHORIZATION, value);
    fields
}

fn outcome(tokens: &Tokens, fields: &HeaderMap) -> Result<Vec<(String, String)>, Refusal> {
    let now = UNIX_EPOCH + Duration::from_secs(NOW);
    let fields = tokens.verified(fields, now)?.into_iter();
    let text = |value: HeaderValue| String::from_utf8(value.as_bytes().to_vec()).unwrap();
    Ok(fields
        .map(|(name, value)| (name.as_str().to_owned(), text(value)))
        .collect())
}

#[test]
fn a_valid_token_of_each_type_of_key_is_accepted_and_tells_its_claims() {
    let issuer = Issuer::new();
    let algorithms = [
        ("RS256", "rsa", JwtAlgorithm::Rs256),
        ("PS256", "rsa", JwtAlgorithm::Ps256),
        ("ES256", "p256", JwtAlgorithm::Es256),
        ("ES384", "p384", JwtAlgorithm::Es384),
        ("EdDSA", "ed", JwtAlgorithm::EdDsa),
    ];
    let tokens = tokens(&issuer, &algorithms.map(|(_, _, algorithm)| algorithm));
    let told = vec![
        ("x-user".to_owned(), "ann".to_owned()),
        ("x-scope".to_owned(), "read,write".to_owned()),
    ];
    for (name, kid, _) in algorithms {
        let token = issuer.sign(&json!({"alg": name, "kid": kid}), &claims());
        assert_eq!(
            outcome(&tokens, &bearing(&token)),
            Ok(told.clone()),
            "{name}"
        );
    }
    // One key fits each of these, so it need not be named.
    for name in ["RS256", "ES256", "ES384", "EdDSA"] {
        let token = issuer.sign(&json!({"alg": name}), &claims());
        assert!(outcome(&tokens, &bearing(&token)).is_ok(), "{name}");
    }
}

/// What a token is like, the token, and why it is refused.
type Row = (&'static str, String, Refusal);

#[track_caller]
fn refuses(tokens: &Tokens, rows: impl IntoIterator<Item = Row>) {
    for (what, token, refusal) in rows {
        assert_eq!(outcome(tokens, &bearing(&token)), Err(refusal), "{what}");
    }
}

#[test]
fn what_an_attacker_writes_into_the_header_is_refused_for_the_right_reason() {
    let (issuer, own) = (Issuer::new(), Issuer::new());
    let tokens = tokens(&issuer, &PINNED);
    let payload = b64(claims().to_string());
    let unsigned = |alg: &str| {
        let header = b64(json!({"alg": alg, "kid": "p256"}).to_string());
        format!("{header}.{payload}.")
    };
    let header = |header: Value| issuer.sign(&header, &claims());
    let confused = {
        let secret = issuer.jwk("rsa")["n"].as_str().unwrap().to_owned();
        let message = format!("{}.{payload}", b64(r#"{"alg":"HS256","kid":"rsa"}"#));
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        format!("{message}.{}", b64(hmac::sign(&key, message.as_bytes())))
    };
    let mut extra = es256();
    extra["x"] = "y".repeat(8000).into();
    let rows = [
        ("the public key as a secret", confused, Refusal::Algorithm),
        ("none", unsigned("none"), Refusal::Algorithm),
        ("nOnE", unsigned("nOnE"), Refusal::Algorithm),
        ("no algorithm", header(json!({"kid": "p256"})), Refusal::Malformed),
        ("a list of algorithms", header(json!({"alg": ["ES256"], "kid": "p256"})), Refusal::Malformed),
        ("not pinned", header(json!({"alg": "PS256", "kid": "rsa"})), Refusal::Algorithm),
        ("not pinned, another curve", header(json!({"alg": "ES384", "kid": "p384"})), Refusal::Algorithm),
        ("another key's name", header(json!({"alg": "ES256", "kid": "ed"})), Refusal::UnknownKey),
        ("a path", header(json!({"alg": "ES256", "kid": "../../../dev/null"})), Refusal::UnknownKey),
        ("SQL", header(json!({"alg": "ES256", "kid": "' or '1'='1"})), Refusal::UnknownKey),
        ("no name", header(json!({"alg": "ES256", "kid": ""})), Refusal::UnknownKey),
        ("a number as a name", header(json!({"alg": "ES256", "kid": 1})), Refusal::Malformed),
        (
            "a key of its own",
            own.sign(&json!({"alg": "ES256", "kid": "p256", "jwk": own.jwk("p256")}), &claims()),
            Refusal::Signature,
        ),
        (
            "a key of its own that the set has not",
            own.sign(&json!({"alg": "ES256", "kid": "own", "jwk": own.jwk("p256")}), &claims()),
            Refusal::UnknownKey,
        ),
        (
            "keys elsewhere",
            own.sign(
                &json!({"alg": "ES256", "kid": "p256", "jku": "https://evil.test/", "x5u": "https://evil.test/"}),
                &claims(),
            ),
            Refusal::Signature,
        ),
        ("critical", header(json!({"alg": "ES256", "kid": "p256", "crit": ["exp"]})), Refusal::Critical),
        ("nothing critical", header(json!({"alg": "ES256", "kid": "p256", "crit": []})), Refusal::Critical),
        ("not encoded", header(json!({"alg": "ES256", "kid": "p256", "b64": false})), Refusal::Critical),
        ("huge", issuer.sign(&extra, &claims()), Refusal::TooLarge),
    ];
    refuses(&tokens, rows);
}

#[test]
fn claims_that_are_not_meant_for_here_and_now_are_refused_for_the_right_reason() {
    let issuer = Issuer::new();
    let tokens = tokens(&issuer, &PINNED);
    let with = |name: &str, value: Value| issuer.sign(&es256(), &changed(&claims(), name, value));
    let rows = [
        (
            "another issuer",
            with("iss", "https://login.test".into()),
            Refusal::Issuer,
        ),
        (
            "several issuers",
            with("iss", json!(["https://login.test/"])),
            Refusal::Issuer,
        ),
        ("no issuer", with("iss", Value::Null), Refusal::Issuer),
        ("for others", with("aud", "apis".into()), Refusal::Audience),
        (
            "for several others",
            with("aud", json!(["a", 1, {"api": "api"}])),
            Refusal::Audience,
        ),
        ("for nobody", with("aud", json!([])), Refusal::Audience),
        ("expired", with("exp", (NOW - 30).into()), Refusal::Expired),
        (
            "without an end",
            issuer.sign(
                &es256(),
                &json!({"iss": "https://login.test/", "aud": "api"}),
            ),
            Refusal::Expired,
        ),
        (
            "an end in words",
            with("exp", "never".into()),
            Refusal::Malformed,
        ),
        (
            "an end beyond numbers",
            with("exp", Value::Null),
            Refusal::Malformed,
        ),
        ("not yet", with("nbf", (NOW + 31).into()), Refusal::NotYet),
        (
            "a beginning in words",
            with("nbf", "now".into()),
            Refusal::Malformed,
        ),
    ];
    refuses(&tokens, rows);
}

#[test]
fn claims_that_no_field_can_hold_are_refused() {
    let issuer = Issuer::new();
    let tokens = tokens(&issuer, &PINNED);
    let with = |name: &str, value: Value| issuer.sign(&es256(), &changed(&claims(), name, value));
    let rows = [
        (
            "a claim that is an object",
            with("sub", json!({"a": 1})),
            Refusal::Claim,
        ),
        (
            "a claim with a line break",
            with("sub", "ann\r\nx-admin: yes".into()),
            Refusal::Claim,
        ),
        (
            "a claim with a comma in a list",
            with("scope", json!(["read,admin"])),
            Refusal::Claim,
        ),
        (
            "a claim that is long",
            with("sub", "a".repeat(1025).into()),
            Refusal::Claim,
        ),
        (
            "a claim that ends with a space",
            with("sub", "ann ".into()),
            Refusal::Claim,
        ),
    ];
    refuses(&tokens, rows);
}

#[test]
fn what_is_not_signed_by_the_key_is_refused() {
    let issuer = Issuer::new();
    let tokens = tokens(&issuer, &PINNED);
    let good = issuer.sign(&es256(), &claims());
    let parts: Vec<&str> = good.split('.').collect();
    let signature = URL_SAFE_NO_PAD.decode(parts[2]).unwrap();
    let signed = |signature: &[u8]| format!("{}.{}.{}", parts[0], parts[1], b64(signature));
    let rows = [
        (
            "a signature of other claims",
            format!(
                "{}.{}.{}",
                parts[0],
                b64(changed(&claims(), "sub", "bob".into()).to_string()),
                parts[2]
            ),
            Refusal::Signature,
        ),
        ("no signature", signed(&[]), Refusal::Signature),
        (
            "a short signature",
            signed(&signature[..63]),
            Refusal::Signature,
        ),
        (
            "a long signature",
            signed(&[&signature[..], &[0]].concat()),
            Refusal::Signature,
        ),
        ("a signature of zeros", signed(&[0; 64]), Refusal::Signature),
        (
            "a signature in DER",
            signed(&der(&signature)),
            Refusal::Signature,
        ),
    ];
    assert!(outcome(&tokens, &bearing(&good)).is_ok());
    refuses(&tokens, rows);
}

#[test]
fn what_is_no_token_is_malformed() {
    let issuer = Issuer::new();
    let tokens = tokens(&issuer, &PINNED);
    let good = issuer.sign(&es256(), &claims());
    let parts: Vec<&str> = good.split('.').collect();
    let rows = [
        ("padding", format!("{good}="), Refusal::Malformed),
        (
            "bits that mean nothing",
            format!("{}.{}.{}", parts[0], parts[1], with_spare_bits(parts[2])),
            Refusal::Malformed,
        ),
        (
            "plain base64",
            format!("{}.{}.+/{}", parts[0], parts[1], parts[2].split_at(2).1),
            Refusal::Malformed,
        ),
        (
            "two parts",
            format!("{}.{}", parts[0], parts[1]),
            Refusal::Malformed,
        ),
        ("four parts", format!("{good}.a"), Refusal::Malformed),
        (
            "five parts, as encrypted ones have",
            format!("{good}.a.b"),
            Refusal::Malformed,
        ),
        ("dots", "..".to_owned(), Refusal::Malformed),
        ("two tokens", format!("{good}, {good}"), Refusal::Malformed),
        (
            "no JSON",
            format!("{}.{}.{}", b64("{"), parts[1], parts[2]),
            Refusal::Malformed,
        ),
        (
            "deep JSON",
            format!(
                "{}.{}.{}",
                b64(format!("{{\"alg\":{}", "[".repeat(4000))),
                parts[1],
                parts[2]
            ),
            Refusal::Malformed,
        ),
    ];
    assert!(outcome(&tokens, &bearing(&good)).is_ok());
    refuses(&tokens, rows);
}

/// The same two numbers as ASN.1 has them, which JOSE does not take.
fn der(signature: &[u8]) -> Vec<u8> {
    let integer = |bytes: &[u8]| [&[2, 33, 0], bytes].concat();
    let both = [integer(&signature[..32]), integer(&signature[32..])].concat();
    [&[0x30, 70][..], &both].concat()
}

/// The same bytes, written with a last digit that has more bits than they need.
fn with_spare_bits(text: &str) -> String {
    let (rest, last) = text.split_at(text.len() - 1);
    let digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let at = digits.find(last).unwrap();
    format!("{rest}{}", digits.as_bytes()[at | 1] as char)
}

#[test]
fn clocks_may_differ_by_the_leeway_and_no_more() {
    let issuer = Issuer::new();
    let tokens = tokens(&issuer, &PINNED);
    let with = |name: &str, value: Value| {
        let token = issuer.sign(&es256(), &changed(&claims(), name, value));
        outcome(&tokens, &bearing(&token)).map(drop)
    };
    assert_eq!(with("exp", (NOW - 29).into()), Ok(()));
    assert_eq!(with("exp", json!(1_799_999_970.5)), Ok(()));
    assert_eq!(with("exp", (NOW - 30).into()), Err(Refusal::Expired));
    assert_eq!(with("exp", (-1).into()), Err(Refusal::Expired));
    assert_eq!(with("nbf", (NOW + 30).into()), Ok(()));
    assert_eq!(with("nbf", (NOW + 31).into()), Err(Refusal::NotYet));
}

#[test]
fn a_token_is_in_one_place_and_there_once() {
    let issuer = Issuer::new();
    let mut tokens = tokens(&issuer, &PINNED);
    let good = issuer.sign(&es256(), &claims());
    let with = |tokens: &Tokens, list: &[(&'static str, String)]| {
        let mut fields = HeaderMap::new();
        for (name, value) in list {
            fields.append(*name, value.parse().unwrap());
        }
        outcome(tokens, &fields).map(drop)
    };
    let bearer = ("authorization", format!("bEaReR   {good}"));
    assert_eq!(with(&tokens, std::slice::from_ref(&bearer)), Ok(()));
    assert_eq!(with(&tokens, &[]), Err(Refusal::Missing));
    for other in ["Basic YTpi", "Bearer", "Bearer ", "", "Bearerx", &good] {
        let value = ("authorization", other.trim_end().to_owned());
        assert_eq!(with(&tokens, &[value]), Err(Refusal::Missing), "{other}");
    }
    let twice = [bearer.clone(), bearer.clone()];
    assert_eq!(with(&tokens, &twice), Err(Refusal::Repeated));
    let cookie = |text: String| ("cookie", text);
    let alone = cookie(format!("a=b; at={good}"));
    assert_eq!(
        with(&tokens, std::slice::from_ref(&alone)),
        Err(Refusal::Missing)
    );
    tokens.cookie = Some("at".into());
    assert_eq!(with(&tokens, std::slice::from_ref(&alone)), Ok(()));
    assert_eq!(
        with(&tokens, &[alone.clone(), alone.clone()]),
        Err(Refusal::Repeated)
    );
    // Of the two the one wins that a site beside this one cannot set.
    assert_eq!(with(&tokens, &[cookie("at=bad".into()), bearer]), Ok(()));
    let basic = ("authorization", "Basic YTpi".to_owned());
    assert_eq!(with(&tokens, &[alone, basic]), Err(Refusal::Missing));
}

#[test]
fn backends_get_the_token_only_where_they_are_to_have_it() {
    let issuer = Issuer::new();
    let mut tokens = tokens(&issuer, &PINNED);
    tokens.cookie = Some("at".into());
    let mut far = claims();
    far["exp"] = 9_000_000_000_u64.into();
    far["nbf"] = 0.into();
    let good = issuer.sign(&es256(), &far);
    for passed_on in [true, false] {
        tokens.passed_on = passed_on;
        let mut fields = bearing(&good);
        fields.append(
            header::COOKIE,
            format!("a=b; at={good};c=d").parse().unwrap(),
        );
        fields.append(header::COOKIE, "e=f".parse().unwrap());
        tokens.admit(&mut fields).unwrap();
        assert_eq!(fields.contains_key(header::AUTHORIZATION), passed_on);
        let cookies = fields.get(header::COOKIE).unwrap().to_str().unwrap();
        assert_eq!(cookies.contains("at="), passed_on);
        if !passed_on {
            assert_eq!(cookies, "a=b; c=d; e=f");
        }
        assert_eq!(fields["x-user"], "ann");
        assert!(fields["x-user"].is_sensitive());
    }
}

#[test]
fn clients_and_logs_are_told_nothing_of_a_token() {
    let issuer = Issuer::new();
    let tokens = tokens(&issuer, &PINNED);
    let expired = issuer.sign(&es256(), &changed(&claims(), "exp", 1.into()));
    let forged = format!("{expired}x");
    let mut seen = Vec::new();
    for token in [&expired, &forged] {
        let error = tokens.admit(&mut bearing(token)).unwrap_err();
        seen.push((error.status(), error.challenge(), error.to_string()));
    }
    assert_eq!(seen[0], seen[1], "no oracle");
    assert_eq!(
        seen[0].1,
        Some("Bearer realm=\"wayhold\", error=\"invalid_token\"")
    );
    let missing = tokens.admit(&mut HeaderMap::new()).unwrap_err();
    assert_eq!(missing, RequestError::TokenMissing);
    assert_eq!(missing.challenge(), Some("Bearer realm=\"wayhold\""));
    let shown = format!(
        "{:?} {tokens:?}",
        Signed::parse(expired.as_bytes()).unwrap()
    );
    for part in expired.split('.') {
        assert!(!shown.contains(part));
    }
    let count = |reason| {
        let label = TokenReason {
            jwt: "login".into(),
            reason,
        };
        tokens.metrics.tokens_refused.get_or_create(&label).get()
    };
    assert_eq!((count("missing"), count("expired")), (1, 1));
    assert_eq!(count("signature") + count("malformed"), 1);
}

#[test]
fn keys_are_taken_for_what_they_say_they_are_for() {
    use JwtAlgorithm::{Es256, Hs256, Ps256, Rs256};
    let issuer = Issuer::new();
    let (rsa, p256) = (issuer.jwk("rsa"), issuer.jwk("p256"));
    let mut short = rsa.clone();
    short["n"] = b64([0xff; 128]).into();
    let secret = json!({"kty": "oct", "k": b64([7; 64]), "alg": "HS256"});
    for (what, jwk, algorithms, count) in [
        ("rsa", rsa.clone(), vec![Rs256, Ps256], 2),
        (
            "rsa for one",
            changed(&rsa, "alg", "RS256".into()),
            vec![Rs256, Ps256],
            1,
        ),
        (
            "rsa for another",
            changed(&rsa, "alg", "RS384".into()),
            vec![Rs256],
            0,
        ),
        (
            "for encryption",
            changed(&rsa, "use", "enc".into()),
            vec![Rs256],
            0,
        ),
        (
            "for signing alone",
            changed(&rsa, "key_ops", json!(["sign"])),
            vec![Rs256],
            0,
        ),
        (
            "for verifying",
            changed(&rsa, "key_ops", json!(["verify"])),
            vec![Rs256],
            1,
        ),
        (
            "operations that are none",
            changed(&rsa, "key_ops", "verify".into()),
            vec![Rs256],
            0,
        ),
        ("1024 bits", short, vec![Rs256], 0),
        (
            "rsa as ec",
            changed(&rsa, "kty", "EC".into()),
            vec![Es256],
            0,
        ),
        ("no type", changed(&rsa, "kty", Value::Null), vec![Rs256], 0),
        (
            "another curve",
            changed(&p256, "crv", "secp256k1".into()),
            vec![Es256],
            0,
        ),
        ("no text", changed(&p256, "x", 1.into()), vec![Es256], 1),
        ("a secret", secret, vec![Hs256, Rs256], 0),
        ("no object", json!(["RSA"]), vec![Rs256], 0),
    ] {
        let set = json!({"keys": [jwk]}).to_string();
        let read = KeySet::from_json(set.as_bytes(), &algorithms);
        assert_eq!(read.map_or(0, |set| set.len()), count, "{what}");
    }
}

#[test]
fn a_key_that_is_no_point_of_its_curve_verifies_nothing() {
    use JwtAlgorithm::Es256;
    let issuer = Issuer::new();
    let p256 = issuer.jwk("p256");
    let broken = changed(&p256, "x", 1.into());
    let set = json!({"keys": [broken]}).to_string();
    let set = KeySet::from_json(set.as_bytes(), &[Es256]).unwrap();
    let token = issuer.sign(&es256(), &claims());
    let signed = Signed::parse(token.as_bytes()).unwrap();
    let key = set.find(Es256, Some("p256")).unwrap();
    assert_eq!(key.verify(&signed), Err(Refusal::Signature));
}

#[test]
fn a_set_with_thousands_of_keys_or_that_is_none_is_not_taken() {
    let issuer = Issuer::new();
    let key = issuer.jwk("p256");
    let set = |count: usize| json!({"keys": vec![key.clone(); count]}).to_string();
    let read = |json: &str| KeySet::from_json(json.as_bytes(), &PINNED).map(|set| set.len());
    assert_eq!(read(&set(256)), Ok(256));
    assert_eq!(read(&set(5000)), Err(KeySetError::TooMany(5000)));
    for none in ["", "[]", "{}", "{\"keys\": {}}", "<html>", "null"] {
        assert_eq!(read(none), Err(KeySetError::NotASet), "{none}");
    }
    assert_eq!(read("{\"keys\": []}"), Err(KeySetError::NoKey));
}

#[test]
fn what_names_no_key_must_leave_only_one() {
    let issuer = Issuer::new();
    let two =
        json!({"keys": [issuer.jwk("p256"), changed(&issuer.jwk("p256"), "kid", "b".into())]});
    let set = KeySet::from_json(two.to_string().as_bytes(), &PINNED).unwrap();
    assert!(set.find(JwtAlgorithm::Es256, None).is_none());
    assert!(set.find(JwtAlgorithm::Es256, Some("b")).is_some());
}

#[test]
fn a_secret_is_long_enough_and_its_owner_s_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let secret = file(&"s".repeat(48));
    let from = |file: &NamedTempFile| JwtKeys {
        secret_file: Some(file.path().to_owned()),
        ..JwtKeys::default()
    };
    let tokens = tokens_of(&jwt(&[JwtAlgorithm::Hs256], from(&secret))).unwrap();
    let message = format!(
        "{}.{}",
        b64(r#"{"alg":"HS256","kid":"any"}"#),
        b64(claims().to_string())
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, "s".repeat(48).as_bytes());
    let token = format!("{message}.{}", b64(hmac::sign(&key, message.as_bytes())));
    assert!(outcome(&tokens, &bearing(&token)).is_ok());
    let forged = format!("{message}.{}", b64([0; 32]));
    assert_eq!(outcome(&tokens, &bearing(&forged)), Err(Refusal::Signature));
    assert_eq!(
        outcome(&tokens, &bearing(&format!("{message}."))),
        Err(Refusal::Signature)
    );

    let short = tokens_of(&jwt(&[JwtAlgorithm::Hs512], from(&secret))).unwrap_err();
    assert!(
        short
            .to_string()
            .contains("has 48 bytes; the algorithms need at least 64")
    );
    std::fs::set_permissions(secret.path(), std::fs::Permissions::from_mode(0o640)).unwrap();
    let open = tokens_of(&jwt(&[JwtAlgorithm::Hs256], from(&secret))).unwrap_err();
    assert!(open.to_string().contains("has mode 0640"), "{open}");
    assert!(!format!("{tokens:?}").contains("ssss"));
}

#[test]
fn the_example_of_rfc_7515_appendix_a_3_verifies() {
    let key = r#"{"keys":[{"kty":"EC","crv":"P-256",
        "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
    let token = "eyJhbGciOiJFUzI1NiJ9.\
        eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
        DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let set = KeySet::from_json(key.as_bytes(), &PINNED).unwrap();
    let signed = Signed::parse(token.as_bytes()).unwrap();
    let key = set.find(JwtAlgorithm::Es256, None).unwrap();
    assert_eq!(key.verify(&signed), Ok(()));
    assert_eq!(signed.claims().unwrap()["iss"], "joe");
}

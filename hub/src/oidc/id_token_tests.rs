//! Which ID tokens are believed: published signatures, every claim, and bytes that lie.

use super::*;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::json;

const NOW_S: u64 = 1_800_000_000;

/// RFC 7515, appendices A.2 and A.3: the same claims, signed by an RSA key and by one on P-256.
const RS256: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
    cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4\
    BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqv\
    hJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
const RS256_N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwO\
    WvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9\
    kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
const ES256: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
    DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
const ES256_X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const ES256_Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

struct Signer {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl Signer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap();
        Self { pair, random }
    }

    fn key(&self, id: &str) -> Value {
        let point = self.pair.public_key().as_ref();
        json!({
            "kty": "EC", "crv": "P-256", "kid": id, "use": "sig", "alg": "ES256",
            "x": BASE64URL_NOPAD.encode(&point[1..33]), "y": BASE64URL_NOPAD.encode(&point[33..]),
        })
    }

    fn sign(&self, head: &Value, claims: &Value) -> String {
        let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let message = format!("{}.{}", part(head), part(claims));
        let signature = self.pair.sign(&self.random, message.as_bytes()).unwrap();
        format!("{message}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
    }
}

fn expected() -> Expected<'static> {
    Expected {
        issuer: "https://id.example",
        client_id: "heaptide",
        nonce: "n",
        now_unix_s: NOW_S,
    }
}

fn claims() -> Value {
    json!({
        "iss": "https://id.example", "aud": "heaptide", "sub": "7", "nonce": "n",
        "iat": NOW_S - 1, "exp": NOW_S + 300,
    })
}

#[test]
fn signatures_of_rfc_7515_are_right_and_each_changed_byte_makes_them_wrong() {
    let rsa = json!({ "kty": "RSA", "n": RS256_N, "e": "AQAB" });
    let p256 = json!({ "kty": "EC", "crv": "P-256", "x": ES256_X, "y": ES256_Y });
    let both = keys(&json!({ "keys": [rsa, p256] }));
    assert_eq!(both.len(), 2);
    for text in [RS256, ES256] {
        let payload = String::from_utf8(signed(text, &both).unwrap()).unwrap();
        assert!(payload.contains("\"joe\""), "{payload}");
        let points: Vec<usize> = text.match_indices('.').map(|(at, _)| at).collect();
        for at in (points[0] + 1..text.len()).filter(|at| *at != points[1]) {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(signed(&changed, &both).is_err(), "byte {at} of {text}");
        }
    }
    // The right key alone, and not the other kind's.
    assert!(signed(RS256, &both[1..]).is_err());
    assert!(signed(ES256, &both[..1]).is_err());
}

#[test]
fn what_is_no_believable_signature_is_told_apart() {
    let signer = Signer::new();
    let set = keys(&json!({ "keys": [signer.key("a")] }));
    let head = json!({ "alg": "ES256", "kid": "a" });
    let good = signer.sign(&head, &claims());
    assert!(check(&good, &set, &expected()).is_ok());
    let parts: Vec<&str> = good.split('.').collect();
    let with_head = |head: Value| signer.sign(&head, &claims());
    let encode = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    for (text, why) in [
        (String::new(), "no signature part"),
        ("a.b".to_owned(), "not three parts"),
        (format!("{good}.a"), "not three parts"),
        (
            format!("{}.{}.{}=", parts[0], parts[1], parts[2]),
            "not base64url",
        ),
        (format!("{}.{}.", parts[0], parts[1]), "signature is wrong"),
        (with_head(json!({ "alg": "none", "kid": "a" })), "\"none\""),
        (
            format!("{}.{}.", encode("{\"alg\":\"none\"}"), parts[1]),
            "\"none\"",
        ),
        (with_head(json!({ "alg": "HS256", "kid": "a" })), "\"HS256\""),
        (with_head(json!({ "alg": "es256", "kid": "a" })), "\"es256\""),
        (with_head(json!({ "alg": ["ES256"], "kid": "a" })), "signed by"),
        (with_head(json!({ "kid": "a" })), "signed by"),
        (
            with_head(json!({ "alg": "RS256", "kid": "a" })),
            "none of the provider's",
        ),
        (
            with_head(json!({ "alg": "ES256", "kid": "b" })),
            "none of the provider's",
        ),
        (
            with_head(json!({ "alg": "ES256", "kid": "a", "crit": ["b64"] })),
            "have to be understood",
        ),
        (with_head(json!(["ES256"])), "head is no JSON object"),
        (signer.sign(&head, &json!([1])), "claims are no JSON object"),
        (Signer::new().sign(&head, &claims()), "signature is wrong"),
        // A key that comes with the token is nobody's.
        (
            with_head(json!({ "alg": "ES256", "kid": "c", "jwk": signer.key("c") })),
            "none of the provider's",
        ),
    ] {
        let error = check(&text, &set, &expected()).unwrap_err().to_string();
        assert!(error.contains(why), "{error} lacks {why:?}");
    }
    // Without a name in its head, any key of the kind may have signed it.
    assert!(check(&with_head(json!({ "alg": "ES256" })), &set, &expected()).is_ok());
}

#[test]
fn claims_as_a_table() {
    let signer = Signer::new();
    let set = keys(&json!({ "keys": [signer.key("a")] }));
    let head = json!({ "alg": "ES256", "kid": "a" });
    let changed = |changes: Value| {
        let mut claims = claims();
        for (name, value) in changes.as_object().unwrap() {
            let all = claims.as_object_mut().unwrap();
            if value.is_null() {
                all.remove(name);
            } else {
                all.insert(name.clone(), value.clone());
            }
        }
        claims
    };
    for (changes, why) in [
        (json!({}), None),
        (json!({ "aud": ["heaptide"] }), None),
        (json!({ "aud": ["other", "heaptide"], "azp": "heaptide" }), None),
        (json!({ "exp": NOW_S - 59 }), None),
        (json!({ "exp": NOW_S as f64 + 0.5 }), None),
        (json!({ "iat": NOW_S + 60 }), None),
        (json!({ "iss": "https://id.example/" }), Some("--oidc-issuer")),
        (json!({ "iss": "https://evil.example" }), Some("--oidc-issuer")),
        (json!({ "iss": ["https://id.example"] }), Some("lacks iss")),
        (json!({ "aud": "other" }), Some("--oidc-client-id")),
        (json!({ "aud": ["other"] }), Some("--oidc-client-id")),
        (json!({ "aud": [] }), Some("--oidc-client-id")),
        (json!({ "aud": "heaptide2" }), Some("--oidc-client-id")),
        (json!({ "aud": null }), Some("lacks aud")),
        (json!({ "aud": ["other", "heaptide"] }), Some("lacks azp")),
        (json!({ "azp": "other" }), Some("--oidc-client-id")),
        (json!({ "exp": NOW_S - 60 }), Some("expired 60 s ago")),
        (json!({ "exp": "1900000000" }), Some("lacks exp")),
        (json!({ "exp": -1 }), Some("lacks exp")),
        (json!({ "exp": 1e300 }), Some("lacks exp")),
        (json!({ "exp": null }), Some("lacks exp")),
        (json!({ "iat": NOW_S + 61 }), Some("61 s in the future")),
        (json!({ "iat": null }), Some("lacks iat")),
        (json!({ "nbf": NOW_S + 61 }), Some("61 s in the future")),
        (json!({ "nbf": "later" }), Some("lacks nbf")),
        (json!({ "nonce": "m" }), Some("another sign-in")),
        (json!({ "nonce": null }), Some("lacks nonce")),
        (json!({ "sub": "" }), Some("lacks sub")),
        (json!({ "sub": "x".repeat(256) }), Some("lacks sub")),
        (json!({ "sub": 7 }), Some("lacks sub")),
    ] {
        let text = signer.sign(&head, &changed(changes.clone()));
        match (check(&text, &set, &expected()), why) {
            (Ok(_), None) => {}
            (Err(error), Some(why)) => assert!(error.to_string().contains(why), "{changes}: {error}"),
            (got, _) => panic!("{changes}: {got:?}"),
        }
    }
}

#[test]
fn only_keys_for_these_two_signatures_are_used() {
    let key = Signer::new().key("a");
    let with = |name: &str, value: Value| {
        let mut key = key.clone();
        key[name] = value;
        key
    };
    for (key, used) in [
        (key.clone(), true),
        (with("alg", Value::Null), true),
        (with("use", json!("enc")), false),
        (with("alg", json!("ES384")), false),
        (with("crv", json!("P-384")), false),
        (with("kty", json!("oct")), false),
        (with("x", json!("AAAA")), false),
        (with("y", json!("not base64")), false),
        (json!("a"), false),
    ] {
        let used_keys = keys(&json!({ "keys": [key.clone()] }));
        assert_eq!(used_keys.len(), usize::from(used), "{key}");
    }
    let many: Vec<Value> = (0..1_000)
        .map(|number| with("kid", json!(number.to_string())))
        .collect();
    assert_eq!(keys(&json!({ "keys": many })).len(), MAX_KEYS);
    assert!(keys(&json!({ "keys": 7 })).is_empty());
}

#[test]
fn hostile_tokens_and_keys_are_survived_and_believed_by_nobody() {
    let signer = Signer::new();
    let document =
        json!({ "keys": [signer.key("a"), { "kty": "RSA", "n": RS256_N, "e": "AQAB", "kid": "b" }] });
    let set = keys(&document);
    let good = signer.sign(&json!({ "alg": "ES256", "kid": "a" }), &claims());
    let unsigned = signer.sign(&json!({ "alg": "none", "kid": "a" }), &claims());
    crate::hostile::attack(
        &[good.as_bytes(), unsigned.as_bytes(), RS256.as_bytes()],
        false,
        1,
        |bytes| {
            let text = String::from_utf8_lossy(bytes);
            assert_eq!(check(&text, &set, &expected()).is_ok(), text == good, "{text}");
        },
    );
    crate::hostile::attack(&[document.to_string().as_bytes()], false, 1, |bytes| {
        if let Ok(document) = serde_json::from_slice(bytes) {
            assert!(keys(&document).len() <= MAX_KEYS);
        }
    });
}

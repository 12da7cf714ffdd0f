//! AWS's published vectors of Signature Version 4 (date 2015-08-30, key AKIDEXAMPLE), and what they do not cover.

use super::*;
use http::Request;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const SCOPE: &str = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request";

struct Vector {
    name: &'static str,
    method: &'static str,
    target: &'static str,
    headers: &'static [(&'static str, &'static str)],
    signed: &'static str,
    body: &'static str,
    signature: &'static str,
}

fn request(vector: &Vector) -> Parts {
    let mut builder =
        Request::builder().method(vector.method).uri(vector.target).header("host", "example.amazonaws.com");
    for (name, value) in vector.headers {
        builder = builder.header(*name, *value);
    }
    let authorization = format!("{SCOPE}, SignedHeaders={}, Signature={}", vector.signed, vector.signature);
    let date = ("x-amz-date", "20150830T123600Z");
    builder.header(date.0, date.1).header("authorization", authorization).body(()).unwrap().into_parts().0
}

fn sha256(body: &str) -> [u8; 32] {
    Sha256::digest(body.as_bytes()).into()
}

const VECTORS: &[Vector] = &[
    Vector {
        name: "get-header-key-duplicate",
        method: "GET",
        target: "/",
        headers: &[("my-header1", "value2"), ("my-header1", "value2"), ("my-header1", "value1")],
        signed: "host;my-header1;x-amz-date",
        body: "",
        signature: "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
    },
    Vector {
        name: "get-header-value-order",
        method: "GET",
        target: "/",
        headers: &[
            ("my-header1", "value4"),
            ("my-header1", "value1"),
            ("my-header1", "value3"),
            ("my-header1", "value2"),
        ],
        signed: "host;my-header1;x-amz-date",
        body: "",
        signature: "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01",
    },
    Vector {
        name: "get-header-value-trim",
        method: "GET",
        target: "/",
        headers: &[("my-header1", "value1"), ("my-header2", "\"a   b   c\"")],
        signed: "host;my-header1;my-header2;x-amz-date",
        body: "",
        signature: "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    },
    Vector {
        name: "get-unreserved",
        method: "GET",
        target: "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        headers: &[],
        signed: "host;x-amz-date",
        body: "",
        signature: "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
    },
    Vector {
        name: "get-vanilla",
        method: "GET",
        target: "/",
        headers: &[],
        signed: "host;x-amz-date",
        body: "",
        signature: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    },
    Vector {
        name: "get-vanilla-empty-query-key",
        method: "GET",
        target: "/?Param1=value1",
        headers: &[],
        signed: "host;x-amz-date",
        body: "",
        signature: "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
    },
    Vector {
        name: "get-vanilla-query",
        method: "GET",
        target: "/",
        headers: &[],
        signed: "host;x-amz-date",
        body: "",
        signature: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    },
    Vector {
        name: "get-vanilla-query-order-key",
        method: "GET",
        target: "/?Param1=value2&Param1=Value1",
        headers: &[],
        signed: "host;x-amz-date",
        body: "",
        signature: "eedbc4e291e521cf13422ffca22be7d2eb8146eecf653089df300a15b2382bd1",
    },
    Vector {
        name: "get-vanilla-query-order-key-case",
        method: "GET",
        target: "/?Param2=value2&Param1=value1",
        headers: &[],
        signed: "host;x-amz-date",
        body: "",
        signature: "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    },
    Vector {
        name: "get-vanilla-query-order-value",
        method: "GET",
        target: "/?Param1=value2&Param1=value1",
        headers: &[],
        signed: "host;x-amz-date",
        body: "",
        signature: "5772eed61e12b33fae39ee5e7012498b51d56abc0abb7c60486157bd471c4694",
    },
    Vector {
        name: "get-vanilla-query-unreserved",
        method: "GET",
        target: "/?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        headers: &[],
        signed: "host;x-amz-date",
        body: "",
        signature: "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
    },
    Vector {
        name: "get-relative",
        method: "GET",
        target: "/example/..",
        headers: &[],
        signed: "host;x-amz-date",
        body: "",
        signature: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    },
    Vector {
        name: "get-relative-relative",
        method: "GET",
        target: "/example1/example2/../..",
        headers: &[],
        signed: "host;x-amz-date",
        body: "",
        signature: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    },
    Vector {
        name: "get-slash",
        method: "GET",
        target: "//",
        headers: &[],
        signed: "host;x-amz-date",
        body: "",
        signature: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    },
    Vector {
        name: "get-slash-dot-slash",
        method: "GET",
        target: "/./",
        headers: &[],
        signed: "host;x-amz-date",
        body: "",
        signature: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    },
    Vector {
        name: "get-slash-pointless-dot",
        method: "GET",
        target: "/./example",
        headers: &[],
        signed: "host;x-amz-date",
        body: "",
        signature: "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5",
    },
    Vector {
        name: "get-slashes",
        method: "GET",
        target: "//example//",
        headers: &[],
        signed: "host;x-amz-date",
        body: "",
        signature: "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84",
    },
    Vector {
        name: "post-header-key-case",
        method: "POST",
        target: "/",
        headers: &[],
        signed: "host;x-amz-date",
        body: "",
        signature: "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    },
    Vector {
        name: "post-header-key-sort",
        method: "POST",
        target: "/",
        headers: &[("my-header1", "value1")],
        signed: "host;my-header1;x-amz-date",
        body: "",
        signature: "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
    },
    Vector {
        name: "post-header-value-case",
        method: "POST",
        target: "/",
        headers: &[("my-header1", "VALUE1")],
        signed: "host;my-header1;x-amz-date",
        body: "",
        signature: "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
    },
    Vector {
        name: "post-sts-header-after",
        method: "POST",
        target: "/",
        headers: &[],
        signed: "host;x-amz-date",
        body: "",
        signature: "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    },
    Vector {
        name: "post-sts-header-before",
        method: "POST",
        target: "/",
        headers: &[(
            "x-amz-security-token",
            "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==",
        )],
        signed: "host;x-amz-date;x-amz-security-token",
        body: "",
        signature: "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
    },
    Vector {
        name: "post-vanilla",
        method: "POST",
        target: "/",
        headers: &[],
        signed: "host;x-amz-date",
        body: "",
        signature: "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    },
    Vector {
        name: "post-vanilla-empty-query-value",
        method: "POST",
        target: "/?Param1=value1",
        headers: &[],
        signed: "host;x-amz-date",
        body: "",
        signature: "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
    },
    Vector {
        name: "post-vanilla-query",
        method: "POST",
        target: "/?Param1=value1",
        headers: &[],
        signed: "host;x-amz-date",
        body: "",
        signature: "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
    },
    Vector {
        name: "post-x-www-form-urlencoded",
        method: "POST",
        target: "/",
        headers: &[("content-type", "application/x-www-form-urlencoded; charset=utf-8")],
        signed: "content-type;host;x-amz-date",
        body: "",
        signature: "0c3bc22986c53164a4755b4466c2e17db853888c5ddb98567e700a3ecdb262f6",
    },
];

#[test]
fn awss_vectors_verify_and_nothing_near_them_does() {
    for vector in VECTORS {
        let parts = request(vector);
        let claim = Claim::read(&parts).unwrap();
        assert_eq!(claim.verify(SECRET, &parts, Hashed::Body(&sha256(vector.body))), Ok(()), "{}", vector.name);
        let mismatch = Err(Error::Mismatch);
        assert_eq!(claim.verify(SECRET, &parts, Hashed::Body(&sha256("other"))), mismatch, "{}: body", vector.name);
        assert_eq!(
            claim.verify("secret", &parts, Hashed::Body(&sha256(vector.body))),
            mismatch,
            "{}: key",
            vector.name
        );
        let mut other = parts.clone();
        other.headers.insert("host", http::HeaderValue::from_static("other.example.com"));
        assert_eq!(claim.verify(SECRET, &other, Hashed::Body(&sha256(vector.body))), mismatch, "{}: host", vector.name);
        let mut other = parts.clone();
        other.uri = "/other".parse().unwrap();
        assert_eq!(claim.verify(SECRET, &other, Hashed::Body(&sha256(vector.body))), mismatch, "{}: path", vector.name);
    }
}

fn header(authorization: &str) -> Result<Claim, Error> {
    let request = Request::builder().header("x-amz-date", "20150830T123600Z").header("authorization", authorization);
    Claim::read(&request.body(()).unwrap().into_parts().0)
}

#[test]
fn what_is_not_a_signature_has_a_typed_error() {
    let bare = Request::builder().body(()).unwrap().into_parts().0;
    assert_eq!(Claim::read(&bare).unwrap_err(), Error::Missing);
    let fields = ", SignedHeaders=host;x-amz-date, Signature=00";
    assert!(header(&format!("{SCOPE}{fields}")).is_ok());
    for broken in [
        "".to_owned(),
        "Bearer token".to_owned(),
        "AWS4-HMAC-SHA256".to_owned(),
        "AWS4-HMAC-SHA256 Credential".to_owned(),
        "AWS4-ECDSA-P256-SHA256 Credential=a/b/c/d/aws4_request".to_owned(),
        SCOPE.to_owned(),
        format!("{SCOPE}/more{fields}"),
        format!("AWS4-HMAC-SHA256 Credential=AKID/20150830/us-east-1/service/aws5_request{fields}"),
    ] {
        assert!(matches!(header(&broken), Err(Error::Incomplete(_))), "{broken:?}");
    }
    for names in ["host;host".to_owned(), (0..101).map(|n| format!("h{n};")).collect::<String>() + "host"] {
        let many = format!("{SCOPE}, SignedHeaders={names}, Signature=00");
        assert!(matches!(header(&many), Err(Error::Incomplete(_))), "{names:?}");
    }
    let unsigned_host = format!("{SCOPE}, SignedHeaders=x-amz-date, Signature=00");
    assert!(matches!(header(&unsigned_host), Err(Error::Scope(_))));
    let other_day = format!("AWS4-HMAC-SHA256 Credential=AKID/20150831/us-east-1/service/aws4_request{fields}");
    assert!(matches!(header(&other_day), Err(Error::Scope(_))));
}

#[test]
fn an_empty_or_foreign_signature_never_verifies() {
    for signature in ["", "zz", "00", &"0".repeat(63), &"0".repeat(64), &"0".repeat(128)] {
        let request = Request::builder()
            .header("host", "h")
            .header("x-amz-date", "20150830T123600Z")
            .header("authorization", format!("{SCOPE}, SignedHeaders=host, Signature={signature}"));
        let parts = request.body(()).unwrap().into_parts().0;
        let claim = Claim::read(&parts).unwrap();
        assert_eq!(claim.verify(SECRET, &parts, Hashed::Body(&sha256(""))), Err(Error::Mismatch));
    }
}

#[test]
fn signatures_live_a_quarter_of_an_hour_and_presigned_ones_as_long_as_they_say() {
    let claim = header(&format!("{SCOPE}, SignedHeaders=host, Signature=00")).unwrap();
    let at: Timestamp = "2015-08-30T12:36:00Z".parse().unwrap();
    let second = Duration::from_secs(1);
    assert_eq!(claim.check_time(at + SKEW), Ok(()));
    assert!(matches!(claim.check_time(at + SKEW + second), Err(Error::Expired(_))));
    assert_eq!(claim.check_time(at - SKEW), Ok(()));
    assert!(matches!(claim.check_time(at - SKEW - second), Err(Error::NotYetCurrent(_))));

    let presigned = |expires: &str| {
        let uri = format!(
            "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKID%2F20150830%2Fus-east-1%2Fsts%2Faws4_request\
             &X-Amz-Date=20150830T123600Z&X-Amz-Expires={expires}&X-Amz-SignedHeaders=host&X-Amz-Signature=00"
        );
        Claim::read(&Request::get(uri).body(()).unwrap().into_parts().0)
    };
    let claim = presigned("3600").unwrap();
    assert_eq!(claim.check_time(at + Duration::from_secs(3600)), Ok(()));
    assert!(claim.check_time(at + Duration::from_secs(3601)).is_err());
    for bad in ["604801", "-1", "x", ""] {
        assert!(matches!(presigned(bad), Err(Error::Incomplete(_))), "{bad:?}");
    }
}

#[test]
fn odd_dates_are_refused() {
    for bad in [
        "",
        "2015-08-30T12:36:00Z",
        "20150830T123600",
        "20151330T123600Z",
        "20150830T250000Z",
        "２０150830T1236Z",
        "+0150830T123600Z",
        "20150832T123600Z",
    ] {
        assert!(parse_timestamp(bad).is_err(), "{bad:?}");
    }
    let (text, at) = date_header("Sun, 30 Aug 2015 12:36:00 GMT").unwrap();
    assert_eq!(text, "20150830T123600Z");
    assert_eq!(at, parse_timestamp(&text).unwrap());
}

#[test]
fn escapes_are_decoded_once_and_broken_ones_stand_for_themselves() {
    assert_eq!(&*percent_decode("a%2Fb%zz%4", false), b"a/b%zz%4");
    assert_eq!(&*percent_decode("a+b", true), b"a b");
    assert_eq!(&*percent_decode("a+b", false), b"a+b");
    assert_eq!(
        query_pairs("a=1&b=%26&&c"),
        [("a", "1"), ("b", "&"), ("c", "")].map(|(k, v)| (k.to_owned(), v.to_owned()))
    );
}

/// Numbers that look random and are the same every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

#[test]
fn changed_requests_never_panic_and_never_verify() {
    let mut numbers = Numbers(7);
    let good = format!("{SCOPE}, SignedHeaders=host;x-amz-date, Signature={}", "5".repeat(64));
    let query = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKID%2F20150830%2Fr%2Fs%2Faws4_request\
                 &X-Amz-Date=20150830T123600Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=00";
    let odd = [
        "",
        "%",
        "%0",
        "=",
        ";",
        ",",
        "/",
        "/../",
        "\u{e4}",
        "&",
        "+",
        "%2F",
        "\u{7f}",
        "99999999999999999999",
        "T",
        "Z",
    ];
    let mut mangle = |text: &str| {
        let mut text = text.to_owned();
        for _ in 0..=numbers.below(3) {
            let at = (numbers.below(text.len() + 1)..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap();
            let end = (at + numbers.below(4)).min(text.len());
            let end = (end..=text.len()).find(|end| text.is_char_boundary(*end)).unwrap();
            text.replace_range(at..end, odd[numbers.below(odd.len())]);
        }
        text
    };
    let mut read = 0;
    for _ in 0..20_000 {
        let by_header = Request::builder()
            .uri(mangle("/2015-03-31/functions/arn%3Aaws?Qualifier=%24LATEST"))
            .header("host", "h")
            .header("x-amz-date", mangle("20150830T123600Z"))
            .header("authorization", mangle(&good));
        let by_query = Request::builder().uri(mangle(&format!("/?{query}"))).header("host", "h");
        for request in [by_header, by_query] {
            // What the http crate refuses never gets here.
            let Ok(request) = request.body(()) else { continue };
            let parts = request.into_parts().0;
            if let Ok(claim) = Claim::read(&parts) {
                read += 1;
                let _ = claim.check_time(Timestamp::now());
                assert!(claim.verify(SECRET, &parts, Hashed::Body(&sha256(""))).is_err());
            }
        }
    }
    assert!(read > 1000, "most were not even read: {read}");
}

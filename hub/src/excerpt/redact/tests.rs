use super::*;
use crate::store::meta::Meta;
use heaptide_protocol::SessionId;

fn signature() -> PlatformSignature {
    PlatformSignature {
        host_name: "web-7.example.com".to_owned(),
        boot_id: "0a1b2c3d-boot".to_owned(),
        executable: "/srv/shop/bin/shopd".to_owned(),
        command_line: ["shopd", "-v", "--db=postgres://alice@db"]
            .map(str::to_owned)
            .to_vec(),
        ..Meta::unknown(SessionId::default()).signature
    }
}

fn redactor(patterns: &[&str]) -> Redactor {
    let patterns: Vec<_> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
    Redactor::new([7; 16], &signature(), &patterns)
}

#[test]
fn paths_keep_their_last_two_parts_and_functions_their_names() {
    let redactor = redactor(&["acme-*", "*secret*"]);
    let hidden = |word: &str| redactor.placeholder("hidden", word);
    let program = redactor.placeholder("program", "/srv/shop/bin/shopd");
    let cases = [
        ("/home/alice/src/shop/cart.go", "shop/cart.go".to_owned()),
        (
            "/usr/local/go/src/runtime/malloc.go",
            "runtime/malloc.go".to_owned(),
        ),
        ("example.com/team/shop/cart.go", "shop/cart.go".to_owned()),
        ("C:\\Users\\alice\\shop\\cart.c", "shop/cart.c".to_owned()),
        ("C:/Users/alice/shop/cart.c", "shop/cart.c".to_owned()),
        ("/main.go", "main.go".to_owned()),
        ("cart.go", "cart.go".to_owned()),
        (
            "example.com/team/shop.(*Cart).Add",
            "example.com/team/shop.(*Cart).Add".to_owned(),
        ),
        (
            "net/http.HandlerFunc.ServeHTTP",
            "net/http.HandlerFunc.ServeHTTP".to_owned(),
        ),
        ("go.heap", "go.heap".to_owned()),
        ("", String::new()),
        ("main.Acme-Corp", "main.Acme-Corp".to_owned()),
        ("x(Acme-Corp)", format!("x({})", hidden("Acme-Corp"))),
        ("a/mysecretplace.F", format!("a/{}", hidden("mysecretplace.F"))),
        ("from /srv/shop/bin/shopd", format!("from {program}")),
    ];
    for (text, expected) in cases {
        assert_eq!(redactor.symbol(text), expected, "{text:?}");
    }
}

#[test]
fn sentences_lose_names_and_keep_the_rest() {
    let redactor = redactor(&[]);
    let (host, program) = (
        redactor.placeholder("host", "web-7.example.com"),
        redactor.placeholder("program", "/srv/shop/bin/shopd"),
    );
    let short = redactor.placeholder("host", "web-7");
    let argument = redactor.placeholder("argument", "postgres://alice@db");
    let cases = [
        ("on web-7.example.com", format!("on {host}")),
        ("on web-7: slow", format!("on {short}: slow")),
        ("uprobe in /srv/shop/bin/shopd", format!("uprobe in {program}")),
        ("/proc/PID/smaps_rollup", "/proc/PID/smaps_rollup".to_owned()),
        (
            "see /sys/kernel/mm, then /var/lib/x/y, too",
            "see /sys/kernel/mm, then x/y, too".to_owned(),
        ),
        ("can't open '/home/alice/a/b'", "can't open 'a/b'".to_owned()),
        ("with postgres://alice@db", format!("with {argument}")),
        // A short argument is a usual word.
        ("go -v", "go -v".to_owned()),
        ("[heap]", "[heap]".to_owned()),
    ];
    for (text, expected) in cases {
        assert_eq!(redactor.text(text), expected, "{text:?}");
    }
}

#[test]
fn labels_say_nothing_of_host_and_program_and_what_a_pattern_hides() {
    let mut labels: Labels = [
        ("host", "web-7.example"),
        ("service", "shopd"),
        ("customer", "acme"),
        ("zone", "behind web-7"),
        ("team", "Falcon"),
        ("version", "v1.2.3"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into_iter()
    .collect();
    let redactor = redactor(&["customer", "falcon"]);
    redactor.labels(&mut labels);
    let json = serde_json::to_string(&labels).unwrap();
    for name in ["web-7", "shopd", "acme", "Falcon"] {
        assert!(!json.contains(name), "{name}: {json}");
    }
    assert_eq!(labels.get("version"), Some("v1.2.3"));
    assert_eq!(labels.iter().count(), 6);
}

#[test]
fn a_signature_says_nothing_of_where_and_how_but_all_of_what() {
    let mut redacted = signature();
    redacted.runtime_version = "go1.27.3".to_owned();
    let redactor = redactor(&[]);
    redactor.signature(&mut redacted);
    let json = serde_json::to_string(&redacted).unwrap();
    for name in ["web-7", "0a1b2c3d", "/srv", "shopd", "alice", "-v"] {
        assert!(!json.contains(name), "{name}: {json}");
    }
    assert_eq!(redacted.runtime_version, "go1.27.3");
    assert_eq!(redacted.command_line.len(), 1);
    // The same again under the same salt, and nothing that could be compared under another.
    let other = Redactor::new([8; 16], &signature(), &[]);
    let (mut again, mut elsewhere) = (signature(), signature());
    redactor.signature(&mut again);
    other.signature(&mut elsewhere);
    assert_eq!(again.host_name, redacted.host_name);
    assert_ne!(elsewhere.host_name, redacted.host_name);
    // Not known stays not known.
    let mut unknown = Meta::unknown(SessionId::default()).signature;
    let before = unknown.clone();
    redactor.signature(&mut unknown);
    assert_eq!(unknown, before);
}

#[test]
fn patterns_as_a_table() {
    let cases = [
        ("acme", "acme", true),
        ("acme", "acme2", false),
        ("acme*", "acme2", true),
        ("*acme", "the-acme", true),
        ("*acme", "acme-x", false),
        ("a*b*c", "a-b-c", true),
        ("a*b*c", "acb", false),
        ("a*a", "a", false),
        ("*", "anything", true),
        ("", "", true),
    ];
    for (pattern, word, expected) in cases {
        assert_eq!(matches(pattern, word), expected, "{pattern:?} {word:?}");
    }
}

#[test]
fn a_section_of_a_later_version_is_left_out() {
    let mut writer = SectionWriter::default();
    let raw = RawSection {
        kind: 200,
        body: b"who knows",
    };
    assert_eq!(redactor(&[]).section(raw, &mut writer), Ok(true));
    assert!(writer.is_empty());
    // Broken ones are an error, not a leak.
    let broken = RawSection {
        kind: 2,
        body: b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    };
    assert!(redactor(&[]).section(broken, &mut writer).is_err());
    assert!(writer.is_empty());
}
